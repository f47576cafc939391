//! Peers that others wrote: OpenSSL's s_client and s_server, curl, Python's ssl, and tlslite-ng, which misbehaves when told to.
//!
//! What isn't there is skipped, and says so. tlslite-ng is there if Python finds it, as with
//! `pip install --target DIR tlslite-ng==0.8.2` and `PYTHONPATH=DIR`.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use wakesock::rustls::crypto::ring;
use wakesock::rustls::server::WebPkiClientVerifier;
use wakesock::rustls::{
    self, AlertDescription, ClientConfig, InvalidMessage, PeerMisbehaved, RootCertStore, ServerConfig,
};
use wakesock::{Error, Result, TcpSocket};

use crate::peer::tls_error;
use crate::programs::{DATA, Files, Program, has};
use crate::support::certificates::{CERTIFICATES, NAME, client_config, der, server_config};
use crate::support::{PATIENCE, Test, begin, block, listener};

/// What keeps a program of OpenSSL's to one version.
const VERSIONS: [(&str, &str); 2] = [("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2")];

/// A test that takes this command.
fn begin_with(command: &str, arguments: &[&str], needs: &str) -> Option<Test> {
    let test = begin();
    (!test.skip_if(!has(command, arguments), &format!("there is no {needs}"))).then_some(test)
}

fn begin_with_openssl() -> Option<Test> {
    begin_with("openssl", &["version"], "command openssl")
}

fn s_client(files: &Files, addr: SocketAddr, more: &[&str]) -> Program {
    let addr = addr.to_string();
    // Quiet, so that what it writes is what it gets, and yet with its letters for commands.
    let always = [
        "s_client",
        "-connect",
        &addr,
        "-quiet",
        "-no_ign_eof",
        "-CAfile",
        "ca.pem",
        "-verify_return_error",
        "-verify_hostname",
        NAME,
        "-servername",
        NAME,
    ];
    Program::start(files, "openssl", &[&always[..], more].concat())
}

/// A server of OpenSSL's, and its address.
fn s_server(files: &Files, more: &[&str]) -> (Program, SocketAddr) {
    let always = [
        "s_server",
        "-accept",
        "127.0.0.1:0",
        "-cert",
        "chain.pem",
        "-key",
        "key.pem",
    ];
    let program = Program::start(files, "openssl", &[&always[..], more].concat());
    let addr = program.until("its address", |output, _| {
        let text = String::from_utf8_lossy(output).into_owned();
        text.lines().find_map(|line| line.strip_prefix("ACCEPT ")?.parse().ok())
    });
    (program, addr)
}

/// A connection of a client's, under TLS.
fn accept(listener: &TcpSocket, config: &Arc<ServerConfig>) -> Result<TcpSocket> {
    let mut socket = TcpSocket::new();
    socket.timeout(PATIENCE).accept(listener)?;
    socket.start_tls_server(config)?;
    Ok(socket)
}

fn connect(addr: SocketAddr, config: &Arc<ClientConfig>) -> Result<TcpSocket> {
    let mut socket = TcpSocket::new();
    socket.timeout(PATIENCE).connect_to(&[addr])?;
    socket.start_tls(NAME, config)?;
    Ok(socket)
}

