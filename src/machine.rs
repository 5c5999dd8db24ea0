//! Memory, cores and open files that this machine, or its container, offers.

use std::fs;
use std::io;
use std::path::Path;
use std::thread;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::password::Cost;

/// Files that are open besides connections: the store, the log, the runtime.
const OTHER_FILES: u64 = 64;

/// Bytes that hashes may take: half of the available memory; unlimited if the system does not tell.
pub(crate) fn hash_memory() -> u64 {
    available_memory().map_or(u64::MAX, |bytes| bytes / 2)
}

/// How many hashes may run at once: one a core, as far as [`hash_memory`] holds them. The pool also uses the slots' memory
/// for hashes that need more than one slot's.
pub(crate) fn hash_slots(cost: Cost) -> u32 {
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let fit = hash_memory() / cost.memory().max(1);
    u32::try_from(cores.min(fit)).unwrap_or(u32::MAX).max(1)
}

/// Available bytes: the system's, or the control group's if that allows less.
fn available_memory() -> Option<u64> {
    let system = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
    });
    system.into_iter().chain(control_group_limits()).min()
}

/// The memory limits of this process's control group and all above it. A container sees its own as the root.
fn control_group_limits() -> Vec<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut limits = Vec::new();
    for line in groups.lines() {
        // Version 2: `0::/path`; version 1: `7:memory:/path`.
        let mut parts = line.splitn(3, ':').skip(1);
        let (root, file) = match parts.next() {
            Some("") => ("/sys/fs/cgroup", "memory.max"),
            Some("memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        let path = Path::new(parts.next().unwrap_or_default().trim_start_matches('/'));
        for group in path.ancestors() {
            let limit = fs::read_to_string(Path::new(root).join(group).join(file));
            // "max" in version 2 is no limit.
            limits.extend(limit.ok().and_then(|text| text.trim().parse::<u64>().ok()));
        }
    }
    limits
}

/// Raises the process's limit of open files for `wanted` connections. Answers how many fit.
pub(crate) fn allow_connections(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let needed = wanted + OTHER_FILES;
    let Some(current) = limit.current.filter(|&current| current < needed) else {
        return wanted;
    };
    let raised = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
    let raise =
        || -> io::Result<()> { Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(raised), ..limit })?) };
    let allowed = match raise() {
        Ok(()) => raised,
        Err(_) => current,
    };
    let fit = allowed.saturating_sub(OTHER_FILES).clamp(1, wanted);
    if fit < wanted {
        log::warn!(
            "the limit on open files ({allowed}) leaves room for {fit} connections, not {wanted}: raise it (ulimit -n)"
        );
    }
    fit
}
