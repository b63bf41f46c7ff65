//! The contract once more, as plainly as it can be said, and random scripts that both must answer alike.

use super::*;

/// What plays and what is paused, in the order of the starts; then what has ended, in the order of the ends.
#[derive(Clone, Default)]
struct Model {
    streams: Vec<Row>,
    ended: Vec<Row>,
    hold: Option<(u64, String)>,
    pauses: u64,
}

#[derive(Clone)]
struct Row {
    key: String,
    expires: u64,
    position: u64,
    /// The number of the pause, while it is paused.
    paused: Option<u64>,
    /// Why it has ended: `Stopped`, `Replaced` with the key of another, or `Operator` with a message.
    why: (&'static str, String),
}

struct Rules {
    when_full: WhenFull,
    one_per_device: bool,
    adopt_until: u64,
    limit: usize,
}

impl Rules {
    fn reports(&self) -> bool {
        self.when_full == WhenFull::Report && self.limit > 0
    }
}

/// A command of a script, taken apart.
#[derive(Clone, Default)]
struct Asked {
    key: String,
    position: Option<u64>,
    over: Option<String>,
    state: Option<bool>,
    switch: bool,
    message: String,
}

fn device(key: &str) -> Option<&str> {
    key.split_once('/').map(|(_, device)| device)
}

impl Model {
    fn playing(&self) -> usize {
        self.streams.iter().filter(|row| row.paused.is_none()).count()
    }

    fn plays(&self, key: &str) -> bool {
        self.streams.iter().any(|row| row.key == key && row.paused.is_none())
    }

