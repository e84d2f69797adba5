//! compile users/assign into users/cdb
//!
//! *Runs as* the home's owner · *hears* nobody · *opens* `users/assign`, `users/passwords` ·
//! *speaks to* nobody

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, Read, Write};

use base::limits;
use store::control::Control;
use store::home::Home;
use store::passwords;
use store::users::assign;
use sys::file::{Step, replace};

/// The largest `users/assign` that is compiled: a cdb file cannot be larger.
const ASSIGN: u64 = u32::MAX as u64;

/// Lines that are named.
const NAMED: usize = 20;

pub(crate) fn main(_args: &[OsString]) -> i32 {
    match compile() {
        Ok(()) => 0,
        Err(why) => {
            let _ = writeln!(io::stderr(), "qmail-newu: fatal: {why}");
            111
        }
    }
}

/// What stock says, and what else it knows.
struct Fatal(String);

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Puts stock's words before an error's.
fn fatal<E: fmt::Display>(doing: &'static str) -> impl Fn(E) -> Fatal {
    move |err| Fatal(format!("{doing}: {err}"))
}

/// [`fatal`] for errors of the kernel.
fn trouble(doing: &'static str) -> impl Fn(io::Error) -> Fatal {
    move |err| Fatal(format!("{doing}: {}", sys::errno::text(&err)))
}

fn compile() -> Result<(), Fatal> {
    let home = Home::find().map_err(fatal("unable to chdir"))?;
    assignments(&home)?;
    secrets(&home)
}

/// `users/assign` → `users/cdb`, replaced in one step.
fn assignments(home: &Home) -> Result<(), Fatal> {
    let file = fs::File::open(home.path("users/assign"));
    let mut text = Vec::new();
    let read = file.map_err(trouble("unable to open users/assign"))?;
    read.take(ASSIGN).read_to_end(&mut text).map_err(trouble("unable to read users/assign"))?;
    let bad = fatal("bad format in users/assign");
    if !home.is_private() {
        warn(&assign::check(&text).map_err(&bad)?);
    }
    let cdb = assign::compile(&text).map_err(bad)?;
    // As with stock's umask 033, whatever ours is: everybody may read who has which mailbox, only
    // the owner may write.
    let made = replace(&home.path("users/cdb"), &home.path("users/cdb.tmp"), 0o644, &cdb);
    made.map_err(|(step, err)| {
        let doing = match step {
            Step::Open => "unable to open users/cdb.tmp",
            Step::Write => "unable to write users/cdb.tmp",
            Step::Move => "unable to move users/cdb.tmp to users/cdb",
        };
        trouble(doing)(err)
    })
}

/// Names the lines with root's group. The others count, and so do these: their letters are put off
/// until somebody has looked.
fn warn(groups: &[usize]) {
    for line in groups.iter().take(NAMED) {
        let _ = writeln!(
            io::stderr(),
            "qmail-newu: warning: users/assign line {line} has gid 0: its letters are put off, as \
             nothing is delivered as root; name another group"
        );
    }
    if let Some(more) = groups.len().checked_sub(NAMED).filter(|more| *more > 0) {
        let _ = writeln!(io::stderr(), "qmail-newu: warning: and {more} lines more with gid 0");
    }
}

/// `users/passwords` → `users/passwords.cdb`, if there are passwords here.
fn secrets(home: &Home) -> Result<(), Fatal> {
    let host = Control::new(home).line_or_me("envnoathost");
    let host = host.map_err(fatal("unable to read control"))?.unwrap_or_default();
    let host = host.get(..limits::ADDRESS).unwrap_or(&host);
    passwords::install(home, host).map(drop).map_err(fatal("unable to compile users/passwords"))
}
