//! What is counted, and what the process takes.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::allocated::allocated;

/// What is counted from the start to the end.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "websocket"), allow(dead_code, reason = "some are of WebSockets"))]
pub enum Count {
    Connections,
    /// Of TLS.
    Handshakes,
    WebSockets,
    Messages,
    Lines,
    Bytes,
    Closes,
    Aborts,
    Timeouts,
    Restarts,
    /// Clients that met the end of their server.
    Cuts,
    QueueEvents,
    Waits,
    Wakes,
}

const NAMES: [&str; 14] = [
    "connections",
    "handshakes",
    "websockets",
    "messages",
    "lines",
    "bytes",
    "closes",
    "aborts",
    "timeouts",
    "restarts",
    "cut off",
    "queue events",
    "waits",
    "wakes",
];

static COUNTS: [AtomicU64; NAMES.len()] = [const { AtomicU64::new(0) }; NAMES.len()];

impl Count {
    /// Async-signal-safe, as the waking of a socket has to be.
    pub fn add(self, count: u64) {
        COUNTS[self as usize].fetch_add(count, Relaxed);
    }
}

/// All counts at one moment.
#[derive(Clone, Copy)]
pub struct Counts {
    at: Instant,
    counts: [u64; NAMES.len()],
}

impl Counts {
    pub fn now() -> Counts {
        Counts {
            at: Instant::now(),
            counts: COUNTS.each_ref().map(|count| count.load(Relaxed)),
        }
    }

    /// Each with its name, and how many there are in a second since `before`.
    pub fn rates(&self, before: &Counts) -> impl Iterator<Item = (&'static str, u64, f64)> {
        let seconds = (self.at - before.at).as_secs_f64();
        let pairs = self.counts.into_iter().zip(before.counts);
        NAMES
            .into_iter()
            .zip(pairs)
            .map(move |(name, (now, before))| (name, now, (now - before) as f64 / seconds))
    }
}

/// What the process takes: descriptors, threads, and KiB of memory, resident and allocated.
pub type Levels = [u64; 4];

pub const LEVEL_NAMES: [&str; 4] = ["descriptors", "threads", "resident, KiB", "allocated, KiB"];

pub fn levels() -> io::Result<Levels> {
    // Without the one that they are listed with.
    let descriptors = fs::read_dir("/proc/self/fd")?.count() as u64 - 1;
    let status = fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    match (field("Threads:"), field("VmRSS:")) {
        (Some(threads), Some(memory)) => Ok([descriptors, threads, memory, allocated() / 1024]),
        _ => Err(io::Error::other("no figures in /proc/self/status")),
    }
}

/// The levels once they don't change any more, or what they are by then.
pub fn settled_levels() -> io::Result<Levels> {
    const ALIKE: usize = 5;
    let begin = Instant::now();
    let mut last = levels()?;
    let mut alike = 1;
    while alike < ALIKE && begin.elapsed() < Duration::from_secs(2) {
        thread::sleep(Duration::from_millis(5));
        let now = levels()?;
        alike = if now[..2] == last[..2] { alike + 1 } else { 1 };
        last = now;
    }
    Ok(last)
}

/// The lowest and the highest that was seen of each level.
#[derive(Clone, Copy)]
pub struct Range {
    pub least: Levels,
    pub most: Levels,
}

impl Range {
    pub fn of(levels: Levels) -> Range {
        Range {
            least: levels,
            most: levels,
        }
    }

    pub fn extend(&mut self, levels: Levels) {
        for (index, level) in levels.into_iter().enumerate() {
            self.least[index] = self.least[index].min(level);
            self.most[index] = self.most[index].max(level);
        }
    }
}
