//! Short forms of function names: without arguments, with `<…>` for template arguments, without what compilers append.

use super::{FrameKind, Profile};

impl Profile {
    /// Gives functions of programs and libraries their short names; those that have the same become one.
    pub fn simplify_names(&mut self) {
        let Self { frames, strings, .. } = self;
        for frame in frames {
            if frame.symbolized && matches!(frame.kind, FrameKind::User | FrameKind::Inlined) {
                let name = simple_name(strings.get(frame.function));
                frame.function = strings.intern(&name);
            }
        }
    }
}

/// The short form of a demangled name of C, C++, Rust or Go; what cannot be made out stays as it is.
#[must_use]
pub fn simple_name(name: &str) -> String {
    let simple = Simplifier::default().simplify(without_suffix(name), 0).unwrap_or_default();
    if simple.is_empty() { name.to_owned() } else { simple }
}

/// Deeper than that nobody looks.
const MAX_DEPTH: usize = 8;

const LEFT_OUT: char = '…';

/// Without the hash of Rust, and without what tells apart the parts and copies that a compiler makes of a function.
fn without_suffix(mut name: &str) -> &str {
    loop {
        let shorter = [without_clone, without_copy, without_hash].into_iter().find_map(|rule| rule(name));
        match shorter {
            Some(shorter) if !shorter.is_empty() => name = shorter,
            _ => return name,
        }
    }
}

/// `f(int) [clone .isra.0]`, as the demangler writes it.
fn without_clone(name: &str) -> Option<&str> {
    let inside = name.strip_suffix(']')?;
    let at = inside.rfind(" [clone ")?;
    (!inside[at + 2..].contains(['[', ']'])).then(|| &name[..at])
}

/// `f.isra.0`, `f.cold`.
fn without_copy(name: &str) -> Option<&str> {
    let (head, number) = name.rsplit_once('.')?;
    if number == "cold" {
        return Some(head);
    }
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let kinds = [".isra", ".constprop", ".part", ".llvm", ".lto_priv"];
    kinds.into_iter().filter(|_| is_number).find_map(|kind| head.strip_suffix(kind))
}

/// `f::h0123456789abcdef`
fn without_hash(name: &str) -> Option<&str> {
    let (head, tail) = name.split_at_checked(name.len().checked_sub("::h".len() + 16)?)?;
    tail.strip_prefix("::h")?.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(head)
}

/// The output so far of a name, or of a part of it in brackets.
#[derive(Default)]
struct Simplifier {
    out: String,
    /// Where in `out` the name begins, after the type that the function returns.
    start: usize,
    /// Whether arguments were left out: only then can a type stand before the name.
    had_arguments: bool,
    /// Whether spaces belong to the name, as in `operator new`.
    in_operator: bool,
}

impl Simplifier {
    /// `None` when brackets do not match.
    fn simplify(mut self, text: &str, depth: usize) -> Option<String> {
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            rest = if is_operator(rest) && !self.ends_in_word() {
                self.operator(rest)
            } else if matches!(next, '<' | '(' | '[' | '{') {
                let inside = inside(rest)?;
                let after = &rest[inside.len() + 2..];
                self.brackets(next, inside, depth)?;
                if next == '(' { without_qualifiers(after) } else { after }
            } else {
                if next == ' ' && !self.in_operator {
                    self.start = self.out.len() + 1;
                }
                if next == ':' {
                    self.in_operator = false;
                }
                self.out.push(next);
                &rest[next.len_utf8()..]
            };
        }
        let is_name = depth == 0 && self.had_arguments && self.start < self.out.len();
        Some(if is_name { self.out.split_off(self.start) } else { self.out })
    }

    /// Takes `operator` and the signs or the blank behind it; gives what follows.
    fn operator<'a>(&mut self, text: &'a str) -> &'a str {
        let signs = &text[OPERATOR.len()..];
        let bytes = match signs.find(|c: char| !"<>=!+-*/%^&|~,".contains(c)).unwrap_or(signs.len()) {
            0 if signs.starts_with("()") || signs.starts_with("[]") => 2,
            bytes => bytes,
        };
        let after = &signs[bytes..];
        self.out += &text[..OPERATOR.len() + bytes];
        self.in_operator = true;
        // The demangler writes a blank between `operator<` and template arguments.
        if bytes > 0 { after.strip_prefix(' ').filter(|after| after.starts_with('<')).unwrap_or(after) } else { after }
    }

    /// Takes brackets with what is inside of them.
    fn brackets(&mut self, bracket: char, inside: &str, depth: usize) -> Option<()> {
        let follows_name = self.ends_in_word() || self.out.ends_with(['>', '}', ']']) || self.in_operator;
        match bracket {
            '(' if follows_name => {
                self.had_arguments = true;
                self.in_operator = false;
                return Some(());
            }
            '<' if follows_name => self.wrap('<', LEFT_OUT.encode_utf8(&mut [0; 4])),
            '[' if follows_name && is_tag(inside) => {}
            '[' => self.wrap('[', inside),
            _ => {
                let simple =
                    if depth < MAX_DEPTH { Self::default().simplify(inside, depth + 1)? } else { LEFT_OUT.to_string() };
                // `f::<T>`, unlike `f::<impl Trait for T>::g`.
                let arguments = bracket == '<' && !simple.contains(" as ") && !simple.starts_with("impl ");
                if let Some(path) = self.out.strip_suffix("::").filter(|_| arguments) {
                    self.out.truncate(path.len());
                    self.wrap('<', LEFT_OUT.encode_utf8(&mut [0; 4]));
                } else {
                    self.wrap(bracket, &simple);
                }
            }
        }
        Some(())
    }

    fn wrap(&mut self, bracket: char, inside: &str) {
        self.out.push(bracket);
        self.out += inside;
        self.out.push(closing(bracket));
    }

    fn ends_in_word(&self) -> bool {
        self.out.ends_with(is_word)
    }
}

