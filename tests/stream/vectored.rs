//! Reads and writes of several slices at once.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use socket2::SockRef;
use wakesock::{Error, ShutdownRegistry, TcpSocket};

use crate::support::every::{assert_failed, inner};
use crate::support::full::{MUCH, fill};
use crate::support::{begin, block, eventually, pair, pattern, timed, unix_pair, unix_pair_in};

fn slices<'a>(parts: &'a [&[u8]]) -> Vec<IoSlice<'a>> {
    parts.iter().map(|part| IoSlice::new(part)).collect()
}

fn read_into(reader: &mut impl Read, lens: &[usize]) -> io::Result<(usize, Vec<Vec<u8>>)> {
    let mut parts: Vec<_> = lens.iter().map(|len| vec![0; *len]).collect();
    let mut slices: Vec<_> = parts.iter_mut().map(|part| IoSliceMut::new(part)).collect();
    let count = reader.read_vectored(&mut slices)?;
    Ok((count, parts))
}

#[test]
fn all_slices_go_out_one_behind_the_other() {
    let _test = begin();
    let many: Vec<Vec<u8>> = (0..3_000_u32).map(|number| number.to_be_bytes().to_vec()).collect();
    let empty = [b"".as_slice(); 2_000];
    let cases: [Vec<&[u8]>; 6] = [
        vec![b"header", b"body"],
        vec![b"", b"one", b"", b"", b"two", b""],
        vec![b"alone"],
        vec![&MUCH[..50_000], &MUCH[50_000..90_000], b"end"],
        many.iter().map(Vec::as_slice).collect(),
        empty.into_iter().chain([b"last".as_slice()]).collect(),
    ];
    for parts in &cases {
        let all = parts.concat();
        let (socket, peer) = pair();
        let (reader, mut writer) = socket.split();
        let reading = block(move || {
            let mut came = Vec::new();
            (&peer).read_to_end(&mut came).map(|_| came)
        });
        let mut slices = slices(parts);
        let mut left = &mut slices[..];
        let mut sent = 0;
        while sent < all.len() {
            let count = writer.write_vectored(left).unwrap();
            assert!(
                count > 0 && writer.done() == count,
                "{count} after {sent} of {}",
                all.len()
            );
            sent += count;
            IoSlice::advance_slices(&mut left, count);
        }
        assert_eq!(writer.write_vectored(&[]).unwrap(), 0);
        assert_eq!(writer.write_vectored(&[IoSlice::new(b""); 3]).unwrap(), 0);
        drop((reader, writer));
        assert!(reading.result().unwrap() == all, "{} slices", parts.len());
    }
}

/// Answers each request of ten bytes with a byte.
fn answer(mut peer: TcpStream) {
    while peer.read_exact(&mut [0; 10]).is_ok() {
        if peer.write_all(b"!").is_err() {
            return;
        }
    }
}

#[test]
fn a_header_and_its_body_do_not_wait_for_each_other() {
    let _test = begin();
    eventually(
        || "Nagle's algorithm and a delayed acknowledgement hold up nothing".to_owned(),
        || {
            let (mut socket, peer) = pair();
            SockRef::from(&socket).set_tcp_nodelay(false).unwrap();
            let answering = block(move || answer(peer));
            let ((), took) = timed(|| {
                for _ in 0..20 {
                    let sent = socket.write_vectored(&slices(&[b"head", b"a body"])).unwrap();
                    assert_eq!(sent, 10, "both at once");
                    assert_eq!(socket.get_byte().unwrap(), Some(b'!'));
                }
            });
            drop(socket);
            answering.result();
            // An acknowledgement is delayed for 40 ms.
            let is_fast = took < Duration::from_millis(20 * 40 / 2);
            is_fast.then_some(()).ok_or_else(|| format!("{took:?}"))
        },
    );
}

