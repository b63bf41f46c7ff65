//! Random scripts, which the account and the model must answer alike.

use super::model::{Asked, Model, Rules, device};
use super::*;

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

    /// What a command says of classes and of generations, now and then.
    fn classes_and_generations(&mut self, verb: &str, latest: u64, asked: &mut Asked) -> String {
        let mut text = String::new();
        if matches!(verb, "start" | "gate" | "beat" | "look" | "list" | "end") && self.below(3) == 0 {
            let words = ["live", "mobile", "4k", "kids"].into_iter().filter(|_| self.below(3) == 0);
            let words: Vec<String> = words.map(String::from).collect();
            text += &format!(" in {}", if words.is_empty() { "-".into() } else { words.join(",") });
            asked.classes = Some(words);
        }
        if matches!(verb, "beat" | "end") && self.below(4) == 0 {
            asked.meant = (0..=self.below(3)).map(|_| latest.saturating_sub(self.below(12) as u64)).collect();
            let meant: Vec<String> = asked.meant.iter().map(u64::to_string).collect();
            text += &format!(" meaning {}", meant.join(","));
        }
        text
    }

    /// A command as a script has it, its verb, its target, and the rest taken apart.
    fn command(&mut self, ids: usize, latest: u64) -> (String, &'static str, String, Asked) {
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
        text += &self.classes_and_generations(verb, latest, &mut asked);
        if matches!(verb, "evict" | "hold") && self.below(2) == 0 {
            asked.message = self.one(&["why", "because"]).into();
            text += &format!(" saying {}", asked.message);
        }
        (text, verb, target, asked)
    }
}

/// Which limits of classes hold for a command.
fn class_limits(random: &mut Random, most: usize) -> Vec<(&'static str, usize)> {
    let classes = ["mobile", "live", "4k"].into_iter().filter(|_| random.below(2) == 0).collect::<Vec<_>>();
    classes.into_iter().map(|class| (class, random.below(most + 1))).collect()
}

#[track_caller]
fn check(seed: u64) {
    let mut random = Random(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed));
    let when_full = [WhenFull::Refuse, WhenFull::ReplaceOldest, WhenFull::Report][random.below(3)];
    let one_per_device = random.below(4) == 0;
    let adopts_until = [Some(0), Some(0), Some(200), None][random.below(4)];
    let adoption = adopts_until.map_or(Adoption::Always, until);
    let mut script = Script::under(Policy { one_per_device, adoption, ..policy(when_full, 0) });
    script.numbered = true;
    let (mut model, mut now, mut told) = (Model::default(), 1000, Vec::new());
    let ids = [2, 4, 9][random.below(3)];
    let highest = if ids > 4 { 30 } else { [2, 4, 6][random.below(3)] };
    let (has_classes, jumps) = (random.below(3) > 0, random.below(3) == 0);
    for generation in 1..=if ids > 4 { 600 } else { 200 } {
        now += if ids > 4 {
            [0, 0, 1][random.below(3)]
        } else {
            [0, 0, 0, 0, 1, 1, 1, 7, 7, 40, 100][random.below(11)]
        };
        if jumps && random.below(100) == 0 {
            now -= 60;
        }
        let limit = if random.below(8) == 0 { random.below(highest) } else { highest - 1 };
        let (text, verb, target, asked) = random.command(ids, generation);
        let class_limits = if has_classes { class_limits(&mut random, highest / 2) } else { Vec::new() };
        let limits: String = class_limits.iter().map(|(class, limit)| format!(",{class}={limit}")).collect();
        let rules = Rules { when_full, one_per_device, adopts_until, limit, class_limits, generation };
        let text = format!("{text} limit {limit}{limits}");
        told.push(format!("{now} {text}"));
        let expected = model.run(now, &rules, verb, &target, &asked);
        assert_eq!(
            script.run(now, &text),
            expected,
            "seed {seed}, {when_full:?}, {adopts_until:?}, {told:#?}"
        );
    }
}

#[test]
fn random_scripts_are_answered_as_the_contract_says() {
    (1..=200).for_each(check);
}

/// `cargo test --release --lib -- --ignored a_hundred_thousand` takes some minutes.
#[test]
#[ignore = "takes minutes"]
fn a_hundred_thousand_random_scripts_are_answered_as_the_contract_says() {
    (1000..101_000).for_each(check);
}
