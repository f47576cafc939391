//! An HTTP client whose request can be ended in the middle: by Ctrl-C, or by another thread.
//!
//! ```text
//! cargo run --example http_client -- URL [--after SECONDS] [--timeout SECONDS]
//! cargo run --features tls-ring --example http_client -- https://HOST/ [--ca PEM]
//! ```
//!
//! The client is [`ureq`]; `transport.rs` gives it sockets that can be ended, and may be lifted out whole.

#[path = "../support/mod.rs"]
mod support;
mod transport;

use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use ureq::Agent;
use ureq::config::Config;
use wakesock::{Error, ShutdownLevel, ShutdownRegistry};

use support::seconds;
#[cfg(feature = "tls-ring")]
use support::tls::Trust;
use transport::{NoResolver, SocketConnector, ended_by};

#[derive(Parser)]
#[command(about = "Gets a URL, until it has it, or SIGINT or SIGTERM")]
struct Options {
    /// What to get, by http; with the feature `tls-ring`, by https, too
    url: String,
    #[cfg(feature = "tls-ring")]
    #[command(flatten)]
    trust: Trust,
    /// When another thread is to end the request
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    after: Option<Duration>,
    /// How long the request may take
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match ended_by(&error) {
                Some(Error::Closed) => eprintln!("ended by another thread"),
                Some(Error::Shutdown) => eprintln!("ended by a signal"),
                _ => eprintln!("{error}"),
            }
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), ureq::Error> {
    let registry = ShutdownRegistry::global();
    for signal in [libc::SIGINT, libc::SIGTERM] {
        registry.on_signal(signal, ShutdownLevel::All)?;
    }

    let config = Config::builder()
        .timeout_global(options.timeout)
        .http_status_as_error(false)
        .proxy(None)
        .build();
    let connector = SocketConnector::new(registry);
    #[cfg(feature = "tls-ring")]
    let connector = match options.url.starts_with("https:") {
        true => connector.with_tls(
            options
                .trust
                .config()
                .map_err(|error| io::Error::other(error.to_string()))?,
        ),
        false => connector,
    };
    let agent = Agent::with_parts(config, connector, NoResolver);
    if let Some(after) = options.after {
        let agent = agent.clone();
        thread::spawn(move || {
            thread::sleep(after);
            agent.shutdown();
        });
    }

    let mut response = agent.get(&options.url).call()?;
    println!("{}, {} headers", response.status(), response.headers().len());
    let length = io::copy(&mut response.body_mut().as_reader(), &mut io::sink())?;
    println!("{length} bytes");
    Ok(())
}
