//! Every ending in every phase in which a WebSocket may block: at once, with the right error, and what goes on goes on where
//! it stopped.

use std::any::Any;
use std::io::{Read, Write};
use std::mem;
use std::net::{SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use wakesock::{
    Error, Message, QueueHandle, Result, Role, ShutdownRegistry, SocketEvent, SocketEventQueue, SocketHandle,
    SocketWaitEvent, TcpSocket, Upgrade, WaitEvents, WebSocket, WebSocketReader, WebSocketWriter,
};

use crate::ends::*;
#[cfg(target_os = "linux")]
use crate::names::{HOST, Lookups};
use crate::support::ending::{ENDINGS, Ending};
use crate::support::{
    BlackHole, Blocked, PATIENCE, SEES_SLEEPERS, begin, block, in_handler, listener, pattern, server, unix_pair_in,
};

/// More than the buffers of a connection without a port hold.
static MUCH: LazyLock<Vec<u8>> = LazyLock::new(|| pattern(4 << 20));

const ROLES: [Role; 2] = [Role::Client, Role::Server];

/// What has limits.
trait Limited {
    /// Sets the limit that is to end what comes, if one is.
    fn prepare_for(&mut self, ending: Ending);
    /// Lifts whatever has ended it.
    fn lift(&mut self);
}

macro_rules! limited {
    ($($Type:ty),*) => {
        $(impl Limited for $Type {
            fn prepare_for(&mut self, ending: Ending) {
                match ending {
                    Ending::Limit => drop(self.timeout(Duration::from_millis(3))),
                    Ending::GlobalLimit => drop(self.global_timeout(Duration::from_millis(3))),
                    _ => {}
                }
            }

            fn lift(&mut self) {
                self.clear_error();
                self.clear_abort();
                self.no_global_timeout().timeout(PATIENCE);
                let handle = self.handle();
                handle.read_deadline(None);
                handle.write_deadline(None);
            }
        })*
    };
}

limited!(TcpSocket, WebSocket, WebSocketReader, WebSocketWriter);

/// An operation that is to block.
struct Phase {
    /// Of what ends it.
    handle: SocketHandle,
    run: Box<dyn FnOnce(Ending) -> (Result<()>, After) + Send>,
}

/// What is checked afterwards.
type After = Box<dyn FnOnce(Ending, &str) + Send>;

struct Maker {
    name: String,
    make: Box<dyn Fn(&ShutdownRegistry) -> Phase>,
}

fn maker(name: impl Into<String>, make: impl Fn(&ShutdownRegistry) -> Phase + 'static) -> Maker {
    Maker {
        name: name.into(),
        make: Box::new(make),
    }
}

trait Peer: Read + Write + Send {}

impl<P: Read + Write + Send> Peer for P {}

fn plain(registry: &ShutdownRegistry) -> (TcpSocket, Box<dyn Peer>) {
    let (socket, peer) = unix_pair_in(registry);
    (socket, Box::new(peer))
}

#[cfg(all(feature = "tls-ring", any(target_os = "linux", target_env = "gnu")))]
fn secure(registry: &ShutdownRegistry) -> (TcpSocket, Box<dyn Peer>) {
    use crate::support::certificates::{NAME, client_config, server_config};
    let (mut socket, peer) = unix_pair_in(registry);
    let mut peer = TcpSocket::from(peer);
    let shaking = thread::spawn(move || {
        peer.timeout(PATIENCE).start_tls(NAME, &client_config()).unwrap();
        peer
    });
    socket.timeout(PATIENCE).start_tls_server(&server_config()).unwrap();
    socket.blocking();
    (socket, Box::new(shaking.join().unwrap()))
}

/// A conversation, at the point at which an operation is to block.
#[derive(Clone)]
struct Talk {
    role: Role,
    connection: fn(&ShutdownRegistry) -> (TcpSocket, Box<dyn Peer>),
    /// What the peer has sent, and is still to send.
    come: Vec<u8>,
    rest: Vec<u8>,
    /// What is received when it goes on.
    comes: Option<Message>,
    /// Nothing more can be sent.
    is_full: bool,
    /// The operation sends a long message, which is taken.
    sends: bool,
    /// The operation closes, whatever becomes of it.
    closes: bool,
}

impl Talk {
    fn new(role: Role) -> Talk {
        Talk {
            role,
            connection: plain,
            come: Vec::new(),
            rest: Vec::new(),
            comes: None,
            is_full: false,
            sends: false,
            closes: false,
        }
    }

    /// So much of this has come.
    fn come(mut self, bytes: &[u8], len: usize) -> Talk {
        let (come, rest) = bytes.split_at(len);
        (self.come, self.rest) = (come.to_vec(), rest.to_vec());
        self
    }

    fn begin(&self, registry: &ShutdownRegistry) -> (WebSocket, Box<dyn Peer>) {
        let (socket, mut peer) = (self.connection)(registry);
        // So that no time goes into that when it is to block.
        LazyLock::force(&MUCH);
        peer.write_all(&self.come).unwrap();
        let mut socket = WebSocket::from_upgraded(socket, self.role);
        socket.close_limit(None);
        if self.is_full {
            socket.timeout(Duration::ZERO).send_binary(&MUCH).unwrap();
            assert!(socket.unsent() > 0);
            socket.blocking();
        }
        (socket, peer)
    }

    fn blocks(self, name: &str, run: fn(&mut WebSocket) -> Result<()>) -> Maker {
        maker(format!("{:?}, {name}", self.role), move |registry| {
            let (mut socket, peer) = self.begin(registry);
            let talk = self.clone();
            Phase {
                handle: socket.handle(),
                run: Box::new(move |ending| {
                    socket.prepare_for(ending);
                    if ending == Ending::Limit {
                        socket.close_limit(Duration::from_millis(3));
                    }
                    let result = run(&mut socket);
                    (
                        result,
                        Box::new(move |ending, what| talk.end(socket, peer, ending, what)),
                    )
                }),
            }
        })
    }

    /// The same of halves, of which each does its part.
    fn blocks_halves(
        self,
        name: &str,
        read: Option<fn(&mut WebSocketReader) -> Result<()>>,
        write: Option<fn(&mut WebSocketWriter) -> Result<()>>,
    ) -> Maker {
        maker(format!("{:?}, {name}", self.role), move |registry| {
            let (socket, peer) = self.begin(registry);
            let handle = socket.handle();
            let talk = self.clone();
            let (mut reader, mut writer) = socket.split();
            let run = move |ending| {
                reader.prepare_for(ending);
                writer.prepare_for(ending);
                if ending == Ending::Limit {
                    writer.close_limit(Duration::from_millis(3));
                }
                let was_read: Option<Result<()>>;
                let was_written: Option<Result<()>>;
                (was_written, writer, was_read) = match (read, write) {
                    (Some(read), Some(write)) => {
                        let writing = block(move || (write(&mut writer), writer));
                        let was_read = read(&mut reader);
                        let (was_written, writer) = writing.result();
                        (Some(was_written), writer, Some(was_read))
                    }
                    _ => {
                        let was_written = write.map(|write| write(&mut writer));
                        (was_written, writer, read.map(|read| read(&mut reader)))
                    }
                };
                if let (Some(read), Some(written), false) = (&was_read, &was_written, talk.closes) {
                    // (Where one closes, that may be what ends the other.)
                    assert_eq!(discriminant(read), discriminant(written), "{read:?}, {written:?}");
                }
                let after: After = Box::new(move |ending, what| {
                    reader.lift();
                    writer.lift();
                    let socket = reader.unsplit(writer).unwrap();
                    talk.go_on(socket, peer, ending, what);
                });
                (was_written.or(was_read).expect("one of them"), after)
            };
            Phase {
                handle,
                run: Box::new(run),
            }
        })
    }

    fn end(&self, mut socket: WebSocket, peer: Box<dyn Peer>, ending: Ending, what: &str) {
        if !(self.closes || ending.is_for_good()) {
            let is_sticky = ending == Ending::GlobalLimit;
            assert_eq!(socket.is_error(), is_sticky, "{what}: {:?}", socket.error());
        }
        socket.lift();
        self.go_on(socket, peer, ending, what);
    }

    /// Goes on: what was taken is sent, once and in order, and what was on its way comes.
    fn go_on(&self, mut socket: WebSocket, mut peer: Box<dyn Peer>, ending: Ending, what: &str) {
        if self.closes || ending.is_for_good() {
            assert!(!socket.is_open(), "{what}");
            let received = socket.receive();
            assert!(received.as_ref().is_err_and(Error::is_closed), "{what}: {received:?}");
            assert!(socket.send("more").is_err_and(|error| error.is_closed()), "{what}");
            return;
        }
        assert!(socket.is_open(), "{what}");
        // The run may be out of time before the message was taken, or ended before, where nobody sees whether it blocks. Of
        // one that was taken, not all can be with the system.
        let may_be_late = ending == Ending::GlobalLimit || !SEES_SLEEPERS;
        let is_late = self.sends && may_be_late && socket.unsent() == 0;
        let rest = [&self.rest, &frame_for(self.role, LAST | TEXT, b"back")[..]].concat();
        let peer = thread::spawn(move || {
            let mut messages = Vec::new();
            loop {
                let (first, _, payload) = read_frame(&mut peer).unwrap();
                if payload == b"and more" {
                    break;
                }
                if first != LAST | PONG {
                    messages.push((first, payload));
                }
            }
            peer.write_all(&rest).unwrap();
            (messages, peer)
        });
        socket.send("and more").unwrap();
        if let Some(message) = &self.comes {
            assert!(socket.receive().unwrap().as_ref() == Some(message), "{what}");
        }
        assert_eq!(socket.receive().unwrap(), Some(Message::from("back")), "{what}");
        let (messages, _peer) = peer.join().unwrap();
        let expected = (self.is_full || self.sends && !is_late).then(|| (LAST | BINARY, MUCH.clone()));
        assert!(
            messages == Vec::from_iter(expected),
            "{what}: {} messages",
            messages.len()
        );
    }
}

fn discriminant(result: &Result<()>) -> Option<mem::Discriminant<Error>> {
    result.as_ref().err().map(mem::discriminant)
}

fn receive(socket: &mut WebSocket) -> Result<()> {
    socket.receive().map(drop)
}

/// The phases of a conversation.
fn talks() -> Vec<Maker> {
    let mut all = Vec::new();
    for role in ROLES {
        let message = frame_for(role, LAST | BINARY, &pattern(70_000));
        let ping = frame_for(role, LAST | PING, b"there?");
        let begun = [
            &frame_for(role, TEXT, b"in ")[..],
            &frame_for(role, LAST | CONTINUATION, b"parts"),
        ]
        .concat();
        let idle = Talk::new(role);
        let full = Talk {
            is_full: true,
            ..Talk::new(role)
        };
        let in_message = |len| Talk {
            comes: Some(Message::from(pattern(70_000))),
            ..Talk::new(role).come(&message, len)
        };
        let in_ping = || Talk::new(role).come(&ping, ping.len() - 1);
        let closing = |talk: Talk| Talk { closes: true, ..talk };
        let full_and = |talk: Talk| Talk { is_full: true, ..talk };
        all.extend([
            idle.clone().blocks("receive", receive),
            in_message(1).blocks("receive, in the head of a frame", receive),
            in_message(9).blocks("receive, before a payload", receive),
            in_message(40_000).blocks("receive, in a payload", receive),
            in_ping().blocks("receive, in a ping", receive),
            Talk {
                comes: Some(Message::from("in parts")),
                ..Talk::new(role).come(&begun, begun.len() - 5)
            }
            .blocks("receive, between fragments", receive),
            idle.clone()
                .blocks("wait_message", |socket| socket.wait_message().map(drop)),
            in_ping().blocks("wait_message, in a ping", |socket| socket.wait_message().map(drop)),
            full.clone().blocks("receive, with something unsent", receive),
            full_and(in_message(1)).blocks("receive, in the head of a frame, with something unsent", receive),
            full_and(in_message(40_000)).blocks("receive, in a payload, with something unsent", receive),
            full_and(in_ping()).blocks("receive, in a ping, with something unsent", receive),
            full_and(in_ping()).blocks("wait_message, in a ping, with something unsent", |socket| {
                socket.wait_message().map(drop)
            }),
            full_and(Talk::new(role).come(&ping, 1))
                .blocks("wait_message, in the head of a ping, with something unsent", |socket| {
                    socket.wait_message().map(drop)
                }),
            full.clone()
                .blocks("send, behind what is unsent", |socket| socket.send("more")),
            Talk {
                sends: true,
                ..Talk::new(role)
            }
            // The first one is taken, and so the second one tells.
            .blocks("send, in the middle", |socket| {
                socket.send_binary(&MUCH)?;
                socket.send("more")
            }),
            full.clone().blocks("begin", |socket| socket.begin_text(b"more")),
            full.clone().blocks("ping", |socket| socket.ping(b"more")),
            full.clone().blocks("flush", WebSocket::flush),
            closing(idle.clone()).blocks("close, and the peer is silent", |socket| socket.close(1000, "")),
            closing(in_message(40_000)).blocks("close, in a message", |socket| socket.close(1000, "")),
            closing(full.clone()).blocks("close, with something unsent", |socket| socket.close(1000, "")),
            idle.clone()
                .blocks_halves("the receiving half", Some(|half| half.receive().map(drop)), None),
            in_message(40_000).blocks_halves(
                "the receiving half, in a payload",
                Some(|half| half.receive().map(drop)),
                None,
            ),
            full.clone()
                .blocks_halves("the sending half", None, Some(|half| half.send("more"))),
            full.clone()
                .blocks_halves("the sending half, flush", None, Some(WebSocketWriter::flush)),
            closing(idle.clone()).blocks_halves(
                "the sending half, which closes",
                None,
                Some(|half| half.close(1000, "")),
            ),
            full.clone().blocks_halves(
                "both halves",
                Some(|half| half.receive().map(drop)),
                Some(|half| half.send("more")),
            ),
            closing(in_message(9)).blocks_halves(
                "both halves, of which one closes",
                Some(|half| half.receive().map(drop)),
                Some(|half| half.close(1000, "")),
            ),
        ]);
    }
    #[cfg(all(feature = "tls-ring", any(target_os = "linux", target_env = "gnu")))]
    {
        let role = Role::Server;
        let idle = Talk {
            connection: secure,
            ..Talk::new(role)
        };
        let message = frame_for(role, LAST | BINARY, &pattern(70_000));
        let in_message = Talk {
            comes: Some(Message::from(pattern(70_000))),
            ..idle.clone().come(&message, 40_000)
        };
        let full = Talk {
            is_full: true,
            ..idle.clone()
        };
        all.extend([
            idle.clone().blocks("receive, under TLS", receive),
            in_message.blocks("receive, in a payload, under TLS", receive),
            Talk {
                is_full: true,
                comes: Some(Message::from(pattern(70_000))),
                ..idle.clone().come(&message, 1)
            }
            .blocks(
                "receive, in the head of a frame, with something unsent, under TLS",
                receive,
            ),
            full.clone()
                .blocks("send, behind what is unsent, under TLS", |socket| socket.send("more")),
            full.blocks_halves(
                "both halves, under TLS",
                Some(|half| half.receive().map(drop)),
                Some(|half| half.send("more")),
            ),
            Talk { closes: true, ..idle }.blocks("close, and the peer is silent, under TLS", |socket| {
                socket.close(1000, "")
            }),
        ]);
    }
    all
}

/// Holds a connect to a URL up, for as long as something is kept.
type Hold = fn() -> (String, Box<dyn Any + Send>);

/// Where a connect may be held up, and by what.
fn held_connects() -> Vec<(&'static str, Hold)> {
    fn silent(scheme: &str) -> (String, Box<dyn Any + Send>) {
        let (listener, addr) = server();
        (format!("{scheme}://{addr}/"), Box::new(listener))
    }
    vec![
        #[cfg(target_os = "linux")]
        ("the look-up", || {
            use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            // A name of its own: who asks for one whose look-up is not over yet shares its answer.
            let number = COUNT.fetch_add(1, SeqCst);
            (format!("ws://{number}.{HOST}:1/"), Box::new(Lookups::held()))
        }),
        ("TCP", || {
            let hole = BlackHole::new();
            (format!("ws://{}/", hole.addr()), Box::new(hole))
        }),
        ("the answer", || silent("ws")),
        ("in the answer", || {
            let (listener, addr) = server();
            let answering = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                // The half of it.
                stream.write_all(b"HTTP/1.1 101 Switch").unwrap();
                let _ = stream.read_to_end(&mut Vec::new());
            });
            (format!("ws://{addr}/"), Box::new(answering))
        }),
        #[cfg(all(feature = "tls-ring", any(target_os = "linux", target_env = "gnu")))]
        ("the handshake of TLS", || silent("wss")),
        #[cfg(all(feature = "tls-ring", any(target_os = "linux", target_env = "gnu")))]
        ("the answer, under TLS", || {
            let (listener, addr) = listener();
            let shaking = thread::spawn(move || {
                let mut socket = listener.accept_new().unwrap();
                let shaken = socket.start_tls_server(&crate::support::certificates::server_config());
                // Until the client is ended.
                let _ = shaken.and_then(|()| socket.get_bytes(1 << 20));
            });
            (format!("wss://{addr}/"), Box::new(shaking))
        }),
    ]
}

