//! A client that must not notice anything.

use std::error::Error as StdError;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, SystemTime};

use wakesock::{Error, TcpSocket};

use crate::support::say;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// HOST:PORT of the server
    addr: String,
    /// How many threads ask
    #[arg(long, value_name = "N", default_value = "4")]
    threads: usize,
}

const LIMIT: Duration = Duration::from_secs(30);

/// What has become of a question.
struct Asked {
    /// When it was sent whole, if it was.
    sent: Option<SystemTime>,
    answer: Result<String, Error>,
}

pub(crate) fn run(options: &Options) -> Result<(), Box<dyn StdError>> {
    let (host, port) = options.addr.rsplit_once(':').ok_or("not HOST:PORT")?;
    let port = port.parse()?;
    let (over, next) = (AtomicBool::new(false), AtomicU64::new(0));
    let (answered, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| {
                while !over.load(SeqCst) {
                    let question = next.fetch_add(1, SeqCst).to_string();
                    let asked = ask(host, port, &question);
                    let counted = if asked.answer.is_ok() { &answered } else { &failed };
                    counted.fetch_add(1, SeqCst);
                    let _ = say(&told(&question, asked));
                }
            });
        }
        let read = io::stdin().read_to_end(&mut Vec::new());
        over.store(true, SeqCst);
        read
    })?;
    say(&format!(
        "{} answered, {} failed",
        answered.into_inner(),
        failed.into_inner()
    ))?;
    Ok(())
}

fn ask(host: &str, port: u16, question: &str) -> Asked {
    let mut sent = None;
    let mut ask = || {
        let mut server = TcpSocket::new();
        server.timeout(LIMIT).connect(host, port)?;
        server.put_all(format!("{question}\n").as_bytes())?;
        sent = Some(SystemTime::now());
        server.shutdown()?;
        let answer = server.get_line()?.ok_or(Error::UnexpectedEof)?;
        match server.get_byte()? {
            None => Ok(answer),
            Some(byte) => Ok(format!("{answer}{}", char::from(byte))),
        }
    };
    let answer = ask();
    Asked { sent, answer }
}

/// `QUESTION MICROSECONDS ANSWER`, with the time at which the question was sent, or why there is no answer.
fn told(question: &str, asked: Asked) -> String {
    let sent = asked.sent.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    let sent = sent.map_or("never".to_owned(), |since| since.as_micros().to_string());
    match asked.answer {
        Ok(answer) => format!("{question} {sent} answered: {answer}"),
        Err(error) => format!("{question} {sent} failed: {error}"),
    }
}
