//! A peer's keys, in hands that use them for anything.

use std::io::Write;
use std::sync::{Arc, LazyLock};

use wakesock::rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use wakesock::rustls::crypto::ring;
use wakesock::rustls::{
    ClientConfig, Connection, ConnectionTrafficSecrets, ContentType, ProtocolVersion, RootCertStore, ServerConfig,
    SupportedCipherSuite, version,
};

use crate::support::certificates::{CERTIFICATES, der};

pub enum Forger {
    /// With TLS 1.3: whatever it likes.
    Keys {
        encrypter: Box<dyn MessageEncrypter>,
        sequence: u64,
    },
    /// With TLS 1.2: data as it should be, and what isn't enciphered.
    Honest(Box<Connection>),
}

impl Forger {
    pub fn new(connection: Connection) -> Forger {
        let Some(SupportedCipherSuite::Tls13(suite)) = connection.negotiated_cipher_suite() else {
            return Forger::Honest(Box::new(connection));
        };
        let (sequence, secrets) = connection.dangerous_extract_secrets().unwrap().tx;
        let (key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv }
            | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
            | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
            _ => panic!("a cipher that there is not"),
        };
        Forger::Keys {
            encrypter: suite.aead_alg.encrypter(key, iv),
            sequence,
        }
    }

    /// A record of this type.
    pub fn seal(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        match self {
            Forger::Keys { encrypter, sequence } => {
                let message = OutboundPlainMessage {
                    typ: ContentType::from(kind),
                    version: ProtocolVersion::TLSv1_3,
                    payload: OutboundChunks::Single(content),
                };
                let record = encrypter.encrypt(message, *sequence).unwrap();
                *sequence += 1;
                record.encode()
            }
            Forger::Honest(connection) if ContentType::from(kind) == ContentType::ApplicationData => {
                connection.writer().write_all(content).unwrap();
                let mut record = Vec::new();
                while connection.wants_write() {
                    connection.write_tls(&mut record).unwrap();
                }
                record
            }
            Forger::Honest(_) => {
                let mut record = vec![kind, 3, 3];
                record.extend((content.len() as u16).to_be_bytes());
                record.extend(content);
                record
            }
        }
    }
}

/// A server's configuration that gives its keys away.
pub fn server_config(is_old: bool) -> Arc<ServerConfig> {
    static CONFIGS: LazyLock<[Arc<ServerConfig>; 2]> = LazyLock::new(|| {
        [&version::TLS13, &version::TLS12].map(|version| {
            let provider = Arc::new(ring::default_provider());
            let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[version]);
            let (chain, key) = der(&CERTIFICATES.chain_pem, &CERTIFICATES.key_pem);
            let config = builder.unwrap().with_no_client_auth().with_single_cert(chain, key);
            let mut config = config.unwrap();
            config.enable_secret_extraction = true;
            Arc::new(config)
        })
    });
    Arc::clone(&CONFIGS[usize::from(is_old)])
}

/// A client's configuration that gives its keys away.
pub fn client_config(is_old: bool) -> Arc<ClientConfig> {
    static CONFIGS: LazyLock<[Arc<ClientConfig>; 2]> = LazyLock::new(|| {
        [&version::TLS13, &version::TLS12].map(|version| {
            let provider = Arc::new(ring::default_provider());
            let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]);
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(der(&CERTIFICATES.authority_pem, &CERTIFICATES.key_pem).0);
            let config = builder.unwrap().with_root_certificates(roots);
            let mut config = config.with_no_client_auth();
            config.enable_secret_extraction = true;
            Arc::new(config)
        })
    });
    Arc::clone(&CONFIGS[usize::from(is_old)])
}
