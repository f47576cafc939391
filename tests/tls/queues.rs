//! Queues and wait events: level-triggered, none missed, no spin.

use std::io::{BufRead, Read};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use wakesock::{AsTcpSocket, Error, SocketEventQueue, SocketWaitEvent, TcpSocket, WaitEvents};

use crate::ends::unix_pair;
use crate::middle::{Party, Who, assert_waits};
use crate::support::certificates::{NAME, client_config, server_config};
use crate::support::queues::{NOTHING, READ, WRITE, assert_only, assert_silent, block_in, queue};
use crate::support::{PATIENCE, begin, block, in_a_thread, pattern};

/// A way to learn of what there is to read.
enum Way {
    Queue(SocketEventQueue),
    AtMost(SocketEventQueue),
    Anew,
    Kept(SocketWaitEvent),
}

impl Way {
    fn all(socket: &TcpSocket) -> [Way; 4] {
        let queue = || {
            let queue = SocketEventQueue::new().unwrap();
            queue.subscribe_read(socket).unwrap();
            queue
        };
        let mut kept = SocketWaitEvent::new();
        kept.add(socket, READ);
        [Way::Queue(queue()), Way::AtMost(queue()), Way::Anew, Way::Kept(kept)]
    }

    fn name(&self) -> &'static str {
        match self {
            Way::Queue(_) => "queue",
            Way::AtMost(_) => "at most",
            Way::Anew => "wait event, made anew",
            Way::Kept(_) => "wait event, kept",
        }
    }

    /// What is reported within the limit.
    fn reported(&mut self, socket: &TcpSocket, limit: Duration) -> WaitEvents {
        let of_set = |set: &mut SocketWaitEvent| {
            set.wait(limit).unwrap();
            set[0]
        };
        let events = match self {
            Way::Queue(queue) => queue.wait(limit),
            Way::AtMost(queue) => queue.wait_at_most(1, limit),
            Way::Anew => {
                let mut set = SocketWaitEvent::new();
                set.add(socket, READ);
                return of_set(&mut set);
            }
            Way::Kept(set) => return of_set(set),
        };
        let events = events.unwrap();
        events.first().map_or(NOTHING, |event| event.events())
    }

    fn now(&mut self, socket: &TcpSocket) -> WaitEvents {
        self.reported(socket, Duration::ZERO)
    }
}

type ReadSome = fn(&mut TcpSocket) -> Result<Vec<u8>, Error>;

fn of_std(result: std::io::Result<Vec<u8>>) -> Result<Vec<u8>, Error> {
    result.map_err(crate::support::every::inner)
}

/// Ways to read a piece of what there is, of lines of seven bytes.
const READS: [(&str, ReadSome); 10] = [
    ("get_byte", |socket| {
        socket.get_byte().map(|byte| byte.into_iter().collect())
    }),
    ("get", |socket| {
        let mut buf = [0; 3];
        socket.get(&mut buf).map(|count| buf[..count].to_vec())
    }),
    ("get_bytes", |socket| socket.get_bytes(1000)),
    ("get_line", |socket| {
        let line = socket.get_line_bytes(100)?;
        Ok(line.map_or(Vec::new(), |mut line| {
            line.push(b'\n');
            line
        }))
    }),
    ("get_all", |socket| socket.get_all_bytes(7)),
    ("peek and get_byte", |socket| {
        socket.peek()?;
        socket.get_byte().map(|byte| byte.into_iter().collect())
    }),
    ("peek_all and get_all", |socket| {
        let len = socket.peek_all(7)?.len();
        socket.get_all_bytes(len)
    }),
    ("wait_request and get", |socket| {
        if !socket.wait_request()? {
            return Ok(Vec::new());
        }
        socket.get_bytes(2)
    }),
    ("read", |socket| {
        let mut buf = [0; 5];
        let read = socket.read(&mut buf);
        of_std(read.map(|count| buf[..count].to_vec()))
    }),
    ("fill_buf", |socket| {
        let piece = of_std(socket.fill_buf().map(|bytes| bytes[..bytes.len().min(4)].to_vec()))?;
        socket.consume(piece.len());
        Ok(piece)
    }),
];

