//! What this machine, or the container around us, has to give.

use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::thread;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::password::Cost;

/// Files that are open besides connections: the store, the log, the runtime.
const OTHER_FILES: u64 = 64;

/// How many hashes may run at once: one a core, as long as they take no more than half of the memory that is
/// available.
pub(crate) fn hash_slots(cost: Cost) -> NonZeroU32 {
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let fit = available_memory().map_or(cores, |bytes| bytes / 2 / cost.memory().max(1));
    u32::try_from(cores.min(fit)).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN)
}

/// Bytes that may still be used: the system's, or the control group's where that allows less.
fn available_memory() -> Option<u64> {
    let system = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
    });
    // Version 2 and version 1, as a container sees its own. Where there is no limit, 2 says "max".
    let group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    [system, group].into_iter().flatten().min()
}

/// Makes room for `wanted` connections among the files that the process may open. Answers how many fit.
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
