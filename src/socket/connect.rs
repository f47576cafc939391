//! Connecting.

use std::any::Any;
use std::mem;
use std::net::SocketAddr;
use std::panic;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use socket2::{SockRef, Socket};

use super::try_wait::{TryWait, WRITING};
use super::{Directions, Outcome, TcpSocket};
use crate::connect::{ConnectOptions, IpAddrFamily, IpAddrInfo, Left, Lookup, Race, Standing, interleaved, outcome};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::opening::{Direction, InUse, Opening, Published};
use crate::park::{AnyParker, Step};
use crate::raw_wait::Chosen;
use crate::registry::Membership;

/// A connection that is being made.
pub(super) struct Connecting {
    /// What queues may watch, while no call goes on with it. Withdrawn before the attempts are dropped.
    published: Option<Published>,
    /// Until the name is looked up. Behind locks, this and the attempts, so that `close` can drop them while no call waits
    /// for them.
    lookup: Mutex<Option<Lookup>>,
    /// Shared with the queues that the socket is in, while no call goes on with it. A call takes it out.
    race: Arc<Mutex<Race>>,
    /// What the look-up and the race block in; made at the first wait.
    parker: Option<AnyParker>,
    /// In the registry, which can end the attempts. Goes to the opening once the connection stands.
    membership: Option<Membership>,
}

/// Why a connection isn't made.
enum Stop {
    Error(Error),
    /// The program's code has panicked, with this.
    Panic(Box<dyn Any + Send>),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Error(error)
    }
}

impl TcpSocket {
    /// Connects to `host`, which is a name or an address, and `port`.
    ///
    /// An IPv6 address may stand in brackets, and have a zone: `::1`, `[::1]`, `fe80::1%eth0`.
    ///
    /// Closes what was open before. The addresses of the host are raced, as RFC 8305 says: IPv6 and IPv4 take turns,
    /// the next attempt starts 250 ms after the one before, or as soon as one has failed, and the first that connects
    /// wins. A limit that is too short for that is divided evenly: each address is tried.
    ///
    /// Blocks for at most [`timeout`](TcpSocket::timeout), for the look-up of the name and all addresses together. A
    /// handle that was taken before ends it at any point, by [`close`](super::SocketHandle::close) or
    /// [`abort`](super::SocketHandle::abort), and so does the registry. With a limit of zero it starts the connection
    /// and returns: then `Ok` doesn't mean connected, and [`wait_connect`](TcpSocket::wait_connect) has to finish the
    /// connection before any other operation.
    ///
    /// A name that is not an address is looked up as [`IpAddrInfo`] says: in a thread that is not waited for when the
    /// connect is ended.
    ///
    /// # Errors
    ///
    /// [`Error::Resolve`]; [`Error::Connect`] with every address and why it failed. When the limit is over,
    /// [`Error::Timeout`] or, if an address had failed by then, `Connect`, in which the others have timed out:
    /// [`Error::is_timeout`] is true of both.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wakesock::TcpSocket;
    ///
    /// let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// let mut socket = TcpSocket::new();
    /// socket
    ///     .timeout(Duration::from_secs(5))
    ///     .connect("localhost", server.local_addr().unwrap().port())?;
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    #[doc(alias = "connect_timeout")]
    #[doc(alias = "Dial")]
    pub fn connect(&mut self, host: &str, port: u16) -> Result<()> {
        self.connect_with(host, port, &ConnectOptions::new())
    }

    /// Connects as [`connect`](TcpSocket::connect) does, from a given local address, or by sockets that were given
    /// options before they connect.
    ///
    /// ```
    /// use wakesock::{ConnectOptions, TcpSocket};
    ///
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let port = server.local_addr().unwrap().port();
    /// let options = ConnectOptions::new().bind("127.0.0.1:0".parse().unwrap());
    /// TcpSocket::new().connect_with("localhost", port, &options)?;
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn connect_with(&mut self, host: &str, port: u16, options: &ConnectOptions) -> Result<()> {
        self.prepare_opening();
        match Lookup::start(host, port, IpAddrFamily::Any) {
            Ok(lookup) => self.start_connecting(Connecting::after(lookup, options)),
            Err(error) => self.settle_opening(Err(error)),
        }
    }

