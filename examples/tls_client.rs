//! U++'s `reference/Https` seen from the other side: asks an https server for a page, and prints its answer.
//!
//! ```text
//! cargo run --features tls-ring --example tls_client -- HOST[:PORT] [--ca PEM] [--timeout SECONDS]
//! ```
//!
//! The server has to show a certificate for that name, by an authority that the system trusts, or by that of `--ca`. SIGINT
//! or SIGTERM ends it wherever it is: looking up the name, connecting, shaking hands, or receiving.

mod support;

use std::error::Error as StdError;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use wakesock::{ShutdownLevel, ShutdownRegistry, TcpSocket};

use self::support::tls::Trust;
use self::support::{exit_code, seconds};

#[derive(Parser)]
#[command(about = "Prints what an https server answers to GET /")]
struct Options {
    /// The server; the port is 443 if there is none
    #[arg(value_name = "HOST[:PORT]", value_parser = server)]
    server: Server,
    #[command(flatten)]
    trust: Trust,
    /// How long the server may be silent
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    timeout: Duration,
}

#[derive(Clone)]
struct Server {
    host: String,
    port: u16,
}

/// `name`, `name:443`, `192.0.2.1:443`, `[2001:db8::1]:443`.
fn server(text: &str) -> Result<Server, String> {
    let url: http::uri::Authority = text.parse().map_err(|error| format!("{error}"))?;
    Ok(Server {
        host: url.host().to_owned(),
        port: url.port_u16().unwrap_or(443),
    })
}

fn main() -> ExitCode {
    exit_code(run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), Box<dyn StdError>> {
    let registry = ShutdownRegistry::global();
    for signal in [libc::SIGINT, libc::SIGTERM] {
        registry.on_signal(signal, ShutdownLevel::All)?;
    }
    let config = options.trust.config()?;
    let Server { host, port } = &options.server;

    let mut socket = TcpSocket::new();
    socket.timeout(options.timeout).connect(host, *port)?;
    socket.start_tls(host, &config)?;
    if let Some(info) = socket.tls_info() {
        eprintln!("{}, {}", info.version(), info.cipher());
    }
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    socket.put_all(request.as_bytes())?;
    print(&mut socket)
}

/// Prints all that comes. A stream that ends without saying so may have been cut off by anybody: that is an error, behind what
/// had come.
fn print(socket: &mut TcpSocket) -> Result<(), Box<dyn StdError>> {
    let mut out = io::stdout().lock();
    let printed = io::copy(socket, &mut out);
    out.flush()?;
    printed?;
    Ok(())
}
