//! Finding the next byte that matters, many bytes at a time.

/// Bytes looked at together; the compiler makes vector instructions of it.
const BLOCK: usize = 32;

/// Where the first `a` or `b` is.
pub(crate) fn either(hay: &[u8], a: u8, b: u8) -> Option<usize> {
    let hit = |c: &u8| (*c == a) | (*c == b);
    let (blocks, tail) = hay.as_chunks::<BLOCK>();
    let mut start = 0_usize;
    for block in blocks {
        // No early exit inside a block: that is what keeps it a handful of instructions.
        if block.iter().fold(false, |seen, c| seen | hit(c)) {
            return block.iter().position(hit).map(|at| start.saturating_add(at));
        }
        start = start.saturating_add(BLOCK);
    }
    tail.iter().position(hit).map(|at| start.saturating_add(at))
}

/// Where the first `a` is.
pub(crate) fn first(hay: &[u8], a: u8) -> Option<usize> {
    either(hay, a, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_hit_is_found_wherever_it_lies() {
        for len in 0..100 {
            let mut hay = [b'x'; 100];
            assert_eq!(either(&hay[..len], b'\r', b'\n'), None);
            for at in (0..len).rev() {
                hay[at] = if at % 2 == 0 { b'\r' } else { b'\n' };
                assert_eq!(either(&hay[..len], b'\r', b'\n'), Some(at));
            }
        }
    }
}
