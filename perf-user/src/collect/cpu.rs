//! CPU sampling: a perf event on every CPU, the CPU's cycles where it counts them, else the kernel's clock.

use aya::{
    Ebpf, EbpfLoader,
    programs::perf_event::{HardwareEvent, PerfEventConfig, SamplePolicy, SoftwareEvent},
};
use perf_ebpf::{cpu::CpuValue, sample::Key};
use zerocopy::FromBytes as _;

use super::{
    AttachError, Collector, RawSample, ValueType,
    links::{CpuLinks, load_perf},
    session::{Unwind, can_walk},
};
use crate::host::{Host, Unsupported, sys};

/// What makes the CPUs take samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The hardware's cycle counter: also sees code that runs with interrupts off.
    Cycles,
    /// The kernel's high-resolution timer: every CPU has it.
    CpuClock,
}

impl Clock {
    /// The best this machine has, which has this CPU online. Cycles only where the machine tells how many make a second:
    /// 64-bit Arm without frequency scaling does not.
    #[must_use]
    pub fn best(cpu: u32) -> Self {
        const PERF_TYPE_HARDWARE: u32 = 0;
        if cycles_per_second(cpu).is_none() {
            return Self::CpuClock;
        }
        // Disabled, so that the probe samples nothing.
        let attr = sys::PerfEventAttr { kind: PERF_TYPE_HARDWARE, flags: 1, ..Default::default() };
        if sys::perf_event_open(attr, cpu).is_ok() { Self::Cycles } else { Self::CpuClock }
    }

    /// Its name, as perf calls the event.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cycles => "cycles",
            Self::CpuClock => "cpu-clock",
        }
    }

    /// The event of a CPU that takes so many samples a second.
    fn event(self, cpu: u32, frequency_hz: u64) -> (PerfEventConfig, SamplePolicy) {
        match self {
            // A fixed number of cycles: adapting it to the frequency, as the kernel can, would give a thread on a quiet CPU
            // more samples for the same work than one on a busy CPU.
            Self::Cycles => (
                PerfEventConfig::Hardware(HardwareEvent::CpuCycles),
                SamplePolicy::Period(cycles_per_second(cpu).unwrap_or(FALLBACK_HZ) / frequency_hz.max(1)),
            ),
            Self::CpuClock => {
                (PerfEventConfig::Software(SoftwareEvent::CpuClock), SamplePolicy::Period(period_ns(frequency_hz)))
            }
        }
    }
}

/// The CPU sampler.
#[derive(Debug)]
pub struct CpuCollector {
    frequency_hz: u64,
    clock: Clock,
    entries: u32,
    /// The program that was loaded.
    program: &'static str,
    links: CpuLinks,
}

/// The program's name in the object, and that of the one that walks user stacks by tables and reads Python frames.
const PROGRAM: &str = "cpu_sample";
const WALKING: &str = "cpu_sample_walk";

/// Where the kernel tells the frequency above which it refuses to sample.
const MAX_FREQUENCY_PATH: &str = "/proc/sys/kernel/perf_event_max_sample_rate";

/// The highest frequency the kernel samples at; `None` when it does not tell.
#[must_use]
pub fn max_frequency() -> Option<u64> {
    std::fs::read_to_string(MAX_FREQUENCY_PATH).ok()?.trim().parse().ok()
}

impl CpuCollector {
    /// Samples `frequency_hz` times a second; the maps hold `entries` distinct records a window.
    #[must_use]
    pub fn new(frequency_hz: u64, clock: Clock, entries: u32) -> Self {
        Self { frequency_hz, clock, entries, program: PROGRAM, links: CpuLinks::default() }
    }

    /// The same, not loaded yet.
    #[must_use]
    pub fn afresh(&self) -> Self {
        Self::new(self.frequency_hz, self.clock, self.entries)
    }

