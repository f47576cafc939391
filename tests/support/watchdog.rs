//! A test runs alone, under a watchdog, and leaves as many descriptors and threads behind as it found.

use std::io::{self, Write};
use std::panic::Location;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use wakesock::ShutdownRegistry;

use super::{any_is_nameless, descriptors, eventually, list_descriptors, list_threads, own_threads, slowness};

/// After so long a test is stuck.
const WATCHDOG: Duration = Duration::from_secs(90);

/// A test that is running alone. See [`begin`].
#[must_use = "a test runs alone, and is looked after, as long as this lives"]
pub struct Test {
    name: String,
    descriptors: usize,
    /// Their names, to be told where the counts differ.
    listed: String,
    threads: usize,
    _alone: MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::new(());
/// Milliseconds since the start at which the running test counts as stuck; zero while none is running.
static STUCK_AT: AtomicU64 = AtomicU64::new(0);
static RUNNING: Mutex<String> = Mutex::new(String::new());

/// Begins the test that this thread is for.
#[track_caller]
pub fn begin() -> Test {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    start_watchdog();
    let name = name_of_test();
    RUNNING.lock().unwrap().clone_from(&name);
    STUCK_AT.store(
        (since_start() + WATCHDOG * slowness()).as_millis() as u64,
        Ordering::SeqCst,
    );
    // A test that failed before this one may have left anything behind.
    ShutdownRegistry::global().reset();
    Test {
        name,
        descriptors: descriptors(),
        listed: list_descriptors(),
        threads: own_threads(),
        _alone: alone,
    }
}

/// The harness names the thread of each test after it. With `--test-threads=1` there is the main thread only: then it is
/// the place in the file.
#[track_caller]
fn name_of_test() -> String {
    match thread::current().name() {
        None | Some("main") => Location::caller().to_string(),
        Some(name) => name.to_owned(),
    }
}

impl Test {
    /// Whether the test can't be run here, `since`; then that is printed, so that it can be counted.
    pub fn skip_if(&self, here: bool, since: &str) -> bool {
        if here {
            // Not `eprintln`, which the harness captures.
            let _ = io::stderr().write_all(format!("skipped: {}: {since}\n", self.name).as_bytes());
        }
        here
    }
}

impl Drop for Test {
    fn drop(&mut self) {
        STUCK_AT.store(0, Ordering::SeqCst);
        if thread::panicking() {
            return;
        }
        eventually(
            || {
                let Test {
                    name,
                    descriptors,
                    listed,
                    ..
                } = &*self;
                format!("{name}: as many descriptors as before ({descriptors}, a moment later: {listed})")
            },
            || {
                (descriptors() == self.descriptors)
                    .then_some(())
                    .ok_or_else(list_descriptors)
            },
        );
        eventually(
            || format!("{}: every thread has its name", self.name),
            || (!any_is_nameless()).then_some(()).ok_or(String::new()),
        );
        eventually(
            || format!("{}: no more threads than before ({})", self.name, self.threads),
            || {
                // Fewer, if one of the test before had not even got its name when that ended.
                (own_threads() <= self.threads)
                    .then_some(())
                    .ok_or_else(|| own_threads().to_string())
            },
        );
    }
}

fn since_start() -> Duration {
    static START: Mutex<Option<Instant>> = Mutex::new(None);
    START.lock().unwrap().get_or_insert_with(Instant::now).elapsed()
}

fn start_watchdog() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        thread::Builder::new()
            .name("watchdog".into())
            .spawn(|| {
                loop {
                    thread::sleep(Duration::from_millis(500));
                    let stuck_at = STUCK_AT.load(Ordering::SeqCst);
                    if stuck_at != 0 && since_start().as_millis() as u64 > stuck_at {
                        // Not `eprintln`, which the harness captures and an abort loses.
                        let message = format!("watchdog: `{}` is stuck\n", RUNNING.lock().unwrap()) + &list_threads();
                        let _ = io::stderr().write_all(message.as_bytes());
                        #[cfg(target_os = "linux")]
                        super::print_stacks();
                        process::abort();
                    }
                }
            })
            .unwrap();
    });
}
