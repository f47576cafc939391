//! Frames, RFC 6455, section 5: how those that come make up messages.
//!
//! [`Frames`] knows of no socket: it says what it wants next, a header or some of a payload, and is given that. It never
//! wants more than the frame that is under way, so that what follows a message stays where it is.

use std::io;
use std::mem;

use tungstenite::error::ProtocolError;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::deflate::Inflater;
use super::fault::Fault;
use super::header::Header;
use super::mask::Mask;
use super::message::{Message, Role};

/// The most bytes that the payload of a ping, a pong or a close frame may have.
pub(super) const MOST_CONTROL: usize = 125;

/// For how much of a payload that hasn't come yet memory is made: for this much or, if more, for so many times what has come.
/// Few large steps cost least: each is a `recv(2)`, and may move what has come. What isn't filled isn't touched, either.
const FIRST_STEP: usize = 8 * 1024;
const GROWTH: usize = 128;
const LONGEST_STEP: usize = 1 << 20;
/// What is compressed is decompressed after each step.
const LONGEST_COMPRESSED_STEP: usize = 64 * 1024;

/// What was made of one or more frames.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    Message(Message),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<Close>),
}

/// The content of a close frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Close {
    pub(super) code: u16,
    pub(super) reason: String,
}

/// Whether a code may stand in a close frame: RFC 6455, section 7.4, and the registry that it makes.
pub(super) fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// The frames that come.
#[derive(Debug)]
pub(super) struct Frames {
    /// Which end this is.
    role: Role,
    payload: Option<Payload>,
    /// The kind of the message that is under way.
    kind: Option<Kind>,
    /// What has come of it; if it is compressed, what isn't decompressed yet.
    incoming: Vec<u8>,
    /// What has come of it, if it is compressed.
    inflated: Vec<u8>,
    /// How much of it is known to be UTF-8, where it is text.
    checked: usize,
    /// What has come of the control frame that is under way.
    control: Vec<u8>,
    /// What decompresses, if that was agreed on.
    inflater: Option<Inflater>,
    /// Whether the message that is under way is compressed.
    is_compressed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
}

/// The payload that is under way.
#[derive(Debug)]
struct Payload {
    left: u64,
    mask: Mask,
    of: Of,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    /// A frame of a message: its last one?
    Message(bool),
    Control(Control),
}

impl Payload {
    /// Takes the last `count` of `bytes`, which have come: unmasks them.
    #[inline]
    fn take_last(&mut self, count: usize, bytes: &mut [u8]) {
        let begin = bytes.len() - count;
        self.mask.apply(&mut bytes[begin..]);
        self.left -= count as u64;
    }
}

impl Frames {
    pub(super) fn new(role: Role) -> Frames {
        Frames {
            role,
            payload: None,
            kind: None,
            incoming: Vec::new(),
            inflated: Vec::new(),
            checked: 0,
            control: Vec::new(),
            inflater: None,
            is_compressed: false,
        }
    }

    #[cfg(feature = "websocket-deflate")]
    pub(super) fn inflate_by(&mut self, inflater: Inflater) {
        self.inflater = Some(inflater);
    }

    /// Whether something of a message has come.
    pub(super) fn is_in_message(&self) -> bool {
        self.kind.is_some()
    }

    /// Whether a header is wanted next.
    pub(super) fn wants_header(&self) -> bool {
        self.payload.is_none()
    }

