//! Unix.

mod domain;
mod error;
mod poll;
mod raw;
#[cfg(feature = "signal")]
mod signal;
mod socket;
mod traits;

pub(crate) use self::domain::*;
pub(crate) use self::error::*;
pub(crate) use self::poll::*;
pub(crate) use self::raw::*;
#[cfg(feature = "signal")]
pub(crate) use self::signal::*;
pub(crate) use self::socket::*;
