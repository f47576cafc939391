//! Many WebSockets: what an idle one costs in memory that the program allocates, and what a server on one thread with ten
//! thousand of them takes of the processor for a message, when a few talk.

mod support;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Barrier;
use std::time::Duration;
use std::{iter, thread};

use fastwebsockets::FragmentCollector;
use futures_lite::StreamExt;
use futures_util::SinkExt;
use socket2::SockRef;
use support::counting::{Counting, allocated};
use support::report::{Contestant, Report, table, thousands};
use support::web_sockets::{
    Fastwebsockets, Talker, TokioTungstenite, Tungstenite, Wakesock, WakesockDeflate, YawcDeflate, dial, pick_up,
};
use support::{count, each, machine};
use tokio::task::LocalSet;
use tokio_tungstenite::WebSocketStream;
use tungstenite::protocol::Role;
use wakesock::{SocketEvent, SocketEventQueue, SocketId, TcpSocket, WebSocket};

#[global_allocator]
static COUNTING: Counting = Counting;

/// What a message has that was sent each way before.
const MESSAGE: usize = 64;

/// How many of the many talk.
const TALKING: usize = 10;

fn main() {
    let descriptors = machine::raise_descriptor_limit();
    let mut report = Report::new("web_socket_crowd");
    idle(&mut report, count(500, 20));
    let crowd = count(10_000, 100).min(descriptors / 2 - 100);
    report.text(&format!(
        "{} WebSockets in one `SocketEventQueue`, with the table that the server has of them, after {MESSAGE} bytes each way: \
         {} B each.",
        thousands(crowd),
        thousands(crowd_memory(crowd)),
    ));
    machine::use_one_processor();
    let answer = report.compare_in(
        count(7, 1),
        "a server's processor time for a message of 64 bytes, of 10 WebSockets among others that are idle",
        "WebSockets",
        &[TALKING, crowd],
        |crowd| {
            vec![
                one::<Mio>(crowd),
                one::<Queue>(crowd),
                one::<TokioTungsteniteTasks>(crowd),
                one::<FastwebsocketsTasks>(crowd),
            ]
        },
    );
    report.figure(
        "queue server's processor time, 10 WebSockets of 10,000",
        Mio::NAME,
        answer.ratio_to(Queue::NAME, Mio::NAME, crowd),
        1.0,
    );
    report.finish();
}

fn idle(report: &mut Report, pairs: usize) {
    let rows = [
        (Tungstenite::NAME, bytes::<Tungstenite>(pairs)),
        (Wakesock::NAME, bytes::<Wakesock>(pairs)),
        (TokioTungstenite::NAME, bytes::<TokioTungstenite>(pairs)),
        (Fastwebsockets::NAME, bytes::<Fastwebsockets>(pairs)),
        (WakesockDeflate::NAME, bytes::<WakesockDeflate>(pairs)),
        (YawcDeflate::NAME, bytes::<YawcDeflate>(pairs)),
    ];
    let head = vec![
        "one end of a WebSocket, idle".to_owned(),
        format!("after {MESSAGE} bytes each way"),
    ];
    let lines = rows
        .iter()
        .map(|(name, bytes)| vec![(*name).to_owned(), format!("{} B", thousands(*bytes))]);
    report.text(&table(&iter::once(head).chain(lines).collect::<Vec<_>>()));
    report.number("bytes of an idle WebSocket, all in all", Some(rows[1].1 as f64), 1536.0);
}

/// Bytes of each end, with its value.
fn bytes<T: Talker>(pairs: usize) -> usize {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    // Each side makes all of its ends, sends, and looks when all have received.
    let (made, both) = (Barrier::new(2), Barrier::new(2));
    let before = allocated();
    let side = |is_client: bool| {
        let mut ends: Vec<T> = Vec::with_capacity(pairs);
        ends.extend((0..pairs).map(|_| match is_client {
            true => T::connect(addr),
            false => T::accept(&listener),
        }));
        made.wait();
        let message = T::binary(&[b'x'; MESSAGE]);
        for end in &mut ends {
            end.send(&message);
        }
        for end in &mut ends {
            assert_eq!(end.receive(), MESSAGE);
        }
        both.wait();
        let now = allocated();
        both.wait();
        now
    };
    let now = thread::scope(|scope| {
        let client = scope.spawn(|| side(true));
        side(false);
        client.join().unwrap()
    });
    (now - before) as usize / (2 * pairs)
}

