//! Makes a poll return.

use std::io;

use mio::{Registry, Token};

/// Makes a poll return, from anywhere, by posting to its completion port.
#[derive(Debug)]
pub(crate) struct Waker(mio::Waker);

impl Waker {
    /// One for the poll of `registry`, which reports wakes with `token`.
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Waker> {
        mio::Waker::new(registry, token).map(Waker)
    }

    pub(crate) fn wake(&self) {
        // It fails only on a port that isn't there, and this one lives as long as `self`.
        let _ = self.0.wake();
    }

    /// To be called when wakes were reported, so that later ones are.
    pub(crate) fn reset(&self) {
        // Each wake is reported for itself.
    }
}
