//! The processes that are measured: the server and the bare loop, where they run, and what they have used so far.
//!
//! *Invariant:* whoever was started is ended, also when an error cuts a measurement short.

use core::net::SocketAddr;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};

/// Which core the server runs on and which the load; None leaves it to the system.
#[derive(Clone, Copy)]
pub struct Cores(Option<[usize; 2]>);

/// Both on the first core: the steadier figures, for what passes between two cores costs now this, now that.
pub const SAME: Cores = Cores(Some([0, 0]));
/// Each on a core of its own.
pub const APART: Cores = Cores(Some([0, 1]));
/// Wherever the system puts them.
pub const ANY: Cores = Cores(None);

impl Cores {
    /// These, or wherever the system puts things that cannot be pinned.
    pub fn or_any(self) -> Self {
        let Some(cores) = self.0 else { return self };
        let can = |core: usize| {
            let mut taskset = Command::new("taskset");
            taskset.args(["-c", &core.to_string(), "true"]).stderr(Stdio::null());
            taskset.status().is_ok_and(|status| status.success())
        };
        if cores.into_iter().all(can) { self } else { ANY }
    }

    /// Moves this process to where the load is to be, or lets it go again.
    pub fn pin_load(self) {
        let cores = self.0.map_or("0-1023".into(), |[_, core]| core.to_string());
        let mut taskset = Command::new("taskset");
        taskset.args(["-c", "-p", &cores, &std::process::id().to_string()]);
        // Whether that can be done has been tried before.
        let _ = taskset.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }

    /// Whether the load has a core to itself, and can wait by looking again and again: the server then never pays for
    /// waking it.
    pub fn load_spins(self) -> bool {
        self.0.is_some_and(|[server, load]| server != load)
    }

    /// How to say it.
    pub fn name(self) -> &'static str {
        match self.0 {
            Some([0, 0]) => "server and load on the same core",
            Some(_) => "server on core 0, load on core 1",
            None => "not pinned (taskset or a second core is missing)",
        }
    }

    fn command(self, program: &str) -> Command {
        let Some([core, _]) = self.0 else { return Command::new(program) };
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string(), program]);
        command
    }
}

/// The server as this build has it.
pub const BINARY: &str = env!("CARGO_BIN_EXE_streamer");

/// A process that serves.
pub struct Process {
    child: Child,
    /// Held open, for a server that cannot say what it has to say may end.
    _stderr: BufReader<ChildStderr>,
    pub address: SocketAddr,
}

impl Process {
    /// The server, built as it is released: one worker, ports of the system's choosing, and `flags`.
    pub fn server(cores: Cores, flags: &[&str]) -> io::Result<Self> {
        Self::of(BINARY, cores, flags, Stdio::null())
    }

    /// The same of any build, the file `program`; what it writes to standard output goes to `log`.
    pub fn of(program: &str, cores: Cores, flags: &[&str], log: impl Into<Stdio>) -> io::Result<Self> {
        let mut command = cores.command(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--limit", "3"]);
        for (flag, value) in [("--workers", "1"), ("--admin", "127.0.0.1:0"), ("--log", "off")] {
            if !flags.contains(&flag) {
                command.args([flag, value]);
            }
        }
        Self::start(command.args(flags).stdout(log))
    }

    /// The bare loop.
    pub fn bare(cores: Cores) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        Self::start(
            cores.command(&program.to_string_lossy()).arg(super::bare::ARGUMENT).stdout(Stdio::null()),
        )
    }

    fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let Some(stderr) = child.stderr.take() else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let mut stderr = BufReader::new(stderr);
        match read_address(&mut stderr) {
            Ok(address) => Ok(Self { child, _stderr: stderr, address }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Seconds that its threads have run so far.
    pub fn cpu_seconds(&self) -> f64 {
        cpu_seconds(self.child.id())
    }

    /// Bytes of memory that it holds. Not a number where there is no `/proc`.
    pub fn resident(&self) -> f64 {
        self.status("VmRSS:")
    }

    /// The most bytes of memory that it has held. Not a number where there is no `/proc`.
    pub fn peak(&self) -> f64 {
        self.status("VmHWM:")
    }

    fn status(&self, field: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kibibytes = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<f64>().ok());
        kibibytes.map_or(f64::NAN, |kibibytes| kibibytes * 1024.0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Seconds that the threads of a process have run so far.
///
/// Of `/proc/PID/task/TID/schedstat` the first number, in nanoseconds; `/proc/PID/stat` counts the same in hundredths of a
/// second. Not a number where there is no `/proc`.
pub fn cpu_seconds(pid: u32) -> f64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return f64::NAN };
    let nanos = tasks.flatten().filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_ascii_whitespace().next()?.parse::<f64>().ok()
    });
    nanos.sum::<f64>() / 1e9
}

/// The first address in `listens on http://ADDRESS`; what is said before that line is passed on.
fn read_address(stderr: &mut impl BufRead) -> io::Result<SocketAddr> {
    let mut line = String::new();
    while stderr.read_line(&mut line)? > 0 {
        let rest = line.split_once(" listens on http://").map(|(_, rest)| rest);
        if let Some(address) = rest.and_then(|rest| rest.split_ascii_whitespace().next()) {
            return address.parse().map_err(io::Error::other);
        }
        eprint!("{line}");
        line.clear();
    }
    Err(io::Error::other("a process ended before it served"))
}

/// A file for this run, in the directory that Cargo gives benches.
pub fn scratch(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}
