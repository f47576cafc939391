//! The two directions of a WebSocket, for two threads.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tungstenite::protocol::frame::coding::Data;

use super::client::Client;
use super::forward::{forward_to_socket, two_ends};
use super::limits::Limits;
use super::link::Link;
use super::message::Message;
use super::receiving::Receiving;
use super::sending::{self, Sending};
use super::{WebSocket, closing};
use crate::deadline::Waiting;
use crate::error::{Error, Result};
use crate::events::WaitEvents;
use crate::opening::SocketId;
use crate::socket::{AsTcpSocket, SocketHandle, TcpReader, TcpSocket, TcpWriter, UnsplitError};

/// The receiving half of a WebSocket: [`WebSocket::split`].
///
/// It answers pings and the peer's close frame, whatever the other half does. Its limits and its errors are its own; a handle,
/// an abort and a close are of the whole connection. Dropping both halves closes it.
///
#[doc = concat!(two_ends!("let (mut reader, mut writer) = socket.split();"), "use std::thread;\n\n",
    "let echo = thread::spawn(move || -> Result<(), wakesock::Error> {\n",
    "    while let Some(message) = peer.receive()? {\n",
    "        peer.send(message)?;\n",
    "    }\n",
    "    Ok(())\n",
    "});\n",
    "let answers = thread::spawn(move || -> Result<usize, wakesock::Error> {\n",
    "    let mut count = 0;\n",
    "    while reader.receive()?.is_some() {\n",
    "        count += 1;\n",
    "    }\n",
    "    Ok(count)\n",
    "});\n",
    "for question in [\"one\", \"two\", \"three\"] {\n",
    "    writer.send(question)?;\n",
    "}\n",
    "writer.close(1000, \"\")?;\n",
    "assert_eq!(answers.join().unwrap()?, 3);\n",
    "# echo.join().unwrap()?;\n",
    "# Ok::<(), wakesock::Error>(())\n```")]
pub struct WebSocketReader {
    half: TcpReader,
    link: Arc<Link>,
    receiving: Receiving,
    limits: Limits,
    /// What no half needs, and `unsplit` gives back.
    opened: (usize, Client, Option<Box<str>>),
}

/// The sending half of a WebSocket: [`WebSocket::split`].
///
/// What the page of [`WebSocketReader`] says of halves holds for it. Where its limit leaves something unsent, the other half
/// goes on with it while it receives.
///
#[doc = concat!(two_ends!("let (_reader, mut writer) = socket.split();"), "writer.send(\"hello\")?;\n",
    "assert_eq!(peer.receive()?.unwrap().as_text(), Some(\"hello\"));\n",
    "# Ok::<(), wakesock::Error>(())\n```")]
pub struct WebSocketWriter {
    half: TcpWriter,
    link: Arc<Link>,
    sending: Sending,
    limits: Limits,
}

impl WebSocket {
    /// Splits the WebSocket into halves, so that one thread can receive while another sends.
    ///
    /// Both may block at the same time, each with its own limits, and neither holds the other up. A WebSocket whose opening handshake
    /// isn't over is closed. [`WebSocketReader::unsplit`] joins the halves again.
    ///
    #[doc = concat!(two_ends!(""), "let (mut reader, mut writer) = socket.split();\n",
        "writer.send(\"question\")?;\n",
        "# peer.send(\"answer\")?;\n",
        "assert_eq!(reader.receive()?.unwrap().as_text(), Some(\"answer\"));\n",
        "let socket = reader.unsplit(writer).unwrap();\n",
        "assert!(socket.is_open());\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn split(mut self) -> (WebSocketReader, WebSocketWriter) {
        if self.connecting.take().is_some() {
            self.socket.close();
        }
        let (reader, writer) = self.socket.split();
        let reader = WebSocketReader {
            half: reader,
            link: Arc::clone(&self.link),
            receiving: self.receiving,
            limits: self.limits,
            opened: (self.max_head, self.client, self.protocol),
        };
        let writer = WebSocketWriter {
            half: writer,
            link: self.link,
            sending: self.sending,
            limits: self.limits,
        };
        (reader, writer)
    }
}

