//! A YAML file as a tree of nodes with line and column.
//!
//! It is built from the events of the parser. Existing tree types silently drop repeated keys, and read large ids as
//! floating point numbers.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, StrInput};

use super::problem::{MAX_PROBLEMS, Place, Problem, Severity};

/// A value with its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub value: Value,
    pub place: Place,
    /// Whether the value was refused and reported. It is skipped when the tree is read again.
    pub refused: Cell<bool>,
}

/// A value by the core schema of YAML 1.2.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Unsigned(u64),
    Negative(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub key: String,
    pub place: Place,
    pub node: Node,
}

impl Node {
    pub fn new(value: Value, place: Place) -> Self {
        Self { value, place, refused: Cell::new(false) }
    }

    /// Returns the entries of a mapping; none for another value.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// Returns the node at `keys`, or the innermost one on the path to it: the place of a problem with a default.
    pub fn nearest(&self, keys: &[&str]) -> &Node {
        let mut node = self;
        for key in keys {
            match node.get(key) {
                Some(inner) => node = inner,
                None => return node,
            }
        }
        node
    }

    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the elements of a list; none for another value.
    pub fn list(&self) -> &[Node] {
        match &self.value {
            Value::List(elements) => elements,
            _ => &[],
        }
    }

    /// Returns the type in words, for messages that must not show the value.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Unsigned(_) | Value::Negative(_) | Value::Float(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// Maximum size of a pipeline file. Real files are far smaller.
pub(super) const MAX_BYTES: usize = 1024 * 1024;
const MAX_DEPTH: usize = 32;
const INCOMPLETE: &str = "an alias of something that is not complete yet";
/// Maximum size of the tree: nodes, and bytes of keys and texts. Limits what aliases repeat: aliases of aliases, and
/// aliases of a long text.
const MAX_TREE: usize = 4 * MAX_BYTES;
/// Size of a node besides its text.
const NODE: usize = 40;

/// Reads one document. Without valid YAML there is no tree. With repeated keys there are a tree and problems.
pub(super) fn parse(text: &str, file: &Arc<Path>) -> (Option<Node>, Vec<Problem>) {
    let mut builder = Builder {
        parser: Parser::new_from_str(text),
        text,
        file: Arc::clone(file),
        anchors: HashMap::new(),
        size: 0,
        path: String::new(),
        problems: Vec::new(),
    };
    let root = match builder.document() {
        Ok(root) => root,
        Err(problem) => {
            builder.problems.push(*problem);
            None
        }
    };
    (root, builder.problems)
}

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    text: &'a str,
    file: Arc<Path>,
    anchors: HashMap<usize, Node>,
    /// See [`MAX_TREE`].
    size: usize,
    /// The keys on the path to the current node.
    path: String,
    problems: Vec<Problem>,
}

type Fallible<T> = Result<T, Box<Problem>>;

