//! Contestants that take turns, round by round, and the table and the plot of what came out.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, iter};

pub use super::answer::Answer;
use super::answer::Cell;
pub use super::figures::Figure;
use super::figures::Goal;
pub use super::table::{table, thousands};
use super::{count, machine, plot};

/// One of the things compared: its name, and one round of it, which says how long one operation took.
pub type Contestant<'a> = (&'static str, Box<dyn FnMut() -> Duration + 'a>);

/// Interleaved rounds, beside one to warm up.
const ROUNDS: usize = 11;

/// What one bench has found out: printed as it comes, and written to `benches/target/bench` as Markdown, with a plot for each
/// question.
pub struct Report {
    name: &'static str,
    markdown: String,
    plots: usize,
    figures: Vec<Figure>,
}

impl Report {
    pub fn new(name: &'static str) -> Report {
        println!("\n# {name}\n\n{}", machine::description());
        Report {
            name,
            markdown: format!("# {name}\n\n{}\n", machine::description()),
            plots: 0,
            figures: Vec::new(),
        }
    }

    /// Has all contestants take turns for each of `values`, prints a table, and plots it if there are several.
    ///
    /// A machine's speed drifts, so what counts is the ratio to the first contestant, round by round.
    pub fn compare<'a>(
        &mut self,
        title: &str,
        parameter: &'static str,
        values: &[usize],
        contestants: impl Fn(usize) -> Vec<Contestant<'a>>,
    ) -> Answer {
        self.compare_in(count(ROUNDS, 1), title, parameter, values, contestants)
    }

    /// Compares as [`compare`](Report::compare) does, in so many rounds: many, where a few hundredths count.
    pub fn compare_in<'a>(
        &mut self,
        rounds: usize,
        title: &str,
        parameter: &'static str,
        values: &[usize],
        contestants: impl Fn(usize) -> Vec<Contestant<'a>>,
    ) -> Answer {
        let mut answer = Answer::new(format!("{title}; {rounds} interleaved rounds"), parameter, values);
        for (column, value) in values.iter().enumerate() {
            for (name, cell) in run(rounds, contestants(*value)) {
                answer.put(name, column, cell);
            }
        }
        self.text(&answer.table());
        if values.len() < 2 {
            return answer;
        }
        self.plots += 1;
        let plot = format!("{}-{}.svg", self.name, self.plots);
        plot::draw(&answer, &directory().join(&plot));
        let _ = write!(self.markdown, "\n![{title}]({plot})\n");
        answer
    }

    /// Prints and writes down something that is not timed.
    pub fn text(&mut self, text: &str) {
        println!("\n{text}");
        let _ = write!(self.markdown, "\n{text}\n");
    }

    /// Keeps a ratio for the summary, with what it has to be at least.
    pub fn figure(&mut self, what: &str, against: &str, ratio: Option<f64>, goal: f64) {
        self.keep(what, against, ratio, Goal::AtLeast(goal));
    }

    /// Keeps a number for the summary, with what it has to be at most.
    pub fn number(&mut self, what: &str, number: Option<f64>, goal: f64) {
        self.keep(what, "(a count)", number, Goal::AtMost(goal));
    }

    fn keep(&mut self, what: &str, against: &str, measured: Option<f64>, goal: Goal) {
        self.figures.extend(measured.map(|measured| Figure {
            what: what.into(),
            against: against.into(),
            measured,
            goal,
        }));
    }

    /// Writes it all down.
    pub fn finish(self) {
        let figures: String = self.figures.iter().map(Figure::to_string).collect();
        fs::write(directory().join(format!("{}.md", self.name)), self.markdown).unwrap();
        fs::write(directory().join(format!("{}.figures", self.name)), figures).unwrap();
    }
}

/// Where reports go.
pub fn directory() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench");
    fs::create_dir_all(&directory).unwrap();
    directory
}

fn run(rounds: usize, mut contestants: Vec<Contestant<'_>>) -> Vec<(&'static str, Cell)> {
    let mut times = vec![Vec::with_capacity(rounds); contestants.len()];
    for round in 0..=rounds {
        for (times, (_, run)) in iter::zip(&mut times, &mut contestants) {
            let time = run();
            if round > 0 {
                times.push(time);
            }
        }
    }
    let cells = times.iter().map(|own| Cell::of(own, &times[0]));
    iter::zip(&contestants, cells)
        .map(|((name, _), cell)| (*name, cell))
        .collect()
}
