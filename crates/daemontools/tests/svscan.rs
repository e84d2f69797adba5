//! svscan and its pipes: nothing is lost, whoever is killed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
mod stage;

use stage::{
    LATE, SLEEP, Stage, assert_complete, at_rest, eventually, kill, logged, millis, quick_once,
    terminate,
};
use std::process::Child;
use std::time::Duration;

/// Counts as fast as a shell can until TERM; then says how far it came.
const COUNTER: &str = "i=0\ntrap 'echo $n > last; exit 0' TERM\n\
     while :; do i=$((i+1)); echo $i; n=$i; done";

/// A stage with a service that counts and logs, beside others that are there, and its svscan.
fn counting(name: &str, more: impl Fn(&Stage)) -> (Stage, Child) {
    let mut stage = Stage::new(name);
    stage.script("made/c/log/run", "exec multilog s100000 n1000 ./main");
    stage.script("made/c/run", COUNTER);
    stage.write("made/c/timeout-kill", LATE);
    std::fs::create_dir_all(stage.path("service")).unwrap();
    stage.link("../made/c", "service/c");
    more(&stage);
    let svscan = stage.start(&["svscan", "service"]);
    eventually("lines are logged", || lines(&stage) > 1000);
    (stage, svscan)
}

fn lines(stage: &Stage) -> usize {
    logged(&stage.path("made/c/log/main")).len()
}

/// The pids of service and log, once both supervises have told them.
fn both(stage: &Stage) -> [Option<u32>; 2] {
    ["made/c", "made/c/log"].map(|dir| Some(stage.recorded(dir)))
}

/// The pipe that is a process's descriptor.
fn pipe(pid: u32, fd: &str) -> Option<std::path::PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()
}

/// Waits until a svscan holds the pipe that a service writes to.
fn takes_over(svscan: &Child, service: u32) {
    let wanted = pipe(service, "1");
    eventually("the pipe is taken over", || {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", svscan.id())).unwrap().flatten();
        let mut fds = fds.map(|fd| fd.file_name().to_string_lossy().into_owned());
        fds.any(|fd| wanted.is_some() && pipe(svscan.id(), &fd) == wanted)
    });
}

fn end(stage: &Stage, svscan: Child) {
    terminate(svscan);
    let last: u64 = stage.read("made/c/last").trim().parse().unwrap();
    assert_complete(&logged(&stage.path("made/c/log/main")), last);
    assert_eq!(stage.run(&["svok", "made/c"]).code, Some(100));
    assert_eq!(stage.run(&["svok", "made/c/log"]).code, Some(100));
}

#[test]
fn an_orderly_end_stops_services_then_logs_and_keeps_every_line() {
    let (stage, svscan) = counting("end", |_| ());
    end(&stage, svscan);
}

#[test]
fn a_logger_killed_again_and_again_loses_no_line() {
    let (stage, svscan) = counting("logger", |_| ());
    for _ in 0..4 {
        let pid = both(&stage)[1].unwrap();
        kill("KILL", pid);
        eventually("a new logger", || stage.pid("made/c/log").is_some_and(|now| now != pid));
    }
    end(&stage, svscan);
}

/// Kills a supervise; how long it took until there was another one that listens.
fn another_supervise(stage: &Stage, dir: &str) -> Duration {
    let pid = stage.supervise_of(dir).unwrap();
    kill("KILL", pid);
    eventually("a new supervise", || {
        stage.supervise_of(dir).is_some_and(|now| now != pid)
            && stage.run(&["svok", dir]).code == Some(0)
    })
}

#[test]
fn killed_supervises_lose_no_line_and_start_nothing_twice() {
    let (stage, svscan) = counting("supervises", |_| ());
    let pids = both(&stage);
    for dir in ["made/c", "made/c/log", "made/c"] {
        // At once, or a second after the last, and not with the next look at the directory.
        quick_once("a new supervise", Duration::from_secs(2), || another_supervise(&stage, dir));
    }
    assert_eq!([stage.pid("made/c"), stage.pid("made/c/log")], pids);
    end(&stage, svscan);
}

