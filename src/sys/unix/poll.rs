//! Readiness: of one socket, asked for with poll(2), and of many, watched for by a `mio::Poll`.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::time::Duration;

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};
#[cfg(any(target_os = "linux", target_os = "android"))]
use socket2::{Domain, Protocol, SockRef};

use super::super::poll_millis;
use super::BorrowedSocket;
#[cfg(any(target_os = "linux", target_os = "android"))]
use super::socket::socket_option;
use crate::events::WaitEvents;

/// Whether mio stops watching for what it has reported, until it is asked to watch again: above poll(2) and event
/// ports.
///
/// epoll(7) and kqueue(2) report each change. Where mio has neither, it keeps a list of its own, and takes out of it
/// what it has reported, and all of a socket that has failed or hung up. Hence:
///
/// - What is over has to be watched for again, by [`PollSource::reregister`]. Else what comes next goes unnoticed.
/// - The system doesn't take closed sockets out of that list: they have to leave it before. It is behind a lock, which
///   no signal handler can take.
///
/// A system that isn't named here counts as one that reports once: to ask in vain costs time, not to ask would cost
/// wakes.
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

/// Whether mio may report an event that was over before it polled.
pub(crate) const REPORTS_LATE: bool = false;

/// Whether mio's poll may return with nothing before its limit is over, unless a signal ends it.
pub(crate) const POLL_RETURNS_EARLY: bool = false;

/// Whether a read that returned less than asked for has emptied the socket, unless the wait before it reported an
/// exception (epoll(7), question 9). On a system where urgent data isn't watched for, the read may have stopped at it.
///
/// False with mio forced to poll(2), which then stands for the other systems.
pub(crate) const SHORT_READ_EMPTIES: bool = cfg!(all(
    any(target_os = "linux", target_os = "android"),
    not(mio_unsupported_force_poll_poll),
));

/// Whether a short read empties `socket`, as [`SHORT_READ_EMPTIES`] says: one of TCP over IPv4 or IPv6, and no other. A read of a Unix-domain socket stops
/// behind a message that carries descriptors, and before one of another sender, unix(7). Of vsock(7), SMC, MPTCP and of
/// what the kernel does above TCP, as TLS, nobody promises it.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn short_read_empties(socket: BorrowedSocket<'_>) -> bool {
    let asked = SockRef::from(&socket);
    let is_tcp = matches!(asked.domain(), Ok(Domain::IPV4 | Domain::IPV6))
        && matches!(asked.protocol(), Ok(Some(Protocol::TCP)));
    SHORT_READ_EMPTIES && is_tcp && has_nothing_above(socket)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn short_read_empties(_socket: BorrowedSocket<'_>) -> bool {
    SHORT_READ_EMPTIES
}

/// Whether a TCP socket has no protocol above TCP in the kernel.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn has_nothing_above(socket: BorrowedSocket<'_>) -> bool {
    // SAFETY: the option is a name of less than 16 bytes.
    let name = unsafe { socket_option(socket, libc::IPPROTO_TCP, libc::TCP_ULP, [0_u8; 16]) };
    match name {
        Ok(name) => name[0] == 0,
        // A kernel without any.
        Err(error) => error.raw_os_error() == Some(libc::ENOPROTOOPT),
    }
}

/// Whether a write that sent less than it was given has left no room: epoll(7), question 9.
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
        // mio has to watch for something. Errors and hang-ups are reported in any case.
        let interest = interest(events).unwrap_or(Interest::READABLE);
        match SourceFd(&self.0).register(registry, token, interest) {
            // What was closed under this number while others have a duplicate is still in the poll: epoll(7), question 6.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                SourceFd(&self.0).reregister(registry, token, interest)
            }
            result => result,
        }
    }

    /// Changes what is watched for, or watches for it again. What is ready at that moment is reported again.
    pub(crate) fn reregister(&mut self, registry: &Registry, token: Token, events: WaitEvents) -> io::Result<()> {
        let Some(interest) = interest(events) else {
            return Ok(());
        };
        match SourceFd(&self.0).reregister(registry, token, interest) {
            Err(error) if was_taken_out(&error) => SourceFd(&self.0).register(registry, token, interest),
            result => result,
        }
    }

    /// Takes the socket out of the poll. To be called with the socket open.
    pub(crate) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match SourceFd(&self.0).deregister(registry) {
            Err(error) if was_taken_out(&error) => Ok(()),
            result => result,
        }
    }
}

