//! Debug files from debuginfod servers, for those who ask for them: by build id, over HTTP, kept in the cache that all
//! debuginfod clients share (`debuginfod-client-config(7)`).

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{debug_files::hex, outline::Outline};
use crate::host::files::{PRIVATE, Place};

/// What fetching may take in a run: windows wait meanwhile, of which a minute's worth is kept.
const TOTAL_TIME: Duration = Duration::from_secs(45);

/// What one file may take.
const FILE_TIME: Duration = Duration::from_secs(20);

/// Who does not answer by then is not there.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// Of one file, and of all in a run.
const FILE_BYTES: u64 = 512 << 20;
const TOTAL_BYTES: u64 = 2 << 30;

/// A target can have as many build ids as it likes.
const MAX_ASKED: usize = 4_096;

/// Servers, and where what they gave is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebuginfodOptions {
    /// URLs to which `/buildid/...` is appended.
    pub servers: Vec<String>,
    /// The cache.
    pub cache: PathBuf,
}

impl DebuginfodOptions {
    /// What the environment says.
    ///
    /// # Errors
    /// What it lacks, or what is wrong with it.
    pub fn from_environment() -> Result<Self, String> {
        Self::from_variables(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        // Words like ima:enforcing are rules for signatures.
        let urls = variable("DEBUGINFOD_URLS").unwrap_or_default();
        let urls = urls.split_ascii_whitespace().filter(|word| !word.starts_with("ima:"));
        let servers: Vec<String> = urls.map(|url| url.trim_end_matches('/').to_owned()).collect();
        if servers.is_empty() {
            return Err("DEBUGINFOD_URLS names no server; sudo keeps it with --preserve-env=DEBUGINFOD_URLS".into());
        }
        if let Some(url) = servers.iter().find(|url| !url.starts_with("http://")) {
            return Err(format!(
                "DEBUGINFOD_URLS names {url}: this perfprobe speaks plain http:// only; a local debuginfod can pass on what \
                 others have"
            ));
        }
        let below = |name: &str, rest: &str| variable(name).map(|folder| Path::new(&folder).join(rest));
        let cache = below("DEBUGINFOD_CACHE_PATH", "")
            .or_else(|| below("XDG_CACHE_HOME", "debuginfod_client"))
            .or_else(|| below("HOME", ".cache/debuginfod_client"))
            .filter(|path| path.is_absolute())
            .ok_or("there is no place for a cache: set DEBUGINFOD_CACHE_PATH to an absolute path")?;
        Ok(Self { servers, cache })
    }
}

/// Fetches debug files.
#[derive(Debug)]
pub(super) struct Debuginfod {
    options: DebuginfodOptions,
    agent: ureq::Agent,
    /// Build ids that were asked for: each is once a run.
    asked: HashSet<String>,
    /// Servers that did not answer.
    silent: HashSet<String>,
    time_left: Duration,
    bytes_left: u64,
    /// How many files could not be had, though a server may have them, and why not the first.
    failures: u32,
    first_failure: String,
}

impl Debuginfod {
    pub(super) fn new(options: DebuginfodOptions) -> Self {
        let agent = ureq::Agent::config_builder()
            .user_agent(concat!("perfprobe/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_TIME))
            // Servers pass on what others have. One that leads elsewhere without saying where makes ureq 3.5.2 panic.
            .max_redirects(0)
            .build()
            .new_agent();
        Self {
            options,
            agent,
            asked: HashSet::new(),
            silent: HashSet::new(),
            time_left: TOTAL_TIME,
            bytes_left: TOTAL_BYTES,
            failures: 0,
            first_failure: String::new(),
        }
    }

    /// Where the debug file of a build id is kept.
    pub(super) fn cached(&self, id: &str) -> PathBuf {
        self.options.cache.join(id).join("debuginfo")
    }

    /// Fetches the debug file of a build id, in hexadecimal, into the cache; whether it is there now.
    pub(super) fn fetch(&mut self, id: &str) -> bool {
        if self.asked.len() >= MAX_ASKED || !self.asked.insert(id.to_owned()) {
            return false;
        }
        for server in self.options.servers.clone() {
            if self.silent.contains(&server) {
                continue;
            }
            if self.time_left.is_zero() {
                self.failed(format!("after {} s no more were asked for", TOTAL_TIME.as_secs()));
                return false;
            }
            let started = Instant::now();
            // An answer that no test has thought of costs its server, not the recording.
            let fetched = catch_unwind(AssertUnwindSafe(|| self.fetch_from(&server, id)))
                .unwrap_or_else(|_| Err(Failure::Silent("its answer could not be read".into())));
            self.time_left = self.time_left.saturating_sub(started.elapsed());
            match fetched {
                Ok(()) => return true,
                Err(Failure::NotThere) => {}
                Err(Failure::Silent(why)) => {
                    self.failed(format!("{server}: {why}"));
                    self.silent.insert(server);
                }
                Err(Failure::Other(why)) => self.failed(format!("{server}: {why}")),
            }
        }
        false
    }

    /// What the reader of the recording must know.
    pub(super) fn warning(&self) -> Option<String> {
        let Self { failures, first_failure, .. } = self;
        let warning = format!(
            "debuginfod: debug files that could not be fetched: {failures}; names can be missing. The first: {first_failure}"
        );
        (*failures > 0).then_some(warning)
    }

    fn failed(&mut self, why: String) {
        if self.failures == 0 {
            self.first_failure = why;
        }
        self.failures += 1;
    }

    fn fetch_from(&mut self, server: &str, id: &str) -> Result<(), Failure> {
        let time = self.time_left.min(FILE_TIME);
        let request = self.agent.get(format!("{server}/buildid/{id}/debuginfo"));
        let response = request.config().timeout_global(Some(time)).build().call();
        let mut response = response.map_err(|error| match error {
            ureq::Error::StatusCode(404) => Failure::NotThere,
            ureq::Error::StatusCode(_) => Failure::Other(error.to_string()),
            ureq::Error::Timeout(_) => Failure::late(time),
            _ => Failure::Silent(error.to_string()),
        })?;
        let limit = self.bytes_left.min(FILE_BYTES);
        let mut body = response.body_mut().with_config().limit(limit).reader();
        let path = self.cached(id);
        let is_right =
            |file: &File| Outline::read(file).and_then(|its| its.build_id).is_some_and(|its| hex(&its) == id);
        let written = store(&path, &mut body, is_right);
        let written = written.map_err(|error| match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(ureq::Error::Timeout(_)) => Failure::late(time),
            _ => Failure::Other(format!("{}: {error}", path.display())),
        })?;
        self.bytes_left = self.bytes_left.saturating_sub(written);
        Ok(())
    }
}

/// Why a server gave no file.
enum Failure {
    NotThere,
    /// It will not answer the next time either.
    Silent(String),
    Other(String),
}

impl Failure {
    /// The file was not there within `time`: the next would take as long.
    fn late(time: Duration) -> Self {
        Self::Silent(format!("it did not give the file within {:.1} s", time.as_secs_f64()))
    }
}

/// Writes a file in the cache, so that others see all of it or nothing, if it is the right one; its length.
fn store(path: &Path, body: &mut impl io::Read, is_right: impl Fn(&File) -> bool) -> io::Result<u64> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    make_folder(folder)?;
    let unfinished = folder.join(format!("debuginfo.perfprobe-{}", std::process::id()));
    let place = Place::of(&unfinished)?;
    let mut file = place.open(PRIVATE)?;
    let mut finish = |file: &mut File| {
        file.set_len(0)?;
        let written = io::copy(body, file)?;
        if !is_right(file) {
            return Err(io::Error::other("what the server gave is not the debug file of this build"));
        }
        let _rights = place.rights()?;
        fs::rename(&unfinished, path)?;
        Ok(written)
    };
    finish(&mut file).inspect_err(|_| {
        let _rights = place.rights();
        let _ = fs::remove_file(&unfinished);
        // Only if nobody else has put something there.
        let _ = fs::remove_dir(folder);
    })
}

/// Makes a directory and those above it, each with the rights of whoever owns the one that it is in.
fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    make_folder(path.parent().ok_or(io::ErrorKind::NotFound)?)?;
    let _rights = Place::of(path)?.rights()?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::{io::Write as _, net::TcpListener, thread};

