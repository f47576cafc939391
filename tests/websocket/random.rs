//! Random streams, most of which are nearly right.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;

use wakesock::{Error, Role, TcpSocket, Upgrade, WebSocket};

use crate::any_bytes::check;
#[cfg(feature = "websocket-deflate")]
use crate::any_bytes::{Case, End, MOST, check_at, check_case};
use crate::ends::*;
use crate::opening::{agreement, answering};
use crate::requests::REQUEST;
use crate::support::{Random, begin, block, stream_pair};

/// Some frames, of which a few bytes are others than they should be.
fn nearly_frames(random: &mut Random, role: Role) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..1 + random.below(6) {
        let first = match random.below(8) {
            0 => LAST | PING,
            1 => LAST | PONG,
            2 => LAST | CLOSE,
            3 => CONTINUATION,
            4 => LAST | CONTINUATION,
            5 => TEXT,
            6 => LAST | TEXT,
            _ => LAST | BINARY,
        };
        let length = [0, 1, 2, 5, 125, 126, 300, 5000, 11_000][random.below(9)];
        let length = if first >= LAST | CLOSE { length.min(126) } else { length };
        let text: Vec<u8> = "größer, ".bytes().cycle().take(length).collect();
        let payload = match first {
            first if first == LAST | CLOSE => [&1000_u16.to_be_bytes()[..], b"bye"].concat(),
            _ => text,
        };
        bytes.extend(frame_for(role, first, &payload));
    }
    for _ in 0..random.below(3) {
        let at = random.below(bytes.len());
        bytes[at] = random.next() as u8;
    }
    bytes.truncate(bytes.len() - random.below(bytes.len().min(20)));
    bytes
}

#[test]
fn whatever_comes_means_the_same_in_whatever_pieces() {
    let _test = begin();
    for seed in 1..300 {
        let mut random = Random::new(seed);
        let role = [Role::Client, Role::Server][random.below(2)];
        let bytes = nearly_frames(&mut random, role);
        let cuts: Vec<u8> = (0..1 + random.below(5)).map(|_| 1 + random.below(200) as u8).collect();
        check(&bytes, &cuts);
    }
}

/// Some messages, compressed and in fragments, of which a few bytes are others than they should be.
#[cfg(feature = "websocket-deflate")]
fn nearly_compressed(random: &mut Random, forgets: bool, bits: u8) -> Vec<u8> {
    let new = || flate2::Compress::new_with_window_bits(flate2::Compression::new(6), false, bits);
    let mut compressor = new();
    let mut bytes = Vec::new();
    for _ in 0..1 + random.below(5) {
        if forgets {
            compressor = new();
        }
        let length = [0, 1, 5, 300, 5000, MOST, MOST + 1, 20 * MOST][random.below(8)];
        let what = ["größer, ", "\0", "a text that says the same again and again"][random.below(3)];
        let mut text: Vec<u8> = what.bytes().cycle().take(length).collect();
        if random.below(8) == 0 && length > 0 {
            text[random.below(length)] = random.next() as u8;
        }
        let mut compressed = Vec::with_capacity(length + 1000);
        compressor
            .compress_vec(&text, &mut compressed, flate2::FlushCompress::Sync)
            .unwrap();
        compressed.truncate(compressed.len().saturating_sub(4));
        if random.below(8) == 0 && !compressed.is_empty() {
            let at = random.below(compressed.len());
            compressed[at] = random.next() as u8;
        }
        let kind = [TEXT, BINARY][random.below(2)];
        let (first, second) = compressed.split_at(random.below(compressed.len() + 1));
        bytes.extend(frame_for(Role::Server, 0x40 | kind, first));
        if random.below(3) == 0 {
            bytes.extend(frame_for(Role::Server, LAST | PING, b"between"));
        }
        bytes.extend(frame_for(Role::Server, LAST | CONTINUATION, second));
    }
    if random.below(4) == 0 {
        let at = random.below(bytes.len());
        bytes[at] = random.next() as u8;
    }
    bytes
}

