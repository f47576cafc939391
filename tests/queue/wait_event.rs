//! `SocketWaitEvent`: made anew in every turn or kept, it says what poll(2) would.

#[cfg(target_os = "linux")]
use std::fs;
use std::io::Write;
use std::net::TcpStream;
#[cfg(target_os = "linux")]
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use wakesock::{Error, ListenOptions, ShutdownRegistry, SocketWaitEvent, TcpSocket, WaitEvents};

use crate::support::full::fill;
use crate::support::queues::{BOTH, EXCEPTION, NOTHING, READ, WRITE};
use crate::support::{
    LOST_WITH_THREAD, MANY_ARE_SLOW, PATIENCE, Random, STILL_BLOCKS, TELLS_OF_URGENT, begin, block, cpu_time,
    ends_at_limit, eventually, in_a_thread, in_handler, is_wine, listener, pair, polled, reset, send_urgent, thread_id,
    timed, unix_pair, unix_pair_in, until_sleeping,
};
#[cfg(target_os = "linux")]
use crate::support::{POLLED, QUEUE};

/// A set of these sockets.
fn set_of(sockets: &[(&TcpSocket, WaitEvents)]) -> SocketWaitEvent {
    let mut set = SocketWaitEvent::new();
    for (socket, events) in sockets {
        set.add(*socket, *events);
    }
    set
}

fn found(set: &SocketWaitEvent, count: usize) -> Vec<WaitEvents> {
    let found: Vec<_> = (0..count).map(|index| set[index]).collect();
    for (index, events) in found.iter().enumerate() {
        assert_eq!(set.get(index), *events);
    }
    assert_eq!(set.get(count), NOTHING, "an index that there is not");
    found
}

/// What is ready now.
#[track_caller]
fn ready(set: &mut SocketWaitEvent, count: usize) -> Vec<WaitEvents> {
    let number = set.wait(Duration::ZERO).unwrap();
    let found = found(set, count);
    let ready = found.iter().filter(|events| !events.is_empty()).count();
    assert_eq!(number, ready, "the count, and {found:?}");
    found
}

/// Whether that is what the system says, but for urgent data.
fn is_as_polled(found: &[WaitEvents], polled: &[WaitEvents]) -> bool {
    let is_so = |(found, polled): (&WaitEvents, &WaitEvents)| {
        found == polled || !TELLS_OF_URGENT && *found == *polled | EXCEPTION
    };
    found.len() == polled.len() && found.iter().zip(polled).all(is_so)
}

/// What the system says of the same sockets.
fn all_polled(sockets: &[(&TcpSocket, WaitEvents)]) -> Vec<WaitEvents> {
    let said = sockets
        .iter()
        .map(|(socket, wanted)| polled(socket).0 & (*wanted | EXCEPTION));
    said.collect()
}

#[test]
fn made_anew_and_kept_it_says_what_poll_says() {
    let _test = begin();
    in_a_thread(|| {
        for seed in 0..12 {
            let mut random = Random::new(seed);
            let mut pairs: Vec<(TcpSocket, Option<TcpStream>)> = (0..6)
                .map(|_| pair())
                .map(|(socket, peer)| (socket, Some(peer)))
                .collect();
            let wanted: Vec<_> = pairs
                .iter()
                .map(|_| [READ, WRITE, BOTH, WaitEvents::ALL, EXCEPTION, READ][random.below(6)])
                .collect();
            let with_wanted = |pairs: &[(TcpSocket, Option<TcpStream>)]| -> SocketWaitEvent {
                let all: Vec<_> = pairs
                    .iter()
                    .zip(&wanted)
                    .map(|((socket, _), events)| (socket, *events))
                    .collect();
                set_of(&all)
            };
            let mut kept = with_wanted(&pairs);
            let mut log = Vec::new();
            for step in 0..120 {
                let number = random.below(pairs.len());
                let (socket, peer) = &mut pairs[number];
                socket.timeout(Duration::ZERO);
                let what = random.below(16);
                log.push((number, what));
                match (what, &mut *peer) {
                    (0..=5, Some(peer)) => drop(peer.write(&vec![7; 1 + random.below(20_000)])),
                    (6..=7, _) => drop(socket.get(&mut vec![0; 1 + random.below(20_000)])),
                    (8..=9, _) => while socket.get(&mut [0; 30_000]).is_ok_and(|count| count > 0) {},
                    (10, _) if !socket.is_error() => drop(socket.put(&[0; 100_000])),
                    (11, Some(peer)) => {
                        peer.set_nonblocking(true).unwrap();
                        while std::io::Read::read(peer, &mut [0; 100_000]).is_ok_and(|count| count > 0) {}
                        peer.set_nonblocking(false).unwrap();
                    }
                    (12, Some(peer)) if step > 60 => drop(peer.shutdown(std::net::Shutdown::Write)),
                    (13, Some(peer)) if step > 60 => {
                        let _ = socket2::SockRef::from(&*peer).send_out_of_band(b"!");
                    }
                    (14, _) if step > 80 => drop(socket.shutdown()),
                    (15, peer @ Some(_)) if step > 80 => {
                        let gone = peer.take().unwrap();
                        if random.below(2) == 0 { reset(gone) } else { drop(gone) }
                    }
                    _ => {}
                }
                socket.clear_error();
                let all: Vec<_> = pairs
                    .iter()
                    .zip(&wanted)
                    .map(|((socket, _), events)| (socket, *events))
                    .collect();
                // What is in the socket's own buffer counts, too.
                eventually(
                    || format!("seed {seed}, step {step}: the same as poll; {wanted:?}, {log:?}"),
                    || {
                        let mut expected = all_polled(&all);
                        for (index, (socket, _)) in pairs.iter().enumerate() {
                            let buffered = format!("{socket:?}").contains("unread: 0,");
                            if !buffered && wanted[index].contains(READ) {
                                expected[index] |= READ;
                            }
                        }
                        let anew = ready(&mut set_of(&all), all.len());
                        let kept = ready(&mut kept, all.len());
                        (is_as_polled(&anew, &expected) && is_as_polled(&kept, &expected))
                            .then_some(())
                            .ok_or_else(|| format!("poll {expected:?}, anew {anew:?}, kept {kept:?}"))
                    },
                );
            }
        }
    });
}

