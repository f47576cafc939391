//! A server for ten thousand connections on one thread, and on a second one that takes some of them over.
//!
//! ```text
//! cargo run --release --example event_queue -- [ADDR] [--grace SECONDS] [--worker-share N]
//! cargo run --release --example event_queue_client -- [ADDR] [--connections N]
//! ```
//!
//! It serves each connection as the `accept_loop` example does, line by line: `time` is answered with the time, an
//! integer with three times itself. SIGINT or SIGTERM stops it: no more clients, idle connections end at once, running
//! requests have the grace to end. A second signal ends everything at once.

mod support;

use std::collections::HashMap;
use std::error::Error as StdError;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use wakesock::{
    AsTcpSocket, Error, ListenOptions, QueueHandle, ShutdownLevel, ShutdownRegistry, SocketEventQueue, SocketId,
    TcpSocket, WaitEvents,
};

use self::support::conversation::Conversation;
use self::support::{ServerOptions, exit_code, raise_descriptor_limit, report, say};

#[derive(Parser)]
#[command(about = "Answers `time` and integers, line by line, for many clients at once, until SIGINT or SIGTERM")]
struct Options {
    #[command(flatten)]
    server: ServerOptions,
    /// Each Nth client is served by the worker from its second request on; 0 is none of them
    #[arg(long, value_name = "N", default_value = "4")]
    worker_share: usize,
}