    /// Connects to `addrs`, which are raced in the order given; else as [`connect`](TcpSocket::connect).
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
    #[doc(alias = "connect_timeout")]
    pub fn connect_to(&mut self, addrs: &[SocketAddr]) -> Result<()> {
        self.prepare_opening();
        self.start_connecting(Connecting::to(addrs))
    }

    /// Connects to the addresses of `info`, after its look-up is done; else as [`connect`](TcpSocket::connect).
    ///
    /// The wait for the look-up counts towards the limit. If `info` has started no look-up, the result is
    /// [`Error::Connect`] without an attempt.
    ///
    /// ```
    /// use wakesock::{IpAddrFamily, IpAddrInfo, TcpSocket};
    ///
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let port = server.local_addr().unwrap().port();
    /// let mut info = IpAddrInfo::new();
    /// info.start("localhost", port, IpAddrFamily::V4)?;
    /// // Whatever else there is to do meanwhile.
    /// let mut socket = TcpSocket::new();
    /// socket.connect_info(&info)?;
    /// assert!(socket.peer_addr()?.is_ipv4());
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn connect_info(&mut self, info: &IpAddrInfo) -> Result<()> {
        self.prepare_opening();
        self.start_connecting(match info.lookup() {
            Some(lookup) => Connecting::after(lookup.clone(), &ConnectOptions::new()),
            None => Connecting::to(&[]),
        })
    }

    /// Finishes a connection that `connect` has started with a limit of zero.
    ///
    /// Blocks for at most [`timeout`](TcpSocket::timeout). After [`Error::Timeout`] the connection is still being made,
    /// whichever addresses have failed. If a handle or the registry ends the connection between two calls, the next call
    /// says so and drops the attempts. If there is nothing to finish, it returns at once. It fails as
    /// [`connect`](TcpSocket::connect) does.
    ///
    /// Queues and [`SocketWaitEvent`](crate::SocketWaitEvent) report when the next call gets on: see
    /// [`SocketEventQueue::subscribe`](crate::SocketEventQueue::subscribe).
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
            return self.begin(Directions::all());
        }
        self.last = Outcome::default();
        let result = self.go_on_connecting();
        if let Err(Error::Timeout) = result {
            self.publish_connecting();
            return self.remember_failure(Directions::all(), result);
        }
        self.settle_opening(result)
    }

    fn start_connecting(&mut self, connecting: Connecting) -> Result<()> {
        self.connecting = Some(connecting);
        let result = match self.go_on_connecting() {
            Err(Error::Timeout) if self.limit == Some(Duration::ZERO) => {
                self.publish_connecting();
                Ok(())
            }
            Err(Error::Timeout) => Err(self.run_out_of_time(Error::Timeout)),
            result => result,
        };
        self.settle_opening(result)
    }

    /// Lets queues watch what is left to be done.
    fn publish_connecting(&mut self) {
        let end = self.special.run_ends();
        if let Some(connecting) = &mut self.connecting {
            let left = Left::of(
                &self.opening,
                connecting.lookup.get_mut().as_ref(),
                &connecting.race,
                end,
            );
            connecting.published = Some(self.opening.publish(left));
        }
    }

    /// Lets queues that watch what is left to be done know of another end of its time.
    pub(super) fn publish_again(&mut self) {
        let published = self
            .connecting
            .as_mut()
            .and_then(|connecting| connecting.published.take());
        if published.is_some() {
            // First, or it would withdraw what follows.
            drop(published);
            self.publish_connecting();
        }
    }

    /// Goes on with connecting within the limit. After a timeout, the rest of the work stays in `connecting`.
    fn go_on_connecting(&mut self) -> Result<()> {
        let mut deadline = self.deadline();
        // The limit is for all of it, so it begins here and not at the first wait.
        deadline.begin();
        match self.advance(&mut deadline) {
            Ok(addr) => {
                self.connecting = None;
                log::debug!(target: "wakesock", "{}: connected to {addr}", self.id());
                Ok(())
            }
            Err(Stop::Error(Error::Timeout)) => Err(Error::Timeout),
            Err(Stop::Error(error @ Error::GlobalTimeout)) => Err(self.run_out_of_time(error)),
            Err(Stop::Error(error)) => {
                self.abandon_connecting();
                Err(error)
            }
            Err(Stop::Panic(panic)) => {
                self.abandon_connecting();
                panic::resume_unwind(panic)
            }
        }
    }

    fn advance(&mut self, deadline: &mut Deadline) -> Result<SocketAddr, Stop> {
        let Some(connecting) = &mut self.connecting else {
            return Err(Error::Closed.into());
        };
        connecting.published = None;
        let mut in_use = self.opening.enter_opening(false)?;
        let membership = match connecting.membership.take() {
            Some(membership) => membership,
            None => in_use.join(&self.registry, &self.opening)?,
        };
        let advanced = match deadline.check_global() {
            Ok(()) => connecting.advance(&mut in_use, &self.raw_wait, deadline),
            Err(error) => Err(error.into()),
        };
        match advanced {
            Ok(addr) => {
                in_use.opening().set_peer(Some(reached(&in_use, addr)));
                in_use.opened(membership)?;
                Ok(addr)
            }
            Err(stop) => {
                connecting.membership = Some(membership);
                Err(stop)
            }
        }
    }

    /// Gives a connection up whose time is over, as `error` says. Returns what the connect fails with.
    fn run_out_of_time(&mut self, error: Error) -> Error {
        let failed = self
            .connecting
            .as_mut()
            .and_then(|connecting| connecting.failed(&error));
        self.abandon_connecting();
        failed.unwrap_or(error)
    }

    /// Drops a connection that is being made. Its handles then refer to the next one.
    pub(super) fn abandon_connecting(&mut self) {
        let connecting = self.connecting.take();
        let was_connecting = connecting.is_some();
        drop(connecting);
        if was_connecting && let Ok(mut in_use) = self.opening.enter_even_unopened() {
            in_use.undo_open();
        }
    }
}

