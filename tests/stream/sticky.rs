//! What an error of one direction does to the other, and what is a state and never an error.

use std::io::{BufRead, ErrorKind, Read, Write};
use std::time::Duration;

use wakesock::{Error, Result, ShutdownRegistry, TcpSocket, WaitEvents};

use crate::support::every::{assert_failed, inner};
use crate::support::full::MUCH;
use crate::support::{PATIENCE, Refusing, begin, block, pair, pair_of, server, unix_pair_in};

type Operation = fn(&mut TcpSocket) -> Result<()>;

/// Reads that give all or nothing: eight bytes, or a line.
const WHOLE: [(&str, Operation); 5] = [
    ("get_all", |socket| socket.get_all(&mut [0; 8])),
    ("get_all_bytes", |socket| socket.get_all_bytes(8).map(drop)),
    ("get_line", |socket| socket.get_line().map(drop)),
    ("get_line_bytes", |socket| socket.get_line_bytes(80).map(drop)),
    ("get_line_into", |socket| {
        socket.get_line_into(&mut Vec::new(), 80).map(drop)
    }),
];

/// Every other operation that reads.
const PARTIAL: [(&str, Operation); 9] = [
    ("get", |socket| socket.get(&mut [0; 3]).map(drop)),
    ("get_bytes", |socket| socket.get_bytes(3).map(drop)),
    ("get_byte", |socket| socket.get_byte().map(drop)),
    ("peek", |socket| socket.peek().map(drop)),
    ("Read::read", |socket| socket.read(&mut [0; 3]).map(drop).map_err(inner)),
    ("BufRead::fill_buf", |socket| socket.fill_buf().map(drop).map_err(inner)),
    ("wait_read", |socket| socket.wait_read()),
    ("wait_request", |socket| socket.wait_request().map(drop)),
    ("wait for an exception or something to read", |socket| {
        socket.wait(WaitEvents::READ | WaitEvents::EXCEPTION).map(drop)
    }),
];

/// Every operation that writes.
const WRITING: [(&str, Operation); 5] = [
    ("put", |socket| socket.put(b"x").map(drop)),
    ("put_all", |socket| socket.put_all(b"x")),
    ("Write::write", |socket| socket.write(b"x").map(drop).map_err(inner)),
    ("wait_write", |socket| socket.wait_write()),
    ("shutdown", |socket| socket.shutdown()),
];

fn reading() -> impl Iterator<Item = (&'static str, Operation)> {
    PARTIAL.into_iter().chain(WHOLE)
}

fn texts(results: [Option<&Error>; 2]) -> [Option<String>; 2] {
    results.map(|error| error.map(Error::to_string))
}

// Windows drops what was not read yet when the reset comes.
#[cfg(unix)]
#[test]
fn what_the_peer_has_answered_can_be_read_after_a_write_that_it_broke() {
    let _test = begin();
    for (name, read) in reading() {
        let (mut socket, mut peer) = pair();
        // A server that refuses the request in the middle of it.
        let refusing = block(move || {
            peer.read_exact(&mut [0; 100_000]).unwrap();
            peer.write_all(b"413 too large\n\n\n\n").unwrap();
        });
        let sent = socket.put_all(&MUCH);
        let gone =
            matches!(&sent, Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe));
        assert!(gone, "{sent:?}");
        refusing.result();
        assert!(socket.is_error() && !socket.is_eof(), "{socket:?}");
        read(&mut socket).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(socket.is_error(), "{name}: the write's error is still there");
        assert_eq!(socket.error_desc(), sent.unwrap_err().to_string(), "{name}");
    }
}

#[test]
fn a_write_that_fails_leaves_every_read_as_it_was() {
    let _test = begin();
    for (name, read) in reading() {
        let (mut socket, mut peer) = pair();
        socket.shutdown().unwrap();
        let told = socket.put(b"too late").unwrap_err();
        assert_eq!(told.kind(), ErrorKind::BrokenPipe, "{told:?}");
        peer.write_all(b"12345678\n").unwrap();
        for _ in 0..2 {
            read(&mut socket).unwrap_or_else(|error| panic!("{name}: {error}"));
            peer.write_all(b"12345678\n").unwrap();
        }
        for (writing, write) in WRITING {
            let again = write(&mut socket);
            assert_eq!(
                again.unwrap_err().to_string(),
                told.to_string(),
                "{writing} after {name}: it is sticky"
            );
        }
    }
}

