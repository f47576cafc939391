//! Connecting to several addresses at once: RFC 8305, "Happy Eyeballs".

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket};

use super::ConnectOptions;
use crate::error::Error;
use crate::opening::{Due, Opening};
use crate::park::{AnyParker, SCARCE_STEP};
use crate::sys::{self, BorrowedSocket, Registration};

/// How long an address is tried alone, at most, before the next one is tried beside it: RFC 8305, section 5, "Connection
/// Attempt Delay".
const DELAY: Duration = Duration::from_millis(250);

/// Connection attempts to several addresses, each begun some time after the one before. The first that connects wins.
#[derive(Default)]
pub(crate) struct Race {
    waiting: VecDeque<SocketAddr>,
    /// In the order in which they began.
    attempts: Vec<Attempt>,
    /// When the next attempt begins; `None` if it may at once.
    next_start: Option<Instant>,
    options: ConnectOptions,
}

struct Attempt {
    addr: SocketAddr,
    state: State,
}

enum State {
    Running {
        /// Lets the parker wake when there is an answer. Dropped before the socket.
        registration: Option<Registration>,
        socket: Socket,
    },
    /// The only one left, which the caller goes on with.
    HandedOver,
    Failed(Arc<io::Error>),
}

/// How a race stands.
pub(crate) enum Standing {
    Won(SocketAddr, Socket),
    /// All others have failed. The caller has to wait for this one and, if it fails, call [`Race::last_failed`].
    Last(SocketAddr, Socket),
    /// All have failed.
    Lost,
    /// The program's code has panicked, with this.
    Panicked(Box<dyn Any + Send>),
    /// Not decided yet: look again after the next wake, or at this moment.
    Open(Option<Instant>),
}

impl Race {
    /// Makes a race without addresses.
    pub(crate) fn new(options: ConnectOptions) -> Race {
        Race {
            waiting: VecDeque::new(),
            attempts: Vec::new(),
            next_start: None,
            options,
        }
    }

    /// Adds addresses, which are tried in this order.
    pub(crate) fn add(&mut self, addrs: impl IntoIterator<Item = SocketAddr>) {
        self.waiting.extend(addrs);
    }

    /// Starts what is due and looks at what runs. Doesn't block.
    ///
    /// All are started before `end`, if there is one, each with an equal share of the time. When it has passed, or
    /// `opening` was ended, no more are started, but for the first. `parker` is woken when there may be something new to
    /// see.
    pub(crate) fn look(&mut self, opening: &Opening, end: Option<Instant>, parker: Option<&AnyParker>) -> Standing {
        loop {
            if let Some((addr, socket)) = self.look_at_running(parker) {
                return Standing::Won(addr, socket);
            }
            let running = self.running().count();
            let Some(&addr) = self.waiting.front() else {
                return match running {
                    0 => Standing::Lost,
                    1 => self.hand_over(parker),
                    _ => self.open(None),
                };
            };
            let now = Instant::now();
            let is_over = end.is_some_and(|end| end <= now) || opening.check().is_err();
            if is_over && !self.attempts.is_empty() {
                return self.open(None);
            }
            if running > 0
                && let Some(next) = self.next_start
            {
                // The end may be nearer than it was at that start: each call that goes on has its own.
                let next = next.min(now + self.share(end, now, 1));
                if now < next {
                    self.next_start = Some(next);
                    return self.open(Some(next));
                }
            }
            self.next_start = Some(now + self.share(end, now, 0));
            let state = match start(addr, &self.options) {
                Ok(socket) => State::Running {
                    registration: None,
                    socket,
                },
                // An attempt that is running may give its descriptor back.
                Err(NotStarted::Failed(error)) if running > 0 && sys::is_scarcity(&error) => continue,
                Err(NotStarted::Panicked(panic)) => {
                    self.give_up();
                    return Standing::Panicked(panic);
                }
                Err(NotStarted::Failed(error) | NotStarted::NotPrepared(error)) => {
                    self.next_start = None;
                    State::Failed(Arc::new(error))
                }
            };
            self.waiting.pop_front();
            self.attempts.push(Attempt { addr, state });
        }
    }

    /// How long an address is tried alone. So short that all that wait, and `beside` more, have as long before `end`.
    fn share(&self, end: Option<Instant>, now: Instant, beside: usize) -> Duration {
        let Some(end) = end else { return DELAY };
        let count = u32::try_from(self.waiting.len() + beside).unwrap_or(u32::MAX);
        (end.saturating_duration_since(now) / count).min(DELAY)
    }

