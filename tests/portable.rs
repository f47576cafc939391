//! The portable set: a sample of everything the crate promises, with nothing in it that is of one system.
//!
//! Where the other tests are too many or too slow, as under Wine, this one tells a platform that works from one that
//! doesn't. It is alone so that it can be run alone.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use support::full::{MUCH, fill};
use support::queues::{READ, WRITE, only};
use support::{
    Blocked, PATIENCE, begin, block, eventually, in_a_thread, listener, listener_in, pair, pair_of, unopened_in,
};
use wakesock::{
    Drained, Error, ListenOptions, MioWait, RawWait, ShutdownRegistry, SocketEventQueue, SocketId, SocketWaitEvent,
    TcpSocket, ThreadWait, WAIT_READ, WAIT_WRITE, WaitEvents, net,
};

#[track_caller]
fn until(promise: &str, mut done: impl FnMut() -> bool) {
    eventually(|| promise.to_owned(), || done().then_some(()).ok_or_else(String::new));
}

#[track_caller]
fn assert_port_is_free(addr: SocketAddr) {
    let mut again = TcpSocket::new();
    again.listen_on(addr, &ListenOptions::default()).unwrap();
}

/// Checks that nothing comes for a while.
#[track_caller]
fn assert_silent<T: Clone + Send + std::fmt::Debug>(queue: &SocketEventQueue<T>) {
    let events = queue.wait(Duration::from_millis(20)).unwrap();
    assert!(events.is_empty(), "{events:?}");
}

fn lines_go_both_ways(raw_wait: Arc<dyn RawWait>) {
    let (mut listener, addr) = listener();
    listener.set_raw_wait(Arc::clone(&raw_wait));
    listener.listen_on(addr, &ListenOptions::default()).unwrap();
    let server = block(move || {
        let mut served = 0;
        let mut client = listener.accept_new()?;
        while let Some(line) = client.get_line()? {
            client.put_all(format!("{line}!\n").as_bytes())?;
            served += 1;
        }
        Ok::<_, Error>(served)
    });
    let mut client = TcpSocket::new();
    client.set_raw_wait(raw_wait);
    client.connect("127.0.0.1", addr.port()).unwrap();
    assert_eq!(client.peer_addr().unwrap(), addr);
    for number in 0..1000 {
        client.put_all(format!("{number}\r\n").as_bytes()).unwrap();
        assert_eq!(client.get_line().unwrap().unwrap(), format!("{number}!"));
    }
    client.shutdown().unwrap();
    assert_eq!(client.get_line().unwrap(), None);
    assert!(client.is_eof());
    assert_eq!(server.result().unwrap(), 1000);
}

#[test]
fn lines_go_both_ways_with_mio_wait() {
    let _test = begin();
    lines_go_both_ways(Arc::new(MioWait::default()));
}

#[test]
fn lines_go_both_ways_with_thread_wait() {
    let _test = begin();
    in_a_thread(|| lines_go_both_ways(Arc::new(ThreadWait::default())));
}

#[test]
fn much_data_arrives_whole() {
    let _test = begin();
    const LEN: usize = 20 << 20;
    let (mut socket, peer) = pair();
    let bytes = |from: usize, len: usize| (from..from + len).map(|index| (index % 251) as u8).collect::<Vec<u8>>();
    let sender = block(move || {
        socket.put_all(&bytes(0, LEN)).unwrap();
        socket.done()
    });
    let mut reader = TcpSocket::from(peer);
    let mut total = 0;
    loop {
        let some = reader.get_bytes(100_003).unwrap();
        assert!(some == bytes(total, some.len()), "behind byte {total}");
        total += some.len();
        if some.is_empty() {
            break;
        }
    }
    assert_eq!((total, sender.result()), (LEN, LEN));
}

#[test]
fn std_can_have_the_socket_back() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    socket.put_all(b"one").unwrap();
    let mut stream = TcpStream::try_from(socket).unwrap();
    stream.write_all(b"two").unwrap();
    drop(stream);
    let mut text = String::new();
    peer.read_to_string(&mut text).unwrap();
    assert_eq!(text, "onetwo");
    let (listener, addr) = listener();
    let listener = TcpListener::try_from(listener).unwrap();
    let client = TcpStream::connect(addr).unwrap();
    assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
}

