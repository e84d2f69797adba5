//! Is an address ours, and what does it become (qmail-control(5))?

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

/// The two of them that a program may read again while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Domains {
    /// `locals`, or `me` in its place.
    pub locals: Set,
    /// `virtualdomains`.
    pub virtualdomains: Map,
}

/// The control files of a routing are not usable.
#[derive(Debug)]
pub enum RoutingError {
    /// One cannot be read.
    Control(ControlError),
    /// There is neither `locals` nor `me`: it would be unsafe to guess.
    NoLocals(std::path::PathBuf),
}

impl RoutingError {
    /// The file it is about, as the log names it: `control/locals`.
    pub fn file(&self) -> String {
        match self {
            Self::Control(err) => format!("control/{}", err.name().display()),
            Self::NoLocals(_) => "control/locals".to_owned(),
        }
    }

    /// As [`ControlError::is_out_of_reach`].
    pub fn is_out_of_reach(&self) -> bool {
        matches!(self, Self::Control(err) if err.is_out_of_reach())
    }
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

impl Domains {
    /// Reads the two files.
    ///
    /// # Errors
    /// [`RoutingError`].
    pub fn load(control: &Control) -> Result<Self, RoutingError> {
        let locals = match control.set("locals")? {
            Some(locals) => locals,
            None => {
                let me = control.line("me")?;
                let me = me.ok_or_else(|| RoutingError::NoLocals(control.path("me")))?;
                Set::from_lines([me.as_slice()])
            }
        };
        let virtualdomains = control.map("virtualdomains")?.unwrap_or_default();
        Ok(Self { locals, virtualdomains })
    }
}

impl Routing {
    /// Reads the four files; `locals` and `envnoathost` default to `me`.
    ///
    /// # Errors
    /// [`RoutingError`].
    pub fn load(control: &Control) -> Result<Self, RoutingError> {
        let envnoathost = control.line_or_me("envnoathost")?;
        let percenthack = control.set("percenthack")?.unwrap_or_default();
        let Domains { locals, virtualdomains } = Domains::load(control)?;
        let envnoathost = envnoathost.unwrap_or_else(|| b"envnoathost".to_vec());
        Ok(Self { locals, virtualdomains, percenthack, envnoathost })
    }

    /// Takes domains that were read again.
    pub fn renew(&mut self, domains: Domains) {
        let Domains { locals, virtualdomains } = domains;
        (self.locals, self.virtualdomains) = (locals, virtualdomains);
    }

    /// What `virtualdomains` puts in front of the addresses of a domain: its own value, that of
    /// the first suffix of it that begins with a dot and is there, or the empty key's. An empty
    /// value keeps the domain out: `None`.
    pub fn prefix(&self, domain: &[u8]) -> Option<&[u8]> {
        let dots = domain.iter().enumerate().filter(|&(at, &c)| c == b'.' && at > 0);
        let suffixes = dots.filter_map(|(at, _)| domain.get(at..));
        let mut keys = std::iter::once(domain).chain(suffixes).chain(std::iter::once(&b""[..]));
        let value = keys.find_map(|key| self.virtualdomains.get(key));
        value.filter(|value| !value.is_empty())
    }
}

/// Where `address` goes. The steps and their order are stock `qmail-send`'s.
pub fn resolve(routing: &Routing, address: &[u8]) -> Route {
    let address = unpercent(routing, with_domain(routing, address));
    let domain = split(&address).1.unwrap_or_default();
    if routing.locals.contains(domain) {
        return Route::Local(address);
    }
    let prefix = match routing.virtualdomains.get(&address) {
        Some(whole) => Some(whole).filter(|whole| !whole.is_empty()),
        None => routing.prefix(domain),
    };
    match prefix {
        None => Route::Remote(address),
        Some(prefix) => Route::Local([prefix, b"-", &address].concat()),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn routing() -> Routing {
        let virtualdomains: &[&[u8]] = &[
            b"virt.org:tuser-virt",
            b".wild.org:w",
            b"except.wild.org:",
            b"one@virt.org:tuser-one",
            b"out@virt.org:",
            b"dup.org:first",
            b"DUP.org:last",
        ];
        Routing {
            locals: Set::from_lines([&b"Loc.org"[..], b"me.org"]),
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
        local(b"@me.org", b"@me.org");
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
        local(b"a@b@virt.org", b"tuser-virt-a@b@virt.org");
        local(b"x@dup.org", b"last-x@dup.org");
        remote(b"out@virt.org", b"out@virt.org");
        remote(b"x@wild.org", b"x@wild.org");
        remote(b"x@except.wild.org", b"x@except.wild.org");
    }

    #[test]
    fn the_empty_key_takes_everything_else() {
        let mut all = routing();
        all.virtualdomains = Map::from_lines([&b":all"[..]]);
        assert_eq!(resolve(&all, b"x@y"), Route::Local(b"all-x@y".to_vec()));
    }

    #[test]
    fn domains_read_again_replace_the_old_ones_and_nothing_else() {
        let mut routing = routing();
        routing.renew(Domains { locals: Set::from_lines([&b"new.org"[..]]), ..Domains::default() });
        assert_eq!(resolve(&routing, b"a%new.org@ph.org"), Route::Local(b"a@new.org".to_vec()));
        assert_eq!(resolve(&routing, b"x@virt.org"), Route::Remote(b"x@virt.org".to_vec()));
        assert_eq!(resolve(&routing, b"joe"), Route::Remote(b"joe@me.org".to_vec()));
    }
}