#[test]
fn a_read_that_fails_leaves_every_write_as_it_was() {
    let _test = begin();
    for (name, write) in WRITING {
        let (mut socket, mut peer) = pair();
        peer.write_all(b"abc").unwrap();
        let told = socket.timeout(Duration::from_millis(1)).get_all_bytes(8);
        assert_failed(&told, &Error::Timeout, name);
        socket.blocking();
        write(&mut socket).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!socket.is_timeout() || name == "shutdown", "{name}: {socket:?}");
        for (reading, read) in reading() {
            assert_failed(&read(&mut socket), &Error::Timeout, (reading, name));
            assert!(socket.is_timeout() && socket.is_eof(), "{reading}: {socket:?}");
        }
        socket.clear_error();
        assert_eq!(socket.get_bytes(3).unwrap(), b"abc", "{name}");
    }
}

#[test]
fn a_global_timeout_is_of_the_direction_that_met_it() {
    let _test = begin();
    for (name, read) in reading() {
        let (mut socket, mut peer) = pair();
        peer.write_all(b"12345678\n").unwrap();
        socket.global_timeout(Duration::ZERO);
        assert_failed(&read(&mut socket), &Error::GlobalTimeout, name);
        socket.no_global_timeout();
        socket.put_all(b"x").unwrap();
        assert_failed(&read(&mut socket), &Error::GlobalTimeout, name);
        socket.clear_error();
        read(&mut socket).unwrap();
    }
    for (name, write) in WRITING.into_iter().filter(|(name, _)| *name != "shutdown") {
        let (mut socket, mut peer) = pair();
        peer.write_all(b"12345678\n").unwrap();
        socket.global_timeout(Duration::ZERO);
        assert_failed(&write(&mut socket), &Error::GlobalTimeout, name);
        socket.no_global_timeout();
        assert_eq!(socket.get_line().unwrap().as_deref(), Some("12345678"));
        assert_failed(&write(&mut socket), &Error::GlobalTimeout, name);
        socket.clear_error();
        write(&mut socket).unwrap();
    }
}

#[test]
fn of_two_errors_the_one_that_came_first_is_told_and_both_are_cleared() {
    let _test = begin();
    let fail_reading: Operation = |socket| socket.get_line_bytes(3).map(drop);
    let fail_writing: Operation = |socket| socket.put_all(b"too late");
    for [first, second] in [[fail_reading, fail_writing], [fail_writing, fail_reading]] {
        let (mut socket, mut peer) = pair();
        peer.write_all(b"too long\n").unwrap();
        socket.shutdown().unwrap();
        let first = first(&mut socket).unwrap_err();
        assert_eq!(texts([socket.error(), None]), texts([Some(&first), None]));
        let second = second(&mut socket).unwrap_err();
        assert_ne!(first.to_string(), second.to_string());
        assert_eq!(texts([socket.error(), None]), texts([Some(&first), None]));
        assert_eq!(socket.error_desc(), first.to_string());
        // A wait for both directions is stopped by either.
        let both = WaitEvents::READ | WaitEvents::WRITE;
        assert_eq!(socket.wait(both).unwrap_err().to_string(), first.to_string());
        socket.clear_error();
        assert!(!socket.is_error() && socket.error_desc().is_empty());
        assert_eq!(socket.get_line().unwrap().as_deref(), Some("too long"));
        assert_eq!(
            socket.put(b"x").unwrap_err().kind(),
            ErrorKind::BrokenPipe,
            "it was tried again"
        );
    }
}

#[test]
fn a_wait_for_both_directions_is_stopped_by_the_error_of_either() {
    let _test = begin();
    let both = WaitEvents::READ | WaitEvents::WRITE;
    let (mut socket, mut peer) = pair();
    peer.write_all(b"too long\n").unwrap();
    let too_long = Error::LineTooLong { limit: 3 };
    assert_failed(&socket.get_line_bytes(3), &too_long, "get_line_bytes");
    assert_failed(&socket.wait(both), &too_long, "both");
    assert_eq!(socket.wait(WaitEvents::WRITE).unwrap(), WaitEvents::WRITE);
    socket.clear_error();
    socket.shutdown().unwrap();
    let broken = socket.put(b"x").unwrap_err();
    assert_failed(&socket.wait(both), &broken, "both");
    assert_eq!(socket.wait(WaitEvents::READ).unwrap(), WaitEvents::READ);
    socket.clear_error();
    assert_eq!(socket.wait(both).unwrap(), both);
    // Its own failure is of both, too.
    socket.global_timeout(Duration::ZERO);
    assert_failed(&socket.wait(both), &Error::GlobalTimeout, "both");
    socket.no_global_timeout();
    assert_failed(&socket.get_byte(), &Error::GlobalTimeout, "get_byte");
    assert_failed(&socket.wait_write(), &Error::GlobalTimeout, "wait_write");
}