    /// Ends what `which` says yes to. Returns how many, and the first that played, else the first.
    fn end(&mut self, now: u64, why: (&'static str, &str), which: impl Fn(&Row) -> bool) -> (usize, String) {
        let (gone, stay): (Vec<Row>, Vec<Row>) = self.streams.drain(..).partition(which);
        self.streams = stay;
        let first = gone.iter().find(|row| row.paused.is_none()).or(gone.first());
        let first = first.map_or(String::new(), |row| row.key.clone());
        let n = gone.len();
        for row in gone {
            self.ended.push(Row { expires: now + LEASE, why: (why.0, why.1.into()), ..row });
        }
        let excess = self.ended.len().saturating_sub(MAX_ENDED);
        self.ended.drain(..excess);
        (n, first)
    }

    /// Who of `others`, which play, gives way to a POST, and whether more play than the limit allows. `Err` says how many
    /// would have to end first.
    fn room(rules: &Rules, asked: &Asked, others: &[&Row]) -> Result<(Vec<String>, bool), usize> {
        let would_play = others.len() + 1;
        let reports = asked.over.is_none() && rules.reports();
        let excess = would_play.saturating_sub(if reports { MAX_PLAYING } else { rules.limit });
        let oldest = match &asked.over {
            Some(over) => over == "oldest",
            None => rules.when_full == WhenFull::ReplaceOldest,
        };
        let named = others.iter().find(|row| Some(&row.key) == asked.over.as_ref());
        let leave = match named {
            _ if excess == 0 => Vec::new(),
            _ if rules.limit == 0 => return Err(excess),
            _ if oldest => others[..excess].iter().map(|row| row.key.clone()).collect(),
            Some(row) if excess == 1 => vec![row.key.clone()],
            _ => return Err(excess),
        };
        Ok((leave, reports && would_play > rules.limit))
    }

    /// A POST.
    fn start(&mut self, now: u64, rules: &Rules, asked: &Asked) -> Result<String, usize> {
        let of_device = |row: &Row| {
            (asked.switch || rules.one_per_device)
                && device(&asked.key).is_some()
                && device(&row.key) == device(&asked.key)
        };
        let (mut leave, mut over_limit, mut excess) = (Vec::new(), false, 0);
        if !self.plays(&asked.key) {
            let others = self.streams.iter().filter(|row| row.paused.is_none() && !of_device(row));
            let others: Vec<&Row> = others.collect();
            (leave, over_limit) = Self::room(rules, asked, &others)?;
            excess = (others.len() + 1).saturating_sub(rules.limit);
        }
        let leaves = |row: &Row| row.key != asked.key && (of_device(row) || leave.contains(&row.key));
        let (n, first) = self.end(now, ("Replaced", &asked.key), leaves);
        let (is_new, row) = self.find_or_add(&asked.key);
        (row.paused, row.expires) = (None, now + LEASE);
        row.position = asked.position.unwrap_or(row.position);
        let verdict = if is_new { "Started" } else { "Renewed" };
        let other = if n > 0 { format!(" other {first}") } else { String::new() };
        let excess = if excess > 1 { format!(" excess {excess}") } else { String::new() };
        let over_limit = if over_limit { " over-limit" } else { "" };
        let replaced = if n > 0 { format!(" replaced {n}") } else { String::new() };
        Ok(format!("{verdict}|{}{other}{excess}|{over_limit}{replaced}", show(row, now)))
    }

    fn find_or_add(&mut self, key: &str) -> (bool, &mut Row) {
        let at = self.streams.iter().position(|row| row.key == key);
        if at.is_none() {
            self.ended.retain(|row| row.key != key);
            let why = Default::default();
            self.streams.push(Row { key: key.into(), expires: 0, position: 0, paused: None, why });
        }
        let last = self.streams.len() - 1;
        (at.is_none(), &mut self.streams[at.unwrap_or(last)])
    }

    /// A PATCH.
    fn beat(&mut self, now: u64, rules: &Rules, asked: &Asked) -> Result<String, usize> {
        if !self.streams.iter().any(|row| row.key == asked.key) {
            return match self.gone(&asked.key) {
                Some(gone) => Ok(gone),
                None if now >= rules.adopt_until => Ok("Unknown||".into()),
                None => self.adopt(now, rules, asked),
            };
        }
        let (playing, plays) = (self.playing() + 1, self.plays(&asked.key));
        let (_, row) = self.find_or_add(&asked.key);
        (row.expires, row.position) = (now + LEASE, asked.position.unwrap_or(row.position));
        if asked.state == Some(false) && plays {
            return Ok(self.pause(now, &asked.key));
        }
        let mut over_limit = "";
        if asked.state == Some(true) && !plays {
            let most = if rules.reports() { MAX_PLAYING } else { rules.limit };
            if playing > most {
                return Err(playing - most);
            }
            over_limit = if playing > rules.limit { " over-limit" } else { "" };
            row.paused = None;
        }
        Ok(format!("Renewed|{}|{over_limit}", show(row, now)))
    }

    fn adopt(&mut self, now: u64, rules: &Rules, asked: &Asked) -> Result<String, usize> {
        let text = if asked.state == Some(false) {
            let (_, row) = self.find_or_add(&asked.key);
            (row.expires, row.position) = (now + LEASE, asked.position.unwrap_or_default());
            self.pause(now, &asked.key)
        } else {
            self.start(now, rules, asked)?
        };
        let parts: Vec<&str> = text.split('|').collect();
        Ok(format!("Renewed|{}| adopted{}", parts[1], parts[2]))
    }

    fn pause(&mut self, now: u64, key: &str) -> String {
        self.pauses += 1;
        let number = self.pauses;
        let (_, row) = self.find_or_add(key);
        row.paused = Some(number);
        let text = format!("Renewed|{}|", show(row, now));
        let paused = || self.streams.iter().filter_map(|row| row.paused);
        if paused().count() > MAX_PAUSED {
            let first = paused().min();
            self.streams.retain(|row| row.paused.is_none() || row.paused != first);
        }
        text
    }

    fn gone(&self, key: &str) -> Option<String> {
        let row = self.ended.iter().find(|row| row.key == key)?;
        let (why, other) = &row.why;
        let other = if other.is_empty() { String::new() } else { format!(" other {other}") };
        Some(format!("Gone({why})|{other}|"))
    }

    fn list(&self, now: u64) -> String {
        let rows = self.streams.iter().map(|row| format!(" [{}{}]", row.key, show(row, now)));
        rows.collect()
    }

    /// What is said of a hold.
    fn held(&self, now: u64) -> String {
        let Some((until, message)) = &self.hold else { return String::new() };
        let other = if message.is_empty() { String::new() } else { format!(" other {message}") };
        format!("{other} wait {}s", until - now)
    }

    fn operator(&mut self, now: u64, verb: &str, target: &str, asked: &Asked) -> String {
        let why = ("Operator", &asked.message[..]);
        let length: u64 = if verb == "hold" { target.parse().unwrap() } else { 0 };
        if length > 0 {
            self.end(now, why, |_| true);
        } else if verb == "evict" {
            let (n, _) = self.end(now, why, |row| target == "all" || row.key == target);
            if n == 0 && target != "all" {
                return "Unknown||".into();
            }
        }
        if length > 0 || (verb == "hold" && self.hold.is_some()) {
            // What a hold has ended is remembered until a lease after it: what it ended now, or began to keep before.
            for row in
                self.ended.iter_mut().filter(|row| row.why.0 == "Operator" && row.expires >= now + LEASE)
            {
                row.expires = now + length + LEASE;
            }
            self.hold = (length > 0).then(|| (now + length, asked.message.clone()));
        }
        format!("Ended|{}{}|", self.held(now), self.list(now))
    }

    fn run(&mut self, now: u64, rules: &Rules, verb: &str, target: &str, asked: &Asked) -> String {
        let before = self.streams.len();
        self.streams.retain(|row| now < row.expires);
        self.ended.retain(|row| now < row.expires);
        self.hold.take_if(|(until, _)| now >= *until);
        let expired = before - self.streams.len();
        let answer = match verb {
            "look" => Ok("Info||".into()),
            "list" => Ok(format!("Info|{}{}|", self.held(now), self.list(now))),
            "start" | "beat" | "gate" if self.hold.is_some() => Ok(format!("Held|{}|", self.held(now))),
            "gate" if self.gone(&asked.key).is_some() => Ok(self.gone(&asked.key).unwrap()),
            "start" | "gate" => self.start(now, rules, asked),
            "beat" => self.beat(now, rules, asked),
            "end" => Ok(match self.end(now, ("Stopped", ""), |row| row.key == asked.key) {
                (0, _) => "Unknown||".into(),
                _ => "Ended||".into(),
            }),
            _ => Ok(self.operator(now, verb, target, asked)),
        };
        let can = answer.is_ok() && self.can_watch(rules, &asked.key);
        let answer = answer.unwrap_or_else(|excess| self.full(now, excess));
        let parts: Vec<&str> = answer.split('|').collect();
        let (verdict, text, notes) = (parts[0], parts[1], parts[2]);
        let (can, count) = (if can { "yes" } else { "no" }, self.playing());
        let expired = if expired > 0 { format!(" expired {expired}") } else { String::new() };
        format!("{verdict} {count} {can}{text}{notes}{expired}")
    }

    fn can_watch(&self, rules: &Rules, key: &str) -> bool {
        self.hold.is_none() && (rules.reports() || self.playing() < rules.limit || self.plays(key))
    }

    fn full(&self, now: u64, excess: usize) -> String {
        let first = self.streams.iter().filter(|row| row.paused.is_none()).map(|row| row.expires).min();
        let wait = first.map_or(String::new(), |first| format!(" wait {}s", first - now));
        let excess = if excess > 1 { format!(" excess {excess}") } else { String::new() };
        format!("Full|{wait}{excess}{}|", self.list(now))
    }
}

fn show(row: &Row, now: u64) -> String {
    let (minutes, seconds) = (row.position / 60, row.position % 60);
    let state = if row.paused.is_some() { " paused" } else { "" };
    format!(" {minutes}:{seconds:02}{state} {}s", row.expires - now)
}

struct Random(u64);

impl Random {
    /// Xorshift: anything below `n`.
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn key(&mut self, ids: usize) -> String {
        let (id, device) = ((b'a' + self.below(ids) as u8) as char, self.one(&["", "", "/x", "/y", "/z"]));
        format!("{id}{device}")
    }

