//! Each method of the types, and what it tells: values, kinds and numbers of errors, and what others see of it.
//!
//! This file is compiled twice, and knows no difference.

use std::fmt::Debug;
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use super::net::{Incoming, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use super::unix_net::{self, UnixListener, UnixStream};
use crate::random::{Act, OfListener, Step};
use crate::support::block;
use crate::support::scarce::scarce;

/// What the calls of one case have told.
#[derive(Default)]
pub(crate) struct Told(pub(crate) Vec<String>);

impl Told {
    fn note(&mut self, call: &str, told: impl Debug) {
        self.0.push(format!("{call}: {told:?}"));
    }

    fn result<T: Debug>(&mut self, call: &str, result: io::Result<T>) {
        match result {
            Ok(value) => self.note(call, value),
            Err(error) => {
                let text = error.raw_os_error().is_none().then(|| error.to_string());
                self.note(call, (error.kind(), error.raw_os_error(), text));
            }
        }
    }
}

impl Told {
    /// What a write fails with: there may be room for a moment.
    fn failure(&mut self, call: &str, mut write: impl FnMut() -> io::Result<usize>) {
        let begin = std::time::Instant::now();
        loop {
            match write() {
                Ok(_) => assert!(begin.elapsed() < Duration::from_secs(30), "{call} goes on"),
                result => return self.result(call, result),
            }
        }
    }
}

/// A case: what is tried, and its name.
pub(crate) type Case = (&'static str, fn(&mut Told));

pub(crate) const CASES: &[Case] = &[
    ("traits", traits),
    ("binding", binding),
    ("options of a listener", options_of_a_listener),
    ("a listener that doesn't block", a_listener_that_does_not_block),
    ("clones of a listener", clones_of_a_listener),
    ("clients", clients),
    ("a listener with a limit", a_listener_with_a_limit),
    ("both families", both_families),
    ("connecting", connecting),
    ("options of a stream", options_of_a_stream),
    ("limits", limits),
    ("a stream that doesn't block", a_stream_that_does_not_block),
    ("reading and writing", reading_and_writing),
    ("nothing to read or write", nothing_to_read_or_write),
    ("the traits' other methods", other_methods),
    ("much to write", much_to_write),
    ("peeking", peeking),
    ("the end of the stream", the_end_of_the_stream),
    ("shutting down", shutting_down),
    ("shutting down what blocks", |told| {
        shutting_down_what_blocks(told, pair)
    }),
    ("a reset", a_reset),
    ("a reset in the middle of a write", a_reset_in_the_middle_of_a_write),
    ("clones of a stream", clones_of_a_stream),
    ("descriptors", descriptors),
    ("sockets of another kind", sockets_of_another_kind),
    ("without descriptors", without_descriptors),
    ("texts", texts),
    ("Unix: binding", unix_binding),
    ("Unix: connecting", unix_connecting),
    ("Unix: streams", unix_streams),
    ("Unix: shutting down what blocks", |told| {
        shutting_down_what_blocks(told, unix_pair)
    }),
    ("Unix: clones and descriptors", unix_clones_and_descriptors),
];

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

pub(crate) fn pair() -> (TcpStream, TcpStream) {
    let (listener, addr) = listener();
    let near = TcpStream::connect(addr).unwrap();
    near.set_nodelay(true).unwrap();
    (near, listener.accept().unwrap().0)
}

pub(crate) fn unix_pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}

/// An address that refuses, for as long as the socket lives.
fn refusing() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, addr)
}

