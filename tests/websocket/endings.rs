//! Every way to end what blocks, at every point at which a WebSocket may block.

use std::any::Any;
use std::io::Write;
use std::net::TcpListener;

use wakesock::{Error, Result, Role, ShutdownRegistry, SocketHandle, Upgrade, WebSocket};

use crate::ends::*;
use crate::support::{BlackHole, Stream, begin, block, listener_in, pattern, unix_pair_in};

/// What is to block: its handle, the operation, and what has to live until it is over.
struct Phase {
    name: &'static str,
    handle: SocketHandle,
    operation: Box<dyn FnOnce() -> Result<()> + Send>,
    kept: Box<dyn Any>,
}

/// An end in `registry`, whose peer has sent this.
fn end_in(registry: &ShutdownRegistry, sent: &[u8]) -> (WebSocket, Stream) {
    let (socket, mut peer) = unix_pair_in(registry);
    peer.write_all(sent).unwrap();
    (WebSocket::from_upgraded(socket, Role::Server), peer)
}

fn talking(
    name: &'static str,
    registry: &ShutdownRegistry,
    sent: &[u8],
    run: impl FnOnce(&mut WebSocket) -> Result<()> + Send + 'static,
) -> Phase {
    let (mut socket, peer) = end_in(registry, sent);
    Phase {
        name,
        handle: socket.handle(),
        operation: Box::new(move || run(&mut socket)),
        kept: Box::new(peer),
    }
}

fn connecting(name: &'static str, registry: &ShutdownRegistry, url: String, kept: Box<dyn Any>) -> Phase {
    let mut socket = WebSocket::with_registry(registry);
    #[cfg(all(feature = "tls-ring", target_os = "linux"))]
    socket.tls(&crate::support::certificates::client_config());
    Phase {
        name,
        handle: socket.handle(),
        operation: Box::new(move || socket.connect(&url)),
        kept,
    }
}

/// Whatever may block in a registry.
fn phases(registry: &ShutdownRegistry) -> Vec<Phase> {
    let message = frame_for(Role::Server, LAST | BINARY, &pattern(70_000));
    let ping = frame_for(Role::Server, LAST | PING, b"there?");
    let mut phases = vec![
        talking("receive", registry, b"", |socket| socket.receive().map(drop)),
        talking("receive, in a header", registry, &message[..9], |socket| {
            socket.receive().map(drop)
        }),
        talking("receive, in a payload", registry, &message[..40_000], |socket| {
            socket.receive().map(drop)
        }),
        talking("receive, in a ping", registry, &ping[..8], |socket| {
            socket.receive().map(drop)
        }),
        talking("wait_message", registry, b"", |socket| socket.wait_message().map(drop)),
        talking("wait_message, in a ping", registry, &ping[..8], |socket| {
            socket.wait_message().map(drop)
        }),
        talking("close", registry, b"", |socket| {
            socket.close_limit(None).close(1000, "")
        }),
        talking("close, in a message", registry, &message[..40_000], |socket| {
            socket.close_limit(None).close(1000, "")
        }),
    ];
    let full = |name, run: fn(&mut WebSocket) -> Result<()>| {
        talking(name, registry, b"", move |socket| {
            socket
                .timeout(std::time::Duration::ZERO)
                .send_binary(&pattern(8 << 20))?;
            run(socket.blocking())
        })
    };
    phases.push(full("send, behind what is unsent", |socket| socket.send("more")));
    phases.push(full("append", |socket| socket.begin_text(b"more")));
    phases.push(full("ping", |socket| socket.ping(b"more")));
    phases.push(full("flush", WebSocket::flush));
    phases.push(full("receive, with something unsent", |socket| {
        socket.receive().map(drop)
    }));
    phases.push(full("close, with something unsent", |socket| {
        socket.close_limit(None).close(1000, "")
    }));
    // The first one is taken, and so the second one tells.
    phases.push(talking("send, in the middle", registry, b"", |socket| {
        socket.send_binary(&pattern(8 << 20))?;
        socket.send("more")
    }));

    let hole = BlackHole::new();
    phases.push(connecting(
        "connect, TCP",
        registry,
        format!("ws://{}/", hole.addr()),
        Box::new(hole),
    ));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", silent.local_addr().unwrap());
    phases.push(connecting("connect, the answer", registry, url, Box::new(silent)));
    #[cfg(all(feature = "tls-ring", target_os = "linux"))]
    {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("wss://{}/", silent.local_addr().unwrap());
        phases.push(connecting("connect, TLS", registry, url, Box::new(silent)));
    }

    let (socket, peer) = unix_pair_in(registry);
    phases.push(Phase {
        name: "the request",
        handle: socket.handle(),
        operation: Box::new(move || Upgrade::read(socket).map(drop)),
        kept: Box::new(peer),
    });
    let (listener, _) = listener_in(registry);
    let handle = listener.handle();
    phases.push(Phase {
        name: "accept, a client",
        handle,
        operation: Box::new(move || WebSocket::new().accept(&listener)),
        kept: Box::new(()),
    });
    let (socket, peer) = end_in(registry, b"");
    let (mut reader, writer) = socket.split();
    phases.push(Phase {
        name: "the receiving half",
        handle: writer.handle(),
        operation: Box::new(move || reader.receive().map(drop)),
        kept: Box::new(peer),
    });
    let (socket, peer) = end_in(registry, b"");
    let (_, mut writer) = socket.split();
    phases.push(Phase {
        name: "the sending half, which closes",
        handle: writer.handle(),
        operation: Box::new(move || writer.close_limit(None).close(1000, "")),
        kept: Box::new(peer),
    });
    phases
}

#[test]
fn every_end_ends_whatever_blocks_and_says_which_it_was() {
    let _test = begin();
    type End = fn(&SocketHandle, &ShutdownRegistry);
    type Expected = fn(&Error) -> bool;
    let ends: [(&str, End, Expected); 4] = [
        (
            "close",
            |handle, _| handle.close(),
            |error| matches!(error, Error::Closed),
        ),
        (
            "abort",
            |handle, _| handle.abort(),
            |error| matches!(error, Error::Aborted),
        ),
        (
            "shutdown",
            |_, registry| registry.shutdown(),
            |error| matches!(error, Error::Shutdown),
        ),
        (
            "deadlines that have passed",
            |handle, _| {
                let now = std::time::Instant::now();
                handle.read_deadline(now);
                handle.write_deadline(now);
            },
            |error| error.is_timeout(),
        ),
    ];
    for (what, end, expected) in ends {
        let count = phases(&ShutdownRegistry::new()).len();
        for at in 0..count {
            let registry = ShutdownRegistry::new();
            let mut all = phases(&registry);
            let Phase {
                name,
                handle,
                operation,
                kept,
            } = all.swap_remove(at);
            drop(all);
            let blocked = block(operation).until_blocked();
            end(&handle, &registry);
            let error = blocked.result().expect_err(name);
            assert!(expected(&error), "{what}, {name}: {error}");
            drop(kept);
        }
    }
}
