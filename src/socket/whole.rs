//! Reads that give all or nothing, and what is put back.

use super::try_wait::Progress;
use super::{Directions, Outcome, TcpSocket};
use crate::error::{Error, Result};

/// How an operation fails.
type Fail = fn(&mut TcpSocket, Error) -> Result<()>;

impl TcpSocket {
    /// Fills `buf`, or fails and takes nothing.
    ///
    /// Blocks for at most [`timeout`](TcpSocket::timeout) in all.
    ///
    /// Any failure puts the socket into the error state, unless this program has ended the operation. What has come stays
    /// in the socket: after [`clear_error`](TcpSocket::clear_error) the next read starts with its first byte. The content
    /// of `buf` is then unspecified.
    ///
    /// # Errors
    ///
    /// [`Error::UnexpectedEof`] if the stream ends first, [`Error::Timeout`] if it takes too long.
    ///
    /// ```
    /// use wakesock::Error;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.put_all(b"1234")?;
    /// peer.close();
    /// let mut buf = [0; 8];
    /// assert!(matches!(socket.get_all(&mut buf), Err(Error::UnexpectedEof)));
    /// socket.clear_error();
    /// socket.get_all(&mut buf[..4])?;
    /// assert_eq!(&buf[..4], b"1234");
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "read_exact")]
    #[doc(alias = "io.ReadFull")]
    pub fn get_all(&mut self, buf: &mut [u8]) -> Result<()> {
        self.get_whole("get_all", buf, TcpSocket::fail_and_leave)
    }

    /// Fills `buf`, or fails by `fail` and takes nothing.
    #[inline]
    pub(super) fn get_whole(&mut self, name: &'static str, buf: &mut [u8], fail: Fail) -> Result<()> {
        let mut progress = self.progress();
        match self.get_at_once(buf, &mut progress) {
            Some(count) if count == buf.len() => {
                progress.finish();
                self.last = Outcome::moved(count);
                Ok(())
            }
            first => self.get_whole_rest(name, buf, first, &mut progress, fail),
        }
    }

    #[inline(never)]
    fn get_whole_rest(
        &mut self,
        name: &'static str,
        buf: &mut [u8],
        first: Option<usize>,
        progress: &mut Progress,
        fail: Fail,
    ) -> Result<()> {
        if buf.is_empty() {
            self.begin_nothing();
            return Ok(());
        }
        self.begin_after(Directions::READ, first, progress)?;
        self.fill_whole(name, buf, first, progress)
            .or_else(|error| fail(self, error))
    }

    /// Reads `len` bytes into a new vector, or fails and takes nothing, as [`get_all`](TcpSocket::get_all).
    ///
    /// It may be asked for again and again, until all has come: that costs no more than to wait for it.
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.put_all(b"hello")?;
    /// assert_eq!(socket.get_all_bytes(4)?, b"hell");
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    #[doc(alias = "GetAll")]
    pub fn get_all_bytes(&mut self, len: usize) -> Result<Vec<u8>> {
        if len == 0 {
            self.begin_nothing();
            return Ok(Vec::new());
        }
        self.begin(Directions::READ)?;
        let mut progress = self.gathering();
        if let Err(error) = self.gather("get_all_bytes", len, &mut progress) {
            return self.fail_and_leave(error);
        }
        let bytes = self.input.buffer.take_vec(len);
        self.publish_unread();
        self.last = Outcome::moved(len);
        Ok(bytes)
    }

    /// Returns the next `len` bytes without taking them.
    ///
    /// Blocks until they are there, for at most [`timeout`](TcpSocket::timeout) in all. Whatever is returned, the next read
    /// starts with the first of them. Memory is allocated for the bytes that come, not for `len`.
    ///
    /// # Errors
    ///
    /// [`Error::UnexpectedEof`] if the stream ends first, [`Error::Timeout`] if it takes too long. Neither is sticky: what
    /// has come can be read, and `peek_all` can be asked again. [`buffer`](TcpSocket::buffer) shows what has come.
    ///
    /// ```
    /// use wakesock::Error;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// /// What the client speaks.
    /// fn is_http_2(socket: &mut wakesock::TcpSocket) -> Result<bool, Error> {
    ///     match socket.peek_all(14) {
    ///         Ok(start) => Ok(start == b"PRI * HTTP/2.0"),
    ///         Err(Error::UnexpectedEof) => Ok(false),
    ///         Err(error) => Err(error),
    ///     }
    /// }
    ///
    /// peer.put_all(b"GET / HTTP/1.1\r\n")?;
    /// assert!(!is_http_2(&mut socket)?);
    /// assert_eq!(socket.get_line()?.as_deref(), Some("GET / HTTP/1.1"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn peek_all(&mut self, len: usize) -> Result<&[u8]> {
        if len == 0 {
            self.begin_nothing();
            return Ok(&[]);
        }
        self.begin(Directions::READ)?;
        let mut progress = self.gathering();
        if let Err(error) = self.gather("peek_all", len, &mut progress) {
            return self.leave(error);
        }
        self.publish_unread();
        Ok(&self.input.buffer.unread()[..len])
    }

    /// Puts bytes in front of what is read next. Doesn't block.
    ///
    /// They count as bytes that the socket has read ahead: [`wait`](TcpSocket::wait) and queues report it readable. They are
    /// read even if the stream has ended, or reading is to go on after an abort or an error. Closing the socket drops them,
    /// as all that it has read ahead, and so does opening it; of a listener they are dropped at once.
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.put_all(b"world")?;
    /// assert_eq!(socket.get_bytes(5)?, b"world");
    /// socket.unread(b"ld");
    /// socket.unread(b"wor");
    /// assert_eq!(socket.get_all_bytes(5)?, b"world");
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn unread(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() && !self.opening.is_listener() {
            self.input.buffer.put_back(bytes);
            self.publish_unread();
        }
    }

    /// Fills `buf`, after a `first` step, or takes nothing.
    fn fill_whole(
        &mut self,
        name: &'static str,
        buf: &mut [u8],
        first: Option<usize>,
        progress: &mut Progress,
    ) -> Result<()> {
        if first.is_none() && self.input.buffer.is_part() {
            progress.deadline.add_done(self.input.buffer.len());
            self.gather(name, buf.len(), progress)?;
            self.input.buffer.take(buf);
            self.publish_unread();
        } else {
            let (done, stop) = self.fill_up(name, buf, first, progress);
            if done < buf.len() {
                self.input.buffer.put_back(&buf[..done]);
                self.input.buffer.mark_as_part();
                return Err(stop.unwrap_or(Error::UnexpectedEof));
            }
        }
        self.last = Outcome::moved(buf.len());
        Ok(())
    }

    /// The beginning of a read that gathers in the buffer, where some of it may be already.
    pub(super) fn gathering(&self) -> Progress {
        let mut progress = Progress::new(self.deadline());
        progress.deadline.add_done(self.input.buffer.len());
        progress
    }

    /// Reads until there are `len` bytes in the buffer.
    pub(super) fn gather(&mut self, name: &'static str, len: usize, progress: &mut Progress) -> Result<()> {
        while self.input.buffer.len() < len {
            if !self.gather_more(name, len, progress)? {
                return Err(Error::UnexpectedEof);
            }
        }
        Ok(())
    }

    /// Reads more into the buffer, in which there are to be `target` bytes in the end; zero, if that is not known. False means
    /// the end of the stream.
    pub(super) fn gather_more(&mut self, name: &'static str, target: usize, progress: &mut Progress) -> Result<bool> {
        self.may_read_on(progress)?;
        let before = self.input.buffer.len();
        let more = self.more_input(name, target, progress)?;
        progress.deadline.add_done(self.input.buffer.len() - before);
        Ok(more)
    }
}
