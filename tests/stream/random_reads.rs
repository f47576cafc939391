//! Any mix of reads, held against a plain byte string.
//!
//! `PROPTEST_CASES` says how many to try. The fuzzer in `tests/fuzz` looks for cases by what they reach; the ones that
//! it keeps are tried here, too.

use std::fs;
use std::path::Path;

use arbitrary::{Arbitrary, Unstructured};
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof};
use proptest::test_runner::{RngAlgorithm, TestCaseError, TestRunner};
use wakesock::TcpSocket;

#[cfg(unix)]
use crate::reads::model::unix_pair;
use crate::reads::model::{Peer, check, tcp_pair};
use crate::reads::{Act, Case, Ending, MAX_LINE, Piece};
use crate::support::{NO_RESETS, begin, is_wine};

fn piece() -> impl Strategy<Value = Piece> {
    let once = |bytes: &[u8]| Just((bytes.to_vec(), 1));
    prop_oneof![
        3 => once(b"\n"),
        3 => once(b"\r\n"),
        2 => once(b"\r"),
        1 => once(b"\0"),
        1 => once(b"\n\n\r\r\n\n"),
        1 => once(b"\xff"),
        1 => once(b"\xe2\x82"),
        2 => once("näïve €".as_bytes()),
        3 => vec(any::<u8>(), 0..60).prop_map(|bytes| (bytes, 1)),
        2 => (1..9_000_usize).prop_map(|times| (b"x".to_vec(), times)),
        // Lines that `get_line` just takes, and just doesn't.
        2 => (MAX_LINE - 2..MAX_LINE + 3).prop_map(|times| (b"l".to_vec(), times)),
    ]
    .prop_map(|(bytes, times)| Piece { bytes, times })
}

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0..5_usize,
        4 => 1..200_usize,
        2 => 8_190..8_195_usize,
        1 => 10_000..40_000_usize,
        2 => MAX_LINE - 1..MAX_LINE + 4,
        1 => Just(usize::MAX),
    ]
}

/// A length for which there is a buffer.
fn buffer() -> impl Strategy<Value = usize> {
    len().prop_map(|len| len.min(150_000))
}

fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![Just(b'\n'), Just(0), any::<u8>()]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        10 => len().prop_map(Act::Send),
        4 => any::<bool>().prop_map(Act::SendLine),
        2 => Just(Act::SplitOrJoin),
        2 => buffer().prop_map(Act::Get),
        2 => len().prop_map(Act::GetBytes),
        2 => Just(Act::GetByte),
        1 => Just(Act::Peek),
        1 => Just(Act::Term),
        2 => buffer().prop_map(Act::GetAll),
        2 => len().prop_map(Act::GetAllBytes),
        4 => Just(Act::GetLine),
        2 => len().prop_map(Act::GetLineBytes),
        2 => len().prop_map(Act::GetLineInto),
        3 => (0..3_usize).prop_map(Act::GetLineNear),
        2 => buffer().prop_map(Act::Read),
        2 => len().prop_map(Act::FillBufAndConsume),
        2 => byte().prop_map(Act::ReadUntil),
        1 => byte().prop_map(Act::SkipUntil),
        2 => Just(Act::ReadLine),
        2 => buffer().prop_map(Act::ReadExact),
        1 => Just(Act::ReadToEnd),
        1 => Just(Act::ReadToString),
        2 => len().prop_map(Act::PeekAll),
        2 => len().prop_map(Act::Unread),
        1 => Just(Act::WaitRead),
        1 => Just(Act::WaitRequest),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let limit = prop_oneof![3 => Just(0), 1 => 1..200_u64];
    let ending = (0..3_u8).prop_map(|number| match number {
        0 if !is_wine() => Ending::Reset, // see `NO_RESETS`
        _ => Ending::EndOfFile,
    });
    (vec(piece(), 1..16), ending, vec((limit, act()), 1..100)).prop_map(|(stream, ending, acts)| Case {
        stream,
        ending,
        acts,
    })
}

fn check_all<P: Peer>(pair: fn() -> (TcpSocket, P)) {
    let config = ProptestConfig {
        // What fails is printed; nothing is written.
        failure_persistence: None,
        max_shrink_time: 30_000,
        // Several times as fast as the default one, where nothing is optimised.
        rng_algorithm: RngAlgorithm::XorShift,
        ..ProptestConfig::default()
    };
    let result = TestRunner::new(config).run(&case(), |case| {
        // Each case for itself, so that there may be many of them.
        let _test = begin();
        check(pair(), &case).map_err(TestCaseError::fail)
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[cfg(unix)]
#[test]
fn any_mix_of_reads_gives_the_stream() {
    check_all(unix_pair);
}

#[test]
fn any_mix_of_reads_gives_the_stream_of_tcp() {
    check_all(tcp_pair);
}

/// The cases that the fuzzer has kept, each with its file.
fn corpus() -> Vec<(String, Case)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/reads");
    let read = |path: &Path| {
        let bytes = fs::read(path).unwrap();
        let case = Case::arbitrary(&mut Unstructured::new(&bytes)).unwrap();
        (path.display().to_string(), case)
    };
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    entries.map(|entry| read(&entry.unwrap().path())).collect()
}

#[test]
fn what_the_fuzzer_has_kept_gives_the_stream() {
    let corpus = corpus();
    assert!(!corpus.is_empty(), "the corpus is empty");
    for (path, case) in corpus {
        let test = begin();
        if test.skip_if(is_wine(), NO_RESETS) {
            return;
        }
        #[cfg(unix)]
        assert_eq!(check(unix_pair(), &case), Ok(()), "{path}: {case:?}");
        assert_eq!(check(tcp_pair(), &case), Ok(()), "{path}: {case:?}");
    }
}
