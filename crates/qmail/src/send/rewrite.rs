//! Where an address leads: which channel, and under which name (spec `qmail-queue.md` §5.1, §7).

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use base::event::Channel;

/// The control files that decide it; keys compare without regard to ASCII case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    envnoathost: Vec<u8>,
    percenthack: HashSet<Vec<u8>>,
    locals: HashSet<Vec<u8>>,
    virtualdomains: HashMap<Vec<u8>, Vec<u8>>,
}

impl Rules {
    /// From `envnoathost` and `percenthack`, which are read once per run.
    pub(crate) fn new(envnoathost: Vec<u8>, percenthack: Vec<Vec<u8>>) -> Self {
        let percenthack = percenthack.into_iter().map(lower).collect();
        Self { envnoathost, percenthack, ..Self::default() }
    }

    /// Takes `locals` and `virtualdomains`, which HUP reads again. The last of two equal keys
    /// counts.
    pub(crate) fn domains(&mut self, locals: Vec<Vec<u8>>, virtuals: Vec<(Vec<u8>, Vec<u8>)>) {
        self.locals = locals.into_iter().map(lower).collect();
        self.virtualdomains = virtuals.into_iter().map(|(k, v)| (lower(k), v)).collect();
    }

    /// The channel of a recipient, and the address it is delivered as.
    pub(crate) fn rewrite(&self, recipient: &[u8]) -> (Channel, Vec<u8>) {
        let mut address = recipient.to_vec();
        if !address.contains(&b'@') {
            address.push(b'@');
            address.extend_from_slice(&self.envnoathost);
        }
        while self.unhack(&mut address) {}
        let (_, domain) = split(&address);
        if self.locals.contains(&lower(domain)) {
            return (Channel::Local, address);
        }
        let whole = self.virtualdomains.get(&lower(&address[..]));
        match whole.or_else(|| self.prepend(domain)) {
            Some(value) if !value.is_empty() => {
                (Channel::Local, [&value[..], b"-", &address].concat())
            }
            _ => (Channel::Remote, address),
        }
    }

    /// `a%b@hack` becomes `a@b`; false if it does not.
    fn unhack(&self, address: &mut Vec<u8>) -> bool {
        let (local, domain) = split(address);
        let percent = local.iter().rposition(|&c| c == b'%');
        let (Some(percent), true) = (percent, self.percenthack.contains(&lower(domain))) else {
            return false;
        };
        let end = local.len();
        address.truncate(end);
        if let Some(byte) = address.get_mut(percent) {
            *byte = b'@';
        }
        true
    }

    /// The virtualdomains value of a domain: its own, of its suffixes from the longest to the
    /// shortest, or the catch-all's.
    fn prepend(&self, domain: &[u8]) -> Option<&Vec<u8>> {
        let domain = lower(domain);
        let starts = domain.iter().enumerate().filter(|&(_, &c)| c == b'.').map(|(at, _)| at);
        std::iter::once(0)
            .chain(starts)
            .chain(std::iter::once(domain.len()))
            .find_map(|at| self.virtualdomains.get(domain.get(at..)?))
    }

    /// A recipient as its sender knows it: without the prefix of its virtual domain (spec §8.1).
    pub(crate) fn strip<'a>(&self, recipient: &'a [u8]) -> &'a [u8] {
        let (_, domain) = split(recipient);
        let prefix = self.prepend(domain).filter(|value| !value.is_empty());
        prefix
            .and_then(|value| recipient.strip_prefix(&value[..])?.strip_prefix(b"-"))
            .unwrap_or(recipient)
    }
}

/// The sender of one delivery: `PRE@HOST-@[]` to `BOX@DOM` becomes `PREBOX=DOM@HOST`, so that a
/// list knows which of its readers a bounce speaks of (spec §7).
pub(crate) fn verp<'a>(sender: &'a [u8], recipient: &[u8]) -> Cow<'a, [u8]> {
    let expand = || {
        let list = sender.strip_suffix(b"-@[]")?;
        let at = list.iter().rposition(|&c| c == b'@')?;
        let (pre, host) = list.split_at_checked(at)?;
        let at = recipient.iter().rposition(|&c| c == b'@')?;
        let (mailbox, domain) = recipient.split_at_checked(at)?;
        Some([pre, mailbox, b"=", domain.get(1..)?, host].concat())
    };
    expand().map_or(Cow::Borrowed(sender), Cow::Owned)
}

