//! Scenario 18: any mix of reads, held against a plain byte string.
//!
//! The peer is driven between the reads, so each case runs the same way again. `PROPTEST_CASES` says how many to try.

mod support;

use std::fmt;
use std::io::{BufRead, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
#[cfg(target_os = "linux")]
#[cfg(target_os = "linux")]
use std::os::unix::net::UnixStream;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof};
use proptest::test_runner::{RngAlgorithm, TestCaseError, TestRunner};
use support::every::inner;
use support::{PATIENCE, begin};
use wakesock::{Error, TcpReader, TcpSocket, TcpWriter};

/// What `get_line` takes at most.
const MAX_LINE: usize = 65_536;

type Checked = Result<(), TestCaseError>;

/// A piece of the stream: these bytes, so many times.
#[derive(Clone)]
struct Piece {
    bytes: Vec<u8>,
    times: usize,
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" x {}", self.bytes.escape_ascii(), self.times)
    }
}

fn piece() -> impl Strategy<Value = Piece> {
    let once = |bytes: &[u8]| Just((bytes.to_vec(), 1));
    prop_oneof![
        3 => once(b"\n"),
        3 => once(b"\r\n"),
        2 => once(b"\r"),
        1 => once(b"\0"),
        1 => once(b"\n\n\r\r\n\n"),
        1 => once(b"\xff"),
        1 => once(b"\xe2\x82"),
        2 => once("näïve €".as_bytes()),
        3 => vec(any::<u8>(), 0..60).prop_map(|bytes| (bytes, 1)),
        2 => (1..9_000_usize).prop_map(|times| (b"x".to_vec(), times)),
        // Lines that `get_line` just takes, and just doesn't.
        2 => (MAX_LINE - 2..MAX_LINE + 3).prop_map(|times| (b"l".to_vec(), times)),
    ]
    .prop_map(|(bytes, times)| Piece { bytes, times })
}

#[derive(Clone, Debug)]
enum Act {
    /// The peer sends so many bytes or, once it has sent all, ends the stream.
    Send(usize),
    /// It sends the rest of a line, without its newline or with it.
    SendLine(bool),
    /// Splits the socket, or joins its halves.
    SplitOrJoin,
    Get(usize),
    GetBytes(usize),
    GetByte,
    Peek,
    Term,
    GetAll(usize),
    GetAllBytes(usize),
    GetLine,
    GetLineBytes(usize),
    GetLineInto(usize),
    /// As `GetLineBytes`, with a maximum that is less, equal or more than what has come of the line.
    GetLineNear(usize),
    Read(usize),
    FillBufAndConsume(usize),
    ReadUntil(u8),
    WaitRead,
    WaitRequest,
}

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0..5_usize,
        4 => 1..200_usize,
        2 => 8_190..8_195_usize,
        1 => 10_000..40_000_usize,
        2 => MAX_LINE - 1..MAX_LINE + 4,
        1 => Just(usize::MAX),
    ]
}

/// A length for which there is a buffer.
fn buffer() -> impl Strategy<Value = usize> {
    len().prop_map(|len| len.min(150_000))
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        10 => len().prop_map(Act::Send),
        4 => any::<bool>().prop_map(Act::SendLine),
        2 => Just(Act::SplitOrJoin),
        2 => buffer().prop_map(Act::Get),
        2 => len().prop_map(Act::GetBytes),
        2 => Just(Act::GetByte),
        1 => Just(Act::Peek),
        1 => Just(Act::Term),
        2 => buffer().prop_map(Act::GetAll),
        2 => len().prop_map(Act::GetAllBytes),
        4 => Just(Act::GetLine),
        2 => len().prop_map(Act::GetLineBytes),
        2 => len().prop_map(Act::GetLineInto),
        3 => (0..3_usize).prop_map(Act::GetLineNear),
        2 => buffer().prop_map(Act::Read),
        2 => len().prop_map(Act::FillBufAndConsume),
        1 => prop_oneof![Just(b'\n'), Just(0), any::<u8>()].prop_map(Act::ReadUntil),
        1 => Just(Act::WaitRead),
        1 => Just(Act::WaitRequest),
    ]
}

