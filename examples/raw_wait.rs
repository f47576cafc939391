//! A raw wait of its own: operations block in poll(2), and a byte in a pipe wakes them.
//!
//! ```text
//! cargo run --example raw_wait
//! ```
//!
//! It shows all that an implementor of `RawWait` has to write. A listener waits in it until its limit is over, until a
//! client comes, and until another thread closes it.

#![allow(unsafe_code, reason = "poll(2)")]

#[cfg(unix)]
mod poll_wait {
    use std::io::{self, Read, Write};
    use std::os::fd::{AsFd, AsRawFd, RawFd};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::time::Duration;

    use wakesock::{RawWait, WaitEvents, WaitSource, Waiter, Wake};

    #[derive(Debug)]
    pub(super) struct PollWait;

    impl RawWait for PollWait {
        fn waiter(&self, socket: WaitSource<'_>, _: WaitEvents) -> io::Result<Box<dyn Waiter>> {
            let (wakes, woken) = UnixStream::pair()?;
            wakes.set_nonblocking(true)?;
            woken.set_nonblocking(true)?;
            Ok(Box::new(PollWaiter {
                socket: socket.as_fd().as_raw_fd(),
                pipe: Arc::new(Pipe { wakes, woken }),
            }))
        }
    }

    struct PollWaiter {
        /// Stays open as long as the waiter exists: `WaitSource` promises that.
        socket: RawFd,
        pipe: Arc<Pipe>,
    }

    impl Waiter for PollWaiter {
        fn wait(&mut self, events: WaitEvents, timeout: Option<Duration>) -> io::Result<WaitEvents> {
            let flags = [
                (WaitEvents::READ, libc::POLLIN),
                (WaitEvents::WRITE, libc::POLLOUT),
                (WaitEvents::EXCEPTION, libc::POLLPRI),
            ];
            let wanted = flags.iter().filter(|(event, _)| events.contains(*event));
            let entry = |fd, events| libc::pollfd { fd, events, revents: 0 };
            let mut entries = [
                entry(self.socket, wanted.fold(0, |all, (_, flag)| all | flag)),
                entry(self.pipe.woken.as_raw_fd(), libc::POLLIN),
            ];
            // Rounded up: a wait that ended a little early would be called again and again.
            let millis = timeout.map_or(-1, |limit| {
                i32::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
            });
            // SAFETY: these are two valid entries.
            if unsafe { libc::poll(entries.as_mut_ptr(), 2, millis) } < 0 {
                return Err(io::Error::last_os_error());
            }
            while (&self.pipe.woken).read(&mut [0; 64]).is_ok() {}
            let found = entries[0].revents;
            if found & (libc::POLLERR | libc::POLLHUP) != 0 {
                return Ok(WaitEvents::ALL);
            }
            let found = flags.iter().filter(|(_, flag)| found & flag != 0);
            Ok(found.map(|(event, _)| *event).collect())
        }

        fn waker(&self) -> Arc<dyn Wake> {
            self.pipe.clone()
        }
    }

    /// Two connected sockets, used as a pipe: a byte in it is a wake. It owns both ends, so that it is never written to
    /// without a reader, which could raise SIGPIPE.
    struct Pipe {
        wakes: UnixStream,
        woken: UnixStream,
    }

    impl Wake for Pipe {
        fn wake(&self) {
            // One system call, which a signal handler may make. If there is no room, the bytes that are there wake.
            let _ = (&self.wakes).write(&[1]);
        }
    }
}

#[cfg(unix)]
fn main() -> Result<(), wakesock::Error> {
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use wakesock::TcpSocket;

    let mut listener = TcpSocket::new();
    listener.set_raw_wait(Arc::new(poll_wait::PollWait));
    listener.listen_on("127.0.0.1:0", &Default::default())?;
    let addr = listener.local_addr()?;

    listener.timeout(Duration::from_millis(20));
    println!("no client: {:?}", listener.accept_new().map(drop));

    listener.blocking();
    let client = thread::spawn(move || {
        let mut client = TcpSocket::new();
        client.connect_to(&[addr])?;
        client.put_all(b"hello\n")
    });
    println!("a client: {:?}", listener.accept_new()?.get_line()?);
    client.join().expect("the client doesn't panic")?;

    let handle = listener.handle();
    let closer = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        handle.close();
    });
    println!("closed: {:?}", listener.accept_new().map(drop));
    closer.join().expect("closing doesn't panic");
    Ok(())
}

#[cfg(not(unix))]
fn main() {
    eprintln!("raw_wait: this example is for Unix, which has poll(2)");
}
