//! The rules as scripts: at a second, a command, and what comes of it.
//!
//! A command is `look KEY`, `list`, `start KEY [at SECS] [over KEY|oldest] [switch]`, `gate KEY [over …] [switch]`,
//! `beat KEY [at SECS] [pause|resume]`, `end KEY`, `evict KEY|all [saying TEXT]` or `hold SECS [saying TEXT]`, each with
//! `limit N` where the limit is not 3, with `in CLASSES` (`in -` for none) where it names classes, and with `meaning N,…` where
//! it means these generations. The commands of a script are numbered, and that is the generation. A key is `id` or
//! `id/device`.

mod model;
mod room;
mod scripts;

use super::*;
use crate::streams::batch::{ClassFull, Replace, StreamView};

const LEASE: u64 = 90;

struct Script {
    account: Account,
    policy: Policy,
    /// Of the last command.
    change: Change,
    generation: u64,
    /// Whether generations are told.
    numbered: bool,
}

fn policy(when_full: WhenFull, adopts_until: u64) -> Policy {
    Policy { when_full, adoption: until(adopts_until), ..Policy::new(Millis::from_secs(LEASE)) }
}

fn until(secs: u64) -> Adoption {
    Adoption::Until(Timestamp::from_millis(secs * 1000))
}

fn key(arena: &mut Arena<Asked>, text: &str) -> Word<Asked> {
    arena.add(text.replace('/', "\0").as_bytes())
}

impl Script {
    fn new(when_full: WhenFull) -> Self {
        Self::under(policy(when_full, 0))
    }

    fn under(policy: Policy) -> Self {
        let (account, change) = (Account::default(), Change::None);
        Self { account, policy, change, generation: 0, numbered: false }
    }

    fn run(&mut self, secs: u64, text: &str) -> String {
        let mut arena = Arena::default();
        let mut words = text.split(' ');
        let (verb, target) = (words.next().unwrap(), words.next().unwrap_or_default());
        let (mut position, mut replace, mut playing, mut limits) = (None, Replace::ByPolicy, None, "3");
        let (mut switch, mut message) = (false, Word::default());
        let (mut classes, mut if_match) = (None, Word::default());
        while let Some(word) = words.next() {
            match word {
                "at" => position = Some(Position::from_secs(words.next().unwrap().parse().unwrap())),
                "over" => match words.next().unwrap() {
                    "oldest" => replace = Replace::Oldest,
                    other => replace = Replace::Stream(key(&mut arena, other)),
                },
                "switch" => switch = true,
                "pause" => playing = Some(false),
                "resume" => playing = Some(true),
                "saying" => message = arena.add(words.next().unwrap().as_bytes()),
                "limit" => limits = words.next().unwrap(),
                "in" => classes = Some(arena.add(words.next().unwrap().trim_matches('-').as_bytes())),
                "meaning" => {
                    let tags = words.next().unwrap().split(',').map(|n| tag(n.parse().unwrap()));
                    if_match = arena.add(&tags.collect::<Vec<_>>().join(&b", "[..]));
                }
                _ => panic!("{word} in {text}"),
            }
        }
        let action = match verb {
            "look" => Action::Look,
            "list" => Action::List,
            "start" => Action::Start { position, replace, switch },
            "gate" => Action::Gate { replace, switch },
            "beat" => Action::Beat { position, playing },
            "end" => Action::End,
            "evict" => Action::Evict { message },
            "hold" => Action::Hold { length: Millis::from_secs(target.parse().unwrap()), message },
            _ => panic!("{verb} in {text}"),
        };
        let target = if verb == "hold" || target == "all" { "" } else { target };
        let limits = Limits::parse(limits.as_bytes()).unwrap().into_arena(&mut arena);
        self.generation += 1;
        let command = Command {
            classes: classes.unwrap_or_default(),
            names_classes: classes.is_some(),
            generation: self.generation,
            if_match,
            ..Command::new(Word::default(), key(&mut arena, target), limits, action)
        };
        let mut findings = Findings::default();
        let now = Timestamp::from_millis(secs * 1000);
        // A thousand streams are only copied when there is something to see.
        let before = (self.account.streams.len() < 50).then(|| self.account.clone());
        let outcome = self.account.apply(now, &self.policy, &command, &arena, &mut findings);
        self.change = outcome.change;
        if let Some(before) = before {
            check_change(before, &self.account, now, outcome.change, text);
        }
        tell(&outcome, &findings, self.numbered)
    }

    #[track_caller]
    fn check(mut self, rows: &[(u64, &str, &str)]) -> Self {
        for &(secs, command, expected) in rows {
            assert_eq!(self.run(secs, command), expected, "at {secs}: {command}");
        }
        self
    }
}

/// What an outcome says of the change is what became of the account; and its record is the account.
fn check_change(mut before: Account, after: &Account, now: Timestamp, change: Change, command: &str) {
    before.expire(now, &mut Vec::new());
    let was_cut = before.cut(now, Millis::from_secs(LEASE));
    let asks = command.starts_with('l');
    assert!(asks || !was_cut || change != Change::None, "{command}");
    let apart = |account: &Account| {
        let streams =
            account.streams.iter().map(|stream| (stream.name.clone(), stream.generation, stream.paused));
        (streams.collect::<Vec<_>>(), account.streams.rare().cloned())
    };
    match change {
        Change::None => assert_eq!(&before, after, "{command}"),
        Change::Lease => assert_eq!(apart(&before), apart(after), "{command}"),
        // A hold that is said again in the same moment changes nothing.
        Change::State if command.starts_with("hold") => {}
        Change::State => assert_ne!(apart(&before), apart(after), "{command}"),
    }
    let mut record = Vec::new();
    after.encode(&mut record);
    assert_eq!(Account::decode(&record).as_ref(), Ok(after), "{command}");
}

