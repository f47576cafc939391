//! What single operations cost, as callgrind counts it: instructions outside the kernel, and atomic read-modify-writes (`Ge`,
//! what locks the bus). Each is run once, in the state in which it finds itself in a long run.
//!
//! Times drift with the machine, counts don't: so each has a limit, a little above what it is, and the bench fails if one is
//! exceeded. It needs valgrind, and `gungraun-runner` of the version in Cargo.toml:
//!
//! ```text
//! cargo install --locked gungraun-runner@0.20.0
//! cargo bench --manifest-path benches/Cargo.toml --bench instructions
//! ```
//!
//! # What bounds it
//!
//! A `put` is: a look at what is special, a look at the state word, entering it, the `send` of libc, leaving, and the result,
//! which is too large for registers. Entering and leaving are what a signal handler that closes the socket relies on.
//!
//! A `get` that waits has to read the clock, which is most of what its limit costs, take the waiter, whose lock is what lets
//! threads share a listener, wait in mio (some 100 instructions, of which 30 convert the limit to milliseconds and 20 the
//! report), look whether it was ended, and copy what came. What was tried and didn't help:
//!
//! - To read the clock only where the first wait was not all: then a wait that is woken early could only begin its limit anew,
//!   and would be too long.
//! - To leave out the lock where no other thread can be in the operation: two atomic accesses, and nothing that could be
//!   measured beside a system call.
//! - One function for the short and the long way, with the rare parts out of line: twice as many instructions, for what the
//!   compiler keeps in memory for the sake of the rare parts.
//! - To read into a buffer of the thread's and not onto the stack: 30 instructions more for finding it.

#![allow(unused_crate_dependencies, reason = "those of the other benches")]

use std::hint::black_box;
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use gungraun::prelude::*;
use gungraun::{Callgrind, CallgrindMetrics, EventKind};
use wakesock::{MioWait, RawWait, SocketEvent, SocketEventQueue, TcpSocket, WaitEvents, WaitSource, Waiter, Wake};

const LIMIT: Duration = Duration::from_secs(10);
const SIZE: usize = 64;
/// How often an operation is done before it is counted.
const TURNS: usize = 10;

/// What looking whether a socket is under TLS may take of an operation, in a crate that has it: a test or two.
const LOOKS_FOR_TLS: u64 = if cfg!(feature = "tls") { 8 } else { 0 };

/// The limits of one operation.
fn at_most(instructions: u64, read_modify_writes: u64) -> LibraryBenchmarkConfig {
    let instructions = instructions + LOOKS_FOR_TLS;
    let limits = [(EventKind::Ir, instructions), (EventKind::Ge, read_modify_writes)];
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(
        Callgrind::with_args(["collect-bus=yes", "cache-sim=no"])
            .format(limits.map(|(event, _)| CallgrindMetrics::SingleEvent(event)))
            .hard_limits(limits),
    );
    config
}

/// A connection, one end of which is this crate's.
struct Ends {
    near: TcpSocket,
    far: Arc<TcpStream>,
    buf: [u8; SIZE],
    line: Vec<u8>,
}

/// Waits as `MioWait` does, after the far end has answered: so that each of so many waits was necessary, and ends at once.
#[derive(Debug)]
struct Answered {
    far: Arc<TcpStream>,
    answers: Arc<AtomicUsize>,
}

struct AnsweredWaiter {
    waiter: Box<dyn Waiter>,
    far: Arc<TcpStream>,
    answers: Arc<AtomicUsize>,
}

impl RawWait for Answered {
    fn waiter(&self, socket: WaitSource<'_>, events: WaitEvents) -> io::Result<Box<dyn Waiter>> {
        Ok(Box::new(AnsweredWaiter {
            waiter: MioWait::default().waiter(socket, events)?,
            far: Arc::clone(&self.far),
            answers: Arc::clone(&self.answers),
        }))
    }
}

impl Waiter for AnsweredWaiter {
    fn wait(&mut self, events: WaitEvents, timeout: Option<Duration>) -> io::Result<WaitEvents> {
        let left = self.answers.load(Relaxed);
        if left > 0 {
            self.answers.store(left - 1, Relaxed);
            answer(&self.far);
        }
        self.waiter.wait(events, timeout)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.waiter.waker()
    }
}

