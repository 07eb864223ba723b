//! Writes users.

use s1_forwarder_record::Value;

use super::event::{Event, is_missing_word};
use crate::common::account::{Account, ProcessUser, is_email, name_and_address, principal, split};

/// Writes `name` and `domain` of the open user object. For `Jane Doe (jane@acme.example)`, writes `full_name` and
/// `email`.
pub(super) fn write_account(event: &mut Event<'_>, account: Account<'_>) {
    event.json.escaped("name", account.name);
    event.optional("domain", account.domain);
    event.optional("full_name", account.full_name);
    event.optional("email", account.email());
    relate_account(event, account);
}

/// Adds the name, the whole principal name and the name of the person to `related.user`.
pub(super) fn relate_account(event: &mut Event<'_>, account: Account<'_>) {
    event.related.user.add(account.name);
    if principal(account.text).is_some() {
        event.related.user.add(account.text);
    }
    if let Some(name) = account.full_name {
        event.related.user.add(name);
    }
}

/// Writes `user` and `real_user` of the open process object. ECS has no domain there.
pub(super) fn write_process_user(event: &mut Event<'_>, user: ProcessUser<'_>) {
    for (name, account) in [("user", user.effective), ("real_user", user.real)] {
        let Some(account) = account else { continue };
        let open = event.open(name);
        event.json.escaped("name", account.name);
        event.close(open);
    }
    relate_process_user(event, user);
}

pub(super) fn relate_process_user(event: &mut Event<'_>, user: ProcessUser<'_>) {
    [user.effective, user.real, user.login].into_iter().flatten().for_each(|account| relate_account(event, account));
}

/// Writes `name` and, if the text has one, `domain` of the open user object. Returns the user. A text that was split
/// stays in the record.
pub(super) fn name_and_domain<'a>(event: &mut Event<'_>, value: Value<'a>) -> Option<Account<'a>> {
    let account = Account::of(value)?;
    write_account(event, account);
    if value.escaped() == Some(account.name) {
        event.mark(value);
    }
    Some(account)
}

/// Writes `email` of the open user object, if its principal name has the form of an address.
pub(super) fn email_of_principal(event: &mut Event<'_>, name: Value<'_>) {
    if name.escaped().is_some_and(is_email) {
        email(event, name);
    }
}

/// Writes `email` of the open user object. Returns false if there is none.
pub(super) fn email(event: &mut Event<'_>, value: Value<'_>) -> bool {
    if value.escaped().is_none_or(is_missing_word) {
        return false;
    }
    if let Some(email) = event.text("email", value) {
        event.related.user.add(email);
    }
    true
}

/// Writes the name of the open user object: the local part of an address, and the address as `email`. Returns true if
/// the value is an address, or has one in brackets after the name of a person.
pub(super) fn name_and_email(event: &mut Event<'_>, value: Value<'_>) -> bool {
    let address = value.escaped().and_then(|text| match name_and_address(text) {
        Some((_, address)) => Some(address),
        None => Some(text).filter(|text| is_email(*text)),
    });
    let Some((text, (local, _))) = address.and_then(|text| Some((text, principal(text)?))) else {
        name_and_domain(event, value);
        return false;
    };
    event.json.escaped("name", local);
    event.json.escaped("email", text);
    event.related.user.add(local);
    event.related.user.add(text);
    if value.escaped() == Some(text) {
        event.mark(value);
    }
    true
}

/// Adds a user name without a field to `related.user`. `Jane Doe (jane@acme.example)` is a name and an address.
pub(super) fn related(event: &mut Event<'_>, value: Value<'_>) {
    let Some(text) = value.escaped().filter(|text| !is_missing_word(*text)) else { return };
    if name_and_address(text).is_none() {
        event.related.user.add(split(text).1);
    } else if let Some(account) = Account::of_text(text) {
        relate_account(event, account);
    }
}
