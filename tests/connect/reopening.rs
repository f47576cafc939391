//! Openings that fail, are given up or are cut short leave nothing behind, and the next one works.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use wakesock::{
    Error, ListenOptions, MioWait, RawWait, ShutdownRegistry, SocketHandle, TcpSocket, WaitEvents, WaitSource, Waiter,
};

use crate::support::{BlackHole, begin, listener};

/// Does something in the middle of an opening.
struct While<F>(F);

impl<F: Fn()> ToSocketAddrs for While<F> {
    type Iter = std::vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        (self.0)();
        Ok(vec![SocketAddr::from(([127, 0, 0, 1], 0))].into_iter())
    }
}

fn listen_while(listener: &mut TcpSocket, act: impl Fn()) -> Result<(), Error> {
    listener.listen_on(While(act), &ListenOptions::new())
}

#[test]
fn an_abort_in_the_middle_of_an_opening_is_in_force_afterwards() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let mut listener = TcpSocket::with_registry(&registry);
    let handle = listener.handle();
    let opened = listen_while(&mut listener, || handle.abort());
    assert_eq!(opened.is_ok(), listener.is_open(), "{opened:?}");
    assert_eq!(registry.len(), usize::from(listener.is_open()));
    assert!(matches!(listener.accept_new(), Err(Error::Aborted)));
    listener.clear_abort();
    listener.listen(0, 1).unwrap();
    listener.timeout(Duration::from_millis(1));
    assert!(listener.accept_new().unwrap_err().is_timeout());
}

#[test]
fn a_close_in_the_middle_of_an_opening_ends_it() {
    let _test = begin();
    type End = fn(&SocketHandle, &ShutdownRegistry);
    let endings: [(End, Error); 2] = [
        (|handle, _| handle.close(), Error::Closed),
        (|_, registry| registry.shutdown(), Error::Shutdown),
    ];
    for (end, expected) in endings {
        let registry = ShutdownRegistry::new();
        let mut listener = TcpSocket::with_registry(&registry);
        let handle = listener.handle();
        let error = listen_while(&mut listener, || end(&handle, &registry)).unwrap_err();
        assert_eq!(error.to_string(), expected.to_string());
        assert!(!listener.is_open());
        assert_eq!(registry.len(), 0);
        registry.reset();
        listener.listen(0, 1).unwrap();
        assert_eq!(registry.len(), 1);
    }
}

#[test]
fn a_handle_taken_after_closing_a_connection_that_was_being_made_speaks_of_the_next() {
    let _test = begin();
    let hole = BlackHole::new();
    let mut socket = TcpSocket::new();
    socket.timeout(Duration::ZERO).connect_to(&[hole.addr()]).unwrap();
    socket.close();
    let handle = socket.handle();
    handle.close();
    assert!(matches!(socket.listen(0, 1), Err(Error::Closed)));
    socket.listen(0, 1).unwrap();
}

#[derive(Debug)]
struct Panicking;

impl RawWait for Panicking {
    fn waiter(&self, _: WaitSource<'_>, _: WaitEvents) -> io::Result<Box<dyn Waiter>> {
        panic!("the user's code");
    }
}

#[test]
fn a_panic_of_the_users_code_in_an_opening_leaks_nothing() {
    let _test = begin();
    let hole = BlackHole::new();
    let registry = ShutdownRegistry::new();
    let mut socket = TcpSocket::with_registry(&registry);
    socket
        .set_raw_wait(Arc::new(Panicking))
        .timeout(Duration::from_secs(60));
    let caught = catch_unwind(AssertUnwindSafe(|| socket.connect_to(&[hole.addr()])));
    assert!(caught.is_err());
    let caught = catch_unwind(AssertUnwindSafe(|| {
        listen_while(&mut socket, || panic!("the user's code"))
    }));
    assert!(caught.is_err());
    socket.set_raw_wait(Arc::new(MioWait::default()));
    let (_server, addr) = listener();
    socket.connect_to(&[addr]).unwrap();
    assert_eq!(registry.len(), 1);

    let mut socket = TcpSocket::with_registry(&registry);
    socket.set_raw_wait(Arc::new(Panicking));
    let caught = catch_unwind(AssertUnwindSafe(|| socket.connect_to(&[hole.addr()])));
    assert!(caught.is_err());
}

#[test]
fn clear_forgets_a_close_that_came_before_the_opening() {
    let _test = begin();
    let mut socket = TcpSocket::new();
    socket.handle().close();
    socket.clear();
    socket.listen(0, 1).unwrap();
}
