//! Whether a socket is ready, asked for one and watched for by a `mio::Poll`.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use super::BorrowedSocket;
use crate::raw_wait::WaitEvents;

/// Whether a read that returned less than asked for has emptied the socket, unless the wait before it reported an
/// exception (epoll(7), question 9). Where urgent data isn't watched, it may just have stopped at that.
pub(crate) const SHORT_READ_EMPTIES: bool = !REPORTS_ONCE && cfg!(any(target_os = "linux", target_os = "android"));

/// Whether a socket that was reported is watched no more until [`PollSource::watch_again`]. epoll(7) and kqueue(2) report
/// every change. Where mio has neither, it polls, and leaves out what it has reported.
pub(crate) const REPORTS_ONCE: bool = cfg!(any(
    mio_unsupported_force_poll_poll,
    not(any(
        target_os = "linux",
        target_os = "android",
        target_os = "illumos",
        target_os = "redox",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "openbsd",
        target_os = "dragonfly",
        target_vendor = "apple",
    ))
));

/// Whether a socket has to be taken out of polls before it is closed: not where the system does that, but where mio has
/// a list of its own.
pub(crate) const UNWATCH_BEFORE_CLOSING: bool = REPORTS_ONCE;

/// What mio is to watch for `events`, which a level-triggered look calls ready.
pub(crate) fn interest(events: WaitEvents) -> Interest {
    let mut interest = None;
    let mut add = |more: Interest| {
        interest = Some(interest.map_or(more, |so_far: Interest| so_far | more));
    };
    if events.contains(WaitEvents::WRITE) {
        add(Interest::WRITABLE);
    }
    if events.intersects(WaitEvents::READ | WaitEvents::EXCEPTION) {
        add(Interest::READABLE);
        // Urgent data: not to be awaited, but to be known of, since it splits reads. Where it would have to be watched
        // for again, it would be told again and again.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if !REPORTS_ONCE {
            add(Interest::PRIORITY);
        }
    }
    interest.unwrap_or(Interest::READABLE)
}

/// A socket as polls watch it, by its number. It doesn't keep the socket open; closing that takes it out of all polls.
#[derive(Debug)]
pub(crate) struct PollSource(RawFd);

impl PollSource {
    pub(crate) fn new(socket: BorrowedSocket<'_>) -> PollSource {
        PollSource(socket.as_raw_fd())
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token, events: WaitEvents) -> io::Result<()> {
        SourceFd(&self.0).register(registry, token, interest(events))
    }

    /// Changes what is watched. Whatever is ready at that moment is reported afresh.
    pub(crate) fn reregister(&mut self, registry: &Registry, token: Token, events: WaitEvents) -> io::Result<()> {
        match SourceFd(&self.0).reregister(registry, token, interest(events)) {
            Err(error) if was_taken_out(&error) => self.register(registry, token, events),
            result => result,
        }
    }

    /// To be called with the socket open.
    pub(crate) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match SourceFd(&self.0).deregister(registry) {
            Err(error) if was_taken_out(&error) => Ok(()),
            result => result,
        }
    }

    /// To be called before a wait, when the socket was found ready for none of `events`: they are watched for again,
    /// whatever was reported.
    pub(crate) fn watch_again(&mut self, registry: &Registry, token: Token, events: WaitEvents) -> io::Result<()> {
        // Exceptions alone are watched for by way of what is readable, which is not to be told again and again.
        if REPORTS_ONCE && events.intersects(WaitEvents::READ | WaitEvents::WRITE) {
            let result = SourceFd(&self.0).reregister(registry, token, interest(events));
            return result.or_else(|error| if was_taken_out(&error) { Ok(()) } else { Err(error) });
        }
        Ok(())
    }
}

/// Whether mio, where it polls, has taken a socket out itself, since it has hung up.
fn was_taken_out(error: &io::Error) -> bool {
    REPORTS_ONCE && error.kind() == io::ErrorKind::NotFound
}

/// What `socket` is ready for now, or within `timeout`. May return early, with nothing.
pub(crate) fn poll(
    socket: BorrowedSocket<'_>,
    events: WaitEvents,
    timeout: Option<Duration>,
) -> io::Result<WaitEvents> {
    let mut wanted = 0;
    if events.contains(WaitEvents::READ) {
        wanted |= libc::POLLIN;
    }
    if events.contains(WaitEvents::WRITE) {
        wanted |= libc::POLLOUT;
    }
    if events.contains(WaitEvents::EXCEPTION) {
        wanted |= libc::POLLPRI;
    }
    let mut entry = libc::pollfd {
        fd: socket.as_raw_fd(),
        events: wanted,
        revents: 0,
    };
    let timeout = timeout.map_or(-1, |timeout| {
        let millis = timeout.as_nanos().div_ceil(1_000_000);
        libc::c_int::try_from(millis).unwrap_or(libc::c_int::MAX)
    });
    // SAFETY: `entry` is one valid `pollfd`, as the count says.
    let count = unsafe { libc::poll(&mut entry, 1, timeout) };
    if count < 0 {
        let error = io::Error::last_os_error();
        return match error.kind() {
            io::ErrorKind::Interrupted => Ok(WaitEvents::empty()),
            _ => Err(error),
        };
    }
    let broken = entry.revents & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0;
    let mut found = WaitEvents::empty();
    found.set(WaitEvents::READ, broken || entry.revents & libc::POLLIN != 0);
    found.set(WaitEvents::WRITE, broken || entry.revents & libc::POLLOUT != 0);
    found.set(WaitEvents::EXCEPTION, broken || entry.revents & libc::POLLPRI != 0);
    Ok(found & events)
}
