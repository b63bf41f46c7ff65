//! A client to annoy servers with: it opens many connections, and sends a head that never ends, a byte a second on each.
//!
//! `drip 70 localhost:8000` does so for ten seconds. It says when all have begun.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::Duration;
use std::{env, thread};

fn main() -> io::Result<()> {
    let count = env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(70);
    let address = env::args().nth(2).unwrap_or_else(|| "127.0.0.1:8000".into());
    let mut streams = (0..count).map(|_| TcpStream::connect(&address)).collect::<io::Result<Vec<_>>>()?;
    for (second, byte) in b"GET /slow!".iter().enumerate() {
        for stream in &mut streams {
            // Whoever has been thrown out stays out.
            let _ = stream.write_all(&[*byte]);
        }
        if second == 0 {
            println!("{count} have begun");
        }
        thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}
