//! As much as goes through one connection over the loopback: one end sends pieces, the other reads into a buffer of
//! their size, with a limit.
//!
//! What this crate adds at 64 KiB is, by perf(1), some 1 % of the time in its own code, and waiting: one write in 25 finds no
//! room, which takes `epoll_wait` and a second `send` where a blocking `send` goes on by itself. (It took a third one, in
//! vain, as it still does bare mio, until a short write was taken for what it is: epoll(7), question 9.) With a processor for
//! each end it is more, since there a reader that got as much as it asked for finds nothing at the next attempt, for each
//! piece, and must ask before it may wait: reports are of changes.

mod support;

use std::iter;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use support::peers::{Peer, Round, Std, Wakesock, contestants, pair};
use support::report::{Answer, Report, table};
use support::{count, each, machine};

const KIB: usize = 1024;

fn main() {
    let mut report = Report::new("throughput");
    // Across processors it is the memory between them that is measured.
    machine::use_one_processor();
    let answer = report.compare(
        "one way, both threads on one processor: time for a piece",
        "KiB",
        &[1, 16, 64],
        |kib| contestants(OneWay { kib }),
    );
    report.text(&rates(&answer));
    report.figure(
        "throughput in pieces of 64 KiB",
        Std::NAME,
        answer.ratio_to(Wakesock::NAME, Std::NAME, 64),
        0.99,
    );
    #[cfg(feature = "tls")]
    under_tls(&mut report);
    report.finish();
}

/// What it is with both ends under TLS is the cryptography, a system call for a record and one for what is sent, and copies:
/// see `src/tls/session/`.
#[cfg(feature = "tls")]
fn under_tls(report: &mut Report) {
    use support::peers::tls::{self, StdTls, WakesockTls};

    let answer = report.compare(
        "one way under TLS, both threads on one processor: time for a piece",
        "KiB",
        &[1, 16, 64],
        |kib| tls::contestants(OneWay { kib }),
    );
    report.text(&rates(&answer));
    report.figure(
        "throughput under TLS in pieces of 64 KiB",
        StdTls::NAME,
        answer.ratio_to(WakesockTls::NAME, StdTls::NAME, 64),
        0.97,
    );
}

#[derive(Clone, Copy)]
struct OneWay {
    kib: usize,
}

impl Round for OneWay {
    /// From the first piece sent until the last has been read, for each piece.
    fn time<P: Peer>(self) -> Duration {
        let OneWay { kib } = self;
        let pieces = count(64, 1) * KIB / kib.max(4);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (near, far) = pair(&listener);
        let sender = P::spawn(move || {
            let piece = vec![b'x'; kib * KIB];
            let mut peer = P::of(near);
            let begin = Instant::now();
            for _ in 0..pieces {
                peer.send(&piece);
            }
            begin
        });
        let receiver = P::spawn(move || {
            let mut buf = vec![0; kib * KIB];
            let mut peer = P::of(far);
            let mut left = pieces * buf.len();
            while left > 0 {
                left -= peer.receive(&mut buf);
            }
            Instant::now()
        });
        let begin = sender();
        each(receiver() - begin, pieces)
    }
}

/// The same as MiB in a second.
fn rates(answer: &Answer) -> String {
    let head = answer.values().iter().map(|kib| format!("{kib} KiB"));
    let head = iter::once("MiB/s".to_owned()).chain(head).collect();
    let rows = answer.rows.iter().map(|row| {
        let cells = iter::zip(answer.values(), &row.cells);
        let rates = cells.map(|(kib, cell)| {
            let rate = |time: Duration| *kib as f64 / KIB as f64 / time.as_secs_f64();
            cell.map_or_else(String::new, |cell| format!("{:.0}", rate(cell.time)))
        });
        iter::once(row.name.to_owned()).chain(rates).collect()
    });
    table(&iter::once(head).chain(rows).collect::<Vec<_>>())
}
