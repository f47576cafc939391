//! Every ending in every phase: at once, with the right error, and what goes on goes on where it stopped.

use std::io::{BufRead, Read, Write};
use std::mem;
use std::time::{Duration, Instant};

use wakesock::{Error, ShutdownRegistry, SocketEventQueue, SocketWaitEvent, TcpSocket, WaitEvents};

use crate::middle::{IN_HANDSHAKE, Party, Run, Who, assert_waits};
use crate::peer::{Peer, shake};
use crate::support::certificates::{NAME, client_config, server_config};
use crate::support::ending::{ENDINGS, Ending};
use crate::support::every::inner;
use crate::support::full::fill_by;
use crate::support::queues::READ;
use crate::support::{Blocked, PATIENCE, ROOM_COMES, begin, block, eventually, in_a_thread, pattern, stream_pair};

/// More than the buffers of a connection without a port hold.
const MUCH: usize = 4 << 20;

/// What is left to come, and what was read before, where it stopped.
const LINE: &[u8] = b"the first half of a record and the second\n";

/// An operation that blocks, and how it came to that.
struct Phase {
    name: &'static str,
    who: Who,
    /// What a handle's deadline has to be for.
    writes: bool,
    kind: Kind,
    prepare: fn(Party) -> Ready,
    run: Run,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Handshake,
    /// Leaves what has come to the next read.
    Reads,
    Writes,
    Finishes,
}

struct Ready {
    party: Party,
    /// What comes to the end when it goes on.
    rest: Vec<u8>,
}

fn ready(party: Party) -> Ready {
    Ready {
        party,
        rest: Vec::new(),
    }
}

/// The handshake has begun at both ends, and of what `who` is to get next so much has come. What else there is, is to come.
fn in_flight(mut party: Party, who: Who, len: usize) -> Ready {
    party = party.begun();
    if who == Who::Client {
        party.middle.pass();
        party.server.timeout(Duration::ZERO);
        assert_waits(&party.server.wait_tls());
        party.server.timeout(PATIENCE);
    }
    let mut flight = party.middle.taken(who.other());
    assert!(flight.len() > len);
    let rest = flight.split_off(len);
    party.middle.give(who, &flight);
    Ready { party, rest }
}

/// The server has sent its flight, and waits for the end of the client's.
fn before_finished(party: Party) -> Ready {
    let mut party = party.begun();
    party.middle.pass();
    party.server.timeout(Duration::ZERO);
    assert_waits(&party.server.wait_tls());
    party.server.timeout(PATIENCE);
    party.middle.pass();
    party.client.wait_tls().unwrap();
    let rest = party.middle.taken(Who::Client);
    Ready { party, rest }
}

/// A record whose half has come.
fn half_a_record(party: Party) -> Ready {
    let mut party = party.shaken();
    let record = party.records(Who::Server, &[LINE]).concat();
    let (half, rest) = record.split_at(20);
    party.middle.give(Who::Client, half);
    let rest = rest.to_vec();
    Ready { party, rest }
}

/// A record, and a part of the next.
fn some_and_half_a_record(party: Party) -> Ready {
    let mut party = party.shaken();
    let records = party.records(Who::Server, &[&LINE[..5], &LINE[5..]]);
    party.middle.give(Who::Client, &records[0]);
    party.middle.give(Who::Client, &records[1][..3]);
    let rest = records[1][3..].to_vec();
    Ready { party, rest }
}

/// Nothing more can be sent.
fn full(party: Party) -> Ready {
    let mut party = party.shaken();
    party.client.timeout(Duration::ZERO);
    let sent = fill_by(&mut party.client, |client| {
        let before = SENT.get();
        while client.put(&pattern(MUCH)[SENT.get()..]).is_ok() {
            SENT.set(SENT.get() + client.done());
        }
        SENT.get() - before
    });
    assert!(sent < MUCH && party.client.unsent() > 0);
    ready(party)
}

