//! `cargo xtask ledger`: clients that keep a ledger of what was acknowledged.

pub(crate) mod mail;