/// Reads while something is reported, until the end of the stream or an error. What was read, what it ended with, and how
/// many reports there were of nothing.
fn read_while_reported(way: &mut Way, socket: &mut TcpSocket, read: ReadSome) -> (Vec<u8>, Option<Error>, usize) {
    let (mut all, mut early) = (Vec::new(), 0);
    while !way.now(socket).is_empty() {
        match read(socket) {
            Ok(bytes) if bytes.is_empty() => return (all, None, early),
            Ok(bytes) => all.extend(bytes),
            Err(Error::Timeout) => {
                socket.clear_error();
                early += 1;
                assert!(early < 100, "it spins, after {} bytes", all.len());
            }
            Err(error) => return (all, Some(error), early),
        }
    }
    (all, Some(Error::Timeout), early)
}

fn lines(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{number:06}\n")).collect()
}

#[test]
fn many_records_in_one_segment_are_reported_until_the_last_of_them_is_taken() {
    let _test = begin();
    in_a_thread(|| {
        let lines = lines(600);
        let pieces: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
        let all = lines.concat();
        let mut party = Party::plain().shaken();
        for (name, read) in READS {
            for mut way in Way::all(&party.client) {
                let records = party.records(Who::Server, &pieces).concat();
                assert!(records.len() > 16_384, "more than the session takes at once");
                assert_eq!(way.now(&party.client), NOTHING);
                party.middle.give(Who::Client, &records);
                party.client.timeout(Duration::ZERO);
                let (got, end, early) = read_while_reported(&mut way, &mut party.client, read);
                assert!(got == all.as_bytes(), "{name}, {}: {} bytes", way.name(), got.len());
                assert!(
                    matches!(end, Some(Error::Timeout)) && early <= 1,
                    "{name}, {}: {end:?}, {early}",
                    way.name()
                );
            }
        }
    });
}

#[test]
fn an_end_in_the_segment_of_the_last_data_is_reported_though_tcp_has_none() {
    let _test = begin();
    in_a_thread(|| {
        for (count, rest) in [(3, ""), (3, "half"), (0, "half")] {
            let all = lines(count).concat();
            for (name, read) in READS {
                for index in 0..4 {
                    let mut party = Party::plain().shaken();
                    party.server.put_all(all.as_bytes()).unwrap();
                    party.server.put_all(rest.as_bytes()).unwrap();
                    party.server.shutdown().unwrap();
                    let records = party.middle.taken(Who::Server);
                    let mut way = Way::all(&party.client).into_iter().nth(index).unwrap();
                    party.middle.give(Who::Client, &records);
                    party.client.timeout(Duration::ZERO);
                    let (mut got, end, early) = read_while_reported(&mut way, &mut party.client, read);
                    match end {
                        None => {}
                        Some(Error::UnexpectedEof) => {
                            party.client.clear_error();
                            got.extend(party.client.get_bytes(100).unwrap());
                        }
                        Some(error) => panic!("{name}, {}, {rest:?}: {error:?} after {got:?}", way.name()),
                    }
                    assert!(got == (all.clone() + rest).as_bytes(), "{name}, {}", way.name());
                    assert_eq!(early, 0, "{name}, {}, {rest:?}", way.name());
                    assert_eq!(party.client.get_byte().unwrap(), None);
                    assert!(way.now(&party.client).contains(READ), "the end lasts");
                }
            }
        }
    });
}

#[test]
fn a_failure_in_the_segment_of_the_last_data_is_reported() {
    let _test = begin();
    in_a_thread(|| {
        for rest in ["", "half"] {
            for (name, read) in READS {
                for index in 0..4 {
                    let mut party = Party::plain().shaken();
                    let mut records = party.records(Who::Server, &[b"000001\n", rest.as_bytes(), b"broken"]);
                    *records[2].last_mut().unwrap() ^= 1;
                    let mut way = Way::all(&party.client).into_iter().nth(index).unwrap();
                    party.middle.give(Who::Client, &records.concat());
                    party.client.timeout(Duration::ZERO);
                    let (mut got, end, early) = read_while_reported(&mut way, &mut party.client, read);
                    let what = format!("{name}, {}, {rest:?}: {end:?} after {got:?}", way.name());
                    assert!(matches!(end, Some(Error::Tls { .. })), "{what}");
                    got.extend(party.client.buffer());
                    assert!(got == format!("000001\n{rest}").as_bytes(), "{what}");
                    assert_eq!(early, 0, "{what}");
                }
            }
        }
    });
}

