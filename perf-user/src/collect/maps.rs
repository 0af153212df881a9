//! The sizes of maps, what user space puts into them, and what programs are told of the kernel.

use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, MapData},
};

use super::AttachError;
use crate::host::block::Offset;

/// How many entries maps are to have so that tests can see what happens when they are full.
#[must_use]
pub fn entries_for_tests() -> Option<u32> {
    std::env::var("PERFPROBE_TEST_MAP_ENTRIES").ok()?.parse().ok()
}

/// Sets how many entries maps have, before the object is loaded; tests may want fewer.
pub(super) fn size(loader: &mut EbpfLoader<'_>, maps: impl IntoIterator<Item = (&'static str, u32)>) {
    let most = entries_for_tests().unwrap_or(u32::MAX);
    for (map, entries) in maps {
        loader.map_max_entries(map, entries.min(most));
    }
}

/// Tells programs where the running kernel keeps things, before the object is loaded.
pub(super) fn tell<'globals>(loader: &mut EbpfLoader<'globals>, offsets: &'globals [Offset]) {
    for (name, offset) in offsets {
        loader.override_global(name, offset, true);
    }
}

/// Puts words into an array, each at its place.
pub(super) fn fill<W: Pod>(
    bpf: &mut Ebpf,
    name: &'static str,
    words: impl Iterator<Item = (u32, W)>,
) -> Result<(), AttachError> {
    let wrong = |source| AttachError::Map { map: name, source };
    let map = bpf.map_mut(name).ok_or(AttachError::Missing(name))?;
    let mut array: Array<&mut MapData, W> = map.try_into().map_err(wrong)?;
    for (at, word) in words {
        array.set(at, word, 0).map_err(wrong)?;
    }
    Ok(())
}
