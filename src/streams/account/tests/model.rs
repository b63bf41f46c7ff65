//! The contract once more, as plainly as it can be said.

use super::room::counts;
use super::*;

/// What plays and what is paused, in the order of the starts; then what has ended, in the order of the ends.
#[derive(Clone, Default)]
pub struct Model {
    pub streams: Vec<Row>,
    pub ended: Vec<Row>,
    pub hold: Option<(u64, String)>,
    pub pauses: u64,
}

#[derive(Clone)]
pub struct Row {
    pub key: String,
    pub expires: u64,
    pub position: u64,
    /// The number of the pause, while it is paused.
    pub paused: Option<u64>,
    /// Why it has ended: `Stopped`, `Replaced` with the key of another, or `Operator` with a message.
    pub why: (&'static str, String),
    pub classes: Vec<String>,
    pub generation: u64,
}

pub struct Rules {
    pub when_full: WhenFull,
    pub one_per_device: bool,
    /// Until when unknown streams are adopted; None for always.
    pub adopts_until: Option<u64>,
    pub limit: usize,
    /// The classes that have a limit.
    pub class_limits: Vec<(&'static str, usize)>,
    pub generation: u64,
}

impl Rules {
    pub fn reports(&self) -> bool {
        self.when_full == WhenFull::Report && self.limit > 0
    }
}

/// A command of a script, taken apart.
#[derive(Clone, Default)]
pub struct Asked {
    pub key: String,
    pub position: Option<u64>,
    pub over: Option<String>,
    pub state: Option<bool>,
    pub switch: bool,
    pub message: String,
    pub classes: Option<Vec<String>>,
    pub meant: Vec<u64>,
}

/// Why a user is full: the place of the class that has no room, None for want of any, and how many have to end first.
pub type Full = (Option<usize>, usize);

pub fn device(key: &str) -> Option<&str> {
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

    /// A POST; or the gate, or an adoption, which keep what a stream that is there has.
    fn start(&mut self, now: u64, rules: &Rules, asked: &Asked, keeps: bool) -> Result<String, Full> {
        let of_device = |row: &Row| {
            (asked.switch || rules.one_per_device)
                && device(&asked.key).is_some()
                && device(&row.key) == device(&asked.key)
        };
        let classes = self.classes(asked, keeps);
        let limits = self.limits(rules, &asked.key, &classes);
        let plays = |row: &&Row| row.paused.is_none() && row.key != asked.key && !of_device(row);
        let others: Vec<&Row> = self.streams.iter().filter(plays).collect();
        let yields = Self::yields(rules, asked, |some| Self::room(rules, &limits, some, &others).is_ok());
        let (leave, reported) = Self::room(rules, &limits, &yields, &others)?;
        let over = |&(at, over): &Full| (at.is_none() && over > 1).then_some(over);
        let excess = Self::broken(rules, &limits, &others).iter().find_map(over);
        let leaves = |row: &Row| row.key != asked.key && (of_device(row) || leave.contains(&row.key));
        let (n, first) = self.end(now, ("Replaced", &asked.key), leaves);
        let (is_new, row) = self.find_or_add(&asked.key);
        if is_new || !keeps {
            (row.classes, row.generation) = (classes, rules.generation);
        }
        (row.paused, row.expires) = (None, now + LEASE);
        row.position = asked.position.unwrap_or(row.position);
        let verdict = if is_new { "Started" } else { "Renewed" };
        let (other, replaced) = match n {
            0 => Default::default(),
            n => (format!(" other {first}"), format!(" replaced {n}")),
        };
        let excess = excess.map_or(String::new(), |excess| format!(" excess {excess}"));
        let shown = show(row, now);
        let (over_limit, rule) = self.reported(rules, reported);
        Ok(format!("{verdict}|{shown}{rule}{other}{excess}|{over_limit}{replaced}"))
    }

    /// What is said of a limit that is only reported.
    fn reported(&self, rules: &Rules, full: Option<Full>) -> (&'static str, String) {
        let playing =
            |at| self.streams.iter().filter(|row| row.paused.is_none() && counts(rules, at, row)).count();
        match full {
            None => ("", String::new()),
            Some((None, _)) => (" over-limit", String::new()),
            Some((at @ Some(place), _)) => (" over-limit", format!(" rule {place} counts {}", playing(at))),
        }
    }

    /// The classes that a command goes by.
    fn classes(&self, asked: &Asked, keeps: bool) -> Vec<String> {
        match self.streams.iter().find(|row| row.key == asked.key) {
            Some(row) if keeps => row.classes.clone(),
            _ => asked.classes.clone().unwrap_or_default(),
        }
    }

    fn find_or_add(&mut self, key: &str) -> (bool, &mut Row) {
        let at = self.streams.iter().position(|row| row.key == key);
        if at.is_none() {
            self.ended.retain(|row| row.key != key);
            let why = Default::default();
            let (key, classes) = (key.into(), Vec::new());
            self.streams.push(Row {
                key,
                expires: 0,
                position: 0,
                paused: None,
                why,
                classes,
                generation: 0,
            });
        }
        let last = self.streams.len() - 1;
        (at.is_none(), &mut self.streams[at.unwrap_or(last)])
    }

    /// A PATCH.
    fn beat(&mut self, now: u64, rules: &Rules, asked: &Asked) -> Result<String, Full> {
        if !self.streams.iter().any(|row| row.key == asked.key) {
            return match self.gone(&asked.key) {
                Some(gone) => Ok(gone),
                None if rules.adopts_until.is_some_and(|end| now >= end) => Ok("Unknown||".into()),
                None => self.adopt(now, rules, asked),
            };
        }
        let plays = self.plays(&asked.key);
        let (_, row) = self.find_or_add(&asked.key);
        (row.expires, row.position) = (now + LEASE, asked.position.unwrap_or(row.position));
        if asked.state == Some(false) && plays {
            return Ok(self.pause(now, &asked.key));
        }
        let mut reported = None;
        if asked.state == Some(true) && !plays {
            let limits = self.limits(rules, &asked.key, &self.classes(asked, true));
            let others: Vec<&Row> = self.streams.iter().filter(|row| row.paused.is_none()).collect();
            let yields = if rules.reports() { "report" } else { "none" };
            (_, reported) = Self::room(rules, &limits, yields, &others)?;
            self.find_or_add(&asked.key).1.paused = None;
        }
        let shown = show(self.find_or_add(&asked.key).1, now);
        let (over_limit, rule) = self.reported(rules, reported);
        Ok(format!("Renewed|{shown}{rule}|{over_limit}"))
    }

    fn adopt(&mut self, now: u64, rules: &Rules, asked: &Asked) -> Result<String, Full> {
        let text = if asked.state == Some(false) {
            let classes = self.classes(asked, true);
            let (_, row) = self.find_or_add(&asked.key);
            (row.expires, row.position) = (now + LEASE, asked.position.unwrap_or_default());
            (row.classes, row.generation) = (classes, rules.generation);
            self.pause(now, &asked.key)
        } else {
            self.start(now, rules, asked, true)?
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
        let is_told = match *why {
            "Replaced" => self.streams.iter().any(|row| row.key == *other),
            _ => !other.is_empty(),
        };
        let other = if is_told { format!(" other {other}") } else { String::new() };
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

    /// Of all that operators say an account keeps the last.
    fn say(&mut self, message: &str) {
        let told = self.ended.iter_mut().filter(|row| row.why.0 == "Operator" && row.why.1 != message);
        told.filter(|_| !message.is_empty()).for_each(|row| row.why.1.clear());
    }

    fn operator(&mut self, now: u64, verb: &str, target: &str, asked: &Asked) -> String {
        let why = ("Operator", &asked.message[..]);
        let length: u64 = if verb == "hold" { target.parse().unwrap() } else { 0 };
        if length > 0 {
            self.end(now, why, |_| true);
            self.say(&asked.message);
        } else if verb == "evict" {
            let (n, _) = self.end(now, why, |row| target == "all" || row.key == target);
            if n == 0 && target != "all" {
                return "Unknown||".into();
            }
            if n > 0 {
                self.say(&asked.message);
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

    /// Drops what has run out; and however the clock has jumped, nothing lasts longer than a lease.
    fn expire(&mut self, now: u64) -> usize {
        let before = self.streams.len();
        self.streams.retain(|row| now < row.expires);
        self.ended.retain(|row| now < row.expires);
        self.hold.take_if(|(until, _)| now >= *until);
        let last = self.hold.as_ref().map_or(now, |(until, _)| *until) + LEASE;
        self.streams.iter_mut().for_each(|row| row.expires = row.expires.min(now + LEASE));
        self.ended.iter_mut().for_each(|row| row.expires = row.expires.min(last));
        before - self.streams.len()
    }

    fn answer(
        &mut self,
        now: u64,
        rules: &Rules,
        verb: &str,
        target: &str,
        asked: &Asked,
    ) -> Result<String, Full> {
        let starts = ["start", "beat", "gate"].contains(&verb);
        let row = self.streams.iter().find(|row| row.key == asked.key);
        let is_meant = asked.meant.is_empty() || row.is_none_or(|row| asked.meant.contains(&row.generation));
        match verb {
            _ if starts && self.hold.is_some() => Ok(format!("Held|{}|", self.held(now))),
            _ if starts && rules.limit == 0 => Err((None, 0)),
            _ if !is_meant => Ok("Outdated||".into()),
            "look" => Ok("Info||".into()),
            "list" => Ok(format!("Info|{}{}|", self.held(now), self.list(now))),
            "gate" if self.gone(&asked.key).is_some() => Ok(self.gone(&asked.key).unwrap()),
            "start" | "gate" => self.start(now, rules, asked, verb == "gate"),
            "beat" => self.beat(now, rules, asked),
            "end" => Ok(match self.end(now, ("Stopped", ""), |row| row.key == asked.key) {
                (0, _) => "Unknown||".into(),
                _ => "Ended||".into(),
            }),
            _ => Ok(self.operator(now, verb, target, asked)),
        }
    }

    pub fn run(&mut self, now: u64, rules: &Rules, verb: &str, target: &str, asked: &Asked) -> String {
        let expired = self.expire(now);
        let answer = self.answer(now, rules, verb, target, asked);
        let keeps = matches!(verb, "beat" | "gate") || (verb == "look" && asked.classes.is_none());
        let can = answer.is_ok() && self.can_watch(rules, asked, keeps);
        let answer = answer.unwrap_or_else(|full| self.full(now, rules, full));
        let parts: Vec<&str> = answer.split('|').collect();
        let (verdict, text, notes) = (parts[0], parts[1], parts[2]);
        let (can, count) = (if can { "yes" } else { "no" }, self.playing());
        let expired = if expired > 0 { format!(" expired {expired}") } else { String::new() };
        format!("{verdict} {count} {can}{text}{notes}{expired}")
    }

    fn can_watch(&self, rules: &Rules, asked: &Asked, keeps: bool) -> bool {
        if self.hold.is_some() || rules.limit == 0 || self.plays(&asked.key) {
            return self.hold.is_none() && rules.limit > 0;
        }
        let limits = self.limits(rules, &asked.key, &self.classes(asked, keeps));
        let playing: Vec<&Row> = self.streams.iter().filter(|row| row.paused.is_none()).collect();
        if rules.reports() {
            return limits.iter().all(|(_, limit)| *limit > 0);
        }
        Self::broken(rules, &limits, &playing).is_empty()
    }

    fn full(&self, now: u64, rules: &Rules, (class, excess): Full) -> String {
        let playing = || self.streams.iter().filter(|row| row.paused.is_none() && counts(rules, class, row));
        let first = playing().map(|row| row.expires).min();
        let rule = class.map_or(String::new(), |at| format!(" rule {at} counts {}", playing().count()));
        let wait = first.map_or(String::new(), |first| format!(" wait {}s", first - now));
        let excess = if excess > 1 { format!(" excess {excess}") } else { String::new() };
        format!("Full|{rule}{wait}{excess}{}|", self.list(now))
    }
}

fn show(row: &Row, now: u64) -> String {
    let (minutes, seconds) = (row.position / 60, row.position % 60);
    let state = if row.paused.is_some() { " paused" } else { "" };
    let classes = if row.classes.is_empty() { "" } else { " in " };
    let classes = format!("{classes}{}", row.classes.join(","));
    format!(" {minutes}:{seconds:02}{classes}{state} #{} {}s", row.generation, row.expires - now)
}