/// What mio has to watch for, for `events`. None if it can't watch for any of them.
fn interest(mut events: WaitEvents) -> Option<Interest> {
    // Urgent data is watched for, though no wait is for it, since it splits reads. Not where mio reports what is ready
    // as soon as it is asked to: there it reports the second part of a split read anyway, and would report urgent data
    // again and again.
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

/// Whether mio has taken out the socket itself, because it has failed or hung up.
fn was_taken_out(error: &io::Error) -> bool {
    REPORTS_ONCE && error.kind() == io::ErrorKind::NotFound
}

/// Whether mio counts limits in milliseconds, rounded up, while the system can do better: epoll_wait(2), ppoll(2).
const ROUNDS_UP: bool = cfg!(all(
    any(target_os = "linux", target_os = "android"),
    not(mio_unsupported_force_poll_poll),
));

/// Blocks in `poll` until something is reported or `timeout` is over, as exactly as the system can.
#[inline]
pub(crate) fn wait_in(poll: &mut Poll, reports: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
    match timeout {
        Some(timeout) if ROUNDS_UP && !beyond_millis(timeout).is_zero() => wait_exactly(poll, reports, timeout),
        timeout => poll.poll(reports, timeout),
    }
}

/// What is left of `time` without its whole milliseconds.
#[inline]
fn beyond_millis(time: Duration) -> Duration {
    Duration::from_nanos(u64::from(time.subsec_nanos() % 1_000_000))
}

#[cold]
fn wait_exactly(poll: &mut Poll, reports: &mut Events, timeout: Duration) -> io::Result<()> {
    let rest = beyond_millis(timeout);
    let whole = timeout - rest;
    if !whole.is_zero() {
        poll.poll(reports, Some(whole))?;
        if !reports.is_empty() {
            return Ok(());
        }
    }
    match wait_until_readable(poll, rest) {
        Err(error) if is_refused(&error) => poll.poll(reports, Some(rest)),
        waited => {
            waited?;
            poll.poll(reports, Some(Duration::ZERO))
        }
    }
}

/// Whether poll(2) refuses to look at even one descriptor, since the process may have none: one that locks itself in, by a
/// `RLIMIT_NOFILE` of zero.
fn is_refused(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINVAL)
}

/// Blocks until `poll` has something to report, or `timeout`, less than a second, is over.
#[cfg(all(
    any(target_os = "linux", target_os = "android"),
    not(mio_unsupported_force_poll_poll)
))]
fn wait_until_readable(poll: &Poll, timeout: Duration) -> io::Result<()> {
    let mut entry = libc::pollfd {
        fd: poll.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let timeout = libc::timespec {
        tv_sec: 0,
        tv_nsec: timeout.subsec_nanos() as libc::c_long,
    };
    // SAFETY: `entry` is one valid `pollfd`, as the count says, and a null pointer changes no signal mask.
    let count = unsafe { libc::ppoll(&mut entry, 1, &timeout, ptr::null()) };
    if count < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(not(all(
    any(target_os = "linux", target_os = "android"),
    not(mio_unsupported_force_poll_poll)
)))]
fn wait_until_readable(_poll: &Poll, _timeout: Duration) -> io::Result<()> {
    Ok(())
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
        return match nothing_or_error() {
            Err(error) if is_refused(&error) => select(socket, events, timeout),
            result => result,
        };
    }
    let broken = entry.revents & (libc::POLLERR | libc::POLLHUP) != 0;
    // What can't be polled doesn't block.
    let ready = broken || entry.revents & libc::POLLNVAL != 0;
    let mut found = WaitEvents::empty();
    found.set(WaitEvents::READ, ready || entry.revents & libc::POLLIN != 0);
    found.set(WaitEvents::WRITE, ready || entry.revents & libc::POLLOUT != 0);
    found.set(WaitEvents::EXCEPTION, broken || entry.revents & libc::POLLPRI != 0);
    Ok(found & events)
}

