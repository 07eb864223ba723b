//! Mutations of bytes, and of the trees of JSON.

use fastrand::Rng;
use serde_json::{Map, Value};

/// Larger inputs find nothing that smaller ones do not.
const MAX_BYTES: usize = 64 * 1024;

/// What parsers stumble over.
const HOSTILE: &[&str] = &[
    "",
    "null",
    "true",
    "0",
    "-0",
    "-1",
    "1e999",
    "-1e-999",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775809",
    "0.1e1",
    "NaN",
    "[]",
    "{}",
    "[[[[[[[[",
    "{\"a\":{\"a\":{\"a\":",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "\\udfff\\ud800",
    "\u{0}",
    "\u{1b}[31m",
    "\u{202e}",
    "\u{feff}",
    "\u{10ffff}",
    "é",
    "ß",
    "İ",
    "\r\n",
    "\n",
    "\t",
    " ",
    ",",
    ":",
    "-",
    "+",
    ".",
    "..",
    "/",
    "//",
    "%",
    "%00",
    "%2e%2e",
    "$",
    "${x}",
    "{}",
    "{{",
    "}}",
    "2022-04-06T08:45:54.519988Z",
    "9999-12-31T23:59:59.999999Z",
    "0000-00-00T00:00:00Z",
    "-0001-01-01T00:00:00Z",
    "1970-01-01T00:00:00+99:99",
    "10.0.0.1",
    "::1",
    "fe80::1%eth0",
    "256.256.256.256",
    "N/A",
    "unknown",
    "<html>",
    "{\"data\":[],\"pagination\":{\"nextCursor\":null}}",
    "{\"errors\":[{\"title\":\"x\"}]}",
];

/// Lengths at which limits and buffers are.
const LENGTHS: &[usize] = &[2, 15, 16, 31, 64, 127, 128, 199, 200, 201, 255, 256, 1023, 1024, 4096, 16_384];

pub struct Mutator {
    random: Rng,
    words: &'static [&'static str],
    header: usize,
}

