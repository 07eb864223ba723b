//! Any number of identities, sorted in a temporary file.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use s1_forwarder_record::Identity;

/// Number of identities that are sorted in memory: 16 MB.
const IN_MEMORY: usize = 1_000_000;
/// Number of sorted files that are merged at a time.
const MAX_FILES: usize = 32;
/// Bytes of the buffer of each file.
const BUFFER: usize = 64 * 1024;
/// Bytes of an entry: an identity, and how often it occurs.
const ENTRY: usize = 20;
/// Number of entries that are read at a time: 80 KB.
const BLOCK: usize = 4_096;

/// Sorts identities that come in any order.
#[derive(Debug)]
pub struct IdentitySorter {
    /// Sorted files.
    files: Vec<File>,
    /// Identities that are in no file yet.
    open: Vec<Identity>,
    in_memory: usize,
}

/// Identities that were sorted, with the number of their copies.
#[derive(Debug)]
pub struct SortedIdentities {
    entries: Entries,
    /// The first identity of each block.
    first: Vec<Identity>,
    distinct: u64,
}

#[derive(Debug)]
enum Entries {
    Memory(Vec<(Identity, u32)>),
    File(File),
}

impl Default for IdentitySorter {
    fn default() -> Self {
        Self::with_memory(IN_MEMORY)
    }
}

impl IdentitySorter {
    fn with_memory(in_memory: usize) -> Self {
        Self { files: Vec::new(), open: Vec::new(), in_memory }
    }

    /// Adds an identity.
    ///
    /// # Errors
    /// If a temporary file cannot be written.
    pub fn add(&mut self, identity: Identity) -> io::Result<()> {
        self.open.push(identity);
        if self.open.len() < self.in_memory {
            return Ok(());
        }
        let mut file = BufWriter::with_capacity(BUFFER, tempfile::tempfile()?);
        counted(&mut self.open, |identity, copies| write_entry(&mut file, identity, copies))?;
        self.open.clear();
        self.files.push(file.into_inner()?);
        if self.files.len() == MAX_FILES {
            let mut merged = BufWriter::with_capacity(BUFFER, tempfile::tempfile()?);
            merge(std::mem::take(&mut self.files), |identity, copies| write_entry(&mut merged, identity, copies))?;
            self.files.push(merged.into_inner()?);
        }
        Ok(())
    }

    /// Sorts all added identities, and counts their copies.
    ///
    /// # Errors
    /// If a temporary file cannot be read or written.
    pub fn finish(mut self) -> io::Result<SortedIdentities> {
        let mut first = Vec::new();
        let mut distinct = 0;
        let mut index = |identity| {
            if distinct % BLOCK as u64 == 0 {
                first.push(identity);
            }
            distinct += 1;
        };
        let entries = if self.files.is_empty() {
            let mut entries = Vec::new();
            counted(&mut self.open, |identity, copies| {
                index(identity);
                entries.push((identity, copies));
                Ok(())
            })?;
            Entries::Memory(entries)
        } else {
            if !self.open.is_empty() {
                let mut file = BufWriter::with_capacity(BUFFER, tempfile::tempfile()?);
                counted(&mut self.open, |identity, copies| write_entry(&mut file, identity, copies))?;
                self.files.push(file.into_inner()?);
            }
            self.open = Vec::new();
            let mut merged = BufWriter::with_capacity(BUFFER, tempfile::tempfile()?);
            merge(self.files, |identity, copies| {
                index(identity);
                write_entry(&mut merged, identity, copies)
            })?;
            Entries::File(merged.into_inner()?)
        };
        Ok(SortedIdentities { entries, first, distinct })
    }
}

impl SortedIdentities {
    /// Returns the number of different identities.
    pub fn distinct(&self) -> u64 {
        self.distinct
    }

    /// Returns how often each of `identities` occurs. `identities` must be sorted.
    ///
    /// # Errors
    /// If the temporary file cannot be read.
    pub fn occurrences(&mut self, identities: &[Identity]) -> io::Result<Vec<u32>> {
        let mut read: Option<(usize, Vec<(Identity, u32)>)> = None;
        let mut found = Vec::with_capacity(identities.len());
        for identity in identities {
            let block = self.first.partition_point(|first| first <= identity).checked_sub(1);
            let Some(block) = block else {
                found.push(0);
                continue;
            };
            let from = block * BLOCK;
            let entries = match &mut self.entries {
                Entries::Memory(entries) => &entries[from..entries.len().min(from + BLOCK)],
                Entries::File(file) => {
                    if read.as_ref().is_none_or(|(number, _)| *number != block) {
                        read = Some((block, read_block(file, from)?));
                    }
                    read.as_ref().map_or(&[][..], |(_, entries)| entries)
                }
            };
            let place = entries.binary_search_by_key(identity, |(identity, _)| *identity);
            found.push(place.ok().and_then(|place| entries.get(place)).map_or(0, |(_, copies)| *copies));
        }
        Ok(found)
    }
}

