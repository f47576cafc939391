//! What the benches share.

#![allow(dead_code, unused_imports, unreachable_pub, reason = "each bench uses its part")]

pub mod answer;
pub mod counting;
pub mod figures;
pub mod machine;
pub mod peers;
pub mod plot;
pub mod report;
pub mod servers;
pub mod table;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "websocket")]
pub mod web_sockets;

use std::time::Duration;

/// The limit that every operation of every peer has, unless its name says otherwise.
pub const LIMIT: Duration = Duration::from_secs(10);

pub fn is_quick() -> bool {
    std::env::args().any(|arg| arg == "--quick")
}

/// How many of something: few with `--quick`, where it only matters that the bench works.
pub fn count(thorough: usize, quick: usize) -> usize {
    if is_quick() { quick } else { thorough }
}

/// A duration as the average of so many.
pub fn each(all: Duration, count: usize) -> Duration {
    Duration::from_secs_f64(all.as_secs_f64() / count as f64)
}

/// What so many of a hundred values don't exceed.
pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}
