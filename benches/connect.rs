//! What a connect costs: to an address that answers, beside `std::net`, and to two of which the first does not.

mod support;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use support::{compare, is_quick, rounds};
use wakesock::TcpSocket;

fn main() {
    let live = live();
    // A socket has the address, and doesn't listen.
    let (refusing, _holder) = bound();
    let hole = BlackHole::new();

    let connects = if is_quick() { 10 } else { 250 };
    compare(
        &format!("{connects} connects to an address that answers"),
        rounds(11),
        &mut [
            (
                "std::net",
                Box::new(|| time(connects, || drop(TcpStream::connect(live).unwrap()))),
            ),
            (
                "std::net, connect_timeout",
                Box::new(|| {
                    time(connects, || {
                        drop(TcpStream::connect_timeout(&live, Duration::from_secs(10)).unwrap());
                    })
                }),
            ),
            (
                "wakesock",
                Box::new(|| time(connects, || TcpSocket::new().connect_to(&[live]).unwrap())),
            ),
            (
                "wakesock with a timeout",
                Box::new(|| {
                    time(connects, || {
                        TcpSocket::new()
                            .timeout(Duration::from_secs(10))
                            .connect_to(&[live])
                            .unwrap()
                    })
                }),
            ),
        ],
    );

    let dead_first = [refusing, live];
    compare(
        &format!("{connects} connects to {refusing}, which refuses, and an address that answers"),
        rounds(11),
        &mut [
            (
                "std::net, one after the other",
                Box::new(|| time(connects, || drop(TcpStream::connect(&dead_first[..]).unwrap()))),
            ),
            (
                "wakesock, raced",
                Box::new(|| time(connects, || TcpSocket::new().connect_to(&dead_first).unwrap())),
            ),
        ],
    );

    let mute_first = [hole.addr, live];
    compare(
        &format!(
            "a connect to {}, which doesn't answer, and an address that does",
            hole.addr
        ),
        rounds(5),
        &mut [(
            "wakesock, raced",
            Box::new(|| time(1, || TcpSocket::new().connect_to(&mute_first).unwrap())),
        )],
    );
}

fn time(connects: usize, mut connect: impl FnMut()) -> Duration {
    let begin = Instant::now();
    for _ in 0..connects {
        connect();
    }
    begin.elapsed()
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
