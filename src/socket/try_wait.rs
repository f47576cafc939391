//! The loop that every operation is: try, wait, try again.
//!
//! [`try_at_once`] and [`run_at_once`] are the short way: enter, wait at most once, one system call, leave. Where that was not
//! all, [`TryWait`] goes on: with limits, callbacks and waits. Operations are written as two functions, so that the compiler
//! puts only the short way into the first.

use std::io;
use std::mem;
use std::time::{Duration, Instant};

use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::events::WaitEvents;
use crate::opening::{Direction, InUse, Opening, WaitTurn};
use crate::raw_wait::Chosen;
use crate::registry::ShutdownRegistry;
use crate::tls::UNFINISHED;

/// What an operation does with the system.
pub(super) trait Attempt {
    type Value;

    /// Tries. `WouldBlock` makes the operation wait, and try again; [`UNFINISHED`] makes it try again, if there is time left.
    fn attempt(&mut self, in_use: &InUse<'_>) -> io::Result<Self::Value>;

    /// What to wait for before the next attempt, where that is usually `usual`.
    #[inline]
    fn waits_for(&self, usual: WaitEvents) -> WaitEvents {
        usual
    }

    /// Whether a wait for `events`, which is usually one for `usual`, would be in vain, because another thread has changed
    /// something meanwhile. To be asked when what changes later wakes the wait.
    #[inline]
    fn would_wait_in_vain(&self, _usual: WaitEvents, _events: WaitEvents) -> bool {
        false
    }

    /// When to try again at the latest.
    #[inline]
    fn tries_again_at(&self) -> Option<Instant> {
        None
    }

    /// How many bytes it has moved without being over, since this was asked last: for `when_wait`.
    #[inline]
    fn take_moved(&mut self) -> usize {
        0
    }

    /// Notes what a wait has reported, which won't be reported again.
    fn note_report(&mut self, _reported: WaitEvents) {}
}

impl<T, F: FnMut(&InUse<'_>) -> io::Result<T>> Attempt for F {
    type Value = T;

    #[inline(always)]
    fn attempt(&mut self, in_use: &InUse<'_>) -> io::Result<T> {
        self(in_use)
    }
}

/// Why an operation is not over yet: what a wait or an attempt has come to, or would.
pub(super) struct Failed {
    pub(super) error: io::Error,
    after: After,
}

enum After {
    /// An attempt, before which [`Side::waits`](crate::opening::Side::waits) said this.
    Attempt(usize),
    Wait,
}

/// An operation under way: its limit, and why it is not over yet, if something was done already.
pub(super) struct Progress {
    pub(super) deadline: Deadline,
    failed: Option<Failed>,
    /// It has read something from the system.
    pub(super) has_read: bool,
}

impl Progress {
    #[inline]
    pub(super) fn new(deadline: Deadline) -> Progress {
        Progress {
            deadline,
            failed: None,
            has_read: false,
        }
    }

    /// Makes the operation wait first, where there is hardly anything to be found before that.
    pub(super) fn would_block(&mut self, opening: &Opening, direction: Direction) {
        self.note_failed(io::ErrorKind::WouldBlock.into(), opening, direction);
    }

    /// Makes the operation go on as after an attempt that has failed with `error`.
    pub(super) fn note_failed(&mut self, error: io::Error, opening: &Opening, direction: Direction) {
        self.failed = Some(Failed::attempt(error, opening.side(direction).waits()));
    }

    /// Ends an operation that was over in the short way: there is nothing to drop.
    #[inline]
    pub(super) fn finish(self) {
        debug_assert!(self.is_new() && self.deadline.is_plain());
        mem::forget(self);
    }

    /// Whether nothing was done yet.
    #[inline]
    pub(super) fn is_new(&self) -> bool {
        self.failed.is_none()
    }

    /// Notes what a first attempt has come to.
    #[inline]
    pub(super) fn note<T>(&mut self, result: Result<T, Option<Failed>>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(failed) => {
                self.failed = failed;
                None
            }
        }
    }
}

impl Failed {
    #[inline(always)]
    fn attempt(error: io::Error, waits: usize) -> Failed {
        Failed {
            error,
            after: After::Attempt(waits),
        }
    }
}

/// Makes one attempt. `Err(None)` if no operation may begin.
///
/// For operations of which nothing special is in force.
#[inline(always)]
pub(super) fn try_at_once<A: Attempt>(
    opening: &Opening,
    direction: Direction,
    attempt: &mut A,
) -> Result<A::Value, Option<Failed>> {
    let Some(in_use) = opening.enter_at_once() else {
        return Err(None);
    };
    let waits = opening.side(direction).waits();
    attempt
        .attempt(&in_use)
        .map_err(|error| Some(Failed::attempt(error, waits)))
}

