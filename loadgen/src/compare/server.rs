//! One server as a child process: started on its CPUs, waited for, and always stopped.
//!
//! The server leads a process group of its own, so that whatever it starts is stopped with it and a
//! Ctrl-C on the terminal reaches this tool alone. It is stopped when its `ServerProcess` goes, and
//! by the kernel if this tool dies without a chance to do so.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, set_parent_process_death_signal};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::cpus::{self, CpuList};
use crate::report::table::clean;

/// Where servers are started.
pub(super) const HOST: &str = "127.0.0.1";
/// How much of what a server printed is kept.
const LINES_MAX: usize = 12;
const LINE_BYTES_MAX: u64 = 400;
/// Between two looks at a server that starts or stops.
const POLL: Duration = Duration::from_millis(20);
/// How long an answer to a probe may take before the next is sent.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a server may take to end when asked to; then it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last words of a server that ended are waited for.
const WORDS_TIMEOUT: Duration = Duration::from_secs(1);
/// How often ports are drawn until all that a command asks for are free.
const PORT_DRAWS_MAX: u32 = 100;

/// A server as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) command: String,
    /// The command's words, placeholders still in them.
    words: Vec<String>,
}

impl FromStr for Spec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, command) =
            text.split_once('=').ok_or("a server is given as NAME=COMMAND".to_owned())?;
        let (name, command) = (name.trim(), command.trim());
        if name.is_empty() {
            return Err("a server needs a name in front of the =".to_owned());
        }
        let words = shlex::split(command)
            .ok_or_else(|| format!("the quotes in the command of {name} don't match"))?;
        if words.is_empty() {
            return Err(format!("{name} has no command"));
        }
        if !command.contains("{port}") {
            return Err(format!("the command of {name} has no {{port}}"));
        }
        let spec = Self { name: name.to_owned(), command: command.to_owned(), words };
        spec.offsets()?;
        Ok(spec)
    }
}

impl Spec {
    /// The ports it wants, as distances from the first.
    fn offsets(&self) -> Result<Vec<u16>, String> {
        let mut offsets = vec![0];
        for part in self.command.split("{port+").skip(1) {
            let number = part.split_once('}').and_then(|(number, _)| number.parse().ok());
            let number: u16 = number.filter(|n| *n > 0 && *n < 10_000).ok_or_else(|| {
                format!("the command of {} has a {{port+...}} that is no number", self.name)
            })?;
            offsets.push(number);
        }
        Ok(offsets)
    }

    fn command_line(&self, port: u16, offsets: &[u16]) -> Vec<String> {
        let fill = |word: &String| {
            let word = word.replace("{port}", &port.to_string());
            offsets.iter().fold(word, |word, offset| {
                word.replace(&format!("{{port+{offset}}}"), &(port + offset).to_string())
            })
        };
        self.words.iter().map(fill).collect()
    }
}

/// A server that runs.
pub(super) struct ServerProcess {
    child: Child,
    group: Pid,
    port: u16,
    words: Arc<Mutex<VecDeque<String>>>,
    listener: thread::JoinHandle<()>,
}

