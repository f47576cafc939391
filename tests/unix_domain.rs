//! Unix-domain sockets: by path, by abstract name, and what they don't share with TCP.

#![cfg(target_os = "linux")]

mod support;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::net::Shutdown;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use support::every::{LIMITS, OF_CONNECTIONS, OF_LISTENERS, assert_failed};
use support::{
    NoDescriptors, PATIENCE, STILL_BLOCKS, begin, block, descriptors, ends_at_limit, eventually, is_close_on_exec,
    is_emulated, listener, pair, pattern, timed,
};
use wakesock::{Error, ShutdownRegistry, SocketHandle, TcpSocket};

/// A directory of the test's own, for as long as this lives.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("wakesock-{}-{}", process::id(), COUNT.fetch_add(1, SeqCst));
        let dir = env::temp_dir().join(name);
        fs::create_dir(&dir).unwrap();
        Dir(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// One of so many bytes.
    fn path_of_length(&self, length: usize) -> PathBuf {
        let own = self.0.as_os_str().len() + 1;
        assert!(own < length, "{:?} is too long already", self.0);
        self.path(&"p".repeat(length - own))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A name that no other test process has.
fn abstract_name(name: &str) -> String {
    format!("wakesock-{}-{name}", process::id())
}

/// Where to listen and to connect to.
#[derive(Clone, Debug)]
enum Place {
    Path(PathBuf),
    Abstract(Vec<u8>),
}

impl Place {
    fn both(dir: &Dir, name: &str) -> [Place; 2] {
        [Place::Path(dir.path(name)), Place::Abstract(abstract_name(name).into())]
    }

    fn listen(&self, socket: &mut TcpSocket, backlog: u32) -> Result<(), Error> {
        match self {
            Place::Path(path) => socket.listen_path(path, backlog),
            Place::Abstract(name) => socket.listen_abstract(name, backlog),
        }
    }

    fn connect(&self, socket: &mut TcpSocket) -> Result<(), Error> {
        match self {
            Place::Path(path) => socket.connect_path(path),
            Place::Abstract(name) => socket.connect_abstract(name),
        }
    }

    fn listener(&self, backlog: u32) -> TcpSocket {
        let mut listener = TcpSocket::new();
        self.listen(&mut listener, backlog).unwrap();
        listener
    }

    fn client(&self) -> TcpSocket {
        let mut client = TcpSocket::new();
        self.connect(client.timeout(PATIENCE)).unwrap();
        client
    }
}

/// Both ends of a connection, each of this crate, and the listener.
fn connected(place: &Place) -> (TcpSocket, TcpSocket, TcpSocket) {
    let listener = place.listener(5);
    let client = place.client();
    let server = listener.accept_new().unwrap();
    (client, server, listener)
}

#[track_caller]
fn assert_connected(client: &mut TcpSocket, server: &mut TcpSocket) {
    assert_carries(client, server);
    assert_carries(server, client);
}

#[track_caller]
fn assert_carries(from: &mut TcpSocket, to: &mut TcpSocket) {
    from.timeout(PATIENCE).put_all(b"a line\r\nand more").unwrap();
    assert_eq!(to.timeout(PATIENCE).get_line().unwrap().as_deref(), Some("a line"));
    assert_eq!(to.get_bytes(8).unwrap(), b"and more");
}

#[test]
fn a_connection_by_path_or_by_name_carries_data_both_ways() {
    let _test = begin();
    let dir = Dir::new();
    for place in Place::both(&dir, "data") {
        let listener = place.listener(5);
        for limit in [None, Some(Duration::ZERO), Some(PATIENCE)] {
            let mut client = TcpSocket::new();
            place.connect(client.timeout(limit)).unwrap();
            assert!(client.is_open() && !client.is_error(), "{place:?}, {limit:?}");
            client.wait_connect().unwrap();
            let mut server = listener.accept_new().unwrap();
            assert_connected(&mut client, &mut server);
            client.shutdown().unwrap();
            assert!(matches!(server.get_byte(), Ok(None)), "the end of the stream");
            server.put_all(b"x").unwrap();
            assert_eq!(client.timeout(PATIENCE).get_byte().unwrap(), Some(b'x'));
        }
        let mut server = TcpSocket::new();
        let mut client = place.client();
        server.accept(&listener).unwrap();
        assert_connected(&mut client, &mut server);
    }
}

#[test]
fn much_data_arrives_whole_through_both_halves() {
    let _test = begin();
    let dir = Dir::new();
    let (client, mut server, _listener) = connected(&Place::Path(dir.path("much")));
    let data = pattern(8 << 20);
    let echo = block(move || {
        let mut buf = vec![0; 100_000];
        loop {
            let count = server.get(&mut buf).unwrap();
            if count == 0 {
                return;
            }
            server.put_all(&buf[..count]).unwrap();
        }
    });
    let (mut reader, mut writer) = client.split();
    let sent = data.clone();
    let writing = block(move || {
        writer.put_all(&sent).unwrap();
        writer.shutdown().unwrap();
    });
    assert!(reader.get_bytes(usize::MAX).unwrap() == data);
    writing.result();
    echo.result();
}

#[test]
fn the_end_and_a_reset_are_told_apart() {
    let _test = begin();
    let dir = Dir::new();
    for place in Place::both(&dir, "reset") {
        let (mut client, mut server, listener) = connected(&place);
        server.put_all(b"bye").unwrap();
        drop(server);
        assert_eq!(client.get_bytes(10).unwrap(), b"bye");
        assert!(matches!(client.get_byte(), Ok(None)) && client.is_eof());
        let error = client.put_all(b"x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{error:?}");

        // One that goes without having read what it was sent.
        let mut client = place.client();
        let server = listener.accept_new().unwrap();
        client.put_all(b"unread").unwrap();
        drop(server);
        let error = client.timeout(PATIENCE).get_byte().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error:?}");
    }
}

// The other end.

#[test]
fn a_put_learns_that_the_peer_reads_no_more() {
    let _test = begin();
    let (own, peer) = UnixStream::pair().unwrap();
    let mut socket = TcpSocket::from(own);
    let putting = block(move || socket.put_all(&pattern(16 << 20)).unwrap_err()).until_blocked();
    // No poll reports it to the writer.
    peer.shutdown(Shutdown::Read).unwrap();
    assert_eq!(putting.result().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn each_end_knows_the_process_at_the_other() {
    let test = begin();
    let dir = Dir::new();
    for place in Place::both(&dir, "own") {
        let (client, server, _listener) = connected(&place);
        assert_eq!(client.peer_pid().unwrap(), process::id());
        assert_eq!(server.peer_pid().unwrap(), process::id());
    }
    if test.skip_if(is_emulated(), "an emulated program can't start itself") {
        return;
    }
    let path = dir.path("child");
    let mut listener = TcpSocket::new();
    listener.timeout(PATIENCE).listen_path(&path, 5).unwrap();
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--ignored", "a_child_that_connects"])
        .env(CHILD, &path)
        .stdout(process::Stdio::null())
        .spawn()
        .unwrap();
    let mut connection = listener.accept_new().unwrap();
    assert_eq!(connection.peer_pid().unwrap(), child.id());
    let seen = connection.timeout(PATIENCE).get_line().unwrap();
    assert_eq!(seen, Some(process::id().to_string()), "by the child");
    drop(connection);
    assert!(child.wait().unwrap().success());
}

/// Tells a child where to connect to.
const CHILD: &str = "WAKESOCK_TEST_PATH";

#[test]
#[ignore = "it is what `each_end_knows_the_process_at_the_other` runs"]
fn a_child_that_connects() {
    let Some(path) = env::var_os(CHILD) else { return };
    let mut socket = TcpSocket::new();
    socket.timeout(PATIENCE).connect_path(Path::new(&path)).unwrap();
    assert_eq!(socket.peer_pid().unwrap(), parent_id());
    socket
        .put_all(format!("{}\n", socket.peer_pid().unwrap()).as_bytes())
        .unwrap();
    assert!(matches!(socket.get_byte(), Ok(None)));
}

/// Checks that `result` is an error of the system's that says what failed.
#[track_caller]
fn assert_named<T: std::fmt::Debug>(result: Result<T, Error>, what: &str, kind: ErrorKind) {
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{what}: {error:?}");
    assert_eq!(error.kind(), kind, "{what}: {error:?}");
    let text = error.to_string();
    // Some say of what, too.
    let (named, why) = text.split_once(": ").unwrap();
    let of = named.strip_prefix(what).unwrap_or("?");
    let is_named = of.is_empty() || of.starts_with(" of /") || of.starts_with(" on /");
    assert!(is_named && !why.is_empty(), "{what}: {text}");
}

#[test]
fn what_only_the_other_kind_has_is_a_named_error() {
    let _test = begin();
    let (tcp, _peer) = pair();
    let what = format!("peer_pid of {}", tcp.peer_addr().unwrap());
    assert_named(tcp.peer_pid(), &what, ErrorKind::Unsupported);
    let (tcp_listener, addr) = listener();
    assert_named(
        tcp_listener.peer_pid(),
        &format!("peer_pid on {addr}"),
        ErrorKind::Unsupported,
    );
    assert_failed(&TcpSocket::new().peer_pid(), &Error::Closed, "not open");

    let dir = Dir::new();
    for place in Place::both(&dir, "kind") {
        let (client, server, listener) = connected(&place);
        for socket in [&client, &server, &listener] {
            assert_named(socket.local_addr(), "local_addr", ErrorKind::Unsupported);
        }
        for socket in [&client, &server] {
            assert_named(socket.peer_addr(), "peer_addr", ErrorKind::Unsupported);
            assert_named(socket.no_delay(), "no_delay", socket.no_delay().unwrap_err().kind());
            socket.linger(Duration::from_secs(1)).unwrap();
            assert!(!socket.is_error(), "{socket:?}");
        }
    }
}

// Names.

/// Checks that the socket is in the error state, and can be opened all the same.
#[track_caller]
fn assert_usable(socket: &mut TcpSocket, error: &Error) {
    assert!(socket.is_error() && !socket.is_open(), "{socket:?}");
    assert_failed(&socket.get_byte(), error, "sticky");
    let dir = Dir::new();
    let place = Place::Path(dir.path("usable"));
    let listener = place.listener(5);
    place.connect(socket).unwrap();
    assert_connected(socket, &mut listener.accept_new().unwrap());
    socket.close();
}

/// Checks that neither of the two can be done, and says why.
#[track_caller]
fn refused(operation: &str, place: &Place, kind: ErrorKind, why: &str) {
    let mut socket = TcpSocket::new();
    let before = descriptors();
    let result = match operation {
        "listen on" => place.listen(&mut socket, 5),
        _ => place.connect(socket.timeout(PATIENCE)),
    };
    let name = match place {
        // In one line, whatever it is.
        Place::Path(path) => path.display().to_string().replace(char::is_control, "\u{fffd}"),
        Place::Abstract(name) => format!("@{}", name.escape_ascii()),
    };
    let error = result.as_ref().unwrap_err().clone();
    assert_named(result, &format!("{operation} {name}"), kind);
    assert!(error.to_string().ends_with(why), "{error}");
    assert_eq!(descriptors(), before, "{error}");
    assert_usable(&mut socket, &error);
}

const BOTH: [&str; 2] = ["listen on", "connect to"];

#[test]
fn a_path_is_as_long_as_sun_path_holds() {
    let _test = begin();
    let dir = Dir::new();
    for length in [100, 106, 107] {
        let (mut client, mut server, _) = connected(&Place::Path(dir.path_of_length(length)));
        assert_connected(&mut client, &mut server);
        assert!(dir.path_of_length(length).exists(), "not cut off");
    }
    for length in [108, 109, 4096] {
        for operation in BOTH {
            let place = Place::Path(dir.path_of_length(length));
            refused(operation, &place, ErrorKind::InvalidInput, ": path too long");
        }
    }
    assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 3, "no other was made");
}

#[test]
fn what_is_no_path_is_a_named_error() {
    let _test = begin();
    let dir = Dir::new();
    let with_nul = dir.path("a\0b");
    let abstract_in_disguise = PathBuf::from("\0wakesock");
    for operation in BOTH {
        refused(
            operation,
            &Place::Path(PathBuf::new()),
            ErrorKind::InvalidInput,
            ": empty path",
        );
        for path in [&with_nul, &abstract_in_disguise] {
            let place = Place::Path(path.clone());
            refused(operation, &place, ErrorKind::InvalidInput, ": path with a NUL in it");
        }
        let nowhere = Place::Path(dir.path("no such directory/socket"));
        refused(operation, &nowhere, ErrorKind::NotFound, ": no such file or directory");
    }
    assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 0);
}

#[test]
fn a_path_need_not_be_text() {
    let _test = begin();
    let dir = Dir::new();
    let path = dir.0.join(OsString::from_vec(b"\xff\xfe \n".to_vec()));
    let (mut client, mut server, _) = connected(&Place::Path(path.clone()));
    assert_connected(&mut client, &mut server);
    assert!(path.as_os_str().as_bytes().ends_with(b"\xff\xfe \n") && path.exists());
}

#[test]
fn a_path_where_nobody_listens_is_a_named_error() {
    let _test = begin();
    let dir = Dir::new();
    let missing = Place::Path(dir.path("missing"));
    refused(
        "connect to",
        &missing,
        ErrorKind::NotFound,
        ": no such file or directory",
    );
    let (stale, file) = (dir.path("stale"), dir.path("file"));
    drop(UnixListener::bind(&stale).unwrap());
    fs::write(&file, "text").unwrap();
    for path in [stale, file, dir.0.clone()] {
        let place = Place::Path(path);
        refused(
            "connect to",
            &place,
            ErrorKind::ConnectionRefused,
            ": connection refused",
        );
        refused("listen on", &place, ErrorKind::AddrInUse, ": address already in use");
    }
    assert_eq!(fs::read(dir.path("file")).unwrap(), b"text", "it is left alone");
    // One of another type.
    let _datagrams = std::os::unix::net::UnixDatagram::bind(dir.path("datagrams")).unwrap();
    let mut socket = TcpSocket::new();
    let error = socket.connect_path(dir.path("datagrams")).unwrap_err();
    assert_eq!(error.code(), libc::EPROTOTYPE, "{error:?}");
    assert_usable(&mut socket, &error);
}

#[test]
fn the_file_of_a_listener_stays_and_its_abstract_name_does_not() {
    let _test = begin();
    let dir = Dir::new();
    let [path, name] = Place::both(&dir, "stays");
    for place in [&path, &name] {
        let first = place.listener(5);
        refused("listen on", place, ErrorKind::AddrInUse, ": address already in use");
        assert!(first.is_open());
        first.close();
        refused(
            "connect to",
            place,
            ErrorKind::ConnectionRefused,
            ": connection refused",
        );
        // A handle lets go of it as well, though a thread has waited there.
        if let Place::Path(path) = place {
            assert!(path.exists());
            fs::remove_file(path).unwrap();
        }
        let mut second = place.listener(5);
        assert!(
            second
                .timeout(Duration::from_millis(1))
                .accept_new()
                .unwrap_err()
                .is_timeout()
        );
        second.handle().close();
        refused(
            "connect to",
            place,
            ErrorKind::ConnectionRefused,
            ": connection refused",
        );
        if let Place::Path(path) = place {
            fs::remove_file(path).unwrap();
        }
        drop(place.listener(5));
    }
}

#[test]
fn an_abstract_name_is_any_bytes_that_fit() {
    let _test = begin();
    let name = |end: &[u8]| {
        let mut name = abstract_name("").into_bytes();
        name.extend_from_slice(end);
        name
    };
    let mut longest = name(b"");
    longest.resize(107, b'x');
    let mut listeners = Vec::new();
    for name in [
        name(b"a"),
        name(b"a\0"),
        name(b"a\0b"),
        name(b"\0"),
        name(b"\xff"),
        longest.clone(),
    ] {
        // Each of them is another: nothing ends at a NUL.
        let place = Place::Abstract(name);
        let (mut client, mut server, listener) = connected(&place);
        assert_connected(&mut client, &mut server);
        listeners.push(listener);
    }
    refused(
        "connect to",
        &Place::Abstract(name(b"a\0b\0")),
        ErrorKind::ConnectionRefused,
        "a\\x00b\\x00: connection refused",
    );
    longest.pop();
    refused(
        "connect to",
        &Place::Abstract(longest.clone()),
        ErrorKind::ConnectionRefused,
        ": connection refused",
    );
    for length in [108, 109, 4096] {
        longest.resize(length, b'x');
        for operation in BOTH {
            let place = Place::Abstract(longest.clone());
            refused(operation, &place, ErrorKind::InvalidInput, ": name too long");
        }
    }
}

#[test]
fn an_empty_abstract_name_is_an_error() {
    let _test = begin();
    for operation in BOTH {
        refused(
            operation,
            &Place::Abstract(Vec::new()),
            ErrorKind::InvalidInput,
            ": empty name",
        );
    }
}

// A queue that is full.

/// A listener whose queue is full, and the clients that are in it.
fn full(place: &Place) -> (TcpSocket, Vec<TcpSocket>) {
    let listener = place.listener(0);
    let mut clients = Vec::new();
    loop {
        let mut client = TcpSocket::new();
        match place.connect(client.timeout(Duration::ZERO)) {
            Ok(()) => clients.push(client),
            Err(Error::Timeout) => {
                assert!(client.is_timeout() && !client.is_error() && !client.is_open());
                return (listener, clients);
            }
            Err(error) => panic!("{error:?}"),
        }
        assert!(clients.len() < 100, "it has no end");
    }
}

#[test]
fn a_connect_waits_for_room_no_longer_than_its_limit() {
    let _test = begin();
    let dir = Dir::new();
    for place in Place::both(&dir, "full") {
        let (_listener, _clients) = full(&place);
        let before = descriptors();
        let mut socket = TcpSocket::new();
        for first in [1_000, 30_000_000] {
            ends_at_limit(Duration::from_nanos(first), |limit| {
                let (result, took) = timed(|| place.connect(socket.timeout(limit)));
                assert_failed(&result, &Error::Timeout, limit);
                assert!(socket.is_timeout() && !socket.is_error() && !socket.is_open());
                assert_eq!(descriptors(), before);
                took
            });
        }
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        socket.wait_step(Duration::from_millis(2)).when_wait(move |_| {
            counted.fetch_add(1, SeqCst);
        });
        ends_at_limit(Duration::from_millis(30), |limit| {
            let (result, took) = timed(|| place.connect(socket.timeout(limit)));
            assert_failed(&result, &Error::Timeout, limit);
            took
        });
        assert!(calls.load(SeqCst) > 0);
        socket.when_wait(|waiting| waiting.abort());
        assert_failed(
            &place.connect(socket.timeout(None)),
            &Error::Aborted,
            "from the callback",
        );
    }
}

#[test]
fn a_connect_that_waits_for_room_gets_it() {
    let _test = begin();
    let dir = Dir::new();
    for place in Place::both(&dir, "room") {
        for limit in [None, Some(PATIENCE)] {
            let (listener, clients) = full(&place);
            let to = place.clone();
            let blocked = block(move || {
                let mut socket = TcpSocket::new();
                (to.connect(socket.timeout(limit)), socket)
            })
            .still_blocks();
            for mut client in clients {
                assert_connected(&mut client, &mut listener.accept_new().unwrap());
            }
            let (result, mut client) = blocked.result();
            result.unwrap();
            assert_connected(&mut client, &mut listener.accept_new().unwrap());
            drop(listener);
            if let Place::Path(path) = &place {
                fs::remove_file(path).unwrap();
            }
        }
    }
}

#[test]
fn a_connect_that_waits_for_room_is_ended() {
    let _test = begin();
    let dir = Dir::new();
    let place = Place::Path(dir.path("ended"));
    let (server, clients) = full(&place);
    let registry = ShutdownRegistry::new();
    type End = fn(&SocketHandle, &ShutdownRegistry);
    let ends: [(End, Error); 3] = [
        (|handle, _| handle.close(), Error::Closed),
        (|handle, _| handle.abort(), Error::Aborted),
        (|_, registry| registry.shutdown(), Error::Shutdown),
    ];
    let before = descriptors();
    for limit in LIMITS {
        for (end, expected) in &ends {
            let mut socket = TcpSocket::with_registry(&registry);
            let handle = socket.handle();
            let to = place.clone();
            let blocked = block(move || (to.connect(socket.timeout(limit)), socket)).until_blocked();
            assert!(!blocked.is_finished(), "{:?}", blocked.result().0);
            end(&handle, &registry);
            let (result, mut socket) = blocked.result();
            assert_failed(&result, expected, limit);
            assert!(!socket.is_open() && !socket.is_error(), "{socket:?}");
            assert_eq!(descriptors(), before);
            registry.reset();
            socket.clear_abort();
            let again = place.connect(socket.timeout(Duration::ZERO));
            assert_failed(&again, &Error::Timeout, "usable, and the queue is full");
        }
    }
    // Gone altogether.
    let to = place.clone();
    let blocked = block(move || to.connect(&mut TcpSocket::new())).still_blocks();
    server.close();
    let what = format!("connect to {}", dir.path("ended").display());
    assert_named(blocked.result(), &what, ErrorKind::ConnectionRefused);
    drop(clients);
}

#[test]
fn without_descriptors_opening_is_a_named_error_and_waiting_for_room_works() {
    let _test = begin();
    let dir = Dir::new();
    let (path, new) = (dir.path("scarce"), dir.path("new"));
    let place = Place::Path(path.clone());
    let (listener, clients) = full(&place);
    let mut socket = TcpSocket::new();
    let none = NoDescriptors::but(0);
    for _ in 0..10 {
        let error = socket.connect_path(&path).unwrap_err();
        assert_eq!(error.code(), libc::EMFILE);
        assert!(
            error
                .to_string()
                .starts_with(&format!("connect to {}: ", path.display())),
            "{error}"
        );
        let error = socket.listen_path(&new, 5).unwrap_err();
        assert_eq!(error.code(), libc::EMFILE);
        assert!(
            error.to_string().starts_with(&format!("listen on {}: ", new.display())),
            "{error}"
        );
    }
    drop(none);
    assert!(!new.exists(), "no file is left where nobody listens");

    // One for the socket, and none for what it waits in.
    let none = NoDescriptors::but(1);
    ends_at_limit(Duration::from_millis(30), |limit| {
        let (result, took) = timed(|| place.connect(socket.timeout(limit)));
        assert_failed(&result, &Error::Timeout, limit);
        took
    });
    let to = place.clone();
    let blocked = block(move || (to.connect(socket.timeout(PATIENCE)), socket)).goes_on_for(STILL_BLOCKS);
    none.allow_all();
    let served: Vec<_> = clients.iter().map(|_| listener.accept_new().unwrap()).collect();
    let (result, mut client) = blocked.result();
    result.unwrap();
    assert_connected(&mut client, &mut listener.accept_new().unwrap());
    drop((served, none));
}

// What listeners and connections of all kinds promise.

#[test]
fn everything_that_blocks_is_ended() {
    let _test = begin();
    let dir = Dir::new();
    for (index, expected) in [Error::Closed, Error::Aborted, Error::Shutdown].iter().enumerate() {
        let registry = ShutdownRegistry::new();
        let mut blocked = Vec::new();
        let mut peers = Vec::new();
        let of_listeners = OF_LISTENERS.into_iter().map(|operation| (operation, true));
        let of_connections = OF_CONNECTIONS.into_iter().map(|operation| (operation, false));
        for (count, (operation, is_listener)) in of_listeners.chain(of_connections).enumerate() {
            let place = Place::Path(dir.path(&format!("{index}-{count}")));
            let mut socket = TcpSocket::with_registry(&registry);
            if is_listener {
                place.listen(&mut socket, 5).unwrap();
            } else {
                let listener = place.listener(5);
                place.connect(&mut socket).unwrap();
                peers.push(listener.accept_new().unwrap());
            }
            let handle = socket.handle();
            let thread = block(move || (operation.run)(&mut socket)).until_blocked();
            blocked.push((operation.name, handle, thread));
        }
        for (name, _, thread) in &blocked {
            assert!(!thread.is_finished(), "{name} doesn't block");
        }
        for (_, handle, _) in &blocked {
            match expected {
                Error::Closed => handle.close(),
                Error::Aborted => handle.abort(),
                _ => {}
            }
        }
        if let Error::Shutdown = expected {
            registry.shutdown();
        }
        for (name, _, thread) in blocked {
            let result = thread.result();
            if !(name == "wait_request" && registry.is_shutdown() && result.is_ok()) {
                assert_failed(&result, expected, name);
            }
        }
    }
}

#[test]
fn many_threads_accept_from_one_path_until_it_is_closed() {
    const THREADS: usize = 4;
    const CLIENTS: usize = 40;
    let _test = begin();
    let dir = Dir::new();
    let place = Place::Path(dir.path("threads"));
    let listener = Arc::new(place.listener(CLIENTS as u32));
    let served = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (listener, served) = (Arc::clone(&listener), Arc::clone(&served));
            block(move || {
                for client in listener.incoming() {
                    client.unwrap().put_all(b"x").unwrap();
                    served.fetch_add(1, SeqCst);
                }
                listener.accept_new().map(drop)
            })
        })
        .collect();
    for _ in 0..CLIENTS {
        let mut client = place.client();
        assert_eq!(client.get_bytes(10).unwrap(), b"x", "from one of them");
    }
    eventually(
        || "all were served".to_owned(),
        || {
            (served.load(SeqCst) == CLIENTS)
                .then_some(())
                .ok_or(served.load(SeqCst).to_string())
        },
    );
    let threads: Vec<_> = threads.into_iter().map(|thread| thread.until_blocked()).collect();
    listener.close();
    for thread in threads {
        assert_failed(&thread.result(), &Error::Closed, "accept");
    }
    refused(
        "connect to",
        &place,
        ErrorKind::ConnectionRefused,
        ": connection refused",
    );
}

