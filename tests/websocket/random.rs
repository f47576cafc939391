//! Random streams, most of which are nearly right.

use wakesock::Role;

use crate::any_bytes::check;
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