/// Makes one attempt, after a wait if there is hardly anything to be found before that. None if that was not all.
///
/// For operations of which nothing special is in force, and which no other thread can be in.
#[inline(always)]
pub(super) fn run_at_once<A: Attempt>(
    opening: &Opening,
    wait: Wait,
    waits_first: bool,
    progress: &mut Progress,
    attempt: &mut A,
) -> Option<A::Value> {
    let in_use = opening.enter_at_once()?;
    if waits_first {
        // Also if something has ended the wait: it won't be reported again.
        attempt.note_report(wait_once(opening, wait, progress)?);
        if !opening.may_go_on() || progress.deadline.was_ended(opening.side(wait.direction).ends()) {
            // The long way tells. What was reported is there, and is not to be waited for.
            progress.failed = Some(Failed::attempt(io::ErrorKind::Interrupted.into(), 0));
            return None;
        }
    }
    match attempt.attempt(&in_use) {
        Ok(value) => Some(value),
        Err(error) => {
            let waits = opening.side(wait.direction).waits();
            progress.failed = Some(Failed::attempt(error, waits));
            None
        }
    }
}

/// Waits once, in an `opening` that this thread has entered. Returns what was reported; None if it takes the long way.
#[inline(never)]
fn wait_once(opening: &Opening, wait: Wait, progress: &mut Progress) -> Option<WaitEvents> {
    let side = opening.side(wait.direction);
    if side.has_deadline() {
        // It may have passed: then what is there may be taken, and no more.
        return Some(WaitEvents::empty());
    }
    progress.deadline.note_ends(side.ends());
    let waiter = if is_traced() { None } else { side.try_waiter() };
    if let Some(mut waiter) = waiter
        // The waker is in the list: what ends the socket from here on finds it, and what came before is seen here.
        && opening.may_go_on()
    {
        match waiter.wait(wait.events, progress.deadline.begin()) {
            Ok(reported) => return Some(reported),
            Err(error) => {
                let after = After::Wait;
                progress.failed = Some(Failed { error, after });
            }
        }
    } else {
        progress.would_block(opening, wait.direction);
    }
    None
}

#[inline]
fn is_traced() -> bool {
    log::log_enabled!(target: "wakesock", log::Level::Trace)
}

/// How long a wait lasts for what may come without a report, before the operation tries again.
const STEP: Duration = Duration::from_millis(250);

/// Where and for what an operation waits.
#[derive(Clone, Copy)]
pub(super) struct Wait {
    pub(super) direction: Direction,
    pub(super) events: WaitEvents,
}

/// How operations wait that read, or accept.
pub(super) const READING: Wait = Wait {
    direction: Direction::Read,
    events: WaitEvents::READ,
};

/// How operations wait that write, or connect.
pub(super) const WRITING: Wait = Wait {
    direction: Direction::Write,
    events: WaitEvents::WRITE,
};

/// An operation in the long way: its name, and how it waits.
#[derive(Clone, Copy)]
pub(super) struct TryWait<'a> {
    name: &'static str,
    wait: Wait,
    raw_wait: &'a Chosen,
    /// The registry whose stopping ends the wait, for `wait_request`.
    ends_with: Option<&'a ShutdownRegistry>,
}

