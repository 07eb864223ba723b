//! `emulate`: runs the built-in console emulator as a server.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::builder::PossibleValuesParser;

use super::output::print_line_or_fail;
use crate::emulator::{Console, Faults, Kind, Server, Setup, Token, system_clock};
use crate::record::Timestamp;
use crate::settings::Period;

/// Run an emulated SentinelOne console with generated records
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Address to listen on; port 0 chooses a free port
    #[arg(long, default_value = "127.0.0.1:9599")]
    pub listen: SocketAddr,
    /// Seed of all generated records and faults
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Number of activities in the console's history
    #[arg(long, default_value_t = 10_000)]
    pub activities: usize,
    /// Number of threats in the console's history
    #[arg(long, default_value_t = 200)]
    pub threats: usize,
    /// Number of agents
    #[arg(long, default_value_t = 100)]
    pub agents: usize,
    /// Number of STAR alerts in the console's history
    #[arg(long, default_value_t = 100)]
    pub alerts: usize,
    /// Number of unified alerts in the console's history
    #[arg(long, default_value_t = 100)]
    pub unified_alerts: usize,
    /// Number of application findings (vulnerabilities) in the console's history
    #[arg(long, default_value_t = 300)]
    pub vulnerabilities: usize,
    /// Length of the history
    #[arg(long, default_value = "1d")]
    pub span: Period,
    /// New or changed records per second after the start
    #[arg(long, default_value_t = 1.0)]
    pub rate: f64,
    /// The accepted API token
    #[arg(long, default_value = Setup::TOKEN)]
    pub token: String,
    /// When the token expires: a time, or a period from now such as 10d; `0s` is an expired token [default: never]
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    pub token_expires: Option<Timestamp>,
    /// What the token's user may read; the rest is answered with 403
    #[arg(long, value_enum, default_value_t = Role::Viewer)]
    pub role: Role,
    /// Faults to inject, separated by commas
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "none", value_parser = PossibleValuesParser::new(Faults::PRESETS))]
    pub faults: Vec<String>,
}

/// Roles of the token's user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Everything
    Viewer,
    /// Threats and alerts
    Threats,
    /// Agents, groups and sites
    Endpoints,
    /// The activity log
    Activity,
}

impl Role {
    fn can_read(self, kind: Kind) -> bool {
        match self {
            Self::Viewer => true,
            Self::Threats => matches!(kind, Kind::Threats | Kind::Alerts | Kind::UnifiedAlerts),
            Self::Endpoints => matches!(kind, Kind::Agents | Kind::Groups | Kind::Sites),
            Self::Activity => kind == Kind::Activities,
        }
    }
}

fn expiry(text: &str) -> Result<Timestamp, String> {
    let after = text.parse::<Period>().map(|period| Timestamp::now().plus(period.0));
    after
        .or_else(|_| Timestamp::parse(text))
        .map_err(|_| "write a period from now (10d) or a time with its zone (2026-01-31T00:00:00Z)".to_owned())
}

fn token(args: &Args) -> Token {
    let token = Token::new(&args.token).expiring(args.token_expires.map_or(i64::MAX, Timestamp::micros));
    Kind::ALL.into_iter().filter(|kind| !args.role.can_read(*kind)).fold(token, Token::without)
}

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// If the address cannot be bound, or a fault has an unknown name.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let faults =
        args.faults.iter().try_fold(Faults::default(), |all, name| anyhow::Ok(all.merge(Faults::preset(name)?)))?;
    let console = Console::new(&Setup {
        seed: args.seed,
        span: args.span.0,
        activities: args.activities,
        threats: args.threats,
        agents: args.agents,
        alerts: args.alerts,
        unified_alerts: args.unified_alerts,
        vulnerabilities: args.vulnerabilities,
        rate: args.rate,
        ..Setup::new(system_clock())
    });
    console.set_faults(faults);
    console.set_tokens(vec![token(&args)]);
    let server = Server::start(Arc::new(console), args.listen)
        .await
        .with_context(|| format!("cannot listen on {} (use --listen for another address)", args.listen))?;
    match print_line_or_fail(format!("console: {}", server.url()))
        .and_then(|()| print_line_or_fail(format!("token:   {}", args.token)))
    {
        // No client knows the address.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        printed => {
            printed?;
            wait_for_signal().await.context("cannot receive signals")?;
        }
    }
    server.stop().await;
    Ok(ExitCode::SUCCESS)
}

async fn wait_for_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        received = tokio::signal::ctrl_c() => received,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn faults_are_named_and_spans_have_units() {
        let line =
            Line::try_parse_from(["emulate", "--faults", "late,slow", "--span", "2h", "--listen", "127.0.0.1:0"]);
        let args = line.unwrap().args;
        assert_eq!(args.faults, ["late", "slow"]);
        assert_eq!(args.span.0.as_secs(), 7_200);
        assert!(Line::try_parse_from(["emulate", "--faults", "gremlins"]).is_err());
        assert!(Line::try_parse_from(["emulate", "--token-expires", "soon"]).is_err());
        let args = Line::try_parse_from(["emulate", "--token-expires", "10d", "--role", "endpoints"]).unwrap().args;
        let token = token(&args);
        let days = (token.expires - Timestamp::now().micros()) / 86_400_000_000;
        assert!((9..=10).contains(&days), "{days}");
        assert!(token.forbidden.contains(&Kind::Threats) && !token.forbidden.contains(&Kind::Agents));
        assert!(Line::try_parse_from(["emulate", "--span", "2"]).is_err());
    }
}
