//! Accepted connections, by one thread or several that share a listener; with a short answer for each, or none.
//!
//! The clients close so that the connection is reset (`SO_LINGER` of zero). So neither end is left in TIME_WAIT, and
//! ports don't run out, however many connections there are.

mod support;

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};
use support::peers::{
    AsyncIoListener, Listener, Mio, PollEventfd, Polling, Select, StdListener, WaitingListener, WakesockListener,
    WakesockListenerForever, WakesockListenerThreadWait,
};
use support::report::{Contestant, Report};
use support::{count, each};

/// Threads that connect, one connection after the other.
const CLIENTS: usize = 4;

fn main() {
    let mut report = Report::new("accept");
    let bare = report.compare(
        &format!("a connection accepted and closed; {CLIENTS} threads connect"),
        "threads",
        &[1, 4, 16],
        |threads| contestants(threads, b""),
    );
    report.compare(
        &format!("a connection accepted, sent 2 bytes and closed; {CLIENTS} threads connect and read"),
        "threads",
        &[1, 4, 16],
        |threads| contestants(threads, b"ok"),
    );
    for (what, threads, goal) in [("accept, 1 thread", 1, 0.92), ("accept, 4 threads", 4, 1.0)] {
        let ratio = bare.ratio_to(WakesockListener::NAME, StdListener::NAME, threads);
        report.figure(what, "std::net, no limit", ratio, goal);
    }
    report.finish();
}

fn contestants(threads: usize, answer: &'static [u8]) -> Vec<Contestant<'static>> {
    fn one<L: Listener + 'static>(threads: usize, answer: &'static [u8]) -> Contestant<'static> {
        (L::NAME, Box::new(move || time::<L>(threads, answer)))
    }
    let all = [
        one::<StdListener>,
        one::<WakesockListener>,
        one::<WakesockListenerForever>,
        one::<WakesockListenerThreadWait>,
        one::<WaitingListener<Select>>,
        one::<WaitingListener<PollEventfd>>,
        one::<WaitingListener<Mio>>,
        one::<WaitingListener<Polling>>,
        one::<AsyncIoListener>,
    ];
    all.map(|one| one(threads, answer)).into()
}

/// From the first connect until the last connection has been dealt with, for each connection.
fn time<L: Listener>(threads: usize, answer: &[u8]) -> Duration {
    let connections = count(2000, 40);
    let listener = listener();
    let addr = listener.local_addr().unwrap();
    let listener = L::of(listener);
    let ready = Barrier::new(threads + CLIENTS);
    let taken = AtomicUsize::new(0);
    let serve = || {
        let mut accept = listener.accepting();
        ready.wait();
        let mut last = None;
        // There is one more for each thread, by which it ends.
        loop {
            accept(answer);
            if taken.fetch_add(1, Relaxed) >= connections {
                return last;
            }
            last = Some(Instant::now());
        }
    };
    thread::scope(|scope| {
        let servers: Vec<_> = (0..threads).map(|_| scope.spawn(serve)).collect();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    ready.wait();
                    let begin = Instant::now();
                    (0..connections / CLIENTS).for_each(|_| connect(addr, answer.len()));
                    begin
                })
            })
            .collect();
        let begins = clients.into_iter().map(|client| client.join().unwrap());
        let begin = begins.min().unwrap();
        (0..threads).for_each(|_| connect(addr, answer.len()));
        let ends = servers.into_iter().filter_map(|server| server.join().unwrap());
        each(ends.max().unwrap() - begin, connections)
    })
}

/// With room for all connections of a round: one that finds the queue full is answered a second later.
fn listener() -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(4096).unwrap();
    socket.into()
}

fn connect(addr: SocketAddr, answer: usize) {
    let mut stream = TcpStream::connect(addr).unwrap();
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    if answer > 0 {
        let mut received = Vec::with_capacity(16);
        assert_eq!(stream.read_to_end(&mut received).unwrap(), answer);
    }
}
