//! The servers that answer `time` and integers, line by line: what each promises, and what those promise that let running
//! requests end.

use std::time::Instant;

use crate::running::{Client, Ended, Example, PATIENCE, Server, assert_is_now, eventually, once};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    AcceptLoop,
    /// It serves some clients in its first thread, some in its second one.
    EventQueue,
    /// It hands all clients on to its second thread.
    EventQueueOnWorker,
    WaitEvent,
    WorkerPool,
}

pub use Kind::{AcceptLoop, EventQueue, EventQueueOnWorker, WaitEvent, WorkerPool};

const ALL: &[Kind] = &[AcceptLoop, EventQueue, EventQueueOnWorker, WaitEvent, WorkerPool];

/// Those that let running requests end.
const GRACEFUL: &[Kind] = &[AcceptLoop, EventQueue, EventQueueOnWorker, WorkerPool];

impl Kind {
    #[track_caller]
    pub fn server(self, options: &[&str]) -> Server {
        // Which it was is shown if the test fails.
        println!("{self:?}");
        let (name, more): (_, &[&str]) = match self {
            AcceptLoop => ("accept_loop", &["--threads", "4"]),
            EventQueue => ("event_queue", &[]),
            EventQueueOnWorker => ("event_queue", &["--worker-share", "1"]),
            WaitEvent => ("wait_event", &[]),
            // On eight threads.
            WorkerPool => ("worker_pool", &[]),
        };
        let server = Server::start(name, &[more, options].concat());
        if matches!(name, "event_queue" | "worker_pool") {
            descriptors(&server.example);
        }
        server
    }

    #[cfg(target_os = "linux")]
    fn threads(self) -> usize {
        match self {
            AcceptLoop => 5,
            EventQueue | EventQueueOnWorker => 3,
            WaitEvent => 1,
            WorkerPool => 9,
        }
    }

    /// That it was ended as it should, with so many clients that had ended by then, and so many that had not.
    #[track_caller]
    pub fn assert_stopped(self, ended: &Ended, finished: usize, forced: usize) {
        let last = ended.output.lines().last().unwrap_or_default();
        if self == WaitEvent {
            assert_eq!(last, "stopped");
        } else {
            let counts = format!("{finished} finished, {forced} forced");
            let (begin, end) = last.split_once(" ms: ").unwrap_or_default();
            assert!(
                begin.starts_with("stopped in ") && end == counts,
                "{last:?} instead of {counts}"
            );
        }
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
    }
}

/// The second line of `event_queue`: how many descriptors it has got.
#[track_caller]
pub fn descriptors(server: &Example) -> usize {
    let second = server.line();
    let count = second.strip_suffix(" descriptors at most, one for each client");
    count
        .and_then(|count| count.parse().ok())
        .unwrap_or_else(|| panic!("{second}"))
}

#[test]
fn they_answer() {
    for &kind in ALL {
        let server = kind.server(&[]);
        let mut client = server.client();
        assert_is_now(&client.ask("time"));
        client.assert_answer("14", 42);
        client.assert_answer("-14\r", -42);
        client.assert_answer(i64::MAX, 3 * i128::from(i64::MAX));
        for wrong in [b"", &b"3.5"[..], b"Time", &[b'9'; 50], b"\xff\xfe", &[b'x'; 65536]] {
            let answer = client.ask(wrong);
            assert!(answer.starts_with("error: "), "{answer:?}");
        }
        client.send("1\n2\n3\n");
        assert_eq!([client.line(), client.line(), client.line()], ["3", "6", "9"]);
        client.says_no_more();
        client.assert_end();
    }
}

#[test]
fn a_line_too_long_ends_its_connection_and_no_other() {
    for &kind in ALL {
        let server = kind.server(&[]);
        let (mut other, mut client) = (server.client(), server.client());
        other.assert_answer(1, 3);
        client.send([b'x'; 65537]);
        let answer = client.line();
        assert!(answer.starts_with("error: ") && answer.contains("65536"), "{answer:?}");
        client.assert_end();
        other.assert_answer(2, 6);
    }
}

#[test]
fn a_signal_ends_them_at_once_with_their_idle_clients() {
    for &kind in ALL {
        for idle in [0, 3] {
            once("the end after SIGINT", || {
                let options: &[&str] = if kind == WaitEvent { &[] } else { &["--grace", "60"] };
                let server = kind.server(options);
                let mut clients: Vec<Client> = (0..idle).map(|_| server.client()).collect();
                for client in &mut clients {
                    client.assert_answer(1, 3);
                }
                #[cfg(target_os = "linux")]
                crate::proc::until_all_sleep(&server.example, kind.threads());
                let begin = Instant::now();
                server.example.signal(libc::SIGINT);
                while !server.example.line().starts_with("stopped") {}
                let took = begin.elapsed();
                let ended = server.example.end();
                assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""));
                clients.iter_mut().for_each(Client::assert_end);
                took
            });
        }
    }
}

#[test]
fn clients_between_requests_count_as_finished() {
    for &kind in GRACEFUL {
        let server = kind.server(&["--grace", "60"]);
        let mut clients = [server.client(), server.client()];
        clients.iter_mut().for_each(|client| client.assert_answer(1, 3));
        kind.assert_stopped(&server.stop(libc::SIGTERM), clients.len(), 0);
    }
}

/// A client that has sent half a line, which the server has begun to read.
#[cfg(target_os = "linux")]
fn client_in_a_request(server: &Server) -> Client {
    let mut client = server.client();
    client.assert_answer(1, 3);
    client.send("12");
    crate::proc::until_received(server);
    client
}

#[cfg(target_os = "linux")]
#[test]
fn a_running_request_ends_within_the_grace() {
    for &kind in GRACEFUL {
        let server = kind.server(&["--grace", "60"]);
        let mut client = client_in_a_request(&server);
        server.example.signal(libc::SIGINT);
        server.example.assert_line("stopping");
        eventually("new clients are refused", || server.is_refusing());
        client.assert_answer(3, 369);
        client.assert_end();
        kind.assert_stopped(&server.example.end(), 1, 0);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_grace_ends() {
    for &kind in GRACEFUL {
        let server = kind.server(&["--grace", "0.3"]);
        let mut client = client_in_a_request(&server);
        let begin = Instant::now();
        let ended = server.stop(libc::SIGINT);
        assert!(begin.elapsed().as_secs_f64() >= 0.3, "{:?}", begin.elapsed());
        kind.assert_stopped(&ended, 0, 1);
        client.assert_end();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_second_signal_ends_the_grace() {
    for &kind in GRACEFUL {
        let server = kind.server(&["--grace", "600"]);
        let mut client = client_in_a_request(&server);
        server.example.signal(libc::SIGINT);
        server.example.assert_line("stopping");
        let begin = Instant::now();
        let ended = server.stop(libc::SIGTERM);
        assert!(begin.elapsed() < PATIENCE);
        kind.assert_stopped(&ended, 0, 1);
        client.assert_end();
    }
}

#[test]
fn accept_loop_serves_more_clients_than_it_has_threads() {
    let server = Server::start("accept_loop", &["--threads", "2"]);
    for number in 0..200 {
        server.client().assert_answer(number, 3 * number);
    }
}

#[test]
fn accept_loop_says_that_its_port_is_in_use() {
    let server = Server::start("accept_loop", &[]);
    let ended = crate::running::run("accept_loop", &[&server.addr()]);
    ended.assert_failure(&format!("listen on {}: address already in use\n", server.addr()));
}
