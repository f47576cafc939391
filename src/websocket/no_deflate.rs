//! What stands for compression where the crate is built without it: there is none.

use super::fault::Fault;
use crate::error::Result;

#[derive(Debug)]
pub(super) enum Inflater {}

#[derive(Debug)]
pub(super) enum Deflater {}

/// See the inflater of the feature `websocket-deflate`.
impl Inflater {
    pub(super) fn inflate(&mut self, _bytes: &[u8], _out: &mut Vec<u8>, _limit: usize) -> Result<(), Fault> {
        match *self {}
    }

    pub(super) fn finish(&mut self, _out: &mut Vec<u8>, _limit: usize) -> Result<(), Fault> {
        match *self {}
    }
}

/// See the deflater of the feature `websocket-deflate`.
impl Deflater {
    pub(super) fn wants(&self, _beginning: &[u8], _is_all: bool) -> bool {
        match *self {}
    }

    pub(super) fn deflate(&mut self, _bytes: &[u8], _is_last: bool) -> Result<Vec<u8>> {
        match *self {}
    }
}
