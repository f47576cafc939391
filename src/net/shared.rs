//! What the types of this module hold: a socket, which all clones share, with limits that any of them sets.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use socket2::{SockRef, Socket};

use super::errors::{bare, stopped};
use crate::error::{Error, Result};
use crate::opening::FirstError;
use crate::registry::ShutdownRegistry;
use crate::socket::{Incoming, Stop, TcpSocket};
use crate::sync::back_off;
use crate::sys::{self, BorrowedSocket, OwnedSocket};

pub(super) struct Shared(Arc<Inner>);

struct Inner {
    socket: TcpSocket,
    /// What `socket` could not take over, since its registry takes no more.
    refused: Option<Socket>,
    read_limit: Limit,
    write_limit: Limit,
    nonblocking: AtomicBool,
    /// What has broken the connection in the middle of a write, which told how much it had sent: the system would have kept it for
    /// the next call.
    untold: FirstError,
    /// Descriptors for conversions to owned ones, which mustn't fail: at least one for each clone. A clone of the standard library's
    /// takes one, too.
    spares: Mutex<Vec<OwnedSocket>>,
}

/// A limit in nanoseconds; zero for none.
#[derive(Default)]
struct Limit(AtomicU64);

impl Limit {
    fn set(&self, limit: Option<Duration>) {
        let nanos = limit.map_or(0, |limit| u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX));
        self.0.store(nanos, Relaxed);
    }

    fn get(&self) -> Option<Duration> {
        let nanos = self.0.load(Relaxed);
        (nanos != 0).then(|| Duration::from_nanos(nanos))
    }
}

impl Shared {
    /// Shares `socket`. A limit that it has holds for each direction; one of zero is non-blocking mode.
    pub(super) fn new(mut socket: TcpSocket) -> Shared {
        socket.share();
        let limit = socket.get_timeout();
        let shared = Shared::with(socket, None, limit == Some(Duration::ZERO));
        if limit.is_some_and(|limit| !limit.is_zero()) {
            // They fail if the socket was ended: then there is nothing to limit.
            let _ = shared.set_read_limit(limit);
            let _ = shared.set_write_limit(limit);
        }
        shared
    }

    fn with(socket: TcpSocket, refused: Option<Socket>, nonblocking: bool) -> Shared {
        Shared(Arc::new(Inner {
            socket,
            refused,
            read_limit: Limit::default(),
            write_limit: Limit::default(),
            nonblocking: AtomicBool::new(nonblocking),
            untold: FirstError::default(),
            spares: Mutex::default(),
        }))
    }

    /// Shares a socket that a program gives, in the global registry.
    pub(super) fn given(socket: impl Into<Socket>) -> Shared {
        Shared::take_over(ShutdownRegistry::global(), socket, true)
    }

    /// Shares a socket of the standard library's, with the limits and the mode that it has. Others may have it, too, if it
    /// `is_elsewhere`.
    pub(super) fn take_over(registry: &ShutdownRegistry, given: impl Into<Socket>, is_elsewhere: bool) -> Shared {
        let given = given.into();
        let nonblocking = is_elsewhere && !sys::may_block(sys::borrowed(&given));
        let limits = [given.read_timeout(), given.write_timeout()];
        let (socket, refused) = TcpSocket::shared_from(registry, given, is_elsewhere);
        let shared = Shared::with(socket, refused, nonblocking);
        let [read_limit, write_limit] = limits.map(|limit| limit.ok().flatten());
        shared.0.read_limit.set(read_limit);
        shared.0.write_limit.set(write_limit);
        shared
    }

    pub(super) fn socket(&self) -> &TcpSocket {
        &self.0.socket
    }

    pub(super) fn try_clone(&self) -> io::Result<Shared> {
        let mut spares = self.0.spares.lock();
        if spares.len() < Arc::strong_count(&self.0) {
            spares.push(sys::dead()?);
        }
        Ok(Shared(Arc::clone(&self.0)))
    }

    // Options.

