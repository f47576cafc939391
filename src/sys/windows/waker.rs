//! [`Waker`], which makes a poll return.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use mio::{Registry, Token};

/// Makes a poll return, from anywhere, by posting to its completion port.
///
/// The port keeps every wake, and returns no more of them at once than the poll has room for: the rest would end later
/// waits. So nothing is posted while a wake has yet to be reported.
#[derive(Debug)]
pub(crate) struct Waker {
    waker: mio::Waker,
    is_posted: AtomicBool,
}

impl Waker {
    /// Makes the waker of the poll of `registry`, which reports wakes with `token`.
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Waker> {
        Ok(Waker {
            waker: mio::Waker::new(registry, token)?,
            is_posted: AtomicBool::new(false),
        })
    }

    pub(crate) fn wake(&self) {
        if !self.is_posted.swap(true, SeqCst) && self.waker.wake().is_err() {
            // The system had no memory for it. The next wake tries again.
            self.is_posted.store(false, SeqCst);
        }
    }

    /// Lets later wakes be reported. To be called when wakes were reported. A thread that has made a wake before this
    /// has published its change, which the caller sees after this.
    pub(in crate::sys) fn reset(&self) {
        self.is_posted.swap(false, SeqCst);
    }
}
