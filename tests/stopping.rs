//! A stop loses no client that had connected before, and no request that had come.

#[path = "support/mod.rs"]
mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use wakesock::{
    Error, MioWait, RawWait, ShutdownRegistry, SocketEventQueue, SocketWaitEvent, TcpSocket, WaitEvents, WaitSource,
    Waiter, Wake,
};

#[cfg(target_os = "linux")]
use support::eventually;
use support::{PATIENCE, begin, block, in_a_thread, is_refused, listener_in, timed};

const GRACE: Duration = Duration::from_secs(60);

/// Clients that have connected and sent a request each, their number.
fn clients(addr: SocketAddr, count: usize) -> Vec<TcpStream> {
    (0..count)
        .map(|number| {
            let mut client = TcpStream::connect(addr).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            writeln!(client, "{number}").unwrap();
            client
        })
        .collect()
}

/// Checks that each client has got its answer, once.
fn assert_answered(clients: Vec<TcpStream>) {
    for (number, mut client) in clients.into_iter().enumerate() {
        let mut answer = String::new();
        let read = client.read_to_string(&mut answer);
        assert!(read.is_ok(), "client {number}: {read:?} after {answer:?}");
        assert_eq!(answer, format!("{number}\n"));
    }
}

/// Serves a connection as a server does that wants to end gracefully.
fn serve(mut connection: TcpSocket) -> Result<(), Error> {
    while connection.wait_request()? {
        let Some(line) = connection.get_line()? else { break };
        connection.put_all(format!("{line}\n").as_bytes())?;
    }
    Ok(())
}

/// Checks that the client was not served, and knows that it won't be.
#[track_caller]
fn assert_turned_away(mut client: TcpStream) {
    let seen = client.read(&mut [0; 1]);
    let gone = match &seen {
        Ok(count) => *count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    };
    assert!(gone, "{seen:?}");
}

#[test]
fn clients_that_were_waiting_are_all_served_by_fewer_workers() {
    let _test = begin();
    for (count, workers) in [(9, 2), (40, 3), (5, 8)] {
        let registry = ShutdownRegistry::new();
        let (listener, addr) = listener_in(&registry);
        let (begun, until_begun) = mpsc::channel();
        let (go_on, told) = mpsc::channel::<()>();
        let told = std::sync::Mutex::new(told);
        thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    for client in listener.incoming() {
                        let client = client.unwrap();
                        let _ = begun.send(());
                        let _ = told.lock().unwrap().recv();
                        serve(client).unwrap();
                    }
                });
            }
            let clients = clients(addr, count);
            for _ in 0..workers.min(count) {
                until_begun.recv_timeout(PATIENCE).unwrap();
            }
            registry.stop_accepting();
            drop(go_on);
            let drained = registry.drain(GRACE);
            assert_eq!((drained.finished, drained.forced), (count, 0), "{drained:?}");
            assert!(drained.elapsed < GRACE, "{drained:?}");
            assert_answered(clients);
        });
        assert!(is_refused(addr));
    }
}

#[test]
fn a_drain_waits_for_a_worker_that_comes_back_late() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (listener, addr) = listener_in(&registry);
    let clients = clients(addr, 3);
    let drains = registry.clone();
    let drain = block(move || drains.drain(GRACE)).still_blocks();
    for client in listener.incoming() {
        serve(client.unwrap()).unwrap();
    }
    let drained = drain.result();
    assert_eq!((drained.finished, drained.forced), (3, 0), "{drained:?}");
    assert_answered(clients);
}

#[test]
fn just_those_that_were_waiting_are_handed_out() {
    let _test = begin();
    for count in [1, 7, 100] {
        let registry = ShutdownRegistry::new();
        let (mut listener, addr) = listener_in(&registry);
        let waiting = clients(addr, count);
        registry.stop_accepting();
        registry.stop_accepting();
        listener.timeout(Duration::ZERO);
        for number in 0..count {
            assert!(listener.is_open(), "{number} of {count} were handed out");
            let mut connection = match number % 2 {
                0 => listener.accept_new().unwrap(),
                _ => {
                    let mut connection = TcpSocket::new();
                    connection.accept(&listener).unwrap();
                    connection
                }
            };
            assert_eq!(
                connection.get_line().unwrap(),
                Some(number.to_string()),
                "in their order"
            );
            connection.put_all(format!("{number}\n").as_bytes()).unwrap();
            if cfg!(unix) {
                assert!(is_refused(addr), "a later client");
            }
        }
        assert!(!listener.is_open());
        assert!(matches!(listener.accept_new(), Err(Error::Shutdown)));
        assert!(listener.incoming().next().is_none());
        assert_answered(waiting);
        TcpSocket::new().listen_on(addr, &Default::default()).unwrap();
    }
}