/// A server's configuration that can be changed.
fn own_server_config(asks: bool) -> ServerConfig {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(der(&CERTIFICATES.authority_pem, &CERTIFICATES.key_pem).0);
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = match asks {
        false => builder.unwrap().with_no_client_auth(),
        true => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.unwrap().with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let (chain, key) = der(&CERTIFICATES.chain_pem, &CERTIFICATES.key_pem);
    builder.with_single_cert(chain, key).unwrap()
}

#[test]
fn s_client_of_either_version_agrees_on_names_and_protocols() {
    let Some(_test) = begin_with_openssl() else { return };
    let files = Files::new();
    let (listener, addr) = listener();
    let mut config = own_server_config(false);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let config = Arc::new(config);
    for (version, name) in VERSIONS {
        let mut client = s_client(&files, addr, &[version, "-alpn", "h2,http/1.1"]);
        let mut server = accept(&listener, &config).unwrap();
        client.say("hello\n");
        assert_eq!(server.get_line().unwrap().as_deref(), Some("hello"));
        server.put_all(b"world\n").unwrap();
        client.until_said("world");
        client.hang_up();
        assert_eq!(server.get(&mut [0; 1]).unwrap(), 0, "it says close_notify");
        let info = server.tls_info().unwrap();
        assert_eq!(
            (
                info.version(),
                info.alpn(),
                info.server_name(),
                info.peer_certificates().len()
            ),
            (name, Some(&b"http/1.1"[..]), Some(NAME), 0)
        );
        drop(server);
        let (_, output, errors) = client.end();
        assert_eq!(output, "world\n", "{errors}");
    }
}

#[test]
fn s_client_gives_its_certificate_or_is_refused() {
    let Some(_test) = begin_with_openssl() else { return };
    let files = Files::new();
    let (listener, addr) = listener();
    let config = Arc::new(own_server_config(true));
    for (version, _) in VERSIONS {
        let certificate = ["-cert", "client.pem", "-key", "client-key.pem"];
        let mut client = s_client(&files, addr, &[&[version], &certificate[..]].concat());
        let mut server = accept(&listener, &config).unwrap();
        let own = std::fs::read_to_string(files.path("client.pem")).unwrap();
        let own = der(&own, &CERTIFICATES.key_pem).0;
        // Behind its own it sends what it has found to be above that.
        assert_eq!(server.tls_info().unwrap().peer_certificates()[0], own[0]);
        client.say("hello\n");
        assert_eq!(server.get_line().unwrap().as_deref(), Some("hello"));
        drop(server);
        client.end();

        let client = s_client(&files, addr, &[version]);
        let (_, error) = tls_error(accept(&listener, &config));
        assert_eq!(error, rustls::Error::NoCertificatesPresented);
        client.until_said("alert certificate required");
    }
}

#[test]
fn s_client_resumes_a_session() {
    let Some(_test) = begin_with_openssl() else { return };
    let files = Files::new();
    let (listener, addr) = listener();
    for has_tickets in [false, true] {
        let mut config = own_server_config(false);
        if has_tickets {
            config.ticketer = ring::Ticketer::new().unwrap();
        }
        let config = Arc::new(config);
        for (version, _) in VERSIONS {
            for (option, is_resumed) in [("-sess_out", false), ("-sess_in", true)] {
                let mut client = s_client(&files, addr, &[version, option, "session.pem"]);
                let mut server = accept(&listener, &config).unwrap();
                client.say("hello\n");
                assert_eq!(server.get_line().unwrap().as_deref(), Some("hello"));
                // What it gets comes behind the tickets.
                server.put_all(b"world\n").unwrap();
                client.until_said("world");
                client.hang_up();
                assert_eq!(server.get(&mut [0; 1]).unwrap(), 0);
                assert_eq!(
                    server.tls_info().unwrap().was_resumed(),
                    is_resumed,
                    "{version}, {has_tickets}"
                );
                drop(server);
                client.end();
            }
        }
    }
}

#[test]
fn keys_are_updated_in_the_middle_of_what_is_put() {
    let Some(_test) = begin_with_openssl() else { return };
    let files = Files::new();
    let (listener, addr) = listener();
    let mut client = s_client(&files, addr, &["-tls1_3"]);
    let server = accept(&listener, &server_config()).unwrap();
    let (mut reader, mut writer) = server.split();
    let stop = Arc::new(AtomicBool::new(false));
    let putting = {
        let stop = Arc::clone(&stop);
        block(move || {
            let chunk = [DATA; 100_000];
            let mut count = 0;
            while !stop.load(SeqCst) {
                writer.put_all(&chunk).unwrap();
                count += chunk.len();
            }
            writer.shutdown().unwrap();
            (count, writer)
        })
    };
    for round in 1..=8 {
        let before = client.data();
        // k is for its own keys, K is for both's.
        client.say(if round % 2 == 0 { "K\n" } else { "k\n" });
        client.until("its own update", |_, errors| {
            (errors.matches("KEYUPDATE").count() == round).then_some(())
        });
        client.say(&format!("line {round}\n"));
        assert_eq!(reader.get_line().unwrap(), Some(format!("line {round}")));
        client.until("more", |_, _| (client.data() > before + 200_000).then_some(()));
    }
    stop.store(true, SeqCst);
    let (count, writer) = putting.result();
    client.until("all of it", |_, _| (client.data() == count).then_some(()));
    assert_eq!(client.output(), b"");
    client.hang_up();
    assert_eq!(reader.get(&mut [0; 1]).unwrap(), 0);
    drop((reader, writer));
    client.end();
}

#[test]
fn a_renegotiation_is_refused_and_what_was_put_arrives() {
    let Some(_test) = begin_with_openssl() else { return };
    let files = Files::new();
    let (listener, addr) = listener();
    let mut client = s_client(&files, addr, &["-tls1_2"]);
    let mut server = accept(&listener, &server_config()).unwrap();
    client.say("hello\n");
    assert_eq!(server.get_line().unwrap().as_deref(), Some("hello"));
    server.put_all(b"before\n").unwrap();
    client.until_said("before");
    client.say("R\n");
    client.until_said("RENEGOTIATING");
    // OpenSSL's client doesn't put up with it. The server learns of an end, and not of new keys.
    let ended = server.get_line();
    client.until_said("no renegotiation");
    assert!(
        matches!(&ended, Ok(None) | Err(Error::Truncated | Error::Tls { .. })),
        "{ended:?}"
    );
    drop(server);
    client.end();
}

#[test]
fn s_client_that_is_older_than_that_is_refused() {
    let Some(_test) = begin_with_openssl() else { return };
    let files = Files::new();
    let (listener, addr) = listener();
    let client = s_client(&files, addr, &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]);
    let (operation, error) = tls_error(accept(&listener, &server_config()));
    assert!(operation.starts_with("start_tls_server with 127.0.0.1:"), "{operation}");
    assert!(matches!(error, rustls::Error::PeerIncompatible(_)), "{error:?}");
    client.until_said("alert");
    client.end();
}

