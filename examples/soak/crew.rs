//! The threads that make the load: what each is doing, and the gate where all of them come to rest.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::PATIENCE;

#[derive(Default)]
pub struct Crew {
    members: Vec<Member>,
    gate: Mutex<Gate>,
    changed: Condvar,
    warm: AtomicUsize,
    ending: AtomicBool,
    failures: Mutex<Failures>,
}

struct Member {
    name: String,
    doing: Mutex<Option<(&'static str, Instant)>>,
}

#[derive(Default)]
struct Gate {
    is_closed: bool,
    at_rest: usize,
}

#[derive(Default)]
struct Failures {
    count: usize,
    first: Vec<String>,
}

/// So many failures are told; the others are counted.
const MOST_TOLD: usize = 10;

impl Crew {
    pub fn of(names: impl Iterator<Item = String>) -> Crew {
        let doing = || Mutex::new(None);
        Crew {
            members: names.map(|name| Member { name, doing: doing() }).collect(),
            ..Crew::default()
        }
    }

    /// Where a member comes between two steps, and rests while the gate is closed. False at the end of all.
    pub fn pass(&self) -> bool {
        let mut gate = self.gate.lock().unwrap();
        if gate.is_closed {
            gate.at_rest += 1;
            self.changed.notify_all();
            gate = self.changed.wait_while(gate, |gate| gate.is_closed).unwrap();
            gate.at_rest -= 1;
        }
        drop(gate);
        !self.is_ending()
    }

    /// Lets a member do something, of which others can see how long it takes.
    pub fn watched<T>(&self, member: usize, name: &'static str, run: impl FnOnce() -> T) -> T {
        let doing = &self.members[member].doing;
        *doing.lock().unwrap() = Some((name, Instant::now()));
        let value = run();
        *doing.lock().unwrap() = None;
        value
    }

    /// A member has done everything that it does once.
    pub fn is_warm(&self) {
        self.warm.fetch_add(1, SeqCst);
    }

    pub fn are_all_warm(&self) -> bool {
        self.warm.load(SeqCst) == self.members.len()
    }

    /// Runs `look` while all are at rest. Nothing if they don't all come to it.
    pub fn at_rest<T>(&self, look: impl FnOnce() -> T) -> Option<T> {
        let mut gate = self.gate.lock().unwrap();
        gate.is_closed = true;
        let missing = |gate: &mut Gate| gate.at_rest < self.members.len();
        let (gate, timeout) = self.changed.wait_timeout_while(gate, PATIENCE, missing).unwrap();
        drop(gate);
        let seen = (!timeout.timed_out()).then(look);
        self.gate.lock().unwrap().is_closed = false;
        self.changed.notify_all();
        seen
    }

    /// Who has been doing one thing for longer than anything may take, and what.
    pub fn stuck(&self) -> Option<String> {
        self.members.iter().find_map(|member| {
            let (name, since) = (*member.doing.lock().unwrap())?;
            let is_stuck = since.elapsed() > PATIENCE + Duration::from_secs(5);
            is_stuck.then(|| format!("{}: `{name}` has not ended for {:?}", member.name, since.elapsed()))
        })
    }

    pub fn fail(&self, failure: impl Display) {
        let mut failures = self.failures.lock().unwrap();
        failures.count += 1;
        if failures.first.len() < MOST_TOLD {
            failures.first.push(failure.to_string());
        }
    }

    /// The first of what has failed, and how much more.
    pub fn failures(&self) -> Vec<String> {
        let failures = self.failures.lock().unwrap();
        let mut told = failures.first.clone();
        if failures.count > told.len() {
            told.push(format!("and {} more", failures.count - told.len()));
        }
        told
    }

    pub fn end(&self) {
        self.ending.store(true, SeqCst);
    }

    pub fn is_ending(&self) -> bool {
        self.ending.load(SeqCst)
    }
}
