//! What is: every service and what became of it, paused domains, the queue. In the words people know
//! from Life with qmail, or as JSON for a program.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Output, Stdio};

use base::json::{Object, array, string};
use base::tai::Label;
use base::time::Moment;
use store::control::Map;
use store::home::Home;

use crate::history::{self, Service};
use crate::places::Places;
use crate::print::{complain, say};
use crate::progress::during;
use crate::steer::{bin, program};
use crate::upgrade::unfinished_upgrade;
use crate::{Trouble, pauses, services};

/// The state of every service and of the queue; 111 if the queue cannot be asked.
pub(crate) fn stat(home: &Home, places: &Places, json: bool) -> Result<ExitCode, Trouble> {
    let mut services = services(home, places)?;
    // One that went away is told of, too: svstat says that nothing is there.
    let required = services::required(places).into_iter().map(|name| places.service(name));
    let gone: Vec<PathBuf> = required.filter(|path| !services.contains(path)).collect();
    services.extend(gone);
    services.sort();
    let svstat = |args: &[PathBuf]| {
        let asked = during("asking supervise", || asked(home, "svstat", args, Stdio::inherit()))?;
        Ok::<_, Trouble>(String::from_utf8_lossy(&asked.stdout).into_owned())
    };
    if json {
        let args: Vec<PathBuf> = [vec!["--json".into()], services.clone()].concat();
        return stat_json(home, &history::read(&services, ""), &svstat(&args)?);
    }
    let lines = svstat(&services)?;
    for line in lines.lines() {
        say!("{line}");
    }
    stories(home, &history::read(&services, &lines))?;
    if let Some(unfinished) = unfinished_upgrade(home) {
        say!("{unfinished}");
    }
    tell_pauses(home)?;
    counted(home)
}

/// What became of each service, in local time.
fn stories(home: &Home, services: &[Service]) -> Result<(), Trouble> {
    let now = sys::clock::now();
    let services = || services.iter().filter(|service| service.is_worth_telling());
    let mut moments: Vec<Moment> = services().flat_map(|service| service.moments(now)).collect();
    moments.sort();
    moments.dedup();
    let times: BTreeMap<Moment, String> =
        moments.iter().copied().zip(local(home, &moments)).collect();
    let time = |moment: &Moment| times.get(moment).cloned().unwrap_or_default();
    for story in services().filter_map(|service| service.story(now, time)) {
        say!("  {story}");
    }
    Ok(())
}

/// Every service and its log, as svscan knows them. Where svscan looks at other people's services,
/// too, those that lie in this home.
pub(crate) fn services(home: &Home, places: &Places) -> Result<Vec<PathBuf>, Trouble> {
    let mut services = Vec::new();
    for path in scanned(places)?.into_iter().filter(|path| is_within(home, places, path)) {
        let log = path.join("log");
        services.push(path);
        services.extend(Some(log).filter(|log| log.exists() || !places.guided));
    }
    services.sort();
    Ok(services)
}

/// Every service that svscan knows, whosever it is.
pub(crate) fn scanned(places: &Places) -> Result<Vec<PathBuf>, Trouble> {
    let dir = &places.scanned;
    let entries = std::fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let shown = entries.flatten().filter(|e| !e.file_name().as_encoded_bytes().starts_with(b"."));
    Ok(shown.map(|entry| entry.path()).collect())
}

/// Whether a service is this home's.
pub(crate) fn is_within(home: &Home, places: &Places, service: &Path) -> bool {
    let root = || std::fs::canonicalize(home.root()).unwrap_or_else(|_| home.root().into());
    !places.guided || std::fs::canonicalize(service).is_ok_and(|real| real.starts_with(root()))
}

/// Runs one of the home's programs for what it prints.
fn asked(home: &Home, name: &str, args: &[PathBuf], stderr: Stdio) -> Result<Output, Trouble> {
    let output = program(home, name).args(args).stdin(Stdio::null()).stderr(stderr).output();
    output.map_err(|e| format!("{}: {e}", home.path("bin").join(name).display()))
}

