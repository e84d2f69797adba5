//! The control files of `qmail-send`.

use letter::bounce::Names;
use store::control::{Control, ControlError};
use store::users::Routing;

use super::policy::Policy;

/// What is read at the start; only `routing`'s domains and `policy` are ever read again.
#[derive(Debug)]
pub(super) struct Settings {
    /// Where addresses lead.
    pub(super) routing: Routing,
    /// What destinations may have, and whose letters come first.
    pub(super) policy: Policy,
    /// `concurrencylocal` and `concurrencyremote`.
    pub(super) concurrency: [u32; 2],
    /// `queuelifetime`, seconds.
    pub(super) lifetime: u64,
    /// What bounces are written with.
    pub(super) names: Names,
}

impl Settings {
    /// Reads every file.
    ///
    /// # Errors
    /// What to tell the administrator.
    pub(super) fn read(control: &Control) -> Result<Self, String> {
        let said = |err: ControlError| err.to_string();
        let host = |name: &'static str| {
            control.line_or_me(name).map(|line| line.unwrap_or_else(|| name.as_bytes().to_vec()))
        };
        let line = |name, default: &str| {
            control.line(name).map(|line| line.unwrap_or_else(|| default.as_bytes().to_vec()))
        };
        let number = |name, default| {
            control.int(name, default).map(|n| u32::try_from(n).unwrap_or(u32::MAX))
        };
        Ok(Self {
            routing: Routing::load(control).map_err(|err| err.to_string())?,
            policy: Policy::load(control).map_err(|bad| bad.why)?,
            concurrency: [
                number("concurrencylocal", 10).map_err(said)?,
                number("concurrencyremote", 250).map_err(said)?,
            ],
            lifetime: control.int("queuelifetime", 604_800).map_err(said)?,
            names: Names {
                from: line("bouncefrom", "MAILER-DAEMON").map_err(said)?,
                host: host("bouncehost").map_err(said)?,
                double_to: line("doublebounceto", "postmaster").map_err(said)?,
                double_host: host("doublebouncehost").map_err(said)?,
                max: control.int("bouncemaxbytes", 0).map_err(said)?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::users::{Route, resolve};
    use yard::{Kept, Yard};

    fn control(name: &str, files: &[(&str, &str)]) -> Kept<Control> {
        let dir = Yard::new(&format!("send-{name}"));
        for (file, text) in files {
            std::fs::write(dir.join(file), text).unwrap();
        }
        let control = Control::at(&*dir);
        dir.keep(control)
    }

    #[test]
    fn one_file_is_enough_to_start() {
        let settings = Settings::read(&control("one", &[("me", "mx.example.org\n")])).unwrap();
        assert_eq!((settings.concurrency, settings.lifetime), ([10, 250], 604_800));
        assert_eq!(settings.names.from, b"MAILER-DAEMON");
        assert_eq!(settings.names.double_host, b"mx.example.org");
        let way = resolve(&settings.routing, b"joe");
        assert_eq!(way, Route::Local(b"joe@mx.example.org".to_vec()));
    }

    #[test]
    fn without_locals_and_me_nothing_starts() {
        let why = Settings::read(&control("none", &[("bouncefrom", "x\n")])).unwrap_err();
        assert!(why.ends_with("/me is missing: write this host's name into it"), "{why}");
    }

    #[test]
    fn an_empty_doublebounceto_stays_empty() {
        let control = control("empty", &[("me", "h\n"), ("doublebounceto", "\n")]);
        assert_eq!(Settings::read(&control).unwrap().names.double_to, b"");
    }
}
