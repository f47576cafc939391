//! Examples that run, as their readers run them, and clients for those that serve.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long what is bound to happen may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What happens at once takes no longer. A busy machine may need more than one try: see [`once`].
pub const AT_ONCE: Duration = Duration::from_millis(50);

/// Where cargo has put the example's program.
pub fn program(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(
        program.exists(),
        "{} isn't there: `cargo test` builds it if no targets are chosen, and `cargo build --examples` does",
        program.display()
    );
    program
}

/// An example that is running, and is killed when the test forgets it.
pub struct Example {
    name: String,
    child: Child,
    output: Receiver<String>,
    errors: Receiver<String>,
}

/// How an example came to its end, with what it said that was not read before.
pub struct Ended {
    pub code: Option<i32>,
    pub output: String,
    pub errors: String,
}

impl Example {
    pub fn start<S: AsRef<str>>(name: &str, arguments: &[S]) -> Example {
        let mut command = Command::new(program(name));
        command.args(arguments.iter().map(AsRef::as_ref));
        Example::of(name, command)
    }

    pub fn of(name: &str, command: Command) -> Example {
        Example::with_input(name, command, Stdio::null())
    }

    pub fn with_input(name: &str, mut command: Command, input: Stdio) -> Example {
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Example {
            name: name.to_owned(),
            output: lines(child.stdout.take().unwrap()),
            errors: lines(child.stderr.take().unwrap()),
            child,
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of what it prints.
    #[track_caller]
    pub fn line(&self) -> String {
        match self.output.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(why) => panic!("{} says nothing: {why}; errors: {}", self.name, self.errors()),
        }
    }

    /// The next line of the errors that it prints.
    #[track_caller]
    pub fn error_line(&self) -> String {
        match self.errors.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(why) => panic!("{} tells of no error: {why}", self.name),
        }
    }

    fn errors(&self) -> String {
        self.errors.try_iter().collect()
    }

    #[track_caller]
    pub fn assert_line(&self, expected: &str) {
        assert_eq!(self.line(), expected, "of {}", self.name);
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: it takes numbers, and the process was not waited for yet, so this one is its own.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        let output = self.rest(&self.output);
        let errors = self.rest(&self.errors);
        let code = ExitStatus::code(&self.child.wait().unwrap());
        Ended { code, output, errors }
    }

    #[track_caller]
    fn rest(&self, lines: &Receiver<String>) -> String {
        let mut rest = String::new();
        loop {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) => rest = rest + &line + "\n",
                Err(RecvTimeoutError::Disconnected) => return rest,
                Err(RecvTimeoutError::Timeout) => panic!("{} does not end; it said {rest:?}", self.name),
            }
        }
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// That it did what it was to, and said this.
    #[track_caller]
    pub fn assert_success(&self, output: &str) {
        self.assert(Some(0), output, "");
    }

    #[track_caller]
    pub fn assert_failure(&self, errors: &str) {
        self.assert(Some(1), "", errors);
    }

    #[track_caller]
    pub fn assert(&self, code: Option<i32>, output: &str, errors: &str) {
        let seen = (self.code, self.output.as_str(), self.errors.as_str());
        assert_eq!(seen, (code, output, errors));
    }
}

/// Runs an example to its end.
#[track_caller]
pub fn run<S: AsRef<str>>(name: &str, arguments: &[S]) -> Ended {
    Example::start(name, arguments).end()
}

/// What is said, line by line, as it comes.
pub fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let _ = send.send(line);
        }
    });
    receive
}

/// An example that listens on a free port.
pub struct Server {
    pub example: Example,
    pub port: u16,
}

impl Server {
    #[track_caller]
    pub fn start(name: &str, options: &[&str]) -> Server {
        Server::of(Example::start(name, &[&["127.0.0.1:0"], options].concat()))
    }

