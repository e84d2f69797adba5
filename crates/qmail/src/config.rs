//! write the settings of a new home from what DNS says of the host
//!
//! *Runs as* the home's owner · *hears* nobody · *opens* `control/me` and four others · *speaks to*
//! the system's resolver (getent), and to whoever called it, on descriptor 1

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use store::home::Home;

use crate::config_fast::{Add, fatal, is_host, names, put, say};

/// Bytes of an answer that are looked at.
const ANSWER: usize = 64 << 10;

/// `config`: 0; 1 if the host has no name in DNS, 100 with an argument (who asks for `--help` does not
/// mean to have his settings written anew), 111 if a file cannot be written.
pub(crate) fn main(args: &[OsString]) -> i32 {
    if args.len() > 1 {
        return fatal("config", 100, "usage: config");
    }
    let settings = Home::find().map_err(|err| err.to_string()).and_then(|home| settings(&home));
    match settings {
        Ok(code) => code,
        Err(why) => fatal("config", 111, &why),
    }
}

fn settings(home: &Home) -> Result<i32, String> {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim().to_ascii_lowercase();
    say(&format!("Your hostname is {host}."))?;
    let Some(fqdn) = full_name(&host) else {
        say("Sorry, I couldn't find your host's canonical name in DNS.")?;
        say("You will have to set up control/me yourself.")?;
        return Ok(1);
    };
    say(&format!("Your host's fully qualified name in DNS is {fqdn}."))?;
    names(home, &fqdn)?;
    say(" \nChecking local IP addresses:")?;
    let locals = locals()?;
    put(home, "locals", &locals, Add::Anew)?;
    let control = home.path("control");
    let control = control.display();
    say(&format!(
        " \nIf there are any other domain names that point to you,\n\
         you will have to add them to {control}/locals.\n\
         You don't have to worry about aliases, i.e., domains with CNAME records.\n \n\
         Copying {control}/locals to {control}/rcpthosts..."
    ))?;
    put(home, "rcpthosts", &locals, Add::Anew)?;
    say("Now qmail will refuse to accept SMTP messages except to those hosts.")?;
    say("Make sure to change rcpthosts if you add hosts to locals or virtualdomains!")?;
    Ok(0)
}

/// The names of this host's addresses, a line each.
fn locals() -> Result<String, String> {
    let mut lines = BTreeSet::new();
    for address in addresses(&fs::read_to_string("/proc/net/fib_trie").unwrap_or_default()) {
        match full_name(&address.to_string()) {
            Some(name) => {
                say(&format!("{address}: Adding {name} to control/locals..."))?;
                lines.insert(name);
            }
            None => say(&format!(
                "{address}: PTR lookup failed. I assume this address has no DNS name."
            ))?,
        }
    }
    Ok(lines.into_iter().map(|name| name + "\n").collect())
}

/// What the system's resolver says a host or an address is called: its first name, or the first one
/// that is whole.
fn full_name(host: &str) -> Option<String> {
    if host.is_empty() || host.starts_with('-') {
        return None;
    }
    let mut getent = Command::new("getent");
    let asked = getent.args(["hosts", host]).stdin(Stdio::null()).stderr(Stdio::null()).output();
    let answer = asked.ok()?.stdout;
    first_name(&String::from_utf8_lossy(answer.get(..ANSWER).unwrap_or(&answer)))
}

fn first_name(answer: &str) -> Option<String> {
    let names: Vec<&str> = answer.lines().next()?.split_whitespace().skip(1).collect();
    let whole = names.iter().find(|name| name.contains('.')).or(names.first());
    let name = whole.map(|name| name.to_ascii_lowercase());
    name.filter(|name| is_host(name.as_bytes()) && name.parse::<Ipv4Addr>().is_err())
}

/// Every address of this host, as the kernel's table of routes has them.
fn addresses(routes: &str) -> BTreeSet<Ipv4Addr> {
    let mut found = BTreeSet::new();
    let mut last: Option<Ipv4Addr> = None;
    for line in routes.lines() {
        if let Some((_, address)) = line.split_once("|-- ") {
            last = address.trim().parse().ok();
        } else if line.contains("/32 host LOCAL") {
            found.extend(last);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_whole_name_is_the_hosts() {
        assert_eq!(first_name("192.0.2.1  mx mx.Example.org\n").as_deref(), Some("mx.example.org"));
        assert_eq!(first_name("127.0.0.1  localhost\n").as_deref(), Some("localhost"));
        assert_eq!(first_name(""), None);
        assert_eq!(first_name("192.0.2.1 192.0.2.1\n"), None);
    }

    #[test]
    fn own_addresses_are_those_that_are_local() {
        let routes = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     \
                      |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 192.0.2.7\n        /32 host LOCAL\n     \
                      |-- 192.0.2.255\n        /32 link BROADCAST\n";
        let found: Vec<_> = addresses(routes).into_iter().map(|a| a.to_string()).collect();
        assert_eq!(found, ["127.0.0.1", "192.0.2.7"]);
    }
}
