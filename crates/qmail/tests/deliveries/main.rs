//! The spawners, qmail-local and qmail-pspawn as they run: with the real queued, and with users of
//! their own if the test is run by root.

#[cfg(test)]
mod batches;
#[cfg(test)]
mod logins;
#[cfg(test)]
mod stage;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use base::wire::login::Verb;
use logins::Pspawn;
use stage::{Place, Spawner};
use sys::spawn::Status;
use yard::patience::eventually;

const LETTER: &[u8] = b"Subject: x\n\nhi\n";

fn lspawn(place: &Place) -> Spawner {
    Spawner::start(place.command("qmail-lspawn").arg("./Maildir/"))
}

#[test]
fn a_letter_lies_in_the_maildir_as_its_users_and_a_repeated_delivery_makes_no_second() {
    let place = Place::new("maildir");
    let id = place.queue(LETTER);
    let mut lspawn = lspawn(&place);
    assert_eq!(lspawn.deliver(id, "Joe@here.test"), "Kdid 1+0+0\n");
    let all = place.names("new");
    let path = place.joe("Maildir/new").join(&all[0]);
    let text = fs::read_to_string(&path).unwrap();
    let head = "Return-Path: <s@far.test>\nDelivered-To: Joe@here.test\nReceived: (qmail ";
    assert!(text.starts_with(head) && text.ends_with("Subject: x\n\nhi\n"), "{text}");
    assert!(all[0].starts_with(&format!("1200999831.M42Q{id}R0.")), "{}", all[0]);
    let (bytes, lines) = (text.len(), text.matches('\n').count());
    assert!(all[0].ends_with(&format!(",S={bytes},W={}", bytes + lines)), "{}", all[0]);
    let meta = fs::metadata(&path).unwrap();
    assert_eq!((meta.uid(), meta.permissions().mode() & 0o777), (place.uid, 0o600));
    assert!(place.names("tmp").is_empty());
    fs::rename(&path, place.joe("Maildir/cur").join(format!("{}:2,S", all[0]))).unwrap();
    lspawn.order(3, id, "Joe@here.test", true);
    assert_eq!(lspawn.report(), (3, "Kdid 1+0+0\n".into()));
    assert_eq!((place.names("new").len(), place.names("cur").len()), (0, 1));
    assert_eq!(lspawn.end(), Status::Exited(0));
}

#[test]
fn what_cannot_be_delivered_is_said_in_stocks_words() {
    let place = Place::new("failures");
    let id = place.queue(LETTER);
    let mut lspawn = lspawn(&place);
    let no_mailbox = "DSorry, no mailbox here by that name. (#5.1.1)\n";
    for (recipient, want) in [
        ("joe-x@here.test", no_mailbox),
        ("nobody@here.test", no_mailbox),
        ("@here.test", "K"),
        ("joe", "DSorry, address must include host name. (#5.1.3)\n"),
        ("root@here.test", "ZNot allowed to perform deliveries as root.\n"),
    ] {
        assert_eq!(lspawn.deliver(id, recipient), want, "{recipient}");
    }
    let missing = lspawn.deliver(id + 1_000, "joe@here.test");
    assert_eq!(missing, "Zqmail-spawn unable to open message. (#4.3.0)\n");
    fs::set_permissions(place.joe(""), PermissionsExt::from_mode(0o1755)).unwrap();
    let sticky = "ZHome directory is sticky: user is editing his .qmail file. (#4.2.1)\n";
    assert_eq!(lspawn.deliver(id, "joe@here.test"), sticky);
    fs::write(place.home.join("users/cdb"), "junk").unwrap();
    let trouble = "ZTrouble reading users/cdb in qmail-lspawn.\n";
    assert_eq!(lspawn.deliver(id, "joe@here.test"), trouble);
}

