//! Whichever system call of an operation fails, first, second, third …: nothing is lost with it but what the error
//! says.

#![allow(unsafe_code, reason = "system calls")]

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::io::{self, BufRead, IoSlice, IoSliceMut, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use wakesock::{
    Error, IpAddrFamily, IpAddrInfo, ListenOptions, MioWait, RawWait, ShutdownRegistry, SocketEventQueue, SocketId,
    SocketWaitEvent, TcpSocket, ThreadWait, WaitEvents,
};

use crate::injected::{
    Call, FAULTS,
    Fault::{self, Errno},
    Plan, STRAY_CLOSES, Seen, arm, armed, before_each_wait, disarm, unconnected,
};
use crate::support::every::inner;
use crate::support::queues::{READ, WRITE, assert_only, assert_silent};
use crate::support::{PATIENCE, Refusing, assert_sees_end, begin, block, descriptors, eventually, is_refused, timed};

/// One run of an operation, in which one call may fail.
struct Trial<'a> {
    name: &'a str,
    plan: Option<Plan>,
    /// What fails in any case.
    given: Option<Plan>,
    seen: Cell<Option<Seen>>,
}

/// Calls that an operation fails with, and how the error begins that says so. With any other call it goes on.
type Named<'a> = &'a [(Call, &'a str)];

impl Trial<'_> {
    /// Runs the operation, with the fault.
    fn run<T>(&self, operation: impl FnOnce() -> T) -> T {
        arm(self.plan, self.given);
        let result = operation();
        self.seen.set(Some(disarm()));
        result
    }

    fn seen(&self) -> Seen {
        self.seen.get().expect("the operation was run")
    }

    /// The fault, if the operation has met it.
    fn fault(&self) -> Option<(Call, Fault)> {
        self.plan
            .filter(|_| self.seen().hits > 0)
            .map(|plan| (plan.call, plan.fault))
    }

    /// What the fault must make of the operation: how its error begins, and the error's number.
    fn expected<'n>(&self, named: Named<'n>) -> Option<(&'n str, i32)> {
        let (call, fault) = self.fault()?;
        if is_to_be_retried(call, fault) {
            return None;
        }
        let Errno(code) = fault else {
            return None;
        };
        named
            .iter()
            .find(|(named, _)| *named == call)
            .map(|(_, text)| (*text, code))
    }

    /// Checks that the operation has failed where it had to, with the right error, and not otherwise. Its value.
    #[track_caller]
    fn check<T: Debug>(&self, result: Result<T, Error>, named: Named<'_>) -> Option<T> {
        match (self.expected(named), result) {
            (None, Ok(value)) => Some(value),
            (Some((text, code)), Err(error)) => {
                let message = error.to_string();
                assert!(
                    message.starts_with(text),
                    "{}: {message:?} instead of {text:?}",
                    self.what()
                );
                assert_eq!(error.code(), code, "{}: {error:?}", self.what());
                None
            }
            (expected, result) => panic!("{}: {result:?} instead of {expected:?}", self.what()),
        }
    }

    fn what(&self) -> String {
        format!("{}, {:?}", self.name, self.plan)
    }
}

/// Whether a fault says no more than "again", which is the crate's own business.
fn is_to_be_retried(call: Call, fault: Fault) -> bool {
    let Errno(code) = fault else {
        return true;
    };
    match call {
        Call::Recv | Call::Send => matches!(code, libc::EINTR | libc::EAGAIN),
        // accept(2), "Error handling": an error of the connection that would have been accepted.
        Call::Accept4 => matches!(
            code,
            libc::EINTR | libc::EAGAIN | libc::ECONNABORTED | libc::EPROTO | libc::ENETDOWN
        ),
        Call::EpollWait | Call::Poll | Call::Dup3 => code == libc::EINTR,
        _ => false,
    }
}

/// The fault of a call that may well last: where there is nothing left to poll with, say.
fn lasting(call: Call, faults: &[Fault]) -> Option<(Fault, bool)> {
    let lasts = matches!(call, Call::EpollCreate1 | Call::EpollCtl | Call::Eventfd | Call::Close);
    faults.first().filter(|_| lasts).map(|fault| (*fault, true))
}

/// With how many faults, each at every place, each operation was tried.
#[derive(Default)]
struct Tally(Vec<(String, usize)>);

impl Tally {
    fn print(self, test: &str) {
        let all: usize = self.0.iter().map(|(_, tried)| tried).sum();
        let each: Vec<String> = self.0.iter().map(|(name, tried)| format!("{name} {tried}")).collect();
        // Not `eprintln`, which the harness captures.
        let _ = io::stderr().write_all(format!("faults, {test}: {all} ({})\n", each.join("; ")).as_bytes());
    }