fn unopened(registry: &ShutdownRegistry) -> WebSocket {
    let socket = WebSocket::with_registry(registry);
    #[cfg(all(feature = "tls-ring", any(target_os = "linux", target_env = "gnu")))]
    let socket = {
        let mut socket = socket;
        socket.tls(&crate::support::certificates::client_config());
        socket
    };
    socket
}

/// Checks that the socket, whose connect has failed, connects to another.
fn connect_again(mut socket: WebSocket, ending: Ending, what: &str) {
    assert!(!socket.is_open(), "{what}");
    socket.lift();
    let (listener, addr) = listener();
    let url = format!("ws://{addr}/");
    if ending == Ending::Shutdown {
        assert!(matches!(socket.connect(&url), Err(Error::Shutdown)), "{what}");
        return;
    }
    let serving = thread::spawn(move || WebSocket::upgrade(listener.accept_new().unwrap()));
    socket.connect(&url).unwrap();
    assert_goes(&mut socket, &mut serving.join().unwrap().unwrap(), "hello");
}

/// The phases of an opening handshake.
fn openings() -> Vec<Maker> {
    let mut all = Vec::new();
    for (name, hold) in held_connects() {
        all.push(maker(format!("connect: {name}"), move |registry| {
            let (url, kept) = hold();
            let mut socket = unopened(registry);
            Phase {
                handle: socket.handle(),
                run: Box::new(move |ending| {
                    socket.prepare_for(ending);
                    let result = socket.connect(&url);
                    let after: After = Box::new(move |ending, what| {
                        connect_again(socket, ending, what);
                        drop(kept);
                    });
                    (result, after)
                }),
            }
        }));
        all.push(maker(format!("wait_connect: {name}"), move |registry| {
            let (url, kept) = hold();
            let mut socket = unopened(registry);
            socket.timeout(Duration::ZERO).connect(&url).unwrap();
            socket.blocking();
            Phase {
                handle: socket.handle(),
                run: Box::new(move |ending| {
                    socket.prepare_for(ending);
                    let result = socket.wait_connect();
                    let after: After = Box::new(move |ending, what| {
                        if matches!(ending, Ending::Limit | Ending::Deadline) {
                            assert!(!socket.is_error(), "{what}");
                            socket.lift();
                            assert_timeout(&socket.timeout(Duration::ZERO).wait_connect());
                            socket.handle().close();
                            assert!(matches!(socket.wait_connect(), Err(Error::Closed)), "{what}");
                        }
                        connect_again(socket, ending, what);
                        drop(kept);
                    });
                    (result, after)
                }),
            }
        }));
    }
    for (name, sent) in [
        ("the request", &b""[..]),
        ("in the request", b"GET / HTTP/1.1\r\nHost: x\r"),
    ] {
        all.push(maker(name, move |registry| {
            let (mut socket, mut peer) = unix_pair_in(registry);
            peer.write_all(sent).unwrap();
            Phase {
                handle: socket.handle(),
                run: Box::new(move |ending| {
                    socket.prepare_for(ending);
                    let result = Upgrade::read(socket).map(drop);
                    let after: After = Box::new(move |_, what| {
                        assert_eq!(peer.read(&mut [0]).unwrap(), 0, "{what}");
                    });
                    (result, after)
                }),
            }
        }));
    }
    all.push(maker("accept: a client", |registry| {
        let mut listener = TcpSocket::with_registry(registry);
        listener.listen_on("127.0.0.1:0", &Default::default()).unwrap();
        let addr = listener.local_addr().unwrap();
        let mut socket = WebSocket::with_registry(registry);
        Phase {
            handle: listener.handle(),
            run: Box::new(move |ending| {
                socket.prepare_for(ending);
                let result = socket.accept(&listener);
                let after: After = Box::new(move |ending, what| {
                    socket.lift();
                    listener.lift();
                    accept_again(&mut socket, &listener, addr, ending, what);
                });
                (result, after)
            }),
        }
    }));
    all.push(maker("accept: the request", |registry| {
        let mut listener = TcpSocket::with_registry(registry);
        listener.listen_on("127.0.0.1:0", &Default::default()).unwrap();
        let addr = listener.local_addr().unwrap();
        let mut socket = WebSocket::with_registry(registry);
        let client = TcpStream::connect(addr).unwrap();
        Phase {
            handle: socket.handle(),
            run: Box::new(move |ending| {
                socket.prepare_for(ending);
                let result = socket.accept(&listener);
                let after: After = Box::new(move |ending, what| {
                    assert!(!socket.is_open(), "{what}");
                    drop(client);
                    socket.lift();
                    if !ending.is_for_good() {
                        accept_again(&mut socket, &listener, addr, ending, what);
                    }
                });
                (result, after)
            }),
        }
    }));
    all
}