fn main() -> ExitCode {
    exit_code(run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), Box<dyn StdError>> {
    let registry = ShutdownRegistry::global();
    for signal in [libc::SIGINT, libc::SIGTERM] {
        registry.on_signal(signal, ShutdownLevel::Accepting)?;
    }

    let descriptors = raise_descriptor_limit()?;
    let mut listener = TcpSocket::new();
    listener.timeout(Duration::ZERO);
    listener.listen_on(&*options.server.addr, &ListenOptions::new())?;
    say(&format!("listening on {}", listener.local_addr()?))?;
    say(&format!("{descriptors} descriptors at most, one for each client"))?;

    let of_worker = Clients::new()?;
    let (sender, receiver) = channel();
    let front = Front {
        listener,
        clients: Clients::new()?,
        first_answers: 0,
        worker_share: options.worker_share,
        worker: Worker {
            clients: sender,
            queue: of_worker.queue.handle(),
        },
    };

    let (begin, drained) = thread::scope(|scope| {
        named("front").spawn_scoped(scope, || end_all_at_failure(front.serve()))?;
        named("worker").spawn_scoped(scope, || end_all_at_failure(serve_handed_over(of_worker, receiver)))?;
        registry.wait_stop(None);
        let begin = Instant::now();
        let said = say("stopping");
        let drained = registry.drain(options.server.grace);
        said.map(|()| (begin, drained))
    })?;
    say(&format!(
        "stopped in {} ms: {} finished, {} forced",
        begin.elapsed().as_millis(),
        drained.finished,
        drained.forced
    ))?;
    Ok(())
}

fn named(name: &str) -> thread::Builder {
    thread::Builder::new().name(name.to_owned())
}

/// What a thread that serves comes to. The end of its queue is how it is meant to end.
fn end_all_at_failure(result: Result<(), Error>) {
    if let Err(error) = result
        && !error.is_closed()
    {
        eprintln!("{error}");
        ShutdownRegistry::global().shutdown();
    }
}

/// The clients of one thread, and the queue that it waits in for all of them.
struct Clients {
    queue: SocketEventQueue,
    conversations: HashMap<SocketId, Conversation>,
    is_finishing: bool,
}

impl Clients {
    fn new() -> Result<Clients, Error> {
        Ok(Clients {
            queue: SocketEventQueue::new()?,
            conversations: HashMap::new(),
            is_finishing: false,
        })
    }

    fn add(&mut self, conversation: Conversation) {
        let id = conversation.as_tcp_socket().id();
        match self.queue.subscribe(&conversation, conversation.wait_events(), id) {
            Ok(()) => drop(self.conversations.insert(id, conversation)),
            Err(error) => report(&error),
        }
        if self.is_finishing {
            self.advance(id, Conversation::finish);
        }
    }

    /// Takes a client out of the queue, with all that it has sent so far and not yet read.
    fn remove(&mut self, id: SocketId) -> Option<Conversation> {
        let conversation = self.conversations.remove(&id)?;
        self.queue.remove(&conversation).ok()?;
        Some(conversation)
    }

    /// Lets a client make a step, and waits for what it then needs; or forgets it, at its end.
    fn advance(&mut self, id: SocketId, step: fn(&mut Conversation) -> Result<bool, Error>) {
        // An event may be of a client that has come to its end: its closing is reported, too.
        let Some(conversation) = self.conversations.get_mut(&id) else {
            return;
        };
        let before = conversation.wait_events();
        let goes_on = step(conversation).and_then(|goes_on| {
            if goes_on {
                wait_for(&self.queue, conversation, before)?;
            }
            Ok(goes_on)
        });
        if let Err(error) = &goes_on {
            report(error);
        }
        if !matches!(goes_on, Ok(true)) {
            self.conversations.remove(&id);
        }
    }

    /// Once the program is to stop, lets all clients end.
    fn finish_if_stopping(&mut self) {
        if self.is_finishing || !ShutdownRegistry::global().is_stopping() {
            return;
        }
        self.is_finishing = true;
        let ids: Vec<SocketId> = self.conversations.keys().copied().collect();
        for id in ids {
            self.advance(id, Conversation::finish);
        }
    }
}

/// Changes what a client is subscribed to, from what it was before.
fn wait_for(queue: &SocketEventQueue, conversation: &Conversation, before: WaitEvents) -> Result<(), Error> {
    let now = conversation.wait_events();
    let (more, less) = (now - before, before - now);
    if !more.is_empty() {
        queue.subscribe(conversation, more, conversation.as_tcp_socket().id())?;
    }
    if less.contains(WaitEvents::READ) {
        queue.disable_read(conversation)?;
    }
    if less.contains(WaitEvents::WRITE) {
        queue.disable_write(conversation)?;
    }
    Ok(())
}

/// The other thread, as seen from the one that accepts.
struct Worker {
    clients: Sender<Conversation>,
    queue: QueueHandle,
}

impl Worker {
    fn take_over(&self, conversation: Conversation) {
        // If it has ended, everything is about to, and the client ends here.
        let _ = self.clients.send(conversation);
        self.queue.wake();
    }
}

fn serve_handed_over(mut clients: Clients, handed_over: Receiver<Conversation>) -> Result<(), Error> {
    let mut events = Vec::new();
    loop {
        clients.queue.wait_into(&mut events, None)?;
        for event in &events {
            clients.advance(event.socket_id(), Conversation::go_on);
        }
        for conversation in handed_over.try_iter() {
            clients.add(conversation);
        }
        clients.finish_if_stopping();
    }
}

/// The thread that accepts, and serves all clients but those that the worker takes over.
struct Front {
    listener: TcpSocket,
    clients: Clients,
    /// How many clients have had their first answer.
    first_answers: usize,
    worker_share: usize,
    worker: Worker,
}

/// So many clients are accepted before the others have their turn.
const ACCEPTED_AT_ONCE: usize = 64;

impl Front {
    fn serve(mut self) -> Result<(), Error> {
        self.clients.queue.subscribe_read(&self.listener)?;
        let mut events = Vec::new();
        loop {
            self.clients.queue.wait_into(&mut events, None)?;
            for event in &events {
                if event.socket_id() == self.listener.id() {
                    self.accept();
                } else {
                    self.go_on(event.socket_id());
                }
            }
            self.clients.finish_if_stopping();
        }
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTED_AT_ONCE {
            match self.listener.accept_new().and_then(Conversation::new) {
                Ok(conversation) => self.clients.add(conversation),
                Err(Error::Timeout) => return,
                // If there are no descriptors left, the queue holds the listener back for a while.
                Err(error) => return report(&error),
            }
        }
    }

    fn go_on(&mut self, id: SocketId) {
        let had_answers = self.has_answers(id);
        self.clients.advance(id, Conversation::go_on);
        if had_answers || !self.has_answers(id) {
            return;
        }
        self.first_answers += 1;
        let is_for_worker = self.first_answers.checked_rem(self.worker_share) == Some(0);
        if is_for_worker && let Some(conversation) = self.clients.remove(id) {
            self.worker.take_over(conversation);
        }
    }

    fn has_answers(&self, id: SocketId) -> bool {
        let conversation = self.clients.conversations.get(&id);
        conversation.is_some_and(|conversation| conversation.answered() > 0)
    }
}