#[test]
fn s_server_of_either_version_is_talked_to() {
    let Some(_test) = begin_with_openssl() else { return };
    let files = Files::new();
    for (version, name) in VERSIONS {
        let (server, addr) = s_server(&files, &[version, "-rev", "-alpn", "h2"]);
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(der(&CERTIFICATES.authority_pem, &CERTIFICATES.key_pem).0);
        let mut config = builder.unwrap().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let config = Arc::new(config);
        for is_resumed in [false, true] {
            let mut client = connect(addr, &config).unwrap();
            client.put_all(b"hello\n").unwrap();
            assert_eq!(client.get_line().unwrap().as_deref(), Some("olleh"));
            let info = client.tls_info().unwrap();
            assert_eq!(
                (info.version(), info.alpn(), info.was_resumed()),
                (name, Some(&b"h2"[..]), is_resumed)
            );
            assert_eq!(info.peer_certificates().len(), 1);
            client.finish(PATIENCE).unwrap();
        }
        drop(server);
    }
}

#[test]
fn s_server_updates_keys_in_the_middle_of_what_is_put() {
    let Some(_test) = begin_with_openssl() else { return };
    const MOST: usize = 6;
    let files = Files::new();
    let (mut server, addr) = s_server(&files, &["-tls1_3"]);
    let client = connect(addr, &client_config()).unwrap();
    let (mut reader, mut writer) = client.split();
    let stop = Arc::new(AtomicBool::new(false));
    let putting = {
        let stop = Arc::clone(&stop);
        block(move || {
            let chunk = [DATA; 100_000];
            let mut count = 0;
            while !stop.load(SeqCst) {
                writer.put_all(&chunk).unwrap();
                count += chunk.len();
            }
            (count, writer)
        })
    };
    let mut updates = 0;
    while updates < MOST {
        let before = server.data();
        server.say(if updates % 2 == 0 { "K\n" } else { "k\n" });
        server.until("its update", |output, _| {
            let output = String::from_utf8_lossy(output);
            (output.matches("SSL_do_handshake -> 1").count() > updates).then_some(())
        });
        server.say(&format!("line {updates}\n"));
        assert_eq!(reader.get_line().unwrap(), Some(format!("line {updates}")));
        server.until("more", |_, _| (server.data() > before).then_some(()));
        updates += 1;
    }
    stop.store(true, SeqCst);
    let (count, writer) = putting.result();
    server.until("all of it", |_, _| (server.data() == count).then_some(()));
    drop((reader, writer));
}

