//! The chat: members by `tungstenite` over the standard library's sockets, and clients that are none.

use std::collections::HashMap;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::Instant;

use socket2::{Domain, Socket, Type};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

#[cfg(target_os = "linux")]
use crate::proc::{assert_rests, connections_at, resident_kib};
use crate::running::{Client, PATIENCE, Server, eventually, once, room_for};

type Member = WebSocket<TcpStream>;

fn chat(options: &[&str]) -> Server {
    Server::start("web_socket_chat", options)
}

fn join(server: &Server) -> Member {
    join_over(server, TcpStream::connect(server.addr()).unwrap())
}

fn join_over(server: &Server, stream: TcpStream) -> Member {
    try_join(server, stream).unwrap()
}

/// None if the server ends the connection first.
fn try_join(server: &Server, stream: TcpStream) -> Option<Member> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let joined = tungstenite::client(format!("ws://{}/", server.addr()), stream);
    joined.ok().map(|(member, _)| member)
}

/// That what one says all hear.
#[track_caller]
fn assert_talk(members: &mut [&mut Member]) {
    for speaker in 0..members.len() {
        let message = Message::text(format!("this is {speaker}"));
        members[speaker].send(message.clone()).unwrap();
        for member in &mut *members {
            assert_eq!(member.read().unwrap(), message);
        }
    }
}

