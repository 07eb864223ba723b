//! Refuses code that would need too much stack or memory in one step, before the compiler sees it. Has those arguments
//! measured that could be too large for one step.

use std::collections::BTreeMap;

use vrl::diagnostic::{Diagnostic, Span};
use vrl::parser::Program;
use vrl::parser::ast::{
    Assignment, AssignmentOp, AssignmentTarget, Block, Container, Expr, FunctionCall, IfStatement, Literal, Node,
    Opcode, Predicate, QueryTarget, RootExpr, Unary,
};
use vrl::parser::template_string::StringSegment;
use vrl::path::{OwnedSegment, OwnedValuePath};

use super::argument::{self, Measured, Place};
use super::functions::{Bound, MAX_ARGUMENT, MAX_PARSED, bound, find, is_withheld};
use super::regexes;
use crate::transform::schema_paths::READ_ONLY;

/// Deepest nesting of a program, and longest path.
const MAX_DEPTH: usize = 64;
/// Largest index of a list: assigning to an element fills all elements before it.
const MAX_INDEX: isize = 1_000;
/// Most regular expressions of a pipeline's programs. Each keeps up to 4 MiB for each thread.
const MAX_REGEXES: usize = 32;

/// Most work of the compiler for the programs of a pipeline: about 10 s in a debug build, 1 s in a release build. For
/// each call and each block the compiler copies what it knows of the types, as often as it is nested.
const MAX_COMPILER_WORK: u64 = 1_250_000;
/// Work of a call, in units of the work of a block. Arguments are calls too, since they are measured.
const WORK_OF_CALL: u64 = 32;
/// Work of each expression: for each of them the compiler copies what it knows of the types, too. The types of assigned
/// values that may be anything are large.
const WORK_OF_EXPRESSION: u64 = 1;
/// The work of adding a part of a text with variables to the parts before it.
const WORK_OF_PART: u64 = 4;

/// Largest type that the compiler may have to follow. It computes the type of each value, part by part, and a program
/// can double the type in each line.
const MAX_TYPE: u64 = 5_000;

/// Use that the programs of a pipeline have made of their limits.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::transform) struct Budget {
    regexes: usize,
    /// Work for calls, blocks and operators.
    compiler_work: u64,
    /// Work for expressions as such, among them assignments. Above the limit, no program of a trusted author is
    /// refused.
    work_of_expressions: u64,
    is_strict: bool,
}

impl Budget {
    /// Sets whether work for expressions as such also counts towards the limit, before anything is compiled.
    pub fn set_strict(&mut self, is_strict: bool) {
        self.is_strict = is_strict;
    }

    /// Returns whether the compiler has had more work than the programs of one file may cause.
    pub fn takes_long(&self) -> bool {
        self.compiler_work.saturating_add(self.work_of_expressions) > MAX_COMPILER_WORK
    }

    fn is_spent(&self) -> bool {
        let is_too_much = self.is_strict && self.takes_long();
        is_too_much || self.compiler_work > MAX_COMPILER_WORK
    }

    /// Returns the use that includes another program of this `cost`; `None` if it is over a limit.
    pub fn with(&self, cost: Self) -> Option<Self> {
        let Self { regexes, compiler_work, work_of_expressions, is_strict: _ } = cost;
        let with = Self {
            regexes: self.regexes + regexes,
            compiler_work: self.compiler_work.saturating_add(compiler_work),
            work_of_expressions: self.work_of_expressions.saturating_add(work_of_expressions),
            is_strict: self.is_strict,
        };
        (!with.is_spent() && with.regexes <= MAX_REGEXES).then_some(with)
    }

    /// Returns the use since `before`.
    pub(super) fn since(&self, before: Self) -> Self {
        Self {
            regexes: self.regexes - before.regexes,
            compiler_work: self.compiler_work - before.compiler_work,
            work_of_expressions: self.work_of_expressions - before.work_of_expressions,
            is_strict: self.is_strict,
        }
    }
}

