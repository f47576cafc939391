//! What is done to sockets before they connect or listen: `ConnectOptions`, and `prepare` of `ListenOptions`.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use socket2::SockRef;
use wakesock::{ConnectOptions, Error, ListenOptions, ShutdownRegistry, TcpSocket};

use crate::support::every::{ENDS, assert_failed};
use crate::support::races::{assert_connected, attempts};
use crate::support::{
    BlackHole, PATIENCE, Refusing, begin, block, code, descriptors, ends_at_limit, own_threads, server, timed,
};

const LOOPBACK: &str = "127.0.0.1";

/// Options with `prepare`, and how often that was called.
pub(crate) fn counted(
    prepare: impl Fn(usize, &SockRef<'_>) -> io::Result<()> + Send + Sync + 'static,
) -> (ConnectOptions, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let options = ConnectOptions::new().prepare(move |socket| prepare(counted.fetch_add(1, SeqCst), socket));
    (options, calls)
}

// prepare, of a connect.

#[test]
fn a_socket_is_prepared_before_it_connects() {
    let _test = begin();
    let (server, addr) = server();
    for limit in [None, Some(PATIENCE), Some(Duration::ZERO)] {
        let (options, calls) = counted(|_, socket| {
            assert_eq!(socket.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
            assert!(
                !socket
                    .local_addr()
                    .is_ok_and(|addr| addr.as_socket().unwrap().port() != 0)
            );
            socket.set_ttl_v4(33)
        });
        let mut socket = TcpSocket::new();
        socket
            .timeout(limit)
            .connect_with(LOOPBACK, addr.port(), &options)
            .unwrap();
        socket.timeout(PATIENCE).wait_connect().unwrap();
        assert_eq!(SockRef::from(&socket).ttl_v4().unwrap(), 33);
        assert_connected(&socket, &server);
        assert_eq!(calls.load(SeqCst), 1);
        // The options can be used again, and say nothing of other connects.
        socket
            .timeout(limit)
            .connect_with(LOOPBACK, addr.port(), &options.clone())
            .unwrap();
        assert_eq!(calls.load(SeqCst), 2);
        socket.connect(LOOPBACK, addr.port()).unwrap();
        assert_eq!(calls.load(SeqCst), 2);
        socket.close();
        while server.set_nonblocking(true).is_ok() && server.accept().is_ok() {}
        server.set_nonblocking(false).unwrap();
    }
}

/// Checks that a panic of `prepare` goes on to the caller, and leaves nothing.
#[track_caller]
pub(crate) fn assert_panics(socket: &mut TcpSocket, registry: &ShutdownRegistry, open: impl FnOnce(&mut TcpSocket)) {
    let (before, threads) = (descriptors(), own_threads());
    let handle = socket.handle();
    let payload = catch_unwind(AssertUnwindSafe(|| open(socket))).unwrap_err();
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"as the test wants it"));
    assert_eq!(descriptors(), before);
    assert_eq!(registry.len(), 0);
    assert!(!socket.is_open() && !socket.is_error());
    assert_failed(&socket.wait_connect(), &Error::Closed, "nothing is being made any more");
    assert_eq!(own_threads(), threads);
    // Nothing was opened, so the handle speaks of what is opened next.
    let (server, live) = server();
    socket.timeout(PATIENCE).connect_to(&[live]).unwrap();
    assert_connected(socket, &server);
    assert_eq!(registry.len(), 1);
    handle.close();
    assert_failed(&socket.get_byte(), &Error::Closed, "by its handle");
    socket.close();
}

#[test]
fn a_panic_of_prepare_goes_on_to_the_caller_and_leaves_nothing() {
    let _test = begin();
    let (_server, addr) = server();
    let registry = ShutdownRegistry::new();
    let mut socket = TcpSocket::with_registry(&registry);
    let options = ConnectOptions::new().prepare(|_| panic!("as the test wants it"));
    for limit in [None, Some(PATIENCE), Some(Duration::ZERO)] {
        assert_panics(&mut socket, &registry, |socket| {
            let _ = socket.timeout(limit).connect_with(LOOPBACK, addr.port(), &options);
        });
    }
    let options = ListenOptions::new().prepare(|_| panic!("as the test wants it"));
    assert_panics(&mut socket, &registry, |socket| {
        let _ = socket.listen_on("127.0.0.1:0", &options);
    });
}

