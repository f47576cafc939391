//! WebSockets, driven in several ways: each has both ends of a connection.
//!
//! Of those that this crate is compared with, only `yawc` has permessage-deflate: tungstenite, tokio-tungstenite and
//! fastwebsockets don't.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use fastwebsockets::{FragmentCollector, Frame, Payload};
use futures_lite::StreamExt;
use futures_util::SinkExt;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tungstenite::protocol::Role;
use wakesock::{Message, TcpSocket, Upgrade, WebSocket};
use yawc::{CompressionLevel, Options};

use super::LIMIT;
use super::peers::{Epoll, Peer, Waiting};

/// One end of a WebSocket.
pub trait Talker: Sized {
    const NAME: &str;

    /// A message, as it is sent with the least work.
    type Message;

    fn connect(addr: SocketAddr) -> Self;

    fn accept(listener: &TcpListener) -> Self;

    fn text(text: &str) -> Self::Message;

    fn binary(data: &[u8]) -> Self::Message;

    fn send(&mut self, message: &Self::Message);

    /// Receives a whole message: how long it is.
    fn receive(&mut self) -> usize;
}

/// The connection of a client, with what everybody's sockets have.
pub fn dial(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// The connection of a server.
pub fn pick_up(listener: &TcpListener) -> TcpStream {
    let stream = listener.accept().unwrap().0;
    stream.set_nodelay(true).unwrap();
    stream
}

/// Those whose handshake was made elsewhere.
macro_rules! upgraded {
    () => {
        fn connect(addr: SocketAddr) -> Self {
            Self::of(dial(addr), Role::Client)
        }

        fn accept(listener: &TcpListener) -> Self {
            Self::of(pick_up(listener), Role::Server)
        }
    };
}

/// `tungstenite` over a stream that blocks.
pub struct TungsteniteOver<S>(tungstenite::WebSocket<S>);

/// Over a socket of the standard library, which nothing can interrupt.
pub type Tungstenite = TungsteniteOver<TcpStream>;
/// Over one that could be interrupted, by the fewest system calls that there are for that.
pub type EpollTungstenite = TungsteniteOver<Waiting<Epoll>>;

/// What blocks below `tungstenite`.
pub trait Stream: Read + Write {
    const NAME: &str;

    fn of(stream: TcpStream) -> Self;
}

impl Stream for TcpStream {
    const NAME: &str = "tungstenite over std::net";

    fn of(stream: TcpStream) -> TcpStream {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }
}

impl Stream for Waiting<Epoll> {
    const NAME: &str = "tungstenite over epoll_wait";

    fn of(stream: TcpStream) -> Waiting<Epoll> {
        Peer::of(stream)
    }
}

impl<S: Stream> TungsteniteOver<S> {
    fn of(stream: TcpStream, role: Role) -> TungsteniteOver<S> {
        TungsteniteOver(tungstenite::WebSocket::from_raw_socket(S::of(stream), role, None))
    }
}

impl<S: Stream> Talker for TungsteniteOver<S> {
    const NAME: &str = S::NAME;

    type Message = tungstenite::Message;

    upgraded!();

    fn text(text: &str) -> tungstenite::Message {
        tungstenite::Message::text(text)
    }

    fn binary(data: &[u8]) -> tungstenite::Message {
        tungstenite::Message::binary(data.to_vec())
    }

    fn send(&mut self, message: &tungstenite::Message) {
        self.0.send(message.clone()).unwrap();
    }

    fn receive(&mut self) -> usize {
        self.0.read().unwrap().len()
    }
}

/// This crate.
pub struct Wakesock(WebSocket);

impl Wakesock {
    pub fn of(stream: TcpStream, role: Role) -> Wakesock {
        let role = match role {
            Role::Client => wakesock::Role::Client,
            Role::Server => wakesock::Role::Server,
        };
        let mut socket = WebSocket::from_upgraded(TcpSocket::from(stream), role);
        socket.timeout(LIMIT);
        Wakesock(socket)
    }
}

impl Talker for Wakesock {
    const NAME: &str = "wakesock";

    type Message = Message;

    upgraded!();

    fn text(text: &str) -> Message {
        text.into()
    }

    fn binary(data: &[u8]) -> Message {
        data.into()
    }

    fn send(&mut self, message: &Message) {
        match message {
            Message::Text(text) => self.0.send_text(text).unwrap(),
            Message::Binary(data) => self.0.send_binary(data).unwrap(),
        }
    }

    fn receive(&mut self) -> usize {
        self.0.receive().unwrap().unwrap().as_bytes().len()
    }
}

/// This crate, with permessage-deflate.
pub struct WakesockDeflate(Wakesock);

impl Talker for WakesockDeflate {
    const NAME: &str = "wakesock, deflate";

    type Message = Message;

    fn connect(addr: SocketAddr) -> WakesockDeflate {
        let mut socket = WebSocket::new();
        socket.timeout(LIMIT).deflate(true);
        socket.connect(&format!("ws://{addr}/")).unwrap();
        socket.no_delay().unwrap();
        WakesockDeflate(Wakesock(socket))
    }

    fn accept(listener: &TcpListener) -> WakesockDeflate {
        let mut upgrade = Upgrade::read(TcpSocket::from(pick_up(listener))).unwrap();
        upgrade.deflate(true);
        let mut socket = upgrade.accept().unwrap();
        socket.timeout(LIMIT);
        WakesockDeflate(Wakesock(socket))
    }

    fn text(text: &str) -> Message {
        Wakesock::text(text)
    }

    fn binary(data: &[u8]) -> Message {
        Wakesock::binary(data)
    }

    fn send(&mut self, message: &Message) {
        self.0.send(message);
    }

    fn receive(&mut self) -> usize {
        self.0.receive()
    }
}

thread_local! {
    /// What the thread's own ends run on.
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().unwrap();
}

fn block_on<F: Future>(future: F) -> F::Output {
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// Waits no longer than all others.
async fn limited<F: Future>(future: F) -> F::Output {
    timeout(LIMIT, future).await.unwrap()
}

fn of_tokio(stream: TcpStream) -> tokio::net::TcpStream {
    stream.set_nonblocking(true).unwrap();
    let _context = RUNTIME.with(|runtime| runtime.handle().clone());
    let _entered = _context.enter();
    tokio::net::TcpStream::from_std(stream).unwrap()
}

/// `tokio-tungstenite`, on a runtime of the thread that uses it.
pub struct TokioTungstenite(WebSocketStream<tokio::net::TcpStream>);

impl TokioTungstenite {
    fn of(stream: TcpStream, role: Role) -> TokioTungstenite {
        let stream = of_tokio(stream);
        TokioTungstenite(block_on(WebSocketStream::from_raw_socket(stream, role, None)))
    }
}

impl Talker for TokioTungstenite {
    const NAME: &str = "tokio-tungstenite, block_on";

    type Message = tungstenite::Message;

    upgraded!();

    fn text(text: &str) -> tungstenite::Message {
        Tungstenite::text(text)
    }

    fn binary(data: &[u8]) -> tungstenite::Message {
        Tungstenite::binary(data)
    }

    fn send(&mut self, message: &tungstenite::Message) {
        block_on(self.0.send(message.clone())).unwrap();
    }

    fn receive(&mut self) -> usize {
        block_on(limited(self.0.next())).unwrap().unwrap().len()
    }
}

/// `fastwebsockets`, on a runtime of the thread that uses it.
pub struct Fastwebsockets(FragmentCollector<tokio::net::TcpStream>);

impl Fastwebsockets {
    fn of(stream: TcpStream, role: Role) -> Fastwebsockets {
        let role = match role {
            Role::Client => fastwebsockets::Role::Client,
            Role::Server => fastwebsockets::Role::Server,
        };
        let socket = fastwebsockets::WebSocket::after_handshake(of_tokio(stream), role);
        Fastwebsockets(FragmentCollector::new(socket))
    }
}

impl Talker for Fastwebsockets {
    const NAME: &str = "fastwebsockets, block_on";

    /// Whether it is text, and its bytes.
    type Message = (bool, Vec<u8>);

    upgraded!();

    fn text(text: &str) -> (bool, Vec<u8>) {
        (true, text.as_bytes().to_vec())
    }

    fn binary(data: &[u8]) -> (bool, Vec<u8>) {
        (false, data.to_vec())
    }

    fn send(&mut self, (is_text, data): &(bool, Vec<u8>)) {
        let payload = Payload::Borrowed(data);
        let frame = match is_text {
            true => Frame::text(payload),
            false => Frame::binary(payload),
        };
        block_on(self.0.write_frame(frame)).unwrap();
    }

    fn receive(&mut self) -> usize {
        block_on(limited(self.0.read_frame())).unwrap().payload.len()
    }
}

/// `yawc` with permessage-deflate, on a runtime of the thread that uses it.
pub struct YawcDeflate(yawc::WebSocket<tokio::net::TcpStream>);

impl YawcDeflate {
    fn of(stream: TcpStream, role: Role) -> YawcDeflate {
        let role = match role {
            Role::Client => yawc::Role::Client,
            Role::Server => yawc::Role::Server,
        };
        let most = 64 << 20;
        // As this crate compresses.
        let options = Options::default()
            .with_limits(most, most)
            .with_compression_level(CompressionLevel::fast())
            .with_utf8();
        let stream = of_tokio(stream);
        let agreed = Some("permessage-deflate");
        YawcDeflate(yawc::WebSocket::from_stream_with_extensions(stream, role, agreed, options).unwrap())
    }
}

impl Talker for YawcDeflate {
    const NAME: &str = "yawc, deflate, block_on";

    type Message = yawc::Frame;

    upgraded!();

    fn text(text: &str) -> yawc::Frame {
        yawc::Frame::text(text.to_owned())
    }

    fn binary(data: &[u8]) -> yawc::Frame {
        yawc::Frame::binary(data.to_vec())
    }

    fn send(&mut self, message: &yawc::Frame) {
        block_on(self.0.send(message.clone())).unwrap();
    }

    fn receive(&mut self) -> usize {
        block_on(limited(self.0.next_frame())).unwrap().payload().len()
    }
}
