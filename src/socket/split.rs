//! Both directions of a connection at once, from two threads.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Directions, SocketHandle, TcpSocket};
use crate::deadline::Waiting;
use crate::error::{Error, Result};
use crate::events::WaitEvents;
use crate::opening::SocketId;

/// The reading half of a connection: [`TcpSocket::split`].
///
/// Its methods are those of [`TcpSocket`] with the same names. Each half has limits and settings of its own, which begin
/// as copies of those of the socket that was split, and the errors of its direction.
///
/// [`close`](TcpReader::close), [`abort`](TcpReader::abort) and a handle act on the whole connection. Dropping both
/// halves closes it. Dropping one half changes nothing for the other, or for the peer.
///
/// ```
/// use std::io::BufRead;
/// use std::thread;
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
/// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
/// # let mut peer = wakesock::TcpSocket::from(peer);
/// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
/// let (reader, mut writer) = socket.split();
/// let printer = thread::spawn(move || reader.lines().map_while(Result::ok).count());
/// writer.put_all(b"question\n")?;
/// # assert_eq!(peer.get_line()?.as_deref(), Some("question"));
/// # peer.put_all(b"first line\nsecond line\n")?;
/// # peer.close();
/// assert_eq!(printer.join().unwrap(), 2);
/// # Ok::<(), wakesock::Error>(())
/// ```
pub struct TcpReader {
    half: TcpSocket,
}

/// The writing half of a connection: [`TcpSocket::split`].
///
/// Its methods are those of [`TcpSocket`] with the same names. What the page of [`TcpReader`] says of halves holds for
/// it. Dropping it does not end the stream: [`shutdown`](TcpWriter::shutdown) does.
///
/// ```
/// use std::io::Write;
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
/// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
/// # let mut peer = wakesock::TcpSocket::from(peer);
/// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
/// let (mut reader, mut writer) = socket.split();
/// writeln!(writer, "{} + {} =", 1, 2).unwrap();
/// writer.shutdown()?;
/// drop(writer);
/// // The peer sees the end of the stream, and can still answer.
/// assert_eq!(peer.get_line()?.as_deref(), Some("1 + 2 ="));
/// assert_eq!(peer.get_line()?, None);
/// peer.put_all(b"3\n")?;
/// assert_eq!(reader.get_line()?.as_deref(), Some("3"));
/// # Ok::<(), wakesock::Error>(())
/// ```
pub struct TcpWriter {
    half: TcpSocket,
}

impl TcpSocket {
    /// Splits the connection into halves, so that one thread can read while another writes.
    ///
    /// Both may block at the same time, each with its own limits. [`TcpReader::unsplit`] joins them again. Bytes that
    /// were read ahead go to the reader. Halves of a socket that isn't open are not open either, and stay so.
    ///
    /// ```
    /// use std::thread;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// let (mut reader, mut writer) = socket.split();
    /// let answers = thread::spawn(move || {
    ///     let answer = reader.get_line();
    ///     (answer, reader)
    /// });
    /// writer.put_all(b"question\n")?;
    /// # assert_eq!(peer.get_line()?.as_deref(), Some("question"));
    /// # peer.put_all(b"answer\n")?;
    /// let (answer, reader) = answers.join().unwrap();
    /// assert_eq!(answer?.as_deref(), Some("answer"));
    /// let socket = reader.unsplit(writer).unwrap();
    /// assert!(socket.is_open());
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    #[doc(alias = "try_clone")]
    #[doc(alias = "into_split")]
    pub fn split(mut self) -> (TcpReader, TcpWriter) {
        self.abandon_connecting();
        self.opening.add_owner();
        let opening = Arc::clone(&self.opening);
        let mut writer = TcpSocket::of(opening, self.registry.clone(), self.raw_wait.clone());
        writer.limit = self.limit;
        writer.special.clone_from(&self.special);
        writer.special.keep_errors(Directions::WRITE);
        self.special.keep_errors(Directions::READ);
        (TcpReader { half: self }, TcpWriter { half: writer })
    }
}

impl TcpReader {
    /// Joins the halves again. The socket has the reader's limits, and the error of each half in the direction of that
    /// half. If both have one, [`error`](TcpSocket::error) tells the reader's.
    ///
    /// # Errors
    ///
    /// Gives both back if they are not of the same connection.
    ///
    /// ```
    /// use wakesock::TcpSocket;
    ///
    /// let (reader, _) = TcpSocket::new().split();
    /// let (_, stranger) = TcpSocket::new().split();
    /// assert!(reader.unsplit(stranger).is_err());
    /// ```
    pub fn unsplit(self, mut writer: TcpWriter) -> Result<TcpSocket, UnsplitError> {
        if !Arc::ptr_eq(&self.half.opening, &writer.half.opening) {
            return Err(UnsplitError(Box::new((self, writer))));
        }
        let mut socket = self.half;
        if let Some(error) = writer.half.error() {
            socket.set_sticky(Directions::WRITE, error);
        }
        // That half doesn't end: it says nothing of what becomes of the session.
        writer.half.special.set_session(None);
        Ok(socket)
    }
}

