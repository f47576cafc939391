//! The clients that were waiting for a listener when its registry stopped accepting.

use std::collections::VecDeque;
use std::io;

use crate::sync::Mutex;
use crate::sys::{self, Accepted};

/// They are taken from the system all at once, so that later ones can be refused, and then handed out.
#[derive(Default)]
pub(super) struct LastClients(Mutex<Option<Box<Taken>>>);

#[derive(Default)]
struct Taken {
    clients: VecDeque<Accepted>,
    /// The system has no more of them.
    all: bool,
}

/// The next client, if there is one, and whether there are more.
pub(super) struct Next {
    pub(super) client: Option<Accepted>,
    pub(super) more: bool,
}

impl LastClients {
    /// Gives the next one. First it `take`s all from the system, and then calls `stop_listening`. Where descriptors run out
    /// meanwhile, a later call goes on.
    pub(super) fn next(
        &self,
        mut take: impl FnMut() -> io::Result<Accepted>,
        stop_listening: impl FnOnce(),
    ) -> io::Result<Next> {
        let mut taken = self.0.lock();
        let Taken { clients, all } = &mut **taken.get_or_insert_default();
        let mut scarcity = None;
        while !*all && scarcity.is_none() {
            match take() {
                Ok(client) => clients.push_back(client),
                Err(error) if sys::is_scarcity(&error) => scarcity = Some(error),
                Err(error) => *all = error.kind() != io::ErrorKind::Interrupted,
            }
            if *all {
                stop_listening();
                break;
            }
        }
        match (clients.pop_front(), scarcity) {
            (None, Some(error)) => Err(error),
            (client, _) => {
                let more = !*all || !clients.is_empty();
                Ok(Next { client, more })
            }
        }
    }

    /// Lets go of those that were not handed out.
    pub(super) fn close(&self) {
        let taken = self.0.lock().take();
        drop(taken);
    }
}
