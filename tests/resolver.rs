//! `IpAddrInfo` and `connect` with the system's own resolver.
//!
//! Alone since other tests stand in for getaddrinfo(3).

#![allow(unsafe_code, reason = "a zone's number")]

mod support;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::process::Command;

use support::{PATIENCE, begin, eventually, own_threads, server};
use wakesock::{Error, IpAddrFamily, IpAddrInfo, ListenOptions, TcpSocket};

/// How the error of a look-up begins: on one line, whatever the host is.
fn resolve(host: &str) -> String {
    format!("resolve {}: ", host.replace(char::is_control, "\u{fffd}"))
}

#[test]
fn what_is_no_host_is_a_named_error_and_the_rest_goes_on() {
    let _test = begin();
    let (server, addr) = server();
    let long = "a".repeat(300);
    let label = format!("{}.invalid", "a".repeat(64));
    for bad in [
        // Windows knows what that is.
        #[cfg(target_os = "linux")]
        "",
        "a\0b",
        "\0",
        &long,
        &label,
        "no-such-host.invalid",
        "256.256.256.256",
        "[::1",
        "[localhost]",
        "fe80::1%no-such-interface",
        "[fe80::1%no-such-interface]",
        "http://localhost",
        "h\u{f6}st.invalid",
        "..",
        "-",
    ] {
        let named = |error: &Error| {
            assert!(
                matches!(error, Error::Resolve { host, .. } if host == bad),
                "{bad:?}: {error:?}"
            );
            let text = error.to_string();
            let why = text.strip_prefix(&resolve(bad));
            assert!(why.is_some_and(|why| !why.is_empty()), "{bad:?}: {text}");
        };
        let mut info = IpAddrInfo::new();
        info.start(bad, addr.port(), IpAddrFamily::Any).unwrap();
        eventually(
            || "the look-up ends".to_owned(),
            || (!info.in_progress()).then_some(()).ok_or_else(|| format!("{info:?}")),
        );
        named(&info.error().unwrap_or_else(|| panic!("{bad:?}: {info:?}")));
        assert!(info.result().is_none(), "{bad:?}: {info:?}");
        info.start("127.0.0.1", addr.port(), IpAddrFamily::Any).unwrap();
        assert!(info.error().is_none() && info.result().is_some(), "{bad:?}: {info:?}");

        let mut socket = TcpSocket::new();
        named(&socket.timeout(PATIENCE).connect(bad, addr.port()).unwrap_err());
        assert!(socket.is_error() && !socket.is_open(), "{bad:?}");
        socket.clear();
        assert!(!socket.is_error(), "{bad:?}");
        socket.connect("127.0.0.1", addr.port()).unwrap();
        assert_eq!(server.accept().unwrap().1, socket.local_addr().unwrap());
    }
}

#[test]
fn a_port_that_is_part_of_the_host_is_told() {
    let _test = begin();
    let (_server, addr) = server();
    for host in [
        addr.to_string(),
        "[::1]:80".to_owned(),
        "no-such-host.invalid:80".to_owned(),
    ] {
        let error = TcpSocket::new().connect(&host, addr.port()).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(&format!("resolve {host}: ")), "{text}");
        assert!(text.ends_with("; the port must not be part of the host"), "{text}");
    }
    let text = TcpSocket::new()
        .connect("no-such-host.invalid", 80)
        .unwrap_err()
        .to_string();
    assert!(!text.contains("port"), "{text}");
}

/// From a variable that isn't set, from a file with a line's end, from a browser.
#[test]
fn what_is_wrong_with_a_host_is_told() {
    let _test = begin();
    for (host, hint) in [
        ("", "; the host is empty"),
        ("no-such-host.invalid\n", "; white space must not be part of the host"),
        (" no-such-host.invalid", "; white space must not be part of the host"),
        ("http://127.0.0.1", "; a URL or a path is no host"),
        ("http://127.0.0.1:80/", "; a URL or a path is no host"),
        ("127.0.0.1/index.html", "; a URL or a path is no host"),
    ] {
        let error = TcpSocket::new().connect(host, 80).unwrap_err();
        assert!(
            matches!(&error, Error::Resolve { host: named, .. } if named == host),
            "{host:?}: {error:?}"
        );
        let text = error.to_string();
        assert!(text.starts_with(&resolve(host)), "{host:?}: {text}");
        assert!(text.ends_with(hint), "{host:?}: {text}");
    }
}

