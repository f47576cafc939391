//! The program, with this crate's types.

pub(crate) use wakesock::net;
pub(crate) use wakesock::net::unix as unix_net;

#[path = "program.rs"]
pub(crate) mod program;
