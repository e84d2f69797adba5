//! qmail-send as it runs: with the real queued, and spawners that are this test.

#[cfg(test)]
mod stage;

use std::fs;

use base::outcome::Outcome;
use stage::{Place, Send};
use sys::signal::{Signal, kill};
use sys::spawn::{Status, wait};
use yard::patience::at_rest;

#[test]
fn a_letter_is_delivered_and_leaves_the_queue() {
    let place = Place::new("one");
    let mut send = Send::start(&place);
    assert_eq!(send.log_until("\n"), "status: local 0/5 remote 0/5\n");
    let id = place.queue("s@far.test", &["joe@here.test"], b"Subject: x\n\nhi\n");
    let told = send.local.next();
    assert_eq!((told.letter, &told.recipient[..]), (id, "joe@here.test"));
    let size = place.text(id).len();
    send.local.report(told.slot, Outcome::Done, "did 1+0+0\n");
    let (pid, uid) = (std::process::id(), sys::user::uid());
    assert_eq!(
        send.log_until("end msg"),
        format!(
            "new msg {id}\n\
             info msg {id}: bytes {size} from <s@far.test> qp {pid} uid {uid}\n\
             starting delivery 1: msg {id} to local joe@here.test\n\
             status: local 1/5 remote 0/5\n\
             delivery 1: success: did_1+0+0/\n\
             status: local 0/5 remote 0/5\n\
             end msg {id}\n"
        )
    );
    assert_eq!(place.letters(), 0);
    assert_eq!(send.term(), Status::Exited(0));
}

#[test]
fn what_fails_bounces_once_to_the_sender() {
    let place = Place::new("bounce");
    let mut send = Send::start(&place);
    let id = place.queue("joe@here.test", &["no@far.test"], b"Subject: x\n\nhi\n");
    let told = send.remote.next();
    send.remote.report(told.slot, Outcome::Never, "Sorry.\n");
    let bounce = send.local.next();
    assert_eq!((&bounce.sender[..], &bounce.recipient[..]), ("", "joe@here.test"));
    let text = place.text(bounce.letter);
    let (received, rest) = text.split_once('\n').unwrap();
    assert!(received.starts_with("Received: (qmail "), "{text}");
    assert!(received.contains(" invoked for bounce); "), "{text}");
    assert!(rest.starts_with("Date: "));
    assert!(rest.contains("\nFrom: MAILER-DAEMON@here.test\nTo: joe@here.test\n"));
    assert!(rest.contains("\n\n<no@far.test>:\nSorry.\n\n--- Below this line is a copy"));
    assert!(rest.contains("\n\nFinal-Recipient: rfc822; no@far.test\nAction: failed\n"));
    let end = "Subject: x\n\nhi\n\n--=_";
    assert!(rest.contains(end) && rest.ends_with("--\n"), "{rest}");
    assert_eq!(place.letters(), 1, "bounce and finish are one");
    send.local.report(bounce.slot, Outcome::Done, "");
    let mut log = send.log_until(&format!("end msg {}", bounce.letter));
    let (bounced, ended) = (format!("bounce msg {id} qp "), format!("end msg {id}\n"));
    // Who carried it may be back later than it has arrived.
    if !log.contains(&ended) {
        log += &send.log_until(ended.trim_end());
    }
    assert!(log.contains(&bounced) && log.contains(&ended), "{log}");
    assert_eq!((send.term(), place.letters()), (Status::Exited(0), 0));
}

#[test]
fn letters_that_pour_in_do_not_keep_reports_waiting() {
    const LETTERS: usize = 100_000;
    let mut place = Place::new("pour");
    place.fill(LETTERS);
    let Send { pid, log, mut local, remote } = Send::start(&place);
    // Who does not read the log stops everything. It is read so slowly that whoever is woken now and
    // then only, as we are where many others work, comes to his turn a thousand times before its end.
    let reader = std::thread::spawn(move || {
        let mut log = log.slow();
        let text = log.lines_until("delivery 20: success");
        let found = text.matches("\nnew msg ").count();
        drop(log);
        found
    });
    for _ in 0..20 {
        let told = local.next();
        local.report(told.slot, Outcome::Done, "did 1+0+0\n");
    }
    let news = reader.join().unwrap();
    println!("{news} letters were new when 20 had been delivered, one after the other");
    assert!(news < LETTERS, "every letter was read before");
    kill(pid, Signal::Kill).unwrap();
    wait(pid).unwrap();
    drop(remote);
}

