//! Atomics, locks and pauses: the standard library's and parking_lot's or, where models are checked, loom's.
//!
//! What takes part in waking and closing takes them from here, so that the models (`models/`) run these files as they
//! are compiled.

#[cfg(all(test, wakesock_loom))]
#[allow(unsafe_code, reason = "a lock")]
pub(crate) mod model;

#[cfg(all(test, wakesock_loom))]
pub(crate) use self::model::*;
#[cfg(not(all(test, wakesock_loom)))]
pub(crate) use {
    parking_lot::{Condvar, Mutex, MutexGuard},
    std::hint::spin_loop,
    std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize},
    std::thread::yield_now,
};

/// One step of waiting for something that another thread is about to do.
///
/// Not for signal handlers: they don't wait for other threads.
pub(crate) fn back_off(spins: &mut u32) {
    if *spins < 32 {
        *spins += 1;
        spin_loop();
    } else {
        yield_now();
    }
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
