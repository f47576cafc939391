//! A TLS session: what turns the bytes of a connection into those of the program, and back.
//!
//! Two threads use it at once, one that reads and one that writes. It is locked for cryptography and for attempts that
//! don't block, and never over a wait or a `when_wait`. What the configuration has of the program's, as a verifier, is
//! called by rustls with the session locked.
//!
//! - A read never waits or fails because of what is to be sent. It tries to send that, once, and goes on.
//! - Bytes are enciphered when nothing older is unsent, at most 64 KiB at a time: no more is ever taken and unsent.
//! - What a read has received is deciphered at once, record by record. Less than one record is left, so that what there is to
//!   read is what the system has, and what [`has_something`](Session::has_something) says.
//!
//! This is the only file that knows the connection of rustls.

use std::io::{self, BufRead, IoSlice};
use std::mem::{self, MaybeUninit};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, Connection, HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection,
    SupportedCipherSuite,
};

use super::adapters::{Counter, Receiver, Sender};
use super::boundary::{Boundary, HEADER};
use super::info::TlsInfo;
use super::wire::{Take, UNFINISHED, Wire, Written, is_for_now};
use crate::error::Error;
use crate::events::WaitEvents;
use crate::sync::{AtomicBool, AtomicUsize, Mutex, MutexGuard};

/// The longest record: 16 KiB, what TLS 1.2 allows to be added to that, and its header (RFC 5246, section 6.2.3). So one
/// `recv(2)` takes a record that is there as a whole.
const LONGEST_RECORD: usize = (16 << 10) + 2048 + 5;

/// How much of the program's a record takes (RFC 8446, section 5.1), and how much rustls takes of a write.
const MOST_IN_RECORD: usize = 16 << 10;
const MOST_AT_ONCE: usize = 64 << 10;

/// As many records as may be enciphered beside those of the program: of the handshake, alerts.
const OTHER_RECORDS: u64 = 16;

/// An alert as it goes before ciphers are agreed on: fatal, decode_error (RFC 8446, section 6).
const DECODE_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 50];

/// How many times an operation receives in a row what is nothing to the program, before it looks whether it may go on.
const MOST_IN_A_ROW: usize = 16;

/// See the module's description. A clone is the same session.
#[derive(Clone)]
pub(crate) struct Session(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// A copy of what the state says, for who hasn't locked it.
    is_shaking: AtomicBool,
    /// When the handshake has to be over, and the last of it gone.
    shaken_by: Option<Instant>,
    /// The last of the handshake has gone.
    has_gone: AtomicBool,
    /// How many operations that write are under way.
    puts: AtomicUsize,
}

struct State {
    connection: Connection,
    /// How much of the program's goes into a record.
    record: usize,
    /// How many records the program's were, at most.
    records: u64,
    /// Received, and not fed to the session yet.
    ahead: Vec<u8>,
    boundary: Boundary,
    /// The last who received was one that reads, and so knows what the system has.
    is_known: bool,
    /// The stream of the connection below has ended.
    has_ended: bool,
    /// An end without close_notify is an end of file.
    allows_truncation: bool,
    sending: Sending,
    goodbye: Goodbye,
    /// Nothing can be sent any more, and nobody waits for room to send.
    is_deaf: bool,
    /// What has failed for good.
    failed: Option<Failed>,
    /// What a client has asked for.
    asked_for: Option<String>,
    info: Option<TlsInfo>,
}

/// What becomes of the sending half.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sending {
    Open,
    /// close_notify is among what is to be sent. The end of the stream follows.
    Ending,
    Ended,
}

/// What is said to the peer when the connection is closed, if the program hasn't [ended](Sending) the sending half before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goodbye {
    /// close_notify.
    Owed,
    /// Nothing: the peer is not to take for the end what isn't.
    Withheld,
    /// It was said or withheld. The connection is being closed: nothing is received or taken any more.
    Over,
}

#[derive(Clone)]
enum Failed {
    Tls(Arc<rustls::Error>),
    /// The handshake took too long.
    TooLong,
}

