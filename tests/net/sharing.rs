//! Threads and clones that share one socket.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use wakesock::net::unix::UnixStream;
use wakesock::net::{TcpListener, TcpStream};
use wakesock::{SocketEventQueue, WaitEvents};

use crate::program::{pair, unix_pair};
use crate::support::{PATIENCE, begin, block, pattern};

/// Checks that `readers` threads get each of many numbered pieces once, whatever they read.
fn numbers_come_once<S>(near: S, mut far: impl Write + Send, readers: u32)
where
    S: Sync,
    for<'a> &'a S: Read,
{
    const COUNT: u32 = 20_000;
    let came = Mutex::new(BTreeSet::new());
    thread::scope(|scope| {
        for _ in 0..readers {
            scope.spawn(|| {
                let mut own = Vec::new();
                loop {
                    let mut number = [0; 4];
                    // One piece is read in one call: they are sent whole, and 4 divides what the system gives.
                    match (&near).read(&mut number).unwrap() {
                        0 => break,
                        4 => own.push(u32::from_le_bytes(number)),
                        other => panic!("{other} bytes"),
                    }
                }
                let mut came = came.lock().unwrap();
                for number in own {
                    assert!(came.insert(number), "{number} came twice");
                }
            });
        }
        scope.spawn(move || {
            let mut random = crate::support::Random::new(1);
            let mut next = 0;
            while next < COUNT {
                let count = (1 + random.below(200) as u32).min(COUNT - next);
                let pieces: Vec<u8> = (next..next + count).flat_map(u32::to_le_bytes).collect();
                far.write_all(&pieces).unwrap();
                next += count;
                if random.below(4) == 0 {
                    thread::yield_now();
                }
            }
        });
    });
    assert_eq!(came.into_inner().unwrap().len(), COUNT as usize);
}

#[test]
fn threads_that_read_one_stream_get_each_byte_once() {
    let _test = begin();
    for readers in [1, 2, 8] {
        let (near, far) = pair();
        numbers_come_once(near, far, readers);
        let (near, far) = unix_pair();
        numbers_come_once(near, far, readers);
    }
}

#[test]
fn threads_that_read_by_clones_get_each_byte_once() {
    let _test = begin();
    let (near, mut far) = pair();
    let data = pattern(4 << 20);
    let all = data.len();
    thread::scope(|scope| {
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let mut clone = near.try_clone().unwrap();
                scope.spawn(move || {
                    let mut sums = [0_usize; 256];
                    let mut buf = [0; 1000];
                    loop {
                        match clone.read(&mut buf).unwrap() {
                            0 => return sums,
                            count => buf[..count].iter().for_each(|byte| sums[usize::from(*byte)] += 1),
                        }
                    }
                })
            })
            .collect();
        drop(near);
        far.write_all(&data).unwrap();
        drop(far);
        let mut expected = [0; 256];
        data.iter().for_each(|byte| expected[usize::from(*byte)] += 1);
        let mut found = [0; 256];
        for reader in readers {
            let sums = reader.join().unwrap();
            found.iter_mut().zip(sums).for_each(|(all, own)| *all += own);
        }
        assert_eq!(found.iter().sum::<usize>(), all);
        assert!(found == expected);
    });
}

/// Whether a call may be tried again: its limit was over, or it was not to block.
fn comes_again<T>(result: io::Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error:?}"),
    }
}

/// Checks that no report of what has come, or of room, is lost between threads that peek, read and write with limits that come
/// and go.
fn nothing_is_missed<S>(
    (near, far): (S, S),
    peek: fn(&S) -> io::Result<usize>,
    limit: fn(&S, Option<Duration>),
    nonblocking: fn(&S, bool),
) where
    S: Sync + Send,
    for<'a> &'a S: Read + Write,
{
    const COUNT: usize = 16 << 20;
    let (done, came) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (near, far, done, came) = (&near, &far, &done, &came);
    thread::scope(|scope| {
        for i in 0..5 {
            scope.spawn(move || {
                let mut buf = vec![0; [1000, 70_000][i % 2]];
                while !done.load(Relaxed) {
                    let mut reader = near;
                    let count = match i {
                        0 => comes_again(peek(near)).map(|_| 0),
                        _ => comes_again(reader.read(&mut buf)),
                    };
                    if came.fetch_add(count.unwrap_or(0), Relaxed) + count.unwrap_or(0) == COUNT {
                        done.store(true, Relaxed);
                        // The end, for those that block.
                        let mut writer = far;
                        writer.write_all(&[0; 8]).unwrap();
                    }
                }
                // The next one is told by it.
                let mut writer = far;
                writer.write_all(&[0; 8]).unwrap();
            });
        }
        let left = Arc::new(AtomicUsize::new(COUNT));
        for _ in 0..2 {
            let left = Arc::clone(&left);
            scope.spawn(move || {
                let mut writer = far;
                let data = vec![1; 50_000];
                loop {
                    let own = left
                        .fetch_update(Relaxed, Relaxed, |left| Some(left - left.min(data.len())))
                        .unwrap();
                    let mut own = &data[..own.min(data.len())];
                    if own.is_empty() {
                        break;
                    }
                    while !own.is_empty() {
                        let count = comes_again(writer.write(own)).unwrap_or(0);
                        own = &own[count..];
                    }
                }
            });
        }
        scope.spawn(move || {
            let mut random = crate::support::Random::new(2);
            while !done.load(Relaxed) {
                for end in [near, far] {
                    match random.below(4) {
                        0 => limit(end, Some(Duration::from_micros(300))),
                        1 => nonblocking(end, true),
                        _ => {}
                    }
                }
                thread::sleep(Duration::from_micros(200));
                for end in [near, far] {
                    nonblocking(end, false);
                    limit(end, None);
                }
                thread::sleep(Duration::from_millis(2));
            }
        });
    });
}

