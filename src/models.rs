//! Models: what closes, wakes and waits, run in all orders that its threads may come in and with all values that its
//! loads may give, by [loom](https://docs.rs/loom).
//!
//! `RUSTFLAGS="--cfg wakesock_loom" cargo test --lib --release models` runs them; `.ci/models` also sees each of them
//! fail when one ordering that it hangs on is weakened. They run the very files that everybody runs. What those get from
//! `crate::sync` is loom's then, and what they get from `crate::sys` is told of: see there.
//!
//! A signal handler is a thread here, as a thread that it has interrupted is to it one that doesn't go on. It may come at
//! any point, and a model fails where it takes a lock, waits for another thread or drops a waiter.
//!
//! What no model covers:
//!
//! - More threads, sockets or rounds than it has, and more preemptions than it says: see `check`.
//! - Time: limits are never over.
//! - The system: polls, and that the waking of one is not lost. `tests/` has that.
//! - What orders memory in the standard library's `Arc` and `OnceLock` and in parking_lot: they are taken as right.
//! - That `compare_exchange_weak` may fail for no reason, and loads of what was stored more than seven stores ago.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::Ordering::{self, Acquire, Relaxed, Release, SeqCst};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use std::{array, io};

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::thread::{self, JoinHandle};

use crate::deadline::Deadline;
use crate::error::Error;
use crate::events::WaitEvents;
use crate::opening::{Direction, InUse, Opening, WaitTurn};
use crate::raw_wait::{RawWait, WaitSource, Waiter};
use crate::registry::{EndedBy, ShutdownRegistry};
use crate::sync::model::{Wakeup, as_handler, assert_no_handler, print_accesses};
use crate::sync::{AtomicUsize, yield_now};
use crate::sys::RawSocket;
use crate::sys::model::{is_closed, use_number, use_socket};
use crate::wake::{Inbox, Link, Linked, List, Wake};

/// In all orders.
pub(crate) const ALL: Option<usize> = None;

/// Runs `model` in all orders or, since there are too many with three threads, in those where a thread that could have
/// gone on has to stop for another no more than so many times.
pub(crate) fn check(preemptions: impl Into<Option<usize>>, model: impl Fn() + Send + Sync + 'static) {
    let executions = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&executions);
    let mut builder = Builder::new();
    builder.preemption_bound = preemptions.into();
    builder.max_branches = 10_000;
    builder.check(move || {
        count.fetch_add(1, Relaxed);
        model();
    });
    println!("{} executions", executions.load(Relaxed));
    print_accesses();
}

/// A thread that is a signal handler.
pub(crate) fn handler<T: 'static>(work: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
    thread::spawn(|| as_handler(work))
}

pub(crate) fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// What `crate::sync` makes of loom.
mod litmus {
    use super::*;

    /// Each thread writes one variable and reads the other's: whether there is an execution in which neither sees the
    /// other.
    fn may_miss_each_other(store: Ordering, load: Ordering) -> bool {
        let missed = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let result = Arc::clone(&missed);
        check(ALL, move || {
            let words = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
            let other = Arc::clone(&words);
            let thread = thread::spawn(move || {
                other[1].store(1, store);
                other[0].load(load)
            });
            words[0].store(1, SeqCst);
            let seen = words[1].load(SeqCst);
            if thread.join().unwrap() + seen == 0 {
                missed.store(true, Relaxed);
            }
        });
        result.load(Relaxed)
    }

    #[test]
    fn sequentially_consistent_accesses_have_one_order() {
        assert!(!may_miss_each_other(SeqCst, SeqCst));
        assert!(may_miss_each_other(Release, SeqCst));
        assert!(may_miss_each_other(SeqCst, Acquire));
    }

    /// Both threads store the first word, and the other word is a flag that orders nothing.
    #[test]
    #[should_panic(expected = "Causality violation")]
    fn sequentially_consistent_accesses_order_nothing_beside_them() {
        check(ALL, || {
            let words = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
            let value = Arc::new(Probe::new());
            let (words_too, value_too) = (Arc::clone(&words), Arc::clone(&value));
            let thread = thread::spawn(move || {
                value_too.write();
                words_too[0].store(1, SeqCst);
                words_too[1].store(1, Relaxed);
            });
            words[0].store(2, SeqCst);
            if words[1].load(Relaxed) == 1 {
                value.read();
            }
            thread.join().unwrap();
        });
    }
}

/// Memory that nobody may read while another thread writes it, or gives it back.
#[derive(Debug)]
struct Probe(UnsafeCell<()>);

// SAFETY: there is nothing in it.
unsafe impl Send for Probe {}
// SAFETY: as above.
unsafe impl Sync for Probe {}

impl Probe {
    fn new() -> Probe {
        Probe(UnsafeCell::new(()))
    }

