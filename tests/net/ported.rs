//! What people write over the standard library, with the line changed that names it, is ended by a signal.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use wakesock::net::{Shutdown, SocketAddr, TcpListener, TcpStream}; // was std::net
use wakesock::{ShutdownLevel, ShutdownRegistry};

use crate::support::{begin, block, send_signal};

/// A thread for each client, which sends back lines.
fn echo(listener: &TcpListener) {
    let mut threads = Vec::new();
    for stream in listener.incoming() {
        let stream = stream.unwrap();
        threads.push(thread::spawn(move || -> io::Result<()> {
            let reader = BufReader::new(stream.try_clone()?);
            let mut writer = BufWriter::new(&stream);
            for line in reader.lines() {
                writeln!(writer, "{}", line?)?;
                writer.flush()?;
            }
            stream.shutdown(Shutdown::Both)
        }));
    }
    for thread in threads {
        // One whose client is still there has an error, and all are done.
        let _ = thread.join().unwrap();
    }
}

/// A pool of threads, which answer requests of HTTP with their bodies.
fn http(listener: &TcpListener) {
    let (send, receive) = mpsc::channel::<TcpStream>();
    let receive = Mutex::new(receive);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let client = receive.lock().unwrap().recv();
                    match client {
                        Ok(client) => drop(answer(&client)),
                        Err(_) => break,
                    }
                }
            });
        }
        for client in listener.incoming() {
            send.send(client.unwrap()).unwrap();
        }
        drop(send);
    });
}

fn answer(mut stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(600)))?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        let mut headers = HashMap::new();
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            match line.trim().split_once(": ") {
                Some((name, value)) => headers.insert(name.to_lowercase(), value.to_owned()),
                None => break,
            };
        }
        let len = headers.get("content-length").map_or(0, |len| len.parse().unwrap());
        let mut body = vec![0; len];
        reader.read_exact(&mut body)?;
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n")?;
        stream.write_all(&body)?;
    }
    Ok(())
}

#[test]
fn servers_are_ended_by_a_signal() {
    let _test = begin();
    let registry = ShutdownRegistry::global();
    registry.on_signal(libc::SIGUSR2, ShutdownLevel::All).unwrap();
    /// What serves, and a request with its answer.
    type Server = (fn(&TcpListener), &'static str, &'static str);
    let servers: [Server; 2] = [
        (echo, "hello\n", "hello\n"),
        (
            http,
            "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        ),
    ];
    for (serve, request, expected) in servers {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr: SocketAddr = listener.local_addr().unwrap();
        let server = block(move || serve(&listener));
        let mut clients = [(); 5].map(|()| std::net::TcpStream::connect(addr).unwrap());
        // Of the others the server waits for a request, or for a thread to be free.
        let mut answer = vec![0; expected.len()];
        clients[0].write_all(request.as_bytes()).unwrap();
        clients[0].read_exact(&mut answer).unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), expected);
        let server = server.until_blocked();
        send_signal(server.task(), libc::SIGUSR2);
        server.result();
        for client in &mut clients {
            // A reset, if it hadn't been accepted yet.
            let seen = client.read(&mut [0]);
            assert!(matches!(seen, Ok(0) | Err(_)), "{seen:?}");
        }
        registry.reset();
        drop(std::net::TcpListener::bind(addr).unwrap());
    }
}

#[test]
fn a_scan_of_ports_finds_what_is_open() {
    let _test = begin();
    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = open.local_addr().unwrap();
    let ports = addr.port().saturating_sub(20)..=addr.port();
    let found: Vec<u16> = ports
        .filter(|port| {
            let addr = SocketAddr::new(addr.ip(), *port);
            TcpStream::connect_timeout(&addr, Duration::from_secs(60)).is_ok()
        })
        .collect();
    assert!(found.contains(&addr.port()), "{found:?}");
}
