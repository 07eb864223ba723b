//! The known environment variables, and warnings about others with our prefix.
//!
//! Only settings of the process have a variable. The flags of a single task have none: a variable that was set for one
//! command would disarm the safeguard of another one.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches};
use tracing::warn;

use super::{ArgumentError, USAGE, note};
use crate::pipeline::{PLACEHOLDERS, is_own_prefix, likely};
use crate::settings::read_file;

const PREFIX: &str = "S1_FORWARDER_";

/// The commands whose flag has the variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commands {
    /// Every command with this flag.
    All,
    Only(&'static str),
}

use Commands::{All, Only};

/// Every environment variable of a flag: its name, the flag, the commands.
pub const VARIABLES: &[(&str, &str, Commands)] = &[
    ("S1_FORWARDER_STATE", "state", All),
    ("S1_FORWARDER_INSTANCE", "instance", All),
    ("S1_FORWARDER_PIPELINES", "pipelines", All),
    ("S1_FORWARDER_DEFAULTS", "defaults", All),
    ("S1_FORWARDER_DEAD_LETTERS", "dead-letters", All),
    ("S1_FORWARDER_LOG_FORMAT", "log-format", All),
    ("S1_FORWARDER_LOG_LEVEL", "log-level", All),
    #[cfg(feature = "traces")]
    ("S1_FORWARDER_OTLP_TRACES", "otlp-traces", All),
    ("S1_FORWARDER_URL", "url", Only("status")),
    ("S1_FORWARDER_URL", "url", Only("retry")),
    ("S1_FORWARDER_CLUSTER", "cluster", Only("run")),
    ("S1_FORWARDER_SHARDS", "shards", Only("run")),
    ("S1_FORWARDER_LEASE", "lease", Only("run")),
    ("S1_FORWARDER_RENAMED_WAIT", "renamed-wait", Only("run")),
    ("S1_FORWARDER_METRICS_LABEL", "metrics-label", Only("run")),
    ("S1_FORWARDER_LISTEN", "listen", Only("run")),
    ("S1_FORWARDER_LISTEN_PROBES", "listen-probes", Only("run")),
    ("S1_FORWARDER_WEB_CONFIG", "web-config", Only("run")),
    ("S1_FORWARDER_MEMORY_BUDGET", "memory-budget", Only("run")),
    ("S1_FORWARDER_REMEMBERED_MAX", "remembered-max", Only("run")),
    ("S1_FORWARDER_CHECKPOINT_INTERVAL", "checkpoint-interval", Only("run")),
    ("S1_FORWARDER_DEAD_LETTERS_MAX", "dead-letters-max", Only("run")),
    ("S1_FORWARDER_SHUTDOWN_TIMEOUT", "shutdown-timeout", Only("run")),
    (TENANT_FILES, "tenant-files", Only("run")),
    ("S1_FORWARDER_SECRETS_DIR", "secrets-dir", Only("run")),
    ("S1_FORWARDER_ENV_ALLOW", "env-allow", Only("run")),
    ("S1_FORWARDER_FILES_DIR", "files-dir", Only("run")),
    ("S1_FORWARDER_ALLOW_PRIVATE_DESTINATIONS", "allow-private-destinations", Only("run")),
];

const TENANT_FILES: &str = "S1_FORWARDER_TENANT_FILES";

/// Gives the flags of the whole command line their variables, apart from `without`.
pub(super) fn assign(program: clap::Command, without: Option<&str>) -> clap::Command {
    let program = program.mut_args(|flag| with_variable(flag, "", without));
    program.mut_subcommands(|command| {
        let name = command.get_name().to_owned();
        assign_to(command, &name, without)
    })
}

/// Assigns variables to flags. `name` is the command's own name, also for its subcommands.
fn assign_to(command: clap::Command, name: &str, without: Option<&str>) -> clap::Command {
    let command = command.mut_args(|flag| with_variable(flag, name, without));
    command.mut_subcommands(|subcommand| assign_to(subcommand, name, without))
}

