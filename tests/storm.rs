//! A handler that ends whatever it reaches, on every thread, while the threads do everything that can be done with
//! sockets. Alone since it does so to the whole process.
//!
//! Every connection has a stamp, a number that both ends know and each message carries. An operation of a closed socket
//! that touched another one, which was given its descriptor's number, would move bytes with a wrong stamp.
//!
//! With the features for it, there are sessions of TLS and WebSockets among them.
//!
//! `WAKESOCK_STORM_SECONDS` says how long it lasts.

#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "signal handlers")]

mod support;

use std::collections::VecDeque;
use std::io::{self, Write};
#[cfg(feature = "websocket")]
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU16, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

#[cfg(feature = "tls-ring")]
use support::certificates::{NAME, client_config, server_config};
use support::handlers::{Careless, Deed, leaves_errno};
use support::queues::READ;
use support::{Blocked, Handler, PATIENCE, Random, begin, block, send_signal, thread_id};
use wakesock::{
    Error, ListenOptions, MioWait, QueueHandle, RawWait, ShutdownRegistry, SocketEventQueue, SocketHandle,
    SocketWaitEvent, TcpSocket, ThreadWait,
};
#[cfg(feature = "websocket")]
use wakesock::{Role, WebSocket};

/// So long at a time: the watchdog watches one round.
const ROUND: Duration = Duration::from_secs(5);
/// Between two signals to one thread.
const PAUSE: Duration = Duration::from_micros(400);
const WORKERS: usize = 4;
const SERVERS: usize = 2;
/// How long an operation may take that nobody ends. A storm makes everything slow.
const LIMIT: Duration = Duration::from_millis(300);

static REGISTRY: LazyLock<ShutdownRegistry> = LazyLock::new(ShutdownRegistry::new);

// What the handler reaches.
static SOCKETS: [AtomicPtr<SocketHandle>; 32] = [const { AtomicPtr::new(ptr::null_mut()) }; 32];
static QUEUES: [AtomicPtr<QueueHandle>; 8] = [const { AtomicPtr::new(ptr::null_mut()) }; 8];
/// What the handler does once, and then no more.
static ENDS: [AtomicPtr<End>; 8] = [const { AtomicPtr::new(ptr::null_mut()) }; 8];
/// How many handlers are running.
static RUNNING: AtomicUsize = AtomicUsize::new(0);
static SIGNALS: AtomicUsize = AtomicUsize::new(0);
/// How many were sent, and how often one was to each thread.
static SENT: AtomicUsize = AtomicUsize::new(0);
static ROUNDS: AtomicUsize = AtomicUsize::new(0);
static SPOILT: AtomicUsize = AtomicUsize::new(0);
/// Queues that were there when one was to be woken.
static MET: AtomicUsize = AtomicUsize::new(0);
static DID: [AtomicUsize; Deed::NAMES.len()] = [const { AtomicUsize::new(0) }; Deed::NAMES.len()];
/// How often it has ended what blocks without a limit.
static ENDED: AtomicUsize = AtomicUsize::new(0);

/// Threads that signals are sent to.
static TASKS: [AtomicI32; 16] = [const { AtomicI32::new(0) }; 16];
static OVER: AtomicBool = AtomicBool::new(false);
static PORTS: [AtomicU16; SERVERS] = [const { AtomicU16::new(0) }; SERVERS];

/// The one thing that ends what blocks.
#[derive(Debug)]
enum End {
    Close(SocketHandle),
    Abort(SocketHandle),
    CloseQueue(QueueHandle),
    Shutdown(ShutdownRegistry),
}

impl End {
    fn come(&self) {
        match self {
            End::Close(socket) => socket.close(),
            End::Abort(socket) => socket.abort(),
            End::CloseQueue(queue) => queue.close(),
            End::Shutdown(registry) => registry.shutdown(),
        }
    }

    fn deed(&self) -> Deed {
        match self {
            End::Close(_) => Deed::Close,
            End::Abort(_) => Deed::Abort,
            End::CloseQueue(_) => Deed::CloseQueue,
            End::Shutdown(_) => Deed::Shutdown,
        }
    }

