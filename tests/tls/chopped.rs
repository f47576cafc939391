//! What comes in pieces, whatever the pieces are: every byte, once and in order.

use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof};
use proptest::test_runner::{RngAlgorithm, TestCaseError, TestRunner};
use wakesock::rustls::ClientConfig;
use wakesock::rustls::version::{TLS12, TLS13};
use wakesock::{Error, TcpSocket, WaitEvents};

use crate::bad_input::client_of;
use crate::ends::pair;
use crate::middle::{Party, Who};
use crate::reads::model::{Peer, check};
use crate::reads::{Act, Case, Ending, MAX_LINE, Piece};
use crate::support::certificates::{NAME, server_config};
use crate::support::{Blocked, PATIENCE, Random, Stream, begin, block, pattern};

/// Passes on what comes at either end in random pieces, and lets others run in between, until both streams have ended.
fn chop(mut ends: [Stream; 2], seed: u64) -> Blocked<()> {
    block(move || {
        let mut random = Random::new(seed);
        let mut held = [Vec::new(), Vec::new()];
        let mut has_ended = [false; 2];
        let mut is_told = [false; 2];
        while is_told != [true; 2] {
            for from in 0..2 {
                // Few bytes at a time, or many; and now and then none at all.
                let most = [1, 3, 17, 300, 5_000, 40_000][random.below(6)];
                if random.below(4) > 0 && !has_ended[from] && held[from].len() < 100_000 {
                    let mut room = vec![0; most];
                    match ends[from].read(&mut room) {
                        Ok(0) => has_ended[from] = true,
                        Ok(count) => held[from].extend(&room[..count]),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        Err(_) => has_ended[from] = true,
                    }
                }
                let count = held[from].len().min(most);
                if random.below(4) > 0 && count > 0 {
                    match ends[1 - from].write(&held[from][..count]) {
                        Ok(count) => drop(held[from].drain(..count)),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        // It doesn't want any more.
                        Err(_) => held[from].clear(),
                    }
                }
                if has_ended[from] && held[from].is_empty() && !is_told[from] {
                    is_told[from] = true;
                    let _ = ends[1 - from].shutdown(Shutdown::Write);
                }
            }
            for _ in 0..random.below(3) {
                thread::yield_now();
            }
        }
    })
}

/// Both versions have their turns.
fn config(seed: u64) -> Arc<ClientConfig> {
    client_of([&TLS13, &TLS12][seed as usize / 3 % 2])
}

fn ends(party: Party) -> (TcpSocket, TcpSocket, [Stream; 2]) {
    let Party { client, server, middle } = party;
    (client, server, middle.into_streams())
}

/// The limits of one end's operations: `None` for those that have to end by themselves.
const LIMITS: [Option<Duration>; 3] = [Some(Duration::ZERO), Some(Duration::from_millis(1)), Some(PATIENCE)];

/// Reads something, in one of many ways.
fn read_some(socket: &mut TcpSocket, random: &mut Random) -> Result<Vec<u8>, Error> {
    let len = [1, 2, 100, 5_000, 16_383, 16_384, 16_385, 70_000][random.below(8)];
    match random.below(6) {
        0 => socket.get_bytes(len),
        1 => {
            let mut buf = vec![0; len];
            let count = socket.get(&mut buf)?;
            buf.truncate(count);
            Ok(buf)
        }
        2 => Ok(socket.get_byte()?.into_iter().collect()),
        3 => {
            let mut buf = vec![0; len];
            let read = socket.read(&mut buf);
            buf.truncate(*read.as_ref().unwrap_or(&0));
            read.map(|_| buf).map_err(crate::support::every::inner)
        }
        4 => {
            let bytes = socket.fill_buf().map_err(crate::support::every::inner)?;
            let bytes = bytes[..bytes.len().min(len)].to_vec();
            socket.consume(bytes.len());
            Ok(bytes)
        }
        _ => {
            socket.wait(WaitEvents::READ)?;
            socket.get_bytes(1)
        }
    }
}

/// Puts some of `data`, in one of many ways. How much was taken.
fn put_some(socket: &mut TcpSocket, data: &[u8], random: &mut Random) -> usize {
    let len = [0, 1, 100, 5_000, 16_384, 16_385, 65_536, 65_537, 200_000][random.below(9)].min(data.len());
    let part = &data[..len];
    let result = match random.below(4) {
        0 => socket.put_all(part),
        1 => {
            let (one, other) = part.split_at(part.len() / 3);
            let slices = [io::IoSlice::new(one), io::IoSlice::new(&[]), io::IoSlice::new(other)];
            socket
                .write_vectored(&slices)
                .map(drop)
                .map_err(crate::support::every::inner)
        }
        2 => socket.write(part).map(drop).map_err(crate::support::every::inner),
        _ => socket.put(part).map(drop),
    };
    match result {
        Ok(()) => {}
        Err(Error::Timeout) => socket.clear_error(),
        Err(error) => panic!("{error}"),
    }
    socket.done()
}

