//! Starting and stopping as a user meets it: what is wrong is told in one sentence with the mend, and
//! an ordinary user with ordinary limits gets a server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use redis::{Connection, FromRedisValue};
use tempfile::TempDir;

/// How long anything may take that ought to happen at once. Tests wait for the thing, not for the time.
const PATIENCE: Duration = Duration::from_secs(30);

/// `nobody`, by whose rights root tests what ordinary users meet.
const NOBODY: u32 = 65_534;

const USUAL_LIMITS: &str = "ulimit -S -l 8192 && ulimit -H -l 8192 && ulimit -n 1024";

/// Nothing is kept: what keeps servers from their data is tested in `tests/durability`.
const NO_LOG: [&str; 2] = ["--durability", "memory"];

fn ringmain(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmain"));
    if !flags.contains(&NO_LOG[0]) {
        command.args(NO_LOG);
    }
    command.args(flags).stdin(Stdio::null());
    command
}

/// `ringmain` after the shell commands `limits`, as a user who is not root.
///
/// That user may not reach the directory in which root builds, so the binary comes open, as the
/// standard input.
fn ordinary_user(limits: &str, flags: &[&str]) -> Command {
    let binary = File::open(env!("CARGO_BIN_EXE_ringmain")).unwrap();
    let script = format!("{limits} && exec /proc/self/fd/0 \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, "ringmain"]).args(NO_LOG).args(flags);
    command.current_dir("/").stdin(binary);
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Runs what is expected not to start. Fails if it is still running after a while.
#[track_caller]
fn fails(mut command: Command) -> (i32, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait(&mut child);
    let Output { status, stderr, stdout } = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&stdout), "", "{stderr}");
    (status.code().expect("no signal ended it"), stderr)
}

/// Checks that a start fails with `code` and one sentence that starts and ends so.
#[track_caller]
fn refuses(command: Command, code: i32, start: &str, end: &str) {
    let (found, text) = fails(command);
    let sentence = text.strip_prefix("ringmain: ").expect(&text).trim_end();
    assert!(sentence.starts_with(start) && sentence.ends_with(end), "{text}");
    assert_eq!((found, sentence.lines().count()), (code, 1), "{text}");
}

/// Waits for the end of `child`; kills it and fails if it does not come.
#[track_caller]
fn wait(child: &mut Child) -> i32 {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or(-1);
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    panic!("it is still running");
}

/// A server that has come up; killed when it is dropped.
struct Server {
    child: Child,
    port: u16,
    stdout: BufReader<ChildStdout>,
}

