//! `session-play FILE… [--smtp|--pop3|--qmtp|--qmqp HOST:PORT] [--given FILE]`: plays session files.
//!
//! Without an address files are played against the machines inside. With one, a file is
//! played only if its settings all stand in the `--given` file (the same lines: what the installed
//! server is set up with). Exit code: 0 all played well, 1 a dialogue went otherwise, 100 misuse.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::Path;

use session::{Parcel, Post, Pure, Script, Setting, Wire, play, settings};

/// What the command line says.
#[derive(Default)]
struct Options {
    files: Vec<String>,
    /// Addresses, by the ending of the files that are played against them.
    servers: BTreeMap<String, String>,
    given: Vec<Setting>,
}

/// What became of a file.
enum Fate {
    Played,
    /// The server is not set up for it.
    Skipped,
}

fn main() {
    let options = match options() {
        Ok(options) if !options.files.is_empty() => options,
        Ok(_) => return usage("no files"),
        Err(trouble) => return usage(&trouble),
    };
    let mut failed = false;
    for file in &options.files {
        match run(file, &options) {
            Ok(Fate::Played) => println!("{file}: ok"),
            Ok(Fate::Skipped) => println!("{file}: skipped (the server is set up otherwise)"),
            Err(trouble) => {
                failed = true;
                println!("{file}: {trouble}");
            }
        }
    }
    std::process::exit(i32::from(failed));
}

fn usage(trouble: &str) {
    eprintln!("session-play: {trouble}");
    eprintln!(
        "session-play: usage: session-play FILE... [--smtp|--pop3|--qmtp|--qmqp ADDR] [--given FILE]"
    );
    std::process::exit(100);
}

fn options() -> Result<Options, String> {
    let mut options = Options::default();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--smtp" | "--pop3" | "--qmtp" | "--qmqp" => {
                let protocol = arg.trim_start_matches('-').to_owned();
                options.servers.insert(protocol, value()?);
            }
            "--given" => options.given = read(&value()?)?.settings,
            _ => options.files.push(arg),
        }
    }
    Ok(options)
}

fn read(file: &str) -> Result<Script, String> {
    let text = std::fs::read_to_string(file).map_err(|err| format!("{file}: {err}"))?;
    Script::parse(&text).map_err(|err| err.to_string())
}

fn run(file: &str, options: &Options) -> Result<Fate, String> {
    let script = read(file)?;
    let ending = Path::new(file).extension().and_then(|ext| ext.to_str()).unwrap_or_default();
    let played = match options.servers.get(ending) {
        Some(_) if !script.suits(&options.given) => return Ok(Fate::Skipped),
        Some(addr) => {
            let wire = Wire::connect(addr.as_str());
            play(&script, &mut wire.map_err(|err| format!("{addr}: {err}"))?)
        }
        None if ending == "qmtp" => play(&script, &mut Parcel::qmtp(&script, usize::MAX)),
        None if ending == "qmqp" => play(&script, &mut Parcel::qmqp(&script, usize::MAX)),
        None if ending == "pop3" => play(&script, &mut Post::new(&script, usize::MAX)),
        None => play(&script, &mut Pure::new(&script, &settings(&script), usize::MAX)),
    };
    played.map(|()| Fate::Played).map_err(|err| err.to_string())
}
