//! The client's side of the opening handshake, RFC 6455, section 4.1.

#[cfg(feature = "tls")]
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tungstenite::handshake::client::{Response, generate_key};

use super::WebSocket;
use super::client::Client;
use super::head::{Budget, append_header};
use super::message::Role;
use super::response;
use super::url::Target;
use crate::error::{Error, Result};
use crate::events::WaitEvents;
use crate::socket::TcpSocket;

/// A WebSocket that is being opened.
#[derive(Debug)]
pub(super) struct Connecting {
    target: Target,
    stage: Stage,
    key: String,
    /// The request. `sent` bytes of it are with the system.
    request: Vec<u8>,
    sent: usize,
    /// How far the end of the response's head was looked for.
    searched: usize,
    /// How long the heads were that came before it.
    informed: usize,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// To begin the look-up and the connection.
    Look,
    /// To wait for the connection.
    Tcp,
    /// To begin TLS.
    Tls,
    /// To finish the handshake of TLS.
    Handshake,
    /// To send the request, and to read the response.
    Head,
}

impl Connecting {
    pub(super) fn wants(&self, socket: &TcpSocket) -> WaitEvents {
        match self.stage {
            Stage::Look | Stage::Tcp => WaitEvents::WRITE,
            Stage::Head if self.sent < self.request.len() => WaitEvents::WRITE,
            _ => socket.wants(),
        }
    }
}

