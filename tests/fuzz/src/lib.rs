//! What several fuzz targets share: a file to hand over, and what must hold of every output whatever its names are.
#![forbid(unsafe_code)]

mod outputs;
mod scratch;

pub use outputs::{check_html, check_one_output, check_svg};
pub use scratch::Scratch;
