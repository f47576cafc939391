//! Code of the program's that the crate calls, and that uses the queue itself: a token's `clone` and `drop`, a waiter's
//! `drop`, a logger. Were it called under a lock of the crate, these tests would be stuck.

use std::cell::RefCell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Once, Weak};
use std::thread;
use std::time::Duration;

use wakesock::{MioWait, RawWait, ShutdownRegistry, SocketEventQueue, TcpSocket, WaitEvents, WaitSource, Waiter, Wake};

use crate::support::queues::READ;
use crate::support::{PATIENCE, begin, block, eventually, race, unix_pair};

type Used = Weak<SocketEventQueue<Token>>;

/// Does with the queue what takes each of its locks.
fn use_queue(queue: &Used) {
    if let Some(queue) = queue.upgrade() {
        queue.len();
        let (socket, _peer) = unix_pair();
        assert!(!queue.is_subscribed_read(&socket));
        if !queue.is_error() {
            let _ = queue.wait(Duration::ZERO);
        }
    }
}

thread_local! {
    /// What this thread's waiters and log records do: nothing while they are at it already.
    static ACTION: RefCell<Option<Box<dyn Fn()>>> = const { RefCell::new(None) };
}

fn act() {
    let action = ACTION.with_borrow_mut(Option::take);
    if let Some(action) = action {
        action();
        ACTION.set(Some(action));
    }
}

/// A token whose `clone` and `drop` use the queue that it is in.
struct Token {
    queue: Used,
    is_at_it: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
}

impl Token {
    fn of(queue: &Arc<SocketEventQueue<Token>>) -> Token {
        Token {
            queue: Arc::downgrade(queue),
            is_at_it: Arc::default(),
            count: Arc::default(),
        }
    }

    fn use_queue(&self) {
        // The queue clones and drops this very token again.
        if !self.is_at_it.swap(true, SeqCst) {
            use_queue(&self.queue);
            self.count.fetch_add(1, SeqCst);
            self.is_at_it.store(false, SeqCst);
        }
    }
}

impl Clone for Token {
    fn clone(&self) -> Token {
        self.use_queue();
        Token {
            queue: self.queue.clone(),
            is_at_it: Arc::clone(&self.is_at_it),
            count: Arc::clone(&self.count),
        }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.use_queue();
    }
}

/// Waits as the default does. Its waiters act when they are dropped.
#[derive(Debug, Default)]
struct ActingWait(MioWait);

struct ActingWaiter(Box<dyn Waiter>);

impl RawWait for ActingWait {
    fn waiter(&self, socket: WaitSource<'_>, events: WaitEvents) -> io::Result<Box<dyn Waiter>> {
        Ok(Box::new(ActingWaiter(self.0.waiter(socket, events)?)))
    }
}

impl Waiter for ActingWaiter {
    fn wait(&mut self, events: WaitEvents, timeout: Option<Duration>) -> io::Result<WaitEvents> {
        self.0.wait(events, timeout)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.0.waker()
    }
}

impl Drop for ActingWaiter {
    fn drop(&mut self) {
        act();
    }
}

/// Acts at each record of a thread that has something to do.
struct ActingLogger;

impl log::Log for ActingLogger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, _: &log::Record<'_>) {
        act();
    }

    fn flush(&self) {}
}

fn log_everything() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| log::set_logger(&ActingLogger).unwrap());
    log::set_max_level(log::LevelFilter::Trace);
}

/// A socket that has a waiter of [`ActingWait`]'s.
fn waited() -> (TcpSocket, crate::support::Stream) {
    let (own, peer) = crate::support::stream_pair().unwrap();
    let mut socket = TcpSocket::new();
    socket.set_raw_wait(Arc::new(ActingWait::default()));
    socket.attach(own).unwrap();
    socket.timeout(Duration::from_millis(1));
    assert!(socket.get(&mut [0]).unwrap_err().is_timeout());
    socket.timeout(Duration::ZERO);
    (socket, peer)
}

#[test]
fn a_token_may_use_the_queue_when_it_is_cloned_and_dropped() {
    let _test = begin();
    let queue = Arc::new(SocketEventQueue::new().unwrap());
    let (socket, mut peer) = unix_pair();
    let token = Token::of(&queue);
    let count = Arc::clone(&token.count);
    queue.subscribe(&socket, READ, token).unwrap();
    io::Write::write_all(&mut peer, b"!").unwrap();
    let events = queue.wait(None).unwrap();
    assert_eq!((events.len(), events[0].socket_id()), (1, socket.id()));
    drop(events);
    // Another in its place, one that can't be in any, and one that goes with its subscription.
    queue.subscribe(&socket, READ, Token::of(&queue)).unwrap();
    let closed = TcpSocket::new();
    assert!(queue.subscribe(&closed, READ, Token::of(&queue)).is_err());
    queue.remove(&socket).unwrap();
    queue.subscribe(&socket, READ, Token::of(&queue)).unwrap();
    socket.close();
    assert!(queue.wait(None).unwrap()[0].is_closed());
    queue.clear().unwrap();
    assert!(count.load(SeqCst) >= 2, "it was never used");
}

#[test]
fn a_token_that_waits_in_its_own_clone_hides_no_event_of_others() {
    let _test = begin();
    let queue = Arc::new(SocketEventQueue::new().unwrap());
    let (sockets, mut peers): (Vec<_>, Vec<_>) = (0..3).map(|_| unix_pair()).unzip();
    for socket in &sockets {
        queue.subscribe(socket, READ, Token::of(&queue)).unwrap();
    }
    for peer in &mut peers {
        io::Write::write_all(peer, b"!").unwrap();
    }
    eventually(
        || "all three are reported at once".to_owned(),
        || match queue.wait(Duration::ZERO).unwrap().len() {
            3 => Ok(()),
            seen => Err(seen.to_string()),
        },
    );
}

