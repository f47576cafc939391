//! `wakesock::net`, the standard library's names.
//!
//! - `program`: one text, compiled twice, with the standard library's types and with these. `same` compares what the two tell.
//! - `random`: random sequences of calls on both, step by step.
//! - `ending`: what ends each call that blocks.
//! - `look_ups`: a name in place of an address.
//! - `sharing`: threads and clones that share one socket.
//! - `others`: other people's programs, ended in the middle.
//! - `owners`: conversions, and what becomes of descriptors.
//! - `ported`: what people write over the standard library, ended by a signal.

#![cfg(target_os = "linux")]
#![allow(clippy::duplicate_mod, reason = "the program is compiled twice")]

#[path = "../support/names.rs"]
mod names;
#[path = "../support/mod.rs"]
mod support;

mod ending;
mod look_ups;
mod others;
mod owners;
#[cfg(feature = "signal")]
mod ported;
mod random;
mod same;
mod sharing;
mod with_ours;
mod with_std;

/// What the tests of these types share with the program.
use with_ours::program;
