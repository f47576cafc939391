//! `wss://`: the same over TLS.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use wakesock::socket2::SockRef;
use wakesock::{Error, Message, MioWait, RawWait, Role, TcpSocket, WaitEvents, WaitSource, Waiter, Wake, WebSocket};

use crate::ends::*;
use crate::support::certificates::{CERTIFICATES, client_config, issue, server_config};
use crate::support::queues::{assert_only, assert_silent, queue};
use crate::support::{
    PATIENCE, ROOM_COMES, begin, block, ends_at_limit, listener, pair, pattern, server, timed, unix_pair,
};

/// A server's end and a client's.
fn two_secure_ends() -> (WebSocket, WebSocket) {
    let (listener, addr) = listener();
    let serving = thread::spawn(move || {
        let mut socket = listener.accept_new().unwrap();
        socket.timeout(PATIENCE).start_tls_server(&server_config()).unwrap();
        WebSocket::upgrade(socket).unwrap()
    });
    let mut client = WebSocket::new();
    client.timeout(PATIENCE).tls(&client_config());
    client.connect(&format!("wss://localhost:{}/", addr.port())).unwrap();
    (serving.join().unwrap(), client)
}

/// A client's end, for which `client` is opened, and the socket of its peer.
fn secure_end(mut client: TcpSocket) -> (WebSocket, TcpSocket) {
    let (listener, addr) = listener();
    let serving = thread::spawn(move || {
        let mut socket = listener.accept_new().unwrap();
        socket.timeout(PATIENCE).start_tls_server(&server_config()).unwrap();
        socket
    });
    client.attach(TcpStream::connect(addr).unwrap()).unwrap();
    client
        .timeout(PATIENCE)
        .start_tls("localhost", &client_config())
        .unwrap();
    (WebSocket::from_upgraded(client, Role::Client), serving.join().unwrap())
}

#[test]
fn messages_go_both_ways_and_the_end_is_a_clean_one() {
    let _test = begin();
    let (mut server, mut client) = two_secure_ends();
    assert!(client.socket().is_tls());
    for len in [0, 1, 126, 65_536, 300_000] {
        assert_goes(&mut client, &mut server, pattern(len));
        assert_goes(&mut server, &mut client, pattern(len));
    }
    let other = thread::spawn(move || {
        assert_eq!(server.receive().unwrap(), None);
        server
    });
    client.close(1000, "").unwrap();
    assert!(!other.join().unwrap().is_error());
}

#[test]
fn all_messages_of_one_record_are_reported_by_a_queue() {
    let _test = begin();
    let (mut server, client) = two_secure_ends();
    let queue = queue();
    queue.subscribe_read(&server).unwrap();
    // One write, so one record.
    let (_reader, mut writer) = client.split();
    writer.begin_text(b"").unwrap();
    writer.finish(b"one").unwrap();
    writer.send("two").unwrap();
    writer.send("three").unwrap();
    server.timeout(Duration::ZERO);
    for text in ["one", "two", "three"] {
        let message = loop {
            assert_only(&queue, server.socket(), WaitEvents::READ);
            match server.receive() {
                Ok(message) => break message,
                Err(error) => assert!(matches!(error, Error::Timeout), "{error}"),
            }
        };
        assert_eq!(message, Some(Message::from(text)));
    }
    assert_timeout(&server.receive());
    assert_silent(&queue);
}

