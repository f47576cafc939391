//! `socket/deciphering.rs`: two halves of a connection under TLS, while the handshake is under way. Either receives for both.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use rcgen::generate_simple_self_signed;
use rustls::{ClientConfig, ServerConfig, ServerConnection};

use super::*;
use crate::socket::{AsTcpSocket, TcpReader, TcpSocket, TcpWriter};
use crate::sync::Mutex;
use crate::sys;
use crate::tls::{client_config_trusting, server_config};

/// How many words a thread's stack has.
const STACK: usize = 1 << 17;

/// Reports as epoll(7) does: to a waiter that is made, what there is to read, and to all of them what comes then.
#[derive(Debug, Default)]
struct Reports(Mutex<Vec<Arc<ModelWaker>>>);

struct ReportedWaiter(ModelWaiter);

impl Reports {
    /// What comes for `opening`.
    fn send(&self, opening: &Opening, peer: &mut UnixStream, bytes: &[u8]) {
        let waiters = self.0.lock();
        // loom knows nothing of what the system does. With this it lets it come before and behind each step of an operation.
        let _in_use = opening.enter().unwrap();
        peer.write_all(bytes).unwrap();
        waiters.iter().for_each(|waiter| waiter.wake());
    }
}

impl RawWait for Arc<Reports> {
    fn waiter(&self, source: WaitSource<'_>, _events: WaitEvents) -> io::Result<Box<dyn Waiter>> {
        let waiter = ModelWaiter::new(source);
        let mut waiters = self.0.lock();
        if !sys::poll(source.socket(), WaitEvents::READ, Some(Duration::ZERO))?.is_empty() {
            waiter.waker.wake();
        }
        waiters.push(Arc::clone(&waiter.waker));
        Ok(Box::new(ReportedWaiter(waiter)))
    }
}

impl Waiter for ReportedWaiter {
    fn wait(&mut self, events: WaitEvents, timeout: Option<Duration>) -> io::Result<WaitEvents> {
        // There is room.
        if events.contains(WaitEvents::WRITE) {
            return Ok(WaitEvents::WRITE);
        }
        self.0.wait(events, timeout)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.0.waker()
    }
}

fn configs() -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let made = generate_simple_self_signed(["server.test".to_owned()]).unwrap();
    let pem = made.cert.pem();
    let client = client_config_trusting(pem.as_bytes()).unwrap();
    let server = server_config(pem.as_bytes(), made.signing_key.serialize_pem().as_bytes()).unwrap();
    let mut server = ServerConfig::clone(&server);
    server.send_half_rtt_data = true;
    (client, Arc::new(server))
}

/// The halves of a client that has said hello, the other end of its connection, and what it has said.
fn halves(
    registry: &ShutdownRegistry,
    reports: &Arc<Reports>,
    config: &Arc<ClientConfig>,
) -> (TcpReader, TcpWriter, UnixStream, Vec<u8>) {
    let (end, mut peer) = UnixStream::pair().unwrap();
    let mut socket = TcpSocket::with_registry(registry);
    socket.set_raw_wait(Arc::new(Arc::clone(reports)));
    socket.attach(end).unwrap();
    socket.tls_limit(None).timeout(Duration::ZERO);
    assert!(socket.start_tls("server.test", config).unwrap_err().is_timeout());
    socket.timeout(None);
    let mut hello = vec![0; 16 << 10];
    let count = peer.read(&mut hello).unwrap();
    hello.truncate(count);
    let (reader, writer) = socket.split();
    (reader, writer, peer, hello)
}

/// What a server says to `hello`, with a byte of its own behind it.
fn answer(config: &Arc<ServerConfig>, mut hello: &[u8]) -> Vec<u8> {
    let mut server = ServerConnection::new(Arc::clone(config)).unwrap();
    server.read_tls(&mut hello).unwrap();
    server.process_new_packets().unwrap();
    server.writer().write_all(&[1]).unwrap();
    let mut answer = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut answer).unwrap();
    }
    answer
}

/// What a session does takes more of the stack than loom's threads have.
fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    thread::Builder::new().stack_size(STACK).spawn(work).unwrap()
}

/// Either half receives the last of the handshake, or what fails it, for which the other one is about to wait.
// broken: relaxed src/tls/session/handshake.rs self.0.is_handshaking.store(false, SeqCst)
// broken: relaxed src/wake/list.rs self.head.store(node.as_ptr(), SeqCst)
#[test]
fn who_waits_for_what_the_other_half_receives_goes_on() {
    const HANDSHAKE_FAILURE: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];
    let (client, server) = configs();
    for fails in [false, true] {
        let (client, server) = (Arc::clone(&client), Arc::clone(&server));
        check_with_stack(move || {
            let registry = ShutdownRegistry::new();
            let reports = Arc::default();
            let (mut reader, mut writer, mut peer, hello) = halves(&registry, &reports, &client);
            let opening = Arc::clone(reader.as_tcp_socket().opening());
            let reader = spawn(move || (reader.get(&mut [0]).map(drop), reader));
            let writer = spawn(move || (writer.put_all(b"after"), writer));
            let answer = if fails {
                HANDSHAKE_FAILURE.to_vec()
            } else {
                answer(&server, &hello)
            };
            reports.send(&opening, &mut peer, &answer);
            // The halves are dropped here: loom doesn't know what orders the last drop of an `Arc`.
            let (got, _reader) = reader.join().unwrap();
            let (put, _writer) = writer.join().unwrap();
            for result in [got, put] {
                assert_eq!(matches!(result, Err(Error::Tls { .. })), fails, "{result:?}");
                assert_eq!(result.is_ok(), !fails, "{result:?}");
            }
        });
    }
}

/// The writing half receives the last of the handshake and what comes behind it, while the reading half looks and finds nothing.
/// Queues are told that there is something to read.
// broken: dropped src/opening/readiness.rs fn change: self.word.compare_exchange_weak(word, change(word), SeqCst, SeqCst)
#[test]
fn what_the_other_half_receives_is_announced() {
    let (client, server) = configs();
    check_with_stack(move || {
        let registry = ShutdownRegistry::new();
        let reports = Arc::default();
        let (mut reader, mut writer, mut peer, hello) = halves(&registry, &reports, &client);
        let opening = Arc::clone(reader.as_tcp_socket().opening());
        opening.becomes_followed();
        reader.timeout(Duration::ZERO);
        let reader = spawn(move || (reader.get(&mut [0]), reader));
        reports.send(&opening, &mut peer, &answer(&server, &hello));
        writer.put_all(b"after").unwrap();
        let (got, reader) = reader.join().unwrap();
        let known = opening.readiness().load();
        assert!(
            got.is_ok() || known.events().contains(WaitEvents::READ),
            "{got:?}, {known:?}"
        );
        drop(reader);
    });
}

fn check_with_stack(model: impl Fn() + Send + Sync + 'static) {
    let model = Arc::new(model);
    check(2, move || {
        let model = Arc::clone(&model);
        spawn(move || model()).join().unwrap();
    });
}
