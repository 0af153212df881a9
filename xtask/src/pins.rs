//! The versions of what perfprobe is built, packed and compared with: the one place to change when they move.

/// The compiler's commit: what makes two nightlies the same compiler, whatever the toolchain is called.
pub(crate) const NIGHTLY_COMMIT: &str = "e50aa6fba4e63ab34c72bf9acfd2c307c1155d1a";
/// What `rustc --version` says for that commit.
pub(crate) const NIGHTLY_VERSION: &str = "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)";
/// The toolchain's name at the distributor: the day after the commit.
pub(crate) const NIGHTLY_TOOLCHAIN: &str = "nightly-2026-05-20";
/// The linker that turns rustc's bitcode into a BPF object.
pub(crate) const BPF_LINKER: &str = "0.13.0";
/// The LLVM both the nightly and the linker speak. The linker must be able to read the compiler's bitcode.
pub(crate) const LLVM_MAJOR: u32 = 22;
/// `llvm-sys` names its prefix variable after its own version.
pub(crate) const LLVM_SYS_PREFIX: &str = "LLVM_SYS_221_PREFIX";
/// What building `bpf-linker` against the distribution's LLVM needs.
pub(crate) const LLVM_PACKAGES: &[&str] = &["llvm-22-dev", "libzstd-dev", "zlib1g-dev", "g++"];

/// The other side of the benchmark, as published.
pub(crate) const INFERNO: &str = "0.12.8";
/// The closest peer: an eBPF profiler on aya.
pub(crate) const PROFILE_BEE: &str = "0.3.13";

/// Cargo, with zig's compiler and linker for the C parts and the C library of static binaries; from PyPI.
pub(crate) const CARGO_ZIGBUILD: &str = "0.24.0";
/// The zig it uses; from PyPI.
pub(crate) const ZIG: &str = "0.17.0";
/// Makes Debian packages.
pub(crate) const CARGO_DEB: &str = "3.8.0";
/// Makes RPM packages.
pub(crate) const CARGO_GENERATE_RPM: &str = "0.21.1";
/// Writes the bill of materials.
pub(crate) const CARGO_SBOM: &str = "0.10.0";
/// Builds the fuzz targets.
pub(crate) const CARGO_FUZZ: &str = "0.13.2";
/// Checks licences, sources and advisories.
pub(crate) const CARGO_DENY: &str = "0.20.2";
