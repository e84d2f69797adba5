//! What lies between the bytes that readers of the simulated disk see and those that are durable.

/// A change of a file that is not durable yet.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    /// It has this length now.
    Length(usize),
    /// It has these bytes at this place.
    Data { at: usize, bytes: Vec<u8> },
}

impl Piece {
    /// Makes it happen to bytes.
    pub(super) fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Length(len) => to.resize(*len, 0),
            Self::Data { at, bytes } => {
                let end = at.saturating_add(bytes.len());
                if to.len() < end {
                    to.resize(end, 0);
                }
                if let Some(slot) = to.get_mut(*at..end) {
                    slot.copy_from_slice(bytes);
                }
            }
        }
    }
}
