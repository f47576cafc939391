//! Compressed messages.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use wakesock::{Error, Message, TcpSocket, Upgrade, WebSocket};

use crate::allocated::most_allocated;
use crate::ends::*;
use crate::opening::{agreement, answering, header, read_head};
use crate::support::{PATIENCE, begin, listener, pair, pattern};

/// What is worth compressing.
fn text(length: usize) -> String {
    "the same again and again, "
        .chars()
        .cycle()
        .take(length)
        .collect::<String>()
}

/// A server's end and a client's, which have agreed to compress.
fn two_ends_that_compress() -> (WebSocket, WebSocket) {
    let (listener, addr) = listener();
    let serving = thread::spawn(move || {
        let mut socket = WebSocket::new();
        socket.deflate(true).accept(&listener).unwrap();
        socket
    });
    let mut client = WebSocket::new();
    client.deflate(true).connect(&format!("ws://{addr}/")).unwrap();
    (serving.join().unwrap(), client)
}

/// The server's end, and a client that does by hand what it does, with its offer and what it was answered.
fn with_offer(offer: &str) -> (WebSocket, TcpStream, Option<String>) {
    let (socket, mut client) = pair();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: {offer}\r\n\r\n"
    );
    client.write_all(request.as_bytes()).unwrap();
    let mut upgrade = Upgrade::read(socket).unwrap();
    upgrade.deflate(true);
    let socket = upgrade.accept().unwrap();
    let head = read_head(&mut client);
    let answer = header(&head, "sec-websocket-extensions").map(str::to_owned);
    (socket, client, answer)
}

#[test]
fn messages_of_all_lengths_go_both_ways() {
    let _test = begin();
    let (mut server, mut client) = two_ends_that_compress();
    for len in [0, 1, 31, 32, 125, 1000, 65_536, 200_000] {
        assert_goes(&mut client, &mut server, text(len));
        assert_goes(&mut server, &mut client, text(len));
        assert_goes(&mut client, &mut server, pattern(len));
        assert_goes(&mut server, &mut client, pattern(len));
    }
}

#[test]
fn fragments_are_compressed_as_one_message() {
    let _test = begin();
    let (mut server, mut client) = two_ends_that_compress();
    client.begin_text(text(1000).as_bytes()).unwrap();
    client.append(b"").unwrap();
    client.ping(b"between").unwrap();
    client.append("\u{df}".as_bytes()).unwrap();
    client.finish(text(1000).as_bytes()).unwrap();
    let expected = format!("{0}\u{df}{0}", text(1000));
    assert_eq!(server.receive().unwrap(), Some(Message::from(expected)));
    client.begin_binary(b"").unwrap();
    client.finish(b"").unwrap();
    assert_eq!(server.receive().unwrap(), Some(Message::from(Vec::new())));
}

#[test]
fn it_is_compressed_in_fact_and_only_where_that_was_agreed() {
    let _test = begin();
    let (mut socket, mut client, answer) = with_offer("permessage-deflate; client_max_window_bits");
    assert_eq!(answer.as_deref(), Some("permessage-deflate"));
    socket.send_text(&text(10_000)).unwrap();
    let (first, _, payload) = read_frame(&mut client).unwrap();
    assert_eq!(first, LAST | 0x40 | TEXT);
    assert!(payload.len() < 1000, "{}", payload.len());
    // RFC 7692, section 7.2.3.1.
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    write(
        &mut client,
        &frame_for(wakesock::Role::Server, LAST | 0x40 | TEXT, &hello),
    );
    assert_eq!(socket.receive().unwrap(), Some(Message::from("Hello")));
    write(&mut client, &frame_for(wakesock::Role::Server, LAST | TEXT, b"plain"));
    assert_eq!(socket.receive().unwrap(), Some(Message::from("plain")));

    let (mut socket, mut client, answer) = with_offer("x-something-else");
    assert_eq!(answer, None);
    socket.send_text(&text(10_000)).unwrap();
    assert_eq!(read_frame(&mut client).unwrap().2.len(), 10_000);
    write(
        &mut client,
        &frame_for(wakesock::Role::Server, LAST | 0x40 | TEXT, &hello),
    );
    assert!(matches!(socket.receive(), Err(Error::Protocol { .. })));
    assert_told(&mut client, 1002);
}

