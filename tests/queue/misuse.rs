//! What is asked of a queue in error, and tokens that misbehave.

#![allow(unsafe_code, reason = "a descriptor that another file takes")]

use std::io::{ErrorKind, Write};
#[cfg(all(target_os = "linux", not(mio_unsupported_force_poll_poll)))]
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::time::Duration;

use wakesock::{Error, Result, ShutdownRegistry, SocketEventQueue, TcpSocket};

use crate::support::queues::{NOTHING, READ, WRITE, assert_only, assert_silent, queue};
use crate::support::{PATIENCE, begin, eventually, pair, unix_pair, unix_pair_in};

#[track_caller]
fn assert_kind<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind) {
    match &result {
        Err(error @ Error::Io { .. }) => assert_eq!(error.kind(), kind, "{error}"),
        _ => panic!("{result:?}"),
    }
}

#[test]
fn a_socket_that_is_not_open_cant_be_subscribed() {
    let _test = begin();
    let queue = queue();
    let never = TcpSocket::new();
    assert!(matches!(queue.subscribe_read(&never), Err(Error::Closed)));
    let (closed, _) = pair();
    closed.close();
    assert!(matches!(queue.subscribe_read_write(&closed), Err(Error::Closed)));
    let registry = ShutdownRegistry::new();
    let (ended, _) = unix_pair_in(&registry);
    registry.shutdown();
    assert!(matches!(queue.subscribe_read(&ended), Err(Error::Shutdown)));
    assert_eq!(queue.len(), 0);
    for socket in [&never, &closed, &ended] {
        assert!(!queue.is_subscribed_read(socket) && !queue.is_subscribed_write(socket));
        assert!(!queue.is_disabled_read(socket) && !queue.is_disabled_write(socket));
        assert_kind(queue.remove(socket), ErrorKind::NotFound);
    }
    assert_silent(&queue);
}

#[test]
fn a_stranger_is_not_found() {
    let _test = begin();
    let queue = queue();
    let other = crate::support::queues::queue();
    let (socket, _peer) = pair();
    other.subscribe_read(&socket).unwrap();
    for _ in 0..2 {
        assert_kind(queue.disable_read(&socket), ErrorKind::NotFound);
        assert_kind(queue.disable_write(&socket), ErrorKind::NotFound);
        assert_kind(queue.disable_read_write(&socket), ErrorKind::NotFound);
        assert_kind(queue.remove(&socket), ErrorKind::NotFound);
        assert!(!queue.is_subscribed_read(&socket) && !queue.is_disabled_read(&socket));
    }
    assert!(other.is_subscribed_read(&socket) && !other.is_disabled_read(&socket));
    queue.subscribe_read(&socket).unwrap();
    queue.remove(&socket).unwrap();
    assert_kind(queue.remove(&socket), ErrorKind::NotFound);
    other.remove(&socket).unwrap();
}

#[test]
fn no_events_are_invalid_and_change_nothing() {
    let _test = begin();
    let queue = queue();
    let (socket, _peer) = pair();
    assert_kind(queue.subscribe(&socket, NOTHING, socket.id()), ErrorKind::InvalidInput);
    assert_eq!(queue.len(), 0);
    queue.subscribe_write(&socket).unwrap();
    queue.disable_write(&socket).unwrap();
    assert_kind(queue.subscribe(&socket, NOTHING, socket.id()), ErrorKind::InvalidInput);
    assert!(queue.is_disabled_write(&socket) && queue.len() == 1);
    assert_silent(&queue);
}

#[test]
fn subscribing_twice_is_subscribing_once_and_what_is_not_subscribed_cant_be_disabled() {
    let _test = begin();
    let queue = queue();
    let (socket, _peer) = pair();
    for _ in 0..3 {
        queue.subscribe_write(&socket).unwrap();
        assert_eq!(queue.len(), 1);
        assert_only(&queue, &socket, WRITE);
    }
    // Nothing of the other direction: it is neither subscribed nor disabled afterwards.
    queue.disable_read(&socket).unwrap();
    assert!(!queue.is_subscribed_read(&socket) && !queue.is_disabled_read(&socket));
    assert_only(&queue, &socket, WRITE);
    for _ in 0..2 {
        queue.disable_read_write(&socket).unwrap();
        assert!(queue.is_subscribed_write(&socket) && queue.is_disabled_write(&socket));
    }
    assert_silent(&queue);
    queue.subscribe_read(&socket).unwrap();
    assert!(queue.is_disabled_write(&socket) && !queue.is_disabled_read(&socket));
    assert_silent(&queue);
}

/// A token that may panic when it is cloned.
#[derive(Debug)]
struct Moody {
    name: usize,
    panics: Arc<AtomicBool>,
}

