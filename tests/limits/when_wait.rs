//! What `when_wait` calls back, and what the callback may do.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use wakesock::{Error, MioWait, RawWait, ShutdownRegistry, TcpSocket};

use crate::support::operations::operations;
use crate::support::{BlackHole, PATIENCE, begin, block, ends_at_limit, listener, pair, timed};

const LONG: Duration = Duration::from_secs(300);

fn raw_wait() -> Arc<dyn RawWait> {
    Arc::new(MioWait::default())
}

/// Counts the calls back.
fn count_calls(socket: &mut TcpSocket) -> Arc<AtomicUsize> {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    socket.when_wait(move |_| {
        counted.fetch_add(1, SeqCst);
    });
    calls
}

#[test]
fn a_limit_holds_and_the_callback_runs_in_each_step() {
    let _test = begin();
    let step = Duration::from_millis(5);
    let (mut socket, _peer) = pair();
    socket.wait_step(step);
    ends_at_limit(Duration::from_millis(60), |limit| {
        let calls = count_calls(&mut socket);
        let (result, took) = timed(|| socket.timeout(limit).get_byte());
        assert!(matches!(result, Err(Error::Timeout)), "{result:?}");
        let calls = calls.load(SeqCst);
        let most = took.as_millis() / step.as_millis();
        assert!((1..=most as usize).contains(&calls), "{calls} calls in {took:?}");
        took
    });
}

#[test]
fn it_is_called_about_as_often_as_asked() {
    let _test = begin();
    let (mut socket, _peer) = pair();
    assert_eq!(socket.get_wait_step(), Duration::from_millis(10));
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    socket.when_wait(move |waiting| {
        if counted.fetch_add(1, SeqCst) == 9 {
            waiting.abort();
        }
    });
    let (result, took) = timed(|| socket.timeout(LONG).get_byte());
    assert!(matches!(result, Err(Error::Aborted)), "{result:?}");
    assert!(took >= Duration::from_millis(100), "ten steps took {took:?}");
}

#[test]
fn every_operation_calls_back_and_can_be_aborted_from_there() {
    let _test = begin();
    let hole = BlackHole::new();
    for mut stuck in operations(&hole, ShutdownRegistry::global(), &raw_wait()) {
        // Of `accept`, it is the listener's that is called, which is not at hand here.
        if stuck.name == "accept" {
            continue;
        }
        stuck.socket.wait_step(Duration::from_millis(1));
        stuck.socket.when_wait(|waiting| waiting.abort());
        let (result, took) = timed(|| stuck.run(LONG));
        assert!(matches!(result, Err(Error::Aborted)), "{}: {result:?}", stuck.name);
        assert!(took < PATIENCE, "{}: {took:?}", stuck.name);
    }
}

#[test]
fn an_accept_calls_back_for_the_listener() {
    let _test = begin();
    let (mut listener, _) = listener();
    listener.when_wait(|waiting| waiting.abort());
    let mut connection = TcpSocket::new();
    connection
        .timeout(LONG)
        .when_wait(|_| panic!("not the accepting socket's"));
    let result = connection.accept(&listener);
    assert!(matches!(result, Err(Error::Aborted)), "{result:?}");
    assert!(listener.is_abort() && !connection.is_abort());
}

#[test]
fn every_thread_that_accepts_is_called_back() {
    let _test = begin();
    let (mut listener, _) = listener();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let seeing = Arc::clone(&seen);
    listener.when_wait(move |_| {
        let mut seen = seeing.lock().unwrap();
        let id = crate::support::thread_id();
        if !seen.contains(&id) {
            seen.push(id);
        }
    });
    let listener = Arc::new(listener);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let listener = Arc::clone(&listener);
            block(move || listener.accept_new().map(drop))
        })
        .collect();
    crate::support::eventually(
        || "four threads are called back".to_owned(),
        || match seen.lock().unwrap().len() {
            4 => Ok(()),
            seen => Err(format!("{seen} are")),
        },
    );
    listener.close();
    for thread in threads {
        assert!(matches!(thread.result(), Err(Error::Closed)));
    }
}

#[test]
fn a_connect_calls_back() {
    let _test = begin();
    let hole = BlackHole::new();
    let mut socket = TcpSocket::new();
    let calls = count_calls(&mut socket);
    socket.timeout(Duration::from_millis(100));
    let result = socket.connect_to(&[hole.addr()]);
    assert!(matches!(result, Err(Error::Timeout)), "{result:?}");
    assert!(calls.load(SeqCst) > 0);
}

#[test]
fn closing_from_the_callback_ends_the_operation() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    let handle = socket.handle();
    socket.when_wait(move |_| handle.close());
    let result = socket.timeout(LONG).get_byte();
    assert!(matches!(result, Err(Error::Closed)), "{result:?}");
    assert!(!socket.is_open());
    crate::support::assert_sees_end(&mut peer);
}

