//! Raw handlers end what blocks in sockets, on whichever thread they run and whatever they interrupt.

// Signals are Unix's, and /proc shows what they meet.
#![allow(unsafe_code, reason = "signal handlers")]

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use wakesock::{Error, MioWait, RawWait, ShutdownLevel, ShutdownRegistry, SocketHandle, TcpSocket, WaitEvents};

use crate::support::handlers::{CARELESS_WAKES, Careless, Deed, errno, keep, leaves_errno, set_errno};
use crate::support::operations::{Stuck, is_shut_down, operations};
use crate::support::{
    BlackHole, Blocked, Handler, PATIENCE, begin, block, eventually, listener_in, pair, send_signal, thread_id,
};

/// What the handler does.
#[derive(Clone)]
enum Action {
    Close(SocketHandle),
    Abort(SocketHandle),
    Stop(ShutdownRegistry),
    Shutdown(ShutdownRegistry),
}

impl Action {
    fn all(handle: &SocketHandle, registry: &ShutdownRegistry) -> [Action; 4] {
        [
            Action::Close(handle.clone()),
            Action::Abort(handle.clone()),
            Action::Stop(registry.clone()),
            Action::Shutdown(registry.clone()),
        ]
    }

    fn run(&self) {
        match self {
            Action::Close(handle) => handle.close(),
            Action::Abort(handle) => handle.abort(),
            Action::Stop(registry) => registry.stop_accepting(),
            Action::Shutdown(registry) => registry.shutdown(),
        }
    }

    /// Whether `name` may then return `result`; `None` if it goes on.
    fn is_expected(&self, name: &str, result: &Result<(), Error>) -> Option<bool> {
        Some(match self {
            Action::Close(_) => matches!(result, Err(Error::Closed)),
            Action::Abort(_) => matches!(result, Err(Error::Aborted)),
            Action::Shutdown(_) => is_shut_down(name, result),
            Action::Stop(_) => match name {
                "accept" | "accept_new" => matches!(result, Err(Error::Shutdown)),
                "wait_request" => matches!(result, Ok(())),
                _ => return None,
            },
        })
    }

    fn is_for_all(&self) -> bool {
        matches!(self, Action::Stop(_) | Action::Shutdown(_))
    }

    fn name(&self) -> &'static str {
        match self {
            Action::Close(_) => "close",
            Action::Abort(_) => "abort",
            Action::Stop(_) => "stop_accepting",
            Action::Shutdown(_) => "shutdown",
        }
    }
}

static ACTION: AtomicPtr<Action> = AtomicPtr::new(ptr::null_mut());
static RAN: AtomicUsize = AtomicUsize::new(0);

extern "C" fn act(_: i32) {
    // SAFETY: null, or kept by `arm`.
    if let Some(action) = unsafe { ACTION.load(SeqCst).as_ref() } {
        action.run();
        RAN.fetch_add(1, SeqCst);
    }
}

/// Makes `act` do it.
fn arm(action: Action) {
    ACTION.store(keep(action), SeqCst);
}

/// On which thread the handler runs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum On {
    TheBlockedThread,
    AnotherThread,
}

impl On {
    fn task<T>(self, blocked: &Blocked<T>) -> i32 {
        match self {
            On::TheBlockedThread => blocked.task(),
            On::AnotherThread => thread_id(),
        }
    }
}

fn fresh_operations(hole: &BlackHole, registry: &ShutdownRegistry) -> Vec<Stuck> {
    let raw_wait: Arc<dyn RawWait> = Arc::new(MioWait::default());
    operations(hole, registry, &raw_wait)
}

/// Makes the handler do `action`, there, and returns when it has.
fn handle(action: &Action, task: i32) {
    arm(action.clone());
    let ran = RAN.load(SeqCst);
    send_signal(task, libc::SIGUSR1);
    eventually(
        || format!("the handler has run for {}", action.name()),
        || {
            (RAN.load(SeqCst) > ran)
                .then_some(())
                .ok_or_else(|| "it has not".to_owned())
        },
    );
}

