//! The loop that every operation is: try, wait, try again.

use std::cell::Cell;
use std::io;
use std::sync::Arc;

use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::events::WaitEvents;
use crate::opening::{Direction, InUse, WaitTurn};
use crate::raw_wait::RawWait;
use crate::registry::ShutdownRegistry;
use crate::sys::BorrowedSocket;

/// An operation: its name, and where and for what it waits.
pub(super) struct TryWait<'a> {
    name: &'static str,
    direction: Direction,
    events: WaitEvents,
    raw_wait: &'a dyn RawWait,
    /// The registry whose stopping ends the wait, for `wait_request`.
    ends_with: Option<&'a ShutdownRegistry>,
    /// The next run waits before its first attempt, which would hardly find anything.
    skips_first_try: Cell<bool>,
    /// What waits have reported since the last attempt. Only changes are reported, so no report may be dropped.
    reports: Cell<WaitEvents>,
}

impl<'a> TryWait<'a> {
    pub(super) fn new(
        name: &'static str,
        direction: Direction,
        events: WaitEvents,
        raw_wait: &'a Arc<dyn RawWait>,
    ) -> TryWait<'a> {
        TryWait {
            name,
            direction,
            events,
            raw_wait: &**raw_wait,
            ends_with: None,
            skips_first_try: Cell::new(false),
            reports: Cell::new(WaitEvents::empty()),
        }
    }

    /// Tries again, instead of waiting, once `registry` is stopping.
    pub(super) fn until_stopping(self, registry: &'a ShutdownRegistry) -> TryWait<'a> {
        TryWait {
            ends_with: Some(registry),
            ..self
        }
    }

    /// Makes the next run wait before its first attempt, `if_so`.
    pub(super) fn skip_first_try(&self, if_so: bool) {
        self.skips_first_try.set(if_so);
    }

    fn is_stopping(&self) -> bool {
        self.ends_with.is_some_and(ShutdownRegistry::is_stopping)
    }

    /// Runs `attempt` until it doesn't say `WouldBlock`, and waits in between.
    ///
    /// Each `attempt` is passed what waits have reported since the one before.
    #[inline]
    pub(super) fn run<T>(
        &self,
        in_use: &mut InUse<'_>,
        deadline: &mut Deadline,
        mut attempt: impl FnMut(BorrowedSocket<'_>, WaitEvents) -> io::Result<T>,
    ) -> Result<T> {
        deadline.check_global()?;
        let waits = in_use.side(self.direction).waits();
        if !self.skips_first_try.take()
            && let Some(value) = self.attempted(in_use, deadline, &mut attempt)?
        {
            return Ok(value);
        }
        self.wait_and_run(in_use, waits, deadline, attempt)
    }

    /// Waits and tries again, after an attempt that found nothing. `waits` is what the side's `waits` said before that
    /// attempt.
    #[inline(never)]
    fn wait_and_run<T>(
        &self,
        in_use: &mut InUse<'_>,
        mut waits: usize,
        deadline: &mut Deadline,
        mut attempt: impl FnMut(BorrowedSocket<'_>, WaitEvents) -> io::Result<T>,
    ) -> Result<T> {
        loop {
            if let Some(value) = self.run_until_due(in_use, waits, deadline, &mut attempt)? {
                return Ok(value);
            }
            in_use.call_when_wait(deadline)?;
            waits = in_use.side(self.direction).waits();
            if let Some(value) = self.attempted(in_use, deadline, &mut attempt)? {
                return Ok(value);
            }
        }
    }

    /// Waits and tries again until `when_wait` is due. Then it returns None.
    fn run_until_due<T>(
        &self,
        in_use: &InUse<'_>,
        mut waits: usize,
        deadline: &mut Deadline,
        attempt: &mut impl FnMut(BorrowedSocket<'_>, WaitEvents) -> io::Result<T>,
    ) -> Result<Option<T>> {
        // Before the turn, which is a lock: the logger is the program's code.
        if !deadline.is_zero() && log::log_enabled!(target: "wakesock", log::Level::Trace) {
            self.trace(in_use);
        }
        let mut turn = None;
        loop {
            if deadline.callback_is_due()? {
                return Ok(None);
            }
            match &mut turn {
                Some(turn) => self.wait(turn, deadline)?,
                none => {
                    let Some(taken) = WaitTurn::take(in_use, self.direction, deadline)? else {
                        return Ok(None);
                    };
                    let turn = none.insert(taken);
                    if !turn.someone_waited_since(waits) {
                        self.wait(turn, deadline)?;
                    }
                }
            }
            if turn.as_ref().is_some_and(WaitTurn::has_failed) {
                turn = None;
            }
            waits = in_use.side(self.direction).waits();
            let attempted = self.attempted(in_use, deadline, attempt)?;
            if attempted.is_some() {
                return Ok(attempted);
            }
        }
    }

    fn wait(&self, turn: &mut WaitTurn<'_>, deadline: &mut Deadline) -> Result<()> {
        let reported = turn.wait(self.raw_wait, self.events, deadline, || self.is_stopping())?;
        self.reports.set(self.reports.get() | reported);
        Ok(())
    }

    #[cold]
    fn trace(&self, in_use: &InUse<'_>) {
        log::trace!(target: "wakesock", "{}: {}: wait for {:?}", in_use.id(), self.name, self.events);
    }

    /// Makes an attempt. None if it would block.
    #[inline]
    fn attempted<T>(
        &self,
        in_use: &InUse<'_>,
        deadline: &mut Deadline,
        attempt: &mut impl FnMut(BorrowedSocket<'_>, WaitEvents) -> io::Result<T>,
    ) -> Result<Option<T>> {
        loop {
            in_use.check()?;
            match attempt(in_use.socket(), self.reports.take()) {
                Ok(value) => return Ok(Some(value)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => deadline.check()?,
                Err(error) => return Err(Error::io(self.name, error)),
            }
        }
    }

    /// What waits have reported after the last attempt, if something ended the operation before it could try again.
    pub(super) fn pending_report(&self) -> WaitEvents {
        self.reports.take()
    }
}
