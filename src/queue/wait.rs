//! Waiting in a queue.

use std::time::Duration;

use super::assignment::{Round, end_round};
use super::poller::Poller;
use super::slot::Slot;
use super::{SocketEvent, SocketEventQueue};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::registry::EndedBy;
use crate::sync::MutexGuard;

impl<T: Clone + Send> SocketEventQueue<T> {
    /// Blocks until something is ready, and returns all that is.
    ///
    /// It returns no events when `timeout` is over (`None`: never; zero: at once), when the queue was
    /// [woken](super::QueueHandle::wake), and when its registry stops accepting.
    ///
    /// Dropping a subscribed socket closes it, which is reported: the event may carry a token that the program has
    /// forgotten. To avoid that, [`remove`](SocketEventQueue::remove) the socket first.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] once the queue is closed, [`Error::Shutdown`] once its registry is shut down, even where that has
    /// also closed sockets or other events are there, [`Error::Io`] if the system can't wait. Every later wait returns the
    /// same.
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

    /// Blocks as [`wait`](SocketEventQueue::wait) does, and puts the events into `events`, in place of its content.
    /// Returns their number.
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
        self.wait_as(Several::Threads, usize::MAX, events, timeout.into())
    }

    /// Blocks as [`wait`](SocketEventQueue::wait) does, and returns no more than `max` events. The rest is left, at once, to
    /// other threads that wait.
    ///
    /// It is for threads that share the work: with `max` 1, each takes one socket, serves it, and comes back for the next.
    /// Where more is ready than one call takes, the sockets take turns, so that a busy one keeps none of the others waiting.
    ///
    /// When a socket was drained, its next event may go to another thread, while this one still serves it. So a thread that
    /// takes a while [disables](SocketEventQueue::disable_read) the socket first, and subscribes to it again afterwards. The
    /// crate's example [`worker_pool`](https://docs.rs/crate/wakesock/latest/source/examples/worker_pool.rs) is such a server.
    ///
    /// With a `max` of 0 it blocks for no event, whatever `timeout` says: it returns at once, and leaves a
    /// [wake](super::QueueHandle::wake) to another wait. A loop that has no room for events has to block on something else.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](SocketEventQueue::wait).
    ///
    /// ```
    /// use std::time::Duration;
    /// use wakesock::{SocketEventQueue, TcpSocket};
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let connect = || {
    /// #     let mut socket = TcpSocket::new();
    /// #     socket.connect_to(&[server.local_addr().unwrap()]).map(|()| socket)
    /// # };
    /// # let (one, two) = (connect()?, connect()?);
    ///
    /// let queue = SocketEventQueue::new()?;
    /// queue.subscribe_write(&one)?;
    /// queue.subscribe_write(&two)?;
    /// std::thread::scope(|scope| {
    ///     let work = || {
    ///         let events = queue.wait_at_most(1, None)?;
    ///         Ok::<_, wakesock::Error>(*events[0].token())
    ///     };
    ///     let other = scope.spawn(work);
    ///     assert_ne!(work()?, other.join().unwrap()?);
    ///     Ok::<(), wakesock::Error>(())
    /// })?;
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn wait_at_most(&self, max: usize, timeout: impl Into<Option<Duration>>) -> Result<Vec<SocketEvent<T>>> {
        let mut events = Vec::new();
        if max > 0 {
            self.wait_as(Several::Threads, max, &mut events, timeout.into())?;
        } else {
            self.control.check()?;
            end_round(&self.control);
        }
        Ok(events)
    }

    /// Waits as [`wait_into`](SocketEventQueue::wait_into) does, in a queue where only one thread at a time waits.
    pub(crate) fn wait_alone_into(&self, events: &mut Vec<SocketEvent<T>>, timeout: Option<Duration>) -> Result<usize> {
        self.wait_as(Several::No, usize::MAX, events, timeout)
    }

    fn wait_as(
        &self,
        several: Several,
        most: usize,
        events: &mut Vec<SocketEvent<T>>,
        timeout: Option<Duration>,
    ) -> Result<usize> {
        events.clear();
        let mut deadline = Deadline::after(timeout);
        loop {
            self.control.check()?;
            let Some(mut poller) = self.take_poller(several, &mut deadline) else {
                return self.control.check().map(|()| 0);
            };
            let round = match several {
                Several::Threads => poller.begin_round(&self.control),
                Several::No => None,
            };
            let result = self.wait_with(&mut poller, round, most, events, &mut deadline);
            let unreleased = poller.take_unreleased();
            drop(poller);
            // Made first: what is dropped next is the program's, and may panic.
            let restoring = Restoring {
                queue: self,
                events,
                restored: 0,
            };
            drop(unreleased);
            match result {
                Ok(_) => restoring.run(),
                Err(_) => drop(restoring),
            }
            if let Some(count) = result? {
                return Ok(count);
            }
        }
    }

    /// Waits with the poll. Returns the number of events, or None if a socket has to be released before this may block. After
    /// an error, `events` are to be put back.
    fn wait_with(
        &self,
        poller: &mut Poller,
        round: Option<Round>,
        most: usize,
        events: &mut Vec<SocketEvent<T>>,
        deadline: &mut Deadline,
    ) -> Result<Option<usize>> {
        let at_once = Some(Duration::ZERO);
        loop {
            self.control.check()?;
            poller.add_pending(&self.control);
            poller.rearm();
            let has_events =
                poller.may_have_events(&self.control, round) && poller.has_events(&mut self.table.lock(), round);
            if poller.has_unreleased() {
                return Ok(None);
            }
            let left = deadline.left();
            let is_over = left.is_err();
            let left = if has_events {
                at_once
            } else {
                poller.limit(left.unwrap_or(at_once))
            };
            let polled = self
                .control
                .while_polling(|may_block| poller.poll(&self.control, if may_block { left } else { at_once }));
            polled.map_err(|error| self.control.fail(Error::io("wait", error)))?;
            poller.add_pending(&self.control);
            let more = {
                let mut table = self.table.lock();
                let more = poller.add_reported(&table);
                poller.give(&mut table, round, most, events);
                more
            };
            let was_woken = self.control.take_wake();
            if events.is_empty() || self.is_shut_down() {
                self.control.check()?;
            }
            if !events.is_empty() {
                return Ok(Some(events.len()));
            }
            // A ready socket may be behind many that are disabled.
            if was_woken || is_over && !more {
                return Ok(Some(0));
            }
        }
    }

    /// Whether the registry was shut down, even if what ends its members has come to some sockets and not to the queue yet.
    fn is_shut_down(&self) -> bool {
        if self.membership.registry().is_shutdown() {
            self.control.end(EndedBy::Registry);
        }
        self.control.is_shut_down()
    }

    /// Waits until the poll is free. None if the time is up first.
    fn take_poller(&self, several: Several, deadline: &mut Deadline) -> Option<MutexGuard<'_, Poller>> {
        self.poller.try_lock().or_else(|| {
            if several == Several::Threads {
                end_round(&self.control);
            }
            match deadline.instant() {
                None => Some(self.poller.lock()),
                Some(at) => self.poller.try_lock_until(at),
            }
        })
    }
}

