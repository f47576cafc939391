//! [`Upgrade`]: the server's side of the opening handshake, RFC 6455, section 4.2.

use std::fmt;

use http::{HeaderMap, Request, Response, StatusCode, header};

use super::WebSocket;
use super::head::{self, Budget, MAX_HEAD, Refusal, list, read_ahead};
use super::message::Role;
use super::request::read_request;
#[cfg(feature = "websocket-deflate")]
use super::request::take_deflate;
use super::sending::misuse;
use crate::error::Result;
use crate::socket::TcpSocket;

/// A client's request to open a WebSocket, which is not answered yet: for servers that look at it first.
///
/// [`read`](Upgrade::read) reads the request from a connection. Then the program [accepts](Upgrade::accept) or
/// [refuses](Upgrade::refuse) it. A server that has nothing to ask uses [`WebSocket::upgrade`]. Dropping it closes the
/// connection without an answer.
///
/// ```no_run
/// use wakesock::http::{Response, StatusCode, header};
/// use wakesock::{Error, TcpSocket, Upgrade, WebSocket};
///
/// /// Speaks with pages of one site only, and only about one thing.
/// fn open(socket: TcpSocket) -> Result<Option<WebSocket>, Error> {
///     let upgrade = Upgrade::read(socket)?;
///     let headers = upgrade.request().headers();
///     if headers.get(header::ORIGIN).is_none_or(|origin| origin != "https://example.com") {
///         upgrade.refuse(StatusCode::FORBIDDEN)?;
///         return Ok(None);
///     }
///     if upgrade.request().uri().path() != "/chat" {
///         upgrade.refuse(StatusCode::NOT_FOUND)?;
///         return Ok(None);
///     }
///     upgrade.accept().map(Some)
/// }
/// ```
pub struct Upgrade {
    socket: TcpSocket,
    request: Request<()>,
    /// What is answered if the program has nothing to add.
    response: Response<()>,
    #[cfg(feature = "websocket-deflate")]
    deflate: bool,
}

impl Upgrade {
    /// Reads the request from a connection that was accepted. What follows the request stays in the socket.
    ///
    /// Blocks for at most the socket's [`timeout`](TcpSocket::timeout), which the WebSocket keeps. The socket's handle ends it.
    ///
    /// # Errors
    ///
    /// [`Error::NotWebSocket`](crate::Error::NotWebSocket) if what comes is no request, or not one that opens a WebSocket of version 13, or has a head of
    /// more than 16 KiB: the client was told by the status that is in the error. [`Error::UnexpectedEof`](crate::Error::UnexpectedEof) if the client has
    /// left. Whatever the error is, the connection is closed.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use wakesock::{Error, TcpSocket, Upgrade};
    ///
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let socket = TcpSocket::from(listener.accept().unwrap().0);
    /// client.write_all(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n").unwrap();
    /// # client.shutdown(std::net::Shutdown::Write).unwrap();
    /// let refused = Upgrade::read(socket);
    /// assert!(matches!(refused, Err(Error::NotWebSocket { status: Some(426), .. })));
    /// let mut answer = String::new();
    /// client.read_to_string(&mut answer).unwrap();
    /// assert!(answer.starts_with("HTTP/1.1 426 Upgrade Required\r\n"));
    /// ```
    #[doc(alias = "accept_hdr")]
    pub fn read(socket: TcpSocket) -> Result<Upgrade> {
        Upgrade::read_at_most(socket, MAX_HEAD)
    }

    /// Reads the request as [`read`](Upgrade::read) does, if its head has at most `max_head` bytes.
    ///
    /// ```
    /// # use std::io::Write;
    /// use wakesock::{Error, TcpSocket, Upgrade};
    ///
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let socket = TcpSocket::from(listener.accept().unwrap().0);
    /// # client.write_all(format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1000)).as_bytes()).unwrap();
    /// # client.shutdown(std::net::Shutdown::Write).unwrap();
    /// let refused = Upgrade::read_at_most(socket, 1000);
    /// assert!(matches!(refused, Err(Error::NotWebSocket { status: Some(431), .. })));
    /// ```
    pub fn read_at_most(mut socket: TcpSocket, max_head: usize) -> Result<Upgrade> {
        let budget = Budget::begin(&socket);
        let (request, response) = read_request(&mut socket, budget, max_head)?;
        Ok(Upgrade {
            socket,
            request,
            response,
            #[cfg(feature = "websocket-deflate")]
            deflate: false,
        })
    }

