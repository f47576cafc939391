//! Makes a poll return.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use mio::{Registry, Token};

/// Makes a poll return, from anywhere, by posting to its completion port.
///
/// The port would keep each wake for itself, and hand out no more of them at once than the poll has room for: the rest
/// would end waits that come later. So nothing is posted while a wake is still to be reported.
#[derive(Debug)]
pub(crate) struct Waker {
    waker: mio::Waker,
    is_posted: AtomicBool,
}

impl Waker {
    /// One for the poll of `registry`, which reports wakes with `token`.
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Waker> {
        Ok(Waker {
            waker: mio::Waker::new(registry, token)?,
            is_posted: AtomicBool::new(false),
        })
    }

    pub(crate) fn wake(&self) {
        if !self.is_posted.swap(true, SeqCst) && self.waker.wake().is_err() {
            // The system had no memory for it. The next one tries again.
            self.is_posted.store(false, SeqCst);
        }
    }

    /// To be called when wakes were reported, so that later ones are. Whoever has made one before sees to it that what
    /// it tells is seen after this.
    pub(in crate::sys) fn reset(&self) {
        self.is_posted.swap(false, SeqCst);
    }
}
