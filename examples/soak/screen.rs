//! The figures as they are just now: on one screen, or as a line now and then.

use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use crate::figures::{Counts, LEVEL_NAMES, Range, levels};
use crate::support::say;

pub struct Screen {
    /// None where nobody looks on.
    bar: Option<ProgressBar>,
    shown: Counts,
    shown_at: Instant,
    between_lines: Duration,
}

const BETWEEN_SCREENS: Duration = Duration::from_secs(1);
const BETWEEN_LINES: Duration = Duration::from_secs(10);

impl Screen {
    pub fn new(length: Duration) -> Screen {
        let style =
            ProgressStyle::with_template("{elapsed_precise} {wide_bar} {len} s\n{msg}").expect("a valid template");
        let bar = || ProgressBar::new(length.as_secs()).with_style(style);
        Screen {
            bar: io::stderr().is_terminal().then(bar),
            shown: Counts::now(),
            shown_at: Instant::now(),
            // A short soak says something, too.
            between_lines: BETWEEN_LINES.min(length / 4),
        }
    }

    /// Shows how it goes on, if it is time for that.
    pub fn show(&mut self, elapsed: Duration, under_load: &Range) -> io::Result<()> {
        let between = if self.bar.is_some() {
            BETWEEN_SCREENS
        } else {
            self.between_lines
        };
        if self.shown_at.elapsed() < between {
            return Ok(());
        }
        let counts = Counts::now();
        let now = levels()?;
        match &self.bar {
            Some(bar) => {
                let mut text = String::new();
                for (name, count, rate) in counts.rates(&self.shown) {
                    let _ = writeln!(text, "{name:>14} {:>16} {:>14}/s", HumanCount(count), human(rate));
                }
                for (index, name) in LEVEL_NAMES.into_iter().enumerate() {
                    let (least, most) = (under_load.least[index], under_load.most[index]);
                    let _ = writeln!(text, "{name:>14} {:>16} {least:>14} to {most}", now[index]);
                }
                bar.set_position(elapsed.as_secs());
                bar.set_message(text);
            }
            None => {
                let rates = counts.rates(&self.shown);
                let rates: Vec<String> = rates.map(|(name, _, rate)| format!("{name} {}", human(rate))).collect();
                let levels: Vec<String> = LEVEL_NAMES
                    .iter()
                    .zip(now)
                    .map(|(name, level)| format!("{name} {level}"))
                    .collect();
                let seconds = elapsed.as_secs();
                say(&format!(
                    "{seconds} s, per second: {}; {}",
                    rates.join(", "),
                    levels.join(", ")
                ))?;
            }
        }
        self.shown = counts;
        self.shown_at = Instant::now();
        Ok(())
    }

    pub fn finish(&self) {
        self.bar.iter().for_each(ProgressBar::finish_and_clear);
    }
}

/// A rate, to a whole number.
pub fn human(rate: f64) -> HumanCount {
    HumanCount(rate.round() as u64)
}
