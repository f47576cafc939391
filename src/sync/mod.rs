//! Atomics, locks and pauses: the standard library's and parking_lot's or, where models are checked, loom's.
//!
//! What takes part in waking and closing takes them from here, so that the models (`models/`) run these files as they
//! are compiled.

#[cfg(all(test, wakesock_loom))]
#[allow(unsafe_code, reason = "a lock")]
pub(crate) mod model;

use std::time::Duration;

#[cfg(all(test, wakesock_loom))]
pub(crate) use self::model::*;
#[cfg(not(all(test, wakesock_loom)))]
pub(crate) use {
    parking_lot::{Condvar, Mutex, MutexGuard},
    std::hint::spin_loop,
    std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize},
    std::thread::{sleep, yield_now},
};

/// One step of waiting for something that another thread is about to do.
///
/// It soon sleeps: the other thread may be one of lower priority, sched(7), which never runs while this one only yields.
///
/// Not for signal handlers: they don't wait for other threads.
pub(crate) fn back_off(steps: &mut u32) {
    const SPINS: u32 = 32;
    const YIELDS: u32 = 64;
    const LONGEST_SLEEP: Duration = Duration::from_millis(1);
    match *steps {
        ..SPINS => spin_loop(),
        SPINS..YIELDS => yield_now(),
        _ => {
            let doubled = (*steps - YIELDS).min(6);
            sleep(Duration::from_micros(20 << doubled).min(LONGEST_SLEEP));
        }
    }
    *steps = steps.saturating_add(1);
}

/// For numbers of sockets, where the system's are such.
#[cfg(not(all(test, wakesock_loom)))]
#[allow(unused_imports, reason = "not on every platform")]
pub(crate) use std::sync::atomic::AtomicI32;

/// A function that is `const`, as the constructors of atomics are, but for loom's.
#[cfg(not(all(test, wakesock_loom)))]
macro_rules! const_fn {
    ($visibility:vis fn $($rest:tt)*) => { $visibility const fn $($rest)* };
}
#[cfg(all(test, wakesock_loom))]
macro_rules! const_fn {
    ($($function:tt)*) => { $($function)* };
}
pub(crate) use const_fn;
