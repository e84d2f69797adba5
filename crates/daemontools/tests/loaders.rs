//! The small programs: those that become another, and those that label lines.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
mod stage;

use stage::{Said, Stage};
use std::io::Write;
use std::process::Stdio;

fn feed(stage: &Stage, words: &[&str], input: &[u8]) -> Said {
    let mut child = stage
        .command(words)
        .env("TZ", "UTC0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap().into()
}

#[test]
fn envdir_sets_removes_and_empties() {
    let stage = Stage::new("envdir");
    stage.write("env/ONE", "value \t\nignored\n");
    stage.write("env/GONE", "");
    stage.write("env/EMPTY", "\n");
    stage.write("env/.hidden", "x");
    stage.link("nowhere", "env/DANGLING");
    let shell = "echo \"[$ONE][${GONE-unset}][${EMPTY-unset}][${DANGLING-unset}]\"; pwd";
    let mut command = stage.command(&["envdir", "env", "sh", "-c", shell]);
    let said: Said = command.env("GONE", "x").env("DANGLING", "x").output().unwrap().into();
    let here = std::fs::canonicalize(&stage.dir).unwrap();
    assert_eq!(said.out, format!("[value][unset][][unset]\n{}\n", here.display()));
    let said = stage.run(&["envdir", "env"]);
    assert_eq!((said.code, said.err.as_str()), (Some(111), "envdir: usage: envdir dir child\n"));
    std::fs::create_dir(stage.path("env/D")).unwrap();
    let said = stage.run(&["envdir", "env", "true"]);
    assert_eq!(said.err, "envdir: fatal: unable to read env/D: is a directory\n");
    stage.write("big/V", &"x".repeat((1 << 20) + 1));
    let said = stage.run(&["envdir", "big", "true"]);
    assert_eq!(said.err, "envdir: fatal: unable to read big/V: larger than a megabyte\n");
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let stage = Stage::new("norun");
    for words in [&["pgrphack", "./nope"][..], &["softlimit", "-c0", "./nope"]] {
        let said = stage.run(words);
        let wanted = format!("{}: fatal: unable to run ./nope: file does not exist\n", words[0]);
        assert_eq!((said.code, said.err), (Some(111), wanted));
    }
}

#[test]
fn accounts_are_names_or_two_numbers() {
    let stage = Stage::new("ids");
    let said = stage.run(&["envuidgid", "1234:567", "sh", "-c", "echo $UID $GID"]);
    assert_eq!(said.out, "1234 567\n");
    let said = stage.run(&["envuidgid", "root", "sh", "-c", "echo $UID $GID"]);
    assert_eq!(said.out, "0 0\n");
    let said = stage.run(&["setuidgid", "no-such-account", "true"]);
    let wanted = "setuidgid: fatal: unknown account no-such-account\n";
    assert_eq!((said.code, said.err.as_str()), (Some(111), wanted));
    assert_eq!(stage.run(&["setuidgid", "x"]).err, "setuidgid: usage: setuidgid account child\n");
    let root = std::fs::metadata("/proc/self").unwrap();
    if std::os::unix::fs::MetadataExt::uid(&root) == 0 {
        let said = stage.run(&["setuidgid", "1234:567", "/usr/bin/id"]);
        assert_eq!(said.out, "uid=1234 gid=567 groups=567\n");
    } else {
        stage::skipped("only root can become somebody else");
    }
}

#[test]
fn limits_and_locks_hold_for_the_program() {
    let stage = Stage::new("limits");
    let said = stage.run(&["softlimit", "-o", "37", "-c0", "sh", "-c", "ulimit -n; ulimit -c"]);
    assert_eq!(said.out, "37\n0\n");
    let said = stage.run(&["softlimit", "-o", "many", "true"]);
    assert!(said.code == Some(100) && said.err.starts_with("softlimit: usage: softlimit [-a"));
    let inner =
        format!("{} -n lock true; {} -nx lock false", stage.bin("setlock"), stage.bin("setlock"));
    let said = stage.run(&["setlock", "lock", "sh", "-c", &inner]);
    assert_eq!(said.code, Some(0));
    assert_eq!(said.err, "setlock: fatal: unable to lock lock: temporary failure\n");
    let said = stage.run(&["setlock", "-z", "lock", "true"]);
    assert_eq!(
        said.err,
        "setlock: illegal option -- z\n\
         setlock: usage: setlock [ -nNxX ] file program [ arg ... ]\n"
    );
}

#[test]
fn under_an_old_limit_a_program_of_ours_gets_more_and_a_line_says_so() {
    let stage = Stage::new("fit");
    let (program, shell) = (stage.bin("envuidgid"), "ulimit -v; ulimit -d; ulimit -s");
    let words = ["softlimit", "-m", "2000000", &program, "root", "sh", "-c", shell];
    let said = stage.run(&words);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "65536\n65536\n1953\n"));
    let line = format!(
        "softlimit: warning: 2000000 bytes of memory are too few for {program}: \
         giving it 67108864 (write -m 67108864)\n"
    );
    assert_eq!(said.err, line);
    let said = stage.run(&["softlimit", "-m", "67108864", &program, "root", "true"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    // Whoever starts the program looks, not softlimit alone.
    let inner = format!("ulimit -Sv 9000; exec {} lock {program} root true", stage.bin("setlock"));
    let said = stage.run(&["setlock", "lock2", "sh", "-c", &inner]);
    assert!(said.code == Some(0) && said.err.contains(" are too few for "), "{said:?}");
    // Somebody else's program is only warned of: its limit is as it was set.
    let said = stage.run(&["softlimit", "-a", "50000", "/bin/sh", "-c", "exit 0"]);
    assert!(said.err.starts_with("softlimit: warning: /bin/sh needs "), "{said:?}");
    assert!(said.code != Some(0), "{said:?}");
}

#[test]
fn fghack_waits_for_what_went_into_the_background() {
    let stage = Stage::new("fghack");
    let began = std::time::Instant::now();
    let said = stage.run(&["fghack", "sh", "-c", "sleep 0.4 >/dev/null 2>&1 & exit 7"]);
    assert!(began.elapsed().as_millis() >= 400);
    assert_eq!(said.code, Some(7));
    let said = stage.run(&["fghack", "sh", "-c", "kill -9 $$"]);
    assert_eq!((said.code, said.err.as_str()), (Some(111), "fghack: fatal: child crashed\n"));
}

#[test]
fn pgrphack_leads_a_group_of_its_own() {
    let stage = Stage::new("pgrphack");
    let said = stage.run(&["pgrphack", "sh", "-c", "cut -d' ' -f1,5,6 /proc/$$/stat"]);
    let ids: Vec<&str> = said.out.split_whitespace().collect();
    assert!(ids.len() == 3 && ids[0] == ids[1] && ids[1] == ids[2], "{ids:?}");
}

#[test]
fn labels_go_on_and_come_off_again() {
    let stage = Stage::new("labels");
    let said = feed(&stage, &["tai64n"], b"one\ntwo");
    let lines: Vec<&str> = said.out.split('\n').collect();
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line.starts_with("@4000000") && line.len() == 29), "{lines:?}");
    let said = feed(&stage, &["tai64nlocal"], b"@4000000037c219bf2ef02e94 mark\n@12 x\n");
    assert_eq!(said.out, "1999-08-24 04:04:05.787492500 mark\n@12 x\n");
}

#[test]
fn readproctitle_shows_the_last_lines_to_ps() {
    let stage = Stage::new("title");
    let dots = ".".repeat(26);
    let mut child =
        stage.command(&["readproctitle", "errors:", &dots]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"one\ntwo\0three\n").unwrap();
    let path = format!("/proc/{}/cmdline", child.id());
    stage::eventually("the title", || {
        let line = std::fs::read(&path).unwrap_or_default();
        line.ends_with(b"errors:\0.............one\ntwothree\n\0")
    });
    drop(input);
    assert!(child.wait().unwrap().success());
    assert_eq!(stage.run(&["readproctitle", "...."]).code, Some(100));
}
