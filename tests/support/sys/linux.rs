//! What a test can see and do on Linux: `/proc`, signals, limits.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use wakesock::{TcpSocket, WaitEvents};

use crate::support::POLLED;
use crate::support::queues::{EXCEPTION, NOTHING, READ, WRITE};

/// The standard library's socket without a port.
pub type Stream = std::os::unix::net::UnixStream;

/// Two that are connected.
pub fn stream_pair() -> io::Result<(Stream, Stream)> {
    Stream::pair()
}

/// How many descriptors a poll of mio's and its waker hold.
pub const PARKER: usize = match (POLLED, cfg!(mio_unsupported_force_waker_pipe)) {
    // An epoll instance, and an eventfd or a pipe.
    (false, pipe) => 2 + pipe as usize,
    // An eventfd or a pipe of mio's own, and a pipe of ours.
    (true, pipe) => 3 + pipe as usize,
};

/// How many descriptors a queue holds: the poll is known to its sockets, too.
pub const QUEUE: usize = PARKER + !POLLED as usize;

/// How many descriptors this process has open, but those of files with a path.
///
/// This crate makes none of those, and the C library opens one behind everybody's back: `overcommit_memory` in `/proc`,
/// when a thread's heap first shrinks, which may be after the end of a test, at the exit of its thread.
pub fn descriptors() -> usize {
    targets().filter(|target| !target.has_root()).count()
}

pub fn list_descriptors() -> String {
    targets()
        .map(|target| format!("{target:?}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// What this process's descriptors are of.
fn targets() -> impl Iterator<Item = PathBuf> {
    fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
}

pub struct Task {
    pub id: i32,
    pub name: String,
}

/// What the thread waits for in the kernel.
pub fn wchan(task: i32) -> String {
    fs::read_to_string(format!("/proc/self/task/{task}/wchan")).unwrap_or_default()
}

/// The threads of this process, a line each, and what they wait for.
pub fn list_threads() -> String {
    tasks()
        .iter()
        .map(|task| format!("  {} {} in {}\n", task.id, task.name, wchan(task.id)))
        .collect()
}

pub fn tasks() -> Vec<Task> {
    fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|entry| {
            let id = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let name = fs::read_to_string(format!("/proc/self/task/{id}/comm")).ok()?;
            Some(Task {
                id,
                name: name.trim().to_owned(),
            })
        })
        .collect()
}

/// The threads of this process but those that run tests: they are named for their test, and come and go.
///
/// A thread that a test spawns is named too, by [`Blocked`] or by its builder, or has its parent's name.
pub fn own_threads() -> usize {
    tasks()
        .iter()
        .filter(|task| OWN_NAMES.iter().any(|own| task.name.starts_with(own)))
        .count()
}

/// Whether a thread that the calling one has made has not run yet, and so has still its maker's name.
///
/// Another test may have the same name, as far as the system knows names; but it waits for its turn.
pub fn any_is_nameless() -> bool {
    let own = thread_id();
    let tasks = tasks();
    let own_name = tasks.iter().find(|task| task.id == own).map(|task| &task.name);
    tasks
        .iter()
        .any(|task| task.id != own && Some(&task.name) == own_name && !is_sleeping(task.id))
}

/// What the crate and this module name their threads.
const OWN_NAMES: [&str; 2] = ["wakesock", "blocked"];

/// The number of the calling thread.
pub fn thread_id() -> i32 {
    // SAFETY: a plain system call without arguments.
    unsafe { libc::syscall(libc::SYS_gettid) as i32 }
}

/// Whether the thread sleeps in the kernel.
pub fn is_sleeping(task: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/self/task/{task}/stat")) else {
        return false;
    };
    // "id (name) state …"
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| rest.trim_start().starts_with('S'))
}

/// Processor time that a thread has used.
pub fn cpu_time(task: i32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/self/task/{task}/schedstat")).unwrap();
    Duration::from_nanos(stat.split_whitespace().next().unwrap().parse().unwrap())
}

/// Processor time that the calling thread has used, without a descriptor.
pub fn own_cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a pointer to a valid `timespec`.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Whether the descriptor is closed when the process executes another program.
pub fn is_close_on_exec(fd: impl AsFd) -> bool {
    // SAFETY: a plain system call on an open descriptor.
    let flags = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GETFD) };
    flags & libc::FD_CLOEXEC != 0
}

/// No descriptors left, for as long as this lives. Those that are open stay.
pub struct NoDescriptors {
    before: libc::rlimit,
}

