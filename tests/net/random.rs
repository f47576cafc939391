//! Random sequences of calls, on the standard library's types and on these, step by step.
//!
//! `PROPTEST_CASES` says how many to try.

use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof};
use proptest::test_runner::{RngAlgorithm, TestCaseError, TestRunner};

use crate::support::begin;
use crate::{with_ours, with_std};

/// A call of one end of a connection, or of one of its clones.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Write(usize),
    WriteVectored(usize, usize),
    WriteAll(usize),
    Read(usize),
    ReadVectored(usize, usize),
    ReadExact(usize),
    ReadToEnd,
    Peek(usize),
    Flush,
    Nonblocking(bool),
    /// In milliseconds.
    ReadLimit(u64),
    WriteLimit(u64),
    Limits,
    ShutdownRead,
    ShutdownWrite,
    ShutdownBoth,
    Clone,
    DropClone,
    /// Becomes a descriptor, and a stream again.
    ThroughDescriptor,
    /// The same, by the descriptor's number.
    ThroughNumber,
    /// Becomes one of the standard library's, and one of its own again.
    ThroughStd,
    Nodelay(bool),
    Ttl(u32),
    Text,
    TakeError,
    Addresses,
    /// Drops it and its clones.
    Drop,
    /// The same, with a reset.
    Reset,
}

/// An act, and whose.
pub(crate) type Step = (bool, Act);

/// A call of a listener, or what a client does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OfListener {
    Connect,
    ConnectAndReset,
    Accept,
    Next,
    Nonblocking(bool),
    Clone,
    DropClone,
    ThroughDescriptor,
    ThroughStd,
    Options,
    Text,
}

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![0..4_usize, 1..300_usize, 1000..3000_usize]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => len().prop_map(Act::Write),
        2 => (len(), len()).prop_map(|(first, second)| Act::WriteVectored(first, second)),
        2 => len().prop_map(Act::WriteAll),
        6 => len().prop_map(Act::Read),
        2 => (len(), len()).prop_map(|(first, second)| Act::ReadVectored(first, second)),
        2 => len().prop_map(Act::ReadExact),
        1 => Just(Act::ReadToEnd),
        3 => len().prop_map(Act::Peek),
        2 => any::<bool>().prop_map(Act::Nonblocking),
        1 => (0..4_u64).prop_map(Act::ReadLimit),
        1 => (0..4_u64).prop_map(Act::WriteLimit),
        1 => Just(Act::Limits),
        1 => Just(Act::ShutdownRead),
        1 => Just(Act::ShutdownWrite),
        1 => Just(Act::ShutdownBoth),
        2 => Just(Act::Clone),
        1 => Just(Act::DropClone),
        1 => Just(Act::ThroughDescriptor),
        1 => Just(Act::ThroughNumber),
        1 => Just(Act::ThroughStd),
        1 => any::<bool>().prop_map(Act::Nodelay),
        1 => (0..300_u32).prop_map(Act::Ttl),
        1 => Just(Act::Flush),
        1 => Just(Act::Text),
        1 => Just(Act::TakeError),
        1 => Just(Act::Addresses),
        1 => Just(Act::Drop),
        1 => Just(Act::Reset),
    ]
}

fn of_listener() -> impl Strategy<Value = OfListener> {
    prop_oneof![
        4 => Just(OfListener::Connect),
        1 => Just(OfListener::ConnectAndReset),
        4 => Just(OfListener::Accept),
        2 => Just(OfListener::Next),
        2 => any::<bool>().prop_map(OfListener::Nonblocking),
        2 => Just(OfListener::Clone),
        1 => Just(OfListener::DropClone),
        1 => Just(OfListener::ThroughDescriptor),
        1 => Just(OfListener::ThroughStd),
        1 => Just(OfListener::Options),
        1 => Just(OfListener::Text),
    ]
}

/// Checks that both tell as much, in each step of each sequence.
fn compare<S: std::fmt::Debug>(
    steps: impl Strategy<Value = Vec<S>>,
    of_std: fn(&[S]) -> Vec<String>,
    of_ours: fn(&[S]) -> Vec<String>,
) {
    let config = ProptestConfig {
        // Each takes milliseconds, since limits run out.
        cases: ProptestConfig::default().cases / 4,
        failure_persistence: None,
        rng_algorithm: RngAlgorithm::ChaCha,
        ..ProptestConfig::default()
    };
    let result = TestRunner::new(config).run(&steps, |steps| {
        let (theirs, ours) = (of_std(&steps), of_ours(&steps));
        for (theirs, ours) in theirs.iter().zip(&ours) {
            if theirs != ours {
                return Err(TestCaseError::fail(format!("theirs {theirs}, ours {ours}")));
            }
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn any_calls_of_two_streams_tell_what_the_standard_librarys_tell() {
    let _test = begin();
    let steps = vec((any::<bool>(), act()), 1..40);
    compare(steps, with_std::program::tcp_steps, with_ours::program::tcp_steps);
}

#[test]
fn any_calls_of_two_streams_of_unix_tell_what_the_standard_librarys_tell() {
    let _test = begin();
    let steps = vec((any::<bool>(), act()), 1..40);
    compare(steps, with_std::program::unix_steps, with_ours::program::unix_steps);
}

#[test]
fn any_calls_of_a_listener_tell_what_the_standard_librarys_tell() {
    let _test = begin();
    let steps = vec(of_listener(), 1..30);
    compare(
        steps,
        with_std::program::listener_steps,
        with_ours::program::listener_steps,
    );
}

#[test]
fn any_calls_of_a_listener_of_unix_tell_what_the_standard_librarys_tell() {
    let _test = begin();
    let steps = vec(of_listener(), 1..30);
    compare(
        steps,
        with_std::program::unix_listener_steps,
        with_ours::program::unix_listener_steps,
    );
}
