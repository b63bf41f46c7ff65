//! The environment: the variables whose names begin with `STREAMER_`.
//!
//! *Invariant:* a variable that no option reads is refused, so that one with a letter wrong does not pass for
//! unset. (Tested by `refuses_variables_that_no_option_reads`.)

use std::ffi::OsString;

use super::UsageError;
use super::parse::closest;
use super::table::options;

/// What the names of all variables begin with.
const PREFIX: &str = "STREAMER_";

/// The variable of the same meaning as a flag: `--when-full` is `STREAMER_WHEN_FULL`.
pub(super) fn variable(flag: &str) -> String {
    format!("{PREFIX}{}", flag.to_ascii_uppercase().replace('-', "_"))
}

/// The variables that are meant for this program, with their names whole.
pub(super) struct Env(Vec<(String, OsString)>);

impl Env {
    /// Picks them from all those there are.
    pub(super) fn new(all: impl Iterator<Item = (impl Into<OsString>, impl Into<OsString>)>) -> Self {
        let named = all.map(|(name, value)| (name.into().to_string_lossy().into_owned(), value.into()));
        Self(named.filter(|(name, _)| name.starts_with(PREFIX)).collect())
    }

    /// The text of a variable; None when it is empty, too.
    pub(super) fn get(&self, name: &str) -> Result<Option<&str>, UsageError> {
        let Some((_, value)) = self.0.iter().find(|(other, _)| other == name) else { return Ok(None) };
        match value.to_str() {
            Some(text) => Ok(Some(text).filter(|text| !text.is_empty())),
            None => Err(UsageError(format!("{name}: {value:?} is not UTF-8; write it in UTF-8"))),
        }
    }

    /// Refuses the first variable that is no option's.
    pub(super) fn check(&self) -> Result<(), UsageError> {
        let names: Vec<String> = options().iter().map(|opt| variable(opt.name)).collect();
        let unknown = self.0.iter().find(|(name, value)| {
            !names.contains(name) && !is_service_link(&name[PREFIX.len()..], &value.to_string_lossy())
        });
        match unknown {
            Some((name, _)) => Err(unknown_variable(name)),
            None => Ok(()),
        }
    }
}

fn unknown_variable(name: &str) -> UsageError {
    let written = name[PREFIX.len()..].to_ascii_lowercase().replace('_', "-");
    let names: Vec<&str> = options().iter().map(|opt| opt.name).collect();
    let hint = match closest(&written, &names) {
        Some(name) => format!("did you mean {}?", variable(name)),
        None => "every flag of streamer --help has one; unset it or rename it".into(),
    };
    UsageError(format!("there is no variable {}: {hint}", name.escape_debug()))
}

/// Whether Kubernetes or Docker has set this, to tell of a service that is called `streamer` or `streamer-…`: the
/// operator cannot help it. `name` lacks the prefix.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_url = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let is_of_port = name.starts_with("PORT_") || name.contains("_PORT_");
    let is_port = name == "PORT" || name.ends_with("_PORT");
    name.ends_with("SERVICE_HOST")
        || name.contains("SERVICE_PORT")
        || is_url && (is_port || is_of_port)
        || is_of_port && ["_PROTO", "_PORT", "_ADDR"].iter().any(|end| name.ends_with(end))
}
