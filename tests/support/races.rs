//! What the tests of races between addresses share.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use wakesock::{Error, TcpSocket};

use super::timed;

/// How long an address is given before the next one is tried beside it.
pub const DELAY: Duration = Duration::from_millis(250);

/// Checks that both ends are what they say, and that this is all there is at the server.
#[track_caller]
pub fn assert_connected(socket: &TcpSocket, server: &TcpListener) {
    assert!(socket.is_open() && !socket.is_error(), "{socket:?}");
    let (_peer, from) = server.accept().unwrap();
    assert_eq!(socket.local_addr().unwrap(), from);
    assert_eq!(socket.peer_addr().unwrap(), server.local_addr().unwrap());
}

/// Runs what is to take `least`, never less, and less than `most` unless the machine is busy: then it may try again.
#[track_caller]
pub fn takes(least: Duration, most: Duration, mut run: impl FnMut()) {
    let mut seen = Vec::new();
    while seen.len() < 20 {
        let ((), took) = timed(&mut run);
        assert!(took >= least, "after {took:?}, and so before {least:?} had passed");
        if took < most {
            return;
        }
        seen.push(took);
    }
    panic!("never within {most:?}: {seen:?}");
}

/// The attempts that an error names.
#[track_caller]
pub fn attempts(error: &Error) -> Vec<(SocketAddr, ErrorKind)> {
    let Error::Connect { attempts } = error else {
        panic!("{error:?}")
    };
    attempts.iter().map(|(addr, source)| (*addr, source.kind())).collect()
}