/// `Verdict count yes|no`, and whatever else the outcome says.
fn tell(outcome: &Outcome, findings: &Findings, numbered: bool) -> String {
    let can = if outcome.can_watch { "yes" } else { "no" };
    let mut text = format!("{:?} {} {can}", outcome.verdict, outcome.count);
    let mut word = |word: String| text.push_str(&(String::from(" ") + &word));
    let show = |stream: &StreamView| {
        let mut clock = Vec::new();
        stream.position.write(&mut clock);
        let state = if stream.playing { "" } else { " paused" };
        let classes = String::from_utf8_lossy(findings.arena.get(stream.classes));
        let classes = if classes.is_empty() { String::new() } else { format!(" in {classes}") };
        let number = if numbered { format!(" #{}", stream.generation) } else { String::new() };
        let secs = stream.expires_in.secs_ceil();
        format!("{}{classes}{state}{number} {secs}s", String::from_utf8(clock).unwrap())
    };
    let name = |word| String::from_utf8_lossy(findings.arena.get(word)).replace('\0', "/");
    let streams = &findings.streams[outcome.streams.0 as usize..outcome.streams.1 as usize];
    if let ([stream], Verdict::Started | Verdict::Renewed) = (streams, outcome.verdict) {
        word(show(stream));
    }
    if let Some(ClassFull { at, count }) = outcome.class_full {
        word(format!("rule {at} counts {count}"));
    }
    if !outcome.other.is_empty() {
        word(format!("other {}", name(outcome.other)));
    }
    if outcome.wait > Millis::ZERO {
        word(format!("wait {}s", outcome.wait.secs_ceil()));
    }
    if outcome.excess > 1 {
        word(format!("excess {}", outcome.excess));
    }
    for stream in streams.iter().filter(|stream| !stream.key.is_empty()) {
        word(format!("[{} {}]", name(stream.key), show(stream)));
    }
    let notes = outcome.notes;
    for (what, n) in [("adopted", notes.adopted), ("over-limit", notes.over_limit)] {
        if n {
            word(what.into());
        }
    }
    let ends = &findings.ends[outcome.ends.0 as usize..outcome.ends.1 as usize];
    let expired = ends.iter().filter(|end| end.how == Ending::Expired).count();
    for (what, n) in [("replaced", notes.replaced.into()), ("expired", expired)] {
        if n > 0 {
            word(format!("{what} {n}"));
        }
    }
    text
}

#[test]
fn three_play_and_the_fourth_is_refused() {
    Script::new(WhenFull::Refuse).check(&[
        (0, "look a", "Info 0 yes"),
        (0, "start a", "Started 1 yes 0:00 90s"),
        (1, "start b at 60", "Started 2 yes 1:00 90s"),
        (2, "start c", "Started 3 yes 0:00 90s"),
        (3, "look d", "Info 3 no"),
        (3, "look a", "Info 3 yes"),
        (3, "start d", "Full 3 no wait 87s [a 0:00 87s] [b 1:00 88s] [c 0:00 89s]"),
        (4, "end b", "Ended 2 yes"),
        (4, "start d", "Started 3 yes 0:00 90s"),
        (5, "list", "Info 3 no [a 0:00 85s] [c 0:00 87s] [d 0:00 89s]"),
    ]);
}

#[test]
fn restarting_what_plays_takes_no_second_slot_and_is_never_refused() {
    Script::new(WhenFull::Refuse).check(&[
        (0, "start a at 5", "Started 1 yes 0:05 90s"),
        (0, "start b", "Started 2 yes 0:00 90s"),
        (0, "start c", "Started 3 yes 0:00 90s"),
        (9, "start a", "Renewed 3 yes 0:05 90s"),
        (9, "start a at 7 over b", "Renewed 3 yes 0:07 90s"),
        (9, "start a over oldest", "Renewed 3 yes 0:07 90s"),
        (9, "list", "Info 3 no [a 0:07 90s] [b 0:00 81s] [c 0:00 81s]"),
    ]);
}

#[test]
fn two_devices_on_one_video_are_two_streams() {
    Script::new(WhenFull::Refuse).check(&[
        (0, "start match", "Started 1 yes 0:00 90s"),
        (0, "start match/tv", "Started 2 yes 0:00 90s"),
        (0, "start match/phone", "Started 3 yes 0:00 90s"),
        (0, "look match/pad", "Info 3 no"),
        (0, "look match/tv", "Info 3 yes"),
        (0, "end match/tv", "Ended 2 yes"),
        (0, "end match/tv", "Unknown 2 yes"),
        (0, "list", "Info 2 yes [match 0:00 90s] [match/phone 0:00 90s]"),
    ]);
}

#[test]
fn a_lease_runs_out_unless_it_is_renewed() {
    Script::new(WhenFull::Refuse).check(&[
        (0, "start a", "Started 1 yes 0:00 90s"),
        (89, "look a", "Info 1 yes"),
        (89, "beat a", "Renewed 1 yes 0:00 90s"),
        (178, "list", "Info 1 yes [a 0:00 1s]"),
        (179, "list", "Info 0 yes expired 1"),
        (179, "beat a", "Unknown 0 yes"),
        (180, "start a", "Started 1 yes 0:00 90s"),
        (200, "look a", "Info 1 yes"),
        (270, "end a", "Unknown 0 yes expired 1"),
    ]);
}

#[test]
fn a_paused_stream_keeps_its_position_and_frees_its_slot() {
    Script::new(WhenFull::Refuse).check(&[
        (0, "start a", "Started 1 yes 0:00 90s"),
        (0, "start b", "Started 2 yes 0:00 90s"),
        (0, "start c", "Started 3 yes 0:00 90s"),
        (1, "beat a at 30 pause", "Renewed 2 yes 0:30 paused 90s"),
        (2, "start d", "Started 3 yes 0:00 90s"),
        (3, "look a", "Info 3 no"),
        (3, "beat a", "Renewed 3 no 0:30 paused 90s"),
        (
            4,
            "beat a at 31 resume",
            "Full 3 no wait 86s [a 0:31 paused 90s] [b 0:00 86s] [c 0:00 86s] [d 0:00 88s]",
        ),
        (4, "start a", "Full 3 no wait 86s [a 0:31 paused 90s] [b 0:00 86s] [c 0:00 86s] [d 0:00 88s]"),
        (5, "end b", "Ended 2 yes"),
        (5, "beat a resume", "Renewed 3 yes 0:31 90s"),
        (6, "beat a resume", "Renewed 3 yes 0:31 90s"),
        (6, "beat c pause", "Renewed 2 yes 0:00 paused 90s"),
        (7, "beat c pause", "Renewed 2 yes 0:00 paused 90s"),
        (8, "start c at 9", "Renewed 3 yes 0:09 90s"),
        (8, "end a", "Ended 2 yes"),
    ]);
}

