//! The standard library's traits, and libraries above them: each call has one limit, and what ends it loses nothing.

use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tungstenite::{HandshakeError, Message};
use wakesock::{Error, ShutdownRegistry, TcpSocket};

use crate::support::every::{assert_failed, inner};
use crate::support::full::{MUCH, fill};
use crate::support::{PATIENCE, begin, block, ends_at_limit, pair, pair_of, timed, unix_pair_in};

/// A buffered reader that can also be given a limit: a socket, or half of one.
trait Limited: BufRead + Send {
    fn limit(&mut self, limit: Option<Duration>);
    fn state(&self) -> (bool, bool);
    fn peek_all(&mut self, len: usize) -> Vec<u8>;
}

macro_rules! limited {
    ($($End:ty)*) => {$(
        impl Limited for $End {
            fn limit(&mut self, limit: Option<Duration>) {
                self.timeout(limit);
            }
            fn state(&self) -> (bool, bool) {
                (self.is_timeout(), self.is_error())
            }
            fn peek_all(&mut self, len: usize) -> Vec<u8> {
                <$End>::peek_all(self, len).unwrap().to_vec()
            }
        }
    )*};
}

limited!(wakesock::TcpSocket wakesock::TcpReader);

/// The ends of a connection that read, each with its peer.
fn readers() -> [(Box<dyn Limited>, TcpStream); 2] {
    let (whole, peer) = pair();
    let (socket, other) = pair();
    [(Box::new(whole), peer), (Box::new(socket.split().0), other)]
}

type Call = fn(&mut dyn Limited) -> io::Result<Vec<u8>>;

/// Calls that return nothing before all is there, which is [`WHOLE`].
const CALLS: [(&str, Call); 5] = [
    ("read_exact", |reader| {
        let mut buf = vec![0; WHOLE.len()];
        reader.read_exact(&mut buf).map(|()| buf)
    }),
    ("read_until", |reader| {
        let mut bytes = Vec::new();
        let count = reader.read_until(b'\n', &mut bytes);
        assert_eq!(count.as_ref().copied().unwrap_or(0), bytes.len());
        count.map(|_| bytes)
    }),
    ("read_line", |reader| {
        let mut text = String::new();
        let count = reader.read_line(&mut text);
        assert_eq!(count.as_ref().copied().unwrap_or(0), text.len());
        count.map(|_| text.into_bytes())
    }),
    ("lines", |reader| {
        let line = reader.lines().next().unwrap()?;
        Ok(line.into_bytes().into_iter().chain(*b"\n").collect())
    }),
    ("split", |reader| {
        let mut part = reader.split(b'\n').next().unwrap()?;
        part.push(b'\n');
        Ok(part)
    }),
];

const WHOLE: &[u8] = "größer €\n".as_bytes();

#[test]
fn what_a_limit_has_cut_anywhere_comes_as_a_whole() {
    let _test = begin();
    for (name, call) in CALLS {
        for limit in [Duration::ZERO, Duration::from_millis(1)] {
            for (mut reader, mut peer) in readers() {
                reader.limit(Some(limit));
                for (at, byte) in WHOLE.iter().enumerate() {
                    // Before all is there, each byte is followed by a call in vain.
                    let what = format!("{name}, {limit:?}, {at} bytes");
                    let error = call(&mut *reader).unwrap_err();
                    let kind = match limit.is_zero() {
                        true => ErrorKind::WouldBlock,
                        false => ErrorKind::TimedOut,
                    };
                    assert_eq!(error.kind(), kind, "{what}: {error}");
                    assert!(matches!(inner(error), Error::Timeout), "{what}");
                    assert_eq!(reader.state(), (true, false), "{what}: timed out, and not sticky");
                    peer.write_all(&[*byte]).unwrap();
                    reader.limit(None);
                    assert_eq!(reader.peek_all(at + 1), WHOLE[..=at], "{what}");
                    reader.limit(Some(limit));
                }
                assert_eq!(call(&mut *reader).unwrap(), WHOLE, "{name}, {limit:?}");
            }
        }
    }
}

