//! The architecture, held to its own rules: reads the sources and fails on an arrow up, on a room that touches the world
//! and may not, on `unsafe` where it does not belong, on a file that has grown too long; and on documents that have
//! fallen behind.
//!
//! Each rule is a function of a path and its text, and the tests at the bottom show that each can fail.

use std::fs;
use std::path::{Path, PathBuf};

use streamer::codec::json;
use streamer::config;
use streamer::http::status::Status;

/// Which rooms each room knows beside itself. `time` stands on nothing, `server` on everything.
const ROOMS: [(&str, &[&str]); 13] = [
    ("sys", &[]),
    ("time", &[]),
    ("codec", &["sys"]),
    ("http", &["time", "codec"]),
    ("streams", &["time", "codec"]),
    ("sync", &[]),
    ("poller", &["sys"]),
    ("measures", &[]),
    ("store", &["streams", "time", "codec", "measures", "sync", "poller"]),
    ("config", &["store", "streams", "http", "codec", "time"]),
    ("app", &["config", "store", "streams", "http", "codec", "time", "measures", "sync"]),
    ("operators", &["app", "store", "streams", "http", "codec", "time", "measures", "sync"]),
    (
        "server",
        &["operators", "app", "config", "store", "streams", "http", "codec", "time", "sys", "sync", "poller"],
    ),
];

/// What the rooms have no part in: sockets, files, threads and the clock. `std::{` would hide one of them from this
/// test; `core::net` has addresses alone.
const WORLD: [&str; 7] =
    ["std::net", "std::fs", "std::thread", "Instant::now", "SystemTime::now", "::now()", "std::{"];

/// Who may touch the world: the server, and what belongs to the program and not to the library.
const OF_THE_WORLD: [&str; 9] = [
    "server/",
    "sys/",
    "sync.rs",
    "store/journal",
    "store/redis",
    "operators/process.rs",
    "main.rs",
    "check.rs",
    "token.rs",
];

/// The rooms without which it is the server alone.
const FEATURES: [&str; 3] = ["store/journal", "store/redis", "operators"];

const MOST_LINES: usize = 400;
const MOST_LINES_OF_A_FUNCTION: usize = 40;

/// A file of the product: its path from `src`, and its text without comments, literals and tests.
struct Source {
    path: String,
    code: String,
}

#[test]
fn arrows_point_down_only() {
    check(arrows_up);
}

#[test]
fn only_the_server_and_the_program_touch_the_world() {
    check(touches_world);
}

#[test]
fn all_unsafe_code_is_in_one_file() {
    check(unsafe_code);
}

#[test]
fn every_file_is_compiled() {
    let sources = files(&root().join("src"));
    for (path, _) in &sources {
        let module = path.trim_end_matches(".rs").trim_end_matches("/mod");
        let (folder, name) = module.rsplit_once('/').unwrap_or(("", module));
        let parents = [format!("{folder}.rs"), format!("{folder}/mod.rs"), "lib.rs".into(), "main.rs".into()];
        let is_named = parents.iter().any(|parent| {
            let text = sources.iter().find(|(path, _)| path == parent).map_or("", |(_, text)| text);
            text.contains(&format!("mod {name};"))
        });
        assert!(is_named || ["lib", "main"].contains(&module), "{path}: no `mod {name};` has it compiled");
    }
}

#[test]
fn no_product_file_is_longer_than_400_lines() {
    check(too_long);
}

#[test]
fn no_function_is_longer_than_40_lines() {
    check(long_functions);
}

#[test]
fn a_type_name_means_one_thing() {
    let sources = product(files(&root().join("src")));
    // In one file two of a name are for two systems.
    let mut places = std::collections::BTreeSet::new();
    for source in &sources {
        let names = ["struct ", "enum ", "trait ", "type "].iter().flat_map(|kind| {
            let at_line = source.code.lines().filter_map(move |line| {
                let line =
                    line.strip_prefix("pub(super) ").or_else(|| line.strip_prefix("pub ")).unwrap_or(line);
                line.strip_prefix(kind)
            });
            at_line.filter_map(|rest| rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next())
        });
        places.extend(names.map(|name| (name, &*source.path)));
    }
    let places: Vec<_> = places.into_iter().collect();
    let twice: Vec<_> = places.windows(2).filter(|pair| pair[0].0 == pair[1].0).collect();
    assert!(places.len() > 200 && twice.is_empty(), "{twice:?}");
}

