//! Queues where there are no descriptors left, or only high numbers, and what a queue costs.

// Limits of descriptors are Unix's, and /proc counts them.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use wakesock::{Error, QueueHandle, ShutdownRegistry, SocketEventQueue, SocketId, SocketWaitEvent};

use crate::support::queues::{
    BOTH, READ, WRITE, assert_only, assert_only_closed, assert_silent, block_in, queue, until_there,
};
use crate::support::scarce::{HighNumbers, assert_new_are_close_on_exec, lowest_free, open_numbers, scarce};
use crate::support::{
    NoDescriptors, PATIENCE, POLL_REFUSES, POLLED, QUEUE, begin, block, cpu_time, descriptors, eventually, in_handler,
    listener, pair, thread_id, unix_pair_in,
};

#[track_caller]
fn assert_no_descriptor_left(error: &Error) {
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert_eq!(error.code(), libc::EMFILE, "{error}");
    let text = error.to_string().to_lowercase();
    assert!(text.starts_with("create queue: too many open files"), "{error}");
}

#[test]
fn a_queue_made_without_descriptors_is_a_named_error() {
    let _test = begin();
    for registry in [ShutdownRegistry::global().clone(), ShutdownRegistry::new()] {
        let before = descriptors();
        for free in [0, 1] {
            let none = scarce(free);
            for _ in 0..100 {
                let error = SocketEventQueue::<SocketId>::in_registry(&registry).unwrap_err();
                assert_no_descriptor_left(&error);
            }
            none.allow_all();
            assert_eq!(descriptors(), before, "with {free} left");
        }
        let queue = SocketEventQueue::<SocketId>::in_registry(&registry).unwrap();
        let (socket, _peer) = pair();
        queue.subscribe_write(&socket).unwrap();
        assert_only(&queue, &socket, WRITE);
    }
}

#[test]
fn a_set_without_descriptors_says_so_and_works_when_one_is_freed() {
    let _test = begin();
    let (socket, _peer) = pair();
    block(move || {
        let none = NoDescriptors::new();
        let mut set = SocketWaitEvent::new();
        set.add(&socket, WRITE);
        assert_no_descriptor_left(&set.wait(None).unwrap_err());
        assert_no_descriptor_left(&SocketWaitEvent::new().wait(None).unwrap_err());
        none.allow_all();
        set.clear();
        set.add(&socket, WRITE);
        assert_eq!(set.wait(None).unwrap(), 1);
    })
    .result();
}

#[test]
fn a_queue_works_without_descriptors_left() {
    let _test = begin();
    let queue = queue();
    let (socket, mut peer) = pair();
    let (other, _other_peer) = pair();
    let (listener, _) = listener();
    let none = scarce(0);
    queue.subscribe_read(&socket).unwrap();
    queue.subscribe_write(&other).unwrap();
    queue.subscribe_read(&listener).unwrap();
    assert_only(&queue, &other, WRITE);
    queue.disable_write(&other).unwrap();
    peer.write_all(b"x").unwrap();
    assert_only(&queue, &socket, READ);
    queue.remove(&socket).unwrap();
    assert_silent(&queue);
    let handle = queue.handle();
    handle.wake();
    assert!(queue.wait(None).unwrap().is_empty());
    listener.handle().close();
    assert_only_closed(&queue, listener.id());
    assert!(queue.wait(Duration::from_millis(2)).unwrap().is_empty());
    handle.close();
    assert!(matches!(queue.wait(None), Err(Error::Closed)));
    drop(none);
}

#[test]
fn a_queue_works_where_no_descriptor_is_allowed_at_all() {
    let test = begin();
    if test.skip_if(POLLED, POLL_REFUSES) {
        return;
    }
    let queue = queue();
    let (mut socket, mut peer) = pair();
    queue.subscribe_read_write(&socket).unwrap();
    let none = NoDescriptors::new();
    assert_only(&queue, &socket, WRITE);
    peer.write_all(b"x").unwrap();
    until_there(&socket, 1);
    assert_only(&queue, &socket, BOTH);
    socket.get_byte().unwrap();
    assert_only(&queue, &socket, WRITE);
    queue.disable_write(&socket).unwrap();
    // With a part of a millisecond, which is waited out in a way of its own.
    assert!(queue.wait(Duration::from_micros(1300)).unwrap().is_empty());
    drop(none);
}

