//! What people wait with today, all behind one trait, and this crate.
//!
//! They differ in the waiting and in nothing else: the sockets have the same options, reads have the same limit, and
//! the caller has the same buffers. Each reads as its documentation says to; those that are told of changes only (mio)
//! read until there is nothing left, which a read that gave less than was asked for shows, too.

#[cfg(target_os = "linux")]
mod coroutines;
mod listeners;
mod ours;
mod readiness;
mod runtimes;
mod std_net;
#[cfg(feature = "tls")]
pub mod tls;
mod waiting;

use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

#[cfg(target_os = "linux")]
pub use coroutines::May;
pub use listeners::{
    AsyncIoListener, Listener, StdListener, WaitingListener, WakesockListener, WakesockListenerForever,
    WakesockListenerThreadWait,
};
pub use ours::{Wakesock, WakesockForever, WakesockThreadWait};
pub use readiness::{Epoll, Mio, PollEventfd, Polling, Readiness, Select};
pub use runtimes::AsyncIo;
pub use std_net::{Std, StdForever};
pub use waiting::Waiting;

use super::report::Contestant;

/// One end of a connection, with a way to wait.
pub trait Peer: Sized {
    const NAME: &str;

    fn of(stream: TcpStream) -> Self;

    /// Sends all of it.
    fn send(&mut self, data: &[u8]);

    /// Receives something; zero at the end of the stream.
    fn receive(&mut self, buf: &mut [u8]) -> usize;

    /// Receives as much as this.
    fn fill(&mut self, mut buf: &mut [u8]) {
        while !buf.is_empty() {
            let count = self.receive(buf);
            assert!(count > 0);
            buf = &mut buf[count..];
        }
    }

    /// Runs something beside this.
    fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Running<T> {
        let thread = thread::spawn(work);
        Box::new(|| thread.join().unwrap())
    }
}

/// One round of something that any peer can do.
pub trait Round: Copy + 'static {
    /// How long one operation took.
    fn time<P: Peer>(self) -> Duration;
}

/// One peer at it.
pub fn one<P: Peer>(round: impl Round) -> Contestant<'static> {
    (P::NAME, Box::new(move || round.time::<P>()))
}

/// All peers that there are, to take turns at it.
pub fn contestants(round: impl Round) -> Vec<Contestant<'static>> {
    vec![
        one::<Std>(round),
        one::<StdForever>(round),
        one::<Wakesock>(round),
        one::<WakesockForever>(round),
        one::<WakesockThreadWait>(round),
        one::<Waiting<Epoll>>(round),
        one::<Waiting<Select>>(round),
        one::<Waiting<PollEventfd>>(round),
        one::<Waiting<Mio>>(round),
        one::<Waiting<Polling>>(round),
        one::<AsyncIo>(round),
        #[cfg(target_os = "linux")]
        one::<May>(round),
    ]
}

/// What waits for the end of what runs, and gives its result.
pub type Running<T> = Box<dyn FnOnce() -> T>;

/// Both ends of a connection over the loopback, with what every peer's sockets have.
pub fn pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let far = listener.accept().unwrap().0;
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    (near, far)
}
