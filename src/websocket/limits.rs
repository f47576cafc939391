//! The limits of a WebSocket beside those of its socket.

use std::time::Duration;

/// The limits of a WebSocket beside those of its socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_message: usize,
    pub(super) close: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_message: 16 << 20,
            close: Some(Duration::from_secs(5)),
        }
    }
}
