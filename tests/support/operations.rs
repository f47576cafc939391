//! Every operation that blocks, on a socket where nothing ever happens.

use std::sync::Arc;
use std::time::Duration;

use wakesock::{Error, RawWait, ShutdownRegistry, SocketHandle, TcpSocket, WaitEvents};

use super::full::MUCH;
use super::{BlackHole, Blocked, block, pair_of, timed, unopened_in};

/// An operation with nothing to do, and the socket it is for.
pub struct Stuck {
    pub name: &'static str,
    /// The limits of this one rule.
    pub socket: TcpSocket,
    /// Ends it.
    pub handle: SocketHandle,
    operation: Operation,
}

type Operation = Box<dyn FnMut(&mut TcpSocket) -> Result<(), Error> + Send>;

/// All of them, their sockets in `registry`. `hole` is what `connect` connects to.
pub fn operations(hole: &BlackHole, registry: &ShutdownRegistry, raw_wait: &Arc<dyn RawWait>) -> Vec<Stuck> {
    let unopened = || unopened_in(registry, raw_wait);
    let listener = || {
        let mut listener = unopened();
        listener.listen_on("127.0.0.1:0", &Default::default()).unwrap();
        listener
    };
    let reading = |name, mut operation: Operation| {
        let (reader, peer) = pair_of(unopened());
        Stuck::new(name, reader, move |socket| {
            let _alive = &peer;
            operation(socket)
        })
    };

    let (other, addr) = (listener(), hole.addr());
    let others_handle = other.handle();
    let mut accept = Stuck::new("accept", unopened(), move |socket| socket.accept(&other));
    accept.handle = others_handle;

    let (writer, silent) = pair_of(unopened());
    let put = Stuck::new("put", writer, move |socket| {
        let _alive = &silent;
        put_for_ever(socket)
    });

    vec![
        Stuck::new("accept_new", listener(), |socket| socket.accept_new().map(drop)),
        accept,
        Stuck::new("connect", unopened(), move |socket| socket.connect_to(&[addr])),
        reading("get", Box::new(|socket| socket.get(&mut [0; 8]).map(drop))),
        reading("get_line", Box::new(|socket| socket.get_line().map(drop))),
        put,
        reading("wait", Box::new(|socket| socket.wait(WaitEvents::READ).map(drop))),
        reading(
            "wait_request",
            Box::new(|socket| {
                let came = socket.wait_request()?;
                assert!(!came, "nobody has sent anything");
                Ok(())
            }),
        ),
    ]
}

impl Stuck {
    fn new(
        name: &'static str,
        socket: TcpSocket,
        operation: impl FnMut(&mut TcpSocket) -> Result<(), Error> + Send + 'static,
    ) -> Stuck {
        Stuck {
            name,
            handle: socket.handle(),
            socket,
            operation: Box::new(operation),
        }
    }

    /// Runs it.
    pub fn run(&mut self, limit: impl Into<Option<Duration>>) -> Result<(), Error> {
        self.socket.clear_error();
        self.socket.timeout(limit);
        (self.operation)(&mut self.socket)
    }

    /// Runs it until its time is up. Returns how long that took, which was not too short.
    pub fn times_out(&mut self, limit: Duration) -> Duration {
        let (result, took) = timed(|| self.run(limit));
        assert!(
            matches!(result, Err(Error::Timeout)),
            "{}, limit {limit:?}: {result:?} after {took:?}",
            self.name
        );
        assert!(
            took >= limit,
            "{}: a limit of {limit:?} was over after {took:?}",
            self.name
        );
        took
    }

    /// Runs it in a thread of its own.
    pub fn block(mut self, limit: impl Into<Option<Duration>>) -> Blocked<Result<(), Error>> {
        let limit = limit.into();
        block(move || self.run(limit))
    }
}

/// Whether `result` is what `name` returns when its registry is shut down.
///
/// `wait_request` may first see that the registry is stopping, of which it says that there is no request.
pub fn is_shut_down(name: &str, result: &Result<(), Error>) -> bool {
    match result {
        Ok(()) => name == "wait_request",
        Err(error) => matches!(error, Error::Shutdown),
    }
}

/// A `put` that can't end, and why it did: what a short count leaves to the next call.
fn put_for_ever(socket: &mut TcpSocket) -> Result<(), Error> {
    match socket.put(&MUCH) {
        Ok(done) if done < MUCH.len() && socket.is_timeout() && !socket.is_error() => Err(Error::Timeout),
        Ok(done) if done < MUCH.len() => socket.put(&[0]).map(drop),
        result => result.map(drop),
    }
}
