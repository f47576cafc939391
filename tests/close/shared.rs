//! What others have of a socket, too, is theirs: ending ours leaves it alone, and what they do to it keeps no limit and no
//! end from ours.

// Sandboxes and limits of descriptors are Linux's.
#![allow(unsafe_code, reason = "system calls")]

use std::env;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Command;
use std::time::Duration;

use socket2::{SockRef, Socket};
use wakesock::{Error, ShutdownRegistry, SocketHandle, TcpSocket, WaitEvents};

use crate::support::every::{ENDS, LIMITS, OF_CONNECTIONS, OF_LISTENERS, assert_failed};
use crate::support::scarce::scarce;
use crate::support::{begin, block, ends_at_limit, in_a_thread, is_emulated, pattern, server, std_pair, timed};

/// What a child process may still do when it ends its socket.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sandbox {
    /// No descriptor is left.
    NoDescriptors,
    /// None is left already when it first waits.
    NeverAny,
    /// It can't make sockets without a port: systemd.exec(5), `RestrictAddressFamilies`.
    NoUnixSockets,
}

const SANDBOXES: [Sandbox; 3] = [Sandbox::NoDescriptors, Sandbox::NeverAny, Sandbox::NoUnixSockets];

/// A way to end a socket.
type End = fn(TcpSocket, &ShutdownRegistry);

const WAYS: [(&str, End); 7] = [
    ("handle.close", |socket, _| socket.handle().close()),
    ("lent, handle.close", |socket, _| {
        lend(&socket);
        socket.handle().close();
        std::mem::forget(socket);
    }),
    ("lent, close", |socket, _| {
        lend(&socket);
        socket.close();
        std::mem::forget(socket);
    }),
    ("lent, drop", |socket, _| {
        lend(&socket);
        drop(socket);
    }),
    ("lent, opened again", |mut socket, _| {
        lend(&socket);
        let _ = socket.connect_to(&[]);
        std::mem::forget(socket);
    }),
    ("shutdown", |socket, registry| {
        registry.shutdown();
        std::mem::forget(socket);
    }),
    ("drain", |socket, registry| {
        registry.drain(Duration::ZERO);
        drop(socket);
    }),
];

fn lend(socket: &TcpSocket) {
    let _ = SockRef::from(socket).tcp_nodelay();
}

/// A child process, which has a socket as its standard input, ends what it has of it.
fn a_child_ends(sandbox: usize, way: usize, shared: OwnedFd) {
    let output = Command::new(env::current_exe().unwrap())
        .args(["shared::child", "--exact", "--ignored"])
        .env(CHILD, format!("{sandbox} {way}"))
        .stdin(shared)
        .output()
        .unwrap();
    let (sandbox, way) = (SANDBOXES[sandbox], WAYS[way].0);
    // SIGSYS says that it has called shutdown(2).
    assert!(output.status.success(), "{sandbox:?}, {way}: {output:?}");
}

const CHILD: &str = "WAKESOCK_TEST_CHILD";

#[test]
#[ignore = "it is what the tests with another process run"]
fn child() {
    let Ok(which) = env::var(CHILD) else { return };
    let (sandbox, way) = which.split_once(' ').unwrap();
    let sandbox = SANDBOXES[sandbox.parse::<usize>().unwrap()];
    let (_, end) = WAYS[way.parse::<usize>().unwrap()];

    let registry = ShutdownRegistry::new();
    let mut socket = TcpSocket::with_registry(&registry);
    // SAFETY: the parent has opened it.
    let shared = unsafe { BorrowedFd::borrow_raw(0) };
    socket
        .attach(Socket::from(shared.try_clone_to_owned().unwrap()))
        .unwrap();
    let never = (sandbox == Sandbox::NeverAny).then(|| scarce(0));
    socket.timeout(Duration::from_millis(1));
    assert!(socket.wait(WaitEvents::READ).unwrap_err().is_timeout());
    let none = (sandbox == Sandbox::NoDescriptors).then(|| scarce(0));
    refuse(sandbox == Sandbox::NoUnixSockets);
    end(socket, &registry);
    drop((never, none));
}