#[test]
fn limits_hold_and_are_never_early() {
    let _test = begin();
    in_a_thread(|| {
        let (socket, _peer) = pair();
        let mut kept = set_of(&[(&socket, READ)]);
        for micros in [1, 700, 20_000] {
            ends_at_limit(Duration::from_micros(micros), |limit| {
                let (count, took) = timed(|| kept.wait(limit).unwrap());
                assert_eq!(count, 0);
                took
            });
            ends_at_limit(Duration::from_micros(micros), |limit| {
                let (count, took) = timed(|| set_of(&[(&socket, READ)]).wait(limit).unwrap());
                assert_eq!(count, 0);
                took
            });
        }
        assert_eq!(SocketWaitEvent::new().wait(Duration::from_millis(3)).unwrap(), 0);
        let begin = Instant::now();
        for _ in 0..1_000 {
            assert_eq!(kept.wait(Duration::ZERO).unwrap(), 0);
        }
        assert!(begin.elapsed() < PATIENCE);
    });
}

#[test]
fn what_is_not_open_keeps_its_index() {
    let _test = begin();
    in_a_thread(|| {
        let (closed, _) = pair();
        closed.close();
        let (socket, mut peer) = pair();
        let never = TcpSocket::new();
        let mut set = set_of(&[
            (&never, READ),
            (&socket, READ),
            (&closed, BOTH),
            (&socket, WRITE),
            (&never, WRITE),
        ]);
        assert_eq!(ready(&mut set, 5), [NOTHING, NOTHING, NOTHING, WRITE, NOTHING]);
        peer.write_all(b"x").unwrap();
        until_readable(&socket);
        assert_eq!(ready(&mut set, 5), [NOTHING, READ, NOTHING, WRITE, NOTHING]);
        // Nothing but such sockets: it waits until the limit.
        let mut nothing = set_of(&[(&never, READ), (&closed, READ)]);
        let limit = Duration::from_millis(5);
        let (count, took) = timed(|| nothing.wait(limit).unwrap());
        assert!(count == 0 && took >= limit, "{count} after {took:?}");
    });
}

fn until_readable(socket: &TcpSocket) {
    eventually(
        || "it is readable".to_owned(),
        || {
            crate::support::is_readable(socket)
                .then_some(())
                .ok_or_else(String::new)
        },
    );
}

#[test]
fn a_socket_may_be_in_it_more_than_once() {
    let _test = begin();
    in_a_thread(|| {
        let (mut socket, mut peer) = pair();
        for wanted in [[READ, WRITE, BOTH], [BOTH, READ, WRITE], [WRITE, EXCEPTION, READ]] {
            let mut set = set_of(&wanted.map(|events| (&socket, events)));
            let only_write = wanted.map(|events| events & WRITE);
            assert_eq!(ready(&mut set, 3), only_write);
            peer.write_all(b"x").unwrap();
            until_readable(&socket);
            assert_eq!(ready(&mut set, 3), wanted.map(|events| events & BOTH));
            assert_eq!(ready(&mut set, 3), wanted.map(|events| events & BOTH));
            assert_eq!(socket.get_byte().unwrap(), Some(b'x'));
            assert_eq!(ready(&mut set, 3), only_write);
        }
    });
}

#[test]
fn what_another_turn_wanted_is_not_reported() {
    let _test = begin();
    in_a_thread(|| {
        let pairs: Vec<_> = (0..10).map(|_| pair()).collect();
        for (socket, peer) in &pairs {
            (&*peer).write_all(b"x").unwrap();
            until_readable(socket);
        }
        for turn in 0..100 {
            let size = [10, 1, 7, 2, 0][turn % 5];
            let mut members: Vec<_> = pairs.iter().take(size).map(|(socket, _)| (socket, READ)).collect();
            if turn % 2 == 0 {
                members.reverse();
            }
            let mut set = set_of(&members);
            assert_eq!(ready(&mut set, size), vec![READ; size]);
            // The same socket for another event.
            let mut set = set_of(&[(&pairs[turn % 10].0, WRITE)]);
            assert_eq!(ready(&mut set, 1), [WRITE]);
            let mut set = set_of(&[(&pairs[turn % 10].0, EXCEPTION)]);
            assert_eq!(ready(&mut set, 1), [NOTHING]);
        }
    });
}

