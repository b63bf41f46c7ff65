//! `--store dir:PATH` where the system does not do its work: full disks, limits, directories that are gone or taken.
//!
//! What needs a file system of its own is skipped where none can be mounted, unless `STREAMER_TEST_ALL` is set.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::server::{Process, Scratch, Server, eventually, program, run};

/// A file system in memory, of so many KiB.
struct Mount(Scratch);

impl Mount {
    /// None where this user may not mount.
    fn new(name: &str, options: &str) -> Option<Self> {
        let scratch = Scratch::new(name);
        let mount = ["-t", "tmpfs", "-o", options, "tmpfs", scratch.0.to_str().unwrap()];
        if Command::new("mount").args(mount).output().is_ok_and(|output| output.status.success()) {
            return Some(Self(scratch));
        }
        assert!(std::env::var_os("STREAMER_TEST_ALL").is_none(), "cannot mount a tmpfs");
        println!("skipped: this user cannot mount a tmpfs");
        None
    }

    fn path(&self) -> PathBuf {
        self.0.0.clone()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0.0).output();
    }
}

fn flags(path: &str) -> [String; 4] {
    ["--store".into(), format!("dir:{path}"), "--workers".into(), "1".into()]
}

fn start(path: &str) -> Server {
    Server::spawn(program(&[]).args(flags(path)))
}

/// Starts streams, each for a user of its own, until one is refused; then how many were taken.
fn start_until_refused(server: &Server, from: usize) -> usize {
    let mut client = server.connect();
    for i in from.. {
        match client.call(&format!("user{i}"), "POST /?id=V", "").status {
            201 => {}
            503 => return i,
            status => panic!("{status}"),
        }
    }
    unreachable!()
}

/// That each of the first `n` users plays one stream.
fn all_play(server: &Server, n: usize) {
    let mut client = server.connect();
    for i in 0..n {
        let response = client.call(&format!("user{i}"), "GET /?id=V", "");
        assert!(response.body.contains("\"count\":1"), "user{i}: {response:?}");
    }
}

#[test]
fn a_full_disk_is_answered_503_until_there_is_space_again() {
    let Some(mount) = Mount::new("full", "size=96k") else { return };
    let path = mount.path().join("journal").display().to_string();
    let server = start(&path);
    let filler = mount.path().join("filler");
    // Else the disk may be full before there is a file to write to, and that is counted as another failure.
    assert_eq!(server.call("first", "POST /?id=V", "").status, 201);
    // It fails half-way, when nothing is left.
    assert!(fs::write(&filler, vec![0; 1 << 20]).is_err());
    let taken = start_until_refused(&server, 0);
    server.process.stderr.line("No space left on device");
    assert_eq!(server.look("/readyz").status, 503);
    assert!(server.call("user0", "DELETE /?id=V", "").status == 503 || taken == 0);
    assert_eq!(server.call("user0", "GET /", "").status, 200);
    assert_eq!(server.look("/healthz").status, 200);
    assert!(server.metric("streamer_journal_failures_total{kind=\"write\"}") > 0.0);
    assert_eq!(server.metric("streamer_store_up"), 0.0);
    fs::remove_file(&filler).unwrap();
    eventually("it can be written again", || server.look("/readyz").status == 200);
    server.process.stderr.line("can be written again, after");
    let user = format!("user{taken}");
    let status = server.call(&user, "POST /?id=V", "").status;
    assert!(status == 200 || status == 201, "what was answered 503 may have been made: {status}");
    drop(server);
    all_play(&start(&path), taken + 1);
}

#[test]
fn a_volume_that_the_journal_itself_has_filled_empties_itself() {
    let Some(mount) = Mount::new("fills", "size=256k") else { return };
    let path = mount.path().join("journal").display().to_string();
    let server = Server::spawn(program(&["--lease", "2s"]).args(flags(&path)));
    start_until_refused(&server, 0);
    assert_eq!(server.call("zoe", "GET /?id=V", "").status, 200);
    eventually("what is void has gone", || server.call("zoe", "POST /?id=V", "").status == 201);
    assert_eq!(server.look("/readyz").status, 200);
    assert_eq!(server.stop().status.code(), Some(0));
}

#[test]
fn a_stop_on_a_full_disk_says_so_and_a_start_on_it_serves() {
    let Some(mount) = Mount::new("stop-full", "size=96k") else { return };
    let path = mount.path().join("journal").display().to_string();
    let (server, filler) = (start(&path), mount.path().join("filler"));
    assert_eq!(server.call("ann", "POST /?id=V", "").status, 201);
    assert!(fs::write(&filler, vec![0; 1 << 20]).is_err());
    start_until_refused(&server, 0);
    let ended = server.stop();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("stopped, and what was answered last may be lost: "), "{}", ended.stderr);
    let server = start(&path);
    assert!(server.call("ann", "GET /?id=V", "").body.contains("\"count\":1"));
    fs::remove_file(&filler).unwrap();
    eventually("it takes changes", || server.call("zoe", "POST /?id=W", "").status < 300);
    assert_eq!(server.stop().status.code(), Some(0));
}

#[test]
fn a_limit_of_the_size_of_files_costs_a_new_file_and_no_answer() {
    let scratch = Scratch::new("fsize");
    let path = scratch.0.join("journal").display().to_string();
    let mut command = Command::new("/bin/sh");
    let limited = ["-c", "ulimit -f 8; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_streamer")];
    command.args(limited).args(flags(&path)).env_clear();
    command.stdout(std::process::Stdio::piped());
    let server = Server::spawn(&mut command);
    let mut client = server.connect();
    for i in 0..200 {
        assert_eq!(client.call(&format!("user{i}"), "POST /?id=V", "").status, 201);
    }
    assert!(server.metric("streamer_journal_files") > 2.0);
    assert_eq!(server.metric("streamer_store_up"), 1.0);
    drop(client);
    drop(server);
    all_play(&start(&path), 200);
}

