//! On Unix, the socket that a waiter is for has a descriptor.

#![cfg(unix)]

use std::os::fd::{AsFd, BorrowedFd};

use super::WaitSource;

impl AsFd for WaitSource<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket()
    }
}
