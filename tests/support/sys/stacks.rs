//! Where the threads of a process that is stuck are.

#![allow(unsafe_code, reason = "a signal handler")]

use std::backtrace::Backtrace;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use super::linux::tasks;
use super::{send_signal, thread_id};

/// For each thread, as another may have what it needs to look at its own.
const PATIENCE: Duration = Duration::from_secs(2);

static PRINTED: AtomicBool = AtomicBool::new(false);

/// Prints the stack of the thread that it runs on. It allocates and locks, which a thread may be in the middle of: it is
/// for a process that ends.
extern "C" fn print_stack(_signal: libc::c_int) {
    let stack = format!("{}\n", Backtrace::force_capture());
    let _ = io::stderr().write_all(stack.as_bytes());
    PRINTED.store(true, SeqCst);
}

/// Prints the stacks of all threads but this one, and interrupts them. The process is of no use afterwards.
pub fn print_stacks() {
    // SAFETY: a handler of the right type; what it does is for a process that ends.
    unsafe { libc::signal(libc::SIGQUIT, print_stack as *const () as libc::sighandler_t) };
    let own = thread_id();
    for task in tasks().iter().filter(|task| task.id != own) {
        let title = format!("thread {} {}:\n", task.id, task.name);
        let _ = io::stderr().write_all(title.as_bytes());
        PRINTED.store(false, SeqCst);
        send_signal(task.id, libc::SIGQUIT);
        let begin = Instant::now();
        while !PRINTED.load(SeqCst) && begin.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(10));
        }
    }
}
