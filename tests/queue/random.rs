//! Random operations: a queue says what poll(2) says.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::io::{BufRead, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wakesock::{Error, SocketEvent, SocketEventQueue, SocketId, TcpSocket, WaitEvents};

use crate::support::queues::{BOTH, EXCEPTION, NOTHING, READ, WRITE};
use crate::support::{
    Blocked, LOST_WITH_THREAD, PATIENCE, Random, TELLS_OF_URGENT, begin, block, eventually, is_wine, polled, reset,
    std_pair,
};

type Queue = SocketEventQueue<u64>;

/// What the model knows of a subscription.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    subscribed: WaitEvents,
    disabled: WaitEvents,
    token: u64,
}

/// A connection, and what the queues were asked to report of it.
struct Subject {
    socket: TcpSocket,
    peer: Option<TcpStream>,
    wanted: Vec<Option<Wanted>>,
    random: Random,
    log: Vec<String>,
    token: u64,
    /// Subscriptions that ended with a close: of which queue, and of which socket.
    closed: Vec<(usize, SocketId)>,
}

/// A connection, of which the peer never blocks.
fn nonblocking_pair() -> (TcpStream, TcpStream) {
    let (own, peer) = std_pair();
    peer.set_nonblocking(true).unwrap();
    (own, peer)
}

impl Subject {
    fn new(queues: usize, seed: u64) -> Subject {
        let mut subject = Subject {
            socket: TcpSocket::new(),
            peer: None,
            wanted: vec![None; queues],
            random: Random::new(seed),
            log: Vec::new(),
            token: seed << 32,
            closed: Vec::new(),
        };
        subject.reopen();
        subject
    }

    fn reopen(&mut self) {
        let (own, peer) = nonblocking_pair();
        self.end_subscriptions();
        self.socket.attach(own).unwrap();
        self.socket.timeout(Duration::ZERO);
        self.peer = Some(peer);
    }

    /// Takes note that the socket is about to be closed.
    fn end_subscriptions(&mut self) {
        let id = self.socket.id();
        for (queue, wanted) in self.wanted.iter_mut().enumerate() {
            if wanted.take().is_some() {
                self.closed.push((queue, id));
            }
        }
    }

    fn some_events(&mut self) -> WaitEvents {
        [READ, WRITE, BOTH, READ, EXCEPTION, WaitEvents::ALL][self.random.below(6)]
    }

