//! The nouns of the mail system, and nothing that acts: addresses, envelopes, reports, labels,
//! and the messages our programs send each other. No I/O, no clock, no `unsafe`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod address;
pub mod cdb;
pub mod crlf;
pub mod errno;
pub mod event;
pub mod fnv;
pub mod json;
pub mod limits;
pub mod netstring;
pub mod network;
pub mod number;
pub mod outcome;
pub mod plain;
pub mod proxy;
pub mod queue_exit;
pub mod route;
pub mod service;
pub mod spoken;
pub mod tai;
pub mod text0;
pub mod time;
pub mod wire;
