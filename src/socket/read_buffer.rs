//! Bytes that were read from the system and that the user has not taken yet.

use std::cell::Cell;
use std::mem;

/// How many bytes one `recv(2)` asks for. A read of at least this many bypasses the buffer.
pub(super) const CHUNK: usize = 8 * 1024;

thread_local! {
    /// The memory that a socket has emptied last, for the next one that this thread reads from. So a connection has a buffer
    /// only while there is something in it.
    static SPARE: Cell<Option<Box<[u8; CHUNK]>>> = const { Cell::new(None) };
}

/// Takes the thread's spare memory or, if it has none, makes some.
fn take_spare() -> Box<[u8]> {
    match SPARE.try_with(Cell::take) {
        Ok(Some(chunk)) => chunk,
        _ => vec![0; CHUNK].into_boxed_slice(),
    }
}

/// Gives memory to the thread, or frees it if it is of another size or the thread is ending.
fn give_spare(bytes: Box<[u8]>) {
    if let Ok(chunk) = bytes.try_into() {
        let _ = SPARE.try_with(|spare| spare.set(Some(chunk)));
    }
}

/// The bytes read ahead, and how many of them the fast path may take.
#[derive(Default)]
pub(super) struct ReadBuffer {
    /// Unread bytes stand in `start..end`. It has room for none while there are none, but for the time of a read.
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    /// The fast path may take bytes before this, without a look at anything else. It never takes the last one: that
    /// concerns queues.
    fast_end: usize,
}

impl ReadBuffer {
    #[inline]
    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Removes `count` bytes, or all if there are fewer.
    #[inline]
    pub(super) fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start.saturating_add(count));
        if self.is_empty() {
            self.give_back();
        }
    }

    /// Lets go of the memory, which has nothing in it any more.
    #[inline(always)]
    pub(super) fn give_back(&mut self) {
        self.start = 0;
        self.end = 0;
        self.fast_end = 0;
        give_spare(mem::take(&mut self.bytes));
    }

    /// Moves unread bytes into `buf`, as many as fit. Returns how many.
    #[inline(always)]
    pub(super) fn take(&mut self, buf: &mut [u8]) -> usize {
        let unread = self.unread();
        let count = unread.len().min(buf.len());
        buf[..count].copy_from_slice(&unread[..count]);
        if count == unread.len() {
            self.give_back();
        } else {
            self.start += count;
        }
        count
    }

    /// Puts bytes back in front of the unread ones.
    pub(super) fn put_back(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = bytes.len() + self.len();
        let mut joined = if end <= CHUNK {
            take_spare()
        } else {
            vec![0; end].into()
        };
        joined[..bytes.len()].copy_from_slice(bytes);
        joined[bytes.len()..end].copy_from_slice(self.unread());
        self.give_back();
        self.bytes = joined;
        self.end = end;
    }

    /// Room for a decent read, behind the unread bytes. To be [given back](ReadBuffer::give_back) if nothing is added and
    /// there are none.
    #[inline(always)]
    pub(super) fn spare(&mut self) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes = take_spare();
        } else if self.bytes.len() - self.end < CHUNK {
            self.make_room();
        }
        &mut self.bytes[self.end..]
    }

    /// Adds `count` bytes that were read into [`spare`](ReadBuffer::spare).
    #[inline]
    pub(super) fn add(&mut self, count: usize) {
        self.end += count;
    }

    fn make_room(&mut self) {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            self.fast_end = 0;
        }
        if self.bytes.len() - self.end < CHUNK / 2 {
            let mut grown = mem::take(&mut self.bytes).into_vec();
            grown.resize((self.end * 2).max(CHUNK), 0);
            self.bytes = grown.into_boxed_slice();
        }
    }

    /// How much memory there is.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.bytes.len()
    }

    // The fast path.

    /// Lets all but the last byte be taken without a look at anything else.
    #[inline]
    pub(super) fn allow_fast_path(&mut self) {
        self.fast_end = self.end.saturating_sub(1);
    }

    /// Makes the next read take the slow path, which looks at the error state and the global limit.
    #[inline]
    pub(super) fn forbid_fast_path(&mut self) {
        self.fast_end = 0;
    }

    /// How many bytes the fast path may take.
    #[inline]
    pub(super) fn fast_len(&self) -> usize {
        self.fast_end.saturating_sub(self.start)
    }

    /// Takes the next byte, if the fast path may.
    #[inline]
    pub(super) fn next_fast(&mut self) -> Option<u8> {
        if self.start >= self.fast_end {
            return None;
        }
        let byte = self.bytes.get(self.start).copied();
        self.start += 1;
        byte
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_back_comes_first() {
        let mut buffer = ReadBuffer::default();
        buffer.put_back(b"def");
        buffer.put_back(b"abc");
        let mut buf = [0; 4];
        assert_eq!(buffer.take(&mut buf), 4);
        assert_eq!(&buf, b"abcd");
        assert_eq!(buffer.unread(), b"ef");
        buffer.consume(10);
        assert!(buffer.is_empty());
    }

    #[test]
    fn the_fast_path_takes_what_there_is_but_for_the_last_byte() {
        let allowed = |text: &[u8], taken| {
            let mut buffer = ReadBuffer::default();
            buffer.put_back(text);
            assert_eq!(buffer.fast_len(), 0, "there may be something to look at");
            buffer.allow_fast_path();
            buffer.consume(taken);
            buffer
        };
        let mut buffer = allowed(b"abc", 0);
        assert_eq!((buffer.next_fast(), buffer.fast_len()), (Some(b'a'), 1));
        assert_eq!((buffer.next_fast(), buffer.next_fast()), (Some(b'b'), None));
        assert_eq!(buffer.unread(), b"c");
        buffer.allow_fast_path();
        buffer.put_back(b"abcd");
        assert_eq!(buffer.fast_len(), 0);

        assert_eq!(allowed(b"abc", 3).fast_len(), 0, "all is taken");

        let mut buffer = allowed(&[1; 100], 90);
        buffer.make_room();
        assert_eq!((buffer.len(), buffer.fast_len()), (10, 0), "it stands elsewhere now");
    }

    #[test]
    fn an_empty_buffer_goes_back_to_the_thread() {
        let mut buffer = ReadBuffer::default();
        buffer.spare()[..3].copy_from_slice(b"abc");
        let place = buffer.bytes.as_ptr();
        buffer.add(3);
        buffer.consume(2);
        assert_eq!(buffer.unread(), b"c");
        buffer.consume(1);
        assert!(buffer.bytes.is_empty());
        let mut other = ReadBuffer::default();
        assert_eq!((other.spare().as_ptr(), other.bytes.len()), (place, CHUNK));
        // One that has grown is freed.
        buffer.put_back(&vec![1; CHUNK + 1]);
        buffer.consume(usize::MAX);
        assert!(buffer.bytes.is_empty());
        assert_ne!(buffer.spare().as_ptr(), place);
    }
}