impl Failed {
    fn to_io(&self) -> io::Error {
        match self {
            Failed::Tls(error) => of_tls(Arc::clone(error)),
            Failed::TooLong => Error::HandshakeTimeout.into(),
        }
    }
}

/// A session, or why there can be none.
type Begun = Result<Session, Box<dyn std::error::Error + Send + Sync>>;

/// The operation is named by who knows it.
fn of_tls(source: Arc<rustls::Error>) -> io::Error {
    let operation = "TLS".into();
    Error::Tls { operation, source }.into()
}

/// How much of the program's goes into a record that is to be no longer than `most`, its header included.
fn in_record(most: Option<usize>) -> usize {
    most.map_or(MOST_IN_RECORD, |most| {
        most.saturating_sub(HEADER).clamp(1, MOST_IN_RECORD)
    })
}

/// Whether it is the peer that has said so.
fn is_alert(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::AlertReceived(_))
}

impl Session {
    /// A client's, that begins with its hello. It asks for `name`.
    pub(crate) fn client(config: &Arc<ClientConfig>, name: &str, ahead: &[u8], shaken_by: Option<Instant>) -> Begun {
        let server = ServerName::try_from(name.to_owned()).map_err(|_| format!("{name:?} is no name of a host"))?;
        let connection = ClientConnection::new(Arc::clone(config), server)?;
        let record = in_record(config.max_fragment_size);
        Ok(Session::new(
            connection.into(),
            Some(name.to_owned()),
            record,
            ahead,
            shaken_by,
        ))
    }

    /// A server's.
    pub(crate) fn server(config: &Arc<ServerConfig>, ahead: &[u8], shaken_by: Option<Instant>) -> Begun {
        if config.max_early_data_size > 0 {
            return Err("early data (0-RTT) isn't read here: max_early_data_size has to be 0".into());
        }
        let connection = ServerConnection::new(Arc::clone(config))?;
        let record = in_record(config.max_fragment_size);
        Ok(Session::new(connection.into(), None, record, ahead, shaken_by))
    }

