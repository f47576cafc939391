//! Ending a registry by signals.

use std::sync::atomic::Ordering::SeqCst;

use super::{ShutdownLevel, ShutdownRegistry};
use crate::sys;

impl ShutdownRegistry {
    /// Lets a signal end the registry: the first such signal raises it to `level`, the next one to
    /// [`All`](ShutdownLevel::All).
    ///
    /// All signals of a registry count together: a `SIGTERM` after a `SIGINT` is the second. Handlers that other code
    /// has installed for the signal still run. The signal's default action (mostly to end the process) doesn't happen
    /// any more, for the rest of the process's life.
    ///
    /// # Windows
    ///
    /// On Windows, a signal is a console control event, and its handler is a thread of its own: `SIGINT` (2) is Ctrl-C,
    /// `SIGBREAK` (21) is Ctrl-Break, and `SIGTERM` (15) is the closing of the console's window or the shutdown of the
    /// system. After these last two the system ends the process within a few seconds, done or not: a grace has to be
    /// shorter. Handlers that were installed later run first, and this one runs if they pass the event on. Handlers
    /// that were installed earlier don't run any more.
    ///
    /// # Errors
    ///
    /// Those of sigaction(2); `EINVAL` for signals that can't be handled (`SIGKILL`, `SIGSTOP`) or not safely
    /// (`SIGSEGV`, `SIGILL`, `SIGFPE`). On Windows, `InvalidInput` for any signal but those three.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use wakesock::{ShutdownLevel, ShutdownRegistry};
    ///
    /// let registry = ShutdownRegistry::global();
    /// registry.on_signal(libc::SIGTERM, ShutdownLevel::Accepting)?;
    /// registry.wait_stop(None);
    /// registry.drain(Duration::from_secs(5)); // a second SIGTERM cuts this short
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn on_signal(&self, signal: i32, level: ShutdownLevel) -> std::io::Result<()> {
        let registry = self.clone();
        sys::on_signal(signal, move || {
            let earlier = registry.inner().signals.fetch_add(1, SeqCst);
            registry.raise(if earlier == 0 { level } else { ShutdownLevel::All });
        })
    }
}