impl Server {
    /// Starts `command` and waits until it says where it serves.
    #[track_caller]
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (found, finding) = mpsc::channel();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            let mut line = String::new();
            let _ = stdout.read_line(&mut line);
            found.send((line, stdout)).unwrap();
        });
        let (line, stdout) = finding.recv_timeout(PATIENCE).expect("it says something");
        let port = line.trim_end().rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let Some(port) = port else {
            let _ = child.kill();
            let mut text = String::new();
            let _ = child.stderr.take().unwrap().read_to_string(&mut text);
            panic!("no server: {line}{text}");
        };
        Self { child, port, stdout }
    }

    /// The lines that follow the first that it says, up to the one that tells how to try it.
    fn banner(&mut self) -> String {
        let mut text = String::new();
        while !text.contains("  try ") {
            assert!(self.stdout.read_line(&mut text).unwrap() > 0, "{text}");
        }
        text
    }

    fn connect(&self) -> Connection {
        let client = redis::Client::open(("127.0.0.1", self.port)).unwrap();
        client.get_connection_with_timeout(PATIENCE).unwrap()
    }

    /// Sends `signal` (a name that `kill` knows) and waits for the end.
    #[track_caller]
    fn stop(mut self, signal: &str) -> i32 {
        let kill = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        wait(&mut self.child)
    }

    /// What it has written to the standard error by the time it has stopped.
    fn log(mut self) -> String {
        let mut stderr = self.child.stderr.take().unwrap();
        self.stop("TERM");
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config<T: FromRedisValue>(connection: &mut Connection, words: &[&str]) -> T {
    redis::cmd("config").arg(words).query(connection).unwrap()
}

/// The value of one parameter.
fn parameter(connection: &mut Connection, name: &str) -> String {
    let answer: Vec<String> = config(connection, &["get", name]);
    answer[1].clone()
}

fn written(directory: &TempDir, text: &str) -> String {
    let path = directory.path().join("ringmain.toml");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_wrong_value_of_a_flag_is_told_in_one_sentence() {
    for (flags, start) in [
        (["--port", "70000"], "--port can't be '70000': it takes a number from 0 to 65535"),
        (["--shards", "0"], "--shards can't be '0': it takes a number from 1 to 1024"),
        (["--maxmemory", "lots"], "--maxmemory can't be 'lots': it takes a size such as 100mb"),
        (["--maxmemory-policy", "allkeys-lfu"], "--maxmemory-policy can't be 'allkeys-lfu': it"),
        (["--durability", "always"], "--durability can't be 'always': it takes one of memory"),
        (["--bind", "here"], "--bind can't be 'here': it takes IP addresses"),
        (["--cpus", "3-1"], "--cpus can't be '3-1': it takes a list of CPUs"),
        (["--appendonly", "yes"], "--appendonly can't be 'yes': it takes no only"),
        (["--config", "/nowhere.toml"], "The file '/nowhere.toml' after --config can't be read"),
    ] {
        refuses(ringmain(&flags), 2, start, ".");
    }
}

#[test]
fn a_wrong_flag_is_told_with_the_right_one() {
    for (flags, part) in [
        (&["--prot", "1"][..], "--port"),
        (&["--port"], "--port"),
        (&["stray"], "stray"),
        (&["--port", "1", "--port", "2"], "--port"),
    ] {
        let (code, text) = fails(ringmain(flags));
        assert!(code == 2 && text.contains(part), "{code} {text}");
    }
}

#[test]
fn help_and_version_are_no_errors() {
    let help = ringmain(&["--help"]).output().unwrap();
    let text = String::from_utf8(help.stdout).unwrap();
    for row in ringmain::config::parameter::PARAMETERS {
        let is_fixed = matches!(row.form, ringmain::config::parameter::Form::Fixed(_));
        assert_eq!(text.contains(&format!("--{} ", row.name)), !is_fixed, "{}", row.name);
    }
    assert_eq!(help.status.code(), Some(0));
    let version = ringmain(&["--version"]).output().unwrap();
    assert_eq!(version.status.code(), Some(0));
    assert!(version.stdout.starts_with(b"ringmain "));
}

#[test]
fn a_wrong_file_is_told_with_the_line() {
    let directory = tempfile::tempdir().unwrap();
    for (text, start) in [
        ("port = 1\nmaxcleints = 3", ", line 2: there is no parameter 'maxcleints'; did you mean"),
        ("[server]\nport = 1", ", line 1: there is no parameter 'server'"),
        ("port = \"high\"", ", line 1: port can't be \"high\": it takes a number from 0 to 65535"),
        ("shards = 1.5", ", line 1: shards can't be 1.5: it takes a number from 1 to 1024"),
        ("\n\nport 6379", ", line 3 is not TOML: "),
    ] {
        let path = written(&directory, text);
        refuses(ringmain(&["--config", &path]), 2, &format!("{path}{start}"), ".");
    }
}

#[test]
fn a_busy_port_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let start = format!("Something else listens on 127.0.0.1:{port}: ");
    let end = "choose another --port or --shard-port-base.";
    refuses(ringmain(&["--port", &port]), 1, &start, end);
    let flags = ["--port", "0", "--cpus", &first_cpu(), "--shard-port-base", &port];
    refuses(ringmain(&flags), 1, &start, end);
}

#[test]
fn two_servers_do_not_share_a_port() {
    let server = Server::start(ringmain(&["--port", "0"]));
    let port = server.port.to_string();
    refuses(
        ringmain(&["--port", &port, "--shard-port-base", "0"]),
        1,
        &format!("Something else listens on 127.0.0.1:{port}: "),
        ".",
    );
}

fn first_cpu() -> String {
    ringmain::config::available_cpus()[0].to_string()
}

#[test]
fn an_address_of_another_machine_is_told_unless_it_is_optional() {
    // 192.0.2.1 is kept for documentation (RFC 5737): no machine has it.
    refuses(
        ringmain(&["--port", "0", "--bind", "192.0.2.1", "--requirepass", "secret"]),
        1,
        "This machine has no address 192.0.2.1: give --bind an address",
        ".",
    );
    let server = Server::start(ringmain(&["--port", "0", "--bind", "127.0.0.1 -192.0.2.1"]));
    assert_eq!(parameter(&mut server.connect(), "bind"), "127.0.0.1 -192.0.2.1");
}

#[test]
fn what_contradicts_itself_or_is_not_there_is_told() {
    let cpu = first_cpu();
    for (flags, code, start) in [
        (&["--port", "7000", "--shard-port-base", "7000"][..], 2, "The shard ports 7000 to 7000 "),
        (&["--cpus", "8191"], 1, "This process may not use CPU 8191 that --cpus names, only "),
        (&["--dir", "/nowhere"], 1, "There is no directory '/nowhere': "),
        (&["--dir", "/etc/passwd"], 1, "'/etc/passwd' is not a directory: "),
    ] {
        let flags = [&["--cpus", &cpu][..], flags].concat();
        // CPUs given twice would be a usage error.
        let flags = if flags.contains(&"8191") { &flags[2..] } else { &flags[..] };
        refuses(ringmain(flags), code, start, ".");
    }
}

#[test]
fn a_privileged_port_is_told() {
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if first.trim().parse::<u16>().unwrap() <= 1 {
        eprintln!("no port is privileged here: nothing to test");
        return;
    }
    refuses(
        ordinary_user("true", &["--port", "1", "--shard-port-base", "0"]),
        1,
        "This user may not listen on port 1: ",
        ".",
    );
}

#[test]
fn a_directory_that_is_closed_is_told() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let path = directory.path().to_str().unwrap();
    refuses(
        ordinary_user("true", &["--port", "0", "--dir", path]),
        1,
        &format!("The directory '{path}' can't be written to (Permission denied"),
        "name another one with --dir.",
    );
}

