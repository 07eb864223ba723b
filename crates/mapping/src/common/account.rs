//! Users: `DOMAIN\name`, principal names, e-mail addresses, and the users of Linux processes.

use s1_forwarder_record::{Escaped, Value};

use super::missing::{is_domain, is_missing_word};

/// A user account as the console spells it in one text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account<'a> {
    pub text: Escaped<'a>,
    pub name: Escaped<'a>,
    pub domain: Option<Escaped<'a>>,
    /// The name of the person whose address the text is.
    pub full_name: Option<Escaped<'a>>,
    /// Whether the text is an e-mail address and not a principal name.
    is_address: bool,
}

impl<'a> Account<'a> {
    /// Reads `DOMAIN\name`, `name@domain` or a name; `None` if there is no user.
    pub fn of(value: Value<'a>) -> Option<Self> {
        Self::of_text(value.escaped()?)
    }

    pub fn of_text(text: Escaped<'a>) -> Option<Self> {
        let text = text.trim();
        let mut parts = split(text);
        while let (Some(domain), name) = parts
            && !is_domain(domain)
        {
            parts = split(name);
        }
        let (domain, name) = parts;
        if is_missing_word(name) {
            return None;
        }
        let account = Self { text, name, domain, full_name: None, is_address: false };
        if domain.is_some() {
            return Some(account);
        }
        if let Some((full_name, text)) = name_and_address(name) {
            let (name, _) = principal(text)?;
            return Some(Self { text, name, full_name, is_address: true, ..account });
        }
        Some(match principal(name) {
            Some((local, domain)) => {
                Self { text: name, name: local, domain: Some(domain).filter(|domain| is_domain(*domain)), ..account }
            }
            None => account,
        })
    }

    /// Reads the name of a user of the console or of an activity. A name with an `@` is an address and not a principal
    /// name.
    pub fn of_console(value: Value<'a>) -> Option<Self> {
        let account = Self::of(value)?;
        Some(if is_email(account.text) { account.without_domain() } else { account })
    }

    /// Returns the e-mail address in `Jane Doe (jane@acme.example)`.
    pub fn email(self) -> Option<Escaped<'a>> {
        self.is_address.then_some(self.text)
    }

    pub fn without_domain(self) -> Self {
        Self { domain: None, ..self }
    }

    /// Returns whether both may be the same user. A domain that is known for only one of them does not tell them apart.
    pub fn may_be(self, other: Self) -> bool {
        let same = |one: Escaped<'_>, other: Escaped<'_>| one.raw().eq_ignore_ascii_case(other.raw());
        same(self.name, other.name) && self.domain.zip(other.domain).is_none_or(|(domain, other)| same(domain, other))
    }
}

/// The users of a process.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessUser<'a> {
    /// The user whose rights the process has.
    pub effective: Option<Account<'a>>,
    /// The user who started the process.
    pub real: Option<Account<'a>>,
    /// The user who logged in.
    pub login: Option<Account<'a>>,
}

impl<'a> ProcessUser<'a> {
    /// Reads one user or, from Linux, `Effective: root, Real: jane, Login: jane`.
    pub fn of(value: Value<'a>) -> Self {
        let Some(text) = value.escaped() else { return Self::default() };
        if after_label(text.trim(), "effective").is_none() {
            return Self { effective: Account::of_text(text), ..Self::default() };
        }
        let named = |label: &str| {
            let part = text.split(',').find_map(|part| after_label(part, label));
            part.and_then(|name| Account::of_text(Escaped::plain(name.trim())))
        };
        Self { effective: named("effective"), real: named("real"), login: named("login") }
    }
}

/// Returns the text after `label:`, in any case.
fn after_label<'a>(text: Escaped<'a>, label: &str) -> Option<&'a str> {
    let (word, rest) = text.raw().split_at_checked(label.len())?;
    if word.eq_ignore_ascii_case(label) { rest.strip_prefix(':') } else { None }
}

