//! System calls that fail when a test wants them to, for Linux with glibc.
//!
//! The functions at the end stand in for the C library's: what the executable defines goes before what a shared library
//! does, for this crate as well as for std, mio and socket2. They call the real ones, except in a thread that has
//! [armed](arm) a fault.

#![allow(unsafe_code, reason = "stands in for the C library")]

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_int, c_uint, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::SeqCst};

use libc::{epoll_event, msghdr, nfds_t, pollfd, size_t, sockaddr, socklen_t, ssize_t, timespec};

use crate::support::handlers::set_errno;
use crate::support::resolve;

/// What can be made to fail, by the name of the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Socket,
    Bind,
    Listen,
    Accept4,
    Connect,
    Getsockopt,
    Setsockopt,
    Getsockname,
    Getpeername,
    Recv,
    Send,
    Shutdown,
    EpollCreate1,
    /// To add or to change. To delete can't fail for want of anything.
    EpollCtl,
    EpollWait,
    Eventfd,
    Poll,
    Fcntl,
    Dup3,
    Close,
    Write,
}

const CALLS: usize = Call::Write as usize + 1;

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// With this number, and nothing was done.
    Errno(c_int),
    /// With this number, though it was done.
    Done(c_int),
    /// Half of what could have been moved was. The other half can be a moment after.
    Short,
    /// It returned early, with nothing.
    Nothing,
}

use Fault::{Done, Errno, Nothing, Short};

/// Which faults each call is tried with: those that its manual page names, as far as they say nothing about the
/// arguments or the peer.
pub(crate) const FAULTS: [(Call, &[Fault]); CALLS] = [
    (
        Call::Socket,
        &[
            Errno(libc::EMFILE),
            Errno(libc::ENFILE),
            Errno(libc::ENOBUFS),
            Errno(libc::ENOMEM),
        ],
    ),
    (
        Call::Bind,
        &[Errno(libc::EADDRINUSE), Errno(libc::ENOBUFS), Errno(libc::ENOMEM)],
    ),
    (Call::Listen, &[Errno(libc::EADDRINUSE), Errno(libc::ENOBUFS)]),
    (
        Call::Accept4,
        &[
            Errno(libc::EINTR),
            Errno(libc::EAGAIN),
            Errno(libc::ECONNABORTED),
            Errno(libc::EPROTO),
            Errno(libc::ENETDOWN),
            Errno(libc::EMFILE),
            Errno(libc::ENFILE),
            Errno(libc::ENOBUFS),
            Errno(libc::ENOMEM),
        ],
    ),
    (
        Call::Connect,
        &[
            Errno(libc::EAGAIN),
            Errno(libc::EADDRNOTAVAIL),
            Errno(libc::ECONNREFUSED),
            Errno(libc::ENETUNREACH),
            Errno(libc::ENOBUFS),
        ],
    ),
    (Call::Getsockopt, &[Errno(libc::ENOBUFS), Errno(libc::ENOMEM)]),
    (Call::Setsockopt, &[Errno(libc::ENOBUFS), Errno(libc::ENOMEM)]),
    (Call::Getsockname, &[Errno(libc::ENOBUFS)]),
    (Call::Getpeername, &[Errno(libc::ENOBUFS)]),
    (
        Call::Recv,
        &[
            Errno(libc::EINTR),
            Errno(libc::EAGAIN),
            Errno(libc::ENOBUFS),
            Errno(libc::ENOMEM),
            Short,
        ],
    ),
    (
        Call::Send,
        &[
            Errno(libc::EINTR),
            Errno(libc::EAGAIN),
            Errno(libc::ENOBUFS),
            Errno(libc::ENOMEM),
            Short,
        ],
    ),
    (Call::Shutdown, &[Errno(libc::ENOBUFS), Errno(libc::ENOTCONN)]),
    (
        Call::EpollCreate1,
        &[Errno(libc::EMFILE), Errno(libc::ENFILE), Errno(libc::ENOMEM)],
    ),
    (Call::EpollCtl, &[Errno(libc::ENOMEM), Errno(libc::ENOSPC)]),
    (Call::EpollWait, &[Errno(libc::EINTR), Nothing]),
    (
        Call::Eventfd,
        &[Errno(libc::EMFILE), Errno(libc::ENFILE), Errno(libc::ENOMEM)],
    ),
    (Call::Poll, &[Errno(libc::EINTR), Errno(libc::ENOMEM), Nothing]),
    (Call::Fcntl, &[Errno(libc::EMFILE), Errno(libc::ENOMEM)]),
    // Over a number that is taken: so it needs no other.
    (Call::Dup3, &[Errno(libc::EINTR), Errno(libc::EBUSY)]),
    // close(2), "Dealing with error returns": the number is free in any case.
    (Call::Close, &[Done(libc::EINTR), Done(libc::EIO)]),
    (Call::Write, &[Errno(libc::EAGAIN)]),
];