/// Lets the system kill this process at a shutdown(2) and, if `unix_too`, refuse sockets without a port: seccomp(2).
fn refuse(unix_too: bool) {
    const NUMBER: u32 = 0;
    const FIRST_ARGUMENT: u32 = 16 + if cfg!(target_endian = "big") { 4 } else { 0 };
    let family = if unix_too { libc::AF_UNIX } else { -1 };
    let load = |offset| filter(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let skip_unless = |count, value| filter(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, count, value);
    let give = |result| filter(libc::BPF_RET | libc::BPF_K, 0, 0, result);
    let mut filters = [
        load(NUMBER),
        skip_unless(1, libc::SYS_shutdown as u32),
        give(libc::SECCOMP_RET_KILL_PROCESS),
        skip_unless(3, libc::SYS_socket as u32),
        load(FIRST_ARGUMENT),
        skip_unless(1, family as u32),
        give(libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT as u32),
        give(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filters.len() as u16,
        filter: filters.as_mut_ptr(),
    };
    // SAFETY: plain numbers.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the program is valid, and copied.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

fn filter(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    let code = code as u16;
    libc::sock_filter { code, jt, jf, k }
}

#[test]
fn a_listener_that_another_process_has_goes_on_listening() {
    let test = begin();
    if test.skip_if(is_emulated(), "an emulator has no seccomp") {
        return;
    }
    let (listener, addr) = server();
    for (sandbox, way) in every() {
        a_child_ends(sandbox, way, listener.try_clone().unwrap().into());
        assert_serves(&listener, addr);
    }
}

#[test]
fn a_connection_that_another_process_has_stays_whole() {
    let test = begin();
    if test.skip_if(is_emulated(), "an emulator has no seccomp") {
        return;
    }
    let (mut connection, mut peer) = std_pair();
    for (sandbox, way) in every() {
        a_child_ends(sandbox, way, connection.try_clone().unwrap().into());
        connection.set_nonblocking(false).unwrap();
        connection.write_all(b"?").unwrap();
        peer.read_exact(&mut [0]).unwrap();
        peer.write_all(b"!").unwrap();
        connection.read_exact(&mut [0]).unwrap();
    }
}

fn every() -> impl Iterator<Item = (usize, usize)> {
    (0..SANDBOXES.len()).flat_map(|sandbox| (0..WAYS.len()).map(move |way| (sandbox, way)))
}

#[track_caller]
fn assert_serves(listener: &TcpListener, addr: SocketAddr) {
    listener.set_nonblocking(false).unwrap();
    let client = TcpStream::connect(addr).unwrap();
    let (_, seen) = listener.accept().unwrap();
    assert_eq!(seen, client.local_addr().unwrap());
}

/// A listener of ours, of which somebody else has made a blocking one.
fn blocking_listener(registry: &ShutdownRegistry) -> (TcpSocket, TcpListener) {
    let (listener, _) = server();
    let mut own = TcpSocket::with_registry(registry);
    own.attach(listener.try_clone().unwrap()).unwrap();
    listener.set_nonblocking(false).unwrap();
    (own, listener)
}

#[test]
fn accepting_from_a_listener_that_was_made_a_blocking_one_keeps_its_limit() {
    let _test = begin();
    let (mut own, listener) = blocking_listener(ShutdownRegistry::global());
    ends_at_limit(Duration::from_millis(20), |limit| {
        own.timeout(limit);
        let (accepted, took) = timed(|| own.accept_new());
        assert!(matches!(accepted, Err(Error::Timeout)), "{accepted:?}");
        took
    });
    let (accepted, _) = timed(|| own.timeout(Duration::ZERO).accept_new());
    assert!(matches!(accepted, Err(Error::Timeout)), "{accepted:?}");
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let accepted = own.accept_new().unwrap();
    assert_eq!(accepted.peer_addr().unwrap(), client.local_addr().unwrap());
}

#[test]
fn accepting_from_a_listener_that_was_made_a_blocking_one_is_ended_from_elsewhere() {
    let _test = begin();
    for limit in LIMITS {
        for operation in OF_LISTENERS {
            for (end, expected) in ENDS {
                let registry = ShutdownRegistry::new();
                let (mut own, _listener) = blocking_listener(&registry);
                own.timeout(limit);
                let handle: SocketHandle = own.handle();
                let blocked = block(move || ((operation.run)(&mut own), own)).until_blocked();
                end(&handle, &registry);
                let (result, _own) = blocked.result();
                assert_failed(&result, &expected, operation.name);
            }
        }
    }
}

#[test]
fn a_listener_of_our_own_whose_clone_was_made_a_blocking_one_is_ended_too() {
    let _test = begin();
    let mut own = TcpSocket::new();
    own.listen_on("127.0.0.1:0", &Default::default()).unwrap();
    let clone = Socket::from(own.as_fd().try_clone_to_owned().unwrap());
    clone.set_nonblocking(false).unwrap();
    let handle = own.handle();
    let blocked = block(move || own.accept_new().map(drop)).until_blocked();
    handle.close();
    assert!(matches!(blocked.result(), Err(Error::Closed)));
}

/// A connection of ours, of which somebody else has made a blocking one: ours, theirs, and the peer.
fn blocking_connection(registry: &ShutdownRegistry) -> (TcpSocket, TcpStream, TcpStream) {
    let (stream, peer) = std_pair();
    let mut own = TcpSocket::with_registry(registry);
    own.attach(stream.try_clone().unwrap()).unwrap();
    stream.set_nonblocking(false).unwrap();
    (own, stream, peer)
}

#[test]
fn a_connection_that_was_made_a_blocking_one_is_ended_from_elsewhere() {
    let _test = begin();
    for operation in OF_CONNECTIONS {
        for (end, expected) in ENDS {
            let registry = ShutdownRegistry::new();
            let (mut own, theirs, _peer) = blocking_connection(&registry);
            let handle = own.handle();
            let blocked = block(move || ((operation.run)(&mut own), own)).until_blocked();
            assert!(!blocked.is_finished(), "{} doesn't block", operation.name);
            end(&handle, &registry);
            let (result, own) = blocked.result();
            // So does closing by the owner, who waits for whoever is in it.
            own.close();
            assert_failed(&result, &expected, operation.name);
            assert!(theirs.peer_addr().is_ok(), "theirs is still connected");
        }
    }
}

#[test]
fn a_connection_that_was_made_a_blocking_one_keeps_its_limits() {
    let _test = begin();
    for operation in OF_CONNECTIONS {
        let (mut own, _theirs, _peer) = blocking_connection(ShutdownRegistry::global());
        // As far as it goes without blocking, it goes at once.
        own.timeout(Duration::ZERO);
        let result = in_a_thread(move || ((operation.run)(&mut own), own));
        let (result, mut own) = result;
        assert_failed(&result, &Error::Timeout, operation.name);
        own.clear_error();
        ends_at_limit(Duration::from_millis(20), |limit| {
            own.timeout(limit).clear_error();
            let (result, took) = timed(|| (operation.run)(&mut own));
            assert_failed(&result, &Error::Timeout, operation.name);
            took
        });
    }
}

#[test]
fn a_connection_that_was_made_a_blocking_one_moves_all_bytes() {
    let _test = begin();
    let (mut own, theirs, mut peer) = blocking_connection(ShutdownRegistry::global());
    let data = pattern(3_000_000);
    let sent = data.clone();
    let echo = block(move || {
        let mut buf = vec![0; sent.len()];
        peer.read_exact(&mut buf).unwrap();
        peer.write_all(&buf).unwrap();
        buf == sent
    });
    own.put_all(&data).unwrap();
    assert!(own.get_all_bytes(data.len()).unwrap() == data);
    assert!(echo.result());
    assert_eq!(own.get_byte().unwrap(), None);
    drop(theirs);
}
