//! How little memory peers can make a process take.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use wakesock::{Error, SocketEventQueue, TcpSocket, WaitEvents};

use crate::peer::{Peer, at_once};
use crate::support::certificates::{NAME, client_config, server_config};
use crate::support::{PATIENCE, SANITIZERS_TAKE_MEMORY, begin, block, is_sanitized, listener};

/// How much memory the process has.
fn resident() -> usize {
    let sizes = fs::read_to_string("/proc/self/statm").unwrap();
    sizes.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn number_16_what_is_only_announced_takes_no_memory() {
    const COUNT: usize = 500;
    let test = begin();
    if test.skip_if(is_sanitized(), SANITIZERS_TAKE_MEMORY) {
        return;
    }
    // A record as long as may be, and in one a message as long as is put up with.
    for announced in [&[22, 3, 1, 0x40, 0][..], &[22, 3, 1, 0, 5, 1, 0, 0xff, 0, 3]] {
        let mut all = Vec::with_capacity(COUNT);
        let before = resident();
        for _ in 0..COUNT {
            let (mut server, mut stream) = at_once();
            stream.write_all(announced).unwrap();
            let result = server.start_tls_server(&server_config());
            assert!(matches!(result, Err(Error::Timeout)), "{result:?}");
            all.push((server, stream));
        }
        let each = resident().saturating_sub(before) / COUNT;
        assert!(each < 16 << 10, "{each} bytes for each");
    }
}

#[test]
fn ten_thousand_handshakes_that_never_end_cost_little_memory_no_thread_and_nobody_else_anything() {
    const MOST: usize = 10_000;
    let test = begin();
    if test.skip_if(is_sanitized(), SANITIZERS_TAKE_MEMORY) {
        return;
    }
    // Two descriptors for each, and some for all else.
    let descriptors = rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let count = MOST.min((descriptors as usize - 200) / 2);
    let queue = SocketEventQueue::<usize>::new().unwrap();
    let (listener, addr) = listener();
    queue.subscribe(&listener, WaitEvents::READ, usize::MAX).unwrap();
    let hello = {
        let (_, stream) = at_once();
        Peer::client(&client_config(), stream).said()
    };
    let threads = fs::read_dir("/proc/self/task").unwrap().count();
    let before = resident();
    let mut sockets = Vec::new();
    let mut peers = Vec::new();
    // Nothing, one byte, all but one byte: as far as each goes, nothing can be said to it.
    let parts = [0, 1, 5, hello.len() / 2, hello.len() - 1];
    let serve = |sockets: &mut Vec<TcpSocket>| {
        for event in queue.wait(Duration::ZERO).unwrap() {
            if *event.token() == usize::MAX {
                let mut socket = TcpSocket::new();
                socket.timeout(Duration::ZERO);
                match socket.accept(&listener) {
                    Err(Error::Timeout) => continue,
                    result => result.unwrap(),
                }
                let begun = socket.start_tls_server(&server_config());
                assert!(matches!(begun, Ok(()) | Err(Error::Timeout)), "{begun:?}");
                queue.subscribe(&socket, WaitEvents::READ, sockets.len()).unwrap();
                sockets.push(socket);
            } else {
                let socket = &mut sockets[*event.token()];
                match socket.wait_tls().and_then(|()| socket.get_bytes(5)) {
                    Err(Error::Timeout | Error::Closed) => {}
                    Ok(bytes) if bytes.is_empty() => socket.close(),
                    Ok(bytes) => assert_eq!(socket.put(&bytes).unwrap(), bytes.len()),
                    Err(error) => panic!("{error}"),
                }
            }
        }
    };
    let ask = move || {
        let mut client = TcpSocket::new();
        client.timeout(PATIENCE).connect_to(&[addr]).unwrap();
        client.start_tls(NAME, &client_config()).unwrap();
        client.put_all(b"hello").unwrap();
        assert_eq!(client.get_all_bytes(5).unwrap(), b"hello");
    };
    let mut served = 0;
    while peers.len() < count {
        for _ in 0..100.min(count - peers.len()) {
            let mut peer = TcpStream::connect(addr).unwrap();
            peer.write_all(&hello[..parts[peers.len() % parts.len()]]).unwrap();
            peers.push(peer);
            serve(&mut sockets);
        }
        if peers.len() % 1000 == 0 {
            let asking = block(ask);
            while !asking.is_finished() {
                serve(&mut sockets);
            }
            asking.result();
            served += 1;
        }
    }
    while sockets.len() < count + served {
        serve(&mut sockets);
    }
    let each = (resident() - before) / count;
    assert!(each < 16 << 10, "{each} bytes for each");
    assert!(fs::read_dir("/proc/self/task").unwrap().count() <= threads + 1);
    assert!(
        sockets
            .iter()
            .filter(|socket| socket.is_open())
            .all(|socket| socket.is_tls() && socket.tls_info().is_none())
    );
}
