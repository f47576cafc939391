//! Whatever a peer sends, in whatever pieces it comes: nothing panics, and it means the same.

use std::io::Write;
use std::time::Duration;

use wakesock::{Error, Message, Role, TcpSocket, WebSocket};

use crate::support::stream_pair;

/// What has come of a stream: its messages, and how it ended.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    messages: Vec<Message>,
    end: String,
    pong: Option<Vec<u8>>,
    code: Option<u16>,
}

/// What comes of `bytes`, sent in pieces of which `cuts` says how long they are, again and again.
fn outcome(role: Role, bytes: &[u8], cuts: &[u8]) -> Outcome {
    let (own, mut peer) = stream_pair().unwrap();
    let mut socket = WebSocket::from_upgraded(TcpSocket::from(own), role);
    socket
        .max_message(10_000)
        .close_limit(Duration::ZERO)
        .timeout(Duration::ZERO);
    let mut messages = Vec::new();
    let mut left = bytes;
    let mut cuts = cuts.iter().cycle();
    let mut peer_is_there = true;
    let end = loop {
        match socket.receive() {
            Ok(Some(message)) => messages.push(message),
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
        let at_once = outcome(role, bytes, &[]);
        let in_pieces = outcome(role, bytes, cuts);
        assert_eq!(at_once, in_pieces, "{role:?}: {bytes:x?} by {cuts:?}");
    }
}
