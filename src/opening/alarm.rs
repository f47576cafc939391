//! The moment at which queues report a socket though nothing has come.
//!
//! Some limits go on between two calls, that of a handshake for one. The next call tells when such a limit is over. So from
//! then on the queues that the socket is in report it as readable, which leads the program to that call.

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use super::{Follower, Opening};
use crate::sync::Mutex;

/// Whether there may be alarms at all: what sets them is in optional parts of the crate.
pub(crate) const MAY_HAVE_ALARMS: bool = cfg!(any(feature = "tls", feature = "websocket", test));

/// That moment, if there is one.
#[derive(Default)]
pub(super) struct Alarm(Mutex<Option<Instant>>);

impl Opening {
    /// Has queues report the socket as readable from `at` on, in place of what was set before. Not for signal handlers.
    #[cfg(any(feature = "tls", feature = "websocket", test))]
    pub(crate) fn set_alarm(&self, at: Option<Instant>) {
        self.change_alarm(|_| at);
    }

    /// Forgets the alarm, if it is still the one that was set for `at`. Not for signal handlers.
    pub(crate) fn end_alarm(&self, at: Instant) {
        self.change_alarm(|alarm| alarm.filter(|alarm| *alarm != at));
    }

    fn change_alarm(&self, change: impl FnOnce(Option<Instant>) -> Option<Instant>) {
        let mut alarm = self.alarm.0.lock();
        let at = change(*alarm);
        if at != mem::replace(&mut *alarm, at) {
            self.readiness.set_rings(false);
            self.followers
                .for_each(|follower| Arc::clone(follower).alarm_changed(at));
        }
    }

    /// Tells a follower that begins to follow the socket of the alarm, if there is one.
    pub(crate) fn tell_alarm<F: Follower>(&self, follower: &Arc<F>) {
        let alarm = self.alarm.0.lock();
        if alarm.is_some() {
            Arc::clone(follower).alarm_changed(*alarm);
        }
    }

    /// Makes the socket readable if the moment has come: it may have been changed since a follower has heard of it.
    pub(crate) fn ring(&self) {
        let alarm = self.alarm.0.lock();
        if alarm.is_some_and(|at| at <= Instant::now()) {
            self.readiness.set_rings(true);
        }
    }
}
