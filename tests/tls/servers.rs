//! Servers: `serve`, drains, and raw waits that belong to threads.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use wakesock::{Error, ShutdownRegistry, TcpSocket, ThreadWait};

use crate::middle::{Party, Who, assert_waits};
use crate::support::certificates::{NAME, client_config, server_config};
use crate::support::{PATIENCE, ROOM_COMES, begin, block, cpu_time, eventually, listener_in, pattern};

/// Has each line back that it sends, until it has nothing more to say.
fn echo(mut client: TcpSocket) -> Result<(), Error> {
    client.timeout(PATIENCE);
    client.start_tls_server(&server_config())?;
    loop {
        let Some(line) = client.get_line()? else {
            return Ok(());
        };
        client.put_all(format!("{line}\n").as_bytes())?;
        if !client.wait_request()? {
            return Ok(());
        }
    }
}

fn connected(addr: std::net::SocketAddr) -> TcpSocket {
    let mut client = TcpSocket::new();
    client.timeout(PATIENCE);
    client.connect_to(&[addr]).unwrap();
    client
}

fn under_tls(addr: std::net::SocketAddr) -> TcpSocket {
    let mut client = connected(addr);
    client.start_tls(NAME, &client_config()).unwrap();
    client
}

fn ask(client: &mut TcpSocket, question: &str) {
    client.put_all(format!("{question}\n").as_bytes()).unwrap();
    assert_eq!(client.get_line().unwrap().as_deref(), Some(question));
}

#[test]
fn a_client_that_stalls_in_its_handshake_holds_up_nobody_else() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (mut listener, addr) = listener_in(&registry);
    listener.set_raw_wait(Arc::new(ThreadWait::default()));
    listener.listen_on(addr, &Default::default()).unwrap();
    let stops = registry.clone();
    let serving = block(move || listener.serve(100, |client| drop(echo(client))));
    // The one says nothing, the other a part of its hello.
    let mut stalled = [connected(addr), connected(addr)];
    stalled[1].put_all(&[22, 3, 1, 2, 0, 1]).unwrap();
    for turn in 0..3 {
        let mut clients: Vec<_> = (0..5).map(|_| under_tls(addr)).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            ask(client, &format!("{turn} {number}"));
        }
    }
    for stalled in &mut stalled {
        assert_waits(&stalled.timeout(Duration::ZERO).get_byte());
    }
    // It ends those, too.
    stops.shutdown();
    let served = serving.result();
    assert_eq!((served.accepted, served.panicked), (17, 0));
    for stalled in &mut stalled {
        assert!(matches!(
            stalled.timeout(PATIENCE).get_byte(),
            Ok(None) | Err(Error::Io { .. })
        ));
    }
}

#[test]
fn a_drain_lets_requests_be_answered_and_says_goodbye_to_idle_clients() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (listener, addr) = listener_in(&registry);
    let drains = registry.clone();
    let serving = block(move || listener.serve(100, |client| drop(echo(client))));
    let mut idle = under_tls(addr);
    ask(&mut idle, "before");
    let mut asking = under_tls(addr);
    ask(&mut asking, "before");
    asking.put_all(b"half a line, ").unwrap();
    let mut shaking = connected(addr);
    shaking.timeout(Duration::ZERO);
    // It may even be over at once.
    let begun = shaking.start_tls(NAME, &client_config());
    assert!(matches!(begun, Ok(()) | Err(Error::Timeout)), "{begun:?}");
    shaking.timeout(PATIENCE);
    eventually(
        || "all are being served".to_owned(),
        || {
            (registry.len() == 4)
                .then_some(())
                .ok_or_else(|| registry.len().to_string())
        },
    );
    // A part of a request is there.
    asking.put_all(b"and ").unwrap();
    let drain = block(move || drains.drain(PATIENCE));
    assert_eq!(idle.get_byte().unwrap(), None, "close_notify, not a truncation");
    let drain = drain.still_blocks();
    asking.put_all(b"the rest\n").unwrap();
    assert_eq!(asking.get_line().unwrap().as_deref(), Some("half a line, and the rest"));
    assert_eq!(asking.get_byte().unwrap(), None);
    // A handshake that has begun goes on, too.
    shaking.wait_tls().unwrap();
    ask(&mut shaking, "late");
    assert_eq!(shaking.get_byte().unwrap(), None);
    let drained = drain.result();
    assert_eq!((drained.finished, drained.forced), (3, 0), "{drained:?}");
    assert_eq!(serving.result().accepted, 3);
}

