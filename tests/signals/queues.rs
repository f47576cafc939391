//! Raw handlers that interrupt anything at all leave queues sane.

// Signals are Unix's.
#![allow(unsafe_code, reason = "signal handlers")]

use std::collections::HashSet;
use std::io;
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use wakesock::{Error, QueueHandle, ShutdownRegistry, SocketEventQueue, SocketHandle, SocketId, TcpSocket};

use crate::support::handlers::{Deed, leaves_errno};
use crate::support::queues::{READ, assert_only, assert_silent, queue};
use crate::support::{Blocked, Handler, PATIENCE, begin, block, ends_at_limit, pair, send_signal, thread_id, timed};

/// How many sockets, and how many queues, the handler can reach.
const TARGETS: usize = 8;

static SOCKETS: [AtomicPtr<SocketHandle>; TARGETS] = [const { AtomicPtr::new(ptr::null_mut()) }; TARGETS];
static QUEUES: [AtomicPtr<QueueHandle>; TARGETS] = [const { AtomicPtr::new(ptr::null_mut()) }; TARGETS];
static REGISTRY: OnceLock<ShutdownRegistry> = OnceLock::new();
/// How often the handler has done each deed.
static DONE: [AtomicUsize; Deed::NAMES.len()] = [const { AtomicUsize::new(0) }; Deed::NAMES.len()];
static TURN: AtomicUsize = AtomicUsize::new(0);
static SPOILT: AtomicUsize = AtomicUsize::new(0);
/// Lives that came to their end, and closings that a queue has reported.
static WHOLE: AtomicUsize = AtomicUsize::new(0);
static CLOSED: AtomicUsize = AtomicUsize::new(0);

/// Ends or wakes something, another at each signal.
extern "C" fn storm(_: i32) {
    let turn = TURN.fetch_add(1, SeqCst);
    let deed = match turn % 32 {
        31 => Deed::Shutdown,
        23 => Deed::StopAccepting,
        15 => Deed::CloseQueue,
        turn => [Deed::Close, Deed::Abort, Deed::WakeQueue][turn % 3],
    };
    let target = match deed {
        Deed::CloseQueue => turn / 32 % TARGETS,
        _ => turn / 3 % TARGETS,
    };
    let left = leaves_errno(|| {
        // SAFETY: null, or a handle that `Published` keeps until the storm is over.
        let socket = unsafe { SOCKETS[target].load(SeqCst).as_ref() };
        // SAFETY: as above.
        let queue = unsafe { QUEUES[target].load(SeqCst).as_ref() };
        let done = deed.be_done(socket, queue, REGISTRY.get());
        DONE[deed as usize].fetch_add(usize::from(done), SeqCst);
    });
    SPOILT.fetch_add(usize::from(!left), SeqCst);
}

/// Handles that a handler may be using: freed when the storm is over.
#[derive(Default)]
struct Published {
    sockets: Vec<Arc<SocketHandle>>,
    queues: Vec<Arc<QueueHandle>>,
}

impl Published {
    fn socket(&mut self, place: usize, handle: SocketHandle) {
        let handle = Arc::new(handle);
        SOCKETS[place % TARGETS].store(Arc::as_ptr(&handle).cast_mut(), SeqCst);
        self.sockets.push(handle);
    }

    fn queue(&mut self, place: usize, handle: QueueHandle) {
        let handle = Arc::new(handle);
        QUEUES[place % TARGETS].store(Arc::as_ptr(&handle).cast_mut(), SeqCst);
        self.queues.push(handle);
    }
}

type Queue = SocketEventQueue<Vec<u8>>;

/// One worker's queue, made anew when it was ended.
fn own_queue<'a>(
    queue: &'a mut Option<Queue>,
    registry: &ShutdownRegistry,
    published: &mut Published,
    worker: usize,
) -> Result<&'a Queue, Error> {
    if queue.as_ref().is_none_or(Queue::is_error) {
        let fresh = Queue::in_registry(registry)?;
        published.queue(worker, fresh.handle());
        *queue = Some(fresh);
    }
    Ok(queue.as_ref().unwrap())
}

