//! Handshakes, bytes, the end, and what a session says of itself.

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use wakesock::{Error, WaitEvents};

use crate::ends::{pair, plain_pair, unix_pair};
use crate::support::certificates::{NAME, client_config, server_config};
use crate::support::{ROOM_COMES, begin};

#[test]
fn what_is_put_is_what_is_got() {
    let _test = begin();
    let (mut client, mut server) = pair();
    assert!(client.is_tls() && server.is_tls());
    client.put_all(b"hello\nworld\n").unwrap();
    assert_eq!((client.done(), client.unsent()), (12, 0));
    assert_eq!(server.get_line().unwrap().as_deref(), Some("hello"));
    assert_eq!(server.peek().unwrap(), Some(b'w'));
    assert_eq!(
        server.wait(WaitEvents::ALL).unwrap(),
        WaitEvents::READ | WaitEvents::WRITE
    );
    assert_eq!(server.get_all_bytes(6).unwrap(), b"world\n");
    assert_eq!(server.wait(WaitEvents::ALL).unwrap(), WaitEvents::WRITE);
    write!(server, "bye").unwrap();
    drop(server);
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "bye");
    assert!(client.is_eof() && !client.is_error());
    assert_eq!(client.get(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn much_goes_both_ways_at_once_between_two_threads_at_each_end() {
    const MUCH: usize = 4 << 20;
    let _test = begin();
    let (client, server) = pair();
    let data: Vec<u8> = (0..MUCH).map(|at| (at * 7 / 3) as u8).collect();
    thread::scope(|scope| {
        for socket in [client, server] {
            let (mut reader, mut writer) = socket.split();
            let data = &data;
            scope.spawn(move || {
                writer.put_all(data).unwrap();
                writer.shutdown().unwrap();
                writer
            });
            scope.spawn(move || {
                assert!(reader.get_bytes(2 * MUCH).unwrap() == *data);
                assert!(reader.is_eof());
            });
        }
    });
}

#[test]
fn both_put_much_and_neither_reads_before_the_limit_is_over_and_nothing_is_lost() {
    const MUCH: usize = 8 << 20;
    let test = begin();
    if test.skip_if(cfg!(windows), ROOM_COMES) {
        return;
    }
    let (mut client, mut server) = unix_pair();
    let data: Vec<u8> = (0..MUCH).map(|at| (at / 3) as u8).collect();
    let mut counts = [0, 0];
    for (socket, count) in [&mut client, &mut server].into_iter().zip(&mut counts) {
        socket.timeout(Duration::from_millis(20));
        *count = socket.put(&data).unwrap();
        assert!(socket.is_timeout() && socket.done() == *count && *count < MUCH);
        assert!(socket.unsent() > 0 && socket.wants() == WaitEvents::WRITE);
        assert!(
            matches!(socket.put(&data), Err(Error::Timeout)),
            "nothing is taken behind what is unsent"
        );
        assert!(matches!(socket.flush(), Err(Error::Timeout)));
    }
    thread::scope(|scope| {
        for (mut socket, count) in [client, server].into_iter().zip([counts[1], counts[0]]) {
            let data = &data;
            scope.spawn(move || {
                socket.blocking();
                // That sends what is unsent, too.
                assert!(socket.get_all_bytes(count).unwrap() == data[..count]);
                socket.flush().unwrap();
                assert_eq!((socket.unsent(), socket.wants()), (0, WaitEvents::empty()));
            });
        }
    });
}

#[test]
fn a_session_says_what_was_agreed_on() {
    let _test = begin();
    let (mut client, mut server) = plain_pair();
    assert!(client.tls_info().is_none());
    thread::scope(|scope| {
        scope.spawn(|| server.start_tls_server(&server_config()).unwrap());
        client.start_tls(NAME, &client_config()).unwrap();
    });
    let (ours, theirs) = (client.tls_info().unwrap(), server.tls_info().unwrap());
    for info in [&ours, &theirs] {
        assert_eq!(
            (info.version(), info.alpn(), info.server_name()),
            ("TLSv1.3", None, Some(NAME))
        );
        assert!(info.cipher().starts_with("TLS13_"), "{}", info.cipher());
    }
    assert_eq!(
        (ours.peer_certificates().len(), theirs.peer_certificates().len()),
        (1, 0)
    );
}

#[test]
fn whom_nobody_vouches_for_is_a_named_error_and_the_peer_is_told() {
    let _test = begin();
    let (mut client, mut server) = plain_pair();
    let error = thread::scope(|scope| {
        let refused = scope.spawn(|| server.start_tls_server(&server_config()).unwrap_err());
        let error = client.start_tls("another.test", &client_config()).unwrap_err();
        let told = refused.join().unwrap();
        assert!(matches!(&told, Error::Tls { .. }), "{told:?}");
        assert!(told.to_string().contains("received fatal alert"), "{told}");
        error
    });
    let expected = format!(
        "start_tls with {}: invalid peer certificate",
        client.peer_addr().unwrap()
    );
    assert!(error.to_string().starts_with(&expected), "{error}");
    client.clear_error();
    assert!(
        matches!(client.put(b"secret"), Err(Error::Tls { .. })),
        "it is so for good"
    );
    assert!(matches!(client.get(&mut [0; 1]), Err(Error::Tls { .. })));
}

#[test]
fn an_end_without_close_notify_is_told_after_all_data() {
    let _test = begin();
    let (mut client, mut server) = pair();
    server.put_all(b"all but").unwrap();
    server.handle().close();
    assert_eq!(client.get_bytes(100).unwrap(), b"all but");
    assert!(matches!(client.get(&mut [0; 1]), Err(Error::Truncated)));
    client.clear_error();
    client.allow_truncation(true);
    assert_eq!(client.get(&mut [0; 1]).unwrap(), 0);
    assert!(client.is_eof());
}

#[test]
fn a_handshake_that_is_cut_short_goes_on() {
    let _test = begin();
    let (mut client, mut server) = plain_pair();
    client.timeout(Duration::ZERO);
    server.timeout(Duration::ZERO);
    let mut ours = client.start_tls(NAME, &client_config());
    let mut theirs = server.start_tls_server(&server_config());
    while ours.is_err() || theirs.is_err() {
        for result in [&mut ours, &mut theirs] {
            assert!(matches!(result, Ok(()) | Err(Error::Timeout)), "{result:?}");
        }
        ours = client.wait_tls();
        theirs = server.wait_tls();
    }
    client.put_all(b"!").unwrap();
    server.blocking();
    assert_eq!(server.get_byte().unwrap(), Some(b'!'));
}
