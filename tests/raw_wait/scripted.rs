//! Operations hold their promises whatever their waiters do.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
#[cfg(target_os = "linux")]
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use wakesock::{Error, RawWait, ShutdownRegistry, TcpSocket, WaitEvents};

use crate::any;
use crate::support::full::{MUCH, put_what_fits, wait_for_room};
use crate::support::operations::{Stuck, operations};
use crate::support::scripted::{Plug, Scripted, Step};
use crate::support::{
    BlackHole, PATIENCE, begin, block, code, ends_at_limit, eventually, pair_of, pattern, timed, unopened_in,
};

const SHORT: Duration = Duration::from_millis(20);

/// What a waiter may do at any time.
const HARMLESS: [Step; 4] = [Step::Early, Step::Lie, Step::Short, Step::Fail(ErrorKind::Interrupted)];

fn plug(script: &Arc<Scripted>) -> Arc<dyn RawWait> {
    Arc::new(Plug(Arc::clone(script)))
}

fn all_operations(script: &Arc<Scripted>, hole: &BlackHole) -> Vec<Stuck> {
    operations(hole, ShutdownRegistry::global(), &plug(script))
}

fn listener_with(script: &Arc<Scripted>) -> TcpSocket {
    let mut listener = unopened_in(ShutdownRegistry::global(), &plug(script));
    listener.listen_on("127.0.0.1:0", &Default::default()).unwrap();
    listener
}

/// A connection that waits as `script` says, and its peer.
fn scripted_pair(script: &Arc<Scripted>) -> (TcpSocket, TcpStream) {
    pair_of(unopened_in(ShutdownRegistry::global(), &plug(script)))
}

/// Scripts under which everything works as it does without.
fn harmless() -> impl Iterator<Item = (String, Arc<Scripted>)> {
    let steps = HARMLESS.map(|step| (format!("{step:?}"), Scripted::alternating(step)));
    let refusals = [code::EMFILE, code::ENFILE, code::ENOMEM].map(|code| {
        let script = Scripted::refusing(std::iter::repeat_n(code, 10_000));
        (format!("refusing with {code}"), script)
    });
    steps.into_iter().chain(refusals)
}

#[test]
fn limits_hold_whatever_the_waiter_does() {
    let _test = begin();
    let hole = BlackHole::new();
    for (name, script) in harmless() {
        any::limits_hold(&name, &plug(&script), &hole, &[SHORT]);
    }
}

#[test]
fn close_abort_and_shutdown_end_whatever_the_waiter_does() {
    let _test = begin();
    let hole = BlackHole::new();
    for (name, script) in harmless() {
        any::is_ended(&name, &plug(&script), &hole, None);
    }
}

#[test]
fn work_is_done_whatever_the_waiter_does() {
    let _test = begin();
    for (name, script) in harmless() {
        any::work_is_done(&name, &plug(&script));
    }
}

#[test]
fn a_connection_that_takes_its_time_stands_whatever_the_waiter_does() {
    let _test = begin();
    let hole = BlackHole::new();
    let addr = hole.addr();
    let connecting: Vec<_> = harmless()
        .map(|(name, script)| {
            let connecting = block(move || {
                let mut socket = TcpSocket::new();
                socket.set_raw_wait(plug(&script));
                socket.connect_to(&[addr])?;
                assert!(script.waits() > 0 || script.made() == 0);
                socket.peer_addr()
            });
            (name, connecting.until_blocked())
        })
        .collect();
    for (name, connecting) in &connecting {
        assert!(!connecting.is_finished(), "{name}");
    }
    hole.relieve();
    for (name, connecting) in connecting {
        assert_eq!(connecting.result().unwrap(), addr, "{name}");
    }
}