const OPERATOR: &str = "operator";

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '$')
}

fn is_operator(text: &str) -> bool {
    text.strip_prefix(OPERATOR).is_some_and(|rest| !rest.starts_with(is_word))
}

/// What compilers write behind a name to tell versions apart: `[abi:cxx11]`, `[0123456789abcdef]`.
fn is_tag(inside: &str) -> bool {
    inside.starts_with("abi:") || (inside.len() >= 8 && inside.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn without_qualifiers(mut text: &str) -> &str {
    const QUALIFIERS: [&str; 5] = [" const", " volatile", " &&", " &", " noexcept"];
    let ends = |rest: &str| !rest.starts_with(is_word);
    while let Some(rest) = QUALIFIERS.iter().find_map(|one| text.strip_prefix(one)).filter(|rest| ends(rest)) {
        text = rest;
    }
    text
}

fn closing(bracket: char) -> char {
    match bracket {
        '<' => '>',
        '(' => ')',
        '[' => ']',
        _ => '}',
    }
}

/// What is between the bracket that a text begins with and the one that belongs to it.
fn inside(text: &str) -> Option<&str> {
    let mut open = Vec::new();
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        let rest = &text[at..];
        match next {
            '-' if rest.starts_with("->") => at += 1,
            '=' if rest.starts_with("=>") => at += 1,
            'o' if is_operator(rest) && !text[..at].ends_with(is_word) => {
                let signs = rest[OPERATOR.len()..].bytes().take_while(|byte| b"<>=-".contains(byte)).count();
                at += OPERATOR.len() + signs;
                continue;
            }
            '<' | '(' | '[' | '{' => open.push(closing(next)),
            ')' | ']' | '}' => {
                // Within other brackets, `<` can be a sign of its own.
                while open.last() == Some(&'>') {
                    open.pop();
                }
                if open.pop() != Some(next) {
                    return None;
                }
            }
            '>' if open.last() == Some(&'>') => {
                open.pop();
            }
            _ => {}
        }
        if open.is_empty() {
            return text.get(1..at);
        }
        at += next.len_utf8();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_cpp() {
        for (name, simple) in [
            ("main", "main"),
            ("std::map<int, Foo<bar> >::insert(std::pair<int, Foo<bar> > const&)", "std::map<…>::insert"),
            ("void geometry::Grid<double>::spin_cells<int>(double)", "geometry::Grid<…>::spin_cells<…>"),
            ("std::enable_if<(1)>(2), int>::type f<int>(int)", "f<…>"),
            ("(anonymous namespace)::f(int)", "(anonymous namespace)::f"),
            ("int (anonymous namespace)::f<int>(int) const", "(anonymous namespace)::f<…>"),
            ("foo(int)::{lambda(char, std::vector<int>)#2}::operator()(char) const", "foo::{lambda#2}::operator()"),
            ("A::f() const::{lambda()#1}::operator()() const &", "A::f::{lambda#1}::operator()"),
            ("bool operator< <int>(A<int> const&, A<int> const&)", "operator<<…>"),
            ("std::ostream& std::operator<< <std::char_traits<char> >(std::ostream&, char)", "std::operator<<<…>"),
            ("A::operator->() const", "A::operator->"),
            ("A::operator[](unsigned long)", "A::operator[]"),
            ("A::operator<=>(A const&) const", "A::operator<=>"),
            ("operator new(unsigned long)", "operator new"),
            ("operator delete[](void*)", "operator delete[]"),
            ("A::operator std::vector<int>() const", "A::operator std::vector<…>"),
            ("std::__cxx11::to_string[abi:cxx11](int)", "std::__cxx11::to_string"),
            ("non-virtual thunk to A::f(int)", "A::f"),
            ("vtable for A<int>", "vtable for A<…>"),
            ("f(int) [clone .isra.0] [clone .cold]", "f"),
            ("f.constprop.0.isra.12", "f"),
            ("my_operator(int)", "my_operator"),
            ("A<&A<int>::operator<, (b)->c>::f(int)", "A<…>::f"),
            ("f(void (*)(int))", "f"),
        ] {
            assert_eq!(simple_name(name), simple, "{name}");
        }
    }

    #[test]
    fn names_of_rust_and_go() {
        for (name, simple) in [
            ("core::ptr::drop_in_place<alloc::vec::Vec<u8>>", "core::ptr::drop_in_place<…>"),
            (
                "<alloc::vec::Vec<T, A> as core::ops::drop::Drop>::drop",
                "<alloc::vec::Vec<…> as core::ops::drop::Drop>::drop",
            ),
            (
                "core::fmt::num::<impl core::fmt::Debug for u32>::fmt",
                "core::fmt::num::<impl core::fmt::Debug for u32>::fmt",
            ),
            ("<(A, B) as Trait<X>>::f::<u8>", "<(A, B) as Trait<…>>::f<…>"),
            ("<[T]>::sort", "<[T]>::sort"),
            ("<&mut F as FnOnce<A>>::call_once", "<&mut F as FnOnce<…>>::call_once"),
            ("app::run::{{closure}}", "app::run::{{closure}}"),
            ("app::run::{closure#0}::{shim:vtable#0}", "app::run::{closure#0}::{shim:vtable#0}"),
            ("app::run::h0123456789abcdef", "app::run"),
            ("app[0123456789abcdef]::run", "app::run"),
            ("main.(*Server).Serve.func1", "main.(*Server).Serve.func1"),
            ("main.Map[...]", "main.Map[...]"),
            ("runtime.mcall", "runtime.mcall"),
        ] {
            assert_eq!(simple_name(name), simple, "{name}");
        }
    }

    #[test]
    fn what_cannot_be_made_out_stays() {
        for name in ["f<int", "f(int", "a>b", "f(]", "()", "::h0123456789abcdef", ".cold", "\u{1f980}<", ""] {
            assert_eq!(simple_name(name), name);
        }
    }

    fn balanced(name: &str) -> bool {
        let mut open = Vec::new();
        name.chars().filter(|c| "()[]{}".contains(*c)).all(|c| match c {
            '(' | '[' | '{' => {
                open.push(closing(c));
                true
            }
            _ => open.pop() == Some(c),
        }) && open.is_empty()
    }

    #[test]
    fn no_name_becomes_empty_or_unbalanced() {
        let parts = [
            "a",
            "::",
            "<",
            ">",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            "operator",
            " ",
            "const",
            "impl ",
            " as ",
            "->",
            "&",
            ",",
            "é",
            ".cold",
            " [clone .x]",
            "h0123456789abcdef",
            "abi:",
        ];
        let mut seed = 1_u64;
        for _ in 0..200_000 {
            let mut name = String::new();
            for _ in 0..12 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                name += parts[(seed >> 33) as usize % parts.len()];
            }
            let simple = simple_name(&name);
            assert!(!simple.is_empty(), "{name}");
            assert!(!balanced(&name) || balanced(&simple), "{name} -> {simple}");
        }
        let deep = "<".repeat(100_000) + &">".repeat(100_000);
        assert!(!simple_name(&deep).is_empty());
        assert!(!simple_name(&"f<".repeat(100_000)).is_empty());
    }
}
