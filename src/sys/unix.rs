//! Unix.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use mio::Interest;
use socket2::{SockAddr, SockRef, Socket};

use crate::raw_wait::WaitEvents;

/// More than any system grants; `listen(2)` cuts it down to what the system allows (`somaxconn`).
pub(crate) const MOST_BACKLOG: u32 = i32::MAX as u32;

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
        // Urgent data: not to be awaited, but to be known of, since it splits reads.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        add(Interest::PRIORITY);
    }
    interest.unwrap_or(Interest::READABLE)
}

/// Whether a read that returned less than asked for has emptied the socket, unless the wait before it reported an
/// exception (epoll(7), question 9). Where urgent data can't be watched, it may just have stopped at that.
pub(crate) const SHORT_READ_EMPTIES: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// Whether a write that sent less than it was given has left no room, as the same says.
pub(crate) const SHORT_WRITE_FILLS: bool = SHORT_READ_EMPTIES;

/// What `socket` is ready for now, or within `timeout`. May return early, with nothing.
pub(crate) fn poll(socket: &impl AsFd, events: WaitEvents, timeout: Option<Duration>) -> io::Result<WaitEvents> {
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
        fd: socket.as_fd().as_raw_fd(),
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

/// Takes a connection off the listener's queue.
#[cfg(not(target_vendor = "apple"))]
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // socket2 doesn't ask `accept4` for SOCK_NONBLOCK: that would take two system calls more for each connection.
    // SAFETY: null pointers ask for no address.
    let fd = unsafe {
        libc::accept4(
            listener.as_raw_fd(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `accept4` has just made it, so it is open and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The same where there is no `accept4`.
#[cfg(target_vendor = "apple")]
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let (socket, _) = SockRef::from(&listener).accept()?;
    adopt(&socket)?;
    Ok(socket.into())
}

/// Whether an error of `accept` speaks of a connection that broke before it was accepted, so that the next one may do:
/// accept(2), "Error handling".
pub(crate) fn is_aborted_connection(error: &io::Error) -> bool {
    let Some(code) = error.raw_os_error() else {
        return false;
    };
    #[cfg(target_os = "linux")]
    if code == libc::ENONET {
        return true;
    }
    matches!(
        code,
        libc::ECONNABORTED
            | libc::EPROTO
            | libc::ENOPROTOOPT
            | libc::ENETDOWN
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
    )
}

/// Whether `connect` has only begun: connect(2), `EINPROGRESS`; `EAGAIN` never, which on a Unix-domain socket means
/// that the queue is full.
pub(crate) fn is_in_progress(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINPROGRESS)
}

/// Whether the system had no descriptor or memory left for what was asked.
pub(crate) fn is_scarcity(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS | libc::ENOSPC)
    )
}

/// Makes a stream socket. socket2 makes all sockets close-on-exec, and free of SIGPIPE where that is an option.
pub(crate) fn socket(domain: socket2::Domain) -> io::Result<Socket> {
    #[cfg(not(target_vendor = "apple"))]
    return Socket::new(domain, socket2::Type::STREAM.nonblocking(), None);
    #[cfg(target_vendor = "apple")]
    {
        let socket = Socket::new(domain, socket2::Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }
}

/// Lets clients come, of whom so many may wait.
pub(crate) fn listen(socket: &Socket, backlog: u32) -> io::Result<()> {
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))
}

/// The address of a Unix-domain socket in the file system.
pub(crate) fn path_address(path: &Path) -> io::Result<SockAddr> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.is_empty() {
        return Err(invalid("empty path"));
    }
    if bytes.contains(&0) {
        return Err(invalid("path with a NUL in it"));
    }
    // Room for the NUL that ends it.
    if bytes.len() >= SUN_PATH {
        return Err(invalid("path too long"));
    }
    SockAddr::unix(path)
}

/// The address of a Unix-domain socket in the abstract namespace.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn abstract_address(name: &[u8]) -> io::Result<SockAddr> {
    // The system would take it, for a name that everybody shares who has forgotten his.
    if name.is_empty() {
        return Err(invalid("empty name"));
    }
    // Behind the NUL that makes it abstract.
    if name.len() >= SUN_PATH {
        return Err(invalid("name too long"));
    }
    let mut path = vec![0];
    path.extend_from_slice(name);
    SockAddr::unix(OsStr::from_bytes(&path))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn abstract_address(_name: &[u8]) -> io::Result<SockAddr> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "no abstract namespace"))
}

/// How many bytes an address of a Unix-domain socket has room for: unix(7), `sun_path`.
const SUN_PATH: usize = size_of::<libc::sockaddr_un>() - std::mem::offset_of!(libc::sockaddr_un, sun_path);

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// The process at the other end of a Unix-domain connection.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn peer_pid(socket: &impl AsFd) -> io::Result<u32> {
    let no_one = libc::ucred { pid: 0, uid: 0, gid: 0 };
    // SAFETY: for SO_PEERCRED, socket(7), the value is a `ucred`, which is plain numbers.
    let peer = unsafe { socket_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, no_one) }?;
    known_pid(peer.pid)
}

#[cfg(target_vendor = "apple")]
pub(crate) fn peer_pid(socket: &impl AsFd) -> io::Result<u32> {
    let no_one: libc::pid_t = 0;
    // SAFETY: for LOCAL_PEERPID, the value is a `pid_t`.
    let pid = unsafe { socket_option(socket.as_fd(), libc::SOL_LOCAL, libc::LOCAL_PEERPID, no_one) }?;
    known_pid(pid)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
pub(crate) fn peer_pid(_socket: &impl AsFd) -> io::Result<u32> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "not known on this system"))
}

