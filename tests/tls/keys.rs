//! Keys that wear out, and what comes before they are agreed on.

use std::io::{ErrorKind, Read};
use std::sync::{Arc, LazyLock};
use std::thread;

use wakesock::rustls::crypto::ring;
use wakesock::rustls::version::{TLS12, TLS13};
use wakesock::rustls::{
    CipherSuiteCommon, ClientConfig, SupportedCipherSuite, SupportedProtocolVersion, Tls12CipherSuite, Tls13CipherSuite,
};
use wakesock::{Error, TcpSocket};

use crate::bad_input::roots;
use crate::ends::plain_pair;
use crate::support::certificates::{NAME, server_config};
use crate::support::{begin, block, pattern};

/// How many records a key of [`client_with_short_keys`] is good for.
const RECORDS: u64 = 100;

fn short(common: &CipherSuiteCommon) -> CipherSuiteCommon {
    CipherSuiteCommon {
        suite: common.suite,
        hash_provider: common.hash_provider,
        confidentiality_limit: RECORDS,
    }
}

/// The suites of ring, with such keys. They are made once, as what is `'static` is never given back.
static SHORT: LazyLock<Vec<SupportedCipherSuite>> = LazyLock::new(|| {
    let suites = ring::default_provider().cipher_suites;
    suites.iter().map(with_short_keys).collect()
});

fn with_short_keys(suite: &SupportedCipherSuite) -> SupportedCipherSuite {
    match suite {
        SupportedCipherSuite::Tls12(suite) => SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
            common: short(&suite.common),
            prf_provider: suite.prf_provider,
            kx: suite.kx,
            sign: suite.sign,
            aead_alg: suite.aead_alg,
        }))),
        SupportedCipherSuite::Tls13(suite) => SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
            common: short(&suite.common),
            hkdf_provider: suite.hkdf_provider,
            aead_alg: suite.aead_alg,
            quic: None,
        }))),
    }
}

/// A client's configuration whose keys wear out after [`RECORDS`].
fn client_with_short_keys(version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let mut provider = ring::default_provider();
    provider.cipher_suites.clone_from(&SHORT);
    let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[version]);
    Arc::new(builder.unwrap().with_root_certificates(roots()).with_no_client_auth())
}

/// A client whose keys wear out, and its server.
fn pair_with_short_keys(version: &'static SupportedProtocolVersion) -> (TcpSocket, TcpSocket) {
    let (mut client, mut server) = plain_pair();
    thread::scope(|scope| {
        scope.spawn(|| server.start_tls_server(&server_config()).unwrap());
        client.start_tls(NAME, &client_with_short_keys(version)).unwrap();
    });
    (client, server)
}

#[test]
fn what_is_taken_arrives_though_keys_wear_out() {
    let _test = begin();
    let data = pattern(5_000_000);
    for (version, step, len) in [
        (&TLS13, 1, 1_000),
        (&TLS12, 1, 1_000),
        (&TLS13, data.len(), data.len()),
        (&TLS12, data.len(), data.len()),
    ] {
        let (mut client, mut server) = pair_with_short_keys(version);
        server.put_all(b"!").unwrap();
        let reading = block(move || {
            let mut bytes = Vec::new();
            let end = server.read_to_end(&mut bytes).map(drop);
            (bytes, end)
        });
        let mut taken = 0;
        let put = data[..len].chunks(step).try_for_each(|piece| {
            let put = client.put_all(piece);
            taken += client.done();
            put
        });
        let name = client.peer_addr().unwrap();
        if let Err(error) = &put {
            assert!(
                error.to_string().starts_with(&format!("put_all to {name}: ")),
                "{error}"
            );
            client.clear_error();
            assert!(matches!(client.put_all(b"?"), Err(Error::Tls { .. })));
            assert_eq!(client.get_byte().unwrap(), Some(b'!'), "reading goes on");
        }
        drop(client);
        let (bytes, end) = reading.result();
        assert_eq!(bytes.len(), taken, "{version:?}");
        assert!(bytes == data[..taken]);
        assert_eq!(
            (put.is_ok(), end.is_ok()),
            (version.version == TLS13.version, put.is_ok()),
            "{put:?}, {end:?}"
        );
        assert!(taken >= step.min(len) / 10 && (put.is_ok() || taken >= 80), "{taken}");
    }
}

#[test]
fn a_server_whose_early_data_nobody_would_read_is_refused() {
    let _test = begin();
    let (_client, mut server) = plain_pair();
    let mut config = (*server_config()).clone();
    config.max_early_data_size = 1;
    let error = server.start_tls_server(&Arc::new(config)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("early data"), "{error}");
    assert!(!server.is_tls() && !server.is_error());
}
