//! Scenario group "Registry": stopping, shutting down, draining.

mod support;

use std::io::Write;
use std::time::Duration;

use support::{begin, block, listener_in};
use wakesock::{Error, ShutdownRegistry};

#[test]
fn idle_connections_end_at_once_in_a_drain() {
    let _test = begin("idle connections end at once in a drain");
    let registry = ShutdownRegistry::new();
    let (listener, addr) = listener_in(&registry);
    let mut client = std::net::TcpStream::connect(addr).unwrap();
    let mut connection = listener.accept_new().unwrap();
    let idle = block(move || {
        while connection.wait_request()? {
            connection.get_line()?;
        }
        Ok::<(), Error>(())
    });
    client.write_all(b"one\n").unwrap();
    let idle = idle.still_blocks();
    let drained = registry.drain(Duration::from_secs(30));
    assert_eq!((drained.finished, drained.forced), (1, 0), "{drained:?}");
    assert!(drained.elapsed < Duration::from_secs(10), "{drained:?}");
    idle.result().unwrap();
}