#[test]
fn a_client_offers_to_forget_only_where_nothing_better_is_taken() {
    let _test = begin();
    for (terms, forgets) in [("", false), ("; client_no_context_takeover", true)] {
        let (url, server) = answering(move |head| {
            let offers: Vec<&str> = header(head, "sec-websocket-extensions").unwrap().split(", ").collect();
            let offers_to_forget = offers
                .iter()
                .map(|offer| offer.contains("; client_no_context_takeover"));
            assert_eq!(offers_to_forget.collect::<Vec<_>>(), [false, true], "{offers:?}");
            let extension = format!("Sec-WebSocket-Extensions: permessage-deflate{terms}\r\n\r\n");
            let agreement = agreement(head);
            (agreement.strip_suffix("\r\n").unwrap().to_owned() + &extension).into_bytes()
        });
        let mut client = WebSocket::new();
        client.deflate(true).connect(&url).unwrap();
        let (_, mut stream) = server.join().unwrap();
        let [first, second] = [(); 2].map(|()| {
            client.send_text(&text(1000)).unwrap();
            read_frame(&mut stream).unwrap().2
        });
        assert!(first.len() < 100, "{}", first.len());
        assert_eq!(first == second, forgets, "{first:?}, then {second:?}");
    }
}

#[test]
fn only_the_first_frame_of_a_message_says_that_it_is_compressed() {
    let _test = begin();
    for (first, second) in [(0x40 | TEXT, LAST | 0x40 | CONTINUATION), (0x40 | LAST | PING, 0)] {
        let (mut socket, mut client, _) = with_offer("permessage-deflate");
        write(&mut client, &frame_for(wakesock::Role::Server, first, b""));
        write(&mut client, &frame_for(wakesock::Role::Server, second, b""));
        assert!(matches!(socket.receive(), Err(Error::Protocol { .. })));
        assert_told(&mut client, 1002);
    }
}

#[test]
fn what_is_not_compressed_so_is_told_by_1002() {
    let _test = begin();
    let (mut socket, mut client, _) = with_offer("permessage-deflate");
    write(
        &mut client,
        &frame_for(wakesock::Role::Server, LAST | 0x40 | TEXT, &[0xff; 20]),
    );
    assert!(matches!(socket.receive(), Err(Error::Protocol { .. })));
    assert_told(&mut client, 1002);
}

#[test]
fn a_text_is_looked_at_after_it_is_decompressed() {
    let _test = begin();
    let (mut server, mut client) = two_ends_that_compress();
    let mut bytes = text(1000).into_bytes();
    bytes.push(0xff);
    client.send_binary(&bytes).unwrap();
    assert_eq!(server.receive().unwrap(), Some(Message::from(bytes)));
    let (mut socket, mut client, _) = with_offer("permessage-deflate");
    // A block that is stored: 0xff.
    let stored = [0x00, 0x01, 0x00, 0xfe, 0xff, 0xff, 0x00];
    write(
        &mut client,
        &frame_for(wakesock::Role::Server, LAST | 0x40 | TEXT, &stored),
    );
    assert!(matches!(socket.receive(), Err(Error::Protocol { .. })));
    assert_told(&mut client, 1007);
}

#[test]
fn a_bomb_is_told_by_1009() {
    let _test = begin();
    let (mut server, mut client) = two_ends_that_compress();
    server.max_message(1_000_000);
    let sending = thread::spawn(move || {
        client.send_binary(&vec![0; 16 << 20]).unwrap();
        assert_eq!(client.receive().unwrap(), None);
        client.close_code()
    });
    assert!(matches!(
        server.receive(),
        Err(Error::MessageTooLong { limit: 1_000_000 })
    ));
    assert_eq!(sending.join().unwrap(), Some(1009));
}

