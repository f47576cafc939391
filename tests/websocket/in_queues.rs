//! What queues and wait events report of a WebSocket, and what a graceful stop does.

use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use wakesock::{
    Error, Message, Role, ShutdownRegistry, SocketEventQueue, SocketWaitEvent, TcpSocket, WaitEvents, WebSocket,
};

use crate::ends::*;
use crate::support::queues::{assert_only, assert_silent, queue, until_there};
use crate::support::{PATIENCE, Stream, begin, block, pair_of, pattern, unix_pair_in};

/// Two messages, a ping and another message.
fn several() -> Vec<u8> {
    let mut bytes = frame_for(Role::Server, LAST | TEXT, b"one");
    bytes.extend(frame_for(Role::Server, LAST | TEXT, b"two"));
    bytes.extend(frame_for(Role::Server, LAST | PING, b"!"));
    bytes.extend(frame_for(Role::Server, LAST | TEXT, b""));
    bytes
}

#[test]
fn all_messages_of_one_segment_are_reported_by_a_queue() {
    let _test = begin();
    let (mut socket, mut peer) = end(Role::Server);
    let queue = queue();
    queue.subscribe_read(&socket).unwrap();
    let bytes = several();
    write(&mut peer, &bytes);
    until_there(socket.socket(), bytes.len());
    socket.timeout(Duration::ZERO);
    for text in ["one", "two", ""] {
        assert_only(&queue, socket.socket(), WaitEvents::READ);
        assert_eq!(socket.receive().unwrap(), Some(Message::from(text)));
    }
    assert_silent(&queue);
    assert_timeout(&socket.receive());
    write(&mut peer, &bytes);
    assert_only(&queue, socket.socket(), WaitEvents::READ);
}

#[test]
fn all_messages_of_one_segment_are_reported_by_a_wait_event() {
    let _test = begin();
    let (mut socket, mut peer) = end(Role::Server);
    let mut event = SocketWaitEvent::new();
    event.add(&socket, WaitEvents::READ);
    let bytes = several();
    write(&mut peer, &bytes);
    until_there(socket.socket(), bytes.len());
    socket.timeout(Duration::ZERO);
    for text in ["one", "two", ""] {
        assert_eq!(event.wait(None).unwrap(), 1);
        assert_eq!(event.get(0), WaitEvents::READ);
        assert_eq!(socket.receive().unwrap(), Some(Message::from(text)));
    }
    assert_eq!(event.wait(Duration::ZERO).unwrap(), 0);
}

#[test]
fn a_part_of_a_frame_is_not_reported_again_and_again() {
    let _test = begin();
    let frame = frame_for(Role::Server, LAST | BINARY, &pattern(300));
    for at in 1..frame.len() {
        let (mut socket, mut peer) = end(Role::Server);
        let queue = queue();
        queue.subscribe_read(&socket).unwrap();
        socket.timeout(Duration::ZERO);
        write(&mut peer, &frame[..at]);
        until_there(socket.socket(), at);
        assert_only(&queue, socket.socket(), WaitEvents::READ);
        assert_timeout(&socket.receive());
        assert_silent(&queue);
        write(&mut peer, &frame[at..]);
        assert_only(&queue, socket.socket(), WaitEvents::READ);
        assert_eq!(socket.receive().unwrap(), Some(Message::from(pattern(300))));
        assert_silent(&queue);
    }
}

#[test]
fn a_part_of_a_frame_is_not_reported_again_and_again_while_something_is_unsent() {
    let _test = begin();
    let (mut socket, mut peer) = unix_end(Role::Server);
    let queue = queue();
    queue.subscribe_read(&socket).unwrap();
    socket.timeout(Duration::ZERO).send_binary(&pattern(8 << 20)).unwrap();
    assert!(socket.unsent() > 0);
    let mut bytes = frame_for(Role::Server, LAST | TEXT, b"one");
    let rest = frame_for(Role::Server, LAST | TEXT, b"two");
    bytes.push(rest[0]);
    write(&mut peer, &bytes);
    assert_only(&queue, socket.socket(), WaitEvents::READ);
    assert_eq!(socket.receive().unwrap(), Some(Message::from("one")));
    assert_only(&queue, socket.socket(), WaitEvents::READ);
    assert_timeout(&socket.receive());
    assert_silent(&queue);
    write(&mut peer, &rest[1..]);
    assert_only(&queue, socket.socket(), WaitEvents::READ);
    assert_eq!(socket.receive().unwrap(), Some(Message::from("two")));
}

