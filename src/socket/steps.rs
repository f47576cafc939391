//! What a protocol above a socket is made of: operations of several steps, with one limit over all of them.

use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use super::deciphering::{Flushing, after_handshake};
use super::input::{Filling, Input};
use super::limits::Limits;
use super::sending::Sending;
use super::source::Source;
use super::spare::Ahead;
use super::try_wait::{Attempt, Failed, Progress, READING, TryWait, WRITING, Wait};
use super::wait::Looking;
use super::{Directions, Outcome, TcpSocket};
use crate::deadline::moment_after;
use crate::error::{Error, Result};
use crate::events::WaitEvents;
use crate::opening::{Direction, InUse};
use crate::registry::ShutdownRegistry;
use crate::sys;
use crate::tls::{Session, UNFINISHED, Written, is_for_now};

/// An operation of several steps.
pub(crate) struct Operation {
    progress: Progress,
    name: &'static str,
}

/// What a step that reads has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many bytes came, at least one.
    Came(usize),
    /// The stream has ended.
    End,
    /// Something came up that is to be done first.
    CalledOff,
}

/// What calls a step off that is blocked, or would block. Whoever makes it true wakes the steps after that.
pub(crate) type CallOff<'a> = &'a dyn Fn() -> bool;

impl Operation {
    /// Tells `when_wait` that `count` more bytes were moved.
    pub(crate) fn add_done(&mut self, count: usize) {
        self.progress.deadline.add_done(count);
    }

    /// What is left of its time; `Err(Timeout)` and so on when it is up. Begins it.
    pub(crate) fn left(&mut self) -> Result<Option<Duration>> {
        self.progress.deadline.left()
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.progress.deadline.is_zero()
    }

    /// Lets it take no longer than `limit` from now, whatever its own is.
    pub(crate) fn shorten(&mut self, limit: Duration) {
        self.progress.deadline.shorten(limit);
    }
}

impl TcpSocket {
    /// Begins an operation that reads.
    #[inline]
    pub(crate) fn begin_reading(&mut self, name: &'static str) -> Result<Operation> {
        self.begin_steps(name, Directions::READ)
    }

    /// Begins an operation that takes what was read ahead, in the short way. False if something is special, or none may begin.
    #[inline]
    pub(crate) fn begin_at_once(&mut self) -> bool {
        self.last = Outcome::default();
        self.special.is_none() && self.opening.check_open().is_ok()
    }

    /// Begins an operation that writes.
    #[inline]
    pub(crate) fn begin_writing(&mut self, name: &'static str) -> Result<Operation> {
        self.begin_steps(name, Directions::WRITE)
    }

    /// Goes on with an operation that has [not written all](TcpSocket::send_step_at_once).
    pub(crate) fn go_on_writing(&mut self, name: &'static str) -> Operation {
        let mut progress = Progress::new(self.deadline());
        if sys::SHORT_WRITE_FILLS {
            progress.would_block(&self.opening, Direction::Write);
        }
        Operation { progress, name }
    }

    #[inline]
    fn begin_steps(&mut self, name: &'static str, directions: Directions) -> Result<Operation> {
        self.begin(directions)?;
        Ok(Operation {
            progress: Progress::new(self.deadline()),
            name,
        })
    }

    /// Begins an operation that ends the connection, whatever its errors are: with a limit of its own, which runs from now.
    pub(crate) fn begin_ending(&mut self, name: &'static str, limit: Option<Duration>) -> Result<Operation> {
        self.last = Outcome::default();
        self.opening.check_open()?;
        let mut deadline = self.deadline_within(Limits {
            each: limit,
            ..self.limits()
        });
        deadline.begin();
        Ok(Operation {
            progress: Progress::new(deadline),
            name,
        })
    }

