//! Lengths, ends and orders that are easily got wrong.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::time::Duration;

use wakesock::Error;

use crate::ends::{pair, plain_pair, unix_pair};
use crate::middle::{IN_HANDSHAKE, Party, Who, assert_waits};
use crate::support::every::inner;
use crate::support::{NO_RESETS, PATIENCE, ROOM_COMES, TOLD_LATE, begin, block, is_wine, pattern};

#[test]
fn buffers_of_any_length_around_that_of_a_record_get_all() {
    let _test = begin();
    let data = pattern(100_000);
    let mut party = Party::plain().shaken();
    for len in [
        1, 16_382, 16_383, 16_384, 16_385, 16_386, 18_437, 32_767, 32_768, 32_769,
    ] {
        let records = party.records(Who::Server, &[&data]).concat();
        party.middle.give(Who::Client, &records);
        let mut got: Vec<u8> = Vec::new();
        let mut buf = vec![0; len];
        while got.len() < data.len() {
            // The last of them is not whole.
            let left = data.len() - got.len();
            party.client.timeout(if left < len { Duration::ZERO } else { PATIENCE });
            let count = party.client.get(&mut buf).unwrap();
            assert_eq!(count, left.min(len));
            got.extend(&buf[..count]);
        }
        assert!(got == data, "{len}");
        assert_waits(&party.client.timeout(Duration::ZERO).get_byte());
    }
}

#[test]
fn records_of_any_length_come_as_they_are() {
    let _test = begin();
    let data = pattern(40_000);
    let mut party = Party::plain().shaken();
    for len in [1, 2, 16_383, 16_384, 16_385, 32_768, 32_769] {
        let records = party.records(Who::Client, &[&data[..len], &data[len..]]).concat();
        party.middle.give(Who::Server, &records);
        assert!(party.server.get_all_bytes(data.len()).unwrap() == data, "{len}");
    }
}

#[test]
fn nothing_put_is_nothing_sent() {
    let _test = begin();
    let mut party = Party::plain().shaken();
    assert_eq!(party.client.put(b"").unwrap(), 0);
    party.client.put_all(b"").unwrap();
    assert_eq!(party.client.write_vectored(&[]).unwrap(), 0);
    assert_eq!(
        party
            .client
            .write_vectored(&[IoSlice::new(b""), IoSlice::new(b"")])
            .unwrap(),
        0
    );
    party.client.flush().unwrap();
    assert!(party.middle.taken(Who::Client).is_empty());
    party.client.put_all(b"!").unwrap();
    party.middle.pass();
    assert_eq!(party.server.get_bytes(1).unwrap(), b"!");
}

#[test]
fn a_look_at_more_than_comes_leaves_what_has_come() {
    let _test = begin();
    let mut party = Party::plain().shaken();
    party.server.put_all(b"some").unwrap();
    party.middle.pass();
    assert_waits(&party.client.timeout(Duration::ZERO).peek_all(5));
    assert_eq!(party.client.peek_all(4).unwrap(), b"some");
    party.server.put_all(&pattern(50_000)).unwrap();
    party.server.shutdown().unwrap();
    party.middle.pass();
    party.client.timeout(PATIENCE);
    assert!(matches!(party.client.peek_all(50_005), Err(Error::UnexpectedEof)));
    assert!(!party.client.is_error());
    assert!(party.client.peek_all(50_004).unwrap().starts_with(b"some"));
    assert_eq!(party.client.get_all_bytes(4).unwrap(), b"some");
    assert!(party.client.get_bytes(100_000).unwrap() == pattern(50_000));
    assert_eq!(party.client.get_byte().unwrap(), None);
}

#[test]
fn what_follows_close_notify_is_nothing() {
    let _test = begin();
    let mut party = Party::plain().shaken();
    let mut records = party.records(Who::Server, &[b"the last"]).concat();
    let again = records.clone();
    party.server.shutdown().unwrap();
    records.extend(party.middle.taken(Who::Server));
    // Not even TLS.
    records.extend(&again);
    records.extend(b"HTTP/1.0 400 Bad Request\r\n\r\n".repeat(1000));
    party.middle.give(Who::Client, &records);
    let mut text = String::new();
    party.client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "the last");
    assert_eq!(party.client.get_byte().unwrap(), None);
    assert!(party.client.is_eof() && !party.client.is_error());
    // The other direction goes on.
    party.client.put_all(b"still here").unwrap();
    party.middle.pass();
    assert_eq!(party.server.get_all_bytes(10).unwrap(), b"still here");
}

