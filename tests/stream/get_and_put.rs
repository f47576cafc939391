//! What `get` and `put` return, row by row of the table in their documentation, and which errors stick: of a socket,
//! and of the half that a thread of its own reads or writes.

use std::fmt::Debug;
use std::io::{BufRead, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use wakesock::{AsTcpSocket, Error, Result, ShutdownRegistry, SocketHandle, TcpReader, TcpSocket, TcpWriter};

#[cfg(target_os = "linux")]
use crate::support::PATIENCE;
use crate::support::every::{assert_failed, inner};
use crate::support::full::{MUCH, Puts, fill};
use crate::support::{
    NO_RESETS, Stream, begin, block, ends_at_limit, is_wine, pair, pair_of, pattern, reset, timed, unix_pair_in,
};

const SHORT: Duration = Duration::from_millis(1);

/// What a socket and its halves have in common.
trait End: Send + Debug + AsTcpSocket {
    fn limit(&mut self, limit: Option<Duration>);
    fn global_limit(&mut self, limit: Option<Duration>);
    fn handle(&self) -> SocketHandle;
    fn clear_abort(&self);
    fn done(&self) -> usize;
    fn is_timeout(&self) -> bool;
    fn is_error(&self) -> bool;
    fn error_desc(&self) -> String;
    fn clear_error(&mut self);
}

trait Reads: End + BufRead {
    fn get(&mut self, buf: &mut [u8]) -> Result<usize>;
    fn get_bytes(&mut self, len: usize) -> Result<Vec<u8>>;
    fn get_byte(&mut self) -> Result<Option<u8>>;
    fn peek(&mut self) -> Result<Option<u8>>;
    fn term(&mut self) -> Result<Option<u8>>;
    fn get_all(&mut self, buf: &mut [u8]) -> Result<()>;
    fn get_all_bytes(&mut self, len: usize) -> Result<Vec<u8>>;
    fn get_line(&mut self) -> Result<Option<String>>;
    fn get_line_bytes(&mut self, max_len: usize) -> Result<Option<Vec<u8>>>;
    fn get_line_into(&mut self, line: &mut Vec<u8>, max_len: usize) -> Result<bool>;
    fn wait_read(&mut self) -> Result<()>;
    fn wait_request(&mut self) -> Result<bool>;
    fn is_eof(&self) -> bool;
}

#[cfg_attr(
    not(target_os = "linux"),
    allow(
        dead_code,
        reason = "what blocks in a put is tested where the system is known to take little"
    )
)]
trait Writes: End + Write {
    fn put(&mut self, data: &[u8]) -> Result<usize>;
    fn put_all(&mut self, data: &[u8]) -> Result<()>;
    fn wait_write(&mut self) -> Result<()>;
    fn shutdown(&self) -> Result<()>;
}

macro_rules! ends {
    ($($End:ident)*) => {$(
        impl End for $End {
            fn limit(&mut self, limit: Option<Duration>) { $End::timeout(self, limit); }
            fn global_limit(&mut self, limit: Option<Duration>) { $End::global_timeout(self, limit); }
            fn handle(&self) -> SocketHandle { $End::handle(self) }
            fn clear_abort(&self) { $End::clear_abort(self); }
            fn done(&self) -> usize { $End::done(self) }
            fn is_timeout(&self) -> bool { $End::is_timeout(self) }
            fn is_error(&self) -> bool { $End::is_error(self) }
            fn error_desc(&self) -> String { $End::error_desc(self) }
            fn clear_error(&mut self) { $End::clear_error(self); }
        }
    )*};
}

macro_rules! readers {
    ($($End:ident)*) => {$(
        impl Reads for $End {
            fn get(&mut self, buf: &mut [u8]) -> Result<usize> { $End::get(self, buf) }
            fn get_bytes(&mut self, len: usize) -> Result<Vec<u8>> { $End::get_bytes(self, len) }
            fn get_byte(&mut self) -> Result<Option<u8>> { $End::get_byte(self) }
            fn peek(&mut self) -> Result<Option<u8>> { $End::peek(self) }
            fn term(&mut self) -> Result<Option<u8>> { $End::term(self) }
            fn get_all(&mut self, buf: &mut [u8]) -> Result<()> { $End::get_all(self, buf) }
            fn get_all_bytes(&mut self, len: usize) -> Result<Vec<u8>> { $End::get_all_bytes(self, len) }
            fn get_line(&mut self) -> Result<Option<String>> { $End::get_line(self) }
            fn get_line_bytes(&mut self, max_len: usize) -> Result<Option<Vec<u8>>> {
                $End::get_line_bytes(self, max_len)
            }
            fn get_line_into(&mut self, line: &mut Vec<u8>, max_len: usize) -> Result<bool> {
                $End::get_line_into(self, line, max_len)
            }
            fn wait_read(&mut self) -> Result<()> { $End::wait_read(self) }
            fn wait_request(&mut self) -> Result<bool> { $End::wait_request(self) }
            fn is_eof(&self) -> bool { $End::is_eof(self) }
        }
    )*};
}

