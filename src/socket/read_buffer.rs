//! Bytes that were read from the system and that the user has not taken yet.

/// How many bytes one `recv(2)` asks for. A read of at least this many bypasses the buffer.
pub(super) const CHUNK: usize = 8 * 1024;

/// A buffer that has grown beyond this is freed when it is empty.
const KEPT: usize = 64 * 1024;

/// The bytes read ahead, and how many of them the fast path may take.
#[derive(Default)]
pub(super) struct ReadBuffer {
    /// Unread bytes stand in `start..end`. Allocated by the first read that needs it.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// The fast path may take bytes before this, without a look at anything else. It never takes the last one: that
    /// concerns queues.
    fast_end: usize,
}

impl ReadBuffer {
    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Removes `count` bytes, or all if there are fewer.
    #[inline]
    pub(super) fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start.saturating_add(count));
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
            self.fast_end = 0;
            if self.bytes.len() > KEPT {
                self.bytes = Vec::new();
            }
        }
    }

    /// Moves unread bytes into `buf`, as many as fit. Returns how many.
    pub(super) fn take(&mut self, buf: &mut [u8]) -> usize {
        let count = self.len().min(buf.len());
        buf[..count].copy_from_slice(&self.unread()[..count]);
        self.consume(count);
        count
    }

    /// Puts bytes back in front of the unread ones.
    pub(super) fn put_back(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut joined = Vec::with_capacity(bytes.len() + self.len());
        joined.extend_from_slice(bytes);
        joined.extend_from_slice(self.unread());
        self.start = 0;
        self.end = joined.len();
        self.fast_end = 0;
        self.bytes = joined;
    }

    /// Room for a decent read, behind the unread bytes.
    #[inline]
    pub(super) fn spare(&mut self) -> &mut [u8] {
        self.make_room();
        &mut self.bytes[self.end..]
    }

    /// Adds `count` bytes that were read into [`spare`](ReadBuffer::spare).
    #[inline]
    pub(super) fn add(&mut self, count: usize) {
        self.end += count;
    }

    fn make_room(&mut self) {
        if self.bytes.len() - self.end >= CHUNK {
            return;
        }
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            self.fast_end = 0;
        }
        if self.bytes.len() - self.end < CHUNK / 2 {
            self.bytes.resize((self.end * 2).max(CHUNK), 0);
        }
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
    fn a_large_buffer_is_given_back() {
        let mut buffer = ReadBuffer::default();
        buffer.put_back(&vec![1; KEPT + 1]);
        buffer.consume(KEPT);
        assert!(!buffer.bytes.is_empty());
        buffer.consume(1);
        assert_eq!(buffer.bytes.capacity(), 0);
    }
}
