//! What a connection costs, in descriptors and in memory that the program allocates. What the kernel has for it is not
//! seen here.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::iter;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_io::Async;
use futures_lite::future::{block_on, poll_once};
use socket2::SockRef;
use support::counting::{Counting, allocated};
use support::machine;
use support::peers::{Mio, Readiness, pair};
use support::report::{Report, table, thousands};
use wakesock::{SocketEventQueue, TcpSocket, ThreadWait};

#[global_allocator]
static COUNTING: Counting = Counting;

fn main() {
    let descriptors = machine::raise_descriptor_limit();
    let mut report = Report::new("footprint");
    let sockets = support::count(500, 50);
    let rows = [
        vec![
            "a socket, with its value".to_owned(),
            "idle".to_owned(),
            "after a first wait to read".to_owned(),
            "after one to write, too".to_owned(),
            "after a byte read".to_owned(),
        ],
        stages::<TcpStream>("std::net", sockets),
        stages::<Watched>("mio, bare", sockets),
        stages::<Async<TcpStream>>("async-io", sockets),
        stages::<TcpSocket>("wakesock, MioWait", sockets),
        stages::<Threaded>("wakesock, ThreadWait", sockets),
    ];
    report.text(&table(&rows));
    report.text(&subscription(sockets));
    #[cfg(feature = "tls")]
    under_tls::report(&mut report, sockets);
    resident(&mut report, support::count(10_000, 100).min(descriptors / 2 - 100));
    report.finish();
}

/// A socket that goes through what makes it grow.
trait Growing {
    fn of(stream: TcpStream) -> Self;
    /// Waits, in vain, for something to read.
    fn wait_read(&mut self);
    /// Sends until there is no more room, and waits for some, in vain.
    fn wait_write(&mut self);
    fn read_byte(&mut self) -> u8;
}

/// Descriptors and bytes for each socket, after each of the stages.
fn stages<G: Growing>(name: &str, count: usize) -> Vec<String> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut sockets = Vec::with_capacity(count);
    let (mut streams, mut peers): (Vec<_>, Vec<_>) = (0..count).map(|_| pair(&listener)).unzip();
    for stream in streams.iter().chain(&peers) {
        // So that it doesn't take much until there is no room.
        SockRef::from(stream).set_send_buffer_size(4096).unwrap();
        SockRef::from(stream).set_recv_buffer_size(4096).unwrap();
    }
    let mut costs = Vec::with_capacity(4);
    let before = Cost::now();
    // Draining leaves the memory that they were in alone.
    sockets.extend(streams.drain(..).map(G::of));
    costs.push(Cost::now());
    sockets.iter_mut().for_each(G::wait_read);
    costs.push(Cost::now());
    sockets.iter_mut().for_each(G::wait_write);
    costs.push(Cost::now());
    for (socket, peer) in sockets.iter_mut().zip(&mut peers) {
        peer.write_all(b"x").unwrap();
        assert_eq!(socket.read_byte(), b'x');
    }
    costs.push(Cost::now());
    let cells = costs.iter().map(|cost| cost.since(&before, count, size_of::<G>()));
    iter::once(name.to_owned()).chain(cells).collect()
}

struct Cost {
    descriptors: usize,
    allocated: isize,
}

impl Cost {
    fn now() -> Cost {
        Cost {
            allocated: allocated(),
            descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count(),
        }
    }

    /// What has come for each socket, whose own descriptor was there before, as was room for its value. What they all
    /// share, such as a thread's `Poll`, is too little to be seen.
    fn since(&self, before: &Cost, sockets: usize, value: usize) -> String {
        let descriptors = (self.descriptors - before.descriptors) / sockets + 1;
        let bytes = (self.allocated - before.allocated) / sockets as isize + value as isize;
        let ending = if descriptors == 1 { "" } else { "s" };
        format!("{descriptors} descriptor{ending}, {bytes} B")
    }
}

