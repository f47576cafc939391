//! What isn't TLS, what is broken off, changed or never ends, and whom nobody vouches for: a named error with the peer in it,
//! an alert to the peer, and nobody else disturbed.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, date_time_ymd};
use wakesock::rustls::server::WebPkiClientVerifier;
use wakesock::rustls::{
    self, AlertDescription, CertificateError, ClientConfig, InvalidMessage, RootCertStore, ServerConfig,
    SupportedProtocolVersion, version,
};
use wakesock::{Error, TcpSocket, tls};

use crate::ends::{pair, plain_pair};
use crate::peer::{Peer, at_once, over_tcp, shake, tls_error};
use crate::support::certificates::{CERTIFICATES, NAME, client_config, der, issue, server_config};
use crate::support::{BlackHole, PATIENCE, Random, begin, block, listener, std_pair};

static VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(crate) fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let (authority, _) = der(&CERTIFICATES.authority_pem, &CERTIFICATES.key_pem);
    roots.add_parsable_certificates(authority);
    roots
}

/// A client's configuration that speaks only `version`.
pub(crate) fn client_of(version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]);
    Arc::new(builder.unwrap().with_root_certificates(roots()).with_no_client_auth())
}

fn params() -> CertificateParams {
    CertificateParams::new([NAME.to_owned()]).unwrap()
}

/// A server that isn't whom its client wants, why the client says so, and what the server is told.
type Impostor = (Arc<ServerConfig>, fn(&CertificateError) -> bool, AlertDescription);