#[test]
fn what_is_unsent_is_waited_for() {
    let _test = begin();
    let (mut socket, mut peer) = unix_end(Role::Server);
    let queue = queue();
    socket.timeout(Duration::ZERO).send_binary(&pattern(8 << 20)).unwrap();
    assert_eq!(socket.wants(), WaitEvents::WRITE);
    queue
        .subscribe(&socket, WaitEvents::READ | socket.wants(), socket.id())
        .unwrap();
    assert_silent(&queue);
    let reading = std::thread::spawn(move || {
        assert_eq!(read_frame(&mut peer).unwrap().2.len(), 8 << 20);
        peer
    });
    while !socket.wants().is_empty() {
        assert_only(&queue, socket.socket(), WaitEvents::WRITE);
        match socket.flush() {
            Ok(()) | Err(Error::Timeout) => {}
            Err(error) => panic!("{error}"),
        }
    }
    drop(reading.join().unwrap());
}

#[test]
fn the_peers_goodbye_is_reported() {
    let _test = begin();
    let (mut socket, mut peer) = end(Role::Server);
    let queue = queue();
    queue.subscribe_read(&socket).unwrap();
    write(&mut peer, &close_frame_for(Role::Server, 1000, ""));
    assert_only(&queue, socket.socket(), WaitEvents::READ);
    let id = socket.id();
    assert_eq!(socket.timeout(Duration::ZERO).receive().unwrap(), None);
    let events = queue.wait(Duration::from_secs(1)).unwrap();
    assert!(
        events.len() == 1 && events[0].is_closed() && events[0].socket_id() == id,
        "{events:?}"
    );
}

fn in_registry(registry: &ShutdownRegistry) -> (WebSocket, std::net::TcpStream) {
    let (socket, peer) = pair_of(TcpSocket::with_registry(registry));
    (WebSocket::from_upgraded(socket, Role::Server), peer)
}

#[test]
fn an_idle_connection_is_let_go_at_a_stop() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (mut socket, mut peer) = in_registry(&registry);
    write(&mut peer, &frame_for(Role::Server, LAST | PING, b"there?"));
    let blocked = block(move || {
        let waited = socket.wait_message();
        (waited, socket)
    })
    .until_blocked();
    assert_eq!(read_frame(&mut peer).unwrap().0, LAST | PONG);
    blocked.is_finished();
    registry.stop_accepting();
    let (waited, mut socket) = blocked.result();
    assert!(!waited.unwrap());
    write(&mut peer, &close_frame_for(Role::Server, 1001, ""));
    socket.close(1001, "").unwrap();
    assert_told(&mut peer, 1001);
}

#[test]
fn an_idle_connection_is_let_go_at_a_stop_though_its_peer_does_not_read() {
    let _test = begin();
    let ping = frame_for(Role::Server, LAST | PING, b"there?");
    for come in [0, 1, ping.len() - 1] {
        for stops_before in [false, true] {
            let registry = ShutdownRegistry::new();
            let (socket, mut peer) = unix_pair_in(&registry);
            let mut socket = WebSocket::from_upgraded(socket, Role::Server);
            socket.timeout(Duration::ZERO).send_binary(&pattern(8 << 20)).unwrap();
            socket.blocking();
            write(&mut peer, &ping[..come]);
            if stops_before {
                registry.stop_accepting();
                assert!(!socket.wait_message().unwrap());
                continue;
            }
            let blocked = block(move || socket.wait_message()).until_blocked();
            registry.stop_accepting();
            assert!(!blocked.result().unwrap(), "{come} bytes");
        }
    }
}

#[test]
fn a_message_that_has_come_is_not_lost_at_a_stop() {
    let _test = begin();
    let frame = frame_for(Role::Server, LAST | TEXT, b"hello");
    for at in 1..=frame.len() {
        let registry = ShutdownRegistry::new();
        let (mut socket, mut peer) = in_registry(&registry);
        write(&mut peer, &frame[..at]);
        until_there(socket.socket(), at);
        registry.stop_accepting();
        assert!(socket.wait_message().unwrap(), "{at} bytes");
        assert!(socket.wait_message().unwrap(), "{at} bytes");
        write(&mut peer, &frame[at..]);
        assert_eq!(socket.receive().unwrap(), Some(Message::from("hello")));
        assert!(!socket.wait_message().unwrap());
    }
}

