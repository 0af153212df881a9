//! What differs between the processors that guests have.

use anyhow::{Result, bail};

/// A kind of processor that QEMU emulates and Debian has kernels for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Architecture {
    /// Debian's name for it.
    pub(crate) debian: &'static str,
    /// The end of the names of its kernels: the smallest that has all a guest needs.
    pub(crate) flavour: &'static str,
    /// QEMU's program for it.
    pub(crate) qemu: &'static str,
    /// The package with that program.
    pub(crate) qemu_package: &'static str,
    /// The machine QEMU emulates.
    pub(crate) machine: &'static str,
    /// Serial ports, by the names of their devices in the guest.
    pub(crate) ports: Ports,
    /// Kernel parameters every guest of this kind needs.
    pub(crate) parameters: &'static str,
}

/// What each serial port is for, in the order QEMU is told of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    /// The kernel's messages.
    pub(crate) console: &'static str,
    /// The command's input and output. It shares no interrupt with the console, as the third port of a PC does.
    pub(crate) output: &'static str,
    /// The command's exit code.
    pub(crate) result: &'static str,
}

/// A PC.
const X86_64: Architecture = Architecture {
    debian: "amd64",
    flavour: "-cloud-amd64",
    qemu: "qemu-system-x86_64",
    qemu_package: "qemu-system-x86",
    machine: "q35",
    ports: Ports { console: "ttyS0", output: "ttyS1", result: "ttyS2" },
    // Else 6.1 falls back to a clock so slow that it shows in every profile.
    parameters: "tsc=reliable mitigations=off",
};

impl Architecture {
    /// The machine's own.
    pub(crate) fn of_machine() -> Result<&'static Self> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(&X86_64),
            other => bail!("guests are x86_64 only, and share the programs of the machine, which is {other}"),
        }
    }
}