fn impostors() -> Vec<Impostor> {
    let config = |(chain, key): (String, String)| tls::server_config(chain.as_bytes(), key.as_bytes()).unwrap();
    let issued = |change: fn(&mut CertificateParams)| {
        let mut params = params();
        change(&mut params);
        config(issue(&CERTIFICATES.authority, params))
    };
    let key = KeyPair::generate().unwrap();
    let self_signed = config((params().self_signed(&key).unwrap().pem(), key.serialize_pem()));
    let unknown = Issuer::new(params(), KeyPair::generate().unwrap());
    // Its issuer is called as one that is trusted, and isn't that one.
    let mut namesake = CertificateParams::new([]).unwrap();
    namesake.distinguished_name.push(DnType::CommonName, "authority");
    let namesake = Issuer::new(namesake, KeyPair::generate().unwrap());
    vec![
        (
            config(issue(&namesake, params())),
            |error| matches!(error, CertificateError::BadSignature),
            AlertDescription::DecryptError,
        ),
        (
            issued(|params| {
                params.subject_alt_names = CertificateParams::new(["other.test".to_owned()])
                    .unwrap()
                    .subject_alt_names
            }),
            |error| matches!(error, CertificateError::NotValidForNameContext { .. }),
            AlertDescription::BadCertificate,
        ),
        (
            issued(|params| {
                params.not_before = date_time_ymd(2001, 1, 1);
                params.not_after = date_time_ymd(2002, 1, 1);
            }),
            |error| matches!(error, CertificateError::ExpiredContext { .. }),
            AlertDescription::CertificateExpired,
        ),
        (
            issued(|params| params.not_before = date_time_ymd(4000, 1, 1)),
            |error| matches!(error, CertificateError::NotValidYetContext { .. }),
            AlertDescription::CertificateExpired,
        ),
        (
            issued(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
            |error| matches!(error, CertificateError::InvalidPurposeContext { .. }),
            AlertDescription::UnsupportedCertificate,
        ),
        (
            self_signed,
            |error| matches!(error, CertificateError::UnknownIssuer),
            AlertDescription::UnknownCA,
        ),
        (
            config(issue(&unknown, params())),
            |error| matches!(error, CertificateError::UnknownIssuer),
            AlertDescription::UnknownCA,
        ),
    ]
}

#[test]
fn a_server_with_a_bad_certificate_is_refused_and_told_why() {
    let _test = begin();
    for (impostor, is_expected, alert) in impostors() {
        for version in VERSIONS {
            let (mut client, mut server) = plain_pair();
            let (refusing, refused) = thread::scope(|scope| {
                let refused = scope.spawn(|| server.start_tls_server(&impostor));
                (client.start_tls(NAME, &client_of(version)), refused.join().unwrap())
            });
            let (operation, error) = tls_error(refusing);
            assert_eq!(operation, format!("start_tls with {}", client.peer_addr().unwrap()));
            assert!(
                matches!(&error, rustls::Error::InvalidCertificate(error) if is_expected(error)),
                "{error:?}"
            );
            let (operation, error) = tls_error(refused);
            assert_eq!(
                operation,
                format!("start_tls_server with {}", server.peer_addr().unwrap())
            );
            assert_eq!(error, rustls::Error::AlertReceived(alert));
            assert!(matches!(client.put(b"secret"), Err(Error::Tls { .. })));
            assert!(matches!(server.get(&mut [0; 1]), Err(Error::Tls { .. })));
        }
    }
}

/// Each kind of bad input, with what it is told by, in which `PEER` stands for the peer.
#[test]
fn a_failure_says_which_operation_it_was_with_whom_and_why() {
    let _test = begin();
    type Bad = fn(&mut TcpSocket, &mut TcpStream) -> Result<(), Error>;
    /// Makes the handshake, for whose client there is `client` and for whose server `server`.
    fn shaken(
        socket: &mut TcpSocket,
        stream: &TcpStream,
        client: &Arc<ClientConfig>,
        server: &Arc<ServerConfig>,
    ) -> Result<(), Error> {
        let mut peer = Peer::client(client, stream.try_clone().unwrap().into());
        thread::scope(|scope| {
            let shaking = scope.spawn(|| socket.start_tls_server(server));
            while !shaking.is_finished() {
                let said = peer.said();
                peer.send(&said);
                peer.take();
                thread::yield_now();
            }
            shaking.join().unwrap()
        })
    }
    let kinds: [(&str, Bad); 7] = [
        (
            "start_tls_server with PEER: received corrupt message of type InvalidContentType",
            |socket, stream| {
                stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
                socket.start_tls_server(&server_config())
            },
        ),
        (
            "start_tls_server with PEER: peer is incompatible: Tls12NotOffered",
            |socket, stream| {
                stream.write_all(&old_hello([3, 2])).unwrap();
                socket.start_tls_server(&server_config())
            },
        ),
        (
            "start_tls_server with PEER: peer sent no certificates",
            |socket, stream| shaken(socket, stream, &client_of(&version::TLS12), &asking()),
        ),
        (
            "start_tls_server with PEER: the peer has ended the stream in the handshake",
            |socket, stream| {
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                socket.start_tls_server(&server_config())
            },
        ),
        (
            "get_line from PEER: received corrupt message of type MessageTooLarge",
            |socket, stream| {
                shaken(socket, stream, &client_config(), &server_config()).unwrap();
                stream.write_all(&[23, 3, 3, 0xff, 0xff]).unwrap();
                socket.get_line().map(drop)
            },
        ),
        // These two, as every limit and every end, are named by whoever has called: they have no room for more.
        ("stream was cut off: it ended without close_notify", |socket, stream| {
            shaken(socket, stream, &client_config(), &server_config()).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            socket.get_line().map(drop)
        }),
        ("TLS handshake timed out", |socket, _| {
            socket
                .tls_limit(Duration::from_millis(5))
                .start_tls_server(&server_config())
        }),
    ];
    for (text, bad) in kinds {
        let (own, mut stream) = std_pair();
        let mut socket = TcpSocket::from(own);
        socket.timeout(PATIENCE);
        let error = bad(&mut socket, &mut stream).unwrap_err();
        let peer = socket.peer_addr().unwrap().to_string();
        assert_eq!(error.to_string(), text.replace("PEER", &peer));
        assert_eq!(socket.error_desc(), error.to_string());
    }
}

/// A server that asks for certificates of the authority of [`CERTIFICATES`].
fn asking() -> Arc<ServerConfig> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots()), provider());
    let (chain, key) = der(&CERTIFICATES.chain_pem, &CERTIFICATES.key_pem);
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.unwrap().with_client_cert_verifier(verifier.build().unwrap());
    Arc::new(builder.with_single_cert(chain, key).unwrap())
}