/// Moments in local time, as tai64nlocal tells it.
fn local(home: &Home, moments: &[Moment]) -> Vec<String> {
    let labels = moments.iter().flat_map(|moment| {
        let mut line = Label::at(*moment).print().to_vec();
        line.push(b'\n');
        line
    });
    let labels: Vec<u8> = labels.collect();
    let mut command = program(home, "tai64nlocal");
    let told =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().and_then(|mut child| {
            // At most a few labels for each service: the pipe takes them at once.
            child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(&labels))?;
            child.wait_with_output()
        });
    let text = told.map(|told| String::from_utf8_lossy(&told.stdout).into_owned());
    let text = text.unwrap_or_default();
    let lines = text.lines().map(|line| line.split('.').next().unwrap_or(line).to_owned());
    let mut lines: Vec<String> = lines.collect();
    // Whatever has become of that program, a time is better told in seconds than not.
    let rest = moments.iter().skip(lines.len()).map(|moment| format!("@{}", moment.secs()));
    lines.extend(rest);
    lines
}

/// The two lines of qmail-qstat.
fn counted(home: &Home) -> Result<ExitCode, Trouble> {
    let counted = count(home)?;
    let text = String::from_utf8_lossy(&counted.stdout).into_owned();
    for line in text.lines() {
        say!("{line}");
    }
    Ok(if counted.status.success() { ExitCode::SUCCESS } else { 111.into() })
}

fn count(home: &Home) -> Result<Output, Trouble> {
    during("counting the letters", || asked(home, "qmail-qstat", &[], Stdio::inherit()))
}

/// The numbers in qmail-qstat's two lines; the trouble if it prints others.
fn numbers(counted: &Output) -> Result<[u64; 2], Trouble> {
    let text = String::from_utf8_lossy(&counted.stdout).into_owned();
    let mut lines = text.lines();
    let mut number = || lines.next()?.rsplit_once(": ")?.1.parse().ok();
    match (counted.status.success(), number(), number()) {
        (true, Some(all), Some(held)) => Ok([all, held]),
        _ => Err(text.trim_end().trim_start_matches("fatal: ").to_owned()),
    }
}

/// The members that tell of letters, and whether they could be counted.
fn letters(home: &Home, about: Object) -> Result<(Object, bool), Trouble> {
    Ok(match numbers(&count(home)?) {
        Ok([all, held]) => (about.number("messages", all).number("not_preprocessed", held), true),
        Err(why) => (about.text("trouble", why), false),
    })
}

/// What svstat tells of each service, a line each, with its name in front.
fn stat_json(home: &Home, services: &[Service], lines: &str) -> Result<ExitCode, Trouble> {
    let named = services.iter().zip(lines.lines()).filter_map(|(service, line)| {
        Some(format!("{{\"service\":{},{}", string(service.name()), line.strip_prefix('{')?))
    });
    let about = Object::new().json("services", &array(named));
    let about = about.json("pauses", &pauses_json(home)?);
    let about = match unfinished_upgrade(home) {
        Some(unfinished) => about.text("unfinished_upgrade", unfinished),
        None => about,
    };
    let (about, good) = letters(home, about)?;
    say!("{}", about.end());
    Ok(if good { ExitCode::SUCCESS } else { 111.into() })
}

/// Counts and lists the letters.
pub(crate) fn queue(home: &Home, json: bool) -> Result<ExitCode, Trouble> {
    if json {
        return queue_json(home);
    }
    let counted = counted(home)?;
    tell_pauses(home)?;
    let listed = bin(home, "qmail-qread", &[])?;
    Ok(if listed { counted } else { 111.into() })
}

/// The list itself comes from qmail-qread, letter by letter, however many there are.
fn queue_json(home: &Home) -> Result<ExitCode, Trouble> {
    let about = Object::new().json("pauses", &pauses_json(home)?);
    let (about, good) = letters(home, about)?;
    let about = about.end();
    say!("{},\"letters\":", about.strip_suffix('}').unwrap_or(&about));
    let listed = bin(home, "qmail-qread", &["--json".into()])?;
    say!("}}");
    Ok(if good && listed { ExitCode::SUCCESS } else { 111.into() })
}

/// The pauses in force.
fn pauses_json(home: &Home) -> Result<String, Trouble> {
    warned(pauses::all(home)).map(|all| pauses::json(&all))
}

/// Shows the pauses; if that cannot be done the rest is shown all the same.
fn tell_pauses(home: &Home) -> Result<(), Trouble> {
    pauses::show(&warned(pauses::all(home))?)
}

/// The pauses, or none and a warning.
fn warned(all: Result<Map, Trouble>) -> Result<Map, Trouble> {
    all.or_else(|why| {
        let _ = std::io::stdout().flush();
        complain(format_args!("qmailctl: warning: {why}"));
        Ok(Map::default())
    })
}