    /// Runs `case` with every fault at every place, until the operation meets it no more.
    fn every(&mut self, name: &str, case: impl Fn(&Trial<'_>) + Sync) {
        self.every_given(None, name, &case);
    }

    /// Runs `case` with every fault at every place, with polls and where none can be had.
    fn every_and_without_poll(&mut self, name: &str, case: impl Fn(&Trial<'_>) + Sync) {
        self.every_given(None, name, &case);
        self.every_given(Some(NO_POLL), &format!("{name}, without a poll"), &case);
    }

    fn every_given(&mut self, given: Option<Plan>, name: &str, case: &(impl Fn(&Trial<'_>) + Sync)) {
        let made = run(name, None, given, case);
        let mut tried = 0;
        for (call, faults) in FAULTS {
            // What is called only after another fault is not reached.
            if made.count(call) == 0 || given.is_some_and(|given| given.call == call) {
                continue;
            }
            let once = faults.iter().map(|fault| (*fault, false));
            for (fault, lasting) in once.chain(lasting(call, faults)) {
                let plan = |nth| Plan {
                    call,
                    nth,
                    fault,
                    lasting,
                };
                let met = (1..).take_while(|nth| run(name, Some(plan(*nth)), given, case).hits > 0);
                tried += met.count();
            }
        }
        assert!(tried > 0, "{name}: no fault was met");
        self.0.push((name.to_owned(), tried));
    }
}

const NO_POLL: Plan = Plan {
    call: Call::EpollCreate1,
    nth: 1,
    fault: Errno(libc::EMFILE),
    lasting: true,
};

/// One run of `case`.
fn run(name: &str, plan: Option<Plan>, given: Option<Plan>, case: &(impl Fn(&Trial<'_>) + Sync)) -> Seen {
    let before = (descriptors(), STRAY_CLOSES.load(SeqCst));
    let trial = || {
        let trial = Trial {
            name,
            plan,
            given,
            seen: Cell::new(None),
        };
        case(&trial);
        let seen = trial.seen();
        assert!(plan.is_some() || seen.hits == 0);
        seen
    };
    // What a thread keeps for later ends with it; where there is none, that goes without another thread.
    let result = if name.contains("ThreadWait") || name.contains("SocketWaitEvent") {
        thread::scope(|scope| {
            let thread = thread::Builder::new().name("blocked".into());
            thread.spawn_scoped(scope, trial).unwrap().join()
        })
    } else {
        panic::catch_unwind(AssertUnwindSafe(trial))
    };
    // Of a panic, what and where was printed.
    let seen = result.unwrap_or_else(|_| panic!("{name}, {plan:?}"));
    eventually(
        || format!("{name}, {plan:?}: as many descriptors as before, {}", before.0),
        || match descriptors() {
            now if now == before.0 => Ok(()),
            now => Err(now.to_string()),
        },
    );
    assert_eq!(STRAY_CLOSES.load(SeqCst), before.1, "{name}, {plan:?}: closed twice");
    seen
}

const RAW_WAITS: [&str; 2] = ["", " with ThreadWait"];

fn raw_wait(name: &str) -> Arc<dyn RawWait> {
    match name {
        "" => Arc::new(MioWait::default()),
        _ => Arc::new(ThreadWait::default()),
    }
}

/// A connection over TCP or Unix-domain sockets: this crate's end, and the other.
fn connection(registry: &ShutdownRegistry, wait: &str, unix: bool) -> (TcpSocket, Peer) {
    let mut socket = TcpSocket::with_registry(registry);
    socket.set_raw_wait(raw_wait(wait));
    if unix {
        let (own, peer) = UnixStream::pair().unwrap();
        socket.attach(own).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        (socket, Peer(peer.into()))
    } else {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        peer.set_nodelay(true).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.attach(listener.accept().unwrap().0).unwrap();
        (socket, Peer(peer.into()))
    }
}

/// The other end of a connection, whatever it is made of.
struct Peer(socket2::Socket);

impl Peer {
    fn send(&self, data: &[u8]) {
        (&self.0).write_all(data).unwrap();
    }

    /// Takes what has come.
    fn take(&self, taken: &mut Vec<u8>) {
        self.0.set_nonblocking(true).unwrap();
        let end = (&self.0).read_to_end(taken);
        // Or the sender, who has little room, waits for acknowledgements.
        let _ = self.0.set_tcp_quickack(true);
        assert!(end.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock));
        self.0.set_nonblocking(false).unwrap();
    }

    fn take_until(&self, taken: &mut Vec<u8>, len: usize) {
        let missing = len.checked_sub(taken.len()).expect("no more than was sent");
        let count = (&self.0).take(missing as u64).read_to_end(taken).unwrap();
        assert_eq!(count, missing);
    }

    fn end(&self) {
        self.0.shutdown(std::net::Shutdown::Write).unwrap();
    }
}

/// Checks that a connection carries bytes both ways.
#[track_caller]
fn assert_connected(socket: &mut TcpSocket, peer: &TcpStream) {
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.timeout(PATIENCE);
    (&*peer).write_all(b"there").unwrap();
    assert_eq!(socket.get_all_bytes(5).unwrap(), b"there");
    socket.put_all(b"back").unwrap();
    let mut came = [0; 4];
    (&*peer).read_exact(&mut came).unwrap();
    assert_eq!(&came, b"back");
}

/// Checks that a listener is there for clients.
#[track_caller]
fn assert_listens(listener: &mut TcpSocket) {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    listener.timeout(PATIENCE);
    assert_connected(&mut listener.accept_new().unwrap(), &client);
}

/// Checks that a failed opening has left nothing open, and says what it failed with until that is cleared.
#[track_caller]
fn assert_not_opened(socket: &mut TcpSocket, registry: &ShutdownRegistry) {
    assert!(socket.is_error() && !socket.is_open(), "{socket:?}");
    assert_eq!(registry.len(), 0);
    let first = socket.error_desc();
    assert_eq!(socket.get_byte().unwrap_err().to_string(), first);
    socket.clear_error();
    assert!(matches!(socket.get_byte(), Err(Error::Closed)));
}

#[test]
fn listening_fails_with_a_name_and_leaves_nothing() {
    let _test = begin();
    let mut tally = Tally::default();
    fn named(text: &str) -> [(Call, &str); 4] {
        [Call::Socket, Call::Setsockopt, Call::Bind, Call::Listen].map(|call| (call, text))
    }

    tally.every("listen_on", |trial| {
        let registry = ShutdownRegistry::new();
        let mut listener = TcpSocket::with_registry(&registry);
        let result = trial.run(|| listener.listen_on("127.0.0.1:0", &ListenOptions::default()));
        if trial.check(result, &named("listen on 127.0.0.1:0: ")).is_none() {
            assert_not_opened(&mut listener, &registry);
            listener.listen(0, 5).unwrap();
        }
        assert_eq!(registry.len(), 1);
        assert_listens(&mut listener);
    });

    tally.every("listen_on two addresses", |trial| {
        let addrs: [SocketAddr; 2] = ["127.0.0.1:0", "127.0.0.2:0"].map(|addr| addr.parse().unwrap());
        let mut listener = TcpSocket::new();
        let result = trial.run(|| listener.listen_on(&addrs[..], &ListenOptions::default()));
        trial.check(result, &[]);
        let first_failed = trial.fault().is_some_and(|(call, _)| call != Call::Close);
        assert_eq!(
            listener.local_addr().unwrap().ip(),
            addrs[usize::from(first_failed)].ip()
        );
        assert_listens(&mut listener);
    });

    static NAMES: AtomicUsize = AtomicUsize::new(0);
    tally.every("listen_abstract", |trial| {
        let registry = ShutdownRegistry::new();
        let name = format!("wakesock-faults-{}-{}", std::process::id(), NAMES.fetch_add(1, SeqCst));
        let mut listener = TcpSocket::with_registry(&registry);
        let result = trial.run(|| listener.listen_abstract(&name, 5));
        if trial.check(result, &named(&format!("listen on @{name}: "))).is_none() {
            assert_not_opened(&mut listener, &registry);
            listener.listen_abstract(&name, 5).unwrap();
        }
        TcpSocket::new().connect_abstract(&name).unwrap();
        listener.timeout(PATIENCE).accept_new().unwrap();
    });
    tally.print("listening");
}

#[test]
fn accepting_tries_again_or_says_why_and_loses_no_client() {
    let _test = begin();
    let mut tally = Tally::default();
    let named = [
        (Call::Accept4, "accept on 127.0.0.1:"),
        (Call::Poll, "accept on 127.0.0.1:"),
    ];

    let accept =
        |tally: &mut Tally, name: &str, wait, comes_late, accept: fn(&TcpSocket) -> Result<TcpSocket, Error>| {
            tally.every_and_without_poll(&format!("{name}{wait}"), |trial| {
                let registry = ShutdownRegistry::new();
                let mut listener = TcpSocket::with_registry(&registry);
                listener.set_raw_wait(raw_wait(wait));
                listener.listen_on("127.0.0.1:0", &ListenOptions::default()).unwrap();
                let addr = listener.local_addr().unwrap();
                let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
                let client = Rc::new(client);
                if comes_late {
                    let (client, mut came) = (Rc::clone(&client), false);
                    before_each_wait(move || {
                        if !std::mem::replace(&mut came, true) {
                            client.connect(&addr.into()).unwrap();
                        }
                    });
                } else {
                    client.connect(&addr.into()).unwrap();
                }
                listener.timeout(PATIENCE);
                let result = trial.run(|| accept(&listener));
                assert!(!listener.is_error(), "{}: it is not the listener's fault", trial.what());
                let accepted = trial.check(result, &named);
                if accepted.is_none() && comes_late {
                    // It may have failed before it waited.
                    let _ = client.connect(&addr.into());
                }
                let mut accepted = accepted.unwrap_or_else(|| listener.accept_new().unwrap());
                let client = TcpStream::from(Rc::try_unwrap(client).unwrap());
                assert_eq!(accepted.peer_addr().unwrap(), client.local_addr().unwrap());
                assert_connected(&mut accepted, &client);
                assert_eq!(registry.len(), 2);
                assert_listens(&mut listener);
            });
        };
    let accept_into = |listener: &TcpSocket| {
        let mut socket = TcpSocket::new();
        let result = socket.timeout(PATIENCE).accept(listener);
        assert_eq!(socket.is_error(), result.is_err());
        assert_eq!(socket.is_open(), result.is_ok());
        result.map(|()| socket)
    };
    for wait in RAW_WAITS {
        accept(&mut tally, "accept_new", wait, false, TcpSocket::accept_new);
        accept(&mut tally, "accept_new, waiting", wait, true, TcpSocket::accept_new);
        accept(&mut tally, "accept", wait, false, accept_into);
        accept(&mut tally, "accept, waiting", wait, true, accept_into);
    }
    // It makes a pause after an error, and goes on.
    tally.every("incoming", |trial| {
        let mut listener = TcpSocket::new();
        listener.listen_on("127.0.0.1:0", &ListenOptions::default()).unwrap();
        listener.timeout(PATIENCE);
        let addr = listener.local_addr().unwrap();
        let clients = [(); 2].map(|()| TcpStream::connect(addr).unwrap());
        let accepted = trial.run(|| {
            let accepted: Vec<TcpSocket> = listener.incoming().filter_map(Result::ok).take(2).collect();
            accepted
        });
        for (mut accepted, client) in accepted.into_iter().zip(clients) {
            assert_eq!(accepted.peer_addr().unwrap(), client.local_addr().unwrap());
            assert_connected(&mut accepted, &client);
        }
    });
    tally.print("accepting");
}

/// Checks that a failed connect has told of every address.
#[track_caller]
fn assert_attempts(trial: &Trial<'_>, error: &Error, addrs: &[SocketAddr]) {
    let Error::Connect { attempts } = error else {
        panic!("{}: {error:?}", trial.what());
    };
    let mut tried: Vec<SocketAddr> = attempts.iter().map(|(addr, _)| *addr).collect();
    tried.sort();
    let mut addrs = addrs.to_vec();
    addrs.sort();
    assert_eq!(tried, addrs, "{}", trial.what());
}

#[test]
fn connecting_goes_on_with_the_next_address_or_tells_of_all() {
    let _test = begin();
    let mut tally = Tally::default();
    const ATTEMPT: [Call; 4] = [Call::Socket, Call::Connect, Call::Getsockopt, Call::Getpeername];
    // The second look at the peer's address asks whether it is the socket's own.
    let is_for_nothing = |trial: &Trial<'_>| {
        let plan = trial.plan;
        plan.is_some_and(|plan| plan.call == Call::Getpeername && plan.nth > 1)
    };

    let one = |tally: &mut Tally, name: &str, looks, connect: fn(&mut TcpSocket, SocketAddr) -> Result<(), Error>| {
        for wait in RAW_WAITS {
            tally.every_and_without_poll(&format!("{name}{wait}"), |trial| {
                let server = TcpListener::bind("127.0.0.1:0").unwrap();
                let addr = server.local_addr().unwrap();
                let registry = ShutdownRegistry::new();
                let mut socket = TcpSocket::with_registry(&registry);
                socket.set_raw_wait(raw_wait(wait)).timeout(PATIENCE);
                let result = trial.run(|| {
                    unconnected(looks);
                    connect(&mut socket, addr)
                });
                if let Err(error @ Error::Connect { .. }) = &result {
                    assert_attempts(trial, error, &[addr]);
                }
                let text = format!("connect to {addr}: ");
                let mut named = ATTEMPT.map(|call| (call, &*text)).to_vec();
                named.push((Call::Poll, &*text));
                named.retain(|_| !is_for_nothing(trial));
                if trial.check(result, &named).is_none() {
                    assert_not_opened(&mut socket, &registry);
                    socket.connect_to(&[addr]).unwrap();
                }
                assert_eq!(registry.len(), 1);
                // Those that failed may be in the queue, too.
                let own = socket.local_addr().unwrap();
                let peer = server
                    .incoming()
                    .map(Result::unwrap)
                    .find(|peer| peer.peer_addr().unwrap() == own);
                assert_connected(&mut socket, &peer.unwrap());
            });
        }
    };
    one(&mut tally, "connect_to", 0, |socket, addr| socket.connect_to(&[addr]));
    one(&mut tally, "connect_to, waiting", 2, |socket, addr| {
        socket.connect_to(&[addr])
    });
    one(&mut tally, "wait_connect", 3, |socket, addr| {
        socket.timeout(Duration::ZERO).connect_to(&[addr])?;
        socket.timeout(PATIENCE).wait_connect()
    });
    one(&mut tally, "connect", 1, |socket, addr| {
        socket.connect("127.0.0.1", addr.port())
    });
    one(&mut tally, "connect_info", 0, |socket, addr| {
        let mut info = IpAddrInfo::new();
        info.execute("localhost", addr.port(), IpAddrFamily::V4)?;
        socket.connect_info(&info)
    });

    tally.every("connect_to, the first refused", |trial| {
        let refusing = Refusing::new();
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let addrs = [refusing.addr(), server.local_addr().unwrap()];
        let mut socket = TcpSocket::new();
        let result = trial.run(|| socket.timeout(PATIENCE).connect_to(&addrs));
        if let Err(error) = result {
            assert!(
                trial.fault().is_some_and(|(call, _)| ATTEMPT.contains(&call)),
                "{error}: {}",
                trial.what()
            );
            assert_attempts(trial, &error, &addrs);
            let failed = trial.expected(&ATTEMPT.map(|call| (call, ""))).map(|(_, code)| code);
            assert_eq!(Some(error.code()), failed, "{}", trial.what());
            socket.connect_to(&addrs).unwrap();
        }
        assert_eq!(socket.peer_addr().unwrap(), addrs[1]);
    });

    for looks in [0, 1, 2, 3] {
        tally.every_and_without_poll(&format!("connect_to two, unconnected at {looks} looks"), |trial| {
            let servers = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
            let addrs = [&servers[0], &servers[1]].map(|server| server.local_addr().unwrap());
            let mut socket = TcpSocket::new();
            let result = trial.run(|| {
                unconnected(looks);
                socket.timeout(PATIENCE).connect_to(&addrs)
            });
            trial.check(result, &[]);
            assert!(addrs.contains(&socket.peer_addr().unwrap()));
        });
    }

    tally.every_and_without_poll("connect to a name", |trial| {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let mut socket = TcpSocket::new();
        let result = trial.run(|| socket.timeout(PATIENCE).connect("localhost", port));
        let is_of_attempt = trial.fault().is_some_and(|(call, _)| ATTEMPT.contains(&call));
        match result {
            // The name may stand for another address, too, which refuses or doesn't.
            Err(Error::Connect { .. }) | Ok(()) if is_of_attempt => {}
            result => drop(trial.check(result, &[])),
        }
        if !socket.is_open() {
            socket.connect("localhost", port).unwrap();
        }
        assert_eq!(socket.peer_addr().unwrap().port(), port);
    });

    static NAMES: AtomicUsize = AtomicUsize::new(0);
    tally.every("connect_abstract", |trial| {
        let name = format!(
            "wakesock-faults-c-{}-{}",
            std::process::id(),
            NAMES.fetch_add(1, SeqCst)
        );
        let mut listener = TcpSocket::new();
        listener.listen_abstract(&name, 5).unwrap();
        let registry = ShutdownRegistry::new();
        let mut socket = TcpSocket::with_registry(&registry);
        let result = trial.run(|| socket.timeout(PATIENCE).connect_abstract(&name));
        // unix(7): the queue is full.
        let is_full = trial.fault() == Some((Call::Connect, Errno(libc::EAGAIN)));
        let text = format!("connect to @{name}: ");
        let named = [(Call::Socket, &*text), (Call::Connect, &*text)];
        if trial.check(result, if is_full { &[] } else { &named }).is_none() {
            assert_not_opened(&mut socket, &registry);
            socket.connect_abstract(&name).unwrap();
        }
        socket.put_all(b"x").unwrap();
        assert_eq!(
            listener.timeout(PATIENCE).accept_new().unwrap().get_byte().unwrap(),
            Some(b'x')
        );
    });
    tally.print("connecting");
}

/// What a peer sends, in three parts. Lines of which each missing or doubled byte is noticed.
static TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let byte = |index| match index % 251 {
        250 => b'\n',
        index => b' ' + (index % 95) as u8,
    };
    (0..PARTS.iter().sum()).map(byte).collect()
});

const PARTS: [usize; 3] = [300, 9000, 10_700];

/// Something that reads: with what it was given put behind what there is, however it ends.
type Reading = fn(&mut TcpSocket, &mut Vec<u8>) -> Result<(), Error>;

fn get(socket: &mut TcpSocket, given: &mut Vec<u8>, len: usize) -> Result<(), Error> {
    let mut buf = vec![0; len];
    let count = socket.get(&mut buf)?;
    given.extend_from_slice(&buf[..count]);
    if count < len {
        Err(socket.error().unwrap().clone())
    } else {
        Ok(())
    }
}

const READINGS: [(&str, Reading); 20] = [
    ("get", |socket, given| {
        get(socket, given, 10)?;
        get(socket, given, 500)?;
        get(socket, given, 9000)
    }),
    ("get, much", |socket, given| get(socket, given, 19_000)),
    ("get_bytes", |socket, given| {
        for len in [20, 9000] {
            let bytes = socket.get_bytes(len)?;
            given.extend_from_slice(&bytes);
            if bytes.len() < len {
                return Err(socket.error().unwrap().clone());
            }
        }
        Ok(())
    }),
    ("get_byte", |socket, given| {
        for _ in 0..310 {
            given.extend(socket.get_byte()?);
        }
        Ok(())
    }),
    ("get_all", |socket, given| {
        for len in [20, 500, 12_000] {
            let mut buf = vec![0; len];
            socket.get_all(&mut buf)?;
            given.extend_from_slice(&buf);
        }
        Ok(())
    }),
    ("get_all_bytes", |socket, given| {
        for len in [20, 500, 12_000] {
            given.extend(socket.get_all_bytes(len)?);
        }
        Ok(())
    }),
    ("get_line", |socket, given| {
        for _ in 0..40 {
            given.extend_from_slice(socket.get_line()?.unwrap().as_bytes());
            given.push(b'\n');
        }
        Ok(())
    }),
    ("get_line_bytes", |socket, given| {
        for _ in 0..3 {
            given.extend(socket.get_line_bytes(250)?.unwrap());
            given.push(b'\n');
        }
        Ok(())
    }),
    ("get_line_into", |socket, given| {
        let mut line = Vec::new();
        for _ in 0..3 {
            assert!(socket.get_line_into(&mut line, 250)?);
            given.extend_from_slice(&line);
            given.push(b'\n');
        }
        Ok(())
    }),
    ("peek", |socket, given| {
        for _ in 0..305 {
            let next = socket.peek()?;
            assert_eq!(socket.peek()?, next);
            assert_eq!(socket.get_byte()?, next);
            given.extend(next);
        }
        Ok(())
    }),
    ("peek_all", |socket, given| {
        for len in [20, 500, 12_000] {
            let next = socket.peek_all(len)?.to_vec();
            assert_eq!(socket.get_bytes(len)?, next);
            given.extend(next);
        }
        Ok(())
    }),
    ("Read::read_exact", |socket, given| {
        for len in [20, 500, 12_000] {
            let mut buf = vec![0; len];
            socket.read_exact(&mut buf).map_err(inner)?;
            given.extend_from_slice(&buf);
        }
        Ok(())
    }),
    ("Read::read_vectored", |socket, given| {
        let (mut one, mut other) = ([0; 10], [0; 9_000]);
        while given.len() < 310 {
            let slices = &mut [IoSliceMut::new(&mut one), IoSliceMut::new(&mut other)];
            let count = socket.read_vectored(slices).map_err(inner)?;
            given.extend_from_slice(&one[..count.min(10)]);
            given.extend_from_slice(&other[..count.saturating_sub(10)]);
        }
        Ok(())
    }),
    ("BufRead::read_line", |socket, given| {
        for _ in 0..40 {
            let mut line = String::new();
            socket.read_line(&mut line).map_err(inner)?;
            given.extend_from_slice(line.as_bytes());
        }
        Ok(())
    }),
    ("Read::read", |socket, given| {
        let mut buf = [0; 5000];
        while given.len() < 310 {
            let count = socket.read(&mut buf).map_err(inner)?;
            given.extend_from_slice(&buf[..count]);
        }
        Ok(())
    }),
    ("BufRead::fill_buf", |socket, given| {
        while given.len() < 310 {
            let bytes = socket.fill_buf().map_err(inner)?;
            let count = bytes.len();
            given.extend_from_slice(bytes);
            socket.consume(count);
        }
        Ok(())
    }),
    ("wait", |socket, given| {
        assert!(socket.wait(WaitEvents::ALL)?.contains(WaitEvents::WRITE));
        assert_eq!(socket.wait(WaitEvents::READ)?, WaitEvents::READ);
        get(socket, given, 300)?;
        socket.wait(WaitEvents::READ).map(drop)
    }),
    ("wait_read", |socket, given| {
        socket.wait_read()?;
        get(socket, given, 300)?;
        socket.wait_read()?;
        socket.wait_read()
    }),
    ("wait_request", |socket, given| {
        assert!(socket.wait_request()?);
        get(socket, given, 300)?;
        assert!(socket.wait_request()?);
        Ok(())
    }),
    ("wait_write", |socket, _| {
        socket.wait_write()?;
        socket.wait_write()
    }),
];

/// What reading fails with. How its errors begin is checked by [`assert_named`].
const READ_ERRORS: [(Call, &str); 2] = [(Call::Recv, ""), (Call::Poll, "")];

/// Checks that an error begins with the name of an operation and, where it has an address, the other end.
#[track_caller]
fn assert_named(trial: &Trial<'_>, socket: &TcpSocket, prepositions: &[&str]) {
    let text = socket.error_desc();
    let (begin, _) = text.split_once(": ").unwrap();
    let Ok(peer) = socket.peer_addr() else {
        // Of one without a port.
        assert!(!begin.contains(' '), "{}: {text}", trial.what());
        return;
    };
    let is_named = prepositions.iter().any(|preposition| {
        let operation = begin.strip_suffix(&format!(" {preposition} {peer}"));
        operation.is_some_and(|operation| trial.name.contains(operation) || operation.starts_with("get"))
    });
    assert!(is_named, "{}: {text}", trial.what());
}

#[track_caller]
fn assert_same(trial: &Trial<'_>, came: &[u8], sent: &[u8]) {
    if came != sent {
        let differs = came.iter().zip(sent).position(|(came, sent)| came != sent);
        panic!(
            "{}: {} bytes of {} came, and they differ at {differs:?}",
            trial.what(),
            came.len(),
            sent.len()
        );
    }
}

/// Runs a reading operation, whose peer sends a part of the text before each wait.
fn read(trial: &Trial<'_>, wait: &str, unix: bool, reading: Reading) {
    let (mut socket, peer) = connection(&ShutdownRegistry::new(), wait, unix);
    if trial.name.contains("wait_") {
        // By a socket that has waited before, too.
        let in_vain = socket.timeout(Duration::from_millis(1)).wait_read();
        assert!(in_vain.unwrap_err().is_timeout());
    }
    socket.timeout(PATIENCE);
    let peer = Rc::new(peer);
    let sent = Rc::new(Cell::new(0));
    let (sender, so_far) = (Rc::clone(&peer), Rc::clone(&sent));
    before_each_wait(move || {
        let mut ends = PARTS.iter().scan(0, |end, part| {
            *end += part;
            Some(*end)
        });
        if let Some(end) = ends.find(|end| *end > so_far.get()) {
            sender.send(&TEXT[so_far.replace(end)..end]);
        }
    });
    let mut given = Vec::new();
    let result = trial.run(|| reading(&mut socket, &mut given));
    let failed = trial.check(result, &READ_ERRORS).is_none();
    assert_eq!(socket.is_error(), failed, "{}: {socket:?}", trial.what());
    if failed {
        assert_named(trial, &socket, &["from", "for"]);
        let first = socket.error_desc();
        let again = match trial.name.contains("wait_write") {
            true => socket.wait_write(),
            false => socket.get_byte().map(drop),
        };
        assert_eq!(again.unwrap_err().to_string(), first, "it sticks");
        socket.clear_error();
    }
    peer.send(&TEXT[sent.get()..]);
    peer.end();
    given.extend(socket.get_bytes(TEXT.len() + 1).unwrap());
    assert!(socket.is_eof());
    assert_same(trial, &given, &TEXT);
    socket.put_all(b"back").unwrap();
    let mut came = Vec::new();
    peer.take_until(&mut came, 4);
    assert_eq!(came, b"back");
}

#[test]
fn reading_goes_on_where_it_failed_with_not_a_byte_lost() {
    let _test = begin();
    let mut tally = Tally::default();
    for wait in RAW_WAITS {
        for (name, reading) in READINGS {
            tally.every_and_without_poll(&format!("{name}{wait}"), |trial| read(trial, wait, false, reading));
        }
    }
    for (name, reading) in READINGS {
        tally.every(&format!("{name} of Unix"), |trial| read(trial, "", true, reading));
    }
    tally.print("reading");
}

/// Something that writes. How much was written, and why not all.
type Writing = fn(&mut TcpSocket, &[u8]) -> (usize, Result<(), Error>);

const WRITINGS: [(&str, Writing); 5] = [
    ("put", |socket, data| match socket.put(data) {
        Ok(count) if count < data.len() => (count, Err(socket.error().unwrap().clone())),
        Ok(count) => (count, Ok(())),
        Err(error) => (0, Err(error)),
    }),
    ("put_all", |socket, data| {
        let result = socket.put_all(data);
        (socket.done(), result)
    }),
    ("Write::write_all", |socket, data| {
        let result = socket.write_all(data).map_err(inner);
        (socket.done(), result)
    }),
    ("Write::write_vectored", |socket, data| {
        let mut done = 0;
        while done < data.len() {
            let (one, other) = data[done..].split_at((data.len() - done) / 2);
            match socket.write_vectored(&[IoSlice::new(one), IoSlice::new(other)]) {
                Ok(count) => done += count,
                Err(error) => return (done, Err(inner(error))),
            }
        }
        (done, Ok(()))
    }),
    ("Write::write", |socket, data| {
        let mut done = 0;
        while done < data.len() {
            match socket.write(&data[done..]) {
                Ok(count) => done += count,
                Err(error) => return (done, Err(inner(error))),
            }
        }
        (done, Ok(()))
    }),
];

/// More than a connection holds whose sender's buffer is small.
static DATA: LazyLock<Vec<u8>> = LazyLock::new(|| TEXT.repeat(40));

const WRITE_ERRORS: [(Call, &str); 2] = [(Call::Send, ""), (Call::Poll, "")];

/// Runs a writing operation, whose peer reads before each wait.
fn write(trial: &Trial<'_>, wait: &str, unix: bool, len: usize, writing: Writing) {
    let (mut socket, peer) = connection(&ShutdownRegistry::new(), wait, unix);
    let peer = Rc::new(peer);
    let own = socket2::SockRef::from(&socket);
    own.set_send_buffer_size(8 << 10).unwrap();
    socket.timeout(PATIENCE);
    let taken = Rc::new(RefCell::new(Vec::new()));
    let (taking, from) = (Rc::clone(&taken), Rc::clone(&peer));
    before_each_wait(move || from.take(&mut taking.borrow_mut()));
    let (done, result) = trial.run(|| writing(&mut socket, &DATA[..len]));
    let failed = trial.check(result, &WRITE_ERRORS).is_none();
    assert_eq!(socket.is_error(), failed, "{}: {socket:?}", trial.what());
    if failed {
        assert_named(trial, &socket, &["to"]);
        let first = socket.error_desc();
        assert_eq!(socket.put(b"x").unwrap_err().to_string(), first, "it sticks");
        socket.clear_error();
    } else {
        assert_eq!(done, len);
    }
    let mut taken = taken.take();
    peer.take_until(&mut taken, done);
    socket.put_all(b"the rest").unwrap();
    socket.shutdown().unwrap();
    peer.take_until(&mut taken, done + 8);
    assert_sees_end(&mut &peer.0);
    let sent = [&DATA[..done], b"the rest"].concat();
    assert_same(trial, &taken, &sent);
}

#[test]
fn writing_goes_on_where_it_failed_with_not_a_byte_lost() {
    let _test = begin();
    let mut tally = Tally::default();
    for wait in RAW_WAITS {
        for (name, writing) in WRITINGS {
            tally.every(&format!("{name}{wait}"), |trial| {
                write(trial, wait, false, 100, writing)
            });
            tally.every_and_without_poll(&format!("{name}, much{wait}"), |trial| {
                write(trial, wait, false, 300_000, writing)
            });
        }
    }
    for (name, writing) in WRITINGS {
        tally.every(&format!("{name}, much, to Unix"), |trial| {
            write(trial, "", true, 30_000, writing)
        });
    }
    tally.print("writing");
}

#[test]
fn a_short_write_is_followed_by_a_wait_and_not_by_a_send_in_vain() {
    let _test = begin();
    for (name, writing) in WRITINGS {
        let seen = run(name, None, None, &|trial: &Trial<'_>| {
            write(trial, "", false, 300_000, writing)
        });
        let (sends, waits) = (seen.count(Call::Send), seen.count(Call::EpollWait));
        assert!(sends > 3 && waits > 2, "{name}: {seen:?}");
        // `write` can't know what the one before has found.
        if !matches!(name, "Write::write" | "Write::write_vectored") {
            assert_eq!(seen.vain, 0, "{name}: {seen:?}");
        }
    }
}

#[test]
fn accepting_asks_for_no_address_that_accept_has_told() {
    let _test = begin();
    let (listener, addr) = crate::support::listener();
    let peer = TcpStream::connect(addr).unwrap();
    arm(None, None);
    let connection = listener.accept_new().unwrap();
    let seen = disarm();
    assert_eq!(seen.count(Call::Accept4), 1, "{seen:?}");
    assert_eq!(
        (seen.count(Call::Getpeername), seen.count(Call::Getsockname)),
        (0, 0),
        "{seen:?}"
    );
    connection.close();
    assert_eq!(connection.peer_addr().unwrap(), peer.local_addr().unwrap());
}

#[test]
fn slices_are_moved_by_one_call() {
    let _test = begin();
    let (header, body, end) = ([b'h'; 100], [b'b'; 9_000], [b'e'; 500]);
    let (mut socket, peer) = connection(&ShutdownRegistry::new(), "", true);
    let parts: [&[u8]; 3] = [&header, &body, &end];
    arm(None, None);
    let sent = socket.write_vectored(&parts.map(IoSlice::new)).unwrap();
    let seen = disarm();
    assert_eq!((sent, seen.count(Call::Send)), (9_600, 1), "{seen:?}");
    let mut came = Vec::new();
    peer.take_until(&mut came, sent);
    assert_eq!(came, parts.concat());
    peer.send(&came);
    let (mut one, mut other) = ([0; 600], [0; 20_000]);
    arm(None, None);
    let slices = &mut [IoSliceMut::new(&mut one), IoSliceMut::new(&mut other)];
    let count = socket.read_vectored(slices).unwrap();
    let seen = disarm();
    assert_eq!((count, seen.count(Call::Recv)), (9_600, 1), "{seen:?}");
    assert!(one == came[..600] && other[..9_000] == came[600..]);
}

/// Checks that an operation whose calls are interrupted without end is over when its limit is.
fn assert_ends(name: &str, call: Call, operation: impl FnOnce(Duration) -> Result<(), Error>) {
    const LIMIT: Duration = Duration::from_millis(30);
    for_ever(call);
    let (result, took) = timed(|| operation(LIMIT));
    let seen = disarm();
    assert!(seen.hits > 1, "{name}: {seen:?}");
    assert!(matches!(result, Err(Error::Timeout)), "{name}: {result:?}");
    assert!(took >= LIMIT, "{name}: a limit of {LIMIT:?} was over after {took:?}");
}

fn for_ever(call: Call) {
    let plan = Plan {
        call,
        nth: 1,
        fault: Errno(libc::EINTR),
        lasting: true,
    };
    arm(Some(plan), None);
}

#[test]
fn what_is_interrupted_again_and_again_ends_at_its_limit() {
    let _test = begin();
    let all = |wait| {
        let registry = ShutdownRegistry::new();
        let (mut socket, peer) = connection(&registry, wait, false);
        assert_ends("get, waiting", Call::EpollWait, |limit| {
            socket.timeout(limit).get_byte().map(drop)
        });
        assert_ends("wait", Call::Poll, |limit| socket.timeout(limit).wait_read());
        peer.send(b"x");
        assert_ends("get", Call::Recv, |limit| socket.timeout(limit).get_byte().map(drop));
        assert_ends("put", Call::Send, |limit| socket.timeout(limit).put(b"y").map(drop));
        assert_eq!(socket.timeout(PATIENCE).get_byte().unwrap(), Some(b'x'));
        let mut listener = TcpSocket::with_registry(&registry);
        listener.set_raw_wait(raw_wait(wait));
        listener.listen_on("127.0.0.1:0", &ListenOptions::default()).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_ends("accept", Call::Accept4, |limit| {
            listener.timeout(limit).accept_new().map(drop)
        });
        listener.timeout(PATIENCE).accept_new().unwrap();
    };
    for wait in RAW_WAITS {
        // A thread of its own gives back what a thread keeps.
        block(move || all(wait)).result();
    }
}

/// Ends a socket that may have waited, and whose descriptor may have been lent.
type Ending = fn(&TcpSocket, &ShutdownRegistry);

const ENDINGS: [(&str, Ending); 3] = [
    ("close", |socket, _| socket.close()),
    ("SocketHandle::close", |socket, _| socket.handle().close()),
    ("ShutdownRegistry::shutdown", |_, registry| registry.shutdown()),
];

#[test]
fn ending_always_ends() {
    let _test = begin();
    let mut tally = Tally::default();
    for (name, end) in ENDINGS {
        for (state, waited, lent) in [
            ("", false, false),
            (" after a wait", true, false),
            (" lent", false, true),
        ] {
            tally.every(&format!("{name}{state}"), |trial| {
                let registry = ShutdownRegistry::new();
                let (mut socket, peer) = connection(&registry, "", false);
                socket.linger(PATIENCE).unwrap();
                if waited {
                    let in_vain = socket.timeout(Duration::from_millis(1)).wait_read();
                    assert!(in_vain.unwrap_err().is_timeout());
                }
                if lent {
                    let _ = socket.as_fd();
                }
                trial.run(|| end(&socket, &registry));
                assert!(!socket.is_open());
                assert_eq!(registry.len(), 0);
                assert_sees_end(&mut &peer.0);
                assert!(socket.get_byte().unwrap_err().is_closed());
            });
            tally.every(&format!("{name}{state}, of a listener"), |trial| {
                let registry = ShutdownRegistry::new();
                let mut listener = TcpSocket::with_registry(&registry);
                listener.listen_on("127.0.0.1:0", &ListenOptions::default()).unwrap();
                let addr = listener.local_addr().unwrap();
                if waited {
                    let in_vain = listener.timeout(Duration::from_millis(1)).accept_new();
                    assert!(in_vain.unwrap_err().is_timeout());
                }
                if lent {
                    let _ = listener.as_fd();
                }
                trial.run(|| end(&listener, &registry));
                assert!(is_refused(addr));
                assert_eq!(registry.len(), 0);
            });
        }
    }
    for wait in RAW_WAITS {
        for (name, by_registry) in [("SocketHandle::close", false), ("ShutdownRegistry::shutdown", true)] {
            tally.every_and_without_poll(&format!("{name} during a get{wait}"), |trial| {
                let registry = ShutdownRegistry::new();
                let (mut socket, peer) = connection(&registry, wait, false);
                let (handle, ending) = (socket.handle(), registry.clone());
                let end = move || {
                    if by_registry {
                        ending.shutdown();
                    } else {
                        handle.close();
                    }
                };
                let ending = end.clone();
                before_each_wait(move || armed(&ending));
                let result = trial.run(|| socket.timeout(PATIENCE).get_byte());
                if matches!(result, Err(Error::Io { .. })) {
                    trial.check(result, &READ_ERRORS);
                    end();
                } else {
                    assert!(
                        result.as_ref().is_err_and(Error::is_closed),
                        "{}: {result:?}",
                        trial.what()
                    );
                }
                assert_sees_end(&mut &peer.0);
                assert_eq!(registry.len(), 0);
            });
        }
        tally.every(&format!("abort during a get{wait}"), |trial| {
            let (mut socket, peer) = connection(&ShutdownRegistry::new(), wait, false);
            let handle = socket.handle();
            before_each_wait(move || armed(|| handle.abort()));
            let result = trial.run(|| socket.timeout(PATIENCE).get_byte());
            if matches!(result, Err(Error::Io { .. })) {
                trial.check(result, &READ_ERRORS);
                socket.clear_error();
            } else {
                assert!(matches!(result, Err(Error::Aborted)), "{}: {result:?}", trial.what());
            }
            socket.clear_abort();
            peer.send(b"x");
            assert_eq!(socket.get_byte().unwrap(), Some(b'x'));
        });
    }
    tally.every("drop", |trial| {
        let (mut socket, peer) = connection(&ShutdownRegistry::new(), "", false);
        let in_vain = socket.timeout(Duration::from_millis(1)).wait_read();
        assert!(in_vain.unwrap_err().is_timeout());
        trial.run(|| drop(socket));
        assert_sees_end(&mut &peer.0);
    });
    tally.every("wait_stop", |trial| {
        let registry = ShutdownRegistry::new();
        let stopping = registry.clone();
        before_each_wait(move || armed(|| stopping.stop_accepting()));
        assert!(trial.run(|| registry.wait_stop(PATIENCE)));
    });
    tally.every_and_without_poll("drain", |trial| {
        let registry = ShutdownRegistry::new();
        let (socket, _peer) = connection(&registry, "", false);
        let handle = socket.handle();
        before_each_wait(move || armed(|| handle.close()));
        let drained = trial.run(|| registry.drain(PATIENCE));
        assert_eq!((drained.finished, drained.forced), (1, 0), "{}", trial.what());
    });
    tally.every("shutdown", |trial| {
        let (mut socket, peer) = connection(&ShutdownRegistry::new(), "", false);
        let result = trial.run(|| socket.shutdown());
        if trial.check(result, &[(Call::Shutdown, "shutdown of ")]).is_none() {
            assert!(!socket.is_error());
            socket.put_all(b"x").unwrap();
            peer.take_until(&mut Vec::new(), 1);
            socket.shutdown().unwrap();
        }
        assert_sees_end(&mut &peer.0);
    });
    tally.print("ending");
}

#[test]
fn what_is_asked_of_a_socket_is_answered_or_says_why() {
    let _test = begin();
    let mut tally = Tally::default();
    let mut asked = |name: &str, call, ask: fn(&TcpSocket) -> Result<(), Error>| {
        tally.every(name, |trial| {
            let (mut socket, peer) = connection(&ShutdownRegistry::new(), "", false);
            let result = trial.run(|| ask(&socket));
            let text = format!("{name} of {}: ", socket.peer_addr().unwrap());
            // The address of the peer is known.
            let named = match call {
                Call::Getpeername => vec![],
                _ => vec![(call, &*text)],
            };
            if trial.check(result, &named).is_none() {
                assert!(!socket.is_error(), "{}", trial.what());
                ask(&socket).unwrap();
            }
            assert_connected(&mut socket, &TcpStream::from(peer.0));
        });
    };
    asked("local_addr", Call::Getsockname, |socket| socket.local_addr().map(drop));
    asked("peer_addr", Call::Getpeername, |socket| socket.peer_addr().map(drop));
    asked("no_delay", Call::Setsockopt, |socket| socket.no_delay());
    asked("linger", Call::Setsockopt, |socket| socket.linger(PATIENCE));
    asked("no_linger", Call::Setsockopt, |socket| socket.no_linger());
    tally.print("asking");
}

#[test]
fn taking_a_socket_over_and_giving_it_away_says_why_it_fails() {
    let _test = begin();
    let mut tally = Tally::default();
    let pair = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener.accept().unwrap().0, peer)
    };
    // What is asked first is whether it is a stream. What the rest is for can be done without.
    let named = |trial: &Trial<'_>| match trial.plan {
        Some(Plan {
            call: Call::Getsockopt,
            nth: 2..,
            ..
        }) => [(Call::Fcntl, "attach: "); 2],
        _ => [(Call::Fcntl, "attach: "), (Call::Getsockopt, "attach: ")],
    };
    tally.every("attach", |trial| {
        let (own, mut peer) = pair();
        let registry = ShutdownRegistry::new();
        let mut socket = TcpSocket::with_registry(&registry);
        let result = trial.run(|| socket.attach(own));
        match trial.check(result, &named(trial)) {
            Some(()) => assert_connected(&mut socket, &peer),
            None => {
                assert_not_opened(&mut socket, &registry);
                assert_sees_end(&mut peer);
            }
        }
    });
    tally.every("From<TcpStream>", |trial| {
        let (own, peer) = pair();
        let mut socket = trial.run(|| TcpSocket::from(own));
        let result = socket.error().cloned().map_or(Ok(()), Err);
        if trial.check(result, &named(trial)).is_some() {
            assert_connected(&mut socket, &peer);
        }
    });
    tally.every("TryFrom<TcpSocket>", |trial| {
        let (own, mut peer) = pair();
        let socket = TcpSocket::from(own);
        let result = trial.run(|| TcpStream::try_from(socket));
        let text = "conversion to TcpStream: ";
        match trial.check(result, &[(Call::Getsockname, text), (Call::Fcntl, text)]) {
            Some(own) => assert_connected(&mut TcpSocket::from(own), &peer),
            None => assert_sees_end(&mut peer),
        }
    });
    tally.print("taking over");
}

