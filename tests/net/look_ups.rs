//! A name in place of an address.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr};

use wakesock::net::{TcpListener, TcpStream};
use wakesock::{Error, ShutdownRegistry};

use crate::names::{HOST, Lookups};
use crate::support::{begin, block, server};

/// A connect to a port of the host, in the registry.
type Connect = fn(&ShutdownRegistry, u16) -> io::Result<TcpStream>;

/// The ways to say where to.
#[allow(
    clippy::needless_borrows_for_generic_args,
    reason = "references are ways of their own"
)]
const WAYS: [(&str, Connect); 8] = [
    ("&str", |registry, port| {
        TcpStream::connect_in(registry, &*format!("{HOST}:{port}"))
    }),
    ("&&str", |registry, port| {
        TcpStream::connect_in(registry, &&*format!("{HOST}:{port}"))
    }),
    ("String", |registry, port| {
        TcpStream::connect_in(registry, format!("{HOST}:{port}"))
    }),
    ("&String", |registry, port| {
        TcpStream::connect_in(registry, &format!("{HOST}:{port}"))
    }),
    ("(&str, u16)", |registry, port| {
        TcpStream::connect_in(registry, (HOST, port))
    }),
    ("&(&str, u16)", |registry, port| {
        TcpStream::connect_in(registry, &(HOST, port))
    }),
    ("(String, u16)", |registry, port| {
        TcpStream::connect_in(registry, (HOST.to_owned(), port))
    }),
    ("&(String, u16)", |registry, port| {
        TcpStream::connect_in(registry, &(HOST.to_owned(), port))
    }),
];

#[test]
fn the_registry_ends_a_look_up_in_whatever_way_the_name_is_given() {
    let _test = begin();
    let _lookups = Lookups::held();
    for (way, connect) in WAYS {
        let registry = ShutdownRegistry::new();
        let connecting = registry.clone();
        let blocked = block(move || connect(&connecting, 80).map(drop)).still_blocks();
        registry.shutdown();
        let error = blocked.result().unwrap_err();
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        assert!(matches!(inner, Some(Error::Shutdown)), "{way}: {error:?}");
    }
}

#[test]
fn what_a_name_means_is_connected_to() {
    let _test = begin();
    let (_server, addr) = server();
    let _lookups = Lookups::finding(&[IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9)), addr.ip()]);
    for (way, connect) in WAYS {
        let stream = connect(ShutdownRegistry::global(), addr.port()).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addr, "{way}");
    }
    let _lookups = Lookups::finding(&[addr.ip()]);
    let listener = TcpListener::bind((HOST, 0)).unwrap();
    assert_eq!(listener.local_addr().unwrap().ip(), addr.ip());
}

#[test]
fn why_a_name_is_not_found_is_told_by_the_kind() {
    let _test = begin();
    let _lookups = Lookups::failing(libc::EAI_NONAME);
    for (way, connect) in WAYS {
        let error = connect(ShutdownRegistry::global(), 80).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{way}: {error:?}");
    }
    let error = TcpListener::bind((HOST, 0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    let error = TcpListener::bind(format!("{HOST}:0")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
}
