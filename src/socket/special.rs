//! What makes a socket's operations take the long way.

use std::time::{Duration, Instant};

use crate::deadline::{Callback, WhenWait};
use crate::error::Error;

/// How often `when_wait` calls back, as in U++.
const WAIT_STEP: Duration = Duration::from_millis(10);

/// The sticky error, the limit of a run of operations and the callback of a socket, if it has any of them.
///
/// Most sockets have none. So one look at one word tells an operation that it may take the short way.
#[derive(Clone, Default)]
pub(super) struct Special(Option<Box<Content>>);

#[derive(Clone)]
struct Content {
    error: Option<Error>,
    run_ends: Option<Instant>,
    when_wait: Option<Callback>,
    wait_step: Duration,
}

impl Special {
    /// Whether there is nothing special.
    #[inline]
    pub(super) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// The error of the error state.
    pub(super) fn error(&self) -> Option<&Error> {
        self.0.as_ref()?.error.as_ref()
    }

    pub(super) fn set_error(&mut self, error: Option<Error>) {
        self.change(error.is_none(), |content| content.error = error);
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

    /// Whether the bytes in the buffer may be taken without a look at this: in the error state, and when the time for a
    /// run of operations is up, they may not.
    #[inline]
    pub(super) fn allows_fast_path(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|content| content.error.is_none() && content.run_ends.is_none())
    }

    /// Changes the content, which is there only as long as something is special. `is_usual` if the change sets back.
    fn change(&mut self, is_usual: bool, change: impl FnOnce(&mut Content)) {
        if is_usual && self.is_none() {
            return;
        }
        let mut content = self.0.take().unwrap_or_default();
        change(&mut content);
        if !content.is_usual() {
            self.0 = Some(content);
        }
    }
}

impl Content {
    fn is_usual(&self) -> bool {
        self.error.is_none() && self.run_ends.is_none() && self.when_wait.is_none() && self.wait_step == WAIT_STEP
    }
}

impl Default for Content {
    fn default() -> Content {
        Content {
            error: None,
            run_ends: None,
            when_wait: None,
            wait_step: WAIT_STEP,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_back_is_not_special_any_more() {
        let mut special = Special::default();
        assert!(special.is_none() && special.error().is_none());
        special.set_error(Some(Error::Timeout));
        special.set_run_ends(Some(Instant::now()));
        special.set_wait_step(Duration::from_secs(1));
        special.set_when_wait(Some(Callback::new(|_| {})));
        assert!(special.error().is_some() && special.run_ends().is_some() && special.begin_steps().is_some());
        special.set_error(None);
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
