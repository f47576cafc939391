//! [`Waker`], which makes a poll return.

use std::io::{self, Read, Write};

use mio::unix::pipe;
use mio::{Interest, Registry, Token};

use super::REPORTS_ONCE;

/// Whether mio's waker can't be used: above poll(2) it takes a lock, which a signal handler can't, and a change of what
/// is watched can swallow its wakes. That of event ports is one system call, `port_send`.
const NEEDS_PIPE: bool = REPORTS_ONCE && cfg!(any(mio_unsupported_force_poll_poll, not(target_os = "solaris")));

/// Makes a poll return, from anywhere.
///
/// Async-signal-safe: a wake is one system call on a descriptor that was made before (`write` to an eventfd or a pipe,
/// `kevent` or `port_send`), and a `read` in the rare case that mio's counter or pipe is full.
#[derive(Debug)]
pub(crate) enum Waker {
    Mio(mio::Waker),
    Pipe {
        sender: pipe::Sender,
        receiver: pipe::Receiver,
    },
}

impl Waker {
    /// Makes the waker of the poll of `registry`, which reports wakes with `token`.
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Waker> {
        if !NEEDS_PIPE {
            return mio::Waker::new(registry, token).map(Waker::Mio);
        }
        let (sender, mut receiver) = pipe::new()?;
        registry.register(&mut receiver, token, Interest::READABLE)?;
        Ok(Waker::Pipe { sender, receiver })
    }

    pub(crate) fn wake(&self) {
        // It fails only on a descriptor that isn't open, and this one lives as long as `self`, or on a full pipe, whose
        // bytes wake the poll.
        let _ = match self {
            Waker::Mio(waker) => waker.wake(),
            Waker::Pipe { sender, .. } => (&*sender).write(&[1]).map(drop),
        };
    }

    /// Lets later wakes be reported. To be called when wakes were reported.
    pub(in crate::sys) fn reset(&self) {
        if let Waker::Pipe { receiver, .. } = self {
            // mio watches the pipe again when it has nothing more.
            let empty = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
            while !(&*receiver).read(&mut [0; 64]).is_err_and(empty) {}
        }
    }
}
