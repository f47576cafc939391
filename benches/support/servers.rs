//! Servers on one thread that answer through the sockets that they watch, as most programs do.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wakesock::{SocketEventQueue, TcpSocket};

/// A way to serve many connections on one thread.
pub trait Server {
    const NAME: &str;

    /// Answers what comes with the same, until all of `clients` have ended their streams.
    fn serve(clients: Vec<TcpStream>);
}

/// More than a request has.
const BUFFER: usize = 4096;

/// This crate's queue, used as the README shows it.
pub struct Queue;

impl Server for Queue {
    const NAME: &str = "SocketEventQueue";

    fn serve(clients: Vec<TcpStream>) {
        let queue = SocketEventQueue::new().unwrap();
        let mut clients: HashMap<_, _> = clients
            .into_iter()
            .map(|stream| {
                let mut client = TcpSocket::from(stream);
                client.timeout(Duration::ZERO);
                queue.subscribe_read(&client).unwrap();
                (client.id(), client)
            })
            .collect();
        let mut events = Vec::new();
        let mut buf = [0; BUFFER];
        while !clients.is_empty() {
            queue.wait_into(&mut events, None).unwrap();
            for event in &events {
                let Some(client) = clients.get_mut(event.token()) else {
                    continue;
                };
                match client.get(&mut buf) {
                    Ok(0) => drop(clients.remove(event.token())),
                    Ok(count) => client.put_all(&buf[..count]).unwrap(),
                    Err(error) => assert!(error.is_timeout(), "{error}"),
                }
            }
        }
    }
}

/// mio, edge-triggered: reads until a read gives less than it could, which shows that there is no more.
pub struct Mio;

impl Server for Mio {
    const NAME: &str = "mio, bare";

    fn serve(clients: Vec<TcpStream>) {
        let mut poll = mio::Poll::new().unwrap();
        let mut clients: HashMap<_, _> = clients
            .into_iter()
            .enumerate()
            .map(|(number, stream)| {
                stream.set_nonblocking(true).unwrap();
                let mut client = mio::net::TcpStream::from_std(stream);
                let token = mio::Token(number);
                let interest = mio::Interest::READABLE;
                poll.registry().register(&mut client, token, interest).unwrap();
                (token, client)
            })
            .collect();
        let mut events = mio::Events::with_capacity(1024);
        let mut buf = [0; BUFFER];
        while !clients.is_empty() {
            poll.poll(&mut events, None).unwrap();
            for event in &events {
                let Some(client) = clients.get_mut(&event.token()) else {
                    continue;
                };
                let is_over = loop {
                    match client.read(&mut buf) {
                        Ok(0) => break true,
                        Ok(count) => {
                            client.write_all(&buf[..count]).unwrap();
                            if count < buf.len() && !event.is_read_closed() {
                                break false;
                            }
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
                        Err(error) => panic!("{error}"),
                    }
                };
                if is_over {
                    clients.remove(&event.token());
                }
            }
        }
    }
}

/// tokio, a task for each connection.
pub struct Tokio;

impl Server for Tokio {
    const NAME: &str = "tokio, one thread";

    fn serve(clients: Vec<TcpStream>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        runtime.block_on(async {
            let tasks: Vec<_> = clients.into_iter().map(|stream| tokio::spawn(answer(stream))).collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
    }
}

async fn answer(stream: TcpStream) {
    stream.set_nonblocking(true).unwrap();
    let mut stream = tokio::net::TcpStream::from_std(stream).unwrap();
    let mut buf = [0; BUFFER];
    loop {
        let count = stream.read(&mut buf).await.unwrap();
        if count == 0 {
            return;
        }
        stream.write_all(&buf[..count]).await.unwrap();
    }
}

/// Sends a request to each of the servers of these connections, so many times, and awaits the answers each time.
pub fn ask(connections: &mut [TcpStream], times: usize, request: &[u8]) {
    let mut answer = vec![0; request.len()];
    for _ in 0..times {
        for connection in &mut *connections {
            connection.write_all(request).unwrap();
        }
        for connection in &mut *connections {
            connection.read_exact(&mut answer).unwrap();
        }
    }
}
