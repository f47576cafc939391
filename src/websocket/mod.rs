//! [`WebSocket`]: whole messages over a [`TcpSocket`], RFC 6455.
//!
//! A WebSocket reads no further than the frame that is under way. What follows a message stays in the socket, where queues
//! and wait events see it. The names of what frames may be and the heads of the handshake are tungstenite's; what blocks, waits
//! and ends is [`TcpSocket`]'s.
//!
//! tungstenite's `WebSocketContext`, which makes messages of frames, is not used. What it has read ahead is hidden from queues,
//! and it has 128 KiB for that, idle or not. Where its `read_buffer_size` is zero it takes no more than its frame, but by 14
//! bytes a read, which are 74,900 for a message of 1 MiB, and keeps the memory of the longest message that has come.

mod accept;
mod client;
mod close;
mod closing;
mod connect;
#[cfg_attr(not(feature = "websocket-deflate"), path = "no_deflate.rs")]
mod deflate;
mod fault;
mod forward;
mod frame;
mod frames;
mod head;
mod header;
mod limits;
mod link;
mod mask;
mod message;
mod receiving;
mod request;
mod response;
mod sending;
mod split;
mod upgrade;
mod url;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tungstenite::protocol::frame::coding::Data;

use self::client::Client;
use self::connect::Connecting;
use self::forward::{forward_to_socket, two_ends};
use self::head::MAX_HEAD;
use self::limits::Limits;
use self::link::Link;
pub use self::message::{Message, Role};
use self::receiving::Receiving;
use self::sending::Sending;
pub use self::split::{WebSocketReader, WebSocketWriter};
pub use self::upgrade::Upgrade;
use crate::deadline::Waiting;
use crate::error::{Error, Result};
use crate::events::WaitEvents;
use crate::opening::SocketId;
use crate::registry::ShutdownRegistry;
use crate::socket::{AsTcpSocket, SocketHandle, TcpSocket};

/// A WebSocket, RFC 6455: an end of a connection that whole messages go through, in both directions.
///
/// Its operations block as those of [`TcpSocket`] do: until their work is done, their [limit](WebSocket::timeout) is over, or
/// a handle, an abort or the registry ends them. A limit or an abort loses nothing, wherever in a message it comes: the next
/// call goes on there.
///
/// Pings are answered, and the peer's closing handshake is, by whatever operation reads. Memory is bounded, whatever the peer
/// does: by [`max_message`](WebSocket::max_message) for what comes, and by one message of this program's for what goes; a
/// length that is only announced takes none. Reading goes on while the peer doesn't read.
///
/// In a [`SocketEventQueue`](crate::SocketEventQueue) or a [`SocketWaitEvent`](crate::SocketWaitEvent) it is a socket like
/// others: what follows a message that was received is reported, wherever it is. Subscribe for
/// [`READ`](WaitEvents::READ) and what it [`wants`](WebSocket::wants). Servers begin with [`Upgrade::wait_head`]; the crate's example
/// [`web_socket_chat`](https://docs.rs/crate/wakesock/latest/source/examples/web_socket_chat.rs) is a whole one.
///
/// Dropping it closes the connection without a word; [`close`](WebSocket::close) says goodbye.
///
/// # Examples
///
/// ```
/// use std::thread;
/// use std::time::Duration;
/// use wakesock::{Error, Message, TcpSocket, WebSocket};
///
/// let mut listener = TcpSocket::new();
/// listener.listen_on("127.0.0.1:0", &Default::default())?;
/// let url = format!("ws://{}/", listener.local_addr()?);
/// let server = thread::spawn(move || -> Result<(), Error> {
///     let mut socket = WebSocket::new();
///     socket.accept(&listener)?;
///     while let Some(message) = socket.receive()? {
///         socket.send(message)?;
///     }
///     assert_eq!(socket.close_reason(), Some("bye"));
///     Ok(())
/// });
///
/// let mut client = WebSocket::new();
/// client.timeout(Duration::from_secs(10));
/// client.connect(&url)?;
/// client.send("hello")?;
/// assert_eq!(client.receive()?, Some(Message::from("hello")));
/// client.close(1000, "bye")?;
/// server.join().unwrap()?;
/// # Ok::<(), Error>(())
/// ```
pub struct WebSocket {
    socket: TcpSocket,
    link: Arc<Link>,
    receiving: Receiving,
    sending: Sending,
    limits: Limits,
    max_head: usize,
    client: Client,
    connecting: Option<Box<Connecting>>,
    protocol: Option<Box<str>>,
}

