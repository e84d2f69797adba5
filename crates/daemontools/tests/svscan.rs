//! svscan and its pipes: nothing is lost, whoever is killed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
mod stage;

use stage::{Stage, assert_complete, eventually, kill, logged, millis};
use std::time::Duration;

/// Counts as fast as a shell can until TERM; then says how far it came.
const COUNTER: &str = "i=0\ntrap 'echo $n > last; exit 0' TERM\n\
     while :; do i=$((i+1)); echo $i; n=$i; done";

fn counter(stage: &Stage) {
    stage.script("made/c/log/run", "exec multilog s100000 n1000 ./main");
    stage.script("made/c/run", COUNTER);
    std::fs::create_dir_all(stage.path("service")).unwrap();
    std::os::unix::fs::symlink("../made/c", stage.path("service/c")).unwrap();
}

fn lines(stage: &Stage) -> usize {
    logged(&stage.path("made/c/log/main")).len()
}

/// The pids of service and log, once both supervises have told them.
fn both(stage: &Stage) -> [Option<u32>; 2] {
    let pids = || [stage.pid("made/c"), stage.pid("made/c/log")];
    eventually("both are up", || pids().iter().all(Option::is_some));
    pids()
}

fn end(stage: &Stage, mut svscan: std::process::Child) {
    kill("TERM", svscan.id());
    assert_eq!(svscan.wait().unwrap().code(), Some(0));
    let last: u64 = stage.read("made/c/last").trim().parse().unwrap();
    assert_complete(&logged(&stage.path("made/c/log/main")), last);
    assert_eq!(stage.run(&["svok", "made/c"]).code, Some(100));
    assert_eq!(stage.run(&["svok", "made/c/log"]).code, Some(100));
}

#[test]
fn an_orderly_end_stops_services_then_logs_and_keeps_every_line() {
    let mut stage = Stage::new("end");
    counter(&stage);
    let svscan = stage.start(&["svscan", "service"]);
    eventually("lines are logged", || lines(&stage) > 1000);
    end(&stage, svscan);
}

#[test]
fn a_logger_killed_again_and_again_loses_no_line() {
    let mut stage = Stage::new("logger");
    counter(&stage);
    let svscan = stage.start(&["svscan", "service"]);
    eventually("lines are logged", || lines(&stage) > 1000);
    for _ in 0..4 {
        let pid = both(&stage)[1].unwrap();
        kill("KILL", pid);
        eventually("a new logger", || stage.pid("made/c/log").is_some_and(|now| now != pid));
    }
    end(&stage, svscan);
}

#[test]
fn killed_supervises_lose_no_line_and_start_nothing_twice() {
    let mut stage = Stage::new("supervises");
    counter(&stage);
    let svscan = stage.start(&["svscan", "service"]);
    eventually("lines are logged", || lines(&stage) > 1000);
    let pids = both(&stage);
    for dir in ["made/c", "made/c/log", "made/c"] {
        let pid = stage.supervise_of(dir).unwrap();
        kill("KILL", pid);
        let took = eventually("a new supervise", || {
            stage.supervise_of(dir).is_some_and(|now| now != pid)
                && stage.run(&["svok", dir]).code == Some(0)
        });
        assert!(took < Duration::from_millis(1500), "{took:?}");
    }
    assert_eq!([stage.pid("made/c"), stage.pid("made/c/log")], pids);
    end(&stage, svscan);
}

#[test]
fn a_killed_svscan_is_succeeded_without_a_line_lost() {
    let mut stage = Stage::new("svscan");
    counter(&stage);
    let mut svscan = stage.start(&["svscan", "service"]);
    eventually("lines are logged", || lines(&stage) > 1000);
    let pids = both(&stage);
    svscan.kill().unwrap();
    svscan.wait().unwrap();
    // While nobody holds the pipe but the two supervises, the logger goes too.
    kill("KILL", pids[1].unwrap());
    let svscan = stage.start(&["svscan", "service"]);
    millis(300);
    // Now both supervises: the new svscan gives their successors the pipe there was.
    for dir in ["made/c", "made/c/log"] {
        let pid = stage.supervise_of(dir).unwrap();
        kill("KILL", pid);
        eventually("a new supervise", || {
            stage.supervise_of(dir).is_some_and(|now| now != pid)
                && stage.run(&["svok", dir]).code == Some(0)
        });
    }
    assert_eq!(stage.pid("made/c"), pids[0]);
    let before = lines(&stage);
    eventually("more lines are logged", || lines(&stage) > before + 1000);
    let said = stage.read("err");
    assert!(!said.contains("svscan: "), "taking over is quiet: {said}");
    end(&stage, svscan);
}

#[test]
fn a_service_dropped_in_is_up_within_a_second() {
    let mut stage = Stage::new("dropin");
    std::fs::create_dir(stage.path("service")).unwrap();
    let mut svscan = stage.start(&["svscan", "service"]);
    millis(500);
    stage.script("made/s/run", "exec sleep 1000");
    std::os::unix::fs::symlink("../made/s", stage.path("service/s")).unwrap();
    let took = eventually("up", || stage.pid("service/s").is_some());
    assert!(took < Duration::from_secs(1), "{took:?}");
    let pid = stage.pid("service/s").unwrap();
    // A removed link stops nothing; a renamed one is the same service.
    std::fs::rename(stage.path("service/s"), stage.path("service/t")).unwrap();
    millis(700);
    assert_eq!(stage.pid("service/t"), Some(pid));
    std::fs::remove_file(stage.path("service/t")).unwrap();
    millis(700);
    assert_eq!(stage.pid("made/s"), Some(pid));
    stage.run(&["svc", "-dx", "made/s"]);
    eventually("gone", || stage.run(&["svok", "made/s"]).code == Some(100));
    millis(1300);
    assert_eq!(stage.run(&["svok", "made/s"]).code, Some(100), "and not started again");
    kill("TERM", svscan.id());
    assert_eq!(svscan.wait().unwrap().code(), Some(0));
}

#[test]
fn a_service_deaf_to_term_is_killed_after_ten_seconds() {
    let mut stage = Stage::new("deaf");
    stage.script("service/s/run", "trap '' TERM\nwhile :; do sleep 1; done");
    stage.script("service/s/log/run", "exec multilog ./main");
    let mut svscan = stage.start(&["svscan", "service"]);
    eventually("up", || stage.pid("service/s").is_some());
    let began = std::time::Instant::now();
    kill("TERM", svscan.id());
    assert_eq!(svscan.wait().unwrap().code(), Some(0));
    assert!((10..15).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[test]
fn a_missing_directory_is_named() {
    let stage = Stage::new("missing");
    let said = stage.run(&["svscan", "nope"]);
    assert_eq!(said.code, Some(111));
    assert_eq!(said.err, "svscan: fatal: unable to chdir to nope: file does not exist\n");
}

#[test]
fn a_second_svscan_gives_up_at_once_and_the_first_goes_on() {
    let mut stage = Stage::new("second");
    counter(&stage);
    let svscan = stage.start(&["svscan", "service"]);
    eventually("lines are logged", || lines(&stage) > 1000);
    let pids = both(&stage);
    let second = stage.run(&["svscan", "service"]);
    let words = format!("svscan: fatal: already running in this directory, pid {}\n", svscan.id());
    assert_eq!((second.code, second.err.as_str()), (Some(111), words.as_str()));
    assert_eq!([stage.pid("made/c"), stage.pid("made/c/log")], pids);
    end(&stage, svscan);
}
