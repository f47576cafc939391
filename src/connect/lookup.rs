//! A look-up in a thread of its own, which any number of threads can wait for and stop waiting for.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{Ordering::SeqCst, fence};
use std::sync::{Arc, OnceLock};
use std::thread;

use super::IpAddrFamily;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::host;
use crate::opening::InUse;
use crate::park::{AnyParker, Step};
use crate::registry::ShutdownRegistry;
use crate::sys;
use crate::wake::{Registered, Wake, WakeList};

/// A look-up that is under way, or over.
#[derive(Clone)]
pub(crate) struct Lookup(Arc<Answer>);

struct Answer {
    host: String,
    found: OnceLock<Found>,
    /// The wakers of the threads that wait for it.
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
        if let Some(addr) = host::address(host, port) {
            answer.give(Ok(vec![addr]), family);
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

    /// The result of a look-up that is over.
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

    /// Wakes `waker` when the look-up is over, as long as the result lives.
    fn register(&self, waker: Option<Arc<dyn Wake>>) -> Registered<'_> {
        let registered = self.0.waiting.register(waker);
        // For the same reason as in `give`.
        fence(SeqCst);
        registered
    }

    /// Blocks until the look-up is over, in an operation of a socket.
    pub(crate) fn wait(
        &self,
        in_use: &mut InUse<'_>,
        parker: &mut AnyParker,
        deadline: &mut Deadline,
    ) -> Result<&[SocketAddr]> {
        let _registered = self.register(parker.waker());
        in_use.park(parker, deadline, |_| match self.found() {
            Some(_) => Step::Done(()),
            None => Step::WaitUntil(None),
        })?;
        self.result()
    }

    /// Blocks until the look-up is over, or the registry is shut down.
    pub(super) fn wait_unless_shut_down(&self, registry: &ShutdownRegistry) -> Result<()> {
        let mut parker = AnyParker::new();
        let _registered = self.register(parker.waker());
        let _stopping = registry.wake_when_stopping(parker.waker());
        while self.found().is_none() {
            if registry.is_shutdown() {
                return Err(Error::Shutdown);
            }
            if parker.park(None).is_err() {
                // A poll that fails must not make this loop spin.
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
        // `give` is called once.
        let _ = self.found.set(found.map_err(Arc::new));
        // The cell alone doesn't order "write mine, then read yours": see the orderings in `wake`.
        fence(SeqCst);
        self.waiting.wake_all();
    }
}

fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if host.contains('\0') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "name with a NUL in it"));
    }
    let found = (host::to_look_up(host), port).to_socket_addrs();
    found.map(Iterator::collect).map_err(sys::look_up_error)
}
