//! `state export|import`: checkpoints as lines of JSON.
//!
//! `kind` is the type of a line. The first line has the source of the export, the last one its number of checkpoints
//! and its checksum. The segments of a lane's journal precede its checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Permissions};
use std::io::{BufRead, BufReader, BufWriter, Cursor, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use crate::checkpoint::{Append, CheckpointKey, CheckpointUpdate, JournalChange, StateError, Store, StoredPart};
use crate::commands::{StateArgs, note, print_line};
use crate::lane::{InStore, LaneCheckpoint};
use crate::settings::{PRIVATE_FILE_MODE, explain_symbolic_link, private_file};
use crate::state::{Access, process_identity};
use crate::usage::Usage;
use crate::worker::{repairs_area, replays_area, usage_area};

const VERSION: u32 = 2;
/// Version of lines that earlier releases read too.
const OLDEST: u32 = 1;
/// Number of lanes that are read concurrently. A Kafka topic is read once for all of them.
const CONCURRENT_READS: usize = 16;
/// Longest line of an export, in bytes: above the checkpoint of any lane.
const MAX_LINE: u64 = 256 << 20;
/// A running lane may replace its journal after its checkpoint was read and before the journal is read.
const RETRIES: usize = 5;

#[derive(Serialize, Deserialize)]
struct Line {
    v: u32,
    #[serde(flatten)]
    item: Item,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Item {
    /// The first line; `from` is the store.
    Export {
        from: String,
    },
    /// A segment of the lane's journal.
    Journal {
        lane: String,
        segment: u64,
        base64: String,
    },
    Checkpoint {
        lane: String,
        base64: String,
    },
    /// The checkpoint of a repair that `verify` made for the lane.
    Repair {
        lane: String,
        base64: String,
    },
    /// The counts of a lane. `lane` is the name of the object.
    Usage {
        lane: String,
        base64: String,
    },
    /// The counts of commands next to the worker.
    CommandUsage {
        lane: String,
        base64: String,
    },
    /// The last line: the number of checkpoints, and the checksum of all lines before it.
    End {
        checkpoints: u64,
        crc32: u32,
    },
}

/// The part of a line that every release can read.
#[derive(Deserialize)]
struct Version {
    v: u32,
}

/// The kind of an object that a lane has in the state.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Checkpoint,
    Repair,
    Usage,
    CommandUsage,
}

/// An object of a lane, and the journal that a checkpoint refers to.
struct Stored {
    lane: CheckpointKey,
    kind: Kind,
    bytes: Vec<u8>,
    journal: BTreeMap<u64, Vec<u8>>,
}

/// Writes everything in `store` to `file`; `-` is standard output.
pub async fn export(store: &dyn Store, state: &StateArgs, file: &Path) -> anyhow::Result<()> {
    let out: Box<dyn Write> = if file == Path::new("-") {
        Box::new(std::io::stdout().lock())
    } else {
        Box::new(create(file).with_context(|| format!("cannot create {}", file.display()))?)
    };
    let mut writer = Writer { out: BufWriter::new(out), crc: crc32fast::Hasher::new(), checkpoints: 0, failed: 0 };
    writer.line(Item::Export { from: state.state.to_string() })?;
    let all = store.list_all().await?;
    let (usages, lanes): (Vec<_>, Vec<_>) = all.into_iter().partition(|key| key.part.is_usage());
    copy(store, &lanes, Kind::Checkpoint, &mut writer).await?;
    let pipelines: BTreeSet<&str> = lanes.iter().map(|key| key.lane.pipeline.as_str()).collect();
    for pipeline in pipelines {
        for area in [repairs_area(pipeline), replays_area(pipeline)] {
            let repairs = state.state.open(&state.instance, Access::Read, Some(&area)).await?;
            let mut keys = repairs.list().await?;
            // The record of events that a destination had lost is of interest for a day.
            keys.retain(|key| !matches!(key.part, StoredPart::Returned | StoredPart::Returning));
            copy(&*repairs, &keys, Kind::Repair, &mut writer).await?;
        }
    }
    copy(store, &usages, Kind::Usage, &mut writer).await?;
    let by_commands = state.state.open(&state.instance, Access::Read, Some(usage_area())).await?;
    copy(&*by_commands, &by_commands.list_all().await?, Kind::CommandUsage, &mut writer).await?;
    let failed = writer.failed;
    note(format!("{} checkpoints exported", writer.end()?));
    ensure!(failed == 0, "{failed} could not be read; the others are exported");
    Ok(())
}

/// Creates a file for the owner alone, as the state is: it names customers.
fn create(file: &Path) -> std::io::Result<File> {
    let created = private_file().write(true).create(true).truncate(false).open(file).map_err(explain_symbolic_link)?;
    // The path may have existed, and may be no file, such as a pipe.
    let found = created.metadata()?;
    if found.is_file() {
        if found.nlink() > 1 {
            let message = "the file has several names (hard links), and another user may have made this one: remove it";
            return Err(std::io::Error::new(std::io::ErrorKind::PermissionDenied, message));
        }
        created.set_permissions(Permissions::from_mode(PRIVATE_FILE_MODE))?;
        created.set_len(0)?;
    }
    Ok(created)
}

async fn copy(store: &dyn Store, lanes: &[CheckpointKey], kind: Kind, writer: &mut Writer<'_>) -> anyhow::Result<()> {
    let mut read = stream::iter(lanes).map(|lane| read_lane(store, lane, kind)).buffered(CONCURRENT_READS);
    while let Some(stored) = read.next().await {
        match stored {
            Ok(stored) => writer.stored(stored)?,
            // The export continues after a damaged checkpoint.
            Err(error) => {
                note(format!("error: {error:#}"));
                writer.failed += 1;
            }
        }
    }
    Ok(())
}

async fn read_lane(store: &dyn Store, lane: &CheckpointKey, kind: Kind) -> anyhow::Result<Stored> {
    if lane.part.is_usage() {
        let bytes = store.load(lane).await?.with_context(|| format!("{lane} was deleted during the export"))?;
        Usage::decode(&bytes).with_context(|| lane.to_string())?;
        return Ok(Stored { lane: lane.clone(), kind, bytes, journal: BTreeMap::new() });
    }
    let mut retries = 0;
    loop {
        let bytes = store
            .load(lane)
            .await?
            .with_context(|| format!("the checkpoint of lane {lane} was deleted during the export"))?;
        let checkpoint = LaneCheckpoint::decode(&bytes).with_context(|| format!("lane {lane}"))?;
        let read = if InStore::of(Some(&bytes)).has_journal() {
            checkpoint.journal(store, lane).await
        } else {
            Ok(BTreeMap::new())
        };
        match read {
            Ok(journal) => return Ok(Stored { lane: lane.clone(), kind, bytes, journal }),
            Err(StateError::Journal { .. }) if retries < RETRIES => retries += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

struct Writer<'a> {
    out: BufWriter<Box<dyn Write + 'a>>,
    crc: crc32fast::Hasher,
    checkpoints: u64,
    /// Number of checkpoints that could not be read.
    failed: usize,
}

impl Writer<'_> {
    fn stored(&mut self, stored: Stored) -> anyhow::Result<()> {
        let Stored { lane, kind, bytes, journal } = stored;
        let lane = lane.to_string();
        for (segment, bytes) in journal {
            self.line(Item::Journal { lane: lane.clone(), segment, base64: BASE64_STANDARD.encode(bytes) })?;
        }
        let base64 = BASE64_STANDARD.encode(bytes);
        self.line(match kind {
            Kind::Checkpoint => Item::Checkpoint { lane, base64 },
            Kind::Repair => Item::Repair { lane, base64 },
            Kind::Usage => Item::Usage { lane, base64 },
            Kind::CommandUsage => Item::CommandUsage { lane, base64 },
        })?;
        self.checkpoints += u64::from(kind == Kind::Checkpoint);
        Ok(())
    }

    fn line(&mut self, item: Item) -> anyhow::Result<()> {
        let v = if matches!(item, Item::Usage { .. } | Item::CommandUsage { .. }) { VERSION } else { OLDEST };
        let mut line = serde_json::to_vec(&Line { v, item })?;
        line.push(b'\n');
        self.crc.update(&line);
        self.out.write_all(&line).context("cannot write the export")
    }

    fn end(mut self) -> anyhow::Result<u64> {
        let checkpoints = self.checkpoints;
        let crc32 = self.crc.clone().finalize();
        self.line(Item::End { checkpoints, crc32 })?;
        self.out.flush().context("cannot write the export")?;
        Ok(checkpoints)
    }
}

/// An export that was read to its end and is complete and undamaged.
pub struct Import {
    source: Source,
    /// The keys of objects that go into the state itself, and not into an area of the state.
    keys: Vec<CheckpointKey>,
}

impl Import {
    /// Reads the whole export. Nothing is opened or written.
    ///
    /// # Errors
    /// If it cannot be read, is damaged, or is of a newer release.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let source = Source::of(file)?;
        let mut keys = Vec::new();
        let mut named = BTreeSet::new();
        for stored in source.read()? {
            let Stored { lane, kind, .. } = stored?;
            if matches!(kind, Kind::Repair | Kind::CommandUsage) {
                continue;
            }
            ensure!(named.insert(lane.to_string()), "the export is damaged: it has two checkpoints of lane {lane}");
            keys.push(lane);
        }
        Ok(Self { source, keys })
    }

    /// Writes the checkpoints into `store`.
    pub async fn write(&self, store: &dyn Store, state: &StateArgs, replace: bool) -> anyhow::Result<()> {
        let target = Target { state, store, replace };
        target.refuse_to_replace(&self.keys).await?;
        for stored in self.source.read()? {
            target.put(stored?).await?;
        }
        let checkpoints = self.keys.iter().filter(|key| !key.part.is_usage()).count();
        Ok(print_line(format!("{checkpoints} checkpoints imported into {}", state.state))?)
    }
}

/// The store that an export is imported into.
struct Target<'a> {
    state: &'a StateArgs,
    store: &'a dyn Store,
    replace: bool,
}

