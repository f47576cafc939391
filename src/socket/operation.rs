//! The one loop that all operations are: try, wait, try again.

use std::cell::Cell;
use std::io;
use std::sync::Arc;

use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::raw_wait::{RawWait, WaitEvents};
use crate::registry::ShutdownRegistry;
use crate::shared::Inside;
use crate::sys::BorrowedSocket;
use crate::turn::{Side, Turn};

/// What an operation is called, and where and for what it waits.
pub(super) struct Operation<'a> {
    name: &'static str,
    side: Side,
    events: WaitEvents,
    raw_wait: &'a dyn RawWait,
    /// The registry whose stopping makes waiting pointless, for the operation that asks for it.
    ends_with: Option<&'a ShutdownRegistry>,
    /// The first attempt is left out, since it would hardly find anything.
    waits_first: Cell<bool>,
    /// What waits have reported since the last attempt. Reports are of changes, so each must be heeded once.
    reports: Cell<WaitEvents>,
}

impl<'a> Operation<'a> {
    pub(super) fn new(
        name: &'static str,
        side: Side,
        events: WaitEvents,
        raw_wait: &'a Arc<dyn RawWait>,
    ) -> Operation<'a> {
        Operation {
            name,
            side,
            events,
            raw_wait: &**raw_wait,
            ends_with: None,
            waits_first: Cell::new(false),
            reports: Cell::new(WaitEvents::empty()),
        }
    }

    /// Tries again, instead of waiting, once `registry` is stopping.
    pub(super) fn until_stopping(self, registry: &'a ShutdownRegistry) -> Operation<'a> {
        Operation {
            ends_with: Some(registry),
            ..self
        }
    }

    /// Leaves the first attempt out, `if_so`.
    pub(super) fn waiting_first(self, if_so: bool) -> Operation<'a> {
        self.waits_first.set(if_so);
        self
    }

    fn is_stopping(&self) -> bool {
        self.ends_with.is_some_and(ShutdownRegistry::is_stopping)
    }

    /// Runs `attempt` until it doesn't say `WouldBlock`, and waits in between.
    ///
    /// `attempt` is told what was reported since the one before.
    pub(super) fn run<T>(
        &self,
        inside: &mut Inside<'_>,
        deadline: &mut Deadline,
        mut attempt: impl FnMut(BorrowedSocket<'_>, WaitEvents) -> io::Result<T>,
    ) -> Result<T> {
        deadline.check_global()?;
        loop {
            if let Some(value) = self.run_until_due(inside, deadline, &mut attempt)? {
                return Ok(value);
            }
            inside.call_watch(deadline)?;
        }
    }

    /// The same until a watch is due; then it gives nothing.
    fn run_until_due<T>(
        &self,
        inside: &Inside<'_>,
        deadline: &mut Deadline,
        attempt: &mut impl FnMut(BorrowedSocket<'_>, WaitEvents) -> io::Result<T>,
    ) -> Result<Option<T>> {
        let mut turn = None;
        loop {
            inside.check()?;
            let waits = inside.place(self.side).waits();
            if !self.waits_first.take() {
                match attempt(inside.socket(), self.reports.take()) {
                    Ok(value) => return Ok(Some(value)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                        deadline.check()?;
                        continue;
                    }
                    Err(error) => return Err(Error::io(self.name, error)),
                }
            }
            if deadline.is_due()? {
                return Ok(None);
            }
            let turn = match &mut turn {
                Some(turn) => turn,
                none => {
                    let Some(taken) = Turn::take(inside, self.side, deadline)? else {
                        return Ok(None);
                    };
                    let turn = none.insert(taken);
                    if turn.is_stale(waits) {
                        continue;
                    }
                    turn
                }
            };
            let reported = turn.wait(self.raw_wait, self.events, deadline, || self.is_stopping())?;
            self.reports.set(self.reports.get() | reported);
        }
    }

    /// What was reported when something ended the operation before it could look after it.
    pub(super) fn unheeded(&self) -> WaitEvents {
        self.reports.take()
    }
}
