//! What a wait has reported it does not report again: the next operation has to know, however this one ends.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use wakesock::{
    Error, MioWait, RawWait, ShutdownRegistry, SocketHandle, TcpSocket, WaitEvents, WaitSource, Waiter, Wake,
};

use crate::support::full::MUCH;
use crate::support::scripted::{Plug, Scripted, Step};
use crate::support::{PATIENCE, begin, block, code, pair, pair_of, send_urgent, unopened_in};

/// Reads all that was sent, so that the socket knows there is nothing left.
fn drain(socket: &mut TcpSocket, peer: &mut impl Write) {
    peer.write_all(b"x").unwrap();
    assert_eq!(socket.get_byte().unwrap(), Some(b'x'));
}

#[test]
fn what_was_waited_for_can_be_read() {
    let _test = begin();
    for events in [WaitEvents::READ, WaitEvents::ALL, WaitEvents::READ | WaitEvents::WRITE] {
        let (mut socket, mut peer) = pair();
        socket.timeout(PATIENCE);
        drain(&mut socket, &mut peer);
        peer.write_all(b"abc").unwrap();
        while !socket.wait(events).unwrap().contains(WaitEvents::READ) {}
        assert_eq!(socket.get_bytes(3).unwrap(), b"abc", "{events:?}");
        drop(peer);
        while !socket.wait(events).unwrap().contains(WaitEvents::READ) {}
        assert_eq!(socket.get_bytes(3).unwrap(), b"", "{events:?}");
    }
}

#[test]
fn an_end_of_file_that_came_with_data_is_found_after_any_wait() {
    let _test = begin();
    for _ in 0..50 {
        let (mut socket, mut peer) = pair();
        socket.timeout(PATIENCE);
        drain(&mut socket, &mut peer);
        peer.write_all(b"abc").unwrap();
        drop(peer);
        socket.wait_read().unwrap();
        assert_eq!(socket.get_byte().unwrap(), Some(b'a'));
        assert_eq!(socket.get_bytes(10).unwrap(), b"bc");
        assert_eq!(socket.get_bytes(10).unwrap(), b"");
    }
}

#[test]
fn data_behind_an_urgent_byte_is_found_after_any_wait() {
    let _test = begin();
    for _ in 0..50 {
        let (mut socket, mut peer) = pair();
        socket.timeout(PATIENCE);
        drain(&mut socket, &mut peer);
        peer.write_all(b"abc").unwrap();
        send_urgent(&peer, b'!');
        peer.write_all(b"def").unwrap();
        socket.wait_read().unwrap();
        assert_eq!(socket.get_all_bytes(6).unwrap(), b"abcdef");
    }
}

#[test]
fn data_that_came_with_an_abort_is_found_afterwards() {
    let _test = begin();
    for turn in 0..300 {
        let (mut socket, mut peer) = pair();
        drain(&mut socket, &mut peer);
        let handle = socket.handle();
        let reader = block(move || {
            let result = socket.get_byte();
            (socket, result)
        })
        .until_blocked();
        let aborter = thread::spawn(move || handle.abort());
        peer.write_all(b"a").unwrap();
        drop(peer);
        let (mut socket, result) = reader.result();
        aborter.join().unwrap();
        socket.clear_abort();
        socket.timeout(PATIENCE);
        match result {
            Ok(byte) => assert_eq!(byte, Some(b'a')),
            Err(Error::Aborted) => {
                assert_eq!(socket.get_byte().unwrap(), Some(b'a'), "turn {turn}")
            }
            Err(error) => panic!("{error}"),
        }
        assert_eq!(socket.get_byte().unwrap(), None, "turn {turn}");
    }
}

/// Waits as `MioWait` does, but aborts the socket before that, if it has one to abort: so that what has come is reported
/// together with the wake.
#[derive(Debug, Default)]
struct Aborting(Arc<Mutex<Option<SocketHandle>>>);

struct AbortingWaiter(Box<dyn Waiter>, Arc<Mutex<Option<SocketHandle>>>);

impl RawWait for Aborting {
    fn waiter(&self, socket: WaitSource<'_>, events: WaitEvents) -> io::Result<Box<dyn Waiter>> {
        let waiter = MioWait::default().waiter(socket, events)?;
        Ok(Box::new(AbortingWaiter(waiter, Arc::clone(&self.0))))
    }
}

impl Waiter for AbortingWaiter {
    fn wait(&mut self, events: WaitEvents, timeout: Option<Duration>) -> io::Result<WaitEvents> {
        if let Some(socket) = self.1.lock().unwrap().take() {
            socket.abort();
        }
        self.0.wait(events, timeout)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.0.waker()
    }
}

/// A read of what is there.
type Reading = fn(&mut TcpSocket) -> Result<(), Error>;