/// Bytes of each WebSocket in a queue that has answered a message.
fn crowd_memory(crowd: usize) -> usize {
    let (near, far) = pairs(crowd);
    let before = allocated();
    let mut queue = Queue::watch(far);
    for mut stream in &near {
        stream.write_all(&FRAME).unwrap();
    }
    let mut answered = 0;
    while answered < crowd {
        queue.answer(|| answered += 1);
    }
    queue.events = Vec::new();
    (allocated() - before) as usize / crowd
}

/// Connections, of which nothing is left when the first of the two ends is closed.
fn pairs(count: usize) -> (Vec<TcpStream>, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    (0..count)
        .map(|_| {
            let near = dial(addr);
            SockRef::from(&near).set_linger(Some(Duration::ZERO)).unwrap();
            (near, pick_up(&listener))
        })
        .unzip()
}

/// A client's message of bytes. Its mask is of zeros.
const FRAME: [u8; 6 + MESSAGE] = {
    let mut frame = [b'x'; 6 + MESSAGE];
    frame[0] = 0x82;
    frame[1] = 0x80 | MESSAGE as u8;
    let mut at = 2;
    while at < 6 {
        frame[at] = 0;
        at += 1;
    }
    frame
};

/// A way to serve many WebSockets on one thread.
trait Server {
    const NAME: &str;

    /// Answers what comes with the same, until the meter says that all is answered.
    fn serve(clients: Vec<TcpStream>, meter: Meter) -> Duration;
}

/// What a thread takes of the processor, from the end of a first turn of all that talk on.
struct Meter {
    /// So many messages are answered after that.
    messages: usize,
    answered: usize,
    begin: Duration,
    took: Option<Duration>,
}

impl Meter {
    fn note_answered(&mut self) {
        self.answered += 1;
        if self.answered == TALKING {
            self.begin = machine::thread_time();
        }
        if self.answered == TALKING + self.messages {
            self.took = Some(machine::thread_time() - self.begin);
        }
    }
}

fn one<S: Server>(crowd: usize) -> Contestant<'static> {
    (S::NAME, Box::new(move || time::<S>(crowd, count(500, 5))))
}

/// Of one message, of those that a server answers which is asked so many times by each of those that talk.
fn time<S: Server>(crowd: usize, times: usize) -> Duration {
    let (near, far) = pairs(crowd);
    let messages = times * TALKING;
    let server = thread::spawn(move || {
        let meter = Meter {
            messages,
            answered: 0,
            begin: Duration::ZERO,
            took: None,
        };
        S::serve(far, meter)
    });
    let mut answer = [0; 2 + MESSAGE];
    for _ in 0..=times {
        for mut stream in &near[..TALKING] {
            stream.write_all(&FRAME).unwrap();
        }
        for mut stream in &near[..TALKING] {
            stream.read_exact(&mut answer).unwrap();
        }
    }
    each(server.join().unwrap(), messages)
}

/// This crate's queue.
struct Queue {
    queue: SocketEventQueue,
    clients: HashMap<SocketId, WebSocket>,
    events: Vec<SocketEvent<SocketId>>,
}

impl Queue {
    fn watch(clients: Vec<TcpStream>) -> Queue {
        let queue = SocketEventQueue::new().unwrap();
        let clients = clients.into_iter().map(|stream| {
            let mut client = WebSocket::from_upgraded(TcpSocket::from(stream), wakesock::Role::Server);
            client.timeout(Duration::ZERO);
            queue.subscribe_read(&client).unwrap();
            (client.id(), client)
        });
        Queue {
            clients: clients.collect(),
            queue,
            events: Vec::new(),
        }
    }

    fn answer(&mut self, mut answered: impl FnMut()) {
        self.queue.wait_into(&mut self.events, None).unwrap();
        for event in &self.events {
            let client = self.clients.get_mut(event.token()).unwrap();
            match client.receive() {
                Ok(message) => {
                    client.send(message.expect("nobody closes")).unwrap();
                    answered();
                }
                Err(error) => assert!(error.is_timeout(), "{error}"),
            }
        }
    }
}

