//! Any mix of records, and of what is none: nothing panics, hangs, or takes much memory, and no data is lost or made up.
//!
//! `PROPTEST_CASES` says how many to try. The fuzzer in `tests/fuzz` looks for cases by what they reach; the ones that
//! it keeps are tried here, too.

use std::fs;
use std::path::Path;

use arbitrary::{Arbitrary, Unstructured};
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any};
use proptest::test_runner::{RngAlgorithm, TestCaseError, TestRunner};

use crate::records::{Case, Step, check};
use crate::support::begin;

fn decoded(bytes: &[u8]) -> Case {
    Case::arbitrary(&mut Unstructured::new(bytes)).unwrap()
}

#[test]
fn any_mix_of_records_gives_the_data_before_the_first_bad_one_and_an_error_that_stays() {
    let config = ProptestConfig {
        // What fails is printed; nothing is written.
        failure_persistence: None,
        max_shrink_time: 30_000,
        // Several times as fast as the default one, where nothing is optimised.
        rng_algorithm: RngAlgorithm::XorShift,
        ..ProptestConfig::default()
    };
    let result = TestRunner::new(config).run(&vec(any::<u8>(), 0..400), |bytes| {
        // Each case for itself, so that there may be many of them.
        let _test = begin();
        let case = decoded(&bytes);
        check(&case).map_err(|error| TestCaseError::fail(format!("{error}: {case:?}")))
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_message_that_takes_all_the_room_there_is_comes_to_an_end() {
    let _test = begin();
    for piece in [1_000, 16_384] {
        for sent in (60_000..65_400).step_by(300).chain(65_400..65_550) {
            let message = Step::Message {
                kind: 4,
                said: 0xffff,
                sent,
                piece,
            };
            let case = Case {
                is_client: true,
                is_old: false,
                steps: vec![Step::Data(10), message, Step::Get(100), Step::Get(100)],
            };
            assert_eq!(check(&case), Ok(()), "{case:?}");
        }
    }
}

#[test]
fn what_the_fuzzer_has_kept_is_put_up_with() {
    let _test = begin();
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/records");
    let mut count = 0;
    for entry in fs::read_dir(&place).unwrap() {
        let path = entry.unwrap().path();
        let case = decoded(&fs::read(&path).unwrap());
        assert_eq!(check(&case), Ok(()), "{}: {case:?}", path.display());
        count += 1;
    }
    assert!(count > 0, "the corpus is empty");
}
