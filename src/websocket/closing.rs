//! The closing handshake, RFC 6455, section 7.1: of a whole WebSocket, and of the half that sends.

use super::close::{end_answered, end_connection};
use super::frames::{MOST_CONTROL, may_be_sent};
use super::limits::Limits;
use super::link::Link;
use super::receiving::Receiving;
use super::sending::{failed, misuse};
use crate::error::{Error, Result};
use crate::events::WaitEvents;
use crate::socket::{Operation, TcpSocket};

/// Fails if a close frame mustn't say this.
pub(super) fn check(code: u16, reason: &str) -> Result<()> {
    if !may_be_sent(code) {
        return Err(misuse("close", "a code that may not be sent"));
    }
    if reason.len() > MOST_CONTROL - 2 {
        return Err(misuse("close", "a reason of more than 123 bytes"));
    }
    Ok(())
}

/// Sends a close frame, as far as the limit goes.
pub(super) fn start(socket: &mut TcpSocket, link: &Link, code: u16, reason: &str) -> Result<()> {
    check(code, reason)?;
    let mut operation = socket.begin_writing("close")?;
    let closed = link.close(socket, Some(code), reason);
    if closed.map_err(|error| failed(socket, error))? {
        end_answered(socket, link);
        return Ok(());
    }
    match link.drain(socket, &mut operation) {
        Err(error) if error.is_timeout() => socket.note_timeout(),
        Ok(()) => end_answered(socket, link),
        Err(Error::Aborted | Error::Closed | Error::Shutdown) => {}
        Err(error) => return Err(failed(socket, error)),
    }
    socket.wake_steps();
    Ok(())
}

/// Makes the closing handshake, and ends the connection.
pub(super) fn close(
    socket: &mut TcpSocket,
    link: &Link,
    receiving: &mut Receiving,
    limits: Limits,
    code: u16,
    reason: &str,
) -> Result<()> {
    check(code, reason)?;
    socket.note_in_time();
    let result = match receiving.ended() {
        Some(ended) => ended,
        None => handshake(socket, link, receiving, limits, code, reason),
    };
    socket.close();
    result.map_err(|error| socket.noted(error))
}

fn handshake(
    socket: &mut TcpSocket,
    link: &Link,
    receiving: &mut Receiving,
    limits: Limits,
    code: u16,
    reason: &str,
) -> Result<()> {
    let mut operation = socket.begin_ending("close", limits.close)?;
    // Where nothing can be sent, what the peer has sent may still tell more.
    let _ = link.close(socket, Some(code), reason);
    receiving.await_close(socket, link, limits, &mut operation)?;
    link.drain(socket, &mut operation)?;
    end_connection(socket, link, &mut operation);
    Ok(())
}

/// Makes the closing handshake by the half that writes, while another thread reads, and ends the connection.
pub(super) fn close_beside_reader(
    socket: &mut TcpSocket,
    link: &Link,
    limits: Limits,
    code: u16,
    reason: &str,
) -> Result<()> {
    check(code, reason)?;
    socket.note_in_time();
    let result = match link.reading_ended() {
        // But for an answer that isn't sent yet.
        Some(ended) if ended.is_err() || !link.has_unsent() => ended,
        _ => await_reader(socket, link, limits, code, reason),
    };
    socket.close();
    result.map_err(|error| socket.noted(error))
}

fn await_reader(socket: &mut TcpSocket, link: &Link, limits: Limits, code: u16, reason: &str) -> Result<()> {
    match handshake_beside_reader(socket, link, limits, code, reason) {
        // The reader ends the connection after the handshake.
        Err(Error::Closed) => link.reading_ended().unwrap_or(Err(Error::Closed)),
        result => result,
    }
}

fn handshake_beside_reader(socket: &mut TcpSocket, link: &Link, limits: Limits, code: u16, reason: &str) -> Result<()> {
    let mut operation = socket.begin_ending("close", limits.close)?;
    let closed = link.close(socket, Some(code), reason);
    let sent = closed.and_then(|_| link.drain(socket, &mut operation));
    match sent {
        // Where nothing can be sent, what the peer has sent may still tell more.
        Err(Error::Io { .. }) => {
            let _ = await_end_of_reading(socket, link, &mut operation);
            socket.note_in_time();
            link.reading_ended().unwrap_or(sent)
        }
        _ => sent.and_then(|()| await_end_of_reading(socket, link, &mut operation)),
    }
}

fn await_end_of_reading(socket: &mut TcpSocket, link: &Link, operation: &mut Operation) -> Result<()> {
    let is_over = || link.reading_ended().is_some();
    loop {
        match link.reading_ended() {
            Some(ended) => return ended,
            None => socket.ready_step(operation, WaitEvents::empty(), &is_over, false)?,
        };
    }
}
