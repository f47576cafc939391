//! What the tests share.
//!
//! Every test begins with [`begin`]: tests of one binary run one at a time, under a watchdog, and leave as many
//! descriptors and threads behind as they found.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(unsafe_code, reason = "system calls")]

pub mod every;
pub mod operations;
pub mod queues;
pub mod scarce;
pub mod scripted;

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use wakesock::{ListenOptions, ShutdownRegistry, TcpSocket};

/// After so long a test is stuck.
const WATCHDOG: Duration = Duration::from_secs(90);

/// How long what is bound to happen may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// For how long a thread is watched that should go on blocking.
pub const STILL_BLOCKS: Duration = Duration::from_millis(100);

/// A test that is running alone. See [`begin`].
pub struct Test {
    name: &'static str,
    descriptors: usize,
    /// The same by name, to be told where the counts differ.
    listed: String,
    threads: usize,
    _alone: MutexGuard<'static, ()>,
}

/// Whether mio is made to wait with poll(2) instead of epoll(7).
pub const POLLED: bool = cfg!(mio_unsupported_force_poll_poll);

/// How many descriptors a poll of mio's and its waker hold.
pub const PARKER: usize = match (POLLED, cfg!(mio_unsupported_force_waker_pipe)) {
    // An epoll instance, and an eventfd or a pipe.
    (false, pipe) => 2 + pipe as usize,
    // An eventfd or a pipe of mio's own, and a pipe of ours.
    (true, pipe) => 3 + pipe as usize,
};

/// How many descriptors a queue holds: the poll is known to its sockets, too.
pub const QUEUE: usize = PARKER + !POLLED as usize;

/// Whether this runs in an emulator, as whoever starts it says by setting `WAKESOCK_EMULATED`.
pub fn is_emulated() -> bool {
    std::env::var_os("WAKESOCK_EMULATED").is_some()
}

/// Emulated processors are slower: what is bound to be fast is given so many times the time.
pub fn slowness() -> u32 {
    if is_emulated() { 10 } else { 1 }
}

static ALONE: Mutex<()> = Mutex::new(());
/// Milliseconds since the start at which the running test counts as stuck; zero while none is running.
static STUCK_AT: AtomicU64 = AtomicU64::new(0);
static RUNNING: Mutex<&str> = Mutex::new("");

/// Begins a test that promises `name`.
pub fn begin(name: &'static str) -> Test {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    start_watchdog();
    *RUNNING.lock().unwrap() = name;
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
                        let mut message = format!("watchdog: `{}` is stuck\n", RUNNING.lock().unwrap());
                        for thread in tasks() {
                            message += &format!("  {} {} in {}\n", thread.id, thread.name, thread.wchan());
                        }
                        let _ = io::stderr().write_all(message.as_bytes());
                        process::abort();
                    }
                }
            })
            .unwrap();
    });
}

/// How many descriptors this process has open, but those of files with a path.
///
/// This crate makes none of those, and the C library opens one behind everybody's back: `overcommit_memory` in `/proc`,
/// when a thread's heap first shrinks, which may be after the end of a test, at the exit of its thread.
pub fn descriptors() -> usize {
    targets().filter(|target| !target.has_root()).count()
}

