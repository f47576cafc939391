//! Waiters whose waits fail, again and again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use wakesock::{Error, RawWait, TcpSocket, WaitEvents, WaitSource, Waiter, Wake};

use crate::support::{begin, block, eventually, pair_of};

/// Makes waiters that find no descriptor left when they are to wait.
#[derive(Debug, Default)]
struct Scarce {
    /// Held by each of its waiters, and how often one was made.
    alive: Arc<()>,
    made: AtomicUsize,
}

struct ScarceWaiter {
    _alive: Arc<()>,
}

impl RawWait for Scarce {
    fn waiter(&self, _: WaitSource<'_>, _: WaitEvents) -> io::Result<Box<dyn Waiter>> {
        self.made.fetch_add(1, SeqCst);
        let _alive = Arc::clone(&self.alive);
        Ok(Box::new(ScarceWaiter { _alive }))
    }
}

impl Waiter for ScarceWaiter {
    fn wait(&mut self, _: WaitEvents, _: Option<Duration>) -> io::Result<WaitEvents> {
        Err(io::Error::from_raw_os_error(libc::EMFILE))
    }

    fn waker(&self) -> Arc<dyn Wake> {
        struct Nothing;
        impl Wake for Nothing {
            fn wake(&self) {}
        }
        Arc::new(Nothing)
    }
}

#[test]
fn of_waiters_that_fail_no_more_than_one_is_kept() {
    let _test = begin();
    let scarce = Arc::new(Scarce::default());
    let mut socket = TcpSocket::new();
    socket.set_raw_wait(scarce.clone());
    let (mut socket, _peer) = pair_of(socket);
    let handle = socket.handle();
    let blocked = block(move || socket.get(&mut [0]).map(drop));
    eventually(
        || "it asks for one waiter after the other".to_owned(),
        || {
            let made = scarce.made.load(SeqCst);
            (made >= 10).then_some(()).ok_or_else(|| made.to_string())
        },
    );
    // The one of the wait that goes on, and one that has just failed.
    assert!(Arc::strong_count(&scarce.alive) <= 3, "{scarce:?}");
    handle.close();
    assert!(matches!(blocked.result(), Err(Error::Closed)));
    assert_eq!(Arc::strong_count(&scarce.alive), 1);
}