/// A folder that is removed in the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "wakesock-net-{}-{:p}-{}",
            std::process::id(),
            &COUNT,
            COUNT.fetch_add(1, SeqCst)
        );
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        Folder(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Replaces what differs from socket to socket.
fn without_numbers(text: &str) -> String {
    let mut plain = String::new();
    for char in text.chars() {
        match char {
            '0'..='9' if plain.ends_with('#') => {}
            '0'..='9' => plain.push('#'),
            char => plain.push(char),
        }
    }
    plain
}

fn is_of_both<T>()
where
    T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe + Debug + 'static,
    T: AsFd + AsRawFd + IntoRawFd + FromRawFd + From<OwnedFd> + Into<OwnedFd>,
{
}

fn is_of_streams<T>()
where
    T: Read + Write,
    for<'a> &'a T: Read + Write,
{
}

fn traits(_: &mut Told) {
    is_of_both::<TcpListener>();
    is_of_both::<TcpStream>();
    is_of_both::<UnixListener>();
    is_of_both::<UnixStream>();
    is_of_streams::<TcpStream>();
    is_of_streams::<UnixStream>();
    fn is_of_clients<T, S>(_: &T)
    where
        T: Iterator<Item = io::Result<S>> + Debug + Send + Sync + Unpin + UnwindSafe + RefUnwindSafe,
    {
    }
    let (listener, _) = listener();
    let incoming: Incoming<'_> = listener.incoming();
    is_of_clients(&incoming);
    let folder = Folder::new();
    let listener = UnixListener::bind(folder.path("socket")).unwrap();
    let incoming: unix_net::Incoming<'_> = (&listener).into_iter();
    is_of_clients(&incoming);
}

fn binding(told: &mut Told) {
    let (taken, addr) = listener();
    told.note("an address", (addr.ip(), addr.port() != 0));
    told.result("bind to a taken one", TcpListener::bind(addr));
    told.result("bind to none", TcpListener::bind(&[][..] as &[SocketAddr]));
    for text in ["nonsense", "127.0.0.1:x", "127.0.0.1", "192.0.2.1:0", "127.0.0.1:99999"] {
        told.result(text, TcpListener::bind(text));
    }
    let free: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let second = TcpListener::bind(&[addr, free][..]).unwrap();
    told.note("bind to the second", second.local_addr().unwrap().port() != addr.port());
    drop(taken);
    told.note("bind again", TcpListener::bind(addr).is_ok());
    told.note("a pair", TcpListener::bind(("127.0.0.1", 0)).is_ok());
    told.note("a String", TcpListener::bind(String::from("127.0.0.1:0")).is_ok());
    told.note("a name", TcpListener::bind("localhost:0").is_ok());
    told.note("IPv6", TcpListener::bind("[::1]:0").is_ok());
}

#[allow(deprecated)]
fn options_of_a_listener(told: &mut Told) {
    let (listener, _) = listener();
    told.result("take_error", listener.take_error());
    told.result("ttl", listener.ttl());
    told.result("set_ttl", listener.set_ttl(33));
    told.result("ttl", listener.ttl());
    told.result("set_ttl(0)", listener.set_ttl(0));
    told.result("only_v6", listener.only_v6());
    told.result("set_only_v6", listener.set_only_v6(true));
    if let Ok(listener) = TcpListener::bind("[::1]:0") {
        told.result("only_v6 of IPv6", listener.only_v6());
        told.result("set_only_v6 of IPv6", listener.set_only_v6(true));
    }
}

fn a_listener_that_does_not_block(told: &mut Told) {
    let (listener, addr) = listener();
    told.result("set_nonblocking", listener.set_nonblocking(true));
    told.result("accept", listener.accept());
    told.result("next", listener.incoming().next().unwrap());
    let mut client = TcpStream::connect(addr).unwrap();
    let (mut stream, from) = listener.accept().unwrap();
    told.note("from the client", from == client.local_addr().unwrap());
    // The connection does block.
    let reading = block(move || stream.read(&mut [0; 8])).until_blocked();
    told.result("write", client.write(b"x"));
    told.result("read", reading.result());
    told.result("set_nonblocking", listener.set_nonblocking(false));
}

fn clones_of_a_listener(told: &mut Told) {
    let (listener, addr) = listener();
    let clone = listener.try_clone().unwrap();
    told.note("the same address", clone.local_addr().unwrap() == addr);
    told.result("set_nonblocking of the clone", clone.set_nonblocking(true));
    told.result("accept", listener.accept());
    drop(listener);
    let client = TcpStream::connect(addr);
    told.note("connect", client.is_ok());
    told.note("accept by the clone", clone.accept().is_ok());
    drop(clone);
    told.result("connect to none", TcpStream::connect(addr));
}

fn clients(told: &mut Told) {
    let (listener, addr) = listener();
    let sent = thread::spawn(move || {
        (0..3)
            .map(|i: u8| TcpStream::connect(addr).unwrap().write(&[i; 3]).unwrap())
            .sum::<usize>()
    });
    for client in listener.incoming().take(3) {
        let mut all = Vec::new();
        told.result("read_to_end", client.unwrap().read_to_end(&mut all));
        told.note("came", all);
    }
    told.note("sent", sent.join().unwrap());
}

fn a_listener_with_a_limit(told: &mut Told) {
    let (own, addr) = listener();
    SockRef::from(&own)
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let listener = TcpListener::from(OwnedFd::from(own));
    told.result("accept", listener.accept().map(drop));
    told.result("next", listener.incoming().next().unwrap().map(drop));
    let _client = TcpStream::connect(addr).unwrap();
    told.result("accept", listener.accept().map(drop));
}

#[allow(deprecated)]
fn both_families(told: &mut Told) {
    let listener = TcpListener::bind("[::]:0").unwrap();
    told.result("only_v6", listener.only_v6());
    let port = listener.local_addr().unwrap().port();
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (stream, from) = listener.accept().unwrap();
    told.note("from", (from.is_ipv6(), stream.peer_addr().unwrap() == from));
    for stream in [client, stream] {
        told.result("nodelay", stream.nodelay());
        told.result("set_ttl", stream.set_ttl(9));
        told.result("ttl", stream.ttl());
    }
}

fn connecting(told: &mut Told) {
    let (listener, addr) = listener();
    let (_refusing, refused) = refusing();
    told.result("connect to one that refuses", TcpStream::connect(refused));
    told.result(
        "connect to two that refuse",
        TcpStream::connect(&[refused, refused][..]),
    );
    told.result("connect to none", TcpStream::connect(&[][..] as &[SocketAddr]));
    for text in ["nonsense", "127.0.0.1:x", "127.0.0.1:99999"] {
        told.result(text, TcpStream::connect(text));
    }
    let peer_of = |stream: io::Result<TcpStream>| stream.and_then(|stream| stream.peer_addr()).unwrap() == addr;
    told.note(
        "connect to the second",
        peer_of(TcpStream::connect(&[refused, addr][..])),
    );
    told.note("an address", peer_of(TcpStream::connect(addr)));
    told.note("a text", peer_of(TcpStream::connect(addr.to_string().as_str())));
    told.note("a String", peer_of(TcpStream::connect(addr.to_string())));
    told.note("a pair", peer_of(TcpStream::connect(("127.0.0.1", addr.port()))));
    told.note("a name", peer_of(TcpStream::connect(("localhost", addr.port()))));
    fn any_type(addr: impl ToSocketAddrs) -> io::Result<TcpStream> {
        TcpStream::connect(addr)
    }
    told.note("any type", peer_of(any_type(addr)));
    told.note(
        "any of this host",
        peer_of(TcpStream::connect(("0.0.0.0", addr.port()))),
    );
    for text in ["127.0.0.1:0", "[::1]:0", "255.255.255.255:9", "224.0.0.1:9"] {
        told.result(text, TcpStream::connect(text));
        let addr = text.parse().unwrap();
        told.result(text, TcpStream::connect_timeout(&addr, Duration::from_secs(60)));
    }
    let long = Duration::from_secs(60);
    told.note("connect_timeout", peer_of(TcpStream::connect_timeout(&addr, long)));
    told.result("connect_timeout, refused", TcpStream::connect_timeout(&refused, long));
    told.result("connect_timeout(0)", TcpStream::connect_timeout(&addr, Duration::ZERO));
    drop(listener);
}

fn options_of_a_stream(told: &mut Told) {
    let (near, far) = pair();
    told.note("addresses", near.local_addr().unwrap() == far.peer_addr().unwrap());
    told.note("addresses", near.peer_addr().unwrap() == far.local_addr().unwrap());
    told.result("nodelay", far.nodelay());
    told.result("set_nodelay", far.set_nodelay(true));
    told.result("nodelay", far.nodelay());
    told.result("set_nodelay", far.set_nodelay(false));
    told.result("nodelay", far.nodelay());
    told.result("ttl", far.ttl());
    told.result("set_ttl", far.set_ttl(7));
    told.result("ttl", far.ttl());
    told.result("set_ttl(0)", far.set_ttl(0));
    told.result("set_ttl(256)", far.set_ttl(256));
    told.result("take_error", far.take_error());
}

fn limits(told: &mut Told) {
    let (mut near, _far) = pair();
    told.result("read_timeout", near.read_timeout());
    told.result("write_timeout", near.write_timeout());
    told.result("set_read_timeout(0)", near.set_read_timeout(Some(Duration::ZERO)));
    told.result("set_write_timeout(0)", near.set_write_timeout(Some(Duration::ZERO)));
    let (one, two) = (Duration::from_secs(1), Duration::from_millis(2500));
    told.result("set_read_timeout", near.set_read_timeout(Some(one)));
    told.result("set_write_timeout", near.set_write_timeout(Some(two)));
    told.result("read_timeout", near.read_timeout());
    told.result("write_timeout", near.write_timeout());
    told.note("what the system knows", SockRef::from(&near).read_timeout().unwrap());
    told.note("what the system knows", SockRef::from(&near).write_timeout().unwrap());
    let short = Duration::from_millis(20);
    told.result("set_read_timeout", near.set_read_timeout(Some(short)));
    let begin = std::time::Instant::now();
    told.result("read", near.read(&mut [0; 8]));
    told.note("not early", begin.elapsed() >= short);
    told.result("peek", near.peek(&mut [0; 8]));
    told.result("read_exact", near.read_exact(&mut [0; 8]));
    told.result("set_read_timeout", near.set_read_timeout(None));
    told.result("read_timeout", near.read_timeout());
    told.result("set_read_timeout", near.set_read_timeout(Some(Duration::from_nanos(1))));
    told.result("read", near.read(&mut [0; 8]));
    told.result("set_read_timeout", near.set_read_timeout(Some(Duration::MAX)));
    told.result("set_write_timeout", near.set_write_timeout(Some(short)));
    let data = vec![0; 64 << 20];
    let sent = near.write(&data).unwrap();
    told.note("some", sent > 0 && sent < data.len());
    told.failure("write", || near.write(&data));
}

fn a_stream_that_does_not_block(told: &mut Told) {
    let (mut near, mut far) = pair();
    told.result("set_nonblocking", near.set_nonblocking(true));
    told.result("read", near.read(&mut [0; 8]));
    told.result("read_vectored", near.read_vectored(&mut [IoSliceMut::new(&mut [0; 8])]));
    told.result("peek", near.peek(&mut [0; 8]));
    told.result("read_to_end", near.read_to_end(&mut Vec::new()));
    let data = vec![0; 64 << 20];
    let sent = near.write(&data).unwrap();
    told.note("some", sent > 0 && sent < data.len());
    told.failure("write", || near.write(&data));
    told.failure("write_vectored", || near.write_vectored(&[IoSlice::new(&data)]));
    // Together they are longer than a usize of 32 bits can count. Other systems may refuse that.
    if cfg!(target_os = "linux") {
        let many = vec![IoSlice::new(&data[..4 << 20]); 1024];
        told.failure("write_vectored", || near.write_vectored(&many));
    }
    told.result("set_nonblocking", near.set_nonblocking(false));
    told.result("write", far.write(b"hello"));
    told.result("read", near.read(&mut [0; 8]));
}

fn reading_and_writing(told: &mut Told) {
    let (mut near, mut far) = pair();
    told.result("write", near.write(b"hello, world"));
    told.result("flush", near.flush());
    let mut buf = [0; 5];
    told.result("read", far.read(&mut buf));
    told.note("came", buf);
    let (mut first, mut second) = ([0; 3], [0; 100]);
    let mut slices = [
        IoSliceMut::new(&mut []),
        IoSliceMut::new(&mut first),
        IoSliceMut::new(&mut second),
    ];
    told.result("read_vectored", far.read_vectored(&mut slices));
    told.note("came", (first, second));
    let slices = [&b""[..], b"ab", b"", b"cde", b""].map(IoSlice::new);
    told.result("write_vectored", near.write_vectored(&slices));
    told.result("read", far.read(&mut second));
    told.note("came", second);
    // By a shared reference.
    let (mut near, mut far) = (&near, &far);
    told.result("write", far.write(b"back"));
    told.result("read", near.read(&mut buf));
    told.note("came", buf);
    told.result("write_vectored", far.write_vectored(&[IoSlice::new(b"again")]));
    told.result("read_vectored", near.read_vectored(&mut [IoSliceMut::new(&mut buf)]));
    told.result("flush", far.flush());
    told.note("came", buf);
}

fn nothing_to_read_or_write(told: &mut Told) {
    let (mut near, mut far) = pair();
    // A read of nothing waits as any other does.
    near.set_nonblocking(true).unwrap();
    told.result("read", near.read(&mut []));
    told.result("read_vectored", near.read_vectored(&mut []));
    told.result("peek", near.peek(&mut []));
    // One call takes only the first 1024.
    let mut room = [0; 8];
    let mut many: Vec<_> = (0..1500).map(|_| IoSliceMut::new(&mut [])).collect();
    many.push(IoSliceMut::new(&mut room));
    told.result("read_vectored of many", near.read_vectored(&mut many));
    let mut many = vec![IoSlice::new(&[]); 1500];
    many.push(IoSlice::new(b"z"));
    told.result("write_vectored of many", far.write_vectored(&many));
    near.set_nonblocking(false).unwrap();
    told.result("write", near.write(&[]));
    told.result("write_vectored", near.write_vectored(&[]));
    told.result("write_vectored", near.write_vectored(&[IoSlice::new(&[])]));
    told.result("write", far.write(b"x"));
    told.result("read", near.read(&mut []));
    told.result("read_vectored", near.read_vectored(&mut []));
    told.result("read_vectored", near.read_vectored(&mut [IoSliceMut::new(&mut [])]));
    told.result("peek", near.peek(&mut []));
    let many = vec![IoSlice::new(b"y"); 3000];
    told.result("write_vectored of many", far.write_vectored(&many));
    told.result("shutdown", near.shutdown(Shutdown::Write));
    told.result("write", near.write(&[]));
    told.result("write_vectored", near.write_vectored(&[]));
}

fn other_methods(told: &mut Told) {
    let (mut near, mut far) = pair();
    told.result("write_fmt", write!(near, "{} + {}\nsecond\n", 1, 2));
    told.result("write_all", near.write_all(b"third\nrest"));
    let mut four = [0; 4];
    told.result("read_exact", far.read_exact(&mut four));
    told.note("came", four);
    let mut lines = BufReader::new(&far);
    let mut line = String::new();
    told.result("read_line", lines.read_line(&mut line));
    told.note("came", &line);
    told.result("shutdown", near.shutdown(Shutdown::Write));
    told.result("lines", lines.lines().collect::<io::Result<Vec<_>>>());
    told.result("read_exact at the end", far.read_exact(&mut four));
    let copier = thread::spawn(move || {
        let mut copied = Vec::new();
        io::copy(&mut near, &mut copied).map(|count| (count, copied))
    });
    told.result("copy", io::copy(&mut &b"to be copied"[..], &mut far));
    drop(far);
    told.result("copy", copier.join().unwrap());
}

fn much_to_write(told: &mut Told) {
    let data: Vec<u8> = (0..16 << 20).map(|i: u32| (i % 251) as u8).collect();
    let (mut near, far) = pair();
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        (&far).read_to_end(&mut all).map(|_| all)
    });
    told.result("write", near.write(&data));
    let (left, right) = data.split_at(1000);
    let slices = [left, right].map(IoSlice::new);
    told.result("write_vectored", near.write_vectored(&slices));
    drop(near);
    told.note(
        "came whole",
        reader.join().unwrap().unwrap() == [&data[..], &data].concat(),
    );
}

