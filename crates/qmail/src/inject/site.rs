//! What this host adds to addresses and message ids: control files, and the variables that
//! override them.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use base::limits;
use letter::date;
use letter::rewrite::Rules;
use store::control::Control;

use super::{Fatal, Now};

/// The host's settings for letters written on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    pub(super) host: Vec<u8>,
    domain: Vec<u8>,
    plus: Vec<u8>,
    id: Vec<u8>,
}

impl Site {
    /// Each from its variable, else its file, else `me`, else its own name.
    pub(crate) fn read(
        control: &Control,
        environment: &dyn Fn(&str) -> Option<Vec<u8>>,
    ) -> Result<Self, Fatal> {
        let read = |variable: &str, name: &str| -> Result<_, Fatal> {
            if let Some(value) = environment(variable) {
                return Ok(value);
            }
            let line = control.line_or_me(name);
            let line = line.map_err(|err| Fatal::temporary(err.to_string()))?;
            Ok(line.unwrap_or_else(|| name.into()))
        };
        Ok(Self {
            host: read("QMAILDEFAULTHOST", "defaulthost")?,
            domain: read("QMAILDEFAULTDOMAIN", "defaultdomain")?,
            plus: read("QMAILPLUSDOMAIN", "plusdomain")?,
            id: read("QMAILIDHOST", "idhost")?,
        })
    }

    /// How addresses are completed.
    pub(crate) fn rules(&self) -> Result<Rules, Fatal> {
        let refuse =
            |name: &[u8]| Fatal::permanent([b"unable to parse this line:\n", name].concat());
        Rules::new(&self.host, &self.domain, &self.plus).map_err(refuse)
    }

    /// A new letter's name: `<20261122134639.123.qmail@idhost>`.
    pub(super) fn message_id(&self, now: &Now) -> Vec<u8> {
        let digits = date::digits(now.moment);
        [format!("<{digits}.{}.qmail@", now.pid).as_bytes(), &self.id, b">"].concat()
    }
}

/// The addresses of mailing lists: the lines of the file `$QMAILMFTFILE` names, if it does.
pub(super) fn lists(environment: &dyn Fn(&str) -> Option<Vec<u8>>) -> Result<Vec<Vec<u8>>, Fatal> {
    let Some(path) = environment("QMAILMFTFILE") else { return Ok(Vec::new()) };
    let path = PathBuf::from(OsString::from_vec(path));
    let mut text = Vec::new();
    let read = File::open(&path)
        .and_then(|file| file.take(limits::CONTROL_FILE as u64).read_to_end(&mut text));
    match read {
        Err(err) if err.kind() != ErrorKind::NotFound => {
            let why = sys::errno::text(&err);
            Err(Fatal::temporary(format!("unable to read {}: {why}", path.display())))
        }
        _ => Ok(lines(&text)),
    }
}

/// The lines that name something.
fn lines(text: &[u8]) -> Vec<Vec<u8>> {
    let lines = text.split(|&c| c == b'\n').map(<[u8]>::trim_ascii_end);
    lines.filter(|l| !l.is_empty() && !l.starts_with(b"#")).map(<[u8]>::to_vec).collect()
}
