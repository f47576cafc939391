//! `IpAddrInfo` and `connect` with the system's own resolver.
//!
//! Alone since other tests stand in for getaddrinfo(3).

mod support;

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;

use support::{PATIENCE, begin, eventually, own_threads, server};
use wakesock::{Error, IpAddrFamily, IpAddrInfo, TcpSocket};

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
        // Windows knows what that is.
        #[cfg(target_os = "linux")]
        "[::1]",
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
            let why = text.strip_prefix(&format!("resolve {bad}: "));
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
