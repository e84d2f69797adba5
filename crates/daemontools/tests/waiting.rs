//! What supervise tells and what waits for it: readiness, `finish`, limits, svc -w and svwait.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
mod stage;

use stage::{LATE, SLEEP, Stage, at_rest, eventually, kill, millis, quick_once};
use std::time::{Duration, Instant};

/// Deaf to TERM when it has said so, and easily killed.
const DEAF: &str = "trap '' TERM\necho deaf > deaf\nwhile :; do sleep 0.1; done";
/// Less than the five seconds after which those who wait look by themselves.
const WOKEN: Duration = Duration::from_millis(4500);

/// Runs a program that is to end with this code; how long it took.
fn timed(stage: &Stage, words: &[&str], code: i32) -> Duration {
    let began = Instant::now();
    let said = stage.run(words);
    assert_eq!(said.code, Some(code), "{words:?}: {said:?}");
    began.elapsed()
}

fn json(stage: &Stage) -> String {
    stage.run(&["svstat", "--json", "s"]).out
}

#[test]
fn a_service_is_ready_when_it_says_so_and_who_waits_hears_it() {
    let mut stage = Stage::new("ready");
    stage.script("s/run", "while test ! -e go; do sleep 0.05; done\necho >&3\nexec sleep 1000");
    stage.write("s/notification-fd", "3\n");
    let child = stage.supervise();
    timed(&stage, &["svwait", "-u", "-t", LATE, "s"], 0);
    assert!(json(&stage).contains("\"ready\":false"), "{}", json(&stage));
    stage.write("s/go", "");
    timed(&stage, &["svwait", "-U", "-t", LATE, "s"], 0);
    assert!(json(&stage).contains("\"ready\":true,\"ready_since\":1"), "{}", json(&stage));
    // The next life begins unready; a restart is waited for.
    let first = stage.pid("s");
    timed(&stage, &["svc", "-t", "-wR", "-T", LATE, "s"], 0);
    assert!(stage.pid("s") != first && json(&stage).contains("\"ready\":true"));
    assert_eq!(std::fs::read(stage.path("s/supervise/status")).unwrap().len(), 18);
    // Who waits is woken, and does not look now and then.
    quick_once("to hear that it is ready", WOKEN, || {
        std::fs::remove_file(stage.path("s/go")).unwrap();
        timed(&stage, &["svc", "-t", "-wr", "-T", LATE, "s"], 0);
        let began = Instant::now();
        let mut waits = stage.command(&["svwait", "-U", "-t", LATE, "s"]).spawn().unwrap();
        at_rest(waits.id());
        stage.write("s/go", "");
        assert_eq!(waits.wait().unwrap().code(), Some(0));
        began.elapsed()
    });
    stage.leave(child);
}

#[test]
fn a_wait_ends_when_its_time_is_up() {
    let mut stage = Stage::new("late");
    stage.script("s/run", SLEEP);
    stage.write("s/notification-fd", "3");
    let child = stage.supervise();
    let said = stage.run(&["svwait", "-U", "-t", "300", "s"]);
    let words = "svwait: fatal: s is not ready in time\n";
    assert_eq!((said.code, said.err.as_str()), (Some(99), words));
    quick_once("to wait for a moment", WOKEN, || {
        let took = timed(&stage, &["svwait", "-d", "-t", "300", "s"], 99);
        assert!(took >= Duration::from_millis(300), "{took:?}");
        took
    });
    stage.leave(child);
    assert_eq!(stage.run(&["svwait", "-u"]).code, Some(100));
    assert_eq!(stage.run(&["svwait", "-t", "soon", "s"]).code, Some(100));
    assert_eq!(stage.run(&["svc", "-wx", "s"]).code, Some(100));
    // What is down without a supervise is down; what is not will not come up.
    timed(&stage, &["svwait", "-D", "s"], 0);
    let said = stage.run(&["svwait", "-u", "none"]);
    let words = "svwait: fatal: none: supervise not running\n";
    assert_eq!((said.code, said.err.as_str()), (Some(111), words));
}

#[test]
fn a_service_that_does_not_say_when_it_is_ready_is_waited_for_until_it_is_up() {
    let mut stage = Stage::new("mute");
    stage.script("s/run", SLEEP);
    let child = stage.supervise();
    let said = stage.run(&["svc", "-u", "-wU", "-T", LATE, "s"]);
    let words = "svc: warning: s does not say when it is ready (no notification-fd)\n";
    assert_eq!((said.code, said.err.as_str()), (Some(0), words));
    assert!(json(&stage).contains("\"ready\":null"));
    stage.leave(child);
}

