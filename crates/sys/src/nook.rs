//! Small memory in one place, for a process that is forked for every job.
//!
//! Each page that a child writes is copied for it, and then each that its parent writes again. The C
//! library's heap keeps what is free where it once was in use, so that a child which allocates a few
//! hundred bytes here and there writes a page for each. From [`open`] on a program whose allocator
//! is [`Nook`] gets small pieces side by side: a few pages are written, by parent and child alike.
//!
//! Pieces are powers of two, kept by size when they are free. When the nook is full, or for what is
//! large, the system's allocator serves.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of the nook. Those never used are never there.
const ROOM: usize = 128 << 10;
/// The smallest piece holds the link of a free one.
const SMALLEST: usize = 16;
/// The largest piece.
const LARGEST: usize = 16 << 10;
/// How much pieces are aligned, as [`Room`] is: whoever wants more goes to the system.
const ALIGNED: usize = 64;
/// Sizes of pieces.
const SIZES: usize = 11;

/// The allocator: `#[global_allocator] static NOOK: Nook = Nook;`.
#[derive(Clone, Copy, Debug)]
pub struct Nook;

/// Begins to use the nook, if it is this program's allocator. What was allocated before stays where
/// it is.
pub fn open() {
    OPEN.store(true, Ordering::Relaxed);
}

static OPEN: AtomicBool = AtomicBool::new(false);
static SHELF: Shelf = Shelf {
    busy: AtomicBool::new(false),
    index: UnsafeCell::new(Index { used: 0, free: [ptr::null_mut(); SIZES] }),
    room: UnsafeCell::new(Room([0; ROOM])),
};

/// The index stands before the room, in a page that is written anyway.
#[repr(C, align(4096))]
struct Shelf {
    busy: AtomicBool,
    index: UnsafeCell<Index>,
    room: UnsafeCell<Room>,
}

/// Aligned as much as any piece may want.
#[repr(C, align(64))]
struct Room([u8; ROOM]);

// SAFETY: `index` is touched only by who has turned `busy` on; `room` only by who was given a piece
// of it, and its free pieces only with the index.
unsafe impl Sync for Shelf {}

struct Index {
    /// Bytes of the room that have been given out once. Those after it are zero.
    used: usize,
    /// The first free piece of each size; its first bytes are the address of the next.
    free: [*mut u8; SIZES],
}

/// A piece, and whether it is known to be zero.
type Piece = (*mut u8, bool);

impl Shelf {
    /// Whether an address lies in the room.
    fn holds(&self, at: *mut u8) -> bool {
        let offset = at.addr().wrapping_sub(self.room.get().addr());
        offset < ROOM
    }

    /// A piece for a layout, if there is one and nobody else looks for one just now.
    fn take(&self, layout: Layout) -> Option<Piece> {
        let size = size_of_piece(layout)?;
        if self.busy.swap(true, Ordering::Acquire) {
            return None;
        }
        // SAFETY: we have turned `busy` on.
        let piece = unsafe { self.take_alone(size) };
        self.busy.store(false, Ordering::Release);
        piece
    }

    /// # Safety
    /// Nobody else uses the index.
    unsafe fn take_alone(&self, size: usize) -> Option<Piece> {
        // SAFETY: as the caller promises.
        let index = unsafe { &mut *self.index.get() };
        let free = index.free.get_mut(number(size))?;
        if !free.is_null() {
            let piece = *free;
            // SAFETY: a free piece holds the next one's address, written by `give`, and is aligned
            // to its size or more than an address needs.
            *free = unsafe { piece.cast::<*mut u8>().read() };
            return Some((piece, false));
        }
        let start = index.used.next_multiple_of(size.min(ALIGNED));
        let end = start.wrapping_add(size);
        if end > ROOM {
            return None;
        }
        index.used = end;
        // SAFETY: `start` lies in the room.
        Some((unsafe { self.room.get().cast::<u8>().add(start) }, true))
    }

    /// Takes a piece back.
    ///
    /// # Safety
    /// It was given out for this layout and is not used any more.
    unsafe fn give(&self, piece: *mut u8, layout: Layout) {
        let Some(size) = size_of_piece(layout) else { return };
        while self.busy.swap(true, Ordering::Acquire) {
            std::hint::spin_loop();
        }
        // SAFETY: we have turned `busy` on; the piece is ours now and holds an address.
        unsafe {
            let index = &mut *self.index.get();
            if let Some(free) = index.free.get_mut(number(size)) {
                piece.cast::<*mut u8>().write(*free);
                *free = piece;
            }
        }
        self.busy.store(false, Ordering::Release);
    }
}

