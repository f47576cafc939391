//! Any mix of reads, held against a plain byte string: for tests that make their cases up, each in its own way.
//!
//! The peer is driven between the reads, so each case runs the same way again.

#![allow(unreachable_pub, reason = "each user has its part")]

mod decode;
pub mod model;

use std::fmt;

/// What `get_line` takes at most.
pub const MAX_LINE: usize = 65_536;

/// A piece of the stream: these bytes, so many times.
#[derive(Clone)]
pub struct Piece {
    pub bytes: Vec<u8>,
    pub times: usize,
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" x {}", self.bytes.escape_ascii(), self.times)
    }
}

#[derive(Clone, Debug)]
pub enum Act {
    /// The peer sends so many bytes or, once it has sent all, ends the stream.
    Send(usize),
    /// It sends the rest of a line, without its newline or with it.
    SendLine(bool),
    /// Splits the socket, or joins its halves.
    SplitOrJoin,
    Get(usize),
    GetBytes(usize),
    GetByte,
    Peek,
    Term,
    GetAll(usize),
    GetAllBytes(usize),
    GetLine,
    GetLineBytes(usize),
    GetLineInto(usize),
    /// As `GetLineBytes`, with a maximum that is less, equal or more than what has come of the line.
    GetLineNear(usize),
    Read(usize),
    FillBufAndConsume(usize),
    ReadUntil(u8),
    ReadLine,
    ReadExact(usize),
    ReadToEnd,
    ReadToString,
    SkipUntil(u8),
    PeekAll(usize),
    /// Puts back so many of the bytes that were taken last.
    Unread(usize),
    WaitRead,
    WaitRequest,
}

/// How the peer ends the stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ending {
    EndOfFile,
    Reset,
}

#[derive(Clone)]
pub struct Case {
    pub stream: Vec<Piece>,
    pub ending: Ending,
    /// Each with its limit in microseconds.
    pub acts: Vec<(u64, Act)>,
}

impl fmt::Debug for Case {
    /// On few lines, whatever was asked for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { stream, ending, acts } = self;
        write!(
            f,
            "stream: {stream:?}\nand then: {ending:?}\nacts, each after its limit in µs: {acts:?}"
        )
    }
}
