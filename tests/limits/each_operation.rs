//! No operation ends before its time is up, or long after.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use wakesock::{Error, MioWait, RawWait, ShutdownRegistry, TcpSocket};

use crate::support::operations::{Stuck, operations};
use crate::support::scripted::{Plug, Scripted};
use crate::support::{
    BlackHole, Blocked, PATIENCE, STILL_BLOCKS, begin, block, cpu_time, ends_at_limit, eventually, listener, pair,
    timed,
};
#[cfg(target_os = "linux")]
use crate::support::{Handler, Pinned, send_signal, signals_that_came};

fn all_operations(hole: &BlackHole) -> Vec<Stuck> {
    let raw_wait: Arc<dyn RawWait> = Arc::new(MioWait::default());
    operations(hole, ShutdownRegistry::global(), &raw_wait)
}

/// 1 ns, 3 ns, 10 ns, … 1 s: nineteen.
fn nineteen_limits() -> impl Iterator<Item = Duration> {
    (0..19).map(|half| {
        let decade = 10_u64.pow(half / 2);
        Duration::from_nanos(if half % 2 == 0 { decade } else { decade * 3 })
    })
}

fn nineteen_limits_hold() {
    let hole = BlackHole::new();
    let threads: Vec<_> = all_operations(&hole)
        .into_iter()
        .map(|mut stuck| {
            block(move || {
                for limit in nineteen_limits() {
                    ends_at_limit(limit, |limit| stuck.times_out(limit));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(Blocked::result);
}

#[test]
fn limits_from_a_nanosecond_to_a_second_hold_with_all_processors() {
    let _test = begin();
    nineteen_limits_hold();
}

#[cfg(target_os = "linux")]
#[test]
fn limits_from_a_nanosecond_to_a_second_hold_with_one_processor() {
    let _test = begin();
    let _pinned = Pinned::new();
    nineteen_limits_hold();
}

#[test]
fn limits_of_threads_at_one_listener_run_at_the_same_time() {
    const THREADS: u32 = 8;
    let _test = begin();
    let (listener, _) = listener();
    let listener = Arc::new(listener);
    for longest_first in [true, false] {
        // The longest limit, and what the worst of all was late by.
        ends_at_limit(Duration::from_millis(160), |longest| {
            let mut order: Vec<_> = (1..=THREADS).collect();
            if longest_first {
                order.reverse();
            }
            let threads: Vec<_> = order
                .into_iter()
                .map(|part| {
                    let listener = Arc::clone(&listener);
                    let limit = longest * part / THREADS;
                    let thread = block(move || {
                        let mut connection = TcpSocket::new();
                        connection.timeout(limit);
                        let (result, took) = timed(|| connection.accept(&listener));
                        assert!(matches!(result, Err(Error::Timeout)), "{limit:?}: {result:?}");
                        assert!(took >= limit, "{limit:?} was over after {took:?}");
                        took - limit
                    });
                    thread.until_blocked()
                })
                .collect();
            let late = threads.into_iter().map(Blocked::result).max().unwrap();
            longest + late
        });
    }
}

#[test]
fn a_limit_is_for_the_whole_operation_and_not_for_each_piece_that_comes() {
    let _test = begin();
    let drip = |mut peer: TcpStream| {
        block(move || {
            // Until the other end is gone.
            while peer.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(1));
            }
        })
    };
    type Dripped = fn(&mut TcpSocket) -> Result<(), Error>;
    let operations: [(&str, Dripped); 3] = [
        ("get", |socket| {
            let came = socket.get(&mut [0; 1 << 20])?;
            assert!(came < 1 << 20 && socket.is_timeout(), "{came}");
            Err(Error::Timeout)
        }),
        ("get_line", |socket| socket.get_line().map(drop)),
        ("get_all", |socket| socket.get_all(&mut [0; 1 << 20])),
    ];
    for (name, operation) in operations {
        ends_at_limit(Duration::from_millis(50), |limit| {
            let (mut socket, peer) = pair();
            let dripping = drip(peer);
            socket.timeout(limit);
            let (result, took) = timed(|| operation(&mut socket));
            assert!(matches!(result, Err(Error::Timeout)), "{name}: {result:?}");
            drop(socket);
            dripping.result();
            took
        });
    }
}

/// Sends signals to `threads`, one to each every few milliseconds, until `done`.
#[cfg(target_os = "linux")]
fn pester<T>(threads: &[Blocked<T>], done: impl Fn() -> bool) {
    const EVERY: Duration = Duration::from_millis(2);
    while !done() {
        for thread in threads.iter().filter(|thread| !thread.is_finished()) {
            send_signal(thread.task(), libc::SIGUSR1);
        }
        thread::sleep(EVERY);
    }
}

#[cfg(target_os = "linux")]
fn signals_change_no_limit(flags: i32) {
    let _handler = Handler::counting(libc::SIGUSR1, flags);
    let before = signals_that_came();
    let hole = BlackHole::new();
    let threads: Vec<_> = all_operations(&hole)
        .into_iter()
        .map(|mut stuck| {
            block(move || {
                for millis in [1, 7, 40, 150] {
                    ends_at_limit(Duration::from_millis(millis), |limit| stuck.times_out(limit));
                }
            })
        })
        .collect();
    pester(&threads, || threads.iter().all(Blocked::is_finished));
    let came = signals_that_came() - before;
    assert!(came >= 10 * threads.len(), "only {came} signals came through");
    threads.into_iter().for_each(Blocked::result);
}

#[cfg(target_os = "linux")]
#[test]
fn signals_neither_shorten_nor_lengthen_a_limit() {
    let _test = begin();
    signals_change_no_limit(0);
}

#[cfg(target_os = "linux")]
#[test]
fn restarting_signals_neither_shorten_nor_lengthen_a_limit() {
    let _test = begin();
    signals_change_no_limit(libc::SA_RESTART);
}

#[cfg(target_os = "linux")]
#[test]
fn signals_end_no_operation() {
    let _test = begin();
    for flags in [0, libc::SA_RESTART] {
        let _handler = Handler::counting(libc::SIGUSR1, flags);
        let hole = BlackHole::new();
        let (handles, threads): (Vec<_>, Vec<_>) = all_operations(&hole)
            .into_iter()
            .map(|stuck| ((stuck.name, stuck.handle.clone()), stuck.block(None)))
            .unzip();
        let before = signals_that_came();
        let begin = std::time::Instant::now();
        pester(&threads, || {
            begin.elapsed() >= STILL_BLOCKS && signals_that_came() - before >= 10 * threads.len()
        });
        for ((name, handle), thread) in handles.into_iter().zip(threads) {
            assert!(!thread.is_finished(), "{name}: {:?} for a signal", thread.result());
            handle.close();
            let result = thread.result();
            assert!(matches!(result, Err(Error::Closed)), "{name}: {result:?}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn not_a_byte_is_lost_or_doubled_under_signals() {
    const LENGTH: usize = 8 << 20;
    let _test = begin();
    let _handler = Handler::counting(libc::SIGUSR1, 0);
    let (mut socket, peer) = pair();
    let mut other = TcpSocket::from(peer);
    let before = signals_that_came();
    let data: Vec<_> = (0..LENGTH).map(|n| (n % 251) as u8).collect();
    let expected = data.clone();
    let threads = [
        block(move || {
            for piece in data.chunks(100_000) {
                socket.put_all(piece).unwrap();
                thread::yield_now();
            }
            Vec::new()
        }),
        block(move || {
            let mut came = Vec::new();
            loop {
                let piece = other.get_bytes(70_000).unwrap();
                if piece.is_empty() {
                    return came;
                }
                came.extend(piece);
            }
        }),
    ];
    while threads.iter().any(|thread| !thread.is_finished()) {
        for thread in &threads {
            send_signal(thread.task(), libc::SIGUSR1);
        }
        thread::sleep(Duration::from_micros(100));
    }
    let [_, came] = threads.map(Blocked::result);
    assert!(came == expected, "{} bytes came, or others", came.len());
    assert!(signals_that_came() > before, "no signal came through");
}

#[test]
fn a_limit_of_zero_never_waits() {
    let _test = begin();
    let script = Scripted::new([]);
    let raw_wait: Arc<dyn RawWait> = Arc::new(Plug(Arc::clone(&script)));
    let hole = BlackHole::new();
    for mut stuck in operations(&hole, ShutdownRegistry::global(), &raw_wait) {
        for _ in 0..10 {
            let (result, took) = timed(|| stuck.run(Duration::ZERO));
            match stuck.name {
                "connect" => {
                    result.unwrap();
                    assert!(!stuck.socket.is_open(), "nobody has answered");
                    let result = stuck.socket.wait_connect();
                    assert!(matches!(result, Err(Error::Timeout)), "{result:?}");
                }
                name => assert!(matches!(result, Err(Error::Timeout)), "{name}: {result:?}"),
            }
            assert!(took < PATIENCE, "{}: {took:?}", stuck.name);
        }
    }
    assert_eq!((script.made(), script.waits()), (0, 0));
}

#[test]
fn a_limit_of_zero_takes_what_is_there() {
    let _test = begin();
    let (mut listener, addr) = listener();
    listener.timeout(Duration::ZERO);
    let mut client = TcpStream::connect(addr).unwrap();
    let mut connection = eventually(
        || "the client that is there is accepted".to_owned(),
        || {
            listener.accept_new().map_err(|error| match error.is_timeout() {
                true => error.to_string(),
                false => panic!("{error}"),
            })
        },
    );
    connection.timeout(Duration::ZERO);
    client.write_all(b"abc\ndef").unwrap();
    connection.blocking().wait_read().unwrap();
    connection.timeout(Duration::ZERO);
    assert!(connection.wait_request().unwrap());
    assert_eq!(connection.get_line().unwrap().as_deref(), Some("abc"));
    let mut buf = [0; 8];
    assert_eq!(connection.get(&mut buf).unwrap(), 3);
    assert!(connection.is_timeout(), "three of eight, and no time for more");
    assert_eq!(&buf[..3], b"def");
    assert_eq!(connection.put(b"ghi").unwrap(), 3);
    client.read_exact(&mut buf[..3]).unwrap();
    assert_eq!(&buf[..3], b"ghi");
}

/// As good as for ever: the longest there is, the longest of the clock, and what an `int` of milliseconds can't hold.
fn ages() -> [Duration; 5] {
    [
        Duration::MAX,
        Duration::from_secs(u64::MAX),
        Duration::from_secs(i64::MAX as u64),
        Duration::from_millis(1 << 32),
        Duration::from_millis(1 << 31),
    ]
}

#[test]
fn limits_of_ages_neither_end_nor_spin_and_a_close_ends_them() {
    let _test = begin();
    let hole = BlackHole::new();
    for limit in ages() {
        let (handles, threads): (Vec<_>, Vec<_>) = all_operations(&hole)
            .into_iter()
            .map(|stuck| ((stuck.name, stuck.handle.clone()), stuck.block(limit)))
            .unzip();
        let threads: Vec<_> = threads.into_iter().map(Blocked::until_blocked).collect();
        let used: Vec<_> = threads.iter().map(|thread| cpu_time(thread.task())).collect();
        thread::sleep(STILL_BLOCKS);
        for (((name, handle), thread), used) in handles.into_iter().zip(threads).zip(used) {
            assert!(!thread.is_finished(), "{name} ended before {limit:?}");
            let used = cpu_time(thread.task()) - used;
            assert!(
                used < STILL_BLOCKS / 10,
                "{name}, limit {limit:?}: {used:?} of processor time"
            );
            handle.close();
            let result = thread.result();
            assert!(matches!(result, Err(Error::Closed)), "{name}: {result:?}");
        }
    }
}

#[test]
fn limits_of_ages_let_work_through() {
    let _test = begin();
    for limit in ages() {
        let (mut listener, addr) = listener();
        listener.timeout(limit);
        let listener = Arc::new(listener);
        // The second waits behind the first.
        let accepting = [(); 2].map(|()| {
            let listener = Arc::clone(&listener);
            block(move || listener.accept_new()).until_blocked()
        });
        let clients = [(); 2].map(|()| TcpStream::connect(addr).unwrap());
        let [mut connection, _other] = accepting.map(|thread| thread.result().unwrap());
        connection.timeout(limit);
        let peer = connection.peer_addr().unwrap();
        let mut client = clients
            .iter()
            .find(|client| client.local_addr().unwrap() == peer)
            .unwrap();
        let reading = block(move || connection.get_bytes(3)).until_blocked();
        client.write_all(b"abc").unwrap();
        assert_eq!(reading.result().unwrap(), b"abc");

        let registry = ShutdownRegistry::new();
        let other = registry.clone();
        let waiting = block(move || other.wait_stop(limit)).until_blocked();
        registry.stop_accepting();
        assert!(waiting.result(), "{limit:?}");
    }
}
