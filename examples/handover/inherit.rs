//! From parent to child, as systemd does it: sd_listen_fds(3), sd_notify(3).

use std::env;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, process};

use sd_notify::NotifyState;
use socket2::Socket;
use wakesock::TcpSocket;

/// The listener that this process was started with, if it was.
pub(crate) fn listener() -> io::Result<Option<Socket>> {
    let Some(fd) = sd_notify::listen_fds()?.next() else {
        return Ok(None);
    };
    #[allow(unsafe_code, reason = "a number becomes a descriptor")]
    // SAFETY: whoever has started this process says that it is one, and nothing else here looks for it.
    let socket = Socket::from(unsafe { OwnedFd::from_raw_fd(fd) });
    check(&socket)?;
    // Not for the children of this process, unless it says so.
    socket.set_cloexec(true)?;
    Ok(Some(socket))
}

/// Checks that what comes from elsewhere is a listener for streams, as far as the system tells.
pub(crate) fn check(socket: &Socket) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    let listens = socket.is_listener()?;
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    let listens = true;
    if listens && socket.r#type()? == socket2::Type::STREAM {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "what was handed over is no listener",
    ))
}

/// Tells who has started this process that it serves, if they want to know.
pub(crate) fn tell_ready() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Ready])
}

/// Moves the listener to where sd_listen_fds(3) looks for it, and becomes the program.
const BECOME: &str = r#"export LISTEN_FDS=1 LISTEN_PID=$$; exec "$0" "$@" 3<&0 </dev/null"#;

/// Starts this program again, with the same arguments and this listener, and returns when that serves.
pub(crate) fn start_successor(listener: &TcpSocket, patience: Duration) -> io::Result<()> {
    let path = env::temp_dir().join(format!("wakesock-handover-{}", process::id()));
    let _ = fs::remove_file(&path);
    let told = UnixDatagram::bind(&path)?;
    let child = Command::new("/bin/sh")
        .args(["-c", BECOME])
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env("NOTIFY_SOCKET", &path)
        .stdin(Stdio::from(listener.as_fd().try_clone_to_owned()?))
        .spawn();
    let ready = child.and_then(|child| wait_until_ready(child, &told, patience));
    let _ = fs::remove_file(&path);
    ready
}

fn wait_until_ready(mut child: Child, told: &UnixDatagram, patience: Duration) -> io::Result<()> {
    let begin = Instant::now();
    told.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut message = [0; 1024];
    while begin.elapsed() < patience {
        match told.recv(&mut message) {
            Ok(len)
                if message[..len]
                    .split(|byte| *byte == b'\n')
                    .any(|line| line == b"READY=1") =>
            {
                return Ok(());
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if let Some(status) = child.try_wait()? {
            return Err(io::Error::other(format!("it has ended: {status}")));
        }
    }
    child.kill()?;
    child.wait()?;
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        "it has not said that it is ready",
    ))
}