/// One thread reads and writes in turn; neither waits for the other. Whether all came.
fn exchange(mut socket: TcpSocket, data: &[u8], seed: u64) {
    let mut random = Random::new(seed);
    let (mut put, mut got) = (0, Vec::new());
    let mut turns = 0_u64;
    while put < data.len() || got.len() < data.len() || socket.unsent() > 0 {
        // Limits that are never over would wait for each other.
        socket.timeout(LIMITS[random.below(2)]);
        if put < data.len() && random.below(2) == 0 {
            put += put_some(&mut socket, &data[put..], &mut random);
        } else {
            match read_some(&mut socket, &mut random) {
                Ok(bytes) => got.extend(bytes),
                Err(Error::Timeout) => {
                    let _ = socket.flush();
                    thread::yield_now();
                }
                Err(error) => panic!("{error}, after {} bytes", got.len()),
            }
        }
        turns += 1;
        assert!(turns < 10_000_000, "stuck");
    }
    assert!(got == data);
    socket.shutdown().unwrap();
    socket.timeout(PATIENCE);
    assert_eq!(socket.get_byte().unwrap(), None);
}

#[test]
fn whatever_the_pieces_all_comes_once_and_in_order_both_ways() {
    let _test = begin();
    for seed in 0..12 {
        let data = pattern(300_000);
        let (mut client, mut server, middle) = ends(Party::plain());
        let chopping = chop(middle, seed);
        let limits = [LIMITS[seed as usize % 3], LIMITS[seed as usize / 3 % 3]];
        let serving_data = data.clone();
        let serving = block(move || {
            server.timeout(limits[0]);
            shake(server.start_tls_server(&server_config()), &mut server);
            exchange(server, &serving_data, seed * 2 + 1);
        });
        client.timeout(limits[1]);
        shake(client.start_tls(NAME, &config(seed)), &mut client);
        exchange(client, &data, seed * 2);
        serving.result();
        chopping.result();
    }
}

fn shake(mut result: Result<(), Error>, socket: &mut TcpSocket) {
    while let Err(error) = result {
        assert!(matches!(error, Error::Timeout), "{error}");
        thread::yield_now();
        result = socket.wait_tls();
    }
}

#[test]
fn whatever_the_pieces_all_comes_to_two_threads_at_each_end() {
    let _test = begin();
    for seed in 0..6 {
        let data = pattern(400_000);
        let (client, server, middle) = ends(Party::plain().begun_by(&config(seed)));
        let chopping = chop(middle, 100 + seed);
        // The handshake is finished by whichever half comes first.
        let threads: Vec<_> = [client, server]
            .into_iter()
            .enumerate()
            .flat_map(|(number, socket)| {
                let (mut reader, mut writer) = socket.split();
                let (written, read) = (data.clone(), data.clone());
                let mut random = Random::new(seed * 2 + number as u64);
                writer.timeout(LIMITS[(seed as usize + number) % 3]);
                reader.timeout(LIMITS[seed as usize / 2 % 3]);
                let writing = block(move || {
                    let mut put = 0;
                    while put < written.len() {
                        let end = written.len().min(put + 1 + random.below(90_000));
                        match writer.put(&written[put..end]) {
                            Ok(count) => put += count,
                            Err(Error::Timeout) => thread::yield_now(),
                            Err(error) => panic!("{error}"),
                        }
                    }
                    // What is unsent is sent by the reader, until the peer has ended its stream.
                    writer.shutdown().unwrap();
                    writer
                });
                let reading = block(move || {
                    let mut got = Vec::new();
                    loop {
                        match reader.get_bytes(50_000) {
                            Ok(bytes) if bytes.is_empty() => break,
                            Ok(bytes) => got.extend(bytes),
                            Err(Error::Timeout) => thread::yield_now(),
                            Err(error) => panic!("{error}"),
                        }
                    }
                    assert!(got == read, "{}", got.len());
                    reader
                });
                [block(move || {
                    let _reader = reading.result();
                    writing.result().timeout(PATIENCE).flush().unwrap();
                })]
            })
            .collect();
        for thread in threads {
            thread.result();
        }
        chopping.result();
    }
}

// Any mix of reads, of what comes through TLS.

/// The end of a connection under TLS that is driven between the reads.
struct TlsPeer(TcpSocket);

