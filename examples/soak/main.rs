//! Everything at once, for as long as you like: does it stay whole, and flat?
//!
//! ```text
//! cargo run --release --example soak -- [--seconds SECONDS] [--threads N] [--seed N]
//! ```
//!
//! Workers connect to three servers over the loopback, and with the feature `tls-ring` to as many more that are under TLS:
//! they send lines, single bytes and bulk, and have them back byte for byte; they close from other threads, abort, run into
//! limits, reopen, and wait in queues. With the feature `websocket` there is another server, with which they do so by
//! messages. The servers, each in a registry of its own, are stopped and started again all the while. Now and then all come
//! to rest, so that what the process takes can be compared. At the end a shutdown ends them all, in the middle of it, and
//! there is a verdict.

#![allow(unreachable_pub, reason = "its modules have nobody else to be reached by")]

mod allocated;
mod counting;
mod crew;
mod figures;
mod screen;
mod servers;
mod steps;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod verdict;
#[cfg(feature = "websocket")]
mod web;

use std::error::Error as StdError;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::Parser;
use fastrand::Rng;
use wakesock::{Error, ShutdownRegistry, SocketWaitEvent, TcpSocket};

use self::crew::Crew;
use self::figures::{Counts, Range, levels, settled_levels};
use self::screen::Screen;
use self::servers::{Kind, Server};
use self::steps::{Failure, STEPS, Step};
use self::support::{exit_code, raise_descriptor_limit, seconds};
use self::verdict::Findings;

#[derive(Parser)]
#[command(about = "Runs a mixed load over the loopback, and tells whether all stayed whole and flat")]
struct Options {
    /// How long, from when everything was done once
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    seconds: Duration,
    /// How many workers
    #[arg(long, value_name = "N", default_value = "8")]
    threads: usize,
    /// What the workers do is made up from this
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,
}

/// What is bound to happen has to within this.
const PATIENCE: Duration = Duration::from_secs(10);

/// So many times all come to rest, if that is not too often or too rarely.
const RESTS: u32 = 16;
const SHORTEST_LOAD: Duration = Duration::from_millis(250);
const LONGEST_LOAD: Duration = Duration::from_secs(10);

const TICK: Duration = Duration::from_millis(250);

