//! What an idle connection costs, in descriptors and in memory that the program allocates.

#![allow(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};
use std::time::Duration;

use wakesock::{SocketEventQueue, TcpSocket};

struct Counting;

static ALLOCATED: AtomicIsize = AtomicIsize::new(0);

// SAFETY: it hands everything on to `System`.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size() as isize, Relaxed);
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size() as isize, Relaxed);
        // SAFETY: the caller's promises are the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const SOCKETS: usize = 500;

fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut sockets = Vec::with_capacity(SOCKETS);
    let (std_streams, mut peers): (Vec<_>, Vec<_>) = (0..SOCKETS)
        .map(|_| {
            let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            (listener.accept().unwrap().0, peer)
        })
        .unzip();

    let before = Cost::now();
    sockets.extend(std_streams.into_iter().map(TcpSocket::from));
    before.report("a connection that never waited", SOCKETS);
    println!("  of that, the value itself: {} bytes", size_of::<TcpSocket>());

    for socket in &mut sockets {
        socket.timeout(Duration::from_micros(1));
        assert!(socket.wait_read().unwrap_err().is_timeout());
    }
    before.report("the same after a first wait to read", SOCKETS);

    for (socket, peer) in sockets.iter_mut().zip(&mut peers) {
        std::io::Write::write_all(peer, b"x").unwrap();
        socket.blocking();
        assert_eq!(socket.get_byte().unwrap(), Some(b'x'));
    }
    before.report("the same after a first byte read", SOCKETS);

    let queue = SocketEventQueue::new().unwrap();
    let before = Cost::now();
    for socket in &sockets {
        queue.subscribe_read(socket).unwrap();
    }
    let bytes = (Cost::now().allocated - before.allocated) / SOCKETS as isize;
    println!("a subscription in a queue: {bytes} bytes, no descriptor");
    assert_eq!(Cost::now().descriptors, before.descriptors);
}

struct Cost {
    descriptors: usize,
    allocated: isize,
}

impl Cost {
    fn now() -> Cost {
        Cost {
            allocated: ALLOCATED.load(Relaxed),
            descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count(),
        }
    }

    /// What has come since, for each socket. The descriptors were there before their sockets.
    fn report(&self, what: &str, sockets: usize) {
        let now = Cost::now();
        let descriptors = (now.descriptors - self.descriptors) / sockets + 1;
        let bytes = (now.allocated - self.allocated) / sockets as isize + size_of::<TcpSocket>() as isize;
        println!("{what}: descriptors {descriptors}, {bytes} bytes");
    }
}