#[test]
fn read_to_string_leaves_what_came_and_read_to_end_hands_it_over() {
    let _test = begin();
    for (mut reader, mut peer) in readers() {
        reader.limit(Some(Duration::from_millis(1)));
        let mut text = "before, ".to_owned();
        let mut bytes = b"before, ".to_vec();
        for at in 0..WHOLE.len() {
            peer.write_all(&WHOLE[at..=at]).unwrap();
            reader.limit(None);
            reader.peek_all(at + 1);
            reader.limit(Some(Duration::from_millis(1)));
            let error = reader.read_to_string(&mut text).unwrap_err();
            assert_eq!((error.kind(), &*text), (ErrorKind::TimedOut, "before, "), "{at}");
        }
        let error = reader.read_to_end(&mut bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(bytes, [b"before, ", WHOLE].concat());
        assert_eq!(reader.state(), (true, false));
        peer.write_all(WHOLE).unwrap();
        drop(peer);
        reader.limit(None);
        assert_eq!(reader.read_to_string(&mut text).unwrap(), WHOLE.len());
        assert_eq!(text.as_bytes(), [b"before, ", WHOLE].concat());
        assert_eq!(reader.read_to_string(&mut text).unwrap(), 0);
        assert_eq!(reader.read_to_end(&mut bytes).unwrap(), 0);
    }
}

/// Sends a byte every few milliseconds, until the other end is gone.
fn dribble(mut peer: TcpStream) {
    peer.set_nodelay(true).unwrap();
    while peer.write_all(b"x").is_ok() {
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_read_has_one_limit_however_many_pieces_come() {
    let _test = begin();
    type Endless = fn(&mut dyn Limited) -> io::Result<()>;
    let calls: [(&str, Endless); 6] = [
        ("read_exact", |reader| reader.read_exact(&mut [0; 100_000])),
        ("read_until", |reader| {
            reader.read_until(b'\n', &mut Vec::new()).map(drop)
        }),
        ("read_line", |reader| reader.read_line(&mut String::new()).map(drop)),
        ("skip_until", |reader| reader.skip_until(b'\n').map(drop)),
        ("read_to_end", |reader| reader.read_to_end(&mut Vec::new()).map(drop)),
        ("read_to_string", |reader| {
            reader.read_to_string(&mut String::new()).map(drop)
        }),
    ];
    for (name, call) in calls {
        for (mut reader, peer) in readers() {
            let dribbling = block(move || dribble(peer));
            ends_at_limit(Duration::from_millis(50), |limit| {
                reader.limit(Some(limit));
                let (result, took) = timed(|| call(&mut *reader));
                assert_eq!(result.unwrap_err().kind(), ErrorKind::TimedOut, "{name}");
                assert_eq!(reader.state(), (true, false), "{name}");
                took
            });
            drop(reader);
            dribbling.result();
        }
    }
}

#[test]
fn write_all_has_one_limit_and_tells_exactly_what_was_sent() {
    let _test = begin();
    let (mut socket, mut peer) = unix_pair_in(ShutdownRegistry::global());
    let (stop, stopped) = mpsc::channel::<()>();
    let mut sent = 0;
    let reading = block(move || {
        let mut came = Vec::new();
        // Makes room now and then.
        while stopped.recv_timeout(Duration::from_millis(5)) == Err(mpsc::RecvTimeoutError::Timeout) {
            let mut part = vec![0; 5_000];
            let count = peer.read(&mut part).unwrap();
            came.extend_from_slice(&part[..count]);
        }
        peer.read_to_end(&mut came).unwrap();
        came
    });
    ends_at_limit(Duration::from_millis(50), |limit| {
        let (result, took) = timed(|| socket.timeout(limit).write_all(&MUCH[sent..]));
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(socket.is_timeout() && !socket.is_error(), "{socket:?}");
        sent += socket.done();
        took
    });
    let (_, mut writer) = socket.split();
    let error = writer.timeout(Duration::ZERO).write_all(&MUCH[sent..]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldBlock), "{error:?}");
    sent += writer.done();
    stop.send(()).unwrap();
    writer.blocking();
    let whole = sent + 100_000;
    writer.write_all(&MUCH[sent..whole]).unwrap();
    assert_eq!(writer.done(), 100_000);
    drop(writer);
    assert!(reading.result() == MUCH[..whole], "other bytes than {whole}");
}

/// Formats to two pieces, or not at all.
struct Odd(bool);

impl std::fmt::Display for Odd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("first ")?;
        match self.0 {
            true => f.write_str("second"),
            false => Err(std::fmt::Error),
        }
    }
}

