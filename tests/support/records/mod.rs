//! Records of TLS that are as they should be, and others, in any mix: for tests that make their cases up, each in its own way.
//!
//! The peer is driven between the reads of the socket. It has real keys, so what it enciphers is taken for what it is.

#![allow(unreachable_pub, reason = "each user has its part")]

mod decode;
mod forger;

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use socket2::Socket;
use wakesock::{Error, Result, TcpSocket};

use self::forger::Forger;
use crate::peer::{Peer, at_once, shake};
use crate::support::PATIENCE;
use crate::support::certificates::{NAME, client_config, server_config};

/// The type of records with data: RFC 8446, section 5.1.
const APPLICATION_DATA: u8 = 23;
const HANDSHAKE: u8 = 22;

#[derive(Clone, Debug)]
pub enum Step {
    /// The peer sends a record of data.
    Data(usize),
    /// A record of this type with this content, which is enciphered as it should be, so many times.
    Sealed {
        kind: u8,
        content: Vec<u8>,
        times: usize,
    },
    /// A message of a handshake, which says that it has so many bytes, and has so many, in records of so many.
    Message {
        kind: u8,
        said: u32,
        sent: usize,
        piece: usize,
    },
    /// A record of data in which a byte was changed.
    Changed {
        len: usize,
        at: usize,
        by: u8,
    },
    /// The beginning of a record.
    Cut {
        len: usize,
        kept: usize,
    },
    /// The last record once more.
    Again,
    /// What is no record, or one that isn't enciphered.
    Raw {
        bytes: Vec<u8>,
        times: usize,
    },
    Get(usize),
    GetLine,
    Peek,
    Wait,
    Put(usize),
    ClearError,
    Shutdown,
}

impl Step {
    /// Whether what the peer sends is just data.
    fn is_plain(&self) -> bool {
        !matches!(
            self,
            Step::Sealed { .. }
                | Step::Message { .. }
                | Step::Changed { .. }
                | Step::Cut { .. }
                | Step::Again
                | Step::Raw { .. }
        )
    }
}

#[derive(Clone, Debug)]
pub struct Case {
    /// The socket is the client.
    pub is_client: bool,
    /// With TLS 1.2.
    pub is_old: bool,
    pub steps: Vec<Step>,
}

struct Run {
    socket: TcpSocket,
    forger: Forger,
    stream: Socket,
    /// What was sent as it should be.
    sent: Vec<u8>,
    /// How much of that came before anything else.
    sure: usize,
    is_broken: bool,
    /// The socket takes nothing more.
    is_over: bool,
    got: Vec<u8>,
    last: Vec<u8>,
}

/// Runs a case. Whatever the peer has sent, all the data before that is read, then what may be an error, which stays, and each
/// call returns.
pub fn check(case: &Case) -> Result<(), String> {
    let (socket, forger, stream) = connected(case);
    let mut run = Run {
        socket,
        forger,
        stream,
        sent: Vec::new(),
        sure: 0,
        is_broken: false,
        is_over: false,
        got: Vec::new(),
        last: Vec::new(),
    };
    for step in &case.steps {
        run.step(step);
        if !run.sent.starts_with(&run.got) {
            return Err(format!("{step:?}: what was read was not sent"));
        }
    }
    run.finish()
}

fn connected(case: &Case) -> (TcpSocket, Forger, Socket) {
    let (mut socket, stream) = at_once();
    let (begun, mut peer) = match case.is_client {
        true => {
            let begun = socket.start_tls(NAME, &client_config());
            (begun, Peer::server(&forger::server_config(case.is_old), stream))
        }
        false => {
            let begun = socket.start_tls_server(&server_config());
            (begun, Peer::client(&forger::client_config(case.is_old), stream))
        }
    };
    assert!(matches!(begun, Err(Error::Timeout)), "{begun:?}");
    shake(&mut socket, &mut peer, |_| true).unwrap();
    while peer.connection.is_handshaking() {
        peer.take();
        let said = peer.said();
        peer.send(&said);
    }
    // What a server sends behind its handshake is not of this connection any more once its keys are taken.
    let said = peer.said();
    peer.send(&said);
    let _ = socket.wait_read();
    let Peer { connection, stream, .. } = peer;
    (socket, Forger::new(connection), stream)
}

