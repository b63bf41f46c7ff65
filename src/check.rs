//! `streamer check`: is the server well? For Docker's HEALTHCHECK in an image that has no curl.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use streamer::config::CheckArgs;

/// How long connecting, writing and each read may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Asks for the path; a response with status 200 is a healthy server.
pub fn check(args: &CheckArgs) -> Result<(), String> {
    let CheckArgs { authority, path } = args;
    let failed = |what: &str, error: std::io::Error| format!("{what} http://{authority}{path}: {error}");
    let mut stream = connect(authority).map_err(|error| failed("cannot connect to", error))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| failed("cannot ask", error))?;
    let mut response = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut response).map_err(|error| failed("no response from", error))?;
    let line = response.split(|&byte| byte == b'\r').next().unwrap_or_default();
    match line.strip_prefix(b"HTTP/1.1 200 ") {
        Some(_) => Ok(()),
        None => Err(format!("http://{authority}{path} answered `{}`", String::from_utf8_lossy(line))),
    }
}

/// The command line of the first process. Where it cannot be read, none.
pub fn first_process() -> Vec<String> {
    let line = std::fs::read("/proc/1/cmdline").unwrap_or_default();
    let line = String::from_utf8_lossy(&line);
    line.split_terminator('\0').map(str::to_owned).collect()
}

fn connect(authority: &str) -> std::io::Result<TcpStream> {
    let mut last = std::io::ErrorKind::AddrNotAvailable.into();
    for address in authority.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
