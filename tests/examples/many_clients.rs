//! The servers that have many clients on one thread, and `event_queue_client`, which is as many clients on one thread.

use std::thread;

use crate::line_servers::{
    Kind::{self, EventQueue, EventQueueOnWorker, WaitEvent, WorkerPool},
    descriptors,
};
use crate::running::{Client, Example, Server, room_for, run};

const ALL: &[Kind] = &[EventQueue, EventQueueOnWorker, WaitEvent, WorkerPool];

/// So many clients, each of which has had an answer.
fn clients(server: &Server, count: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..count).map(|_| server.client()).collect();
    clients.iter().for_each(|client| client.send("1\n"));
    clients.iter_mut().for_each(|client| assert_eq!(client.line(), "3"));
    clients
}

#[test]
fn lines_may_come_many_at_once() {
    for kind in ALL {
        let server = kind.server(&[]);
        let mut client = server.client();
        let stream = client.stream().try_clone().unwrap();
        let numbers: String = (0..20_000).map(|number| format!("{number}\n")).collect();
        let sender = thread::spawn(move || Client::of(stream).send(numbers));
        for number in 0..20_000 {
            assert_eq!(client.line(), (3 * number).to_string());
        }
        sender.join().unwrap();
    }
}

#[test]
fn a_line_may_come_in_pieces_between_those_of_others() {
    for kind in ALL {
        let server = kind.server(&[]);
        let (mut client, mut other) = (server.client(), server.client());
        for piece in 1..4 {
            client.send(piece.to_string());
            other.assert_answer(piece, 3 * piece);
        }
        client.assert_answer("", 369);
    }
}

#[test]
fn answers_come_before_the_end_of_a_connection_whose_line_is_too_long() {
    for kind in ALL {
        let server = kind.server(&[]);
        let mut client = server.client();
        client.send([&b"5\n"[..], &[b'x'; 500_000]].concat());
        assert_eq!(client.line(), "15");
        let error = client.line();
        assert!(error.starts_with("error: ") && error.contains("65536"), "{error}");
        client.assert_end();
    }
}

#[test]
fn answers_come_before_the_end_of_a_connection_that_ends_in_half_a_line() {
    for kind in ALL {
        let server = kind.server(&[]);
        let mut client = server.client();
        client.send("5\n12");
        client.says_no_more();
        assert_eq!(client.line(), "15");
        client.assert_end();
    }
}

#[test]
fn clients_that_vanish_harm_no_other() {
    for kind in ALL {
        let server = kind.server(&[]);
        let mut other = server.client();
        for number in 0..50 {
            let client = server.client();
            client.send("1\n".repeat(1000));
            // With a linger of zero, closing is a reset.
            let socket = socket2::SockRef::from(client.stream());
            socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
            drop(client);
            other.assert_answer(number, 3 * number);
        }
    }
}

#[test]
fn event_queue_raises_its_limit_of_descriptors() {
    let room = room_for(200);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -S -n 64; exec \"$0\" 127.0.0.1:0"]);
    command.arg(crate::running::program("event_queue"));
    let server = Server::of(Example::of("event_queue", command));
    assert!(descriptors(&server.example) > room);
    clients(&server, room);
}

#[test]
fn what_event_queue_has_read_is_handed_on_to_its_worker() {
    for _ in 0..20 {
        let server = EventQueueOnWorker.server(&[]);
        let mut client = server.client();
        // Too many for one turn, so that some of them are in the server's hands when the worker takes over.
        let lines = 8000;
        client.send("12345\n".repeat(lines) + "12");
        assert!((0..lines).all(|_| client.line() == "37035"));
        client.assert_answer(3, 369);
    }
}

#[test]
fn thousands_of_idle_clients_end_with_their_server() {
    for kind in [EventQueue, WaitEvent] {
        let count = room_for(if kind == EventQueue { 5_000 } else { 1_500 });
        let server = kind.server(&[]);
        let mut clients = clients(&server, count);
        kind.assert_stopped(&server.stop(libc::SIGTERM), count, 0);
        clients.iter_mut().for_each(Client::assert_end);
    }
}