#[test]
fn a_part_of_a_frame_is_not_reported_again_and_again_while_something_is_unsent() {
    let _test = begin();
    let (mut socket, mut peer) = secure_end(TcpSocket::new());
    let queue = queue();
    queue.subscribe_read(&socket).unwrap();
    socket.timeout(Duration::ZERO);
    while socket.send_binary(&pattern(1 << 20)).is_ok() {}
    let mut bytes = frame_for(Role::Client, LAST | TEXT, b"one");
    let rest = frame_for(Role::Client, LAST | TEXT, b"two");
    bytes.push(rest[0]);
    peer.put_all(&bytes).unwrap();
    let next = |socket: &mut WebSocket| loop {
        assert_only(&queue, socket.socket(), WaitEvents::READ);
        match socket.receive() {
            Ok(message) => break message,
            Err(error) => assert!(matches!(error, Error::Timeout), "{error}"),
        }
    };
    assert_eq!(next(&mut socket), Some(Message::from("one")));
    assert_only(&queue, socket.socket(), WaitEvents::READ);
    assert_timeout(&socket.receive());
    assert_silent(&queue);
    peer.put_all(&rest[1..]).unwrap();
    assert_eq!(next(&mut socket), Some(Message::from("two")));
}

#[test]
fn what_is_unsent_inside_tls_counts() {
    let _test = begin();
    let (mut server, mut client) = two_secure_ends();
    client.timeout(Duration::ZERO);
    let mut taken = 0;
    while client.send_binary(&pattern(100_000)).is_ok() {
        taken += 1;
    }
    assert!(client.unsent() > 0 && client.wants() == WaitEvents::WRITE);
    let receiving = thread::spawn(move || {
        for _ in 0..taken {
            assert!(server.receive().unwrap().unwrap().as_bytes() == pattern(100_000));
        }
        assert_timeout(&server.timeout(Duration::ZERO).receive());
        server
    });
    client.timeout(PATIENCE).flush().unwrap();
    assert!(client.unsent() == 0 && client.wants().is_empty());
    drop(receiving.join().unwrap());
}

#[test]
fn what_comes_while_something_is_unsent_comes_in_order() {
    let _test = begin();
    // Stays full once it is.
    let (mut client, server) = unix_pair();
    let mut server = TcpSocket::from(server);
    let serving = thread::spawn(move || {
        server.timeout(PATIENCE).start_tls_server(&server_config()).unwrap();
        WebSocket::from_upgraded(server, Role::Server)
    });
    client
        .timeout(PATIENCE)
        .start_tls("localhost", &client_config())
        .unwrap();
    let mut client = WebSocket::from_upgraded(client, Role::Client);
    let mut server = serving.join().unwrap();
    client.timeout(Duration::ZERO).send_binary(&pattern(1 << 20)).unwrap();
    client.timeout(PATIENCE);
    // Of each message several records are there at once.
    for _ in 0..10 {
        server.send_binary(&pattern(100_000)).unwrap();
        assert!(client.receive().unwrap().unwrap().as_bytes() == pattern(100_000));
        assert!(client.unsent() > 0);
    }
}

#[test]
fn two_peers_that_both_send_much_do_not_wait_for_each_other() {
    let _test = begin();
    let (server, client) = two_secure_ends();
    let threads = [server, client].map(|socket| {
        let (mut reader, mut writer) = socket.split();
        let sending = thread::spawn(move || {
            for _ in 0..4 {
                writer.send_binary(&pattern(2 << 20)).unwrap();
            }
            writer
        });
        let receiving = thread::spawn(move || {
            for _ in 0..4 {
                assert!(reader.receive().unwrap().unwrap().as_bytes() == pattern(2 << 20));
            }
            reader
        });
        (sending, receiving)
    });
    drop(threads.map(|(sending, receiving)| (sending.join().unwrap(), receiving.join().unwrap())));
}

#[test]
fn a_blocked_reader_goes_on_with_what_a_writer_has_left() {
    let _test = begin();
    let (mut server, client) = two_secure_ends();
    let (mut reader, mut writer) = client.split();
    let blocked = block(move || reader.receive()).until_blocked();
    writer.timeout(Duration::ZERO);
    let mut taken = 0;
    while writer.send_binary(&pattern(1 << 20)).is_ok() {
        taken += 1;
    }
    for _ in 0..taken {
        assert!(server.receive().unwrap().unwrap().as_bytes() == pattern(1 << 20));
    }
    server.send("got it").unwrap();
    assert_eq!(blocked.result().unwrap(), Some(Message::from("got it")));
}

