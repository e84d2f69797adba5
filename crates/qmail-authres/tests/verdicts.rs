//! The program against a DNS of three domains.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use mail_auth::common::crypto::Ed25519Key;
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dkim::DkimSigner;
use mail_auth::hickory_resolver::proto::op::{Message, ResponseCode};
use mail_auth::hickory_resolver::proto::rr::rdata::{A, TXT};
use mail_auth::hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use yard::patience::quick_once;

const PROGRAM: &str = env!("CARGO_BIN_EXE_qmail-authres");
const NOBODY: u32 = 65_534;

/// The key pair of RFC 8463's appendix A.2.
const SEED: [u8; 32] = [
    0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
    0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
];
const PUBLIC: [u8; 32] = [
    0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a,
    0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
];
const KEY: &str = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

const LETTER: &str = "From: Joe <joe@good.test>\nTo: sue@here.test\nSubject: hello\n\nHi.\n";

fn zone(name: &str, kind: RecordType) -> (ResponseCode, Option<RData>) {
    let txt = |text: &str| Some(RData::TXT(TXT::new(vec![text.to_owned()])));
    let found = match (name, kind) {
        ("good.test.", RecordType::TXT) => txt("v=spf1 ip4:192.0.2.1 a:mx.good.test -all"),
        ("mx.good.test.", RecordType::A) => Some(RData::A(A(Ipv4Addr::new(192, 0, 2, 2)))),
        ("_dmarc.good.test.", RecordType::TXT) => txt("v=DMARC1; p=reject"),
        ("key._domainkey.good.test.", RecordType::TXT) => txt(KEY),
        ("bad.test.", RecordType::TXT) => txt("v=spf1 nonsense:"),
        (name, _) if name.ends_with("broken.test.") => return (ResponseCode::ServFail, None),
        (name, _) if name.ends_with("good.test.") => None,
        _ => return (ResponseCode::NXDomain, None),
    };
    (ResponseCode::NoError, found)
}

fn answer(question: &[u8]) -> Vec<u8> {
    let question = Message::from_vec(question).unwrap();
    let query = question.queries[0].clone();
    let owner: Name = query.name().clone();
    let (code, data) = zone(&owner.to_ascii().to_ascii_lowercase(), query.query_type());
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.metadata.response_code = code;
    answer.metadata.recursion_available = true;
    answer.add_query(query);
    answer.add_answers(data.map(|data| Record::from_rdata(owner, 60, data)));
    answer.to_vec().unwrap()
}

/// Answers until the test's process ends.
fn dns() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            socket.send_to(&answer(&buffer[..len]), from).unwrap();
        }
    });
    address
}

