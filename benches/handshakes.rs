//! Handshakes of TLS 1.3 with a certificate for ECDSA over P-256, none of them resumed; and what those that never go on cost the
//! others.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;
use support::peers::Peer;
use support::peers::tls::{Secured, StdTls, TokioTls, WakesockTls};
use support::report::{Contestant, Report, table};
use support::tls::{CONFIGS, NAME};
use support::{count, each, machine};
use wakesock::{ListenOptions, TcpSocket};

fn main() {
    machine::raise_descriptor_limit();
    let mut report = Report::new("handshakes");
    machine::use_one_processor();
    let answer = report.compare(
        "a connection, its handshake and a byte each way, both ends on one processor",
        "connections",
        &[count(100, 5)],
        |connections| {
            vec![
                one::<StdTls>(connections),
                one::<WakesockTls>(connections),
                one::<TokioTls>(connections),
            ]
        },
    );
    let rows = answer.rows.iter().map(|row| {
        let cell = row.cells[0].expect("all take part");
        vec![row.name.to_owned(), format!("{:.0}", 1.0 / cell.time.as_secs_f64())]
    });
    let head = vec!["handshakes".to_owned(), "a second".to_owned()];
    report.text(&table(&[head].into_iter().chain(rows).collect::<Vec<_>>()));
    report.figure(
        "handshakes of TLS",
        StdTls::NAME,
        answer.ratio_to(WakesockTls::NAME, StdTls::NAME, count(100, 5)),
        0.97,
    );
    machine::use_all_processors();
    stalled(&mut report);
    report.finish();
}

fn one<S: Secured>(connections: usize) -> Contestant<'static> {
    (S::NAME, Box::new(move || time::<S>(connections)))
}

/// Of one connection, from its beginning until an answer has come.
fn time<S: Secured>(connections: usize) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        for _ in 0..connections {
            let stream = listener.accept().unwrap().0;
            stream.set_nodelay(true).unwrap();
            let mut client = S::shaken(stream, false);
            let mut byte = [0];
            client.fill(&mut byte);
            client.send(&byte);
        }
    });
    let begin = Instant::now();
    for _ in 0..connections {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        // Nothing is left in TIME_WAIT.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        let mut server = S::shaken(stream, true);
        server.send(b"x");
        server.fill(&mut [0]);
    }
    let took = begin.elapsed();
    server.join().unwrap();
    each(took, connections)
}

/// How long an accept takes of a server whose other clients are in a handshake that never ends.
fn stalled(report: &mut Report) {
    let many = count(1000, 20);
    let connections = count(200, 5);
    let answer = report.compare(
        "a connection accepted and served, beside handshakes that have begun and don't go on",
        "connections",
        &[connections],
        |connections| {
            vec![
                ("none", beside(0, connections)),
                ("stalled, a thousand at most", beside(many, connections)),
            ]
        },
    );
    report.figure(
        "accept beside 1,000 handshakes that have stalled",
        "accept alone",
        answer.ratio("stalled, a thousand at most", connections),
        0.9,
    );
}

/// A round for a server that has so many stalled clients.
fn beside(stalled: usize, connections: usize) -> Box<dyn FnMut() -> Duration> {
    let mut listener = TcpSocket::new();
    listener
        .listen_on("127.0.0.1:0", &ListenOptions::new().backlog(4096))
        .unwrap();
    let addr = listener.local_addr().unwrap();
    let (handle, accepted) = (listener.handle(), &*Box::leak(Box::new(AtomicUsize::new(0))));
    thread::spawn(move || {
        listener.serve(stalled + 10, |mut client| {
            accepted.fetch_add(1, SeqCst);
            let served = client.tls_limit(None).start_tls_server(&CONFIGS.server).and_then(|()| {
                client.no_delay()?;
                let mut byte = [0];
                client.get_all(&mut byte)?;
                client.put_all(&byte)
            });
            // Those that are stalled end with the run.
            drop(served);
        });
    });
    // The first bytes of a record, and no more.
    let held: Vec<TcpStream> = (0..stalled)
        .map(|_| {
            let mut stream = TcpStream::connect(addr).unwrap();
            stream.write_all(&[22, 3, 1]).unwrap();
            stream
        })
        .collect();
    while accepted.load(SeqCst) < stalled {
        thread::yield_now();
    }
    let ender = Ender { handle, held };
    Box::new(move || {
        let _ = &ender;
        let begin = Instant::now();
        for _ in 0..connections {
            let mut client = TcpSocket::new();
            client.connect_to(&[addr]).unwrap();
            client.no_delay().unwrap();
            client.linger(Duration::ZERO).unwrap();
            client.start_tls(NAME, &CONFIGS.client).unwrap();
            client.put_all(b"x").unwrap();
            assert_eq!(client.read(&mut [0]).unwrap(), 1);
        }
        each(begin.elapsed(), connections)
    })
}

/// Ends the server when the round is not needed any more.
struct Ender {
    handle: wakesock::SocketHandle,
    held: Vec<TcpStream>,
}

impl Drop for Ender {
    fn drop(&mut self) {
        self.handle.close();
        self.held.clear();
    }
}
