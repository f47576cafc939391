//! Lines as they stream in: `std::io::BufReader` over a `TcpStream` with a read timeout, and what this crate has for
//! it.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use support::{compare, is_quick, rounds};
use wakesock::TcpSocket;

const LIMIT: Duration = Duration::from_secs(10);
const LONGEST: usize = 1024;

fn main() {
    let lines = if is_quick() { 1_000 } else { 300_000 };
    let text = text(lines);
    compare(
        &format!("{lines} lines of 20 to 80 bytes"),
        rounds(11),
        &mut [
            (
                "BufReader::read_line, read timeout",
                Box::new(|| run(&text, lines, read_line)),
            ),
            (
                "BufReader::lines, read timeout",
                Box::new(|| run(&text, lines, lines_of_their_own)),
            ),
            (
                "BufReader::read_until, read timeout",
                Box::new(|| run(&text, lines, read_until)),
            ),
            (
                "get_line",
                Box::new(|| run(&text, lines, |stream| get_line(TcpSocket::from(stream)))),
            ),
            (
                "get_line with a timeout",
                Box::new(|| run(&text, lines, |stream| get_line(limited(stream)))),
            ),
            (
                "get_line_into",
                Box::new(|| run(&text, lines, |stream| get_line_into(TcpSocket::from(stream)))),
            ),
            (
                "get_line_into with a timeout",
                Box::new(|| run(&text, lines, |stream| get_line_into(limited(stream)))),
            ),
            (
                "BufRead::read_until with a timeout",
                Box::new(|| run(&text, lines, |stream| count_until(limited(stream)))),
            ),
        ],
    );
}

/// Lines of all lengths from 20 to 80, line end not counted, in an order that no branch predictor learns.
fn text(lines: usize) -> Vec<u8> {
    let mut text = Vec::new();
    let mut state: u32 = 1;
    for _ in 0..lines {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let len = 20 + (state >> 16) as usize % 61;
        text.resize(text.len() + len, b'x');
        text.push(b'\n');
    }
    text
}

/// From the first byte to the last line, while a peer writes as fast as it can.
fn run(text: &[u8], lines: usize, count: impl FnOnce(TcpStream) -> usize) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let stream = listener.accept().unwrap().0;
    thread::scope(|scope| {
        let begin = Instant::now();
        scope.spawn(move || peer.write_all(text).unwrap());
        assert_eq!(count(stream), lines);
        begin.elapsed()
    })
}

fn reader(stream: TcpStream) -> BufReader<TcpStream> {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    BufReader::new(stream)
}

fn limited(stream: TcpStream) -> TcpSocket {
    let mut socket = TcpSocket::from(stream);
    socket.timeout(LIMIT);
    socket
}

fn read_line(stream: TcpStream) -> usize {
    let mut reader = reader(stream);
    let mut line = String::new();
    let mut lines = 0;
    while reader.read_line(&mut line).unwrap() > 0 {
        lines += 1;
        line.clear();
    }
    lines
}

fn lines_of_their_own(stream: TcpStream) -> usize {
    reader(stream).lines().map(Result::unwrap).count()
}

fn read_until(stream: TcpStream) -> usize {
    count_until(reader(stream))
}

fn count_until(mut reader: impl BufRead) -> usize {
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
