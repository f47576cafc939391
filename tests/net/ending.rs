//! What ends each call that blocks: a handle, a clone's, a deadline, the registry, a signal handler.

use std::any::Any;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use wakesock::net::unix::{UnixListener, UnixStream};
use wakesock::net::{TcpListener, TcpStream};
use wakesock::{Error, ShutdownRegistry, SocketHandle};

use crate::program::Folder;
use crate::support::every::{ENDS, End};
use crate::support::full::MUCH;
use crate::support::handlers::in_handler;
use crate::support::{BlackHole, PATIENCE, begin, block, server};

/// As much as `MUCH`.
static TEXT: LazyLock<String> = LazyLock::new(|| "x".repeat(MUCH.len()));

/// A call that is to block, of a socket that has a clone.
struct Started {
    own: SocketHandle,
    clones: SocketHandle,
    /// By a shared reference, so that several threads may be in it.
    run: Arc<dyn Fn() -> io::Result<()> + Send + Sync>,
    _peer: Box<dyn Any>,
}

struct Case {
    name: &'static str,
    start: fn(&ShutdownRegistry) -> Started,
}

/// What is in an error of what was ended.
#[track_caller]
fn inner(error: &io::Error) -> Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    inner.unwrap_or_else(|| panic!("nothing in {error:?}")).clone()
}

#[track_caller]
fn assert_ended(name: &str, result: io::Result<()>, expected: &Error) {
    let error = result.expect_err(name);
    let found = inner(&error);
    assert_eq!(found.to_string(), expected.to_string(), "{name}");
    assert_eq!(error.kind(), expected.kind(), "{name}");
    assert_eq!(error.raw_os_error(), None, "{name}");
}

/// A case: a call of a socket, by a shared reference, as often as it succeeds.
macro_rules! case {
    ($make:ident: $name:literal, $call:expr) => {
        Case {
            name: concat!(stringify!($make), ": ", $name),
            start: |registry| {
                let (socket, peer) = $make(registry);
                let clone = socket.try_clone().unwrap();
                Started {
                    own: socket.handle(),
                    clones: clone.handle(),
                    run: Arc::new(move || {
                        loop {
                            calling(&socket, $call)?;
                        }
                    }),
                    _peer: Box::new((clone, peer)),
                }
            },
        }
    };
}

fn calling<S>(socket: &S, call: impl Fn(&S) -> io::Result<()>) -> io::Result<()> {
    call(socket)
}

macro_rules! of_listeners {
    ($make:ident) => {
        [
            case!($make: "accept", |listener| listener.accept().map(drop)),
            case!($make: "incoming", |listener| match listener.incoming().next() {
                Some(client) => client.map(drop),
                // It ends with nothing; why is seen from a try without it.
                None => listener.accept().map(drop),
            }),
        ]
    };
}

macro_rules! of_streams {
    ($make:ident) => {
        [
            case!($make: "read", |mut stream| stream.read(&mut [0; 8]).map(drop)),
            case!($make: "read much", |mut stream| stream.read(&mut vec![0; 1 << 20]).map(drop)),
            case!($make: "read_exact", |mut stream| stream.read_exact(&mut [0; 8])),
            case!($make: "read_to_string", |mut stream| stream.read_to_string(&mut String::new()).map(drop)),
            case!($make: "read_to_end", |mut stream| stream.read_to_end(&mut Vec::new()).map(drop)),
            case!($make: "read_vectored", |mut stream| stream.read_vectored(&mut [IoSliceMut::new(&mut [0; 8])]).map(drop)),
            case!($make: "write", |mut stream| stream.write(&MUCH).map(drop)),
            case!($make: "write_all", |mut stream| stream.write_all(&MUCH)),
            case!($make: "write_fmt", |mut stream| stream.write_fmt(format_args!("{}", *TEXT))),
            case!($make: "write_vectored", |mut stream| stream.write_vectored(&[IoSlice::new(b"head"), IoSlice::new(&MUCH)]).map(drop)),
        ]
    };
}