impl Clone for Moody {
    fn clone(&self) -> Moody {
        assert!(
            !self.panics.load(SeqCst),
            "a token panics when it is cloned, on purpose"
        );
        Moody {
            name: self.name,
            panics: Arc::clone(&self.panics),
        }
    }
}

#[test]
fn a_token_that_panics_when_cloned_loses_no_event() {
    let _test = begin();
    for place in 0..4 {
        let queue = SocketEventQueue::<Moody>::new().unwrap();
        let mut pairs: Vec<_> = (0..4).map(|_| pair()).collect();
        let panics: Vec<_> = (0..4).map(|_| Arc::new(AtomicBool::new(false))).collect();
        for (name, (socket, _)) in pairs.iter().enumerate() {
            let panics = Arc::clone(&panics[name]);
            queue.subscribe(socket, READ, Moody { name, panics }).unwrap();
        }
        pairs.iter_mut().for_each(|(_, peer)| peer.write_all(b"x").unwrap());
        eventually(
            || "all are readable".to_owned(),
            || match queue.wait(PATIENCE).unwrap().len() {
                4 => Ok(()),
                count => Err(count.to_string()),
            },
        );
        // One is closed, one panics, two are neither.
        let closed = (place + 1) % 4;
        pairs[closed].0.close();
        panics[place].store(true, SeqCst);
        for _ in 0..2 {
            let result = catch_unwind(AssertUnwindSafe(|| queue.wait(Duration::ZERO)));
            assert!(result.is_err(), "{result:?}");
        }
        panics[place].store(false, SeqCst);
        let events = queue.wait(Duration::ZERO).unwrap();
        let mut seen: Vec<_> = events
            .iter()
            .map(|event| (event.token().name, event.is_closed()))
            .collect();
        seen.sort_unstable();
        let expected: Vec<_> = (0..4).map(|name| (name, name == closed)).collect();
        assert_eq!(seen, expected);
        assert_eq!(queue.len(), 3);
        queue.clear().unwrap();
        assert!(queue.wait(Duration::ZERO).unwrap().is_empty());
    }
}

/// A token that uses its queue when it is dropped.
#[derive(Clone)]
struct Nosy {
    queue: Weak<SocketEventQueue<Nosy>>,
    drops: Arc<AtomicUsize>,
}

impl Drop for Nosy {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.upgrade() {
            let _ = queue.len();
            let (socket, _peer) = unix_pair();
            assert!(!queue.is_subscribed_read(&socket));
            assert_kind(queue.disable_read(&socket), ErrorKind::NotFound);
            queue.handle().wake();
        }
        self.drops.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_token_may_use_its_queue_when_it_is_dropped() {
    let _test = begin();
    let queue = Arc::new(SocketEventQueue::<Nosy>::new().unwrap());
    let drops = Arc::new(AtomicUsize::new(0));
    let token = || Nosy {
        queue: Arc::downgrade(&queue),
        drops: Arc::clone(&drops),
    };
    let dropped = |what: &str| assert!(drops.swap(0, SeqCst) > 0, "{what}");
    let (socket, _peer) = pair();
    queue.subscribe(&socket, WRITE, token()).unwrap();
    queue.subscribe(&socket, WRITE, token()).unwrap();
    dropped("another took its place");
    let mut events = queue.wait(PATIENCE).unwrap();
    queue.wait_into(&mut events, PATIENCE).unwrap();
    dropped("an event was replaced");
    queue.remove(&socket).unwrap();
    dropped("it was removed");
    assert_kind(queue.subscribe(&socket, NOTHING, token()), ErrorKind::InvalidInput);
    dropped("nothing was subscribed to");
    queue.subscribe(&socket, WRITE, token()).unwrap();
    queue.clear().unwrap();
    dropped("the queue was cleared");
    queue.subscribe(&socket, WRITE, token()).unwrap();
    socket.close();
    while !queue
        .wait(Duration::ZERO)
        .unwrap()
        .iter()
        .any(|event| event.is_closed())
    {}
    dropped("its closing was reported");
    assert!(matches!(queue.subscribe(&socket, WRITE, token()), Err(Error::Closed)));
    dropped("its socket was closed");
    #[cfg(all(target_os = "linux", not(mio_unsupported_force_poll_poll)))]
    {
        // A file is something that epoll(7) doesn't watch.
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let (socket, _peer) = pair();
        // SAFETY: both are open, and the socket's number stays one that it owns.
        assert!(unsafe { libc::dup2(file.as_raw_fd(), socket.as_raw_fd()) } >= 0);
        let error = queue.subscribe(&socket, READ, token()).unwrap_err();
        assert_eq!(error.code(), libc::EPERM, "{error}");
        dropped("its socket can't be watched");
    }
    assert_eq!(queue.len(), 0);
    queue.handle().close();
    let (socket, _peer) = pair();
    assert!(matches!(queue.subscribe(&socket, READ, token()), Err(Error::Closed)));
    dropped("its queue was closed");
}
