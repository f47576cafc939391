//! [`Error`]: why an operation failed.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::{host, sys};

/// The result of an operation on a socket.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed.
///
/// *Closed* means closed by this program. What the peer does is an end of file ([`UnexpectedEof`](Error::UnexpectedEof)
/// where one was not expected) or an I/O error, and time running out is [`Timeout`](Error::Timeout); none of these is
/// ever reported as another.
///
/// # Examples
///
/// ```
/// use wakesock::{Error, TcpSocket};
///
/// let holder = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let error = TcpSocket::new()
///     .listen_on(holder.local_addr()?, &Default::default())
///     .unwrap_err();
/// assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
/// assert_eq!(
///     error.to_string(),
///     format!("listen on {}: address already in use", holder.local_addr()?)
/// );
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The limit of this operation ran out. Sticky only in `get_all`, `put_all` and `get_line`.
    #[error("timed out")]
    Timeout,
    /// The limit of a run of operations, [`TcpSocket::global_timeout`](crate::TcpSocket::global_timeout), ran out.
    /// Sticky.
    #[error("global limit ran out")]
    GlobalTimeout,
    /// The socket was closed by this program, was never open, or is still being connected: after a connect with a limit of zero,
    /// [`wait_connect`](crate::TcpSocket::wait_connect) comes first.
    #[error("socket is closed")]
    Closed,
    /// The socket was aborted: [`TcpSocket::abort`](crate::TcpSocket::abort) is in force.
    #[error("operation aborted")]
    Aborted,
    /// The socket's registry has been shut down or, for a listener, accepts no more.
    #[error("shut down")]
    Shutdown,
    /// The peer ended the stream in the middle of what `get_all` or `get_line` was to read.
    #[error("stream ended too early")]
    UnexpectedEof,
    /// A line is longer than allowed.
    #[error("line is longer than {limit} bytes")]
    LineTooLong {
        /// The most bytes that were allowed, line end not counted.
        limit: usize,
    },
    /// `get_line` met a line that is not UTF-8. It can still be read as bytes.
    #[error("line is not valid UTF-8")]
    InvalidUtf8,
    /// A host name could not be resolved.
    ///
    /// The [`kind`](Error::kind) is `NotFound` if there is no such host, and `ResourceBusy` if nobody could say so: then
    /// it may work later.
    #[error("resolve {}: {}{}", OneLine(.host), Described(.source), Hint(.host))]
    Resolve {
        /// The name.
        host: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// None of the addresses could be connected to.
    ///
    /// If that is because a limit ran out, [`is_timeout`](Error::is_timeout) is true. Where it ran out before any
    /// address had failed, the error is `Timeout` or `GlobalTimeout` instead.
    #[error("connect to {}", Attempts(.attempts))]
    Connect {
        /// Every address, in the order in which they were tried, and why it failed. Those that a limit has ended have
        /// that limit's error inside: `Timeout` or `GlobalTimeout`.
        attempts: Vec<(SocketAddr, Arc<io::Error>)>,
    },
    /// TLS has failed: what came is none, or not from whom it should be, or the peer has refused. Sticky, also after
    /// `clear_error`. The peer was told by an alert, where TLS has one for that. Also of writing alone, when the keys of a
    /// connection of TLS 1.2 have enciphered as much as they may: some 16 million records.
    #[cfg(feature = "tls")]
    #[error("{}: {source}", OneLine(.operation))]
    Tls {
        /// The operation and its object: `start_tls with 192.0.2.7:443`.
        operation: Cow<'static, str>,
        /// What was wrong.
        source: Arc<rustls::Error>,
    },
    /// The stream ended without TLS's close_notify, so that something may be missing at its end (RFC 8446, section 6.1). All
    /// that came before was read. Sticky, unless
    /// [`allow_truncation`](crate::TcpSocket::allow_truncation) makes it an end of file. As `Timeout` and `UnexpectedEof`, it
    /// leaves it to who has called to name the operation and the peer, which is still in
    /// [`peer_addr`](crate::TcpSocket::peer_addr).
    #[cfg(feature = "tls")]
    #[error("stream was cut off: it ended without close_notify")]
    Truncated,
    /// The limit of a TLS handshake, [`TcpSocket::tls_limit`](crate::TcpSocket::tls_limit), ran out. Sticky, also after
    /// `clear_error`. It names no operation and no peer, as `Timeout`.
    #[cfg(feature = "tls")]
    #[error("TLS handshake timed out")]
    HandshakeTimeout,
    /// The other end doesn't speak WebSocket, or an address isn't one of a WebSocket. Feature `websocket`.
    #[cfg(feature = "websocket")]
    #[error("not a WebSocket: {why}")]
    NotWebSocket {
        /// The status of the HTTP response: what the server has answered or, in a server, what the client was told.
        status: Option<u16>,
        /// What is wrong.
        why: Cow<'static, str>,
    },
    /// The other end of a WebSocket has broken the protocol. It was told so. Sticky. Feature `websocket`.
    #[cfg(feature = "websocket")]
    #[error("WebSocket protocol broken: {source}")]
    Protocol {
        /// How.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// A message is longer than [`max_message`](crate::WebSocket::max_message) allows. The other end was told so. Sticky.
    /// Feature `websocket`.
    #[cfg(feature = "websocket")]
    #[error("message is longer than {limit} bytes")]
    MessageTooLong {
        /// The most bytes that were allowed.
        limit: usize,
    },
    /// The system reported an error.
    #[error("{}: {}", OneLine(.operation), Described(.source))]
    Io {
        /// The operation and its object: `get from 192.0.2.7:5010`, `listen on 127.0.0.1:3214`.
        operation: Cow<'static, str>,
        /// What the system said.
        source: Arc<io::Error>,
    },
}

impl Error {
    #[cold]
    pub(crate) fn io(operation: impl Into<Cow<'static, str>>, source: io::Error) -> Error {
        Error::Io {
            operation: operation.into(),
            source: Arc::new(source),
        }
    }

    /// The error of an operation whose attempt has failed: the crate's own, if there is one inside.
    #[cold]
    pub(crate) fn of_attempt(operation: &'static str, source: io::Error) -> Error {
        match inner(&source) {
            Some(error) => error.clone(),
            None => Error::io(operation, source),
        }
    }

    /// The kind of [`io::Error`] that this converts to.
    ///
    /// `Timeout` and `GlobalTimeout` are `TimedOut`, `Closed` and `Shutdown` are `NotConnected`, `Aborted` is
    /// `ConnectionAborted`; a bad line, and what isn't as a WebSocket's should be, is `InvalidData`. An error of the system
    /// keeps its kind or, if it has none, gets that of the same error on Unix. `Connect` has the kind of the last attempt or,
    /// if a limit ran out, `TimedOut`. Of TLS, `Tls` is `InvalidData`, `Truncated` is `UnexpectedEof`, `HandshakeTimeout` is
    /// `TimedOut`.
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use wakesock::Error;
    ///
    /// assert_eq!(Error::Timeout.kind(), ErrorKind::TimedOut);
    /// assert_eq!(Error::Closed.kind(), ErrorKind::NotConnected);
    /// ```
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Error::Timeout | Error::GlobalTimeout => io::ErrorKind::TimedOut,
            Error::Closed | Error::Shutdown => io::ErrorKind::NotConnected,
            Error::Aborted => io::ErrorKind::ConnectionAborted,
            Error::UnexpectedEof => io::ErrorKind::UnexpectedEof,
            Error::LineTooLong { .. } | Error::InvalidUtf8 => io::ErrorKind::InvalidData,
            #[cfg(feature = "tls")]
            Error::Tls { .. } => io::ErrorKind::InvalidData,
            #[cfg(feature = "tls")]
            Error::Truncated => io::ErrorKind::UnexpectedEof,
            #[cfg(feature = "tls")]
            Error::HandshakeTimeout => io::ErrorKind::TimedOut,
            #[cfg(feature = "websocket")]
            Error::NotWebSocket { .. } | Error::Protocol { .. } | Error::MessageTooLong { .. } => {
                io::ErrorKind::InvalidData
            }
            Error::Resolve { source, .. } | Error::Io { source, .. } => sys::kind(source),
            Error::Connect { attempts } => match decisive(attempts) {
                Some(source) => sys::kind(source),
                None => io::ErrorKind::AddrNotAvailable,
            },
        }
    }

    /// The number of the system's error or, if there is none, the number that U++ uses: -1,000,000
    /// (`ERROR_GLOBAL_TIMEOUT`) for `GlobalTimeout`, -999,999 (`ERROR_SSLHANDSHAKE_TIMEOUT`) for `HandshakeTimeout`, -1 for the
    /// rest.
    ///
    /// ```
    /// assert_eq!(wakesock::Error::GlobalTimeout.code(), -1_000_000);
    /// assert_eq!(wakesock::Error::UnexpectedEof.code(), -1);
    /// ```
    pub fn code(&self) -> i32 {
        let source = match self {
            Error::GlobalTimeout => return -1_000_000,
            #[cfg(feature = "tls")]
            Error::HandshakeTimeout => return -999_999,
            Error::Resolve { source, .. } | Error::Io { source, .. } => Some(&**source),
            Error::Connect { attempts } => decisive(attempts),
            _ => None,
        };
        let number = source.and_then(|source| match inner(source) {
            Some(inner) => Some(inner.code()),
            None => source.raw_os_error(),
        });
        number.unwrap_or(-1)
    }

    /// Whether a limit ran out: `Timeout`, `GlobalTimeout`, `HandshakeTimeout`, or `Connect` of a connect that had no more time
    /// after some of its addresses had failed.
    ///
    /// It doesn't say that the operation may be tried again: of these only `Timeout` does. In a loop that goes on after a limit,
    /// match that.
    ///
    /// It is not true of what the system calls a timeout: where nobody has answered for so long that the system gives
    /// up (`ETIMEDOUT`, tcp(7)), that is a failure as any other, of [`kind`](Error::kind) `TimedOut`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wakesock::{Error, TcpSocket};
    ///
    /// assert!(Error::Timeout.is_timeout());
    /// # let mut full = TcpSocket::new();
    /// # full.listen_on("127.0.0.1:0", &wakesock::ListenOptions::new().backlog(0))?;
    /// # let silent = full.local_addr()?;
    /// # let first = std::net::TcpStream::connect(silent).unwrap();
    /// # if !cfg!(target_os = "linux") { return Ok(()) } // Elsewhere a queue of no length has more room.
    /// // One address refuses, the other doesn't answer.
    /// let refusing = "127.0.0.1:1".parse().unwrap();
    /// let mut socket = TcpSocket::new();
    /// socket.timeout(Duration::from_millis(50));
    /// let error = socket.connect_to(&[refusing, silent]).unwrap_err();
    /// assert!(error.is_timeout() && socket.is_timeout());
    /// assert_eq!(
    ///     error.to_string(),
    ///     format!("connect to 127.0.0.1:1: connection refused; {silent}: timed out")
    /// );
    /// # Ok::<(), Error>(())
    /// ```
    pub fn is_timeout(&self) -> bool {
        match self {
            Error::Timeout | Error::GlobalTimeout => true,
            #[cfg(feature = "tls")]
            Error::HandshakeTimeout => true,
            Error::Connect { attempts } => attempts.iter().any(|(_, source)| is_of_limit(source)),
            _ => false,
        }
    }

    /// Whether it lasts until the socket is opened again or the error is cleared, whatever the operation.
    pub(crate) fn is_sticky(&self) -> bool {
        match self {
            Error::GlobalTimeout | Error::Io { .. } | Error::Resolve { .. } | Error::Connect { .. } => true,
            #[cfg(feature = "tls")]
            Error::Tls { .. } | Error::Truncated | Error::HandshakeTimeout => true,
            _ => false,
        }
    }

    /// Has the error name another operation, if it names one.
    pub(crate) fn of_operation(self, name: impl FnOnce() -> Cow<'static, str>) -> Error {
        match self {
            Error::Io { source, .. } => Error::Io {
                operation: name(),
                source,
            },
            #[cfg(feature = "tls")]
            Error::Tls { source, .. } => Error::Tls {
                operation: name(),
                source,
            },
            error => error,
        }
    }

    /// Whether this program ended the socket: `Closed` or `Shutdown`.
    ///
    /// ```
    /// assert!(wakesock::Error::Shutdown.is_closed());
    /// assert!(!wakesock::Error::UnexpectedEof.is_closed());
    /// ```
    pub fn is_closed(&self) -> bool {
        matches!(self, Error::Closed | Error::Shutdown)
    }
}

