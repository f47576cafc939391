//! Loom's atomics, and locks made of them.
//!
//! # Sequential consistency
//!
//! loom takes `SeqCst` for acquire and release, with one rule more: such a load never gives an older value of a `SeqCst`
//! store where there is a newer one. If all accesses are `SeqCst`, that makes what is executed the one order that all
//! threads agree on, and nothing else: it orders no other memory. Two things are missing, and made up for here. A
//! variable's first value counts as no `SeqCst` store, so it is stored once more. And of two stores by different threads
//! loom takes either for the later, so a `SeqCst` store is a swap, as it is on x86; in exchange it acquires what it
//! replaces, which an ordinary one wouldn't. The models of `models::litmus` show that this is so.
//!
//! # Orders
//!
//! To try other orders of two accesses, loom looks at the last access to a variable that matters to the one that comes: any to a
//! write, and only a write to a load. So a thread that loads and then writes hides from its write what others have loaded before. As
//! the threads of this crate mostly load before they write, a `SeqCst` load is a `compare_exchange` here, which loom takes for a
//! write, and which writes nothing new. It gives the newest value, as a `SeqCst` load does, unless something was written to the
//! variable in a weaker order: then it is a load.
//!
//! # What is broken on purpose
//!
//! With `WAKESOCK_BROKEN=relaxed:src/opening/mod.rs:1` in the environment the access in that line is `Relaxed`, whatever it
//! says there. With `dropped:` it writes nothing, and says that it has. With `blind:` a `compare_exchange` or
//! `fetch_update` writes even if another thread has written since the value was loaded. With `unlocked:` a `lock` waits for no
//! other thread. A model that hangs on it has to fail then. With `WAKESOCK_ACCESSES=1` a model prints which accesses it makes
//! that are not `Relaxed`. What no model notices need not be harmless: loom knows loads that come too early, but no store that
//! comes too late for another thread's swap.

