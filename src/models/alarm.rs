//! `opening/alarm.rs` and `queue/alarms.rs`: a moment at which queues report a socket. The queues are whole, and wait in real
//! polls.
//!
//! No time passes here: a moment is over, or never will be.

use std::time::Instant;

use super::*;
use crate::queue::{SocketEvent, SocketEventQueue, Wanted};

type Queue = SocketEventQueue<()>;

fn over() -> Option<Instant> {
    Some(Instant::now())
}

fn far_off() -> Option<Instant> {
    Instant::now().checked_add(Duration::from_secs(100_000))
}

fn queue(registry: &ShutdownRegistry) -> Queue {
    Queue::in_registry(registry).unwrap()
}

/// Has `queue` report when there is something to read.
fn put(queue: &Queue, opening: &Arc<Opening>) {
    let put = queue.put(opening, |_, _| Wanted {
        subscribed: WaitEvents::READ,
        disabled: WaitEvents::empty(),
        token: (),
    });
    put.unwrap();
}

/// A queue with one socket, whose alarm is set.
fn queue_with_one(alarm: Option<Instant>) -> (Queue, Arc<Opening>) {
    let registry = ShutdownRegistry::new();
    let (queue, (opening, _)) = (queue(&registry), opened(&registry));
    opening.set_alarm(alarm);
    put(&queue, &opening);
    (queue, opening)
}

fn wait(queue: &Queue, limit: Option<Duration>) -> Vec<SocketEvent<()>> {
    let mut events = Vec::new();
    queue.wait_alone_into(&mut events, limit).unwrap();
    events
}

/// Waits without a limit. What comes has to be an event of one socket, which is readable.
fn wait_until_readable(queue: &Queue) {
    let events = wait(queue, None);
    assert!(
        matches!(&events[..], [event] if event.events() == WaitEvents::READ),
        "{events:?}"
    );
}

fn is_readable(queue: &Queue) -> bool {
    !wait(queue, Some(Duration::ZERO)).is_empty()
}

fn setter(opening: &Arc<Opening>, alarm: Option<Instant>) -> JoinHandle<()> {
    let opening = Arc::clone(opening);
    thread::spawn(move || opening.set_alarm(alarm))
}

/// A wait without a limit is about to block, or blocks for too long a time, when an alarm is set that is over.
// broken: dropped src/queue/alarms.rs fn change: self.any.store(!in_order.is_empty(), SeqCst)
// broken: dropped src/queue/control.rs self.changed.store(true, SeqCst)
// broken: relaxed src/queue/control.rs self.polling.store(true, SeqCst)
#[test]
fn an_alarm_that_is_set_beside_a_wait_ends_it() {
    for before in [None, far_off()] {
        check(ALL, move || {
            let (queue, opening) = queue_with_one(before);
            let setter = setter(&opening, over());
            wait_until_readable(&queue);
            setter.join().unwrap();
            opening.close();
        });
    }
}

/// An alarm is put forward while a queue begins to follow the socket, which hears of both moments, the later one last.
// broken: unlocked src/opening/alarm.rs fn tell_alarm: self.alarm.0.lock()
#[test]
fn a_queue_that_begins_to_follow_hears_of_the_last_alarm() {
    check(ALL, || {
        let registry = ShutdownRegistry::new();
        let (queue, (opening, _)) = (queue(&registry), opened(&registry));
        opening.set_alarm(far_off());
        let setter = setter(&opening, over());
        put(&queue, &opening);
        wait_until_readable(&queue);
        setter.join().unwrap();
        opening.close();
    });
}

/// An alarm is ended while it rings.
// broken: unlocked src/opening/alarm.rs fn ring: self.alarm.0.lock()
#[test]
fn an_alarm_that_is_ended_rings_no_more() {
    check(ALL, || {
        let (queue, opening) = queue_with_one(over());
        let setter = setter(&opening, None);
        is_readable(&queue);
        setter.join().unwrap();
        assert!(!is_readable(&queue), "it rings for ever");
        opening.close();
    });
}

/// An alarm is replaced by another one that is over, too, while it rings.
// broken: dropped src/queue/alarms.rs fn change: self.any.store(!in_order.is_empty(), SeqCst)
#[test]
fn an_alarm_that_is_set_while_another_one_rings_rings() {
    check(ALL, || {
        let (queue, opening) = queue_with_one(over());
        let first = over();
        let next = first.and_then(|at| at.checked_add(Duration::from_nanos(1)));
        let setter = setter(&opening, next);
        is_readable(&queue);
        setter.join().unwrap();
        wait_until_readable(&queue);
        opening.close();
    });
}

/// An alarm is set while another thread ends the one before, as the handshake of TLS does.
// broken: unlocked src/opening/alarm.rs fn change_alarm: self.alarm.0.lock()
#[test]
fn an_alarm_that_is_set_beside_the_end_of_another_one_rings() {
    check(ALL, || {
        let before = far_off();
        let (queue, opening) = queue_with_one(before);
        let other = Arc::clone(&opening);
        let ending = thread::spawn(move || before.into_iter().for_each(|at| other.end_alarm(at)));
        opening.set_alarm(over());
        wait_until_readable(&queue);
        ending.join().unwrap();
        opening.close();
    });
}

/// Each of two queues hears of an alarm, though the other one makes the socket readable first.
// broken: dropped src/queue/control.rs self.changed.store(true, SeqCst)
#[test]
fn an_alarm_ends_the_waits_of_two_queues() {
    check(3, || {
        let (queue, opening) = queue_with_one(None);
        let other = self::queue(&ShutdownRegistry::new());
        put(&other, &opening);
        let waiting = thread::spawn(move || wait_until_readable(&other));
        let setter = setter(&opening, over());
        wait_until_readable(&queue);
        join([waiting, setter]);
        opening.close();
    });
}

/// A queue is dropped while an alarm is set: it keeps no alarm, and nothing keeps the socket.
// broken: unlocked src/queue/subscription.rs fn alarm_changed: self.watched.lock()
#[test]
fn nothing_is_left_of_an_alarm_that_is_set_while_its_queue_goes() {
    check(ALL, || {
        let (queue, opening) = queue_with_one(None);
        let setter = setter(&opening, far_off());
        drop(queue);
        setter.join().unwrap();
        opening.close();
        assert_eq!(Arc::strong_count(&opening), 1, "an alarm is left");
    });
}

/// A handler ends the socket while an alarm is set: a wait tells.
// broken: dropped src/queue/control.rs self.changed.store(true, SeqCst)
#[test]
fn an_end_beside_an_alarm_is_told() {
    check(2, || {
        let (queue, opening) = queue_with_one(None);
        let setter = setter(&opening, over());
        let ended = Arc::clone(&opening);
        let handler = handler(move || ended.end(EndedBy::Owner));
        while !wait(&queue, None).iter().any(SocketEvent::is_closed) {
            // It is reported as readable until then.
            yield_now();
        }
        join([setter, handler]);
        opening.close();
    });
}