    use super::*;

    fn options(variables: &[(&str, &str)]) -> Result<DebuginfodOptions, String> {
        let variable =
            |name: &str| variables.iter().find(|(its, _)| *its == name).map(|(_, value)| (*value).to_owned());
        DebuginfodOptions::from_variables(variable)
    }

    #[test]
    fn the_environment_names_servers_and_the_cache() {
        let urls = ("DEBUGINFOD_URLS", "http://one/ ima:enforcing  http://two:8002");
        let home = ("HOME", "/home/me");
        let read = options(&[urls, home]).unwrap();
        assert_eq!(read.servers, ["http://one", "http://two:8002"]);
        assert_eq!(read.cache, Path::new("/home/me/.cache/debuginfod_client"));
        let cache = |variables: &[(&str, &str)]| options(&[&[urls, home], variables].concat()).unwrap().cache;
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x")]), Path::new("/x/debuginfod_client"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x"), ("DEBUGINFOD_CACHE_PATH", "/y")]), Path::new("/y"));
        for (wrong, why) in [
            (&[home][..], "no server"),
            (&[home, ("DEBUGINFOD_URLS", "ima:ignore")], "no server"),
            (&[home, ("DEBUGINFOD_URLS", "http://a https://b")], "https://b"),
            (&[urls], "no place for a cache"),
            (&[urls, ("HOME", "here")], "no place for a cache"),
        ] {
            assert!(options(wrong).unwrap_err().contains(why), "{wrong:?}");
        }
    }

    #[test]
    fn a_server_that_leads_nowhere_costs_no_more_than_its_file() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let answers = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(io::Read::read(&mut stream, &mut [0; 4096]).unwrap() > 0);
            let head = b"HTTP/1.1 302 Found\r\nTransfer-Encoding: chunked\r\n\r\n";
            io::Write::write_all(&mut stream, &[&head[..], b"2\r\nab\r\n0\r\n"].concat()).unwrap();
        });
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        let mut debuginfod = Debuginfod::new(DebuginfodOptions { servers: vec![server], cache });
        assert!(!debuginfod.fetch("0123456789abcdef"));
        answers.join().unwrap();
        assert!(debuginfod.warning().is_some());
    }

    #[test]
    fn files_are_kept_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/debuginfo");
        assert_eq!(store(&path, &mut &b"content"[..], |_| true).unwrap(), 7);
        assert_eq!(fs::read(&path).unwrap(), b"content");
        let other = folder.path().join("a/c/debuginfo");
        let mut breaks = io::Read::chain(&b"half"[..], Broken);
        assert!(store(&other, &mut breaks, |_| true).is_err());
        assert!(store(&other, &mut &b"content"[..], |_| false).is_err());
        assert!(!other.parent().unwrap().exists());
    }

    #[test]
    fn who_gives_no_file_in_time_is_not_asked_again() {
        // One says nothing, the other begins and goes no further.
        for begin in [&b""[..], b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let server = format!("http://{}", listener.local_addr().unwrap());
            let asked = thread::spawn(move || {
                let mut streams = listener.incoming().map(Result::unwrap);
                let mut stream = streams.next().unwrap();
                stream.write_all(begin).unwrap();
                // Until the client hangs up.
                io::copy(&mut stream, &mut io::sink())
            });
            let folder = tempfile::tempdir().unwrap();
            let cache = folder.path().to_owned();
            let mut debuginfod = Debuginfod::new(DebuginfodOptions { servers: vec![server.clone()], cache });
            debuginfod.time_left = Duration::from_millis(300);
            assert!(!debuginfod.fetch("ab"));
            debuginfod.time_left = TOTAL_TIME;
            assert!(!debuginfod.fetch("cd"));
            let warning = debuginfod.warning().unwrap();
            assert!(
                warning.contains(&format!("fetched: 1; names can be missing. The first: {server}: it did not")),
                "{warning}"
            );
            drop(debuginfod);
            let _ = asked.join().unwrap();
        }
    }

    struct Broken;

    impl io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
}
