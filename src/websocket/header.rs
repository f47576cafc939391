//! The header of a frame, RFC 6455, section 5.2: how one is read and written.
//!
//! tungstenite's `FrameHeader` does the same, and is what the tests compare with. It reads and writes as if that could fail,
//! and logs what it sees: a sixth of what a short message takes of the processor beside its system calls.

use tungstenite::error::ProtocolError;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::fault::Fault;

/// The most bytes that a header has.
pub(super) const MOST: usize = 14;

// Bits of the first byte.
const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_AND_3: u8 = 0x30;
const OPCODE: u8 = 0x0f;
// Bits of the second byte.
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
/// That the length is in the next two bytes.
const IN_TWO: u8 = 126;
/// That the length is in the next eight bytes.
const IN_EIGHT: u8 = 127;

/// From which length on it takes two bytes, and eight.
const LEAST_IN_TWO: u64 = IN_TWO as u64;
const LEAST_IN_EIGHT: u64 = 1 << 16;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Whether the frame is the last one of its message.
    pub(super) is_last: bool,
    /// Whether a message begins that is compressed: the first of the reserved bits, RFC 7692.
    pub(super) is_compressed: bool,
    pub(super) opcode: OpCode,
    pub(super) mask: Option<[u8; 4]>,
    /// The length of the payload.
    pub(super) length: u64,
}

impl Header {
    /// Parses what `bytes` begin with. Returns how many bytes the header is, too; None if it isn't complete.
    #[inline]
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, Fault> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        let (length, least, rest) = match second & LENGTH {
            IN_TWO => match rest.split_first_chunk() {
                Some((length, rest)) => (u16::from_be_bytes(*length).into(), LEAST_IN_TWO, rest),
                None => return Ok(None),
            },
            IN_EIGHT => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from_be_bytes(*length), LEAST_IN_EIGHT, rest),
                None => return Ok(None),
            },
            length => (length.into(), 0, rest),
        };
        let (mask, rest) = match second & MASKED {
            0 => (None, rest),
            _ => match rest.split_first_chunk() {
                Some((mask, rest)) => (Some(*mask), rest),
                None => return Ok(None),
            },
        };
        let opcode = OpCode::from(first & OPCODE);
        if let OpCode::Data(Data::Reserved(code)) | OpCode::Control(Control::Reserved(code)) = opcode {
            return Err(ProtocolError::InvalidOpcode(code).into());
        }
        if first & RSV2_AND_3 != 0 {
            return Err(ProtocolError::NonZeroReservedBits.into());
        }
        if length < least {
            return Err(Fault::Length);
        }
        let header = Header {
            is_last: first & FIN != 0,
            is_compressed: first & RSV1 != 0,
            opcode,
            mask,
            length,
        };
        Ok(Some((header, bytes.len() - rest.len())))
    }

    /// Writes it to the beginning of `room`. Returns how many bytes it is.
    #[inline]
    pub(super) fn write(&self, room: &mut [u8; MOST]) -> usize {
        let bit = |is_set, bit| if is_set { bit } else { 0 };
        let masked = bit(self.mask.is_some(), MASKED);
        room[0] = bit(self.is_last, FIN) | bit(self.is_compressed, RSV1) | u8::from(self.opcode);
        let mut end = match self.length {
            ..LEAST_IN_TWO => {
                room[1] = masked | self.length as u8;
                2
            }
            LEAST_IN_TWO..LEAST_IN_EIGHT => {
                room[1] = masked | IN_TWO;
                room[2..4].copy_from_slice(&(self.length as u16).to_be_bytes());
                4
            }
            _ => {
                room[1] = masked | IN_EIGHT;
                room[2..10].copy_from_slice(&self.length.to_be_bytes());
                10
            }
        };
        if let Some(mask) = self.mask {
            room[end..end + mask.len()].copy_from_slice(&mask);
            end += mask.len();
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use tungstenite::protocol::frame::FrameHeader;

    use super::*;

    const MASKS: [Option<[u8; 4]>; 2] = [None, Some([1, 2, 3, 4])];

    /// Lengths around those from which on they take more bytes.
    const LENGTHS: [u64; 9] = [0, 1, 125, 126, 127, 0xffff, 0x1_0000, u64::MAX >> 1, u64::MAX];

    #[test]
    fn what_is_written_is_read_here_and_by_tungstenite() {
        for first in 0..=u8::MAX {
            let opcode = OpCode::from(first & OPCODE);
            let is_reserved = matches!(
                opcode,
                OpCode::Data(Data::Reserved(_)) | OpCode::Control(Control::Reserved(_))
            );
            if is_reserved || first & RSV2_AND_3 != 0 {
                continue;
            }
            for (mask, length) in MASKS.into_iter().flat_map(|mask| LENGTHS.map(|length| (mask, length))) {
                let header = Header {
                    is_last: first & FIN != 0,
                    is_compressed: first & RSV1 != 0,
                    opcode,
                    mask,
                    length,
                };
                let mut room = [0; MOST];
                let end = header.write(&mut room);
                assert_eq!(Header::parse(&room).unwrap(), Some((header, end)));
                for incomplete in 0..end {
                    assert_eq!(Header::parse(&room[..incomplete]).unwrap(), None, "{header:?}");
                }
                let mut cursor = Cursor::new(&room[..end]);
                let (theirs, their_length) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
                assert_eq!((their_length, cursor.position()), (length, end as u64), "{header:?}");
                assert_eq!(
                    (theirs.is_final, theirs.rsv1, theirs.opcode, theirs.mask),
                    (header.is_last, header.is_compressed, opcode, mask)
                );
            }
        }
    }

    #[test]
    fn what_tungstenite_refuses_is_refused() {
        for first in 0..=u8::MAX {
            let is_refused = FrameHeader::parse(&mut Cursor::new([first, 0])).is_err() || first & RSV2_AND_3 != 0;
            assert_eq!(Header::parse(&[first, 0]).is_err(), is_refused, "{first:#x}");
        }
    }

    #[test]
    fn a_length_takes_no_more_bytes_than_it_needs() {
        for (length, is_refused) in [(125, true), (126, false)] {
            let header = [0x82, IN_TWO, 0, length];
            assert_eq!(matches!(Header::parse(&header), Err(Fault::Length)), is_refused);
        }
        for (length, is_refused) in [(0xffff_u64, true), (0x1_0000, false)] {
            let header = [&[0x82, IN_EIGHT][..], &length.to_be_bytes()].concat();
            assert_eq!(matches!(Header::parse(&header), Err(Fault::Length)), is_refused);
        }
    }
}