#[test]
fn any_of_several_or_all_of_them() {
    let mut stage = Stage::new("several");
    stage.script("s/run", SLEEP);
    stage.script("t/run", SLEEP);
    stage.write("t/down", "");
    let child = stage.supervise();
    let other = stage.start(&["supervise", "t"]);
    eventually("both listen", || stage.run(&["svok", "t"]).code == Some(0));
    timed(&stage, &["svwait", "-u", "-o", "-t", LATE, "s", "t"], 0);
    timed(&stage, &["svwait", "-u", "-a", "-t", "300", "s", "t"], 99);
    stage.run(&["svc", "-u", "t"]);
    timed(&stage, &["svwait", "-u", "-t", LATE, "s", "t"], 0);
    stage.leave(child);
    stage.run(&["svc", "-dx", "t"]);
    drop(other);
}

#[test]
fn who_waits_does_not_wait_for_ever_for_a_supervise_that_was_killed() {
    let mut stage = Stage::new("alone");
    stage.script("s/run", SLEEP);
    let mut child = stage.supervise();
    timed(&stage, &["svwait", "-u", "-t", LATE, "s"], 0);
    child.kill().unwrap();
    child.wait().unwrap();
    let took = timed(&stage, &["svwait", "-d", "-t", LATE, "s"], 111);
    assert!(took.as_secs() >= 4, "{took:?}");
    // Its heir is heard as it was.
    let mut heir = stage.supervise();
    let mut waiting = stage.command(&["svwait", "-d", "-t", LATE, "s"]).spawn().unwrap();
    at_rest(waiting.id());
    heir.kill().unwrap();
    heir.wait().unwrap();
    let heir = stage.supervise();
    stage.run(&["svc", "-d", "s"]);
    assert_eq!(waiting.wait().unwrap().code(), Some(0));
    stage.leave(heir);
}

#[test]
fn finish_is_told_how_run_ended_and_ends_before_the_next_life() {
    let mut stage = Stage::new("finish");
    // When it has said `run` it will not look for `code` any more.
    stage.script(
        "s/run",
        "if test -e code; then echo run >> order; exit 7; fi\n\
         echo run >> order\nexec sleep 1000",
    );
    stage
        .script("s/finish", "while test -e hold; do sleep 0.05; done\necho finish \"$@\" >> order");
    let child = stage.supervise();
    let said = |words: &str| eventually(words, || stage.read("s/order") == words);
    said("run\n");
    timed(&stage, &["svc", "-t", "-wr", "-T", LATE, "s"], 0);
    // Restarted means that it was started: its first words may take a moment yet.
    said("run\nfinish 256 15 s\nrun\n");
    stage.write("s/code", "");
    stage.write("s/hold", "");
    timed(&stage, &["svc", "-o", "s"], 0);
    timed(&stage, &["svc", "-t", "-wd", "-T", LATE, "s"], 0);
    assert!(json(&stage).contains("\"finishing\":true"), "{}", json(&stage));
    std::fs::remove_file(stage.path("s/hold")).unwrap();
    timed(&stage, &["svwait", "-D", "-t", LATE, "s"], 0);
    timed(&stage, &["svc", "-o", "s"], 0);
    said("run\nfinish 256 15 s\nrun\nfinish 256 15 s\nrun\nfinish 7 0 s\n");
    timed(&stage, &["svwait", "-D", "-t", LATE, "s"], 0);
    assert!(
        json(&stage).contains("\"last_exit\":{\"code\":7,\"signal\":null,"),
        "{}",
        json(&stage)
    );
    stage.leave(child);
}