fn peeking(told: &mut Told) {
    let (near, mut far) = pair();
    far.write_all(b"hello").unwrap();
    let mut buf = [0; 3];
    told.result("peek", near.peek(&mut buf));
    told.note("came", buf);
    told.result("read", (&near).read(&mut buf));
    told.note("came", buf);
    told.result("peek", near.peek(&mut buf));
    told.note("came", buf);
    told.result("read", (&near).read(&mut buf));
    drop(far);
    told.result("peek", near.peek(&mut buf));
    let reader = thread::spawn(move || near.peek(&mut [0; 3]));
    told.result("peek", reader.join().unwrap());
}

fn the_end_of_the_stream(told: &mut Told) {
    let (mut near, mut far) = pair();
    far.write_all(b"bye").unwrap();
    drop(far);
    let mut all = Vec::new();
    told.result("read_to_end", near.read_to_end(&mut all));
    told.note("came", all);
    told.result("read", near.read(&mut [0; 8]));
    told.result("read", near.read(&mut [0; 8]));
    // The first one is answered by a reset.
    told.result("write", near.write(b"x"));
    eventually(|| near.write(b"x").is_err());
    told.result("write", near.write(b"x"));
}

fn shutting_down(told: &mut Told) {
    let (mut near, mut far) = pair();
    told.result("shutdown", near.shutdown(Shutdown::Write));
    told.result("write", near.write(b"x"));
    told.result("write_all", near.write_all(b"x"));
    told.result("read", far.read(&mut [0; 8]));
    told.result("write", far.write(b"still"));
    told.result("read", near.read(&mut [0; 8]));
    told.result("shutdown", near.shutdown(Shutdown::Write));
    told.result("shutdown", near.shutdown(Shutdown::Read));
    told.result("read", near.read(&mut [0; 8]));
    told.result("shutdown", near.shutdown(Shutdown::Both));
    told.result("shutdown", far.shutdown(Shutdown::Both));
    told.result("read", far.read(&mut [0; 8]));
    eventually(|| near.peer_addr().is_err());
    told.result("peer_addr", near.peer_addr());
    told.result("shutdown", near.shutdown(Shutdown::Both));
    // It ends what blocks.
    let (near, _far) = pair();
    let clone = near.try_clone().unwrap();
    let reading = block(move || (&near).read(&mut [0; 8])).until_blocked();
    told.result("shutdown", clone.shutdown(Shutdown::Both));
    told.result("read", reading.result());
}

