//! What unwinds, and what closes a socket meanwhile.

use std::panic;

use wakesock::SocketHandle;

/// Closes when it is dropped, as a guard of the program's may.
pub struct ClosesOnDrop(pub SocketHandle);

impl Drop for ClosesOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Unwinds as a panic does, without its message.
pub fn unwind() {
    panic::resume_unwind(Box::new("on purpose"));
}