    fn has_made(&self, error: &Error) -> bool {
        matches!(
            (self, error),
            (End::Close(_) | End::CloseQueue(_), Error::Closed)
                | (End::Abort(_), Error::Aborted)
                | (End::Shutdown(_), Error::Shutdown)
        )
    }
}

extern "C" fn strike(_: i32) {
    RUNNING.fetch_add(1, SeqCst);
    let turn = SIGNALS.fetch_add(1, SeqCst);
    let mut deed = match turn % 512 {
        511 => Deed::Shutdown,
        127 | 383 => Deed::StopAccepting,
        turn => [Deed::Close, Deed::Abort, Deed::WakeQueue][turn % 3],
    };
    let left = leaves_errno(|| {
        // SAFETY: null, or a handle that its `Published` keeps as long as a handler runs that may have seen it.
        let socket = unsafe { SOCKETS[turn / 3 % SOCKETS.len()].load(SeqCst).as_ref() };
        // There are few at a time, so any there is will do.
        let places = (0..QUEUES.len()).map(|place| &QUEUES[(turn / 16 + place) % QUEUES.len()]);
        let mut queues = places.map(|place| place.load(SeqCst)).filter(|queue| !queue.is_null());
        // SAFETY: as above.
        let queue = queues.next().and_then(|queue| unsafe { queue.as_ref() });
        // Who meets no socket has time for a queue.
        if matches!(deed, Deed::Close | Deed::Abort) && socket.is_none() {
            deed = Deed::WakeQueue;
        }
        // On a busy machine a handler hardly ever meets one: of those that it does, every fourth is closed.
        if matches!(deed, Deed::WakeQueue) && queue.is_some() && MET.fetch_add(1, SeqCst) % 4 == 3 {
            deed = Deed::CloseQueue;
        }
        let done = deed.be_done(socket, queue, LazyLock::get(&REGISTRY));
        DID[deed as usize].fetch_add(usize::from(done), SeqCst);
        // SAFETY: as above.
        let end = unsafe { ENDS[turn % ENDS.len()].swap(ptr::null_mut(), SeqCst).as_ref() };
        if let Some(end) = end {
            end.come();
            DID[end.deed() as usize].fetch_add(1, SeqCst);
            ENDED.fetch_add(1, SeqCst);
        }
    });
    SPOILT.fetch_add(usize::from(!left), SeqCst);
    RUNNING.fetch_sub(1, SeqCst);
}

/// A handle that the handler reaches, for as long as this lives and may be seen.
struct Published<T: 'static> {
    place: &'static AtomicPtr<T>,
    handle: *mut T,
}

fn publish<T>(places: &'static [AtomicPtr<T>], handle: T) -> Published<T> {
    let handle = Box::into_raw(Box::new(handle));
    loop {
        for place in places {
            if place.compare_exchange(ptr::null_mut(), handle, SeqCst, SeqCst).is_ok() {
                return Published { place, handle };
            }
        }
        thread::yield_now();
    }
}

impl<T> Published<T> {
    fn get(&self) -> &T {
        // SAFETY: `publish` made it, and it is dropped with `self`.
        unsafe { &*self.handle }
    }
}

impl<T> Drop for Published<T> {
    fn drop(&mut self) {
        // Unless the handler has taken it out already, and there is another one.
        let _ = self
            .place
            .compare_exchange(self.handle, ptr::null_mut(), SeqCst, SeqCst);
        // At a moment at which no handler runs, none has seen it and still holds it.
        while RUNNING.load(SeqCst) != 0 {
            thread::yield_now();
        }
        // SAFETY: `publish` made it, and nobody else has it any more.
        drop(unsafe { Box::from_raw(self.handle) });
    }
}

/// A thread that is struck. Signals go to it as long as it runs.
fn exposed<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Blocked<T> {
    block(|| {
        let task = thread_id();
        let free = |place: &&AtomicI32| place.compare_exchange(0, task, SeqCst, SeqCst).is_ok();
        let place = TASKS.iter().find(free);
        let result = work();
        if let Some(place) = place {
            place.store(0, SeqCst);
        }
        result
    })
}

/// Keeps the last lines, and so allocates and takes a lock whenever the crate says something.
struct Log;

