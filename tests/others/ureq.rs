//! A request is ended in the middle: while it connects, while it waits for the answer, and in the body.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::thread;

use ureq::Agent;
use wakesock::ShutdownRegistry;

/// All sockets of the process are ended, so one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// What is inside the error of a request that was ended.
fn ended_by(error: &ureq::Error) -> Option<&wakesock::Error> {
    match error {
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

fn agent() -> Agent {
    Agent::new_with_config(Agent::config_builder().proxy(None).build())
}

/// A server that answers each request with `answer`, and says no more.
fn server(answer: &'static [u8]) -> (SocketAddr, thread::JoinHandle<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut request = [0; 4];
        stream.read_exact(&mut request).unwrap();
        stream.write_all(answer).unwrap();
        stream
    });
    (addr, server)
}

#[test]
fn while_it_waits_for_the_answer() {
    let _alone = ALONE.lock();
    let (addr, server) = server(b"");
    let request = thread::spawn(move || agent().get(format!("http://{addr}/")).call().map(drop));
    // It has come, and has no answer.
    let _stream = server.join().unwrap();
    ShutdownRegistry::global().shutdown();
    let error = request.join().unwrap().unwrap_err();
    assert!(matches!(ended_by(&error), Some(wakesock::Error::Shutdown)), "{error:?}");
    ShutdownRegistry::global().reset();
}

#[test]
fn in_the_middle_of_the_body() {
    let _alone = ALONE.lock();
    let (addr, server) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegin");
    let mut response = agent().get(format!("http://{addr}/")).call().unwrap();
    let _stream = server.join().unwrap();
    let mut begin = [0; 5];
    let mut body = response.body_mut().as_reader();
    body.read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"begin");
    thread::scope(|scope| {
        let rest = scope.spawn(|| body.read_to_end(&mut Vec::new()));
        ShutdownRegistry::global().shutdown();
        assert!(rest.join().unwrap().is_err());
    });
    ShutdownRegistry::global().reset();
}

#[test]
fn a_request_that_nothing_ends_is_answered() {
    let _alone = ALONE.lock();
    let (addr, server) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    let mut response = agent().get(format!("http://{addr}/")).call().unwrap();
    assert_eq!(response.body_mut().read_to_string().unwrap(), "hello");
    drop(server.join().unwrap());
}