    /// Appends to `bytes`, within its capacity, at most `most` of what comes, which is not zero. There is nothing in the buffer.
    pub(crate) fn read_step(
        &mut self,
        operation: &mut Operation,
        bytes: &mut Vec<u8>,
        most: usize,
        call_off: CallOff<'_>,
    ) -> Result<Step> {
        debug_assert!(self.input.buffer.is_empty(), "what was read ahead is first");
        let step = self.step(operation, call_off, false, |input| {
            input.reading(move |input: &mut Input, source: Source<'_>| input.append_to(bytes, most, source))
        });
        self.publish_unread();
        self.remember_failure(Directions::READ, step)
    }

    /// Reads more into the buffer, as much as `ahead` says. At a limit, what is there is not reported as something to read until
    /// more has come.
    pub(crate) fn read_ahead_step(
        &mut self,
        operation: &mut Operation,
        ahead: Ahead,
        call_off: CallOff<'_>,
    ) -> Result<Step> {
        let step = self.step(operation, call_off, false, |input| {
            input.reading(move |input: &mut Input, source: Source<'_>| input.read_ahead(ahead, source))
        });
        match step {
            Err(error) => self.leave(error),
            step => {
                self.publish_unread();
                step
            }
        }
    }

    /// Reads more into the buffer, as [`read_ahead_step`](TcpSocket::read_ahead_step), but is called off, too, once
    /// [nothing more is to be waited for](TcpSocket::is_let_go).
    pub(crate) fn read_request_step(&mut self, operation: &mut Operation, call_off: CallOff<'_>) -> Result<Step> {
        let ends_with_registry = !self.input.has_part_of_record();
        let step = self.step(operation, call_off, ends_with_registry, |input| {
            input.reading(Filling(0))
        });
        match step {
            Err(error) => self.leave(error),
            step => {
                self.publish_unread();
                step
            }
        }
    }

    /// Lets go of memory that was made to read ahead, if there is little in it.
    #[inline]
    pub(crate) fn shrink_ahead(&mut self) {
        self.input.buffer.shrink();
    }

    /// Whether the registry is stopping, and nothing has come of what would follow.
    pub(crate) fn is_let_go(&self) -> bool {
        self.registry.is_stopping() && !self.input.has_part_of_record()
    }

    fn step<'a, A>(
        &'a mut self,
        operation: &mut Operation,
        call_off: CallOff<'_>,
        ends_with_registry: bool,
        reading: impl FnOnce(&'a mut Input) -> A,
    ) -> Result<Step>
    where
        A: Attempt<Value = usize>,
    {
        if self.input.is_eof() {
            return Ok(Step::End);
        }
        let progress = &mut operation.progress;
        if progress.is_new() && self.should_wait_before_trying() {
            progress.would_block(&self.opening, Direction::Read);
        }
        let mut in_use = self.opening.enter()?;
        let registry = ends_with_registry.then_some(&self.registry);
        let call_off = || call_off() || registry.is_some_and(ShutdownRegistry::is_stopping);
        let mut attempt = Unless {
            attempt: reading(&mut self.input),
            call_off: &call_off,
        };
        let mut try_wait = TryWait::new(operation.name, READING, &self.raw_wait);
        if let Some(registry) = registry {
            try_wait = try_wait.until_stopping(registry);
        }
        let step = try_wait.go_on(&mut in_use, progress, &mut attempt);
        progress.has_read = true;
        Ok(match step? {
            None => Step::CalledOff,
            Some(0) => Step::End,
            Some(count) => Step::Came(count),
        })
    }

    /// Blocks until the socket is ready for some of `events`, or the step is called off: then it returns none. Bytes that were
    /// read ahead before don't count as readable, and at a limit are not reported as something to read until more has come. It
    /// waits where readers wait if `events` has `READ`, else where writers do. If it `ends_with_registry`, it is called off, too,
    /// once [nothing more is to be waited for](TcpSocket::is_let_go).
    pub(crate) fn ready_step(
        &mut self,
        operation: &mut Operation,
        events: WaitEvents,
        call_off: CallOff<'_>,
        ends_with_registry: bool,
    ) -> Result<WaitEvents> {
        let direction = if events.contains(WaitEvents::READ) {
            Direction::Read
        } else {
            Direction::Write
        };
        let ends_with_registry = ends_with_registry && !self.input.has_part_of_record();
        let registry = ends_with_registry.then_some(&self.registry);
        let call_off = || call_off() || registry.is_some_and(ShutdownRegistry::is_stopping);
        let mut in_use = self.opening.enter()?;
        let known = self.input.buffer.len();
        let mut looking = Unless {
            attempt: Looking {
                input: &mut self.input,
                session: self.special.session(),
                events,
                known,
            },
            call_off: &call_off,
        };
        let mut try_wait = TryWait::new(operation.name, Wait { direction, events }, &self.raw_wait);
        if let Some(registry) = registry {
            try_wait = try_wait.until_stopping(registry);
        }
        let found = try_wait.go_on(&mut in_use, &mut operation.progress, &mut looking);
        drop(in_use);
        match &found {
            // What there is to read is for who reads to tell: that may be the other half.
            _ if direction == Direction::Write => {}
            Err(error) => self.publish_part(error),
            Ok(_) if self.is_enciphered() => self.publish_unread(),
            Ok(_) => {}
        }
        self.remember_failure(Directions::of_wait(events), found.map(Option::unwrap_or_default))
    }

    /// Blocks until `attempt`, which writes, says true. It is made again whenever there may be room.
    pub(crate) fn write_step(
        &self,
        operation: &mut Operation,
        attempt: &mut dyn FnMut() -> Result<bool>,
    ) -> Result<()> {
        self.drain_step(operation, attempt, &mut || 0)
    }

    /// Blocks until `push`, which writes, says true. `moved` says how many bytes have gone since it was asked last.
    pub(crate) fn drain_step(
        &self,
        operation: &mut Operation,
        push: &mut dyn FnMut() -> Result<bool>,
        moved: &mut dyn FnMut() -> usize,
    ) -> Result<()> {
        let mut in_use = self.opening.enter()?;
        let mut pushing = Pushing {
            push,
            moved,
            session: self.special.session(),
        };
        TryWait::new(operation.name, WRITING, &self.raw_wait).go_on(&mut in_use, &mut operation.progress, &mut pushing)
    }

    /// Whether another attempt to send may find room, when one has sent `count` bytes and not all.
    pub(crate) fn may_take_more_than(&self, count: usize) -> bool {
        count > 0 && (self.is_enciphered() || !sys::SHORT_WRITE_FILLS)
    }

    /// Whether it is under TLS.
    pub(crate) fn is_enciphered(&self) -> bool {
        self.special.session().is_some()
    }

    /// Sends what goes of `data` at once, which may be nothing. Doesn't block. Under TLS, sent means taken:
    /// [`flush_step`](TcpSocket::flush_step) says whether it has gone.
    #[inline]
    pub(crate) fn send_step(&self, name: &'static str, data: &[u8]) -> Result<usize> {
        let sent = match self.special.session() {
            None => self.try_once(name, &mut Sending(data)),
            Some(session) => {
                let mut enciphering = after_handshake(session, |wire| session.write(wire, &[IoSlice::new(data)]));
                match self.try_once(name, &mut enciphering)? {
                    Some(Written { sent: Err(error), .. }) if !is_for_now(&error) => {
                        return Err(self.failed_step(name, error));
                    }
                    written => Ok(written.map(|written| written.taken)),
                }
            }
        };
        sent.map(Option::unwrap_or_default)
    }

    /// Whether nothing is special that [`send_step_at_once`](TcpSocket::send_step_at_once) doesn't do.
    #[inline]
    pub(crate) fn may_send_at_once(&self) -> bool {
        self.special.is_none()
    }

    /// Sends what goes of `data` at once, as [`send_step`](TcpSocket::send_step), and is a whole operation, which moves no bytes
    /// of the program's. None if something is special: then nothing was done.
    #[inline(always)]
    pub(crate) fn send_step_at_once(&mut self, name: &'static str, data: &[u8]) -> Option<Result<usize>> {
        let sent = match self.send_at_once(data) {
            Ok(count) => Ok(count),
            Err(failed) => self.failed_at_once(name, failed?),
        };
        self.last = Outcome::default();
        Some(sent)
    }

    #[cold]
    fn failed_at_once(&self, name: &'static str, failed: Failed) -> Result<usize> {
        match failed.error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
            _ => Err(self.failed_step(name, failed.error)),
        }
    }

    /// Sends what goes at once of what is unsent. Whether that was all. Doesn't block.
    #[inline]
    pub(crate) fn flush_step(&self, name: &'static str) -> Result<bool> {
        match self.special.session() {
            None => Ok(true),
            Some(session) => Ok(self.try_once(name, &mut Flushing(session))?.is_some()),
        }
    }

    /// Makes one attempt; None if that would block.
    #[inline]
    fn try_once<A: Attempt>(&self, name: &'static str, attempt: &mut A) -> Result<Option<A::Value>> {
        let in_use = self.opening.enter()?;
        loop {
            let error = match attempt.attempt(&in_use) {
                Ok(value) => return Ok(Some(value)),
                Err(error) => error,
            };
            match error.kind() {
                io::ErrorKind::WouldBlock | UNFINISHED => return Ok(None),
                io::ErrorKind::Interrupted => in_use.check()?,
                _ => return Err(self.failed_step(name, error)),
            }
        }
    }

    /// The error of a step that has failed with `error`.
    #[cold]
    fn failed_step(&self, name: &'static str, error: io::Error) -> Error {
        Error::of_attempt(name, error).of_operation(|| self.opening.named(name, "to"))
    }

    /// Lets blocked steps look whether they are called off.
    pub(crate) fn wake_steps(&self) {
        self.opening.wake();
    }

    /// Says whether nobody wants to read, so that queues don't report what there is, as the end of the stream, which lasts.
    pub(crate) fn set_unwanted(&self, unwanted: bool) {
        self.opening.set_unwanted(unwanted);
    }

    /// Lets queues report that there is something to read once `limit` is over, counted from now.
    pub(crate) fn call_after(&self, limit: Option<Duration>) {
        self.opening.set_alarm(limit.and_then(moment_after));
    }

    /// Puts reading into the error state.
    pub(crate) fn fail_reading(&mut self, error: &Error) {
        self.set_sticky(Directions::READ, error);
    }

    /// Puts writing into the error state.
    pub(crate) fn fail_writing(&mut self, error: &Error) {
        self.set_sticky(Directions::WRITE, error);
    }

    /// Notes that an operation has run out of time though it has returned something.
    pub(crate) fn note_timeout(&mut self) {
        self.last.set_timeout();
    }

    /// Notes that an operation has run out of time, if that is what it fails with: `error`.
    pub(crate) fn noted(&mut self, error: Error) -> Error {
        if error.is_timeout() {
            self.note_timeout();
        }
        error
    }

    /// Fails when the time of an operation that reads is up, between its steps.
    pub(crate) fn check_time(&mut self, operation: &mut Operation) -> Result<()> {
        let left = operation.left().map(drop);
        self.remember_failure(Directions::READ, left)
    }

    /// Notes that an operation has ended in time, whatever its steps have come to.
    pub(crate) fn note_in_time(&mut self) {
        self.last = Outcome::default();
    }
}

/// The sending of what a protocol has to be sent.
struct Pushing<'a> {
    /// Sends what goes. Whether that was all.
    push: &'a mut dyn FnMut() -> Result<bool>,
    moved: &'a mut dyn FnMut() -> usize,
    session: Option<&'a Session>,
}

