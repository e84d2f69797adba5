//! Pure parts of the programs: a program is no library, so their files are taken in as they are.
//! Those with tests bring them along.

/// `.qmail` instructions.
#[allow(dead_code, reason = "only its parser is called")]
#[path = "../../crates/qmail/src/local/instructions.rs"]
pub(crate) mod instructions;

/// Where a forwarding table leads.
#[allow(dead_code, reason = "only its parser is called")]
#[path = "../../crates/qmail/src/commands/aliases/expand.rs"]
pub(crate) mod expand;

/// `control/smtproutes`.
#[allow(dead_code, reason = "only its parser is called")]
#[path = "../../crates/qmail-net/src/remote/route.rs"]
pub(crate) mod route;

/// `control/concurrencydestination`, `pauses` and `priority`.
#[allow(dead_code, reason = "only its parser is called")]
#[path = "../../crates/qmail/src/send/policy.rs"]
pub(crate) mod policy;

/// What a local delivery's end means.
#[allow(dead_code, reason = "only its parser is called")]
#[path = "../../crates/qmail/src/lspawn/verdict.rs"]
pub(crate) mod local_verdict;

/// What qmail-remote's output means.
#[allow(dead_code, reason = "only its parser is called")]
#[path = "../../crates/qmail/src/rspawn/verdict.rs"]
pub(crate) mod remote_verdict;

/// What qmail-lspawn and its workers say to each other.
#[allow(dead_code, reason = "only its codec is called")]
#[path = "../../crates/qmail/src/lspawn/word.rs"]
pub(crate) mod lspawn_word;

/// POP3's unique ids.
#[allow(dead_code, reason = "only its parser is called")]
#[path = "../../crates/qmail-net/src/pop3d/name.rs"]
pub(crate) mod pop3_name;

/// Rules of tcpserver.
#[allow(dead_code, reason = "only its parser is called")]
#[path = "../../crates/daemontools/src/tcprules/parse.rs"]
pub(crate) mod tcprules;

/// What the parser of rules warns of; it looks for it beside itself.
#[allow(dead_code, reason = "only the parser calls it")]
#[path = "../../crates/daemontools/src/tcprules/odd.rs"]
mod odd;

/// DNS messages as tcpserver reads them.
#[allow(dead_code, reason = "only its parser is called")]
#[path = "../../crates/daemontools/src/tcpserver/packet.rs"]
pub(crate) mod packet;

/// Numbers that multilog was told.
#[path = "../../crates/daemontools/src/multilog/amount.rs"]
pub(crate) mod amount;

/// What of it can hardly be meant.
#[allow(dead_code, reason = "only its parser is called")]
#[path = "../../crates/daemontools/src/multilog/doubt.rs"]
mod doubt;

/// What multilog was told.
#[allow(dead_code, reason = "only its parser is called")]
#[path = "../../crates/daemontools/src/multilog/script.rs"]
pub(crate) mod script;

/// How multilog cuts lines.
#[allow(dead_code, reason = "only its parser is called")]
#[path = "../../crates/daemontools/src/multilog/line.rs"]
pub(crate) mod line;

/// Who is logged in where.
#[path = "../../crates/qmail/src/commands/utmp.rs"]
mod utmp;

/// What of a letter a terminal is shown.
#[allow(dead_code, reason = "not all of a glance is looked at")]
#[path = "../../crates/qmail/src/commands/screen.rs"]
mod screen;

/// The terminals, below `/dev`, at which a user is logged in.
pub(crate) fn terminals<'f>(utmp: &'f [u8], user: &'f [u8]) -> Vec<&'f std::path::Path> {
    utmp::terminals(utmp, user).collect()
}

/// A letter as a terminal is shown it: its sender, and a number of characters of its text.
pub(crate) fn shown(mut letter: &[u8], max: usize) -> [String; 2] {
    let glance = screen::glance(|room| std::io::Read::read(&mut letter, room)).expect("it is here");
    [screen::plain(&glance.return_path, max), screen::plain(&glance.text, max)]
}

/// One DNS answer; how many records it has.
pub(crate) fn dns_records(name: &[u8], behind: &[u8], kind: u8) -> Option<usize> {
    let kind = match kind % 4 {
        0 => packet::Kind::A,
        1 => packet::Kind::Ptr,
        3 => packet::Kind::Txt,
        _ => packet::Kind::Aaaa,
    };
    let question = packet::question(7, name, kind)?;
    let message = [&question[..2], behind.get(..10)?, &question[12..], &behind[10..]].concat();
    match packet::answer(&question, &message, kind) {
        packet::Answer::Records(records) => Some(records.len()),
        _ => None,
    }
}

/// The policy of a directory of control files, asked of a domain; or what is wrong with a file.
pub(crate) fn policy_of(control: &store::control::Control, domain: &[u8]) -> Result<(), String> {
    let load = policy::Policy::load(control);
    let policy = load.map_err(|bad| format!("{}: {}", bad.file, bad.why))?;
    let domain = domain.to_ascii_lowercase();
    if policy.most(&domain) == 0 {
        assert_eq!(policy.paused(&domain), policy::FOR_EVER);
    }
    let bounce = policy.class(b"", 1);
    assert!(bounce == policy::Class::Bounces, "a bounce is no bounce any more");
    policy.class(&[b"joe@", &domain[..]].concat(), 1);
    Ok(())
}