#[test]
fn the_stream_paused_longest_gives_way_to_the_seventeenth() {
    for adopts in [false, true] {
        let mut script = Script::new(WhenFull::Refuse);
        script.policy.adoption = until(u64::from(adopts));
        if !adopts {
            (0..MAX_PAUSED).for_each(|i| drop(script.run(0, &format!("start v{i} limit 100"))));
        }
        // Of one millisecond the order of the commands counts: the second of them is paused first.
        for i in [1, 0].into_iter().chain(2..MAX_PAUSED) {
            script.run(0, &format!("beat v{i} pause"));
        }
        // To pause again what is paused does not make it any younger.
        script.run(0, "beat v1 pause");
        assert_eq!(script.change, Change::Lease);
        if !adopts {
            script.run(0, "start w");
        }
        script.run(0, "beat w pause");
        let list = script.run(1, "list");
        assert!(!list.contains("[v1 ") && list.contains("[v0 ") && list.contains("[w "), "{list}");
        assert_eq!(script.account.tally(), Tally { users: 1, playing: 0, paused: MAX_PAUSED as u32 });
        assert_eq!(script.run(2, "beat v1"), "Unknown 0 yes");
    }
}

#[test]
fn the_named_stream_gives_way_only_if_the_user_is_full() {
    Script::new(WhenFull::Refuse).check(&[
        (0, "start a", "Started 1 yes 0:00 90s"),
        (0, "start b", "Started 2 yes 0:00 90s"),
        (0, "start c over a", "Started 3 yes 0:00 90s"),
        (1, "start d over x", "Full 3 no wait 89s [a 0:00 89s] [b 0:00 89s] [c 0:00 89s]"),
        (1, "start d over b", "Started 3 yes 0:00 90s other b replaced 1"),
        (2, "beat b", "Gone(Replaced) 3 no other d"),
        (3, "start e/tv over oldest", "Started 3 yes 0:00 90s other a replaced 1"),
        (4, "beat a", "Gone(Replaced) 3 no other e/tv"),
        (4, "start f over e", "Full 3 no wait 86s [c 0:00 86s] [d 0:00 87s] [e/tv 0:00 89s]"),
        (4, "start f over e/tv", "Started 3 yes 0:00 90s other e/tv replaced 1"),
        (5, "beat c pause", "Renewed 2 yes 0:00 paused 90s"),
        (5, "start g", "Started 3 yes 0:00 90s"),
        // A paused stream holds no slot, so ending it would not make room.
        (
            6,
            "start h over c",
            "Full 3 no wait 85s [c 0:00 paused 89s] [d 0:00 85s] [f 0:00 88s] [g 0:00 89s]",
        ),
        (7, "start c over d", "Renewed 3 yes 0:00 90s other d replaced 1"),
    ]);
}

#[test]
fn the_oldest_gives_way_where_the_policy_says_so() {
    Script::new(WhenFull::ReplaceOldest).check(&[
        (0, "start a", "Started 1 yes 0:00 90s"),
        (0, "start b", "Started 2 yes 0:00 90s"),
        (0, "start c", "Started 3 yes 0:00 90s"),
        (1, "look d", "Info 3 no"),
        (1, "start d", "Started 3 yes 0:00 90s other a replaced 1"),
        (2, "beat b pause", "Renewed 2 yes 0:00 paused 90s"),
        (2, "start e", "Started 3 yes 0:00 90s"),
        (3, "beat b resume", "Full 3 no wait 87s [b 0:00 paused 90s] [c 0:00 87s] [d 0:00 88s] [e 0:00 89s]"),
        (3, "start b", "Renewed 3 yes 0:00 90s other c replaced 1"),
        // The limit was lowered meanwhile: as many give way as it takes, and the first is named.
        (4, "start f limit 1", "Started 1 yes 0:00 90s other b excess 3 replaced 3"),
    ]);
}

#[test]
fn a_named_stream_alone_cannot_make_up_for_a_lowered_limit() {
    Script::new(WhenFull::Refuse).check(&[
        (0, "start a", "Started 1 yes 0:00 90s"),
        (0, "start b", "Started 2 yes 0:00 90s"),
        (0, "start c limit 1 over a", "Full 2 no wait 90s excess 2 [a 0:00 90s] [b 0:00 90s]"),
        (0, "beat a limit 1", "Renewed 2 yes 0:00 90s"),
    ]);
}

#[test]
fn report_lets_everything_through_and_says_so() {
    let mut script = Script::new(WhenFull::Report).check(&[
        (0, "start a limit 1", "Started 1 yes 0:00 90s"),
        (0, "start b limit 1", "Started 2 yes 0:00 90s over-limit"),
        (0, "look c limit 1", "Info 2 yes"),
        (0, "start c limit 1 over b", "Full 2 no wait 90s excess 2 [a 0:00 90s] [b 0:00 90s]"),
        (0, "beat b limit 1 pause", "Renewed 1 yes 0:00 paused 90s"),
        (0, "beat b limit 1 resume", "Renewed 2 yes 0:00 90s over-limit"),
    ]);
    for i in 0..2 * MAX_PLAYING {
        script.run(1, &format!("start v{i}"));
    }
    assert_eq!(script.account.tally().playing as usize, MAX_PLAYING);
}

#[test]
fn an_ended_stream_is_gone_for_one_lease_and_then_unknown() {
    Script::new(WhenFull::Refuse).check(&[
        (0, "start a", "Started 1 yes 0:00 90s"),
        (10, "end a", "Ended 0 yes"),
        (11, "end a", "Unknown 0 yes"),
        (11, "list", "Info 0 yes"),
        (99, "beat a", "Gone(Stopped) 0 yes"),
        (100, "beat a", "Unknown 0 yes"),
        (101, "start a at 3", "Started 1 yes 0:03 90s"),
        (102, "end a", "Ended 0 yes"),
        (103, "start a", "Started 1 yes 0:00 90s"),
        (104, "beat a", "Renewed 1 yes 0:00 90s"),
    ]);
}

#[test]
fn what_is_remembered_of_ended_streams_is_bounded() {
    let mut script = Script::new(WhenFull::Refuse);
    for i in 0..100 {
        script.run(i / 2, &format!("start v{i}"));
        script.run(i / 2, &format!("end v{i}"));
    }
    assert_eq!(ended(&script.account), MAX_ENDED);
    assert_eq!(script.run(51, "beat v99"), "Gone(Stopped) 0 yes");
    assert_eq!(script.run(51, "beat v0"), "Unknown 0 yes");
}

