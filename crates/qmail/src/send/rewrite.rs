//! What is qmail-send's own of an address: its channel, its name in a bounce, and the sender that
//! a list's reader gets (qmail-send(8)). Where it leads is [`store::users`]'s.

use std::borrow::Cow;

use base::event::Channel;
use store::users::{Route, Routing, resolve};

/// The channel of a recipient, and the address it is delivered as.
pub(crate) fn channel(routing: &Routing, recipient: &[u8]) -> (Channel, Vec<u8>) {
    match resolve(routing, recipient) {
        Route::Local(address) => (Channel::Local, address),
        Route::Remote(address) => (Channel::Remote, address),
    }
}

/// A recipient as its sender knows it: without the prefix of its virtual domain. (That of a virtual
/// user stays, as in stock.)
pub(crate) fn strip<'a>(routing: &Routing, recipient: &'a [u8]) -> &'a [u8] {
    let domain = base::address::split(recipient).1.unwrap_or_default();
    let rest = routing.prefix(domain).and_then(|prefix| recipient.strip_prefix(prefix));
    rest.and_then(|rest| rest.strip_prefix(b"-")).unwrap_or(recipient)
}

/// The sender of one delivery: `PRE@HOST-@[]` to `BOX@DOM` becomes `PREBOX=DOM@HOST`, so that a
/// list knows which of its readers a bounce speaks of (qmail-send(8)).
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

/// The destination of a (rewritten) recipient, in lower case: the domain of a remote one; of one
/// here the address up to the first dash, without what its virtual domain put in front: the user,
/// as far as an address tells.
pub(crate) fn destination(channel: Channel, routing: &Routing, to: &[u8], name: &mut Vec<u8>) {
    name.clear();
    let (local, domain) = match channel {
        Channel::Local => base::address::split(strip(routing, to)),
        Channel::Remote => base::address::split(to),
    };
    if channel == Channel::Local {
        let dash = local.iter().skip(1).position(|&c| c == b'-');
        let user = dash.and_then(|at| local.get(..at.saturating_add(1))).unwrap_or(local);
        name.extend_from_slice(user);
        name.push(b'@');
    }
    let domain = domain.unwrap_or_default();
    // The dot that says that a domain is whole makes no other of it.
    let domain = if channel == Channel::Remote { super::policy::plain(domain) } else { domain };
    name.extend_from_slice(domain);
    name.make_ascii_lowercase();
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::control::{Map, Set};

    fn routing() -> Routing {
        let virtuals: [&[u8]; 4] =
            [b"bob@v.org:bob-at-v", b"V.org:vuser", b".sub.org:sub", b"no.sub.org:"];
        Routing {
            locals: Set::from_lines([&b"here.org"[..]]),
            virtualdomains: Map::from_lines(virtuals),
            ..Routing::default()
        }
    }

    #[test]
    fn what_is_ours_is_delivered_here_under_its_new_name() {
        let channel = |recipient| channel(&routing(), recipient);
        assert_eq!(channel(b"joe@HERE.org"), (Channel::Local, b"joe@HERE.org".to_vec()));
        assert_eq!(channel(b"bob@v.ORG"), (Channel::Local, b"bob-at-v-bob@v.ORG".to_vec()));
        assert_eq!(channel(b"x@no.sub.org"), (Channel::Remote, b"x@no.sub.org".to_vec()));
    }

    #[test]
    fn the_catch_alls_prefix_goes_too() {
        let virtualdomains = Map::from_lines([&b":all"[..]]);
        let routing = Routing { virtualdomains, ..Routing::default() };
        assert_eq!(strip(&routing, b"all-x@y"), b"x@y");
    }

    #[test]
    fn a_virtual_domain_loses_its_prefix_in_bounces_but_a_virtual_user_keeps_it() {
        let routing = routing();
        assert_eq!(strip(&routing, b"vuser-x@v.org"), b"x@v.org");
        assert_eq!(strip(&routing, b"bob-at-v-bob@v.org"), b"bob-at-v-bob@v.org");
        assert_eq!(strip(&routing, b"vuserx@v.org"), b"vuserx@v.org");
        assert_eq!(strip(&routing, b"sub-x@no.sub.org"), b"sub-x@no.sub.org");
        assert_eq!(strip(&routing, b"sub-x@yes.sub.org"), b"x@yes.sub.org");
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
    #[test]
    fn a_destination_is_a_domain_there_and_a_user_here() {
        let name = |channel, to: &[u8]| {
            let mut name = Vec::new();
            destination(channel, &routing(), to, &mut name);
            String::from_utf8(name).unwrap()
        };
        assert_eq!(name(Channel::Remote, b"a-b@X.Org"), "x.org");
        assert_eq!(name(Channel::Remote, b"a-b@X.Org."), "x.org");
        assert_eq!(name(Channel::Remote, b"a@[10.0.0.1]"), "[10.0.0.1]");
        assert_eq!(name(Channel::Local, b"Joe-list-x@Here.org"), "joe@here.org");
        assert_eq!(name(Channel::Local, b"vuser-ann-x@v.org"), "ann@v.org");
        assert_eq!(name(Channel::Local, b"-x@here.org"), "-x@here.org");
    }
}
