//! Whole conversations, replies in, actions out.

use super::*;
use alloc::string::{String, ToString};

fn job(recipients: &[&str]) -> Job {
    Job {
        sender: b"joe@a.test".to_vec(),
        recipients: recipients.iter().map(|r| r.as_bytes().to_vec()).collect(),
        size: Some(77),
    }
}

/// `LOST`, `SENT`, `UNREADABLE`, `LEAVE`; `JOB` for another letter to x@y; else a reply.
fn feed(session: Session, said: &str) -> (Session, Actions) {
    match said {
        "LOST" => session.step(Input::Lost),
        "SENT" => session.step(Input::BodySent),
        "UNREADABLE" => session.step(Input::Unreadable),
        "LEAVE" => session.step(Input::Leave),
        "JOB" => session.step(Input::Job(job(&["x@y"]))),
        said => {
            let wire = alloc::format!("{said}\r\n");
            let reply = Replies::default().take(&mut wire.as_bytes()).unwrap().unwrap();
            session.step(Input::Reply(reply))
        }
    }
}

fn talk(job: Job, said: &[&str]) -> Vec<String> {
    let mut session = Session::new(b"192.0.2.1".to_vec(), b"me.test".to_vec(), job);
    let mut heard = Vec::new();
    for said in said {
        let (next, actions) = feed(session, said);
        session = next;
        heard.extend(actions.iter().map(show));
    }
    heard
}

fn show(action: &Action) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match action {
        Action::Send(bytes) => text(bytes).strip_suffix("\r\n").unwrap().replace("\r\n", " | "),
        Action::Body => "(body)".to_string(),
        Action::Item(item) => alloc::format!("= {}", text(item)),
        Action::Next(item) => alloc::format!("next {}", text(item)),
        Action::Ready => "(ready)".to_string(),
        Action::Stale => "(stale)".to_string(),
        Action::Close => "(close)".to_string(),
    }
}

const OK: [&str; 4] = ["220 hi", "250-x\r\n250-size 5\r\n250 8BITMIME", "250 ok", "250 ok"];
/// The same from a server that takes commands in one piece.
const FAST: [&str; 4] = ["220 hi", "250-x\r\n250 Pipelining", "250 ok", "250 ok"];
const FAST_LETTER: &str = "MAIL FROM:<joe@a.test> | RCPT TO:<x@y> | DATA";
const TAKEN: &str = "= K192.0.2.1 accepted message.\nRemote host said: 250 ok 1\n";
const REFUSED: &str = "= h192.0.2.1 does not like recipient.\nRemote host said: 550 no\n";
const GIVEN_UP: &str = "= DGiving up on 192.0.2.1.\n";
const DIED: &str = "= ZConnected to 192.0.2.1 but connection died. (#4.4.2)\n";
const TWICE: &str = "= ZConnected to 192.0.2.1 but connection died. Possible duplicate! (#4.4.2)\n";

/// What is heard after a first letter went well and these replies and a `JOB` among them followed.
fn second(first: [&str; 4], said: &[&str]) -> Vec<String> {
    let said = [&first[..], &["354 go", "SENT", "250 ok 1"], said].concat();
    let heard = talk(job(&["x@y"]), &said);
    let ready = heard.iter().position(|line| line == "(ready)").unwrap();
    heard[ready + 1..].to_vec()
}

#[test]
fn a_letter_goes_out() {
    let said = [&OK[..], &["354 go", "SENT", "250 ok 1", "LEAVE"]].concat();
    let want = [
        "EHLO me.test",
        "MAIL FROM:<joe@a.test> SIZE=77",
        "RCPT TO:<\"a b\"@b.test>",
        "= r",
        "DATA",
        "(body)",
        ".",
        TAKEN,
        "(ready)",
        "QUIT",
        "(close)",
    ];
    assert_eq!(talk(job(&["a b@b.test"]), &said), want);
}

#[test]
fn an_old_server_is_spoken_to_in_its_way() {
    let mut bounce = job(&["x"]);
    bounce.sender = Vec::new();
    let heard = talk(bounce, &["220 hi", "502 what?", "250 hello", "250 ok"]);
    assert_eq!(heard, ["EHLO me.test", "HELO me.test", "MAIL FROM:<>", "RCPT TO:<x>"]);
}

#[test]
fn before_mail_another_host_may_be_tried() {
    let said = "\nRemote host said: ";
    for (replies, want) in [
        (&["554 no"][..], " but greeting failed."),
        (&["421 busy"], " but greeting failed."),
        (&["220 a", "421 busy"], " but my name was rejected."),
        (&["220 a", "500 a", "550 go"], " but my name was rejected."),
    ] {
        let heard = talk(job(&["x@y"]), replies);
        let last = replies[replies.len() - 1];
        let want = alloc::format!("next ZConnected to 192.0.2.1{want}{said}{last}\n");
        assert!(heard.ends_with(&["QUIT".into(), want]), "{heard:?}");
    }
    let died = "next ZConnected to 192.0.2.1 but connection died. (#4.4.2)\n";
    assert_eq!(talk(job(&["x@y"]), &["LOST"]), [died]);
}

