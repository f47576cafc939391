//! Whether a socket is ready, asked for one and watched for by a `mio::Poll`.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use super::super::poll_millis;
use super::BorrowedSocket;
use crate::events::WaitEvents;

/// Whether mio watches no more for what it has reported, until it is asked to: above poll(2) and event ports.
///
/// epoll(7) and kqueue(2) report each change. Where mio has neither, it takes out of a list of its own what it has
/// reported, and all of a socket that has failed or hung up. Hence:
///
/// - Whatever is over has to be watched for again, by [`PollSource::reregister`], or what comes next goes unnoticed.
/// - The system doesn't take closed sockets out of that list: they have to leave it before. It is behind a lock, which
///   no signal handler can take.
///
/// A system that isn't named here is taken for such: to ask in vain costs time, not to ask would cost wakes.
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

/// Whether mio may report what was over before it polled.
pub(crate) const REPORTS_LATE: bool = false;

/// Whether mio's poll may return with nothing before its limit is over, unless a signal ends it.
pub(crate) const POLL_RETURNS_EARLY: bool = false;

/// Whether a read that returned less than asked for has emptied the socket, unless the wait before it reported an
/// exception (epoll(7), question 9). Where urgent data isn't watched, it may just have stopped at that.
///
/// Not with mio forced to poll(2), so that this stands for the other systems.
pub(crate) const SHORT_READ_EMPTIES: bool = cfg!(all(
    any(target_os = "linux", target_os = "android"),
    not(mio_unsupported_force_poll_poll),
));

/// Whether a write that sent less than it was given has left no room, as the same says.
pub(crate) const SHORT_WRITE_FILLS: bool = SHORT_READ_EMPTIES;

/// A socket as polls watch it, by its number. It doesn't keep the socket open; closing that takes it out of all polls,
/// unless mio [`REPORTS_ONCE`].
#[derive(Debug)]
pub(crate) struct PollSource(RawFd);

impl PollSource {
    pub(crate) fn new(socket: BorrowedSocket<'_>) -> PollSource {
        PollSource(socket.as_raw_fd())
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token, events: WaitEvents) -> io::Result<()> {
        // Something has to be watched for. Errors and hang-ups are reported in any case.
        let interest = interest(events).unwrap_or(Interest::READABLE);
        SourceFd(&self.0).register(registry, token, interest)
    }

    /// Changes what is watched for, or watches for it again. Whatever is ready at that moment is reported afresh.
    pub(crate) fn reregister(&mut self, registry: &Registry, token: Token, events: WaitEvents) -> io::Result<()> {
        let Some(interest) = interest(events) else {
            return Ok(());
        };
        match SourceFd(&self.0).reregister(registry, token, interest) {
            Err(error) if was_taken_out(&error) => SourceFd(&self.0).register(registry, token, interest),
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
}

/// What mio is to watch for `events`, which a level-triggered look calls ready. None if it can't watch for any.
fn interest(mut events: WaitEvents) -> Option<Interest> {
    // Urgent data: not to be awaited, but to be known of, since it splits reads. Where mio reports what is ready as
    // soon as it is asked to, the second part of a split read is; and urgent data would be again and again.
    if !REPORTS_ONCE && events.intersects(WaitEvents::READ | WaitEvents::EXCEPTION) {
        events |= WaitEvents::READ | WaitEvents::EXCEPTION;
    }
    let each = [
        (WaitEvents::WRITE, Interest::WRITABLE),
        (WaitEvents::READ, Interest::READABLE),
        #[cfg(any(target_os = "linux", target_os = "android"))]
        (WaitEvents::EXCEPTION, Interest::PRIORITY),
    ];
    let wanted = each.into_iter().filter(|(event, _)| events.contains(*event));
    wanted.map(|(_, interest)| interest).reduce(|all, more| all | more)
}

/// Whether mio has taken a socket out itself, which has failed or hung up.
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
    // SAFETY: `entry` is one valid `pollfd`, as the count says.
    let count = unsafe { libc::poll(&mut entry, 1, poll_millis(timeout)) };
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
