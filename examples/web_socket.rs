//! A WebSocket server that echoes, and clients: the port of U++'s `reference/WebSocket`.
//!
//! ```text
//! cargo run --example web_socket --features websocket-deflate,tls-ring -- server [ADDR]
//! cargo run --example web_socket --features websocket-deflate,tls-ring -- client ws://ADDR/ TEXT…
//! ```
//!
//! SIGINT or SIGTERM ends the server, though its threads are inside `wait_message`, waiting for clients that say nothing: each
//! client is told that the server goes away. One in the middle of a message is answered first. A second signal ends everything
//! at once.
//!
//! `echo URL` is a client that sends back what comes, as suites that test clients want it.

use std::error::Error as StdError;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{Args, Parser};
use wakesock::{Error, ListenOptions, Message, ShutdownLevel, ShutdownRegistry, TcpSocket, Upgrade, WebSocket};

/// How long a peer may take for the handshake and, with the client, for each answer.
const LIMIT: Duration = Duration::from_secs(10);

/// How long all of a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// How long clients that are in the middle of something may take once the server is told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// How many clients there may be at once.
const MOST: usize = 1000;

#[derive(Parser)]
#[command(about = "Echoes over WebSockets, until SIGINT or SIGTERM")]
enum Command {
    /// Sends back what clients send
    Server {
        /// Where to listen; port 0 is any free one
        #[arg(default_value = "127.0.0.1:3214")]
        addr: String,
        #[command(flatten)]
        tls: ServerTls,
    },
    /// Sends each text and prints its answer
    Client {
        url: String,
        #[arg(value_name = "TEXT")]
        texts: Vec<String>,
        #[command(flatten)]
        options: ClientOptions,
    },
    /// Sends back what the server sends, until that closes
    Echo {
        url: String,
        #[command(flatten)]
        options: ClientOptions,
    },
}

/// For `wss://`.
#[derive(Args)]
struct ServerTls {
    /// A certificate and those that vouch for it, in PEM: with it, the server speaks TLS
    #[arg(long, value_name = "FILE", requires = "key")]
    chain: Option<PathBuf>,
    /// The certificate's key, in PEM
    #[arg(long, value_name = "FILE", requires = "chain")]
    key: Option<PathBuf>,
}

#[derive(Args)]
struct ClientOptions {
    /// Whom to trust, in PEM, in place of whom the system trusts
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Offers to compress messages (permessage-deflate)
    #[arg(long)]
    deflate: bool,
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
        Command::Server { addr, tls } => serve(addr, tls),
        Command::Client { url, texts, options } => ask(url, texts, options),
        Command::Echo { url, options } => echo_back(url, options),
    }
}

fn on_signal(level: ShutdownLevel) -> io::Result<()> {
    let registry = ShutdownRegistry::global();
    registry.on_signal(libc::SIGINT, level)?;
    registry.on_signal(libc::SIGTERM, level)
}

fn serve(addr: &str, tls: &ServerTls) -> Result<(), Box<dyn StdError>> {
    on_signal(ShutdownLevel::Accepting)?;
    let tls = tls::for_server(tls)?;
    let mut listener = TcpSocket::new();
    listener.listen_on(addr, &ListenOptions::new())?;
    say(&format!("listening on {}", listener.local_addr()?))?;
    thread::scope(|scope| {
        scope.spawn(|| {
            let registry = ShutdownRegistry::global();
            registry.wait_stop(None);
            registry.drain(GRACE);
        });
        listener.serve(MOST, |client| {
            if let Err(error) = serve_client(client, &tls)
                && !error.is_closed()
            {
                eprintln!("{error}");
            }
        });
    });
    say("stopped")?;
    Ok(())
}

fn serve_client(mut client: TcpSocket, tls: &tls::Server) -> Result<(), Error> {
    client.timeout(LIMIT);
    if !client.wait_request()? {
        return Ok(());
    }
    tls::start(&mut client, tls)?;
    let mut upgrade = Upgrade::read(client)?;
    deflate::accept(&mut upgrade);
    let mut socket = upgrade.accept()?;
    socket.blocking().close_limit(GOODBYE);
    while socket.wait_message()? {
        if let Some(message) = socket.receive()? {
            socket.send(message)?;
        }
    }
    // Where the client has closed, this changes nothing.
    socket.close(1001, "")
}

