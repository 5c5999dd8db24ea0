//! The settings. Read at the start of the process, and passed on as values.
//!
//! A flag overrides its variable, which overrides the default.

use std::env::VarError;
use std::fs::File;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{BoolishValueParser, PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args, Parser};
use zeroize::Zeroizing;

use crate::domain::user::Usernames;
use crate::http::{CorsOrigins, TrustedProxies};
use crate::logging::{Filter, Format};
use crate::password::{Cost, Policy};
use crate::text;
use crate::throttle::Allowance;

/// Where the server listens.
#[derive(Clone, Debug, Args)]
pub struct ListenArgs {
    /// Address and port to listen on
    #[arg(long, env = "GATELET_LISTEN", default_value = "127.0.0.1:5000", value_name = "ADDR:PORT")]
    pub listen: SocketAddr,
}

/// Where the store is.
#[derive(Clone, Debug, Args)]
pub struct DataDirArgs {
    /// Directory that holds the store and the keys
    #[arg(long, env = "GATELET_DATA_DIR", default_value = "data", value_name = "DIR")]
    pub data_dir: PathBuf,
}

/// The settings of `serve`.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Address and data")]
pub struct Settings {
    #[command(flatten)]
    listen: ListenArgs,

    #[command(flatten)]
    data: DataDirArgs,

    /// How long an access token lives
    #[arg(long, env = "GATELET_ACCESS_TTL", help_heading = "Tokens", default_value = "15m", value_name = "DURATION", value_parser = lifetime)]
    pub access_ttl: Duration,

    /// How long a refresh token lives
    #[arg(long, env = "GATELET_REFRESH_TTL", help_heading = "Tokens", default_value = "30d", value_name = "DURATION", value_parser = lifetime)]
    pub refresh_ttl: Duration,

    /// Cost of a password hash; weaker than OWASP's rows is accepted with a warning
    #[arg(long, env = "GATELET_SCRYPT", help_heading = "Accounts and passwords", default_value_t = Cost::DEFAULT, value_name = "PARAMS")]
    pub scrypt: Cost,

    /// Password hashes computed at the same time [default: as many as cores, fewer where memory is short]
    #[arg(long, env = "GATELET_HASH_SLOTS", help_heading = "Accounts and passwords", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub hash_slots: Option<u32>,

