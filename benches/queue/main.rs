//! One wait among many idle sockets, some of which have something to read: this crate's queue and `SocketWaitEvent`
//! beside epoll(7), poll(2) and select(2) by hand, and the crate `polling`.
//!
//! And how long it takes from closing one of ten thousand subscribed sockets until the wait has returned.

#![allow(unreachable_pub, reason = "a bench has modules, but is no library")]

mod crowd;
#[path = "../support/mod.rs"]
mod support;
mod ways;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crowd::Crowd;
use support::report::{Answer, Contestant, Report};
use support::{each, is_quick, machine, percentile};
use wakesock::{SocketEventQueue, TcpSocket, WaitEvents};
use ways::{Epoll, PollFilled, PollKept, Polling, Queue, Select, WaitEventKept, WaitEventRebuilt, Way};

const FEW_IDLE: &str = "SocketEventQueue, 10 idle";
const MANY_IDLE: &str = "SocketEventQueue, 10,000 idle";

fn main() {
    // Beside the idle ones: both ends of the active ones, and what the process has anyway.
    let room = machine::raise_descriptor_limit().saturating_sub(2 * 100 + 50);
    let mut report = Report::new("queue");
    machine::use_one_processor();
    let (idle, too_many): (Vec<usize>, Vec<usize>) =
        [10, 100, 1000, 10_000].into_iter().partition(|idle| *idle <= room);
    if !too_many.is_empty() {
        report.text(&format!("There are too few descriptors for {too_many:?} idle sockets."));
    }
    let most = idle[idle.len() - 1];
    let mut ask = |active| {
        report.compare(
            &format!("wait cost over idle sockets, {active} active: each written to, waited for and read"),
            "idle sockets",
            &idle,
            |idle| contestants(idle, active),
        )
    };
    let one = ask(1);
    ask(10);
    ask(100);
    keep_figures(&mut report, &one);
    if most == 10_000 {
        let both = report.compare(
            "SocketEventQueue with few idle sockets and with many",
            "active",
            &[1, 10, 100],
            |active| few_and_many(most, active),
        );
        let ratio = both.ratio_to(MANY_IDLE, FEW_IDLE, 1);
        report.figure(MANY_IDLE, "the same, 10 idle", ratio, 0.9);
    }
    machine::use_all_processors();
    report.text(&closing(&crowd::idle(most)));
    report.finish();
}

fn contestants(idle: usize, active: usize) -> Vec<Contestant<'static>> {
    fn one<W: Way>(pool: &Pool, active: usize) -> Contestant<'static> {
        (W::NAME, round::<W>(Rc::clone(pool), active))
    }
    let mut all = vec![
        one::<Epoll>,
        one::<Queue>,
        one::<WaitEventKept>,
        one::<WaitEventRebuilt>,
        one::<Polling>,
        one::<PollKept>,
        one::<PollFilled>,
    ];
    // The last twenty are for what else is open.
    if idle + 2 * active + 20 <= Select::END {
        all.push(one::<Select>);
    }
    let pool = pool(idle);
    all.into_iter().map(|one| one(&pool, active)).collect()
}

/// Where the idle sockets are between two rounds.
type Pool = Rc<RefCell<Vec<TcpSocket>>>;

fn pool(idle: usize) -> Pool {
    Rc::new(RefCell::new(crowd::idle(idle)))
}

fn round<W: Way>(pool: Pool, active: usize) -> Box<dyn FnMut() -> Duration> {
    Box::new(move || {
        let mut crowd = Crowd::gather(pool.take(), active);
        // In a thread of its own, since a thread keeps what its last `SocketWaitEvent` was filled with.
        let time = thread::scope(|scope| scope.spawn(|| time::<W>(&mut crowd)).join().unwrap());
        pool.replace(crowd.dissolve());
        time
    })
}

/// The queue beside itself, with few idle sockets and with many: in the same rounds, since a machine's speed drifts.
fn few_and_many(many: usize, active: usize) -> Vec<Contestant<'static>> {
    let contestant = |name, idle| -> Contestant<'static> { (name, round::<Queue>(pool(idle), active)) };
    vec![contestant(FEW_IDLE, 10), contestant(MANY_IDLE, many)]
}

/// How long one turn takes.
fn time<W: Way>(crowd: &mut Crowd) -> Duration {
    let span = Duration::from_millis(if is_quick() { 1 } else { 25 });
    let mut way = W::new(&crowd.sockets);
    let mut found = Vec::new();
    let mut turn = || {
        let mut left = crowd.stir();
        while left > 0 {
            found.clear();
            way.wait(&crowd.sockets, &mut found);
            for index in &found {
                W::read(&mut crowd.sockets[*index]);
            }
            left -= found.len();
        }
    };
    // What is made at the first waits is not what is measured.
    turn();
    turn();
    let begin = Instant::now();
    let mut turns = 0;
    while begin.elapsed() < span {
        turn();
        turns += 1;
    }
    each(begin.elapsed(), turns)
}

fn keep_figures(report: &mut Report, answer: &Answer) {
    let mut figure = |name: &'static str, what: &str, other, idle, goal| {
        report.figure(
            &format!("{name}, {what}"),
            other,
            answer.ratio_to(name, other, idle),
            goal,
        );
    };
    let (kept, filled) = (PollKept::NAME, PollFilled::NAME);
    figure(Queue::NAME, "1 active of 10,000", Epoll::NAME, 10_000, 0.9);
    figure(WaitEventRebuilt::NAME, "10 sockets", filled, 10, 0.9);
    figure(WaitEventRebuilt::NAME, "1,000 sockets", filled, 1000, 1.5);
    figure(WaitEventKept::NAME, "1,000 sockets", kept, 1000, 10.0);
}

/// From closing one of many subscribed sockets in one thread until another has returned from its wait.
fn closing(sockets: &[TcpSocket]) -> String {
    let count = sockets.len();
    let closings = support::count(500, 3).min(count);
    let queue = SocketEventQueue::<usize>::new().unwrap();
    for (index, socket) in sockets.iter().enumerate() {
        queue.subscribe(socket, WaitEvents::READ, index).unwrap();
    }
    let (send, receive) = mpsc::channel();
    let waiting = thread::Builder::new()
        .name("waiting".into())
        .spawn(move || {
            let mut events = Vec::new();
            for _ in 0..closings {
                queue.wait_into(&mut events, None).unwrap();
                let returned = Instant::now();
                assert!(events.len() == 1 && events[0].is_closed());
                send.send(returned).unwrap();
            }
        })
        .unwrap();
    let mut times: Vec<Duration> = sockets
        .iter()
        .step_by(count / closings)
        .take(closings)
        .map(|socket| {
            while machine::sleeping("self", "waiting") == 0 {
                thread::yield_now();
            }
            let begin = Instant::now();
            socket.handle().close();
            receive.recv().unwrap().duration_since(begin)
        })
        .collect();
    waiting.join().unwrap();
    times.sort_unstable();
    format!(
        "From the closing of one of {count} subscribed sockets until the wait has returned: median {:.1?}, 99 % \
         within {:.1?}.",
        percentile(&times, 50),
        percentile(&times, 99)
    )
}