#[test]
fn the_operator_ends_what_plays_and_what_is_paused() {
    Script::new(WhenFull::Refuse).check(&[
        (0, "start a", "Started 1 yes 0:00 90s"),
        (0, "start b", "Started 2 yes 0:00 90s"),
        (0, "beat b pause", "Renewed 1 yes 0:00 paused 90s"),
        (1, "evict all", "Ended 0 yes"),
        (2, "beat a", "Gone(Operator) 0 yes"),
        (2, "beat b resume", "Gone(Operator) 0 yes"),
        (2, "list", "Info 0 yes"),
        (3, "evict all", "Ended 0 yes"),
        (4, "start a", "Started 1 yes 0:00 90s"),
        (4, "evict b saying no", "Unknown 1 yes"),
        (4, "evict a saying shared-account", "Ended 0 yes"),
        (5, "beat a", "Gone(Operator) 0 yes other shared-account"),
        (5, "beat b", "Gone(Operator) 0 yes"),
        // One message an account: what ended before is not told another one.
        (6, "start c", "Started 1 yes 0:00 90s"),
        (6, "evict c saying more", "Ended 0 yes"),
        (7, "beat a", "Gone(Operator) 0 yes"),
        (7, "beat c", "Gone(Operator) 0 yes other more"),
    ]);
}

#[test]
fn after_a_start_unknown_streams_are_adopted_for_one_lease() {
    let mut script = Script::new(WhenFull::Refuse);
    script.policy = policy(WhenFull::Refuse, LEASE);
    script.check(&[
        (0, "beat a at 42", "Renewed 1 yes 0:42 90s adopted"),
        (0, "beat b pause", "Renewed 1 yes 0:00 paused 90s adopted"),
        (0, "beat c", "Renewed 2 yes 0:00 90s adopted"),
        (0, "beat d", "Renewed 3 yes 0:00 90s adopted"),
        (1, "beat e", "Full 3 no wait 89s [a 0:42 89s] [b 0:00 paused 89s] [c 0:00 89s] [d 0:00 89s]"),
        (2, "end a", "Ended 2 yes"),
        (3, "beat a", "Gone(Stopped) 2 yes"),
        (89, "beat e", "Renewed 3 yes 0:00 90s adopted"),
        (90, "beat f", "Unknown 1 yes expired 3"),
    ]);
}

#[test]
fn looking_changes_and_renews_nothing() {
    Script::new(WhenFull::Refuse).check(&[
        (0, "start a", "Started 1 yes 0:00 90s"),
        (80, "look a", "Info 1 yes"),
        (80, "look b", "Info 1 yes"),
        (80, "list", "Info 1 yes [a 0:00 10s]"),
        (90, "look a", "Info 0 yes expired 1"),
    ]);
}

#[test]
fn a_switch_ends_what_else_the_device_has() {
    Script::new(WhenFull::Refuse).check(&[
        (0, "start a/tv", "Started 1 yes 0:00 90s"),
        (0, "start b/pad", "Started 2 yes 0:00 90s"),
        (0, "start c", "Started 3 yes 0:00 90s"),
        (1, "start d/tv", "Full 3 no wait 89s [a/tv 0:00 89s] [b/pad 0:00 89s] [c 0:00 89s]"),
        (1, "start d/tv switch", "Started 3 yes 0:00 90s other a/tv replaced 1"),
        (2, "beat a/tv", "Gone(Replaced) 3 no other d/tv"),
        // What is paused ends too; of those that end the first that played is named.
        (2, "beat d/tv pause", "Renewed 2 yes 0:00 paused 90s"),
        (3, "start e/tv", "Started 3 yes 0:00 90s"),
        (3, "start f/tv switch", "Started 3 yes 0:00 90s other e/tv replaced 2"),
        (4, "beat d/tv", "Gone(Replaced) 3 no other f/tv"),
        (4, "beat f/tv pause", "Renewed 2 yes 0:00 paused 90s"),
        (4, "start g/tv switch", "Started 3 yes 0:00 90s other f/tv replaced 1"),
        // Restarting what plays, or resuming what is paused, is a switch as well.
        (5, "end c", "Ended 2 yes"),
        (5, "start h/tv", "Started 3 yes 0:00 90s"),
        (5, "start g/tv switch", "Renewed 2 yes 0:00 90s other h/tv replaced 1"),
        (5, "start g/tv switch", "Renewed 2 yes 0:00 90s"),
        (6, "list", "Info 2 yes [b/pad 0:00 84s] [g/tv 0:00 89s]"),
    ]);
}

#[test]
fn a_switch_comes_before_the_limit_and_before_a_replacement() {
    Script::new(WhenFull::Refuse).check(&[
        (0, "start a/tv", "Started 1 yes 0:00 90s"),
        (0, "start b", "Started 2 yes 0:00 90s"),
        (0, "start c", "Started 3 yes 0:00 90s"),
        (1, "start d/tv over b switch", "Started 3 yes 0:00 90s other a/tv replaced 1"),
        (2, "start e/tv over b switch limit 2", "Started 2 yes 0:00 90s other b replaced 2"),
        // A refused start changes nothing: no switch and no replacement.
        (3, "start f/tv switch limit 1", "Full 2 no wait 87s [c 0:00 87s] [e/tv 0:00 89s]"),
    ]);
}

#[test]
fn a_refused_start_changes_nothing() {
    let mut script = Script::new(WhenFull::Refuse).check(&[
        (0, "start a/tv", "Started 1 yes 0:00 90s"),
        (0, "start b/tv", "Started 2 yes 0:00 90s"),
        (0, "start c", "Started 3 yes 0:00 90s"),
        (0, "beat a/tv pause", "Renewed 2 yes 0:00 paused 90s"),
        (0, "end c", "Ended 1 yes"),
        (0, "start d", "Started 2 yes 0:00 90s"),
    ]);
    for command in [
        "start e/tv switch limit 1",
        "start e/tv over d switch limit 0",
        "start e/tv over b/tv switch limit 1",
        "start c limit 2",
        "start c over x limit 2",
        "start c over oldest limit 0",
        "gate c",
        "gate e/tv switch limit 1",
    ] {
        let before = script.account.clone();
        let said = script.run(1, command);
        assert!(said.starts_with("Full 2 no") || said.starts_with("Gone(Stopped) 2"), "{command}: {said}");
        assert_eq!((&before, script.change), (&script.account, Change::None), "{command}");
    }
}