    /// Connections held open at the same time
    #[arg(
        long,
        env = "GATELET_MAX_CONNECTIONS",
        help_heading = "Network",
        default_value = "1024",
        value_name = "N"
    )]
    pub max_connections: NonZeroU32,

    /// Address and port on which Prometheus finds /metrics; nowhere unless given
    #[arg(long, env = "GATELET_METRICS_LISTEN", help_heading = "Network", value_name = "ADDR:PORT")]
    pub metrics_listen: Option<SocketAddr>,

    /// Name of the issuer in tokens
    #[arg(long, env = "GATELET_ISSUER", help_heading = "Tokens", default_value = "gatelet", value_name = "NAME", value_parser = issuer)]
    pub issuer: String,

    /// Memory for the store's cache, in MiB
    #[arg(long, env = "GATELET_CACHE_MIB", help_heading = "Limits", default_value = "16", value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub cache_mib: u32,

    /// Free disk space below which nothing is written, in MiB
    #[arg(long, env = "GATELET_MIN_FREE_MIB", help_heading = "Limits", default_value = "16", value_name = "MIB", value_parser = clap::value_parser!(u32).range(4..))]
    pub min_free_mib: u32,

    /// Fewest characters of a new password
    #[arg(long, env = "GATELET_PASSWORD_MIN_LENGTH", help_heading = "Accounts and passwords", default_value = "8", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub password_min_length: u32,

    /// Refuse common passwords, the username and the word gatelet: on or off
    #[arg(long, env = "GATELET_PASSWORD_BLOCKLIST", help_heading = "Accounts and passwords", default_value = "on", value_name = "on|off", hide_possible_values = true, value_parser = either("on", "off"), action = ArgAction::Set)]
    pub password_blocklist: bool,

    /// Who may register: open for everybody, closed if administrators create the users
    #[arg(long = "registration", env = "GATELET_REGISTRATION", help_heading = "Accounts and passwords", default_value = "open", value_name = "open|closed", hide_possible_values = true, value_parser = either("open", "closed"), action = ArgAction::Set)]
    pub open_registration: bool,

    /// When names are the same: folded, whatever their case and what cannot be seen; or exact, only letter by letter
    #[arg(long, env = "GATELET_USERNAMES", help_heading = "Accounts and passwords", default_value = "folded", value_name = "folded|exact", hide_possible_values = true, value_parser = usernames(), action = ArgAction::Set)]
    pub usernames: Usernames,

    /// Replace the refresh token at every refresh, and end the session when an old one comes back: on or off
    #[arg(long, env = "GATELET_REFRESH_ROTATION", help_heading = "Tokens", default_value = "off", value_name = "on|off", hide_possible_values = true, value_parser = either("on", "off"), action = ArgAction::Set)]
    pub refresh_rotation: bool,

    /// Failed logins allowed to one account: N at once, then one per SPAN; or off
    #[arg(long, env = "GATELET_ACCOUNT_LIMIT", help_heading = "Limits", default_value_t = Allowance::ACCOUNT, value_name = "N,SPAN|off")]
    pub account_limit: Allowance,

    /// Failed logins allowed from one network (IPv4 address, IPv6 /64): N at once, then one per SPAN; or off
    #[arg(long, env = "GATELET_NETWORK_LIMIT", help_heading = "Limits", default_value_t = Allowance::NETWORK, value_name = "N,SPAN|off")]
    pub network_limit: Allowance,

    /// Registrations allowed from one network: N at once, then one per SPAN; or off
    #[arg(long, env = "GATELET_REGISTRATION_LIMIT", help_heading = "Limits", default_value_t = Allowance::REGISTRATIONS, value_name = "N,SPAN|off")]
    pub registration_limit: Allowance,

    /// Addresses and networks of proxies, separated by commas, whose X-Forwarded-For or Forwarded is believed
    #[arg(
        long,
        env = "GATELET_TRUSTED_PROXIES",
        help_heading = "Network",
        default_value = "",
        hide_default_value = true,
        value_name = "LIST"
    )]
    pub trusted_proxies: TrustedProxies,

    /// Origins (scheme://host:port) whose web pages may read answers, separated by commas
    #[arg(
        long,
        env = "GATELET_CORS_ORIGINS",
        help_heading = "Network",
        default_value = "",
        hide_default_value = true,
        value_name = "LIST"
    )]
    pub cors_origins: CorsOrigins,

    /// Name of the administrator that a start creates if there is none; takes a password as well
    #[arg(
        long,
        env = "GATELET_ADMIN_USERNAME",
        help_heading = "Accounts and passwords",
        value_name = "NAME"
    )]
    pub admin_username: Option<String>,

    /// File that holds that administrator's password, unless GATELET_ADMIN_PASSWORD does
    #[arg(
        long,
        env = "GATELET_ADMIN_PASSWORD_FILE",
        help_heading = "Accounts and passwords",
        value_name = "FILE"
    )]
    admin_password_file: Option<PathBuf>,

    /// Directory of its own for automatic backups; none are made without it
    #[arg(long, env = "GATELET_BACKUP_DIR", help_heading = "Backups", value_name = "DIR")]
    pub backup_dir: Option<PathBuf>,

    /// How often an automatic backup is made
    #[arg(long, env = "GATELET_BACKUP_EVERY", help_heading = "Backups", default_value = "24h", value_name = "DURATION", value_parser = interval)]
    pub backup_every: Duration,

    /// How many automatic backups are kept
    #[arg(long, env = "GATELET_BACKUP_KEEP", help_heading = "Backups", default_value = "7", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub backup_keep: u32,

    /// For trying things out: reading, listing and deleting users needs no token, any password will do
    #[arg(long, env = "GATELET_DEV", help_heading = "Trying out and mending", value_parser = BoolishValueParser::new())]
    pub dev: bool,

    /// Let --dev listen on other addresses than loopback
    #[arg(long, env = "GATELET_DEV_ANYWHERE", help_heading = "Trying out and mending", value_parser = BoolishValueParser::new())]
    pub dev_anywhere: bool,

    /// Log filter: a level (off, error, warn, info, debug, trace), target=level pairs, or both
    #[arg(long, env = "RUST_LOG", help_heading = "Log", default_value = "info", value_name = "FILTER")]
    pub log: Filter,

    /// What a log line looks like: text for people, json for machines
    #[arg(
        long,
        env = "GATELET_LOG_FORMAT",
        help_heading = "Log",
        default_value = "text",
        value_name = "text|json",
        hide_possible_values = true
    )]
    pub log_format: Format,

    /// Believe the system clock once, though the store has seen a later time; take the variable away again
    #[arg(long, env = "GATELET_ACCEPT_CLOCK", help_heading = "Trying out and mending", value_parser = BoolishValueParser::new())]
    pub accept_clock: bool,

    /// Make new keys once in place of lost or damaged ones; tokens made with those are refused
    #[arg(long, help_heading = "Trying out and mending")]
    pub replace_keys: bool,
}

