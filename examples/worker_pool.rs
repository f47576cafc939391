//! A server for ten thousand connections that are mostly idle, and a few threads that may block: a queue parks the
//! connections and hands each one that has a request to one of the threads.
//!
//! ```text
//! cargo run --release --example worker_pool -- [ADDR] [--threads N] [--grace SECONDS]
//! cargo run --release --example event_queue_client -- [ADDR] [--connections N]
//! ```
//!
//! It serves each connection as the `accept_loop` example does, line by line: `time` is answered with the time, an
//! integer with three times itself. SIGINT or SIGTERM stops it: no more clients, idle connections end at once, running
//! requests have the grace to end. A second signal ends everything at once.

mod support;

use std::collections::HashMap;
use std::error::Error as StdError;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use wakesock::{Error, ListenOptions, ShutdownLevel, ShutdownRegistry, SocketEventQueue, SocketId, TcpSocket};

use self::support::{LONGEST_LINE, ServerOptions, answer, exit_code, raise_descriptor_limit, report, say};

#[derive(Parser)]
#[command(
    about = "Answers `time` and integers, line by line, by a few threads for many clients, until SIGINT or SIGTERM"
)]
struct Options {
    #[command(flatten)]
    server: ServerOptions,
    /// How many threads answer
    #[arg(long, value_name = "N", default_value = "8")]
    threads: NonZeroUsize,
}

/// So many requests of one connection are answered at a time, if it has more.
const TURN: usize = 100;
/// How long a client may take to receive an answer. So long it may keep a thread.
const ANSWER: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    exit_code(run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), Box<dyn StdError>> {
    let registry = ShutdownRegistry::global();
    for signal in [libc::SIGINT, libc::SIGTERM] {
        registry.on_signal(signal, ShutdownLevel::Accepting)?;
    }

    let descriptors = raise_descriptor_limit()?;
    let pool = Pool::new(&options.server.addr)?;
    say(&format!("listening on {}", pool.listener.local_addr()?))?;
    say(&format!("{descriptors} descriptors at most, one for each client"))?;

    let (begin, drained) = thread::scope(|scope| {
        for _ in 0..options.threads.get() {
            scope.spawn(|| {
                if let Err(error) = pool.work() {
                    report(&error);
                    registry.shutdown();
                }
            });
        }
        registry.wait_stop(None);
        let begin = Instant::now();
        let said = say("stopping");
        pool.end_idle();
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

struct Pool {
    listener: TcpSocket,
    queue: SocketEventQueue,
    /// Connections that no thread has. The others belong to the thread that serves them.
    parked: Mutex<HashMap<SocketId, TcpSocket>>,
}

impl Pool {
    fn new(addr: &str) -> Result<Pool, Error> {
        let mut listener = TcpSocket::new();
        listener
            .timeout(Duration::ZERO)
            .listen_on(addr, &ListenOptions::new())?;
        let queue = SocketEventQueue::new()?;
        queue.subscribe_read(&listener)?;
        Ok(Pool {
            listener,
            queue,
            parked: Mutex::default(),
        })
    }

    fn parked(&self) -> MutexGuard<'_, HashMap<SocketId, TcpSocket>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What each thread does. It fails when the queue ends.
    fn work(&self) -> Result<(), Error> {
        loop {
            // One at a time: what else is ready is for the other threads.
            for event in self.queue.wait_at_most(1, None)? {
                if *event.token() == self.listener.id() {
                    self.accept();
                    continue;
                }
                let client = self.parked().remove(event.token());
                if let Some(client) = client {
                    self.serve(client);
                }
            }
        }
    }

    fn accept(&self) {
        match self.listener.accept_new() {
            // Also one that has connected just before a stop, and has said nothing so far.
            Ok(client) => self.put(&mut self.parked(), client),
            Err(Error::Timeout) => {}
            // If there are no descriptors left, the queue holds the listener back for a while.
            Err(error) => report(&error),
        }
    }

    /// Answers what has come, and parks the connection again.
    fn serve(&self, mut client: TcpSocket) {
        // No other thread needs to know what it has to say. It fails where the queue has ended, and the loop tells.
        let _ = self.queue.disable_read(&client);
        let mut line = Vec::new();
        for _ in 0..TURN {
            match serve_one(&mut client, &mut line) {
                Ok(true) => {}
                Ok(false) => return,
                Err(Error::Timeout) => break,
                Err(error) => return report(&error),
            }
        }
        self.park(client);
    }

    /// Leaves the connection to whichever thread is free when it has a request. One without a request ends at a stop.
    fn park(&self, mut client: TcpSocket) {
        // Locked before it looks: either this sees the stop, or `end_idle` sees the connection.
        let mut parked = self.parked();
        if !ShutdownRegistry::global().is_stopping() || has_request(&mut client) {
            self.put(&mut parked, client);
        }
    }

    fn put(&self, parked: &mut HashMap<SocketId, TcpSocket>, client: TcpSocket) {
        let id = client.id();
        // What was disabled is enabled again.
        match self.queue.subscribe_read(&client) {
            Ok(()) => drop(parked.insert(id, client)),
            Err(error) => report(&error),
        }
    }

    /// Ends the connections that are between two requests. For when the registry stops.
    fn end_idle(&self) {
        self.parked().retain(|_, client| has_request(client));
    }
}

/// Whether something of a request is there.
fn has_request(client: &mut TcpSocket) -> bool {
    client.timeout(Duration::ZERO).wait_request().unwrap_or(false)
}

/// Answers a request that is there as a whole; `Timeout` if none is. False if there will be no more.
fn serve_one(client: &mut TcpSocket, line: &mut Vec<u8>) -> Result<bool, Error> {
    match client.timeout(Duration::ZERO).get_line_into(line, LONGEST_LINE) {
        Ok(true) => client
            .timeout(ANSWER)
            .put_all(format!("{}\n", answer(line)).as_bytes())?,
        Ok(false) => return Ok(false),
        Err(error @ Error::Timeout) => {
            // Half a line stays until the rest comes.
            client.clear_error();
            return Err(error);
        }
        Err(error @ Error::LineTooLong { .. }) => {
            client.timeout(ANSWER).put_all(format!("error: {error}\n").as_bytes())?;
            // The rest of the line is of no interest, but to close with it unread might throw the answer away.
            client.finish(Duration::from_secs(1))?;
            return Err(error);
        }
        Err(error) => return Err(error),
    }
    Ok(true)
}
