//! One file a format: `fn(&Profile, &mut dyn Write)`.
