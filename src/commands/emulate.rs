//! `emulate`: the built-in console emulator as a server of its own.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::builder::PossibleValuesParser;

use crate::emulator::{Console, Faults, Server, Setup, Token, system_clock};
use crate::settings::Period;

/// Serves an emulated SentinelOne console with generated records
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Where to listen; port 0 takes a free port
    #[arg(long, default_value = "127.0.0.1:9599")]
    pub listen: SocketAddr,
    /// Decides every record and every fault
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Activities in the console's history
    #[arg(long, default_value_t = 10_000)]
    pub activities: usize,
    /// Threats in the console's history
    #[arg(long, default_value_t = 200)]
    pub threats: usize,
    /// Agents
    #[arg(long, default_value_t = 100)]
    pub agents: usize,
    /// STAR alerts in the console's history
    #[arg(long, default_value_t = 100)]
    pub alerts: usize,
    /// Unified alerts in the console's history
    #[arg(long, default_value_t = 100)]
    pub unified_alerts: usize,
    /// Application findings (vulnerabilities) in the console's history
    #[arg(long, default_value_t = 300)]
    pub vulnerabilities: usize,
    /// How far the history reaches back
    #[arg(long, default_value = "1d")]
    pub span: Period,
    /// Records a second that appear or change from now on
    #[arg(long, default_value_t = 1.0)]
    pub rate: f64,
    /// The API token that is accepted
    #[arg(long, default_value = Setup::TOKEN)]
    pub token: String,
    /// Faults to show, joined by commas
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "none", value_parser = PossibleValuesParser::new(Faults::PRESETS))]
    pub faults: Vec<String>,
}

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// When the address cannot be bound or a fault has an unknown name.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let faults =
        args.faults.iter().try_fold(Faults::default(), |all, name| anyhow::Ok(all.and(Faults::preset(name)?)))?;
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
    console.set_tokens(vec![Token::new(&args.token)]);
    let server = Server::start(Arc::new(console), args.listen)
        .await
        .with_context(|| format!("cannot listen on {} (another address can be given with --listen)", args.listen))?;
    println!("console: {}", server.url());
    println!("token:   {}", args.token);
    stopped().await.context("cannot wait for signals")?;
    server.stop().await;
    Ok(ExitCode::SUCCESS)
}

async fn stopped() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        ended = tokio::signal::ctrl_c() => ended,
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
        assert!(Line::try_parse_from(["emulate", "--span", "2"]).is_err());
    }
}
