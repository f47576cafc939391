//! An address that doesn't answer.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

/// After so long a client has its answer if there is one. On Linux a queue of no length takes one client: of three, the
/// others fill it, however long that takes.
const ANSWERED: Duration = Duration::from_millis(if cfg!(target_os = "linux") { 20 } else { 100 });

/// An address whose clients get no answer: a listener with a queue that is full.
pub struct BlackHole {
    listener: socket2::Socket,
    clients: Mutex<Vec<socket2::Socket>>,
}

impl BlackHole {
    pub fn new() -> BlackHole {
        BlackHole::at("127.0.0.1:0".parse().unwrap()).unwrap()
    }

    /// Fails where the address can't be had.
    pub fn at(addr: SocketAddr) -> io::Result<BlackHole> {
        let domain = socket2::Domain::for_address(addr);
        let listener = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
        listener.bind(&addr.into())?;
        listener.listen(0)?;
        let hole = BlackHole {
            listener,
            clients: Mutex::default(),
        };
        // Two that hang on to the end of the queue show that it is full.
        let mut hanging = 0;
        while hanging < 2 {
            let clients: Vec<_> = (0..3).map(|_| hole.client()).collect::<io::Result<_>>()?;
            thread::sleep(ANSWERED);
            for client in &clients {
                match (client.take_error()?, client.peer_addr()) {
                    (None, Ok(_)) => {}
                    (None, Err(_)) => hanging += 1,
                    (Some(error), _) => panic!("neither an answer nor none: {error}"),
                }
            }
            hole.clients.lock().unwrap().extend(clients);
        }
        Ok(hole)
    }

    /// A client that has asked, and may have been answered.
    fn client(&self) -> io::Result<socket2::Socket> {
        let addr = self.listener.local_addr()?;
        let client = socket2::Socket::new(addr.domain(), socket2::Type::STREAM, None)?;
        client.set_nonblocking(true)?;
        match client.connect(&addr) {
            Err(error) if !is_under_way(&error) => panic!("neither an answer nor none: {error}"),
            _ => Ok(client),
        }
    }

    pub fn addr(&self) -> SocketAddr {
        self.listener.local_addr().unwrap().as_socket().unwrap()
    }

    /// Makes room in the queue, so that clients get their answers: when they ask again, a second or more later.
    pub fn relieve(&self) {
        self.listener.listen(128).unwrap();
        // Which changes nothing on Windows for a socket that listens already.
        if cfg!(windows) {
            let mut clients = self.clients.lock().unwrap();
            let count = clients.len();
            clients.clear();
            // Others in their places, since tests count descriptors.
            let other = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            clients.extend((0..count).map(|_| other()));
            self.listener.set_nonblocking(true).unwrap();
            while self.listener.accept().is_ok() {}
        }
    }
}

/// Whether this is what a connect that doesn't block says of a connection that is being made.
fn is_under_way(error: &io::Error) -> bool {
    #[cfg(unix)]
    let is_in_progress = error.raw_os_error() == Some(libc::EINPROGRESS);
    #[cfg(not(unix))]
    let is_in_progress = false;
    is_in_progress || error.kind() == ErrorKind::WouldBlock
}