fn tcp_listener(registry: &ShutdownRegistry) -> (TcpListener, ()) {
    (TcpListener::bind_in(registry, "127.0.0.1:0").unwrap(), ())
}

fn tcp_stream(registry: &ShutdownRegistry) -> (TcpStream, std::net::TcpStream) {
    let (server, addr) = server();
    let stream = TcpStream::connect_in(registry, addr).unwrap();
    (stream, server.accept().unwrap().0)
}

fn accepted(registry: &ShutdownRegistry) -> (TcpStream, std::net::TcpStream) {
    let listener = TcpListener::bind_in(registry, "127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().unwrap().0, client)
}

fn unix_listener(registry: &ShutdownRegistry) -> (UnixListener, Folder) {
    let folder = Folder::new();
    (UnixListener::bind_in(registry, folder.path("socket")).unwrap(), folder)
}

fn unix_stream(registry: &ShutdownRegistry) -> (UnixStream, StdUnixStream) {
    let folder = Folder::new();
    let server = StdUnixListener::bind(folder.path("socket")).unwrap();
    let stream = UnixStream::connect_in(registry, folder.path("socket")).unwrap();
    (stream, server.accept().unwrap().0)
}

fn cases() -> Vec<Case> {
    let mut all = vec![case!(tcp_stream: "peek", |stream| stream.peek(&mut [0; 8]).map(drop))];
    all.extend(of_listeners!(tcp_listener));
    all.extend(of_listeners!(unix_listener));
    all.push(case!(unix_listener: "for", |listener| {
        for client in listener {
            client?;
        }
        listener.accept().map(drop)
    }));
    all.extend(of_streams!(tcp_stream));
    all.extend(of_streams!(accepted));
    all.extend(of_streams!(unix_stream));
    all
}

/// The ways to end a call, with a deadline for both directions among them.
fn ends() -> impl Iterator<Item = (End, Error)> {
    let deadline: End = |handle, _| {
        handle.read_deadline(Instant::now());
        handle.write_deadline(Instant::now());
    };
    ENDS.into_iter().chain([(deadline, Error::Timeout)])
}

/// Ends each call in each way.
fn end_each(end_one: impl Fn(Started, &(dyn Fn(&SocketHandle) + Sync), &dyn Fn(io::Result<()>))) {
    for case in cases() {
        for (end, expected) in ends() {
            let registry = ShutdownRegistry::new();
            end_one((case.start)(&registry), &|handle| end(handle, &registry), &|result| {
                assert_ended(case.name, result, &expected)
            });
        }
    }
}

#[test]
fn every_call_that_blocks_is_ended_from_elsewhere_and_says_by_what() {
    let _test = begin();
    end_each(|started, end, check| {
        let blocked = block(move || (started.run)()).until_blocked();
        end(&started.own);
        check(blocked.result());
    });
}

#[test]
fn the_end_of_a_clone_is_the_end_of_all() {
    let _test = begin();
    end_each(|started, end, check| {
        let blocked = block(move || (started.run)()).until_blocked();
        end(&started.clones);
        check(blocked.result());
    });
}

#[test]
fn a_signal_handler_on_the_blocked_thread_ends_every_call() {
    let _test = begin();
    end_each(|started, end, check| {
        let blocked = block(move || (started.run)()).until_blocked();
        in_handler(blocked.task(), &|| end(&started.own));
        check(blocked.result());
    });
}

#[test]
fn threads_that_share_one_by_reference_are_all_ended() {
    let _test = begin();
    end_each(|started, end, check| {
        let threads = [(); 4].map(|()| {
            let run = Arc::clone(&started.run);
            block(move || run()).until_blocked()
        });
        end(&started.own);
        for thread in threads {
            check(thread.result());
        }
    });
}

#[test]
fn a_deadline_of_one_direction_leaves_the_other_alone() {
    let _test = begin();
    let (near, mut far) = tcp_stream(&ShutdownRegistry::new());
    let (handle, near) = (near.handle(), Arc::new(near));
    let reading = {
        let near = Arc::clone(&near);
        block(move || (&*near).read(&mut [0; 8]).map(drop)).until_blocked()
    };
    let writing = block(move || (&*near).write_all(&MUCH)).until_blocked();
    handle.read_deadline(Instant::now());
    assert_ended("read", reading.result(), &Error::Timeout);
    let writing = writing.still_blocks();
    let reader = thread::spawn(move || io::copy(&mut far, &mut io::sink()).unwrap());
    writing.result().unwrap();
    assert_eq!(reader.join().unwrap(), MUCH.len() as u64);
}

#[test]
fn an_end_just_as_the_call_begins_is_not_missed() {
    let _test = begin();
    for round in 0..40 {
        for case in cases() {
            let registry = ShutdownRegistry::new();
            let started = (case.start)(&registry);
            let racing = block(move || (started.run)());
            for _ in 0..round * 50 {
                std::hint::spin_loop();
            }
            started.clones.close();
            assert_ended(case.name, racing.result(), &Error::Closed);
        }
    }
}

#[test]
fn a_limit_is_the_systems_error_and_ends_nothing() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (mut stream, mut peer) = tcp_stream(&registry);
    stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let error = stream.read(&mut [0; 8]).unwrap_err();
    assert!(error.get_ref().is_none(), "{error:?}");
    assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
    peer.write_all(b"hello").unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 5);
    // The limit of a handle is not its own.
    stream.handle().read_deadline(Instant::now() + Duration::from_millis(5));
    assert_ended("read", stream.read(&mut [0; 8]).map(drop), &Error::Timeout);
    stream.handle().read_deadline(None);
    peer.write_all(b"hello").unwrap();
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 5);
}