static LINES: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());
static LOGGED: AtomicUsize = AtomicUsize::new(0);

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut lines = LINES.lock().unwrap();
        lines.push_back(record.args().to_string());
        if lines.len() > 50 {
            lines.pop_front();
        }
        LOGGED.fetch_add(1, SeqCst);
    }

    fn flush(&self) {}
}

/// What stands in the message of this number on the connection of this stamp.
fn message(stamp: u64, number: u64) -> Vec<u8> {
    let words = 2 + (stamp ^ number) % 60;
    let word = |index| match index {
        0 => stamp,
        1 => number,
        _ => stamp.rotate_left(index as u32) ^ number,
    };
    (0..words).flat_map(|index| word(index).to_le_bytes()).collect()
}

fn receive(stamp: u64, number: u64, get: impl FnOnce(usize) -> Result<Vec<u8>, Error>) -> Result<(), Error> {
    let expected = message(stamp, number);
    let came = get(expected.len())?;
    assert!(
        came == expected,
        "message {number} of {stamp:x}: {came:x?} instead of {expected:x?}"
    );
    Ok(())
}

/// What a storm does to an operation. Anything else is wrong.
fn is_damage(error: &Error) -> bool {
    match error {
        Error::Timeout | Error::Closed | Error::Aborted | Error::Shutdown | Error::UnexpectedEof => true,
        // Who is ended by a handler says no goodbye.
        #[cfg(feature = "tls-ring")]
        Error::Truncated => true,
        // In a handshake.
        Error::Io { source, .. } if source.kind() == io::ErrorKind::UnexpectedEof => true,
        // A peer that was ended looks like one that is gone. And ports that linger may run out.
        Error::Io { .. } | Error::Connect { .. } => matches!(
            error.code(),
            libc::EPIPE | libc::ECONNRESET | libc::ECONNREFUSED | libc::ENOTCONN | libc::EADDRNOTAVAIL
        ),
        _ => false,
    }
}

struct Worker {
    random: Random,
    raw_waits: [Arc<dyn RawWait>; 3],
    number: usize,
}

type Job = fn(&mut Worker) -> Result<(), Error>;

const JOBS: &[(&str, Job)] = &[
    ("talked to a server", Worker::talk),
    ("wrote from another thread", Worker::write_beside),
    ("waited in a queue", Worker::wait_in_queue),
    ("waited in a set", Worker::wait_in_set),
    ("listened", Worker::listen),
    ("blocked until ended", Worker::block_until_ended),
    ("raced", Worker::race),
    ("opened again and again", Worker::reopen),
    #[cfg(feature = "tls-ring")]
    ("spoke under TLS", Worker::speak_under_tls),
    #[cfg(feature = "websocket")]
    ("spoke by WebSocket", Worker::speak_by_websocket),
    #[cfg(feature = "websocket")]
    ("opened a WebSocket", Worker::open_websocket),
    #[cfg(feature = "websocket")]
    ("waited for messages in a queue", Worker::wait_for_messages),
];
static WHOLE: [AtomicUsize; JOBS.len()] = [const { AtomicUsize::new(0) }; JOBS.len()];
static DAMAGED: [AtomicUsize; JOBS.len()] = [const { AtomicUsize::new(0) }; JOBS.len()];

impl Worker {
    fn new(number: usize) -> Worker {
        Worker {
            random: Random::new(number as u64 + 1),
            raw_waits: [
                Arc::new(MioWait::default()),
                Arc::new(ThreadWait::default()),
                Arc::new(Careless::default()),
            ],
            number,
        }
    }

    fn work(&mut self) {
        while !OVER.load(SeqCst) {
            let job = self.random.below(JOBS.len());
            let result = JOBS[job].1(self);
            match &result {
                Ok(()) => WHOLE[job].fetch_add(1, SeqCst),
                Err(error) if is_damage(error) => DAMAGED[job].fetch_add(1, SeqCst),
                Err(error) => panic!("{}: {error:?}", JOBS[job].0),
            };
            if matches!(result, Err(Error::Shutdown)) {
                REGISTRY.reset();
            }
            // Handlers interrupt the allocator, too.
            let words: Vec<String> = (0..self.random.below(100)).map(|n| n.to_string()).collect();
            assert!(words.concat().len() <= 200);
        }
    }