fn subscription(count: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (sockets, _peers): (Vec<_>, Vec<_>) = (0..count)
        .map(|_| {
            let (near, far) = pair(&listener);
            (TcpSocket::from(near), far)
        })
        .unzip();
    let queue = SocketEventQueue::new().unwrap();
    let before = Cost::now();
    for socket in &sockets {
        queue.subscribe_read(socket).unwrap();
    }
    let now = Cost::now();
    assert_eq!(now.descriptors, before.descriptors);
    let bytes = (now.allocated - before.allocated) / count as isize;
    format!("A subscription in a `SocketEventQueue`: no descriptor, {bytes} B.")
}

/// What a connection under TLS allocates, with its value.
#[cfg(feature = "tls")]
mod under_tls {
    use std::net::{TcpListener, TcpStream};
    use std::{iter, thread};

    use crate::support::counting::allocated;
    use crate::support::peers::tls::{Secured, StdTls, TokioTls, WakesockTls};
    use crate::support::peers::{Peer, pair};
    use crate::support::report::{Report, table};

    /// What is sent each way before it is looked what is kept: little, and several records.
    const SENT: [usize; 2] = [64, 64 * 1024];

    pub(super) fn report(report: &mut Report, connections: usize) {
        let peers = [
            (StdTls::NAME, bytes::<StdTls>(connections)),
            (WakesockTls::NAME, bytes::<WakesockTls>(connections)),
            (TokioTls::NAME, bytes::<TokioTls>(connections)),
        ];

        let head = [
            "one end under TLS, idle",
            "after 64 bytes each way",
            "after 64 KiB each way",
        ];
        let rows = peers.iter().map(|(name, bytes)| {
            let cells = bytes.iter().map(|bytes| format!("{bytes} B"));
            iter::once((*name).to_owned()).chain(cells).collect()
        });
        let rows: Vec<Vec<String>> = iter::once(head.map(str::to_owned).to_vec()).chain(rows).collect();
        report.text(&table(&rows));
        let beyond = iter::zip(&peers[1].1, &peers[0].1).map(|(ours, theirs)| ours - theirs);
        report.number(
            "bytes of an idle connection under TLS beyond those of rustls::StreamOwned",
            beyond.max().map(|bytes| bytes as f64),
            16.0 * 1024.0,
        );
    }

    /// Bytes for each end.
    fn bytes<S: Secured + Send + 'static>(connections: usize) -> [isize; 2] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (near, far): (Vec<_>, Vec<_>) = (0..connections).map(|_| pair(&listener)).unzip();
        let mut ends: Vec<S> = Vec::with_capacity(2 * connections);
        let before = allocated();
        let shake = |streams: Vec<TcpStream>, is_client| {
            thread::spawn(move || {
                let ends: Vec<S> = streams.into_iter().map(|stream| S::shaken(stream, is_client)).collect();
                ends
            })
        };
        for half in [shake(near, true), shake(far, false)] {
            ends.extend(half.join().unwrap());
        }
        SENT.map(|len| {
            let (near, far) = ends.split_at_mut(connections);
            let mut buf = vec![0; len];
            for (near, far) in iter::zip(near, far) {
                near.send(&buf);
                far.fill(&mut buf);
                far.send(&buf);
                near.fill(&mut buf);
            }
            drop(buf);
            let grown = allocated() - before;
            grown / (2 * connections) as isize + size_of::<S>() as isize
        })
    }
}

/// What the process needs for so many connections that have each read a line, and are idle.
fn resident(report: &mut Report, connections: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut near, mut far) = (Vec::with_capacity(connections), Vec::with_capacity(connections));
    let before = resident_bytes();
    for _ in 0..connections {
        let (stream, mut peer) = pair(&listener);
        peer.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        let mut socket = TcpSocket::from(stream);
        assert_eq!(socket.get_line().unwrap().as_deref(), Some("GET / HTTP/1.1"));
        near.push(socket);
        far.push(peer);
    }
    let megabytes = resident_bytes().saturating_sub(before) as f64 / 1e6;
    let connections = thousands(connections);
    report.text(&format!(
        "{connections} connections that have each read a line: {megabytes:.1} MB resident."
    ));
    report.number(
        &format!("MB resident for {connections} connections after a get_line each"),
        Some((megabytes * 10.0).round() / 10.0),
        20.0,
    );
}

