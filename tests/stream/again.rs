//! What is asked for again and again, until it is there as a whole, costs in proportion to what comes.

use std::io::{BufRead, Read, Write};
use std::net::Shutdown;
use std::process::Command;
use std::time::Duration;
use std::{env, process};

use rlimit::Resource;
use wakesock::{Error, TcpSocket};

use crate::support::{PATIENCE, begin, block, cpu_time, eventually, pair, thread_id, unix_pair};

/// Asks for so many bytes, of which the last is a newline. Whether they are there.
type Ask = fn(&mut TcpSocket, &mut [u8]) -> bool;

const ASKS: [(&str, Ask); 9] = [
    ("get_all_bytes", |socket, buf| socket.get_all_bytes(buf.len()).is_ok()),
    ("get_all", |socket, buf| socket.get_all(buf).is_ok()),
    ("get_line_bytes", |socket, _| socket.get_line_bytes(usize::MAX).is_ok()),
    ("get_line_into", |socket, _| {
        socket.get_line_into(&mut Vec::new(), usize::MAX).is_ok()
    }),
    ("peek_all", |socket, buf| socket.peek_all(buf.len()).is_ok()),
    ("read_exact", |socket, buf| socket.read_exact(buf).is_ok()),
    ("read_until", |socket, _| {
        socket.read_until(b'\n', &mut Vec::new()).is_ok()
    }),
    ("read_line", |socket, _| socket.read_line(&mut String::new()).is_ok()),
    ("read_to_string", |socket, _| {
        socket.read_to_string(&mut String::new()).is_ok()
    }),
];

const PIECE: usize = 4_096;

/// How much processor time it takes to ask until `len` bytes are there, after each piece that comes.
fn cost(name: &str, ask: Ask, len: usize) -> Duration {
    let (mut socket, mut peer) = unix_pair();
    socket.timeout(Duration::ZERO);
    let mut buf = vec![0; len];
    let mut sent = vec![b'x'; len];
    sent[len - 1] = b'\n';
    let before = cpu_time(thread_id());
    for piece in sent.chunks(PIECE) {
        assert!(!ask(&mut socket, &mut buf), "{name}: there is something missing");
        socket.clear_error();
        peer.write_all(piece).unwrap();
    }
    peer.shutdown(Shutdown::Write).unwrap();
    assert!(ask(&mut socket, &mut buf), "{name}: all is there");
    cpu_time(thread_id()) - before
}

#[test]
fn four_times_as_much_costs_hardly_more_than_four_times_as_much() {
    let _test = begin();
    const LEN: usize = 2 << 20;
    for (name, ask) in ASKS {
        // What the machine does beside that only adds to it.
        eventually(
            || format!("{name} is linear"),
            || {
                let (little, much) = (cost(name, ask, LEN), cost(name, ask, 4 * LEN));
                // In proportion to the square, it would be sixteen times as much.
                let is_linear = much < 8 * little;
                is_linear.then_some(()).ok_or_else(|| format!("{little:?}, {much:?}"))
            },
        );
    }
}

#[test]
fn a_part_that_was_left_is_read_on_behind_it_whatever_is_asked_for() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    let text: Vec<u8> = (0..60_000_u32).flat_map(u32::to_be_bytes).collect();
    let sent = text.clone();
    let sending = block(move || peer.write_all(&sent).map(|()| peer));
    socket.timeout(Duration::from_millis(1));
    let mut buf = vec![0; text.len() + 1];
    while socket.peek_all(text.len()).is_err() {
        // In turn, so that each goes on with what the one before has left.
        assert!(socket.get_all(&mut buf).is_err() && socket.get_all_bytes(buf.len()).is_err());
        socket.clear_error();
        assert!(socket.read_exact(&mut buf).is_err() && socket.get_line_bytes(usize::MAX).is_err());
        socket.clear_error();
    }
    let _peer = sending.result().unwrap();
    // Less than is there, more, and all that is left.
    socket.get_all(&mut buf[..10]).unwrap();
    assert_eq!(buf[..10], text[..10]);
    assert!(socket.get_all_bytes(text.len()).is_err());
    socket.clear_error();
    assert_eq!(socket.get_all_bytes(10).unwrap(), text[10..20]);
    assert!(socket.get_all_bytes(text.len() - 20).unwrap() == text[20..]);
    assert!(matches!(socket.get_all_bytes(1), Err(Error::Timeout)));
}

/// Tells a child that it is one.
const CHILD: &str = "WAKESOCK_TEST_LITTLE_MEMORY";

#[test]
fn more_than_there_is_memory_for_is_an_error_and_loses_nothing() {
    let _test = begin();
    let child = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "--ignored",
            "--nocapture",
            "again::a_child_with_little_memory",
        ])
        .env(CHILD, "yes")
        .stdin(process::Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && said.contains("all came"), "{said}");
}

#[test]
#[ignore = "it is what `more_than_there_is_memory_for_is_an_error_and_loses_nothing` runs"]
fn a_child_with_little_memory() {
    if env::var_os(CHILD).is_none() {
        return;
    }
    let (mut socket, mut peer) = unix_pair();
    let sending = block(move || {
        let part = vec![b'x'; 1 << 20];
        let mut sent = 0;
        while peer.write_all(&part).is_ok() {
            sent += part.len();
            if sent == 256 << 20 {
                peer.shutdown(Shutdown::Write).unwrap();
                return sent;
            }
        }
        panic!("the other end is gone");
    });
    // Slow machines take seconds for a hundred megabytes.
    socket.timeout(5 * PATIENCE);
    socket.peek_all(1).unwrap();
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split_whitespace().next().unwrap().parse().unwrap();
    let most = pages * 4096 + (100 << 20);
    rlimit::setrlimit(Resource::AS, most, most).unwrap();
    for _ in 0..2 {
        let error = socket.peek_all(usize::MAX).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::OutOfMemory, "{error:?}");
        assert!(socket.is_error(), "as other errors of the system");
        socket.clear_error();
        let error = socket.read_until(b'\n', &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::OutOfMemory, "{error:?}");
        socket.clear_error();
    }
    let mut came = 0;
    let mut buf = vec![0; 1 << 16];
    loop {
        match socket.get(&mut buf).unwrap() {
            0 => break,
            count => {
                assert!(buf[..count].iter().all(|byte| *byte == b'x'));
                came += count;
            }
        }
    }
    assert_eq!(came, sending.result());
    eprintln!("all came");
}
