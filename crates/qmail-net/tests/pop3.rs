//! Every POP3 session file, played against the real `qmail-popup` and `qmail-pop3d`: with a
//! program that checks passwords, with something that stands in for pspawn, and from a clean
//! parent that is handed one connection after the other.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, helpers and all")]

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use base::time::Moment;
use base::wire::login::{Answer, Login, Verb};
use session::{Script, Server, Setting, Wire, play};
use store::disk::kernel::Kernel;
use store::maildir::{self, Mark};
use sys::brood::{Brood, Event};
use sys::pass::{self, Kind};
use sys::user::Ids;
use yard::Yard;

/// Under whom a test that runs as root lets the servers run.
const NOBODY: u32 = 47_790;
const PROGRAM: &str = env!("CARGO_BIN_EXE_qmail-net");

/// Checks against `users` (lines `name password`), then serves that account's Maildir.
const CHECK: &str = r#"#!/bin/sh
login=$(tr '\0' '\n' <&3 | head -n 2 | tr '\n' '\t')
exec 3<&- 4<"$QMAILHOME/users"
while IFS=' ' read -r name dir password <&4; do
  if [ "$name	$password	" = "$login" ]; then cd "$dir" && exec "$@" 4<&-; fi
done
exit 1
"#;

fn root() -> bool {
    sys::user::euid() == 0
}

/// A home with the accounts of one script.
struct House {
    root: Yard,
    me: String,
    /// Login names, and the password and directory of each.
    users: Arc<Mutex<HashMap<String, (String, PathBuf)>>>,
}

impl House {
    fn new(name: &str) -> Self {
        let root = Yard::new(&format!("pop3-{name}"));
        fs::create_dir_all(root.join("pspawn")).unwrap();
        yard::script(&root.join("check"), CHECK);
        let house = Self { root, me: String::new(), users: Arc::default() };
        give(&house.root);
        house
    }

    /// Makes the accounts and letters of a script, in place of the last script's.
    fn furnish(&mut self, script: &Script) {
        let me = script.control("me").next().unwrap();
        self.me = me.to_owned();
        let mut users = self.users.lock().unwrap();
        users.clear();
        let (mut lines, mut maildir, mut count) = (String::new(), PathBuf::new(), 0);
        for setting in &script.settings {
            match setting {
                Setting::Account(address, password) => {
                    let dir = self.root.join(address);
                    let _ = fs::remove_dir_all(&dir);
                    maildir = dir.join("Maildir");
                    for name in ["tmp", "new", "cur"] {
                        fs::create_dir_all(maildir.join(name)).unwrap();
                        give(&maildir.join(name));
                    }
                    for name in [Some(address.as_str()), address.strip_suffix(&format!("@{me}"))] {
                        let Some(name) = name else { continue };
                        lines += &format!("{name} {} {password}\n", dir.display());
                        users.insert(name.to_owned(), (password.clone(), dir.clone()));
                    }
                }
                Setting::Letter(text) => {
                    count += 1;
                    let path = maildir.join(format!("new/17.M{count}Q{count}R0.{me}"));
                    fs::write(&path, text).unwrap();
                    give(&path);
                }
                _ => {}
            }
        }
        fs::write(self.root.join("users"), lines).unwrap();
    }

    fn maildir(&self, name: &str, dir: &str) -> usize {
        let maildir = self.root.join(name).join("Maildir").join(dir);
        fs::read_dir(maildir).unwrap().count()
    }

    /// Starts qmail-popup on a connection.
    fn popup(&self, args: &[&str]) -> (Wire, Child) {
        let (wire, end) = connection();
        let mut command = as_nobody(Command::new(PROGRAM));
        command.arg("qmail-popup").arg(&self.me).args(args).env("QMAILHOME", &self.root);
        command.stdin(Stdio::from(end.try_clone().unwrap())).stdout(Stdio::from(end));
        (wire, command.stderr(Stdio::null()).spawn().unwrap())
    }

