//! Connecting.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockRef};

use super::TcpSocket;
use super::operation::Operation;
use crate::address::Lookup;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::raw_wait::{RawWait, WaitEvents};
use crate::shared::Inside;
use crate::sys;
use crate::turn::Side;

/// A connection that is being made.
pub(super) struct Connecting {
    /// As long as the name is being looked up.
    lookup: Option<Lookup>,
    /// Not tried yet.
    addrs: VecDeque<SocketAddr>,
    /// Being tried: its socket is installed.
    current: Option<SocketAddr>,
    failed: Vec<(SocketAddr, Arc<io::Error>)>,
}

impl TcpSocket {
    /// Connects to `host`, which is a name or an address, and `port`.
    ///
    /// Closes what was open before. Blocks for at most [`timeout`](TcpSocket::timeout) for the look-up of the name and
    /// all its addresses, which are tried one after the other. [`close`](super::SocketHandle::close) and
    /// [`abort`](super::SocketHandle::abort) by a handle that was taken before, and the registry, end it at any point.
    /// With a limit of zero it starts the connection and returns: `Ok` doesn't mean connected then, and
    /// [`wait_connect`](TcpSocket::wait_connect) has to finish it before anything else.
    ///
    /// An address that doesn't answer may use up the whole limit before the next one gets its turn. A name that is not an address is looked up in a thread that is left behind when nobody waits for it any more.
    ///
    /// # Errors
    ///
    /// [`Error::Resolve`], [`Error::Connect`] with every address and why it failed, [`Error::Timeout`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use wakesock::TcpSocket;
    ///
    /// let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// let mut socket = TcpSocket::new();
    /// socket
    ///     .timeout(Duration::from_secs(5))
    ///     .connect("127.0.0.1", server.local_addr().unwrap().port())?;
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn connect(&mut self, host: &str, port: u16) -> Result<()> {
        self.prepare_opening();
        let connecting = match host.parse() {
            Ok(ip) => Ok(Connecting::to(VecDeque::from([SocketAddr::new(ip, port)]))),
            Err(_) => Lookup::start(host, port).map(|lookup| Connecting {
                lookup: Some(lookup),
                ..Connecting::to(VecDeque::new())
            }),
        };
        match connecting {
            Ok(connecting) => self.start_connecting(connecting),
            Err(error) => self.settle_opening(Err(Error::Resolve {
                host: host.to_owned(),
                source: Arc::new(error),
            })),
        }
    }

