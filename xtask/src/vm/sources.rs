//! Package sources for guests, derived from the machine's own: the same mirrors and keys, more releases.

use std::path::Path;
use std::{fmt::Write as _, fs};

use anyhow::{Context as _, Result, bail};

/// Debian releases whose kernels guests boot, oldest first. Each has its security suite and its backports beside it.
const RELEASES: &[&str] = &["bullseye", "bookworm", "trixie"];
/// What the machine's sources may call its own release.
const ALIASES: &[&str] = &["stable", "oldstable", "oldoldstable", "testing"];
/// Fields of a source that are not inherited, because the derived source has its own.
const OWN_FIELDS: &[&str] = &["types", "uris", "suites", "components", "enabled", "architectures", "arch"];

/// A package source of the machine, as far as guests need it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Source {
    uri: String,
    suites: Vec<String>,
    /// Keys and checks, as fields of a deb822 source, each with its line's end.
    options: String,
}

/// What apt has to be told for one guest architecture.
pub(crate) struct Derived {
    /// The text of a deb822 file of sources.
    pub(crate) sources: String,
    /// The text of a file of preferences: the machine's own release first.
    pub(crate) preferences: String,
    /// The machine's own release.
    pub(crate) codename: String,
}

/// Reads the machine's sources and derives those of the guests.
pub(crate) fn derive() -> Result<Derived> {
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let value = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    let codename = value("VERSION_CODENAME");
    if value("ID") != "debian" || codename.is_empty() {
        bail!("guests boot Debian's kernels, from the machine's own package sources: this needs a Debian machine");
    }
    from_sources(&read(Path::new("/etc/apt"))?, codename)
}

fn from_sources(sources: &[Source], codename: String) -> Result<Derived> {
    let with_suite = |suffix: &str| {
        let names = [codename.as_str()].into_iter().chain(ALIASES.iter().copied());
        let wanted: Vec<String> = names.map(|name| format!("{name}{suffix}")).collect();
        sources.iter().find(|source| source.suites.iter().any(|suite| wanted.contains(suite)))
    };
    let Some(main) = with_suite("") else {
        bail!("no package source in /etc/apt is one of Debian {codename}: kernels for guests come from there");
    };
    let mut releases = RELEASES.to_vec();
    if !releases.contains(&codename.as_str()) {
        releases.push(&codename);
    }
    let mut text = String::new();
    let mut add = |source: &Source, suites: Vec<String>| {
        let Source { uri, options, .. } = source;
        // Writing to a string does not fail.
        let _ = writeln!(text, "Types: deb\nURIs: {uri}\nSuites: {}\nComponents: main\n{options}", suites.join(" "));
    };
    // Older releases than the machine's have no backports left.
    let own = releases.iter().position(|release| *release == codename).unwrap_or(0);
    let backports = releases[own..].iter().map(|release| format!("{release}-backports"));
    add(main, releases.iter().map(|release| (*release).to_owned()).chain(backports).collect());
    if let Some(security) = with_suite("-security") {
        add(security, releases.iter().map(|release| format!("{release}-security")).collect());
    }
    let mut preferences = format!("Package: *\nPin: release n={codename}-backports\nPin-Priority: 100\n");
    for other in releases.iter().filter(|release| **release != codename) {
        let _ = write!(preferences, "\nPackage: *\nPin: release n={other}*\nPin-Priority: 50\n");
    }
    Ok(Derived { sources: text, preferences, codename })
}

/// All sources below apt's folder, of both forms.
fn read(apt: &Path) -> Result<Vec<Source>> {
    let mut files = vec![apt.join("sources.list")];
    if let Ok(entries) = fs::read_dir(apt.join("sources.list.d")) {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.sort();
    let mut sources = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => sources.extend(text.lines().filter_map(parse_line)),
            Some("sources") => sources.extend(parse_deb822(&text)),
            _ => {}
        }
    }
    Ok(sources)
}

