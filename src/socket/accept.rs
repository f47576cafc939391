//! Accepting clients.

use std::io;
use std::iter::FusedIterator;
use std::time::Duration;

use super::limits::Limits;
use super::try_wait::{READING, TryWait};
use super::{Directions, TcpSocket};
use crate::deadline::Ends;
use crate::error::{Error, Result};
use crate::events::WaitEvents;
use crate::opening::{Direction, InUse, Snapshot, longer_pause};
use crate::park::{AnyParker, Step};
use crate::sys::{self, Accepted};

impl TcpSocket {
    /// Waits for a client of `listener`; this socket becomes the connection to it.
    ///
    /// Closes what was open before. The connection joins the listener's registry and takes over its raw wait. This
    /// socket keeps its own limits, which hold for the accept, too. Any number of threads may accept from one listener.
    ///
    /// Blocks for at most this socket's [`timeout`](TcpSocket::timeout). Closing or aborting the *listener* ends it;
    /// closing this socket doesn't, until there is a connection.
    ///
    /// # Errors
    ///
    /// Those of [`accept_new`](TcpSocket::accept_new); [`Error::Io`] puts this socket, not the listener, into the error
    /// state.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::net::TcpStream;
    /// use std::time::Duration;
    /// use wakesock::TcpSocket;
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// let client = TcpStream::connect(listener.local_addr()?).unwrap();
    /// let mut connection = TcpSocket::new();
    /// connection.timeout(Duration::from_secs(1)).accept(&listener)?;
    /// assert_eq!(connection.peer_addr()?, client.local_addr().unwrap());
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn accept(&mut self, listener: &TcpSocket) -> Result<()> {
        self.prepare_opening();
        let limits = self.limits();
        let result = self
            .opening
            .check()
            .and_then(|()| listener.next_client("accept", limits, None));
        match result {
            Ok((client, in_use)) => {
                self.registry = listener.registry.clone();
                self.raw_wait = listener.raw_wait.clone();
                self.open_accepted(client, listener, in_use)
            }
            Err(error) => self.settle_opening(Err(error)),
        }
    }

    /// Waits for a client of this listener, and returns the connection to it.
    ///
    /// Any number of threads may wait here at once. Each has its own limit, each client goes to one of them, and
    /// closing the listener ends them all. The connection belongs to the listener's registry and has its raw wait, but
    /// no limits.
    ///
    /// Blocks for at most the listener's [`timeout`](TcpSocket::timeout). Closing or aborting the listener ends it, and
    /// so does its registry. After [`stop_accepting`](crate::ShutdownRegistry::stop_accepting) the clients that were waiting
    /// then are still handed out, and then it returns [`Error::Shutdown`].
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when descriptors or memory have run out. It doesn't put the listener into the error state: the
    /// next call tries again. The client stays where it is, so a loop that goes on at once would spin:
    /// [`incoming`](TcpSocket::incoming) and queues pause. A client that is gone before it is accepted is passed over, and
    /// is no error. A listener that *is* in the error state, because it couldn't be opened for instance, returns that
    /// error.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use wakesock::TcpSocket;
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// # let mut client = TcpSocket::new();
    /// # client.connect_to(&[listener.local_addr()?])?;
    /// # client.put_all(b"hello\n")?;
    /// let mut connection = listener.accept_new()?;
    /// assert!(connection.is_blocking());
    /// connection.timeout(Duration::from_secs(10));
    /// assert_eq!(connection.get_line()?.as_deref(), Some("hello"));
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    #[doc(alias = "Accept")]
    pub fn accept_new(&self) -> Result<TcpSocket> {
        self.accept_within(self.limits(), None)
    }

    pub(super) fn accept_within(&self, limits: Limits, since: Option<Ends>) -> Result<TcpSocket> {
        let (client, in_use) = self.next_client("accept", limits, since)?;
        let mut connection = TcpSocket::unopened(self.registry.clone(), self.raw_wait.clone());
        connection.open_accepted(client, self, in_use)?;
        Ok(connection)
    }

