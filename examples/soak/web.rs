//! WebSockets, by messages that come back: the steps of the workers, and what a server does with a client.

use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use wakesock::{Error, Message, SocketEventQueue, TcpSocket, Upgrade, WaitEvents, WebSocket};

use crate::figures::Count;
use crate::servers::Server;
use crate::steps::{Done, ended, ensure, ensure_ended};
use crate::{PATIENCE, tls};

/// Sends back what a client sends, until it says goodbye or the program stops.
pub fn echo(client: TcpSocket) -> Result<(), Error> {
    #[cfg_attr(not(feature = "websocket-deflate"), allow(unused_mut))]
    let mut upgrade = Upgrade::read(client)?;
    #[cfg(feature = "websocket-deflate")]
    upgrade.deflate(true);
    let mut socket = upgrade.accept()?;
    while socket.wait_message()? {
        if let Some(message) = socket.receive()? {
            socket.send(message)?;
        }
    }
    // Who is told that may be doing something else.
    let _ = socket.close_limit(Duration::from_millis(10)).close(1001, "");
    Ok(())
}

fn connected(server: &Server, rng: &mut Rng) -> Result<WebSocket, Error> {
    let mut socket = WebSocket::new();
    socket.timeout(PATIENCE);
    #[cfg(feature = "websocket-deflate")]
    socket.deflate(rng.bool());
    let _ = rng;
    let scheme = if server.is_under_tls { "wss" } else { "ws" };
    tls::prepare_client(&mut socket);
    socket.connect(&format!("{scheme}://{}/", server.addr()))?;
    Count::Connections.add(1);
    Count::WebSockets.add(1);
    Count::Handshakes.add(u64::from(server.is_under_tls));
    socket.no_delay()?;
    Ok(socket)
}

/// What has come of an operation; who was told of the server's end has lost the connection.
fn told<T>(socket: &WebSocket, result: Result<T, Error>) -> Result<T, Error> {
    match result {
        Err(Error::Closed) if socket.close_code() == Some(1001) => Err(Error::UnexpectedEof),
        result => result,
    }
}

fn made_up(rng: &mut Rng) -> Message {
    let length = [rng.usize(0..200), rng.usize(0..100_000)][usize::from(rng.u8(0..4) == 0)];
    if rng.bool() {
        let seed = rng.usize(0..251);
        return Message::from(
            (0..length)
                .map(|index| ((seed + index) % 251) as u8)
                .collect::<Vec<u8>>(),
        );
    }
    Message::from(
        (0..length / 2)
            .map(|_| ['a', 'ö', '€'][rng.usize(0..3)])
            .collect::<String>(),
    )
}

/// Sends a message, whole or in fragments, and has it back.
fn message(socket: &mut WebSocket, rng: &mut Rng) -> Done {
    let sent = made_up(rng);
    let (first, second) = sent.as_bytes().split_at(sent.as_bytes().len() / 2);
    let result = match (rng.u8(0..3), &sent) {
        (0, Message::Text(_)) => socket.begin_text(first).and_then(|()| socket.finish(second)),
        (0, Message::Binary(_)) => socket.begin_binary(first).and_then(|()| socket.finish(second)),
        (1, sent) => socket.ping(b"there?").and_then(|()| socket.send(sent.clone())),
        (_, sent) => socket.send(sent.clone()),
    };
    told(socket, result)?;
    let received = socket.receive()?.ok_or(Error::UnexpectedEof)?;
    Count::Messages.add(1);
    Count::Bytes.add(2 * sent.as_bytes().len() as u64);
    ensure(received == sent, || format!("{sent:?} came back as {received:?}"))
}

pub fn messages(server: &Server, rng: &mut Rng) -> Done {
    let mut socket = connected(server, rng)?;
    for _ in 0..rng.u8(1..20) {
        message(&mut socket, rng)?;
    }
    if rng.bool() {
        let closed = socket.close(1000, "enough");
        told(&socket, closed)?;
    }
    Ok(())
}

/// One thread sends while another receives.
pub fn both_directions(server: &Server, rng: &mut Rng) -> Done {
    let (mut reader, mut writer) = connected(server, rng)?.split();
    let all: Vec<Message> = (0..rng.u8(1..30)).map(|_| made_up(rng)).collect();
    let (sent, received) = thread::scope(|scope| {
        let sending = scope.spawn(|| all.iter().try_for_each(|message| writer.send(message.clone())));
        let received = all.iter().try_for_each(|sent| {
            let received = reader.receive()?.ok_or(Error::UnexpectedEof)?;
            Count::Messages.add(1);
            ensure(received == *sent, || format!("{sent:?} came back as {received:?}"))
        });
        if received.is_err() {
            reader.handle().close();
        }
        (sending.join().expect("no panic"), received)
    });
    received?;
    sent?;
    let Ok(mut socket) = reader.unsplit(writer) else {
        return ensure(false, || "halves don't fit".to_owned());
    };
    message(&mut socket, rng)
}

/// What blocks is ended by a close, an abort or a limit; after the latter two it goes on.
pub fn ends(server: &Server, rng: &mut Rng) -> Done {
    let mut socket = connected(server, rng)?;
    let handle = socket.handle();
    let received = |result: Result<Option<Message>, Error>| result.map(drop);
    match rng.u8(0..3) {
        0 => {
            let result = ended(rng, || received(socket.receive()), || handle.close());
            Count::Closes.add(1);
            return ensure_ended(result, |error| matches!(error, Error::Closed));
        }
        1 => {
            let result = ended(rng, || received(socket.receive()), || handle.abort());
            Count::Aborts.add(1);
            ensure_ended(result, |error| matches!(error, Error::Aborted))?;
            socket.clear_abort();
        }
        _ => {
            let limit = Duration::from_micros(rng.u64(0..5_000));
            let begin = Instant::now();
            let result = received(socket.timeout(limit).receive());
            let took = begin.elapsed();
            Count::Timeouts.add(1);
            ensure_ended(result, |error| matches!(error, Error::Timeout))?;
            ensure(took >= limit, || {
                format!("a limit of {limit:?} was over after {took:?}")
            })?;
            socket.timeout(PATIENCE);
        }
    }
    message(&mut socket, rng)
}

/// Some messages in a row, which a queue reports as they come back.
pub fn queue(server: &Server, rng: &mut Rng) -> Done {
    let queue = SocketEventQueue::<u8>::new()?;
    let mut socket = connected(server, rng)?;
    queue.subscribe(&socket, WaitEvents::READ, 0)?;
    let all: Vec<Message> = (0..rng.u8(1..10)).map(|_| made_up(rng)).collect();
    for message in &all {
        let sent = socket.send(message.clone());
        told(&socket, sent)?;
    }
    socket.timeout(Duration::ZERO);
    let mut expected = all.iter();
    while expected.len() > 0 {
        let events = queue.wait(PATIENCE)?;
        Count::QueueEvents.add(events.len() as u64);
        if events.is_empty() {
            return Err(Error::Timeout.into());
        }
        let received = match socket.receive() {
            Err(Error::Timeout) => continue,
            received => received?.ok_or(Error::UnexpectedEof)?,
        };
        Count::Messages.add(1);
        let sent = expected.next();
        ensure(sent == Some(&received), || {
            format!("{sent:?} came back as {received:?}")
        })?;
    }
    Ok(())
}
