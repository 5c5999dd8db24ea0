//! `gatelet healthcheck`: asks the server for `/healthz`, for containers that hold nothing but this binary.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::{finish, say};
use crate::config::{DataDirArgs, ListenArgs, absolute};
use crate::exit::Exit;
use crate::http::admin::messages::Address;
use crate::http::admin::{AdminError, ask, connect};

/// How long connecting, asking and answering may take each.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Which server to ask.
#[derive(Clone, Debug)]
pub struct HealthcheckArgs {
    /// Where it listens, unless the admin socket says otherwise.
    listen: SocketAddr,
    /// The address was given as a flag, and is asked before all others.
    is_given: bool,
    /// The server of this directory says where it listens.
    data_dir: PathBuf,
}

/// By hand, because only clap's matches know where a value comes from.
impl FromArgMatches for HealthcheckArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self {
            listen: ListenArgs::from_arg_matches(matches)?.listen,
            is_given: matches.value_source("listen") == Some(ValueSource::CommandLine),
            data_dir: DataDirArgs::from_arg_matches(matches)?.data_dir,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for HealthcheckArgs {
    fn augment_args(command: Command) -> Command {
        DataDirArgs::augment_args(ListenArgs::augment_args(command))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// Asks; exit 0 if the server is alive.
pub fn run(args: &HealthcheckArgs) -> Exit {
    let address = match args.address() {
        Ok(address) => address,
        Err(error) => {
            let dir = absolute(&args.data_dir);
            say(format_args!("gatelet: the server of {} is not healthy: {error}", dir.display()));
            return Exit::Other;
        }
    };
    match exchange(reachable(address)) {
        Ok(()) => finish(Ok(())),
        Err(error) => {
            say(format_args!("gatelet: {address} is not healthy: {}", in_words(error)));
            Exit::Other
        }
    }
}

impl HealthcheckArgs {
    fn address(&self) -> Result<SocketAddr, AdminError> {
        if self.is_given {
            return Ok(self.listen);
        }
        match address_of_server(&self.data_dir) {
            Ok(address) => Ok(address.unwrap_or(self.listen)),
            // Its server may have another directory, or be another user's.
            Err(AdminError::NotRunning | AdminError::NotAllowed) => Ok(self.listen),
            Err(error) => Err(error),
        }
    }
}

/// Where the server that uses `dir` listens; nothing if it does not say.
fn address_of_server(dir: &Path) -> Result<Option<SocketAddr>, AdminError> {
    let failed = |error: io::Error| AdminError::Failed(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let reply = runtime.block_on(async {
        let stream = connect(dir).await?;
        ask(stream, Address {}, TIMEOUT).await
    })?;
    reply.map_err(|refused| AdminError::Failed(refused.to_string()))
}

/// The address at which a server that listens on `listen` is reached from this machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        _ => return listen, // with its scope
    };
    SocketAddr::new(ip, listen.port())
}

fn exchange(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200 ") {
        return Ok(());
    }
    let status = answer.lines().next().unwrap_or("nothing");
    Err(io::Error::other(format!("the server answered {status:?}")))
}

fn in_words(error: io::Error) -> io::Error {
    match error.kind() {
        // A socket's timeout is the latter.
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            let within = humantime::format_duration(TIMEOUT);
            io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {within}"))
        }
        _ => error,
    }
}
