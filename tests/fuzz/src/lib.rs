//! What several fuzz targets share: files to hand over, and what must hold of every output whatever its names are.
#![forbid(unsafe_code)]

mod elf;
mod outputs;
mod scratch;

pub use elf::{CONTENT, elf};
pub use outputs::{check_html, check_one_output, check_svg};
pub use scratch::Scratch;
