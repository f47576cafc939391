//! What the tests share.
//!
//! Every test begins with [`begin`]: tests of one binary run one at a time, under a watchdog, and leave as many
//! descriptors and threads behind as they found.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(unsafe_code, reason = "system calls")]

pub mod every;
pub mod full;
#[cfg(target_os = "linux")]
pub mod handlers;
pub mod operations;
pub mod queues;
pub mod races;
#[cfg(target_os = "linux")]
pub mod scarce;
pub mod scripted;
pub mod sys;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic::Location;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use wakesock::{ListenOptions, ShutdownRegistry, TcpSocket};

pub use self::sys::*;

/// After so long a test is stuck.
const WATCHDOG: Duration = Duration::from_secs(90);

/// How long what is bound to happen may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// For how long a thread is watched that should go on blocking.
pub const STILL_BLOCKS: Duration = Duration::from_millis(100);

/// A test that is running alone. See [`begin`].
pub struct Test {
    name: String,
    descriptors: usize,
    /// The same by name, to be told where the counts differ.
    listed: String,
    threads: usize,
    _alone: MutexGuard<'static, ()>,
}

/// Whether mio is made to wait with poll(2) instead of epoll(7).
pub const POLLED: bool = cfg!(mio_unsupported_force_poll_poll);

/// Whether this runs in an emulator, as whoever starts it says by setting `WAKESOCK_EMULATED`.
pub fn is_emulated() -> bool {
    std::env::var_os("WAKESOCK_EMULATED").is_some()
}

/// Whether this runs in Wine, as whoever starts it says by setting `WAKESOCK_WINE`.
pub fn is_wine() -> bool {
    std::env::var_os("WAKESOCK_WINE").is_some()
}

/// Why a test can't be run there that needs one.
pub const NO_RESETS: &str = "Wine may tell of a reset as of the end of the stream";

/// Why a test with very many sockets can't be run there: mio alone needs ten seconds for the second poll.
pub const MANY_ARE_SLOW: &str = "under Wine mio takes very long to watch again more sockets than it reports at once";

/// Why a test can't be run there in which one thread takes the place of another that ends. Wine has the thread that
/// began an operation finish it, whoever waits at the completion port. Another does so if that one has ended, but not
/// while it is ending. mio alone loses one report in seven like this, and none if the thread lives on.
pub const LOST_WITH_THREAD: &str = "Wine loses what is reported while the thread that asked for it is ending";

/// Checks that `text` is `before` and what the system calls the cause: on Linux, `cause`.
#[track_caller]
pub fn assert_tells(text: &str, before: &str, cause: &str) {
    let told = text.strip_prefix(before).unwrap_or_default();
    assert!(!told.is_empty(), "{text:?} instead of {before:?} and the cause");
    if cfg!(target_os = "linux") {
        assert_eq!(told, cause, "after {before:?}");
    }
}

/// Emulated processors are slower, and Windows asks for two seconds where nobody listens: what is bound to be fast is given
/// so many times the time.
pub fn slowness() -> u32 {
    let is_windows = cfg!(windows) && !is_wine();
    if is_emulated() || is_windows { 10 } else { 1 }
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
                        print_stacks();
                        process::abort();
                    }
                }
            })
            .unwrap();
    });
}

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
                let seen = wchan(self.task);
                format!("thread {}, which is in {seen:?}, returns", self.task)
            },
            // Without a descriptor: there may be just enough for what is tested.
            || self.thread.is_finished().then_some(()).ok_or_else(String::new),
        );
        self.thread.join().unwrap()
    }
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

/// A server of the standard library's, and where it is.
pub fn server() -> (TcpListener, SocketAddr) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap();
    (server, addr)
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
    clients: Mutex<Vec<socket2::Socket>>,
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
        let hole = BlackHole {
            listener,
            clients: Mutex::default(),
        };
        // Two that hang on to the end of the queue show that it is full.
        let mut hanging = 0;
        while hanging < 2 {
            let client = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
            match client.connect_timeout(&hole.addr().into(), Duration::from_millis(100)) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::TimedOut => hanging += 1,
                Err(error) => panic!("neither an answer nor none: {error}"),
            }
            hole.clients.lock().unwrap().push(client);
        }
        Ok(hole)
    }

    pub fn addr(&self) -> SocketAddr {
        self.listener.local_addr().unwrap().as_socket().unwrap()
    }

    /// Makes room in the queue, so that clients get their answers: when they ask again, a second or more later.
    pub fn relieve(&self) {
        self.listener.listen(128).unwrap();
        // Which changes nothing on Windows for a socket that listens already.
        if cfg!(windows) {
            let mut clients = self.clients.lock().unwrap();
            let count = clients.len();
            clients.clear();
            // Others in their places, since tests count descriptors.
            let other = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            clients.extend((0..count).map(|_| other()));
            self.listener.set_nonblocking(true).unwrap();
            while self.listener.accept().is_ok() {}
        }
    }
}

/// Whether a client is refused.
pub fn is_refused(addr: SocketAddr) -> bool {
    matches!(TcpStream::connect(addr), Err(error) if error.kind() == ErrorKind::ConnectionRefused)
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
pub fn pair_in(registry: &ShutdownRegistry) -> (TcpSocket, Stream) {
    let (own, peer) = stream_pair().unwrap();
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
