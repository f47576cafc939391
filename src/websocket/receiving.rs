//! The direction that reads: messages, and what is between them.
//!
//! Each operation is a loop of steps of [`TcpSocket`], within one limit. Reading never depends on writing: while something is
//! left to be sent, a step that reads waits for room, too, and a failure to send is told by what sends.

use std::io::{self, BufRead};
use std::time::{Duration, Instant};

use super::close;
#[cfg(feature = "websocket-deflate")]
use super::deflate::Inflater;
use super::fault::Fault;
use super::frames::{Close, Event, Frames};
use super::limits::Limits;
use super::link::Link;
use super::message::Message;
use crate::error::{Error, Result};
use crate::events::WaitEvents;
use crate::socket::{Ahead, Operation, Step, TcpSocket};

/// How many frames an operation that may not wait looks at that are not of a message.
const MOST_AT_ONCE: usize = 1000;

/// The direction that reads.
#[derive(Debug)]
pub(super) struct Receiving {
    frames: Frames,
    /// How much the next read asks for, if it isn't for all that is left of a payload.
    reading_ahead: Ahead,
    /// Why no message follows.
    end: Option<End>,
    /// When the close frame came, if its answer isn't sent yet.
    closing_since: Option<Instant>,
    last_pong: Option<Vec<u8>>,
}

#[derive(Debug)]
enum End {
    /// A close frame came.
    Close,
    Error(Error),
}

/// Which steps to take next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    Message,
    /// Only while the registry isn't stopping.
    Stopping,
}

impl Receiving {
    pub(super) fn new(link: &Link) -> Receiving {
        Receiving {
            frames: Frames::new(link.role()),
            reading_ahead: Ahead::default(),
            end: None,
            closing_since: None,
            last_pong: None,
        }
    }

    #[cfg(feature = "websocket-deflate")]
    pub(super) fn inflate_by(&mut self, inflater: Inflater) {
        self.frames.inflate_by(inflater);
    }

    pub(super) fn last_pong(&self) -> Option<&[u8]> {
        self.last_pong.as_deref()
    }

    /// What is to be said at once, if no message follows.
    pub(super) fn ended(&self) -> Option<Result<()>> {
        match self.end.as_ref()? {
            End::Close => Some(Ok(())),
            End::Error(error) => Some(Err(error.clone())),
        }
    }

    /// What is to be said again: whoever has cleared the error has changed nothing.
    fn still_ended(&mut self, socket: &mut TcpSocket) -> Option<Result<()>> {
        if self.closing_since.is_some() && !socket.is_open() {
            // What has sent the answer has ended the connection.
            self.end = Some(End::Close);
        }
        let ended = self.ended()?;
        socket.note_in_time();
        if let Err(error) = &ended {
            socket.fail_reading(error);
        }
        Some(ended)
    }

    /// Receives a message; None if the peer has closed.
    pub(super) fn receive(&mut self, socket: &mut TcpSocket, link: &Link, limits: Limits) -> Result<Option<Message>> {
        if let Some(ended) = self.still_ended(socket) {
            return ended.map(|()| None);
        }
        match self.take_at_once(socket, link, limits)? {
            Some(Event::Message(message)) => {
                socket.shrink_ahead();
                Ok(Some(message))
            }
            first => self.receive_in_steps(socket, link, limits, first),
        }
    }

    /// Takes a frame in the short way, if nothing is special: from what was read ahead.
    #[inline]
    fn take_at_once(&mut self, socket: &mut TcpSocket, link: &Link, limits: Limits) -> Result<Option<Event>> {
        if self.closing_since.is_some() || !socket.begin_at_once() {
            return Ok(None);
        }
        let taken = self.take_ahead(socket, link, limits)?;
        Ok(taken.and_then(|(_, event)| event))
    }

    #[inline(never)]
    fn receive_in_steps(
        &mut self,
        socket: &mut TcpSocket,
        link: &Link,
        limits: Limits,
        first: Option<Event>,
    ) -> Result<Option<Message>> {
        let mut operation = socket.begin_reading("receive")?;
        if self.closing_since.is_some() {
            return self.conclude(socket, link, limits, &mut operation).map(|()| None);
        }
        match self.next(socket, link, limits, &mut operation, first)? {
            Next::Message(message) => {
                socket.shrink_ahead();
                Ok(Some(message))
            }
            Next::Close(close) => {
                self.take_close(socket, link, close);
                self.conclude(socket, link, limits, &mut operation).map(|()| None)
            }
        }
    }

