//! Bytes that come, and room for more.

use std::io;
use std::mem;

/// What has come of a message, or of what it is compressed to.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// What has come, and zeros: room that is used by the next reads, so that it is cleared once.
    bytes: Vec<u8>,
    /// How much has come.
    filled: usize,
}

impl Incoming {
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    /// Room for `count` bytes behind what has come. Fails if there is no memory.
    pub(super) fn room(&mut self, count: usize) -> io::Result<&mut [u8]> {
        let end = self.filled + count;
        if self.bytes.len() < end {
            self.reserve(end - self.bytes.len())?;
            self.bytes.resize(end, 0);
        }
        Ok(&mut self.bytes[self.filled..end])
    }

    /// Adds `count` bytes that were put into the room, and gives them.
    #[inline]
    pub(super) fn add(&mut self, count: usize) -> &mut [u8] {
        let begin = self.filled;
        self.filled += count;
        &mut self.bytes[begin..self.filled]
    }

    /// Adds a copy of `bytes`, and gives it. Fails if there is no memory.
    #[inline]
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<&mut [u8]> {
        self.bytes.truncate(self.filled);
        if self.bytes.capacity() - self.filled < bytes.len() {
            self.reserve(bytes.len())?;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(self.add(bytes.len()))
    }

    #[inline]
    fn reserve(&mut self, count: usize) -> io::Result<()> {
        self.bytes
            .try_reserve(count)
            .map_err(|error| io::Error::new(io::ErrorKind::OutOfMemory, error))
    }

    /// Forgets what has come. The memory stays.
    pub(super) fn clear(&mut self) {
        self.filled = 0;
    }

    /// Takes what has come, with its memory.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let Incoming { mut bytes, filled } = mem::take(self);
        bytes.truncate(filled);
        bytes
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}