#[test]
fn s_server_that_wants_a_certificate_or_a_renegotiation_is_an_error_that_says_so() {
    let Some(_test) = begin_with_openssl() else { return };
    let files = Files::new();
    for (version, _) in VERSIONS {
        let (server, addr) = s_server(
            &files,
            &[version, "-Verify", "1", "-CAfile", "ca.pem", "-verify_return_error"],
        );
        let told = connect(addr, &client_config()).and_then(|mut client| client.get(&mut [0; 1]).map(drop));
        let (operation, error) = tls_error(told);
        assert!(operation.ends_with(&format!(" {addr}")), "{operation}");
        assert!(
            matches!(
                error,
                rustls::Error::AlertReceived(
                    AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure
                )
            ),
            "{error:?}"
        );
        drop(server);
    }
    let (mut server, addr) = s_server(&files, &["-tls1_2"]);
    let mut client = connect(addr, &client_config()).unwrap();
    client.put_all(b"hello\n").unwrap();
    server.until_said("hello");
    server.say("R\n");
    let ended = client.get_line();
    assert!(
        matches!(&ended, Ok(None) | Err(Error::Truncated | Error::Tls { .. })),
        "{ended:?}"
    );
    drop(client);
}

#[test]
fn s_server_that_isnt_whom_it_should_be_is_refused() {
    let Some(_test) = begin_with_openssl() else { return };
    let files = Files::new();
    for (version, _) in VERSIONS {
        let (server, addr) = s_server(&files, &[version]);
        let mut client = TcpSocket::new();
        client.timeout(PATIENCE).connect_to(&[addr]).unwrap();
        let (operation, error) = tls_error(client.start_tls("other.test", &client_config()));
        assert_eq!(operation, format!("start_tls with {addr}"));
        assert!(matches!(error, rustls::Error::InvalidCertificate(_)), "{error:?}");
        drop(client);
        server.until_said("alert bad certificate");
    }
}

/// Serves HTTP/1.1 until it is closed: gives back what it is sent, or a greeting.
fn serve_pages(listener: &TcpSocket) {
    let config = server_config();
    listener.serve(4, |mut client| {
        client.timeout(PATIENCE);
        client.start_tls_server(&config).unwrap();
        while let Some(request) = client.get_line().unwrap() {
            assert!(request.ends_with(" HTTP/1.1"), "{request}");
            let mut length = 0;
            while let Some(line) = client.get_line().unwrap()
                && !line.is_empty()
            {
                let line = line.to_ascii_lowercase();
                if let Some(value) = line.strip_prefix("content-length: ") {
                    length = value.parse().unwrap();
                } else if line == "expect: 100-continue" {
                    client.put_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
                }
            }
            let body = match length {
                0 => b"hello over TLS\n".to_vec(),
                _ => client.get_all_bytes(length).unwrap(),
            };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            client.put_all(head.as_bytes()).unwrap();
            client.put_all(&body).unwrap();
        }
    });
}