#[test]
fn a_client_without_a_certificate_or_with_a_bad_one_is_refused_and_told_why() {
    let _test = begin();
    let unknown = Issuer::new(params(), KeyPair::generate().unwrap());
    let bad = issue(&unknown, CertificateParams::new(["client".to_owned()]).unwrap());
    for (certificate, alert) in [
        (None, AlertDescription::CertificateRequired),
        (Some(bad), AlertDescription::UnknownCA),
    ] {
        for version in VERSIONS {
            let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]);
            let builder = builder.unwrap().with_root_certificates(roots());
            let config = match &certificate {
                None => builder.with_no_client_auth(),
                Some((chain, key)) => {
                    let (chain, key) = der(chain, key);
                    builder.with_client_auth_cert(chain, key).unwrap()
                }
            };
            let (mut client, mut server) = plain_pair();
            let (shaken, refusing) = thread::scope(|scope| {
                let refusing = scope.spawn(|| server.start_tls_server(&asking()));
                (client.start_tls(NAME, &Arc::new(config)), refusing.join().unwrap())
            });
            let (operation, error) = tls_error(refusing);
            assert_eq!(
                operation,
                format!("start_tls_server with {}", server.peer_addr().unwrap())
            );
            match &certificate {
                None => assert_eq!(error, rustls::Error::NoCertificatesPresented),
                Some(_) => assert_eq!(
                    error,
                    rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)
                ),
            }
            // With TLS 1.3, the client's handshake is over before the server has seen its certificate: RFC 8446, section 2.
            let told = shaken.and_then(|()| client.get(&mut [0; 1]).map(drop));
            let (operation, error) = tls_error(told);
            let name = if version == &version::TLS13 {
                "get from"
            } else {
                "start_tls with"
            };
            assert_eq!(operation, format!("{name} {}", client.peer_addr().unwrap()));
            assert_eq!(error, rustls::Error::AlertReceived(alert));
        }
    }
}

/// The alert of a server that hasn't come as far as ciphers: its level is fatal.
#[track_caller]
fn assert_alert(bytes: &[u8], alert: AlertDescription) {
    assert!(
        matches!(bytes, [21, 3, 1 | 3, 0, 2, 2, told] if *told == u8::from(alert)),
        "{bytes:?}"
    );
}

/// The beginning of a client's hello that speaks `version` and no newer one: RFC 5246, section 7.4.1.2.
fn old_hello(version: [u8; 2]) -> Vec<u8> {
    let mut body = version.to_vec();
    body.extend([7; 32]);
    // No session, one cipher suite (TLS_RSA_WITH_AES_128_CBC_SHA), no compression.
    body.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    // One extension: the signature ecdsa_secp256r1_sha256.
    body.extend([0, 8, 0, 13, 0, 4, 0, 2, 4, 3]);
    let mut hello = vec![22, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8];
    hello.extend(body);
    hello
}

/// What comes in place of a hello, what that is called, and what the peer is told.
fn no_hellos() -> Vec<(Vec<u8>, rustls::Error, AlertDescription)> {
    use rustls::PeerIncompatible;
    let invalid = rustls::Error::InvalidMessage;
    let plain = |text: &str| {
        (
            text.as_bytes().to_vec(),
            invalid(InvalidMessage::InvalidContentType),
            AlertDescription::DecodeError,
        )
    };
    vec![
        plain("GET / HTTP/1.1\r\nHost: server.test\r\n\r\n"),
        plain("HTTP/1.1 400 Bad Request\r\n\r\n"),
        plain("SSH-2.0-OpenSSH_9.2p1\r\n"),
        plain("\0\0\0\0\0\0\0\0"),
        // Longer than a record may be.
        (
            vec![22, 3, 1, 0xff, 0xff],
            invalid(InvalidMessage::MessageTooLarge),
            AlertDescription::DecodeError,
        ),
        // A record without anything.
        (
            vec![22, 3, 1, 0, 0],
            invalid(InvalidMessage::InvalidEmptyPayload),
            AlertDescription::DecodeError,
        ),
        // A message longer than any has to be: 16 MiB.
        (
            vec![22, 3, 1, 0, 8, 1, 0xff, 0xff, 0xff, 3, 3, 0, 0],
            invalid(InvalidMessage::HandshakePayloadTooLarge),
            AlertDescription::DecodeError,
        ),
        // Data before anything was agreed on.
        (
            vec![23, 3, 3, 0, 2, 7, 7],
            rustls::Error::InappropriateMessage {
                expect_types: vec![rustls::ContentType::Handshake],
                got_type: rustls::ContentType::ApplicationData,
            },
            AlertDescription::UnexpectedMessage,
        ),
        (
            old_hello([3, 2]),
            rustls::Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered),
            AlertDescription::ProtocolVersion,
        ),
        (
            old_hello([3, 0]),
            rustls::Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered),
            AlertDescription::ProtocolVersion,
        ),
    ]
}

