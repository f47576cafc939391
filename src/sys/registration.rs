//! A socket in a poll, and what the poll still watches it for.

use std::io;

use mio::{Registry, Token};

use super::{BorrowedSocket, PollSource, REPORTS_ONCE};
use crate::events::WaitEvents;

/// A socket's registration in one `mio::Poll`.
///
/// Where mio [`REPORTS_ONCE`], reported events are not watched any more: [`note_report`](Registration::note_report)
/// records that, and the next [`watch`](Registration::watch) asks for them again. Elsewhere they are watched for ever,
/// and `watch` makes a system call only if other events are wanted.
///
/// It doesn't keep the socket open.
#[derive(Debug)]
pub(crate) struct Registration {
    source: PollSource,
    /// The events that the poll watches for. None before the first `watch`.
    watched: Option<WaitEvents>,
}

impl Registration {
    pub(crate) fn new(socket: BorrowedSocket<'_>) -> Registration {
        Registration {
            source: PollSource::new(socket),
            watched: None,
        }
    }

    /// Makes the poll watch for just these events, if it doesn't yet. What is ready at that moment is then reported
    /// again.
    #[inline]
    pub(crate) fn watch(&mut self, registry: &Registry, token: Token, events: WaitEvents) -> io::Result<()> {
        if self.watched == Some(events) {
            return Ok(());
        }
        self.watch_anew(registry, token, events)
    }

    fn watch_anew(&mut self, registry: &Registry, token: Token, events: WaitEvents) -> io::Result<()> {
        match self.watched {
            Some(_) => self.source.reregister(registry, token, events)?,
            None => self.source.register(registry, token, events)?,
        }
        self.watched = Some(events);
        Ok(())
    }

    /// Records that the poll has reported `reported`.
    #[inline]
    pub(crate) fn note_report(&mut self, reported: WaitEvents) {
        if REPORTS_ONCE && let Some(watched) = &mut self.watched {
            *watched -= reported;
        }
    }

    /// The events that the poll watches for.
    pub(crate) fn watched(&self) -> WaitEvents {
        self.watched.unwrap_or_default()
    }

    /// Takes the socket out of the poll. To be called with the socket open.
    pub(crate) fn deregister(mut self, registry: &Registry) -> io::Result<()> {
        self.source.deregister(registry)
    }
}
