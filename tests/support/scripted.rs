//! A raw wait that does what a script says: early returns, false reports, errors.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wakesock::{MioWait, RawWait, WaitEvents, WaitSource, Waiter, Wake};

/// What one wait does.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Returns at once, with nothing.
    Early,
    /// Returns at once, and says that all that was asked for is ready.
    Lie,
    /// Returns after a part of the limit (a tenth, a millisecond at most), with nothing.
    Short,
    /// Fails.
    Fail(io::ErrorKind),
    /// Fails with a number of the system's.
    FailOs(i32),
    /// Waits as `MioWait` does.
    Wait,
}

/// Does the steps one after the other, all its waiters together, and waits as `MioWait` does when they are used up.
#[derive(Debug, Default)]
pub struct Scripted {
    steps: Mutex<VecDeque<Step>>,
    /// What the making of waiters fails with, one after the other.
    refusals: Mutex<VecDeque<i32>>,
    forever: Mutex<Option<Step>>,
    made: AtomicUsize,
    waits: AtomicUsize,
}

impl Scripted {
    pub fn new(steps: impl IntoIterator<Item = Step>) -> Arc<Scripted> {
        let scripted = Scripted::default();
        scripted.steps.lock().unwrap().extend(steps);
        Arc::new(scripted)
    }

    /// Does `step` and then a real wait, in turn, without end.
    pub fn alternating(step: Step) -> Arc<Scripted> {
        let scripted = Scripted::default();
        *scripted.forever.lock().unwrap() = Some(step);
        Arc::new(scripted)
    }

    /// Refuses to make waiters, with these errors of the system's, one after the other.
    pub fn refusing(errors: impl IntoIterator<Item = i32>) -> Arc<Scripted> {
        let scripted = Scripted::default();
        scripted.refusals.lock().unwrap().extend(errors);
        Arc::new(scripted)
    }

    pub fn then(&self, steps: impl IntoIterator<Item = Step>) {
        self.steps.lock().unwrap().extend(steps);
    }

    /// How many waiters were made.
    pub fn made(&self) -> usize {
        self.made.load(SeqCst)
    }

    /// How many waits have begun.
    pub fn waits(&self) -> usize {
        self.waits.load(SeqCst)
    }

    fn next(&self) -> Step {
        let count = self.waits.fetch_add(1, SeqCst);
        if let Some(step) = self.steps.lock().unwrap().pop_front() {
            return step;
        }
        match *self.forever.lock().unwrap() {
            Some(step) if count.is_multiple_of(2) => step,
            _ => Step::Wait,
        }
    }
}

/// The plug itself: what `set_raw_wait` takes.
#[derive(Debug, Clone)]
pub struct Plug(pub Arc<Scripted>);

impl RawWait for Plug {
    fn waiter(&self, socket: WaitSource<'_>, events: WaitEvents) -> io::Result<Box<dyn Waiter>> {
        if let Some(error) = self.0.refusals.lock().unwrap().pop_front() {
            return Err(io::Error::from_raw_os_error(error));
        }
        self.0.made.fetch_add(1, SeqCst);
        Ok(Box::new(ScriptedWaiter {
            script: Arc::clone(&self.0),
            real: MioWait::default().waiter(socket, events)?,
        }))
    }
}

struct ScriptedWaiter {
    script: Arc<Scripted>,
    real: Box<dyn Waiter>,
}

impl Waiter for ScriptedWaiter {
    fn wait(&mut self, events: WaitEvents, timeout: Option<Duration>) -> io::Result<WaitEvents> {
        match self.script.next() {
            Step::Early => Ok(WaitEvents::empty()),
            Step::Lie => Ok(events),
            Step::Short => {
                let short = timeout
                    .map_or(Duration::MAX, |limit| limit / 10)
                    .min(Duration::from_millis(1));
                self.real.wait(events, Some(short))
            }
            Step::Fail(kind) => Err(kind.into()),
            Step::FailOs(code) => Err(io::Error::from_raw_os_error(code)),
            Step::Wait => self.real.wait(events, timeout),
        }
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.real.waker()
    }
}