    /// `ahead` was received before the session began, and is the first that it gets.
    fn new(
        connection: Connection,
        asked_for: Option<String>,
        record: usize,
        ahead: &[u8],
        shaken_by: Option<Instant>,
    ) -> Session {
        let mut state = State {
            connection,
            record,
            records: 0,
            ahead: Vec::new(),
            boundary: Boundary::default(),
            is_known: false,
            has_ended: false,
            allows_truncation: false,
            sending: Sending::Open,
            goodbye: Goodbye::Owed,
            is_deaf: false,
            failed: None,
            asked_for,
            info: None,
        };
        state.boundary.pass(ahead);
        state.ahead.extend_from_slice(ahead);
        Session(Arc::new(Shared {
            state: Mutex::new(state),
            is_shaking: AtomicBool::new(true),
            shaken_by,
            has_gone: AtomicBool::new(false),
            puts: AtomicUsize::new(0),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }

    pub(crate) fn allow_truncation(&self, allow: bool) {
        self.lock().allows_truncation = allow;
    }

    /// Whether the handshake is still to be finished.
    pub(crate) fn is_shaking(&self) -> bool {
        self.0.is_shaking.load(SeqCst)
    }

    /// When the handshake has to be over, until it is.
    pub(crate) fn shaken_by(&self) -> Option<Instant> {
        self.0.shaken_by.filter(|_| self.is_shaking())
    }

    /// When the last of the handshake has to have gone, until it has: for who sends it. Reads don't wait for that.
    pub(crate) fn gone_by(&self) -> Option<Instant> {
        self.0.shaken_by.filter(|_| !self.0.has_gone.load(SeqCst))
    }

    /// What the handshake has agreed on.
    pub(crate) fn info(&self) -> Option<TlsInfo> {
        self.lock().info.clone()
    }

    /// How many bytes are to be sent, as they go over the wire.
    pub(crate) fn unsent(&self) -> usize {
        self.lock().unsent()
    }

    /// Whether an operation that reads would not block, as far as is known here: there is an end, or a failure, or something
    /// to decipher.
    pub(crate) fn has_something(&self) -> bool {
        self.lock().has_something()
    }

    /// Whether every operation fails, or will: also because the peer has ended the stream in the handshake.
    pub(crate) fn has_failed(&self) -> bool {
        let state = self.lock();
        state.failed.is_some() || state.has_ended && self.is_shaking()
    }

    /// Whether a part of a record has come whose rest hasn't. It may hold something for the program.
    pub(crate) fn is_in_record(&self) -> bool {
        self.lock().boundary.is_in_record()
    }

    /// What an operation that reads waits for.
    pub(crate) fn reading_waits_for(&self) -> WaitEvents {
        let mut events = WaitEvents::READ;
        events.set(WaitEvents::WRITE, self.lock().waits_to_send());
        events
    }

    /// What an operation that writes waits for. While a handshake is under way it needs what the peer says.
    pub(crate) fn writing_waits_for(&self) -> WaitEvents {
        match self.is_shaking() {
            true => self.reading_waits_for(),
            false => WaitEvents::WRITE,
        }
    }

    /// Whether an operation that reads may wait before it makes an attempt, if it has found all that the system had when it
    /// last looked.
    pub(crate) fn may_wait_first(&self) -> bool {
        let mut state = self.lock();
        state.is_known && !(self.is_shaking() || state.has_something() || state.connection.wants_write())
    }

    /// Goes on with the handshake until it is over. What comes behind it is left to be read. What there is still to send then
    /// is [flushed](Session::flush) by who wants that.
    pub(crate) fn shake(&self, wire: &mut dyn Wire) -> io::Result<()> {
        let mut state = self.lock();
        for _ in 0..MOST_IN_A_ROW {
            if !self.is_shaking() {
                return Ok(());
            }
            state.check_failed()?;
            if state.has_ended {
                return Err(state.ended_too_early());
            }
            state.check_time(self.shaken_by())?;
            self.try_send(&mut state, wire);
            // What this leaves to the system is not known to who reads.
            state.is_known = false;
            let received = state.receive(wire, None);
            self.note_shaken(&mut state);
            self.try_send(&mut state, wire);
            // What has failed behind the handshake is told by who reads, after all that came before it.
            if self.is_shaking() {
                received?;
            }
        }
        Err(UNFINISHED.into())
    }

    /// Reads: lets `take` have all that there is for the program. Returns how much that was; zero means the end.
    pub(crate) fn read(&self, wire: &mut dyn Wire, take: &mut Take<'_>) -> io::Result<usize> {
        let mut state = self.lock();
        for _ in 0..MOST_IN_A_ROW {
            let taken = state.take(take)?;
            if taken > 0 {
                return Ok(taken);
            }
            if state.is_at_end()? {
                return Ok(0);
            }
            state.check_time(self.shaken_by())?;
            self.try_send(&mut state, wire);
            state.is_known |= state.ahead.is_empty();
            let taken = state.receive(wire, Some(take));
            self.note_shaken(&mut state);
            match taken {
                Ok(0) => {}
                result => {
                    // What that has made to be sent: an answer, an alert.
                    self.try_send(&mut state, wire);
                    return result;
                }
            }
        }
        Err(UNFINISHED.into())
    }

    /// Takes bytes of `slices`, enciphers them and sends what goes. The handshake must be over.
    pub(crate) fn write(&self, wire: &mut dyn Wire, slices: &[IoSlice<'_>]) -> io::Result<Written> {
        let mut state = self.lock();
        state.check_sending()?;
        self.send(&mut state, wire)?;
        state.check_keys(slices)?;
        let taken = io::Write::write_vectored(&mut state.connection.writer(), slices)?;
        state.records += taken.div_ceil(state.record) as u64;
        // Whatever becomes of it: what was taken must not be taken again.
        let sent = state.send(wire);
        Ok(Written { taken, sent })
    }

    /// Runs an operation that writes. A goodbye before it is over would be said in the middle of what the program has to say.
    pub(crate) fn while_putting<T>(&self, put: impl FnOnce() -> T) -> T {
        struct UnderWay<'a>(&'a AtomicUsize);
        impl Drop for UnderWay<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, SeqCst);
            }
        }
        self.0.puts.fetch_add(1, SeqCst);
        let _under_way = UnderWay(&self.0.puts);
        put()
    }

