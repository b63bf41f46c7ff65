//! What the steps 3 to 5 have made, as it stands there: requests in, answers out, and who asks.

const MOST_OF_A_HEAD: usize = 16 * 1024;
const MOST_OF_A_BODY: usize = 8 * 1024;

pub struct Request {
    pub method: String,
    /// What stands behind `/?`.
    query: String,
    /// Names in lower case, and values.
    fields: Vec<(String, String)>,
}

impl Request {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Whether the client wants no further answer on this connection.
    pub fn closes(&self) -> bool {
        self.field("connection").is_some_and(|option| option.eq_ignore_ascii_case("close"))
    }
}

pub const BAD: &str = "400 Bad Request";

/// Takes one request off the front of `bytes`. None means that it has not all come, which is no error.
pub fn parse(bytes: &mut Vec<u8>) -> Result<Option<Request>, &'static str> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        let too_long = bytes.len() > MOST_OF_A_HEAD;
        return if too_long { Err("431 Request Header Fields Too Large") } else { Ok(None) };
    };
    let Ok(head) = str::from_utf8(&bytes[..end]) else { return Err(BAD) };
    let request = parse_head(head)?;
    let length = match request.field("content-length") {
        None => 0,
        // `str::parse` reads "+5" as 5. HTTP forbids it.
        Some(digits) if !digits.bytes().all(|byte| byte.is_ascii_digit()) => return Err(BAD),
        Some(digits) => match digits.parse() {
            Ok(length) => length,
            Err(_) => return Err(BAD),
        },
    };
    if length > MOST_OF_A_BODY {
        return Err("413 Content Too Large");
    }
    if bytes.len() < end + 4 + length {
        return Ok(None);
    }
    bytes.drain(..end + 4 + length);
    Ok(Some(request))
}

fn parse_head(head: &str) -> Result<Request, &'static str> {
    let mut lines = head.split("\r\n");
    // For some servers a bare line feed ends a line, and for others it does not.
    if lines.clone().any(|line| line.chars().any(|c| c.is_control() && c != '\t')) {
        return Err(BAD);
    }
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else { return Err(BAD) };
    let mut fields = Vec::new();
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { return Err(BAD) };
        // A blank before the colon or at the front of the line: some servers read a length there, and others do not.
        if !is_token(name) {
            return Err(BAD);
        }
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let lengths = fields.iter().filter(|(name, _)| name == "content-length").count();
    if lengths > 1 {
        return Err(BAD);
    }
    if fields.iter().any(|(name, _)| name == "transfer-encoding") {
        return Err("501 Not Implemented");
    }
    let Some(query) = target.strip_prefix("/?") else { return Err("404 Not Found") };
    Ok(Request { method: method.to_owned(), query: query.to_owned(), fields })
}

/// Whether this can be the name of a field (RFC 9110 section 5.6.2).
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// A status and a body.
pub type Answer = (&'static str, String);

/// Who asks: `Authorization: Basic`, and `user:password` in base64 (RFC 7617). Any password will do.
pub fn user(request: &Request) -> Option<String> {
    let coded = request.field("authorization")?.strip_prefix("Basic ")?;
    let pair = String::from_utf8(decode(coded)?).ok()?;
    let (user, _password) = pair.split_once(':')?;
    if is_word(user) { Some(user.to_owned()) } else { None }
}

/// Base64 (RFC 4648): each letter stands for 6 bits, so four letters are three bytes.
fn decode(coded: &str) -> Option<Vec<u8>> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0, 0);
    for letter in coded.trim_end_matches('=').bytes() {
        let value = LETTERS.iter().position(|&known| known == letter)?;
        // The mask keeps `bits` from growing without end.
        bits = (bits << 6 | value) & 0xFFFF;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xFF) as u8);
        }
    }
    Some(bytes)
}

pub fn problem(status: &'static str) -> Answer {
    let (number, title) = status.split_at(3);
    (status, format!(r#"{{"title":"{}","status":{number}}}"#, title.trim()))
}

/// Whether a name can stand in JSON and in a URL as it is. The course has no other names.
pub fn is_word(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

pub fn response(answer: &Answer, closes: bool) -> String {
    let (status, body) = answer;
    let length = body.len();
    let connection = if closes { "Connection: close\r\n" } else { "" };
    let ask = if status.starts_with("401") { "WWW-Authenticate: Basic realm=\"streamer\"\r\n" } else { "" };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{connection}{ask}\r\n{body}"
    )
}
