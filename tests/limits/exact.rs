//! Limits hold to a part of a millisecond, where the system can do that.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use wakesock::{Error, MioWait, RawWait, ShutdownRegistry, SocketEventQueue, SocketWaitEvent, ThreadWait, WaitEvents};

use crate::support::operations::operations;
use crate::support::{BlackHole, begin, in_a_thread, listener, pair, slowness, timed};

/// How much later than its limit `wait` is at best. Whatever else the machine does, it is that good now and then.
fn latest_at_best(limit: Duration, mut wait: impl FnMut(Duration) -> Duration) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..300 {
        let took = wait(limit);
        assert!(took >= limit, "a limit of {limit:?} was over after {took:?}");
        best = best.min(took - limit);
        if best < TOLERANCE / 2 {
            break;
        }
    }
    best
}

/// Less than any rounding up of these limits adds.
const TOLERANCE: Duration = Duration::from_micros(400);
const LIMITS: [Duration; 4] = [
    Duration::from_micros(30),
    Duration::from_micros(500),
    Duration::from_micros(1_100),
    Duration::from_micros(3_300),
];

fn assert_exact(name: &str, mut wait: impl FnMut(Duration) -> Duration) {
    for limit in LIMITS {
        let late = latest_at_best(limit, &mut wait);
        let park = latest_at_best(limit, |limit| timed(|| park(limit)).1);
        let tolerated = TOLERANCE * slowness() + park;
        assert!(
            late < tolerated,
            "{name}: {late:?} later than {limit:?} at best; park_timeout is {park:?} late"
        );
    }
}

/// What limits are compared with: it may return early.
fn park(limit: Duration) {
    let until = Instant::now() + limit;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left);
    }
}

#[test]
fn every_operation_ends_within_a_part_of_a_millisecond() {
    let _test = begin();
    let raw_waits: [Arc<dyn RawWait>; 2] = [Arc::new(MioWait::default()), Arc::new(ThreadWait::default())];
    let hole = BlackHole::new();
    for raw_wait in raw_waits {
        let all = operations(&hole, ShutdownRegistry::global(), &raw_wait);
        // In a thread of its own, which keeps descriptors.
        in_a_thread(move || {
            for mut stuck in all {
                assert_exact(stuck.name, |limit| stuck.times_out(limit));
            }
        });
    }
}

#[test]
fn so_do_queues_wait_events_registries_and_finish() {
    let _test = begin();
    let queue: SocketEventQueue = SocketEventQueue::new().unwrap();
    assert_exact("queue", |limit| {
        let (events, took) = timed(|| queue.wait(limit).unwrap());
        assert!(events.is_empty());
        took
    });
    let (listener, _) = listener();
    in_a_thread(move || {
        let mut events = SocketWaitEvent::new();
        events.add(&listener, WaitEvents::READ);
        assert_exact("wait event", |limit| {
            let (count, took) = timed(|| events.wait(limit).unwrap());
            assert_eq!(count, 0);
            took
        });
    });
    let registry = ShutdownRegistry::new();
    assert_exact("wait_stop", |limit| timed(|| registry.wait_stop(limit)).1);
    assert_exact("finish", |limit| {
        let (mut socket, _peer) = pair();
        timed(|| socket.finish(limit).unwrap_err()).1
    });
}

#[test]
fn a_deadline_of_a_handle_is_as_exact() {
    let _test = begin();
    let (mut socket, _peer) = pair();
    let handle = socket.handle();
    assert_exact("read_deadline", |limit| {
        let begin = Instant::now();
        handle.read_deadline(begin + limit);
        let ended = socket.get_byte();
        assert!(matches!(ended, Err(Error::Timeout)));
        begin.elapsed()
    });
}

#[test]
fn what_comes_within_a_part_of_a_millisecond_is_not_missed() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    for number in 0..300_u32 {
        socket.timeout(Duration::from_micros(u64::from(number % 7) * 300 + 50));
        let sending = thread::scope(|scope| {
            scope.spawn(|| std::io::Write::write_all(&mut peer, &number.to_be_bytes()).unwrap());
            loop {
                match socket.get_all_bytes(4) {
                    Ok(bytes) => return bytes,
                    Err(Error::Timeout) => socket.clear_error(),
                    Err(error) => panic!("{error}"),
                }
            }
        });
        assert_eq!(sending, number.to_be_bytes());
    }
}
