//! Records ended by a NUL: the field's oldest framing (`F<sender>\0T<recip>\0…`).

use alloc::vec::Vec;

/// Appends `field` and its NUL. A NUL inside the field would split it: the caller has checked.
pub fn put(out: &mut Vec<u8>, field: &[u8]) {
    debug_assert!(!field.contains(&0), "a text0 field holds no NUL");
    out.extend_from_slice(field);
    out.push(0);
}

/// The fields of a text0 block, in order.
///
/// `None` if the block does not end in a NUL (it was cut short); an empty block has no fields.
pub fn fields(block: &[u8]) -> Option<impl Iterator<Item = &[u8]> + Clone> {
    let body = match block.split_last() {
        None => None,
        Some((0, body)) => Some(body),
        Some(_) => return None,
    };
    Some(body.into_iter().flat_map(|b| b.split(|&c| c == 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_comes_back() {
        let mut block = Vec::new();
        for f in [&b"a"[..], b"", b"bc"] {
            put(&mut block, f);
        }
        assert!(fields(&block).unwrap().eq([&b"a"[..], b"", b"bc"]));
        assert_eq!(fields(b"").unwrap().count(), 0);
        assert!(fields(b"cut").is_none());
    }
}
