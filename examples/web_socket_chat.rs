//! A chat for browsers: thousands of members on one thread, on one port with their page.
//!
//! ```text
//! cargo run --release --example web_socket_chat --features websocket -- [ADDR] [--patience SECONDS] [--goodbye SECONDS]
//! ```
//!
//! `http://ADDR/` is the page; a WebSocket to the same port joins. What a member says goes to all, to all in the same order,
//! as text or bytes. (It is also what U++'s `reference/WebSocket` shows with its `demo.html`.)
//!
//! Nobody holds up anybody, whatever it does:
//!
//! - A client that asks for something slowly is read as it comes, and dropped when its patience of ten seconds is over.
//! - A member that doesn't read gets no further, while the others go on. The last thousand messages are kept, once for all; a
//!   member that is further behind is **dropped**, without a close code, as that couldn't get through. So memory is bounded:
//!   by a thousand messages, and by one for each member, which are limited to 4 KiB.
//! - A turn takes one message of each member, however many more it has sent.
//!
//! SIGINT or SIGTERM ends it: all members get what was said by then, are told that the server goes away (1001), and have two
//! seconds to answer. A second signal ends everything at once.

mod support;

use std::collections::{HashMap, VecDeque};
use std::error::Error as StdError;
use std::io::BufRead;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use wakesock::{
    Error, ListenOptions, Message, ShutdownLevel, ShutdownRegistry, SocketEventQueue, SocketId, TcpSocket, Upgrade,
    WaitEvents, WebSocket,
};

use self::support::{exit_code, raise_descriptor_limit, report, say, seconds};

const PAGE: &str = include_str!("web_socket_chat.html");

/// The most bytes of a message.
const LONGEST_MESSAGE: usize = 4 * 1024;

/// The most bytes of a request.
const LONGEST_HEAD: usize = 16 * 1024;

/// So many messages are kept for those that are behind.
const KEPT: usize = 1000;

/// So many clients are accepted before the others have their turn.
const ACCEPTED_AT_ONCE: usize = 64;

#[derive(Parser)]
#[command(about = "A chat for browsers, until SIGINT or SIGTERM")]
struct Options {
    /// Where to listen; port 0 is any free one
    #[arg(default_value = "127.0.0.1:3214")]
    addr: String,
    /// How long a client may take to ask for something
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    patience: Duration,
    /// How long the goodbye may take in all
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    goodbye: Duration,
}

fn main() -> ExitCode {
    exit_code(run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), Box<dyn StdError>> {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        ShutdownRegistry::global().on_signal(signal, ShutdownLevel::Accepting)?;
    }
    raise_descriptor_limit()?;
    let mut listener = TcpSocket::new();
    listener.timeout(Duration::ZERO);
    listener.listen_on(&*options.addr, &ListenOptions::new())?;
    say(&format!("listening on {}", listener.local_addr()?))?;

    let mut chat = Chat {
        queue: SocketEventQueue::new()?,
        newcomers: HashMap::new(),
        arrivals: VecDeque::new(),
        patience: options.patience,
        members: HashMap::new(),
        talk: Talk::default(),
    };
    match chat.go_on(listener).and_then(|()| chat.say_goodbye(options.goodbye)) {
        // The second signal.
        Err(error) if !error.is_closed() => Err(error.into()),
        _ => Ok(say("stopped")?),
    }
}

struct Chat {
    /// In which all of them are, by their sockets' ids.
    queue: SocketEventQueue,
    newcomers: HashMap<SocketId, TcpSocket>,
    /// When newcomers have come, the first one first. Some of them aren't any more.
    arrivals: VecDeque<(Instant, SocketId)>,
    /// How long they may take.
    patience: Duration,
    members: HashMap<SocketId, Member>,
    talk: Talk,
}

impl Chat {
    /// Serves everybody until the program is to stop.
    fn go_on(&mut self, listener: TcpSocket) -> Result<(), Error> {
        self.queue.subscribe_read(&listener)?;
        let mut events = Vec::new();
        while !ShutdownRegistry::global().is_stopping() {
            let limit = self.forget_the_slow();
            self.queue.wait_into(&mut events, limit)?;
            for event in &events {
                let id = event.socket_id();
                if id == listener.id() {
                    self.accept(&listener);
                } else if self.newcomers.contains_key(&id) {
                    self.hear_newcomer(id);
                } else {
                    self.hear_member(id);
                }
            }
            self.pass_on();
        }
        Ok(())
    }

