use s1_forwarder_record::Value;
use s1_forwarder_record::agent::Agent;

use super::classification::Word;

/// The architecture in ECS's words. A "64 bit" system is ARM if the name of its OS or processor contains it.
pub fn architecture(agent: &Agent<'_>) -> Option<&'static str> {
    let is_arm = || {
        let names_arm = |value: Value<'_>| {
            value.text().is_some_and(|text| {
                let text = text.to_lowercase();
                text.contains("aarch64")
                    || text.split(|c: char| !c.is_alphanumeric()).any(|word| word.starts_with("arm"))
            })
        };
        names_arm(agent.os_name) || names_arm(agent.cpu_id)
    };
    match Word::of_value(agent.os_arch).as_str() {
        "64_bit" if is_arm() => Some("arm64"),
        "64_bit" | "x86_64" | "amd64" => Some("x86_64"),
        "arm64" | "aarch64" => Some("arm64"),
        "32_bit" | "x86" => Some("x86"),
        _ => None,
    }
}
