//! An engine that does what a test wants: a thread on loopback that keeps records, and speaks when it is told to.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::thread;

use crate::store::redis::resp::{self, Reply};

/// What a command is answered.
pub enum Act {
    /// As an engine does.
    Normal,
    /// This, without being carried out.
    Say(String),
    /// The same, when it is no text.
    Bytes(Vec<u8>),
    /// Nothing, ever.
    Silence,
    /// As an engine does, but not before the test has told it to.
    Late(Receiver<()>),
    /// It is carried out, and then the connection is closed instead of answered.
    CloseAfter,
    /// The connection is closed.
    Close,
}

/// A command as it came.
pub struct Call<'a> {
    /// How many of this kind came before.
    pub before: usize,
    /// Its words.
    pub words: &'a [Vec<u8>],
}

impl Call<'_> {
    /// The command's name; that of a script by its hash is `EVAL` too, and of one under a key of the program's own `PROOF`.
    pub fn is(&self, name: &str) -> bool {
        self::name(self.words) == name
    }

    /// Whether it changes something, or proves that it can.
    pub fn is_change(&self) -> bool {
        self.is("EVAL") || self.is("PROOF")
    }
}

fn name(words: &[Vec<u8>]) -> String {
    let name = String::from_utf8_lossy(&words[0]).into_owned();
    match (&name[..], words.get(3)) {
        ("EVAL" | "EVALSHA", Some(key)) if key.contains(&1) => "PROOF".into(),
        ("EVALSHA", _) => "EVAL".into(),
        _ => name,
    }
}

type Rule = Box<dyn FnMut(&Call) -> Act + Send>;

struct State {
    records: HashMap<Vec<u8>, Vec<u8>>,
    rule: Rule,
    calls: HashMap<String, usize>,
    connections: usize,
    knows_script: bool,
    slots: Option<String>,
}

/// The engine. Its thread ends with the tests.
#[derive(Clone)]
pub struct Fake {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl Fake {
    /// A single server that does as an engine does.
    pub fn new() -> Self {
        Self::with(|_| Act::Normal)
    }

    /// One that a rule is asked for first.
    pub fn with(rule: impl FnMut(&Call) -> Act + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State {
            records: HashMap::new(),
            rule: Box::new(rule),
            calls: HashMap::new(),
            connections: 0,
            knows_script: false,
            slots: None,
        };
        let fake = Self { port, state: Arc::new(Mutex::new(state)) };
        let server = fake.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                thread::spawn(move || server.serve(stream));
            }
        });
        fake
    }

    /// Makes it the node of a Cluster, or changes who has which slots: `(first, last, port)`.
    pub fn set_slots(&self, slots: &[(u16, u16, u16)]) {
        let range = |(first, last, port): &(u16, u16, u16)| {
            format!("*3\r\n:{first}\r\n:{last}\r\n*3\r\n$9\r\n127.0.0.1\r\n:{port}\r\n$2\r\nid\r\n")
        };
        let all: String = slots.iter().map(range).collect();
        self.state.lock().unwrap().slots = Some(format!("*{}\r\n{all}", slots.len()));
    }

    /// From now on it does otherwise.
    pub fn set_rule(&self, rule: impl FnMut(&Call) -> Act + Send + 'static) {
        self.state.lock().unwrap().rule = Box::new(rule);
    }

    /// It forgets its scripts.
    pub fn forget_scripts(&self) {
        self.state.lock().unwrap().knows_script = false;
    }

    /// How often it was asked this.
    pub fn asked(&self, name: &str) -> usize {
        self.state.lock().unwrap().calls.get(name).copied().unwrap_or(0)
    }

    /// How many connections it has had.
    pub fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }

    /// The address for `--store`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn serve(&self, mut stream: TcpStream) {
        self.state.lock().unwrap().connections += 1;
        let (mut input, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            input.extend_from_slice(&buffer[..read]);
            while let Ok(Some((Reply::Array(items), length))) = resp::reply(&input) {
                let word = |item| if let Reply::Bulk(word) = item { word.to_vec() } else { Vec::new() };
                let words: Vec<Vec<u8>> = items.into_iter().map(word).collect();
                input.drain(..length);
                match self.answer(&words) {
                    Some(answer) => drop(stream.write_all(&answer)),
                    None => return,
                }
            }
        }
    }

    /// None closes the connection.
    fn answer(&self, words: &[Vec<u8>]) -> Option<Vec<u8>> {
        let mut state = self.state.lock().unwrap();
        let calls = state.calls.entry(name(words)).or_default();
        *calls += 1;
        let call = Call { before: *calls - 1, words };
        match (state.rule)(&call) {
            Act::Normal => Some(state.carry_out(words)),
            Act::Say(text) => Some(text.into()),
            Act::Bytes(bytes) => Some(bytes),
            Act::Silence => Some(Vec::new()),
            Act::Late(told) => {
                let answer = state.carry_out(words);
                drop(state);
                // A test that has failed tells nothing any more.
                let _ = told.recv();
                Some(answer)
            }
            Act::CloseAfter => {
                state.carry_out(words);
                None
            }
            Act::Close => None,
        }
    }
}

impl State {
    fn carry_out(&mut self, words: &[Vec<u8>]) -> Vec<u8> {
        match &words[0][..] {
            b"PING" => b"+PONG\r\n".to_vec(),
            b"ROLE" => b"*1\r\n$6\r\nmaster\r\n".to_vec(),
            b"TIME" => b"*2\r\n$10\r\n1700000000\r\n$6\r\n000000\r\n".to_vec(),
            b"CLUSTER" => match &self.slots {
                Some(slots) => slots.clone().into(),
                None => b"-ERR This instance has cluster support disabled\r\n".to_vec(),
            },
            b"EVALSHA" if !self.knows_script => b"-NOSCRIPT No matching script.\r\n".to_vec(),
            b"EVAL" | b"EVALSHA" => {
                self.knows_script = true;
                let [_, _, _, key, old, new, _] = words else { return b"-ERR words\r\n".to_vec() };
                let there = self.records.get(key).cloned().unwrap_or_default();
                if !there.starts_with(old) || old.is_empty() && !there.is_empty() {
                    let mut out = Vec::new();
                    resp::bulk(&there, &mut out);
                    return out;
                }
                if new.is_empty() {
                    self.records.remove(key);
                } else if new != old {
                    self.records.insert(key.clone(), new.clone());
                }
                b":1\r\n".to_vec()
            }
            _ => b"+OK\r\n".to_vec(),
        }
    }
}