    fn unopened(&mut self) -> TcpSocket {
        let mut socket = TcpSocket::with_registry(&REGISTRY);
        let which = self.random.below(self.raw_waits.len());
        socket.set_raw_wait(Arc::clone(&self.raw_waits[which])).timeout(LIMIT);
        socket
    }

    /// Two ends of a connection, of which the handler reaches the first.
    fn pair(&mut self) -> Result<(TcpSocket, TcpSocket, Published<SocketHandle>), Error> {
        let (mut own, mut peer) = (self.unopened(), TcpSocket::with_registry(&ShutdownRegistry::new()));
        let published = publish(&SOCKETS, own.handle());
        let (one, two) = UnixStream::pair().unwrap();
        peer.attach(two)?;
        own.attach(one)?;
        peer.timeout(LIMIT);
        Ok((own, peer, published))
    }

    fn stamp(&mut self) -> u64 {
        self.random.next() << 8 | self.number as u64
    }

    /// A client of a server in another thread, which answers with the stamp's complement.
    fn talk(&mut self) -> Result<(), Error> {
        let stamp = self.stamp();
        let port = PORTS[self.random.below(SERVERS)].load(SeqCst);
        let mut socket = self.unopened();
        let _published = publish(&SOCKETS, socket.handle());
        socket.connect_to(&[([127, 0, 0, 1], port).into()])?;
        // Ports that linger run out.
        socket.linger(Duration::ZERO)?;
        socket.put_all(&stamp.to_le_bytes())?;
        for number in 0..1 + self.random.below(10) as u64 {
            socket.put_all(&message(stamp, number))?;
            receive(!stamp, number, |len| socket.get_all_bytes(len))?;
        }
        Ok(())
    }

    fn write_beside(&mut self) -> Result<(), Error> {
        let stamp = self.stamp();
        let (own, mut peer, _published) = self.pair()?;
        let (mut reader, mut writer) = own.split();
        let writing = exposed(move || {
            let result = (0..20).try_for_each(|number| writer.put_all(&message(stamp, number)));
            (writer, result)
        });
        let read = (0..20).try_for_each(|number| {
            receive(stamp, number, |len| peer.get_all_bytes(len))?;
            peer.put_all(&message(!stamp, number))?;
            receive(!stamp, number, |len| reader.get_all_bytes(len))
        });
        reader.close();
        let (writer, written) = writing.result();
        drop(reader.unsplit(writer).unwrap());
        written.and(read)
    }

    /// As `write_beside`, in a session whose other end is in another thread.
    #[cfg(feature = "tls-ring")]
    fn speak_under_tls(&mut self) -> Result<(), Error> {
        let stamp = self.stamp();
        let (own, mut peer, _published) = self.pair()?;
        let answering = exposed(move || {
            peer.start_tls_server(&server_config())?;
            for number in 0..20 {
                receive(stamp, number, |len| peer.get_all_bytes(len))?;
                peer.put_all(&message(!stamp, number))?;
            }
            Ok(())
        });
        let asked = ask_under_tls(own, stamp);
        let answered: Result<(), Error> = answering.result();
        asked.and(answered)
    }

    /// As `write_beside`, by messages, and now and then under TLS.
    #[cfg(feature = "websocket")]
    fn speak_by_websocket(&mut self) -> Result<(), Error> {
        let stamp = self.stamp();
        let (own, mut peer, _published) = self.pair()?;
        let is_secure = cfg!(feature = "tls-ring") && self.random.below(2) == 0;
        let answering = exposed(move || {
            #[cfg(feature = "tls-ring")]
            if is_secure {
                peer.start_tls_server(&server_config())?;
            }
            peer.timeout(LIMIT);
            let mut peer = WebSocket::from_upgraded(peer, Role::Server);
            for number in 0..20 {
                receive(stamp, number, |_| next_message(&mut peer))?;
                peer.send(message(!stamp, number))?;
            }
            match peer.receive()? {
                None => Ok(()),
                Some(more) => panic!("nobody has sent {more:?}"),
            }
        });
        let asked = ask_by_websocket(own, stamp, is_secure);
        let answered: Result<(), Error> = answering.result();
        asked.and(answered)
    }