/// Each direction and both, by a clone and by the peer.
fn shutting_down_what_blocks<S: Stream + Send + Sync + 'static>(told: &mut Told, pair: fn() -> (S, S)) {
    let reading_of = |near: S| block(move || { near }.read(&mut [0; 8])).until_blocked();
    let writing_of = |near: S| block(move || { near }.write_all(&vec![0; 64 << 20])).until_blocked();
    for how in [Shutdown::Read, Shutdown::Both] {
        let (near, _far) = pair();
        let clone = near.try_clone().unwrap();
        let reading = reading_of(near);
        told.result("shutdown", clone.shutdown(how));
        told.result("read", reading.result());
    }
    for how in [Shutdown::Write, Shutdown::Both] {
        let (near, _far) = pair();
        let clone = near.try_clone().unwrap();
        let writing = writing_of(near);
        told.result("shutdown", clone.shutdown(how));
        told.result("write_all", writing.result());
        let (near, far) = pair();
        let reading = reading_of(near);
        told.result("shutdown of the peer", far.shutdown(how));
        told.result("read", reading.result());
    }
}

fn a_reset(told: &mut Told) {
    let reset = || {
        let (near, far) = pair();
        SockRef::from(&far).set_linger(Some(Duration::ZERO)).unwrap();
        drop(far);
        eventually(|| near.peer_addr().is_err());
        near
    };
    let mut near = reset();
    told.result("peer_addr", near.peer_addr());
    told.result("read", near.read(&mut [0; 8]));
    told.result("read", near.read(&mut [0; 8]));
    told.result("write", near.write(b"x"));
    let mut near = reset();
    told.result("write", near.write(b"x"));
    told.result("write", near.write(b"x"));
    told.result("read", near.read(&mut [0; 8]));
    let near = reset();
    told.result(
        "take_error",
        near.take_error().map(|error| error.map(|error| error.kind())),
    );
    told.result(
        "take_error",
        near.take_error().map(|error| error.map(|error| error.kind())),
    );
    told.result("read", (&near).read(&mut [0; 8]));
    let near = reset();
    told.result("peek", near.peek(&mut [0; 8]));
    let near = reset();
    told.result("shutdown", near.shutdown(Shutdown::Both));
    told.note("text", without_numbers(&format!("{near:?}")));
}

fn a_reset_in_the_middle_of_a_write(told: &mut Told) {
    fn reset(told: &mut Told, near: TcpStream, far: TcpStream) {
        let data = vec![0; 64 << 20];
        let writing = block(move || { near }.write(&data).map(|sent| sent < data.len())).until_blocked();
        SockRef::from(&far).set_linger(Some(Duration::ZERO)).unwrap();
        drop(far);
        told.result("sent less", writing.result());
    }
    let after_reset = |told: &mut Told| {
        let (near, far) = pair();
        reset(told, near.try_clone().unwrap(), far);
        near
    };
    let mut near = after_reset(told);
    told.result("write", near.write(b"x"));
    told.result("write", near.write(b"x"));
    told.result("read", near.read(&mut [0; 8]));
    let mut near = after_reset(told);
    told.result("read", near.read(&mut [0; 8]));
    told.result("read", near.read(&mut [0; 8]));
    told.result("write", near.write(b"x"));
    let near = after_reset(told);
    told.result("peek", near.peek(&mut [0; 8]));
    told.result("peek", near.peek(&mut [0; 8]));
    let near = after_reset(told);
    let kind = || near.take_error().map(|error| error.map(|error| error.kind()));
    told.result("take_error", kind());
    told.result("take_error", kind());
    // And what blocks in the other direction.
    let (near, far) = pair();
    let clone = near.try_clone().unwrap();
    let reading = block(move || { clone }.read(&mut [0; 8])).until_blocked();
    reset(told, near, far);
    told.result("read", reading.result());
}

fn clones_of_a_stream(told: &mut Told) {
    let (mut near, mut far) = pair();
    let mut clone = near.try_clone().unwrap();
    told.result("set_nonblocking of the clone", clone.set_nonblocking(true));
    told.result("read", near.read(&mut [0; 8]));
    told.result("set_nonblocking", near.set_nonblocking(false));
    told.result(
        "set_read_timeout of the clone",
        clone.set_read_timeout(Some(Duration::from_secs(9))),
    );
    told.result("read_timeout", near.read_timeout());
    told.result("set_nodelay of the clone", clone.set_nodelay(false));
    told.result("nodelay", near.nodelay());
    told.result("write", far.write(b"both"));
    told.result("read", near.read(&mut [0; 2]));
    told.result("read by the clone", clone.read(&mut [0; 2]));
    drop(near);
    told.result("write by the clone", clone.write(b"here"));
    told.result("read", far.read(&mut [0; 8]));
    let clone_of_clone = clone.try_clone().unwrap();
    told.result("shutdown", clone_of_clone.shutdown(Shutdown::Write));
    told.result("write", clone.write(b"x"));
    drop(clone);
    told.result("read", far.read(&mut [0; 8]));
    told.result("write", far.write(b"still"));
    told.result("read", (&clone_of_clone).read(&mut [0; 8]));
}

#[allow(unsafe_code, reason = "`from_raw_fd`")]
fn descriptors(told: &mut Told) {
    let (near, mut far) = pair();
    near.set_nonblocking(true).unwrap();
    near.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    let clone = near.try_clone().unwrap();
    let fd = OwnedFd::from(near);
    let mut again = TcpStream::from(fd.try_clone().unwrap());
    told.result("read_timeout", again.read_timeout());
    told.result("read", again.read(&mut [0; 8]));
    // What others read by the descriptor doesn't block either.
    let mut file = fs::File::from(fd);
    told.result("read of a file", file.read(&mut [0; 8]));
    told.result("write to a file", file.write(b"by number"));
    let mut buf = [0; 9];
    told.result("read_exact", far.read_exact(&mut buf));
    told.note("came", buf);
    let number = clone.into_raw_fd();
    // SAFETY: it was given away just now.
    let last = unsafe { TcpStream::from_raw_fd(number) };
    told.note("the same number", last.as_raw_fd() == number);
    told.note("a descriptor", last.as_fd().as_raw_fd() == number);
    told.result("set_nonblocking", last.set_nonblocking(false));
    let mut file = fs::File::from(OwnedFd::from(last));
    let reading = block(move || file.read(&mut [0; 8])).until_blocked();
    told.result("write", far.write(b"x"));
    told.result("a read of a file that blocks", reading.result());

    let (listener, addr) = listener();
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from(OwnedFd::from(listener));
    told.result("accept", listener.accept());
    told.result("set_nonblocking", listener.set_nonblocking(false));
    let client = TcpStream::connect(addr).unwrap();
    told.note("accept", listener.accept().unwrap().1 == client.local_addr().unwrap());
    // A descriptor of another kind.
    let file = fs::File::open("/dev/null").unwrap();
    let mut stream = TcpStream::from(OwnedFd::from(file));
    told.note("read of no socket", stream.read(&mut [0; 8]).is_err());
    told.note("its number", OwnedFd::from(stream).as_raw_fd() > 2);
}

