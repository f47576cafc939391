//! U++'s `reference/AsyncWebSocket`: a server with all its WebSockets in one `SocketWaitEvent`, and clients that block, each on
//! a thread of its own.
//!
//! ```text
//! cargo run --example async_web_socket --features websocket -- [ADDR] [--clients N]
//! ```
//!
//! A request is a number, its answer the square root; a client sends some, with pauses, then leaves, and comes again.
//!
//! What the port gains: each of two requests that came together is answered, as the second one is reported, too. Who is slow to
//! ask for a WebSocket, or doesn't read its answers, holds up nobody, and is not read from any more. And Ctrl-C ends it: each
//! client is told that the server goes away. For thousands of clients, the `web_socket_chat` example is the better start.

mod support;

use std::error::Error as StdError;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use wakesock::{
    AsTcpSocket, Error, ListenOptions, Message, ShutdownLevel, ShutdownRegistry, SocketWaitEvent, TcpSocket, Upgrade,
    WAIT_READ, WaitEvents, WebSocket,
};

use self::support::{exit_code, raise_descriptor_limit, report, say};

/// How long a client waits for the connection, and for each answer.
const LIMIT: Duration = Duration::from_secs(10);

#[derive(Parser)]
#[command(about = "Answers numbers with their square roots, over WebSockets, and asks itself, until SIGINT or SIGTERM")]
struct Options {
    /// Where to listen; port 0 is any free one
    #[arg(default_value = "127.0.0.1:3214")]
    addr: String,
    /// How many clients there are in this program
    #[arg(long, value_name = "N", default_value = "3")]
    clients: usize,
}

fn main() -> ExitCode {
    exit_code(run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), Box<dyn StdError>> {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        ShutdownRegistry::global().on_signal(signal, ShutdownLevel::Accepting)?;
    }
    raise_descriptor_limit()?;
    let mut server = TcpSocket::new();
    server.timeout(Duration::ZERO);
    server.listen_on(&*options.addr, &ListenOptions::new())?;
    let addr = server.local_addr()?;
    say(&format!("listening on {addr}"))?;
    let served = thread::scope(|scope| {
        for _ in 0..options.clients {
            scope.spawn(|| ask_again_and_again(&format!("ws://{addr}/")));
        }
        let served = serve(server);
        // However it ended, nobody is to ask any more.
        ShutdownRegistry::global().stop_accepting();
        served
    });
    match served {
        Err(error) if !error.is_closed() => Err(error.into()),
        _ => Ok(say("stopped")?),
    }
}

fn serve(server: TcpSocket) -> Result<(), Error> {
    let mut workers: Vec<Worker> = Vec::new();
    while !ShutdownRegistry::global().is_stopping() {
        let mut waiting = SocketWaitEvent::new();
        waiting.add(&server, WAIT_READ);
        for worker in &workers {
            waiting.add(worker, worker.wait_events());
        }
        waiting.wait(None)?;

        // From the last to the first, so that those that go, or go to the end, leave the indices of the others alone.
        for index in (0..workers.len()).rev() {
            if !waiting[index + 1].is_empty() {
                match workers.swap_remove(index).go_on() {
                    Ok(worker) => workers.extend(worker),
                    Err(error) => report(&error),
                }
            }
        }
        if waiting[0].contains(WAIT_READ) {
            match server.accept_new().and_then(without_waiting) {
                Ok(socket) => workers.push(Worker::Asking(socket)),
                Err(Error::Timeout) => {}
                // If there are no descriptors left, the listener is held back for a while.
                Err(error) => report(&error),
            }
        }
    }
    workers.into_iter().for_each(Worker::say_goodbye);
    Ok(())
}

/// Makes the operations of a client's socket return at once.
fn without_waiting(mut socket: TcpSocket) -> Result<TcpSocket, Error> {
    socket.timeout(Duration::ZERO);
    // An answer is not to wait until the one before is acknowledged.
    socket.no_delay()?;
    Ok(socket)
}

/// What the server has of a client.
#[allow(clippy::large_enum_variant, reason = "nearly all are of the large one")]
enum Worker {
    /// Its request for a WebSocket is still to come, or the rest of it.
    Asking(TcpSocket),
    Talking(WebSocket),
}

impl Worker {
    /// What has to happen before it can go on.
    fn wait_events(&self) -> WaitEvents {
        match self {
            Worker::Asking(_) => WaitEvents::READ,
            // Who doesn't read its answers is not asked for more requests.
            Worker::Talking(socket) if socket.unsent() > 0 => socket.wants(),
            Worker::Talking(_) => WaitEvents::READ,
        }
    }

    /// Makes a step that doesn't block. None at its end.
    fn go_on(self) -> Result<Option<Worker>, Error> {
        match self {
            Worker::Asking(mut socket) => match Upgrade::wait_head(&mut socket) {
                Ok(()) => {
                    let mut socket = Upgrade::read(socket)?.accept()?;
                    socket.max_message(100).close_limit(Duration::ZERO);
                    Ok(Some(Worker::Talking(socket)))
                }
                Err(Error::Timeout) => Ok(Some(Worker::Asking(socket))),
                Err(error) => Err(error),
            },
            Worker::Talking(mut socket) => match serve_one(&mut socket) {
                Ok(false) => Ok(None),
                Ok(true) | Err(Error::Timeout) => Ok(Some(Worker::Talking(socket))),
                Err(error) => Err(error),
            },
        }
    }

    fn say_goodbye(self) {
        if let Worker::Talking(mut socket) = self {
            // Nobody waits for its answer.
            let _ = socket.close(1001, "");
        }
    }
}

impl AsTcpSocket for Worker {
    fn as_tcp_socket(&self) -> &TcpSocket {
        match self {
            Worker::Asking(socket) => socket,
            Worker::Talking(socket) => socket.as_tcp_socket(),
        }
    }
}

/// Answers a request, if there is one, and no answer before it is unsent. False at the client's end.
fn serve_one(socket: &mut WebSocket) -> Result<bool, Error> {
    socket.flush()?;
    let Some(request) = socket.receive()? else {
        return Ok(false);
    };
    socket.send(answer(&request))?;
    Ok(true)
}

fn answer(request: &Message) -> String {
    match request.as_text().and_then(|text| text.trim().parse::<f64>().ok()) {
        Some(number) => number.sqrt().to_string(),
        None => "error: not a number".to_owned(),
    }
}

/// A client that comes again when it has had its answers, until the program is to stop.
fn ask_again_and_again(url: &str) {
    while !pause() {
        if let Err(error) = ask(url)
            && !ShutdownRegistry::global().is_stopping()
        {
            report(&error);
        }
    }
}

fn ask(url: &str) -> Result<(), Error> {
    let mut socket = WebSocket::new();
    socket.timeout(LIMIT);
    socket.connect(url)?;
    for _ in 0..fastrand::usize(1..20) {
        let request = fastrand::u32(..).to_string();
        socket.send_text(&request)?;
        let Some(reply) = socket.receive()? else {
            return Ok(());
        };
        let reply = reply.as_text().unwrap_or_default();
        // Where nobody reads what is said, that is no matter.
        let _ = say(&format!("{request} -> {reply}"));
        if pause() {
            break;
        }
    }
    socket.close(1000, "")
}

/// Waits a little. True if the program is to stop meanwhile.
fn pause() -> bool {
    let limit = Duration::from_millis(fastrand::u64(..1000));
    ShutdownRegistry::global().wait_stop(limit)
}
