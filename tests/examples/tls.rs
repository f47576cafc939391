//! The examples under TLS: a server of lines, and clients of https.

use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use wakesock::rustls::ServerConfig;
use wakesock::{Error, TcpSocket, tls};

use crate::running::{Example, PATIENCE, Server, assert_is_now, run};
use crate::scratch::Scratch;

/// A certificate of the test's own, where the examples find it.
struct Made {
    scratch: Scratch,
    cert: PathBuf,
    key: PathBuf,
    config: Arc<ServerConfig>,
}

impl Made {
    fn new() -> Made {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let (cert_pem, key_pem) = (made.cert.pem(), made.signing_key.serialize_pem());
        let scratch = Scratch::new();
        let (cert, key) = (scratch.path("cert.pem"), scratch.path("key.pem"));
        fs::write(&cert, &cert_pem).unwrap();
        fs::write(&key, &key_pem).unwrap();
        let config = tls::server_config(cert_pem.as_bytes(), key_pem.as_bytes()).unwrap();
        Made {
            scratch,
            cert,
            key,
            config,
        }
    }

    fn cert(&self) -> &str {
        self.cert.to_str().unwrap()
    }

    /// A server of one client, to whom it says this, when the client has asked, and then ends, politely or not.
    fn serve(&self, answer: impl Into<Vec<u8>>, says_goodbye: bool) -> (u16, JoinHandle<Result<String, Error>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (config, answer) = (Arc::clone(&self.config), answer.into());
        let server = thread::spawn(move || {
            let mut client = TcpSocket::from(listener.accept().unwrap().0);
            client.timeout(PATIENCE).start_tls_server(&config)?;
            let request = client.get_line()?.unwrap_or_default();
            while client.get_line()?.is_some_and(|line| !line.is_empty()) {}
            client.put_all(&answer)?;
            if says_goodbye {
                client.finish(PATIENCE)?;
            } else {
                // What ends it from elsewhere says nothing to the peer.
                client.handle().close();
            }
            Ok(request)
        });
        (port, server)
    }
}

/// A client of `tls_server` that trusts this certificate.
fn client(server: &Server, cert: &str) -> TcpSocket {
    let config = tls::client_config_trusting(&fs::read(cert).unwrap()).unwrap();
    let mut client = TcpSocket::new();
    client.timeout(PATIENCE).connect("127.0.0.1", server.port).unwrap();
    client.start_tls("localhost", &config).unwrap();
    client
}

fn ask(client: &mut TcpSocket, question: &str) -> String {
    client.put_all(format!("{question}\n").as_bytes()).unwrap();
    client.get_line().unwrap().unwrap()
}

#[test]
fn the_server_answers_with_a_certificate_of_its_own_or_one_it_is_given() {
    let made = Made::new();
    let (cert, key) = (made.cert(), made.key.to_str().unwrap());
    let written = made.scratch.path("written.pem");
    let written = written.to_str().unwrap();
    for (options, trusted) in [
        (vec!["--cert", cert, "--key", key], cert),
        (vec!["--write-cert", written], written),
    ] {
        let server = Server::start("tls_server", &options);
        let mut client = client(&server, trusted);
        assert_is_now(&ask(&mut client, "time"));
        assert_eq!(ask(&mut client, "14"), "42");
        assert!(ask(&mut client, &"x".repeat(65_536)).starts_with("error: "));
        client.shutdown().unwrap();
        assert_eq!(client.get_line().unwrap(), None);
    }
}

#[test]
fn the_server_ends_with_its_idle_clients_and_tells_them() {
    let made = Made::new();
    let server = Server::start(
        "tls_server",
        &["--cert", made.cert(), "--key", made.key.to_str().unwrap()],
    );
    let mut clients = [client(&server, made.cert()), client(&server, made.cert())];
    for client in &mut clients {
        assert_eq!(ask(client, "1"), "3");
    }
    server.example.signal(libc::SIGTERM);
    for client in &mut clients {
        assert_eq!(client.get_line().unwrap(), None, "an end that was said");
        client.close();
    }
    let ended = server.example.end();
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""));
    assert!(
        ended.output.ends_with(" ms: 2 finished, 0 forced\n"),
        "{}",
        ended.output
    );
}

#[test]
fn a_handshake_that_has_stalled_and_one_that_fails_keep_nobody_from_being_served() {
    let made = Made::new();
    let server = Server::start(
        "tls_server",
        &["--cert", made.cert(), "--key", made.key.to_str().unwrap()],
    );
    let stalled = TcpStream::connect(server.addr()).unwrap();
    let plain = server.client();
    plain.send("GET / HTTP/1.1\r\n\r\n");
    let error = server.example.error_line();
    assert!(error.starts_with("start_tls_server with 127.0.0.1:"), "{error}");
    let mut alert = Vec::new();
    plain.stream().read_to_end(&mut alert).unwrap();
    assert_eq!(alert.first(), Some(&21), "an alert: {alert:?}");
    assert_eq!(ask(&mut client(&server, made.cert()), "2"), "6");
    drop(stalled);
}