/// Halves that do not belong together: [`TcpReader::unsplit`], and other types' functions of that name.
///
/// ```
/// use wakesock::TcpSocket;
///
/// let (reader, writer) = TcpSocket::new().split();
/// let (_, stranger) = TcpSocket::new().split();
/// let error = reader.unsplit(stranger).unwrap_err();
/// assert_eq!(error.to_string(), "halves of different connections");
/// let (reader, _stranger) = error.into_halves();
/// assert!(reader.unsplit(writer).is_ok());
/// ```
#[derive(Debug, thiserror::Error)]
#[error("halves of different connections")]
pub struct UnsplitError<R = TcpReader, W = TcpWriter>(Box<(R, W)>);

impl<R, W> UnsplitError<R, W> {
    #[cfg(feature = "websocket")]
    pub(crate) fn new(reader: R, writer: W) -> UnsplitError<R, W> {
        UnsplitError(Box::new((reader, writer)))
    }

    /// Returns the two halves, unharmed.
    ///
    /// ```
    /// use wakesock::TcpSocket;
    ///
    /// let (reader, _) = TcpSocket::new().split();
    /// let (_, stranger) = TcpSocket::new().split();
    /// let (_reader, _stranger) = reader.unsplit(stranger).unwrap_err().into_halves();
    /// ```
    pub fn into_halves(self) -> (R, W) {
        *self.0
    }
}

/// Calls the socket's method of the same name: with `&mut self`, with `&self`, or as a setter.
macro_rules! forward {
    ($setup:expr; mut $name:ident($($arg:ident: $Arg:ty),*) -> $Return:ty, $example:literal) => {
        #[doc = concat!("Calls [`TcpSocket::", stringify!($name), "`] of this half.\n\n", $setup, $example, "\n# Ok::<(), wakesock::Error>(())\n```")]
        pub fn $name(&mut self, $($arg: $Arg),*) -> $Return {
            self.half.$name($($arg),*)
        }
    };
    ($setup:expr; ref $name:ident($($arg:ident: $Arg:ty),*) -> $Return:ty, $example:literal) => {
        #[doc = concat!("Calls [`TcpSocket::", stringify!($name), "`] of this half.\n\n", $setup, $example, "\n# Ok::<(), wakesock::Error>(())\n```")]
        pub fn $name(&self, $($arg: $Arg),*) -> $Return {
            self.half.$name($($arg),*)
        }
    };
    ($setup:expr; set $name:ident($($arg:ident: $Arg:ty),*), $example:literal) => {
        #[doc = concat!("Calls [`TcpSocket::", stringify!($name), "`] of this half.\n\n", $setup, $example, "\n# Ok::<(), wakesock::Error>(())\n```")]
        pub fn $name(&mut self, $($arg: $Arg),*) -> &mut Self {
            self.half.$name($($arg),*);
            self
        }
    };
}

/// Begins an example: a peer that has sent two lines, and one half of the connection.
macro_rules! setup {
    ($halves:literal) => {
        concat!(
            "```\n# let listener = std::net::TcpListener::bind(\"127.0.0.1:0\").unwrap();\n",
            "# let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();\n",
            "# let mut peer = wakesock::TcpSocket::from(peer);\n",
            "# peer.put_all(b\"hello\\nworld\\n\")?;\n",
            "# let ",
            $halves,
            " = wakesock::TcpSocket::from(listener.accept().unwrap().0).split();\n"
        )
    };
}

