//! Bytes that are looked at and stay, and bytes that are put back.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::time::Duration;

use wakesock::{Error, Result, TcpReader, TcpSocket, WaitEvents};

use crate::support::every::assert_failed;
use crate::support::{
    NO_RESETS, begin, block, ends_at_limit, is_wine, listener, pair, pattern, reset, timed, unix_pair,
};

/// A whole socket, or a half: what both have.
trait Peeks: Send {
    fn peek_all(&mut self, len: usize) -> Result<Vec<u8>>;
    fn unread(&mut self, bytes: &[u8]);
    fn get_bytes(&mut self, len: usize) -> Result<Vec<u8>>;
    fn limit(&mut self, limit: Option<Duration>);
}

macro_rules! peeks {
    ($($End:ty)*) => {$(
        impl Peeks for $End {
            fn peek_all(&mut self, len: usize) -> Result<Vec<u8>> { <$End>::peek_all(self, len).map(<[u8]>::to_vec) }
            fn unread(&mut self, bytes: &[u8]) { <$End>::unread(self, bytes); }
            fn get_bytes(&mut self, len: usize) -> Result<Vec<u8>> { <$End>::get_bytes(self, len) }
            fn limit(&mut self, limit: Option<Duration>) { self.timeout(limit); }
        }
    )*};
}

peeks!(TcpSocket TcpReader);

fn ends() -> [(Box<dyn Peeks>, std::net::TcpStream); 2] {
    let (whole, peer) = pair();
    let (socket, other) = pair();
    [(Box::new(whole), peer), (Box::new(socket.split().0), other)]
}

#[test]
fn what_is_looked_at_stays() {
    let _test = begin();
    for len in [1, 100, 8_192, 8_193, 700_000] {
        for (mut end, mut peer) in ends() {
            let sent = pattern(len + 1);
            let expected = sent.clone();
            let sending = block(move || peer.write_all(&sent).map(|()| peer));
            assert!(end.peek_all(len).unwrap() == expected[..len], "{len}");
            assert!(end.peek_all(len / 2).unwrap() == expected[..len / 2], "{len}");
            assert!(end.peek_all(len + 1).unwrap() == expected, "{len}");
            assert_eq!(end.peek_all(0).unwrap(), b"");
            assert!(end.get_bytes(len + 1).unwrap() == expected, "{len}");
            sending.result().unwrap();
        }
    }
}

#[test]
fn a_look_that_comes_short_takes_nothing_and_does_not_stick() {
    let test = begin();
    if test.skip_if(is_wine(), NO_RESETS) {
        return;
    }
    for stop in ["limit", "zero", "end of file", "abort", "reset"] {
        let (mut socket, mut peer) = pair();
        peer.write_all(b"abc").unwrap();
        assert_eq!(socket.peek_all(3).unwrap(), b"abc");
        let handle = socket.handle();
        match stop {
            "limit" => ends_at_limit(Duration::from_millis(20), |limit| {
                let (result, took) = timed(|| socket.timeout(limit).peek_all(4).map(drop));
                assert_failed(&result, &Error::Timeout, stop);
                assert!(socket.is_timeout(), "{socket:?}");
                took
            }),
            "zero" => assert_failed(
                &socket.timeout(Duration::ZERO).peek_all(usize::MAX),
                &Error::Timeout,
                stop,
            ),
            "end of file" => {
                peer.shutdown(Shutdown::Write).unwrap();
                for _ in 0..2 {
                    assert_failed(&socket.peek_all(4), &Error::UnexpectedEof, stop);
                    assert!(!socket.is_timeout() && !socket.is_eof(), "{socket:?}");
                }
            }
            "abort" => {
                let blocked = block(move || (socket.peek_all(4).map(drop), socket)).until_blocked();
                handle.abort();
                let (result, stopped) = blocked.result();
                assert_failed(&result, &Error::Aborted, stop);
                socket = stopped;
                socket.clear_abort();
            }
            _ => {
                reset(peer);
                let error = socket.peek_all(4).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error:?}");
                assert!(socket.is_error(), "an error of the system is sticky");
                socket.clear_error();
                assert_eq!(socket.buffer(), b"abc");
                continue;
            }
        }
        assert!(!socket.is_error() && socket.done() == 0, "{stop}: {socket:?}");
        assert_eq!(socket.buffer(), b"abc", "{stop}");
        if stop != "end of file" {
            peer.write_all(b"d").unwrap();
            assert_eq!(socket.blocking().peek_all(4).unwrap(), b"abcd", "{stop}");
        }
        assert_eq!(socket.get_all_bytes(3).unwrap(), b"abc", "{stop}");
    }
}

