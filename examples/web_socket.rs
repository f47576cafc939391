//! WebSockets over [`TcpSocket`], which [tungstenite] takes as it is: a server that echoes, and a client.
//!
//! ```text
//! cargo run --example web_socket -- server [ADDR]
//! cargo run --example web_socket -- client ws://ADDR/ TEXT…
//! ```
//!
//! SIGINT or SIGTERM ends both at once, though the server's threads are inside `WebSocket::read`, waiting for clients
//! that say nothing.

use std::error::Error as StdError;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use tungstenite::client::IntoClientRequest;
use tungstenite::{HandshakeError, Message};
use wakesock::{ListenOptions, ShutdownLevel, ShutdownRegistry, TcpSocket};

/// How long a peer may take for the handshake and, with the client, for each answer.
const LIMIT: Duration = Duration::from_secs(10);

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
    for signal in [libc::SIGINT, libc::SIGTERM] {
        ShutdownRegistry::global().on_signal(signal, ShutdownLevel::All)?;
    }
    match command {
        Command::Server { addr } => serve(addr),
        Command::Client { url, texts } => ask(url, texts),
    }
}

fn serve(addr: &str) -> Result<(), Box<dyn StdError>> {
    let mut listener = TcpSocket::new();
    listener.listen_on(addr, &ListenOptions::new())?;
    say(&format!("listening on {}", listener.local_addr()?))?;
    thread::scope(|scope| {
        for client in listener.incoming() {
            scope.spawn(|| {
                let served = client.map_err(|error| io::Error::from(error).into()).and_then(echo);
                if let Err(error) = served
                    && !is_ended_by_us(&error)
                {
                    eprintln!("{error}");
                }
            });
        }
    });
    say("stopped")?;
    Ok(())
}

fn echo(mut client: TcpSocket) -> Result<(), tungstenite::Error> {
    client.timeout(LIMIT);
    let mut socket = tungstenite::accept(client).map_err(failure)?;
    socket.get_mut().blocking();
    loop {
        match socket.read() {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => socket.send(message)?,
            // Pings and closes are answered by the library.
            Ok(_) => {}
            Err(tungstenite::Error::ConnectionClosed) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn ask(url: &str, texts: &[String]) -> Result<(), Box<dyn StdError>> {
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
    socket.close(None)?;
    loop {
        match socket.read() {
            Ok(_) => {}
            Err(tungstenite::Error::ConnectionClosed) => return Ok(()),
            Err(error) => return Err(error.into()),
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

fn is_ended_by_us(error: &tungstenite::Error) -> bool {
    let tungstenite::Error::Io(error) = error else {
        return false;
    };
    let source = error
        .get_ref()
        .and_then(|source| source.downcast_ref::<wakesock::Error>());
    source.is_some_and(wakesock::Error::is_closed)
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
