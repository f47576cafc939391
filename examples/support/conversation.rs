//! A client of a line server that serves many clients on one thread, so that nothing may block.

use std::mem;
use std::time::Duration;

use wakesock::{AsTcpSocket, Error, TcpSocket, WaitEvents};

use super::{LONGEST_LINE, answer};

/// While so much is unsent, no more requests are read: a client that doesn't read its answers takes no more memory than
/// that, and finds in the end that it can't send.
const MOST_UNSENT: usize = 16 * 1024;

/// A connection to a client, and how far it has come.
///
/// As with U++'s asynchronous classes, the loop around it waits for its [`wait_events`](Conversation::wait_events), and
/// then lets it [`go_on`](Conversation::go_on).
pub struct Conversation {
    socket: TcpSocket,
    /// Answers that the system had no room for yet.
    unsent: Vec<u8>,
    answered: usize,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// Requests are served as they come.
    Serving,
    /// One more, which the client has begun to send.
    LastRequest,
    /// No more. It ends when all is sent.
    Ending,
    /// The client has been told that there is no more, but had sent more. Closing with unread data is a reset, which
    /// might overtake the answers. So it is the client that closes.
    Discarding,
}

impl Conversation {
    pub fn new(mut socket: TcpSocket) -> Result<Conversation, Error> {
        socket.timeout(Duration::ZERO);
        // An answer is not to wait until the one before it is acknowledged.
        socket.no_delay()?;
        Ok(Conversation {
            socket,
            unsent: Vec::new(),
            answered: 0,
            phase: Phase::Serving,
        })
    }

    /// How many requests were answered.
    pub fn answered(&self) -> usize {
        self.answered
    }

    /// What has to happen before it can go on.
    pub fn wait_events(&self) -> WaitEvents {
        let reads = match self.phase {
            Phase::Serving | Phase::LastRequest => self.unsent.len() < MOST_UNSENT,
            Phase::Ending => false,
            Phase::Discarding => true,
        };
        let mut events = WaitEvents::empty();
        events.set(WaitEvents::READ, reads);
        events.set(WaitEvents::WRITE, !self.unsent.is_empty());
        events
    }

    /// Reads, answers and sends what can be without blocking. False at the end of the conversation.
    pub fn go_on(&mut self) -> Result<bool, Error> {
        self.send()?;
        self.serve()?;
        self.send()?;
        match self.phase {
            Phase::Serving | Phase::LastRequest => Ok(true),
            Phase::Ending if !self.unsent.is_empty() => Ok(true),
            Phase::Ending => match self.socket.peek() {
                Ok(Some(_)) => {
                    self.socket.shutdown()?;
                    self.phase = Phase::Discarding;
                    self.discard()
                }
                Ok(None) | Err(Error::Timeout) => Ok(false),
                Err(error) => Err(error),
            },
            Phase::Discarding => self.discard(),
        }
    }

    /// Ends it, as the server is to stop: at once if it is between two requests, or when the one that has begun to come
    /// is answered. Otherwise as [`go_on`](Conversation::go_on).
    pub fn finish(&mut self) -> Result<bool, Error> {
        if self.phase == Phase::Serving {
            self.phase = match self.socket.peek() {
                Ok(Some(_)) => Phase::LastRequest,
                Ok(None) | Err(Error::Timeout) => Phase::Ending,
                Err(error) => return Err(error),
            };
        }
        self.go_on()
    }

    fn serve(&mut self) -> Result<(), Error> {
        let mut line = Vec::new();
        while matches!(self.phase, Phase::Serving | Phase::LastRequest) && self.unsent.len() < MOST_UNSENT {
            match self.socket.get_line_into(&mut line, LONGEST_LINE) {
                Ok(true) => {
                    self.answer(&answer(&line));
                    self.answered += 1;
                    if self.phase == Phase::LastRequest {
                        self.phase = Phase::Ending;
                    }
                }
                Ok(false) => self.phase = Phase::Ending,
                Err(Error::Timeout) => {
                    // The rest of the line is still to come; what has come stays in the socket.
                    self.socket.clear_error();
                    break;
                }
                Err(error @ Error::LineTooLong { .. }) => {
                    eprintln!("{error}");
                    self.socket.clear_error();
                    self.answer(&format!("error: {error}"));
                    self.phase = Phase::Ending;
                }
                Err(error @ Error::UnexpectedEof) => {
                    eprintln!("{error}");
                    self.socket.clear_error();
                    self.phase = Phase::Ending;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn answer(&mut self, text: &str) {
        self.unsent.extend_from_slice(text.as_bytes());
        self.unsent.push(b'\n');
    }

    fn send(&mut self) -> Result<(), Error> {
        match self.socket.put(&self.unsent) {
            // Gives the memory back, too: most clients are idle most of the time.
            Ok(sent) if sent == self.unsent.len() => drop(mem::take(&mut self.unsent)),
            Ok(sent) => drop(self.unsent.drain(..sent)),
            Err(Error::Timeout) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn discard(&mut self) -> Result<bool, Error> {
        match self.socket.get(&mut [0; 16 * 1024]) {
            Ok(_) => Ok(!self.socket.is_eof()),
            Err(Error::Timeout) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

impl AsTcpSocket for Conversation {
    fn as_tcp_socket(&self) -> &TcpSocket {
        &self.socket
    }
}
