//! Writes a number in a text as JSON.

use s1_forwarder_record::Escaped;

/// Returns the number in a text as JSON, with decimals: `7.0`.
pub fn float(text: Escaped<'_>) -> Option<String> {
    let number: f64 = text.trim().raw().parse().ok()?;
    number.is_finite().then(|| format!("{number:?}"))
}
