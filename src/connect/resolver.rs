//! The look-ups of this process: one a name at a time, for all who ask for it, and no more at once than a few.
//!
//! `getaddrinfo(3)` has no limit and can't be ended, so each look-up takes a thread for as long as the system needs. A
//! thread that is done goes on with the next name that somebody still waits for, or ends.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::panic;
use std::process;
use std::sync::atomic::{Ordering::SeqCst, fence};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;

use parking_lot::Mutex;

use crate::sys;
use crate::wake::{Key, Registered, Wake, WakeList};

/// How many names are looked up at once.
const MOST: usize = 32;

pub(super) type Found = Result<Vec<SocketAddr>, Arc<io::Error>>;

/// What is found of a name, whatever the port. All who ask for the name before it is found share it.
pub(super) struct Answer {
    found: OnceLock<Found>,
    /// The wakers of the threads that wait for it.
    waiting: WakeList,
}

impl Answer {
    fn new() -> Arc<Answer> {
        Arc::new(Answer {
            found: OnceLock::new(),
            waiting: WakeList::new(),
        })
    }

    pub(super) fn found(&self) -> Option<&Found> {
        self.found.get()
    }

    /// Wakes `waker` when it is found, as long as the result lives.
    pub(super) fn register(&self, waker: Option<Arc<dyn Wake>>) -> Registered<'_> {
        let registered = self.waiting.register(waker);
        // The cell alone doesn't order "write mine, then read yours": see `give`.
        fence(SeqCst);
        registered
    }

    /// Wakes `waker` when it is found, until the result is dropped.
    pub(super) fn tell(self: &Arc<Answer>, waker: Arc<dyn Wake>) -> Told {
        let key = Some(self.waiting.insert(waker));
        // The cell alone doesn't order "write mine, then read yours": see `give`.
        fence(SeqCst);
        let answer = Arc::clone(self);
        Told { answer, key }
    }

    fn give(&self, found: io::Result<Vec<SocketAddr>>) {
        // It is called once.
        let _ = self.found.set(found.map_err(Arc::new));
        // The cell alone doesn't order "write mine, then read yours": see the orderings in `wake`.
        fence(SeqCst);
        self.waiting.wake_all();
    }
}

/// What is woken when an answer is found: see [`Answer::tell`].
pub(super) struct Told {
    answer: Arc<Answer>,
    key: Option<Key<Arc<dyn Wake>>>,
}

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            drop(self.answer.waiting.remove(key));
        }
    }
}

/// Asks for a name. Doesn't block. Fails if no thread can be made for it, and there is none that will look it up later.
pub(super) fn ask(name: &str) -> io::Result<Arc<Answer>> {
    let process = Process::this();
    let mut lookups = process.lookups.lock();
    let answer = lookups.answer(name);
    // Before, there may have been no thread for a name that is still in the queue.
    if lookups.threads < MOST
        && let Some((name, next)) = lookups.next()
    {
        let (its_name, its_answer) = (Arc::clone(&name), Arc::clone(&next));
        let thread = thread::Builder::new().name("wakesock-lookup".to_owned());
        match thread.spawn(move || process.look_up(its_name, its_answer)) {
            Ok(_) => lookups.threads += 1,
            Err(_) if lookups.threads > 0 => lookups.queue.push_front(name),
            Err(error) => {
                // Without a thread there is no queue, so this is the name that was asked for.
                lookups.answers.remove(&name);
                return Err(error);
            }
        }
    }
    Ok(answer)
}

/// The look-ups of one process.
struct Process {
    id: u32,
    lookups: Mutex<Lookups>,
    /// Those of a child of fork(2): it has the memory of its parent, but none of the threads that look names up, and that
    /// may have held the lock.
    child: OnceLock<Box<Process>>,
}

#[derive(Default)]
struct Lookups {
    /// How many threads there are.
    threads: usize,
    /// By their names, all that are not over. A thread keeps the answer that it is to give; those in the queue are kept by
    /// those who ask, only.
    answers: HashMap<Arc<str>, Weak<Answer>>,
    /// Names that wait for a thread, each once. There is one that will come to them.
    queue: VecDeque<Arc<str>>,
}