/// A process of a name space that this one can't see into has no number here, and the peer of a TCP connection none at
/// all: 0.
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn known_pid(pid: libc::pid_t) -> io::Result<u32> {
    match u32::try_from(pid) {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "no process is known")),
    }
}

/// Asks for an option's value.
///
/// # Safety
///
/// `T` must be the type of the option's value, and plain data of which any bytes are a value.
unsafe fn socket_option<T>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    mut value: T,
) -> io::Result<T> {
    let mut size = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the pointers are to the value, which is of the right type, says the caller, and to its size.
    let result = unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut value).cast(), &mut size) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(value)
}

/// Sends what fits, without SIGPIPE.
pub(crate) fn send(socket: BorrowedFd<'_>, data: &[u8]) -> io::Result<usize> {
    #[cfg(target_vendor = "apple")]
    const FLAGS: libc::c_int = 0; // SO_NOSIGPIPE instead
    #[cfg(not(target_vendor = "apple"))]
    const FLAGS: libc::c_int = libc::MSG_NOSIGNAL;
    SockRef::from(&socket).send_with_flags(data, FLAGS)
}

/// Readies a socket that was made elsewhere, or accepted.
pub(crate) fn adopt(socket: &Socket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    #[cfg(target_vendor = "apple")]
    socket.set_nosigpipe(true)?;
    Ok(())
}

/// Whether `socket` listens: socket(7), `SO_ACCEPTCONN`.
pub(crate) fn is_listener(socket: BorrowedFd<'_>) -> bool {
    let no: libc::c_int = 0;
    // SAFETY: the option is an `int`.
    let listens = unsafe { socket_option(socket, libc::SOL_SOCKET, libc::SO_ACCEPTCONN, no) };
    listens.is_ok_and(|listens| listens != 0)
}

/// Lets go of the socket behind `fd`, whose number stays taken by something dead.
///
/// Async-signal-safe: `socket`, `dup2`, `fcntl`, `close` and `shutdown` are, by signal-safety(7).
pub(crate) fn replace(fd: BorrowedFd<'_>) {
    let fd = fd.as_raw_fd();
    // An unconnected socket: what somebody still does with it fails.
    #[cfg(not(target_vendor = "apple"))]
    const KIND: libc::c_int = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    #[cfg(target_vendor = "apple")]
    const KIND: libc::c_int = libc::SOCK_STREAM;
    // SAFETY: a plain system call.
    let dead = unsafe { libc::socket(libc::AF_UNIX, KIND, 0) };
    let replaced = dead >= 0 && {
        // SAFETY: `dead` was made just now, and `fd` is borrowed.
        let replaced = unsafe { duplicate_over(dead, fd) };
        // SAFETY: `dead` is nobody else's.
        unsafe { libc::close(dead) };
        replaced
    };
    if !replaced {
        // No descriptor left for that. The peer sees the end of the stream all the same, and a listener, on Linux,
        // stops listening; what is left goes with the number.
        // SAFETY: a plain system call on a borrowed descriptor.
        unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
    }
}

/// `dup2` with close-on-exec.
unsafe fn duplicate_over(from: RawFd, to: RawFd) -> bool {
    #[cfg(not(target_vendor = "apple"))]
    // SAFETY: a plain system call; both are open, says the caller.
    return unsafe { libc::dup3(from, to, libc::O_CLOEXEC) } >= 0;
    #[cfg(target_vendor = "apple")]
    // SAFETY: as above.
    return unsafe { libc::dup2(from, to) } >= 0 && {
        // SAFETY: as above.
        unsafe { libc::fcntl(to, libc::F_SETFD, libc::FD_CLOEXEC) };
        true
    };
}

/// Makes closing return at once, with what is unsent left to the system; if closing is to reset, it still does.
///
/// The system is asked, since options are inherited from listeners and set behind our back. Async-signal-safe:
/// `getsockopt` and `setsockopt` are.
pub(crate) fn dont_linger(fd: BorrowedFd<'_>) {
    let socket = SockRef::from(&fd);
    if let Ok(Some(limit)) = socket.linger()
        && !limit.is_zero()
    {
        // It can only fail for a peer that is gone already, and then closing doesn't wait.
        let _ = socket.set_linger(None);
    }
}

/// A descriptor for those who have none: never open, so that every call on it fails with `EBADF`.
pub(crate) fn no_descriptor() -> BorrowedFd<'static> {
    // SAFETY: no system gives out so high a number (Linux: `fs.nr_open` has to stay below it), so it never comes to
    // mean a file that somebody closes.
    unsafe { BorrowedFd::borrow_raw(RawFd::MAX) }
}

/// Runs `work` and puts errno back to what it was: for whatever may run in a signal handler.
pub(crate) fn keep_errno<T>(work: impl FnOnce() -> T) -> T {
    let before = errno::errno();
    let result = work();
    errno::set_errno(before);
    result
}

/// Whether a socket was given the very port it was to connect to, and so has found itself there.
pub(crate) fn is_connected_to_itself(socket: &impl AsFd) -> bool {
    let socket = SockRef::from(socket);
    match (socket.local_addr(), socket.peer_addr()) {
        (Ok(own), Ok(peer)) => own.as_socket().is_some() && own.as_socket() == peer.as_socket(),
        _ => false,
    }
}

/// Runs `action` in a handler for `signal`, beside the handlers that others have installed.
///
/// `action` must be async-signal-safe; it stays installed for the life of the process.
#[cfg(feature = "signal")]
pub(crate) fn on_signal(signal: i32, action: impl Fn() + Send + Sync + 'static) -> io::Result<()> {
    if signal_hook::consts::FORBIDDEN.contains(&signal) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: the only caller's action is `ShutdownRegistry::raise`, which is async-signal-safe: see `registry.rs`.
    unsafe { signal_hook::low_level::register(signal, move || keep_errno(&action)) }?;
    Ok(())
}
