//! Waiting in a queue.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::MutexGuard;

use super::assignment::{ThreadNumber, this_thread};
use super::control::Control;
use super::poller::Poller;
use super::{SocketEvent, SocketEventQueue};
use crate::deadline::Deadline;
use crate::error::{Error, Result};

impl<T: Clone + Send> SocketEventQueue<T> {
    /// Blocks until something is ready, and gives all that is.
    ///
    /// It returns with nothing when `timeout` is over (`None`: never; zero: at once) and when it was
    /// [woken](super::QueueHandle::wake) or its registry stops accepting.
    ///
    /// A socket that is dropped while it is subscribed is closed, which is reported: there may be an event for a token
    /// that the program has forgotten. [`remove`](SocketEventQueue::remove) it before, and there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] once the queue is closed, [`Error::Shutdown`] once its registry is shut down, [`Error::Io`] if
    /// the system can't wait. All of these last.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let queue = wakesock::SocketEventQueue::<u32>::new()?;
    /// assert!(queue.wait(Duration::from_millis(5))?.is_empty());
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn wait(&self, timeout: impl Into<Option<Duration>>) -> Result<Vec<SocketEvent<T>>> {
        let mut events = Vec::new();
        self.wait_into(&mut events, timeout)?;
        Ok(events)
    }

    /// The same into `events`, whose former content goes. Gives their number.
    ///
    /// It allocates nothing once `events` has grown.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let queue = wakesock::SocketEventQueue::<u32>::new()?;
    /// let mut events = Vec::new();
    /// for _ in 0..3 {
    ///     assert_eq!(queue.wait_into(&mut events, Duration::from_millis(1))?, 0);
    /// }
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn wait_into(&self, events: &mut Vec<SocketEvent<T>>, timeout: impl Into<Option<Duration>>) -> Result<usize> {
        self.wait_as(Poller::enter, events, timeout.into())
    }

    /// The same where just one thread at a time ever waits, if not always the same.
    pub(crate) fn wait_alone_into(&self, events: &mut Vec<SocketEvent<T>>, timeout: Option<Duration>) -> Result<usize> {
        self.wait_as(|_, _| None, events, timeout)
    }

    fn wait_as(
        &self,
        thread: impl FnOnce(&mut Poller, &Arc<Control>) -> Option<ThreadNumber>,
        events: &mut Vec<SocketEvent<T>>,
        timeout: Option<Duration>,
    ) -> Result<usize> {
        events.clear();
        let mut deadline = Deadline::after(timeout);
        self.check()?;
        let Some(mut poller) = self.take_turn(&mut deadline) else {
            return self.check().map(|()| 0);
        };
        let thread = thread(&mut poller, &self.control);
        loop {
            self.check()?;
            poller.list_pending(&self.control);
            poller.arm();
            let has_events = poller.has_events(&self.table.lock(), thread);
            let left = deadline.left();
            let is_over = left.is_err();
            let nothing = Some(Duration::ZERO);
            let left = if has_events { nothing } else { left.unwrap_or(nothing) };
            let polled = self
                .control
                .while_polling(|may_block| poller.poll(&self.control, if may_block { left } else { nothing }));
            if let Err(error) = polled {
                let error = Error::io("wait", error);
                *self.error.lock() = Some(error.clone());
                return Err(error);
            }
            poller.list_pending(&self.control);
            let more = {
                let mut table = self.table.lock();
                let more = poller.list_reported(&table);
                poller.give(&mut table, thread, events);
                more
            };
            let was_woken = self.control.take_wake();
            if !events.is_empty() {
                return Ok(events.len());
            }
            self.check()?;
            // Something that is ready may be behind many that are silent.
            if was_woken || is_over && !more {
                return Ok(0);
            }
        }
    }

    /// Queues for the poll. None if the time is up before.
    fn take_turn(&self, deadline: &mut Deadline) -> Option<MutexGuard<'_, Poller>> {
        self.poller.try_lock().or_else(|| {
            // Whoever has the poll reports what this thread has left of its events.
            if let Some(thread) = this_thread() {
                self.control.give_back(thread);
            }
            match deadline.instant() {
                None => Some(self.poller.lock()),
                Some(moment) => self.poller.try_lock_until(moment),
            }
        })
    }
}
