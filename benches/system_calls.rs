//! System calls that each way of waiting makes, counted by strace(1).
//!
//! The bench runs itself under strace for so many operations and for more of them. What is made for each is the
//! difference: what is done once, at the start, the first wait and the end, drops out.

mod support;

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::{self, Builder, JoinHandle};
use std::{env, fmt, fs, iter};

use support::count;
use support::machine;
use support::peers::{
    AsyncIo, AsyncIoListener, Listener, Mio, Peer, PollEventfd, Polling, Select, Std, StdForever, StdListener, Waiting,
    WaitingListener, Wakesock, WakesockForever, WakesockListener, WakesockListenerForever, WakesockListenerThreadWait,
    WakesockThreadWait, pair,
};
use support::report::{Report, directory, table};
use support::servers::{self, Queue, Server, Tokio, ask};

/// Does something so many times.
type Run = fn(usize);

/// The questions, and for each peer what answers them. (`may` is not here: what blocks are coroutines, not threads.)
const QUESTIONS: [&str; 5] = [
    "a get that waits once",
    "a get of 64 bytes that are there",
    "a get of 16 KiB that are there",
    "a round trip, both ends",
    "an accepted connection, and its close",
];
const PEERS: [(&str, [Run; 5]); 10] = [
    peer::<Std, StdListener>(),
    peer::<StdForever, StdListener>(),
    peer::<Wakesock, WakesockListener>(),
    peer::<WakesockForever, WakesockListenerForever>(),
    peer::<WakesockThreadWait, WakesockListenerThreadWait>(),
    peer::<Waiting<Select>, WaitingListener<Select>>(),
    peer::<Waiting<PollEventfd>, WaitingListener<PollEventfd>>(),
    peer::<Waiting<Mio>, WaitingListener<Mio>>(),
    peer::<Waiting<Polling>, WaitingListener<Polling>>(),
    peer::<AsyncIo, AsyncIoListener>(),
];

/// The same of connections under TLS, whose records hold just that.
#[cfg(feature = "tls")]
mod under_tls {
    use super::*;
    use crate::support::peers::tls::{EpollTls, Secured, StdTls, TokioTls, WakesockTls};

    pub(super) const QUESTIONS: [&str; 5] = [
        "a get that waits once",
        "a get of 64 bytes that are there",
        "a get of 16 KiB that are there",
        "a put of 64 KiB for which there is room",
        "a round trip, both ends",
    ];
    pub(super) const PEERS: [(&str, [Run; 5]); 4] = [
        peer::<StdTls>(),
        peer::<EpollTls>(),
        peer::<WakesockTls>(),
        peer::<TokioTls>(),
    ];

    const fn peer<S: Secured>() -> (&'static str, [Run; 5]) {
        (
            S::NAME,
            [
                get_waiting::<S, StdTls>,
                get_there::<S, StdTls, SIZE>,
                get_there::<S, StdTls, LARGE>,
                put::<S, StdTls>,
                turns::<S>,
            ],
        )
    }

    /// The other end has received the last before it is given the next.
    fn put<P: Peer, D: Peer>(times: usize) {
        let (near, far) = pair(&listener());
        let sender = Counted::start(move |progress| {
            let mut peer = P::of(far);
            for turn in 0..times {
                progress.wait_given(turn);
                peer.send(&[0; 4 * LARGE]);
                progress.note_done();
            }
        });
        let mut driver = D::of(near);
        let mut is_first = true;
        sender.drive(
            times,
            || true,
            || {
                if !is_first {
                    driver.fill(&mut [0; 4 * LARGE]);
                }
                is_first = false;
            },
        );
    }

    pub(super) fn rows(report: &mut Report, first: usize) -> Vec<Vec<String>> {
        let head = iter::once("system calls under TLS for")
            .chain(QUESTIONS)
            .map(str::to_owned);
        let mut rows = vec![head.collect::<Vec<_>>()];
        for (index, (name, _)) in PEERS.iter().enumerate() {
            let calls = [0, 1, 2, 3, 4].map(|question| Calls::each(first + index, question, 1));
            if *name == WakesockTls::NAME {
                let goals = [2.0, 1.0, 1.0, 1.0];
                for ((question, calls), goal) in iter::zip(iter::zip(QUESTIONS, &calls), goals) {
                    report.number(
                        &format!("system calls under TLS of {question}"),
                        Some(calls.total()),
                        goal,
                    );
                }
            }
            let calls = calls.iter().map(Calls::to_string);
            rows.push(iter::once((*name).to_owned()).chain(calls).collect());
        }
        rows
    }
}

/// What servers on one thread are asked for, and on how many connections.
const REQUESTS: [(&str, usize); 2] = [("a request, one connection", 1), ("a request, 50 connections", 50)];
const SERVERS: [(&str, [Run; 2]); 3] = [server::<Queue>(), server::<servers::Mio>(), server::<Tokio>()];

const fn server<S: Server>() -> (&'static str, [Run; 2]) {
    (S::NAME, [requests::<S, 1>, requests::<S, 50>])
}

