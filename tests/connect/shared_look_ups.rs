//! Look-ups: one a name at a time, shared by all who ask for it, and no more at once than 32.

// The look-ups, and the making of threads, are a stand-in's for functions of the C library.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "stands in for pthread_create(3), and fork(2)")]

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ptr;
use std::sync::atomic::AtomicPtr;
use std::thread;
use std::time::Duration;

use wakesock::{Error, IpAddrFamily, IpAddrInfo, ShutdownRegistry, TcpSocket};

use crate::look_up::until_threads;
use crate::names::{HOST, Lookups};
use crate::support::every::{ENDS, assert_failed};
use crate::support::{
    PATIENCE, begin, block, ends_at_limit, eventually, is_sleeping, own_threads, resolve, server, tasks, timed,
};

const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// How many names are looked up at once.
const MOST: usize = 32;

fn started(host: &str) -> IpAddrInfo {
    let mut info = IpAddrInfo::new();
    info.start(host, 7, IpAddrFamily::Any).unwrap();
    info
}

/// The look-ups of so many names.
fn started_each(names: std::ops::Range<usize>) -> Vec<IpAddrInfo> {
    names.map(|index| started(&format!("{index}.{HOST}"))).collect()
}

fn until_asked(lookups: &Lookups, count: usize) {
    eventually(
        || format!("{count} names are looked up"),
        || {
            let asked = lookups.asked();
            (asked.len() == count).then_some(()).ok_or(format!("{asked:?}"))
        },
    );
}

#[test]
fn however_many_connect_to_a_name_it_is_looked_up_once() {
    let _test = begin();
    let before = own_threads();
    let lookups = Lookups::held();
    for _ in 0..600 {
        let result = TcpSocket::new().timeout(Duration::from_millis(1)).connect(HOST, 1);
        assert_failed(&result, &Error::Timeout, "the look-up is held");
    }
    until_threads(before + 1);
    assert_eq!(lookups.asked(), [HOST]);
    let (server, addr) = server();
    let blocked: Vec<_> = (0..30)
        .map(|_| {
            block(move || {
                let mut socket = TcpSocket::new();
                socket.timeout(PATIENCE).connect(HOST, addr.port()).map(|()| socket)
            })
            .until_blocked()
        })
        .collect();
    until_threads(before + 1 + 30);
    lookups.answer(&[V4]);
    for blocked in blocked {
        let socket = blocked.result().unwrap();
        assert_eq!(socket.peer_addr().unwrap(), addr);
        server.accept().unwrap();
    }
    assert_eq!(lookups.asked(), [HOST]);
}

#[test]
fn each_who_shares_a_look_up_gets_its_own_port_and_family() {
    let _test = begin();
    let lookups = Lookups::held();
    let start = |port, family| {
        let mut info = IpAddrInfo::new();
        info.start(HOST, port, family).unwrap();
        info
    };
    let mut infos = [
        start(1, IpAddrFamily::Any),
        start(2, IpAddrFamily::V4),
        start(3, IpAddrFamily::V6),
    ];
    lookups.answer(&[V6, V4]);
    infos.iter_mut().for_each(|info| info.wait(None).unwrap());
    let results = infos.each_ref().map(|info| info.result().unwrap());
    assert_eq!(results[0], [SocketAddr::new(V6, 1), SocketAddr::new(V4, 1)]);
    assert_eq!(results[1], [SocketAddr::new(V4, 2)]);
    assert_eq!(results[2], [SocketAddr::new(V6, 3)]);
    assert_eq!(lookups.asked(), [HOST]);

    lookups.hold();
    let mut infos = [start(1, IpAddrFamily::V4), start(1, IpAddrFamily::V6)];
    lookups.answer(&[V4]);
    infos[0].wait(None).unwrap();
    let error = infos[1].wait(None).unwrap_err();
    assert_eq!(error.to_string(), format!("resolve {HOST}: no address of this family"));
    assert_eq!(lookups.asked(), [HOST; 2]);
}