    /// Looks for answers. After a failure, the next attempt may begin at once.
    fn look_at_running(&mut self, parker: Option<&AnyParker>) -> Option<(SocketAddr, Socket)> {
        for index in 0..self.attempts.len() {
            let attempt = &mut self.attempts[index];
            let State::Running { registration, socket } = &mut attempt.state else {
                continue;
            };
            // First watched, then looked at: so an answer that comes in between is not missed.
            if let Some(parker) = parker {
                parker.wake_when_writable(sys::borrowed(socket), registration);
            }
            match outcome(&SockRef::from(&*socket)) {
                Ok(()) => {
                    let attempt = self.attempts.swap_remove(index);
                    if let State::Running { registration, socket } = attempt.state {
                        forget(parker, registration);
                        return Some((attempt.addr, socket));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    forget(parker, registration.take());
                    attempt.state = State::Failed(Arc::new(error));
                    self.next_start = None;
                }
            }
        }
        None
    }

    /// Calls `visit` with the sockets of the attempts that are running.
    pub(super) fn each_running(&self, visit: &mut dyn FnMut(BorrowedSocket<'_>)) {
        for attempt in &self.attempts {
            if let State::Running { socket, .. } = &attempt.state {
                visit(sys::borrowed(socket));
            }
        }
    }

    /// When another look has something to do, whatever the running attempts come to.
    pub(super) fn due(&self) -> Due {
        if self.last().is_some() {
            return Due::WithAnAnswer;
        }
        let mut running = false;
        self.each_running(&mut |_| running = true);
        match self.next_start {
            _ if !running => Due::Now,
            _ if self.waiting.is_empty() => Due::WithAnAnswer,
            Some(next) => Due::at(next),
            None => Due::Now,
        }
    }

    fn running(&mut self) -> impl Iterator<Item = &mut Attempt> {
        self.attempts
            .iter_mut()
            .filter(|attempt| matches!(attempt.state, State::Running { .. }))
    }

    /// Leaves the race open until `at`, or until the next look at attempts that can't be watched.
    fn open(&mut self, at: Option<Instant>) -> Standing {
        let unwatched = self
            .running()
            .any(|attempt| matches!(attempt.state, State::Running { registration: None, .. }));
        let soon = unwatched.then(|| Instant::now() + SCARCE_STEP);
        Standing::Open(at.into_iter().chain(soon).min())
    }

    fn hand_over(&mut self, parker: Option<&AnyParker>) -> Standing {
        let Some(last) = self.running().next() else {
            return Standing::Lost;
        };
        match mem::replace(&mut last.state, State::HandedOver) {
            State::Running { registration, socket } => {
                forget(parker, registration);
                Standing::Last(last.addr, socket)
            }
            _ => Standing::Lost,
        }
    }

    /// The address of the attempt that was handed over and has not failed.
    pub(crate) fn last(&self) -> Option<SocketAddr> {
        let mut attempts = self.attempts.iter();
        let last = attempts.find(|attempt| matches!(attempt.state, State::HandedOver));
        last.map(|attempt| attempt.addr)
    }

    /// Records that the attempt that was handed over has failed.
    pub(crate) fn last_failed(&mut self, error: Arc<io::Error>) {
        for attempt in &mut self.attempts {
            if matches!(attempt.state, State::HandedOver) {
                attempt.state = State::Failed(error);
                return;
            }
        }
    }

    /// Ends the race, and drops the attempts that are running.
    pub(crate) fn give_up(&mut self) {
        self.waiting.clear();
        self.attempts.clear();
    }

    /// Whether the program's code has had the sockets in its hands.
    pub(crate) fn lends(&self) -> bool {
        self.options.prepare.is_some()
    }

    /// Whether an attempt has failed.
    pub(crate) fn has_failures(&self) -> bool {
        let mut attempts = self.attempts.iter();
        attempts.any(|attempt| matches!(attempt.state, State::Failed(_)))
    }

    /// Every address that has failed and why, in the order in which they were tried.
    pub(crate) fn failures(&mut self) -> Vec<(SocketAddr, Arc<io::Error>)> {
        let attempts = mem::take(&mut self.attempts).into_iter();
        attempts
            .filter_map(|attempt| match attempt.state {
                State::Failed(error) => Some((attempt.addr, error)),
                _ => None,
            })
            .collect()
    }

    /// Ends the race. What each address has come to: `why`, for those that are not decided or were not tried.
    pub(crate) fn ended(&mut self, why: Error) -> Vec<(SocketAddr, Arc<io::Error>)> {
        let why = Arc::new(io::Error::from(why));
        let tried = self.attempts.drain(..).map(|attempt| match attempt.state {
            State::Failed(error) => (attempt.addr, error),
            _ => (attempt.addr, Arc::clone(&why)),
        });
        let waiting = self.waiting.drain(..).map(|addr| (addr, Arc::clone(&why)));
        tried.chain(waiting).collect()
    }
}

fn forget(parker: Option<&AnyParker>, registration: Option<Registration>) {
    if let (Some(registration), Some(parker)) = (registration, parker) {
        parker.forget(registration);
    }
}

/// Why an attempt was not started.
enum NotStarted {
    Failed(io::Error),
    /// The program's code has failed.
    NotPrepared(io::Error),
    Panicked(Box<dyn Any + Send>),
}

impl From<io::Error> for NotStarted {
    fn from(error: io::Error) -> NotStarted {
        NotStarted::Failed(error)
    }
}

/// Makes a socket that is connecting to `addr`.
fn start(addr: SocketAddr, options: &ConnectOptions) -> Result<Socket, NotStarted> {
    let socket = sys::socket(Domain::for_address(addr))?;
    if matches!(addr.ip(), IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some()) {
        // RFC 3493, 3.7 and 5.3: for such an address `IPV6_V6ONLY` has to be off, and some systems begin with it on. If
        // it can't be set, connecting reports that.
        let _ = socket.set_only_v6(false);
    }
    if let Some(prepare) = &options.prepare {
        // Whatever it leaves undone, the socket is dropped.
        let prepared = panic::catch_unwind(AssertUnwindSafe(|| prepare.call(&socket)));
        prepared
            .map_err(NotStarted::Panicked)?
            .map_err(NotStarted::NotPrepared)?;
    }
    if let Some(local) = options.bind {
        bind(&socket, local, addr).map_err(|error| io::Error::from(Error::io(format!("bind to {local}"), error)))?;
    }
    match socket.connect(&addr.into()) {
        Err(error) if !sys::is_in_progress(&error) => Err(error.into()),
        _ => Ok(socket),
    }
}

/// Binds a socket that is to connect to `addr`.
fn bind(socket: &Socket, local: SocketAddr, addr: SocketAddr) -> io::Result<()> {
    if local.is_ipv4() != addr.is_ipv4() {
        let why = "address of the other family";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    socket.bind(&local.into())
}

/// What has become of a connection that was started: `WouldBlock` while it is still being made.
pub(crate) fn outcome(socket: &SockRef<'_>) -> io::Result<()> {
    // connect(2), `EINPROGRESS`: the outcome is in SO_ERROR.
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    match socket.peer_addr() {
        Ok(_) if is_connected_to_itself(socket) => Err(io::ErrorKind::ConnectionRefused.into()),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Err(io::ErrorKind::WouldBlock.into()),
        Err(error) => Err(error),
    }
}

/// Whether a socket was given the very port that it connects to, and so is connected to itself.
fn is_connected_to_itself(socket: &SockRef<'_>) -> bool {
    match (socket.local_addr(), socket.peer_addr()) {
        (Ok(own), Ok(peer)) => own.as_socket().is_some() && own.as_socket() == peer.as_socket(),
        _ => false,
    }
}

/// Lets the families take turns, beginning with that of the first address; within one, the order stays: RFC 8305,
/// section 4.
pub(crate) fn interleaved(addrs: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_v6 = addrs.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addrs.iter().partition(|addr| addr.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut all = Vec::with_capacity(addrs.len());
    while all.len() < addrs.len() {
        all.extend(first.next());
        all.extend(second.next());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let order = |addrs: &[&str]| {
            let addrs: Vec<SocketAddr> = addrs.iter().map(|addr| addr.parse().unwrap()).collect();
            let turns: Vec<String> = interleaved(&addrs).iter().map(ToString::to_string).collect();
            turns.join(" ")
        };
        assert_eq!(
            order(&["[::1]:1", "[::2]:1", "[::3]:1", "1.0.0.1:1", "1.0.0.2:1"]),
            "[::1]:1 1.0.0.1:1 [::2]:1 1.0.0.2:1 [::3]:1"
        );
        assert_eq!(
            order(&["1.0.0.1:1", "1.0.0.2:1", "[::1]:1"]),
            "1.0.0.1:1 [::1]:1 1.0.0.2:1"
        );
        assert_eq!(order(&["1.0.0.2:1", "1.0.0.1:1"]), "1.0.0.2:1 1.0.0.1:1");
        assert_eq!(order(&[]), "");
    }
}
