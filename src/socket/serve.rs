//! An accept loop with a thread for each connection.

use std::any::Any;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, Scope};

use super::TcpSocket;
use crate::deadline::Ends;
use crate::error::Error;
use crate::opening::Direction;

/// How many connections were served: the result of [`TcpSocket::serve`].
///
/// ```
/// use wakesock::{Served, TcpSocket};
///
/// let mut listener = TcpSocket::new();
/// listener.listen_on("127.0.0.1:0", &Default::default())?;
/// listener.close();
/// let Served { accepted, panicked } = listener.serve(8, |_client| unreachable!());
/// assert_eq!((accepted, panicked), (0, 0));
/// # Ok::<(), wakesock::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Connections that the handler was called with.
    pub accepted: u64,
    /// Calls of the handler that have ended by a panic.
    pub panicked: u64,
}

impl TcpSocket {
    /// Accepts clients until the listener ends, and runs `handler` for each on a thread of its own, at most `most` at once.
    ///
    /// While so many run, further clients wait in the system's queue, the backlog. A thread whose client has gone accepts the
    /// next one. (A `most` of zero counts as one.)
    ///
    /// Blocks until the listener was closed, aborted or shut down, and the last call of `handler` has returned. After
    /// [`stop_accepting`](crate::ShutdownRegistry::stop_accepting), it serves the clients that were waiting then, and returns;
    /// while all `most` threads are busy, later clients may still join those that wait.
    /// The listener's [`timeout`](TcpSocket::timeout) doesn't matter; its [`global_timeout`](TcpSocket::global_timeout) is an
    /// end.
    ///
    /// A panic in `handler` is logged (through [`log`]) and counted, and ends only the connection that it had. Where descriptors
    /// or threads run out, that is logged, and it goes on with what there is, after pauses as [`incoming`](TcpSocket::incoming) makes them. A
    /// socket that isn't a listener, or not open, serves nobody.
    ///
    /// # Examples
    ///
    /// A server that ends gracefully, here when its own client has been served:
    ///
    /// ```
    /// use std::thread;
    /// use std::time::Duration;
    /// use wakesock::{Error, ShutdownRegistry, TcpSocket};
    ///
    /// fn answer(client: &mut TcpSocket) -> Result<(), Error> {
    ///     while let Some(line) = client.timeout(Duration::from_secs(60)).get_line()? {
    ///         client.put_all(format!("you said {line}\n").as_bytes())?;
    ///         if !client.wait_request()? {
    ///             break; // there is no next request, or this server stops
    ///         }
    ///     }
    ///     client.finish(Duration::from_millis(200))
    /// }
    ///
    /// let registry = ShutdownRegistry::new();
    /// let mut listener = TcpSocket::with_registry(&registry);
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// let port = listener.local_addr()?.port();
    /// thread::scope(|scope| {
    ///     let server = scope.spawn(|| {
    ///         listener.serve(100, |mut client| {
    ///             answer(&mut client).unwrap_or_else(|error| eprintln!("{error}"));
    ///         })
    ///     });
    ///     let mut client = TcpSocket::new();
    ///     client.connect("127.0.0.1", port)?;
    ///     client.put_all(b"hello\n")?;
    ///     assert_eq!(client.get_line()?.as_deref(), Some("you said hello"));
    ///     client.close();
    ///     // Elsewhere: a signal, by `ShutdownRegistry::on_signal`.
    ///     registry.drain(Duration::from_secs(5));
    ///     assert_eq!(server.join().unwrap().accepted, 1);
    ///     Ok::<(), Error>(())
    /// })?;
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "ListenAndServe")]
    #[doc(alias = "ThreadPool")]
    pub fn serve(&self, most: usize, handler: impl Fn(TcpSocket) + Send + Sync) -> Served {
        if !self.opening.is_listener() {
            return Served::default();
        }
        let serving = Serving {
            listener: self,
            most: most.max(1),
            handler,
            threads: AtomicUsize::new(0),
            accepting: AtomicUsize::new(0),
            since: self.opening.side(Direction::Read).ends(),
            has_ended: AtomicBool::new(false),
            accepted: AtomicU64::new(0),
            panicked: AtomicU64::new(0),
        };
        thread::scope(|scope| {
            if !serving.add_thread(scope) {
                // This one, then.
                serving.threads.fetch_add(1, SeqCst);
                serving.accepting.fetch_add(1, SeqCst);
                serving.work(scope);
            }
        });
        Served {
            accepted: serving.accepted.into_inner(),
            panicked: serving.panicked.into_inner(),
        }
    }
}

/// Threads that accept and serve, each in turn. One that gets a client sees to it that another accepts.
struct Serving<'a, F> {
    listener: &'a TcpSocket,
    most: usize,
    handler: F,
    threads: AtomicUsize,
    /// Those that wait for a client, or are about to.
    accepting: AtomicUsize,
    /// Any abort after this ends it.
    since: Ends,
    has_ended: AtomicBool,
    accepted: AtomicU64,
    panicked: AtomicU64,
}

impl<F: Fn(TcpSocket) + Send + Sync> Serving<'_, F> {
    /// Adds a thread, unless there are as many as may be. False if there is none at all.
    fn add_thread<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) -> bool {
        let may_add = |threads| (threads < self.most).then_some(threads + 1);
        if self.threads.fetch_update(SeqCst, SeqCst, may_add).is_err() {
            return true;
        }
        self.accepting.fetch_add(1, SeqCst);
        let thread = thread::Builder::new().name("wakesock-serve".to_owned());
        let Err(error) = thread.spawn_scoped(scope, || self.work(scope)) else {
            return true;
        };
        log::error!(target: "wakesock", "{}: serve: no thread: {error}", self.listener.id());
        self.accepting.fetch_sub(1, SeqCst);
        self.threads.fetch_sub(1, SeqCst) > 1
    }

    fn work<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        let mut incoming = self.listener.incoming_since(self.since);
        while !self.has_ended.load(SeqCst) {
            match incoming.next() {
                Some(Ok(client)) => self.serve_one(client, scope),
                Some(Err(error)) if self.is_end(&error) => self.has_ended.store(true, SeqCst),
                // A handle's deadline has passed, and may be lifted.
                Some(Err(Error::Timeout)) => {}
                Some(Err(error)) => log::error!(target: "wakesock", "{}: {error}", self.listener.id()),
                None => self.has_ended.store(true, SeqCst),
            }
        }
    }

    fn is_end(&self, error: &Error) -> bool {
        matches!(error, Error::Aborted | Error::GlobalTimeout) || !self.listener.is_open() || self.listener.is_error()
    }

    fn serve_one<'scope>(&'scope self, client: TcpSocket, scope: &'scope Scope<'scope, '_>) {
        self.accepted.fetch_add(1, SeqCst);
        let id = client.id();
        if self.accepting.fetch_sub(1, SeqCst) == 1 {
            self.add_thread(scope);
        }
        if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| (self.handler)(client))) {
            self.panicked.fetch_add(1, SeqCst);
            log::error!(target: "wakesock", "{id}: its handler has panicked: {}", message(&*panic));
            // What it has thrown may panic when it is dropped, and so may what that throws.
            if let Err(again) = panic::catch_unwind(AssertUnwindSafe(|| drop(panic))) {
                mem::forget(again);
            }
        }
        self.accepting.fetch_add(1, SeqCst);
    }
}

/// What a panic has said.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("something that is no text")
}
