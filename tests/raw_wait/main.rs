//! What waits: the plug `RawWait`, and what comes with the crate.
//!
//! - `any`: what the others check of each.
//! - `failing`: waiters whose waits fail.
//! - `scripted`: waiters that return early, say what isn't so, and fail.
//! - `thread_wait`: `ThreadWait`, for two descriptors a thread.
//! - `reported_once`: what a wait has reported it does not report again.

#[path = "../support/mod.rs"]
mod support;

mod any;
#[cfg(unix)]
mod failing;
#[cfg(target_os = "linux")]
mod priorities;
mod reported_once;
mod scripted;
mod thread_wait;
