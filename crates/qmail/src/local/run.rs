//! The order of work of one delivery (qmail-local(8)).

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

use letter::header::LineSearch;
use store::maildir::Source;

use super::choose::{Rules, newsender, rules};
use super::environment::{Lines, variables};
use super::instructions::{Instruction, instructions};
use super::program::{self, Verdict};
use super::{DEFAULT, Job, Stop, forward, maildir, mbox, say_error};

/// Bytes of the header read at a time.
const PIECE: usize = 16 << 10;

/// What rules a delivery, and the lines it writes.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) lines: Lines,
    rules: Rules,
}

impl Plan {
    /// The Maildir that is all there is to deliver to, if that is so.
    pub(super) fn only_maildir(&self) -> Option<&[u8]> {
        let mut all =
            instructions(&self.rules.text).filter(|one| !matches!(one, Instruction::Comment));
        match (all.next(), all.next()) {
            (Some(Instruction::Maildir(dir)), None) if !self.rules.forward_only => Some(dir),
            _ => None,
        }
    }

    /// Where that one instruction stands.
    pub(super) fn place(&self) -> Place {
        let comments =
            instructions(&self.rules.text).take_while(|one| matches!(one, Instruction::Comment));
        Place { file: self.rules.name.clone(), line: comments.count().saturating_add(1) }
    }
}

/// Where the instruction stands that is all there is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    file: Vec<u8>,
    line: usize,
}

impl Place {
    /// What goes wrong there.
    pub(super) fn of(&self, job: &Job, stop: Stop) -> Stop {
        stop.at(&job.home, &self.file, self.line)
    }
}

/// Makes the whole delivery; the report's last lines.
pub(super) fn run(job: &Job, letter: &File) -> Result<Vec<u8>, Stop> {
    plan(job, letter).and_then(|plan| follow(job, letter, plan))
}

/// Enters the home and finds what rules the delivery there.
pub(super) fn plan<S: Source + ?Sized>(job: &Job, letter: &S) -> Result<Plan, Stop> {
    let _ = sys::file::umask(0o077);
    enter_home(job)?;
    let lines = Lines::of(job, sys::clock::now());
    if !job.dry {
        refuse_loop(&lines, letter)?;
    }
    let found = rules(job)?;
    if found.is_none() && !job.dash.is_empty() {
        return Err(Stop::hard("Sorry, no mailbox here by that name. (#5.1.1)"));
    }
    let rules = match found {
        Some(rules) if !rules.text.is_empty() => rules,
        found => Rules {
            name: DEFAULT.to_vec(),
            text: job.default.clone(),
            forward_only: false,
            default: found.and_then(|rules| rules.default),
        },
    };
    Ok(Plan { lines, rules })
}

/// Carries the plan out, here in the home.
pub(super) fn follow(job: &Job, letter: &File, plan: Plan) -> Result<Vec<u8>, Stop> {
    let Plan { lines, rules } = plan;
    let newsender = newsender(job)?;
    let mut delivery = Delivery {
        job,
        letter,
        file: rules.name,
        variables: variables(job, &lines, &newsender, rules.default.as_deref()),
        lines,
        forward_only: rules.forward_only,
        maildirs: 0,
        done: Done::default(),
    };
    let recipients = delivery.follow(&rules.text)?;
    delivery.send_on(&newsender, &recipients)
}

fn enter_home(job: &Job) -> Result<(), Stop> {
    let switch = [b"switch to ", &job.home[..]].concat();
    std::env::set_current_dir(OsStr::from_bytes(&job.home))
        .map_err(|err| Stop::unable(&switch, &err, "4.3.0"))?;
    let home = std::fs::metadata(".")
        .map_err(|err| Stop::unable(b"stat home directory", &err, "4.3.0"))?;
    let mode = home.permissions().mode();
    if mode & 0o002 != 0 {
        let stop = Stop::soft("Uh-oh: home directory is writable. (#4.7.0)");
        return Err(stop.with(super::mode_of(&job.home, mode)));
    }
    if mode & 0o1000 != 0 {
        if !job.dry {
            let text = "Home directory is sticky: user is editing his .qmail file. (#4.2.1)";
            return Err(Stop::soft(text).with(super::mode_of(&job.home, mode)));
        }
        say_error(b"Warning: home directory is sticky.\n");
    }
    Ok(())
}

/// A letter that already has our own `Delivered-To` line is going in circles.
fn refuse_loop<S: Source + ?Sized>(lines: &Lines, letter: &S) -> Result<(), Stop> {
    let ours = lines.delivered_to.strip_suffix(b"\n").unwrap_or(&lines.delivered_to);
    let mut search = LineSearch::new(ours);
    let (mut buf, mut at) = (vec![0; PIECE], 0_u64);
    while !search.is_settled() {
        let read = letter.read_at(&mut buf, at);
        let n = read.map_err(|err| unread(&err))?;
        match buf.get(..n) {
            None | Some([]) => break,
            Some(piece) => search.feed(piece),
        }
        at = at.saturating_add(n as u64);
    }
    if search.found() {
        let text = "This message is looping: it already has my Delivered-To line. (#5.4.6)";
        return Err(Stop::hard(text));
    }
    Ok(())
}