impl WebSocket {
    /// Connects to a URL: `ws://HOST[:PORT]/PATH` or, with the feature `tls`, `wss://…`. The path may have letters of any kind.
    ///
    /// Closes what was open before. It looks the name up, makes the connection as [`TcpSocket::connect`] does, and the handshake
    /// of TLS where that is asked for; it sends a request, with the [headers](WebSocket::header) and the
    /// [protocols](WebSocket::protocols) of this socket, and checks the answer. What follows the answer stays in the socket.
    ///
    /// Blocks for at most [`timeout`](WebSocket::timeout), for all of that together. A handle that was taken before ends it at any
    /// point, and so does the registry. With a limit of zero it starts, and returns `Ok`: then
    /// [`wait_connect`](WebSocket::wait_connect) has to finish before any other operation.
    ///
    /// # Errors
    ///
    /// [`Error::NotWebSocket`] for a URL that is none of a WebSocket, and if the server answers anything but that it agrees: a
    /// redirect, which isn't followed, a status of another kind, a wrong key, an extension or a protocol that wasn't asked for.
    /// [`Error::Io`] of the kind `InvalidInput` if a header or a protocol can't be sent. What fails in [`TcpSocket::connect`] and
    /// `TcpSocket::start_tls` fails here. Whatever it is, the socket is closed then and, if it is no limit, in the error state.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wakesock::{Error, TcpSocket, WebSocket};
    ///
    /// # let mut listener = TcpSocket::new();
    /// # listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// # let url = format!("ws://{}/chat?room=7", listener.local_addr()?);
    /// # let server = std::thread::spawn(move || WebSocket::upgrade(listener.accept_new()?));
    /// let mut socket = WebSocket::new();
    /// socket.timeout(Duration::from_secs(10));
    /// socket.connect(&url)?;
    /// # server.join().unwrap()?;
    /// let wrong = socket.connect("http://example.com/");
    /// assert!(matches!(wrong, Err(Error::NotWebSocket { status: None, .. })));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn connect(&mut self, url: &str) -> Result<()> {
        self.begin_opening(Role::Client);
        self.socket.close();
        self.socket.clear_error();
        self.open(url, |_| Stage::Look)
    }

    /// Opens a WebSocket over a connection that stands: a Unix-domain socket, or what a proxy tunnels. `url` says what is asked
    /// for, and from whom. As [`connect`](WebSocket::connect) but for the look-up and the connection.
    ///
    /// Closes what was open before. From here on, limits, the callback, the registry and handles are those of `connection`. For
    /// `wss://` TLS is begun, unless `connection` has it.
    ///
    /// Blocks for at most the [`timeout`](TcpSocket::timeout) of `connection`. With a limit of zero it starts, as `connect` does.
    ///
    /// # Errors
    ///
    /// As of `connect`. `connection` is closed then.
    ///
    /// ```
    /// use wakesock::{TcpSocket, WebSocket};
    ///
    /// # let mut listener = TcpSocket::new();
    /// # listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// # let proxy = listener.local_addr()?;
    /// # let server = std::thread::spawn(move || {
    /// #     let mut proxy = listener.accept_new()?;
    /// #     while proxy.get_line()?.is_some_and(|line| !line.is_empty()) {}
    /// #     proxy.put_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    /// #     WebSocket::upgrade(proxy)
    /// # });
    /// // Through a proxy, RFC 9110, section 9.3.6.
    /// let mut connection = TcpSocket::new();
    /// connection.connect_to(&[proxy])?;
    /// connection.put_all(b"CONNECT chat.example:80 HTTP/1.1\r\nHost: chat.example:80\r\n\r\n")?;
    /// assert!(connection.get_line()?.is_some_and(|status| status.starts_with("HTTP/1.1 200")));
    /// while connection.get_line()?.is_some_and(|header| !header.is_empty()) {}
    /// let mut socket = WebSocket::new();
    /// socket.connect_over(connection, "ws://chat.example/room")?;
    /// # server.join().unwrap()?;
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    #[doc(alias = "client")]
    pub fn connect_over(&mut self, connection: TcpSocket, url: &str) -> Result<()> {
        self.begin_opening(Role::Client);
        self.socket = connection;
        let is_tls = self.socket.is_enciphered();
        self.open(url, |target| match (is_tls, target.is_secure) {
            // It may be that this isn't over.
            (true, _) => Stage::Handshake,
            (false, true) => Stage::Tls,
            (false, false) => Stage::Head,
        })
    }

    /// Begins, with what is to be done first for the URL.
    fn open(&mut self, url: &str, first: impl FnOnce(&Target) -> Stage) -> Result<()> {
        let budget = Budget::begin(&self.socket);
        let begun = Target::parse(url).and_then(|target| {
            let (key, stage) = (generate_key(), first(&target));
            Ok(Connecting {
                request: request(&target, &key, &self.client)?,
                target,
                stage,
                key,
                sent: 0,
                searched: 0,
                informed: 0,
            })
        });
        match begun {
            Ok(connecting) => self.connecting = Some(Box::new(connecting)),
            Err(error) => return Err(self.not_opened(error)),
        }
        // One that may not wait leaves the answer to `wait_connect`: a queue reports it.
        match self.go_on_connecting(budget, !budget.is_zero()) {
            Err(Error::Timeout) if budget.is_zero() => {
                self.socket.note_in_time();
                Ok(())
            }
            Err(error) => Err(self.not_opened(error)),
            Ok(()) => Ok(()),
        }
    }

    /// Finishes what [`connect`](WebSocket::connect) has started with a limit of zero. If there is nothing to finish, it returns
    /// at once.
    ///
    /// Blocks for at most [`timeout`](WebSocket::timeout). After [`Error::Timeout`] the connection is still being made. In a
    /// queue, subscribe for [`READ`](WaitEvents::READ) and what it [`wants`](WebSocket::wants), and call this with a limit of zero
    /// when one of them has come. Fails as `connect` does.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wakesock::{TcpSocket, WebSocket};
    ///
    /// # let mut listener = TcpSocket::new();
    /// # listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// # let url = format!("ws://{}/", listener.local_addr()?);
    /// # let server = std::thread::spawn(move || WebSocket::upgrade(listener.accept_new()?));
    /// let mut socket = WebSocket::new();
    /// socket.timeout(Duration::ZERO).connect(&url)?;
    /// // Whatever else there is to do meanwhile.
    /// socket.timeout(Duration::from_secs(10)).wait_connect()?;
    /// # server.join().unwrap()?;
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn wait_connect(&mut self) -> Result<()> {
        if self.connecting.is_none() {
            return self.socket.wait_connect();
        }
        let budget = Budget::begin(&self.socket);
        match self.go_on_connecting(budget, true) {
            Err(Error::Timeout) => Err(Error::Timeout),
            Err(error) => Err(self.not_opened(error)),
            Ok(()) => Ok(()),
        }
    }

    /// Adds a header to the requests of [`connect`](WebSocket::connect), beside those of the handshake: a cookie, `Origin`,
    /// `Authorization`. One of a name that was added before is sent, too; only a `Host` takes the place of another.
    ///
    /// ```
    /// let mut socket = wakesock::WebSocket::new();
    /// socket.header("Cookie", "session=1234").header("Origin", "https://example.com");
    /// ```
    pub fn header(&mut self, name: &str, value: &str) -> &mut Self {
        self.client.change().headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Removes what [`header`](WebSocket::header) has added.
    ///
    /// ```
    /// let mut socket = wakesock::WebSocket::new();
    /// socket.header("Cookie", "session=1234").clear_headers();
    /// ```
    pub fn clear_headers(&mut self) -> &mut Self {
        self.client.change().headers.clear();
        self
    }

    /// The protocols that [`connect`](WebSocket::connect) offers (`Sec-WebSocket-Protocol`), the most wanted one first, or of
    /// which [`accept`](WebSocket::accept) takes the first that the client has offered. [`protocol`](WebSocket::protocol) says
    /// which it has become.
    ///
    /// ```
    /// let mut socket = wakesock::WebSocket::new();
    /// socket.protocols(&["chat.v2", "chat.v1"]);
    /// assert_eq!(socket.protocol(), None);
    /// ```
    pub fn protocols(&mut self, names: &[&str]) -> &mut Self {
        self.client.change().protocols = names.iter().map(|&name| name.into()).collect();
        self
    }

    /// The configuration of TLS for `wss://`. With the feature `tls-ring` there is one without it: the system's roots are
    /// trusted.
    ///
    /// ```
    /// # #[cfg(feature = "tls-ring")]
    /// # {
    /// let mut socket = wakesock::WebSocket::new();
    /// socket.tls(&wakesock::tls::client_config()?);
    /// # }
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls(&mut self, config: &Arc<rustls::ClientConfig>) -> &mut Self {
        self.client.change().tls = Some(Arc::clone(config));
        self
    }

    /// Closes what failed to be opened.
    pub(super) fn not_opened(&mut self, error: Error) -> Error {
        self.connecting = None;
        self.socket.close();
        if !(error.is_closed() || matches!(error, Error::Aborted | Error::Timeout)) {
            self.socket.fail_reading(&error);
            self.socket.fail_writing(&error);
        }
        error
    }

    /// Goes on as far as the time goes: through the answer if it `reads_answer`, else until the request is sent.
    fn go_on_connecting(&mut self, budget: Budget, reads_answer: bool) -> Result<()> {
        let (socket, client) = (&mut self.socket, &self.client);
        let Some(connecting) = &mut self.connecting else {
            return Err(Error::Closed);
        };
        loop {
            match connecting.stage {
                Stage::Look => {
                    // Set before it is begun: where a limit ends that, the next call goes on with it.
                    connecting.stage = Stage::Tcp;
                    let Target { host, port, .. } = &connecting.target;
                    budget.run(socket, |socket| socket.connect(host, *port))?;
                }
                Stage::Tcp => {
                    budget.run(socket, TcpSocket::wait_connect)?;
                    connecting.stage = match connecting.target.is_secure {
                        true => Stage::Tls,
                        false => Stage::Head,
                    };
                }
                Stage::Tls => {
                    connecting.stage = Stage::Handshake;
                    start_tls(socket, budget, client, &connecting.target)?;
                }
                Stage::Handshake => {
                    wait_tls(socket, budget)?;
                    connecting.stage = Stage::Head;
                }
                Stage::Head => break,
            }
        }
        while connecting.sent < connecting.request.len() {
            connecting.sent += budget.run(socket, |socket| socket.put(&connecting.request[connecting.sent..]))?;
        }
        if !reads_answer {
            return Ok(());
        }
        let response = budget.run(socket, |socket| read_answer(socket, self.max_head, connecting))?;
        self.protocol = response::check(&response, &connecting.key, client)?;
        let extension = response::extension(&response, client)?;
        self.connecting = None;
        #[cfg(feature = "websocket-deflate")]
        self.use_deflate(extension);
        #[cfg(not(feature = "websocket-deflate"))]
        let response::NoExtension = extension;
        Ok(())
    }
}

