//! What came out of a question: a time and a ratio for each contestant and value.

use std::iter;
use std::time::Duration;

use super::table::{table, thousands};

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

impl Cell {
    /// Of the rounds that took these times, beside the first contestant's.
    pub fn of(times: &[Duration], baseline: &[Duration]) -> Cell {
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

impl Answer {
    /// No contestant has taken part so far.
    pub fn new(title: String, parameter: &'static str, values: &[usize]) -> Answer {
        Answer {
            title,
            parameter,
            values: values.to_vec(),
            rows: Vec::new(),
        }
    }

    pub fn put(&mut self, name: &'static str, column: usize, cell: Cell) {
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
    pub fn table(&self) -> String {
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
