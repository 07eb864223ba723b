use crate::record::Stream;

/// Path and parameters of the requests for one stream. The console documents them at `https://HOST/api-doc/overview`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// Below `/web/api/v2.1/`.
    pub path: &'static str,
    /// The value of `sortBy`.
    pub sort_by: &'static str,
    /// Prefix of the time filters: `createdAt` for `createdAt__gte`.
    pub time_filter: &'static str,
    /// The largest accepted `limit`.
    pub max_limit: usize,
}

impl Endpoint {
    pub const fn of(stream: Stream) -> Self {
        let (path, sort_by, time_filter, max_limit) = match stream {
            Stream::Threats => ("threats", "updatedAt", "updatedAt", 1000),
            Stream::Activities => ("activities", "createdAt", "createdAt", 1000),
            Stream::Agents => ("agents", "updatedAt", "updatedAt", 1000),
            Stream::Alerts => ("cloud-detection/alerts", "alertInfoCreatedAt", "createdAt", 1000),
            Stream::Groups => ("groups", "updatedAt", "updatedAt", 300),
            Stream::UnifiedAlerts => ("unifiedalerts/graphql", "updatedAt", "updatedAt", 500),
            Stream::Vulnerabilities => ("application-management/risks", "id", "riskUpdatedDate", 1000),
        };
        Self { path, sort_by, time_filter, max_limit }
    }

    /// The permission that a role needs, as the console's page of roles names it: page, then box.
    pub const fn permission(stream: Stream) -> &'static str {
        match stream {
            Stream::Threats => "Endpoint Threats → View",
            Stream::Activities => "Activity → View",
            Stream::Agents => "Endpoints → View",
            Stream::Alerts => "STAR / Custom Alerts → View",
            Stream::Groups => "Groups → View",
            Stream::UnifiedAlerts => "Unified Alerts → View, and View for each type of alert",
            Stream::Vulnerabilities => "Applications → View and View risks",
        }
    }

    /// The endpoint with a filter by creation time. Groups have no such filter and keep that of [`Self::of`].
    pub const fn by_creation(stream: Stream) -> Self {
        let endpoint = Self::of(stream);
        match stream {
            Stream::Threats | Stream::Agents => Self { sort_by: "createdAt", time_filter: "createdAt", ..endpoint },
            Stream::UnifiedAlerts => Self { sort_by: "detectedAt", time_filter: "detectedAt", ..endpoint },
            Stream::Vulnerabilities => Self { time_filter: "detectionDate", ..endpoint },
            Stream::Activities | Stream::Alerts | Stream::Groups => endpoint,
        }
    }
}
