//! One wait among many idle sockets, one of which has something to read: this crate's queue and `SocketWaitEvent`
//! beside epoll(7), poll(2) and select(2) by hand, and the crate `polling`.
//!
//! And how long it takes from closing one of ten thousand subscribed sockets until the wait has returned.

#![allow(unsafe_code, reason = "system calls, to compare with")]

mod support;

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use polling::{Event, Events, PollMode, Poller};
use support::{Contestant, compare, is_quick, percentile, rounds};
use wakesock::{SocketEventQueue, SocketWaitEvent, TcpSocket, WAIT_READ, WaitEvents};

fn main() {
    let granted = raise_descriptor_limit();
    for (idle, turns) in [(10, 5000), (100, 5000), (1000, 1000), (10_000, 300)] {
        let turns = if is_quick() { 5 } else { turns };
        if idle + 50 > granted {
            println!("\n{idle} idle sockets: not measured, only {granted} descriptors to be had");
            continue;
        }
        let mut contestants: Vec<Contestant<'_>> = vec![
            ("epoll, level-triggered", Box::new(move || time::<Epoll>(idle, turns))),
            ("SocketEventQueue", Box::new(move || time::<Queue>(idle, turns))),
            (
                "polling, level-triggered",
                Box::new(move || time::<Polling>(idle, turns)),
            ),
            (
                "SocketWaitEvent, kept",
                Box::new(move || time::<WaitEventKept>(idle, turns)),
            ),
            (
                "SocketWaitEvent, rebuilt each turn",
                Box::new(move || time::<WaitEventRebuilt>(idle, turns)),
            ),
            ("poll", Box::new(move || time::<Poll>(idle, turns))),
        ];
        if idle <= 100 {
            contestants.push(("select", Box::new(move || time::<Select>(idle, turns))));
        }
        compare(
            &format!("a byte written, waited for among {idle} idle sockets, and read"),
            rounds(9),
            &mut contestants,
        );
    }
    if granted > 10_050 {
        time_closing(10_000);
    }
}

/// A way to wait until one of many sockets has something to read.
trait Wait {
    fn new(sockets: &[TcpSocket]) -> Self;
    /// Which one has.
    fn wait(&mut self, sockets: &[TcpSocket]) -> usize;
    /// Reads the byte that is there. By hand, unless the way has to know of it.
    fn read(socket: &mut TcpSocket) {
        let mut byte = [0; 1];
        // SAFETY: the memory is valid for one byte, and the descriptor is open.
        let count = unsafe { libc::recv(socket.as_raw_fd(), byte.as_mut_ptr().cast(), 1, 0) };
        assert_eq!(count, 1);
    }
}

/// How long one turn takes.
fn time<W: Wait>(idle: usize, turns: u32) -> Duration {
    let mut crowd = Crowd::new(idle);
    let mut wait = W::new(&crowd.sockets);
    let mut run = |turns: u32| {
        let begin = Instant::now();
        for turn in 0..turns {
            let (active, peer) = &mut crowd.peers[turn as usize % ACTIVE];
            io::Write::write_all(peer, b"x").unwrap();
            assert_eq!(wait.wait(&crowd.sockets), *active);
            W::read(&mut crowd.sockets[*active]);
        }
        begin.elapsed()
    };
    run(turns.min(10));
    run(turns) / turns
}

/// So many are written to, one at a time, one after the other.
const ACTIVE: usize = 10;

/// Sockets, most of them forever idle.
struct Crowd {
    sockets: Vec<TcpSocket>,
    /// Who writes to the others, and to which.
    peers: Vec<(usize, TcpStream)>,
}

impl Crowd {
    fn new(count: usize) -> Crowd {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peers = Vec::new();
        let mut sockets = Vec::with_capacity(count);
        for index in 0..count {
            let mut socket = TcpSocket::new();
            if index % (count / ACTIVE) == 0 {
                let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                peer.set_nodelay(true).unwrap();
                socket.attach(listener.accept().unwrap().0).unwrap();
                peers.push((index, peer));
            } else {
                // Not a connection, so that it takes one descriptor and not two.
                socket.attach(idle_listener()).unwrap();
            }
            socket.timeout(Duration::ZERO);
            sockets.push(socket);
        }
        Crowd { sockets, peers }
    }
}