fn a_handler_ends_what_blocks(on: On) {
    let hole = BlackHole::new();
    let _handler = Handler::install(libc::SIGUSR1, act, 0);
    for limit in [None, Some(Duration::from_secs(600))] {
        for action in 0..4 {
            let registry = ShutdownRegistry::new();
            let blocked: Vec<_> = fresh_operations(&hole, &registry)
                .into_iter()
                .map(|stuck| {
                    let action = Action::all(&stuck.handle, &registry)[action].clone();
                    (stuck.name, action, stuck.block(limit).until_blocked())
                })
                .collect();
            let mut handled = false;
            let mut going_on = Vec::new();
            for (name, action, blocked) in blocked {
                // One signal for a whole registry.
                if !action.is_for_all() || !handled {
                    handle(&action, on.task(&blocked));
                    handled = true;
                }
                if action.is_expected(name, &Ok(())).is_none() {
                    going_on.push((name, blocked));
                    continue;
                }
                let result = blocked.result();
                assert_eq!(
                    action.is_expected(name, &result),
                    Some(true),
                    "{name}, {} in a handler on {on:?}, limit {limit:?}: {result:?}",
                    action.name()
                );
            }
            // Those that `stop_accepting` leaves alone.
            let going_on: Vec<_> = going_on
                .into_iter()
                .map(|(name, blocked)| (name, blocked.until_blocked()))
                .collect();
            assert!(going_on.iter().all(|(_, blocked)| !blocked.is_finished()));
            registry.shutdown();
            for (name, blocked) in going_on {
                let result = blocked.result();
                assert!(matches!(result, Err(Error::Shutdown)), "{name}: {result:?}");
            }
        }
    }
}

#[test]
fn a_handler_on_the_blocked_thread_ends_what_blocks() {
    let _test = begin();
    a_handler_ends_what_blocks(On::TheBlockedThread);
}

#[test]
fn a_handler_on_another_thread_ends_what_blocks() {
    let _test = begin();
    a_handler_ends_what_blocks(On::AnotherThread);
}

#[test]
fn a_handler_ends_what_is_idle() {
    let _test = begin();
    let hole = BlackHole::new();
    let _handler = Handler::install(libc::SIGUSR1, act, 0);
    for waited in [false, true] {
        for action in 0..4 {
            let registry = ShutdownRegistry::new();
            let mut idle = fresh_operations(&hole, &registry);
            if waited {
                for stuck in &mut idle {
                    stuck.times_out(Duration::from_millis(1));
                }
            }
            let mut handled = false;
            for stuck in &mut idle {
                let action = Action::all(&stuck.handle, &registry)[action].clone();
                if !action.is_for_all() || !handled {
                    handle(&action, thread_id());
                    handled = true;
                }
                // A limit, so that one that goes on shows.
                let result = stuck.run(Duration::from_millis(1));
                let good = action
                    .is_expected(stuck.name, &result)
                    .unwrap_or(matches!(result, Err(Error::Timeout)));
                let (name, action) = (stuck.name, action.name());
                assert!(good, "{name}, waited: {waited}, {action}: {result:?}");
            }
        }
    }
}

#[test]
fn errno_is_the_same_after_the_handler() {
    const BEFORE: i32 = libc::ENOTEMPTY;
    let _test = begin();
    let _handler = Handler::install(libc::SIGUSR1, act, 0);
    let raw_wait: Arc<dyn RawWait> = Arc::new(Careless::default());
    for action in 0..4 {
        let registry = ShutdownRegistry::new();
        let mut listener = TcpSocket::with_registry(&registry);
        listener.set_raw_wait(Arc::clone(&raw_wait));
        listener.listen_on("127.0.0.1:0", &Default::default()).unwrap();
        let action = Action::all(&listener.handle(), &registry)[action].clone();
        arm(action.clone());
        let blocked = block(move || listener.accept_new().map(drop)).until_blocked();
        let wakes = CARELESS_WAKES.load(SeqCst);
        let name = action.name();

        set_errno(BEFORE);
        // SAFETY: a plain system call.
        unsafe { libc::raise(libc::SIGUSR1) };
        let after = errno();

        assert!(CARELESS_WAKES.load(SeqCst) > wakes, "{name} woke nobody");
        assert_eq!(after, BEFORE, "errno after {name}");
        let result = blocked.result();
        assert_eq!(
            action.is_expected("accept_new", &result),
            Some(true),
            "{name}: {result:?}"
        );
    }
}