#[cfg(feature = "websocket-deflate")]
#[test]
fn what_is_compressed_means_the_same_in_whatever_pieces() {
    let _test = begin();
    for seed in 1..300 {
        let mut random = Random::new(seed);
        let (forgets, bits) = (random.below(2) == 0, 9 + random.below(7) as u8);
        let bytes = nearly_compressed(&mut random, forgets, bits);
        let cuts: Vec<u8> = (0..1 + random.below(5)).map(|_| 1 + random.below(255) as u8).collect();
        check_at(End::Compressing { forgets, bits }, &bytes, &cuts);
    }
}

#[cfg(feature = "websocket-deflate")]
#[test]
fn what_the_fuzzer_has_kept_means_the_same_in_whatever_pieces() {
    use arbitrary::{Arbitrary, Unstructured};
    let _test = begin();
    let place = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/frames");
    let mut count = 0;
    for entry in std::fs::read_dir(place).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        check_case(&Case::arbitrary_take_rest(Unstructured::new(&bytes)).unwrap());
        count += 1;
    }
    assert!(count > 0, "the corpus is empty");
}

/// Text of which a few bytes are others than they should be, twice there, or missing.
fn nearly(random: &mut Random, text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..random.below(4) {
        let at = random.below(bytes.len());
        let often = [b'\r', b'\n', b':', b' ', b',', b'\t', 0, 0xff, b'\"', b';'];
        match random.below(4) {
            0 => bytes[at] = random.next() as u8,
            1 => bytes[at] = often[random.below(often.len())],
            2 => bytes.insert(at, often[random.below(often.len())]),
            _ => drop(bytes.remove(at)),
        }
    }
    bytes
}

/// What a server makes of these bytes, and what it answers.
fn answer_to(bytes: &[u8], piece: usize) -> (String, String) {
    let (own, mut peer) = stream_pair().unwrap();
    let client = thread::spawn({
        let bytes = bytes.to_vec();
        move || {
            for piece in bytes.chunks(piece) {
                // It may have been refused by now.
                let _ = peer.write_all(piece);
            }
            peer.shutdown(Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            let _ = peer.read_to_end(&mut answer);
            String::from_utf8(answer).unwrap()
        }
    });
    let seen = match Upgrade::read(TcpSocket::from(own)) {
        Ok(upgrade) => {
            let seen = format!("{:?}", upgrade.request());
            drop(upgrade.accept().unwrap());
            seen
        }
        // Why, a beginning may tell in other words than the whole.
        Err(_) => "refused".to_owned(),
    };
    (seen, client.join().unwrap())
}

#[test]
fn whatever_is_asked_for_gets_the_same_answer_in_whatever_pieces() {
    let _test = begin();
    for seed in 1..500 {
        let mut random = Random::new(seed);
        let bytes = nearly(&mut random, REQUEST);
        let at_once = answer_to(&bytes, bytes.len());
        let in_pieces = answer_to(&bytes, 1 + random.below(40));
        assert_eq!(at_once, in_pieces, "{seed}: {}", bytes.escape_ascii());
        // There is one, unless it has not been asked.
        let is_answered = at_once.1.starts_with("HTTP/1.1 ") && at_once.1.ends_with("\r\n\r\n");
        assert!(is_answered || at_once.1.is_empty(), "{seed}: {}", at_once.1);
    }
}

#[test]
fn whatever_is_answered_a_client_agrees_or_says_why_not() {
    let _test = begin();
    for seed in 1..300 {
        let mut random = Random::new(seed);
        let (url, server) = answering(move |head| {
            let more = "\r\nSec-WebSocket-Protocol: a\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
            nearly(&mut random, &agreement(head).replace("\r\n\r\n", more))
        });
        let mut socket = WebSocket::new();
        #[cfg(feature = "websocket-deflate")]
        socket.deflate(true);
        let connecting = block(move || {
            let connected = socket.protocols(&["a"]).connect(&url);
            (connected, socket)
        });
        // It may wait for more, which doesn't come.
        drop(server.join().unwrap());
        let (connected, socket) = connecting.result();
        match connected {
            Ok(()) => assert!(socket.protocol().is_none_or(|protocol| protocol == "a")),
            Err(Error::NotWebSocket { .. } | Error::UnexpectedEof | Error::Io { .. }) => {}
            Err(error) => panic!("{seed}: {error}"),
        }
    }
}
