//! Is an address ours, and what does it become (spec `qmail-queue.md` §5.1)?

use base::address::split;

use crate::control::{Control, ControlError, Map, Set};

/// Where an address goes, and how it is written from then on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Delivered here. What stands before the last `@` is for [`super::lookup`].
    Local(Vec<u8>),
    /// Sent to the host after the last `@`.
    Remote(Vec<u8>),
}

/// The control files that decide it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routing {
    /// `locals`: domains delivered here.
    pub locals: Set,
    /// `virtualdomains`: addresses, domains and `.suffixes` with what is put in front.
    pub virtualdomains: Map,
    /// `percenthack`: domains where `user%host@domain` means `user@host`.
    pub percenthack: Set,
    /// `envnoathost`: the domain of an address without one.
    pub envnoathost: Vec<u8>,
}

/// The control files of a routing are not usable.
#[derive(Debug)]
pub enum RoutingError {
    /// One cannot be read.
    Control(ControlError),
    /// There is neither `locals` nor `me`: it would be unsafe to guess.
    NoLocals(std::path::PathBuf),
}

impl std::fmt::Display for RoutingError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Control(err) => err.fmt(f),
            Self::NoLocals(path) => {
                write!(f, "{} is missing: write this host's name into it", path.display())
            }
        }
    }
}

impl std::error::Error for RoutingError {}

impl From<ControlError> for RoutingError {
    fn from(err: ControlError) -> Self {
        Self::Control(err)
    }
}

impl Routing {
    /// Reads the four files; `locals` and `envnoathost` default to `me`.
    ///
    /// # Errors
    /// [`RoutingError`].
    pub fn load(control: &Control) -> Result<Self, RoutingError> {
        let me = control.line("me")?;
        let locals = match (control.set("locals")?, &me) {
            (Some(locals), _) => locals,
            (None, Some(me)) => Set::from_lines([me.as_slice()]),
            (None, None) => return Err(RoutingError::NoLocals(control.path("me"))),
        };
        let envnoathost = control.line("envnoathost")?.or(me);
        Ok(Self {
            locals,
            virtualdomains: control.map("virtualdomains")?.unwrap_or_default(),
            percenthack: control.set("percenthack")?.unwrap_or_default(),
            envnoathost: envnoathost.unwrap_or_else(|| b"envnoathost".to_vec()),
        })
    }
}

/// Where `address` goes. The steps and their order are stock `qmail-send`'s.
pub fn resolve(routing: &Routing, address: &[u8]) -> Route {
    let address = unpercent(routing, with_domain(routing, address));
    let domain = split(&address).1.unwrap_or_default();
    if routing.locals.contains(domain) {
        return Route::Local(address);
    }
    match prepend(&routing.virtualdomains, &address, domain) {
        None | Some([]) => Route::Remote(address),
        Some(prepend) => Route::Local([prepend, b"-", &address].concat()),
    }
}

/// The address, with `envnoathost` if it has no domain.
pub fn with_domain(routing: &Routing, address: &[u8]) -> Vec<u8> {
    if address.contains(&b'@') {
        return address.to_vec();
    }
    [address, b"@", &routing.envnoathost].concat()
}

/// `user%host@domain` becomes `user@host` as long as the domain is in `percenthack`. It gets
/// shorter each time, so this ends.
fn unpercent(routing: &Routing, mut address: Vec<u8>) -> Vec<u8> {
    loop {
        let (local, domain) = split(&address);
        let percent = local.iter().rposition(|&c| c == b'%');
        let (Some(percent), true) =
            (percent, domain.is_some_and(|d| routing.percenthack.contains(d)))
        else {
            return address;
        };
        let keep = local.len();
        address.truncate(keep);
        if let Some(byte) = address.get_mut(percent) {
            *byte = b'@';
        }
    }
}

/// What `virtualdomains` puts in front: of the whole address, the domain, each suffix of it that
/// begins with a dot, or the empty key, the first that is there.
fn prepend<'a>(map: &'a Map, address: &[u8], domain: &[u8]) -> Option<&'a [u8]> {
    let dots = domain.iter().enumerate().filter(|&(at, &c)| c == b'.' && at > 0).map(|(at, _)| at);
    let suffixes = dots.filter_map(|at| domain.get(at..)).filter_map(|suffix| map.get(suffix));
    let whole = map.get(address).or_else(|| map.get(domain));
    whole.or_else(|| suffixes.into_iter().next()).or_else(|| map.get(b""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routing() -> Routing {
        let virtualdomains: &[&[u8]] = &[
            b"virt.org:tuser-virt",
            b".wild.org:w",
            b"except.wild.org:",
            b"one@virt.org:tuser-one",
        ];
        Routing {
            locals: Set::from_lines([&b"loc.org"[..], b"me.org"]),
            virtualdomains: Map::from_lines(virtualdomains.iter().copied()),
            percenthack: Set::from_lines([&b"ph.org"[..]]),
            envnoathost: b"me.org".to_vec(),
        }
    }

    fn local(address: &[u8], want: &[u8]) {
        assert_eq!(resolve(&routing(), address), Route::Local(want.to_vec()));
    }

    fn remote(address: &[u8], want: &[u8]) {
        assert_eq!(resolve(&routing(), address), Route::Remote(want.to_vec()));
    }

    #[test]
    fn locals_are_compared_without_case_and_the_address_is_unchanged() {
        local(b"Joe@LOC.org", b"Joe@LOC.org");
        local(b"joe", b"joe@me.org");
        remote(b"joe@sub.loc.org", b"joe@sub.loc.org");
    }

    #[test]
    fn the_percent_hack_takes_the_last_percent_and_repeats() {
        local(b"tuser%%loc.org@ph.org", b"tuser%@loc.org");
        remote(b"a%b%ph.org@PH.org", b"a@b");
        remote(b"a@ph.org", b"a@ph.org");
    }

    #[test]
    fn virtual_domains_are_tried_from_the_most_special_on() {
        local(b"A.B-C%d@virt.org", b"tuser-virt-A.B-C%d@virt.org");
        local(b"One@Virt.org", b"tuser-one-One@Virt.org");
        local(b"x@a.b.wild.org", b"w-x@a.b.wild.org");
        remote(b"x@wild.org", b"x@wild.org");
        remote(b"x@except.wild.org", b"x@except.wild.org");
    }

    #[test]
    fn the_empty_key_takes_everything_else() {
        let mut all = routing();
        all.virtualdomains = Map::from_lines([&b":all"[..]]);
        assert_eq!(resolve(&all, b"x@y"), Route::Local(b"all-x@y".to_vec()));
    }
}
