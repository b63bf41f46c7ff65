//! The harness: the real program as a process, and a client that shows every byte of an answer.
//!
//! Nothing here can hang: whatever waits gives up after [`PATIENCE`]. Nothing sleeps either: each wait is for a byte, a
//! line or an end.

use core::net::SocketAddr;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use streamer::codec::base64;

/// How long anything may take that should take no time at all.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The program, with these arguments, an empty environment, and a pipe for its standard output.
pub fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_streamer"));
    command.args(args).env_clear().stdout(Stdio::piped());
    command
}

/// The path of an example, as `cargo test` has built it.
#[track_caller]
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this is a program");
    let path = test.parent().and_then(Path::parent).expect("it is in a folder").join("examples").join(name);
    assert!(path.exists(), "{} is not built: cargo build --examples", path.display());
    path
}

/// Runs the program to its end.
#[track_caller]
pub fn run(args: &[&str]) -> Ended {
    Process::spawn(&mut program(args)).end()
}

/// A running program whose outputs are collected. It is killed when dropped.
pub struct Process {
    child: Child,
    pub stdout: Collected,
    pub stderr: Collected,
}

/// What a program left behind.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Process {
    /// Starts `command`. Its outputs are collected, but for a standard output that it has been given already.
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let stdout = child.stdout.take().map_or_else(Collected::nothing, Collected::new);
        let stderr = child.stderr.take().map_or_else(Collected::nothing, Collected::new);
        Self { child, stdout, stderr }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal: `TERM`, `INT`, `HUP`, `STOP` or `CONT`.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        self.signals(name, 1);
    }

    /// Sends it a signal so many times.
    #[track_caller]
    pub fn signals(&self, name: &str, times: u32) {
        // The shell's own `kill`: no other program need be there.
        let kill =
            format!("i=0; while [ $i -lt {times} ]; do kill -{name} {}; i=$((i+1)); done", self.child.id());
        assert!(Command::new("/bin/sh").args(["-c", &kill]).status().expect("there is a shell").success());
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        // It never closes its standard error, so the end of that is the end of it.
        let stderr = self.stderr.all();
        let status = self.child.wait().expect("it is our child");
        Ended { status, stdout: self.stdout.all(), stderr }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail for a child that has ended already, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What comes out of a pipe, as far as it has come.
pub struct Collected(Arc<(Mutex<Text>, Condvar)>);

#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    ended: bool,
}

impl Collected {
    fn new(mut pipe: impl Read + Send + 'static) -> Self {
        let collected = Self::empty();
        let shared = Arc::clone(&collected.0);
        thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            loop {
                let read = read(&mut pipe, &mut buffer).unwrap_or(0);
                let mut text = shared.0.lock().unwrap();
                text.bytes.extend_from_slice(&buffer[..read]);
                text.ended = read == 0;
                shared.1.notify_all();
                if text.ended {
                    return;
                }
            }
        });
        collected
    }

    fn empty() -> Self {
        Self(Arc::default())
    }

    fn nothing() -> Self {
        let collected = Self::empty();
        collected.0.0.lock().unwrap().ended = true;
        collected
    }

    /// Waits for a line that holds `needle`; returns the first.
    #[track_caller]
    pub fn line(&self, needle: &str) -> String {
        let line = |text: &str| whole_lines(text).find(|line| line.contains(needle)).map(str::to_owned);
        self.when(&format!("line with {needle:?}"), line)
    }

    /// Waits for so many lines; returns all that there are by then.
    #[track_caller]
    pub fn lines(&self, n: usize) -> Vec<String> {
        let lines = |text: &str| {
            let lines: Vec<String> = whole_lines(text).map(str::to_owned).collect();
            (lines.len() >= n).then_some(lines)
        };
        self.when(&format!("{n} lines"), lines)
    }

    /// Waits until it ends; returns all of it.
    #[track_caller]
    pub fn all(&self) -> String {
        let text = self.wait(|text| text.ended);
        assert!(text.ended, "the program goes on; so far: {}", String::from_utf8_lossy(&text.bytes));
        String::from_utf8(text.bytes.clone()).expect("programs write UTF-8")
    }

    #[track_caller]
    fn when<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        let find = |text: &Text| find(&String::from_utf8_lossy(&text.bytes));
        let text = self.wait(|text| text.ended || find(text).is_some());
        find(&text).unwrap_or_else(|| panic!("no {what} in: {}", String::from_utf8_lossy(&text.bytes)))
    }

    fn wait(&self, until: impl Fn(&Text) -> bool) -> MutexGuard<'_, Text> {
        let (text, changed) = &*self.0;
        changed.wait_timeout_while(text.lock().unwrap(), PATIENCE, |text| !until(text)).unwrap().0
    }
}

