//! What a peer does wrong: a named error here, a close frame there, and a connection that is closed.

use std::io::Write;

use wakesock::{Error, Role};

use crate::ends::*;
use crate::support::begin;

/// Checks that `bytes` are a fault that the peer is told by `code`, and gives the error.
#[track_caller]
fn assert_fault(role: Role, bytes: &[u8], code: u16) -> Error {
    let (mut socket, mut peer) = end(role);
    socket.max_message(1000);
    // What follows is not read any more.
    peer.write_all(bytes).unwrap();
    let error = socket.receive().unwrap_err();
    assert!(!socket.is_open() && socket.is_error());
    assert_told(&mut peer, code);
    for _ in 0..2 {
        assert_eq!(socket.receive().unwrap_err().to_string(), error.to_string());
        assert!(matches!(socket.send("more"), Err(Error::Closed)));
        assert_eq!(socket.close(1000, "").unwrap_err().to_string(), error.to_string());
        socket.clear_error();
    }
    error
}

#[test]
fn a_broken_protocol_is_told_by_1002() {
    let _test = begin();
    let cases = [
        (Role::Server, b"\x81\x05hello".to_vec(), "unmasked"),
        (Role::Client, frame_for(Role::Server, LAST | TEXT, b"hello"), "masked"),
        (Role::Client, b"\xc1\x00".to_vec(), "Reserved bits"),
        (Role::Client, b"\x83\x00".to_vec(), "opcode: 3"),
        (Role::Client, b"\x8f\x00".to_vec(), "opcode: 15"),
        (Role::Client, b"\x80\x00".to_vec(), "Continue"),
        (Role::Client, b"\x01\x00\x81\x00".to_vec(), "fragment"),
        (Role::Client, b"\x09\x00".to_vec(), "Fragmented control"),
        (
            Role::Client,
            frame_for(Role::Client, LAST | PING, &[0; 126]),
            "Control frame too big",
        ),
        (Role::Client, b"\x82\x7e\x00\x7d".to_vec(), "length"),
        (Role::Client, b"\x82\x7f\0\0\0\0\0\0\xff\xff".to_vec(), "length"),
        (Role::Server, b"\x89\xfe\0\x02maskhi".to_vec(), "length"),
        (Role::Client, b"\x88\x01\x03".to_vec(), "close"),
        (Role::Client, close_frame_for(Role::Client, 1005, ""), "1005"),
        (Role::Client, close_frame_for(Role::Client, 1006, ""), "1006"),
        (Role::Client, close_frame_for(Role::Client, 0, ""), "0"),
        (Role::Client, close_frame_for(Role::Client, 5000, ""), "5000"),
    ];
    for (role, bytes, what) in cases {
        let error = assert_fault(role, &bytes, 1002);
        assert!(matches!(error, Error::Protocol { .. }), "{error}");
        let text = error.to_string().to_lowercase();
        assert!(text.contains(&what.to_lowercase()), "{what}: {text}");
    }
}

#[test]
fn what_is_not_utf_8_is_told_by_1007() {
    let _test = begin();
    for payload in [&b"\xff"[..], b"a\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"] {
        let whole = frame_for(Role::Server, LAST | TEXT, payload);
        let mut parts = frame_for(Role::Server, TEXT, b"fine, ");
        parts.extend(frame_for(Role::Server, LAST | CONTINUATION, payload));
        for bytes in [whole, parts] {
            let error = assert_fault(Role::Server, &bytes, 1007);
            assert!(error.to_string().contains("utf-8"), "{error}");
        }
    }
    let mut close = 1000_u16.to_be_bytes().to_vec();
    close.push(0xff);
    assert_fault(Role::Server, &frame_for(Role::Server, LAST | CLOSE, &close), 1007);
}

#[test]
fn a_text_is_refused_in_the_middle_of_its_frame() {
    let _test = begin();
    let mut frame = frame_for(Role::Server, LAST | TEXT, &[b'x'; 900]);
    frame.truncate(100);
    let mut wrong = frame_for(Role::Server, LAST | TEXT, &[&[b'x'; 90][..], &[0xff; 810]].concat());
    wrong.truncate(110);
    let (mut socket, mut peer) = end(Role::Server);
    socket.timeout(std::time::Duration::from_millis(5));
    write(&mut peer, &frame);
    assert_timeout(&socket.receive());
    assert_fault(Role::Server, &wrong, 1007);
}

#[test]
fn a_message_that_is_too_long_is_told_by_1009() {
    let _test = begin();
    let mut parts = frame_for(Role::Server, BINARY, &[0; 600]);
    parts.extend(frame_for(Role::Server, LAST | CONTINUATION, &[0; 401]));
    let cases = [
        parts,
        frame_for(Role::Server, LAST | BINARY, &[0; 1001]),
        // Announced, and no more.
        vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        vec![0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
        vec![0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 0],
    ];
    for bytes in cases {
        let error = assert_fault(Role::Server, &bytes, 1009);
        assert!(matches!(error, Error::MessageTooLong { limit: 1000 }), "{error}");
    }
    // No length begins with this bit, RFC 6455, section 5.2, however much the program would take.
    let (mut socket, mut peer) = end(Role::Server);
    socket.max_message(usize::MAX);
    write(&mut peer, &[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(matches!(socket.receive(), Err(Error::MessageTooLong { .. })));
    assert_told(&mut peer, 1009);
}

#[test]
fn a_fault_behind_a_message_does_not_cost_the_message() {
    let _test = begin();
    let (mut socket, mut peer) = end(Role::Client);
    write(&mut peer, b"\x81\x02hi\xff\x00");
    assert_eq!(socket.receive().unwrap().unwrap().as_text(), Some("hi"));
    assert!(matches!(socket.receive(), Err(Error::Protocol { .. })));
    assert_told(&mut peer, 1002);
}

#[test]
fn a_fault_is_told_to_whoever_waits_for_a_message() {
    let _test = begin();
    let (mut socket, mut peer) = end(Role::Client);
    write(&mut peer, b"\x8b\x00");
    assert!(matches!(socket.wait_message(), Err(Error::Protocol { .. })));
    assert_told(&mut peer, 1002);
}
