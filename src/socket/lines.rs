//! Reading lines.

use super::read_buffer::ReadBuffer;
use super::{Directions, Outcome, TcpSocket};
use crate::error::{Error, Result};

/// The most that `get_line` takes for a line, as in U++.
const MAX_LINE: usize = 65_536;

/// A line in the buffer.
struct Line {
    /// Without its end.
    len: usize,
    /// With its end.
    taken: usize,
}

impl Line {
    /// The first line that the buffer has.
    #[inline]
    fn first_of(buffer: &ReadBuffer) -> Option<Line> {
        let end = buffer.find(b'\n')?;
        Some(Line {
            len: end - usize::from(buffer.unread()[..end].ends_with(b"\r")),
            taken: end + 1,
        })
    }
}

impl TcpSocket {
    /// Reads the next line and returns it without its `\n` or `\r\n`; `None` at the end of the stream.
    ///
    /// Blocks until the line is complete, for at most [`timeout`](TcpSocket::timeout) in all. The line may have up to
    /// 65,536 bytes. Only the `\r` of a `\r\n` is dropped.
    ///
    /// # Errors
    ///
    /// Any failure puts the socket into the error state and takes nothing: after
    /// [`clear_error`](TcpSocket::clear_error) the next read starts with the first byte of the line.
    ///
    /// - [`Error::Timeout`] if the line is not complete in time.
    /// - [`Error::UnexpectedEof`] if the stream ends in the middle of the line.
    ///   [`BufRead::lines`](std::io::BufRead::lines) would return what there is; here, `clear_error` and then
    ///   [`get_bytes`](TcpSocket::get_bytes) do.
    /// - [`Error::LineTooLong`], at the first byte too many.
    /// - [`Error::InvalidUtf8`]; [`get_line_bytes`](TcpSocket::get_line_bytes) can read the line.
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.put_all(b"GET / HTTP/1.0\r\n\r\n")?;
    /// peer.close();
    /// assert_eq!(socket.get_line()?.as_deref(), Some("GET / HTTP/1.0"));
    /// assert_eq!(socket.get_line()?.as_deref(), Some(""));
    /// assert_eq!(socket.get_line()?, None);
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    #[doc(alias = "read_line")]
    #[doc(alias = "ReadString")]
    pub fn get_line(&mut self) -> Result<Option<String>> {
        self.begin(Directions::READ)?;
        let Some(line) = self.find_line("get_line", MAX_LINE)? else {
            return Ok(None);
        };
        // Copied before it is validated: that is faster on memory that begins at a word's boundary.
        let Ok(text) = String::from_utf8(self.input.buffer.unread()[..line.len].to_vec()) else {
            return self.fail_and_leave(Error::InvalidUtf8);
        };
        self.take_line(&line);
        Ok(Some(text))
    }

    /// Reads the next line as bytes, at most `max_len` of any value; else as [`get_line`](TcpSocket::get_line).
    ///
    /// ```
    /// use wakesock::Error;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.put_all(b"\xffabc\n")?;
    /// assert!(matches!(socket.get_line_bytes(3), Err(Error::LineTooLong { limit: 3 })));
    /// socket.clear_error();
    /// assert_eq!(socket.get_line_bytes(4)?.as_deref(), Some(&b"\xffabc"[..]));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn get_line_bytes(&mut self, max_len: usize) -> Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let found = self.copy_line("get_line_bytes", &mut line, max_len)?;
        Ok(found.then_some(line))
    }

    /// Reads the next line into `line`, in place of its content; false at the end of the stream. Else as
    /// [`get_line_bytes`](TcpSocket::get_line_bytes).
    ///
    /// It allocates nothing for the lines once `line` has room for the longest.
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.put_all(b"one\ntwo\n")?;
    /// peer.close();
    /// let mut line = Vec::new();
    /// let mut bytes = 0;
    /// while socket.get_line_into(&mut line, 1024)? {
    ///     bytes += line.len();
    /// }
    /// assert_eq!(bytes, 6);
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn get_line_into(&mut self, line: &mut Vec<u8>, max_len: usize) -> Result<bool> {
        self.copy_line("get_line_into", line, max_len)
    }

    #[inline(always)]
    fn copy_line(&mut self, name: &'static str, line: &mut Vec<u8>, max_len: usize) -> Result<bool> {
        line.clear();
        self.begin(Directions::READ)?;
        let Some(found) = self.find_line(name, max_len)? else {
            return Ok(false);
        };
        line.extend_from_slice(&self.input.buffer.unread()[..found.len]);
        self.take_line(&found);
        Ok(true)
    }

    fn take_line(&mut self, line: &Line) {
        self.input.buffer.consume(line.taken);
        self.publish_unread();
        self.last = Outcome::moved(line.taken);
    }

    /// Finds the line that the buffer begins with, and reads until it is complete. `None` at the end of the stream.
    #[inline(always)]
    fn find_line(&mut self, name: &'static str, max_len: usize) -> Result<Option<Line>> {
        // Most lines are in the buffer already.
        let line = match Line::first_of(&self.input.buffer) {
            Some(line) => line,
            None => match self.wait_for_line(name, max_len)? {
                Some(line) => line,
                None => return Ok(None),
            },
        };
        if line.len > max_len {
            return self.fail_and_leave(Error::LineTooLong { limit: max_len });
        }
        Ok(Some(line))
    }

    /// Reads until the buffer begins with a whole line, which it doesn't yet.
    #[inline(never)]
    fn wait_for_line(&mut self, name: &'static str, max_len: usize) -> Result<Option<Line>> {
        let mut progress = self.gathering();
        loop {
            let unread = self.input.buffer.unread();
            let came = unread.len();
            // One byte more may be the `\r` of the line's end.
            if came - usize::from(unread.ends_with(b"\r")) > max_len {
                return self.fail_and_leave(Error::LineTooLong { limit: max_len });
            }
            self.input.buffer.note_absent(b'\n');
            match self.gather_more(name, 0, &mut progress) {
                Ok(true) => {}
                Ok(false) if came == 0 => return Ok(None),
                Ok(false) => return self.fail_and_leave(Error::UnexpectedEof),
                Err(error) => return self.fail_and_leave(error),
            }
            if let Some(line) = Line::first_of(&self.input.buffer) {
                return Ok(Some(line));
            }
        }
    }
}