fn list_descriptors() -> String {
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

struct Task {
    id: i32,
    name: String,
}

impl Task {
    fn wchan(&self) -> String {
        fs::read_to_string(format!("/proc/self/task/{}/wchan", self.id)).unwrap_or_default()
    }
}

fn tasks() -> Vec<Task> {
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
fn any_is_nameless() -> bool {
    let own = thread_id();
    let tasks = tasks();
    let own_name = tasks.iter().find(|task| task.id == own).map(|task| &task.name);
    tasks
        .iter()
        .any(|task| task.id != own && Some(&task.name) == own_name && !is_sleeping(task.id))
}

/// What the crate and this module name their threads.
const OWN_NAMES: [&str; 2] = ["wakesock", "blocked"];

/// Waits for what is bound to happen.
pub fn eventually<T>(promise: impl Fn() -> String, mut look: impl FnMut() -> Result<T, String>) -> T {
    let begin = Instant::now();
    loop {
        match look() {
            Ok(value) => return value,
            Err(seen) if begin.elapsed() > PATIENCE => {
                panic!("{}: not within {PATIENCE:?}; seen: {seen}", promise())
            }
            Err(_) => thread::yield_now(),
        }
    }
}

/// A thread that is in an operation.
pub struct Blocked<T> {
    thread: JoinHandle<(T, Instant)>,
    task: i32,
}

/// Starts a thread that is to block in `operation`.
pub fn block<T: Send + 'static>(operation: impl FnOnce() -> T + Send + 'static) -> Blocked<T> {
    spawn_blocked(thread::Builder::new(), operation)
}

fn spawn_blocked<T: Send + 'static>(
    builder: thread::Builder,
    operation: impl FnOnce() -> T + Send + 'static,
) -> Blocked<T> {
    let (send, receive) = mpsc::channel();
    let thread = builder
        .name("blocked".into())
        .spawn(move || {
            send.send(thread_id()).unwrap();
            let result = operation();
            (result, Instant::now())
        })
        .unwrap();
    Blocked {
        thread,
        task: receive.recv().unwrap(),
    }
}

impl<T> Blocked<T> {
    /// The system's number for the thread, which signals can be sent to.
    pub fn task(&self) -> i32 {
        self.task
    }

    /// Returns when the thread sleeps in the kernel, or is done.
    pub fn until_blocked(self) -> Blocked<T> {
        eventually(
            || format!("thread {} blocks", self.task),
            || {
                if self.thread.is_finished() || is_sleeping(self.task) {
                    return Ok(());
                }
                Err("it runs".to_owned())
            },
        );
        self
    }

    /// Returns when the thread has blocked for a while.
    pub fn still_blocks(self) -> Blocked<T> {
        let this = self.until_blocked();
        thread::sleep(STILL_BLOCKS);
        assert!(!this.thread.is_finished(), "the operation returned instead of blocking");
        this
    }

    /// Checks that the thread goes on blocking until `end` is run, and then returns.
    pub fn still_blocks_until(self, end: impl FnOnce()) -> T {
        let this = self.still_blocks();
        end();
        this.result()
    }

    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// What the operation returned. It has to within [`PATIENCE`].
    pub fn result(self) -> T {
        self.result_and_time().0
    }

    /// The same, and when that was.
    pub fn result_and_time(self) -> (T, Instant) {
        eventually(
            || {
                let name = String::new();
                let seen = Task { id: self.task, name }.wchan();
                format!("thread {}, which is in {seen:?}, returns", self.task)
            },
            // Without a descriptor: there may be just enough for what is tested.
            || self.thread.is_finished().then_some(()).ok_or_else(String::new),
        );
        self.thread.join().unwrap()
    }
}

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

/// How long `run` takes, and what it returns.
pub fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Instant::now();
    let value = run();
    (value, begin.elapsed())
}

/// A listener on a free port of the loopback, and its address.
pub fn listener() -> (TcpSocket, SocketAddr) {
    listener_in(ShutdownRegistry::global())
}

