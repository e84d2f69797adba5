//! supervise, svc, svok and svstat as an administrator meets them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
mod stage;

use stage::{SLEEP, Stage, eventually, kill, millis, quick_once};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

fn up(stage: &mut Stage, run: &str) -> std::process::Child {
    stage.script("s/run", run);
    let child = stage.start(&["supervise", "s"]);
    eventually("the service is up", || stage.pid("s").is_some());
    child
}

#[test]
fn a_service_is_up_and_its_files_are_the_originals() {
    let mut stage = Stage::new("files");
    let mut child = up(&mut stage, SLEEP);
    let line = stage.run(&["svstat", "s"]).out;
    assert!(line.starts_with("s: up (pid ") && line.ends_with(" seconds\n"), "{line}");
    assert_eq!(stage.run(&["svok", "s"]).code, Some(0));
    let mode = |name: &str| {
        let meta = std::fs::metadata(stage.path("s/supervise").join(name)).unwrap();
        meta.permissions().mode() & 0o777
    };
    assert_eq!(
        [mode("."), mode("lock"), mode("control"), mode("ok")],
        [0o700, 0o600, 0o600, 0o600]
    );
    assert_eq!(mode("status"), 0o644);
    let status = std::fs::read(stage.path("s/supervise/status")).unwrap();
    assert_eq!((status.len(), status[16], status[17]), (18, 0, b'u'));
    let second = stage.run(&["supervise", "s"]);
    assert_eq!(second.code, Some(111));
    assert_eq!(
        second.err,
        "supervise: fatal: unable to acquire s/supervise/lock: temporary failure\n"
    );
    stage.run(&["svc", "-dx", "s"]);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(stage.run(&["svok", "s"]).code, Some(100));
    assert_eq!(stage.run(&["svstat", "s"]).out, "s: supervise not running\n");
}

#[test]
fn what_is_not_there_is_named_in_the_originals_words() {
    let stage = Stage::new("words");
    std::fs::create_dir(stage.path("a")).unwrap();
    assert_eq!(
        stage.run(&["svstat", "a", "nope"]).out,
        "a: unable to open supervise/ok: file does not exist\n\
         nope: unable to chdir: file does not exist\n"
    );
    let svc = stage.run(&["svc", "-u", "a", "nope"]);
    assert_eq!(svc.code, Some(0));
    assert_eq!(
        svc.err,
        "svc: warning: unable to control a: file does not exist\n\
         svc: warning: unable to chdir to nope: file does not exist\n"
    );
    let bad = stage.run(&["svc", "-z", "a"]);
    assert_eq!(bad.code, Some(100));
    assert_eq!(
        bad.err,
        "svc: illegal option -- z\nsvc options: u up, d down, o once, x exit, p pause, \
         c continue, h hup, a alarm, i interrupt, t term, k kill\n"
    );
    assert_eq!(stage.run(&["svok"]).err, "svok: usage: svok dir\n");
    assert_eq!(stage.run(&["svok", "a"]).code, Some(100));
    assert_eq!(stage.run(&["svok", "nope"]).code, Some(111));
    assert_eq!(stage.run(&["supervise"]).err, "supervise: usage: supervise dir\n");
}

#[test]
fn a_service_killed_is_back_at_once_and_within_its_first_second_after_a_second() {
    let mut stage = Stage::new("back");
    let began = Instant::now();
    let child = up(&mut stage, SLEEP);
    let next = |stage: &Stage| {
        let old = stage.pid("s").unwrap();
        kill("KILL", old);
        eventually("a next life", || stage.pid("s").is_some_and(|pid| pid != old))
    };
    next(&stage);
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    quick_once("a life after one of more than a second", Duration::from_millis(700), || {
        millis(1100);
        next(&stage)
    });
    stage.leave(child);
}

#[test]
fn a_service_that_dies_at_once_is_started_once_a_second_and_commands_are_heard() {
    let mut stage = Stage::new("loop");
    stage.script("s/run", "echo x >> starts; exit 1");
    let starts = |stage: &Stage| stage.read("s/starts").lines().count();
    quick_once("to be heard between two starts", Duration::from_millis(500), || {
        let (before, began) = (starts(&stage), Instant::now());
        let mut child = stage.start(&["supervise", "s"]);
        eventually("three starts", || starts(&stage) >= before + 3);
        assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
        // Just started and dead again: nothing but a command can wake it within a second.
        let began = Instant::now();
        stage.run(&["svc", "-dx", "s"]);
        assert!(child.wait().unwrap().success());
        began.elapsed()
    });
}

#[test]
fn a_run_that_cannot_be_started_is_named() {
    let mut stage = Stage::new("norun");
    std::fs::create_dir(stage.path("s")).unwrap();
    let mut child = stage.start(&["supervise", "s"]);
    let wanted = "supervise: fatal: unable to start s/run: file does not exist\n";
    eventually("the message", || stage.read("err").contains(wanted));
    stage.run(&["svc", "-dx", "s"]);
    assert!(child.wait().unwrap().success());
}

#[test]
fn down_once_pause_and_continue_do_as_they_say() {
    let mut stage = Stage::new("commands");
    stage.script("s/run", SLEEP);
    stage.write("s/down", "");
    let child = stage.start(&["supervise", "s"]);
    let line = |stage: &Stage| stage.run(&["svstat", "s"]).out;
    eventually("supervise runs", || line(&stage).starts_with("s: down "));
    assert!(line(&stage).ends_with(" seconds\n"));
    stage.run(&["svc", "-o", "s"]);
    eventually("up", || line(&stage).ends_with(" seconds, normally down\n"));
    stage.run(&["svc", "-p", "s"]);
    eventually("paused", || line(&stage).ends_with(", normally down, paused\n"));
    let pid = stage.pid("s").unwrap();
    eventually("it is stopped", || stage_state(pid) == 'T');
    stage.run(&["svc", "-c", "s"]);
    eventually("going on", || !line(&stage).contains("paused"));
    stage.run(&["svc", "-t", "s"]);
    eventually("down", || line(&stage).starts_with("s: down "));
    millis(1200);
    assert!(line(&stage).starts_with("s: down "), "once means once");
    stage.leave(child);
}

