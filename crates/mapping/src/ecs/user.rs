//! Writes users.

use s1_forwarder_record::Value;

use super::event::{Event, is_placeholder};
use crate::common::account::{Account, ProcessUser, principal, split};

impl Account<'_> {
    /// Writes `name` and `domain` of the open user object.
    pub(super) fn write(self, event: &mut Event<'_>) {
        event.json.escaped("name", self.name);
        event.optional("domain", self.domain);
        self.relate(event);
    }

    /// Adds the name, and a principal name as a whole, to `related.user`.
    pub(super) fn relate(self, event: &mut Event<'_>) {
        event.related.user.add(self.name);
        if principal(self.text).is_some() {
            event.related.user.add(self.text);
        }
    }
}

impl ProcessUser<'_> {
    /// Writes `user` and `real_user` of the open process object. ECS has no domain there.
    pub(super) fn write(self, event: &mut Event<'_>) {
        for (name, account) in [("user", self.effective), ("real_user", self.real)] {
            let Some(account) = account else { continue };
            let open = event.open(name);
            event.json.escaped("name", account.name);
            event.close(open);
        }
        self.relate(event);
    }

    pub(super) fn relate(self, event: &mut Event<'_>) {
        [self.effective, self.real, self.login].into_iter().flatten().for_each(|account| account.relate(event));
    }
}

/// Writes `name` and, if the text has one, `domain` of the open user object. Returns false if there is no name. A text
/// that was split stays in the record.
pub(super) fn name_and_domain(event: &mut Event<'_>, value: Value<'_>) -> bool {
    let Some(account) = Account::of(value) else { return false };
    account.write(event);
    if value.escaped() == Some(account.name) {
        event.mark(value);
    }
    true
}

/// Writes `email` of the open user object. Returns false if there is none.
pub(super) fn email(event: &mut Event<'_>, value: Value<'_>) -> bool {
    if value.escaped().is_none_or(is_placeholder) {
        return false;
    }
    if let Some(email) = event.text("email", value) {
        event.related.user.add(email);
    }
    true
}

/// Adds a user name without a field to `related.user`.
pub(super) fn related(event: &mut Event<'_>, value: Value<'_>) {
    if let Some(text) = value.escaped().filter(|text| !is_placeholder(*text)) {
        event.related.user.add(split(text).1);
    }
}
