//! What ends an operation that blocks, for the tests that try every ending in every phase.

use wakesock::{Error, ShutdownRegistry, SocketHandle};

use super::{Blocked, in_handler};

/// How an operation that blocks is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    Close,
    CloseInHandler,
    Abort,
    AbortInHandler,
    Shutdown,
    Deadline,
    Limit,
    GlobalLimit,
}

pub const ENDINGS: [Ending; 8] = [
    Ending::Close,
    Ending::CloseInHandler,
    Ending::Abort,
    Ending::AbortInHandler,
    Ending::Shutdown,
    Ending::Deadline,
    Ending::Limit,
    Ending::GlobalLimit,
];

impl Ending {
    /// What a blocked operation that is ended so returns.
    pub fn error(self) -> Error {
        match self {
            Ending::Close | Ending::CloseInHandler => Error::Closed,
            Ending::Abort | Ending::AbortInHandler => Error::Aborted,
            Ending::Shutdown => Error::Shutdown,
            Ending::Deadline | Ending::Limit => Error::Timeout,
            Ending::GlobalLimit => Error::GlobalTimeout,
        }
    }

    /// Ends what `running` is to block in, a socket's that has `handle` and is in `registry`. What has a limit ends by itself.
    pub fn end<T>(
        self,
        running: Blocked<T>,
        handle: &SocketHandle,
        registry: &ShutdownRegistry,
        set_deadline: impl FnOnce(),
    ) -> T {
        if matches!(self, Ending::Limit | Ending::GlobalLimit) {
            return running.result();
        }
        let running = running.until_blocked();
        match self {
            Ending::Close => handle.close(),
            Ending::CloseInHandler => in_handler(running.task(), &|| handle.close()),
            Ending::Abort => handle.abort(),
            Ending::AbortInHandler => in_handler(running.task(), &|| handle.abort()),
            Ending::Shutdown => registry.shutdown(),
            Ending::Deadline => set_deadline(),
            Ending::Limit | Ending::GlobalLimit => {}
        }
        running.result()
    }

    /// Whether the socket is closed then.
    pub fn is_for_good(self) -> bool {
        matches!(self, Ending::Close | Ending::CloseInHandler | Ending::Shutdown)
    }
}