/// Checks that the next client is accepted, unless the listener was ended for good.
fn accept_again(socket: &mut WebSocket, listener: &TcpSocket, addr: SocketAddr, ending: Ending, what: &str) {
    if ending.is_for_good() {
        let accepted = socket.accept(listener);
        assert!(accepted.as_ref().is_err_and(Error::is_closed), "{what}: {accepted:?}");
        return;
    }
    let connecting = thread::spawn(move || {
        let mut client = WebSocket::new();
        client.connect(&format!("ws://{addr}/")).map(|()| client)
    });
    socket
        .accept(listener)
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_goes(socket, &mut connecting.join().unwrap().unwrap(), "hello");
}

#[test]
fn every_ending_ends_every_phase_of_an_opening() {
    let _test = begin();
    end_all(&openings());
}

#[test]
fn every_ending_ends_every_phase_of_a_conversation_and_what_goes_on_loses_nothing() {
    let _test = begin();
    end_all(&talks());
}

fn end_all(phases: &[Maker]) {
    for phase in phases {
        for ending in ENDINGS {
            end(phase, ending);
        }
    }
    println!("{} phases, each with {} endings:", phases.len(), ENDINGS.len());
    phases.iter().for_each(|phase| println!("    {}", phase.name));
}

fn end(phase: &Maker, ending: Ending) {
    let what = format!("{}: {ending:?}", phase.name);
    let registry = ShutdownRegistry::new();
    let Phase { handle, run } = (phase.make)(&registry);
    let running = block(move || run(ending));
    let (result, after) = ending.end(running, &handle, &registry, || {
        let now = Instant::now();
        handle.read_deadline(now);
        handle.write_deadline(now);
    });
    assert_eq!(
        discriminant(&result),
        Some(mem::discriminant(&ending.error())),
        "{what}: {result:?}"
    );
    after(ending, &what);
}

