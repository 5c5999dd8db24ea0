//! What the settings mean to each part of the server.

use crate::config::Settings;
use crate::http::Hosts;
use crate::http::Limits;
use crate::machine;
use crate::service::Rules;
use crate::store::StoreOptions;
use crate::throttle;
use crate::token::Lifetimes;

pub(crate) fn store_options(settings: &Settings) -> StoreOptions {
    StoreOptions {
        cache: u64::from(settings.cache_mib) << 20,
        min_free: min_free(settings),
        accept_clock: None,
    }
}

/// Bytes to be left free on a disk.
pub(crate) fn min_free(settings: &Settings) -> u64 {
    u64::from(settings.min_free_mib) << 20
}

pub(crate) fn lifetimes(settings: &Settings) -> Lifetimes {
    Lifetimes { access: settings.access_ttl, refresh: settings.refresh_ttl }
}

pub(super) fn rules(settings: &Settings) -> Rules {
    Rules {
        open_registration: settings.open_registration,
        usernames: settings.usernames,
        refresh_rotation: settings.refresh_rotation,
        open_doors: settings.dev,
    }
}

pub(super) fn throttling(settings: &Settings) -> throttle::Limits {
    throttle::Limits {
        account: settings.account_limit,
        network: settings.network_limit,
        registrations: settings.registration_limit,
    }
}

/// Raises the process's limit of open files, and answers how many connections fit.
pub(super) fn limits(settings: &Settings) -> Limits {
    let fit = machine::allow_connections(settings.max_connections.get().into());
    Limits {
        max_connections: usize::try_from(fit).unwrap_or(usize::MAX),
        trusted_proxies: settings.trusted_proxies.clone(),
        cors_origins: settings.cors_origins.clone(),
        // Without tokens, a page whose name resolves to this machine would be let in like its owner.
        hosts: if settings.dev && !settings.dev_anywhere { Hosts::Loopback } else { Hosts::Any },
    }
}
