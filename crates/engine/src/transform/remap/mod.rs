//! Programs in VRL over one event: `remap` and the conditions of `drop`. They cannot read the worker's environment,
//! open connections, run without end or fill the memory.

mod argument;
mod control;
mod functions;
mod guard;
mod own;
mod panics;
mod provenance;
mod regexes;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::LazyLock;

use s1_forwarder_record::MAX_EVENT_DEPTH;
use vrl::compiler::runtime::{Runtime, Terminate};
use vrl::compiler::state::RuntimeState;
use vrl::compiler::{
    CompileConfig, DiagnosticMessages, Function, Program as Compiled, TargetValueRef, TimeZone, TypeState,
};
use vrl::diagnostic::{DiagnosticList, Formatter};
use vrl::path::{OwnedTargetPath, parse_target_path};
use vrl::value::{Secrets, Value};

use self::argument::Measured;
use self::control::{Call, Ended};
use super::schema_paths::READ_ONLY;

pub(super) use self::control::{Control, Kept};
pub(super) use self::guard::Budget;
pub(super) use self::provenance::Provenance;

/// Longest source of a program. Longer ones would need a deeper stack to compile.
pub(super) const MAX_SOURCE: usize = 16 * 1024;
/// Most diagnostics of a program. Each repeats its line of the program, and a program on one line may have thousands.
const MAX_DIAGNOSTICS: usize = 5;
/// Longest line of a diagnostic in characters.
const MAX_LINE: usize = 200;
/// Largest event that a program is run on, or makes. Larger ones are forwarded as if the program had failed.
pub(super) const MAX_EVENT: usize = 1024 * 1024;
/// Most memory that an event may take as a value, roughly.
const MAX_VALUE: usize = 16 * 1024 * 1024;
/// Stack of the thread that compiles a program: the compiler descends once for each bracket.
const COMPILER_STACK: usize = 256 * 1024 * 1024;

/// Beginning of VRL's text of a failed call: its name, its first and its last byte.
#[allow(clippy::expect_used, reason = "a constant, which a test compiles")]
static CALL: LazyLock<regex::Regex> = LazyLock::new(|| {
    regex::Regex::new(r#"^function call error for "([a-z0-9_]+)" at \((\d+):\d+\): "#).expect("a valid expression")
});

/// Texts of the failures of `argument.rs` and `own.rs`.
#[allow(clippy::expect_used, reason = "a constant, which a test compiles")]
static OWN_FAILURES: LazyLock<regex::Regex> = LazyLock::new(|| {
    let own = r"^(an argument of `[a-z0-9_]+` is larger than \d+ bytes|the result could be larger than 8 MiB)$";
    regex::Regex::new(own).expect("a valid expression")
});

/// The words of VRL's failures that are about types, without any value.
const KINDS: [&str; 47] = [
    "<",
    "<=",
    ">",
    ">=",
    "AND",
    "a",
    "add",
    "and",
    "any",
    "array",
    "be",
    "boolean",
    "by",
    "calculate",
    "can't",
    "coerce",
    "compare",
    "could",
    "divide",
    "expected",
    "find",
    "float",
    "from",
    "got",
    "integer",
    "into",
    "items",
    "matches",
    "merge",
    "multiply",
    "not",
    "null",
    "object",
    "of",
    "or",
    "pattern",
    "regex",
    "remainder",
    "string",
    "subtract",
    "timestamp",
    "to",
    "type",
    "types",
    "unable",
    "undefined",
    "zero",
];

static FUNCTIONS: LazyLock<Vec<Box<dyn Function>>> = LazyLock::new(|| {
    let measuring: Box<dyn Function> = Box::new(argument::Argument);
    functions::allowed().into_iter().chain([measuring]).collect()
});

/// Sources that all tests have compiled so far.
#[cfg(any(test, feature = "testing"))]
pub static COMPILATIONS: parking_lot::Mutex<Vec<String>> = parking_lot::Mutex::new(Vec::new());

/// A compiled program.
pub(super) struct Program {
    source: String,
    purpose: Purpose,
    /// The source that was compiled.
    measured: Measured,
    compiled: Compiled,
    /// Use that the program makes of the limits of its file.
    pub(super) cost: Budget,
}

/// Purpose of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    /// The program changes the event.
    Remap,
    /// The program's result is true or false. The program changes nothing.
    Condition,
}