#[test]
fn a_name_that_is_asked_for_again_is_looked_up_anew() {
    let _test = begin();
    let lookups = Lookups::held();
    let mut info = IpAddrInfo::new();
    for round in 0..200_u8 {
        let ip = IpAddr::V4(Ipv4Addr::new(127, 0, 1, round));
        lookups.answer(&[ip]);
        info.execute(HOST, 7, IpAddrFamily::Any).unwrap();
        assert_eq!(info.result(), Some(&[SocketAddr::new(ip, 7)][..]));
    }
    assert_eq!(lookups.asked().len(), 200);
    // At the very moment when it is over.
    for _ in 0..1_000 {
        info.start(HOST, 7, IpAddrFamily::Any).unwrap();
        while info.in_progress() {
            thread::yield_now();
        }
    }
    assert_eq!(lookups.asked().len(), 1_200);
}

#[test]
fn no_more_than_32_names_are_looked_up_at_once_and_none_is_lost() {
    let _test = begin();
    let before = own_threads();
    let lookups = Lookups::held();
    let mut infos = started_each(0..100);
    // Shared, too, while they are in the queue.
    infos.extend(started_each(0..100));
    until_threads(before + MOST);
    until_asked(&lookups, MOST);
    assert!(infos.iter().all(IpAddrInfo::in_progress));
    lookups.answer(&[V4]);
    for info in &mut infos {
        info.wait(PATIENCE).unwrap();
        assert_eq!(info.result(), Some(&[SocketAddr::new(V4, 7)][..]));
    }
    let mut asked = lookups.asked();
    asked.sort();
    asked.dedup();
    assert_eq!((asked.len(), lookups.asked().len()), (100, 100));
    until_threads(before);
}

#[test]
fn a_connect_that_waits_for_its_turn_at_a_look_up_has_its_limit_and_is_ended() {
    let _test = begin();
    let lookups = Lookups::held();
    let busy = started_each(0..MOST);
    ends_at_limit(Duration::from_millis(30), |limit| {
        let (result, took) = timed(|| TcpSocket::new().timeout(limit).connect(HOST, 1));
        assert_failed(&result, &Error::Timeout, limit);
        took
    });
    for (end, expected) in &ENDS {
        let registry = ShutdownRegistry::new();
        let mut socket = TcpSocket::with_registry(&registry);
        let handle = socket.handle();
        let blocked = block(move || socket.connect(HOST, 1)).until_blocked();
        end(&handle, &registry);
        assert_failed(&blocked.result(), expected, "its name is in the queue");
        assert_eq!(registry.len(), 0);
    }
    until_asked(&lookups, MOST);
    drop(busy);
}

#[test]
fn a_look_up_that_nobody_waits_for_any_more_is_never_started() {
    let _test = begin();
    let before = own_threads();
    let lookups = Lookups::held();
    let busy = started_each(0..MOST);
    until_asked(&lookups, MOST);
    let mut wanted = started("wanted.host.test");
    for _ in 0..3 {
        drop(started("unwanted.host.test"));
        drop(started("again.host.test"));
        let result = TcpSocket::new()
            .timeout(Duration::from_millis(1))
            .connect("unwanted.host.test", 1);
        assert_failed(&result, &Error::Timeout, "in the queue");
    }
    // A connect that was begun, and whose socket was closed before its turn came.
    let mut closed = TcpSocket::new();
    closed.timeout(Duration::ZERO).connect("unwanted.host.test", 1).unwrap();
    closed.close();
    let mut again = started("again.host.test");
    lookups.answer(&[V4]);
    wanted.wait(PATIENCE).unwrap();
    again.wait(PATIENCE).unwrap();
    drop(busy);
    until_threads(before);
    let asked = lookups.asked();
    let mut rest = asked[MOST..].to_vec();
    rest.sort();
    assert_eq!(rest, ["again.host.test", "wanted.host.test"]);
}

thread_local! {
    /// Whether this thread can make no others.
    static NO_THREADS: Cell<bool> = const { Cell::new(false) };
}

/// The calling thread can make no others, for as long as this lives.
struct NoThreads;

impl NoThreads {
    fn new() -> NoThreads {
        NO_THREADS.set(true);
        NoThreads
    }
}

impl Drop for NoThreads {
    fn drop(&mut self) {
        NO_THREADS.set(false);
    }
}

type Start = extern "C" fn(*mut libc::c_void) -> *mut libc::c_void;
type PthreadCreate =
    unsafe extern "C" fn(*mut libc::pthread_t, *const libc::pthread_attr_t, Start, *mut libc::c_void) -> libc::c_int;

