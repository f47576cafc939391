//! The response of a server, as a client reads it: RFC 6455, section 4.1.

use std::io::BufRead;

use http::{StatusCode, header};
use tungstenite::handshake::client::Response;
use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::machine::TryParse;

use super::client::Client;
use super::head::{Refusal, has_token, list, read_ahead};
use crate::error::{Error, Result};
use crate::socket::{Operation, TcpSocket};

/// Reads the head of a response. Returns its length, too.
pub(super) fn read_response(
    socket: &mut TcpSocket,
    operation: &mut Operation,
    max_head: usize,
    searched: &mut usize,
) -> Result<(Response, usize)> {
    let length = read_ahead(socket, operation, max_head, searched).map_err(|refusal| match refusal {
        Refusal::Error(error) => error,
        Refusal::Answer(_, why) => Error::NotWebSocket { status: None, why },
    })?;
    let parsed = Response::try_parse(&socket.buffer()[..length]);
    socket.consume(length);
    match parsed {
        Ok(Some((_, response))) => Ok((response, length)),
        Ok(None) => Err(Error::NotWebSocket {
            status: None,
            why: "the answer is no HTTP".into(),
        }),
        Err(error) => Err(Error::NotWebSocket {
            status: None,
            why: format!("the answer: {error}").into(),
        }),
    }
}

/// What compresses, if the server has agreed to an offer.
#[cfg(feature = "websocket-deflate")]
pub(super) fn extension(response: &Response, client: &Client) -> Result<Option<super::deflate::Agreement>> {
    let mut extensions = list(response.headers(), &header::SEC_WEBSOCKET_EXTENSIONS);
    let Some(extension) = extensions.next() else {
        return Ok(None);
    };
    let agreement = super::deflate::agreed(extension).filter(|_| client.offers_deflate());
    match (agreement, extensions.next()) {
        (Some(agreement), None) => Ok(Some(agreement)),
        (Some(_), Some(another)) => Err(not_offered(response, another)),
        (None, _) => Err(not_offered(response, extension)),
    }
}

#[cfg(not(feature = "websocket-deflate"))]
pub(super) struct NoExtension;

#[cfg(not(feature = "websocket-deflate"))]
pub(super) fn extension(response: &Response, _client: &Client) -> Result<NoExtension> {
    match list(response.headers(), &header::SEC_WEBSOCKET_EXTENSIONS).next() {
        None => Ok(NoExtension),
        Some(extension) => Err(not_offered(response, extension)),
    }
}

fn not_offered(response: &Response, extension: &str) -> Error {
    Error::NotWebSocket {
        status: Some(response.status().as_u16()),
        why: format!("the server uses an extension that wasn't offered: {extension}").into(),
    }
}

/// Checks an answer as RFC 6455, section 4.1, says. Returns the protocol.
pub(super) fn check(response: &Response, key: &str, client: &Client) -> Result<Option<Box<str>>> {
    let status = response.status();
    let headers = response.headers();
    let wrong = |why: String| Error::NotWebSocket {
        status: Some(status.as_u16()),
        why: why.into(),
    };
    if status != StatusCode::SWITCHING_PROTOCOLS {
        let place = headers.get(header::LOCATION).and_then(|place| place.to_str().ok());
        return Err(wrong(match place {
            Some(place) if status.is_redirection() => format!("the server answers {status}: {place}"),
            _ => format!("the server answers {status}"),
        }));
    }
    if !has_token(headers, &header::UPGRADE, "websocket") || !has_token(headers, &header::CONNECTION, "upgrade") {
        return Err(wrong("the server upgrades to something else".into()));
    }
    let accept = headers.get(header::SEC_WEBSOCKET_ACCEPT);
    if accept.is_none_or(|accept| accept != &derive_accept_key(key.as_bytes())) {
        return Err(wrong("the server's answer is to another key".into()));
    }
    let mut protocols = list(headers, &header::SEC_WEBSOCKET_PROTOCOL);
    let Some(protocol) = protocols.next() else {
        return Ok(None);
    };
    let is_offered = client.protocols().iter().any(|offered| **offered == *protocol);
    if !is_offered || protocols.next().is_some() {
        return Err(wrong(format!(
            "the server speaks a protocol that wasn't offered: {protocol}"
        )));
    }
    Ok(Some(protocol.into()))
}
