//! What the tests of signal handlers share: what handlers do, and how errno fares.

use std::any::Any;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wakesock::{MioWait, QueueHandle, RawWait, ShutdownRegistry, SocketHandle, WaitEvents, WaitSource, Waiter, Wake};

use super::{Handler, eventually, send_signal};

pub fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

pub fn set_errno(code: i32) {
    // SAFETY: a plain call.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: this thread's errno.
    unsafe { *place = code };
}

/// Does a handler's work, and whether that left errno as it was. What it was before the handler is put back in any case.
pub fn leaves_errno(work: impl FnOnce()) -> bool {
    const MARK: i32 = libc::ENOTEMPTY;
    let before = errno();
    set_errno(MARK);
    work();
    let left = errno() == MARK;
    set_errno(before);
    left
}

/// What the handler does that `in_handler` installs.
static DEED: AtomicPtr<&(dyn Fn() + Sync)> = AtomicPtr::new(ptr::null_mut());
static DONE: AtomicUsize = AtomicUsize::new(0);
static SPOILT: AtomicUsize = AtomicUsize::new(0);

extern "C" fn act(_: i32) {
    // SAFETY: null, or what `in_handler` keeps until `DONE` has grown.
    if let Some(deed) = unsafe { DEED.load(SeqCst).as_ref() } {
        let left = leaves_errno(deed);
        SPOILT.fetch_add(usize::from(!left), SeqCst);
        DONE.fetch_add(1, SeqCst);
    }
}

/// Does `deed` in a signal handler on the thread `task`, checks that errno is as it was, and returns when that is done.
pub fn in_handler(task: i32, deed: &(dyn Fn() + Sync)) {
    let _handler = Handler::install(libc::SIGUSR1, act, 0);
    DEED.store((&raw const deed).cast_mut().cast(), SeqCst);
    let done = DONE.load(SeqCst);
    send_signal(task, libc::SIGUSR1);
    eventually(
        || "the handler has run".to_owned(),
        || (DONE.load(SeqCst) > done).then_some(()).ok_or_else(String::new),
    );
    DEED.store(ptr::null_mut(), SeqCst);
    assert_eq!(SPOILT.load(SeqCst), 0, "errno was changed so often");
}

/// Keeps for ever what a handler may be at, at any time, where a leak checker finds it.
pub fn keep<T: Send + Sync + 'static>(value: T) -> *mut T {
    static KEPT: Mutex<Vec<Arc<dyn Any + Send + Sync>>> = Mutex::new(Vec::new());
    let value = Arc::new(value);
    let pointer = Arc::as_ptr(&value).cast_mut();
    KEPT.lock().unwrap().push(value);
    pointer
}

/// All that a handler may do to what blocks.
#[derive(Clone, Copy)]
pub enum Deed {
    Close,
    Abort,
    WakeQueue,
    CloseQueue,
    StopAccepting,
    Shutdown,
}

impl Deed {
    pub const NAMES: [&str; 6] = [
        "close",
        "abort",
        "wake a queue",
        "close a queue",
        "stop accepting",
        "shut down",
    ];

    /// Does it to what it is for. Whether that is there.
    pub fn be_done(
        self,
        socket: Option<&SocketHandle>,
        queue: Option<&QueueHandle>,
        registry: Option<&ShutdownRegistry>,
    ) -> bool {
        match self {
            Deed::Close => socket.map(SocketHandle::close),
            Deed::Abort => socket.map(SocketHandle::abort),
            Deed::WakeQueue => queue.map(QueueHandle::wake),
            Deed::CloseQueue => queue.map(QueueHandle::close),
            Deed::StopAccepting => registry.map(ShutdownRegistry::stop_accepting),
            Deed::Shutdown => registry.map(ShutdownRegistry::shutdown),
        }
        .is_some()
    }
}

/// A raw wait whose wakes leave errno changed, as they may.
#[derive(Debug, Default)]
pub struct Careless(MioWait);

struct CarelessWaiter(Box<dyn Waiter>);

struct CarelessWake(Arc<dyn Wake>);

/// How often one of these has woken something.
pub static CARELESS_WAKES: AtomicUsize = AtomicUsize::new(0);

impl RawWait for Careless {
    fn waiter(&self, socket: WaitSource<'_>, events: WaitEvents) -> io::Result<Box<dyn Waiter>> {
        Ok(Box::new(CarelessWaiter(self.0.waiter(socket, events)?)))
    }
}

impl Waiter for CarelessWaiter {
    fn wait(&mut self, events: WaitEvents, timeout: Option<Duration>) -> io::Result<WaitEvents> {
        self.0.wait(events, timeout)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::new(CarelessWake(self.0.waker()))
    }
}

impl Wake for CarelessWake {
    fn wake(&self) {
        self.0.wake();
        CARELESS_WAKES.fetch_add(1, SeqCst);
        set_errno(libc::EXDEV);
    }
}
