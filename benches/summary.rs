//! What the other benches have found out, in one table: the figures that others quote, and whether they are as good as
//! they have to be.
//!
//! ```text
//! cargo bench --manifest-path benches/Cargo.toml
//! cargo bench --manifest-path benches/Cargo.toml --bench summary [-- --write]
//! ```
//!
//! The first runs all benches by name, this one not last; so this one is run once more when the others are done.
//!
//! With `--write` it puts the table, and the plot of waiting among idle sockets, where the README shows them.

mod support;

use std::fs;
use std::path::Path;

use support::machine;
use support::report::{Figure, directory, table};

const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

fn main() {
    let figures = kept();
    if figures.is_empty() {
        println!("\nNo figures yet: run the other benches first.");
        return;
    }
    let head = ["what", "against", "at least", "measured", ""].map(str::to_owned);
    let rows = figures.iter().map(|figure| {
        let reached = if figure.is_reached() { "reached" } else { "NOT REACHED" };
        vec![
            figure.what.clone(),
            figure.against.clone(),
            figure.goal(),
            figure.measured(),
            reached.to_owned(),
        ]
    });
    let rows: Vec<Vec<String>> = [head.to_vec()].into_iter().chain(rows).collect();
    println!("\n# summary\n\n{}\n\n{}", machine::description(), table(&rows));
    if std::env::args().any(|arg| arg == "--write") {
        write(&figures);
    }
}

/// Of each bench that has run, by its name.
fn kept() -> Vec<Figure> {
    let files = fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "figures"))
        .collect();
    files.sort();
    files.iter().flat_map(|file| Figure::read(file)).collect()
}

fn write(figures: &[Figure]) {
    let benches = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = benches.with_file_name("README.md");
    let text = fs::read_to_string(&readme).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("README.md has a place for it");
    let (_, after) = rest.split_once(END).expect("README.md says where that place ends");

    let head = ["what", "against", "share of its speed"].map(str::to_owned);
    let rows = figures
        .iter()
        .map(|figure| vec![figure.what.clone(), figure.against.clone(), figure.measured()]);
    let rows: Vec<Vec<String>> = [head.to_vec()].into_iter().chain(rows).collect();
    let machine = machine::description();
    let text = format!("{before}{BEGIN}\nOn {machine}:\n\n{}\n{END}{after}", table(&rows));
    fs::write(readme, text).unwrap();
    // The first question of that bench.
    fs::copy(directory().join("queue-1.svg"), benches.join("wait_cost.svg")).unwrap();
}
