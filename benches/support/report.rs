//! Contestants that take turns, round by round, and the table and the plot of what came out.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, iter};

pub use super::figures::Figure;
use super::figures::Goal;
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

/// What came out of a question.
pub struct Answer {
    title: String,
    parameter: &'static str,
    values: Vec<usize>,
    pub rows: Vec<Row>,
}

pub struct Row {
    pub name: &'static str,
    /// One for each value of the parameter. None where the contestant could not take part.
    pub cells: Vec<Option<Cell>>,
}

#[derive(Clone, Copy)]
pub struct Cell {
    /// The median.
    pub time: Duration,
    /// How much of the first contestant's speed this one has, in the same round: median, least and most.
    pub ratio: f64,
    pub least: f64,
    pub most: f64,
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
        let mut answer = Answer {
            title: format!("{title}; {rounds} interleaved rounds"),
            parameter,
            values: values.to_vec(),
            rows: Vec::new(),
        };
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

impl Cell {
    fn of(times: &[Duration], baseline: &[Duration]) -> Cell {
        let ratios = iter::zip(baseline, times).map(|(base, time)| base.as_secs_f64() / time.as_secs_f64());
        let mut ratios: Vec<f64> = ratios.collect();
        ratios.sort_by(f64::total_cmp);
        let mut times = times.to_vec();
        times.sort_unstable();
        Cell {
            time: times[times.len() / 2],
            ratio: ratios[ratios.len() / 2],
            least: ratios[0],
            most: ratios[ratios.len() - 1],
        }
    }
}

impl Answer {
    fn put(&mut self, name: &'static str, column: usize, cell: Cell) {
        let row = self.rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
            let cells = vec![None; self.values.len()];
            self.rows.push(Row { name, cells });
            self.rows.len() - 1
        });
        self.rows[row].cells[column] = Some(cell);
    }

    pub fn title(&self) -> &str {
        &self.title
    }

    pub fn parameter(&self) -> &str {
        self.parameter
    }

    pub fn values(&self) -> &[usize] {
        &self.values
    }

    fn cell(&self, name: &str, value: usize) -> Option<Cell> {
        let column = self.values.iter().position(|other| *other == value)?;
        self.rows.iter().find(|row| row.name == name)?.cells[column]
    }

    /// How much of the first contestant's speed this one has.
    pub fn ratio(&self, name: &str, value: usize) -> Option<f64> {
        self.cell(name, value).map(|cell| cell.ratio)
    }

    /// How much of another contestant's speed this one has.
    pub fn ratio_to(&self, name: &str, other: &str, value: usize) -> Option<f64> {
        Some(self.ratio(name, value)? / self.ratio(other, value)?)
    }

    /// How long one operation of this one takes.
    pub fn time(&self, name: &str, value: usize) -> Option<Duration> {
        self.cell(name, value).map(|cell| cell.time)
    }

    /// As Markdown that can be read as it is.
    fn table(&self) -> String {
        let heads = self
            .values
            .iter()
            .map(|value| format!("{} {}", thousands(*value), self.parameter));
        let head = iter::once(format!("1.00 = {}", self.rows[0].name))
            .chain(heads)
            .collect();
        let rows = self.rows.iter().map(|row| {
            let cells = row
                .cells
                .iter()
                .map(|cell| cell.map_or_else(String::new, |cell| cell.to_string()));
            iter::once(row.name.to_owned()).chain(cells).collect()
        });
        format!(
            "## {}\n\n{}",
            self.title,
            table(&iter::once(head).chain(rows).collect::<Vec<_>>())
        )
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Cell {
            time,
            ratio,
            least,
            most,
        } = self;
        write!(f, "{ratio:.2} ({least:.2} .. {most:.2}) {time:.1?}")
    }
}

/// A number as one reads it.
pub fn thousands(number: usize) -> String {
    match number / 1000 {
        0 => number.to_string(),
        more => format!("{},{:03}", thousands(more), number % 1000),
    }
}

/// A Markdown table of these rows, the first of which is its head, in columns.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows[0].len();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |cells: &[String]| {
        let cells = iter::zip(cells, &widths).map(|(cell, width)| format!(" {cell:width$} |"));
        format!("|{}", cells.collect::<String>())
    };
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut lines = vec![line(&rows[0]), line(&rule)];
    lines.extend(rows[1..].iter().map(|row| line(row)));
    lines.join("\n")
}