#[test]
fn finish_has_its_time_and_can_say_never_again() {
    let mut stage = Stage::new("never");
    stage.script("s/run", SLEEP);
    stage.script("s/finish", "test -e never && exit 125\nsleep 1000");
    stage.write("s/timeout-finish", "300");
    let child = stage.supervise();
    timed(&stage, &["svwait", "-u", "-t", LATE, "s"], 0);
    let first = stage.pid("s").unwrap();
    // Without the file it has five seconds.
    quick_once("to kill a finish", WOKEN, || {
        let took = timed(&stage, &["svc", "-t", "-wr", "-T", LATE, "s"], 0);
        assert!(took >= Duration::from_millis(300), "{took:?}");
        took
    });
    assert_ne!(stage.pid("s"), Some(first));
    let said = "supervise: warning: s: finish did not end in its time: killed\n";
    assert!(stage.read("err").contains(said), "{}", stage.read("err"));
    stage.write("s/never", "");
    stage.write("s/timeout-finish", LATE);
    stage.run(&["svc", "-t", "s"]);
    timed(&stage, &["svwait", "-D", "-t", LATE, "s"], 0);
    let said = stage.run(&["svwait", "-u", "s"]);
    let words = "svwait: fatal: s will not be started again: its finish said so\n";
    assert_eq!((said.code, said.err.as_str()), (Some(100), words));
    millis(1200);
    let line = stage.run(&["svstat", "s"]).out;
    assert!(line.starts_with("s: down ") && line.ends_with(", normally up\n"), "{line}");
    stage.leave(child);
}

#[test]
fn a_service_deaf_to_term_is_killed_when_its_file_says_so() {
    let mut stage = Stage::new("deafness");
    stage.script("s/run", DEAF);
    stage.write("s/timeout-kill", "500\n");
    let child = stage.supervise();
    timed(&stage, &["svwait", "-u", "-t", LATE, "s"], 0);
    // The shell needs a moment to become deaf.
    eventually("it is deaf", || stage.read("s/deaf") == "deaf\n");
    let took = timed(&stage, &["svc", "-d", "-wd", "-T", LATE, "s"], 0);
    assert!(took >= Duration::from_millis(450), "{took:?}");
    let said = "s: run did not end in its time (timeout-kill): killed\n";
    assert!(stage.read("err").contains(said), "{}", stage.read("err"));
    stage.leave(child);
}

#[test]
fn a_file_that_says_nothing_of_use_is_named_once() {
    let mut stage = Stage::new("settings");
    stage.script("s/run", "echo >> starts\nexit 1");
    stage.write("s/notification-fd", "two");
    let child = stage.supervise();
    eventually("three lives", || stage.read("s/starts").lines().count() >= 3);
    stage.leave(child);
    let line = "supervise: warning: s/notification-fd: is not the number of a descriptor from 3 to \
                1023; going on without it\n";
    assert_eq!(stage.read("err"), line);
}

#[test]
fn a_run_that_cannot_be_run_is_told_once_for_each_reason_and_the_service_is_down() {
    let mut stage = Stage::new("norun");
    std::fs::create_dir(stage.path("s")).unwrap();
    let child = stage.supervise();
    let missing = "supervise: fatal: unable to start s/run: file does not exist\n";
    eventually("the reason", || stage.read("err") == missing);
    millis(2300);
    assert_eq!(stage.read("err"), missing);
    timed(&stage, &["svc", "-u", "-wu", "-T", "300", "s"], 99);
    assert!(stage.run(&["svstat", "s"]).out.ends_with(" seconds, normally up, want up\n"));
    stage.write("s/run", "#!/bin/sh\nexec sleep 1000\n");
    let denied = "supervise: fatal: unable to start s/run: access denied\n";
    eventually("the other reason", || stage.read("err") == [missing, denied].concat());
    stage.script("s/run", SLEEP);
    timed(&stage, &["svwait", "-u", "-t", LATE, "s"], 0);
    stage.leave(child);
}

#[test]
fn nonsense_in_the_control_fifo_is_ignored_and_what_follows_is_not() {
    let mut stage = Stage::new("nonsense");
    stage.script("s/run", SLEEP);
    let child = stage.supervise();
    timed(&stage, &["svwait", "-u", "-t", LATE, "s"], 0);
    let first = stage.pid("s");
    let noise: Vec<u8> = (0..=255).filter(|byte| !b"udopchaitkx".contains(byte)).collect();
    for _ in 0..200 {
        std::fs::write(stage.path("s/supervise/control"), &noise).unwrap();
    }
    std::fs::write(stage.path("s/supervise/control"), b"\0p\xff").unwrap();
    eventually("paused", || stage.run(&["svstat", "s"]).out.ends_with(", paused\n"));
    assert_eq!(stage.pid("s"), first);
    assert_eq!(stage.read("err"), "");
    stage.leave(child);
}