/// The letter cannot be read, or is a pipe and can be read only once.
pub(super) fn unread(err: &io::Error) -> Stop {
    let pipe = err.kind() == io::ErrorKind::NotSeekable;
    let text = if pipe {
        "Unable to rewind message. (#4.3.0)"
    } else {
        "Unable to read message. (#4.3.0)"
    };
    Stop::soft(text).because("read the letter", err)
}

/// How many instructions of each kind were reached.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    files: u32,
    forwards: u32,
    programs: u32,
}

/// A delivery under way.
struct Delivery<'a> {
    job: &'a Job,
    letter: &'a File,
    /// What the instructions' file is called.
    file: Vec<u8>,
    lines: Lines,
    variables: Vec<(&'static str, Vec<u8>)>,
    forward_only: bool,
    maildirs: u32,
    done: Done,
}

/// What an instruction leads to.
enum Flow<'t> {
    /// The next one.
    Next,
    /// No further one.
    Enough,
    /// The letter goes on to this address, when all others are done.
    Forward(&'t [u8]),
}

impl Delivery<'_> {
    /// Follows the instructions in order; the addresses the letter is sent on to.
    fn follow(&mut self, text: &[u8]) -> Result<Vec<Vec<u8>>, Stop> {
        let mut recipients = Vec::new();
        for (line, instruction) in (1..).zip(instructions(text)) {
            let done = self.carry_out(instruction);
            match done.map_err(|stop| stop.at(&self.job.home, &self.file, line))? {
                Flow::Next => {}
                Flow::Enough => break,
                Flow::Forward(address) => recipients.push(address.to_vec()),
            }
        }
        Ok(recipients)
    }

    fn carry_out<'t>(&mut self, instruction: Instruction<'t>) -> Result<Flow<'t>, Stop> {
        match instruction {
            Instruction::Blank => {
                return Err(Stop::soft("Uh-oh: first line of .qmail file is blank. (#4.2.1)"));
            }
            Instruction::CarriageReturn(line) => {
                return Err(self.mistaken(line, "ends in a CR"));
            }
            Instruction::Nobody(line) => {
                return Err(self.mistaken(line, "forwards to nobody"));
            }
            Instruction::Comment => {}
            Instruction::ForwardOnly => self.forward_only = true,
            Instruction::Program(command) => return self.program(command),
            Instruction::Maildir(dir) => self.maildir(dir)?,
            Instruction::Mbox(name) => {
                self.file("mbox ", name)?;
                if !self.job.dry {
                    mbox::deliver(name, &self.lines, self.letter)?;
                }
            }
            Instruction::Forward(address) => {
                self.done.forwards = self.done.forwards.saturating_add(1);
                self.say("forward ", address);
                return Ok(Flow::Forward(address));
            }
        }
        Ok(Flow::Next)
    }

    /// A line that nobody can have meant.
    fn mistaken(&self, line: usize, why: &str) -> Stop {
        let (head, tail) = (format!("Uh-oh: line {line} of "), format!(" {why}. (#4.2.1)"));
        Stop::soft([head.as_bytes(), &self.file[..], tail.as_bytes()].concat())
    }

    fn program<'t>(&mut self, command: &[u8]) -> Result<Flow<'t>, Stop> {
        self.done.programs = self.done.programs.saturating_add(1);
        if self.forward_only {
            let text = "Uh-oh: .qmail has prog delivery but has x bit set. (#4.7.0)";
            return Err(Stop::soft(text));
        }
        self.say("program ", command);
        if self.job.dry {
            return Ok(Flow::Next);
        }
        let mut letter = self.letter;
        let rewound = letter.seek(SeekFrom::Start(0));
        rewound.map_err(|err| unread(&err))?;
        Ok(match program::deliver(command, &self.variables)? {
            Verdict::Next => Flow::Next,
            Verdict::Enough => Flow::Enough,
        })
    }

    fn maildir(&mut self, dir: &[u8]) -> Result<(), Stop> {
        self.file("maildir ", dir)?;
        let instruction = self.maildirs;
        self.maildirs = instruction.saturating_add(1);
        if self.job.dry {
            return Ok(());
        }
        maildir::deliver(self.job, dir, instruction, &self.lines.head(), self.letter)
    }

    /// Counts a delivery to a file, if such are allowed.
    fn file(&mut self, kind: &str, name: &[u8]) -> Result<(), Stop> {
        self.done.files = self.done.files.saturating_add(1);
        if self.forward_only {
            let text = "Uh-oh: .qmail has file delivery but has x bit set. (#4.7.0)";
            return Err(Stop::soft(text));
        }
        self.say(kind, name);
        Ok(())
    }

    /// What a dry run prints in the place of doing it.
    fn say(&self, kind: &str, what: &[u8]) {
        if self.job.dry {
            super::say(&[kind.as_bytes(), what, b"\n"].concat());
        }
    }

    /// Sends the letter on, last of all, and counts what was done.
    fn send_on(self, newsender: &[u8], recipients: &[Vec<u8>]) -> Result<Vec<u8>, Stop> {
        let mut qp = None;
        if !self.job.dry && !recipients.is_empty() {
            let line = &self.lines.delivered_to;
            qp = Some(forward::forward(self.letter, line, newsender, recipients)?);
        }
        let Done { files, forwards, programs } = self.done;
        let mut said = format!("did {files}+{forwards}+{programs}\n");
        if let Some(pid) = qp {
            said.push_str(&format!("qp {pid}\n"));
        }
        Ok(said.into_bytes())
    }
}
