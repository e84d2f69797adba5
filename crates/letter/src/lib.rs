//! The message itself: header fields, dates, traces, bounces. No I/O, no clock, no `unsafe`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod addrlist;
pub mod aliases;
pub mod bounce;
pub mod compose;
pub mod date;
pub mod forwarding;
pub mod header;
pub mod listed;
pub mod mbox;
pub mod received;
pub mod rewrite;
pub mod token822;