/// Outcome of a program for an event.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Run {
    /// The program ended with this value.
    Done(Value),
    /// The program called `abort`.
    Aborted,
    /// The program failed, or reached a limit. The event may be half changed.
    Failed(String),
    /// The program took longer than it may. The event may be half changed.
    Overran(String),
}

impl fmt::Debug for Program {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Program").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Program {
    /// Compiles a program within the part of `budget` that the pipeline's other programs have left.
    ///
    /// # Errors
    /// If the program cannot be compiled, with the compiler's diagnostics: lines, columns and carets.
    pub fn compile(source: &str, purpose: Purpose, budget: &mut Budget) -> Result<Self, String> {
        if source.len() > MAX_SOURCE {
            return Err(format!("{} bytes; a program has at most {MAX_SOURCE}", source.len()));
        }
        #[cfg(any(test, feature = "testing"))]
        COMPILATIONS.lock().push(source.to_owned());
        let text = source.to_owned();
        let mut used = *budget;
        let compiler = std::thread::Builder::new().name("vrl-compiler".to_owned()).stack_size(COMPILER_STACK);
        let thread = compiler.spawn(move || compile(&text, purpose, &mut used).map(|compiled| (compiled, used)));
        let thread = thread.map_err(|error| format!("no thread for the compiler: {error}"))?;
        let joined = thread.join().map_err(|_| "the compiler failed on this program".to_owned())?;
        let ((measured, compiled), used) = joined?;
        let cost = used.since(*budget);
        *budget = used;
        Ok(Self { source: source.to_owned(), purpose, measured, compiled, cost })
    }

    /// Compiles the program again. The regular expressions of the new program remember nothing of texts.
    ///
    /// # Errors
    /// If there is no thread for the compiler.
    pub fn again(&self) -> Result<Self, String> {
        Self::compile(&self.source, self.purpose, &mut Budget::default())
    }

    /// Runs the program on `event`, within the rest of the event's limits.
    pub fn run(&self, event: &mut Value, control: &mut Control) -> Run {
        let mut runtime = Runtime::new(RuntimeState::default());
        let mut metadata = Value::Object(Default::default());
        let mut secrets = Secrets::default();
        let mut target = TargetValueRef { value: event, metadata: &mut metadata, secrets: &mut secrets };
        control.next_program();
        // The time zone is not the worker's.
        let zone = TimeZone::parse("UTC").unwrap_or_default();
        let resolve = || runtime.resolve_with_control(&mut target, &self.compiled, &zone, control);
        let Some(result) = panics::caught(resolve) else {
            let last = control::last_call().map_or_else(String::new, |call| self.near(call));
            return Run::Failed(format!("a function of VRL cannot deal with its arguments{last}"));
        };
        // The limits also apply after the last expression.
        match control.ended() {
            Some(Ended::Limit(reason)) => return Run::Failed(reason.to_owned()),
            Some(Ended::Overran(call)) => return Run::Overran(self.overran(call)),
            None => {}
        }
        match result {
            Ok(value) => Run::Done(value),
            Err(Terminate::Abort(vrl::compiler::ExpressionError::Abort { .. })) => Run::Aborted,
            Err(failure) => Run::Failed(self.describe(&failure.to_string())),
        }
    }

    /// Describes a program that took too long, with its last call.
    fn overran(&self, call: Option<Call>) -> String {
        let limit = control::MAX_TIME.as_millis();
        let place = call.map_or_else(String::new, |call| self.near(call));
        format!("the program was ended: more than {limit} ms for one event{place}")
    }

    fn near(&self, Call { function, offset }: Call) -> String {
        format!("; the last call was `{function}` at {}", self.place(offset))
    }

    /// Describes a failure: the innermost call that failed, its place, and the kind of failure. VRL's text may have
    /// values of the event, which no redaction would find in a reason. So the text is left out unless it has words of
    /// [`KINDS`] alone, or is one of [`OWN_FAILURES`].
    fn describe(&self, failure: &str) -> String {
        let mut described = Vec::new();
        let mut rest = failure;
        while let Some(captures) = CALL.captures(rest).filter(|captures| is_function(&captures[1])) {
            // The function that measures arguments is none of the user's functions.
            if &captures[1] != argument::NAME {
                let start = captures[2].parse().map_or(0, |start| self.measured.original(start));
                described = vec![format!("function call error for \"{}\" at {}", &captures[1], self.place(start))];
            }
            rest = &rest[captures[0].len()..];
        }
        let is_of_kind = |word: &str| KINDS.contains(&word.trim_end_matches(','));
        if rest.split(' ').all(is_of_kind) || OWN_FAILURES.is_match(rest) {
            described.push(rest.to_owned());
        }
        if described.is_empty() { "the program failed".to_owned() } else { described.join(": ") }
    }