#[test]
fn one_per_device_makes_every_start_that_names_a_device_a_switch() {
    let mut script = Script::new(WhenFull::Refuse);
    (script.policy.one_per_device, script.policy.adoption) = (true, until(1));
    script.check(&[
        (0, "beat a/tv", "Renewed 1 yes 0:00 90s adopted"),
        (0, "beat b/tv", "Renewed 1 yes 0:00 90s other a/tv adopted replaced 1"),
        (1, "start c/tv", "Started 1 yes 0:00 90s other b/tv replaced 1"),
        (1, "gate d/tv", "Started 1 yes 0:00 90s other c/tv replaced 1"),
        (1, "start e", "Started 2 yes 0:00 90s"),
        (1, "start f", "Started 3 yes 0:00 90s"),
        (1, "start g/tv", "Started 3 yes 0:00 90s other d/tv replaced 1"),
        (1, "start h/pad", "Full 3 no wait 90s [e 0:00 90s] [f 0:00 90s] [g/tv 0:00 90s]"),
        // A heartbeat is no start.
        (1, "beat g/tv pause", "Renewed 2 yes 0:00 paused 90s"),
    ]);
}

#[test]
fn a_held_user_starts_nothing_and_is_told_why_afterwards() {
    Script::new(WhenFull::ReplaceOldest).check(&[
        (0, "start a", "Started 1 yes 0:00 90s"),
        (0, "start b", "Started 2 yes 0:00 90s"),
        (0, "beat b pause", "Renewed 1 yes 0:00 paused 90s"),
        (1, "hold 600 saying sharing", "Ended 0 no other sharing wait 600s"),
        (2, "list", "Info 0 no other sharing wait 599s"),
        (2, "look a", "Info 0 no"),
        (2, "start a", "Held 0 no other sharing wait 599s"),
        (2, "start c over oldest", "Held 0 no other sharing wait 599s"),
        (2, "gate a", "Held 0 no other sharing wait 599s"),
        (2, "beat a", "Held 0 no other sharing wait 599s"),
        (2, "beat x pause", "Held 0 no other sharing wait 599s"),
        (2, "end a", "Unknown 0 no"),
        (3, "evict all", "Ended 0 no other sharing wait 598s"),
        // It lasts longer than a lease, and what it ended is remembered for one lease more.
        (600, "list", "Info 0 no other sharing wait 1s"),
        (601, "beat a", "Gone(Operator) 0 yes other sharing"),
        (690, "beat b", "Gone(Operator) 0 yes other sharing"),
        (690, "start b", "Started 1 yes 0:00 90s"),
        (691, "beat a", "Unknown 1 yes"),
    ]);
}

#[test]
fn a_hold_is_lifted_or_made_longer() {
    Script::new(WhenFull::Refuse).check(&[
        (0, "start a", "Started 1 yes 0:00 90s"),
        // There is nothing to lift, and lifting ends nothing.
        (0, "hold 0", "Ended 1 yes [a 0:00 90s]"),
        (0, "hold 50", "Ended 0 no wait 50s"),
        (1, "hold 1000 saying longer", "Ended 0 no other longer wait 1000s"),
        (900, "beat a", "Held 0 no other longer wait 101s"),
        (901, "hold 0", "Ended 0 yes"),
        (902, "beat a", "Gone(Operator) 0 yes"),
        (902, "start b", "Started 1 yes 0:00 90s"),
        (991, "beat a", "Unknown 1 yes"),
    ]);
}

#[test]
fn the_gate_starts_resumes_and_renews_but_not_what_was_ended_on_purpose() {
    Script::new(WhenFull::Refuse).check(&[
        (0, "gate a", "Started 1 yes 0:00 90s"),
        (0, "beat a at 60", "Renewed 1 yes 1:00 90s"),
        (10, "gate a", "Renewed 1 yes 1:00 90s"),
        (11, "beat a pause", "Renewed 0 yes 1:00 paused 90s"),
        (12, "gate a", "Renewed 1 yes 1:00 90s"),
        (12, "beat a pause", "Renewed 0 yes 1:00 paused 90s"),
        (13, "start b", "Started 1 yes 0:00 90s"),
        (13, "gate a limit 1", "Full 1 no wait 90s [a 1:00 paused 89s] [b 0:00 90s]"),
        (13, "gate c limit 1", "Full 1 no wait 90s [a 1:00 paused 89s] [b 0:00 90s]"),
        (13, "gate c over b limit 1", "Started 1 yes 0:00 90s other b replaced 1"),
        (14, "gate b", "Gone(Replaced) 1 yes other c"),
        (14, "end c", "Ended 0 yes"),
        (14, "gate c", "Gone(Stopped) 0 yes"),
        (103, "gate b", "Started 1 yes 0:00 90s expired 1"),
    ]);
    Script::new(WhenFull::ReplaceOldest).check(&[
        (0, "gate a limit 1", "Started 1 yes 0:00 90s"),
        (0, "gate b limit 1", "Started 1 yes 0:00 90s other a replaced 1"),
        (1, "gate a limit 1", "Gone(Replaced) 1 no other b"),
        (1, "evict b saying no", "Ended 0 yes"),
        (1, "gate b", "Gone(Operator) 0 yes other no"),
    ]);
}

#[test]
fn a_limit_of_zero_is_a_suspended_account_under_every_policy() {
    for when_full in [WhenFull::Refuse, WhenFull::ReplaceOldest, WhenFull::Report] {
        let mut script = Script::new(when_full);
        script.policy.adoption = until(1);
        script.check(&[
            (0, "look a limit 0", "Info 0 no"),
            (0, "beat x limit 0", "Full 0 no"),
            (1, "start a limit 0", "Full 0 no"),
            (1, "start a over oldest limit 0", "Full 0 no"),
            (1, "gate a limit 0", "Full 0 no"),
            (1, "list all limit 0", "Info 0 no"),
            // What played before is not renewed, so that it is gone within a lease; it can be ended.
            (2, "start a limit 1", "Started 1 yes 0:00 90s"),
            (2, "start b limit 2", "Started 2 yes 0:00 90s"),
            (3, "look a limit 0", "Info 2 no"),
            (3, "beat a at 5 limit 0", "Full 2 no wait 89s [a 0:00 89s] [b 0:00 89s]"),
            (3, "start a limit 0", "Full 2 no wait 89s [a 0:00 89s] [b 0:00 89s]"),
            (3, "gate a limit 0", "Full 2 no wait 89s [a 0:00 89s] [b 0:00 89s]"),
            (4, "beat a pause limit 0", "Full 2 no wait 88s [a 0:00 88s] [b 0:00 88s]"),
            (5, "end b limit 0", "Ended 1 no"),
            (6, "beat b limit 0", "Full 1 no wait 86s [a 0:00 86s]"),
            (92, "list all limit 0", "Info 0 no expired 1"),
        ]);
    }
}

