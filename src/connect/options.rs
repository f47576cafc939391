//! [`ConnectOptions`], and what a program does to a socket before it is used.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use socket2::{SockRef, Socket};

/// Options for [`TcpSocket::connect_with`](crate::TcpSocket::connect_with).
///
/// ```
/// use wakesock::{ConnectOptions, TcpSocket};
///
/// # let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
/// # let port = server.local_addr().unwrap().port();
/// let options = ConnectOptions::new()
///     .bind("127.0.0.1:0".parse().unwrap())
///     .prepare(|socket| socket.set_tcp_nodelay(true));
/// let mut socket = TcpSocket::new();
/// socket.connect_with("localhost", port, &options)?;
/// assert!(wakesock::socket2::SockRef::from(&socket).tcp_nodelay().unwrap());
/// # Ok::<(), wakesock::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectOptions {
    pub(super) bind: Option<SocketAddr>,
    pub(super) prepare: Option<Prepare>,
}

impl ConnectOptions {
    /// The defaults: the system chooses the local address, and nothing is set.
    ///
    /// ```
    /// use wakesock::ConnectOptions;
    ///
    /// assert_eq!(ConnectOptions::new(), ConnectOptions::default());
    /// ```
    pub fn new() -> ConnectOptions {
        ConnectOptions::default()
    }

    /// Connects from this local address: bind(2). Port 0 means any free port.
    ///
    /// The attempts at addresses of the other family fail, with an error that says so. With a port other than 0, two
    /// attempts that run at the same time are in each other's way: the second fails with `AddrInUse`.
    ///
    /// ```
    /// use wakesock::{ConnectOptions, TcpSocket};
    ///
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let port = server.local_addr().unwrap().port();
    /// # if cfg!(target_os = "linux") { // Elsewhere the loopback interface has one address.
    /// let mut socket = TcpSocket::new();
    /// let options = ConnectOptions::new().bind("127.0.0.5:0".parse().unwrap());
    /// socket.connect_with("127.0.0.1", port, &options)?;
    /// assert_eq!(socket.local_addr()?.ip().to_string(), "127.0.0.5");
    /// # }
    ///
    /// let options = ConnectOptions::new().bind("[::1]:0".parse().unwrap());
    /// let error = TcpSocket::new().connect_with("127.0.0.1", 80, &options).unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "connect to 127.0.0.1:80: bind to [::1]:0: address of the other family"
    /// );
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn bind(mut self, addr: SocketAddr) -> ConnectOptions {
        self.bind = Some(addr);
        self
    }

    /// Calls `prepare` with each socket that is made, before it is bound and connects: for options of
    /// [`socket2`](crate::socket2), or of the system's. A second `prepare` takes the place of the first.
    ///
    /// It is called once for each address that is tried, on the thread that connects, without a lock of this crate. It
    /// must not block: neither the limit nor anything else ends it. The socket is in non-blocking mode, whatever it sets.
    ///
    /// Where it fails, that attempt fails with its error, and the others go on. If it panics, the attempts are dropped,
    /// and the panic goes on to the caller of the connect.
    ///
    /// ```
    /// use std::io;
    /// use wakesock::{ConnectOptions, TcpSocket};
    ///
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let port = server.local_addr().unwrap().port();
    /// // The window is agreed on as the connection is made, so the buffer's size has to be set before: tcp(7).
    /// let large = ConnectOptions::new().prepare(|socket| socket.set_recv_buffer_size(1 << 20));
    /// TcpSocket::new().connect_with("localhost", port, &large)?;
    ///
    /// let refused = ConnectOptions::new().prepare(|_| Err(io::Error::other("not today")));
    /// let error = TcpSocket::new().connect_with("127.0.0.1", port, &refused).unwrap_err();
    /// assert_eq!(error.to_string(), format!("connect to 127.0.0.1:{port}: not today"));
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn prepare(
        mut self,
        prepare: impl Fn(&SockRef<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> ConnectOptions {
        self.prepare = Some(Prepare::new(prepare));
        self
    }
}

/// What a program does to a socket before that is used.
#[derive(Clone)]
pub(crate) struct Prepare(Arc<Function>);

type Function = dyn Fn(&SockRef<'_>) -> io::Result<()> + Send + Sync;

impl Prepare {
    pub(crate) fn new(prepare: impl Fn(&SockRef<'_>) -> io::Result<()> + Send + Sync + 'static) -> Prepare {
        Prepare(Arc::new(prepare))
    }

    /// Calls it. Whatever it does, the socket is in non-blocking mode afterwards.
    pub(crate) fn call(&self, socket: &Socket) -> io::Result<()> {
        (self.0)(&SockRef::from(socket))?;
        socket.set_nonblocking(true)
    }
}

impl fmt::Debug for Prepare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Prepare").finish_non_exhaustive()
    }
}

/// Equal are those that are the same.
impl PartialEq for Prepare {
    fn eq(&self, other: &Prepare) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Prepare {}
