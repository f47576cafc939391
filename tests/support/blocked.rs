//! Threads that are to block in an operation.

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{PATIENCE, STILL_BLOCKS, eventually, is_sleeping, thread_id, wchan};

/// A thread that is in an operation.
pub struct Blocked<T> {
    thread: JoinHandle<(T, Instant)>,
    task: i32,
    /// Hung up when the operation has returned.
    returned: Receiver<i32>,
}

/// Starts a thread that is to block in `operation`.
pub fn block<T: Send + 'static>(operation: impl FnOnce() -> T + Send + 'static) -> Blocked<T> {
    spawn_blocked(thread::Builder::new(), operation)
}

fn spawn_blocked<T: Send + 'static>(
    builder: thread::Builder,
    operation: impl FnOnce() -> T + Send + 'static,
) -> Blocked<T> {
    let (send, receive) = mpsc::channel();
    let thread = builder
        .name("blocked".into())
        .spawn(move || {
            send.send(thread_id()).unwrap();
            let result = (operation(), Instant::now());
            drop(send);
            result
        })
        .unwrap();
    Blocked {
        thread,
        task: receive.recv().unwrap(),
        returned: receive,
    }
}

impl<T> Blocked<T> {
    /// Returns the system's number for the thread, which signals can be sent to.
    pub fn task(&self) -> i32 {
        self.task
    }

    /// Returns when the thread sleeps in the kernel, or is done.
    pub fn until_blocked(self) -> Blocked<T> {
        eventually(
            || format!("thread {} blocks", self.task),
            || {
                if self.thread.is_finished() || is_sleeping(self.task) {
                    return Ok(());
                }
                Err("it runs".to_owned())
            },
        );
        self
    }

    /// Returns when the thread has blocked for a while.
    pub fn still_blocks(self) -> Blocked<T> {
        self.until_blocked().goes_on_for(STILL_BLOCKS)
    }

    /// Checks that the operation doesn't return within `time`. Unlike looking at the thread, that takes no descriptor.
    #[track_caller]
    pub fn goes_on_for(self, time: Duration) -> Blocked<T> {
        let returned = self.returned.recv_timeout(time) != Err(RecvTimeoutError::Timeout);
        assert!(!returned, "the operation returned instead of blocking");
        self
    }

    /// Checks that the thread goes on blocking until `end` is run, and then returns.
    pub fn still_blocks_until(self, end: impl FnOnce()) -> T {
        let this = self.still_blocks();
        end();
        this.result()
    }

    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Returns what the operation returned. It has to within [`PATIENCE`].
    pub fn result(self) -> T {
        self.result_and_time().0
    }

    /// Returns what the operation returned, and when.
    pub fn result_and_time(self) -> (T, Instant) {
        if self.returned.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            let seen = wchan(self.task);
            panic!("thread {}, which is in {seen:?}, doesn't return", self.task);
        }
        self.thread.join().unwrap()
    }
}

/// Runs `run` in a thread of its own, whose end gives back what the thread keeps.
pub fn in_a_thread<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    block(run).result()
}

/// As [`block`], with a stack of 128 KiB: for tests with many threads.
pub fn block_on_small_stack<T: Send + 'static>(operation: impl FnOnce() -> T + Send + 'static) -> Blocked<T> {
    spawn_blocked(thread::Builder::new().stack_size(128 << 10), operation)
}

/// Returns when the thread, which may be one of a scope, sleeps in the kernel.
pub fn until_sleeping(task: i32) {
    eventually(
        || format!("thread {task} blocks"),
        || {
            is_sleeping(task)
                .then_some(())
                .ok_or_else(|| "it runs, or is gone".to_owned())
        },
    );
}

/// Runs `operation` in a thread of its own and, at the same time, `interfere` here: the later, the higher `delay`.
pub fn race<T: Send + 'static>(
    operation: impl FnOnce() -> T + Send + 'static,
    delay: u32,
    interfere: impl FnOnce(),
) -> Blocked<T> {
    let start = Arc::new(AtomicBool::new(false));
    let started = Arc::clone(&start);
    let racing = block(move || {
        while !started.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        operation()
    });
    start.store(true, Ordering::SeqCst);
    for _ in 0..delay {
        hint::spin_loop();
    }
    if delay % 8 == 7 {
        // With one processor, that lets the other begin.
        thread::yield_now();
    }
    interfere();
    racing
}