impl Process {
    fn this() -> &'static Process {
        static FIRST: OnceLock<Box<Process>> = OnceLock::new();
        let id = process::id();
        let mut place = &FIRST;
        loop {
            let process = place.get_or_init(|| Process::new(id));
            if process.id == id {
                return process;
            }
            place = &process.child;
        }
    }

    fn new(id: u32) -> Box<Process> {
        Box::new(Process {
            id,
            lookups: Mutex::default(),
            child: OnceLock::new(),
        })
    }

    /// Looks up a name, and then others while there are any in the queue.
    fn look_up(&self, mut name: Arc<str>, mut answer: Arc<Answer>) {
        loop {
            let found = look_up(&name);
            let mut lookups = self.lookups.lock();
            // Before it is given: who asks again when it is over asks anew.
            lookups.answers.remove(&name);
            let next = lookups.next();
            if next.is_none() {
                lookups.threads -= 1;
            }
            drop(lookups);
            answer.give(found);
            match next {
                Some(next) => (name, answer) = next,
                None => return,
            }
        }
    }
}

impl Lookups {
    /// The answer for a name: that of a look-up that is not over, or a new one at the end of the queue.
    fn answer(&mut self, name: &str) -> Arc<Answer> {
        let answer = Answer::new();
        if let Some(place) = self.answers.get_mut(name) {
            if let Some(known) = place.upgrade() {
                return known;
            }
            // It is still in the queue, though nobody had waited for it any more.
            *place = Arc::downgrade(&answer);
            return answer;
        }
        if self.queue.len() == self.queue.capacity() {
            self.forget_abandoned();
        }
        let name: Arc<str> = name.into();
        self.answers.insert(Arc::clone(&name), Arc::downgrade(&answer));
        self.queue.push_back(name);
        answer
    }

    /// Takes the first name out of the queue that somebody still waits for.
    fn next(&mut self) -> Option<(Arc<str>, Arc<Answer>)> {
        while let Some(name) = self.queue.pop_front() {
            match self.answers.get(&name).and_then(Weak::upgrade) {
                Some(answer) => return Some((name, answer)),
                None => drop(self.answers.remove(&name)),
            }
        }
        None
    }

    /// Takes the names out of the queue that nobody waits for any more, so that it doesn't grow by them.
    fn forget_abandoned(&mut self) {
        let answers = &mut self.answers;
        self.queue.retain(|name| {
            let is_wanted = answers.get(name).is_some_and(|answer| answer.strong_count() > 0);
            if !is_wanted {
                answers.remove(name);
            }
            is_wanted
        });
    }
}

fn look_up(name: &str) -> io::Result<Vec<SocketAddr>> {
    if name.contains('\0') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "name with a NUL in it"));
    }
    // Whatever happens to it, those who wait get an answer.
    let looked_up = panic::catch_unwind(|| (name, 0).to_socket_addrs().map(Iterator::collect));
    looked_up
        .unwrap_or_else(|_| Err(io::Error::other("the look-up panicked")))
        .map_err(sys::look_up_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_nobody_waits_for_any_more_do_not_fill_the_queue() {
        let mut lookups = Lookups::default();
        let wanted: Vec<Arc<Answer>> = (0..10)
            .map(|index| lookups.answer(&format!("wanted {index}")))
            .collect();
        for index in 0..10_000 {
            drop(lookups.answer(&format!("unwanted {index}")));
        }
        assert!(lookups.queue.len() < 100, "{}", lookups.queue.len());
        assert_eq!(lookups.answers.len(), lookups.queue.len());
        for (index, answer) in wanted.iter().enumerate() {
            let (name, next) = lookups.next().unwrap();
            assert_eq!(*name, format!("wanted {index}"));
            assert!(Arc::ptr_eq(&next, answer));
            lookups.answers.remove(&name);
        }
        assert!(lookups.next().is_none());
        assert!(lookups.answers.is_empty());
    }
}
