//! Two WebSockets that are cut short all the time, and whose bytes come in any pieces: every message, once and in order.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_oneof};
use proptest::test_runner::{RngAlgorithm, TestRunner};
use socket2::SockRef;
use wakesock::{Error, Message, Role, SocketEventQueue, TcpSocket, Upgrade, WebSocket};

use crate::opening::read_head;
use crate::support::queues::queue;
use crate::support::{PATIENCE, begin, server, stream_pair};

#[derive(Clone, Debug)]
enum Act {
    /// A message, or the rest of one that was begun.
    Send(usize),
    /// A fragment: the first, or another.
    Fragment(usize),
    Ping(u8),
    Receive,
    Wait,
    Flush,
    /// Both directions are aborted, and nothing comes of that.
    Abort,
    /// What is on its way to this end comes, but no more bytes than this.
    Pass(usize),
}

/// At one of the two ends, within so many milliseconds.
type Step = (bool, u8, Act);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let length = || prop_oneof![4 => 0..200_usize, 1 => 0..40_000_usize];
    let pieces = prop_oneof![4 => 1..10_usize, 2 => 1..2_000_usize, 1 => 1..100_000_usize];
    let act = prop_oneof![
        4 => length().prop_map(Act::Send),
        2 => length().prop_map(Act::Fragment),
        1 => any::<u8>().prop_map(Act::Ping),
        4 => (0..1).prop_map(|_| Act::Receive),
        1 => (0..1).prop_map(|_| Act::Wait),
        1 => (0..1).prop_map(|_| Act::Flush),
        1 => (0..1).prop_map(|_| Act::Abort),
        8 => pieces.prop_map(Act::Pass),
    ];
    let limit = prop_oneof![3 => 0..1_u8, 1 => 0..4_u8];
    vec((any::<bool>(), limit, act), 1..60)
}

trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

/// One of the two, and what is between it and the other.
struct End {
    socket: WebSocket,
    queue: Arc<SocketEventQueue>,
    /// The other end of its connection, which doesn't block.
    middle: Box<dyn Stream>,
    /// What has come from there.
    held: VecDeque<u8>,
    /// What it has begun to send in fragments.
    begun: Option<Message>,
    /// What was taken, and has not come at the other end.
    taken: VecDeque<Message>,
}

impl End {
    fn new(mut socket: WebSocket, middle: Box<dyn Stream>) -> End {
        // So that sending is cut short.
        SockRef::from(socket.socket()).set_send_buffer_size(4096).unwrap();
        socket.timeout(Duration::ZERO);
        let queue = queue();
        queue.subscribe_read(&socket).unwrap();
        End {
            socket,
            queue,
            middle,
            held: VecDeque::new(),
            begun: None,
            taken: VecDeque::new(),
        }
    }

    fn send(&mut self, length: usize, number: usize, is_last: bool) -> Result<(), Error> {
        // Of every other one there is much to compress.
        let bytes: Vec<u8> = match number % 2 {
            0 => (0..length).map(|at| b'a' + (at / 50 % 20) as u8).collect(),
            _ => (0..length)
                .map(|at| ((at * at / 8) ^ (number * 41)) as u8 & 0x7f)
                .collect(),
        };
        let is_text = number.is_multiple_of(3);
        let whole = |bytes: &[u8], is_text: bool| match is_text {
            true => Message::from(String::from_utf8(bytes.to_vec()).unwrap()),
            false => Message::from(bytes),
        };
        match self.begun.take() {
            None if is_last => {
                let message = whole(&bytes, is_text);
                self.socket.send(message.clone())?;
                self.taken.push_back(message);
            }
            None => {
                match is_text {
                    true => self.socket.begin_text(&bytes)?,
                    false => self.socket.begin_binary(&bytes)?,
                }
                self.begun = Some(whole(&bytes, is_text));
            }
            Some(begun) => {
                let sent = match is_last {
                    true => self.socket.finish(&bytes),
                    false => self.socket.append(&bytes),
                };
                let is_text = begun.as_text().is_some();
                let longer = whole(&[begun.as_bytes(), &bytes].concat(), is_text);
                match (&sent, is_last) {
                    (Err(_), _) => self.begun = Some(begun),
                    (Ok(()), true) => self.taken.push_back(longer),
                    (Ok(()), false) => self.begun = Some(longer),
                }
                return sent;
            }
        }
        Ok(())
    }

