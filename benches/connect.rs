//! What a connect costs: to an address that answers, beside `std::net`, and to two of which the first does not.

mod support;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};
use support::report::{Contestant, Report};
use support::{LIMIT, count, each};
use wakesock::TcpSocket;

/// Until the next address is tried too (RFC 8305).
const HEAD_START: Duration = Duration::from_millis(250);

fn main() {
    let live = live();
    // A socket has the address, and doesn't listen.
    let (refusing, _holder) = bound();
    let hole = BlackHole::new();
    let mut report = Report::new("connect");

    report.compare(
        "a connect to an address that answers",
        "connects",
        &[count(400, 10)],
        |connects| {
            vec![
                contestant("std::net, connect_timeout", connects, move || {
                    std_limited(&[live], LIMIT)
                }),
                contestant("std::net, no limit", connects, move || {
                    TcpStream::connect(live).unwrap()
                }),
                contestant("wakesock", connects, move || ours(&[live], Some(LIMIT))),
                contestant("wakesock, no limit", connects, move || ours(&[live], None)),
            ]
        },
    );

    let dead_first = [refusing, live];
    report.compare(
        &format!(
            "a connect to {}, which refuses, and an address that answers",
            refusing.ip()
        ),
        "connects",
        &[count(400, 10)],
        |connects| {
            vec![
                contestant("std::net, connect_timeout of each", connects, move || {
                    std_limited(&dead_first, LIMIT)
                }),
                contestant("wakesock, raced", connects, move || ours(&dead_first, Some(LIMIT))),
            ]
        },
    );

    let mute_first = [hole.addr, live];
    report.compare(
        &format!(
            "a connect to {}, which doesn't answer, and an address that does",
            hole.addr.ip()
        ),
        "connects",
        &[1],
        |connects| {
            vec![
                contestant("std::net, 250 ms for each", connects, move || {
                    std_limited(&mute_first, HEAD_START)
                }),
                contestant("wakesock, raced", connects, move || ours(&mute_first, Some(LIMIT))),
            ]
        },
    );
    report.finish();
}

fn contestant<S: AsFd>(name: &'static str, connects: usize, connect: impl Fn() -> S + 'static) -> Contestant<'static> {
    let round = move || {
        let begin = Instant::now();
        for _ in 0..connects {
            let socket = connect();
            // Closing it resets it: so no port is left behind in TIME_WAIT, and they don't run out.
            SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
        }
        each(begin.elapsed(), connects)
    };
    (name, Box::new(round))
}

/// One address after the other.
fn std_limited(addrs: &[SocketAddr], limit: Duration) -> TcpStream {
    let mut attempts = addrs.iter().map(|addr| TcpStream::connect_timeout(addr, limit));
    attempts.find_map(Result::ok).unwrap()
}

fn ours(addrs: &[SocketAddr], limit: Option<Duration>) -> TcpSocket {
    let mut socket = TcpSocket::new();
    socket.timeout(limit).connect_to(addrs).unwrap();
    socket
}

/// An IPv4 address where a thread accepts until the bench is over.
fn live() -> SocketAddr {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    // Room for all connects of a round: one that finds the queue full is answered a second later.
    socket.listen(4096).unwrap();
    let listener = TcpListener::from(socket);
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().for_each(|client| drop(client.unwrap())));
    addr
}

/// An address that a socket has to itself: of IPv6, if this machine has that.
fn bound() -> (SocketAddr, Socket) {
    let wanted = [
        SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
        SocketAddr::from(([127, 0, 0, 2], 0)),
    ];
    let bound = wanted.into_iter().find_map(|addr| {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).ok()?;
        socket.bind(&addr.into()).ok()?;
        Some((socket.local_addr().unwrap().as_socket().unwrap(), socket))
    });
    bound.unwrap()
}

/// An address that doesn't answer: a listener with a queue that is full.
struct BlackHole {
    addr: SocketAddr,
    _listener: Socket,
    _clients: Vec<Socket>,
}

impl BlackHole {
    fn new() -> BlackHole {
        let (addr, listener) = bound();
        listener.listen(0).unwrap();
        let mut clients = Vec::new();
        loop {
            let client = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
            let answered = client.connect_timeout(&addr.into(), Duration::from_millis(100));
            clients.push(client);
            if answered.is_err() {
                return BlackHole {
                    addr,
                    _listener: listener,
                    _clients: clients,
                };
            }
        }
    }
}