/// One connection's life, in its worker's queue and in one that all share.
fn one_life(
    registry: &ShutdownRegistry,
    own: &Queue,
    shared: &SocketEventQueue,
    published: &mut Published,
    worker: usize,
    life: usize,
) -> Result<(), Error> {
    let (one, two) = UnixStream::pair().unwrap();
    let (mut socket, mut peer) = (TcpSocket::with_registry(registry), TcpSocket::with_registry(registry));
    socket.attach(one)?;
    peer.attach(two)?;
    published.socket(2 * worker, socket.handle());
    published.socket(2 * worker + 1, peer.handle());
    let name = format!("{worker}/{life:08}").into_bytes();
    own.subscribe(&socket, READ, name.clone())?;
    shared.subscribe_read_write(&socket)?;
    shared.disable_write(&socket).map_err(unless_gone)?;
    shared.subscribe_read(&peer)?;
    peer.timeout(Duration::from_millis(20)).put_all(&name)?;
    socket.timeout(Duration::ZERO);
    let limit = Instant::now() + Duration::from_millis(20);
    let mut came = vec![0; name.len()];
    loop {
        let events = own.wait(Duration::from_millis(5))?;
        for event in &events {
            // Of this life, or the end of an earlier one.
            assert!(
                event.is_closed() || *event.token() == name,
                "{event:?} in life {life} of {worker}"
            );
            CLOSED.fetch_add(usize::from(event.is_closed()), SeqCst);
        }
        if events.iter().any(|event| event.socket_id() == socket.id()) {
            socket.get_all(&mut came)?;
            assert_eq!(came, name, "bytes of another connection");
            break;
        }
        if Instant::now() > limit {
            return Err(Error::Timeout);
        }
    }
    let words: Vec<String> = (0..life % 50).map(|n| n.to_string()).collect();
    own.disable_read(&socket).map_err(unless_gone)?;
    own.subscribe(&socket, READ, words.concat().into_bytes())?;
    if life.is_multiple_of(2) {
        own.remove(&socket).map_err(unless_gone)?;
        shared.remove(&socket).map_err(unless_gone)?;
    }
    if life.is_multiple_of(3) {
        drop(peer);
        drop(socket);
    }
    Ok(())
}

/// A socket that is closed, and so reported, is not subscribed any more.
fn unless_gone(error: Error) -> Error {
    match error {
        Error::Io { .. } if error.kind() == io::ErrorKind::NotFound => Error::Closed,
        error => error,
    }
}