#[test]
fn errno_is_the_same_where_closing_fails() {
    const BEFORE: i32 = libc::ENOTEMPTY;
    let _test = begin();
    let _handler = Handler::install(libc::SIGUSR1, act, 0);
    for action in [0, 3] {
        let registry = ShutdownRegistry::new();
        let (mut listener, _) = listener_in(&registry);
        listener.timeout(Duration::from_millis(1));
        assert!(listener.accept_new().unwrap_err().is_timeout());
        let action = Action::all(&listener.handle(), &registry)[action].clone();
        arm(action.clone());
        let none = crate::support::NoDescriptors::new();

        set_errno(BEFORE);
        // SAFETY: a plain system call.
        unsafe { libc::raise(libc::SIGUSR1) };
        let after = errno();

        drop(none);
        assert_eq!(after, BEFORE, "errno after {}", action.name());
        assert!(!listener.is_open());
    }
}

/// Real-time signals, of which each test takes its own: what `on_signal` installs stays.
fn signal(number: i32) -> i32 {
    libc::SIGRTMIN() + number
}

fn raise(signal: i32) {
    // SAFETY: a plain system call.
    assert_eq!(unsafe { libc::raise(signal) }, 0);
}

#[test]
fn the_first_signal_raises_to_its_level_and_the_next_one_to_all() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (first, second) = (signal(1), signal(2));
    registry.on_signal(first, ShutdownLevel::Accepting).unwrap();
    registry.on_signal(second, ShutdownLevel::Accepting).unwrap();
    // Whichever signal is the second; and again after a reset.
    for next in [first, second, first] {
        registry.reset();
        let (listener, _) = listener_in(&registry);
        let (socket, _peer) = crate::support::unix_pair_in(&registry);
        let mut socket = socket;
        let accepting = block(move || listener.accept_new().map(drop)).until_blocked();
        let reading = block(move || socket.get(&mut [0; 8])).until_blocked();
        raise(first);
        assert!(registry.is_stopping() && !registry.is_shutdown());
        let result = accepting.result();
        assert!(matches!(result, Err(Error::Shutdown)), "{result:?}");
        let reading = reading.still_blocks();
        raise(next);
        assert!(registry.is_shutdown());
        let result = reading.result();
        assert!(matches!(result, Err(Error::Shutdown)), "{result:?}");
    }
}

#[test]
fn a_signal_counts_once_however_often_it_was_asked_for() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    for times in 1..4 {
        registry.reset();
        // As a library does, and the program that uses it.
        registry.clone().on_signal(signal(7), ShutdownLevel::Accepting).unwrap();
        raise(signal(7));
        assert!(
            registry.is_stopping() && !registry.is_shutdown(),
            "asked for {times} times"
        );
        raise(signal(7));
        assert!(registry.is_shutdown());
    }
    // The level is the newest one.
    for (level, ends_all) in [(ShutdownLevel::All, true), (ShutdownLevel::Accepting, false)] {
        registry.reset();
        registry.on_signal(signal(7), level).unwrap();
        raise(signal(7));
        assert_eq!(registry.is_shutdown(), ends_all);
    }
    // What others asked for is theirs.
    let other = ShutdownRegistry::new();
    other.on_signal(signal(7), ShutdownLevel::All).unwrap();
    registry.reset();
    raise(signal(7));
    assert!(other.is_shutdown() && registry.is_stopping() && !registry.is_shutdown());
}

#[test]
fn the_first_signal_can_end_everything() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let other = ShutdownRegistry::new();
    registry.on_signal(signal(3), ShutdownLevel::All).unwrap();
    let (mut socket, _peer) = crate::support::unix_pair_in(&registry);
    let reading = block(move || socket.get(&mut [0; 8])).until_blocked();
    let waiting = {
        let registry = registry.clone();
        block(move || registry.wait_stop(None)).until_blocked()
    };
    send_signal(reading.task(), signal(3));
    let result = reading.result();
    assert!(matches!(result, Err(Error::Shutdown)), "{result:?}");
    assert!(waiting.result() && registry.is_shutdown());
    assert!(!other.is_stopping() && !ShutdownRegistry::global().is_stopping());
}