/// A listener that nobody knows of.
fn idle_listener() -> socket2::Socket {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    // unix(7), "Autobind feature": listening gives it a name in the abstract namespace.
    socket.bind(&socket2::SockAddr::unix("").unwrap()).unwrap();
    socket.listen(1).unwrap();
    socket
}

struct Queue {
    queue: SocketEventQueue<usize>,
    events: Vec<wakesock::SocketEvent<usize>>,
}

impl Wait for Queue {
    fn new(sockets: &[TcpSocket]) -> Queue {
        let queue = SocketEventQueue::new().unwrap();
        for (index, socket) in sockets.iter().enumerate() {
            queue.subscribe(socket, WaitEvents::READ, index).unwrap();
        }
        let events = Vec::new();
        Queue { queue, events }
    }

    fn wait(&mut self, _: &[TcpSocket]) -> usize {
        assert_eq!(self.queue.wait_into(&mut self.events, None).unwrap(), 1);
        *self.events[0].token()
    }

    fn read(socket: &mut TcpSocket) {
        assert_eq!(socket.get_byte().unwrap(), Some(b'x'));
    }
}

struct WaitEventKept(SocketWaitEvent);

fn filled(sockets: &[TcpSocket]) -> SocketWaitEvent {
    let mut waiting = SocketWaitEvent::new();
    for socket in sockets {
        waiting.add(socket, WAIT_READ);
    }
    waiting
}

fn first_ready(waiting: &SocketWaitEvent, count: usize) -> usize {
    (0..count).find(|index| !waiting[*index].is_empty()).unwrap()
}

impl Wait for WaitEventKept {
    fn new(sockets: &[TcpSocket]) -> WaitEventKept {
        WaitEventKept(filled(sockets))
    }

    fn wait(&mut self, sockets: &[TcpSocket]) -> usize {
        assert_eq!(self.0.wait(None).unwrap(), 1);
        first_ready(&self.0, sockets.len())
    }

    fn read(socket: &mut TcpSocket) {
        Queue::read(socket);
    }
}

struct WaitEventRebuilt;

impl Wait for WaitEventRebuilt {
    fn new(_: &[TcpSocket]) -> WaitEventRebuilt {
        WaitEventRebuilt
    }

    fn wait(&mut self, sockets: &[TcpSocket]) -> usize {
        let mut waiting = filled(sockets);
        assert_eq!(waiting.wait(None).unwrap(), 1);
        first_ready(&waiting, sockets.len())
    }

    fn read(socket: &mut TcpSocket) {
        Queue::read(socket);
    }
}

struct Epoll {
    epoll: OwnedFd,
    events: [libc::epoll_event; 1024],
}

impl Wait for Epoll {
    fn new(sockets: &[TcpSocket]) -> Epoll {
        // SAFETY: a plain system call.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        assert!(fd >= 0);
        // SAFETY: it was made just now.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        for (index, socket) in sockets.iter().enumerate() {
            let mut event = libc::epoll_event {
                events: libc::EPOLLIN as u32,
                u64: index as u64,
            };
            // SAFETY: the event is valid, and both descriptors are open.
            let added = unsafe { libc::epoll_ctl(fd, libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &mut event) };
            assert_eq!(added, 0);
        }
        Epoll {
            epoll,
            events: [libc::epoll_event { events: 0, u64: 0 }; 1024],
        }
    }

    fn wait(&mut self, _: &[TcpSocket]) -> usize {
        // SAFETY: there is room for as many events as said.
        let count = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), self.events.as_mut_ptr(), 1024, -1) };
        assert_eq!(count, 1);
        self.events[0].u64 as usize
    }
}

struct Polling {
    poller: Poller,
    events: Events,
    fds: Vec<RawFd>,
}

impl Wait for Polling {
    fn new(sockets: &[TcpSocket]) -> Polling {
        let poller = Poller::new().unwrap();
        for (index, socket) in sockets.iter().enumerate() {
            // SAFETY: it is taken out again, by `drop`, before the sockets are closed.
            unsafe { poller.add_with_mode(socket, Event::readable(index), PollMode::Level) }.unwrap();
        }
        Polling {
            poller,
            events: Events::new(),
            fds: sockets.iter().map(AsRawFd::as_raw_fd).collect(),
        }
    }