fn with_variable(flag: Arg, command: &str, without: Option<&str>) -> Arg {
    let is_of = |commands: Commands| match commands {
        All => true,
        Only(name) => name == command,
    };
    let mut all = VARIABLES.iter().filter(|(variable, ..)| without != Some(*variable));
    match all.find(|(_, name, commands)| flag.get_long() == Some(*name) && is_of(*commands)) {
        Some((variable, ..)) => flag.env(*variable),
        None => flag,
    }
}

/// Prints why the command line is refused, or the help that it asks for. Clap names the flag alone, so a value that
/// comes from a variable is reported apart here.
pub(super) fn report(mut error: clap::Error) -> ExitCode {
    suggest(&mut error);
    // Errors are ignored, as in clap itself: standard output may be closed.
    let _ = error.print();
    if error.kind() == ErrorKind::MissingRequiredArgument {
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        for name in names.filter(|name| is_unknown(name)) {
            note("");
            note(unknown_variable(&name));
        }
    }
    if let Some(variable) = variable_of(&error) {
        note("");
        note(format!("The value comes from the environment variable {variable}."));
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE))
}

/// Words of other tools, and advice on what does the same here. A word of a subcommand follows its command's name.
const WORDS_OF_OTHERS: [(&str, &str); 53] = [
    ("version", "`s1-forwarder --version` prints the version"),
    ("validate", CHECKS),
    ("verify-config", CHECKS),
    ("test", CHECKS),
    ("lint", CHECKS),
    ("--dry-run", "`check` validates pipeline files and tests their connections; `preview` shows events undelivered"),
    ("--config", FILES),
    ("-c", FILES),
    ("-f", FILES),
    ("-v", LEVEL),
    ("--verbose", LEVEL),
    ("--debug", LEVEL),
    ("-q", LEVEL),
    ("--quiet", LEVEL),
    ("--port", "--listen HOST:PORT is the address of metrics and of the status page"),
    ("-w", "--watch shows the table again and again"),
    ("retry --all", "--failing names all lanes that fail"),
    ("state delete --all", "name a pipeline for all its lanes; --orphaned deletes what belongs to no file"),
    ("logs", LOGS),
    ("log", LOGS),
    ("tail", LOGS),
    ("top", WATCHES),
    ("watch", WATCHES),
    ("stats", STATUS),
    ("pause", PAUSES),
    ("resume", PAUSES),
    ("disable", PAUSES),
    ("enable", PAUSES),
    ("new", INITS),
    ("create", INITS),
    ("get", STATUS),
    ("list", STATUS),
    ("ls", STATUS),
    ("lanes", STATUS),
    ("health", ENDPOINTS),
    ("metrics", ENDPOINTS),
    ("ps", STATUS),
    ("describe", STATUS),
    ("start", "`run` starts a worker"),
    ("serve", "`run` starts a worker"),
    ("reload", "a worker reads changed pipeline files by itself"),
    ("restart", "a worker reads changed files by itself; `retry` lets lanes make their next attempt now"),
    ("stop", "a worker ends with SIGTERM, as `systemctl stop` and Ctrl-C send it"),
    ("reset", RESETS),
    ("state reset", RESETS),
    ("state get", "`state show LANE` prints a checkpoint"),
    ("export", "`state export` writes all checkpoints to a file"),
    ("import", "`state import` reads the checkpoints of an export"),
    ("dlq", DEAD_LETTERS),
    ("replay", DEAD_LETTERS),
    ("dead-letters delete", "`dead-letters purge` removes dead letters"),
    ("dead-letters retry", "`dead-letters replay` delivers dead letters again"),
    ("dead-letters show", "`dead-letters list` prints dead letters, and with --format json all of each"),
];
const FILES: &str = "the pipeline files are named by --pipelines, and the keys that all of them have by --defaults";
const LEVEL: &str = "--log-level debug or --log-level error sets how much is logged";
const ENDPOINTS: &str = "a worker serves /metrics, /livez and /readyz at the address of its --listen";
const RESETS: &str = "`state set LANE --to TIME` lets a lane pull again; `state delete LANE` lets it begin again";
const DEAD_LETTERS: &str = "`dead-letters` lists, replays and purges dead letters";
const CHECKS: &str = "`check` validates pipeline files and tests their connections";
const LOGS: &str = "a worker writes its log to standard error, for `journalctl -u s1-forwarder` or `kubectl logs`";
const WATCHES: &str = "`status --watch` shows the lanes of a running worker again and again";
const PAUSES: &str = "`enabled: false` in a pipeline's file pauses it; a worker reads changed files by itself";
const INITS: &str = "`init FILE` writes a pipeline file";
const STATUS: &str = "`status` shows the lanes of a running worker";

