//! `qmailctl reload`: qmail-send reads its settings again; by a new start where it could not see
//! them otherwise.

use store::home::Home;
use store::reach::Reach;

use crate::Trouble;
use crate::print::tell;
use crate::steer::{check_all, svc};

/// Checks the settings, and has qmail-send read them. The others look at theirs by themselves.
pub(crate) fn reload(home: &Home) -> Result<(), Trouble> {
    check_all(home, "not reloaded")?;
    if is_within_reach(home) {
        tell!("Sending HUP signal to qmail-send.");
    }
    read_again(home)
}

/// Has qmail-send read settings that were checked.
pub(crate) fn read_again(home: &Home) -> Result<(), Trouble> {
    if is_within_reach(home) {
        return svc(home, "-h", &["qmail-send"]);
    }
    let control = home.path("control");
    tell!("{} is, or leads to, another directory than qmail-send can read.", control.display());
    tell!("Sending qmail-send SIGTERM and restarting.");
    // A paused one would get its TERM only when it goes on.
    svc(home, "-c", &["qmail-send"])?;
    svc(home, "-t", &["qmail-send"])
}

/// Whether the qmail-send that runs can read what `control/` is now. One that has noted nothing has
/// not been started here, and will.
fn is_within_reach(home: &Home) -> bool {
    Reach::of(home).unwrap_or_default().covers(&Reach::now(home))
}