fn weather_a_storm(length: Duration, pause: Duration, workers: usize) {
    let registry = REGISTRY.get_or_init(ShutdownRegistry::new);
    registry.reset();
    let turns = TURN.load(SeqCst);
    DONE.iter()
        .chain([&WHOLE, &CLOSED])
        .for_each(|count| count.store(0, SeqCst));
    let handler = Handler::install(libc::SIGUSR2, storm, 0);
    let over = Arc::new(AtomicBool::new(false));
    let shared = queue();
    let mut threads: Vec<_> = (0..workers)
        .map(|worker| {
            let (over, shared) = (Arc::clone(&over), Arc::clone(&shared));
            block(move || {
                let mut published = Published::default();
                let mut queue = None;
                for life in 0.. {
                    if over.load(SeqCst) {
                        break;
                    }
                    let result = own_queue(&mut queue, registry, &mut published, worker)
                        .and_then(|own| one_life(registry, own, &shared, &mut published, worker, life));
                    match result {
                        Ok(()) => {
                            WHOLE.fetch_add(1, SeqCst);
                        }
                        Err(Error::Timeout | Error::Closed | Error::Aborted | Error::Shutdown) => {}
                        Err(Error::UnexpectedEof) => {}
                        Err(error) if [libc::EPIPE, libc::ECONNRESET].contains(&error.code()) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
                published
            })
        })
        .collect();
    // Nobody closes this queue, so each closing is reported in it.
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let (over, shared) = (Arc::clone(&over), Arc::clone(&shared));
            block(move || {
                let mut closed: HashSet<SocketId> = HashSet::new();
                while !over.load(SeqCst) {
                    for event in shared.wait(Duration::from_millis(5)).unwrap() {
                        let first = !event.is_closed() || closed.insert(event.socket_id());
                        assert!(first, "closed twice: {event:?}");
                    }
                    registry.reset();
                }
                closed
            })
        })
        .collect();
    let begin = Instant::now();
    let enough = || {
        TURN.load(SeqCst) - turns >= 200
            && DONE.iter().all(|count| count.load(SeqCst) > 0)
            && WHOLE.load(SeqCst) > 0
            && CLOSED.load(SeqCst) > 0
    };
    while begin.elapsed() < length || !enough() && begin.elapsed() < PATIENCE {
        for task in threads
            .iter()
            .map(Blocked::task)
            .chain(waiting.iter().map(Blocked::task))
        {
            send_signal(task, libc::SIGUSR2);
            if !pause.is_zero() {
                thread::sleep(pause);
            }
        }
        thread::yield_now();
    }
    over.store(true, SeqCst);
    let published: Vec<_> = threads.drain(..).map(Blocked::result).collect();
    let closed: Vec<_> = waiting.into_iter().map(Blocked::result).collect();
    drop(handler);
    for place in 0..TARGETS {
        SOCKETS[place].store(ptr::null_mut(), SeqCst);
        QUEUES[place].store(ptr::null_mut(), SeqCst);
    }
    drop(published);
    assert!(
        closed[0].is_disjoint(&closed[1]),
        "closings that were reported to two threads"
    );
    let did = DONE.each_ref().map(|count| count.load(SeqCst));
    assert!(
        enough(),
        "{} signals, which did {did:?}; {} lives came to their end, {} closings were reported",
        TURN.load(SeqCst) - turns,
        WHOLE.load(SeqCst),
        CLOSED.load(SeqCst)
    );
    assert_eq!(SPOILT.load(SeqCst), 0, "errno was changed so often");
    // What was closed last is reported still, and then the queue is as good as new.
    while !shared.wait(Duration::ZERO).unwrap().is_empty() {}
    assert_eq!(shared.len(), 0);
    registry.reset();
    assert_eq!(registry.len(), 0, "{registry:?}");
    let (socket, mut peer) = pair();
    shared.subscribe_read(&socket).unwrap();
    assert_silent(&shared);
    io::Write::write_all(&mut peer, b"x").unwrap();
    assert_only(&shared, &socket, READ);
}

#[test]
fn handlers_at_a_kilohertz_leave_queues_sane() {
    let _test = begin();
    weather_a_storm(Duration::from_millis(1900), Duration::from_millis(1), 4);
}

#[test]
fn handlers_that_interrupt_anything_at_all_leave_queues_sane() {
    let _test = begin();
    weather_a_storm(Duration::from_millis(900), Duration::from_micros(20), 2);
}

#[test]
fn signals_neither_shorten_nor_lengthen_a_limit() {
    let _test = begin();
    for flags in [0, libc::SA_RESTART] {
        let _handler = Handler::counting(libc::SIGUSR1, flags);
        let waiting = thread_id();
        let over = Arc::new(AtomicBool::new(false));
        let signals = {
            let over = Arc::clone(&over);
            block(move || {
                while !over.load(SeqCst) {
                    send_signal(waiting, libc::SIGUSR1);
                    thread::sleep(Duration::from_millis(2));
                }
            })
        };
        let queue = queue();
        ends_at_limit(Duration::from_millis(30), |limit| {
            let (events, took) = timed(|| queue.wait(limit).unwrap());
            assert!(events.is_empty(), "{events:?}");
            took
        });
        over.store(true, SeqCst);
        signals.result();
    }
}