thread_local! {
    /// How much of the pattern the phase's preparation has put.
    static SENT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

const fn phase(name: &'static str, who: Who, kind: Kind, prepare: fn(Party) -> Ready, run: Run) -> Phase {
    let writes = matches!(kind, Kind::Writes);
    Phase {
        name,
        who,
        writes,
        kind,
        prepare,
        run,
    }
}

fn phases() -> Vec<Phase> {
    use Kind::{Finishes, Handshake, Reads, Writes};
    use Who::{Client, Server};
    let writing_in_handshake = Phase {
        writes: true,
        ..phase(
            "put, before the answer to the hello",
            Client,
            Handshake,
            |party| ready(party.begun()),
            |socket| socket.put(b"early").map(drop),
        )
    };
    vec![
        phase("start_tls, unanswered", Client, Handshake, ready, |socket| {
            socket.start_tls(NAME, &client_config())
        }),
        phase(
            "start_tls_server, before the hello",
            Server,
            Handshake,
            ready,
            |socket| socket.start_tls_server(&server_config()),
        ),
        phase(
            "wait_tls, one byte of the hello",
            Server,
            Handshake,
            |party| in_flight(party, Server, 1),
            |socket| socket.wait_tls(),
        ),
        phase(
            "wait_tls, a part of the hello",
            Server,
            Handshake,
            |party| in_flight(party, Server, 100),
            |socket| socket.wait_tls(),
        ),
        phase(
            "wait_tls, a part of the server's flight",
            Client,
            Handshake,
            |party| in_flight(party, Client, 100),
            |socket| socket.wait_tls(),
        ),
        phase(
            "wait_tls, before the end of the client's",
            Server,
            Handshake,
            before_finished,
            |socket| socket.wait_tls(),
        ),
        phase(
            "get, in the handshake",
            Client,
            Handshake,
            |party| in_flight(party, Client, 100),
            |socket| socket.get(&mut [0; 1]).map(drop),
        ),
        writing_in_handshake,
        phase(
            "wait for both, in the handshake",
            Server,
            Handshake,
            |party| in_flight(party, Server, 7),
            |socket| socket.wait(WaitEvents::READ | WaitEvents::WRITE).map(drop),
        ),
        phase(
            "wait_request, in the handshake",
            Server,
            Handshake,
            ready_begun,
            |socket| socket.wait_request().map(drop),
        ),
        phase("get, half a record", Client, Reads, half_a_record, |socket| {
            socket.get(&mut [0; 1]).map(drop)
        }),
        phase("get_byte, half a record", Client, Reads, half_a_record, |socket| {
            socket.get_byte().map(drop)
        }),
        phase("get_all", Client, Reads, some_and_half_a_record, |socket| {
            socket.get_all(&mut [0; 30])
        }),
        phase("get_line", Client, Reads, some_and_half_a_record, |socket| {
            socket.get_line().map(drop)
        }),
        phase("peek_all", Client, Reads, some_and_half_a_record, |socket| {
            socket.peek_all(30).map(drop)
        }),
        phase("read_exact", Client, Reads, some_and_half_a_record, |socket| {
            socket.read_exact(&mut [0; 30]).map_err(inner)
        }),
        phase("read_line", Client, Reads, some_and_half_a_record, |socket| {
            socket.read_line(&mut String::new()).map(drop).map_err(inner)
        }),
        phase("wait", Client, Reads, half_a_record, |socket| socket.wait_read()),
        phase("wait_request", Client, Reads, half_a_record, |socket| {
            socket.wait_request().map(drop)
        }),
        phase("put", Client, Writes, full, |socket| {
            let sent = SENT_BY_THREAD.get();
            socket.put(&pattern(MUCH)[sent..]).map(drop)
        }),
        phase("put_all", Client, Writes, full, |socket| {
            let sent = SENT_BY_THREAD.get();
            socket.put_all(&pattern(MUCH)[sent..])
        }),
        phase("write_all", Client, Writes, full, |socket| {
            let sent = SENT_BY_THREAD.get();
            socket.write_all(&pattern(MUCH)[sent..]).map_err(inner)
        }),
        phase("flush", Client, Writes, full, |socket| socket.flush()),
        phase("wait_write", Client, Writes, full, |socket| socket.wait_write()),
        phase("finish", Client, Finishes, half_a_record, |socket| {
            let limit = socket.get_timeout().unwrap_or(PATIENCE * 10);
            socket.finish(limit)
        }),
        phase("finish, with something unsent", Client, Finishes, full, |socket| {
            let limit = socket.get_timeout().unwrap_or(PATIENCE * 10);
            socket.finish(limit)
        }),
    ]
}

fn ready_begun(party: Party) -> Ready {
    ready(party.begun())
}

thread_local! {
    /// As [`SENT`], in the thread that runs the operation.
    static SENT_BY_THREAD: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[test]
fn every_ending_ends_every_phase_and_what_goes_on_loses_nothing() {
    let _test = begin();
    for phase in phases() {
        for ending in ENDINGS {
            end(&phase, ending);
        }
    }
}

fn end(phase: &Phase, ending: Ending) {
    let what = format!("{}: {ending:?}", phase.name);
    let registry = ShutdownRegistry::new();
    SENT.set(0);
    let Ready { mut party, rest } = (phase.prepare)(Party::plain_in(&registry));
    let sent = SENT.get();
    let socket = mem::take(party.end(phase.who));
    let (mut socket, result, done) = ended(phase, ending, socket, &registry, sent);
    assert_eq!(
        discriminant(&result),
        Some(mem::discriminant(&ending.error())),
        "{what}: {result:?}"
    );
    if ending.is_for_good() || phase.kind == Kind::Finishes {
        if !matches!(ending, Ending::Limit | Ending::Deadline | Ending::GlobalLimit) && phase.kind != Kind::Finishes {
            assert!(!socket.is_error(), "{what}: sticky");
        }
        socket.clear_error();
        socket.no_global_timeout();
        assert!(!socket.is_open(), "{what}");
        let again = socket.get_byte();
        assert!(again.as_ref().is_err_and(Error::is_closed), "{what}: {again:?}");
        if phase.kind == Kind::Reads && ending != Ending::Shutdown {
            // Nobody has said goodbye. (A shutdown ends the server, too.)
            party.middle.pass();
            party.middle.give_end(Who::Server);
            let end = party.server.get_byte();
            assert!(matches!(end, Err(Error::Truncated)), "{what}: {end:?}");
        }
        return;
    }
    // What is sticky is what the contract says, and in its direction.
    let sticks = match ending {
        Ending::GlobalLimit => true,
        Ending::Limit | Ending::Deadline => matches!(phase.name, "get_all" | "get_line" | "put_all"),
        _ => false,
    };
    assert_eq!(socket.is_error(), sticks, "{what}: {:?}", socket.error());
    socket.clear_error();
    socket.clear_abort();
    socket.no_global_timeout();
    socket.handle().read_deadline(None);
    socket.handle().write_deadline(None);
    *party.end(phase.who) = socket;
    go_on(phase, party, &rest, sent + done, &what);
}

fn discriminant(result: &Result<(), Error>) -> Option<mem::Discriminant<Error>> {
    result.as_ref().err().map(mem::discriminant)
}

/// Runs the operation, and ends it. The socket, what the operation has returned, and how many bytes it has taken.
fn ended(
    phase: &Phase,
    ending: Ending,
    mut socket: TcpSocket,
    registry: &ShutdownRegistry,
    sent: usize,
) -> (TcpSocket, Result<(), Error>, usize) {
    socket.blocking();
    match ending {
        Ending::Limit => drop(socket.timeout(Duration::from_millis(3))),
        Ending::GlobalLimit => drop(socket.global_timeout(Duration::from_millis(3))),
        _ => {}
    }
    let handle = socket.handle();
    let run = phase.run;
    let writes = phase.writes;
    let running = block(move || {
        SENT_BY_THREAD.set(sent);
        let result = run(&mut socket);
        let done = if writes && socket.done() < MUCH {
            socket.done()
        } else {
            0
        };
        (socket, result, done)
    });
    ending.end(running, &handle, registry, || {
        let now = Some(Instant::now());
        match writes {
            true => handle.write_deadline(now),
            false => handle.read_deadline(now),
        }
    })
}

/// Goes on with what was ended: all that was sent comes, once and in order, both ways.
fn go_on(phase: &Phase, mut party: Party, rest: &[u8], sent: usize, what: &str) {
    for socket in [&mut party.client, &mut party.server] {
        socket.timeout(Duration::ZERO);
    }
    let mut before = Vec::new();
    match phase.kind {
        Kind::Handshake => {
            if !party.client.is_tls() {
                assert_waits(&party.client.start_tls(NAME, &client_config()));
            }
            if !party.server.is_tls() {
                assert_waits(&party.server.start_tls_server(&server_config()));
            }
            party.middle.give(phase.who, rest);
            party = party.shake_on();
        }
        Kind::Reads => {
            party.middle.give(Who::Client, rest);
            assert_eq!(party.client.get_all_bytes(LINE.len()).unwrap(), LINE, "{what}");
        }
        Kind::Writes => {
            assert!(
                carried(&mut party, Who::Client, sent) == pattern(MUCH)[..sent],
                "{what}: {sent}"
            );
        }
        Kind::Finishes => unreachable!("it closes"),
    }
    for who in [Who::Client, Who::Server] {
        party.end(who).put_all(b"and more").unwrap();
        before.extend(carried(&mut party, who, 8));
    }
    assert_eq!(before, b"and moreand more", "{what}");
    party.client.close();
    party.middle.pass();
    assert_eq!(party.server.timeout(PATIENCE).get_byte().unwrap(), None, "{what}");
}

/// Passes on what `from` has taken, and returns what comes of that at the other end: `len` bytes.
fn carried(party: &mut Party, from: Who, len: usize) -> Vec<u8> {
    let mut got = Vec::new();
    let begin = Instant::now();
    while got.len() < len || party.end(from).unsent() > 0 {
        match party.end(from).flush() {
            Ok(()) => {}
            result => assert_waits(&result),
        }
        for piece in party.middle.taken(from).chunks(16_384) {
            party.middle.give(from.other(), piece);
            let to = party.end(from.other());
            match to.timeout(Duration::ZERO).get_bytes(1 << 20) {
                Ok(bytes) => got.extend(bytes),
                result => assert_waits(&result),
            }
        }
        assert!(begin.elapsed() < PATIENCE, "{} of {len}", got.len());
    }
    got
}

#[test]
fn a_stopping_registry_ends_the_wait_for_a_request_unless_half_a_record_is_there() {
    let _test = begin();
    for half in [false, true] {
        for waits in [false, true] {
            let registry = ShutdownRegistry::new();
            let mut party = Party::plain_in(&registry).shaken();
            let record = party.records(Who::Client, &[LINE]).concat();
            let (first, rest) = record.split_at(3);
            let mut server = mem::take(&mut party.server);
            let waiting = |mut server: TcpSocket| block(move || (server.wait_request(), server));
            let (request, mut server) = if waits {
                let waiting = waiting(server).until_blocked();
                if half {
                    party.middle.give(Who::Server, first);
                    let waiting = waiting.still_blocks();
                    registry.stop_accepting();
                    waiting.result()
                } else {
                    registry.stop_accepting();
                    waiting.result()
                }
            } else {
                if half {
                    party.middle.give(Who::Server, first);
                }
                registry.stop_accepting();
                server.blocking();
                waiting(server).result()
            };
            assert_eq!(request.unwrap(), half, "blocked before: {waits}");
            if half {
                party.middle.give(Who::Server, rest);
                assert_eq!(server.get_line().unwrap().unwrap().as_bytes(), LINE.trim_ascii_end());
                assert!(!server.wait_request().unwrap());
            }
            // The polite end.
            server.close();
            party.middle.pass();
            assert_eq!(party.client.get_byte().unwrap(), None);
        }
    }
}

#[test]
fn what_was_peeked_at_counts_as_the_beginning_of_a_record() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (own, stream) = stream_pair().unwrap();
    let mut socket = TcpSocket::with_registry(&registry);
    socket.attach(own).unwrap();
    socket.timeout(Duration::ZERO);
    let mut peer = Peer::client(&client_config(), stream.into());
    let hello = peer.said();
    peer.send(&hello[..3]);
    assert_eq!(socket.peek_all(3).unwrap(), &hello[..3]);
    assert_waits(&socket.start_tls_server(&server_config()));
    peer.send(&hello[3..]);
    shake(&mut socket, &mut peer, |_| true).unwrap();
    registry.stop_accepting();
    assert!(
        !socket.timeout(PATIENCE).wait_request().unwrap(),
        "no record is on its way"
    );
}

#[test]
fn waits_of_many_end_with_a_socket_under_tls() {
    let _test = begin();
    in_a_thread(|| {
        for (half, in_handshake) in [(false, true), (false, false), (true, false)] {
            let party = |registry: &ShutdownRegistry| {
                if in_handshake {
                    return Party::plain_in(registry).begun();
                }
                let Ready { mut party, .. } = half_a_record(Party::plain_in(registry));
                if !half {
                    party.client.timeout(Duration::ZERO);
                    assert_waits(&party.client.get_byte());
                }
                party
            };
            let registry = ShutdownRegistry::new();
            let mut one = party(&registry);
            one.client.timeout(Duration::ZERO);
            // A queue.
            let queue = SocketEventQueue::in_registry(&registry).unwrap();
            let queue = std::sync::Arc::new(queue);
            queue.subscribe_read(&one.client).unwrap();
            let waiting = |queue: &std::sync::Arc<SocketEventQueue>| {
                let queue = std::sync::Arc::clone(queue);
                block(move || queue.wait(None))
            };
            if half {
                // One early report.
                assert!(queue.wait(None).unwrap()[0].is_triggered_read());
                assert_waits(&one.client.get_byte());
            }
            let blocked: Blocked<_> = waiting(&queue).until_blocked();
            one.client.handle().close();
            assert!(blocked.result().unwrap()[0].is_closed());
            let blocked = waiting(&queue).until_blocked();
            registry.shutdown();
            assert!(matches!(blocked.result(), Err(Error::Shutdown)));
            // A wait event.
            let registry = ShutdownRegistry::new();
            let mut one = party(&registry);
            one.client.timeout(Duration::ZERO);
            if half {
                assert_waits(&one.client.get_byte());
            }
            let handle = one.client.handle();
            let blocked = block(move || {
                let mut set = SocketWaitEvent::new();
                set.add(&one.client, READ);
                (set.wait(None), set[0], one)
            });
            let blocked = blocked.until_blocked();
            handle.close();
            let (count, found, _one) = blocked.result();
            assert!(count.unwrap() == 1 && found.contains(READ));
        }
    });
}

#[test]
fn the_limit_of_the_handshake_is_not_that_of_the_operation_which_finishes_it() {
    let _test = begin();
    // On a busy machine the handshake may need more.
    let mut limit = Duration::from_millis(60);
    loop {
        let mut party = Party::plain();
        party.client.tls_limit(limit);
        let begin = Instant::now();
        let mut party = party.begun();
        let mut client = mem::take(&mut party.client);
        client.blocking();
        let getting = block(move || (client.get_byte(), client)).until_blocked();
        let mut middle = party.middle;
        let mut server = party.server;
        server.timeout(Duration::ZERO);
        while server.wait_tls().is_err() && begin.elapsed() < limit {
            middle.pass();
        }
        if begin.elapsed() >= limit {
            server.close();
            drop(middle);
            let _ = getting.result();
            limit *= 2;
            assert!(limit < PATIENCE);
            continue;
        }
        let getting = getting.goes_on_for(2 * limit);
        server.put_all(b"!").unwrap();
        middle.pass();
        assert_eq!(getting.result().0.unwrap(), Some(b'!'));
        return;
    }
}

/// A handshake that the client has begun and that has to be over within `limit`, or more on a busy machine.
fn begun_within(mut limit: Duration) -> Party {
    loop {
        let mut party = Party::plain();
        party.client.tls_limit(limit);
        if let Some(party) = party.begun_in_time() {
            return party;
        }
        limit *= 2;
        assert!(limit < PATIENCE);
    }
}

#[test]
fn a_handshake_that_takes_too_long_ends_whatever_waits_for_it() {
    let _test = begin();
    for (name, run) in IN_HANDSHAKE {
        for limit in [None, Some(PATIENCE)] {
            let mut party = begun_within(Duration::from_millis(10));
            party.client.timeout(limit);
            let begin = Instant::now();
            let result = run(&mut party.client);
            assert!(matches!(result, Err(Error::HandshakeTimeout)), "{name}: {result:?}");
            assert!(begin.elapsed() < PATIENCE && party.client.is_timeout());
            party.client.clear_error();
            assert!(
                matches!(party.client.get_byte(), Err(Error::HandshakeTimeout)),
                "{name}: for good"
            );
            party.client.finish(Duration::ZERO).unwrap_err();
        }
    }
}

#[test]
fn what_an_exception_or_nothing_is_waited_for_sleeps_whatever_becomes_of_the_session() {
    let _test = begin();
    for events in [WaitEvents::EXCEPTION, WaitEvents::empty()] {
        let mut party = Party::plain().begun();
        party.middle.give(Who::Client, b"HTTP/1.0 400 Bad Request\r\n\r\n");
        let mut client = mem::take(&mut party.client);
        assert!(matches!(client.wait_tls(), Err(Error::Tls { .. })));
        client.clear_error();
        client.blocking();
        let handle = client.handle();
        let waiting = block(move || client.wait(events)).still_blocks();
        eventually(
            || "it sleeps".to_owned(),
            || {
                let before = crate::support::cpu_time(waiting.task());
                std::thread::sleep(Duration::from_millis(5));
                let used = crate::support::cpu_time(waiting.task()) - before;
                (used < Duration::from_millis(1))
                    .then_some(())
                    .ok_or_else(|| format!("{used:?}"))
            },
        );
        handle.abort();
        assert!(matches!(waiting.result(), Err(Error::Aborted)));
    }
}

#[test]
fn a_handshake_is_not_over_before_its_last_flight_has_gone() {
    let test = begin();
    if test.skip_if(cfg!(windows), ROOM_COMES) {
        return;
    }
    let runs: [(&str, Run); 3] = [
        ("wait_tls", |socket| socket.wait_tls()),
        ("put", |socket| socket.put(b"!").map(drop)),
        ("flush", |socket| {
            // As far as it goes, unless it is too late for that.
            socket.timeout(Duration::ZERO);
            let shaken = socket.wait_tls();
            if matches!(shaken, Err(Error::HandshakeTimeout)) {
                return shaken;
            }
            assert_waits(&shaken);
            socket.blocking();
            socket.flush()
        }),
    ];
    for (name, run) in runs {
        // On a busy machine the rest of the handshake may need more.
        let mut limit = Duration::from_millis(50);
        loop {
            let mut party = begun_within(limit);
            party.middle.pass();
            party.server.timeout(Duration::ZERO);
            assert_waits(&party.server.wait_tls());
            party.middle.pass();
            party.fill(Who::Client);
            let mut client = mem::take(&mut party.client);
            client.blocking();
            let running = block(move || (run(&mut client), client));
            let (result, mut client) = running.result();
            if client.tls_info().is_none() {
                limit *= 2;
                assert!(limit < PATIENCE);
                continue;
            }
            assert!(matches!(result, Err(Error::HandshakeTimeout)), "{name}: {result:?}");
            assert!(client.is_timeout() && client.is_error());
            client.clear_error();
            let again: [Run; 4] = [
                |socket| socket.wait_tls(),
                |socket| socket.put(b"!").map(drop),
                |socket| socket.flush(),
                |socket| socket.get_byte().map(drop),
            ];
            for run in again {
                let result = run(&mut client);
                assert!(matches!(result, Err(Error::HandshakeTimeout)), "{name}: {result:?}");
                client.clear_error();
            }
            break;
        }
    }
}
