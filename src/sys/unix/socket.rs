//! Calls on one socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::{self, MaybeUninit};
#[cfg(not(target_vendor = "apple"))]
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
#[cfg(not(target_vendor = "apple"))]
use std::os::fd::FromRawFd;
#[cfg(not(target_vendor = "apple"))]
use std::ptr;

use socket2::{SockRef, Socket};

use super::super::Accepted;
use super::BorrowedSocket;
#[cfg(not(target_vendor = "apple"))]
use super::OwnedSocket;

/// More than any system grants; `listen(2)` cuts it down to what the system allows (`somaxconn`).
pub(crate) const MOST_BACKLOG: u32 = i32::MAX as u32;

/// The BSDs and Apple's systems keep the seconds in this few bits, and refuse or cut off more.
pub(crate) const MOST_LINGER: u64 = if cfg!(any(target_os = "linux", target_os = "android")) {
    i32::MAX as u64
} else {
    i16::MAX as u64
};

/// Makes a stream socket. socket2 makes all sockets close-on-exec, and free of SIGPIPE where that is an option.
pub(crate) fn socket(domain: socket2::Domain) -> io::Result<Socket> {
    #[cfg(not(any(target_vendor = "apple", target_os = "solaris")))]
    return Socket::new(domain, socket2::Type::STREAM.nonblocking(), None);
    // Where socket2 doesn't offer that.
    #[cfg(any(target_vendor = "apple", target_os = "solaris"))]
    {
        let socket = Socket::new(domain, socket2::Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }
}

/// Sets whether `socket` may be bound where old connections still linger: `SO_REUSEADDR`, socket(7).
pub(crate) fn set_reuse_address(socket: &Socket, reuse: bool) -> io::Result<()> {
    socket.set_reuse_address(reuse)
}

/// Makes `socket` a listener. `backlog` clients may wait to be accepted.
pub(crate) fn listen(socket: &Socket, backlog: u32) -> io::Result<()> {
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))
}

/// Takes a connection off the listener's queue.
#[cfg(not(target_vendor = "apple"))]
pub(crate) fn accept(listener: BorrowedSocket<'_>) -> io::Result<Accepted> {
    // socket2 doesn't ask `accept4` for SOCK_NONBLOCK: that would take two system calls more for each connection.
    const FLAGS: libc::c_int = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: plain numbers.
    let mut addr: libc::sockaddr_in6 = unsafe { mem::zeroed() };
    let mut len = size_of_val(&addr) as libc::socklen_t;
    // SAFETY: the pointers are to room for so long an address, of which one that is longer is cut off, and to its size.
    let fd = unsafe { libc::accept4(listener.as_raw_fd(), (&raw mut addr).cast(), &mut len, FLAGS) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Accepted {
        // SAFETY: `accept4` has just made it, so it is open and no other code has it.
        socket: unsafe { OwnedSocket::from_raw_fd(fd) },
        peer: with_port(&addr),
    })
}

/// The address that `addr` has room for, if it is one of IPv6 or IPv4.
#[cfg(not(target_vendor = "apple"))]
fn with_port(addr: &libc::sockaddr_in6) -> Option<SocketAddr> {
    match addr.sin6_family.into() {
        libc::AF_INET6 => Some(SocketAddr::V6(SocketAddrV6::new(
            addr.sin6_addr.s6_addr.into(),
            u16::from_be(addr.sin6_port),
            addr.sin6_flowinfo,
            addr.sin6_scope_id,
        ))),
        libc::AF_INET => {
            // SAFETY: so the family says, and it is the shorter one.
            let addr = unsafe { &*ptr::from_ref(addr).cast::<libc::sockaddr_in>() };
            let ip = u32::from_be(addr.sin_addr.s_addr).into();
            Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(addr.sin_port))))
        }
        _ => None,
    }
}

