//! [`Client`]: what the program has set for opening handshakes.

#[cfg(feature = "tls")]
use std::sync::Arc;

/// What the program has set for opening handshakes: what a client asks for, and what of that a server grants.
#[derive(Debug, Default)]
pub(super) struct Client(Option<Box<Asked>>);

#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) headers: Vec<(String, String)>,
    pub(super) protocols: Vec<Box<str>>,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
    #[cfg(feature = "websocket-deflate")]
    deflate: bool,
}

impl Client {
    /// To set something.
    pub(super) fn change(&mut self) -> &mut Asked {
        self.0.get_or_insert_default()
    }

    pub(super) fn protocols(&self) -> &[Box<str>] {
        self.0.as_ref().map_or(&[], |asked| &asked.protocols)
    }

    #[cfg(feature = "websocket-deflate")]
    pub(super) fn offer_deflate(&mut self, offer: bool) {
        self.change().deflate = offer;
    }

    #[cfg(feature = "websocket-deflate")]
    pub(super) fn offers_deflate(&self) -> bool {
        self.0.as_ref().is_some_and(|asked| asked.deflate)
    }

    pub(super) fn headers(&self) -> &[(String, String)] {
        self.0.as_ref().map_or(&[], |asked| &asked.headers)
    }

    /// The configuration of TLS, if the program has set one.
    #[cfg(feature = "tls")]
    pub(super) fn tls(&self) -> Option<&Arc<rustls::ClientConfig>> {
        self.0.as_ref()?.tls.as_ref()
    }
}