/// As beside a distribution's daemontools.
#[test]
fn another_daemontools_in_the_path_is_not_run() {
    let mut stage = Stage::new("other");
    let ran = stage.path("ran");
    stage.script("other/supervise", &format!("echo $0 >> {}\n{SLEEP}", ran.display()));
    stage.script("service/s/run", SLEEP);
    let path = format!("{}:{}", stage.path("other").display(), std::env::var("PATH").unwrap());
    let svscan = stage.start_with("PATH", &path, &["svscan", "service"]);
    let before = stage.recorded("service/s");
    another_supervise(&stage, "service/s");
    assert_eq!(stage.recorded("service/s"), before);
    terminate(svscan);
    assert!(!ran.exists());
}

#[test]
fn a_killed_svscan_is_succeeded_without_a_line_lost() {
    let (mut stage, mut svscan) = counting("svscan", |_| ());
    let pids = both(&stage);
    svscan.kill().unwrap();
    svscan.wait().unwrap();
    // While nobody holds the pipe but the two supervises, the logger goes too.
    kill("KILL", pids[1].unwrap());
    let svscan = stage.start(&["svscan", "service"]);
    takes_over(&svscan, pids[0].unwrap());
    // Now both supervises: the new svscan gives their successors the pipe there was.
    for dir in ["made/c", "made/c/log"] {
        another_supervise(&stage, dir);
    }
    assert_eq!(stage.pid("made/c"), pids[0]);
    let before = lines(&stage);
    eventually("more lines are logged", || lines(&stage) > before + 1000);
    let said = stage.read("err");
    assert!(!said.contains("svscan: "), "taking over is quiet: {said}");
    end(&stage, svscan);
}

/// The access mode (0 reading, 1 writing, 2 both) of a process's descriptor, proc(5).
fn access(pid: u32, fd: u32) -> u32 {
    let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).unwrap();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
    u32::from_str_radix(flags.trim(), 8).unwrap() & 3
}

#[test]
fn a_service_can_only_write_its_log_and_a_logger_only_read_it() {
    let mut stage = Stage::new("ends");
    stage.script("service/s/run", "exec 2>&1\nexec sleep 1000");
    stage.script("service/s/log/run", SLEEP);
    let svscan = stage.start(&["svscan", "service"]);
    let pids = || [stage.pid("service/s"), stage.pid("service/s/log")];
    eventually("both are up", || pids().iter().all(Option::is_some));
    let [service, log] = pids().map(Option::unwrap);
    eventually("2 is 1", || {
        let [one, two] =
            [1, 2].map(|fd| std::fs::read_link(format!("/proc/{service}/fd/{fd}")).unwrap());
        one == two
    });
    assert_eq!([access(service, 1), access(service, 2), access(log, 0)], [1, 1, 0]);
    terminate(svscan);
}

#[test]
fn a_service_meets_no_broken_pipe_while_all_others_but_its_supervise_are_dead() {
    let (mut stage, mut svscan) = counting("alone", |_| ());
    let pids = both(&stage);
    svscan.kill().unwrap();
    svscan.wait().unwrap();
    kill("KILL", stage.supervise_of("made/c/log").unwrap());
    kill("KILL", pids[1].unwrap());
    millis(200);
    let svscan = stage.start(&["svscan", "service"]);
    let before = lines(&stage);
    eventually("more lines are logged", || lines(&stage) > before + 1000);
    assert_eq!(both(&stage)[0], pids[0]);
    end(&stage, svscan);
}

#[test]
fn a_service_dropped_in_is_up_within_a_second() {
    let mut stage = Stage::new("dropin");
    std::fs::create_dir(stage.path("service")).unwrap();
    let svscan = stage.start(&["svscan", "service"]);
    let drop_in = |name: &str| {
        stage.script(&format!("made/{name}/run"), SLEEP);
        stage.link(&format!("../made/{name}"), &format!("service/{name}"));
        eventually("up", || stage.pid(&format!("service/{name}")).is_some())
    };
    drop_in("s");
    // The directory has just been read, and by itself is read again in five seconds.
    let mut names = (1..).map(|number| format!("more{number}"));
    quick_once("to come up", Duration::from_secs(1), || drop_in(&names.next().unwrap()));
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
    terminate(svscan);
}