fn without_descriptors(told: &mut Told) {
    let (listener, addr) = listener();
    let folder = Folder::new();
    let unix_listener = UnixListener::bind(folder.path("socket")).unwrap();
    let client = TcpStream::connect(addr).unwrap();
    let _unix_client = UnixStream::connect(folder.path("socket")).unwrap();
    let none = scarce(0);
    told.result("bind", TcpListener::bind("127.0.0.1:0"));
    told.result("connect", TcpStream::connect(addr));
    told.result(
        "connect_timeout",
        TcpStream::connect_timeout(&addr, Duration::from_secs(60)),
    );
    told.result("accept", listener.accept());
    told.result("next", listener.incoming().next().unwrap());
    told.result("try_clone", listener.try_clone());
    told.result("try_clone", client.try_clone());
    told.result("Unix: bind", UnixListener::bind(folder.path("other")));
    told.result("Unix: connect", UnixStream::connect(folder.path("socket")));
    told.result("Unix: pair", UnixStream::pair());
    told.result("Unix: accept", unix_listener.accept());
    told.result("Unix: next", unix_listener.incoming().next().unwrap());
    drop(none);
    // What was waiting is still there.
    told.result("accept", listener.accept().map(drop));
    told.result("Unix: accept", unix_listener.accept().map(drop));
}

/// What is made of a descriptor needn't be what its type says.
fn sockets_of_another_kind(told: &mut Told) {
    let folder = Folder::new();
    let path = folder.path("socket");
    let listener = TcpListener::from(OwnedFd::from(UnixListener::bind(&path).unwrap()));
    told.result("local_addr of Unix", listener.local_addr());
    let client = UnixStream::connect(&path).unwrap();
    told.result("accept of Unix", listener.accept());
    let client = TcpStream::from(OwnedFd::from(client));
    told.result("local_addr of Unix", client.local_addr());
    told.result("peer_addr of Unix", client.peer_addr());

    let (listener, addr) = self::listener();
    let client = UnixStream::from(OwnedFd::from(TcpStream::connect(addr).unwrap()));
    told.result("local_addr of TCP", client.local_addr());
    told.result("peer_addr of TCP", client.peer_addr());
    let listener = UnixListener::from(OwnedFd::from(listener));
    told.result("local_addr of TCP", listener.local_addr());
    told.result("accept of TCP", listener.accept());

    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let mut stream = TcpStream::from(OwnedFd::from(socket));
    told.result("local_addr of one that isn't connected", stream.local_addr());
    told.result("peer_addr", stream.peer_addr());
    told.result("read", stream.read(&mut [0]));
    told.result("write", stream.write(&[0]));
    told.result("shutdown", stream.shutdown(Shutdown::Both));
}

fn texts(told: &mut Told) {
    let (listener, _) = listener();
    told.note("text", without_numbers(&format!("{listener:?}")));
    let (near, far) = pair();
    told.note("text", without_numbers(&format!("{near:?} {far:#?}")));
    let folder = Folder::new();
    let listener = UnixListener::bind(folder.path("socket")).unwrap();
    told.note(
        "text",
        without_numbers(&format!("{listener:?}").replace(&format!("{:?}", folder.0), "")).contains("socket"),
    );
    let client = UnixStream::connect(folder.path("socket")).unwrap();
    let text = format!("{client:?}").replace(folder.0.to_str().unwrap(), "");
    told.note("text", without_types(&without_numbers(&text)));
    let (left, _right) = unix_pair();
    told.note("text", without_types(&without_numbers(&format!("{left:?}"))));
}

/// The standard library shows types of its own around the number.
fn without_types(text: &str) -> String {
    text.replace("FileDesc(OwnedFd { fd: # })", "#")
}

/// Blocks until `done`, which the system brings about.
fn eventually(mut done: impl FnMut() -> bool) {
    let begin = std::time::Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(30));
        thread::yield_now();
    }
}