fn connect(url: &str, options: &ClientOptions) -> Result<WebSocket, Box<dyn StdError>> {
    on_signal(ShutdownLevel::All)?;
    let mut socket = WebSocket::new();
    tls::for_client(&mut socket, options)?;
    deflate::offer(&mut socket, options)?;
    socket.timeout(LIMIT).close_limit(GOODBYE);
    socket.connect(url)?;
    Ok(socket)
}

fn ask(url: &str, texts: &[String], options: &ClientOptions) -> Result<(), Box<dyn StdError>> {
    let mut socket = connect(url, options)?;
    for text in texts {
        socket.send_text(text)?;
        match socket.receive()? {
            Some(Message::Text(text)) => say(&text)?,
            Some(Message::Binary(data)) => say(&format!("{data:?}"))?,
            None => return Err("the server has closed".into()),
        }
    }
    socket.close(1000, "")?;
    Ok(())
}

fn echo_back(url: &str, options: &ClientOptions) -> Result<(), Box<dyn StdError>> {
    let mut socket = connect(url, options)?;
    while let Some(message) = socket.receive()? {
        socket.send(message)?;
    }
    Ok(())
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// TLS, where the example is built with it.
#[cfg(feature = "tls-ring")]
mod tls {
    use std::error::Error as StdError;
    use std::fs;
    use std::sync::Arc;

    use wakesock::{Error, TcpSocket, WebSocket, rustls, tls};

    use super::{ClientOptions, ServerTls};

    pub(super) type Server = Option<Arc<rustls::ServerConfig>>;

    pub(super) fn for_server(options: &ServerTls) -> Result<Server, Box<dyn StdError>> {
        match (&options.chain, &options.key) {
            (Some(chain), Some(key)) => Ok(Some(tls::server_config(&fs::read(chain)?, &fs::read(key)?)?)),
            _ => Ok(None),
        }
    }

    pub(super) fn start(client: &mut TcpSocket, server: &Server) -> Result<(), Error> {
        match server {
            Some(config) => client.start_tls_server(config),
            None => Ok(()),
        }
    }

    pub(super) fn for_client(socket: &mut WebSocket, options: &ClientOptions) -> Result<(), Box<dyn StdError>> {
        if let Some(ca) = &options.ca {
            socket.tls(&tls::client_config_trusting(&fs::read(ca)?)?);
        }
        Ok(())
    }
}

#[cfg(not(feature = "tls-ring"))]
mod tls {
    use std::error::Error as StdError;

    use wakesock::{Error, TcpSocket, WebSocket};

    use super::{ClientOptions, ServerTls};

    pub(super) type Server = ();

    pub(super) fn for_server(options: &ServerTls) -> Result<Server, Box<dyn StdError>> {
        match (&options.chain, &options.key) {
            (None, None) => Ok(()),
            _ => Err("TLS needs the feature tls-ring".into()),
        }
    }

    pub(super) fn start(_: &mut TcpSocket, (): &Server) -> Result<(), Error> {
        Ok(())
    }

    pub(super) fn for_client(_: &mut WebSocket, options: &ClientOptions) -> Result<(), Box<dyn StdError>> {
        match options.ca {
            None => Ok(()),
            Some(_) => Err("TLS needs the feature tls-ring".into()),
        }
    }
}

/// Compression, where the example is built with it.
#[cfg(feature = "websocket-deflate")]
mod deflate {
    use std::error::Error as StdError;

    use wakesock::{Upgrade, WebSocket};

    use super::ClientOptions;

    pub(super) fn accept(upgrade: &mut Upgrade) {
        upgrade.deflate(true);
    }

    pub(super) fn offer(socket: &mut WebSocket, options: &ClientOptions) -> Result<(), Box<dyn StdError>> {
        socket.deflate(options.deflate);
        Ok(())
    }
}

#[cfg(not(feature = "websocket-deflate"))]
mod deflate {
    use std::error::Error as StdError;

    use wakesock::{Upgrade, WebSocket};

    use super::ClientOptions;

    pub(super) fn accept(_: &mut Upgrade) {}

    pub(super) fn offer(_: &mut WebSocket, options: &ClientOptions) -> Result<(), Box<dyn StdError>> {
        match options.deflate {
            false => Ok(()),
            true => Err("compression needs the feature websocket-deflate".into()),
        }
    }
}