/// Hands on to the C library's, where that is allowed.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    start: Start,
    argument: *mut libc::c_void,
) -> libc::c_int {
    static REAL: AtomicPtr<libc::c_void> = AtomicPtr::new(ptr::null_mut());
    if NO_THREADS.try_with(Cell::get).unwrap_or(false) {
        return libc::EAGAIN;
    }
    let real = resolve(&REAL, c"pthread_create");
    // SAFETY: it is the C library's function of this very type.
    let real: PthreadCreate = unsafe { std::mem::transmute(real) };
    // SAFETY: as the caller says.
    unsafe { real(thread, attributes, start, argument) }
}

#[test]
fn where_no_thread_can_be_made_the_error_says_so() {
    let _test = begin();
    let lookups = Lookups::finding(&[V4]);
    let (server, addr) = server();
    let mut socket = TcpSocket::new();
    for _ in 0..3 {
        let none = NoThreads::new();
        let mut info = IpAddrInfo::new();
        for result in [
            socket.connect(HOST, addr.port()),
            info.start(HOST, 7, IpAddrFamily::Any),
            info.execute(HOST, 7, IpAddrFamily::Any),
        ] {
            let error = result.unwrap_err();
            assert!(
                matches!(&error, Error::Resolve { host, .. } if host == HOST),
                "{error:?}"
            );
            assert_eq!(error.code(), libc::EAGAIN);
            assert!(!error.is_timeout() && !error.is_closed());
        }
        assert!(!info.in_progress() && socket.is_error());
        // What needs none.
        info.execute("::1", 7, IpAddrFamily::Any).unwrap();
        drop(none);
        assert_eq!(lookups.asked(), [""; 0]);
    }
    socket.connect(HOST, addr.port()).unwrap();
    assert_eq!(server.accept().unwrap().1, socket.local_addr().unwrap());
}

#[test]
fn where_no_more_threads_can_be_made_those_that_are_there_look_up_the_rest() {
    let _test = begin();
    let before = own_threads();
    let lookups = Lookups::held();
    let first = started(HOST);
    until_asked(&lookups, 1);
    let none = NoThreads::new();
    let mut infos = started_each(0..5);
    drop(started("unwanted.host.test"));
    drop(none);
    // One that asks now may have a thread for those before it.
    infos.extend(started_each(5..10));
    until_threads(before + 1 + 5);
    drop(first);
    lookups.answer(&[V4]);
    for info in &mut infos {
        info.wait(PATIENCE).unwrap();
    }
    until_threads(before);
    assert_eq!(lookups.asked().len(), 1 + 10);
}

#[test]
fn a_panic_in_a_look_up_is_an_error_for_all_who_wait_and_the_next_goes_on() {
    let _test = begin();
    let before = own_threads();
    let lookups = Lookups::held();
    let mut infos = started_each(0..MOST);
    infos.extend(started_each(0..MOST + 5));
    lookups.cut();
    lookups.answer(&[V4]);
    for info in &mut infos {
        let error = info.wait(PATIENCE).unwrap_err();
        assert!(error.to_string().ends_with(": the look-up panicked"), "{error}");
    }
    until_threads(before);
    drop(lookups);
    let _lookups = Lookups::finding(&[V4]);
    IpAddrInfo::new().execute(HOST, 7, IpAddrFamily::Any).unwrap();
}

#[test]
fn a_child_of_a_fork_does_not_wait_for_a_thread_of_its_parent() {
    let _test = begin();
    let lookups = Lookups::held();
    let _busy = started_each(0..MOST);
    let _info = started(HOST);
    until_asked(&lookups, MOST);
    eventually(
        || "the look-ups wait for their answers".to_owned(),
        || {
            let awake = tasks()
                .into_iter()
                .filter(|task| task.name.starts_with("wakesock") && !is_sleeping(task.id));
            let awake: Vec<i32> = awake.map(|task| task.id).collect();
            awake.is_empty().then_some(()).ok_or(format!("{awake:?}"))
        },
    );
    // SAFETY: the child uses locks and memory of the C library, which sees to them, and locks that no other thread holds,
    // since those that could sleep.
    let child = unsafe { libc::fork() };
    if child == 0 {
        lookups.answer(&[V4]);
        let found = ["0.host.test", HOST].map(|host| started(host).wait(PATIENCE).is_ok());
        // SAFETY: a plain system call.
        unsafe { libc::_exit(if found == [true; 2] { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: a pointer to a status.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "the child has found both");
    // In the parent nothing has changed.
    assert_eq!(lookups.asked().len(), MOST);
}