/// How large a layout's piece is, if it gets one.
fn size_of_piece(layout: Layout) -> Option<usize> {
    let fits = layout.size() <= LARGEST && layout.align() <= ALIGNED;
    fits.then(|| layout.size().max(layout.align()).max(SMALLEST).next_power_of_two())
}

/// The place of a size among the sizes.
fn number(size: usize) -> usize {
    size.trailing_zeros().wrapping_sub(SMALLEST.trailing_zeros()) as usize
}

// SAFETY: a piece is given to one at a time, is as large and as aligned as its layout, and goes back
// to where it came from, which its address tells.
unsafe impl GlobalAlloc for Nook {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if OPEN.load(Ordering::Relaxed)
            && let Some((piece, _)) = SHELF.take(layout)
        {
            return piece;
        }
        // SAFETY: the caller's promise is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if OPEN.load(Ordering::Relaxed)
            && let Some((piece, zero)) = SHELF.take(layout)
        {
            if !zero {
                // SAFETY: the piece is as long as the layout.
                unsafe { piece.write_bytes(0, layout.size()) };
            }
            return piece;
        }
        // SAFETY: the caller's promise is the system's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is ours and the system's.
        unsafe { if SHELF.holds(at) { SHELF.give(at, layout) } else { System.dealloc(at, layout) } }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !SHELF.holds(at) {
            // SAFETY: the caller's promise is the system's.
            return unsafe { System.realloc(at, layout, size) };
        }
        // SAFETY: the caller promises that the size is a layout's.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if size_of_piece(wanted) == size_of_piece(layout) {
            return at;
        }
        // SAFETY: both are as long as the shorter of the two, and the old one is not used again.
        unsafe {
            let new = self.alloc(wanted);
            if !new.is_null() {
                ptr::copy_nonoverlapping(at, new, layout.size().min(size));
                self.dealloc(at, layout);
            }
            new
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    /// The nook is one for all, so this is one test.
    #[test]
    fn small_pieces_lie_side_by_side_are_used_again_and_never_overlap() {
        open();
        // SAFETY: every piece is used within its layout and given back once, with its layout.
        unsafe {
            let nook = Nook;
            let (one, two) = (nook.alloc(layout(20, 8)), nook.alloc(layout(30, 1)));
            assert!(SHELF.holds(one) && SHELF.holds(two));
            assert_eq!(two.addr() - one.addr(), 32);
            one.write_bytes(7, 20);
            two.write_bytes(9, 30);
            let same = nook.realloc(one, layout(20, 8), 32);
            assert_eq!(same, one);
            let grown = nook.realloc(one, layout(32, 8), 100);
            assert_ne!(grown, one);
            assert_eq!(std::slice::from_raw_parts(grown, 20), [7; 20]);
            let clean = nook.alloc_zeroed(layout(32, 8));
            assert_eq!(clean, one);
            assert_eq!(std::slice::from_raw_parts(clean, 32), [0; 32]);
            assert_eq!(std::slice::from_raw_parts(two, 30), [9; 30]);
            let odd = nook.alloc(layout(100, 64));
            assert_eq!(odd.addr() % 64, 0);
            assert!(!SHELF.holds(nook.alloc(layout(16, 4_096))));
            assert!(!SHELF.holds(nook.alloc(layout(LARGEST + 1, 1))));
            let many: Vec<*mut u8> = (0..40).map(|_| nook.alloc(layout(LARGEST, 8))).collect();
            assert!(many.iter().all(|piece| !piece.is_null()));
            let held = many.iter().filter(|piece| SHELF.holds(**piece)).count();
            assert_eq!(held, 7);
            many.iter().for_each(|piece| nook.dealloc(*piece, layout(LARGEST, 8)));
            assert!(SHELF.holds(nook.alloc(layout(LARGEST, 8))));
            let moved = nook.realloc(two, layout(30, 1), LARGEST * 2);
            assert!(!SHELF.holds(moved));
            assert_eq!(std::slice::from_raw_parts(moved, 30), [9; 30]);
        }
    }
}
