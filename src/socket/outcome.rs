//! What the last operation has come to.

/// How many bytes the last operation has moved, and whether it ran out of time: one word, so that to note both is one
/// store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome(usize);

/// The lowest bit. The others count: memory has fewer bytes than they can count.
const TIMED_OUT: usize = 1;

impl Outcome {
    /// It has moved `count` bytes, in time.
    #[inline]
    pub(super) fn moved(count: usize) -> Outcome {
        Outcome(count << 1)
    }

    pub(super) fn done(self) -> usize {
        self.0 >> 1
    }

    pub(super) fn is_timeout(self) -> bool {
        self.0 & TIMED_OUT != 0
    }

    pub(super) fn set_timeout(&mut self) {
        self.0 |= TIMED_OUT;
    }

    /// Notes how much was moved in all.
    pub(super) fn set_done(&mut self, count: usize) {
        self.0 = count << 1 | self.0 & TIMED_OUT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_noted_apart() {
        let mut outcome = Outcome::moved(3);
        assert!(outcome.done() == 3 && !outcome.is_timeout());
        outcome.set_timeout();
        outcome.set_done(7);
        assert!(outcome.done() == 7 && outcome.is_timeout());
        assert_eq!(Outcome::default(), Outcome::moved(0));
    }
}