/// The local part and the domain, which begins after the last `@`; all local without one.
fn split(address: &[u8]) -> (&[u8], &[u8]) {
    let (local, domain) = base::address::split(address);
    (local, domain.unwrap_or_default())
}

fn lower(bytes: impl Into<Vec<u8>>) -> Vec<u8> {
    let mut bytes = bytes.into();
    bytes.make_ascii_lowercase();
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        let list = |text: &str| -> Vec<Vec<u8>> {
            text.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
        };
        let mut rules = Rules::new(b"here.org".to_vec(), list("ph.org PH2.org"));
        let virtuals = [
            ("bob@v.org", "bob-at-v"),
            ("V.org", "vuser"),
            (".sub.org", "sub"),
            ("no.sub.org", ""),
            ("dup.org", "first"),
            ("dup.org", "last"),
        ];
        let pair = |(k, v): (&str, &str)| (k.as_bytes().to_vec(), v.as_bytes().to_vec());
        rules.domains(list("here.org Loc.org"), virtuals.into_iter().map(pair).collect());
        rules
    }

    fn leads(recipient: &str) -> (Channel, String) {
        let (channel, address) = rules().rewrite(recipient.as_bytes());
        (channel, String::from_utf8(address).unwrap())
    }

    #[test]
    fn every_step_of_rewriting_has_its_place() {
        for (recipient, channel, address) in [
            ("joe", Channel::Local, "joe@here.org"),
            ("joe@HERE.org", Channel::Local, "joe@HERE.org"),
            ("joe@far.org", Channel::Remote, "joe@far.org"),
            ("a%far.org@ph.org", Channel::Remote, "a@far.org"),
            ("a%far.org%ph.org@ph.org", Channel::Remote, "a@far.org"),
            ("tuser%%loc.org@ph.org", Channel::Local, "tuser%@loc.org"),
            ("plain@ph2.ORG", Channel::Remote, "plain@ph2.ORG"),
            ("bob@v.ORG", Channel::Local, "bob-at-v-bob@v.ORG"),
            ("x@v.org", Channel::Local, "vuser-x@v.org"),
            ("x@a.b.sub.org", Channel::Local, "sub-x@a.b.sub.org"),
            ("x@no.sub.org", Channel::Remote, "x@no.sub.org"),
            ("x@sub.org", Channel::Remote, "x@sub.org"),
            ("x@dup.org", Channel::Local, "last-x@dup.org"),
            ("a@b@v.org", Channel::Local, "vuser-a@b@v.org"),
            ("@here.org", Channel::Local, "@here.org"),
        ] {
            assert_eq!(leads(recipient), (channel, address.to_owned()), "{recipient}");
        }
    }

    #[test]
    fn the_empty_key_catches_every_other_domain() {
        let mut rules = rules();
        rules.domains(Vec::new(), vec![(Vec::new(), b"all".to_vec())]);
        assert_eq!(rules.rewrite(b"x@y"), (Channel::Local, b"all-x@y".to_vec()));
        assert_eq!(rules.strip(b"all-x@y"), b"x@y");
    }

    #[test]
    fn a_virtual_domain_loses_its_prefix_in_bounces_but_a_virtual_user_keeps_it() {
        let rules = rules();
        assert_eq!(rules.strip(b"vuser-x@v.org"), b"x@v.org");
        assert_eq!(rules.strip(b"bob-at-v-bob@v.org"), b"bob-at-v-bob@v.org");
        assert_eq!(rules.strip(b"vuserx@v.org"), b"vuserx@v.org");
        assert_eq!(rules.strip(b"sub-x@no.sub.org"), b"sub-x@no.sub.org");
        assert_eq!(rules.strip(b"sub-x@yes.sub.org"), b"x@yes.sub.org");
    }

    #[test]
    fn a_list_sender_names_the_reader_and_others_stay() {
        assert_eq!(*verp(b"list-@h.org-@[]", b"ok@r.org"), *b"list-ok=r.org@h.org");
        assert_eq!(*verp(b"l-@h-@[]", b"a@b@r.org"), *b"l-a@b=r.org@h");
        for sender in [&b"#@[]"[..], b"", b"s@x.org", b"list-@[]", b"-@[]"] {
            assert_eq!(*verp(sender, b"ok@r.org"), *sender);
        }
        assert_eq!(*verp(b"list-@h.org-@[]", b"no-at"), *b"list-@h.org-@[]");
    }
}
