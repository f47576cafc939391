//! What a call has left of a connection that is being made, for the queues that its socket is in.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::lookup::Lookup;
use super::race::Race;
use super::resolver::Told;
use crate::opening::{Due, Opening, Underway};
use crate::sys::BorrowedSocket;
use crate::wake::Wake;

/// A look-up that is not over, or a race that is not decided.
pub(crate) struct Left {
    lookup: Option<Lookup>,
    _told: Option<Told>,
    race: Arc<Mutex<Race>>,
    /// When the time is up, however the race goes.
    end: Option<Instant>,
}

impl Left {
    /// What is left for `opening`.
    pub(crate) fn of(
        opening: &Arc<Opening>,
        lookup: Option<&Lookup>,
        race: &Arc<Mutex<Race>>,
        end: Option<Instant>,
    ) -> Arc<Left> {
        let told = lookup.and_then(|lookup| lookup.tell(Arc::new(TellsFollowers(Arc::clone(opening)))));
        Arc::new(Left {
            lookup: lookup.cloned(),
            _told: told,
            race: Arc::clone(race),
            end,
        })
    }
}

impl Underway for Left {
    fn each_socket(&self, visit: &mut dyn FnMut(BorrowedSocket<'_>)) {
        self.race.lock().each_running(visit);
    }

    fn due(&self) -> Due {
        let due = match &self.lookup {
            Some(lookup) if lookup.found().is_some() => Due::Now,
            Some(_) => Due::WithAnAnswer,
            None => self.race.lock().due(),
        };
        self.end.map_or(due, |end| due.or_at(end))
    }
}

/// Tells the queues that the socket is in of a look-up that is over.
struct TellsFollowers(Arc<Opening>);

impl Wake for TellsFollowers {
    fn wake(&self) {
        self.0.tell_followers();
    }
}