impl Run {
    fn step(&mut self, step: &Step) {
        if !step.is_plain() && !self.is_broken {
            self.is_broken = true;
            self.sure = self.sent.len();
        }
        match step {
            Step::Data(len) => {
                let record = self.data(*len);
                self.send(&record);
            }
            Step::Sealed { kind, content, times } => {
                for _ in 0..*times {
                    if *kind == APPLICATION_DATA {
                        self.sent.extend(content);
                    }
                    let record = self.forger.seal(*kind, content);
                    self.send(&record);
                }
            }
            Step::Message {
                kind,
                said,
                sent,
                piece,
            } => {
                let mut message = vec![*kind];
                message.extend(&said.to_be_bytes()[1..]);
                message.resize(4 + sent, 0);
                for piece in message.chunks((*piece).max(1)) {
                    let record = self.forger.seal(HANDSHAKE, piece);
                    self.send(&record);
                }
            }
            Step::Changed { len, at, by } => {
                let mut record = self.data(*len);
                let at = at % record.len();
                record[at] ^= by;
                self.send(&record);
            }
            Step::Cut { len, kept } => {
                let record = self.data(*len);
                let kept = kept % record.len();
                self.send(&record[..kept]);
            }
            Step::Again => {
                let record = self.last.clone();
                self.send(&record);
            }
            Step::Raw { bytes, times } => {
                for _ in 0..*times {
                    self.send(bytes);
                }
            }
            Step::Get(len) => drop(self.get(*len)),
            Step::GetLine => match self.socket.get_line_bytes(1000) {
                Ok(Some(line)) => {
                    self.got.extend(line);
                    self.got.push(b'\n');
                }
                // What there is of the line stays.
                Ok(None) | Err(_) => self.socket.clear_error(),
            },
            Step::Peek => {
                if let Ok(Some(byte)) = self.socket.peek() {
                    assert_eq!(Some(&byte), self.sent.get(self.got.len()));
                }
            }
            Step::Wait => drop(self.socket.wait_read()),
            Step::Put(len) => drop(self.socket.put(&vec![b'p'; *len])),
            Step::ClearError => self.socket.clear_error(),
            Step::Shutdown => drop(self.socket.shutdown()),
        }
        // The peer takes no notice of what it gets.
        let mut scrap = [0; 64 << 10];
        while self.stream.read(&mut scrap).is_ok_and(|count| count > 0) {}
    }

    /// Makes a record of the next data.
    fn data(&mut self, len: usize) -> Vec<u8> {
        let begin = self.sent.len();
        // Lines without a carriage return.
        let next = (begin..begin + len).map(|at| if at % 50 == 49 { b'\n' } else { b'a' + (at % 23) as u8 });
        self.sent.extend(next);
        self.last = self.forger.seal(APPLICATION_DATA, &self.sent[begin..]);
        self.last.clone()
    }

    /// Sends what goes, and lets the socket read where that is not all.
    fn send(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.is_over {
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let got = self.get(100_000);
                    self.is_over = !matches!(got, Ok(1..) | Err(Error::Timeout));
                }
                Err(_) => self.is_over = true,
            }
        }
    }

    fn get(&mut self, len: usize) -> Result<usize> {
        let result = self.socket.get_bytes(len);
        if let Ok(bytes) = &result {
            self.got.extend(bytes);
        }
        result.map(|bytes| bytes.len())
    }

    /// Ends the stream, and reads until there is no more.
    fn finish(mut self) -> Result<(), String> {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
        self.socket.timeout(PATIENCE);
        self.socket.clear_error();
        let end = loop {
            match self.get(100_000) {
                Ok(0) => break None,
                Ok(_) => {}
                Err(error) => break Some(error),
            }
        };
        if !self.sent.starts_with(&self.got) {
            return Err("what was read was not sent".to_owned());
        }
        let sure = if self.is_broken { self.sure } else { self.sent.len() };
        if self.got.len() < sure {
            return Err(format!("of {sure} bytes {} came, and {end:?}", self.got.len()));
        }
        match end {
            Some(Error::Tls { .. }) => {}
            Some(Error::Truncated) => {}
            // The peer may have said goodbye.
            None if self.is_broken => return Ok(()),
            other => return Err(format!("in the end there was {other:?}")),
        }
        // It is so for good.
        self.socket.timeout(Duration::ZERO);
        for _ in 0..2 {
            match self.socket.get(&mut [0; 1]) {
                Err(Error::Tls { .. } | Error::Truncated) => {}
                other => return Err(format!("after an error there was {other:?}")),
            }
            self.socket.clear_error();
        }
        Ok(())
    }
}
