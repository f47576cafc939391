//! Unix-domain sockets, unix(7).

#[cfg(any(target_os = "linux", target_os = "android"))]
use std::ffi::OsStr;
use std::io;
use std::mem::ManuallyDrop;
use std::ops::Deref;
#[cfg(target_os = "android")]
use std::os::android::net::SocketAddrExt;
use std::os::fd::{AsRawFd, FromRawFd};
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{SockAddr, Socket};

#[cfg(any(target_os = "linux", target_os = "android"))]
use super::super::invalid;
use super::BorrowedSocket;
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
use super::socket::socket_option;

/// The address of a Unix-domain socket in the abstract namespace.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn abstract_address(name: &[u8]) -> io::Result<SockAddr> {
    // The system would accept the empty name, which all programs that forgot to give one would share.
    if name.is_empty() {
        return Err(invalid("empty name"));
    }
    any_abstract_address(name)
}

/// The address of a Unix-domain socket in the abstract namespace, whose name may be empty.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn any_abstract_address(name: &[u8]) -> io::Result<SockAddr> {
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

/// How many bytes the address of a Unix-domain socket has room for: unix(7), `sun_path`.
pub(crate) const SUN_PATH: usize = size_of::<libc::sockaddr_un>() - std::mem::offset_of!(libc::sockaddr_un, sun_path);

/// The path that a Unix-domain socket is bound to.
pub(crate) fn path_of(addr: &SockAddr) -> Option<PathBuf> {
    addr.as_pathname().map(Path::to_path_buf)
}

/// The address of this end, in the standard library's type.
pub(crate) fn unix_local_addr(socket: BorrowedSocket<'_>) -> io::Result<SocketAddr> {
    as_stream(socket).local_addr()
}

/// The address of the other end, in the standard library's type.
pub(crate) fn unix_peer_addr(socket: BorrowedSocket<'_>) -> io::Result<SocketAddr> {
    as_stream(socket).peer_addr()
}

/// Lends a socket to the standard library: only that makes its addresses of whatever the system gives. Those that programs can
/// make leave room for a NUL, and the system's may have none.
fn as_stream<'a>(socket: BorrowedSocket<'a>) -> impl Deref<Target = UnixStream> + use<'a> {
    // SAFETY: the descriptor is open for as long as the result lives, which doesn't close it.
    ManuallyDrop::new(unsafe { UnixStream::from_raw_fd(socket.as_raw_fd()) })
}

/// The address in socket2's type.
pub(crate) fn from_unix_addr(addr: &SocketAddr) -> io::Result<SockAddr> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(name) = addr.as_abstract_name() {
        return any_abstract_address(name);
    }
    SockAddr::unix(addr.as_pathname().unwrap_or(Path::new("")))
}

/// Connects to a Unix-domain listener. `WouldBlock` if its queue is full: connect(2), `EAGAIN`.
pub(crate) fn connect_path(socket: &Socket, addr: &SockAddr) -> io::Result<()> {
    socket.connect(addr)
}

/// The process at the other end of a Unix-domain connection.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn peer_pid(socket: BorrowedSocket<'_>) -> io::Result<u32> {
    let no_one = libc::ucred { pid: 0, uid: 0, gid: 0 };
    // SAFETY: for SO_PEERCRED, socket(7), the value is a `ucred`, which is plain numbers.
    let peer = unsafe { socket_option(socket, libc::SOL_SOCKET, libc::SO_PEERCRED, no_one) }?;
    known_pid(peer.pid)
}

#[cfg(target_vendor = "apple")]
pub(crate) fn peer_pid(socket: BorrowedSocket<'_>) -> io::Result<u32> {
    let no_one: libc::pid_t = 0;
    // SAFETY: for LOCAL_PEERPID, the value is a `pid_t`.
    let pid = unsafe { socket_option(socket, libc::SOL_LOCAL, libc::LOCAL_PEERPID, no_one) }?;
    known_pid(pid)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
pub(crate) fn peer_pid(_socket: BorrowedSocket<'_>) -> io::Result<u32> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "not known on this system"))
}

/// Refuses 0: that is a process of a name space that this one can't see into, or the peer of a TCP connection.
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn known_pid(pid: libc::pid_t) -> io::Result<u32> {
    match u32::try_from(pid) {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "no process is known")),
    }
}