    /// Of an example that says first where it listens.
    #[track_caller]
    pub fn of(example: Example) -> Server {
        let first = example.line();
        let port = first.strip_prefix("listening on 127.0.0.1:").unwrap_or_default();
        let port = port.parse().unwrap_or_else(|_| panic!("{first:?} of {}", example.name));
        Server { example, port }
    }

    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(self.port)
    }

    pub fn is_refusing(&self) -> bool {
        TcpStream::connect(("127.0.0.1", self.port)).is_err()
    }

    /// Signals, and waits for the end.
    #[track_caller]
    pub fn stop(self, signal: i32) -> Ended {
        self.example.signal(signal);
        self.example.end()
    }
}

/// A client of the standard library's.
pub struct Client {
    pub lines: BufReader<TcpStream>,
}

impl Client {
    #[track_caller]
    pub fn connect(port: u16) -> Client {
        Client::of(TcpStream::connect(("127.0.0.1", port)).unwrap())
    }

    pub fn of(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client {
            lines: BufReader::new(stream),
        }
    }

    pub fn stream(&self) -> &TcpStream {
        self.lines.get_ref()
    }

    #[track_caller]
    pub fn send(&self, data: impl AsRef<[u8]>) {
        self.stream().write_all(data.as_ref()).unwrap();
    }

    pub fn says_no_more(&self) {
        self.stream().shutdown(Shutdown::Write).unwrap();
    }

    /// The next line without its end; empty at the end of the stream.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.lines.read_until(b'\n', &mut line).unwrap();
        String::from_utf8(line).unwrap().trim_end_matches('\n').to_owned()
    }

    #[track_caller]
    pub fn ask(&mut self, question: impl AsRef<[u8]>) -> String {
        self.send([question.as_ref(), b"\n"].concat());
        self.line()
    }

    #[track_caller]
    pub fn assert_answer(&mut self, question: impl Display, answer: impl Display) {
        assert_eq!(self.ask(question.to_string()), answer.to_string(), "to {question}");
    }

    #[track_caller]
    pub fn assert_end(&mut self) {
        let mut rest = Vec::new();
        self.lines.read_to_end(&mut rest).unwrap();
        assert!(
            rest.is_empty(),
            "{:?} instead of the end",
            String::from_utf8_lossy(&rest)
        );
    }
}

/// A server for one client: with it, once it has said something, it does what the script says.
pub fn scripted_server(script: impl FnOnce(&mut TcpStream) + Send + 'static) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.read(&mut [0; 65536]).unwrap();
        script(&mut stream);
    });
    (port, thread)
}

/// Reads until the other side ends the connection, in whatever way.
pub fn read_to_the_end(stream: &mut TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

/// Waits for what is bound to happen.
#[track_caller]
pub fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !look() {
        assert!(begin.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::yield_now();
    }
}

/// Tries until something took no longer than [`AT_ONCE`]: whatever else may hold it up is gone at one time or another.
#[track_caller]
pub fn once(what: &str, mut took: impl FnMut() -> Duration) {
    let times: Vec<Duration> = (0..20)
        .map_while(|_| Some(took()).filter(|took| *took > AT_ONCE))
        .collect();
    assert!(times.len() < 20, "{what}: always later: {times:?}");
}

/// That this is the time, but for what it takes to say so.
#[track_caller]
pub fn assert_is_now(said: &str) {
    let said = humantime::parse_rfc3339(said).unwrap_or_else(|error| panic!("{said:?}: {error}"));
    let now = std::time::SystemTime::now();
    let apart = now.duration_since(said).unwrap_or_else(|error| error.duration());
    assert!(apart < PATIENCE, "{said:?} is {apart:?} from {now:?}");
}

/// Lets this process have as many connections as it may, up to so many, with an example that has the other ends.
pub fn room_for(count: usize) -> usize {
    let limit = rlimit::increase_nofile_limit(u64::MAX).unwrap();
    count.min((limit as usize).saturating_sub(200))
}