    /// Waits until some of a message is there; false if none will follow.
    pub(super) fn wait_message(&mut self, socket: &mut TcpSocket, link: &Link, limits: Limits) -> Result<bool> {
        if let Some(ended) = self.still_ended(socket) {
            return ended.map(|()| false);
        }
        let mut operation = socket.begin_reading("wait_message")?;
        if self.closing_since.is_some() {
            return self.conclude(socket, link, limits, &mut operation).map(|()| false);
        }
        let mut others = 0;
        loop {
            let begins_message = || socket.buffer().first().is_some_and(|first| first & 0x0f < 8);
            if self.frames.is_in_message() || self.frames.wants_header() && begins_message() {
                return Ok(true);
            }
            match self.step(socket, link, limits, &mut operation, Until::Stopping)? {
                Stepped::On => {}
                Stepped::Stopping => return Ok(false),
                Stepped::Event(Event::Close(close)) => {
                    self.take_close(socket, link, close);
                    return self.conclude(socket, link, limits, &mut operation).map(|()| false);
                }
                Stepped::Event(event) => {
                    self.note(socket, link, event);
                    check_time(socket, &mut operation, &mut others)?;
                }
            }
        }
    }

    /// Drops what still comes until the peer has closed, or the operation's time is over.
    pub(super) fn await_close(
        &mut self,
        socket: &mut TcpSocket,
        link: &Link,
        limits: Limits,
        operation: &mut Operation,
    ) -> Result<()> {
        loop {
            if let Some(ended) = self.ended() {
                return ended;
            }
            if self.closing_since.is_some() {
                // What is left is to send the answer.
                self.end = Some(End::Close);
                return Ok(());
            }
            match self.next(socket, link, limits, operation, None)? {
                Next::Message(_) => {
                    operation.left()?;
                }
                Next::Close(close) => self.take_close(socket, link, close),
            }
        }
    }

    fn take_close(&mut self, socket: &TcpSocket, link: &Link, close: Option<Close>) {
        link.closed_by_peer(socket, close);
        self.closing_since = Some(Instant::now());
    }

    /// Sends the answer to a close frame, as far as the operation's time goes, and ends the connection.
    fn conclude(
        &mut self,
        socket: &mut TcpSocket,
        link: &Link,
        limits: Limits,
        operation: &mut Operation,
    ) -> Result<()> {
        // However long the operation may take.
        if let Some(left) = self.left_to_answer(limits) {
            operation.shorten(left);
        }
        let drained = link.drain(socket, operation);
        let has_time = self.left_to_answer(limits).is_none_or(|left| !left.is_zero());
        match drained {
            // The program may come back: the answer isn't sent yet.
            Err(error @ (Error::Timeout | Error::Aborted))
                if has_time && close::forgiving(socket, |socket| drop_what_follows(socket, link, operation)) =>
            {
                socket.call_after(self.left_to_answer(limits));
                return Err(socket.noted(error));
            }
            _ => {}
        }
        self.end = Some(End::Close);
        close::end_connection(socket, link, operation);
        Ok(())
    }

    /// How long the answer to a close frame may still take.
    fn left_to_answer(&self, limits: Limits) -> Option<Duration> {
        let waited = self.closing_since.map_or(Duration::ZERO, |since| since.elapsed());
        limits.close.map(|limit| limit.saturating_sub(waited))
    }

    /// Lets queues report an answer that isn't sent within other limits than before.
    pub(super) fn limits_changed(&self, socket: &TcpSocket, limits: Limits) {
        if self.closing_since.is_some() && self.end.is_none() {
            socket.call_after(self.left_to_answer(limits));
        }
    }

