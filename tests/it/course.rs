//! The course, walked: the line at the top of each page fails on the step before and works on this one, and the page shows
//! code that there is.
//!
//! The lines are run as they stand there, by `sh` and `curl`. Where there is no `curl` they are skipped, unless
//! `STREAMER_TEST_ALL` is set.

use core::net::SocketAddr;
use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::server::{PATIENCE, Process, Server, example};

#[allow(dead_code, clippy::duplicate_mod)]
#[path = "../../examples/steps/parts/http.rs"]
mod http;
/// Two steps have tests of their own. They run here, since a step that is built as a test is not built as a program.
#[allow(dead_code, clippy::duplicate_mod)]
#[path = "../../examples/steps/08-lease.rs"]
mod lease;
#[allow(dead_code, clippy::duplicate_mod)]
#[path = "../../examples/steps/09-reasons.rs"]
mod reasons;

const MOST_WORDS: usize = 500;
const MOST_LINES_OF_CODE: usize = 300;

/// One step: a page, and the program below it.
struct Step {
    name: String,
    page: String,
    code: Vec<String>,
}

impl Step {
    /// The blocks of the page that are marked so.
    fn blocks(&self, mark: &str) -> Vec<String> {
        let open = format!("```{mark}\n");
        let blocks = self.page.split(&open).skip(1);
        blocks.map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
    }

    #[track_caller]
    fn block(&self, mark: &str) -> String {
        let blocks = self.blocks(mark);
        blocks.into_iter().next().unwrap_or_else(|| panic!("{} has no block {mark}", self.name))
    }

    /// Starts the program, with at most so many open files; returns where it listens.
    fn start(&self, files: u32) -> (Process, SocketAddr) {
        let mut command = Command::new("sh");
        let limited = format!("ulimit -n {files}; exec \"$0\" 127.0.0.1:0");
        command.args(["-c", &limited]).arg(example(&self.name)).stdout(Stdio::piped());
        let process = Process::spawn(&mut command);
        let line = process.stdout.line("listening on http://");
        let address = line.split(['/', ' ']).find_map(|word| word.parse().ok());
        (process, address.expect("it says where it listens"))
    }

    /// Runs the page's line on a step's program, or where nothing listens. What it prints, without the blanks around lines.
    fn run(&self, on: Option<&Self>) -> String {
        let server = on.map(|step| step.start(256));
        let address = match &server {
            Some((_, address)) => address.to_string(),
            // Of the system's own: no other test can get it.
            None => "127.0.0.1:1".to_owned(),
        };
        let drip = format!("{} ", example("drip").display());
        let line = self.block("sh").replace("localhost:8000", &address);
        let line = line.replace("cargo run -q --example drip -- ", &drip);
        let pid = server.as_ref().map_or(0, |(process, _)| process.id());
        let line = line.replace("kill PID", &format!("kill {pid}"));
        let said = Process::spawn(Command::new("sh").args(["-c", &line]).stdout(Stdio::piped())).end();
        let stops = line.contains("kill ") && on.is_some_and(|step| step.name == self.name);
        if let Some((process, _)) = server.filter(|_| stops) {
            assert!(process.end().status.success(), "{} does not stop as it should", self.name);
        }
        trimmed(&said.stdout)
    }
}

fn trimmed(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All steps, in order.
fn steps() -> Vec<Step> {
    let folder = fs::read_dir(root().join("examples/steps")).expect("the course is there");
    let names = folder.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| name.starts_with(|c: char| c.is_ascii_digit())).collect();
    names.sort();
    let steps = names.iter().map(|file| {
        let text = read(&format!("examples/steps/{file}"));
        let (page, code): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with("//!"));
        let page: String =
            page.iter().map(|line| line[3..].strip_prefix(' ').unwrap_or("").to_owned() + "\n").collect();
        let code = code.iter().map(|line| (*line).to_owned()).collect();
        Step { name: file.trim_end_matches(".rs").to_owned(), page, code }
    });
    steps.collect()
}

