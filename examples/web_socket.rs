//! WebSockets over [`TcpSocket`], which [tungstenite] takes as it is: a server that echoes, and a client.
//!
//! ```text
//! cargo run --example web_socket -- server [ADDR]
//! cargo run --example web_socket -- client ws://ADDR/ TEXT…
//! ```
//!
//! SIGINT or SIGTERM ends the server, though its threads are inside `WebSocket::read`, waiting for clients that say
//! nothing. Each client is told: what its thread is blocked in is aborted, which loses no byte, and so the library can
//! go on with a close frame where it stood. A second signal ends everything at once.

use std::error::Error as StdError;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{HandshakeError, Message, WebSocket};
use wakesock::{Error, ListenOptions, ShutdownLevel, ShutdownRegistry, SocketHandle, TcpSocket};

/// How long a peer may take for the handshake and, with the client, for each answer.
const LIMIT: Duration = Duration::from_secs(10);

/// How long all of a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

#[derive(Parser)]
#[command(about = "Echoes over WebSockets, until SIGINT or SIGTERM")]
enum Command {
    /// Sends back what clients send
    Server {
        /// Where to listen; port 0 is any free one
        #[arg(default_value = "127.0.0.1:3214")]
        addr: String,
    },
    /// Sends each text and prints its answer
    Client {
        url: String,
        #[arg(value_name = "TEXT")]
        texts: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(&Command::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<(), Box<dyn StdError>> {
    match command {
        Command::Server { addr } => serve(addr),
        Command::Client { url, texts } => ask(url, texts),
    }
}

fn on_signal(level: ShutdownLevel) -> io::Result<()> {
    let registry = ShutdownRegistry::global();
    registry.on_signal(libc::SIGINT, level)?;
    registry.on_signal(libc::SIGTERM, level)
}

fn serve(addr: &str) -> Result<(), Box<dyn StdError>> {
    on_signal(ShutdownLevel::Accepting)?;
    let mut listener = TcpSocket::new();
    listener.listen_on(addr, &ListenOptions::new())?;
    say(&format!("listening on {}", listener.local_addr()?))?;
    thread::scope(|scope| {
        let mut clients: Vec<SocketHandle> = Vec::new();
        for client in listener.incoming() {
            match client {
                Ok(client) => {
                    clients.retain(SocketHandle::is_open);
                    clients.push(client.handle());
                    scope.spawn(|| report(serve_client(client)));
                }
                Err(error) => eprintln!("{error}"),
            }
        }
        clients.iter().for_each(SocketHandle::abort);
    });
    say("stopped")?;
    Ok(())
}

fn report(served: Result<(), tungstenite::Error>) {
    if let Err(error) = served
        && !cause(&error).is_some_and(|cause| cause.is_closed() || matches!(cause, Error::Aborted))
    {
        eprintln!("{error}");
    }
}

fn serve_client(mut client: TcpSocket) -> Result<(), tungstenite::Error> {
    client.timeout(LIMIT);
    let mut socket = tungstenite::accept(client).map_err(failure)?;
    socket.get_mut().blocking();
    match echo(&mut socket) {
        Err(error) if matches!(cause(&error), Some(Error::Aborted)) => {
            socket.get_mut().global_timeout(GOODBYE).clear_abort();
            say_goodbye(&mut socket, CloseCode::Away)
        }
        served => served,
    }
}

/// Sends back what comes, until the client says goodbye.
fn echo(socket: &mut WebSocket<TcpSocket>) -> Result<(), tungstenite::Error> {
    loop {
        match socket.read() {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => socket.send(message)?,
            // The library answers pings.
            Ok(_) => {}
            Err(tungstenite::Error::ConnectionClosed) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn ask(url: &str, texts: &[String]) -> Result<(), Box<dyn StdError>> {
    on_signal(ShutdownLevel::All)?;
    let request = url.into_client_request()?;
    let host = request.uri().host().unwrap_or_default().trim_matches(['[', ']']);
    let port = request.uri().port_u16().unwrap_or(80);
    let mut socket = TcpSocket::new();
    socket.timeout(LIMIT).connect(host, port)?;
    let (mut socket, _) = tungstenite::client(request, socket).map_err(failure)?;
    for text in texts {
        socket.send(Message::text(text))?;
        say(socket.read()?.to_text()?)?;
    }
    socket.get_mut().global_timeout(GOODBYE);
    say_goodbye(&mut socket, CloseCode::Normal)?;
    Ok(())
}

/// Sends a close frame and waits for the answer, past what the peer had sent before.
fn say_goodbye(socket: &mut WebSocket<TcpSocket>, code: CloseCode) -> Result<(), tungstenite::Error> {
    let reason = "".into();
    socket.close(Some(CloseFrame { code, reason }))?;
    loop {
        match socket.read() {
            Ok(_) => {}
            Err(tungstenite::Error::ConnectionClosed) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Why a handshake failed. It is never cut short for later, since the socket blocks.
fn failure<R: tungstenite::handshake::HandshakeRole>(error: HandshakeError<R>) -> tungstenite::Error {
    match error {
        HandshakeError::Failure(error) => error,
        HandshakeError::Interrupted(_) => io::Error::from(io::ErrorKind::WouldBlock).into(),
    }
}

/// What the socket said, if it was the socket that made an operation fail.
fn cause(error: &tungstenite::Error) -> Option<&Error> {
    match error {
        tungstenite::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