    fn read(&self) {
        self.0.with(|_| ());
    }

    fn write(&self) {
        self.0.with_mut(|_| ());
    }
}

/// `wake/list.rs`.
mod list {
    use super::*;

    /// A list of numbers, each the name of a probe: what is done to the number is done to the probe.
    struct Probed {
        list: List<usize>,
        probes: [Probe; 4],
    }

    impl Probed {
        fn new() -> Arc<Probed> {
            Arc::new(Probed {
                list: List::new(),
                probes: array::from_fn(|_| Probe::new()),
            })
        }

        /// How many values there were.
        fn walk(&self) -> usize {
            let mut visited = 0;
            self.list.for_each(|number| {
                self.probes[*number].read();
                visited += 1;
            });
            visited
        }

        fn remove(&self, key: crate::wake::Key<usize>) {
            let number = self.list.remove(key);
            self.probes[number].write();
        }
    }

    /// A walk beside removals, the use again of a slot, and the giving back of the nodes when the last value is gone.
    #[test]
    fn no_walk_uses_what_was_removed() {
        check(6, || {
            let probed = Probed::new();
            let keys = [0, 1].map(|number| probed.list.insert(number));
            let walker = Arc::clone(&probed);
            let walker = handler(move || walker.walk());
            let [first, second] = keys;
            probed.remove(first);
            let third = probed.list.insert(2);
            probed.remove(second);
            probed.remove(third);
            let last = probed.list.insert(3);
            walker.join().unwrap();
            assert_eq!(probed.walk(), 1);
            probed.remove(last);
        });
    }

    /// The same with two who insert and remove, each with a value of his own, and a walk.
    #[test]
    fn threads_that_change_the_list_at_once_leave_each_others_values() {
        check(4, || {
            let probed = Probed::new();
            let threads = [0, 1].map(|number| {
                let probed = Arc::clone(&probed);
                thread::spawn(move || {
                    let key = probed.list.insert(number);
                    assert!(probed.walk() >= 1);
                    probed.remove(key);
                })
            });
            probed.walk();
            join(threads);
            assert_eq!(probed.walk(), 0);
        });
    }

    /// Whoever puts a value in and then looks, and whoever writes and then walks: one sees the other. Both where a node
    /// is linked and where one is used again.
    #[test]
    fn who_inserts_and_then_looks_or_writes_and_then_walks_sees_the_other() {
        for reused in [false, true] {
            check(ALL, move || {
                let probed = Probed::new();
                let ended = Arc::new(AtomicUsize::new(0));
                if reused {
                    let key = probed.list.insert(0);
                    probed.remove(key);
                }
                let (walker, end) = (Arc::clone(&probed), Arc::clone(&ended));
                let handler = handler(move || {
                    end.store(1, SeqCst);
                    walker.walk()
                });
                let _key = probed.list.insert(1);
                let seen = ended.load(SeqCst);
                let visited = handler.join().unwrap();
                assert_ne!((seen, visited), (0, 0), "neither has seen the other");
            });
        }
    }
}

/// `wake/inbox.rs`.
mod inbox {
    use super::*;

    struct Thing {
        news: AtomicUsize,
        seen: std::sync::atomic::AtomicUsize,
        link: Link<Thing>,
    }

    impl Thing {
        fn new() -> Arc<Thing> {
            Arc::new(Thing {
                news: AtomicUsize::new(0),
                seen: Default::default(),
                link: Link::new(),
            })
        }
    }

    impl Linked for Thing {
        fn link(&self) -> &Link<Thing> {
            &self.link
        }
    }

    fn look_at_what_is_in(inbox: &Inbox<Thing>) {
        for thing in inbox.take() {
            thing.link.unmark();
            thing.seen.store(thing.news.load(SeqCst), Relaxed);
        }
    }

    /// Two handlers, one of which speaks of both things, and one who looks while they do and once more when they have.
    #[test]
    fn no_news_are_lost_and_no_reference() {
        check(ALL, || {
            let inbox = Arc::new(Inbox::new());
            let things = [Thing::new(), Thing::new()];
            let handlers = [1, 2].map(|count| {
                let (inbox, things) = (Arc::clone(&inbox), things.clone());
                handler(move || {
                    for thing in &things[..count] {
                        thing.news.fetch_add(1, SeqCst);
                        inbox.put(thing);
                    }
                })
            });
            look_at_what_is_in(&inbox);
            join(handlers);
            look_at_what_is_in(&inbox);
            for (thing, news) in things.iter().zip([2, 1]) {
                assert_eq!(thing.seen.load(Relaxed), news, "news were not seen");
                assert_eq!(Arc::strong_count(thing), 1);
            }
        });
    }