#[test]
fn what_is_no_hello_is_a_named_error_and_the_peer_is_told() {
    let _test = begin();
    for (bytes, expected, alert) in no_hellos() {
        let (server, mut peer) = over_tcp();
        let mut server = server;
        peer.write_all(&bytes).unwrap();
        let (operation, error) = tls_error(server.start_tls_server(&server_config()));
        assert_eq!(
            operation,
            format!("start_tls_server with {}", server.peer_addr().unwrap())
        );
        assert_eq!(error, expected, "{bytes:?}");
        assert_eq!(server.error().unwrap().kind(), ErrorKind::InvalidData);
        drop(server);
        let mut told = Vec::new();
        peer.read_to_end(&mut told).unwrap();
        assert_alert(&told, alert);
    }
}

#[test]
fn what_is_no_answer_to_a_hello_is_a_named_error_and_the_peer_is_told() {
    let _test = begin();
    let mut server_hello = vec![2, 0, 0, 38, 3, 2];
    server_hello.extend([7; 32]);
    server_hello.extend([0, 0, 0x2f, 0]);
    let old = [&[22, 3, 2, 0, server_hello.len() as u8], &server_hello[..]].concat();
    let old = (
        old,
        rustls::Error::PeerIncompatible(rustls::PeerIncompatible::ServerDoesNotSupportTls12Or13),
        AlertDescription::ProtocolVersion,
    );
    let answers = no_hellos()
        .into_iter()
        .filter(|(bytes, ..)| bytes[0] != 22 || bytes.len() == 5);
    for (bytes, expected, alert) in answers.chain([old]) {
        let (mut client, mut peer) = over_tcp();
        peer.write_all(&bytes).unwrap();
        let (operation, error) = tls_error(client.start_tls(NAME, &client_config()));
        assert_eq!(operation, format!("start_tls with {}", client.peer_addr().unwrap()));
        if !matches!(expected, rustls::Error::InappropriateMessage { .. }) {
            assert_eq!(error, expected, "{bytes:?}");
        }
        drop(client);
        let mut told = Vec::new();
        peer.read_to_end(&mut told).unwrap();
        let hello = 5 + usize::from(u16::from_be_bytes([told[3], told[4]]));
        assert_alert(&told[hello..], alert);
    }
}

#[test]
fn a_record_that_is_too_long_or_no_record_ends_a_session_and_the_peer_is_told() {
    let _test = begin();
    for (bytes, expected, alert) in [
        (
            vec![23, 3, 3, 0xff, 0xff],
            InvalidMessage::MessageTooLarge,
            AlertDescription::DecodeError,
        ),
        (
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            InvalidMessage::InvalidContentType,
            AlertDescription::DecodeError,
        ),
    ] {
        let (mut server, stream) = at_once();
        let mut peer = Peer::client(&client_config(), stream);
        assert!(matches!(server.start_tls_server(&server_config()), Err(Error::Timeout)));
        shake(&mut server, &mut peer, |_| true).unwrap();
        peer.connection.writer().write_all(b"all is well").unwrap();
        let said = peer.said();
        peer.send(&said);
        peer.send(&bytes);
        assert_eq!(server.get_bytes(100).unwrap(), b"all is well");
        let (_, error) = tls_error(server.get(&mut [0; 1]));
        assert_eq!(error, rustls::Error::InvalidMessage(expected));
        assert!(
            matches!(server.put(b"!"), Err(Error::Tls { .. })),
            "nothing is said to who says that"
        );
        assert_eq!(peer.alert(), alert);
    }
}