    fn with_program(&self) -> (Wire, Child) {
        let check = self.root.join("check").display().to_string();
        self.popup(&[&check, PROGRAM, "qmail-pop3d", "Maildir"])
    }

    /// Stands in for pspawn, for as long as the test runs.
    fn pspawn(&self) {
        let path = self.root.join("pspawn/socket");
        let socket = pass::listen(&path, Kind::Seqpacket, 0o666, 10).unwrap();
        let users = Arc::clone(&self.users);
        std::thread::spawn(move || {
            while let Ok(asked) = pass::accept(&socket) {
                let mut room = [0; 1_024];
                let (len, fds) = pass::recv(&asked, &mut room, 1).unwrap();
                let login = Login::decode(&room[..len]).unwrap();
                assert_eq!(login.verb, Verb::Open);
                assert!(login.timestamp.starts_with(b"<"));
                let name = String::from_utf8_lossy(login.name).into_owned();
                let known = users.lock().unwrap().get(&name).cloned();
                let known = known.filter(|(password, _)| password.as_bytes() == login.secret);
                let mut answer = Vec::new();
                match known {
                    None => Answer::Refused.encode(&mut answer),
                    Some((_, dir)) => {
                        serve(&dir, fds.into_iter().next().unwrap());
                        Answer::Welcome.encode(&mut answer);
                    }
                }
                pass::send(&asked, &answer, &[]).unwrap();
            }
        });
    }
}

/// qmail-pop3d in an account's home.
fn serve(dir: &Path, connection: OwnedFd) {
    let mut command = as_nobody(Command::new(PROGRAM));
    command.args(["qmail-pop3d", "Maildir"]).current_dir(dir);
    command.stdin(Stdio::from(connection.try_clone().unwrap())).stdout(Stdio::from(connection));
    let mut child = command.spawn().unwrap();
    std::thread::spawn(move || child.wait());
}

/// A home of root's would not be private, and root serves nobody.
fn give(path: &Path) {
    if root() {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

fn as_nobody(mut command: Command) -> Command {
    if root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// A connected pair: the client's end as a server to play against, and the server's.
fn connection() -> (Wire, OwnedFd) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (Wire::over(client).unwrap(), listener.accept().unwrap().0.into())
}

fn scripts() -> Vec<(String, Script)> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/sessions");
    let mut scripts: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "pop3"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, Script::parse(&fs::read_to_string(&path).unwrap()).unwrap())
        })
        .collect();
    scripts.sort_by(|a, b| a.0.cmp(&b.0));
    scripts
}

#[test]
fn a_password_program_and_pop3d_answer_as_the_files_say() {
    let mut house = House::new("program");
    for (name, script) in scripts() {
        house.furnish(&script);
        let (mut wire, mut child) = house.with_program();
        play(&script, &mut wire).unwrap_or_else(|m| panic!("{name}: {m}"));
        assert_eq!(child.wait().unwrap().code(), Some(1), "{name}");
    }
}

#[test]
fn pspawn_takes_the_connection_over_with_what_is_still_in_it() {
    let mut house = House::new("pspawn");
    house.pspawn();
    for (name, script) in scripts() {
        house.furnish(&script);
        let (mut wire, mut child) = house.popup(&[]);
        play(&script, &mut wire).unwrap_or_else(|m| panic!("{name}: {m}"));
        child.wait().unwrap();
    }
}

