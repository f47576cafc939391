//! The URL of a WebSocket: RFC 6455, section 3.

use http::uri::Uri;

use crate::error::{Error, OneLine, Result};

/// What a URL says: where to connect, and what to ask for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) is_secure: bool,
    /// Host and port as the request names them: without the port if it is the usual one.
    pub(super) authority: String,
    /// Path and query, as the request has them.
    pub(super) path: String,
}

impl Target {
    /// Takes a URL apart. Fails if it is none of a WebSocket.
    pub(super) fn parse(url: &str) -> Result<Target> {
        let wrong = |why: &str| Error::NotWebSocket {
            status: None,
            why: format!("{}: {why}", shown(url)).into(),
        };
        let uri: Uri = url.parse().map_err(|_| wrong("not a URL of ws:// or wss://"))?;
        let is_secure = match uri.scheme_str() {
            Some(scheme) if scheme.eq_ignore_ascii_case("ws") => false,
            Some(scheme) if scheme.eq_ignore_ascii_case("wss") => true,
            _ => return Err(wrong("not a URL of ws:// or wss://")),
        };
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| wrong("no host"))?;
        let usual = if is_secure { 443 } else { 80 };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return Err(wrong("a name or a password in a URL is not supported"));
        }
        let port = match authority.strip_prefix(host) {
            Some("") => usual,
            Some(rest) => rest
                .strip_prefix(':')
                .filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|port| port.parse().ok())
                .ok_or_else(|| wrong("not a port"))?,
            None => return Err(wrong("not a URL")),
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let separator = if path.starts_with('/') { "" } else { "/" };
        Ok(Target {
            host: host.to_owned(),
            port,
            is_secure,
            authority: if port == usual {
                host.to_owned()
            } else {
                format!("{host}:{port}")
            },
            path: format!("{separator}{}", encoded(path)),
        })
    }
}

/// A URL as errors show it: in one line, and without a password.
fn shown(url: &str) -> String {
    // Without a scheme nothing says where the host begins, behind the last `@`.
    let (authority, end) = match url.find("://") {
        Some(scheme) => {
            let authority = url.len() - url[scheme + 3..].trim_start_matches('/').len();
            let path = url[authority..].find(['/', '?', '#']);
            (authority, path.map_or(url.len(), |path| authority + path))
        }
        None => (0, url.len()),
    };
    let host = url[authority..end].rfind('@').map(|host| authority + host);
    let shown = match host {
        Some(host) => format!("{}\u{2026}{}", &url[..authority], &url[host..]),
        None => url.to_owned(),
    };
    OneLine(&shown).to_string()
}

/// As it may stand in a request: RFC 3986, section 2.1, for what isn't ASCII.
fn encoded(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte.is_ascii() {
            true => encoded.push(byte.into()),
            false => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_say_where_to_connect_and_what_to_ask_for() {
        let cases = [
            ("ws://example.com", ("example.com", 80, false, "example.com", "/")),
            ("ws://example.com:80/", ("example.com", 80, false, "example.com", "/")),
            (
                "WS://example.com:8080/a/b?c=d&e",
                ("example.com", 8080, false, "example.com:8080", "/a/b?c=d&e"),
            ),
            ("wss://example.com?x", ("example.com", 443, true, "example.com", "/?x")),
            ("wss://[::1]:444/#part", ("[::1]", 444, true, "[::1]:444", "/")),
            ("ws://[fe80::1]", ("[fe80::1]", 80, false, "[fe80::1]", "/")),
            ("ws://example.com#a/b@c", ("example.com", 80, false, "example.com", "/")),
            ("ws://example.com:0/", ("example.com", 0, false, "example.com:0", "/")),
            (
                "ws://example.com/gr\u{f6}\u{df}e?\u{e4}=%41",
                ("example.com", 80, false, "example.com", "/gr%C3%B6%C3%9Fe?%C3%A4=%41"),
            ),
        ];
        for (url, (host, port, is_secure, authority, path)) in cases {
            let expected = Target {
                host: host.to_owned(),
                port,
                is_secure,
                authority: authority.to_owned(),
                path: path.to_owned(),
            };
            assert_eq!(Target::parse(url).unwrap(), expected, "{url}");
        }
    }

    #[test]
    fn what_is_no_url_of_a_websocket_is_refused() {
        for url in [
            "",
            "example.com",
            "/path",
            "http://example.com/",
            "https://example.com/",
            "ws:example.com",
            "ws://",
            "ws:///path",
            "ws://example.com:99999/",
            "ws://example.com:/",
            "ws://example.com:+80/",
            "ws://example.com:80:80/",
            "ws://example.com:-1/",
            "ws://[::1/",
            "ws://::1/",
            "ws://[::1]x:80/",
            "ws://:80/",
            "ws://@example.com/",
            "ws://ex\u{e4}mple.com/",
            "ws://example.com/a b",
            "ws://example.com/\r\nX: y",
            " ws://example.com/",
            "ws://user:secret@example.com/",
            "ws://exa mple.com/",
        ] {
            let error = Target::parse(url).unwrap_err();
            assert!(
                matches!(error, Error::NotWebSocket { status: None, .. }),
                "{url}: {error}"
            );
        }
    }

    #[test]
    fn an_error_shows_no_password_and_is_one_line() {
        let cases = [
            ("ws://user:secret@example.com/a@b", "ws://\u{2026}@example.com/a@b"),
            ("user:se@cret@example.com", "\u{2026}@example.com"),
            // No URLs, but somebody's password.
            ("//user:secret@example.com", "\u{2026}@example.com"),
            ("ws:/user:secret@example.com", "\u{2026}@example.com"),
            ("ws:///user:secret@example.com/", "ws:///\u{2026}@example.com/"),
            ("http://example.com/a@b", "http://example.com/a@b"),
            ("ws://example.com/\r\nX: y", "ws://example.com/\u{fffd}\u{fffd}X: y"),
        ];
        for (url, shown) in cases {
            let error = Target::parse(url).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("not a WebSocket: {shown}: ")),
                "{url}: {error}"
            );
        }
    }

    #[test]
    fn who_has_left_the_scheme_out_is_told() {
        for url in ["localhost:8080/chat", "localhost:8080", "localhost"] {
            let error = Target::parse(url).unwrap_err().to_string();
            assert_eq!(error, format!("not a WebSocket: {url}: not a URL of ws:// or wss://"));
        }
    }
}