/// The records in what a peer has said: RFC 8446, section 5.1.
fn records(mut said: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while let [_, _, _, high, low, ..] = *said {
        let (record, rest) = said.split_at(5 + usize::from(u16::from_be_bytes([high, low])));
        records.push(record);
        said = rest;
    }
    records
}

#[test]
fn what_came_before_a_failure_is_read_first_also_if_all_came_with_the_handshake() {
    let _test = begin();
    for is_cut_off in [false, true] {
        let (mut server, stream) = at_once();
        let mut peer = Peer::client(&client_config(), stream);
        assert!(matches!(server.start_tls_server(&server_config()), Err(Error::Timeout)));
        let hello = peer.said();
        peer.send(&hello);
        assert!(matches!(server.wait_tls(), Err(Error::Timeout)));
        peer.take();
        assert!(!peer.connection.is_handshaking());
        peer.connection.writer().write_all(b"hello\n").unwrap();
        let mut said = peer.said();
        if !is_cut_off {
            said.extend(b"GET / HTTP/1.1\r\n\r\n");
        }
        peer.send(&said);
        peer.end();
        server.timeout(PATIENCE).wait_tls().unwrap();
        assert_eq!(server.get_line().unwrap().as_deref(), Some("hello"));
        let then = server.get(&mut [0; 1]);
        match is_cut_off {
            true => assert!(matches!(then, Err(Error::Truncated)), "{then:?}"),
            false => {
                let (_, error) = tls_error(then);
                assert_eq!(error, rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType));
            }
        }
    }
}

#[test]
fn what_is_no_record_is_an_error_also_after_the_own_end() {
    let _test = begin();
    for is_client in [false, true] {
        for version in VERSIONS {
            let (mut socket, mut peer) = begun(is_client, version);
            shake(&mut socket, &mut peer, |_| true).unwrap();
            socket.shutdown().unwrap();
            peer.take();
            peer.connection.writer().write_all(b"answer\n").unwrap();
            let said = peer.said();
            peer.send(&said);
            peer.send(b"GET / HTTP/1.1\r\n\r\n");
            assert_eq!(socket.get_line().unwrap().as_deref(), Some("answer"));
            tls_error(socket.get(&mut [0; 1]));
            tls_error(socket.get(&mut [0; 1]));
        }
    }
}

/// Why a handshake doesn't stand.
#[derive(Debug)]
struct Refused {
    error: Error,
    /// Whether a peer that is wrong has got an alert, in the open or enciphered.
    is_peer_told: bool,
}

/// Whether a handshake that `socket` has begun stands, if `pass` is done with what the peer says.
fn stands(socket: &mut TcpSocket, peer: &mut Peer, pass: impl FnMut(&mut Vec<u8>) -> bool) -> Result<(), Refused> {
    let Err(error) = shake(socket, peer, pass) else {
        return Ok(());
    };
    let is_peer_told = match &error {
        Error::Io { source, .. } if source.kind() == ErrorKind::UnexpectedEof => true,
        Error::Tls { source, .. } if matches!(**source, rustls::Error::AlertReceived(_)) => true,
        Error::Tls { .. } => {
            peer.failed.get_or_insert(rustls::Error::DecryptError);
            peer.take();
            records(&peer.afterwards)
                .last()
                .is_some_and(|record| [21, 23].contains(&record[0]))
        }
        other => panic!("{other:?}"),
    };
    Err(Refused { error, is_peer_told })
}

/// A socket that has begun its handshake, as a client or as a server, and its peer.
fn begun(is_client: bool, version: &'static SupportedProtocolVersion) -> (TcpSocket, Peer) {
    let (mut socket, stream) = at_once();
    let (begun, peer) = if is_client {
        let begun = socket.start_tls(NAME, &client_of(version));
        (begun, Peer::server(&server_config(), stream))
    } else {
        let begun = socket.start_tls_server(&server_config());
        (begun, Peer::client(&client_of(version), stream))
    };
    assert!(matches!(begun, Err(Error::Timeout)), "{begun:?}");
    (socket, peer)
}

