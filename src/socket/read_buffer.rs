//! Bytes that were read from the system and that the user has not taken yet.

use std::io;
use std::mem;
use std::ops::RangeInclusive;

#[cfg(feature = "websocket")]
use super::spare::{Ahead, take_much_spare};
use super::spare::{CHUNK, HALF, give_spare, take_spare};

/// By how much the memory for a long read grows at once, at least and at most. So a length that no peer sends is never
/// allocated, and a step doesn't hold up the end of a limit.
pub(super) const STEP: RangeInclusive<usize> = 256 * 1024..=4 * 1024 * 1024;

/// The bytes read ahead, and how many of them the fast path may take.
///
/// What a read costs that has to come again and again, until something long is there as a whole, is in proportion to what
/// has come: the buffer grows in proportion to what is in it, is not moved for less than that, and what was
/// [searched](ReadBuffer::note_absent) is not searched again.
#[derive(Default)]
pub(super) struct ReadBuffer {
    /// Unread bytes stand in `start..end`. It has room for none while there are none, but for the time of a read.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// The fast path may take bytes before this, without a look at anything else. It never takes the last one: that
    /// concerns queues.
    fast_end: usize,
    /// There is no byte `searched_for` among the unread ones before this.
    searched: usize,
    searched_for: u8,
    /// It begins with a part of something that was to be had as a whole.
    is_part: bool,
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

    /// Where `byte` stands first among the unread ones.
    #[inline]
    pub(super) fn find(&self, byte: u8) -> Option<usize> {
        let from = if self.searched_for == byte {
            self.searched.saturating_sub(self.start)
        } else {
            0
        };
        memchr::memchr(byte, &self.unread()[from..]).map(|at| from + at)
    }

    /// Notes that there is no `byte` among the unread ones, so that they aren't searched again.
    pub(super) fn note_absent(&mut self, byte: u8) {
        self.searched = self.end;
        self.searched_for = byte;
    }