fn main() -> ExitCode {
    exit_code(run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), Box<dyn StdError>> {
    raise_descriptor_limit()?;
    let mut screen = Screen::new(options.seconds);
    // What the crate keeps for the rest of the process's life, it makes at a first wait.
    let mut first = TcpSocket::new();
    first.listen_on("127.0.0.1:0", &Default::default())?;
    let _ = first.timeout(Duration::from_millis(1)).wait_read();
    drop(first);
    tls::prepare();
    let before = settled_levels()?;
    let names = (0..options.threads).map(|number| format!("worker {number}"));
    let crew = Arc::new(Crew::of(names.chain(["restarter".to_owned()])));
    let kinds = [
        Kind::Threads,
        Kind::Queue,
        Kind::WaitEvent,
        #[cfg(feature = "websocket")]
        Kind::WebSockets,
    ];
    let mut servers = Vec::new();
    for is_under_tls in [false, true] {
        for kind in kinds.into_iter().filter(|_| !is_under_tls || tls::IS_HERE) {
            servers.push(Server::start(kind, is_under_tls, &crew)?);
        }
    }
    let soak = Soak { crew, servers };
    let mut threads = Vec::new();
    for member in 0..options.threads {
        let (soak, rng) = (soak.clone(), Rng::with_seed(options.seed.wrapping_add(member as u64)));
        threads.push(named(&format!("worker {member}")).spawn(move || soak.work(member, rng))?);
    }
    let (restarting, rng) = (soak.clone(), Rng::with_seed(options.seed));
    let member = options.threads;
    threads.push(named("restarter").spawn(move || restarting.restart(member, rng))?);

    let begin = Counts::now();
    let mut findings = Findings::new(before, levels()?);
    findings.stuck = soak.load(options.seconds, &mut screen, &mut findings)?;
    findings.took_to_end = soak.end(threads);
    findings.after = settled_levels()?;
    findings.failures = soak.crew.failures();
    screen.finish();
    findings.report(&Counts::now(), &begin)
}

fn named(name: &str) -> thread::Builder {
    thread::Builder::new().name(name.to_owned())
}

#[derive(Clone)]
struct Soak {
    crew: Arc<Crew>,
    servers: Vec<Arc<Server>>,
}

impl Soak {
    /// Looks on, until time is over or something is stuck: then, what.
    fn load(&self, length: Duration, screen: &mut Screen, findings: &mut Findings) -> io::Result<Option<String>> {
        let between_rests = (length / RESTS).clamp(SHORTEST_LOAD, LONGEST_LOAD);
        let mut begin = Instant::now();
        let mut rest_at = None;
        while rest_at.is_none() || begin.elapsed() < length {
            thread::sleep(TICK.min(between_rests));
            let stuck = self.crew.stuck();
            if stuck.is_some() {
                return Ok(stuck);
            }
            match rest_at {
                None if !self.crew.are_all_warm() => continue,
                None => {
                    begin = Instant::now();
                    findings.under_load = Range::of(levels()?);
                    rest_at = Some(begin);
                }
                Some(moment) => {
                    findings.under_load.extend(levels()?);
                    if moment <= Instant::now() {
                        let Some(levels) = self.crew.at_rest(|| self.levels_at_rest()) else {
                            return Ok(Some("not everybody comes to rest".to_owned()));
                        };
                        findings.at_rest.push(levels?);
                        rest_at = Some(Instant::now() + between_rests);
                    }
                }
            }
            screen.show(begin.elapsed(), &findings.under_load)?;
        }
        Ok(None)
    }

    fn levels_at_rest(&self) -> io::Result<figures::Levels> {
        let begin = Instant::now();
        while !self.servers.iter().all(|server| server.is_idle()) {
            if begin.elapsed() > PATIENCE {
                self.crew.fail("a server goes on with clients that are gone");
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        settled_levels()
    }

    /// Ends everything in the middle of it. How long that took, unless it took too long.
    fn end(&self, threads: Vec<JoinHandle<()>>) -> Option<Duration> {
        let begin = Instant::now();
        self.crew.end();
        ShutdownRegistry::global().shutdown();
        let ended = all_end(threads, begin + PATIENCE);
        for server in self.servers.iter().filter(|_| ended) {
            server.stop(false);
        }
        ended.then(|| begin.elapsed())
    }

    fn work(&self, member: usize, mut rng: Rng) {
        // A thread keeps the set of its second wait event for the next.
        for _ in 0..2 {
            let _ = SocketWaitEvent::new().wait(Duration::ZERO);
        }
        // So often that all kinds of servers have had their turns.
        for step in STEPS.iter().cycle().take(STEPS.len() * self.servers.len()) {
            if !self.crew.pass() {
                return;
            }
            self.run(member, step, &mut rng);
        }
        self.crew.is_warm();
        while self.crew.pass() {
            self.run(member, &STEPS[rng.usize(0..STEPS.len())], &mut rng);
        }
    }

    fn run(&self, member: usize, step: &Step, rng: &mut Rng) {
        let can_serve = |server: &&Arc<Server>| (step.can_use)(server.kind);
        let servers: Vec<_> = self.servers.iter().filter(can_serve).collect();
        let server = servers[rng.usize(0..servers.len())];
        let generation = server.generation();
        let result = self.crew.watched(member, step.name, || (step.run)(server, rng));
        match result {
            Ok(()) => {}
            Err(Failure::Error(error)) if is_loss(&error) && !server.has_run_since(generation) => {
                figures::Count::Cuts.add(1);
            }
            // Where all sockets are closed, nothing else is as it was.
            Err(Failure::Error(error)) if self.crew.is_ending() && !error.is_timeout() => {}
            Err(Failure::Error(error)) => self.crew.fail(format_args!("{}: {error} ({error:?})", step.name)),
            Err(Failure::Wrong(seen)) => self.crew.fail(format_args!("{}: {seen}", step.name)),
        }
    }

    fn restart(&self, member: usize, mut rng: Rng) {
        self.crew.is_warm();
        while self.crew.pass() {
            let server = &self.servers[rng.usize(0..self.servers.len())];
            self.crew.watched(member, "restart", || server.restart(rng.bool()));
            thread::sleep(Duration::from_millis(rng.u64(20..200)));
        }
    }
}

/// Whether an error may be that the server has ended the connection, or was not there.
fn is_loss(error: &Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, UnexpectedEof};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionRefused | ConnectionReset | UnexpectedEof
    )
}

/// The crate's error inside one of the standard library's.
fn inner(error: io::Error) -> Error {
    let kind = error.kind();
    let inside = error.into_inner().and_then(|inner| inner.downcast::<Error>().ok());
    inside.map_or_else(
        || Error::Io {
            operation: "read".into(),
            source: Arc::new(kind.into()),
        },
        |error| *error,
    )
}

/// Whether these threads all end in time.
fn all_end(threads: Vec<JoinHandle<()>>, until: Instant) -> bool {
    while !threads.iter().all(JoinHandle::is_finished) {
        if Instant::now() > until {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    threads.into_iter().all(|thread| thread.join().is_ok())
}
