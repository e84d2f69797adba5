//! What qmail-qmtpd and qmail-qmqpd are as programs: a process for one connection, or a clean parent.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use proto::packet::Packets;
use proto::{qmqp, qmtp};
use store::home::Home;
use store::users::Directory;
use sys::brood;
use sys::fd;

use crate::fences;
use crate::grounds::{Fenced, Grounds};
use crate::smtpd::annex::{self, PROGRAM};
use crate::smtpd::circumstances::Circumstances;
use crate::smtpd::talk::Ends;
use crate::smtpd::welcome::Door;
use crate::smtpd::{CHILDREN, RETIRE, prepare, say};

use super::site::Site;
use super::talk::Talk;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Letters to whom this host takes mail for.
    Qmtp,
    /// One letter, to anybody.
    Qmqp,
}

impl Protocol {
    /// The program's name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Qmtp => "qmail-qmtpd",
            Self::Qmqp => "qmail-qmqpd",
        }
    }

    /// The protocol's name in `Received`.
    pub(crate) const fn word(self) -> &'static [u8] {
        match self {
            Self::Qmtp => b"QMTP",
            Self::Qmqp => b"QMQP",
        }
    }

    /// What takes its stream apart.
    pub(crate) fn packets(self) -> Packets {
        match self {
            Self::Qmtp => Packets::qmtp(),
            Self::Qmqp => Packets::qmqp(),
        }
    }
}

/// The program; its exit code.
pub(crate) fn main(protocol: Protocol) -> i32 {
    let brood = brood::requested();
    match prepare() {
        Ok(home) => match brood {
            Some(socket) => serve_many(protocol, socket, &home),
            None => {
                let ends = Ends { hear: fd::stdin(), speak: fd::stdout() };
                serve(protocol, ends, &home, &Circumstances::of_process())
            }
        },
        Err(trouble) => {
            say(protocol.name(), format_args!("fatal: {trouble}"));
            111
        }
    }
}

fn serve_many(protocol: Protocol, socket: OwnedFd, home: &Home) -> i32 {
    let served = close_fence(protocol, &socket, home).and_then(|(annex, grounds)| {
        let (fenced, mut annex) = (annex.is_some(), annex);
        let limits = brood::Serve { max_children: CHILDREN, retire_after: RETIRE };
        let child = |block: &[u8], fds: Vec<OwnedFd>| {
            let Some(connection) = fds.first() else { return 111 };
            let ends = Ends { hear: connection.as_fd(), speak: connection.as_fd() };
            let about = Circumstances::of_handover(block);
            if about.get(PROGRAM).is_some() && fenced {
                return match &annex {
                    Some(annex) if annex.run(block, &[ends.hear]).is_ok() => 0,
                    _ => brood::make_way(),
                };
            }
            // Who is heard from here on must not find a way out of the fence.
            annex = None;
            serve(protocol, ends, home, &about)
        };
        let parent = Fenced { name: protocol.name(), grounds, is_obsolete: false, child };
        brood::serve_as(socket, limits, parent)
    });
    match served {
        Ok(()) => 0,
        Err(err) => {
            say(protocol.name(), format_args!("fatal: unable to serve: {err}"));
            111
        }
    }
}

/// Opens the annex, if one is needed, and closes the fence around what there is.
fn close_fence(
    protocol: Protocol,
    socket: &OwnedFd,
    home: &Home,
) -> io::Result<(Option<brood::Annex>, Grounds)> {
    let annex = annex::open(socket, |ends, about| serve(protocol, ends, home, about))?;
    if annex.is_none() {
        return Ok((None, Grounds::none()));
    }
    let (fence, grounds) = match protocol {
        Protocol::Qmtp => (fences::smtpd(home.root()), Grounds::of(home, &fences::SMTPD)),
        Protocol::Qmqp => (fences::qmqpd(), Grounds::none()),
    };
    if let Some(missing) = fence.close_or_tell() {
        say(protocol.name(), format_args!("warning: {missing}"));
    }
    Ok((annex, grounds))
}

/// One connection; its exit code.
fn serve(protocol: Protocol, ends: Ends<'_>, home: &Home, about: &Circumstances) -> i32 {
    let mut queued = None;
    if protocol == Protocol::Qmqp {
        let mut session = qmqp::Session::default();
        return Talk::new(protocol, ends, home, about, None, &mut queued).run(&mut session);
    }
    let site = match Site::load(home) {
        Ok(site) => site,
        Err(err) => {
            say(protocol.name(), format_args!("fatal: {err}"));
            if err.is_out_of_reach() {
                brood::make_way();
            }
            return 111;
        }
    };
    let mut users = Directory::new(home);
    let door = Door::new(&site.hosts, &site.routing, &mut users);
    let mut session = qmtp::Session::new(site.databytes(about), about.get("RELAYCLIENT"));
    Talk::new(protocol, ends, home, about, Some(door), &mut queued).run(&mut session)
}
