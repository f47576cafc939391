//! Servers that send back what they are sent: one of each kind, each in a registry of its own.

use std::collections::HashMap;
use std::io::{BufRead, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use wakesock::{
    AsTcpSocket, Error, ListenOptions, ShutdownRegistry, SocketEventQueue, SocketId, SocketWaitEvent, TcpSocket,
    WAIT_READ, WaitEvents,
};

use crate::counting::CountingWait;
use crate::crew::Crew;
use crate::figures::Count;
use crate::{PATIENCE, all_end, tls};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Some threads, each with one client at a time.
    Threads,
    /// One thread, and a queue for all clients.
    Queue,
    /// One thread, and a `SocketWaitEvent` that is filled in each turn.
    WaitEvent,
    /// Some threads, each with one client at a time, which speaks by messages.
    #[cfg(feature = "websocket")]
    WebSockets,
}

impl Kind {
    /// Whether it has as many threads as it can have clients at once.
    pub fn has_threads(self) -> bool {
        !matches!(self, Kind::Queue | Kind::WaitEvent)
    }

    pub fn speaks_by_messages(self) -> bool {
        !matches!(self, Kind::Threads | Kind::Queue | Kind::WaitEvent)
    }
}

pub struct Server {
    pub kind: Kind,
    pub is_under_tls: bool,
    registry: ShutdownRegistry,
    /// Even while it runs, odd while it doesn't: grows with each start and each end.
    generation: AtomicU64,
    addr: Mutex<SocketAddr>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    crew: Arc<Crew>,
}

const THREADS: usize = 4;

/// How long connections may go on when a server ends gracefully.
const GRACE: Duration = Duration::from_millis(20);

impl Server {
    pub fn start(kind: Kind, is_under_tls: bool, crew: &Arc<Crew>) -> Result<Arc<Server>, Error> {
        let server = Arc::new(Server {
            kind,
            is_under_tls,
            registry: ShutdownRegistry::new(),
            generation: AtomicU64::new(1),
            addr: Mutex::new(SocketAddr::from(([127, 0, 0, 1], 0))),
            threads: Mutex::default(),
            crew: Arc::clone(crew),
        });
        server.open()?;
        Ok(server)
    }

    pub fn addr(&self) -> SocketAddr {
        *self.addr.lock().unwrap()
    }

    pub fn generation(&self) -> u64 {
        self.generation.load(SeqCst)
    }

    /// Whether it has run without an end since it was of this generation.
    pub fn has_run_since(&self, generation: u64) -> bool {
        generation.is_multiple_of(2) && self.generation() == generation
    }

    /// Whether nobody is connected to it.
    pub fn is_idle(&self) -> bool {
        self.registry.len() == 1
    }

    fn open(self: &Arc<Server>) -> Result<(), Error> {
        let mut listener = TcpSocket::with_registry(&self.registry);
        listener.set_raw_wait(Arc::new(CountingWait::default()));
        if !self.kind.has_threads() {
            listener.timeout(Duration::ZERO);
        }
        listener.listen_on("127.0.0.1:0", &ListenOptions::new())?;
        *self.addr.lock().unwrap() = listener.local_addr()?;
        let listener = Arc::new(listener);
        let count = if self.kind.has_threads() { THREADS } else { 1 };
        let spawn = |_| {
            let (server, listener) = (Arc::clone(self), Arc::clone(&listener));
            thread::spawn(move || server.serve(&listener))
        };
        self.threads.lock().unwrap().extend((0..count).map(spawn));
        self.generation.fetch_add(1, SeqCst);
        Ok(())
    }

    /// Ends it, and all of its threads with it.
    pub fn stop(&self, gracefully: bool) {
        self.generation.fetch_add(1, SeqCst);
        if gracefully {
            self.registry.drain(GRACE);
        } else {
            self.registry.shutdown();
        }
        let threads = std::mem::take(&mut *self.threads.lock().unwrap());
        if !all_end(threads, Instant::now() + PATIENCE) {
            let how = if gracefully { "drain" } else { "shutdown" };
            self.crew
                .fail(format_args!("a server's thread doesn't end by {how}: {:?}", self.kind));
        }
    }

    pub fn restart(self: &Arc<Server>, gracefully: bool) {
        self.stop(gracefully);
        self.registry.reset();
        match self.open() {
            Ok(()) => Count::Restarts.add(1),
            Err(error) => self.crew.fail(format_args!("a server doesn't start again: {error}")),
        }
    }

    fn serve(&self, listener: &TcpSocket) {
        let result = match self.kind {
            Kind::Threads => self.serve_one_by_one(listener),
            Kind::Queue => self.serve_by_queue(listener),
            Kind::WaitEvent => self.serve_by_wait_event(listener),
            #[cfg(feature = "websocket")]
            Kind::WebSockets => self.serve_one_by_one(listener),
        };
        if let Err(error) = result
            && !error.is_closed()
        {
            self.crew.fail(format_args!("a server ends: {error}"));
        }
    }

    fn serve_one_by_one(&self, listener: &TcpSocket) -> Result<(), Error> {
        for client in listener.incoming() {
            self.see_to(self.echo_all(client?));
        }
        Ok(())
    }

