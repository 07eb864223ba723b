//! The origin of a threat that came from another host. The console writes it in place of a process or a file.

use super::address::Address;
use super::event::Event;
use super::user::Account;
use crate::record::{Escaped, Value};

/// The parts of `Lateral Movement 192.0.2.3 ACME\jane (interactive session)`.
#[derive(Debug, Clone, Copy)]
pub(super) struct RemoteOrigin<'a> {
    address: Option<Address>,
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
        let address = Address::of(Escaped::plain(first));
        let user = if address.is_some() { after } else { rest };
        let user = user.split_once('(').map_or(user, |(user, _)| user).trim();
        // Other words in its place are no user.
        let user =
            Account::of_text(Escaped::plain(user)).filter(|account| account.domain.is_some() || !user.contains(' '));
        (address.is_some() || user.is_some_and(|user| user.domain.is_some())).then_some(Self { address, user })
    }

    /// Writes `source.ip`.
    pub fn write_source(self, event: &mut Event<'_>) {
        let Some(address) = self.address else { return };
        let open = event.open("source");
        event.json.escaped("ip", address.as_escaped());
        event.close(open);
        event.related.add_ip(&address);
    }
}

/// A name of a process or a file; `None` if the console wrote a remote origin there.
pub(super) fn name_of(value: Value<'_>) -> Option<Escaped<'_>> {
    value.escaped().filter(|_| RemoteOrigin::of(value).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for text in ["Lateral Movement Tool.exe", "Lateral Movement", "powershell.exe", "", "é"] {
            assert_eq!(parts(text), None, "{text}");
        }
    }
}
