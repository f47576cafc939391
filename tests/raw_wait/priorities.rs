//! A thread that waits for one of lower priority lets it run.

#![allow(unsafe_code, reason = "sets a thread's priority")]

use std::io;
use std::sync::Arc;
use std::time::Duration;

use wakesock::{Error, MioWait, RawWait, TcpSocket, WaitEvents, WaitSource, Waiter, Wake};

use crate::support::{Pinned, begin, block, cpu_time, pair_of, thread_id};

/// How much processor time a wake takes, so long that its thread is interrupted in it.
const WAKE: Duration = Duration::from_millis(20);

#[derive(Debug)]
struct SlowToWake;

struct SlowWaiter(Box<dyn Waiter>);
struct SlowWake(Arc<dyn Wake>);

impl RawWait for SlowToWake {
    fn waiter(&self, socket: WaitSource<'_>, events: WaitEvents) -> io::Result<Box<dyn Waiter>> {
        Ok(Box::new(SlowWaiter(MioWait::default().waiter(socket, events)?)))
    }
}

impl Waiter for SlowWaiter {
    fn wait(&mut self, events: WaitEvents, timeout: Option<Duration>) -> io::Result<WaitEvents> {
        self.0.wait(events, timeout)?;
        // So that the waker is taken out, while it is still in use by the thread that was interrupted.
        Err(io::Error::other("on purpose"))
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::new(SlowWake(self.0.waker()))
    }
}

impl Wake for SlowWake {
    fn wake(&self) {
        self.0.wake();
        let begin = cpu_time(thread_id());
        while cpu_time(thread_id()) - begin < WAKE {}
    }
}

/// Lets the calling thread go before all ordinary ones: sched(7), `SCHED_FIFO`. False if that isn't allowed.
fn go_first() -> bool {
    let first = libc::sched_param { sched_priority: 1 };
    // SAFETY: a pointer to a valid `sched_param`.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &first) == 0 }
}

#[test]
fn it_waits_asleep_for_a_thread_of_lower_priority() {
    let test = begin();
    let _pinned = Pinned::new();
    let mut unopened = TcpSocket::new();
    unopened.set_raw_wait(Arc::new(SlowToWake));
    let (mut socket, _peer) = pair_of(unopened);
    let handle = socket.handle();
    let blocked = block(move || {
        go_first().then(|| {
            let begin = cpu_time(thread_id());
            let ended = socket.get_byte();
            (ended, cpu_time(thread_id()) - begin)
        })
    })
    .until_blocked();
    handle.abort();
    let Some((ended, used)) = blocked.result() else {
        test.skip_if(true, "no thread may have priority");
        return;
    };
    assert!(matches!(ended, Err(Error::Io { .. })), "{ended:?}");
    assert!(
        used < Duration::from_millis(200),
        "it has used {used:?} of processor time to wait"
    );
}