#[test]
fn a_bounce_goes_through_the_program_an_administrator_chose() {
    let place = Place::new("qmailqueue");
    let script = place.home.join("filter");
    yard::script(&script, "#!/bin/sh\ncat >letter\ncat <&1 >envelope\n");
    let mut send = Send::start_with(&place, |command| command.env("QMAILQUEUE", &script));
    let id = place.queue("joe@here.test", &["no@far.test"], b"Subject: x\n\nhi\n");
    let told = send.remote.next();
    send.remote.report(told.slot, Outcome::Never, "Sorry.\n");
    let log = send.log_until("end msg");
    assert!(log.contains(&format!("bounce msg {id} qp ")), "{log}");
    assert_eq!(fs::read(place.home.join("envelope")).unwrap(), b"F\0Tjoe@here.test\0\0");
    let letter = fs::read_to_string(place.home.join("letter")).unwrap();
    assert!(letter.starts_with("Date: ") && letter.contains("Subject: x\n\nhi\n\n--=_"));
    assert_eq!(place.letters(), 0);
    assert_eq!(send.term(), Status::Exited(0));
}

#[test]
fn a_crash_of_queued_costs_neither_a_letter_nor_a_second_delivery() {
    let mut place = Place::new("crash");
    let mut send = Send::start(&place);
    let id = place.queue("s@far.test", &["joe@here.test", "ann@far.test"], b"\nhi\n");
    let (joe, ann) = (send.local.next(), send.remote.next());
    place.kill_queued();
    send.log_until("alert: oh no! lost qmail-queued connection! reconnecting...");
    send.local.report(joe.slot, Outcome::Done, "");
    send.log_until("delivery 1: success");
    place.start_queued();
    send.remote.report(ann.slot, Outcome::Done, "");
    let log = send.log_until(&format!("end msg {id}"));
    assert!(!log.contains("starting delivery"), "{log}");
    let next = place.queue("s@far.test", &["joe@here.test"], b"\nhi\n");
    let told = send.local.next();
    assert_eq!((told.letter, told.perhaps), (next, false));
    send.local.report(told.slot, Outcome::Done, "");
    send.log_until(&format!("end msg {next}"));
    assert_eq!((send.term(), place.letters()), (Status::Exited(0), 0));
}

#[test]
fn after_a_crash_of_ours_what_was_in_the_air_was_perhaps_delivered() {
    let place = Place::new("perhaps");
    let mut send = Send::start(&place);
    let id = place.queue("s@far.test", &["joe@here.test"], b"\nhi\n");
    send.local.next();
    kill(send.pid, Signal::Kill).unwrap();
    wait(send.pid).unwrap();
    let mut send = Send::start(&place);
    let told = send.local.next();
    assert_eq!((told.letter, told.perhaps), (id, true));
    send.local.report(told.slot, Outcome::Later, "busy\n");
    send.log_until("delivery 1: deferral: busy/");
    kill(send.pid, Signal::Alrm).unwrap();
    let told = send.local.next();
    assert!(told.perhaps, "what was in the air may still be found after a deferral");
    send.local.report(told.slot, Outcome::Done, "");
    send.log_until(&format!("end msg {id}"));
    assert_eq!(send.term(), Status::Exited(0));
}

#[test]
fn there_is_one_qmail_send_and_it_dies_with_a_spawner() {
    let place = Place::new("single");
    let mut send = Send::start(&place);
    send.log_until("status: ");
    let mut second = Send::start(&place);
    let log = second.log_until("\n");
    assert_eq!(log, "alert: cannot start: qmail-send is already running\n");
    assert_eq!(wait(second.pid).unwrap(), Status::Exited(111));
    place.queue("s@far.test", &["joe@here.test", "ann@far.test"], b"\nhi\n");
    send.local.next();
    let ann = send.remote.next();
    let Send { pid, mut log, local, remote } = send;
    drop(local);
    log.lines_until("alert: oh no! lost spawn connection! dying...\n");
    remote.report(ann.slot, Outcome::Done, "");
    let text = log.lines_until("status: exiting\n");
    assert!(text.contains("delivery 2: success: \nstatus: local 0/5 remote 0/5 exitasap\n"));
    assert_eq!(wait(pid).unwrap(), Status::Exited(111));
}

