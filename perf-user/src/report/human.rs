//! Numbers, times and names as people read them.

use crate::profile::{FrameKind, simple_name};

/// `9,871`.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of them: `1 thread`, `12 threads`.
#[must_use]
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// `part` of `whole` with one decimal, `12.3%`; what is there but too small for that is `<0.1%`.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return String::from("-");
    }
    let share = 100.0 * part as f64 / whole as f64;
    if part > 0 && share < 0.05 { String::from("<0.1%") } else { format!("{share:.1}%") }
}

/// A length of time: `1.2 us`, `340 ms`, `10.0 s`, `2 min 03 s`, `1 h 02 min`.
#[must_use]
pub fn duration(ns: u64) -> String {
    // The limits leave no room for rounding up to `1000 ms` or `60.0 s`.
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..99_950 => format!("{:.1} us", ns as f64 / 1e3),
        99_950..999_500 => format!("{:.0} us", ns as f64 / 1e3),
        999_500..99_950_000 => format!("{:.1} ms", ns as f64 / 1e6),
        99_950_000..999_500_000 => format!("{:.0} ms", ns as f64 / 1e6),
        999_500_000..59_950_000_000 => format!("{:.1} s", ns as f64 / 1e9),
        _ => {
            let seconds = ns.saturating_add(500_000_000) / 1_000_000_000;
            if seconds < 3600 {
                format!("{} min {:02} s", seconds / 60, seconds % 60)
            } else {
                format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60)
            }
        }
    }
}

/// `35.2 MiB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_023_950 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_023_950..1_048_524_800 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

/// How much more or less: `+1.2 MiB`, `-40 B`.
#[must_use]
pub fn bytes_more(change: f64) -> String {
    let sign = if change < 0.0 { "-" } else { "+" };
    format!("{sign}{}", bytes(change.abs() as u64))
}

/// A point in time, `2025-01-02 03:04:05 UTC`.
#[must_use]
pub fn utc(unix_ns: u64) -> String {
    let seconds = unix_ns / 1_000_000_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Civil date from a day count: https://howardhinnant.github.io/date_algorithms.html#civil_from_days
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", second / 3600, second / 60 % 60, second % 60)
}

/// What a terminal or a viewer could take for a command, or for an order to write from right to left.
#[must_use]
pub fn is_escape(character: char) -> bool {
    let turns = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    turns || character.is_control()
}

/// `text` in one line that can be printed anywhere. Names of files, processes and functions are whatever somebody chose.
#[must_use]
pub fn line(text: &str) -> String {
    text.chars().map(printable).collect()
}