#[derive(Clone)]
struct Case {
    stream: Vec<Piece>,
    /// Each with its limit in microseconds.
    acts: Vec<(u64, Act)>,
}

impl fmt::Debug for Case {
    /// On few lines, whatever was asked for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { stream, acts } = self;
        write!(f, "stream: {stream:?}\nacts, each after its limit in µs: {acts:?}")
    }
}

fn case() -> impl Strategy<Value = Case> {
    let limit = prop_oneof![3 => Just(0), 1 => 1..200_u64];
    (vec(piece(), 1..16), vec((limit, act()), 1..100)).prop_map(|(stream, acts)| Case { stream, acts })
}

/// What reads.
enum End {
    Whole(TcpSocket),
    Halves(TcpReader, Box<TcpWriter>),
}

impl End {
    fn split_or_join(self) -> End {
        match self {
            End::Whole(socket) => {
                let (reader, writer) = socket.split();
                End::Halves(reader, Box::new(writer))
            }
            End::Halves(reader, writer) => End::Whole(reader.unsplit(*writer).unwrap()),
        }
    }
}

/// Does something with the socket, or with the reader.
macro_rules! on {
    ($end:expr, $reader:ident => $does:expr) => {
        match $end {
            End::Whole($reader) => $does,
            End::Halves($reader, _) => $does,
        }
    };
}

/// The standard library's end of a connection, which never blocks.
trait Peer: Write {
    /// What was sent may take a moment to arrive.
    const LAGS: bool;

    fn finish(&self);
}

#[cfg(target_os = "linux")]
impl Peer for UnixStream {
    const LAGS: bool = false;