    /// A thing that is as new as its news, and the inbox's to let go of.
    #[test]
    fn what_is_taken_is_seen_whole() {
        check(ALL, || {
            let inbox = Arc::new(Inbox::new());
            let putter = Arc::clone(&inbox);
            let handler = handler(move || {
                let thing = Thing::new();
                thing.news.store(1, Relaxed);
                putter.put(&thing);
                drop(putter);
                thing
            });
            let seen: Vec<usize> = inbox.take().map(|thing| thing.news.load(Relaxed)).collect();
            assert!(seen.iter().all(|news| *news == 1), "taken, and not seen");
            let thing = handler.join().unwrap();
            assert_eq!(seen.len() + Arc::strong_count(&thing), 2);
            drop(inbox);
            assert_eq!(Arc::strong_count(&thing), 1);
        });
    }
}

fn descriptor() -> OwnedFd {
    static SOCKET: LazyLock<UnixDatagram> = LazyLock::new(|| UnixDatagram::unbound().unwrap());
    SOCKET.try_clone().unwrap().into()
}

/// Opens a connection, as `connect` does.
fn open(opening: &Arc<Opening>, registry: &ShutdownRegistry) -> Result<(), Error> {
    let mut in_use = opening.enter_opening(false)?;
    let membership = in_use.join(registry, opening)?;
    in_use.install(descriptor());
    in_use.opened(membership)
}

/// An open connection and the number of its descriptor.
fn opened(registry: &ShutdownRegistry) -> (Arc<Opening>, RawSocket) {
    let opening = Opening::new();
    open(&opening, registry).unwrap();
    let number = opening.raw_socket();
    (opening, number)
}

/// Uses the descriptor at the beginning and at the end of an operation.
fn use_inside(opening: &Opening) {
    if let Ok(in_use) = opening.enter() {
        use_socket(in_use.socket());
        yield_now();
        use_socket(in_use.socket());
    }
}

/// `opening/`: the descriptor's life.
mod descriptor {
    use super::*;

    /// A thread inside, a handler that ends the socket, and its owner, who closes it.
    #[test]
    fn it_is_closed_once_and_never_used_after() {
        check(4, || {
            let registry = ShutdownRegistry::new();
            let (opening, number) = opened(&registry);
            let (user, ended) = (Arc::clone(&opening), Arc::clone(&opening));
            let user = thread::spawn(move || use_inside(&user));
            let handler = handler(move || ended.end(EndedBy::Owner));
            opening.close();
            assert!(is_closed(number), "close has returned before the descriptor was closed");
            join([user, handler]);
            assert_eq!(registry.len(), 0);
        });
    }

    /// Two threads inside and a handler: whoever is the last to leave closes it.
    #[test]
    fn the_last_to_leave_closes_it() {
        check(5, || {
            let registry = ShutdownRegistry::new();
            let (opening, number) = opened(&registry);
            let users = [(); 2].map(|()| {
                let opening = Arc::clone(&opening);
                thread::spawn(move || use_inside(&opening))
            });
            opening.end(EndedBy::Owner);
            join(users);
            assert!(is_closed(number));
            opening.close();
        });
    }

    /// An owner who lends the descriptor while a handler ends the socket: the number stays his until he closes.
    #[test]
    fn a_lent_number_is_kept() {
        check(ALL, || {
            let registry = ShutdownRegistry::new();
            let (opening, number) = opened(&registry);
            let ended = Arc::clone(&opening);
            let handler = handler(move || ended.end(EndedBy::Owner));
            let lent = opening.lend();
            let is_lent = lent.is_some();
            if let Some(lent) = lent {
                use_number(lent);
                yield_now();
                use_number(lent);
            }
            handler.join().unwrap();
            assert_eq!(is_closed(number), !is_lent);
            opening.close();
            opening.close_number();
            assert!(is_closed(number));
        });
    }

    /// The descriptor is given away while handlers abort and end the socket.
    #[test]
    fn it_is_given_away_whole_or_not_at_all() {
        check(5, || {
            let registry = ShutdownRegistry::new();
            let (opening, number) = opened(&registry);
            let (aborted, ended) = (Arc::clone(&opening), Arc::clone(&opening));
            let handlers = [
                handler(move || aborted.abort()),
                handler(move || ended.end(EndedBy::Owner)),
            ];
            let given = opening.take();
            join(handlers);
            assert!(is_closed(number));
            drop(given);
            opening.close();
        });
    }
}

/// Blocks in nothing of the system's.
#[derive(Debug)]
struct ModelWait;

struct ModelWaiter {
    socket: RawSocket,
    waker: Arc<ModelWaker>,
}

struct ModelWaker(Wakeup);