/// That the server says goodbye. The library answers.
#[track_caller]
fn assert_goodbye(member: &mut Member) {
    match member.read().unwrap() {
        Message::Close(Some(frame)) => assert_eq!(frame.code, CloseCode::Away),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_closed(member: &mut Member) {
    assert!(matches!(member.read(), Err(tungstenite::Error::ConnectionClosed)));
}

#[test]
fn members_hear_what_all_say_in_one_order() {
    const EACH: usize = 100;
    let server = chat(&[]);
    let mut members: Vec<Member> = (0..4).map(|_| join(&server)).collect();
    // The last one only listens.
    let mut listener = members.pop().unwrap();
    let count = members.len() * EACH;
    let hear = |member: &mut Member| -> Vec<Message> { (0..count).map(|_| member.read().unwrap()).collect() };
    let heard: Vec<Vec<Message>> = thread::scope(|scope| {
        let speak = |(speaker, mut member): (usize, Member)| {
            for number in 0..EACH {
                let text = format!("{speaker} {number}");
                let message = if number.is_multiple_of(2) {
                    Message::text(text)
                } else {
                    Message::binary(text.into_bytes())
                };
                member.send(message).unwrap();
            }
            hear(&mut member)
        };
        let threads: Vec<_> = members
            .into_iter()
            .enumerate()
            .map(|member| scope.spawn(move || speak(member)))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let talk = hear(&mut listener);
    assert!(heard.iter().all(|heard| *heard == talk));
    let mut numbers: HashMap<String, usize> = HashMap::new();
    for message in talk {
        let said = String::from_utf8(message.clone().into_data().to_vec()).unwrap();
        let (speaker, number) = said.split_once(' ').unwrap();
        let next = numbers.entry(speaker.to_owned()).or_default();
        assert_eq!(number, next.to_string(), "of {speaker}");
        assert_eq!(message.is_text(), next.is_multiple_of(2));
        *next += 1;
    }
}

#[test]
fn who_joins_hears_what_is_said_from_then_on() {
    let server = chat(&[]);
    let mut first = join(&server);
    assert_talk(&mut [&mut first]);
    let mut second = join(&server);
    assert_talk(&mut [&mut first, &mut second]);
    first.close(None).unwrap();
    assert!(matches!(first.read(), Ok(Message::Close(_))));
    assert_closed(&mut first);
    drop(join(&server));
    assert_talk(&mut [&mut second]);
}

#[test]
fn the_page_is_on_the_same_port() {
    let server = chat(&[]);
    let mut member = join(&server);
    for pieces in [1, 3, 100] {
        let mut client = server.client();
        client.stream().set_nodelay(true).unwrap();
        for piece in b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".chunks(pieces) {
            client.send(piece);
        }
        let mut answer = String::new();
        client.lines.read_to_string(&mut answer).unwrap();
        let (head, page) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(
            head.contains(&format!("\r\nContent-Length: {}\r\n", page.len())),
            "{head}"
        );
        assert!(page.contains("new WebSocket("), "{page}");
    }
    assert_talk(&mut [&mut member]);
}

#[test]
fn who_asks_for_something_else_is_told_and_disturbs_nobody() {
    let server = chat(&[]);
    let mut member = join(&server);
    // Who is silent, or in the middle of a request, meanwhile.
    let (_silent, slow) = (server.client(), server.client());
    slow.send("GET / HTTP/1.1\r\nHost: loc");
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    let cases = [
        ("GET /favicon.ico HTTP/1.1\r\n\r\n", "HTTP/1.1 426 "),
        ("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 405 "),
        (&format!("GET / HTTP/1.1\r\n{upgrade}\r\n"), "HTTP/1.1 400 "),
        (
            &format!("GET / HTTP/1.1\r\nCookie: {}\r\n\r\n", "x".repeat(20_000)),
            "HTTP/1.1 431 ",
        ),
        (&"GET / HTTP/1.1\r\nCookie: x\r\n".repeat(1000), "HTTP/1.1 431 "),
        ("hello\r\n\r\n", "HTTP/1.1 400 "),
        ("\u{16}\u{3}\u{1}\u{2}\n\r\n", "HTTP/1.1 400 "),
        ("\r\n \r\n", "HTTP/1.1 400 "),
        ("GET / HTTP/1.1\r\n", ""),
        ("\r\n", ""),
        ("", ""),
    ];
    for (request, answer) in cases {
        let mut client = server.client();
        client.send(request);
        client.says_no_more();
        let mut came = Vec::new();
        // What it sent beyond may be why it is reset.
        let _ = client.lines.read_to_end(&mut came);
        let came = String::from_utf8(came).unwrap();
        assert!(
            came.starts_with(answer) && came.is_empty() == answer.is_empty(),
            "{came:?} to {request:?}"
        );
        assert_talk(&mut [&mut member]);
    }
    slow.send("alhost\r\n\r\n");
    let mut slow = slow;
    assert_eq!(slow.line(), "HTTP/1.1 200 OK\r");
}

#[test]
fn a_member_that_breaks_the_protocol_or_says_too_much_is_told_and_disturbs_nobody() {
    let server = chat(&[]);
    let mut member = join(&server);
    let longest = Message::text("x".repeat(4096));
    member.send(longest.clone()).unwrap();
    assert_eq!(member.read().unwrap(), longest);
    // A reserved bit; a text that isn't UTF-8; one byte too many.
    let too_long = [&[0x82, 0xfe, 0x10, 0x01, 0, 0, 0, 0], &[0; 4097][..]].concat();
    for (frame, code) in [
        (&[0xc1, 0x80, 0, 0, 0, 0][..], CloseCode::Protocol),
        (&[0x81, 0x81, 0, 0, 0, 0, 0xff], CloseCode::Invalid),
        (&too_long, CloseCode::Size),
    ] {
        let mut other = join(&server);
        std::io::Write::write_all(other.get_mut(), frame).unwrap();
        match other.read().unwrap() {
            Message::Close(Some(frame)) => assert_eq!(frame.code, code),
            other => panic!("{other:?} instead of {code:?}"),
        }
        assert_talk(&mut [&mut member]);
    }
}

#[test]
fn whoever_takes_too_long_to_ask_is_dropped() {
    let server = chat(&["--patience", "0.3"]);
    // On a busy machine it may take too long, too.
    let mut member = (0..20)
        .find_map(|_| try_join(&server, TcpStream::connect(server.addr()).unwrap()))
        .unwrap();
    let (mut silent, mut slow) = (server.client(), server.client());
    slow.send("GET / HTTP/1.1\r\n");
    silent.assert_end();
    slow.assert_end();
    // Members are silent as long as they like.
    assert_talk(&mut [&mut member]);
}

#[test]
fn a_signal_tells_all_members_and_ends_the_chat_at_once() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        once("the end after a signal", || {
            let server = chat(&["--goodbye", "600"]);
            // It is accepted before the others.
            let mut silent = server.client();
            let mut members: Vec<Member> = (0..20).map(|_| join(&server)).collect();
            assert_talk(&mut members.iter_mut().collect::<Vec<_>>());
            let begin = Instant::now();
            server.example.signal(signal);
            for member in &mut members {
                assert_goodbye(member);
                assert_closed(member);
            }
            server.example.assert_line("stopped");
            let took = begin.elapsed();
            server.example.end().assert_success("");
            silent.assert_end();
            took
        });
    }
}

#[test]
fn thousands_of_members_are_told_what_one_says_and_that_the_chat_is_over() {
    let server = chat(&[]);
    let mut members: Vec<Member> = (0..room_for(2500)).map(|_| join(&server)).collect();
    let last = members.len() - 1;
    for speaker in [0, last] {
        let message = Message::text(format!("hello from {speaker}"));
        members[speaker].send(message.clone()).unwrap();
        for member in &mut members {
            assert_eq!(member.read().unwrap(), message);
        }
    }
    server.example.signal(libc::SIGINT);
    members.iter_mut().for_each(assert_goodbye);
    server.example.end().assert_success("stopped\n");
}

#[test]
fn members_that_answer_no_goodbye_have_as_long_as_it_may_take() {
    let server = chat(&["--goodbye", "0.5"]);
    let mut member = join(&server);
    assert_talk(&mut [&mut member]);
    let begin = Instant::now();
    server.stop(libc::SIGINT).assert_success("stopped\n");
    assert!(begin.elapsed().as_millis() >= 500, "{:?}", begin.elapsed());
    assert_goodbye(&mut member);
}

#[test]
fn a_second_signal_ends_the_goodbye() {
    let server = chat(&["--goodbye", "600"]);
    let mut member = join(&server);
    assert_talk(&mut [&mut member]);
    server.example.signal(libc::SIGINT);
    // Read by hand, so that nobody answers.
    member.get_mut().read_exact(&mut [0; 4]).unwrap();
    server.stop(libc::SIGINT).assert_success("stopped\n");
}

/// One for which the system keeps as little as it can.
#[cfg(target_os = "linux")]
fn join_slowly(server: &Server) -> Member {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket
        .connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, server.port)).into())
        .unwrap();
    join_over(server, socket.into())
}