    fn finish(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

impl Peer for TcpStream {
    const LAGS: bool = true;

    fn finish(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

#[cfg(target_os = "linux")]
fn unix_pair() -> (TcpSocket, UnixStream) {
    let (own, peer) = UnixStream::pair().unwrap();
    peer.set_nonblocking(true).unwrap();
    (TcpSocket::from(own), peer)
}

fn tcp_pair() -> (TcpSocket, TcpStream) {
    let (socket, peer) = support::pair();
    peer.set_nonblocking(true).unwrap();
    (socket, peer)
}

/// What the reads are held against: a byte string, how far it was sent, and how far it was taken.
struct Model<P> {
    stream: Vec<u8>,
    sent: usize,
    taken: usize,
    ended: bool,
    peer: P,
}

/// What a read of a line has to come to.
#[derive(Debug, PartialEq)]
enum Line {
    /// This one, and so many bytes with its end.
    Found(Vec<u8>, usize),
    EndOfFile,
    UnexpectedEof,
    TooLong,
    InvalidUtf8,
    Timeout,
}

impl<P: Peer> Model<P> {
    fn there(&self) -> &[u8] {
        &self.stream[self.taken..self.sent]
    }

    /// There is nothing to wait for any more.
    fn is_at_end(&self) -> bool {
        self.ended && self.there().is_empty()
    }

    fn send_line(&mut self, with_end: bool) {
        let rest = &self.stream[self.sent..];
        let len = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        self.send(len + usize::from(with_end));
    }

    fn send(&mut self, len: usize) {
        let rest = &self.stream[self.sent..];
        if !rest.is_empty() {
            // Less, when the buffers are full.
            match self.peer.write(&rest[..rest.len().min(len)]) {
                Ok(count) => self.sent += count,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        } else if !self.ended {
            self.peer.finish();
            self.ended = true;
        }
    }

    /// These bytes were handed over.
    fn took(&mut self, bytes: &[u8]) -> Checked {
        let there = self.there();
        prop_assert!(
            there.starts_with(bytes),
            "{} bytes (\"{}\" …) that are not the next of {} (\"{}\" …), from {} on",
            bytes.len(),
            bytes[..bytes.len().min(20)].escape_ascii(),
            there.len(),
            there[..there.len().min(20)].escape_ascii(),
            self.taken
        );
        self.taken += bytes.len();
        Ok(())
    }

    /// A read that needed `needed` bytes and nothing but those has run out of time.
    fn timed_out(&self, needed: usize) -> Checked {
        let waits = self.there().len() < needed && !self.ended;
        prop_assert!(
            P::LAGS || waits,
            "timed out, with {} bytes there and the stream ended: {}",
            self.there().len(),
            self.ended
        );
        Ok(())
    }

    /// What a read of up to `len` has handed over, and whether it was for time that it stopped.
    fn took_up_to(&mut self, len: usize, bytes: &[u8], timed_out: bool) -> Checked {
        prop_assert!(bytes.len() <= len, "{} bytes of {len}", bytes.len());
        self.took(bytes)?;
        if bytes.len() == len {
            prop_assert!(!timed_out, "all of {len}, and a timeout");
        } else if timed_out {
            prop_assert!(!bytes.is_empty(), "nothing and a timeout is an error");
            self.timed_out(1)?;
        } else {
            prop_assert!(self.is_at_end(), "{} bytes of {len}, and no timeout", bytes.len());
        }
        Ok(())
    }

    /// What a read of one byte, or a look at it, has given.
    fn saw(&mut self, byte: Option<u8>) -> Checked {
        prop_assert_eq!(byte, self.there().first().copied());
        prop_assert!(byte.is_some() || self.ended, "end of file");
        Ok(())
    }

    /// What has come of a line, without its end, and where its newline is.
    fn line_so_far(&self) -> (&[u8], Option<usize>) {
        let there = self.there();
        let end = there.iter().position(|byte| *byte == b'\n');
        let line = &there[..end.unwrap_or(there.len())];
        (line.strip_suffix(b"\r").unwrap_or(line), end)
    }

    fn line(&self, max_len: usize, text: bool) -> Line {
        let (line, end) = self.line_so_far();
        if line.len() > max_len {
            return Line::TooLong;
        }
        match end {
            Some(_) if text && std::str::from_utf8(line).is_err() => Line::InvalidUtf8,
            Some(end) => Line::Found(line.to_vec(), end + 1),
            None if !self.ended => Line::Timeout,
            None if self.there().is_empty() => Line::EndOfFile,
            None => Line::UnexpectedEof,
        }
    }

    /// What a read of a line has come to.
    fn took_line(&mut self, result: Result<Option<Vec<u8>>, Error>, done: usize, expected: Line) -> Checked {
        let seen = match result {
            Ok(Some(line)) => Line::Found(line, done),
            Ok(None) => Line::EndOfFile,
            Err(Error::UnexpectedEof) => Line::UnexpectedEof,
            Err(Error::LineTooLong { .. }) => Line::TooLong,
            Err(Error::InvalidUtf8) => Line::InvalidUtf8,
            Err(Error::Timeout) => Line::Timeout,
            Err(error) => return Err(TestCaseError::fail(format!("{error:?}"))),
        };
        if P::LAGS && seen == Line::Timeout {
            return Ok(());
        }
        prop_assert_eq!(&seen, &expected);
        if let Line::Found(_, taken) = seen {
            self.taken += taken;
        }
        Ok(())
    }

    fn run(&mut self, end: &mut End, act: &Act) -> Checked {
        match *act {
            Act::Send(_) | Act::SendLine(_) | Act::SplitOrJoin => unreachable!("it reads nothing"),
            Act::Get(len) => {
                let mut buf = vec![0; len];
                let result = on!(end, reader => reader.get(&mut buf));
                self.got(end, len, result.map(|count| buf[..count].to_vec()))
            }
            Act::GetBytes(len) => {
                let result = on!(end, reader => reader.get_bytes(len));
                self.got(end, len, result)
            }
            Act::GetByte => match on!(end, reader => reader.get_byte()) {
                Ok(byte) => {
                    self.saw(byte)?;
                    self.taken += byte.iter().len();
                    Ok(())
                }
                Err(error) => self.failed(&error, 1),
            },
            Act::Peek => match on!(end, reader => reader.peek()) {
                Ok(byte) => self.saw(byte),
                Err(error) => self.failed(&error, 1),
            },
            Act::Term => match on!(end, reader => reader.term()) {
                Ok(byte) => self.saw(byte),
                Err(error) => self.failed(&error, 1),
            },
            Act::GetAll(len) => {
                let mut buf = vec![0; len];
                let result = on!(end, reader => reader.get_all(&mut buf));
                self.got_all(end, len, result.map(|()| buf))
            }
            Act::GetAllBytes(len) => {
                let result = on!(end, reader => reader.get_all_bytes(len));
                self.got_all(end, len, result)
            }
            Act::GetLine => {
                let expected = self.line(MAX_LINE, true);
                let result = on!(end, reader => reader.get_line());
                self.got_line(end, result.map(|line| line.map(String::into_bytes)), expected)
            }
            Act::GetLineBytes(max_len) => {
                let expected = self.line(max_len, false);
                let result = on!(end, reader => reader.get_line_bytes(max_len));
                self.got_line(end, result, expected)
            }
            Act::GetLineInto(max_len) => {
                let expected = self.line(max_len, false);
                let mut line = b"what was there before".to_vec();
                let result = on!(end, reader => reader.get_line_into(&mut line, max_len));
                self.got_line(end, result.map(|found| found.then_some(line)), expected)
            }
            Act::GetLineNear(more) => {
                let max_len = (self.line_so_far().0.len() + more).saturating_sub(1);
                self.run(end, &Act::GetLineBytes(max_len))
            }
            Act::Read(len) => {
                let mut buf = vec![0; len];
                match on!(end, reader => reader.read(&mut buf)).map_err(inner) {
                    Ok(count) => {
                        prop_assert!(count > 0 || len == 0 || self.is_at_end(), "end of file");
                        self.took(&buf[..count])
                    }
                    Err(error) => self.failed(&error, 1),
                }
            }
            Act::FillBufAndConsume(len) => on!(end, reader => match reader.fill_buf() {
                Ok(part) => {
                    prop_assert!(!part.is_empty() || self.is_at_end(), "end of file");
                    prop_assert!(self.there().starts_with(part), "not what is next");
                    let taken = part.len().min(len);
                    reader.consume(taken);
                    self.taken += taken;
                    Ok(())
                }
                Err(error) => self.failed(&inner(error), 1),
            }),
            Act::ReadUntil(last) => {
                let mut bytes = Vec::new();
                let result = on!(end, reader => reader.read_until(last, &mut bytes)).map_err(inner);
                // What it had taken before it failed is handed over.
                self.took(&bytes)?;
                let inside = &bytes[..bytes.len().saturating_sub(1)];
                prop_assert!(!inside.contains(&last), "it went too far");
                match result {
                    Ok(_) => prop_assert!(bytes.ends_with(&[last]) || self.is_at_end(), "it stopped early"),
                    Err(error) => {
                        prop_assert!(!bytes.ends_with(&[last]), "it had all");
                        self.failed(&error, 1)?;
                    }
                }
                Ok(())
            }
            Act::WaitRead => match on!(end, reader => reader.wait_read()) {
                Ok(()) => {
                    prop_assert!(self.ended || !self.there().is_empty(), "nothing to read");
                    Ok(())
                }
                Err(error) => self.failed(&error, 1),
            },
            Act::WaitRequest => match on!(end, reader => reader.wait_request()) {
                Ok(has_come) => {
                    prop_assert_eq!(has_come, !self.there().is_empty());
                    prop_assert!(has_come || self.ended, "no request");
                    Ok(())
                }
                Err(error) => self.failed(&error, 1),
            },
        }
    }

    /// A read that needed so many bytes has failed. It may for nothing but time.
    fn failed(&self, error: &Error, needed: usize) -> Checked {
        prop_assert!(matches!(error, Error::Timeout), "{error:?}");
        self.timed_out(needed)
    }

    fn got(&mut self, end: &End, len: usize, result: Result<Vec<u8>, Error>) -> Checked {
        let (done, timed_out) = on!(end, reader => (reader.done(), reader.is_timeout()));
        match result {
            Ok(bytes) => {
                prop_assert_eq!(done, bytes.len());
                self.took_up_to(len, &bytes, timed_out)
            }
            Err(error) => {
                prop_assert!(timed_out && done == 0, "{error:?}");
                self.failed(&error, 1)
            }
        }
    }

    fn got_all(&mut self, end: &mut End, len: usize, result: Result<Vec<u8>, Error>) -> Checked {
        match result {
            Ok(bytes) => {
                prop_assert_eq!(bytes.len(), len);
                self.took(&bytes)
            }
            Err(error) => {
                stays_failed(end, &error)?;
                match error {
                    Error::UnexpectedEof => {
                        prop_assert!(self.ended && self.there().len() < len, "{error:?}");
                        Ok(())
                    }
                    error => self.failed(&error, len),
                }
            }
        }
    }

    fn got_line(&mut self, end: &mut End, result: Result<Option<Vec<u8>>, Error>, expected: Line) -> Checked {
        if let Err(error) = &result {
            stays_failed(end, error)?;
        }
        let done = on!(end, reader => reader.done());
        self.took_line(result, done, expected)
    }
}

/// Checks that an error sticks, and clears it.
fn stays_failed(end: &mut End, error: &Error) -> Checked {
    let again = on!(end, reader => {
        let again = reader.get_byte();
        reader.clear_error();
        again
    });
    prop_assert_eq!(again.unwrap_err().to_string(), error.to_string());
    Ok(())
}

fn check<P: Peer>((socket, peer): (TcpSocket, P), case: &Case) -> Checked {
    let mut model = Model {
        stream: case
            .stream
            .iter()
            .map(|piece| piece.bytes.repeat(piece.times))
            .collect::<Vec<_>>()
            .concat(),
        sent: 0,
        taken: 0,
        ended: false,
        peer,
    };
    let mut end = End::Whole(socket);
    for (index, (limit, act)) in case.acts.iter().enumerate() {
        on!(&mut end, reader => {
            reader.timeout(Duration::from_micros(*limit));
        });
        match act {
            Act::Send(len) => model.send(*len),
            Act::SendLine(with_end) => model.send_line(*with_end),
            Act::SplitOrJoin => end = end.split_or_join(),
            act => model
                .run(&mut end, act)
                .map_err(|error| TestCaseError::fail(format!("at act {index}, {act:?}: {error}")))?,
        }
    }
    // The rest comes, too.
    on!(&mut end, reader => {
        reader.timeout(PATIENCE);
    });
    while !model.is_at_end() {
        model.send(usize::MAX);
        let len = model.there().len();
        model.run(&mut end, &Act::GetAllBytes(len))?;
    }
    model.run(&mut end, &Act::GetBytes(1))?;
    prop_assert_eq!(model.taken, model.stream.len());
    Ok(())
}

fn check_all<P: Peer>(promise: &'static str, pair: fn() -> (TcpSocket, P)) {
    let config = ProptestConfig {
        // What fails is printed; nothing is written.
        failure_persistence: None,
        max_shrink_time: 30_000,
        // Several times as fast as the default one, where nothing is optimised.
        rng_algorithm: RngAlgorithm::XorShift,
        ..ProptestConfig::default()
    };
    let result = TestRunner::new(config).run(&case(), |case| {
        // Each case for itself, so that there may be many of them.
        let _test = begin(promise);
        check(pair(), &case)
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn any_mix_of_reads_gives_the_stream() {
    check_all("any mix of reads gives the stream", unix_pair);
}

#[test]
fn any_mix_of_reads_gives_the_stream_of_tcp() {
    check_all("any mix of reads gives the stream of TCP", tcp_pair);
}