#[test]
fn halves_fail_and_go_on_each_for_itself() {
    let _test = begin();
    let mut tally = Tally::default();
    tally.every("TcpReader::get_all", |trial| {
        let (socket, peer) = connection(&ShutdownRegistry::new(), "", false);
        let (mut reader, mut writer) = socket.split();
        peer.send(b"there");
        let result = trial.run(|| reader.timeout(PATIENCE).get_all_bytes(5));
        writer.put_all(b"back").unwrap();
        peer.take_until(&mut Vec::new(), 4);
        let failed = trial.check(result, &READ_ERRORS).is_none();
        let mut socket = reader.unsplit(writer).unwrap();
        assert_eq!(socket.is_error(), failed);
        socket.clear_error();
        if failed {
            assert_eq!(socket.get_all_bytes(5).unwrap(), b"there");
        }
    });
    tally.every("TcpWriter::put_all", |trial| {
        let (socket, peer) = connection(&ShutdownRegistry::new(), "", false);
        let (mut reader, mut writer) = socket.split();
        let result = trial.run(|| writer.timeout(PATIENCE).put_all(b"back"));
        peer.send(b"there");
        assert_eq!(reader.get_all_bytes(5).unwrap(), b"there");
        let failed = trial.check(result, &WRITE_ERRORS).is_none();
        let mut came = Vec::new();
        peer.take_until(&mut came, writer.done());
        let mut socket = reader.unsplit(writer).unwrap();
        assert_eq!(socket.is_error(), failed);
        socket.clear_error();
        socket.put_all(&b"back"[came.len()..]).unwrap();
        peer.take_until(&mut came, 4);
        assert_eq!(came, b"back");
    });
    tally.print("halves");
}