#[test]
fn what_is_put_back_comes_first() {
    let _test = begin();
    for (mut end, mut peer) in ends() {
        // With nothing else there.
        end.unread(b"");
        end.unread(b"def");
        end.unread(b"abc");
        assert_eq!(end.get_bytes(6).unwrap(), b"abcdef");
        // In front of what was read ahead, and more than a socket reads at once.
        peer.write_all(b"ghi").unwrap();
        assert_eq!(end.peek_all(3).unwrap(), b"ghi");
        let much = pattern(20_000);
        end.unread(&much);
        end.unread(b"first");
        assert!(end.get_bytes(20_008).unwrap() == [b"first", &*much, b"ghi"].concat());
        // With no wait, and for a reader that waits for more.
        end.limit(Some(Duration::ZERO));
        end.unread(b"xy");
        assert_eq!(end.get_bytes(1).unwrap(), b"x");
        end.limit(None);
        let blocked = block(move || end.peek_all(3)).until_blocked();
        peer.write_all(b"zz").unwrap();
        assert_eq!(blocked.result().unwrap(), b"yzz");
    }
}

#[test]
fn what_is_put_back_is_readable() {
    let _test = begin();
    let (mut socket, mut peer) = unix_pair();
    socket.timeout(Duration::ZERO);
    assert_failed(&socket.wait_read(), &Error::Timeout, "wait_read");
    socket.unread(b"a");
    assert_eq!(socket.wait(WaitEvents::READ).unwrap(), WaitEvents::READ);
    assert!(socket.wait_request().unwrap());
    assert_eq!(socket.get_byte().unwrap(), Some(b'a'));
    assert_failed(&socket.wait_read(), &Error::Timeout, "wait_read");
    // After the end of the stream.
    peer.write_all(b"b").unwrap();
    peer.shutdown(Shutdown::Both).unwrap();
    assert_eq!(socket.get_bytes(2).unwrap(), b"b");
    assert!(socket.is_eof());
    socket.unread(b"b");
    assert!(!socket.is_eof() && socket.wait_request().unwrap());
    let mut bytes = Vec::new();
    assert_eq!(socket.read_to_end(&mut bytes).unwrap(), 1);
    assert!(socket.is_eof() && !socket.wait_request().unwrap());
}

#[test]
fn what_is_put_back_is_there_after_an_abort_and_an_error_and_gone_with_the_connection() {
    let _test = begin();
    let (mut socket, _peer) = pair();
    socket.abort();
    socket.unread(b"abc");
    assert_failed(&socket.get_byte(), &Error::Aborted, "get_byte");
    socket.clear_abort();
    assert_failed(
        &socket.get_line_bytes(2),
        &Error::LineTooLong { limit: 2 },
        "get_line_bytes",
    );
    socket.unread(b"x");
    assert!(socket.get_byte().is_err(), "it is in the error state");
    socket.clear_error();
    assert_eq!(socket.get_all_bytes(4).unwrap(), b"xabc");
    socket.unread(b"old");
    socket.close();
    socket.unread(b"older");
    assert_failed(&socket.get_byte(), &Error::Closed, "get_byte");
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.connect_to(&[server.local_addr().unwrap()]).unwrap();
    let (mut peer, _) = server.accept().unwrap();
    peer.write_all(b"new").unwrap();
    assert_eq!(socket.get_all_bytes(3).unwrap(), b"new");
    // Of one that was never open, and of one that is never read from.
    let mut socket = TcpSocket::new();
    socket.unread(b"abc");
    assert_failed(&socket.get_byte(), &Error::Closed, "get_byte");
    socket.connect_to(&[server.local_addr().unwrap()]).unwrap();
    assert_failed(&socket.timeout(Duration::ZERO).get_byte(), &Error::Timeout, "get_byte");
    let (mut listener, _) = listener();
    listener.unread(b"abc");
    assert_failed(
        &listener.timeout(Duration::ZERO).wait_read(),
        &Error::Timeout,
        "wait_read",
    );
}
