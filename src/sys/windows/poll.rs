//! Readiness: of one socket, asked for with `WSAPoll`, and of many, watched for by a `mio::Poll`.

use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::os::windows::io::{AsRawSocket, FromRawSocket, IntoRawSocket};
use std::time::Duration;

use mio::event::Source;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};
use windows_sys::Win32::Networking::WinSock;

use super::super::poll_millis;
use super::BorrowedSocket;
use crate::events::WaitEvents;

/// Whether mio stops watching for what it has reported, until it is asked to watch again.
///
/// mio would watch again by itself after an operation of its own has found nothing, which never happens here. Hence:
///
/// - What is over has to be watched for again, by [`PollSource::reregister`]. Else what comes next goes unnoticed.
/// - mio may start another poll operation on a socket's number whenever it polls. So a socket has to be taken out
///   before it is closed: afterwards the number may be another socket's.
pub(crate) const REPORTS_ONCE: bool = true;

/// Whether mio may report an event that was over before it polled: the completion port keeps earlier reports.
pub(crate) const REPORTS_LATE: bool = true;

/// Whether mio's poll may return with nothing before its limit is over. It does for each poll operation that ends
/// because its socket was taken out.
pub(crate) const POLL_RETURNS_EARLY: bool = true;

/// Whether a read that returned less than asked for has emptied the socket. The system's documentation doesn't say so.
pub(crate) const SHORT_READ_EMPTIES: bool = false;

/// Whether a short read empties `socket`, as [`SHORT_READ_EMPTIES`] says.
pub(crate) fn short_read_empties(_socket: BorrowedSocket<'_>) -> bool {
    SHORT_READ_EMPTIES
}

/// Whether a write that sent less than it was given has left no room. The system's documentation doesn't say so.
pub(crate) const SHORT_WRITE_FILLS: bool = false;

/// A socket as one poll watches it: a stream of mio that doesn't own its socket. It doesn't keep the socket open, and
/// has to be deregistered or dropped before the socket is closed.
///
/// mio asks nothing of the socket that only a connection has, so a listener may be watched like this, too.
pub(crate) struct PollSource(ManuallyDrop<TcpStream>);

impl PollSource {
    pub(crate) fn new(socket: BorrowedSocket<'_>) -> PollSource {
        // SAFETY: the stream doesn't close the socket, because of `drop` below, and makes calls on it only while it is
        // registered. It is taken out, or dropped, before the socket is closed: see `REPORTS_ONCE`.
        let stream = unsafe { TcpStream::from_raw_socket(socket.as_raw_socket()) };
        PollSource(ManuallyDrop::new(stream))
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token, events: WaitEvents) -> io::Result<()> {
        // mio has to watch for something. Aborted connections are reported in any case.
        let interest = interest(events).unwrap_or(Interest::READABLE);
        self.0.register(registry, token, interest)
    }

    /// Changes what is watched for, or watches for it again. What is ready at that moment is reported again.
    pub(crate) fn reregister(&mut self, registry: &Registry, token: Token, events: WaitEvents) -> io::Result<()> {
        match interest(events) {
            Some(interest) => self.0.reregister(registry, token, interest),
            None => Ok(()),
        }
    }

    /// Takes the socket out of the poll. To be called with the socket open.
    pub(crate) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.0.deregister(registry)
    }
}

/// What mio has to watch for, for `events`. None if it can't watch for any of them: it has no urgent data.
fn interest(events: WaitEvents) -> Option<Interest> {
    let read = events.contains(WaitEvents::READ).then_some(Interest::READABLE);
    let write = events.contains(WaitEvents::WRITE).then_some(Interest::WRITABLE);
    read.into_iter().chain(write).reduce(|all, more| all | more)
}

impl Drop for PollSource {
    fn drop(&mut self) {
        // SAFETY: it is not used any more.
        let stream = unsafe { ManuallyDrop::take(&mut self.0) };
        // Takes the socket out of the poll, and leaves it open.
        let _ = stream.into_raw_socket();
    }
}

impl fmt::Debug for PollSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PollSource").field(&self.0.as_raw_socket()).finish()
    }
}

/// Blocks in `poll` until something is reported or `timeout` is over, which the system counts in milliseconds.
pub(crate) fn wait_in(poll: &mut Poll, reports: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
    poll.poll(reports, timeout)
}

/// What `socket` is ready for now, or within `timeout`. May return early, with nothing.
pub(crate) fn poll(
    socket: BorrowedSocket<'_>,
    events: WaitEvents,
    timeout: Option<Duration>,
) -> io::Result<WaitEvents> {
    // Not POLLPRI, which WSAPoll refuses: urgent data is POLLRDBAND.
    let mut wanted = 0;
    if events.contains(WaitEvents::READ) {
        wanted |= WinSock::POLLRDNORM;
    }
    if events.contains(WaitEvents::WRITE) {
        wanted |= WinSock::POLLWRNORM;
    }
    if events.contains(WaitEvents::EXCEPTION) {
        wanted |= WinSock::POLLRDBAND;
    }
    let mut entry = WinSock::WSAPOLLFD {
        fd: socket.as_raw_socket() as WinSock::SOCKET,
        events: wanted,
        revents: 0,
    };
    // SAFETY: `entry` is one valid `WSAPOLLFD`, as the count says.
    let count = unsafe { WinSock::WSAPoll(&mut entry, 1, poll_millis(timeout)) };
    if count < 0 {
        return Err(io::Error::last_os_error());
    }
    let says = |flags| entry.revents & flags != 0;
    let broken = says(WinSock::POLLERR | WinSock::POLLNVAL);
    let mut found = WaitEvents::empty();
    // WSAPoll reports the end of what the peer sends as a hang-up: that is something to read, and no exception.
    let readable = says(WinSock::POLLRDNORM | WinSock::POLLHUP);
    found.set(WaitEvents::READ, broken || readable);
    found.set(WaitEvents::WRITE, broken || says(WinSock::POLLWRNORM));
    found.set(WaitEvents::EXCEPTION, broken || says(WinSock::POLLRDBAND));
    Ok(found & events)
}
