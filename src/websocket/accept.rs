//! Opens WebSockets with clients that ask for one, without a look of the program at their requests.

use http::{HeaderValue, StatusCode, header};

use super::client::Client;
use super::head::{self, Budget, list};
use super::message::Role;
use super::request::read_request;
#[cfg(feature = "websocket-deflate")]
use super::request::take_deflate;
use super::sending::misuse;
use super::{Upgrade, WebSocket};
use crate::error::Result;
use crate::socket::TcpSocket;

impl WebSocket {
    /// Waits for a client of `listener`, and opens a WebSocket with it.
    ///
    /// Closes what was open before. The connection joins the listener's registry. Of the protocols that the client offers, the
    /// first of this socket's [`protocols`](WebSocket::protocols) is chosen. A server that looks at requests first accepts a
    /// [`TcpSocket`] and reads an [`Upgrade`] from it; and one that must not be held up by a client that is slow to ask does so
    /// in the thread that serves that client, or in a queue by [`Upgrade::wait_head`].
    ///
    /// Blocks for at most this socket's [`timeout`](WebSocket::timeout) in all. Until a client has come, closing or aborting the
    /// *listener* ends it, and then this socket's handle. A client whose request isn't there in time is let go: so with a limit of
    /// zero nearly every one is, and that isn't the way to accept without waiting. [`Upgrade::wait_head`] is.
    ///
    /// # Errors
    ///
    /// Those of [`TcpSocket::accept`] and of [`Upgrade::read`]. The socket is closed then and, if it is no limit, in the error
    /// state. After those of `read` the next call takes the next client.
    ///
    /// ```
    /// use std::thread;
    /// use wakesock::{Message, TcpSocket, WebSocket};
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// let url = format!("ws://{}/", listener.local_addr()?);
    /// let client = thread::spawn(move || -> Result<(), wakesock::Error> {
    ///     let mut client = WebSocket::new();
    ///     client.connect(&url)?;
    ///     client.send("hello")?;
    ///     client.close(1000, "")
    /// });
    /// let mut socket = WebSocket::new();
    /// socket.accept(&listener)?;
    /// assert_eq!(socket.receive()?, Some(Message::from("hello")));
    /// assert_eq!(socket.receive()?, None);
    /// client.join().unwrap()?;
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn accept(&mut self, listener: &TcpSocket) -> Result<()> {
        self.begin_opening(Role::Server);
        let budget = Budget::begin(&self.socket);
        self.socket.accept(listener)?;
        let max_head = self.max_head;
        let answered = budget.run(&mut self.socket, |socket| {
            answer(socket, budget, max_head, &self.client)
        });
        let opened = answered.map_err(|error| self.not_opened(error))?;
        self.protocol = opened.protocol;
        #[cfg(feature = "websocket-deflate")]
        self.use_deflate(opened.agreement);
        Ok(())
    }

    /// Reads a client's request from a connection that was accepted, and opens a WebSocket with it: `WebAccept` of U++.
    ///
    /// Blocks for at most the socket's [`timeout`](TcpSocket::timeout), which the WebSocket keeps. A client whose request isn't
    /// there in time is let go; [`Upgrade::wait_head`] waits for it and lets go of nobody. A program that is
    /// [stopping](crate::ShutdownRegistry::stop_accepting) still reads the request of a client that has come: who has not asked yet is
    /// let go at once after [`wait_request`](TcpSocket::wait_request), which is false then.
    ///
    /// # Errors
    ///
    /// Those of [`Upgrade::read`].
    ///
    /// ```
    /// use std::thread;
    /// use std::time::Duration;
    /// use wakesock::{Error, TcpSocket, WebSocket};
    ///
    /// /// For the handshake, a message that has begun, and its answer.
    /// const LIMIT: Duration = Duration::from_secs(10);
    ///
    /// fn serve(mut client: TcpSocket) -> Result<(), Error> {
    ///     client.timeout(LIMIT);
    ///     let mut client = WebSocket::upgrade(client)?;
    ///     // Until it has closed, or the program is stopping.
    ///     while client.blocking().wait_message()? {
    ///         if let Some(message) = client.timeout(LIMIT).receive()? {
    ///             client.send(message)?;
    ///         }
    ///     }
    ///     client.close(1001, "going away")
    /// }
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// let url = format!("ws://{}/", listener.local_addr()?);
    /// thread::spawn(move || {
    ///     listener.serve(100, |client| serve(client).unwrap_or_else(|error| eprintln!("{error}")));
    /// });
    /// let mut client = WebSocket::new();
    /// client.connect(&url)?;
    /// client.send("hello")?;
    /// assert_eq!(client.receive()?.unwrap().as_text(), Some("hello"));
    /// # client.close(1000, "")?;
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "WebAccept")]
    pub fn upgrade(socket: TcpSocket) -> Result<WebSocket> {
        Upgrade::read(socket)?.accept()
    }
}

/// What was agreed on in a handshake.
struct Opened {
    protocol: Option<Box<str>>,
    #[cfg(feature = "websocket-deflate")]
    agreement: Option<super::deflate::Agreement>,
}

/// Reads a request and answers it.
fn answer(socket: &mut TcpSocket, budget: Budget, max_head: usize, client: &Client) -> Result<Opened> {
    let (request, response) = read_request(socket, budget, max_head)?;
    let offered: Vec<&str> = list(request.headers(), &header::SEC_WEBSOCKET_PROTOCOL).collect();
    let mut protocols = client.protocols().iter();
    let protocol = protocols.find(|protocol| offered.contains(&&***protocol));
    let (parts, ()) = response.into_parts();
    let mut headers = parts.headers;
    if let Some(protocol) = protocol {
        let value = HeaderValue::from_str(protocol).map_err(|_| misuse("accept", "a protocol that is no token"))?;
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
    #[cfg(feature = "websocket-deflate")]
    let agreement = take_deflate(client.offers_deflate(), &request, &mut headers);
    let bytes = head::response(StatusCode::SWITCHING_PROTOCOLS, &headers);
    budget.run(socket, |socket| socket.put_all(&bytes))?;
    Ok(Opened {
        protocol: protocol.cloned(),
        #[cfg(feature = "websocket-deflate")]
        agreement,
    })
}
