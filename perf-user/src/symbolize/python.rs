//! Names of places in Python code: the code object tells all of them.

use super::{Function, Named, Unnamed, made_up};
use crate::task::Module;

pub(super) fn name(module: &Module, offsets: &[u64]) -> Vec<Named> {
    let Some(code) = &module.code else { return made_up(module, offsets, Unnamed::PythonUnread) };
    let function = |offset: &u64| Function {
        name: code.name.clone(),
        file: code.file.clone(),
        line: code.line(*offset).unwrap_or(0),
    };
    offsets.iter().map(|offset| Named { functions: vec![function(offset)], unnamed: None }).collect()
}