/// A WebSocket that a queue waits for, and what has to live as long.
type Waited = (WebSocket, Box<dyn Any + Send>);

type MakeWaited = Box<dyn Fn(&ShutdownRegistry) -> Waited>;

/// What a queue may wait for that doesn't come.
fn waits() -> Vec<(String, MakeWaited)> {
    fn talk(registry: &ShutdownRegistry, talk: &Talk) -> Waited {
        let (mut socket, peer) = talk.begin(registry);
        socket.timeout(Duration::ZERO);
        (socket, Box::new(peer))
    }
    let mut all: Vec<(String, MakeWaited)> = Vec::new();
    for role in ROLES {
        let message = frame_for(role, LAST | BINARY, &pattern(70_000));
        let in_message = Talk::new(role).come(&message, 40_000);
        let full = Talk {
            is_full: true,
            ..Talk::new(role)
        };
        all.push((
            format!("{role:?}, idle"),
            Box::new(move |registry| talk(registry, &Talk::new(role))),
        ));
        all.push((
            format!("{role:?}, in a payload"),
            Box::new(move |registry| talk(registry, &in_message)),
        ));
        all.push((
            format!("{role:?}, with something unsent"),
            Box::new(move |registry| talk(registry, &full)),
        ));
        all.push((
            format!("{role:?}, closing, and the peer is silent"),
            Box::new(move |registry| {
                let (mut socket, peer) = talk(registry, &Talk::new(role));
                socket.start_close(1000, "").unwrap();
                (socket, peer)
            }),
        ));
    }
    for (name, hold) in held_connects() {
        let make = move |registry: &ShutdownRegistry| -> Waited {
            let (url, kept) = hold();
            let mut socket = unopened(registry);
            socket.timeout(Duration::ZERO).connect(&url).unwrap();
            (socket, kept)
        };
        all.push((format!("connect: {name}"), Box::new(make)));
    }
    all
}