impl Target<'_> {
    async fn refuse_to_replace(&self, keys: &[CheckpointKey]) -> anyhow::Result<()> {
        self.store.prepare().await?;
        let existing: BTreeSet<CheckpointKey> = self.store.list().await?.into_iter().collect();
        let mut conflicts = keys.iter().filter(|key| existing.contains(*key));
        if let Some(first) = conflicts.next()
            && !self.replace
        {
            let more = match conflicts.count() {
                0 => String::new(),
                more => format!(", and of {more} more"),
            };
            bail!("there is a checkpoint of {first} already{more}; nothing was imported (use --replace to replace it)");
        }
        Ok(())
    }

    async fn put(&self, stored: Stored) -> anyhow::Result<()> {
        let area = match stored.kind {
            Kind::Checkpoint | Kind::Usage => return self.put_into(self.store, stored).await,
            Kind::Repair => {
                let area = if let StoredPart::Replays { .. } = stored.lane.part { replays_area } else { repairs_area };
                area(&stored.lane.lane.pipeline)
            }
            Kind::CommandUsage => usage_area().to_owned(),
        };
        let StateArgs { state, instance } = self.state;
        let access = Access::Write { owner: &process_identity() };
        let opened = state.open(instance, access, Some(&area)).await?;
        let result = self.put_into(&*opened, stored).await;
        opened.close().await;
        result
    }

    async fn put_into(&self, store: &dyn Store, stored: Stored) -> anyhow::Result<()> {
        let Stored { lane, mut bytes, journal, .. } = stored;
        // After the claim, no other process writes this lane.
        if let Some(replaced) = store.claim(&lane).await? {
            if !self.replace && lane.part.is_usage() {
                note(format!("{lane} is unchanged in the store: --replace writes the export's"));
                return Ok(());
            }
            if !self.replace {
                return Err(StateError::Exists(lane).into());
            }
            // This deletes the journal too, which must not be mixed with the imported one.
            store.delete(&lane).await?;
            if lane.part.is_usage() {
                store.commit(&lane, bytes.into()).await?;
                return Ok(());
            }
            let time = |bytes: &[u8]| match LaneCheckpoint::decode(bytes) {
                Ok(checkpoint) => checkpoint.position.complete_until().to_string(),
                Err(_) => "an unreadable checkpoint".to_owned(),
            };
            print_line(format!("{lane} moved from {} to {}", time(&replaced), time(&bytes)))?;
        }
        let mut appends = Vec::new();
        if lane.part.is_usage() || store.keeps_journals() {
            appends.extend(journal.into_iter().map(|(segment, bytes)| Append { segment, offset: 0, bytes }));
        } else if InStore::of(Some(&bytes)).has_journal() {
            let mut checkpoint = LaneCheckpoint::decode(&bytes)?;
            checkpoint.leave_journal(&journal)?;
            bytes = checkpoint.encode();
        }
        let journal = JournalChange { appends, released: Vec::new() };
        store.commit(&lane, CheckpointUpdate { checkpoint: bytes, journal }).await?;
        Ok(())
    }
}