/// What answers a question: `peer` counts the servers on from the peers, and those under TLS on from the servers.
fn run_of(peer: usize, question: usize) -> Run {
    let Some(server) = peer.checked_sub(PEERS.len()) else {
        return PEERS[peer].1[question];
    };
    #[cfg(feature = "tls")]
    if let Some(peer) = server.checked_sub(SERVERS.len()) {
        return under_tls::PEERS[peer].1[question];
    }
    SERVERS[server].1[question]
}

const fn peer<P: Peer, L: Listener>() -> (&'static str, [Run; 5]) {
    (
        P::NAME,
        [
            get_waiting::<P, Std>,
            get_there::<P, Std, SIZE>,
            get_there::<P, Std, LARGE>,
            turns::<P>,
            accept::<L>,
        ],
    )
}

/// What a process that is to be counted is called with, before the numbers of a peer and a question, and how often.
const COUNTED: &str = "--count";

fn main() {
    let args: Vec<String> = env::args().collect();
    if let Some(index) = args.iter().position(|arg| arg == COUNTED) {
        let numbers: Vec<usize> = args[index + 1..].iter().map(|arg| arg.parse().unwrap()).collect();
        // The thread that only drives the others is this one, and is told by its number.
        println!("{}", std::process::id());
        run_of(numbers[0], numbers[1])(numbers[2]);
        return;
    }
    let mut report = Report::new("system_calls");
    if let Err(error) = Command::new("strace").arg("-V").output() {
        report.text(&format!("Nothing was counted: strace can't be run ({error})."));
        report.finish();
        return;
    }
    let head = iter::once("system calls for").chain(QUESTIONS).map(str::to_owned);
    let mut rows = vec![head.collect::<Vec<_>>()];
    for (peer, (name, _)) in PEERS.iter().enumerate() {
        let calls = [0, 1, 2, 3, 4].map(|question| Calls::each(peer, question, 1));
        if *name == Wakesock::NAME {
            let total = |question: usize| Some(calls[question].total());
            report.number("system calls of a get that waits once", total(0), 2.0);
            report.number("system calls of a get of 64 bytes that are there", total(1), 1.0);
            report.number("system calls of a get of 16 KiB that are there", total(2), 1.0);
        }
        rows.push(
            iter::once((*name).to_owned())
                .chain(calls.iter().map(Calls::to_string))
                .collect(),
        );
    }
    report.text(&table(&rows));
    let servers = of_servers(&mut report);
    report.text(&table(&servers));
    #[cfg(feature = "tls")]
    {
        let rows = under_tls::rows(&mut report, PEERS.len() + SERVERS.len());
        report.text(&table(&rows));
    }
    report.finish();
}

fn of_servers(report: &mut Report) -> Vec<Vec<String>> {
    let head = iter::once("system calls of a server for").chain(REQUESTS.map(|(what, _)| what));
    let mut rows = vec![head.map(str::to_owned).collect::<Vec<_>>()];
    for (index, (name, _)) in SERVERS.iter().enumerate() {
        let calls = [0, 1].map(|question| Calls::each(PEERS.len() + index, question, REQUESTS[question].1));
        if *name == Queue::NAME {
            report.number("system calls of a request, queue server", Some(calls[0].total()), 3.0);
        }
        rows.push(
            iter::once((*name).to_owned())
                .chain(calls.iter().map(Calls::to_string))
                .collect(),
        );
    }
    rows
}

/// What a counted thread calls only while it waits to be driven.
const UNCOUNTED: &str = "sched_yield";

/// How often each system call was made.
struct Calls(BTreeMap<String, f64>);

impl Calls {
    /// For each of what a question is about.
    ///
    /// A time that it is done counts for so many.
    fn each(peer: usize, question: usize, counts_for: usize) -> Calls {
        let (few, many) = (10, count(110, 30));
        let (before, mut after) = (Calls::of(peer, question, few), Calls::of(peer, question, many));
        for (name, calls) in before.0 {
            *after.0.entry(name).or_default() -= calls;
        }
        for calls in after.0.values_mut() {
            *calls = in_tenths(*calls / ((many - few) * counts_for) as f64);
        }
        after.0.retain(|_, calls| *calls != 0.0);
        after
    }

    /// In a run of that many, by all threads but the one that drives them.
    fn of(peer: usize, question: usize, times: usize) -> Calls {
        let traces = directory().join("traces");
        let _ = fs::remove_dir_all(&traces);
        fs::create_dir_all(&traces).unwrap();
        let run = Command::new("strace")
            // An allocator that makes room for one thread as for another has no part in the difference.
            .env("MALLOC_ARENA_MAX", "1")
            .args(["-ff", "-qq", "-o"])
            .arg(traces.join("of"))
            .arg("--")
            .arg(env::current_exe().unwrap())
            .arg(COUNTED)
            .args([peer, question, times].map(|number| number.to_string()))
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let driver = String::from_utf8(run.stdout).unwrap();
        let driver = Path::new("of").with_extension(driver.trim());
        let mut calls = BTreeMap::new();
        for trace in fs::read_dir(&traces).unwrap().map(Result::unwrap) {
            if Path::new(&trace.file_name()) != driver {
                let text = String::from_utf8_lossy(&fs::read(trace.path()).unwrap()).into_owned();
                // Other lines are of signals and ends.
                let names = text.lines().filter_map(|line| Some(line.split_once('(')?.0));
                for name in names.filter(|name| *name != UNCOUNTED) {
                    *calls.entry(name.to_owned()).or_default() += 1.0;
                }
            }
        }
        fs::remove_dir_all(&traces).unwrap();
        Calls(calls)
    }

