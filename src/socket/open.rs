//! Opening a socket: what all ways to do it share.

use std::io;

use socket2::{Socket, Type};

use super::input::Input;
use super::{Directions, Outcome, TcpSocket};
use crate::error::{Error, Result};
use crate::opening::{InUse, Opening};
use crate::raw_wait::Chosen;
use crate::sys::{self, Accepted};

impl TcpSocket {
    /// Takes over a socket that was made elsewhere: a stream or a listener, of any address family.
    ///
    /// Closes what was open before. The socket is put into non-blocking mode. Doesn't block. [`From`] does the same for
    /// the standard library's sockets.
    ///
    /// Others may have descriptors of the same socket: a service manager or another process that listens on it, a child, a
    /// `try_clone`. To end this one leaves theirs alone, whatever ends it: shutdown(2) is called by
    /// [`shutdown`](TcpSocket::shutdown) and [`finish`](TcpSocket::finish) only. So the port stays taken, and the peer is
    /// not told of an end, as long as they have it. The blocking mode belongs to all of them, too (`O_NONBLOCK`, open(2)):
    /// limits and ends hold although one of them changes it. For that, an accept from such a listener asks the system first,
    /// one system call more; if another process takes just the client that there was, and the listener is a blocking one,
    /// the accept blocks until the next comes.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it can't be put into that mode, or is not a stream socket, socket(2) (`InvalidInput`);
    /// [`Error::Shutdown`] if the registry takes no more. `socket` is dropped then.
    ///
    /// ```
    /// use std::net::TcpListener;
    ///
    /// let mut socket = wakesock::TcpSocket::new();
    /// socket.attach(TcpListener::bind("127.0.0.1:0").unwrap())?;
    /// assert!(socket.is_open());
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    #[doc(alias = "from_raw_fd")]
    pub fn attach(&mut self, socket: impl Into<Socket>) -> Result<()> {
        self.take_over(socket.into(), true).map_err(|(error, _)| error)
    }

    /// Takes over `socket`, of which others have descriptors, too, if it `is_elsewhere`. Mostly gives it back if that fails.
    pub(crate) fn take_over(&mut self, socket: Socket, is_elsewhere: bool) -> Result<(), (Error, Option<Socket>)> {
        let readied = check_stream(&socket).and_then(|()| sys::adopt(&socket));
        let listener = sys::is_listener(sys::borrowed(&socket));
        let is_sure = sys::short_read_empties(sys::borrowed(&socket));
        let peer = socket.peer_addr().ok().and_then(|addr| addr.as_socket());
        let mut given = Some(socket);
        let opened = self.open(listener, |in_use| {
            readied.map_err(|error| Error::io("attach", error))?;
            in_use.opening().set_peer(peer);
            if is_elsewhere {
                in_use.opening().set_made_elsewhere();
            }
            given
                .take()
                .into_iter()
                .for_each(|socket| in_use.install(socket.into()));
            Ok(())
        });
        if let Err(error) = opened {
            return Err((error, given));
        }
        if !is_sure {
            self.input = Input::doubtful();
        }
        log::debug!(target: "wakesock", "{}: attached", self.id());
        Ok(())
    }

    /// Opens this socket, which is ready to be opened, with `client`, a connection that `listener` has accepted, and leaves
    /// the listener.
    pub(super) fn open_accepted(&mut self, client: Accepted, listener: &TcpSocket, in_use: InUse<'_>) -> Result<()> {
        let result = self.try_open(false, |in_use| {
            in_use.install(client.socket);
            in_use.opening().set_peer(client.peer);
            Ok(())
        });
        if result.is_err() {
            self.registry.clients_turned_away(1);
        }
        // Before anything is logged: the logger is the program's code, and might close the listener.
        drop(in_use);
        self.settle_opening(result)?;
        self.input = listener.input.for_accepted();
        log::debug!(target: "wakesock", "{}: accepted", self.id());
        Ok(())
    }

    /// Opens the socket with what `make` installs.
    pub(super) fn open(&mut self, listener: bool, make: impl FnOnce(&mut InUse<'_>) -> Result<()>) -> Result<()> {
        self.prepare_opening();
        let result = self.try_open(listener, make);
        self.settle_opening(result)
    }

    fn try_open(&self, listener: bool, make: impl FnOnce(&mut InUse<'_>) -> Result<()>) -> Result<()> {
        let mut in_use = self.opening.enter_opening(listener)?;
        let membership = in_use.join(&self.registry, &self.opening)?;
        let result = make(&mut in_use).and_then(|()| in_use.opened(membership));
        if result.is_err() {
            in_use.undo_open();
        }
        result
    }

    /// Closes what is open, and makes the socket ready to be opened.
    pub(super) fn prepare_opening(&mut self) {
        let was_connecting = self.connecting.is_some();
        self.abandon_connecting();
        self.opening.end_lending();
        self.close();
        if self.opening.is_spent() || was_connecting && self.opening.is_closed() {
            self.renew();
        }
        self.input = Default::default();
        self.last = Outcome::default();
        self.special.set_session(None);
        self.clear_error();
        if let Some(raw_wait) = self.next_raw_wait.take() {
            self.raw_wait = Chosen::new(raw_wait);
        }
    }

    /// Finishes an attempt to open: remembers its error, and replaces an opening that was ended before it stood.
    pub(super) fn settle_opening(&mut self, result: Result<()>) -> Result<()> {
        if let Err(error) = &result {
            self.remember(Directions::all(), error);
            log::debug!(target: "wakesock", "{}: not opened: {error}", self.id());
        }
        if self.opening.is_closed() && result.is_err() {
            // It was ended before it stood, so the next opening has to be another one.
            self.renew();
        }
        result
    }

    /// Replaces a closed opening by the next one.
    pub(super) fn renew(&mut self) {
        self.opening.close();
        self.opening.close_number();
        self.opening = self.next.take().unwrap_or_else(Opening::new);
    }
}

/// Checks that a socket that was made elsewhere is for streams: of messages, a read would lose a part.
fn check_stream(socket: &Socket) -> io::Result<()> {
    if socket.r#type()? == Type::STREAM {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a stream socket"))
}
