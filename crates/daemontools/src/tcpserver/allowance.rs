//! How many connections a rule allows its clients' addresses and networks, in variables of the rule.

use super::rules::Setting;
use crate::tcprules::odd::{ADDRESS_LIMITS, NETWORK_LIMIT};
use crate::ucspi::number;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// How many connections there are from where one comes, itself included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Company {
    /// From its address.
    pub(super) address: u64,
    /// From its neighbourhood.
    pub(super) network: u64,
}

/// Why a client is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denial {
    /// The rule says so.
    Flat,
    /// Its address has more connections than this.
    Address(u64),
    /// Its neighbourhood has.
    Network(u64),
}

impl Denial {
    /// What the log's line ends with.
    pub(super) fn words(self) -> String {
        match self {
            Self::Flat => String::new(),
            Self::Address(limit) => format!(" ip connection limit:{limit} exceeded"),
            Self::Network(limit) => format!(" network connection limit:{limit} exceeded"),
        }
    }
}

/// Whether a rule's variables allow one who comes with this company; 0 is no limit.
pub(super) fn refuses(set: &[Setting], company: Company) -> Option<Denial> {
    set.iter().find_map(|(name, value)| {
        let limit = number(OsStr::from_bytes(value));
        let over = |count: u64| limit > 0 && count > limit;
        if ADDRESS_LIMITS.contains(&name.as_slice()) && over(company.address) {
            Some(Denial::Address(limit))
        } else if name == NETWORK_LIMIT && over(company.network) {
            Some(Denial::Network(limit))
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(rule: &[(&str, &str)], address: u64, network: u64) -> Option<Denial> {
        let set: Vec<Setting> =
            rule.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        refuses(&set, Company { address, network })
    }

    #[test]
    fn the_last_that_is_allowed_is_in_and_the_next_is_not() {
        for name in ["MAXCONNIP", "MAXCONIP"] {
            assert_eq!(judged(&[(name, "2")], 2, 9), None);
            assert_eq!(judged(&[(name, "2")], 3, 9), Some(Denial::Address(2)));
        }
        assert_eq!(judged(&[("MAXCONNC", "2")], 9, 2), None);
        let both = [("RELAYCLIENT", ""), ("MAXCONNIP", "5"), ("MAXCONNC", "2")];
        assert_eq!(judged(&both, 5, 3), Some(Denial::Network(2)));
        assert_eq!(judged(&both, 6, 3), Some(Denial::Address(5)));
    }

    #[test]
    fn no_number_and_0_are_no_limit_and_who_is_not_counted_is_in() {
        for value in ["", "0", "few"] {
            assert_eq!(judged(&[("MAXCONNIP", value)], 1_000, 1_000), None, "{value}");
        }
        assert_eq!(judged(&[("MAXCONNIP", "1"), ("MAXCONNC", "1")], 0, 0), None);
    }
}