fn stage_state(pid: u32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

#[test]
fn the_next_supervise_adopts_the_service_of_a_killed_one() {
    let mut stage = Stage::new("heir");
    let mut first = up(&mut stage, SLEEP);
    let pid = stage.recorded("s");
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(stage.run(&["svstat", "s"]).out, "s: supervise not running\n");
    let mut second = stage.start(&["supervise", "s"]);
    eventually("adopted", || stage.pid("s") == Some(pid));
    kill("KILL", pid);
    eventually("started anew", || stage.pid("s").is_some_and(|now| now != pid));
    stage.run(&["svc", "-dx", "s"]);
    assert!(second.wait().unwrap().success());
}

#[test]
fn an_adopted_service_is_stopped_like_any_other() {
    let mut stage = Stage::new("heirdown");
    let mut first = up(&mut stage, SLEEP);
    let pid = stage.recorded("s");
    first.kill().unwrap();
    first.wait().unwrap();
    let mut second = stage.start(&["supervise", "s"]);
    eventually("adopted", || stage.pid("s") == Some(pid));
    kill("TERM", second.id());
    assert!(second.wait().unwrap().success());
    assert!(!std::path::Path::new(&format!("/proc/{pid}/fd/0")).exists());
}

#[test]
fn however_often_supervise_is_killed_the_service_never_runs_twice() {
    let mut stage = Stage::new("twice");
    stage.script("s/run", "echo x >> starts\nexec setlock -n alone sleep 1000 2>> trouble");
    for round in 0..40_u64 {
        let mut child = stage.start(&["supervise", "s"]);
        millis(round * 7 % 31);
        if round % 5 == 4 {
            let _ = stage.run(&["svc", "-t", "s"]);
            millis(round % 3);
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    // Again and again, as svscan does: the child of one just killed shares its lock until it execs.
    let mut child = stage.start(&["supervise", "s"]);
    eventually("up", || {
        if child.try_wait().unwrap().is_some() {
            child = stage.start(&["supervise", "s"]);
        }
        stage.run(&["svok", "s"]).code == Some(0) && stage.pid("s").is_some()
    });
    eventually("it has said so", || stage.read("s/starts").lines().count() >= 1);
    stage.leave(child);
    assert_eq!(stage.read("s/trouble"), "");
}

#[test]
fn a_death_by_a_signal_nobody_asked_for_is_told_where_the_services_log_is() {
    let stage = Stage::new("told");
    stage.script("s/run", SLEEP);
    let mkfifo = std::process::Command::new("mkfifo").arg(stage.path("log")).status();
    assert!(mkfifo.unwrap().success());
    // Open both ways, so that opening it does not wait.
    let mut both = std::fs::OpenOptions::new();
    let log = both.read(true).write(true).open(stage.path("log")).unwrap();
    let into = log.try_clone().unwrap();
    let child = stage.command(&["supervise", "s"]).stdout(into).spawn().unwrap();
    eventually("the service is up", || stage.pid("s").is_some());
    let first = stage.pid("s").unwrap();
    stage.run(&["svc", "-t", "s"]);
    eventually("a second life", || stage.pid("s").is_some_and(|pid| pid != first));
    let second = stage.pid("s").unwrap();
    kill("KILL", second);
    eventually("a third life", || stage.pid("s").is_some_and(|pid| pid != second));
    let mut said = [0; 200];
    let n = std::io::Read::read(&mut &log, &mut said).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&said[..n]),
        format!("supervise: warning: s: child {second} killed by signal 9\n")
    );
    stage.leave(child);
}

#[test]
fn a_service_that_cannot_be_recorded_holds_the_lock_itself() {
    let mut stage = Stage::new("unrecorded");
    // A directory has the name that the record would be written under.
    std::fs::create_dir_all(stage.path("s/supervise/service.new")).unwrap();
    let mut child = up(&mut stage, SLEEP);
    let pid = stage.pid("s").unwrap();
    let said = "supervise: warning: unable to write s/supervise/service: is a directory\n";
    assert_eq!(stage.read("err"), said);
    child.kill().unwrap();
    child.wait().unwrap();
    let second = stage.run(&["supervise", "s"]);
    let held = "supervise: fatal: unable to acquire s/supervise/lock: temporary failure\n";
    assert_eq!((second.code, second.err.as_str()), (Some(111), held));
    kill("KILL", pid);
    let mut third = stage.start(&["supervise", "s"]);
    eventually("a second life", || {
        if third.try_wait().unwrap().is_some() {
            third = stage.start(&["supervise", "s"]);
        }
        stage.pid("s").is_some_and(|now| now != pid)
    });
    stage.leave(third);
}

#[test]
fn a_control_that_is_no_fifo_is_refused_and_not_read_again_and_again() {
    let stage = Stage::new("nofifo");
    stage.script("s/run", SLEEP);
    stage.write("s/supervise/control", "d");
    let said = stage.run(&["supervise", "s"]);
    let words = "supervise: fatal: unable to read s/supervise/control: invalid argument\n";
    assert_eq!((said.code, said.err.as_str()), (Some(111), words));
}
