//! The direction that writes: messages, whole or in fragments, and pings.
//!
//! What is sent is taken first, and then sent within the operation's limit. What is left at its end goes with the next
//! operation of either direction.

use std::io;
use std::sync::Arc;

use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

use super::close;
use super::deflate::Deflater;
use super::frame::Frame;
use super::frames::{MOST_CONTROL, text_prefix};
use super::link::Link;
use super::message::Message;
use crate::error::{Error, Result};
use crate::socket::{Operation, TcpSocket};

/// The direction that writes.
#[derive(Debug, Default)]
pub(super) struct Sending {
    fragments: Option<Fragments>,
    /// What compresses, if that was agreed on.
    deflater: Option<Deflater>,
}

/// A message that is sent in fragments.
#[derive(Clone, Debug)]
struct Fragments {
    is_begun: bool,
    opcode: Data,
    is_compressed: bool,
    /// The end of a text so far, where a letter is incomplete.
    rest: Vec<u8>,
}

impl Sending {
    pub(super) fn send(&mut self, socket: &mut TcpSocket, link: &Link, message: &Message) -> Result<()> {
        let data = match message {
            Message::Text(_) => Data::Text,
            Message::Binary(_) => Data::Binary,
        };
        self.send_whole(socket, link, data, message.as_bytes())
    }

    /// Sends a whole message.
    pub(super) fn send_whole(&mut self, socket: &mut TcpSocket, link: &Link, data: Data, payload: &[u8]) -> Result<()> {
        if self.fragments.is_some() {
            return Err(misuse("send", "the message before isn't finished"));
        }
        let is_compressed = self.wants_deflate(payload, true);
        let frame = Frame {
            opcode: OpCode::Data(data),
            is_last: true,
            is_compressed,
            payload,
        };
        self.put(socket, link, &frame, is_compressed)
    }

    #[cfg(feature = "websocket-deflate")]
    pub(super) fn deflate_by(&mut self, deflater: Deflater) {
        self.deflater = Some(deflater);
    }

    /// Whether a message is to be compressed that begins so.
    fn wants_deflate(&self, beginning: &[u8], is_all: bool) -> bool {
        self.deflater
            .as_ref()
            .is_some_and(|deflater| deflater.wants(beginning, is_all))
    }

    pub(super) fn ping(&mut self, socket: &mut TcpSocket, link: &Link, payload: &[u8]) -> Result<()> {
        if payload.len() > MOST_CONTROL {
            return Err(misuse("ping", "more than 125 bytes"));
        }
        self.put(socket, link, &Frame::control(Control::Ping, payload), false)
    }

    /// Sends a fragment, the first one of a message of this kind.
    pub(super) fn begin(&mut self, socket: &mut TcpSocket, link: &Link, opcode: Data, payload: &[u8]) -> Result<()> {
        if self.fragments.is_some() {
            return Err(misuse("begin", "the message before isn't finished"));
        }
        let fragments = Fragments {
            is_begun: false,
            opcode,
            is_compressed: self.wants_deflate(payload, false),
            rest: Vec::new(),
        };
        self.put_fragment(socket, link, fragments, payload, false)
    }

    /// Sends another fragment, which may be the last one.
    pub(super) fn append(&mut self, socket: &mut TcpSocket, link: &Link, payload: &[u8], is_last: bool) -> Result<()> {
        let Some(fragments) = self.fragments.take() else {
            return Err(misuse(called(true, is_last), "no message is begun"));
        };
        let was_begun = fragments.clone();
        let result = self.put_fragment(socket, link, fragments, payload, is_last);
        if result.is_err() {
            // It wasn't taken, and may be sent again.
            self.fragments = Some(was_begun);
        }
        result
    }

    fn put_fragment(
        &mut self,
        socket: &mut TcpSocket,
        link: &Link,
        mut fragments: Fragments,
        payload: &[u8],
        is_last: bool,
    ) -> Result<()> {
        let rest = fragments.text_rest(payload, is_last)?;
        let opcode = if fragments.is_begun {
            Data::Continue
        } else {
            fragments.opcode
        };
        let frame = Frame {
            opcode: OpCode::Data(opcode),
            is_last,
            is_compressed: fragments.is_compressed && !fragments.is_begun,
            payload,
        };
        self.put(socket, link, &frame, fragments.is_compressed)?;
        fragments.is_begun = true;
        fragments.rest = rest;
        self.fragments = (!is_last).then_some(fragments);
        Ok(())
    }

    /// Has a frame taken, and waits until it is sent, as far as the limit goes.
    #[inline]
    fn put(&mut self, socket: &mut TcpSocket, link: &Link, frame: &Frame<'_>, deflates: bool) -> Result<()> {
        if deflates {
            return self.put_deflated(socket, link, frame);
        }
        match link.send_at_once(socket, frame) {
            Some(Ok(true)) => Ok(()),
            Some(first) => finish_first(socket, link, first, frame.payload.len()),
            None => put_in_steps(socket, link, frame),
        }
    }