#[test]
fn the_standard_librarys_names_do_what_they_do_there_and_are_ended() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let listener = net::TcpListener::bind_in(&registry, "127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let mut near = net::TcpStream::connect_in(&registry, addr).unwrap();
    let (mut far, from) = listener.accept().unwrap();
    assert_eq!(from, near.local_addr().unwrap());
    near.write_all(b"hello").unwrap();
    let mut buf = [0; 5];
    far.peek(&mut buf[..1]).unwrap();
    far.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"hello");
    // Limits and the mode.
    near.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let kind = if cfg!(windows) {
        ErrorKind::TimedOut
    } else {
        ErrorKind::WouldBlock
    };
    assert_eq!(near.read(&mut buf).unwrap_err().kind(), kind);
    near.set_nonblocking(true).unwrap();
    assert_eq!(near.read(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
    // To the standard library and back.
    let near = std::net::TcpStream::from(near);
    near.set_nonblocking(false).unwrap();
    near.set_read_timeout(None).unwrap();
    let near = net::TcpStream::from(near);
    let clone = near.try_clone().unwrap();
    let socket = TcpSocket::from(far);
    let far = net::TcpStream::try_from(socket).unwrap();
    // A clone's handle, and the registry.
    let handle = clone.handle();
    let reading = block(move || (&near).read(&mut [0; 8]).map(drop)).until_blocked();
    handle.close();
    assert!(reading.result().is_err());
    drop(clone);
    assert_eq!((&far).read(&mut buf).unwrap(), 0);
    let accepting = block(move || listener.incoming().count()).until_blocked();
    registry.shutdown();
    assert_eq!(accepting.result(), 0);
    assert_port_is_free(addr);
    assert!((&far).read(&mut buf).is_err());
}

#[test]
fn a_limit_ends_each_operation_and_never_early() {
    let _test = begin();
    let limit = Duration::from_millis(60);
    let check = |name: &str, operation: &mut dyn FnMut() -> Result<(), Error>| {
        let begin = Instant::now();
        let result = operation();
        let took = begin.elapsed();
        assert!(matches!(result, Err(Error::Timeout)), "{name}: {result:?}");
        assert!(took >= limit && took < PATIENCE, "{name}: {took:?}");
    };
    let (mut listener, _) = listener();
    listener.timeout(limit);
    check("accept", &mut || listener.accept_new().map(drop));
    let (mut socket, mut peer) = pair();
    socket.timeout(limit);
    check("get", &mut || socket.get(&mut [0; 4]).map(drop));
    check("wait_read", &mut || socket.wait_read());
    // Nothing of it is lost.
    peer.write_all(b"hel").unwrap();
    check("get_line", &mut || socket.get_line().map(drop));
    socket.clear_error();
    peer.write_all(b"lo\n").unwrap();
    assert_eq!(socket.blocking().get_line().unwrap().unwrap(), "hello");
    socket.timeout(limit);
    check("put_all", &mut || socket.put_all(&MUCH));
    assert!(socket.done() < MUCH.len());
    socket.clear_error();
    fill(&mut socket);
    check("put", &mut || socket.put(b"x").map(drop));
}

#[test]
fn closing_ends_a_blocked_accept_and_frees_the_port() {
    let _test = begin();
    for _ in 0..20 {
        let (listener, addr) = listener();
        let listener = Arc::new(listener);
        let accepting = Arc::clone(&listener);
        let handle = listener.handle();
        let result = block(move || accepting.accept_new().map(drop));
        // At any moment: before it blocks, or meanwhile.
        handle.close();
        assert!(matches!(result.result(), Err(Error::Closed)));
        assert!(!listener.is_open());
        listener.close();
        assert_port_is_free(addr);
    }
    let (listener, addr) = listener();
    let listener = Arc::new(listener);
    let accepting = Arc::clone(&listener);
    let result = block(move || accepting.accept_new().map(drop)).still_blocks_until(|| listener.close());
    assert!(matches!(result, Err(Error::Closed)), "{result:?}");
    assert_port_is_free(addr);
}

#[test]
fn a_handle_frees_the_port_of_a_listener_that_has_waited() {
    let _test = begin();
    let (mut listener, addr) = listener();
    listener.timeout(Duration::from_millis(1));
    assert!(listener.accept_new().unwrap_err().is_timeout());
    listener.handle().close();
    assert_port_is_free(addr);
}

#[test]
fn closing_ends_several_blocked_accepts() {
    let _test = begin();
    let (listener, _) = listener();
    let listener = Arc::new(listener);
    let accepting: Vec<_> = (0..4)
        .map(|_| {
            let listener = Arc::clone(&listener);
            block(move || listener.accept_new().map(drop)).until_blocked()
        })
        .collect();
    listener.close();
    for thread in accepting {
        assert!(matches!(thread.result(), Err(Error::Closed)));
    }
}

#[test]
fn closing_ends_a_blocked_get_and_the_peer_sees_the_end() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    let handle = socket.handle();
    let blocked = block(move || (socket.get_byte(), socket));
    let (result, _kept) = blocked.still_blocks_until(|| handle.close());
    assert!(matches!(result, Err(Error::Closed)), "{result:?}");
    assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn closing_ends_a_blocked_put_which_says_how_much_it_sent() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    let handle = socket.handle();
    let blocked = block(move || (socket.put(&MUCH), socket));
    let (result, _kept) = blocked.still_blocks_until(|| handle.close());
    let sent = result.unwrap();
    let mut received = 0;
    let mut buf = [0; 65_536];
    loop {
        match peer.read(&mut buf).unwrap() {
            0 => break,
            count => received += count,
        }
    }
    assert_eq!(received, sent);
}