use std::cell::{Cell, UnsafeCell};
use std::collections::BTreeSet;
use std::env;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::ptr;
use std::sync::atomic::AtomicBool as StdAtomicBool;
use std::sync::atomic::Ordering::{self, Acquire, Relaxed, Release, SeqCst};
use std::sync::{LazyLock, Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use loom::sync::atomic;
use loom::thread::{self, Thread};

#[derive(PartialEq)]
enum Breakage {
    Relaxed,
    Dropped,
    Blind,
    Unlocked,
}

/// Which access is broken, and how.
static BROKEN: LazyLock<Option<(Breakage, String, u32)>> = LazyLock::new(|| {
    let how_and_where = env::var("WAKESOCK_BROKEN").ok()?;
    let [breakage, file, line] = how_and_where.split(':').collect::<Vec<_>>()[..] else {
        panic!("WAKESOCK_BROKEN={how_and_where}");
    };
    let breakage = match breakage {
        "relaxed" => Breakage::Relaxed,
        "dropped" => Breakage::Dropped,
        "blind" => Breakage::Blind,
        "unlocked" => Breakage::Unlocked,
        _ => panic!("WAKESOCK_BROKEN={how_and_where}"),
    };
    Some((breakage, file.to_owned(), line.parse().unwrap()))
});

fn is_broken(access: &Location<'_>, so: Breakage) -> bool {
    let broken = BROKEN.as_ref();
    broken.is_some_and(|(breakage, file, line)| *breakage == so && access.line() == *line && access.file() == file)
}

static ACCESSES: StdMutex<BTreeSet<(&str, u32)>> = StdMutex::new(BTreeSet::new());
static TELLS_ACCESSES: LazyLock<bool> = LazyLock::new(|| env::var_os("WAKESOCK_ACCESSES").is_some());

/// To be called after a model.
pub(crate) fn print_accesses() {
    for (file, line) in std::mem::take(&mut *ACCESSES.lock().unwrap()) {
        println!("access {file}:{line}");
    }
}

/// The ordering of the access at the caller's.
#[track_caller]
fn order(written: Ordering) -> Ordering {
    let access = Location::caller();
    if *TELLS_ACCESSES && written != Relaxed {
        ACCESSES.lock().unwrap().insert((access.file(), access.line()));
    }
    if is_broken(access, Breakage::Relaxed) {
        Relaxed
    } else {
        written
    }
}

/// Whether the access at the caller's is not to write.
#[track_caller]
fn is_dropped() -> bool {
    is_broken(Location::caller(), Breakage::Dropped)
}

/// Whether the access at the caller's is not to compare.
#[track_caller]
fn is_blind() -> bool {
    is_broken(Location::caller(), Breakage::Blind)
}

macro_rules! atomic {
    ($Atomic:ident $(<$T:ident>)?, $Value:ty, $rare:expr) => {
        #[derive(Debug)]
        pub(crate) struct $Atomic $(<$T>)? {
            inner: atomic::$Atomic $(<$T>)?,
            /// Something was written that was not `SeqCst`, so that a load may give what was there before.
            may_be_older: StdAtomicBool,
        }

        #[allow(dead_code, reason = "each of them has the same")]
        impl $(<$T>)? $Atomic $(<$T>)? {
            pub(crate) fn new(value: $Value) -> Self {
                let inner = atomic::$Atomic::new(value);
                inner.store(value, SeqCst);
                let may_be_older = StdAtomicBool::new(false);
                Self { inner, may_be_older }
            }

            /// Loads in this order.
            fn load_in(&self, order: Ordering) -> $Value {
                if order != SeqCst || self.may_be_older.load(Relaxed) {
                    return self.inner.load(order);
                }
                // What it compares with is never there or, of a boolean, replaces itself.
                let (Ok(value) | Err(value)) = self.inner.compare_exchange($rare, $rare, Acquire, SeqCst);
                value
            }

            /// The order of a write at the caller's.
            #[track_caller]
            fn write_order(&self, written: Ordering) -> Ordering {
                let order = order(written);
                if order != SeqCst {
                    self.may_be_older.store(true, Relaxed);
                }
                order
            }

            #[track_caller]
            pub(crate) fn load(&self, ordering: Ordering) -> $Value {
                self.load_in(order(ordering))
            }

            #[track_caller]
            pub(crate) fn store(&self, value: $Value, ordering: Ordering) {
                if is_dropped() {
                    return;
                }
                match self.write_order(ordering) {
                    SeqCst => drop(self.inner.swap(value, SeqCst)),
                    weaker => self.inner.store(value, weaker),
                }
            }

            #[track_caller]
            pub(crate) fn swap(&self, value: $Value, ordering: Ordering) -> $Value {
                if is_dropped() {
                    return self.load_in(SeqCst);
                }
                self.inner.swap(value, self.write_order(ordering))
            }

            #[track_caller]
            pub(crate) fn compare_exchange(
                &self,
                current: $Value,
                new: $Value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$Value, $Value> {
                let (success, failure) = (self.write_order(success), order(failure));
                if is_dropped() {
                    self.load_in(SeqCst);
                    return Ok(current);
                }
                if is_blind() {
                    return Ok(self.inner.swap(new, success));
                }
                self.inner.compare_exchange(current, new, success, failure)
            }

            #[track_caller]
            pub(crate) fn compare_exchange_weak(
                &self,
                current: $Value,
                new: $Value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$Value, $Value> {
                self.compare_exchange(current, new, success, failure)
            }

            #[track_caller]
            pub(crate) fn fetch_update(
                &self,
                success: Ordering,
                failure: Ordering,
                mut update: impl FnMut($Value) -> Option<$Value>,
            ) -> Result<$Value, $Value> {
                let mut value = self.load(failure);
                while let Some(new) = update(value) {
                    match self.compare_exchange(value, new, success, failure) {
                        Ok(_) => return Ok(value),
                        Err(now) => value = now,
                    }
                }
                Err(value)
            }
        }
    };
}

macro_rules! dropped {
    ($($Atomic:ident $(<$T:ident>)?),*) => {$(
        impl $(<$T>)? Drop for $Atomic $(<$T>)? {
            /// Has loom see whether all accesses have happened before.
            fn drop(&mut self) {
                if !thread::panicking() {
                    self.inner.with_mut(|_| ());
                }
            }
        }
    )*};
}

macro_rules! numbers {
    ($($Atomic:ident: $Value:ty),*) => {$(
        atomic!($Atomic, $Value, <$Value>::MAX - 1);

        #[allow(dead_code, reason = "each of them has the same")]
        impl $Atomic {
            #[track_caller]
            pub(crate) fn fetch_add(&self, value: $Value, ordering: Ordering) -> $Value {
                if is_dropped() {
                    return self.load_in(SeqCst);
                }
                self.inner.fetch_add(value, self.write_order(ordering))
            }

            #[track_caller]
            pub(crate) fn fetch_sub(&self, value: $Value, ordering: Ordering) -> $Value {
                if is_dropped() {
                    return self.load_in(SeqCst);
                }
                self.inner.fetch_sub(value, self.write_order(ordering))
            }

            #[track_caller]
            pub(crate) fn fetch_and(&self, value: $Value, ordering: Ordering) -> $Value {
                if is_dropped() {
                    return self.load_in(SeqCst);
                }
                self.inner.fetch_and(value, self.write_order(ordering))
            }

            #[track_caller]
            pub(crate) fn fetch_or(&self, value: $Value, ordering: Ordering) -> $Value {
                if is_dropped() {
                    return self.load_in(SeqCst);
                }
                self.inner.fetch_or(value, self.write_order(ordering))
            }

            #[track_caller]
            pub(crate) fn fetch_max(&self, value: $Value, ordering: Ordering) -> $Value {
                if is_dropped() {
                    return self.load_in(SeqCst);
                }
                self.inner.fetch_max(value, self.write_order(ordering))
            }
        }

        impl Default for $Atomic {
            fn default() -> $Atomic {
                $Atomic::new(0)
            }
        }
    )*};
}

atomic!(AtomicBool, bool, true);
atomic!(AtomicPtr<T>, *mut T, ptr::dangling_mut());
numbers!(AtomicU8: u8, AtomicI32: i32, AtomicU32: u32, AtomicU64: u64, AtomicUsize: usize);

impl Default for AtomicBool {
    fn default() -> AtomicBool {
        AtomicBool::new(false)
    }
}

// loom's AtomicBool has no such thing.
dropped!(AtomicPtr<T>, AtomicU8, AtomicI32, AtomicU32, AtomicU64, AtomicUsize);

loom::thread_local! {
    static IS_HANDLER: Cell<bool> = Cell::new(false);
    /// How many locks the thread holds.
    static LOCKS: Cell<usize> = Cell::new(0);
}

/// Runs `work` as a signal handler would: where it waits for another thread, that is a mistake.
pub(crate) fn as_handler<T>(work: impl FnOnce() -> T) -> T {
    IS_HANDLER.with(|is_handler| is_handler.set(true));
    let result = work();
    IS_HANDLER.with(|is_handler| is_handler.set(false));
    result
}

#[track_caller]
pub(crate) fn assert_no_handler() {
    assert!(!IS_HANDLER.with(Cell::get), "not for signal handlers");
}

/// For what is the program's: it may do anything, so it may not be called under a lock.
#[track_caller]
pub(crate) fn assert_no_lock() {
    let locks = LOCKS.with(Cell::get);
    assert_eq!(locks, 0, "the program's code is run under a lock");
}

fn count_locks(change: impl Fn(usize) -> usize) {
    LOCKS.with(|locks| locks.set(change(locks.get())));
}

#[track_caller]
pub(crate) fn spin_loop() {
    yield_now();
}

#[track_caller]
pub(crate) fn yield_now() {
    assert_no_handler();
    thread::yield_now();
}

#[track_caller]
pub(crate) fn sleep(_time: Duration) {
    yield_now();
}

/// What a thread blocks in until another one has woken it, before or meanwhile.
#[derive(Debug)]
pub(crate) struct Wakeup {
    woken: atomic::AtomicBool,
    sleepers: StdMutex<Vec<Thread>>,
}

impl Wakeup {
    pub(crate) fn new() -> Wakeup {
        Wakeup {
            woken: atomic::AtomicBool::new(false),
            sleepers: StdMutex::new(Vec::new()),
        }
    }

    pub(crate) fn wake(&self) {
        // Nothing of loom's comes between this and the waking, so no thread does. Of a store loom wouldn't know that it is
        // later than the swap of a thread that it wakes.
        self.woken.swap(true, Release);
        for sleeper in self.sleepers().drain(..) {
            sleeper.unpark();
        }
    }

    pub(crate) fn wait(&self) {
        while !self.woken.swap(false, Acquire) {
            self.sleepers().push(thread::current());
            thread::park();
        }
    }

    fn is_woken(&self) -> bool {
        self.woken.swap(false, Acquire)
    }

    fn sleepers(&self) -> std::sync::MutexGuard<'_, Vec<Thread>> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// With the methods of parking_lot's. loom's own writes a line for each time that it is locked.
#[derive(Debug)]
pub(crate) struct Mutex<T> {
    /// Woken while no thread has it.
    free: Wakeup,
    value: UnsafeCell<T>,
}

// SAFETY: as for any lock, the thread that has it has the value to itself.
unsafe impl<T: Send> Send for Mutex<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        let free = Wakeup::new();
        free.wake();
        Mutex {
            free,
            value: UnsafeCell::new(value),
        }
    }

    #[track_caller]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        assert_no_handler();
        let is_locked = !is_broken(Location::caller(), Breakage::Unlocked);
        if is_locked {
            self.free.wait();
        } else {
            // So that loom lets other threads come before and behind this.
            let _ = self.free.woken.fetch_update(Relaxed, Relaxed, Some);
        }
        self.locked(is_locked)
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.free.is_woken().then(|| self.locked(true))
    }

    fn locked(&self, is_locked: bool) -> MutexGuard<'_, T> {
        count_locks(|locks| locks + 1);
        MutexGuard { mutex: self, is_locked }
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// No time passes in a model.
    pub(crate) fn try_lock_until(&self, _moment: Instant) -> Option<MutexGuard<'_, T>> {
        Some(self.lock())
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    /// False where the lock was broken on purpose.
    is_locked: bool,
}

impl<T> MutexGuard<'_, T> {
    pub(crate) fn unlock_fair(guard: Self) {
        drop(guard);
    }

    pub(crate) fn unlocked<U>(guard: &mut MutexGuard<'_, T>, work: impl FnOnce() -> U) -> U {
        guard.mutex.free.wake();
        let result = work();
        guard.mutex.free.wait();
        result
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: there is one guard at a time, but where that is broken on purpose.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: there is one guard at a time, but where that is broken on purpose.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        count_locks(|locks| locks - 1);
        if self.is_locked {
            self.mutex.free.wake();
        }
    }
}

/// One whose waits are over at once, as a wait with a limit may be.
#[derive(Debug)]
pub(crate) struct Condvar;

impl Condvar {
    pub(crate) fn new() -> Condvar {
        Condvar
    }

    pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _limit: Duration) {
        MutexGuard::unlocked(guard, yield_now);
    }

    pub(crate) fn notify_all(&self) {}
}
