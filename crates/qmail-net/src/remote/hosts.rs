//! Which addresses take mail for a host, in which order (qmail-remote(8)).

use std::net::{IpAddr, SocketAddr};

use dns::{Error, Exchanger};
use proto::smtp::client::Login;
use store::control::Control;

use super::route::{self, PORT, QMTP_PORT, Routes};

/// Addresses tried for one letter at most.
const TARGETS: usize = 32;

/// One address to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) preference: u16,
    pub(super) addr: SocketAddr,
}

/// What is spoken there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// SMTP, without a login.
    Smtp,
    /// SMTP to the relay of this name, with a login.
    LoggedIn(Vec<u8>, Login),
    /// QMTP.
    Qmtp,
}

/// The routes the administrator has written.
#[derive(Clone, Debug)]
pub(super) struct Roads {
    pub(super) control: Control,
    /// `smtproutes`.
    pub(super) smtp: Routes,
    /// `qmtproutes`, which go first.
    pub(super) qmtp: Routes,
}

impl Roads {
    /// The route for a host, if there is one; or the report of a line that cannot be meant.
    fn find(&self, host: &[u8]) -> Result<Option<(route::Route, Way)>, Vec<u8>> {
        let bad = |file: &str, bad: route::BadRoute| {
            let path = self.control.path(file);
            format!("ZUnable to read control files. (#4.3.0)\n{} {bad}\n", path.display())
                .into_bytes()
        };
        if let Some(route) =
            self.qmtp.find(host, QMTP_PORT).map_err(|why| bad("qmtproutes", why))?
        {
            return Ok(Some((route, Way::Qmtp)));
        }
        let route = self.smtp.find(host, PORT).map_err(|why| bad("smtproutes", why))?;
        Ok(route.map(|mut route| {
            let way = match route.login.take() {
                Some(login) => Way::LoggedIn(route.relay.clone(), login),
                None => Way::Smtp,
            };
            (route, way)
        }))
    }
}

/// What is asked of the world outside.
pub(super) trait Lookup {
    /// The exchangers of a domain.
    fn mx(&mut self, domain: &str) -> Result<Vec<Exchanger>, Error>;
    /// The addresses of a host.
    fn addresses(&mut self, host: &str) -> Result<Vec<IpAddr>, Error>;
    /// Any number.
    fn dice(&mut self) -> u64;
}

/// The addresses to try, best first, at least one; or the item to report.
pub(super) fn find(
    host: &[u8],
    roads: &Roads,
    lookup: &mut dyn Lookup,
    is_me: &dyn Fn(IpAddr) -> bool,
) -> Result<(Vec<Target>, Way), Vec<u8>> {
    if let Some((route, way)) = roads.find(host)? {
        let found = one_host(&route.relay, route.port, lookup);
        let targets = found.map_err(|trouble| trouble.item(&route.relay))?;
        return Ok((targets, way));
    }
    let found = if base::route::address(host).is_some() {
        one_host(host, PORT, lookup)
    } else {
        exchangers(host, lookup)
    };
    let mut targets = found.map_err(|trouble| trouble.item(host))?;
    // Mail for a host that points at us, or at worse than us, would come back.
    let ours = targets.iter().filter(|t| is_me(t.addr.ip())).map(|t| t.preference).min();
    targets.retain(|target| ours.is_none_or(|ours| target.preference < ours));
    targets.truncate(TARGETS);
    if targets.is_empty() { Err(Trouble::Ours.item(host)) } else { Ok((targets, Way::Smtp)) }
}

/// Why there is no address.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Trouble {
    /// Nobody can say now.
    Soft,
    /// No such name.
    NotFound,
    /// The name has neither an exchanger nor an address.
    Nowhere,
    /// The domain says it takes no mail (RFC 7505).
    NullMx,
    /// It is this host.
    Ours,
}

impl Trouble {
    /// The report.
    fn item(&self, host: &[u8]) -> Vec<u8> {
        match self {
            Self::Soft => b"ZSorry, I couldn't find any host by that name. (#4.1.2)\n".to_vec(),
            Self::NotFound => {
                let safe = |&c: &u8| if (33..=126).contains(&c) { c } else { b'?' };
                let mut item = b"DSorry, I couldn't find any host named ".to_vec();
                item.extend(host.iter().map(safe));
                item.extend_from_slice(b". (#5.1.2)\n");
                item
            }
            Self::Nowhere => {
                b"DSorry, I couldn't find a mail exchanger or IP address. (#5.4.4)\n".to_vec()
            }
            Self::NullMx => {
                b"DSorry, that domain says it takes no mail (its MX is empty). (#5.1.10)\n".to_vec()
            }
            Self::Ours => b"DSorry. Although I'm listed as a best-preference MX or A for that \
                host,\nit isn't in my control/locals file, so I don't treat it as local. \
                (#5.4.6)\n"
                .to_vec(),
        }
    }
}

