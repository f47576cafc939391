//! What several threads do at once with one socket that they share by `&`: the operations of the standard library's sockets,
//! for `net`.
//!
//! Each has the limit that the caller gives it. Nothing is read ahead, and no error stays.

use std::io::{self, IoSlice};
use std::time::Duration;

use socket2::{SockRef, Socket};

use super::limits::Limits;
use super::try_wait::{READING, TryWait, WRITING, Wait};
use super::{Directions, TcpSocket};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::events::WaitEvents;
use crate::opening::{FirstError, InUse};
use crate::registry::ShutdownRegistry;
use crate::sys::{self, BorrowedSocket, OwnedSocket};

/// Why an operation has stopped.
pub(crate) enum Stop {
    /// The limit that the caller has given it is over.
    Limit,
    /// It has failed, or something has ended it.
    Error(Error),
}

impl TcpSocket {
    /// Waits for a client, for `limit` at most, whatever limit this listener has.
    pub(crate) fn accept_shared(&self, limit: Option<Duration>) -> Result<TcpSocket> {
        let limits = Limits {
            each: limit,
            ..self.limits()
        };
        self.accept_within(limits, None)
    }

    /// Runs `receive`, which doesn't wait, until it has found something.
    pub(crate) fn receive_shared(
        &self,
        name: &'static str,
        limit: Option<Duration>,
        mut receive: impl FnMut(BorrowedSocket<'_>) -> io::Result<usize>,
    ) -> Result<usize, Stop> {
        let mut deadline = self.shared_deadline(limit);
        self.run_shared(name, READING, &mut deadline, |in_use| {
            let opening = in_use.opening();
            let known = opening.readiness().load();
            let received = receive(in_use.socket());
            if known.is_followed() {
                opening.note_attempt(known, WaitEvents::READ, &received);
            }
            received
        })
    }

    /// Sends `slices`, one behind the other, of which there are at most [`sys::MOST_SLICES`]. Less only if something stops it.
    ///
    /// What has broken the connection when something was sent already is left in `untold`.
    pub(crate) fn send_shared(
        &self,
        name: &'static str,
        limit: Option<Duration>,
        slices: &[IoSlice<'_>],
        untold: &FirstError,
    ) -> Result<usize, Stop> {
        let mut deadline = self.shared_deadline(limit);
        // The same bytes may be there many times, and be more than can be counted. No call says that it has sent more than
        // this.
        let all = slices
            .iter()
            .fold(0, |all: usize, slice| all.saturating_add(slice.len()));
        let all = all.min(isize::MAX as usize);
        let mut sent = 0;
        loop {
            let more = self.run_shared(name, WRITING, &mut deadline, |in_use| {
                let opening = in_use.opening();
                let known = opening.readiness().load();
                let sent = match (sent, slices) {
                    (0, [] | [_, _, ..]) => sys::send_vectored(in_use.socket(), slices),
                    (0, [slice]) => sys::send(in_use.socket(), slice),
                    _ => untold.record_while(|| sys::send(in_use.socket(), behind(slices, sent))),
                };
                if known.is_followed() || sent.is_err() {
                    opening.note_sent(known, &sent);
                }
                sent
            });
            match more {
                Ok(count) => sent += count,
                Err(stop) if sent == 0 => return Err(stop),
                Err(_) => return Ok(sent),
            }
            // What may not wait takes what fits.
            if sent >= all || limit == Some(Duration::ZERO) {
                return Ok(sent);
            }
        }
    }

    fn shared_deadline(&self, limit: Option<Duration>) -> Deadline {
        self.deadline_within(Limits {
            each: limit,
            ..self.limits()
        })
    }

    fn run_shared(
        &self,
        name: &'static str,
        wait: Wait,
        deadline: &mut Deadline,
        mut attempt: impl FnMut(&InUse<'_>) -> io::Result<usize>,
    ) -> Result<usize, Stop> {
        let entered = self.opening.enter();
        let result = entered
            .and_then(|mut in_use| TryWait::new(name, wait, &self.raw_wait).run(&mut in_use, deadline, &mut attempt));
        result.map_err(|error| match error {
            Error::Timeout if deadline.left().is_err() => Stop::Limit,
            error => Stop::Error(self.why_closed(error)),
        })
    }

    /// The registry of what is open.
    pub(crate) fn registry(&self) -> &ShutdownRegistry {
        &self.registry
    }

    /// Takes over `socket`, which others have, too, if it `is_elsewhere`, for being shared. If that fails, every operation of the
    /// result says why, and `socket` mostly is given back.
    pub(crate) fn shared_from(
        registry: &ShutdownRegistry,
        socket: Socket,
        is_elsewhere: bool,
    ) -> (TcpSocket, Option<Socket>) {
        let mut taken = TcpSocket::with_registry(registry);
        match taken.take_over(socket, is_elsewhere) {
            Ok(()) => {
                taken.share();
                (taken, None)
            }
            Err((error, refused)) => {
                taken.special.set_error(Directions::all(), &error);
                (taken, refused)
            }
        }
    }

    /// Readies the socket for being shared. Its number will be taken for as long as it exists, whatever ends it.
    pub(crate) fn share(&mut self) {
        self.opening.keep_number();
    }

    /// Ends that, for whoever has it for himself now.
    pub(crate) fn unshare(&mut self) {
        self.opening.end_lending();
        // Others have read what waits have reported, or have not.
        self.input.note_report(WaitEvents::READ | WaitEvents::EXCEPTION);
    }

    /// Gives the system's socket away, or what has its number if it was ended.
    pub(crate) fn into_number(self) -> Option<OwnedSocket> {
        self.opening.take().or_else(|| self.opening.take_number())
    }

    /// Runs `duplicate` with the system's socket, unless it was ended. Others have it from then on, and may change its mode.
    pub(crate) fn with_number(&self, duplicate: impl FnOnce(BorrowedSocket<'_>)) {
        if let Ok(in_use) = self.opening.enter_even_aborted() {
            self.opening.set_lent();
            duplicate(in_use.socket());
        }
    }

    /// As [`with`](TcpSocket::with). Of what could not be opened it says why.
    pub(crate) fn with_shared<T>(&self, name: &'static str, work: impl Fn(&SockRef<'_>) -> io::Result<T>) -> Result<T> {
        self.with(name, work).map_err(|error| self.why_closed(error))
    }

    /// If it is closed since something has kept it from being opened, that.
    fn why_closed(&self, error: Error) -> Error {
        match error {
            Error::Closed => self.error().cloned().unwrap_or(error),
            error => error,
        }
    }
}

/// The first of `slices` that goes beyond the first `count` bytes, from there on.
fn behind<'a>(slices: &'a [IoSlice<'_>], mut count: usize) -> &'a [u8] {
    for slice in slices {
        match slice.get(count..) {
            Some(rest) if !rest.is_empty() => return rest,
            _ => count -= slice.len(),
        }
    }
    &[]
}