fn whole_lines(text: &str) -> impl Iterator<Item = &str> {
    text.rsplit_once('\n').map_or("", |(whole, _)| whole).lines()
}

/// A server that listens on ports of the system's choice. It is killed when dropped.
pub struct Server {
    pub process: Process,
    /// What it said at its start.
    pub greeting: String,
    pub listen: SocketAddr,
    /// None when started with `--admin off`.
    pub admin: Option<SocketAddr>,
    /// What its store needs, if that is one of the harness's choice.
    _store: Option<Scratch>,
}

impl Server {
    /// Starts a server with these flags.
    #[track_caller]
    pub fn start(flags: &[&str]) -> Self {
        Self::spawn(&mut program(flags))
    }

    /// Starts a server by a command that has all but the flags for its addresses; it gets those of the two that it lacks.
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Self {
        for flag in ["--listen", "--admin"] {
            if !command.get_args().any(|arg| arg == flag) {
                command.args([flag, "127.0.0.1:0"]);
            }
        }
        let store = test_store(command);
        let process = Process::spawn(command);
        let greeting = process.stderr.line(" listens on http://");
        let address = |label: &str| {
            let (_, rest) = greeting.split_once(label)?;
            rest.split([' ', ')']).next()?.parse().ok()
        };
        let listen = address("listens on http://").expect("the greeting names the address");
        let admin = address("admin on http://");
        let server = Self { process, greeting, listen, admin, _store: store };
        // A start does not wait for long for an engine.
        if is_remote() && server.admin.is_some() {
            eventually("it can use its store", || server.look("/readyz").status == 200);
        }
        server
    }

    /// The server of one page, `examples/small.rs`.
    #[track_caller]
    pub fn small() -> Self {
        let mut command = Command::new(example("small"));
        let process = Process::spawn(command.arg("127.0.0.1:0").stdout(Stdio::piped()));
        let greeting = process.stdout.line("listening on http://");
        let listen = greeting.rsplit('/').next().unwrap_or_default().parse();
        Self { process, listen: listen.expect("it names its address"), greeting, admin: None, _store: None }
    }

    /// Where operators connect.
    #[track_caller]
    pub fn admin(&self) -> SocketAddr {
        self.admin.expect("the server has an admin listener")
    }

    /// A new connection to the public listener.
    #[track_caller]
    pub fn connect(&self) -> Client {
        Client::connect(self.listen)
    }

    /// One call on a connection of its own: see [`Client::call`].
    #[track_caller]
    pub fn call(&self, user: &str, request_line: &str, body: &str) -> Response {
        self.connect().call(user, request_line, body)
    }

    /// One GET of the admin listener.
    #[track_caller]
    pub fn look(&self, target: &str) -> Response {
        Client::connect(self.admin()).ask(&format!("GET {target}"), &[], "")
    }

    /// One sample of `/metrics`, named with its labels, has to be this, if the program has metrics.
    #[track_caller]
    pub fn check_metric(&self, sample: &str, expected: f64) {
        if cfg!(feature = "operators") {
            assert_eq!(self.metric(sample), expected, "{sample}");
        }
    }

    /// What `/metrics` says of one sample, named with its labels.
    #[track_caller]
    pub fn metric(&self, sample: &str) -> f64 {
        let body = self.look("/metrics").body;
        let value = body.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {sample} in {body}")).parse().expect("a sample is a number")
    }