impl Mutator {
    pub fn new(seed: u64, words: &'static [&'static str], header: usize) -> Self {
        Self { random: Rng::with_seed(seed), words, header }
    }

    /// A number below `end`; 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { self.random.usize(..end) }
    }

    fn one_of<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }

    fn word(&mut self) -> &'static str {
        if self.words.is_empty() || self.random.bool() { self.one_of(HOSTILE) } else { self.one_of(self.words) }
    }

    /// A mutation of one of the seeds.
    pub fn input(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = seeds[self.below(seeds.len())].clone();
        if input.len() < self.header {
            input.resize(self.header, 0);
        }
        if self.below(4) == 0 {
            for byte in input.iter_mut().take(self.header) {
                if self.random.bool() {
                    *byte = self.random.u8(..);
                }
            }
        }
        let mut body = input.split_off(self.header);
        let other = &seeds[self.below(seeds.len())];
        let other = other.get(self.header..).unwrap_or_default();
        let tree = if self.below(3) > 0 { serde_json::from_slice::<Value>(&body).ok() } else { None };
        if let Some(mut tree) = tree {
            let other = serde_json::from_slice(other).ok();
            for _ in 0..=self.below(4) {
                self.change_tree(&mut tree, other.as_ref());
            }
            body = serde_json::to_vec(&tree).unwrap();
        }
        // A valid tree is left as it is in most cases.
        if serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_err() || self.below(4) == 0 {
            for _ in 0..=self.below(5) {
                self.change_bytes(&mut body, other);
            }
        }
        body.truncate(MAX_BYTES);
        input.extend_from_slice(&body);
        input
    }

    /// A part of `bytes`, mostly a short one.
    fn range(&mut self, bytes: &[u8]) -> std::ops::Range<usize> {
        let start = self.below(bytes.len() + 1);
        let most = if self.below(4) == 0 { bytes.len() - start } else { (bytes.len() - start).min(16) };
        start..start + self.below(most + 1)
    }

    fn change_bytes(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(bytes.len() + 1);
        match self.below(12) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => bytes[at] = self.random.u8(..),
            2 => drop(bytes.drain(self.range(bytes))),
            3 => {
                let part = bytes[self.range(bytes)].to_vec();
                bytes.splice(at..at, part);
            }
            4 => {
                let part = other[self.range(other)].to_vec();
                bytes.splice(at..at, part);
            }
            5 => {
                let place = self.range(bytes);
                let part = other[self.range(other)].to_vec();
                bytes.splice(place, part);
            }
            6 => bytes.truncate(at),
            7 => {
                let part = bytes[self.range(bytes)].to_vec();
                let times = self.one_of(&LENGTHS.iter().collect::<Vec<_>>());
                let times = (*times).min(MAX_BYTES / part.len().max(1));
                bytes.splice(at..at, part.repeat(times));
            }
            8 => {
                // The number at or after this place.
                let Some(from) = bytes[at..].iter().position(u8::is_ascii_digit).map(|from| at + from) else { return };
                let length = bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                let number = match self.below(4) {
                    0 => self.random.u64(..).to_string(),
                    1 => self.random.u8(..).to_string(),
                    2 => "9".repeat(1 + self.below(40)),
                    _ => self.random.i64(..).to_string(),
                };
                bytes.splice(from..from + length, number.into_bytes());
            }
            9 => {
                let random: Vec<u8> = (0..self.below(9)).map(|_| self.random.u8(..)).collect();
                bytes.splice(at..at, random);
            }
            10 => {
                let place = self.range(bytes);
                let word = self.word();
                bytes.splice(place, word.bytes());
            }
            _ => {
                let word = self.word();
                bytes.splice(at..at, word.bytes());
            }
        }
    }

    fn hostile(&mut self) -> Value {
        match self.below(12) {
            0 => Value::Null,
            1 => Value::Bool(self.random.bool()),
            2 => self.random.i64(..).into(),
            3 => self.random.u64(..).into(),
            4 => (self.random.f64() * 10_f64.powi(self.random.i32(-300..300))).into(),
            5 => Value::Array(Vec::new()),
            6 => Value::Object(Map::new()),
            7 => {
                let times = *self.one_of(&LENGTHS.iter().collect::<Vec<_>>());
                let word = self.word();
                Value::String(word.repeat(times.min(20_000 / word.len().max(1))))
            }
            8 => {
                let depth = self.below(150);
                (0..depth).fold(Value::Null, |inner, level| match level % 2 {
                    0 => Value::Array(vec![inner]),
                    _ => Value::Object(Map::from_iter([("a".to_owned(), inner)])),
                })
            }
            9 => (0..self.below(300)).map(Value::from).collect(),
            _ => self.word().into(),
        }
    }

    /// Changes one value of the tree.
    fn change_tree(&mut self, tree: &mut Value, other: Option<&Value>) {
        let mut node = tree;
        // Down to a random depth.
        while self.below(5) > 0 {
            let length = match &*node {
                Value::Array(list) => list.len(),
                Value::Object(map) => map.len(),
                _ => 0,
            };
            if length == 0 {
                break;
            }
            let at = self.below(length);
            node = match node {
                Value::Array(list) => &mut list[at],
                Value::Object(map) => map.values_mut().nth(at).unwrap(),
                _ => unreachable!(),
            };
        }
        match (self.below(9), &mut *node) {
            (0, Value::Object(map)) if !map.is_empty() => {
                let key = map.keys().nth(self.below(map.len())).unwrap().clone();
                map.remove(&key);
            }
            (1, Value::Object(map)) if !map.is_empty() => {
                let key = map.keys().nth(self.below(map.len())).unwrap().clone();
                let value = map[&key].clone();
                map.insert(self.word().to_owned(), value);
            }
            (2, Value::Object(map)) => {
                let key = self.word().to_owned();
                let value = self.hostile();
                map.insert(key, value);
            }
            (0, Value::Array(list)) if !list.is_empty() => drop(list.remove(self.below(list.len()))),
            (1 | 2, Value::Array(list)) if !list.is_empty() => {
                let copy = list[self.below(list.len())].clone();
                for _ in 0..=self.below(20) {
                    list.insert(self.below(list.len() + 1), copy.clone());
                }
            }
            (3, Value::String(text)) => {
                let at = (0..=self.below(text.len() + 1).min(text.len())).rev().find(|at| text.is_char_boundary(*at));
                text.insert_str(at.unwrap_or(0), self.word());
            }
            (4, node) => {
                if let Some(other) = other {
                    *node = self.part_of(other).clone();
                }
            }
            (5, node) => *node = Value::Array(vec![node.take()]),
            (6, node) => *node = node.to_string().into(),
            (_, node) => *node = self.hostile(),
        }
    }

    fn part_of<'v>(&mut self, tree: &'v Value) -> &'v Value {
        let mut node = tree;
        while self.below(4) > 0 {
            let next = match node {
                Value::Array(list) if !list.is_empty() => list.get(self.below(list.len())),
                Value::Object(map) => map.values().nth(self.below(map.len())),
                _ => None,
            };
            let Some(next) = next else { break };
            node = next;
        }
        node
    }
}
