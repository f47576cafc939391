//! Where records begin and end: RFC 8446, section 5.1.

/// The bytes of a record before its content: a type, a version, a length.
pub(super) const HEADER: usize = 5;

/// How much of the record that is on its way has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Boundary {
    header: [u8; HEADER],
    /// How much of the header has come.
    count: usize,
    /// How much of the content is still to come, once the header has.
    left: usize,
}

impl Boundary {
    /// Whether a part of a record has come, whose rest hasn't.
    pub(super) fn is_in_record(self) -> bool {
        self.count > 0
    }

    /// Notes that these bytes have come.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while let [first, rest @ ..] = bytes {
            if self.count < HEADER {
                self.header[self.count] = *first;
                self.count += 1;
                self.left = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
                bytes = rest;
            } else {
                let come = self.left.min(bytes.len());
                self.left -= come;
                bytes = &bytes[come..];
            }
            if self.count == HEADER && self.left == 0 {
                self.count = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_end_where_their_lengths_say_however_they_come() {
        let mut stream = Vec::new();
        let mut ends = vec![0];
        for len in [1_u16, 0, 300, 5] {
            stream.extend_from_slice(&[23, 3, 3]);
            stream.extend_from_slice(&len.to_be_bytes());
            stream.extend(vec![0xff; len.into()]);
            ends.push(stream.len());
        }
        for step in [1, 2, 3, 7, 100, 1000] {
            let mut boundary = Boundary::default();
            let mut passed = 0;
            for piece in stream.chunks(step) {
                boundary.pass(piece);
                passed += piece.len();
                assert_eq!(boundary.is_in_record(), !ends.contains(&passed), "{step}: {passed}");
            }
        }
    }
}
