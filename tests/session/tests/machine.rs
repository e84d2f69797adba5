//! Every session file, played against the machine itself: in one piece, and in crumbs.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, helpers and all")]

use session::{Parcel, Post, Pure, Script, play, settings};

/// The session files with this ending, by name.
fn files(ending: &str) -> Vec<(String, Script)> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../sessions");
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let script = Script::parse(&text).unwrap_or_else(|bad| panic!("{name}: {bad}"));
            (name, script)
        })
        .collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files
}

#[test]
fn the_machine_answers_as_the_files_say_however_the_stream_is_cut() {
    let files = files("smtp");
    assert!(files.len() > 25);
    for (name, script) in files {
        let settings = settings(&script);
        for chunk in [usize::MAX, 4096, 7, 1] {
            let mut server = Pure::new(&script, &settings, chunk);
            play(&script, &mut server).unwrap_or_else(|m| panic!("{name} by {chunk}: {m}"));
        }
    }
}

#[test]
fn the_pop3_machines_answer_as_the_files_say_however_the_stream_is_cut() {
    let files = files("pop3");
    assert!(files.len() > 15);
    for (name, script) in files {
        for chunk in [usize::MAX, 4096, 7, 1] {
            let mut server = Post::new(&script, chunk);
            play(&script, &mut server).unwrap_or_else(|m| panic!("{name} by {chunk}: {m}"));
        }
    }
}

/// Plays the files of a protocol of packets.
fn packets(ending: &str, machine: fn(&Script, usize) -> Parcel) {
    let files = files(ending);
    assert!(files.len() > 4, "{ending}");
    for (name, script) in files {
        for chunk in [usize::MAX, 4096, 7, 1] {
            let mut server = machine(&script, chunk);
            play(&script, &mut server).unwrap_or_else(|m| panic!("{name} by {chunk}: {m}"));
        }
    }
}

#[test]
fn the_qmtp_and_qmqp_machines_answer_as_the_files_say_however_the_stream_is_cut() {
    packets("qmtp", Parcel::qmtp);
    packets("qmqp", Parcel::qmqp);
}