impl WebSocketReader {
    /// Joins the halves again. The limits are the reader's.
    ///
    /// # Errors
    ///
    /// Gives both back if they are not of the same connection.
    ///
    /// ```
    /// use wakesock::WebSocket;
    ///
    /// let (reader, _) = WebSocket::new().split();
    /// let (_, stranger) = WebSocket::new().split();
    /// assert!(reader.unsplit(stranger).is_err());
    /// ```
    pub fn unsplit(self, writer: WebSocketWriter) -> Result<WebSocket, UnsplitError<WebSocketReader, WebSocketWriter>> {
        if !Arc::ptr_eq(&self.link, &writer.link) {
            return Err(UnsplitError::new(self, writer));
        }
        let WebSocketWriter {
            half,
            link,
            sending,
            limits,
        } = writer;
        match self.half.unsplit(half) {
            Ok(socket) => {
                let (max_head, client, protocol) = self.opened;
                Ok(WebSocket {
                    socket,
                    link,
                    receiving: self.receiving,
                    sending,
                    limits: self.limits,
                    max_head,
                    client,
                    connecting: None,
                    protocol,
                })
            }
            Err(error) => {
                let (reader, half) = error.into_halves();
                let reader = WebSocketReader { half: reader, ..self };
                let writer = WebSocketWriter {
                    half,
                    link,
                    sending,
                    limits,
                };
                Err(UnsplitError::new(reader, writer))
            }
        }
    }

    /// As [`WebSocket::receive`].
    ///
    #[doc = concat!(two_ends!("let (mut reader, _writer) = socket.split();"), "peer.send(\"hello\")?;\n",
        "assert_eq!(reader.receive()?.unwrap().as_text(), Some(\"hello\"));\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn receive(&mut self) -> Result<Option<Message>> {
        self.receiving.receive(self.half.half_mut(), &self.link, self.limits)
    }

    /// As [`WebSocket::wait_message`]. After false, it is the writer that says goodbye, while this half goes on to
    /// [`receive`](WebSocketReader::receive), up to `None`: by [`close`](WebSocketWriter::close) in a thread of its own, or by
    /// [`start_close`](WebSocketWriter::start_close), before that, in this one.
    ///
    #[doc = concat!(two_ends!("let (mut reader, _writer) = socket.split();"), "peer.send(\"hello\")?;\n",
        "assert!(reader.wait_message()?);\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn wait_message(&mut self) -> Result<bool> {
        self.receiving
            .wait_message(self.half.half_mut(), &self.link, self.limits)
    }

    /// As [`WebSocket::pong`].
    ///
    #[doc = concat!(two_ends!("let (reader, _writer) = socket.split();"), "assert_eq!(reader.pong(), None);\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn pong(&self) -> Option<&[u8]> {
        self.receiving.last_pong()
    }

    /// As [`WebSocket::last_pong`].
    ///
    #[doc = concat!(two_ends!("let (reader, _writer) = socket.split();"), "assert_eq!(reader.last_pong(), None);\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn last_pong(&self) -> Option<&[u8]> {
        self.pong()
    }

    /// As [`WebSocket::max_message`].
    ///
    #[doc = concat!(two_ends!("let (mut reader, _writer) = socket.split();"), "reader.max_message(4);\n",
        "peer.send(\"hello\")?;\n",
        "assert!(reader.receive().is_err());\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn max_message(&mut self, bytes: usize) -> &mut Self {
        self.limits.max_message = bytes;
        self
    }

    fn limits_changed(&self) {
        self.receiving.limits_changed(self.half.half(), self.limits);
    }

    fn tcp(&self) -> &TcpSocket {
        self.half.half()
    }

    fn tcp_mut(&mut self) -> &mut TcpSocket {
        self.half.half_mut()
    }
}

