//! Listening.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use socket2::{Domain, SockRef, Socket};

use super::TcpSocket;
use crate::connect::Prepare;
use crate::error::{Error, Result};
use crate::host::Given;
use crate::sys;

/// Options for [`TcpSocket::listen_on`].
///
/// ```
/// use wakesock::{ListenOptions, TcpSocket};
///
/// let mut listener = TcpSocket::new();
/// listener.listen_on("127.0.0.1:0", &ListenOptions::new().backlog(64))?;
/// # Ok::<(), wakesock::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    backlog: u32,
    reuse_address: bool,
    only_v6: Option<bool>,
    prepare: Option<Prepare>,
}

impl ListenOptions {
    /// The defaults: the system's longest backlog, `SO_REUSEADDR`, and the system's rule for IPv4 clients of an IPv6
    /// listener.
    ///
    /// ```
    /// use wakesock::ListenOptions;
    ///
    /// let strict = ListenOptions::new().reuse_address(false);
    /// assert_ne!(strict, ListenOptions::default());
    /// assert_eq!(strict.reuse_address(true), ListenOptions::new());
    /// ```
    pub fn new() -> ListenOptions {
        ListenOptions {
            backlog: sys::MOST_BACKLOG,
            reuse_address: true,
            only_v6: None,
            prepare: None,
        }
    }

