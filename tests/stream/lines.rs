//! Reading lines, however they come.

use std::io::{BufRead, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use wakesock::{Error, Result, TcpSocket};

use crate::support::{NO_RESETS, PATIENCE, Random, begin, block, cpu_time, ends_at_limit, is_wine, pair, reset, timed};

/// What `get_line` takes at most.
const MAX_LINE: usize = 65_536;

/// A read of one line.
type GetLine = fn(&mut TcpSocket) -> Result<Option<Vec<u8>>>;

const GET_LINES: [(&str, GetLine); 3] = [
    ("get_line", |socket| Ok(socket.get_line()?.map(String::into_bytes))),
    ("get_line_bytes", |socket| socket.get_line_bytes(MAX_LINE)),
    ("get_line_into", |socket| {
        let mut line = b"what was there before".to_vec();
        let found = socket.get_line_into(&mut line, MAX_LINE)?;
        assert!(found || line.is_empty(), "end of file, and a line: {line:?}");
        Ok(found.then_some(line))
    }),
];

fn assert_too_long<T: std::fmt::Debug>(result: Result<T>, max: usize) {
    assert!(
        matches!(result, Err(Error::LineTooLong { limit }) if limit == max),
        "{max} at most: {result:?}"
    );
}

#[test]
fn lines_come_whole_over_any_split() {
    let _test = begin();
    let stream = b"ab\r\n\nc\rd\r\r\n";
    let lines: [&[u8]; 3] = [b"ab", b"", b"c\rd\r"];
    let (mut socket, mut peer) = pair();
    for (name, get_line) in GET_LINES {
        for splits in 0..1 << (stream.len() - 1) {
            let mut lines = lines.iter();
            let mut begin = 0;
            for end in 1..=stream.len() {
                if end < stream.len() && splits >> (end - 1) & 1 == 0 {
                    continue;
                }
                peer.write_all(&stream[begin..end]).unwrap();
                let whole = stream[begin..end].iter().filter(|byte| **byte == b'\n').count();
                begin = end;
                for _ in 0..whole {
                    let line = get_line(socket.blocking()).unwrap().unwrap();
                    assert_eq!(line, *lines.next().unwrap(), "{name}, split {splits:b}");
                }
                let none = get_line(socket.timeout(Duration::ZERO));
                assert!(
                    matches!(none, Err(Error::Timeout)),
                    "{name}, split {splits:b}: {none:?}"
                );
                socket.clear_error();
            }
            assert_eq!(lines.len(), 0, "{name}, split {splits:b}");
        }
    }
}

#[test]
fn a_blocked_reader_gets_a_line_over_any_split() {
    let _test = begin();
    let stream = b"a\rb\r\n";
    let (mut socket, mut peer) = pair();
    for (name, get_line) in GET_LINES {
        for splits in 0..1 << (stream.len() - 1) {
            let mut blocked = block(move || (get_line(&mut socket), socket)).until_blocked();
            let mut begin = 0;
            for end in 1..=stream.len() {
                if end == stream.len() || splits >> (end - 1) & 1 == 1 {
                    blocked = blocked.until_blocked();
                    assert!(
                        !blocked.is_finished(),
                        "{name}, split {splits:b}: a line that is not there"
                    );
                    peer.write_all(&stream[begin..end]).unwrap();
                    begin = end;
                }
            }
            let (result, back) = blocked.result();
            assert_eq!(result.unwrap().unwrap(), b"a\rb", "{name}, split {splits:b}");
            socket = back;
        }
    }
}

#[test]
fn only_the_carriage_return_of_a_line_end_is_dropped() {
    let _test = begin();
    let cases: [(&[u8], &[u8]); 8] = [
        (b"abc\n", b"abc"),
        (b"abc\r\n", b"abc"),
        (b"abc\r\r\n", b"abc\r"),
        (b"\ra\rb\rc\n", b"\ra\rb\rc"),
        (b"\n", b""),
        (b"\r\n", b""),
        (b"\r\r\n", b"\r"),
        (b" a\tb \0 \n", b" a\tb \0 "),
    ];
    for (name, get_line) in GET_LINES {
        let (mut socket, mut peer) = pair();
        for (sent, line) in cases {
            peer.write_all(sent).unwrap();
            assert_eq!(get_line(&mut socket).unwrap().unwrap(), line, "{name} of {sent:?}");
            assert_eq!(socket.done(), sent.len(), "{name} of {sent:?}");
        }
    }
}

#[test]
fn pipelined_lines_come_one_by_one() {
    let _test = begin();
    for (name, get_line) in GET_LINES {
        let mut random = Random::new(1);
        let lines: Vec<Vec<u8>> = (0..5_000)
            .map(|number| format!("{number}:{}", "x".repeat(random.below(60))).into_bytes())
            .collect();
        let sent: Vec<u8> = lines
            .iter()
            .flat_map(|line| [line, &b"\r\n"[line.len() % 2..]].concat())
            .collect();
        let (mut socket, mut peer) = pair();
        let writer = block(move || peer.write_all(&sent));
        for line in &lines {
            assert_eq!(get_line(&mut socket).unwrap().as_ref(), Some(line), "{name}");
        }
        for _ in 0..3 {
            assert_eq!(get_line(&mut socket).unwrap(), None, "{name}");
            assert!(socket.is_eof() && !socket.is_error(), "{name}: {socket:?}");
        }
        writer.result().unwrap();
    }
}

#[test]
fn a_line_of_exactly_the_maximum_is_a_line() {
    let _test = begin();
    for max in [0, 1, 3, 8_191, 8_192, 8_193, 16_384, MAX_LINE] {
        for end in ["\n", "\r\n"] {
            let (mut socket, mut peer) = pair();
            let text = "x".repeat(max) + end;
            let sent = text.clone() + &text + "rest";
            let writer = block(move || peer.write_all(sent.as_bytes()).map(|()| peer));
            let line = socket.get_line_bytes(max).unwrap().unwrap();
            assert!(
                line == text.as_bytes()[..max],
                "{max} and {end:?}: {} bytes",
                line.len()
            );
            let line = socket.get_line().unwrap().unwrap();
            assert_eq!(line.len(), max, "{end:?}");
            assert_eq!(socket.get_bytes(4).unwrap(), b"rest", "{max} and {end:?}");
            writer.result().unwrap();
        }
    }
}

#[test]
fn one_byte_over_the_maximum_is_too_long_and_stays() {
    let _test = begin();
    for max in [0, 1, 3, 8_191, 8_192, 8_193, MAX_LINE] {
        for end in ["\n", "\r\n", "\r\r\n"] {
            // A carriage return too many counts, too.
            let over = if end == "\r\r\n" { 0 } else { 1 };
            let text = "x".repeat(max + over) + end + "rest\n";
            let (mut socket, mut peer) = pair();
            let sent = text.clone();
            let writer = block(move || peer.write_all(sent.as_bytes()).map(|()| peer));
            assert_too_long(socket.get_line_bytes(max), max);
            assert!(socket.is_error() && !socket.is_timeout(), "{socket:?}");
            assert_too_long(socket.get_line_bytes(usize::MAX), max);
            socket.clear_error();
            assert_too_long(socket.get_line_bytes(max), max);
            socket.clear_error();
            let line = socket.get_line_bytes(max + 1).unwrap().unwrap();
            let kept = max + over + end.len() - end.len().min(2);
            assert!(
                line == text.as_bytes()[..kept],
                "{max} and {end:?}: {} bytes",
                line.len()
            );
            assert_eq!(socket.get_line().unwrap().unwrap(), "rest", "{max} and {end:?}");
            writer.result().unwrap();
        }
    }
}

#[test]
fn too_long_is_found_out_at_the_first_byte_too_many() {
    let _test = begin();
    for (sent, max) in [("abcd", 3), ("abc\rx", 3), ("abc\r\r", 3), ("x", 0), ("\rx", 0)] {
        let (mut socket, mut peer) = pair();
        socket.timeout(PATIENCE);
        peer.write_all(&sent.as_bytes()[..sent.len() - 1]).unwrap();
        let blocked = block(move || (socket.get_line_bytes(max), socket));
        let blocked = blocked.still_blocks();
        peer.write_all(&sent.as_bytes()[sent.len() - 1..]).unwrap();
        let (result, mut socket) = blocked.result();
        assert_too_long(result, max);
        socket.clear_error();
        assert_eq!(socket.get_bytes(sent.len()).unwrap(), sent.as_bytes());
    }
}

#[test]
fn a_gigabyte_without_a_newline_is_refused_early() {
    let _test = begin();
    for (name, get_line) in GET_LINES {
        let (mut socket, mut peer) = pair();
        socket2::SockRef::from(&socket)
            .set_recv_buffer_size(256 * 1024)
            .unwrap();
        peer.set_nonblocking(true).unwrap();
        let part = vec![b'x'; 64 * 1024];
        let mut sent = 0;
        // As much as is taken, and then what has come is looked at.
        let result = loop {
            match peer.write(&part) {
                Ok(count) => sent += count,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            match get_line(socket.timeout(Duration::from_millis(1))) {
                Err(Error::Timeout) => socket.clear_error(),
                result => break result,
            }
            assert!(sent < 1 << 30, "{name} took a gigabyte");
        };
        assert_too_long(result, MAX_LINE);
        while let Ok(count) = peer.write(&part) {
            sent += count;
            assert!(sent < 1 << 30, "{name} goes on taking");
        }
        socket.clear_error();
        let kept = socket.fill_buf().unwrap().len();
        assert!(kept <= 4 * MAX_LINE, "{name} keeps {kept} of {sent} bytes in memory");
        let again = timed(|| get_line(socket.timeout(PATIENCE)));
        assert_too_long(again.0, MAX_LINE);
        assert!(again.1 < PATIENCE, "{name}: {:?}", again.1);
        socket.clear_error();
        assert_eq!(
            socket.fill_buf().unwrap().len(),
            kept,
            "{name}: the second try took more"
        );
        peer.set_nonblocking(false).unwrap();
        drop(peer);
        let mut rest = 0;
        socket.blocking();
        loop {
            let came = socket.fill_buf().unwrap().len();
            if came == 0 {
                break;
            }
            socket.consume(came);
            rest += came;
        }
        assert_eq!(rest, sent, "{name}: bytes of the stream");
    }
}

#[test]
fn the_limit_covers_the_whole_line() {
    let _test = begin();
    for (name, get_line) in GET_LINES {
        ends_at_limit(Duration::from_millis(60), |limit| {
            let (mut socket, peer) = pair();
            socket.timeout(limit);
            let mut drip = peer.try_clone().unwrap();
            let blocked = block(move || {
                let result = timed(|| get_line(&mut socket));
                (result, socket)
            });
            let mut dripped = 0;
            let mut blocked = blocked.until_blocked();
            while !blocked.is_finished() {
                drip.write_all(b"x").unwrap();
                dripped += 1;
                blocked = blocked.until_blocked();
                std::thread::sleep(limit / 30);
            }
            let ((result, took), mut socket) = blocked.result();
            assert!(matches!(result, Err(Error::Timeout)), "{name}: {result:?}");
            drip.write_all(b"\n").unwrap();
            socket.clear_error();
            let line = get_line(socket.blocking()).unwrap().unwrap();
            assert_eq!(line.len(), dripped, "{name}");
            drop(peer);
            // Where too little came to be a drip feed, the machine was too busy.
            if dripped > 2 { took } else { took + limit }
        });
    }
}

#[test]
fn a_drip_feed_is_not_searched_again_and_again() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    let blocked = block(move || socket.get_line_bytes(1 << 20));
    let task = blocked.task();
    let used_for = |peer: &mut std::net::TcpStream, len: usize| {
        let before = cpu_time(task);
        for _ in 0..500 {
            peer.write_all(&vec![b'x'; len]).unwrap();
        }
        crate::support::eventually(
            || "the drip is read".to_owned(),
            || crate::support::is_sleeping(task).then_some(()).ok_or_else(String::new),
        );
        cpu_time(task) - before
    };
    let early = used_for(&mut peer, 1);
    used_for(&mut peer, 1_000);
    let late = used_for(&mut peer, 1);
    assert!(
        late < early * 8 + Duration::from_millis(20),
        "first {early:?}, later {late:?}"
    );
    peer.write_all(b"\n").unwrap();
    assert_eq!(blocked.result().unwrap().unwrap().len(), 501_000);
}

#[test]
fn a_timeout_in_the_middle_loses_nothing() {
    let _test = begin();
    for (name, get_line) in GET_LINES {
        let (mut socket, mut peer) = pair();
        for len in [0, 1, 100, 8_191, 8_192, 20_000] {
            let part = vec![b'x'; len];
            peer.write_all(&part).unwrap();
            ends_at_limit(Duration::from_millis(10), |limit| {
                let (result, took) = timed(|| get_line(socket.timeout(limit)));
                assert!(matches!(result, Err(Error::Timeout)), "{name} of {len}: {result:?}");
                assert!(socket.is_timeout() && socket.is_error(), "{name} of {len}: {socket:?}");
                assert!(
                    matches!(get_line(&mut socket), Err(Error::Timeout)),
                    "{name}: it is sticky"
                );
                socket.clear_error();
                took
            });
            peer.write_all(b"end\r\nnext\n").unwrap();
            let line = get_line(socket.blocking()).unwrap().unwrap();
            assert!(
                line == [&part[..], b"end"].concat(),
                "{name} of {len}: {} bytes",
                line.len()
            );
            assert_eq!(get_line(&mut socket).unwrap().unwrap(), b"next", "{name} of {len}");
        }
    }
}

#[test]
fn an_end_in_the_middle_of_a_line_leaves_it_readable() {
    let test = begin();
    if test.skip_if(is_wine(), NO_RESETS) {
        return;
    }
    for (name, get_line) in GET_LINES {
        for end in ["end of file", "reset", "abort"] {
            for sent in ["half a line", "half a line\r"] {
                let (mut socket, mut peer) = pair();
                let handle = socket.handle();
                peer.write_all(sent.as_bytes()).unwrap();
                let blocked = block(move || (get_line(&mut socket), socket)).until_blocked();
                let mut peer = Some(peer);
                match end {
                    "end of file" => peer.as_ref().unwrap().shutdown(Shutdown::Write).unwrap(),
                    "reset" => reset(peer.take().unwrap()),
                    _ => handle.abort(),
                }
                let (result, mut socket) = blocked.result();
                match end {
                    "end of file" => assert!(matches!(result, Err(Error::UnexpectedEof)), "{name}: {result:?}"),
                    "reset" => assert!(
                        matches!(&result, Err(error @ Error::Io { .. }) if error.kind() == ErrorKind::ConnectionReset),
                        "{name}: {result:?}"
                    ),
                    _ => assert!(matches!(result, Err(Error::Aborted)), "{name}: {result:?}"),
                }
                let again = get_line(&mut socket).unwrap_err();
                assert_eq!(again.to_string(), result.unwrap_err().to_string(), "{name}, {end}");
                assert_eq!(socket.is_error(), end != "abort", "{name}, {end}: {socket:?}");
                if end == "abort" {
                    socket.clear_abort();
                } else {
                    socket.clear_error();
                }
                let came = socket.get_all_bytes(sent.len()).unwrap();
                assert_eq!(came, sent.as_bytes(), "{name}, {end}");
                if end == "end of file" {
                    assert_eq!(get_line(&mut socket).unwrap(), None, "{name}");
                    assert!(socket.is_eof() && !socket.is_error(), "{name}: {socket:?}");
                }
            }
        }
    }
}

#[test]
fn a_whole_line_before_the_end_of_file_is_a_line() {
    let _test = begin();
    for (name, get_line) in GET_LINES {
        let (mut socket, mut peer) = pair();
        peer.write_all(b"one\ntwo\nthree").unwrap();
        drop(peer);
        assert_eq!(get_line(&mut socket).unwrap().unwrap(), b"one", "{name}");
        assert_eq!(get_line(&mut socket).unwrap().unwrap(), b"two", "{name}");
        for _ in 0..3 {
            let result = get_line(&mut socket);
            assert!(matches!(result, Err(Error::UnexpectedEof)), "{name}: {result:?}");
            socket.clear_error();
        }
        let mut rest = String::new();
        socket.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "three", "{name}");
        assert_eq!(get_line(&mut socket).unwrap(), None, "{name}");
    }
}