    /// Takes what has come for the other from the middle, as far as there is something.
    fn hold(&mut self) {
        let mut room = [0; 4096];
        loop {
            match self.middle.read(&mut room) {
                Ok(0) => panic!("nobody has closed"),
                Ok(count) => self.held.extend(&room[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Passes on what is on its way from one to the other, but no more than this. How much that was.
fn pass(from: &mut End, to: &mut End, most: usize) -> usize {
    from.hold();
    let bytes: Vec<u8> = from.held.iter().copied().take(most).collect();
    match to.middle.write(&bytes) {
        Ok(count) => from.held.drain(..count).count(),
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        Err(error) => panic!("{error}"),
    }
}

/// One of the two, and the other.
fn one_and_other([first, second]: &mut [End; 2], is_first: bool) -> (&mut End, &mut End) {
    if is_first { (first, second) } else { (second, first) }
}

/// Receives what `from` has sent.
fn receive(to: &mut End, from: &mut End) -> Result<(), Error> {
    let message = to.socket.receive()?;
    let expected = from.taken.pop_front();
    assert!(message == expected, "{message:?} instead of {expected:?}");
    Ok(())
}

fn check(mut ends: [End; 2], steps: &[Step]) {
    for (number, (which, limit, act)) in steps.iter().enumerate() {
        let (one, other) = one_and_other(&mut ends, *which);
        one.socket.timeout(Duration::from_millis((*limit).into()));
        let result = match act {
            Act::Send(length) => one.send(*length, number, true),
            Act::Fragment(length) => one.send(*length, number, false),
            Act::Ping(byte) => one.socket.ping(&[*byte]),
            Act::Receive => receive(one, other),
            Act::Wait => one.socket.wait_message().map(|is_there| assert!(is_there)),
            Act::Flush => one.socket.flush(),
            Act::Abort => {
                one.socket.abort();
                assert!(matches!(one.socket.receive(), Err(Error::Aborted)));
                assert!(matches!(one.socket.ping(b"!"), Err(Error::Aborted)));
                one.socket.clear_abort();
                Ok(())
            }
            Act::Pass(most) => {
                pass(other, one, *most);
                Ok(())
            }
        };
        match result {
            Ok(()) | Err(Error::Timeout) => {}
            Err(error) => panic!("{act:?}: {error}"),
        }
    }
    drain(&mut ends);
}

/// All that was taken comes, as queues report it.
fn drain(ends: &mut [End; 2]) {
    let begin = Instant::now();
    for end in &mut *ends {
        end.socket.timeout(Duration::ZERO);
    }
    loop {
        for is_first in [true, false] {
            let (one, other) = one_and_other(ends, is_first);
            if one.begun.is_some() {
                match one.send(10, 0, true) {
                    Ok(()) | Err(Error::Timeout) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            match one.socket.flush() {
                Ok(()) | Err(Error::Timeout) => {}
                Err(error) => panic!("{error}"),
            }
            pass(one, other, usize::MAX);
            if !other.queue.wait(Duration::ZERO).unwrap().is_empty() {
                match receive(other, one) {
                    Ok(()) | Err(Error::Timeout) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
        let is_done = |end: &End| end.taken.is_empty() && end.begun.is_none();
        if ends.iter().all(is_done) {
            return;
        }
        let left = ends.each_ref().map(|end| end.taken.len());
        assert!(begin.elapsed() < PATIENCE, "{left:?} messages don't come");
    }
}

fn plain() -> [End; 2] {
    [Role::Client, Role::Server].map(|role| {
        let (own, middle) = stream_pair().unwrap();
        middle.set_nonblocking(true).unwrap();
        End::new(WebSocket::from_upgraded(TcpSocket::from(own), role), Box::new(middle))
    })
}

/// They have shaken hands through the middle, and agreed to compress if they can.
fn compressing() -> [End; 2] {
    let (listener, addr) = server();
    let connecting = thread::spawn(move || {
        let mut socket = WebSocket::new();
        #[cfg(feature = "websocket-deflate")]
        socket.deflate(true);
        socket.connect(&format!("ws://{addr}/")).map(|()| socket)
    });
    let (mut to_client, _) = listener.accept().unwrap();
    to_client.set_nodelay(true).unwrap();
    let (own, mut to_server) = stream_pair().unwrap();
    let request = read_head(&mut to_client);
    to_server.write_all(request.as_bytes()).unwrap();
    #[cfg_attr(not(feature = "websocket-deflate"), allow(unused_mut))]
    let mut upgrade = Upgrade::read(TcpSocket::from(own)).unwrap();
    #[cfg(feature = "websocket-deflate")]
    upgrade.deflate(true);
    let server = upgrade.accept().unwrap();
    let answer = read_head(&mut to_server);
    to_client.write_all(answer.as_bytes()).unwrap();
    let client = connecting.join().unwrap().unwrap();
    to_client.set_nonblocking(true).unwrap();
    to_server.set_nonblocking(true).unwrap();
    [
        End::new(client, Box::new(to_client)),
        End::new(server, Box::new(to_server)),
    ]
}

/// They are under TLS.
#[cfg(all(feature = "tls-ring", any(target_os = "linux", target_env = "gnu")))]
fn secure() -> [End; 2] {
    use crate::support::certificates::{NAME, client_config, server_config};
    type Begin = fn(&mut TcpSocket) -> Result<(), Error>;
    let begins: [Begin; 2] = [
        |socket| socket.start_tls(NAME, &client_config()),
        |socket| socket.start_tls_server(&server_config()),
    ];
    let begun = begins.map(|begin| {
        let (own, middle) = stream_pair().unwrap();
        middle.set_nonblocking(true).unwrap();
        let shaking = thread::spawn(move || {
            let mut socket = TcpSocket::from(own);
            socket.timeout(PATIENCE);
            begin(&mut socket).map(|()| socket)
        });
        (shaking, middle)
    });
    // What is said in it fits into the buffers.
    let mut room = [0; 20_000];
    while !begun.iter().all(|(shaking, _)| shaking.is_finished()) {
        for (from, to) in [(0, 1), (1, 0)] {
            if let Ok(count) = (&begun[from].1).read(&mut room) {
                (&begun[to].1).write_all(&room[..count]).unwrap();
            }
        }
        thread::yield_now();
    }
    let mut roles = [Role::Client, Role::Server].into_iter();
    begun.map(|(shaking, middle)| {
        let socket = shaking.join().unwrap().unwrap();
        let role = roles.next().expect("one for each");
        End::new(WebSocket::from_upgraded(socket, role), Box::new(middle))
    })
}

fn check_all(ends: fn() -> [End; 2]) {
    let config = ProptestConfig {
        cases: 64,
        // What fails is printed; nothing is written.
        failure_persistence: None,
        max_shrink_time: 30_000,
        // Several times as fast as the default one, where nothing is optimised.
        rng_algorithm: RngAlgorithm::XorShift,
        ..ProptestConfig::default()
    };
    let result = TestRunner::new(config).run(&steps(), |steps| {
        // Each case for itself, so that there may be many of them.
        let _test = begin();
        check(ends(), &steps);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn whatever_is_cut_short_and_in_whatever_pieces_it_comes_every_message_comes_once() {
    check_all(plain);
}

#[test]
fn so_does_every_message_that_is_compressed() {
    check_all(compressing);
}

#[cfg(all(feature = "tls-ring", any(target_os = "linux", target_env = "gnu")))]
#[test]
fn so_does_every_message_under_tls() {
    check_all(secure);
}

/// Several messages come in one segment, or byte by byte: a queue reports each, and a limit between any two loses none.
#[test]
fn messages_of_all_pieces_are_reported_to_either_end() {
    let all = [
        plain,
        compressing,
        #[cfg(all(feature = "tls-ring", any(target_os = "linux", target_env = "gnu")))]
        secure,
    ];
    for ends in all {
        for piece in [1, 2, 3, 7, usize::MAX] {
            let _test = begin();
            let mut ends = ends();
            for which in [0, 1] {
                for number in 0..6 {
                    ends[which].send(number * 7, number, true).unwrap();
                }
            }
            for is_first in [true, false] {
                let (one, other) = one_and_other(&mut ends, is_first);
                while pass(one, other, piece) > 0 {
                    for limit in 0..3 {
                        other.socket.timeout(Duration::from_millis(limit % 3 / 2));
                        if other.queue.wait(Duration::ZERO).unwrap().is_empty() {
                            break;
                        }
                        match receive(other, one) {
                            Ok(()) | Err(Error::Timeout) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            }
            drain(&mut ends);
        }
    }
}
