//! Whom a connection is with, and how errors say so.

use std::borrow::Cow;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use socket2::{SockAddr, SockRef};

use super::Opening;
use crate::error::Error;
use crate::sys;

/// The address of the other end, if it has one with a port.
///
/// It is set once, before the socket is open, and every accepted connection has one. So it is a few plain stores, where a
/// `OnceLock` would be a hundred instructions.
#[derive(Debug, Default)]
pub(super) struct Peer {
    /// [`V4`] or [`V6`] and the port, or zero.
    family_and_port: AtomicU32,
    /// Of four words, an address of IPv4 takes the first.
    ip: [AtomicU32; 4],
    flowinfo: AtomicU32,
    scope_id: AtomicU32,
}

const V4: u32 = 4 << 16;
const V6: u32 = 6 << 16;

impl Peer {
    fn set(&self, addr: SocketAddr) {
        let port = u32::from(addr.port());
        match addr {
            SocketAddr::V4(addr) => {
                self.ip[0].store(addr.ip().to_bits(), Relaxed);
                self.family_and_port.store(V4 | port, Relaxed);
            }
            SocketAddr::V6(addr) => {
                let bits = addr.ip().to_bits();
                for (word, shift) in self.ip.iter().zip([96, 64, 32, 0]) {
                    word.store((bits >> shift) as u32, Relaxed);
                }
                self.flowinfo.store(addr.flowinfo(), Relaxed);
                self.scope_id.store(addr.scope_id(), Relaxed);
                self.family_and_port.store(V6 | port, Relaxed);
            }
        }
    }

    fn get(&self) -> Option<SocketAddr> {
        let word = self.family_and_port.load(Relaxed);
        let (family, port) = (word & !0xffff, word as u16);
        match family {
            V4 => {
                let ip = Ipv4Addr::from_bits(self.ip[0].load(Relaxed));
                Some(SocketAddr::new(ip.into(), port))
            }
            V6 => {
                let bits = self
                    .ip
                    .iter()
                    .fold(0, |bits, word| bits << 32 | u128::from(word.load(Relaxed)));
                let (flowinfo, scope_id) = (self.flowinfo.load(Relaxed), self.scope_id.load(Relaxed));
                Some(SocketAddrV6::new(Ipv6Addr::from_bits(bits), port, flowinfo, scope_id).into())
            }
            _ => None,
        }
    }
}

impl Opening {
    /// Notes the address of the other end, if it has one, for as long as the opening is there: also when the connection is
    /// gone. To be called before the socket is open.
    pub(crate) fn set_peer(&self, addr: Option<SocketAddr>) {
        if let Some(addr) = addr {
            self.peer.set(addr);
        }
    }

    /// The address of the other end, as far as it was noted.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.peer.get()
    }

    /// An error of `operation`, a name that a `preposition` leads from to the other end.
    #[cold]
    pub(crate) fn io_error(&self, operation: &'static str, preposition: &str, source: io::Error) -> Error {
        Error::io(self.named(operation, preposition), source)
    }

    /// The name of an operation with its object: the other end or, of a listener, its own address.
    #[cold]
    pub(crate) fn named(&self, operation: &'static str, preposition: &str) -> Cow<'static, str> {
        let (preposition, object) = if self.is_listener() {
            ("on", self.ask(|socket| socket.local_addr()))
        } else if let Some(peer) = self.peer() {
            (preposition, Some(peer.to_string()))
        } else {
            (preposition, self.ask(|socket| socket.peer_addr()))
        };
        match object {
            Some(object) => format!("{operation} {preposition} {object}").into(),
            None => operation.into(),
        }
    }

    /// Asks the system for an address that has a text: that of a port, or a path.
    fn ask(&self, ask: impl FnOnce(&SockRef<'_>) -> io::Result<SockAddr>) -> Option<String> {
        let in_use = self.enter_even_aborted().ok()?;
        let addr = ask(&SockRef::from(&in_use.socket())).ok()?;
        match addr.as_socket() {
            Some(addr) => Some(addr.to_string()),
            None => sys::path_of(&addr).map(|path| path.display().to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_as_it_was_noted() {
        assert_eq!(Peer::default().get(), None);
        for text in [
            "0.0.0.0:0",
            "192.0.2.7:5010",
            "255.255.255.255:65535",
            "[::]:0",
            "[2001:db8:0102:0304:0506:0708:090a:0b0c]:443",
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
        ] {
            let peer = Peer::default();
            let mut addr: SocketAddr = text.parse().unwrap();
            peer.set(addr);
            assert_eq!(peer.get(), Some(addr));
            if let SocketAddr::V6(with_scope) = &mut addr {
                with_scope.set_scope_id(u32::MAX - 1);
                with_scope.set_flowinfo(7);
                peer.set(addr);
                assert_eq!(peer.get(), Some(addr));
            }
        }
    }
}
