//! An address that answers nobody.

use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

use crate::proc::connecting_to;
use crate::running::eventually;

/// A listener whose queue is full, so that who connects to it waits.
pub struct BlackHole {
    listener: Socket,
    hanging: Vec<Socket>,
}

impl BlackHole {
    pub fn new() -> BlackHole {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener
            .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
            .unwrap();
        listener.listen(0).unwrap();
        let mut hole = BlackHole {
            listener,
            hanging: Vec::new(),
        };
        // Of these, one or two are in the queue, and the others hang.
        for _ in 0..4 {
            let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            let _ = client.connect(&hole.listener.local_addr().unwrap());
            hole.hanging.push(client);
        }
        eventually("the queue is full", || connecting_to(hole.port()) >= 2);
        hole
    }

    pub fn port(&self) -> u16 {
        let addr = self.listener.local_addr().unwrap();
        addr.as_socket().unwrap().port()
    }

    pub fn until_another_hangs(&self) {
        // By another process: all that hang, without ours.
        eventually("somebody connects in vain", || {
            connecting_to(self.port()) > self.own_hanging()
        });
    }

    fn own_hanging(&self) -> usize {
        let is_connected = |client: &&Socket| client.peer_addr().is_ok();
        self.hanging.len() - self.hanging.iter().filter(is_connected).count()
    }
}
