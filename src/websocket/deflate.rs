//! permessage-deflate, RFC 7692: what is agreed on, and what compresses and decompresses by it.
//!
//! A message that comes is inflated piece by piece, so that `max_message` holds for what comes out, and costs no more memory
//! than that. One that goes is compressed only when it is sure to be taken: the peer's memory of what came before has to be the
//! same as this end's.

use std::io;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use http::{HeaderMap, HeaderValue, header};

use super::fault::Fault;
use super::head::list;
use super::message::Role;
use crate::error::{Error, Result};

const EXTENSION: &str = "permessage-deflate";

/// What ends each message, and isn't sent, RFC 7692, section 7.2.1.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// The smallest window that zlib has for its format without a header, 512 bytes, as a power of two.
const LEAST_BITS: u8 = 9;

/// The largest window.
const MOST_BITS: u8 = 15;

/// Messages that are shorter aren't compressed: it hardly makes them shorter.
const SHORTEST: usize = 32;

/// How much memory is made for what comes out, at first.
const FIRST_STEP: usize = 4 * 1024;

/// How much more memory is made at once, at most: else as much as there is.
const LONGEST_STEP: usize = 1 << 20;

/// What both ends have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Agreement {
    server: Terms,
    client: Terms,
}

/// How one end compresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Terms {
    /// Whether it forgets each message before the next one.
    forgets: bool,
    window_bits: u8,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms {
            forgets: false,
            window_bits: MOST_BITS,
        }
    }
}

/// The parameters of an offer or an answer.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parameters {
    server_forgets: bool,
    client_forgets: bool,
    server_bits: Option<u8>,
    /// `Some(None)`: the client may be asked for less, but says nothing itself.
    client_bits: Option<Option<u8>>,
}

impl Parameters {
    /// Those of an element of `Sec-WebSocket-Extensions`; None if it isn't this extension, or is wrong.
    fn parse(element: &str) -> Option<Parameters> {
        let mut parts = element.split(';').map(str::trim);
        if parts.next()? != EXTENSION {
            return None;
        }
        let mut parameters = Parameters::default();
        for part in parts {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.trim_end(), Some(value.trim_start().trim_matches('"'))),
                None => (part, None),
            };
            let bits = |value: &str| match value.as_bytes() {
                [b'8' | b'9'] | [b'1', b'0'..=b'5'] => value.parse().ok(),
                _ => None,
            };
            let is_new = match (name, value) {
                ("server_no_context_takeover", None) => !std::mem::replace(&mut parameters.server_forgets, true),
                ("client_no_context_takeover", None) => !std::mem::replace(&mut parameters.client_forgets, true),
                ("server_max_window_bits", Some(value)) => parameters.server_bits.replace(bits(value)?).is_none(),
                ("client_max_window_bits", None) => parameters.client_bits.replace(None).is_none(),
                ("client_max_window_bits", Some(value)) => parameters.client_bits.replace(Some(bits(value)?)).is_none(),
                _ => return None,
            };
            if !is_new {
                return None;
            }
        }
        Some(parameters)
    }
}

/// What a client offers: first what compresses best. A server may ask for a client that forgets even if that isn't offered, RFC
/// 7692, section 7.1.1.2; but some only do if it is.
pub(super) fn offer() -> HeaderValue {
    HeaderValue::from_static(
        "permessage-deflate; client_max_window_bits, \
         permessage-deflate; client_no_context_takeover; client_max_window_bits",
    )
}

