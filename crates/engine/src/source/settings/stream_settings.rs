//! Common part of the settings of all streams.

/// Text of a key that every stream has; `_` stands for the usual one.
macro_rules! text {
    (interval _) => { "Time between polls." };
    (since _) => { "Where the first run begins." };
    (overlap _) => { "How late a record may become visible and still be caught." };
    (overlap change) => { "How late a change may become visible and still be caught." };
    (overlap alert) => { "How late an alert may become visible and still be caught." };
    (silent_after own) => {
        "How long the console may show no new record before the lane is reported as silent: a period, `auto` (by the\nlane's own rhythm) or `off`."
    };
    (silent_after never) => {
        "`auto` or `off`, which are the same here: this stream is never reported as silent."
    };
    ($key:ident $text:literal) => { $text };
}

/// Declares the settings of the stream of this name: the keys that every stream has, with their texts, and its own.
macro_rules! stream_settings {
    (
        $(#[$doc:meta])* $name:ident [$interval:tt, $since:tt, $overlap:tt, $silent_after:tt]
        $($(#[$of_key:meta])* $key:ident: $type:ty,)*
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            #[doc = text!(interval $interval)]
            pub interval: Option<Period>,
            #[doc = text!(since $since)]
            pub since: Option<Since>,
            #[doc = text!(overlap $overlap)]
            #[schemars(extend("x-kind" = SettingKind::RememberedPeriod))]
            pub overlap: Option<Period>,
            #[doc = text!(silent_after $silent_after)]
            pub silent_after: SilentAfter,
            $($(#[$of_key])* pub $key: $type,)*
        }

        impl $name {
            /// Returns the pull with the values of the keys that every stream has.
            fn common(&self) -> PullSettings {
                let usual = PullSettings::of(Stream::$name);
                PullSettings {
                    interval: self.interval.map_or(usual.interval, |period| period.0),
                    since: self.since.unwrap_or(usual.since),
                    overlap: self.overlap.map_or(usual.overlap, |period| period.0),
                    silent_after: self.silent_after,
                    ..usual
                }
            }
        }
    };
}

pub(crate) use {stream_settings, text};

pub fn sorted<T: Clone + Ord>(items: &[T]) -> Vec<T> {
    let mut items = items.to_vec();
    items.sort_unstable();
    items.dedup();
    items
}
