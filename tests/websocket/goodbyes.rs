//! Whatever both ends do around a goodbye, in whatever order: what has come whole is received, what was taken arrives, and an end
//! is told, the same each time.

use std::io::{Cursor, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use wakesock::{Error, Message, Role, WebSocket};

use crate::ends::*;
use crate::support::queues::queue;
use crate::support::{Random, begin};

/// The other end: frames by hand, in whatever pieces.
struct Peer {
    /// Of the end that it talks to.
    role: Role,
    stream: UnixStream,
    /// What it has to say, and how much of that it has sent.
    bytes: Vec<u8>,
    sent: usize,
    /// Its messages, and where in `bytes` they end.
    messages: Vec<(Message, usize)>,
    /// Where its goodbye ends.
    goodbye: Option<usize>,
    has_ended: bool,
    read: Vec<u8>,
}

impl Peer {
    fn act(&mut self, random: &mut Random) {
        match random.below(8) {
            0 | 1 if self.goodbye.is_none() => {
                let bytes = vec![self.messages.len() as u8; [0, 3, 200, 9000][random.below(4)]];
                let (first, second) = bytes.split_at(random.below(bytes.len() + 1));
                self.says(BINARY, first);
                self.says(LAST | PING, b"between");
                self.says(LAST | CONTINUATION, second);
                self.messages.push((Message::from(bytes), self.bytes.len()));
            }
            2 if self.goodbye.is_none() && random.below(3) == 0 => {
                self.says(LAST | CLOSE, &1000_u16.to_be_bytes());
                self.goodbye = Some(self.bytes.len());
            }
            3 if random.below(6) == 0 => {
                self.stream.shutdown(Shutdown::Write).unwrap();
                self.has_ended = true;
            }
            4 | 5 if !self.has_ended => {
                let left = &self.bytes[self.sent..];
                let most = random.below(left.len() + 1);
                self.sent += self.stream.write(&left[..most]).unwrap_or(0);
            }
            _ => self.reads([100, 100_000, 1_000_000][random.below(3)]),
        }
    }

    fn says(&mut self, first: u8, payload: &[u8]) {
        self.bytes.extend(frame_for(self.role, first, payload));
    }

    fn reads(&mut self, most: usize) {
        // What isn't there yet is no matter.
        let _ = Read::by_ref(&mut self.stream)
            .take(most as u64)
            .read_to_end(&mut self.read);
    }

    /// How many of its messages have come whole.
    fn sent_messages(&self) -> usize {
        self.messages.iter().filter(|(_, end)| *end <= self.sent).count()
    }

    fn has_said_goodbye(&self) -> bool {
        self.goodbye.is_some_and(|end| end <= self.sent)
    }
}

/// The end under test, and what it has come to.
struct End {
    socket: WebSocket,
    received: usize,
    taken: Vec<Vec<u8>>,
    has_closed: bool,
    /// What was said of the end.
    end: Option<String>,
}

impl End {
    fn act(&mut self, random: &mut Random, peer: &Peer) {
        self.socket.timeout(Duration::from_millis(random.below(2) as u64));
        match random.below(9) {
            0..=3 => self.receive(peer),
            4 => {
                let waited = self.socket.wait_message();
                self.check_timeout(waited.as_ref().err());
                if !matches!(waited, Ok(true) | Err(Error::Timeout)) {
                    self.tell_end(waited.map(|_| None), peer);
                }
            }
            5 if !self.has_closed => {
                let message = vec![self.taken.len() as u8; [10, 300_000][random.below(2)]];
                let sent = self.socket.send_binary(&message);
                self.check_error(sent.as_ref().err(), peer);
                self.taken.extend(sent.is_ok().then_some(message));
            }
            6 => {
                let flushed = self.socket.flush();
                self.check_error(flushed.as_ref().err(), peer);
                assert!(flushed.is_err() || self.socket.unsent() == 0);
            }
            7 if random.below(4) == 0 => {
                let closed = self.socket.start_close(1001, "");
                self.check_error(closed.as_ref().err(), peer);
                self.has_closed |= closed.is_ok();
            }
            _ => self.check_silence(peer),
        }
        let wants = self.socket.wants();
        assert_eq!(self.socket.unsent() == 0, wants.is_empty(), "{wants:?}");
    }

    fn receive(&mut self, peer: &Peer) {
        let mut received = self.socket.receive();
        self.check_timeout(received.as_ref().err());
        if matches!(received, Err(Error::Timeout)) {
            // The time may have been up before all was looked at that is there.
            self.socket.timeout(Duration::ZERO);
            received = self.socket.receive();
            self.check_timeout(received.as_ref().err());
        }
        match received {
            Ok(Some(message)) => {
                assert_eq!(message, peer.messages[self.received].0);
                self.received += 1;
            }
            Err(Error::Timeout) => {
                assert_eq!(self.received, peer.sent_messages(), "a message has come");
                assert!(
                    !peer.has_said_goodbye() || self.socket.unsent() > 0,
                    "a goodbye has come"
                );
            }
            end => self.tell_end(end, peer),
        }
    }

    fn tell_end(&mut self, end: Result<Option<Message>, Error>, peer: &Peer) {
        match end {
            Ok(None) => assert!(peer.has_said_goodbye()),
            Err(Error::UnexpectedEof) => assert!(peer.has_ended && !peer.has_said_goodbye()),
            _ => panic!("{end:?}"),
        }
        assert_eq!(self.received, peer.sent_messages(), "before {end:?}");
        let end = format!("{end:?}");
        assert_eq!(*self.end.get_or_insert_with(|| end.clone()), end);
    }

    /// What can go wrong with what is sent.
    fn check_error(&mut self, error: Option<&Error>, peer: &Peer) {
        self.check_timeout(error.filter(|error| error.is_timeout()));
        match error {
            None | Some(Error::Timeout) => {}
            Some(Error::Closed) => assert!(self.has_closed || peer.has_said_goodbye()),
            Some(error) => panic!("{error}"),
        }
    }

    /// Only what has run out of time says so, and it always does.
    fn check_timeout(&self, error: Option<&Error>) {
        let is_partly = error.is_none() && self.socket.unsent() > 0;
        let is_timeout = self.socket.is_timeout();
        assert!(
            is_partly || is_timeout == error.is_some_and(Error::is_timeout),
            "{is_timeout}: {error:?}"
        );
    }

    /// Where a queue has nothing to report, there is nothing to receive.
    fn check_silence(&mut self, peer: &Peer) {
        let queue = queue();
        queue.subscribe_read(&self.socket).unwrap_or_default();
        if self.socket.is_open() && self.end.is_none() && queue.wait(Duration::ZERO).unwrap().is_empty() {
            self.receive(peer);
            // A client looks whether its server has ended the connection, and doesn't wait for that.
            assert!(self.end.is_none() || peer.role == Role::Client, "{:?}", self.end);
        }
    }
}

fn check(seed: u64) {
    let mut random = Random::new(seed);
    let role = [Role::Client, Role::Server][random.below(2)];
    let (own, stream) = UnixStream::pair().unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut peer = Peer {
        role,
        stream,
        bytes: Vec::new(),
        sent: 0,
        messages: Vec::new(),
        goodbye: None,
        has_ended: false,
        read: Vec::new(),
    };
    let mut end = End {
        socket: WebSocket::from_upgraded(own.into(), role),
        received: 0,
        taken: Vec::new(),
        has_closed: false,
        end: None,
    };
    for _ in 0..5 + random.below(40) {
        match random.below(2) {
            0 => peer.act(&mut random),
            _ => end.act(&mut random, &peer),
        }
    }
    // What was taken arrives.
    end.socket.timeout(Duration::ZERO);
    while end.socket.unsent() > 0 {
        end.socket.flush().unwrap_or_default();
        peer.reads(usize::MAX);
    }
    drop(end.socket);
    peer.reads(usize::MAX);
    let mut read = Cursor::new(peer.read);
    let frames = std::iter::from_fn(|| read_frame(&mut read));
    let arrived: Vec<Vec<u8>> = frames
        .filter(|(first, ..)| *first == LAST | BINARY)
        .map(|(_, _, payload)| payload)
        .collect();
    assert!(arrived == end.taken, "{} of {}", arrived.len(), end.taken.len());
}

#[test]
fn whatever_both_do_around_a_goodbye_nothing_is_lost_and_the_end_is_told() {
    let _test = begin();
    for seed in 1..300 {
        let checked = std::panic::catch_unwind(|| check(seed));
        assert!(checked.is_ok(), "{seed}");
    }
}
