//! U++'s `reference/UnixSocketServer`: `line_server` on a Unix-domain socket, which knows the process that asks.
//!
//! ```text
//! cargo run --example unix_server -- [PATH]
//! ```
//!
//! SIGINT ends it. The client is `unix_client`, or `nc -U`.

use std::error::Error as StdError;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Parser;
use humantime::format_rfc3339_seconds;
use wakesock::{Error, ShutdownLevel, ShutdownRegistry, TcpSocket};

#[derive(Parser)]
#[command(about = "Answers `time` or a number on a Unix-domain socket, one a connection, until SIGINT")]
struct Options {
    /// Where to listen [default: wakesock.socket in the directory for temporary files]
    path: Option<PathBuf>,
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
    ShutdownRegistry::global().on_signal(libc::SIGINT, ShutdownLevel::All)?;
    remove_stale(&path)?;
    let mut server = TcpSocket::new();
    server.listen_path(&path, 5)?;
    println!("listening on {}", path.display());
    for client in server.incoming() {
        let served = client.and_then(|mut client| serve(&mut client));
        if let Err(error) = served
            && !error.is_closed()
        {
            eprintln!("{error}");
        }
    }
    fs::remove_file(&path)?;
    println!("stopped");
    Ok(())
}

/// Removes what a server that was killed has left, for nobody can listen where there is a file. As in U++ it isn't
/// asked whether somebody still listens there; but only a socket is removed.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if is_socket(&found) => fs::remove_file(path),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn is_socket(found: &fs::Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_socket(&found.file_type())
}

/// A file that stands for something else, as Windows calls it, and is no link.
#[cfg(windows)]
fn is_socket(found: &fs::Metadata) -> bool {
    use std::os::windows::fs::MetadataExt;

    const FILE_ATTRIBUTE_REPARSE_POINT: u32 = 0x400;
    found.is_file() && found.file_attributes() & FILE_ATTRIBUTE_REPARSE_POINT != 0
}

fn serve(client: &mut TcpSocket) -> Result<(), Error> {
    // Clients are served one after the other: one that says nothing would hold up the rest for good.
    client.timeout(Duration::from_secs(10));
    // Not every system knows.
    let from = client
        .peer_pid()
        .map_or_else(|error| error.to_string(), |pid| pid.to_string());
    let Some(request) = client.get_line()? else {
        return Ok(());
    };
    println!("request: {request:?} from: {from}");
    client.put_all(format!("{}\n", answer(&request)).as_bytes())?;
    // Whatever else it has said is of no interest, but to close with that unread might throw the answer away.
    client.finish(Duration::from_secs(1))
}

fn answer(request: &str) -> String {
    match request {
        "time" => format_rfc3339_seconds(SystemTime::now()).to_string(),
        // What is no number counts as 0, as with `atoi`.
        number => (3 * i128::from(number.parse::<i64>().unwrap_or(0))).to_string(),
    }
}