    fn accept(&mut self, listener: &TcpSocket) {
        for _ in 0..ACCEPTED_AT_ONCE {
            let newcomer = listener.accept_new().and_then(|mut newcomer| {
                newcomer.timeout(Duration::ZERO);
                // What one says is not to wait until what was said before is acknowledged.
                newcomer.no_delay()?;
                self.queue.subscribe_read(&newcomer)?;
                Ok(newcomer)
            });
            match newcomer {
                Ok(newcomer) => {
                    let id = newcomer.id();
                    self.newcomers.insert(id, newcomer);
                    self.arrivals.push_back((Instant::now(), id));
                }
                Err(Error::Timeout) => return,
                // If there are no descriptors left, the queue holds the listener back for a while.
                Err(error) => return report(&error),
            }
        }
    }

    /// Drops newcomers that have taken too long, and says how long the next one may still take.
    fn forget_the_slow(&mut self) -> Option<Duration> {
        while let Some(&(arrival, id)) = self.arrivals.front() {
            let left = self.patience.saturating_sub(arrival.elapsed());
            if !left.is_zero() && self.newcomers.contains_key(&id) {
                return Some(left);
            }
            self.newcomers.remove(&id);
            self.arrivals.pop_front();
        }
        None
    }

    fn hear_newcomer(&mut self, id: SocketId) {
        let Some(newcomer) = self.newcomers.get_mut(&id) else {
            return;
        };
        match Upgrade::wait_head(newcomer) {
            Ok(()) => {}
            Err(Error::Timeout) => return,
            Err(error) => {
                // A browser may connect and never ask.
                if !matches!(error, Error::UnexpectedEof) {
                    report(&error);
                }
                self.newcomers.remove(&id);
                return;
            }
        }
        let answered = self.newcomers.remove(&id).map(answer);
        match answered {
            Some(Ok(Some(socket))) => drop(self.members.insert(id, Member::new(socket, &self.talk))),
            Some(Err(error)) => report(&error),
            Some(Ok(None)) | None => {}
        }
    }

    /// Takes what a member says, if it says something, and lets it get on with what it wants.
    fn hear_member(&mut self, id: SocketId) {
        // An event may be of one that has come to its end: its closing is reported, too.
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        let goes_on = member
            .hear(&mut self.talk)
            .and_then(|goes_on| Ok(goes_on && member.advance(&self.talk, &self.queue)?));
        if !is_true(goes_on) {
            self.members.remove(&id);
        }
    }

    /// Tells all members what is new to them.
    fn pass_on(&mut self) {
        self.members.retain(|_, member| {
            if member.knows_all_of(&self.talk) {
                return true;
            }
            is_true(member.advance(&self.talk, &self.queue))
        });
    }

    /// Tells all members that the chat is over, and waits until they have answered.
    fn say_goodbye(&mut self, limit: Duration) -> Result<(), Error> {
        let begin = Instant::now();
        self.newcomers.clear();
        self.members.values_mut().for_each(|member| member.is_leaving = true);
        self.pass_on();
        let mut events = Vec::new();
        loop {
            let left = limit.saturating_sub(begin.elapsed());
            if self.members.is_empty() || left.is_zero() {
                return Ok(());
            }
            self.queue.wait_into(&mut events, left)?;
            for event in &events {
                self.hear_member(event.socket_id());
            }
        }
    }
}

/// Whether somebody goes on; tells of what has failed, if that is why it doesn't.
fn is_true(goes_on: Result<bool, Error>) -> bool {
    goes_on.unwrap_or_else(|error| {
        report(&error);
        false
    })
}

/// What was said, as far as it is kept.
#[derive(Default)]
struct Talk {
    last: VecDeque<Message>,
    /// How many there were before those.
    forgotten: u64,
}

impl Talk {
    fn say(&mut self, message: Message) {
        if self.last.len() == KEPT {
            self.last.pop_front();
            self.forgotten += 1;
        }
        self.last.push_back(message);
    }