#[test]
fn a_letter_may_be_divided_wherever_a_compressed_text_is() {
    let _test = begin();
    for (text, is_text) in [
        (&b"gr\xc3\xb6\xc3\x9fer"[..], true),
        (b"\xf0\x9f\x90\x8c", true),
        (b"gr\xc3(er", false),
        (b"gr\xc3\xb6\xc3", false),
        (b"\xed\xa0\x80", false),
    ] {
        let mut compressor = flate2::Compress::new(flate2::Compression::best(), false);
        let mut compressed = Vec::with_capacity(1000);
        for byte in text {
            // Each one for itself, so that all of it has come when its fragment has.
            compressor
                .compress_vec(&[*byte], &mut compressed, flate2::FlushCompress::Sync)
                .unwrap();
        }
        compressed.truncate(compressed.len() - 4);
        for cut in 0..=compressed.len() {
            let (mut socket, mut client, _) = with_offer("permessage-deflate");
            let (first, second) = compressed.split_at(cut);
            let first = frame_for(wakesock::Role::Server, 0x40 | TEXT, first);
            let second = frame_for(wakesock::Role::Server, LAST | CONTINUATION, second);
            write(&mut client, &[first, second].concat());
            let received = socket.receive();
            match is_text {
                true => assert_eq!(received.unwrap().unwrap().as_bytes(), text, "{cut}"),
                false => {
                    assert!(matches!(received, Err(Error::Protocol { .. })), "{cut}: {received:?}");
                    assert_told(&mut client, 1007);
                }
            }
        }
    }
}

/// What there is beside a message: a window and tables to decompress by, what was read ahead, a step of the room that is
/// made.
const STATE: usize = 200_000;

#[test]
fn a_bomb_takes_no_more_than_a_message_may() {
    let _test = begin();
    let mut compressor = flate2::Compress::new(flate2::Compression::best(), false);
    let mut bomb = Vec::with_capacity(1 << 20);
    compressor
        .compress_vec(&vec![0; 64 << 20], &mut bomb, flate2::FlushCompress::Sync)
        .unwrap();
    for fragment in [bomb.len(), 1000, 1] {
        let (mut socket, mut client, _) = with_offer("permessage-deflate");
        let mut bytes = frame_for(wakesock::Role::Server, 0x40 | BINARY, b"");
        for fragment in bomb.chunks(fragment) {
            bytes.extend(frame_for(wakesock::Role::Server, CONTINUATION, fragment));
        }
        let sending = thread::spawn(move || {
            // It is closed in the middle.
            let _ = client.write_all(&bytes);
        });
        socket.max_message(1_000_000);
        let (received, most) = most_allocated(|| socket.receive());
        println!("a bomb in fragments of {fragment} bytes: {most} bytes");
        assert!(
            matches!(received, Err(Error::MessageTooLong { limit: 1_000_000 })),
            "{received:?}"
        );
        // A frame may be as long as a message, before it is decompressed.
        assert!(most <= 1_000_000 + STATE, "{most} bytes");
        sending.join().unwrap();
    }
}

#[test]
fn many_bombs_take_no_more_than_one() {
    let _test = begin();
    let (mut server, mut client) = two_ends_that_compress();
    server.max_message(1_000_000);
    let sending = thread::spawn(move || {
        for _ in 0..30 {
            client.send_binary(&vec![0; 1_000_000]).unwrap();
        }
        client
    });
    let ((), most) = most_allocated(|| {
        for _ in 0..30 {
            assert_eq!(server.receive().unwrap().unwrap().as_bytes().len(), 1_000_000);
        }
    });
    println!("30 messages that are as long as one may be: {most} bytes");
    assert!(most <= 2_000_000 + STATE, "{most} bytes");
    drop(sending.join().unwrap());
}

#[test]
fn what_decompresses_to_nothing_for_ever_does_not_outlast_a_limit() {
    let _test = begin();
    let (mut socket, mut client, _) = with_offer("permessage-deflate");
    write(&mut client, &frame_for(wakesock::Role::Server, 0x40 | TEXT, b""));
    // Empty blocks.
    let empty = [0, 0, 0, 0xff, 0xff].repeat(200);
    let frames = frame_for(wakesock::Role::Server, CONTINUATION, &empty).repeat(20);
    let sending = thread::spawn(move || while client.write_all(&frames).is_ok() {});
    let limit = Duration::from_millis(100);
    let (received, most) = most_allocated(|| socket.timeout(limit).receive());
    println!("empty blocks for ever: {most} bytes");
    assert_timeout(&received);
    assert!(most <= STATE, "{most} bytes");
    drop(socket);
    sending.join().unwrap();
}