#[test]
fn a_listener_without_waiting_clients_ends_at_once() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (listener, addr) = listener_in(&registry);
    let served = clients(addr, 1);
    serve_one(&listener);
    registry.stop_accepting();
    assert!(!listener.is_open());
    assert!(is_refused(addr));
    TcpSocket::new().listen_on(addr, &Default::default()).unwrap();
    assert_answered(served);
}

fn serve_one(listener: &TcpSocket) {
    let mut connection = listener.accept_new().unwrap();
    let line = connection.get_line().unwrap().unwrap();
    connection.put_all(format!("{line}\n").as_bytes()).unwrap();
}

#[test]
fn those_that_nobody_accepts_are_turned_away_at_the_end_of_the_grace() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (listener, addr) = listener_in(&registry);
    let waiting = clients(addr, 3);
    let grace = Duration::from_millis(20);
    let (drained, took) = timed(|| registry.drain(grace));
    assert!(took >= grace, "{took:?}");
    assert_eq!((drained.finished, drained.forced), (0, 0), "{drained:?}");
    assert!(matches!(listener.accept_new(), Err(Error::Shutdown)));
    assert!(is_refused(addr));
    waiting.into_iter().for_each(assert_turned_away);
}

#[test]
fn those_that_were_not_handed_out_are_turned_away_by_whatever_ends_the_listener() {
    let _test = begin();
    type End = fn(TcpSocket, &ShutdownRegistry) -> Option<TcpSocket>;
    let ends: [End; 5] = [
        |listener, _| {
            drop(listener);
            None
        },
        |listener, _| {
            listener.close();
            Some(listener)
        },
        |mut listener, _| {
            listener.clear();
            Some(listener)
        },
        |listener, _| {
            listener.handle().close();
            assert!(matches!(listener.accept_new(), Err(Error::Closed)));
            Some(listener)
        },
        |listener, registry| {
            registry.shutdown();
            assert!(matches!(listener.accept_new(), Err(Error::Shutdown)));
            Some(listener)
        },
    ];
    for end in ends {
        let registry = ShutdownRegistry::new();
        let (listener, addr) = listener_in(&registry);
        let waiting = clients(addr, 4);
        registry.stop_accepting();
        serve_one(&listener);
        let _ended = end(listener, &registry);
        let mut waiting = waiting.into_iter();
        assert_answered(waiting.by_ref().take(1).collect());
        waiting.for_each(assert_turned_away);
    }
}

#[test]
fn those_that_a_worker_turns_away_are_counted_too() {
    let _test = begin();
    type End = fn(&ShutdownRegistry, TcpSocket);
    let ends: [End; 3] = [
        |registry, listener| {
            registry.shutdown();
            // The worker comes back before the drain has come to the listener.
            assert!(matches!(listener.accept_new(), Err(Error::Shutdown)));
        },
        |registry, listener| {
            registry.shutdown();
            drop(listener);
        },
        |_, listener| drop(listener),
    ];
    for end in ends {
        let registry = ShutdownRegistry::new();
        let (listener, addr) = listener_in(&registry);
        let _kept = listener.handle();
        let waiting = clients(addr, 4);
        registry.stop_accepting();
        serve_one(&listener);
        end(&registry, listener);
        let drained = registry.drain(Duration::ZERO);
        assert_eq!((drained.finished, drained.forced), (1, 3), "{drained:?}");
        waiting.into_iter().skip(1).for_each(assert_turned_away);
    }
}