#[test]
fn closing_ends_a_connect() {
    let _test = begin();
    // An address for documentation: nobody answers, if not at once with an error.
    let nowhere: SocketAddr = "192.0.2.1:9".parse().unwrap();
    let mut socket = TcpSocket::new();
    let handle = socket.handle();
    let blocked = block(move || socket.connect_to(&[nowhere])).until_blocked();
    handle.close();
    let result = blocked.result();
    // Or else the network has answered, before or just now.
    let is_answered = matches!(result, Ok(()) | Err(Error::Connect { .. }));
    assert!(is_answered || matches!(result, Err(Error::Closed)), "{result:?}");
    let mut socket = TcpSocket::new();
    socket.handle().close();
    let result = socket.connect_to(&[listener().1]);
    assert!(matches!(result, Err(Error::Closed)), "{result:?}");
}

#[test]
fn of_several_addresses_one_that_answers_is_taken() {
    let _test = begin();
    let (_listener, addr) = listener();
    let dead = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let mut socket = TcpSocket::new();
    socket.timeout(PATIENCE).connect_to(&[dead, addr]).unwrap();
    assert_eq!(socket.peer_addr().unwrap(), addr);
    let result = TcpSocket::new().timeout(PATIENCE).connect_to(&[dead]);
    match result {
        Err(Error::Connect { attempts }) => {
            assert_eq!(attempts[0].1.kind(), ErrorKind::ConnectionRefused, "{attempts:?}");
        }
        result => panic!("{result:?}"),
    }
    // In steps.
    let mut socket = TcpSocket::new();
    socket.timeout(Duration::ZERO).connect_to(&[addr]).unwrap();
    socket.timeout(PATIENCE).wait_connect().unwrap();
    assert!(socket.is_open());
}

#[test]
fn an_abort_ends_what_blocks_and_loses_nothing() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    peer.write_all(b"hel").unwrap();
    let handle = socket.handle();
    let blocked = block(move || (socket.get_line(), socket));
    let (result, mut socket) = blocked.still_blocks_until(|| handle.abort());
    assert!(matches!(result, Err(Error::Aborted)), "{result:?}");
    socket.clear_abort();
    peer.write_all(b"lo\n").unwrap();
    assert_eq!(socket.get_line().unwrap().unwrap(), "hello");
}

