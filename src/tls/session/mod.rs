//! A TLS session: what turns the bytes of a connection into those of the program, and back.
//!
//! Two threads use it at once, one that reads and one that writes. It is locked for cryptography and for attempts that
//! don't block, and never over a wait or a `when_wait`. rustls calls what the configuration has of the program's, as a verifier,
//! while it is locked.
//!
//! - A read never waits or fails because of what is to be sent. It tries to send that, once, and goes on.
//! - The program's bytes are enciphered only when nothing older is unsent, at most 64 KiB at a time. So no more than that is ever
//!   taken and unsent.
//! - What a read has received is deciphered at once, record by record, up to the last whole one. So a read finds nothing unless
//!   the system has something, or [`has_something`](Session::has_something) says so.
//!
//! Only this folder knows the connection of rustls.

mod adapters;
mod boundary;
mod close_notify;
mod failure;
mod handshake;
mod records_in;
mod records_out;
#[cfg(all(test, feature = "tls-ring", any(target_os = "linux", target_env = "gnu")))]
mod tests;

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Instant;

use rustls::Connection;

use self::boundary::Boundary;
use self::close_notify::{Goodbye, Sending};
use self::failure::Failed;
use super::info::TlsInfo;
use super::wire::{Take, UNFINISHED, Wire, Written, is_for_now};
use crate::events::WaitEvents;
use crate::sync::{AtomicBool, AtomicUsize, Mutex, MutexGuard};

/// How many times in a row an operation receives what holds nothing for the program, before it looks whether it may go on.
const MOST_IN_A_ROW: usize = 16;

/// See the module's description. A clone is the same session.
#[derive(Clone)]
pub(crate) struct Session(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// The handshake isn't over. A copy of what the connection says, for those who haven't locked it.
    is_handshaking: AtomicBool,
    /// When the handshake has to be over, and the last of it sent.
    handshake_ends: Option<Instant>,
    /// The last of the handshake is sent.
    has_sent_last_flight: AtomicBool,
    /// How many operations that write are under way.
    puts: AtomicUsize,
}

struct State {
    connection: Connection,
    /// How many of the program's bytes a record takes.
    record: usize,
    /// How many records the program's bytes have taken so far, at most.
    records: u64,
    /// Received, and not given to the connection yet.
    ahead: Vec<u8>,
    boundary: Boundary,
    /// It was a read that has received last. So what it has found is all that the system had then.
    is_known: bool,
    /// The stream of the connection below has ended.
    has_ended: bool,
    /// An end without close_notify is an end of file.
    allows_truncation: bool,
    sending: Sending,
    goodbye: Goodbye,
    /// Nothing can be sent any more. So nobody waits for room to send.
    cannot_send: bool,
    /// What has failed for good.
    failed: Option<Failed>,
    /// The name that a client has asked for, until the handshake is over.
    asked_for: Option<String>,
    info: Option<TlsInfo>,
}