macro_rules! writers {
    ($($End:ident)*) => {$(
        impl Writes for $End {
            fn put(&mut self, data: &[u8]) -> Result<usize> { $End::put(self, data) }
            fn put_all(&mut self, data: &[u8]) -> Result<()> { $End::put_all(self, data) }
            fn wait_write(&mut self) -> Result<()> { $End::wait_write(self) }
            fn shutdown(&self) -> Result<()> { $End::shutdown(self) }
        }
    )*};
}

ends!(TcpSocket TcpReader TcpWriter);
readers!(TcpSocket TcpReader);
writers!(TcpSocket TcpWriter);

/// What an end of a connection is to be. The half that isn't wanted is dropped, which changes nothing.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Whole,
    Half,
}

const KINDS: [Kind; 2] = [Kind::Whole, Kind::Half];

impl Kind {
    fn reader(self, socket: TcpSocket) -> Box<dyn Reads> {
        match self {
            Kind::Whole => Box::new(socket),
            Kind::Half => Box::new(socket.split().0),
        }
    }

    fn writer(self, socket: TcpSocket) -> Box<dyn Writes> {
        match self {
            Kind::Whole => Box::new(socket),
            Kind::Half => Box::new(socket.split().1),
        }
    }
}

/// A read of so many bytes: what it handed over.
type Get = fn(&mut dyn Reads, usize) -> Result<Vec<u8>>;

fn get(reader: &mut dyn Reads, len: usize) -> Result<Vec<u8>> {
    let mut buf = vec![0; len];
    let count = reader.get(&mut buf)?;
    buf.truncate(count);
    Ok(buf)
}

fn get_bytes(reader: &mut dyn Reads, len: usize) -> Result<Vec<u8>> {
    reader.get_bytes(len)
}

/// Both calls that the table is about, with less and more than a socket buffers.
const GETS: [(&str, Get, usize); 6] = [
    ("get of a few", get, 100),
    ("get of many", get, 20_000),
    ("get of very many", get, 600_000),
    ("get_bytes of a few", get_bytes, 100),
    ("get_bytes of many", get_bytes, 20_000),
    ("get_bytes of very many", get_bytes, 600_000),
];

/// One of [`GETS`], of a socket or of a reader.
#[derive(Clone, Copy)]
struct Getting {
    name: &'static str,
    get: Get,
    len: usize,
    kind: Kind,
}

fn gettings() -> impl Iterator<Item = Getting> {
    GETS.into_iter()
        .flat_map(|(name, get, len)| KINDS.map(|kind| Getting { name, get, len, kind }))
}

impl Getting {
    fn what(self) -> String {
        format!("{} ({:?})", self.name, self.kind)
    }

    fn pair(self) -> (Box<dyn Reads>, TcpStream) {
        let (socket, peer) = pair();
        (self.kind.reader(socket), peer)
    }

    fn pair_in(self, registry: &ShutdownRegistry) -> (Box<dyn Reads>, TcpStream) {
        let (socket, peer) = pair_of(TcpSocket::with_registry(registry));
        (self.kind.reader(socket), peer)
    }
}

/// A write of some bytes: how many were sent.
type Put = fn(&mut dyn Writes, &[u8]) -> Result<usize>;

/// The call that the table is about, and the two others that send.
const PUTS: [(&str, Put); 3] = [
    ("put", |writer, data| writer.put(data)),
    ("put_all", |writer, data| writer.put_all(data).map(|()| data.len())),
    ("write", |writer, data| writer.write(data).map_err(inner)),
];

fn puttings() -> impl Iterator<Item = (&'static str, Put, Kind)> {
    PUTS.into_iter()
        .flat_map(|(name, put)| KINDS.map(|kind| (name, put, kind)))
}

/// A connection whose buffers, once full, stay full until the peer reads.
fn writer(kind: Kind, registry: &ShutdownRegistry) -> (Box<dyn Writes>, Stream) {
    let (socket, peer) = unix_pair_in(registry);
    (kind.writer(socket), peer)
}

impl Puts for dyn Writes {
    fn put_at_once(&mut self, data: &[u8]) -> usize {
        self.limit(Some(Duration::ZERO));
        let sent = self.put(data).unwrap_or(0);
        self.limit(None);
        sent
    }
}

fn read_to_end(mut peer: impl Read) -> Vec<u8> {
    let mut came = Vec::new();
    peer.read_to_end(&mut came).unwrap();
    came
}

/// The ways to end a connection from here.
const ENDS: [Error; 3] = [Error::Closed, Error::Aborted, Error::Shutdown];

fn end_by(end: &Error, handle: &SocketHandle, registry: &ShutdownRegistry) {
    match end {
        Error::Closed => handle.close(),
        Error::Aborted => handle.abort(),
        _ => registry.shutdown(),
    }
}

#[track_caller]
fn assert_reset<T: Debug>(result: &Result<T>, what: impl Debug) {
    assert!(
        matches!(result, Err(error @ Error::Io { .. }) if error.kind() == ErrorKind::ConnectionReset),
        "{what:?}: {result:?}"
    );
}