/// A run of the program; whatever runs the tests, it is not root.
fn command(args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(args).env_clear();
    if sys::user::euid() == 0 {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn run(mut command: Command, letter: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // It may have ended without reading: then what it said is looked at.
    let _gone = stdin.write_all(letter);
    drop(stdin);
    child.wait_with_output().unwrap()
}

fn judged_at(server: SocketAddr, ip: &str, helo: &str, sender: &str, letter: &str) -> String {
    judged_within("60", server, [ip, helo, sender], letter)
}

fn judged_within(
    seconds: &str,
    server: SocketAddr,
    [ip, helo, sender]: [&str; 3],
    letter: &str,
) -> String {
    let server = server.to_string();
    let mut command = command(&["-h", "here.test", "-d", &server, "-t", seconds]);
    command.envs([("TCPREMOTEIP", ip), ("HELO", helo), ("SENDER", sender)]);
    let out = run(command, letter.as_bytes());
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    String::from_utf8(out.stdout).unwrap()
}

fn judged(ip: &str, sender: &str, letter: &str) -> String {
    judged_at(dns(), ip, "client.test", sender, letter)
}

fn signed(letter: &str) -> String {
    let key = Ed25519Key::from_seed_and_public_key(&SEED, &PUBLIC).unwrap();
    let wire = letter.replace('\n', "\r\n");
    let signer = DkimSigner::from_key(key).domain("good.test").selector("key");
    let signature = signer.headers(["From", "To", "Subject"]).sign(wire.as_bytes()).unwrap();
    signature.to_header().replace("\r\n", "\n") + letter
}

#[test]
fn a_client_the_domain_names_passes_and_so_does_the_author() {
    for ip in ["192.0.2.1", "192.0.2.2", "::ffff:192.0.2.1"] {
        assert_eq!(
            judged(ip, "joe@good.test", LETTER),
            "Authentication-Results: here.test;\n spf=pass smtp.mailfrom=joe@good.test;\n \
             dkim=none;\n dmarc=pass header.from=good.test\n"
        );
    }
}

#[test]
fn any_other_client_fails_and_so_does_the_author() {
    assert_eq!(
        judged("192.0.2.9", "joe@good.test", LETTER),
        "Authentication-Results: here.test;\n spf=fail smtp.mailfrom=joe@good.test;\n \
         dkim=none;\n dmarc=fail header.from=good.test\n"
    );
}

#[test]
fn a_bounce_is_judged_by_the_name_of_the_client() {
    let said = judged_at(dns(), "192.0.2.1", "good.test", "", LETTER);
    assert!(said.contains("\n spf=pass smtp.helo=good.test;\n"), "{said}");
    let said = judged_at(dns(), "192.0.2.1", "[192.0.2.1]", "", LETTER);
    assert!(said.contains("\n spf=none;\n"), "{said}");
}

#[test]
fn a_stored_letter_keeps_its_signature() {
    let said = judged("192.0.2.9", "list@other.test", &signed(LETTER));
    assert_eq!(
        said,
        "Authentication-Results: here.test;\n spf=none smtp.mailfrom=list@other.test;\n \
         dkim=pass header.d=good.test header.s=key;\n dmarc=pass header.from=good.test\n"
    );
}

#[test]
fn a_changed_letter_has_lost_it() {
    for (old, new) in [("Hi.", "Ho."), ("hello", "hallo")] {
        let said = judged("192.0.2.9", "list@other.test", &signed(LETTER).replace(old, new));
        let want = "\n dkim=fail header.d=good.test header.s=key;\n dmarc=fail header.from=";
        assert!(said.contains(want), "{said}");
    }
}

#[test]
fn a_signature_that_proves_nothing_about_the_author_is_not_accepted() {
    let letter = signed(LETTER).replacen("ed25519-sha256", "rsa-sha1", 1);
    let said = judged("192.0.2.9", "list@other.test", &letter);
    assert!(said.contains("\n dkim=policy header.d=good.test header.s=key;\n"), "{said}");
    assert!(said.contains("\n dmarc=fail "), "{said}");
}

#[test]
fn of_very_many_signatures_a_few_are_looked_at() {
    let signature = signed(LETTER).replace(LETTER, "");
    let said = judged("192.0.2.9", "list@other.test", &(signature.repeat(300) + LETTER));
    assert_eq!(said.matches("dkim=pass").count(), 10, "{said}");
}

#[test]
fn trouble_of_the_dns_is_a_verdict() {
    let letter = LETTER.replace("good.test", "broken.test");
    let said = judged("192.0.2.1", "joe@broken.test", &letter);
    assert!(said.contains("\n spf=temperror smtp.mailfrom=joe@broken.test;\n"), "{said}");
    assert!(said.contains("\n dmarc=temperror"), "{said}");
}

#[test]
fn a_dns_that_says_nothing_is_a_verdict_and_soon() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let letter = signed(LETTER);
    let server = silent.local_addr().unwrap();
    // With the 20 s it takes if it is told nothing it were never done as soon as that.
    quick_once("what is told to take 2 s", Duration::from_secs(15), || {
        let begun = Instant::now();
        let said = judged_within("2", server, ["192.0.2.1", "x.test", "joe@good.test"], &letter);
        for word in ["spf=temperror", "dkim=temperror", "dmarc=temperror"] {
            assert!(said.contains(word), "{said}");
        }
        begun.elapsed()
    });
}

#[test]
fn a_record_nobody_can_read_is_told() {
    let said = judged("192.0.2.1", "joe@bad.test", LETTER);
    assert!(said.contains("\n spf=permerror smtp.mailfrom=joe@bad.test;\n"), "{said}");
}

#[test]
fn hostile_words_add_nothing() {
    let letter = "From: x@a;dmarc=pass\nTo: y\n\n";
    let said = judged("192.0.2.1", "a\r\nX: y@b;\ndkim=pass", letter);
    assert_eq!(said.lines().count(), 4, "{said}");
    assert!(said.contains("\n spf=none;\n dkim=none;\n dmarc="), "{said}");
    assert!(!said.contains("pass") && !said.contains("X:"), "{said}");
}

#[test]
fn misuse_and_letters_nobody_can_judge_end_in_100() {
    let known = [("TCPREMOTEIP", "192.0.2.1"), ("SENDER", "")];
    let code = |args: &[&str], env: &[(&str, &str)], letter: &[u8]| {
        let mut command = command(args);
        command.envs(env.iter().copied());
        let out = run(command, letter);
        assert!(out.stdout.is_empty() && out.stderr.starts_with(b"qmail-authres: fatal: "));
        out.status.code()
    };
    let wrong: [&[&str]; 6] =
        [&["-h", "a b"], &["-d", "dns.test"], &["-t", "0"], &["-x", "y"], &["-h"], &["word"]];
    for args in wrong {
        assert_eq!(code(args, &known, b"A: b\n\n"), Some(100), "{args:?}");
    }
    assert_eq!(code(&[], &known[..1], b"A: b\n\n"), Some(100));
    assert_eq!(code(&[], &known[1..], b"A: b\n\n"), Some(100));
    assert_eq!(code(&[], &known, b""), Some(100));
    assert_eq!(code(&[], &known, &vec![b'a'; (32 << 20) + 1]), Some(100));
}

#[test]
fn root_is_refused() {
    if sys::user::euid() == 0 {
        let mut command = Command::new(PROGRAM);
        command.env_clear().envs([("TCPREMOTEIP", "192.0.2.1"), ("SENDER", "")]);
        let out = run(command, LETTER.as_bytes());
        assert_eq!(out.status.code(), Some(111), "{out:?}");
        assert!(out.stdout.is_empty());
    } else {
        yard::skipped("only root can be refused to root");
    }
}