#[test]
fn a_handshake_that_is_cut_off_at_any_byte_is_an_end_too_early() {
    let _test = begin();
    for (is_client, version) in [false, true]
        .into_iter()
        .flat_map(|end| VERSIONS.map(|version| (end, version)))
    {
        let mut tried = 0;
        loop {
            let (mut socket, mut peer) = begun(is_client, version);
            let mut left = tried;
            let result = stands(&mut socket, &mut peer, |said| {
                said.truncate(left);
                left -= said.len();
                left > 0
            });
            match result {
                Ok(()) => break,
                Err(Refused { error, .. }) => assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{tried}: {error}"),
            }
            assert!(socket.is_error() && !socket.is_timeout());
            tried += 1;
        }
        assert!(tried > 200, "{tried} bytes are no handshake");
    }
}

/// Whether `at` in these records is of a version that says nothing: RFC 8446, section 5.1.
fn is_version(said: &[u8], mut at: usize) -> bool {
    for record in records(said) {
        if at < record.len() {
            return [1, 2].contains(&at);
        }
        at -= record.len();
    }
    false
}

#[test]
fn a_handshake_with_any_byte_changed_is_refused() {
    let _test = begin();
    let [mut told, mut untold] = [0, 0];
    for (is_client, version) in [false, true]
        .into_iter()
        .flat_map(|end| VERSIONS.map(|version| (end, version)))
    {
        for at in 0_usize.. {
            let (mut socket, mut peer) = begun(is_client, version);
            let mut before = 0;
            let mut changed = None;
            let result = stands(&mut socket, &mut peer, |said| {
                if let Some(place) = at.checked_sub(before).filter(|place| *place < said.len()) {
                    changed = Some(is_version(said, place));
                    said[place] ^= 1 << (at % 8);
                }
                before += said.len();
                true
            });
            match changed {
                Some(may_be) => match result {
                    Ok(()) => assert!(may_be, "byte {at}"),
                    Err(Refused { is_peer_told, .. }) => *if is_peer_told { &mut told } else { &mut untold } += 1,
                },
                None => {
                    result.unwrap();
                    break;
                }
            }
        }
    }
    // For some failures rustls has no alert: a message that is far too long, and one inside of another.
    assert!(told > 20 * untold, "{told} were told, and {untold} not");
}

#[test]
fn a_handshake_with_garbage_in_place_of_any_record_is_refused() {
    let _test = begin();
    let mut random = Random::new(7);
    for (is_client, version) in [false, true]
        .into_iter()
        .flat_map(|end| VERSIONS.map(|version| (end, version)))
    {
        for bad in 0.. {
            let (mut socket, mut peer) = begun(is_client, version);
            let mut count = 0;
            let result = stands(&mut socket, &mut peer, |said| {
                let mut changed = Vec::new();
                for record in records(said) {
                    let (header, content) = record.split_at(5);
                    changed.extend_from_slice(header);
                    match count == bad {
                        true => changed.extend(content.iter().map(|_| random.next() as u8)),
                        false => changed.extend_from_slice(content),
                    }
                    count += 1;
                }
                *said = changed;
                true
            });
            if count <= bad {
                result.unwrap();
                break;
            }
            result.unwrap_err();
        }
    }
}

