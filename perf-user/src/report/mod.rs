//! `&Profile` to a struct that is `Display` and `Serialize`.
