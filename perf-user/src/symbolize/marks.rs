//! Symbols that name nothing: on Arm, assemblers mark where code and data begin (ELF for the Arm 64-bit Architecture, 5.5.2).

/// Whether it is `$x` (code) or `$d` (data), alone or with something after a dot.
pub(super) fn is_mark(symbol: &str) -> bool {
    let rest = symbol.strip_prefix("$x").or_else(|| symbol.strip_prefix("$d"));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::is_mark;

    #[test]
    fn marks_and_functions() {
        assert!(["$x", "$d", "$x.12", "$d.realdata"].into_iter().all(is_mark));
        assert!(!["$xor", "x", "$", "$t.draw", ""].into_iter().any(is_mark));
    }
}
