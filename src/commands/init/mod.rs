//! `init`: writes a pipeline file from flags or questions, and checks it.

mod example;

use std::io::{ErrorKind, IsTerminal, Write, stderr, stdin};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use dialoguer::{Confirm, Input, MultiSelect, Select};

use super::{ArgumentError, Format, check, note};
use crate::console::ConsoleUrl;
use crate::destinations::integration::{INTEGRATIONS, Integration};
use crate::destinations::settings as sink_settings;
use crate::pipeline::stem;
use crate::record::{Stream, check_name};

use example::{Example, file_of};

/// Write a commented pipeline file, and check it
///
/// The file begins as the documented example of the destination. What the flags do not say is asked on a terminal. Then
/// the file is checked as `check` does. Secrets are not asked for: the pipeline file names the files that hold them.
///
/// Exit codes: as those of `check`; 2 if the file exists.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pipeline file. Its name without extension is the pipeline's name
    file: PathBuf,

    /// Address of the console, such as `https://usea1-acme.sentinelone.net`
    #[arg(long, value_name = "URL", value_parser = ConsoleUrl::parse)]
    console: Option<ConsoleUrl>,

    /// File that holds the API token, relative to the pipeline file
    #[arg(long, value_name = "PATH")]
    token_file: Option<String>,

    /// Streams to pull, separated by commas [default: those of the example]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    streams: Vec<Stream>,

    /// Type of the destination
    #[arg(long, value_name = "TYPE", value_parser = clap::builder::PossibleValuesParser::new(sink_settings::types()))]
    sink: Option<String>,

    /// A key of the sink with its value in YAML, such as `url=https://splunk.example:8088`; `KEY=` leaves the key out
    /// (repeatable)
    ///
    /// The example has content=integration where the destination has SentinelOne content of its own: the console's
    /// records, under the names that this content reads. content=forwarder is for events in ECS or OCSF.
    ///
    /// The example of elasticsearch has an API key. For an OpenSearch without security: --set api_key=
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,

    /// Overwrite the file if it exists
    #[arg(long)]
    force: bool,

    /// Only validate the file, without network
    #[arg(long)]
    offline: bool,
}

fn setting(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// Runs `init`.
///
/// # Errors
/// If something is missing and there is no terminal to ask on, or the file cannot be written.
pub async fn run(mut args: Args) -> anyhow::Result<ExitCode> {
    let name = stem(&args.file);
    check_name(&name).map_err(|error| ArgumentError(format!("{}: {error}", args.file.display())))?;
    if !args.file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
        let (file, name) = (args.file.display(), args.file.with_extension("yaml"));
        let problem = format!("{file} would be left out where its directory is read: write {}", name.display());
        return Err(ArgumentError(problem).into());
    }
    if args.file.exists() && !args.force {
        return Err(ArgumentError(format!("{} exists; --force overwrites it", args.file.display())).into());
    }
    tokio::task::block_in_place(|| args.ask())?;
    let Args { console: Some(console), token_file: Some(token_file), sink: Some(sink), .. } = &args else {
        let missing =
            "--console URL, --token-file PATH and --sink TYPE are needed; without them init asks on a terminal";
        return Err(ArgumentError(missing.to_owned()).into());
    };
    let mut example = Example::of(sink).with_context(|| format!("there is no example of {sink}"))?;
    example.name(&name).console(console).token_file(token_file).streams(&args.streams);
    args.set.iter().for_each(|(key, value)| example.set(key, value));
    args.use_streams_of_integration(sink, &mut example);
    write(&args.file, &example.text(), args.force)?;
    note(format!("wrote {}", args.file.display()));
    note_missing_secrets(&args, token_file, &example);
    note("");
    check::run(check::Args::of_file(args.file, args.offline, Format::Table)).await
}

/// Names the files that have to be filled next. The example chose the files of the sink.
fn note_missing_secrets(args: &Args, token_file: &str, example: &Example) {
    let directory = args.file.parent().unwrap_or(Path::new(""));
    let is_missing = |file: &str| !directory.join(file).exists();
    if is_missing(token_file) {
        note(format!("{}: put the API token into this file", directory.join(token_file).display()));
    }
    for (key, value) in example.keys() {
        if let Some(file) = file_of(&value).filter(|file| is_missing(file)) {
            let file = directory.join(file);
            note(format!("{}: put `{key}` into this file; or leave it out with --set {key}=", file.display()));
        }
    }
}

