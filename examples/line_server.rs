//! U++'s `reference/SocketServer`: one request per connection, one connection at a time.
//!
//! ```text
//! cargo run --example line_server -- [ADDR]
//! ```
//!
//! `time` is answered with the time, a number with three times itself. Beyond what U++'s does, SIGINT ends it: `accept`
//! returns `Error::Shutdown`, whatever it was waiting for. The client is `line_client`, or `nc`; the `accept_loop`
//! example is the same with several threads and with connections that last.

use std::error::Error as StdError;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Parser;
use humantime::format_rfc3339_seconds;
use wakesock::{Error, ListenOptions, ShutdownLevel, ShutdownRegistry, TcpSocket};

#[derive(Parser)]
#[command(about = "Answers `time` or a number, one a connection, until SIGINT")]
struct Options {
    /// Where to listen; port 0 is any free one
    #[arg(default_value = "127.0.0.1:3214")]
    addr: String,
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
    ShutdownRegistry::global().on_signal(libc::SIGINT, ShutdownLevel::All)?;
    let mut server = TcpSocket::new();
    server.listen_on(&*options.addr, &ListenOptions::new())?;
    println!("listening on {}", server.local_addr()?);
    for client in server.incoming() {
        let served = client.and_then(|mut client| serve(&mut client));
        if let Err(error) = served
            && !error.is_closed()
        {
            eprintln!("{error}");
        }
    }
    println!("stopped");
    Ok(())
}

fn serve(client: &mut TcpSocket) -> Result<(), Error> {
    // Clients are served one after the other: one that says nothing would hold up the rest for good.
    client.timeout(Duration::from_secs(10));
    let from = client.peer_addr()?;
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