/// Takes a connection off the listener's queue, on systems without `accept4`.
#[cfg(target_vendor = "apple")]
pub(crate) fn accept(listener: BorrowedSocket<'_>) -> io::Result<Accepted> {
    // Not socket2's `accept`: it sets `SO_NOSIGPIPE`, too, and its error would be that of accept(2).
    let (socket, addr) = SockRef::from(&listener).accept_raw()?;
    socket.set_cloexec(true)?;
    socket.set_nonblocking(true)?;
    match socket.set_nosigpipe(true) {
        Ok(()) => Ok(Accepted {
            socket: socket.into(),
            peer: addr.as_socket(),
        }),
        Err(error) if is_of_ended_connection(&error) => Err(io::Error::from_raw_os_error(libc::ECONNABORTED)),
        Err(error) => Err(error),
    }
}

/// Whether an option was refused since both directions of the connection have ended: setsockopt(2) of macOS, `EINVAL`.
#[cfg(target_vendor = "apple")]
fn is_of_ended_connection(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINVAL)
}

/// How bytes are sent: without SIGPIPE, and without waiting, whatever others who have the socket, too, have made of its
/// `O_NONBLOCK`.
#[cfg(not(target_vendor = "apple"))]
const SENDING: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
#[cfg(target_vendor = "apple")]
const SENDING: libc::c_int = libc::MSG_DONTWAIT; // and SO_NOSIGPIPE

/// How bytes are received: without waiting, whatever others have made of the socket's `O_NONBLOCK`.
const RECEIVING: libc::c_int = libc::MSG_DONTWAIT;

/// Sends what fits, without SIGPIPE.
#[inline(always)]
pub(crate) fn send(socket: BorrowedSocket<'_>, data: &[u8]) -> io::Result<usize> {
    let len = data.len().min(MOST_AT_ONCE);
    // SAFETY: the pointer is to at least as many bytes as said.
    count_of(unsafe { libc::send(socket.as_raw_fd(), data.as_ptr().cast(), len, SENDING) })
}

/// Sends what fits of `slices`, of which there are at most [`MOST_SLICES`], one behind the other.
pub(crate) fn send_vectored(socket: BorrowedSocket<'_>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    if let (Some(first), true) = (slices.first(), exceeds_most(slices.iter().map(|slice| slice.len()))) {
        return send(socket, first);
    }
    SockRef::from(&socket).send_vectored_with_flags(slices, SENDING)
}

/// Takes what there is, as much as `buf` has room for. Zero means the end of the stream, if there is room.
#[inline(always)]
pub(crate) fn receive(socket: BorrowedSocket<'_>, buf: &mut [u8]) -> io::Result<usize> {
    let len = buf.len().min(MOST_AT_ONCE);
    // SAFETY: the pointer is to memory for at least as many bytes as said.
    count_of(unsafe { libc::recv(socket.as_raw_fd(), buf.as_mut_ptr().cast(), len, RECEIVING) })
}

/// Copies what there is, as much as `buf` has room for, and leaves it there.
pub(crate) fn peek(socket: BorrowedSocket<'_>, buf: &mut [u8]) -> io::Result<usize> {
    let len = buf.len().min(MOST_AT_ONCE);
    let flags = RECEIVING | libc::MSG_PEEK;
    // SAFETY: the pointer is to memory for at least as many bytes as said.
    count_of(unsafe { libc::recv(socket.as_raw_fd(), buf.as_mut_ptr().cast(), len, flags) })
}

/// Takes what there is into `slices`, of which there are at most [`MOST_SLICES`], one after the other. Zero means the end of
/// the stream, if there is room.
pub(crate) fn receive_vectored(socket: BorrowedSocket<'_>, slices: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    if exceeds_most(slices.iter().map(|slice| slice.len())) {
        return match slices.first_mut() {
            Some(first) => receive(socket, first),
            None => Ok(0),
        };
    }
    // SAFETY: plain numbers and pointers, of which null ones stand for nothing.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    // The standard library's slices are `iovec`s.
    message.msg_iov = slices.as_mut_ptr().cast();
    message.msg_iovlen = slices.len() as _;
    // SAFETY: the message has pointers to as many slices as said, and these to memory for as many bytes as they say.
    count_of(unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, RECEIVING) })
}

