//! The paths and parameters of the console's endpoints, one constant a stream.

use s1_forwarder_record::Stream;

/// Path and parameters of the requests for one stream. The console documents them at `https://HOST/api-doc/overview`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// Path below `/web/api/v2.1/`.
    pub path: &'static str,
    /// Sort order and filter in the order of the stream.
    pub order: ListOrder,
    /// Sort order and filter by the time of creation; `None` if the console has no such filter.
    pub created: Option<ListOrder>,
    /// The largest accepted `limit`.
    pub max_limit: usize,
    /// The permission that a role needs, as the console's page of roles names it: page, then box.
    pub permission: &'static str,
    /// Whether the console needs longer for this list than for others.
    pub is_slow: bool,
}

/// Sort order and filter of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListOrder {
    /// The value of `sortBy`.
    pub sort_by: &'static str,
    /// Prefix of the time filters: `createdAt` for `createdAt__gte`.
    pub time_filter: &'static str,
}

const fn by(time: &'static str) -> ListOrder {
    ListOrder { sort_by: time, time_filter: time }
}

const THREATS: Endpoint = Endpoint {
    path: "threats",
    order: by("updatedAt"),
    created: Some(by("createdAt")),
    max_limit: 1000,
    permission: "Endpoint Threats → View",
    is_slow: false,
};

const ACTIVITIES: Endpoint = Endpoint {
    path: "activities",
    order: by("createdAt"),
    created: Some(by("createdAt")),
    max_limit: 1000,
    permission: "Activity → View",
    is_slow: false,
};

const AGENTS: Endpoint = Endpoint {
    path: "agents",
    order: by("updatedAt"),
    created: Some(by("createdAt")),
    max_limit: 1000,
    permission: "Endpoints → View",
    is_slow: false,
};

const ALERTS_BY_CREATION: ListOrder = ListOrder { sort_by: "alertInfoCreatedAt", time_filter: "createdAt" };

const ALERTS: Endpoint = Endpoint {
    path: "cloud-detection/alerts",
    order: ALERTS_BY_CREATION,
    created: Some(ALERTS_BY_CREATION),
    max_limit: 1000,
    permission: "STAR / Custom Alerts → View",
    is_slow: false,
};

const GROUPS: Endpoint = Endpoint {
    path: "groups",
    order: by("updatedAt"),
    created: None,
    max_limit: 300,
    permission: "Groups → View",
    is_slow: false,
};

const UNIFIED_ALERTS: Endpoint = Endpoint {
    path: "unifiedalerts/graphql",
    order: by("updatedAt"),
    created: Some(by("detectedAt")),
    max_limit: 500,
    permission: "Unified Alerts → View, and View for each type of alert",
    is_slow: false,
};

const VULNERABILITIES: Endpoint = Endpoint {
    path: "application-management/risks",
    order: ListOrder { sort_by: "id", time_filter: "riskUpdatedDate" },
    created: Some(ListOrder { sort_by: "id", time_filter: "detectionDate" }),
    max_limit: 1000,
    permission: "Applications → View and View risks",
    is_slow: true,
};

impl Endpoint {
    pub const fn of(stream: Stream) -> &'static Self {
        match stream {
            Stream::Threats => &THREATS,
            Stream::Activities => &ACTIVITIES,
            Stream::Agents => &AGENTS,
            Stream::Alerts => &ALERTS,
            Stream::Groups => &GROUPS,
            Stream::UnifiedAlerts => &UNIFIED_ALERTS,
            Stream::Vulnerabilities => &VULNERABILITIES,
        }
    }

    /// Returns the [`Endpoint::permission`] of a stream.
    pub const fn permission(stream: Stream) -> &'static str {
        Self::of(stream).permission
    }

    /// Returns the order by creation if the console has a filter by creation, or else the order of the stream.
    pub const fn by_creation(&self) -> ListOrder {
        match self.created {
            Some(created) => created,
            None => self.order,
        }
    }

    /// Returns whether the console needs longer for the list at `path` than for others.
    pub(super) fn is_slow(path: &str) -> bool {
        let mut endpoints = Stream::ALL.into_iter().map(Self::of);
        endpoints.any(|endpoint| endpoint.is_slow && endpoint.path == path)
    }
}
