//! The request of a client, as a server reads it: RFC 6455, section 4.2.1.

use http::{HeaderValue, Request, Response, StatusCode, header};
use tungstenite::error::{CapacityError, ProtocolError};
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::create_response;

use super::head::{self, Budget, Refusal, has_token, read_ahead};
use crate::error::Result;
use crate::socket::TcpSocket;

/// Reads a request, and makes the response to it. Whoever sends something else is told, and the connection is closed.
pub(super) fn read_request(
    socket: &mut TcpSocket,
    budget: Budget,
    max_head: usize,
) -> Result<(Request<()>, Response<()>)> {
    try_read_request(socket, max_head).map_err(|refusal| head::refuse(socket, budget, refusal))
}

fn try_read_request(socket: &mut TcpSocket, max_head: usize) -> Result<(Request<()>, Response<()>), Refusal> {
    let mut operation = socket.begin_reading("upgrade")?;
    let length = read_ahead(socket, &mut operation, max_head, &mut 0)?;
    let parsed = Request::try_parse(&socket.buffer()[..length]).map_err(refusal_of);
    std::io::BufRead::consume(socket, length);
    let Some((_, request)) = parsed? else {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "the request is no HTTP"));
    };
    let response = create_response(&simplified(&request)).map_err(refusal_of)?;
    match fault_of(&request) {
        Some(why) => Err(Refusal::new(StatusCode::BAD_REQUEST, why)),
        None => Ok((request, response)),
    }
}

/// What is wrong with a request that tungstenite doesn't look at: RFC 6455, section 4.2.1, and RFC 9112, section 3.2.
fn fault_of(request: &Request<()>) -> Option<&'static str> {
    let headers = request.headers();
    let count = |name| headers.get_all(name).iter().count();
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    if count(header::SEC_WEBSOCKET_KEY) > 1 {
        Some("the request has several keys")
    } else if count(header::HOST) != 1 {
        Some("the request doesn't name one host")
    } else if !request.uri().path().starts_with('/') {
        Some("the request has no path")
    } else if headers.contains_key(header::TRANSFER_ENCODING) || lengths.any(|length| length != "0") {
        // It would be taken for frames.
        Some("the request has content")
    } else {
        None
    }
}

/// The request with the lists that tungstenite looks at as it knows them: in one header, and with nothing else.
fn simplified(request: &Request<()>) -> Request<()> {
    let mut simplified = request.clone();
    let headers = simplified.headers_mut();
    for (name, token) in [(header::CONNECTION, "upgrade"), (header::UPGRADE, "websocket")] {
        if has_token(headers, &name, token) {
            headers.insert(name, HeaderValue::from_static(token));
        }
    }
    simplified
}

/// What a client is told, and the program, of what tungstenite has found wrong.
fn refusal_of(error: tungstenite::Error) -> Refusal {
    let status = match &error {
        tungstenite::Error::Protocol(ProtocolError::WrongHttpMethod) => StatusCode::METHOD_NOT_ALLOWED,
        // HTTP/1.0 has no upgrades, RFC 9110, section 7.8.
        tungstenite::Error::Protocol(
            ProtocolError::WrongHttpVersion
            | ProtocolError::MissingConnectionUpgradeHeader
            | ProtocolError::MissingUpgradeWebSocketHeader
            | ProtocolError::MissingSecWebSocketVersionHeader,
        ) => StatusCode::UPGRADE_REQUIRED,
        tungstenite::Error::Capacity(CapacityError::TooManyHeaders) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        _ => StatusCode::BAD_REQUEST,
    };
    Refusal::new(status, format!("the request: {error}"))
}

/// Takes an offer of compression, if it is wanted and there is one.
#[cfg(feature = "websocket-deflate")]
pub(super) fn take_deflate(
    is_wanted: bool,
    request: &Request<()>,
    response: &mut http::HeaderMap,
) -> Option<super::deflate::Agreement> {
    let offers = is_wanted.then(|| request.headers())?;
    let (agreement, answer) = super::deflate::accept(offers)?;
    response.insert(header::SEC_WEBSOCKET_EXTENSIONS, answer);
    Some(agreement)
}