    /// Both sides of the opening handshake, a question and an answer, and the closing handshake.
    #[cfg(feature = "websocket")]
    fn open_websocket(&mut self) -> Result<(), Error> {
        let stamp = self.stamp();
        let mut listener = self.unopened();
        let _listening = publish(&SOCKETS, listener.handle());
        listener.listen_on((self.own_host(), 0), &ListenOptions::default())?;
        let url = format!("ws://{}/", listener.local_addr()?);
        let (mut client, mut server) = (WebSocket::with_registry(&REGISTRY), WebSocket::with_registry(&REGISTRY));
        for socket in [&mut client, &mut server] {
            socket.timeout(LIMIT).close_limit(LIMIT);
            #[cfg(feature = "websocket-deflate")]
            socket.deflate(self.random.below(2) == 0);
        }
        let _client = publish(&SOCKETS, client.handle());
        let _server = publish(&SOCKETS, server.handle());
        let asking = exposed(move || {
            client.connect(&url)?;
            client.send(message(stamp, 0))?;
            receive(!stamp, 0, |_| next_message(&mut client))?;
            client.close(1000, "")
        });
        let answered = (|| {
            server.accept(&listener)?;
            server.socket().linger(Duration::ZERO)?;
            receive(stamp, 0, |_| next_message(&mut server))?;
            server.send(message(!stamp, 0))?;
            server.receive().map(drop)
        })();
        drop((server, listener));
        asking.result().and(answered)
    }