    /// Waits until the request is there, so that [`read`](Upgrade::read) waits for nothing: for programs that serve many clients on one
    /// thread. Takes nothing: the request stays in the socket, where [`fill_buf`](std::io::BufRead::fill_buf) shows it. So a
    /// server of other things, too, as pages, looks there at what is asked for, and answers that itself.
    ///
    /// Returns `Ok`, too, once it is clear that what comes is no request, or has a head of more than 16 KiB: that is for `read` to
    /// tell the client. After [`Error::Timeout`](crate::Error::Timeout), which isn't sticky, the next call goes on. In a queue or a wait event, what
    /// has come of the request isn't reported again before more of it comes.
    ///
    /// Blocks for at most the socket's [`timeout`](TcpSocket::timeout). The socket's handle ends it. How long a client may take in
    /// all is for the program to count: a queue doesn't wake for one that has stopped in the middle.
    ///
    /// Under TLS it goes on with the handshake, too: subscribe for `READ` and what the socket [wants](TcpSocket::wants). The
    /// WebSocket has the id of its socket, and the subscription goes on as its own.
    ///
    /// # Errors
    ///
    /// [`Error::UnexpectedEof`](crate::Error::UnexpectedEof) if the client has left. Then it is for the program to drop the socket.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wakesock::{Error, TcpSocket, Upgrade, WebSocket};
    ///
    /// enum Client {
    ///     Asks(TcpSocket),
    ///     Talks(WebSocket),
    /// }
    ///
    /// /// Goes on with a client, whose limit is zero, when the queue has reported it.
    /// fn go_on(mut client: TcpSocket) -> Result<Client, Error> {
    ///     match Upgrade::wait_head(&mut client) {
    ///         Ok(()) => Ok(Client::Talks(Upgrade::read(client)?.accept()?)),
    ///         Err(Error::Timeout) => Ok(Client::Asks(client)),
    ///         Err(error) => Err(error),
    ///     }
    /// }
    /// # let mut listener = TcpSocket::new();
    /// # listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// # let addr = listener.local_addr()?;
    /// # let mut peer = WebSocket::new();
    /// # let half = std::thread::spawn(move || std::net::TcpStream::connect(addr).unwrap());
    /// # let mut client = listener.accept_new()?;
    /// # std::io::Write::write_all(&mut half.join().unwrap(), b"GET /").unwrap();
    /// # client.timeout(Duration::ZERO);
    /// # assert!(!matches!(go_on(client), Ok(Client::Talks(_))));
    /// # peer.timeout(Duration::ZERO).connect(&format!("ws://{addr}/"))?;
    /// # let mut client = listener.accept_new()?;
    /// # client.timeout(Duration::ZERO);
    /// # let peer = std::thread::spawn(move || peer.blocking().wait_connect());
    /// # loop {
    /// #     match go_on(client)? {
    /// #         Client::Asks(socket) => client = socket,
    /// #         Client::Talks(_) => break,
    /// #     }
    /// #     client.timeout(Duration::from_secs(10));
    /// # }
    /// # peer.join().unwrap()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn wait_head(socket: &mut TcpSocket) -> Result<()> {
        let mut operation = socket.begin_reading("upgrade")?;
        match read_ahead(socket, &mut operation, MAX_HEAD, &mut 0) {
            Ok(_) | Err(Refusal::Answer(..)) => Ok(()),
            Err(Refusal::Error(error)) => Err(error),
        }
    }

    /// The request: its path and query, and its headers (`Origin`, cookies, `Sec-WebSocket-Protocol`).
    ///
    /// ```no_run
    /// # fn f(upgrade: wakesock::Upgrade) {
    /// let path = upgrade.request().uri().path();
    /// # }
    /// ```
    pub fn request(&self) -> &Request<()> {
        &self.request
    }

    /// Sets whether compression is taken if the client offers it: permessage-deflate, RFC 7692. By default it is not.
    /// [`WebSocket::deflate`] says what it costs.
    ///
    /// ```no_run
    /// # fn f(mut upgrade: wakesock::Upgrade) -> Result<wakesock::WebSocket, wakesock::Error> {
    /// upgrade.deflate(true);
    /// upgrade.accept()
    /// # }
    /// ```
    #[cfg(feature = "websocket-deflate")]
    pub fn deflate(&mut self, accept: bool) -> &mut Self {
        self.deflate = accept;
        self
    }

    /// Opens the WebSocket, with none of the protocols that the client has offered.
    ///
    /// Blocks for at most the socket's limit. A server that wants a protocol, or sets a cookie, uses
    /// [`accept_with`](Upgrade::accept_with).
    ///
    /// ```
    /// use std::thread;
    /// use wakesock::{Message, TcpSocket, Upgrade, WebSocket};
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// let url = format!("ws://{}/chat", listener.local_addr()?);
    /// let client = thread::spawn(move || -> Result<Option<Message>, wakesock::Error> {
    ///     let mut client = WebSocket::new();
    ///     client.connect(&url)?;
    ///     client.receive()
    /// });
    /// let upgrade = Upgrade::read(listener.accept_new()?)?;
    /// assert_eq!(upgrade.request().uri(), "/chat");
    /// let mut socket = upgrade.accept()?;
    /// socket.send("welcome")?;
    /// assert_eq!(client.join().unwrap()?, Some(Message::from("welcome")));
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn accept(self) -> Result<WebSocket> {
        self.accept_with(Response::new(()))
    }

    /// Opens the WebSocket, with the headers of `response` beside those of the handshake: a protocol of those that the client
    /// has offered, cookies.
    ///
    /// The status of `response` doesn't matter, unless it refuses (300 to 599): that is an error.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io) of the kind `InvalidInput` if the response has a status that refuses, or a protocol that the client hasn't
    /// offered. The connection is closed then.
    ///
    /// ```
    /// use std::thread;
    /// use wakesock::http::{Response, header};
    /// use wakesock::{TcpSocket, Upgrade, WebSocket};
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// let url = format!("ws://{}/", listener.local_addr()?);
    /// let client = thread::spawn(move || -> Result<WebSocket, wakesock::Error> {
    ///     let mut client = WebSocket::new();
    ///     client.protocols(&["chat.v2", "chat.v1"]).connect(&url)?;
    ///     Ok(client)
    /// });
    /// let upgrade = Upgrade::read(listener.accept_new()?)?;
    /// let response = Response::builder().header(header::SEC_WEBSOCKET_PROTOCOL, "chat.v1");
    /// let socket = upgrade.accept_with(response.body(()).unwrap())?;
    /// assert_eq!(socket.protocol(), Some("chat.v1"));
    /// assert_eq!(client.join().unwrap()?.protocol(), Some("chat.v1"));
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn accept_with(mut self, response: Response<()>) -> Result<WebSocket> {
        let status = response.status();
        if !(status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS) {
            return Err(misuse("upgrade", "a status that refuses"));
        }
        let (parts, ()) = response.into_parts();
        let protocol = chosen_protocol(&self.request, &parts.headers)?;
        #[cfg(feature = "websocket-deflate")]
        let agreement = take_deflate(self.deflate, &self.request, self.response.headers_mut());
        let headers = merged(parts.headers, self.response.headers());
        self.socket
            .put_all(&head::response(StatusCode::SWITCHING_PROTOCOLS, &headers))?;
        let mut socket = WebSocket::from_upgraded(self.socket, Role::Server);
        socket.protocol = protocol;
        #[cfg(feature = "websocket-deflate")]
        socket.use_deflate(agreement);
        Ok(socket)
    }

    /// Answers that there will be no WebSocket, with this status and no body, and gives the socket back. To read the answer, a
    /// client must not be hit by a reset: [`TcpSocket::finish`] sees to that. Who has more to say looks at the request
    /// [before](Upgrade::wait_head), and writes an answer of its own.
    ///
    /// Blocks for at most the socket's limit.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io) of the kind `InvalidInput` for a status that doesn't refuse. The connection is closed then.
    ///
    /// ```
    /// use std::thread;
    /// use std::time::Duration;
    /// use wakesock::http::StatusCode;
    /// use wakesock::{Error, TcpSocket, Upgrade, WebSocket};
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// let url = format!("ws://{}/secret", listener.local_addr()?);
    /// let client = thread::spawn(move || WebSocket::new().connect(&url));
    /// let upgrade = Upgrade::read(listener.accept_new()?)?;
    /// upgrade.refuse(StatusCode::FORBIDDEN)?.finish(Duration::from_secs(1))?;
    /// let refused = client.join().unwrap();
    /// assert!(matches!(refused, Err(Error::NotWebSocket { status: Some(403), .. })));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn refuse(self, status: StatusCode) -> Result<TcpSocket> {
        let mut response = Response::new(());
        *response.status_mut() = status;
        self.refuse_with(response)
    }

    /// Answers that there will be no WebSocket, with the status and the headers of `response`: where else to ask (`Location`), by
    /// what to log in (`WWW-Authenticate`). Else as [`refuse`](Upgrade::refuse).
    ///
    /// ```
    /// use std::thread;
    /// use std::time::Duration;
    /// use wakesock::http::{Response, StatusCode, header};
    /// use wakesock::{Error, TcpSocket, Upgrade, WebSocket};
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// let url = format!("ws://{}/", listener.local_addr()?);
    /// let client = thread::spawn(move || WebSocket::new().connect(&url));
    /// let upgrade = Upgrade::read(listener.accept_new()?)?;
    /// let response = Response::builder()
    ///     .status(StatusCode::UNAUTHORIZED)
    ///     .header(header::WWW_AUTHENTICATE, "Basic realm=\"chat\"");
    /// upgrade.refuse_with(response.body(()).unwrap())?.finish(Duration::from_secs(1))?;
    /// let refused = client.join().unwrap();
    /// assert!(matches!(refused, Err(Error::NotWebSocket { status: Some(401), .. })));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn refuse_with(mut self, response: Response<()>) -> Result<TcpSocket> {
        let status = response.status();
        if status.is_informational() || status.is_success() {
            return Err(misuse("refuse", "a status that doesn't refuse"));
        }
        let headers = merged(response.into_parts().0.headers, &head::refusal_headers());
        self.socket.put_all(&head::response(status, &headers))?;
        Ok(self.socket)
    }
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its headers may be secrets.
        f.debug_struct("Upgrade")
            .field("uri", self.request.uri())
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

/// The protocol of the response, which has to be one that was offered.
fn chosen_protocol(request: &Request<()>, response: &HeaderMap) -> Result<Option<Box<str>>> {
    let mut chosen = response.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    let Some(protocol) = chosen.next() else {
        return Ok(None);
    };
    if chosen.next().is_some() {
        return Err(misuse("upgrade", "more than one protocol"));
    }
    let mut offered = list(request.headers(), &header::SEC_WEBSOCKET_PROTOCOL);
    match offered.find(|offered| protocol == offered) {
        Some(protocol) => Ok(Some(protocol.into())),
        None => Err(misuse("upgrade", "a protocol that the client hasn't offered")),
    }
}

/// The headers of the program's response, with `own` ones, which the program can't set.
fn merged(mut headers: HeaderMap, own: &HeaderMap) -> HeaderMap {
    headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::TRANSFER_ENCODING);
    for (name, value) in own {
        headers.insert(name, value.clone());
    }
    headers
}
