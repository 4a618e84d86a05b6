//! `brimful run` as a process of its own.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::mock::Mock;
use crate::wait::until;

/// A command that is given again and again.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) input: PathBuf,
    pub(crate) output: PathBuf,
    pub(crate) flags: Vec<String>,
    /// What it is fed where the input is `-`.
    pub(crate) fed: Vec<u8>,
}

/// The process of one of these times.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    /// Once it is closed the input has ended.
    stdin: Option<ChildStdin>,
    errors: PathBuf,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None`: by a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn new(input: &Path, output: &Path) -> Self {
        Self {
            input: input.to_owned(),
            output: output.to_owned(),
            flags: Vec::new(),
            fed: Vec::new(),
        }
    }

    pub(crate) fn flags(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(|&flag| flag.to_owned()));
        self
    }

    /// Starts it with an input that has an end.
    pub(crate) fn start(&self, mock: &Mock) -> Running {
        let mut running = self.start_open(mock);
        drop(running.stdin.take());
        running
    }

    /// Starts it and, where the input is `-`, keeps that open.
    pub(crate) fn start_open(&self, mock: &Mock) -> Running {
        static STARTED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = STARTED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // Not beside the output: that disk may be full, or the folder not writable.
        let errors = std::env::temp_dir().join(format!(
            "brimful-crash-{}-{number}.stderr",
            std::process::id()
        ));
        let mut command = Command::new(env!("CARGO_BIN_EXE_brimful"));
        // The tests' own environment must not lead anywhere else.
        for name in [
            "OPENAI_API_KEY",
            "OPENAI_BASE_URL",
            "HTTP_PROXY",
            "http_proxy",
        ] {
            command.env_remove(name);
        }
        let mut child = command
            .arg("run")
            .arg(&self.input)
            .arg("-o")
            .arg(&self.output)
            .args(["--base-url", &mock.base_url])
            // What is tested here is the journal: neither the start from nothing nor a home.
            .args(["--learn", "off", "--no-state"])
            .args(&self.flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(File::create(&errors).unwrap())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        if !self.fed.is_empty() {
            stdin.write_all(&self.fed).unwrap();
        }
        Running {
            child,
            stdin: Some(stdin),
            errors,
        }
    }

    /// From start to end.
    pub(crate) fn ended(&self, mock: &Mock) -> Ended {
        self.start(mock).ended()
    }

    /// From start to end, which must be this one.
    pub(crate) fn ends_with(&self, mock: &Mock, code: i32) -> Ended {
        self.start(mock).ends_with(code)
    }

    /// `OUTPUT.summary.json`.
    pub(crate) fn summary(&self) -> Value {
        let text = std::fs::read(self.beside(".summary.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// The file next to the output whose name has `suffix` in addition.
    pub(crate) fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.output.clone().into_os_string();
        name.push(suffix);
        name.into()
    }
}

impl Running {
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// SIGKILL, unless it has just ended by itself: then its exit status.
    pub(crate) fn killed(mut self) -> Option<ExitStatus> {
        if let Some(status) = self.child.try_wait().unwrap() {
            return Some(status);
        }
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        status.code().map(|_| status)
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// What it has said so far.
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.errors).unwrap()).into_owned()
    }

    /// Waits until it has said this.
    pub(crate) fn says(&self, text: &str) {
        until(text, || self.stderr().contains(text).then_some(()));
    }

    pub(crate) fn ended(mut self) -> Ended {
        let status = until("the run to end", || self.child.try_wait().unwrap());
        Ended {
            code: status.code(),
            stderr: self.stderr(),
        }
    }

    pub(crate) fn ends_with(self, code: i32) -> Ended {
        let ended = self.ended();
        assert_eq!(ended.code, Some(code), "{}", ended.stderr);
        ended
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
        let _kept = std::fs::remove_file(&self.errors);
    }
}