impl Settings {
    /// Address and port to listen on.
    pub fn listen(&self) -> SocketAddr {
        self.listen.listen
    }

    /// Directory that holds the store and the keys.
    pub fn data_dir(&self) -> &Path {
        &self.data.data_dir
    }

    /// What a new password must be; under `--dev`, anything but empty.
    pub fn password_policy(&self) -> Policy {
        if self.dev {
            return Policy { min_chars: 1, blocklist: false };
        }
        Policy { min_chars: self.password_min_length as usize, blocklist: self.password_blocklist }
    }

    /// Settings that are allowed but unwise.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let policy = self.password_policy();
        if self.dev {
            warnings.push(format!(
                "--dev: anybody who reaches {} may read, list and delete users, and any password will do",
                self.listen()
            ));
        } else if policy.min_chars < LEAST_CHARS || !policy.blocklist {
            warnings.push(format!(
                "passwords may be weak: at least {} characters, common ones refused: {} (--password-min-length, \
                 --password-blocklist)",
                policy.min_chars, policy.blocklist
            ));
        }
        if !self.scrypt.meets_owasp() {
            warnings.push(format!(
                "--scrypt {} is weaker than what OWASP asks for; {} is the default",
                self.scrypt,
                Cost::DEFAULT
            ));
        }
        warnings
    }

    /// The password of the administrator to create. Read only when needed: once there is one, the file may be gone.
    ///
    /// # Errors
    /// The file cannot be read, or the password is no text.
    pub fn admin_password(&self) -> Result<Zeroizing<String>, String> {
        let source = self.admin_password_source();
        let bytes = match &self.admin_password_file {
            Some(path) => {
                let read = File::open(path).and_then(|file| text::read(file, ADMIN_PASSWORD_MAX));
                let bytes = read.map_err(|error| format!("{source}: {error}"))?;
                bytes.ok_or_else(|| format!("{source}: the file is longer than any password"))?
            }
            None => match std::env::var(ADMIN_PASSWORD) {
                Ok(text) => Zeroizing::new(text.into_bytes()),
                Err(VarError::NotPresent) => return Err(format!("{ADMIN_PASSWORD} is not set")),
                Err(VarError::NotUnicode(_)) => return Err(format!("{ADMIN_PASSWORD} is not UTF-8")),
            },
        };
        let text = text::of(&bytes).map_err(|error| format!("{source}: the password is {error}"))?;
        Ok(Zeroizing::new(text::without_line_end(text).to_owned()))
    }

    /// Whether that password can be read only once, as from a pipe: the start needs it.
    pub fn admin_password_is_for_once(&self) -> bool {
        let file = self.admin_password_file.as_ref().and_then(|path| path.metadata().ok());
        file.is_some_and(|file| !file.is_file() && !file.is_dir())
    }

    /// The setting that password comes from.
    pub fn admin_password_source(&self) -> String {
        match &self.admin_password_file {
            Some(path) => format!("--admin-password-file {}", path.display()),
            None => ADMIN_PASSWORD.to_owned(),
        }
    }

    /// The settings of a server without arguments, for commands that work on its data directory.
    ///
    /// # Errors
    /// An error in the environment.
    pub fn from_environment(data: &DataDirArgs) -> Result<Self, clap::Error> {
        let args = ["gatelet".into(), "--data-dir".into(), data.data_dir.clone().into_os_string()];
        /// A command line of settings alone.
        #[derive(Parser)]
        #[command(name = "gatelet")]
        struct Alone {
            #[command(flatten)]
            settings: Settings,
        }
        let mut settings = Alone::try_parse_from(args)?.settings;
        settings.admin_username = None; // for starts only
        settings.backup_dir = None; // for servers only
        if std::env::var_os("RUST_LOG").is_none() {
            settings.log = Filter::default(); // as is its default
        }
        Ok(settings)
    }
}