#[test]
fn limits_and_ends_hold_whatever_prepare_has_set() {
    let _test = begin();
    let hole = BlackHole::new();
    let port = hole.addr().port();
    let options = ConnectOptions::new().prepare(|socket| socket.set_nonblocking(false));
    ends_at_limit(Duration::from_millis(30), |limit| {
        let (result, took) = timed(|| TcpSocket::new().timeout(limit).connect_with(LOOPBACK, port, &options));
        assert_failed(&result, &Error::Timeout, limit);
        took
    });
    for (end, expected) in &ENDS {
        let registry = ShutdownRegistry::new();
        let mut socket = TcpSocket::with_registry(&registry);
        let (handle, options) = (socket.handle(), options.clone());
        let blocked = block(move || socket.connect_with(LOOPBACK, port, &options)).until_blocked();
        end(&handle, &registry);
        assert_failed(&blocked.result(), expected, "connect_with");
    }
}

// bind

#[test]
fn a_connection_comes_from_the_local_address_that_was_asked_for() {
    let _test = begin();
    let (server, addr) = server();
    // Only Linux has more than one of them.
    let ip = if cfg!(target_os = "linux") {
        "127.0.0.9"
    } else {
        LOOPBACK
    };
    let local = SocketAddr::new(ip.parse().unwrap(), 0);
    for limit in [None, Some(PATIENCE)] {
        let mut socket = TcpSocket::new();
        let options = ConnectOptions::new().bind(local);
        socket
            .timeout(limit)
            .connect_with(LOOPBACK, addr.port(), &options)
            .unwrap();
        assert_eq!(socket.local_addr().unwrap().ip(), local.ip());
        assert_connected(&socket, &server);
    }
    // Options that are to have an effect on that are set before.
    let options = ConnectOptions::new().bind(local).prepare(|socket| {
        socket.set_ttl_v4(if socket.local_addr()?.as_socket().unwrap().ip().is_unspecified() {
            7
        } else {
            8
        })
    });
    if cfg!(unix) {
        let mut socket = TcpSocket::new();
        socket.connect_with(LOOPBACK, addr.port(), &options).unwrap();
        assert_eq!(SockRef::from(&socket).ttl_v4().unwrap(), 7);
    }
}

#[test]
fn a_local_address_that_can_not_be_had_is_named() {
    let _test = begin();
    let refusing = Refusing::new();
    let (_server, addr) = server();
    let taken = refusing.addr();
    let mut socket = TcpSocket::new();
    let options = ConnectOptions::new().bind(taken);
    let error = socket.connect_with(LOOPBACK, addr.port(), &options).unwrap_err();
    assert_eq!(attempts(&error), [(addr, ErrorKind::AddrInUse)]);
    assert_eq!((error.kind(), error.code()), (ErrorKind::AddrInUse, code::EADDRINUSE));
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("connect to {addr}: bind to {taken}: ")),
        "{text}"
    );

    let options = ConnectOptions::new().bind("[::1]:0".parse().unwrap());
    let error = socket.connect_with(LOOPBACK, addr.port(), &options).unwrap_err();
    assert_eq!(attempts(&error), [(addr, ErrorKind::InvalidInput)]);
    let text = format!("connect to {addr}: bind to [::1]:0: address of the other family");
    assert_eq!(error.to_string(), text);
    assert!(!error.is_timeout() && socket.is_error() && !socket.is_open());
}

// prepare, of a listener

#[test]
fn a_listener_is_prepared_before_it_is_bound() {
    let _test = begin();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let options = ListenOptions::new().prepare(move |socket| {
        counted.fetch_add(1, SeqCst);
        assert!(
            !socket
                .local_addr()
                .is_ok_and(|addr| addr.as_socket().unwrap().port() != 0)
        );
        socket.set_nonblocking(false)?;
        socket.set_ttl_v4(33)
    });
    let mut listener = TcpSocket::new();
    listener.listen_on("127.0.0.1:0", &options).unwrap();
    assert_eq!(calls.load(SeqCst), 1);
    ends_at_limit(Duration::from_millis(30), |limit| {
        let (result, took) = timed(|| listener.timeout(limit).accept_new());
        assert_failed(&result, &Error::Timeout, "it is in non-blocking mode all the same");
        took
    });
    assert_eq!(SockRef::from(&listener).ttl_v4().unwrap(), 33);
}