/// Waits as `MioWait` does, but a wait to read or write is held up at a gate first, once that is shut.
#[derive(Debug)]
struct Gate {
    is_shut: AtomicBool,
    barrier: Barrier,
}

#[derive(Debug)]
struct Gated(Arc<Gate>);

struct GatedWaiter(Box<dyn Waiter>, Arc<Gate>);

impl RawWait for Gated {
    fn waiter(&self, socket: WaitSource<'_>, events: WaitEvents) -> io::Result<Box<dyn Waiter>> {
        let waiter = MioWait::default().waiter(socket, events)?;
        Ok(Box::new(GatedWaiter(waiter, Arc::clone(&self.0))))
    }
}

impl Waiter for GatedWaiter {
    fn wait(&mut self, events: WaitEvents, timeout: Option<Duration>) -> io::Result<WaitEvents> {
        if events == WaitEvents::READ | WaitEvents::WRITE && self.1.is_shut.swap(false, SeqCst) {
            self.1.barrier.wait();
            self.1.barrier.wait();
        }
        self.0.wait(events, timeout)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.0.waker()
    }
}

#[test]
fn a_reader_that_waited_for_room_too_takes_what_came_though_a_writer_has_sent_all() {
    let _test = begin();
    let gate = Arc::new(Gate {
        is_shut: AtomicBool::new(false),
        barrier: Barrier::new(2),
    });
    let mut client = TcpSocket::new();
    client.set_raw_wait(Arc::new(Gated(Arc::clone(&gate))));
    let (client, server) = secure_end(client);
    let mut server = WebSocket::from_upgraded(server, Role::Server);

    let (mut reader, mut writer) = client.split();
    writer.timeout(Duration::ZERO);
    let mut taken = 0;
    while writer.send_binary(&pattern(1 << 20)).is_ok() {
        taken += 1;
    }
    gate.is_shut.store(true, SeqCst);
    let blocked = block(move || reader.receive());
    gate.barrier.wait();
    let receiving = thread::spawn(move || {
        for _ in 0..taken {
            assert!(server.receive().unwrap().unwrap().as_bytes() == pattern(1 << 20));
        }
        server.send("got it").unwrap();
        server
    });
    writer.timeout(PATIENCE).flush().unwrap();
    let server = receiving.join().unwrap();
    gate.barrier.wait();
    assert_eq!(blocked.result().unwrap(), Some(Message::from("got it")));
    drop(server);
}

#[test]
fn a_limit_between_any_two_messages_loses_nothing() {
    let _test = begin();
    for limit in [0, 1].map(Duration::from_millis) {
        let (mut server, mut client) = two_secure_ends();
        server.timeout(limit);
        let sending = thread::spawn(move || {
            for at in 0..200_usize {
                client.send_binary(&vec![at as u8; at * 37]).unwrap();
            }
            client
        });
        for at in 0..200_usize {
            let message = loop {
                match server.receive() {
                    Ok(message) => break message.unwrap(),
                    Err(error) => assert!(matches!(error, Error::Timeout), "{error}"),
                }
            };
            assert!(message.as_bytes() == vec![at as u8; at * 37]);
        }
        drop(sending.join().unwrap());
    }
}

#[test]
fn what_is_sent_before_the_handshake_of_tls_is_over_goes_on_with_it() {
    let _test = begin();
    let (mut near, far) = pair();
    let started = near.timeout(Duration::ZERO).start_tls("localhost", &client_config());
    assert!(matches!(started, Err(Error::Timeout)));
    let mut socket = WebSocket::from_upgraded(near, Role::Client);
    socket.timeout(PATIENCE);
    let sending = block(move || (socket.send("hello"), socket)).until_blocked();
    let mut peer = TcpSocket::from(far);
    peer.timeout(PATIENCE).start_tls_server(&server_config()).unwrap();
    let (sent, socket) = sending.result();
    sent.unwrap();
    assert!(socket.unsent() == 0 && !socket.is_timeout());
    let mut peer = WebSocket::from_upgraded(peer, Role::Server);
    assert_eq!(peer.receive().unwrap(), Some(Message::from("hello")));
}

