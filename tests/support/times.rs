//! Limits and how long things take.

use std::thread;
use std::time::{Duration, Instant};

use super::slowness;

/// How long what is bound to happen may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20 * slowness() as u64);

/// For how long a thread is watched that should go on blocking.
pub const STILL_BLOCKS: Duration = Duration::from_millis(100);

/// Waits for what is bound to happen.
pub fn eventually<T>(promise: impl Fn() -> String, mut look: impl FnMut() -> Result<T, String>) -> T {
    let begin = Instant::now();
    for looks in 0.. {
        match look() {
            Ok(value) => return value,
            Err(seen) if begin.elapsed() > PATIENCE => {
                panic!("{}: not within {PATIENCE:?}; seen: {seen}", promise())
            }
            Err(_) if looks < 10 => thread::yield_now(),
            // On a busy machine, a thread that yields gets the processor back later than one that has slept.
            Err(_) => thread::sleep(Duration::from_micros(100)),
        }
    }
    unreachable!()
}

/// Checks that an operation with a limit ends when it should: never early, and soon after.
///
/// `run` runs it with the given limit and says how long that took. A run that is late may be the machine's fault: then
/// a limit a little above what was seen is tried.
pub fn ends_at_limit(first: Duration, mut run: impl FnMut(Duration) -> Duration) {
    let mut limit = first;
    loop {
        let took = run(limit);
        assert!(took >= limit, "a limit of {limit:?} was over after {took:?}");
        if took <= limit + (limit / 2).max(Duration::from_millis(20)) {
            return;
        }
        limit = took * 5 / 4;
        assert!(
            limit < Duration::from_secs(4),
            "even a limit of {limit:?} took {took:?}"
        );
    }
}

/// Returns what `run` returns, and how long it took.
pub fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Instant::now();
    let value = run();
    (value, begin.elapsed())
}