#[cfg(target_os = "linux")]
#[test]
fn a_port_may_be_shared_by_listeners_that_are_prepared_for_it() {
    let _test = begin();
    let options = ListenOptions::new().prepare(|socket| socket.set_reuse_port(true));
    let (mut first, mut second) = (TcpSocket::new(), TcpSocket::new());
    first.listen_on("127.0.0.1:0", &options).unwrap();
    let addr = first.local_addr().unwrap();
    second.listen_on(addr, &options.clone()).unwrap();
    let refused = TcpSocket::new().listen_on(addr, &ListenOptions::new()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AddrInUse);
    // What the other options have set, it may set otherwise.
    let mut third = TcpSocket::new();
    let shared = ListenOptions::new()
        .prepare(|socket| {
            assert!(!socket.reuse_address()?);
            socket.set_reuse_address(true)
        })
        .reuse_address(false);
    third.listen_on("127.0.0.1:0", &shared).unwrap();
    assert!(SockRef::from(&third).reuse_address().unwrap());
}

#[test]
fn a_listener_that_is_not_prepared_is_a_named_error_and_the_next_address_is_tried() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let mut listener = TcpSocket::with_registry(&registry);
    let before = descriptors();
    let options = ListenOptions::new().prepare(|_| Err(ErrorKind::PermissionDenied.into()));
    let error = listener.listen_on("127.0.0.1:0", &options).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert_eq!(error.to_string(), "prepare to listen on 127.0.0.1:0: permission denied");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(listener.is_error() && !listener.is_open());
    assert_eq!((descriptors(), registry.len()), (before, 0));

    let calls = AtomicUsize::new(0);
    let options = ListenOptions::new().prepare(move |_| match calls.fetch_add(1, SeqCst) {
        0 => Err(ErrorKind::PermissionDenied.into()),
        _ => Ok(()),
    });
    let addrs: [SocketAddr; 2] = ["127.0.0.1:0", "127.0.0.1:0"].map(|addr| addr.parse().unwrap());
    listener.listen_on(&addrs[..], &options).unwrap();
    assert!(!listener.is_error());
}

#[cfg(unix)]
#[test]
fn what_prepare_has_kept_of_a_listener_disturbs_nothing() {
    let _test = begin();
    let kept = Arc::new(std::sync::Mutex::new(None));
    let keep = Arc::clone(&kept);
    let options = ListenOptions::new().prepare(move |socket| {
        *keep.lock().unwrap() = Some(socket.try_clone()?);
        Ok(())
    });
    let mut listener = TcpSocket::new();
    listener.listen_on("127.0.0.1:0", &options).unwrap();
    let clone = kept.lock().unwrap().take().unwrap();
    // Both share the mode: open(2).
    clone.set_nonblocking(false).unwrap();
    ends_at_limit(Duration::from_millis(30), |limit| {
        let (result, took) = timed(|| listener.timeout(limit).accept_new());
        assert_failed(&result, &Error::Timeout, limit);
        took
    });
}

// The options themselves.

#[test]
fn options_are_compared_and_shown() {
    let bound = ConnectOptions::new().bind("127.0.0.1:5".parse().unwrap());
    assert_eq!(bound, bound.clone());
    assert_ne!(bound, ConnectOptions::new());
    let prepared = ConnectOptions::new().prepare(|_| Ok(()));
    assert_eq!(prepared, prepared.clone());
    assert_ne!(prepared, ConnectOptions::new().prepare(|_| Ok(())));
    let text = format!("{:?}", bound.prepare(|_| Ok(())));
    assert_eq!(
        text,
        "ConnectOptions { bind: Some(127.0.0.1:5), prepare: Some(Prepare(..)) }"
    );
    let prepared = ListenOptions::new().prepare(|_| Ok(()));
    assert_eq!(prepared, prepared.clone());
    assert_ne!(prepared, ListenOptions::new());
}
