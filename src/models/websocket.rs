//! `websocket/`: what one half of a WebSocket does to what the other waits for.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use socket2::SockRef;

use super::*;
use crate::socket::{AsTcpSocket, TcpSocket};
use crate::websocket::{Message, Role, WebSocket, WebSocketReader, WebSocketWriter};

/// The halves of a WebSocket, and the other end of its connection.
fn halves(registry: &ShutdownRegistry, role: Role) -> (WebSocketReader, WebSocketWriter, UnixStream) {
    let (end, peer) = UnixStream::pair().unwrap();
    let mut socket = TcpSocket::with_registry(registry);
    socket.set_raw_wait(Arc::new(NoRoom));
    socket.attach(end).unwrap();
    let (reader, writer) = WebSocket::from_upgraded(socket, role).split();
    (reader, writer, peer)
}

/// Blocks in nothing of the system's. A wait for room fails: there will be none.
#[derive(Debug)]
struct NoRoom;

struct NoRoomWaiter(ModelWaiter);

impl RawWait for NoRoom {
    fn waiter(&self, source: WaitSource<'_>, _events: WaitEvents) -> io::Result<Box<dyn Waiter>> {
        Ok(Box::new(NoRoomWaiter(ModelWaiter::new(source))))
    }
}

impl Waiter for NoRoomWaiter {
    fn wait(&mut self, events: WaitEvents, timeout: Option<Duration>) -> io::Result<WaitEvents> {
        if events.contains(WaitEvents::WRITE) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.wait(events, timeout)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.0.waker()
    }
}

/// One half leaves something unsent, while the other is about to wait, only to read: that one goes on with it.
// broken: relaxed src/wake/list.rs self.head.store(node.as_ptr(), SeqCst)
// broken: dropped src/websocket/link.rs self.has_unsent.store(true, SeqCst)
#[test]
fn who_waits_to_read_goes_on_with_what_is_unsent() {
    check(3, || {
        let registry = ShutdownRegistry::new();
        let (mut reader, mut writer, _peer) = halves(&registry, Role::Server);
        fill(writer.as_tcp_socket());
        writer.timeout(Duration::ZERO);
        let reader = thread::spawn(move || reader.receive());
        writer.send("unsent").unwrap();
        let received = reader.join().unwrap();
        assert!(
            matches!(&received, Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::StorageFull),
            "{received:?} instead of a wait for room"
        );
        drop(writer);
        assert_eq!(registry.len(), 0);
    });
}

fn fill(socket: &TcpSocket) {
    let socket = SockRef::from(socket);
    socket.set_send_buffer_size(0).unwrap();
    while (&*socket).write(&[0; 1024]).is_ok() {}
}

/// One half has said goodbye, and is about to wait for the answer. The other half gets it, and then waits, as a client does,
/// until the connection ends, which the first one does.
// broken: relaxed src/websocket/link.rs self.has_ended.store(true, SeqCst)
#[test]
fn who_says_goodbye_is_told_of_the_answer() {
    saying_goodbye(
        |peer| peer.write_all(b"\x88\x00").unwrap(),
        |received, closed| matches!((received, closed), (Ok(None), Ok(()))),
    );
}

/// One half has said goodbye, and is about to wait for the answer. The other half learns that the stream has ended instead.
// broken: relaxed src/websocket/link.rs self.has_ended.load(SeqCst)
// broken: relaxed src/wake/list.rs self.head.store(node.as_ptr(), SeqCst)
#[test]
fn who_says_goodbye_is_told_that_no_answer_comes() {
    saying_goodbye(
        |peer| peer.shutdown(Shutdown::Write).unwrap(),
        |received, closed| {
            matches!(
                (received, closed),
                (Err(Error::UnexpectedEof), Err(Error::UnexpectedEof))
            )
        },
    );
}

type Received = crate::error::Result<Option<Message>>;

fn saying_goodbye(answer: fn(&mut UnixStream), is_right: fn(&Received, &crate::error::Result<()>) -> bool) {
    check(3, move || {
        let registry = ShutdownRegistry::new();
        let (mut reader, mut writer, mut peer) = halves(&registry, Role::Client);
        answer(&mut peer);
        let reader = thread::spawn(move || reader.receive());
        let closed = writer.close(1000, "");
        let received = reader.join().unwrap();
        assert!(is_right(&received, &closed), "{received:?}, {closed:?}");
        drop(writer);
        assert_eq!(registry.len(), 0);
    });
}