fn unix_binding(told: &mut Told) {
    let folder = Folder::new();
    let path = folder.path("socket");
    let listener = UnixListener::bind(&path).unwrap();
    told.note("path", listener.local_addr().unwrap().as_pathname() == Some(&*path));
    told.result("bind to a taken one", UnixListener::bind(&path));
    told.result("bind in no folder", UnixListener::bind(folder.path("none/socket")));
    told.result("bind to a long path", UnixListener::bind("p".repeat(200)));
    told.result("bind to a path with a NUL", UnixListener::bind("a\0b"));
    let unnamed = UnixListener::bind("");
    told.note("bind to no path", unnamed.is_ok());
    told.result("take_error", listener.take_error());
    told.result("set_nonblocking", listener.set_nonblocking(true));
    told.note("accept", listener.accept().map(drop).unwrap_err().kind());
    told.note(
        "next",
        listener.incoming().next().unwrap().map(drop).unwrap_err().kind(),
    );
    let _client = UnixStream::connect(&path).unwrap();
    let (stream, from) = listener.accept().unwrap();
    told.note("from", (from.is_unnamed(), stream.peer_addr().unwrap().is_unnamed()));
    told.note("here", stream.local_addr().unwrap().as_pathname() == Some(&*path));
    told.result("set_nonblocking", listener.set_nonblocking(false));
    let clone = listener.try_clone().unwrap();
    drop(listener);
    let client = UnixStream::connect(&path).unwrap();
    for stream in (&clone).into_iter().take(1) {
        told.result("write", stream.unwrap().write(b"hi"));
    }
    told.result("read_to_string", io::read_to_string(client));
    // One with a path of its own, which is gone before it is accepted.
    let client = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    let own = folder.path("client");
    client.bind(&socket2::SockAddr::unix(&own).unwrap()).unwrap();
    client.connect(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    drop(client);
    let (stream, from) = clone.accept().unwrap();
    let of_stream = stream.peer_addr().unwrap();
    told.note("from", [from, of_stream].map(|addr| addr.as_pathname() == Some(&*own)));
    drop(UnixStream::connect(&path).unwrap());
    told.note("accept", clone.accept().map(|(_, from)| from.is_unnamed()).unwrap());
    // One whose path takes all the room that there is: no program can make such an address of the standard library's.
    let client = bound_to_a_full_path(&folder.path("full"));
    client.connect(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    let (stream, from) = clone.accept().unwrap();
    let here = UnixStream::from(OwnedFd::from(client)).local_addr().unwrap();
    let len = |addr: unix_net::SocketAddr| addr.as_pathname().unwrap().as_os_str().len();
    told.note("full", [from, stream.peer_addr().unwrap(), here].map(len));
    let addr = unix_net::SocketAddr::from_pathname(folder.path("other")).unwrap();
    let other = UnixListener::bind_addr(&addr).unwrap();
    told.note(
        "bind_addr",
        other.local_addr().unwrap().as_pathname() == addr.as_pathname(),
    );
    told.result("bind_addr", UnixListener::bind_addr(&addr).map(drop));
}

/// A socket with a path of its own, which is made as long as a path can be.
#[allow(unsafe_code, reason = "bind(2)")]
fn bound_to_a_full_path(path: &Path) -> socket2::Socket {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    // SAFETY: plain numbers.
    let mut addr: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    addr.sun_family = libc::AF_UNIX as _;
    let padded = format!("{:x<1$}", path.display(), addr.sun_path.len());
    addr.sun_path.copy_from_slice(
        &padded
            .into_bytes()
            .into_iter()
            .map(|byte| byte as _)
            .collect::<Vec<_>>(),
    );
    // SAFETY: the pointer is to an address of that size.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const addr).cast(), size_of_val(&addr) as _) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    socket
}

fn unix_connecting(told: &mut Told) {
    use std::os::linux::net::SocketAddrExt;

    let folder = Folder::new();
    told.result("connect to none", UnixStream::connect(folder.path("none")));
    told.result("connect to a long path", UnixStream::connect("p".repeat(200)));
    told.result("connect to a path with a NUL", UnixStream::connect("a\0b"));
    told.result("connect to no path", UnixStream::connect(""));
    fs::write(folder.path("file"), "").unwrap();
    told.result("connect to a file", UnixStream::connect(folder.path("file")));
    let _datagrams = unix_net::UnixDatagram::bind(folder.path("datagrams")).unwrap();
    told.result("connect to datagrams", UnixStream::connect(folder.path("datagrams")));
    let path = folder.path("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let client = UnixStream::connect(&path).unwrap();
    told.note("path", client.peer_addr().unwrap().as_pathname() == Some(&*path));
    told.note("unnamed", client.local_addr().unwrap().is_unnamed());
    drop(listener);
    told.result("connect to one that is gone", UnixStream::connect(&path));
    let name = format!("wakesock-net-{}-{:p}", std::process::id(), &0);
    let addr = unix_net::SocketAddr::from_abstract_name(&name).unwrap();
    let listener = UnixListener::bind_addr(&addr).unwrap();
    told.note(
        "abstract",
        listener.local_addr().unwrap().as_abstract_name() == Some(name.as_bytes()),
    );
    let client = UnixStream::connect_addr(&addr).unwrap();
    told.note(
        "abstract",
        client.peer_addr().unwrap().as_abstract_name() == Some(name.as_bytes()),
    );
    let unnamed = unix_net::SocketAddr::from_pathname("").unwrap();
    told.note("unnamed", UnixStream::connect_addr(&unnamed).unwrap_err().kind());
    let empty = unix_net::SocketAddr::from_abstract_name("").unwrap();
    told.result("connect_addr to no name", UnixStream::connect_addr(&empty));
    drop(listener);
    told.result("connect_addr", UnixStream::connect_addr(&addr));
}

fn unix_streams(told: &mut Told) {
    let (mut left, mut right) = unix_pair();
    told.note(
        "unnamed",
        (
            left.local_addr().unwrap().is_unnamed(),
            left.peer_addr().unwrap().is_unnamed(),
        ),
    );
    told.result("take_error", left.take_error());
    told.result("write", left.write(b"hello"));
    let mut buf = [0; 8];
    told.result("read", right.read(&mut buf));
    told.note("came", buf);
    told.result(
        "write_vectored",
        left.write_vectored(&[IoSlice::new(b"ab"), IoSlice::new(b"cd")]),
    );
    told.result("read_vectored", right.read_vectored(&mut [IoSliceMut::new(&mut buf)]));
    told.note("came", buf);
    told.result("read_timeout", left.read_timeout());
    told.result("write_timeout", left.write_timeout());
    told.result("set_read_timeout(0)", left.set_read_timeout(Some(Duration::ZERO)));
    told.result("set_write_timeout(0)", left.set_write_timeout(Some(Duration::ZERO)));
    told.result(
        "set_read_timeout",
        left.set_read_timeout(Some(Duration::from_millis(20))),
    );
    told.result(
        "set_write_timeout",
        left.set_write_timeout(Some(Duration::from_millis(20))),
    );
    told.result("read", left.read(&mut buf));
    let data = vec![0; 16 << 20];
    told.result("write", left.write(&data));
    told.result("write", left.write(&data));
    told.result("set_nonblocking", left.set_nonblocking(true));
    told.result("read", left.read(&mut buf));
    told.result("write", left.write(&data));
    told.result("flush", left.flush());
    let mut all = Vec::new();
    told.result("shutdown", left.shutdown(Shutdown::Write));
    told.result("write", left.write(&data));
    told.result("read_to_end", right.read_to_end(&mut all));
    drop(left);
    told.result("write", right.write(b"x"));
    told.result("read", right.read(&mut buf));
    // The peer reads no more, and what blocks learns of it.
    let (left, right) = unix_pair();
    let writing = block(move || { left }.write_all(&vec![0; 64 << 20])).until_blocked();
    told.result("shutdown of the peer", right.shutdown(Shutdown::Read));
    told.result("write_all", writing.result());
    // With something unread.
    let (mut left, right) = unix_pair();
    left.write_all(b"unread").unwrap();
    drop(right);
    told.result("read", left.read(&mut buf));
    told.result("read", left.read(&mut buf));
    told.result("write", left.write(b"x"));
}

fn unix_clones_and_descriptors(told: &mut Told) {
    let (left, mut right) = unix_pair();
    let mut clone = left.try_clone().unwrap();
    told.result("set_nonblocking", clone.set_nonblocking(true));
    told.result("read", (&left).read(&mut [0; 8]));
    drop(left);
    told.result("write", right.write(b"hello"));
    told.result("read", clone.read(&mut [0; 8]));
    let mut again = UnixStream::from(OwnedFd::from(clone));
    told.result("read", again.read(&mut [0; 8]));
    told.result("set_nonblocking", again.set_nonblocking(false));
    told.result("shutdown", again.shutdown(Shutdown::Both));
    told.result("read", right.read(&mut [0; 8]));
    told.result("write", right.write(b"x"));
    let folder = Folder::new();
    let listener = UnixListener::bind(folder.path("socket")).unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = UnixListener::from(OwnedFd::from(listener));
    told.note("accept", listener.accept().unwrap_err().kind() == ErrorKind::WouldBlock);
}

// Random sequences.

/// What both kinds of streams have.
trait Stream:
    Read + Write + AsFd + AsRawFd + FromRawFd + IntoRawFd + From<OwnedFd> + Into<OwnedFd> + Debug + Sized
{
    fn try_clone(&self) -> io::Result<Self>;
    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()>;
    fn set_read_timeout(&self, limit: Option<Duration>) -> io::Result<()>;
    fn set_write_timeout(&self, limit: Option<Duration>) -> io::Result<()>;
    fn read_timeout(&self) -> io::Result<Option<Duration>>;
    fn write_timeout(&self) -> io::Result<Option<Duration>>;
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;
    fn take_error(&self) -> io::Result<Option<io::Error>>;
    fn peek(&self, buf: &mut [u8]) -> io::Result<usize>;
    fn set_nodelay(&self, nodelay: bool) -> io::Result<()>;
    fn nodelay(&self) -> io::Result<bool>;
    fn set_ttl(&self, ttl: u32) -> io::Result<()>;
    fn ttl(&self) -> io::Result<u32>;
    fn through_std(self) -> Self;
    /// Whether its own and the other's address are told.
    fn addresses(&self) -> (io::Result<()>, io::Result<()>);
}

macro_rules! stream {
    ($Type:ident, $Std:path, $peek:expr, $set_nodelay:expr, $nodelay:expr, $set_ttl:expr, $ttl:expr) => {
        impl Stream for $Type {
            fn try_clone(&self) -> io::Result<$Type> {
                self.try_clone()
            }
            fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
                self.set_nonblocking(nonblocking)
            }
            fn set_read_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
                self.set_read_timeout(limit)
            }
            fn set_write_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
                self.set_write_timeout(limit)
            }
            fn read_timeout(&self) -> io::Result<Option<Duration>> {
                self.read_timeout()
            }
            fn write_timeout(&self) -> io::Result<Option<Duration>> {
                self.write_timeout()
            }
            fn shutdown(&self, how: Shutdown) -> io::Result<()> {
                self.shutdown(how)
            }
            fn take_error(&self) -> io::Result<Option<io::Error>> {
                self.take_error()
            }
            fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
                $peek(self, buf)
            }
            fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
                $set_nodelay(self, nodelay)
            }
            fn nodelay(&self) -> io::Result<bool> {
                $nodelay(self)
            }
            fn set_ttl(&self, ttl: u32) -> io::Result<()> {
                $set_ttl(self, ttl)
            }
            fn ttl(&self) -> io::Result<u32> {
                $ttl(self)
            }
            #[allow(
                clippy::useless_conversion,
                reason = "it is one of the standard library's already"
            )]
            fn through_std(self) -> $Type {
                <$Std>::from(self).into()
            }
            fn addresses(&self) -> (io::Result<()>, io::Result<()>) {
                (self.local_addr().map(drop), self.peer_addr().map(drop))
            }
        }
    };
}