    /// Sets how many clients may wait to be accepted; the system has its own limit, listen(2). Windows refuses a client
    /// that comes when this many wait.
    ///
    /// ```
    /// use wakesock::{ListenOptions, TcpSocket};
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &ListenOptions::new().backlog(64))?;
    /// // The connection stands though it is not accepted yet: it waits in the backlog.
    /// let mut client = TcpSocket::new();
    /// client.connect_to(&[listener.local_addr()?])?;
    /// client.put_all(b"hello\n")?;
    /// assert_eq!(listener.accept_new()?.get_line()?.as_deref(), Some("hello"));
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn backlog(mut self, backlog: u32) -> ListenOptions {
        self.backlog = backlog;
        self
    }

    /// Sets whether a port can be listened on while old connections still linger there: `SO_REUSEADDR`, socket(7).
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use wakesock::{ListenOptions, TcpSocket};
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &ListenOptions::new())?;
    /// let addr = listener.local_addr()?;
    /// let client = std::net::TcpStream::connect(addr).unwrap();
    /// listener.accept_new()?.close();
    /// listener.close();
    /// // What is left of that connection keeps the port.
    /// let refused = listener.listen_on(addr, &ListenOptions::new().reuse_address(false));
    /// assert_eq!(refused.unwrap_err().kind(), ErrorKind::AddrInUse);
    /// listener.listen_on(addr, &ListenOptions::new())?;
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    ///
    /// # Windows
    ///
    /// On Windows, `true` sets nothing, since a port may be listened on again anyway. `SO_REUSEADDR` is never set: it
    /// would let one process take over a port that another listens on. `false` sets `SO_EXCLUSIVEADDRUSE`, which also
    /// keeps out sockets with `SO_REUSEADDR`. Without it, the system lets the same user listen on a port of all
    /// addresses and of a single one at once ("Using SO_REUSEADDR and SO_EXCLUSIVEADDRUSE").
    pub fn reuse_address(mut self, reuse: bool) -> ListenOptions {
        self.reuse_address = reuse;
        self
    }

    /// Sets whether a listener on `[::]` gets no IPv4 clients: `IPV6_V6ONLY`, ipv6(7).
    ///
    /// ```
    /// use wakesock::{ListenOptions, TcpSocket};
    ///
    /// # if std::net::TcpListener::bind("[::1]:0").is_err() {
    /// #     return Ok(()); // a machine without IPv6
    /// # }
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("[::]:0", &ListenOptions::new().only_v6(false))?;
    /// let port = listener.local_addr()?.port();
    /// let client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    /// assert_eq!(listener.accept_new()?.peer_addr()?.ip().to_string(), "::ffff:127.0.0.1");
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn only_v6(mut self, only: bool) -> ListenOptions {
        self.only_v6 = Some(only);
        self
    }

    /// Calls `prepare` with each socket that is made, before it is bound: for options of [`socket2`](crate::socket2), or
    /// of the system's. It has the last word on what the other options set. A second `prepare` takes the place of the
    /// first.
    ///
    /// It must not block: nothing ends it. If it fails, so does listening on that address; if it panics, the panic goes on
    /// to the caller. Options compare equal only if their `prepare` is a clone of the same.
    ///
    /// ```
    /// use wakesock::{ListenOptions, TcpSocket};
    ///
    /// // Two listeners on one port, among which the system shares out the clients: socket(7), `SO_REUSEPORT`.
    /// # #[cfg(target_os = "linux")] {
    /// let shared = ListenOptions::new().prepare(|socket| socket.set_reuse_port(true));
    /// let (mut first, mut second) = (TcpSocket::new(), TcpSocket::new());
    /// first.listen_on("127.0.0.1:0", &shared)?;
    /// second.listen_on(first.local_addr()?, &shared)?;
    /// # }
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn prepare(
        mut self,
        prepare: impl Fn(&SockRef<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> ListenOptions {
        self.prepare = Some(Prepare::new(prepare));
        self
    }
}

impl Default for ListenOptions {
    fn default() -> ListenOptions {
        ListenOptions::new()
    }
}

impl TcpSocket {
    /// Listens on all IPv4 addresses, as U++ does, with `SO_REUSEADDR`. Port 0 means any free port.
    ///
    /// Closes what was open before. Doesn't block. Fails as [`listen_on`](TcpSocket::listen_on) does.
    ///
    /// ```
    /// let mut listener = wakesock::TcpSocket::new();
    /// listener.listen(0, 128)?;
    /// assert!(listener.local_addr()?.ip().is_unspecified());
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    #[doc(alias = "bind")]
    pub fn listen(&mut self, port: u16, backlog: u32) -> Result<()> {
        let addr = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        self.listen_on(addr, &ListenOptions::new().backlog(backlog))
    }

    /// Listens on `addr`; of several addresses, on the first that works.
    ///
    /// Closes what was open before. Doesn't block, unless `addr` is a name that has to be looked up: the look-up has no
    /// limit and can't be ended.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] with the address that failed last; [`Error::Resolve`] with the host that could not be looked up, or
    /// `Io` without it if `addr` is of a type of the program's own; [`Error::Shutdown`] if the registry accepts no more.
    ///
    /// ```
    /// let mut listener = wakesock::TcpSocket::new();
    /// listener.listen_on("[::1]:0", &Default::default())
    ///     .or_else(|_| listener.listen_on("127.0.0.1:0", &Default::default()))?;
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    #[doc(alias = "bind")]
    #[doc(alias = "Listen")]
    pub fn listen_on(&mut self, addr: impl ToSocketAddrs, options: &ListenOptions) -> Result<()> {
        self.open(true, |in_use| {
            let addrs = addr.to_socket_addrs().map_err(|error| not_found(&addr, error))?;
            let none = io::Error::new(io::ErrorKind::AddrNotAvailable, "no address");
            let mut last = Error::io("listen", none);
            for addr in addrs {
                match listener_on(addr, options) {
                    Ok(socket) => {
                        in_use.install(socket.into());
                        if options.prepare.is_some() {
                            in_use.opening().set_lent();
                        }
                        return Ok(());
                    }
                    Err(error) => last = error,
                }
            }
            Err(last)
        })?;
        log::debug!(target: "wakesock", "{}: listening on {:?}", self.id(), self.local_addr().ok());
        Ok(())
    }
}

/// What `addr` could not be made addresses of for.
fn not_found(addr: &impl ToSocketAddrs, error: io::Error) -> Error {
    match Given::of(addr) {
        // It is no host and port, or half an address.
        Some(Given { text, host, .. }) if error.kind() == io::ErrorKind::InvalidInput || host.contains(':') => {
            Error::io(format!("listen on {text}"), sys::look_up_error(error))
        }
        Some(Given { host, .. }) => Error::Resolve {
            host: host.to_owned(),
            source: Arc::new(sys::look_up_error(error)),
        },
        None => Error::io("look up the address to listen on", sys::look_up_error(error)),
    }
}

fn listener_on(addr: SocketAddr, options: &ListenOptions) -> Result<Socket> {
    let socket = unbound(addr, options).map_err(|error| failed(addr, error))?;
    if let Some(prepare) = &options.prepare {
        let prepared = prepare.call(&socket);
        prepared.map_err(|error| Error::io(format!("prepare to listen on {addr}"), error))?;
    }
    let bound = socket.bind(&addr.into());
    let listening = bound.and_then(|()| sys::listen(&socket, options.backlog));
    listening.map_err(|error| failed(addr, error))?;
    Ok(socket)
}

fn unbound(addr: SocketAddr, options: &ListenOptions) -> io::Result<Socket> {
    let socket = sys::socket(Domain::for_address(addr))?;
    sys::set_reuse_address(&socket, options.reuse_address)?;
    if let (true, Some(only)) = (addr.is_ipv6(), options.only_v6) {
        socket.set_only_v6(only)?;
    }
    Ok(socket)
}

fn failed(addr: SocketAddr, error: io::Error) -> Error {
    Error::io(format!("listen on {addr}"), error)
}