#[test]
fn no_report_is_lost_between_threads_whose_limits_come_and_go() {
    let _test = begin();
    for _ in 0..3 {
        nothing_is_missed(
            pair(),
            |stream| stream.peek(&mut [0; 100]),
            |stream, limit| {
                stream.set_read_timeout(limit).unwrap();
                stream.set_write_timeout(limit).unwrap();
            },
            |stream, nonblocking| stream.set_nonblocking(nonblocking).unwrap(),
        );
        nothing_is_missed(
            unix_pair(),
            |mut stream| stream.read(&mut []),
            |stream, limit| {
                stream.set_read_timeout(limit).unwrap();
                stream.set_write_timeout(limit).unwrap();
            },
            |stream, nonblocking| stream.set_nonblocking(nonblocking).unwrap(),
        );
    }
}

#[test]
fn one_thread_reads_while_another_writes() {
    let _test = begin();
    let data = pattern(8 << 20);
    let (near, far) = pair();
    let ends: [&TcpStream; 2] = [&near, &far];
    thread::scope(|scope| {
        for mut end in ends {
            let data = &data;
            scope.spawn(move || {
                end.write_all(data).unwrap();
                end.shutdown(std::net::Shutdown::Write).unwrap();
            });
            scope.spawn(move || {
                let mut came = Vec::new();
                end.read_to_end(&mut came).unwrap();
                assert!(came == *data);
            });
        }
    });
}

#[test]
fn each_client_goes_to_one_of_the_threads_that_accept() {
    let _test = begin();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let handle = listener.handle();
    thread::scope(|scope| {
        let servers: Vec<_> = (0..4)
            .map(|_| {
                let clone = listener.try_clone().unwrap();
                scope.spawn(move || {
                    clone
                        .incoming()
                        .map(|client| client.unwrap().write_all(b"x").unwrap())
                        .count()
                })
            })
            .collect();
        for _ in 0..200 {
            let mut client = TcpStream::connect(addr).unwrap();
            assert_eq!(client.read(&mut [0; 8]).unwrap(), 1);
        }
        handle.close();
        assert_eq!(
            servers.into_iter().map(|server| server.join().unwrap()).sum::<usize>(),
            200
        );
    });
}

#[test]
fn what_is_blocked_already_stays_so_in_nonblocking_mode() {
    let _test = begin();
    let (near, mut far) = unix_pair();
    let clone = near.try_clone().unwrap();
    let blocked = block(move || (&near).read(&mut [0; 8])).until_blocked();
    clone.set_nonblocking(true).unwrap();
    clone.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let blocked = blocked.still_blocks();
    far.write_all(b"hi").unwrap();
    assert_eq!(blocked.result().unwrap(), 2);
}

#[test]
fn queues_report_them() {
    let _test = begin();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let queue = SocketEventQueue::new().unwrap();
    queue.subscribe(&listener, WaitEvents::READ, "listener").unwrap();
    let next = |expected: &str| {
        let events = queue.wait(PATIENCE).unwrap();
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(*events[0].token(), expected);
        events[0].is_closed()
    };
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert!(!next("listener"));
    let (mut stream, _) = listener.accept().unwrap();
    queue.subscribe(&stream, WaitEvents::READ, "stream").unwrap();
    assert!(queue.wait(Duration::from_millis(10)).unwrap().is_empty());
    client.write_all(b"hello").unwrap();
    // What is not read yet is reported again.
    for left in (0..5).rev() {
        assert!(!next("stream"));
        stream.read_exact(&mut [0]).unwrap();
        assert!(left > 0 || queue.wait(Duration::from_millis(10)).unwrap().is_empty());
    }
    stream.handle().close();
    assert!(next("stream"));
    listener.handle().close();
    assert!(next("listener"));
}

#[test]
fn a_pair_needs_nothing_else() {
    let _test = begin();
    let (left, right) = UnixStream::pair().unwrap();
    let blocked = block(move || (&left).read(&mut [0; 8])).until_blocked();
    drop(right);
    assert_eq!(blocked.result().unwrap(), 0);
}
