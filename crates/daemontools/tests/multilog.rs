//! multilog on real pipes and files.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
mod stage;

use stage::{
    Stage, assert_complete, at_rest, eventually, finished, kill, logged, millis, quick_once,
};
use std::io::{PipeReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::thread::JoinHandle;

fn mode(stage: &Stage, name: &str) -> u32 {
    std::fs::metadata(stage.path(name)).unwrap().permissions().mode() & 0o777
}

fn start(stage: &Stage, words: &[&str], input: impl Into<Stdio>) -> Child {
    stage.command(words).stdin(input).stderr(Stdio::piped()).spawn().unwrap()
}

/// Runs multilog on a whole input.
fn log(stage: &Stage, actions: &[&str], input: &[u8]) -> stage::Said {
    let words: Vec<&str> = ["multilog"].into_iter().chain(actions.iter().copied()).collect();
    let mut child = start(stage, &words, Stdio::piped());
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap().into()
}

/// Numbers from one to another, a line each.
fn numbers(numbers: std::ops::RangeInclusive<u64>) -> String {
    numbers.map(|number| format!("{number}\n")).collect()
}

/// Starts and kills multilog as often as said, after so many milliseconds, while `writer` writes to the
/// pipe; then lets one read the rest. All the numbers up to the last are to be in its log.
fn killed(
    stage: &Stage,
    words: &[&str],
    (read, writer): (PipeReader, JoinHandle<()>),
    lives: impl Iterator<Item = u64>,
    last: u64,
) {
    for life in lives {
        let mut child = start(stage, words, OwnedFd::from(read.try_clone().unwrap()));
        millis(life);
        child.kill().unwrap();
        child.wait().unwrap();
        // A processor that was left alone may still write to `processed`.
        millis(5);
    }
    let mut heir = start(stage, words, OwnedFd::from(read));
    writer.join().unwrap();
    assert!(heir.wait().unwrap().success());
    assert_complete(&logged(&stage.path("a")), last);
}

/// A pipe into which another thread writes the numbers from one to another.
fn counted(last: u64) -> (PipeReader, JoinHandle<()>) {
    let (read, mut write) = std::io::pipe().unwrap();
    let count = move || {
        for number in 1..=last {
            write.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
    };
    (read, std::thread::spawn(count))
}

#[test]
fn a_log_closed_cleanly_is_marked_safe_and_continued() {
    let stage = Stage::new("clean");
    assert_eq!(log(&stage, &["./a"], b"one\ntwo").code, Some(0));
    assert_eq!(
        (stage.read("a/current").as_str(), mode(&stage, "a/current")),
        ("one\ntwo\n", 0o744)
    );
    assert_eq!([mode(&stage, "a"), mode(&stage, "a/lock")], [0o700, 0o600]);
    log(&stage, &["./a"], b"three\n");
    assert_eq!(stage.read("a/current"), "one\ntwo\nthree\n");
}

#[test]
fn a_log_left_by_a_crash_is_kept_under_its_own_name() {
    let stage = Stage::new("crash");
    log(&stage, &["./a"], b"one\n");
    std::fs::set_permissions(stage.path("a/current"), std::fs::Permissions::from_mode(0o644))
        .unwrap();
    log(&stage, &["./a"], b"two\n");
    assert_eq!(stage.read("a/current"), "two\n");
    assert_eq!(logged(&stage.path("a")), ["one", "two"]);
    let names: Vec<_> = std::fs::read_dir(stage.path("a")).unwrap().flatten().collect();
    assert!(names.iter().any(|entry| entry.file_name().to_string_lossy().ends_with(".u")));
}

#[test]
fn lines_are_selected_shown_and_kept_as_told() {
    let stage = Stage::new("select");
    let actions = ["./all", "-*", "+*bad*", "e", "=status", "./bad"];
    let said = log(&stage, &actions, b"good\nxbad\nabadb\n");
    assert_eq!(stage.read("all/current"), "good\nxbad\nabadb\n");
    // `*b` goes to the first b: `abadb` then wants `ad`, which is there.
    assert_eq!(stage.read("bad/current"), "xbad\nabadb\n");
    assert_eq!(said.err, "xbad\nabadb\n");
    let status = stage.read("status");
    assert_eq!((status.len(), status.trim_end()), (1001, "abadb"));
}

#[test]
fn a_label_stands_before_each_line() {
    let stage = Stage::new("label");
    log(&stage, &["t", "./a"], b"x\n");
    let line = stage.read("a/current");
    assert_eq!(line.len(), 28);
    assert!(line.starts_with("@4000000") && line.ends_with(" x\n"), "{line}");
}

#[test]
fn old_logs_are_few_safe_and_processed() {
    let stage = Stage::new("rotate");
    let input = "0123456789abcde\n".repeat(2000);
    log(&stage, &["s4096", "n3", "!tr 0 N; echo state >&5", "./a"], input.as_bytes());
    let old = finished(&stage.path("a"));
    assert_eq!(old.len(), 2, "{old:?}");
    for name in &old {
        assert!(name.ends_with(".s"));
        assert_eq!(mode(&stage, &format!("a/{name}")), 0o744);
        assert!(stage.read(&format!("a/{name}")).starts_with("N123456789abcde\n"));
    }
    assert_eq!(stage.read("a/state"), "state\n");
}

#[test]
fn an_alarm_rotates_what_is_not_empty() {
    let stage = Stage::new("alarm");
    let mut child = start(&stage, &["multilog", "./a"], Stdio::piped());
    let mut input = child.stdin.take().unwrap();
    eventually("open", || stage.path("a/current").exists());
    at_rest(child.id());
    kill("ALRM", child.id());
    at_rest(child.id());
    assert_eq!(logged(&stage.path("a")).len(), 0);
    input.write_all(b"one\nhal").unwrap();
    eventually("written", || stage.read("a/current") == "one\n");
    kill("ALRM", child.id());
    eventually("rotated", || stage.read("a/current").is_empty());
    drop(input);
    assert!(child.wait().unwrap().success());
    assert_eq!(stage.read("a/current"), "hal\n");
}

#[test]
fn term_ends_at_a_line_end_and_leaves_the_rest_to_the_next() {
    let stage = Stage::new("term");
    let (read, mut write) = std::io::pipe().unwrap();
    let mut child = start(&stage, &["multilog", "./a"], OwnedFd::from(read.try_clone().unwrap()));
    write.write_all(b"one\ntw").unwrap();
    eventually("the first line", || stage.read("a/current") == "one\n");
    at_rest(child.id());
    kill("TERM", child.id());
    at_rest(child.id());
    write.write_all(b"o\nthree\n").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(
        (stage.read("a/current").as_str(), mode(&stage, "a/current")),
        ("one\ntwo\n", 0o744)
    );
    let mut next = start(&stage, &["multilog", "./a"], OwnedFd::from(read));
    drop(write);
    assert!(next.wait().unwrap().success());
    assert_eq!(stage.read("a/current"), "one\ntwo\nthree\n");
}

#[test]
fn killed_at_any_moment_it_loses_no_line() {
    let stage = Stage::new("kill");
    let words = ["multilog", "s50000", "n1000", "./a"];
    killed(&stage, &words, counted(200_000), (0..60).map(|round| round % 11), 200_000);
}

#[test]
fn killed_within_a_line_it_loses_no_byte_of_it() {
    let stage = Stage::new("within");
    let (read, mut write) = std::io::pipe().unwrap();
    let run = |stage: &Stage| {
        start(stage, &["multilog", "./a"], OwnedFd::from(read.try_clone().unwrap()))
    };
    let mut first = run(&stage);
    write.write_all(b"one\ntwo\nli").unwrap();
    eventually("the whole lines", || stage.read("a/current") == "one\ntwo\n");
    at_rest(first.id());
    first.kill().unwrap();
    first.wait().unwrap();
    let mut next = run(&stage);
    at_rest(next.id());
    write.write_all(b"ne 3\nno end").unwrap();
    eventually("the line", || logged(&stage.path("a")).contains(&"line 3".to_owned()));
    drop((write, read));
    assert!(next.wait().unwrap().success());
    assert_eq!(logged(&stage.path("a")), ["one", "two", "line 3", "no end"]);
}

#[test]
fn killed_while_lines_come_in_pieces_it_loses_none() {
    let stage = Stage::new("pieces");
    let (read, mut write) = std::io::pipe().unwrap();
    let writer = std::thread::spawn(move || {
        let all = numbers(1..=20_000);
        let (mut rest, mut state) = (all.as_bytes(), 1_u64);
        while !rest.is_empty() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let length = usize::try_from(state >> 59).unwrap() + 1;
            let (piece, others) = rest.split_at(length.min(rest.len()));
            write.write_all(piece).unwrap();
            std::thread::sleep(std::time::Duration::from_micros(state >> 56));
            rest = others;
        }
    });
    let words = ["multilog", "s50000", "n1000", "./a"];
    killed(&stage, &words, (read, writer), (0..100).map(|round| 5 + round % 11), 20_000);
}

#[test]
fn a_pipe_full_of_single_bytes_is_emptied_though_no_line_ends() {
    let stage = Stage::new("slots");
    let (read, write) = std::io::pipe().unwrap();
    let mut child = start(&stage, &["multilog", "./a"], OwnedFd::from(read));
    // Each is a slot of its own; a pipe has sixteen as a rule.
    let (bytes, mut feed) = std::io::pipe().unwrap();
    for number in 0..100 {
        feed.write_all(if number == 99 { b"\n" } else { b"." }).unwrap();
        eventually("room", || matches!(sys::tee::skip(&bytes, &write, 1), Ok(1)));
    }
    drop(write);
    assert!(child.wait().unwrap().success());
    assert_eq!(stage.read("a/current"), format!("{}\n", ".".repeat(99)));
}

#[test]
fn the_rest_of_a_line_is_logged_when_it_comes_and_waiting_for_it_costs_nothing() {
    let stage = Stage::new("rest");
    let mut child = start(&stage, &["multilog", "./a"], Stdio::piped());
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"ha").unwrap();
    at_rest(child.id());
    // Hundredths of a second so far.
    let ticks = || -> u32 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        stat.split(' ').skip(13).take(2).map(|n| n.parse::<u32>().unwrap()).sum()
    };
    let before = ticks();
    millis(1500);
    let spent = ticks() - before;
    assert!(spent < 10, "{spent} hundredths of a second for nothing");
    // By itself it looks once a second.
    let mut whole = String::new();
    quick_once("the rest of a line", std::time::Duration::from_millis(500), || {
        let began = std::time::Instant::now();
        input.write_all(b"lf\n").unwrap();
        whole += "half\n";
        eventually("the line", || stage.read("a/current") == whole);
        let took = began.elapsed();
        input.write_all(b"ha").unwrap();
        at_rest(child.id());
        took
    });
    input.write_all(b"lf\n").unwrap();
    drop(input);
    assert!(child.wait().unwrap().success());
    assert_eq!(stage.read("a/current"), whole + "half\n");
}