    pub(super) fn with_options<T>(
        &self,
        name: &'static str,
        work: impl Fn(&SockRef<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        self.socket().with_shared(name, work).map_err(bare)
    }

    pub(super) fn take_error(&self) -> io::Result<Option<io::Error>> {
        let told = self.with_options("take_error", |socket| socket.take_error())?;
        Ok(told.or_else(|| self.0.untold.take()))
    }

    /// Sets how long a read may take. The system is told, too, for whoever is given the descriptor.
    pub(super) fn set_read_limit(&self, limit: Option<Duration>) -> io::Result<()> {
        let for_system = for_system(limit)?;
        self.with_options("set_read_timeout", |socket| socket.set_read_timeout(for_system))?;
        self.0.read_limit.set(limit);
        Ok(())
    }

    pub(super) fn set_write_limit(&self, limit: Option<Duration>) -> io::Result<()> {
        let for_system = for_system(limit)?;
        self.with_options("set_write_timeout", |socket| socket.set_write_timeout(for_system))?;
        self.0.write_limit.set(limit);
        Ok(())
    }

    pub(super) fn read_limit(&self) -> io::Result<Option<Duration>> {
        self.with_options("read_timeout", |_| Ok(self.0.read_limit.get()))
    }

    pub(super) fn write_limit(&self) -> io::Result<Option<Duration>> {
        self.with_options("write_timeout", |_| Ok(self.0.write_limit.get()))
    }

    pub(super) fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.with_options("set_nonblocking", |_| {
            self.0.nonblocking.store(nonblocking, Relaxed);
            Ok(())
        })
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.with_options("local_addr", |socket| {
            socket.local_addr()?.as_socket().ok_or_else(no_ip_address)
        })
    }

    pub(super) fn peer_addr(&self) -> io::Result<SocketAddr> {
        let told = self.with_options("peer_addr", |socket| {
            socket.peer_addr()?.as_socket().ok_or_else(no_ip_address)
        });
        match self.socket().is_open() {
            true => told,
            false => told.or_else(|error| self.socket().opening().peer().ok_or(error)),
        }
    }

    /// Where a connection comes from that was accepted.
    pub(super) fn accepted_from(&self) -> io::Result<SocketAddr> {
        self.socket().opening().peer().ok_or_else(no_ip_address)
    }

    // Operations.

    pub(super) fn accept(&self) -> io::Result<Shared> {
        let client = self.accept_by(|limit| self.socket().accept_shared(limit));
        client.map(Shared::new)
    }

    /// The next of `clients` of this listener.
    pub(in crate::net) fn next_client(&self, clients: &mut Incoming<'_>) -> Option<io::Result<Shared>> {
        let client = self.accept_by(|limit| clients.next_within(limit).transpose());
        client.map(|client| client.map(Shared::new)).transpose()
    }

    /// Runs `accept` within the limit of reads, which a listener has that has come with one.
    fn accept_by<T>(&self, accept: impl FnOnce(Option<Duration>) -> Result<T>) -> io::Result<T> {
        let limit = self.within(self.0.read_limit.get());
        let begin = limit.map(|_| Instant::now());
        accept(limit).map_err(|error| {
            let is_over = limit.zip(begin).is_some_and(|(limit, begin)| begin.elapsed() >= limit);
            match error {
                Error::Timeout if is_over => stopped(Stop::Limit, limit),
                error => bare(error),
            }
        })
    }

    /// The limit of an operation: `limit`, or none at all to wait in non-blocking mode.
    fn within(&self, limit: Option<Duration>) -> Option<Duration> {
        if self.0.nonblocking.load(Relaxed) {
            return Some(Duration::ZERO);
        }
        limit
    }

    fn receive(
        &self,
        name: &'static str,
        receive: impl FnMut(BorrowedSocket<'_>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let limit = self.within(self.0.read_limit.get());
        let received = self.socket().receive_shared(name, limit, receive);
        match received {
            Ok(0) => self.0.untold.take().map_or(Ok(0), Err),
            received => received.map_err(|stop| stopped(stop, limit)),
        }
    }

    pub(super) fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.receive("read", |socket| sys::receive(socket, buf))
    }

    pub(super) fn read_vectored(&self, slices: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let count = slices.len().min(sys::MOST_SLICES);
        let slices = &mut slices[..count];
        if slices.iter().all(|slice| slice.is_empty()) {
            return Ok(0);
        }
        self.receive("read_vectored", |socket| sys::receive_vectored(socket, slices))
    }