    /// How many messages there were.
    fn len(&self) -> u64 {
        self.forgotten + self.last.len() as u64
    }

    /// What was said after so many messages; None if some of that is forgotten.
    fn after(&self, count: u64) -> Option<impl Iterator<Item = &Message>> {
        let known = count.checked_sub(self.forgotten)?;
        Some(self.last.iter().skip(known as usize))
    }
}

/// Lets a client join, or gives it the page, or tells it what is wrong. None of that waits: there is room for a first answer.
fn answer(mut socket: TcpSocket) -> Result<Option<WebSocket>, Error> {
    if socket.fill_buf().is_ok_and(is_for_page) {
        let length = PAGE.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {length}\r\n\
             Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        );
        socket.put_all((head + PAGE).as_bytes())?;
        // Nobody waits for the client's end.
        let _ = socket.finish(Duration::ZERO);
        return Ok(None);
    }
    let mut socket = Upgrade::read(socket)?.accept()?;
    socket.max_message(LONGEST_MESSAGE);
    Ok(Some(socket))
}

/// Whether what has come is a request for the page `/`, and not for a WebSocket: a whole one, that isn't longer than others may be.
fn is_for_page(come: &[u8]) -> bool {
    let mut ends = come.windows(4).take(LONGEST_HEAD);
    let head = &come[..ends.position(|end| end == b"\r\n\r\n").unwrap_or(0)];
    let upgrade = b"\r\nupgrade:";
    let mut lines = head.windows(upgrade.len());
    head.starts_with(b"GET / ") && !lines.any(|start| start.eq_ignore_ascii_case(upgrade))
}

/// One that is told what all say, and may say something.
struct Member {
    socket: WebSocket,
    /// How many of all messages were sent to it, or were before its time.
    knows: u64,
    /// What it is subscribed to.
    subscribed: WaitEvents,
    /// Whether it is to be told that the chat is over.
    is_leaving: bool,
}

impl Member {
    fn new(socket: WebSocket, talk: &Talk) -> Member {
        Member {
            socket,
            knows: talk.len(),
            subscribed: WaitEvents::READ,
            is_leaving: false,
        }
    }

    fn knows_all_of(&self, talk: &Talk) -> bool {
        self.knows == talk.len() && !self.is_leaving
    }

    /// Takes one message. If there are more, the queue says so again. False at its end.
    fn hear(&mut self, talk: &mut Talk) -> Result<bool, Error> {
        match self.socket.receive() {
            Ok(Some(message)) => {
                // When all is said, nothing is added.
                if !self.is_leaving {
                    talk.say(message);
                }
                Ok(true)
            }
            // As whoever closes the page ends it.
            Ok(None) | Err(Error::UnexpectedEof) => Ok(false),
            Err(Error::Timeout) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Sends what it doesn't know yet, as far as there is room, and waits for more room if it has to. False if it is too far
    /// behind.
    fn advance(&mut self, talk: &Talk, queue: &SocketEventQueue) -> Result<bool, Error> {
        let Some(news) = talk.after(self.knows) else {
            return Ok(false);
        };
        match self.tell(news) {
            Ok(()) | Err(Error::Timeout) => self.wait_for_what_it_wants(queue).map(|()| true),
            Err(error) => Err(error),
        }
    }

    fn tell<'a>(&mut self, news: impl Iterator<Item = &'a Message>) -> Result<(), Error> {
        for message in news {
            match message {
                Message::Text(text) => self.socket.send_text(text)?,
                Message::Binary(data) => self.socket.send_binary(data)?,
            }
            self.knows += 1;
        }
        if self.is_leaving {
            self.socket.start_close(1001, "the chat is over")?;
        }
        self.socket.flush()
    }

    fn wait_for_what_it_wants(&mut self, queue: &SocketEventQueue) -> Result<(), Error> {
        let wanted = WaitEvents::READ | self.socket.wants();
        if wanted != self.subscribed {
            match wanted.contains(WaitEvents::WRITE) {
                true => queue.subscribe(&self.socket, WaitEvents::WRITE, self.socket.id())?,
                false => queue.disable_write(&self.socket)?,
            }
            self.subscribed = wanted;
        }
        Ok(())
    }
}
