//! U++'s `reference/SocketClient`: a connection for each request.
//!
//! ```text
//! cargo run --example line_client -- [HOST [PORT [REQUEST]...]]
//! ```
//!
//! The server is `line_server`.

use std::error::Error as StdError;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use wakesock::{Error, TcpSocket};

#[derive(Parser)]
#[command(about = "Asks a line server, one connection for each request")]
struct Options {
    /// Where the server is
    #[arg(default_value = "127.0.0.1")]
    host: String,
    #[arg(default_value = "3214")]
    port: u16,
    /// What to ask
    #[arg(value_name = "REQUEST", default_values = ["time", "33"])]
    requests: Vec<String>,
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<(), Box<dyn StdError>> {
    for request in &options.requests {
        match ask(&options, request)? {
            Some(answer) => println!("{answer}"),
            None => return Err("the server gives no answer".into()),
        }
    }
    Ok(())
}

fn ask(options: &Options, request: &str) -> Result<Option<String>, Error> {
    let mut socket = TcpSocket::new();
    socket
        .timeout(Duration::from_secs(10))
        .connect(&options.host, options.port)?;
    socket.put_all(format!("{request}\n").as_bytes())?;
    socket.get_line()
}
