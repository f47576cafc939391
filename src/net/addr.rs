//! Connects and listens where a program says, in any of the forms of an address.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use super::errors::bare;
use crate::host::Given;
use crate::socket::{ListenOptions, TcpSocket};

/// Connects `socket` to one of the addresses of `addr`. Whatever ends the socket ends the look-up of a name, too.
pub(super) fn connect<A: ToSocketAddrs>(socket: &mut TcpSocket, addr: A) -> io::Result<()> {
    match Given::of(&addr) {
        Some(Given {
            host, port: Some(port), ..
        }) => socket.connect(host, port),
        // It is an address, which needs no look-up; or none, which `all` says.
        _ => socket.connect_to(&all(addr)?),
    }
    .map_err(bare)
}

/// Makes `socket` a listener on the first of the addresses of `addr` that the system grants.
pub(super) fn listen<A: ToSocketAddrs>(socket: &mut TcpSocket, addr: A) -> io::Result<()> {
    let options = ListenOptions::default();
    match Given::of(&addr) {
        // So the error says which name was not found.
        Some(Given { port: Some(_), .. }) => socket.listen_on(addr, &options),
        _ => socket.listen_on(&all(addr)?[..], &options),
    }
    .map_err(bare)
}

fn all(addr: impl ToSocketAddrs) -> io::Result<Vec<SocketAddr>> {
    let addrs: Vec<_> = addr.to_socket_addrs()?.collect();
    if addrs.is_empty() {
        let why = "could not resolve to any addresses";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Ok(addrs)
}