#[test]
fn a_reset_is_an_error_and_an_end_is_none() {
    let _test = begin();
    let reset = |peer: TcpStream| {
        socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
    };
    // What std is told: Wine may tell the end of the stream.
    let (stream, peer) = pair();
    reset(peer);
    let told = TcpStream::try_from(stream).unwrap().read(&mut [0; 1]);
    let (mut socket, peer) = pair();
    reset(peer);
    match (socket.get_byte(), told) {
        (Err(Error::Io { source, .. }), _) => assert_eq!(source.kind(), ErrorKind::ConnectionReset),
        (Ok(None), Ok(0)) => {}
        (result, told) => panic!("{result:?}; std: {told:?}"),
    }
    let (mut socket, mut peer) = pair();
    peer.write_all(b"bye").unwrap();
    drop(peer);
    assert_eq!(socket.get_bytes(10).unwrap(), b"bye");
    assert_eq!(socket.get(&mut [0; 1]).unwrap(), 0);
    assert!(socket.is_eof() && !socket.is_error());
}

#[test]
fn a_registry_ends_everything() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (listener, addr) = listener_in(&registry);
    let peer = TcpStream::connect(addr).unwrap();
    let mut client = listener.accept_new().unwrap();
    let queue = SocketEventQueue::<SocketId>::in_registry(&registry).unwrap();
    let blocked = [
        block(move || listener.accept_new().map(drop)),
        block(move || client.get_byte().map(drop)),
        block(move || queue.wait(None).map(drop)),
    ]
    .map(Blocked::until_blocked);
    registry.shutdown();
    for thread in blocked {
        let result = thread.result();
        assert!(matches!(result, Err(Error::Shutdown)), "{result:?}");
    }
    assert_port_is_free(addr);
    let refused = TcpSocket::with_registry(&registry).connect_to(&[peer.local_addr().unwrap()]);
    assert!(matches!(refused, Err(Error::Shutdown)), "{refused:?}");
    until("nothing is open", || registry.len() == 0);
}

#[test]
fn a_drain_waits_for_running_requests_and_not_for_idle_ones() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (listener, addr) = listener_in(&registry);
    let (tell, told) = mpsc::channel();
    let server = block(move || {
        let mut serving = Vec::new();
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let tell = tell.clone();
            serving.push(block(move || {
                while client.wait_request().unwrap_or(false) {
                    let line = client.get_line().unwrap().unwrap();
                    tell.send(()).unwrap();
                    let rest = client.get_line().unwrap().unwrap();
                    client.put_all(format!("{line} {rest}\n").as_bytes()).unwrap();
                }
            }));
        }
        serving.into_iter().for_each(Blocked::result);
    });
    let mut idle = TcpStream::connect(addr).unwrap();
    let mut busy = TcpStream::connect(addr).unwrap();
    busy.write_all(b"half\n").unwrap();
    until("two connections", || registry.len() == 3);
    told.recv().unwrap();
    let draining = registry.clone();
    let drain = block(move || draining.drain(PATIENCE));
    assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0);
    busy.write_all(b"whole\n").unwrap();
    let mut answer = String::new();
    busy.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "half whole\n");
    let Drained {
        finished,
        forced,
        elapsed,
    } = drain.result();
    assert_eq!((finished, forced), (2, 0));
    assert!(elapsed < PATIENCE, "{elapsed:?}");
    server.result();
    assert_port_is_free(addr);
    assert!(registry.is_stopping() && registry.wait_stop(Duration::ZERO));
}

#[test]
fn halves_read_and_write_at_the_same_time() {
    let _test = begin();
    let (socket, peer) = pair();
    let echo = block(move || {
        let (mut reader, mut writer) = TcpSocket::from(peer).split();
        while let Some(byte) = reader.get_byte().unwrap() {
            writer.put_all(&[byte]).unwrap();
        }
    });
    let (mut reader, mut writer) = socket.split();
    let reading = block(move || (reader.get_bytes(5_000).unwrap().len(), reader));
    for _ in 0..5_000 {
        writer.put_all(b"x").unwrap();
    }
    let (count, mut reader) = reading.result();
    assert_eq!(count, 5_000);
    let blocked = block(move || reader.get_byte());
    let result = blocked.still_blocks_until(|| writer.handle().close());
    assert!(matches!(result, Err(Error::Closed)), "{result:?}");
    echo.result();
}

