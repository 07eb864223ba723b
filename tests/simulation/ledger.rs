//! What one lane's sink, dead letters and store saw, and whether the promises allow it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use s1_forwarder::lane::Standing;
use s1_forwarder::record::Timestamp;
use s1_forwarder::source::Checkpoint;
use tokio::time::Instant;

use crate::nature::Version;

/// One run of the lane, from its start to its end or death.
#[derive(Debug)]
pub struct Life {
    end: Option<End>,
    /// Start of the last write that is in the store, and whether the last attempt failed.
    saved: Option<Duration>,
    save_failed: bool,
    /// What later lives repeated of this one though its checkpoint should have covered it, batches in flight aside.
    repeated: usize,
    /// Acknowledged versions of each record, to see their order.
    newest: HashMap<u64, i64>,
    pub acknowledged: u64,
    pub letters: u64,
}

#[derive(Debug, Clone, Copy)]
enum End {
    /// What was acknowledged before the moment must be in the checkpoint.
    Killed {
        covered_until: Option<Duration>,
    },
    Orderly,
}

/// What became of an event when it was sent last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// On the wire.
    Sent,
    /// Taken, and the lane was told.
    Acknowledged(Duration),
    /// Kept as a dead letter.
    Kept(Duration),
    /// Taken (or kept), and the lane was told otherwise.
    Lost,
    /// Taken, and the lane died before it was told.
    Cut,
}

#[derive(Debug)]
pub struct Ledger {
    pub lives: Vec<Life>,
    last: HashMap<u64, (usize, Fate)>,
    settled: HashSet<u64>,
    refused: HashSet<u64>,
    letters: HashSet<u64>,
    pub stored: Option<Vec<u8>>,
    /// Segments of the lane's journal.
    pub journal: HashMap<u64, Vec<u8>>,
    checkpoint: Option<Checkpoint>,
    in_flight: usize,
    begun: Instant,
    pub taken: usize,
    pub repeats: usize,
}

impl Ledger {
    /// `in_flight` events may be beyond the acknowledged prefix.
    pub fn new(in_flight: usize) -> Self {
        Self {
            lives: Vec::new(),
            last: HashMap::new(),
            settled: HashSet::new(),
            refused: HashSet::new(),
            letters: HashSet::new(),
            stored: None,
            journal: HashMap::new(),
            checkpoint: None,
            in_flight,
            begun: Instant::now(),
            taken: 0,
            repeats: 0,
        }
    }

    pub fn begin(&mut self) -> usize {
        self.lives.push(Life {
            end: None,
            saved: None,
            save_failed: false,
            repeated: 0,
            newest: HashMap::new(),
            acknowledged: 0,
            letters: 0,
        });
        self.lives.len() - 1
    }

    /// The lane ended by itself: nothing of what it did may be repeated.
    pub fn end_orderly(&mut self, life: usize) {
        self.lives[life].end = Some(End::Orderly);
    }

    /// The lane was killed now. `freshness`: a store that works has everything that is older.
    pub fn end_killed(&mut self, life: usize, freshness: Duration) {
        let now = self.begun.elapsed();
        let life = &mut self.lives[life];
        let covered_until = match (life.saved, life.save_failed) {
            (saved, true) => saved,
            (saved, false) => saved.max(Some(now.saturating_sub(freshness))),
        };
        life.end = Some(End::Killed { covered_until });
    }

    /// The sink takes an event.
    pub fn take(&mut self, life: usize, version: &Version) -> Result<(), String> {
        self.taken += 1;
        let before = self.last.insert(version.key, (life, Fate::Sent));
        self.judge(life, before, version)
    }

    /// A dead letter is kept.
    pub fn keep(&mut self, life: usize, version: &Version) -> Result<(), String> {
        let before = self.last.insert(version.key, (life, Fate::Kept(self.begun.elapsed())));
        self.settled.insert(version.key);
        self.letters.insert(version.key);
        self.lives[life].letters += 1;
        if !self.refused.contains(&version.key) {
            return Err(format!("{version:?} is a dead letter, but was not refused"));
        }
        self.judge(life, before, version)
    }

    /// A dead letter was kept, but the lane was told otherwise, or nothing.
    pub fn kept_unknown(&mut self, life: usize, key: u64, told: bool) {
        self.lives[life].letters -= 1;
        self.last.insert(key, (life, if told { Fate::Lost } else { Fate::Cut }));
    }