impl From<Error> for io::Error {
    /// Keeps the kind; the [`Error`] itself is the inner error.
    fn from(error: Error) -> io::Error {
        io::Error::new(error.kind(), error)
    }
}

/// The crate's error inside one of the standard library's.
fn inner(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// Whether a limit has ended the attempt that failed with `error`.
fn is_of_limit(error: &io::Error) -> bool {
    inner(error).is_some_and(Error::is_timeout)
}

/// What a connect has failed with: where a limit has ended it that, else what the last attempt has.
fn decisive(attempts: &[(SocketAddr, Arc<io::Error>)]) -> Option<&io::Error> {
    let ended = attempts.iter().find(|(_, source)| is_of_limit(source));
    ended.or(attempts.last()).map(|(_, source)| &**source)
}

/// A name or a URL that a program has given, or an operation on it, without what would begin another line of a log or steer a terminal.
pub(crate) struct OneLine<'a>(pub(crate) &'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|char| match char.is_control() {
            true => f.write_char(char::REPLACEMENT_CHARACTER),
            false => f.write_char(char),
        })
    }
}

/// An I/O error in the middle of a sentence: in lower case, without its number, and without the full stop of Windows.
struct Described<'a>(&'a io::Error);

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        if let Some(code) = self.0.raw_os_error()
            && let Some(kept) = text.strip_suffix(&format!(" (os error {code})")).map(str::len)
        {
            text.truncate(kept);
        }
        // The standard library's prefix for what `getaddrinfo` said.
        let text = text
            .strip_prefix("failed to lookup address information: ")
            .unwrap_or(&text)
            .trim_end_matches('.');
        let mut rest = text.chars();
        let first = rest.next();
        // Not an abbreviation like "I/O", which stays as it is.
        let is_word = rest
            .clone()
            .take_while(|next| *next != ' ')
            .all(|next| !next.is_uppercase());
        match first {
            Some(first) if is_word => write!(f, "{}{}", first.to_lowercase(), rest.as_str()),
            _ => f.write_str(text),
        }
    }
}