impl Session {
    /// `ahead` was received before the session began, and is the first that it gets.
    fn new(
        connection: Connection,
        asked_for: Option<String>,
        record: usize,
        ahead: &[u8],
        handshake_ends: Option<Instant>,
    ) -> Session {
        let mut state = State {
            connection,
            record,
            records: 0,
            ahead: Vec::new(),
            boundary: Boundary::default(),
            is_known: false,
            has_ended: false,
            allows_truncation: false,
            sending: Sending::Open,
            goodbye: Goodbye::Owed,
            cannot_send: false,
            failed: None,
            asked_for,
            info: None,
        };
        state.boundary.pass(ahead);
        state.ahead.extend_from_slice(ahead);
        Session(Arc::new(Shared {
            state: Mutex::new(state),
            is_handshaking: AtomicBool::new(true),
            handshake_ends,
            has_sent_last_flight: AtomicBool::new(false),
            puts: AtomicUsize::new(0),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }

    pub(crate) fn allow_truncation(&self, allow: bool) {
        self.lock().allows_truncation = allow;
    }

    /// How many bytes are to be sent, as they go over the wire.
    pub(crate) fn unsent(&self) -> usize {
        self.lock().unsent()
    }

    /// Whether an operation that reads would not block, as far as is known here: there is an end, or a failure, or something
    /// to decipher.
    pub(crate) fn has_something(&self) -> bool {
        self.lock().has_something()
    }

    /// Whether every operation fails, or will: also because the peer has ended the stream in the handshake.
    pub(crate) fn has_failed(&self) -> bool {
        let state = self.lock();
        state.failed.is_some() || state.has_ended && self.is_handshaking()
    }

    /// Whether a part of a record has come whose rest hasn't. It may hold something for the program.
    pub(crate) fn is_in_record(&self) -> bool {
        self.lock().boundary.is_in_record()
    }

    /// What an operation that reads waits for.
    pub(crate) fn reading_waits_for(&self) -> WaitEvents {
        let mut events = WaitEvents::READ;
        events.set(WaitEvents::WRITE, self.lock().waits_to_send());
        events
    }

    /// What an operation that writes waits for. While a handshake is under way it needs what the peer says.
    pub(crate) fn writing_waits_for(&self) -> WaitEvents {
        match self.is_handshaking() {
            true => self.reading_waits_for(),
            false => WaitEvents::WRITE,
        }
    }

    /// Whether an operation that reads may wait before it makes an attempt, if it has found all that the system had when it
    /// last looked.
    pub(crate) fn may_wait_first(&self) -> bool {
        let mut state = self.lock();
        state.is_known && !(self.is_handshaking() || state.has_something() || state.connection.wants_write())
    }

    /// Reads: lets `take` have all that there is for the program. Returns how much that was; zero means the end.
    pub(crate) fn read(&self, wire: &mut dyn Wire, take: &mut Take<'_>) -> io::Result<usize> {
        let mut state = self.lock();
        for _ in 0..MOST_IN_A_ROW {
            let taken = state.take(take)?;
            if taken > 0 {
                return Ok(taken);
            }
            if state.is_at_end()? {
                return Ok(0);
            }
            state.check_time(self.handshake_ends())?;
            self.try_send(&mut state, wire);
            state.is_known |= state.ahead.is_empty();
            let taken = state.receive(wire, Some(take));
            self.note_handshake(&mut state);
            match taken {
                Ok(0) => {}
                result => {
                    // What that has made to be sent: an answer, an alert.
                    self.try_send(&mut state, wire);
                    return result;
                }
            }
        }
        Err(UNFINISHED.into())
    }

    /// Takes bytes of `slices`, enciphers them and sends what goes. The handshake must be over.
    pub(crate) fn write(&self, wire: &mut dyn Wire, slices: &[IoSlice<'_>]) -> io::Result<Written> {
        let mut state = self.lock();
        state.check_sending()?;
        self.send(&mut state, wire)?;
        state.check_keys(slices)?;
        let taken = io::Write::write_vectored(&mut state.connection.writer(), slices)?;
        state.records += taken.div_ceil(state.record) as u64;
        // Whatever becomes of it: what was taken must not be taken again.
        let sent = state.send(wire);
        Ok(Written { taken, sent })
    }

    /// Sends what was taken.
    pub(crate) fn flush(&self, wire: &mut dyn Wire) -> io::Result<()> {
        let mut state = self.lock();
        self.send(&mut state, wire)
    }

    /// Sends what there is to send: the last of the handshake within its limit.
    fn send(&self, state: &mut State, wire: &mut dyn Wire) -> io::Result<()> {
        let sent = state.send(wire);
        match &sent {
            Ok(()) => self.note_sent(state),
            Err(error) if is_for_now(error) => state.check_time(self.last_flight_ends())?,
            Err(_) => {}
        }
        sent
    }

    /// Sends what goes. A failure is for operations that write to tell.
    fn try_send(&self, state: &mut State, wire: &mut dyn Wire) {
        if state.send(wire).is_ok() {
            self.note_sent(state);
        }
    }
}