impl Connecting {
    fn new(options: &ConnectOptions) -> Connecting {
        Connecting {
            published: None,
            lookup: Mutex::new(None),
            race: Arc::new(Mutex::new(Race::new(options.clone()))),
            parker: None,
            membership: None,
        }
    }

    fn to(addrs: &[SocketAddr]) -> Connecting {
        let connecting = Connecting::new(&ConnectOptions::new());
        connecting.race.lock().add(addrs.iter().copied());
        connecting
    }

    fn after(lookup: Lookup, options: &ConnectOptions) -> Connecting {
        Connecting {
            lookup: Mutex::new(Some(lookup)),
            ..Connecting::new(options)
        }
    }

    /// Drops the attempts under way, while no call waits for them.
    pub(super) fn give_up(&self, opening: &Opening) {
        opening.withdraw();
        *self.lookup.lock() = None;
        self.race.lock().give_up();
        if let Some(membership) = &self.membership {
            membership.leave();
        }
    }

    /// What the addresses have come to, if any of them has failed, when the limit that `by` names is over.
    fn failed(&mut self, by: &Error) -> Option<Error> {
        let mut race = self.race.lock();
        race.has_failures().then(|| Error::Connect {
            attempts: race.ended(by.clone()),
        })
    }

    /// Goes on until there is a connection. Returns its address.
    fn advance(
        &mut self,
        in_use: &mut InUse<'_>,
        raw_wait: &Chosen,
        deadline: &mut Deadline,
    ) -> Result<SocketAddr, Stop> {
        self.finish_lookup(in_use, deadline)?;
        let mut running = Running::take(&self.race);
        self.run(&mut running.race, in_use, raw_wait, deadline)
    }

