//! A request to a server that serves many clients on one thread, so that nothing may block: read as it comes.

use std::time::Duration;

use wakesock::{AsTcpSocket, Error, TcpSocket};

/// The most bytes of a request.
const LONGEST: usize = 16 * 1024;

/// A client that hasn't asked for everything yet.
pub struct WebRequest {
    socket: TcpSocket,
    /// What has come of its request.
    head: Vec<u8>,
}

impl WebRequest {
    pub fn new(mut socket: TcpSocket) -> Result<WebRequest, Error> {
        socket.timeout(Duration::ZERO);
        // What one says is not to wait until what was said before is acknowledged.
        socket.no_delay()?;
        Ok(WebRequest {
            socket,
            head: Vec::new(),
        })
    }

    /// Reads what has come. Whether that is all of the request, or too much of one.
    pub fn read(&mut self) -> Result<bool, Error> {
        let mut line = Vec::new();
        loop {
            let room = LONGEST.saturating_sub(self.head.len());
            match self.socket.get_line_into(&mut line, room) {
                Ok(true) => {
                    self.head.extend(&line);
                    self.head.extend(b"\r\n");
                    if line.is_empty() {
                        return Ok(true);
                    }
                }
                Ok(false) => return Err(Error::UnexpectedEof),
                Err(Error::Timeout) => {
                    // The rest of the line is still to come; what has come stays in the socket.
                    self.socket.clear_error();
                    return Ok(false);
                }
                Err(Error::LineTooLong { .. }) => {
                    // That is for the answer to say.
                    self.socket.clear_error();
                    return Ok(true);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether it is for the page `/`, and not for a WebSocket.
    pub fn is_for_page(&self) -> bool {
        let is_whole = self.head.ends_with(b"\r\n\r\n");
        let upgrade = b"\r\nupgrade:";
        let mut lines = self.head.windows(upgrade.len());
        is_whole && self.head.starts_with(b"GET / ") && !lines.any(|start| start.eq_ignore_ascii_case(upgrade))
    }

    /// The socket, from which the request can be read again, by [`Upgrade::read`](wakesock::Upgrade::read): that waits for nothing
    /// then.
    pub fn into_socket(mut self) -> TcpSocket {
        self.socket.unread(&self.head);
        self.socket
    }
}

impl AsTcpSocket for WebRequest {
    fn as_tcp_socket(&self) -> &TcpSocket {
        &self.socket
    }
}