/// Checks a program. Returns its source with the calls that measure arguments.
///
/// # Errors
/// If a part is refused, with all refused parts and their places.
pub(super) fn check(source: &str, program: Program, budget: &mut Budget) -> Result<Measured, Vec<Diagnostic>> {
    let mut guard =
        Guard { found: Vec::new(), work: Vec::new(), types: BTreeMap::new(), arguments: Vec::new(), budget: *budget };
    for root in program.0 {
        if let RootExpr::Expr(expression) = root.into_inner() {
            guard.expression(expression, 0);
        }
    }
    if !guard.found.is_empty() {
        return Err(guard.found);
    }
    *budget = guard.budget;
    // A variable may bring any of the regular expressions to a search.
    let most = regexes::longest_text(guard.work.iter().copied().max().unwrap_or_default());
    let together = regexes::longest_text(guard.work.iter().sum());
    Ok(Measured::new(source, &guard.arguments, |argument| match argument.bound {
        Bound::Free | Bound::Argument => MAX_ARGUMENT,
        Bound::Parsed => MAX_PARSED,
        Bound::Searched if argument.function == "match_any" => MAX_PARSED.min(together),
        Bound::Searched => MAX_PARSED.min(most),
    }))
}

struct Guard {
    found: Vec<Diagnostic>,
    /// The work for each byte of a text that each regular expression searches.
    work: Vec<u64>,
    /// Largest size that the types of variables and of assigned paths can have.
    types: BTreeMap<String, u64>,
    /// The arguments that have to be measured.
    arguments: Vec<Place>,
    budget: Budget,
}

impl Guard {
    fn refuse(&mut self, span: Span, message: impl Into<String>, label: &str) {
        self.found.push(Diagnostic::error(0, message).with_primary(label, span));
    }

    /// Reports a message only once, since many parts of a program may cause it.
    fn refuse_once(&mut self, span: Span, message: String, label: &str) {
        if !self.found.iter().any(|found| found.message() == message) {
            self.refuse(span, message, label);
        }
    }

    /// Counts the compiler's work for a call or a block.
    fn compiler_work(&mut self, span: Span, weight: u64, depth: usize) {
        let work = self.work(weight, depth);
        self.budget.compiler_work = self.budget.compiler_work.saturating_add(work);
        self.refuse_if_spent(span, "assign to fewer paths before so many calls and conditions");
    }

    /// Counts the compiler's work for an expression.
    fn work_of_expression(&mut self, span: Span, weight: u64, depth: usize) {
        let work = self.work(weight, depth);
        self.budget.work_of_expressions = self.budget.work_of_expressions.saturating_add(work);
        self.refuse_if_spent(span, "assign to fewer paths");
    }

    fn work(&self, weight: u64, depth: usize) -> u64 {
        let types = self.types.values().fold(1, |sum: u64, size| sum.saturating_add(*size));
        types.saturating_mul(weight).saturating_mul(depth as u64)
    }

    fn refuse_if_spent(&mut self, span: Span, label: &str) {
        if self.budget.is_spent() {
            self.refuse_once(span, "the programs of this file would take too long to compile".to_owned(), label);
        }
    }

    /// Returns the largest size that the expression's type can have.
    fn expression(&mut self, node: Node<Expr>, depth: usize) -> u64 {
        let span = node.span();
        if depth > MAX_DEPTH {
            self.refuse_once(span, format!("nested more than {MAX_DEPTH} levels deep"), "too deep");
            return 1;
        }
        self.work_of_expression(span, WORK_OF_EXPRESSION, depth + 1);
        let size = self.inner(node, span, depth + 1);
        if size > MAX_TYPE {
            self.refuse_once(span, "the type of this value is too complex".to_owned(), "it grows with each line");
            return 1;
        }
        size
    }

