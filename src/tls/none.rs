//! What stands for a session where the crate is built without TLS: there is none.

use std::io::{self, IoSlice};
use std::time::Instant;

use super::wire::{Take, Wire, Written};
use crate::events::WaitEvents;

#[derive(Clone)]
pub(crate) enum Session {}

/// See the session of the feature `tls`.
impl Session {
    pub(crate) fn is_handshaking(&self) -> bool {
        match *self {}
    }

    pub(crate) fn handshake_ends(&self) -> Option<Instant> {
        match *self {}
    }

    pub(crate) fn last_flight_ends(&self) -> Option<Instant> {
        match *self {}
    }

    pub(crate) fn unsent(&self) -> usize {
        match *self {}
    }

    pub(crate) fn has_something(&self) -> bool {
        match *self {}
    }

    pub(crate) fn has_failed(&self) -> bool {
        match *self {}
    }

    pub(crate) fn is_in_record(&self) -> bool {
        match *self {}
    }

    pub(crate) fn reading_waits_for(&self) -> WaitEvents {
        match *self {}
    }

    pub(crate) fn writing_waits_for(&self) -> WaitEvents {
        match *self {}
    }

    pub(crate) fn may_wait_first(&self) -> bool {
        match *self {}
    }

    pub(crate) fn handshake(&self, _wire: &mut dyn Wire) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn read(&self, _wire: &mut dyn Wire, _take: &mut Take<'_>) -> io::Result<usize> {
        match *self {}
    }

    pub(crate) fn write(&self, _wire: &mut dyn Wire, _slices: &[IoSlice<'_>]) -> io::Result<Written> {
        match *self {}
    }

    pub(crate) fn flush(&self, _wire: &mut dyn Wire) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn end_sending(&self, _wire: &mut dyn Wire, _has_broken_off: bool) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn while_putting<T>(&self, _put: impl FnOnce() -> T) -> T {
        match *self {}
    }

    pub(crate) fn say_goodbye(&self, _wire: &mut dyn Wire, _has_broken_off: bool) {
        match *self {}
    }

    pub(crate) fn cut_off(&self) {
        match *self {}
    }
}
