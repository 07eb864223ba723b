//! Types of the table of attributes that OCSF 1.3.0 lacks.

/// A class of 1.3.0.
#[derive(Debug)]
pub(super) struct Class {
    pub uid: u32,
    pub name: &'static str,
    pub category: &'static str,
    pub activities: &'static [(u32, &'static str)],
    pub kind: Kind,
}

/// The differences in an object, or in the attributes of a class.
#[derive(Debug)]
pub(super) struct Kind {
    /// The name of the object in OCSF.
    pub name: &'static str,
    /// Attributes that only 1.3.0 requires, or that may have been lost.
    pub required: &'static [&'static str],
    /// Attributes of which 1.3.0, unlike 1.9.0, requires one. Empty if there are none.
    pub one_of: &'static [&'static str],
    /// Sorted by their names. An attribute without a row is the same in both versions.
    pub rows: &'static [Row],
}

#[derive(Debug)]
pub(super) struct Row {
    name: &'static str,
    head: u64,
    /// The bit of the profile that the attribute belongs to, else 0.
    pub profile: u16,
    pub rule: Rule,
}

#[derive(Debug)]
pub(super) enum Rule {
    /// The attribute is the same in both versions. Only its profile is noted.
    Same,
    Absent,
    /// An object of this kind, or a list of such objects.
    Object(&'static Kind),
    /// Numbers of the enum that 1.3.0 does not have.
    Values(&'static [u32]),
}

impl Row {
    pub const fn new(name: &'static str, profile: u16, rule: Rule) -> Self {
        Self { name, head: head(name), profile, rule }
    }
}

/// Returns the first eight bytes of a name as a number. Numbers sort as names do, and most rows have different numbers.
const fn head(name: &str) -> u64 {
    let name = name.as_bytes();
    if let Some(first) = name.first_chunk::<8>() {
        return u64::from_be_bytes(*first);
    }
    let mut head = 0;
    let mut at = 0;
    while at < name.len() {
        head |= (name[at] as u64) << (56 - 8 * at);
        at += 1;
    }
    head
}

impl Kind {
    pub fn row(&self, name: &str) -> Option<&'static Row> {
        let head = head(name);
        let first = self.rows.partition_point(|row| row.head < head);
        self.rows.get(first..)?.iter().take_while(|row| row.head == head).find(|row| row.name == name)
    }
}

impl Class {
    /// Returns the name of an activity, if the class has it.
    pub fn activity(&self, id: u32) -> Option<&'static str> {
        self.activities.iter().find(|(known, _)| *known == id).map(|(_, name)| *name)
    }
}
