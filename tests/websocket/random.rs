//! Random streams, most of which are nearly right.

use wakesock::Role;

use crate::any_bytes::check;
#[cfg(feature = "websocket-deflate")]
use crate::any_bytes::{Case, End, MOST, check_at, check_case};
use crate::ends::*;
use crate::support::{Random, begin};

/// Some frames, of which a few bytes are others than they should be.
fn nearly_frames(random: &mut Random, role: Role) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..1 + random.below(6) {
        let first = match random.below(8) {
            0 => LAST | PING,
            1 => LAST | PONG,
            2 => LAST | CLOSE,
            3 => CONTINUATION,
            4 => LAST | CONTINUATION,
            5 => TEXT,
            6 => LAST | TEXT,
            _ => LAST | BINARY,
        };
        let length = [0, 1, 2, 5, 125, 126, 300, 5000, 11_000][random.below(9)];
        let length = if first >= LAST | CLOSE { length.min(126) } else { length };
        let text: Vec<u8> = "größer, ".bytes().cycle().take(length).collect();
        let payload = match first {
            first if first == LAST | CLOSE => [&1000_u16.to_be_bytes()[..], b"bye"].concat(),
            _ => text,
        };
        bytes.extend(frame_for(role, first, &payload));
    }
    for _ in 0..random.below(3) {
        let at = random.below(bytes.len());
        bytes[at] = random.next() as u8;
    }
    bytes.truncate(bytes.len() - random.below(bytes.len().min(20)));
    bytes
}

#[test]
fn whatever_comes_means_the_same_in_whatever_pieces() {
    let _test = begin();
    for seed in 1..300 {
        let mut random = Random::new(seed);
        let role = [Role::Client, Role::Server][random.below(2)];
        let bytes = nearly_frames(&mut random, role);
        let cuts: Vec<u8> = (0..1 + random.below(5)).map(|_| 1 + random.below(200) as u8).collect();
        check(&bytes, &cuts);
    }
}

/// Some messages, compressed and in fragments, of which a few bytes are others than they should be.
#[cfg(feature = "websocket-deflate")]
fn nearly_compressed(random: &mut Random, forgets: bool, bits: u8) -> Vec<u8> {
    let new = || flate2::Compress::new_with_window_bits(flate2::Compression::new(6), false, bits);
    let mut compressor = new();
    let mut bytes = Vec::new();
    for _ in 0..1 + random.below(5) {
        if forgets {
            compressor = new();
        }
        let length = [0, 1, 5, 300, 5000, MOST, MOST + 1, 20 * MOST][random.below(8)];
        let what = ["größer, ", "\0", "a text that says the same again and again"][random.below(3)];
        let mut text: Vec<u8> = what.bytes().cycle().take(length).collect();
        if random.below(8) == 0 && length > 0 {
            text[random.below(length)] = random.next() as u8;
        }
        let mut compressed = Vec::with_capacity(length + 1000);
        compressor
            .compress_vec(&text, &mut compressed, flate2::FlushCompress::Sync)
            .unwrap();
        compressed.truncate(compressed.len().saturating_sub(4));
        if random.below(8) == 0 && !compressed.is_empty() {
            let at = random.below(compressed.len());
            compressed[at] = random.next() as u8;
        }
        let kind = [TEXT, BINARY][random.below(2)];
        let (first, second) = compressed.split_at(random.below(compressed.len() + 1));
        bytes.extend(frame_for(Role::Server, 0x40 | kind, first));
        if random.below(3) == 0 {
            bytes.extend(frame_for(Role::Server, LAST | PING, b"between"));
        }
        bytes.extend(frame_for(Role::Server, LAST | CONTINUATION, second));
    }
    if random.below(4) == 0 {
        let at = random.below(bytes.len());
        bytes[at] = random.next() as u8;
    }
    bytes
}

#[cfg(feature = "websocket-deflate")]
#[test]
fn what_is_compressed_means_the_same_in_whatever_pieces() {
    let _test = begin();
    for seed in 1..300 {
        let mut random = Random::new(seed);
        let (forgets, bits) = (random.below(2) == 0, 9 + random.below(7) as u8);
        let bytes = nearly_compressed(&mut random, forgets, bits);
        let cuts: Vec<u8> = (0..1 + random.below(5)).map(|_| 1 + random.below(255) as u8).collect();
        check_at(End::Compressing { forgets, bits }, &bytes, &cuts);
    }
}

#[cfg(feature = "websocket-deflate")]
#[test]
fn what_the_fuzzer_has_kept_means_the_same_in_whatever_pieces() {
    use arbitrary::{Arbitrary, Unstructured};
    let _test = begin();
    let place = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/frames");
    let mut count = 0;
    for entry in std::fs::read_dir(place).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        check_case(&Case::arbitrary_take_rest(Unstructured::new(&bytes)).unwrap());
        count += 1;
    }
    assert!(count > 0, "the corpus is empty");
}