/// The addresses of one host: a literal, or a name without its exchangers.
fn one_host(host: &[u8], port: u16, lookup: &mut dyn Lookup) -> Result<Vec<Target>, Trouble> {
    let target = |ip| Target { preference: 0, addr: SocketAddr::new(ip, port) };
    if let Some(ip) = base::route::address(host) {
        return Ok(vec![target(ip)]);
    }
    match lookup.addresses(name(host)?) {
        Ok(found) if found.is_empty() => Err(Trouble::Nowhere),
        Ok(found) => Ok(found.into_iter().take(TARGETS).map(target).collect()),
        Err(Error::NotFound) => Err(Trouble::NotFound),
        Err(Error::NoData) => Err(Trouble::Nowhere),
        Err(Error::Temporary(_)) => Err(Trouble::Soft),
    }
}

/// The addresses of a domain's exchangers, best first, equals in random order; of the domain itself
/// if it has none.
fn exchangers(host: &[u8], lookup: &mut dyn Lookup) -> Result<Vec<Target>, Trouble> {
    let mut list = match lookup.mx(name(host)?) {
        Ok(list) => list,
        Err(Error::Temporary(_)) => return Err(Trouble::Soft),
        Err(Error::NotFound | Error::NoData) => return one_host(host, PORT, lookup),
    };
    if list.iter().all(|exchanger| exchanger.host.is_empty()) {
        return Err(Trouble::NullMx);
    }
    list.retain(|exchanger| !exchanger.host.is_empty());
    let mut dealt: Vec<_> = list.into_iter().map(|mx| (mx.preference, lookup.dice(), mx)).collect();
    dealt.sort_by_key(|(preference, dice, _)| (*preference, *dice));
    let (mut targets, mut soft) = (Vec::new(), false);
    for (preference, _, exchanger) in dealt {
        // An exchanger that is an address is wrong, but clear enough.
        match one_host(exchanger.host.as_bytes(), PORT, lookup) {
            Ok(found) => targets.extend(found.into_iter().map(|t| Target { preference, ..t })),
            Err(trouble) => soft |= trouble == Trouble::Soft,
        }
        // Nobody has so many hosts but to keep us busy.
        if targets.len() >= TARGETS {
            break;
        }
    }
    match (targets.is_empty(), soft) {
        (false, _) => Ok(targets),
        (true, true) => Err(Trouble::Soft),
        (true, false) => Err(Trouble::Nowhere),
    }
}

