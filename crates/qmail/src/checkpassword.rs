//! check a name and password, then run a program as that user
//!
//! *Runs as* root (as the home's owner in a private home), then the user · *hears* a login on
//! descriptor 3 · *opens* `users/passwords.cdb`, `users/cdb`, `/etc/passwd` · *speaks to* nobody: it
//! becomes the program its arguments name

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::Write;
use std::mem::ManuallyDrop;

use base::limits;
use base::text0;
use base::wire::login::{Login, Verb};
use store::home::Home;
use sys::{fd, spawn};

use crate::login::{Denied, authenticate, become_account, trouble, variables};

/// The wrong way to use it.
const MISUSED: i32 = 2;

pub(crate) fn main(args: &[OsString]) -> i32 {
    let Some(program) = args.get(1..).filter(|program| !program.is_empty()) else {
        return MISUSED;
    };
    // Closed only once it is known to be open: who calls us in a wrong way has opened nothing.
    let said = ManuallyDrop::new(fd::take(3));
    let heard = fd::read_to_end(&*said, limits::LOGIN);
    if heard.is_ok() {
        drop(ManuallyDrop::into_inner(said));
    }
    let input = match heard {
        Ok(input) => input,
        Err(err) if err.kind() == std::io::ErrorKind::InvalidData => return 1,
        Err(_) => return MISUSED,
    };
    let Some(login) = read(&input) else { return MISUSED };
    match enter(&login, program) {
        Ok(never) => match never {},
        Err(denied) => {
            if let Denied::Trouble(text) = &denied {
                let _ = writeln!(std::io::stderr(), "checkpassword: warning: {text}");
            }
            denied.exit_code()
        }
    }
}

/// `login\0password\0timestamp\0`, and perhaps more that is not for us.
fn read(input: &[u8]) -> Option<Login<'_>> {
    let mut fields = text0::fields(input)?;
    let (name, secret) = (fields.next()?, fields.next()?);
    Some(Login { verb: Verb::Open, name, secret, timestamp: fields.next()? })
}

fn enter(login: &Login<'_>, program: &[OsString]) -> Result<Infallible, Denied> {
    let home = Home::find().map_err(trouble)?;
    let account = authenticate(&home, login)?;
    become_account(&account)?;
    let mut env: Vec<_> = std::env::vars_os().collect();
    let ours = variables(&account);
    env.retain(|(name, _)| ours.iter().all(|(known, _)| known != name));
    env.extend(ours);
    let err = spawn::exec_search(program, Some(&env));
    let shown = program.first().map(|name| name.display().to_string()).unwrap_or_default();
    Err(Denied::Trouble(format!("unable to run {shown}: {}", sys::errno::text(&err))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interface_has_three_fields_and_perhaps_more() {
        let login = read(b"joe\0secret\0<1.2@h>\0more\0").unwrap();
        assert_eq!((login.name, login.secret), (&b"joe"[..], &b"secret"[..]));
        assert_eq!(login.timestamp, b"<1.2@h>");
        for bad in [&b""[..], b"joe\0", b"joe\0secret\0", b"joe\0secret\0stamp"] {
            assert!(read(bad).is_none());
        }
    }
}