/// Replaces a suggestion that only resembles the word by one that means it.
fn suggest(error: &mut clap::Error) {
    if let (ErrorKind::MissingRequiredArgument, Some(ContextValue::Strings(missing))) =
        (error.kind(), error.get(ContextKind::InvalidArg))
        && missing.iter().any(|argument| argument.starts_with("--pipelines "))
    {
        let command = command_of(error);
        let tip = format!(
            "name pipeline files, or a directory with them: s1-forwarder {command} pipelines; `init pipelines/acme.yaml` \
             writes one"
        );
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
        return;
    }
    let word = [ContextKind::InvalidSubcommand, ContextKind::InvalidArg].into_iter().find_map(|kind| {
        match (error.kind(), error.get(kind)) {
            (ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument, Some(ContextValue::String(word))) => {
                Some(word.clone())
            }
            _ => None,
        }
    });
    let Some(word) = word else { return };
    let command = command_of(error);
    let is_flag = word.starts_with('-');
    let is_period = word.strip_prefix('-').is_some_and(|rest| rest.starts_with(|char: char| char.is_ascii_digit()));
    let is_meant = |other: &str| other == format!("{command} {word}").trim_start() || (is_flag && other == word);
    let tip = match WORDS_OF_OTHERS.iter().find(|(other, _)| is_meant(other)) {
        _ if is_period => "a period before now is written without a sign, such as 7d".to_owned(),
        Some((_, tip)) => (*tip).to_owned(),
        None if command.is_empty()
            && word.strip_prefix("--").is_some_and(|flag| has_flag(&super::definition(), flag)) =>
        {
            format!("{word} follows the command, as in: s1-forwarder run {word} …")
        }
        None => {
            // Clap's tip to write `-- -x`: no value here begins with a hyphen.
            error.remove(ContextKind::Suggested);
            return;
        }
    };
    if error.remove(ContextKind::SuggestedArg).is_some() {
        // The usage shows the suggested flag.
        error.remove(ContextKind::Usage);
    }
    error.remove(ContextKind::SuggestedSubcommand);
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
}

/// Returns the command that is refused, such as `state delete`; empty for the program itself.
fn command_of(error: &clap::Error) -> String {
    let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) else { return String::new() };
    let usage = usage.to_string();
    let words = usage.split_whitespace().skip_while(|word| *word == "Usage:").skip(1);
    let is_name = |word: &&str| word.starts_with(|char: char| char.is_ascii_lowercase());
    words.take_while(is_name).collect::<Vec<_>>().join(" ")
}

/// Returns the variable without which this error would not occur.
fn variable_of(error: &clap::Error) -> Option<&'static str> {
    if !matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue | ErrorKind::InvalidUtf8) {
        return None;
    }
    let text = error.to_string();
    let mut set = VARIABLES.iter().map(|(variable, ..)| *variable).filter(|name| std::env::var_os(name).is_some());
    set.find(|variable| match super::definition_without(Some(variable)).try_get_matches() {
        Ok(_) => true,
        Err(other) => other.to_string() != text,
    })
}

