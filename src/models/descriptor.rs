//! `opening/`: the descriptor's life.

use super::*;

/// A thread inside, a handler that ends the socket, and the owner, which closes it.
// broken: relaxed src/opening/state.rs let before = self.0.fetch_sub(USER, SeqCst)
// broken: dropped src/opening/release.rs let socket = self.socket.swap(NO_SOCKET, SeqCst)
#[test]
fn it_is_closed_once_and_never_used_after() {
    check(4, || {
        let registry = ShutdownRegistry::new();
        let (opening, number) = opened(&registry);
        let (user, ended) = (Arc::clone(&opening), Arc::clone(&opening));
        let user = thread::spawn(move || use_inside(&user));
        let handler = handler(move || ended.end(EndedBy::Owner));
        opening.close();
        assert!(is_closed(number), "close has returned before the descriptor was closed");
        join([user, handler]);
        assert_eq!(registry.len(), 0);
    });
}

/// Two threads inside and a handler: the last to leave closes it.
// broken: relaxed src/opening/state.rs let before = self.0.fetch_sub(USER, SeqCst)
#[test]
fn the_last_to_leave_closes_it() {
    check(5, || {
        let registry = ShutdownRegistry::new();
        let (opening, number) = opened(&registry);
        let users = [(); 2].map(|()| {
            let opening = Arc::clone(&opening);
            thread::spawn(move || use_inside(&opening))
        });
        opening.end(EndedBy::Owner);
        join(users);
        assert!(is_closed(number));
        opening.close();
    });
}

/// An owner lends the descriptor while a handler ends the socket: the number stays taken until the owner closes.
// broken: dropped src/opening/mod.rs self.state.set(NUMBER_NEEDED_BY_BORROWER | LENT)
#[test]
fn a_lent_number_is_kept() {
    check(ALL, || {
        let registry = ShutdownRegistry::new();
        let (opening, number) = opened(&registry);
        let ended = Arc::clone(&opening);
        let handler = handler(move || ended.end(EndedBy::Owner));
        let lent = opening.lend();
        let is_lent = lent.is_some();
        if let Some(lent) = lent {
            use_number(lent);
            yield_now();
            use_number(lent);
        }
        handler.join().unwrap();
        assert_eq!(is_closed(number), !is_lent);
        opening.close();
        opening.close_number();
        assert!(is_closed(number));
    });
}

/// The descriptor is given away while handlers abort and end the socket.
// broken: dropped src/opening/release.rs let socket = self.socket.swap(NO_SOCKET, SeqCst)
#[test]
fn it_is_given_away_whole_or_not_at_all() {
    check(4, || {
        let registry = ShutdownRegistry::new();
        let (opening, number) = opened(&registry);
        let (aborted, ended) = (Arc::clone(&opening), Arc::clone(&opening));
        let handlers = [
            handler(move || aborted.abort()),
            handler(move || ended.end(EndedBy::Owner)),
        ];
        let given = opening.take();
        join(handlers);
        assert!(is_closed(number));
        drop(given);
        opening.close();
    });
}