#[test]
fn instructions_are_followed_in_order_and_forwards_come_last() {
    let place = Place::new("qmail");
    let id = place.queue(LETTER);
    let mut lspawn = lspawn(&place);
    let rules = "# mine\n|echo \"$EXT $DEFAULT $SENDER $HOST2\"; grep Subject\n./Mailbox\n\
                 &a@far.test\n|exit 99\n|echo never\nb@far.test\n";
    fs::write(place.joe(".qmail-list-default"), rules).unwrap();
    let said = lspawn.deliver(id, "joe-List-A@here.test");
    let want = "KList-A A s@far.test here\nSubject: x\ndid 1+1+2\nqp ";
    assert!(said.starts_with(want), "{said}");
    assert_eq!(place.envelopes(), ["s@far.test joe@here.test", "s@far.test a@far.test"]);
    let mbox = fs::read_to_string(place.joe("Mailbox")).unwrap();
    assert!(
        mbox.starts_with("From s@far.test ") && mbox.ends_with("Subject: x\n\nhi\n\n"),
        "{mbox}"
    );
    fs::write(place.joe(".qmail-hard"), "|echo no; exit 100\n").unwrap();
    assert_eq!(lspawn.deliver(id, "joe-hard@here.test"), "Dno\n");
    fs::write(place.joe(".qmail-crash"), "|kill -9 $PPID\n").unwrap();
    assert_eq!(lspawn.deliver(id, "joe-crash@here.test"), "Zqmail-local crashed.\n");
    fs::write(place.joe(".qmail-much"), "|yes | head -c 1000000; exit 111\n").unwrap();
    let much = lspawn.deliver(id, "joe-much@here.test");
    assert!(much.len() < 3_002 && much.ends_with("\nError report too long, sorry.\n"));
    fs::write(place.joe(".qmail-loop"), "./Mailbox\n").unwrap();
    let again = place.queue(b"Delivered-To: joe-loop@here.test\n\nx\n");
    let looping = "DThis message is looping: it already has my Delivered-To line. (#5.4.6)\n";
    assert_eq!(lspawn.deliver(again, "joe-loop@here.test"), looping);
}

#[test]
fn a_hundred_deliveries_run_side_by_side_and_all_are_finished_before_the_end() {
    let place = Place::new("many");
    let id = place.queue(LETTER);
    // Each says that it runs, and goes on when it may.
    let slow = "|echo >> begun; while test ! -e go; do sleep 1; done; echo >> ended\n";
    fs::write(place.joe(".qmail-slow"), slow).unwrap();
    let lines = |name: &str| fs::read(place.joe(name)).map_or(0, |lines| lines.len());
    let mut lspawn = lspawn(&place);
    for slot in 0..100 {
        lspawn.order(slot, id, "joe-slow@here.test", false);
    }
    eventually("all run", || lines("begun") == 100);
    fs::write(place.joe("go"), "").unwrap();
    let mut slots: Vec<u32> = (0..100)
        .map(|_| {
            let (slot, text) = lspawn.report();
            assert_eq!(text, "Kdid 0+0+1\n");
            slot
        })
        .collect();
    slots.sort_unstable();
    assert!(slots.into_iter().eq(0..100));
    fs::remove_file(place.joe("go")).unwrap();
    lspawn.order(1, id, "joe-slow@here.test", false);
    eventually("one more runs", || lines("begun") == 101);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            fs::write(place.joe("go"), "").unwrap();
        });
        assert_eq!(lspawn.end(), Status::Exited(0));
    });
    assert_eq!(lines("ended"), 101);
}

#[test]
fn another_remote_program_is_run_as_stock_runs_it() {
    let place = Place::new("remote");
    let id = place.queue(LETTER);
    let text = "read first\nprintf 'r\\0K%s|%s|%s|%s\\n\\0' \"$1\" \"$2\" \"$3\" \"${first%% *}\"";
    let program = place.script("other", text);
    let mut rspawn = Spawner::start(place.command("qmail-rspawn").env("QMAILREMOTE", program));
    let said = rspawn.deliver(id, "b@x@far.test");
    assert_eq!(said, "Kfar.test|s@far.test|b@x@far.test|Received:\n");
    assert_eq!(rspawn.end(), Status::Exited(0));
    let none = place.command("qmail-rspawn").env("QMAILREMOTE", "/nonexistent");
    assert_eq!(Spawner::start(none).deliver(id, "b@far.test"), "DUnable to run qmail-remote.\n");
}