    /// Removes `count` bytes, or all if there are fewer.
    #[inline]
    pub(super) fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start.saturating_add(count));
        if self.is_empty() {
            self.give_back();
        }
    }

    /// Lets go of memory in which there is nothing, or that has grown and has little in it now. For when nothing more comes
    /// at once.
    #[inline]
    pub(super) fn shrink(&mut self) {
        if self.is_empty() {
            if !self.bytes.is_empty() {
                self.give_back();
            }
        } else if self.bytes.len() > CHUNK && self.len() <= HALF {
            self.move_to(take_spare());
        }
    }

    /// Takes memory for the next read to get much, if there is little in what there is and there is such memory.
    #[cfg(feature = "websocket")]
    pub(super) fn grow(&mut self) {
        if self.bytes.len() < Ahead::Much.len()
            && self.len() <= HALF
            && let Some(memory) = take_much_spare()
        {
            self.move_to(memory);
        }
    }

    /// Moves the unread bytes to the beginning of other memory, which has room for them.
    #[inline(never)]
    fn move_to(&mut self, mut memory: Vec<u8>) {
        memory[..self.len()].copy_from_slice(self.unread());
        give_spare(mem::replace(&mut self.bytes, memory));
        self.begin_at_zero();
    }

    /// Lets go of the memory, which has nothing in it any more.
    #[inline(always)]
    pub(super) fn give_back(&mut self) {
        let bytes = mem::take(self).bytes;
        give_spare(bytes);
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

    /// Moves `count` unread bytes into a vector. There must be so many. If they are most of what there is, the memory is
    /// handed over as it is.
    pub(super) fn take_vec(&mut self, count: usize) -> Vec<u8> {
        if self.start > 0 || count <= CHUNK || count < self.bytes.capacity() / 2 {
            let taken = self.unread()[..count].to_vec();
            self.consume(count);
            return taken;
        }
        let ReadBuffer { mut bytes, end, .. } = mem::take(self);
        self.put_back(&bytes[count..end]);
        bytes.truncate(count);
        bytes
    }

    /// Puts bytes back in front of the unread ones.
    pub(super) fn put_back(&mut self, bytes: &[u8]) {
        if self.start < bytes.len() {
            self.make_room_in_front(bytes.len());
        }
        self.start -= bytes.len();
        self.bytes[self.start..][..bytes.len()].copy_from_slice(bytes);
        self.searched = 0;
        self.fast_end = 0;
    }

    /// Makes room for `count` bytes in front of the unread ones and, if there are any, for as much more on either side: else
    /// what comes next behind them would move them back.
    fn make_room_in_front(&mut self, count: usize) {
        let len = self.len();
        let mut moved = match count + len {
            ..=CHUNK => take_spare(),
            needed => vec![0; needed + 2 * len],
        };
        let spare = moved.len() - count - len;
        let start = count + if len == 0 { 0 } else { spare / 2 };
        let end = start + len;
        moved[start..end].copy_from_slice(self.unread());
        self.give_back();
        (self.bytes, self.start, self.end) = (moved, start, end);
    }

    /// Room for a decent read, behind the unread bytes. To be [given back](ReadBuffer::give_back) if nothing is added and
    /// there are none. Fails if there is no memory.
    ///
    /// `target` is how many unread bytes there are to be in the end; zero, if that is not known.
    #[inline(always)]
    pub(super) fn spare(&mut self, target: usize) -> io::Result<&mut [u8]> {
        if self.bytes.is_empty() && target <= CHUNK {
            self.bytes = take_spare();
        } else if self.bytes.len() - self.end < CHUNK {
            self.make_room(target)?;
        }
        Ok(&mut self.bytes[self.end..])
    }

    /// Adds bytes behind the unread ones, of which there are to be `target` in the end; zero, if that is not known. Fails and
    /// adds none if there is no memory.
    pub(super) fn append(&mut self, mut bytes: &[u8], target: usize) -> io::Result<()> {
        let mut added = 0;
        while !bytes.is_empty() {
            let target = target.max(self.len() + bytes.len());
            match self.spare(target) {
                Ok(spare) => {
                    let count = spare.len().min(bytes.len());
                    spare[..count].copy_from_slice(&bytes[..count]);
                    self.add(count);
                    added += count;
                    bytes = &bytes[count..];
                }
                Err(error) => {
                    self.end -= added;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Adds `count` bytes that were read into [`spare`](ReadBuffer::spare).
    #[inline]
    pub(super) fn add(&mut self, count: usize) {
        self.end += count;
    }

    fn make_room(&mut self, target: usize) -> io::Result<()> {
        let len = self.len();
        // Not for the sake of less than what is moved.
        if self.start > 0 && self.start >= len {
            self.move_to_front();
        }
        let room = self.bytes.len() - self.end;
        let missing = target.saturating_sub(len);
        if room >= CHUNK / 2 || missing > 0 && room >= missing {
            return Ok(());
        }
        let wanted = if missing > 0 { missing } else { len };
        let step = wanted.clamp(CHUNK, len.clamp(*STEP.start(), *STEP.end()));
        if self.bytes.is_empty() {
            // So much that the system may give zeros for it only where they are written to.
            self.bytes = vec![0; step];
            return Ok(());
        }
        if self.bytes.capacity() - self.end < step {
            // Twice as much, but no more than is known to be enough.
            let capacity = len + step.max(len.min(wanted));
            if self.start == 0 {
                self.bytes.try_reserve_exact(capacity - self.bytes.len())?;
            } else {
                let mut grown = Vec::new();
                grown.try_reserve_exact(capacity)?;
                grown.extend_from_slice(self.unread());
                self.bytes = grown;
                self.begin_at_zero();
            }
        }
        self.bytes.resize(self.end + step, 0);
        Ok(())
    }

    fn move_to_front(&mut self) {
        self.bytes.copy_within(self.start..self.end, 0);
        self.begin_at_zero();
    }

    /// Notes that the unread bytes were moved to the front.
    fn begin_at_zero(&mut self) {
        self.searched = self.searched.saturating_sub(self.start);
        (self.start, self.end, self.fast_end) = (0, self.len(), 0);
    }

    /// Notes that the unread bytes are a part of something that was to be had as a whole.
    pub(super) fn mark_as_part(&mut self) {
        self.is_part = !self.is_empty();
    }

    /// Whether a read of a whole should go on in the buffer, instead of moving what it has to and fro.
    pub(super) fn is_part(&self) -> bool {
        self.is_part
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
        buffer.move_to_front();
        assert_eq!((buffer.len(), buffer.fast_len()), (10, 0), "it stands elsewhere now");
    }

    #[test]
    fn an_empty_buffer_goes_back_to_the_thread() {
        let mut buffer = ReadBuffer::default();
        buffer.spare(0).unwrap()[..3].copy_from_slice(b"abc");
        let place = buffer.bytes.as_ptr();
        buffer.add(3);
        buffer.consume(2);
        assert_eq!(buffer.unread(), b"c");
        buffer.consume(1);
        assert!(buffer.bytes.is_empty());
        let mut other = ReadBuffer::default();
        assert_eq!((other.spare(0).unwrap().as_ptr(), other.bytes.len()), (place, CHUNK));
        // One that has grown is freed.
        buffer.put_back(&vec![1; CHUNK + 1]);
        buffer.consume(usize::MAX);
        assert!(buffer.bytes.is_empty());
        assert_ne!(buffer.spare(0).unwrap().as_ptr(), place);
    }

    /// Counts the bytes that are moved from where they stood.
    #[derive(Default)]
    struct Counting {
        buffer: ReadBuffer,
        moved: usize,
    }

    impl Counting {
        fn come(&mut self, target: usize, count: usize) {
            let before = (self.buffer.unread().as_ptr(), self.buffer.len());
            let room = self.buffer.spare(target).unwrap().len();
            self.look(before, 0);
            self.buffer.add(count.min(room));
        }

        fn put_back(&mut self, bytes: &[u8]) {
            let before = (self.buffer.unread().as_ptr(), self.buffer.len());
            self.buffer.put_back(bytes);
            self.look(before, bytes.len());
        }

        fn look(&mut self, (place, len): (*const u8, usize), in_front: usize) {
            if self.buffer.unread()[in_front..].as_ptr() != place {
                self.moved += len;
            }
        }
    }

    const ALL: usize = 32 << 20;
    const PIECE: usize = 4_000;

    #[test]
    fn what_comes_in_pieces_is_moved_in_proportion_to_it() {
        for target in [0, 1, ALL, usize::MAX] {
            let mut counting = Counting::default();
            for _ in 0..ALL / PIECE {
                counting.come(target, PIECE);
            }
            assert_eq!(counting.buffer.len(), ALL / PIECE * PIECE);
            assert!(counting.moved <= 2 * ALL, "{target}: {}", counting.moved);
            assert!(
                counting.buffer.room() <= 2 * ALL,
                "{target}: {}",
                counting.buffer.room()
            );
        }
    }

    #[test]
    fn a_window_over_what_comes_costs_no_more_however_large_it_is() {
        const WINDOW: usize = 1 << 20;
        let mut counting = Counting::default();
        for _ in 0..ALL / PIECE {
            counting.come(WINDOW, PIECE);
            // Now and then a little is taken.
            counting.buffer.consume(counting.buffer.len().saturating_sub(WINDOW));
        }
        assert!(counting.moved <= 2 * ALL, "{}", counting.moved);
        assert!(counting.buffer.room() <= 4 * WINDOW, "{}", counting.buffer.room());
    }

    #[test]
    fn bytes_that_are_taken_and_put_back_leave_the_others_in_place() {
        let mut counting = Counting::default();
        counting.come(ALL, ALL);
        let all = counting.buffer.len();
        for _ in 0..100 {
            counting.buffer.consume(3);
            counting.put_back(b"abc");
        }
        assert!(counting.buffer.unread().starts_with(b"abc") && counting.buffer.len() == all);
        assert_eq!(counting.moved, 0);
        // More than there was: that makes room for as much again.
        for _ in 0..all / 3 {
            counting.put_back(b"abc");
        }
        assert_eq!(counting.buffer.len(), all + all / 3 * 3);
        assert!(counting.moved <= 2 * all, "{}", counting.moved);
    }

    #[test]
    fn what_was_searched_is_not_searched_again_until_something_else_stands_there() {
        let mut buffer = ReadBuffer::default();
        buffer.put_back(b"abcdef");
        buffer.note_absent(b'\n');
        assert_eq!((buffer.find(b'\n'), buffer.find(b'c')), (None, Some(2)));
        // As if it had come meanwhile: what stands before is not looked at.
        buffer.bytes[1] = b'\n';
        buffer.bytes[6] = b'\n';
        buffer.add(1);
        assert_eq!(buffer.find(b'\n'), Some(6));
        buffer.consume(4);
        assert_eq!(buffer.find(b'\n'), Some(2));
        buffer.put_back(b"x\n");
        assert_eq!(buffer.find(b'\n'), Some(1), "it was put back in front");
        buffer.consume(2);
        buffer.note_absent(b'f');
        buffer.consume(3);
        buffer.put_back(b"ef");
        assert_eq!(buffer.find(b'f'), Some(1), "it stands in place of others");
    }

    #[test]
    fn what_is_handed_over_is_handed_over_in_place() {
        let mut buffer = ReadBuffer::default();
        buffer.spare(ALL).unwrap()[..100_000].fill(b'a');
        buffer.add(100_000);
        buffer.spare(ALL).unwrap()[0] = b'b';
        buffer.add(1);
        let place = buffer.unread().as_ptr();
        // Of little, in much memory, a copy is made.
        assert_eq!(buffer.take_vec(2), b"aa");
        buffer.put_back(b"aa");
        assert_eq!(buffer.unread().as_ptr(), place);
        let taken = buffer.take_vec(100_000);
        assert!(taken == [b'a'; 100_000] && buffer.unread() == b"b");
        let mut buffer = ReadBuffer::default();
        buffer.spare(20_000).unwrap()[..20_000].fill(b'a');
        buffer.add(20_000);
        let place = buffer.unread().as_ptr();
        let taken = buffer.take_vec(19_999);
        assert_eq!(
            (taken.as_ptr(), taken.len(), buffer.unread()),
            (place, 19_999, &b"a"[..])
        );
    }

    #[test]
    fn memory_that_has_grown_is_let_go_of_when_there_is_little_in_it() {
        let mut buffer = ReadBuffer::default();
        buffer.put_back(&[b'x'; 100_000]);
        buffer.note_absent(b'y');
        for left in [CHUNK / 2 + 1, CHUNK / 2] {
            buffer.consume(buffer.len() - left);
            buffer.shrink();
            assert_eq!(buffer.len(), left);
            assert_eq!(buffer.room() > CHUNK, left > CHUNK / 2);
            assert_eq!((buffer.find(b'x'), buffer.find(b'y')), (Some(0), None));
        }
        assert!(buffer.spare(0).unwrap().len() >= CHUNK / 2);
        buffer.consume(usize::MAX);
        buffer.shrink();
        assert_eq!(buffer.room(), 0);
    }

    #[cfg(feature = "websocket")]
    #[test]
    fn room_for_much_is_made_around_little_and_let_go_of_with_little_in_it() {
        let much = Ahead::Much.len();
        let mut buffer = ReadBuffer::default();
        buffer.put_back(b"abc");
        buffer.note_absent(b'y');
        buffer.grow();
        assert_eq!((buffer.unread(), buffer.room()), (&b"abc"[..], much));
        assert!(buffer.spare(0).unwrap().len() >= much - 3);
        assert_eq!((buffer.find(b'c'), buffer.find(b'y')), (Some(2), None));
        buffer.add(HALF);
        buffer.shrink();
        assert_eq!(buffer.room(), much, "there is more in it");
        buffer.consume(3);
        buffer.shrink();
        assert_eq!((buffer.len(), buffer.room()), (HALF, CHUNK));
        buffer.add(1);
        buffer.grow();
        assert_eq!(buffer.room(), CHUNK, "that would be much to move");
    }

    #[test]
    fn what_is_never_sent_costs_no_more_than_a_step() {
        let mut buffer = ReadBuffer::default();
        buffer.put_back(&[0; CHUNK + 1]);
        buffer.spare(usize::MAX).unwrap();
        assert!(buffer.room() <= CHUNK + 1 + STEP.start(), "{}", buffer.room());
    }
}
