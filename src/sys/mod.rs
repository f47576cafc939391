//! All that differs between platforms. What a platform must provide, each in the file that is named for it:
//!
//! | file | item | what it does |
//! |---|---|---|
//! | `raw` | `OwnedSocket`, `BorrowedSocket` | a socket of the system's, in the standard library's types |
//! | | `RawSocket`, `AtomicRawSocket`, `NO_SOCKET` | its number, an atomic cell for one, and what stands for no number: every call refuses it |
//! | | `INVALID_SOCKET` | what programs know as the number of no socket |
//! | | `NUMBER` | what the standard library calls the number where it shows a socket |
//! | | `borrowed`, `into_raw`, `own`, `borrow`, `no_socket` | convert between these |
//! | `poll` | `poll` | says whether a socket is ready, and waits no longer than `timeout` |
//! | | `wait_in` | blocks in a `mio::Poll`, for a limit as exact as the system can keep it |
//! | | `PollSource` | a socket in a `mio::Poll`; the same socket may be in several, each through one of these |
//! | | `REPORTS_ONCE` | whether mio stops watching for what it has reported, until told to watch again; it then keeps a list of sockets, which a socket has to leave before it is closed |
//! | | `REPORTS_LATE` | whether mio may report an event that was over before it polled |
//! | | `POLL_RETURNS_EARLY` | whether mio's poll may return with nothing before its limit is over |
//! | | `SHORT_READ_EMPTIES`, `short_read_empties` | whether a short read proves that nothing more is there, of TCP and of a given socket |
//! | | `SHORT_WRITE_FILLS` | whether a short write proves that no room is left |
//! | `waker` | `Waker` | makes a `mio::Poll` return; waking is async-signal-safe |
//! | `socket` | `socket` | makes a socket: non-blocking, not inherited by child processes |
//! | | `adopt` | readies a socket that was made elsewhere |
//! | | `set_reuse_address`, `listen` | make a socket a listener |
//! | | `accept` | takes a connection off a listener: non-blocking, not inherited by child processes |
//! | | `send`, `receive`, `receive_into_room` | writes without raising SIGPIPE, and reads; neither waits |
//! | | `peek` | reads, and leaves what it has read there |
//! | | `send_vectored`, `receive_vectored`, `MOST_SLICES` | the same with so many slices |
//! | | `may_block` | whether calls on a socket may block, because others that have it, too, have said so |
//! | | `is_listener` | whether a socket made elsewhere listens |
//! | `placeholder` | `prepare_replacing`, `replace` | let go of a connection or listener while its number stays taken, and leave alone what others have of it; `replace` is async-signal-safe |
//! | | `dead`, `duplicate_into` | make something that every call refuses, and give such a thing's number to a duplicate of a socket, which doesn't fail for want of descriptors |
//! | | `HANDLERS_INTERRUPT` | whether what ends a socket may be a signal handler, which may neither free memory nor take locks |
//! | | `LINGERS_IF_BLOCKING` | whether closing waits for unsent data only if the socket is a blocking one |
//! | | `most_descriptors` | how many descriptors the process may have |
//! | | `MOST_BACKLOG`, `MOST_LINGER` | the longest queue of a listener, and the most seconds that closing may wait |
//! | `domain` | `SUN_PATH`, `abstract_address` | the room in an address of a Unix-domain socket, and Linux's other kind of one |
//! | | `connect_path`, `path_of`, `peer_pid` | connect to one, the path that one is bound to, and the process at the other end |
//! | `error` | `is_aborted_connection`, `is_in_progress`, `is_scarcity` | the meaning of errors of `accept`, of `connect`, and of every call that makes sockets |
//! | | `kind` | the kind of an error |
//! | | `limit_error` | the error of a call whose limit is over, or that may not wait |
//! | | `look_up_error` | the error of a failed look-up, with the kind that it means |
//! | | `keep_errno` | runs something and restores errno |
//! | | `code` | numbers of errors, for tests |
//! | `signal` | `on_signal` | runs something when the program is asked to end |

