//! What the control files say to a QMTP client.

use store::control::Control;
use store::home::Home;
use store::users::routing::Routing;

use crate::smtpd::circumstances::Circumstances;
use crate::smtpd::site::{Hosts, SiteError, digits};

/// The control files, read.
#[derive(Debug)]
pub(crate) struct Site {
    /// For which domains letters are taken.
    pub(crate) hosts: Hosts,
    /// What is ours.
    pub(crate) routing: Routing,
    databytes: u64,
}

impl Site {
    /// Reads `rcpthosts`, `morercpthosts.cdb`, `databytes`, and what says which addresses are local.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub(crate) fn load(home: &Home) -> Result<Self, SiteError> {
        let control = Control::new(home);
        Ok(Self {
            hosts: Hosts::load(&control)?,
            routing: Routing::load(&control).map_err(SiteError::Routing)?,
            databytes: control.int("databytes", 0)?,
        })
    }

    /// The largest letter of this client in bytes; 0 is no limit.
    pub(crate) fn databytes(&self, about: &Circumstances) -> u64 {
        about.get("DATABYTES").map_or(self.databytes, |text| digits(&text))
    }
}