#[test]
fn what_was_to_be_listened_on_is_named() {
    let _test = begin();
    let mut listener = TcpSocket::new();
    let options = ListenOptions::new();
    let text = "no-such-host.invalid:80".to_owned();
    let host = text.split(':').next().unwrap();
    for listening in [
        listener.listen_on(text.as_str(), &options),
        listener.listen_on(&text, &options),
        listener.listen_on(text.clone(), &options),
        listener.listen_on((host, 80), &options),
        listener.listen_on((host.to_owned(), 80), &options),
    ] {
        let error = listening.unwrap_err();
        assert!(
            matches!(&error, Error::Resolve { host: named, .. } if named == host),
            "{error:?}"
        );
        assert!(error.to_string().starts_with(&format!("resolve {host}: ")), "{error}");
    }
    for nothing in ["", "localhost", "localhost:http", "127.0.0.1:65536", "::1", "[::1]"] {
        let error = listener.listen_on(nothing, &options).unwrap_err();
        let is_known = [ErrorKind::InvalidInput, ErrorKind::NotFound].contains(&error.kind());
        assert!(is_known, "{nothing}: {error:?}");
        let text = error.to_string();
        assert!(text.starts_with(&format!("listen on {nothing}: ")), "{text}");
    }
    let none: &[SocketAddr] = &[];
    let error = listener.listen_on(none, &options).unwrap_err();
    assert_eq!(error.to_string(), "listen: no address");

    /// An address of the program's own.
    struct Own;
    impl ToSocketAddrs for Own {
        type Iter = std::option::IntoIter<SocketAddr>;
        fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
            Err(io::Error::new(ErrorKind::NotFound, "no such service"))
        }
    }
    let error = listener.listen_on(Own, &options).unwrap_err();
    assert_eq!(error.to_string(), "look up the address to listen on: no such service");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(listener.is_error() && !listener.is_open());
    listener.listen_on("localhost:0", &options).unwrap();
}

#[test]
fn an_address_may_stand_in_brackets() {
    let _test = begin();
    let (server, addr) = server();
    let mut socket = TcpSocket::new();
    let mapped = "[::ffff:127.0.0.1]";
    socket.timeout(PATIENCE).connect(mapped, addr.port()).unwrap();
    assert_eq!(server.accept().unwrap().1.port(), socket.local_addr().unwrap().port());
    let mut info = IpAddrInfo::new();
    for (host, zone) in [("[::1]", 0), ("[fe80::1%7]", 7), ("fe80::1%7", 7)] {
        info.start(host, 5, IpAddrFamily::V6).unwrap();
        assert!(!info.in_progress(), "{host} needs no look-up");
        let ip: Ipv6Addr = if zone == 0 { "::1" } else { "fe80::1" }.parse().unwrap();
        let expected = SocketAddr::V6(SocketAddrV6::new(ip, 5, 0, zone));
        assert_eq!(info.result(), Some(&[expected][..]), "{host}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_address_may_have_the_name_of_a_zone() {
    let _test = begin();
    // SAFETY: a C string.
    let zone = unsafe { libc::if_nametoindex(c"lo".as_ptr()) };
    assert_ne!(zone, 0);
    for host in ["fe80::1%lo", "[fe80::1%lo]"] {
        let mut info = IpAddrInfo::new();
        info.execute(host, 5, IpAddrFamily::Any).unwrap();
        let expected = SocketAddrV6::new("fe80::1".parse().unwrap(), 5, 0, zone);
        assert_eq!(info.result(), Some(&[SocketAddr::V6(expected)][..]), "{host}");
    }
}

#[test]
fn an_address_is_found_without_a_thread() {
    let _test = begin();
    let before = own_threads();
    for (host, ip) in [
        ("::1", IpAddr::V6(Ipv6Addr::LOCALHOST)),
        ("127.0.0.1", IpAddr::V4(Ipv4Addr::LOCALHOST)),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1".parse().unwrap()),
    ] {
        let mut info = IpAddrInfo::new();
        info.start(host, 5, IpAddrFamily::Any).unwrap();
        assert!(!info.in_progress());
        assert_eq!(info.result(), Some(&[SocketAddr::new(ip, 5)][..]));
        assert_eq!(own_threads(), before);
    }
}

#[test]
fn a_name_of_this_machine_is_found() {
    let _test = begin();
    let mut info = IpAddrInfo::new();
    info.execute("localhost", 5, IpAddrFamily::V4).unwrap();
    let found = info.result().unwrap();
    assert!(
        found.iter().all(|addr| addr.ip().is_loopback() && addr.port() == 5),
        "{found:?}"
    );
    let error = info.execute("127.0.0.1", 5, IpAddrFamily::V6).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Other);
}

#[test]
fn the_name_of_this_machine_is_what_the_system_says() {
    let _test = begin();
    let said = Command::new("hostname").output().unwrap().stdout;
    // Windows shows a name in capitals, too.
    let said = String::from_utf8(said).unwrap();
    let is_said = said.trim_end().eq_ignore_ascii_case(&wakesock::host_name());
    assert!(is_said, "{said:?}");
}
