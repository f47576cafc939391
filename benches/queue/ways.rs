//! The ways to wait among many sockets.

#![allow(unsafe_code, reason = "system calls, to compare with")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use polling::{Event, Events, PollMode, Poller};
use wakesock::{SocketEventQueue, SocketWaitEvent, TcpSocket, WAIT_READ, WaitEvents};

/// A way to wait until some of many sockets have something to read.
pub trait Way {
    const NAME: &str;

    fn new(sockets: &[TcpSocket]) -> Self;

    /// Blocks, and says which ones have.
    fn wait(&mut self, sockets: &[TcpSocket], found: &mut Vec<usize>);

    /// Reads the byte that is there. By hand, unless the way has to know of it.
    fn read(socket: &mut TcpSocket) {
        let mut byte = [0; 1];
        // SAFETY: the memory is valid for one byte, and the descriptor is open.
        let count = unsafe { libc::recv(socket.as_raw_fd(), byte.as_mut_ptr().cast(), 1, 0) };
        assert_eq!(count, 1);
    }
}

/// What this crate's ways read with.
fn get_byte(socket: &mut TcpSocket) {
    assert_eq!(socket.get_byte().unwrap(), Some(b'x'));
}

/// This crate's queue.
pub struct Queue {
    queue: SocketEventQueue<usize>,
    events: Vec<wakesock::SocketEvent<usize>>,
}

impl Way for Queue {
    const NAME: &str = "SocketEventQueue";

    fn new(sockets: &[TcpSocket]) -> Queue {
        let queue = SocketEventQueue::new().unwrap();
        for (index, socket) in sockets.iter().enumerate() {
            queue.subscribe(socket, WaitEvents::READ, index).unwrap();
        }
        Queue {
            queue,
            events: Vec::new(),
        }
    }

    fn wait(&mut self, _: &[TcpSocket], found: &mut Vec<usize>) {
        self.queue.wait_into(&mut self.events, None).unwrap();
        found.extend(self.events.iter().map(|event| *event.token()));
    }

    fn read(socket: &mut TcpSocket) {
        get_byte(socket);
    }
}

/// A `SocketWaitEvent` that is filled once.
pub struct WaitEventKept(SocketWaitEvent);

fn fill(waiting: &mut SocketWaitEvent, sockets: &[TcpSocket]) {
    for socket in sockets {
        waiting.add(socket, WAIT_READ);
    }
}

/// Waits and looks for the ready ones, as a user of U++ does.
fn wait_and_look(waiting: &mut SocketWaitEvent, sockets: &[TcpSocket], found: &mut Vec<usize>) {
    let count = waiting.wait(None).unwrap();
    let ready = (0..sockets.len()).filter(|index| !waiting[*index].is_empty());
    found.extend(ready.take(count));
}

impl Way for WaitEventKept {
    const NAME: &str = "SocketWaitEvent, kept";

    fn new(sockets: &[TcpSocket]) -> WaitEventKept {
        let mut waiting = SocketWaitEvent::new();
        fill(&mut waiting, sockets);
        WaitEventKept(waiting)
    }

    fn wait(&mut self, sockets: &[TcpSocket], found: &mut Vec<usize>) {
        wait_and_look(&mut self.0, sockets, found);
    }

    fn read(socket: &mut TcpSocket) {
        get_byte(socket);
    }
}

/// One that is made and filled in each turn.
pub struct WaitEventRebuilt;

impl Way for WaitEventRebuilt {
    const NAME: &str = "SocketWaitEvent, rebuilt each turn";

    fn new(_: &[TcpSocket]) -> WaitEventRebuilt {
        WaitEventRebuilt
    }

    fn wait(&mut self, sockets: &[TcpSocket], found: &mut Vec<usize>) {
        let mut waiting = SocketWaitEvent::new();
        fill(&mut waiting, sockets);
        wait_and_look(&mut waiting, sockets, found);
    }

    fn read(socket: &mut TcpSocket) {
        get_byte(socket);
    }
}

/// epoll(7), level-triggered.
pub struct Epoll {
    epoll: OwnedFd,
    events: [libc::epoll_event; 1024],
}

