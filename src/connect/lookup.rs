//! A look-up of a host's addresses, which any number of threads can wait for and stop waiting for.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use super::IpAddrFamily;
use super::resolver::{self, Answer, Found, Told};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::host;
use crate::opening::InUse;
use crate::park::{AnyParker, Step};
use crate::registry::ShutdownRegistry;
use crate::wake::Wake;

/// A look-up that is under way, or over.
#[derive(Clone)]
pub(crate) struct Lookup(Arc<Request>);

struct Request {
    host: String,
    port: u16,
    family: IpAddrFamily,
    /// What others may have asked for, too. None for an address.
    answer: Option<Arc<Answer>>,
    /// What is in the answer, for this port and family. Set when it is first asked for.
    found: OnceLock<Found>,
}

impl Lookup {
    /// Looks up `host`: at once, if it is an address, else in a thread that is never waited for.
    pub(crate) fn start(host: &str, port: u16, family: IpAddrFamily) -> Result<Lookup> {
        let addr = host::address(host, port);
        let found = match addr {
            Some(addr) => OnceLock::from(of_family(vec![addr], family)),
            None => OnceLock::new(),
        };
        let answer = match addr {
            Some(_) => None,
            None => {
                let answer = resolver::ask(host::to_look_up(host));
                Some(answer.map_err(|error| failed(host, Arc::new(error)))?)
            }
        };
        Ok(Lookup(Arc::new(Request {
            host: host.to_owned(),
            port,
            family,
            answer,
            found,
        })))
    }

    pub(crate) fn found(&self) -> Option<&Found> {
        let Request { port, family, .. } = *self.0;
        let Some(answer) = &self.0.answer else {
            return self.0.found.get();
        };
        let found = answer.found()?;
        Some(self.0.found.get_or_init(|| {
            let mut addrs = found.clone()?;
            addrs.iter_mut().for_each(|addr| addr.set_port(port));
            of_family(addrs, family)
        }))
    }

    /// The result of a look-up that is over.
    pub(crate) fn result(&self) -> Result<&[SocketAddr]> {
        match self.found() {
            Some(Ok(addrs)) => Ok(addrs),
            Some(Err(error)) => Err(failed(&self.0.host, Arc::clone(error))),
            None => Ok(&[]),
        }
    }

    /// Wakes `waker` when the look-up is over, until the result is dropped. None if it is over already.
    pub(super) fn tell(&self, waker: Arc<dyn Wake>) -> Option<Told> {
        self.0.answer.as_ref().map(|answer| answer.tell(waker))
    }

    /// Blocks until the look-up is over, in an operation of a socket.
    pub(crate) fn wait(
        &self,
        in_use: &mut InUse<'_>,
        parker: &mut AnyParker,
        deadline: &mut Deadline,
    ) -> Result<&[SocketAddr]> {
        let _registered = self.0.answer.as_ref().map(|answer| answer.register(parker.waker()));
        in_use.park(parker, deadline, |_| match self.found() {
            Some(_) => Step::Done(()),
            None => Step::WaitUntil(None),
        })?;
        self.result()
    }

    /// Blocks until the look-up is over, the time is up, or the registry is shut down.
    pub(super) fn wait_unless_shut_down(&self, mut deadline: Deadline, registry: &ShutdownRegistry) -> Result<()> {
        if self.found().is_some() {
            return Ok(());
        }
        let mut parker = AnyParker::new();
        let _registered = self.0.answer.as_ref().map(|answer| answer.register(parker.waker()));
        let _stopping = registry.wake_when_stopping(parker.waker());
        while self.found().is_none() {
            if registry.is_shutdown() {
                return Err(Error::Shutdown);
            }
            if parker.park(deadline.left()?).is_err() {
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
            .field("found", &self.found())
            .finish()
    }
}

fn failed(host: &str, source: Arc<io::Error>) -> Error {
    let host = host.to_owned();
    Error::Resolve { host, source }
}

fn of_family(mut addrs: Vec<SocketAddr>, family: IpAddrFamily) -> Found {
    let none = |why| Err(Arc::new(io::Error::other(why)));
    if addrs.is_empty() {
        return none("no address");
    }
    addrs.retain(|addr| family.contains(addr));
    if addrs.is_empty() {
        return none("no address of this family");
    }
    Ok(addrs)
}
