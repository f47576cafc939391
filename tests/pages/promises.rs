//! What `src/promises.md` says of the tests.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// The names in backquotes, in the table cells that list tests.
fn named(table: &str) -> impl Iterator<Item = &str> {
    let rows = table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| promise"));
    let cells = rows.map(|row| {
        row.trim_end_matches([' ', '|'])
            .rsplit_once(" | ")
            .expect("two cells")
            .1
    });
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2))
}

#[test]
fn every_test_that_is_named_for_a_promise_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let promises = fs::read_to_string(root.join("src/promises.md")).unwrap();
    let mut files = HashMap::new();
    let mut count = 0;
    for name in named(&promises) {
        let (file, test) = name
            .rsplit_once("::")
            .unwrap_or_else(|| panic!("{name} is not target::file::test or target::test"));
        let text = files.entry(file).or_insert_with(|| {
            let path = root.join("tests").join(file.replace("::", "/")).with_extension("rs");
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        });
        let function = format!("\nfn {test}() {{");
        assert!(text.contains(&function), "there is no test {name}");
        count += 1;
    }
    assert!(count > 80, "only {count} tests are named");
}
