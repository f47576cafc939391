//! What holds whatever a socket waits in.

use std::sync::Arc;
use std::time::Duration;

use wakesock::{Error, RawWait, ShutdownRegistry};

use crate::support::every::{ENDS, assert_failed};
use crate::support::operations::{is_shut_down, operations};
use crate::support::{BlackHole, block, ends_at_limit, pattern, unopened_in};

/// Checks that every operation ends at its limit.
pub(crate) fn limits_hold(name: &str, raw_wait: &Arc<dyn RawWait>, hole: &BlackHole, limits: &[Duration]) {
    let threads: Vec<_> = operations(hole, ShutdownRegistry::global(), raw_wait)
        .into_iter()
        .map(|mut stuck| {
            let (name, limits) = (name.to_owned(), limits.to_vec());
            block(move || {
                eprintln!("{name}, {}", stuck.name);
                for limit in limits {
                    ends_at_limit(limit, |limit| stuck.times_out(limit));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.result());
}

/// Checks that a close, an abort and a shutdown end every operation.
pub(crate) fn is_ended(name: &str, raw_wait: &Arc<dyn RawWait>, hole: &BlackHole, limit: Option<Duration>) {
    for (end, expected) in &ENDS {
        let registry = ShutdownRegistry::new();
        let blocked: Vec<_> = operations(hole, &registry, raw_wait)
            .into_iter()
            .map(|stuck| {
                let (operation, handle) = (stuck.name, stuck.handle.clone());
                (operation, handle, stuck.block(limit).until_blocked())
            })
            .collect();
        for (operation, handle, thread) in blocked {
            let what = format!("{operation}, {name}");
            assert!(
                !thread.is_finished() || registry.is_shutdown(),
                "{what}: it doesn't block"
            );
            end(&handle, &registry);
            assert_ended(&thread.result(), expected, operation, &what);
        }
    }
}

/// Checks that `result` is what the operation returns when it was ended so.
#[track_caller]
pub(crate) fn assert_ended(result: &Result<(), Error>, expected: &Error, operation: &str, what: &str) {
    if !(matches!(expected, Error::Shutdown) && is_shut_down(operation, result)) {
        assert_failed(result, expected, what);
    }
}

/// Checks that a request of several pieces is answered.
pub(crate) fn work_is_done(name: &str, raw_wait: &Arc<dyn RawWait>) {
    const LENGTH: usize = 4 << 20;
    let mut listener = unopened_in(ShutdownRegistry::global(), raw_wait);
    listener.listen_on("127.0.0.1:0", &Default::default()).unwrap();
    let addr = listener.local_addr().unwrap();
    let serving = block(move || {
        let mut server = listener.accept_new().unwrap();
        assert!(server.wait_request().unwrap());
        let line = server.get_line().unwrap().unwrap();
        server.wait_read().unwrap();
        let bytes = server.get_all_bytes(LENGTH).unwrap();
        server.put_all(line.as_bytes()).unwrap();
        assert_eq!(server.put(&bytes).unwrap(), LENGTH);
        assert!(!server.wait_request().unwrap(), "the stream has ended");
    })
    .until_blocked();
    let mut client = unopened_in(ShutdownRegistry::global(), raw_wait);
    let asking = block(move || {
        client.connect_to(&[addr]).unwrap();
        client.put_all(b"a li").unwrap();
        client.put_all(b"ne\r\n").unwrap();
        client.put_all(&pattern(LENGTH)).unwrap();
        let line = client.get_bytes(6).unwrap();
        (line, client.get_bytes(LENGTH).unwrap())
    });
    let (line, bytes) = asking.result();
    assert_eq!(line, b"a line", "{name}");
    assert!(bytes == pattern(LENGTH), "{name}");
    serving.result();
}