/// Closes sockets by their handles while another thread looks at them, so that its look is the last to leave some of them:
/// then it is the one that releases them.
fn close_while_a_queue_looks() {
    const ROUNDS: usize = 150;
    let queue = Arc::new(SocketEventQueue::<Token>::new().unwrap());
    let (looks, used) = (Arc::clone(&queue), Arc::downgrade(&queue));
    let reports = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&reports);
    let looking = block(move || {
        ACTION.set(Some(Box::new(move || use_queue(&used))));
        while let Ok(events) = looks.wait(None) {
            counted.fetch_add(events.len(), SeqCst);
        }
        ACTION.set(None);
    });
    for round in 0..ROUNDS {
        let (socket, peer) = waited();
        // A socket that has hung up is an exception, and each look asks the system whether it still is.
        drop(peer);
        queue.subscribe(&socket, READ, Token::of(&queue)).unwrap();
        let seen = reports.load(SeqCst);
        eventually(
            || "it is looked at again and again".to_owned(),
            || (reports.load(SeqCst) > seen + 2).then_some(()).ok_or(String::new()),
        );
        let handle = socket.handle();
        for _ in 0..round % 50 {
            std::hint::spin_loop();
        }
        handle.close();
        if round % 3 == 0 {
            let _ = queue.remove(&socket);
        }
    }
    queue.handle().close();
    looking.result();
}

#[test]
fn a_waiter_may_use_the_queue_when_it_is_dropped() {
    let _test = begin();
    close_while_a_queue_looks();
}

#[test]
fn a_logger_may_use_the_queue() {
    let _test = begin();
    log_everything();
    close_while_a_queue_looks();
    log::set_max_level(log::LevelFilter::Off);
}

#[test]
fn a_logger_may_use_the_socket_that_it_is_told_of() {
    let _test = begin();
    log_everything();
    let (mut socket, _peer) = waited();
    let handle = socket.handle();
    ACTION.set(Some(Box::new(move || handle.close())));
    socket.blocking();
    let ended = socket.get(&mut [0]);
    ACTION.set(None);
    log::set_max_level(log::LevelFilter::Off);
    assert!(matches!(ended, Err(wakesock::Error::Closed)), "{ended:?}");
}

/// A socket whose waiters, of both directions, panic when they are dropped.
fn panicking() -> (TcpSocket, crate::support::Stream) {
    let (mut socket, peer) = waited();
    socket.timeout(Duration::from_millis(1));
    while socket.put(&[0; 4096]).is_ok() {}
    ACTION.set(Some(Box::new(|| {
        panic!("a waiter panics as it is dropped, on purpose")
    })));
    (socket, peer)
}

#[test]
fn a_waiter_that_panics_when_it_is_dropped_keeps_nothing_open() {
    let _test = begin();
    let (socket, mut peer) = panicking();
    let registry = ShutdownRegistry::global();
    let before = registry.len();
    let panicked = catch_unwind(AssertUnwindSafe(|| socket.close()));
    ACTION.set(None);
    assert!(panicked.is_err());
    assert_eq!(registry.len(), before - 1);
    io::Read::read_to_end(&mut peer, &mut Vec::new()).unwrap();
    socket.close();
}

#[test]
#[cfg(unix)]
fn a_waiter_that_panics_as_its_socket_is_given_away_hangs_no_thread() {
    let _test = begin();
    let (socket, mut peer) = panicking();
    let panicked = catch_unwind(AssertUnwindSafe(|| std::os::unix::net::UnixStream::try_from(socket)));
    ACTION.set(None);
    assert!(panicked.is_err());
    io::Read::read_to_end(&mut peer, &mut Vec::new()).unwrap();
}

/// Clears queues of sockets that their tokens own, while handles close these: so a token is dropped with its socket, which
/// waits for the release that this very thread owes.
#[test]
fn a_token_may_own_its_socket() {
    let _test = begin();
    for round in 0..600 {
        let queue = SocketEventQueue::new().unwrap();
        let (socket, _peer) = unix_pair();
        let socket = Arc::new(socket);
        queue.subscribe(&socket, READ, Arc::clone(&socket)).unwrap();
        let handle = socket.handle();
        drop(socket);
        let clearing = race(move || queue.clear(), round % 60 * 10, || handle.close());
        clearing.result().unwrap();
    }
}

#[test]
fn a_token_whose_clone_panics_leaves_its_event_to_another_thread() {
    #[derive(Debug)]
    struct Panicking(Arc<AtomicBool>);

    impl Clone for Panicking {
        fn clone(&self) -> Panicking {
            assert!(!self.0.load(SeqCst), "a token panics as it is cloned, on purpose");
            Panicking(Arc::clone(&self.0))
        }
    }

    let _test = begin();
    let queue = SocketEventQueue::new().unwrap();
    let (socket, mut peer) = unix_pair();
    let panics = Arc::new(AtomicBool::new(true));
    queue.subscribe(&socket, READ, Panicking(Arc::clone(&panics))).unwrap();
    io::Write::write_all(&mut peer, b"!").unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| queue.wait(None))).is_err());
    panics.store(false, SeqCst);
    // This thread neither waits again nor ends.
    let count = thread::scope(|scope| scope.spawn(|| queue.wait(PATIENCE).unwrap().len()).join().unwrap());
    assert_eq!(count, 1);
}