/// Returns the name of a person: a text with a space is not the name of an account. The person's address may follow.
pub fn display_name(value: Value<'_>) -> Option<Escaped<'_>> {
    let text = value.escaped()?;
    match name_and_address(text) {
        Some((name, _)) => name,
        None => Some(text).filter(|text| text.raw().trim().contains(' ') && split(*text).0.is_none()),
    }
}

/// Splits `Jane Doe (jane@acme.example)`. The name is `None` if an address is in its place.
pub fn name_and_address(text: Escaped<'_>) -> Option<(Option<Escaped<'_>>, Escaped<'_>)> {
    let (name, address) = text.raw().trim_end().strip_suffix(')')?.rsplit_once('(')?;
    let is_separate = name.ends_with(' ');
    let [name, address] = [name, address].map(|part| Escaped::plain(part).trim());
    let is_name = !name.raw().is_empty() && split(name).0.is_none();
    (is_separate && is_name && is_email(address)).then_some((Some(name).filter(|name| !is_email(*name)), address))
}

/// Splits `DOMAIN\name`, without the spaces around its parts. A text with an empty part is a name. A text that was
/// escaped twice has two backslashes.
pub fn split(text: Escaped<'_>) -> (Option<Escaped<'_>>, Escaped<'_>) {
    let text = text.trim();
    let parts = text.split_backslash();
    match parts.map(|(domain, name)| (domain.trim(), Escaped::plain(name.raw().trim_start_matches(r"\\")).trim())) {
        Some((domain, name)) if !domain.raw().is_empty() && !name.raw().is_empty() => (Some(domain), name),
        _ => (None, text),
    }
}

/// Splits an e-mail address or a principal name into the name and the domain.
pub fn principal(text: Escaped<'_>) -> Option<(Escaped<'_>, Escaped<'_>)> {
    let is_part = |part: &str| !part.is_empty() && !part.contains(['@', ' ', '\\', '"']);
    let (name, domain) = text.raw().split_once('@')?;
    (is_part(name) && is_part(domain)).then_some((Escaped::plain(name), Escaped::plain(domain)))
}

pub fn is_email(text: Escaped<'_>) -> bool {
    principal(text).is_some_and(|(_, domain)| is_domain(domain)) && !text.raw().contains(char::is_whitespace)
}

/// A role with one of these words is an administrator's role.
const ADMINISTRATORS: [&str; 4] = ["admin", "admins", "administrator", "administrators"];

/// Returns whether a role is an administrator's role: `Admin`, `Site Admin`, `Administrators`, but not `Non-Admin`.
pub fn is_administrator(role: Value<'_>) -> bool {
    let role = role.escaped().map_or("", Escaped::raw);
    let mut is_negated = false;
    for word in role.split(|character: char| !character.is_alphanumeric()) {
        let is_one_of = |words: &[&str]| words.iter().any(|known| known.eq_ignore_ascii_case(word));
        if is_one_of(&ADMINISTRATORS) && !is_negated {
            return true;
        }
        is_negated = is_one_of(&["no", "non", "not"]);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(text: &str) -> Option<(String, Option<String>)> {
        let raw = format!("\"{text}\"");
        let account = Account::of(Value::new(&raw))?;
        Some((account.name.raw().to_owned(), account.domain.map(|domain| domain.raw().to_owned())))
    }

    #[test]
    fn names_and_domains_are_told_apart() {
        let named = |name: &str, domain: Option<&str>| Some((name.to_owned(), domain.map(str::to_owned)));
        assert_eq!(account(r"ACME\\jane"), named("jane", Some("ACME")));
        assert_eq!(account(r"NT AUTHORITY\\SYSTEM"), named("SYSTEM", Some("NT AUTHORITY")));
        assert_eq!(account("jane@acme.example"), named("jane", Some("acme.example")));
        assert_eq!(account("jane"), named("jane", None));
        assert_eq!(account(r" ACME\\bob "), named("bob", Some("ACME")));
        assert_eq!(account(" jane@acme.example "), named("jane", Some("acme.example")));
        assert_eq!(account("Jane Doe"), named("Jane Doe", None));
        assert_eq!(account(r"\\jane"), named(r"\\jane", None));
        assert_eq!((account("N/A"), account("")), (None, None));
    }

    #[test]
    fn an_address_in_brackets_follows_a_name() {
        let parts = |text| {
            let (name, address) = name_and_address(Escaped::plain(text))?;
            Some((name.map(Escaped::raw), address.raw()))
        };
        let address = "jane@acme.example";
        for (text, expected) in [
            ("Jane Doe (jane@acme.example)", Some((Some("Jane Doe"), address))),
            ("Jane Doe  (jane@acme.example) ", Some((Some("Jane Doe"), address))),
            ("Jane (SOC) (jane@acme.example)", Some((Some("Jane (SOC)"), address))),
            ("jane@acme.example (jane@acme.example)", Some((None, address))),
            ("jane(jane@acme.example)", None),
            (" (jane@acme.example)", None),
            (r"ACME\\jane (jane@acme.example)", None),
            ("Jane Doe (SOC)", None),
            ("Jane Doe (jane@)", None),
            ("jane@acme.example", None),
            (")", None),
        ] {
            assert_eq!(parts(text), expected, "{text}");
        }
    }

    #[test]
    fn a_linux_process_has_an_effective_and_a_real_user() {
        let user = ProcessUser::of(Value::new(r#""Effective: root, Real: jane, Login: ""#));
        let name = |account: Option<Account<'_>>| account.map(|account| account.name.raw().to_owned());
        assert_eq!((name(user.effective).as_deref(), name(user.real).as_deref()), (Some("root"), Some("jane")));
        assert_eq!(name(user.login), None);
        let user = ProcessUser::of(Value::new(r#"" effective: root, real: jane""#));
        assert_eq!((name(user.effective).as_deref(), name(user.real).as_deref()), (Some("root"), Some("jane")));
        let user = ProcessUser::of(Value::new(r#""ACME\\jane""#));
        assert_eq!((name(user.effective).as_deref(), name(user.real)), (Some("jane"), None));
    }

    #[test]
    fn an_account_without_a_domain_may_be_one_with_a_domain() {
        let short = Value::new(r#""Jane""#);
        let full = Value::new(r#""ACME\\jane""#);
        let account = |value| Account::of(value).unwrap();
        assert!(account(short).may_be(account(full)) && account(full).may_be(account(short)));
        assert!(!account(full).may_be(account(Value::new(r#""OTHER\\jane""#))));
        assert!(!account(full).may_be(account(Value::new(r#""john""#))));
    }

    #[test]
    fn a_word_makes_a_role_one_of_an_administrator() {
        for (role, expected) in [
            ("Admin", true),
            ("Site Admin", true),
            ("administrator", true),
            ("IR Admin", true),
            ("Administrators", true),
            ("Tier 1 Admins", true),
            ("Adminless", false),
            ("Non-Admin", false),
            ("Viewer (not admin)", false),
            ("Viewer", false),
            ("", false),
        ] {
            let raw = format!("\"{role}\"");
            assert_eq!(is_administrator(Value::new(&raw)), expected, "{role}");
        }
    }
}
