//! What a signal means to svscan, and the programs that give it another meaning.

use super::VOICE;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use sys::signal::{self, Signal};
use sys::spawn::{self, Fork};

/// What svscan listens to.
pub(super) const HEARD: [Signal; 9] = [
    Signal::Chld,
    Signal::Term,
    Signal::Int,
    Signal::Quit,
    Signal::Hup,
    Signal::Alrm,
    Signal::Usr1,
    Signal::Usr2,
    Signal::Winch,
];

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Stop services, then logs, then exit.
    End,
    /// A child has ended.
    Reap,
    /// Read the directory now, and wait no longer before what failed is tried again.
    Scan,
    /// The same, and end the services that are no longer there.
    Retire,
    /// Nothing by itself.
    Nothing,
}

/// What a signal asks for, if no program of that name says otherwise.
pub(super) fn order(signal: Signal) -> Order {
    match signal {
        Signal::Chld => Order::Reap,
        Signal::Term | Signal::Int | Signal::Quit => Order::End,
        Signal::Alrm => Order::Scan,
        Signal::Hup => Order::Retire,
        _ => Order::Nothing,
    }
}

/// The program that is run at a signal instead, if there is one.
fn program(signal: Signal) -> Option<&'static str> {
    let path = match signal {
        Signal::Hup => ".svscan/SIGHUP",
        Signal::Alrm => ".svscan/SIGALRM",
        Signal::Usr1 => ".svscan/SIGUSR1",
        Signal::Usr2 => ".svscan/SIGUSR2",
        Signal::Winch => ".svscan/SIGWINCH",
        _ => return None,
    };
    let meta = std::fs::metadata(path).ok()?;
    (meta.is_file() && meta.permissions().mode() & 0o111 != 0).then_some(path)
}

/// The programs at work.
#[derive(Debug, Default)]
pub(super) struct Programs(BTreeMap<i32, u32>);

impl Programs {
    /// Runs the program for a signal; false if there is none. While the last one is at work no other
    /// is started.
    pub(super) fn run(&mut self, signal: Signal) -> bool {
        let Some(path) = program(signal) else { return false };
        if self.0.contains_key(&signal.number()) {
            return true;
        }
        match spawn::fork() {
            Ok(Fork::Parent(pid)) => {
                self.0.insert(signal.number(), pid);
            }
            Ok(Fork::Child) => become_program(path),
            Err(error) => VOICE.warning(&[&"unable to fork for ", &path], Some(&error)),
        }
        true
    }

    /// A child ended.
    pub(super) fn ended(&mut self, child: u32) {
        self.0.retain(|_, pid| *pid != child);
    }
}

fn become_program(path: &'static str) -> ! {
    let _ = sys::process::new_group();
    super::descriptors::give_back();
    signal::unblock_all();
    signal::default(Signal::Pipe);
    let error = spawn::exec(path.as_ref(), &[path.into()], None);
    VOICE.warning(&[&"unable to run ", &path], Some(&error));
    spawn::exit(111)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signal_heard_means_something_or_may_be_given_a_meaning() {
        let meanings = HEARD.map(order);
        assert_eq!(meanings.iter().filter(|each| **each == Order::End).count(), 3);
        assert_eq!(order(Signal::Hup), Order::Retire);
        assert_eq!(order(Signal::Alrm), Order::Scan);
        // The end cannot be given another.
        assert_eq!([Signal::Term, Signal::Int, Signal::Quit, Signal::Chld].map(program), [None; 4]);
    }
}
