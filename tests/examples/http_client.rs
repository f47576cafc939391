//! `ureq` over these sockets: what ends a request, wherever it is.

use crate::running::run;

#[test]
fn it_says_what_failed() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    run("http_client", &[format!("http://{free}/")])
        .assert_failure(&format!("io: connect to {free}: connection refused\n"));
    let ended = run("http_client", &["http://no-such-host.invalid/"]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.errors.starts_with("io: resolve no-such-host.invalid: "),
        "{}",
        ended.errors
    );
}

#[cfg(target_os = "linux")]
mod ended {
    use std::io::Write;
    use std::net::TcpListener;
    use std::sync::mpsc::{Sender, channel};
    use std::thread::{self, JoinHandle};
    use std::time::Instant;

    use crate::black_hole::BlackHole;
    use crate::proc::{connected_to, until_all_sleep};
    use crate::running::{Example, PATIENCE, eventually, once};

    /// Where a request goes no further.
    #[derive(Clone, Copy, Debug)]
    enum Stage {
        Connecting,
        BeforeTheAnswer,
        InTheBody,
    }

    const STAGES: [Stage; 3] = [Stage::Connecting, Stage::BeforeTheAnswer, Stage::InTheBody];

    /// A server that goes just so far.
    enum Silent {
        Hole(BlackHole),
        Listener(TcpListener),
        Speaks {
            port: u16,
            end: Sender<()>,
            thread: JoinHandle<()>,
        },
    }

    impl Silent {
        fn at(stage: Stage) -> Silent {
            match stage {
                Stage::Connecting => Silent::Hole(BlackHole::new()),
                Stage::BeforeTheAnswer => Silent::Listener(TcpListener::bind("127.0.0.1:0").unwrap()),
                Stage::InTheBody => {
                    let (end, ended) = channel();
                    let (port, thread) = crate::running::scripted_server(move |stream| {
                        stream
                            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n0123456789")
                            .unwrap();
                        let _ = ended.recv_timeout(PATIENCE);
                    });
                    Silent::Speaks { port, end, thread }
                }
            }
        }

        fn port(&self) -> u16 {
            match self {
                Silent::Hole(hole) => hole.port(),
                Silent::Listener(listener) => listener.local_addr().unwrap().port(),
                Silent::Speaks { port, .. } => *port,
            }
        }

        fn get(&self, options: &[&str]) -> Example {
            let url = format!("http://127.0.0.1:{}/", self.port());
            Example::start("http_client", &[&[url.as_str()], options].concat())
        }

        fn until_reached_by(&self, client: &Example) {
            match self {
                Silent::Hole(hole) => hole.until_another_hangs(),
                Silent::Listener(_) => eventually("it has connected", || connected_to(self.port()) > 0),
                Silent::Speaks { .. } => client.assert_line("200 OK, 1 headers"),
            }
        }

        fn end(self) {
            if let Silent::Speaks { end, thread, .. } = self {
                end.send(()).unwrap();
                thread.join().unwrap();
            }
        }
    }

    #[test]
    fn a_signal_ends_a_request_at_any_stage() {
        for (stage, signal) in STAGES.iter().zip([libc::SIGINT, libc::SIGTERM, libc::SIGINT]) {
            once(&format!("the end after a signal, {stage:?}"), || {
                let server = Silent::at(*stage);
                let client = server.get(&[]);
                server.until_reached_by(&client);
                until_all_sleep(&client, 1);
                let begin = Instant::now();
                client.signal(signal);
                assert_eq!(client.error_line(), "ended by a signal");
                let took = begin.elapsed();
                client.end().assert_failure("");
                server.end();
                took
            });
        }
    }

    #[test]
    fn another_thread_ends_a_request_at_any_stage() {
        ends_in_time("--after", "ended by another thread");
    }

    #[test]
    fn a_limit_ends_a_request_at_any_stage() {
        ends_in_time("--timeout", "timeout: global");
    }

    fn ends_in_time(option: &str, said: &str) {
        thread::scope(|scope| {
            for stage in STAGES {
                scope.spawn(move || {
                    let server = Silent::at(stage);
                    let begin = Instant::now();
                    let client = server.get(&[option, "0.2"]);
                    assert_eq!(client.error_line(), said, "{stage:?}");
                    let took = begin.elapsed().as_secs_f64();
                    assert!(took >= 0.2, "{stage:?}: {took} s");
                    assert_eq!(client.end().code, Some(1));
                    server.end();
                });
            }
        });
    }
}
