//! Running the tool and reading its report.

use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A run of the tool.
pub(crate) struct Tool {
    command: Command,
    dir: TempDir,
}

/// What a run came to.
pub(crate) struct Ran {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The first run of its report file, or null.
    pub(crate) report: Value,
}

impl Tool {
    /// Against a server on loopback, with further arguments.
    pub(crate) fn at(port: u16, args: &[&str]) -> Self {
        let mut tool = Self::with(&["--port", &port.to_string()]);
        // Tests run beside one another: pinned to the same CPU they would wait for one another.
        tool.command.args(["--cpus", "any", "--quiet", "--json"]);
        tool.command.arg(tool.dir.path().join("report.json"));
        tool.command.args(args);
        tool
    }

    /// With these arguments and nothing else.
    pub(crate) fn with(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
        command.args(args).stdin(Stdio::null());
        Self { command, dir: TempDir::with_prefix("loadgen-test-").expect("a temporary folder") }
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Runs it to its end.
    pub(crate) fn run(mut self) -> Ran {
        let output = self.command.output().expect("run the tool");
        self.ran(&output)
    }

    /// Runs it, and calls `meanwhile` with the process while it runs.
    pub(crate) fn run_while(mut self, meanwhile: impl FnOnce(&mut Child)) -> Ran {
        let child = self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("run the tool");
        meanwhile(&mut child);
        let output = child.wait_with_output().expect("wait for the tool");
        self.ran(&output)
    }

    fn ran(&self, output: &Output) -> Ran {
        let json = std::fs::read_to_string(self.dir.path().join("report.json")).ok();
        let document: Value =
            json.map_or(Value::Null, |json| serde_json::from_str(&json).expect("a report is JSON"));
        Ran {
            status: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            report: document["runs"][0].clone(),
        }
    }
}

/// Sends a process a signal, by name without `SIG`.
pub(crate) fn kill(pid: u32, name: &str) {
    let command = format!("kill -{name} {pid}");
    let status = Command::new("sh").args(["-c", &command]).status().expect("run kill");
    assert!(status.success(), "{command}");
}
