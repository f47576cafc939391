//! All that differs between platforms. What a platform must provide:
//!
//! | item | what it does |
//! |---|---|
//! | `poll` | says whether a socket is ready, waiting no longer than told |
//! | `accept` | takes a connection off a listener: non-blocking, not inherited by child processes |
//! | `is_aborted_connection` | tells an error of `accept` that speaks of the connection from one that speaks of the listener |
//! | `send` | writes without raising SIGPIPE |
//! | `socket` | makes a socket: non-blocking, not inherited by child processes |
//! | `listen` | makes a socket a listener |
//! | `path_address`, `abstract_address` | addresses of Unix-domain sockets |
//! | `peer_pid` | the process at the other end of a Unix-domain connection |
//! | `adopt` | readies a socket that was made elsewhere |
//! | `is_in_progress`, `is_scarcity` | tell errors of `connect`, and of anything that makes descriptors |
//! | `is_listener` | whether a socket made elsewhere listens |
//! | `is_connected_to_itself` | whether a socket was given the very port it was to connect to |
//! | `replace` | lets go of a socket while its descriptor's number stays taken; async-signal-safe |
//! | `dont_linger` | makes closing return at once; async-signal-safe |
//! | `no_descriptor` | a borrowed descriptor that every socket call refuses |
//! | `keep_errno` | runs something and leaves no trace of it in errno |
//! | `interest` | what mio is to watch for given events |
//! | `SHORT_READ_EMPTIES` | whether a short read says that nothing more is there |
//! | `SHORT_WRITE_FILLS` | whether a short write says that no room is left |
//! | `MOST_BACKLOG` | the longest queue of a listener |
//! | `on_signal` | runs something in a signal handler |

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use self::unix::*;

#[cfg(not(unix))]
compile_error!("wakesock runs on Unix only as yet");