#[test]
fn a_stop_ends_a_listener_and_refuses_another() {
    let _test = begin();
    let dir = Dir::new();
    let registry = ShutdownRegistry::new();
    let mut listener = TcpSocket::with_registry(&registry);
    listener.listen_path(dir.path("one"), 5).unwrap();
    assert_eq!(registry.len(), 1);
    registry.stop_accepting();
    assert_failed(&listener.accept_new(), &Error::Shutdown, "accept");
    let mut another = TcpSocket::with_registry(&registry);
    assert_failed(&another.listen_path(dir.path("two"), 5), &Error::Shutdown, "listen");
    assert!(!dir.path("two").exists(), "no file is left where nobody listens");
    registry.shutdown();
    assert_failed(&another.connect_path(dir.path("one")), &Error::Shutdown, "connect");
    registry.reset();
    another.listen_path(dir.path("two"), 5).unwrap();
}

#[test]
fn a_handle_that_was_taken_before_ends_the_opening() {
    let _test = begin();
    let dir = Dir::new();
    let place = Place::Path(dir.path("before"));
    let _listener = place.listener(5);
    for (operation, place) in [("listen", Place::Path(dir.path("not"))), ("connect", place)] {
        let run = |socket: &mut TcpSocket| match operation {
            "listen" => place.listen(socket, 5),
            _ => place.connect(socket),
        };
        let mut socket = TcpSocket::new();
        socket.handle().close();
        assert_failed(&run(&mut socket), &Error::Closed, operation);
        run(&mut socket).unwrap();
    }
}