    fn run(
        &mut self,
        race: &mut Race,
        in_use: &mut InUse<'_>,
        raw_wait: &Chosen,
        deadline: &mut Deadline,
    ) -> Result<SocketAddr, Stop> {
        loop {
            let last = match race.last() {
                Some(addr) => addr,
                None => match self.run_race(race, in_use, deadline)? {
                    Standing::Won(addr, socket) => {
                        install(race, in_use, socket);
                        return Ok(addr);
                    }
                    Standing::Last(addr, socket) => {
                        install(race, in_use, socket);
                        addr
                    }
                    Standing::Panicked(panic) => return Err(Stop::Panic(panic)),
                    Standing::Lost | Standing::Open(_) => {
                        let attempts = race.failures();
                        return Err(Error::Connect { attempts }.into());
                    }
                },
            };
            match finish(in_use, raw_wait, deadline) {
                Ok(()) => return Ok(last),
                Err(Error::Io { source, .. }) => {
                    race.last_failed(source);
                    in_use.undo_open();
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn finish_lookup(&mut self, in_use: &mut InUse<'_>, deadline: &mut Deadline) -> Result<()> {
        if let Some(lookup) = self.lookup.get_mut() {
            let addrs = match lookup.found() {
                Some(_) => lookup.result()?,
                None => {
                    may_wait(in_use, deadline)?;
                    let parker = self.parker.get_or_insert_with(AnyParker::new);
                    lookup.wait(in_use, parker, deadline)?
                }
            };
            self.race.lock().add(interleaved(addrs));
            *self.lookup.get_mut() = None;
        }
        Ok(())
    }

    /// Runs the race until an attempt has won, all have lost, or just one is left.
    fn run_race(&mut self, race: &mut Race, in_use: &mut InUse<'_>, deadline: &mut Deadline) -> Result<Standing> {
        let (opening, own_end) = (in_use.opening(), deadline.end());
        // A handle may set the other one meanwhile.
        let end = || {
            own_end
                .into_iter()
                .chain(opening.side(Direction::Write).deadline())
                .min()
        };
        // With the parker of a call before, if there is one: what is decided now is to leave that.
        match race.look(opening, end(), self.parker.as_ref()) {
            Standing::Open(_) => may_wait(in_use, deadline)?,
            standing => return Ok(standing),
        }
        let parker = self.parker.get_or_insert_with(AnyParker::new);
        in_use.park(parker, deadline, |parker| {
            match race.look(opening, end(), Some(parker)) {
                Standing::Open(at) => Step::WaitUntil(at),
                standing => Step::Done(standing),
            }
        })
    }
}

fn install(race: &Race, in_use: &mut InUse<'_>, socket: Socket) {
    in_use.install(socket.into());
    if race.lends() {
        in_use.opening().set_lent();
    }
}

/// Fails if there is no time to wait, before there is something to wait in.
fn may_wait(in_use: &InUse<'_>, deadline: &mut Deadline) -> Result<()> {
    in_use.check()?;
    if deadline.is_zero() {
        deadline.left()?;
    }
    Ok(())
}

/// A race that a call goes on with, which may run code of the program's, and so without a lock. It is put back whatever
/// becomes of the call.
struct Running {
    race: Race,
    place: Arc<Mutex<Race>>,
}

impl Running {
    fn take(place: &Arc<Mutex<Race>>) -> Running {
        Running {
            race: mem::take(&mut *place.lock()),
            place: Arc::clone(place),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *self.place.lock() = mem::take(&mut self.race);
    }
}

/// What `addr`, which was connected to, is an address of: the unspecified one is that of this host.
fn reached(in_use: &InUse<'_>, addr: SocketAddr) -> SocketAddr {
    let reached = match addr.ip().is_unspecified() {
        true => SockRef::from(&in_use.socket()).peer_addr().ok(),
        false => None,
    };
    reached.and_then(|reached| reached.as_socket()).unwrap_or(addr)
}

/// Waits until the installed socket is connected.
fn finish(in_use: &mut InUse<'_>, raw_wait: &Chosen, deadline: &mut Deadline) -> Result<()> {
    TryWait::new("connect", WRITING, raw_wait).run(in_use, deadline, &mut |in_use: &InUse<'_>| {
        outcome(&SockRef::from(&in_use.socket()))
    })
}