/// How many slices one call takes: `IOV_MAX`, or what sendmsg(3C) of illumos and Solaris allows.
pub(crate) const MOST_SLICES: usize = if cfg!(any(target_os = "illumos", target_os = "solaris")) {
    16
} else {
    1024
};

/// Whether slices of these lengths are more than one call takes.
fn exceeds_most(mut lens: impl Iterator<Item = usize>) -> bool {
    lens.try_fold(0_usize, |all, len| {
        all.checked_add(len).filter(|all| *all <= MOST_AT_ONCE)
    })
    .is_none()
}

/// Takes what there is, as much as `room` is for. Nothing means the end of the stream, if there is room.
#[inline(always)]
pub(crate) fn receive_into_room<'a>(
    socket: BorrowedSocket<'_>,
    room: &'a mut [MaybeUninit<u8>],
) -> io::Result<&'a [u8]> {
    let len = room.len().min(MOST_AT_ONCE);
    // SAFETY: the pointer is to room for at least as many bytes as said.
    let count = count_of(unsafe { libc::recv(socket.as_raw_fd(), room.as_mut_ptr().cast(), len, RECEIVING) })?;
    // SAFETY: `recv` has written so many bytes.
    Ok(unsafe { room[..count].assume_init_ref() })
}

/// More bytes than this are refused by some systems: read(2), write(2) of macOS.
const MOST_AT_ONCE: usize = if cfg!(target_vendor = "apple") {
    libc::c_int::MAX as usize - 1
} else {
    libc::ssize_t::MAX as usize
};

/// What `send` or `recv` has returned: a count or, if it is negative, that there is an error.
#[inline(always)]
fn count_of(returned: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(returned).map_err(|_| io::Error::last_os_error())
}

/// Readies a socket that was made elsewhere.
pub(crate) fn adopt(socket: &Socket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    #[cfg(target_vendor = "apple")]
    if let Err(error) = socket.set_nosigpipe(true)
        && !is_of_ended_connection(&error)
    {
        return Err(error);
    }
    Ok(())
}

/// Whether calls on `socket` block: others that have it, too, may have cleared its `O_NONBLOCK`, which belongs to the open
/// file description, open(2).
pub(crate) fn may_block(socket: BorrowedSocket<'_>) -> bool {
    // SAFETY: a plain system call on a borrowed descriptor.
    let flags = unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_GETFL) };
    flags & libc::O_NONBLOCK == 0
}

/// Whether `socket` listens: socket(7), `SO_ACCEPTCONN`.
pub(crate) fn is_listener(socket: BorrowedSocket<'_>) -> bool {
    let no: libc::c_int = 0;
    // SAFETY: the option is an `int`.
    let listens = unsafe { socket_option(socket, libc::SOL_SOCKET, libc::SO_ACCEPTCONN, no) };
    listens.is_ok_and(|listens| listens != 0)
}

/// Whether what ends a socket may be a signal handler, which may neither free memory nor take locks.
pub(crate) const HANDLERS_INTERRUPT: bool = true;

/// How many descriptors this process may have: getrlimit(2), `RLIMIT_NOFILE`.
pub(crate) fn most_descriptors() -> usize {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: a pointer to a valid `rlimit`.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    match result {
        0 => usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX),
        _ => usize::MAX,
    }
}

/// Whether closing waits for `SO_LINGER` only if the socket is a blocking one.
pub(crate) const LINGERS_IF_BLOCKING: bool = !cfg!(any(target_os = "linux", target_os = "android"));

/// Asks for an option's value.
///
/// # Safety
///
/// `T` must be the type of the option's value, and plain data of which any bytes are a value.
pub(super) unsafe fn socket_option<T>(
    socket: BorrowedSocket<'_>,
    level: libc::c_int,
    option: libc::c_int,
    mut value: T,
) -> io::Result<T> {
    let mut size = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the pointers are to the value, whose type the caller says is right, and to its size.
    let result = unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut value).cast(), &mut size) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(value)
}