#[test]
fn data_that_a_wait_reports_as_an_abort_ends_it_is_found_afterwards() {
    let _test = begin();
    let reads: [Reading; 6] = [
        |socket| socket.get_byte().map(drop),
        |socket| socket.get(&mut [0; 2]).map(drop),
        |socket| socket.get_all(&mut [0; 2]),
        |socket| {
            // Past the buffer.
            let result = socket.read(&mut [0; 16 * 1024]);
            let error = |error: io::Error| *error.into_inner().unwrap().downcast().unwrap();
            result.map(drop).map_err(error)
        },
        |socket| socket.get_bytes(2).map(drop),
        |socket| socket.get_line_bytes(10).map(drop),
    ];
    for (index, read) in reads.into_iter().enumerate() {
        let aborting = Aborting::default();
        let to_abort = Arc::clone(&aborting.0);
        let mut socket = TcpSocket::new();
        socket.set_raw_wait(Arc::new(aborting));
        let (mut socket, mut peer) = pair_of(socket);
        // Now and then a read asks before it waits: then there is nothing to abort, and it is tried again.
        let aborted = (0..20).any(|turn| {
            drain(&mut socket, &mut peer);
            socket.timeout(Duration::from_millis(1));
            for _ in 0..1 + turn % 3 {
                assert!(socket.get_byte().unwrap_err().is_timeout());
            }
            socket.timeout(PATIENCE);
            *to_abort.lock().unwrap() = Some(socket.handle());
            peer.write_all(b"a\n").unwrap();
            let result = read(&mut socket);
            if to_abort.lock().unwrap().take().is_some() {
                result.unwrap();
                let rest = socket.buffer().len();
                socket.get_bytes(rest).unwrap();
                return false;
            }
            assert!(matches!(result, Err(Error::Aborted)), "{index}: {result:?}");
            true
        });
        assert!(aborted, "{index}: it has never waited");
        socket.clear_abort();
        socket.clear_error();
        let begin = Instant::now();
        assert_eq!(socket.get_line_bytes(10).unwrap().unwrap(), b"a", "{index}");
        assert!(begin.elapsed() < PATIENCE, "{index}: it was not found before the limit");
    }
}

#[test]
fn data_that_came_with_a_stop_is_found_afterwards() {
    let _test = begin();
    for turn in 0..300 {
        let registry = ShutdownRegistry::new();
        let (listener, addr) = crate::support::listener_in(&registry);
        let mut peer = std::net::TcpStream::connect(addr).unwrap();
        let mut socket = listener.accept_new().unwrap();
        drain(&mut socket, &mut peer);
        let reader = block(move || {
            let result = socket.wait_request();
            (socket, result)
        })
        .until_blocked();
        let stopper = thread::spawn(move || registry.stop_accepting());
        peer.write_all(b"a").unwrap();
        drop(peer);
        let (mut socket, result) = reader.result();
        result.unwrap();
        stopper.join().unwrap();
        socket.timeout(PATIENCE);
        assert_eq!(socket.get_bytes(10).unwrap(), b"a", "turn {turn}");
    }
}

#[test]
fn a_wait_for_nothing_lasts_until_the_limit() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    peer.write_all(b"a").unwrap();
    let limit = Duration::from_millis(5);
    socket.timeout(limit);
    let (result, took) = crate::support::timed(|| socket.wait(WaitEvents::empty()));
    assert!(matches!(result, Err(Error::Timeout)), "{result:?}");
    assert!(took >= limit, "{took:?}");
}

#[test]
fn with_no_time_to_wait_reads_still_look() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    socket.timeout(Duration::ZERO);
    for turn in 0..3 {
        assert!(socket.get_byte().unwrap_err().is_timeout());
        peer.write_all(b"a").unwrap();
        crate::support::eventually(
            || format!("turn {turn}: the byte is found"),
            || match socket.get_byte() {
                Ok(byte) => {
                    assert_eq!(byte, Some(b'a'));
                    Ok(())
                }
                Err(error) => Err(error.to_string()),
            },
        );
    }
}

#[test]
fn after_a_wait_for_nothing_reads_still_wait() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    socket.timeout(Duration::from_millis(1));
    assert!(socket.wait_read().unwrap_err().is_timeout());
    assert!(socket.wait(WaitEvents::empty()).unwrap_err().is_timeout());
    assert!(socket.wait_read().unwrap_err().is_timeout());
    peer.write_all(b"a").unwrap();
    assert_eq!(socket.timeout(PATIENCE).get_byte().unwrap(), Some(b'a'));
}

#[test]
fn a_request_that_was_read_ahead_is_not_waited_for() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    socket.timeout(PATIENCE);
    peer.write_all(b"one\ntwo\n").unwrap();
    assert_eq!(socket.get_line().unwrap().as_deref(), Some("one"));
    assert!(socket.wait_request().unwrap());
    assert_eq!(socket.get_line().unwrap().as_deref(), Some("two"));
}

#[test]
fn a_stop_is_heeded_where_nothing_is_left_to_read() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (listener, addr) = crate::support::listener_in(&registry);
    let mut peer = std::net::TcpStream::connect(addr).unwrap();
    let mut socket = listener.accept_new().unwrap();
    socket.timeout(PATIENCE);
    drain(&mut socket, &mut peer);
    registry.stop_accepting();
    assert!(!socket.wait_request().unwrap());
}

#[test]
fn a_stop_during_the_first_wait_ends_it() {
    let _test = begin();
    for _ in 0..500 {
        let registry = ShutdownRegistry::new();
        let (listener, addr) = crate::support::listener_in(&registry);
        let peer = std::net::TcpStream::connect(addr).unwrap();
        let mut socket = listener.accept_new().unwrap();
        let waiting = block(move || socket.wait_request());
        registry.stop_accepting();
        assert!(!waiting.result().unwrap());
        drop(peer);
    }
}

#[test]
fn an_error_that_broke_nothing_is_no_end() {
    let _test = begin();
    let scripted = Scripted::new([Step::FailOs(code::EINVAL)]);
    let raw_wait: Arc<dyn RawWait> = Arc::new(Plug(scripted));
    let (mut socket, mut peer) = pair_of(unopened_in(ShutdownRegistry::global(), &raw_wait));
    let error = socket.put(&MUCH).map(|_| socket.error().cloned());
    assert!(matches!(error, Ok(Some(Error::Io { .. }))), "{error:?}");
    socket.clear_error();
    peer.write_all(b"x").unwrap();
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(socket.get_byte().unwrap(), Some(b'x'));
    assert_eq!(socket.get_byte().unwrap(), None);
}
