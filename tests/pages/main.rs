//! What the pages of the documentation say of this repository.
//!
//! - `ladder`: modules import only from below, as the page of the architecture has them.
//! - `promises`: each test that is named for a promise exists.

mod ladder;
mod promises;