/// The same for a text of several lines.
#[must_use]
pub fn lines(text: &str) -> String {
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

fn printable(character: char) -> char {
    match character {
        other if other.is_control() => ' ',
        other if is_escape(other) => char::REPLACEMENT_CHARACTER,
        other => other,
    }
}

/// `text` in one line of at most `width` characters, with the middle left out: the start of a name tells the library,
/// the end the function.
#[must_use]
pub fn shorten(text: &str, width: usize) -> String {
    let text: Vec<char> = text.chars().map(printable).collect();
    if text.len() <= width {
        return text.into_iter().collect();
    }
    let tail = (width.saturating_sub(1)) * 3 / 5;
    let head = width.saturating_sub(1) - tail;
    text[..head].iter().chain(std::iter::once(&'…')).chain(&text[text.len() - tail..]).collect()
}

/// A function's name in at most `width` characters. The arguments go first; of programs and libraries, then what stands in
/// angle brackets and what compilers append; then the start of the path: the function itself is what tells.
#[must_use]
pub fn shorten_function(name: &str, kind: FrameKind, width: usize) -> String {
    let fits = |name: &str| name.chars().count() <= width;
    if fits(name) {
        return shorten(name, width);
    }
    let mut bare = without_arguments(name).map_or_else(|| name.to_owned(), |bare| format!("{bare}(..)"));
    if !fits(&bare) && matches!(kind, FrameKind::User | FrameKind::Inlined) {
        bare = simple_name(name);
    }
    let long = bare.chars().count().saturating_sub(width);
    if long == 0 {
        shorten(&bare, width)
    } else {
        format!("…{}", shorten(&bare.chars().skip(long + 1).collect::<String>(), width))
    }
}

/// The name before the last pair of parentheses, if it ends with them and has something before them.
fn without_arguments(name: &str) -> Option<&str> {
    let end = name.rfind(')').filter(|end| matches!(&name[end + 1..], "" | " const"))?;
    let mut depth = 0_u32;
    for (at, character) in name[..=end].char_indices().rev() {
        match character {
            ')' => depth += 1,
            '(' if depth == 1 => return Some(&name[..at]).filter(|bare| !bare.is_empty()),
            '(' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The last part of a path; a name in brackets, `[kernel]`, is itself.
#[must_use]
pub fn file_name(path: &str) -> &str {
    if path.starts_with('[') { path } else { path.rsplit('/').next().unwrap_or(path) }
}

/// The end of a path that is too long: it says most.
#[must_use]
pub fn shorten_path(path: &str, room: usize) -> String {
    let count = path.chars().count();
    if count <= room {
        return path.to_owned();
    }
    format!("…{}", path.chars().skip(count + 1 - room).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_name_the_function_stays() {
        let name = "v8::internal::JsonStringifier::SerializeString(v8::internal::Handle<v8::internal::String>)";
        let short = |name, width| shorten_function(name, FrameKind::User, width);
        assert_eq!(short(name, 52), "v8::internal::JsonStringifier::SerializeString(..)");
        assert_eq!(short(name, 30), "…nStringifier::SerializeString");
        assert_eq!(short("core::fmt::write", 40), "core::fmt::write");
        let rust = "<alloc::vec::Vec<T> as core::iter::traits::collect::FromIterator<T>>::from_iter";
        assert!(short(rust, 30).ends_with("::from_iter"));
        assert_eq!(short(rust, 30).chars().count(), 30);
        let clone = "v8::internal::MaybeHandle<v8::internal::Object> v8::internal::JsonParser<unsigned char>::ParseJsonValue<false>\
                     (v8::internal::Handle<v8::internal::Object>) [clone .isra.0]";
        assert_eq!(short(clone, 46), "v8::internal::JsonParser<…>::ParseJsonValue<…>");
        let iterator = "__gnu_cxx::__normal_iterator<std::string*, std::vector<std::string> >";
        let inlined = format!("sort<{iterator}, main(int, char**)::<lambda(const std::string&, const std::string&)> >");
        assert_eq!(short(&inlined, 46), "sort<…>", "arguments of a template are not those of the function");
        let java = "void Work.run(java.util.Map<java.lang.String, int>, int)";
        assert_eq!(shorten_function(java, FrameKind::Jit, 30), "void Work.run(..)");
        assert_eq!(without_arguments("f(int (*)(char)) const"), Some("f"));
        assert_eq!(without_arguments("operator()"), Some("operator"));
        assert_eq!(without_arguments("(anonymous namespace)::f"), None);
    }

    #[test]
    fn numbers() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(percent(1, 3), "33.3%");
        assert_eq!(percent(1, 10_000), "<0.1%");
        assert_eq!(percent(0, 10), "0.0%");
        assert_eq!(percent(0, 0), "-");
        assert_eq!([512, 2048, 36_910_000].map(bytes), ["512 B", "2.0 KiB", "35.2 MiB"]);
    }

    #[test]
    fn times() {
        let cases = [
            (999, "999 ns"),
            (1_240, "1.2 us"),
            (999_400, "999 us"),
            (999_600, "1.0 ms"),
            (340_000_000, "340 ms"),
            (999_600_000, "1.0 s"),
            (10_000_000_000, "10.0 s"),
            (59_960_000_000, "1 min 00 s"),
            (123_000_000_000, "2 min 03 s"),
            (3_599_600_000_000, "1 h 00 min"),
        ];
        for (ns, text) in cases {
            assert_eq!(duration(ns), text);
        }
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(1_735_787_045_999_999_999), "2025-01-02 03:04:05 UTC");
        assert_eq!(utc(1_709_164_800_000_000_000), "2024-02-29 00:00:00 UTC");
        assert_eq!(utc(4_107_542_399_000_000_000), "2100-02-28 23:59:59 UTC");
    }

    #[test]
    fn names() {
        assert_eq!(shorten("short", 5), "short");
        assert_eq!(shorten("abcdefghijk", 6), "ab…ijk");
        assert_eq!(shorten("a\nb", 6), "a b");
        assert_eq!(line("a\x1b[31m\tb\u{9b}0m\u{202e}c"), "a [31m b 0m\u{fffd}c");
        assert_eq!(file_name("/usr/lib/libc.so.6"), "libc.so.6");
        assert_eq!(file_name("[anon:a/b]"), "[anon:a/b]");
    }
}