#[cfg(feature = "tls")]
fn start_tls(socket: &mut TcpSocket, budget: Budget, client: &Client, target: &Target) -> Result<()> {
    let config = match client.tls() {
        Some(config) => Arc::clone(config),
        None => usual_config()?,
    };
    budget.run(socket, |socket| socket.start_tls(&target.host, &config))
}

#[cfg(feature = "tls")]
fn wait_tls(socket: &mut TcpSocket, budget: Budget) -> Result<()> {
    budget.run(socket, TcpSocket::wait_tls)
}

#[cfg(feature = "tls-ring")]
fn usual_config() -> Result<Arc<rustls::ClientConfig>> {
    crate::tls::client_config()
}

#[cfg(all(feature = "tls", not(feature = "tls-ring")))]
fn usual_config() -> Result<Arc<rustls::ClientConfig>> {
    Err(Error::NotWebSocket {
        status: None,
        why: "wss:// needs a configuration of TLS: WebSocket::tls".into(),
    })
}

#[cfg(not(feature = "tls"))]
fn start_tls(_: &mut TcpSocket, _: Budget, _: &Client, _: &Target) -> Result<()> {
    Err(Error::NotWebSocket {
        status: None,
        why: "wss:// needs the feature `tls` of wakesock".into(),
    })
}