    /// What comes next that concerns the program: `first`, if that does.
    fn next(
        &mut self,
        socket: &mut TcpSocket,
        link: &Link,
        limits: Limits,
        operation: &mut Operation,
        mut first: Option<Event>,
    ) -> Result<Next> {
        let mut others = 0;
        loop {
            let stepped = match first.take() {
                Some(event) => Stepped::Event(event),
                None => self.step(socket, link, limits, operation, Until::Message)?,
            };
            match stepped {
                Stepped::On | Stepped::Stopping => {}
                Stepped::Event(Event::Message(message)) => return Ok(Next::Message(message)),
                Stepped::Event(Event::Close(close)) => return Ok(Next::Close(close)),
                Stepped::Event(event) => self.note(socket, link, event),
            }
            // A frame that is none of a message, or one of many.
            if self.frames.wants_header() {
                check_time(socket, operation, &mut others)?;
            }
        }
    }

    /// Answers a ping, and remembers a pong.
    fn note(&mut self, socket: &TcpSocket, link: &Link, event: Event) {
        match event {
            Event::Ping(payload) => link.pong(socket, payload),
            Event::Pong(payload) => self.last_pong = Some(payload),
            Event::Message(_) | Event::Close(_) => {}
        }
    }

    /// One step: a header, or some of a payload. Where it fails for good, the other half learns of that.
    fn step(
        &mut self,
        socket: &mut TcpSocket,
        link: &Link,
        limits: Limits,
        operation: &mut Operation,
        until: Until,
    ) -> Result<Stepped> {
        let stepped = self.try_step(socket, link, limits, operation, until);
        stepped.inspect_err(|error| {
            if is_for_good(error) {
                link.reading_failed(socket, error);
            }
        })
    }

    fn try_step(
        &mut self,
        socket: &mut TcpSocket,
        link: &Link,
        limits: Limits,
        operation: &mut Operation,
        until: Until,
    ) -> Result<Stepped> {
        if let Some((payload, event)) = self.take_ahead(socket, link, limits)? {
            operation.add_done(payload);
            return Ok(event.map_or(Stepped::On, Stepped::Event));
        }
        if self.frames.wants_header() || until == Until::Stopping || self.frames.left() < self.reading_ahead.len() {
            return self.more(socket, link, operation, until);
        }
        if !give_way(socket, link, operation, until)? || !socket.buffer().is_empty() {
            // Under TLS something has come by looking: that is first.
            return Ok(Stepped::On);
        }
        let (bytes, most) = self.frames.room().map_err(out_of_memory)?;
        match socket.read_step(operation, bytes, most, &|| link.has_unsent())? {
            Step::Came(count) => {
                self.frames.add(count);
                operation.add_done(count);
                // What follows is likely to be as long, and to be read to where it belongs.
                self.reading_ahead = Ahead::Usual;
            }
            Step::End => return Err(self.ended_early(socket, link)),
            Step::CalledOff => return Ok(Stepped::On),
        }
        let completed = self.frames.complete(limits.max_message);
        let event = self.judge(socket, link, completed)?;
        Ok(event.map_or(Stepped::On, Stepped::Event))
    }

    /// Takes a header, or some of a payload, or both, of what was read ahead. Returns how much payload that was, and what has
    /// become of it; None if there was nothing to take.
    #[inline]
    fn take_ahead(
        &mut self,
        socket: &mut TcpSocket,
        link: &Link,
        limits: Limits,
    ) -> Result<Option<(usize, Option<Event>)>> {
        let ahead = socket.buffer();
        let header = match self.frames.wants_header() {
            false => 0,
            true => {
                let taken = self.frames.take_header(ahead, limits.max_message);
                self.judge(socket, link, taken)?.unwrap_or(0)
            }
        };
        let ahead = &socket.buffer()[header..];
        if header == 0 && (ahead.is_empty() || self.frames.wants_header()) {
            return Ok(None);
        }
        let taken = self.frames.take_payload(ahead);
        // The header is taken, whatever becomes of the payload.
        socket.consume(header + taken.as_ref().unwrap_or(&0));
        let payload = taken.map_err(out_of_memory)?;
        let completed = self.frames.complete(limits.max_message);
        let event = self.judge(socket, link, completed)?;
        Ok(Some((payload, event)))
    }