impl TcpReader {
    forward!(setup!("(mut reader, _writer)"); mut get(buf: &mut [u8]) -> Result<usize>,
        "assert_eq!(reader.get(&mut [0; 5])?, 5);");
    forward!(setup!("(mut reader, _writer)"); mut get_bytes(len: usize) -> Result<Vec<u8>>,
        "assert_eq!(reader.get_bytes(5)?, b\"hello\");");
    forward!(setup!("(mut reader, _writer)"); mut get_byte() -> Result<Option<u8>>,
        "assert_eq!(reader.get_byte()?, Some(b'h'));");
    forward!(setup!("(mut reader, _writer)"); mut peek() -> Result<Option<u8>>,
        "assert_eq!(reader.peek()?, Some(b'h'));");
    forward!(setup!("(mut reader, _writer)"); ref buffer() -> &[u8],
        "reader.get_line()?;\nassert_eq!(reader.buffer(), b\"world\\n\");");
    forward!(setup!("(mut reader, _writer)"); mut term() -> Result<Option<u8>>,
        "assert_eq!(reader.term()?, Some(b'h'));");
    forward!(setup!("(mut reader, _writer)"); mut get_all(buf: &mut [u8]) -> Result<()>,
        "reader.get_all(&mut [0; 12])?;");
    forward!(setup!("(mut reader, _writer)"); mut get_all_bytes(len: usize) -> Result<Vec<u8>>,
        "assert_eq!(reader.get_all_bytes(12)?, b\"hello\\nworld\\n\");");
    forward!(setup!("(mut reader, _writer)"); mut peek_all(len: usize) -> Result<&[u8]>,
        "assert_eq!(reader.peek_all(5)?, b\"hello\");\nassert_eq!(reader.get_byte()?, Some(b'h'));");
    forward!(setup!("(mut reader, _writer)"); mut unread(bytes: &[u8]) -> (),
        "reader.unread(b\"say \");\nassert_eq!(reader.get_line()?.as_deref(), Some(\"say hello\"));");
    forward!(setup!("(mut reader, _writer)"); mut get_line() -> Result<Option<String>>,
        "assert_eq!(reader.get_line()?.as_deref(), Some(\"hello\"));");
    forward!(setup!("(mut reader, _writer)"); mut get_line_bytes(max_len: usize) -> Result<Option<Vec<u8>>>,
        "assert_eq!(reader.get_line_bytes(80)?.as_deref(), Some(&b\"hello\"[..]));");
    forward!(setup!("(mut reader, _writer)"); mut get_line_into(line: &mut Vec<u8>, max_len: usize) -> Result<bool>,
        "let mut line = Vec::new();\nwhile line != b\"world\" {\n    assert!(reader.get_line_into(&mut line, 80)?);\n}");
    forward!(setup!("(mut reader, _writer)"); mut wait_read() -> Result<()>,
        "reader.wait_read()?;");
    forward!(setup!("(mut reader, _writer)"); mut wait_request() -> Result<bool>,
        "assert!(reader.wait_request()?);");
    forward!(setup!("(reader, _writer)"); ref is_eof() -> bool,
        "assert!(!reader.is_eof());");
}

impl TcpWriter {
    forward!(setup!("(_reader, mut writer)"); mut put(data: &[u8]) -> Result<usize>,
        "assert_eq!(writer.put(b\"hello\")?, 5);\n# assert_eq!(peer.get_all_bytes(5)?, b\"hello\");");
    forward!(setup!("(_reader, mut writer)"); mut put_all(data: &[u8]) -> Result<()>,
        "writer.put_all(b\"hello\")?;\n# assert_eq!(peer.get_all_bytes(5)?, b\"hello\");");
    forward!(setup!("(_reader, mut writer)"); mut flush() -> Result<()>,
        "writer.flush()?;");
    forward!(setup!("(_reader, writer)"); ref unsent() -> usize,
        "assert_eq!(writer.unsent(), 0);");
    forward!(setup!("(_reader, writer)"); ref wants() -> WaitEvents,
        "assert!(writer.wants().is_empty());");
    forward!(setup!("(_reader, mut writer)"); mut wait_write() -> Result<()>,
        "writer.wait_write()?;");
    forward!(setup!("(_reader, writer)"); ref shutdown() -> Result<()>,
        "writer.shutdown()?;\nassert_eq!(peer.get_byte()?, None);");
}

