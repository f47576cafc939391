//! Systems for which the tests are only checked, not run: nothing is seen here.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use wakesock::{TcpSocket, WaitEvents};

pub type Stream = TcpStream;

pub fn stream_pair() -> io::Result<(Stream, Stream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let one = TcpStream::connect(listener.local_addr()?)?;
    Ok((one, listener.accept()?.0))
}

pub const PARKER: usize = 0;
pub const QUEUE: usize = 0;

pub fn descriptors() -> usize {
    0
}

pub fn list_descriptors() -> String {
    String::new()
}

pub fn wchan(_task: i32) -> String {
    String::new()
}

pub fn list_threads() -> String {
    String::new()
}

pub fn own_threads() -> usize {
    0
}

pub fn any_is_nameless() -> bool {
    false
}

pub fn thread_id() -> i32 {
    0
}

pub fn is_sleeping(_task: i32) -> bool {
    thread::sleep(Duration::from_millis(5));
    true
}

pub fn cpu_time(_task: i32) -> Duration {
    Duration::ZERO
}

pub fn polled(_socket: &TcpSocket) -> (WaitEvents, bool) {
    (WaitEvents::empty(), false)
}

/// Whether the system says that there is something to read, or a client.
pub fn is_readable(socket: &TcpSocket) -> bool {
    socket.is_open()
}
