//! What the standard library's types tell, ours tell, too.

use crate::support::begin;
use crate::{with_ours, with_std};

#[test]
fn every_method_tells_what_the_standard_librarys_tells() {
    let _test = begin();
    let mut differing = Vec::new();
    for ((name, of_std), (_, of_ours)) in with_std::program::CASES.iter().zip(with_ours::program::CASES) {
        let mut std_told = with_std::program::Told::default();
        of_std(&mut std_told);
        let mut ours_told = with_ours::program::Told::default();
        of_ours(&mut ours_told);
        let (std_told, ours_told) = (std_told.0, ours_told.0);
        for (step, (theirs, ours)) in std_told.iter().zip(&ours_told).enumerate() {
            if theirs != ours {
                differing.push(format!("{name}, step {step}:\n  theirs {theirs}\n  ours   {ours}"));
            }
        }
        assert_eq!(std_told.len(), ours_told.len(), "{name}");
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}