impl WebSocketWriter {
    /// As [`WebSocket::send`].
    ///
    #[doc = concat!(two_ends!("let (_reader, mut writer) = socket.split();"), "writer.send(\"hello\")?;\n",
        "assert_eq!(peer.receive()?.unwrap().as_text(), Some(\"hello\"));\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn send(&mut self, message: impl Into<Message>) -> Result<()> {
        self.sending.send(self.half.half_mut(), &self.link, &message.into())
    }

    /// As [`WebSocket::send_text`].
    ///
    #[doc = concat!(two_ends!("let (_reader, mut writer) = socket.split();"), "writer.send_text(\"hello\")?;\n",
        "assert_eq!(peer.receive()?.unwrap().as_text(), Some(\"hello\"));\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn send_text(&mut self, text: &str) -> Result<()> {
        self.sending
            .send_whole(self.half.half_mut(), &self.link, Data::Text, text.as_bytes())
    }

    /// As [`WebSocket::send_binary`].
    ///
    #[doc = concat!(two_ends!("let (_reader, mut writer) = socket.split();"), "writer.send_binary(b\"hello\")?;\n",
        "assert_eq!(peer.receive()?.unwrap().as_bytes(), b\"hello\");\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn send_binary(&mut self, data: &[u8]) -> Result<()> {
        self.sending
            .send_whole(self.half.half_mut(), &self.link, Data::Binary, data)
    }

    /// As [`WebSocket::begin_text`].
    ///
    #[doc = concat!(two_ends!("let (_reader, mut writer) = socket.split();"), "writer.begin_text(b\"hel\")?;\n",
        "writer.finish(b\"lo\")?;\n",
        "assert_eq!(peer.receive()?.unwrap().as_text(), Some(\"hello\"));\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn begin_text(&mut self, data: &[u8]) -> Result<()> {
        self.sending.begin(self.half.half_mut(), &self.link, Data::Text, data)
    }

    /// As [`WebSocket::begin_binary`].
    ///
    #[doc = concat!(two_ends!("let (_reader, mut writer) = socket.split();"), "writer.begin_binary(b\"hel\")?;\n",
        "writer.finish(b\"lo\")?;\n",
        "assert_eq!(peer.receive()?.unwrap().as_bytes(), b\"hello\");\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn begin_binary(&mut self, data: &[u8]) -> Result<()> {
        self.sending.begin(self.half.half_mut(), &self.link, Data::Binary, data)
    }

    /// As [`WebSocket::append`].
    ///
    #[doc = concat!(two_ends!("let (_reader, mut writer) = socket.split();"), "writer.begin_binary(b\"1\")?;\n",
        "writer.append(b\"2\")?;\n",
        "writer.finish(b\"3\")?;\n",
        "assert_eq!(peer.receive()?.unwrap().as_bytes(), b\"123\");\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn append(&mut self, data: &[u8]) -> Result<()> {
        self.sending.append(self.half.half_mut(), &self.link, data, false)
    }

    /// As [`WebSocket::finish`].
    ///
    #[doc = concat!(two_ends!("let (_reader, mut writer) = socket.split();"), "writer.begin_binary(b\"\")?;\n",
        "writer.finish(b\"all\")?;\n",
        "assert_eq!(peer.receive()?.unwrap().as_bytes(), b\"all\");\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn finish(&mut self, data: &[u8]) -> Result<()> {
        self.sending.append(self.half.half_mut(), &self.link, data, true)
    }

    /// As [`WebSocket::ping`]. The answer is the reader's: [`WebSocketReader::pong`].
    ///
    #[doc = concat!(two_ends!("let (_reader, mut writer) = socket.split();"), "writer.ping(b\"there?\")?;\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn ping(&mut self, data: &[u8]) -> Result<()> {
        self.sending.ping(self.half.half_mut(), &self.link, data)
    }

    /// As [`WebSocket::flush`].
    ///
    #[doc = concat!(two_ends!("let (_reader, mut writer) = socket.split();"), "writer.flush()?;\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn flush(&mut self) -> Result<()> {
        sending::flush(self.half.half_mut(), &self.link)
    }

    /// As [`WebSocket::unsent`].
    ///
    #[doc = concat!(two_ends!("let (_reader, writer) = socket.split();"), "assert_eq!(writer.unsent(), 0);\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn unsent(&self) -> usize {
        self.link.unsent(self.half.half())
    }

    /// As [`WebSocket::wants`].
    ///
    #[doc = concat!(two_ends!("let (_reader, writer) = socket.split();"), "assert!(writer.wants().is_empty());\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn wants(&self) -> WaitEvents {
        self.link.wants(self.half.half())
    }

    /// Says goodbye, waits until the other half has received the peer's answer, and closes the connection.
    ///
    /// Another thread has to receive meanwhile, or this waits in vain. What fails there fails here, too. In all else it is as
    /// [`WebSocket::close`]: it blocks for at most [`close_limit`](WebSocketWriter::close_limit), and the connection is closed
    /// whatever is returned.
    ///
    #[doc = concat!(two_ends!("let (mut reader, mut writer) = socket.split();"),
        "let receiving = std::thread::spawn(move || reader.receive());\n",
        "# let client = std::thread::spawn(move || peer.receive());\n",
        "writer.close(1000, \"\")?;\n",
        "assert_eq!(receiving.join().unwrap()?, None);\n",
        "# assert_eq!(client.join().unwrap()?, None);\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn close(&mut self, code: u16, reason: &str) -> Result<()> {
        closing::close_beside_reader(self.half.half_mut(), &self.link, self.limits, code, reason)
    }

    /// As [`WebSocket::start_close`].
    ///
    #[doc = concat!(two_ends!("let (_reader, mut writer) = socket.split();"), "writer.start_close(1000, \"\")?;\n",
        "# let client = std::thread::spawn(move || peer.receive());\n",
        "assert!(writer.send(\"more\").is_err());\n",
        "# drop((_reader, writer));\n",
        "# assert_eq!(client.join().unwrap()?, None);\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn start_close(&mut self, code: u16, reason: &str) -> Result<()> {
        closing::start(self.half.half_mut(), &self.link, code, reason)
    }
}