#[test]
fn what_is_nothing_to_the_program_is_one_early_report_at_most() {
    let _test = begin();
    in_a_thread(|| {
        for (name, read) in READS {
            for index in 0..4 {
                let (party, tickets) = Party::plain().begun().shake_but_tickets();
                let Party {
                    mut client,
                    mut middle,
                    mut server,
                } = party;
                let mut way = Way::all(&client).into_iter().nth(index).unwrap();
                client.timeout(Duration::ZERO);
                assert_eq!(way.now(&client), NOTHING, "{name}, {}", way.name());
                server.put_all(b"000001\n").unwrap();
                let record = middle.taken(Who::Server);
                let (half, rest) = record.split_at(record.len() / 2);
                // Each of them may be something.
                for part in [&tickets[..], &half[..3], &half[3..]] {
                    middle.give(Who::Client, part);
                    let (got, end, early) = read_while_reported(&mut way, &mut client, read);
                    assert!(
                        got.is_empty() && matches!(end, Some(Error::Timeout)),
                        "{name}, {}: {end:?}",
                        way.name()
                    );
                    assert!(early <= 1, "{name}, {}: {early}", way.name());
                }
                middle.give(Who::Client, rest);
                let (got, _, early) = read_while_reported(&mut way, &mut client, read);
                assert!(got == b"000001\n" && early <= 1, "{name}, {}", way.name());
            }
        }
    });
}

#[test]
fn a_thread_that_waits_sleeps_over_half_a_record() {
    let _test = begin();
    let mut party = Party::plain().shaken();
    party.client.timeout(Duration::ZERO);
    let queue = queue();
    queue.subscribe_read(&party.client).unwrap();
    let record = party.records(Who::Server, &[b"something"]).concat();
    party.middle.give(Who::Client, &record[..10]);
    assert_only(&queue, &party.client, READ);
    assert_waits(&party.client.get_byte());
    let waiting = block_in(&queue).still_blocks();
    party.middle.give(Who::Client, &record[10..]);
    assert!(waiting.result().unwrap()[0].is_triggered_read());
    assert_eq!(party.client.get_bytes(9).unwrap(), b"something");
    assert_silent(&queue);
    block_in(&queue).still_blocks_until(|| queue.handle().wake()).unwrap();
}

#[test]
fn a_half_line_is_not_reported_again_and_again() {
    let _test = begin();
    let mut party = Party::plain().shaken();
    party.client.timeout(Duration::ZERO);
    let queue = queue();
    queue.subscribe_read(&party.client).unwrap();
    let records = party.records(Who::Server, &[b"first\nhel", b"l", b"o\n"]);
    for (index, record) in records.iter().enumerate() {
        party.middle.give(Who::Client, record);
        assert_only(&queue, &party.client, READ);
        if index == 0 {
            assert_eq!(party.client.get_line().unwrap().as_deref(), Some("first"));
            assert_only(&queue, &party.client, READ);
        }
        match party.client.get_line() {
            Ok(line) => assert_eq!((index, line.as_deref()), (2, Some("hello"))),
            result => assert_waits(&result),
        }
        party.client.clear_error();
        assert_silent(&queue);
        let waiting = block_in(&queue);
        waiting.still_blocks_until(|| queue.handle().wake()).unwrap();
    }
}

#[test]
fn a_queue_drives_handshakes() {
    let _test = begin();
    let mut party = Party::plain();
    let queue = queue();
    party.client.timeout(Duration::ZERO);
    party.server.timeout(Duration::ZERO);
    assert_waits(&party.client.start_tls(NAME, &client_config()));
    assert_waits(&party.server.start_tls_server(&server_config()));
    for socket in [&party.client, &party.server] {
        queue.subscribe(socket, READ | socket.wants(), socket.id()).unwrap();
    }
    let mut events = 0;
    let mut over = [false, false];
    while over != [true, true] {
        party.middle.pass();
        for event in queue.wait(PATIENCE).unwrap() {
            events += 1;
            let (socket, over) = match event.socket_id() == party.client.id() {
                true => (&mut party.client, &mut over[0]),
                false => (&mut party.server, &mut over[1]),
            };
            match socket.wait_tls() {
                Ok(()) => *over = true,
                result => assert_waits(&result),
            }
        }
    }
    assert!(events <= 8, "{events}");
    party.client.put_all(b"!").unwrap();
    party.middle.pass();
    assert_eq!(party.server.get_byte().unwrap(), Some(b'!'));
}