    /// Sends what was taken.
    pub(crate) fn flush(&self, wire: &mut dyn Wire) -> io::Result<()> {
        let mut state = self.lock();
        self.send(&mut state, wire)
    }

    /// Ends the sending half behind what is unsent: close_notify, unless what the program had to say `has_broken_off`, and then the
    /// end of the stream, now or by the operation that sends the last of it. Fails if it is now, and the peer is gone.
    pub(crate) fn end_sending(&self, wire: &mut dyn Wire, has_broken_off: bool) -> io::Result<()> {
        let mut state = self.lock();
        if state.sending == Sending::Open {
            // After a failure it is for the alert, if there is one, to say how this ends.
            if state.failed.is_none() && !has_broken_off {
                state.connection.send_close_notify();
            }
            state.sending = Sending::Ending;
        }
        match state.send_all(wire) {
            Err(error) if is_for_now(&error) => Ok(()),
            _ => {
                state.sending = Sending::Ended;
                wire.end_sending()
            }
        }
    }

    /// Says what there is to say before the connection is closed, as far as that goes at once: what is unsent, and close_notify.
    /// Not if what the program had to say `has_broken_off`.
    ///
    /// Takes what has come and that nobody will read any more, tickets above all: the system resets a connection that is closed
    /// with something unread, and the peer loses what it has not received yet.
    pub(crate) fn say_goodbye(&self, wire: &mut dyn Wire, has_broken_off: bool) {
        let mut state = self.lock();
        let is_in_the_middle = has_broken_off || self.0.puts.load(SeqCst) > 0;
        let goodbye = mem::replace(&mut state.goodbye, Goodbye::Over);
        if goodbye == Goodbye::Owed && state.failed.is_none() && state.sending == Sending::Open && !is_in_the_middle {
            state.connection.send_close_notify();
        }
        if !has_broken_off {
            self.try_send(&mut state, wire);
        }
        state.drop_incoming(wire);
    }

    /// Lets the end come without close_notify, unless the program itself [ends the sending half](Session::end_sending).
    pub(crate) fn cut_off(&self) {
        let mut state = self.lock();
        if state.goodbye == Goodbye::Owed {
            state.goodbye = Goodbye::Withheld;
        }
    }

    /// Sends what there is to send: the last of the handshake within its limit.
    fn send(&self, state: &mut State, wire: &mut dyn Wire) -> io::Result<()> {
        let sent = state.send(wire);
        match &sent {
            Ok(()) => self.note_gone(state),
            Err(error) if is_for_now(error) => state.check_time(self.gone_by())?,
            Err(_) => {}
        }
        sent
    }

    /// Sends what goes. Whether it does is for those to tell that write.
    fn try_send(&self, state: &mut State, wire: &mut dyn Wire) {
        if state.send(wire).is_ok() {
            self.note_gone(state);
        }
    }

    /// Notes that all was sent that there was.
    fn note_gone(&self, state: &State) {
        if !state.connection.is_handshaking() {
            self.0.has_gone.store(true, SeqCst);
        }
    }

    /// Notes that the handshake is over, if it is.
    fn note_shaken(&self, state: &mut State) {
        if self.is_shaking() && !state.connection.is_handshaking() {
            state.info = Some(agreed(&state.connection, state.asked_for.take()));
            self.0.is_shaking.store(false, SeqCst);
        }
    }
}

impl State {
    fn check_failed(&self) -> io::Result<()> {
        self.failed.as_ref().map_or(Ok(()), |failed| Err(failed.to_io()))
    }