/// Two ways in which a wait can fail.
fn failing() -> [(&'static str, Arc<Scripted>); 2] {
    [
        ("the wait fails", Scripted::new([Step::FailOs(code::EIO)])),
        ("there is no waiter", Scripted::refusing([code::EIO])),
    ]
}

#[test]
fn a_wait_that_fails_is_a_named_error() {
    let _test = begin();
    let hole = BlackHole::new();
    let count = all_operations(&Scripted::new([]), &hole).len();
    for operation in 0..count {
        for (how, script) in failing() {
            let mut stuck = all_operations(&script, &hole).swap_remove(operation);
            let name = stuck.name;
            let error = stuck.run(PATIENCE).unwrap_err();
            match &error {
                Error::Connect { attempts } if name == "connect" => {
                    assert_eq!(attempts.len(), 1, "{attempts:?}");
                    assert_eq!(attempts[0].0, hole.addr());
                }
                Error::Io { operation, .. } => assert!(!operation.is_empty(), "{name}, {how}"),
                _ => panic!("{name}, {how}: {error:?}"),
            }
            assert_eq!(error.code(), code::EIO, "{name}, {how}: {error:?}");
            if cfg!(target_os = "linux") {
                assert!(error.to_string().contains("input/output error"), "{error}");
            }

            // Of a listener it is nobody's; else it is sticky, and told again without another wait.
            let waits = script.waits();
            if name != "accept_new" {
                let told = stuck.socket.error().expect("it is sticky");
                assert_eq!(told.to_string(), error.to_string(), "{name}, {how}");
                assert_eq!(stuck.socket.error_desc(), error.to_string());
            }
            if !matches!(name, "accept" | "accept_new" | "connect") {
                let again = match name {
                    "put" => stuck.socket.put(b"x").map(drop),
                    _ => stuck.socket.get(&mut [0]).map(drop),
                };
                assert_eq!(again.unwrap_err().to_string(), error.to_string(), "{name}, {how}");
                assert_eq!(script.waits(), waits, "{name}, {how}");
            }
            ends_at_limit(Duration::from_millis(2), |limit| stuck.times_out(limit));
        }
    }
}

#[test]
fn a_wait_that_fails_loses_nothing_that_was_read() {
    let _test = begin();
    type Reading = fn(&mut TcpSocket) -> Result<Vec<u8>, Error>;
    // Whether it hands over what came.
    let readings: [(&str, bool, Reading); 5] = [
        ("get", true, |socket| {
            let mut bytes = vec![0; 6];
            socket.get(&mut bytes).map(|count| bytes[..count].to_vec())
        }),
        ("get_bytes", true, |socket| socket.get_bytes(6)),
        ("get_all", false, |socket| {
            let mut bytes = vec![0; 6];
            socket.get_all(&mut bytes).map(|()| bytes)
        }),
        ("get_all_bytes", false, |socket| socket.get_all_bytes(6)),
        ("get_line_bytes", false, |socket| {
            socket.get_line_bytes(10).map(Option::unwrap)
        }),
    ];
    for (name, hands_over, reading) in readings {
        for code in [code::EIO, code::EBADF] {
            let script = Scripted::new([]);
            let (mut socket, mut peer) = scripted_pair(&script);
            peer.write_all(b"abc").unwrap();
            // One segment: where its first byte is, the others are.
            assert_eq!(socket.peek().unwrap(), Some(b'a'));
            script.then([Step::FailOs(code)]);
            let result = reading(&mut socket);
            if hands_over {
                assert_eq!(result.unwrap(), b"abc", "{name}");
                assert_eq!(socket.done(), 3);
                assert!(socket.is_error(), "{name}");
                let error = reading(&mut socket).unwrap_err();
                assert_eq!(error.code(), code, "{name}: {error:?}");
            } else {
                assert_eq!(result.unwrap_err().code(), code, "{name}");
            }
            socket.clear_error();
            peer.write_all(b"def\n").unwrap();
            let expected: &[u8] = if hands_over { b"def\n" } else { b"abcdef" };
            let came = match hands_over {
                true => socket.get_bytes(4).unwrap(),
                false => reading(&mut socket).unwrap(),
            };
            assert_eq!(came, expected, "{name}");
        }
    }
}

#[test]
fn a_wait_that_fails_has_sent_what_it_says() {
    const LENGTH: usize = 16 << 20;
    let _test = begin();
    let data = pattern(LENGTH);
    for all in [false, true] {
        for (how, script) in failing() {
            let (mut socket, mut peer) = scripted_pair(&script);
            if all {
                let error = socket.put_all(&data).unwrap_err();
                assert_eq!(error.code(), code::EIO, "{how}: {error:?}");
            } else {
                let sent = socket.put(&data).unwrap();
                assert_eq!(sent, socket.done(), "{how}");
            }
            let done = socket.done();
            assert!((1..LENGTH).contains(&done), "{how}: {done}");
            assert!(socket.is_error(), "{how}");
            assert_eq!(socket.put(b"!").unwrap_err().code(), code::EIO, "{how}");
            socket.clear_error();
            socket.shutdown().unwrap();
            let mut came = Vec::new();
            peer.read_to_end(&mut came).unwrap();
            assert!(came == data[..done], "{how}: {done} bytes sent, {} came", came.len());
        }
    }
}

#[test]
fn a_wait_that_fails_loses_no_client() {
    let _test = begin();
    for (how, script) in failing() {
        let mut listener = listener_with(&script);
        let error = listener.accept_new().unwrap_err();
        assert_eq!(error.code(), code::EIO, "{how}: {error:?}");
        assert!(!listener.is_error() && listener.is_open(), "{how}");
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.timeout(PATIENCE);
        let accepted = listener.accept_new().unwrap();
        let peer = accepted.peer_addr().unwrap();
        assert_eq!(peer, client.local_addr().unwrap(), "{how}");
    }
}

#[test]
fn accepted_sockets_take_over_their_listeners_raw_wait() {
    let _test = begin();
    let script = Scripted::new([]);
    let own = Scripted::new([]);
    let mut listener = listener_with(&script);
    listener.timeout(PATIENCE);
    let addr = listener.local_addr().unwrap();
    let _clients = [(); 2].map(|()| TcpStream::connect(addr).unwrap());
    let mut second = TcpSocket::new();
    second.set_raw_wait(plug(&own));
    second.timeout(PATIENCE).accept(&listener).unwrap();
    for mut connection in [listener.accept_new().unwrap(), second] {
        let before = (script.made(), script.waits());
        connection.timeout(Duration::from_millis(1));
        assert!(connection.get(&mut [0]).unwrap_err().is_timeout());
        assert_eq!(script.made(), before.0 + 1);
        assert!(script.waits() > before.1);
    }
    assert_eq!(own.made(), 0);
}

#[test]
fn a_raw_wait_takes_effect_at_the_next_opening() {
    let _test = begin();
    let (old, new) = (Scripted::new([]), Scripted::new([]));
    let (mut socket, _peer) = scripted_pair(&old);
    socket.timeout(Duration::from_millis(1));
    // Before its first wait, and after it.
    for made in [0, 1] {
        assert_eq!(old.made(), made);
        socket.set_raw_wait(plug(&new));
        assert!(socket.get(&mut [0]).unwrap_err().is_timeout());
        put_what_fits(&mut socket);
        assert_eq!((old.made(), new.made()), (1, 0));
    }
    let (other, _other_peer) = scripted_pair(&old);
    socket.attach(TcpStream::try_from(other).unwrap()).unwrap();
    assert!(socket.get(&mut [0]).unwrap_err().is_timeout());
    assert_eq!((old.made(), new.made()), (1, 1));
}

#[test]
fn a_waiter_is_made_at_the_first_wait_and_not_before() {
    let _test = begin();
    let script = Scripted::new([]);
    let listener = listener_with(&script);
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut socket = eventually(
        || "the client is there".to_owned(),
        || {
            let mut socket = TcpSocket::new();
            match socket.timeout(Duration::ZERO).accept(&listener) {
                Ok(()) => Ok(socket),
                Err(error) => Err(error.to_string()),
            }
        },
    );
    peer.write_all(b"there\n").unwrap();
    eventually(
        || "the line is there".to_owned(),
        || {
            let found = socket.wait(WaitEvents::READ);
            found.map_err(|error| error.to_string())
        },
    );
    socket.blocking();
    assert!(socket.wait_request().unwrap());
    assert_eq!(socket.get_line().unwrap().as_deref(), Some("there"));
    socket.put_all(b"at once").unwrap();
    socket.wait_write().unwrap();
    assert_eq!((script.made(), script.waits()), (0, 0));

    let reading = block(move || socket.get_bytes(3)).until_blocked();
    assert_eq!(script.made(), 1);
    peer.write_all(b"abc").unwrap();
    assert_eq!(reading.result().unwrap(), b"abc");
}

#[test]
fn a_limit_of_zero_makes_no_waiter() {
    let _test = begin();
    let script = Scripted::new([]);
    let hole = BlackHole::new();
    for mut stuck in all_operations(&script, &hole) {
        let result = stuck.run(Duration::ZERO);
        assert!(
            matches!(result, Err(Error::Timeout)) || stuck.name == "connect" && result.is_ok(),
            "{}: {result:?}",
            stuck.name
        );
        assert_eq!((script.made(), script.waits()), (0, 0), "{}", stuck.name);
    }
}

#[test]
fn a_socket_has_two_waiters_at_most_and_keeps_them() {
    let _test = begin();
    let script = Scripted::new([]);
    let (mut socket, _peer) = scripted_pair(&script);
    socket.timeout(Duration::from_millis(1));
    for _ in 0..3 {
        for events in 1..8 {
            let events = WaitEvents::from_bits_truncate(events);
            if events.contains(WaitEvents::WRITE) {
                wait_for_room(&mut socket, events, Duration::from_millis(1));
            } else {
                let error = socket.wait(events).unwrap_err();
                assert!(error.is_timeout(), "{events:?}: {error:?}");
            }
        }
        assert!(socket.get(&mut [0]).unwrap_err().is_timeout());
        assert!(socket.wait_request().unwrap_err().is_timeout());
        // What the buffers still have taken is no matter.
        while socket.put(&MUCH).is_ok() {}
        assert!(socket.is_timeout());
        assert_eq!(script.made(), 2);
    }
}

#[test]
fn a_waiter_whose_wait_has_failed_is_replaced() {
    let _test = begin();
    for (step, fails) in [
        (Step::Fail(ErrorKind::Interrupted), false),
        (Step::FailOs(code::ENOMEM), false),
        (Step::FailOs(code::EIO), true),
    ] {
        let script = Scripted::new([]);
        let (mut socket, mut peer) = scripted_pair(&script);
        ends_at_limit(SHORT, |limit| {
            let (result, took) = timed(|| socket.timeout(limit).get_byte());
            assert!(matches!(result, Err(Error::Timeout)), "{step:?}: {result:?}");
            took
        });
        socket.clear_error();
        assert_eq!(script.made(), 1, "{step:?}");
        script.then([step]);
        let result = socket.timeout(SHORT).get_byte();
        assert_eq!(!matches!(result, Err(Error::Timeout)), fails, "{step:?}: {result:?}");
        socket.clear_error();
        // An end of the socket reaches the new one.
        let handle = socket.handle();
        let blocked = block(move || {
            socket.timeout(None).clear_error();
            (socket.get_byte(), socket)
        });
        let blocked = blocked.until_blocked();
        peer.write_all(b"x").unwrap();
        let (result, mut socket) = blocked.result();
        assert_eq!(result.unwrap(), Some(b'x'), "{step:?}");
        let is_kept = matches!(step, Step::Fail(ErrorKind::Interrupted));
        assert_eq!(script.made(), if is_kept { 1 } else { 2 }, "{step:?}");
        let blocked = block(move || socket.get_byte()).until_blocked();
        handle.close();
        let result = blocked.result();
        assert!(matches!(result, Err(Error::Closed)), "{step:?}: {result:?}");
    }
}

#[test]
fn waiting_for_nothing_disturbs_no_later_wait() {
    let _test = begin();
    let script = Scripted::new([]);
    let (mut socket, mut peer) = scripted_pair(&script);
    socket.timeout(Duration::from_millis(1));
    for events in [WaitEvents::READ, WaitEvents::EXCEPTION] {
        for events in [events, WaitEvents::empty(), events] {
            let error = socket.wait(events).unwrap_err();
            assert!(error.is_timeout(), "{events:?}: {error:?}");
        }
    }
    let reading = block(move || socket.blocking().get_bytes(3)).until_blocked();
    peer.write_all(b"abc").unwrap();
    assert_eq!(reading.result().unwrap(), b"abc");
}

#[test]
fn threads_that_share_a_listener_share_its_waiter() {
    let _test = begin();
    let script = Scripted::new([]);
    let listener = listener_with(&script);
    let handle = listener.handle();
    let listener = Arc::new(listener);
    let blocked = [(); 4].map(|()| {
        let listener = Arc::clone(&listener);
        block(move || listener.accept_new().map(drop)).until_blocked()
    });
    assert_eq!(script.made(), 1);
    handle.close();
    for thread in blocked {
        let result = thread.result();
        assert!(matches!(result, Err(Error::Closed)), "{result:?}");
    }
    assert_eq!(script.made(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_waiters_descriptor_is_open_and_does_not_block() {
    let _test = begin();

    #[derive(Debug)]
    struct Looking;
    impl RawWait for Looking {
        fn waiter(
            &self,
            socket: wakesock::WaitSource<'_>,
            events: WaitEvents,
        ) -> std::io::Result<Box<dyn wakesock::Waiter>> {
            let socket2 = socket2::SockRef::from(&socket);
            assert!(socket2.nonblocking()?);
            assert!(crate::support::is_close_on_exec(socket.as_fd()));
            wakesock::MioWait::default().waiter(socket, events)
        }
    }

    let hole = BlackHole::new();
    let looking: Arc<dyn RawWait> = Arc::new(Looking);
    for mut stuck in operations(&hole, ShutdownRegistry::global(), &looking) {
        ends_at_limit(Duration::from_millis(1), |limit| stuck.times_out(limit));
    }
}