    #[inline(never)]
    fn put_deflated(&mut self, socket: &mut TcpSocket, link: &Link, frame: &Frame<'_>) -> Result<()> {
        let mut operation = socket.begin_writing("send")?;
        let ready = socket.write_step(&mut operation, &mut || link.is_ready(socket));
        ready.map_err(|error| failed(socket, error))?;
        // From here on it is taken, so that what is compressed now is what the peer gets next.
        let bytes = self.deflated(link, frame).inspect_err(|_| {
            // What the peer knows of what came before isn't what the next message is compressed by.
            let _ = link.close(socket, Some(CloseCode::Error.into()), "");
        })?;
        let total = bytes.len();
        link.take(socket, bytes).map_err(|error| failed(socket, error))?;
        finish(socket, link, &mut operation, total)
    }

    /// A frame as it is sent, with its payload compressed.
    fn deflated(&mut self, link: &Link, frame: &Frame<'_>) -> Result<Vec<u8>> {
        let deflated;
        let mut frame = *frame;
        if let Some(deflater) = &mut self.deflater {
            deflated = deflater.deflate(frame.payload, frame.is_last)?;
            frame.payload = &deflated;
        }
        let mut bytes = Vec::new();
        frame
            .append_to(&mut bytes, link.role())
            .map_err(|error| Error::io("send", error))?;
        Ok(bytes)
    }
}

impl Fragments {
    /// The incomplete letter at the end of a text that goes on with `payload`.
    fn text_rest(&self, payload: &[u8], is_last: bool) -> Result<Vec<u8>> {
        if self.opcode != Data::Text {
            return Ok(Vec::new());
        }
        let joined;
        let bytes = if self.rest.is_empty() {
            payload
        } else {
            joined = [&self.rest, payload].concat();
            &joined
        };
        match text_prefix(bytes) {
            Ok(length) if length == bytes.len() || !is_last => Ok(bytes[length..].to_vec()),
            _ => Err(misuse(called(self.is_begun, is_last), "not UTF-8")),
        }
    }
}

/// What sends a fragment.
fn called(is_begun: bool, is_last: bool) -> &'static str {
    match (is_begun, is_last) {
        (false, _) => "begin",
        (true, false) => "append",
        (true, true) => "finish",
    }
}

/// What a program mustn't ask for.
pub(super) fn misuse(operation: &'static str, why: &'static str) -> Error {
    Error::Io {
        operation: operation.into(),
        source: Arc::new(io::Error::new(io::ErrorKind::InvalidInput, why)),
    }
}

/// Has a frame taken in the long way, and waits until it is sent.
#[inline(never)]
fn put_in_steps(socket: &mut TcpSocket, link: &Link, frame: &Frame<'_>) -> Result<()> {
    let mut operation = socket.begin_writing("send")?;
    // In one go.
    let mut offer = || link.offer(socket, frame);
    let offered = match offer() {
        Ok(false) => socket.write_step(&mut operation, &mut offer),
        offered => offered.map(drop),
    };
    offered.map_err(|error| failed(socket, error))?;
    finish(socket, link, &mut operation, frame.payload.len())
}

/// Goes on with a frame of which not all was sent in the short way.
#[cold]
fn finish_first(socket: &mut TcpSocket, link: &Link, first: Result<bool>, total: usize) -> Result<()> {
    first.map_err(|error| failed(socket, error))?;
    let mut operation = socket.go_on_writing("send");
    finish(socket, link, &mut operation, total)
}

/// Sends what was taken, `total` bytes. What ends that early leaves the rest to whatever operation comes next.
fn finish(socket: &mut TcpSocket, link: &Link, operation: &mut Operation, total: usize) -> Result<()> {
    if !link.has_unsent() {
        return Ok(());
    }
    match link.drain_of(socket, operation, total) {
        Err(error) if error.is_timeout() => socket.note_timeout(),
        Ok(()) | Err(Error::Aborted | Error::Closed | Error::Shutdown) => {}
        Err(error) => return Err(failed(socket, error)),
    }
    if link.has_unsent() {
        // A reader that waits only to read goes on with it.
        socket.wake_steps();
    }
    Ok(())
}

/// Sends what is left. Where that was the answer to the peer's goodbye, a server ends the connection.
pub(super) fn flush(socket: &mut TcpSocket, link: &Link) -> Result<()> {
    let mut operation = socket.begin_writing("flush")?;
    link.drain(socket, &mut operation)
        .map_err(|error| failed(socket, error))?;
    close::end_answered(socket, link);
    Ok(())
}

/// Notes what an operation has failed with that sends: one that is sticky stops the next ones, too.
pub(super) fn failed(socket: &mut TcpSocket, error: Error) -> Error {
    let error = socket.noted(error);
    if error.is_sticky() {
        socket.fail_writing(&error);
    }
    error
}