#[test]
fn a_client_that_asks_nothing_is_sent_away_and_told() {
    let made = Made::new();
    let config = tls::client_config_trusting(&fs::read(made.cert()).unwrap()).unwrap();
    // On a busy machine, the handshake and a question may take longer.
    for idle in ["0.2", "2", "20"] {
        let server = Server::start(
            "tls_server",
            &[
                "--cert",
                made.cert(),
                "--key",
                made.key.to_str().unwrap(),
                "--idle",
                idle,
            ],
        );
        let mut client = TcpSocket::new();
        client.timeout(PATIENCE).connect("127.0.0.1", server.port).unwrap();
        let asked = client
            .start_tls("localhost", &config)
            .and_then(|()| client.put_all(b"1\n"))
            .and_then(|()| client.get_line());
        if matches!(&asked, Ok(Some(line)) if line == "3") {
            assert_eq!(client.get_line().unwrap(), None, "an end that was said");
            return;
        }
    }
    panic!("it was never served");
}

#[test]
fn the_server_says_what_is_wrong_with_its_certificate() {
    let made = Made::new();
    let (cert, missing) = (made.cert(), made.scratch.path("missing.pem"));
    let missing = missing.to_str().unwrap();
    let ended = run("tls_server", &["127.0.0.1:0", "--cert", missing, "--key", missing]);
    ended.assert_failure(&format!("{missing}: No such file or directory (os error 2)\n"));
    let ended = run("tls_server", &["127.0.0.1:0", "--cert", cert, "--key", cert]);
    ended.assert_failure("server_config: no private key in the PEM\n");
    assert_eq!(run("tls_server", &["127.0.0.1:0", "--cert", cert]).code, Some(2));
}

#[test]
fn the_client_prints_what_a_server_answers_whom_it_trusts() {
    let made = Made::new();
    let (port, server) = made.serve("HTTP/1.1 200 OK\r\n\r\nhello\n", true);
    let ended = run("tls_client", &[&format!("localhost:{port}"), "--ca", made.cert()]);
    let errors = "TLSv1.3, TLS13_AES_256_GCM_SHA384\n";
    ended.assert(Some(0), "HTTP/1.1 200 OK\n\nhello\n", errors);
    assert_eq!(server.join().unwrap().unwrap(), "GET / HTTP/1.1");
}

#[test]
fn the_client_tells_of_an_answer_that_was_cut_off() {
    let made = Made::new();
    let (port, server) = made.serve("HTTP/1.1 200 OK\r\n\r\nhel", false);
    let ended = run("tls_client", &[&format!("127.0.0.1:{port}"), "--ca", made.cert()]);
    assert_eq!(
        (ended.code, ended.output.as_str()),
        (Some(1), "HTTP/1.1 200 OK\n\nhel\n")
    );
    assert_eq!(ended.errors.lines().nth(1), Some(Error::Truncated.to_string().as_str()));
    server.join().unwrap().unwrap();
}

/// Those that ask by https, with a server at `url` that nobody vouches for.
#[test]
fn whom_the_system_does_not_trust_is_refused_by_all_clients_and_told() {
    for example in ["tls_client", "http_client", "download"] {
        let made = Made::new();
        let (port, server) = made.serve("", true);
        let target = match example {
            "tls_client" => format!("localhost:{port}"),
            _ => format!("https://localhost:{port}/file"),
        };
        let ended = run(example, &[&target]);
        assert_eq!((ended.code, ended.output.as_str()), (Some(1), ""), "{example}");
        let (start, said) = (
            format!("start_tls with 127.0.0.1:{port}: "),
            ended.errors.trim_start_matches("io: "),
        );
        assert!(
            said.starts_with(&start) && said.contains("certificate"),
            "{example}: {said}"
        );
        let error = server.join().unwrap().unwrap_err();
        assert!(matches!(error, Error::Tls { .. }), "{example}: {error}");
    }
}

#[test]
fn http_client_and_download_speak_https() {
    let made = Made::new();
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let (port, server) = made.serve(answer, false);
    let url = format!("https://localhost:{port}/file");
    let ended = run("http_client", &[&url, "--ca", made.cert()]);
    ended.assert_success("200 OK, 1 headers\n5 bytes\n");
    assert_eq!(server.join().unwrap().unwrap(), "GET /file HTTP/1.1");

    let (port, server) = made.serve(answer, false);
    let url = format!("https://127.0.0.1:{port}/file");
    let file = made.scratch.path("file");
    let ended = run("download", &[&url, file.to_str().unwrap(), "--ca", made.cert()]);
    ended.assert_success(&format!("{} is there\n", file.display()));
    assert_eq!(fs::read(&file).unwrap(), b"hello");
    server.join().unwrap().unwrap();
}

#[test]
fn a_signal_ends_every_client_in_the_middle_of_its_handshake() {
    for (example, code, said) in [
        ("tls_client", 1, "shut down"),
        ("http_client", 1, "ended by a signal"),
        ("download", 130, "stopped while shaking hands with 127.0.0.1"),
    ] {
        let made = Made::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let target = match example {
            "tls_client" => addr.to_string(),
            _ => format!("https://{addr}/file"),
        };
        let client = Example::start(example, &[&target, "--ca", made.cert()]);
        // Its hello has come, and gets no answer.
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 5]).unwrap();
        client.signal(libc::SIGINT);
        let ended = client.end();
        assert_eq!((ended.code, ended.output.as_str()), (Some(code), ""), "{example}");
        assert!(ended.errors.contains(said), "{example}: {}", ended.errors);
    }
}
