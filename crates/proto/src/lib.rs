//! Conversations without sockets: every protocol we speak as a machine that is fed input and says
//! what to do. No I/O, no clock, no files: whoever drives a machine owns those.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod dot;
pub mod line;
pub mod packet;
pub mod pop3;
pub mod qmqp;
pub mod qmtp;
pub mod sasl;
mod scan;
pub mod smtp;