/// The `nth` call, counted from one, fails; if `lasting`, so do all after it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub call: Call,
    pub nth: usize,
    pub fault: Fault,
    pub lasting: bool,
}

/// What was called while a plan was armed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// How often the plan came true.
    pub hits: usize,
    calls: [usize; CALLS],
    /// How many real calls of `send` and `recv` found that they would block.
    pub vain: usize,
}

impl Seen {
    pub(crate) fn count(&self, call: Call) -> usize {
        self.calls[call as usize]
    }
}

const NOTHING_SEEN: Seen = Seen {
    hits: 0,
    calls: [0; CALLS],
    vain: 0,
};

thread_local! {
    // None of these has a destructor, so that they can be used for as long as the thread makes calls.
    static ARMED: Cell<bool> = const { Cell::new(false) };
    static PLAN: Cell<Option<Plan>> = const { Cell::new(None) };
    static GIVEN: Cell<Option<Plan>> = const { Cell::new(None) };
    static SEEN: Cell<Seen> = const { Cell::new(NOTHING_SEEN) };
    static UNCONNECTED: Cell<usize> = const { Cell::new(0) };

    static BEFORE_WAIT: RefCell<Option<Box<dyn FnMut()>>> = const { RefCell::new(None) };
    /// What is in which epoll instance, as far as this thread has put it there.
    static WATCHED: RefCell<Vec<(c_int, c_int, epoll_event)>> = const { RefCell::new(Vec::new()) };
}

/// How many descriptors were closed that were not open.
pub(crate) static STRAY_CLOSES: AtomicUsize = AtomicUsize::new(0);

/// From now on the calling thread's calls are counted and, if there is a plan, fail by it; or by what is `given`, to
/// which the plan comes.
pub(crate) fn arm(plan: Option<Plan>, given: Option<Plan>) {
    SEEN.set(NOTHING_SEEN);
    PLAN.set(plan);
    GIVEN.set(given);
    ARMED.set(true);
}

pub(crate) fn disarm() -> Seen {
    ARMED.set(false);
    PLAN.set(None);
    GIVEN.set(None);
    UNCONNECTED.set(0);
    let _ = BEFORE_WAIT.try_with(RefCell::take);
    let _ = WATCHED.try_with(RefCell::take);
    SEEN.get()
}

/// Runs `work` with or without faults, whatever there were before.
fn armed_if<T>(armed: bool, work: impl FnOnce() -> T) -> T {
    let before = ARMED.replace(armed);
    let result = work();
    ARMED.set(before);
    result
}

/// Lets the plan hold within a [`before_each_wait`], too.
pub(crate) fn armed<T>(work: impl FnOnce() -> T) -> T {
    armed_if(true, work)
}

/// Runs `work`, without faults, whenever the thread is about to block, until the plan is disarmed.
///
/// So what a thread waits for happens when it waits, and not before.
pub(crate) fn before_each_wait(work: impl FnMut() + 'static) {
    BEFORE_WAIT.set(Some(Box::new(work)));
}

/// The next so many looks at whether a connection stands find that it doesn't yet.
pub(crate) fn unconnected(looks: usize) {
    UNCONNECTED.set(looks);
}

fn fault_of(call: Call) -> Option<Fault> {
    if !ARMED.get() {
        return None;
    }
    let mut seen = SEEN.get();
    let count = &mut seen.calls[call as usize];
    *count += 1;
    let nth = *count;
    let fault_by = |plan: Option<Plan>| {
        let plan = plan.filter(|plan| plan.call == call);
        plan.filter(|plan| plan.nth == nth || plan.lasting && plan.nth < nth)
            .map(|plan| plan.fault)
    };
    let planned = fault_by(PLAN.get());
    seen.hits += usize::from(planned.is_some());
    SEEN.set(seen);
    planned.or_else(|| fault_by(GIVEN.get()))
}

fn failing<T: From<i8>>(code: c_int) -> T {
    set_errno(code);
    T::from(-1)
}

/// The call, or its failure.
fn faulty<T: From<i8>>(call: Call, real: impl FnOnce() -> T) -> T {
    match fault_of(call) {
        None => real(),
        Some(Errno(code)) => failing(code),
        Some(Done(code)) => {
            real();
            failing(code)
        }
        Some(Short | Nothing) => T::from(0),
    }
}