/// Goes on as far as that goes without waiting. Whether it is closed.
fn drive(socket: &mut WebSocket) -> Result<bool> {
    match socket.wait_connect().and_then(|()| socket.receive()) {
        Err(Error::Timeout) => Ok(false),
        Err(Error::Closed) => Ok(true),
        Err(Error::Shutdown) => Err(Error::Shutdown),
        driven => panic!("{driven:?}"),
    }
}

#[test]
fn a_wait_in_a_queue_ends_in_whatever_phase_a_websocket_is() {
    let _test = begin();
    type End = fn(&Blocked<Result<bool>>, &SocketHandle, &QueueHandle, &ShutdownRegistry);
    /// Whether the socket's closing is reported; or an error.
    type Expected = fn(&Result<bool>) -> bool;
    let is_closed: Expected = |waited| matches!(waited, Ok(true));
    let ends: [(&str, End, Expected); 5] = [
        ("close", |_, socket, _, _| socket.close(), is_closed),
        (
            "close in a handler",
            |blocked, socket, _, _| in_handler(blocked.task(), &|| socket.close()),
            is_closed,
        ),
        (
            "close of the queue",
            |_, _, queue, _| queue.close(),
            |waited| matches!(waited, Err(Error::Closed)),
        ),
        (
            "close of the queue in a handler",
            |blocked, _, queue, _| in_handler(blocked.task(), &|| queue.close()),
            |waited| matches!(waited, Err(Error::Closed)),
        ),
        (
            "shutdown",
            |_, _, _, registry| registry.shutdown(),
            |waited| matches!(waited, Err(Error::Shutdown)),
        ),
    ];
    for (name, make) in waits() {
        for (what, end, expected) in ends {
            let registry = ShutdownRegistry::new();
            let (mut socket, kept) = make(&registry);
            let queue = SocketEventQueue::<u8>::in_registry(&registry).unwrap();
            let (handle, queue_handle) = (socket.handle(), queue.handle());
            let blocked = block(move || {
                loop {
                    queue.subscribe(&socket, WaitEvents::READ | socket.wants(), 1)?;
                    let events = queue.wait(None)?;
                    if events.iter().any(SocketEvent::is_closed) || events.is_empty() {
                        return Ok(!events.is_empty());
                    }
                    if drive(&mut socket)? {
                        return Ok(true);
                    }
                    queue.disable_read_write(&socket)?;
                }
            });
            let blocked = blocked.until_blocked();
            end(&blocked, &handle, &queue_handle, &registry);
            let waited = blocked.result();
            assert!(expected(&waited), "{name}: {what}: {waited:?}");
            drop(kept);
        }
    }
}

#[test]
fn a_wait_event_ends_in_whatever_phase_a_websocket_is() {
    let _test = begin();
    for (_, make) in waits() {
        for in_a_handler in [false, true] {
            let registry = ShutdownRegistry::new();
            let (mut socket, kept) = make(&registry);
            let handle = socket.handle();
            let blocked = block(move || {
                loop {
                    let mut set = SocketWaitEvent::new();
                    set.add(&socket, WaitEvents::READ | socket.wants());
                    // For one that was closed before it was added, nothing would be found.
                    if drive(&mut socket).unwrap() {
                        return;
                    }
                    assert_eq!(set.wait(None).unwrap(), 1);
                }
            });
            let blocked = blocked.until_blocked();
            match in_a_handler {
                true => in_handler(blocked.task(), &|| handle.close()),
                false => handle.close(),
            }
            blocked.result();
            drop(kept);
        }
    }
}