#[test]
fn tls_where_there_can_be_none_is_a_named_error_and_changes_nothing() {
    let _test = begin();
    let invalid = |result: Result<(), Error>| match result {
        Err(error @ Error::Io { .. }) if error.kind() == ErrorKind::InvalidInput => error.to_string(),
        other => panic!("{other:?}"),
    };
    // A listener.
    let (mut listener, addr) = listener();
    for (result, name) in [
        (listener.start_tls(NAME, &client_config()), "start_tls"),
        (listener.start_tls_server(&server_config()), "start_tls_server"),
    ] {
        assert_eq!(invalid(result), format!("{name} on {addr}: a listener has no stream"));
    }
    assert!(!listener.is_tls() && !listener.is_error());
    assert!(invalid(listener.wait_tls()).starts_with("wait_tls on"));
    TcpStream::connect(addr).unwrap();
    listener.accept_new().unwrap();

    // A plain connection, and names that are none.
    let (mut client, mut server) = plain_pair();
    let peer = client.peer_addr().unwrap();
    assert_eq!(
        invalid(client.wait_tls()),
        format!("wait_tls with {peer}: the socket is not under TLS")
    );
    for name in [
        "",
        ".",
        "a b",
        "a..b",
        "http://server.test",
        "server.test:443",
        "[::1",
        "server.test\0",
        "höst.test",
    ] {
        let error = invalid(client.start_tls(name, &client_config()));
        assert_eq!(error, format!("start_tls with {peer}: {name:?} is no name of a host"));
    }
    assert!(!client.is_tls() && !client.is_error() && client.tls_info().is_none());
    server.put_all(b"plain\n").unwrap();
    assert_eq!(client.get_line().unwrap().as_deref(), Some("plain"));

    // Twice, in the handshake and after it.
    client.timeout(Duration::ZERO);
    assert!(matches!(client.start_tls(NAME, &client_config()), Err(Error::Timeout)));
    let twice = format!("start_tls with {peer}: the socket is under TLS already");
    assert_eq!(invalid(client.start_tls(NAME, &client_config())), twice);
    client.timeout(PATIENCE);
    thread::scope(|scope| {
        scope.spawn(|| server.start_tls_server(&server_config()).unwrap());
        client.wait_tls().unwrap();
    });
    assert_eq!(invalid(client.start_tls(NAME, &client_config())), twice);
    assert!(invalid(server.start_tls_server(&server_config())).ends_with("the socket is under TLS already"));
    assert!(!client.is_error());
    client.put_all(b"ciphered\n").unwrap();
    assert_eq!(server.get_line().unwrap().as_deref(), Some("ciphered"));

    // A closed one, one that was never open, one that is being connected.
    client.close();
    let mut never = TcpSocket::new();
    for socket in [&mut client, &mut never] {
        let was_tls = socket.is_tls();
        assert!(matches!(socket.start_tls_server(&server_config()), Err(Error::Closed)));
        assert!(matches!(socket.start_tls(NAME, &client_config()), Err(Error::Closed)));
        assert!(matches!(socket.wait_tls(), Err(Error::Closed)));
        assert_eq!(socket.is_tls(), was_tls);
        assert!(!socket.is_error());
    }
    let hole = BlackHole::new();
    let mut connecting = TcpSocket::new();
    connecting.timeout(Duration::ZERO);
    connecting.connect_to(&[hole.addr()]).unwrap();
    let result = connecting.start_tls(NAME, &client_config());
    assert!(result.is_err() && !connecting.is_tls(), "{result:?}");
    hole.relieve();
    connecting.timeout(PATIENCE).wait_connect().unwrap();
}

#[test]
fn a_socket_that_is_opened_again_is_a_plain_one() {
    let _test = begin();
    let (mut client, server) = pair();
    drop(server);
    let (listener, addr) = listener();
    client.connect_to(&[addr]).unwrap();
    assert!(!client.is_tls() && client.tls_info().is_none());
    let mut server = listener.accept_new().unwrap();
    client.put_all(b"plain\n").unwrap();
    assert_eq!(server.get_line().unwrap().as_deref(), Some("plain"));
}