    fn inner(&mut self, node: Node<Expr>, span: Span, depth: usize) -> u64 {
        match node.into_inner() {
            Expr::Literal(literal) => {
                self.literal(&literal, depth);
                1
            }
            Expr::Container(container) => self.container(container.into_inner(), depth),
            Expr::IfStatement(statement) => {
                self.compiler_work(span, 2, depth);
                self.condition(statement.into_inner(), depth)
            }
            Expr::Op(operation) => {
                let operation = operation.into_inner();
                let opcode = *operation.1.inner();
                if opcode == Opcode::Mul && !(is_number(&operation.0) && is_number(&operation.2)) {
                    let message = "a text multiplied by a number repeats it: say that both sides are numbers";
                    let label = "write to_int(…) or to_float(…) around what is not a literal number";
                    self.refuse(operation.1.span(), message, label);
                }
                let both = self.expression(*operation.0, depth).saturating_add(self.expression(*operation.2, depth));
                self.compiler_work(span, 2, depth);
                match opcode {
                    Opcode::Err | Opcode::Or | Opcode::And | Opcode::Merge => both,
                    _ => 1,
                }
            }
            Expr::Assignment(assignment) => match assignment.into_inner() {
                Assignment::Single { target, expr, op } => {
                    let size = self.expression(*expr, depth);
                    self.target(&target, op == AssignmentOp::Merge, size);
                    size
                }
                Assignment::Infallible { ok, err, expr, op } => {
                    let size = self.expression(*expr, depth);
                    self.target(&ok, op == AssignmentOp::Merge, size);
                    self.target(&err, false, 1);
                    size
                }
            },
            Expr::Query(query) => {
                let query = query.into_inner();
                self.path(query.path.span(), query.path.inner());
                match query.target.into_inner() {
                    QueryTarget::FunctionCall(call) => self.call(call, depth),
                    QueryTarget::Container(container) => self.container(container, depth),
                    QueryTarget::Internal(name) => self.size_of(&name),
                    QueryTarget::External(_) => self.size_of(&event_path(query.path.inner())),
                }
            }
            Expr::FunctionCall(call) => self.call(call.into_inner(), depth),
            Expr::Unary(unary) => match unary.into_inner() {
                Unary::Not(not) => self.expression(*not.into_inner().take().1, depth),
            },
            Expr::Abort(abort) => abort.into_inner().message.map_or(1, |message| self.expression(*message, depth)),
            Expr::Return(returned) => self.expression(*returned.into_inner().expr, depth),
            Expr::Variable(name) => self.size_of(name.inner()),
            Expr::Break(_) => 1,
        }
    }

    /// Returns the largest size of the type of a variable or path. A path has the parts that were assigned to it, below
    /// it and above it.
    fn size_of(&self, name: &str) -> u64 {
        let is_part = |other: &str| other.starts_with(name) || name.starts_with(other);
        let known = self.types.iter().filter(|(other, _)| {
            if name.starts_with('.') { other.starts_with('.') && is_part(other) } else { *other == name }
        });
        known.fold(1, |sum: u64, (_, size)| sum.saturating_add(*size))
    }

    fn assign(&mut self, name: String, merges: bool, size: u64) {
        // The former value may still be there: `name` may be a part of a variable, or one of two branches may assign
        // it.
        let before = if merges { self.types.get(&name).copied().unwrap_or(0) } else { 0 };
        self.types.insert(name, before.saturating_add(size));
    }

    fn literal(&mut self, literal: &Node<Literal>, depth: usize) {
        if let Literal::String(text) = literal.inner() {
            // The parts of a text with variables are added like other texts, and each sum is in the next one.
            for part in 1..text.0.len() {
                self.work_of_expression(literal.span(), WORK_OF_PART, depth + part);
            }
        }
        let Literal::Regex(pattern) = literal.inner() else { return };
        match regexes::work(pattern) {
            Ok(work) => self.work.push(work),
            Err(problem) => self.refuse(literal.span(), problem, "use smaller counts of repetitions"),
        }
        self.budget.regexes += 1;
        if self.budget.regexes == MAX_REGEXES + 1 {
            let message = format!("more than {MAX_REGEXES} regular expressions in the programs of this file");
            self.refuse(literal.span(), message, "one too many");
        }
    }

    fn container(&mut self, container: Container, depth: usize) -> u64 {
        match container {
            Container::Group(group) => self.expression(group.into_inner().into_inner(), depth),
            Container::Block(block) => {
                self.compiler_work(block.span(), 1, depth);
                self.block(block.into_inner(), depth)
            }
            Container::Array(array) => self.sum(array.into_inner().into_iter(), depth),
            Container::Object(object) => self.sum(object.into_inner().into_iter().map(|(_, node)| node), depth),
        }
    }