/// The input of an import, which is read twice.
enum Source {
    File(PathBuf),
    /// The content of standard input.
    Bytes(Vec<u8>),
}

impl Source {
    fn of(file: &Path) -> anyhow::Result<Self> {
        if file != Path::new("-") {
            return Ok(Self::File(file.to_owned()));
        }
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).context("cannot read standard input")?;
        Ok(Self::Bytes(bytes))
    }

    fn read(&self) -> anyhow::Result<Reader<'_>> {
        let lines: Box<dyn BufRead> = match self {
            Self::File(path) => {
                let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
                Box::new(BufReader::new(file))
            }
            Self::Bytes(bytes) => Box::new(Cursor::new(bytes)),
        };
        Ok(Reader { lines, crc: crc32fast::Hasher::new(), number: 0, checkpoints: 0, ended: false, journal: None })
    }
}

/// Iterates over the checkpoints of an export. After an error, the iterator ends.
struct Reader<'a> {
    lines: Box<dyn BufRead + 'a>,
    crc: crc32fast::Hasher,
    /// Number of the last line that was read, starting at one.
    number: u64,
    checkpoints: u64,
    ended: bool,
    /// The journal read so far of the lane whose checkpoint follows.
    journal: Option<(String, BTreeMap<u64, Vec<u8>>)>,
}