/// Variables with our prefix that do nothing, or not what they seem to.
pub(super) struct Ignored {
    /// Variables that belong to no flag, unless a file names them as the place of a secret.
    unknown: Vec<String>,
    /// Files and directories that the command line names, and that may name such variables.
    files: Vec<PathBuf>,
}

/// Commands with a listener of their own, which has nothing to do with a worker's.
const OTHER_LISTENERS: [&str; 2] = ["demo", "emulate"];
/// Arguments that name pipeline files, by their ids.
const FILE_ARGUMENTS: [&str; 5] = ["paths", "pipelines", "file", "defaults", "pipeline"];
/// Larger than a pipeline file.
const MAX_FILE: usize = 1 << 20;

impl Ignored {
    /// Warns about variables that `run` alone reads, and finds unknown variables.
    ///
    /// # Errors
    /// If one of them would have restricted pipeline files: the command must not read these without the restriction.
    pub fn find(matches: &ArgMatches) -> Result<Self, ArgumentError> {
        let program = super::definition();
        let names: BTreeSet<String> = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
        let Some((name, matches)) = matches.subcommand() else {
            return Ok(Self { unknown: Vec::new(), files: Vec::new() });
        };
        let (command, matches) = innermost(program.find_subcommand(name), matches);
        if let Some(command) = command
            && !OTHER_LISTENERS.contains(&name)
        {
            only_for_others(command, matches, &names)?;
        }
        // A value of the variable itself has several, and all of them are checked already.
        let prefixes = raw(matches, "env_allow").filter_map(OsStr::to_str).flat_map(|value| value.split(','));
        prefixes.filter(|prefix| !prefix.is_empty()).for_each(warn_of_shared);
        let unknown = names.iter().filter(|name| is_unknown(name)).cloned().collect();
        let files = FILE_ARGUMENTS.iter().flat_map(|id| raw(matches, id)).map(PathBuf::from).collect();
        Ok(Self { unknown, files })
    }

    /// Warns about unknown variables that no file names. This reads files, which may take long.
    pub fn warn(mut self) {
        if self.unknown.is_empty() {
            return;
        }
        for file in self.files.iter().flat_map(|path| files_at(path)) {
            let text = read_file(&file, MAX_FILE).unwrap_or_default();
            self.unknown.retain(|name| memchr::memmem::find(&text, name.as_bytes()).is_none());
        }
        for name in &self.unknown {
            warn!("{}", unknown_variable(name));
        }
    }
}

/// Warns of a prefix that does not keep the variables of tenants apart, or that is not the operator's own.
fn warn_of_shared(prefix: &str) {
    if PLACEHOLDERS.iter().any(|placeholder| prefix.starts_with(placeholder)) {
        warn!(
            "--env-allow {prefix} lets the name of a tenant's file decide which variables it may read: a file \
               datadog.yaml may read DATADOG_API_KEY; begin the prefix with a text of your own, such as TENANT_{prefix}"
        );
    } else if is_own_prefix(prefix) == Ok(false) {
        warn!(
            "each tenant may read all variables that begin with {prefix}: --env-allow '{prefix}{{pipeline}}_' gives \
               each its own"
        );
    }
}

/// Returns the command that runs, which may be the subcommand of another one.
fn innermost<'a>(
    mut command: Option<&'a clap::Command>,
    mut matches: &'a ArgMatches,
) -> (Option<&'a clap::Command>, &'a ArgMatches) {
    while let Some((name, inner)) = matches.subcommand() {
        command = command.and_then(|command| command.find_subcommand(name));
        matches = inner;
    }
    (command, matches)
}

/// Returns the values of an argument as they were given; none if the command has no such argument.
fn raw<'a>(matches: &'a ArgMatches, id: &str) -> impl Iterator<Item = &'a OsStr> {
    matches.try_get_raw(id).ok().flatten().into_iter().flatten()
}

