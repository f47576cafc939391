//! Memory that a thread's sockets read into one after the other. So a connection has some only while it has read ahead.

use std::cell::Cell;

/// How many bytes one `recv(2)` asks for. A read of at least this many bypasses the buffer.
pub(super) const CHUNK: usize = 8 * 1024;

/// How many bytes one `recv(2)` asks for where much comes at once.
#[cfg(feature = "websocket")]
const MUCH: usize = 128 * 1024;

/// How much to read ahead.
#[cfg(feature = "websocket")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ahead {
    #[default]
    Usual,
    Much,
}

#[cfg(feature = "websocket")]
impl Ahead {
    /// For a read that follows one of `count` bytes.
    pub(crate) fn after(count: usize) -> Ahead {
        match count {
            ..=HALF => Ahead::Usual,
            _ => Ahead::Much,
        }
    }

    /// How many bytes that is.
    pub(crate) fn len(self) -> usize {
        match self {
            Ahead::Usual => CHUNK,
            Ahead::Much => MUCH,
        }
    }
}

/// What is in a buffer is little, if it is no more than this.
pub(super) const HALF: usize = CHUNK / 2;

thread_local! {
    /// The memory that a socket has emptied last, for the next one that this thread reads from. So a connection has a buffer
    /// only while there is something in it.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// The memory for [`Ahead::Much`] that a socket has let go of last.
    #[cfg(feature = "websocket")]
    static MUCH_SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Takes the thread's spare memory or, if it has none, makes some.
pub(super) fn take_spare() -> Vec<u8> {
    match SPARE.try_with(Cell::take) {
        Ok(spare) if !spare.is_empty() => spare,
        _ => vec![0; CHUNK],
    }
}

/// Takes the thread's spare memory for [`Ahead::Much`] or, if it has none, makes some. None if there is no memory.
#[cfg(feature = "websocket")]
pub(super) fn take_much_spare() -> Option<Vec<u8>> {
    match MUCH_SPARE.try_with(Cell::take) {
        Ok(spare) if !spare.is_empty() => Some(spare),
        _ => {
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(MUCH).ok()?;
            bytes.resize(MUCH, 0);
            Some(bytes)
        }
    }
}

/// Gives memory to the thread, or frees it if it is of another size or the thread is ending.
pub(super) fn give_spare(bytes: Vec<u8>) {
    let spare = match bytes.len() {
        CHUNK => &SPARE,
        #[cfg(feature = "websocket")]
        MUCH => &MUCH_SPARE,
        _ => return,
    };
    if bytes.capacity() == bytes.len() {
        let _ = spare.try_with(|spare| spare.set(bytes));
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

    #[cfg(feature = "websocket")]
    #[test]
    fn what_is_much_is_kept_beside_what_is_usual() {
        let much = take_much_spare().unwrap();
        let place = much.as_ptr();
        give_spare(much);
        let usual = take_spare();
        assert_eq!(usual.len(), CHUNK);
        let again = take_much_spare().unwrap();
        assert_eq!((again.as_ptr(), again.len()), (place, MUCH));
    }
}