#[test]
fn too_few_files_are_told() {
    refuses(
        ordinary_user("ulimit -n 30", &["--port", "0"]),
        1,
        "30 open files are too few: raise the limit to ",
        "with LimitNOFILE in a systemd unit.",
    );
}

#[test]
fn fewer_files_than_wished_for_lower_maxclients() {
    let server = Server::start(ordinary_user("ulimit -n 800", &["--port", "0"]));
    let mut connection = server.connect();
    let clients: u32 = parameter(&mut connection, "maxclients").parse().unwrap();
    assert!((32..800).contains(&clients), "{clients}");
    let set = redis::cmd("config").arg(&["set", "maxclients", "5000"]).query::<()>(&mut connection);
    let told = set.unwrap_err().to_string();
    assert!(told.contains(&format!("number of clients, try with {clients}")), "{told}");
    drop(connection);
    let log = server.log();
    assert!(log.contains(&format!("maxclients is {clients} instead of 10000")), "{log}");
}

#[test]
fn too_little_lockable_memory_is_told() {
    refuses(
        ordinary_user("ulimit -l 64", &["--port", "0"]),
        1,
        "64 KiB of lockable memory are too little: raise the limit to ",
        "K in a systemd unit.",
    );
}

#[test]
fn an_ordinary_user_with_the_usual_limits_gets_a_server() {
    let server = Server::start(ordinary_user(USUAL_LIMITS, &["--port", "0"]));
    let mut connection = server.connect();
    let answer: String = redis::cmd("ping").query(&mut connection).unwrap();
    assert_eq!(answer, "PONG");
    let cores = ringmain::config::available_cpus().len();
    assert_eq!(parameter(&mut connection, "shards"), cores.min(granted_cpus()).to_string());
}

fn granted_cpus() -> usize {
    thread::available_parallelism().unwrap().get()
}

#[test]
fn a_sandbox_without_io_uring_is_told() {
    for call in [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register] {
        let mut command = ringmain(&["--port", "0"]);
        // SAFETY: between fork and exec only system calls are made, on memory of this function's own.
        unsafe { command.pre_exec(move || forbid(call)) };
        refuses(command, 1, "A container or sandbox forbids io_uring: allow io_uring_setup, ", ".");
    }
}

