//! The figures that others quote, as they are handed from one bench to the summary: a line of a file for each.

use std::fmt;
use std::fs;
use std::path::Path;

/// How much of the speed of `against` does `what` have; or, with a goal that is a most, a count.
pub struct Figure {
    pub what: String,
    pub against: String,
    pub measured: f64,
    pub goal: Goal,
}

#[derive(Clone, Copy)]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Figure {
    /// All that a bench has kept.
    pub fn read(file: &Path) -> Vec<Figure> {
        let text = fs::read_to_string(file).unwrap();
        let figures = text
            .lines()
            .map(|line| Figure::parse(line).expect("a line as `fmt` writes it"));
        figures.collect()
    }

    fn parse(line: &str) -> Option<Figure> {
        let mut fields = line.split('\t');
        let mut next = || fields.next();
        let (what, against, measured) = (next()?.to_owned(), next()?.to_owned(), next()?.parse().ok()?);
        let goal = match next()?.split_once(' ')? {
            ("least", goal) => Goal::AtLeast(goal.parse().ok()?),
            (_, goal) => Goal::AtMost(goal.parse().ok()?),
        };
        Some(Figure {
            what,
            against,
            measured,
            goal,
        })
    }

    /// As precise as it is shown.
    pub fn is_reached(&self) -> bool {
        match self.goal {
            Goal::AtLeast(goal) => (self.measured * 100.0).round() >= (goal * 100.0).round(),
            Goal::AtMost(goal) => (self.measured * 100.0).round() <= (goal * 100.0).round(),
        }
    }

    pub fn measured(&self) -> String {
        match self.goal {
            Goal::AtLeast(_) => format!("{:.2}", self.measured),
            Goal::AtMost(_) => format!("{}", self.measured),
        }
    }

    pub fn goal(&self) -> String {
        match self.goal {
            Goal::AtLeast(goal) => format!("{goal:.2}"),
            Goal::AtMost(goal) => format!("at most {goal}"),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figure {
            what,
            against,
            measured,
            goal,
        } = self;
        let (side, goal) = match goal {
            Goal::AtLeast(goal) => ("least", goal),
            Goal::AtMost(goal) => ("most", goal),
        };
        writeln!(f, "{what}\t{against}\t{measured}\t{side} {goal}")
    }
}
