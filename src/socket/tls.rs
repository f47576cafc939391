//! TLS inside a socket: U++'s `StartSSL` and what belongs to it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ServerConfig};

use super::deciphering::after_handshake;
use super::try_wait::{Progress, READING, TryWait};
use super::{Directions, TcpSocket};
use crate::deadline::moment_after;
use crate::error::{Error, Result};
use crate::tls::{Session, TlsInfo};

impl TcpSocket {
    /// Begins TLS on a connection, as its client, and makes the handshake. U++'s `StartSSL`.
    ///
    /// `name` is whom the peer has to be, and what it is asked for (SNI): the host's name, or its address. Whom to trust,
    /// ALPN, a certificate of its own and resumption are set in `config`. Once this has returned, what is read and
    /// written is plaintext, by the same calls as before.
    ///
    /// Blocks for at most [`timeout`](TcpSocket::timeout) and [`tls_limit`](TcpSocket::tls_limit); `close`, `abort` and the
    /// registry end it at any point. Where it is cut short by [`Error::Timeout`] or [`Error::Aborted`], the socket is under
    /// TLS, and [`wait_tls`](TcpSocket::wait_tls) or any operation goes on with the handshake. A limit of zero starts it,
    /// and is `Err(Timeout)`.
    ///
    /// What `config` has of the program's, as verifiers, key logs and stores of sessions, is called in the middle of operations:
    /// it may end the socket by a [`handle`](TcpSocket::handle), and must not wait for an operation of it, nor use its halves.
    ///
    /// Bytes that the socket has read ahead are the first that TLS gets. So what somebody has put behind the answer to
    /// STARTTLS, in plain text, is an error and never data.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`] if the peer isn't whom it should be, speaks something else or refuses. The peer is told by an alert.
    /// Under TLS 1.3 a server judges the certificate of a client when that client's handshake is over: it is the first read, or
    /// [`finish`](TcpSocket::finish), that tells of a refusal.
    /// [`Error::HandshakeTimeout`]; [`Error::Io`] of the kind `UnexpectedEof` if the peer ends the stream meanwhile, and of the
    /// kind `InvalidInput` for a name that is none, a listener, and a socket that is under TLS. All are sticky but those of that kind.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use wakesock::TcpSocket;
    ///
    /// # #[cfg(feature = "tls-ring")]
    /// # {
    /// let config = wakesock::tls::client_config()?;
    /// let mut socket = TcpSocket::new();
    /// socket.timeout(Duration::from_secs(10));
    /// socket.connect("example.com", 443)?;
    /// socket.start_tls("example.com", &config)?;
    /// socket.put_all(b"GET / HTTP/1.0\r\nHost: example.com\r\n\r\n")?;
    /// println!("{:?}", socket.get_line()?);
    /// # }
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    #[doc(alias = "StartSSL")]
    #[doc(alias = "SSLServerNameIndication")]
    pub fn start_tls(&mut self, name: &str, config: &Arc<ClientConfig>) -> Result<()> {
        let operation = "start_tls";
        self.begin_session(operation)?;
        let bare = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
            .unwrap_or(name);
        let session = Session::client(config, bare, self.input.buffer.unread(), self.handshake_ends());
        let session = session.map_err(|why| self.refuse(operation, why))?;
        self.install_session(operation, session)
    }