#[test]
fn each_line_fails_on_the_step_before_and_works_on_its_own() {
    if Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_err() {
        assert!(env::var_os("STREAMER_TEST_ALL").is_none(), "there is no curl");
        return println!("skipped: there is no curl");
    }
    let steps = steps();
    assert!(steps.len() >= 10, "{} steps", steps.len());
    let steps: Vec<_> =
        steps.iter().enumerate().map(|(at, step)| (step, at.checked_sub(1).map(|at| &steps[at]))).collect();
    // Those that flood a server would slow the others down.
    let (floods, others): (Vec<_>, Vec<_>) =
        steps.into_iter().partition(|(step, _)| step.page.contains("drip"));
    for together in [others, floods] {
        thread::scope(|scope| {
            for (step, before) in together {
                scope.spawn(move || fails_before_and_works_now(step, before));
            }
        });
    }
}

fn fails_before_and_works_now(step: &Step, before: Option<&Step>) {
    let wanted = trimmed(&step.block("text"));
    let of_before: Vec<_> = step.blocks("text before").iter().map(|expected| trimmed(expected)).collect();
    // A busy machine may bring two pieces at once, or a client too late. Hardly three times.
    let prints = |on, is_right: &dyn Fn(&str) -> bool| {
        let mut said = String::new();
        let _ = (0..3).any(|_| {
            said = step.run(on);
            is_right(&said)
        });
        said
    };
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(prints(Some(step), &|said| said == wanted), wanted, "{}", step.name));
        let fails = |said: &str| said != wanted && of_before.iter().all(|expected| expected == said);
        let said = prints(before, &fails);
        assert!(fails(&said), "{}, on the step before: {said}\nnot {of_before:?}", step.name);
    });
}

#[test]
fn each_page_is_short_and_shows_code_that_there_is() {
    for step in steps() {
        let words = step.page.split_whitespace().count();
        assert!(words <= MOST_WORDS, "{} has {words} words", step.name);
        assert!(step.code.len() <= MOST_LINES_OF_CODE, "{} has {} lines", step.name, step.code.len());
        let blocks = step.blocks("rust");
        assert!(!blocks.is_empty(), "{} shows no code", step.name);
        for block in blocks {
            let lines: Vec<&str> = block.lines().collect();
            let is_there = step.code.windows(lines.len()).any(|window| without_indent(window) == lines);
            assert!(is_there, "{} has no such code:\n{block}", step.name);
        }
    }
}

#[test]
fn the_minutes_are_those_of_the_page_and_of_what_is_new() {
    let (course, steps) = (read("docs/course.md"), steps());
    for (at, step) in steps.iter().enumerate() {
        let row =
            course.lines().find(|line| line.contains(&format!("/{}.rs)", step.name))).expect("it has a row");
        let said: usize =
            row.split(" | ").nth(1).and_then(|minutes| minutes.parse().ok()).expect("with minutes");
        let before = at.checked_sub(1).map_or(&[][..], |at| &steps[at].code);
        let new = step.code.iter().filter(|line| !before.contains(line)).count();
        // As a walk by a newcomer took.
        let honest = 3 + new / 9 + step.page.split_whitespace().count() / 120;
        assert!(said <= 20 && said.abs_diff(honest) <= 2, "{} takes {honest} minutes, not {said}", step.name);
    }
}

#[test]
fn the_server_of_one_page_fits_one() {
    let text = read("examples/small.rs");
    let code = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count();
    assert!(code <= 130, "{code} lines of code");
    assert!(read("README.md").contains(&format!("in {code} lines of code")), "the README says {code}");
}

fn without_indent(lines: &[String]) -> Vec<&str> {
    let indent = |line: &String| line.len() - line.trim_start().len();
    let least = lines.iter().filter(|line| !line.is_empty()).map(indent).min().unwrap_or(0);
    lines.iter().map(|line| line.get(least..).unwrap_or("")).collect()
}

#[test]
fn what_has_moved_to_a_part_is_what_the_steps_made() {
    let plain = |text: &str| text.trim().replace("pub ", "");
    let made: Vec<_> = steps().iter().flat_map(|step| step.code.clone()).map(|line| plain(&line)).collect();
    for part in ["http", "account", "app"] {
        for line in read(&format!("examples/steps/parts/{part}.rs")).lines() {
            let is_new = line.starts_with("//!") || line.starts_with("use ");
            assert!(is_new || made.contains(&plain(line)), "{part}.rs has a line of its own: {line}");
        }
    }
}