/// One set that is cleared for every turn, and one that is made anew.
struct Turns(SocketWaitEvent);

impl Turns {
    /// What is ready of these sockets now.
    #[track_caller]
    fn ready(&mut self, sockets: &[(&TcpSocket, WaitEvents)]) -> Vec<WaitEvents> {
        self.0.clear();
        for (socket, events) in sockets {
            self.0.add(*socket, *events);
        }
        let cleared = ready(&mut self.0, sockets.len());
        let anew = ready(&mut set_of(sockets), sockets.len());
        assert_eq!(cleared, anew, "cleared, and made anew");
        anew
    }
}

#[test]
fn the_same_may_be_added_in_any_number_of_turns() {
    let _test = begin();
    in_a_thread(|| {
        let (mut one, mut one_peer) = pair();
        let (two, _two_peer) = pair();
        let mut turns = Turns(SocketWaitEvent::new());
        for _ in 0..100 {
            assert_eq!(turns.ready(&[(&one, READ), (&two, WRITE)]), [NOTHING, WRITE]);
            one_peer.write_all(b"x").unwrap();
            until_readable(&one);
            assert_eq!(turns.ready(&[(&one, READ), (&two, WRITE)]), [READ, WRITE]);
            assert_eq!(one.get_byte().unwrap(), Some(b'x'));
        }
    });
}

#[test]
fn each_turn_may_have_another_order_and_other_events() {
    let _test = begin();
    in_a_thread(|| {
        let (one, mut one_peer) = pair();
        let (two, _two_peer) = pair();
        one_peer.write_all(b"x").unwrap();
        until_readable(&one);
        let mut turns = Turns(SocketWaitEvent::new());
        for _ in 0..20 {
            assert_eq!(turns.ready(&[(&one, READ), (&two, BOTH)]), [READ, WRITE]);
            assert_eq!(turns.ready(&[(&two, BOTH), (&one, READ)]), [WRITE, READ]);
            assert_eq!(turns.ready(&[(&one, READ), (&two, BOTH)]), [READ, WRITE]);
            assert_eq!(turns.ready(&[(&one, READ), (&two, READ)]), [READ, NOTHING]);
            assert_eq!(turns.ready(&[(&one, EXCEPTION), (&two, READ)]), [NOTHING, NOTHING]);
            assert_eq!(turns.ready(&[(&one, BOTH), (&two, READ)]), [BOTH, NOTHING]);
            assert_eq!(turns.ready(&[(&one, READ), (&one, WRITE)]), [READ, WRITE]);
            assert_eq!(turns.ready(&[(&one, READ), (&two, READ)]), [READ, NOTHING]);
            assert_eq!(
                turns.ready(&[(&two, READ), (&one, READ), (&one, WRITE)]),
                [NOTHING, READ, WRITE]
            );
            assert_eq!(
                turns.ready(&[(&two, READ), (&two, READ), (&one, WRITE)]),
                [NOTHING, NOTHING, WRITE]
            );
        }
    });
}

#[test]
fn one_that_was_left_out_may_come_back() {
    let _test = begin();
    in_a_thread(|| {
        let (one, _one_peer) = pair();
        let (mut two, mut two_peer) = pair();
        let mut turns = Turns(SocketWaitEvent::new());
        for number in 0..60 {
            let both = [(&one, READ), (&two, READ)];
            assert_eq!(turns.ready(&both), [NOTHING; 2]);
            // It becomes readable while it is left out, and is waited for without, or not at all.
            for _ in 0..number % 20 {
                assert_eq!(turns.ready(&both[..1]), [NOTHING]);
            }
            two_peer.write_all(b"x").unwrap();
            until_readable(&two);
            for _ in 0..number % 3 {
                assert_eq!(turns.ready(&both[..1]), [NOTHING]);
            }
            assert_eq!(turns.ready(&both), [NOTHING, READ]);
            assert_eq!(turns.ready(&both), [NOTHING, READ]);
            assert_eq!(two.get_byte().unwrap(), Some(b'x'));
        }
    });
}