macro_rules! both_halves {
    ($($Half:ident, $split:literal;)*) => {$(
        impl $Half {
            /// As [`WebSocket::close_limit`].
            ///
            #[doc = concat!(two_ends!($split), "socket.close_limit(std::time::Duration::from_secs(1));\n",
                "# Ok::<(), wakesock::Error>(())\n```")]
            pub fn close_limit(&mut self, limit: impl Into<Option<Duration>>) -> &mut Self {
                self.limits.close = limit.into();
                self.limits_changed();
                self
            }

            /// As [`WebSocket::close_code`].
            ///
            #[doc = concat!(two_ends!($split), "assert_eq!(socket.close_code(), None);\n",
                "# Ok::<(), wakesock::Error>(())\n```")]
            pub fn close_code(&self) -> Option<u16> {
                Some(self.link.peers_close()?.code)
            }

            /// As [`WebSocket::close_reason`].
            ///
            #[doc = concat!(two_ends!($split), "assert_eq!(socket.close_reason(), None);\n",
                "# Ok::<(), wakesock::Error>(())\n```")]
            pub fn close_reason(&self) -> Option<&str> {
                Some(&self.link.peers_close()?.reason)
            }
        }

        forward_to_socket!($Half, two_ends!($split));

        impl AsTcpSocket for $Half {
            fn as_tcp_socket(&self) -> &TcpSocket {
                self.half.half()
            }
        }

        impl fmt::Debug for $Half {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($Half))
                    .field("half", &self.half)
                    .field("unsent", &self.link.unsent(self.half.half()))
                    .finish_non_exhaustive()
            }
        }
    )*};
}

both_halves! {
    WebSocketReader, "let (mut socket, _writer) = socket.split();";
    WebSocketWriter, "let (_reader, mut socket) = socket.split();";
}

impl WebSocketWriter {
    /// Only its own close has that limit.
    fn limits_changed(&self) {}

    fn tcp(&self) -> &TcpSocket {
        self.half.half()
    }

    fn tcp_mut(&mut self) -> &mut TcpSocket {
        self.half.half_mut()
    }
}
