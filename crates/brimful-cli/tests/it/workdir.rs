//! A folder of its own for each test, and the binary run in it.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// No run of these tests takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at something that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A fresh folder in which commands run; gone at the end of the test.
pub(crate) struct TestDir(tempfile::TempDir);

impl TestDir {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), contents).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name))
            .unwrap_or_else(|error| panic!("{name}: {error}; there are {:?}", self.names()))
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// Every line of a file of JSON lines.
    pub(crate) fn json_lines(&self, name: &str) -> Vec<Value> {
        json_lines(&self.read(name))
    }

    pub(crate) fn summary(&self, output: &str) -> Value {
        serde_json::from_str(&self.read(&format!("{output}.summary.json"))).unwrap()
    }

    /// Rows of a CSV as maps would have them: the header, then the cells of each record.
    pub(crate) fn csv(&self, name: &str) -> Vec<Vec<String>> {
        csv(&self.read(name))
    }

    /// Names of all files, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Which files hold these bytes.
    pub(crate) fn files_with(&self, needle: &str) -> Vec<String> {
        let mut names = self.names();
        names.retain(|name| {
            let contents = std::fs::read(self.path(name)).unwrap();
            memchr_find(&contents, needle.as_bytes())
        });
        names
    }

    /// A Batch file of `count` chat requests with ids `r1`, `r2`, ….
    pub(crate) fn write_batch(&self, name: &str, count: usize) {
        let lines: String = (1..=count).map(|n| batch_line(&format!("r{n}"))).collect();
        self.write(name, lines);
    }

    /// `brimful` with these arguments, separated by white space.
    pub(crate) fn brimful(&self, arguments: &str) -> Invocation {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("brimful"));
        command.current_dir(self.0.path());
        command.env_clear();
        command.args(arguments.split_whitespace());
        Invocation {
            command,
            stdin: Vec::new(),
        }
    }

    /// `brimful run` against an address, without fsync, with short backoffs, and sending what it is
    /// told to at once, so that tests are quick.
    pub(crate) fn run_at(&self, base_url: &str, arguments: &str) -> Invocation {
        self.learn_at(base_url, "--learn off").args(arguments)
    }

    /// The same, but it learns limits while it goes on, as it does when nothing else is said.
    pub(crate) fn learn_at(&self, base_url: &str, arguments: &str) -> Invocation {
        self.brimful("run --durability process --base-backoff 10ms --base-url")
            .arg(base_url)
            .args(arguments)
    }
}

fn memchr_find(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

pub(crate) fn batch_line(id: &str) -> String {
    batch_line_to(id, "/v1/chat/completions")
}

pub(crate) fn batch_line_to(id: &str, url: &str) -> String {
    let line = serde_json::json!({
        "custom_id": id, "method": "POST", "url": url,
        "body": {"model": "m", "messages": [{"role": "user", "content": format!("prompt of {id}")}]},
    });
    format!("{line}\n")
}

pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

/// Records of a CSV with quotes, as RFC 4180 has them.
pub(crate) fn csv(text: &str) -> Vec<Vec<String>> {
    let mut records = vec![vec![String::new()]];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let record = records.last_mut().unwrap();
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                record.last_mut().unwrap().push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(String::new()),
            '\r' if !quoted => {}
            '\n' if !quoted => records.push(vec![String::new()]),
            c => record.last_mut().unwrap().push(c),
        }
    }
    let end = records.pop().unwrap();
    assert_eq!(end, [""], "the last record has no line end");
    records
}

/// One call of the binary.
pub(crate) struct Invocation {
    command: Command,
    stdin: Vec<u8>,
}