    fn total(&self) -> f64 {
        in_tenths(self.0.values().fold(0.0, |total, calls| total + calls))
    }
}

fn in_tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|(name, calls)| match *calls {
            1.0 => name.clone(),
            calls => format!("{calls} {name}"),
        });
        write!(f, "{}: {}", self.total(), names.collect::<Vec<_>>().join(", "))
    }
}

const SIZE: usize = 64;
/// More than anybody reads ahead.
const LARGE: usize = 16 * 1024;

/// Sends only when the receiver sleeps in its wait.
fn get_waiting<P: Peer, D: Peer>(times: usize) {
    let (near, far) = pair(&listener());
    let receiver = Counted::start(move |progress| {
        let mut peer = P::of(far);
        for _ in 0..times {
            peer.fill(&mut [0; SIZE]);
            progress.note_done();
        }
    });
    let mut driver = D::of(near);
    receiver.drive(times, Counted::sleeps, || driver.send(&[0; SIZE]));
}

/// Sends before the receiver begins. Not everything at once, which those that read ahead would read at once.
fn get_there<P: Peer, D: Peer, const SIZE: usize>(times: usize) {
    let (near, far) = pair(&listener());
    let receiver = Counted::start(move |progress| {
        let mut peer = P::of(far);
        for turn in 0..times {
            progress.wait_given(turn);
            peer.fill(&mut [0; SIZE]);
            progress.note_done();
        }
    });
    let mut driver = D::of(near);
    receiver.drive(times, || true, || driver.send(&[0; SIZE]));
}

fn turns<P: Peer>(times: usize) {
    let (near, far) = pair(&listener());
    let begins = Counted::start(move |_| {
        let mut peer = P::of(near);
        for _ in 0..times {
            peer.send(&[0; SIZE]);
            peer.fill(&mut [0; SIZE]);
        }
    });
    let answers = Counted::start(move |_| {
        let mut peer = P::of(far);
        for _ in 0..times {
            peer.fill(&mut [0; SIZE]);
            peer.send(&[0; SIZE]);
        }
    });
    begins.thread.join().unwrap();
    answers.thread.join().unwrap();
}

/// Asks only when the server sleeps in its wait, on each of so many connections.
fn requests<S: Server, const CONNECTIONS: usize>(times: usize) {
    let listener = listener();
    let (mut near, far): (Vec<TcpStream>, Vec<TcpStream>) = (0..CONNECTIONS).map(|_| pair(&listener)).unzip();
    let server = Counted::start(move |_| S::serve(far));
    for _ in 0..times {
        while !Counted::sleeps() {
            thread::yield_now();
        }
        ask(&mut near, 1, &[0; SIZE]);
    }
    drop(near);
    server.thread.join().unwrap();
}

/// Connects only when the listener sleeps in its wait.
fn accept<L: Listener>(times: usize) {
    let listener = listener();
    let addr = listener.local_addr().unwrap();
    let accepting = Counted::start(move |progress| {
        let listener = L::of(listener);
        let mut accept = listener.accepting();
        for _ in 0..times {
            accept(b"");
            progress.note_done();
        }
    });
    accepting.drive(times, Counted::sleeps, || drop(TcpStream::connect(addr).unwrap()));
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// A thread whose system calls are counted.
struct Counted {
    thread: JoinHandle<()>,
    progress: Arc<Progress>,
}

/// How often it was given something, and has done what it does.
#[derive(Default)]
struct Progress {
    given: AtomicUsize,
    done: AtomicUsize,
}

impl Progress {
    fn note_done(&self) {
        self.done.fetch_add(1, SeqCst);
    }

    /// Makes no system call but the one that is not counted.
    fn wait_given(&self, turn: usize) {
        while self.given.load(SeqCst) <= turn {
            thread::yield_now();
        }
    }
}

impl Counted {
    const NAME: &str = "counted";

    fn start(work: impl FnOnce(&Progress) + Send + 'static) -> Counted {
        let progress = Arc::new(Progress::default());
        let own = Arc::clone(&progress);
        let thread = Builder::new().name(Counted::NAME.into());
        Counted {
            thread: thread.spawn(move || work(&own)).unwrap(),
            progress,
        }
    }

    fn sleeps() -> bool {
        machine::sleeping("self", Counted::NAME) > 0
    }

    /// Gives it what it needs, each time when it has done the last and `is_ready`.
    fn drive(self, times: usize, is_ready: impl Fn() -> bool, mut give: impl FnMut()) {
        for turn in 0..times {
            while self.progress.done.load(SeqCst) < turn || !is_ready() {
                thread::yield_now();
            }
            give();
            self.progress.given.fetch_add(1, SeqCst);
        }
        self.thread.join().unwrap();
    }
}