impl<'a> Builder<'a> {
    fn document(&mut self) -> Fallible<Option<Node>> {
        let mut root = None;
        loop {
            let (event, place) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root),
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
                _ if root.is_some() => {
                    return Err(self.error(&place, "a second YAML document; one file describes one pipeline"));
                }
                event => root = Some(self.node(event, place, 0)?),
            }
        }
    }

    fn next(&mut self) -> Fallible<(Event<'a>, Place)> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, self.place(&span.start))),
            Some(Err(error)) => {
                let place = self.place(error.marker());
                let message = self
                    .foreign_text(&place)
                    .unwrap_or_else(|| format!("not valid YAML: {}", explain(error.info(), self.line(&place))));
                Err(self.error(&place, message))
            }
            None => Ok((Event::StreamEnd, self.place(&Marker::default()))),
        }
    }

    fn line(&self, place: &Place) -> &'a str {
        self.text.lines().nth((place.line as usize).saturating_sub(1)).unwrap_or_default()
    }

    /// Says what to do about text that another program has left in the file. `None` if this is not why the file cannot
    /// be read.
    fn foreign_text(&self, place: &Place) -> Option<String> {
        let is_conflict = |line: &str| line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ");
        if let Some(number) = self.text.lines().position(is_conflict) {
            return Some(format!(
                "line {} is a conflict marker of git: choose one of the versions, and remove the lines that begin with \
                 <<<<<<<, ======= and >>>>>>>",
                number + 1
            ));
        }
        let line = self.line(place);
        if line.contains("{{") || line.contains("{%") {
            return Some(
                "`{{` is of a template that was not filled in (Helm, Ansible, Jinja): render the file first; a text \
                 that has it needs quotes"
                    .to_owned(),
            );
        }
        if line.trim_start_matches(' ').starts_with(is_odd_blank) {
            return Some(ODD_BLANK.to_owned());
        }
        if let Some((_, rest)) = line.split_once(':')
            && rest.starts_with(is_odd_blank)
        {
            return Some(
                "behind `:` is a blank that is not a space, such as a no-break space (U+00A0) from a web page or a \
                 document: replace it with a space"
                    .to_owned(),
            );
        }
        line.contains(": */").then(|| {
            "`*` at the beginning of a value is an alias in YAML; a schedule of cron is not read here: write a period, \
             such as 5m"
                .to_owned()
        })
    }

    fn place(&self, marker: &Marker) -> Place {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Place { file: Arc::clone(&self.file), line: number(marker.line()).max(1), column: number(marker.col() + 1) }
    }

    fn error(&self, place: &Place, message: impl Into<Cow<'static, str>>) -> Box<Problem> {
        Box::new(Problem::at(place, "", Severity::Error, message))
    }

    fn node(&mut self, event: Event<'a>, place: Place, depth: usize) -> Fallible<Node> {
        self.limit_depth(depth, &place)?;
        self.grow(NODE, &place)?;
        let (value, anchor) = match event {
            Event::Scalar(_, _, _, Some(tag))
            | Event::SequenceStart(_, Some(tag))
            | Event::MappingStart(_, Some(tag))
                if !tag.is_yaml_core_schema() =>
            {
                let message = format!(
                    "`{}{}` is a tag, which a pipeline file does not have: a secret from a file is {{ file: PATH }}, one \
                     from a variable {{ env: NAME }}",
                    tag.handle, tag.suffix
                );
                return Err(self.error(&place, message));
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.grow(text.len(), &place)?;
                let as_text = style != ScalarStyle::Plain
                    || tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
                (if as_text { Value::Text(text.into_owned()) } else { plain(&text) }, anchor)
            }
            Event::SequenceStart(anchor, _) => (self.list(depth)?, anchor),
            Event::MappingStart(anchor, _) => (self.map(depth)?, anchor),
            Event::Alias(anchor) => {
                let Some((size, height)) = self.anchors.get(&anchor).map(|target| (size(target), height(target)))
                else {
                    return Err(self.error(&place, INCOMPLETE));
                };
                // Before it is copied.
                self.limit_depth(depth + height, &place)?;
                self.grow(size, &place)?;
                let target = self.anchors.get(&anchor).cloned();
                return target
                    .map(|target| Node { place: place.clone(), ..target })
                    .ok_or_else(|| self.error(&place, INCOMPLETE));
            }
            _ => return Err(self.error(&place, "not valid YAML")),
        };
        let node = Node::new(value, place);
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    /// Refuses a tree that is too deep: its readers recurse as deep as the tree.
    fn limit_depth(&self, depth: usize, place: &Place) -> Fallible<()> {
        if depth > MAX_DEPTH {
            return Err(self.error(place, "nested too deeply for a pipeline file, with what aliases repeat"));
        }
        Ok(())
    }

    fn grow(&mut self, size: usize, place: &Place) -> Fallible<()> {
        self.size += size;
        if self.size > MAX_TREE {
            return Err(self.error(place, "too large for a pipeline file, with what aliases repeat"));
        }
        Ok(())
    }

    fn list(&mut self, depth: usize) -> Fallible<Value> {
        let mut elements = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(elements)),
                (event, place) => {
                    let above = self.path.len();
                    self.path.push_str(&format!("[{}]", elements.len()));
                    elements.push(self.node(event, place, depth + 1)?);
                    self.path.truncate(above);
                }
            }
        }
    }

    fn map(&mut self, depth: usize) -> Fallible<Value> {
        let mut entries = Vec::new();
        let mut lines = HashMap::new();
        loop {
            let (key, is_merge, place) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Value::Map(entries)),
                (Event::Scalar(key, style, ..), place) => {
                    self.grow(key.len(), &place)?;
                    let is_plain = style == ScalarStyle::Plain;
                    if is_plain && key.starts_with(is_odd_blank) {
                        return Err(self.error(&place, ODD_BLANK));
                    }
                    let is_merge = key == "<<" && is_plain;
                    (key.into_owned(), is_merge, place)
                }
                (_, place) => {
                    let message = self.foreign_text(&place).unwrap_or_else(|| "a key must be a plain word".to_owned());
                    return Err(self.error(&place, message));
                }
            };
            let (event, value_place) = self.next()?;
            let above = self.path.len();
            self.path = join(&self.path, &key);
            let node = self.node(event, value_place, depth + 1)?;
            match lines.get(&key) {
                None if is_merge => {
                    let problem = Problem::at(&place, &self.path, Severity::Error, MERGE_KEY);
                    lines.insert(key, place.line);
                    self.problems.push(problem);
                }
                Some(first) => {
                    let message = format!("this key is given twice; the first is on line {first}");
                    let problem = Problem::at(&place, &self.path, Severity::Error, message);
                    if self.problems.len() >= MAX_PROBLEMS {
                        return Err(Box::new(problem));
                    }
                    self.problems.push(problem);
                }
                None => {
                    lines.insert(key.clone(), place.line);
                    entries.push(Entry { key, place, node });
                }
            }
            self.path.truncate(above);
        }
    }
}