#[test]
fn a_lowered_limit_says_how_many_have_to_end() {
    let mut script = Script::new(WhenFull::Refuse);
    (0..5).for_each(|i| drop(script.run(0, &format!("start v{i} limit 5"))));
    for (command, excess) in [
        ("start w", "excess 3"),
        ("start w over v0", "excess 3"),
        ("start w over x", "excess 3"),
        ("start w limit 5", "s [v0"),
        ("start w limit 4 over v0", "excess 2"),
    ] {
        let said = script.run(0, command);
        assert!(said.starts_with("Full 5 no") && said.contains(excess), "{command}: {said}");
    }
}

#[test]
fn a_resumption_that_is_refused_renews_all_the_same() {
    let mut script = Script::new(WhenFull::Refuse).check(&[
        (0, "start a", "Started 1 yes 0:00 90s"),
        (0, "beat a pause", "Renewed 0 yes 0:00 paused 90s"),
        (1, "start b limit 1", "Started 1 yes 0:00 90s"),
        (89, "beat a at 9 resume limit 1", "Full 1 no wait 2s [a 0:09 paused 90s] [b 0:00 2s]"),
    ]);
    assert_eq!(script.change, Change::Lease);
    assert_eq!(script.run(178, "list"), "Info 0 yes [a 0:09 paused 1s] expired 1");
}

#[test]
fn of_streams_that_end_in_one_millisecond_the_last_sixteen_are_remembered() {
    for ends in ["each", "evict all", "hold 1"] {
        let mut script = Script::new(WhenFull::Refuse);
        (0..=MAX_ENDED).for_each(|i| drop(script.run(0, &format!("start v{i} limit 100"))));
        // The stream that started last ends first.
        match ends {
            "each" => (0..=MAX_ENDED).rev().for_each(|i| drop(script.run(1, &format!("end v{i}")))),
            all => drop(script.run(1, all)),
        }
        let forgotten = if ends == "each" { MAX_ENDED } else { 0 };
        assert_eq!(ended(&script.account), MAX_ENDED);
        for i in 0..=MAX_ENDED {
            let gone = script.run(2, &format!("beat v{i}")).starts_with("Gone");
            assert_eq!(gone, i != forgotten, "v{i} after {ends}");
        }
    }
}

#[test]
fn a_thousand_play_at_most_whatever_the_policy() {
    let mut script = Script::new(WhenFull::Report);
    script.run(0, "start paused");
    script.run(0, "beat paused pause");
    (0..MAX_PLAYING).for_each(|i| drop(script.run(0, &format!("start v{i}"))));
    let said = script.run(0, "beat paused resume");
    assert!(said.starts_with("Full 1000 no"), "{said:.80}");
    assert!(script.run(0, "look paused").starts_with("Info 1000 yes"));
    script.run(0, "end v0");
    assert_eq!(script.run(0, "beat paused resume"), "Renewed 1000 yes 0:00 90s over-limit");
}

#[test]
fn an_account_says_when_it_can_be_forgotten() {
    for (commands, secs) in [
        (&["look a"][..], None),
        (&["start a"], Some(90)),
        (&["start a", "end a"], Some(90)),
        (&["start a", "hold 600"], Some(690)),
        (&["hold 600"], Some(600)),
        (&["hold 600", "hold 0"], None),
    ] {
        let mut script = Script::new(WhenFull::Refuse);
        commands.iter().for_each(|command| drop(script.run(0, command)));
        let forgotten = script.account.forgotten_at();
        assert_eq!(forgotten, secs.map(|secs: u64| Timestamp::from_millis(secs * 1000)), "{commands:?}");
        assert_eq!(script.account.is_empty(), secs.is_none());
        script.account.expire(forgotten.unwrap_or_default(), &mut Vec::new());
        assert_eq!(script.account, Account::default());
    }
}

/// Whatever is asked in whatever order, the count never exceeds the limit and the bounds hold.
#[test]
fn no_sequence_of_commands_breaks_the_bounds() {
    for when_full in [WhenFull::Refuse, WhenFull::ReplaceOldest] {
        let mut script = Script::new(when_full);
        script.policy = policy(when_full, 50);
        let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
        let mut below = |n: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 20) % n
        };
        let mut secs = 0;
        for _ in 0..20_000 {
            secs += below(3) / 2 * below(20);
            let (a, b) = (below(40), below(40));
            let command = match below(16) {
                0 => format!("start v{a}/d{} switch", below(3)),
                1 => format!("gate v{a}/d{}", below(3)),
                2 => format!("evict v{a}/d{} saying no", below(3)),
                3 if below(50) == 0 => format!("hold {}", below(30)),
                3 => format!("start v{a}"),
                4 | 5 => format!("start v{a} over v{b}"),
                6 => format!("start v{a} over oldest"),
                7..=9 => format!("beat v{a}"),
                10..=12 => format!("beat v{a} pause"),
                13 => format!("beat v{a} resume"),
                _ => format!("end v{a}"),
            };
            let said = script.run(secs, &command);
            let Tally { playing, paused, .. } = script.account.tally();
            let ended = ended(&script.account);
            assert!(playing <= 3 && paused as usize <= MAX_PAUSED && ended <= MAX_ENDED, "{command}: {said}");
        }
    }
}

