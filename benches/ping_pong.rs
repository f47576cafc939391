//! A few bytes there and back over the loopback, each read with a limit: what a wait costs on top of `std::net`.
//!
//! On one processor the system calls show; across two, how long it takes to wake a thread hides them.
//!
//! # What bounds it
//!
//! A turn takes `std::net` a `send` and a `recv` at each end. Whoever can be ended while it waits needs a third call, and
//! the system a timer for the limit, which SO_RCVTIMEO has almost for nothing. The peer `epoll_wait, bare` makes these three
//! calls and does nothing else: it has some 0.87 of the speed of `std::net`. What this crate adds to them, 500 instructions
//! at each end (`instructions` counts them), is a hundredth of a turn. Tried, to get below the three calls:
//!
//! - An io_uring: a call less, and nothing gained.
//! - A timerfd in each poll, set anew only when it has run out, in place of the limit of each wait: 0.93 of the speed of
//!   `std::net`, for a third descriptor for each direction of each socket.
//! - Reading first, and waiting when that fails: a vain call for each turn. It is done where it has been worth it.
//!
//! Interrupting a blocked `recv` itself would take a signal, whose handler belongs to the program, or shutdown(2), after
//! which there is no `abort` that leaves the socket open.

mod support;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use support::peers::{Epoll, Mio, Peer, Round, Select, Std, Waiting, Wakesock, contestants, one, pair};
use support::report::Report;
use support::{count, each, machine};

fn main() {
    let mut report = Report::new("ping_pong");
    machine::use_one_processor();
    let turns = count(4000, 100);
    report.compare(
        "ping-pong, both threads on one processor",
        "bytes",
        &[1, 64, 1024, 65_536],
        |bytes| {
            contestants(PingPong {
                pairs: 1,
                bytes,
                turns: if bytes > 10_000 { turns / 10 } else { turns },
            })
        },
    );
    let one = report.compare_in(
        count(101, 1),
        "the same, of those that this crate is measured by",
        "bytes",
        &[64],
        |bytes| {
            let round = PingPong { pairs: 1, bytes, turns };
            vec![
                one::<Waiting<Epoll>>(round),
                one::<Wakesock>(round),
                one::<Std>(round),
                one::<Waiting<Select>>(round),
                one::<Waiting<Mio>>(round),
            ]
        },
    );
    machine::use_all_processors();
    report.compare(
        "ping-pong of 64 bytes, threads where the system puts them",
        "pairs",
        &[1, 8, 64],
        |pairs| {
            contestants(PingPong {
                pairs,
                bytes: 64,
                turns: turns.div_ceil(pairs),
            })
        },
    );
    let what = "ping-pong of 64 bytes on one processor";
    let against = [
        (Waiting::<Epoll>::NAME, 0.96),
        (Waiting::<Select>::NAME, 1.0),
        (Std::NAME, 0.85),
    ];
    for (against, goal) in against {
        report.figure(what, against, one.ratio_to(Wakesock::NAME, against, 64), goal);
    }
    #[cfg(feature = "tls")]
    under_tls(&mut report, turns);
    report.finish();
}

#[cfg(feature = "tls")]
fn under_tls(report: &mut Report, turns: usize) {
    use support::peers::tls::{self, EpollTls, StdTls, WakesockTls};

    machine::use_one_processor();
    let answer = report.compare_in(
        count(51, 1),
        "ping-pong under TLS, both threads on one processor",
        "bytes",
        &[1, 64, 1024, 65_536],
        |bytes| {
            tls::contestants(PingPong {
                pairs: 1,
                bytes,
                turns: if bytes > 10_000 { turns / 10 } else { turns / 4 },
            })
        },
    );
    // The third system call is in the first as it is without TLS: see above.
    for (against, goal) in [(EpollTls::NAME, 0.96), (StdTls::NAME, 0.85)] {
        report.figure(
            "ping-pong of 64 bytes under TLS on one processor",
            against,
            answer.ratio_to(WakesockTls::NAME, against, 64),
            goal,
        );
    }
    machine::use_all_processors();
    let answer = report.compare_in(
        count(51, 1),
        "ping-pong under TLS, threads where the system puts them",
        "bytes",
        &[64],
        |bytes| {
            tls::contestants(PingPong {
                pairs: 1,
                bytes,
                turns: turns / 4,
            })
        },
    );
    report.figure(
        "ping-pong of 64 bytes under TLS",
        StdTls::NAME,
        answer.ratio_to(WakesockTls::NAME, StdTls::NAME, 64),
        0.97,
    );
}

#[derive(Clone, Copy)]
struct PingPong {
    pairs: usize,
    bytes: usize,
    /// Each pair makes so many.
    turns: usize,
}

impl Round for PingPong {
    /// Of one turn, of all that all pairs make.
    fn time<P: Peer>(self) -> Duration {
        let PingPong { pairs, bytes, turns } = self;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ends: Vec<_> = (0..pairs)
            .flat_map(|_| {
                let (near, far) = pair(&listener);
                [(near, true), (far, false)]
            })
            .map(|(stream, begins)| P::spawn(move || play(P::of(stream), begins, bytes, turns)))
            .collect();
        let spans: Vec<(Instant, Instant)> = ends.into_iter().map(|end| end()).collect();
        let begin = spans.iter().map(|span| span.0).min().unwrap();
        let end = spans.iter().map(|span| span.1).max().unwrap();
        each(end - begin, turns * pairs)
    }
}

fn play<P: Peer>(mut peer: P, begins: bool, bytes: usize, turns: usize) -> (Instant, Instant) {
    let mut buf = vec![0; bytes];
    let mut turn = |peer: &mut P| {
        if begins {
            peer.send(&buf);
        }
        peer.fill(&mut buf);
        if !begins {
            peer.send(&buf);
        }
    };
    // What is made at the first wait is not what is measured.
    turn(&mut peer);
    let begin = Instant::now();
    for _ in 0..turns {
        turn(&mut peer);
    }
    (begin, Instant::now())
}