#[track_caller]
fn assert_gone<T: Debug>(result: &Result<T>, what: impl Debug) {
    let gone = |error: &Error| matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
    assert!(
        matches!(result, Err(error @ Error::Io { .. }) if gone(error)),
        "{what:?}: {result:?}"
    );
}

// The table, for `get` and `get_bytes`.

#[test]
fn get_of_all_of_it() {
    let _test = begin();
    for getting @ Getting { get, len, .. } in gettings() {
        let what = getting.what();
        let (mut reader, mut peer) = getting.pair();
        let sent = pattern(len + 1);
        let expected = sent.clone();
        let sending = block(move || peer.write_all(&sent).map(|()| peer));
        assert_eq!(get(&mut *reader, len).unwrap(), expected[..len], "{what}");
        assert_eq!(reader.done(), len, "{what}");
        assert!(
            !reader.is_timeout() && !reader.is_eof() && !reader.is_error(),
            "{what}: {reader:?}"
        );
        assert_eq!(
            reader.get_byte().unwrap(),
            Some(expected[len]),
            "{what}: it took too much"
        );
        sending.result().unwrap();
    }
}

#[test]
fn get_of_some_then_time_ran_out() {
    let _test = begin();
    for getting @ Getting { get, len, .. } in gettings() {
        let what = getting.what();
        let (mut reader, mut peer) = getting.pair();
        ends_at_limit(Duration::from_millis(20), |limit| {
            peer.write_all(b"abc").unwrap();
            reader.limit(Some(limit));
            let (result, took) = timed(|| get(&mut *reader, len));
            assert_eq!(result.unwrap(), b"abc", "{what}");
            assert_eq!(reader.done(), 3, "{what}");
            assert!(
                reader.is_timeout() && !reader.is_error() && !reader.is_eof(),
                "{what}: {reader:?}"
            );
            took
        });
        peer.write_all(&pattern(len)).unwrap();
        reader.limit(None);
        assert_eq!(get(&mut *reader, len).unwrap(), pattern(len), "{what}: the next call");
        assert!(!reader.is_timeout() && reader.done() == len, "{what}: {reader:?}");
    }
}

#[test]
fn get_of_some_then_the_global_time_ran_out() {
    let _test = begin();
    for getting @ Getting { get, len, .. } in gettings() {
        let what = getting.what();
        let (mut reader, mut peer) = getting.pair();
        peer.write_all(b"abc").unwrap();
        assert_eq!(reader.peek().unwrap(), Some(b'a'), "{what}");
        reader.global_limit(Some(Duration::from_millis(10)));
        match get(&mut *reader, len) {
            Ok(came) => assert!(came == b"abc" && reader.done() == 3, "{what}: {came:?}"),
            // It ran out before the call began, on a machine that was busy. Nothing was taken.
            result => assert_failed(&result, &Error::GlobalTimeout, &what),
        }
        assert!(reader.is_timeout() && reader.is_error(), "{what}: {reader:?}");
        assert_failed(&get(&mut *reader, len), &Error::GlobalTimeout, &what);
        assert_eq!(reader.done(), 0, "{what}");
        reader.global_limit(None);
        assert_failed(&get(&mut *reader, len), &Error::GlobalTimeout, &what);
        reader.clear_error();
        peer.write_all(&pattern(len)).unwrap();
        assert!(get(&mut *reader, len).is_ok(), "{what}: the next call");
        assert!(!reader.is_timeout() && !reader.is_error(), "{what}: {reader:?}");
    }
}

#[test]
fn get_of_nothing_time_ran_out() {
    let _test = begin();
    for getting @ Getting { get, len, .. } in gettings() {
        let what = getting.what();
        let (mut reader, mut peer) = getting.pair();
        let try_for = |limit, reader: &mut dyn Reads| {
            reader.limit(Some(limit));
            let (result, took) = timed(|| get(reader, len));
            assert_failed(&result, &Error::Timeout, &what);
            assert!(
                reader.is_timeout() && !reader.is_error() && !reader.is_eof() && reader.done() == 0,
                "{what}: {reader:?}"
            );
            took
        };
        ends_at_limit(Duration::from_millis(20), |limit| try_for(limit, &mut *reader));
        try_for(Duration::ZERO, &mut *reader);
        reader.limit(None);
        peer.write_all(&pattern(len)).unwrap();
        assert_eq!(
            get(&mut *reader, len).unwrap(),
            pattern(len),
            "{what}: it is not sticky"
        );
        assert!(!reader.is_timeout(), "{what}: {reader:?}");
    }
}