#[test]
fn what_is_formatted_goes_out_at_once_and_is_counted_as_one() {
    let _test = begin();
    let (mut socket, mut peer) = unix_pair_in(ShutdownRegistry::global());
    write!(socket, "{}, {}!", Odd(true), 3).unwrap();
    assert_eq!(socket.done(), 16);
    write!(socket, "no arguments").unwrap();
    assert_eq!(socket.done(), 12);
    assert!(write!(socket, "{}", Odd(false)).is_err(), "it can't be formatted");
    let (_reader, mut writer) = socket.split();
    write!(writer, "{}{}", Odd(true), 4).unwrap();
    assert_eq!(writer.done(), 13);
    let sent = fill(&mut writer);
    writer.timeout(Duration::ZERO);
    assert_eq!(write!(writer, "{}{}", 1, 2).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(writer.done() == 0 && !writer.is_error(), "{writer:?}");
    drop((writer, _reader));
    let mut came = Vec::new();
    peer.read_to_end(&mut came).unwrap();
    assert!(
        came.starts_with(b"first second, 3!no argumentsfirst second4"),
        "{:?}",
        &came[..50]
    );
    assert_eq!(came.len(), 41 + sent);
}

#[test]
fn the_end_of_the_stream_is_what_it_is_in_the_standard_library() {
    let _test = begin();
    for (mut reader, mut peer) in readers() {
        peer.write_all(b"abc").unwrap();
        drop(peer);
        for _ in 0..2 {
            let error = reader.read_exact(&mut [0; 10]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
            assert!(matches!(inner(error), Error::UnexpectedEof));
            assert_eq!(reader.state(), (false, false), "it is not sticky");
        }
        let mut line = String::new();
        assert_eq!(reader.read_line(&mut line).unwrap(), 3);
        assert_eq!(reader.read_line(&mut line).unwrap(), 0);
        assert_eq!(line, "abc");
        assert_eq!(reader.read_until(b'x', &mut Vec::new()).unwrap(), 0);
        assert_eq!(reader.skip_until(b'x').unwrap(), 0);
        assert!(reader.lines().next().is_none());
    }
}

#[test]
fn lines_goes_on_after_one_that_is_no_text() {
    let _test = begin();
    for (mut reader, mut peer) in readers() {
        peer.write_all(b"one\n\xff\ntwo\r\nthr\xff").unwrap();
        drop(peer);
        let mut text = "before".to_owned();
        assert_eq!(reader.read_line(&mut text).unwrap(), 4);
        assert_eq!(reader.read_line(&mut text).unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(text, "beforeone\n");
        let lines: Vec<_> = reader.lines().map(|line| line.map_err(|error| error.kind())).collect();
        assert_eq!(lines, [Ok("two".to_owned()), Err(ErrorKind::InvalidData)]);
    }
    // What is to be one text stays, and can be read as bytes.
    for (mut reader, mut peer) in readers() {
        peer.write_all(b"one\xff").unwrap();
        drop(peer);
        let mut text = "before".to_owned();
        let error = reader.read_to_string(&mut text).unwrap_err();
        assert!(
            error.kind() == ErrorKind::InvalidData && text == "before",
            "{error}, {text}"
        );
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"one\xff");
    }
}

#[test]
fn a_line_may_have_any_length() {
    let _test = begin();
    for (mut reader, mut peer) in readers() {
        let line = "ä".repeat(200_000) + "\n";
        let (sent, expected) = (line.repeat(2), line);
        let sending = block(move || peer.write_all(sent.as_bytes()).map(|()| peer));
        let mut text = String::new();
        assert_eq!(reader.read_line(&mut text).unwrap(), expected.len());
        assert!(text == expected);
        assert_eq!(reader.skip_until(b'\n').unwrap(), expected.len());
        sending.result().unwrap();
    }
}

#[test]
fn skip_until_drops_what_it_has_seen_and_goes_on() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    peer.write_all(b"dropped").unwrap();
    socket.peek_all(7).unwrap();
    let error = socket.timeout(Duration::from_millis(1)).skip_until(b'\n').unwrap_err();
    assert_eq!((error.kind(), socket.done()), (ErrorKind::TimedOut, 7));
    peer.write_all(b" too\nkept").unwrap();
    drop(peer);
    assert_eq!(socket.blocking().skip_until(b'\n').unwrap(), 5);
    assert_eq!(socket.get_bytes(10).unwrap(), b"kept");
}

#[test]
fn an_error_that_was_sticky_is_no_limit_to_try_again_at() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    peer.write_all(b"half").unwrap();
    socket.timeout(Duration::ZERO);
    assert_failed(&socket.get_line(), &Error::Timeout, "get_line");
    assert_eq!(socket.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::TimedOut);
    socket.clear_error();
    socket.global_timeout(Duration::ZERO);
    let error = socket.read_exact(&mut [0; 4]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_failed(&Err::<(), _>(inner(error)), &Error::GlobalTimeout, "read_exact");
    assert!(socket.is_error(), "{socket:?}");
}

#[test]
fn a_callback_sees_the_bytes_of_a_read_and_can_end_it() {
    let _test = begin();
    for (name, call) in CALLS {
        let (mut socket, mut peer) = pair();
        peer.write_all(&WHOLE[..5]).unwrap();
        socket.peek_all(2).unwrap();
        let seen = Arc::new(AtomicUsize::new(0));
        let done = Arc::clone(&seen);
        socket.when_wait(move |waiting| {
            done.store(waiting.done(), SeqCst);
            if waiting.done() == 5 || waiting.elapsed() > PATIENCE {
                waiting.abort();
            }
        });
        let error = call(&mut socket).unwrap_err();
        assert_eq!(seen.load(SeqCst), 5, "{name}");
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted, "{name}");
        assert!(!socket.is_error(), "{name}");
        socket.clear_abort();
        socket.clear_when_wait();
        peer.write_all(&WHOLE[5..]).unwrap();
        assert_eq!(call(&mut socket).unwrap(), WHOLE, "{name}");
    }
}