    /// Waits for more of a header, or of a payload of which little is left.
    fn more(
        &mut self,
        socket: &mut TcpSocket,
        link: &Link,
        operation: &mut Operation,
        until: Until,
    ) -> Result<Stepped> {
        let ahead = socket.buffer().len();
        if !give_way(socket, link, operation, until)? {
            return Ok(match until {
                Until::Stopping if socket.is_let_go() => Stepped::Stopping,
                _ => Stepped::On,
            });
        }
        if socket.buffer().len() > ahead {
            // Under TLS it has come by looking, and nothing may follow it.
            return Ok(Stepped::On);
        }
        let call_off = || link.has_unsent();
        let step = match until {
            Until::Message => socket.read_ahead_step(operation, self.reading_ahead, &call_off)?,
            Until::Stopping => socket.read_request_step(operation, &call_off)?,
        };
        if let Step::Came(count) = step {
            self.reading_ahead = Ahead::after(count);
        }
        match step {
            Step::Came(_) => Ok(Stepped::On),
            Step::End => Err(self.ended_early(socket, link)),
            Step::CalledOff if until == Until::Stopping && socket.is_let_go() => Ok(Stepped::Stopping),
            Step::CalledOff => Ok(Stepped::On),
        }
    }

    fn ended_early(&mut self, socket: &mut TcpSocket, link: &Link) -> Error {
        self.fail(socket, link, Error::UnexpectedEof)
    }

    fn fail(&mut self, socket: &mut TcpSocket, link: &Link, error: Error) -> Error {
        self.end = Some(End::Error(error.clone()));
        link.reading_failed(socket, &error);
        socket.fail_reading(&error);
        error
    }

    /// Tells the peer what it does wrong, and ends the connection.
    fn judge<T>(&mut self, socket: &mut TcpSocket, link: &Link, result: Result<T, Fault>) -> Result<T> {
        result.map_err(|fault| {
            let _ = link.close(socket, Some(fault.code()), "");
            let error = fault.into_error();
            // Before the end of the connection, so that the other half tells it.
            link.reading_failed(socket, &error);
            close::drop_connection(socket);
            self.fail(socket, link, error)
        })
    }
}

/// Does what has to be done before a step that reads: where something is left to be sent, waits until that goes on or there
/// is something more to read than was read ahead. Whether there may be.
fn give_way(socket: &mut TcpSocket, link: &Link, operation: &mut Operation, until: Until) -> Result<bool> {
    if !link.has_unsent() {
        return Ok(true);
    }
    if !link.push(socket).unwrap_or(true) {
        let events = WaitEvents::READ | WaitEvents::WRITE;
        let found = socket.ready_step(operation, events, &|| !link.has_unsent(), until == Until::Stopping)?;
        return Ok(found.contains(WaitEvents::READ));
    }
    Ok(true)
}

/// Whether nothing can be read after this: it is no limit, and no want of memory, which may pass.
fn is_for_good(error: &Error) -> bool {
    error.is_sticky() && !matches!(error, Error::GlobalTimeout) && error.kind() != io::ErrorKind::OutOfMemory
}

fn out_of_memory(error: io::Error) -> Error {
    Error::io("receive", error)
}

/// Fails when the time of an operation is up though something has come all the time, or where it has looked at much without
/// waiting.
fn check_time(socket: &mut TcpSocket, operation: &mut Operation, others: &mut usize) -> Result<()> {
    *others += 1;
    if operation.is_zero() && *others < MOST_AT_ONCE {
        return Ok(());
    }
    socket.check_time(operation)
}

/// Drops what has come behind a close frame, RFC 6455, section 1.4: else queues would report it again and again, and so the end
/// of the stream. Whether the connection goes on. Doesn't block.
fn drop_what_follows(socket: &mut TcpSocket, link: &Link, operation: &mut Operation) -> bool {
    for _ in 0..MOST_AT_ONCE {
        let count = socket.buffer().len();
        socket.consume(count);
        match socket.read_ahead_step(operation, Ahead::Usual, &|| true) {
            Ok(Step::Came(_)) => {}
            Ok(Step::End) => {
                link.note_end(socket);
                return true;
            }
            // Under TLS without close_notify: the peer may read on.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                link.note_end(socket);
                return true;
            }
            Ok(Step::CalledOff) | Err(Error::Timeout | Error::Aborted) => return true,
            Err(_) => return false,
        }
    }
    true
}

enum Next {
    Message(Message),
    Close(Option<Close>),
}

enum Stepped {
    On,
    Stopping,
    Event(Event),
}
