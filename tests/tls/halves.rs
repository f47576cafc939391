//! Both directions at once, from a thread each.

use std::any::Any;
use std::fmt;
use std::io::{self, Read};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use wakesock::rustls::version::{TLS12, TLS13};
use wakesock::{Error, MioWait, RawWait, WaitEvents, WaitSource, Waiter, Wake};

use crate::bad_input::client_of;
use crate::ends::{pair, plain_pair, unix_pair};
use crate::middle::{Party, Who, assert_waits};
use crate::support::certificates::{NAME, client_config, server_config};
use crate::support::{PATIENCE, ROOM_COMES, begin, block, eventually, pattern, race};

/// More than the buffers of a connection without a port hold.
const MUCH: usize = 4 << 20;

#[test]
fn what_a_writer_leaves_when_it_is_cut_short_the_blocked_reader_sends() {
    let _test = begin();
    let data = pattern(MUCH);
    // As it enciphers, and as it waits until the last of it is sent.
    for len in [MUCH, 300_000] {
        let (client, mut server) = unix_pair();
        let (mut reader, mut writer) = client.split();
        let reading = block(move || (reader.get_byte(), reader)).until_blocked();
        writer.timeout(Duration::from_millis(20));
        let taken = writer.put(&data[..len]).unwrap();
        assert!(writer.is_timeout() && writer.unsent() > 0, "{taken}");
        // Nobody calls anything on this end any more.
        assert!(server.get_all_bytes(taken).unwrap() == data[..taken], "{len}");
        assert_eq!(writer.unsent(), 0);
        server.put_all(b"!").unwrap();
        assert_eq!(reading.result().0.unwrap(), Some(b'!'));
    }
}

#[test]
fn whichever_half_comes_first_the_handshake_is_finished_for_both() {
    let _test = begin();
    for turn in 0..150_u32 {
        let (mut client, mut server) = plain_pair();
        client.timeout(Duration::ZERO);
        let config = client_of(if turn % 3 == 0 { &TLS12 } else { &TLS13 });
        assert_waits(&client.start_tls(NAME, &config));
        client.timeout(PATIENCE);
        let (mut reader, mut writer) = client.split();
        let serving = block(move || {
            server.start_tls_server(&server_config()).unwrap();
            let line = server.get_line().unwrap();
            server.put_all(format!("{}\n", line.unwrap()).as_bytes()).unwrap();
            server
        });
        let reading = race(
            move || (reader.get_line(), reader),
            turn * 211 % 5_000,
            || writer.put_all(b"question\n").unwrap(),
        );
        let (line, reader) = reading.result();
        assert_eq!(line.unwrap().as_deref(), Some("question"), "{turn}");
        let client = reader.unsplit(writer).unwrap();
        assert!(client.tls_info().is_some());
        serving.result();
    }
}

/// A raw wait that lets something happen when its first waiter is made: then a wake from elsewhere finds nobody yet.
struct Meanwhile(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meanwhile")
    }
}

impl RawWait for Meanwhile {
    fn waiter(&self, socket: WaitSource<'_>, events: WaitEvents) -> io::Result<Box<dyn Waiter>> {
        self.happens();
        MioWait::default().waiter(socket, events)
    }
}

/// A connection whose handshake has begun, and what is to happen when the first waiter of the end of `who` is made.
fn with_meanwhile(who: Who) -> (Party, Arc<Meanwhile>) {
    let meanwhile = Arc::new(Meanwhile(Mutex::new(None)));
    let party = Party::plain_with(|end, socket| {
        if end == who {
            socket.set_raw_wait(meanwhile.clone());
        }
    });
    (party.begun(), meanwhile)
}

impl Meanwhile {
    fn comes(&self, deed: impl FnOnce() + Send + 'static) {
        *self.0.lock().unwrap() = Some(Box::new(deed));
    }

    fn happens(&self) {
        let deed = self.0.lock().unwrap().take();
        if let Some(deed) = deed {
            deed();
        }
    }
}

#[test]
fn a_reader_that_is_about_to_wait_sees_what_the_writer_has_received_for_it() {
    let _test = begin();
    let (mut party, meanwhile) = with_meanwhile(Who::Server);
    // The client is done, and says something in the same breath. The server's last step is still to come.
    party.middle.pass();
    party.server.timeout(Duration::ZERO);
    assert_waits(&party.server.wait_tls());
    party.middle.pass();
    party.client.wait_tls().unwrap();
    party.client.put_all(b"!").unwrap();
    let (mut reader, mut writer) = party.server.split();
    let mut middle = party.middle;
    meanwhile.comes(move || {
        middle.pass();
        writer.blocking().put_all(b"hello").unwrap();
        KEPT.lock().unwrap().push(Box::new((middle, writer)));
    });
    reader.blocking();
    let reading = block(move || reader.get_byte());
    assert_eq!(reading.result().unwrap(), Some(b'!'));
    KEPT.lock().unwrap().clear();
}