#[cfg(target_os = "linux")]
#[test]
fn whatever_is_added_in_whatever_order_it_says_what_poll_says() {
    let _test = begin();
    in_a_thread(|| {
        for seed in 0..60 {
            let mut random = Random::new(seed);
            let mut pairs: Vec<_> = (0..5).map(|_| pair()).collect();
            let mut turns = Turns(SocketWaitEvent::new());
            let mut filling: Vec<(usize, WaitEvents)> = Vec::new();
            let mut log = Vec::new();
            for _ in 0..150 {
                let events = [READ, WRITE, BOTH, EXCEPTION, READ][random.below(5)];
                let (number, place) = (random.below(pairs.len()), random.below(filling.len() + 1));
                let other = random.below(filling.len() + 1);
                let what = random.below(14);
                match what {
                    0 | 1 => filling.insert(place, (number, events)),
                    2 if place < filling.len() => drop(filling.remove(place)),
                    3 if place.max(other) < filling.len() => filling.swap(place, other),
                    4 if place < filling.len() => filling[place].1 = events,
                    5 => filling.truncate(6),
                    // Another one in its place, mostly with its number, or the same opened again.
                    6 if random.below(4) == 0 => pairs[number] = pair(),
                    7 if random.below(4) == 0 => {
                        let (socket, peer) = pair();
                        let stream = TcpStream::try_from(socket).unwrap();
                        pairs[number].0.attach(stream).unwrap();
                        pairs[number].1 = peer;
                    }
                    8 if random.below(4) == 0 => pairs[number].0.close(),
                    9 | 10 if pairs[number].0.is_open() => {
                        pairs[number].1.write_all(b"x").unwrap();
                        until_readable(&pairs[number].0);
                    }
                    11 => {
                        let socket = &mut pairs[number].0;
                        socket.timeout(Duration::ZERO);
                        while socket.get(&mut [0; 10]).is_ok_and(|count| count > 0) {}
                        socket.clear_error();
                    }
                    _ => {}
                }
                let all: Vec<_> = filling
                    .iter()
                    .map(|(number, events)| (&pairs[*number].0, *events))
                    .collect();
                log.push((what, filling.clone()));
                log.drain(..log.len().saturating_sub(5));
                assert_eq!(turns.ready(&all), all_polled(&all), "seed {seed}: {log:?}");
            }
        }
    });
}

#[test]
fn clear_begins_anew() {
    let _test = begin();
    in_a_thread(|| {
        let (one, mut one_peer) = pair();
        let (two, _two_peer) = pair();
        one_peer.write_all(b"x").unwrap();
        until_readable(&one);
        let mut set = SocketWaitEvent::new();
        for _ in 0..50 {
            set.add(&one, READ);
            set.add(&two, WRITE);
            assert_eq!(ready(&mut set, 2), [READ, WRITE]);
            set.clear();
            assert_eq!(found(&set, 0), []);
            set.add(&two, BOTH);
            assert_eq!(ready(&mut set, 1), [WRITE]);
            set.clear();
        }
        assert_eq!(set.wait(Duration::from_millis(1)).unwrap(), 0);
    });
}

#[test]
fn what_was_found_is_forgotten_by_the_next_wait() {
    let _test = begin();
    in_a_thread(|| {
        let (mut socket, mut peer) = pair();
        let mut set = set_of(&[(&socket, READ)]);
        peer.write_all(b"x").unwrap();
        assert_eq!(set.wait(None).unwrap(), 1);
        assert_eq!(set[0], READ);
        assert_eq!(socket.get_byte().unwrap(), Some(b'x'));
        assert_eq!(set[0], READ, "until the next wait");
        assert_eq!(ready(&mut set, 1), [NOTHING]);
        // More may be added to a set that has waited.
        let (other, _other_peer) = pair();
        set.add(&other, WRITE);
        assert_eq!(ready(&mut set, 2), [NOTHING, WRITE]);
    });
}

#[test]
fn buffered_bytes_are_readable() {
    let _test = begin();
    in_a_thread(|| {
        let (mut socket, mut peer) = pair();
        let mut kept = set_of(&[(&socket, READ)]);
        socket.timeout(PATIENCE);
        for _ in 0..20 {
            peer.write_all(b"one\ntwo\n").unwrap();
            assert_eq!(kept.wait(None).unwrap(), 1);
            socket.get_line().unwrap();
            assert_eq!(ready(&mut kept, 1), [READ]);
            assert_eq!(ready(&mut set_of(&[(&socket, READ)]), 1), [READ]);
            assert_eq!(ready(&mut set_of(&[(&socket, WRITE)]), 1), [WRITE]);
            socket.get_line().unwrap();
            assert_eq!(ready(&mut kept, 1), [NOTHING]);
            assert_eq!(ready(&mut set_of(&[(&socket, READ)]), 1), [NOTHING]);
        }
    });
}

#[test]
fn exceptions_are_always_watched() {
    let _test = begin();
    in_a_thread(|| {
        let (urgent, urgent_peer) = pair();
        let (broken, broken_peer) = pair();
        let (listener, _) = listener();
        let mut kept = set_of(&[(&urgent, NOTHING), (&broken, NOTHING), (&listener, NOTHING)]);
        assert_eq!(ready(&mut kept, 3), [NOTHING; 3]);
        send_urgent(&urgent_peer, b'!');
        reset(broken_peer);
        // Where mio can't watch for urgent data, nobody is told of it.
        let told = if TELLS_OF_URGENT { EXCEPTION } else { NOTHING };
        eventually(
            || "both are reported".to_owned(),
            || match ready(&mut kept, 3) {
                found if found == [told, EXCEPTION, NOTHING] => Ok(()),
                found => Err(format!("{found:?}")),
            },
        );
        let mut anew = set_of(&[(&listener, READ), (&broken, READ), (&urgent, READ)]);
        assert_eq!(ready(&mut anew, 3), [NOTHING, READ | EXCEPTION, told]);
    });
}