    pub(super) fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.receive("peek", |socket| sys::peek(socket, buf))
    }

    pub(super) fn write(&self, data: &[u8]) -> io::Result<usize> {
        self.send("write", &[IoSlice::new(data)])
    }

    pub(super) fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let slices = &slices[..slices.len().min(sys::MOST_SLICES)];
        if slices.iter().all(|slice| slice.is_empty()) {
            return Ok(0);
        }
        self.send("write_vectored", slices)
    }

    fn send(&self, name: &'static str, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let limit = self.within(self.0.write_limit.get());
        let sent = self.socket().send_shared(name, limit, slices, &self.0.untold);
        sent.map_err(|stop| match stopped(stop, limit) {
            error if error.kind() == io::ErrorKind::BrokenPipe => self.0.untold.take().unwrap_or(error),
            error => error,
        })
    }

    // The end.

    pub(super) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.with_options("shutdown", |socket| socket.shutdown(how))?;
        // Not every system reports it to whoever waits for room in a connection of Unix.
        self.socket().opening().wake();
        Ok(())
    }

    /// Gives the socket to a `TcpSocket`. If there are clones, that has a duplicate.
    pub(super) fn into_socket(self) -> TcpSocket {
        let limit = self.within(self.0.read_limit.get());
        let mut socket = match Arc::try_unwrap(self.0) {
            Ok(Inner {
                mut socket,
                refused: None,
                ..
            }) => {
                socket.unshare();
                socket
            }
            Ok(inner) => inner.socket,
            Err(shared) => {
                let registry = shared.socket.registry().clone();
                let duplicate = Shared(shared).into_number();
                let mut socket = TcpSocket::with_registry(&registry);
                // What was ended is no stream socket any more, and then this one isn't open.
                let _ = socket.attach(duplicate);
                socket
            }
        };
        socket.timeout(limit);
        socket
    }

    /// Gives the descriptor away, as the standard library would have left it, or a duplicate if there are clones.
    pub(super) fn into_number(self) -> OwnedSocket {
        let nonblocking = self.0.nonblocking.load(Relaxed);
        let number = self.take_number();
        // It fails if the socket was ended: then there is nothing to set.
        let _ = SockRef::from(&number).set_nonblocking(nonblocking);
        number
    }

    fn take_number(mut self) -> OwnedSocket {
        let mut steps = 0;
        loop {
            let shared = match Arc::try_unwrap(self.0) {
                Ok(inner) => return inner.into_number(),
                Err(shared) => shared,
            };
            let spare = shared.spares.lock().pop();
            if let Some(spare) = spare {
                return shared.duplicate(spare);
            }
            // Others took the last ones at this moment, and are about to let go of the socket.
            self.0 = shared;
            back_off(&mut steps);
        }
    }
}

/// A limit as the system takes it, to which zero is none, and which counts in microseconds.
fn for_system(limit: Option<Duration>) -> io::Result<Option<Duration>> {
    match limit {
        Some(Duration::ZERO) => Err(zero_limit()),
        limit => Ok(limit.map(|limit| limit.max(Duration::from_micros(1)))),
    }
}

pub(super) fn zero_limit() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "cannot set a 0 duration timeout")
}

fn no_ip_address() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "invalid argument")
}

impl Inner {
    fn into_number(self) -> OwnedSocket {
        if let Some(refused) = self.refused {
            return refused.into();
        }
        let mut steps = 0;
        // There is none only if the socket was ended just as it was made. Then a dead one takes its place, as soon as there is a
        // descriptor for that.
        self.socket.into_number().unwrap_or_else(|| {
            loop {
                match sys::dead() {
                    Ok(dead) => return dead,
                    Err(_) => back_off(&mut steps),
                }
            }
        })
    }

    /// Makes a duplicate with the number of `spare`. Of a socket that was ended there is none: it is the spare, as dead as that.
    fn duplicate(&self, mut spare: OwnedSocket) -> OwnedSocket {
        match &self.refused {
            Some(refused) => sys::duplicate_into(sys::borrowed(refused), &mut spare),
            None => self
                .socket
                .with_number(|socket| sys::duplicate_into(socket, &mut spare)),
        }
        spare
    }
}