#[test]
fn a_service_deaf_to_term_is_killed_after_ten_seconds() {
    let mut stage = Stage::new("deaf");
    stage.script("service/s/run", "trap '' TERM\necho deaf > deaf\nwhile :; do sleep 1; done");
    stage.script("service/s/log/run", "exec multilog ./main");
    let mut svscan = stage.start(&["svscan", "service"]);
    eventually("it is deaf", || stage.read("service/s/deaf") == "deaf\n");
    let began = std::time::Instant::now();
    kill("TERM", svscan.id());
    // With 0, as it went in the end.
    assert_eq!(svscan.wait().unwrap().code(), Some(0));
    assert!(began.elapsed().as_secs() >= 10, "{:?}", began.elapsed());
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
    let (stage, svscan) = counting("second", |_| ());
    let pids = both(&stage);
    let second = stage.run(&["svscan", "service"]);
    let words = format!("svscan: fatal: already running in this directory, pid {}\n", svscan.id());
    assert_eq!((second.code, second.err.as_str()), (Some(111), words.as_str()));
    assert_eq!([stage.pid("made/c"), stage.pid("made/c/log")], pids);
    end(&stage, svscan);
}

#[test]
fn hup_ends_services_that_are_no_longer_there_and_then_their_logs() {
    let (stage, svscan) = counting("hup", |stage| stage.script("service/other/run", SLEEP));
    let other = Some(stage.recorded("service/other"));
    std::fs::remove_file(stage.path("service/c")).unwrap();
    kill("HUP", svscan.id());
    eventually("both supervises have left", || {
        ["made/c", "made/c/log"].iter().all(|dir| stage.run(&["svok", dir]).code == Some(100))
    });
    let last: u64 = stage.read("made/c/last").trim().parse().unwrap();
    assert_complete(&logged(&stage.path("made/c/log/main")), last);
    assert_eq!(stage.pid("service/other"), other);
    // It may come back.
    stage.link("../made/c", "service/c");
    eventually("up again", || stage.pid("made/c").is_some());
    terminate(svscan);
    assert_eq!(stage.read("err"), "");
}

#[test]
fn trouble_with_a_name_is_told_once_however_often_it_is_looked_at() {
    let mut stage = Stage::new("told");
    std::fs::create_dir(stage.path("service")).unwrap();
    stage.link("nowhere", "service/dangling");
    stage.write("service/file", "");
    let svscan = stage.start(&["svscan", "service"]);
    let told =
        |name: &str| format!("svscan: warning: unable to stat {name}: file does not exist\n");
    let line = told("dangling");
    eventually("the trouble", || stage.read("err") == line);
    for _ in 0..5 {
        kill("ALRM", svscan.id());
        millis(50);
    }
    // What is put there now tells us that the directory was read after this.
    std::fs::remove_file(stage.path("service/dangling")).unwrap();
    stage.link("nowhere", "service/other");
    kill("ALRM", svscan.id());
    let both = [line.clone(), told("other")].concat();
    eventually("another trouble", || stage.read("err") == both);
    stage.link("nowhere", "service/dangling");
    kill("ALRM", svscan.id());
    eventually("the trouble is back", || stage.read("err") == [both.as_str(), &line].concat());
    terminate(svscan);
}

#[test]
fn a_signal_runs_the_program_of_its_name() {
    let mut stage = Stage::new("signals");
    stage.script("service/s/run", SLEEP);
    stage.script("service/.svscan/SIGUSR1", "echo usr1 >> ../heard");
    stage.script("service/.svscan/SIGHUP", "echo hup >> ../heard");
    let mut svscan = stage.start(&["svscan", "service"]);
    eventually("up", || stage.pid("service/s").is_some());
    kill("USR1", svscan.id());
    eventually("USR1 was heard", || stage.read("heard") == "usr1\n");
    // Given another meaning, HUP does not have its own.
    std::fs::rename(stage.path("service/s"), stage.path("s")).unwrap();
    kill("HUP", svscan.id());
    eventually("HUP was heard", || stage.read("heard") == "usr1\nhup\n");
    kill("USR2", svscan.id());
    millis(500);
    assert!(stage.pid("s").is_some() && svscan.try_wait().unwrap().is_none());
    terminate(svscan);
    assert!(stage.pid("s").is_none(), "a service that was moved away is ended as well");
}

#[test]
fn a_service_has_as_long_to_end_as_its_file_gives_it() {
    let mut stage = Stage::new("patience");
    stage.script("service/s/run", "trap '' TERM\necho deaf > deaf\nwhile :; do sleep 0.1; done");
    stage.write("service/s/timeout-kill", "500");
    let svscan = stage.start(&["svscan", "service"]);
    eventually("it is deaf", || stage.read("service/s/deaf") == "deaf\n");
    terminate(svscan);
    // Without the file nobody but svscan would have killed it.
    assert!(stage.read("err").contains("s: run did not end in its time (timeout-kill): killed"));
}