    fn sum(&mut self, nodes: impl Iterator<Item = Node<Expr>>, depth: usize) -> u64 {
        nodes.fold(1, |sum: u64, node| sum.saturating_add(self.expression(node, depth)))
    }

    /// Returns the largest size of a block's type. A block has the type of its last expression.
    fn block(&mut self, block: Block, depth: usize) -> u64 {
        block.into_inner().into_iter().fold(1, |_, node| self.expression(node, depth))
    }

    fn condition(&mut self, statement: IfStatement, depth: usize) -> u64 {
        match statement.predicate.into_inner() {
            Predicate::One(expression) => drop(self.expression(*expression, depth)),
            Predicate::Many(expressions) => drop(self.sum(expressions.into_iter(), depth)),
        }
        let before = self.types.clone();
        let size = self.block(statement.if_node.into_inner(), depth);
        let after_if = std::mem::replace(&mut self.types, before.clone());
        let other = statement.else_node.map_or(1, |block| self.block(block.into_inner(), depth));
        for (name, size) in after_if {
            // The type is the type of either branch.
            if before.get(&name) != Some(&size) {
                self.assign(name, true, size);
            }
        }
        size.saturating_add(other)
    }

    fn call(&mut self, call: FunctionCall, depth: usize) -> u64 {
        self.compiler_work(call.ident.span(), WORK_OF_CALL, depth);
        let name: &str = call.ident.inner();
        if is_withheld(name) || name == argument::NAME {
            let message = format!("the function `{name}` of VRL cannot be called here");
            self.refuse(call.ident.span(), message, "docs/transform.md lists the functions that can");
        }
        if let Some(function) = find(name)
            && bound(function) != Bound::Free
        {
            let is_text = matches!(function, "find" | "replace") && has_text_as_pattern(&call);
            let bound = if is_text { Bound::Argument } else { bound(function) };
            for argument in call.arguments.iter().filter(|argument| is_measured(function, &argument.expr)) {
                let span = argument.expr.span();
                self.arguments.push(Place { function, bound, start: span.start(), end: span.end() });
            }
        }
        let size = self.sum(call.arguments.into_iter().map(|argument| argument.into_inner().expr), depth);
        let closure = call.closure.map_or(0, |closure| self.block(closure.into_inner().block.into_inner(), depth));
        size.saturating_add(closure)
    }

    fn target(&mut self, target: &Node<AssignmentTarget>, merges: bool, size: u64) {
        let span = target.span();
        match target.inner() {
            AssignmentTarget::Noop => {}
            AssignmentTarget::Query(query) => {
                self.path(span, query.path.inner());
                match query.target.inner() {
                    QueryTarget::External(_) => {
                        self.spelling(span, query.path.inner());
                        self.assign(event_path(query.path.inner()), merges, size);
                    }
                    QueryTarget::Internal(name) => self.assign(name.to_string(), true, size),
                    QueryTarget::FunctionCall(_) | QueryTarget::Container(_) => {}
                }
            }
            AssignmentTarget::Internal(name, path) => {
                path.iter().for_each(|path| self.path(span, path));
                self.assign(name.to_string(), merges || path.is_some(), size);
            }
            AssignmentTarget::External(path) => {
                path.iter().for_each(|path| self.path(span, &path.path));
                path.iter().for_each(|path| self.spelling(span, &path.path));
                let name = path.as_ref().map_or_else(|| ".".to_owned(), |path| event_path(&path.path));
                self.assign(name, merges, size);
            }
        }
    }

