//! The clients that were waiting for a listener when its registry stopped accepting.

use std::collections::VecDeque;
use std::io;

use super::Opening;
use crate::sync::Mutex;
use crate::sys::{self, Accepted};

/// They are taken from the system all at once, so that later ones can be refused, and then handed out.
#[derive(Default)]
pub(super) struct LastClients {
    taken: Mutex<Option<Box<Taken>>>,
    /// See [`alone`](Opening::alone).
    alone: Mutex<()>,
}

#[derive(Default)]
struct Taken {
    clients: VecDeque<Accepted>,
    /// The system has no more of them.
    all: bool,
}

/// The next client, if there is one, and whether there are more.
pub(crate) struct Next {
    pub(crate) client: Option<Accepted>,
    pub(crate) more: bool,
}

impl LastClients {
    fn next(&self, mut take: impl FnMut() -> io::Result<Accepted>, stop_listening: impl FnOnce()) -> io::Result<Next> {
        let mut taken = self.taken.lock();
        let Taken { clients, all } = &mut **taken.get_or_insert_default();
        // The program needs some to serve them.
        let most = (sys::most_descriptors() / 4).max(1);
        let mut scarcity = None;
        while !*all && scarcity.is_none() && clients.len() < most {
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
}

impl Opening {
    /// Gives the next of the clients that were waiting. First it `take`s all from the system, and then lets no more connect.
    /// Where there are very many, or descriptors run out meanwhile, a later call goes on.
    ///
    /// For a thread that has entered.
    pub(crate) fn next_last_client(&self, take: impl FnMut() -> io::Result<Accepted>) -> io::Result<Next> {
        self.last_clients.next(take, || self.stop_listening())
    }

    /// Lets no client connect any more, where the system can do that for a listener alone that others may have, too.
    fn stop_listening(&self) {
        // SAFETY: the caller has entered, so the descriptor is open.
        let socket = unsafe { sys::borrow(self.raw_number()) };
        sys::replace(socket, self.is_made_elsewhere());
    }

    /// Does something with the listener that two threads must not do at once.
    pub(crate) fn alone<T>(&self, work: impl FnOnce() -> T) -> T {
        let _alone = self.last_clients.alone.lock();
        work()
    }

    /// Lets go of clients that can't be handed out any more, if the opening is closed. The registry counts them. Not for signal
    /// handlers.
    pub(crate) fn turn_last_clients_away(&self) {
        if !(self.hands_out_last() && self.is_closed()) {
            return;
        }
        let mut place = self.last_clients.taken.lock();
        let taken = place.take();
        if let (Some(taken), Some(membership)) = (&taken, self.membership.get()) {
            // Under the lock: who finds none left finds them counted.
            membership.registry().clients_turned_away(taken.clients.len());
        }
        drop(place);
        drop(taken);
    }
}
