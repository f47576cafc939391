//! Listeners that several threads accept from, with a way to wait.

#![allow(unsafe_code, reason = "accept4(2), to compare with")]

use std::io::{self, ErrorKind, Write};
use std::marker::PhantomData;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use async_io::{Async, Timer};
use futures_lite::{AsyncWriteExt, FutureExt};
use wakesock::{ListenOptions, MioWait, RawWait, TcpSocket, ThreadWait};

use super::Readiness;
use crate::support::LIMIT;

/// A listener, with a way to wait for connections.
///
/// All of them leave to each connection the limit, and the non-blocking mode, that what is done with it later needs.
pub trait Listener: Sync {
    const NAME: &str;

    fn of(listener: TcpListener) -> Self;

    /// What a thread accepts with: blocks until there is a connection, sends it this, if anything, and closes it.
    fn accepting(&self) -> impl FnMut(&[u8]);
}

/// Sends all of it, if it is anything: as one does to a peer that one has just accepted, there is room for that.
fn answer(mut to: impl Write, answer: &[u8]) {
    if !answer.is_empty() {
        to.write_all(answer).unwrap();
    }
}

/// `std::net`, whose accept has no limit.
pub struct StdListener(TcpListener);

impl Listener for StdListener {
    const NAME: &str = "std::net, no limit, as there is none";

    fn of(listener: TcpListener) -> StdListener {
        StdListener(listener)
    }

    fn accepting(&self) -> impl FnMut(&[u8]) {
        |text| answer(self.0.accept().unwrap().0, text)
    }
}

/// This crate.
pub struct WakesockListener(TcpSocket);

impl WakesockListener {
    fn with(raw_wait: Arc<dyn RawWait>, listener: TcpListener, limit: Option<Duration>) -> WakesockListener {
        let mut socket = TcpSocket::new();
        socket.set_raw_wait(raw_wait);
        // One of its own, as programs have it: one that was made elsewhere is looked at before each accept.
        let addr = listener.local_addr().unwrap();
        drop(listener);
        socket.listen_on(addr, &ListenOptions::new().backlog(4096)).unwrap();
        socket.timeout(limit);
        WakesockListener(socket)
    }
}

impl Listener for WakesockListener {
    const NAME: &str = "wakesock";

    fn of(listener: TcpListener) -> WakesockListener {
        WakesockListener::with(Arc::new(MioWait::default()), listener, Some(LIMIT))
    }

    fn accepting(&self) -> impl FnMut(&[u8]) {
        |text| answer(self.0.accept_new().unwrap(), text)
    }
}

/// This crate without a limit.
pub struct WakesockListenerForever(WakesockListener);

impl Listener for WakesockListenerForever {
    const NAME: &str = "wakesock, no limit";

    fn of(listener: TcpListener) -> WakesockListenerForever {
        let raw_wait = Arc::new(MioWait::default());
        WakesockListenerForever(WakesockListener::with(raw_wait, listener, None))
    }

    fn accepting(&self) -> impl FnMut(&[u8]) {
        self.0.accepting()
    }
}

/// This crate with the raw wait that needs no descriptor for a socket.
pub struct WakesockListenerThreadWait(WakesockListener);

impl Listener for WakesockListenerThreadWait {
    const NAME: &str = "wakesock, ThreadWait";

    fn of(listener: TcpListener) -> WakesockListenerThreadWait {
        let raw_wait = Arc::new(ThreadWait::default());
        WakesockListenerThreadWait(WakesockListener::with(raw_wait, listener, Some(LIMIT)))
    }

    fn accepting(&self) -> impl FnMut(&[u8]) {
        self.0.accepting()
    }
}

/// A non-blocking listener, for which each thread waits in its own way.
pub struct WaitingListener<R> {
    listener: TcpListener,
    readiness: PhantomData<fn() -> R>,
}

impl<R: Readiness> Listener for WaitingListener<R> {
    const NAME: &str = R::NAME;

    fn of(listener: TcpListener) -> WaitingListener<R> {
        listener.set_nonblocking(true).unwrap();
        WaitingListener {
            listener,
            readiness: PhantomData,
        }
    }

    fn accepting(&self) -> impl FnMut(&[u8]) {
        let mut readiness = R::new(self.listener.as_fd());
        move |text| {
            loop {
                if R::FIRST {
                    readiness.readable(self.listener.as_fd());
                }
                match accept4(&self.listener) {
                    Ok(connection) => return answer(connection, text),
                    // Another thread was quicker, or there is none yet.
                    Err(error) if error.kind() == ErrorKind::WouldBlock && R::FIRST => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        readiness.readable(self.listener.as_fd());
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
}

/// A connection that doesn't block, since whoever waits like this for one waits so for what it sends, too.
fn accept4(listener: &TcpListener) -> io::Result<TcpStream> {
    let none = ptr::null_mut();
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: null stands for an address that nobody asks for.
    let fd = unsafe { libc::accept4(listener.as_raw_fd(), none, ptr::null_mut(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was made just now.
    Ok(unsafe { TcpStream::from_raw_fd(fd) })
}

/// `async-io` with its `block_on`.
pub struct AsyncIoListener(Async<TcpListener>);

impl Listener for AsyncIoListener {
    const NAME: &str = "async-io, block_on";

    fn of(listener: TcpListener) -> AsyncIoListener {
        AsyncIoListener(Async::new(listener).unwrap())
    }

    fn accepting(&self) -> impl FnMut(&[u8]) {
        |text| {
            let limit = async {
                Timer::after(LIMIT).await;
                Err(ErrorKind::TimedOut.into())
            };
            async_io::block_on(async {
                let (mut connection, _) = self.0.accept().or(limit).await.unwrap();
                if !text.is_empty() {
                    connection.write_all(text).await.unwrap();
                }
            });
        }
    }
}