#[test]
fn event_queue_client_has_ten_thousand_connections_answered() {
    answers_ten_thousand(&EventQueue.server(&[]));
}

#[test]
fn eight_threads_of_worker_pool_answer_ten_thousand_connections() {
    answers_ten_thousand(&WorkerPool.server(&[]));
}

fn answers_ten_thousand(server: &Server) {
    let count = room_for(10_000);
    let counts = [count, 5, 500].map(|count| count.to_string());
    let [connections, requests, at_once] = &counts;
    let ended = run(
        "event_queue_client",
        &[
            &server.addr(),
            "--connections",
            connections,
            "--requests",
            requests,
            "--at-once",
            at_once,
        ],
    );
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""));
    let lines: Vec<&str> = ended.output.lines().skip(1).collect();
    let begins = [
        format!("{count} connections in "),
        format!("{} answers, 0 errors, ", 5 * count),
        "latency: p50 ".to_owned(),
    ];
    assert_eq!(lines.len(), begins.len(), "{lines:?}");
    for (line, begin) in lines.iter().zip(begins) {
        assert!(line.starts_with(&begin), "{line:?} instead of {begin:?}");
    }
}

#[test]
fn event_queue_client_tells_of_wrong_answers() {
    // It gives back what it gets; three times zero, the first number, is the same.
    let echo = Server::start("signal_handler", &[]);
    let ended = run(
        "event_queue_client",
        &[&echo.addr(), "--connections", "1", "--requests", "3"],
    );
    assert_eq!(ended.code, Some(1));
    assert!(ended.output.contains("\n1 answers, 2 errors, "), "{}", ended.output);
    let failure = "connection 0: 1 was answered with \"1\"";
    assert!(ended.errors.contains(failure), "{}", ended.errors);
}

#[cfg(target_os = "linux")]
mod measured {
    use std::io::{BufRead, Write};
    use std::net::{Ipv4Addr, Shutdown, SocketAddr};
    use std::sync::mpsc::{Receiver, channel};
    use std::thread::{self, JoinHandle};
    use std::time::Duration;

    use socket2::{Domain, Socket, Type};

    use super::{ALL, EventQueue, Kind};
    use crate::proc::{assert_rests, resident_kib, time_of};
    use crate::running::Client;

    /// More requests, and answers, than the system keeps for a connection.
    const LINES: usize = 200_000;
    const FIRST: u128 = 10_u128.pow(37);

    /// Sends many requests, and reads nothing for a while.
    struct SlowReader {
        client: Client,
        /// How many requests have been sent.
        sent: Receiver<usize>,
        sender: JoinHandle<()>,
    }

    impl SlowReader {
        fn connect(port: u16) -> SlowReader {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            socket
                .connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())
                .unwrap();
            let client = Client::of(socket.into());
            let mut stream = client.stream().try_clone().unwrap();
            let (send, sent) = channel();
            let sender = thread::spawn(move || {
                for first in (0..LINES).step_by(100) {
                    let numbers = (first..first + 100).map(|number| format!("{:0120}\n", FIRST + number as u128));
                    stream.write_all(numbers.collect::<String>().as_bytes()).unwrap();
                    let _ = send.send(first + 100);
                }
            });
            SlowReader { client, sent, sender }
        }

        /// Returns when nothing that it sends is taken any more.
        fn until_stuck(&self) {
            let mut sent = 0;
            // A busy machine may take long for the next ones: then there is only less to be seen.
            while let Ok(more) = self.sent.recv_timeout(Duration::from_secs(1)) {
                sent = more;
            }
            assert!(sent < LINES, "all was taken, though nothing was read");
        }

