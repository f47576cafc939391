//! `opening/readiness.rs`: what is written down of a socket's readiness, by the queue that is told and by the operation that
//! finds out.

use super::*;
use crate::opening::Readiness;

/// A socket of which a queue has been told once.
struct Socket {
    readiness: Readiness,
    /// What the system has to read.
    data: AtomicUsize,
}

impl Socket {
    fn followed() -> Arc<Socket> {
        let readiness = Readiness::default();
        readiness.report(WaitEvents::empty(), false);
        Arc::new(Socket {
            readiness,
            data: AtomicUsize::new(0),
        })
    }

    /// Data comes, and a queue is told of it: which is later, in the system as here.
    fn receive_and_report(&self) {
        self.data.store(1, Relaxed);
        self.readiness.report(WaitEvents::READ, false);
    }

    /// A read, which notes what it has found.
    fn read(&self) {
        let known = self.readiness.load();
        if self.data.load(Relaxed) == 0 {
            let _ = self.readiness.note_nothing_found(known, WaitEvents::READ);
        } else {
            self.data.store(0, Relaxed);
            self.readiness.note_moved(known, WaitEvents::READ);
        }
    }

    /// A look that asks the system, and notes its answer.
    fn look(&self) {
        let known = self.readiness.load();
        let found = if self.data.load(Relaxed) == 0 {
            WaitEvents::empty()
        } else {
            WaitEvents::READ
        };
        let _ = self.readiness.confirm(known, found);
    }

    /// What a look is based on: ready, or to be asked of the system.
    fn may_be_ready(&self) -> bool {
        let known = self.readiness.load();
        known.is_stale(WaitEvents::READ) || known.is_readable()
    }
}

/// A report that is written down late, a read and a look, all at once. Later reads strike out what isn't there.
// broken: relaxed src/opening/readiness.rs Snapshot(self.word.load(SeqCst))
#[test]
fn what_comes_beside_a_read_and_a_look_is_not_struck_out() {
    check(4, || {
        let socket = Socket::followed();
        let (reporter, reader) = (Arc::clone(&socket), Arc::clone(&socket));
        let threads = [
            thread::spawn(move || reporter.receive_and_report()),
            thread::spawn(move || reader.read()),
        ];
        socket.look();
        join(threads);
        assert!(
            socket.data.load(Relaxed) == 0 || socket.may_be_ready(),
            "nobody looks at it any more"
        );
        socket.read();
        socket.read();
        assert!(!socket.readiness.load().is_readable(), "it is reported for ever");
    });
}

/// A handler announces clients that the system won't report any more, while a report of the system is written down and a read
/// finds nothing.
// broken: blind src/opening/readiness.rs fn change: self.word.compare_exchange_weak(word, change(word), SeqCst, SeqCst)
#[test]
fn what_a_handler_announces_stays() {
    check(4, || {
        let socket = Socket::followed();
        let (announcer, reporter) = (Arc::clone(&socket), Arc::clone(&socket));
        let threads = [
            handler(move || assert!(announcer.readiness.set_unread(true))),
            thread::spawn(move || reporter.receive_and_report()),
        ];
        socket.read();
        socket.look();
        join(threads);
        assert!(socket.readiness.load().events().contains(WaitEvents::READ));
    });
}