#[test]
fn a_handshake_whose_limit_is_over_is_reported() {
    let _test = begin();
    in_a_thread(|| {
        for index in 0..4 {
            let mut party = Party::plain();
            let begun = Instant::now();
            let limit = Duration::from_millis(50);
            party.server.timeout(Duration::ZERO).tls_limit(limit);
            let mut way = Way::all(&party.server).into_iter().nth(index).unwrap();
            // A slow machine may have used all of the limit up by now.
            let _ = party.server.start_tls_server(&server_config());
            // A part of a hello: something has come, and the handshake has to go on all the same.
            party.middle.give(Who::Server, &[22, 3, 1]);
            loop {
                assert_eq!(way.reported(&party.server, PATIENCE), READ, "{}", way.name());
                match party.server.wait_tls() {
                    Err(Error::HandshakeTimeout) => break,
                    result => assert_waits(&result),
                }
            }
            assert!(begun.elapsed() >= limit, "{}", way.name());
            assert_eq!(way.now(&party.server), READ, "{}: it is over for good", way.name());
        }
    });
}

#[test]
fn a_handshake_that_is_begun_while_a_thread_waits_is_reported_to_it_when_its_limit_is_over() {
    let _test = begin();
    let mut party = Party::plain();
    let queue = queue();
    queue.subscribe_read(&party.server).unwrap();
    let waiting = block_in(&queue);
    party
        .server
        .timeout(Duration::ZERO)
        .tls_limit(Duration::from_millis(50));
    let _ = party.server.start_tls_server(&server_config());
    assert_eq!(waiting.result().unwrap()[0].events(), READ);
    assert!(matches!(party.server.wait_tls(), Err(Error::HandshakeTimeout)));
}

#[test]
fn the_limit_of_a_handshake_that_was_over_in_time_is_not_reported() {
    let _test = begin();
    in_a_thread(|| {
        let mut limit = Duration::from_millis(50);
        loop {
            let mut party = Party::plain();
            let mut ways = Way::all(&party.server);
            party.client.timeout(Duration::ZERO);
            party.server.timeout(Duration::ZERO).tls_limit(limit);
            let mut results = [
                party.client.start_tls(NAME, &client_config()),
                party.server.start_tls_server(&server_config()),
            ];
            let ends = Instant::now() + limit;
            while results.iter().any(|result| matches!(result, Err(Error::Timeout))) {
                party.middle.pass();
                results = [party.client.wait_tls(), party.server.wait_tls()];
            }
            match results {
                [Ok(()), Ok(())] => {}
                // A slow machine takes longer for a handshake.
                [_, Err(Error::HandshakeTimeout)] => {
                    limit *= 2;
                    continue;
                }
                results => panic!("{results:?}"),
            }
            for way in &mut ways {
                let left = ends.saturating_duration_since(Instant::now());
                assert_eq!(way.reported(&party.server, left), NOTHING, "{}", way.name());
                assert_eq!(way.now(&party.server), NOTHING, "{}", way.name());
            }
            return;
        }
    });
}

#[test]
fn what_comes_behind_the_handshake_is_reported() {
    let _test = begin();
    in_a_thread(|| {
        for index in 0..4 {
            let mut party = Party::plain().begun();
            party.middle.pass();
            party.server.timeout(Duration::ZERO);
            assert_waits(&party.server.wait_tls());
            party.middle.pass();
            party.client.wait_tls().unwrap();
            party.client.put_all(b"some").unwrap();
            party.middle.pass();
            let mut way = Way::all(&party.server).into_iter().nth(index).unwrap();
            assert_eq!(way.now(&party.server), READ, "{}", way.name());
            party.server.wait_tls().unwrap();
            assert_eq!(way.now(&party.server), READ, "{}", way.name());
            assert_eq!(party.server.get_bytes(3).unwrap(), b"som");
            assert_eq!(way.now(&party.server), READ, "{}", way.name());
            assert_eq!(party.server.get_bytes(3).unwrap(), b"e");
            assert_eq!(way.now(&party.server), NOTHING, "{}", way.name());
        }
    });
}

