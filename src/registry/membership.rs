//! What belongs to a registry, and for how long.

use std::sync::Arc;

use super::{ShutdownLevel, ShutdownRegistry};
use crate::wake::KeyCell;

/// What a registry can end.
pub(crate) trait Member: Send + Sync {
    /// Tells the member that the registry has been raised to `level`. Async-signal-safe, but for errno.
    fn raised(&self, level: ShutdownLevel);

    /// Lets go of clients that were waiting for the member, and that nobody is to get any more, and has them
    /// [counted](ShutdownRegistry::clients_turned_away). Not for signal handlers.
    fn let_go(&self) {}
}

/// What has ended a socket or a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndedBy {
    Owner,
    Registry,
}

/// A member's place in its registry. Dropping it leaves the registry, as [`leave`](Membership::leave) does.
pub(crate) struct Membership {
    registry: ShutdownRegistry,
    key: KeyCell<Arc<dyn Member>>,
}

impl Membership {
    pub(crate) fn registry(&self) -> &ShutdownRegistry {
        &self.registry
    }

    /// Takes the member out of the registry, and returns when no walk can be calling it any more.
    ///
    /// Not for signal handlers, nor for [`Member::raised`]: it would wait for itself.
    pub(crate) fn leave(&self) {
        if let Some(key) = self.key.take() {
            drop(self.registry.inner().members.remove(key));
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.leave();
    }
}

impl ShutdownRegistry {
    /// Puts `member` where `raise` finds it. The caller then has to ask [`refuses`](ShutdownRegistry::refuses): either
    /// `raise` sees the member, or the caller sees the new level.
    pub(crate) fn join(&self, member: Arc<dyn Member>) -> Membership {
        Membership {
            registry: self.clone(),
            key: KeyCell::new(self.inner().members.insert(member)),
        }
    }

    /// Whether a socket of this kind can't be opened any more.
    pub(crate) fn refuses(&self, listener: bool) -> bool {
        self.is_shutdown() || listener && self.is_stopping()
    }
}
