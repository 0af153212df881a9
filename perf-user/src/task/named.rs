//! Modules that are but names: what stands for threads that end waits, and for files and sockets.

use std::{collections::HashMap, sync::Arc};

use super::{ModuleId, ModuleKind, module::Module};

/// More than a window can have: each is stored anew when all are forgotten.
const MOST: usize = 65_536;

/// Modules by their names: the same for the same one, as long as there are not too many.
#[derive(Debug, Default)]
pub(super) struct Named {
    known: HashMap<String, Arc<Module>>,
}

impl Named {
    /// The one of this name; a new one has the id after `last`.
    pub(super) fn get(&mut self, last: &mut ModuleId, kind: ModuleKind, name: &str) -> Arc<Module> {
        if let Some(module) = self.known.get(name) {
            return Arc::clone(module);
        }
        if self.known.len() >= MOST {
            self.known.clear();
        }
        last.0 += 1;
        let module = Arc::new(Module::without_file(*last, kind, name, None));
        self.known.insert(name.to_owned(), Arc::clone(&module));
        module
    }
}