#[test]
fn high_descriptor_numbers_are_as_good_as_others() {
    let _test = begin();
    let _high = HighNumbers::new();
    assert!(lowest_free() > 1024);
    let queue = queue();
    let (mut socket, mut peer) = pair();
    assert!(socket.as_raw_fd() > 1024);
    queue.subscribe_read_write(&socket).unwrap();
    assert_only(&queue, &socket, WRITE);
    queue.disable_write(&socket).unwrap();
    let waiting = block_in(&queue);
    peer.write_all(b"x").unwrap();
    assert_eq!(waiting.result().unwrap()[0].events(), READ);
    assert_eq!(socket.get_byte().unwrap(), Some(b'x'));
    assert_silent(&queue);
    let waiting = block_in(&queue);
    queue.handle().wake();
    assert!(waiting.result().unwrap().is_empty());
    block(move || {
        let mut set = SocketWaitEvent::new();
        set.add(&socket, BOTH);
        assert_eq!(set.wait(None).unwrap(), 1);
        assert_eq!(set[0], WRITE);
        peer.write_all(b"x").unwrap();
        eventually(
            || "it is readable".to_owned(),
            || {
                set.wait(PATIENCE).unwrap();
                (set[0] == BOTH).then_some(()).ok_or_else(|| format!("{:?}", set[0]))
            },
        );
        let handle = socket.handle();
        handle.close();
        assert_eq!(set.wait(None).unwrap(), 1);
    })
    .result();
    assert!(queue.wait(None).unwrap()[0].is_closed());
}

#[test]
fn every_descriptor_of_a_queue_is_close_on_exec() {
    let _test = begin();
    let before = open_numbers();
    let queue = queue();
    assert_new_are_close_on_exec(&before, QUEUE);
    let (socket, _peer) = pair();
    let before = open_numbers();
    queue.subscribe_read_write(&socket).unwrap();
    queue.wait(None).unwrap();
    assert_new_are_close_on_exec(&before, 0);
    drop(queue);
    block(move || {
        let before = open_numbers();
        let mut set = SocketWaitEvent::new();
        set.add(&socket, WRITE);
        set.wait(None).unwrap();
        assert_new_are_close_on_exec(&before, QUEUE);
    })
    .result();
}

#[test]
fn nothing_is_left_of_a_queue_that_was_dropped() {
    let _test = begin();
    let without = descriptors();
    for turn in 0..4 {
        let queue = queue();
        assert_eq!(descriptors(), without + QUEUE);
        let (socket, mut peer) = pair();
        queue.subscribe_read(&socket).unwrap();
        peer.write_all(b"x").unwrap();
        // With news that nobody has looked at.
        match turn {
            0 => socket.close(),
            1 => assert_only(&queue, &socket, READ),
            2 => queue.handle().wake(),
            _ => queue.handle().close(),
        }
        drop(queue);
        drop((socket, peer));
        assert_eq!(descriptors(), without, "turn {turn}");
    }
}

#[test]
fn handles_keep_nothing_of_a_queue_that_was_dropped() {
    let _test = begin();
    let without = descriptors();
    let handles: Vec<_> = (0..4)
        .map(|turn| {
            let queue = queue();
            let handle = queue.handle();
            if turn % 2 == 0 {
                let waiting = block_in(&queue);
                handle.wake();
                assert!(waiting.result().unwrap().is_empty());
            }
            handle
        })
        .collect();
    assert_eq!(descriptors(), without);
    // They may be used, in a handler, too.
    for handle in &handles {
        handle.wake();
        in_handler(thread_id(), &|| {
            handle.wake();
            handle.close();
        });
    }
    assert_eq!(descriptors(), without);
}