impl WebSocket {
    /// Makes a WebSocket that is not open yet, in the global registry.
    ///
    /// ```
    /// assert!(!wakesock::WebSocket::new().is_open());
    /// ```
    pub fn new() -> WebSocket {
        WebSocket::with_registry(ShutdownRegistry::global())
    }

    /// Makes a WebSocket that is not open yet, in `registry` instead of the global one.
    ///
    /// ```
    /// use wakesock::{ShutdownRegistry, WebSocket};
    ///
    /// let registry = ShutdownRegistry::new();
    /// assert!(!WebSocket::with_registry(&registry).is_open());
    /// ```
    pub fn with_registry(registry: &ShutdownRegistry) -> WebSocket {
        WebSocket::from_upgraded(TcpSocket::with_registry(registry), Role::Client)
    }

    /// Makes a WebSocket of a connection whose handshake was made elsewhere: `role` is that of this end. Doesn't block.
    ///
    /// Bytes that the socket has read ahead, behind the handshake, are the first ones of this. So a client opens one over a
    /// Unix-domain socket, or in the tunnel of a proxy, whose handshake it makes itself.
    ///
    /// ```
    /// use wakesock::{Message, Role, TcpSocket, WebSocket};
    ///
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = TcpSocket::from(peer);
    /// let mut socket = TcpSocket::from(listener.accept().unwrap().0);
    /// # peer.put_all(b"HELLO\n\x81\x82\0\0\0\0hi")?;
    /// // A handshake of another kind.
    /// assert_eq!(socket.get_line()?.as_deref(), Some("HELLO"));
    /// let mut socket = WebSocket::from_upgraded(socket, Role::Server);
    /// assert_eq!(socket.receive()?, Some(Message::from("hi")));
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    #[doc(alias = "from_raw_socket")]
    pub fn from_upgraded(socket: TcpSocket, role: Role) -> WebSocket {
        let link = Link::new(role);
        WebSocket {
            receiving: Receiving::new(&link),
            socket,
            link: Arc::new(link),
            sending: Sending::default(),
            limits: Limits::default(),
            max_head: MAX_HEAD,
            client: Client::default(),
            connecting: None,
            protocol: None,
        }
    }

    /// Forgets what was of the last connection, before the next one is opened.
    fn begin_opening(&mut self, role: Role) {
        let link = Link::new(role);
        self.receiving = Receiving::new(&link);
        self.link = Arc::new(link);
        self.sending = Sending::default();
        self.connecting = None;
        self.protocol = None;
    }

    /// Fails while the opening handshake isn't over.
    fn opened(&self) -> Result<()> {
        match self.connecting {
            None => Ok(()),
            Some(_) => Err(Error::Closed),
        }
    }

    /// Receives a whole message; `None` once the peer has closed.
    ///
    /// | what happened | returns | and then |
    /// |---|---|---|
    /// | a message is complete | `Ok(Some(message))` | what came behind it is in the socket: queues report it |
    /// | time ran out, anywhere in a frame | `Err(Timeout)` | not sticky: the next call goes on in the middle |
    /// | aborted | `Err(Aborted)` | [`clear_abort`](WebSocket::clear_abort), then go on or [`close`](WebSocket::close) |
    /// | a close frame came | it is answered; `Ok(None)` | the connection is ended; again `Ok(None)` |
    /// | the stream ended without one | `Err(UnexpectedEof)` | sticky |
    /// | closed or shut down by this program | `Err(Closed)`, `Err(Shutdown)` | |
    /// | the peer broke the protocol; its message is too long | it is told so, once, by a close frame; `Err(Protocol)`, `Err(MessageTooLong)` | the connection is closed; sticky, also after `clear_error` |
    ///
    /// A ping is answered in passing; while an answer can't go, because the peer doesn't read, only the newest counts. A pong
    /// is kept for [`pong`](WebSocket::pong).
    ///
    /// After a close frame, a server closes the connection at once. A client waits for the server to do so, within the limit
    /// and [`close_limit`](WebSocket::close_limit).
    ///
    /// Blocks for at most [`timeout`](WebSocket::timeout) in all, however many frames come. A program that is
    /// [stopping](crate::ShutdownRegistry::stop_accepting) doesn't end it: servers wait in [`wait_message`](WebSocket::wait_message).
    ///
    #[doc = concat!(two_ends!(""), "# use wakesock::Message;\n",
        "socket.timeout(std::time::Duration::from_millis(5));\n",
        "assert!(socket.receive().unwrap_err().is_timeout());\n",
        "peer.send(vec![1, 2, 3])?;\n",
        "socket.blocking();\n",
        "assert_eq!(socket.receive()?, Some(Message::Binary(vec![1, 2, 3])));\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    #[doc(alias = "read")]
    pub fn receive(&mut self) -> Result<Option<Message>> {
        self.opened()?;
        self.receiving.receive(&mut self.socket, &self.link, self.limits)
    }

