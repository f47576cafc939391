//! What `{:?}` shows of each type: enough to tell one state from another, in any state.

use std::fmt::Debug;
use std::thread;
use std::time::Duration;

use wakesock::{ShutdownRegistry, SocketEventQueue, SocketWaitEvent, TcpSocket};

use crate::support::queues::READ;
use crate::support::{begin, listener, pair};

/// Checks that `{:?}` of `value` shows all of these.
#[track_caller]
fn assert_shows(value: &impl Debug, parts: &[&str]) {
    let shown = format!("{value:?}");
    for part in parts {
        assert!(shown.contains(part), "{part:?} is not in {shown}");
    }
}

#[test]
fn a_socket_shows_whether_it_is_open() {
    let _test = begin();
    assert_shows(&TcpSocket::new(), &["TcpSocket", "not open", "unread: 0"]);
    let (listening, _) = listener();
    assert_shows(&listening, &["listening", "aborted: false"]);
    listening.abort();
    assert_shows(&listening, &["listening", "aborted: true"]);
    listening.close();
    assert_shows(&listening, &["closed"]);
    let (socket, _peer) = pair();
    assert_shows(&socket, &["open", "eof: false"]);
    let handle = socket.handle();
    assert_shows(&handle, &["SocketHandle", &format!("{:?}", socket.id()), "open: true"]);
    let (reader, writer) = socket.split();
    assert_shows(&reader, &["TcpReader", "open"]);
    assert_shows(&writer, &["TcpWriter", "open"]);
    handle.close();
    assert_shows(&handle, &["open: false"]);
    assert_shows(&reader, &["closed"]);
}

#[test]
fn a_queue_and_a_set_show_what_they_hold() {
    let _test = begin();
    let (socket, _peer) = pair();
    let queue = SocketEventQueue::<u64>::new().unwrap();
    queue.subscribe(&socket, READ, 7).unwrap();
    assert_shows(&queue, &["SocketEventQueue", "sockets: 1", "Ok"]);
    let handle = queue.handle();
    handle.close();
    assert_shows(&handle, &["QueueHandle", "Closed"]);
    // In a thread of its own, as a thread keeps what it has waited with.
    let set = thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let mut set = SocketWaitEvent::new();
            set.add(&socket, READ);
            assert_eq!(set.wait(Duration::ZERO).unwrap(), 0);
            format!("{set:?}")
        });
        waiting.join().unwrap()
    });
    for part in ["SocketWaitEvent", "found: [WaitEvents(0x0)]"] {
        assert!(set.contains(part), "{set}");
    }
}

#[test]
fn a_registry_shows_its_state() {
    let _test = begin();
    let registry = ShutdownRegistry::default();
    assert_shows(&registry, &["global: false", "stopping: false", "connections: 0"]);
    registry.shutdown();
    assert_shows(&registry, &["stopping: true", "shutdown: true"]);
    assert_shows(&ShutdownRegistry::global(), &["global: true"]);
}
