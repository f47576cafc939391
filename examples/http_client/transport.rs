//! [`ureq`] over [`TcpSocket`]: requests that something else can end, from the look-up of the name to the last byte of
//! the body.
//!
//! `Agent::shutdown` of ureq ends them, and so does the [`ShutdownRegistry`] that the [`SocketConnector`] was made
//! with; [`ended_by`] tells which it was. Time limits are ureq's own; each is kept to by the operation it is handed to,
//! where that of the connect covers the look-up, too.
//!
//! This file is whole: copy it into your program. For `https` it needs this crate's feature `tls`, and
//! [`SocketConnector::with_tls`]. It knows nothing of proxies, so configure `proxy(None)`. What ureq calls *unversioned* may
//! change with its minor versions.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use ureq::config::{Config, IpFamily};
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, ShutdownHandle, Transport,
};
use wakesock::{Error, IpAddrFamily, IpAddrInfo, ShutdownRegistry, SocketHandle, TcpSocket};

/// Looks nothing up: [`SocketConnector`] does, in the middle of its connect, where it can be ended.
#[derive(Debug)]
pub(crate) struct NoResolver;

impl Resolver for NoResolver {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addrs = self.empty();
        // ureq asks for at least one.
        addrs.push(([0, 0, 0, 0], 0).into());
        Ok(addrs)
    }
}

/// Makes connections that a registry can end.
#[derive(Debug)]
pub(crate) struct SocketConnector {
    registry: ShutdownRegistry,
    #[cfg(feature = "tls-ring")]
    tls: Option<Arc<wakesock::rustls::ClientConfig>>,
}

impl SocketConnector {
    pub(crate) fn new(registry: &ShutdownRegistry) -> SocketConnector {
        SocketConnector {
            registry: registry.clone(),
            #[cfg(feature = "tls-ring")]
            tls: None,
        }
    }

    /// Has it speak `https` as well, with servers that this configuration trusts.
    #[cfg(feature = "tls-ring")]
    pub(crate) fn with_tls(self, config: Arc<wakesock::rustls::ClientConfig>) -> SocketConnector {
        SocketConnector {
            tls: Some(config),
            ..self
        }
    }

    /// Begins TLS, if the request is for `https`. Without a configuration ureq finds that it lacks.
    #[cfg(feature = "tls-ring")]
    fn start_tls(&self, socket: &mut TcpSocket, details: &ConnectionDetails<'_>) -> Result<(), Error> {
        match &self.tls {
            Some(config) if details.needs_tls() => socket.start_tls(host(details), config),
            _ => Ok(()),
        }
    }
}

impl<In: Transport> Connector<In> for SocketConnector {
    type Out = Either<In, SocketTransport>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        if let Some(connected) = chained {
            return Ok(Some(Either::A(connected)));
        }
        let config = details.config;
        let mut socket = TcpSocket::with_registry(&self.registry);
        // Of a socket that isn't open yet, the handle ends the connect.
        let ender = Arc::new(Ender(socket.handle()));
        let weak_ender = Arc::downgrade(&ender);
        (details.register_shutdown)(weak_ender)?;

        // One limit for all of it: an operation has what is left.
        socket.global_timeout(limit(details.timeout)?);
        let connected = look_up(details).and_then(|info| socket.connect_info(&info));
        #[cfg(feature = "tls-ring")]
        let connected = connected.and_then(|()| self.start_tls(&mut socket, details));
        connected.map_err(|error| failed(error, details.timeout))?;
        socket.no_global_timeout();
        if config.no_delay() {
            socket.no_delay().map_err(io::Error::from)?;
        }
        Ok(Some(Either::B(SocketTransport {
            socket,
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
            _ender: ender,
        })))
    }
}

/// Begins to look up what the request is for.
fn look_up(details: &ConnectionDetails<'_>) -> Result<IpAddrInfo, Error> {
    let port = details
        .uri
        .port_u16()
        .unwrap_or(if details.needs_tls() { 443 } else { 80 });
    let family = match details.config.ip_family() {
        IpFamily::Any => IpAddrFamily::Any,
        IpFamily::Ipv4Only => IpAddrFamily::V4,
        IpFamily::Ipv6Only => IpAddrFamily::V6,
    };
    let mut info = IpAddrInfo::new();
    info.start(host(details), port, family)?;
    Ok(info)
}

/// The name, or the address, of whom the request is for.
fn host<'a>(details: &'a ConnectionDetails<'_>) -> &'a str {
    let host = details.uri.host().unwrap_or_default();
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

/// What `Agent::shutdown` ends a connection by.
#[derive(Debug)]
struct Ender(SocketHandle);

impl ShutdownHandle for Ender {
    fn shutdown(&self) {
        self.0.close();
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct SocketTransport {
    socket: TcpSocket,
    buffers: LazyBuffers,
    /// ureq knows it only as long as it lives here.
    _ender: Arc<Ender>,
}

impl Transport for SocketTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let timeout = timeout.for_write();
        let output = &self.buffers.output()[..amount];
        let sent = self.socket.timeout(limit(timeout)?).put_all(output);
        sent.map_err(|error| failed(error, timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let timeout = timeout.for_read();
        let free = self.buffers.input_append_buf();
        let read = self.socket.timeout(limit(timeout)?).read(free);
        let count = read.map_err(|error| failed(error, timeout))?;
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    /// Whether the connection can serve another request: so there must be nothing to read, not even its end.
    fn is_open(&mut self) -> bool {
        matches!(self.socket.timeout(Duration::ZERO).peek(), Err(Error::Timeout))
    }

    #[cfg(feature = "tls-ring")]
    fn is_tls(&self) -> bool {
        self.socket.is_tls()
    }
}

/// How long an operation may take.
fn limit(timeout: NextTimeout) -> Result<Option<Duration>, ureq::Error> {
    if timeout.after.is_not_happening() {
        Ok(None)
    } else if timeout.after.is_zero() {
        Err(ureq::Error::Timeout(timeout.reason))
    } else {
        Ok(Some(*timeout.after))
    }
}

fn failed(error: impl Into<io::Error>, timeout: NextTimeout) -> ureq::Error {
    let error = ureq::Error::Io(error.into());
    match ended_by(&error) {
        Some(error) if error.is_timeout() => ureq::Error::Timeout(timeout.reason),
        _ => error,
    }
}

/// What the socket said, if it was the socket that made the request fail: `Closed` after `Agent::shutdown`, `Shutdown`
/// after that of the registry.
pub(crate) fn ended_by(error: &ureq::Error) -> Option<&Error> {
    match error {
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}