    /// Accepts client after client, until the listener is closed or shut down. After
    /// [`stop_accepting`](crate::ShutdownRegistry::stop_accepting), the clients that were waiting then come before the end.
    ///
    /// Each step is an [`accept_new`](TcpSocket::accept_new), and blocks as it does. Several threads may each iterate
    /// over the same listener.
    ///
    /// ```
    /// use std::thread;
    /// use wakesock::TcpSocket;
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// let handle = listener.handle();
    /// thread::scope(|scope| {
    ///     for _ in 0..4 {
    ///         scope.spawn(|| {
    ///             for client in listener.incoming() {
    ///                 match client {
    ///                     Ok(mut client) => drop(client.put_all(b"hello\n")),
    ///                     Err(error) => eprintln!("{error}"),
    ///                 }
    ///             }
    ///         });
    ///     }
    ///     handle.close();
    /// });
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming {
            listener: self,
            serving_since: None,
            ended: false,
            pause: None,
        }
    }

    /// Accepts client after client for [`serve`](TcpSocket::serve): whatever the limit of each operation is, and until any abort,
    /// also one that is lifted at once.
    pub(super) fn incoming_since(&self, since: Ends) -> Incoming<'_> {
        Incoming {
            serving_since: Some(since),
            ..self.incoming()
        }
    }

    /// Waits for a client. The listener is to be left when the connection was counted by the registry: a drain waits for
    /// that. If aborts count `since` some moment, one of these ends it.
    fn next_client(&self, name: &'static str, limits: Limits, since: Option<Ends>) -> Result<(Accepted, InUse<'_>)> {
        self.wait_for_client(name, limits, since).inspect_err(|_| {
            self.opening.turn_last_clients_away();
        })
    }

    fn wait_for_client(
        &self,
        name: &'static str,
        limits: Limits,
        since: Option<Ends>,
    ) -> Result<(Accepted, InUse<'_>)> {
        self.ready(Directions::READ)?;
        let mut in_use = self.opening.enter()?;
        let mut deadline = self.deadline_within(limits);
        if let Some(since) = since {
            let now = self.opening.side(Direction::Read).ends();
            deadline.note_ends(now.with_aborts_of(since));
        }
        let mut taking = |in_use: &InUse<'_>| self.take_client(in_use);
        let client = TryWait::new(name, READING, &self.raw_wait).run(&mut in_use, &mut deadline, &mut taking)?;
        Ok((client, in_use))
    }

    /// Takes a client off the queue of this listener, which is in use.
    fn take_client(&self, in_use: &InUse<'_>) -> io::Result<Accepted> {
        let opening = in_use.opening();
        let known = opening.readiness().load();
        let client = self.take_any_client(in_use, known);
        if known.is_followed() {
            opening.note_whether_accepts(&client);
        }
        client
    }

    fn take_any_client(&self, in_use: &InUse<'_>, known: Snapshot) -> io::Result<Accepted> {
        let opening = in_use.opening();
        if opening.hands_out_last() {
            return self.take_last_client(in_use, known);
        }
        let client = accept(in_use);
        if known.is_followed() {
            opening.note_attempt(known, WaitEvents::READ, &client);
            if client.is_ok() {
                opening.note_accepted(known);
            }
        }
        // Another thread may have stopped listening meanwhile.
        if client.is_err() && opening.hands_out_last() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        client
    }

    /// Takes one of the clients that were waiting when the registry stopped accepting. With the last of them, the listener
    /// ends.
    #[cold]
    fn take_last_client(&self, in_use: &InUse<'_>, known: Snapshot) -> io::Result<Accepted> {
        let opening = in_use.opening();
        let next = opening.next_last_client(|| accept(in_use))?;
        if next.more {
            opening.announce_unread();
            opening.note_accepted(known);
        } else {
            in_use.end_accepting();
        }
        next.client.ok_or_else(|| io::ErrorKind::Interrupted.into())
    }

    /// Blocks for `length`, though no longer than `limits`, or until the listener is ended.
    fn pause(&self, length: Duration, limits: Limits) -> Result<()> {
        let limits = Limits {
            each: Some(limits.each.map_or(length, |limit| limit.min(length))),
            ..limits
        };
        let mut in_use = self.opening.enter()?;
        // Not in the listener's own waiter, which other threads need.
        let mut parker = AnyParker::new();
        let mut deadline = self.deadline_within(limits);
        match in_use.park::<()>(&mut parker, &mut deadline, |_| Step::WaitUntil(None)) {
            Err(Error::Timeout) => Ok(()),
            result => result,
        }
    }
}

/// Asks the system for a client of the listener that is in use.
fn accept(in_use: &InUse<'_>) -> io::Result<Accepted> {
    let client = if in_use.opening().is_shared() {
        accept_shared(in_use)
    } else {
        sys::accept(in_use.socket())
    };
    match client {
        Err(error) if sys::is_aborted_connection(&error) => Err(io::ErrorKind::Interrupted.into()),
        client => client,
    }
}