impl ServerProcess {
    /// Starts a server and waits until it answers. The error names it and brings its last words.
    pub(super) fn start(
        spec: &Spec,
        cpus: Option<&CpuList>,
        timeout: Duration,
        stop: &AtomicBool,
    ) -> Result<Self, String> {
        let offsets = spec.offsets()?;
        let port = free_port(&offsets)?;
        let line = spec.command_line(port, &offsets);
        let set = cpus.map(CpuList::set);
        let (child, output) = spawn(&line, set)
            .map_err(|error| format!("{} does not start: {}: {error}", spec.name, line[0]))?;
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let words = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&words);
        let listener = thread::spawn(move || listen(output, &kept));
        let group = id.ok_or_else(|| format!("{} has no process id", spec.name))?;
        let mut server = Self { child, group, port, words, listener };
        match server.wait_until_ready(timeout, stop) {
            Ok(()) => Ok(server),
            Err(why) => Err(format!("{} does not start: {why}{}", spec.name, server.last_words())),
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Processor time it has used so far, with all it started.
    pub(super) fn cpu_s(&self) -> Option<f64> {
        cpus::group_cpu_s(self.group.as_raw_nonzero().get())
    }

    /// Its name, and what it said last if it is no more.
    pub(super) fn described(&self, spec: &Spec) -> String {
        let is_gone = !cpus::is_alive(self.group.as_raw_nonzero().get());
        if is_gone {
            format!("{} has ended{}", spec.name, self.last_words())
        } else {
            spec.name.clone()
        }
    }

    fn wait_until_ready(&mut self, timeout: Duration, stop: &AtomicBool) -> Result<(), String> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait().map_err(|error| error.to_string())? {
                return Err(format!("it ended with {status}"));
            }
            if answers(self.port) {
                return Ok(());
            }
            if stop.load(Ordering::Relaxed) {
                return Err("interrupted".to_owned());
            }
            if Instant::now() >= deadline {
                return Err(format!("no answer on port {} in {timeout:?}", self.port));
            }
            thread::sleep(POLL);
        }
    }

    /// The last lines it printed, one under the other.
    fn last_words(&self) -> String {
        let deadline = Instant::now() + WORDS_TIMEOUT;
        while !self.listener.is_finished() && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        words.iter().map(|line| format!("\n    {}", clean(line))).collect()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = kill_process_group(self.group, Signal::TERM);
        let deadline = Instant::now() + STOP_TIMEOUT;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        // Whatever is left of the group, the server's own children among them.
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Both outputs of the child come through one pipe.
fn spawn(line: &[String], set: Option<CpuSet>) -> io::Result<(Child, io::PipeReader)> {
    let (output, input) = io::pipe()?;
    let mut command = Command::new(&line[0]);
    command
        .args(&line[1..])
        .stdin(Stdio::null())
        .stdout(input.try_clone()?)
        .stderr(input)
        .process_group(0);
    let prepare = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        set.map_or(Ok(()), |set| sched_setaffinity(None, &set))?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes two system calls, and neither allocates nor
    // locks; the set was made before the fork.
    unsafe {
        command.pre_exec(prepare);
    }
    // The command holds the pipe's other end until it goes.
    Ok((command.spawn()?, output))
}

/// Keeps the last lines of what a server prints, and keeps it from waiting for a full pipe.
fn listen(output: io::PipeReader, words: &Mutex<VecDeque<String>>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        match output.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if text.is_empty() {
            continue;
        }
        let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
        if words.len() == LINES_MAX {
            words.pop_front();
        }
        words.push_back(text);
    }
}

/// Whether something on the port answers a `PING`, with whatever it may be.
fn answers(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, PROBE_TIMEOUT) else { return false };
    let is_sent = stream.set_read_timeout(Some(PROBE_TIMEOUT)).is_ok()
        && stream.write_all(b"*1\r\n$4\r\nPING\r\n").is_ok();
    is_sent && matches!(stream.read(&mut [0; 64]), Ok(1..))
}

/// A port that is free now, as are those at the given distances from it.
fn free_port(offsets: &[u16]) -> Result<u16, String> {
    for _ in 0..PORT_DRAWS_MAX {
        let drawn = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| it.local_addr());
        let port = drawn.map_err(|error| format!("no port is free: {error}"))?.port();
        let is_free = |offset: &u16| {
            let port = port.checked_add(*offset);
            port.is_some_and(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        };
        if offsets.iter().all(is_free) {
            return Ok(port);
        }
    }
    Err("no ports are free at the distances that the command asks for".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_with_their_quotes_and_ports() {
        let text = "fast = ./fast --port {port} --name 'a b' --more={port+100}x{port}";
        let spec: Spec = text.parse().unwrap();
        assert_eq!(spec.name, "fast");
        let offsets = spec.offsets().unwrap();
        assert_eq!(
            spec.command_line(7000, &offsets),
            ["./fast", "--port", "7000", "--name", "a b", "--more=7100x7000"]
        );
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        let cases = [
            ("redis-server --port {port}", "NAME=COMMAND"),
            ("=redis-server --port {port}", "needs a name"),
            ("a=", "has no command"),
            ("a=redis-server", "has no {port}"),
            ("a=redis-server '{port}", "quotes"),
            ("a=x {port} {port+}", "no number"),
            ("a=x {port} {port+1", "no number"),
            ("a=x {port} {port+10000}", "no number"),
        ];
        for (text, why) in cases {
            let error = text.parse::<Spec>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