impl Write for TlsPeer {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self.0.put(data) {
            Ok(count) => Ok(count),
            Err(_) => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Peer for TlsPeer {
    // It is over TCP, whose buffers hold more than a case sends.
    const LAGS: bool = true;

    fn finish(&self) {
        self.0.shutdown().unwrap();
    }

    fn reset(self) {
        drop(self.0);
    }
}

fn act() -> impl Strategy<Value = Act> {
    let len = || {
        prop_oneof![
            4 => 0..200_usize,
            2 => 8_190..8_195_usize,
            2 => 16_380..16_390_usize,
            1 => 10_000..40_000_usize,
            1 => MAX_LINE - 1..MAX_LINE + 4,
            1 => Just(usize::MAX),
        ]
    };
    let buffer = move || len().prop_map(|len| len.min(150_000));
    prop_oneof![
        10 => len().prop_map(Act::Send),
        4 => any::<bool>().prop_map(Act::SendLine),
        2 => Just(Act::SplitOrJoin),
        2 => buffer().prop_map(Act::Get),
        2 => len().prop_map(Act::GetBytes),
        2 => Just(Act::GetByte),
        1 => Just(Act::Peek),
        2 => buffer().prop_map(Act::GetAll),
        2 => len().prop_map(Act::GetAllBytes),
        3 => Just(Act::GetLine),
        2 => len().prop_map(Act::GetLineBytes),
        2 => (0..3_usize).prop_map(Act::GetLineNear),
        2 => buffer().prop_map(Act::Read),
        2 => len().prop_map(Act::FillBufAndConsume),
        2 => any::<u8>().prop_map(Act::ReadUntil),
        1 => any::<u8>().prop_map(Act::SkipUntil),
        2 => Just(Act::ReadLine),
        2 => buffer().prop_map(Act::ReadExact),
        1 => Just(Act::ReadToEnd),
        1 => Just(Act::ReadToString),
        2 => len().prop_map(Act::PeekAll),
        2 => len().prop_map(Act::Unread),
        1 => Just(Act::WaitRead),
        1 => Just(Act::WaitRequest),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let piece = prop_oneof![
        3 => Just((b"\n".to_vec(), 1)),
        2 => Just((b"\r\n".to_vec(), 1)),
        1 => Just((b"\xff".to_vec(), 1)),
        3 => vec(any::<u8>(), 0..60).prop_map(|bytes| (bytes, 1)),
        2 => (1..40_000_usize).prop_map(|times| (b"x".to_vec(), times)),
        1 => (MAX_LINE - 2..MAX_LINE + 3).prop_map(|times| (b"l".to_vec(), times)),
    ];
    let piece = piece.prop_map(|(bytes, times)| Piece { bytes, times });
    let limit = prop_oneof![3 => Just(0), 1 => 1..200_u64];
    (vec(piece, 1..12), vec((limit, act()), 1..60)).prop_map(|(stream, acts)| Case {
        stream,
        ending: Ending::EndOfFile,
        acts,
    })
}

#[test]
fn any_mix_of_reads_gives_the_stream() {
    let config = ProptestConfig {
        cases: 60,
        failure_persistence: None,
        max_shrink_time: 30_000,
        rng_algorithm: RngAlgorithm::XorShift,
        ..ProptestConfig::default()
    };
    let result = TestRunner::new(config).run(&case(), |case| {
        let _test = begin();
        let (socket, mut peer) = pair();
        peer.timeout(Duration::ZERO);
        check((socket, TlsPeer(peer)), &case).map_err(TestCaseError::fail)
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn one_byte_at_a_time_is_enough() {
    let _test = begin();
    let mut party = Party::plain().begun();
    for socket in [&mut party.client, &mut party.server] {
        socket.timeout(Duration::ZERO);
    }
    let mut results = [Err(Error::Timeout), Err(Error::Timeout)];
    while results.iter().any(Result::is_err) {
        for who in [Who::Client, Who::Server] {
            for byte in party.middle.taken(who.other()) {
                party.middle.give(who, &[byte]);
                results[usize::from(who == Who::Server)] = party.end(who).wait_tls();
            }
        }
    }
    party.server.put_all(&pattern(20_000)).unwrap();
    let mut got = Vec::new();
    for byte in party.middle.taken(Who::Server) {
        party.middle.give(Who::Client, &[byte]);
        match party.client.get_bytes(1_000) {
            Ok(bytes) => got.extend(bytes),
            result => crate::middle::assert_waits(&result),
        }
    }
    got.extend(party.client.get_bytes(30_000).unwrap_or_default());
    assert!(got == pattern(20_000));
}
