//! What the pages of the documentation say of this repository.
//!
//! - `promises`: each test that is named for a promise exists.

mod promises;