#[test]
fn closing_one_during_a_wait_ends_it() {
    let _test = begin();
    for handler in [None, Some(true), Some(false)] {
        for kept in [false, true] {
            let (socket, _peer) = pair();
            let (other, _other_peer) = pair();
            let handle = socket.handle();
            let waiting = block(move || {
                let members = [(&other, READ), (&socket, READ), (&socket, WRITE)];
                let mut set = set_of(&members[..2]);
                if kept {
                    assert_eq!(ready(&mut set, 2), [NOTHING; 2]);
                } else {
                    set = set_of(&members[..2]);
                }
                let count = set.wait(None);
                let found = found(&set, 2);
                // It is told once; then the place is one of a socket that is not open.
                assert_eq!(ready(&mut set, 2), [NOTHING; 2]);
                assert_eq!(ready(&mut set_of(&members), 3), [NOTHING; 3]);
                (count, found)
            })
            .until_blocked();
            match handler {
                None => handle.close(),
                Some(true) => in_handler(waiting.task(), &|| handle.close()),
                Some(false) => in_handler(thread_id(), &|| handle.close()),
            }
            let (count, found) = waiting.result();
            assert_eq!(count.unwrap(), 1);
            assert_eq!(
                found,
                [NOTHING, READ | EXCEPTION],
                "handler there: {handler:?}, kept: {kept}"
            );
        }
    }
}

#[test]
fn closed_after_it_was_added_ends_the_wait() {
    let _test = begin();
    in_a_thread(|| {
        for (by_drop, turns_before) in [(false, 0), (true, 0), (false, 2), (true, 2)] {
            let (socket, _peer) = pair();
            let members = [(&TcpSocket::new(), READ), (&socket, WRITE)];
            for _ in 0..turns_before {
                assert_eq!(ready(&mut set_of(&members), 2), [NOTHING, WRITE]);
            }
            let mut set = set_of(&members);
            if by_drop {
                drop(socket);
            } else {
                socket.close();
            }
            assert_eq!(set.wait(None).unwrap(), 1);
            assert_eq!(set[1], WRITE | EXCEPTION);
            assert_eq!(set.wait(Duration::from_millis(1)).unwrap(), 0);
        }
    });
}

#[test]
fn closed_from_elsewhere_before_it_is_added_ends_the_next_wait_once() {
    let _test = begin();
    for turns_before in [0, 1, 2, 20] {
        for by in ["a handle", "the registry", "another thread"] {
            in_a_thread(move || {
                let registry = ShutdownRegistry::new();
                let (other, _other_peer) = pair();
                let mut listener = TcpSocket::with_registry(&registry);
                listener.listen_on("127.0.0.1:0", &ListenOptions::new()).unwrap();
                let members = [
                    (&TcpSocket::new(), READ),
                    (&other, READ),
                    (&listener, READ),
                    (&listener, WRITE),
                ];
                for _ in 0..turns_before {
                    assert_eq!(ready(&mut set_of(&members), 4), [NOTHING; 4]);
                }
                match by {
                    "a handle" => listener.handle().close(),
                    "the registry" => registry.stop_accepting(),
                    _ => thread::scope(|scope| scope.spawn(|| listener.close()).join().unwrap()),
                }
                // One that was filled and dropped has told nobody.
                drop(set_of(&members));
                let mut set = set_of(&members);
                assert_eq!(set.wait(None).unwrap(), 2);
                assert_eq!(found(&set, 4), [NOTHING, NOTHING, READ | EXCEPTION, WRITE | EXCEPTION]);
                assert_eq!(ready(&mut set, 4), [NOTHING; 4]);
                for _ in 0..2 {
                    assert_eq!(ready(&mut set_of(&members), 4), [NOTHING; 4], "told once");
                }
            });
        }
    }
}

#[test]
fn one_that_changes_its_index_and_is_closed_from_elsewhere_is_reported_where_it_stands() {
    let _test = begin();
    in_a_thread(|| {
        let (socket, _peer) = pair();
        let (other, _other_peer) = pair();
        for _ in 0..3 {
            assert_eq!(ready(&mut set_of(&[(&other, READ), (&socket, READ)]), 2), [NOTHING; 2]);
        }
        socket.handle().close();
        // It is left out of a turn, whose wait finds nothing; it may not be forgotten for that.
        assert_eq!(ready(&mut set_of(&[(&other, READ)]), 1), [NOTHING]);
        let mut set = set_of(&[(&socket, READ), (&other, READ)]);
        assert_eq!(set.wait(None).unwrap(), 1);
        assert_eq!(found(&set, 2), [READ | EXCEPTION, NOTHING]);
    });
}