#[test]
fn a_service_that_others_need_ends_after_them() {
    let mut stage = Stage::new("last");
    let run = |name: &str, before: &str| {
        format!(
            "trap '{before}echo {name} >> order; exit' TERM\necho up > {name}-up\nwhile :; do sleep 0.1; done"
        )
    };
    for (name, before) in [("needed", ""), ("slow", "sleep 2; "), ("quick", "")] {
        let at = format!("cd ../..\n{}", run(name, before));
        stage.script(&format!("service/{name}/run"), &at);
    }
    stage.write("service/needed/ends-last", "");
    stage.write("service/slow/timeout-down", "60000");
    let svscan = stage.start(&["svscan", "service"]);
    for name in ["needed", "slow", "quick"] {
        eventually("it is up", || stage.read(&format!("{name}-up")) == "up\n");
    }
    terminate(svscan);
    assert_eq!(stage.read("order"), "quick\nslow\nneeded\n");
}

#[test]
fn one_that_cannot_be_told_keeps_nobody_from_being_told() {
    let mut stage = Stage::new("untold");
    for (name, time) in [("needed", LATE), ("untold", "100"), ("quick", LATE)] {
        let run = "trap 'echo ended > ended; exit' TERM\nwhile :; do sleep 0.1; done";
        stage.script(&format!("service/{name}/run"), run);
        stage.write(&format!("service/{name}/timeout-down"), time);
    }
    stage.write("service/needed/ends-last", "");
    let mut first = stage.start(&["svscan", "service"]);
    for name in ["needed", "untold", "quick"] {
        stage.recorded(&format!("service/{name}"));
    }
    first.kill().unwrap();
    first.wait().unwrap();
    // To its successor their supervises are strangers, which it can only write to.
    let mut svscan = stage.start(&["svscan", "service"]);
    at_rest(svscan.id());
    std::fs::remove_file(stage.path("service/untold/supervise/control")).unwrap();
    kill("TERM", svscan.id());
    // That one is given all its time, and named.
    assert_eq!(svscan.wait().unwrap().code(), Some(111));
    let ended = |name: &str| !stage.read(&format!("service/{name}/ended")).is_empty();
    assert_eq!(["quick", "needed", "untold"].map(ended), [true, true, false]);
    let said = stage.read("err");
    assert!(said.ends_with("svscan: warning: unable to end untold\n"), "{said}");
    kill("TERM", stage.supervise_of("service/untold").unwrap());
}

#[test]
fn a_service_whose_directory_is_removed_is_ended_with_the_others() {
    let mut stage = Stage::new("rmdir");
    stage.script("service/s/run", SLEEP);
    stage.script("service/s/log/run", "exec cat > /dev/null");
    let mut svscan = stage.start(&["svscan", "service"]);
    let pids = [stage.recorded("service/s"), stage.recorded("service/s/log")];
    std::fs::remove_dir_all(stage.path("service/s")).unwrap();
    millis(1200);
    kill("TERM", svscan.id());
    // With anything else it had given up on one of them.
    assert_eq!(svscan.wait().unwrap().code(), Some(0));
    for pid in pids {
        assert!(!std::path::Path::new(&format!("/proc/{pid}/fd/0")).exists());
    }
}

