//! `handover`: no client notices that its server was restarted, and none is forgotten when one stops.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::SystemTime;

use crate::running::{Client, Example, PATIENCE, Server, lines, program};
use crate::scratch::Scratch;

/// A client in a process of its own, which asks until it is told to end.
struct Asking {
    child: Child,
    lines: Receiver<String>,
    /// What it has said so far.
    said: Vec<String>,
}

/// What has become of a question.
#[derive(Debug)]
struct Asked {
    number: u64,
    /// In microseconds since 1970, if it was sent whole.
    sent: Option<u128>,
    /// The answering process, or what went wrong.
    answer: Result<u32, String>,
}

impl Asking {
    fn start(addr: &str, threads: usize) -> Asking {
        let mut child = Command::new(program("handover"))
            .args(["ask", addr, "--threads", &threads.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = lines(child.stdout.take().unwrap());
        Asking {
            child,
            lines,
            said: Vec::new(),
        }
    }

    /// Waits until it has asked so many times more.
    fn until_asked(&mut self, times: usize) {
        for _ in 0..times {
            self.said.push(self.lines.recv_timeout(PATIENCE).unwrap());
        }
    }

    /// Tells it to end. Gives what it has asked.
    fn end(mut self) -> Vec<Asked> {
        drop(self.child.stdin.take());
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.said.push(line);
        }
        assert!(self.child.wait().unwrap().success());
        let summary = self.said.pop().unwrap();
        let asked: Vec<Asked> = self.said.iter().map(|line| Asked::of(line)).collect();
        let answered = asked.iter().filter(|asked| asked.answer.is_ok()).count();
        assert_eq!(
            summary,
            format!("{answered} answered, {} failed", asked.len() - answered)
        );
        let numbers: HashSet<u64> = asked.iter().map(|asked| asked.number).collect();
        assert_eq!(numbers.len(), asked.len(), "each was asked once");
        asked
    }
}

impl Asked {
    fn of(line: &str) -> Asked {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().unwrap_or_else(|| panic!("{line:?}"));
        let (number, sent, outcome, rest) = (word(), word(), word(), word());
        let answer = match outcome {
            "answered:" => {
                let (echo, process) = rest.split_once(' ').unwrap_or_else(|| panic!("{line:?}"));
                assert_eq!(echo, number, "{line:?}");
                Ok(process.parse().unwrap_or_else(|_| panic!("{line:?}")))
            }
            _ => Err(rest.to_owned()),
        };
        Asked {
            number: number.parse().unwrap(),
            sent: sent.parse().ok(),
            answer,
        }
    }
}

/// What a server and its successors have said.
struct Servers {
    current: Server,
    process: i32,
    /// Answers by those that have ended.
    answers: usize,
    before: Vec<Example>,
}

impl Servers {
    fn start(arguments: &[&str]) -> Servers {
        let current = Server::of(Example::start("handover", arguments));
        let mut servers = Servers {
            current,
            process: 0,
            answers: 0,
            before: Vec::new(),
        };
        servers.process = servers.serving(": the listener is its own");
        servers
    }

    /// Which process serves now, by what it says.
    #[track_caller]
    fn serving(&self, origin: &str) -> i32 {
        let line = self.current.example.line();
        let process = line.strip_prefix("process ").and_then(|rest| rest.strip_suffix(origin));
        process
            .and_then(|process| process.parse().ok())
            .unwrap_or_else(|| panic!("{line:?}"))
    }

    /// Takes note of what one of them says at its end.
    #[track_caller]
    fn ended(&mut self, process: i32, line: &str) {
        let said = line
            .strip_prefix(&format!("process {process}: "))
            .unwrap_or_else(|| panic!("{line:?}"));
        let words: Vec<&str> = said.split_whitespace().collect();
        let [answers, "answers", "to", _clients, "clients,", "0", "forced"] = words[..] else {
            panic!("{line:?}");
        };
        self.answers += answers.parse::<usize>().unwrap();
    }

    /// By SIGHUP: the successor inherits the listener, and what it says goes where its predecessor's goes.
    fn restart(&mut self) {
        let former = self.process;
        // SAFETY: it takes numbers, and that process has not ended.
        assert_eq!(unsafe { libc::kill(former, libc::SIGHUP) }, 0);
        let mut said = [String::new(), String::new(), String::new()];
        for line in &mut said {
            *line = self.current.example.line();
        }
        let end = said
            .iter()
            .position(|line| line.ends_with("forced"))
            .unwrap_or_else(|| panic!("{said:?}"));
        let rest: Vec<&String> = said
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != end)
            .map(|(_, line)| line)
            .collect();
        assert_eq!(*rest[0], format!("listening on {}", self.current.addr()));
        let process = rest[1]
            .strip_prefix("process ")
            .and_then(|rest| rest.strip_suffix(": the listener is inherited"));
        self.process = process.unwrap_or_else(|| panic!("{said:?}")).parse().unwrap();
        self.ended(former, &said[end].clone());
    }

    /// By another process, which is passed the listener.
    fn take_over(&mut self, control: &str) {
        let former = self.process;
        let current = Server::of(Example::start(
            "handover",
            &["serve", "127.0.0.1:0", "--control", control],
        ));
        assert_eq!(current.port, self.current.port);
        let before = std::mem::replace(&mut self.current, current);
        self.process = self.serving(": the listener is taken over");
        let line = before.example.line();
        self.ended(former, &line);
        self.before.push(before.example);
    }

