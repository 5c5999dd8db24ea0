//! Wiring: settings → log → store → listener → serve → exit code.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::DumpableBehavior;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use gatelet::app::{MetricsListener, Server};
use gatelet::cli;
use gatelet::cli::args::{self, Command};
use gatelet::config::{Settings, absolute};
use gatelet::domain::clock::Clock;
use gatelet::exit::Exit;
use gatelet::listen;
use gatelet::logging::Logging;
use gatelet::metrics::Logs;
use gatelet::signals::Signals;

fn main() -> ExitCode {
    // Files made from here on are for this user alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    // Memory holds keys and passwords. A limit on the size of cores would not bind a program that the system hands them
    // to; this keeps debuggers of other processes of the same user away besides.
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    match args::from_process() {
        Ok(Command::Serve(settings)) => serve(&settings),
        Ok(Command::Healthcheck(args)) => cli::healthcheck::run(&args).into(),
        Ok(Command::User(command)) => cli::user::run(command).into(),
        Ok(Command::Key(command)) => cli::key::run(command).into(),
        Ok(Command::Import(args)) => cli::import::run(&args).into(),
        Ok(Command::Export(args)) => cli::export::run(&args).into(),
        Ok(Command::Backup(args)) => cli::backup::run(&args).into(),
        Ok(Command::Restore(args)) => cli::restore::run(&args).into(),
        Ok(Command::Verify(args)) => cli::verify::run(&args).into(),
        Ok(Command::Token(command)) => cli::token::run(&command).into(),
        Ok(Command::Settings(args)) => cli::settings::run(&args).into(),
        Ok(Command::Completions { shell }) => cli::completions::run(shell).into(),
        Err(message) => {
            let _ = message.print();
            // Help and the version are asked for, and no error.
            if message.use_stderr() { Exit::Usage.into() } else { Exit::Stopped.into() }
        }
    }
}

fn serve(settings: &Settings) -> ExitCode {
    let logging = match Logging::start("info", &settings.log, settings.log_format) {
        Ok(logging) => logging,
        Err(error) => {
            complain(&format!("cannot start: {error}"));
            return Exit::Other.into();
        }
    };
    let exit = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let exit = runtime.block_on(run(settings, logging.instruments()));
            runtime.shutdown_background(); // a thread that hangs on a broken disk is not waited for
            exit
        }
        Err(error) => refuse(Exit::Other, &error),
    };
    log::info!("ended with exit code {}", exit.code());
    logging.finish();
    std::process::exit(exit.code().into())
}

async fn run(settings: &Settings, logs: Logs) -> Exit {
    for warning in settings.warnings() {
        log::warn!("{warning}");
    }
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return refuse(Exit::Other, &error),
    };
    // Before the store is opened, so that commands can use it meanwhile.
    let addresses = async {
        for (address, setting) in wanted(settings) {
            listen::await_address(address, setting).await;
        }
    };
    tokio::select! {
        () = addresses => {}
        signal = signals.next() => {
            log::info!("{signal} received before there was an address to listen on");
            return Exit::Stopped;
        }
    }
    let opened = tokio::select! {
        opened = Server::open_within(COMMANDS, settings, Arc::new(Clock::system())) => opened,
        signal = signals.next() => {
            log::info!("{signal} received before the store was open");
            return Exit::Stopped;
        }
    };
    let server = match opened {
        Ok(server) => server,
        Err(error) => return refuse(error.exit(), &error),
    };
    let bound = tokio::select! {
        bound = bind(settings, logs) => bound,
        signal = signals.next() => {
            log::info!("{signal} received before there was an address to listen on");
            return server.close().await;
        }
    };
    let (listener, metrics) = match bound {
        Ok(bound) => bound,
        Err(reason) => {
            server.close().await;
            return refuse(Exit::Unavailable, &reason);
        }
    };
    let address = listener.local_addr().unwrap_or(settings.listen());
    let metrics_address = metrics.as_ref().and_then(|metrics| metrics.listener.local_addr().ok());
    log::info!("{}", what_starts(settings, address, metrics_address));
    let ready = || announce(&format!("gatelet listening on http://{address}"));

    let (stop, stopped) = oneshot::channel();
    let hurried = async {
        // Waited for outside the macro, which evaluates nothing where its level is filtered out.
        let signal = signals.next().await;
        log::info!("{signal} received: finishing the requests under way");
        let _ = stop.send(());
        let signal = signals.next().await;
        log::warn!("{signal} received again: stopping at once");
    };
    tokio::select! {
        () = server.run(listener, metrics, ready, async { drop(stopped.await) }) => {}
        () = hurried => {}
    }
    server.close().await
}

/// The log's first line: version, directory, addresses, backups.
fn what_starts(settings: &Settings, address: SocketAddr, metrics: Option<SocketAddr>) -> String {
    let dir = absolute(settings.data_dir());
    let mut text = format!("gatelet {} serves {} on {address}", env!("CARGO_PKG_VERSION"), dir.display());
    if let Some(metrics) = metrics {
        text.push_str(&format!(", metrics on {metrics}"));
    }
    if let Some(dir) = &settings.backup_dir {
        let every = humantime::format_duration(settings.backup_every);
        text.push_str(&format!(
            ", backups to {} every {every}, {} of them kept",
            absolute(dir).display(),
            settings.backup_keep
        ));
    }
    text
}

const LISTEN: &str = "--listen";
const METRICS_LISTEN: &str = "--metrics-listen";

/// Where the settings want a server to listen, and which of them.
fn wanted(settings: &Settings) -> impl Iterator<Item = (SocketAddr, &'static str)> {
    let metrics = settings.metrics_listen.map(|address| (address, METRICS_LISTEN));
    [(settings.listen(), LISTEN)].into_iter().chain(metrics)
}

/// Listens wherever the settings say. The error names the setting.
async fn bind(settings: &Settings, logs: Logs) -> Result<(TcpListener, Option<MetricsListener>), String> {
    let listener = listen::bind(settings.listen(), LISTEN).await?;
    let Some(address) = settings.metrics_listen else {
        return Ok((listener, None));
    };
    let metrics = MetricsListener { listener: listen::bind(address, METRICS_LISTEN).await?, logs };
    Ok((listener, Some(metrics)))
}

/// How long a start waits for a command that uses the store: an import of a million users takes two minutes, on a small
/// machine some more. A supervisor that is told that the directory is in use does not try again.
const COMMANDS: Duration = Duration::from_secs(15 * 60);

fn refuse(exit: Exit, reason: &dyn std::fmt::Display) -> Exit {
    if log::log_enabled!(log::Level::Error) {
        log::error!("{reason}");
    } else {
        complain(&reason.to_string()); // the reason not to start passes every filter
    }
    exit
}

/// Prints the one line on standard output, unless that is closed.
fn announce(line: &str) {
    let mut out = io::stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Before there is a log.
fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "gatelet: {line}");
}