impl Server for Queue {
    const NAME: &str = "SocketEventQueue";

    fn serve(clients: Vec<TcpStream>, mut meter: Meter) -> Duration {
        let mut queue = Queue::watch(clients);
        loop {
            queue.answer(|| meter.note_answered());
            if let Some(took) = meter.took {
                return took;
            }
        }
    }
}

/// `tungstenite` over mio, edge-triggered: reads until there is no more.
struct Mio;

impl Server for Mio {
    const NAME: &str = "tungstenite over mio";

    fn serve(clients: Vec<TcpStream>, mut meter: Meter) -> Duration {
        let mut poll = mio::Poll::new().unwrap();
        let clients = clients.into_iter().enumerate().map(|(number, stream)| {
            stream.set_nonblocking(true).unwrap();
            let mut stream = mio::net::TcpStream::from_std(stream);
            let token = mio::Token(number);
            poll.registry()
                .register(&mut stream, token, mio::Interest::READABLE)
                .unwrap();
            let client = tungstenite::WebSocket::from_raw_socket(stream, Role::Server, None);
            (token, client)
        });
        let mut clients: HashMap<_, _> = clients.collect();
        let mut events = mio::Events::with_capacity(1024);
        loop {
            poll.poll(&mut events, None).unwrap();
            for event in &events {
                let client = clients.get_mut(&event.token()).unwrap();
                loop {
                    match client.read() {
                        Ok(message) => {
                            client.send(message).unwrap();
                            meter.note_answered();
                        }
                        Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            if let Some(took) = meter.took {
                return took;
            }
        }
    }
}

/// Runs a task for each client, until those that talk have been answered.
fn run_tasks<F: Future<Output = ()> + 'static>(
    clients: Vec<TcpStream>,
    meter: Meter,
    task: impl Fn(tokio::net::TcpStream, Answered) -> F,
) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let meter = Rc::new(RefCell::new(meter));
    let messages = meter.borrow().messages / TALKING + 1;
    LocalSet::new().block_on(&runtime, async {
        let tasks: Vec<_> = clients
            .into_iter()
            .map(|stream| {
                stream.set_nonblocking(true).unwrap();
                let stream = tokio::net::TcpStream::from_std(stream).unwrap();
                let answered = Answered {
                    left: messages,
                    meter: Rc::clone(&meter),
                };
                tokio::task::spawn_local(task(stream, answered))
            })
            .collect();
        for task in tasks.into_iter().take(TALKING) {
            task.await.unwrap();
        }
    });
    meter.borrow().took.expect("all are answered")
}

/// What a task tells of its messages.
struct Answered {
    left: usize,
    meter: Rc<RefCell<Meter>>,
}

impl Answered {
    /// False after the last one.
    fn note(&mut self) -> bool {
        self.meter.borrow_mut().note_answered();
        self.left -= 1;
        self.left > 0
    }
}

struct TokioTungsteniteTasks;

impl Server for TokioTungsteniteTasks {
    const NAME: &str = "tokio-tungstenite, tasks on one thread";

    fn serve(clients: Vec<TcpStream>, meter: Meter) -> Duration {
        run_tasks(clients, meter, |stream, mut answered| async move {
            let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
            while let Some(Ok(message)) = socket.next().await {
                socket.send(message).await.unwrap();
                if !answered.note() {
                    return;
                }
            }
        })
    }
}

struct FastwebsocketsTasks;

impl Server for FastwebsocketsTasks {
    const NAME: &str = "fastwebsockets, tasks on one thread";

    fn serve(clients: Vec<TcpStream>, meter: Meter) -> Duration {
        run_tasks(clients, meter, |stream, mut answered| async move {
            let socket = fastwebsockets::WebSocket::after_handshake(stream, fastwebsockets::Role::Server);
            let mut socket = FragmentCollector::new(socket);
            while let Ok(frame) = socket.read_frame().await {
                socket.write_frame(frame).await.unwrap();
                if !answered.note() {
                    return;
                }
            }
        })
    }
}
