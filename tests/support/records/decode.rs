//! Cases from the bytes that a fuzzer makes up.

use arbitrary::{Arbitrary, Result, Unstructured};

use super::{Case, Step};

impl<'a> Arbitrary<'a> for Case {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Case> {
        let mut case = Case {
            is_client: u.arbitrary()?,
            is_old: u.ratio(1, 4)?,
            steps: Vec::new(),
        };
        while case.steps.len() < 30 && !u.is_empty() {
            case.steps.push(Step::arbitrary(u)?);
        }
        Ok(case)
    }
}

/// A length: mostly small, and now and then about as much as a record takes.
fn len(u: &mut Unstructured<'_>) -> Result<usize> {
    Ok(match u.int_in_range(0..=9)? {
        0..6 => u.int_in_range(1..=200)?,
        6..9 => u.int_in_range(1..=16_384)?,
        _ => u.int_in_range(16_380..=16_384)?,
    })
}

fn bytes(u: &mut Unstructured<'_>, most: usize) -> Result<Vec<u8>> {
    let len = u.int_in_range(0..=most)?.min(u.len());
    Ok(u.bytes(len)?.to_vec())
}

impl<'a> Arbitrary<'a> for Step {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Step> {
        Ok(match u.int_in_range(0..=23)? {
            0..6 => Step::Data(len(u)?),
            6 => Step::Sealed {
                kind: *u.choose(&[20, 21, 22, 23, 23, 24, 255])?,
                // A line's end would be stripped of it.
                content: bytes(u, 40)?.into_iter().filter(|byte| *byte != b'\r').collect(),
                times: u.int_in_range(1..=40)?,
            },
            // Alerts, requests for new keys, and tickets, in the right form.
            7 => {
                let forms: [(u8, &[u8]); 6] = [
                    (21, &[1, 0]),
                    (21, &[1, 90]),
                    (21, &[2, 80]),
                    (22, &[24, 0, 0, 1, 0]),
                    (22, &[24, 0, 0, 1, 1]),
                    (22, &[4, 0, 0, 18, 0, 0, 0, 9, 1, 2, 3, 4, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0]),
                ];
                let (kind, content) = *u.choose(&forms)?;
                let content = content.to_vec();
                let times = u.int_in_range(1..=40)?;
                Step::Sealed { kind, content, times }
            }
            8 => Step::Message {
                kind: *u.choose(&[0, 1, 2, 4, 8, 11, 13, 20, 24, 254])?,
                said: u.int_in_range(0..=0xff_ffff)?,
                sent: len(u)?,
                piece: len(u)?,
            },
            // About the longest that is put up with.
            9 => Step::Message {
                kind: *u.choose(&[4, 11, 24])?,
                said: u.int_in_range(0xfff0..=0x1_0005)?,
                sent: u.int_in_range(0xff00..=0x1_0010)?,
                piece: u.int_in_range(1000..=16_384)?,
            },
            10 => Step::Changed {
                len: len(u)?,
                at: u.arbitrary()?,
                by: u.int_in_range(1..=255)?,
            },
            11 => Step::Cut {
                len: len(u)?,
                kept: u.arbitrary()?,
            },
            12 => Step::Again,
            13 => Step::Raw {
                bytes: bytes(u, 60)?,
                times: u.int_in_range(1..=2000)?,
            },
            14 => {
                let mut bytes = bytes(u, 20)?;
                let header = [*u.choose(&[20, 21, 22, 23])?, 3, 3, 0, bytes.len() as u8];
                bytes.splice(..0, header);
                let times = u.int_in_range(1..=40)?;
                Step::Raw { bytes, times }
            }
            15..18 => Step::Get(len(u)?),
            18 => Step::GetLine,
            19 => Step::Peek,
            20 => Step::Wait,
            21 => Step::Put(len(u)?),
            22 => Step::ClearError,
            _ => Step::Shutdown,
        })
    }
}
