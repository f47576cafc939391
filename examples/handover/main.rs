//! A server whose successor takes its listener over, so that no client notices that it was restarted. (Unix)
//!
//! ```text
//! cargo run --example handover -- serve [ADDR] [--control PATH] [--grace SECONDS]
//! cargo run --example handover -- ask ADDR [--threads N]
//! ```
//!
//! `serve` answers each line with the line and the number of its process. Where it has its listener from:
//!
//! - from its parent, as sd_listen_fds(3) says: systemd's socket activation, or a predecessor that got SIGHUP;
//! - else from the server that listens on PATH, which passes it on and stops;
//! - else it listens on ADDR.
//!
//! SIGHUP makes it start a successor (a new build, say), wait until that is ready, and stop. SIGINT and SIGTERM make it stop.
//! To stop means: clients that have connected by then are served, and have the grace for it; later ones are the successor's.
//!
//! `ask` asks again and again, each time by a new connection, until its input ends, and tells of each answer.

#[cfg(unix)]
mod client;
#[cfg(unix)]
mod inherit;
#[cfg(unix)]
mod pass;
#[cfg(unix)]
mod server;
#[path = "../support/mod.rs"]
mod support;

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    use clap::Parser;

    #[derive(Parser)]
    #[command(about = "A server whose successor takes its listener over, and a client that looks on")]
    enum Command {
        /// Answers lines, until SIGINT or SIGTERM, or until a successor does
        Serve(server::Options),
        /// Asks until its input ends
        Ask(client::Options),
    }

    support::exit_code(match Command::parse() {
        Command::Serve(options) => server::run(&options),
        Command::Ask(options) => client::run(&options),
    })
}

#[cfg(not(unix))]
fn main() {
    eprintln!("descriptors are handed over on Unix only");
}
