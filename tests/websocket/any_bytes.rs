//! Whatever a peer sends, in whatever pieces it comes: nothing panics, and it means the same.

use std::io::Write;
use std::time::Duration;

#[cfg(feature = "websocket-deflate")]
use wakesock::Upgrade;
use wakesock::{Error, Message, Role, TcpSocket, WebSocket};

use crate::support::{Stream, stream_pair};

/// How long a message may be.
pub(crate) const MOST: usize = 10_000;

/// An end of one of these kinds, and its peer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    Plain(Role),
    /// A server's, which has agreed to compress: with or without what was said before, and a window of so many bits.
    #[cfg(feature = "websocket-deflate")]
    Compressing {
        forgets: bool,
        bits: u8,
    },
}

impl End {
    fn open(self) -> (WebSocket, Stream) {
        let (own, peer) = stream_pair().unwrap();
        let own = TcpSocket::from(own);
        match self {
            End::Plain(role) => (WebSocket::from_upgraded(own, role), peer),
            #[cfg(feature = "websocket-deflate")]
            End::Compressing { forgets, bits } => {
                let mut peer = peer;
                let more = if forgets { "; client_no_context_takeover" } else { "" };
                let request = format!(
                    "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                     Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits={bits}{more}\r\n\r\n"
                );
                peer.write_all(request.as_bytes()).unwrap();
                let mut upgrade = Upgrade::read(own).unwrap();
                upgrade.deflate(true);
                (upgrade.accept().unwrap(), peer)
            }
        }
    }
}

/// What has come of a stream: its messages, and how it ended.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    messages: Vec<Message>,
    end: String,
    pong: Option<Vec<u8>>,
    code: Option<u16>,
}

/// What comes of `bytes`, sent in pieces of which `cuts` says how long they are, again and again.
fn outcome(end: End, bytes: &[u8], cuts: &[u8]) -> Outcome {
    let (mut socket, mut peer) = end.open();
    socket
        .max_message(MOST)
        .close_limit(Duration::ZERO)
        .timeout(Duration::ZERO);
    let mut messages = Vec::new();
    let mut left = bytes;
    let mut cuts = cuts.iter().cycle();
    let mut peer_is_there = true;
    let end = loop {
        match socket.receive() {
            Ok(Some(message)) => {
                assert!(message.as_bytes().len() <= MOST);
                messages.push(message);
            }
            Ok(None) => break "closed".to_owned(),
            Err(Error::Timeout) if !left.is_empty() => {
                let length = cuts.next().map_or(left.len(), |&cut| usize::from(cut).max(1));
                let (piece, rest) = left.split_at(length.min(left.len()));
                // It may have been closed by now.
                let _ = peer.write_all(piece);
                left = rest;
            }
            Err(Error::Timeout) if peer_is_there => {
                peer.shutdown(std::net::Shutdown::Write).unwrap();
                peer_is_there = false;
            }
            // Of several faults of what is compressed, pieces may show another first.
            Err(Error::Protocol { .. } | Error::MessageTooLong { .. }) if !matches!(end, End::Plain(_)) => {
                break "a fault".to_owned();
            }
            Err(error) => break error.to_string(),
        }
        assert!(socket.unsent() < 300);
    };
    Outcome {
        messages,
        end,
        pong: socket.pong().map(<[u8]>::to_vec),
        code: socket.close_code(),
    }
}

/// Checks that `bytes` mean the same at once and in pieces, to either end.
pub(crate) fn check(bytes: &[u8], cuts: &[u8]) {
    for role in [Role::Client, Role::Server] {
        check_at(End::Plain(role), bytes, cuts);
    }
}

/// Checks that `bytes` mean the same at once and in pieces, to an end of this kind.
pub(crate) fn check_at(end: End, bytes: &[u8], cuts: &[u8]) {
    let at_once = outcome(end, bytes, &[]);
    let in_pieces = outcome(end, bytes, cuts);
    assert_eq!(at_once, in_pieces, "{end:?}: {bytes:x?} by {cuts:?}");
}

/// What a fuzzer makes up: how what is made up comes, that, and the pieces that it comes in.
#[cfg(feature = "websocket-deflate")]
pub(crate) type Case = (u8, Vec<u8>, Vec<u8>);

/// Checks that a case means the same at once and in pieces: as frames, or as what is inside of a compressed message.
#[cfg(feature = "websocket-deflate")]
pub(crate) fn check_case((how, bytes, cuts): &Case) {
    let end = End::Compressing {
        forgets: how & 8 != 0,
        bits: 9 + how % 8 % 7,
    };
    match how >> 6 {
        0 | 1 => check(bytes, cuts),
        2 => check_at(end, bytes, cuts),
        _ => check_at(end, &compressed(bytes), cuts),
    }
}

/// Frames of a client with a mask that changes nothing: two fragments of a compressed text with this inside, and a plain one
/// behind it.
#[cfg(feature = "websocket-deflate")]
fn compressed(bytes: &[u8]) -> Vec<u8> {
    let frame = |first: u8, payload: &[u8]| {
        let length = (payload.len() as u16).to_be_bytes();
        [&[first, 0x80 | 126, length[0], length[1], 0, 0, 0, 0], payload].concat()
    };
    let bytes = &bytes[..bytes.len().min(60_000)];
    let (first, second) = bytes.split_at(bytes.len() / 2);
    [frame(0x41, first), frame(0x80, second), frame(0x81, b"behind it")].concat()
}
