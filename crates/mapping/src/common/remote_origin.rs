//! The origin of a threat that came from another host. The console writes it in place of a process or a file.

use s1_forwarder_record::{Escaped, Value};

use super::account::Account;
use super::address::Address;

/// The only domains with a space: domains of Windows' own accounts.
const SPACED_DOMAINS: [&str; 4] = ["NT AUTHORITY", "NT SERVICE", "FONT DRIVER HOST", "WINDOW MANAGER"];

/// The parts of `Lateral Movement 192.0.2.3 ACME\jane (interactive session)`.
#[derive(Debug, Clone, Copy)]
pub struct RemoteOrigin<'a> {
    pub address: Option<Address>,
    pub user: Option<Account<'a>>,
}

impl<'a> RemoteOrigin<'a> {
    pub fn of(value: Value<'a>) -> Option<Self> {
        let text = value.escaped()?.raw();
        let (words, rest) = text.split_at_checked("Lateral Movement ".len())?;
        if !words.eq_ignore_ascii_case("Lateral Movement ") {
            return None;
        }
        let (first, after) = rest.trim_start().split_once(' ').unwrap_or((rest.trim(), ""));
        let address = Address::of(Escaped::plain(first.trim_matches([',', '(', ')'])));
        let user = match address {
            Some(_) => account(after),
            // The first word can be the name of the other host.
            None => account(rest).or_else(|| account(after)),
        };
        let has_domain = user.is_some_and(|user| user.domain.is_some() || user.text.raw().contains('\\'));
        (address.is_some() || has_domain).then_some(Self { address, user })
    }
}

/// Returns the user at the beginning of the text; `None` if other words are there.
fn account(text: &str) -> Option<Account<'_>> {
    let text = text.split_once('(').map_or(text, |(user, _)| user).trim();
    Account::of_text(Escaped::plain(text)).filter(|account| match account.domain {
        Some(domain) if domain.raw().contains(' ') => SPACED_DOMAINS.into_iter().any(|known| domain.is(known)),
        // The drive in `C:\tool.exe` is not a domain.
        Some(domain) => !domain.raw().contains(':'),
        None => !text.contains(' '),
    })
}

/// Returns the name of a process or a file; `None` if the value is a remote origin.
pub fn name_of(value: Value<'_>) -> Option<Escaped<'_>> {
    if RemoteOrigin::of(value).is_some() { None } else { value.escaped() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_other_host_is_no_part_of_the_domain() {
        let domain = |text: &str| {
            let raw = format!("\"Lateral Movement {text}\"");
            let user = RemoteOrigin::of(Value::new(&raw))?.user?;
            Some((user.domain?.raw().to_owned(), user.name.raw().to_owned()))
        };
        let expected = |domain: &str, name: &str| Some((domain.to_owned(), name.to_owned()));
        assert_eq!(domain(r"DESKTOP-1 ACME\\bob"), expected("ACME", "bob"));
        assert_eq!(domain(r"192.0.2.3, ACME\\bob (network)"), expected("ACME", "bob"));
        assert_eq!(domain(r"NT AUTHORITY\\SYSTEM"), expected("NT AUTHORITY", "SYSTEM"));
        assert_eq!(domain(r"DESKTOP-1 Window Manager\\DWM-1"), expected("Window Manager", "DWM-1"));
        assert_eq!(domain(r"by way of ACME\\bob"), None);
        assert_eq!(domain(r"Tool C:\\tool.exe"), None);
    }

    #[test]
    fn address_and_user_are_read_from_the_sentence() {
        let parts = |text: &str| {
            let raw = format!("\"{text}\"");
            let origin = RemoteOrigin::of(Value::new(&raw))?;
            let text = |text: Escaped<'_>| text.raw().to_owned();
            Some((origin.address.map(|address| text(address.as_escaped())), origin.user.map(|user| text(user.name))))
        };
        let expected =
            |address: Option<&str>, user: Option<&str>| Some((address.map(str::to_owned), user.map(str::to_owned)));
        assert_eq!(
            parts(r"Lateral Movement 192.0.2.3 example.com\\testuser (interactive session)"),
            expected(Some("192.0.2.3"), Some("testuser"))
        );
        assert_eq!(parts("lateral movement fe80::1"), expected(Some("fe80::1"), None));
        assert_eq!(parts("Lateral Movement 192.0.2.3 by other means"), expected(Some("192.0.2.3"), None));
        assert_eq!(parts(r"Lateral Movement ACME\\jane (network)"), expected(None, Some("jane")));
        assert_eq!(parts(r"Lateral Movement (192.0.2.3), ACME\\jane"), expected(Some("192.0.2.3"), Some("jane")));
        for text in ["Lateral Movement Tool.exe", "Lateral Movement", "powershell.exe", "", "é"] {
            assert_eq!(parts(text), None, "{text}");
        }
    }
}
