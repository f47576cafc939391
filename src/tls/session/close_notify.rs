//! The end of what goes: when close_notify is sent, and when not (RFC 8446, section 6.1).

use std::io;
use std::mem;
use std::sync::atomic::Ordering::SeqCst;

use super::{Session, State};
use crate::sync::AtomicUsize;
use crate::tls::wire::{Wire, is_for_now};

/// What becomes of the sending half.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sending {
    Open,
    /// close_notify is among what is to be sent. The end of the stream follows.
    Ending,
    Ended,
}

/// What is said to the peer when the connection is closed, if the program hasn't [ended](Sending) the sending half before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Goodbye {
    /// close_notify.
    Owed,
    /// Nothing: what the program has said isn't whole, and the peer must not take it for that.
    Withheld,
    /// The connection is being closed, and what was to be said was. Nothing more is received, or taken of the program.
    Over,
}

impl Session {
    /// Runs an operation that writes. Until it is over, a [goodbye](Session::say_goodbye) has no close_notify: that would come in
    /// the middle of what the program has to say.
    pub(crate) fn while_putting<T>(&self, put: impl FnOnce() -> T) -> T {
        struct UnderWay<'a>(&'a AtomicUsize);
        impl Drop for UnderWay<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, SeqCst);
            }
        }
        self.0.puts.fetch_add(1, SeqCst);
        let _under_way = UnderWay(&self.0.puts);
        put()
    }

    /// Ends the sending half behind what is unsent: close_notify, unless what the program had to say `has_broken_off`, and then the
    /// end of the stream, now or by the operation that sends the last of it. Fails if it is now, and the peer is gone.
    pub(crate) fn end_sending(&self, wire: &mut dyn Wire, has_broken_off: bool) -> io::Result<()> {
        let mut state = self.lock();
        if state.sending == Sending::Open {
            // After a failure it is for the alert, if there is one, to say how this ends.
            if state.failed.is_none() && !has_broken_off {
                state.connection.send_close_notify();
            }
            state.sending = Sending::Ending;
        }
        match state.send_all(wire) {
            Err(error) if is_for_now(&error) => Ok(()),
            _ => {
                state.sending = Sending::Ended;
                wire.end_sending()
            }
        }
    }

    /// Says what there is to say before the connection is closed, as far as that goes at once: what is unsent, and close_notify.
    /// Not if what the program had to say `has_broken_off`.
    ///
    /// Takes what has come and that nobody will read any more, tickets above all: the system resets a connection that is closed
    /// with something unread, and the peer loses what it has not received yet.
    pub(crate) fn say_goodbye(&self, wire: &mut dyn Wire, has_broken_off: bool) {
        let mut state = self.lock();
        let is_in_the_middle = has_broken_off || self.0.puts.load(SeqCst) > 0;
        let goodbye = mem::replace(&mut state.goodbye, Goodbye::Over);
        if goodbye == Goodbye::Owed && state.failed.is_none() && state.sending == Sending::Open && !is_in_the_middle {
            state.connection.send_close_notify();
        }
        if !has_broken_off {
            self.try_send(&mut state, wire);
        }
        state.drop_incoming(wire);
    }

    /// Lets the end come without close_notify, unless the program itself [ends the sending half](Session::end_sending).
    pub(crate) fn cut_off(&self) {
        let mut state = self.lock();
        if state.goodbye == Goodbye::Owed {
            state.goodbye = Goodbye::Withheld;
        }
    }
}

impl State {
    /// Fails if the program may not write, or may not any more.
    pub(super) fn check_sending(&self) -> io::Result<()> {
        self.check_failed()?;
        match self.sending {
            // It waits until it is woken by the thread that closes the connection.
            Sending::Open if self.goodbye == Goodbye::Over => Err(io::ErrorKind::WouldBlock.into()),
            Sending::Open => Ok(()),
            Sending::Ending | Sending::Ended => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}