    fn wait(&mut self, _: &[TcpSocket]) -> usize {
        self.events.clear();
        assert_eq!(self.poller.wait(&mut self.events, None).unwrap(), 1);
        self.events.iter().next().unwrap().key
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        for fd in &self.fds {
            // SAFETY: the sockets outlive their poller in `time`.
            let fd = unsafe { BorrowedFd::borrow_raw(*fd) };
            self.poller.delete(fd.as_fd()).unwrap();
        }
    }
}

struct Poll(Vec<libc::pollfd>);

impl Wait for Poll {
    fn new(sockets: &[TcpSocket]) -> Poll {
        let entry = |socket: &TcpSocket| libc::pollfd {
            fd: socket.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        Poll(sockets.iter().map(entry).collect())
    }

    fn wait(&mut self, _: &[TcpSocket]) -> usize {
        // SAFETY: the pointer is to as many entries as said.
        let count = unsafe { libc::poll(self.0.as_mut_ptr(), self.0.len() as libc::nfds_t, -1) };
        assert_eq!(count, 1);
        self.0.iter().position(|entry| entry.revents != 0).unwrap()
    }
}

struct Select;

impl Wait for Select {
    fn new(sockets: &[TcpSocket]) -> Select {
        assert!(sockets.iter().all(|socket| socket.as_raw_fd() < 1024));
        Select
    }

    fn wait(&mut self, sockets: &[TcpSocket]) -> usize {
        // SAFETY: an `fd_set` is an array of integers, for which zero is the empty set.
        let mut set: libc::fd_set = unsafe { std::mem::zeroed() };
        let mut highest = 0;
        for socket in sockets {
            let fd = socket.as_raw_fd();
            // SAFETY: the set has room for descriptors below 1,024.
            unsafe { libc::FD_SET(fd, &mut set) };
            highest = highest.max(fd);
        }
        let none = std::ptr::null_mut();
        // SAFETY: the set is valid, and null stands for none, and for no limit.
        let count = unsafe { libc::select(highest + 1, &mut set, none, none, std::ptr::null_mut()) };
        assert_eq!(count, 1);
        // SAFETY: as above.
        let is_set = |socket: &TcpSocket| unsafe { libc::FD_ISSET(socket.as_raw_fd(), &set) };
        sockets.iter().position(is_set).unwrap()
    }
}

/// From closing one of `count` subscribed sockets in one thread until another has returned from its wait.
fn time_closing(count: usize) {
    let closings = if is_quick() { 3 } else { 500 };
    let Crowd { sockets, peers: _peers } = Crowd::new(count);
    let queue = SocketEventQueue::<usize>::new().unwrap();
    for (index, socket) in sockets.iter().enumerate() {
        queue.subscribe(socket, WaitEvents::READ, index).unwrap();
    }
    let handles: Vec<_> = sockets.iter().map(TcpSocket::handle).collect();
    let (send, receive) = mpsc::channel();
    let waiting = thread::Builder::new()
        .name("waiting".into())
        .spawn(move || {
            let mut events = Vec::new();
            for _ in 0..closings {
                queue.wait_into(&mut events, None).unwrap();
                let returned = Instant::now();
                assert!(events.len() == 1 && events[0].is_closed());
                send.send(returned).unwrap();
            }
        })
        .unwrap();
    let mut times: Vec<Duration> = (0..closings)
        .map(|turn| {
            while !is_blocked("(waiting) S") {
                thread::yield_now();
            }
            let begin = Instant::now();
            handles[turn * (count / closings) + turn % 7].close();
            receive.recv().unwrap().duration_since(begin)
        })
        .collect();
    waiting.join().unwrap();
    times.sort_unstable();
    println!(
        "\nfrom close of one of {count} subscribed sockets until the wait has returned: median {:.1?}, 99 % within {:.1?}",
        percentile(&times, 50),
        percentile(&times, 99)
    );
}

/// Whether a thread with this name and state is there.
fn is_blocked(state: &str) -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok())
        .any(|stat| stat.contains(state))
}

/// As many descriptors as can be had: how many that is.
fn raise_descriptor_limit() -> usize {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a valid `rlimit`.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}
