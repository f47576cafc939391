//! `serve`: an accept loop with a thread for each connection, and how it ends.

#![allow(unsafe_code, reason = "threads that can't be made")]

#[path = "support/mod.rs"]
mod support;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use wakesock::{Error, Served, ShutdownRegistry, TcpSocket};

use support::every::ENDS;
use support::{PATIENCE, begin, block, listener_in};
#[cfg(target_os = "linux")]
use support::{eventually, is_refused};

const GRACE: Duration = Duration::from_secs(60);

/// A client that is served by [`echo`].
fn ask(addr: SocketAddr, number: usize) -> String {
    let mut client = TcpStream::connect(addr).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    writeln!(client, "{number}").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

fn echo(mut client: TcpSocket) -> Result<(), Error> {
    let line = client.get_line()?.unwrap_or_default();
    client.put_all(line.as_bytes())?;
    client.finish(PATIENCE)
}

#[test]
fn every_client_is_served_on_threads_that_are_used_again() {
    let _test = begin();
    for most in [1, 3, 100] {
        let registry = ShutdownRegistry::new();
        let (listener, addr) = listener_in(&registry);
        let (running, peak) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let threads = Mutex::new(HashSet::new());
        let served = thread::scope(|scope| {
            let server = scope.spawn(|| {
                listener.serve(most, |client| {
                    peak.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                    threads.lock().unwrap().insert(thread::current().id());
                    echo(client).unwrap();
                    running.fetch_sub(1, SeqCst);
                })
            });
            let clients: Vec<_> = (0..5)
                .map(|client| {
                    scope.spawn(move || (0..20).map(|turn| ask(addr, 100 * client + turn)).collect::<Vec<_>>())
                })
                .collect();
            for (client, answers) in clients.into_iter().enumerate() {
                let expected: Vec<_> = (0..20).map(|turn| (100 * client + turn).to_string()).collect();
                assert_eq!(answers.join().unwrap(), expected);
            }
            let drained = registry.drain(GRACE);
            assert_eq!(drained.forced, 0, "{drained:?}");
            server.join().unwrap()
        });
        assert_eq!((served.accepted, served.panicked), (100, 0));
        assert!(peak.load(SeqCst) <= most, "{peak:?} at once");
        let threads = threads.lock().unwrap().len();
        assert!(threads <= most.min(99), "{threads} threads");
    }
}

#[test]
fn no_more_run_at_once_than_may_and_the_rest_wait() {
    let _test = begin();
    for (most, really) in [(0, 1), (1, 1), (4, 4)] {
        let registry = ShutdownRegistry::new();
        let (listener, addr) = listener_in(&registry);
        let (begun, until_begun) = mpsc::channel();
        let (go_on, told) = mpsc::channel::<()>();
        let told = Mutex::new(told);
        thread::scope(|scope| {
            let server = scope.spawn(|| {
                listener.serve(most, |client| {
                    begun.send(()).unwrap();
                    told.lock().unwrap().recv().unwrap();
                    echo(client).unwrap();
                })
            });
            let clients: Vec<_> = (0..really + 3)
                .map(|number| scope.spawn(move || ask(addr, number)))
                .collect();
            for _ in 0..really {
                until_begun.recv_timeout(PATIENCE).unwrap();
            }
            let more = until_begun.recv_timeout(Duration::from_millis(50));
            assert!(more.is_err(), "more than {really} run");
            for _ in 0..really + 3 {
                go_on.send(()).unwrap();
            }
            for (number, answer) in clients.into_iter().enumerate() {
                assert_eq!(answer.join().unwrap(), number.to_string());
            }
            registry.stop_accepting();
            assert_eq!(server.join().unwrap().accepted as usize, really + 3);
        });
    }
}

#[test]
fn it_ends_when_its_listener_does_and_the_last_handler_has_returned() {
    let _test = begin();
    let stop: fn(&wakesock::SocketHandle, &ShutdownRegistry) = |_, registry| registry.stop_accepting();
    for (end, name) in ENDS
        .iter()
        .map(|(end, error)| (*end, format!("{error:?}")))
        .chain([(stop, "stop".into())])
    {
        let registry = ShutdownRegistry::new();
        let (listener, addr) = listener_in(&registry);
        let handle = listener.handle();
        let (begun, until_begun) = mpsc::channel();
        let (go_on, told) = mpsc::channel::<()>();
        let told = Mutex::new(told);
        let server = block(move || {
            listener.serve(3, |client| {
                begun.send(()).unwrap();
                let _ = told.lock().unwrap().recv();
                drop(client);
            })
        });
        let _client = TcpStream::connect(addr).unwrap();
        until_begun.recv_timeout(PATIENCE).unwrap();
        end(&handle, &registry);
        let server = server.goes_on_for(Duration::from_millis(50));
        drop(go_on);
        assert_eq!(
            server.result(),
            Served {
                accepted: 1,
                panicked: 0
            },
            "{name}"
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_abort_that_is_lifted_at_once_ends_it_too() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (listener, _) = listener_in(&registry);
    let listener = Arc::new(listener);
    let serving = Arc::clone(&listener);
    let server = block(move || serving.serve(2, drop));
    eventually(
        || "a thread accepts".to_owned(),
        || {
            let accepting = support::tasks()
                .iter()
                .any(|task| task.name == "wakesock-serve" && support::is_sleeping(task.id));
            accepting.then_some(()).ok_or_else(support::list_threads)
        },
    );
    listener.abort();
    listener.clear_abort();
    assert_eq!(server.result(), Served::default());
}

#[test]
fn the_listeners_limit_neither_ends_it_nor_makes_it_spin() {
    let _test = begin();
    for limit in [Duration::ZERO, Duration::from_millis(1)] {
        let registry = ShutdownRegistry::new();
        let (mut listener, addr) = listener_in(&registry);
        listener.timeout(limit);
        let server = block(move || listener.serve(2, |client| echo(client).unwrap()));
        let server = server.still_blocks();
        for number in 0..3 {
            assert_eq!(ask(addr, number), number.to_string());
        }
        registry.stop_accepting();
        assert_eq!(server.result().accepted, 3);
    }
    let (mut listener, _) = listener_in(&ShutdownRegistry::new());
    listener.global_timeout(Duration::from_millis(5));
    assert_eq!(listener.serve(2, drop), Served::default());
}

/// Has so many clients served by `handler`, which panics each time.
fn serve_by_panicking(clients: u64, handler: fn(TcpSocket)) {
    let registry = ShutdownRegistry::new();
    let (listener, addr) = listener_in(&registry);
    let server = block(move || {
        std::panic::set_hook(Box::new(|_| {}));
        let served = listener.serve(2, handler);
        let _ = std::panic::take_hook();
        served
    });
    for _ in 0..clients {
        let mut client = TcpStream::connect(addr).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(matches!(client.read(&mut [0]), Ok(0)), "the connection ends");
    }
    registry.stop_accepting();
    assert_eq!(
        server.result(),
        Served {
            accepted: clients,
            panicked: clients
        }
    );
}

#[test]
fn a_handler_that_always_panics_ends_nothing_else() {
    let _test = begin();
    serve_by_panicking(10, |client| {
        let _client = client;
        panic!("on purpose");
    });
}

#[test]
fn what_is_no_listener_serves_nobody() {
    let _test = begin();
    let nobody = |socket: &TcpSocket| assert_eq!(socket.serve(5, drop), Served::default());
    nobody(&TcpSocket::new());
    let mut failed = TcpSocket::new();
    assert!(failed.listen_on("192.0.2.1:1", &Default::default()).is_err());
    nobody(&failed);
    let (connection, _peer) = support::pair();
    nobody(&connection);
}

#[cfg(target_os = "linux")]
#[test]
fn where_descriptors_run_out_it_goes_on_when_they_come_back() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (listener, addr) = listener_in(&registry);
    let server = block(move || listener.serve(2, |client| echo(client).unwrap()));
    assert_eq!(ask(addr, 1), "1");
    let clients: Vec<_> = (0..3).map(|_| TcpStream::connect(addr)).collect();
    let none = support::scarce::scarce(0);
    let server = server.goes_on_for(Duration::from_millis(50));
    drop(none);
    for client in clients {
        let mut client = client.unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"hello\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "hello");
    }
    registry.drain(GRACE);
    assert_eq!(server.result().accepted, 4);
    assert!(is_refused(addr));
}

/// How many threads can still be made; none are counted while this is negative.
#[cfg(target_os = "linux")]
static THREADS_LEFT: std::sync::atomic::AtomicIsize = std::sync::atomic::AtomicIsize::new(-1);

/// Stands in for the C library's.
#[cfg(target_os = "linux")]
#[unsafe(no_mangle)]
extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    start: extern "C" fn(*mut libc::c_void) -> *mut libc::c_void,
    argument: *mut libc::c_void,
) -> libc::c_int {
    type Create = unsafe extern "C" fn(
        *mut libc::pthread_t,
        *const libc::pthread_attr_t,
        extern "C" fn(*mut libc::c_void) -> *mut libc::c_void,
        *mut libc::c_void,
    ) -> libc::c_int;
    static REAL: std::sync::atomic::AtomicPtr<libc::c_void> = std::sync::atomic::AtomicPtr::new(std::ptr::null_mut());
    let left = THREADS_LEFT.fetch_update(SeqCst, SeqCst, |left| (left > 0).then(|| left - 1));
    if left == Err(0) {
        return libc::EAGAIN;
    }
    // SAFETY: the function of this name has this type.
    let real: Create = unsafe { std::mem::transmute(support::resolve(&REAL, c"pthread_create")) };
    // SAFETY: what this was called with.
    unsafe { real(thread, attributes, start, argument) }
}

#[cfg(target_os = "linux")]
#[test]
fn where_threads_run_out_it_serves_with_those_it_has() {
    let _test = begin();
    for left in [0, 1, 2] {
        let registry = ShutdownRegistry::new();
        let (listener, addr) = listener_in(&registry);
        let server = block(move || {
            THREADS_LEFT.store(left, SeqCst);
            listener.serve(5, |client| echo(client).unwrap())
        });
        // One that says nothing keeps one thread.
        let silent = (left > 0).then(|| TcpStream::connect(addr).unwrap());
        if left != 1 {
            for number in 0..3 {
                assert_eq!(ask(addr, number), number.to_string());
            }
        }
        drop(silent);
        registry.drain(GRACE);
        let served = server.result();
        THREADS_LEFT.store(-1, SeqCst);
        assert_eq!(served.accepted, [3, 1, 4][left as usize]);
    }
}

#[test]
fn an_abort_that_is_lifted_while_all_handlers_run_ends_it_too() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (listener, addr) = listener_in(&registry);
    let (begun, until_begun) = mpsc::channel();
    let (go_on, told) = mpsc::channel::<()>();
    let told = Mutex::new(told);
    let listener = Arc::new(listener);
    let serving = Arc::clone(&listener);
    let server = block(move || {
        serving.serve(1, |client| {
            begun.send(()).unwrap();
            let _ = told.lock().unwrap().recv();
            drop(client);
        })
    });
    let _clients = [TcpStream::connect(addr).unwrap(), TcpStream::connect(addr).unwrap()];
    until_begun.recv_timeout(PATIENCE).unwrap();
    listener.abort();
    listener.clear_abort();
    drop(go_on);
    assert_eq!(
        server.result(),
        Served {
            accepted: 1,
            panicked: 0
        }
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_deadline_that_has_passed_neither_ends_it_nor_makes_it_spin() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (listener, addr) = listener_in(&registry);
    let handle = listener.handle();
    handle.read_deadline(std::time::Instant::now());
    let server = block(move || listener.serve(1, |client| echo(client).unwrap())).still_blocks();
    let serving = || {
        let tasks = support::tasks();
        let found = tasks.iter().find(|task| task.name == "wakesock-serve");
        found.map(|task| support::cpu_time(task.id)).unwrap()
    };
    let before = serving();
    let server = server.goes_on_for(Duration::from_millis(500));
    let used = serving() - before;
    assert!(used < Duration::from_millis(100), "{used:?}");
    handle.read_deadline(None);
    assert_eq!(ask(addr, 7), "7");
    registry.stop_accepting();
    assert_eq!(server.result().accepted, 1);
}

/// What a handler throws, and what panics when it is dropped.
struct Bomb(usize);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 > 0 {
            std::panic::panic_any(Bomb(self.0 - 1));
        }
    }
}

#[test]
fn a_panic_that_panics_when_it_is_dropped_ends_nothing_else() {
    let _test = begin();
    serve_by_panicking(4, |_client| std::panic::panic_any(Bomb(3)));
}
