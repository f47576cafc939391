//! A connection with somebody in the middle, who passes on what he likes and when he likes.
//!
//! What is sent is with him at once, and what he gives is there at once: so a test says which bytes have come. Where there
//! are no Unix-domain sockets that is true of Linux's loopback, under Wine.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use socket2::SockRef;
use wakesock::rustls::ClientConfig;
use wakesock::{Error, ShutdownRegistry, TcpSocket};

use crate::support::certificates::{NAME, client_config, server_config};
use crate::support::{Blocked, PATIENCE, Stream, block, stream_pair};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Client,
    Server,
}

pub(crate) const BOTH: [Who; 2] = [Who::Client, Who::Server];

impl Who {
    pub(crate) fn other(self) -> Who {
        match self {
            Who::Client => Who::Server,
            Who::Server => Who::Client,
        }
    }
}

pub(crate) type Run = fn(&mut TcpSocket) -> Result<(), Error>;

/// What goes on with a handshake that isn't over.
pub(crate) const IN_HANDSHAKE: [(&str, Run); 6] = [
    ("wait_tls", |socket| socket.wait_tls()),
    ("get", |socket| socket.get_byte().map(drop)),
    ("put", |socket| socket.put(b"!").map(drop)),
    ("wait_request", |socket| socket.wait_request().map(drop)),
    ("get_line", |socket| socket.get_line().map(drop)),
    ("wait and get", |socket| {
        // That it has failed is something to read.
        socket.wait_read()?;
        socket.get_byte().map(drop)
    }),
];

pub(crate) struct Middle {
    client: Stream,
    server: Stream,
}

/// Both ends of a connection, and who is in the middle.
pub(crate) struct Party {
    pub(crate) client: TcpSocket,
    pub(crate) server: TcpSocket,
    pub(crate) middle: Middle,
}

impl Party {
    /// A plain connection.
    pub(crate) fn plain() -> Party {
        Party::plain_in(ShutdownRegistry::global())
    }

    /// A plain connection whose sockets are in `registry`.
    pub(crate) fn plain_in(registry: &ShutdownRegistry) -> Party {
        Party::made(registry, |_, _| {})
    }

    /// A plain connection whose sockets are prepared before they are open.
    pub(crate) fn plain_with(prepare: impl Fn(Who, &mut TcpSocket)) -> Party {
        Party::made(ShutdownRegistry::global(), prepare)
    }

    fn made(registry: &ShutdownRegistry, prepare: impl Fn(Who, &mut TcpSocket)) -> Party {
        let end = |who| {
            let (own, middle) = stream_pair().unwrap();
            middle.set_nonblocking(true).unwrap();
            let mut socket = TcpSocket::with_registry(registry);
            prepare(who, &mut socket);
            socket.attach(own).unwrap();
            socket.timeout(PATIENCE);
            (socket, middle)
        };
        let ((client, to_client), (server, to_server)) = (end(Who::Client), end(Who::Server));
        let middle = Middle {
            client: to_client,
            server: to_server,
        };
        Party { client, server, middle }
    }

    /// The handshake has begun: the client's hello is on its way, and nothing has come yet.
    pub(crate) fn begun(self) -> Party {
        self.begun_by(&client_config())
    }

    /// The handshake has begun, with what this client wants.
    pub(crate) fn begun_by(mut self, config: &Arc<ClientConfig>) -> Party {
        assert_waits(&self.begin(config));
        self
    }

    /// The handshake has begun; none if the client's limit for it is over already.
    pub(crate) fn begun_in_time(mut self) -> Option<Party> {
        match self.begin(&client_config()) {
            Err(Error::HandshakeTimeout) => None,
            begun => {
                assert_waits(&begun);
                Some(self)
            }
        }
    }

    /// Begins the handshake. Returns what the client says to that.
    fn begin(&mut self, config: &Arc<ClientConfig>) -> Result<(), Error> {
        for socket in [&mut self.client, &mut self.server] {
            socket.timeout(Duration::ZERO);
        }
        let begun = self.client.start_tls(NAME, config);
        assert_waits(&self.server.start_tls_server(&server_config()));
        for socket in [&mut self.client, &mut self.server] {
            socket.timeout(PATIENCE);
        }
        begun
    }

    /// The handshake is over, and what belongs to it has come.
    pub(crate) fn shaken(self) -> Party {
        self.begun().shake_on()
    }

