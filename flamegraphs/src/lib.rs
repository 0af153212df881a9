//! Stacks in, pictures out.
