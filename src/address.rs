//! From names to addresses.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{Ordering::SeqCst, fence};
use std::sync::{Arc, OnceLock};
use std::thread;

use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::opening::Inside;
use crate::park::{AnyParker, Seen};
use crate::registry::ShutdownRegistry;
use crate::wake::{Hung, Wake, WakeList};

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
    /// All there are.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl IpAddrFamily {
    fn contains(self, addr: &SocketAddr) -> bool {
        match self {
            IpAddrFamily::Any => true,
            IpAddrFamily::V4 => addr.is_ipv4(),
            IpAddrFamily::V6 => addr.is_ipv6(),
        }
    }
}

/// The look-up of a host's addresses, which goes on while the program does something else.
///
/// It runs in a thread of its own, because `getaddrinfo(3)` knows no limit and can't be ended. Nobody waits for that
/// thread: dropping this, [`clear`](IpAddrInfo::clear) and another [`start`](IpAddrInfo::start) return at once, and the
/// thread goes when the system lets it.
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
    /// One that looks nothing up as yet.
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
    /// [`Error::Resolve`] if no thread could be made for it.
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
    /// It has no limit. [`ShutdownRegistry::shutdown`] of the global registry ends it.
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
        let Some(lookup) = &self.lookup else { return Ok(()) };
        lookup.wait_unless_shut_down(ShutdownRegistry::global())?;
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

/// A look-up that is under way, or over.
#[derive(Clone)]
pub(crate) struct Lookup(Arc<Answer>);

struct Answer {
    host: String,
    found: OnceLock<Found>,
    /// Those who wait for it.
    waiting: WakeList,
}

pub(crate) type Found = Result<Vec<SocketAddr>, Arc<io::Error>>;

impl Lookup {
    /// Looks up `host`: at once, if it is an address, else in a thread that is never waited for.
    pub(crate) fn start(host: &str, port: u16, family: IpAddrFamily) -> Result<Lookup> {
        let answer = Arc::new(Answer {
            host: host.to_owned(),
            found: OnceLock::new(),
            waiting: WakeList::new(),
        });
        let lookup = Lookup(Arc::clone(&answer));
        if let Ok(ip) = host.parse::<IpAddr>() {
            answer.give(Ok(vec![SocketAddr::new(ip, port)]), family);
            return Ok(lookup);
        }
        let thread = thread::Builder::new().name("wakesock-lookup".to_owned());
        let spawned = thread.spawn(move || answer.give(resolve(&answer.host, port), family));
        match spawned {
            Ok(_) => Ok(lookup),
            Err(error) => Err(lookup.failed(Arc::new(error))),
        }
    }

    pub(crate) fn found(&self) -> Option<&Found> {
        self.0.found.get()
    }

    /// What a look-up that is over has found.
    pub(crate) fn result(&self) -> Result<&[SocketAddr]> {
        match self.found() {
            Some(Ok(addrs)) => Ok(addrs),
            Some(Err(error)) => Err(self.failed(Arc::clone(error))),
            None => Ok(&[]),
        }
    }

    fn failed(&self, source: Arc<io::Error>) -> Error {
        let host = self.0.host.clone();
        Error::Resolve { host, source }
    }

    /// Has `waker` woken when it is over, for as long as the result lives.
    fn hang(&self, waker: Option<Arc<dyn Wake>>) -> Hung<'_> {
        let hung = self.0.waiting.hang(waker);
        // As in `give`.
        fence(SeqCst);
        hung
    }

    /// Blocks until it is over, in an operation of a socket.
    pub(crate) fn wait(
        &self,
        inside: &mut Inside<'_>,
        parker: &mut AnyParker,
        deadline: &mut Deadline,
    ) -> Result<&[SocketAddr]> {
        let _hung = self.hang(parker.waker());
        inside.park(parker, deadline, |_| match self.found() {
            Some(_) => Seen::Done(()),
            None => Seen::NotYet(None),
        })?;
        self.result()
    }

    /// Blocks until it is over.
    fn wait_unless_shut_down(&self, registry: &ShutdownRegistry) -> Result<()> {
        let mut parker = AnyParker::new();
        let _hung = self.hang(parker.waker());
        let _watching = registry.hang(parker.waker());
        while self.found().is_none() {
            if registry.is_shutdown() {
                return Err(Error::Shutdown);
            }
            if parker.park(None).is_err() {
                // One that can't be waited in is no reason to look again without end.
                parker = AnyParker::none();
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup")
            .field("host", &self.0.host)
            .field("found", &self.0.found)
            .finish()
    }
}

impl Answer {
    fn give(&self, found: io::Result<Vec<SocketAddr>>, family: IpAddrFamily) {
        let found = found.and_then(|mut addrs| {
            if addrs.is_empty() {
                return Err(io::Error::other("no address"));
            }
            addrs.retain(|addr| family.contains(addr));
            if addrs.is_empty() {
                return Err(io::Error::other("no address of this family"));
            }
            Ok(addrs)
        });
        // It is given once.
        let _ = self.found.set(found.map_err(Arc::new));
        // Of "write mine, then read yours", the cell alone promises too little: see the orderings in `wake`.
        fence(SeqCst);
        self.waiting.wake_all();
    }
}

fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if host.contains('\0') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "name with a NUL in it"));
    }
    (host, port).to_socket_addrs().map(Iterator::collect)
}