/// The streams that are chosen by default.
const USUAL: [Stream; 2] = [Stream::Threats, Stream::Activities];

fn integration_of(sink: &str) -> Option<&'static Integration> {
    INTEGRATIONS.into_iter().find(|integration| integration.sink == sink)
}

impl Args {
    fn is_set(&self, name: &str) -> bool {
        self.set.iter().any(|(key, _)| key == name)
    }

    /// Limits the sink to the streams that the destination's integration knows. If the integration knows none of the
    /// streams, the events are the forwarder's own.
    fn use_streams_of_integration(&self, sink: &str, example: &mut Example) {
        let Some(integration) = integration_of(sink) else { return };
        let has_content = example.value("content").is_some_and(|content| content == "integration");
        let has_log_types = sink == "google_secops" && !self.is_set("log_type");
        if !(has_content || has_log_types) || self.is_set("streams") {
            return;
        }
        let streams = example.stream_names();
        let known = integration.known_of(&streams);
        if known.is_empty() {
            if has_content && !self.is_set("content") {
                example.set("content", "");
                note(format!(
                    "{} knows none of these streams: the file has no `content: integration`, and sends events of \
                     `transform.schema`",
                    integration.title
                ));
            }
        } else if known.len() < streams.len() {
            let known: Vec<&str> = known.iter().map(|stream| stream.name()).collect();
            example.set("streams", &format!("[{}]", known.join(", ")));
        }
    }

    /// Asks for values that no flag gives, if there is a terminal.
    fn ask(&mut self) -> anyhow::Result<()> {
        if !stdin().is_terminal() || !stderr().is_terminal() {
            return Ok(());
        }
        if self.console.is_none() {
            let prompt = "Address of the console, such as https://usea1-acme.sentinelone.net";
            let parse = |text: &String| ConsoleUrl::parse(text).map(drop);
            let text: String = Input::new().with_prompt(prompt).validate_with(parse).interact_text()?;
            self.console = Some(ConsoleUrl::parse(&text)?);
        }
        if self.token_file.is_none() {
            let prompt = match self.file.parent().filter(|directory| !directory.as_os_str().is_empty()) {
                Some(directory) => format!("File that holds the API token, relative to {}", directory.display()),
                None => "File that holds the API token".to_owned(),
            };
            let default = format!("secrets/{}.token", stem(&self.file));
            self.token_file = Some(Input::new().with_prompt(prompt).default(default).interact_text()?);
        }
        if self.streams.is_empty() {
            let choices = Stream::ALL.map(|stream| (stream.name(), USUAL.contains(&stream)));
            let chosen = MultiSelect::new().with_prompt("Streams (space selects)").items_checked(choices).interact()?;
            self.streams = chosen.into_iter().filter_map(|index| Stream::ALL.get(index).copied()).collect();
        }
        let asks_for_sink = self.sink.is_none();
        if asks_for_sink {
            let chosen =
                Select::new().with_prompt("Destination").items(sink_settings::types()).default(0).interact()?;
            self.sink = sink_settings::types().get(chosen).map(|&name| name.to_owned());
        }
        let integration = self.sink.as_deref().and_then(integration_of);
        if let Some(integration) = integration
            && !self.is_set("content")
        {
            let prompt = format!(
                "Is the SentinelOne content of {} installed? Its rules and dashboards then work on the console's own records",
                integration.title
            );
            let content =
                if Confirm::new().with_prompt(prompt).default(true).interact()? { "integration" } else { "forwarder" };
            self.set.push(("content".to_owned(), content.to_owned()));
        }
        let keys = self.sink.as_deref().and_then(Example::of).map(|example| example.keys()).unwrap_or_default();
        for (key, value) in keys {
            if asks_for_sink && self.set.iter().all(|(given, _)| *given != key) {
                let prompt = format!("{key} (empty: leave it out)");
                let value = Input::new().with_prompt(prompt).with_initial_text(value).allow_empty(true);
                self.set.push((key, value.interact_text()?));
            }
        }
        Ok(())
    }
}

fn write(file: &Path, text: &str, force: bool) -> anyhow::Result<()> {
    if let Some(directory) = file.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    }
    let mut options = std::fs::OpenOptions::new();
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let written = options.write(true).open(file).and_then(|mut file| file.write_all(text.as_bytes()));
    match written {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(ArgumentError(format!("{} exists; --force overwrites it", file.display())).into())
        }
        written => written.with_context(|| format!("cannot write {}", file.display())),
    }
}
