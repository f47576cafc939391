//! On Windows, the socket that a waiter is for has a `SOCKET`.

#![cfg(windows)]

use std::os::windows::io::{AsSocket, BorrowedSocket};

use super::WaitSource;

impl AsSocket for WaitSource<'_> {
    fn as_socket(&self) -> BorrowedSocket<'_> {
        self.socket()
    }
}