#[test]
fn one_that_the_thread_has_closed_itself_is_not_reported() {
    let _test = begin();
    in_a_thread(|| {
        let (socket, _peer) = pair();
        socket.handle().close();
        socket.close();
        assert_eq!(ready(&mut set_of(&[(&socket, READ)]), 1), [NOTHING]);
        // To another thread that is news.
        thread::scope(|scope| {
            let other = scope.spawn(|| ready(&mut set_of(&[(&socket, READ)]), 1));
            assert_eq!(other.join().unwrap(), [READ | EXCEPTION]);
        });
    });
}

#[test]
fn each_thread_is_told_of_a_closing_between_its_turns() {
    let _test = begin();
    for how in 0..4 {
        in_a_thread(move || tell_each_thread(how));
    }
}

fn tell_each_thread(how: usize) {
    let registry = ShutdownRegistry::new();
    let mut listener = TcpSocket::with_registry(&registry);
    listener.listen_on("127.0.0.1:0", &ListenOptions::new()).unwrap();
    let turn = |limit: Option<Duration>| {
        let mut set = set_of(&[(&TcpSocket::new(), READ), (&listener, READ)]);
        let count = set.wait(limit).unwrap();
        let events = found(&set, 2);
        assert!(events[0].is_empty() && count == usize::from(!events[1].is_empty()));
        events[1]
    };
    let have_begun = &Barrier::new(4);
    thread::scope(|scope| {
        let begun: Vec<_> = (0..3)
            .map(|turns_before| {
                let (go_on, is_closed) = mpsc::channel::<()>();
                let thread = scope.spawn(move || {
                    for _ in 0..turns_before {
                        assert_eq!(turn(Some(Duration::ZERO)), NOTHING);
                    }
                    have_begun.wait();
                    is_closed.recv().unwrap();
                    assert_eq!(turn(None), READ | EXCEPTION);
                    for _ in 0..2 {
                        assert_eq!(turn(Some(Duration::ZERO)), NOTHING, "told once");
                    }
                });
                (go_on, thread)
            })
            .collect();
        have_begun.wait();
        match how {
            0 => listener.handle().close(),
            1 => registry.shutdown(),
            2 => listener.close(),
            _ => {
                listener.handle().close();
                listener.close();
            }
        }
        // Filled by one that knows or may know.
        let mut filled = set_of(&[(&listener, READ)]);
        // One after the other: that one was told is no reason not to tell the next.
        for (go_on, thread) in begun {
            go_on.send(()).unwrap();
            thread.join().unwrap();
        }
        if how >= 2 {
            assert_eq!(turn(Some(Duration::ZERO)), NOTHING, "its own doing");
        }
        let moved = scope.spawn(move || filled.wait(None).unwrap());
        assert_eq!(moved.join().unwrap(), 1);
    });
}

#[test]
fn any_number_of_sockets() {
    const COUNT: usize = 1_500;
    let test = begin();
    if test.skip_if(is_wine(), MANY_ARE_SLOW) {
        return;
    }
    in_a_thread(|| {
        let pairs: Vec<_> = (0..COUNT).map(|_| unix_pair()).collect();
        let members: Vec<_> = pairs.iter().map(|(socket, _)| (socket, READ)).collect();
        let mut kept = set_of(&members);
        let expected = |is_ready: &dyn Fn(usize) -> bool| -> Vec<_> {
            (0..COUNT)
                .map(|index| if is_ready(index) { READ } else { NOTHING })
                .collect()
        };
        assert_eq!(ready(&mut kept, COUNT), expected(&|_| false));
        let last = COUNT - 1;
        (&pairs[last].1).write_all(b"x").unwrap();
        #[cfg(target_os = "linux")]
        assert!(pairs[last].0.as_raw_fd() > 1_024);
        assert_eq!(ready(&mut kept, COUNT), expected(&|index| index == last));
        for (_, peer) in pairs.iter().step_by(2) {
            (&*peer).write_all(b"x").unwrap();
        }
        let is_ready = |index| index % 2 == 0 || index == last;
        assert_eq!(ready(&mut kept, COUNT), expected(&is_ready));
        assert_eq!(ready(&mut set_of(&members), COUNT), expected(&is_ready));
        for (_, peer) in pairs.iter().skip(1).step_by(2) {
            (&*peer).write_all(b"x").unwrap();
        }
        // More than the system reports at once: what is told now and what is told next is all.
        let mut set = set_of(&members);
        assert!(set.wait(None).unwrap() >= 1_024);
        assert_eq!(ready(&mut set, COUNT), expected(&|_| true));
    });
}

#[test]
fn several_are_alive_at_once_on_one_thread() {
    let _test = begin();
    in_a_thread(|| {
        let (mut socket, mut peer) = pair();
        let (other, _other_peer) = pair();
        let mut sets: Vec<_> = (0..8).map(|_| set_of(&[(&other, READ), (&socket, BOTH)])).collect();
        for _ in 0..3 {
            for set in &mut sets {
                assert_eq!(ready(set, 2), [NOTHING, WRITE]);
            }
            peer.write_all(b"x").unwrap();
            until_readable(&socket);
            for set in &mut sets {
                assert_eq!(ready(set, 2), [NOTHING, BOTH]);
            }
            assert_eq!(socket.get_byte().unwrap(), Some(b'x'));
            sets.remove(0);
            sets.push(set_of(&[(&other, READ), (&socket, BOTH)]));
        }
        socket.close();
        for set in &mut sets {
            assert_eq!(set.wait(None).unwrap(), 1);
            assert_eq!(found(set, 2), [NOTHING, WaitEvents::ALL]);
        }
    });
}

