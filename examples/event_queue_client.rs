//! Thousands of clients on one thread, all connected at once: a load for the `event_queue` example, or any of the other
//! line servers.
//!
//! ```text
//! cargo run --release --example event_queue_client -- [ADDR] [--connections N] [--requests N] [--at-once N]
//! ```
//!
//! It opens the connections, sends integers on them in turn, a few at once while the other connections are idle, checks
//! the answers, and reports how long they took. It fails if a single answer is wrong or missing.

mod support;

use std::collections::VecDeque;
use std::error::Error as StdError;
use std::fmt::Display;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use wakesock::{Error, SocketEventQueue, TcpSocket, ThreadWait, WaitEvents};

use self::support::{exit_code, raise_descriptor_limit, say};

#[derive(Parser)]
#[command(about = "Asks a line server on many connections, and reports how long the answers take")]
struct Options {
    /// Where the server listens
    #[arg(default_value = "127.0.0.1:3214")]
    addr: SocketAddr,
    /// How many connections to open
    #[arg(long, value_name = "N", default_value = "10000")]
    connections: usize,
    /// How many requests to send on each of them
    #[arg(long, value_name = "N", default_value = "10")]
    requests: usize,
    /// How many requests, on as many connections, are under way at once
    #[arg(long, value_name = "N", default_value = "100")]
    at_once: NonZeroUsize,
}

/// How long to wait for a connection, and for an answer while none comes.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest that is told from a longer one.
const LONGEST_LATENCY: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    exit_code(run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), Box<dyn StdError>> {
    let descriptors = raise_descriptor_limit()?;
    say(&format!("{descriptors} descriptors at most, one for each connection"))?;
    let mut load = Load::new(options)?;

    let begin = Instant::now();
    load.connect(options.addr, options.connections)?;
    let took = begin.elapsed();
    say(&format!(
        "{} connections in {} ms",
        load.connections.len(),
        took.as_millis()
    ))?;

    let begin = Instant::now();
    load.ask(options.at_once.get())?;
    load.report(begin.elapsed())
}

struct Load {
    /// Connections are known by their place among the `connections`.
    queue: SocketEventQueue<usize>,
    connections: Vec<Connection>,
    /// Connections with requests left to send, and none under way.
    idle: VecDeque<usize>,
    under_way: usize,
    latencies: Histogram<u64>,
    /// How many requests have had no right answer, and will have none.
    errors: usize,
    first_failure: Option<String>,
    requests: usize,
    number: u64,
    bar: ProgressBar,
}

struct Connection {
    socket: TcpSocket,
    /// How many requests have no answer yet, one under way included.
    left: usize,
    under_way: Option<Request>,
}

struct Request {
    number: u64,
    sent: Instant,
}

impl Load {
    fn new(options: &Options) -> Result<Load, Box<dyn StdError>> {
        Ok(Load {
            queue: SocketEventQueue::new()?,
            connections: Vec::new(),
            idle: VecDeque::new(),
            under_way: 0,
            latencies: Histogram::new_with_bounds(1, LONGEST_LATENCY.as_micros() as u64, 3)?,
            errors: 0,
            first_failure: None,
            requests: options.requests,
            number: 0,
            bar: ProgressBar::hidden(),
        })
    }

    fn connect(&mut self, addr: SocketAddr, connections: usize) -> Result<(), Error> {
        let bar = progress("connecting", connections);
        for index in 0..connections {
            let mut socket = TcpSocket::new();
            // Connecting waits, and this lets all of them do so in one poll instead of each in its own.
            socket.set_raw_wait(Arc::new(ThreadWait::default()));
            socket.timeout(PATIENCE).connect_to(&[addr])?;
            socket.timeout(Duration::ZERO).no_delay()?;
            self.queue.subscribe(&socket, WaitEvents::READ, index)?;
            self.connections.push(Connection {
                socket,
                left: self.requests,
                under_way: None,
            });
            self.idle.push_back(index);
            bar.inc(1);
        }
        bar.finish();
        Ok(())
    }