/// Sorts the identities, and passes each to `take` once, with the number of its copies.
fn counted(identities: &mut [Identity], mut take: impl FnMut(Identity, u32) -> io::Result<()>) -> io::Result<()> {
    identities.sort_unstable();
    for same in identities.chunk_by(|one, other| one == other) {
        if let [identity, ..] = same {
            take(*identity, u32::try_from(same.len()).unwrap_or(u32::MAX))?;
        }
    }
    Ok(())
}

/// Passes the identities of sorted files to `take` in order, each once, with the number of its copies.
fn merge(files: Vec<File>, mut take: impl FnMut(Identity, u32) -> io::Result<()>) -> io::Result<()> {
    let mut files: Vec<BufReader<File>> =
        files.into_iter().map(|file| BufReader::with_capacity(BUFFER, file)).collect();
    let mut next = BinaryHeap::new();
    for (number, file) in files.iter_mut().enumerate() {
        file.seek(SeekFrom::Start(0))?;
        next.extend(read_entry(file)?.map(|entry| Reverse((entry, number))));
    }
    let mut open: Option<(Identity, u32)> = None;
    while let Some(Reverse(((identity, copies), number))) = next.pop() {
        open = match open {
            Some((same, before)) if same == identity => Some((same, before.saturating_add(copies))),
            Some((other, before)) => {
                take(other, before)?;
                Some((identity, copies))
            }
            None => Some((identity, copies)),
        };
        if let Some(file) = files.get_mut(number) {
            next.extend(read_entry(file)?.map(|entry| Reverse((entry, number))));
        }
    }
    open.map_or(Ok(()), |(identity, copies)| take(identity, copies))
}

fn write_entry(file: &mut impl Write, identity: Identity, copies: u32) -> io::Result<()> {
    file.write_all(&identity.bytes())?;
    file.write_all(&copies.to_le_bytes())
}

/// Reads an entry; `None` at the end of the file.
fn read_entry(file: &mut impl Read) -> io::Result<Option<(Identity, u32)>> {
    let mut entry = [0; ENTRY];
    match file.read_exact(&mut entry) {
        Ok(()) => Ok(Some(entry_of(&entry))),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn entry_of(bytes: &[u8; ENTRY]) -> (Identity, u32) {
    let mut identity = [0; 16];
    let mut copies = [0; 4];
    identity.copy_from_slice(&bytes[..16]);
    copies.copy_from_slice(&bytes[16..]);
    (Identity::from_bytes(identity), u32::from_le_bytes(copies))
}

fn read_block(file: &mut File, from: usize) -> io::Result<Vec<(Identity, u32)>> {
    file.seek(SeekFrom::Start((from * ENTRY) as u64))?;
    let mut bytes = Vec::with_capacity(BLOCK * ENTRY);
    file.take((BLOCK * ENTRY) as u64).read_to_end(&mut bytes)?;
    Ok(bytes.as_chunks::<ENTRY>().0.iter().map(entry_of).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn identity(number: u32) -> Identity {
        let mut bytes = [0; 16];
        // The identities are not in the order of the numbers.
        bytes[..4].copy_from_slice(&number.wrapping_mul(0x9E37_79B9).to_be_bytes());
        Identity::from_bytes(bytes)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 30, failure_persistence: None, ..ProptestConfig::default() })]

        /// The identities are in memory, in one file, or in files that are merged more than once.
        #[test]
        fn each_identity_is_counted(
            numbers in prop::collection::vec(0_u32..3_000, 0..6_000),
            in_memory in prop_oneof![Just(50_usize), Just(1_000), Just(IN_MEMORY)],
        ) {
            let mut sorter = IdentitySorter::with_memory(in_memory);
            let mut expected: BTreeMap<Identity, u32> = BTreeMap::new();
            for number in &numbers {
                sorter.add(identity(*number)).unwrap();
                *expected.entry(identity(*number)).or_default() += 1;
            }
            let mut sorted = sorter.finish().unwrap();
            prop_assert_eq!(sorted.distinct(), expected.len() as u64);
            let mut asked: Vec<_> = (0..3_100).map(identity).collect();
            asked.sort_unstable();
            let found = sorted.occurrences(&asked).unwrap();
            for (identity, copies) in asked.iter().zip(found) {
                prop_assert_eq!(copies, expected.get(identity).copied().unwrap_or_default());
            }
        }
    }
}
