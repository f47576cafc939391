//! Unix-domain sockets, which Windows has since version 10, build 17063. Earlier systems don't support the address
//! family, and making a socket fails.

use std::io;
use std::path::PathBuf;

use socket2::{SockAddr, Socket};

use super::BorrowedSocket;

/// How many bytes the address of a Unix-domain socket has room for: `UNIX_PATH_MAX`, afunix.h.
pub(crate) const SUN_PATH: usize = 108;

pub(crate) fn abstract_address(_name: &[u8]) -> io::Result<SockAddr> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "no abstract namespace"))
}

/// Connects to a Unix-domain listener. It is refused if its queue is full.
pub(crate) fn connect_path(socket: &Socket, addr: &SockAddr) -> io::Result<()> {
    // In blocking mode, where the answer comes at once. In non-blocking mode it would be "would block", whatever it
    // will be.
    socket.set_nonblocking(false)?;
    socket.connect(addr)?;
    socket.set_nonblocking(true)
}

/// The path that a Unix-domain socket is bound to: not told by socket2 here.
pub(crate) fn path_of(_addr: &SockAddr) -> Option<PathBuf> {
    None
}

pub(crate) fn peer_pid(_socket: BorrowedSocket<'_>) -> io::Result<u32> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "not known on this system"))
}
