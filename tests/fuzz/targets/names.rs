//! Hostile names of everything that has one, through every output.
#![no_main]

use fuzz::check_one_output;
use libfuzzer_sys::fuzz_target;
use perf_user::profile::{
    Accounting, Frame, FrameId, FrameKind, Profile, Recording, Sample, Series, StackId, Thread, ThreadIndex,
    simple_name,
};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    assert!(text.split('\0').all(|name| name.is_empty() || !simple_name(name).is_empty()));
    let mut texts = text.split('\0').map(str::to_owned).cycle();
    let mut next = || texts.next().unwrap_or_default();
    let mut profile = Profile::default();
    profile.recording = Recording {
        host: next(),
        kernel: next(),
        target_label: next(),
        warnings: vec![next()],
        cpus: 2,
        duration_ns: 1_000_000_000,
        ..Recording::default()
    };
    let mut stack = StackId::EMPTY;
    let mut samples = Vec::new();
    for at in 0..8 {
        let (comm, process) = (profile.strings.intern(&next()), profile.strings.intern(&next()));
        profile.threads.push(Thread { tgid: at, tid: at, comm, process });
        let frame = Frame {
            function: profile.strings.intern(&next()),
            module: profile.strings.intern(&next()),
            file: profile.strings.intern(&next()),
            line: at,
            kind: [
                FrameKind::User,
                FrameKind::Inlined,
                FrameKind::Kernel,
                FrameKind::Jit,
                FrameKind::Python,
                FrameKind::Wait,
            ][at as usize % 5],
            symbolized: at % 3 != 0,
            address: u64::from(at),
        };
        profile.frames.push(frame);
        stack = profile.stacks.push(stack, FrameId(at));
        samples.push(Sample { window_ns: 0, thread: ThreadIndex(at), stack, value: u64::from(at) + 1 });
    }
    let total = samples.iter().map(|sample| sample.value).sum();
    let accounting = Accounting { taken: total, reported: total, ..Accounting::default() };
    profile.series.push(Series {
        event: next(),
        unit: next(),
        source: next(),
        period_ns: 10_101_010,
        samples,
        accounting,
        counters: [(next(), 7)].into(),
        unsymbolized: [(next(), 7)].into(),
        ..Series::default()
    });
    check_one_output(&profile, data.len());
});