#[test]
fn a_handler_installed_before_still_runs() {
    static BEFORE: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn count(_: i32) {
        BEFORE.fetch_add(1, SeqCst);
    }
    let _test = begin();
    for (number, flags) in [(4, 0), (5, libc::SA_RESTART), (6, libc::SA_SIGINFO)] {
        let signal = signal(number);
        let _handler = Handler::install(signal, count, flags);
        let registry = ShutdownRegistry::new();
        let ran = BEFORE.load(SeqCst);
        raise(signal);
        assert_eq!(BEFORE.load(SeqCst), ran + 1);
        registry.on_signal(signal, ShutdownLevel::Accepting).unwrap();
        raise(signal);
        assert_eq!(BEFORE.load(SeqCst), ran + 2, "flags {flags:#x}");
        assert!(registry.is_stopping() && !registry.is_shutdown());
        raise(signal);
        assert_eq!(BEFORE.load(SeqCst), ran + 3, "flags {flags:#x}");
        assert!(registry.is_shutdown());
    }
}

#[test]
fn signals_that_may_not_be_handled_are_an_error() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    for signal in [
        libc::SIGKILL,
        libc::SIGSTOP,
        libc::SIGSEGV,
        libc::SIGILL,
        libc::SIGFPE,
        0,
        -1,
        i32::MIN,
        libc::SIGRTMAX() + 1,
        i32::MAX,
    ] {
        for level in [ShutdownLevel::Accepting, ShutdownLevel::All] {
            let error = registry.on_signal(signal, level).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{signal}: {error}");
        }
    }
    assert!(!registry.is_stopping());
}

/// How many sockets the storm's handler can reach.
const TARGETS: usize = 12;

static STORM_TARGETS: [AtomicPtr<SocketHandle>; TARGETS] = [const { AtomicPtr::new(ptr::null_mut()) }; TARGETS];
static STORM_REGISTRY: OnceLock<ShutdownRegistry> = OnceLock::new();
static STORM: [AtomicUsize; 4] = [const { AtomicUsize::new(0) }; 4];
/// Connections that came to their end.
static WHOLE: AtomicUsize = AtomicUsize::new(0);
static TURN: AtomicUsize = AtomicUsize::new(0);
static SPOILT: AtomicUsize = AtomicUsize::new(0);

/// Ends one socket, or now and then all: another at each signal.
extern "C" fn storm(_: i32) {
    let turn = TURN.fetch_add(1, SeqCst);
    let (what, deed) = match turn % 16 {
        15 => (3, Deed::Shutdown),
        7 => (2, Deed::StopAccepting),
        turn if turn % 2 == 0 => (0, Deed::Close),
        _ => (1, Deed::Abort),
    };
    let left = leaves_errno(|| {
        // SAFETY: null, or a handle that `Published` keeps until the storm is over.
        let socket = unsafe { STORM_TARGETS[turn / 2 % TARGETS].load(SeqCst).as_ref() };
        let done = deed.be_done(socket, None, STORM_REGISTRY.get());
        STORM[what].fetch_add(usize::from(done), SeqCst);
    });
    SPOILT.fetch_add(usize::from(!left), SeqCst);
}

/// Handles that a handler may be using: freed when the storm is over.
#[derive(Default)]
struct Published(Vec<Arc<SocketHandle>>);

impl Published {
    fn publish(&mut self, place: usize, handle: SocketHandle) {
        let handle = Arc::new(handle);
        STORM_TARGETS[place].store(Arc::as_ptr(&handle).cast_mut(), SeqCst);
        self.0.push(handle);
    }
}

/// One connection's life, ended by the storm at any point. Says whether it came to its end.
fn one_life(registry: &ShutdownRegistry, published: &mut Published, worker: usize, life: u64) -> Result<(), Error> {
    const LIMIT: Duration = Duration::from_millis(20);
    let mut listener = TcpSocket::with_registry(registry);
    published.publish(worker * 3, listener.handle());
    // An address of its own, since a port that the storm frees may be the next one's.
    let ip = Ipv4Addr::new(127, 0, 1, 1 + worker as u8);
    listener.listen_on((ip, 0), &Default::default())?;
    listener.timeout(LIMIT);
    let mut client = TcpSocket::with_registry(registry);
    published.publish(worker * 3 + 1, client.handle());
    client.timeout(LIMIT).connect_to(&[listener.local_addr()?])?;
    if life.is_multiple_of(2) {
        client.linger(Duration::ZERO)?;
    }
    let mut server = listener.accept_new()?;
    published.publish(worker * 3 + 2, server.handle());
    server.timeout(LIMIT);
    let name = (life << 8 | worker as u64).to_be_bytes();
    client.put_all(&name)?;
    let mut came = [0; 8];
    server.get_all(&mut came)?;
    assert_eq!(came, name, "bytes of another connection");
    let words: Vec<String> = (0..life % 50).map(|n| n.to_string()).collect();
    server.timeout(Duration::from_micros(500 + 10 * words.len() as u64));
    match server.get(&mut came) {
        Err(Error::Timeout) => {}
        result => return result.map(|count| assert_eq!(count, 0, "nothing was sent")),
    }
    server.wait(WaitEvents::WRITE)?;
    let accepting = listener.timeout(Duration::from_micros(300)).accept_new();
    assert!(accepting.is_err(), "a client that nobody made");
    Ok(())
}

