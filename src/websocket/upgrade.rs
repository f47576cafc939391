//! The server's side of the opening handshake, RFC 6455, section 4.2.

use std::fmt;

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use tungstenite::error::{CapacityError, ProtocolError};
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::create_response;

use super::WebSocket;
use super::connect::Client;
use super::head::{self, Budget, MAX_HEAD, Refusal, has_token, list, read_ahead};
use super::message::Role;
use super::talk::misuse;
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
    pub fn refuse(mut self, status: StatusCode) -> Result<TcpSocket> {
        if status.is_informational() || status.is_success() {
            return Err(misuse("refuse", "a status that doesn't refuse"));
        }
        self.socket.put_all(&head::response(status, &head::refusal_headers()))?;
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

/// Reads a request, and makes the response to it. Whoever sends something else is told, and the connection is closed.
fn read_request(socket: &mut TcpSocket, budget: Budget, max_head: usize) -> Result<(Request<()>, Response<()>)> {
    try_read_request(socket, max_head).map_err(|refusal| head::refuse(socket, budget, refusal))
}

fn try_read_request(socket: &mut TcpSocket, max_head: usize) -> Result<(Request<()>, Response<()>), Refusal> {
    let mut operation = socket.begin_reading("upgrade")?;
    let length = read_ahead(socket, &mut operation, max_head, &mut 0)?;
    let parsed = Request::try_parse(&socket.buffer()[..length]).map_err(refusal_of);
    std::io::BufRead::consume(socket, length);
    let Some((_, request)) = parsed? else {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "the request is no HTTP"));
    };
    let response = create_response(&simplified(&request)).map_err(refusal_of)?;
    match fault_of(&request) {
        Some(why) => Err(Refusal::new(StatusCode::BAD_REQUEST, why)),
        None => Ok((request, response)),
    }
}

/// What is wrong with a request that tungstenite doesn't look at: RFC 6455, section 4.2.1, and RFC 9112, section 3.2.
fn fault_of(request: &Request<()>) -> Option<&'static str> {
    let headers = request.headers();
    let count = |name| headers.get_all(name).iter().count();
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    if count(header::SEC_WEBSOCKET_KEY) > 1 {
        Some("the request has several keys")
    } else if count(header::HOST) != 1 {
        Some("the request doesn't name one host")
    } else if !request.uri().path().starts_with('/') {
        Some("the request has no path")
    } else if headers.contains_key(header::TRANSFER_ENCODING) || lengths.any(|length| length != "0") {
        // It would be taken for frames.
        Some("the request has content")
    } else {
        None
    }
}

/// The request with the lists that tungstenite looks at as it knows them: in one header, and with nothing else.
fn simplified(request: &Request<()>) -> Request<()> {
    let mut simplified = request.clone();
    let headers = simplified.headers_mut();
    for (name, token) in [(header::CONNECTION, "upgrade"), (header::UPGRADE, "websocket")] {
        if has_token(headers, &name, token) {
            headers.insert(name, HeaderValue::from_static(token));
        }
    }
    simplified
}

/// What a client is told, and the program, of what tungstenite has found wrong.
fn refusal_of(error: tungstenite::Error) -> Refusal {
    let status = match &error {
        tungstenite::Error::Protocol(ProtocolError::WrongHttpMethod) => StatusCode::METHOD_NOT_ALLOWED,
        tungstenite::Error::Protocol(ProtocolError::WrongHttpVersion) => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        tungstenite::Error::Protocol(
            ProtocolError::MissingConnectionUpgradeHeader
            | ProtocolError::MissingUpgradeWebSocketHeader
            | ProtocolError::MissingSecWebSocketVersionHeader,
        ) => StatusCode::UPGRADE_REQUIRED,
        tungstenite::Error::Capacity(CapacityError::TooManyHeaders) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        _ => StatusCode::BAD_REQUEST,
    };
    Refusal::new(status, format!("the request: {error}"))
}

/// The protocol of the response, which has to be one that was offered.
fn chosen_protocol(request: &Request<()>, response: &HeaderMap) -> Result<Option<Box<str>>> {
    let Some(protocol) = response.get(header::SEC_WEBSOCKET_PROTOCOL) else {
        return Ok(None);
    };
    let mut offered = list(request.headers(), &header::SEC_WEBSOCKET_PROTOCOL);
    match offered.find(|offered| protocol == offered) {
        Some(protocol) => Ok(Some(protocol.into())),
        None => Err(misuse("upgrade", "a protocol that the client hasn't offered")),
    }
}

/// The headers of the program's response, with those of the handshake, which the program can't set.
fn merged(mut headers: HeaderMap, handshake: &HeaderMap) -> HeaderMap {
    headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::TRANSFER_ENCODING);
    for (name, value) in handshake {
        headers.insert(name, value.clone());
    }
    headers
}

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
    /// Those of [`TcpSocket::accept`] and of [`Upgrade::read`]. After the latter the next call takes the next client.
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
        let opened = answered.inspect_err(|_| self.socket.close())?;
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

/// Takes an offer of compression, if it is wanted and there is one.
#[cfg(feature = "websocket-deflate")]
fn take_deflate(is_wanted: bool, request: &Request<()>, response: &mut HeaderMap) -> Option<super::deflate::Agreement> {
    let offers = is_wanted.then(|| request.headers())?;
    let (agreement, answer) = super::deflate::accept(offers)?;
    response.insert(header::SEC_WEBSOCKET_EXTENSIONS, answer);
    Some(agreement)
}