    /// Stops the one that serves. Gives all answers of all of them.
    fn stop(mut self) -> usize {
        // SAFETY: as above.
        assert_eq!(unsafe { libc::kill(self.process, libc::SIGTERM) }, 0);
        let line = self.current.example.line();
        self.ended(self.process, &line);
        self.answers
    }
}

#[test]
fn no_request_fails_over_ten_restarts() {
    let scratch = Scratch::new();
    let control = scratch.path("control").to_str().unwrap().to_owned();
    let mut servers = Servers::start(&["serve", "127.0.0.1:0", "--control", &control]);
    let mut asking = Asking::start(&servers.current.addr(), 6);
    for turn in 0..10 {
        asking.until_asked(100 + 37 * turn);
        if turn % 2 == 0 {
            servers.restart();
        } else {
            servers.take_over(&control);
        }
    }
    asking.until_asked(100);
    let asked = asking.end();
    let failed: Vec<_> = asked.iter().filter(|asked| asked.answer.is_err()).collect();
    assert!(failed.is_empty(), "{failed:?}");
    let processes: HashSet<u32> = asked.iter().filter_map(|asked| asked.answer.clone().ok()).collect();
    assert_eq!(processes.len(), 11, "all of them have answered");
    let answers = servers.stop();
    assert_eq!(answers, asked.len(), "none was answered twice");
    println!("{} requests", asked.len());
}

#[test]
fn every_request_that_was_sent_before_a_stop_is_answered() {
    let mut all = 0;
    for turn in 0..10 {
        let servers = Servers::start(&["serve", "127.0.0.1:0"]);
        let mut asking = Asking::start(&servers.current.addr(), 12);
        asking.until_asked(50 + 31 * turn);
        let stopped = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_micros();
        let answers = servers.stop();
        let asked = asking.end();
        let lost = |asked: &&Asked| asked.answer.is_err() && asked.sent.is_some_and(|sent| sent < stopped);
        let lost: Vec<_> = asked.iter().filter(lost).collect();
        assert!(lost.is_empty(), "sent before {stopped}: {lost:?}");
        let answered = asked.iter().filter(|asked| asked.answer.is_ok()).count();
        assert_eq!(answers, answered, "none was answered twice, and no answer was lost");
        all += answered;
    }
    println!("{all} requests");
}

/// A server that was started as a service manager does it.
fn activated(inherited: impl Into<OwnedFd>) -> Example {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", ACTIVATE])
        .arg(program("handover"))
        .args(["serve", "127.0.0.1:0"]);
    Example::with_input("handover", command, Stdio::from(inherited.into()))
}

const ACTIVATE: &str = r#"export LISTEN_FDS=1 LISTEN_PID=$$; exec "$0" "$@" 3<&0 </dev/null"#;

#[test]
fn a_listener_of_a_service_manager_outlives_the_service() {
    let manager = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = manager.local_addr().unwrap();
    for _ in 0..3 {
        // Whoever comes before the service is there waits for it.
        let mut client = TcpStream::connect(addr).unwrap();
        client.write_all(b"hello\n").unwrap();
        let service = activated(manager.try_clone().unwrap());
        service.assert_line(&format!("listening on {addr}"));
        assert!(service.line().ends_with(": the listener is inherited"));
        let mut client = Client::of(client);
        assert!(client.line().starts_with("hello "));
        client.says_no_more();
        client.assert_end();
        service.signal(libc::SIGTERM);
        let ended = service.end();
        assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""), "{}", ended.output);
    }
    assert!(TcpStream::connect(addr).is_ok(), "the manager's goes on listening");
}

#[test]
fn what_is_no_listener_is_told_and_left_alone() {
    let (datagrams, own) = (
        UdpSocket::bind("127.0.0.1:0").unwrap(),
        UdpSocket::bind("127.0.0.1:0").unwrap(),
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut connection, _) = listener.accept().unwrap();
    for fd in [
        datagrams.try_clone().unwrap().into(),
        OwnedFd::from(connection.try_clone().unwrap()),
    ] {
        let ended = activated(fd).end();
        assert_eq!(ended.code, Some(1));
        assert_eq!(ended.errors.trim_end(), "what was handed over is no listener");
    }
    own.send_to(b"still here", datagrams.local_addr().unwrap()).unwrap();
    datagrams.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(datagrams.recv(&mut [0; 100]).unwrap(), 10);
    connection.write_all(b"still here").unwrap();
    (&client).read_exact(&mut [0; 10]).unwrap();
}

#[test]
fn a_server_whose_successor_fails_goes_on() {
    let scratch = Scratch::new();
    let control = scratch.path("control").to_str().unwrap().to_owned();
    let servers = Servers::start(&["serve", "127.0.0.1:0", "--control", &control]);
    // One that takes the listener and goes.
    let mut successor = std::os::unix::net::UnixStream::connect(&control).unwrap();
    successor.read_exact(&mut [0]).unwrap();
    drop(successor);
    assert_eq!(servers.current.example.error_line(), "the successor has gone");
    let mut client = servers.current.client();
    assert!(client.ask("1").starts_with("1 "));
    drop(client);
    assert_eq!(servers.stop(), 1);
}
