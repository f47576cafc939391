//! What the tests have to know of the system they run on.

/// Whether mio is made to wait with poll(2) instead of epoll(7).
pub const POLLED: bool = cfg!(mio_unsupported_force_poll_poll);

/// Whether this runs in an emulator: then the compiler's environment has `WAKESOCK_EMULATED`.
pub const fn is_emulated() -> bool {
    option_env!("WAKESOCK_EMULATED").is_some()
}

/// Whether this runs in Wine: then the compiler's environment has `WAKESOCK_WINE`.
pub const fn is_wine() -> bool {
    option_env!("WAKESOCK_WINE").is_some()
}

/// Whether a sanitizer watches: then the compiler's environment has `WAKESOCK_SANITIZED`.
pub const fn is_sanitized() -> bool {
    option_env!("WAKESOCK_SANITIZED").is_some()
}

/// Why a test can't measure there how much memory the process has.
pub const SANITIZERS_TAKE_MEMORY: &str = "sanitizers take memory of their own for each allocation";

/// Why a test that needs a reset can't be run in Wine.
pub const NO_RESETS: &str = "Wine may tell of a reset as of the end of the stream";

/// Why a test with very many sockets can't be run in Wine: mio alone needs ten seconds for the second poll.
pub const MANY_ARE_SLOW: &str = "under Wine mio takes very long to watch again more sockets than it reports at once";

/// Why a test can't be run in Wine in which one thread takes the place of another that ends. Wine has the thread that
/// began an operation finish it, whichever thread waits at the completion port. Another does so if that one has ended,
/// but not while it is ending. mio alone loses one report in seven like this, and none if the thread lives on.
pub const LOST_WITH_THREAD: &str = "Wine loses what is reported while the thread that asked for it is ending";

/// Why a test whose connection has to stay full can't be run where it has a port.
pub const ROOM_COMES: &str = "over TCP room may come before the peer reads";

/// Why a test can't be run over TCP in which the first that is sent to a peer that is gone has to fail.
pub const TOLD_LATE: &str = "over TCP a sender is told later that the peer is gone";

/// Why a test of a process that may have no descriptors can't be run there.
pub const POLL_REFUSES: &str = "poll(2), by which mio waits there, refuses to look at even one";

/// Checks that `text` is `before` and what the system calls the cause: on Linux, `cause`.
#[track_caller]
pub fn assert_tells(text: &str, before: &str, cause: &str) {
    let told = text.strip_prefix(before).unwrap_or_default();
    assert!(!told.is_empty(), "{text:?} instead of {before:?} and the cause");
    if cfg!(target_os = "linux") {
        assert_eq!(told, cause, "after {before:?}");
    }
}

/// Returns how many times the usual time a test is given here: emulated processors are slower, and so is what a sanitizer
/// watches; Wine asks a server of its own for much; and Windows asks for two seconds where nobody listens.
pub const fn slowness() -> u32 {
    if is_wine() {
        3
    } else if is_emulated() || is_sanitized() || cfg!(windows) {
        10
    } else {
        1
    }
}