#[test]
fn curl_gets_and_posts() {
    let Some(_test) = begin_with("curl", &["--version"], "curl") else {
        return;
    };
    let files = Files::new();
    let much: Vec<u8> = (0..3_000_000_u32).map(|at| (at / 7) as u8).collect();
    std::fs::write(files.path("much"), &much).unwrap();
    let (listener, addr) = listener();
    let handle = listener.handle();
    let serving = block(move || serve_pages(&listener));
    let url = format!("https://{NAME}:{}/", addr.port());
    let resolve = format!("{NAME}:{}:127.0.0.1", addr.port());
    for version in ["1.2", "1.3"] {
        let always = [
            "--silent",
            "--show-error",
            "--http1.1",
            "--cacert",
            "ca.pem",
            "--resolve",
            &resolve,
            "--tls-max",
            version,
        ];
        // Both over one connection.
        let get = Program::start(&files, "curl", &[&always[..], &[&url, &url]].concat());
        assert_eq!(get.end(), (Some(0), "hello over TLS\n".repeat(2), String::new()));
        let post = ["--data-binary", "@much", "--output", "came", &url];
        let post = Program::start(&files, "curl", &[&always[..], &post].concat());
        assert_eq!(post.end(), (Some(0), String::new(), String::new()));
        assert!(std::fs::read(files.path("came")).unwrap() == much);
    }
    handle.close();
    serving.result();
}

/// Python's server of files, which ends its streams without close_notify.
const PYTHON_SERVER: &str = r#"
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(bytes(range(256)) * 8000)
    def log_message(self, *_): pass
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("chain.pem", "key.pem")
if sys.argv[1] == "1.2": context.maximum_version = ssl.TLSVersion.TLSv1_2
with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
    server.socket = context.wrap_socket(server.socket, server_side=True)
    print(server.server_port, flush=True)
    server.serve_forever()
"#;

