//! The part of a session by which the kernel half tells single events.

use aya::maps::{MapData, RingBuf};

use super::Session;
use crate::collect::{AttachError, entries_for_tests};

/// Bytes of the ring: some 45,000 events between two looks.
const RING_BYTES: u32 = 1 << 22;

/// The same for tests that want it full.
const TINY_BYTES: u32 = 1 << 12;

/// How large the ring is to be.
pub(in crate::collect) fn ring_bytes() -> u32 {
    entries_for_tests().map_or(RING_BYTES, |_| TINY_BYTES)
}

impl Session {
    /// The ring of events; `None` if none are told.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn take_timeline_ring(&mut self) -> Result<Option<RingBuf<MapData>>, AttachError> {
        const RING: &str = "TIMELINE";
        if self.options.timeline_min_ns.is_none() {
            return Ok(None);
        }
        let map = self.bpf.take_map(RING).ok_or(AttachError::Missing(RING))?;
        map.try_into().map(Some).map_err(|source| AttachError::Map { map: RING, source })
    }
}