#[test]
fn room_for_what_is_unsent_is_what_a_socket_wants() {
    let _test = begin();
    let (mut client, mut server) = unix_pair();
    let queue = queue();
    client.timeout(Duration::ZERO);
    assert_waits(&client.get_byte());
    assert_eq!(client.wants(), NOTHING);
    let data = pattern(8 << 20);
    let mut taken = 0;
    while let Ok(count) = client.put(&data[taken..]) {
        taken += count;
    }
    assert_eq!(client.wants(), WRITE);
    queue.subscribe(&client, READ | client.wants(), client.id()).unwrap();
    let mut got = Vec::new();
    let mut events = 0;
    while client.unsent() > 0 {
        // Silent, until there is room.
        let waiting = block_in(&queue);
        while !waiting.is_finished() {
            server.timeout(Duration::from_millis(1));
            match server.get_bytes(1000) {
                Ok(bytes) => got.extend(bytes),
                // All was taken before the thread that waits has come to say so.
                Err(error) => assert!(matches!(error, Error::Timeout), "{error}"),
            }
        }
        assert_eq!(waiting.result().unwrap()[0].events(), WRITE);
        events += 1;
        if let Err(error) = client.flush() {
            assert!(matches!(error, Error::Timeout), "{error}");
            assert_silent(&queue);
        }
    }
    assert!(events < 1000, "{events}");
    assert_eq!(client.wants(), NOTHING);
    queue.disable_write(&client).unwrap();
    assert_silent(&queue);
    server.timeout(PATIENCE);
    got.extend(server.get_all_bytes(taken - got.len()).unwrap());
    assert!(got == data[..taken]);
}

#[test]
fn threads_that_share_a_queue_take_all_of_many_connections() {
    const CONNECTIONS: usize = 8;
    const THREADS: usize = 4;
    let _test = begin();
    let lines = lines(300);
    let all = lines.concat();
    let queue: Arc<SocketEventQueue<usize>> = Arc::new(SocketEventQueue::new().unwrap());
    let mut clients = Vec::new();
    let mut servers = Vec::new();
    for index in 0..CONNECTIONS {
        let (mut client, server) = unix_pair();
        client.timeout(Duration::ZERO);
        queue.subscribe(&client, READ, index).unwrap();
        clients.push(Mutex::new((client, Vec::new())));
        servers.push(server);
    }
    let clients = Arc::new(clients);
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let (queue, clients, len) = (Arc::clone(&queue), Arc::clone(&clients), all.len());
            block(move || {
                let mut early = 0;
                loop {
                    let events = match number % 2 {
                        0 => queue.wait_at_most(1, PATIENCE),
                        _ => queue.wait(PATIENCE),
                    };
                    let Ok(events) = events else {
                        return early;
                    };
                    assert!(!events.is_empty(), "one was missed");
                    for event in events {
                        let (client, got) = &mut *clients[*event.token()].lock().unwrap();
                        match client.get_bytes(100) {
                            Ok(bytes) => got.extend(bytes),
                            Err(Error::Timeout) => early += 1,
                            Err(error) => panic!("{error}"),
                        }
                    }
                    let is_over = |client: &Mutex<(TcpSocket, Vec<u8>)>| client.lock().unwrap().1.len() == len;
                    if clients.iter().all(is_over) {
                        queue.handle().close();
                    }
                }
            })
        })
        .collect();
    // Records one by one, and many at once.
    let sending: Vec<_> = servers
        .into_iter()
        .enumerate()
        .map(|(index, mut server)| {
            let lines = lines.clone();
            block(move || {
                for lines in lines.chunks(1 + index * 13) {
                    for line in lines {
                        server.put_all(line.as_bytes()).unwrap();
                    }
                    thread::yield_now();
                }
                server
            })
        })
        .collect();
    let servers: Vec<_> = sending.into_iter().map(|thread| thread.result()).collect();
    for thread in threads {
        let early = thread.result();
        assert!(early < 2_000, "{early}");
    }
    for client in clients.iter() {
        assert!(client.lock().unwrap().1 == all.as_bytes());
    }
    drop(servers);
}

