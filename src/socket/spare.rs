//! Memory that a thread's sockets read into one after the other. So a connection has some only while it has read ahead.

use std::cell::Cell;

/// How many bytes one `recv(2)` asks for. A read of at least this many bypasses the buffer.
pub(super) const CHUNK: usize = 8 * 1024;

thread_local! {
    /// The memory that a socket has emptied last, for the next one that this thread reads from. So a connection has a buffer
    /// only while there is something in it.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Takes the thread's spare memory or, if it has none, makes some.
pub(super) fn take_spare() -> Vec<u8> {
    match SPARE.try_with(Cell::take) {
        Ok(spare) if !spare.is_empty() => spare,
        _ => vec![0; CHUNK],
    }
}

/// Gives memory to the thread, or frees it if it is of another size or the thread is ending.
pub(super) fn give_spare(bytes: Vec<u8>) {
    if bytes.capacity() == CHUNK && bytes.len() == CHUNK {
        let _ = SPARE.try_with(|spare| spare.set(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_taken_next_if_it_is_of_the_usual_size() {
        let usual = take_spare();
        let place = usual.as_ptr();
        give_spare(usual);
        let again = take_spare();
        assert_eq!((again.as_ptr(), again.len()), (place, CHUNK));
        for other in [vec![0; CHUNK + 1], vec![0; CHUNK - 1], Vec::with_capacity(CHUNK)] {
            give_spare(other);
            let made = take_spare();
            assert_eq!((made.len(), made.capacity()), (CHUNK, CHUNK));
        }
    }
}
