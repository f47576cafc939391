//! WebSockets: both ends, each with the other and with `tungstenite` over the standard library's sockets.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

use crate::running::{Client, Example, PATIENCE, Server, once};

fn server() -> Server {
    Server::of(Example::start("web_socket", &["server", "127.0.0.1:0"]))
}

fn client(port: u16, texts: &[&str]) -> Example {
    let url = format!("ws://127.0.0.1:{port}/");
    Example::start("web_socket", &[&["client", url.as_str()], texts].concat())
}

/// A client of the server, over the standard library.
fn connect(server: &Server) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(server.addr()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (socket, _) = tungstenite::client(format!("ws://{}/", server.addr()), stream).unwrap();
    socket
}

#[track_caller]
fn assert_echoes(socket: &mut WebSocket<TcpStream>, message: Message) {
    socket.send(message.clone()).unwrap();
    assert_eq!(socket.read().unwrap(), message);
}

/// That the server says goodbye and closes the connection. The library answers.
#[track_caller]
fn assert_goodbye(socket: &mut WebSocket<TcpStream>) {
    match socket.read().unwrap() {
        Message::Close(Some(frame)) => assert_eq!(frame.code, CloseCode::Away),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_closed(socket: &mut WebSocket<TcpStream>) {
    assert!(matches!(socket.read(), Err(tungstenite::Error::ConnectionClosed)));
}

/// A server whose threads all wait: for the first word of one client, and for the next one of three.
fn serving_idle_clients() -> (Server, Client, [WebSocket<TcpStream>; 3]) {
    let server = server();
    let silent = server.client();
    let mut clients = [connect(&server), connect(&server), connect(&server)];
    assert_echoes(&mut clients[0], Message::text("hello"));
    #[cfg(target_os = "linux")]
    crate::proc::until_all_sleep(&server.example, 7);
    (server, silent, clients)
}

#[test]
fn the_server_echoes() {
    let server = server();
    let mut client = connect(&server);
    for text in [
        "",
        "hello",
        "höher",
        &"x".repeat(125),
        &"x".repeat(126),
        &"x".repeat(70_000),
    ] {
        assert_echoes(&mut client, Message::text(text));
        assert_echoes(&mut client, Message::binary(text.as_bytes().to_vec()));
    }
    client.send(Message::Ping("there?".into())).unwrap();
    assert_eq!(client.read().unwrap(), Message::Pong("there?".into()));
    client.close(None).unwrap();
    assert!(matches!(client.read(), Ok(Message::Close(_))));
    assert_closed(&mut client);
}

#[test]
fn the_client_prints_what_another_server_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = client(listener.local_addr().unwrap().port(), &["hello", "höher"]);
    let (stream, _) = listener.accept().unwrap();
    let mut server = tungstenite::accept(stream).unwrap();
    for text in ["hello", "höher"] {
        assert_eq!(server.read().unwrap(), Message::text(text));
        server.send(Message::text(text.to_uppercase())).unwrap();
        client.assert_line(&text.to_uppercase());
    }
    match server.read().unwrap() {
        Message::Close(Some(frame)) => assert_eq!(frame.code, CloseCode::Normal),
        other => panic!("{other:?}"),
    }
    assert_closed(&mut server);
    drop(server);
    client.end().assert_success("");
}

#[test]
fn server_and_client_talk() {
    let server = server();
    let long = "x".repeat(100_000);
    let texts = ["hello", "", "höher", &long];
    let output: String = texts.iter().map(|text| format!("{text}\n")).collect();
    client(server.port, &texts).end().assert_success(&output);
}

#[test]
fn a_client_that_speaks_something_else_harms_no_other() {
    let server = server();
    let mut client = connect(&server);
    for wrong in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\x02\x00", b""] {
        let other = server.client();
        other.send(wrong);
        other.says_no_more();
        // Until it is ended.
        let _ = other.stream().read_to_end(&mut Vec::new());
    }
    assert_echoes(&mut client, Message::text("hello"));
}

#[test]
fn a_signal_ends_the_server_and_its_idle_clients_at_once() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        once("the end after a signal", || {
            let (server, mut silent, mut clients) = serving_idle_clients();
            let begin = Instant::now();
            server.example.signal(signal);
            for client in &mut clients {
                assert_goodbye(client);
                assert_closed(client);
            }
            server.example.assert_line("stopped");
            let took = begin.elapsed();
            server.example.end().assert_success("");
            silent.assert_end();
            took
        });
    }
}

#[cfg(target_os = "linux")]
#[test]
fn who_is_in_the_middle_of_a_message_is_answered_before_the_goodbye() {
    use crate::proc::{until_all_sleep, until_received};

    // A text, masked with zeros.
    let frame = [&[0x81, 0x85, 0, 0, 0, 0], &b"hello"[..]].concat();
    let (server, mut silent, mut clients) = serving_idle_clients();
    for client in &mut clients {
        client.get_mut().write_all(&frame[..7]).unwrap();
    }
    until_received(&server);
    until_all_sleep(&server.example, 7);
    server.example.signal(libc::SIGINT);
    silent.assert_end();
    for client in &mut clients {
        client.get_mut().write_all(&frame[7..]).unwrap();
        assert_eq!(client.read().unwrap(), Message::text("hello"));
        assert_goodbye(client);
        assert_closed(client);
    }
    server.example.end().assert_success("stopped\n");
}

#[test]
fn clients_that_answer_no_goodbye_have_a_second() {
    let (server, _silent, _clients) = serving_idle_clients();
    let begin = Instant::now();
    let ended = server.stop(libc::SIGINT);
    assert!(begin.elapsed().as_secs() >= 1, "{:?}", begin.elapsed());
    assert_eq!((ended.code, ended.output.as_str()), (Some(0), "stopped\n"));
}

#[test]
fn a_second_signal_ends_the_goodbye() {
    once("the end after the second signal", || {
        let (server, _silent, mut clients) = serving_idle_clients();
        server.example.signal(libc::SIGINT);
        // Read by hand, so that nobody answers.
        clients[0].get_mut().read_exact(&mut [0; 4]).unwrap();
        let begin = Instant::now();
        server.example.signal(libc::SIGINT);
        server.example.assert_line("stopped");
        let took = begin.elapsed();
        server.example.end().assert_success("");
        took
    });
}

#[test]
fn a_signal_ends_the_client() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = client(listener.local_addr().unwrap().port(), &["hello"]);
    let (stream, _) = listener.accept().unwrap();
    let mut server = tungstenite::accept(stream).unwrap();
    assert_eq!(server.read().unwrap(), Message::text("hello"));
    client.signal(libc::SIGINT);
    let ended = client.end();
    assert_eq!(ended.code, Some(1));
    assert!(ended.errors.contains("shut down"), "{}", ended.errors);
}