#[test]
fn a_writer_that_is_about_to_wait_sees_that_the_reader_has_finished_the_handshake() {
    let _test = begin();
    for fails in [false, true] {
        let (mut party, meanwhile) = with_meanwhile(Who::Client);
        party.middle.pass();
        party.server.timeout(Duration::ZERO);
        assert_waits(&party.server.wait_tls());
        let (mut reader, mut writer) = party.client.split();
        let mut middle = party.middle;
        meanwhile.comes(move || {
            if fails {
                middle.give(Who::Client, b"HTTP/1.0 400 Bad Request\r\n\r\n");
            } else {
                middle.pass();
            }
            let read = reader.timeout(Duration::ZERO).get_byte();
            assert_eq!(matches!(read, Err(Error::Timeout)), !fails, "{read:?}");
            KEPT.lock().unwrap().push(Box::new((middle, reader)));
        });
        let writing = block(move || writer.blocking().put_all(b"hello"));
        assert_eq!(writing.result().is_ok(), !fails);
        KEPT.lock().unwrap().clear();
    }
}

#[test]
fn a_reader_that_is_about_to_wait_sends_what_the_writer_has_left() {
    let _test = begin();
    let (party, meanwhile) = with_meanwhile(Who::Client);
    let party = party.shake_on();
    let (mut reader, mut writer) = party.client.split();
    let (middle, mut server) = (party.middle, party.server);
    let taken = Arc::new(Mutex::new(0));
    let noted = Arc::clone(&taken);
    meanwhile.comes(move || {
        *noted.lock().unwrap() = writer.timeout(Duration::ZERO).put(&pattern(MUCH)).unwrap();
        assert!(writer.unsent() > 0);
        KEPT.lock().unwrap().push(Box::new(writer));
    });
    let reading = block(move || (reader.blocking().get_byte(), reader)).until_blocked();
    let passing = middle.passing();
    let taken = *taken.lock().unwrap();
    assert!(server.get_all_bytes(taken).unwrap() == pattern(taken));
    server.put_all(b"!").unwrap();
    assert_eq!(reading.result().0.unwrap(), Some(b'!'));
    KEPT.lock().unwrap().clear();
    drop(server);
    passing.result();
}

/// A raw wait that lets something happen in its first wait: what is told to those that wait from then on has to wake it.
#[derive(Clone)]
struct AsItWaits(Arc<Meanwhile>);

impl fmt::Debug for AsItWaits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AsItWaits")
    }
}

impl RawWait for AsItWaits {
    fn waiter(&self, socket: WaitSource<'_>, events: WaitEvents) -> io::Result<Box<dyn Waiter>> {
        let waiter = MioWait::default().waiter(socket, events)?;
        Ok(Box::new(AsItWaitsWaiter(waiter, self.clone())))
    }
}

struct AsItWaitsWaiter(Box<dyn Waiter>, AsItWaits);

impl Waiter for AsItWaitsWaiter {
    fn wait(&mut self, events: WaitEvents, timeout: Option<Duration>) -> io::Result<WaitEvents> {
        self.1.0.happens();
        self.0.wait(events, timeout)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.0.waker()
    }
}

#[test]
fn a_reader_that_waits_sends_what_a_wait_of_the_writer_has_left_of_the_handshake() {
    let test = begin();
    if test.skip_if(cfg!(windows), ROOM_COMES) {
        return;
    }
    let meanwhile = Arc::new(Meanwhile(Mutex::new(None)));
    let as_it_waits = Arc::new(AsItWaits(Arc::clone(&meanwhile)));
    let party = Party::plain_with(|end, socket| {
        if end == Who::Server {
            socket.set_raw_wait(as_it_waits.clone());
        }
    });
    let mut party = party.begun();
    let before = party.fill(Who::Server);
    let Party {
        mut client,
        server,
        mut middle,
    } = party;
    let (mut reader, mut writer) = server.split();
    let (give_back, given_back) = mpsc::channel();
    // The hello comes, the writer takes it, and there is no room for the answer.
    meanwhile.comes(move || {
        let hello = middle.taken(Who::Client);
        middle.give(Who::Server, &hello);
        assert_waits(&writer.timeout(Duration::ZERO).wait_write());
        assert!(writer.unsent() > 0);
        give_back.send((middle, writer)).unwrap();
    });
    let reading = block(move || reader.blocking().get_byte()).until_blocked();
    let (mut middle, _writer) = given_back.recv_timeout(PATIENCE).unwrap();
    // What is before the answer, and no more: that makes room for it at once.
    let mut filling = vec![0; before];
    middle.stream(Who::Server).read_exact(&mut filling).unwrap();
    client.timeout(Duration::ZERO);
    let mut passed = 0;
    eventually(
        || "the reader sends the answer".to_owned(),
        || {
            passed += middle.pass();
            client.wait_tls().map_err(|error| format!("{error}, {passed}"))
        },
    );
    client.put_all(b"!").unwrap();
    middle.pass();
    assert_eq!(reading.result().unwrap(), Some(b'!'));
}

