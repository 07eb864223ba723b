//! Computes how much work a search for a regular expression can be. The `regex` crate follows all ways to match at
//! once. In the worst case it does something for each byte, for each place in the expression, and for each group.

use regex_syntax::Parser;
use regex_syntax::hir::{Class, Hir, HirKind};

/// Most bytes that an expression may take when it is compiled.
const MAX_COMPILED: usize = 256 * 1024;
/// Most work of one search: about a tenth of a second in the worst case.
const MAX_WORK: u64 = 80_000_000;
/// Work for each place in an expression and each byte, apart from its groups.
const WORK_OF_PLACE: u64 = 16;
/// Shortest text that every expression must be able to search. Other expressions are refused.
const MIN_TEXT: u64 = 1024;

/// Returns the work of a search for each byte of a text. Returns 0 if the expression does not compile: the compiler
/// reports that.
///
/// # Errors
/// If the expression is too large.
pub(super) fn work(pattern: &str) -> Result<u64, &'static str> {
    const TOO_LARGE: &str = "this regular expression is too large";
    let built = regex::RegexBuilder::new(pattern).size_limit(MAX_COMPILED).build();
    if let Err(regex::Error::CompiledTooBig(_)) = built {
        return Err(TOO_LARGE);
    }
    let Ok(expression) = Parser::new().parse(pattern) else { return Ok(0) };
    let groups = expression.properties().explicit_captures_len() as u64;
    let work = places(&expression).saturating_mul(WORK_OF_PLACE + groups);
    if work > MAX_WORK / MIN_TEXT { Err(TOO_LARGE) } else { Ok(work) }
}

/// Returns the longest text that may be searched with `work` for each byte.
pub(super) fn longest_text(work: u64) -> usize {
    usize::try_from(MAX_WORK / work.max(1)).unwrap_or(usize::MAX)
}

/// Returns the largest number of places of the expression at which a search can be. The parser bounds the depth.
fn places(expression: &Hir) -> u64 {
    match expression.kind() {
        HirKind::Empty => 1,
        HirKind::Literal(literal) => literal.0.len() as u64,
        // Characters of the class may have several bytes.
        HirKind::Class(Class::Unicode(class)) if !class.is_ascii() => 4,
        HirKind::Class(_) => 1,
        HirKind::Look(_) => 4,
        HirKind::Repetition(repetition) => {
            let once = places(&repetition.sub);
            let required = u64::from(repetition.min);
            // A repetition without end is one that leads back.
            let optional = repetition.max.map_or(1, |max| u64::from(max).saturating_sub(required));
            let all = once.saturating_mul(required.saturating_add(optional));
            all.saturating_add(optional)
        }
        HirKind::Capture(capture) => places(&capture.sub).saturating_add(1),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().fold(1, |sum: u64, part| sum.saturating_add(places(part)))
        }
    }
}