#[test]
fn a_queue_reports_the_listener_until_the_last_client_was_handed_out() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (mut listener, addr) = listener_in(&registry);
    listener.timeout(Duration::ZERO);
    let queue = SocketEventQueue::in_registry(&registry).unwrap();
    queue.subscribe_read(&listener).unwrap();
    let waiting = clients(addr, 5);
    registry.stop_accepting();
    let mut turns = 0;
    loop {
        let events = queue.wait(PATIENCE).unwrap();
        // That of the stop, at most.
        turns += usize::from(events.is_empty());
        assert!(turns <= 1);
        let Some(event) = events.first() else { continue };
        if event.is_closed() {
            break;
        }
        assert!(
            event.is_triggered_read() && !event.is_triggered_exception(),
            "{event:?}"
        );
        serve_one(&listener);
    }
    assert!(!listener.is_open());
    assert_answered(waiting);
}

#[test]
fn a_listener_that_is_subscribed_while_its_last_clients_wait_is_reported() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (mut listener, addr) = listener_in(&registry);
    listener.timeout(Duration::ZERO);
    let waiting = clients(addr, 3);
    registry.stop_accepting();
    serve_one(&listener);
    let queue = SocketEventQueue::in_registry(&registry).unwrap();
    queue.subscribe_read(&listener).unwrap();
    while !queue.wait(PATIENCE).unwrap()[0].is_closed() {
        serve_one(&listener);
    }
    assert_answered(waiting);
}

#[test]
fn a_wait_event_reports_the_listener_until_the_last_client_was_handed_out() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (mut listener, addr) = listener_in(&registry);
    listener.timeout(Duration::ZERO);
    let waiting = clients(addr, 5);
    registry.stop_accepting();
    // In a thread of its own, since it keeps descriptors for its next wait event.
    in_a_thread(move || {
        for _ in 0..5 {
            let mut events = SocketWaitEvent::new();
            events.add(&listener, WaitEvents::READ);
            assert_eq!(events.wait(PATIENCE).unwrap(), 1);
            assert_eq!(events.get(0), WaitEvents::READ);
            listener.wait_read().unwrap();
            serve_one(&listener);
        }
        assert!(matches!(listener.accept_new(), Err(Error::Shutdown)));
    });
    assert_answered(waiting);
}

#[test]
fn many_threads_share_the_last_clients() {
    let _test = begin();
    for _ in 0..20 {
        let registry = ShutdownRegistry::new();
        let (listener, addr) = listener_in(&registry);
        let served = Arc::new(AtomicUsize::new(0));
        let count = 30;
        thread::scope(|scope| {
            let accepting = || {
                for client in listener.incoming() {
                    serve(client.unwrap()).unwrap();
                    served.fetch_add(1, SeqCst);
                }
            };
            for _ in 0..4 {
                scope.spawn(accepting);
            }
            let clients = clients(addr, count);
            let drained = registry.drain(GRACE);
            assert_eq!(drained.forced, 0, "{drained:?}");
            assert_answered(clients);
        });
        assert_eq!(served.load(SeqCst), count);
    }
}

#[cfg(unix)]
#[test]
fn clients_of_a_listener_without_a_port_are_handed_out_too() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let dir = std::env::temp_dir().join(format!("wakesock-stopping-{}", std::process::id()));
    let mut listener = TcpSocket::with_registry(&registry);
    listener.listen_path(&dir, 5).unwrap();
    let mut client = std::os::unix::net::UnixStream::connect(&dir).unwrap();
    writeln!(client, "hello").unwrap();
    registry.stop_accepting();
    serve_one(&listener);
    assert!(matches!(listener.accept_new(), Err(Error::Shutdown)));
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "hello\n");
    let _ = std::fs::remove_file(&dir);
}

/// Only what another process, or the program, has of the listener is left afterwards.
#[cfg(unix)]
#[test]
fn later_clients_of_a_listener_that_others_have_are_theirs() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (others, addr) = support::server();
    let mut listener = TcpSocket::with_registry(&registry);
    listener.attach(others.try_clone().unwrap()).unwrap();
    let waiting = clients(addr, 3);
    registry.stop_accepting();
    serve_one(&listener);
    let later = clients(addr, 1);
    serve_one(&listener);
    serve_one(&listener);
    assert!(matches!(listener.accept_new(), Err(Error::Shutdown)));
    assert_answered(waiting);
    let mut others = TcpSocket::from(others);
    others.timeout(PATIENCE);
    serve_one(&others);
    assert_answered(later);
}

