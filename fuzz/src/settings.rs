//! What an administrator or a user writes: control files, accounts, rules, instructions.

use std::path::Path;

use store::control::{Control, Map, Set};
use store::users::{Routing, assign, dotqmail, resolve};
use yard::Yard;

use crate::pick::{chunks, head};
use crate::{programs, tai64n};

/// The first line says which file it is (a letter) and what is asked of it; the rest is the file.
pub fn settings(data: &[u8]) {
    let (head, text) = head(data);
    let Some((kind, asked)) = head.split_first() else { return };
    match kind {
        b'q' => {
            let lines = text.iter().filter(|&&c| c == b'\n').count() + 1;
            assert!(programs::instructions_of(text) <= lines);
        }
        b'c' => control(text),
        b'r' => smtproutes(text, asked),
        b'a' => assignments(text, asked),
        b't' => {
            let lines = text.iter().filter(|&&c| c == b'\n').count() + 1;
            assert!(programs::rule_keys(text) <= 256 * lines, "a rule without bound");
        }
        b'm' => {
            programs::script_of(text, asked);
        }
        b'p' => passwords(text, asked),
        b'v' => routing(text, asked),
        b'd' => dot_qmail(asked),
        b'l' => logged(text),
        b'z' => zone(text, asked),
        b'y' => destinations(text, asked),
        b's' => crate::stock::letter(text, asked),
        _ => {}
    }
}

/// A directory with one file, to be read as a control file or a time zone.
fn scratch(name: &str, text: &[u8]) -> Yard {
    let (shm, prefix) = (Path::new("/dev/shm"), "qmail-rs-fuzz");
    let dir = if shm.is_dir() { Yard::made_in(shm, prefix) } else { Yard::made(prefix) };
    let dir = dir.expect("a scratch directory");
    std::fs::write(dir.join(name), text).expect("a scratch file");
    dir
}

fn control(text: &[u8]) {
    let name = "file";
    let scratch = scratch(name, text);
    let control = Control::at(&*scratch);
    let list = control.list(name);
    if let Ok(line) = control.line(name) {
        let line = line.expect("the file is there");
        assert!(!line.iter().any(|c| b"\n\0".contains(c)) && !line.ends_with(b"\r"));
        let number = control.int(name, 5);
        let digits = line.first().is_some_and(u8::is_ascii_digit);
        assert_eq!(number.is_ok(), digits || line.is_empty());
        for line in list.expect("the same file").expect("the file is there") {
            assert!(!line.is_empty() && !line.starts_with(b"#") && !line.contains(&b'\n'));
            assert!(control.set(name).is_ok_and(|set| set.is_some_and(|s| s.contains(&line))));
        }
    } else {
        let message = list.map_or_else(|e| e.to_string(), |_| String::new());
        assert!(message.contains(name), "it does not name the file");
    }
}

fn smtproutes(text: &[u8], host: &[u8]) {
    if let Some((relay, port)) = programs::route_of(text, host) {
        assert!(!relay.is_empty() && port != 0);
    }
}

fn assignments(text: &[u8], local: &[u8]) {
    let Ok(cdb) = assign::compile(text) else { return };
    let found = assign::find(&cdb, local).expect("our own file");
    let key = local.to_ascii_lowercase();
    let exact = text.split(|&c| c == b'\n').take_while(|line| *line != b".").find(|line| {
        let Some((first, rest)) = line.split_first() else { return false };
        let named = rest.split(|&c| c == b':').next().unwrap_or_default();
        *first != b'+' && named.to_ascii_lowercase() == key
    });
    if let Some(line) = exact {
        let user = line.split(|&c| c == b':').nth(1).unwrap_or_default();
        // A NUL in the address would be the end of a key.
        assert!(local.contains(&0) || found.is_some_and(|account| account.user == user));
    }
}

fn passwords(text: &[u8], host: &[u8]) {
    if let Ok(file) = store::passwords::compile(text, host) {
        let cdb = base::cdb::Cdb::new(&file).expect("our own file");
        for record in cdb.records() {
            let (name, hash) = record.expect("our own record");
            assert!(store::passwords::is_hash(hash) && name.contains(&b'@'));
            assert_eq!(cdb.get(name), Ok(Some(hash)), "an address twice");
        }
    }
}

/// Three blocks: locals, virtualdomains, percenthack; and the address in the first line.
fn routing(text: &[u8], address: &[u8]) {
    let mut blocks = text.split(|&c| c == b'|').map(|block| block.split(|&c| c == b'\n'));
    let routing = Routing {
        locals: Set::from_lines(blocks.next().into_iter().flatten()),
        virtualdomains: Map::from_lines(blocks.next().into_iter().flatten()),
        percenthack: Set::from_lines(blocks.next().into_iter().flatten()),
        envnoathost: b"here".to_vec(),
    };
    let (store::users::Route::Local(to) | store::users::Route::Remote(to)) =
        resolve(&routing, address);
    assert!(to.len() <= text.len() + address.len() + 6 && to.contains(&b'@'));
}

/// What an administrator says of destinations: a number of deliveries, a pause, a class.
fn destinations(text: &[u8], domain: &[u8]) {
    for name in ["concurrencydestination", "pauses", "priority"] {
        let scratch = scratch(name, text);
        if let Err(message) = programs::policy_of(&Control::at(&*scratch), domain) {
            assert!(message.contains(name), "it does not name the file");
        }
    }
}

/// The names tried for an extension: bounded, and none leads out of the home.
fn dot_qmail(ext: &[u8]) {
    let names: Vec<_> = dotqmail::candidates(b"-", ext).collect();
    assert!(names.len() <= ext.len() + 2);
    for candidate in names {
        assert!(candidate.name.starts_with(b".qmail-"));
        assert!(!candidate.name.windows(3).any(|three| three == b"/.." || three == b"../"));
        assert!(candidate.default_at.is_none_or(|at| at <= ext.len()));
    }
}

fn logged(text: &[u8]) {
    let one = programs::logged(&[text]);
    assert_eq!(programs::logged(&chunks(text, text.len() as u8)), one, "in pieces");
    let open = !text.is_empty() && !text.ends_with(b"\n");
    let want = if open { [text, b"\n"].concat() } else { text.to_vec() };
    assert_eq!(one.0, want, "what comes in is what goes out");
}

/// A time zone's file, or a rule, and labels to be printed in it.
fn zone(text: &[u8], asked: &[u8]) {
    tai64n::rule_offset(asked, text.len() as i64);
    for unix in [i64::MIN, i64::MAX, 0, 1 << 40] {
        if let Some(offset) = tai64n::rule_offset(asked, unix) {
            assert!(offset.abs() <= 26 * 3600);
        }
    }
    let labels = b"@4000000037c219bf2ef02e94 a\n@ffffffffffffffffffffffff b\n@0 c\n@";
    let scratch = scratch("zone", text);
    let path = scratch.join("zone");
    let tz = [b":", path.as_os_str().as_encoded_bytes()].concat();
    let one = tai64n::local_lines(&tz, &[labels]);
    assert_eq!(tai64n::local_lines(&tz, &chunks(labels, 4)), one);
}
