//! Checks of store and keys: the faults, and how to mend them.

use std::fmt;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use crate::password::PasswordHash;
use crate::store::{Findings, Listed, Records, SnapshotError};
use crate::token::KeyError;
use crate::visible::quoted;

use super::super::{Fault, Operator, Refusal};
use super::Upkeep;

/// One check and its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The object of the check.
    pub check: &'static str,
    /// The result.
    pub verdict: Verdict,
    /// The finding, and how to mend it.
    pub found: String,
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it must be.
    Good,
    /// No fault, but worth knowing.
    Note,
    /// Not damaged; the operator has to act.
    Warning,
    /// Damaged.
    Wrong,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Good => "good",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Wrong => "wrong",
        })
    }
}

/// What to do about damage that the next start would refuse.
const RESTORE: &str = "keep this directory, restore the last good backup into another, and look at the disk";

impl Upkeep {
    /// Reads all of the store and the keys and checks them. Stops when the caller has gone.
    ///
    /// # Errors
    /// [`Refusal`]: the checks could not be made.
    pub async fn check(&self, _: Operator) -> Result<Vec<Check>, Refusal> {
        let keys = self.keys.check_files().await?;
        let inspection = self.store.inspect().await?;
        let now = self.clock.now_or_mark();
        let (answer, wait) = oneshot::channel();
        spawn_blocking(move || {
            let found = inspection.finish(now, PasswordHash::is_readable, || answer.is_closed());
            let _ = answer.send(found);
        });
        let found = match wait.await {
            Ok(Ok(found)) => found,
            Ok(Err(SnapshotError::Store(error))) => return Err(error.into()),
            Ok(Err(
                error @ (SnapshotError::TooSlow
                | SnapshotError::Page(_)
                | SnapshotError::Damaged
                | SnapshotError::Abandoned),
            )) => {
                return Err(Refusal::Internal(Fault::new(format!("the store could not be read: {error}"))));
            }
            Err(_) => return Err(Refusal::Internal(Fault::new("reading the store panicked".into()))),
        };
        let clock = match self.clock.now() {
            Ok(now) => good(now.to_string()),
            Err(behind) => warning(format!("every login and every token is refused: {behind}")),
        };
        Ok(checks(&found, clock, &keys))
    }
}

fn checks(
    found: &Findings,
    clock: Judged,
    (wrong_keys, strange): &(Vec<KeyError>, Vec<String>),
) -> Vec<Check> {
    let check = |check, (verdict, found)| Check { check, verdict, found };
    let mut checks = vec![
        check("marker", marker(found)),
        check("store", store(found)),
        check("changes", changes(found)),
        check("seal", seal(found)),
    ];
    // A part of the records proves nothing.
    if found.unreadable_page.is_none() {
        checks.extend([
            check("users", readable(found.users)),
            check("names", kept_names(found)),
            check("ended sessions", readable(found.revoked)),
            check("rotations", readable(found.rotations)),
            check("keys", readable(found.keys)),
            check("names and users", names(found)),
            check("forgetting", forgetting(found)),
        ]);
    }
    checks.extend([
        check("key files", key_files(wrong_keys)),
        check("free space", free_space(found)),
        check("directory", directory(found)),
        check("permissions", permissions(found)),
        check("clock", clock),
    ]);
    let odd = &found.odd_names;
    if odd.alike.count > 0 {
        let what = "count as one name for a new user; each of these users logs in by this very spelling";
        checks.push(check("names alike", listed(&odd.alike, what)));
    }
    if odd.outdated.count > 0 {
        let what = "are of a form that no new user can have, and go on as they are";
        checks.push(check("names of before", listed(&odd.outdated, what)));
    }
    if !strange.is_empty() {
        checks
            .push(check("other key files", (Verdict::Note, format!("nobody needs {}", strange.join(", ")))));
    }
    checks
}

type Judged = (Verdict, String);

fn good(found: impl Into<String>) -> Judged {
    (Verdict::Good, found.into())
}

fn warning(found: String) -> Judged {
    (Verdict::Warning, found)
}

fn wrong(found: String) -> Judged {
    (Verdict::Wrong, found)
}

fn marker(found: &Findings) -> Judged {
    let id = found.store;
    match &found.beside.marker {
        Ok(Some(marker)) if *marker == id => good(format!("store {id}")),
        Ok(_) => wrong(format!(
            "the file store-id does not name this store: if this is the right one, make it with the one line {id}"
        )),
        Err(why) => wrong(why.clone()),
    }
}