/// Makes the system call `number` fail with `EPERM`, as a container's seccomp profile does.
fn forbid(number: i64) -> std::io::Result<()> {
    let number = u32::try_from(number).map_err(std::io::Error::other)?;
    let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap_or(u16::MAX),
        jt,
        jf,
        k,
    };
    // The number of the call is the first word of `seccomp_data`.
    let mut filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number),
        step(
            libc::BPF_RET | libc::BPF_K,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs(),
        ),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: `program` points to `filter`, both live until the call returns; the kernel copies them.
    let results = unsafe {
        [
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program),
        ]
    };
    if results == [0, 0] { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// With nothing but a port: what there is by default is said, and is there.
#[test]
fn what_is_not_asked_for_is_there_by_default() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..20 {
        let port =
            TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() / 2 + 2_000;
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringmain"));
        command.args(["--port", &port.to_string()]).current_dir(folder.path()).stdin(Stdio::null());
        let cores = u16::try_from(granted_cpus()).unwrap();
        let wanted = (0..cores).map(|core| port + 10_000 + core).chain([port, port + 1]);
        // Somebody else may have one of them: then others are tried.
        if wanted.into_iter().any(|port| TcpListener::bind(("127.0.0.1", port)).is_err()) {
            continue;
        }
        let mut server = Server::start(command);
        let banner = server.banner();
        let cpus = ringmain::config::available_cpus();
        let cpus = cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        for line in [
            format!("cores       {cores} on CPU {cpus}, {cores} shards"),
            format!("binary port {}", port + 1),
            "durability  async, in ".to_owned(),
            format!("try         redis-cli -p {port} set hello world"),
        ] {
            assert!(banner.contains(&line), "no {line} in {banner}");
        }
        assert!(banner.contains(&format!("core ports  {}", port + 10_000)), "{banner}");
        // Its first byte shows what is spoken there.
        let mut binary = std::net::TcpStream::connect(("127.0.0.1", port + 1)).unwrap();
        binary.write_all(b"PING\r\n").unwrap();
        let mut answer = [0; 64];
        let length = binary.read(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        assert!(answer.contains("this port speaks the binary protocol"), "{answer}");
        let mut core = std::net::TcpStream::connect(("127.0.0.1", port + 10_000)).unwrap();
        core.write_all(b"PING\r\n").unwrap();
        let mut answer = [0; 7];
        core.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"+PONG\r\n");
        assert!(folder.path().join("ringmain-data/shard-0000/manifest").exists());
        // Each core's thread may run on its CPU alone.
        let mut pinned = Vec::new();
        for task in fs::read_dir(format!("/proc/{}/task", server.child.id())).unwrap() {
            let task = task.unwrap().path();
            let name = fs::read_to_string(task.join("comm")).unwrap();
            if name.starts_with("core-") {
                let status = fs::read_to_string(task.join("status")).unwrap();
                let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
                pinned.push(list.unwrap().trim().parse::<u64>().unwrap());
            }
        }
        pinned.sort_unstable();
        pinned.dedup();
        assert_eq!(pinned.len(), usize::from(cores), "{pinned:?}");
        assert_eq!(server.stop("TERM"), 0);
        return;
    }
    panic!("no free ports in twenty attempts");
}

#[test]
fn signals_stop_the_server_cleanly() {
    for signal in ["TERM", "INT"] {
        let server = Server::start(ringmain(&["--port", "0"]));
        let _connection = server.connect();
        assert_eq!(server.stop(signal), 0, "{signal}");
    }
}

#[test]
fn the_file_is_read_changed_and_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = written(&directory, "# mine\nport = 0\nmaxmemory = \"100mb\" # enough\n");
    let server = Server::start(ringmain(&["--config", &path, "--timeout", "100"]));
    let mut connection = server.connect();
    assert_eq!(parameter(&mut connection, "maxmemory"), "104857600");
    let () = config(&mut connection, &["set", "maxmemory", "200mb", "loglevel", "warning"]);
    let () = config(&mut connection, &["rewrite"]);
    drop(connection);
    assert_eq!(server.stop("TERM"), 0);
    let text = fs::read_to_string(Path::new(&path)).unwrap();
    assert!(text.starts_with("# mine\nport = 0\nmaxmemory = \"200mb\" # enough\n"), "{text}");

    let server = Server::start(ringmain(&["--config", &path]));
    let mut connection = server.connect();
    for (name, value) in [("maxmemory", "209715200"), ("timeout", "100"), ("loglevel", "warning")] {
        assert_eq!(parameter(&mut connection, name), value);
    }
}