#[test]
fn get_of_some_then_end_of_file() {
    let _test = begin();
    for getting @ Getting { get, len, .. } in gettings() {
        for later in [false, true] {
            let what = getting.what();
            let (mut reader, mut peer) = getting.pair();
            peer.write_all(b"abc").unwrap();
            if !later {
                peer.shutdown(Shutdown::Write).unwrap();
            }
            let blocked = block(move || (get(&mut *reader, len), reader));
            let blocked = if later { blocked.until_blocked() } else { blocked };
            peer.shutdown(Shutdown::Write).unwrap();
            let (result, mut reader) = blocked.result();
            assert_eq!(result.unwrap(), b"abc", "{what}");
            assert!(
                !reader.is_timeout() && !reader.is_error() && reader.done() == 3,
                "{what}: {reader:?}"
            );
            assert_eq!(get(&mut *reader, len).unwrap(), b"", "{what}: the next call");
            assert!(reader.is_eof(), "{what}: {reader:?}");
        }
    }
}

#[test]
fn get_at_the_end_of_file() {
    let _test = begin();
    for getting @ Getting { get, len, .. } in gettings() {
        let what = getting.what();
        let (mut reader, peer) = getting.pair();
        assert!(!reader.is_eof(), "{what}: nothing was read yet");
        peer.shutdown(Shutdown::Write).unwrap();
        for limit in [None, Some(Duration::ZERO), None] {
            reader.limit(limit);
            assert_eq!(get(&mut *reader, len).unwrap(), b"", "{what}");
            assert!(
                reader.is_eof() && !reader.is_timeout() && !reader.is_error() && reader.done() == 0,
                "{what}: {reader:?}"
            );
        }
    }
}

#[test]
fn get_of_some_then_an_io_error() {
    let test = begin();
    if test.skip_if(is_wine(), NO_RESETS) {
        return;
    }
    for getting @ Getting { get, len, .. } in gettings() {
        let what = getting.what();
        let (mut reader, mut peer) = getting.pair();
        peer.write_all(b"abc").unwrap();
        let blocked = block(move || (get(&mut *reader, len), reader)).until_blocked();
        reset(peer);
        let (result, mut reader) = blocked.result();
        assert_eq!(result.unwrap(), b"abc", "{what}");
        assert!(
            reader.is_error() && !reader.is_timeout() && reader.done() == 3,
            "{what}: {reader:?}"
        );
        for _ in 0..2 {
            let next = get(&mut *reader, len);
            assert_reset(&next, &what);
            assert_eq!(reader.error_desc(), next.unwrap_err().to_string(), "{what}");
            assert!(reader.is_error() && reader.done() == 0, "{what}: {reader:?}");
        }
        reader.clear_error();
        assert_reset(&get(&mut *reader, len), format!("{what}, cleared"));
    }
}

// Elsewhere the connection has a port, takes more than is put, and is late with it.
#[cfg(target_os = "linux")]
#[test]
fn get_of_some_then_closed_aborted_or_shut_down() {
    let _test = begin();
    for getting @ Getting { get, len, .. } in gettings() {
        for end in ENDS {
            let what = getting.what();
            let registry = ShutdownRegistry::new();
            let (mut reader, mut peer) = getting.pair_in(&registry);
            let handle = reader.handle();
            peer.write_all(b"abc").unwrap();
            let blocked = block(move || (get(&mut *reader, len), reader)).until_blocked();
            end_by(&end, &handle, &registry);
            let (result, mut reader) = blocked.result();
            assert_eq!(result.unwrap(), b"abc", "{what}, {end}");
            assert!(
                !reader.is_error() && !reader.is_timeout() && reader.done() == 3,
                "{what}, {end}: {reader:?}"
            );
            for _ in 0..2 {
                assert_failed(&get(&mut *reader, len), &end, &what);
                assert!(reader.is_eof() && !reader.is_error(), "{what}, {end}: {reader:?}");
            }
            if let Error::Aborted = end {
                reader.clear_abort();
                peer.write_all(&pattern(len)).unwrap();
                assert_eq!(get(&mut *reader, len).unwrap(), pattern(len), "{what}: it goes on");
            }
        }
    }
}

#[test]
fn get_of_nothing_then_an_end() {
    let test = begin();
    if test.skip_if(is_wine(), NO_RESETS) {
        return;
    }
    for getting @ Getting { get, len, .. } in gettings() {
        for end in ENDS {
            let what = getting.what();
            let registry = ShutdownRegistry::new();
            let (mut reader, _peer) = getting.pair_in(&registry);
            let handle = reader.handle();
            let blocked = block(move || (get(&mut *reader, len), reader)).until_blocked();
            end_by(&end, &handle, &registry);
            let (result, mut reader) = blocked.result();
            assert_failed(&result, &end, &what);
            assert_failed(&get(&mut *reader, len), &end, format!("{what}, again"));
            assert!(
                !reader.is_error() && !reader.is_timeout() && reader.is_eof() && reader.done() == 0,
                "{what}, {end}: {reader:?}"
            );
        }
        let what = getting.what();
        let (mut reader, peer) = getting.pair();
        let blocked = block(move || (get(&mut *reader, len), reader)).until_blocked();
        reset(peer);
        let (result, mut reader) = blocked.result();
        assert_reset(&result, &what);
        assert!(reader.is_error() && !reader.is_timeout(), "{what}: {reader:?}");
        assert_reset(&get(&mut *reader, len), &what);
    }
}