#[test]
fn a_directory_that_is_deleted_is_noticed() {
    let scratch = Scratch::new("gone");
    let path = scratch.0.join("journal").display().to_string();
    let server = start(&path);
    assert_eq!(server.call("ann", "POST /?id=V", "").status, 201);
    fs::remove_dir_all(&path).unwrap();
    assert_eq!(server.call("ann", "POST /?id=W", "").status, 503);
    is_told_astray(&server);
    fs::create_dir(&path).unwrap();
    fs::write(format!("{path}/control"), "").unwrap();
    assert_eq!(server.call("ann", "POST /?id=W", "").status, 503, "what it held is not in there");
    assert_eq!(server.call("ann", "GET /", "").status, 200);
    let ended = server.stop();
    assert_eq!(ended.stderr.matches("503").count(), 1, "it is told once: {}", ended.stderr);
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1, "nothing was written into another directory");
    assert_eq!(start(&path).call("ann", "POST /?id=W", "").status, 201);
}

/// That a server which nobody asks anything notices that its directory has gone, and tells what to do.
#[track_caller]
fn is_told_astray(server: &Server) {
    const WHAT_TO_DO: &str = "was deleted, moved or unmounted; put it back, or start the server anew, which goes on \
                              with what is there then; changes are answered 503 until it can be written again";
    server.process.stderr.line(WHAT_TO_DO);
    let answer = server.look("/readyz");
    assert!(answer.status == 503 && answer.body.contains(WHAT_TO_DO), "{answer:?}");
}

#[test]
fn a_directory_that_is_moved_away_is_noticed_and_used_again_when_it_is_back() {
    let scratch = Scratch::new("moved");
    let [path, aside] = ["journal", "aside"].map(|name| scratch.0.join(name).display().to_string());
    let server = Server::spawn(program(&["--log", "json"]).args(flags(&path)));
    assert_eq!(server.call("ann", "POST /?id=V", "").status, 201);
    fs::rename(&path, &aside).unwrap();
    is_told_astray(&server);
    assert_eq!(server.call("ann", "POST /?id=W", "").status, 503);
    fs::rename(&aside, &path).unwrap();
    let told = server.process.stderr.line("can be written again, after");
    assert!(told.starts_with('{'), "{told}");
    eventually("it is ready", || server.look("/readyz").status == 200);
    assert_eq!(server.call("ann", "POST /?id=W", "").status, 201);
    drop(server);
    assert!(start(&path).call("ann", "GET /?id=V", "").body.contains("\"count\":2"));
}

#[test]
fn another_file_system_over_the_directory_is_not_written_to() {
    let Some(mount) = Mount::new("covered", "size=1m") else { return };
    // What is mounted over another file system's directory hides it, as what was unmounted shows what was below.
    let path = mount.path();
    assert!(Command::new("umount").arg(&path).status().unwrap().success());
    let server = start(&path.display().to_string());
    assert_eq!(server.call("ann", "POST /?id=V", "").status, 201);
    assert!(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&path).status().unwrap().success());
    is_told_astray(&server);
    assert_eq!(server.call("ann", "POST /?id=W", "").status, 503);
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0, "nothing was written there");
    assert!(Command::new("umount").arg(&path).status().unwrap().success());
    server.process.stderr.line("can be written again, after");
    eventually("it takes changes again", || server.call("ann", "POST /?id=W", "").status == 201);
}

#[test]
fn what_cannot_be_written_is_refused_at_the_start() {
    let Some(mount) = Mount::new("readonly", "ro") else { return };
    let ended = run(&["--listen", "127.0.0.1:0", "--store", &format!("dir:{}/x", mount.path().display())]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stderr.ends_with("; mount it for writing\n"), "{}", ended.stderr);
}

#[test]
fn of_two_servers_at_once_one_starts() {
    let scratch = Scratch::new("two");
    let path = scratch.0.join("journal").display().to_string();
    for _ in 0..5 {
        let start = || {
            let mut command = program(&["--listen", "127.0.0.1:0", "--admin", "off"]);
            Process::spawn(command.args(flags(&path)))
        };
        let both = [start(), start()];
        let said = both.each_ref().map(|process| process.stderr.lines(1).concat());
        let refused = said.iter().filter(|said| said.contains("another server uses this directory")).count();
        let listening = said.iter().filter(|said| said.contains(" listens on http://")).count();
        assert_eq!((refused, listening), (1, 1), "{said:?}");
    }
}

#[test]
fn a_stop_leaves_everything_and_the_next_start_says_nothing_of_it() {
    let scratch = Scratch::new("stop");
    let path = scratch.0.join("journal").display().to_string();
    let server = start(&path);
    assert_eq!(server.call("ann", "POST /?id=V", r#"{"time":"1:02"}"#).status, 201);
    assert_eq!(server.call("ann", "PATCH /?id=V", r#"{"state":"paused"}"#).status, 200);
    assert_eq!(server.stop().status.code(), Some(0));
    let server = start(&path);
    assert!(server.greeting.contains(&format!("store dir:{path}")), "{}", server.greeting);
    let list = server.call("ann", "GET /", "").body;
    assert!(list.contains(r#"{"id":"V","time":"1:02","state":"paused","expiresIn":"#), "{list}");
    assert_eq!(server.stop().stderr.lines().filter(|line| line.contains("cut off")).count(), 0);
}
