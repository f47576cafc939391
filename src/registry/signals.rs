//! Ending a registry by signals.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use super::{ShutdownLevel, ShutdownRegistry};
use crate::sync::{AtomicU8, AtomicUsize, Mutex, const_fn};
use crate::sys;

/// The signals that end a registry.
pub(super) struct Signals {
    /// How many have come.
    came: AtomicUsize,
    /// Each signal that was asked for, and the level that it raises the registry to.
    levels: Mutex<Vec<(i32, Arc<AtomicU8>)>>,
}

impl Signals {
    const_fn! {
        pub(super) fn new() -> Signals {
            Signals {
                came: AtomicUsize::new(0),
                levels: Mutex::new(Vec::new()),
            }
        }
    }

    pub(super) fn reset(&self) {
        self.came.store(0, SeqCst);
    }
}

impl ShutdownRegistry {
    /// Lets a signal end the registry: the first such signal raises it to `level`, the next one to
    /// [`All`](ShutdownLevel::All).
    ///
    /// All signals of a registry count together: a `SIGTERM` after a `SIGINT` is the second. Called again for the same
    /// signal, as by a library and by the program, it changes the level: one signal counts once. Handlers that other code
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
    /// An [`io::Error`](std::io::Error): those of sigaction(2); `EINVAL` for signals that can't be handled (`SIGKILL`, `SIGSTOP`) or not safely
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
        let mut levels = self.inner().signals.levels.lock();
        if let Some((_, known)) = levels.iter().find(|(known, _)| *known == signal) {
            known.store(level as u8, SeqCst);
            return Ok(());
        }
        let chosen = Arc::new(AtomicU8::new(level as u8));
        let (registry, asked) = (self.clone(), Arc::clone(&chosen));
        sys::on_signal(signal, move || {
            let is_first = registry.inner().signals.came.fetch_add(1, SeqCst) == 0;
            let accepting = asked.load(SeqCst) == ShutdownLevel::Accepting as u8;
            registry.raise(match is_first && accepting {
                true => ShutdownLevel::Accepting,
                false => ShutdownLevel::All,
            });
        })?;
        levels.push((signal, chosen));
        Ok(())
    }
}
