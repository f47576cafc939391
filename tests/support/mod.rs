//! What the tests share: each file here has one purpose.
//!
//! Every test begins with [`begin`]: tests of one binary run one at a time, under a watchdog, and leave as many
//! descriptors and threads behind as they found.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each test binary uses its part"
)]
#![allow(unsafe_code, reason = "system calls")]

mod black_hole;
mod blocked;
#[cfg(all(feature = "tls-ring", any(target_os = "linux", target_env = "gnu")))]
pub mod certificates;
pub mod ending;
pub mod every;
pub mod full;
#[cfg(target_os = "linux")]
pub mod handlers;
pub mod operations;
mod platforms;
pub mod queues;
pub mod races;
mod random;
#[cfg(target_os = "linux")]
pub mod scarce;
pub mod scripted;
mod sockets;
pub mod sys;
mod times;
mod unwinding;
mod watchdog;

pub use self::black_hole::*;
pub use self::blocked::*;
pub use self::platforms::*;
pub use self::random::*;
pub use self::sockets::*;
pub use self::sys::*;
pub use self::times::*;
pub use self::unwinding::*;
pub use self::watchdog::*;