    /// As [`connect`](TcpSocket::connect), to the first of `addrs` that answers.
    ///
    /// ```
    /// use wakesock::{Error, TcpSocket};
    ///
    /// let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// let dead = "127.0.0.1:1".parse().unwrap();
    /// TcpSocket::new().connect_to(&[dead, server.local_addr().unwrap()])?;
    /// let error = TcpSocket::new().connect_to(&[dead]).unwrap_err();
    /// assert_eq!(error.to_string(), "connect to 127.0.0.1:1: connection refused");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn connect_to(&mut self, addrs: &[SocketAddr]) -> Result<()> {
        self.prepare_opening();
        self.start_connecting(Connecting::to(addrs.iter().copied().collect()))
    }

    /// Finishes a connection that `connect` has started with a limit of zero.
    ///
    /// Blocks for at most [`timeout`](TcpSocket::timeout); after [`Error::Timeout`] the connection is still being made.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wakesock::TcpSocket;
    ///
    /// let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// let mut socket = TcpSocket::new();
    /// socket.timeout(Duration::ZERO).connect_to(&[server.local_addr().unwrap()])?;
    /// socket.timeout(Duration::from_secs(5)).wait_connect()?;
    /// assert!(socket.is_open());
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn wait_connect(&mut self) -> Result<()> {
        if self.connecting.is_none() {
            return self.begin();
        }
        self.timed_out = false;
        let result = self.go_on_connecting();
        if let Err(Error::Timeout) = result {
            return self.noted(result);
        }
        self.settle_opening(result)
    }

    fn start_connecting(&mut self, connecting: Connecting) -> Result<()> {
        self.connecting = Some(connecting);
        let result = match self.go_on_connecting() {
            Err(Error::Timeout) if self.timeout == Some(Duration::ZERO) => Ok(()),
            Err(Error::Timeout) => {
                self.abandon_connecting();
                Err(Error::Timeout)
            }
            result => result,
        };
        self.settle_opening(result)
    }

    /// Goes on as long as the limit allows. What is left to do after a timeout stays in `connecting`.
    fn go_on_connecting(&mut self) -> Result<()> {
        let mut deadline = self.deadline();
        let Some(connecting) = &mut self.connecting else {
            return Err(Error::Closed);
        };
        // One limit over all of it, so it begins here and not at the first wait.
        deadline.end();
        let result = self.shared.enter_opening(false).and_then(|mut inside| {
            inside
                .join(&self.registry, &self.shared)
                .and_then(|()| connecting.advance(&mut inside, &self.raw_wait, &mut deadline))
                .and_then(|addr| inside.opened(&self.registry).map(|()| addr))
        });
        match result {
            Ok(addr) => {
                self.connecting = None;
                log::debug!(target: "wakesock", "{}: connected to {addr}", self.id());
                Ok(())
            }
            Err(Error::Timeout) => Err(Error::Timeout),
            Err(error) => {
                self.abandon_connecting();
                Err(error)
            }
        }
    }

    /// Forgets a connection that is being made. Handles that speak of it speak of the next one.
    pub(super) fn abandon_connecting(&mut self) {
        if self.connecting.take().is_some()
            && let Ok(inside) = self.shared.enter_even_unopened()
        {
            inside.give_up();
        }
    }
}

impl Connecting {
    fn to(addrs: VecDeque<SocketAddr>) -> Connecting {
        Connecting {
            lookup: None,
            addrs,
            current: None,
            failed: Vec::new(),
        }
    }

    /// Goes on until there is a connection; gives its address.
    fn advance(
        &mut self,
        inside: &mut Inside<'_>,
        raw_wait: &Arc<dyn RawWait>,
        deadline: &mut Deadline,
    ) -> Result<SocketAddr> {
        if let Some(lookup) = &mut self.lookup {
            self.addrs = lookup.wait(inside, deadline)?.into();
            self.lookup = None;
        }
        loop {
            let addr = match self.current {
                Some(addr) => addr,
                None => match self.addrs.pop_front() {
                    Some(addr) => addr,
                    None => {
                        let attempts = std::mem::take(&mut self.failed);
                        return Err(Error::Connect { attempts });
                    }
                },
            };
            let result = match self.current {
                Some(_) => Ok(()),
                None => start(inside, addr),
            };
            self.current = Some(addr);
            let result = match result {
                Ok(()) => finish(inside, raw_wait, deadline),
                Err(error) => Err(Error::io("connect", error)),
            };
            match result {
                Ok(()) => return Ok(addr),
                Err(Error::Io { source, .. }) => {
                    self.failed.push((addr, source));
                    self.current = None;
                    inside.discard();
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Installs a socket that is connecting to `addr`.
fn start(inside: &mut Inside<'_>, addr: SocketAddr) -> io::Result<()> {
    let socket = sys::socket(Domain::for_address(addr))?;
    match socket.connect(&addr.into()) {
        Err(error) if !sys::is_in_progress(&error) => return Err(error),
        _ => {}
    }
    inside.install(socket.into());
    Ok(())
}

/// Waits until the installed socket is connected.
fn finish(inside: &mut Inside<'_>, raw_wait: &Arc<dyn RawWait>, deadline: &mut Deadline) -> Result<()> {
    let operation = Operation::new("connect", Side::Write, WaitEvents::WRITE, raw_wait);
    operation.run(inside, deadline, |socket, _| {
        let socket = SockRef::from(&socket);
        // connect(2), `EINPROGRESS`: the outcome is in SO_ERROR.
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        match socket.peer_addr() {
            Ok(_) if sys::is_connected_to_itself(&*socket) => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => Err(error),
        }
    })
}
