//! Stacks in, pictures out: flame graphs as SVG and as self-contained HTML pages.
//!
//! The crate knows nothing of eBPF or of how the stacks were gathered. A stack is a list of labels, outermost first;
//! the suffix of a label tells what kind of code it is (see [`Kind`]).
//!
//! The layout and most of the script in the pictures come from the `inferno` library, which is under the
//! Common Development and Distribution License 1.0 (CDDL-1.0), as is the script that every picture carries.
#![forbid(unsafe_code)]

mod colour;
mod heat;
mod label;
mod latency;
mod page;
mod picture;
mod script;

pub use colour::Kind;
pub use heat::{Event, HeatMap, Tree, heat_map};
pub use latency::{LatencyCell, LatencyMap, LatencyMaps, latency_maps};
pub use page::{Column, Page, Section, html};
pub use picture::{Picture, Stacks, svg};

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The layout failed.
    #[error("cannot lay out the flame graph: {0}")]
    Layout(std::io::Error),
    /// The library wrote something else than what this crate amends; only another version of inferno can cause it.
    #[error(
        "cannot amend the flame graph: inferno's output has no `{0}`; build with the version of inferno in Cargo.toml"
    )]
    Unexpected(&'static str),
    /// The picture could not be written where it should go.
    #[error("cannot write the flame graph: {0}")]
    Write(#[from] std::io::Error),
}
