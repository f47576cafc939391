//! The end of the connection below a WebSocket, after the closing handshake: RFC 6455, section 7.1.1.

use std::io::BufRead;
use std::time::Duration;

use super::link::Link;
use super::message::Role;
use crate::error::Result;
use crate::socket::{Ahead, Operation, Step, TcpSocket};

/// Ends the connection after the closing handshake. The server is the first to do so; a client waits for that, as far as the
/// operation's time goes.
pub(super) fn end_connection(socket: &mut TcpSocket, link: &Link, operation: &mut Operation) {
    forgiving(socket, |socket| {
        if link.role() == Role::Client && !operation.is_zero() {
            let _ = read_away(socket, operation);
        }
        drop_connection(socket);
    });
}

/// Runs `end`, which leaves no error: after the closing handshake, what becomes of the connection is no matter any more.
pub(super) fn forgiving<T>(socket: &mut TcpSocket, end: impl FnOnce(&mut TcpSocket) -> T) -> T {
    let was_error = socket.is_error();
    let ended = end(socket);
    if !was_error {
        socket.clear_error();
    }
    ended
}

/// Ends the connection if all is sent, the answer to the peer's goodbye the last of it, and this is the server.
pub(super) fn end_answered(socket: &mut TcpSocket, link: &Link) {
    // In this order: the other half may be about to answer.
    if link.role() == Role::Server && matches!(link.reading_ended(), Some(Ok(()))) && !link.has_unsent() {
        drop_connection(socket);
    }
}

fn read_away(socket: &mut TcpSocket, operation: &mut Operation) -> Result<()> {
    loop {
        let count = socket.buffer().len();
        socket.consume(count);
        if socket.read_ahead_step(operation, Ahead::Usual, &|| false)? == Step::End {
            return Ok(());
        }
        operation.left()?;
    }
}

/// Ends the stream and the connection, so that what was sent arrives even if the peer has sent more. Doesn't block.
pub(super) fn drop_connection(socket: &mut TcpSocket) {
    forgiving(socket, |socket| {
        let _ = socket.finish(Duration::ZERO);
        socket.close();
        socket.note_in_time();
    });
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_server_does_not_end_the_connection_before_its_answer_is_sent() {
        let (near, far) = UnixStream::pair().unwrap();
        let (mut socket, link) = (TcpSocket::from(near), Link::new(Role::Server));
        socket.timeout(Duration::ZERO);
        while socket.put(&[0; 65_536]).is_ok() {}
        link.closed_by_peer(&socket, None);
        end_answered(&mut socket, &link);
        assert!(socket.is_open() && link.has_unsent());
        let mut far = TcpSocket::from(far);
        far.timeout(Duration::ZERO).get_bytes(1 << 30).unwrap();
        assert!(link.push(&socket).unwrap());
        end_answered(&mut socket, &link);
        assert!(!socket.is_open());
    }
}
