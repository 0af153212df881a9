//! From the names of symbols to those in the source.

/// The name of a function of Rust or C++ as its source has it; of others as it is.
#[must_use]
pub(crate) fn demangled(name: &str) -> String {
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        return format!("{rust:#}");
    }
    // What does not begin like this can be read as the name of a type all the same: `f` is a float.
    let is_mangled = ["_Z", "__Z", "_GLOBAL_"].iter().any(|beginning| name.starts_with(beginning));
    let symbol = is_mangled.then(|| cpp_demangle::Symbol::new(name).ok()).flatten();
    symbol.and_then(|symbol| symbol.demangle().ok()).unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_mangled_is_demangled() {
        for (name, told) in [
            ("_ZN3std2io5stdio6_print17h0123456789abcdefE", "std::io::stdio::_print"),
            ("_RNvC6_123foo3bar", "123foo::bar"),
            ("_ZNSt6vectorIiSaIiEE9push_backERKi", "std::vector<int, std::allocator<int> >::push_back(int const&)"),
            ("main", "main"),
            ("_Zonk", "_Zonk"),
        ] {
            assert_eq!(demangled(name), told);
        }
        for name in ["f", "w", "h", "rd", "i", "x", "Dn", "Ss"] {
            assert_eq!(demangled(name), name, "of C");
        }
    }
}
