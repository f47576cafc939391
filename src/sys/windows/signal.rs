//! Console control events, the nearest thing to a signal here.

use std::io;
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;
use windows_sys::Win32::Foundation::{FALSE, TRUE};
use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, CTRL_SHUTDOWN_EVENT, SetConsoleCtrlHandler,
};
use windows_sys::core::BOOL;

/// Numbered as in the C runtime: `signal.h`.
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;
const SIGBREAK: i32 = 21;

type Action = Arc<dyn Fn() + Send + Sync>;

/// The actions, each with its signal. The handler is installed with the first of them.
static ACTIONS: Mutex<Vec<(i32, Action)>> = Mutex::new(Vec::new());

/// Runs `action` when the console asks the program to end, in a thread that the system makes for that.
///
/// `SIGINT` is Ctrl-C, `SIGBREAK` is Ctrl-Break, and `SIGTERM` is the closing of the console's window or the shutdown
/// of the system. After one of the last two, the system ends the process within a few seconds, whatever it does. That a
/// user logs off is none of these: only services hear of it, and not which user it is.
///
/// If a program makes another console (`AllocConsole`), the system forgets its handlers.
///
/// `action` stays installed for the life of the process.
pub(crate) fn on_signal(signal: i32, action: impl Fn() + Send + Sync + 'static) -> io::Result<()> {
    if !matches!(signal, SIGINT | SIGTERM | SIGBREAK) {
        let why = "only SIGINT, SIGTERM and SIGBREAK stand for console control events";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let mut actions = ACTIONS.lock();
    if actions.is_empty() {
        // SAFETY: the function may be called from any thread at any time, and is there as long as the process.
        if unsafe { SetConsoleCtrlHandler(Some(on_event), TRUE) } == FALSE {
            return Err(io::Error::last_os_error());
        }
    }
    actions.push((signal, Arc::new(action)));
    Ok(())
}

unsafe extern "system" fn on_event(event: u32) -> BOOL {
    if !run_actions(event) {
        // Passes the event on to the handlers installed before this one, and in the end to the system's own, which ends
        // the process.
        return FALSE;
    }
    if matches!(event, CTRL_CLOSE_EVENT | CTRL_SHUTDOWN_EVENT) {
        // The system ends the process as soon as the handler returns, while the rest of the program is still ending.
        loop {
            thread::park();
        }
    }
    TRUE
}

/// Whether there were any for `event`.
fn run_actions(event: u32) -> bool {
    let signal = match event {
        CTRL_C_EVENT => SIGINT,
        CTRL_BREAK_EVENT => SIGBREAK,
        CTRL_CLOSE_EVENT | CTRL_SHUTDOWN_EVENT => SIGTERM,
        _ => return false,
    };
    let meant = |(of, action): &(i32, Action)| (*of == signal).then(|| Arc::clone(action));
    let actions: Vec<Action> = ACTIONS.lock().iter().filter_map(meant).collect();
    for action in &actions {
        action();
    }
    !actions.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ShutdownLevel, ShutdownRegistry};

    #[test]
    fn control_events_end_a_registry() {
        let registry = ShutdownRegistry::new();
        registry.on_signal(SIGBREAK, ShutdownLevel::Accepting).unwrap();
        registry.on_signal(SIGTERM, ShutdownLevel::Accepting).unwrap();
        assert!(!run_actions(CTRL_C_EVENT) && !registry.is_stopping());
        assert!(run_actions(CTRL_BREAK_EVENT));
        assert!(registry.is_stopping() && !registry.is_shutdown());
        assert!(run_actions(CTRL_CLOSE_EVENT));
        assert!(registry.is_shutdown(), "the second one, whichever it is");
    }

    #[test]
    fn what_is_no_control_event_is_refused() {
        let refused = ShutdownRegistry::new().on_signal(11, ShutdownLevel::All);
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