#[test]
fn part_of_a_ping_does_not_hold_a_stop_up() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (mut socket, mut peer) = in_registry(&registry);
    let ping = frame_for(Role::Server, LAST | PING, b"there?");
    write(&mut peer, &ping[..ping.len() - 1]);
    let blocked = block(move || socket.wait_message()).until_blocked();
    registry.stop_accepting();
    assert!(!blocked.result().unwrap());
}

#[test]
fn a_message_is_waited_for_and_stays() {
    let _test = begin();
    let (mut socket, mut peer) = end(Role::Server);
    let queue = SocketEventQueue::<u8>::new().unwrap();
    queue.subscribe(&socket, WaitEvents::READ, 1).unwrap();
    write(&mut peer, &frame_for(Role::Server, LAST | TEXT, b""));
    assert!(socket.wait_message().unwrap());
    assert_eq!(queue.wait(None).unwrap().len(), 1);
    assert_eq!(socket.receive().unwrap(), Some(Message::from("")));
    assert_silent(&queue);
    socket.timeout(Duration::from_millis(1));
    assert_timeout(&socket.wait_message());
}

#[test]
fn what_follows_a_goodbye_is_not_reported_again_and_again_while_its_answer_is_unsent() {
    let _test = begin();
    let (mut socket, mut peer) = unix_end(Role::Server);
    let queue = queue();
    queue.subscribe_read(&socket).unwrap();
    socket.timeout(Duration::ZERO).send_binary(&pattern(8 << 20)).unwrap();
    assert!(socket.unsent() > 0);
    let mut bytes = close_frame_for(Role::Server, 1000, "");
    bytes.push(b'x');
    write(&mut peer, &bytes);
    assert_only(&queue, socket.socket(), WaitEvents::READ);
    assert_timeout(&socket.receive());
    assert!(socket.is_timeout());
    assert_silent(&queue);
    write(&mut peer, &[b'y'; 100]);
    assert_only(&queue, socket.socket(), WaitEvents::READ);
    assert_timeout(&socket.receive());
    assert!(socket.is_timeout());
    assert_silent(&queue);
}

/// An end that has much unsent, in a queue, whose peer has said goodbye and ended its stream. That was received.
fn ended_with_much_unsent(queue: &SocketEventQueue, role: Role) -> (WebSocket, Stream) {
    let (mut socket, mut peer) = unix_end(role);
    socket.close_limit(None).timeout(Duration::ZERO);
    socket.send_binary(&pattern(8 << 20)).unwrap();
    assert!(socket.unsent() > 0);
    let wanted = WaitEvents::READ | socket.wants();
    queue.subscribe(&socket, wanted, socket.id()).unwrap();
    write(&mut peer, &close_frame_for(role, 1000, ""));
    peer.shutdown(Shutdown::Write).unwrap();
    assert_only(queue, socket.socket(), WaitEvents::READ);
    assert_timeout(&socket.receive());
    (socket, peer)
}