fn store(found: &Findings) -> Judged {
    match &found.beside.in_place {
        Ok(true) => good("its file is where the next start looks for it"),
        Ok(false) => wrong(
            "its file is gone or was replaced by another, and the next start will not find what is in it: put it back, \
             or run `gatelet backup` before the server stops, and restore that"
                .into(),
        ),
        Err(why) => wrong(why.clone()),
    }
}

fn changes(found: &Findings) -> Judged {
    let changes = found.changes;
    match &found.beside.acknowledged {
        Ok(Some(known)) if *known > changes => {
            wrong(format!("the last {} of {known} are missing: {RESTORE}", known - changes))
        }
        Ok(Some(_)) => good(format!("{changes}, none is missing")),
        Err(why) => wrong(why.clone()),
        Ok(None) => {
            let text =
                "the file commits is gone or holds no number: whether the last are there cannot be told";
            (Verdict::Note, format!("{changes}; {text}"))
        }
    }
}

fn seal(found: &Findings) -> Judged {
    if let Some(why) = &found.unreadable_page {
        return wrong(format!("a page cannot be read: {why}: {RESTORE}"));
    }
    if found.adds_up {
        return good(
            "all records are there and as they were written (the cache is not read from the disk again)",
        );
    }
    wrong(format!("records are missing, or older than they should be: {RESTORE}"))
}

fn readable(Records { count, unreadable }: Records) -> Judged {
    match unreadable {
        0 => good(count.to_string()),
        _ => wrong(format!("{unreadable} of {count} cannot be read: {RESTORE}")),
    }
}

fn kept_names(found: &Findings) -> Judged {
    match (readable(found.names), found.kept_names) {
        ((Verdict::Good, count), kept @ 1..) => {
            good(format!("{count}, and {kept} of deleted users (`gatelet user free`)"))
        }
        (judged, _) => judged,
    }
}

/// Names that are no fault of the store. Applications that use names as keys should know of them.
fn listed(names: &Listed, what: &str) -> Judged {
    let mut list: Vec<_> = names.first.iter().map(|name| quoted(name)).collect();
    if names.count > list.len() as u64 {
        list.push("…".to_owned());
    }
    (Verdict::Note, format!("{} {what}: {}", names.count, list.join(", ")))
}

fn names(found: &Findings) -> Judged {
    if found.names_fit {
        return good("each name leads to its user, and each user has it");
    }
    wrong(format!("some names lead to nobody or to somebody else, or users have none: {RESTORE}"))
}

fn forgetting(found: &Findings) -> Judged {
    if found.overdue == 0 {
        return good("nothing is kept for longer than it is needed");
    }
    let text = "sessions were over more than an hour ago and are still there: a running server forgets them within a \
                minute, unless the disk is full or its clock is wrong";
    (Verdict::Note, format!("{} {text}", found.overdue))
}

fn key_files(problems: &[KeyError]) -> Judged {
    if problems.is_empty() {
        return good("all that are needed are there");
    }
    wrong(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

fn free_space(found: &Findings) -> Judged {
    let free = match &found.beside.free {
        Ok(free) => *free,
        Err(why) => return wrong(why.clone()),
    };
    let text = format!("{} MiB, and {} MiB must be", free >> 20, found.beside.min_free >> 20);
    if free >= found.beside.min_free {
        return good(text);
    }
    warning(format!("{text}: nothing is written until there is room"))
}

fn permissions(found: &Findings) -> Judged {
    let exposed = match &found.beside.readable {
        Ok(exposed) => exposed,
        Err(why) => return wrong(why.clone()),
    };
    let Some(first) = exposed.first() else {
        return good("hashes and keys are for their owner alone");
    };
    let more = match exposed.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let (path, mode) = (first.path.display(), first.mode);
    let text = format!(
        "{path} (mode {mode:04o}){more} can be used by others than the owner: run `chmod -R go=` on the folders store and \
         keys of the data directory"
    );
    if first.is_for_everybody() {
        return wrong(format!(
            "{text}; if somebody may have read them, `gatelet key rotate --revoke` makes new keys, and passwords should \
             be changed"
        ));
    }
    // A group may be intended, as for a volume shared by group.
    warning(text)
}

fn directory(found: &Findings) -> Judged {
    match &found.beside.exposed {
        None => good("only its owner can write to it"),
        Some(dir) => warning(format!("others can write to it: run `chmod 700 {}`", dir.display())),
    }
}
