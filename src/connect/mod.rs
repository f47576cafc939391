//! From a host's name to a connection: the look-up of its addresses, and the race between them.

mod ip_addr_info;
mod lookup;
mod options;
mod race;
mod resolver;
mod underway;

pub use self::ip_addr_info::{IpAddrFamily, IpAddrInfo, host_name};
pub(crate) use self::lookup::Lookup;
pub use self::options::ConnectOptions;
pub(crate) use self::options::Prepare;
pub(crate) use self::race::{Race, Standing, interleaved, outcome};
pub(crate) use self::underway::Left;
