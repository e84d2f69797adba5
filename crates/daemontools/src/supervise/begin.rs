//! Beginning a life of the service, and its `./finish`: trouble is told once and tried again.

use super::heir::Part;
use super::launch::{self, Launch, Launched};
use super::state::Event;
use super::told::Told;
use super::{Supervise, VOICE, files};
use base::service::End;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;

impl Supervise<'_> {
    /// Makes the service's process.
    pub(super) fn start(&mut self) -> Event {
        if files::removed() {
            VOICE.warning(&[&self.dir, &" is removed and its service is down: leaving"], None);
            return Event::Removed;
        }
        self.run = files::run_stamp();
        let notify = self.settings.notification().and_then(|fd| self.open_channel(fd));
        let tells = notify.is_some();
        match self.launch(Part::Run, vec!["./run".into()], notify) {
            Launched::Runs(pid, unrecorded) => {
                self.recorded(unrecorded);
                (self.told.fork, self.told.run) = (Told::default(), Told::default());
                Event::Started { pid, tells }
            }
            Launched::NoProcess(error) => {
                if self.told.fork.news(&error) {
                    let words = ", trying again in a second";
                    VOICE.warning(&[&"unable to fork for ", &self.dir, &words], Some(&error));
                }
                Event::NotStarted
            }
            Launched::NotRun(error) => {
                if self.told.run.news(&error) {
                    launch::complain(self.dir, Part::Run, &error);
                }
                Event::NotRun
            }
        }
    }

    /// Says once why the process is not recorded, if it is not: then it holds the lock.
    fn recorded(&mut self, trouble: Option<std::io::Error>) {
        match trouble {
            None => self.told.record.over(),
            Some(error) if self.told.record.news(&error) => {
                let name = "/supervise/service";
                VOICE.warning(&[&"unable to write ", &self.dir, &name], Some(&error));
            }
            Some(_) => {}
        }
    }

    /// A new channel for the service's newline, and the service's end with its number.
    fn open_channel(&mut self, number: i32) -> Option<(OwnedFd, i32)> {
        self.channel = None;
        match files::new_channel() {
            Ok((ours, theirs)) => {
                self.told.channel.over();
                self.channel = Some(ours);
                Some((theirs, number))
            }
            Err(error) => {
                if self.told.channel.news(&error) {
                    let name = "/supervise/ready";
                    VOICE.warning(&[&"unable to create ", &self.dir, &name], Some(&error));
                }
                None
            }
        }
    }

    /// Starts `./finish`, if there is one.
    pub(super) fn finish(&mut self, end: End) -> Event {
        self.channel = None;
        if std::fs::metadata("finish").is_err_and(|e| e.kind() == ErrorKind::NotFound) {
            return Event::Finished(None);
        }
        let argv = vec![
            "./finish".into(),
            end.code.to_string().into(),
            end.signal.to_string().into(),
            self.dir.into(),
        ];
        match self.launch(Part::Finish, argv, None) {
            Launched::Runs(pid, unrecorded) => {
                self.recorded(unrecorded);
                self.told.finish.over();
                let limit = self.settings.finish_within();
                Event::FinishStarted { pid, limit }
            }
            Launched::NoProcess(error) | Launched::NotRun(error) => {
                if self.told.finish.news(&error) {
                    launch::complain(self.dir, Part::Finish, &error);
                }
                Event::Finished(None)
            }
        }
    }

    fn launch(&self, part: Part, argv: Vec<OsString>, notify: Option<(OwnedFd, i32)>) -> Launched {
        let lock = &self.files.lock;
        launch::launch(&Launch { dir: self.dir, part, argv, notify, lock })
    }
}