#[test]
fn an_error_of_opening_is_of_both_directions() {
    let _test = begin();
    let (_server, addr) = server();
    let openings: [(&str, Operation); 3] = [
        ("connect_to nothing", |socket| socket.connect_to(&[])),
        ("connect", |socket| socket.connect_to(&[Refusing::new().addr()])),
        ("listen_on", |socket| {
            let (_holder, addr) = server();
            socket.listen_on(addr, &Default::default())
        }),
    ];
    for (name, open) in openings {
        let mut socket = TcpSocket::new();
        let told = open(&mut socket).unwrap_err();
        for (operation, run) in reading().chain(WRITING) {
            let again = run(&mut socket).unwrap_err();
            assert_eq!(again.to_string(), told.to_string(), "{operation} after {name}");
        }
        socket.connect_to(&[addr]).unwrap();
        assert!(!socket.is_error(), "{name}: {socket:?}");
        socket.put_all(b"x").unwrap();
    }
}

/// The ways in which this program ends operations.
const ENDS: [Error; 3] = [Error::Aborted, Error::Closed, Error::Shutdown];

#[test]
fn what_this_program_ends_is_no_error_whether_it_came_before_or_during_the_operation() {
    let _test = begin();
    for (name, operation) in WHOLE
        .into_iter()
        .chain([("put_all", (|socket| socket.put_all(&MUCH)) as Operation)])
    {
        for end in ENDS {
            for during in [false, true] {
                let what = format!("{end} {} {name}", if during { "during" } else { "before" });
                let registry = ShutdownRegistry::new();
                let (mut socket, mut peer) = unix_pair_in(&registry);
                peer.write_all(b"12345").unwrap();
                let handle = socket.handle();
                let end_it = || match end {
                    Error::Aborted => handle.abort(),
                    Error::Closed => handle.close(),
                    _ => registry.shutdown(),
                };
                let result;
                if during {
                    let blocked = block(move || (operation(&mut socket), socket)).until_blocked();
                    end_it();
                    (result, socket) = blocked.result();
                } else {
                    end_it();
                    result = operation(&mut socket);
                }
                assert_failed(&result, &end, &what);
                assert!(
                    !socket.is_error() && socket.error().is_none() && !socket.is_timeout(),
                    "{what}: {socket:?}"
                );
                assert_failed(&operation(&mut socket), &end, format!("{what}, again"));
                assert!(!socket.is_error(), "{what}: {socket:?}");
                if let Error::Aborted = end {
                    // Nothing else has to be cleared, and nothing that had come is lost.
                    socket.clear_abort();
                    peer.write_all(b"678\n").unwrap();
                    assert_eq!(socket.get_all_bytes(9).unwrap(), b"12345678\n", "{what}");
                }
            }
        }
    }
}

#[test]
fn a_put_all_that_was_aborted_goes_on_with_what_was_not_sent() {
    let _test = begin();
    let (mut socket, peer) = unix_pair_in(ShutdownRegistry::global());
    let handle = socket.handle();
    let blocked = block(move || (socket.put_all(&MUCH), socket)).until_blocked();
    handle.abort();
    let (result, mut socket) = blocked.result();
    assert_failed(&result, &Error::Aborted, "put_all");
    let sent = socket.done();
    assert!(!socket.is_error() && (1..MUCH.len()).contains(&sent), "{sent}");
    socket.clear_abort();
    let reading = block(move || {
        let mut came = Vec::new();
        (&peer).read_to_end(&mut came).unwrap();
        came
    });
    socket.timeout(PATIENCE).put_all(&MUCH[sent..]).unwrap();
    drop(socket);
    assert!(reading.result() == *MUCH);
}

#[test]
fn a_limit_in_a_read_of_a_whole_sticks_even_if_an_abort_follows() {
    let _test = begin();
    let (mut socket, mut peer) = pair_of(TcpSocket::new());
    peer.write_all(b"half").unwrap();
    assert_failed(
        &socket.timeout(Duration::from_millis(1)).get_line(),
        &Error::Timeout,
        "get_line",
    );
    socket.abort();
    assert_failed(&socket.get_line(), &Error::Timeout, "it is sticky");
    socket.clear_error();
    assert_failed(&socket.get_line(), &Error::Aborted, "aborted");
    assert!(!socket.is_error(), "{socket:?}");
    socket.clear_abort();
    peer.write_all(b" a line\n").unwrap();
    assert_eq!(socket.blocking().get_line().unwrap().as_deref(), Some("half a line"));
}