const PYTHON_CLIENT: &str = r#"
import socket, ssl, sys
context = ssl.create_default_context(cafile="ca.pem")
if sys.argv[1] == "1.2": context.maximum_version = ssl.TLSVersion.TLSv1_2
with socket.create_connection(("127.0.0.1", int(sys.argv[2]))) as plain:
    with context.wrap_socket(plain, server_hostname="server.test") as client:
        for length in [1, 100, 16384, 16385, 500000]:
            data = bytes(range(250)) * (length // 250 + 1)
            data = data[:length].replace(b"\n", b" ")
            client.sendall(data + b"\n")
            came = b""
            while not came.endswith(b"\n"):
                came += client.recv(100000)
            assert came == b"you said " + data + b"\n"
        version = client.version()
        with client.unwrap() as below:
            print(version, below.recv(1))
"#;

fn begin_with_python() -> Option<Test> {
    begin_with("python3", &["-c", "import ssl"], "python3 with its ssl")
}

#[test]
fn pythons_server_ends_without_close_notify_which_is_told_or_allowed() {
    let Some(_test) = begin_with_python() else { return };
    let files = Files::new();
    for version in ["1.2", "1.3"] {
        let server = Program::start(&files, "python3", &["-c", PYTHON_SERVER, version]);
        let port: u16 = server.until("its port", |output, _| {
            String::from_utf8_lossy(output)
                .trim()
                .parse()
                .ok()
                .filter(|_| output.ends_with(b"\n"))
        });
        for allowed in [false, true] {
            let mut client = connect(SocketAddr::from(([127, 0, 0, 1], port)), &client_config()).unwrap();
            client.allow_truncation(allowed);
            client.put_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
            while client.get_line().unwrap().is_some_and(|line| !line.is_empty()) {}
            let mut body = Vec::new();
            let read = client.read_to_end(&mut body);
            assert!(body == (0..=255).collect::<Vec<u8>>().repeat(8000));
            match allowed {
                true => assert!(read.is_ok() && client.is_eof() && !client.is_error()),
                false => assert!(matches!(client.error(), Some(Error::Truncated)), "{read:?}"),
            }
        }
    }
}

#[test]
fn pythons_client_and_server_say_goodbye_to_each_other() {
    let Some(_test) = begin_with_python() else { return };
    let files = Files::new();
    let (listener, addr) = listener();
    for version in ["1.2", "1.3"] {
        let client = Program::start(
            &files,
            "python3",
            &["-c", PYTHON_CLIENT, version, &addr.port().to_string()],
        );
        let mut server = accept(&listener, &server_config()).unwrap();
        while let Some(line) = server.get_line_bytes(1 << 20).unwrap() {
            server.put_all(&[b"you said ", &line[..], b"\n"].concat()).unwrap();
        }
        assert!(server.is_eof() && !server.is_error());
        server.shutdown().unwrap();
        drop(server);
        assert_eq!(client.end(), (Some(0), format!("TLSv{version} b''\n"), String::new()));
    }
}

/// How it may misbehave, whether a read behind its hello ends as it should, and what it gets for that.
type Misdeed = (&'static str, fn(&Result<usize>) -> bool, &'static str);

const MISDEEDS: [Misdeed; 12] = [
    ("slow_hello", |then| matches!(then, Ok(0)), "world"),
    ("split_records", |then| matches!(then, Ok(0)), "world"),
    ("empty_records", |then| matches!(then, Ok(0)), "world"),
    ("padding", |then| matches!(then, Ok(0)), "world"),
    ("no_close_notify", |then| matches!(then, Err(Error::Truncated)), "world"),
    (
        "fatal_alert",
        |then| why(then) == Some(rustls::Error::AlertReceived(AlertDescription::InternalError)),
        "no alert",
    ),
    (
        "heartbeat",
        |then| why(then) == Some(InvalidMessage::InvalidContentType.into()),
        "decode_error",
    ),
    (
        "unknown_type",
        |then| why(then) == Some(InvalidMessage::InvalidContentType.into()),
        "decode_error",
    ),
    (
        "too_long",
        |then| why(then) == Some(rustls::Error::PeerSentOversizedRecord),
        "record_overflow",
    ),
    (
        "bad_mac",
        |then| why(then) == Some(rustls::Error::DecryptError),
        "bad_record_mac",
    ),
    // For these rustls has no alert, and a goodbye would be a lie.
    (
        "many_empty",
        |then| why(then) == Some(PeerMisbehaved::TooManyEmptyFragments.into()),
        "no alert",
    ),
    (
        "many_warnings",
        |then| why(then) == Some(PeerMisbehaved::TooManyWarningAlertsReceived.into()),
        "no alert",
    ),
];

/// Why TLS has failed in a read.
fn why(result: &Result<usize>) -> Option<rustls::Error> {
    match result {
        Err(Error::Tls { operation, source }) if operation.starts_with("get from 127.0.0.1:") => {
            Some((**source).clone())
        }
        _ => None,
    }
}

#[test]
fn a_client_that_misbehaves_is_put_up_with_or_refused_with_an_error_that_says_why() {
    let Some(_test) = begin_with("python3", &["-c", "import tlslite"], "python3 with tlslite-ng") else {
        return;
    };
    let files = Files::new();
    let (listener, addr) = listener();
    let port = addr.port().to_string();
    for version in ["1.2", "1.3"] {
        let mut arguments = vec!["-c", include_str!("misbehaving.py"), &port, version];
        arguments.extend(MISDEEDS.map(|(how, ..)| how));
        let client = Program::start(&files, "python3", &arguments);
        for (how, is_expected, _) in MISDEEDS {
            let mut server = accept(&listener, &server_config()).unwrap();
            assert_eq!(server.get_line().unwrap().as_deref(), Some("hello"), "{version}, {how}");
            let then = server.get(&mut [0; 1]);
            assert!(is_expected(&then), "{version}, {how}: {then:?}");
            // What becomes of that the client says.
            let _ = server.put_all(b"world\n");
            let _ = server.finish(PATIENCE);
        }
        let answers: String = MISDEEDS.iter().map(|(.., answer)| format!("{answer}\n")).collect();
        assert_eq!(client.end(), (Some(0), answers, String::new()));
    }
}