#[test]
fn everything_to_the_end_is_read() {
    let _test = begin();
    let (client, mut server) = pair();
    let (mut client, data) = (client, pattern(300_000));
    let sending = block(move || {
        server.put_all(&pattern(300_000)).unwrap();
        server.close();
    });
    let mut got = b"before".to_vec();
    assert_eq!(client.read_to_end(&mut got).unwrap(), data.len());
    assert!(got[6..] == data);
    sending.result();
}

#[test]
fn many_slices_are_sent_in_order() {
    let _test = begin();
    let (mut client, mut server) = pair();
    let data = pattern(200_000);
    let reading = block(move || server.get_all_bytes(200_000));
    let mut sent = 0;
    while sent < data.len() {
        // More than the system takes at once, and empty ones among them.
        let slices: Vec<_> = data[sent..]
            .chunks(37)
            .flat_map(|piece| [IoSlice::new(piece), IoSlice::new(b"")])
            .collect();
        let count = client.write_vectored(&slices).unwrap();
        assert!(count > 0 && count == client.done());
        sent += count;
    }
    assert!(reading.result().unwrap() == data);
}

#[test]
fn without_waiting_no_more_is_taken_than_may_be_unsent() {
    let _test = begin();
    let (mut client, mut server) = unix_pair();
    client.timeout(Duration::ZERO);
    server.timeout(Duration::ZERO);
    let data = pattern(3 << 20);
    let (mut put, mut got) = (0, Vec::new());
    while got.len() < data.len() {
        if put < data.len() {
            match client.put(&data[put..]) {
                Ok(count) => put += count,
                result => assert_waits(&result),
            }
        } else if let Err(error) = client.flush() {
            assert!(matches!(error, Error::Timeout), "{error}");
        }
        // 64 KiB, and what its records add.
        assert!(client.unsent() <= (64 << 10) + 5 * 22, "{}", client.unsent());
        match server.get_bytes(100_000) {
            Ok(bytes) => got.extend(bytes),
            result => assert_waits(&result),
        }
    }
    assert!(got == data);
}

#[test]
fn who_closes_without_having_read_tickets_resets_nothing() {
    let _test = begin();
    for _ in 0..20 {
        // The server has sent its tickets, and the client never reads.
        let (mut client, mut server) = pair();
        let data = pattern(1 << 20);
        let putting = block(move || {
            client.put_all(&pattern(1 << 20)).unwrap();
            client.close();
        });
        // Only once it has closed is the rest read.
        let first = server.get_all_bytes(1000).unwrap();
        server.wait_read().unwrap();
        let rest = server.get_bytes(2 << 20).unwrap();
        assert!([first, rest].concat() == data);
        assert_eq!(server.get_byte().unwrap(), None);
        putting.result();
    }
}

#[test]
fn finish_reads_away_what_comes_and_the_peer_gets_the_answer() {
    let _test = begin();
    let (mut client, mut server) = pair();
    let finishing = block(move || {
        assert_eq!(server.get_line().unwrap().as_deref(), Some("store"));
        server.put_all(b"error: too large\n").unwrap();
        server.finish(PATIENCE)
    });
    client.put_all(b"store\n").unwrap();
    client.put_all(&pattern(4 << 20)).unwrap();
    assert_eq!(client.get_line().unwrap().as_deref(), Some("error: too large"));
    assert_eq!(client.get_line().unwrap(), None);
    client.close();
    finishing.result().unwrap();
}

