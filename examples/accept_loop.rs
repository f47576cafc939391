//! A server with several threads that accept from one listener, ended cleanly by Ctrl-C.
//!
//! ```text
//! cargo run --example accept_loop -- [ADDR] [--threads N] [--grace SECONDS]
//! ```
//!
//! It serves each connection line by line: `time` is answered with the time, an integer with three times itself. SIGINT
//! or SIGTERM stops it: no more clients, idle connections end at once, running requests have the grace to end. A second
//! signal ends everything at once.

mod support;

use std::error::Error as StdError;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use clap::Parser;
use wakesock::{ListenOptions, ShutdownLevel, ShutdownRegistry, TcpSocket};

use self::support::{ServerOptions, exit_code, report, say, serve_lines};

#[derive(Parser)]
#[command(about = "Answers `time` and integers, line by line, until SIGINT or SIGTERM")]
struct Options {
    #[command(flatten)]
    server: ServerOptions,
    /// How many threads accept clients, each serving one at a time
    #[arg(long, value_name = "N", default_value = "4")]
    threads: NonZeroUsize,
}

fn main() -> ExitCode {
    exit_code(run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), Box<dyn StdError>> {
    let registry = ShutdownRegistry::global();
    for signal in [libc::SIGINT, libc::SIGTERM] {
        registry.on_signal(signal, ShutdownLevel::Accepting)?;
    }

    let mut listener = TcpSocket::new();
    listener.listen_on(&*options.server.addr, &ListenOptions::new())?;
    say(&format!("listening on {}", listener.local_addr()?))?;

    let (begin, drained) = thread::scope(|scope| {
        for _ in 0..options.threads.get() {
            scope.spawn(|| serve_clients(&listener));
        }
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

fn serve_clients(listener: &TcpSocket) {
    for client in listener.incoming() {
        let served = client.and_then(|mut client| serve_lines(&mut client));
        if let Err(error) = served {
            report(&error);
        }
    }
}
