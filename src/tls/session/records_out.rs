//! Records that go: how many of the program's bytes are in one, what is unsent, and for how many records the keys are good.

use std::io::{self, IoSlice};
use std::sync::Arc;

use rustls::SupportedCipherSuite;

use super::State;
use super::adapters::{Counter, Sender};
use super::boundary::HEADER;
use super::close_notify::Sending;
use super::failure::of_tls;
use crate::tls::wire::{Wire, is_for_now};

/// How many of the program's bytes a record takes at most: RFC 8446, section 5.1.
const MOST_IN_RECORD: usize = 16 << 10;

/// How many bytes rustls takes of one write.
const MOST_AT_ONCE: usize = 64 << 10;

/// How many records may be enciphered beside those of the program's bytes: of the handshake, alerts.
const OTHER_RECORDS: u64 = 16;

/// How many of the program's bytes go into a record that is to be no longer than `most`, its header included.
pub(super) fn in_record(most: Option<usize>) -> usize {
    most.map_or(MOST_IN_RECORD, |most| {
        most.saturating_sub(HEADER).clamp(1, MOST_IN_RECORD)
    })
}

impl State {
    /// Fails if the keys aren't good for a write of `slices`. Those of TLS 1.2 are good for a limited number of records, and can't
    /// be changed: beyond that, rustls would send close_notify, and drop what it is given.
    pub(super) fn check_keys(&self, slices: &[IoSlice<'_>]) -> io::Result<()> {
        let Some(SupportedCipherSuite::Tls12(suite)) = self.connection.negotiated_cipher_suite() else {
            return Ok(());
        };
        let len = slices
            .iter()
            .fold(0_usize, |all, slice| all.saturating_add(slice.len()));
        let records = self.records + len.min(MOST_AT_ONCE).div_ceil(self.record) as u64;
        if records + OTHER_RECORDS > suite.common.confidentiality_limit {
            let why = "the keys are worn out, and TLS 1.2 has no others";
            return Err(of_tls(Arc::new(rustls::Error::General(why.to_owned()))));
        }
        Ok(())
    }

    /// How many bytes are to be sent, as they go over the wire.
    pub(super) fn unsent(&mut self) -> usize {
        if !self.connection.wants_write() {
            return 0;
        }
        // There is nothing new to process, but this tells how much there is to send.
        match self.connection.process_new_packets() {
            Ok(state) => state.tls_bytes_to_write(),
            // After a failure it tells only that.
            Err(_) => {
                let mut counter = Counter::default();
                let _ = self.connection.write_tls(&mut counter);
                counter.0
            }
        }
    }

    /// Whether there is something to send that may still go.
    pub(super) fn waits_to_send(&self) -> bool {
        self.connection.wants_write() && !self.cannot_send
    }

    /// Sends what there is to send, and ends the sending half if that was the last of it.
    pub(super) fn send(&mut self, wire: &mut dyn Wire) -> io::Result<()> {
        self.send_all(wire)?;
        if self.sending == Sending::Ending {
            self.sending = Sending::Ended;
            // It fails if the peer is gone, which the next operation tells.
            let _ = wire.end_sending();
        }
        Ok(())
    }

    /// Sends what there is to send.
    pub(super) fn send_all(&mut self, wire: &mut dyn Wire) -> io::Result<()> {
        while self.connection.wants_write() {
            let mut sender = Sender { wire, is_full: false };
            let sent = self.connection.write_tls(&mut sender);
            if let Err(error) = sent {
                self.cannot_send |= !is_for_now(&error);
                return Err(error);
            }
            if sender.is_full {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        Ok(())
    }
}
