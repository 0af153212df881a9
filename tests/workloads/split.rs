//! split [SECONDS] [THREADS]: 70, 20 and 10 % of the CPU time in hot::take_seventy, hot::take_twenty and
//! <hot::Tenth as hot::Share>::take, in the main thread or in THREADS threads named `rusty-N`.

use std::io::Write;
use std::time::{Duration, Instant};

mod hot {
    use std::hint::black_box;

    /// A constant number of dependent steps: the same work wherever it is called from.
    #[inline(never)]
    pub fn spin_unit() {
        let mut step = 0u32;
        while step < 20_000 {
            step = black_box(step) + 1;
        }
    }

    #[inline(never)]
    pub fn take_seventy() {
        spin_unit();
        black_box(());
    }

    #[inline(never)]
    pub fn take_twenty() {
        spin_unit();
        // Differs from take_seventy, so that the two are not merged into one function.
        black_box(20u8);
    }

    pub trait Share {
        fn take(&self);
    }

    pub struct Tenth;

    impl Share for Tenth {
        #[inline(never)]
        fn take(&self) {
            spin_unit();
            black_box(self);
        }
    }
}

/// One round of ten units in shuffled order, so that no sampling period can fall into step with it.
fn split_round(seed: &mut u32) {
    use hot::Share;
    let mut deck = [7u8, 7, 7, 7, 7, 7, 7, 2, 2, 1];
    for left in (1..=deck.len()).rev() {
        *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let drawn = (*seed >> 16) as usize % left;
        match deck[drawn] {
            7 => hot::take_seventy(),
            2 => hot::take_twenty(),
            _ => hot::Tenth.take(),
        }
        deck[drawn] = deck[left - 1];
    }
}

fn split_until(deadline: Instant, mut seed: u32) {
    while Instant::now() < deadline {
        split_round(&mut seed);
    }
}

fn main() {
    let arguments: Vec<f64> = std::env::args().skip(1).map(|text| text.parse().expect("a number")).collect();
    let seconds = arguments.first().copied().filter(|seconds| *seconds > 0.0).unwrap_or(120.0);
    let threads = arguments.get(1).map_or(0, |count| *count as u32);
    let deadline = Instant::now() + Duration::from_secs_f64(seconds);
    if let Some(path) = std::env::var_os("WORKLOAD_LOG") {
        let mut log = std::fs::OpenOptions::new().append(true).create(true).open(path).expect("the log");
        writeln!(log, "ready {}", std::process::id()).expect("the log");
    }
    if threads == 0 {
        split_until(deadline, 1);
        return;
    }
    std::thread::scope(|scope| {
        for index in 0..threads {
            let builder = std::thread::Builder::new().name(format!("rusty-{index}"));
            builder.spawn_scoped(scope, move || split_until(deadline, index)).expect("a thread");
        }
    });
}
