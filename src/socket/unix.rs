//! Unix-domain sockets, unix(7).

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket};

use super::TcpSocket;
use super::input::Input;
use crate::deadline::Deadline;
use crate::error::{Error, OneLine, Result};
use crate::opening::InUse;
use crate::park::{AnyParker, Step};
use crate::sys;

/// How often a connect is tried again while the listener's queue is full: no wait reports that there is room.
const ASK_AGAIN: Duration = Duration::from_millis(5);

impl TcpSocket {
    /// Connects to the Unix-domain socket at `path`.
    ///
    /// Closes what was open before. Blocks for at most [`timeout`](TcpSocket::timeout) while the listener's queue is
    /// full, and tries again every 5 ms; a handle and the registry end it. Even with a limit of zero, the connection
    /// stands or has failed when it returns.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] with the path: it doesn't exist, no listener is there, or it is longer than `sun_path` holds.
    ///
    /// ```
    /// use wakesock::TcpSocket;
    ///
    /// # let path = std::env::temp_dir().join(format!("wakesock-doc-connect-{}", std::process::id()));
    /// # let mut listener = TcpSocket::new();
    /// # listener.listen_path(&path, 5)?;
    /// TcpSocket::new().connect_path(&path)?;
    /// # std::fs::remove_file(path).unwrap();
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    #[doc(alias = "UnixStream")]
    #[doc(alias = "ConnectFileSystem")]
    pub fn connect_path(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        self.connect_unix(path.display(), sys::path_address(path))
    }

    /// Connects to a name in the abstract namespace, unix(7), as [`connect_path`](TcpSocket::connect_path) does to a
    /// path.
    ///
    /// Only Linux and Android have that namespace: other systems fail with `Unsupported`.
    ///
    /// A name may be any bytes, including NULs, but not empty.
    ///
    /// ```
    /// use wakesock::TcpSocket;
    ///
    /// let name = format!("wakesock-doc-{}", std::process::id());
    /// # if cfg!(target_os = "linux") {
    /// let mut listener = TcpSocket::new();
    /// listener.listen_abstract(&name, 5)?;
    /// TcpSocket::new().connect_abstract(&name)?;
    /// # }
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn connect_abstract(&mut self, name: impl AsRef<[u8]>) -> Result<()> {
        let name = name.as_ref();
        self.connect_unix(abstract_name(name), sys::abstract_address(name))
    }

    /// Listens on a Unix-domain socket at `path`, which must not exist yet.
    ///
    /// The file stays when the socket is closed, as in U++: remove it before you listen there again. Closes what was
    /// open before. Doesn't block.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] with the path: it exists (`AddrInUse`), or is longer than `sun_path` holds.
    ///
    /// ```
    /// use wakesock::TcpSocket;
    ///
    /// let path = std::env::temp_dir().join(format!("wakesock-doc-listen-{}", std::process::id()));
    /// let mut listener = TcpSocket::new();
    /// listener.listen_path(&path, 5)?;
    /// let mut client = TcpSocket::new();
    /// client.connect_path(&path)?;
    /// assert_eq!(listener.accept_new()?.peer_pid()?, std::process::id());
    /// std::fs::remove_file(path).unwrap();
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    #[doc(alias = "UnixListener")]
    #[doc(alias = "ListenFileSystem")]
    pub fn listen_path(&mut self, path: impl AsRef<Path>, backlog: u32) -> Result<()> {
        let path = path.as_ref();
        self.listen_unix(path.display(), sys::path_address(path), backlog)
    }

    /// Listens on a name in the abstract namespace, which is gone with the socket.
    ///
    /// Closes what was open before. Doesn't block. Names and systems: see
    /// [`connect_abstract`](TcpSocket::connect_abstract).
    ///
    /// ```
    /// let mut listener = wakesock::TcpSocket::new();
    /// let listening = listener.listen_abstract(format!("wakesock-doc-listen-{}", std::process::id()), 5);
    /// assert_eq!(listening.is_ok(), cfg!(any(target_os = "linux", target_os = "android")));
    /// ```
    pub fn listen_abstract(&mut self, name: impl AsRef<[u8]>, backlog: u32) -> Result<()> {
        let name = name.as_ref();
        self.listen_unix(abstract_name(name), sys::abstract_address(name), backlog)
    }

    /// The process at the other end of a Unix-domain connection: the one that called `connect` or, seen from there,
    /// `listen`.
    ///
    /// `SO_PEERCRED` on Linux, `LOCAL_PEERPID` on Apple's systems; other systems fail with `Unsupported`. Fails, too,
    /// on a connection that isn't Unix-domain. Doesn't block.
    ///
    /// ```
    /// use std::os::unix::net::UnixStream;
    /// use wakesock::TcpSocket;
    ///
    /// let (one, other) = UnixStream::pair().unwrap();
    /// # if cfg!(any(target_os = "linux", target_vendor = "apple")) {
    /// assert_eq!(TcpSocket::from(one).peer_pid()?, std::process::id());
    /// # }
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    #[doc(alias = "GetPeerPid")]
    #[doc(alias = "SO_PEERCRED")]
    pub fn peer_pid(&self) -> Result<u32> {
        self.with("peer_pid", |socket| sys::peer_pid(sys::borrowed(socket)))
    }

    pub(crate) fn connect_unix(&mut self, name: impl Display, addr: io::Result<SockAddr>) -> Result<()> {
        let mut deadline = self.deadline();
        // The limit is for all of it, so it begins here and not at the first wait.
        deadline.begin();
        self.open(false, |in_use| {
            let failed = |error| Error::io(format!("connect to {name}"), error);
            let addr = addr.map_err(failed)?;
            let socket = sys::socket(Domain::UNIX).map_err(failed)?;
            connect_when_there_is_room(in_use, &socket, &addr, &mut deadline)?.map_err(failed)?;
            in_use.install(socket.into());
            Ok(())
        })?;
        self.input = Input::doubtful();
        log::debug!(target: "wakesock", "{}: connected to {}", self.id(), OneLine(&name.to_string()));
        Ok(())
    }

    fn listen_unix(&mut self, name: impl Display, addr: io::Result<SockAddr>, backlog: u32) -> Result<()> {
        self.open(true, |in_use| {
            let listener = addr.and_then(|addr| {
                let socket = sys::socket(Domain::UNIX)?;
                socket.bind(&addr)?;
                sys::listen(&socket, backlog)?;
                Ok(socket)
            });
            let listener = listener.map_err(|error| Error::io(format!("listen on {name}"), error))?;
            in_use.install(listener.into());
            Ok(())
        })?;
        self.input = Input::doubtful();
        log::debug!(target: "wakesock", "{}: listening on {}", self.id(), OneLine(&name.to_string()));
        Ok(())
    }
}

/// Connects, and tries again while the listener's queue is full: connect(2), `EAGAIN`.
fn connect_when_there_is_room(
    in_use: &mut InUse<'_>,
    socket: &Socket,
    addr: &SockAddr,
    deadline: &mut Deadline,
) -> Result<io::Result<()>> {
    deadline.check_global()?;
    let full = |result: &io::Result<()>| matches!(result, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
    let connect = || sys::connect_path(socket, addr);
    let first = connect();
    if !full(&first) {
        return Ok(first);
    }
    in_use.park(&mut AnyParker::new(), deadline, |_| match connect() {
        result if full(&result) => Step::WaitUntil(Some(Instant::now() + ASK_AGAIN)),
        result => Step::Done(result),
    })
}

/// An abstract name as `ss` and `netstat` show it.
fn abstract_name(name: &[u8]) -> String {
    format!("@{}", name.escape_ascii())
}
