//! U++'s `reference/Https` for lines: a server under TLS, ended cleanly by Ctrl-C.
//!
//! ```text
//! cargo run --features tls-ring --example tls_server -- [ADDR] [--cert PEM --key PEM] [--grace SECONDS]
//! ```
//!
//! It serves each connection line by line: `time` is answered with the time, an integer with three times itself. Without a
//! certificate it makes one for localhost, which nobody has reason to trust, and can write it to where a client looks for it:
//!
//! ```text
//! cargo run --features tls-ring --example tls_server -- --write-cert cert.pem
//! openssl s_client -quiet -verify_return_error -CAfile cert.pem -connect localhost:3214
//! ```
//!
//! The handshake is made by the thread that serves the client: whoever doesn't go on with it holds up nobody else, and is
//! sent away after a while. So is who then asks nothing for longer than `--idle`, or doesn't take the answer. SIGINT or
//! SIGTERM stops the server: no more clients, idle connections end at once, running requests have the grace to end. A second
//! signal ends everything at once.

mod support;

use std::error::Error as StdError;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use wakesock::rustls::ServerConfig;
use wakesock::{Error, ListenOptions, ShutdownLevel, ShutdownRegistry, TcpSocket, tls};

use self::support::tls::read;
use self::support::{ServerOptions, exit_code, report, say, seconds, serve_lines};

#[derive(Parser)]
#[command(about = "Answers `time` and integers, line by line, under TLS, until SIGINT or SIGTERM")]
struct Options {
    #[command(flatten)]
    server: ServerOptions,
    /// The server's certificate and those between it and an authority [default: one for localhost]
    #[arg(long, value_name = "PEM", requires = "key")]
    cert: Option<PathBuf>,
    /// The key of the certificate
    #[arg(long, value_name = "PEM", requires = "cert")]
    key: Option<PathBuf>,
    /// How long a client may say nothing, or take nothing, before it is sent away
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    idle: Duration,
    /// Where to write the certificate that it makes itself
    #[arg(long, value_name = "PEM", conflicts_with = "cert")]
    write_cert: Option<PathBuf>,
}

/// At most so many clients at once, each of which has a thread.
const MOST_CLIENTS: usize = 1000;

/// How long a client may take for its part of the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    exit_code(run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), Box<dyn StdError>> {
    let registry = ShutdownRegistry::global();
    for signal in [libc::SIGINT, libc::SIGTERM] {
        registry.on_signal(signal, ShutdownLevel::Accepting)?;
    }
    let config = config(options)?;

    let mut listener = TcpSocket::new();
    listener.listen_on(&*options.server.addr, &ListenOptions::new())?;
    say(&format!("listening on {}", listener.local_addr()?))?;

    let (begin, drained) = thread::scope(|scope| {
        scope.spawn(|| {
            listener.serve(MOST_CLIENTS, |mut client| {
                match serve(&mut client, &config, options.idle) {
                    // It was silent for too long.
                    Ok(()) | Err(Error::Timeout) => {}
                    Err(error) => report(&error),
                }
            });
        });
        registry.wait_stop(None);
        let begin = Instant::now();
        let said = say("stopping");
        let drained = registry.drain(options.server.grace);
        said.map(|()| (begin, drained))
    })?;
    say(&format!(
        "stopped in {} ms: {} finished, {} forced",
        begin.elapsed().as_millis(),
        drained.finished,
        drained.forced
    ))?;
    Ok(())
}

fn serve(client: &mut TcpSocket, config: &Arc<ServerConfig>, idle: Duration) -> Result<(), Error> {
    client.timeout(idle).tls_limit(HANDSHAKE).start_tls_server(config)?;
    serve_lines(client)
}

fn config(options: &Options) -> Result<Arc<ServerConfig>, Box<dyn StdError>> {
    match (&options.cert, &options.key) {
        (Some(cert), Some(key)) => Ok(tls::server_config(&read(cert)?, &read(key)?)?),
        _ => self_made(options),
    }
}

#[cfg(target_os = "linux")]
fn self_made(options: &Options) -> Result<Arc<ServerConfig>, Box<dyn StdError>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    let cert = made.cert.pem();
    if let Some(file) = &options.write_cert {
        std::fs::write(file, &cert).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(tls::server_config(
        cert.as_bytes(),
        made.signing_key.serialize_pem().as_bytes(),
    )?)
}

/// What makes certificates needs a C compiler, and is only built where the crate's tests need it.
#[cfg(not(target_os = "linux"))]
fn self_made(_: &Options) -> Result<Arc<ServerConfig>, Box<dyn StdError>> {
    Err("it needs --cert and --key on this system".into())
}