#[test]
fn svscanboot_becomes_svscan_and_shows_its_log_to_ps() {
    let mut stage = Stage::new("boot");
    stage.script("service/s/run", "env > ../../new; mv ../../new ../../env\nexec sleep 1000");
    stage.link("nowhere", "service/dangling");
    let dir = stage.path("service").to_string_lossy().into_owned();
    let boot = stage.start(&["svscanboot", &dir]);
    eventually("up", || stage.pid("service/s").is_some());
    let name = std::fs::read(format!("/proc/{}/cmdline", boot.id())).unwrap();
    assert!(name.starts_with(b"svscan\0"), "{name:?}");
    let title = || {
        let children = format!("/proc/{0}/task/{0}/children", boot.id());
        let children = std::fs::read_to_string(children).unwrap();
        let lines = children.split_whitespace().map(|pid| format!("/proc/{pid}/cmdline"));
        lines
            .filter_map(|path| std::fs::read(path).ok())
            .map(|line| String::from_utf8_lossy(&line).into_owned())
            .find(|line| line.starts_with("readproctitle\0"))
            .unwrap_or_default()
    };
    eventually("the log is shown", || {
        title().ends_with("svscan: warning: unable to stat dangling: file does not exist\n\0")
    });
    assert!(title().starts_with("readproctitle\0service\0errors:\0..."), "{}", title());
    eventually("the service's variables", || stage.read("env").contains("PATH="));
    let env = stage.read("env");
    let ours = std::path::Path::new(env!("CARGO_BIN_EXE_daemontools")).parent().unwrap();
    let path = format!(":/usr/X11R6/bin:{}\n", ours.display());
    // The stage's own scripts put a directory in front.
    assert!(env.contains(&path) && env.contains(":/command:/usr/local/bin:"), "{env}");
    assert!(!env.contains("HOME="), "{env}");
    terminate(boot);
    assert_eq!(stage.run(&["svok", "service/s"]).code, Some(100));
}

#[test]
fn as_process_1_it_buries_orphans_and_takes_nobody_by_surprise() {
    let stage = Stage::new("container");
    let svscan = stage.bin("svscan");
    let mut unshare = std::process::Command::new("unshare");
    unshare.args(["--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    if !unshare.arg("true").status().is_ok_and(|status| status.success()) {
        return stage::skipped("no namespaces can be had");
    }
    // Its child goes into the background and outlives the service.
    let orphan = "trap 'echo told >> told; exit' TERM; echo > listens; while :; do sleep 0.1; done";
    let brief = "sh -c '(sleep 0.3; echo > dead) &'";
    stage.script("service/s/run", &format!("(({orphan}) &)\n{brief}\nexec sleep 1000"));
    stage.script("service/s/log/run", "exec cat > lines");
    let mut unshare = std::process::Command::new("unshare");
    unshare.args(["--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    // What the shell says is where its process 1's signals come from: from outside.
    unshare.arg(svscan).arg("service").current_dir(&stage.dir);
    let mut outside = unshare.spawn().unwrap();
    let children = format!("/proc/{0}/task/{0}/children", outside.id());
    let first = || -> Option<u32> {
        std::fs::read_to_string(&children).ok()?.split_whitespace().next()?.parse().ok()
    };
    eventually("the services' supervises listen", || {
        stage.run(&["svok", "service/s"]).code == Some(0)
            && stage.run(&["svok", "service/s/log"]).code == Some(0)
    });
    for word in ["listens", "dead"] {
        eventually(word, || stage.read(&format!("service/s/{word}")) == "\n");
    }
    let one = first().unwrap();
    let children = format!("/proc/{one}/task/{one}/children");
    // Two supervises and the orphan, and no zombie of the short-lived one.
    eventually("three are left", || {
        std::fs::read_to_string(&children).unwrap().split_whitespace().count() == 3
    });
    kill("TERM", one);
    let began = std::time::Instant::now();
    assert_eq!(outside.wait().unwrap().code(), Some(0));
    // It waits for nobody in vain, which would take it more than half a minute.
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(stage.read("service/s/told"), "told\n");
}

#[test]
fn services_for_whose_pipes_there_are_no_descriptors_do_not_keep_others_from_starting() {
    let stage = Stage::new("descriptors");
    for n in 0..20 {
        stage.script(&format!("service/s{n}/run"), SLEEP);
        stage.script(&format!("service/s{n}/log/run"), "exec cat > /dev/null");
    }
    stage.script("few", "ulimit -n 32\nexec svscan service");
    let few = stage.path("few");
    let err = std::fs::File::create(stage.path("err")).unwrap();
    let mut svscan = std::process::Command::new(few);
    let svscan = svscan.current_dir(&stage.dir).stderr(err).spawn().unwrap();
    eventually("there are none left", || stage.read("err").contains("cannot open more files"));
    stage.script("made/late/run", SLEEP);
    stage.link("../made/late", "service/late");
    eventually("one without a log is up", || stage.pid("made/late").is_some());
    let said = stage.read("err");
    let refused = "unable to create pipe for s";
    assert!(said.lines().all(|line| line.contains(refused)) && said.lines().count() < 20, "{said}");
    terminate(svscan);
}
