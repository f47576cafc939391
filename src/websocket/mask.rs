//! Masks, RFC 6455, section 5.3.

use std::cell::RefCell;
use std::io;

thread_local! {
    /// Masks that are still to be used, and how many of these bytes were: the system is asked for many at once.
    static MASKS: RefCell<([u8; 1024], usize)> = const { RefCell::new(([0; 1024], 1024)) };
}

/// A mask that nobody can guess, RFC 6455, section 10.3: from the system's generator.
pub(super) fn random_mask() -> io::Result<[u8; 4]> {
    MASKS.with_borrow_mut(|(masks, used)| {
        if *used == masks.len() {
            getrandom::fill(masks).map_err(io::Error::other)?;
            *used = 0;
        }
        let mask = [masks[*used], masks[*used + 1], masks[*used + 2], masks[*used + 3]];
        *used += 4;
        Ok(mask)
    })
}

/// What is masked from an address on that processors like, if it is long.
const LONG: usize = 256;
const ALIGNMENT: usize = 16;

/// A mask, twice. The next byte's is the lowest one.
#[derive(Debug)]
pub(super) struct Mask(u64);

impl Mask {
    pub(super) fn new(mask: [u8; 4]) -> Mask {
        let mask = u64::from(u32::from_le_bytes(mask));
        Mask(mask << 32 | mask)
    }

    /// Masks or unmasks `bytes`, which follow those of the last call.
    #[inline]
    pub(super) fn apply(&mut self, bytes: &mut [u8]) {
        if self.0 == 0 {
            return;
        }
        let unaligned = match bytes.len() {
            ..LONG => 0,
            // A quarter faster than across lines of the cache.
            _ => bytes.as_ptr().align_offset(ALIGNMENT).min(bytes.len()),
        };
        let (unaligned, bytes) = bytes.split_at_mut(unaligned);
        self.apply_bytewise(unaligned);
        let (words, rest) = bytes.as_chunks_mut::<8>();
        for word in words {
            *word = (u64::from_le_bytes(*word) ^ self.0).to_le_bytes();
        }
        self.apply_bytewise(rest);
    }

    #[inline]
    fn apply_bytewise(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte ^= self.0 as u8;
            self.0 = self.0.rotate_right(8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_goes_on_where_it_stopped() {
        let mask = [1, 2, 3, 4];
        let expected: Vec<u8> = (0..3 * LONG).map(|at| mask[at % 4]).collect();
        for piece in (1..40).chain(LONG - 2..LONG + 20) {
            let mut bytes = [0; 3 * LONG];
            let mut state = Mask::new(mask);
            bytes.chunks_mut(piece).for_each(|piece| state.apply(piece));
            assert_eq!(bytes, expected[..], "{piece}");
        }
    }
}