#[test]
fn handles_of_a_queue_that_is_being_dropped_touch_no_other_descriptor() {
    let _test = begin();
    let waking: Vec<(_, Arc<Mutex<Option<QueueHandle>>>)> = (0..2)
        .map(|_| {
            let handle = Arc::new(Mutex::new(None::<QueueHandle>));
            let (is_over, used) = (Arc::new(AtomicBool::new(false)), Arc::clone(&handle));
            let over = Arc::clone(&is_over);
            let thread = block(move || {
                while !over.load(SeqCst) {
                    let handle = used.lock().clone();
                    handle.iter().for_each(QueueHandle::wake);
                }
            });
            ((thread, is_over), handle)
        })
        .collect();
    for _ in 0..300 {
        let queue = queue();
        waking
            .iter()
            .for_each(|(_, handle)| *handle.lock() = Some(queue.handle()));
        for _ in 0..20 {
            assert!(queue.wait(Duration::from_millis(1)).unwrap().is_empty());
        }
        drop(queue);
        // The numbers are those of others now. What is written to one of them, the other can read.
        let pairs: Vec<_> = (0..QUEUE).map(|_| UnixStream::pair().unwrap()).collect();
        thread::yield_now();
        for (one, other) in &pairs {
            for mut end in [one, other] {
                end.set_nonblocking(true).unwrap();
                let read = end.read(&mut [0; 16]);
                assert!(
                    read.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock),
                    "{read:?}"
                );
            }
        }
    }
    for ((thread, is_over), _) in waking {
        is_over.store(true, SeqCst);
        thread.result();
    }
}

#[test]
fn threads_that_wait_use_no_processor_time() {
    let _test = begin();
    let queue = queue();
    let pairs: Vec<_> = (0..50).map(|_| pair()).collect();
    pairs
        .iter()
        .for_each(|(socket, _)| queue.subscribe_read(socket).unwrap());
    let waiting: Vec<_> = (0..4).map(|_| block_in(&queue)).collect();
    let before: Vec<_> = waiting.iter().map(|thread| cpu_time(thread.task())).collect();
    let waiting: Vec<_> = waiting.into_iter().map(|thread| thread.still_blocks()).collect();
    for (thread, before) in waiting.iter().zip(before) {
        let used = cpu_time(thread.task()) - before;
        assert!(used < Duration::from_millis(10), "{used:?} of processor time");
    }
    queue.handle().close();
    for thread in waiting {
        assert!(matches!(thread.result(), Err(Error::Closed)));
    }
}

/// How much memory this process has in use, in bytes.
fn memory() -> usize {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn many_sockets_and_queues_come_and_go_and_leave_nothing() {
    const TURNS: usize = 20_000;
    const MORE: usize = 4 << 20;
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let lasting = Arc::new(SocketEventQueue::<SocketId>::in_registry(&registry).unwrap());
    let mut before = 0;
    for turn in 0..TURNS {
        if turn == TURNS / 10 {
            before = memory();
        }
        let (socket, mut peer) = unix_pair_in(&registry);
        lasting.subscribe_read(&socket).unwrap();
        match turn % 4 {
            0 => peer.write_all(b"x").unwrap(),
            1 => {
                let queue = SocketEventQueue::<SocketId>::in_registry(&registry).unwrap();
                queue.subscribe_read(&socket).unwrap();
                socket.close();
            }
            2 => lasting.remove(&socket).unwrap(),
            _ => {}
        }
        drop(socket);
        if turn % 50 == 49 {
            while !lasting.wait(Duration::ZERO).unwrap().is_empty() {}
            assert_eq!(lasting.len(), 0);
        }
    }
    assert_eq!(registry.len(), 0);
    let now = memory();
    assert!(now < before + MORE, "{before} bytes before, {now} now");
}