#[test]
fn it_may_be_moved_to_another_thread_and_outlive_the_sockets() {
    let test = begin();
    for lives_on in [true, false] {
        if !lives_on && test.skip_if(is_wine(), LOST_WITH_THREAD) {
            return;
        }
        let (socket, mut peer) = pair();
        let socket = Arc::new(socket);
        let shared = Arc::clone(&socket);
        let (hand_over, handed_over) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let first = block(move || {
            let mut set = SocketWaitEvent::new();
            set.add(&shared, READ);
            assert_eq!(ready(&mut set, 1), [NOTHING]);
            drop(shared);
            hand_over.send(set).unwrap();
            let _ = ended.recv();
        });
        let mut set = handed_over.recv().unwrap();
        let first = if lives_on {
            Some((first, end))
        } else {
            drop(end);
            first.result();
            None
        };
        peer.write_all(b"x").unwrap();
        until_readable(&socket);
        let set = in_a_thread(move || {
            assert_eq!(set.wait(PATIENCE).unwrap(), 1);
            assert_eq!(found(&set, 1), [READ]);
            set
        });
        drop(socket);
        in_a_thread(move || {
            let mut set = set;
            assert_eq!(set.wait(None).unwrap(), 1);
            drop(set);
            // The thread keeps the queue, and it is as good as any.
            let (socket, _peer) = pair();
            assert_eq!(ready(&mut set_of(&[(&socket, WRITE)]), 1), [WRITE]);
        });
        if let Some((first, end)) = first {
            drop(end);
            first.result();
        }
    }
}

#[test]
fn a_shutdown_ends_it_and_after_a_reset_it_works_again() {
    let _test = begin();
    let (socket, _peer) = unix_pair_in(&ShutdownRegistry::new());
    let socket = Arc::new(socket);
    let own = Arc::clone(&socket);
    let (ended, wait_ended) = mpsc::channel();
    let (send_reset, was_reset) = mpsc::channel();
    let waiting = block(move || {
        let mut kept = set_of(&[(&own, READ)]);
        let mut lent = set_of(&[(&own, READ)]);
        assert_eq!(ready(&mut lent, 1), [NOTHING]);
        let result = kept.wait(None);
        assert!(matches!(result, Err(Error::Shutdown)), "{result:?}");
        let result = kept.wait(None);
        assert!(matches!(result, Err(Error::Shutdown)), "{result:?}");
        let result = set_of(&[(&own, READ)]).wait(None);
        assert!(matches!(result, Err(Error::Shutdown)), "{result:?}");
        let result = SocketWaitEvent::new().wait(None);
        assert!(matches!(result, Err(Error::Shutdown)), "{result:?}");
        // What the thread gets back of this one is of no use to the next.
        drop(lent);
        ended.send(()).unwrap();
        was_reset.recv().unwrap();
        assert_eq!(ready(&mut set_of(&[(&own, WRITE)]), 1), [WRITE]);
        kept.clear();
        kept.add(&own, WRITE);
        assert_eq!(ready(&mut kept, 1), [WRITE]);
    })
    .until_blocked();
    ShutdownRegistry::global().shutdown();
    wait_ended.recv_timeout(PATIENCE).unwrap();
    ShutdownRegistry::global().reset();
    send_reset.send(()).unwrap();
    waiting.result();
}

#[test]
fn a_shutdown_comes_before_what_was_found() {
    let _test = begin();
    let (socket, _peer) = unix_pair();
    let (mut bystander, peer) = unix_pair_in(&ShutdownRegistry::new());
    let waiting = block(move || {
        let mut set = set_of(&[(&socket, READ), (&bystander, READ)]);
        let result = set.wait(None);
        assert!(matches!(result, Err(Error::Shutdown)), "{result:?}");
        assert_eq!(set[0] | set[1], NOTHING);
        assert!(!socket.is_open());
        assert_eq!(bystander.get_byte().unwrap(), Some(b'x'));
    })
    .until_blocked();
    in_handler(waiting.task(), &|| {
        (&peer).write_all(b"x").unwrap();
        ShutdownRegistry::global().shutdown();
    });
    waiting.result();
    ShutdownRegistry::global().reset();
}

#[test]
fn a_thread_that_ends_leaves_no_descriptor() {
    let _test = begin();
    let (socket, _peer) = pair();
    let socket = Arc::new(socket);
    let before = crate::support::descriptors();
    for _ in 0..50 {
        let socket = Arc::clone(&socket);
        in_a_thread(move || {
            let mut sets: Vec<_> = (0..6).map(|_| set_of(&[(&*socket, WRITE)])).collect();
            for set in &mut sets {
                assert_eq!(set.wait(None).unwrap(), 1);
            }
        });
    }
    eventually(
        || format!("{before} descriptors"),
        || match crate::support::descriptors() {
            count if count == before => Ok(()),
            count => Err(count.to_string()),
        },
    );
}