impl Iterator for Reader<'_> {
    type Item = anyhow::Result<Stored>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.line() {
                Ok(Some(stored)) => return Some(Ok(stored)),
                Ok(None) => {}
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error.context(format!("the export, line {}", self.number))));
                }
            }
        }
        None
    }
}

impl Reader<'_> {
    fn line(&mut self) -> anyhow::Result<Option<Stored>> {
        self.number += 1;
        let line = read_line(&mut self.lines, MAX_LINE)?;
        ensure!(line.last() == Some(&b'\n'), "it is truncated: its last line is missing");
        let version: Version = serde_json::from_slice(&line).context("it is not a file of `state export`")?;
        ensure!(
            version.v <= VERSION,
            "a newer release wrote it (version {}, this release reads up to {VERSION}): use that release",
            version.v
        );
        let before = self.crc.clone();
        self.crc.update(&line);
        let Line { item, .. } = serde_json::from_slice(&line)?;
        ensure!(matches!(item, Item::Export { .. }) == (self.number == 1), "it is not a file of `state export`");
        match item {
            Item::Export { .. } => Ok(None),
            Item::Journal { lane, segment, base64 } => {
                let (of, journal) = self.journal.get_or_insert_with(|| (lane.clone(), BTreeMap::new()));
                ensure!(*of == lane, "it is damaged: a journal of {of} without its checkpoint");
                journal.insert(segment, BASE64_STANDARD.decode(base64)?);
                Ok(None)
            }
            Item::Checkpoint { lane, base64 } => {
                self.checkpoints += 1;
                self.stored(&lane, &base64, Kind::Checkpoint).map(Some)
            }
            Item::Repair { lane, base64 } => self.stored(&lane, &base64, Kind::Repair).map(Some),
            Item::Usage { lane, base64 } => self.stored(&lane, &base64, Kind::Usage).map(Some),
            Item::CommandUsage { lane, base64 } => self.stored(&lane, &base64, Kind::CommandUsage).map(Some),
            Item::End { checkpoints, crc32 } => {
                ensure!(crc32 == before.finalize(), "it is damaged: its checksum is wrong");
                ensure!(checkpoints == self.checkpoints && self.journal.is_none(), "it is damaged: lines are missing");
                self.ended = true;
                Ok(None)
            }
        }
    }

    fn stored(&mut self, name: &str, base64: &str, kind: Kind) -> anyhow::Result<Stored> {
        let lane: CheckpointKey = name.parse().with_context(|| format!("it is damaged: `{name}` is not a lane"))?;
        let (of, journal) = self.journal.take().unwrap_or_else(|| (name.to_owned(), BTreeMap::new()));
        let bytes = BASE64_STANDARD.decode(base64)?;
        let is_usage = matches!(kind, Kind::Usage | Kind::CommandUsage);
        ensure!(is_usage == lane.part.is_usage(), "it is damaged: {lane} is something else");
        if is_usage {
            Usage::decode(&bytes).with_context(|| lane.to_string())?;
            return Ok(Stored { lane, kind, bytes, journal });
        }
        let checkpoint = LaneCheckpoint::decode(&bytes).with_context(|| format!("lane {lane}"))?;
        let complete = !InStore::of(Some(&bytes)).has_journal() || checkpoint.is_complete_with(&journal);
        ensure!(of == name && complete, "it is damaged: a part of the journal of {lane} is missing");
        Ok(Stored { lane, kind, bytes, journal })
    }
}

/// Reads a line with its line feed, if it has one. A file that is no export may have one endless line.
fn read_line(lines: &mut dyn BufRead, longest: u64) -> anyhow::Result<Vec<u8>> {
    let mut line = Vec::new();
    lines.take(longest + 1).read_until(b'\n', &mut line)?;
    ensure!(line.len() as u64 <= longest, "it is not a file of `state export`: a line has more than {longest} bytes");
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_an_end_is_not_read_to_its_end() {
        let mut endless = BufReader::new(std::io::repeat(b'x'));
        let error = read_line(&mut endless, 1_000).unwrap_err().to_string();
        assert_eq!(error, "it is not a file of `state export`: a line has more than 1000 bytes");
        let mut lines = Cursor::new(b"0123456789\n0123456789");
        assert_eq!(read_line(&mut lines, 11).unwrap(), b"0123456789\n");
        assert_eq!(read_line(&mut lines, 11).unwrap(), b"0123456789");
        assert!(read_line(&mut Cursor::new(b"0123456789\n"), 10).is_err());
    }
}
