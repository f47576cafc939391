//! Sockets that the standard library makes, for this program alone.

use std::io;

use socket2::Socket;

use crate::error::Error;
use crate::net::shared::Shared;
use crate::registry::ShutdownRegistry;

impl Shared {
    /// Shares a socket that `make` makes for this program alone, unless the registry takes no more.
    pub(super) fn own<S: Into<Socket>>(
        registry: &ShutdownRegistry,
        listener: bool,
        make: impl FnOnce() -> io::Result<S>,
    ) -> io::Result<Shared> {
        // Before there is a file that would be left behind.
        if registry.refuses(listener) {
            return Err(Error::Shutdown.into());
        }
        Ok(Shared::take_over(registry, make()?, false))
    }
}