#[test]
fn finish_sends_what_is_unsent_also_to_a_peer_that_has_ended_its_stream() {
    let _test = begin();
    for reads_first in [false, true] {
        let (mut client, mut server) = unix_pair();
        client.put_all(b"request").unwrap();
        client.shutdown().unwrap();
        assert_eq!(server.get_bytes(7).unwrap(), b"request");
        if reads_first {
            assert_eq!(server.get_byte().unwrap(), None);
        }
        server.timeout(Duration::ZERO);
        let data = pattern(3 << 20);
        let taken = server.put(&data).unwrap();
        assert!(server.unsent() > 0);
        let finishing = block(move || server.finish(PATIENCE)).until_blocked();
        assert!(client.get_bytes(data.len()).unwrap() == data[..taken]);
        assert_eq!(client.get_byte().unwrap(), None);
        finishing.result().unwrap();
    }
    // And no longer than its limit.
    let (client, mut server) = unix_pair();
    client.shutdown().unwrap();
    server.timeout(Duration::ZERO);
    server.put(&pattern(3 << 20)).unwrap();
    assert_waits(&server.finish(Duration::from_millis(5)));
    assert!(!server.is_open());
}

#[test]
fn finish_does_not_make_an_answer_look_complete_that_has_broken_off() {
    let _test = begin();
    let (mut client, mut server) = unix_pair();
    client.timeout(Duration::ZERO);
    assert!(client.put_all(&pattern(4 << 20)).unwrap_err().is_timeout());
    let reading = block(move || {
        loop {
            match server.get_bytes(100_000) {
                Ok(bytes) if bytes.is_empty() => break Ok(()),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
        }
    });
    client.finish(PATIENCE).unwrap();
    let end = reading.result();
    assert!(matches!(end, Err(Error::Truncated)), "{end:?}");
}

#[test]
fn who_reads_at_the_end_of_the_stream_sends_what_is_unsent() {
    let _test = begin();
    let (mut client, server) = unix_pair();
    client.shutdown().unwrap();
    let (mut reader, mut writer) = server.split();
    assert_eq!(reader.get_byte().unwrap(), None);
    let data = pattern(3 << 20);
    let taken = writer.timeout(Duration::ZERO).put(&data).unwrap();
    assert!(writer.unsent() > 0);
    client.timeout(Duration::ZERO);
    let mut got = Vec::new();
    while got.len() < taken {
        match client.get_bytes(10_000) {
            Ok(bytes) => got.extend(bytes),
            result => {
                assert_waits(&result);
                assert_eq!(reader.get_byte().unwrap(), None);
            }
        }
    }
    assert!(got == data[..taken]);
}

#[test]
fn an_abort_leaves_the_owner_to_say_goodbye() {
    let _test = begin();
    let (mut client, mut server) = pair();
    let handle = client.handle();
    let getting = block(move || (client.get_byte(), client)).until_blocked();
    handle.abort();
    let (got, client) = getting.result();
    assert!(matches!(got, Err(Error::Aborted)));
    // It is aborted still.
    drop(client);
    assert_eq!(server.get_byte().unwrap(), None);
}

#[test]
fn a_reset_is_neither_an_end_nor_a_truncation_whoever_meets_it_first() {
    let test = begin();
    if test.skip_if(is_wine(), NO_RESETS) {
        return;
    }
    for _ in 0..30 {
        let (client, server) = pair();
        let (mut reader, mut writer) = client.split();
        let writing = block(move || while writer.put_all(&pattern(5_000)).is_ok() {});
        let reading = block(move || (reader.get_byte(), reader));
        server.linger(Duration::ZERO).unwrap();
        server.handle().close();
        let (got, _reader) = reading.result();
        let seen = format!("{got:?}");
        assert!(
            got.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset),
            "{seen}"
        );
        writing.result();
    }
    // The writer is told first.
    for _ in 0..20 {
        let (client, server) = pair();
        let (mut reader, mut writer) = client.split();
        server.linger(Duration::ZERO).unwrap();
        server.handle().close();
        while writer.put_all(b"to nobody").is_ok() {}
        let got = reader.get_byte();
        let seen = format!("{got:?}");
        assert!(
            got.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset),
            "{seen}"
        );
    }
}

#[test]
fn a_goodbye_before_anything_is_agreed_on_is_no_end_of_the_stream() {
    let _test = begin();
    for who in [Who::Client, Who::Server] {
        for (name, run) in IN_HANDSHAKE {
            let mut party = Party::plain().begun();
            // An alert of the level warning: close_notify, from whomever.
            party.middle.give(who, &[21, 3, 3, 0, 2, 1, 0]);
            party.middle.give_end(who);
            let socket = party.end(who);
            let result = run(socket);
            assert!(
                matches!(result, Err(Error::Tls { .. } | Error::Io { .. })),
                "{who:?}, {name}: {result:?}"
            );
            socket.clear_error();
            let again = socket.get_byte();
            assert!(
                matches!(again, Err(Error::Tls { .. } | Error::Io { .. })),
                "{who:?}, {name}: {again:?}"
            );
        }
    }
}