#[cfg(target_os = "linux")]
fn message(number: usize) -> Message {
    Message::text(format!("{number:04096}"))
}

/// One says something that all of these hear.
#[cfg(target_os = "linux")]
fn say(members: &mut [Member; 2], number: usize) {
    let message = message(number);
    members[0].send(message.clone()).unwrap();
    for member in members {
        assert_eq!(member.read().unwrap(), message);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn members_that_do_not_read_harm_nobody_and_are_dropped() {
    const SLOW: usize = 10;
    let server = chat(&[]);
    let mut members = [join(&server), join(&server)];
    say(&mut members, 0);
    let before = resident_kib(&server.example);
    let slow: Vec<Member> = (0..SLOW).map(|_| join_slowly(&server)).collect();
    assert_eq!(connections_at(server.port), 2 + SLOW);
    let (mut said, mut most) = (0, 0);
    eventually("those that don't read are dropped", || {
        for _ in 0..100 {
            say(&mut members, said);
            said += 1;
        }
        most = most.max(resident_kib(&server.example));
        connections_at(server.port) == 2
    });
    // What is kept for those that are behind is four megabytes, once.
    let took = most.saturating_sub(before);
    assert!(
        took < 12 * 1024,
        "{took} KiB for {SLOW} that don't read, {said} messages"
    );
    for mut member in slow {
        let heard = (0..)
            .take_while(|&number| member.read().is_ok_and(|heard| heard == message(number)))
            .count();
        assert!(0 < heard && heard < said, "{heard} of {said}");
    }
    say(&mut members, said);
}

#[cfg(target_os = "linux")]
#[test]
fn a_member_that_reads_late_hears_all_and_the_goodbye() {
    const COUNT: usize = 900;
    let server = chat(&["--goodbye", "600"]);
    let mut members = [join(&server), join(&server)];
    let mut late = join_slowly(&server);
    (0..COUNT).for_each(|number| say(&mut members, number));
    server.example.signal(libc::SIGINT);
    for member in &mut members {
        assert_goodbye(member);
        assert_closed(member);
    }
    for number in 0..COUNT {
        assert_eq!(late.read().unwrap(), message(number));
    }
    assert_goodbye(&mut late);
    assert_closed(&mut late);
    server.example.end().assert_success("stopped\n");
}

#[cfg(target_os = "linux")]
#[test]
fn when_descriptors_run_out_the_members_go_on_and_others_join_later() {
    let server = chat(&["--patience", "600"]);
    let mut members = [join(&server), join(&server)];
    let idle = server.client();
    let process = server.example.id().try_into().unwrap();
    rlimit::prlimit(process, rlimit::Resource::NOFILE, Some((32, 32)), None).unwrap();
    let silent: Vec<Client> = (0..40).map(|_| server.client()).collect();
    let error = server.example.error_line();
    assert!(error.contains("too many open files"), "{error}");
    say(&mut members, 1);
    assert_rests(&server.example, &idle);
    drop(silent);
    say(&mut members, 2);
    assert_talk(&mut [&mut join(&server)]);
    members.iter_mut().for_each(|member| drop(member.read().unwrap()));
    say(&mut members, 3);
}