pub fn listener_in(registry: &ShutdownRegistry) -> (TcpSocket, SocketAddr) {
    let mut listener = TcpSocket::with_registry(registry);
    listener.listen_on("127.0.0.1:0", &ListenOptions::default()).unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// A connection: this crate's end, and the standard library's.
pub fn pair() -> (TcpSocket, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    peer.set_nodelay(true).unwrap();
    let (socket, _) = listener.accept().unwrap();
    (TcpSocket::from(socket), peer)
}

/// Closes a connection with a reset.
pub fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

/// Sends one byte out of band.
pub fn send_urgent(stream: &TcpStream, byte: u8) {
    let sent = socket2::SockRef::from(stream).send_out_of_band(&[byte]).unwrap();
    assert_eq!(sent, 1);
}

/// An address whose clients get no answer: a listener with a queue that is full.
pub struct BlackHole {
    listener: socket2::Socket,
    clients: Vec<socket2::Socket>,
}

impl BlackHole {
    pub fn new() -> BlackHole {
        BlackHole::at("127.0.0.1:0".parse().unwrap()).unwrap()
    }

    /// Fails where the address can't be had.
    pub fn at(addr: SocketAddr) -> io::Result<BlackHole> {
        let domain = socket2::Domain::for_address(addr);
        let listener = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
        listener.bind(&addr.into())?;
        listener.listen(0)?;
        let mut hole = BlackHole {
            listener,
            clients: Vec::new(),
        };
        // Two that hang on to the end of the queue show that it is full.
        let mut hanging = 0;
        while hanging < 2 {
            let client = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
            client.set_nonblocking(true)?;
            let begun = client.connect(&hole.addr().into()).unwrap_err();
            assert_eq!(begun.raw_os_error(), Some(libc::EINPROGRESS));
            let mut entry = libc::pollfd {
                fd: client.as_raw_fd(),
                events: libc::POLLOUT,
                revents: 0,
            };
            // SAFETY: one valid `pollfd`.
            let ready = unsafe { libc::poll(&mut entry, 1, 100) };
            hanging += usize::from(ready == 0);
            hole.clients.push(client);
        }
        Ok(hole)
    }

    pub fn addr(&self) -> SocketAddr {
        self.listener.local_addr().unwrap().as_socket().unwrap()
    }

    /// Makes room in the queue, so that clients get their answers: when they ask again, a second or more later.
    pub fn relieve(&self) {
        self.listener.listen(128).unwrap();
    }
}

/// Whether a client is refused.
pub fn is_refused(addr: SocketAddr) -> bool {
    matches!(TcpStream::connect(addr), Err(error) if error.kind() == ErrorKind::ConnectionRefused)
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

/// An address that refuses clients, for as long as this lives: nobody else can be given it.
pub struct Refusing(socket2::Socket);

impl Refusing {
    pub fn new() -> Refusing {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&any.into()).unwrap();
        Refusing(socket)
    }

    pub fn addr(&self) -> SocketAddr {
        self.0.local_addr().unwrap().as_socket().unwrap()
    }
}

/// Numbers that look random and are the same in each run: xorshift64*.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(2).wrapping_add(1))
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    /// One of `0..bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// Bytes of which a missing or doubled one is noticed: their period is a prime number.
pub fn pattern(len: usize) -> Vec<u8> {
    let period: Vec<u8> = (0..=250).collect();
    let mut bytes = period.repeat(len / period.len() + 1);
    bytes.truncate(len);
    bytes
}

/// As [`block`], with a stack of 128 KiB: for tests with many threads.
pub fn block_on_small_stack<T: Send + 'static>(operation: impl FnOnce() -> T + Send + 'static) -> Blocked<T> {
    spawn_blocked(thread::Builder::new().stack_size(128 << 10), operation)
}

/// Returns when the thread, which may be one of a scope, sleeps in the kernel.
pub fn until_sleeping(task: i32) {
    eventually(
        || format!("thread {task} blocks"),
        || {
            is_sleeping(task)
                .then_some(())
                .ok_or_else(|| "it runs, or is gone".to_owned())
        },
    );
}

/// A connection in `registry` without a port: this crate's end, and the standard library's.
pub fn pair_in(registry: &ShutdownRegistry) -> (TcpSocket, UnixStream) {
    let (own, peer) = UnixStream::pair().unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut socket = TcpSocket::with_registry(registry);
    socket.attach(own).unwrap();
    (socket, peer)
}

/// Checks that the peer has nothing more to read, and knows it.
#[track_caller]
pub fn assert_sees_end(peer: &mut impl Read) {
    let seen = peer.read(&mut [0; 1]);
    assert!(matches!(seen, Ok(0)), "the peer sees {seen:?} instead of the end");
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

/// Runs `operation` in a thread of its own and, at the same time, `interfere` here: the later, the higher `delay`.
pub fn race<T: Send + 'static>(
    operation: impl FnOnce() -> T + Send + 'static,
    delay: u32,
    interfere: impl FnOnce(),
) -> Blocked<T> {
    let start = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let started = std::sync::Arc::clone(&start);
    let racing = block(move || {
        while !started.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        operation()
    });
    start.store(true, Ordering::SeqCst);
    for _ in 0..delay {
        std::hint::spin_loop();
    }
    if delay % 8 == 7 {
        // With one processor, that lets the other begin.
        thread::yield_now();
    }
    interfere();
    racing
}