    /// Waits until something of a message is there; false if none will follow, because the peer has closed or this program is
    /// stopping.
    ///
    /// Pings that come meanwhile are answered, and do not count. Once the program is stopping
    /// ([`ShutdownRegistry::stop_accepting`]), this is true only if something of a message has come already: so an idle
    /// connection is let go at once, and no message is lost that had come. After false, [`close`](WebSocket::close) says
    /// goodbye. It fails as [`receive`](WebSocket::receive) does.
    ///
    /// Blocks for at most [`timeout`](WebSocket::timeout), then returns [`Error::Timeout`].
    ///
    /// ```
    /// use wakesock::{Error, WebSocket};
    ///
    /// /// Echoes, until either end has had enough.
    /// fn serve(mut socket: WebSocket) -> Result<(), Error> {
    ///     while socket.wait_message()? {
    ///         if let Some(message) = socket.receive()? {
    ///             socket.send(message)?;
    ///         }
    ///     }
    ///     socket.close(1001, "")
    /// }
    /// ```
    pub fn wait_message(&mut self) -> Result<bool> {
        self.opened()?;
        self.receiving.wait_message(&mut self.socket, &self.link, self.limits)
    }

    /// The payload of the last pong that came. [`last_pong`](WebSocket::last_pong) is another name for this, which can't be taken for the
    /// sending of a pong.
    ///
    #[doc = concat!(two_ends!(""), "# use wakesock::Message;\n",
        "socket.ping(b\"there?\")?;\n",
        "# peer.send(\"yes\")?;\n",
        "# peer.timeout(std::time::Duration::ZERO);\n",
        "# while peer.receive().is_ok() {}\n",
        "# peer.send(\"more\")?;\n",
        "# while socket.pong().is_none() {\n",
        "socket.receive()?;\n",
        "# }\n",
        "assert_eq!(socket.pong(), Some(&b\"there?\"[..]));\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn pong(&self) -> Option<&[u8]> {
        self.receiving.last_pong()
    }

    /// The payload of the last pong that came: [`pong`](WebSocket::pong), by a name that can't be taken for the sending of one.
    ///
    #[doc = concat!(two_ends!(""), "assert_eq!(socket.last_pong(), None);\n", "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn last_pong(&self) -> Option<&[u8]> {
        self.pong()
    }

    /// Sends a whole message.
    ///
    /// `Ok` means that it was taken. Where the limit came, or an abort or a close, before all of it was with the system, the
    /// rest is [`unsent`](WebSocket::unsent): the next operation of either direction, or [`flush`](WebSocket::flush), goes on
    /// with it. [`is_timeout`](WebSocket::is_timeout) says whether it was the limit. `Err(Timeout)`, `Err(Aborted)`,
    /// `Err(Closed)` and `Err(Shutdown)` mean that the message was not taken: something older is still unsent, or nothing may
    /// be sent any more. After a close frame, this program's or the peer's, that is `Err(Closed)`. [`Error::Io`] means that the
    /// connection is gone; it is sticky.
    ///
    /// A message that was not taken is gone with this call. One that is to be sent again, or to several peers, goes as `&message`,
    /// which is copied, or by [`send_text`](WebSocket::send_text) and [`send_binary`](WebSocket::send_binary), which only borrow it.
    ///
    /// Blocks for at most [`timeout`](WebSocket::timeout), while the peer doesn't read.
    ///
    #[doc = concat!(two_ends!(""), "# use wakesock::Message;\n",
        "socket.send(\"hello\")?;\n",
        "socket.send(vec![0xff; 1000])?;\n",
        "assert_eq!(peer.receive()?, Some(Message::from(\"hello\")));\n",
        "assert_eq!(peer.receive()?, Some(Message::from(vec![0xff; 1000])));\n",
        "let to_all = Message::from(\"news\");\n",
        "socket.send(&to_all)?;\n",
        "assert_eq!(peer.receive()?, Some(to_all));\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn send(&mut self, message: impl Into<Message>) -> Result<()> {
        self.opened()?;
        self.sending.send(&mut self.socket, &self.link, &message.into())
    }

    /// Sends a text, as [`send`](WebSocket::send).
    ///
    #[doc = concat!(two_ends!(""), "socket.send_text(\"hello\")?;\n",
        "assert_eq!(peer.receive()?.unwrap().as_text(), Some(\"hello\"));\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn send_text(&mut self, text: &str) -> Result<()> {
        self.opened()?;
        self.sending
            .send_whole(&mut self.socket, &self.link, Data::Text, text.as_bytes())
    }

    /// Sends bytes, as [`send`](WebSocket::send).
    ///
    #[doc = concat!(two_ends!(""), "socket.send_binary(b\"\\x00\\xff\")?;\n",
        "assert_eq!(peer.receive()?.unwrap().as_bytes(), b\"\\x00\\xff\");\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn send_binary(&mut self, data: &[u8]) -> Result<()> {
        self.opened()?;
        self.sending
            .send_whole(&mut self.socket, &self.link, Data::Binary, data)
    }

    /// Begins a text that is sent in fragments, with its first one. [`append`](WebSocket::append) goes on with it, and
    /// [`finish`](WebSocket::finish) ends it.
    ///
    /// Each is sent as by [`send`](WebSocket::send). One that was not taken may be sent again. Together they have to be UTF-8;
    /// a letter may be divided between two. A fragment that makes that impossible is not sent: [`Error::Io`] of the kind
    /// `InvalidInput`, which isn't sticky. No other message can be sent before the end.
    ///
    #[doc = concat!(two_ends!(""), "socket.begin_text(\"gr\u{f6}\".as_bytes())?;\n",
        "socket.append(\"\u{df}\".as_bytes())?;\n",
        "socket.finish(b\"er\")?;\n",
        "assert_eq!(peer.receive()?.unwrap().as_text(), Some(\"gr\u{f6}\u{df}er\"));\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn begin_text(&mut self, data: &[u8]) -> Result<()> {
        self.opened()?;
        self.sending.begin(&mut self.socket, &self.link, Data::Text, data)
    }

    /// Begins a message of bytes that is sent in fragments, with its first one. It is as [`begin_text`](WebSocket::begin_text) in all else.
    ///
    #[doc = concat!(two_ends!(""), "socket.begin_binary(b\"1\")?;\n",
        "socket.finish(b\"2\")?;\n",
        "assert_eq!(peer.receive()?.unwrap().as_bytes(), b\"12\");\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn begin_binary(&mut self, data: &[u8]) -> Result<()> {
        self.opened()?;
        self.sending.begin(&mut self.socket, &self.link, Data::Binary, data)
    }

    /// Sends another fragment of the message that was begun.
    ///
    #[doc = concat!(two_ends!(""), "socket.begin_binary(b\"1\")?;\n",
        "socket.append(b\"2\")?;\n",
        "socket.append(b\"3\")?;\n",
        "socket.finish(b\"\")?;\n",
        "assert_eq!(peer.receive()?.unwrap().as_bytes(), b\"123\");\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn append(&mut self, data: &[u8]) -> Result<()> {
        self.opened()?;
        self.sending.append(&mut self.socket, &self.link, data, false)
    }

    /// Sends the last fragment of the message that was begun, which may be empty.
    ///
    #[doc = concat!(two_ends!(""), "assert!(socket.finish(b\"of nothing\").is_err());\n",
        "socket.begin_binary(b\"\")?;\n",
        "socket.finish(b\"all\")?;\n",
        "assert_eq!(peer.receive()?.unwrap().as_bytes(), b\"all\");\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn finish(&mut self, data: &[u8]) -> Result<()> {
        self.opened()?;
        self.sending.append(&mut self.socket, &self.link, data, true)
    }

    /// Sends a ping with at most 125 bytes, as [`send`](WebSocket::send). The peer answers with the same bytes:
    /// [`pong`](WebSocket::pong).
    ///
    #[doc = concat!(two_ends!(""), "socket.ping(b\"there?\")?;\n",
        "assert!(socket.ping(&[0; 126]).is_err());\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    ///
    /// So a program finds out whether a peer that says nothing is still there:
    ///
    /// ```
    /// use std::time::Duration;
    /// use wakesock::{Error, WebSocket};
    ///
    /// /// Echoes. A client that has gone without a word is let go after a minute.
    /// fn serve(mut socket: WebSocket) -> Result<(), Error> {
    ///     socket.timeout(Duration::from_secs(30));
    ///     let mut asked = 0_u8;
    ///     loop {
    ///         match socket.wait_message() {
    ///             Ok(true) => {
    ///                 if let Some(message) = socket.receive()? {
    ///                     socket.send(message)?;
    ///                 }
    ///             }
    ///             Ok(false) => return socket.close(1001, ""),
    ///             // Nothing has come for a while, and what was asked before is answered.
    ///             Err(Error::Timeout) if socket.last_pong().unwrap_or(&[0]) == [asked] => {
    ///                 asked = asked.wrapping_add(1);
    ///                 socket.ping(&[asked])?;
    ///             }
    ///             Err(error) => return Err(error),
    ///         }
    ///     }
    /// }
    /// ```
    pub fn ping(&mut self, data: &[u8]) -> Result<()> {
        self.opened()?;
        self.sending.ping(&mut self.socket, &self.link, data)
    }

    /// Sends what is [`unsent`](WebSocket::unsent). Where that was the answer to the peer's close frame, it ends a server's
    /// connection, as [`receive`](WebSocket::receive) does, which is `None` then.
    ///
    /// Blocks for at most [`timeout`](WebSocket::timeout), then returns [`Error::Timeout`].
    ///
    #[doc = concat!(two_ends!(""), "socket.timeout(std::time::Duration::ZERO);\n",
        "socket.send(vec![0; 50_000_000])?;\n",
        "# let reader = std::thread::spawn(move || peer.max_message(50_000_000).receive());\n",
        "// The peer reads.\n",
        "socket.blocking().flush()?;\n",
        "assert_eq!(socket.unsent(), 0);\n",
        "# assert_eq!(reader.join().unwrap()?.unwrap().as_bytes().len(), 50_000_000);\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn flush(&mut self) -> Result<()> {
        self.opened()?;
        sending::flush(&mut self.socket, &self.link)
    }

    /// How many bytes were taken and are not with the system: of messages, with what is around them, and of answers that are due.
    ///
    /// What is with the system may never arrive. Who goes on by another connection asks the peer how much it has received.
    ///
    #[doc = concat!(two_ends!(""), "socket.send(\"hello\")?;\n",
        "assert_eq!(socket.unsent(), 0);\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn unsent(&self) -> usize {
        self.link.unsent(&self.socket)
    }

    /// What to subscribe in a queue beside [`READ`](WaitEvents::READ): [`WRITE`](WaitEvents::WRITE) while something is
    /// [`unsent`](WebSocket::unsent), or until it is connected.
    ///
    /// A program that receives no more from a peer until that has read its answers subscribes for `WRITE` alone meanwhile: what
    /// has come and isn't received is reported again and again.
    ///
    #[doc = concat!(two_ends!(""), "use wakesock::{SocketEventQueue, WaitEvents};\n",
        "let queue = SocketEventQueue::new()?;\n",
        "queue.subscribe(&socket, WaitEvents::READ | socket.wants(), \"a client\")?;\n",
        "peer.send(\"hello\")?;\n",
        "assert_eq!(queue.wait(None)?[0].token(), &\"a client\");\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn wants(&self) -> WaitEvents {
        match &self.connecting {
            Some(connecting) => connecting.wants(&self.socket),
            None => self.link.wants(&self.socket),
        }
    }

    /// Says goodbye, waits for the peer to do the same, and closes the connection.
    ///
    /// Messages that still come are dropped. After the closing handshake a server closes the connection at once; a client
    /// waits for the server to do so. The connection is closed whatever is returned, unless `code` or `reason` may not be sent.
    ///
    /// `code` is one that RFC 6455, section 7.4, lets programs send: 1000 for "all done", 1001 for "going away", 3000 to 4999
    /// for what programs agree on; `reason` has at most 123 bytes.
    ///
    /// Blocks for at most [`close_limit`](WebSocket::close_limit) in all, in place of [`timeout`](WebSocket::timeout).
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if the peer hasn't answered within the limit, [`Error::Aborted`] if an abort is in force: after
    /// [`clear_abort`](WebSocket::clear_abort) there is a handshake. What else can fail, fails as in
    /// [`receive`](WebSocket::receive). [`Error::Io`] of the kind `InvalidInput` if `code` or `reason` may not be sent: then
    /// nothing is, and the connection is as it was. If the peer has closed before, that is no error.
    ///
    #[doc = concat!(two_ends!(""), "let client = std::thread::spawn(move || {\n",
        "    assert_eq!(peer.receive()?, None);\n",
        "    assert_eq!((peer.close_code(), peer.close_reason()), (Some(1000), Some(\"bye\")));\n",
        "    Ok::<(), wakesock::Error>(())\n",
        "});\n",
        "socket.close(1000, \"bye\")?;\n",
        "client.join().unwrap()?;\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn close(&mut self, code: u16, reason: &str) -> Result<()> {
        if let Err(error) = self.opened() {
            self.connecting = None;
            self.socket.close();
            return Err(error);
        }
        closing::close(
            &mut self.socket,
            &self.link,
            &mut self.receiving,
            self.limits,
            code,
            reason,
        )
    }

    /// Says goodbye, and no more: messages that still come can be received, up to the peer's answer, at which
    /// [`receive`](WebSocket::receive) says `None`.
    ///
    /// `Ok` means taken, as of [`send`](WebSocket::send), or that a close frame was taken before, which is the one that counts.
    /// Nothing can be sent after it. Once the connection has ended, it is `Err(Closed)`.
    ///
    /// Blocks for at most [`timeout`](WebSocket::timeout), while the peer doesn't read.
    ///
    #[doc = concat!(two_ends!(""), "# use wakesock::Message;\n",
        "peer.send(\"last words\")?;\n",
        "socket.start_close(1000, \"\")?;\n",
        "assert_eq!(socket.receive()?, Some(Message::from(\"last words\")));\n",
        "# let client = std::thread::spawn(move || peer.receive());\n",
        "assert_eq!(socket.receive()?, None);\n",
        "# assert_eq!(client.join().unwrap()?, None);\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn start_close(&mut self, code: u16, reason: &str) -> Result<()> {
        self.opened()?;
        closing::start(&mut self.socket, &self.link, code, reason)
    }

    /// Limits how long [`close`](WebSocket::close) may block in all, and what an answer to the peer's close frame may take: 5 s
    /// by default. `None` for ever, zero not at all.
    ///
    /// A queue reports a WebSocket as readable when such an answer isn't sent within the limit: [`receive`](WebSocket::receive) ends
    /// the connection then.
    ///
    #[doc = concat!(two_ends!(""), "// A peer that doesn't answer.\n",
        "socket.close_limit(std::time::Duration::from_millis(5));\n",
        "assert!(socket.close(1000, \"\").unwrap_err().is_timeout());\n",
        "assert!(!socket.is_open());\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn close_limit(&mut self, limit: impl Into<Option<Duration>>) -> &mut Self {
        self.limits.close = limit.into();
        self.receiving.limits_changed(&self.socket, self.limits);
        self
    }

    /// The code in the peer's close frame; `None` if none came, or it had none.
    ///
    #[doc = concat!(two_ends!(""), "peer.start_close(4000, \"\")?;\n",
        "# let client = std::thread::spawn(move || peer.receive());\n",
        "assert_eq!(socket.receive()?, None);\n",
        "assert_eq!(socket.close_code(), Some(4000));\n",
        "# assert_eq!(client.join().unwrap()?, None);\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn close_code(&self) -> Option<u16> {
        Some(self.link.peers_close()?.code)
    }

    /// The reason in the peer's close frame, which may be empty; `None` if none came, or it had no code.
    ///
    #[doc = concat!(two_ends!(""), "peer.start_close(1000, \"enough\")?;\n",
        "# let client = std::thread::spawn(move || peer.receive());\n",
        "assert_eq!(socket.receive()?, None);\n",
        "assert_eq!(socket.close_reason(), Some(\"enough\"));\n",
        "# assert_eq!(client.join().unwrap()?, None);\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn close_reason(&self) -> Option<&str> {
        Some(&self.link.peers_close()?.reason)
    }

    /// Limits the length of a message that is received: 16 MiB by default. A longer one is [`Error::MessageTooLong`], before
    /// memory is made for it.
    ///
    #[doc = concat!(two_ends!(""), "use wakesock::Error;\n",
        "socket.max_message(1000);\n",
        "peer.send(vec![0; 1001])?;\n",
        "assert!(matches!(socket.receive(), Err(Error::MessageTooLong { limit: 1000 })));\n",
        "assert_eq!(peer.receive()?, None);\n",
        "assert_eq!(peer.close_code(), Some(1009));\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn max_message(&mut self, bytes: usize) -> &mut Self {
        self.limits.max_message = bytes;
        self
    }

    /// Sets whether compression is offered by [`connect`](WebSocket::connect), and taken by [`accept`](WebSocket::accept) where the
    /// client offers it: permessage-deflate, RFC 7692. By default it is not.
    ///
    /// Where both ends agree, messages are compressed that are long enough for that to pay. It takes memory: some 50 KB for
    /// what comes and 380 KB for what goes, once there is a message in that direction.
    /// [`max_message`](WebSocket::max_message) holds for what a message is after it is decompressed.
    ///
    /// ```
    /// use std::thread;
    /// use wakesock::{TcpSocket, WebSocket};
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// let url = format!("ws://{}/", listener.local_addr()?);
    /// let server = thread::spawn(move || -> Result<usize, wakesock::Error> {
    ///     let mut socket = WebSocket::new();
    ///     socket.deflate(true).accept(&listener)?;
    ///     Ok(socket.receive()?.map_or(0, |message| message.as_bytes().len()))
    /// });
    /// let mut socket = WebSocket::new();
    /// socket.deflate(true).connect(&url)?;
    /// socket.send(vec![0; 1_000_000])?; // some thousand bytes
    /// assert_eq!(server.join().unwrap()?, 1_000_000);
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    #[cfg(feature = "websocket-deflate")]
    pub fn deflate(&mut self, offer: bool) -> &mut Self {
        self.client.offer_deflate(offer);
        self
    }

    /// Compresses and decompresses from now on, as both ends have agreed.
    #[cfg(feature = "websocket-deflate")]
    fn use_deflate(&mut self, agreement: Option<deflate::Agreement>) {
        if let Some(agreement) = agreement {
            let (inflater, deflater) = agreement.codecs(self.link.role());
            self.receiving.inflate_by(inflater);
            self.sending.deflate_by(deflater);
        }
    }

    /// Limits the length of the head of a request or a response in the opening handshake: 16 KiB by default. A longer one is
    /// [`Error::NotWebSocket`].
    ///
    /// ```
    /// wakesock::WebSocket::new().max_head(100_000);
    /// ```
    pub fn max_head(&mut self, bytes: usize) -> &mut Self {
        self.max_head = bytes;
        self
    }

    /// The protocol that both ends have agreed on in the opening handshake, if they have: [`protocols`](WebSocket::protocols),
    /// [`Upgrade::accept_with`].
    ///
    /// ```
    /// assert_eq!(wakesock::WebSocket::new().protocol(), None);
    /// ```
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// The socket below, for what it can be asked for without being changed: addresses, options.
    ///
    #[doc = concat!(two_ends!(""), "socket.socket().no_delay()?;\n",
        "# Ok::<(), wakesock::Error>(())\n```")]
    pub fn socket(&self) -> &TcpSocket {
        &self.socket
    }

    fn tcp(&self) -> &TcpSocket {
        &self.socket
    }

    fn tcp_mut(&mut self) -> &mut TcpSocket {
        &mut self.socket
    }
}

forward_to_socket!(WebSocket, two_ends!(""));

impl Default for WebSocket {
    fn default() -> WebSocket {
        WebSocket::new()
    }
}

impl AsTcpSocket for WebSocket {
    fn as_tcp_socket(&self) -> &TcpSocket {
        &self.socket
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("role", &self.link.role())
            .field("socket", &self.socket)
            .field("unsent", &self.unsent())
            .field("close_code", &self.close_code())
            .finish_non_exhaustive()
    }
}
