//! `registry/`, and joining it while opening.

use super::*;

/// A socket is opened while a handler shuts the registry down.
// broken: relaxed src/registry/mod.rs inner.level.fetch_max(level as u8, SeqCst)
#[test]
fn what_is_opened_beside_a_shutdown_is_ended() {
    check(ALL, || {
        let registry = ShutdownRegistry::new();
        let other = registry.clone();
        let handler = handler(move || other.shutdown());
        let opening = Opening::new();
        let result = open(&opening, &registry);
        handler.join().unwrap();
        assert!(matches!(result, Ok(()) | Err(Error::Shutdown)), "{result:?}");
        assert!(opening.is_closed(), "it was not ended");
        opening.close();
        assert_eq!(registry.len(), 0);
    });
}

/// One is closed and another opened in its place in the list, while a handler shuts the registry down.
// broken: relaxed src/wake/list.rs .value.store(value, SeqCst)
#[test]
fn what_is_opened_in_anothers_place_is_ended() {
    check(6, || {
        let registry = ShutdownRegistry::new();
        let (first, number) = opened(&registry);
        let other = registry.clone();
        let handler = handler(move || other.shutdown());
        first.close();
        assert!(is_closed(number));
        let second = Opening::new();
        let _ = open(&second, &registry);
        handler.join().unwrap();
        assert!(second.is_closed(), "it was not ended");
        second.close();
        assert_eq!(registry.len(), 0);
    });
}