#[test]
fn what_was_taken_is_counted_also_where_it_can_never_be_sent() {
    let test = begin();
    if test.skip_if(cfg!(windows), TOLD_LATE) {
        return;
    }
    type Run = fn(&mut wakesock::TcpSocket) -> Result<usize, Error>;
    // Those that give all or nothing fail. The others have done something, and the next one fails.
    let runs: [(&str, bool, Run); 5] = [
        ("put", false, |socket| socket.put(b"lost")),
        ("put_all", true, |socket| socket.put_all(b"lost").map(|()| 0)),
        ("write", false, |socket| socket.write(b"lost").map_err(inner)),
        ("write_vectored", false, |socket| {
            socket
                .write_vectored(&[IoSlice::new(b"lo"), IoSlice::new(b"st")])
                .map_err(inner)
        }),
        ("write_all", true, |socket| {
            socket.write_all(b"lost").map(|()| 0).map_err(inner)
        }),
    ];
    for (name, is_whole, run) in runs {
        // In the short way, and in the long one.
        for is_long in [false, true] {
            let (mut client, server) = unix_pair();
            drop(server);
            if is_long {
                client.when_wait(|_| {});
            }
            let what = format!("{name}, {is_long}");
            let result = run(&mut client);
            assert_eq!(client.done(), 4, "{what}");
            let error = match result {
                Ok(count) => {
                    assert!(count == 4 && !is_whole, "{what}");
                    client.error().unwrap().clone()
                }
                Err(error) => {
                    assert!(is_whole, "{what}: {error}");
                    error
                }
            };
            assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{what}: {error}");
            assert_eq!(error.to_string(), format!("{name}: broken pipe"));
            assert!(client.is_error(), "{what}");
            assert_eq!(run(&mut client).unwrap_err().kind(), ErrorKind::BrokenPipe, "{what}");
        }
    }
}

#[test]
fn what_is_unsent_after_a_failure_is_counted_to_the_byte() {
    let test = begin();
    if test.skip_if(cfg!(windows), ROOM_COMES) {
        return;
    }
    let mut party = Party::plain().shaken();
    let mut broken = party.records(Who::Server, &[b"broken"]).concat();
    *broken.last_mut().unwrap() ^= 1;
    party.client.timeout(Duration::ZERO);
    while party.client.put(&pattern(1 << 20)).is_ok() {}
    let before = party.client.unsent();
    party.middle.give(Who::Client, &broken);
    assert!(matches!(party.client.get_byte(), Err(Error::Tls { .. })));
    let unsent = party.client.unsent();
    assert!(before > 1 && unsent > before, "an alert follows: {before}, {unsent}");
    party.middle.taken(Who::Client);
    party.client.clear_error();
    let mut sent = 0;
    while party.client.unsent() > 0 {
        let _ = party.client.flush();
        sent += party.middle.taken(Who::Client).len();
    }
    assert_eq!(sent, unsent);
}

#[test]
fn shutdown_says_that_the_peer_is_gone_as_on_a_plain_connection() {
    let test = begin();
    if test.skip_if(is_wine(), NO_RESETS) {
        return;
    }
    for (mut client, server) in [plain_pair(), pair()] {
        // A reset.
        server.linger(Duration::ZERO).unwrap();
        server.handle().close();
        assert!(client.get_byte().is_err());
        client.clear_error();
        let is_tls = client.is_tls();
        for turn in 0..2 {
            let error = client.shutdown().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotConnected, "{is_tls}, {turn}");
            let peer = client.peer_addr().unwrap();
            assert!(
                error.to_string().starts_with(&format!("shutdown of {peer}: ")),
                "{error}"
            );
            assert!(!client.is_error());
        }
    }
    // One that is only silent gets to know, as often as it is said.
    for (client, mut server) in [plain_pair(), pair()] {
        for _ in 0..2 {
            client.shutdown().unwrap();
        }
        assert_eq!(server.get_byte().unwrap(), None);
    }
}