/// Of the process: proc_pid_statm(5).
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// As long as a wait in vain takes. The same value for all: it doesn't matter for what a wait leaves behind.
const MOMENT: Duration = Duration::from_micros(1);

fn write_all_there_is_room_for(mut stream: &TcpStream) {
    let error = loop {
        if let Err(error) = stream.write_all(&[0; 4096]) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

impl Growing for TcpStream {
    fn of(stream: TcpStream) -> TcpStream {
        stream.set_read_timeout(Some(MOMENT)).unwrap();
        stream.set_write_timeout(Some(MOMENT)).unwrap();
        stream
    }

    fn wait_read(&mut self) {
        assert_eq!(self.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    }

    fn wait_write(&mut self) {
        write_all_there_is_room_for(self);
    }

    fn read_byte(&mut self) -> u8 {
        let mut byte = [0];
        self.read_exact(&mut byte).unwrap();
        byte[0]
    }
}

/// A connection with a `mio::Poll` for each direction that has waited, as the other benches have it.
struct Watched {
    stream: TcpStream,
    mio: Option<Mio>,
}

impl Growing for Watched {
    fn of(stream: TcpStream) -> Watched {
        stream.set_nonblocking(true).unwrap();
        Watched { stream, mio: None }
    }

    fn wait_read(&mut self) {
        self.mio = Some(Mio::new(self.stream.as_fd()));
    }

    fn wait_write(&mut self) {
        // A poll's first report is that there is room: so the wait is not in vain.
        self.mio.as_mut().unwrap().writable(self.stream.as_fd());
    }

    fn read_byte(&mut self) -> u8 {
        self.mio.as_mut().unwrap().readable(self.stream.as_fd());
        self.stream.read_byte()
    }
}

impl Growing for Async<TcpStream> {
    fn of(stream: TcpStream) -> Async<TcpStream> {
        Async::new(stream).unwrap()
    }

    fn wait_read(&mut self) {
        assert!(block_on(poll_once(self.readable())).is_none());
    }

    fn wait_write(&mut self) {
        write_all_there_is_room_for(self.as_ref());
        assert!(block_on(poll_once(self.writable())).is_none());
    }

    fn read_byte(&mut self) -> u8 {
        let mut byte = [0];
        let read = self.read_with(|mut stream| stream.read_exact(&mut byte));
        async_io::block_on(read).unwrap();
        byte[0]
    }
}

impl Growing for TcpSocket {
    fn of(stream: TcpStream) -> TcpSocket {
        let mut socket = TcpSocket::from(stream);
        socket.timeout(MOMENT);
        socket
    }

    fn wait_read(&mut self) {
        assert!(TcpSocket::wait_read(self).unwrap_err().is_timeout());
    }

    fn wait_write(&mut self) {
        while self.put(&[0; 4096]).is_ok_and(|count| count == 4096) {}
        assert!(self.is_timeout());
    }

    fn read_byte(&mut self) -> u8 {
        self.blocking();
        self.get_byte().unwrap().unwrap()
    }
}

/// This crate with the raw wait that needs no descriptor for a socket, which all of them share.
struct Threaded(TcpSocket);

impl Growing for Threaded {
    fn of(stream: TcpStream) -> Threaded {
        static RAW_WAIT: LazyLock<Arc<ThreadWait>> = LazyLock::new(Arc::default);
        let mut socket = TcpSocket::new();
        socket.set_raw_wait(Arc::<ThreadWait>::clone(&RAW_WAIT));
        socket.attach(stream).unwrap();
        socket.timeout(MOMENT);
        Threaded(socket)
    }

    fn wait_read(&mut self) {
        Growing::wait_read(&mut self.0);
    }

    fn wait_write(&mut self) {
        Growing::wait_write(&mut self.0);
    }

    fn read_byte(&mut self) -> u8 {
        self.0.read_byte()
    }
}