impl NoDescriptors {
    pub fn new() -> NoDescriptors {
        let mut before = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: a pointer to a valid `rlimit`.
        let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut before) };
        assert_eq!(result, 0);
        let none = NoDescriptors { before };
        none.allow_below(0);
        none
    }

    /// So many can be made, and no more.
    pub fn but(free: usize) -> NoDescriptors {
        let next: Vec<fs::File> = (0..=free).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let numbers: Vec<libc::rlim_t> = next.iter().map(|file| file.as_raw_fd() as libc::rlim_t).collect();
        assert!(numbers.is_sorted(), "the system gives the lowest number: {numbers:?}");
        drop(next);
        let none = NoDescriptors::new();
        // Not zero: then poll(2) would refuse to look at even one.
        none.allow_below(numbers[free]);
        none
    }

    /// Lets descriptors be opened whose number is below `limit`: freed ones that were open before, say.
    pub fn allow_below(&self, limit: libc::rlim_t) {
        let now = libc::rlimit {
            rlim_cur: limit,
            ..self.before
        };
        // SAFETY: a pointer to a valid `rlimit`.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &now) }, 0);
    }

    /// As many as before can be opened again, until the next `allow_below`.
    pub fn allow_all(&self) {
        self.allow_below(self.before.rlim_cur);
    }
}

impl Drop for NoDescriptors {
    fn drop(&mut self) {
        self.allow_all();
    }
}

/// How often a handler that counts has run.
static COUNTED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: i32) {
    COUNTED.fetch_add(1, SeqCst);
}

/// A raw handler for a signal, for as long as this lives. Then the signal does what it did before.
pub struct Handler {
    signal: i32,
    before: libc::sigaction,
}

impl Handler {
    pub fn install(signal: i32, handler: extern "C" fn(i32), flags: i32) -> Handler {
        // SAFETY: zeroes are a valid `sigaction`.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        let mut before = action;
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = flags;
        // SAFETY: pointers to valid `sigaction`s; the callers' handlers are async-signal-safe.
        let result = unsafe { libc::sigaction(signal, &action, &mut before) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        Handler { signal, before }
    }

    /// One that counts.
    pub fn counting(signal: i32, flags: i32) -> Handler {
        Handler::install(signal, count, flags)
    }
}

/// How often handlers that count have run.
pub fn signals_that_came() -> usize {
    COUNTED.load(SeqCst)
}

impl Drop for Handler {
    fn drop(&mut self) {
        // SAFETY: a pointer to a `sigaction` that was in force before.
        unsafe { libc::sigaction(self.signal, &self.before, std::ptr::null_mut()) };
    }
}

/// Sends a signal to one thread of this process, if it is still there.
pub fn send_signal(task: i32, signal: i32) {
    // SAFETY: a plain system call.
    unsafe { libc::syscall(libc::SYS_tgkill, process::id(), task, signal) };
}

/// Whether the system says that there is something to read, or a client.
pub fn is_readable(socket: &TcpSocket) -> bool {
    let mut entry = libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one valid `pollfd`.
    let count = unsafe { libc::poll(&mut entry, 1, 0) };
    count == 1 && entry.revents == libc::POLLIN
}

/// What poll(2) says, and whether the connection is broken.
pub fn polled(socket: &TcpSocket) -> (WaitEvents, bool) {
    let mut entry = libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLIN | libc::POLLOUT | libc::POLLPRI,
        revents: 0,
    };
    // SAFETY: one valid `pollfd`.
    let count = unsafe { libc::poll(&mut entry, 1, 0) };
    assert!(count >= 0);
    let broken = entry.revents & (libc::POLLERR | libc::POLLHUP) != 0;
    let mut events = NOTHING;
    events.set(READ, broken || entry.revents & libc::POLLIN != 0);
    events.set(WRITE, broken || entry.revents & libc::POLLOUT != 0);
    events.set(EXCEPTION, broken || entry.revents & libc::POLLPRI != 0);
    (events, broken)
}

/// The C library's definition of a function that the executable defines, too. `place` keeps it.
pub fn resolve(place: &AtomicPtr<libc::c_void>, name: &CStr) -> *mut libc::c_void {
    let known = place.load(SeqCst);
    if !known.is_null() {
        return known;
    }
    // SAFETY: a plain call.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    assert!(!found.is_null(), "no {name:?}");
    place.store(found, SeqCst);
    found
}

/// This thread, and those it makes, on one processor for as long as this lives.
pub struct Pinned {
    before: libc::cpu_set_t,
}

impl Pinned {
    pub fn new() -> Pinned {
        // SAFETY: zeroes are an empty set.
        let mut before: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        let mut one = before;
        // SAFETY: a pointer to a set of that size.
        let result = unsafe { libc::sched_getaffinity(0, size_of_val(&before), &mut before) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
        // SAFETY: a plain system call.
        let here = unsafe { libc::sched_getcpu() };
        // SAFETY: a processor that there is.
        unsafe { libc::CPU_SET(here as usize, &mut one) };
        let pinned = Pinned { before };
        pinned.set(&one);
        pinned
    }

    fn set(&self, processors: &libc::cpu_set_t) {
        // SAFETY: a pointer to a set of that size.
        let result = unsafe { libc::sched_setaffinity(0, size_of_val(processors), processors) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.set(&self.before);
    }
}
