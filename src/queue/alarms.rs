//! The moments at which a queue reports sockets though nothing has come: see `opening/alarm.rs`.
//!
//! They are kept in order. So a wait looks at the first of them only, however many there are, and takes no lock where there are
//! none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

use crate::opening::{MAY_HAVE_ALARMS, SocketId};
use crate::sync::{AtomicBool, Mutex};

/// The alarms of a queue's subscriptions, `S`.
pub(super) struct Alarms<S> {
    in_order: Mutex<BTreeMap<(Instant, SocketId), Arc<S>>>,
    /// Whether there are any. Changed with the lock.
    any: AtomicBool,
}

impl<S> Alarms<S> {
    pub(super) fn new() -> Alarms<S> {
        Alarms {
            in_order: Mutex::new(BTreeMap::new()),
            any: AtomicBool::new(false),
        }
    }

    /// Sets the alarm of a subscription, which was `before`. True if it is the first one now: a wait has to end by then.
    pub(super) fn change(
        &self,
        socket: SocketId,
        before: Option<Instant>,
        now: Option<Instant>,
        subscription: &Arc<S>,
    ) -> bool {
        let mut in_order = self.in_order.lock();
        if let Some(at) = before {
            in_order.remove(&(at, socket));
        }
        if let Some(at) = now {
            in_order.insert((at, socket), Arc::clone(subscription));
        }
        self.any.store(!in_order.is_empty(), SeqCst);
        let first = in_order.first_key_value();
        now.is_some() && first.is_some_and(|((_, first), _)| *first == socket)
    }

    /// Forgets the alarm of a subscription, which was `before`.
    pub(super) fn remove(&self, socket: SocketId, before: Instant) {
        let mut in_order = self.in_order.lock();
        in_order.remove(&(before, socket));
        self.any.store(!in_order.is_empty(), SeqCst);
    }

    /// Calls `ring` with each subscription whose moment has come, and forgets it. Returns the next moment.
    #[inline]
    pub(super) fn take_due(&self, ring: impl FnMut(Arc<S>)) -> Option<Instant> {
        match MAY_HAVE_ALARMS && self.any.load(SeqCst) {
            false => None,
            true => self.take_due_of_some(ring),
        }
    }

    #[cold]
    fn take_due_of_some(&self, mut ring: impl FnMut(Arc<S>)) -> Option<Instant> {
        let now = Instant::now();
        loop {
            let mut in_order = self.in_order.lock();
            let first = in_order.first_entry()?;
            let (at, _) = *first.key();
            if at > now {
                return Some(at);
            }
            let subscription = first.remove();
            self.any.store(!in_order.is_empty(), SeqCst);
            drop(in_order);
            // Without the lock: it takes that of the alarm, with which this one is taken.
            ring(subscription);
        }
    }
}

#[cfg(all(test, not(wakesock_loom)))]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::events::WaitEvents;
    use crate::queue::{SocketEvent, SocketEventQueue};
    use crate::socket::TcpSocket;

    const MOMENT: Duration = Duration::from_millis(20);

    fn connected() -> (TcpSocket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener.accept().unwrap().0.into(), far)
    }

    fn queue_of<const N: usize>(sockets: [&TcpSocket; N]) -> SocketEventQueue {
        let queue = SocketEventQueue::new().unwrap();
        for socket in sockets {
            queue.subscribe_read(socket).unwrap();
        }
        queue
    }

    /// The sockets that a wait reports, which are readable.
    fn reported(queue: &SocketEventQueue, limit: impl Into<Option<Duration>>) -> Vec<SocketId> {
        let events = queue.wait(limit).unwrap();
        let readable = |event: &SocketEvent<SocketId>| event.events() == WaitEvents::READ;
        assert!(events.iter().all(readable), "{events:?}");
        events.iter().map(SocketEvent::socket_id).collect()
    }

    #[test]
    fn each_is_reported_at_its_moment_and_from_then_on() {
        let [(late, _far), (early, _other_far)] = [connected(), connected()];
        let begin = Instant::now();
        // One before it is subscribed, one after that.
        late.opening().set_alarm(Some(begin + 3 * MOMENT));
        let queue = queue_of([&late, &early]);
        early.opening().set_alarm(Some(begin + MOMENT));
        assert!(reported(&queue, None).contains(&early.id()));
        assert!(begin.elapsed() >= MOMENT);
        while !reported(&queue, None).contains(&late.id()) {}
        assert!(begin.elapsed() >= 3 * MOMENT);
        for limit in [None, Some(Duration::ZERO)] {
            assert_eq!(reported(&queue, limit).len(), 2);
        }
    }

    #[test]
    fn one_that_is_set_earlier_ends_a_wait_that_is_blocked() {
        let (socket, _far) = connected();
        socket
            .opening()
            .set_alarm(Some(Instant::now() + Duration::from_secs(1000)));
        let queue = queue_of([&socket]);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| reported(&queue, None));
            socket.opening().set_alarm(Some(Instant::now() + MOMENT));
            assert_eq!(waiting.join().unwrap(), [socket.id()]);
        });
    }

    #[test]
    fn one_that_is_ended_put_off_or_of_a_socket_that_is_removed_is_not_reported() {
        let [(ended, _a), (put_off, _b), (removed, _c), (other, _d)] =
            [connected(), connected(), connected(), connected()];
        let at = Instant::now() + MOMENT;
        let queue = queue_of([&ended, &put_off, &removed]);
        for socket in [&ended, &put_off, &removed, &other] {
            socket.opening().set_alarm(Some(at));
        }
        // Be its moment over by now or not.
        ended.opening().end_alarm(at);
        put_off.opening().set_alarm(Some(at + Duration::from_secs(1000)));
        queue.remove(&removed).unwrap();
        assert_eq!(reported(&queue, 2 * MOMENT), []);
        put_off.opening().end_alarm(at);
        removed.opening().set_alarm(Some(at));
        assert_eq!(reported(&queue, Duration::ZERO), []);
        // There is no other left.
        put_off.opening().set_alarm(None);
        assert!(!queue.control.alarms().any.load(SeqCst));
        assert!(queue.control.alarms().in_order.lock().is_empty());
    }

    #[test]
    fn one_that_is_over_is_reported_once_it_is_wanted() {
        let (socket, _far) = connected();
        let queue = queue_of([&socket]);
        queue.disable_read(&socket).unwrap();
        socket.opening().set_alarm(Some(Instant::now()));
        assert_eq!(reported(&queue, MOMENT), []);
        queue.subscribe_read(&socket).unwrap();
        assert_eq!(reported(&queue, None), [socket.id()]);
        // What it was set for is over.
        socket.opening().set_alarm(None);
        assert_eq!(reported(&queue, Duration::ZERO), []);
    }
}
