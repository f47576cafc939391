//! A threaded HTTP server, with one client that says nothing and one in the middle of a request, is ended.

use std::io::{ErrorKind, Read, Write};
use std::thread;
use std::time::Duration;

use tiny_http::{Response, Server};
use wakesock::ShutdownRegistry;
use wakesock::net::TcpListener;

/// In order, since all sockets of the process are ended.
#[test]
fn it_is_ended_in_the_middle() {
    let server = Server::http("127.0.0.1:0").unwrap();
    let addr = server.server_addr().to_ip().unwrap();
    let worker = thread::spawn(move || {
        let mut answered = 0;
        loop {
            match server.recv() {
                // Its own client is still waiting for the body here.
                Ok(request) => answered += usize::from(request.respond(Response::from_string("hello")).is_ok()),
                Err(error) => return (answered, error),
            }
        }
    });
    // One is served.
    let mut client = std::net::TcpStream::connect(addr).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("hello"), "{}", answer);
    // One says nothing, and one half of a request. A thread of the server is in a read of each.
    let silent = std::net::TcpStream::connect(addr).unwrap();
    let mut halting = std::net::TcpStream::connect(addr).unwrap();
    halting.write_all(b"GET / HT").unwrap();
    until_open(2 + 1);

    ShutdownRegistry::global().shutdown();
    // Its accept loop has ended, and says why.
    let (answered, error) = worker.join().unwrap();
    assert_eq!(answered, 1);
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    assert!(matches!(inner, Some(wakesock::Error::Shutdown)), "{:?}", error);
    // So have both reads: what is left is closed.
    for mut client in [silent, halting] {
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        if let Err(error) = client.read_to_end(&mut Vec::new()) {
            // What the server hadn't read yet, the system answers by a reset.
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    }
    until_open(0);
    // Its port is free.
    ShutdownRegistry::global().reset();
    TcpListener::bind(addr).unwrap();
}

/// Waits until so many sockets of this crate are open.
fn until_open(count: usize) {
    for _ in 0..2000 {
        if ShutdownRegistry::global().len() == count {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{} are open instead of {count}", ShutdownRegistry::global().len());
}
