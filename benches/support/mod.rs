//! What the benches share: contestants that take turns, round by round, and a table of medians and ratios.

#![allow(dead_code, unreachable_pub, reason = "each bench uses its part")]

use std::time::Duration;

/// One of the things compared: its name, and one round of it.
pub type Contestant<'a> = (&'a str, Box<dyn FnMut() -> Duration + 'a>);

/// Runs all contestants in turn, `rounds` times after one round of warming up, and prints a table.
///
/// A machine's speed drifts, so what is quoted is the ratio to the first contestant, round by round: how much of its
/// speed the others have.
pub fn compare(title: &str, rounds: usize, contestants: &mut [Contestant<'_>]) {
    let mut times = vec![Vec::with_capacity(rounds); contestants.len()];
    for round in 0..=rounds {
        for (times, (_, run)) in times.iter_mut().zip(contestants.iter_mut()) {
            let time = run();
            if round > 0 {
                times.push(time.as_secs_f64());
            }
        }
    }
    println!("\n{title}; {rounds} interleaved rounds");
    println!("{:40} {:>12} {:>8} {:>17}", "", "median", "ratio", "min .. max");
    let baseline = times[0].clone();
    for ((name, _), times) in contestants.iter().zip(&times) {
        let ratios = baseline.iter().zip(times).map(|(base, time)| base / time).collect();
        let ratios = sorted(ratios);
        println!(
            "{name:40} {:>12} {:>8.2} {:>8.2} .. {:.2}",
            format!("{:.1?}", Duration::from_secs_f64(median(&sorted(times.clone())))),
            median(&ratios),
            ratios[0],
            ratios[ratios.len() - 1],
        );
    }
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}

/// How many rounds: fewer with `--quick`.
pub fn rounds(thorough: usize) -> usize {
    if is_quick() { 1 } else { thorough }
}

pub fn is_quick() -> bool {
    std::env::args().any(|arg| arg == "--quick")
}

/// What so many of a hundred values don't exceed.
pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}