#[test]
fn a_class_with_a_limit_has_room_or_names_itself() {
    Script::new(WhenFull::Refuse).check(&[
        (0, "start a in mobile limit 3,mobile=1,live=2", "Started 1 yes 0:00 in mobile 90s"),
        (1, "look b in mobile limit 3,mobile=1", "Info 1 no"),
        (1, "look b in live limit 3,mobile=1", "Info 1 yes"),
        (1, "look b limit 3,mobile=1", "Info 1 yes"),
        (
            1,
            "start b in live,mobile limit 3,mobile=1,live=2",
            "Full 1 no rule 0 counts 1 wait 89s [a 0:00 in mobile 89s]",
        ),
        // Without a limit it is but a word.
        (2, "start b in mobile limit 3,live=0", "Started 2 yes 0:00 in mobile 90s"),
        (
            3,
            "start c in live limit 3,mobile=1,live=0",
            "Full 2 no rule 1 counts 0 [a 0:00 in mobile 87s] [b 0:00 in mobile 89s]",
        ),
        // The total comes first, and then no class is named.
        (
            4,
            "start c in mobile limit 2,mobile=1",
            "Full 2 no wait 86s [a 0:00 in mobile 86s] [b 0:00 in mobile 88s]",
        ),
        // Who asks without classes asks with those of the stream.
        (5, "beat a pause", "Renewed 1 yes 0:00 in mobile paused 90s"),
        (5, "look a limit 3,mobile=1", "Info 1 no"),
        (5, "look a in - limit 3,mobile=1", "Info 1 yes"),
        (
            6,
            "beat a resume in live limit 3,mobile=1",
            "Full 1 no rule 0 counts 1 wait 86s [a 0:00 in mobile paused 90s] [b 0:00 in mobile 86s]",
        ),
        (7, "start a limit 3,mobile=1", "Renewed 2 yes 0:00 90s"),
    ]);
}

#[test]
fn a_restart_in_other_classes_is_judged_for_them_alone() {
    Script::new(WhenFull::Refuse).check(&[
        (0, "start a in live limit 3,live=1", "Started 1 yes 0:00 in live 90s"),
        (0, "start b in mobile limit 3,mobile=1", "Started 2 yes 0:00 in mobile 90s"),
        // In the same classes it is never refused, whatever the limits are by now.
        (1, "start a in live limit 1,live=0", "Renewed 2 yes 0:00 in live 90s"),
        (1, "gate a in mobile limit 1,live=0", "Renewed 2 yes 0:00 in live 90s"),
        (
            1,
            "start a in live,mobile limit 1,live=0,mobile=1",
            "Full 2 no rule 1 counts 1 wait 89s [a 0:00 in live 90s] [b 0:00 in mobile 89s]",
        ),
        (1, "list", "Info 2 yes [a 0:00 in live 90s] [b 0:00 in mobile 89s]"),
        (2, "end b", "Ended 1 yes"),
        (2, "start a in mobile limit 1,mobile=1", "Renewed 1 yes 0:00 in mobile 90s"),
        (3, "beat a in live", "Renewed 1 yes 0:00 in mobile 90s"),
        (3, "start a in -", "Renewed 1 yes 0:00 90s"),
    ]);
}

#[test]
fn replacements_make_room_under_every_rule() {
    let start = [
        (0, "start a in live", "Started 1 yes 0:00 in live 90s"),
        (0, "start b in mobile", "Started 2 yes 0:00 in mobile 90s"),
        (0, "start c in live,mobile", "Started 3 yes 0:00 in live,mobile 90s"),
    ];
    let limit = "limit 3,live=2,mobile=1";
    for (command, expected) in [
        // Its end helps no rule, or not every one.
        ("start d in mobile over a", "Full"),
        ("start d in live over c", "Started 3 yes 0:00 in live 90s other c replaced 1"),
        ("start d in mobile over c", "Full"),
        // The oldest goes for the total, and the two that carry the class for that.
        ("start d in mobile over oldest", "Started 1 yes 0:00 in mobile 90s other a replaced 3"),
        ("start d in live over oldest", "Started 3 yes 0:00 in live 90s other a replaced 1"),
        ("start d over oldest", "Started 3 yes 0:00 90s other a replaced 1"),
    ] {
        let mut script = Script::new(WhenFull::Refuse).check(&start);
        let said = script.run(0, &format!("{command} {limit}"));
        if expected.starts_with("Full") {
            assert!(said.starts_with("Full 3 no"), "{command}: {said}");
        } else {
            assert_eq!(said, expected, "{command}");
        }
    }
}

#[test]
fn a_class_that_is_forbidden_is_so_under_every_policy() {
    for when_full in [WhenFull::Refuse, WhenFull::ReplaceOldest, WhenFull::Report] {
        let reports = when_full == WhenFull::Report;
        Script::new(when_full).check(&[
            (0, "look a in live limit 3,live=0", "Info 0 no"),
            (0, "start a in live limit 3,live=0", "Full 0 no rule 0 counts 0"),
            (0, "start a in live over oldest limit 3,live=0", "Full 0 no rule 0 counts 0"),
            (0, "start a in kids limit 3,live=0,kids=1", "Started 1 yes 0:00 in kids 90s"),
        ]);
        let said = Script::new(when_full).check(&[(0, "start a in kids", "Started 1 yes 0:00 in kids 90s")]);
        let mut script = said;
        let said = script.run(0, "start b in kids limit 3,kids=1");
        assert_eq!(said.contains("over-limit"), reports, "{said}");
    }
}

#[test]
fn a_generation_begins_with_every_start_and_with_nothing_else() {
    let mut script = Script::new(WhenFull::Refuse);
    script.numbered = true;
    script.check(&[
        (0, "start a", "Started 1 yes 0:00 #1 90s"),
        (0, "beat a", "Renewed 1 yes 0:00 #1 90s"),
        (0, "beat a pause", "Renewed 0 yes 0:00 paused #1 90s"),
        (0, "beat a resume meaning 1", "Renewed 1 yes 0:00 #1 90s"),
        (0, "gate a", "Renewed 1 yes 0:00 #1 90s"),
        // The page is loaded again: its late DELETE and the heartbeat of a copied tab no longer hit.
        (1, "start a", "Renewed 1 yes 0:00 #6 90s"),
        (2, "end a meaning 1", "Outdated 1 yes"),
        (2, "beat a at 9 meaning 1,5,7", "Outdated 1 yes"),
        (3, "beat a meaning 1,6", "Renewed 1 yes 0:00 #6 90s"),
        // Where there is none all is as without.
        (4, "end b meaning 1", "Unknown 1 yes"),
        (4, "end a meaning 6", "Ended 0 yes"),
        (4, "beat a meaning 6", "Gone(Stopped) 0 yes"),
        (5, "gate b", "Started 1 yes 0:00 #13 90s"),
        // A hold and a suspension come first, want of room after.
        (5, "beat b meaning 1 limit 0", "Full 1 no wait 90s [b 0:00 #13 90s]"),
        (5, "beat b pause", "Renewed 0 yes 0:00 paused #13 90s"),
        (5, "start c limit 1", "Started 1 yes 0:00 #16 90s"),
        (5, "beat b resume meaning 1 limit 1", "Outdated 1 no"),
        (
            5,
            "beat b resume meaning 13 limit 1",
            "Full 1 no wait 90s [b 0:00 paused #13 90s] [c 0:00 #16 90s]",
        ),
    ]);
}

