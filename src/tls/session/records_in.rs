//! Records that come: they are received and deciphered, and what was in them goes to the operation that reads.

use std::io::{self, BufRead};
use std::mem::{self, MaybeUninit};
use std::panic::{self, AssertUnwindSafe};

use super::adapters::Receiver;
use super::close_notify::{Goodbye, Sending};
use super::{MOST_IN_A_ROW, State};
use crate::error::Error;
use crate::tls::wire::{Take, Wire};

/// The longest record: 16 KiB, what TLS 1.2 allows to be added to that, and its header (RFC 5246, section 6.2.3). So one
/// `recv(2)` takes a record that is there as a whole.
const LONGEST_RECORD: usize = (16 << 10) + 2048 + 5;

impl State {
    /// Whether a read has something without a look at the system: a failure, the end, or what is to be deciphered or taken.
    pub(super) fn has_something(&mut self) -> bool {
        self.failed.is_some() || !self.ahead.is_empty() || self.has_plain()
    }

    /// Whether there is something deciphered, or the stream has ended.
    fn has_plain(&mut self) -> bool {
        let nothing = self.connection.reader().fill_buf().map(drop);
        !nothing.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether the stream has ended, once all of it was taken.
    pub(super) fn is_at_end(&mut self) -> io::Result<bool> {
        self.check_failed()?;
        let nothing = self.connection.reader().fill_buf().map(drop);
        match nothing {
            Ok(()) => Ok(true),
            // It is the end, too, if rustls had no room to be told of it.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.has_ended => Ok(false),
            Err(_) if self.connection.is_handshaking() => Err(self.ended_too_early()),
            Err(_) if self.allows_truncation => Ok(true),
            Err(_) => Err(Error::Truncated.into()),
        }
    }

    /// Lets `take` have what was deciphered. Returns how much it has taken.
    pub(super) fn take(&mut self, take: &mut Take<'_>) -> io::Result<usize> {
        let mut taken = 0;
        let mut reader = self.connection.reader();
        while let Ok(bytes) = reader.fill_buf()
            && !bytes.is_empty()
        {
            let count = bytes.len();
            match take(bytes) {
                Err(error) if taken == 0 => return Err(error),
                Err(_) => break,
                Ok(()) => {}
            }
            reader.consume(count);
            taken += count;
        }
        Ok(taken)
    }

    /// Receives once, deciphers that, and lets `take` have it. Without a `take` it stays here, for the next read. Returns how much was
    /// taken.
    pub(super) fn receive(&mut self, wire: &mut dyn Wire, mut take: Option<&mut Take<'_>>) -> io::Result<usize> {
        if self.goodbye == Goodbye::Over {
            // Records may have been dropped: what comes behind them can't be deciphered.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut room = [MaybeUninit::uninit(); LONGEST_RECORD];
        let ahead = mem::take(&mut self.ahead);
        let mut rest = match &ahead[..] {
            [] => self.receive_from(wire, &mut room)?,
            ahead => ahead,
        };
        let mut taken = 0;
        let mut refused = None;
        loop {
            self.process();
            if let Some(take) = &mut take {
                match self.take(take) {
                    Ok(count) => taken += count,
                    Err(error) => refused = Some(error),
                }
            }
            if rest.is_empty() || self.failed.is_some() || refused.is_some() || self.feed(&mut rest) == 0 {
                break;
            }
        }
        self.keep(rest);
        if self.failed.is_some() {
            self.make_up_alert(wire);
        }
        if taken > 0 {
            return Ok(taken);
        }
        if let Some(error) = refused {
            return Err(error);
        }
        self.check_failed()?;
        Ok(0)
    }

    /// Receives once, into rustls' memory, and into `room` what is more than that holds. Returns what is in `room`.
    fn receive_from<'a>(&mut self, wire: &mut dyn Wire, room: &'a mut [MaybeUninit<u8>]) -> io::Result<&'a [u8]> {
        let mut receiver = Receiver {
            wire,
            boundary: &mut self.boundary,
            room: Some(room),
            rest: &[],
        };
        let received = self.connection.read_tls(&mut receiver);
        let Receiver { room, rest, .. } = receiver;
        match received {
            Ok(count) => self.has_ended |= count == 0 && room.is_none(),
            Err(error) if room.is_none() => return Err(error),
            // rustls takes no more of a message that is too long.
            Err(_) => self.fail(rustls::InvalidMessage::HandshakePayloadTooLarge),
        }
        Ok(rest)
    }

    /// Moves bytes into rustls' memory, as many as it takes. Returns how many.
    fn feed(&mut self, bytes: &mut &[u8]) -> usize {
        let before = bytes.len();
        while !bytes.is_empty() && self.connection.read_tls(bytes).is_ok_and(|count| count > 0) {}
        before - bytes.len()
    }

    /// Deciphers what is in rustls' memory.
    fn process(&mut self) {
        let mut process = || self.connection.process_new_packets().map(drop);
        // rustls 0.23 asserts, in a debug build, that it sends no alert after its close_notify. It has to, where a peer that goes on
        // sends what isn't valid.
        let result = match self.sending != Sending::Open && cfg!(debug_assertions) {
            false => process(),
            true => panic::catch_unwind(AssertUnwindSafe(process))
                .unwrap_or_else(|_| Err(rustls::Error::General("not valid, after our close_notify".to_owned()))),
        };
        if let Err(error) = result {
            self.fail(error);
        }
    }

    /// Keeps bytes for which rustls has no room before what was deciphered is taken.
    fn keep(&mut self, bytes: &[u8]) {
        if bytes.is_empty() || self.failed.is_some() {
            return;
        }
        if self.has_plain() {
            self.ahead = bytes.to_vec();
        } else {
            self.fail(rustls::InvalidMessage::HandshakePayloadTooLarge);
        }
    }

    /// Takes what has come, and drops it.
    pub(super) fn drop_incoming(&mut self, wire: &mut dyn Wire) {
        let mut room = [MaybeUninit::uninit(); LONGEST_RECORD];
        for _ in 0..MOST_IN_A_ROW {
            if !wire.receive(&mut room).is_ok_and(|bytes| !bytes.is_empty()) {
                return;
            }
        }
    }
}
