//! A server on one thread that answers each request through the socket that it watches: the time of the processor that the
//! server takes for a request, with what the kernel does for it.
//!
//! How many system calls that is, the bench `system_calls` tells.

mod support;

use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use support::peers::pair;
use support::report::{Contestant, Report};
use support::servers::{Mio, Queue, Server, Tokio, ask};
use support::{count, each, machine};

const REQUEST: [u8; 64] = [b'x'; 64];
const CONNECTIONS: [usize; 3] = [1, 50, 1000];

fn main() {
    let mut report = Report::new("server");
    machine::raise_descriptor_limit();
    machine::use_one_processor();
    let answer = report.compare(
        "a server's processor time for a request of 64 bytes; clients on the same processor",
        "connections",
        &CONNECTIONS,
        |connections| {
            vec![
                one::<Mio>(connections),
                one::<Queue>(connections),
                one::<Tokio>(connections),
            ]
        },
    );
    for (connections, goal) in [(1, 0.95), (50, 0.95)] {
        let what = match connections {
            1 => "queue server's processor time, 1 connection".to_owned(),
            more => format!("queue server's processor time, {more} connections"),
        };
        let ratio = |name| answer.ratio_to(Queue::NAME, name, connections);
        report.figure(&what, Mio::NAME, ratio(Mio::NAME), goal);
        report.figure(&what, Tokio::NAME, ratio(Tokio::NAME), 1.0);
    }
    report.finish();
}

fn one<S: Server>(connections: usize) -> Contestant<'static> {
    let requests = count(20_000, 200);
    (
        S::NAME,
        Box::new(move || time::<S>(connections, requests / connections.min(requests))),
    )
}

/// Of one request, of those that a server answers which is asked so many times on each of so many connections.
fn time<S: Server>(connections: usize, times: usize) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut near, far): (Vec<TcpStream>, Vec<TcpStream>) = (0..connections).map(|_| pair(&listener)).unzip();
    let (taken, time) = mpsc::channel();
    let server = thread::spawn(move || {
        let begin = machine::thread_time();
        S::serve(far);
        taken.send(machine::thread_time() - begin).unwrap();
    });
    ask(&mut near, times, &REQUEST);
    drop(near);
    server.join().unwrap();
    each(time.recv().unwrap(), times * connections)
}
