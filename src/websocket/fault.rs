//! What the peer does wrong, and what it is told of that.

use std::sync::Arc;

use tungstenite::error::ProtocolError;
use tungstenite::protocol::frame::coding::CloseCode;

use crate::error::Error;

/// What the peer does wrong.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    Protocol(ProtocolError),
    /// It has sent a code that isn't one of those that may be sent.
    CloseCode(u16),
    /// It has sent a length in more bytes than that needs, RFC 6455, section 5.2.
    Length,
    /// What is to be text isn't, from this byte on.
    NotUtf8(usize),
    /// What is said to be compressed isn't.
    #[cfg(feature = "websocket-deflate")]
    Deflate(flate2::DecompressError),
    TooLong(usize),
}

impl Fault {
    /// What the peer is told, RFC 6455, section 7.4.1.
    pub(super) fn code(&self) -> u16 {
        match self {
            Fault::Protocol(_) | Fault::CloseCode(_) | Fault::Length => CloseCode::Protocol.into(),
            Fault::NotUtf8(_) => CloseCode::Invalid.into(),
            #[cfg(feature = "websocket-deflate")]
            Fault::Deflate(_) => CloseCode::Protocol.into(),
            Fault::TooLong(_) => CloseCode::Size.into(),
        }
    }

    pub(super) fn into_error(self) -> Error {
        match self {
            Fault::Protocol(fault) => Error::Protocol {
                source: Arc::new(fault),
            },
            Fault::CloseCode(code) => Error::Protocol {
                source: Arc::new(Broken::CloseCode(code)),
            },
            Fault::Length => Error::Protocol {
                source: Arc::new(Broken::Length),
            },
            Fault::NotUtf8(index) => Error::Protocol {
                source: Arc::new(Broken::NotUtf8(index)),
            },
            #[cfg(feature = "websocket-deflate")]
            Fault::Deflate(fault) => Error::Protocol {
                source: Arc::new(fault),
            },
            Fault::TooLong(limit) => Error::MessageTooLong { limit },
        }
    }
}

impl From<ProtocolError> for Fault {
    fn from(fault: ProtocolError) -> Fault {
        Fault::Protocol(fault)
    }
}

/// What is wrong that tungstenite has no name for.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("close code {0} may not be sent")]
    CloseCode(u16),
    #[error("a length of more bytes than it needs")]
    Length,
    #[error("invalid utf-8 from index {0}")]
    NotUtf8(usize),
}