#[test]
fn pem_that_is_none_is_a_named_error_that_says_what_is_missing() {
    let _test = begin();
    let (chain, key) = (&CERTIFICATES.chain_pem[..], &CERTIFICATES.key_pem[..]);
    let other = KeyPair::generate().unwrap().serialize_pem();
    let label = |pem: &str, old: &str, new: &str| pem.replace(old, new);
    let begun = chain.replace("-----END CERTIFICATE-----", "");
    let not_base64 = "-----BEGIN CERTIFICATE-----\n?!*\n-----END CERTIFICATE-----\n";
    let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let bad_chains = [
        ("", "no certificate in the PEM"),
        (
            "0\u{7f}\n---",
            "no certificate in the PEM; it may be DER, which is not PEM",
        ),
        ("-----BEGIN CERTIFICATE-----", "the certificate can't be read: "),
        (key, "no certificate in the PEM"),
        (&begun, "the certificate can't be read: "),
        (not_base64, "the certificate can't be read: "),
        (not_der, "invalid peer certificate: BadEncoding"),
        (&[chain, not_base64].concat(), "the certificate can't be read: "),
    ];
    let check = |error: Error, operation: &str, why: &str| {
        assert!(
            matches!(error, Error::Io { .. }) && error.kind() == ErrorKind::InvalidInput,
            "{error:?}"
        );
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("{operation}: ")) && text.contains(why),
            "{text}, not {why}"
        );
    };
    for (pem, why) in bad_chains {
        let error = tls::client_config_trusting(pem.as_bytes()).unwrap_err();
        check(error, "client_config_trusting", why);
        let error = tls::server_config(pem.as_bytes(), key.as_bytes()).unwrap_err();
        check(error, "server_config", why);
    }
    for (pem, why) in [
        ("", "no private key in the PEM"),
        (chain, "no private key in the PEM"),
        (
            &label(key, "PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
            "no private key in the PEM; one that is encrypted has to be decrypted first",
        ),
        (
            &key.replacen("KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\n\n", 1),
            "; one that is encrypted has to be decrypted first",
        ),
        (
            "0\u{7f}\n---",
            "no private key in the PEM; it may be DER, which is not PEM",
        ),
        (&label(key, "PRIVATE KEY", "PUBLIC KEY"), "no private key in the PEM"),
        (
            &key.replace("-----END PRIVATE KEY-----", ""),
            "the private key can't be read: ",
        ),
        (
            &not_base64.replace("CERTIFICATE", "PRIVATE KEY"),
            "the private key can't be read: ",
        ),
        (
            &not_der.replace("CERTIFICATE", "PRIVATE KEY"),
            "failed to parse private key",
        ),
        (&other, "keys may not be consistent"),
    ] {
        let error = tls::server_config(chain.as_bytes(), pem.as_bytes()).unwrap_err();
        check(error, "server_config", why);
    }
    // What is beside them is no fault, as long as they are there.
    let both = [key, "text\n", chain].concat();
    tls::client_config_trusting(both.as_bytes()).unwrap();
    tls::server_config(both.as_bytes(), both.as_bytes()).unwrap();
}

#[test]
fn who_is_refused_in_the_middle_of_much_gets_to_know_why_by_finish() {
    let _test = begin();
    let (mut server, stream) = over_tcp();
    let mut stream = TcpStream::from(stream);
    let talker = block(move || {
        // More than the server takes before it knows what that is.
        let told = stream.write_all(&vec![b'x'; 1 << 20]);
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        (told, bytes)
    });
    tls_error(server.start_tls_server(&server_config()));
    server.finish(PATIENCE).unwrap();
    let (told, bytes) = talker.result();
    told.unwrap();
    assert_alert(&bytes, AlertDescription::DecodeError);
}

#[test]
fn handshakes_that_dont_end_within_their_limit_fail_and_their_threads_are_free_again() {
    let _test = begin();
    let (listener, addr) = listener();
    let serving = {
        let handle = listener.handle();
        let serving = block(move || {
            let failures = std::sync::Mutex::new(Vec::new());
            listener.serve(4, |mut client| {
                client.tls_limit(Duration::from_millis(100));
                let result = client.start_tls_server(&server_config()).and_then(|()| {
                    let line = client.get_line()?;
                    client.put_all(line.unwrap_or_default().as_bytes())
                });
                if let Err(error) = result {
                    failures
                        .lock()
                        .unwrap()
                        .push((error, client.is_timeout(), client.is_error()));
                }
            });
            failures.into_inner().unwrap()
        });
        (serving, handle)
    };
    // Four times as many as there are threads.
    let mut silent: Vec<_> = (0..16).map(|_| TcpStream::connect(addr).unwrap()).collect();
    let mut client = TcpSocket::new();
    client.timeout(PATIENCE).connect_to(&[addr]).unwrap();
    client.start_tls(NAME, &client_config()).unwrap();
    client.put_all(b"hello\n").unwrap();
    assert_eq!(client.get_bytes(5).unwrap(), b"hello");
    for peer in &mut silent {
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        assert!(bytes.is_empty());
    }
    drop(client);
    serving.1.close();
    let failures = serving.0.result();
    assert_eq!(failures.len(), 16);
    for (error, is_timeout, is_error) in failures {
        assert!(matches!(error, Error::HandshakeTimeout), "{error:?}");
        assert!(is_timeout && is_error && error.is_timeout() && error.code() == -999_999);
    }
}
