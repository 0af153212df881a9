//! Texts, each kept once.

use std::collections::HashMap;

/// Index into [`Strings`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StringId(pub u32);

/// Interned strings; the empty string is always there, at id 0.
#[derive(Clone, Debug)]
pub struct Strings {
    all: Vec<Box<str>>,
    ids: HashMap<Box<str>, StringId>,
}

impl Default for Strings {
    fn default() -> Self {
        let mut strings = Self { all: Vec::new(), ids: HashMap::new() };
        strings.intern("");
        strings
    }
}

impl Strings {
    /// The id of `text`, which is added when it is new.
    pub fn intern(&mut self, text: &str) -> StringId {
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        let id = StringId(self.all.len() as u32);
        self.all.push(text.into());
        self.ids.insert(text.into(), id);
        id
    }

    /// The text of `id`; the empty string for an id that is not from this table.
    #[must_use]
    pub fn get(&self, id: StringId) -> &str {
        self.all.get(id.0 as usize).map_or("", |text| text)
    }

    /// All strings in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(AsRef::as_ref)
    }
}
