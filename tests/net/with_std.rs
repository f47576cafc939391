//! The program, with the standard library's types.

pub(crate) use std::net;
pub(crate) use std::os::unix::net as unix_net;

#[path = "program.rs"]
pub(crate) mod program;
