//! What ends an operation that blocks, for the tests that try every ending in every phase.

use wakesock::Error;

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

    /// Whether the socket is closed then.
    pub fn is_for_good(self) -> bool {
        matches!(self, Ending::Close | Ending::CloseInHandler | Ending::Shutdown)
    }
}
