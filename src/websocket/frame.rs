//! A frame that is to be sent.

use std::io;

use tungstenite::protocol::frame::coding::{Control, OpCode};

use super::header::{self, Header};
use super::mask::{Mask, random_mask};
use super::message::Role;

/// A frame that is to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    pub(super) opcode: OpCode,
    pub(super) is_last: bool,
    /// Whether it begins a message that is compressed.
    pub(super) is_compressed: bool,
    pub(super) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    pub(super) fn control(control: Control, payload: &'a [u8]) -> Frame<'a> {
        Frame {
            opcode: OpCode::Control(control),
            is_last: true,
            is_compressed: false,
            payload,
        }
    }

    /// How long it is at most.
    #[inline]
    pub(super) fn most(&self) -> usize {
        self.payload.len() + header::MOST
    }

    /// Appends it to `bytes`, masked if `role`, which sends it, is the client.
    #[inline]
    pub(super) fn append_to(&self, bytes: &mut Vec<u8>, role: Role) -> io::Result<()> {
        let mask = match role {
            Role::Client => Some(random_mask()?),
            Role::Server => None,
        };
        let header = Header {
            is_last: self.is_last,
            is_compressed: self.is_compressed,
            opcode: self.opcode,
            mask,
            length: self.payload.len() as u64,
        };
        let mut room = [0; header::MOST];
        let length = header.write(&mut room);
        bytes.try_reserve(length + self.payload.len())?;
        bytes.extend_from_slice(&room[..length]);
        let begin = bytes.len();
        bytes.extend_from_slice(self.payload);
        if let Some(mask) = mask {
            Mask::new(mask).apply(&mut bytes[begin..]);
        }
        Ok(())
    }
}