#[test]
fn who_wants_no_limit_gets_none() {
    let _test = begin();
    let (mut server, mut client) = two_ends_that_compress();
    server.max_message(usize::MAX);
    assert_goes(&mut client, &mut server, text(10_000));
    client.begin_text(text(100).as_bytes()).unwrap();
    client.finish(text(100).as_bytes()).unwrap();
    assert_eq!(server.receive().unwrap(), Some(Message::from(text(100) + &text(100))));
}

#[test]
fn a_limit_between_any_two_bytes_loses_nothing() {
    let _test = begin();
    let (mut socket, mut peer, _) = with_offer("permessage-deflate");
    let expected = [text(500), text(3), text(2000)];
    let mut bytes = Vec::new();
    let mut compressor = flate2::Compress::new(flate2::Compression::best(), false);
    for text in &expected {
        let mut compressed = Vec::with_capacity(10_000);
        compressor
            .compress_vec(text.as_bytes(), &mut compressed, flate2::FlushCompress::Sync)
            .unwrap();
        compressed.truncate(compressed.len() - 4);
        let (first, second) = compressed.split_at(compressed.len() / 2);
        bytes.extend(frame_for(wakesock::Role::Server, 0x40 | TEXT, first));
        bytes.extend(frame_for(wakesock::Role::Server, LAST | CONTINUATION, second));
    }
    socket.timeout(Duration::ZERO);
    let mut received = Vec::new();
    for byte in bytes {
        write(&mut peer, &[byte]);
        match socket.receive() {
            Ok(message) => received.extend(message),
            Err(error) => assert!(matches!(error, Error::Timeout), "{error}"),
        }
    }
    socket.timeout(PATIENCE);
    while received.len() < expected.len() {
        received.extend(socket.receive().unwrap());
    }
    assert_eq!(received, expected.map(Message::from));
}

#[test]
fn a_message_that_was_not_taken_does_not_confuse_those_after_it() {
    let _test = begin();
    let (mut server, mut client) = two_ends_that_compress();
    client.timeout(Duration::ZERO);
    let mut taken = 0_u32;
    let mut random = 1_u32;
    let mut message = || {
        // Hardly to be compressed, so that the connection gets full.
        let bytes = (0..50_000).flat_map(|_| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            random.to_be_bytes()
        });
        bytes.collect::<Vec<u8>>()
    };
    let mut expected = Vec::new();
    let mut refused = 0;
    while refused < 20 {
        let message = message();
        match client.send_binary(&message) {
            Ok(()) => {
                taken += 1;
                expected.push(message);
            }
            Err(error) => {
                assert!(matches!(error, Error::Timeout), "{error}");
                refused += 1;
            }
        }
    }
    assert!(taken > 1);
    let receiving = thread::spawn(move || {
        for message in expected {
            assert!(server.receive().unwrap().unwrap().as_bytes() == message);
        }
        server.receive().unwrap()
    });
    client.timeout(PATIENCE).flush().unwrap();
    client.send_text(&text(1000)).unwrap();
    assert_eq!(receiving.join().unwrap(), Some(Message::from(text(1000))));
}

#[test]
fn a_server_that_was_not_told_to_compress_does_not() {
    let _test = begin();
    let (listener, addr) = listener();
    let serving = thread::spawn(move || {
        let socket: TcpSocket = listener.accept_new().unwrap();
        WebSocket::upgrade(socket).unwrap()
    });
    let mut client = WebSocket::new();
    client.deflate(true).connect(&format!("ws://{addr}/")).unwrap();
    let mut server = serving.join().unwrap();
    assert_goes(&mut client, &mut server, text(1000));
    assert_goes(&mut server, &mut client, text(1000));
}

#[test]
fn halves_compress_too() {
    let _test = begin();
    let (server, client) = two_ends_that_compress();
    let ends = [server, client].map(|socket| {
        let (mut reader, mut writer) = socket.split();
        let sending = thread::spawn(move || {
            for at in 0..200 {
                writer.send_text(&text(at * 50)).unwrap();
            }
            writer
        });
        let receiving = thread::spawn(move || {
            for at in 0..200 {
                assert_eq!(reader.receive().unwrap(), Some(Message::from(text(at * 50))));
            }
            reader
        });
        (sending, receiving)
    });
    drop(ends.map(|(sending, receiving)| (sending.join().unwrap(), receiving.join().unwrap())));
}
