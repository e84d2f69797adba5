//! The control files of `qmail-send`.

use letter::bounce::Names;
use store::control::{Control, ControlError};

use super::rewrite::Rules;

/// What is read at the start; only `locals` and `virtualdomains` are ever read again.
#[derive(Debug)]
pub(super) struct Settings {
    /// Where addresses lead.
    pub(super) rules: Rules,
    /// `concurrencylocal` and `concurrencyremote`.
    pub(super) concurrency: [u32; 2],
    /// `queuelifetime`, seconds.
    pub(super) lifetime: u64,
    /// What bounces are written with.
    pub(super) names: Names,
}

/// Contents of `locals` and `virtualdomains`.
pub(super) type Domains = (Vec<Vec<u8>>, Vec<(Vec<u8>, Vec<u8>)>);

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
        let hack = control.list("percenthack").map_err(said)?.unwrap_or_default();
        let mut rules = Rules::new(host("envnoathost").map_err(said)?, hack);
        let (locals, virtuals) = domains(control).map_err(|(_, why)| why)?;
        rules.domains(locals, virtuals);
        Ok(Self {
            rules,
            concurrency: [
                number("concurrencylocal", 10).map_err(said)?,
                number("concurrencyremote", 20).map_err(said)?,
            ],
            lifetime: control.int("queuelifetime", 604_800).map_err(said)?,
            names: Names {
                from: line("bouncefrom", "MAILER-DAEMON").map_err(said)?,
                host: host("bouncehost").map_err(said)?,
                double_to: line("doublebounceto", "postmaster").map_err(said)?,
                double_host: host("doublebouncehost").map_err(said)?,
            },
        })
    }
}

/// Reads `locals` (or `me`) and `virtualdomains`.
///
/// # Errors
/// The file, as the log names it, and what is wrong with it.
pub(super) fn domains(control: &Control) -> Result<Domains, (&'static str, String)> {
    let bad = |file| move |err: ControlError| (file, err.to_string());
    let locals = match control.list("locals").map_err(bad("control/locals"))? {
        Some(locals) => locals,
        None => {
            let me = control.line("me").map_err(bad("control/me"))?;
            let path = control.path("me");
            let missing =
                || format!("{} is missing: write this host's name into it", path.display());
            vec![me.ok_or_else(|| ("control/locals", missing()))?]
        }
    };
    let virtuals = control.map("virtualdomains").map_err(bad("control/virtualdomains"))?;
    let virtuals = virtuals.unwrap_or_default();
    let pairs = virtuals.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
    Ok((locals, pairs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::event::Channel;

    fn control(name: &str, files: &[(&str, &str)]) -> Control {
        let dir = std::env::temp_dir().join(format!("send-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for (file, text) in files {
            std::fs::write(dir.join(file), text).unwrap();
        }
        Control::at(dir)
    }

    #[test]
    fn one_file_is_enough_to_start() {
        let settings = Settings::read(&control("one", &[("me", "mx.example.org\n")])).unwrap();
        assert_eq!((settings.concurrency, settings.lifetime), ([10, 20], 604_800));
        assert_eq!(settings.names.from, b"MAILER-DAEMON");
        assert_eq!(settings.names.double_host, b"mx.example.org");
        let way = settings.rules.rewrite(b"joe");
        assert_eq!(way, (Channel::Local, b"joe@mx.example.org".to_vec()));
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