    fn serve_by_queue(&self, listener: &TcpSocket) -> Result<(), Error> {
        let queue = SocketEventQueue::in_registry(&self.registry)?;
        queue.subscribe_read(listener)?;
        let mut clients: HashMap<SocketId, Echo> = HashMap::new();
        let mut events = Vec::new();
        let mut turn = 0_usize;
        loop {
            Count::QueueEvents.add(queue.wait_into(&mut events, None)? as u64);
            for event in &events {
                let id = event.socket_id();
                if id == listener.id() {
                    for client in self.accept_some(listener)? {
                        queue.subscribe_read(&client)?;
                        clients.insert(client.socket.id(), client);
                    }
                } else if let Some(client) = clients.get_mut(&id) {
                    turn += 1;
                    let goes_on = client.go_on().and_then(|goes_on| {
                        if goes_on {
                            watch(&queue, client, turn.is_multiple_of(8))?;
                        }
                        Ok(goes_on)
                    });
                    if !self.see_to(goes_on) {
                        clients.remove(&id);
                    }
                }
            }
        }
    }

    fn serve_by_wait_event(&self, listener: &TcpSocket) -> Result<(), Error> {
        let mut clients: Vec<Echo> = Vec::new();
        loop {
            let mut waiting = SocketWaitEvent::new();
            waiting.add(listener, WAIT_READ);
            // From here on its closing ends the wait. Nothing is found for one that was closed before.
            if !listener.is_open() {
                return Ok(());
            }
            for client in &clients {
                waiting.add(client, client.wants());
            }
            Count::QueueEvents.add(waiting.wait(None)? as u64);
            // From the last to the first, so that those that go leave the indices of the others alone.
            for index in (0..clients.len()).rev() {
                if !waiting[index + 1].is_empty() {
                    let goes_on = clients[index].go_on();
                    if !self.see_to(goes_on) {
                        clients.swap_remove(index);
                    }
                }
            }
            if waiting[0].contains(WAIT_READ) {
                clients.extend(self.accept_some(listener)?);
            }
        }
    }

    /// Whether a conversation goes on. It may have ended in any way that the other side has power over.
    fn see_to<T: Default>(&self, result: Result<T, Error>) -> T {
        result.unwrap_or_else(|error| {
            let by_client = matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
                // It has not said goodbye.
                || (self.is_under_tls || self.kind.speaks_by_messages()) && error.kind() == ErrorKind::UnexpectedEof;
            if !by_client && !error.is_closed() {
                self.crew.fail(format_args!("a server: {error}"));
            }
            T::default()
        })
    }

    fn accept_some(&self, listener: &TcpSocket) -> Result<Vec<Echo>, Error> {
        let mut clients = Vec::new();
        loop {
            match listener.accept_new() {
                Ok(mut socket) => {
                    socket.timeout(Duration::ZERO);
                    if self.see_to(self.begin(&mut socket)) {
                        clients.push(Echo {
                            socket,
                            unsent: Vec::new(),
                            has_ended: false,
                        });
                    }
                }
                Err(Error::Timeout) => return Ok(clients),
                Err(error) => return Err(error),
            }
        }
    }

    /// Begins what is under the conversation with a client. Always true.
    fn begin(&self, client: &mut TcpSocket) -> Result<bool, Error> {
        if self.is_under_tls {
            tls::begin_server(client)?;
        }
        Ok(true)
    }

    fn echo_all(&self, mut client: TcpSocket) -> Result<(), Error> {
        client.timeout(PATIENCE * 3);
        self.begin(&mut client)?;
        #[cfg(feature = "websocket")]
        if self.kind.speaks_by_messages() {
            return crate::web::echo(client);
        }
        while client.wait_request()? {
            let part = client.fill_buf().map_err(crate::inner)?.to_vec();
            client.consume(part.len());
            client.put_all(&part)?;
        }
        Ok(())
    }
}

/// Reports of a client what it wants from now on: by a change of its subscription, or by a new one.
fn watch(queue: &SocketEventQueue, client: &Echo, anew: bool) -> Result<(), Error> {
    let wants = client.wants();
    if anew {
        queue.remove(client)?;
    } else {
        queue.disable_read_write(client)?;
    }
    queue.subscribe(client, wants, client.socket.id())
}

/// A client that is sent back what it sends, without blocking.
struct Echo {
    socket: TcpSocket,
    unsent: Vec<u8>,
    has_ended: bool,
}

/// While so much is unsent, nothing more is read.
const MOST_UNSENT: usize = 64 * 1024;

impl Echo {
    fn wants(&self) -> WaitEvents {
        let mut events = WaitEvents::empty();
        events.set(WaitEvents::READ, !self.has_ended && self.unsent.len() < MOST_UNSENT);
        events.set(WaitEvents::WRITE, !self.unsent.is_empty());
        events | self.socket.wants()
    }

    /// False when all was sent back and no more will come.
    fn go_on(&mut self) -> Result<bool, Error> {
        if self.wants().contains(WaitEvents::READ) {
            let mut buf = [0; 16 * 1024];
            match self.socket.get(&mut buf) {
                Ok(count) => self.unsent.extend_from_slice(&buf[..count]),
                Err(Error::Timeout) => {}
                Err(error) => return Err(error),
            }
            self.has_ended = self.socket.is_eof();
        }
        match self.socket.put(&self.unsent) {
            Ok(count) => drop(self.unsent.drain(..count)),
            Err(Error::Timeout) => {}
            Err(error) => return Err(error),
        }
        match self.socket.flush() {
            Ok(()) | Err(Error::Timeout) => {}
            Err(error) => return Err(error),
        }
        Ok(!(self.has_ended && self.unsent.is_empty() && self.socket.unsent() == 0))
    }
}

impl AsTcpSocket for Echo {
    fn as_tcp_socket(&self) -> &TcpSocket {
        &self.socket
    }
}
