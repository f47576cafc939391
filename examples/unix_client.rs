//! U++'s `reference/UnixSocketClient`: `line_client` on a Unix-domain socket.
//!
//! ```text
//! cargo run --example unix_client -- [PATH [REQUEST]...]
//! ```
//!
//! The server is `unix_server`.

use std::error::Error as StdError;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use wakesock::{Error, TcpSocket};

#[derive(Parser)]
#[command(about = "Asks a line server on a Unix-domain socket, one connection for each request")]
struct Options {
    /// Where the server is [default: wakesock.socket in the directory for temporary files]
    path: Option<PathBuf>,
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
    let path = options
        .path
        .unwrap_or_else(|| std::env::temp_dir().join("wakesock.socket"));
    for request in &options.requests {
        match ask(&path, request)? {
            Some(answer) => println!("{answer}"),
            None => return Err("the server gives no answer".into()),
        }
    }
    Ok(())
}

fn ask(path: &Path, request: &str) -> Result<Option<String>, Error> {
    let mut socket = TcpSocket::new();
    socket.timeout(Duration::from_secs(10)).connect_path(path)?;
    socket.put_all(format!("{request}\n").as_bytes())?;
    socket.get_line()
}