#[test]
fn what_lasts_too_long_is_cut_to_a_lease_by_whoever_finds_it() {
    for (command, change) in [
        ("look a", Change::None),
        ("list", Change::None),
        ("start c limit 1", Change::Lease),
        ("beat x", Change::Lease),
        ("beat b meaning 0", Change::Lease),
        ("end x", Change::Lease),
        ("gate c limit 1", Change::Lease),
        ("beat a limit 0", Change::Lease),
        ("beat b", Change::Lease),
        ("end a", Change::State),
    ] {
        let mut script = Script::new(WhenFull::Refuse);
        ["start a", "start b"].iter().for_each(|command| drop(script.run(1000, command)));
        script.run(10, command);
        assert_eq!(script.change, change, "{command}");
        assert_eq!(script.account.forgotten_at(), Some(Timestamp::from_millis(100_000)), "{command}");
    }
    let mut script = Script::new(WhenFull::Refuse);
    ["start a", "hold 600"].iter().for_each(|command| drop(script.run(1000, command)));
    script.run(10, "beat a");
    assert_eq!(script.account.forgotten_at(), Some(Timestamp::from_millis(1_690_000)));
}

#[test]
fn where_nobody_counts_for_a_while_a_stream_that_returns_finds_room_on_its_own_device() {
    let mut script = Script::new(WhenFull::Refuse);
    script.policy.adoption = Adoption::Always;
    let mut script = script.check(&[
        (500, "beat a/tv at 7", "Renewed 1 yes 0:07 90s adopted"),
        (500, "beat b/tv", "Renewed 2 yes 0:00 90s adopted"),
        (500, "beat c in live limit 3,live=1", "Renewed 3 yes 0:00 in live 90s adopted"),
        // Its DELETE may have been said while nobody counted.
        (501, "beat d/tv", "Renewed 3 yes 0:00 90s other a/tv adopted replaced 1"),
        (501, "beat d/pad", "Full 3 no wait 89s [b/tv 0:00 89s] [c 0:00 in live 89s] [d/tv 0:00 90s]"),
        (501, "beat e", "Full 3 no wait 89s [b/tv 0:00 89s] [c 0:00 in live 89s] [d/tv 0:00 90s]"),
        // Not those of another device, though it would take them too.
        (
            501,
            "beat e/tv limit 1",
            "Full 3 no wait 89s excess 3 [b/tv 0:00 89s] [c 0:00 in live 89s] [d/tv 0:00 90s]",
        ),
        (501, "start e", "Full 3 no wait 89s [b/tv 0:00 89s] [c 0:00 in live 89s] [d/tv 0:00 90s]"),
        // A start does so too, and the gate; but first whom it names gives way, if that helps.
        (501, "start e/tv", "Started 3 yes 0:00 90s other b/tv replaced 1"),
        (501, "gate f/tv", "Started 3 yes 0:00 90s other d/tv replaced 1"),
        (501, "start g/tv over c", "Started 3 yes 0:00 90s other c replaced 1"),
        (501, "start h/tv over c", "Started 3 yes 0:00 90s other e/tv replaced 1"),
        (502, "end f/tv", "Ended 2 yes"),
        (502, "beat f/tv", "Gone(Stopped) 2 yes"),
    ]);
    script.policy.when_full = WhenFull::ReplaceOldest;
    script.check(&[
        (503, "start a/pad", "Started 3 yes 0:00 90s"),
        // Not the oldest, which is another device's.
        (503, "start b/pad", "Started 3 yes 0:00 90s other a/pad replaced 1"),
        (503, "start c", "Started 3 yes 0:00 90s other g/tv replaced 1"),
    ]);
}

fn ended(account: &Account) -> usize {
    account.streams.rare().map_or(0, |rare| rare.ended.len())
}

/// A user's name and account are one entry of a hash map, and nothing on the heap: 80 bytes for the one stream that most
/// users watch.
#[test]
fn an_account_is_hardly_larger_than_its_stream() {
    assert_eq!((size_of::<Stream>(), size_of::<Account>()), (56, 56));
}

/// Every request moves one in and out of the caches.
#[test]
fn what_a_turn_moves_is_small() {
    assert_eq!((size_of::<Command>(), size_of::<Outcome>(), size_of::<StreamView>()), (80, 56, 40));
}

#[test]
fn what_cannot_be_counted_is_answered_as_if_there_were_room() {
    use Verdict::{Ended, Full, Info, Renewed, Started, Unavailable};
    let message = Word::default();
    for (action, limit, lack, expected) in [
        (Action::start(), 3, Lack::Away, Started),
        (Action::beat(), 3, Lack::Late, Renewed),
        (Action::End, 3, Lack::Unsure, Ended),
        (Action::Look, 3, Lack::Away, Info),
        (Action::List, 3, Lack::Away, Info),
        (Action::start(), 0, Lack::Away, Full),
        (Action::beat(), 0, Lack::Away, Full),
        (Action::start(), 3, Lack::Unreadable, Unavailable),
        (Action::Evict { message }, 3, Lack::Away, Unavailable),
    ] {
        let mut batch = Batch::default();
        let (user, key) = (batch.arena.add(b"ann"), batch.arena.add(b"v"));
        let command =
            Command { if_match: batch.arena.add(b"other"), ..Command::new(user, key, limit, action) };
        batch.push(command);
        batch.push(Command::new(user, key, limit, action));
        let notes = Notes { lack, ..Notes::default() };
        batch.entries[0].outcome = Outcome { notes, ..Unavailable.into() };
        batch.entries[1].waits = true;
        allow(
            Timestamp::from_millis(1),
            &Policy { adoption: Adoption::Always, ..Policy::new(Millis::from_secs(90)) },
            &mut batch,
        );
        let Outcome { verdict, count, change, notes, .. } = batch.entries[0].outcome;
        assert_eq!((verdict, count, change), (expected, 0, Change::None), "{action:?} {limit} {lack:?}");
        assert_eq!(notes.uncounted, expected != Unavailable);
        assert_eq!(batch.entries[1].outcome.verdict, Unavailable, "it waits yet");
    }
}