#[test]
fn a_dead_clean_parent_is_a_crash_and_the_next_one_is_started() {
    let place = Place::new("brood");
    let id = place.queue(LETTER);
    place.script("bin/qmail-remote", "echo >> $QMAILHOME/starts; kill -9 $$");
    fs::set_permissions(&place.home, PermissionsExt::from_mode(0o777)).unwrap();
    let mut rspawn = Spawner::start(place.command("qmail-rspawn"));
    for starts in 1..3 {
        assert_eq!(rspawn.deliver(id, "b@far.test"), "Zqmail-remote crashed.\n");
        assert!(fs::metadata(place.home.join("starts")).unwrap().len() >= starts);
    }
    fs::remove_file(place.home.join("bin/qmail-remote")).unwrap();
    assert_eq!(rspawn.deliver(id, "b@far.test"), "ZUnable to run qmail-remote.\n");
    assert_eq!(rspawn.end(), Status::Exited(0));
}

#[test]
fn a_mailbox_that_is_not_there_is_told_to_who_logs_in() {
    let pspawn = Pspawn::start("homeless");
    let home = pspawn.place.home.join("mail/joe");
    fs::rename(&home, home.with_file_name("moved")).unwrap();
    let said = pspawn.ask(Verb::Open, "joe@here.test", "secret").0;
    assert!(said.contains("unable to switch to"), "{said}");
    assert_eq!(pspawn.ask(Verb::Check, "joe@here.test", "secret").0, "welcome");
}

#[test]
fn the_right_secret_opens_the_mailbox_as_its_user_and_no_other_does() {
    let pspawn = Pspawn::start("pspawn");
    for name in ["joe", "JOE@Here.Test", "joe"] {
        let (answer, connection) = pspawn.ask(Verb::Open, name, "secret");
        assert_eq!(answer, "welcome");
        pspawn.mailbox_answers(connection);
    }
    for (name, secret) in [("joe", "secre"), ("joe", ""), ("nobody", "secret"), ("", "")] {
        assert_eq!(pspawn.ask(Verb::Open, name, secret).0, "refused", "{name}");
    }
    assert_eq!(pspawn.ask(Verb::Check, "joe", "secret").0, "welcome");
    assert_eq!(pspawn.ask(Verb::Check, "joe", "wrong").0, "refused");
    // A proof does not outlive the list it was made against.
    fs::write(pspawn.place.home.join("users/passwords"), "").unwrap();
    pspawn.place.run("qmail-newu");
    assert_eq!(pspawn.ask(Verb::Check, "joe", "secret").0, "refused");
}

#[test]
fn a_foreign_checkpassword_program_decides_and_nobody_gets_in_as_root() {
    let pspawn = Pspawn::start("foreign");
    let place = &pspawn.place;
    let ours = place.home.join("bin/checkpassword");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_qmail"), &ours).unwrap();
    let named = place.home.join("control/checkpassword");
    fs::write(&named, format!("{}\n", ours.display())).unwrap();
    let (answer, connection) = pspawn.ask(Verb::Open, "joe", "secret");
    assert_eq!(answer, "welcome");
    pspawn.mailbox_answers(connection);
    assert_eq!(pspawn.ask(Verb::Check, "joe", "secret").0, "welcome");
    assert_eq!(pspawn.ask(Verb::Open, "joe", "wrong").0, "refused");
    let lax = place.script("lax", "exec \"$@\"");
    fs::write(&named, format!("{}\n", lax.display())).unwrap();
    if sys::user::euid() == 0 {
        assert!(pspawn.ask(Verb::Open, "x", "x").0.contains("no logins as root"));
    } else {
        yard::skipped("only root can be refused to root");
    }
    fs::write(&named, "/nonexistent\n").unwrap();
    assert!(pspawn.ask(Verb::Open, "joe", "secret").0.starts_with("unable to run /nonexistent"));
}
