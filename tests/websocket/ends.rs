//! Ends of WebSockets, and peers that write and read frames by hand.

use std::io::{Read, Write};
use std::net::TcpStream;

use wakesock::{Error, Message, Role, WebSocket};

use crate::support::{PATIENCE, Stream, pair, std_pair, unix_pair};

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;
pub(crate) const LAST: u8 = 0x80;

/// A server's end and a client's.
pub(crate) fn two_ends() -> (WebSocket, WebSocket) {
    let (server, client) = std_pair();
    server.set_nodelay(true).unwrap();
    (
        WebSocket::from_upgraded(server.into(), Role::Server),
        WebSocket::from_upgraded(client.into(), Role::Client),
    )
}

/// One end, and a peer that does by hand what it does.
pub(crate) fn end(role: Role) -> (WebSocket, TcpStream) {
    let (socket, peer) = pair();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    (WebSocket::from_upgraded(socket, role), peer)
}

/// As [`end`], over a connection that stays full once it is.
pub(crate) fn unix_end(role: Role) -> (WebSocket, Stream) {
    let (socket, peer) = unix_pair();
    (WebSocket::from_upgraded(socket, role), peer)
}

/// A frame, as the peer of an end of this role sends it.
pub(crate) fn frame_for(role: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let masked = match role {
        Role::Server => 0x80,
        Role::Client => 0,
    };
    match payload.len() {
        len @ ..126 => bytes.push(masked | len as u8),
        len @ ..65_536 => {
            bytes.push(masked | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(masked | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    if masked == 0 {
        bytes.extend(payload);
        return bytes;
    }
    let mask = [0x12, 0x34, 0x56, 0x78];
    bytes.extend(mask);
    bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    bytes
}

pub(crate) fn close_frame_for(role: Role, code: u16, reason: &str) -> Vec<u8> {
    let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
    frame_for(role, LAST | CLOSE, &payload)
}

/// Reads a frame: its first byte, whether it was masked, and its payload. None at the end of the stream.
pub(crate) fn read_frame(peer: &mut impl Read) -> Option<(u8, bool, Vec<u8>)> {
    let mut head = [0; 2];
    match peer.read(&mut head[..1]).unwrap() {
        0 => return None,
        _ => peer.read_exact(&mut head[1..]).unwrap(),
    }
    let mut long = [0; 8];
    let len = match head[1] & 0x7f {
        126 => {
            peer.read_exact(&mut long[6..]).unwrap();
            u64::from_be_bytes(long)
        }
        127 => {
            peer.read_exact(&mut long).unwrap();
            u64::from_be_bytes(long)
        }
        len => u64::from(len),
    };
    let is_masked = head[1] & 0x80 != 0;
    let mut mask = [0; 4];
    if is_masked {
        peer.read_exact(&mut mask).unwrap();
    }
    let mut payload = vec![0; len as usize];
    peer.read_exact(&mut payload).unwrap();
    payload
        .iter_mut()
        .enumerate()
        .for_each(|(at, byte)| *byte ^= mask[at % 4]);
    Some((head[0], is_masked, payload))
}

/// Checks that the peer is told this, and then sees the end.
#[track_caller]
pub(crate) fn assert_told(peer: &mut impl Read, code: u16) {
    let (first, _, payload) = read_frame(peer).expect("a close frame");
    assert_eq!(first, LAST | CLOSE, "{payload:?}");
    assert_eq!(payload.get(..2), Some(&code.to_be_bytes()[..]), "{payload:?}");
    assert!(read_frame(peer).is_none(), "nothing follows a close frame");
}

/// Receives what is sent at once, in the thread of the sender.
#[track_caller]
pub(crate) fn assert_goes(sender: &mut WebSocket, receiver: &mut WebSocket, message: impl Into<Message>) {
    let message = message.into();
    sender.send(message.clone()).unwrap();
    let received = receiver.receive().unwrap();
    assert!(received.as_ref() == Some(&message), "{received:?}");
}

pub(crate) fn write(peer: &mut impl Write, bytes: &[u8]) {
    peer.write_all(bytes).unwrap();
}

#[track_caller]
pub(crate) fn assert_timeout<T: std::fmt::Debug>(result: &Result<T, Error>) {
    assert!(matches!(result, Err(Error::Timeout)), "{result:?}");
}
