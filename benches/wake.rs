//! From `close` or `shutdown` until all threads that were blocked have returned, beside a condition variable that wakes
//! as many: the floor, since it wakes threads and does nothing else.

mod support;

use std::sync::{Arc, Barrier};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use support::{compare, rounds};
use wakesock::{ListenOptions, ShutdownRegistry, TcpSocket};

fn main() {
    for threads in [100, 1000] {
        compare(
            &format!("{threads} blocked threads return"),
            rounds(9),
            &mut [
                ("condition variable, notify_all", Box::new(|| broadcast(threads))),
                ("a socket each, shutdown", Box::new(|| shutdown(threads))),
                ("a socket each, close of each", Box::new(|| close_each(threads))),
                ("one listener, close", Box::new(|| close_one(threads))),
            ],
        );
    }
}

/// Starts a thread for each of `operations`, waits until all sleep in theirs, and times from `end` to the last return.
fn time_ending<F>(operations: impl IntoIterator<Item = F>, end: impl FnOnce()) -> Duration
where
    F: FnOnce() + Send + 'static,
{
    let operations: Vec<F> = operations.into_iter().collect();
    let count = operations.len();
    let begun = Arc::new(Barrier::new(count + 1));
    let threads: Vec<JoinHandle<Instant>> = operations
        .into_iter()
        .map(|operation| {
            let begun = Arc::clone(&begun);
            Builder::new()
                .name("blocked".into())
                .stack_size(128 * 1024)
                .spawn(move || {
                    begun.wait();
                    operation();
                    Instant::now()
                })
                .unwrap()
        })
        .collect();
    begun.wait();
    while sleeping() < count {
        std::thread::yield_now();
    }
    let begin = Instant::now();
    end();
    let last = threads.into_iter().map(|thread| thread.join().unwrap()).max();
    last.map_or(Duration::ZERO, |last| last.duration_since(begin))
}

/// How many of the threads that are to block sleep in the kernel.
fn sleeping() -> usize {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok())
        .filter(|stat| stat.contains("(blocked) S"))
        .count()
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

fn accept(listener: &TcpSocket) {
    assert!(listener.accept_new().unwrap_err().is_closed());
}

fn shutdown(threads: usize) -> Duration {
    let registry = ShutdownRegistry::new();
    let operations = sockets(threads, &registry)
        .into_iter()
        .map(|socket| move || accept(&socket));
    time_ending(operations, || registry.shutdown())
}

fn close_each(threads: usize) -> Duration {
    let sockets = sockets(threads, &ShutdownRegistry::new());
    let handles: Vec<_> = sockets.iter().map(TcpSocket::handle).collect();
    let operations = sockets.into_iter().map(|socket| move || accept(&socket));
    time_ending(operations, || handles.iter().for_each(|handle| handle.close()))
}

fn close_one(threads: usize) -> Duration {
    let listener = Arc::new(sockets(1, &ShutdownRegistry::new()).remove(0));
    let handle = listener.handle();
    let operations = (0..threads).map(|_| {
        let listener = Arc::clone(&listener);
        move || accept(&listener)
    });
    time_ending(operations, || handle.close())
}
