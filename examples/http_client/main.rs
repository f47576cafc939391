//! An HTTP client whose request can be ended in the middle: by Ctrl-C, or by another thread.
//!
//! ```text
//! cargo run --example http_client -- URL [--after SECONDS] [--timeout SECONDS]
//! ```
//!
//! The client is [`ureq`]; `transport.rs` gives it sockets that can be ended, and may be lifted out whole.

mod transport;

use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use ureq::Agent;
use ureq::config::Config;
use wakesock::{Error, ShutdownLevel, ShutdownRegistry};

use transport::{NoResolver, SocketConnector, ended_by};

#[derive(Parser)]
#[command(about = "Gets a URL, until it has it, or SIGINT or SIGTERM")]
struct Options {
    /// What to get, by http
    url: String,
    /// When another thread is to end the request
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    after: Option<Duration>,
    /// How long the request may take
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
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
    let agent = Agent::with_parts(config, SocketConnector::new(registry), NoResolver);
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