impl<'a> TryWait<'a> {
    pub(super) fn new(name: &'static str, wait: Wait, raw_wait: &'a Chosen) -> TryWait<'a> {
        TryWait {
            name,
            wait,
            raw_wait,
            ends_with: None,
        }
    }

    /// Tries again, instead of waiting, once `registry` is stopping.
    pub(super) fn until_stopping(self, registry: &'a ShutdownRegistry) -> TryWait<'a> {
        TryWait {
            ends_with: Some(registry),
            ..self
        }
    }

    fn is_stopping(&self) -> bool {
        self.ends_with.is_some_and(ShutdownRegistry::is_stopping)
    }

    /// Goes on with an operation: tries until an attempt doesn't say `WouldBlock`, and waits in between.
    pub(super) fn go_on<A: Attempt>(
        self,
        in_use: &mut InUse<'_>,
        progress: &mut Progress,
        attempt: &mut A,
    ) -> Result<A::Value> {
        self.run_after(progress.failed.take(), in_use, &mut progress.deadline, attempt)
    }

    /// Tries until an attempt doesn't say `WouldBlock`, and waits in between.
    pub(super) fn run<A: Attempt>(
        self,
        in_use: &mut InUse<'_>,
        deadline: &mut Deadline,
        attempt: &mut A,
    ) -> Result<A::Value> {
        self.run_after(None, in_use, deadline, attempt)
    }

    fn run_after<A: Attempt>(
        self,
        mut failed: Option<Failed>,
        in_use: &mut InUse<'_>,
        deadline: &mut Deadline,
        attempt: &mut A,
    ) -> Result<A::Value> {
        deadline.check_global()?;
        deadline.check_ends(in_use.opening().side(self.wait.direction).ends())?;
        loop {
            match self.run_until_due(failed.take(), in_use, deadline, attempt) {
                Ok(Some(value)) => return Ok(value),
                Ok(None) => {
                    deadline.add_done(attempt.take_moved());
                    in_use.call_when_wait(deadline)?;
                }
                Err(error) => return Err(self.with_object(error, in_use.opening())),
            }
        }
    }

    /// Lets an error of the system name the operation, and whom it was with.
    #[cold]
    fn with_object(&self, error: Error, opening: &Opening) -> Error {
        let preposition = match (self.name, self.wait.direction) {
            ("wait", _) => "for",
            ("close" | "finish" | "start_tls" | "start_tls_server" | "wait_tls", _) => "with",
            ("connect", _) => "to",
            (_, Direction::Read) => "from",
            (_, Direction::Write) => "to",
        };
        error.of_operation(|| opening.named(self.name, preposition))
    }

    /// Tries and waits until `when_wait` is due. Then it returns None.
    fn run_until_due<A: Attempt>(
        &self,
        mut failed: Option<Failed>,
        in_use: &InUse<'_>,
        deadline: &mut Deadline,
        attempt: &mut A,
    ) -> Result<Option<A::Value>> {
        let mut turn = None;
        loop {
            if let Some(failed) = failed {
                if !self.prepare_attempt(failed, &mut turn, in_use, deadline, attempt)? {
                    return Ok(None);
                }
                if turn.as_ref().is_some_and(WaitTurn::has_failed) {
                    turn = None;
                }
                in_use.check_after_wait(self.wait.direction, deadline)?;
            }
            let waits = in_use.opening().side(self.wait.direction).waits();
            match attempt.attempt(in_use) {
                Ok(value) => return Ok(Some(value)),
                Err(error) => failed = Some(Failed::attempt(error, waits)),
            }
        }
    }

    /// Does what has to be done before the next attempt: waits, if the last one found nothing. False if `when_wait` is to be
    /// called instead.
    fn prepare_attempt<'t, A: Attempt>(
        &self,
        failed: Failed,
        turn: &mut Option<WaitTurn<'t>>,
        in_use: &'t InUse<'_>,
        deadline: &mut Deadline,
        attempt: &mut A,
    ) -> Result<bool> {
        deadline.note_ends(in_use.opening().side(self.wait.direction).ends());
        let Failed { error, after } = failed;
        let waits = match (after, error.kind()) {
            (After::Attempt(waits), io::ErrorKind::WouldBlock) => Some(waits),
            (After::Attempt(_), io::ErrorKind::Interrupted) => return deadline.check().map(|()| true),
            (After::Attempt(_), UNFINISHED) => return deadline.left().map(|_| true),
            (After::Attempt(_), _) => return Err(Error::of_attempt(self.name, error)),
            (After::Wait, _) => None,
        };
        if deadline.callback_is_due()? {
            return Ok(false);
        }
        let is_new = turn.is_none();
        if is_new {
            // Before the turn, which is a lock: the logger is the program's code.
            if !deadline.is_zero() && is_traced() {
                self.trace(in_use);
            }
            *turn = WaitTurn::take(in_use, self.wait.direction, deadline)?;
        }
        let Some(turn) = turn else {
            return Ok(false);
        };
        let events = attempt.waits_for(self.wait.events);
        let reported = match waits {
            Some(waits) if is_new && turn.someone_waited_since(waits) => WaitEvents::empty(),
            Some(_) => self.wait_in(turn, events, in_use, deadline, attempt)?,
            None => {
                // The next wait says that the time is up, after another attempt.
                let left = deadline.left().unwrap_or(Some(Duration::ZERO));
                turn.wait_failed(error, events, left)?
            }
        };
        attempt.note_report(reported);
        Ok(true)
    }

    fn wait_in<A: Attempt>(
        &self,
        turn: &mut WaitTurn<'_>,
        events: WaitEvents,
        in_use: &InUse<'_>,
        deadline: &mut Deadline,
        attempt: &A,
    ) -> Result<WaitEvents> {
        let is_vain = || self.is_stopping() || attempt.would_wait_in_vain(self.wait.events, events);
        let unreported = self
            .waits_for_unreported(in_use.opening())
            .then(|| Instant::now() + STEP);
        let at_latest = attempt.tries_again_at().into_iter().chain(unreported).min();
        let mut wait = || turn.wait(self.raw_wait.get(), events, deadline, at_latest, is_vain);
        match self.ends_with {
            None => wait(),
            Some(_) => in_use.opening().while_ending_with_accepting(wait),
        }
    }

    /// Whether what the operation waits for may come without a report: no poll tells who waits for room, in a connection of
    /// Unix, that the peer has ended its reading. A send then fails, though.
    fn waits_for_unreported(&self, opening: &Opening) -> bool {
        self.wait.direction == Direction::Write && opening.is_open() && opening.peer().is_none()
    }

    #[cold]
    fn trace(&self, in_use: &InUse<'_>) {
        log::trace!(target: "wakesock", "{}: {}: wait for {:?}", in_use.id(), self.name, self.wait.events);
    }
}
