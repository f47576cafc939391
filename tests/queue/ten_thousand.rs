//! Ten thousand connections in one queue.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use wakesock::{ListenOptions, SocketEventQueue, TcpSocket, WaitEvents};

use crate::support::{PATIENCE, Random, begin, block, is_wine};

const CONNECTIONS: usize = 10_000;

/// Ports are counted for each of them, so that other programs that connect at the same time find some left.
const ADDRESSES: [&str; 4] = ["127.0.0.1:0", "127.0.0.2:0", "127.0.0.3:0", "127.0.0.4:0"];

/// What a connection's token is. A listener's is beyond all of these.
type Index = usize;

struct Connections {
    listeners: Vec<TcpSocket>,
    sockets: Vec<TcpSocket>,
    peers: Vec<TcpStream>,
    queue: Arc<SocketEventQueue<Index>>,
}

impl Connections {
    fn open(count: usize) -> Connections {
        let queue = SocketEventQueue::new().unwrap();
        let listeners: Vec<TcpSocket> = ADDRESSES
            .iter()
            .map(|addr| {
                let mut listener = TcpSocket::new();
                listener.listen_on(addr, &ListenOptions::default()).unwrap();
                queue.subscribe(&listener, WaitEvents::READ, usize::MAX).unwrap();
                listener
            })
            .collect();
        let addrs: Vec<_> = listeners
            .iter()
            .map(|listener| listener.local_addr().unwrap())
            .collect();
        let (sockets, peers) = (0..count)
            .map(|index| {
                let peer = TcpStream::connect(addrs[index % addrs.len()]).unwrap();
                peer.set_read_timeout(Some(PATIENCE)).unwrap();
                let mut socket = listeners[index % listeners.len()].accept_new().unwrap();
                assert_eq!(socket.peer_addr().unwrap(), peer.local_addr().unwrap());
                socket.timeout(Duration::ZERO);
                queue.subscribe(&socket, WaitEvents::READ, index).unwrap();
                (socket, peer)
            })
            .unzip();
        Connections {
            listeners,
            sockets,
            peers,
            queue: Arc::new(queue),
        }
    }

    /// Lets these peers ask something each, all of which is answered, and nobody else is reported.
    fn ask(&mut self, active: &[Index], round: usize) {
        for index in active {
            (&self.peers[*index])
                .write_all(format!("{round} {index}\n").as_bytes())
                .unwrap();
        }
        let mut waiting = vec![false; self.sockets.len()];
        active.iter().for_each(|index| waiting[*index] = true);
        let mut left = active.len();
        let mut events = Vec::new();
        while left > 0 {
            let count = self.queue.wait_into(&mut events, PATIENCE).unwrap();
            assert!(count > 0, "round {round}: {left} of {} were not reported", active.len());
            for event in &events {
                let index = *event.token();
                assert!(waiting.get(index) == Some(&true), "round {round}: reported {event:?}");
                waiting[index] = false;
                left -= 1;
                let socket = &mut self.sockets[index];
                assert_eq!((event.socket_id(), event.events()), (socket.id(), WaitEvents::READ));
                let line = socket.get_line().unwrap();
                assert_eq!(line.as_deref(), Some(&*format!("{round} {index}")));
                socket.put_all(format!("answer {round} {index}").as_bytes()).unwrap();
            }
        }
        for index in active {
            let expected = format!("answer {round} {index}");
            let mut answer = vec![0; expected.len()];
            (&self.peers[*index]).read_exact(&mut answer).unwrap();
            assert_eq!(String::from_utf8_lossy(&answer), expected);
        }
        self.assert_nothing_to_report();
    }

    fn assert_nothing_to_report(&self) {
        let events = self.queue.wait(Duration::ZERO).unwrap();
        assert!(events.is_empty(), "reported, though nothing has come: {events:?}");
    }
}

/// As many as the system lets one process have both ends of.
fn connections() -> usize {
    let limit = rlimit::increase_nofile_limit(2 * CONNECTIONS as u64 + 200).unwrap() as usize;
    let mut room = limit.saturating_sub(200) / 2;
    if is_wine() {
        // See `MANY_ARE_SLOW`.
        room = room.min(1_000);
    }
    if room < CONNECTIONS {
        // Not by a macro, whose output is not shown where a test succeeds.
        let skipped = CONNECTIONS - room;
        let note = format!("skipped {skipped} of {CONNECTIONS} connections: there may be {limit} descriptors only\n");
        std::io::stderr().write_all(note.as_bytes()).unwrap();
    }
    room.min(CONNECTIONS)
}

#[test]
fn ten_thousand_connections_are_told_apart() {
    let _test = begin();
    let count = connections();
    let mut connections = Connections::open(count);
    assert_eq!(connections.queue.len(), count + ADDRESSES.len());
    connections.assert_nothing_to_report();

    let everybody: Vec<Index> = (0..count).collect();
    connections.ask(&everybody, 0);

    let mut random = Random::new(10_000);
    for round in 1..=50 {
        // Every one of them in some order, of which the first few are active.
        let mut some = everybody.clone();
        let active = 1 + random.below(200.min(count));
        for place in 0..active {
            some.swap(place, place + random.below(count - place));
        }
        connections.ask(&some[..active], round);
    }

    // Closing a single one, from another thread than the one that waits.
    let closed = random.below(count);
    let queue = Arc::clone(&connections.queue);
    let waiting = block(move || queue.wait(None)).until_blocked();
    connections.sockets[closed].close();
    let events = waiting.result().unwrap();
    let reported: Vec<_> = events.iter().map(|event| (*event.token(), event.is_closed())).collect();
    assert_eq!(reported, [(closed, true)]);
    assert_eq!(connections.queue.len(), count + ADDRESSES.len() - 1);
    connections.assert_nothing_to_report();

    // A peer that ends is one event among thousands that are idle.
    let ended = (closed + 1) % count;
    connections.peers[ended].shutdown(std::net::Shutdown::Write).unwrap();
    let events = connections.queue.wait(PATIENCE).unwrap();
    let reported: Vec<_> = events.iter().map(|event| (*event.token(), event.is_closed())).collect();
    assert_eq!(reported, [(ended, false)]);
    assert_eq!(connections.sockets[ended].get_line().unwrap(), None);

    connections.listeners.iter().for_each(TcpSocket::close);
    connections.sockets.iter().for_each(TcpSocket::close);
    let events = connections.queue.wait(PATIENCE).unwrap();
    assert_eq!(events.len(), count + ADDRESSES.len() - 1);
    assert!(events.iter().all(|event| event.is_closed()));
    assert_eq!(connections.queue.len(), 0);
}
