//! What the examples share: the protocol of the line servers, and what a program says, may open and is asked for.
//!
//! A request is a line: `time` is answered with the time, an integer with three times itself, anything else with an
//! error. A line of more than 64 KiB ends its connection.

#![allow(dead_code, unreachable_pub, reason = "each example uses its part")]

pub mod conversation;
#[cfg(feature = "tls-ring")]
pub mod tls;

use std::error::Error as StdError;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use humantime::format_rfc3339_seconds;
use wakesock::{Error, TcpSocket};

/// The options of a server that lets running requests end.
#[derive(clap::Args)]
pub struct ServerOptions {
    /// Where to listen; port 0 is any free one
    #[arg(default_value = "127.0.0.1:3214")]
    pub addr: String,
    /// How long running requests may take to end
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub grace: Duration,
}

pub const LONGEST_LINE: usize = 64 * 1024;

pub fn answer(line: &[u8]) -> String {
    let Ok(line) = std::str::from_utf8(line) else {
        return "error: not UTF-8".to_owned();
    };
    match line.trim() {
        "time" => format_rfc3339_seconds(SystemTime::now()).to_string(),
        number => match number.parse::<i128>() {
            Ok(number) => match number.checked_mul(3) {
                Some(product) => product.to_string(),
                None => "error: number too large".to_owned(),
            },
            Err(_) => "error: neither `time` nor an integer".to_owned(),
        },
    }
}

/// How long a client may take to receive the last answer.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// Serves one client, on a thread that may block, until it has no more requests or the server stops.
pub fn serve_lines(client: &mut TcpSocket) -> Result<(), Error> {
    let mut line = Vec::new();
    while client.wait_request()? {
        match client.get_line_into(&mut line, LONGEST_LINE) {
            Ok(true) => client.put_all(format!("{}\n", answer(&line)).as_bytes())?,
            Ok(false) => break,
            Err(error @ Error::LineTooLong { .. }) => {
                client.put_all(format!("error: {error}\n").as_bytes())?;
                // The rest of the line is of no interest, but to close with it unread might throw the answer away.
                client.finish(LAST_ANSWER)?;
                return Err(error);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Prints a line that whoever reads the output gets at once.
pub fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Tells of a connection that has failed, unless it was ended by this program.
pub fn report(error: &Error) {
    if !error.is_closed() {
        eprintln!("{error}");
    }
}

/// How a program ends, which tells why if it fails.
pub fn exit_code(result: Result<(), Box<dyn StdError>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// An option's value: a number of seconds.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// Lets this process have as many descriptors as it may; gives their number.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    rlimit::increase_nofile_limit(u64::MAX)
}