/// How far it has come: to be lowered as the code becomes shorter, and never raised without a reason.
#[test]
fn lines_of_code_grow_no_more() {
    let sources = product(files(&root().join("src")));
    let lines = |source: &Source| source.code.lines().filter(|line| !line.trim().is_empty()).count();
    let code: usize = sources.iter().map(lines).sum();
    assert!(code <= 15_700, "{code} lines of code");
    let is_feature = |source: &&Source| FEATURES.iter().any(|feature| source.path.starts_with(feature));
    let alone = code - sources.iter().filter(is_feature).map(lines).sum::<usize>();
    let readme = read("README.md");
    let (_, said) = readme.split_once("MB and ").expect("README.md says how large the server alone is");
    let said: String = said.chars().take_while(|c| *c != ' ').filter(char::is_ascii_digit).collect();
    let said: usize = said.parse().expect("in lines");
    assert!(
        said.abs_diff(alone) < 300,
        "README.md says {said} lines of the server alone, and there are {alone}"
    );
}

#[test]
fn every_file_begins_with_what_it_is_for_and_every_room_says_what_it_must_not_know() {
    let mut offences = Vec::new();
    for (path, text) in files(&root().join("src")) {
        if !text.starts_with("//! ") {
            offences.push(format!("{path} does not begin with what it is for"));
        }
        if path.ends_with("/mod.rs") && !text.contains("//! *Invariant:* ") {
            offences.push(format!("{path} has no invariant"));
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn every_invariant_names_its_tests_or_says_that_it_has_none() {
    let sources = [files(&root().join("src")), files(&root().join("tests/it"))].concat();
    let is_test = |name: &str| {
        let begin = format!("fn {name}(");
        let mut found =
            sources.iter().flat_map(|(_, text)| text.match_indices(&begin).map(move |(at, _)| &text[..at]));
        found.any(|before| before.trim_end().ends_with("#[test]"))
    };
    let mut offences = Vec::new();
    for (path, text) in files(&root().join("src")) {
        for (_, rest) in text.match_indices("//! *Invariant:* ").map(|(at, _)| text.split_at(at)) {
            let lines = rest.lines().map_while(|line| line.strip_prefix("//! "));
            let invariant = lines.collect::<Vec<_>>().join(" ");
            if invariant.ends_with(" (Not tested.)") {
                continue;
            }
            let tests = invariant.split_once(" (Tested by ").and_then(|(_, tests)| tests.strip_suffix(".)"));
            let names: Vec<_> =
                tests.into_iter().flat_map(|tests| tests.split('`').skip(1).step_by(2)).collect();
            let is_there =
                |name: &&str| is_test(name) || name.starts_with("tests/") && root().join(name).exists();
            if names.is_empty() || !names.iter().all(is_there) {
                offences.push(format!("{path}: {invariant}"));
            }
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn the_documents_name_every_option_and_its_default() {
    let document = read("docs/operating.md");
    for option in config::options() {
        let row = document.lines().any(|line| {
            line.contains(&format!("`--{}", option.name))
                && option.default.is_none_or(|default| line.contains(default))
        });
        assert!(row, "docs/operating.md has no line with --{} and {:?}", option.name, option.default);
    }
}

/// The documents, by their paths.
fn documents() -> Vec<(String, String)> {
    let mut all: Vec<_> = ["README.md", "CHANGELOG.md"].map(|name| (name.to_owned(), read(name))).into();
    for folder in ["docs", "ops", "ops/gate", "tests/fuzz"] {
        let Ok(entries) = fs::read_dir(root().join(folder)) else { continue };
        let names =
            entries.filter_map(|entry| Some(format!("{folder}/{}", entry.ok()?.file_name().to_str()?)));
        all.extend(names.filter(|name| name.ends_with(".md")).map(|name| (name.clone(), read(&name))));
    }
    all
}

/// What stands in parentheses behind each `](` of a document.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// As a heading's anchor is made: in lower case, without punctuation, blanks as hyphens.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().trim().to_lowercase().replace(' ', "-")
}

#[test]
fn every_link_leads_somewhere() {
    let mut offences = Vec::new();
    let documents = documents();
    assert!(documents.len() > 6, "only {} documents", documents.len());
    for (path, text) in &documents {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for link in links(text).filter(|link| !link.starts_with("http")) {
            let (file, wanted) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { root().join(path) } else { root().join(folder).join(file) };
            if !target.exists() {
                offences.push(format!("{path}: nothing at {link}"));
            } else if !wanted.is_empty() {
                let text = fs::read_to_string(target).expect("documents are UTF-8");
                let found = text.lines().any(|line| line.starts_with('#') && anchor(line) == wanted);
                offences.extend((!found).then(|| format!("{path}: no heading for {link}")));
            }
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn the_tour_says_honestly_how_long_each_file_takes() {
    let sources = product(files(&root().join("src")));
    let mut offences = Vec::new();
    let tour = read("docs/tour.md");
    let stops = tour.lines().filter_map(|line| {
        let (_, rest) = line.strip_prefix("| [")?.split_once("](../src/")?;
        let (path, rest) = rest.split_once(") | ")?;
        Some((path, rest.split(" |").next()?.parse::<usize>().ok()?))
    });
    for (path, minutes) in stops {
        let source = sources.iter().find(|source| source.path == path).expect("links are checked elsewhere");
        let lines_a_minute = if path.starts_with("streams/account") { 11 } else { 22 };
        let honest = source.code.trim_end().lines().count().div_ceil(lines_a_minute);
        if honest.abs_diff(minutes) > 1 + honest / 8 {
            offences.push(format!("{path} takes {honest} minutes, not {minutes}"));
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn each_hop_of_the_tour_is_where_it_says() {
    const NEAR: usize = 25;
    let tour = read("docs/tour.md");
    let mut offences = Vec::new();
    let hops = tour.lines().filter_map(|line| line.strip_suffix("` |")?.rsplit_once(") `"));
    let hops = hops.filter_map(|(hop, function)| Some((hop.rsplit_once(" | [")?.1, function)));
    for (hop, function) in hops.clone() {
        let (name, path) = hop.split_once("](../").expect("a hop is a link");
        let line: usize = name.rsplit(':').next().and_then(|line| line.parse().ok()).expect("with a line");
        let code = read(path);
        let is_it = |line: &str| ["(", "<"].iter().any(|end| line.contains(&format!("fn {function}{end}")));
        let lines: Vec<usize> =
            code.lines().zip(1..).filter(|(line, _)| is_it(line)).map(|(_, at)| at).collect();
        if !lines.iter().any(|at| at.abs_diff(line) <= NEAR) {
            offences.push(format!("{path}: {function} is not near line {line} but on {lines:?}"));
        }
    }
    assert!(hops.count() > 12 && offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn the_exercises_of_the_tour_name_what_there_is() {
    let tour = read("docs/tour.md");
    let (_, exercises) = tour.split_once("## Where would it go?").expect("the tour ends with exercises");
    for exercise in exercises.split(". **").skip(1) {
        let linked: Vec<String> = links(exercise).map(|link| read(&format!("docs/{link}"))).collect();
        let words = exercise.split('`').skip(1).step_by(2).filter(|word| !word.contains(' '));
        for name in words.filter_map(|word| word.rsplit("::").next()) {
            let is_there = |text: &String| {
                ["fn", "struct", "enum", "trait", "mod", "const"].iter().any(|kind| {
                    ["(", "<", " ", ":"].iter().any(|end| text.contains(&format!("{kind} {name}{end}")))
                })
            };
            assert!(linked.iter().any(is_there), "docs/tour.md: no linked file has `{name}`: {exercise}");
        }
    }
}

#[test]
fn the_readme_fits_a_screen_and_a_half() {
    let words = read("README.md").split_whitespace().count();
    assert!(words <= 900, "{words} words");
}

#[test]
fn every_file_of_ops_is_linked() {
    let document = read("ops/README.md");
    let linked: Vec<&str> = links(&document).collect();
    for folder in ["", "gate/"] {
        for entry in fs::read_dir(root().join("ops").join(folder)).expect("the folder is there") {
            let entry = entry.expect("it can be read");
            let path = format!("{folder}{}", entry.file_name().to_str().expect("names are UTF-8"));
            let is_file = entry.path().is_file() && path != "README.md";
            assert!(!is_file || linked.contains(&&*path), "ops/README.md does not link {path}");
        }
    }
}

#[test]
fn the_image_is_labelled_with_the_version() {
    let label = format!("image.version=\"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(read("Dockerfile").contains(&label), "the Dockerfile lacks {label}");
}

#[test]
fn the_collection_and_the_specification_have_every_path_and_status() {
    let (collection, specification) = (read("endpoints.json"), read("openapi.yaml"));
    assert!(json::any(collection.as_bytes()).is_ok(), "endpoints.json is no JSON");
    let (routes, pages) = (read("src/app/routes.rs"), read("src/operators/mod.rs"));
    let paths = [paths(&routes), self::paths(&pages)].concat();
    for path in ["/", "/healthz", "/readyz", "/metrics", "/stats", "/users/"] {
        assert!(paths.contains(&path), "this test does not see {path}");
    }
    for path in paths {
        let (in_collection, in_specification) = match path {
            "/users/" => ("/users/{{ _.user }}\"".to_owned(), "\n  /users/{user}:\n".to_owned()),
            path => (format!("_url }}}}{path}\""), format!("\n  {path}:\n")),
        };
        assert!(collection.contains(&in_collection), "endpoints.json lacks {path}");
        assert!(specification.contains(&in_specification), "openapi.yaml lacks {path}");
    }
    for status in Status::DIGITS {
        let key = format!("\n        '{status}':");
        assert!(specification.contains(&key), "openapi.yaml lacks {status}");
    }
}

#[test]
fn dashboard_and_alerts_name_only_metrics_that_there_are() {
    let sources: String = files(&root().join("src")).into_iter().map(|(_, text)| text).collect();
    for file in ["ops/alerts.yml", "ops/alerts.test.yml", "ops/grafana.json", "docs/alerts.md"] {
        for name in metrics(&read(file)) {
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let known = |name: &str| sources.contains(&format!("\"{name}\""));
            assert!(known(name) || family.is_some_and(known), "{file}: there is no metric {name}");
        }
    }
}

/// The names of metrics in a text.
fn metrics(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("streamer_") || word.starts_with("process_"))
}

/// The paths that a text matches against, as byte strings, or makes pages of.
fn paths(text: &str) -> Vec<&str> {
    let begins = ["b\"", "path: \""];
    let all = begins.iter().flat_map(|begin| text.match_indices(begin).map(|(at, begin)| at + begin.len()));
    all.filter_map(|at| text[at..].split('"').next()).filter(|path| path.starts_with('/')).collect()
}

#[track_caller]
fn check(rule: fn(&Source) -> Vec<String>) {
    let sources = product(files(&root().join("src")));
    assert!(sources.len() > 40, "only {} files: is this the right folder?", sources.len());
    let offences: Vec<String> = sources.iter().flat_map(rule).collect();
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

/// Names of rooms that this file's room must not know, wherever they stand.
fn arrows_up(source: &Source) -> Vec<String> {
    let room = source.path.split(['/', '.']).next().unwrap_or_default();
    let is_program = !source.path.contains('/') && matches!(room, "main" | "lib" | "check" | "token");
    if is_program || room == "sys" {
        return Vec::new();
    }
    let Some((_, known)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        return vec![format!("{}: the room {room} has no place in the order; give it one", source.path)];
    };
    let mut offences = Vec::new();
    for (number, line) in source.code.lines().enumerate() {
        for named in names_from_the_top(line, depth(&source.path)) {
            if named != room && !known.contains(&named) {
                offences.push(format!("{}:{}: {room} must not know {named:?}", source.path, number + 1));
            }
        }
    }
    offences
}

/// How many `super::` lead from a file to the top: one from `room/mod.rs` and `room.rs`, two from `room/part.rs`.
fn depth(path: &str) -> usize {
    path.split('/').count() - usize::from(path.ends_with("/mod.rs"))
}

/// What follows each `crate::`, and each chain of `super::` that is long enough to mean the same. A brace comes out as a
/// name that no room has: a group would hide the names in it.
fn names_from_the_top(line: &str, depth: usize) -> Vec<&str> {
    let supers = "super::".repeat(depth);
    let mut names = Vec::new();
    for top in ["crate::", &supers] {
        for (at, _) in line.match_indices(top) {
            let is_word = line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let rest = &line[at + top.len()..];
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            let name = if end == 0 { &rest[..rest.len().min(1)] } else { &rest[..end] };
            if !is_word && name != "super" {
                names.push(name);
            }
        }
    }
    names
}

fn touches_world(source: &Source) -> Vec<String> {
    let may = OF_THE_WORLD.iter().any(|place| source.path.starts_with(place));
    let lines = source.code.lines().enumerate().filter(|_| !may);
    let touching = lines.filter_map(|(number, line)| {
        let what = WORLD.iter().find(|what| line.contains(**what))?;
        Some(format!("{}:{}: `{what}` is for the server alone", source.path, number + 1))
    });
    touching.collect()
}

fn unsafe_code(source: &Source) -> Vec<String> {
    let is_word = |word: &str| word == "unsafe";
    let lines = source.code.lines().enumerate().filter(|_| source.path != "sys/mod.rs");
    let unsafe_lines =
        lines.filter(|(_, line)| line.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(is_word));
    unsafe_lines
        .map(|(number, _)| format!("{}:{}: unsafe belongs in sys/mod.rs", source.path, number + 1))
        .collect()
}

fn too_long(source: &Source) -> Vec<String> {
    let lines = source.code.trim_end().lines().count();
    if lines <= MOST_LINES {
        return Vec::new();
    }
    vec![format!("{} has {lines} lines without its tests: ask what it is really two of", source.path)]
}

/// Functions that fill more lines than one can take in at a glance, from `fn` to the closing brace.
fn long_functions(source: &Source) -> Vec<String> {
    let mut offences = Vec::new();
    for (at, _) in source.code.match_indices("fn ") {
        let is_word = !source.code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let item = &source.code[at..];
        let lines = item[..end_of_item(item)].lines().count();
        if is_word && lines > MOST_LINES_OF_A_FUNCTION {
            let first = source.code[..at].lines().count();
            let name =
                item[3..].split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default();
            offences
                .push(format!("{}:{first}: the function {name} has {lines} lines: split it", source.path));
        }
    }
    offences
}

/// The files of the product alone: without comments, without literals, without tests, and with as many lines as before
/// up to the last that is left.
fn product(files: Vec<(String, String)>) -> Vec<Source> {
    let mut tests = Vec::new();
    let mut sources = Vec::new();
    for (path, text) in files {
        let (code, modules) = without_tests(&blank(&text));
        let folder = match path.rsplit_once('/') {
            Some((folder, "mod.rs")) => format!("{folder}/"),
            _ if path == "lib.rs" || path == "main.rs" => String::new(),
            _ => format!("{}/", path.trim_end_matches(".rs")),
        };
        tests.extend(
            modules.iter().flat_map(|name| ["", "/mod"].map(|end| format!("{folder}{name}{end}.rs"))),
        );
        sources.push(Source { path, code });
    }
    sources.retain(|source| !tests.contains(&source.path) && !source.path.contains("/tests/"));
    sources
}

/// Puts blanks for every item behind a `#[cfg(test)]`. Returns the modules among them that are files of their own, too.
fn without_tests(code: &str) -> (String, Vec<String>) {
    const MARK: &str = "#[cfg(test)]";
    let (mut out, mut rest, mut modules) = (String::new(), code, Vec::new());
    while let Some((before, behind)) = rest.split_once(MARK) {
        out += before;
        let end = end_of_item(behind);
        let item = behind[..end].trim();
        if let Some(name) = item.strip_prefix("mod ").and_then(|item| item.strip_suffix(';')) {
            modules.push(name.to_owned());
        }
        out.extend(behind[..end].chars().filter(|&c| c == '\n'));
        rest = &behind[end..];
    }
    (out + rest, modules)
}

/// An item ends with a semicolon, or with the brace that closes its first.
fn end_of_item(code: &str) -> usize {
    let mut open = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => open += 1,
            '}' if open == 1 => return at + 1,
            '}' => open -= 1,
            ';' if open == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// The text with blanks for all that stands in comments and literals, so that what is left is code. Line by line it stays
/// where it was.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_word = out.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let end = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => end_of_comment(rest),
            '"' => end_of_string(rest),
            'r' if !is_word || out.ends_with(['b', 'c']) => end_of_raw_string(rest).unwrap_or(0),
            '\'' => end_of_char(rest).unwrap_or(0),
            _ => 0,
        };
        if end == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            out.extend(rest[..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[end..];
        }
    }
    out
}

fn end_of_comment(text: &str) -> usize {
    text[2..].find("*/").map_or(text.len(), |at| at + 4)
}

fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            _ => escaped = c == '\\' && !escaped,
        }
    }
    text.len()
}

/// None when the `r` begins a name.
fn end_of_raw_string(text: &str) -> Option<usize> {
    let hashes = text[1..].bytes().take_while(|&byte| byte == b'#').count();
    let inside = text[1 + hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(text.len() - inside.len() + inside.find(&close)? + close.len())
}

/// None when the quote begins a lifetime.
fn end_of_char(text: &str) -> Option<usize> {
    let mut chars = text.char_indices().skip(1);
    let (end, _) = match chars.next()? {
        // Whatever is escaped is passed over, a quote too.
        (_, '\\') => chars.skip(1).find(|(_, c)| *c == '\'')?,
        _ => chars.next().filter(|(_, c)| *c == '\'')?,
    };
    Some(end + 1)
}

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

#[track_caller]
fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Every `.rs` file under a folder, by its path from there.
fn files(folder: &Path) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("the sources are there") {
        let path = entry.expect("the folder can be read").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("names are UTF-8").to_owned();
        if path.is_dir() {
            files.extend(
                self::files(&path).into_iter().map(|(inner, text)| (format!("{name}/{inner}"), text)),
            );
        } else if name.ends_with(".rs") {
            files.push((name, fs::read_to_string(&path).expect("sources are UTF-8")));
        }
    }
    files.sort();
    files
}

/// How many offences a rule finds in a file of this text.
fn found(rule: fn(&Source) -> Vec<String>, path: &str, text: &str) -> usize {
    let sources = product(vec![(path.to_owned(), text.to_owned())]);
    sources.iter().map(|source| rule(source).len()).sum()
}

#[test]
fn an_arrow_up_is_found_however_it_is_written() {
    for (path, text, expected) in [
        ("http/parse.rs", "use crate::app::App;", 1),
        ("http/parse.rs", "fn f() -> crate::app::App { crate::server::go() }", 2),
        ("http/parse.rs", "use crate::{app, time};", 1),
        ("http/parse.rs", "use super::super::streams;", 1),
        ("http/mod.rs", "use super::streams;", 1),
        ("http/body/tests.rs", "use super::super::super::store::Store;", 1),
        (
            "http/parse.rs",
            "use crate::time::Span; use crate::codec::hex; use crate::http::Head; use super::Head;",
            0,
        ),
        ("http/parse.rs", "use super::super::http::Head; use super::line::Line; mycrate::app::x();", 0),
        ("time.rs", "use crate::codec::decimal;", 1),
        ("time.rs", "use super::codec::decimal;", 1),
        ("codec/hex.rs", "use crate::time;", 1),
        ("streams/account.rs", "use crate::http::Head;", 1),
        ("store/memory.rs", "use crate::config::Config;", 1),
        ("store/memory.rs", "use crate::streams::batch::Batch; use crate::codec::hex;", 0),
        ("config/table.rs", "use crate::http::Method;", 0),
        ("config/table.rs", "use crate::app::Side;", 1),
        ("app/mod.rs", "use crate::operators::Operators;", 1),
        ("app/mod.rs", "use crate::server::Server;", 1),
        ("server/mod.rs", "use crate::app::App; use crate::store::Store;", 0),
        ("attic/mod.rs", "", 1),
        ("main.rs", "use streamer::server; mod check;", 0),
        ("http/parse.rs", "// as in crate::app\n/* crate::app */ const S: &str = \"crate::app\";", 0),
        ("http/parse.rs", "#[cfg(test)]\nmod tests {\n use crate::app::App;\n}\n", 0),
        ("http/parse.rs", "#[cfg(test)]\nuse crate::app::App;\nuse crate::server::S;\n", 1),
    ] {
        assert_eq!(found(arrows_up, path, text), expected, "{path}: {text}");
    }
}

#[test]
fn a_room_that_touches_the_world_is_found() {
    for text in [
        "use std::net::TcpStream;",
        "use std::fs;",
        "fn f() { std::thread::spawn(g); }",
        "let now = Instant::now();",
        "let now = std::time::SystemTime::now();",
        "let now = Clock::now();",
        "use std::{fmt, fs};",
    ] {
        for path in ["app/mod.rs", "store/memory.rs", "time.rs", "lib.rs", "config/server.rs"] {
            assert_eq!(found(touches_world, path, text), 1, "{path}: {text}");
        }
        for path in ["server/worker.rs", "server/poller/epoll.rs", "main.rs", "check.rs", "token.rs"] {
            assert_eq!(found(touches_world, path, text), 0, "{path}: {text}");
        }
    }
    for text in [
        "use core::net::IpAddr;",
        "fn now(&self) { self.now() }",
        "// Instant::now",
        "const S: &str = \"std::fs\";",
    ] {
        assert_eq!(found(touches_world, "app/mod.rs", text), 0, "{text}");
    }
}

#[test]
fn unsafe_code_is_found_and_only_as_a_word() {
    for (path, text, expected) in [
        ("app/mod.rs", "unsafe { f() }", 1),
        ("server/worker.rs", "fn f() {\n unsafe{ f() }\n}\nunsafe impl Send for X {}", 2),
        ("sys/mod.rs", "unsafe { f() }", 0),
        (
            "app/mod.rs",
            "#![deny(unsafe_code)] // unsafe\nconst S: &[u8] = b\"unsafe\"; let not_unsafe = 1;",
            0,
        ),
        ("app/mod.rs", "const S: &str = r#\"a \" unsafe\"#; let c = '\"'; unsafe { f(\"\") }", 1),
        ("app/mod.rs", "let (a, b) = ('\\'', '\\u{1F600}'); fn f<'a>(x: &'a str) { unsafe { x } }", 1),
    ] {
        assert_eq!(found(unsafe_code, path, text), expected, "{path}: {text}");
    }
}

#[test]
fn a_file_is_too_long_by_its_product_lines() {
    let lines = |n: usize| "let x = 1;\n".repeat(n);
    let tests = |n: usize| format!("\n#[cfg(test)]\nmod tests {{\n{}}}\n", lines(n));
    assert_eq!(found(too_long, "app/mod.rs", &lines(400)), 0);
    assert_eq!(found(too_long, "app/mod.rs", &lines(401)), 1);
    assert_eq!(found(too_long, "app/mod.rs", &(lines(400) + &tests(500))), 0);
    assert_eq!(found(too_long, "app/mod.rs", &(lines(401) + &tests(1))), 1);
    // Comments are read by people too.
    assert_eq!(found(too_long, "app/mod.rs", &("// why\n".repeat(400) + &lines(1))), 1);
}

#[test]
fn a_function_is_too_long_by_all_its_lines() {
    let body = |n: usize| format!("pub fn f(x: u8) -> u8 {{\n{}}}\n", "    if x > 1 { g(); }\n".repeat(n));
    assert_eq!(found(long_functions, "app/mod.rs", &body(38)), 0);
    assert_eq!(found(long_functions, "app/mod.rs", &body(39)), 1);
    assert_eq!(found(long_functions, "app/mod.rs", &format!("{}{}", body(38), body(39))), 1);
    assert_eq!(found(long_functions, "app/mod.rs", "trait T { fn f(&self) -> u8; fn g(&self); }"), 0);
}

#[test]
fn files_that_hold_tests_alone_are_not_the_product() {
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let sources = product(vec![
        file("http/mod.rs", "mod parse;\n#[cfg(test)]\nmod torture;\n"),
        file("http/parse.rs", "fn f() {}\n#[cfg(test)]\nmod tests;\n"),
        file("http/parse/tests.rs", "unsafe"),
        file("http/torture.rs", "unsafe"),
        file("http/tests.rs", ""),
    ]);
    let paths: Vec<&str> = sources.iter().map(|source| &*source.path).collect();
    assert_eq!(paths, ["http/mod.rs", "http/parse.rs", "http/tests.rs"]);
}

#[test]
fn paths_are_read_off_the_routes() {
    assert_eq!(paths(r#"match path { b"/" => 1, b"/a/" | b"/b" => 2, b"c" => 3 }"#), ["/", "/a/", "/b"]);
}