/// What a server makes of the offers in a request: an agreement, and what it answers.
pub(super) fn accept(request: &HeaderMap) -> Option<(Agreement, HeaderValue)> {
    let offers = list(request, &header::SEC_WEBSOCKET_EXTENSIONS).filter_map(Parameters::parse);
    // zlib has no window of 2^8.
    let offered = offers
        .into_iter()
        .find(|offer| offer.server_bits.is_none_or(|bits| bits >= LEAST_BITS))?;
    let agreement = Agreement {
        server: Terms {
            forgets: offered.server_forgets,
            window_bits: offered.server_bits.unwrap_or(MOST_BITS),
        },
        client: Terms {
            forgets: offered.client_forgets,
            window_bits: offered.client_bits.flatten().unwrap_or(MOST_BITS),
        },
    };
    let mut answer = EXTENSION.to_owned();
    if offered.server_forgets {
        answer += "; server_no_context_takeover";
    }
    if offered.client_forgets {
        answer += "; client_no_context_takeover";
    }
    if let Some(bits) = offered.server_bits {
        answer += &format!("; server_max_window_bits={bits}");
    }
    if let Some(bits) = offered.client_bits.flatten() {
        answer += &format!("; client_max_window_bits={bits}");
    }
    Some((agreement, HeaderValue::from_str(&answer).ok()?))
}

/// What a client makes of a server's answer to its offer; None if it isn't an answer to that.
pub(super) fn agreed(element: &str) -> Option<Agreement> {
    let answer = Parameters::parse(element)?;
    let client_bits = match answer.client_bits {
        // A server has to say how many.
        Some(None) => return None,
        bits => bits.flatten(),
    };
    Some(Agreement {
        server: Terms {
            forgets: answer.server_forgets,
            window_bits: answer.server_bits.unwrap_or(MOST_BITS),
        },
        client: Terms {
            forgets: answer.client_forgets,
            window_bits: client_bits.unwrap_or(MOST_BITS),
        },
    })
}

impl Agreement {
    /// What decompresses and compresses by it, at the end of this role.
    pub(super) fn codecs(self, role: Role) -> (Inflater, Deflater) {
        let (own, other) = match role {
            Role::Client => (self.client, self.server),
            Role::Server => (self.server, self.client),
        };
        let inflater = Inflater {
            terms: other,
            state: None,
        };
        let deflater = Deflater {
            terms: own,
            state: None,
        };
        (inflater, deflater)
    }
}

/// Decompresses the messages that come.
#[derive(Debug)]
pub(super) struct Inflater {
    terms: Terms,
    /// Made for the first message, and kept as long as the peer refers to it.
    state: Option<Box<Decompress>>,
}

impl Inflater {
    /// Appends what `bytes`, the next ones of a message, are to `out`, which gets no longer than `limit`.
    pub(super) fn inflate(&mut self, bytes: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Fault> {
        let bits = self.terms.window_bits.max(LEAST_BITS);
        let state = self
            .state
            .get_or_insert_with(|| Box::new(Decompress::new_with_window_bits(false, bits)));
        let mut left = bytes;
        loop {
            if out.len() == out.capacity() {
                let step = out.len().clamp(FIRST_STEP, LONGEST_STEP);
                let room = limit.saturating_sub(out.len()).saturating_add(1);
                out.try_reserve_exact(step.min(room))
                    .map_err(|_| Fault::TooLong(limit))?;
            }
            let (before, length) = (state.total_in(), out.len());
            let status = state
                .decompress_vec(left, out, FlushDecompress::Sync)
                .map_err(Fault::Deflate)?;
            let taken = (state.total_in() - before) as usize;
            left = &left[taken..];
            if out.len() > limit {
                return Err(Fault::TooLong(limit));
            }
            match status {
                // A block may say that it is the last one, and be followed by another.
                Status::StreamEnd => state.reset(false),
                _ if left.is_empty() && out.len() < out.capacity() => return Ok(()),
                _ if taken == 0 && out.len() == length && out.len() < out.capacity() => return Ok(()),
                _ => {}
            }
        }
    }

    /// Appends what is left of a message at its end.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>, limit: usize) -> Result<(), Fault> {
        self.inflate(&TAIL, out, limit)?;
        if self.terms.forgets {
            self.state = None;
        }
        Ok(())
    }
}

