//! What the workers do, each time with a server that sends back what it is sent.

use std::io::Read;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use wakesock::{Error, ListenOptions, SocketEventQueue, SocketWaitEvent, TcpReader, TcpSocket, WaitEvents};

use crate::counting::CountingWait;
use crate::figures::Count;
use crate::servers::{Kind, Server};
#[cfg(feature = "websocket")]
use crate::web;
use crate::{PATIENCE, inner, tls};

/// Why a step has not come to its end.
pub enum Failure {
    Error(Error),
    /// Something that must not be, whatever the server does.
    Wrong(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Error(error)
    }
}

pub type Done = Result<(), Failure>;

pub struct Step {
    pub name: &'static str,
    /// Whether it is for a server of this kind.
    pub can_use: fn(Kind) -> bool,
    pub run: fn(&Server, &mut Rng) -> Done,
}

const fn step(name: &'static str, run: fn(&Server, &mut Rng) -> Done) -> Step {
    Step {
        name,
        can_use: |kind| !kind.speaks_by_messages(),
        run,
    }
}

/// It takes several connections at once, which a server of few threads might not serve at once.
const fn step_of_several(name: &'static str, run: fn(&Server, &mut Rng) -> Done) -> Step {
    Step {
        name,
        can_use: |kind| !kind.has_threads(),
        run,
    }
}

#[cfg(feature = "websocket")]
const fn step_of_messages(name: &'static str, run: fn(&Server, &mut Rng) -> Done) -> Step {
    Step {
        name,
        can_use: |kind| kind.speaks_by_messages(),
        run,
    }
}

pub const STEPS: &[Step] = &[
    step("lines", lines),
    step("single bytes", single_bytes),
    step("bulk transfer", bulk),
    step("close", close),
    step("close of a listener", close_listener),
    step("abort", abort),
    step("timeout", timeout),
    step("reopening", reopen),
    step_of_several("wait event", wait_event),
    step_of_several("queue", queue),
    #[cfg(feature = "websocket")]
    step_of_messages("messages", web::messages),
    #[cfg(feature = "websocket")]
    step_of_messages("messages both ways at once", web::both_directions),
    #[cfg(feature = "websocket")]
    step_of_messages("ends of messages", web::ends),
    #[cfg(feature = "websocket")]
    step_of_messages("queue of messages", web::queue),
];

fn unopened() -> TcpSocket {
    let mut socket = TcpSocket::new();
    socket.set_raw_wait(Arc::new(CountingWait::default()));
    socket.timeout(PATIENCE);
    socket
}

fn connect(socket: &mut TcpSocket, server: &Server) -> Result<(), Error> {
    socket.connect_to(&[server.addr()])?;
    Count::Connections.add(1);
    socket.no_delay()?;
    if server.is_under_tls {
        tls::begin_client(socket)?;
        Count::Handshakes.add(1);
    }
    Ok(())
}

fn connected(server: &Server) -> Result<TcpSocket, Error> {
    let mut socket = unopened();
    connect(&mut socket, server)?;
    Ok(socket)
}

pub fn ensure(holds: bool, seen: impl FnOnce() -> String) -> Done {
    if holds { Ok(()) } else { Err(Failure::Wrong(seen())) }
}

/// Sends a line and has it back.
fn line(socket: &mut TcpSocket, rng: &mut Rng) -> Done {
    let text: String = (0..rng.usize(0..200)).map(|_| rng.alphanumeric()).collect();
    socket.put_all(format!("{text}\r\n").as_bytes())?;
    let answer = match rng.u8(0..3) {
        0 => socket.get_line()?.map(String::into_bytes),
        1 => socket.get_line_bytes(200)?,
        _ => {
            let mut line = Vec::new();
            socket.get_line_into(&mut line, 200)?.then_some(line)
        }
    };
    let answer = answer.ok_or(Error::UnexpectedEof)?;
    Count::Lines.add(1);
    Count::Bytes.add(2 * (text.len() as u64 + 2));
    ensure(answer == text.as_bytes(), || {
        format!("{text:?} came back as \"{}\"", answer.escape_ascii())
    })
}

fn lines(server: &Server, rng: &mut Rng) -> Done {
    let mut socket = connected(server)?;
    for _ in 0..rng.u8(1..30) {
        line(&mut socket, rng)?;
    }
    Ok(())
}