/// The methods that both halves have.
macro_rules! common {
    ($Half:ident, $halves:literal) => {
        impl $Half {
            forward!(setup!($halves); set timeout(limit: impl Into<Option<Duration>>),
                "half.timeout(std::time::Duration::from_secs(5));");
            forward!(setup!($halves); ref get_timeout() -> Option<Duration>,
                "assert_eq!(half.get_timeout(), None);");
            forward!(setup!($halves); ref current_timeout() -> Option<Duration>,
                "assert_eq!(half.current_timeout(), None);");
            forward!(setup!($halves); set blocking(),
                "half.blocking();");
            forward!(setup!($halves); ref is_blocking() -> bool,
                "assert!(half.is_blocking());");
            forward!(setup!($halves); set global_timeout(limit: impl Into<Option<Duration>>),
                "half.global_timeout(std::time::Duration::from_secs(60));");
            forward!(setup!($halves); set no_global_timeout(),
                "half.no_global_timeout();");
            forward!(setup!($halves); set when_wait(callback: impl Fn(&Waiting<'_>) + Send + Sync + 'static),
                "half.when_wait(|waiting| eprintln!(\"{} bytes\", waiting.done()));");
            forward!(setup!($halves); set clear_when_wait(),
                "half.clear_when_wait();");
            forward!(setup!($halves); set wait_step(step: Duration),
                "half.wait_step(std::time::Duration::from_millis(20));");
            forward!(setup!($halves); ref get_wait_step() -> Duration,
                "assert_eq!(half.get_wait_step(), std::time::Duration::from_millis(10));");
            forward!(setup!($halves); ref current_wait_step() -> Duration,
                "assert_eq!(half.current_wait_step(), std::time::Duration::from_millis(10));");
            forward!(setup!($halves); ref close() -> (),
                "half.close();\nassert!(!half.is_open());");
            forward!(setup!($halves); ref abort() -> (),
                "half.abort();\nassert!(half.is_abort());");
            forward!(setup!($halves); ref is_abort() -> bool,
                "assert!(!half.is_abort());");
            forward!(setup!($halves); ref is_aborted() -> bool,
                "assert!(!half.is_aborted());");
            forward!(setup!($halves); ref clear_abort() -> (),
                "half.abort();\nhalf.clear_abort();\nassert!(!half.is_abort());");
            forward!(setup!($halves); ref id() -> SocketId,
                "assert_eq!(half.id(), half.handle().id());");
            forward!(setup!($halves); ref is_open() -> bool,
                "assert!(half.is_open());");
            forward!(setup!($halves); ref is_timeout() -> bool,
                "assert!(!half.is_timeout());");
            forward!(setup!($halves); ref timed_out() -> bool,
                "assert!(!half.timed_out());");
            forward!(setup!($halves); ref done() -> usize,
                "assert_eq!(half.done(), 0);");
            forward!(setup!($halves); ref transferred() -> usize,
                "assert_eq!(half.transferred(), 0);");
            forward!(setup!($halves); ref is_error() -> bool,
                "assert!(!half.is_error());");
            forward!(setup!($halves); ref error() -> Option<&Error>,
                "assert!(half.error().is_none());");
            forward!(setup!($halves); ref error_desc() -> String,
                "assert_eq!(half.error_desc(), \"\");");
            forward!(setup!($halves); mut clear_error() -> (),
                "half.clear_error();");
            forward!(setup!($halves); ref local_addr() -> Result<SocketAddr>,
                "assert_eq!(half.local_addr()?, peer.peer_addr()?);");
            forward!(setup!($halves); ref peer_addr() -> Result<SocketAddr>,
                "assert_eq!(half.peer_addr()?, peer.local_addr()?);");
            forward!(setup!($halves); ref no_delay() -> Result<()>,
                "half.no_delay()?;");
            forward!(setup!($halves); ref set_nodelay(nodelay: bool) -> Result<()>,
                "half.set_nodelay(true)?;");
            forward!(setup!($halves); ref nodelay() -> Result<bool>,
                "assert!(!half.nodelay()?);");
            forward!(setup!($halves); ref linger(limit: impl Into<Option<Duration>>) -> Result<()>,
                "half.linger(std::time::Duration::from_secs(1))?;");
            forward!(setup!($halves); ref set_linger(limit: impl Into<Option<Duration>>) -> Result<()>,
                "half.set_linger(std::time::Duration::from_secs(1))?;");
            forward!(setup!($halves); ref no_linger() -> Result<()>,
                "half.no_linger()?;");

            pub(crate) fn half(&self) -> &TcpSocket {
                &self.half
            }

            pub(crate) fn half_mut(&mut self) -> &mut TcpSocket {
                &mut self.half
            }

            /// Gives a handle by which other threads and signal handlers end the whole connection:
            /// [`TcpSocket::handle`].
            ///
            /// ```
            #[doc = concat!("# let ", $halves, " = wakesock::TcpSocket::new().split();")]
            /// let handle = half.handle();
            /// handle.close();
            /// assert!(!half.is_open());
            /// ```
            pub fn handle(&self) -> SocketHandle {
                SocketHandle::new(&self.half.opening)
            }
        }

        impl fmt::Debug for $Half {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($Half)).field(&self.half).finish()
            }
        }
    };
}

common!(TcpReader, "(mut half, _other)");
common!(TcpWriter, "(_other, mut half)");
