//! What fails for good: every operation tells it from then on, and the peer is told by an alert.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::State;
use crate::error::Error;
use crate::tls::wire::Wire;

/// An alert as it is sent before ciphers are agreed on: fatal, decode_error (RFC 8446, section 6).
const DECODE_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 50];

pub(super) enum Failed {
    Tls(Arc<rustls::Error>),
    /// The handshake took too long.
    TooLong,
}

impl Failed {
    pub(super) fn to_io(&self) -> io::Error {
        match self {
            Failed::Tls(error) => of_tls(Arc::clone(error)),
            Failed::TooLong => Error::HandshakeTimeout.into(),
        }
    }
}

impl State {
    /// Fails if the session has.
    pub(super) fn check_failed(&self) -> io::Result<()> {
        self.failed.as_ref().map_or(Ok(()), |failed| Err(failed.to_io()))
    }

    /// Makes the session fail for good.
    pub(super) fn fail(&mut self, error: impl Into<rustls::Error>) {
        self.failed = Some(Failed::Tls(Arc::new(error.into())));
    }

    /// Tells the peer of a failure for which rustls has no alert. That is possible only before anything is agreed on.
    pub(super) fn make_up_alert(&mut self, wire: &mut dyn Wire) {
        let is_told =
            self.connection.wants_write() || matches!(&self.failed, Some(Failed::Tls(error)) if is_alert(error));
        if !is_told && self.connection.protocol_version().is_none() {
            let _ = wire.send(&[IoSlice::new(&DECODE_ERROR)]);
        }
    }
}

/// The error of an operation that fails for `source`. Its name is put in where it is known.
pub(super) fn of_tls(source: Arc<rustls::Error>) -> io::Error {
    let operation = "TLS".into();
    Error::Tls { operation, source }.into()
}

/// Whether it was the peer that has failed, and has said so.
fn is_alert(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::AlertReceived(_))
}