/// How many descriptors all epoll instances of this process watch.
#[cfg(target_os = "linux")]
fn watched() -> usize {
    fs::read_dir("/proc/self/fdinfo")
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok())
        .map(|info| info.lines().filter(|line| line.starts_with("tfd:")).count())
        .sum()
}

#[cfg(target_os = "linux")]
#[test]
fn sockets_are_registered_once_and_forgotten_when_they_are_not_added_any_more() {
    const COUNT: usize = 300;
    let test = begin();
    if test.skip_if(POLLED, "mio's own list for poll(2) can't be looked at") {
        return;
    }
    in_a_thread(|| {
        let pairs: Vec<_> = (0..COUNT).map(|_| unix_pair()).collect();
        let members: Vec<_> = pairs.iter().map(|(socket, _)| (socket, READ)).collect();
        let before = watched();
        // What the first has is not kept.
        for _ in 0..2 {
            assert_eq!(set_of(&members).wait(Duration::ZERO).unwrap(), 0);
        }
        let with_all = watched();
        assert!(with_all >= before + COUNT, "{before} before, {with_all} with all");
        for _ in 0..40 {
            assert_eq!(set_of(&members).wait(Duration::ZERO).unwrap(), 0);
            assert_eq!(watched(), with_all);
        }
        for _ in 0..40 {
            assert_eq!(set_of(&members[..10]).wait(Duration::ZERO).unwrap(), 0);
        }
        let with_few = watched();
        assert!(
            with_few < before + COUNT / 2,
            "{before} before, {with_all} with all, {with_few} with few"
        );
    });
}

#[cfg(target_os = "linux")]
#[test]
fn one_that_was_used_once_leaves_nothing_and_more_leave_what_one_has() {
    let _test = begin();
    in_a_thread(|| {
        let (socket, _peer) = unix_pair();
        let before = crate::support::descriptors();
        drop(SocketWaitEvent::new());
        for turn in 0..10 {
            let mut set = set_of(&[(&socket, WRITE)]);
            assert_eq!(ready(&mut set, 1), [WRITE]);
            assert_eq!(crate::support::descriptors(), before + QUEUE);
            drop(set);
            // The second says that there will be a third.
            let kept = if turn == 0 { 0 } else { QUEUE };
            assert_eq!(crate::support::descriptors(), before + kept, "turn {turn}");
        }
        // None of it keeps the socket open.
        let without = crate::support::descriptors() - 1;
        drop(socket);
        assert_eq!(crate::support::descriptors(), without);
    });
}

#[test]
fn one_that_waits_uses_no_processor_time() {
    let _test = begin();
    let (left, mut left_peer) = pair();
    let (socket, _peer) = pair();
    let handle = socket.handle();
    left_peer.write_all(b"x").unwrap();
    let waiting = block(move || {
        // Readable, and so known to the thread's queue; not a member then.
        until_readable(&left);
        assert_eq!(ready(&mut set_of(&[(&left, READ)]), 1), [READ]);
        set_of(&[(&socket, READ), (&left, EXCEPTION)]).wait(None).unwrap()
    })
    .until_blocked();
    until_sleeping(waiting.task());
    let before = cpu_time(waiting.task());
    let waiting = waiting.goes_on_for(STILL_BLOCKS);
    let used = cpu_time(waiting.task()) - before;
    assert!(used < Duration::from_millis(20), "{used:?} of processor time");
    handle.close();
    assert_eq!(waiting.result(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_descriptor_number_that_comes_back_is_another_socket() {
    let _test = begin();
    in_a_thread(|| {
        let mut numbers: Vec<RawFd> = Vec::new();
        for _ in 0..200 {
            let (socket, mut peer) = unix_pair();
            numbers.push(socket.as_raw_fd());
            let mut set = set_of(&[(&socket, READ)]);
            assert_eq!(ready(&mut set, 1), [NOTHING]);
            peer.write_all(b"x").unwrap();
            if numbers.len().is_multiple_of(2) {
                assert_eq!(ready(&mut set, 1), [READ]);
            }
        }
        numbers.dedup();
        assert!(numbers.len() < 100, "the numbers did not come back");
    });
}

#[test]
fn a_full_buffer_makes_no_wait_spin() {
    let _test = begin();
    let (mut full, full_peer) = pair();
    fill(&mut full);
    let handle = full.handle();
    let waiting = block(move || {
        let mut set = set_of(&[(&full, WRITE)]);
        // Room that comes from the system's moving bytes on is filled.
        while let Ok(1) = set.wait(STILL_BLOCKS) {
            fill(&mut full);
        }
        set.wait(None).unwrap()
    });
    let waiting = waiting.still_blocks();
    let before = cpu_time(waiting.task());
    let waiting = waiting.still_blocks();
    let used = cpu_time(waiting.task()) - before;
    assert!(used < Duration::from_millis(20), "{used:?} of processor time");
    handle.close();
    assert_eq!(waiting.result(), 1);
    drop(full_peer);
}
