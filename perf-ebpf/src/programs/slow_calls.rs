//! The slowest system calls of each CPU in a window, with what their arguments led to.

use aya_ebpf::{
    helpers::{bpf_probe_read_user_str_bytes, generated::bpf_probe_read_user},
    macros::map,
    maps::{Array, PerCpuArray},
};
use core::ffi::c_void;
use perf_ebpf::calls::{OpenCall, SLOWEST, SlowCall, SlowLengths, TEXT_BYTES, TEXT_BYTES_OF, TEXT_PATH, TEXT_TIME};

use super::{call_arguments::arguments, slowest, target::read_comm};

/// What to keep of the arguments of each call: [`perf_ebpf::calls::Text`]; 0 for nothing.
#[map]
static CALL_TEXTS: Array<u32> = Array::with_max_entries(1, 0);

/// Those of one generation, then those of the other.
#[map]
static SLOW_CALLS: PerCpuArray<SlowCall> = PerCpuArray::with_max_entries(2 * SLOWEST as u32, 0);

/// One entry a generation.
#[map]
static SLOW_LENGTHS: PerCpuArray<SlowLengths> = PerCpuArray::with_max_entries(2, 0);

/// Keeps a call if it is one of the slowest so far.
#[inline(always)]
pub(super) fn keep_slow(
    open: &OpenCall,
    tid: u32,
    registers: *const c_void,
    result: i64,
    length_ns: u64,
    generation: u32,
) {
    let Some(lengths) = SLOW_LENGTHS.get_ptr_mut(generation) else { return };
    // SAFETY: this CPU's.
    let lengths = unsafe { &mut *lengths };
    let Some(at) = slowest::place(lengths, length_ns) else { return };
    let Some(slow) = SLOW_CALLS.get_ptr_mut(generation * SLOWEST as u32 + at as u32) else { return };
    // SAFETY: this CPU's.
    let slow = unsafe { &mut *slow };
    (slow.start_ns, slow.length_ns, slow.result) = (open.start_ns, length_ns, result);
    (slow.tgid, slow.tid, slow.call) = (open.tgid, tid, open.call);
    read_comm(&mut slow.comm);
    slow.text_bytes = 0;
    slow.arguments = [0; 8];
    if let Some([a, b, c, d, e, f]) = arguments(registers) {
        slow.arguments = [a, b, c, d, e, f, 0, 0];
        read_text(slow);
    }
    slowest::put(lengths, at, length_ns);
}

/// Reads what an argument leads to. What other threads have written there since the call began is read instead.
#[inline(always)]
fn read_text(slow: &mut SlowCall) {
    let word = CALL_TEXTS.get(slow.call).map_or(0, |word| *word);
    if word == 0 {
        return;
    }
    let argument = |shift: u32| slow.arguments[(word >> shift) as usize & 7];
    let from = argument(8) as *const u8;
    let kind = word & 0xff;
    if kind == TEXT_PATH {
        // SAFETY: reads user memory through the helper, which fails rather than faults.
        if let Ok(path) = unsafe { bpf_probe_read_user_str_bytes(from, &mut slow.text) } {
            slow.text_bytes = path.len() as u32 + 1;
        }
        return;
    }
    let bytes = match kind {
        TEXT_BYTES_OF => argument(16) as u32 & (TEXT_BYTES as u32 - 1),
        TEXT_TIME => 16,
        _ => return,
    };
    // SAFETY: as above; the text has room for so many bytes.
    if from.is_null() || unsafe { bpf_probe_read_user(slow.text.as_mut_ptr().cast(), bytes, from.cast()) } != 0 {
        return;
    }
    slow.text_bytes = bytes;
}