#[test]
fn a_wait_says_what_is_ready_now() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    assert_eq!(socket.wait(READ | WRITE).unwrap(), WRITE);
    peer.write_all(b"ab").unwrap();
    for _ in 0..3 {
        assert_eq!(socket.wait(READ).unwrap(), READ);
    }
    socket.get_byte().unwrap();
    assert_eq!(socket.wait(READ | WRITE).unwrap(), READ | WRITE);
    socket.get_byte().unwrap();
    assert_eq!(socket.wait(READ | WRITE).unwrap(), WRITE);
    // While there is something to read, waiting for something else costs nothing.
    peer.write_all(b"c").unwrap();
    socket.wait(READ).unwrap();
    socket.timeout(Duration::from_millis(50));
    assert!(matches!(socket.wait(WaitEvents::EXCEPTION), Err(Error::Timeout)));
}

#[test]
fn a_thread_waits_with_one_poll_for_one_socket_after_the_other() {
    let _test = begin();
    let raw_wait: Arc<dyn RawWait> = Arc::new(ThreadWait::default());
    let (mut first, mut first_peer) = pair_of(unopened_in(ShutdownRegistry::global(), &raw_wait));
    let (mut second, mut second_peer) = pair_of(unopened_in(ShutdownRegistry::global(), &raw_wait));
    let handle = first.handle();
    let reading = block(move || {
        for _ in 0..500 {
            assert_eq!(first.get_byte().unwrap(), Some(b'1'));
            assert_eq!(second.get_byte().unwrap(), Some(b'2'));
        }
        first.get_byte()
    });
    for _ in 0..500 {
        second_peer.write_all(b"2").unwrap();
        first_peer.write_all(b"1").unwrap();
    }
    let result = reading.still_blocks_until(|| handle.close());
    assert!(matches!(result, Err(Error::Closed)), "{result:?}");
}

#[test]
fn a_queue_reports_what_is_not_read_yet_again() {
    let _test = begin();
    let queue = SocketEventQueue::new().unwrap();
    let (mut socket, mut peer) = pair();
    queue.subscribe(&socket, READ, "socket").unwrap();
    assert_silent(&queue);
    for _ in 0..100 {
        peer.write_all(b"abc").unwrap();
        for _ in 0..3 {
            let event = only(&queue);
            assert_eq!((*event.token(), event.events()), ("socket", READ));
            // Past the socket's own buffer, so that it is the system that has the rest.
            let mut byte = [0; 1];
            assert_eq!(socket.get(&mut byte).unwrap(), 1);
        }
        assert_silent(&queue);
    }
    // Read by way of the buffer, which counts as well.
    peer.write_all(b"one\ntwo\n").unwrap();
    until("both lines come", || {
        only(&queue);
        socket.get_line().unwrap().unwrap() == "one"
    });
    assert_eq!(only(&queue).events(), READ);
    assert_eq!(socket.get_line().unwrap().unwrap(), "two");
    assert_silent(&queue);
    drop(peer);
    for _ in 0..3 {
        assert!(only(&queue).is_triggered_read(), "the end is readable, again and again");
    }
}

#[test]
fn a_queue_reports_both_directions_each_for_itself() {
    let _test = begin();
    let queue = SocketEventQueue::new().unwrap();
    let (mut socket, mut peer) = pair();
    queue.subscribe_read_write(&socket).unwrap();
    assert_eq!(only(&queue).events(), WRITE);
    let sent = fill(&mut socket);
    assert_silent(&queue);
    peer.write_all(b"x").unwrap();
    assert_eq!(only(&queue).events(), READ);
    assert_eq!(socket.get_byte().unwrap(), Some(b'x'));
    socket.timeout(Duration::ZERO);
    assert!(socket.get_byte().unwrap_err().is_timeout());
    assert_silent(&queue);
    peer.read_exact(&mut vec![0; sent]).unwrap();
    assert_eq!(only(&queue).events(), WRITE);
    queue.disable_write(&socket).unwrap();
    assert_silent(&queue);
    peer.write_all(b"y").unwrap();
    assert_eq!(only(&queue).events(), READ);
    queue.disable_read(&socket).unwrap();
    assert_silent(&queue);
    queue.subscribe_read(&socket).unwrap();
    assert_eq!(only(&queue).events(), READ);
    queue.remove(&socket).unwrap();
    assert_silent(&queue);
    assert_eq!(queue.len(), 0);
}

