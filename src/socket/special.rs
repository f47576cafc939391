//! What makes a socket's operations take the long way.

use std::time::{Duration, Instant};

use super::sticky::{Directions, Sticky};
use crate::deadline::{Callback, WhenWait};
use crate::error::Error;
use crate::tls::Session;

/// How often `when_wait` calls back, as in U++.
const WAIT_STEP: Duration = Duration::from_millis(10);

/// How long a TLS handshake may take, as in U++.
const TLS_LIMIT: Duration = Duration::from_secs(20);

/// The sticky errors, the limit of a run of operations, the callback and the TLS session of a socket, if it has any of them.
///
/// Most sockets have none. So one look at one word tells an operation that it may take the short way.
#[derive(Clone, Default)]
pub(super) struct Special(Option<Box<Content>>);

#[derive(Clone)]
struct Content {
    /// There is a session, and nothing else that an operation has to take into account.
    has_session_only: bool,
    sticky: Sticky,
    run_ends: Option<Instant>,
    when_wait: Option<Callback>,
    wait_step: Duration,
    session: Option<Session>,
    tls: TlsSettings,
}

/// How TLS sessions are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TlsSettings {
    /// How long the handshake may take.
    pub(super) limit: Option<Duration>,
    /// An end without close_notify is an end of file.
    pub(super) allows_truncation: bool,
}

impl Default for TlsSettings {
    fn default() -> TlsSettings {
        TlsSettings {
            limit: Some(TLS_LIMIT),
            allows_truncation: false,
        }
    }
}

impl Special {
    /// Whether there is nothing special.
    #[inline]
    pub(super) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// The sticky error that stops an operation of these directions. Of two, the one that came first.
    pub(super) fn error(&self, directions: Directions) -> Option<&Error> {
        self.0.as_ref()?.sticky.of(directions)
    }

    pub(super) fn set_error(&mut self, directions: Directions, error: &Error) {
        self.change(false, |content| content.sticky.set(directions, error));
    }

    /// Forgets the sticky errors of all other directions.
    pub(super) fn keep_errors(&mut self, directions: Directions) {
        self.change(true, |content| content.sticky.keep(directions));
    }

    /// When the time for a run of operations is up.
    pub(super) fn run_ends(&self) -> Option<Instant> {
        self.0.as_ref()?.run_ends
    }

    pub(super) fn set_run_ends(&mut self, at: Option<Instant>) {
        self.change(at.is_none(), |content| content.run_ends = at);
    }

    /// How often the callback is called.
    pub(super) fn wait_step(&self) -> Duration {
        self.0.as_ref().map_or(WAIT_STEP, |content| content.wait_step)
    }

    pub(super) fn set_wait_step(&mut self, step: Duration) {
        self.change(step == WAIT_STEP, |content| content.wait_step = step);
    }

    pub(super) fn set_when_wait(&mut self, callback: Option<Callback>) {
        self.change(callback.is_none(), |content| content.when_wait = callback);
    }

    /// Begins counting the steps of an operation, if there is a callback.
    pub(super) fn begin_steps(&self) -> Option<WhenWait> {
        let content = self.0.as_ref()?;
        let callback = content.when_wait.clone()?;
        Some(WhenWait::begin(callback, content.wait_step))
    }

    /// The session, if its handshake is over and nothing else is special.
    pub(super) fn only_session(&self) -> Option<&Session> {
        let content = self.0.as_ref().filter(|content| content.has_session_only)?;
        content.session.as_ref().filter(|session| !session.is_handshaking())
    }

    /// The TLS session, if there is one.
    #[inline]
    pub(super) fn session(&self) -> Option<&Session> {
        self.0.as_ref()?.session.as_ref()
    }

    /// Whether the session has something for whoever reads of which the system doesn't know: the end, a failure.
    #[inline]
    pub(super) fn has_end_inside(&self) -> bool {
        self.session().is_some_and(Session::has_something)
    }

    pub(super) fn set_session(&mut self, session: Option<Session>) {
        self.change(session.is_none(), |content| content.session = session);
    }

    #[cfg(feature = "tls")]
    pub(super) fn tls(&self) -> TlsSettings {
        self.0.as_ref().map_or_else(TlsSettings::default, |content| content.tls)
    }

    #[cfg(feature = "tls")]
    pub(super) fn set_tls(&mut self, tls: TlsSettings) {
        self.change(tls == TlsSettings::default(), |content| content.tls = tls);
    }

    /// Whether the bytes in the buffer may be taken without a look at this: where reading has failed, and when the time for
    /// a run of operations is up, they may not.
    #[inline]
    pub(super) fn allows_fast_path(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|content| content.sticky.of(Directions::READ).is_none() && content.run_ends.is_none())
    }

    /// Changes the content, which is there only as long as something is special. `is_usual` if the change sets back.
    fn change(&mut self, is_usual: bool, change: impl FnOnce(&mut Content)) {
        if is_usual && self.is_none() {
            return;
        }
        let mut content = self.0.take().unwrap_or_default();
        change(&mut content);
        content.has_session_only = content.session.is_some() && content.is_usual_but_for_tls();
        if !content.is_usual() {
            self.0 = Some(content);
        }
    }
}

impl Content {
    fn is_usual(&self) -> bool {
        self.is_usual_but_for_tls() && self.session.is_none() && self.tls == TlsSettings::default()
    }

    fn is_usual_but_for_tls(&self) -> bool {
        self.sticky.is_none() && self.run_ends.is_none() && self.when_wait.is_none() && self.wait_step == WAIT_STEP
    }
}

impl Default for Content {
    fn default() -> Content {
        Content {
            has_session_only: false,
            sticky: Sticky::default(),
            run_ends: None,
            when_wait: None,
            wait_step: WAIT_STEP,
            session: None,
            tls: TlsSettings::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_back_is_not_special_any_more() {
        let mut special = Special::default();
        let error = |special: &Special| special.error(Directions::all()).cloned();
        assert!(special.is_none() && error(&special).is_none());
        special.set_error(Directions::WRITE, &Error::Timeout);
        assert!(special.allows_fast_path(), "reading goes on");
        special.set_error(Directions::READ, &Error::Timeout);
        assert!(!special.allows_fast_path());
        special.set_run_ends(Some(Instant::now()));
        special.set_wait_step(Duration::from_secs(1));
        special.set_when_wait(Some(Callback::new(|_| {})));
        assert!(error(&special).is_some() && special.run_ends().is_some() && special.begin_steps().is_some());
        special.keep_errors(Directions::empty());
        assert!(error(&special).is_none());
        assert!(!special.allows_fast_path());
        special.set_run_ends(None);
        assert!(special.allows_fast_path());
        special.set_when_wait(None);
        assert!(!special.is_none());
        special.set_wait_step(WAIT_STEP);
        assert!(special.is_none());
        assert_eq!(special.wait_step(), WAIT_STEP);
    }
}