impl Way for Epoll {
    const NAME: &str = "epoll, level-triggered";

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

    fn wait(&mut self, _: &[TcpSocket], found: &mut Vec<usize>) {
        // SAFETY: there is room for as many events as said.
        let count = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), self.events.as_mut_ptr(), 1024, -1) };
        let events = &self.events[..usize::try_from(count).unwrap()];
        found.extend(events.iter().map(|event| event.u64 as usize));
    }
}

/// The crate `polling`.
pub struct Polling {
    poller: Poller,
    events: Events,
    fds: Vec<RawFd>,
}

impl Way for Polling {
    const NAME: &str = "polling, level-triggered";

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

    fn wait(&mut self, _: &[TcpSocket], found: &mut Vec<usize>) {
        self.events.clear();
        self.poller.wait(&mut self.events, None).unwrap();
        found.extend(self.events.iter().map(|event| event.key));
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        for fd in &self.fds {
            // SAFETY: the sockets outlive their poller: see `time` in main.rs.
            let fd = unsafe { BorrowedFd::borrow_raw(*fd) };
            self.poller.delete(fd.as_fd()).unwrap();
        }
    }
}

fn entries(sockets: &[TcpSocket]) -> impl Iterator<Item = libc::pollfd> {
    sockets.iter().map(|socket| libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    })
}

/// poll(2), and a look for the ready ones.
fn poll(entries: &mut [libc::pollfd], found: &mut Vec<usize>) {
    // SAFETY: the pointer is to as many entries as said.
    let count = unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, -1) };
    let ready = (0..entries.len()).filter(|index| entries[*index].revents != 0);
    found.extend(ready.take(usize::try_from(count).unwrap()));
}

/// poll(2) with an array that is filled once.
pub struct PollKept(Vec<libc::pollfd>);

impl Way for PollKept {
    const NAME: &str = "poll, kept";

    fn new(sockets: &[TcpSocket]) -> PollKept {
        PollKept(entries(sockets).collect())
    }

    fn wait(&mut self, _: &[TcpSocket], found: &mut Vec<usize>) {
        poll(&mut self.0, found);
    }
}

/// poll(2) with one that is made and filled in each turn.
pub struct PollFilled;

impl Way for PollFilled {
    const NAME: &str = "poll, filled each turn";

    fn new(_: &[TcpSocket]) -> PollFilled {
        PollFilled
    }

    fn wait(&mut self, sockets: &[TcpSocket], found: &mut Vec<usize>) {
        poll(&mut entries(sockets).collect::<Vec<_>>(), found);
    }
}

/// select(2), whose sets have to be filled each turn.
pub struct Select;

impl Select {
    /// A set has no place for this descriptor number, nor for those above.
    pub const END: usize = libc::FD_SETSIZE;
}

impl Way for Select {
    const NAME: &str = "select, filled each turn";

    fn new(sockets: &[TcpSocket]) -> Select {
        let has_place = |socket: &TcpSocket| (socket.as_raw_fd() as usize) < Select::END;
        assert!(sockets.iter().all(has_place));
        Select
    }

    fn wait(&mut self, sockets: &[TcpSocket], found: &mut Vec<usize>) {
        // SAFETY: an `fd_set` is an array of integers, for which zero is the empty set.
        let mut set: libc::fd_set = unsafe { std::mem::zeroed() };
        let mut highest = 0;
        for socket in sockets {
            let fd = socket.as_raw_fd();
            // SAFETY: the set has a place for it, as `new` has seen.
            unsafe { libc::FD_SET(fd, &mut set) };
            highest = highest.max(fd);
        }
        let none = ptr::null_mut();
        // SAFETY: the set is valid, and null stands for none, and for no limit.
        let count = unsafe { libc::select(highest + 1, &mut set, none, none, ptr::null_mut()) };
        // SAFETY: as above.
        let is_set = |index: &usize| unsafe { libc::FD_ISSET(sockets[*index].as_raw_fd(), &set) };
        let ready = (0..sockets.len()).filter(is_set);
        found.extend(ready.take(usize::try_from(count).unwrap()));
    }
}