/// A host as a name to look up.
fn name(host: &[u8]) -> Result<&str, Trouble> {
    std::str::from_utf8(host).ok().filter(|name| !name.is_empty()).ok_or(Trouble::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small world; its dice count up, so that equals stay in order.
    struct World(u64);

    impl Lookup for World {
        fn mx(&mut self, domain: &str) -> Result<Vec<Exchanger>, Error> {
            let list = |list: &[(u16, &str)]| {
                let one =
                    |&(preference, host): &(u16, &str)| Exchanger { preference, host: host.into() };
                Ok(list.iter().map(one).collect())
            };
            match domain {
                "good" => list(&[(20, "b"), (10, "a"), (10, "c")]),
                "mine" => list(&[(10, "a"), (20, "me"), (30, "b")]),
                "best" => list(&[(10, "me"), (20, "a")]),
                "null" => list(&[(0, "")]),
                "dead" => list(&[(10, "none"), (20, "nodata")]),
                "half" => list(&[(10, "broken"), (20, "a")]),
                "ill" => list(&[(10, "broken")]),
                "broken" => Err(Error::Temporary(String::new())),
                "none" => Err(Error::NotFound),
                _ => Err(Error::NoData),
            }
        }

        fn addresses(&mut self, host: &str) -> Result<Vec<IpAddr>, Error> {
            let last = match host {
                "a" => 1,
                "b" => 2,
                "c" => 3,
                "me" => 9,
                "broken" => return Err(Error::Temporary(String::new())),
                "none" => return Err(Error::NotFound),
                _ => return Err(Error::NoData),
            };
            Ok(vec![IpAddr::from([192, 0, 2, last])])
        }

        fn dice(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(1);
            self.0
        }
    }

    fn routes(lines: &[&str]) -> Routes {
        let row = |line: &&str| {
            let (key, value) = line.split_once(':').unwrap();
            store::control::Row { line: 7, key: key.into(), value: value.into() }
        };
        Routes::new(lines.iter().map(row).collect())
    }

    fn go(host: &str, smtp: &[&str], qmtp: &[&str]) -> Result<(Vec<String>, Way), String> {
        let control = Control::at("/home/control");
        let roads = Roads { control, smtp: routes(smtp), qmtp: routes(qmtp) };
        let is_me = |ip: IpAddr| ip.to_string() == "192.0.2.9";
        let (targets, way) = find(host.as_bytes(), &roads, &mut World(0), &is_me)
            .map_err(|item| String::from_utf8(item).unwrap())?;
        let shown = |target: &Target| target.addr.to_string().replace("192.0.2.", "");
        Ok((targets.iter().map(shown).collect(), way))
    }

    fn ask(host: &str, routes: &[&str]) -> Result<Vec<String>, String> {
        go(host, routes, &[]).map(|(targets, _)| targets)
    }

    #[test]
    fn qmtp_routes_go_first_and_a_login_belongs_to_its_relay() {
        let found = go("good", &["good:b:26"], &["good:a", ":b:300"]).unwrap();
        assert_eq!(found, (vec!["1:209".to_owned()], Way::Qmtp));
        assert_eq!(go("b", &["good:c"], &[":b:300"]).unwrap().0, ["2:300"]);
        let login = Login { name: b"joe".to_vec(), secret: b"x|y".to_vec() };
        let found = go("good", &["good:b:26|joe|x|y"], &["good:"]).unwrap();
        assert_eq!(found, (vec!["2:26".to_owned()], Way::LoggedIn(b"b".to_vec(), login)));
    }

    #[test]
    fn a_line_that_cannot_be_meant_is_named() {
        let want = "ZUnable to read control files. (#4.3.0)\n/home/control/FILE line 7: \
            the port is not a number from 1 to 65535\n";
        let smtp = go("good", &["good:b:smtp"], &[]).unwrap_err();
        assert_eq!(smtp, want.replace("FILE", "smtproutes"));
        let qmtp = go("good", &[], &["good:b:0"]).unwrap_err();
        assert_eq!(qmtp, want.replace("FILE", "qmtproutes"));
        assert!(go("b", &["good:b:smtp"], &["good:b:0"]).is_ok());
    }

    #[test]
    fn exchangers_are_tried_best_first() {
        assert_eq!(ask("good", &[]).unwrap(), ["1:25", "3:25", "2:25"]);
        assert_eq!(ask("a", &[]).unwrap(), ["1:25"]);
        assert_eq!(ask("[192.0.2.7]", &[]).unwrap(), ["7:25"]);
        assert_eq!(ask("half", &[]).unwrap(), ["1:25"]);
    }

    #[test]
    fn equals_are_tried_as_the_dice_fall_and_never_before_better_ones() {
        let tried = |dice: u64| {
            let (smtp, qmtp) = (Routes::default(), Routes::default());
            let roads = Roads { control: Control::at("/"), smtp, qmtp };
            let found = find(b"good", &roads, &mut World(dice), &|_| false).unwrap().0;
            found.iter().map(|target| target.addr.ip().to_string()).collect::<Vec<_>>()
        };
        let [a, b, c] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
        assert_eq!(tried(0), [a, c, b]);
        // The second die falls on the highest number, the third on the lowest.
        assert_eq!(tried(u64::MAX - 2), [c, a, b]);
    }

    #[test]
    fn only_what_is_better_than_us_is_tried() {
        assert_eq!(ask("mine", &[]).unwrap(), ["1:25"]);
        for host in ["best", "me", "192.0.2.9"] {
            let item = ask(host, &[]).unwrap_err();
            assert_eq!(
                item,
                "DSorry. Although I'm listed as a best-preference MX or A for that host,\n\
                 it isn't in my control/locals file, so I don't treat it as local. (#5.4.6)\n"
            );
        }
    }

    #[test]
    fn a_route_knows_no_loop_and_no_exchangers() {
        assert_eq!(ask("best", &["best:me:26"]).unwrap(), ["9:26"]);
        assert_eq!(ask("broken", &[":192.0.2.4"]).unwrap(), ["4:25"]);
        assert_eq!(ask("good", &["good:", ":a"]).unwrap(), ["1:25", "3:25", "2:25"]);
        assert!(
            ask("good", &["good:none"])
                .unwrap_err()
                .starts_with("DSorry, I couldn't find any host named none. (#5.1.2)")
        );
    }

    #[test]
    fn every_way_to_find_nothing_has_its_text() {
        let soft = "ZSorry, I couldn't find any host by that name. (#4.1.2)\n";
        let nowhere = "DSorry, I couldn't find a mail exchanger or IP address. (#5.4.4)\n";
        assert_eq!(ask("broken", &[]).unwrap_err(), soft);
        assert_eq!(ask("ill", &[]).unwrap_err(), soft);
        assert_eq!(ask("dead", &[]).unwrap_err(), nowhere);
        assert_eq!(ask("nodata", &[]).unwrap_err(), nowhere);
        assert_eq!(
            ask("none", &[]).unwrap_err(),
            "DSorry, I couldn't find any host named none. (#5.1.2)\n"
        );
        assert!(ask("null", &[]).unwrap_err().starts_with("DSorry, that domain says it takes no"));
        let (control, smtp, qmtp) = (Control::at("/"), Routes::default(), Routes::default());
        let roads = Roads { control, smtp, qmtp };
        let strange = find(b"a b\xff", &roads, &mut World(0), &|_| false).unwrap_err();
        assert_eq!(strange, b"DSorry, I couldn't find any host named a?b?. (#5.1.2)\n");
    }
}
