//! U++'s asynchronous server loop, as it comes over: all clients on one thread, and a `SocketWaitEvent` that is filled
//! anew in each turn.
//!
//! ```text
//! cargo run --example wait_event -- [ADDR]
//! ```
//!
//! What the port gains: there may be more than 1,024 clients, the turn ends when Ctrl-C is pressed instead of a second
//! later, and nobody has to look for that: `wait` says so. The protocol is that of the `accept_loop` example. For
//! thousands of clients, the `event_queue` example is the better start.

mod support;

use std::error::Error as StdError;
use std::process::ExitCode;
use std::time::Duration;

use wakesock::{Error, ListenOptions, ShutdownLevel, ShutdownRegistry, SocketWaitEvent, TcpSocket, WAIT_READ};

use self::support::conversation::Conversation;
use self::support::{exit_code, raise_descriptor_limit, report, say};

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> Result<(), Box<dyn StdError>> {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        ShutdownRegistry::global().on_signal(signal, ShutdownLevel::All)?;
    }
    raise_descriptor_limit()?;
    let addr = std::env::args().nth(1);
    let addr = addr.as_deref().unwrap_or("127.0.0.1:3214");
    let mut server = TcpSocket::new();
    server.timeout(Duration::ZERO);
    server.listen_on(addr, &ListenOptions::new())?;
    say(&format!("listening on {}", server.local_addr()?))?;

    match serve(&server) {
        Err(error) if !error.is_closed() => Err(error.into()),
        _ => Ok(say("stopped")?),
    }
}

fn serve(server: &TcpSocket) -> Result<(), Error> {
    let mut clients: Vec<Conversation> = Vec::new();
    loop {
        let mut waiting = SocketWaitEvent::new();
        waiting.add(server, WAIT_READ);
        for client in &clients {
            waiting.add(client, client.wait_events());
        }
        waiting.wait(None)?;

        // From the last to the first, so that those that go leave the indices of the others alone.
        for index in (0..clients.len()).rev() {
            if !waiting[index + 1].is_empty() && !goes_on(&mut clients[index]) {
                clients.swap_remove(index);
            }
        }
        if waiting[0].contains(WAIT_READ) {
            match server.accept_new().and_then(Conversation::new) {
                Ok(client) => clients.push(client),
                Err(Error::Timeout) => {}
                // If there are no descriptors left, the listener is held back for a while.
                Err(error) => report(&error),
            }
        }
    }
}

fn goes_on(client: &mut Conversation) -> bool {
    client.go_on().unwrap_or_else(|error| {
        report(&error);
        false
    })
}