    /// Begins TLS on a connection, as its server, and makes the handshake. U++'s `StartSSL` of an accepted socket.
    ///
    /// Blocks, is cut short and fails as [`start_tls`](TcpSocket::start_tls). `accept` makes no handshake: so a client that
    /// doesn't go on with its own holds up only the thread that serves it, and for no longer than
    /// [`tls_limit`](TcpSocket::tls_limit).
    ///
    /// Right behind the handshake it sends tickets, by which later ones are shorter. Without [`no_delay`](TcpSocket::no_delay)
    /// its first answer waits until the client has acknowledged those (RFC 9293, section 3.7.4), which may take 40 ms.
    ///
    /// Early data (0-RTT, RFC 8446, section 2.3) is not read here: a configuration that lets clients send it is refused, with
    /// [`Error::Io`] of the kind `InvalidInput`.
    ///
    /// A server that speaks other protocols on the same port may look first, by [`peek_all`](TcpSocket::peek_all): what it has
    /// peeked at is what TLS begins with. A [`peek`](TcpSocket::peek) is enough to tell TLS from a protocol of text, whose first byte
    /// isn't 0x16. It is under [`timeout`](TcpSocket::timeout), as all that comes after the handshake is: set that, or a silent client
    /// stays for ever.
    ///
    /// ```no_run
    /// use wakesock::TcpSocket;
    ///
    /// # #[cfg(feature = "tls-ring")]
    /// # {
    /// let config = wakesock::tls::server_config(&std::fs::read("chain.pem")?, &std::fs::read("key.pem")?)?;
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("0.0.0.0:3215", &Default::default())?;
    /// listener.serve(1000, |mut client| {
    ///     let answered = client
    ///         .start_tls_server(&config)
    ///         .and_then(|()| client.get_line())
    ///         .and_then(|line| client.put_all(format!("you said {line:?}\n").as_bytes()));
    ///     answered.unwrap_or_else(|error| eprintln!("{error}"));
    /// });
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "StartSSL")]
    pub fn start_tls_server(&mut self, config: &Arc<ServerConfig>) -> Result<()> {
        let operation = "start_tls_server";
        self.begin_session(operation)?;
        let session = Session::server(config, self.input.buffer.unread(), self.handshake_ends());
        let session = session.map_err(|why| self.refuse(operation, why))?;
        self.install_session(operation, session)
    }

    /// Goes on with a handshake that was cut short, until it is over. U++'s `SSLHandshake`.
    ///
    /// Blocks and fails as [`start_tls`](TcpSocket::start_tls). If the handshake is over, it returns at once. In a queue, a
    /// socket in its handshake waits for [`READ`](crate::WaitEvents::READ) and what it [wants](TcpSocket::wants), and calls this, with
    /// a limit of zero, when one of them has come: as [there](crate::tls#many-handshakes-in-one-thread).
    ///
    /// # Errors
    ///
    /// Beside those of `start_tls`, [`Error::Io`] of the kind `InvalidInput` for a socket that isn't under TLS.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use wakesock::TcpSocket;
    ///
    /// # #[cfg(feature = "tls-ring")]
    /// # {
    /// let config = wakesock::tls::client_config()?;
    /// let mut socket = TcpSocket::new();
    /// socket.connect("example.com", 443)?;
    /// socket.timeout(Duration::from_millis(100));
    /// let mut handshake = socket.start_tls("example.com", &config);
    /// while matches!(handshake, Err(wakesock::Error::Timeout)) {
    ///     println!("still waiting");
    ///     handshake = socket.wait_tls();
    /// }
    /// handshake?;
    /// # }
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    #[doc(alias = "SSLHandshake")]
    pub fn wait_tls(&mut self) -> Result<()> {
        let operation = "wait_tls";
        self.begin(Directions::all())?;
        if !self.is_tls() {
            return Err(self.refuse(operation, "the socket is not under TLS"));
        }
        self.finish_handshake(operation)
    }

    /// Limits how long a handshake may take in all, from `start_tls` on until the last of it has gone, over all calls that go on
    /// with it: 20 s, as in U++; `None` for ever. For the next `start_tls`, not for a handshake that is under way.
    ///
    /// A [queue](crate::SocketEventQueue) and a [wait event](crate::SocketWaitEvent) report a socket as readable when its handshake
    /// isn't over within the limit. The next call tells [`Error::HandshakeTimeout`].
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let mut socket = wakesock::TcpSocket::new();
    /// socket.tls_limit(Duration::from_secs(5));
    /// ```
    pub fn tls_limit(&mut self, limit: impl Into<Option<Duration>>) -> &mut Self {
        let mut tls = self.special.tls();
        tls.limit = limit.into();
        self.special.set_tls(tls);
        self
    }

    /// Lets an end of TCP's stream without close_notify be an end of file, and not [`Error::Truncated`].
    ///
    /// For protocols that say themselves where their messages end, as HTTP with its lengths: many peers close without it. Where
    /// the end of the stream is the end of the message, somebody in between may have cut it off.
    ///
    /// ```
    /// let mut socket = wakesock::TcpSocket::new();
    /// socket.allow_truncation(true);
    /// ```
    pub fn allow_truncation(&mut self, allow: bool) -> &mut Self {
        let mut tls = self.special.tls();
        tls.allows_truncation = allow;
        self.special.set_tls(tls);
        if let Some(session) = self.special.session() {
            session.allow_truncation(allow);
        }
        self
    }

    /// Whether the connection is under TLS, be the handshake over or not. U++'s `IsSSL`.
    ///
    /// ```
    /// assert!(!wakesock::TcpSocket::new().is_tls());
    /// ```
    #[doc(alias = "IsSSL")]
    pub fn is_tls(&self) -> bool {
        self.special.session().is_some()
    }

    /// What the handshake has agreed on; `None` until it is over. U++'s `GetSSLInfo`. Doesn't block.
    ///
    /// ```
    /// assert!(wakesock::TcpSocket::new().tls_info().is_none());
    /// ```
    #[doc(alias = "GetSSLInfo")]
    pub fn tls_info(&self) -> Option<TlsInfo> {
        self.special.session()?.info()
    }

    /// Begins an operation that begins TLS.
    fn begin_session(&mut self, operation: &'static str) -> Result<()> {
        self.begin(Directions::all())?;
        if self.opening.is_listener() {
            return Err(self.refuse(operation, "a listener has no stream"));
        }
        if self.is_tls() {
            return Err(self.refuse(operation, "the socket is under TLS already"));
        }
        Ok(())
    }

    /// The error of an operation that there can't be.
    fn refuse(&self, operation: &'static str, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        let error = io::Error::new(io::ErrorKind::InvalidInput, why);
        self.opening.io_error(operation, "with", error)
    }

    /// When a handshake that begins now has to be over.
    fn handshake_ends(&self) -> Option<Instant> {
        self.special.tls().limit.and_then(moment_after)
    }

    fn install_session(&mut self, operation: &'static str, session: Session) -> Result<()> {
        session.allow_truncation(self.special.tls().allows_truncation);
        self.input.buffer.consume(usize::MAX);
        // Whether the stream has ended is for the session to say.
        self.input.eof = false;
        self.opening.set_alarm(session.handshake_ends());
        self.input.session = Some(session.clone());
        self.special.set_session(Some(session));
        self.finish_handshake(operation)
    }

    fn finish_handshake(&mut self, operation: &'static str) -> Result<()> {
        let mut progress = Progress::new(self.deadline());
        let result = self.opening.enter().and_then(|mut in_use| {
            let Some(session) = self.special.session() else {
                return Ok(());
            };
            // It sends the last of it, too.
            let mut handshaking = after_handshake(session, |wire| session.flush(wire));
            TryWait::new(operation, READING, &self.raw_wait).go_on(&mut in_use, &mut progress, &mut handshaking)
        });
        self.publish_unread();
        self.remember_failure(Directions::all(), result)
    }
}