fn single_bytes(server: &Server, rng: &mut Rng) -> Done {
    let mut socket = connected(server)?;
    for _ in 0..rng.u8(1..60) {
        let sent = rng.u8(..);
        socket.put_all(&[sent])?;
        let seen = socket.peek()?.ok_or(Error::UnexpectedEof)?;
        let taken = socket.get_byte()?.ok_or(Error::UnexpectedEof)?;
        Count::Bytes.add(2);
        ensure((seen, taken) == (sent, sent), || {
            format!("byte {sent} came back as {seen} and {taken}")
        })?;
    }
    Ok(())
}

/// The bytes of a connection: no two connections with the same in the same place, but by chance.
fn pattern(seed: usize, from: usize, len: usize) -> Vec<u8> {
    // A prime number, so that a missing or doubled piece is noticed.
    (from..from + len).map(|index| ((seed + index) % 251) as u8).collect()
}

fn bulk(server: &Server, rng: &mut Rng) -> Done {
    const PART: usize = 10_000;
    let (mut reader, mut writer) = connected(server)?.split();
    let (seed, len) = (rng.usize(0..251), rng.usize(64 << 10..1 << 20));
    let (sent, received) = thread::scope(|scope| {
        let sending = scope.spawn(|| {
            for from in (0..len).step_by(PART) {
                writer.put_all(&pattern(seed, from, PART.min(len - from)))?;
            }
            writer.shutdown()
        });
        let received = receive_pattern(&mut reader, seed, len, rng);
        if received.is_err() {
            reader.close();
        }
        (sending.join().expect("no panic"), received)
    });
    received?;
    sent?;
    let joined = reader.unsplit(writer);
    ensure(joined.is_ok(), || "halves don't fit".to_owned())
}

fn receive_pattern(reader: &mut TcpReader, seed: usize, len: usize, rng: &mut Rng) -> Done {
    let mut received = 0;
    loop {
        let asked = rng.usize(1..30_000);
        let part = match rng.u8(0..3) {
            0 => reader.get_bytes(asked)?,
            1 => {
                let mut buf = vec![0; asked];
                let count = reader.read(&mut buf).map_err(inner)?;
                buf.truncate(count);
                buf
            }
            _ => {
                let mut buf = vec![0; asked];
                let count = reader.get(&mut buf)?;
                buf.truncate(count);
                buf
            }
        };
        if part.is_empty() {
            break;
        }
        ensure(part == pattern(seed, received, part.len()), || {
            format!("other bytes than those sent, from {received} on, of {len}")
        })?;
        received += part.len();
        Count::Bytes.add(2 * part.len() as u64);
    }
    // The server may have been ended in the middle.
    match received.cmp(&len) {
        std::cmp::Ordering::Less => Err(Error::UnexpectedEof.into()),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(Failure::Wrong(format!("{received} bytes of {len}"))),
    }
}

/// A read that blocks for as long as nothing comes.
fn blocking_read(socket: &mut TcpSocket, which: u8) -> Result<(), Error> {
    socket.blocking();
    match which {
        0 => socket.get(&mut [0; 8]).map(drop),
        1 => socket.get_line().map(drop),
        2 => socket.peek().map(drop),
        3 => socket.wait_read(),
        _ => socket.read(&mut [0; 8]).map(drop).map_err(inner),
    }
}

/// Ends something that blocks, in another thread, by `end`, now or in a moment.
pub fn ended<T: Send>(rng: &mut Rng, blocking: impl FnOnce() -> T + Send, end: impl FnOnce()) -> T {
    thread::scope(|scope| {
        let blocked = scope.spawn(blocking);
        // The end comes before, at or after the beginning.
        thread::sleep(Duration::from_micros(rng.u64(0..500)));
        end();
        blocked.join().expect("no panic")
    })
}

/// Whether a blocked operation has ended as it should; in another way it may only by the server's end.
pub fn ensure_ended(result: Result<(), Error>, as_expected: fn(&Error) -> bool) -> Done {
    match result {
        Err(error) if as_expected(&error) => Ok(()),
        Err(error) => Err(error.into()),
        // It has read, or could read, the end of the stream.
        Ok(()) => Err(Error::UnexpectedEof.into()),
    }
}

fn close(server: &Server, rng: &mut Rng) -> Done {
    let mut socket = connected(server)?;
    let handle = socket.handle();
    let which = rng.u8(0..5);
    let result = ended(rng, || blocking_read(&mut socket, which), || handle.close());
    Count::Closes.add(1);
    ensure_ended(result, |error| matches!(error, Error::Closed))
}

