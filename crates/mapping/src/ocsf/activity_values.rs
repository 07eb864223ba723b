//! Values of an activity that are in one of several keys.

use s1_forwarder_record::Value;
use s1_forwarder_record::activity::ActivityData;

use crate::common::account::Account;
use crate::common::placeholder::{first_scalar, is_set};

/// The console user who acted: `byUser`, else `username`.
pub(super) fn actor_name<'a>(data: &ActivityData<'a>) -> Value<'a> {
    first_scalar([data.by_user, data.username, data.user_name])
}

/// The name of the user that was changed. If another user acted, the full name is that of the one who was changed.
pub(super) fn target<'a>(data: &ActivityData<'a>) -> Value<'a> {
    let full_name = if is_set(data.by_user) { data.full_name } else { Value::default() };
    first_scalar([data.username, data.user_name, data.email, data.recovery_email, full_name])
}

pub(super) fn target_name<'a>(data: &ActivityData<'a>) -> Option<Account<'a>> {
    Account::of(target(data))
}

/// The name of a device of device control, else the class of the device.
pub(super) fn peripheral_name<'a>(data: &ActivityData<'a>) -> Option<Value<'a>> {
    [data.device_name, other(data, "deviceClass"), other(data, "interface")].into_iter().find(|value| is_set(*value))
}

/// A value of `data` that has no field.
pub(super) fn other<'a>(data: &ActivityData<'a>, key: &str) -> Value<'a> {
    data.other.iter().find(|(known, _)| known == key).map(|(_, value)| *value).unwrap_or_default()
}
