//! Who may ask what: the kernel says who connected, this says what of it is believed.

use base::wire::queue::{Origin, Request};
use letter::received::Invoker;
use store::home::{Home, Roles};

/// The uids that matter here.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    private: bool,
    owner: u32,
    alias: u32,
    qmaild: u32,
    qmailq: u32,
    qmailr: u32,
    qmails: u32,
}

impl Rules {
    pub(super) fn new(home: &Home, roles: &Roles) -> Self {
        Self {
            private: home.is_private(),
            owner: home.owner(),
            alias: roles.alias.uid,
            qmaild: roles.qmaild.uid,
            qmailq: roles.qmailq.uid,
            qmailr: roles.qmailr.uid,
            qmails: roles.qmails.uid,
        }
    }

    /// May this uid ask this? Root could become any of them.
    pub(super) fn allow(&self, uid: u32, request: &Request<'_>) -> bool {
        uid == 0
            || match request {
                // Whether that is true of the network is another question: see `invoker`.
                Request::Begin(Origin::Local | Origin::Network)
                | Request::Chunk(_)
                | Request::Envelope(_) => true,
                Request::Begin(Origin::Bounce { .. } | Origin::Import { .. })
                | Request::Hold { .. }
                | Request::Follow
                | Request::Note { .. }
                | Request::Paragraphs(_) => uid == self.qmails,
                Request::Open(_) | Request::Fetch(_) => uid == self.qmails || uid == self.qmailr,
                Request::Finish(_) => uid == self.qmails || uid == self.qmailq,
                Request::List | Request::Held => uid == self.qmails || uid == self.owner,
            }
    }

    /// Is this one of our own programs, of which many may be connected?
    pub(super) fn is_ours(&self, uid: u32) -> bool {
        let ours = [0, self.owner, self.alias, self.qmaild, self.qmailq, self.qmailr, self.qmails];
        ours.contains(&uid)
    }

    /// How many clients there may be for one of this uid to be let in. An eighth of all is kept for
    /// the programs that empty the queue: those that fill it must never shut them out.
    pub(super) fn room(&self, uid: u32, most: usize) -> usize {
        let empties = [0, self.qmailq, self.qmailr, self.qmails].contains(&uid);
        if empties { most } else { most.saturating_sub(most / 8) }
    }

    /// What the `Received` line says. In a private home all roles have one uid, so there only the
    /// origin tells them apart.
    pub(super) fn invoker(&self, uid: u32, origin: Origin) -> Invoker {
        match origin {
            Origin::Network if self.private || uid == 0 => Invoker::Network,
            Origin::Bounce { .. } => Invoker::Bounce,
            Origin::Import { .. } => Invoker::Uid(uid),
            Origin::Local if self.private => Invoker::Uid(uid),
            // A user's own qmail-smtpd (`sendmail -bs`) is no more than he is.
            Origin::Local | Origin::Network if uid == self.qmaild => Invoker::Network,
            Origin::Local | Origin::Network if uid == self.qmails => Invoker::Bounce,
            Origin::Local | Origin::Network if uid == self.alias => Invoker::Alias,
            Origin::Local | Origin::Network => Invoker::Uid(uid),
        }
    }
}

#[cfg(test)]
mod tests {
    use base::wire::queue::{Envelope, Note};

    use super::*;

    fn rules(private: bool) -> Rules {
        let (owner, base) = if private { (1000, [1000; 5]) } else { (0, [1, 2, 3, 4, 5]) };
        let [alias, qmaild, qmailq, qmailr, qmails] = base;
        Rules { private, owner, alias, qmaild, qmailq, qmailr, qmails }
    }

    #[test]
    fn a_stranger_may_hand_in_letters_and_nothing_else() {
        let rules = rules(false);
        let may = |request| rules.allow(9999, &request);
        assert!(may(Request::Begin(Origin::Local)) && may(Request::Chunk(b"x")));
        assert!(may(Request::Envelope(Envelope::new(b"\0").unwrap())));
        for forbidden in [
            Request::Begin(Origin::Bounce { finishes: 1 }),
            Request::Follow,
            Request::Note { serial: 1, letter: 1, index: 0, note: Note::Done },
            Request::Paragraphs(1),
            Request::Open(1),
            Request::Fetch(1),
            Request::Finish(1),
            Request::List,
            Request::Held,
            Request::Hold { letter: 1, mark: None },
            Request::Begin(Origin::Import {
                birth: base::time::Moment::default(),
                uid: 0,
                pid: 0,
                mark: base::wire::queue::Mark::imported(1),
            }),
        ] {
            assert!(!may(forbidden), "{forbidden:?}");
        }
    }

    #[test]
    fn each_role_may_what_its_work_needs() {
        let rules = rules(false);
        assert!(rules.allow(2, &Request::Begin(Origin::Network)));
        assert!(rules.allow(3, &Request::Finish(1)) && !rules.allow(3, &Request::Open(1)));
        assert!(rules.allow(4, &Request::Open(1)) && !rules.allow(4, &Request::Follow));
        assert!(rules.allow(5, &Request::Follow));
    }

    #[test]
    fn who_fills_the_queue_leaves_room_for_who_empties_it() {
        let rules = rules(false);
        assert_eq!([0, 3, 4, 5].map(|uid| rules.room(uid, 64)), [64; 4]);
        assert_eq!([1, 2, 9999].map(|uid| rules.room(uid, 64)), [56; 3]);
    }

    #[test]
    fn the_line_on_top_says_what_stock_says() {
        let system = rules(false);
        assert_eq!(system.invoker(1, Origin::Local), Invoker::Alias);
        assert_eq!(system.invoker(2, Origin::Local), Invoker::Network);
        assert_eq!(system.invoker(7, Origin::Local), Invoker::Uid(7));
        assert_eq!(system.invoker(2, Origin::Network), Invoker::Network);
        assert_eq!(system.invoker(7, Origin::Network), Invoker::Uid(7));
        let private = rules(true);
        assert_eq!(private.invoker(1000, Origin::Local), Invoker::Uid(1000));
        assert_eq!(private.invoker(1000, Origin::Network), Invoker::Network);
    }
}
