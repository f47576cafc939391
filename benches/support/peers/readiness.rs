//! Ways to block until a descriptor is ready, by hand.

#![allow(unsafe_code, reason = "system calls, to compare with")]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use polling::{Event, Events, PollMode, Poller};

use crate::support::LIMIT;

/// A way to block until a socket is ready.
pub trait Readiness {
    const NAME: &str;
    /// Whether it has to be asked before each read or accept: it doesn't when these are tried first.
    const FIRST: bool;

    fn new(fd: BorrowedFd<'_>) -> Self;
    fn readable(&mut self, fd: BorrowedFd<'_>);
    fn writable(&mut self, fd: BorrowedFd<'_>);
}

/// select(2), which is what U++ does. It can't be interrupted.
pub struct Select;

impl Select {
    fn wait(fd: RawFd, for_reading: bool) {
        assert!((0..1024).contains(&fd));
        // SAFETY: an `fd_set` is an array of integers, for which zero is the empty set.
        let mut set: libc::fd_set = unsafe { std::mem::zeroed() };
        // SAFETY: the set has room for descriptors below 1,024.
        unsafe { libc::FD_SET(fd, &mut set) };
        let mut limit = libc::timeval {
            tv_sec: LIMIT.as_secs() as libc::time_t,
            tv_usec: 0,
        };
        let none = std::ptr::null_mut();
        let (reading, writing): (*mut libc::fd_set, _) = if for_reading {
            (&mut set, none)
        } else {
            (none, &mut set)
        };
        // SAFETY: the set and the limit are valid, and null stands for none.
        assert_eq!(unsafe { libc::select(fd + 1, reading, writing, none, &mut limit) }, 1);
    }
}

impl Readiness for Select {
    const NAME: &str = "select";
    const FIRST: bool = true;

    fn new(_: BorrowedFd<'_>) -> Select {
        Select
    }

    fn readable(&mut self, fd: BorrowedFd<'_>) {
        Select::wait(fd.as_raw_fd(), true);
    }

    fn writable(&mut self, fd: BorrowedFd<'_>) {
        Select::wait(fd.as_raw_fd(), false);
    }
}

/// poll(2) of the socket and an eventfd, which could interrupt it.
pub struct PollEventfd(OwnedFd);

impl PollEventfd {
    fn wait(&self, fd: RawFd, events: libc::c_short) {
        let entry = |fd, events| libc::pollfd { fd, events, revents: 0 };
        let mut entries = [entry(fd, events), entry(self.0.as_raw_fd(), libc::POLLIN)];
        // SAFETY: the pointer is to as many entries as said.
        let count = unsafe { libc::poll(entries.as_mut_ptr(), 2, LIMIT.as_millis() as i32) };
        assert_eq!(count, 1);
    }
}

impl Readiness for PollEventfd {
    const NAME: &str = "poll and eventfd";
    const FIRST: bool = true;

    fn new(_: BorrowedFd<'_>) -> PollEventfd {
        // SAFETY: a plain system call.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        assert!(fd >= 0);
        // SAFETY: it was made just now.
        PollEventfd(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    fn readable(&mut self, fd: BorrowedFd<'_>) {
        self.wait(fd.as_raw_fd(), libc::POLLIN);
    }

    fn writable(&mut self, fd: BorrowedFd<'_>) {
        self.wait(fd.as_raw_fd(), libc::POLLOUT);
    }
}

/// epoll(7), edge-triggered, of the socket and of an eventfd that could interrupt it: the system calls that a wait takes
/// which can be ended, and hardly anything else. What is above it waits, reads and writes in the same order as this crate.
pub struct Epoll {
    reading: EpollOf,
    writing: Option<EpollOf>,
}

struct EpollOf {
    epoll: OwnedFd,
    _eventfd: OwnedFd,
}

impl EpollOf {
    fn new(fd: BorrowedFd<'_>, interest: libc::c_int) -> EpollOf {
        // SAFETY: a plain system call.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        // SAFETY: a plain system call.
        let eventfd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        assert!(epoll >= 0 && eventfd >= 0);
        // SAFETY: it was made just now.
        let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
        // SAFETY: it was made just now.
        let eventfd = unsafe { OwnedFd::from_raw_fd(eventfd) };
        for (fd, interest) in [(fd.as_raw_fd(), interest), (eventfd.as_raw_fd(), libc::EPOLLIN)] {
            let mut event = libc::epoll_event {
                events: (interest | libc::EPOLLET) as u32,
                u64: fd as u64,
            };
            // SAFETY: the event is valid, and both descriptors are open.
            let added = unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) };
            assert_eq!(added, 0);
        }
        EpollOf {
            epoll,
            _eventfd: eventfd,
        }
    }

    fn wait(&self) {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 2];
        let limit = LIMIT.as_millis() as i32;
        // SAFETY: there is room for as many events as said.
        let count = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), 2, limit) };
        assert_eq!(count, 1);
    }
}

