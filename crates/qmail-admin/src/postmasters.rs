//! Every domain has a postmaster (RFC 5321 §4.5.1) and somebody who hears of abuse (RFC 2142 §2).

use std::io;
use std::path::Path;

use base::json::string;
use store::control::Control;
use store::home::Home;
use store::users::exists::mailbox_exists_in;
use store::users::{Directory, Exists, Route, Routing, resolve};
use sys::at::At;
use sys::user::Ids;

use crate::permissions::{about, place};
use crate::{Trouble, assign, domains};

/// The names a domain must have, and should have.
const NAMES: [&str; 2] = ["postmaster", "abuse"];

/// Leads the names of an added domain to this host's own, unless somebody has them already.
pub(crate) fn add(home: &Home, domain: &str) -> Result<(), Trouble> {
    let routing = Routing::load(&Control::new(home)).map_err(|e| e.to_string())?;
    let assigned = domains::read(&home.path("users/assign"))?;
    let mut users = Directory::new(home);
    for name in NAMES {
        let address = format!("{name}@{domain}");
        let Route::Local(local) = resolve(&routing, address.as_bytes()) else { continue };
        let local = String::from_utf8_lossy(&local).into_owned();
        let local =
            local.rsplit_once('@').map_or(local.as_str(), |(local, _)| local).to_lowercase();
        let taken = mailbox_exists_in(&mut users, &routing, address.as_bytes()) == Exists::Yes
            || assign::exact(&assigned).any(|(known, _)| known.eq_ignore_ascii_case(&local));
        let file = home.path("alias").join(format!(".qmail-{}", local.replace('.', ":")));
        if taken || local == name || file.exists() {
            continue;
        }
        let alias = home.roles().map_err(|e| e.to_string())?.alias;
        about(&file, lead(&file, name, &alias))?;
    }
    Ok(())
}

/// Makes a file of alias's that leads to a name. It becomes alias's while it is open, never by its
/// name: alias could have put anything in that place by then, and would be given it.
fn lead(file: &Path, to: &str, alias: &Ids) -> io::Result<()> {
    let dir = At::open(file.parent().unwrap_or(file))?;
    let name = Path::new(file.file_name().unwrap_or_default());
    place(&dir, name, 0o644, alias, format!("&{to}\n").as_bytes())
}

/// What to say of every domain whose postmaster would be told that there is no such mailbox.
pub(crate) fn missing(home: &Home) -> Result<Vec<String>, Trouble> {
    let control = Control::new(home);
    let routing = Routing::load(&control).map_err(|e| e.to_string())?;
    let mut domains: Vec<String> =
        routing.locals.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    let virtual_ones = routing.virtualdomains.iter().filter(|(name, to)| {
        // One address, all below a domain, every domain: none of them is a domain.
        !(name.is_empty() || name.contains(&b'@') || name.starts_with(b".") || to.is_empty())
    });
    domains.extend(virtual_ones.map(|(name, _)| String::from_utf8_lossy(name).into_owned()));
    let mut users = Directory::new(home);
    let mut missing = Vec::new();
    for domain in domains {
        let address = format!("postmaster@{domain}");
        if mailbox_exists_in(&mut users, &routing, address.as_bytes()) == Exists::No {
            let mend = if routing.locals.contains(domain.as_bytes()) {
                "lead alias/.qmail-postmaster to somebody, as in &joe".to_owned()
            } else {
                format!("qmailctl domain add {domain}")
            };
            missing.push(format!("{} has no mailbox (mend: {mend})", shown(&address)));
        }
    }
    Ok(missing)
}

/// An address as a terminal shows it.
fn shown(address: &str) -> String {
    string(address).trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};
    use yard::Yard;

    #[test]
    fn a_postmasters_file_is_aliass_and_no_link_is_followed_or_given_away() {
        let dir = Yard::new("postmasters");
        let (secret, file) = (dir.join("secret"), dir.join(".qmail-example:org-abuse"));
        fs::write(&secret, "secret").unwrap();
        let me = fs::metadata(&secret).unwrap();
        let alias = match sys::user::euid() {
            0 => Ids { uid: 47_790, gid: 42_108, groups: Vec::new() },
            uid => Ids { uid, gid: me.gid(), groups: Vec::new() },
        };
        symlink("secret", dir.join(".qmail-example:org-abuse.new")).unwrap();
        lead(&file, "abuse", &alias).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"&abuse\n");
        let there = fs::symlink_metadata(&file).unwrap();
        assert_eq!((there.uid(), there.gid(), there.mode()), (alias.uid, alias.gid, 0o100_644));
        let link = dir.join(".qmail-example:org-postmaster");
        symlink("secret", &link).unwrap();
        lead(&link, "postmaster", &alias).unwrap();
        assert!(link.is_symlink());
        let now = fs::metadata(&secret).unwrap();
        assert_eq!((now.uid(), now.gid(), now.len()), (me.uid(), me.gid(), 6));
    }
}
