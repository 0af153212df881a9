//! The project's chores, one verb a file.

fn main() {}
