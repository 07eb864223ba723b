use crate::record::Stream;

/// How one stream is asked for (`sentinelone/api.md` section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// Path below the API's root.
    pub path: &'static str,
    /// `sortBy`.
    pub sort_by: &'static str,
    /// Prefix of the time filters: `createdAt` of `createdAt__gte`.
    pub time_filter: &'static str,
    /// Largest `limit`; one more is a 400.
    pub max_limit: usize,
}

impl Endpoint {
    /// The endpoint of `stream`.
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

    /// The endpoint of `stream`, asked for records by the time of their creation; groups have no such filter and are asked
    /// for as always.
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