#[cfg(target_os = "linux")]
#[test]
fn where_descriptors_run_out_the_last_clients_are_kept() {
    let _test = begin();
    for free in [0, 1] {
        let registry = ShutdownRegistry::new();
        let (mut listener, addr) = listener_in(&registry);
        listener.timeout(Duration::ZERO);
        let waiting = clients(addr, 4);
        registry.stop_accepting();
        let none = support::scarce::scarce(free);
        let mut served = 0;
        if free > 0 {
            // One can be accepted after the other.
            while served < 2 {
                serve_one(&listener);
                served += 1;
            }
            drop(none);
        } else {
            let error = listener.accept_new().unwrap_err();
            assert!(matches!(error, Error::Io { .. }), "{error:?}");
            none.allow_all();
        }
        while served < 4 {
            serve_one(&listener);
            served += 1;
        }
        assert!(matches!(listener.accept_new(), Err(Error::Shutdown)));
        assert_answered(waiting);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_stop_by_a_signal_handler_loses_no_client_either() {
    static REGISTRY: std::sync::OnceLock<ShutdownRegistry> = std::sync::OnceLock::new();
    extern "C" fn stop(_: i32) {
        if let Some(registry) = REGISTRY.get() {
            registry.stop_accepting();
        }
    }
    let _test = begin();
    let registry = REGISTRY.get_or_init(ShutdownRegistry::new);
    let _handler = support::Handler::install(libc::SIGUSR1, stop, libc::SA_RESTART);
    let (listener, addr) = listener_in(registry);
    let (idle, _) = listener_in(registry);
    let waiting = clients(addr, 6);
    support::send_signal(support::thread_id(), libc::SIGUSR1);
    eventually(
        || "the handler has run".to_owned(),
        || registry.is_stopping().then_some(()).ok_or_else(String::new),
    );
    assert!(!idle.is_open());
    for client in listener.incoming() {
        serve(client.unwrap()).unwrap();
    }
    assert_answered(waiting);
    let drained = registry.drain(Duration::ZERO);
    assert_eq!((drained.finished, drained.forced), (6, 0), "{drained:?}");
}

#[test]
fn those_that_were_taken_and_not_handed_out_are_turned_away_by_a_drain_and_counted() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (listener, addr) = listener_in(&registry);
    let waiting = clients(addr, 5);
    registry.stop_accepting();
    serve_one(&listener);
    // The listener is not touched again.
    let drained = registry.drain(Duration::from_millis(20));
    assert_eq!((drained.finished, drained.forced), (1, 4), "{drained:?}");
    let mut waiting = waiting.into_iter();
    assert_answered(waiting.by_ref().take(1).collect());
    waiting.for_each(assert_turned_away);
    drop(listener);
}

/// A thread that is about to wait, when another one takes all that were waiting.
#[derive(Debug)]
struct Gate {
    /// Where it stops: when its waker is asked for, or before there is a waiter.
    at_waker: bool,
    reached: mpsc::SyncSender<()>,
    told: Arc<std::sync::Mutex<mpsc::Receiver<()>>>,
}

struct GateWaiter {
    inner: Box<dyn Waiter>,
    stops: Box<dyn Fn() + Send>,
}

impl Gate {
    fn stops(&self) -> Box<dyn Fn() + Send> {
        let (reached, told) = (self.reached.clone(), Arc::clone(&self.told));
        Box::new(move || {
            reached.send(()).unwrap();
            told.lock().unwrap().recv().unwrap();
        })
    }
}

impl RawWait for Gate {
    fn waiter(&self, socket: WaitSource<'_>, events: WaitEvents) -> std::io::Result<Box<dyn Waiter>> {
        let stops = self.stops();
        if !self.at_waker {
            stops();
            return MioWait::default().waiter(socket, events);
        }
        let inner = MioWait::default().waiter(socket, events)?;
        Ok(Box::new(GateWaiter { inner, stops }))
    }
}

impl Waiter for GateWaiter {
    fn wait(&mut self, events: WaitEvents, timeout: Option<Duration>) -> std::io::Result<WaitEvents> {
        self.inner.wait(events, timeout)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        (self.stops)();
        self.inner.waker()
    }
}

#[test]
fn a_thread_that_is_about_to_wait_gets_its_share_of_the_last_clients() {
    let _test = begin();
    for at_waker in [false, true] {
        let registry = ShutdownRegistry::new();
        let (reached, until_reached) = mpsc::sync_channel(1);
        let (tell, told) = mpsc::channel();
        let gate: Arc<dyn RawWait> = Arc::new(Gate {
            at_waker,
            reached,
            told: Arc::new(std::sync::Mutex::new(told)),
        });
        let mut listener = support::unopened_in(&registry, &gate);
        listener.listen_on("127.0.0.1:0", &Default::default()).unwrap();
        let addr = listener.local_addr().unwrap();
        let listener = Arc::new(listener);
        let accepting = Arc::clone(&listener);
        let late = block(move || serve_one(&accepting));
        until_reached.recv_timeout(PATIENCE).unwrap();
        let waiting = clients(addr, 2);
        registry.stop_accepting();
        serve_one(&listener);
        tell.send(()).unwrap();
        late.result();
        let drained = registry.drain(GRACE);
        assert_eq!((drained.finished, drained.forced), (2, 0), "{drained:?}");
        assert!(drained.elapsed < GRACE, "{drained:?}");
        assert_answered(waiting);
    }
}

#[cfg(unix)]
#[test]
fn a_client_that_another_takes_at_the_stop_keeps_nobody_waiting() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (others, addr) = support::server();
    let mut listener = TcpSocket::with_registry(&registry);
    listener
        .timeout(Duration::ZERO)
        .attach(others.try_clone().unwrap())
        .unwrap();
    let queue = SocketEventQueue::in_registry(&registry).unwrap();
    queue.subscribe_read(&listener).unwrap();
    assert!(queue.wait(Duration::ZERO).unwrap().is_empty());
    let _client = TcpStream::connect(addr).unwrap();
    registry.stop_accepting();
    others.set_nonblocking(false).unwrap();
    others.accept().unwrap();
    let drains = registry.clone();
    let drain = block(move || drains.drain(GRACE));
    while let Ok(events) = queue.wait(PATIENCE) {
        for event in events {
            assert!(event.is_closed() || matches!(listener.accept_new(), Err(Error::Shutdown)));
        }
    }
    assert!(drain.result().elapsed < GRACE);
}