#[test]
fn each_page_names_files_that_there_are() {
    let course = read("docs/course.md");
    for step in steps() {
        let words = step.page.split(|c: char| c.is_whitespace() || "`,:;()".contains(c));
        let paths = words.map(|word| word.trim_end_matches('.'));
        let paths = paths
            .filter(|word| ["src/", "docs/", "tests/", "parts/"].iter().any(|room| word.starts_with(room)));
        let mut named = 0;
        for path in paths {
            let path =
                if path.starts_with("parts/") { format!("examples/steps/{path}") } else { path.to_owned() };
            assert!(root().join(&path).exists(), "{}: there is no {path}", step.name);
            named += usize::from(path.starts_with("src/"));
        }
        assert!(named > 0, "{} names no place in the server", step.name);
        let link = format!("](../examples/steps/{}.rs)", step.name);
        assert!(course.contains(&link), "docs/course.md does not link {}", step.name);
    }
}

#[test]
fn the_parser_refuses_what_hides_a_request() {
    #[track_caller]
    fn check(fields: &str, expected: Result<bool, &str>) {
        let mut bytes = format!("GET /?id=a HTTP/1.1\r\n{fields}\r\n\r\n").into_bytes();
        let found = http::parse(&mut bytes).map(|request| request.is_some() && bytes.is_empty());
        assert_eq!(found, expected, "{fields:?}");
    }
    check("Host: a\r\nX-Tab: a\tb", Ok(true));
    check("Content-Length: 0", Ok(true));
    check("Content-Length: 5", Ok(false));
    for fields in [
        "Content-Length : 5",
        "\tContent-Length: 5",
        "X: y\r\n Content-Length: 5",
        "X: y\nContent-Length: 5",
        "X: y\rContent-Length: 5",
        "X: y\n",
        "X: a\0b",
        ": 5",
        "Content-Length",
        "Content-Length: +5",
        "Content-Length:",
        "Content-Length: 5, 5",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 99999999999999999999",
    ] {
        check(fields, Err("400 Bad Request"));
    }
    check("Content-Length: 9000", Err("413 Content Too Large"));
    check("Transfer-Encoding: chunked", Err("501 Not Implemented"));
}

const ASK: &str = "GET /?id=a HTTP/1.1\r\nAuthorization: Basic Ym9iOng=\r\n\r\n";

/// Asks once, and reads the answer to its end. None when there is none.
fn ask(stream: &mut BufReader<TcpStream>) -> Option<String> {
    stream.get_mut().write_all(ASK.as_bytes()).ok()?;
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        (stream.read_line(&mut head).ok()? > 0).then_some(())?;
    }
    let (_, rest) = head.split_once("Content-Length: ")?;
    let length: usize = rest.split("\r\n").next()?.parse().ok()?;
    stream.read_exact(&mut vec![0; length]).ok()?;
    Some(head)
}

fn connect(address: SocketAddr) -> io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(BufReader::new(stream))
}

/// Asks without a pause until nobody listens; `all_ask` once it has been answered often. Whether a request had no answer.
fn is_lost(address: SocketAddr, keeps: bool, all_ask: &Barrier) -> bool {
    let mut answers = 0;
    while let Ok(mut stream) = connect(address) {
        loop {
            let Some(head) = ask(&mut stream) else { return true };
            answers += 1;
            if answers == 50 {
                all_ask.wait();
            }
            if !keeps || head.contains("Connection: close") {
                break;
            }
        }
    }
    false
}

/// How many of forty clients have lost a request when this server has been told to stop.
fn lost_at_a_stop(step: &Step, keeps: bool) -> usize {
    let (process, address) = step.start(256);
    let all_ask = &Barrier::new(41);
    let lost = thread::scope(|scope| {
        let client = |_| scope.spawn(move || is_lost(address, keeps, all_ask));
        let clients: Vec<_> = (0..40).map(client).collect();
        all_ask.wait();
        process.signal("TERM");
        clients.into_iter().map(|client| client.join().unwrap()).filter(|lost| *lost).count()
    });
    assert!(process.end().status.success(), "{}", step.name);
    lost
}

