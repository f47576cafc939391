//! Connections that take nothing more.
//!
//! That a `put` found no room shows that there was none at that moment. Over TCP, room comes without a reader: when an
//! acknowledgement that was delayed arrives, 40 ms later, or when what the receiver had dropped is sent again, 200 ms
//! later. A test whose writer is to block puts [`MUCH`] instead of a byte, and so needs none of what follows.

use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;
use wakesock::{AsTcpSocket, TcpSocket, TcpWriter, WaitEvents};

use super::{pattern, polled};

/// More than a connection takes whose peer reads nothing: on Linux at most 4 MiB on this side, and 32 MiB on the other.
pub static MUCH: LazyLock<Vec<u8>> = LazyLock::new(|| pattern(64 << 20));

/// For so long nothing has to find room before a TCP connection counts as full: twice what TCP waits for before it sends
/// again.
const SETTLED: Duration = Duration::from_millis(400);

/// How often room is looked for in the meantime.
const LOOK: Duration = Duration::from_millis(10);

/// An end of a connection that can be filled.
pub trait Puts: AsTcpSocket {
    /// Puts without waiting. How many bytes went in; none if the end failed.
    fn put_at_once(&mut self, data: &[u8]) -> usize;
}

macro_rules! puts {
    ($($End:ident)*) => {$(
        impl Puts for $End {
            fn put_at_once(&mut self, data: &[u8]) -> usize {
                let limit = self.get_timeout();
                let sent = self.timeout(Duration::ZERO).put(data).unwrap_or(0);
                self.timeout(limit);
                sent
            }
        }
    )*};
}

puts!(TcpSocket TcpWriter);

/// Puts until there is no room, which may be so for this moment only. How many bytes that were.
pub fn put_what_fits(end: &mut (impl Puts + ?Sized)) -> usize {
    let mut sent = 0;
    loop {
        match end.put_at_once(&MUCH) {
            0 => return sent,
            more => sent += more,
        }
    }
}

/// Puts until the connection is full, and stays so until the peer reads. How many bytes that were.
pub fn fill(end: &mut (impl Puts + ?Sized)) -> usize {
    fill_by(end, put_what_fits)
}

/// Calls `put`, which puts until there is no room and says how many bytes that were, until the connection is full, and stays so
/// until the peer reads. How many bytes that were in all.
pub fn fill_by<E: Puts + ?Sized>(end: &mut E, mut put: impl FnMut(&mut E) -> usize) -> usize {
    let mut sent = put(end);
    if is_unix_domain(end.as_tcp_socket()) {
        // What was sent is with the peer at once, so nothing changes any more.
        return sent;
    }
    let begin = Instant::now();
    let mut full_since = begin;
    while full_since.elapsed() < SETTLED {
        thread::sleep(LOOK);
        let more = put(end);
        sent += more;
        if more > 0 || polled(end.as_tcp_socket()).0.contains(WaitEvents::WRITE) {
            full_since = Instant::now();
            assert!(begin.elapsed() < super::PATIENCE, "still not full after {sent} bytes");
        }
    }
    sent
}

/// Waits for `events`, of which one is room, until `limit` is over: there has been a wait, and there was no room.
pub fn wait_for_room(socket: &mut TcpSocket, events: WaitEvents, limit: Duration) {
    let before = socket.get_timeout();
    super::eventually(
        || "there is no room for a moment".to_owned(),
        || {
            put_what_fits(socket);
            match socket.timeout(limit).wait(events) {
                Err(error) if error.is_timeout() => Ok(()),
                other => Err(format!("{other:?}")),
            }
        },
    );
    socket.timeout(before);
}

fn is_unix_domain(socket: &TcpSocket) -> bool {
    SockRef::from(socket)
        .local_addr()
        .is_ok_and(|addr| !addr.is_ipv4() && !addr.is_ipv6())
}