/// What ends a life in a storm; anything else is wrong. A peer that was ended looks like one that is gone.
fn is_storm_damage(error: &Error) -> bool {
    let gone = |code| {
        matches!(
            code,
            libc::ECONNRESET | libc::ECONNREFUSED | libc::EPIPE | libc::ENOTCONN
        )
    };
    match error {
        Error::Timeout | Error::Closed | Error::Aborted | Error::Shutdown => true,
        Error::UnexpectedEof => true,
        Error::Connect { .. } | Error::Io { .. } => gone(error.code()),
        _ => false,
    }
}

fn weather_a_storm(length: Duration, pause: Duration, workers: usize) {
    let registry = STORM_REGISTRY.get_or_init(ShutdownRegistry::new);
    registry.reset();
    let turns = TURN.load(SeqCst);
    STORM.iter().chain([&WHOLE]).for_each(|count| count.store(0, SeqCst));
    let handler = Handler::install(libc::SIGUSR2, storm, 0);
    let over = Arc::new(AtomicBool::new(false));
    let lives: Vec<_> = (0..workers)
        .map(|worker| {
            let over = Arc::clone(&over);
            block(move || {
                let mut published = Published::default();
                for life in 0.. {
                    if over.load(SeqCst) {
                        return published;
                    }
                    match one_life(registry, &mut published, worker, life) {
                        Ok(()) => {
                            WHOLE.fetch_add(1, SeqCst);
                        }
                        Err(error) => assert!(is_storm_damage(&error), "{error:?}"),
                    }
                }
                unreachable!()
            })
        })
        .collect();
    let resetting = {
        let over = Arc::clone(&over);
        block(move || {
            while !over.load(SeqCst) {
                registry.wait_stop(Duration::from_millis(5));
                registry.reset();
            }
        })
    };
    let begin = Instant::now();
    let enough = || {
        TURN.load(SeqCst) - turns >= 200 && STORM.iter().all(|count| count.load(SeqCst) > 0) && WHOLE.load(SeqCst) > 0
    };
    while begin.elapsed() < length || !enough() && begin.elapsed() < PATIENCE {
        for thread in &lives {
            send_signal(thread.task(), libc::SIGUSR2);
            if !pause.is_zero() {
                thread::sleep(pause);
            }
        }
        send_signal(resetting.task(), libc::SIGUSR2);
        thread::yield_now();
    }
    over.store(true, SeqCst);
    resetting.result();
    let published: Vec<_> = lives.into_iter().map(Blocked::result).collect();
    drop(handler);
    for target in &STORM_TARGETS {
        target.store(ptr::null_mut(), SeqCst);
    }
    drop(published);
    let came = TURN.load(SeqCst) - turns;
    let did = STORM.each_ref().map(|count| count.load(SeqCst));
    let whole = WHOLE.load(SeqCst);
    assert!(
        enough(),
        "{came} signals, which did {did:?}; {whole} connections came to their end"
    );
    assert_eq!(SPOILT.load(SeqCst), 0, "errno was changed so often");
    registry.reset();
    assert_eq!(registry.len(), 0, "{registry:?}");
    let (mut socket, peer) = pair();
    let mut other = TcpSocket::from(peer);
    socket.put_all(b"calm").unwrap();
    assert_eq!(other.get_all_bytes(4).unwrap(), b"calm");
}

#[test]
fn handlers_at_a_kilohertz_leave_the_process_sane() {
    let _test = begin();
    weather_a_storm(Duration::from_millis(1900), Duration::from_millis(1), 4);
}

#[test]
fn handlers_that_interrupt_anything_at_all_leave_the_process_sane() {
    let _test = begin();
    weather_a_storm(Duration::from_millis(900), Duration::from_micros(20), 2);
}