    /// The handshake that has begun goes on until it is over.
    pub(crate) fn shake_on(self) -> Party {
        let (mut party, tickets) = self.shake_but_tickets();
        party.middle.give(Who::Client, &tickets);
        party.client.timeout(Duration::ZERO);
        assert_waits(&party.client.get_byte());
        party.client.timeout(PATIENCE);
        party
    }

    /// The handshake goes on until it is over, but for the server's tickets, which are to come.
    pub(crate) fn shake_but_tickets(self) -> (Party, Vec<u8>) {
        let mut party = self;
        for socket in [&mut party.client, &mut party.server] {
            socket.timeout(Duration::ZERO);
        }
        loop {
            let results = [party.client.wait_tls(), party.server.wait_tls()];
            if results.iter().all(Result::is_ok) {
                break;
            }
            for result in results {
                assert!(matches!(result, Ok(()) | Err(Error::Timeout)), "{result:?}");
            }
            party.middle.pass();
        }
        for socket in [&mut party.client, &mut party.server] {
            socket.timeout(PATIENCE);
        }
        let tickets = party.middle.taken(Who::Server);
        (party, tickets)
    }

    pub(crate) fn end(&mut self, who: Who) -> &mut TcpSocket {
        match who {
            Who::Client => &mut self.client,
            Who::Server => &mut self.server,
        }
    }

    /// Fills what there is room for between `who` and who is in the middle. With how many bytes.
    pub(crate) fn fill(&mut self, who: Who) -> usize {
        let stream = SockRef::from(&*self.end(who));
        let mut count = 0;
        // To the last byte.
        for len in [4096, 1] {
            while let Ok(sent) = stream.send(&[0; 4096][..len]) {
                count += sent;
            }
        }
        count
    }

    /// What `who` makes of `pieces`, each of them a record.
    pub(crate) fn records(&mut self, who: Who, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let put = |piece: &&[u8]| {
            self.end(who).put_all(piece).unwrap();
            self.middle.taken(who)
        };
        pieces.iter().map(put).collect()
    }
}

impl Middle {
    pub(crate) fn stream(&mut self, who: Who) -> &mut Stream {
        match who {
            Who::Client => &mut self.client,
            Who::Server => &mut self.server,
        }
    }

    /// All that `who` has sent.
    pub(crate) fn taken(&mut self, who: Who) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.stream(who).read_to_end(&mut bytes) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => panic!("{error}"),
            _ => bytes,
        }
    }

    /// Lets these bytes come to `who`.
    pub(crate) fn give(&mut self, who: Who, bytes: &[u8]) {
        self.stream(who).write_all(bytes).unwrap();
    }

    /// Lets the end of the stream come to `who`.
    pub(crate) fn give_end(&mut self, who: Who) {
        self.stream(who).shutdown(Shutdown::Write).unwrap();
    }

    /// The ends of who is in the middle: the client's, and the server's.
    pub(crate) fn into_streams(self) -> [Stream; 2] {
        [self.client, self.server]
    }

    /// Passes on what there is, both ways. How much that was.
    pub(crate) fn pass(&mut self) -> usize {
        BOTH.map(|who| {
            let bytes = self.taken(who);
            self.give(who.other(), &bytes);
            bytes.len()
        })
        .iter()
        .sum()
    }
}

impl Middle {
    /// Passes on what there is, both ways, in a thread of its own, until one end has ended its stream.
    pub(crate) fn passing(mut self) -> Blocked<()> {
        block(move || {
            while BOTH.into_iter().all(|who| self.pass_from(who)) {
                thread::yield_now();
            }
        })
    }

    /// Passes on some of what `who` has sent, as much as there is room for. False at the end of its stream.
    fn pass_from(&mut self, who: Who) -> bool {
        let mut bytes = [0; 4096];
        let count = match self.stream(who).read(&mut bytes) {
            Ok(0) => return false,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        };
        let mut rest = &bytes[..count];
        while !rest.is_empty() {
            match self.stream(who.other()).write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::yield_now(),
                Err(_) => return false,
            }
        }
        true
    }
}

#[track_caller]
pub(crate) fn assert_waits<T: std::fmt::Debug>(result: &wakesock::Result<T>) {
    assert!(matches!(result, Err(Error::Timeout)), "{result:?}");
}