#[test]
fn trouble_at_the_start_is_fatal_before_a_byte_is_read() {
    let stage = Stage::new("trouble");
    let said = log(&stage, &["./no/such"], b"");
    assert_eq!(said.code, Some(111));
    assert_eq!(
        said.err,
        "multilog: fatal: unable to open directory ./no/such: file does not exist\n"
    );
    let said = log(&stage, &["./a", "./a"], b"");
    assert_eq!(said.err, "multilog: fatal: unable to lock directory ./a: temporary failure\n");
    let said = log(&stage, &["=no/such", "./a"], b"");
    assert_eq!(said.err, "multilog: fatal: unable to create no/such: file does not exist\n");
}

#[test]
fn killed_at_any_moment_with_a_processor_it_loses_no_line_either() {
    let stage = Stage::new("killproc");
    let words = ["multilog", "s4096", "n1000", "!cat; echo >&5", "./a"];
    killed(&stage, &words, counted(60_000), (0..40).map(|round| round % 23), 60_000);
}

#[test]
fn files_end_where_the_originals_do() {
    let stage = Stage::new("cut");
    let sizes = |stage: &Stage, dir: &str| -> Vec<u64> {
        let of = |name: &String| std::fs::metadata(stage.path(dir).join(name)).unwrap().len();
        finished(&stage.path(dir)).iter().map(of).collect()
    };
    let line = |length: usize| format!("{}\n", "x".repeat(length - 1));
    stage.write("in", &line(32).repeat(400));
    let run = |dir: &str, actions: &[&str]| {
        let words: Vec<&str> = ["multilog"].iter().chain(actions).copied().chain([dir]).collect();
        let input = std::fs::File::open(stage.path("in")).unwrap();
        assert!(start(&stage, &words, input).wait().unwrap().success());
    };
    run("./a", &["s4096", "n100"]);
    assert_eq!(sizes(&stage, "a"), [2560; 5]);
    stage.write("in", &line(41).repeat(12_000));
    run("./b", &["n100"]);
    let all = sizes(&stage, "b");
    assert!(
        all.len() == 5 && all.iter().all(|size| [98_236, 98_277, 98_318].contains(size)),
        "{all:?}"
    );
    stage.write("in", &"x".repeat(10_000));
    run("./c", &["s4096"]);
    assert_eq!(sizes(&stage, "c"), [4096, 4096]);
    assert_eq!(stage.read("c/current").len(), 1809);
}