#[test]
fn a_queue_says_why_it_fails_and_goes_on() {
    let _test = begin();
    let mut tally = Tally::default();
    let queue_in = |registry: &ShutdownRegistry| SocketEventQueue::<SocketId>::in_registry(registry);

    tally.every("SocketEventQueue::new", |trial| {
        let registry = ShutdownRegistry::new();
        let (socket, _peer) = connection(&registry, "", false);
        let result = trial.run(|| queue_in(&registry));
        let calls = [Call::EpollCreate1, Call::EpollCtl, Call::Eventfd, Call::Fcntl];
        let queue = trial.check(result, &calls.map(|call| (call, "create queue: ")));
        let queue = queue.unwrap_or_else(|| queue_in(&registry).unwrap());
        queue.subscribe_write(&socket).unwrap();
        assert_only(&queue, &socket, WRITE);
    });

    let subscribe_errors = [(Call::EpollCtl, "subscribe: ")];
    for ready in [false, true] {
        tally.every(if ready { "subscribe, ready" } else { "subscribe" }, |trial| {
            let registry = ShutdownRegistry::new();
            let (socket, peer) = connection(&registry, "", false);
            let queue = queue_in(&registry).unwrap();
            if ready {
                peer.send(b"x");
            }
            let result = trial.run(|| queue.subscribe_read(&socket));
            if trial.check(result, &subscribe_errors).is_none() {
                assert_eq!(queue.len(), 0);
                assert!(!queue.is_error() && !queue.is_subscribed_read(&socket));
                assert_silent(&queue);
                queue.subscribe_read(&socket).unwrap();
            }
            assert_eq!(queue.len(), 1);
            if !ready {
                assert_silent(&queue);
                peer.send(b"x");
            }
            assert_only(&queue, &socket, READ);
        });
    }
    tally.every("subscribe to more", |trial| {
        let registry = ShutdownRegistry::new();
        let (socket, _peer) = connection(&registry, "", false);
        let queue = queue_in(&registry).unwrap();
        queue.subscribe_read(&socket).unwrap();
        let result = trial.run(|| queue.subscribe_write(&socket));
        if trial.check(result, &subscribe_errors).is_none() {
            assert!(queue.is_subscribed_read(&socket) && !queue.is_subscribed_write(&socket));
            assert_silent(&queue);
            queue.subscribe_write(&socket).unwrap();
        }
        assert_only(&queue, &socket, WRITE);
    });

    tally.every("SocketEventQueue::wait", |trial| {
        let registry = ShutdownRegistry::new();
        let (mut socket, peer) = connection(&registry, "", false);
        let (other, _other_peer) = connection(&registry, "", false);
        let queue = queue_in(&registry).unwrap();
        queue.subscribe_read(&socket).unwrap();
        queue.subscribe_read(&other).unwrap();
        socket.timeout(PATIENCE);
        let (peer, id) = (Rc::new(peer), socket.id());
        let (sending, mut left) = (Rc::clone(&peer), 3);
        before_each_wait(move || {
            if left > 0 {
                left -= 1;
                sending.send(b"abc");
            }
        });
        // What a read has left is reported again, and what came after all was read as well.
        let result = trial.run(|| {
            let mut came = Vec::new();
            while came.len() < 9 {
                let events = queue.wait(PATIENCE)?;
                let seen: Vec<_> = events.iter().map(|event| (event.socket_id(), event.events())).collect();
                assert_eq!(seen, [(id, READ)], "{came:?}");
                came.extend(socket.get_bytes(if came.len().is_multiple_of(3) { 2 } else { 1 })?);
            }
            Ok(came)
        });
        if let Some(came) = trial.check(result, &[(Call::Recv, "get_bytes from ")]) {
            assert_eq!(came, b"abcabcabc");
            assert_silent(&queue);
        }
        socket.clear_error();
        assert!(!queue.is_error());
        queue.subscribe_write(&other).unwrap();
        queue.remove(&socket).unwrap();
        assert_only(&queue, &other, WRITE);
    });

    tally.every("SocketEventQueue::wait, closed meanwhile", |trial| {
        let registry = ShutdownRegistry::new();
        let (socket, peer) = connection(&registry, "", false);
        let queue = queue_in(&registry).unwrap();
        queue.subscribe_read(&socket).unwrap();
        let handle = socket.handle();
        before_each_wait(move || armed(|| handle.close()));
        let events = trial.run(|| queue.wait(PATIENCE)).unwrap();
        let seen: Vec<_> = events
            .iter()
            .map(|event| (event.socket_id(), event.is_closed()))
            .collect();
        assert_eq!(seen, [(socket.id(), true)], "{}", trial.what());
        assert_eq!(queue.len(), 0);
        assert_sees_end(&mut &peer.0);
    });

    for (name, end) in [("woken", false), ("ended", true)] {
        tally.every(&format!("SocketEventQueue::wait, {name} meanwhile"), |trial| {
            let registry = ShutdownRegistry::new();
            let queue = queue_in(&registry).unwrap();
            let handle = queue.handle();
            before_each_wait(move || armed(|| if end { handle.close() } else { handle.wake() }));
            let result = trial.run(|| queue.wait(PATIENCE).map(|events| events.len()));
            match result {
                Ok(0) if !end => {}
                Err(Error::Closed) if end => {}
                result => panic!("{}: {result:?}", trial.what()),
            }
        });
    }

    tally.every("remove, clear and drop", |trial| {
        let registry = ShutdownRegistry::new();
        let (mut first, peer) = connection(&registry, "", false);
        let (second, _second_peer) = connection(&registry, "", false);
        let queue = queue_in(&registry).unwrap();
        queue.subscribe_read(&first).unwrap();
        queue.subscribe_read(&second).unwrap();
        trial.run(|| {
            queue.remove(&first).unwrap();
            queue.clear().unwrap();
            drop(queue);
        });
        assert_connected(&mut first, &TcpStream::from(peer.0));
    });
    tally.print("queues");
}