impl Invocation {
    /// One argument, white space and all.
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Several, separated by white space.
    pub(crate) fn args(mut self, arguments: &str) -> Self {
        self.command.args(arguments.split_whitespace());
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn stdin(mut self, contents: impl Into<Vec<u8>>) -> Self {
        self.stdin = contents.into();
        self
    }

    /// Runs it to its end.
    pub(crate) fn output(self) -> Outcome {
        let stdin = self.stdin.clone();
        let mut running = self.start();
        let mut pipe = running.stdin().unwrap();
        // A command that refuses to start does not read what it is given.
        let feeding = std::thread::spawn(move || drop(pipe.write_all(&stdin)));
        let outcome = running.wait();
        feeding.join().unwrap();
        outcome
    }

    /// Runs it to its end, which must be this exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Outcome {
        let outcome = self.output();
        assert_eq!(outcome.code, Some(code), "{outcome}");
        outcome
    }

    /// Starts it and returns at once.
    pub(crate) fn start(self) -> Running {
        self.spawn(true)
    }

    /// The same with a standard output that nobody reads.
    pub(crate) fn start_without_stdout(self) -> Running {
        self.spawn(false)
    }

    /// Runs it to its end with a standard error that takes nothing.
    #[cfg(target_os = "linux")]
    pub(crate) fn exits_unheard(mut self, code: i32) {
        let full = std::fs::File::create("/dev/full").unwrap();
        let status = self.command.stderr(full).stdin(Stdio::null()).status();
        assert_eq!(status.unwrap().code(), Some(code), "{:?}", self.command);
    }

    fn spawn(mut self, read_stdout: bool) -> Running {
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let stdout: Box<dyn Read + Send> = match read_stdout {
            true => Box::new(stdout),
            false => Box::new(std::io::empty()),
        };
        let stdout = gather(stdout);
        let stderr = gather(child.stderr.take().unwrap());
        Running {
            child,
            stdout: Some(stdout),
            stderr: Some(stderr),
        }
    }
}

type Gathered = std::sync::Arc<std::sync::Mutex<Vec<u8>>>;

fn gather(mut pipe: impl Read + Send + 'static) -> (Gathered, JoinHandle<()>) {
    let gathered = Gathered::default();
    let into = std::sync::Arc::clone(&gathered);
    let thread = std::thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            into.lock().unwrap().extend_from_slice(&buffer[..count]);
        }
    });
    (gathered, thread)
}

/// A command that has been started; killed if the test forgets it.
pub(crate) struct Running {
    child: Child,
    stdout: Option<(Gathered, JoinHandle<()>)>,
    stderr: Option<(Gathered, JoinHandle<()>)>,
}

impl Running {
    /// Its standard input, once.
    pub(crate) fn stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    pub(crate) fn id(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// What it has written to standard output so far.
    pub(crate) fn stdout_so_far(&self) -> String {
        let (gathered, _) = self.stdout.as_ref().unwrap();
        String::from_utf8_lossy(&gathered.lock().unwrap()).into_owned()
    }

    /// What it has written to standard error so far.
    pub(crate) fn stderr_so_far(&self) -> String {
        let (gathered, _) = self.stderr.as_ref().unwrap();
        String::from_utf8_lossy(&gathered.lock().unwrap()).into_owned()
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Outcome {
        drop(self.child.stdin.take());
        let status = until("the command's end", || self.child.try_wait().unwrap());
        let text = |pipe: Option<(Gathered, JoinHandle<()>)>| {
            let (gathered, thread) = pipe.unwrap();
            thread.join().unwrap();
            let bytes = std::mem::take(&mut *gathered.lock().unwrap());
            String::from_utf8(bytes).unwrap()
        };
        Outcome {
            code: status.code(),
            stdout: text(self.stdout.take()),
            stderr: text(self.stderr.take()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has most often ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Asks until there is an answer.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// How a command ended and what it said.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// Standard error holds every one of these.
    #[track_caller]
    pub(crate) fn says(&self, words: &[&str]) -> &Self {
        for word in words {
            assert!(self.stderr.contains(word), "no `{word}` in: {self}");
        }
        self
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "exit {:?}", self.code)?;
        f.write_str("stdout:\n")?;
        for line in self.stdout.lines().take(40) {
            writeln!(f, "  {line:.400}")?;
        }
        f.write_str("stderr:\n")?;
        for line in self.stderr.lines() {
            writeln!(f, "  {line:.800}")?;
        }
        f.write_char('\n')
    }
}

/// A file from the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}