impl Attempt for Pushing<'_> {
    type Value = ();

    fn attempt(&mut self, _in_use: &InUse<'_>) -> io::Result<()> {
        match (self.push)() {
            Ok(true) => Ok(()),
            Ok(false) => Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => Err(io::Error::from(error)),
        }
    }

    fn waits_for(&self, usual: WaitEvents) -> WaitEvents {
        self.session.map_or(usual, Session::writing_waits_for)
    }

    fn would_wait_in_vain(&self, _usual: WaitEvents, events: WaitEvents) -> bool {
        // After the handshake an attempt says itself what has failed, and what tells the peer of that may wait for room.
        let would_fail = |session: &Session| session.is_handshaking() && session.has_failed();
        self.session
            .is_some_and(|session| session.writing_waits_for() != events || would_fail(session))
    }

    fn tries_again_at(&self) -> Option<Instant> {
        self.session.and_then(Session::last_flight_ends)
    }

    fn take_moved(&mut self) -> usize {
        (self.moved)()
    }
}

/// An attempt, unless it is called off while it would block: then None.
struct Unless<'a, A> {
    attempt: A,
    call_off: CallOff<'a>,
}

impl<A: Attempt> Attempt for Unless<'_, A> {
    type Value = Option<A::Value>;

    fn attempt(&mut self, in_use: &InUse<'_>) -> io::Result<Option<A::Value>> {
        match self.attempt.attempt(in_use) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && (self.call_off)() => Ok(None),
            attempted => attempted.map(Some),
        }
    }

    fn waits_for(&self, usual: WaitEvents) -> WaitEvents {
        self.attempt.waits_for(usual)
    }

    fn would_wait_in_vain(&self, usual: WaitEvents, events: WaitEvents) -> bool {
        (self.call_off)() || self.attempt.would_wait_in_vain(usual, events)
    }

    fn tries_again_at(&self) -> Option<Instant> {
        self.attempt.tries_again_at()
    }

    fn note_report(&mut self, reported: WaitEvents) {
        self.attempt.note_report(reported);
    }
}