#[test]
fn the_end_of_the_stream_behind_a_goodbye_is_not_reported_again_and_again_while_its_answer_is_unsent() {
    let _test = begin();
    let queue = queue();
    let (mut socket, mut peer) = ended_with_much_unsent(&queue, Role::Server);
    let mut event = SocketWaitEvent::new();
    event.add(&socket, WaitEvents::READ | WaitEvents::WRITE);
    for _ in 0..3 {
        assert_silent(&queue);
        assert_eq!(event.wait(Duration::ZERO).unwrap(), 0);
        // As a program does that says each time what it wants.
        let wanted = WaitEvents::READ | socket.wants();
        queue.subscribe(&socket, wanted, socket.id()).unwrap();
        assert_timeout(&socket.receive());
    }
    let reading = thread::spawn(move || {
        assert_eq!(read_frame(&mut peer).unwrap().2.len(), 8 << 20);
        assert_told(&mut peer, 1000);
    });
    while socket.is_open() {
        assert_only(&queue, socket.socket(), WaitEvents::WRITE);
        match socket.receive() {
            Ok(None) | Err(Error::Timeout) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(socket.receive().unwrap(), None);
    reading.join().unwrap();
}

#[test]
fn the_end_of_the_stream_is_reported_to_a_client_once_its_answer_is_sent() {
    let _test = begin();
    let queue = queue();
    let (mut socket, mut peer) = ended_with_much_unsent(&queue, Role::Client);
    assert_silent(&queue);
    let reading = thread::spawn(move || {
        assert_eq!(read_frame(&mut peer).unwrap().2.len(), 8 << 20);
        assert_told(&mut peer, 1000);
    });
    socket.blocking().flush().unwrap();
    queue.disable_write(&socket).unwrap();
    assert_only(&queue, socket.socket(), WaitEvents::READ);
    assert_eq!(socket.receive().unwrap(), None);
    reading.join().unwrap();
}

#[test]
fn an_answer_that_cannot_go_is_reported_when_its_limit_is_over() {
    let _test = begin();
    let mut limit = Duration::from_millis(50);
    loop {
        let begun = Instant::now();
        let queue = queue();
        let (mut socket, _peer) = ended_with_much_unsent(&queue, Role::Server);
        socket.close_limit(limit);
        match socket.receive() {
            // A slow machine has come too late.
            Ok(None) => {
                limit *= 2;
                continue;
            }
            result => assert_timeout(&result),
        }
        assert_only(&queue, socket.socket(), WaitEvents::READ);
        assert!(begun.elapsed() >= limit);
        assert_eq!(socket.receive().unwrap(), None);
        assert!(!socket.is_open());
        return;
    }
}

#[test]
fn a_limit_of_an_answer_that_is_set_while_it_is_unsent_holds() {
    let _test = begin();
    let limit = Duration::from_millis(20);
    for is_split in [false, true] {
        let queue = queue();
        let begun = Instant::now();
        let (mut socket, _peer) = ended_with_much_unsent(&queue, Role::Server);
        let id = socket.id();
        let ended = if is_split {
            let (mut reader, _writer) = socket.split();
            reader.close_limit(limit);
            assert_eq!(*queue.wait(None).unwrap()[0].token(), id);
            reader.receive()
        } else {
            socket.close_limit(limit);
            assert_only(&queue, socket.socket(), WaitEvents::READ);
            socket.receive()
        };
        assert_eq!(ended.unwrap(), None);
        assert!(begun.elapsed() >= limit);
    }
    let queue = queue();
    let (mut socket, _peer) = ended_with_much_unsent(&queue, Role::Server);
    socket.close_limit(Duration::ZERO).close_limit(None);
    assert_silent(&queue);
    assert_timeout(&socket.receive());
}

#[test]
fn an_answer_that_another_call_has_sent_ends_the_connection_too() {
    let _test = begin();
    type Send = fn(WebSocket) -> Result<Option<Message>, Error>;
    let sends: [(&str, Send); 3] = [
        ("flush", |mut socket| {
            socket.blocking().flush()?;
            assert!(!socket.is_open());
            socket.receive()
        }),
        ("start_close", |mut socket| {
            socket.blocking().start_close(1000, "")?;
            assert!(!socket.is_open());
            socket.receive()
        }),
        ("flush of a half", |socket| {
            let (mut reader, mut writer) = socket.split();
            writer.blocking().flush()?;
            assert!(!reader.is_open());
            reader.receive()
        }),
    ];
    for (name, send) in sends {
        let (mut socket, mut peer) = unix_end(Role::Server);
        socket.timeout(Duration::ZERO).send_binary(&pattern(8 << 20)).unwrap();
        write(&mut peer, &close_frame_for(Role::Server, 1000, ""));
        assert_timeout(&socket.receive());
        let queue = queue();
        queue.subscribe(&socket, WaitEvents::ALL, socket.id()).unwrap();
        let reading = thread::spawn(move || {
            assert_eq!(read_frame(&mut peer).unwrap().2.len(), 8 << 20);
            assert_told(&mut peer, 1000);
        });
        assert_eq!(send(socket).unwrap(), None, "{name}");
        reading.join().unwrap();
        // Who waits for events learns of it by that.
        assert!(
            queue.wait(PATIENCE).unwrap().iter().any(|event| event.is_closed()),
            "{name}"
        );
    }
}