    /// Fails if the handshake had to be over before now.
    fn check_time(&mut self, by: Option<Instant>) -> io::Result<()> {
        if by.is_some_and(|at| Instant::now() >= at) {
            return Err(self.failed.get_or_insert(Failed::TooLong).to_io());
        }
        Ok(())
    }

    fn check_sending(&self) -> io::Result<()> {
        self.check_failed()?;
        match self.sending {
            // Who closes wakes who waits.
            Sending::Open if self.goodbye == Goodbye::Over => Err(io::ErrorKind::WouldBlock.into()),
            Sending::Open => Ok(()),
            Sending::Ending | Sending::Ended => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Whether the keys are good for a write of `slices`. Those of TLS 1.2 are for so many records, and can't be changed:
    /// rustls says close_notify then, and drops what it is given.
    fn check_keys(&self, slices: &[IoSlice<'_>]) -> io::Result<()> {
        let Some(SupportedCipherSuite::Tls12(suite)) = self.connection.negotiated_cipher_suite() else {
            return Ok(());
        };
        let len = slices
            .iter()
            .fold(0_usize, |all, slice| all.saturating_add(slice.len()));
        let records = self.records + len.min(MOST_AT_ONCE).div_ceil(self.record) as u64;
        if records + OTHER_RECORDS > suite.common.confidentiality_limit {
            let why = "the keys are worn out, and TLS 1.2 has no others";
            return Err(of_tls(Arc::new(rustls::Error::General(why.to_owned()))));
        }
        Ok(())
    }

    fn unsent(&mut self) -> usize {
        if !self.connection.wants_write() {
            return 0;
        }
        // It has nothing new to process, and says how much there is to send.
        match self.connection.process_new_packets() {
            Ok(state) => state.tls_bytes_to_write(),
            // After a failure it doesn't.
            Err(_) => {
                let mut counter = Counter::default();
                let _ = self.connection.write_tls(&mut counter);
                counter.0
            }
        }
    }

    fn waits_to_send(&self) -> bool {
        self.connection.wants_write() && !self.is_deaf
    }

    fn has_something(&mut self) -> bool {
        self.failed.is_some() || !self.ahead.is_empty() || self.has_plain()
    }

    /// Whether there is something deciphered, or the stream has ended.
    fn has_plain(&mut self) -> bool {
        let nothing = self.connection.reader().fill_buf().map(drop);
        !nothing.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether the stream has ended, once all of it was taken.
    fn is_at_end(&mut self) -> io::Result<bool> {
        self.check_failed()?;
        let nothing = self.connection.reader().fill_buf().map(drop);
        match nothing {
            Ok(()) => Ok(true),
            // An end that it has no room to take note of is one all the same.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.has_ended => Ok(false),
            Err(_) if self.connection.is_handshaking() => Err(self.ended_too_early()),
            Err(_) if self.allows_truncation => Ok(true),
            Err(_) => Err(Error::Truncated.into()),
        }
    }

    fn ended_too_early(&self) -> io::Error {
        io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the peer has ended the stream in the handshake",
        )
    }

    /// Lets `take` have what was deciphered.
    fn take(&mut self, take: &mut Take<'_>) -> io::Result<usize> {
        let mut taken = 0;
        let mut reader = self.connection.reader();
        while let Ok(bytes) = reader.fill_buf()
            && !bytes.is_empty()
        {
            let count = bytes.len();
            match take(bytes) {
                Err(error) if taken == 0 => return Err(error),
                Err(_) => break,
                Ok(()) => {}
            }
            reader.consume(count);
            taken += count;
        }
        Ok(taken)
    }

    /// Receives once, and deciphers that. Where there is no `take`, it is left to be taken. Returns how much was taken.
    fn receive(&mut self, wire: &mut dyn Wire, mut take: Option<&mut Take<'_>>) -> io::Result<usize> {
        if self.goodbye == Goodbye::Over {
            // What has come since may be gone.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut room = [MaybeUninit::uninit(); LONGEST_RECORD];
        let ahead = mem::take(&mut self.ahead);
        let mut rest = match &ahead[..] {
            [] => self.receive_from(wire, &mut room)?,
            ahead => ahead,
        };
        let mut taken = 0;
        let mut refused = None;
        loop {
            self.process();
            if let Some(take) = &mut take {
                match self.take(take) {
                    Ok(count) => taken += count,
                    Err(error) => refused = Some(error),
                }
            }
            if rest.is_empty() || self.failed.is_some() || refused.is_some() || self.feed(&mut rest) == 0 {
                break;
            }
        }
        self.leave(rest);
        if self.failed.is_some() {
            self.make_up_alert(wire);
        }
        if taken > 0 {
            return Ok(taken);
        }
        if let Some(error) = refused {
            return Err(error);
        }
        self.check_failed()?;
        Ok(0)
    }

    /// Receives once, into the connection and, what is more than that has room for, into `room`. Returns what is there.
    fn receive_from<'a>(&mut self, wire: &mut dyn Wire, room: &'a mut [MaybeUninit<u8>]) -> io::Result<&'a [u8]> {
        let mut receiver = Receiver {
            wire,
            boundary: &mut self.boundary,
            room: Some(room),
            rest: &[],
        };
        let received = self.connection.read_tls(&mut receiver);
        let Receiver { room, rest, .. } = receiver;
        match received {
            Ok(count) => self.has_ended |= count == 0 && room.is_none(),
            Err(error) if room.is_none() => return Err(error),
            // It has no more memory for what it has got.
            Err(_) => self.fail(rustls::InvalidMessage::HandshakePayloadTooLarge),
        }
        Ok(rest)
    }

    /// Moves bytes into the connection, as many as it takes. Returns how many.
    fn feed(&mut self, bytes: &mut &[u8]) -> usize {
        let before = bytes.len();
        while !bytes.is_empty() && self.connection.read_tls(bytes).is_ok_and(|count| count > 0) {}
        before - bytes.len()
    }

    /// Deciphers what the connection has.
    fn process(&mut self) {
        let mut process = || self.connection.process_new_packets().map(drop);
        // rustls 0.23 takes its own close_notify for the last alert that it will have sent, and asserts that, in a debug build,
        // where a peer that goes on then sends what there is an alert for.
        let result = match self.sending != Sending::Open && cfg!(debug_assertions) {
            false => process(),
            true => panic::catch_unwind(AssertUnwindSafe(process))
                .unwrap_or_else(|_| Err(rustls::Error::General("not valid, after our close_notify".to_owned()))),
        };
        if let Err(error) = result {
            self.fail(error);
        }
    }

    fn fail(&mut self, error: impl Into<rustls::Error>) {
        self.failed = Some(Failed::Tls(Arc::new(error.into())));
    }

    /// Leaves bytes for which there is no room before what was deciphered is taken.
    fn leave(&mut self, bytes: &[u8]) {
        if bytes.is_empty() || self.failed.is_some() {
            return;
        }
        if self.has_plain() {
            self.ahead = bytes.to_vec();
        } else {
            self.fail(rustls::InvalidMessage::HandshakePayloadTooLarge);
        }
    }

    /// Tells the peer of a failure for which the connection has no alert. That is possible only before anything is agreed on.
    fn make_up_alert(&mut self, wire: &mut dyn Wire) {
        let is_told =
            self.connection.wants_write() || matches!(&self.failed, Some(Failed::Tls(error)) if is_alert(error));
        if !is_told && self.connection.protocol_version().is_none() {
            let _ = wire.send(&[IoSlice::new(&DECODE_ERROR)]);
        }
    }

    /// Sends what there is to send, and ends the sending half if that was the last of it.
    fn send(&mut self, wire: &mut dyn Wire) -> io::Result<()> {
        self.send_all(wire)?;
        if self.sending == Sending::Ending {
            self.sending = Sending::Ended;
            // It fails if the peer is gone, which the next operation tells.
            let _ = wire.end_sending();
        }
        Ok(())
    }

    fn send_all(&mut self, wire: &mut dyn Wire) -> io::Result<()> {
        while self.connection.wants_write() {
            let mut sender = Sender { wire, is_full: false };
            let sent = self.connection.write_tls(&mut sender);
            if let Err(error) = sent {
                self.is_deaf |= !is_for_now(&error);
                return Err(error);
            }
            if sender.is_full {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        Ok(())
    }

    /// Takes what has come, and drops it.
    fn drop_incoming(&mut self, wire: &mut dyn Wire) {
        let mut room = [MaybeUninit::uninit(); LONGEST_RECORD];
        for _ in 0..MOST_IN_A_ROW {
            if !wire.receive(&mut room).is_ok_and(|bytes| !bytes.is_empty()) {
                return;
            }
        }
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

#[cfg(all(test, feature = "tls-ring", target_os = "linux"))]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;

    use proptest::prelude::*;
    use rcgen::generate_simple_self_signed;

    use super::*;
    use crate::tls::{client_config_trusting, server_config};

    /// A wire in memory: what is sent on one end comes at the other, in pieces of at most some length.
    struct End<'a> {
        incoming: &'a RefCell<Pipe>,
        outgoing: &'a RefCell<Pipe>,
        most: usize,
        /// What sending fails with.
        failure: Option<io::ErrorKind>,
    }

    #[derive(Default)]
    struct Pipe {
        bytes: VecDeque<u8>,
        has_ended: bool,
    }

    /// As much as a pipe holds.
    const ROOM: usize = 5_000;

    impl Wire for End<'_> {
        fn receive<'a>(&mut self, room: &'a mut [MaybeUninit<u8>]) -> io::Result<&'a [u8]> {
            let mut pipe = self.incoming.borrow_mut();
            let count = pipe.bytes.len().min(room.len()).min(self.most);
            if count == 0 && !pipe.has_ended {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let bytes: Vec<u8> = pipe.bytes.drain(..count).collect();
            Ok(room[..count].write_copy_of_slice(&bytes))
        }

        fn receive_into(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let mut room = vec![MaybeUninit::uninit(); buf.len()];
            let bytes = self.receive(&mut room)?;
            buf[..bytes.len()].copy_from_slice(bytes);
            Ok(bytes.len())
        }

        fn send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            if let Some(failure) = self.failure {
                return Err(failure.into());
            }
            let mut pipe = self.outgoing.borrow_mut();
            let count = self.most.min(ROOM - pipe.bytes.len());
            if count == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let before = pipe.bytes.len();
            pipe.bytes
                .extend(slices.iter().flat_map(|slice| slice.iter()).take(count));
            Ok(pipe.bytes.len() - before)
        }

        fn end_sending(&mut self) -> io::Result<()> {
            self.outgoing.borrow_mut().has_ended = true;
            Ok(())
        }
    }

    /// A client's session, and that of its server.
    fn sessions() -> [Session; 2] {
        let made = generate_simple_self_signed(["server.test".to_owned()]).unwrap();
        let pem = made.cert.pem();
        let client = client_config_trusting(pem.as_bytes()).unwrap();
        let server = server_config(pem.as_bytes(), made.signing_key.serialize_pem().as_bytes()).unwrap();
        [
            Session::client(&client, "server.test", &[], None).unwrap(),
            Session::server(&server, &[], None).unwrap(),
        ]
    }

    #[test]
    fn an_interruption_doubles_nothing_and_who_reads_waits_for_no_room_where_there_will_be_none() {
        let pipes = [RefCell::default(), RefCell::default()];
        let end = |who: usize, failure| End {
            incoming: &pipes[who],
            outgoing: &pipes[1 - who],
            most: ROOM,
            failure,
        };
        let sessions = sessions();
        while sessions.iter().any(Session::is_shaking) {
            for (who, session) in sessions.iter().enumerate() {
                let _ = session.shake(&mut end(who, None));
            }
        }
        let [client, server] = &sessions;
        client.flush(&mut end(0, None)).unwrap();
        let written = client
            .write(&mut end(0, Some(io::ErrorKind::Interrupted)), &[IoSlice::new(b"once")])
            .unwrap();
        assert_eq!(
            (written.taken, written.sent.unwrap_err().kind()),
            (4, io::ErrorKind::Interrupted)
        );
        assert!(
            client.reading_waits_for().contains(WaitEvents::WRITE),
            "who reads sends it"
        );
        client.flush(&mut end(0, None)).unwrap();
        let mut got = Vec::new();
        let mut take = |bytes: &[u8]| {
            got.extend_from_slice(bytes);
            Ok(())
        };
        while server.read(&mut end(1, None), &mut take).is_ok() {}
        assert_eq!(got, b"once");

        // A peer that takes nothing more may still have much to say.
        let written = client
            .write(&mut end(0, Some(io::ErrorKind::BrokenPipe)), &[IoSlice::new(b"?")])
            .unwrap();
        assert_eq!(
            (written.taken, written.sent.unwrap_err().kind()),
            (1, io::ErrorKind::BrokenPipe)
        );
        assert!(client.unsent() > 0);
        assert_eq!(
            client.reading_waits_for(),
            WaitEvents::READ,
            "there will be no room to wait for"
        );
    }

    /// One end of a test, and how far it has come.
    #[derive(Default)]
    struct Progress {
        taken: usize,
        got: Vec<u8>,
        has_ended: bool,
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        /// Both put much and read, each step an attempt that doesn't wait, in any order: all comes, once and in order, and then
        /// the end. In no state are both stuck.
        #[test]
        fn whatever_the_order_of_steps_both_get_all(
            steps in proptest::collection::vec((0..2_usize, 0..3_u8, 1..3_000_usize), 1..200),
            len in 1..200_000_usize,
        ) {
            let data: Vec<u8> = (0..len).map(|at| (at / 5) as u8).collect();
            let pipes = [RefCell::default(), RefCell::default()];
            let sessions = sessions();
            let mut progress = [Progress::default(), Progress::default()];
            let mut turns = 0;
            for &(who, what, most) in steps.iter().cycle() {
                let mut wire = End { incoming: &pipes[who], outgoing: &pipes[1 - who], most, failure: None };
                let (session, own) = (&sessions[who], &mut progress[who]);
                let step = match what {
                    0 => session.read(&mut wire, &mut |bytes| {
                        own.got.extend_from_slice(bytes);
                        Ok(())
                    }).map(|count| own.has_ended |= count == 0),
                    1 if own.taken < len => session
                        .shake(&mut wire)
                        .and_then(|()| session.write(&mut wire, &[IoSlice::new(&data[own.taken..])]))
                        .map(|written| own.taken += written.taken),
                    1 => {
                        session.end_sending(&mut wire, false)
                    }
                    _ => session.flush(&mut wire),
                };
                if let Err(error) = step {
                    prop_assert!(matches!(error.kind(), io::ErrorKind::WouldBlock | UNFINISHED), "{error:?}");
                }
                if progress.iter().all(|end| end.has_ended) {
                    break;
                }
                turns += 1;
                // Whatever the steps are, some of each kind come for each end, in the end.
                if turns % steps.len() == 0 {
                    for who in 0..2 {
                        let mut wire = End { incoming: &pipes[who], outgoing: &pipes[1 - who], most, failure: None };
                        let (session, own) = (&sessions[who], &mut progress[who]);
                        let read = session.read(&mut wire, &mut |bytes| {
                            own.got.extend_from_slice(bytes);
                            Ok(())
                        });
                        own.has_ended |= matches!(read, Ok(0));
                        if session.shake(&mut wire).is_ok() {
                            match own.taken < len {
                                true => own.taken += session.write(&mut wire, &[IoSlice::new(&data[own.taken..])]).map_or(0, |written| written.taken),
                                false => session.end_sending(&mut wire, false).unwrap(),
                            }
                        }
                    }
                }
                prop_assert!(turns < 1_000_000, "stuck at {:?}", progress.map(|end| (end.taken, end.got.len())));
            }
            for end in progress {
                prop_assert!(end.got == data);
            }
        }
    }
}