#[cfg(unix)]
#[test]
fn a_duplicate_may_be_subscribed_after_one_before_it_has_ended() {
    let _test = begin();
    let (others, _) = support::server();
    let queue: SocketEventQueue = SocketEventQueue::new().unwrap();
    let mut numbers = Vec::new();
    for _ in 0..4 {
        let listener = TcpSocket::from(others.try_clone().unwrap());
        numbers.push(std::os::fd::AsRawFd::as_raw_fd(&listener));
        queue.subscribe_read(&listener).unwrap();
        listener.handle().close();
        assert!(queue.wait(PATIENCE).unwrap()[0].is_closed());
    }
    assert!(
        numbers.windows(2).any(|pair| pair[0] == pair[1]),
        "a number comes back: {numbers:?}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn the_last_clients_leave_descriptors_to_serve_them() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (mut listener, addr) = listener_in(&registry);
    listener.timeout(Duration::ZERO);
    let count = 100;
    let waiting = clients(addr, count);
    registry.stop_accepting();
    // So many more than are in use.
    let few = support::NoDescriptors::but(60);
    for _ in 0..count {
        let mut connection = listener.accept_new().unwrap();
        std::fs::File::open("/dev/null").unwrap();
        let line = connection.get_line().unwrap().unwrap();
        connection.put_all(format!("{line}\n").as_bytes()).unwrap();
    }
    drop(few);
    assert!(matches!(listener.accept_new(), Err(Error::Shutdown)));
    assert_answered(waiting);
}