stream!(
    TcpStream,
    std::net::TcpStream,
    TcpStream::peek,
    TcpStream::set_nodelay,
    TcpStream::nodelay,
    TcpStream::set_ttl,
    TcpStream::ttl
);
stream!(
    UnixStream,
    std::os::unix::net::UnixStream,
    |_, _| Ok(0),
    |_, _| Ok(()),
    |_| Ok(false),
    |_, _| Ok(()),
    |_| Ok(0)
);

/// One end of a connection, with its clones.
struct End<S> {
    owners: Vec<S>,
    /// How many bytes the other has sent, and this has not read.
    coming: usize,
    /// The other sends no more.
    ends: bool,
}

pub(crate) fn tcp_steps(steps: &[Step]) -> Vec<String> {
    play(pair(), steps)
}

pub(crate) fn unix_steps(steps: &[Step]) -> Vec<String> {
    play(unix_pair(), steps)
}

fn play<S: Stream>(pair: (S, S), steps: &[Step]) -> Vec<String> {
    let mut told = Told::default();
    let end = |stream: S| {
        stream.set_read_timeout(Some(Duration::from_millis(3))).unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(3))).unwrap();
        End {
            owners: vec![stream],
            coming: 0,
            ends: false,
        }
    };
    let mut ends = [end(pair.0), end(pair.1)];
    for (count, (is_second, act)) in steps.iter().enumerate() {
        let [first, second] = &mut ends;
        let (own, other) = if *is_second { (second, first) } else { (first, second) };
        // Each of the clones has its turn.
        let turn = count % own.owners.len().max(1);
        if turn < own.owners.len() {
            one_step(&mut told, own, other, turn, *act);
        }
    }
    told.0
}

fn one_step<S: Stream>(told: &mut Told, own: &mut End<S>, other: &mut End<S>, turn: usize, act: Act) {
    let stream = &mut own.owners[turn];
    let name = format!("{act:?}");
    let data: Vec<u8> = (0..6000).map(|i| (i % 251) as u8).collect();
    let (mut first, mut second) = (vec![0; 3000], vec![0; 3000]);
    match act {
        // Linux waits for something there, and returns zero when a limit is over, but an error when it may not wait.
        Act::Read(0) | Act::Peek(0) if own.coming == 0 => {}
        Act::Write(len) => {
            let sent = stream.write(&data[..len]);
            other.coming += sent.as_ref().unwrap_or(&0);
            told.result(&name, sent);
        }
        Act::WriteVectored(len, more) => {
            let sent = stream.write_vectored(&[&data[..len], &data[len..len + more]].map(IoSlice::new));
            other.coming += sent.as_ref().unwrap_or(&0);
            told.result(&name, sent);
        }
        Act::WriteAll(len) => {
            let sent = stream.write_all(&data[..len]);
            other.coming += sent.as_ref().map_or(0, |()| len);
            told.result(&name, sent);
        }
        Act::Read(len) => {
            settle(stream, own.coming, own.ends);
            let read = stream.read(&mut first[..len]);
            own.coming -= read.as_ref().unwrap_or(&0);
            told.result(&name, read.map(|count| (count, first[..count].to_vec())));
        }
        Act::ReadVectored(len, more) => {
            settle(stream, own.coming, own.ends);
            let slices = &mut [IoSliceMut::new(&mut first[..len]), IoSliceMut::new(&mut second[..more])];
            let read = stream.read_vectored(slices);
            own.coming -= read.as_ref().unwrap_or(&0);
            told.result(&name, read.map(|count| (count, first, second)));
        }
        Act::ReadExact(len) => {
            settle(stream, own.coming, own.ends);
            let read = stream.read_exact(&mut first[..len]);
            // What came is lost.
            own.coming -= own.coming.min(len);
            told.result(&name, read.map(|()| first));
        }
        Act::ReadToEnd => {
            settle(stream, own.coming, own.ends);
            let mut all = Vec::new();
            let read = stream.read_to_end(&mut all);
            own.coming = 0;
            told.result(&name, read);
            told.note(&name, all);
        }
        Act::Flush => told.result(&name, stream.flush()),
        Act::Peek(len) => {
            settle(stream, own.coming, own.ends);
            let seen = stream.peek(&mut first[..len]);
            told.result(&name, seen.map(|count| (count, first[..count].to_vec())));
        }
        Act::Nonblocking(nonblocking) => told.result(&name, stream.set_nonblocking(nonblocking)),
        Act::ReadLimit(millis) => told.result(&name, stream.set_read_timeout(Some(Duration::from_millis(millis)))),
        Act::WriteLimit(millis) => told.result(&name, stream.set_write_timeout(Some(Duration::from_millis(millis)))),
        Act::Limits => {
            // The system knows them rounded.
            let about = |limit: io::Result<Option<Duration>>| limit.map(|limit| limit.map(|limit| limit.as_secs()));
            told.result(&name, about(stream.read_timeout()));
            told.result(&name, about(stream.write_timeout()));
        }
        Act::ShutdownRead => told.result(&name, stream.shutdown(Shutdown::Read)),
        Act::ShutdownWrite | Act::ShutdownBoth => {
            let how = match act {
                Act::ShutdownWrite => Shutdown::Write,
                _ => Shutdown::Both,
            };
            let ended = stream.shutdown(how);
            other.ends |= ended.is_ok();
            told.result(&name, ended);
        }
        Act::Clone => {
            let clone = stream.try_clone().unwrap();
            own.owners.push(clone);
        }
        Act::DropClone => {
            if own.owners.len() > 1 {
                own.owners.remove(turn);
            }
        }
        // With clones, the limits and the mode would no longer be one for all.
        Act::ThroughDescriptor | Act::ThroughNumber | Act::ThroughStd => {
            if own.owners.len() == 1 {
                let stream = own.owners.remove(turn);
                own.owners.push(match act {
                    Act::ThroughDescriptor => into(stream).into(),
                    Act::ThroughNumber => through_number(stream),
                    _ => stream.through_std(),
                });
            }
        }
        Act::Nodelay(nodelay) => {
            told.result(&name, stream.set_nodelay(nodelay));
            told.result(&name, stream.nodelay());
        }
        Act::Ttl(ttl) => {
            told.result(&name, stream.set_ttl(ttl));
            told.result(&name, stream.ttl());
        }
        Act::Text => told.note(&name, without_types(&without_numbers(&format!("{stream:?}")))),
        Act::TakeError => told.result(&name, stream.take_error().map(|error| error.map(|error| error.kind()))),
        Act::Addresses => {
            let (own, others) = stream.addresses();
            told.result(&name, own);
            told.result(&name, others);
        }
        Act::Drop | Act::Reset => {
            if let Act::Reset = act {
                let _ = SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
            }
            own.owners.clear();
            other.ends = true;
        }
    }
}

