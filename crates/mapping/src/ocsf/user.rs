//! Users.

use s1_forwarder_record::Value;

use super::event::{Event, Object, Profile};
use super::observables::ObservableType;
use crate::common::account::{Account, ProcessUser, display_name, is_email};
use crate::common::missing::text;
use crate::common::sid;
use crate::common::words::Choice;

/// Names of Windows' accounts for a session's windows and fonts, before the number of the session.
const SESSIONS: [&str; 2] = ["DWM-", "UMFD-"];

/// The type of a user, if the name does not tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UserType {
    Unknown,
    User,
    Admin,
    System,
    Service,
}

impl UserType {
    /// Returns the type of the user who is logged in to an endpoint with the names `hosts`. A name that ends in `$`
    /// belongs to a machine or to a managed service account.
    pub fn of_owner(account: Account<'_>, hosts: [Value<'_>; 2]) -> Self {
        let name = account.name.raw();
        let is_numbered = |prefix: &str| {
            let parts = name.split_at_checked(prefix.len());
            parts.is_some_and(|(first, number)| {
                let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
                is_number && first.eq_ignore_ascii_case(prefix)
            })
        };
        if let Some(machine) = name.strip_suffix('$').filter(|machine| !machine.is_empty()) {
            let is_own = hosts.into_iter().any(|host| is_account_of(machine, host));
            if is_own { Self::System } else { Self::Unknown }
        } else if sid::is_service(account) {
            Self::Service
        } else if SESSIONS.into_iter().any(is_numbered) {
            Self::Unknown
        } else {
            Self::User
        }
    }

    /// Returns the number and caption.
    pub fn choice(self) -> Choice {
        match self {
            Self::Unknown => (0, "Unknown"),
            Self::User => (1, "User"),
            Self::Admin => (2, "Admin"),
            Self::System => (3, "System"),
            Self::Service => (4, "Service"),
        }
    }
}

/// Returns whether `machine`, the name of a machine's account without its `$`, is the name of this host. Windows
/// truncates the account's name after 15 characters.
fn is_account_of(machine: &str, host: Value<'_>) -> bool {
    let Some(host) = text(host).and_then(|host| host.raw().split('.').next()) else { return false };
    let is_cut = machine.chars().count() == 15;
    let host = if is_cut { host.get(..machine.len()).unwrap_or(host) } else { host };
    machine.eq_ignore_ascii_case(host)
}

impl Event<'_> {
    pub fn user_type(&mut self, kind: UserType) {
        let (id, caption) = kind.choice();
        self.choice("type", id, caption);
    }

    /// Writes the name, the domain and the type into the open user object.
    pub fn account(&mut self, account: Account<'_>, kind: UserType) {
        self.json.escaped("name", account.name);
        self.observe(ObservableType::UserName, "name", account.name);
        self.optional("domain", account.domain);
        self.user_type(if sid::is_system(account) { UserType::System } else { kind });
    }

    /// Writes a user object of an endpoint's user. Only a login says whether that user is an administrator there.
    pub fn user(&mut self, name: &str, account: Account<'_>) {
        let open = self.open(name);
        self.account(account, UserType::Unknown);
        self.person(account);
        self.close(open);
    }

    /// Writes the full name and the address in `Jane Doe (jane@acme.example)` into the open user object. Returns
    /// whether there was an address.
    pub fn person(&mut self, account: Account<'_>) -> bool {
        let Some(email) = account.email() else { return false };
        self.optional("full_name", account.full_name);
        self.json.escaped("email_addr", email);
        self.observe(ObservableType::EmailAddress, "email_addr", email);
        true
    }

    /// Opens `actor`, which some classes have only with the profile `host`.
    pub fn open_actor(&mut self) -> Object {
        if !self.class.definition().has_actor {
            self.using(Profile::Host);
        }
        self.open("actor")
    }
}

/// Writes the full name and the address in the text of a user's name: `Jane Doe (jane@acme.example)`. The text stays in
/// the record.
pub(super) fn names_in(event: &mut Event<'_>, value: Value<'_>) {
    event.optional("full_name", display_name(value));
    if let Some(email) = Account::of(value).map(|account| account.text).filter(|text| is_email(*text)) {
        event.json.escaped("email_addr", email);
        event.observe(ObservableType::EmailAddress, "email_addr", email);
    }
}

/// Marks a text if it has nothing except the name and the domain, which were written.
pub(super) fn mark_account(event: &mut Event<'_>, value: Value<'_>) {
    let Some(account) = Account::of(value) else { return };
    let length = account.domain.map_or(0, |domain| domain.raw().len()) + account.name.raw().len();
    // In escaped text, a backslash has two characters.
    let separator = match (account.domain, account.text.raw().contains('\\')) {
        (None, _) => 0,
        (Some(_), true) => 2,
        (Some(_), false) => 1,
    };
    if value.escaped().is_some_and(|text| text.raw().len() == length + separator) {
        event.mark(value);
    }
}

/// Marks the user of a process, which can be a list of several users, as [`mark_account`] does.
pub(super) fn mark_process_user(event: &mut Event<'_>, value: Value<'_>) {
    if ProcessUser::of(value).effective == Account::of(value) {
        mark_account(event, value);
    }
}
