//! Sockets, most of them forever idle.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use wakesock::TcpSocket;

use crate::support::peers::pair;

/// Sockets to wait among, and who writes to some of them.
pub struct Crowd {
    pub sockets: Vec<TcpSocket>,
    /// Those that are written to, evenly spread.
    active: Vec<usize>,
    writers: Vec<TcpStream>,
}

impl Crowd {
    /// Puts new sockets that will be active among those that are idle.
    pub fn gather(idle: Vec<TcpSocket>, active: usize) -> Crowd {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut crowd = Crowd {
            sockets: Vec::with_capacity(idle.len() + active),
            active: Vec::with_capacity(active),
            writers: Vec::with_capacity(active),
        };
        let share = idle.len() / active;
        let mut idle = idle.into_iter();
        for _ in 0..active {
            let (near, far) = pair(&listener);
            crowd.sockets.extend(idle.by_ref().take(share / 2));
            crowd.active.push(crowd.sockets.len());
            crowd.sockets.push(member(far));
            crowd.sockets.extend(idle.by_ref().take(share - share / 2));
            crowd.writers.push(near);
        }
        crowd.sockets.extend(idle);
        crowd
    }

    /// Gives the idle ones back.
    pub fn dissolve(mut self) -> Vec<TcpSocket> {
        for index in self.active.into_iter().rev() {
            self.sockets.remove(index);
        }
        self.sockets
    }

    /// Writes a byte to each of the active ones: how many they are.
    pub fn stir(&mut self) -> usize {
        for writer in &mut self.writers {
            writer.write_all(b"x").unwrap();
        }
        self.writers.len()
    }
}

/// As many sockets as this on which nothing ever happens.
pub fn idle(count: usize) -> Vec<TcpSocket> {
    (0..count).map(|_| member(idle_listener())).collect()
}

fn member(socket: impl Into<socket2::Socket>) -> TcpSocket {
    let mut member = TcpSocket::new();
    member.attach(socket).unwrap();
    member.timeout(Duration::ZERO);
    member
}

/// A listener that nobody knows of: not a connection, so that it takes one descriptor and not two.
fn idle_listener() -> socket2::Socket {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    // unix(7), "Autobind feature": listening gives it a name in the abstract namespace.
    socket.bind(&socket2::SockAddr::unix("").unwrap()).unwrap();
    socket.listen(1).unwrap();
    socket
}