#[test]
fn a_set_says_why_it_fails_and_goes_on() {
    let _test = begin();
    let mut tally = Tally::default();
    for late in [false, true] {
        tally.every(
            if late {
                "SocketWaitEvent, waiting"
            } else {
                "SocketWaitEvent"
            },
            |trial| {
                let registry = ShutdownRegistry::new();
                let (socket, peer) = connection(&registry, "", false);
                let (other, _other_peer) = connection(&registry, "", false);
                let mut set = SocketWaitEvent::new();
                if late {
                    let mut left = 1;
                    let peer = peer.0.try_clone().unwrap();
                    before_each_wait(move || {
                        if left > 0 {
                            left -= 1;
                            (&peer).write_all(b"x").unwrap();
                        }
                    });
                } else {
                    peer.send(b"x");
                }
                let result = trial.run(|| {
                    set.add(&other, READ);
                    set.add(&socket, READ);
                    set.wait(PATIENCE)
                });
                // The first that is watched is the waker.
                let of_socket = trial
                    .plan
                    .is_some_and(|plan| plan.call == Call::EpollCtl && plan.nth > 1);
                let text = if of_socket { "subscribe: " } else { "create queue: " };
                let calls = [Call::EpollCreate1, Call::EpollCtl, Call::Eventfd, Call::Fcntl];
                let found = trial.check(result, &calls.map(|call| (call, text)));
                if found.is_none() {
                    if late {
                        peer.send(b"x");
                    }
                    set.clear();
                    set.add(&other, READ);
                    set.add(&socket, READ);
                    assert_eq!(set.wait(PATIENCE).unwrap(), 1);
                }
                assert_eq!((set[0], set[1]), (WaitEvents::empty(), READ), "{}", trial.what());
            },
        );
    }
    tally.print("sets");
}

#[test]
fn a_queue_whose_poll_fails_says_why_from_then_on() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (mut socket, peer) = connection(&registry, "", false);
    let queue = SocketEventQueue::<SocketId>::in_registry(&registry).unwrap();
    queue.subscribe_read(&socket).unwrap();
    let plan = Plan {
        call: Call::EpollWait,
        nth: 1,
        fault: Errno(libc::EINVAL),
        lasting: false,
    };
    arm(Some(plan), None);
    let failed = queue.wait(PATIENCE);
    assert_eq!(disarm().hits, 1);
    let texts = [
        failed.map(drop),
        queue.wait(PATIENCE).map(drop),
        queue.subscribe_write(&socket),
    ];
    for text in texts.map(|result| result.unwrap_err().to_string()) {
        assert_eq!(text, "wait: invalid argument");
    }
    assert!(queue.is_error() && queue.error().is_some());
    // That is the queue's misfortune, and not its sockets'.
    drop(queue);
    (&peer.0).write_all(b"x").unwrap();
    assert_eq!(socket.timeout(PATIENCE).get_byte().unwrap(), Some(b'x'));
}
