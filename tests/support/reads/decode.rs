//! Cases from a fuzzer's bytes, in which a few changed bytes make a small change of the case.

use arbitrary::{Arbitrary, Result, Unstructured};

use super::{Act, Case, Ending, MAX_LINE, Piece};

/// More than that makes a case slow, and says nothing new.
const MOST_PIECES: usize = 16;
const MOST_ACTS: usize = 100;

impl Arbitrary<'_> for Case {
    fn arbitrary(input: &mut Unstructured<'_>) -> Result<Case> {
        let ending = *input.choose(&[Ending::EndOfFile, Ending::Reset])?;
        let pieces = input.int_in_range(1..=MOST_PIECES)?;
        let stream = (0..pieces).map(|_| piece(input)).collect::<Result<_>>()?;
        let mut acts = Vec::new();
        while !input.is_empty() && acts.len() < MOST_ACTS {
            acts.push((limit(input)?, act(input)?));
        }
        Ok(Case { stream, ending, acts })
    }
}

fn piece(input: &mut Unstructured<'_>) -> Result<Piece> {
    let once = |bytes: &[u8]| (bytes.to_vec(), 1);
    let (bytes, times) = match input.int_in_range(0..=9)? {
        0 => once(b"\n"),
        1 => once(b"\r\n"),
        2 => once(b"\r"),
        3 => once(b"\n\n\r\r\n\n"),
        4 => once(b"\xff"),
        5 => once("näïve €".as_bytes()),
        6 | 7 => {
            let len = input.int_in_range(0..=59)?;
            once(input.bytes(len.min(input.len()))?)
        }
        8 => (b"x".to_vec(), input.int_in_range(1..=9_000)?),
        // Lines that `get_line` just takes, and just doesn't.
        _ => (b"l".to_vec(), input.int_in_range(MAX_LINE - 2..=MAX_LINE + 2)?),
    };
    Ok(Piece { bytes, times })
}

/// In microseconds; mostly none, so that nothing is waited for.
fn limit(input: &mut Unstructured<'_>) -> Result<u64> {
    Ok(input.int_in_range(0..=255_u64)?.saturating_sub(200))
}

fn act(input: &mut Unstructured<'_>) -> Result<Act> {
    let number = input.arbitrary::<u8>()?;
    if number >= 11 * 21 {
        return Ok(match number % 7 {
            0 => Act::ReadLine,
            1 => Act::ReadExact(buffer(input)?),
            2 => Act::ReadToEnd,
            3 => Act::ReadToString,
            4 => Act::SkipUntil(input.arbitrary()?),
            5 => Act::PeekAll(len(input)?),
            _ => Act::Unread(len(input)?),
        });
    }
    Ok(match number % 21 {
        0 | 1 => Act::Send(len(input)?),
        2 => Act::SendLine(false),
        3 => Act::SendLine(true),
        4 => Act::SplitOrJoin,
        5 => Act::Get(buffer(input)?),
        6 => Act::GetBytes(len(input)?),
        7 => Act::GetByte,
        8 => Act::Peek,
        9 => Act::Term,
        10 => Act::GetAll(buffer(input)?),
        11 => Act::GetAllBytes(len(input)?),
        12 => Act::GetLine,
        13 => Act::GetLineBytes(len(input)?),
        14 => Act::GetLineInto(len(input)?),
        15 => Act::GetLineNear(input.int_in_range(0..=2)?),
        16 => Act::Read(buffer(input)?),
        17 => Act::FillBufAndConsume(len(input)?),
        18 => Act::ReadUntil(input.arbitrary()?),
        19 => Act::WaitRead,
        _ => Act::WaitRequest,
    })
}

fn len(input: &mut Unstructured<'_>) -> Result<usize> {
    // One byte for most: those that are smaller than lines are, and those around the sizes of the buffers.
    Ok(match input.arbitrary::<u8>()? {
        small @ 0..200 => usize::from(small),
        near @ 200..205 => 8_192 - 2 + usize::from(near - 200),
        near @ 205..211 => MAX_LINE - 2 + usize::from(near - 205),
        211..254 => input.int_in_range(200..=40_000)?,
        _ => usize::MAX,
    })
}

/// A length for which there is a buffer.
fn buffer(input: &mut Unstructured<'_>) -> Result<usize> {
    Ok(len(input)?.min(150_000))
}
