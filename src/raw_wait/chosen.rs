//! The raw wait that a socket uses.

use std::sync::Arc;

use super::{MioWait, RawWait};

/// The program's choice; none for [`MioWait`], which most sockets use and need not count references to.
#[derive(Clone, Default)]
pub(crate) struct Chosen(Option<Arc<dyn RawWait>>);

impl Chosen {
    pub(crate) fn new(raw_wait: Arc<dyn RawWait>) -> Chosen {
        Chosen(Some(raw_wait))
    }

    pub(crate) fn get(&self) -> &dyn RawWait {
        match &self.0 {
            Some(raw_wait) => &**raw_wait,
            None => &MioWait::DEFAULT,
        }
    }
}