mod registration;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use mio::{Events, Token};
use socket2::{SockAddr, SockRef};

pub(crate) use self::registration::Registration;

#[cfg(all(test, wakesock_loom))]
pub(crate) mod model;

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use self::unix::*;

/// The models use these instead of the platform's.
#[cfg(all(test, wakesock_loom))]
pub(crate) use self::model::{Waker, borrow, into_raw, own, replace, wait_in};

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(crate) use self::windows::*;

/// A connection that was taken off a listener's queue.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) socket: OwnedSocket,
    /// Where it comes from, if that has an address with a port.
    pub(crate) peer: Option<SocketAddr>,
}

impl Waker {
    /// Notes what a poll has reported, so that later wakes are reported, too. To be called after each poll.
    #[inline]
    pub(crate) fn note_reports(&self, reports: &Events, token: Token) {
        if REPORTS_ONCE && reports.iter().any(|report| report.token() == token) {
            self.reset();
        }
    }
}

/// Closes `socket`, and waits for unsent data as long as `SO_LINGER` says.
pub(crate) fn close(socket: OwnedSocket) {
    if LINGERS_IF_BLOCKING {
        let linger = SockRef::from(&socket).linger();
        if linger.is_ok_and(|limit| limit.is_some_and(|limit| !limit.is_zero())) {
            // It can fail only on what is no socket, and then closing doesn't wait.
            let _ = SockRef::from(&socket).set_nonblocking(false);
        }
    }
    drop(socket);
}

/// Makes closing return at once and leave unsent data to the system. If closing has to reset the connection, it still
/// does.
///
/// It asks the system for the present option, which may be inherited from a listener or set by the program.
/// Async-signal-safe: `getsockopt` and `setsockopt` are.
pub(crate) fn dont_linger(socket: BorrowedSocket<'_>) {
    let socket = SockRef::from(&socket);
    if let Ok(Some(limit)) = socket.linger()
        && !limit.is_zero()
    {
        // It can fail only if the peer is gone already, and then closing doesn't wait.
        let _ = socket.set_linger(None);
    }
}

/// Takes what there is, at most `most` bytes, to the end of `bytes`, as far as it has memory for more. Zero means the end of the
/// stream, if there is room.
#[cfg(feature = "websocket")]
pub(crate) fn receive_behind(socket: BorrowedSocket<'_>, bytes: &mut Vec<u8>, most: usize) -> io::Result<usize> {
    let room = bytes.spare_capacity_mut();
    let room_len = room.len().min(most);
    let count = receive_into_room(socket, &mut room[..room_len])?.len();
    // SAFETY: so many bytes behind the end were written, within the capacity.
    unsafe { bytes.set_len(bytes.len() + count) };
    Ok(count)
}

/// The address of a Unix-domain socket in the file system.
pub(crate) fn path_address(path: &Path) -> io::Result<SockAddr> {
    let bytes = path.as_os_str().as_encoded_bytes();
    if bytes.is_empty() {
        return Err(invalid("empty path"));
    }
    if bytes.contains(&0) {
        return Err(invalid("path with a NUL in it"));
    }
    // Room for the NUL that ends it.
    if bytes.len() >= SUN_PATH {
        return Err(invalid("path too long"));
    }
    SockAddr::unix(path)
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// Converts a limit for poll(2) and `WSAPoll`: to milliseconds, negative for none. Rounds up, so that the limit isn't
/// over before `timeout` is.
fn poll_millis(timeout: Option<Duration>) -> i32 {
    timeout.map_or(-1, |timeout| {
        let millis = timeout.as_nanos().div_ceil(1_000_000);
        i32::try_from(millis).unwrap_or(i32::MAX)
    })
}

#[cfg(not(any(unix, windows)))]
compile_error!("wakesock runs on Unix and on Windows");
