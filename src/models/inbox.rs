//! `wake/inbox.rs`.

use super::*;

struct Thing {
    news: AtomicUsize,
    seen: std::sync::atomic::AtomicUsize,
    link: Link<Thing>,
}

impl Thing {
    fn new() -> Arc<Thing> {
        Arc::new(Thing {
            news: AtomicUsize::new(0),
            seen: Default::default(),
            link: Link::new(),
        })
    }
}

impl Linked for Thing {
    fn link(&self) -> &Link<Thing> {
        &self.link
    }
}

fn look_at_what_is_in(inbox: &Inbox<Thing>) {
    for thing in inbox.take() {
        thing.link.unmark();
        thing.seen.store(thing.news.load(SeqCst), Relaxed);
    }
}

/// Two handlers, one with news of both things, and a thread that looks while they run and once more afterwards.
// broken: relaxed src/wake/inbox.rs self.head.compare_exchange_weak(head, pointer, SeqCst, SeqCst)
// broken: dropped src/wake/inbox.rs self.marked.store(false, SeqCst)
#[test]
fn no_news_are_lost_and_no_reference() {
    check(ALL, || {
        let inbox = Arc::new(Inbox::new());
        let things = [Thing::new(), Thing::new()];
        let handlers = [1, 2].map(|count| {
            let (inbox, things) = (Arc::clone(&inbox), things.clone());
            handler(move || {
                for thing in &things[..count] {
                    thing.news.fetch_add(1, SeqCst);
                    inbox.put(thing);
                }
            })
        });
        look_at_what_is_in(&inbox);
        join(handlers);
        look_at_what_is_in(&inbox);
        for (thing, news) in things.iter().zip([2, 1]) {
            assert_eq!(thing.seen.load(Relaxed), news, "news were not seen");
            assert_eq!(Arc::strong_count(thing), 1);
        }
    });
}

/// A thing that is as new as its news, and the inbox's to let go of.
// broken: relaxed src/wake/inbox.rs next: self.head.swap(ptr::null_mut(), SeqCst)
#[test]
fn what_is_taken_is_seen_whole() {
    check(ALL, || {
        let inbox = Arc::new(Inbox::new());
        let putter = Arc::clone(&inbox);
        let handler = handler(move || {
            let thing = Thing::new();
            thing.news.store(1, Relaxed);
            putter.put(&thing);
            drop(putter);
            thing
        });
        let seen: Vec<usize> = inbox.take().map(|thing| thing.news.load(Relaxed)).collect();
        assert!(seen.iter().all(|news| *news == 1), "taken, and not seen");
        let thing = handler.join().unwrap();
        assert_eq!(seen.len() + Arc::strong_count(&thing), 2);
        drop(inbox);
        assert_eq!(Arc::strong_count(&thing), 1);
    });
}