#[test]
fn all_files_together_have_no_more_than_the_bytes_allowed() {
    let stage = Stage::new("total");
    log(&stage, &["s16777215", "n1000", "b40K", "./a"], numbers(1..=50_000).as_bytes());
    let bytes: u64 = std::fs::read_dir(stage.path("a"))
        .unwrap()
        .flatten()
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    assert!((20_000..=40_960).contains(&bytes), "{bytes}");
    let lines = logged(&stage.path("a"));
    assert_eq!(lines.last().map(String::as_str), Some("50000"));
}

#[test]
fn a_cap_that_is_none_and_a_word_that_is_nothing_are_told_and_passed_over() {
    let stage = Stage::new("odd");
    let said = log(&stage, &["bmuch", "zzz", "./a"], b"one\n");
    assert_eq!(said.code, Some(0));
    let wanted = "multilog: warning: ignoring bmuch: \
                  bytes are digits, with K, M or G behind them or nothing\n\
                  multilog: warning: ignoring zzz: \
                  no action begins so; a directory begins with a dot or a slash\n";
    assert_eq!(said.err, wanted);
    assert_eq!(stage.read("a/current"), "one\n");
}

#[test]
fn a_log_is_ended_by_its_age_and_removed_by_its_age() {
    let stage = Stage::new("age");
    let mut child = start(&stage, &["multilog", "r1", "a6", "./a"], Stdio::piped());
    let mut input = child.stdin.take().unwrap();
    let began = std::time::Instant::now();
    input.write_all(b"one\n").unwrap();
    eventually("ended", || finished(&stage.path("a")).len() == 1);
    assert_eq!(stage.read("a/current"), "");
    assert!(began.elapsed().as_millis() >= 900, "{:?}", began.elapsed());
    eventually("removed", || finished(&stage.path("a")).is_empty());
    assert!(began.elapsed().as_secs() >= 5, "{:?}", began.elapsed());
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_clock_set_back_does_not_make_the_newest_log_the_first_to_go() {
    let stage = Stage::new("clock");
    std::fs::create_dir(stage.path("a")).unwrap();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let tomorrow = format!("@{:016x}00000000", (1_u64 << 62) + 10 + now + 86_400);
    stage.write(&format!("a/{tomorrow}.s"), "old\n");
    log(&stage, &["s4096", "n3", "./a"], numbers(1..=3_000).as_bytes());
    let names = finished(&stage.path("a"));
    assert!(names.len() == 2 && names.iter().all(|name| *name > tomorrow), "{names:?}");
    let lines = logged(&stage.path("a"));
    assert_eq!(lines.last().map(String::as_str), Some("3000"));
    assert!(!lines.contains(&"old".to_owned()));
}

#[test]
fn a_current_that_was_removed_is_made_again_and_a_directory_ends_it() {
    let stage = Stage::new("gone");
    let mut child = start(&stage, &["multilog", "./a"], Stdio::piped());
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"one\n").unwrap();
    eventually("written", || stage.read("a/current") == "one\n");
    std::fs::remove_file(stage.path("a/current")).unwrap();
    kill("ALRM", child.id());
    eventually("made again", || stage.path("a/current").exists());
    input.write_all(b"two\n").unwrap();
    eventually("written", || stage.read("a/current") == "two\n");
    std::fs::remove_dir_all(stage.path("a")).unwrap();
    kill("ALRM", child.id());
    let said: stage::Said = child.wait_with_output().unwrap().into();
    assert_eq!(said.code, Some(111));
    assert_eq!(said.err, "multilog: fatal: directory ./a was removed\n");
}