#[test]
fn get_of_nothing_is_nothing_at_once() {
    let _test = begin();
    for kind in KINDS {
        for buffered in [false, true] {
            let (socket, mut peer) = pair();
            let mut reader = kind.reader(socket);
            if buffered {
                peer.write_all(b"abc").unwrap();
                reader.peek().unwrap();
            }
            let nothing = |reader: &mut dyn Reads| {
                assert_eq!(reader.get(&mut []).unwrap(), 0);
                assert_eq!(reader.get_bytes(0).unwrap(), b"");
                reader.get_all(&mut []).unwrap();
                assert_eq!(reader.get_all_bytes(0).unwrap(), b"");
                assert_eq!(reader.read(&mut []).unwrap(), 0);
                assert!(reader.done() == 0 && !reader.is_timeout(), "{reader:?}");
            };
            nothing(&mut *reader);
            assert!(!reader.is_eof(), "none of these is an end of file");
            if buffered {
                assert_eq!(reader.get_bytes(3).unwrap(), b"abc");
            }
            reader.limit(Some(Duration::ZERO));
            assert_failed(&reader.get_line(), &Error::Timeout, "get_line");
            nothing(&mut *reader);
            assert!(reader.is_error(), "nothing leaves the error alone");
            reader.clear_error();
            reader.handle().close();
            nothing(&mut *reader);
        }
    }
}

// The table, for `put`, with what is alike in `put_all` and `write`.

#[test]
fn put_of_all_of_it() {
    let _test = begin();
    for (name, put, kind) in puttings() {
        for len in [1, 100, 10_000] {
            let (socket, peer) = pair();
            let mut writer = kind.writer(socket);
            assert_eq!(put(&mut *writer, &pattern(len)).unwrap(), len, "{name}, {kind:?}");
            assert_eq!(writer.done(), len, "{name}, {kind:?}");
            assert!(
                !writer.is_timeout() && !writer.is_error(),
                "{name}, {kind:?}: {writer:?}"
            );
            drop(writer);
            assert!(read_to_end(peer) == pattern(len), "{name} of {len}, {kind:?}");
        }
    }
}

#[test]
fn put_of_some_then_time_ran_out_and_exactly_that_arrives() {
    let _test = begin();
    for kind in KINDS {
        for limit in [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(30)] {
            let (mut writer, mut peer) = writer(kind, ShutdownRegistry::global());
            writer.limit(Some(limit));
            let (result, took) = timed(|| writer.put(&MUCH));
            let sent = result.unwrap();
            assert!(took >= limit, "{limit:?}: over after {took:?}");
            assert!(0 < sent && sent < MUCH.len(), "{kind:?}, {limit:?}: {sent}");
            assert!(
                writer.is_timeout() && !writer.is_error() && writer.done() == sent,
                "{kind:?}, {limit:?}: {writer:?}"
            );
            let mut came = vec![0; sent];
            peer.read_exact(&mut came).unwrap();
            assert!(came == MUCH[..sent], "{kind:?}, {limit:?}: other bytes");
            assert_eq!(writer.put(b"on it goes").unwrap(), 10, "the next call");
            assert!(!writer.is_timeout(), "{kind:?}: {writer:?}");
            drop(writer);
            assert_eq!(read_to_end(peer), b"on it goes", "{kind:?}, {limit:?}");
        }
    }
}

// Elsewhere the connection has a port, takes more than is put, and is late with it.
#[cfg(target_os = "linux")]
#[test]
fn put_of_some_then_the_global_time_ran_out() {
    let _test = begin();
    for kind in KINDS {
        let (mut writer, peer) = writer(kind, ShutdownRegistry::global());
        writer.global_limit(Some(Duration::from_millis(50)));
        let result = writer.put(&MUCH);
        if result.is_err() {
            // It ran out before the call began, on a machine that was busy.
            assert_failed(&result, &Error::GlobalTimeout, kind);
        }
        let sent = result.unwrap_or(0);
        assert!(
            writer.is_timeout() && writer.is_error() && writer.done() == sent,
            "{kind:?}: {writer:?}"
        );
        writer.global_limit(None);
        assert_failed(&writer.put(b"x"), &Error::GlobalTimeout, kind);
        writer.clear_error();
        drop(writer);
        assert!(read_to_end(peer) == MUCH[..sent], "{kind:?}: other bytes");
    }
}

#[test]
fn put_of_nothing_time_ran_out() {
    let _test = begin();
    for (name, put, kind) in puttings() {
        let what = format!("{name}, {kind:?}");
        let (mut writer, peer) = writer(kind, ShutdownRegistry::global());
        let sent = fill(&mut *writer);
        ends_at_limit(Duration::from_millis(20), |limit| {
            writer.limit(Some(limit));
            let (result, took) = timed(|| put(&mut *writer, b"abc"));
            assert_failed(&result, &Error::Timeout, &what);
            assert!(writer.is_timeout() && writer.done() == 0, "{what}: {writer:?}");
            assert_eq!(writer.is_error(), name == "put_all", "{what}: {writer:?}");
            writer.clear_error();
            took
        });
        writer.limit(None);
        let reading = block(move || read_to_end(peer));
        assert_eq!(put(&mut *writer, b"abc").unwrap(), 3, "{what}: it is over for good");
        assert!(!writer.is_timeout(), "{what}: {writer:?}");
        drop(writer);
        let came = reading.result();
        assert_eq!(came.len(), sent + 3, "{what}");
        assert!(came.ends_with(b"abc"), "{what}");
    }
}