const ODD_BLANK: &str = "the line begins with a blank that is not a space, such as a no-break space (U+00A0) from a web page \
                         or a document: replace it with spaces";

/// Returns whether YAML takes this blank as a part of a word.
fn is_odd_blank(char: char) -> bool {
    char.is_whitespace() && !char.is_ascii_whitespace() || matches!(char, '\u{200b}' | '\u{2060}')
}

const MERGE_KEY: &str = "merge keys (`<<`) are not in YAML 1.2: write the keys out, or give a whole value as an alias \
                         (`batch: *NAME`); what all files have in common belongs into --defaults";

/// Returns `key.inner`, as in [`Problem::key`].
pub(super) fn join(key: &str, inner: &str) -> String {
    if key.is_empty() { inner.to_owned() } else { format!("{key}.{inner}") }
}

fn size(node: &Node) -> usize {
    NODE + node.text().map_or(0, str::len)
        + node.entries().iter().map(|entry| entry.key.len() + size(&entry.node)).sum::<usize>()
        + node.list().iter().map(size).sum::<usize>()
}

/// Returns the number of levels below a node.
fn height(node: &Node) -> usize {
    let inner = node.entries().iter().map(|entry| &entry.node).chain(node.list());
    inner.map(|node| 1 + height(node)).max().unwrap_or_default()
}

/// Adds the usual cause to the parser's message about this line.
fn explain(info: &str, line: &str) -> String {
    if has_bare_placeholder(line) {
        return format!("{info} (put values with {{…}} in quotes)");
    }
    if info.contains("mapping values are not allowed") {
        return format!("{info} (a text with `: ` needs quotes; or the line is indented too far)");
    }
    if info.contains("<document start>") {
        return format!("{info} (is the file YAML? the lines above are a whole document; TOML and INI are not read)");
    }
    if info.contains("parsing a flow") {
        return "within { } and [ ] a comma is needed between the parts, as in { a: 1, b: 2 }: one is missing before \
                this place, or the closing bracket"
            .to_owned();
    }
    if info.contains("in flow construct") {
        return format!("{info} (is a `}}` or `]` missing in a line above?)");
    }
    if info.contains("did not find expected") {
        return format!("{info} (check the indentation of this line and of the lines above it)");
    }
    if info.contains("tab") {
        return format!("{info} (indent with spaces)");
    }
    if info.contains("unexpected character") || info.contains("unknown anchor") {
        return format!("{info} (a text that begins with such a character needs quotes)");
    }
    if info.contains("quoted scalar") {
        return format!(
            "{info} (does the text end with the quotation mark that it begins with? within {{ }} and [ ], a comma follows)"
        );
    }
    info.to_owned()
}

/// Returns whether a line has a placeholder such as `{stream}` as a part of a text outside of quotes. Alone, it is a
/// mapping.
fn has_bare_placeholder(line: &str) -> bool {
    line.match_indices('{').any(|(at, _)| {
        let before = &line[..at];
        let rest = &line[at + 1..];
        let Some((name, after)) = rest.split_once('}') else { return false };
        let is_name =
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        let is_part = before.ends_with(|char: char| !char.is_whitespace() && !"[{,".contains(char))
            || after.starts_with(|char: char| !char.is_whitespace() && !"]},".contains(char));
        let is_quoted = before.matches('"').count() % 2 == 1 || before.matches('\'').count() % 2 == 1;
        is_name && is_part && !is_quoted
    })
}

