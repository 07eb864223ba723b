//! Regions and zones of cloud providers.

use s1_forwarder_record::Escaped;

/// Returns `us-east-1` for `us-east-1a`, and `us-central1` for `us-central1-f`; `None` for a region.
pub fn region_of_zone(location: Escaped<'_>) -> Option<Escaped<'_>> {
    let text = location.raw();
    let (before, letter) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let region = before.strip_suffix('-').unwrap_or(before);
    let is_zone =
        letter.bytes().all(|byte| byte.is_ascii_lowercase()) && region.ends_with(|c: char| c.is_ascii_digit());
    (is_zone && region.contains('-')).then_some(Escaped::plain(region))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_distinguished_from_regions() {
        let region = |text| region_of_zone(Escaped::plain(text)).map(Escaped::raw);
        assert_eq!(region("us-east-1a"), Some("us-east-1"));
        assert_eq!(region("us-central1-f"), Some("us-central1"));
        for text in ["us-east-1", "eastus", "eastus2", "westeurope", "", "a", "é"] {
            assert_eq!(region(text), None, "{text}");
        }
    }
}
