//! What the tests of queues share.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use wakesock::{SocketEvent, SocketEventQueue, SocketId, TcpSocket, WaitEvents};

use super::{Blocked, PATIENCE, block, eventually};

pub const NOTHING: WaitEvents = WaitEvents::empty();
pub const READ: WaitEvents = WaitEvents::READ;
pub const WRITE: WaitEvents = WaitEvents::WRITE;
pub const BOTH: WaitEvents = WaitEvents::READ.union(WaitEvents::WRITE);
pub const EXCEPTION: WaitEvents = WaitEvents::EXCEPTION;

pub fn queue() -> Arc<SocketEventQueue> {
    Arc::new(SocketEventQueue::new().unwrap())
}

/// The one event that comes.
#[track_caller]
pub fn only<T: Clone + Send + Debug>(queue: &SocketEventQueue<T>) -> SocketEvent<T> {
    let mut events = queue.wait(PATIENCE).unwrap();
    assert_eq!(events.len(), 1, "{events:?}");
    events.pop().unwrap()
}

/// Checks that what comes is `events` of `socket`, and nothing else.
#[track_caller]
pub fn assert_only<T: Clone + Send + Debug>(queue: &SocketEventQueue<T>, socket: &TcpSocket, events: WaitEvents) {
    let event = only(queue);
    assert_eq!((event.socket_id(), event.events()), (socket.id(), events), "{event:?}");
    assert!(!event.is_closed(), "{event:?}");
}

/// Checks that what comes is that the socket of this name was closed, and nothing else.
#[track_caller]
pub fn assert_only_closed<T: Clone + Send + Debug>(queue: &SocketEventQueue<T>, socket: SocketId) {
    let event = only(queue);
    assert!(event.is_closed() && event.socket_id() == socket, "{event:?}");
    assert_eq!(event.events(), NOTHING, "{event:?}");
}

/// Checks that nothing is ready.
#[track_caller]
pub fn assert_silent<T: Clone + Send + Debug>(queue: &SocketEventQueue<T>) {
    let events = queue.wait(Duration::ZERO).unwrap();
    assert!(events.is_empty(), "{events:?}");
}

/// Starts a thread that waits for what comes next.
pub fn block_in<T: Clone + Send + Debug + 'static>(
    queue: &Arc<SocketEventQueue<T>>,
) -> Blocked<wakesock::Result<Vec<SocketEvent<T>>>> {
    let queue = Arc::clone(queue);
    block(move || queue.wait(None)).until_blocked()
}

/// Returns when the system has `len` bytes for the socket.
pub fn until_there(socket: &TcpSocket, len: usize) {
    let mut buf = vec![std::mem::MaybeUninit::uninit(); len];
    let socket = socket2::SockRef::from(socket);
    eventually(
        || format!("{len} bytes come"),
        || match socket.peek(&mut buf) {
            Ok(count) if count == len => Ok(()),
            seen => Err(format!("{seen:?}")),
        },
    );
}
