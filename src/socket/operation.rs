//! The one loop that all operations are: try, wait, try again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::raw_wait::{RawWait, WaitEvents};
use crate::shared::{Inside, Side};

/// What an operation is called, and where and for what it waits.
pub(super) struct Operation<'a> {
    pub(super) name: &'static str,
    pub(super) side: Side,
    pub(super) events: WaitEvents,
    pub(super) raw_wait: &'a dyn RawWait,
}

impl Operation<'_> {
    /// Runs `attempt` until it doesn't say `WouldBlock`, and waits in between.
    ///
    /// `attempt` is told what the wait before it reported. With `wait_first` there is a wait before the first, too:
    /// for callers who know that it would block.
    pub(super) fn run<T>(
        &self,
        inside: &Inside<'_>,
        deadline: &mut Deadline,
        mut wait_first: bool,
        mut attempt: impl FnMut(BorrowedFd<'_>, WaitEvents) -> io::Result<T>,
    ) -> Result<T> {
        let mut turn = None;
        let mut reported = WaitEvents::empty();
        loop {
            inside.check()?;
            let waits = inside.waits(self.side);
            if !wait_first {
                match attempt(inside.as_fd(), reported) {
                    Ok(value) => return Ok(value),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(Error::io(self.name, error)),
                }
            }
            wait_first = false;
            let turn = match &mut turn {
                Some(turn) => turn,
                none => {
                    let turn = none.insert(inside.turn(self.side, deadline)?);
                    if turn.is_stale(waits) {
                        continue;
                    }
                    turn
                }
            };
            reported = turn.wait(self.raw_wait, self.events, deadline)?;
        }
    }
}