    /// Ends it as an operator would; returns how that went.
    #[track_caller]
    pub fn stop(self) -> Ended {
        self.process.signal("TERM");
        self.process.end()
    }
}

/// A connection.
pub struct Client {
    pub stream: TcpStream,
    /// What has been read of the answer after the last one.
    ahead: Vec<u8>,
}

/// An answer, checked for what all answers have in common.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub fields: Vec<(String, String)>,
    pub body: String,
}

impl Client {
    /// Connects.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, ahead: Vec::new() }
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the server takes what it is sent");
    }

    /// Says that nothing more will be sent.
    #[track_caller]
    pub fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("the connection is open");
    }

    /// Asks as `user`, with the token `x`: `call("alice", "POST /?id=V", "")`.
    #[track_caller]
    pub fn call(&mut self, user: &str, request_line: &str, body: &str) -> Response {
        self.ask(request_line, &[&basic(user, "x")], body)
    }

    /// Asks with these fields beside `Host` and `Content-Length`.
    #[track_caller]
    pub fn ask(&mut self, request_line: &str, fields: &[&str], body: &str) -> Response {
        self.send(request(request_line, fields, body));
        if request_line.starts_with("HEAD ") { self.answer_to_head() } else { self.answer() }
    }

    /// Reads exactly one answer.
    #[track_caller]
    pub fn answer(&mut self) -> Response {
        let mut answer = self.answer_to_head();
        if let Some(length) = answer.field("content-length") {
            let length = length.parse().expect("a length is a number");
            self.read_until(|bytes| (bytes.len() >= length).then_some(length));
            answer.body = String::from_utf8(self.ahead.drain(..length).collect()).expect("bodies are UTF-8");
        }
        answer
    }

    /// Reads exactly one answer that has no body, whatever its length says.
    #[track_caller]
    pub fn answer_to_head(&mut self) -> Response {
        let end = self.read_until(|bytes| bytes.windows(4).position(|four| four == b"\r\n\r\n"));
        let head = self.ahead.drain(..end + 4).collect();
        Response::of_head(&String::from_utf8(head).expect("heads are ASCII"))
    }

    /// Reads until the server closes; returns what came.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.ahead);
        self.stream.read_to_end(&mut rest).expect("the server closes, and without a reset");
        rest
    }

    /// Waits until the server closes, which it may do by a reset; nothing may come before that.
    #[track_caller]
    pub fn closed(&mut self) {
        let mut rest = std::mem::take(&mut self.ahead);
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }

    #[track_caller]
    fn read_until(&mut self, found: impl Fn(&[u8]) -> Option<usize>) -> usize {
        let mut buffer = [0; 16 * 1024];
        loop {
            if let Some(at) = found(&self.ahead) {
                return at;
            }
            let read = read(&mut self.stream, &mut buffer).expect("the server answers in time");
            assert_ne!(read, 0, "closed before the end of {:?}", String::from_utf8_lossy(&self.ahead));
            self.ahead.extend_from_slice(&buffer[..read]);
        }
    }
}

impl Response {
    /// Reads a head, and holds it to what the contract promises for every answer.
    #[track_caller]
    fn of_head(head: &str) -> Self {
        let mut lines = head.trim_end_matches("\r\n").split("\r\n");
        let line = lines.next().unwrap_or_default();
        let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let fields = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("a field is {line:?}"));
            (name.to_ascii_lowercase(), value.to_owned())
        });
        let status = status.unwrap_or_else(|| panic!("the status line is {line:?}"));
        let answer = Self { status, fields: fields.collect(), body: String::new() };
        if status >= 200 {
            let date = answer.field("date").unwrap_or_default();
            assert!(date.len() == 29 && date.ends_with(" GMT"), "{head}");
            assert_eq!(answer.field("cache-control"), Some("no-store"), "{head}");
            assert!(!answer.field("x-request-id").unwrap_or_default().is_empty(), "{head}");
            assert_eq!(answer.field("content-length").is_some(), status != 204, "{head}");
        }
        answer
    }

    /// The value of a field, its name in lower case. No answer has one twice.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values =
            self.fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str());
        let value = values.next();
        assert_eq!(values.next(), None, "{name} comes twice in {self:?}");
        value
    }

    /// Whether the server says that it will close.
    pub fn closes(&self) -> bool {
        self.field("connection") == Some("close")
    }
}