#[test]
fn a_socket_is_in_two_queues_and_waited_for_besides() {
    let _test = begin();
    let queues = [SocketEventQueue::new().unwrap(), SocketEventQueue::new().unwrap()];
    let (socket, mut peer) = pair();
    for queue in &queues {
        queue.subscribe_read(&socket).unwrap();
    }
    let (mut reader, writer) = socket.split();
    for _ in 0..100 {
        let reading = block(move || (reader.get_byte(), reader));
        peer.write_all(b"x").unwrap();
        let (byte, half) = reading.result();
        assert_eq!(byte.unwrap(), Some(b'x'));
        reader = half;
        for queue in &queues {
            assert_silent_at_last(queue);
        }
        peer.write_all(b"y").unwrap();
        for queue in &queues {
            assert_eq!(only(queue).events(), READ);
        }
        assert_eq!(reader.get_byte().unwrap(), Some(b'y'));
    }
    let waiting: Vec<_> = queues
        .into_iter()
        .map(|queue| {
            block(move || {
                assert_silent_at_last(&queue);
                only(&queue)
            })
            .until_blocked()
        })
        .collect();
    writer.handle().close();
    for thread in waiting {
        assert!(thread.result().is_closed());
    }
}

/// What was reported may be for what has been read since, once.
#[track_caller]
fn assert_silent_at_last(queue: &SocketEventQueue) {
    until("a queue falls silent", || {
        queue.wait(Duration::ZERO).unwrap().is_empty()
    });
}

#[test]
fn several_threads_wait_in_one_queue_and_lose_nothing() {
    let _test = begin();
    const EACH: usize = 300;
    let queue = Arc::new(SocketEventQueue::<usize>::new().unwrap());
    let (sockets, mut peers): (Vec<_>, Vec<_>) = (0..8).map(|_| pair()).unzip();
    for (index, socket) in sockets.iter().enumerate() {
        queue.subscribe(socket, READ, index).unwrap();
    }
    let sockets: Arc<Vec<_>> = Arc::new(sockets.into_iter().map(std::sync::Mutex::new).collect());
    let read = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (queue, sockets, read) = (Arc::clone(&queue), Arc::clone(&sockets), Arc::clone(&read));
            block(move || {
                while let Ok(events) = queue.wait(None) {
                    for event in events {
                        let mut socket = sockets[*event.token()].lock().unwrap();
                        socket.timeout(Duration::ZERO);
                        while let Ok(count) = socket.get(&mut [0; 2]) {
                            read.fetch_add(count, std::sync::atomic::Ordering::SeqCst);
                        }
                    }
                }
            })
        })
        .collect();
    for _ in 0..EACH {
        for peer in &mut peers {
            peer.write_all(b"x").unwrap();
        }
    }
    let total = EACH * peers.len();
    until("all is read", || {
        read.load(std::sync::atomic::Ordering::SeqCst) == total
    });
    queue.handle().close();
    readers.into_iter().for_each(Blocked::result);
}

#[test]
fn a_queue_learns_at_once_that_a_socket_was_closed() {
    let _test = begin();
    let queue = Arc::new(SocketEventQueue::new().unwrap());
    let (listener, addr) = listener();
    let id = listener.id();
    queue.subscribe_read(&listener).unwrap();
    let waiting = Arc::clone(&queue);
    let blocked = block(move || only(&waiting));
    let event = blocked.still_blocks_until(|| listener.handle().close());
    assert!(event.is_closed() && event.socket_id() == id, "{event:?}");
    assert_port_is_free(addr);
    assert_eq!(queue.len(), 0);
    // Without anybody waiting.
    let (socket, _peer) = pair();
    queue.subscribe_read(&socket).unwrap();
    socket.close();
    assert!(only(&queue).is_closed());
    let waiting = Arc::clone(&queue);
    let blocked = block(move || waiting.wait(None).map(|events| events.len()));
    assert_eq!(blocked.still_blocks_until(|| queue.handle().wake()).unwrap(), 0);
    queue.handle().close();
    assert!(matches!(queue.wait(None), Err(Error::Closed)));
}