#[test]
fn the_end_of_the_stream_behind_a_goodbye_is_not_reported_again_and_again_while_its_answer_is_unsent() {
    let _test = begin();
    for says_goodbye in [true, false] {
        let (mut near, far) = unix_pair();
        let raw = far.try_clone().unwrap();
        let mut peer = TcpSocket::from(far);
        let serving = thread::spawn(move || {
            peer.timeout(PATIENCE).start_tls_server(&server_config()).unwrap();
            peer
        });
        near.timeout(PATIENCE).start_tls("localhost", &client_config()).unwrap();
        let mut peer = serving.join().unwrap();
        let mut socket = WebSocket::from_upgraded(near, Role::Client);
        socket.close_limit(None).timeout(Duration::ZERO);
        socket.send_binary(&pattern(8 << 20)).unwrap();
        assert!(socket.unsent() > 0);
        let queue = queue();
        let wanted = WaitEvents::READ | socket.wants();
        queue.subscribe(&socket, wanted, socket.id()).unwrap();
        peer.put_all(&close_frame_for(Role::Client, 1000, "")).unwrap();
        if says_goodbye {
            peer.shutdown().unwrap();
        } else {
            raw.shutdown(Shutdown::Write).unwrap();
        }
        // What belongs to the handshake has come, too.
        assert_only(&queue, socket.socket(), WaitEvents::READ);
        assert_timeout(&socket.receive());
        for _ in 0..3 {
            assert_eq!(socket.close_code(), Some(1000));
            assert_silent(&queue);
            assert_timeout(&socket.receive());
        }
        // It stays until the answer is sent: its end would be reported.
        let reading = thread::spawn(move || peer.get_all_bytes(8 << 20).map(|_| peer));
        while socket.is_open() {
            assert_only(&queue, socket.socket(), WaitEvents::WRITE);
            match socket.receive() {
                Ok(None) | Err(Error::Timeout) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(!socket.is_error(), "{:?}", socket.error());
        reading.join().unwrap().unwrap();
    }
}

#[test]
fn an_end_without_close_notify_behind_a_goodbye_is_no_error() {
    let _test = begin();
    let (mut socket, mut peer) = secure_end(TcpSocket::new());
    peer.put_all(&close_frame_for(Role::Client, 1000, "")).unwrap();
    SockRef::from(&peer).shutdown(Shutdown::Write).unwrap();
    assert_eq!(socket.receive().unwrap(), None);
    assert!(!socket.is_error(), "{:?}", socket.error());
}

#[test]
fn what_is_unsent_when_tls_fails_waits_for_room_without_turning() {
    let test = begin();
    if test.skip_if(cfg!(windows), ROOM_COMES) {
        return;
    }
    let (mut near, far) = unix_pair();
    let mut raw = far.try_clone().unwrap();
    let mut peer = TcpSocket::from(far);
    let serving = thread::spawn(move || {
        peer.timeout(PATIENCE).start_tls_server(&server_config()).unwrap();
        peer
    });
    near.timeout(PATIENCE).start_tls("localhost", &client_config()).unwrap();
    let _peer = serving.join().unwrap();
    let mut socket = WebSocket::from_upgraded(near, Role::Client);
    socket.timeout(Duration::ZERO);
    // TLS takes each of them as a whole.
    while socket.unsent() == 0 {
        socket.send_binary(&pattern(60_000)).unwrap();
    }
    // A record that isn't one of the peer's.
    write(&mut raw, b"\x17\x03\x03\0\x14AAAAAAAAAAAAAAAAAAAA");
    socket.timeout(PATIENCE);
    assert!(matches!(socket.receive(), Err(Error::Tls { .. })));
    let handle = socket.handle();
    let flushing = block(move || socket.flush()).until_blocked();
    handle.close();
    assert!(flushing.result().is_err());
}

#[test]
fn a_handshake_that_does_not_come_does_not_outlast_a_limit() {
    let _test = begin();
    let (listener, addr) = server();
    ends_at_limit(Duration::from_millis(20), |limit| {
        let mut socket = WebSocket::new();
        socket.timeout(limit).tls(&client_config());
        let (connected, took) = timed(|| socket.connect(&format!("wss://{addr}/")));
        assert_timeout(&connected);
        assert!(!socket.is_open());
        took
    });
    drop(listener);
}

#[test]
fn a_handshake_that_does_not_come_is_ended_from_elsewhere() {
    let _test = begin();
    let (_listener, addr) = server();
    let mut socket = WebSocket::new();
    socket.tls(&client_config());
    let handle = socket.handle();
    let blocked = block(move || socket.connect(&format!("wss://{addr}/"))).until_blocked();
    handle.close();
    assert!(matches!(blocked.result(), Err(Error::Closed)));
}

#[test]
fn a_server_that_nobody_vouches_for_is_not_connected_to() {
    let _test = begin();
    let (listener, addr) = listener();
    let other = crate::support::certificates::Certificates::new();
    let serving = thread::spawn(move || listener.accept_new().unwrap().start_tls_server(&other.server_config()));
    let mut socket = WebSocket::new();
    let connected = socket
        .tls(&client_config())
        .connect(&format!("wss://localhost:{}/", addr.port()));
    assert!(matches!(connected, Err(Error::Tls { .. })), "{connected:?}");
    assert!(!socket.is_open());
    assert!(serving.join().unwrap().is_err());
}

#[test]
fn an_address_of_ipv6_is_connected_to_by_its_brackets() {
    let test = begin();
    let mut listener = TcpSocket::new();
    let listening = listener.listen_on("[::1]:0", &Default::default());
    if test.skip_if(listening.is_err(), "there is no IPv6") {
        return;
    }
    let port = listener.local_addr().unwrap().port();
    let params = rcgen::CertificateParams::new(["::1".to_owned()]).unwrap();
    let (chain, key) = issue(&CERTIFICATES.authority, params);
    let config = wakesock::tls::server_config(chain.as_bytes(), key.as_bytes()).unwrap();
    let serving = thread::spawn(move || {
        let mut socket = listener.accept_new().unwrap();
        socket.start_tls_server(&config)?;
        WebSocket::upgrade(socket)
    });
    let mut client = WebSocket::new();
    client.timeout(PATIENCE).tls(&client_config());
    client.connect(&format!("wss://[::1]:{port}/")).unwrap();
    let mut server = serving.join().unwrap().unwrap();
    assert_goes(&mut client, &mut server, "hello");
}

#[test]
fn a_connect_that_may_not_wait_is_finished_by_other_calls() {
    let _test = begin();
    let (listener, addr) = listener();
    let serving = thread::spawn(move || {
        let mut socket: TcpSocket = listener.accept_new().unwrap();
        socket.start_tls_server(&server_config()).unwrap();
        WebSocket::upgrade(socket).unwrap()
    });
    let mut client = WebSocket::new();
    client.timeout(Duration::ZERO).tls(&Arc::clone(&client_config()));
    client.connect(&format!("wss://localhost:{}/", addr.port())).unwrap();
    let queue = queue();
    loop {
        match client.wait_connect() {
            Ok(()) => break,
            Err(error) => assert!(matches!(error, Error::Timeout), "{error}"),
        }
        let wants = WaitEvents::READ | client.wants();
        queue.subscribe(&client, wants, client.id()).unwrap();
        assert_eq!(queue.wait(PATIENCE).unwrap().len(), 1);
    }
    let mut server = serving.join().unwrap();
    client.timeout(PATIENCE);
    assert_goes(&mut client, &mut server, "hello");
    assert_goes(&mut server, &mut client, "hello");
}
