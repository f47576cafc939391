//! Ending a registry by signals.

use std::sync::atomic::Ordering::SeqCst;

use super::{ShutdownLevel, ShutdownRegistry};
use crate::sys;

impl ShutdownRegistry {
    /// Lets a signal end the registry: the first such signal raises it to `level`, the next one to
    /// [`All`](ShutdownLevel::All).
    ///
    /// All signals that a registry is given to count together, so that a `SIGTERM` after a `SIGINT` is the second.
    /// Handlers that others installed for the signal still run; what the signal did by default (ending the process,
    /// mostly) no longer happens, for the rest of the process's life.
    ///
    /// # Windows
    ///
    /// Where a signal is a console control event, and the handler a thread of its own: `SIGINT` (2) is Ctrl-C,
    /// `SIGBREAK` (21) is Ctrl-Break, and `SIGTERM` (15) is the closing of the console's window and the system's shutting
    /// down. After these last two the system ends the process within a few seconds, done or not: a grace has to be
    /// shorter. Handlers that others have installed since run before this one, if they pass the event on; those from before
    /// don't run any more.
    ///
    /// # Errors
    ///
    /// What sigaction(2) says; `EINVAL` for signals that can't be handled (`SIGKILL`, `SIGSTOP`) or only at one's peril
    /// (`SIGSEGV`, `SIGILL`, `SIGFPE`). On Windows, `InvalidInput` for others than those three.
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