#[test]
fn closing_ends_a_wait_for_the_rest_of_a_line() {
    let _test = begin();
    for (name, get_line) in GET_LINES {
        let (mut socket, mut peer) = pair();
        let handle = socket.handle();
        peer.write_all(b"half a li").unwrap();
        let blocked = block(move || get_line(&mut socket)).still_blocks();
        handle.close();
        let result = blocked.result();
        assert!(matches!(result, Err(Error::Closed)), "{name}: {result:?}");
    }
}

#[test]
fn a_line_that_is_not_utf_8_stays_readable_as_bytes() {
    let _test = begin();
    for bad in [&b"\xff"[..], b"abc\xc3", b"\xed\xa0\x80", b"ok then \x80 not"] {
        let (mut socket, mut peer) = pair();
        peer.write_all(&[bad, b"\r\nn\xc3\xa4chste\n"].concat()).unwrap();
        let result = socket.get_line();
        assert!(matches!(result, Err(Error::InvalidUtf8)), "{bad:?}: {result:?}");
        assert!(socket.is_error(), "{bad:?}: {socket:?}");
        let sticky = socket.get_line_bytes(100);
        assert!(matches!(sticky, Err(Error::InvalidUtf8)), "{bad:?}: {sticky:?}");
        socket.clear_error();
        assert_eq!(socket.get_line_bytes(100).unwrap().unwrap(), bad);
        assert_eq!(socket.get_line().unwrap().unwrap(), "n\u{e4}chste");
    }
}

#[test]
fn a_character_over_any_split_is_a_character() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    for byte in "gr\u{fc}n \u{20ac} \u{1f600}\n".as_bytes() {
        let early = socket.timeout(Duration::ZERO).get_line();
        assert!(matches!(early, Err(Error::Timeout)), "{early:?}");
        socket.clear_error();
        peer.write_all(&[*byte]).unwrap();
    }
    assert_eq!(
        socket.blocking().get_line().unwrap().unwrap(),
        "gr\u{fc}n \u{20ac} \u{1f600}"
    );
}

#[test]
fn a_line_is_there_at_once() {
    let _test = begin();
    for (name, get_line) in GET_LINES {
        let (mut socket, mut peer) = pair();
        peer.write_all(b"one\ntwo\n").unwrap();
        socket.wait_read().unwrap();
        assert_eq!(
            get_line(socket.timeout(Duration::ZERO)).unwrap().unwrap(),
            b"one",
            "{name}"
        );
        assert_eq!(get_line(&mut socket).unwrap().unwrap(), b"two", "{name}");
    }
}
