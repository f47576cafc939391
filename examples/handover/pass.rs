//! From one process to another that isn't its child: by a Unix-domain socket, unix(7), `SCM_RIGHTS`.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process;
use std::time::Duration;

use sendfd::{RecvWithFd, SendWithFd};
use socket2::Socket;
use wakesock::{Error, ShutdownRegistry, TcpSocket};

use crate::inherit::check;
use crate::support::report;

/// What a successor says when it serves.
pub(crate) const READY: &[u8] = b"ready\n";
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the server that listens on `path`, if one does, for its listener. The connection is for [`READY`].
pub(crate) fn take(path: &Path) -> Result<Option<(Socket, TcpSocket)>, Error> {
    let mut server = TcpSocket::new();
    match server.timeout(PATIENCE).connect_path(path) {
        Ok(()) => {}
        // Nobody has it, or nobody any more.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    server.wait_read()?;
    let stream = UnixStream::try_from(server)?;
    let mut fds = [-1];
    let received = stream.recv_with_fd(&mut [0], &mut fds);
    match received {
        Ok((_, 1)) => {}
        Ok(_) => return Err(failed(io::ErrorKind::UnexpectedEof.into())),
        Err(error) => return Err(failed(error)),
    }
    #[allow(unsafe_code, reason = "a number becomes a descriptor")]
    // SAFETY: it was received just now, so it is open and no other code has it.
    let listener = Socket::from(unsafe { OwnedFd::from_raw_fd(fds[0]) });
    check(&listener).map_err(failed)?;
    Ok(Some((listener, TcpSocket::from(stream))))
}

fn failed(source: io::Error) -> Error {
    Error::Io {
        operation: "take the listener over".into(),
        source: source.into(),
    }
}

/// Listens on `path`, in place of whoever did.
pub(crate) fn listen(path: &Path, registry: &ShutdownRegistry) -> io::Result<TcpSocket> {
    let new = path.with_extension(format!("{}", process::id()));
    let mut control = TcpSocket::with_registry(registry);
    control.listen_path(&new, 5)?;
    // Whoever connects meets the one or the other.
    fs::rename(&new, path)?;
    Ok(control)
}

/// Passes `listener` on to each who connects, and calls `stop` when one serves.
pub(crate) fn serve(control: &TcpSocket, listener: &TcpSocket, stop: impl Fn()) {
    for successor in control.incoming() {
        match successor.and_then(|successor| pass_on(successor, listener)) {
            Ok(true) => return stop(),
            Ok(false) => eprintln!("the successor has gone"),
            Err(error) => report(&error),
        }
    }
}

/// True when the successor serves.
fn pass_on(mut successor: TcpSocket, listener: &TcpSocket) -> Result<bool, Error> {
    let sent = successor.as_fd().try_clone_to_owned().and_then(|fd| {
        let stream = UnixStream::from(fd);
        stream.send_with_fd(b"!", &[listener.as_fd().as_raw_fd()])
    });
    sent.map_err(|source| Error::Io {
        operation: "pass the listener on".into(),
        source: source.into(),
    })?;
    successor.timeout(PATIENCE);
    Ok(successor.get_line()?.as_deref() == Some("ready"))
}