#[test]
fn closing_the_socket_itself_from_the_callback_does_not_wait_for_the_operation() {
    let _test = begin();
    static LISTENER: OnceLock<Mutex<Option<Arc<TcpSocket>>>> = OnceLock::new();
    let (mut listener, addr) = listener();
    listener.when_wait(|_| {
        let listener = LISTENER.get().unwrap().lock().unwrap().take();
        if let Some(listener) = listener {
            listener.close();
        }
    });
    let listener = Arc::new(listener);
    LISTENER
        .get_or_init(Default::default)
        .lock()
        .unwrap()
        .replace(Arc::clone(&listener));
    let accepting: Vec<_> = (0..3)
        .map(|_| {
            let listener = Arc::clone(&listener);
            block(move || listener.accept_new().map(drop))
        })
        .collect();
    for thread in accepting {
        assert!(matches!(thread.result(), Err(Error::Closed)));
    }
    assert!(crate::support::is_refused(addr));
}

#[test]
fn a_callback_may_want_a_lock_that_is_held_by_whoever_closes() {
    let _test = begin();
    for _ in 0..20 {
        let users_lock = Arc::new(Mutex::new(()));
        let wanting = Arc::new(AtomicUsize::new(0));
        let (mut listener, _) = listener();
        listener.wait_step(Duration::from_millis(1)).when_wait({
            let (users_lock, wanting) = (Arc::clone(&users_lock), Arc::clone(&wanting));
            move |_| {
                wanting.fetch_add(1, SeqCst);
                drop(users_lock.lock().unwrap());
            }
        });
        let listener = Arc::new(listener);
        let accepting = Arc::clone(&listener);
        let held = users_lock.lock().unwrap();
        let blocked = block(move || accepting.accept_new().map(drop));
        crate::support::eventually(
            || "the callback wants the lock".to_owned(),
            || (wanting.load(SeqCst) > 0).then_some(()).ok_or_else(String::new),
        );
        let blocked = blocked.until_blocked();
        listener.close();
        drop(held);
        assert!(matches!(blocked.result(), Err(Error::Closed)));
    }
}

#[test]
fn work_that_arrives_does_not_wait_for_the_step() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    socket.wait_step(LONG).timeout(LONG);
    let calls = count_calls(&mut socket);
    let blocked = block(move || socket.get_byte()).until_blocked();
    peer.write_all(b"a").unwrap();
    assert_eq!(blocked.result().unwrap(), Some(b'a'));
    assert_eq!(calls.load(SeqCst), 0);
}

#[test]
fn it_tells_how_much_is_done_and_how_long_it_took() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    let said = Arc::new(Mutex::new((0, Duration::ZERO)));
    let saying = Arc::clone(&said);
    socket.when_wait(move |waiting| {
        let mut said = saying.lock().unwrap();
        assert!(
            waiting.done() >= said.0 && waiting.elapsed() >= said.1,
            "{waiting:?} after {said:?}"
        );
        *said = (waiting.done(), waiting.elapsed());
    });
    let blocked = block(move || socket.get_all_bytes(30_000));
    for done in [10_000, 20_000] {
        peer.write_all(&[0; 10_000]).unwrap();
        crate::support::eventually(
            || format!("{done} bytes are done"),
            || match *said.lock().unwrap() {
                (seen, _) if seen == done => Ok(()),
                seen => Err(format!("{seen:?}")),
            },
        );
    }
    peer.write_all(&[0; 10_000]).unwrap();
    assert_eq!(blocked.result().unwrap().len(), 30_000);
    let (_, elapsed) = *said.lock().unwrap();
    assert!(elapsed >= Duration::from_millis(10), "{elapsed:?}");
}

#[test]
fn a_callback_that_panics_leaves_the_socket_usable() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    peer.write_all(b"abc").unwrap();
    socket.when_wait(|_| panic!("the user's code"));
    let caught = catch_unwind(AssertUnwindSafe(|| socket.timeout(LONG).get_line()));
    assert!(caught.is_err());
    socket.clear_when_wait();
    peer.write_all(b"def\n").unwrap();
    assert_eq!(socket.get_line().unwrap().as_deref(), Some("abcdef"));
    socket.close();
    crate::support::assert_sees_end(&mut peer);
}

#[test]
fn a_slow_callback_does_not_lift_the_limit() {
    let _test = begin();
    let (mut socket, _peer) = pair();
    for step in [Duration::ZERO, Duration::from_millis(1)] {
        socket
            .wait_step(step)
            .when_wait(|_| std::thread::sleep(Duration::from_millis(3)));
        ends_at_limit(Duration::from_millis(20), |limit| {
            let (result, took) = timed(|| socket.timeout(limit).get_byte());
            assert!(matches!(result, Err(Error::Timeout)), "{result:?}");
            took
        });
    }
}
