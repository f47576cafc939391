//! Something dead, which takes the number of a socket that was let go of.
//!
//! One descriptor of it is made in advance and kept for the rest of the process's life. When a socket is let go of, none may
//! be left, and a service manager may have forbidden to make sockets of a family: dup2(2) over a number that is taken
//! needs neither.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

use super::{BorrowedSocket, NO_SOCKET};

/// The descriptor that is kept, or [`NO_SOCKET`].
static PLACEHOLDER: AtomicI32 = AtomicI32::new(NO_SOCKET);

/// Makes sure that [`replace`] can do its work later, if the system lets it.
pub(crate) fn prepare_replacing() {
    if PLACEHOLDER.load(SeqCst) == NO_SOCKET {
        // A failure shows when it is needed, and then it is tried again.
        let _ = placeholder();
    }
}

/// Lets go of the connection or listener behind `fd`, while something dead takes its number. What others have of it, by
/// descriptors of their own, stays as it is.
///
/// Where nothing dead can be made, `fd` stays as it is, too, until its owner closes the number.
///
/// Async-signal-safe: `open`, `socket`, `dup2`, `fcntl` and `close` are, by signal-safety(7).
pub(crate) fn replace(fd: BorrowedSocket<'_>, _made_elsewhere: bool) {
    if let Ok(dead) = placeholder() {
        duplicate_over(dead, fd);
    }
}

/// The descriptor that is kept. Makes it, if there is none. Async-signal-safe.
fn placeholder() -> io::Result<RawFd> {
    let kept = PLACEHOLDER.load(SeqCst);
    // A program that closes all descriptors, as some do to become a daemon, has closed this one, too.
    if kept != NO_SOCKET && is_dead(kept) {
        return Ok(kept);
    }
    let made = dead()?;
    match PLACEHOLDER.compare_exchange(kept, made.as_raw_fd(), SeqCst, SeqCst) {
        Ok(_) => Ok(made.into_raw_fd()),
        // Another thread was faster.
        Err(kept) => Ok(kept),
    }
}

/// A descriptor that no call can read from, write to or accept from: open(2), `O_PATH`.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn dead() -> io::Result<OwnedFd> {
    // SAFETY: the path ends with a NUL.
    let fd = unsafe { libc::open(c"/".as_ptr(), libc::O_PATH | libc::O_CLOEXEC) };
    made(fd)
}

/// Whether a number is still of something dead. Async-signal-safe.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_dead(kept: RawFd) -> bool {
    // SAFETY: a plain system call, which says so where the number is none.
    let flags = unsafe { libc::fcntl(kept, libc::F_GETFL) };
    flags >= 0 && flags & libc::O_PATH != 0
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn is_dead(kept: RawFd) -> bool {
    // SAFETY: a plain system call, which says so where the number is none.
    unsafe { libc::fcntl(kept, libc::F_GETFD) >= 0 }
}

/// A descriptor that no call can read from, write to or accept from: a socket that is not connected.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn dead() -> io::Result<OwnedFd> {
    #[cfg(not(target_vendor = "apple"))]
    const KIND: libc::c_int = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    #[cfg(target_vendor = "apple")]
    const KIND: libc::c_int = libc::SOCK_STREAM;
    // SAFETY: a plain system call.
    let dead = made(unsafe { libc::socket(libc::AF_UNIX, KIND, 0) })?;
    #[cfg(target_vendor = "apple")]
    // SAFETY: a plain system call on a descriptor that was made just now.
    unsafe {
        libc::fcntl(dead.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC)
    };
    Ok(dead)
}

/// Gives the number of `dead` to a duplicate of `fd`.
pub(crate) fn duplicate_into(fd: BorrowedSocket<'_>, dead: &mut OwnedFd) {
    duplicate_over(fd.as_raw_fd(), dead.as_fd());
}

fn made(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system has just made it, so it is open and no other code has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `dup2` with close-on-exec. Tries again when that helps.
fn duplicate_over(from: RawFd, to: BorrowedSocket<'_>) {
    let to = to.as_raw_fd();
    loop {
        #[cfg(not(any(target_vendor = "apple", target_os = "android")))]
        // SAFETY: a plain system call. The caller owns what is behind `to`.
        let result = unsafe { libc::dup3(from, to, libc::O_CLOEXEC) };
        // The crate `libc` doesn't have its function there.
        #[cfg(target_os = "android")]
        // SAFETY: as above.
        let result = unsafe { libc::syscall(libc::SYS_dup3, from, to, libc::O_CLOEXEC) };
        #[cfg(target_vendor = "apple")]
        // SAFETY: as above.
        let result = unsafe { libc::dup2(from, to) };
        if result >= 0 {
            #[cfg(target_vendor = "apple")]
            // SAFETY: as above.
            unsafe {
                libc::fcntl(to, libc::F_SETFD, libc::FD_CLOEXEC)
            };
            return;
        }
        // Both pass: dup(2), "Errors".
        if !matches!(errno::errno().0, libc::EINTR | libc::EBUSY) {
            return;
        }
    }
}