/// A handshake goes on where it stopped, if reading in vain is `WouldBlock`.
#[test]
fn a_web_socket_over_a_limit_of_zero_can_be_resumed() {
    let _test = begin();
    let (mut socket, mut peer) = pair_of(TcpSocket::new());
    socket.timeout(Duration::ZERO);
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut result = tungstenite::accept(socket);
    for part in request.chunks(30) {
        let Err(HandshakeError::Interrupted(interrupted)) = result else {
            panic!("{result:?}");
        };
        peer.write_all(part).unwrap();
        result = interrupted.handshake();
    }
    if let Err(HandshakeError::Interrupted(mut interrupted)) = result {
        // The last bytes may take a moment.
        interrupted.get_mut().get_mut().timeout(PATIENCE);
        result = interrupted.handshake();
    }
    let mut accepted = result.unwrap();
    let mut answer = [0; 12];
    peer.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    // A frame in two parts, masked with zeros.
    for part in [b"".as_slice(), b"\x81\x82\0\0"] {
        peer.write_all(part).unwrap();
        accepted.get_mut().timeout(Duration::ZERO);
        match accepted.read() {
            Err(tungstenite::Error::Io(error)) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            other => panic!("{other:?}"),
        }
    }
    peer.write_all(b"\0\0hi").unwrap();
    accepted.get_mut().blocking();
    assert_eq!(accepted.read().unwrap(), Message::text("hi"));
}