/// Asks the system for a client of a listener that others may have made a blocking one.
#[cold]
fn accept_shared(in_use: &InUse<'_>) -> io::Result<Accepted> {
    let listener = in_use.socket();
    if !sys::may_block(listener) {
        return sys::accept(listener);
    }
    // Two threads must not try to take the same client: the second would block.
    in_use.opening().alone(|| {
        if sys::poll(listener, WaitEvents::READ, Some(Duration::ZERO))?.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        sys::accept(listener)
    })
}

/// The clients of a listener: see [`TcpSocket::incoming`].
///
/// The iterator ends when the listener is closed or shut down, and after [`Error::Aborted`] and
/// [`Error::GlobalTimeout`]. After any other error, the next item is another try. After an error other than
/// the [`Error::Timeout`] of its limit, `next` first waits a little (5 ms, doubled each time, up to a second or the limit), so
/// that a loop that ignores errors doesn't spin.
///
/// ```
/// use std::time::Duration;
/// use wakesock::{Error, TcpSocket};
///
/// let mut listener = TcpSocket::new();
/// listener.listen_on("127.0.0.1:0", &Default::default())?;
/// // With a limit, the loop comes round now and then, even without a client.
/// listener.timeout(Duration::from_millis(5));
/// let mut clients = listener.incoming();
/// assert!(matches!(clients.next(), Some(Err(Error::Timeout))));
/// listener.close();
/// assert!(clients.next().is_none());
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a TcpSocket,
    /// For `serve`: no limit of an operation holds, and aborts count since then.
    serving_since: Option<Ends>,
    ended: bool,
    /// How long the next try waits first.
    pause: Option<Duration>,
}

impl Iterator for Incoming<'_> {
    type Item = Result<TcpSocket>;

    fn next(&mut self) -> Option<Result<TcpSocket>> {
        let each = self.listener.limit.filter(|_| self.serving_since.is_none());
        self.next_within(each)
    }
}

impl Incoming<'_> {
    /// Waits for the next client, for `each` at most, whatever limit the listener has.
    pub(crate) fn next_within(&mut self, each: Option<Duration>) -> Option<Result<TcpSocket>> {
        if self.ended {
            return None;
        }
        let limits = Limits {
            each,
            ..self.listener.limits()
        };
        let paused = match self.pause {
            Some(length) => self.listener.pause(length, limits),
            None => Ok(()),
        };
        let result = paused.and_then(|()| self.listener.accept_within(limits, self.serving_since));
        match &result {
            Err(error) if error.is_closed() => {
                self.ended = true;
                return None;
            }
            Err(Error::Aborted | Error::GlobalTimeout) => self.ended = true,
            // Without a limit, it is a deadline that has passed, and may be lifted.
            Err(Error::Timeout) if each.is_none() => self.pause = Some(longer_pause(self.pause)),
            Err(Error::Timeout) | Ok(_) => self.pause = None,
            Err(_) => self.pause = Some(longer_pause(self.pause)),
        }
        Some(result)
    }
}

impl FusedIterator for Incoming<'_> {}

#[cfg(all(test, not(wakesock_loom)))]
mod tests {
    use std::net::TcpStream;
    use std::thread;

    use super::*;
    use crate::registry::ShutdownRegistry;

    #[test]
    fn a_client_that_is_taken_just_before_a_shutdown_is_counted_by_the_drain() {
        let registry = ShutdownRegistry::new();
        for stops_before in [false, true] {
            registry.reset();
            let mut listener = TcpSocket::with_registry(&registry);
            listener.listen_on("127.0.0.1:0", &Default::default()).unwrap();
            let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            if stops_before {
                registry.stop_accepting();
            }
            let (client, in_use) = listener.next_client("accept", listener.limits(), None).unwrap();
            thread::scope(|scope| {
                let drain = scope.spawn(|| registry.drain(Duration::ZERO));
                while !registry.is_shutdown() {
                    thread::yield_now();
                }
                let mut connection = TcpSocket::with_registry(&registry);
                let opened = connection.open_accepted(client, &listener, in_use);
                assert!(matches!(opened, Err(Error::Shutdown)), "{opened:?}");
                let drained = drain.join().unwrap();
                assert_eq!((drained.finished, drained.forced), (0, 1), "{drained:?}");
            });
        }
    }
}
