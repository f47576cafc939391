//! Signals.

use std::io;

use super::keep_errno;

/// Runs `action` in a handler for `signal`, beside the handlers that other code has installed.
///
/// `action` must be async-signal-safe; it stays installed for the life of the process.
pub(crate) fn on_signal(signal: i32, action: impl Fn() + Send + Sync + 'static) -> io::Result<()> {
    if signal_hook::consts::FORBIDDEN.contains(&signal) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: the only caller, `ShutdownRegistry::on_signal`, counts the signal in an atomic and calls `raise`, which is
    // async-signal-safe: see `registry/mod.rs`.
    unsafe { signal_hook::low_level::register(signal, move || keep_errno(&action)) }?;
    Ok(())
}
