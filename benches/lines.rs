//! Lines and single bytes as they stream in: `std::io::BufReader` over a `TcpStream`, and what this crate has for it,
//! all with a limit.
//!
//! `get_line` gives a String of its own for each line, as `BufReader::lines` does: the half of what it takes longer than
//! `read_line` into one that is used again is `malloc` and `free`, by `perf`. `get_line_into` is the counterpart of that.
//! What was tried: to validate the copy and not the buffer, which is not aligned (6 of 17 ns saved), and to find a line that
//! is there without going through what reads one (10 ns). The rest is the search, the validation and the copy.
//!
//! `get_byte` can hardly be faster than `bytes()`: both wait for their own last store, of where they stand in the buffer.
//! Beside that, it looks whether another thread has ended the socket, which may be the case from one byte to the next, and
//! notes how much was moved, and in time: 14 instructions in all. What was tried: to load the state without a handshake
//! (5 %), to compare only its lowest byte and to note both in one store (two instructions less each), and to have all else
//! that would have to be looked at, errors, limits and what queues know, decide beforehand how much of the buffer may be
//! taken without looking (3 %). On a processor where it had 0.69 to 0.75, leaving out the stores as well gave 0.86, and
//! leaving out the load 0.87: each is a promise.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use support::peers::pair;
use support::report::{Contestant, Report};
use support::{LIMIT, count, each, machine};
use wakesock::TcpSocket;

const LONGEST: usize = 65_536;

const READ_LINE: &str = "BufReader::read_line";
const LINES: &str = "BufReader::lines";
const BYTES: &str = "BufReader, bytes()";

fn main() {
    let mut report = Report::new("lines");
    machine::use_one_processor();
    let lines = report.compare(
        "100 lines of so many bytes on average; writer and reader on one processor",
        "bytes",
        &[8, 40, 1000],
        line_contestants,
    );
    report.figure(
        "get_line, lines of 40 bytes",
        "BufReader::read_line into a String that is used again",
        lines.ratio_to("get_line", READ_LINE, 40),
        1.0,
    );

    report.figure(
        "get_line, lines of 40 bytes",
        "BufReader::lines, a String each",
        lines.ratio_to("get_line", LINES, 40),
        1.2,
    );
    report.figure(
        "get_line_into, lines of 40 bytes",
        "BufReader::read_line into a String that is used again",
        lines.ratio_to("get_line_into", READ_LINE, 40),
        1.3,
    );

    let bytes = count(8 << 20, 1 << 12);
    let text = vec![b'x'; bytes];
    let single = report.compare(
        "100 single bytes; writer and reader on one processor",
        "bytes",
        &[bytes],
        |bytes| {
            vec![
                contestant(BYTES, &text, bytes, |stream| {
                    reader(stream).bytes().map(Result::unwrap).count()
                }),
                contestant("get_byte", &text, bytes, |stream| get_byte(socket(stream))),
                contestant("wakesock, bytes()", &text, bytes, |stream| {
                    socket(stream).bytes().map(Result::unwrap).count()
                }),
            ]
        },
    );
    let ratio = single.ratio_to("get_byte", BYTES, bytes);
    report.figure("get_byte", BYTES, ratio, 1.0);
    report.finish();
}

fn line_contestants(len: usize) -> Vec<Contestant<'static>> {
    // As many bytes of each, but for the shortest.
    let lines = count(400_000.min(16_000_000 / len), 1000);
    let text: &'static [u8] = text(lines, len).leak();
    let contestant = |name, count| contestant(name, text, lines, count);
    vec![
        contestant(READ_LINE, |stream| read_line(reader(stream))),
        contestant(LINES, |stream| reader(stream).lines().map(Result::unwrap).count()),
        contestant("BufReader::read_until", |stream| read_until(reader(stream))),
        contestant("get_line", |stream| get_line(socket(stream))),
        contestant("get_line_into", |stream| get_line_into(socket(stream))),
        contestant("wakesock, read_line", |stream| read_line(socket(stream))),
        contestant("wakesock, read_until", |stream| read_until(socket(stream))),
    ]
}

/// Lines of `len` bytes on average and up to half of it more or less, in an order that no branch predictor learns.
fn text(lines: usize, len: usize) -> Vec<u8> {
    let mut text = Vec::new();
    let mut state: u32 = 1;
    for _ in 0..lines {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let len = len / 2 + (state >> 16) as usize % (len + 1);
        text.resize(text.len() + len - 1, b'x');
        text.push(b'\n');
    }
    text
}

/// From the first byte to the last item, while a peer writes as fast as it can, for each hundred of them.
fn contestant<'a>(name: &'static str, text: &'a [u8], items: usize, count: fn(TcpStream) -> usize) -> Contestant<'a> {
    let round = move || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut peer, stream) = pair(&listener);
        thread::scope(|scope| {
            let begin = Instant::now();
            scope.spawn(move || peer.write_all(text).unwrap());
            assert_eq!(count(stream), items);
            // One by one they take too few nanoseconds to be told apart.
            each(begin.elapsed() * 100, items)
        })
    };
    (name, Box::new(round))
}

fn reader(stream: TcpStream) -> BufReader<TcpStream> {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    BufReader::new(stream)
}

fn socket(stream: TcpStream) -> TcpSocket {
    let mut socket = TcpSocket::from(stream);
    socket.timeout(LIMIT);
    socket
}

fn read_line(mut reader: impl BufRead) -> usize {
    let mut line = String::new();
    let mut lines = 0;
    while reader.read_line(&mut line).unwrap() > 0 {
        lines += 1;
        line.clear();
    }
    lines
}

fn read_until(mut reader: impl BufRead) -> usize {
    let mut line = Vec::new();
    let mut lines = 0;
    while reader.read_until(b'\n', &mut line).unwrap() > 0 {
        lines += 1;
        line.clear();
    }
    lines
}

fn get_line(mut socket: TcpSocket) -> usize {
    let mut lines = 0;
    while socket.get_line().unwrap().is_some() {
        lines += 1;
    }
    lines
}

fn get_line_into(mut socket: TcpSocket) -> usize {
    let mut line = Vec::new();
    let mut lines = 0;
    while socket.get_line_into(&mut line, LONGEST).unwrap() {
        lines += 1;
    }
    lines
}

fn get_byte(mut socket: TcpSocket) -> usize {
    let mut bytes = 0;
    while socket.get_byte().unwrap().is_some() {
        bytes += 1;
    }
    bytes
}