#[test]
fn a_half_learns_of_a_handshake_that_fails_in_the_other() {
    let _test = begin();
    for turn in 0..100_u32 {
        let (mut client, peer) = plain_pair();
        client.timeout(Duration::ZERO);
        assert_waits(&client.start_tls(NAME, &client_config()));
        client.blocking();
        let (mut reader, mut writer) = client.split();
        let reading = block(move || reader.get_byte());
        let writing = race(
            move || writer.put_all(b"question\n"),
            turn * 211 % 5_000,
            || {
                let mut peer = peer;
                peer.put_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").unwrap();
                KEPT.lock().unwrap().push(Box::new(peer));
            },
        );
        let (read, written) = (reading.result(), writing.result());
        assert!(matches!(read, Err(Error::Tls { .. })), "{read:?}");
        assert!(matches!(written, Err(Error::Tls { .. })), "{written:?}");
        KEPT.lock().unwrap().clear();
    }
}

/// What stays, so that nothing but what a test is about ends anything.
static KEPT: Mutex<Vec<Box<dyn Any + Send>>> = Mutex::new(Vec::new());

#[test]
fn what_a_reader_has_failed_with_is_no_matter_of_the_writer() {
    let _test = begin();
    let (client, mut server) = pair();
    let (mut reader, mut writer) = client.split();
    reader.timeout(Duration::from_millis(1));
    assert!(reader.get_line().is_err() && reader.is_error());
    drop(reader);
    writer.put_all(b"still here\n").unwrap();
    assert_eq!(server.get_line().unwrap().as_deref(), Some("still here"));
    writer.shutdown().unwrap();
    assert_eq!(server.get_line().unwrap(), None);
}

#[test]
fn halves_that_are_joined_again_are_the_socket_that_was_split() {
    let _test = begin();
    let (client, mut server) = unix_pair();
    let (reader, mut writer) = client.split();
    writer.timeout(Duration::from_millis(5));
    let data = pattern(MUCH);
    assert!(writer.put_all(&data).unwrap_err().is_timeout());
    let taken = writer.done();
    let mut client = reader.unsplit(writer).unwrap();
    assert!(client.unsent() > 0 && client.is_error());
    client.clear_error();
    let sending = block(move || {
        client.put_all(b"and more").unwrap();
        client
    });
    assert!(server.get_all_bytes(taken).unwrap() == data[..taken]);
    assert_eq!(server.get_all_bytes(8).unwrap(), b"and more");
    sending.result().close();
    assert_eq!(server.get_byte().unwrap(), None, "it says goodbye");
}

#[test]
fn each_direction_ends_for_itself() {
    let _test = begin();
    let (client, mut server) = pair();
    let (mut reader, writer) = client.split();
    writer.shutdown().unwrap();
    assert_eq!(server.get_byte().unwrap(), None);
    assert!(server.is_eof());
    server.put_all(b"the answer").unwrap();
    assert_eq!(reader.get_all_bytes(10).unwrap(), b"the answer");
    server.shutdown().unwrap();
    assert_eq!(reader.get_byte().unwrap(), None);
    let mut writer = writer;
    assert!(writer.put(b"late").is_err());
}

#[test]
fn the_end_of_the_stream_comes_behind_all_that_was_taken() {
    let _test = begin();
    for by_reader in [false, true] {
        let (client, mut server) = unix_pair();
        let (mut reader, mut writer) = client.split();
        let data = pattern(MUCH);
        writer.timeout(Duration::ZERO);
        let mut taken = 0;
        while let Ok(count) = writer.put(&data[taken..]) {
            taken += count;
        }
        assert!(writer.unsent() > 0);
        writer.shutdown().unwrap();
        let before = writer.unsent();
        assert!(before > 0, "close_notify waits, too");
        let sending = block(move || {
            if by_reader {
                assert_eq!(reader.get_byte().unwrap(), Some(b'!'));
            } else {
                writer.blocking().flush().unwrap();
            }
            assert_eq!(writer.unsent(), 0);
            (reader, writer)
        });
        assert!(server.get_bytes(MUCH).unwrap() == data[..taken]);
        assert!(server.is_eof());
        server.put_all(b"!").unwrap();
        drop(sending.result());
    }
}

