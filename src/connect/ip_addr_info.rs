//! [`IpAddrInfo`]: from a host's name to its addresses, as in U++.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::Lookup;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::registry::ShutdownRegistry;

/// Which addresses of a host are wanted.
///
/// ```
/// use wakesock::{IpAddrFamily, IpAddrInfo};
///
/// let mut info = IpAddrInfo::new();
/// info.execute("127.0.0.1", 80, IpAddrFamily::V4)?;
/// assert!(info.execute("127.0.0.1", 80, IpAddrFamily::V6).is_err());
/// # Ok::<(), wakesock::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum IpAddrFamily {
    /// All addresses.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl IpAddrFamily {
    pub(super) fn contains(self, addr: &SocketAddr) -> bool {
        match self {
            IpAddrFamily::Any => true,
            IpAddrFamily::V4 => addr.is_ipv4(),
            IpAddrFamily::V6 => addr.is_ipv6(),
        }
    }
}

/// A look-up of a host's addresses, which runs while the program does something else.
///
/// It runs in a thread of the crate, because `getaddrinfo(3)` has no limit and can't be ended. Nothing waits for that
/// thread: dropping the `IpAddrInfo`, [`clear`](IpAddrInfo::clear) and another [`start`](IpAddrInfo::start) return at
/// once, and the thread ends when the system has answered.
///
/// Whoever asks for a name that is being looked up already shares that look-up, and so do
/// [`connect`](crate::TcpSocket::connect) and [`connect_with`](crate::TcpSocket::connect_with). At most 32 names are
/// looked up at once, and further ones queue; one that nobody waits for any more when its turn comes is not looked up.
/// Nothing is kept: a name that is asked for after its look-up is over is looked up anew.
///
/// # Examples
///
/// ```
/// use wakesock::{IpAddrFamily, IpAddrInfo, TcpSocket};
///
/// # let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
/// # let port = server.local_addr().unwrap().port();
/// let mut info = IpAddrInfo::new();
/// info.start("localhost", port, IpAddrFamily::V4)?;
/// while info.in_progress() {
///     // Show something that moves.
/// #   std::thread::yield_now();
/// }
/// assert_eq!(info.result().unwrap()[0].port(), port);
/// TcpSocket::new().connect_info(&info)?;
/// # Ok::<(), wakesock::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct IpAddrInfo {
    lookup: Option<Lookup>,
}

impl IpAddrInfo {
    /// No look-up yet: [`start`](IpAddrInfo::start) or [`execute`](IpAddrInfo::execute) begins one.
    ///
    /// ```
    /// assert!(wakesock::IpAddrInfo::new().result().is_none());
    /// ```
    pub fn new() -> IpAddrInfo {
        IpAddrInfo::default()
    }

    /// Begins to look up the addresses of `host` and forgets what was looked up before. Doesn't block.
    ///
    /// # Errors
    ///
    /// [`Error::Resolve`] if no thread could be made for the look-up, and none is there for which it could queue.
    ///
    /// ```
    /// use wakesock::{IpAddrFamily, IpAddrInfo};
    ///
    /// let mut info = IpAddrInfo::new();
    /// info.start("127.0.0.1", 80, IpAddrFamily::Any)?;
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn start(&mut self, host: &str, port: u16, family: IpAddrFamily) -> Result<()> {
        self.lookup = None;
        self.lookup = Some(Lookup::start(host, port, family)?);
        Ok(())
    }

    /// Whether a look-up is still under way. Doesn't block.
    ///
    /// ```
    /// assert!(!wakesock::IpAddrInfo::new().in_progress());
    /// ```
    pub fn in_progress(&self) -> bool {
        self.lookup.as_ref().is_some_and(|lookup| lookup.found().is_none())
    }