    fn verb(&mut self, ids: usize) -> &'static str {
        let verbs = [
            "start", "start", "start", "beat", "beat", "beat", "beat", "gate", "end", "look", "evict", "hold",
        ];
        match self.one(&verbs) {
            "hold" if ids <= 4 && self.below(4) > 0 => "list",
            // Among many streams many are to be paused and to have ended, as far as is remembered.
            "hold" | "evict" if ids > 4 && self.below(20) > 0 => self.one(&["beat", "beat", "end"]),
            verb => verb,
        }
    }

    /// A command as a script has it, its verb, its target, and the rest taken apart.
    fn command(&mut self, ids: usize) -> (String, &'static str, String, Asked) {
        let verb = self.verb(ids);
        let target = match verb {
            "hold" => self.one(&["0", "0", "5", "60", "400"]).into(),
            "list" => "all".into(),
            "evict" if self.below(3) == 0 => "all".into(),
            _ => self.key(ids),
        };
        let key = if verb == "hold" || target == "all" { String::new() } else { target.clone() };
        let (mut text, mut asked) = (format!("{verb} {target}"), Asked { key, ..Asked::default() });
        if matches!(verb, "start" | "beat") && self.below(3) == 0 {
            let position = self.below(3600);
            asked.position = Some(position as u64);
            text += &format!(" at {position}");
        }
        if matches!(verb, "start" | "gate") {
            asked.over = [None, None, Some("oldest".into()), Some(self.key(ids))][self.below(4)].clone();
            text += &asked.over.as_ref().map_or(String::new(), |over| format!(" over {over}"));
            asked.switch = self.below(if ids > 4 { 40 } else { 4 }) == 0 && device(&asked.key).is_some();
            text += if asked.switch { " switch" } else { "" };
        }
        if verb == "beat" {
            let which = if ids > 4 { self.below(9).min(2) } else { self.below(3) };
            let (state, word) = [(None, ""), (Some(true), " resume"), (Some(false), " pause")][which];
            asked.state = state;
            text += word;
        }
        if matches!(verb, "evict" | "hold") && self.below(2) == 0 {
            asked.message = self.one(&["why", "because"]).into();
            text += &format!(" saying {}", asked.message);
        }
        (text, verb, target, asked)
    }
}

#[test]
fn random_scripts_are_answered_as_the_contract_says() {
    for seed in 1..=200_u64 {
        let mut random = Random(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed));
        let when_full = [WhenFull::Refuse, WhenFull::ReplaceOldest, WhenFull::Report][random.below(3)];
        let one_per_device = random.below(4) == 0;
        let adopt_until = [0, 0, 200][random.below(3)];
        let policy = Policy { one_per_device, ..policy(when_full, adopt_until) };
        let mut script = Script { account: Account::default(), policy, change: Change::None };
        let (mut model, mut now, mut told) = (Model::default(), 0, Vec::new());
        let ids = [2, 4, 9][random.below(3)];
        let highest = if ids > 4 { 30 } else { [2, 4, 6][random.below(3)] };
        for _ in 0..if ids > 4 { 600 } else { 200 } {
            now += if ids > 4 {
                [0, 0, 1][random.below(3)]
            } else {
                [0, 0, 0, 0, 1, 1, 1, 7, 7, 40, 100][random.below(11)]
            };
            let limit = if random.below(8) == 0 { random.below(highest) } else { highest - 1 };
            let (text, verb, target, asked) = random.command(ids);
            let rules = Rules { when_full, one_per_device, adopt_until, limit };
            let text = format!("{text} limit {limit}");
            told.push(format!("{now} {text}"));
            let expected = model.run(now, &rules, verb, &target, &asked);
            assert_eq!(script.run(now, &text), expected, "seed {seed}, {when_full:?}, {told:#?}");
        }
    }
}
