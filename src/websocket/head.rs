//! HTTP's heads, RFC 9112, as far as the opening handshake needs them: reading one, answering one, and the time for all of it.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, header};

use crate::error::{Error, Result};
use crate::socket::{Ahead, Operation, Step, TcpSocket};

/// The most bytes of a head, unless the program says otherwise.
pub(super) const MAX_HEAD: usize = 16 * 1024;

/// For how long a peer that was refused may go on sending.
const LINGER: Duration = Duration::from_secs(1);

/// The time for an operation that is made of several of a socket's.
#[derive(Clone, Copy)]
pub(super) struct Budget {
    limit: Option<Duration>,
    begun: Instant,
}

impl Budget {
    pub(super) fn begin(socket: &TcpSocket) -> Budget {
        Budget {
            limit: socket.get_timeout(),
            begun: Instant::now(),
        }
    }

    pub(super) fn is_zero(self) -> bool {
        self.limit == Some(Duration::ZERO)
    }

    fn left(self) -> Option<Duration> {
        Some(self.limit?.saturating_sub(self.begun.elapsed()))
    }

    /// Runs an operation of `socket` within what is left.
    pub(super) fn run<T>(self, socket: &mut TcpSocket, run: impl FnOnce(&mut TcpSocket) -> T) -> T {
        socket.timeout(self.left());
        let result = run(socket);
        socket.timeout(self.limit);
        result
    }
}

/// Reads ahead until a head is there, and returns its length. `searched` says how far it was looked for before.
pub(super) fn read_ahead(
    socket: &mut TcpSocket,
    operation: &mut Operation,
    most: usize,
    searched: &mut usize,
) -> Result<usize, Refusal> {
    loop {
        let bytes = socket.buffer();
        // Empty lines before a head don't count, RFC 9112, section 2.2.
        let begin = bytes
            .iter()
            .position(|byte| !b"\r\n".contains(byte))
            .unwrap_or(bytes.len());
        *searched = begin.max(*searched);
        if let Some(end) = end_of_head(bytes, searched) {
            return match end <= most {
                true => Ok(end),
                false => Err(Refusal::too_long(most)),
            };
        }
        if bytes.get(begin).is_some_and(|first| !first.is_ascii_alphabetic()) {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "what came is no HTTP"));
        }
        if bytes.len() >= most {
            return Err(Refusal::too_long(most));
        }
        if socket.read_ahead_step(operation, Ahead::Usual, &|| false)? == Step::End {
            return Err(Error::UnexpectedEof.into());
        }
        if !operation.is_zero() {
            socket.check_time(operation)?;
        }
    }
}

/// Where the head ends, with its empty line. What was searched is not searched again.
fn end_of_head(bytes: &[u8], searched: &mut usize) -> Option<usize> {
    while let Some(at) = memchr::memchr(b'\n', bytes.get(*searched..)?) {
        let line_end = *searched + at;
        match bytes.get(line_end + 1..)? {
            [b'\n', ..] => return Some(line_end + 2),
            [b'\r', b'\n', ..] => return Some(line_end + 3),
            [] | [b'\r'] => {
                *searched = line_end;
                return None;
            }
            _ => *searched = line_end + 1,
        }
    }
    *searched = bytes.len();
    None
}

/// Why there is no handshake.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The peer isn't told, or can't be.
    Error(Error),
    /// What came is no such head. A client is told by this status.
    Answer(StatusCode, Cow<'static, str>),
}

impl Refusal {
    pub(super) fn new(status: StatusCode, why: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal::Answer(status, why.into())
    }

    fn too_long(most: usize) -> Refusal {
        let why = format!("its head is longer than {most} bytes");
        Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, why)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal::Error(error)
    }
}

/// Answers a request by which no WebSocket is opened, and gives the program's error. The connection is closed.
pub(super) fn refuse(socket: &mut TcpSocket, budget: Budget, refusal: Refusal) -> Error {
    let error = match refusal {
        Refusal::Error(error) => error,
        Refusal::Answer(status, why) => {
            let mut headers = refusal_headers();
            let more: &[(HeaderName, &str)] = match status {
                StatusCode::UPGRADE_REQUIRED => &[
                    (header::CONNECTION, "upgrade, close"),
                    (header::UPGRADE, "websocket"),
                    (header::SEC_WEBSOCKET_VERSION, "13"),
                ],
                StatusCode::METHOD_NOT_ALLOWED => &[(header::ALLOW, "GET")],
                _ => &[],
            };
            for (name, value) in more {
                headers.insert(name, HeaderValue::from_static(value));
            }
            // Whatever becomes of the answer, the program learns why there was one.
            let told = budget.run(socket, |socket| socket.put_all(&response(status, &headers)));
            if told.is_ok() {
                let _ = socket.finish(budget.left().unwrap_or(LINGER).min(LINGER));
            }
            socket.clear_error();
            socket.note_in_time();
            Error::NotWebSocket {
                status: Some(status.as_u16()),
                why,
            }
        }
    };
    socket.close();
    error
}

/// The headers of an answer that opens nothing, and has no content.
pub(super) fn refusal_headers() -> HeaderMap {
    HeaderMap::from_iter([
        (header::CONNECTION, HeaderValue::from_static("close")),
        (header::CONTENT_LENGTH, HeaderValue::from_static("0")),
    ])
}

/// The head of a response.
pub(super) fn response(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let reason = status.canonical_reason().unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in headers {
        append_header(&mut bytes, name, value);
    }
    bytes.extend(b"\r\n");
    bytes
}

pub(super) fn append_header(bytes: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    bytes.extend(name.as_str().as_bytes());
    bytes.extend(b": ");
    bytes.extend(value.as_bytes());
    bytes.extend(b"\r\n");
}

/// The elements of a header that is a list, RFC 9110, section 5.6.1, however many times it stands there.
pub(super) fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|element| !element.is_empty())
}

/// Whether a list has this element, in whatever case.
pub(super) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    list(headers, name).any(|element| element.eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_head_is_found_in_whatever_pieces_it_comes() {
        for head in [
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\nHost: x\n\n",
            "a\r\n\n",
            "a\n\r\n",
        ] {
            let bytes = [head.as_bytes(), b"behind it\r\n\r\n"].concat();
            for step in 1..bytes.len() {
                let mut searched = 0;
                let found = (0..).find_map(|at| {
                    let come = (at * step).min(bytes.len());
                    end_of_head(&bytes[..come], &mut searched)
                });
                assert_eq!(found, Some(head.len()), "{head:?}, {step} bytes at a time");
            }
        }
        assert_eq!(end_of_head(b"a\r\nb\r\n\r", &mut 0), None);
    }

    #[test]
    fn lists_are_read_however_they_are_written() {
        let mut headers = HeaderMap::new();
        headers.append(header::CONNECTION, HeaderValue::from_static("keep-alive,  Upgrade"));
        headers.append(header::CONNECTION, HeaderValue::from_static(",x"));
        assert_eq!(
            list(&headers, &header::CONNECTION).collect::<Vec<_>>(),
            ["keep-alive", "Upgrade", "x"]
        );
        assert!(has_token(&headers, &header::CONNECTION, "upgrade"));
        assert!(!has_token(&headers, &header::CONNECTION, "keep"));
    }
}