/// Stands in for what moves bytes or connections. `real` is told to do half of it.
///
/// A thread that was told that there is no more waits for a change. What was held back is one, a moment later.
fn moving<T: From<i8>>(call: Call, fd: c_int, real: impl FnOnce(bool) -> T) -> T {
    let result = match fault_of(call) {
        None => return real(false),
        Some(Short) => real(true),
        Some(Errno(code)) => failing(code),
        Some(Done(_) | Nothing) => T::from(0),
    };
    report_again(fd);
    result
}

fn note_vain(result: ssize_t) {
    if result < 0 && ARMED.get() && std::io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN) {
        let seen = SEEN.get();
        SEEN.set(Seen {
            vain: seen.vain + 1,
            ..seen
        });
    }
}

/// Has the system report anew what `fd` is ready for.
fn report_again(fd: c_int) {
    let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
    let watched: Vec<_> = WATCHED
        .try_with(|all| all.borrow().iter().filter(|entry| entry.1 == fd).copied().collect())
        .unwrap_or_default();
    for (epoll, fd, mut event) in watched {
        // SAFETY: a pointer to a valid event. Where either is closed, it fails.
        armed_if(false, || unsafe {
            libc::epoll_ctl(epoll, libc::EPOLL_CTL_MOD, fd, &mut event);
        });
    }
    set_errno(errno);
}

fn note_watched(epoll: c_int, operation: c_int, fd: c_int, event: *const epoll_event) {
    let _ = WATCHED.try_with(|all| {
        let mut all = all.borrow_mut();
        all.retain(|entry| (entry.0, entry.1) != (epoll, fd));
        if operation != libc::EPOLL_CTL_DEL {
            // SAFETY: the system has just read it.
            all.push((epoll, fd, unsafe { event.read_unaligned() }));
        }
    });
}

fn about_to_block() {
    if ARMED.get() {
        armed_if(false, || {
            let _ = BEFORE_WAIT.try_with(|work| {
                if let Some(work) = &mut *work.borrow_mut() {
                    work();
                }
            });
        });
    }
}

/// How much half of what can be received is.
///
/// # Safety
///
/// `buf` must have room for `len` bytes.
unsafe fn half_of_what_is_there(fd: c_int, buf: *mut c_void, len: size_t) -> size_t {
    // SAFETY: the caller says so.
    let there = armed_if(false, || unsafe { libc::recv(fd, buf, len, libc::MSG_PEEK) });
    match usize::try_from(there) {
        Ok(there @ 2..) => there / 2,
        _ => len,
    }
}

fn name_of(text: &str) -> &CStr {
    CStr::from_bytes_with_nul(text.as_bytes()).expect("a name and a NUL")
}

macro_rules! stand_ins {
    ($(fn $name:ident($($arg:ident: $Arg:ty),* $(,)?) -> $Return:ty = |$real:ident| $body:expr;)*) => {$(
        // SAFETY: it is of the type of what it stands in for.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($arg: $Arg),*) -> $Return {
            type Real = unsafe extern "C" fn($($Arg),*) -> $Return;
            static REAL: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
            let found = resolve(&REAL, name_of(concat!(stringify!($name), "\0")));
            // SAFETY: the C library's function of that name is of this type.
            let $real = unsafe { std::mem::transmute::<*mut c_void, Real>(found) };
            $body
        }
    )*};
}

// Each block below hands on what the caller, who keeps to the manual page, has given.
#[allow(clippy::undocumented_unsafe_blocks, reason = "see above")]
mod calls {
    use super::*;