#[test]
fn a_write_that_is_ended_says_how_much_was_sent() {
    let _test = begin();
    for (end, expected) in ends() {
        let registry = ShutdownRegistry::new();
        let (stream, mut peer) = tcp_stream(&registry);
        let handle = stream.handle();
        let blocked = block(move || ((&stream).write(&MUCH), stream)).until_blocked();
        end(&handle, &registry);
        let (sent, stream) = blocked.result();
        let sent = sent.unwrap();
        assert!(sent < MUCH.len());
        assert_ended("write", (&stream).write(&MUCH).map(drop), &expected);
        drop(stream);
        let mut came = Vec::new();
        peer.read_to_end(&mut came).unwrap();
        assert_eq!(came.len(), sent);
        assert!(came == MUCH[..sent], "{expected}");
    }
}

/// A path where a connect waits for room, for as long as the rest lives.
fn full() -> (PathBuf, impl Sized) {
    let folder = Folder::new();
    let path = folder.path("socket");
    let listener = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    listener.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    listener.listen(0).unwrap();
    let waiting = StdUnixStream::connect(&path).unwrap();
    (path, (folder, listener, waiting))
}

#[test]
fn the_registry_ends_what_connects() {
    let _test = begin();
    let (hole, (path, _full)) = (BlackHole::new(), full());
    let (addr, global) = (hole.addr(), ShutdownRegistry::global());
    let unix_addr = std::os::unix::net::SocketAddr::from_pathname(&path).unwrap();
    type Connect = Arc<dyn Fn(&ShutdownRegistry) -> io::Result<()> + Send + Sync>;
    let connects: [(&str, Connect); 7] = [
        (
            "connect_in",
            Arc::new(move |registry| TcpStream::connect_in(registry, addr).map(drop)),
        ),
        ("connect", Arc::new(move |_| TcpStream::connect(addr).map(drop))),
        (
            "connect by text",
            Arc::new(move |_| TcpStream::connect(addr.to_string()).map(drop)),
        ),
        (
            "connect_timeout",
            Arc::new(move |_| TcpStream::connect_timeout(&addr, PATIENCE * 2).map(drop)),
        ),
        (
            "Unix: connect_in",
            Arc::new({
                let path = path.clone();
                move |registry| UnixStream::connect_in(registry, &path).map(drop)
            }),
        ),
        ("Unix: connect", Arc::new(move |_| UnixStream::connect(&path).map(drop))),
        (
            "Unix: connect_addr",
            Arc::new(move |_| UnixStream::connect_addr(&unix_addr).map(drop)),
        ),
    ];
    for (name, connect) in connects {
        for by_handler in [false, true] {
            let own = ShutdownRegistry::new();
            let registry = if name.ends_with("_in") { &own } else { global };
            let (connect, connecting) = (Arc::clone(&connect), registry.clone());
            let blocked = block(move || connect(&connecting)).still_blocks();
            match by_handler {
                true => in_handler(blocked.task(), &|| registry.shutdown()),
                false => registry.shutdown(),
            }
            assert_ended(name, blocked.result(), &Error::Shutdown);
            registry.reset();
        }
    }
}