    /// Looks up the addresses of `host`, and blocks until that is done.
    ///
    /// It has no limit: to have one, call [`start`](IpAddrInfo::start) and [`wait`](IpAddrInfo::wait).
    /// [`ShutdownRegistry::shutdown`] of the global registry ends it.
    ///
    /// # Errors
    ///
    /// [`Error::Resolve`] with the host and what the system said; [`Error::Shutdown`].
    ///
    /// ```
    /// use wakesock::{IpAddrFamily, IpAddrInfo};
    ///
    /// let mut info = IpAddrInfo::new();
    /// info.execute("localhost", 80, IpAddrFamily::V4)?;
    /// assert!(info.result().unwrap().iter().all(|addr| addr.ip().is_loopback()));
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn execute(&mut self, host: &str, port: u16, family: IpAddrFamily) -> Result<()> {
        self.start(host, port, family)?;
        self.wait(None)
    }

    /// Blocks until the look-up is over, for at most `limit`. Zero only looks, `None` waits for ever.
    ///
    /// [`ShutdownRegistry::shutdown`] of the global registry ends it. Neither that nor the limit ends the look-up, which
    /// can be waited for again.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if it isn't over yet; [`Error::Shutdown`]; [`Error::Resolve`] with the host and what the
    /// system said; [`Error::Io`] if none was started.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wakesock::{Error, IpAddrFamily, IpAddrInfo};
    ///
    /// let mut info = IpAddrInfo::new();
    /// info.start("localhost", 80, IpAddrFamily::V4)?;
    /// match info.wait(Duration::from_secs(5)) {
    ///     Ok(()) => println!("{:?}", info.result().unwrap()),
    ///     Err(Error::Timeout) => println!("it takes long"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok::<(), Error>(())
    /// ```
    pub fn wait(&mut self, limit: impl Into<Option<Duration>>) -> Result<()> {
        let Some(lookup) = &self.lookup else {
            let none = io::Error::new(io::ErrorKind::NotFound, "none was started");
            return Err(Error::io("wait for a look-up", none));
        };
        lookup.wait_unless_shut_down(Deadline::after(limit.into()), ShutdownRegistry::global())?;
        lookup.result().map(drop)
    }

    /// The addresses, if the look-up is over and has found any.
    ///
    /// ```
    /// use wakesock::{IpAddrFamily, IpAddrInfo};
    ///
    /// let mut info = IpAddrInfo::new();
    /// info.execute("::1", 80, IpAddrFamily::Any)?;
    /// assert_eq!(info.result(), Some(&["[::1]:80".parse().unwrap()][..]));
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn result(&self) -> Option<&[SocketAddr]> {
        self.lookup.as_ref()?.found()?.as_ref().ok().map(Vec::as_slice)
    }

    /// Why the look-up has failed, if it has.
    ///
    /// ```
    /// use wakesock::{IpAddrFamily, IpAddrInfo};
    ///
    /// let mut info = IpAddrInfo::new();
    /// info.execute("127.0.0.1", 80, IpAddrFamily::V6).unwrap_err();
    /// assert_eq!(info.error().unwrap().to_string(), "resolve 127.0.0.1: no address of this family");
    /// ```
    pub fn error(&self) -> Option<Error> {
        let lookup = self.lookup.as_ref()?;
        lookup.found()?;
        lookup.result().err()
    }

    /// Forgets the look-up, which may be under way. Doesn't block.
    ///
    /// ```
    /// use wakesock::{IpAddrFamily, IpAddrInfo};
    ///
    /// let mut info = IpAddrInfo::new();
    /// info.start("localhost", 80, IpAddrFamily::Any)?;
    /// info.clear();
    /// assert!(!info.in_progress() && info.result().is_none());
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn clear(&mut self) {
        self.lookup = None;
    }

    pub(crate) fn lookup(&self) -> Option<&Lookup> {
        self.lookup.as_ref()
    }
}

/// The name of this machine: gethostname(2). Bytes that are not UTF-8 are replaced.
///
/// ```
/// assert!(!wakesock::host_name().is_empty());
/// ```
pub fn host_name() -> String {
    gethostname::gethostname().to_string_lossy().into_owned()
}