#[test]
fn what_has_broken_off_does_not_look_complete() {
    let _test = begin();
    // In the error state.
    let (client, mut server) = unix_pair();
    let (reader, mut writer) = client.split();
    let data = pattern(MUCH);
    writer.timeout(Duration::ZERO);
    assert!(writer.put_all(&data).is_err());
    let taken = writer.done();
    drop(writer);
    let reading = block(move || server.get_bytes(MUCH).map(|bytes| (bytes.len(), server)));
    drop(reader);
    let (count, mut server) = reading.result().unwrap();
    assert!(count <= taken);
    let end = server.get_byte();
    assert!(
        matches!(end, Err(Error::Truncated)),
        "{end:?}, after {count} of {taken}"
    );

    // In a panic, of either half.
    for who in 0..2 {
        let (client, mut server) = pair();
        let (reader, mut writer) = client.split();
        writer.put_all(b"some").unwrap();
        let (mut reader, mut writer) = (Some(reader), Some(writer));
        let _ = panic::catch_unwind(AssertUnwindSafe(|| {
            let _half = (
                (who == 0).then(|| reader.take()).flatten(),
                (who == 1).then(|| writer.take()).flatten(),
            );
            panic::resume_unwind(Box::new("a thread of the program's"));
        }));
        drop((reader, writer));
        assert_eq!(server.get_bytes(100).unwrap(), b"some");
        assert!(matches!(server.get_byte(), Err(Error::Truncated)), "{who}");
    }
}

#[test]
fn a_half_that_is_dropped_changes_nothing_for_the_other_or_the_peer() {
    let _test = begin();
    let (client, mut server) = pair();
    let (mut reader, writer) = client.split();
    drop(writer);
    server.timeout(Duration::ZERO);
    assert_waits(&server.get_byte());
    server.timeout(PATIENCE).put_all(b"!").unwrap();
    assert_eq!(reader.get_byte().unwrap(), Some(b'!'));
    drop(reader);
    assert_eq!(server.get_byte().unwrap(), None, "the last one says goodbye");
}

#[test]
fn an_alert_that_a_reader_has_to_send_is_sent_while_the_writer_is_blocked() {
    let _test = begin();
    let mut party = Party::plain().shaken();
    let [record] = &party.records(Who::Server, &[b"data"])[..] else {
        panic!()
    };
    let mut broken = record.clone();
    *broken.last_mut().unwrap() ^= 1;
    let Party { client, mut middle, .. } = party;
    let (mut reader, mut writer) = client.split();
    let writing = block(move || writer.put_all(&pattern(MUCH))).until_blocked();
    middle.give(Who::Client, &broken);
    assert!(matches!(reader.get_byte(), Err(Error::Tls { .. })));
    // All that was enciphered before comes out, and the alert behind it.
    let mut sent = middle.taken(Who::Client);
    while !writing.is_finished() {
        sent.extend(middle.taken(Who::Client));
        thread::yield_now();
    }
    let written = writing.result();
    assert!(matches!(written, Err(Error::Tls { .. })), "{written:?}");
}

#[test]
fn a_reader_whose_other_half_closes_in_the_middle_of_much_is_told_that() {
    let _test = begin();
    for turn in 0..40_u32 {
        let (client, mut server) = unix_pair();
        let (mut reader, writer) = client.split();
        let sending = block(move || while server.put_all(&[0; 100_000]).is_ok() {});
        reader.get_all(&mut [0; 50_000]).unwrap();
        let reading = race(
            move || loop {
                if let Err(error) = reader.get_all(&mut [0; 50_000]) {
                    break error;
                }
            },
            turn * 211 % 5_000,
            || writer.close(),
        );
        let error = reading.result();
        assert!(matches!(error, Error::Closed), "{turn}: {error:?}");
        sending.result();
    }
}

#[test]
fn an_answer_that_the_other_half_breaks_off_by_a_close_does_not_look_complete() {
    let _test = begin();
    for turn in 0..40_u32 {
        let (client, mut server) = unix_pair();
        let (reader, mut writer) = client.split();
        let putting = block(move || (writer.put_all(&pattern(MUCH)), writer)).until_blocked();
        // While that goes on, now and then there is room for a close_notify.
        let reading = race(
            move || {
                loop {
                    match server.get_bytes(100_000) {
                        Ok(bytes) if bytes.is_empty() => break Ok(()),
                        Ok(_) => {}
                        Err(error) => break Err(error),
                    }
                }
            },
            turn * 211 % 5_000,
            || reader.close(),
        );
        let (put, _writer) = putting.result();
        let end = reading.result();
        match put {
            Ok(()) => {}
            Err(error) => assert!(
                matches!((&error, &end), (Error::Closed, Err(Error::Truncated))),
                "{turn}: {error:?}, {end:?}"
            ),
        }
    }
}
