//! Where mio reports what a socket is ready for once, and not again before it is asked to: above poll(2) and event
//! ports.
//!
//! epoll(7) and kqueue(2) report each change. Above poll(2), mio takes out of its list what it has reported, and all of
//! a socket that has failed or hung up. So what is drained has to be *armed* again, or what comes next goes unnoticed.
//!
//! That list is mio's own, and the system doesn't take closed descriptors out of it: a socket must be taken out before
//! its descriptor is closed. And it is behind a lock. A signal handler can't touch it, and can't use `mio::Waker`,
//! which takes another lock; besides, a change of the list can swallow its wakes. So wakes come through a pipe.

use std::io::{self, Read, Write};
use std::os::fd::RawFd;

use mio::unix::{SourceFd, pipe};
use mio::{Interest, Registry, Token};

/// Whether this is such a place: those for which mio has `selector/poll.rs` or `selector/event_ports.rs`.
pub(crate) const ONE_SHOT: bool = cfg!(any(
    mio_unsupported_force_poll_poll,
    target_os = "aix",
    target_os = "cygwin",
    target_os = "fuchsia",
    target_os = "haiku",
    target_os = "hurd",
    target_os = "nto",
    target_os = "nuttx",
    target_os = "solaris",
    target_os = "vita",
));

/// Makes a poll return, from anywhere.
///
/// Async-signal-safe: a wake is one system call on a descriptor that was made before (`write` to an eventfd or a pipe,
/// or `kevent`), and a `read` in the rare case that the counter or pipe of mio's is full.
#[derive(Debug)]
pub(crate) enum Waker {
    Mio(mio::Waker),
    Pipe {
        sender: pipe::Sender,
        receiver: pipe::Receiver,
    },
}

impl Waker {
    /// One for the poll of `registry`, which reports wakes with `token`.
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Waker> {
        if !ONE_SHOT {
            return mio::Waker::new(registry, token).map(Waker::Mio);
        }
        let (sender, mut receiver) = pipe::new()?;
        registry.register(&mut receiver, token, Interest::READABLE)?;
        Ok(Waker::Pipe { sender, receiver })
    }

    pub(crate) fn wake(&self) {
        // It fails only on a descriptor that isn't there, and this one lives as long as `self`, or on a pipe that is
        // full: what is in it wakes.
        let _ = match self {
            Waker::Mio(waker) => waker.wake(),
            Waker::Pipe { sender, .. } => (&*sender).write(&[1]).map(drop),
        };
    }

    /// To be called when wakes were reported, so that later ones are.
    pub(crate) fn reset(&self) {
        if let Waker::Pipe { receiver, .. } = self {
            // mio arms the pipe again when it has nothing more.
            let empty = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
            while !(&*receiver).read(&mut [0; 64]).is_err_and(empty) {}
        }
    }
}

/// Has `registry` watch for `interest` what it watches for something else, or has reported.
pub(crate) fn watch_again(registry: &Registry, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
    let mut source = SourceFd(&fd);
    match registry.reregister(&mut source, token, interest) {
        // It has failed or hung up, and was taken out.
        Err(error) if ONE_SHOT && error.kind() == io::ErrorKind::NotFound => {
            registry.register(&mut source, token, interest)
        }
        result => result,
    }
}

/// Has `registry` watch it no more.
pub(crate) fn unwatch(registry: &Registry, fd: RawFd) -> io::Result<()> {
    match registry.deregister(&mut SourceFd(&fd)) {
        // As above.
        Err(error) if ONE_SHOT && error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