    /// Returns a place in the source as line and column.
    fn place(&self, offset: usize) -> String {
        let before = self.source.get(..offset).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("line {line}, column {column}")
    }
}

/// Returns whether an event is nested deeper than a record of the console may be.
pub(super) fn is_too_deep(event: &Value) -> bool {
    fn is_deeper(value: &Value, levels: u32) -> bool {
        match value {
            Value::Object(members) => levels == 0 || members.values().any(|member| is_deeper(member, levels - 1)),
            Value::Array(elements) => levels == 0 || elements.iter().any(|element| is_deeper(element, levels - 1)),
            _ => false,
        }
    }
    is_deeper(event, MAX_EVENT_DEPTH)
}

fn is_function(name: &str) -> bool {
    name == argument::NAME || functions::find(name).is_some()
}

/// Returns whether an event of few bytes would take too much memory as a value: a small object takes a hundred times
/// its bytes.
pub(super) fn is_too_complex(event: &[u8]) -> bool {
    const OBJECT: usize = 800;
    const ELEMENT: usize = 64;
    if event.len() <= MAX_VALUE / OBJECT {
        return false;
    }
    let memory = event.iter().map(|byte| match byte {
        b'{' => OBJECT,
        b'[' | b',' => ELEMENT,
        _ => 1,
    });
    memory.sum::<usize>() > MAX_VALUE
}

/// Compiles a program. This runs on a thread with a large stack.
fn compile(source: &str, purpose: Purpose, budget: &mut Budget) -> Result<(Measured, Compiled), String> {
    let print = |mut list: DiagnosticList| {
        list.truncate(MAX_DIAGNOSTICS);
        print(&Formatter::new(source, list).to_string())
    };
    let parsed = vrl::parser::parse(source).map_err(|error| {
        let messages: DiagnosticMessages = vec![Box::new(error)];
        print(messages.into())
    })?;
    let measured = guard::check(source, parsed, budget).map_err(|refused| print(refused.into()))?;
    let state = TypeState::default();
    let compile = |source: &str| vrl::compiler::compile_with_state(source, &FUNCTIONS, &state, config(purpose));
    // The user's source is compiled too, for its diagnostics.
    let result = compile(&measured.source).map_err(|refused| print(compile(source).err().unwrap_or(refused)))?;
    if purpose == Purpose::Condition {
        let found = result.program.final_type_info().result;
        if !found.is_boolean() {
            return Err("a condition has to be true or false, such as `.event.action == \"user-logged-in\"`".to_owned());
        }
        if found.is_fallible() {
            return Err("a condition must not fail: write what happens then, such as `?? false`".to_owned());
        }
    }
    Ok((measured, result.program))
}

/// Returns the settings that say what a program may write to.
fn config(purpose: Purpose) -> CompileConfig {
    let mut config = CompileConfig::default();
    match purpose {
        Purpose::Condition => config.set_read_only(),
        Purpose::Remap => {
            for path in READ_ONLY {
                if let Ok(path) = parse_target_path(path) {
                    config.set_read_only_path(path, true);
                }
            }
            config.set_read_only_path(OwnedTargetPath::metadata_root(), true);
        }
    }
    config
}

/// Returns the compiler's text. Each place is `program:LINE:COLUMN`, since the pipeline file has other line numbers.
fn print(diagnostics: &str) -> String {
    // The nearest word that the compiler knows is rarely what was meant.
    let is_said = |line: &&str| !line.contains("VRL REPL") && !line.contains(r#"did you mean "null"?"#);
    let lines = diagnostics.trim_matches('\n').lines().filter(is_said);
    let hint = if diagnostics.contains("undefined function") {
        "\ndocs/transform.md lists the functions; values are hashed by `redact`"
    } else if diagnostics.contains("undefined variable") {
        "\na field of the event begins with a dot, as in `.event.action`"
    } else {
        ""
    };
    lines
        .map(|line| line.chars().take(MAX_LINE).collect::<String>())
        .fold("it does not compile".to_owned(), |text, line| format!("{text}\n{}", line.replace("┌─ :", "┌─ program:")))
        + hint
}