fn into<S: Into<OwnedFd>>(stream: S) -> OwnedFd {
    stream.into()
}

#[allow(unsafe_code, reason = "`from_raw_fd`")]
fn through_number<S: IntoRawFd + FromRawFd>(stream: S) -> S {
    let number = stream.into_raw_fd();
    // SAFETY: it was given away just now.
    unsafe { S::from_raw_fd(number) }
}

/// Waits until what was sent has come, and the end if there is one. What never comes is waited for in vain.
#[allow(unsafe_code, reason = "system calls")]
fn settle(stream: &impl AsRawFd, coming: usize, ends: bool) {
    let begin = std::time::Instant::now();
    while begin.elapsed() < Duration::from_millis(500) {
        let mut there: libc::c_int = 0;
        // SAFETY: a pointer to an `int`.
        let result = unsafe { libc::ioctl(stream.as_raw_fd(), libc::FIONREAD, &raw mut there) };
        let mut entry = libc::pollfd {
            fd: stream.as_raw_fd(),
            events: libc::POLLRDHUP,
            revents: 0,
        };
        // SAFETY: one entry, as is said.
        unsafe { libc::poll(&mut entry, 1, 0) };
        let broken = entry.revents & (libc::POLLERR | libc::POLLHUP) != 0;
        // It has its end, too, if its reading half was shut down here: then what was sent may still come.
        let ended = entry.revents & libc::POLLRDHUP != 0;
        if result != 0 || broken || there as usize >= coming && (ended || !ends) {
            return;
        }
        thread::yield_now();
    }
}

/// What both kinds of listeners have.
trait Listener: From<OwnedFd> + Into<OwnedFd> + Debug + Sized {
    fn try_clone(&self) -> io::Result<Self>;
    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()>;
    fn take_error(&self) -> io::Result<Option<io::Error>>;
    fn through_std(self) -> Self;
    /// Whether the address beside the connection is its peer's.
    fn accept(&self) -> io::Result<bool>;
    fn next(&self) -> io::Result<()>;
    /// Those that the other kind doesn't have.
    fn options(&self, told: &mut Told, ttl: u32);
}

macro_rules! listener {
    ($Type:ident, $Std:path, $is_same:expr, $options:expr) => {
        impl Listener for $Type {
            fn try_clone(&self) -> io::Result<$Type> {
                self.try_clone()
            }
            fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
                self.set_nonblocking(nonblocking)
            }
            fn take_error(&self) -> io::Result<Option<io::Error>> {
                self.take_error()
            }
            #[allow(
                clippy::useless_conversion,
                reason = "it is one of the standard library's already"
            )]
            fn through_std(self) -> $Type {
                <$Std>::from(self).into()
            }
            fn accept(&self) -> io::Result<bool> {
                self.accept()
                    .map(|(stream, from)| $is_same(stream.peer_addr(), from))
            }
            fn next(&self) -> io::Result<()> {
                self.incoming().next().unwrap().map(drop)
            }
            fn options(&self, told: &mut Told, ttl: u32) {
                $options(self, told, ttl)
            }
        }
    };
}

listener!(
    TcpListener,
    std::net::TcpListener,
    // One that has reset the connection has none any more.
    |peer: io::Result<SocketAddr>, from| peer.map_or(true, |peer| peer == from),
    of_tcp_listener
);
listener!(
    UnixListener,
    std::os::unix::net::UnixListener,
    |peer: io::Result<unix_net::SocketAddr>, from: unix_net::SocketAddr| peer.unwrap().is_unnamed()
        == from.is_unnamed(),
    |_: &_, _: &mut _, _| ()
);

#[allow(deprecated)]
fn of_tcp_listener(listener: &TcpListener, told: &mut Told, ttl: u32) {
    told.result("set_ttl", listener.set_ttl(ttl));
    told.result("ttl", listener.ttl());
    told.result("only_v6", listener.only_v6());
    told.result("set_only_v6", listener.set_only_v6(true));
}

pub(crate) fn listener_steps(steps: &[OfListener]) -> Vec<String> {
    let (listener, addr) = listener();
    play_listener(listener, || TcpStream::connect(addr).unwrap(), "none", steps)
}

pub(crate) fn unix_listener_steps(steps: &[OfListener]) -> Vec<String> {
    let folder = Folder::new();
    let path = folder.path("socket");
    let listener = UnixListener::bind(&path).unwrap();
    play_listener(
        listener,
        || UnixStream::connect(&path).unwrap(),
        path.to_str().unwrap(),
        steps,
    )
}

/// Plays with a listener on `path`, if it has one.
fn play_listener<L: Listener, S: AsFd>(
    listener: L,
    connect: impl Fn() -> S,
    path: &str,
    steps: &[OfListener],
) -> Vec<String> {
    let mut told = Told::default();
    let mut listeners = vec![listener];
    let mut clients = Vec::new();
    let mut waiting = 0_usize;
    let mut nonblocking = false;
    for (count, act) in steps.iter().enumerate() {
        let turn = count % listeners.len();
        let listener = &listeners[turn];
        let name = format!("{act:?}");
        match act {
            OfListener::Connect => {
                clients.push(connect());
                waiting += 1;
            }
            OfListener::ConnectAndReset => {
                let stream = connect();
                SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                drop(stream);
                waiting += 1;
            }
            OfListener::Accept | OfListener::Next if waiting == 0 && !nonblocking => {}
            OfListener::Accept => {
                told.result(&name, listener.accept());
                waiting = waiting.saturating_sub(1);
            }
            OfListener::Next => {
                told.result(&name, listener.next());
                waiting = waiting.saturating_sub(1);
            }
            OfListener::Nonblocking(mode) => {
                told.result(&name, listener.set_nonblocking(*mode));
                nonblocking = *mode;
            }
            OfListener::Clone => {
                let clone = listener.try_clone().unwrap();
                listeners.push(clone);
            }
            OfListener::DropClone => {
                if listeners.len() > 1 {
                    listeners.remove(turn);
                }
            }
            // With clones, the mode would no longer be one for all.
            OfListener::ThroughDescriptor | OfListener::ThroughStd => {
                if listeners.len() == 1 {
                    let listener = listeners.remove(turn);
                    listeners.push(match act {
                        OfListener::ThroughDescriptor => into(listener).into(),
                        _ => listener.through_std(),
                    });
                }
            }
            OfListener::Options => {
                listener.options(&mut told, 10 + count as u32);
                told.result(&name, listener.take_error());
            }
            OfListener::Text => {
                let text = format!("{listener:?}").replace(path, "");
                told.note(&name, without_types(&without_numbers(&text)));
            }
        }
    }
    told.0
}
