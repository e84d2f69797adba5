//! tcprulescheck: show what rules say of a client.
//!
//! *Runs as* whoever asks · *hears* nobody · *opens* the database · *speaks to* nobody: descriptor 1.

use crate::message::Voice;
use crate::tcpserver::rules::{self, Client, Items};
use base::cdb::{Cdb, Damaged};
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStringExt;

const VOICE: Voice = Voice("tcprulescheck");

/// `tcprulescheck rules.cdb`, about the client in `$TCPREMOTEIP`, `$TCPREMOTEHOST` and
/// `$TCPREMOTEINFO`. Exit code 0, whatever the rules say; 100 for misuse; 111 if the database cannot
/// be read.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let [_, cdb] = args else { return VOICE.usage("tcprulescheck rules.cdb") };
    let variable = |name: &str| std::env::var_os(name).map(OsStringExt::into_vec);
    let ip = variable("TCPREMOTEIP").unwrap_or_else(|| b"0.0.0.0".to_vec());
    let (host, info) = (variable("TCPREMOTEHOST"), variable("TCPREMOTEINFO"));
    let client = Client { ip: &ip, host: host.as_deref(), info: info.as_deref() };
    let told = read(cdb)
        .and_then(|file| tell(&file, client).map_err(|Damaged| ErrorKind::InvalidData.into()));
    let told = told.map_err(|error| VOICE.fatal(&[&"unable to read ", cdb], Some(&error)));
    match told {
        Ok(text) => match sys::fd::write_all(sys::fd::stdout(), &text) {
            Ok(()) => 0,
            Err(error) => VOICE.fatal(&[&"unable to write output"], Some(&error)),
        },
        Err(code) => code,
    }
}

fn read(path: &OsStr) -> io::Result<Vec<u8>> {
    sys::fd::read_to_end(sys::file::open_read(path)?, base::limits::CONTROL_FILE)
}

/// The rule and what it says, a line each.
fn tell(file: &[u8], client: Client<'_>) -> Result<Vec<u8>, Damaged> {
    let Some((key, value)) = rules::find(&Cdb::new(file)?, client)? else {
        return Ok(b"default:\nallow connection\n".to_vec());
    };
    let mut text = [b"rule ", &*key, b":\n"].concat();
    for item in Items::of(value) {
        match item.split_first() {
            Some((b'D', _)) => {
                text.extend_from_slice(b"deny connection\n");
                return Ok(text);
            }
            Some((b'+', variable)) => {
                text.extend([b"set environment variable ", variable, b"\n"].concat());
            }
            _ => {}
        }
    }
    text.extend_from_slice(b"allow connection\n");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::cdb::build;

    fn told(ip: &str) -> String {
        let records: [(&[u8], &[u8]); 3] = [
            (b"1.2.3.", b"+A=b c\0what\0+B=\0"),
            (b"1.2.3.5", b"+A=x\0D\0+B=\0"),
            (b"/6", b"\x20"),
        ];
        let more: [(&[u8], &[u8]); 1] = [(b"2001:db8::/32", b"+SIX=1\0")];
        let file = build(records.into_iter().chain(more)).unwrap();
        let client = Client { ip: ip.as_bytes(), host: None, info: None };
        String::from_utf8(tell(&file, client).unwrap()).unwrap()
    }

    #[test]
    fn a_rule_is_told_with_its_key_and_its_variables() {
        let want = "rule 1.2.3.:\nset environment variable A=b c\nset environment variable B=\nallow connection\n";
        assert_eq!(told("1.2.3.4"), want);
        let want = "rule 2001:db8::/32:\nset environment variable SIX=1\nallow connection\n";
        assert_eq!(told("2001:db8::77"), want);
    }

    #[test]
    fn a_denial_ends_what_is_told_and_no_rule_is_the_default() {
        let want = "rule 1.2.3.5:\nset environment variable A=x\ndeny connection\n";
        assert_eq!(told("1.2.3.5"), want);
        assert_eq!(told("1.2.4.4"), "default:\nallow connection\n");
    }
}