    /// Promises 3 and 6: who may send an event again that came before.
    fn judge(&mut self, life: usize, before: Option<(usize, Fate)>, version: &Version) -> Result<(), String> {
        let Some((earlier, fate)) = before else { return Ok(()) };
        self.repeats += 1;
        if fate == Fate::Lost {
            return Ok(());
        }
        let allowed = self.in_flight;
        let life_before = &mut self.lives[earlier];
        let Some(End::Killed { covered_until }) = life_before.end.filter(|_| earlier < life) else {
            return Err(format!(
                "{version:?} came twice: {fate:?} in life {earlier} ({:?}), sent again in life {life}",
                life_before.end
            ));
        };
        match fate {
            Fate::Acknowledged(at) | Fate::Kept(at) if covered_until.is_none_or(|until| at >= until) => return Ok(()),
            _ => life_before.repeated += 1,
        }
        if life_before.repeated > allowed {
            let repeated = life_before.repeated;
            return Err(format!(
                "{repeated} events of life {earlier} came again after its kill, {allowed} were in flight at most; the last is {version:?}: {fate:?}"
            ));
        }
        Ok(())
    }

    /// The lane is told that the sink has taken the event. `in_order`: versions must not overtake each other.
    pub fn acknowledge(&mut self, life: usize, version: &Version, in_order: bool) -> Result<(), String> {
        self.last.insert(version.key, (life, Fate::Acknowledged(self.begun.elapsed())));
        self.settled.insert(version.key);
        let life = &mut self.lives[life];
        life.acknowledged += 1;
        let newest = life.newest.insert(version.id, version.changed);
        match newest {
            Some(newest) if in_order && newest > version.changed => {
                Err(format!("{version:?} came after a newer version"))
            }
            _ => Ok(()),
        }
    }

    /// The lane is told that the sink has not taken the event, though it has.
    pub fn lose(&mut self, life: usize, key: u64) {
        self.last.insert(key, (life, Fate::Lost));
    }

    /// The lane died before the answer.
    pub fn cut(&mut self, life: usize, key: u64) {
        self.last.insert(key, (life, Fate::Cut));
    }

    /// The lane is told that the sink refuses this one event for good.
    pub fn refuse(&mut self, key: u64) {
        self.refused.insert(key);
    }

    /// A write reaches the store. What it says must be true (promise 1).
    pub fn store(
        &mut self,
        life: usize,
        begun: Instant,
        bytes: &[u8],
        owed: impl FnOnce(Timestamp, Timestamp) -> Vec<Version>,
        left_out: impl Fn(u64) -> bool,
    ) -> Result<(), String> {
        self.lives[life].saved = Some(begun.duration_since(self.begun));
        self.lives[life].save_failed = false;
        let checkpoint = Standing::decode(bytes).map_err(|error| error.to_string())?.checkpoint;
        let before = self.checkpoint.replace(checkpoint.clone());
        self.stored = Some(bytes.to_vec());
        // What every pass has left behind is never read again.
        let bound = checkpoint.position.tracks().map(|(_, track)| track.bound()).min().unwrap_or_default();
        if let Some(before) = before {
            if before.since_resolved != checkpoint.since_resolved {
                return Err(format!("since moved from {} to {}", before.since_resolved, checkpoint.since_resolved));
            }
            for ((name, before), (_, now)) in before.position.tracks().zip(checkpoint.position.tracks()) {
                if before.bound() > now.bound() {
                    return Err(format!("the bound of {name} moved back from {} to {}", before.bound(), now.bound()));
                }
            }
        }
        for versions in checkpoint.position.tracks().flat_map(|(_, track)| track.versions()) {
            if let Some(key) = versions.iter().find(|key| !self.settled.contains(key) && !left_out(**key)) {
                return Err(format!("key {key} is in the store, but its event is not settled"));
            }
        }
        let lost = owed(checkpoint.since_resolved, bound).into_iter().find(|version| !self.is_settled(version.key));
        lost.map_or(Ok(()), |version| {
            Err(format!("the stored bound {bound} has passed {version:?}, which is not settled"))
        })
    }

    pub fn save_failed(&mut self, life: usize) {
        self.lives[life].save_failed = true;
    }

    pub fn since(&self) -> Option<Timestamp> {
        self.checkpoint.as_ref().map(|checkpoint| checkpoint.since_resolved)
    }

    pub fn is_settled(&self, key: u64) -> bool {
        self.settled.contains(&key)
    }

    /// Whether the stored checkpoint is behind a version that leaves no other trace.
    pub fn has_read(&self, version: &Version) -> bool {
        self.checkpoint.iter().flat_map(|checkpoint| checkpoint.position.tracks()).any(|(_, track)| {
            track.bound().micros() > version.time || track.versions().any(|keys| keys.contains(&version.key))
        })
    }

    pub fn is_letter(&self, key: u64) -> bool {
        self.letters.contains(&key)
    }
}
