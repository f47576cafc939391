//! From names to addresses.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;

use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::raw_wait::AnyParker;
use crate::shared::Inside;

/// A look-up under way in a thread of its own, because `getaddrinfo(3)` knows no limit and can't be ended.
///
/// The thread is never waited for: when nobody wants its answer any more, it goes when the system lets it.
#[derive(Debug)]
pub(crate) struct Lookup {
    host: String,
    parker: AnyParker,
    answer: Arc<Answer>,
}

type Answer = Mutex<Option<io::Result<Vec<SocketAddr>>>>;

impl Lookup {
    pub(crate) fn start(host: &str, port: u16) -> io::Result<Lookup> {
        let parker = AnyParker::new();
        let waker = parker.waker();
        let answer = Arc::new(Answer::default());
        let lookup = Lookup {
            host: host.to_owned(),
            parker,
            answer: Arc::clone(&answer),
        };
        let host = host.to_owned();
        thread::Builder::new()
            .name("wakesock-lookup".to_owned())
            .spawn(move || {
                let found = (host.as_str(), port)
                    .to_socket_addrs()
                    .map(|addrs| addrs.collect::<Vec<_>>());
                *answer.lock() = Some(found);
                if let Some(waker) = waker {
                    waker.wake();
                }
            })?;
        Ok(lookup)
    }

    /// Blocks until the answer is there.
    pub(crate) fn wait(&mut self, inside: &mut Inside<'_>, deadline: &mut Deadline) -> Result<Vec<SocketAddr>> {
        let answer = &self.answer;
        let found = inside.park(&mut self.parker, deadline, || answer.lock().take())?;
        let found = match found {
            Ok(addrs) if addrs.is_empty() => Err(io::Error::other("no address")),
            found => found,
        };
        found.map_err(|source| Error::Resolve {
            host: self.host.clone(),
            source: Arc::new(source),
        })
    }
}