/// `deb [name=value ...] URI SUITE COMPONENT...`
fn parse_line(line: &str) -> Option<Source> {
    let mut rest = line.split('#').next()?.trim().strip_prefix("deb ")?.trim();
    let mut options = String::new();
    if let Some(inner) = rest.strip_prefix('[') {
        let (inside, after) = inner.split_once(']')?;
        for (name, value) in inside.split_whitespace().filter_map(|option| option.split_once('=')) {
            if !OWN_FIELDS.contains(&name.to_lowercase().as_str()) {
                options.push_str(&format!("{name}: {}\n", value.replace(',', " ")));
            }
        }
        rest = after;
    }
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Source { uri: words.next()?, suites: vec![words.next()?], options })
}

/// Paragraphs of `Name: value` lines, continued by lines that begin with a blank.
fn parse_deb822(text: &str) -> Vec<Source> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines.split(|line| line.trim().is_empty()).filter_map(parse_paragraph).collect()
}

fn parse_paragraph(lines: &[&str]) -> Option<Source> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in lines {
        if line.starts_with([' ', '\t']) {
            let (_, value) = fields.last_mut()?;
            value.push('\n');
            value.push_str(line);
        } else {
            let (name, value) = line.split_once(':')?;
            fields.push((name.to_lowercase(), value.trim().to_owned()));
        }
    }
    let words = |wanted: &str| {
        let value = fields.iter().find(|(name, _)| name == wanted).map_or("", |(_, value)| value);
        value.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    if !words("types").contains(&"deb".to_owned()) || words("enabled").first().is_some_and(|word| word == "no") {
        return None;
    }
    let kept = fields.iter().filter(|(name, _)| !OWN_FIELDS.contains(&name.as_str()));
    Some(Source {
        uri: words("uris").into_iter().next()?,
        suites: words("suites"),
        options: kept.map(|(name, value)| format!("{name}: {value}\n")).collect(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    const DEB822: &str = "# comment\nTypes: deb\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n\
        Components: main\nSigned-By:\n -----BEGIN\n .\n -----END\n\nTypes: deb\nURIs: http://mirror.example/security\n\
        Suites: bookworm-security\nComponents: main\nSigned-By: /k.gpg\n\nTypes: deb\nEnabled: no\nURIs: http://off\n\
        Suites: bookworm\n";

    #[test]
    fn both_forms_of_sources_give_the_same_mirrors() {
        let one_line = [
            "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm main # own",
            "deb-src x y z",
            "deb http://mirror.example/security bookworm-security main",
            "",
        ];
        let one_line: Vec<Source> = one_line.iter().filter_map(|line| parse_line(line)).collect();
        for sources in [parse_deb822(DEB822), one_line] {
            assert_eq!(sources.len(), 2);
            let derived = from_sources(&sources, "bookworm".into()).unwrap();
            let text = &derived.sources;
            assert!(text.contains("URIs: http://mirror.example/debian\nSuites: bullseye bookworm trixie bookworm-backports trixie-backports\n"), "{text}");
            assert!(text.contains("URIs: http://mirror.example/security\nSuites: bullseye-security bookworm-security trixie-security\n"), "{text}");
            assert!(text.contains("igned-") && !text.contains("arch"), "{text}");
            assert!(derived.preferences.contains("n=trixie*") && !derived.preferences.contains("n=bookworm*"));
        }
    }

    #[test]
    fn a_key_inside_a_source_is_kept_line_by_line() {
        let sources = parse_deb822(DEB822);
        assert_eq!(sources[0].options, "signed-by: \n -----BEGIN\n .\n -----END\n");
    }

    #[test]
    fn a_machine_without_debian_sources_is_told_so() {
        let error = from_sources(&[Source::default()], "bookworm".into()).err().unwrap();
        assert!(error.to_string().contains("no package source"), "{error}");
    }
}