/// What a delivery's output comes to: how it ended, and what is told of it.
pub(crate) fn verdicts(output: &[u8]) -> [(base::outcome::Outcome, Vec<u8>); 2] {
    let status = sys::spawn::Status::Exited(0);
    [local_verdict::judge(status, output), remote_verdict::judge(status, output)]
}

/// The words of a message to or from a worker, written again; `None` if they are none.
pub(crate) fn lspawn_words(message: &[u8]) -> Option<Vec<u8>> {
    let mut again = Vec::new();
    lspawn_word::words(message).ok()?.iter().for_each(|word| word.encode(&mut again));
    Some(again)
}

/// The unique id of a Maildir name.
pub(crate) fn pop3_id(name: &[u8]) -> Vec<u8> {
    let mut id = Vec::new();
    pop3_name::put_uid(name.get(..pop3_name::parse(name).id).unwrap_or_default(), &mut id);
    id
}

/// When a letter came, by its name.
pub(crate) fn pop3_time(name: &[u8]) -> Option<(u64, u64)> {
    pop3_name::parse(name).time
}

/// The number of instructions, and whether each fits its line.
pub(crate) fn instructions_of(text: &[u8]) -> usize {
    use instructions::Instruction as I;
    instructions::instructions(text)
        .inspect(|instruction| match instruction {
            I::Program(text) | I::Maildir(text) | I::Mbox(text) | I::Forward(text) => {
                assert!(!text.iter().any(|c| b"\n\0".contains(c)), "it goes on in the next line");
            }
            I::Blank | I::CarriageReturn(_) | I::Nobody(_) | I::Comment | I::ForwardOnly => {}
        })
        .count()
}

/// A relay and its port for a host, from the lines of `smtproutes`.
pub(crate) fn route_of(text: &[u8], host: &[u8]) -> Option<(Vec<u8>, u16)> {
    let row = |(line, text): (usize, &[u8])| {
        let colon = text.iter().position(|&c| c == b':')?;
        let (key, value) = (text[..colon].to_ascii_lowercase(), text[colon + 1..].to_vec());
        Some(store::control::Row { line, key, value })
    };
    let lines = (1..).zip(text.split(|&c| c == b'\n'));
    let routes = route::Routes::new(lines.filter_map(row).collect());
    match routes.find(host, 25) {
        Ok(found) => found.map(|route| {
            assert!(route.login.is_none_or(|login| !login.name.contains(&b'|')));
            (route.relay, route.port)
        }),
        Err(bad) => {
            assert!(bad.line <= text.iter().filter(|&&c| c == b'\n').count() + 1);
            None
        }
    }
}

/// How many keys the rules of a file make.
pub(crate) fn rule_keys(text: &[u8]) -> usize {
    let keys = |line| match tcprules::parse(line) {
        tcprules::Line::Rule(rule) => {
            assert!(rule.value.last().is_none_or(|&c| c == 0), "an item without its end");
            rule.keys().count()
        }
        tcprules::Line::Nothing | tcprules::Line::NoColon | tcprules::Line::Bad(..) => 0,
    };
    text.split(|&c| c == b'\n').map(keys).sum()
}

/// Whether a script's patterns select a line, and what its sizes are.
pub(crate) fn script_of(text: &[u8], line: &[u8]) -> bool {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    let args = text.split(|&c| c == b'\n').map(|arg| OsString::from_vec(arg.to_vec()));
    let args: Vec<OsString> = args.collect();
    let mut selected = true;
    for action in script::Script::parse(&args).actions {
        match action {
            script::Action::Select(plus, pattern) if selected != plus => {
                selected ^= script::matches(&pattern, line);
            }
            script::Action::Log(keep) => {
                assert!((4096..=16_777_215).contains(&keep.size) && keep.number >= 2);
            }
            script::Action::Select(..) | script::Action::Alert | script::Action::Status(_) => {}
        }
    }
    selected
}

/// Lines as multilog gives them out, in pieces, joined again.
pub(crate) fn logged(pieces: &[&[u8]]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let (mut lines, mut whole, mut heads) = (line::Lines::new(), Vec::new(), Vec::new());
    let mut give = |piece: line::Piece<'_>| match piece {
        line::Piece::Line(line) => {
            assert!(line.len() <= line::HEAD + 1 && line.ends_with(b"\n"));
            whole.extend_from_slice(line);
            heads.push(line[..line.len() - 1].to_vec());
        }
        line::Piece::Head(head) => {
            assert!(head.len() <= line::HEAD);
            whole.extend_from_slice(head);
            heads.push(head.to_vec());
        }
        line::Piece::Tail(tail) => whole.extend_from_slice(tail),
    };
    pieces.iter().for_each(|piece| lines.feed(piece, &[], &mut give));
    lines.finish(&mut give);
    (whole, heads)
}

type Words = Vec<Vec<u8>>;

/// Programs and recipients that a forwarding table leads to, if it does.
pub(crate) fn expanded(
    table: &base::cdb::Cdb<'_>,
    who: &[u8],
    list: impl FnMut(&[u8]) -> Result<Vec<u8>, ()>,
) -> Option<(Words, Words)> {
    let plan = expand::expand(table, b"s@s", who, list).ok()??;
    Some((plan.programs, plan.recipients))
}
