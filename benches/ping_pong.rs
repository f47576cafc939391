//! 64 bytes there and back over the loopback, each read with a limit: `std::net`, whose `SO_RCVTIMEO` costs no system
//! call, and this crate.

#![allow(unsafe_code, reason = "sched_setaffinity(2)")]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use support::{compare, is_quick, rounds};
use wakesock::TcpSocket;

const SIZE: usize = 64;
const LIMIT: Duration = Duration::from_secs(10);

fn main() {
    let turns = if is_quick() { 100 } else { 20_000 };
    for (title, cpus) in [
        ("both threads on one processor", Some([0, 0])),
        ("each thread on its own processor", Some([0, 1])),
        ("threads where the system puts them", None),
    ] {
        compare(
            &format!("ping-pong of {SIZE} bytes, {turns} turns, {title}"),
            rounds(11),
            &mut [
                ("std::net with a read timeout", Box::new(|| run(turns, cpus, with_std))),
                ("std::net without", Box::new(|| run(turns, cpus, without_limit))),
                ("wakesock with a timeout", Box::new(|| run(turns, cpus, with_wakesock))),
            ],
        );
    }
}

/// One end of a ping-pong: `first` says which.
type End = fn(stream: TcpStream, first: bool, turns: usize);

fn run(turns: usize, cpus: Option<[usize; 2]>, end: End) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let far = listener.accept().unwrap().0;
    for stream in [&near, &far] {
        stream.set_nodelay(true).unwrap();
    }
    let other = thread::spawn(move || {
        pin(cpus.map(|cpus| cpus[1]));
        end(far, false, turns);
    });
    let this = thread::spawn(move || {
        pin(cpus.map(|cpus| cpus[0]));
        let begin = Instant::now();
        end(near, true, turns);
        begin.elapsed()
    });
    other.join().unwrap();
    this.join().unwrap()
}

fn pin(cpu: Option<usize>) {
    let Some(cpu) = cpu else { return };
    // SAFETY: a `cpu_set_t` is an array of integers, for which zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is valid, and has room for far more processors than the two used here.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the pointer is to a set of the size given; 0 is the calling thread. If it fails, there is one processor.
    unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) };
}

fn with_std(stream: TcpStream, first: bool, turns: usize) {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    without_limit(stream, first, turns);
}

fn without_limit(mut stream: TcpStream, first: bool, turns: usize) {
    let mut buf = [0; SIZE];
    for _ in 0..turns {
        if first {
            stream.write_all(&buf).unwrap();
        }
        stream.read_exact(&mut buf).unwrap();
        if !first {
            stream.write_all(&buf).unwrap();
        }
    }
}

fn with_wakesock(stream: TcpStream, first: bool, turns: usize) {
    let mut socket = TcpSocket::from(stream);
    socket.timeout(LIMIT);
    let mut buf = [0; SIZE];
    for _ in 0..turns {
        if first {
            socket.put_all(&buf).unwrap();
        }
        socket.get_all(&mut buf).unwrap();
        if !first {
            socket.put_all(&buf).unwrap();
        }
    }
}