    /// What drives it.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Samples a second of a CPU that is busy, at its highest frequency.
    #[must_use]
    pub fn frequency_hz(&self) -> u64 {
        self.frequency_hz
    }

    /// What a sample stands for in nanoseconds of CPU time; 0 for cycles, which take the time the CPU's frequency gives
    /// them.
    #[must_use]
    pub fn period_ns(&self) -> u64 {
        match self.clock {
            Clock::Cycles => 0,
            Clock::CpuClock => period_ns(self.frequency_hz),
        }
    }
}

/// Nanoseconds between samples.
fn period_ns(frequency_hz: u64) -> u64 {
    1_000_000_000 / frequency_hz.max(1)
}

/// What a CPU is taken to run at whose frequency is not told, when others' is.
const FALLBACK_HZ: u64 = 3_000_000_000;

/// How fast the CPU can count cycles: its highest frequency, else the one it has now; `None` when the machine tells neither.
fn cycles_per_second(cpu: u32) -> Option<u64> {
    let highest = std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq"));
    let highest_khz = highest.ok().and_then(|text| text.trim().parse::<u64>().ok());
    let now_mhz = || {
        let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
        let line = text.lines().find(|line| line.starts_with("cpu MHz"))?;
        line.rsplit_once(':')?.1.trim().parse::<f64>().ok()
    };
    highest_khz.map(|khz| khz * 1_000).or_else(|| Some((now_mhz()? * 1e6) as u64)).filter(|hz| *hz > 0)
}

impl Collector for CpuCollector {
    fn name(&self) -> &'static str {
        super::EventKind::Cpu.name()
    }

    fn value(&self) -> ValueType {
        ValueType { name: "cpu", unit: "samples" }
    }

    fn check(&self, _host: &Host) -> Result<(), Unsupported> {
        match max_frequency() {
            Some(limit) if self.frequency_hz > limit => Err(Unsupported::new(
                format!("sampling at {} Hz", self.frequency_hz),
                format!("the kernel allows {limit} Hz at most"),
                format!(
                    "lower --frequency, or raise the limit: sysctl kernel.perf_event_max_sample_rate={}",
                    self.frequency_hz
                ),
            )),
            _ => Ok(()),
        }
    }

    fn load(&mut self, bpf: &mut Ebpf, host: &Host, unwind: Unwind, python: bool) -> Result<(), AttachError> {
        self.program = match unwind {
            Unwind::FramePointers if python => WALKING,
            Unwind::FramePointers => PROGRAM,
            Unwind::Tables { .. } => {
                can_walk(host)?;
                WALKING
            }
        };
        load_perf(bpf, self.program)
    }

    fn configure<'loader>(&'loader self, loader: &mut EbpfLoader<'loader>) {
        for map in ["CPU_COUNTS_0", "CPU_COUNTS_1"] {
            loader.map_max_entries(map, self.entries);
        }
    }

    fn attach(&mut self, bpf: &mut Ebpf, host: &Host) -> Result<(), AttachError> {
        let Self { program, clock, frequency_hz, links, .. } = self;
        links.attach(&host.cpus, |links, cpu| links.add(bpf, program, cpu, clock.event(cpu, *frequency_hz)))
    }

    fn follow_cpus(&mut self, bpf: &mut Ebpf, stayed: &[u32], online: &[u32]) -> Result<Vec<u32>, AttachError> {
        let Self { program, clock, frequency_hz, links, .. } = self;
        links.follow(stayed, online, |links, cpu| links.add(bpf, program, cpu, clock.event(cpu, *frequency_hz)))
    }

    fn detach(&mut self) {
        self.links.detach();
    }

    fn decode(&self, key: &[u8], value: &[u8]) -> Option<RawSample> {
        let (key, value) = (Key::read_from_bytes(key).ok()?, CpuValue::read_from_bytes(value).ok()?);
        Some(RawSample::of(&key, None, value.count, value.first_ns))
    }
}
