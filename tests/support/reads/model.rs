//! The byte string, and what each read has to make of it.

use std::io::{BufRead, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::time::Duration;

use wakesock::{Error, TcpReader, TcpSocket, TcpWriter};

use super::{Act, Case, Ending, MAX_LINE};
use crate::support::every::inner;
use crate::support::{self, PATIENCE};

/// What was seen instead of what was promised.
type Checked = Result<(), String>;

/// Leaves the function with what was seen, unless this holds.
macro_rules! ensure {
    ($holds:expr, $($seen:tt)+) => {
        if !$holds {
            return Err(format!($($seen)+));
        }
    };
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
pub trait Peer: Write {
    /// What was sent may take a moment to arrive, and a reset may overtake it.
    const LAGS: bool;

    fn finish(&self);

    /// Closes the connection with a reset.
    fn reset(self);
}

#[cfg(unix)]
impl Peer for UnixStream {
    const LAGS: bool = false;

    fn finish(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }

    fn reset(self) {
        // There is something that it hasn't read: see `unix_pair`.
        drop(self);
    }
}

impl Peer for TcpStream {
    const LAGS: bool = true;

    fn finish(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }

    fn reset(self) {
        support::reset(self);
    }
}

#[cfg(unix)]
pub fn unix_pair() -> (TcpSocket, UnixStream) {
    let (mut own, peer) = UnixStream::pair().unwrap();
    own.write_all(b"never read").unwrap();
    peer.set_nonblocking(true).unwrap();
    (TcpSocket::from(own), peer)
}

pub fn tcp_pair() -> (TcpSocket, TcpStream) {
    let (socket, peer) = support::pair();
    peer.set_nonblocking(true).unwrap();
    (socket, peer)
}

/// What the reads are held against: a byte string, how far it was sent, and how far it was taken.
struct Model<P> {
    stream: Vec<u8>,
    sent: usize,
    taken: usize,
    ended: Option<Ending>,
    /// None once it has reset the connection.
    peer: Option<P>,
    ending: Ending,
}

/// What a read of a line has to come to.
#[derive(Debug, PartialEq)]
enum Line {
    /// This one, and so many bytes with its end.
    Found(Vec<u8>, usize),
    EndOfFile,
    UnexpectedEof,
    Reset,
    TooLong,
    InvalidUtf8,
    Timeout,
}

impl<P: Peer> Model<P> {
    fn there(&self) -> &[u8] {
        &self.stream[self.taken..self.sent]
    }

    fn is_at_end_of_file(&self) -> bool {
        self.ended == Some(Ending::EndOfFile) && self.there().is_empty()
    }

    fn is_reset(&self) -> bool {
        self.ended == Some(Ending::Reset)
    }

    fn send_line(&mut self, with_end: bool) {
        let rest = &self.stream[self.sent..];
        let len = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        self.send(len + usize::from(with_end));
    }

    fn send(&mut self, len: usize) {
        let rest = &self.stream[self.sent..];
        if self.ended.is_some() {
            return;
        }
        if rest.is_empty() {
            self.end();
        } else if let Some(peer) = &mut self.peer {
            // Less, when the buffers are full.
            match peer.write(&rest[..rest.len().min(len)]) {
                Ok(count) => self.sent += count,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
    }

    fn end(&mut self) {
        match self.ending {
            Ending::EndOfFile => self.peer.iter().for_each(P::finish),
            Ending::Reset => self.peer.take().into_iter().for_each(P::reset),
        }
        self.ended = Some(self.ending);
    }

    /// These bytes were handed over.
    fn took(&mut self, bytes: &[u8]) -> Checked {
        let there = self.there();
        ensure!(
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
        let waits = self.there().len() < needed && self.ended.is_none();
        ensure!(
            P::LAGS || waits,
            "timed out, with {} bytes there and the stream ended: {:?}",
            self.there().len(),
            self.ended
        );
        Ok(())
    }

    /// A read that needed `needed` bytes and nothing but those has met the reset.
    fn was_reset(&self, needed: usize) -> Checked {
        let is_missing = P::LAGS || self.there().len() < needed;
        ensure!(
            self.is_reset() && is_missing,
            "reset, with {} bytes there and the stream ended: {:?}",
            self.there().len(),
            self.ended
        );
        Ok(())
    }

    /// What a read of one byte, or a look at it, has given.
    fn saw(&mut self, byte: Option<u8>) -> Checked {
        let next = self.there().first().copied();
        ensure!(byte == next, "{byte:?} instead of {next:?}");
        ensure!(byte.is_some() || self.is_at_end_of_file(), "end of file");
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
            None if self.ended.is_none() => Line::Timeout,
            None if self.is_reset() => Line::Reset,
            None if self.there().is_empty() => Line::EndOfFile,
            None => Line::UnexpectedEof,
        }
    }

    fn got_line(&mut self, end: &mut End, result: Result<Option<Vec<u8>>, Error>, expected: Line) -> Checked {
        let seen = match result {
            Ok(Some(line)) => Line::Found(line, on!(end, reader => reader.done())),
            Ok(None) => Line::EndOfFile,
            Err(error) => {
                stays_failed(end, &error)?;
                match error {
                    Error::UnexpectedEof => Line::UnexpectedEof,
                    Error::LineTooLong { .. } => Line::TooLong,
                    Error::InvalidUtf8 => Line::InvalidUtf8,
                    Error::Timeout => Line::Timeout,
                    error if is_reset(&error) => Line::Reset,
                    error => return Err(format!("{error:?}")),
                }
            }
        };
        match seen {
            Line::Timeout if P::LAGS => Ok(()),
            Line::Reset if P::LAGS => self.was_reset(usize::MAX),
            seen => {
                ensure!(seen == expected, "{seen:?} instead of {expected:?}");
                if let Line::Found(_, taken) = seen {
                    self.taken += taken;
                }
                Ok(())
            }
        }
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
                Err(error) => self.failed(end, &error, 1),
            },
            Act::Peek => match on!(end, reader => reader.peek()) {
                Ok(byte) => self.saw(byte),
                Err(error) => self.failed(end, &error, 1),
            },
            Act::Term => match on!(end, reader => reader.term()) {
                Ok(byte) => self.saw(byte),
                Err(error) => self.failed(end, &error, 1),
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
                match on!(end, reader => std_result(reader.read(&mut buf), reader.get_timeout())) {
                    Ok(count) => {
                        ensure!(count > 0 || len == 0 || self.is_at_end_of_file(), "end of file");
                        self.took(&buf[..count])
                    }
                    Err(error) => self.failed(end, &error, 1),
                }
            }
            Act::FillBufAndConsume(len) => {
                let taken = on!(end, reader => match reader.fill_buf() {
                    Ok(part) => {
                        ensure!(!part.is_empty() || self.is_at_end_of_file(), "end of file");
                        ensure!(self.there().starts_with(part), "not what is next");
                        let taken = part.len().min(len);
                        reader.consume(taken);
                        Ok(taken)
                    }
                    Err(error) => std_result(Err(error), reader.get_timeout()),
                });
                match taken {
                    Ok(taken) => {
                        self.taken += taken;
                        Ok(())
                    }
                    Err(error) => self.failed(end, &error, 1),
                }
            }
            Act::ReadUntil(last) => {
                let mut bytes = b"before".to_vec();
                let result = on!(end, reader => {
                    let result = reader.read_until(last, &mut bytes);
                    std_result(result, reader.get_timeout())
                });
                self.got_until(end, last, result, &bytes)
            }
            Act::ReadLine => {
                let mut text = "before".to_owned();
                let expected = self.until(b'\n').map(<[u8]>::to_vec);
                let result = on!(end, reader => {
                    let result = reader.read_line(&mut text);
                    std_result(result, reader.get_timeout())
                });
                if let Err(Error::InvalidUtf8) = result {
                    let line = expected.as_deref().unwrap_or(self.there());
                    ensure!(std::str::from_utf8(line).is_err() && text == "before", "it is UTF-8");
                    self.taken += line.len();
                    return Ok(());
                }
                self.got_until(end, b'\n', result, text.as_bytes())
            }
            Act::SkipUntil(last) => {
                let needed = self.until(last).map_or(usize::MAX, <[u8]>::len);
                let (result, done) = on!(end, reader => {
                    let result = reader.skip_until(last);
                    (std_result(result, reader.get_timeout()), reader.done())
                });
                let skipped = self.there()[..done].to_vec();
                match result {
                    Ok(count) => {
                        ensure!(count == done, "{count}, and {done} done");
                        self.took(&skipped)?;
                        ensure!(count == needed || self.is_at_end_of_file(), "it stopped early");
                        Ok(())
                    }
                    Err(error) => {
                        ensure!(done < needed, "it had all");
                        let checked = self.failed(end, &error, needed);
                        self.took(&skipped)?;
                        checked
                    }
                }
            }
            Act::ReadExact(len) => {
                let mut buf = vec![0; len];
                let result = on!(end, reader => {
                    let result = reader.read_exact(&mut buf);
                    std_result(result, reader.get_timeout())
                });
                match result {
                    Ok(()) => self.took(&buf),
                    Err(error) => self.stopped_short(end, &error, len),
                }
            }
            Act::PeekAll(len) => {
                let result = on!(end, reader => reader.peek_all(len).map(<[u8]>::to_vec));
                match result {
                    Ok(bytes) => {
                        ensure!(bytes.len() == len, "{} bytes of {len}", bytes.len());
                        ensure!(self.there().starts_with(&bytes), "not what is next");
                        Ok(())
                    }
                    Err(error) => self.stopped_short(end, &error, len),
                }
            }
            Act::ReadToEnd => {
                let mut bytes = Vec::new();
                let (result, done) = on!(end, reader => {
                    let result = reader.read_to_end(&mut bytes);
                    (std_result(result, reader.get_timeout()), reader.done())
                });
                ensure!(done == bytes.len(), "{done} of {} done", bytes.len());
                self.took(&bytes)?;
                match result {
                    Ok(count) => {
                        ensure!(count == done && self.is_at_end_of_file(), "it stopped early");
                        Ok(())
                    }
                    Err(error) => self.failed(end, &error, usize::MAX),
                }
            }
            Act::ReadToString => {
                let mut text = String::new();
                let result = on!(end, reader => {
                    let result = reader.read_to_string(&mut text);
                    std_result(result, reader.get_timeout())
                });
                match result {
                    Ok(count) => {
                        ensure!(count == text.len(), "{count} of {}", text.len());
                        self.took(text.as_bytes())?;
                        ensure!(self.is_at_end_of_file(), "it stopped early");
                        Ok(())
                    }
                    Err(Error::InvalidUtf8) => {
                        let is_bad = std::str::from_utf8(self.there()).is_err();
                        ensure!(is_bad && self.ended == Some(Ending::EndOfFile), "it is UTF-8");
                        Ok(())
                    }
                    Err(error) => self.failed(end, &error, usize::MAX),
                }
            }
            Act::Unread(len) => {
                let first = self.taken - self.taken.min(len);
                on!(end, reader => reader.unread(&self.stream[first..self.taken]));
                self.taken = first;
                Ok(())
            }
            Act::WaitRead => match on!(end, reader => reader.wait_read()) {
                Ok(()) => {
                    ensure!(self.ended.is_some() || !self.there().is_empty(), "nothing to read");
                    Ok(())
                }
                Err(error) => self.failed(end, &error, 1),
            },
            Act::WaitRequest => match on!(end, reader => reader.wait_request()) {
                Ok(has_come) => {
                    let is_there = !self.there().is_empty();
                    ensure!(has_come == is_there, "{has_come}");
                    ensure!(has_come || self.is_at_end_of_file(), "no request");
                    Ok(())
                }
                Err(error) => self.failed(end, &error, 1),
            },
        }
    }

    /// What there is up to this byte and with it, if that has come.
    fn until(&self, last: u8) -> Option<&[u8]> {
        let end = self.there().iter().position(|byte| *byte == last)?;
        Some(&self.there()[..=end])
    }

    /// A read up to a byte has returned. What it has appended stands behind `before`.
    fn got_until(&mut self, end: &mut End, last: u8, result: Result<usize, Error>, appended: &[u8]) -> Checked {
        let bytes = appended
            .strip_prefix(b"before")
            .ok_or("what was there before is gone")?;
        let expected = self.until(last).map(<[u8]>::to_vec);
        match result {
            Ok(count) => {
                ensure!(count == bytes.len(), "{count} of {}", bytes.len());
                self.took(bytes)?;
                let is_all = expected.is_some_and(|expected| expected == bytes) || self.is_at_end_of_file();
                ensure!(is_all, "it stopped early, or went too far");
                Ok(())
            }
            Err(error) => {
                ensure!(bytes.is_empty(), "a part was handed over");
                self.failed(end, &error, expected.map_or(usize::MAX, |bytes| bytes.len()))
            }
        }
    }

    /// A read of a whole whose limit and end of file are not sticky has failed.
    fn stopped_short(&self, end: &mut End, error: &Error, len: usize) -> Checked {
        if let Error::UnexpectedEof = error {
            let is_short = self.ended == Some(Ending::EndOfFile) && self.there().len() < len;
            ensure!(is_short && !on!(end, reader => reader.is_error()), "{error:?}");
            return Ok(());
        }
        self.failed(end, error, len)
    }

    /// A read that needed so many bytes has failed.
    fn failed(&self, end: &mut End, error: &Error, needed: usize) -> Checked {
        if let Error::Timeout = error {
            return self.timed_out(needed);
        }
        stays_failed(end, error)?;
        self.failed_for_good(error, needed)
    }

    /// Checks a failure whose error is known to stay.
    fn failed_for_good(&self, error: &Error, needed: usize) -> Checked {
        match error {
            Error::Timeout => self.timed_out(needed),
            error if is_reset(error) => self.was_reset(needed),
            error => Err(format!("{error:?}")),
        }
    }

    /// A read of up to `len` has returned.
    fn got(&mut self, end: &mut End, len: usize, result: Result<Vec<u8>, Error>) -> Checked {
        let (done, timed_out) = on!(end, reader => (reader.done(), reader.is_timeout()));
        let bytes = match result {
            Ok(bytes) => bytes,
            Err(error) => {
                ensure!(done == 0, "{done} bytes, and {error:?}");
                ensure!(
                    timed_out == matches!(error, Error::Timeout),
                    "{error:?}, timed out: {timed_out}"
                );
                return self.failed(end, &error, 1);
            }
        };
        ensure!(
            done == bytes.len() && done <= len,
            "{done}: {} bytes of {len}",
            bytes.len()
        );
        self.took(&bytes)?;
        let stop = on!(end, reader => reader.error().cloned());
        if done == len {
            ensure!(
                !timed_out && stop.is_none(),
                "all of {len}, and {stop:?}, timed out: {timed_out}"
            );
            return Ok(());
        }
        match stop {
            Some(error) => {
                ensure!(done > 0, "nothing and {error:?}, which is an error");
                self.failed(end, &error, 1)
            }
            None if timed_out => {
                ensure!(done > 0, "nothing and a timeout is an error");
                self.timed_out(1)
            }
            None => {
                ensure!(self.is_at_end_of_file(), "{done} bytes of {len}, and no timeout");
                Ok(())
            }
        }
    }

    fn got_all(&mut self, end: &mut End, len: usize, result: Result<Vec<u8>, Error>) -> Checked {
        match result {
            Ok(bytes) => {
                ensure!(bytes.len() == len, "{} bytes of {len}", bytes.len());
                self.took(&bytes)
            }
            Err(error) => {
                stays_failed(end, &error)?;
                if let Error::UnexpectedEof = error {
                    let is_short = self.ended == Some(Ending::EndOfFile) && self.there().len() < len;
                    ensure!(is_short, "{error:?}");
                    return Ok(());
                }
                self.failed_for_good(&error, len)
            }
        }
    }
}

/// What the standard library was told, as this crate tells it. What its error is like depends on the limit.
#[track_caller]
fn std_result<T>(result: std::io::Result<T>, limit: Option<Duration>) -> Result<T, Error> {
    result.map_err(|error| {
        let kind = error.kind();
        let error = inner(error);
        let expected = match error {
            Error::Timeout if limit == Some(Duration::ZERO) => ErrorKind::WouldBlock,
            _ => error.kind(),
        };
        assert_eq!(kind, expected, "{error:?}, limit {limit:?}");
        error
    })
}

fn is_reset(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == ErrorKind::ConnectionReset)
}

/// Checks that an error sticks, and clears it.
fn stays_failed(end: &mut End, error: &Error) -> Checked {
    let again = on!(end, reader => {
        let again = reader.get_byte();
        reader.clear_error();
        again
    });
    let is_same = again
        .as_ref()
        .is_err_and(|again| again.to_string() == error.to_string());
    ensure!(is_same, "{error:?}, and then {again:?}");
    Ok(())
}

/// Runs a case on a connection.
pub fn check<P: Peer>((socket, peer): (TcpSocket, P), case: &Case) -> Checked {
    let mut model = Model {
        stream: case
            .stream
            .iter()
            .map(|piece| piece.bytes.repeat(piece.times))
            .collect::<Vec<_>>()
            .concat(),
        sent: 0,
        taken: 0,
        ended: None,
        peer: Some(peer),
        ending: case.ending,
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
                .map_err(|error| format!("at act {index}, {act:?}: {error}"))?,
        }
    }
    // The rest comes, too.
    on!(&mut end, reader => {
        reader.timeout(PATIENCE);
    });
    while model.ended.is_none() {
        let len = model.there().len();
        model.run(&mut end, &Act::GetAllBytes(len))?;
        model.send(usize::MAX);
    }
    model.run(&mut end, &Act::GetBytes(model.there().len() + 1))?;
    let lost = model.stream.len() - model.taken;
    ensure!(lost == 0 || P::LAGS && model.is_reset(), "{lost} bytes lost");
    // Gives the port back at once.
    model.peer.into_iter().for_each(P::reset);
    Ok(())
}
