//! What clean parents say.

#[allow(dead_code, reason = "only its codec is called")]
#[path = "../../crates/sys/src/brood/word.rs"]
pub(crate) mod word;

/// A word decoded and encoded; `None` if it is none.
pub(crate) fn again(bytes: &[u8]) -> Option<Vec<u8>> {
    word::Event::decode(bytes).map(|event| event.encode().to_vec())
}
