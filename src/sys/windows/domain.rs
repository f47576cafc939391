//! Unix-domain sockets, which Windows has since version 10, build 17063. Earlier systems don't support the address
//! family, and making a socket fails.

use std::io;
use std::path::Path;

use socket2::{SockAddr, Socket};

use super::BorrowedSocket;

/// The address of a Unix-domain socket in the file system.
pub(crate) fn path_address(path: &Path) -> io::Result<SockAddr> {
    let bytes = path.as_os_str().as_encoded_bytes();
    if bytes.is_empty() {
        return Err(invalid("empty path"));
    }
    if bytes.contains(&0) {
        return Err(invalid("path with a NUL in it"));
    }
    SockAddr::unix(path)
}

pub(crate) fn abstract_address(_name: &[u8]) -> io::Result<SockAddr> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "no abstract namespace"))
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// Connects to a Unix-domain listener. It is refused if its queue is full.
pub(crate) fn connect_path(socket: &Socket, addr: &SockAddr) -> io::Result<()> {
    // In blocking mode, where the answer comes at once. In non-blocking mode it would be "would block", whatever it
    // will be.
    socket.set_nonblocking(false)?;
    socket.connect(addr)?;
    socket.set_nonblocking(true)
}

pub(crate) fn peer_pid(_socket: BorrowedSocket<'_>) -> io::Result<u32> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "not known on this system"))
}