/// What may be wrong with a host that could not be resolved.
struct Hint<'a>(&'a str);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.0;
        f.write_str(if host.is_empty() {
            "; the host is empty"
        } else if host.contains(char::is_whitespace) {
            "; white space must not be part of the host"
        } else if host.contains('/') {
            "; a URL or a path is no host"
        } else if host::has_port(host) {
            "; the port must not be part of the host"
        } else {
            ""
        })
    }
}

struct Attempts<'a>(&'a [(SocketAddr, Arc<io::Error>)]);

impl fmt::Display for Attempts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no address");
        }
        for (index, (address, error)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{address}: {}", Described(error))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::code;

    #[test]
    fn texts_name_operation_object_and_cause() {
        let refused = || io::Error::from_raw_os_error(code::CONNECTION_REFUSED);
        let error = Error::io("connect to db.example:5432", refused());
        // On Windows in a sentence of its own, and in the user's language.
        let cause = if cfg!(unix) {
            "connection refused".to_owned()
        } else {
            Described(&refused()).to_string()
        };
        assert_eq!(error.to_string(), format!("connect to db.example:5432: {cause}"));
        assert_eq!(error.code(), code::CONNECTION_REFUSED);
        let error = Error::Connect {
            attempts: vec![
                ("127.0.0.1:1".parse().unwrap(), Arc::new(refused())),
                ("[::1]:1".parse().unwrap(), Arc::new(io::ErrorKind::TimedOut.into())),
            ],
        };
        assert_eq!(
            error.to_string(),
            format!("connect to 127.0.0.1:1: {cause}; [::1]:1: timed out")
        );
        assert_eq!(Error::Connect { attempts: vec![] }.to_string(), "connect to no address");
    }

    #[test]
    fn a_text_is_one_line_whatever_a_name_is() {
        let host = "db\r\n\u{1b}[2Jg\u{fc}nstig".to_owned();
        let why = || Arc::new(io::Error::other("why"));
        let operation = format!("listen on {host}").into();
        let shown = "db\u{fffd}\u{fffd}\u{fffd}[2Jg\u{fc}nstig: why";
        let resolve = Error::Resolve { host, source: why() };
        // Behind that comes what is wrong with such a host.
        assert!(
            resolve.to_string().starts_with(&format!("resolve {shown}")),
            "{resolve}"
        );
        let source = why();
        assert_eq!(
            Error::Io { operation, source }.to_string(),
            format!("listen on {shown}")
        );
    }

    #[test]
    fn a_connect_without_time_is_told_from_what_the_system_calls_a_timeout() {
        let refused = || io::Error::from_raw_os_error(code::CONNECTION_REFUSED);
        let system = || io::Error::from_raw_os_error(code::TIMED_OUT);
        let connect = |sources: Vec<io::Error>| Error::Connect {
            attempts: sources
                .into_iter()
                .map(|source| ("127.0.0.1:1".parse().unwrap(), Arc::new(source)))
                .collect(),
        };
        let ended = connect(vec![Error::Timeout.into(), refused()]);
        assert!(ended.is_timeout());
        assert_eq!((ended.kind(), ended.code()), (io::ErrorKind::TimedOut, -1));
        assert!(ended.to_string().contains("127.0.0.1:1: timed out; "), "{ended}");
        let ended = connect(vec![refused(), Error::GlobalTimeout.into()]);
        assert!(ended.is_timeout());
        assert_eq!((ended.kind(), ended.code()), (io::ErrorKind::TimedOut, -1_000_000));
        assert!(
            ended.to_string().ends_with("127.0.0.1:1: global limit ran out"),
            "{ended}"
        );
        let failed = connect(vec![refused(), system()]);
        assert!(!failed.is_timeout());
        assert_eq!(
            (failed.kind(), failed.code()),
            (io::ErrorKind::TimedOut, code::TIMED_OUT)
        );
        let failed = connect(vec![system(), refused()]);
        assert!(!failed.is_timeout());
        assert_eq!(failed.kind(), io::ErrorKind::ConnectionRefused);
        assert!(!connect(vec![]).is_timeout());
    }

    #[test]
    fn a_cause_fits_into_a_sentence() {
        let described = |text| Described(&io::Error::other(text)).to_string();
        assert_eq!(described("No route to host."), "no route to host");
        assert_eq!(described("A device failed"), "a device failed");
        assert_eq!(described("I/O device error"), "I/O device error");
    }

    #[test]
    fn an_io_error_keeps_what_it_was_made_of() {
        let error = io::Error::from(Error::Aborted);
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        let inner = error.into_inner().unwrap().downcast::<Error>().unwrap();
        assert!(matches!(*inner, Error::Aborted));
    }
}