/// The fewest characters that a password should have (NIST SP 800-63B-4, 3.1.1.2, together with throttling).
const LEAST_CHARS: usize = 8;

/// The variable that has no flag.
pub(crate) const ADMIN_PASSWORD: &str = "GATELET_ADMIN_PASSWORD";

/// The longest password file, in bytes. The policy refuses passwords that are too long.
const ADMIN_PASSWORD_MAX: usize = 64 * 1024;

/// Checks settings that depend on each other.
pub(crate) fn check_together(settings: &Settings, has_admin_password: bool) -> Result<(), String> {
    if settings.dev && !settings.dev_anywhere && !settings.listen().ip().is_loopback() {
        return Err(format!(
            "--dev lets anybody read and delete users, so it listens on loopback only, not on {} (--listen); \
             give --dev-anywhere as well if you mean it",
            settings.listen()
        ));
    }
    let listen = settings.listen();
    if settings.metrics_listen.is_some_and(|metrics| overlap(metrics, listen)) {
        return Err(format!("--metrics-listen is to be another address or port than --listen, {listen}"));
    }
    match (&settings.admin_username, has_admin_password, &settings.admin_password_file) {
        (_, true, Some(_)) => {
            Err(format!("{ADMIN_PASSWORD} and {ADMIN_PASSWORD}_FILE are both given: give one of them"))
        }
        (Some(_), false, None) => {
            Err(format!("--admin-username needs {ADMIN_PASSWORD} or --admin-password-file"))
        }
        (None, true, _) => Err(format!("{ADMIN_PASSWORD} needs --admin-username")),
        (None, _, Some(_)) => Err("--admin-password-file needs --admin-username".into()),
        (Some(_), _, _) | (None, false, None) => Ok(()),
    }
}

/// Whether two listeners on these addresses would collide. Port 0 is a free one each time.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let [one_is, other_is] = [one, other].map(|address| address.ip().is_unspecified());
    // IPv6's wildcard includes IPv4's addresses.
    let meet = one.is_ipv4() == other.is_ipv4() || (one_is && one.is_ipv6()) || (other_is && other.is_ipv6());
    one.port() != 0 && one.port() == other.port() && (one.ip() == other.ip() || meet && (one_is || other_is))
}

pub(crate) fn lifetime(text: &str) -> Result<Duration, String> {
    /// Beyond this, years could exceed four digits.
    const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    let span = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write for example 90s, 15m, 12h or 30d"))?;
    if span < Duration::from_secs(1) || span > LONGEST {
        return Err("must be between one second and a hundred years".into());
    }
    Ok(span)
}

/// The interval of backups: a minute or more.
fn interval(text: &str) -> Result<Duration, String> {
    match lifetime(text) {
        Ok(span) if span < Duration::from_secs(60) => Err("must be a minute or more".into()),
        parsed => parsed,
    }
}

/// A flag with one of two words, for settings that are on by default. Shells complete both.
fn either(yes: &'static str, no: &'static str) -> impl TypedValueParser<Value = bool> {
    PossibleValuesParser::new([yes, no]).map(move |word| word == yes)
}

fn usernames() -> impl TypedValueParser<Value = Usernames> {
    either("folded", "exact").map(|folded| if folded { Usernames::Folded } else { Usernames::Exact })
}

fn issuer(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 256 || text.chars().any(char::is_control) {
        return Err("must have 1 to 256 bytes and no control characters".into());
    }
    Ok(text.to_owned())
}

/// The absolute path, for messages: their reader may not know the working directory.
pub fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