#[test]
fn put_does_not_mind_the_end_of_file() {
    let _test = begin();
    for (name, put, kind) in puttings() {
        let (mut socket, mut peer) = pair();
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(socket.get_bytes(1).unwrap(), b"");
        let mut writer = kind.writer(socket);
        assert_eq!(put(&mut *writer, b"abc").unwrap(), 3, "{name}, {kind:?}");
        assert_eq!(peer.read(&mut [0; 5]).unwrap(), 3, "{name}, {kind:?}");
    }
}

#[test]
fn put_of_some_then_an_io_error() {
    let _test = begin();
    for (name, put, kind) in puttings() {
        let what = format!("{name}, {kind:?}");
        let (socket, mut peer) = pair();
        let mut writer = kind.writer(socket);
        let blocked = block(move || {
            let data = &*MUCH;
            if name == "write" {
                while writer.write(data).is_ok() {}
                assert!(writer.is_error());
                writer.clear_error();
            }
            (put(&mut *writer, data), writer)
        });
        let blocked = blocked.until_blocked();
        peer.read_exact(&mut [0; 1000]).unwrap();
        reset(peer);
        let (result, mut writer) = blocked.result();
        let some = 1_000..MUCH.len();
        match (name, &result) {
            ("put", Ok(sent)) => assert!(some.contains(sent) && writer.done() == *sent, "{what}: {sent}"),
            ("put", Err(_)) => panic!("{what}: {result:?}"),
            ("put_all", _) => assert!(some.contains(&writer.done()), "{what}: {}", writer.done()),
            _ => assert_eq!(writer.done(), 0, "{what}"),
        }
        if name != "put" {
            assert_gone(&result, &what);
        }
        assert!(writer.is_error() && !writer.is_timeout(), "{what}: {writer:?}");
        for (next, put) in PUTS {
            let result = put(&mut *writer, b"abc");
            assert_gone(&result, (&what, next));
            assert_eq!(result.unwrap_err().to_string(), writer.error_desc(), "{what}, {next}");
            assert_eq!(writer.done(), 0, "{what}, {next}");
        }
        writer.clear_error();
        assert_gone(&put(&mut *writer, b"abc"), (&what, "cleared"));
    }
}

// Elsewhere the connection has a port, takes more than is put, and is late with it.
#[cfg(target_os = "linux")]
#[test]
fn put_that_is_ended_from_here_while_it_blocks() {
    let _test = begin();
    for (name, put, kind) in puttings() {
        for some in [true, false] {
            for end in ENDS {
                let what = format!("{name}, {kind:?}, some: {some}, {end}");
                let registry = ShutdownRegistry::new();
                let (mut writer, peer) = writer(kind, &registry);
                let handle = writer.handle();
                let full = if some && name != "write" { 0 } else { fill(&mut *writer) };
                let blocked = block(move || (put(&mut *writer, &MUCH), writer)).until_blocked();
                end_by(&end, &handle, &registry);
                let (result, mut writer) = blocked.result();
                let sent = writer.done();
                if full == 0 && name == "put" {
                    assert!(sent > 0 && sent < MUCH.len(), "{what}: {sent}");
                    assert_eq!(result.as_ref().ok(), Some(&sent), "{what}: {result:?}");
                } else {
                    assert_failed(&result, &end, &what);
                    assert_eq!(sent > 0, full == 0, "{what}: {sent}");
                }
                assert!(!writer.is_error() && !writer.is_timeout(), "{what}: {writer:?}");
                for (next, put) in PUTS {
                    assert_failed(&put(&mut *writer, b"abc"), &end, (&what, next));
                    assert_eq!(writer.done(), 0, "{what}, {next}");
                }
                drop(writer);
                assert_eq!(read_to_end(peer).len(), full + sent, "{what}: bytes that arrived");
            }
        }
    }
}

#[test]
fn put_of_nothing_is_nothing_at_once() {
    let _test = begin();
    for (name, put, kind) in puttings() {
        let (mut writer, _peer) = writer(kind, ShutdownRegistry::global());
        let nothing = |writer: &mut dyn Writes| {
            assert_eq!(put(writer, b"").unwrap(), 0, "{name}, {kind:?}");
        };
        fill(&mut *writer);
        nothing(&mut *writer);
        assert_eq!(writer.done(), 0, "{name}, {kind:?}");
        writer.limit(Some(Duration::ZERO));
        assert_failed(&writer.put_all(b"abc"), &Error::Timeout, name);
        nothing(&mut *writer);
        assert!(writer.is_error(), "nothing leaves the error alone");
        writer.clear_error();
        writer.handle().close();
        nothing(&mut *writer);
    }
}