    /// Sends all requests and takes their answers.
    fn ask(&mut self, at_once: usize) -> Result<(), Error> {
        self.bar = progress("asking", self.connections.len() * self.requests);
        let mut events = Vec::new();
        loop {
            while self.under_way < at_once
                && let Some(index) = self.idle.pop_front()
            {
                self.send(index);
            }
            if self.under_way == 0 {
                break;
            }
            if self.queue.wait_into(&mut events, PATIENCE)? == 0 {
                self.give_up();
                break;
            }
            for event in &events {
                self.receive(*event.token());
            }
        }
        self.bar.finish();
        Ok(())
    }

    fn send(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if connection.left == 0 {
            return;
        }
        let number = self.number;
        self.number += 1;
        connection.under_way = Some(Request {
            number,
            sent: Instant::now(),
        });
        self.under_way += 1;
        // A line always has room: there is nothing else under way.
        if let Err(error) = connection.socket.put_all(format!("{number}\n").as_bytes()) {
            self.fail(index, &error);
        }
    }

    fn receive(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        match connection.socket.get_line() {
            Ok(Some(line)) => match connection.under_way.take() {
                Some(request) => self.check(index, &request, &line),
                None => self.fail(index, &format!("{line:?} without a request")),
            },
            Ok(None) => self.fail(index, &"the server has ended the connection"),
            // The rest of the line is still to come.
            Err(Error::Timeout) => connection.socket.clear_error(),
            Err(error) => self.fail(index, &error),
        }
    }

    fn check(&mut self, index: usize, request: &Request, answer: &str) {
        let latency = request.sent.elapsed();
        self.under_way -= 1;
        if answer != (3 * request.number).to_string() {
            self.fail(index, &format!("{} was answered with {answer:?}", request.number));
            return;
        }
        self.latencies.saturating_record(latency.as_micros() as u64);
        self.bar.inc(1);
        self.connections[index].left -= 1;
        self.idle.push_back(index);
    }

    /// Ends a connection of which nothing more is to be expected.
    fn fail(&mut self, index: usize, why: &dyn Display) {
        let connection = &mut self.connections[index];
        if connection.under_way.take().is_some() {
            self.under_way -= 1;
        }
        if connection.left > 0 {
            self.first_failure
                .get_or_insert_with(|| format!("connection {index}: {why}"));
        }
        self.errors += connection.left;
        connection.left = 0;
        connection.socket.close();
    }

    /// Ends the connections whose answers don't come.
    fn give_up(&mut self) {
        for index in 0..self.connections.len() {
            if self.connections[index].under_way.is_some() {
                self.fail(index, &format!("no answer within {PATIENCE:?}"));
            }
        }
        // What was not even asked.
        self.errors += self.connections.iter().map(|connection| connection.left).sum::<usize>();
    }

    fn report(&self, took: Duration) -> Result<(), Box<dyn StdError>> {
        let answers = self.latencies.len();
        say(&format!(
            "{answers} answers, {} errors, {:.0} answers/s",
            self.errors,
            answers as f64 / took.as_secs_f64()
        ))?;
        let quantiles = [
            ("p50", 0.5),
            ("p90", 0.9),
            ("p99", 0.99),
            ("p99.9", 0.999),
            ("max", 1.0),
        ];
        let latencies = quantiles.map(|(name, quantile)| {
            let micros = self.latencies.value_at_quantile(quantile);
            format!("{name} {:.2} ms", micros as f64 / 1000.0)
        });
        say(&format!("latency: {}", latencies.join(", ")))?;
        match &self.first_failure {
            Some(failure) => Err(format!("the first failure: {failure}").into()),
            None => Ok(()),
        }
    }
}

fn progress(what: &'static str, steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}").expect("a valid template");
    ProgressBar::new(steps as u64).with_style(style).with_message(what)
}
