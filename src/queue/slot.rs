//! Where a subscription stands in its queue, and the token by which mio knows it.

use mio::Token;

/// The place of a subscription in the [`Table`](super::table::Table).
///
/// A place that is used again has another generation, so that a late report for one subscription is not taken for the
/// next one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) index: usize,
    pub(super) generation: usize,
}

/// How many bits of a token are the index: a million sockets where a token has 32 bits.
const INDEX_BITS: u32 = if usize::BITS >= 64 { 32 } else { 20 };

/// How many generations the other bits of a token can tell apart. After the last one comes the first again.
pub(super) const GENERATIONS: usize = 1 << (usize::BITS - INDEX_BITS);

/// The token of the queue's waker, which no slot has.
pub(super) const WAKER: Token = Token(usize::MAX);

impl Slot {
    pub(super) fn token(self) -> Token {
        Token(self.generation << INDEX_BITS | self.index)
    }

    pub(super) fn of(token: Token) -> Slot {
        Slot {
            index: token.0 & ((1 << INDEX_BITS) - 1),
            generation: token.0 >> INDEX_BITS,
        }
    }

    /// Whether the slot has a token of its own. If not, there are too many sockets.
    pub(super) fn fits_a_token(self) -> bool {
        self.index < 1 << INDEX_BITS && self.token() != WAKER
    }
}