    /// Does something.
    fn step(&mut self, queues: &[Arc<Queue>]) {
        let what = self.random.below(32);
        let number = self.random.below(queues.len());
        let queue = &queues[number];
        let len = [1, 2, 100, 5_000, 8_192, 20_000][self.random.below(6)];
        self.socket.clear_error();
        match what {
            0..=4 => {
                let events = self.some_events();
                self.token += 1;
                let token = self.token;
                self.note(format!("subscribe {events:?} in {number} as {token:x}"));
                queue.subscribe(&self.socket, events, token).unwrap();
                let before = self.wanted[number].map_or((NOTHING, NOTHING), |old| (old.subscribed, old.disabled));
                self.wanted[number] = Some(Wanted {
                    subscribed: before.0 | events,
                    disabled: before.1 - events,
                    token,
                });
            }
            5..=6 => {
                let events = [READ, WRITE, BOTH][self.random.below(3)];
                self.note(format!("disable {events:?} in {number}"));
                let result = match events {
                    READ => queue.disable_read(&self.socket),
                    WRITE => queue.disable_write(&self.socket),
                    _ => queue.disable_read_write(&self.socket),
                };
                assert_eq!(result.is_ok(), self.wanted[number].is_some(), "{result:?}");
                if let Some(wanted) = &mut self.wanted[number] {
                    wanted.disabled |= events & wanted.subscribed;
                }
            }
            7 => {
                self.note(format!("remove from {number}"));
                let result = queue.remove(&self.socket);
                assert_eq!(result.is_ok(), self.wanted[number].take().is_some(), "{result:?}");
            }
            8..=12 => {
                self.note(format!("the peer writes {len}"));
                let bytes: Vec<u8> = (0..len).map(|n| if n % 50 == 49 { b'\n' } else { b'x' }).collect();
                if let Some(peer) = &mut self.peer {
                    let _ = peer.write(&bytes);
                }
            }
            13 => self.read("get some", |socket| drop(socket.get(&mut vec![0; len]))),
            14 => self.read("get one", |socket| drop(socket.get_byte())),
            15 => self.read("read some", |socket| drop(socket.read(&mut vec![0; len]))),
            16 => self.read("peek", |socket| drop(socket.peek())),
            17 => self.read("get what is there", |socket| {
                let mut there = vec![std::mem::MaybeUninit::uninit(); 100_000];
                let count = socket2::SockRef::from(&*socket).peek(&mut there).unwrap_or(0);
                let _ = socket.get(&mut vec![0; count + unread(socket)]);
            }),
            18 => self.read("fill_buf and consume a part", |socket| {
                if let Ok(count) = socket.fill_buf().map(|bytes| bytes.len()) {
                    socket.consume(count / 2);
                }
            }),
            19 => self.read("get_line", |socket| {
                if socket.get_line().is_err() {
                    // Half a line doesn't count as readable. After a look at it, it does.
                    socket.clear_error();
                    let _ = socket.peek();
                }
            }),
            20..=21 => self.read("get all", |socket| {
                while socket.get(&mut [0; 30_000]).is_ok_and(|count| count > 0) {}
            }),
            22 => self.read("wait_request", |socket| drop(socket.wait_request())),
            23 => self.read("get_all", |socket| {
                if socket.get_all(&mut vec![0; len]).is_err() {
                    // Nor does a part count, until more has come.
                    socket.clear_error();
                    let _ = socket.peek();
                }
            }),
            24 => self.read("put some", |socket| drop(socket.put(&vec![0; len]))),
            25 => self.read("put until full", |socket| while socket.put(&[0; 100_000]).is_ok() {}),
            26 => {
                self.note("the peer reads all".to_owned());
                if let Some(peer) = &mut self.peer {
                    while peer.read(&mut [0; 100_000]).is_ok_and(|count| count > 0) {}
                }
            }
            27 => {
                let what = self.random.below(6);
                self.note(format!("end {what}"));
                match what {
                    0 => drop(self.peer.as_ref().map(|peer| peer.shutdown(Shutdown::Write))),
                    1 => drop(self.socket.shutdown()),
                    2 => self.peer = None,
                    3 => self.peer.take().into_iter().for_each(reset),
                    _ => {
                        if let Some(peer) = &self.peer {
                            let _ = socket2::SockRef::from(peer).send_out_of_band(b"!");
                        }
                    }
                }
            }
            28 => {
                self.note("abort and clear".to_owned());
                self.socket.abort();
                assert!(matches!(self.socket.get_byte(), Err(Error::Aborted)));
                self.socket.clear_abort();
            }
            29 => {
                self.note("reopen".to_owned());
                self.reopen();
            }
            30 => {
                self.note("close, and reopen".to_owned());
                self.socket.handle().close();
                self.reopen();
            }
            _ => {
                self.note("convert to and fro".to_owned());
                if unread(&self.socket) > 0 {
                    return;
                }
                self.end_subscriptions();
                let socket = std::mem::take(&mut self.socket);
                let stream = TcpStream::try_from(socket).unwrap();
                self.socket = TcpSocket::from(stream);
                self.socket.timeout(Duration::ZERO);
            }
        }
        self.socket.clear_error();
    }

    fn read(&mut self, name: &str, read: impl FnOnce(&mut TcpSocket)) {
        self.note(name.to_owned());
        read(&mut self.socket);
    }

    fn note(&mut self, what: String) {
        self.log.push(what);
    }