impl RawWait for ModelWait {
    fn waiter(&self, socket: WaitSource<'_>, _events: WaitEvents) -> io::Result<Box<dyn Waiter>> {
        use_socket(socket.socket());
        Ok(Box::new(ModelWaiter {
            socket: socket.as_fd().as_raw_fd(),
            waker: Arc::new(ModelWaker(Wakeup::new())),
        }))
    }
}

impl Waiter for ModelWaiter {
    fn wait(&mut self, _events: WaitEvents, _timeout: Option<Duration>) -> io::Result<WaitEvents> {
        self.waker.0.wait();
        Ok(WaitEvents::empty())
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.waker.clone()
    }
}

impl Drop for ModelWaiter {
    /// It was promised that its descriptor is open.
    fn drop(&mut self) {
        if !thread::panicking() {
            assert_no_handler();
            assert!(!is_closed(self.socket), "a waiter has outlived its descriptor");
        }
    }
}

impl Wake for ModelWaker {
    fn wake(&self) {
        self.0.wake();
    }
}

/// Reads from a connection whose peer is silent, until something ends that.
fn block(in_use: &InUse<'_>) -> Error {
    let mut deadline = Deadline::after(None);
    loop {
        use_socket(in_use.socket());
        let mut turn = WaitTurn::take(in_use, Direction::Read, &mut deadline).unwrap().unwrap();
        if let Err(error) = turn.wait(&ModelWait, WaitEvents::READ, &mut deadline, || false) {
            return error;
        }
    }
}

/// `opening/turn.rs`: blocking and being woken. loom calls it a deadlock if a wake is lost.
mod wait {
    use super::*;

    /// A first wait, which makes its waiter, and a handler that aborts.
    #[test]
    fn no_abort_is_lost() {
        check(ALL, || {
            let registry = ShutdownRegistry::new();
            let (opening, number) = opened(&registry);
            let aborted = Arc::clone(&opening);
            let handler = handler(move || aborted.abort());
            if let Ok(in_use) = opening.enter() {
                assert!(matches!(block(&in_use), Error::Aborted));
            }
            handler.join().unwrap();
            opening.close();
            assert!(is_closed(number));
        });
    }

    /// One blocks, a handler ends the socket, and its owner closes it. The handler may be the last to leave, and keeps the
    /// number for the waiter then.
    #[test]
    fn no_end_is_lost() {
        check(4, || {
            let registry = ShutdownRegistry::new();
            let (opening, number) = opened(&registry);
            let (blocked, ended) = (Arc::clone(&opening), Arc::clone(&opening));
            let blocked = thread::spawn(move || {
                if let Ok(in_use) = blocked.enter() {
                    assert!(matches!(block(&in_use), Error::Closed | Error::Shutdown));
                }
            });
            let handler = handler(move || ended.end(EndedBy::Registry));
            opening.close();
            assert!(is_closed(number));
            join([blocked, handler]);
        });
    }

    /// Two that take turns at one waiter: the end reaches the one behind the other, too.
    #[test]
    fn an_end_reaches_those_who_queue() {
        check(4, || {
            let registry = ShutdownRegistry::new();
            let (opening, number) = opened(&registry);
            let blocked = [(); 2].map(|()| {
                let opening = Arc::clone(&opening);
                thread::spawn(move || {
                    if let Ok(in_use) = opening.enter() {
                        assert!(matches!(block(&in_use), Error::Closed));
                    }
                })
            });
            opening.close();
            assert!(is_closed(number));
            join(blocked);
        });
    }
}

/// `registry/`, and joining it while opening.
mod registry {
    use super::*;

    /// A socket is opened while a handler shuts the registry down.
    #[test]
    fn what_is_opened_beside_a_shutdown_is_ended() {
        check(ALL, || {
            let registry = ShutdownRegistry::new();
            let other = registry.clone();
            let handler = handler(move || other.shutdown());
            let opening = Opening::new();
            let result = open(&opening, &registry);
            handler.join().unwrap();
            assert!(matches!(result, Ok(()) | Err(Error::Shutdown)), "{result:?}");
            assert!(opening.is_closed(), "it was not ended");
            opening.close();
            assert_eq!(registry.len(), 0);
        });
    }

    /// One is closed and another opened in its place in the list, while a handler shuts the registry down.
    #[test]
    fn what_is_opened_in_anothers_place_is_ended() {
        check(6, || {
            let registry = ShutdownRegistry::new();
            let (first, number) = opened(&registry);
            let other = registry.clone();
            let handler = handler(move || other.shutdown());
            first.close();
            assert!(is_closed(number));
            let second = Opening::new();
            let _ = open(&second, &registry);
            handler.join().unwrap();
            assert!(second.is_closed(), "it was not ended");
            second.close();
            assert_eq!(registry.len(), 0);
        });
    }
}
