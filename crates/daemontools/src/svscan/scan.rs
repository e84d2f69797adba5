//! Reading the directory: what is new is taken up, what is gone is forgotten.

use super::service::Service;
use super::{Refusal, Svscan, VOICE};
use std::collections::btree_map::Entry;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;
use sys::clock::monotonic;
use sys::dir::Dir;

/// The directory is read at least this often.
const RESCAN: Duration = Duration::from_secs(5);
/// Services kept at once.
const SERVICES: usize = 1000;
/// Names looked at in the directory.
const NAMES: usize = 100_000;

impl Svscan {
    /// Reads the directory, starts what is not running, forgets what is gone.
    pub(super) fn scan(&mut self) {
        self.reap();
        match Dir::open(".").and_then(|dir| Ok((dir.names(NAMES)?, dir))) {
            Ok((names, dir)) => self.compare(&dir, &names),
            Err(error) => {
                if self.told.news(OsStr::new("."), "unable to read directory", &error) {
                    VOICE.warning(&[&"unable to read directory"], Some(&error));
                }
                // What was there is kept under the name it had.
                for service in self.services.values_mut().filter(|service| service.active) {
                    service.keep();
                }
            }
        }
        self.next = monotonic().saturating_add(RESCAN);
    }

    fn compare(&mut self, dir: &Dir, names: &[OsString]) {
        self.services.retain(|_, service| !forgotten(service));
        for service in self.services.values_mut() {
            service.active = false;
        }
        let mut beyond = 0_usize;
        for name in names.iter().filter(|name| !name.as_bytes().starts_with(b".")) {
            match self.look(dir, name) {
                Ok(true) => {}
                Ok(false) => {
                    beyond = beyond.saturating_add(1);
                    if self.beyond.first() {
                        let words = ": running too many services";
                        VOICE.warning(&[&"unable to start ", &name, &words], None);
                    }
                }
                Err(refusal) => self.complain(name, &refusal),
            }
        }
        self.services.retain(|_, service| service.active || service.lingers());
        self.tell_counts(beyond);
    }

    /// Says how many there are of which not every one was named: once, until it is over.
    fn tell_counts(&mut self, beyond: usize) {
        if let Some(beyond) = self.beyond.round(beyond) {
            let words = " directories are beyond the 1000 services there may be";
            VOICE.warning(&[&beyond.to_string(), &words], None);
        }
        if let Some(more) = self.told.round() {
            VOICE.warning(&[&more.to_string(), &" more names are in trouble"], None);
        }
    }

    /// One name of the directory; false if there are too many services for another one.
    fn look(&mut self, dir: &Dir, name: &OsStr) -> Result<bool, Refusal> {
        let stat = dir.stat(name);
        let stat = stat.map_err(|error| Refusal { what: "unable to stat ", suffix: "", error })?;
        if !stat.directory {
            return Ok(true);
        }
        let count = self.services.len();
        let service = match self.services.entry(stat.identity) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if count >= SERVICES => return Ok(false),
            Entry::Vacant(new) => new.insert(Service::discover(dir, name)?),
        };
        if !service.active {
            service.active = true;
            service.name = name.to_os_string();
            service.keep();
        }
        Ok(true)
    }

    /// Says what is wrong with a name, unless that is known.
    fn complain(&mut self, name: &OsStr, Refusal { what, suffix, error }: &Refusal) {
        if self.told.news(name, what, error) {
            VOICE.warning(&[what, &name, suffix], Some(error));
        }
    }
}

/// Whether a service has come to its end; says so if it did not go.
fn forgotten(service: &mut Service) -> bool {
    let gone = service.gone();
    if gone && service.lingers() {
        VOICE.warning(&[&"unable to end ", &service.name], None);
    }
    gone
}