#[test]
fn what_came_in_one_segment_with_the_end_of_the_handshake_is_read_without_another() {
    let _test = begin();
    let mut party = Party::plain();
    // A socket that has mostly found nothing before it waited waits first.
    party.server.timeout(Duration::from_millis(1));
    for _ in 0..12 {
        assert_waits(&party.server.get_byte());
    }
    let mut party = party.begun();
    party.middle.pass();
    party.server.timeout(Duration::ZERO);
    assert_waits(&party.server.wait_tls());
    party.middle.pass();
    party.client.wait_tls().unwrap();
    // More than one recv(2) takes.
    let data = pattern(28_000);
    party.client.put_all(&data).unwrap();
    let segment = party.middle.taken(Who::Client);
    let (mut server, mut middle) = (party.server, party.middle);
    server.timeout(PATIENCE);
    let shaking = block(move || {
        server.wait_tls().unwrap();
        server
    });
    let shaking = shaking.until_blocked();
    middle.give(Who::Server, &segment);
    let mut server = shaking.result();
    server.blocking();
    let got = block(move || server.get_all_bytes(28_000)).result();
    assert!(got.unwrap() == data);
}

#[test]
fn a_truncation_is_reported() {
    let _test = begin();
    in_a_thread(|| {
        for index in 0..4 {
            let mut party = Party::plain().shaken();
            let mut way = Way::all(&party.client).into_iter().nth(index).unwrap();
            let record = party.records(Who::Server, &[b"000001\n"]).concat();
            party.middle.give(Who::Client, &record);
            party.middle.give(Who::Client, &record[..record.len() - 1]);
            party.middle.give_end(Who::Client);
            party.client.timeout(Duration::ZERO);
            let (got, end, early) = read_while_reported(&mut way, &mut party.client, READS[0].1);
            assert_eq!((&got[..], early), (&b"000001\n"[..], 0), "{}", way.name());
            assert!(matches!(end, Some(Error::Truncated)), "{}: {end:?}", way.name());
        }
    });
}

#[test]
fn what_the_end_of_the_handshake_has_left_to_the_system_is_read_by_who_has_looked_in_vain_before() {
    let _test = begin();
    let mut party = Party::plain().begun();
    // Reads that go on with the handshake, and find nothing, until they wait first.
    party.server.timeout(Duration::from_millis(1));
    for _ in 0..12 {
        assert_waits(&party.server.get_byte());
    }
    party.middle.pass();
    party.server.timeout(Duration::ZERO);
    assert_waits(&party.server.wait_tls());
    party.middle.pass();
    party.client.wait_tls().unwrap();
    // More than one recv(2) takes.
    let data = pattern(28_000);
    party.client.put_all(&data).unwrap();
    let segment = party.middle.taken(Who::Client);
    let mut middle = party.middle;
    let mut server = party.server;
    server.blocking();
    let shaking = block(move || {
        server.wait_tls().unwrap();
        server
    });
    let shaking = shaking.until_blocked();
    middle.give(Who::Server, &segment);
    let mut server = shaking.result();
    let got = block(move || server.get_all_bytes(28_000)).result();
    assert!(got.unwrap() == data);
}

#[test]
fn what_a_reader_has_left_is_reported_though_the_other_half_waits() {
    let _test = begin();
    let (socket, mut peer) = unix_pair();
    let (mut reader, mut writer) = socket.split();
    let queue = queue();
    queue.subscribe_read(&reader).unwrap();
    peer.put_all(b"some").unwrap();
    assert_eq!(reader.get_byte().unwrap(), Some(b's'));
    writer.wait_write().unwrap();
    assert_only(&queue, reader.as_tcp_socket(), READ);
    assert_eq!(reader.get_bytes(10).unwrap(), b"ome");
    assert_silent(&queue);
}