#[cfg(not(feature = "tls"))]
fn wait_tls(_: &mut TcpSocket, _: Budget) -> Result<()> {
    Ok(())
}

/// The request for a WebSocket.
fn request(target: &Target, key: &str, client: &Client) -> Result<Vec<u8>> {
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, header_value(&header::HOST, &target.authority)?);
    for (name, value) in client.headers() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| not_a_header(name))?;
        let value = header_value(&name, value)?;
        // There is one host: the program's, if it names one.
        if name == header::HOST {
            headers.insert(name, value);
        } else {
            let added = headers.try_append(&name, value);
            added.map_err(|_| not_a_header(name.as_str()))?;
        }
    }
    // The handshake's own headers take the place of the program's.
    let mut own = |name: HeaderName, value: &str| {
        let value = header_value(&name, value)?;
        headers.insert(name, value);
        Ok::<_, Error>(())
    };
    if !client.protocols().is_empty() {
        // A name of a header is a token, too.
        let is_token = |protocol: &str| HeaderName::from_bytes(protocol.as_bytes()).is_ok();
        if !client.protocols().iter().all(|protocol| is_token(protocol)) {
            return Err(not_a_header(header::SEC_WEBSOCKET_PROTOCOL.as_str()));
        }
        own(header::SEC_WEBSOCKET_PROTOCOL, &client.protocols().join(", "))?;
    }
    own(header::CONNECTION, "Upgrade")?;
    own(header::UPGRADE, "websocket")?;
    own(header::SEC_WEBSOCKET_VERSION, "13")?;
    own(header::SEC_WEBSOCKET_KEY, key)?;
    headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
    #[cfg(feature = "websocket-deflate")]
    if client.offers_deflate() {
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, super::deflate::offer());
    }
    let mut bytes = format!("GET {} HTTP/1.1\r\n", target.path).into_bytes();
    for (name, value) in &headers {
        append_header(&mut bytes, name, value);
    }
    bytes.extend(b"\r\n");
    Ok(bytes)
}

fn header_value(name: &HeaderName, value: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(value).map_err(|_| not_a_header(name.as_str()))
}

fn not_a_header(name: &str) -> Error {
    let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, "can't be sent as a header");
    Error::io(format!("connect: {name}"), source)
}

/// Reads the answer to the request. What comes before it that only informs is passed over, RFC 9110, section 15.2, up to as
/// much as a head may be.
fn read_answer(socket: &mut TcpSocket, max_head: usize, connecting: &mut Connecting) -> Result<Response> {
    let mut operation = socket.begin_reading("connect")?;
    loop {
        let (response, length) = response::read_response(socket, &mut operation, max_head, &mut connecting.searched)?;
        let status = response.status();
        connecting.searched = 0;
        connecting.informed += length;
        if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS || connecting.informed > max_head {
            return Ok(response);
        }
    }
}
