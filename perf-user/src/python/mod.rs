//! CPython as perfprobe knows it: its interpreters in files, its code objects, and its frames among native ones.

mod code;
mod interpreter;
mod layout;
mod merge;
pub mod outside;

pub use code::Code;
pub use interpreter::{Interpreter, NoInterpreter, may_be_interpreter};
pub use merge::{Group, groups, merge};
