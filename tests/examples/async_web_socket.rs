//! U++'s asynchronous server of WebSockets: with its own clients, and by `tungstenite` over the standard library's sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use socket2::{Domain, Socket, Type};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

#[cfg(target_os = "linux")]
use crate::proc::unsent_at;
use crate::running::{PATIENCE, Server, eventually};

type Peer = WebSocket<TcpStream>;

fn server() -> Server {
    Server::start("async_web_socket", &["--clients", "0"])
}

fn connect(server: &Server) -> Peer {
    connect_over(server, TcpStream::connect(server.addr()).unwrap())
}

fn connect_over(server: &Server, stream: TcpStream) -> Peer {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (peer, _) = tungstenite::client(format!("ws://{}/", server.addr()), stream).unwrap();
    peer
}

#[track_caller]
fn assert_answer(peer: &mut Peer, request: &str, answer: &str) {
    peer.send(Message::text(request)).unwrap();
    assert_eq!(peer.read().unwrap(), Message::text(answer));
}

#[track_caller]
fn assert_goodbye(peer: &mut Peer) {
    match peer.read().unwrap() {
        Message::Close(Some(frame)) => assert_eq!(frame.code, CloseCode::Away),
        other => panic!("{other:?}"),
    }
}

#[test]
fn its_clients_have_their_answers_until_a_signal_ends_them_too() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let server = Server::start("async_web_socket", &["--clients", "5"]);
        for _ in 0..20 {
            let line = server.example.line();
            let (request, reply) = line.split_once(" -> ").unwrap();
            let [number, root]: [f64; 2] = [request, reply].map(|text| text.parse().unwrap());
            assert_eq!(number.sqrt(), root, "{line}");
        }
        let ended = server.stop(signal);
        assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""));
        assert_eq!(ended.output.lines().last(), Some("stopped"));
    }
}

#[test]
fn requests_that_come_together_are_all_answered() {
    let server = server();
    let (mut peer, mut other) = (connect(&server), connect(&server));
    // Masked with zeros.
    let frames: Vec<u8> = (1..=9)
        .flat_map(|number| [0x81, 0x81, 0, 0, 0, 0, b'0' + number])
        .collect();
    peer.get_mut().write_all(&frames).unwrap();
    for number in 1..=9 {
        assert_eq!(
            peer.read().unwrap(),
            Message::text(f64::from(number).sqrt().to_string())
        );
    }
    assert_answer(&mut other, "2.25", "1.5");
    assert_answer(&mut other, "", "error: not a number");
    assert_answer(&mut other, "two", "error: not a number");
}

#[test]
fn who_is_slow_to_ask_or_asks_for_something_else_or_leaves_holds_up_nobody() {
    let server = server();
    let (_silent, slow) = (server.client(), server.client());
    slow.send("GET / HTTP/1.1\r\nUpgr");
    let mut peer = connect(&server);
    for (junk, answer) in [
        ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 426 "),
        ("GET / ", ""),
        ("hello\n\n", "HTTP/1.1 400 "),
    ] {
        let mut other = server.client();
        other.send(junk);
        other.says_no_more();
        let mut came = String::new();
        other.lines.read_to_string(&mut came).unwrap();
        assert!(
            came.starts_with(answer) && came.is_empty() == answer.is_empty(),
            "{came:?} to {junk:?}"
        );
        drop(connect(&server));
        assert_answer(&mut peer, "16", "4");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn who_does_not_read_its_answers_holds_up_nobody_and_loses_none() {
    // A short request with a long answer.
    const REQUEST: &str = "5e-324";
    const REQUESTS: usize = 60_000;
    let server = server();
    // One for which the system keeps as little as it can.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let addr: SocketAddr = server.addr().parse().unwrap();
    socket.connect(&addr.into()).unwrap();
    let mut peer = connect_over(&server, socket.into());
    let mut other = connect(&server);
    let frames = [&[0x81, 0x86, 0, 0, 0, 0], REQUEST.as_bytes()]
        .concat()
        .repeat(REQUESTS);
    let mut stream = peer.get_ref().try_clone().unwrap();
    let writer = thread::spawn(move || stream.write_all(&frames).unwrap());
    // In each turn that has one of the other's, the server answers one of those, too, as long as there is room.
    let mut unsent = 0;
    eventually("there is no more room", || {
        (0..500).for_each(|_| assert_answer(&mut other, "9", "3"));
        let before = unsent;
        unsent = unsent_at(server.port);
        0 < unsent && unsent == before
    });
    let answer = Message::text(REQUEST.parse::<f64>().unwrap().sqrt().to_string());
    for _ in 0..REQUESTS {
        assert_eq!(peer.read().unwrap(), answer);
    }
    writer.join().unwrap();
}

#[test]
fn a_signal_says_goodbye_to_idle_clients() {
    let server = server();
    let mut peers = [connect(&server), connect(&server)];
    peers.iter_mut().for_each(|peer| assert_answer(peer, "4", "2"));
    server.stop(libc::SIGTERM).assert_success("stopped\n");
    peers.iter_mut().for_each(assert_goodbye);
}