/// Reads an unquoted scalar, by the core schema of YAML 1.2. Integers that are too large stay text, so that they stay
/// exact.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    if !unsigned.is_empty() && unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return unsigned.parse().map_or_else(|_| Value::Text(text.to_owned()), Value::Unsigned);
    }
    if let Some(number) = text.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
        return Value::Unsigned(number);
    }
    if let Some(number) = text.strip_prefix("0o").and_then(|digits| u64::from_str_radix(digits, 8).ok()) {
        return Value::Unsigned(number);
    }
    if let Some(digits) = text.strip_prefix('-')
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(number) = text.parse()
    {
        return Value::Negative(number);
    }
    let like_a_number = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
        && text.bytes().any(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if like_a_number => Value::Float(number),
        _ => Value::Text(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Node {
        let (root, problems) = parse(text, &Path::new("test.yaml").into());
        assert!(problems.is_empty(), "{problems:?}");
        root.unwrap()
    }

    #[test]
    fn unquoted_scalars_have_the_types_of_yaml_1_2() {
        let root = tree(
            "a: 1\nb: -1\nc: 1.5\nd: yes\ne: true\nf:\ng: '1'\nh: 225494730938493804\ni: 99999999999999999999\nj: 2.5e3\nk: 1.2.3\nl: 0x1f\n",
        );
        let kinds: Vec<_> = root.entries().iter().map(|entry| entry.node.kind()).collect();
        assert_eq!(
            kinds,
            [
                "a number",
                "a number",
                "a number",
                "a text",
                "true or false",
                "nothing",
                "a text",
                "a number",
                "a text",
                "a number",
                "a text",
                "a number"
            ]
        );
        assert!(matches!(root.get("h").unwrap().value, Value::Unsigned(225_494_730_938_493_804)));
        assert_eq!(root.get("i").unwrap().text(), Some("99999999999999999999"));
    }

    #[test]
    fn places_count_lines_and_columns_from_one() {
        let root = tree("# comment\nä: { b: [x, y] }\n");
        let list = root.get("ä").unwrap().get("b").unwrap();
        assert_eq!((list.place.line, list.place.column), (2, 9));
        assert_eq!((list.list()[1].place.line, list.list()[1].place.column), (2, 13));
    }

    #[test]
    fn aliases_are_expanded_up_to_a_limit() {
        let root = tree("a: &x { k: 1 }\nb: *x\n");
        assert!(root.get("b").unwrap().get("k").is_some());
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let previous = format!("*a{}", level - 1);
            bomb += &format!("a{level}: &a{level} [{}]\n", [previous.as_str(); 9].join(", "));
        }
        let (root, problems) = parse(&bomb, &Path::new("test.yaml").into());
        assert!(root.is_none() && problems[0].message.contains("too large"), "{problems:?}");
        let repeated = |times: usize| format!("a: &x {}\nb: [{}]\n", "x".repeat(50_000), vec!["*x"; times].join(", "));
        let (root, problems) = parse(&repeated(2_000), &Path::new("test.yaml").into());
        assert!(root.is_none() && problems[0].message.contains("too large"), "{problems:?}");
        assert!(parse(&repeated(20), &Path::new("test.yaml").into()).0.is_some());
    }

    #[test]
    fn the_tree_is_as_deep_as_a_limit_however_it_is_written() {
        let flow = |levels: usize| format!("a: {}1{}\n", "[".repeat(levels), "]".repeat(levels));
        let chain = |levels: usize| {
            let links = (1..levels).map(|level| format!("a{level}: &a{level} [*a{}]\n", level - 1));
            "a0: &a0 [1]\n".to_owned() + &links.collect::<String>()
        };
        for of in [flow as fn(usize) -> String, chain] {
            let read = |levels: usize| parse(&of(levels), &Path::new("test.yaml").into());
            assert!(read(MAX_DEPTH - 1).0.is_some());
            let (root, problems) = read(MAX_DEPTH);
            assert!(root.is_none() && problems[0].message.contains("too deeply"), "{problems:?}");
        }
    }

    #[test]
    fn any_text_is_read_or_refused_without_panic() {
        for text in ["a: [", "a: \"", "{{", "a: *b", "? [a]\n: b", "---\na: 1\n---\nb: 2\n"] {
            let (_, problems) = parse(text, &Path::new("test.yaml").into());
            assert!(!problems.is_empty(), "{text:?}");
        }
        proptest::proptest!(|(text in "[-a-c:{}\\[\\]\"'#&*!|>%@\t\r\n ,?0-9~<]{0,80}")| {
            parse(&text, &Path::new("test.yaml").into());
        });
    }
}