/// Does what [`poll`] does where that is refused. select(2) doesn't look at numbers from `FD_SETSIZE` on, and doesn't report a
/// hang-up as an exception.
#[cold]
fn select(socket: BorrowedSocket<'_>, events: WaitEvents, timeout: Option<Duration>) -> io::Result<WaitEvents> {
    const EACH: [WaitEvents; 3] = [WaitEvents::READ, WaitEvents::WRITE, WaitEvents::EXCEPTION];
    let fd = socket.as_raw_fd();
    if !usize::try_from(fd).is_ok_and(|fd| fd < libc::FD_SETSIZE) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: plain bits.
    let mut sets: [libc::fd_set; 3] = unsafe { mem::zeroed() };
    for (set, event) in sets.iter_mut().zip(EACH) {
        if events.contains(event) {
            // SAFETY: the number is one that a set has room for.
            unsafe { libc::FD_SET(fd, set) };
        }
    }
    let millis = poll_millis(timeout);
    let mut limit = libc::timeval {
        tv_sec: (millis / 1000).into(),
        tv_usec: (millis % 1000 * 1000) as _,
    };
    let limit = match timeout {
        Some(_) => &raw mut limit,
        None => ptr::null_mut(),
    };
    let [read, write, exception] = &mut sets;
    // SAFETY: the pointers are to three sets and, if there is a limit, to that.
    let count = unsafe { libc::select(fd + 1, read, write, exception, limit) };
    if count < 0 {
        return nothing_or_error();
    }
    let mut found = WaitEvents::empty();
    for (set, event) in sets.iter().zip(EACH) {
        // SAFETY: as above.
        found.set(event, unsafe { libc::FD_ISSET(fd, set) });
    }
    Ok(found)
}

/// The result of a call that has failed just now: a signal that has ended it is no error.
fn nothing_or_error() -> io::Result<WaitEvents> {
    let error = io::Error::last_os_error();
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(WaitEvents::empty()),
        _ => Err(error),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use socket2::{Socket, Type};

    use super::*;

    #[test]
    fn a_short_read_is_believed_of_plain_tcp_only() {
        for addr in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(addr) else {
                assert_ne!(addr, "127.0.0.1:0");
                continue;
            };
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            assert_eq!(short_read_empties(stream.as_fd()), SHORT_READ_EMPTIES, "{addr}");
            assert_eq!(short_read_empties(listener.as_fd()), SHORT_READ_EMPTIES, "{addr}");
            // With TLS above it, where the kernel has that.
            // SAFETY: the option is a name, and its length is given.
            let result = unsafe {
                libc::setsockopt(
                    stream.as_raw_fd(),
                    libc::IPPROTO_TCP,
                    libc::TCP_ULP,
                    c"tls".as_ptr().cast(),
                    3,
                )
            };
            assert!(result != 0 || !short_read_empties(stream.as_fd()), "{addr}");
        }
        // Others, as far as the kernel has them.
        for (domain, protocol) in [
            (libc::AF_UNIX, 0),
            (libc::AF_INET, libc::IPPROTO_MPTCP),
            (libc::AF_INET, libc::IPPROTO_SCTP),
            (libc::AF_VSOCK, 0),
            (43, 0), // AF_SMC
        ] {
            if let Ok(socket) = Socket::new(domain.into(), Type::STREAM, Some(protocol.into())) {
                assert!(!short_read_empties(socket.as_fd()), "{domain}, {protocol}");
            }
        }
    }
}