#[test]
fn a_supervise_whose_directory_is_removed_leaves_when_its_service_has_ended() {
    let mut stage = Stage::new("removed");
    stage.script("s/run", SLEEP);
    let mut child = stage.supervise();
    let pid = stage.recorded("s");
    std::fs::remove_dir_all(stage.path("s")).unwrap();
    millis(200);
    assert!(child.try_wait().unwrap().is_none(), "its service still runs");
    kill("TERM", pid);
    assert!(child.wait().unwrap().success());
    let said = stage.read("err");
    assert!(said.contains("supervise: warning: s is removed and its service is down: leaving\n"));
    assert!(said.lines().count() <= 3, "{said}");
}

#[test]
fn a_renamed_service_directory_is_the_same_service() {
    let mut stage = Stage::new("renamed");
    stage.script("s/run", SLEEP);
    let mut child = stage.supervise();
    timed(&stage, &["svwait", "-u", "-t", LATE, "s"], 0);
    let pid = stage.pid("s");
    std::fs::rename(stage.path("s"), stage.path("r")).unwrap();
    assert_eq!(stage.pid("r"), pid);
    timed(&stage, &["svc", "-t", "-wr", "-T", LATE, "r"], 0);
    stage.run(&["svc", "-dx", "r"]);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_service_can_say_that_it_is_ready_to_the_heir_of_its_supervise() {
    let mut stage = Stage::new("heirready");
    stage.script("s/run", "while test ! -e go; do sleep 0.05; done\necho >&7\nexec sleep 1000");
    stage.write("s/notification-fd", "7");
    let mut child = stage.supervise();
    let pid = Some(stage.recorded("s"));
    child.kill().unwrap();
    child.wait().unwrap();
    let heir = stage.supervise();
    assert!(stage.pid("s") == pid && json(&stage).contains("\"ready\":false"));
    stage.write("s/go", "");
    timed(&stage, &["svwait", "-U", "-t", LATE, "s"], 0);
    assert!(json(&stage).contains("\"starts\":1,"), "{}", json(&stage));
    stage.leave(heir);
}

#[test]
fn the_heir_of_a_supervise_waits_for_the_finish_it_left() {
    let mut stage = Stage::new("heirfinish");
    stage.script("s/run", "echo run >> order\nexec sleep 1000");
    stage.script("s/finish", "while test ! -e go; do sleep 0.05; done\necho finish >> order");
    let mut child = stage.supervise();
    eventually("run", || stage.read("s/order") == "run\n");
    stage.run(&["svc", "-t", "s"]);
    eventually("finish runs", || json(&stage).contains("\"finishing\":true"));
    child.kill().unwrap();
    child.wait().unwrap();
    let heir = stage.supervise();
    assert!(json(&stage).contains("\"finishing\":true"), "{}", json(&stage));
    stage.write("s/go", "");
    timed(&stage, &["svwait", "-u", "-t", LATE, "s"], 0);
    eventually("run again", || stage.read("s/order") == "run\nfinish\nrun\n");
    stage.leave(heir);
}

#[test]
fn a_directory_of_another_supervise_is_told_as_far_as_its_18_bytes_go() {
    let stage = Stage::new("foreign");
    let mkfifo = |name: &str| {
        std::fs::create_dir_all(stage.path("s/supervise")).unwrap();
        let status = std::process::Command::new("mkfifo").arg(stage.path(name)).status();
        assert!(status.unwrap().success());
    };
    mkfifo("s/supervise/ok");
    let mut both = std::fs::OpenOptions::new();
    let _ok = both.read(true).write(true).open(stage.path("s/supervise/ok")).unwrap();
    // The stock's 18 bytes, and runit's 20.
    let mut status =
        vec![0x40, 0, 0, 0, 0x6b, 2, 0xf1, 0x5e, 0, 0xee, 0x13, 0x44, 4, 0x76, 0, 0, 0, 0x75];
    for _ in 0..2 {
        std::fs::write(stage.path("s/supervise/status"), &status).unwrap();
        let line = stage.run(&["svstat", "s"]).out;
        assert!(line.starts_with("s: up (pid 30212) ") && line.ends_with(" seconds\n"), "{line}");
        let line = json(&stage);
        assert!(line.contains("\"pid\":30212,") && line.contains("\"ready\":null"), "{line}");
        assert!(!line.contains("starts"), "{line}");
        status.extend([0, 1]);
    }
}
