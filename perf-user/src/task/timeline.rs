//! Single events, whose places have a meaning.

use super::LocatedSample;
use crate::{collect::EventKind, drain::Moment};

/// Single events of a window.
#[derive(Debug, Default)]
pub struct LocatedTimeline {
    /// What happened, each once. Their values mean nothing.
    pub places: Vec<(EventKind, LocatedSample)>,
    /// When it happened; all have a place.
    pub events: Vec<Moment>,
    /// What became of the events.
    pub taken: u64,
    /// Losses by cause.
    pub lost: Vec<(&'static str, u64)>,
}

impl LocatedTimeline {
    /// How many records its events are of.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.events.iter().filter(|event| event.is_record).count() as u64
    }
}
