//! The mixed load: a short one ends in time, with a verdict and its figures; one that can't compare anything fails.

use std::time::Instant;

use crate::running::run;

const SECONDS: u64 = 4;

/// The counts of the table at the end, by their names.
fn counts(output: &str) -> Vec<(&str, u64)> {
    let rows = output.lines().filter_map(|line| line.strip_suffix("/s"));
    let rows = rows.filter_map(|row| {
        let (name_and_count, _) = row.rsplit_once(' ')?;
        let (name, count) = name_and_count.trim_end().rsplit_once(' ')?;
        Some((name.trim(), count.replace(',', "").parse().ok()?))
    });
    rows.collect()
}

#[test]
fn a_mixed_load_stays_whole_and_flat() {
    let begin = Instant::now();
    let ended = run("soak", &["--seconds", &SECONDS.to_string(), "--threads", "4"]);
    let output = &ended.output;
    assert_eq!(ended.code, Some(0), "{output}{}", ended.errors);
    assert!(begin.elapsed().as_secs() >= SECONDS);
    assert_eq!(output.lines().last(), Some("PASS"));
    assert!(
        output.contains(" s, per second: connections "),
        "no figures meanwhile: {output}"
    );
    let counts = counts(output);
    assert_eq!(counts.len(), 14, "{output}");
    for (name, count) in counts {
        // A client may be lucky each time.
        let is_impossible = match name {
            "handshakes" => !cfg!(all(feature = "tls-ring", any(target_os = "linux", target_env = "gnu"))),
            "websockets" | "messages" => !cfg!(feature = "websocket"),
            _ => false,
        };
        assert!((count > 0) != is_impossible || name == "cut off", "none: {name}");
    }
    for level in ["descriptors", "threads", "resident, KiB", "allocated, KiB"] {
        let row = output.lines().find_map(|line| line.trim_start().strip_prefix(level));
        let values = row.map_or(0, |values| values.split_whitespace().count());
        assert_eq!(values, 6, "values of {level}");
    }
}

#[test]
fn nothing_follows_from_too_little() {
    let ended = run("soak", &["--seconds", "0", "--threads", "1"]);
    assert_eq!(ended.code, Some(1));
    let verdict = "  too short to compare its beginning and its end\nFAIL\n";
    assert!(ended.output.ends_with(verdict), "{}", ended.output);
    assert_ne!(ended.errors, "");
}
