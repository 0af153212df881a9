//! What differs between the processors that guests have.

use crate::arch::Arch;

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
    /// Its processors.
    pub(crate) cpu: &'static str,
    /// The device of a serial port that the machine does not have of its own, after the first; `None` if it has all.
    pub(crate) port_device: Option<&'static str>,
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
    cpu: "max",
    port_device: None,
    ports: Ports { console: "ttyS0", output: "ttyS1", result: "ttyS2" },
    // Else 6.1 falls back to a clock so slow that it shows in every profile.
    parameters: "tsc=reliable mitigations=off",
};

/// QEMU's machine without a model in hardware.
const AARCH64: Architecture = Architecture {
    debian: "arm64",
    flavour: "-cloud-arm64",
    qemu: "qemu-system-aarch64",
    qemu_package: "qemu-system-arm",
    machine: "virt",
    // Signing return addresses as the hardware does takes most of an emulator's time.
    cpu: "max,pauth-impdef=on",
    port_device: Some("pci-serial"),
    ports: Ports { console: "ttyAMA0", output: "ttyS0", result: "ttyS1" },
    parameters: "mitigations=off",
};

impl Architecture {
    /// Of this kind.
    pub(crate) fn of(arch: Arch) -> &'static Self {
        match arch {
            Arch::X86_64 => &X86_64,
            Arch::Aarch64 => &AARCH64,
        }
    }
}