    stand_ins! {
        fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int =
            |real| faulty(Call::Socket, || unsafe { real(domain, kind, protocol) });

        fn bind(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int =
            |real| faulty(Call::Bind, || unsafe { real(fd, addr, len) });

        fn listen(fd: c_int, backlog: c_int) -> c_int =
            |real| faulty(Call::Listen, || unsafe { real(fd, backlog) });

        fn accept4(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int =
            |real| moving(Call::Accept4, fd, |_| unsafe { real(fd, addr, len, flags) });

        fn connect(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int =
            |real| faulty(Call::Connect, || unsafe { real(fd, addr, len) });

        fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut socklen_t) -> c_int =
            |real| faulty(Call::Getsockopt, || unsafe { real(fd, level, name, value, len) });

        fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, len: socklen_t) -> c_int =
            |real| faulty(Call::Setsockopt, || unsafe { real(fd, level, name, value, len) });

        fn getsockname(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int =
            |real| faulty(Call::Getsockname, || unsafe { real(fd, addr, len) });

        fn getpeername(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int = |real| {
            if ARMED.get() && UNCONNECTED.get() > 0 {
                UNCONNECTED.set(UNCONNECTED.get() - 1);
                report_again(fd);
                return failing(libc::ENOTCONN);
            }
            faulty(Call::Getpeername, || unsafe { real(fd, addr, len) })
        };

        fn recv(fd: c_int, buf: *mut c_void, len: size_t, flags: c_int) -> ssize_t = |real| {
            moving(Call::Recv, fd, |half| {
                let len = if half { unsafe { half_of_what_is_there(fd, buf, len) } } else { len };
                let result = unsafe { real(fd, buf, len, flags) };
                note_vain(result);
                result
            })
        };

        fn send(fd: c_int, buf: *const c_void, len: size_t, flags: c_int) -> ssize_t = |real| {
            moving(Call::Send, fd, |half| {
                let result = unsafe { real(fd, buf, if half { len.div_ceil(2) } else { len }, flags) };
                note_vain(result);
                result
            })
        };

        fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t = |real| {
            moving(Call::Send, fd, |half| {
                let mut part = unsafe { message.read() };
                let mut slice = unsafe { part.msg_iov.read() };
                if half {
                    slice.iov_len = slice.iov_len.div_ceil(2);
                    (part.msg_iov, part.msg_iovlen) = (&mut slice, 1);
                }
                let result = unsafe { real(fd, &part, flags) };
                note_vain(result);
                result
            })
        };

        fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t = |real| {
            moving(Call::Recv, fd, |half| {
                let mut part = unsafe { message.read() };
                let mut slice = unsafe { part.msg_iov.read() };
                if half {
                    slice.iov_len = unsafe { half_of_what_is_there(fd, slice.iov_base, slice.iov_len) };
                    (part.msg_iov, part.msg_iovlen) = (&mut slice, 1);
                }
                let result = unsafe { real(fd, &mut part, flags) };
                note_vain(result);
                result
            })
        };

        fn shutdown(fd: c_int, how: c_int) -> c_int =
            |real| faulty(Call::Shutdown, || unsafe { real(fd, how) });

        fn epoll_create1(flags: c_int) -> c_int =
            |real| faulty(Call::EpollCreate1, || unsafe { real(flags) });

        fn epoll_ctl(epoll: c_int, operation: c_int, fd: c_int, event: *mut epoll_event) -> c_int = |real| {
            let call = || unsafe { real(epoll, operation, fd, event) };
            let result = match operation {
                libc::EPOLL_CTL_DEL => call(),
                _ => faulty(Call::EpollCtl, call),
            };
            if result == 0 {
                note_watched(epoll, operation, fd, event);
            }
            result
        };

        fn epoll_wait(epoll: c_int, events: *mut epoll_event, most: c_int, timeout: c_int) -> c_int = |real| {
            faulty(Call::EpollWait, || {
                if timeout != 0 {
                    about_to_block();
                }
                unsafe { real(epoll, events, most, timeout) }
            })
        };

        fn eventfd(value: c_uint, flags: c_int) -> c_int =
            |real| faulty(Call::Eventfd, || unsafe { real(value, flags) });

        fn poll(entries: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int = |real| {
            let fault = fault_of(Call::Poll);
            if fault.is_none() {
                if timeout != 0 {
                    about_to_block();
                }
                return unsafe { real(entries, count, timeout) };
            }
            let entries = unsafe { std::slice::from_raw_parts_mut(entries, count as usize) };
            for entry in entries {
                entry.revents = 0;
                report_again(entry.fd);
            }
            match fault {
                Some(Errno(code)) => failing(code),
                _ => 0,
            }
        };

        // The third argument is none, a number or a pointer: all of that is in one register.
        fn fcntl(fd: c_int, command: c_int, argument: *mut c_void) -> c_int = |real| {
            let call = || unsafe { real(fd, command, argument) };
            match command {
                libc::F_DUPFD_CLOEXEC | libc::F_SETFL => faulty(Call::Fcntl, call),
                _ => call(),
            }
        };

        fn dup3(from: c_int, to: c_int, flags: c_int) -> c_int =
            |real| faulty(Call::Dup3, || unsafe { real(from, to, flags) });

        fn close(fd: c_int) -> c_int = |real| {
            faulty(Call::Close, || {
                let result = unsafe { real(fd) };
                if result < 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EBADF) {
                    STRAY_CLOSES.fetch_add(1, SeqCst);
                }
                result
            })
        };

        fn write(fd: c_int, data: *const c_void, len: size_t) -> ssize_t =
            |real| faulty(Call::Write, || unsafe { real(fd, data, len) });

        fn nanosleep(time: *const timespec, left: *mut timespec) -> c_int = |real| {
            about_to_block();
            unsafe { real(time, left) }
        };

        fn clock_nanosleep(clock: c_int, flags: c_int, time: *const timespec, left: *mut timespec) -> c_int =
            |real| {
                about_to_block();
                unsafe { real(clock, flags, time, left) }
            };
    }
}
