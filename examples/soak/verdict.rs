//! What was found, and what follows from it.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use indicatif::HumanCount;

use crate::PATIENCE;
use crate::figures::{Counts, LEVEL_NAMES, Levels, Range};
use crate::screen::human;
use crate::support::say;
use crate::tls;

pub struct Findings {
    /// Before there was anything, and when all had ended.
    before: Levels,
    pub after: Levels,
    pub under_load: Range,
    /// Each time that all were at rest.
    pub at_rest: Vec<Levels>,
    /// What has not ended while it should have.
    pub stuck: Option<String>,
    pub took_to_end: Option<Duration>,
    pub failures: Vec<String>,
}

/// What a thread may keep of what it has read and sent for WebSockets, in KiB: 8 and 128 that it reads into, 64 that it sends from.
const KEPT_BY_THREAD: u64 = 8 + 128 + 64;

/// By how much the last quarter may be above the first. Descriptors and threads not at all; resident memory by what the
/// allocator may keep, for its threads' sake, which is more where there are long messages; what is allocated by what lists
/// and tables may have grown, and by what threads keep once they have had much to read or send.
fn tolerance(first: &Levels) -> Levels {
    let [_, threads, resident, _] = *first;
    let servers = if tls::IS_HERE { 2 } else { 1 };
    let (kept, by_threads) = match cfg!(feature = "websocket") {
        true => (8 * 1024, threads * KEPT_BY_THREAD),
        false => (4 * 1024, 0),
    };
    [0, 0, (resident / 10).max(kept), 32 * servers + by_threads]
}

/// The middle one of each level, which one that is far off doesn't move, and a leak does.
fn medians(levels: &[Levels]) -> Levels {
    std::array::from_fn(|index| {
        let mut values: Vec<u64> = levels.iter().map(|levels| levels[index]).collect();
        values.sort_unstable();
        values[(values.len() - 1) / 2]
    })
}

impl Findings {
    pub fn new(before: Levels, now: Levels) -> Findings {
        Findings {
            before,
            after: before,
            under_load: Range::of(now),
            at_rest: Vec::new(),
            stuck: None,
            took_to_end: None,
            failures: Vec::new(),
        }
    }

    /// The levels, at rest, of the first and of the last quarter.
    fn quarters(&self) -> Option<(Levels, Levels)> {
        let rests = self.at_rest.len();
        let quarter = rests / 4;
        // With fewer than four rests there is nothing to compare.
        (quarter > 0).then(|| {
            (
                medians(&self.at_rest[..quarter]),
                medians(&self.at_rest[rests - quarter..]),
            )
        })
    }

    /// Why it has failed, if it has.
    fn reasons(&self) -> Vec<String> {
        let mut reasons = self.failures.clone();
        reasons.extend(self.stuck.clone());
        if self.took_to_end.is_none() {
            reasons.push(format!(
                "not all threads have ended, without a panic, within {PATIENCE:?} of the shutdown"
            ));
        }
        match self.quarters() {
            None => reasons.push("too short to compare its beginning and its end".to_owned()),
            Some((first, last)) => {
                let tolerance = tolerance(&first);
                for (index, name) in LEVEL_NAMES.into_iter().enumerate() {
                    if last[index] > first[index] + tolerance[index] {
                        reasons.push(format!("{name}: from {} to {}", first[index], last[index]));
                    }
                }
            }
        }
        for (index, name) in LEVEL_NAMES.into_iter().enumerate().take(2) {
            if self.after[index] != self.before[index] {
                let (before, after) = (self.before[index], self.after[index]);
                reasons.push(format!("{name}: {before} before it all, and {after} after it"));
            }
        }
        reasons
    }

    /// Tells everything. An error if it has failed.
    pub fn report(&self, counts: &Counts, begin: &Counts) -> Result<(), Box<dyn StdError>> {
        for (name, count, rate) in counts.rates(begin) {
            say(&format!("{name:>14} {:>16} {:>14}/s", HumanCount(count), human(rate)))?;
        }
        self.report_levels()?;
        if let Some(took) = self.took_to_end {
            say(&format!(
                "all ended {:.1} ms after the shutdown",
                took.as_secs_f64() * 1e3
            ))?;
        }
        let reasons = self.reasons();
        if reasons.is_empty() {
            return Ok(say("PASS")?);
        }
        for reason in &reasons {
            say(&format!("  {reason}"))?;
        }
        say("FAIL")?;
        Err("it has failed, for the reasons above".into())
    }

    fn report_levels(&self) -> io::Result<()> {
        let rests = self.at_rest.len();
        say(&format!(
            "{:>14} {:>11} {:>11} {:>11}   {:>8} {:>8} {:>8}",
            format!("{rests} rests"),
            "1st quarter",
            "last",
            "may be",
            "least",
            "most",
            "after"
        ))?;
        let Some((first, last)) = self.quarters() else {
            return Ok(());
        };
        let tolerance = tolerance(&first);
        for (index, name) in LEVEL_NAMES.into_iter().enumerate() {
            say(&format!(
                "{name:>14} {:>11} {:>11} {:>11}   {:>8} {:>8} {:>8}",
                first[index],
                last[index],
                first[index] + tolerance[index],
                self.under_load.least[index],
                self.under_load.most[index],
                self.after[index]
            ))?;
        }
        Ok(())
    }
}
