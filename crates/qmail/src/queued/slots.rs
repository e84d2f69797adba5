//! The clients in their places: taking one out and putting it back costs nothing.

use super::client::Client;

/// Tokens below this are not clients.
const FIRST: u64 = 16;

/// A place for a client.
#[derive(Debug, Default)]
struct Slot {
    /// How many clients have had it: their tokens differ.
    generation: u32,
    client: Option<Box<Client>>,
    /// Somebody has it, though it may be out at the moment.
    taken: bool,
}

/// All places.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    taken: usize,
}

fn token(n: usize, generation: u32) -> u64 {
    u64::from(generation) << 32 | (n as u64).saturating_add(FIRST)
}

impl Slots {
    /// How many clients there are.
    pub(super) fn len(&self) -> usize {
        self.taken
    }

    /// The token that the next client will have.
    pub(super) fn next_token(&self) -> u64 {
        let n = self.free.last().map_or(self.slots.len(), |n| *n as usize);
        token(n, self.slots.get(n).map_or(0, |slot| slot.generation))
    }

    /// Gives a client a place.
    pub(super) fn insert(&mut self, client: Client) {
        let n = self.free.pop().map_or(self.slots.len(), |n| n as usize);
        if n == self.slots.len() {
            self.slots.push(Slot::default());
        }
        if let Some(slot) = self.slots.get_mut(n) {
            (slot.client, slot.taken) = (Some(Box::new(client)), true);
            self.taken = self.taken.saturating_add(1);
        }
    }

    fn slot(&mut self, of: u64) -> Option<(u32, &mut Slot)> {
        let n = u32::try_from((of & u64::from(u32::MAX)).checked_sub(FIRST)?).ok()?;
        let slot = self.slots.get_mut(n as usize)?;
        (slot.taken && token(n as usize, slot.generation) == of).then_some((n, slot))
    }

    /// Takes a client out, to be put back or dropped.
    pub(super) fn take(&mut self, token: u64) -> Option<Box<Client>> {
        self.slot(token)?.1.client.take()
    }

    /// Puts it back.
    pub(super) fn put(&mut self, token: u64, client: Box<Client>) {
        if let Some((_, slot)) = self.slot(token) {
            slot.client = Some(client);
        }
    }

    /// Its place is free for another.
    pub(super) fn vacate(&mut self, token: u64) {
        let Some((n, slot)) = self.slot(token) else { return };
        slot.client = None;
        slot.taken = false;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(n);
        self.taken = self.taken.saturating_sub(1);
    }

    /// A client that is in its place.
    pub(super) fn get_mut(&mut self, token: u64) -> Option<&mut Client> {
        self.slot(token)?.1.client.as_deref_mut()
    }

    /// Every client that is in its place.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Client)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(n, slot)| Some((token(n, slot.generation), slot.client.as_deref()?)))
    }
}