    /// How much of the payload that is under way is still to come.
    pub(super) fn left(&self) -> usize {
        let left = self.payload.as_ref().map_or(0, |payload| payload.left);
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    /// Takes the header of a frame from the beginning of `bytes`. Returns its length; None if it isn't complete.
    #[inline]
    pub(super) fn take_header(&mut self, bytes: &[u8], max_message: usize) -> Result<Option<usize>, Fault> {
        let Some((header, end)) = Header::parse(bytes)? else {
            return Ok(None);
        };
        let length = header.length;
        let begins_message = matches!(header.opcode, OpCode::Data(Data::Text | Data::Binary));
        if header.is_compressed && !(begins_message && self.inflater.is_some()) {
            return Err(ProtocolError::NonZeroReservedBits.into());
        }
        let mask = match (self.role, header.mask) {
            (Role::Server, None) => return Err(ProtocolError::UnmaskedFrameFromClient.into()),
            (Role::Client, Some(_)) => return Err(ProtocolError::MaskedFrameFromServer.into()),
            (_, mask) => Mask::new(mask.unwrap_or_default()),
        };
        let of = match header.opcode {
            OpCode::Data(data) => {
                self.begin_frame(data)?;
                if begins_message {
                    self.is_compressed = header.is_compressed;
                }
                let room = max_message.saturating_sub(self.message().len()) as u64;
                // What can't be compressed gets a little longer.
                let slack = if self.is_compressed { room / 256 + 1024 } else { 0 };
                // RFC 6455, section 5.2: its first bit is 0.
                if length > room.saturating_add(slack).min(i64::MAX as u64) {
                    return Err(Fault::TooLong(max_message));
                }
                Of::Message(header.is_last)
            }
            OpCode::Control(_) if !header.is_last => return Err(ProtocolError::FragmentedControlFrame.into()),
            OpCode::Control(_) if length > MOST_CONTROL as u64 => {
                return Err(ProtocolError::ControlFrameTooBig.into());
            }
            OpCode::Control(control) => Of::Control(control),
        };
        self.payload = Some(Payload { left: length, mask, of });
        Ok(Some(end))
    }

    fn begin_frame(&mut self, data: Data) -> Result<(), Fault> {
        let kind = match (data, self.kind) {
            (Data::Continue, Some(kind)) => kind,
            (Data::Continue, None) => return Err(ProtocolError::UnexpectedContinueFrame.into()),
            (_, Some(_)) => return Err(ProtocolError::ExpectedFragment(data).into()),
            (Data::Text, None) => Kind::Text,
            (Data::Binary, None) => Kind::Binary,
            (Data::Reserved(code), None) => return Err(ProtocolError::UnknownDataFrameType(code).into()),
        };
        self.kind = Some(kind);
        Ok(())
    }

    /// What is known of the message that is under way.
    #[inline]
    fn message(&self) -> &[u8] {
        match self.is_compressed {
            true => &self.inflated,
            false => &self.incoming,
        }
    }

    /// Takes what `bytes` begin with of the payload that is under way. Returns how much that is.
    #[inline]
    pub(super) fn take_payload(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.left().min(bytes.len());
        let Some(payload) = &mut self.payload else {
            return Ok(0);
        };
        let bytes = &bytes[..count];
        let come = match payload.of {
            Of::Message(_) => &mut self.incoming,
            Of::Control(_) => &mut self.control,
        };
        come.try_reserve(count)?;
        come.extend_from_slice(bytes);
        payload.take_last(count, come);
        Ok(count)
    }

    /// Where more is to be put of the payload that is under way, which is a message's, and how much: there is memory for that.
    /// [`left`](Frames::left) isn't zero.
    pub(super) fn room(&mut self) -> io::Result<(&mut Vec<u8>, usize)> {
        let longest = match self.is_compressed {
            true => LONGEST_COMPRESSED_STEP,
            false => LONGEST_STEP,
        };
        let step = self.message().len().saturating_mul(GROWTH).clamp(FIRST_STEP, longest);
        let count = step.min(self.left());
        self.make_room(count)?;
        Ok((&mut self.incoming, count))
    }

    /// Makes memory for so much more: for twice what has come, if that is more, but not beyond the end of a message.
    fn make_room(&mut self, count: usize) -> io::Result<()> {
        let incoming = &mut self.incoming;
        match &self.payload {
            Some(Payload {
                left,
                of: Of::Message(true),
                ..
            }) if incoming.capacity() - incoming.len() < count => {
                let left = usize::try_from(*left).unwrap_or(usize::MAX);
                Ok(incoming.try_reserve_exact(count.max(incoming.len()).min(left))?)
            }
            _ => Ok(incoming.try_reserve(count)?),
        }
    }

    /// Takes `count` bytes of the payload that were put where [`room`](Frames::room) says.
    pub(super) fn add(&mut self, count: usize) {
        if let Some(payload) = &mut self.payload {
            payload.take_last(count, &mut self.incoming);
        }
    }

    /// What has become of the payload that is under way: None while there is to be more of it, or of its message.
    #[inline]
    pub(super) fn complete(&mut self, max_message: usize) -> Result<Option<Event>, Fault> {
        let Some(payload) = &self.payload else {
            return Ok(None);
        };
        let (is_complete, of) = (payload.left == 0, payload.of);
        let is_last = matches!(of, Of::Message(true)) && is_complete;
        if matches!(of, Of::Message(_)) {
            if self.is_compressed {
                self.inflate(is_last, max_message)?;
            }
            if self.kind == Some(Kind::Text) && !is_last {
                self.check_text()?;
            }
        }
        if !is_complete {
            return Ok(None);
        }
        self.payload = None;
        match of {
            Of::Message(false) => Ok(None),
            Of::Message(true) => self.complete_message().map(Some),
            Of::Control(control) => {
                let payload = mem::take(&mut self.control);
                match control {
                    Control::Ping => Ok(Some(Event::Ping(payload))),
                    Control::Pong => Ok(Some(Event::Pong(payload))),
                    Control::Close => parse_close(&payload).map(|close| Some(Event::Close(close))),
                    Control::Reserved(code) => Err(ProtocolError::UnknownControlFrameType(code).into()),
                }
            }
        }
    }

    /// Decompresses what has come.
    fn inflate(&mut self, is_last: bool, max_message: usize) -> Result<(), Fault> {
        let Some(inflater) = &mut self.inflater else {
            return Ok(());
        };
        inflater.inflate(&self.incoming, &mut self.inflated, max_message)?;
        self.incoming.clear();
        if is_last {
            inflater.finish(&mut self.inflated, max_message)?;
            self.incoming = Vec::new();
        }
        Ok(())
    }

    fn complete_message(&mut self) -> Result<Event, Fault> {
        let bytes = match self.is_compressed {
            true => mem::take(&mut self.inflated),
            false => mem::take(&mut self.incoming),
        };
        self.checked = 0;
        let message = match self.kind.take() {
            Some(Kind::Text) => Message::Text(
                String::from_utf8(bytes).map_err(|error| Fault::NotUtf8(error.utf8_error().valid_up_to()))?,
            ),
            _ => Message::Binary(bytes),
        };
        Ok(Event::Message(message))
    }

    /// Fails at once where what has come can't be the beginning of a text.
    fn check_text(&mut self) -> Result<(), Fault> {
        let prefix = text_prefix(&self.message()[self.checked..]);
        self.checked += prefix.map_err(|error| Fault::NotUtf8(self.checked + error.valid_up_to()))?;
        Ok(())
    }
}

/// How many of `bytes` are text, where only the end may be missing of what follows.
pub(super) fn text_prefix(bytes: &[u8]) -> Result<usize, std::str::Utf8Error> {
    match str::from_utf8(bytes) {
        Ok(_) => Ok(bytes.len()),
        Err(error) if error.error_len().is_none() => Ok(error.valid_up_to()),
        Err(error) => Err(error),
    }
}

fn parse_close(payload: &[u8]) -> Result<Option<Close>, Fault> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return match payload {
            [] => Ok(None),
            _ => Err(ProtocolError::InvalidCloseSequence.into()),
        };
    };
    let code = u16::from_be_bytes(*code);
    if !may_be_sent(code) {
        return Err(Fault::CloseCode(code));
    }
    let reason = str::from_utf8(reason)
        .map_err(|error| Fault::NotUtf8(error.valid_up_to()))?
        .to_owned();
    Ok(Some(Close { code, reason }))
}