#[test]
fn every_descriptor_is_close_on_exec() {
    let _test = begin();
    let dir = Dir::new();
    for place in Place::both(&dir, "exec") {
        let (client, server, listener) = connected(&place);
        for socket in [&client, &server, &listener] {
            assert!(is_close_on_exec(socket), "{socket:?}");
        }
    }
}

#[test]
fn the_standard_librarys_sockets_are_at_the_other_end() {
    let _test = begin();
    let dir = Dir::new();
    let path = dir.path("std");
    let mut listener = TcpSocket::new();
    listener.listen_path(&path, u32::MAX).unwrap();
    let mut theirs = TcpSocket::from(UnixStream::connect(&path).unwrap());
    let mut ours = listener.accept_new().unwrap();
    assert_connected(&mut theirs, &mut ours);
    drop(listener);
    fs::remove_file(&path).unwrap();
    let std_listener = UnixListener::bind(&path).unwrap();
    let mut ours = TcpSocket::new();
    ours.connect_path(&path).unwrap();
    let (accepted, _) = std_listener.accept().unwrap();
    assert_connected(&mut ours, &mut TcpSocket::from(accepted));
    // A std listener, taken over while threads wait.
    let mut attached = TcpSocket::new();
    attached.attach(std_listener).unwrap();
    let connecting = thread::spawn(move || Place::Path(path).client());
    let mut server = attached.timeout(PATIENCE).accept_new().unwrap();
    assert_connected(&mut connecting.join().unwrap(), &mut server);
}