fn close_listener(_: &Server, rng: &mut Rng) -> Done {
    let mut listener = unopened();
    listener.blocking().listen_on("127.0.0.1:0", &ListenOptions::new())?;
    let handle = listener.handle();
    let result = ended(rng, || listener.accept_new().map(drop), || handle.close());
    Count::Closes.add(1);
    ensure_ended(result, |error| matches!(error, Error::Closed))
}

fn abort(server: &Server, rng: &mut Rng) -> Done {
    let mut socket = connected(server)?;
    let handle = socket.handle();
    let which = rng.u8(0..5);
    let result = ended(rng, || blocking_read(&mut socket, which), || handle.abort());
    Count::Aborts.add(1);
    ensure_ended(result, |error| matches!(error, Error::Aborted))?;
    // The connection is as good as before.
    socket.clear_abort();
    socket.timeout(PATIENCE);
    line(&mut socket, rng)
}

fn timeout(server: &Server, rng: &mut Rng) -> Done {
    let mut socket = connected(server)?;
    let limit = Duration::from_micros(rng.u64(0..5_000));
    let begin = Instant::now();
    let result = socket.timeout(limit).get_byte().map(drop);
    let took = begin.elapsed();
    Count::Timeouts.add(1);
    ensure_ended(result, |error| matches!(error, Error::Timeout))?;
    ensure(took >= limit, || {
        format!("a limit of {limit:?} was over after {took:?}")
    })?;
    socket.timeout(PATIENCE);
    line(&mut socket, rng)
}

fn reopen(server: &Server, rng: &mut Rng) -> Done {
    let mut socket = unopened();
    for _ in 0..3 {
        connect(&mut socket, server)?;
        line(&mut socket, rng)?;
        if rng.bool() {
            socket.close();
        }
    }
    Ok(())
}

fn wait_event(server: &Server, rng: &mut Rng) -> Done {
    let mut sockets = (0..4).map(|_| connected(server)).collect::<Result<Vec<_>, _>>()?;
    let sent = rng.u8(..);
    for socket in &mut sockets {
        socket.put_all(&[sent])?;
    }
    while !sockets.is_empty() {
        let mut waiting = SocketWaitEvent::new();
        for socket in &sockets {
            waiting.add(socket, WaitEvents::READ);
        }
        if waiting.wait(PATIENCE)? == 0 {
            return Err(Error::Timeout.into());
        }
        for index in (0..sockets.len()).rev() {
            if waiting[index].contains(WaitEvents::READ) {
                let mut socket = sockets.swap_remove(index);
                let received = socket.get_byte()?.ok_or(Error::UnexpectedEof)?;
                Count::Bytes.add(2);
                ensure(received == sent, || format!("byte {sent} came back as {received}"))?;
            }
        }
    }
    Ok(())
}

fn queue(server: &Server, rng: &mut Rng) -> Done {
    let queue = SocketEventQueue::new()?;
    let mut sockets = (0..6).map(|_| connected(server)).collect::<Result<Vec<_>, _>>()?;
    let sent = rng.u8(..);
    for (index, socket) in sockets.iter_mut().enumerate() {
        queue.subscribe(&*socket, WaitEvents::READ, index)?;
        socket.put_all(&[sent])?;
    }
    let mut left = sockets.len();
    while left > 0 {
        for event in wait(&queue)? {
            let socket = &mut sockets[*event.token()];
            let received = socket.get_byte()?.ok_or(Error::UnexpectedEof)?;
            Count::Bytes.add(2);
            ensure(received == sent, || format!("byte {sent} came back as {received}"))?;
            left -= 1;
        }
    }
    let handle = sockets[0].handle();
    let events = ended(rng, || wait(&queue), || handle.close())?;
    Count::Closes.add(1);
    if !events.iter().any(|event| *event.token() == 0 && event.is_closed()) {
        // What else could it have been told of?
        return Err(Error::UnexpectedEof.into());
    }
    for socket in &sockets[1..] {
        queue.remove(socket)?;
    }
    ensure(queue.len() == 0, || format!("{} are left in a queue", queue.len()))
}

fn wait(queue: &SocketEventQueue<usize>) -> Result<Vec<wakesock::SocketEvent<usize>>, Error> {
    let events = queue.wait(PATIENCE)?;
    Count::QueueEvents.add(events.len() as u64);
    if events.is_empty() {
        return Err(Error::Timeout);
    }
    Ok(events)
}