fn only_for_others(command: &clap::Command, matches: &ArgMatches, set: &BTreeSet<String>) -> Result<(), ArgumentError> {
    for (variable, name, commands) in VARIABLES {
        let Only(other) = commands else { continue };
        let Some(flag) = command.get_arguments().find(|flag| flag.get_long() == Some(*name)) else { continue };
        let is_given = matches.value_source(flag.get_id().as_str()) == Some(ValueSource::CommandLine);
        if flag.get_env().is_some() || is_given || !set.contains(*variable) {
            continue;
        }
        let text = format!("{variable} holds for `{other}` only: give --{name} to this command");
        if *variable == TENANT_FILES && std::env::var_os(TENANT_FILES).is_some_and(|value| value != "false") {
            return Err(ArgumentError(text));
        }
        warn!("{text}");
    }
    Ok(())
}

/// Kubernetes sets these for a Service that is named like the program.
fn is_service_link(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name.contains("_PORT_")
}

/// Returns whether no flag has this variable with our prefix.
fn is_unknown(name: &str) -> bool {
    name.starts_with(PREFIX) && VARIABLES.iter().all(|(known, ..)| *known != name) && !is_service_link(name)
}

/// Returns the file, or the pipeline files of a directory.
fn files_at(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return vec![path.to_owned()] };
    let is_yaml = |path: &PathBuf| matches!(path.extension().and_then(OsStr::to_str), Some("yaml" | "yml"));
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_yaml).collect()
}

fn unknown_variable(name: &str) -> String {
    let word = name.strip_prefix(PREFIX).unwrap_or(name).to_lowercase();
    let flag = word.replace('_', "-");
    let known: Vec<_> = VARIABLES.iter().map(|(known, ..)| known[PREFIX.len()..].to_lowercase()).collect();
    if has_flag(&super::definition(), &flag) {
        // The intended variable is the plural of this one, or has a longer name.
        let is_longer =
            |known: &&String| known.strip_prefix(&word).is_some_and(|rest| rest == "s" || rest.starts_with('_'));
        let intended = known.iter().find(is_longer);
        let intended = intended.map(|known| format!("; did you mean {PREFIX}{}?", known.to_uppercase()));
        return format!(
            "the environment variable {name} has no effect: --{flag} can only be a flag{}",
            intended.unwrap_or_default()
        );
    }
    match likely(&word, known.iter().map(String::as_str)) {
        Some(known) => format!("unknown environment variable {name}; did you mean {PREFIX}{}?", known.to_uppercase()),
        None => format!("unknown environment variable {name}: no flag has it, and no pipeline file names it"),
    }
}

fn has_flag(command: &clap::Command, name: &str) -> bool {
    command.get_arguments().any(|flag| flag.get_long() == Some(name))
        || command.get_subcommands().any(|command| has_flag(command, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_links_of_kubernetes_are_no_settings() {
        for name in [
            "S1_FORWARDER_SERVICE_HOST",
            "S1_FORWARDER_SERVICE_PORT_METRICS",
            "S1_FORWARDER_PORT",
            "S1_FORWARDER_PORT_9598_TCP_ADDR",
        ] {
            assert!(is_service_link(name), "{name}");
        }
        assert!(!is_service_link("S1_FORWARDER_MEMORY_BUGET"));
        assert!(VARIABLES.iter().all(|(name, ..)| !is_service_link(name)));
    }

    #[test]
    fn an_unknown_variable_is_told_with_the_likely_one() {
        let misspelt = unknown_variable("S1_FORWARDER_MEMORY_BUGET");
        assert!(misspelt.ends_with("did you mean S1_FORWARDER_MEMORY_BUDGET?"), "{misspelt}");
        let flag = unknown_variable("S1_FORWARDER_ALL");
        assert!(flag.ends_with("S1_FORWARDER_ALL has no effect: --all can only be a flag"), "{flag}");
        let other = unknown_variable("S1_FORWARDER_WEATHER_IN_LISBON");
        assert!(!other.contains("did you mean"), "{other}");
    }
}
