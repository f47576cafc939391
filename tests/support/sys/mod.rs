//! What differs between systems: what a test can see of its process there, and do to it.

#![allow(unused_imports, reason = "each test binary uses its part")]

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub use self::linux::*;
#[cfg(target_os = "linux")]
mod stacks;
#[cfg(target_os = "linux")]
pub use self::stacks::print_stacks;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub use self::windows::*;

#[cfg(not(any(target_os = "linux", windows)))]
mod other;
#[cfg(not(any(target_os = "linux", windows)))]
pub use self::other::*;

#[cfg(target_os = "linux")]
pub use super::handlers::in_handler;

/// Does `deed` in a thread of its own, as a system without signals has handlers run, and returns when that is done.
#[cfg(not(target_os = "linux"))]
pub fn in_handler(_task: i32, deed: &(dyn Fn() + Sync)) {
    std::thread::scope(|scope| scope.spawn(deed).join().unwrap());
}

/// Whether a thread that waits for an exception is told of urgent data. Elsewhere a look may find it, and none need be.
pub const TELLS_OF_URGENT: bool = cfg!(target_os = "linux");

/// Whether [`is_sleeping`] sees it. Elsewhere a thread that is to block may not have come to that when a test goes on.
pub const SEES_SLEEPERS: bool = cfg!(target_os = "linux");

/// Numbers of errors.
#[cfg(unix)]
pub mod code {
    pub use libc::{EADDRINUSE, EBADF, ECONNREFUSED, ECONNRESET, EINVAL, EIO, EMFILE, ENFILE, ENOMEM};
}

/// Numbers of errors, by the names that Unix has for them.
#[cfg(windows)]
pub mod code {
    use windows_sys::Win32::Foundation::{ERROR_IO_DEVICE, ERROR_NOT_ENOUGH_MEMORY, ERROR_TOO_MANY_OPEN_FILES};
    pub use windows_sys::Win32::Networking::WinSock::{
        WSAEADDRINUSE as EADDRINUSE, WSAECONNREFUSED as ECONNREFUSED, WSAECONNRESET as ECONNRESET, WSAEINVAL as EINVAL,
        WSAEMFILE as EMFILE, WSAENOTSOCK as EBADF,
    };

    pub const EIO: i32 = ERROR_IO_DEVICE.cast_signed();
    pub const ENFILE: i32 = ERROR_TOO_MANY_OPEN_FILES.cast_signed();
    pub const ENOMEM: i32 = ERROR_NOT_ENOUGH_MEMORY.cast_signed();
}
