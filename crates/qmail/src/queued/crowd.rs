//! The clients: let in, heard, kept, dropped.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use base::limits;
use base::outcome::Outcome;
use base::wire::frame;
use base::wire::queue::{Answer, Request};
use store::queue::Trouble;
use sys::poll::{Event, Interest};

use super::client::{Client, Gathered, Until};
use super::server::{LISTENER, Server};

/// How long nobody is accepted after a failed accept (no descriptors left).
const BREATH: Duration = Duration::from_millis(100);
/// How often time limits are looked at.
pub(super) const ROUND: Duration = Duration::from_secs(60);
/// Connections accepted at a time.
const ACCEPTS: u32 = 64;
/// Reads of one client in one turn, so that one cannot keep all waiting.
const READS: u32 = 4;
/// Bytes read at a time: as much as a socket holds.
pub(super) const PIECE: usize = 256 << 10;

const NO_MEMORY: &[u8] = b"qq out of memory (#4.3.0)";
const NOT_ALLOWED: &[u8] = b"not allowed";
pub(super) const TOO_LONG: &[u8] = b"envelope too long for qq (#5.3.0)";

impl Server {
    pub(super) fn accept(&mut self) {
        for _ in 0..ACCEPTS {
            if self.clients.len() >= self.most {
                return self.be_deaf();
            }
            match sys::pass::accept_nonblocking(&self.listener) {
                Ok(sock) => {
                    if let Err(error) = self.admit(sock) {
                        self.warn(format_args!("a client was turned away: {error}"));
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.be_deaf(),
            }
        }
    }

    /// Accepts nobody for a moment: there is no room. They wait in the kernel's queue.
    fn be_deaf(&mut self) {
        let _ =
            self.poller.change(&self.listener, LISTENER, Interest { read: false, write: false });
        self.deaf_until = Some(sys::clock::monotonic().saturating_add(BREATH));
    }

    fn admit(&mut self, sock: OwnedFd) -> io::Result<()> {
        let peer = sys::pass::peer(&sock)?;
        if self.clients.len() >= self.rules.room(peer.uid, self.most) {
            return Err(io::Error::other(format!("no more room for uid {}", peer.uid)));
        }
        if !self.rules.is_ours(peer.uid) {
            let same = self.clients.iter().filter(|(_, client)| client.peer.uid == peer.uid);
            if same.count() >= limits::QUEUED_CLIENTS_OF_A_USER {
                return Err(io::Error::other(format!("too many of uid {}", peer.uid)));
            }
        }
        self.poller.add(&sock, self.clients.next_token(), Interest::READ)?;
        self.clients.insert(Client::new(sock, peer, sys::clock::monotonic()));
        Ok(())
    }

    pub(super) fn client_event(&mut self, token: u64, event: Event) -> Result<(), Trouble> {
        let Some(mut client) = self.take(token) else { return Ok(()) };
        client.gone |= event.hangup;
        // A letter whose client is gone would be there twice: it has told its own to come again.
        let mut alive = !event.hangup || (event.readable && !client.securing);
        if alive && event.readable {
            alive = self.hear(token, &mut client)?;
        }
        if alive && !client.out.is_empty() {
            alive = client.out.send(&client.sock).is_ok();
        }
        self.put_back_or_drop(token, client, alive);
        Ok(())
    }

    /// Hears what a client said while it was not heard.
    pub(super) fn resume(&mut self, token: u64) -> Result<(), Trouble> {
        let Some(mut client) = self.take(token) else { return Ok(()) };
        let mut alive = self.inbox(token, &mut client)?;
        if alive && !client.out.is_empty() {
            alive = client.out.send(&client.sock).is_ok();
        }
        self.put_back_or_drop(token, client, alive);
        Ok(())
    }

    pub(super) fn take(&mut self, token: u64) -> Option<Box<Client>> {
        let client = self.clients.take(token)?;
        self.weight = self.weight.saturating_sub(client.weight());
        Some(client)
    }

    pub(super) fn put_back_or_drop(&mut self, token: u64, client: Box<Client>, alive: bool) {
        if alive { self.put_back(token, client) } else { self.drop_client(token, *client) }
    }

    /// Keeps a client, unless it was only kept to hear its last answer.
    fn put_back(&mut self, token: u64, mut client: Box<Client>) {
        if client.closing && client.out.is_empty() && !client.waits() {
            return self.drop_client(token, *client);
        }
        let wants = client.wants();
        if wants != client.interest {
            let _ = self.poller.change(&client.sock, token, wants);
            client.interest = wants;
        }
        if client.unheard && client.is_heard() {
            self.stalled.insert(token);
        }
        if client.is_streaming() && !self.streaming.contains(&token) {
            self.streaming.push(token);
        }
        self.weight = self.weight.saturating_add(client.weight());
        self.clients.put(token, client);
    }

    pub(super) fn drop_client(&mut self, token: u64, client: Client) {
        self.clients.vacate(token);
        if client.hands_in {
            self.handing_in = self.handing_in.saturating_sub(1);
        }
        if let Some(Gathered::File(spill)) = client.letter.map(|letter| letter.bytes) {
            self.queue.discard(&spill);
        }
        if self.follower == Some(token) {
            self.follower = None;
        }
    }

    /// Reads what a client has said; false if it has gone.
    fn hear(&mut self, token: u64, client: &mut Client) -> Result<bool, Trouble> {
        let mut piece = std::mem::take(&mut self.piece);
        let mut alive = Ok(true);
        for _ in 0..READS {
            if !client.is_heard() {
                break;
            }
            match sys::fd::read(&client.sock, &mut piece) {
                Ok(0) => alive = Ok(false),
                Ok(n) => {
                    alive = self.heard(token, client, piece.get(..n).unwrap_or_default());
                    // There is no more; if there is, the kernel will say so.
                    if n < piece.len() {
                        break;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => alive = Ok(false),
            }
            if !matches!(alive, Ok(true)) {
                break;
            }
        }
        self.piece = piece;
        alive
    }

    /// Takes what a client has just said; false if it talks nonsense. The usual case copies
    /// nothing: nothing was left from before, and what came is whole.
    fn heard(&mut self, token: u64, client: &mut Client, bytes: &[u8]) -> Result<bool, Trouble> {
        if !client.inbox.is_empty() {
            client.inbox.extend_from_slice(bytes);
            return self.inbox(token, client);
        }
        let (sane, taken) = self.frames(token, client, bytes)?;
        let rest = bytes.get(taken..).unwrap_or_default();
        client.inbox.extend_from_slice(rest);
        self.after_frames(token, client)?;
        Ok(sane)
    }

    /// Takes what is in a client's inbox; false if it talks nonsense.
    fn inbox(&mut self, token: u64, client: &mut Client) -> Result<bool, Trouble> {
        let inbox = std::mem::take(&mut client.inbox);
        let (sane, taken) = self.frames(token, client, &inbox)?;
        client.inbox = inbox;
        client.taken(taken);
        self.after_frames(token, client)?;
        Ok(sane)
    }

    fn after_frames(&mut self, token: u64, client: &mut Client) -> Result<(), Trouble> {
        client.unheard = !client.inbox.is_empty() && !client.is_heard();
        self.lighten(token, client)
    }

    /// Takes whole frames; how many bytes they were, and false if it is nonsense.
    fn frames(
        &mut self,
        token: u64,
        client: &mut Client,
        bytes: &[u8],
    ) -> Result<(bool, usize), Trouble> {
        let mut rest = bytes;
        let mut sane = true;
        while sane && client.is_heard() {
            let (frame, len) = match frame::take(rest, client.frame_limit()) {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(_) => {
                    sane = self.too_long(token, client, rest);
                    break;
                }
            };
            rest = rest.get(len..).unwrap_or_default();
            sane = match Request::decode(frame) {
                Ok(request) if self.rules.allow(client.peer.uid, &request) => {
                    self.request(token, client, &request)?
                        || self.nonsense(client, "spoke out of turn")
                }
                Ok(request) => self.not_allowed(token, client, &request),
                Err(_) => self.nonsense(client, "talked nonsense"),
            };
        }
        Ok((sane, bytes.len().saturating_sub(rest.len())))
    }

    fn nonsense(&mut self, client: &Client, what: &str) -> bool {
        let peer = client.peer;
        self.warn(format_args!("pid {} uid {} {what}; closed", peer.pid, peer.uid));
        false
    }

    /// It asked what it may not ask. People who want to see the queue are told so.
    fn not_allowed(&mut self, token: u64, client: &mut Client, request: &Request<'_>) -> bool {
        let sane = self.nonsense(client, "asked what it may not ask");
        if !matches!(request, Request::List | Request::Held) {
            return sane;
        }
        self.hold(token, client, Until::Now, Answer::Refused(Outcome::Never, NOT_ALLOWED));
        client.closing = true;
        true
    }

    /// A frame is longer than it may be. An envelope is refused for good, with an answer.
    fn too_long(&mut self, token: u64, client: &mut Client, rest: &[u8]) -> bool {
        if client.letter.is_none() || rest.first() != Some(&b'e') {
            return self.nonsense(client, "talked nonsense");
        }
        self.hold(token, client, Until::Now, Answer::Refused(Outcome::Never, TOO_LONG));
        client.closing = true;
        true
    }

    /// All clients together hold too much: this one's letter goes to a file.
    fn lighten(&mut self, token: u64, client: &mut Client) -> Result<(), Trouble> {
        if self.weight.saturating_add(client.weight()) <= limits::QUEUED_MEMORY {
            return Ok(());
        }
        self.spill(client)?;
        if self.weight.saturating_add(client.weight()) > limits::QUEUED_MEMORY.saturating_mul(2) {
            self.hold(token, client, Until::Now, Answer::Refused(Outcome::Later, NO_MEMORY));
            client.closing = true;
        }
        Ok(())
    }

    /// Changes a client, sends what it can, and keeps it or not.
    pub(super) fn with_client(&mut self, token: u64, act: impl FnOnce(&mut Client)) {
        let Some(mut client) = self.take(token) else { return };
        act(&mut client);
        let alive = client.out.is_empty() || client.out.send(&client.sock).is_ok();
        self.put_back_or_drop(token, client, alive);
    }

    /// What is due by the clock.
    pub(super) fn round(&mut self) {
        let now = sys::clock::monotonic();
        if self.deaf_until.is_some_and(|until| now >= until) {
            self.deaf_until = None;
            let _ = self.poller.change(&self.listener, LISTENER, Interest::READ);
        }
        self.warn_of_rest(now);
        if now < self.next_round {
            return;
        }
        self.next_round = now.saturating_add(ROUND);
        let late = |c: &Client| c.is_late(now, self.rules.is_ours(c.peer.uid));
        let late = self.clients.iter().filter(|(_, c)| late(c)).map(|(token, _)| token);
        for token in late.collect::<Vec<_>>() {
            if let Some(client) = self.take(token) {
                self.drop_client(token, *client);
            }
        }
        self.tend_soon();
    }
}