/// Reads once. A child that ends somewhere else can interrupt a read that has a time-out.
fn read(mut from: impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// A request with `Host`, these fields and, where there is a body, its length.
pub fn request(request_line: &str, fields: &[&str], body: &str) -> String {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("{request_line} HTTP/1.1\r\nHost: localhost\r\n{fields}{length}\r\n{body}")
}

/// The field that carries credentials.
pub fn basic(user: &str, token: &str) -> String {
    let mut field = b"Authorization: Basic ".to_vec();
    base64::encode(format!("{user}:{token}").as_bytes(), &mut field);
    String::from_utf8(field).expect("base64 is ASCII")
}

/// Gives a command that names no store the one that `STREAMER_TEST_STORE` names, so that the tests of the contract can be
/// run on each: `memory`, the default; `dir`, each server with a directory of its own; or the address of a Redis, Valkey
/// or Cluster, each server with a prefix of its own.
fn test_store(command: &mut Command) -> Option<Scratch> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    if command.get_args().any(|arg| arg == "--store") {
        return None;
    }
    match std::env::var("STREAMER_TEST_STORE").as_deref() {
        Ok("dir") => {
            let scratch = Scratch::new(&format!("store-{}", NEXT.fetch_add(1, Relaxed)));
            command.arg("--store").arg(format!("dir:{}", scratch.0.display()));
            Some(scratch)
        }
        Ok(url) if url.starts_with("redis") => {
            let prefix = format!("test-{}-{}:", std::process::id(), NEXT.fetch_add(1, Relaxed));
            command.args(["--store", &format!("{url}?prefix={prefix}"), "--store-timeout", "5s"]);
            None
        }
        Ok("memory") | Err(_) => None,
        Ok(other) => panic!("STREAMER_TEST_STORE={other}: write memory, dir or redis://HOST:PORT"),
    }
}

/// Whether the store is an engine far away: then a start adopts nothing, and the server does not know how many streams
/// there are.
pub fn is_remote() -> bool {
    std::env::var("STREAMER_TEST_STORE").is_ok_and(|store| store.starts_with("redis"))
}

/// The address of that engine, with a prefix of one test's own, for several servers. None, and it is said, when there is
/// no engine.
pub fn shared_store(prefix: &str) -> Option<String> {
    if !is_remote() {
        println!("skipped: STREAMER_TEST_STORE names no engine that several servers can share");
        return None;
    }
    let url = std::env::var("STREAMER_TEST_STORE").expect("it is set");
    Some(format!("{url}?prefix=test-{}-{prefix}:", std::process::id()))
}

/// Asks again and again, until the answer is yes: for what happens beside the conversation, as a log or a lease does.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "still waiting until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The body with this member's number of seconds as `most`, wherever it is that or up to 30 less: a machine may be slow.
pub fn steady(body: &str, member: &str, most: u32) -> String {
    let name = format!("\"{member}\":");
    let mut pieces = body.split(&name);
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let rest = piece.trim_start_matches(|c: char| c.is_ascii_digit());
        let secs = &piece[..piece.len() - rest.len()];
        let is_near = secs.parse().is_ok_and(|secs: u32| (most - 30..=most).contains(&secs));
        out += &format!("{name}{}{rest}", if is_near { most.to_string() } else { secs.to_owned() });
    }
    out
}

/// A directory of one test's own, empty at first and removed when dropped.
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// Makes it. No two tests may give it the same name.
    #[track_caller]
    pub fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        // Left behind by a run that was killed and had the same process id.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("the target directory can be written to");
        Self(path)
    }

    /// Writes a file; returns its path.
    #[track_caller]
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).expect("the scratch directory can be written to");
        path.to_str().expect("paths here are UTF-8").to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