/// Compresses the messages that go.
#[derive(Debug)]
pub(super) struct Deflater {
    terms: Terms,
    state: Option<Box<Compress>>,
}

impl Deflater {
    /// Whether a message, of which this is the beginning, is to be compressed.
    pub(super) fn wants(&self, beginning: &[u8], is_all: bool) -> bool {
        self.terms.window_bits >= LEAST_BITS && !(is_all && beginning.len() < SHORTEST)
    }

    /// Compresses the next bytes of a message.
    pub(super) fn deflate(&mut self, bytes: &[u8], is_last: bool) -> Result<Vec<u8>> {
        let bits = self.terms.window_bits;
        let state = self
            .state
            .get_or_insert_with(|| Box::new(Compress::new_with_window_bits(Compression::fast(), false, bits)));
        let mut out = Vec::new();
        let mut left = bytes;
        loop {
            if out.len() == out.capacity() {
                let step = (left.len() / 2).max(out.len()).clamp(64, LONGEST_STEP);
                out.try_reserve(step)
                    .map_err(|error| Error::io("send", io::Error::new(io::ErrorKind::OutOfMemory, error)))?;
            }
            let before = state.total_in();
            state
                .compress_vec(left, &mut out, FlushCompress::Sync)
                .map_err(|error| Error::io("send", io::Error::other(error)))?;
            left = &left[(state.total_in() - before) as usize..];
            // Where there is room left, all is out.
            if left.is_empty() && out.len() < out.capacity() {
                break;
            }
        }
        if is_last {
            if out.ends_with(&TAIL) {
                out.truncate(out.len() - TAIL.len());
            }
            if out.is_empty() {
                // An empty block, RFC 7692, section 7.2.3.6.
                out.push(0);
            }
            if self.terms.forgets {
                self.state = None;
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(value))])
    }

    fn answer(offers: &'static str) -> Option<String> {
        accept(&headers(offers)).map(|(_, answer)| answer.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_first_offer_that_can_be_taken_is() {
        let cases = [
            ("permessage-deflate", Some("permessage-deflate")),
            ("permessage-deflate; client_max_window_bits", Some("permessage-deflate")),
            (
                "permessage-deflate;client_max_window_bits=10 ; server_no_context_takeover",
                Some("permessage-deflate; server_no_context_takeover; client_max_window_bits=10"),
            ),
            (
                "x-other, permessage-deflate; server_max_window_bits=\"9\"; client_no_context_takeover",
                Some("permessage-deflate; client_no_context_takeover; server_max_window_bits=9"),
            ),
            (
                "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=12",
                Some("permessage-deflate; server_max_window_bits=12"),
            ),
            (
                "permessage-deflate; client_max_window_bits, \
                 permessage-deflate; client_no_context_takeover; client_max_window_bits",
                Some("permessage-deflate"),
            ),
            ("permessage-deflate; server_max_window_bits=8", None),
            ("permessage-deflate; server_max_window_bits", None),
            ("permessage-deflate; server_max_window_bits=16", None),
            ("permessage-deflate; server_max_window_bits=09", None),
            ("permessage-deflate; client_max_window_bits=7", None),
            ("permessage-deflate; server_no_context_takeover=1", None),
            (
                "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
                None,
            ),
            ("permessage-deflate; unknown", None),
            ("permessage-bzip2", None),
        ];
        for (offers, expected) in cases {
            assert_eq!(answer(offers).as_deref(), expected, "{offers}");
        }
    }

    #[test]
    fn an_answer_has_to_be_one_to_the_offer() {
        assert_eq!(
            agreed("permessage-deflate"),
            Some(Agreement {
                server: Terms::default(),
                client: Terms::default(),
            })
        );
        let agreement = agreed("permessage-deflate; client_max_window_bits=9; server_no_context_takeover").unwrap();
        assert_eq!(agreement.client.window_bits, 9);
        assert!(agreement.server.forgets && !agreement.client.forgets);
        for wrong in [
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; x",
            "x",
        ] {
            assert_eq!(agreed(wrong), None, "{wrong}");
        }
    }

    fn text(length: usize) -> Vec<u8> {
        (0..length)
            .map(|at| b"so much of the same "[at % 20] ^ (at / 977) as u8 & 1)
            .collect()
    }

    #[test]
    fn what_one_end_compresses_the_other_inflates_in_whatever_pieces() {
        for bits in [LEAST_BITS, 12, MOST_BITS] {
            for forgets in [false, true] {
                let terms = Terms {
                    forgets,
                    window_bits: bits,
                };
                let agreement = Agreement {
                    server: terms,
                    client: terms,
                };
                let (_, mut deflater) = agreement.codecs(Role::Server);
                let (mut inflater, _) = agreement.codecs(Role::Client);
                for length in [0, 1, 31, 5000, 0, 3, 40_000] {
                    let message = text(length);
                    let (first, second) = message.split_at(length / 3);
                    let mut compressed = deflater.deflate(first, false).unwrap();
                    compressed.extend(deflater.deflate(second, true).unwrap());
                    for step in [1, 7, 100_000] {
                        if step < 100_000 && !forgets {
                            continue;
                        }
                        let mut out = Vec::new();
                        for piece in compressed.chunks(step) {
                            inflater.inflate(piece, &mut out, length).unwrap();
                        }
                        inflater.finish(&mut out, length).unwrap();
                        assert!(out == message, "{bits} bits, {length} bytes, {step} at a time");
                    }
                }
            }
        }
    }

    #[test]
    fn what_was_said_before_need_not_be_said_again() {
        let lengths = [false, true].map(|forgets| {
            let terms = Terms {
                forgets,
                window_bits: MOST_BITS,
            };
            let agreement = Agreement {
                server: terms,
                client: terms,
            };
            let (_, mut deflater) = agreement.codecs(Role::Server);
            let message: Vec<u8> = (0..2000_u32)
                .flat_map(|at| (at.wrapping_mul(2_654_435_761)).to_be_bytes())
                .collect();
            deflater.deflate(&message, true).unwrap();
            deflater.deflate(&message, true).unwrap().len()
        });
        assert!(lengths[0] * 10 < lengths[1], "{lengths:?}");
    }

    #[test]
    fn a_bomb_costs_no_more_than_a_message_may() {
        let (_, mut deflater) = agreed(EXTENSION).unwrap().codecs(Role::Server);
        let bomb = deflater.deflate(&vec![0; 50_000_000], true).unwrap();
        assert!(bomb.len() < 1_000_000);
        let (mut inflater, _) = agreed(EXTENSION).unwrap().codecs(Role::Client);
        let mut out = Vec::new();
        let fault = inflater.inflate(&bomb, &mut out, 1_000_000).unwrap_err();
        assert!(matches!(fault, Fault::TooLong(1_000_000)), "{fault:?}");
        assert!(out.capacity() <= 1_000_001, "{}", out.capacity());
    }

    #[test]
    fn what_is_not_compressed_so_is_a_fault() {
        let (mut inflater, _) = agreed(EXTENSION).unwrap().codecs(Role::Client);
        let fault = inflater.inflate(&[0xff; 10], &mut Vec::new(), 1000).unwrap_err();
        assert!(matches!(fault, Fault::Deflate(_)), "{fault:?}");
    }

    #[test]
    fn the_examples_of_the_rfc_are_understood() {
        // RFC 7692, section 7.2.3.
        let examples: [&[u8]; 4] = [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[
                0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
            ],
        ];
        for example in examples {
            let (mut inflater, _) = agreed(EXTENSION).unwrap().codecs(Role::Client);
            let mut out = Vec::new();
            inflater.inflate(example, &mut out, 1000).unwrap();
            inflater.finish(&mut out, 1000).unwrap();
            assert_eq!(out, b"Hello", "{example:x?}");
        }
    }
}