impl Readiness for Epoll {
    const NAME: &str = "epoll_wait, bare";
    const FIRST: bool = false;

    fn new(fd: BorrowedFd<'_>) -> Epoll {
        Epoll {
            reading: EpollOf::new(fd, libc::EPOLLIN),
            writing: None,
        }
    }

    fn readable(&mut self, _: BorrowedFd<'_>) {
        self.reading.wait();
    }

    fn writable(&mut self, fd: BorrowedFd<'_>) {
        self.writing
            .get_or_insert_with(|| EpollOf::new(fd, libc::EPOLLOUT))
            .wait();
    }
}

/// A `mio::Poll` with a `Waker` for each direction, which could interrupt it: what this crate is built on, with nothing
/// on top.
pub struct Mio {
    reading: MioPoll,
    writing: Option<MioPoll>,
}

struct MioPoll {
    poll: mio::Poll,
    events: mio::Events,
    _waker: mio::Waker,
}

impl MioPoll {
    fn new(fd: BorrowedFd<'_>, interest: mio::Interest) -> MioPoll {
        let poll = mio::Poll::new().unwrap();
        let fd = fd.as_raw_fd();
        let mut source = mio::unix::SourceFd(&fd);
        poll.registry().register(&mut source, mio::Token(0), interest).unwrap();
        MioPoll {
            _waker: mio::Waker::new(poll.registry(), mio::Token(1)).unwrap(),
            events: mio::Events::with_capacity(2),
            poll,
        }
    }

    fn wait(&mut self) {
        self.poll.poll(&mut self.events, Some(LIMIT)).unwrap();
    }
}

impl Readiness for Mio {
    const NAME: &str = "mio, bare";
    const FIRST: bool = false;

    fn new(fd: BorrowedFd<'_>) -> Mio {
        Mio {
            reading: MioPoll::new(fd, mio::Interest::READABLE),
            writing: None,
        }
    }

    fn readable(&mut self, _: BorrowedFd<'_>) {
        self.reading.wait();
    }

    fn writable(&mut self, fd: BorrowedFd<'_>) {
        let writing = self
            .writing
            .get_or_insert_with(|| MioPoll::new(fd, mio::Interest::WRITABLE));
        writing.wait();
    }
}

/// The crate `polling`, level-triggered.
pub struct Polling {
    poller: Poller,
    events: Events,
    fd: RawFd,
}

impl Polling {
    fn wait(&mut self) {
        self.events.clear();
        self.poller.wait(&mut self.events, Some(LIMIT)).unwrap();
    }
}

impl Readiness for Polling {
    const NAME: &str = "polling";
    const FIRST: bool = true;

    fn new(fd: BorrowedFd<'_>) -> Polling {
        let poller = Poller::new().unwrap();
        // SAFETY: whoever asks for readiness has the descriptor open, and asks no more once it is closed.
        unsafe { poller.add_with_mode(&fd, Event::readable(0), PollMode::Level) }.unwrap();
        Polling {
            poller,
            events: Events::new(),
            fd: fd.as_raw_fd(),
        }
    }

    fn readable(&mut self, fd: BorrowedFd<'_>) {
        debug_assert_eq!(self.fd, fd.as_raw_fd());
        self.wait();
    }

    fn writable(&mut self, fd: BorrowedFd<'_>) {
        let change = |event| self.poller.modify_with_mode(fd, event, PollMode::Level);
        change(Event::writable(0)).unwrap();
        self.wait();
        let change = |event| self.poller.modify_with_mode(fd, event, PollMode::Level);
        change(Event::readable(0)).unwrap();
    }
}
