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
    if link.role() == Role::Client && !operation.is_zero() {
        let _ = read_away(socket, operation);
    }
    drop_connection(socket);
}

/// Ends the connection if all is sent, the answer to the peer's goodbye the last of it, and this is the server.
pub(super) fn end_answered(socket: &mut TcpSocket, link: &Link) {
    if link.role() == Role::Server && matches!(link.reading_ended(), Some(Ok(()))) {
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
    let was_error = socket.is_error();
    let _ = socket.finish(Duration::ZERO);
    socket.close();
    socket.note_in_time();
    if !was_error {
        // What becomes of the connection is no matter any more.
        socket.clear_error();
    }
}