#[test]
fn every_refusal_has_its_stock_text() {
    let step = |n: usize, last| talk(job(&["x@y"]), &[&OK[..n], &[last]].concat());
    let said = |text: &str, reply: &str| alloc::format!("= {text}\nRemote host said: {reply}\n");
    for (code, letter, recipient) in [("550 no", 'D', 'h'), ("451 no", 'Z', 's')] {
        let sender = alloc::format!("{letter}Connected to 192.0.2.1 but sender was rejected.");
        assert!(step(2, code).ends_with(&[said(&sender, code), "(ready)".into()]));
        let heard = step(3, code);
        let item = alloc::format!("{recipient}192.0.2.1 does not like recipient.");
        assert_eq!(heard[3..], [said(&item, code), GIVEN_UP.into(), "(ready)".into()]);
        let data = alloc::format!("{letter}192.0.2.1 failed on DATA command.");
        assert!(step(4, code).ends_with(&[said(&data, code), "(ready)".into()]));
        let heard = talk(job(&["x@y"]), &[&OK[..], &["354 go", "SENT", code]].concat());
        let sent = alloc::format!("{letter}192.0.2.1 failed after I sent the message.");
        assert!(heard.ends_with(&[said(&sent, code), "(ready)".into()]));
    }
}

#[test]
fn some_recipients_are_enough() {
    let said = [&OK[..3], &["550 no", "250 ok", "451 later"]].concat();
    let heard = talk(job(&["a@b", "c@d", "e@f"]), &said);
    assert_eq!(heard[8], "DATA");
    assert_eq!(heard.iter().filter(|line| line.starts_with("= ")).count(), 3);
}

#[test]
fn only_behind_the_dot_may_a_loss_be_a_duplicate() {
    let body = [&OK[..], &["354 go"]].concat();
    assert_eq!(talk(job(&["x@y"]), &[&body[..], &["LOST"]].concat())[6], DIED);
    assert_eq!(talk(job(&["x@y"]), &[&body[..], &["SENT", "LOST"]].concat())[7], TWICE);
    // It asks for the letter after the letter: it answers something else.
    assert_eq!(talk(job(&["x@y"]), &[&body[..], &["SENT", "354 go"]].concat())[7], TWICE);
    let heard = talk(job(&["x@y"]), &[&body[..], &["UNREADABLE"]].concat());
    assert_eq!(heard[6..], ["= ZUnable to read message. (#4.3.0)\n", "(close)"]);
}

#[test]
fn no_address_becomes_a_command() {
    let bad = ["x\r\nDATA@y", "x@y>\r\nDATA", "x@y z", "x@y> SIZE=1", "a b", "x\n@y"];
    let never = "= hSorry, SMTP cannot carry the bytes of that address. (#5.1.3)\n";
    for bad in bad {
        let heard = talk(job(&[bad]), &OK[..2]);
        assert_eq!(heard[1..], [never, GIVEN_UP, "(ready)"]);
        for (server, said) in [(OK, "DATA"), (FAST, "| DATA")] {
            let heard = talk(job(&["x@y", bad]), &server);
            assert!(heard.contains(&never.to_string()) && heard.iter().any(|h| h.ends_with(said)));
        }
    }
    let mut from = job(&["x@y"]);
    from.sender = b"joe\n@a".to_vec();
    assert!(talk(from, &OK[..2])[1].starts_with("= DSorry, SMTP cannot carry"));
}

#[test]
fn a_server_that_takes_it_hears_the_envelope_in_one_piece() {
    let said = [&FAST[..], &["354 go", "SENT", "250 ok 1", "JOB", "250 ok", "250 ok"]].concat();
    let heard = talk(job(&["x@y"]), &said);
    let want = ["EHLO me.test", FAST_LETTER, "= r", "(body)", ".", TAKEN, "(ready)", FAST_LETTER];
    assert_eq!(heard[..8], want);
    assert_eq!(heard[8..], ["= r"]);
}