// Which errors stick.

type Reading = fn(&mut dyn Reads) -> Result<()>;

/// Reads that hand over what came, or wait: what ends them is over when the next one begins.
const PARTIAL: [(&str, Reading); 9] = [
    ("get", |reader| reader.get(&mut [0; 8]).map(drop)),
    ("get_bytes", |reader| reader.get_bytes(8).map(drop)),
    ("get_byte", |reader| reader.get_byte().map(drop)),
    ("peek", |reader| reader.peek().map(drop)),
    ("term", |reader| reader.term().map(drop)),
    ("read", |reader| reader.read(&mut [0; 8]).map(drop).map_err(inner)),
    ("fill_buf", |reader| reader.fill_buf().map(drop).map_err(inner)),
    ("wait_read", |reader| reader.wait_read()),
    ("wait_request", |reader| reader.wait_request().map(drop)),
];

/// Reads that give all or nothing: of eight bytes, or of a line.
const WHOLE: [(&str, Reading); 5] = [
    ("get_all", |reader| reader.get_all(&mut [0; 8])),
    ("get_all_bytes", |reader| reader.get_all_bytes(8).map(drop)),
    ("get_line", |reader| reader.get_line().map(drop)),
    ("get_line_bytes", |reader| reader.get_line_bytes(80).map(drop)),
    ("get_line_into", |reader| {
        reader.get_line_into(&mut Vec::new(), 80).map(drop)
    }),
];

/// Checks that every operation returns `error`, as long as that isn't cleared, whatever there is to read.
fn assert_read_sticks(reader: &mut dyn Reads, error: &Error, what: &str) {
    for (next, read) in PARTIAL.into_iter().chain(WHOLE) {
        let again = read(reader).map_err(|error| error.to_string());
        assert_eq!(again, Err(error.to_string()), "{next} after {what}");
        assert!(
            reader.is_error() && reader.done() == 0,
            "{next} after {what}: {reader:?}"
        );
        assert_eq!(reader.is_timeout(), error.is_timeout(), "{next} after {what}");
        assert_eq!(reader.error_desc(), error.to_string(), "{next} after {what}");
        assert!(reader.is_eof(), "{next} after {what}: an error is an end, too");
    }
}

#[test]
fn a_failure_of_a_read_that_may_hand_over_part_does_not_stick() {
    let _test = begin();
    for kind in KINDS {
        for (name, read) in PARTIAL {
            let (socket, mut peer) = pair();
            let mut reader = kind.reader(socket);
            for limit in [Duration::ZERO, SHORT] {
                reader.limit(Some(limit));
                assert_failed(&read(&mut *reader), &Error::Timeout, (name, kind));
                assert!(reader.is_timeout() && !reader.is_error(), "{name}: {reader:?}");
            }
            reader.limit(None);
            reader.handle().abort();
            assert_failed(&read(&mut *reader), &Error::Aborted, (name, kind));
            assert!(!reader.is_timeout() && !reader.is_error(), "{name}: {reader:?}");
            reader.clear_abort();
            peer.write_all(b"abcdefgh").unwrap();
            read(&mut *reader).unwrap();
            reader.handle().close();
            assert_failed(&read(&mut *reader), &Error::Closed, (name, kind));
            assert!(!reader.is_timeout() && !reader.is_error(), "{name}: {reader:?}");
        }
    }
}

#[test]
fn a_read_of_a_whole_that_fails_sticks_and_takes_nothing() {
    let _test = begin();
    for kind in KINDS {
        for (name, read) in WHOLE {
            for end in ["timeout", "global timeout", "end of file"] {
                let what = format!("{name}, {kind:?}, {end}");
                let (socket, mut peer) = pair();
                let mut reader = kind.reader(socket);
                peer.write_all(b"abc").unwrap();
                let error = match end {
                    "timeout" => {
                        reader.limit(Some(Duration::from_millis(20)));
                        Error::Timeout
                    }
                    "global timeout" => {
                        reader.global_limit(Some(Duration::from_millis(20)));
                        Error::GlobalTimeout
                    }
                    _ => Error::UnexpectedEof,
                };
                let blocked = block(move || (read(&mut *reader), reader)).until_blocked();
                if end == "end of file" {
                    peer.shutdown(Shutdown::Write).unwrap();
                }
                let (result, mut reader) = blocked.result();
                assert_failed(&result, &error, &what);
                assert_eq!(reader.is_timeout(), error.is_timeout(), "{what}");
                if end != "end of file" {
                    peer.write_all(b"defg\n").unwrap();
                }
                assert_read_sticks(&mut *reader, &error, &what);
                reader.global_limit(None);
                reader.limit(None);
                reader.clear_error();
                assert_eq!(reader.error_desc(), "", "{what}");
                assert_eq!(reader.peek().unwrap(), Some(b'a'), "{what}");
                if end == "end of file" {
                    assert_eq!(reader.get_bytes(8).unwrap(), b"abc", "{what}");
                    read(&mut *reader).map_or_else(
                        |error| {
                            assert!(
                                matches!(error, Error::UnexpectedEof) && name.starts_with("get_all"),
                                "{what}"
                            )
                        },
                        |()| assert!(name.starts_with("get_line"), "{what}"),
                    );
                } else if name.starts_with("get_all") {
                    assert_eq!(reader.get_all_bytes(8).unwrap(), b"abcdefg\n", "{what}");
                } else {
                    assert_eq!(reader.get_line().unwrap().as_deref(), Some("abcdefg"), "{what}");
                }
            }
        }
    }
}