#[test]
fn hup_reads_locals_again_and_a_bad_file_changes_nothing() {
    let place = Place::new("hup");
    let mut send = Send::start(&place);
    send.log_until("status: ");
    fs::write(place.home.join("control/locals"), "here.test\nnew.test\n").unwrap();
    kill(send.pid, Signal::Hup).unwrap();
    // Nothing is logged when all is well.
    at_rest(send.pid);
    place.queue("s@far.test", &["joe@new.test"], b"\nhi\n");
    let told = send.local.next();
    assert_eq!(told.recipient, "joe@new.test");
    send.local.report(told.slot, Outcome::Done, "");
    send.log_until("end msg");
    fs::write(place.home.join("control/locals"), "here\0test\n").unwrap();
    kill(send.pid, Signal::Hup).unwrap();
    let log = send.log_until("holds a NUL byte: remove it\n");
    assert!(log.contains("alert: unable to reread control/locals: /"), "{log}");
    assert_eq!(send.term(), Status::Exited(0));
}

#[test]
fn hup_without_a_home_changes_nothing() {
    let place = Place::new("nohome");
    let mut send = Send::start(&place);
    send.log_until("status: ");
    let away = place.home.with_extension("away");
    fs::rename(&place.home, &away).unwrap();
    kill(send.pid, Signal::Hup).unwrap();
    let log = send.log_until("\n");
    fs::rename(&away, &place.home).unwrap();
    let home = "alert: unable to reread controls: unable to switch to home directory\n";
    assert_eq!(log, home);
    place.queue("s@far.test", &["joe@here.test"], b"\nhi\n");
    let told = send.local.next();
    send.local.report(told.slot, Outcome::Done, "");
    send.log_until("end msg");
    assert_eq!(send.term(), Status::Exited(0));
}

#[test]
fn a_bounce_of_very_many_recipients_names_each_and_stays_small() {
    let place = Place::new("many");
    let mut send = Send::start(&place);
    let names: Vec<String> = (0..1_000).map(|n| format!("no{n}@here.test")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    place.queue("joe@far.test", &names, b"Subject: x\n\nhi\n");
    for _ in 0..1_000 {
        let told = send.local.next();
        send.local.report(told.slot, Outcome::Never, &"long line\n".repeat(999));
        send.log_until("failure: ");
    }
    let bounce = send.remote.next();
    let text = place.text(bounce.letter);
    assert_eq!(text.matches(">:\nlong line\n").count(), 1_000);
    assert_eq!(text.matches("\nFinal-Recipient: rfc822; no").count(), 1_000);
    assert!(text.len() < 8 << 20, "{} bytes", text.len());
    kill(send.pid, Signal::Kill).unwrap();
    wait(send.pid).unwrap();
}

#[test]
fn a_paused_domain_waits_through_a_restart_and_goes_when_it_is_resumed() {
    let place = Place::new("pause");
    let pauses = place.home.join("control/pauses");
    fs::write(&pauses, "far.test:\n").unwrap();
    for run in 0..2 {
        let mut send = Send::start(&place);
        if run == 0 {
            place.queue("s@far.test", &["ann@far.test", "joe@here.test"], b"\nhi\n");
            let joe = send.local.next();
            send.local.report(joe.slot, Outcome::Done, "");
            let log = send.log_until("delivery 1: success");
            assert!(!log.contains("remote ann@far.test"), "{log}");
        } else {
            send.log_until("status: ");
            fs::write(&pauses, "far.test:nonsense\n").unwrap();
            kill(send.pid, Signal::Hup).unwrap();
            let log = send.log_until("or nothing after the colon\n");
            assert!(log.contains("alert: unable to reread control/pauses: /"), "{log}");
            assert!(log.contains("/control/pauses line 1 says far.test:nonsense: write"), "{log}");
            fs::write(&pauses, "").unwrap();
            kill(send.pid, Signal::Hup).unwrap();
            let ann = send.remote.next();
            assert_eq!((&ann.recipient[..], place.letters()), ("ann@far.test", 1));
            send.remote.report(ann.slot, Outcome::Done, "");
            send.log_until("end msg");
        }
        assert_eq!(send.term(), Status::Exited(0));
    }
}