    /// Refuses forms of a read-only path that the compiler does not know. Destinations read a dot in a key as a level,
    /// so `."labels.pipeline"` would be a second `labels.pipeline`. An index would make a list of the object, without
    /// the object's content. `provenance.rs` restores what a program can change all the same.
    fn spelling(&mut self, span: Span, path: &OwnedValuePath) {
        let spelt = event_path(path);
        let has_dot = |segment: &OwnedSegment| matches!(segment, OwnedSegment::Field(name) if name.contains('.'));
        let mut read_only = READ_ONLY.iter().chain(&["metadata.labels"]);
        let is_read_only = read_only.any(|name| spelt.starts_with(&format!(".{name}.")));
        if is_read_only && path.segments.iter().any(has_dot) {
            self.refuse(span, "this path is read-only, also with a dot in a key", "it says where the event is from");
        }
        let is_index = |segment: &OwnedSegment| matches!(segment, OwnedSegment::Index(_));
        if let Some(index) = path.segments.iter().position(is_index) {
            let indexed = event_path(&OwnedValuePath::from(path.segments[..index].to_vec()));
            let mut names = READ_ONLY.iter().map(|name| format!(".{name}."));
            if names.any(|name| name.starts_with(&indexed) || indexed.starts_with(&name)) {
                self.refuse(span, "this path is read-only, also as a list", "it says where the event is from");
            }
        }
    }

    fn path(&mut self, span: Span, path: &OwnedValuePath) {
        if path.segments.len() > MAX_DEPTH {
            self.refuse(span, format!("a path of more than {MAX_DEPTH} parts"), "too long");
        }
        let is_far = |segment: &OwnedSegment| matches!(segment, OwnedSegment::Index(index) if index.unsigned_abs() > MAX_INDEX.unsigned_abs());
        if path.segments.iter().any(is_far) {
            self.refuse(span, format!("an index beyond {MAX_INDEX}"), "too large");
        }
    }
}

/// Returns whether the pattern of a call, its second argument, is a literal text. A second pattern overrides the first.
/// A text with `{{ }}` may be as long as a variable.
fn has_text_as_pattern(call: &FunctionCall) -> bool {
    let arguments = call.arguments.iter().enumerate();
    let mut patterns = arguments
        .filter(|(index, argument)| argument.ident.as_ref().map_or(*index == 1, |name| &***name == "pattern"))
        .peekable();
    let is_text = |argument: &Node<Expr>| match argument.inner() {
        Expr::Literal(literal) => match literal.inner() {
            Literal::String(text) => !text.0.iter().any(|part| matches!(part, StringSegment::Template(..))),
            Literal::RawString(_) => true,
            _ => false,
        },
        _ => false,
    };
    patterns.peek().is_some() && patterns.all(|(_, argument)| is_text(&argument.expr))
}

/// Returns whether an argument is measured. Constants are as small as the program, except for texts, which may contain
/// variables. VRL has to see some lists itself: the expressions of `match_any`, and `excluded_boundaries`.
fn is_measured(function: &str, argument: &Node<Expr>) -> bool {
    match argument.inner() {
        Expr::Literal(literal) => matches!(literal.inner(), Literal::String(_)),
        Expr::Container(container) => {
            let is_list = matches!(container.inner(), Container::Array(_));
            !is_list || function != "match_any" && !function.ends_with("case")
        }
        _ => true,
    }
}

/// Returns a path in the form `.a.b.`, so that a path above another one is its prefix.
fn event_path(path: &OwnedValuePath) -> String {
    let segments = path.segments.iter().map(|segment| match segment {
        OwnedSegment::Field(name) => format!("{name}."),
        OwnedSegment::Index(index) => format!("{index}."),
    });
    std::iter::once(".".to_owned()).chain(segments).collect()
}

/// Returns whether an expression is a number, whatever the event has.
fn is_number(node: &Node<Expr>) -> bool {
    const CALLS: [&str; 13] = [
        "abs",
        "ceil",
        "float",
        "floor",
        "int",
        "length",
        "mod",
        "parse_float",
        "parse_int",
        "round",
        "strlen",
        "to_float",
        "to_int",
    ];
    match node.inner() {
        Expr::Literal(literal) => matches!(literal.inner(), Literal::Integer(_) | Literal::Float(_)),
        Expr::FunctionCall(call) => CALLS.contains(&&**call.inner().ident.inner()),
        Expr::Container(container) => match container.inner() {
            Container::Group(group) => is_number(&group.inner().0),
            _ => false,
        },
        Expr::Op(operation) => {
            let operation = operation.inner();
            let numeric = matches!(operation.1.inner(), Opcode::Mul | Opcode::Div | Opcode::Sub | Opcode::Add);
            numeric && is_number(&operation.0) && is_number(&operation.2)
        }
        _ => false,
    }
}
