//! Descriptors: none left, high numbers, and what becomes of them when another program is executed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use super::{NoDescriptors, is_close_on_exec, listener};

/// No more than `free` descriptors (none, or one) can be made.
pub fn scarce(free: libc::rlim_t) -> NoDescriptors {
    assert!(free <= 1, "the numbers above may be in use");
    let lowest = lowest_free();
    let none = NoDescriptors::new();
    // All below are taken. Not zero: then poll(2) would refuse to look at even one.
    none.allow_below(lowest as libc::rlim_t + free);
    none
}

/// The number that the next descriptor will have.
pub fn lowest_free() -> RawFd {
    File::open("/dev/null").unwrap().as_raw_fd()
}

/// Descriptors up to a number that `select(2)` can't take, for as long as this lives.
pub struct HighNumbers {
    _taken: Vec<File>,
    before: libc::rlimit,
}

impl HighNumbers {
    pub fn new() -> HighNumbers {
        const ENOUGH: libc::rlim_t = 4096;
        let mut before = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: a pointer to a valid `rlimit`.
        let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut before) };
        assert_eq!(result, 0);
        assert!(before.rlim_max >= ENOUGH, "{} at most", before.rlim_max);
        let mut high = HighNumbers {
            _taken: Vec::new(),
            before,
        };
        set_limit(libc::rlimit {
            rlim_cur: before.rlim_cur.max(ENOUGH),
            ..before
        });
        high._taken.extend((0..1100).map(|_| File::open("/dev/null").unwrap()));
        assert!(lowest_free() > 1024);
        high
    }
}

impl Drop for HighNumbers {
    fn drop(&mut self) {
        set_limit(self.before);
    }
}

fn set_limit(limit: libc::rlimit) {
    // SAFETY: a pointer to a valid `rlimit`.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
}

pub fn open_numbers() -> BTreeSet<RawFd> {
    // What the crate keeps one of for the whole process is there from now on.
    let _ = listener().0.as_fd();
    let numbers: Vec<RawFd> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect();
    // Not that of the directory itself, which is closed again.
    numbers.into_iter().filter(|fd| is_open(*fd)).collect()
}

fn is_open(fd: RawFd) -> bool {
    // SAFETY: a plain system call, which says so where the number is none.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// What was opened since `before`, checked to be closed when the process executes another program.
pub fn assert_new_are_close_on_exec(before: &BTreeSet<RawFd>, count: usize) {
    let new: Vec<_> = open_numbers().difference(before).copied().collect();
    assert_eq!(new.len(), count, "{new:?}");
    for fd in new {
        let target = fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
        // SAFETY: it is open, and nobody closes it meanwhile.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        assert!(is_close_on_exec(fd), "{fd:?} -> {target:?}");
    }
}
