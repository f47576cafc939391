//! The handshake: how a session begins, how long it may take, and what it has agreed on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, Connection, HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection,
};

use super::failure::Failed;
use super::records_out::in_record;
use super::{MOST_IN_A_ROW, Session, State};
use crate::tls::info::TlsInfo;
use crate::tls::wire::{UNFINISHED, Wire};

/// A session, or why there can be none.
type Begun = Result<Session, Box<dyn std::error::Error + Send + Sync>>;

impl Session {
    /// A client's session, which begins with its hello. It asks for `name`.
    pub(crate) fn client(
        config: &Arc<ClientConfig>,
        name: &str,
        ahead: &[u8],
        handshake_ends: Option<Instant>,
    ) -> Begun {
        let server = ServerName::try_from(name.to_owned()).map_err(|_| format!("{name:?} is no name of a host"))?;
        let connection = ClientConnection::new(Arc::clone(config), server)?;
        let record = in_record(config.max_fragment_size);
        Ok(Session::new(
            connection.into(),
            Some(name.to_owned()),
            record,
            ahead,
            handshake_ends,
        ))
    }

    /// A server's session.
    pub(crate) fn server(config: &Arc<ServerConfig>, ahead: &[u8], handshake_ends: Option<Instant>) -> Begun {
        if config.max_early_data_size > 0 {
            return Err("early data (0-RTT) isn't read here: max_early_data_size has to be 0".into());
        }
        let connection = ServerConnection::new(Arc::clone(config))?;
        let record = in_record(config.max_fragment_size);
        Ok(Session::new(connection.into(), None, record, ahead, handshake_ends))
    }

    /// Whether the handshake is still to be finished.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.0.is_handshaking.load(SeqCst)
    }

    /// When the handshake has to be over, until it is.
    pub(crate) fn handshake_ends(&self) -> Option<Instant> {
        self.0.handshake_ends.filter(|_| self.is_handshaking())
    }

    /// When the last of the handshake has to be sent, until it is: for operations that write. Reads don't wait for that.
    pub(crate) fn last_flight_ends(&self) -> Option<Instant> {
        self.0
            .handshake_ends
            .filter(|_| !self.0.has_sent_last_flight.load(SeqCst))
    }

    /// What the handshake has agreed on, once it is over.
    pub(crate) fn info(&self) -> Option<TlsInfo> {
        self.lock().info.clone()
    }

    /// Goes on with the handshake until it is over. What comes behind it is left to be read. What is still
    /// to be sent then is for a [flush](Session::flush).
    pub(crate) fn handshake(&self, wire: &mut dyn Wire) -> io::Result<()> {
        let mut state = self.lock();
        for _ in 0..MOST_IN_A_ROW {
            if !self.is_handshaking() {
                return Ok(());
            }
            state.check_failed()?;
            if state.has_ended {
                return Err(state.ended_too_early());
            }
            state.check_time(self.handshake_ends())?;
            self.try_send(&mut state, wire);
            // What this leaves in the system, no read has seen.
            state.is_known = false;
            let received = state.receive(wire, None);
            self.note_handshake(&mut state);
            self.try_send(&mut state, wire);
            // A failure behind the handshake is for a read to tell, after all that came before it.
            if self.is_handshaking() {
                received?;
            }
        }
        Err(UNFINISHED.into())
    }

    /// Notes that all was sent that there was to send.
    pub(super) fn note_sent(&self, state: &State) {
        if !state.connection.is_handshaking() {
            self.0.has_sent_last_flight.store(true, SeqCst);
        }
    }

    /// Notes that the handshake is over, if it is.
    pub(super) fn note_handshake(&self, state: &mut State) {
        if self.is_handshaking() && !state.connection.is_handshaking() {
            state.info = Some(agreed(&state.connection, state.asked_for.take()));
            self.0.is_handshaking.store(false, SeqCst);
        }
    }
}

impl State {
    /// Fails if the handshake had to be over before now.
    pub(super) fn check_time(&mut self, by: Option<Instant>) -> io::Result<()> {
        if by.is_some_and(|at| Instant::now() >= at) {
            return Err(self.failed.get_or_insert(Failed::TooLong).to_io());
        }
        Ok(())
    }

    /// The error of a handshake in which the stream has ended.
    pub(super) fn ended_too_early(&self) -> io::Error {
        io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the peer has ended the stream in the handshake",
        )
    }
}

/// What `connection`, whose handshake is over, has agreed on. `asked_for` is the name that a client has asked for.
fn agreed(connection: &Connection, asked_for: Option<String>) -> TlsInfo {
    let cipher = connection.negotiated_cipher_suite();
    TlsInfo {
        version: match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "unknown",
        },
        cipher: cipher.and_then(|suite| suite.suite().as_str()).unwrap_or("unknown"),
        alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
        server_name: match connection {
            Connection::Client(_) => asked_for,
            Connection::Server(server) => server.server_name().map(str::to_owned),
        },
        peer_certificates: connection.peer_certificates().unwrap_or_default().to_vec(),
        was_resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
    }
}