impl<T> SocketEventQueue<T> {
    fn restore(&self, slot: Slot, token: T) {
        let (unwanted, passed_over) = self.table.lock().restore(slot, token);
        drop(unwanted);
        if passed_over {
            self.control.look_again();
        }
    }
}

/// Tokens that are being cloned. That is the program's code and may panic: then no event is lost.
struct Restoring<'a, T> {
    queue: &'a SocketEventQueue<T>,
    events: &'a mut Vec<SocketEvent<T>>,
    /// How many events have put a clone of their token back.
    restored: usize,
}

impl<T: Clone + Send> Restoring<'_, T> {
    /// Puts a clone of each token that the events carry back into the table.
    fn run(mut self) {
        while let Some(event) = self.events.get(self.restored) {
            if !event.closed {
                self.queue.restore(event.slot, event.token.clone());
            }
            self.restored += 1;
        }
    }
}

impl<T> Drop for Restoring<'_, T> {
    fn drop(&mut self) {
        if self.restored == self.events.len() {
            return;
        }
        // The next wait returns them: it reports again what is still ready, and the table keeps the events of closed
        // sockets.
        for (index, event) in self.events.drain(..).enumerate() {
            if event.closed {
                self.queue.table.lock().undelivered.push(event);
            } else if index >= self.restored {
                self.queue.restore(event.slot, event.token);
            }
        }
        // This thread has got none of them.
        end_round(&self.queue.control);
        self.queue.control.look_again();
    }
}

/// Whether several threads may wait at the same time, so that events have to be assigned to one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Several {
    Threads,
    No,
}