#[test]
fn a_line_that_comes_after_the_directory_was_removed_is_left_to_the_next() {
    let stage = Stage::new("gone-line");
    let (read, mut pipe) = std::io::pipe().unwrap();
    let child = start(&stage, &["multilog", "./a", "./b"], read.try_clone().unwrap());
    pipe.write_all(b"one\n").unwrap();
    eventually("written", || stage.read("a/current") == "one\n");
    std::fs::remove_dir_all(stage.path("a")).unwrap();
    // Made again, as by a caretaker: it is not the one that is written to.
    std::fs::create_dir(stage.path("a")).unwrap();
    pipe.write_all(b"two\nthree").unwrap();
    let said: stage::Said = child.wait_with_output().unwrap().into();
    assert_eq!(said.code, Some(111));
    assert_eq!(said.err, "multilog: fatal: directory ./a was removed\n");
    pipe.write_all(b"\n").unwrap();
    drop(pipe);
    assert!(start(&stage, &["multilog", "./a", "./b"], read).wait().unwrap().success());
    assert_eq!(logged(&stage.path("a")), ["two", "three"]);
    // Here it is a second time.
    assert_eq!(logged(&stage.path("b")), ["one", "two", "two", "three"]);
}

#[test]
fn an_end_of_input_does_not_hide_that_the_directory_was_removed() {
    let stage = Stage::new("gone-end");
    let child = start(&stage, &["multilog", "./a"], Stdio::piped());
    eventually("open", || stage.path("a/current").exists());
    std::fs::remove_dir_all(stage.path("a")).unwrap();
    let said: stage::Said = child.wait_with_output().unwrap().into();
    assert_eq!(said.code, Some(111));
    assert_eq!(said.err, "multilog: fatal: directory ./a was removed\n");
}