fn answer(mut far: &TcpStream) {
    far.write_all(&[0; SIZE]).unwrap();
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

/// Ends that have played ping-pong, with a far end that answers late.
fn ends() -> Box<Ends> {
    let (near, far) = pair();
    let far = Arc::new(far);
    let mut socket = TcpSocket::new();
    socket.set_raw_wait(Arc::new(Answered {
        far: Arc::clone(&far),
        answers: Arc::new(AtomicUsize::new(TURNS)),
    }));
    socket.attach(near).unwrap();
    socket.timeout(LIMIT);
    let mut ends = Box::new(Ends {
        near: socket,
        far,
        buf: [0; SIZE],
        line: Vec::with_capacity(100),
    });
    for _ in 0..TURNS {
        ends.near.put(&ends.buf).unwrap();
        ends.near.get(&mut ends.buf).unwrap();
    }
    ends
}

/// The same, and the answer has come when the near end begins to wait for it.
fn answered() -> Box<Ends> {
    let ends = ends();
    answer(&ends.far);
    ends
}

/// The same, with a far end that answers before it is waited for.
fn prompt() -> Box<Ends> {
    let mut ends = ends();
    for _ in 0..TURNS {
        answer(&ends.far);
        ends.near.get(&mut ends.buf).unwrap();
    }
    answer(&ends.far);
    ends
}

/// Ends with lines in the near one's buffer.
fn lines() -> Box<Ends> {
    let mut ends = ends();
    let line = b"a line of forty bytes, with its end: 40\n";
    (&*ends.far).write_all(&line.repeat(TURNS)).unwrap();
    ends.near.get_line().unwrap();
    ends
}

#[library_benchmark(setup = ends, config = at_most(115, 2))]
#[bench::of_64_bytes()]
fn put(mut ends: Box<Ends>) -> Box<Ends> {
    ends.near.put(&ends.buf).unwrap();
    ends
}

#[library_benchmark(setup = prompt, config = at_most(205, 2))]
#[bench::of_64_bytes_that_are_there()]
fn get(mut ends: Box<Ends>) -> Box<Ends> {
    ends.near.get(&mut ends.buf).unwrap();
    ends
}

// With what the bench itself adds, some 40 instructions.
#[library_benchmark(setup = answered, config = at_most(555, 6))]
#[bench::put_and_get_that_waits()]
fn ping_pong(mut ends: Box<Ends>) -> Box<Ends> {
    ends.near.put(&ends.buf).unwrap();
    ends.near.get(&mut ends.buf).unwrap();
    ends
}

#[library_benchmark(setup = lines, config = at_most(30, 0))]
#[bench::out_of_the_buffer()]
fn get_byte(mut ends: Box<Ends>) -> Box<Ends> {
    black_box(ends.near.get_byte().unwrap());
    ends
}

#[library_benchmark(setup = lines, config = at_most(530, 0))]
#[bench::out_of_the_buffer()]
fn get_line(mut ends: Box<Ends>) -> Box<Ends> {
    black_box(ends.near.get_line().unwrap());
    ends
}

#[library_benchmark(setup = lines, config = at_most(270, 0))]
#[bench::out_of_the_buffer()]
fn get_line_into(mut ends: Box<Ends>) -> Box<Ends> {
    black_box(ends.near.get_line_into(&mut ends.line, 1000).unwrap());
    ends
}

/// A connection that has waited once, and its other end.
fn idle() -> (TcpSocket, TcpStream) {
    let (near, far) = pair();
    let mut socket = TcpSocket::from(near);
    socket.timeout(Duration::from_micros(1));
    assert!(socket.get(&mut [0]).unwrap_err().is_timeout());
    (socket, far)
}

#[library_benchmark(setup = idle, config = at_most(2070, 20))]
#[bench::idle_connection()]
fn close((socket, far): (TcpSocket, TcpStream)) {
    drop(socket);
    drop(far);
}

/// A listener with one client, and connections that it has accepted.
struct Listening {
    listener: TcpSocket,
    clients: Vec<TcpStream>,
    accepted: Vec<TcpSocket>,
}

fn listening() -> Box<Listening> {
    let mut listener = TcpSocket::new();
    listener.listen_on("127.0.0.1:0", &Default::default()).unwrap();
    listener.timeout(LIMIT);
    let addr = listener.local_addr().unwrap();
    let mut listening = Box::new(Listening {
        listener,
        clients: Vec::new(),
        accepted: Vec::with_capacity(TURNS),
    });
    for turn in 0..2 {
        listening.clients.push(TcpStream::connect(addr).unwrap());
        if turn == 0 {
            listening.accepted.push(listening.listener.accept_new().unwrap());
        }
    }
    listening
}

#[library_benchmark(setup = listening, config = at_most(1680, 13))]
#[bench::client_that_is_there()]
fn accept(mut listening: Box<Listening>) -> Box<Listening> {
    listening.accepted.push(listening.listener.accept_new().unwrap());
    listening
}

/// A connection in a queue, which has served some requests.
struct Queued {
    queue: SocketEventQueue<u32>,
    ends: Box<Ends>,
    events: Vec<SocketEvent<u32>>,
}

impl Queued {
    fn wait(&mut self) {
        self.queue.wait_into(&mut self.events, LIMIT).unwrap();
    }

    /// Reads what has come into a buffer that is larger, and answers.
    fn serve(&mut self) {
        let mut buf = [0; 1024];
        let count = self.ends.near.get(&mut buf).unwrap();
        self.ends.near.put(&buf[..count]).unwrap();
    }
}

fn queued() -> Box<Queued> {
    let mut ends = ends();
    ends.near.timeout(Duration::ZERO);
    let queue = SocketEventQueue::new().unwrap();
    queue.subscribe(&ends.near, WaitEvents::READ, 1).unwrap();
    let events = Vec::with_capacity(TURNS);
    let mut queued = Box::new(Queued { queue, ends, events });
    for _ in 0..TURNS {
        answer(&queued.ends.far);
        queued.wait();
        queued.serve();
    }
    answer(&queued.ends.far);
    queued
}

#[library_benchmark(setup = queued, config = at_most(1270, 9))]
#[bench::one_report()]
fn queue_wait(mut queued: Box<Queued>) -> Box<Queued> {
    queued.wait();
    queued
}

fn reported() -> Box<Queued> {
    let mut queued = queued();
    queued.wait();
    queued
}

#[library_benchmark(setup = reported, config = at_most(715, 7))]
#[bench::one_request()]
fn queue_serve(mut queued: Box<Queued>) -> Box<Queued> {
    queued.serve();
    queued
}

library_benchmark_group!(
    name = operations,
    benchmarks = [
        put,
        get,
        ping_pong,
        get_byte,
        get_line,
        get_line_into,
        close,
        accept,
        queue_wait,
        queue_serve,
    ]
);

main!(library_benchmark_groups = operations);