#[test]
fn a_queue_serves_a_listener_and_two_hundred_connections() {
    let _test = begin();
    const CLIENTS: usize = 200;
    let queue = SocketEventQueue::new().unwrap();
    let (mut listener, addr) = listener();
    listener.timeout(Duration::ZERO);
    queue.subscribe(&listener, READ, usize::MAX).unwrap();
    let clients = block(move || {
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| TcpStream::connect(addr).unwrap()).collect();
        for round in 0..3 {
            for client in &mut clients {
                client.write_all(&[round]).unwrap();
            }
            for client in &mut clients {
                let mut echo = [0; 1];
                client.read_exact(&mut echo).unwrap();
                assert_eq!(echo, [round]);
            }
        }
    });
    let mut connections: Vec<Option<TcpSocket>> = Vec::new();
    let mut ended = 0;
    while ended < CLIENTS {
        let events = queue.wait(PATIENCE).unwrap();
        assert!(
            !events.is_empty(),
            "{} have come, {ended} have ended",
            connections.len()
        );
        for event in events {
            if *event.token() == usize::MAX {
                while let Ok(mut connection) = listener.accept_new() {
                    connection.timeout(Duration::ZERO);
                    queue.subscribe(&connection, READ, connections.len()).unwrap();
                    connections.push(Some(connection));
                }
                continue;
            }
            let Some(connection) = &mut connections[*event.token()] else {
                assert!(event.is_closed(), "{event:?}");
                continue;
            };
            let mut byte = [0; 1];
            match connection.get(&mut byte) {
                Ok(0) => {
                    connections[*event.token()] = None;
                    ended += 1;
                }
                Ok(_) => connection.put_all(&byte).unwrap(),
                Err(error) => assert!(error.is_timeout(), "{error:?}"),
            }
        }
    }
    assert_eq!(connections.len(), CLIENTS);
    clients.result();
}

#[test]
fn a_wait_event_says_which_sockets_are_ready() {
    let _test = begin();
    in_a_thread(|| {
        let (mut listener, addr) = listener();
        let (mut socket, mut peer) = pair();
        for turn in 0..50 {
            let mut waiting = SocketWaitEvent::new();
            waiting.add(&listener, WAIT_READ);
            waiting.add(&TcpSocket::new(), WAIT_READ);
            waiting.add(&socket, WAIT_READ);
            assert_eq!(waiting.wait(Duration::ZERO).unwrap(), 0, "in turn {turn}");
            peer.write_all(b"ab").unwrap();
            for _ in 0..2 {
                assert_eq!(waiting.wait(PATIENCE).unwrap(), 1, "in turn {turn}");
                assert_eq!((waiting[0], waiting[2]), (WaitEvents::empty(), WAIT_READ));
                socket.get(&mut [0; 1]).unwrap();
            }
            let client = TcpStream::connect(addr).unwrap();
            assert_eq!(waiting.wait(PATIENCE).unwrap(), 1, "in turn {turn}");
            assert_eq!((waiting[0], waiting[2]), (WAIT_READ, WaitEvents::empty()));
            assert_eq!(
                listener.accept_new().unwrap().peer_addr().unwrap(),
                client.local_addr().unwrap()
            );
        }
        let mut waiting = SocketWaitEvent::new();
        waiting.add(&socket, WAIT_READ | WAIT_WRITE);
        assert_eq!(waiting.wait(None).unwrap(), 1);
        assert_eq!(waiting[0], WAIT_WRITE);
        listener.timeout(Duration::from_millis(1));
        let handle = listener.handle();
        let blocked = block(move || {
            let mut waiting = SocketWaitEvent::new();
            waiting.add(&listener, WAIT_READ);
            waiting.wait(None)
        });
        assert_eq!(blocked.still_blocks_until(|| handle.close()).unwrap(), 1);
    });
}

#[test]
fn a_reopened_socket_is_watched_anew() {
    let _test = begin();
    let queue = SocketEventQueue::new().unwrap();
    let (listener, addr) = listener();
    let mut socket = TcpSocket::new();
    for _ in 0..50 {
        socket.connect_to(&[addr]).unwrap();
        queue.subscribe_read(&socket).unwrap();
        let mut peer = listener.accept_new().unwrap();
        peer.put_all(b"x").unwrap();
        let event = only(&queue);
        assert!(event.socket_id() == socket.id() && event.events() == READ, "{event:?}");
        assert_eq!(socket.get_byte().unwrap(), Some(b'x'));
        socket.close();
        assert!(only(&queue).is_closed());
    }
}