#[test]
fn a_clean_parent_answers_as_the_files_say() {
    let mut house = House::new("brood");
    house.pspawn();
    let env = [("QMAILHOME".into(), house.root.as_os_str().to_owned())];
    let ids = root().then(|| Ids { uid: NOBODY, gid: NOBODY, groups: vec![NOBODY] });
    let args = ["qmail-popup".into(), "mail.example.org".into()];
    let brood = Brood::spawn(PROGRAM.as_ref(), &args, &env, ids.as_ref()).unwrap();
    for (name, script) in scripts() {
        if script.control("me").next() != Some("mail.example.org") {
            continue;
        }
        house.furnish(&script);
        let (mut wire, end) = connection();
        brood.hand_over(1, b"TCPREMOTEIP=192.0.2.7\0", &[end.as_fd()]).unwrap();
        drop(end);
        play(&script, &mut wire).unwrap_or_else(|m| panic!("{name}: {m}"));
        while !matches!(brood.next().unwrap(), Some(Event::Ended { .. })) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
    let pid = brood.pid();
    drop(brood);
    assert_eq!(sys::spawn::wait(pid).unwrap().code(), Some(0));
}

/// A clean parent of qmail-pop3d for the account that lives here.
fn nest(home: &Path) -> Brood {
    let env = [("HOME".into(), home.as_os_str().to_owned())];
    let ids = root().then(|| Ids { uid: NOBODY, gid: NOBODY, groups: vec![NOBODY] });
    let args = ["qmail-pop3d".into(), "Maildir".into()];
    Brood::spawn(PROGRAM.as_ref(), &args, &env, ids.as_ref()).unwrap()
}

#[test]
fn one_clean_parent_serves_session_after_session_of_its_account() {
    let house = House::new("nest");
    let maildir = house.root.join("Maildir");
    for dir in ["tmp", "new", "cur"] {
        fs::create_dir_all(maildir.join(dir)).unwrap();
        give(&maildir.join(dir));
    }
    give(&maildir);
    for n in 10..50 {
        let path = maildir.join(format!("new/{n}.foreign.vm"));
        fs::write(&path, "x\n").unwrap();
        give(&path);
    }
    let brood = nest(&house.root);
    for (letters, serial) in [(40, 1), (39, 2), (38, 3)] {
        let (mut client, server) = std::os::unix::net::UnixStream::pair().unwrap();
        brood.hand_over(serial, b"", &[server.as_fd()]).unwrap();
        drop(server);
        client.write_all(b"STAT\r\nDELE 1\r\nQUIT\r\n").unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        let want = format!("+OK \r\n+OK {letters} {}\r\n+OK \r\n+OK \r\n", letters * 3);
        assert_eq!(said, want);
        // What was found out about letters of others is kept beside them.
        assert!(maildir.join("qmail-pop3d.sizes").exists());
        let ended = loop {
            match brood.next().unwrap() {
                Some(Event::Ended { serial, status }) => break (serial, status.code()),
                _ => std::thread::sleep(std::time::Duration::from_millis(1)),
            }
        };
        assert_eq!(ended, (serial, Some(0)));
    }
    assert_eq!(fs::read_dir(maildir.join("cur")).unwrap().count(), 37);
    let pid = brood.pid();
    drop(brood);
    assert_eq!(sys::spawn::wait(pid).unwrap().code(), Some(0));
    let homeless = nest(&house.root.join("nowhere"));
    assert_eq!(sys::spawn::wait(homeless.pid()).unwrap().code(), Some(111));
}

#[test]
fn only_quit_changes_the_mailbox() {
    let mut house = House::new("update");
    let text = "control me = m\naccount a@m p\nletter x\\n\nletter y\\n\n";
    house.furnish(&Script::parse(text).unwrap());
    let say = |words: &str| {
        let (mut wire, mut child) = house.with_program();
        wire.send(words.as_bytes()).unwrap();
        wire.hang_up();
        while wire.line().unwrap().is_some() {}
        child.wait().unwrap();
        (house.maildir("a@m", "new"), house.maildir("a@m", "cur"))
    };
    assert_eq!(say("USER a\r\nPASS p\r\nDELE 1\r\n"), (2, 0));
    assert_eq!(say("USER a\r\nPASS p\r\nDELE 1\r\nQUIT\r\n"), (0, 1));
    assert_eq!(say("USER a\r\nPASS p\r\nDELE 1\r\nQUIT\r\n"), (0, 0));
}

#[test]
fn a_letter_that_has_gone_and_a_maildir_that_never_was_are_said_to_be() {
    let mut house = House::new("gone");
    house.furnish(&Script::parse("control me = m\naccount a@m p\nletter x\\n\n").unwrap());
    let (mut wire, mut child) = house.with_program();
    wire.send(b"USER a\r\nPASS p\r\nSTAT\r\n").unwrap();
    let lines: Vec<_> = (0..4).map(|_| wire.line().unwrap().unwrap()).collect();
    assert_eq!(lines[3], b"+OK 1 3");
    fs::remove_dir_all(house.root.join("a@m/Maildir/new")).unwrap();
    wire.send(b"RETR 1\r\nQUIT\r\n").unwrap();
    assert_eq!(wire.line().unwrap().unwrap(), b"-ERR unable to open that message");
    assert_eq!(wire.line().unwrap().unwrap(), b"+OK ");
    child.wait().unwrap();
    for (gone, said) in [
        ("a@m/Maildir/cur", &b"-ERR this user has no $HOME/Maildir"[..]),
        ("a@m/Maildir", b"-ERR this user has no $HOME/Maildir"),
    ] {
        fs::remove_dir_all(house.root.join(gone)).unwrap();
        let (mut wire, mut child) = house.with_program();
        wire.send(b"USER a\r\nPASS p\r\n").unwrap();
        let lines: Vec<_> = (0..3).map(|_| wire.line().unwrap().unwrap()).collect();
        assert_eq!(lines[2], said);
        child.wait().unwrap();
    }
}

#[test]
fn without_pspawn_the_client_hears_that_it_is_not_his_fault() {
    let mut house = House::new("down");
    house.furnish(&Script::parse("control me = m\naccount a@m p\n").unwrap());
    let (mut wire, mut child) = house.popup(&[]);
    wire.send(b"USER a\r\nPASS p\r\n").unwrap();
    let lines: Vec<_> = (0..3).map(|_| wire.line().unwrap().unwrap()).collect();
    assert!(lines[2].starts_with(b"-ERR [SYS/TEMP] "));
    assert_eq!(wire.line().unwrap(), None);
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn root_neither_hears_nor_serves() {
    if !root() {
        return yard::skipped("only root can be refused to root");
    }
    for (program, code, words) in [
        ("qmail-popup", 111, "will not hear strangers as root"),
        ("qmail-pop3d", 1, "qmail-pop3d invoked as uid 0, terminating"),
        ("qmail-remote", 111, "will not speak to strangers as root"),
    ] {
        let mut command = Command::new(PROGRAM);
        command.args([program, "Maildir"]).env("QMAILHOME", "/").stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut said, mut heard) = (String::new(), String::new());
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        child.stdout.take().unwrap().read_to_string(&mut heard).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{program}");
        assert!(said.contains(words) && heard.is_empty(), "{said}{heard}");
    }
}

#[test]
fn a_killed_password_program_is_said_to_have_crashed() {
    let mut house = House::new("crash");
    house.furnish(&Script::parse("control me = m\n").unwrap());
    let (mut wire, mut child) = house.popup(&["/bin/sh", "-c", "kill -9 $$"]);
    wire.send(b"APOP a 0123\r\n").unwrap();
    assert!(wire.line().unwrap().is_some());
    assert_eq!(wire.line().unwrap().unwrap(), b"-ERR aack, child crashed");
    child.wait().unwrap();
}

#[test]
fn a_large_letter_arrives_whole_and_its_size_is_true() {
    let mut house = House::new("large");
    house.furnish(&Script::parse("control me = m\naccount a@m p\nletter x\\n\n").unwrap());
    let line = format!(".{}\n", "x".repeat(997));
    let letter = line.repeat(3_000);
    let path = house.root.join("a@m/Maildir/new/17.M1Q1R0.m");
    fs::File::create(&path).unwrap().write_all(letter.as_bytes()).unwrap();
    let (mut wire, mut child) = house.with_program();
    wire.send(b"USER a\r\nPASS p\r\nLIST 1\r\nRETR 1\r\nQUIT\r\n").unwrap();
    let lines: Vec<_> = std::iter::from_fn(|| wire.line().unwrap()).collect();
    assert_eq!(lines[3], format!("+OK 1 {}", letter.len() + 3_000).as_bytes());
    assert_eq!(lines.len(), 5 + 3_000 + 2);
    assert!(
        lines[5..3_005]
            .iter()
            .all(|got| got.strip_prefix(b".").unwrap() == &line.as_bytes()[..998])
    );
    child.wait().unwrap();
}

/// A letter of line ends, dots and words, told by a number (xorshift).
fn strange(dice: &mut u64) -> Vec<u8> {
    let mut roll = |sides: usize| {
        *dice ^= *dice << 13;
        *dice ^= *dice >> 7;
        *dice ^= *dice << 17;
        usize::try_from(*dice % sides as u64).unwrap()
    };
    let words: [&[u8]; 6] = [b"\r", b"\n", b"\r\n", b".", b"a: b", b"\0\xff"];
    (0..roll(12)).flat_map(|_| words[roll(words.len())]).copied().collect()
}

/// What a session sends of each letter: the sizes in its list, and the bytes of each RETR with its
/// dots undoubled.
fn heard(said: &[u8], letters: usize) -> Vec<(u64, u64)> {
    let mut lines = said.split_inclusive(|&c| c == b'\n');
    let mut next = || lines.next().unwrap().strip_suffix(b"\r\n").unwrap();
    assert_eq!((next(), next()), (&b"+OK "[..], &b"+OK "[..]));
    let listed: Vec<u64> = (0..letters)
        .map(|_| std::str::from_utf8(next()).unwrap().split(' ').nth(1).unwrap().parse().unwrap())
        .collect();
    assert_eq!(next(), b".");
    let mut sent = |_| {
        assert_eq!(next(), b"+OK ");
        let lines = std::iter::from_fn(|| Some(next()).filter(|line| *line != b"."));
        lines.map(|line| line.strip_prefix(b".").unwrap_or(line).len() as u64 + 2).sum()
    };
    let sent: Vec<u64> = (0..letters).map(&mut sent).collect();
    listed.into_iter().zip(sent).collect()
}

#[test]
fn the_size_in_a_name_the_size_in_the_list_and_what_is_sent_are_one() {
    let mut house = House::new("sizes");
    house.furnish(&Script::parse("control me = m\naccount a@m p\n").unwrap());
    let dir = house.root.join("a@m");
    let disk = Kernel::at(&dir.join("Maildir")).unwrap();
    let (mut dice, mut named) = (0x5eed, Vec::new());
    for letter in 0..300 {
        let (head, body) = (strange(&mut dice), strange(&mut dice));
        let sizes = maildir::measure(&head, &body[..]).unwrap();
        let birth = Moment::from_secs(1_000 + letter);
        let name = maildir::name(&Mark { birth, letter, index: 0, instruction: 0 }, b"m", &sizes);
        // Every other letter is a stranger's, whose name says nothing.
        let own = letter % 2 == 0;
        let name = if own { name } else { format!("{}.M0Q{letter}R0.m", birth.secs()).into() };
        maildir::deliver(&disk, &name, false, &head, &body[..]).unwrap();
        give(&dir.join("Maildir/new").join(name));
        named.push(sizes.wire());
    }
    let mut command = as_nobody(Command::new(PROGRAM));
    command.args(["qmail-pop3d", "Maildir"]).current_dir(&dir);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let retr: String = (1..=named.len()).map(|n| format!("RETR {n}\r\n")).collect();
    let say = format!("LIST\r\n{retr}QUIT\r\n");
    child.stdin.take().unwrap().write_all(say.as_bytes()).unwrap();
    let mut said = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut said).unwrap();
    child.wait().unwrap();
    let heard = heard(&said, named.len());
    assert_eq!(heard, named.iter().map(|&size| (size, size)).collect::<Vec<_>>());
}
