//! Every operation that can block on an open socket, in tables, for tests that end them all.

use std::io::{self, BufRead, IoSlice, IoSliceMut, Read, Write};
use std::mem;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use wakesock::{Error, ListenOptions, MioWait, RawWait, ShutdownRegistry, SocketHandle, TcpSocket, WaitEvents};

use super::full::MUCH;
use super::{pair_of, unopened_in};

/// An operation that blocks on a silent socket until something ends it, and then fails.
#[derive(Clone, Copy)]
pub struct Operation {
    pub name: &'static str,
    pub run: fn(&mut TcpSocket) -> Result<(), Error>,
}

/// No limit, and one that is not reached.
pub const LIMITS: [Option<Duration>; 2] = [None, Some(Duration::from_secs(300))];

/// A way to end an operation from elsewhere.
pub type End = fn(&SocketHandle, &ShutdownRegistry);

/// The ways to end an operation from elsewhere, and what it says then.
pub const ENDS: [(End, Error); 3] = [
    (|handle, _| handle.close(), Error::Closed),
    (|handle, _| handle.abort(), Error::Aborted),
    (|_, registry| registry.shutdown(), Error::Shutdown),
];

const fn operation(name: &'static str, run: fn(&mut TcpSocket) -> Result<(), Error>) -> Operation {
    Operation { name, run }
}

/// What blocks on a listener without clients.
pub const OF_LISTENERS: [Operation; 4] = [
    operation("accept", |listener| {
        let limit = listener.get_timeout();
        TcpSocket::new().timeout(limit).accept(listener)
    }),
    operation("accept_new", |listener| listener.accept_new().map(drop)),
    operation("incoming", |listener| match listener.incoming().next() {
        Some(client) => client.map(drop),
        // It ends with nothing; why is seen from a try without it.
        None => listener.accept_new().map(drop),
    }),
    operation("wait", |listener| listener.wait(WaitEvents::READ).map(drop)),
];

/// What blocks on a connection to a peer that is open, but neither sends nor reads.
pub const OF_CONNECTIONS: [Operation; 30] = [
    operation("get", |socket| socket.get(&mut [0; 8]).map(drop)),
    operation("get, much", |socket| socket.get(&mut vec![0; 1 << 20]).map(drop)),
    operation("get_bytes", |socket| socket.get_bytes(8).map(drop)),
    operation("get_byte", |socket| socket.get_byte().map(drop)),
    operation("get_all", |socket| socket.get_all(&mut [0; 8])),
    operation("get_all_bytes", |socket| socket.get_all_bytes(8).map(drop)),
    operation("get_line", |socket| socket.get_line().map(drop)),
    operation("get_line_bytes", |socket| socket.get_line_bytes(80).map(drop)),
    operation("get_line_into", |socket| {
        socket.get_line_into(&mut Vec::new(), 80).map(drop)
    }),
    operation("peek", |socket| socket.peek().map(drop)),
    operation("peek_all", |socket| socket.peek_all(8).map(drop)),
    operation("term", |socket| socket.term().map(drop)),
    operation("Read::read", |socket| socket.read(&mut [0; 8]).map(drop).map_err(inner)),
    operation("BufRead::fill_buf", |socket| socket.fill_buf().map(drop).map_err(inner)),
    operation("Read::read_exact", |socket| {
        socket.read_exact(&mut [0; 8]).map_err(inner)
    }),
    operation("Read::read_to_end", |socket| {
        socket.read_to_end(&mut Vec::new()).map(drop).map_err(inner)
    }),
    operation("Read::read_to_string", |socket| {
        socket.read_to_string(&mut String::new()).map(drop).map_err(inner)
    }),
    operation("BufRead::read_line", |socket| {
        socket.read_line(&mut String::new()).map(drop).map_err(inner)
    }),
    operation("BufRead::skip_until", |socket| {
        socket.skip_until(b'\n').map(drop).map_err(inner)
    }),
    operation("Read::read_vectored", |socket| {
        let (mut one, mut other) = ([0; 8], [0; 10_000]);
        let slices = &mut [IoSliceMut::new(&mut one), IoSliceMut::new(&mut other)];
        socket.read_vectored(slices).map(drop).map_err(inner)
    }),
    operation("Write::write_vectored", |socket| {
        loop {
            let slices = [IoSlice::new(b"header"), IoSlice::new(&MUCH)];
            socket.write_vectored(&slices).map_err(inner)?;
        }
    }),
    operation("Write::write_all", |socket| socket.write_all(&MUCH).map_err(inner)),
    operation("put", |socket| {
        let sent = socket.put(&MUCH)?;
        assert!(sent < MUCH.len(), "it was all sent to nobody");
        socket.put(&MUCH).map(drop)
    }),
    operation("put_all", |socket| socket.put_all(&MUCH)),
    operation("Write::write", |socket| {
        loop {
            socket.write(&MUCH).map_err(inner)?;
        }
    }),
    operation("wait for something to read", |socket| {
        socket.wait(WaitEvents::READ).map(drop)
    }),
    operation("wait for an exception", |socket| {
        socket.wait(WaitEvents::EXCEPTION).map(drop)
    }),
    operation("wait for nothing", |socket| socket.wait(WaitEvents::empty()).map(drop)),
    operation("wait_write", |socket| {
        let limit = socket.get_timeout();
        loop {
            socket.wait_write()?;
            let sent = socket.timeout(Duration::ZERO).put(&MUCH);
            socket.timeout(limit);
            match sent {
                Ok(_) | Err(Error::Timeout) => {}
                Err(error) => return Err(error),
            }
        }
    }),
    operation("wait_request", |socket| socket.wait_request().map(drop)),
];

/// Gives each operation, a socket in `registry` on which it blocks, and what that is connected to.
pub fn every_operation(registry: &ShutdownRegistry) -> impl Iterator<Item = (Operation, TcpSocket, Option<TcpStream>)> {
    every_operation_in(registry, Arc::new(MioWait::default()))
}

/// Gives each operation, and sockets as above that block in what `raw_wait` makes.
pub fn every_operation_in(
    registry: &ShutdownRegistry,
    raw_wait: Arc<dyn RawWait>,
) -> impl Iterator<Item = (Operation, TcpSocket, Option<TcpStream>)> {
    let unopened = move || unopened_in(registry, &raw_wait);
    let for_listeners = unopened.clone();
    let of_listeners = OF_LISTENERS.into_iter().map(move |operation| {
        let mut listener = for_listeners();
        listener.listen_on("127.0.0.1:0", &ListenOptions::default()).unwrap();
        (operation, listener, None)
    });
    let of_connections = OF_CONNECTIONS.into_iter().map(move |operation| {
        let (socket, peer) = pair_of(unopened());
        (operation, socket, Some(peer))
    });
    of_listeners.chain(of_connections)
}

/// The crate's error inside one of the standard library's.
pub fn inner(error: io::Error) -> Error {
    let text = error.to_string();
    match error.into_inner().map(|inner| inner.downcast::<Error>()) {
        Some(Ok(inner)) => *inner,
        _ => panic!("not an error of the crate: {text}"),
    }
}

/// Checks that `result` is a failure of the kind of `expected`.
#[track_caller]
pub fn assert_failed<T: std::fmt::Debug>(result: &Result<T, Error>, expected: &Error, what: impl std::fmt::Debug) {
    let as_expected = matches!(result, Err(error) if mem::discriminant(error) == mem::discriminant(expected));
    assert!(as_expected, "{what:?}: {result:?} instead of Err({expected:?})");
}