        /// Reads until all is answered, or until the end; gives the number of answers, all of them right.
        fn answers(&mut self) -> usize {
            let mut line = Vec::new();
            for number in 0..LINES {
                line.clear();
                self.client.lines.read_until(b'\n', &mut line).unwrap();
                if line.is_empty() {
                    return number;
                }
                let expected = format!("{}\n", 3 * (FIRST + number as u128));
                assert_eq!(String::from_utf8_lossy(&line), expected, "the answer {number}");
            }
            LINES
        }
    }

    #[test]
    fn a_slow_reader_holds_up_nobody_and_takes_little() {
        for kind in ALL {
            let server = kind.server(&[]);
            let mut other = server.client();
            other.assert_answer(1, 3);
            let before = resident_kib(&server.example);
            let mut reader = SlowReader::connect(server.port);
            reader.until_stuck();
            other.assert_answer(2, 6);
            let took = resident_kib(&server.example).saturating_sub(before);
            assert!(took < 1024, "{kind:?}: {took} KiB for one client");
            assert_rests(&server.example, &other);
            assert_eq!(reader.answers(), LINES);
            reader.sender.join().unwrap();
        }
    }

    #[test]
    fn a_slow_reader_has_what_it_has_asked_when_the_server_stops() {
        let server = EventQueue.server(&["--grace", "600"]);
        let mut reader = SlowReader::connect(server.port);
        reader.until_stuck();
        server.example.signal(libc::SIGTERM);
        server.example.assert_line("stopping");
        let answered = reader.answers();
        assert!(0 < answered && answered < LINES, "{answered}");
        // What it goes on to send is not served any more; but only when it ends does the server close, lest a reset
        // overtake the answers.
        reader.sender.join().unwrap();
        reader.client.stream().shutdown(Shutdown::Write).unwrap();
        EventQueue.assert_stopped(&server.example.end(), 1, 0);
    }

    #[test]
    fn when_descriptors_run_out_those_that_have_some_are_served_and_the_others_later() {
        for kind in ALL {
            let server = kind.server(&[]);
            let mut client = server.client();
            client.assert_answer(1, 3);
            let process = server.example.id().try_into().unwrap();
            rlimit::prlimit(process, rlimit::Resource::NOFILE, Some((32, 32)), None).unwrap();
            let mut others: Vec<Client> = (0..40).map(|_| server.client()).collect();
            others.iter().for_each(|other| other.send("2\n"));
            assert_eq!(others[0].line(), "6");
            assert_rests(&server.example, &client);
            client.assert_answer(3, 9);
            others[0].stream().shutdown(Shutdown::Both).unwrap();
            for other in &mut others[1..] {
                assert_eq!(other.line(), "6");
                other.stream().shutdown(Shutdown::Both).unwrap();
            }
            client.assert_answer(4, 12);
            assert_rests(&server.example, &client);
        }
    }

    #[test]
    fn the_worker_of_event_queue_takes_its_share() {
        for (share, is_served_by_worker) in [("0", [false; 4]), ("1", [true; 4]), ("2", [false, true, false, true])] {
            let server = Kind::EventQueue.server(&["--worker-share", share]);
            let mut clients = Vec::new();
            for expected in is_served_by_worker {
                let mut client = server.client();
                client.assert_answer(1, 3);
                let times = || ["front", "worker"].map(|thread| time_of(&server.example, thread));
                let before = times();
                // Whoever has run so long has served it: to hand it over, which may end only after the first answer
                // has come, takes far less.
                let [front, worker] = loop {
                    (0..20).for_each(|_| client.assert_answer(2, 6));
                    let after = times();
                    let ran = [0, 1].map(|thread| after[thread] - before[thread]);
                    if ran.iter().any(|&ran| ran >= Duration::from_millis(20)) {
                        break ran;
                    }
                };
                assert_eq!(
                    worker > front,
                    expected,
                    "a share of {share}: {worker:?}, and {front:?} in front"
                );
                clients.push(client);
            }
        }
    }
}
