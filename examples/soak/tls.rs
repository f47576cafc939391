//! TLS, if there is a provider: half of the servers are under it, with a certificate that is made for them.

use wakesock::{Error, TcpSocket};

/// Whether it is here, so that servers can be under it.
pub const IS_HERE: bool = cfg!(all(feature = "tls-ring", any(target_os = "linux", target_env = "gnu")));

#[cfg(all(feature = "tls-ring", any(target_os = "linux", target_env = "gnu")))]
mod configs {
    use std::sync::{Arc, LazyLock};

    use wakesock::rustls::client::Resumption;
    use wakesock::rustls::server::ServerSessionMemoryCache;
    use wakesock::rustls::{ClientConfig, ServerConfig};
    use wakesock::tls;

    pub const NAME: &str = "soak.test";
    /// What is in a WebSocket's URL.
    const ADDRESS: &str = "127.0.0.1";

    /// How many can be resumed.
    const SESSIONS: usize = 8;

    /// A client's, and a server's.
    pub static CONFIGS: LazyLock<(Arc<ClientConfig>, Arc<ServerConfig>)> = LazyLock::new(|| {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned(), ADDRESS.to_owned()]).expect("a certificate");
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let mut client = tls::client_config_trusting(chain.as_bytes()).expect("an authority");
        let mut server = tls::server_config(chain.as_bytes(), key.as_bytes()).expect("a key");
        // What is kept of sessions is soon as much as it will ever be.
        Arc::make_mut(&mut client).resumption = Resumption::in_memory_sessions(SESSIONS);
        Arc::make_mut(&mut server).session_storage = ServerSessionMemoryCache::new(SESSIONS);
        (client, server)
    });
}

/// Makes what all connections share, before anything is counted.
pub fn prepare() {
    #[cfg(all(feature = "tls-ring", any(target_os = "linux", target_env = "gnu")))]
    std::sync::LazyLock::force(&configs::CONFIGS);
}

/// Begins it at the client's end.
pub fn begin_client(socket: &mut TcpSocket) -> Result<(), Error> {
    #[cfg(all(feature = "tls-ring", any(target_os = "linux", target_env = "gnu")))]
    socket.start_tls(configs::NAME, &configs::CONFIGS.0)?;
    let _ = socket;
    Ok(())
}

/// So that a WebSocket can be opened under it.
#[cfg(feature = "websocket")]
pub fn prepare_client(socket: &mut wakesock::WebSocket) {
    #[cfg(all(feature = "tls-ring", any(target_os = "linux", target_env = "gnu")))]
    socket.tls(&configs::CONFIGS.0);
    let _ = socket;
}

/// Begins it at the server's end. With a limit of zero it goes on with the operations that follow.
pub fn begin_server(socket: &mut TcpSocket) -> Result<(), Error> {
    #[cfg(all(feature = "tls-ring", any(target_os = "linux", target_env = "gnu")))]
    match socket.start_tls_server(&configs::CONFIGS.1) {
        Err(Error::Timeout) if socket.get_timeout().is_some_and(|limit| limit.is_zero()) => {}
        result => result?,
    }
    let _ = socket;
    Ok(())
}