#[test]
fn a_reset_in_a_read_of_a_whole_sticks_and_takes_nothing() {
    let test = begin();
    if test.skip_if(is_wine(), NO_RESETS) {
        return;
    }
    for kind in KINDS {
        for (name, read) in WHOLE {
            let what = format!("{name}, {kind:?}");
            let (socket, mut peer) = pair();
            let mut reader = kind.reader(socket);
            peer.write_all(b"abc").unwrap();
            let blocked = block(move || (read(&mut *reader), reader)).until_blocked();
            reset(peer);
            let (result, mut reader) = blocked.result();
            assert_reset(&result, &what);
            assert_read_sticks(&mut *reader, &result.unwrap_err(), &what);
            reader.clear_error();
            assert_eq!(reader.get_bytes(8).unwrap(), b"abc", "{what}");
            assert_reset(&reader.get_bytes(8), &what);
        }
    }
}

#[test]
fn a_line_that_is_refused_sticks_and_takes_nothing() {
    let _test = begin();
    let refusals: [(&str, Reading, Error); 4] = [
        ("get_line", |reader| reader.get_line().map(drop), Error::InvalidUtf8),
        (
            "get_line, long",
            |reader| reader.get_line().map(drop),
            Error::LineTooLong { limit: 65_536 },
        ),
        (
            "get_line_bytes",
            |reader| reader.get_line_bytes(3).map(drop),
            Error::LineTooLong { limit: 3 },
        ),
        (
            "get_line_into",
            |reader| reader.get_line_into(&mut b"before".to_vec(), 3).map(drop),
            Error::LineTooLong { limit: 3 },
        ),
    ];
    for kind in KINDS {
        for (name, read, error) in &refusals {
            let (socket, mut peer) = pair();
            let mut reader = kind.reader(socket);
            let mut line = b"ab\xffde".to_vec();
            if matches!(error, Error::LineTooLong { limit } if *limit > 3) {
                line.resize(65_537, b'x');
            }
            line.extend_from_slice(b"\nmore\n");
            peer.write_all(&line).unwrap();
            for _ in 0..2 {
                let result = read(&mut *reader);
                assert_eq!(
                    result.map_err(|error| error.to_string()),
                    Err(error.to_string()),
                    "{name}"
                );
                assert_read_sticks(&mut *reader, error, name);
                reader.clear_error();
            }
            let came = reader.get_all_bytes(line.len()).unwrap();
            assert!(came == line, "{name}, {kind:?}: other bytes");
        }
    }
}

// Elsewhere the connection has a port, takes more than is put, and is late with it.
#[cfg(target_os = "linux")]
#[test]
fn a_put_all_that_fails_sticks_and_tells_exactly_what_was_sent() {
    let _test = begin();
    for kind in KINDS {
        for end in ["timeout", "global timeout"] {
            let what = format!("{kind:?}, {end}");
            let (mut writer, mut peer) = writer(kind, ShutdownRegistry::global());
            let error = match end {
                "timeout" => {
                    writer.limit(Some(Duration::from_millis(20)));
                    Error::Timeout
                }
                _ => {
                    writer.global_limit(Some(Duration::from_millis(50)));
                    Error::GlobalTimeout
                }
            };
            let result = writer.put_all(&MUCH);
            assert_failed(&result, &error, &what);
            let sent = writer.done();
            // A global limit may be over before the call has begun, on a machine that is busy.
            assert!(sent > 0 || end == "global timeout", "{what}: nothing was sent");
            assert!(sent < MUCH.len(), "{what}: all was sent");
            assert_eq!(writer.is_timeout(), error.is_timeout(), "{what}");
            let mut came = vec![0; sent];
            peer.read_exact(&mut came).unwrap();
            assert!(came == MUCH[..sent], "{what}: other bytes");
            // There is room now.
            for (next, put) in PUTS {
                assert_failed(&put(&mut *writer, b"not sent"), &error, (&what, next));
                assert!(writer.is_error() && writer.done() == 0, "{what}, {next}: {writer:?}");
                assert_eq!(writer.error_desc(), error.to_string(), "{what}, {next}");
            }
            assert_failed(&writer.wait_write(), &error, &what);
            assert_failed(&writer.shutdown(), &error, &what);
            writer.clear_error();
            writer.global_limit(None);
            writer.limit(Some(PATIENCE));
            let reading = block(move || read_to_end(peer));
            writer.put_all(&MUCH[sent..]).unwrap();
            drop(writer);
            assert!(reading.result() == MUCH[sent..], "{what}: not the rest");
        }
    }
}
