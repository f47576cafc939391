//! Unix: Linux and Android, the BSDs and Apple's systems, illumos and Solaris. Where they differ, and how it is met:
//!
//! | what differs | where it says so | how it is met |
//! |---|---|---|
//! | shutdown(2) of a listener wakes a thread in accept(2) on Linux; elsewhere it fails with `ENOTCONN` and changes nothing | shutdown(2) of FreeBSD and macOS | no wake depends on it: blocked threads are woken by their polls, and a listener is closed or [`replace`]d |
//! | an accepted socket has the listener's `O_NONBLOCK` and so on, or not | accept(2): Linux, "Notes"; FreeBSD; macOS | accept4(2) sets what is wanted whatever the listener has. Apple's systems have none: [`accept`] sets it, close-on-exec a moment later than the socket is there |
//! | `MSG_NOSIGNAL` prevents SIGPIPE; Apple's systems have `SO_NOSIGPIPE` instead | send(2); setsockopt(2) of macOS | [`send`], [`accept`], and [`adopt`] for sockets made elsewhere; socket2 sets it on those that it makes |
//! | Apple's systems refuse `SO_NOSIGPIPE` with `EINVAL` on a connection of which both directions have ended | setsockopt(2) of macOS | [`accept`] passes the connection over like one that broke in the queue; [`adopt`] takes it as it is, and only there a write raises SIGPIPE |
//! | waking a poll: `eventfd` on Linux, Android and illumos, a filter of its own, `EVFILT_USER`, on the BSDs and Apple's, `port_send` on Solaris, a lock and a pipe above poll(2) | eventfd(2); kqueue(2); port_send(3C); mio's `selector/poll.rs` | each but the last is one system call on a descriptor that was made before, so async-signal-safe in fact, if `kevent` and `port_send` are not in POSIX's list; instead of the last there is a pipe of our own: [`Waker`] |
//! | kqueue(2) has one filter for each direction, so one socket gives two reports, and neither says that both directions have ended | kqueue(2), `EV_EOF` | reports of one wait are put together; a queue asks poll(2) after a report that writing is over: see `report` in `queue/subscription.rs` |
//! | kqueue(2) doesn't report urgent data, which may cut a read short | kqueue(2): where there is `EVFILT_EXCEPT` for it, mio doesn't ask | [`SHORT_READ_EMPTIES`] is true on Linux and Android only |
//! | a report ends the watching: on Solaris, which has event ports, and where mio has nothing better than poll(2) | port_associate(3C); mio's `selector/poll.rs` | [`REPORTS_ONCE`] |
//! | closing always takes a descriptor out of a kqueue; out of an epoll(7) only with its last duplicate; never out of mio's list above poll(2) | kqueue(2); epoll(7), question 6 | one that is given away is taken out before: `Opening::take`; so is one that is closed, where mio [`REPORTS_ONCE`] or others may have duplicates. A signal handler can't do that: then a queue may be woken for nothing |
//! | poll(2) says `POLLHUP` when both directions have ended; the BSDs never say it together with `POLLOUT` | poll(2) of Linux and of FreeBSD | [`poll`]: a hang-up is ready for all |
//! | accept(2) of a connection that broke in the queue fails with `ECONNABORTED`; on Linux with any error that was pending on it | accept(2): FreeBSD, "Errors"; Linux, "Error handling" | [`is_aborted_connection`] knows all of them: the next client is tried |
//! | after `EINTR`, close(2) has closed the descriptor on Linux and the BSDs; POSIX leaves that open | close(2): Linux, "Dealing with error returns"; POSIX, "Rationale" | close(2) is never tried again: it could close another file's descriptor |
//! | dup2(2) may be interrupted | dup2(2): Linux, `EINTR`; Solaris | [`replace`] tries again: until it succeeds the number is still the socket's |
//! | closing a non-blocking socket waits for `SO_LINGER` on Linux; the BSDs and Apple's systems don't wait | socket(7), `SO_LINGER`; `soclose` in FreeBSD's uipc_socket.c | [`LINGERS_IF_BLOCKING`] |
//! | `SO_LINGER` counts ticks on Apple's systems | setsockopt(2) of macOS, `SO_LINGER_SEC` | socket2 uses `SO_LINGER_SEC` there |
//! | connect(2) to a Unix-domain listener whose queue is full: `EAGAIN` on Linux, `ECONNREFUSED` elsewhere | connect(2): Linux; unix(4) of FreeBSD | tried again only after `EAGAIN` |
//! | the process at the other end: `SO_PEERCRED`, `LOCAL_PEERPID`, or nothing that gives a process | unix(7); unix(4) | [`peer_pid`]: `Unsupported` elsewhere |

mod domain;
mod error;
mod placeholder;
mod poll;
mod raw;
#[cfg(feature = "signal")]
mod signal;
mod socket;
mod waker;

pub(crate) use self::domain::*;
pub(crate) use self::error::*;
pub(crate) use self::placeholder::*;
pub(crate) use self::poll::*;
pub(crate) use self::raw::*;
#[cfg(feature = "signal")]
pub(crate) use self::signal::*;
pub(crate) use self::socket::*;
pub(crate) use self::waker::*;