#[test]
fn a_stop_loses_no_request_of_clients_that_ask_without_a_pause() {
    for step in &steps()[9..] {
        for keeps in [false, true] {
            let mut lost = [(); 5].map(|()| lost_at_a_stop(step, keeps));
            println!("{} {lost:?}", step.name);
            lost.sort_unstable();
            // Between the last `accept` and the end of the listener lies a moment: long, now and then, on a loaded machine.
            assert!(lost[2] <= 1, "{} has lost {lost:?} of 40", step.name);
        }
    }
}

#[test]
fn a_failed_accept_is_not_repeated_at_once() {
    let steps = steps();
    thread::scope(|scope| {
        for step in &steps[1..] {
            scope.spawn(move || {
                let (process, address) = step.start(40);
                let begun = Instant::now();
                let crowd: Vec<_> = (0..60).map(|_| TcpStream::connect(address).unwrap()).collect();
                // The step with a turn says nothing.
                if step.code.iter().any(|line| line.contains("no connection: {error}")) {
                    process.stderr.lines(4);
                    assert!(begun.elapsed() >= Duration::from_millis(300), "{} does not pause", step.name);
                }
                drop(crowd);
                assert!(ask(&mut connect(address).unwrap()).is_some(), "{} does not come back", step.name);
            });
        }
    });
}

#[test]
fn an_idle_connection_is_given_up_in_the_pool_and_kept_by_the_turn() {
    thread::scope(|scope| {
        for (step, is_kept) in [(4, false), (11, false), (12, true)] {
            scope.spawn(move || {
                let step = &steps()[step - 1];
                let (_process, address) = step.start(256);
                let mut stream = connect(address).unwrap();
                assert!(ask(&mut stream).is_some());
                let patience = if is_kept { Duration::from_secs(6) } else { PATIENCE };
                stream.get_ref().set_read_timeout(Some(patience)).unwrap();
                let silence = stream.read(&mut [0]).map_err(|error| error.kind());
                let expected = if is_kept { Err(ErrorKind::WouldBlock) } else { Ok(0) };
                assert_eq!(silence, expected, "{}", step.name);
                assert_eq!(ask(&mut stream).is_some(), is_kept, "{}", step.name);
            });
        }
    });
}

/// Sends these bytes, one every half second, until the server says or does something; after how long.
fn drip(stream: &mut TcpStream, bytes: &[u8]) -> (Duration, io::Result<usize>) {
    let begun = Instant::now();
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    for byte in bytes {
        if let Err(error) = stream.write_all(&[*byte]) {
            return (begun.elapsed(), Err(error));
        }
        match stream.read(&mut [0; 4096]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            said => return (begun.elapsed(), said),
        }
    }
    panic!("the server waits for ever");
}

#[test]
fn the_server_of_one_page_bounds_a_request_and_its_last_read() {
    let server = Server::small();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut stream = connect(server.listen).unwrap().into_inner();
            stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            assert!(stream.read(&mut [0]).is_err(), "it waits five seconds for a first byte");
            let (took, said) = drip(&mut stream, &[b'a'; 40]);
            assert!(said.is_ok_and(|n| n > 0), "it says that this was too slow");
            assert!((9.5..18.0).contains(&took.as_secs_f64()), "after {took:?}");
        });
        scope.spawn(|| {
            let mut stream = connect(server.listen).unwrap().into_inner();
            stream.write_all(b"nonsense\r\n\r\n").unwrap();
            let mut answer = BufReader::new(stream.try_clone().unwrap());
            answer.read_to_end(&mut Vec::new()).unwrap();
            let begun = Instant::now();
            // It has sent its last byte, and still takes ours for a while.
            while stream.write_all(b"a").is_ok() {
                assert!(begun.elapsed() < PATIENCE, "it listens for ever");
                thread::sleep(Duration::from_millis(500));
            }
        });
    });
}
