//! `emulate`: the built-in console emulator as a server of its own.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::emulator::{Console, Faults, Server, Setup, Token, system_clock};

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
    /// How far the history reaches back
    #[arg(long, default_value = "1d", value_parser = span)]
    pub span: Duration,
    /// Records a second that appear or change from now on
    #[arg(long, default_value_t = 1.0)]
    pub rate: f64,
    /// The API token that is accepted
    #[arg(long, default_value = Setup::TOKEN)]
    pub token: String,
    /// Faults to show: none, all, or some of unauthorized, rate-limit, server-errors, bodies, slow, dropped, cursors,
    /// short-pages, clock, late, changes
    #[arg(long, value_delimiter = ',', default_value = "none")]
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
        span: args.span,
        activities: args.activities,
        threats: args.threats,
        agents: args.agents,
        alerts: args.alerts,
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

/// `30m`, `12h`, `1d`, `2w`.
fn span(text: &str) -> Result<Duration, String> {
    let refused = || format!("`{text}` is not a span; write it as 30m, 12h or 1d");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(refused)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err(refused()),
    };
    let number: u64 = number.parse().map_err(|_| refused())?;
    match number.checked_mul(seconds) {
        Some(seconds) if (1..=3_650 * 86_400).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err(refused()),
    }
}