/// The payload of a close frame.
pub(super) fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::frame::Frame;

    /// What comes of `bytes` if they come `step` at a time.
    fn events(role: Role, bytes: &[u8], step: usize, max_message: usize) -> Result<Vec<Event>, Fault> {
        let mut frames = Frames::new(role);
        let mut events = Vec::new();
        let mut left = bytes;
        let mut come = 0;
        while come < left.len() {
            come = (come + step).min(left.len());
            loop {
                if frames.wants_header() {
                    match frames.take_header(&left[..come], max_message)? {
                        Some(length) => {
                            left = &left[length..];
                            come -= length;
                        }
                        None => break,
                    }
                } else {
                    let taken = frames.take_payload(&left[..come]).unwrap();
                    left = &left[taken..];
                    come -= taken;
                }
                let event = frames.complete(max_message)?;
                let is_waiting = event.is_none() && !frames.wants_header() && come == 0;
                events.extend(event);
                if is_waiting {
                    break;
                }
            }
        }
        Ok(events)
    }

    fn frame(opcode: OpCode, is_last: bool, payload: &[u8], role: Role) -> Vec<u8> {
        let mut bytes = Vec::new();
        let frame = Frame {
            opcode,
            is_last,
            is_compressed: false,
            payload,
        };
        frame.append_to(&mut bytes, role).unwrap();
        bytes
    }

    fn other(role: Role) -> Role {
        match role {
            Role::Client => Role::Server,
            Role::Server => Role::Client,
        }
    }

    #[test]
    fn what_is_written_is_read_in_whatever_pieces_it_comes() {
        let long: Vec<u8> = (0..70_000_u32).map(|at| at as u8).collect();
        for role in [Role::Client, Role::Server] {
            let sender = other(role);
            let mut bytes = frame(OpCode::Data(Data::Text), false, "größ".as_bytes(), sender);
            bytes.extend(frame(OpCode::Control(Control::Ping), true, b"there?", sender));
            bytes.extend(frame(OpCode::Data(Data::Continue), false, b"", sender));
            bytes.extend(frame(OpCode::Data(Data::Continue), true, b"er", sender));
            bytes.extend(frame(OpCode::Data(Data::Binary), true, &long, sender));
            bytes.extend(frame(OpCode::Data(Data::Text), true, b"", sender));
            bytes.extend(frame(
                OpCode::Control(Control::Close),
                true,
                &close_payload(1000, "bye"),
                sender,
            ));
            let expected = [
                Event::Ping(b"there?".to_vec()),
                Event::Message(Message::from("größer")),
                Event::Message(Message::from(long.clone())),
                Event::Message(Message::from("")),
                Event::Close(Some(Close {
                    code: 1000,
                    reason: "bye".to_owned(),
                })),
            ];
            for step in [1, 2, 3, 7, 100, 8192, bytes.len()] {
                let found = events(role, &bytes, step, 70_000).unwrap();
                assert!(found == expected, "{role:?}, {step} bytes at a time");
            }
        }
    }

    #[test]
    fn each_fault_is_found_and_told_by_its_code() {
        let text = |payload: &[u8]| [&[0x81, payload.len() as u8], payload].concat();
        let close = |payload: &[u8]| [&[0x88, payload.len() as u8], payload].concat();
        let cases: [(&str, Vec<u8>, u16); 18] = [
            ("a reserved bit", vec![0xc1, 0], 1002),
            ("a reserved opcode", vec![0x83, 0], 1002),
            ("a reserved control opcode", vec![0x8b, 0], 1002),
            ("a mask", vec![0x81, 0x80, 0, 0, 0, 0], 1002),
            ("a continuation of nothing", vec![0x80, 0], 1002),
            ("a message inside another", vec![0x01, 0, 0x81, 0], 1002),
            ("a ping in fragments", vec![0x09, 0], 1002),
            ("a long ping", [&[0x89, 126, 0, 126][..], &[0; 126]].concat(), 1002),
            ("half a close code", close(&[3]), 1002),
            ("close code 1005", close(&1005_u16.to_be_bytes()), 1002),
            ("close code 999", close(&999_u16.to_be_bytes()), 1002),
            ("close code 5000", close(&5000_u16.to_be_bytes()), 1002),
            ("a reason that isn't text", close(&[3, 0xe8, 0xff]), 1007),
            ("what isn't text", text(b"a\xff"), 1007),
            ("half a letter", text(b"a\xc3"), 1007),
            ("a surrogate", text(b"\xed\xa0\x80"), 1007),
            ("a long message", text(&[b'x'; 101]), 1009),
            ("a length of 2^63", vec![0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], 1009),
        ];
        for (what, bytes, code) in cases {
            for step in [1, bytes.len()] {
                let fault = events(Role::Client, &bytes, step, 100).unwrap_err();
                assert_eq!(fault.code(), code, "{what}: {fault:?}");
            }
        }
        let fault = events(Role::Server, &text(b"hello"), 100, 100).unwrap_err();
        assert_eq!(fault.code(), 1002, "no mask");
    }

    #[test]
    fn fragments_together_are_no_longer_than_a_message_may_be() {
        let mut bytes = frame(OpCode::Data(Data::Binary), false, &[0; 60], Role::Server);
        bytes.extend(frame(OpCode::Data(Data::Continue), false, &[0; 41], Role::Server));
        let fault = events(Role::Client, &bytes, 1000, 100).unwrap_err();
        assert!(matches!(fault, Fault::TooLong(100)), "{fault:?}");
    }

    #[test]
    fn text_is_refused_before_its_frame_is_complete() {
        // Announced are a thousand bytes.
        let mut bytes = vec![0x81, 126, 3, 0xe8];
        bytes.extend(b"fine so far \xf0\x9f");
        assert!(events(Role::Client, &bytes, 1, 10_000).unwrap().is_empty());
        bytes.push(b'!');
        let fault = events(Role::Client, &bytes, 1, 10_000).unwrap_err();
        assert!(matches!(fault, Fault::NotUtf8(_)), "{fault:?}");
    }

    #[test]
    fn memory_is_made_for_what_comes_and_not_for_what_is_announced() {
        let mut frames = Frames::new(Role::Client);
        let header = [0x82, 127, 0, 0, 0, 0, 0x40, 0, 0, 0];
        assert_eq!(frames.take_header(&header, 1 << 30).unwrap(), Some(header.len()));
        let (bytes, count) = frames.room().unwrap();
        bytes.resize(bytes.len() + count, 0);
        frames.add(count);
        assert!(
            frames.incoming.capacity() <= 2 * FIRST_STEP,
            "{}",
            frames.incoming.capacity()
        );
    }

    #[test]
    fn memory_is_not_made_beyond_the_end_of_a_message() {
        const LENGTH: usize = 5 << 20;
        let mut frames = Frames::new(Role::Client);
        let mut header = vec![0x82, 127];
        header.extend(u64::to_be_bytes(LENGTH as u64));
        frames.take_header(&header, LENGTH).unwrap();
        while frames.left() > 0 {
            let (bytes, count) = frames.room().unwrap();
            bytes.resize(bytes.len() + count, 0);
            frames.add(count);
            assert!(frames.incoming.capacity() <= LENGTH, "{}", frames.incoming.capacity());
        }
    }
}