#[test]
fn a_write_of_slices_that_is_cut_tells_exactly_what_was_sent() {
    let _test = begin();
    let (mut socket, mut peer) = unix_pair();
    let sent = fill(&mut socket);
    socket.timeout(Duration::ZERO);
    let error = socket.write_vectored(&slices(&[b"a", b"b"])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert!(socket.is_timeout() && !socket.is_error() && socket.done() == 0);
    socket.timeout(Duration::from_millis(5));
    let error = socket.write_vectored(&slices(&[b"a", b"b"])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let reading = block(move || {
        let mut came = Vec::new();
        peer.read_to_end(&mut came).map(|_| came)
    });
    // More than there is room for at once.
    socket.blocking();
    let rest = [&MUCH[..1_000], &MUCH[1_000..]];
    let mut slices = slices(&rest);
    let mut left = &mut slices[..];
    let mut done = 0;
    while done < 10_000_000 {
        let count = socket.write_vectored(left).unwrap();
        IoSlice::advance_slices(&mut left, count);
        done += count;
    }
    drop(socket);
    let came = reading.result().unwrap();
    assert_eq!(came.len(), sent + done);
    assert!(came[sent..] == MUCH[..done], "other bytes");
}

#[test]
fn what_comes_fills_one_slice_after_the_other() {
    let _test = begin();
    let data = pattern(40_000);
    // Fewer bytes than a socket reads ahead, and more.
    for lens in [
        &[3_usize, 0, 5][..],
        &[0, 1_000, 7_000, 0],
        &[6_000, 6_000, 100_000],
        &[20_000; 2],
    ] {
        for ahead in [false, true] {
            let (mut socket, mut peer) = unix_pair();
            peer.write_all(&data[..12_000]).unwrap();
            if ahead {
                socket.peek().unwrap();
            }
            let mut came = Vec::new();
            while came.len() < 12_000 {
                let (mut count, parts) = read_into(&mut socket, lens).unwrap();
                assert!(count > 0 && socket.done() == count, "{lens:?}, {ahead}: {count}");
                for part in parts {
                    came.extend_from_slice(&part[..part.len().min(count)]);
                    count = count.saturating_sub(part.len());
                }
            }
            assert!(came == data[..12_000], "{lens:?}, {ahead}");
            assert_eq!(read_into(&mut socket, &[]).unwrap().0, 0);
            assert_eq!(read_into(&mut socket, &[0, 0]).unwrap().0, 0);
            for limit in [Duration::ZERO, Duration::from_millis(1)] {
                let error = read_into(socket.timeout(limit), lens).unwrap_err();
                assert!(matches!(inner(error), Error::Timeout));
                assert!(socket.is_timeout() && !socket.is_error());
            }
            let (mut reader, _writer) = socket.split();
            drop(peer);
            for _ in 0..2 {
                assert_eq!(read_into(&mut reader, lens).unwrap().0, 0, "{lens:?}, {ahead}");
            }
            assert!(reader.is_eof());
        }
    }
}

#[test]
fn more_slices_than_one_call_takes_are_read_into_by_several() {
    let _test = begin();
    let (mut socket, mut peer) = unix_pair();
    let data = pattern(30_000);
    peer.write_all(&data).unwrap();
    let mut came = Vec::new();
    while came.len() < data.len() {
        let (count, parts) = read_into(&mut socket, &[10; 3_000]).unwrap();
        assert!(count > 0);
        came.extend_from_slice(&parts.concat()[..count]);
    }
    assert!(came == data);
    peer.write_all(b"more").unwrap();
    let mut lens = vec![0; 2_000];
    lens.push(10_000);
    let (count, parts) = read_into(&mut socket, &lens).unwrap();
    assert_eq!((count, &parts[2_000][..4]), (4, &b"more"[..]));
}

#[test]
fn slices_are_refused_where_other_calls_are() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (mut socket, _peer) = unix_pair_in(&registry);
    let both = |socket: &mut TcpSocket, expected: &Error| {
        let read = read_into(socket, &[10_000, 10]).map(drop).map_err(inner);
        assert_failed(&read, expected, "read_vectored");
        let written = socket.write_vectored(&slices(&[b"a", b"b"])).map_err(inner);
        assert_failed(&written, expected, "write_vectored");
    };
    socket.global_timeout(Duration::ZERO);
    both(&mut socket, &Error::GlobalTimeout);
    socket.no_global_timeout();
    both(&mut socket, &Error::GlobalTimeout);
    socket.clear_error();
    socket.abort();
    both(&mut socket, &Error::Aborted);
    socket.clear_abort();
    registry.shutdown();
    both(&mut socket, &Error::Shutdown);
}
