//! Certificates for tests, made when they are needed.

use std::sync::{Arc, LazyLock};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use wakesock::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use wakesock::rustls::{ClientConfig, ServerConfig};
use wakesock::tls;

/// The name that the server's certificate is for.
pub const NAME: &str = "server.test";

/// An authority, and a server that it vouches for.
pub struct Certificates {
    pub authority: Issuer<'static, KeyPair>,
    pub authority_pem: String,
    pub chain_pem: String,
    pub key_pem: String,
}

/// Those that most tests use.
pub static CERTIFICATES: LazyLock<Certificates> = LazyLock::new(Certificates::new);

static CLIENT: LazyLock<Arc<ClientConfig>> =
    LazyLock::new(|| tls::client_config_trusting(CERTIFICATES.authority_pem.as_bytes()).unwrap());
static SERVER: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| CERTIFICATES.server_config());

impl Certificates {
    pub fn new() -> Certificates {
        let mut params = CertificateParams::new([]).unwrap();
        // Not called as the server: OpenSSL would take its certificate for one that it has signed itself.
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let authority = Issuer::new(params, key);
        let server = CertificateParams::new([NAME.to_owned(), "localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let (chain_pem, key_pem) = issue(&authority, server);
        Certificates {
            authority,
            authority_pem: certificate.pem(),
            chain_pem,
            key_pem,
        }
    }

    pub fn server_config(&self) -> Arc<ServerConfig> {
        tls::server_config(self.chain_pem.as_bytes(), self.key_pem.as_bytes()).unwrap()
    }
}

/// A certificate that `authority` vouches for, and its key, in PEM.
pub fn issue(authority: &Issuer<'static, KeyPair>, params: CertificateParams) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// A configuration that trusts the authority of [`CERTIFICATES`].
pub fn client_config() -> Arc<ClientConfig> {
    Arc::clone(&CLIENT)
}

/// A configuration with the server's certificate of [`CERTIFICATES`].
pub fn server_config() -> Arc<ServerConfig> {
    Arc::clone(&SERVER)
}

/// The same of a certificate and a key in PEM.
pub fn der(chain_pem: &str, key_pem: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    use wakesock::rustls::pki_types::pem::PemObject;
    let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes()).map(Result::unwrap);
    (
        chain.collect(),
        PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).unwrap(),
    )
}
