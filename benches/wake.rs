//! From `close`, `stop_accepting` or `shutdown` until all threads that were blocked have returned, beside a condition
//! variable that wakes as many: the floor, since it wakes threads and does nothing else.

mod support;

use std::borrow::Borrow;
use std::sync::{Arc, Barrier};
use std::thread::{self, Builder, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use support::machine;
use support::report::{Contestant, Report};
use wakesock::{ListenOptions, ShutdownRegistry, TcpSocket};

const BROADCAST: &str = "condition variable, notify_all";
const SHUTDOWN: &str = "a listener each, shutdown";

fn main() {
    machine::raise_descriptor_limit();
    let mut report = Report::new("wake");
    let answer = report.compare(
        "from the call until all blocked threads have returned",
        "threads",
        &[1, 10, 100, 1000],
        contestants,
    );
    report.figure(
        "1,000 threads ended by shutdown",
        "a condition variable's broadcast",
        answer.ratio_to(SHUTDOWN, BROADCAST, 1000),
        0.5,
    );
    report.finish();
}

/// Blocks so many threads, ends that, and says how long it took.
type End = fn(usize) -> Duration;

fn contestants(threads: usize) -> Vec<Contestant<'static>> {
    let all: [(_, End); 5] = [
        (BROADCAST, broadcast),
        (SHUTDOWN, shutdown),
        ("a listener each, stop_accepting", stop_accepting),
        ("a listener each, close of each", close_each),
        ("one listener, close", close_one),
    ];
    // A few threads return too quickly for one time to tell much.
    let times = support::count(100 / threads, 1).max(1);
    let contestant = |(name, end): (&'static str, End)| -> Contestant<'static> {
        let round = move || support::each((0..times).map(|_| end(threads)).sum(), times);
        (name, Box::new(round))
    };
    all.map(contestant).into()
}

/// Starts a thread for each of `operations`, waits until all sleep in theirs, and times from `end` to the last return.
///
/// What an operation gives back is dropped after that.
fn time_ending<F, T>(operations: impl IntoIterator<Item = F>, end: impl FnOnce()) -> Duration
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let operations: Vec<F> = operations.into_iter().collect();
    let count = operations.len();
    let begun = Arc::new(Barrier::new(count + 1));
    let threads: Vec<JoinHandle<(Instant, T)>> = operations
        .into_iter()
        .map(|operation| {
            let begun = Arc::clone(&begun);
            Builder::new()
                .name("blocked".into())
                .stack_size(128 * 1024)
                .spawn(move || {
                    begun.wait();
                    let kept = operation();
                    (Instant::now(), kept)
                })
                .unwrap()
        })
        .collect();
    begun.wait();
    while machine::sleeping("self", "blocked") < count {
        thread::yield_now();
    }
    let begin = Instant::now();
    end();
    let returned: Vec<(Instant, T)> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let last = returned.iter().map(|(returned, _)| *returned).max();
    last.map_or(Duration::ZERO, |last| last.duration_since(begin))
}

fn broadcast(threads: usize) -> Duration {
    let shared = Arc::new((Mutex::new(false), Condvar::new()));
    let operations = (0..threads).map(|_| {
        let shared = Arc::clone(&shared);
        move || {
            let mut ended = shared.0.lock();
            while !*ended {
                shared.1.wait(&mut ended);
            }
        }
    });
    time_ending(operations, || {
        *shared.0.lock() = true;
        shared.1.notify_all();
    })
}

fn sockets(threads: usize, registry: &ShutdownRegistry) -> Vec<TcpSocket> {
    (0..threads)
        .map(|_| {
            let mut listener = TcpSocket::with_registry(registry);
            listener.listen_on("127.0.0.1:0", &ListenOptions::new()).unwrap();
            listener
        })
        .collect()
}

/// Gives the listener back, so that dropping it is not a part of returning.
fn accept<L: Borrow<TcpSocket>>(listener: L) -> L {
    assert!(listener.borrow().accept_new().unwrap_err().is_closed());
    listener
}

fn end_all(threads: usize, end: fn(&ShutdownRegistry)) -> Duration {
    let registry = ShutdownRegistry::new();
    let operations = sockets(threads, &registry)
        .into_iter()
        .map(|socket| move || accept(socket));
    time_ending(operations, || end(&registry))
}

fn shutdown(threads: usize) -> Duration {
    end_all(threads, ShutdownRegistry::shutdown)
}

fn stop_accepting(threads: usize) -> Duration {
    end_all(threads, ShutdownRegistry::stop_accepting)
}

fn close_each(threads: usize) -> Duration {
    let sockets = sockets(threads, &ShutdownRegistry::new());
    let handles: Vec<_> = sockets.iter().map(TcpSocket::handle).collect();
    let operations = sockets.into_iter().map(|socket| move || accept(socket));
    time_ending(operations, || handles.iter().for_each(|handle| handle.close()))
}

fn close_one(threads: usize) -> Duration {
    let listener = Arc::new(sockets(1, &ShutdownRegistry::new()).remove(0));
    let handle = listener.handle();
    let operations = (0..threads).map(|_| {
        let listener = Arc::clone(&listener);
        move || accept(listener)
    });
    time_ending(operations, || handle.close())
}