#[test]
fn mixed_answers_to_a_batch_are_each_counted_to_their_command() {
    let two =
        |said: &[&str]| talk(job(&["x@y", "z@y"]), &[&FAST[..2], said].concat())[2..].to_vec();
    let heard = two(&["250 ok", "550 no", "250 ok", "354 go", "SENT", "250 ok 1"]);
    assert_eq!(heard, [REFUSED, "= r", "(body)", ".", TAKEN, "(ready)"]);
    let heard = two(&["250 ok", "550 no", "550 no", "503 no", "JOB"]);
    let again = alloc::format!("RSET | {FAST_LETTER}");
    assert_eq!(heard, [REFUSED, REFUSED, GIVEN_UP, "(ready)", &again]);
    // It wants the letter nobody is to have.
    let heard = two(&["250 ok", "550 no", "550 no", "354 go", "550 empty", "JOB"]);
    assert_eq!(heard, [REFUSED, REFUSED, GIVEN_UP, ".", "(ready)", FAST_LETTER]);
    let sender = "= DConnected to 192.0.2.1 but sender was rejected.\nRemote host said: 550 no\n";
    let heard = two(&["550 no", "503 a", "503 b", "503 c", "JOB"]);
    assert_eq!(heard, [sender, "(ready)", FAST_LETTER]);
    assert_eq!(two(&["550 no", "503 a", "LOST"]), [sender, "(close)"]);
    assert_eq!(two(&["550 no", "421 bye"]), [sender, "QUIT", "(close)"]);
    assert_eq!(two(&["550 no", "503 a", "503 b", "250 what"]), [sender, "QUIT", "(close)"]);
    assert_eq!(two(&["250 ok", "250 ok", "250 ok", "250 what"])[2..], [DIED, "(close)"]);
    let data = "= Z192.0.2.1 failed on DATA command.\nRemote host said: 451 no\n";
    let heard = two(&["250 ok", "250 ok", "250 ok", "451 no", "JOB"]);
    assert_eq!(heard[2..], [data, "(ready)", again.as_str()]);
}

#[test]
fn too_many_recipients_for_one_piece_are_told_one_by_one() {
    let many: Vec<String> = (0..1_000).map(|n| alloc::format!("user{n}@example.test")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(talk(job(&many), &FAST[..2])[1..], ["MAIL FROM:<joe@a.test>"]);
}

#[test]
fn the_next_letter_begins_with_mail_or_with_rset_if_the_last_was_left_half_done() {
    let mail = "MAIL FROM:<joe@a.test> SIZE=77";
    assert_eq!(second(OK, &["JOB", "250 ok"]), [mail, "RCPT TO:<x@y>"]);
    let heard = talk(job(&["x@y"]), &[&OK[..3], &["550 no", "JOB", "250 reset"]].concat());
    assert_eq!(heard[5..], ["(ready)", "RSET", mail]);
    let heard = talk(job(&["x@y"]), &[&OK[..2], &["550 no", "JOB"]].concat());
    assert_eq!(heard[3..], ["(ready)", mail]);
}

#[test]
fn a_session_that_ends_before_the_next_letter_goes_out_is_no_fault_of_the_letters() {
    for said in ["421 bye", "451 enough for today", "503 who are you?"] {
        assert_eq!(second(OK, &["JOB", said])[1..], ["QUIT", "(stale)"], "{said}");
        assert_eq!(second(FAST, &["JOB", said])[1..], ["QUIT", "(stale)"], "{said}");
    }
    assert_eq!(second(OK, &["JOB", "LOST"])[1..], ["(stale)"]);
    assert_eq!(second(FAST, &["JOB", "250 ok", "LOST"])[1..], ["(stale)"]);
    assert_eq!(second(FAST, &["JOB", "250 ok", "421 bye"])[1..], ["QUIT", "(stale)"]);
    let heard = second(FAST, &["JOB", "250 ok", "250 ok", "421 bye"]);
    assert_eq!(heard[1..], ["= r", "QUIT", "(stale)"]);
    let half = [&OK[..3], &["550 no", "JOB", "451 no reset"]].concat();
    assert!(talk(job(&["x@y"]), &half).ends_with(&["QUIT".into(), "(stale)".into()]));
    assert_eq!(second(OK, &["LOST", "JOB"]), ["(close)", "(stale)"]);
    // The same in a new session is the server's word on the letter.
    let heard = talk(job(&["x@y"]), &[&OK[..2], &["421 bye"]].concat());
    assert!(heard[2].starts_with("= ZConnected to 192.0.2.1 but sender was rejected."));
    assert_eq!(heard[3..], ["QUIT", "(close)"]);
}

#[test]
fn a_used_session_answers_for_what_it_was_given() {
    let heard = second(FAST, &["JOB", "250 ok", "250 ok", "354 go", "LOST"]);
    assert_eq!(heard[2..], ["(body)", DIED, "(close)"]);
    let heard = second(FAST, &["JOB", "250 ok", "250 ok", "354 go", "SENT", "LOST"]);
    assert_eq!(heard[4..], [TWICE, "(close)"]);
    let heard = second(FAST, &["JOB", "250 ok", "550 no", "503 no", "LEAVE"]);
    assert_eq!(heard[1..], [REFUSED, GIVEN_UP, "(ready)", "QUIT", "(close)"]);
    let heard = second(FAST, &["JOB", "250 ok", "250 ok", "354 go", "SENT", "421 bye"]);
    assert!(heard[4].starts_with("= Z192.0.2.1 failed after I sent the message."));
    assert_eq!(heard[5..], ["QUIT", "(close)"]);
}