    /// An address where nobody else listens: a handler may close the listener before its client has connected, and then
    /// another listener may have its port.
    #[cfg(feature = "websocket")]
    fn own_host(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, 0, 0, (2 + self.number).try_into().unwrap())
    }

    /// Two messages at once for each of some WebSockets.
    #[cfg(feature = "websocket")]
    fn wait_for_messages(&mut self) -> Result<(), Error> {
        let queue = SocketEventQueue::<u64>::in_registry(&REGISTRY)?;
        let _published = publish(&QUEUES, queue.handle());
        let mut all = Vec::new();
        for _ in 0..3 {
            let stamp = self.stamp();
            let (mut own, peer, published) = self.pair()?;
            own.timeout(Duration::ZERO);
            let own = WebSocket::from_upgraded(own, Role::Server);
            queue.subscribe(&own, READ, stamp)?;
            all.push((stamp, own, WebSocket::from_upgraded(peer, Role::Client), published, 0));
        }
        for (stamp, _, peer, ..) in &mut all {
            peer.send(message(*stamp, 0))?;
            peer.send(message(*stamp, 1))?;
        }
        let begin = Instant::now();
        while all.iter().any(|(.., came)| *came < 2) && begin.elapsed() < LIMIT {
            for event in queue.wait(LIMIT)? {
                let found = all.iter_mut().find(|(_, own, ..)| own.id() == event.socket_id());
                let (stamp, own, _, _, came) = found.expect("a socket of this queue");
                assert_eq!(event.token(), stamp, "{event:?}");
                if event.is_closed() {
                    return Err(Error::Closed);
                }
                match receive(*stamp, *came, |_| next_message(own)) {
                    Ok(()) => *came += 1,
                    // Half of one.
                    Err(Error::Timeout) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let has_all = all.iter().all(|(.., came)| *came == 2);
        has_all.then_some(()).ok_or(Error::Timeout)
    }

    fn wait_in_queue(&mut self) -> Result<(), Error> {
        let queue = SocketEventQueue::<u64>::in_registry(&REGISTRY)?;
        let _published = publish(&QUEUES, queue.handle());
        let mut all = Vec::new();
        for _ in 0..3 {
            let stamp = self.stamp();
            let (own, peer, published) = self.pair()?;
            queue.subscribe(&own, READ, stamp)?;
            all.push((stamp, own, peer, published));
        }
        let mut left = all.len();
        for (stamp, _, peer, _) in &mut all {
            peer.put_all(&message(*stamp, 0))?;
        }
        let begin = Instant::now();
        while left > 0 && begin.elapsed() < LIMIT {
            for event in queue.wait(LIMIT)? {
                let found = all.iter_mut().find(|(_, own, ..)| own.id() == event.socket_id());
                let (stamp, own, ..) = found.expect("a socket of this queue");
                assert_eq!(event.token(), stamp, "{event:?}");
                left -= 1;
                if !event.is_closed() {
                    receive(*stamp, 0, |len| own.get_all_bytes(len))?;
                    if let Err(error) = queue.remove(own) {
                        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error:?}");
                    }
                }
            }
        }
        if left > 0 { Err(Error::Timeout) } else { Ok(()) }
    }

    fn wait_in_set(&mut self) -> Result<(), Error> {
        let stamp = self.stamp();
        let (mut first, mut peer, _first) = self.pair()?;
        let (second, _silent, _second) = self.pair()?;
        let mut set = SocketWaitEvent::new();
        set.add(&first, READ);
        set.add(&second, READ);
        peer.put_all(&message(stamp, 0))?;
        if set.wait(LIMIT)? == 0 {
            return Err(Error::Timeout);
        }
        if !set[0].is_empty() {
            receive(stamp, 0, |len| first.get_all_bytes(len))?;
        }
        Ok(())
    }

    fn listen(&mut self) -> Result<(), Error> {
        let stamp = self.stamp();
        let mut listener = self.unopened();
        let _listening = publish(&SOCKETS, listener.handle());
        listener.listen_on("127.0.0.1:0", &ListenOptions::default())?;
        let mut client = self.unopened();
        let _client = publish(&SOCKETS, client.handle());
        client.connect_to(&[listener.local_addr()?])?;
        client.linger(Duration::ZERO)?;
        let own = client.local_addr()?;
        let mut accepted = self.unopened();
        let _accepted = publish(&SOCKETS, accepted.handle());
        accepted.accept(&listener)?;
        if accepted.peer_addr()? != own {
            // A client of a server that had the port before.
            return Err(Error::Closed);
        }
        client.put_all(&message(stamp, 0))?;
        receive(stamp, 0, |len| accepted.get_all_bytes(len))
    }

    /// It has no limit, and one thing ends it, once.
    fn block_until_ended(&mut self) -> Result<(), Error> {
        let registry = ShutdownRegistry::new();
        let which = self.random.below(self.raw_waits.len());
        let mut socket = TcpSocket::with_registry(&registry);
        socket.set_raw_wait(Arc::clone(&self.raw_waits[which]));
        let operation = self.random.below(5);
        let (one, _peer) = UnixStream::pair().unwrap();
        if operation == 3 {
            socket.listen_on("127.0.0.1:0", &ListenOptions::default())?;
        } else {
            socket.attach(one)?;
        }
        let queue = SocketEventQueue::<u64>::in_registry(&registry)?;
        queue.subscribe(&socket, READ, 0)?;
        let end = publish(
            &ENDS,
            match (self.random.below(3), operation) {
                (0, _) => End::Shutdown(registry.clone()),
                (1, 4) => End::CloseQueue(queue.handle()),
                (1, _) => End::Abort(socket.handle()),
                _ => End::Close(socket.handle()),
            },
        );
        // No signal interrupts the system calls of this thread: it returns because it was woken.
        let sheltered = block(move || match operation {
            0 => socket.get_byte().map(|_| 0),
            1 => socket.wait_read().map(|()| 0),
            2 => socket.put_all(&vec![0; 16 << 20]).map(|()| 0),
            3 => socket.accept_new().map(|_| 1),
            _ => queue
                .wait(None)
                .map(|events| events.iter().filter(|event| event.is_closed()).count()),
        });
        match sheltered.result() {
            // A client of such a server, or the closing of what the queue waits for.
            Ok(1) => Ok(()),
            Err(error) if end.get().has_made(&error) => Ok(()),
            result => panic!("operation {operation}, ended by {:?}: {result:?}", end.get()),
        }
    }

    /// To several addresses at once, some of which refuse.
    fn race(&mut self) -> Result<(), Error> {
        let stamp = self.stamp();
        let ports = [1, PORTS[0].load(SeqCst), PORTS[1].load(SeqCst)];
        let addrs = ports.map(|port| ([127, 0, 0, 1], port).into());
        let mut socket = self.unopened();
        let _published = publish(&SOCKETS, socket.handle());
        socket.connect_to(&addrs)?;
        socket.linger(Duration::ZERO)?;
        socket.put_all(&stamp.to_le_bytes())?;
        socket.put_all(&message(stamp, 0))?;
        receive(!stamp, 0, |len| socket.get_all_bytes(len))
    }

    /// One socket, many openings, each with a stamp of its own. Old handles must not matter.
    fn reopen(&mut self) -> Result<(), Error> {
        let mut socket = self.unopened();
        for _ in 0..8 {
            let stamp = self.stamp();
            let (one, two) = UnixStream::pair().unwrap();
            let mut peer = TcpSocket::from(two);
            peer.timeout(LIMIT);
            let old = socket.handle();
            let _published = publish(&SOCKETS, socket.handle());
            socket.attach(one)?;
            peer.put_all(&message(stamp, 0))?;
            receive(stamp, 0, |len| socket.get_all_bytes(len))?;
            socket.close();
            let seen = peer.timeout(Duration::ZERO).get_byte();
            assert!(
                matches!(seen, Ok(None)),
                "a close that has returned, and the peer sees {seen:?}"
            );
            let next = socket.handle();
            old.close();
            assert_ne!(old.id(), next.id());
        }
        Ok(())
    }
}

/// Says much, and reads the answers meanwhile.
#[cfg(feature = "tls-ring")]
fn ask_under_tls(mut own: TcpSocket, stamp: u64) -> Result<(), Error> {
    own.start_tls(NAME, &client_config())?;
    let (mut reader, mut writer) = own.split();
    let writing = exposed(move || {
        let result = (0..20).try_for_each(|number| writer.put_all(&message(stamp, number)));
        (writer, result)
    });
    let read = (0..20).try_for_each(|number| receive(!stamp, number, |len| reader.get_all_bytes(len)));
    reader.close();
    let (writer, written) = writing.result();
    drop(reader.unsplit(writer).unwrap());
    written.and(read)
}

#[cfg(feature = "websocket")]
fn next_message(socket: &mut WebSocket) -> Result<Vec<u8>, Error> {
    content(socket.receive()?)
}

/// What is in a message; who has said goodbye sends none.
#[cfg(feature = "websocket")]
fn content(message: Option<wakesock::Message>) -> Result<Vec<u8>, Error> {
    let message = message.ok_or(Error::UnexpectedEof)?;
    Ok(message.as_bytes().to_vec())
}

/// Says much, in fragments and with pings between them, and reads the answers meanwhile. Then it says goodbye.
#[cfg(feature = "websocket")]
fn ask_by_websocket(own: TcpSocket, stamp: u64, is_secure: bool) -> Result<(), Error> {
    #[cfg(feature = "tls-ring")]
    let own = {
        let mut own = own;
        if is_secure {
            own.start_tls(NAME, &client_config())?;
        }
        own
    };
    let _ = is_secure;
    let (mut reader, mut writer) = WebSocket::from_upgraded(own, Role::Client).split();
    let writing = exposed(move || {
        let result = (0..20).try_for_each(|number| {
            let message = message(stamp, number);
            let (first, second) = message.split_at(message.len() / 2);
            writer.begin_binary(first)?;
            writer.ping(b"there?")?;
            writer.finish(second)
        });
        (writer, result)
    });
    let read = (0..20).try_for_each(|number| receive(!stamp, number, |_| content(reader.receive()?)));
    if read.is_err() {
        reader.handle().close();
    }
    let (writer, written) = writing.result();
    let mut socket = reader.unsplit(writer).unwrap();
    written.and(read)?;
    socket.close_limit(LIMIT).close(1000, "")
}

/// Answers every message, and listens anew when it was ended.
fn serve(number: usize) {
    while !OVER.load(SeqCst) {
        REGISTRY.reset();
        let mut listener = TcpSocket::with_registry(&REGISTRY);
        if listener.listen_on("127.0.0.1:0", &ListenOptions::default()).is_err() {
            continue;
        }
        let _published = publish(&SOCKETS, listener.handle());
        if let Ok(addr) = listener.local_addr() {
            PORTS[number].store(addr.port(), SeqCst);
        }
        listener.timeout(LIMIT);
        for client in listener.incoming() {
            let result = client.and_then(|mut client| answer(&mut client));
            assert!(result.as_ref().is_err_and(is_damage), "{result:?}");
            if OVER.load(SeqCst) {
                break;
            }
        }
    }
}

/// Goes on until the client does not.
fn answer(client: &mut TcpSocket) -> Result<(), Error> {
    client.linger(Duration::ZERO)?;
    client.timeout(LIMIT);
    let mut stamp = [0; 8];
    client.get_all(&mut stamp)?;
    let stamp = u64::from_le_bytes(stamp);
    for number in 0.. {
        receive(stamp, number, |len| client.get_all_bytes(len))?;
        client.put_all(&message(!stamp, number))?;
    }
    Ok(())
}

fn weather(length: Duration) {
    OVER.store(false, SeqCst);
    let mut threads: Vec<_> = (0..SERVERS).map(|number| exposed(move || serve(number))).collect();
    threads.extend((0..WORKERS).map(|number| exposed(move || Worker::new(number).work())));
    let begin = Instant::now();
    let mut next = begin;
    // It goes on until the last has ended, which may wait for a signal to do so.
    while !threads.iter().all(Blocked::is_finished) {
        if begin.elapsed() > length {
            OVER.store(true, SeqCst);
        }
        if begin.elapsed() > length + PATIENCE {
            // Says where one of them is.
            break;
        }
        for task in TASKS.iter().map(|task| task.load(SeqCst)).chain([thread_id()]) {
            if task != 0 {
                send_signal(task, libc::SIGUSR2);
                SENT.fetch_add(1, SeqCst);
            }
        }
        ROUNDS.fetch_add(1, SeqCst);
        // What was slept too long is made up for.
        next += PAUSE;
        match next.checked_duration_since(Instant::now()) {
            Some(left) => thread::sleep(left),
            None => thread::yield_now(),
        }
    }
    threads.into_iter().for_each(Blocked::result);
}

fn counts(names: &[&str], counts: &[AtomicUsize]) -> String {
    let each = names.iter().zip(counts);
    let each: Vec<String> = each
        .map(|(name, count)| format!("{name} {}", count.load(SeqCst)))
        .collect();
    each.join(", ")
}

#[test]
fn whatever_a_handler_ends_and_whenever_all_stays_sane() {
    let seconds = std::env::var("WAKESOCK_STORM_SECONDS").map_or(2, |text| text.parse().expect("a number of seconds"));
    let length = Duration::from_secs(seconds);
    log::set_logger(&Log).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    LazyLock::force(&REGISTRY);
    #[cfg(feature = "tls-ring")]
    let _made = (client_config(), server_config());
    let begun = Instant::now();
    let enough = || {
        DID.iter()
            .chain(&WHOLE)
            .chain([&ENDED])
            .all(|count| count.load(SeqCst) > 0)
    };
    while begun.elapsed() < length || !enough() && begun.elapsed() < length + PATIENCE {
        let _test = begin();
        let handler = Handler::install(libc::SIGUSR2, strike, 0);
        let left = length.saturating_sub(begun.elapsed());
        weather(left.clamp(Duration::from_secs(1), ROUND));
        drop(handler);
        REGISTRY.reset();
        assert_eq!(REGISTRY.len(), 0, "{:?}", *REGISTRY);
        assert_eq!(SPOILT.load(SeqCst), 0, "errno was changed so often");
    }
    let names: Vec<_> = JOBS.iter().map(|(name, _)| *name).collect();
    let threads = SENT.load(SeqCst) as f64 / ROUNDS.load(SeqCst) as f64;
    let report = format!(
        "storm, {:.1?}: {} signals handled, {:.2} kHz on each of {threads:.1} threads ({}, end what blocks {}); \
         whole: {}; cut short: {}; {} lines logged\n",
        begun.elapsed(),
        SIGNALS.load(SeqCst),
        SIGNALS.load(SeqCst) as f64 / threads / begun.elapsed().as_secs_f64() / 1e3,
        counts(&Deed::NAMES, &DID),
        ENDED.load(SeqCst),
        counts(&names, &WHOLE),
        counts(&names, &DAMAGED),
        LOGGED.load(SeqCst)
    );
    // Not `eprintln`, which the harness captures.
    let _ = io::stderr().write_all(report.as_bytes());
    assert!(enough(), "{report}");
}