    /// What `queue` should report of it now, and of that what it need not know.
    fn expected(&self, queue: usize) -> Option<(SocketId, Report)> {
        let wanted = self.wanted[queue]?;
        let (mut found, is_broken) = polled(&self.socket);
        if unread(&self.socket) > 0 {
            found |= READ;
        }
        let enabled = wanted.subscribed - wanted.disabled;
        if (found & enabled).is_empty() {
            return None;
        }
        let mut events = found & (enabled | EXCEPTION);
        if !enabled.contains(EXCEPTION) && !is_broken {
            events -= EXCEPTION;
        }
        let token = wanted.token;
        Some((self.socket.id(), Report { events, token }))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Report {
    events: WaitEvents,
    token: u64,
}

/// How many bytes the socket has read ahead.
fn unread(socket: &TcpSocket) -> usize {
    let text = format!("{socket:?}");
    let (_, after) = text.split_once("unread: ").unwrap();
    after.split_once(',').unwrap().0.parse().unwrap()
}

/// Checks that each queue reports what it should, and has reported the closings.
fn check(
    what: &dyn Fn() -> String,
    queues: &[Arc<Queue>],
    subjects: &[&Subject],
    closed: &mut HashMap<(usize, SocketId), usize>,
) {
    for (number, queue) in queues.iter().enumerate() {
        eventually(
            || format!("{}: queue {number} says what poll says", what()),
            || {
                let expected: BTreeMap<_, _> = subjects.iter().filter_map(|subject| subject.expected(number)).collect();
                let events = queue.wait(Duration::ZERO).unwrap();
                take_closed(number, &events, closed);
                let mut seen = BTreeMap::new();
                for event in events.iter().filter(|event| !event.is_closed()) {
                    let (id, token) = (event.socket_id(), *event.token());
                    let mut events = event.events();
                    // Urgent data, which need not be told where it wasn't asked for.
                    let told = expected.get(&id).map(|report| report.events);
                    if told.is_some_and(|told| !told.contains(EXCEPTION)) {
                        events -= EXCEPTION;
                    }
                    if told.is_none() && events == EXCEPTION && !TELLS_OF_URGENT {
                        continue;
                    }
                    assert!(seen.insert(id, Report { events, token }).is_none(), "twice: {event:?}");
                }
                if seen != expected {
                    return Err(format!("seen {seen:?}, expected {expected:?}"));
                }
                let missing: Vec<_> = subjects
                    .iter()
                    .flat_map(|subject| &subject.closed)
                    .filter(|key| key.0 == number && !closed.contains_key(key))
                    .collect();
                missing
                    .is_empty()
                    .then_some(())
                    .ok_or_else(|| format!("not told that {missing:?} are closed"))
            },
        );
    }
    let ended: HashSet<_> = subjects
        .iter()
        .flat_map(|subject| subject.closed.iter().copied())
        .collect();
    for (key, count) in closed {
        assert!(
            *count == 1 && ended.contains(key),
            "{}: {key:?} closed {count} times",
            what()
        );
    }
}

fn take_closed(queue: usize, events: &[SocketEvent<u64>], closed: &mut HashMap<(usize, SocketId), usize>) {
    for event in events.iter().filter(|event| event.is_closed()) {
        *closed.entry((queue, event.socket_id())).or_default() += 1;
    }
}

fn queues(count: usize) -> Vec<Arc<Queue>> {
    (0..count).map(|_| Arc::new(Queue::new().unwrap())).collect()
}

fn debug_logs<'a>(subjects: impl IntoIterator<Item = &'a Subject>) -> impl Debug {
    subjects
        .into_iter()
        .map(|subject| (subject.socket.id(), subject.log.clone()))
        .collect::<Vec<_>>()
}

#[test]
fn a_queue_says_what_poll_says() {
    const SEEDS: u64 = 40;
    const STEPS: usize = 150;
    let _test = begin();
    for seed in 1..=SEEDS {
        let queues = queues(2);
        let mut random = Random::new(seed);
        let mut subjects: Vec<_> = (0..3).map(|number| Subject::new(2, seed << 8 | number)).collect();
        let mut closed = HashMap::new();
        for step in 0..STEPS {
            subjects[random.below(3)].step(&queues);
            // Now and then several steps come between two looks.
            if random.below(3) > 0 {
                let subjects: Vec<_> = subjects.iter().collect();
                let what = || format!("seed {seed}, step {step}, {:#?}", debug_logs(subjects.iter().copied()));
                check(&what, &queues, &subjects, &mut closed);
            }
        }
    }
}

#[test]
fn a_queue_says_what_poll_says_when_threads_have_used_it() {
    const SEEDS: u64 = 80;
    const STEPS: usize = 40;
    let test = begin();
    if test.skip_if(is_wine(), LOST_WITH_THREAD) {
        return;
    }
    for seed in 1..=SEEDS {
        let queues = queues(2);
        let closed = Arc::new(Mutex::new(HashMap::new()));
        let over = Arc::new(AtomicBool::new(false));
        let waiting: Vec<_> = (0..2)
            .map(|number| {
                let (queue, closed, over) = (Arc::clone(&queues[number]), Arc::clone(&closed), Arc::clone(&over));
                block(move || {
                    while !over.load(SeqCst) {
                        let events = queue.wait(PATIENCE).unwrap();
                        take_closed(number, &events, &mut closed.lock().unwrap());
                    }
                })
            })
            .collect();
        let workers: Vec<_> = (0..3)
            .map(|number| {
                let queues = queues.clone();
                block(move || {
                    let mut subject = Subject::new(2, seed << 8 | number);
                    for _ in 0..STEPS {
                        subject.step(&queues);
                    }
                    subject
                })
            })
            .collect();
        let subjects: Vec<_> = workers.into_iter().map(Blocked::result).collect();
        over.store(true, SeqCst);
        queues.iter().for_each(|queue| queue.handle().wake());
        waiting.into_iter().for_each(|thread| thread.result());
        let subjects: Vec<_> = subjects.iter().collect();
        let what = || format!("seed {seed}, {:#?}", debug_logs(subjects.iter().copied()));
        check(&what, &queues, &subjects, &mut closed.lock().unwrap());
    }
}

#[test]
fn a_queue_says_what_poll_says_when_both_halves_were_used_at_once() {
    const ROUNDS: u64 = 150;
    let _test = begin();
    let queue = Arc::new(Queue::new().unwrap());
    let over = Arc::new(AtomicBool::new(false));
    let waiting = {
        let (queue, over) = (Arc::clone(&queue), Arc::clone(&over));
        block(move || {
            while !over.load(SeqCst) {
                queue.wait(Duration::from_millis(5)).unwrap();
            }
        })
    };
    let other = Arc::new(Queue::new().unwrap());
    for round in 1..=ROUNDS {
        let (own, mut peer) = nonblocking_pair();
        let mut socket = TcpSocket::from(own);
        socket.timeout(Duration::ZERO);
        let (mut reader, mut writer) = socket.split();
        queue.subscribe(&reader, BOTH, round).unwrap();
        other.subscribe(&writer, BOTH, round).unwrap();
        let reading = block(move || {
            for _ in 0..30 {
                let _ = reader.get(&mut [0; 10_000]);
                reader.clear_error();
            }
            reader
        });
        let writing = block(move || {
            for _ in 0..30 {
                let _ = writer.put(&[0; 300_000]);
                writer.clear_error();
            }
            writer
        });
        for _ in 0..30 {
            let _ = peer.write(&[7; 10_000]);
            if round.is_multiple_of(2) {
                let _ = peer.read(&mut [0; 400_000]);
            }
        }
        let (reader, writer) = (reading.result(), writing.result());
        let socket = reader.unsplit(writer).unwrap();
        for queue in [&queue, &other] {
            // The thread that waits may have been given what there is, for as long as it doesn't wait again.
            eventually(
                || format!("round {round}: the queue says what poll says"),
                || {
                    let mut expected = polled(&socket).0;
                    if unread(&socket) > 0 {
                        expected |= READ;
                    }
                    let fresh = queue
                        .subscribe(&socket, BOTH, round)
                        .and_then(|()| queue.wait(Duration::from_millis(1)));
                    let seen = fresh.unwrap().first().map_or(NOTHING, SocketEvent::events);
                    (seen == expected)
                        .then_some(())
                        .ok_or_else(|| format!("{seen:?} instead of {expected:?}"))
                },
            );
            queue.remove(&socket).unwrap();
        }
    }
    over.store(true, SeqCst);
    queue.handle().wake();
    waiting.result();
}