#[test]
fn a_connect_that_is_out_of_time_says_so_as_the_standard_library_does() {
    let _test = begin();
    let hole = BlackHole::new();
    let limit = Duration::from_millis(20);
    let begin = Instant::now();
    let error = TcpStream::connect_timeout(&hole.addr(), limit).unwrap_err();
    assert!(begin.elapsed() >= limit);
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[test]
fn clients_that_had_connected_come_before_the_end_of_a_loop() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (listener, ()) = tcp_listener(&registry);
    let addr = listener.local_addr().unwrap();
    let clients: Vec<_> = (0..5).map(|_| std::net::TcpStream::connect(addr).unwrap()).collect();
    registry.stop_accepting();
    assert_eq!(listener.incoming().map(Result::unwrap).count(), clients.len());
    assert_ended("accept", listener.accept().map(drop), &Error::Shutdown);
}

#[test]
fn a_loop_that_ignores_errors_does_not_spin() {
    let _test = begin();
    let (listener, ()) = tcp_listener(&ShutdownRegistry::new());
    // A deadline that has passed may be lifted. Until then each step takes longer.
    listener.handle().read_deadline(Instant::now());
    let mut clients = listener.incoming();
    let begin = Instant::now();
    for _ in 0..5 {
        assert_ended("next", clients.next().unwrap().map(drop), &Error::Timeout);
    }
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(5 + 10 + 20 + 40), "{took:?}");
    listener.handle().read_deadline(None);
    let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    clients.next().unwrap().unwrap();
    // After an abort there is one error, and the end.
    let mut clients = listener.incoming();
    listener.handle().abort();
    let error = clients.next().unwrap().map(drop);
    assert_ended("next", error, &Error::Aborted);
    assert!(clients.next().is_none());
    assert!(clients.next().is_none());
}

#[test]
fn the_port_is_free_and_the_peer_is_told_when_a_handle_has_closed_them() {
    let _test = begin();
    for of_clone in [false, true] {
        let registry = ShutdownRegistry::new();
        let (listener, ()) = tcp_listener(&registry);
        let clone = listener.try_clone().unwrap();
        let addr = listener.local_addr().unwrap();
        // What has borrowed the descriptor, or a waiter, changes nothing.
        let _borrowed = listener.as_fd();
        let ender = if of_clone { clone.handle() } else { listener.handle() };
        ender.close();
        drop(std::net::TcpListener::bind(addr).unwrap());
        let (stream, mut peer) = tcp_stream(&registry);
        let clone = stream.try_clone().unwrap();
        clone.handle().close();
        assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
        assert_eq!(stream.peer_addr().unwrap(), peer.local_addr().unwrap());
    }
}

#[test]
fn a_hundred_threads_that_share_sockets_are_all_ended() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (listener, ()) = tcp_listener(&registry);
    let (stream, _peer) = tcp_stream(&registry);
    let (listener, stream) = (&listener, &stream);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..100)
            .map(|i| {
                scope.spawn(move || match i % 2 {
                    0 => listener.accept().map(drop),
                    _ => (&*stream).read(&mut [0; 8]).map(drop),
                })
            })
            .collect();
        registry.shutdown();
        for thread in threads {
            assert_ended("shared", thread.join().unwrap(), &Error::Shutdown);
        }
    });
}
