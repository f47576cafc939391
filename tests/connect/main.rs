//! Connecting.
//!
//! - `one_address`: an address that answers, refuses, or stays silent.
//! - `several_addresses`: a race of several addresses, RFC 8305.
//! - `short_limits`: a limit that is too short for all addresses, and what they have come to when it is over.
//! - `named_hosts`: a race of the addresses that a name has.
//! - `look_up`: `IpAddrInfo`, whose look-up never blocks its owner.
//! - `options`: what is done to sockets before they connect or listen.
//! - `named_options`: the same where a name has several addresses.
//! - `shared_look_ups`: one look-up a name, and no more at once than a few.
//! - `in_queues`: a connection that is being made, in queues and sets.
//! - `reopening`: openings that fail or are cut short, and the next ones.
//!
//! Some stand in for getaddrinfo(3) or epoll_ctl(2), in the whole process; what isn't meant for them they hand on.

#[cfg(target_os = "linux")]
#[path = "../support/names.rs"]
mod names;
#[path = "../support/mod.rs"]
mod support;

mod in_queues;
mod look_up;
mod named_hosts;
mod named_options;
mod one_address;
mod options;
mod reopening;
mod several_addresses;
mod shared_look_ups;
mod short_limits;
