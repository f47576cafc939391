//! Second names, beside U++'s: each says what U++'s says, whatever has become of the connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use socket2::SockRef;
use wakesock::{Error, TcpSocket};

use crate::support::{begin, pair};

const STEP: Duration = Duration::from_millis(1);

/// Compares the answers of two names of a `$socket`, with what they are to say.
macro_rules! assert_both {
    ($socket:ident, $($old:ident $new:ident $expected:expr),*) => {
        $(assert_eq!(($socket.$old(), $socket.$new()), ($expected, $expected), stringify!($new));)*
    };
}

#[test]
fn what_is_set_is_told_by_both_names() {
    let _test = begin();
    let (socket, _peer) = pair();
    let (mut reader, mut writer) = socket.split();
    assert_both!(reader, get_timeout current_timeout None, get_wait_step current_wait_step Duration::from_millis(10));
    reader.timeout(STEP).wait_step(7 * STEP);
    writer.timeout(2 * STEP);
    assert_both!(reader, get_timeout current_timeout Some(STEP), get_wait_step current_wait_step 7 * STEP);
    assert_both!(writer, get_timeout current_timeout Some(2 * STEP));
    writer.blocking();
    assert_both!(writer, get_timeout current_timeout None);
}

#[test]
fn how_an_operation_ended_is_told_by_both_names() {
    let _test = begin();
    let (mut socket, peer) = pair();
    let mut peer = TcpSocket::from(peer);
    assert_both!(socket, done transferred 0, is_timeout timed_out false, is_abort is_aborted false);
    peer.put_all(b"hello").unwrap();
    assert_both!(peer, done transferred 5);
    socket.timeout(STEP).wait_read().unwrap();
    assert_eq!(socket.get_bytes(8).unwrap(), b"hello");
    assert_both!(socket, done transferred 5, is_timeout timed_out true);
    socket.abort();
    assert!(matches!(socket.get_byte(), Err(Error::Aborted)));
    assert_both!(socket, done transferred 0, is_timeout timed_out false, is_abort is_aborted true);
    socket.clear_abort();
    assert_both!(socket, is_abort is_aborted false);
}

#[test]
fn a_callback_is_told_by_both_names_how_far_an_operation_is() {
    let _test = begin();
    let (mut socket, peer) = pair();
    let mut peer = TcpSocket::from(peer);
    peer.put_all(b"hello").unwrap();
    let most = Arc::new(AtomicUsize::new(0));
    socket.when_wait({
        let most = Arc::clone(&most);
        move |waiting| {
            assert_eq!(waiting.done(), waiting.transferred());
            most.fetch_max(waiting.transferred(), SeqCst);
            if waiting.transferred() == 5 {
                waiting.abort();
            }
        }
    });
    assert_eq!(socket.get_bytes(8).unwrap(), b"hello");
    assert_eq!(most.load(SeqCst), 5);
}

#[test]
fn options_are_set_by_both_names_and_asked_for_by_one() {
    let _test = begin();
    let (socket, _peer) = pair();
    let option = |socket: &TcpSocket| SockRef::from(socket).tcp_nodelay().unwrap();
    for (set, expected) in [
        (TcpSocket::no_delay as fn(&TcpSocket) -> _, true),
        (|socket| socket.set_nodelay(false), false),
        (|socket| socket.set_nodelay(true), true),
    ] {
        set(&socket).unwrap();
        assert_eq!((socket.nodelay().unwrap(), option(&socket)), (expected, expected));
    }
    let linger = |socket: &TcpSocket| SockRef::from(socket).linger().unwrap();
    socket.set_linger(Duration::from_millis(1500)).unwrap();
    assert_eq!(linger(&socket), Some(Duration::from_secs(2)));
    socket.set_linger(None).unwrap();
    assert_eq!(linger(&socket), None);
    socket.close();
    for error in [
        socket.nodelay().unwrap_err(),
        socket.set_nodelay(true).unwrap_err(),
        socket.set_linger(None).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Closed), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_unix_domain_socket_has_no_nodelay_and_the_error_names_the_call() {
    let _test = begin();
    let (socket, _peer) = crate::support::unix_pair();
    for (error, name) in [
        (socket.nodelay().unwrap_err(), "nodelay: "),
        (socket.set_nodelay(true).unwrap_err(), "set_nodelay: "),
    ] {
        assert!(error.to_string().starts_with(name), "{error}");
    }
}