#[test]
fn a_drain_whose_grace_is_over_cuts_off_what_stalls() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (listener, addr) = listener_in(&registry);
    let serving = block(move || listener.serve(100, |client| drop(echo(client))));
    let mut stalled = under_tls(addr);
    ask(&mut stalled, "before");
    stalled.put_all(b"half").unwrap();
    eventually(
        || "it is being served".to_owned(),
        || {
            (registry.len() == 2)
                .then_some(())
                .ok_or_else(|| registry.len().to_string())
        },
    );
    let drained = registry.drain(Duration::from_millis(10));
    // Unless its thread has not come to the half yet, which makes it an idle one.
    assert_eq!(drained.finished + drained.forced, 1, "{drained:?}");
    let end = stalled.get_byte();
    assert!(
        matches!(end, Err(Error::Truncated | Error::Io { .. }) | Ok(None)),
        "{end:?}"
    );
    assert_eq!(serving.result().accepted, 1);
}

#[test]
fn a_wait_that_is_level_triggered_sleeps_while_there_is_nothing_to_do() {
    let test = begin();
    if test.skip_if(cfg!(windows), ROOM_COMES) {
        return;
    }
    let party = || {
        Party::plain_with(|_, socket| {
            socket.set_raw_wait(Arc::new(ThreadWait::default()));
        })
    };
    let half = || {
        let mut party = party().shaken();
        let record = party.records(Who::Server, &[b"something"]).concat();
        party.middle.give(Who::Client, &record[..7]);
        party
    };
    let full = || {
        let mut party = party().shaken();
        party.client.timeout(Duration::ZERO);
        while party.client.put(&pattern(1 << 20)).is_ok() {}
        assert!(party.client.unsent() > 0);
        party
    };
    type Run = fn(&mut TcpSocket) -> Result<(), Error>;
    let phases: [(&str, Party, Run); 8] = [
        ("the handshake", party().begun(), |socket| socket.wait_tls()),
        ("get, in the handshake", party().begun(), |socket| {
            socket.get_byte().map(drop)
        }),
        ("put, in the handshake", party().begun(), |socket| {
            socket.put(b"!").map(drop)
        }),
        ("half a record", half(), |socket| socket.get_byte().map(drop)),
        ("wait, half a record", half(), |socket| socket.wait_read()),
        ("wait_request, half a record", half(), |socket| {
            socket.wait_request().map(drop)
        }),
        ("get, with something unsent", full(), |socket| {
            socket.get_byte().map(drop)
        }),
        ("put, with something unsent", full(), |socket| {
            socket.put(b"!").map(drop)
        }),
    ];
    for (name, mut party, run) in phases {
        let mut client = std::mem::take(&mut party.client);
        client.blocking();
        let handle = client.handle();
        let waiting = block(move || (run(&mut client), client)).still_blocks();
        eventually(
            || format!("{name}: it sleeps"),
            || {
                let before = cpu_time(waiting.task());
                thread::sleep(Duration::from_millis(10));
                let used = cpu_time(waiting.task()) - before;
                (used < Duration::from_millis(2))
                    .then_some(())
                    .ok_or_else(|| format!("{used:?}"))
            },
        );
        handle.close();
        assert!(matches!(waiting.result().0, Err(Error::Closed)), "{name}");
    }
}
