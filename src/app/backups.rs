//! The directory of automatic backups.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::task::spawn_blocking;
use uuid::Uuid;

use crate::config::Settings;
use crate::domain::clock::Clock;
use crate::durable_file;
use crate::service::{AutomaticBackups, BackupPlan};

use super::StartError;
use super::options::min_free;

/// How long the backups' disk may take to answer at the start: an unreachable network share never answers.
const BACKUP_DISK: Duration = Duration::from_secs(5);

/// Opens the directory, if the settings name one.
pub(super) async fn open(
    settings: &Settings,
    store: Uuid,
    clock: &Clock,
) -> Result<Option<AutomaticBackups>, StartError> {
    let Some(dir) = &settings.backup_dir else {
        return Ok(None);
    };
    let plan = BackupPlan {
        dir: dir.clone(),
        store,
        every: settings.backup_every,
        keep: usize::try_from(settings.backup_keep).unwrap_or(usize::MAX),
        min_free: min_free(settings),
    };
    let now = clock.now_or_mark();
    let opened = {
        let (plan, data_dir) = (plan.clone(), settings.data_dir().to_owned());
        let opened = spawn_blocking(move || {
            demand_apart(&plan.dir, &data_dir)?;
            AutomaticBackups::open(plan, now)
        });
        let hangs = io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer");
        tokio::time::timeout(BACKUP_DISK, opened)
            .await
            .map_or(Err(hangs), |opened| opened.unwrap_or_else(|gone| Err(io::Error::other(gone))))
    };
    use io::ErrorKind::{AlreadyExists, InvalidInput, NotADirectory, PermissionDenied};
    match opened {
        Ok(backups) => Ok(Some(backups)),
        // Only the operator can mend these.
        Err(error)
            if matches!(error.kind(), AlreadyExists | InvalidInput | NotADirectory | PermissionDenied) =>
        {
            Err(StartError::Backups(dir.clone(), error))
        }
        // The disk may come back. Logins go on meanwhile.
        Err(error) => Ok(Some(AutomaticBackups::failed(plan, error, now))),
    }
}

/// Refuses backups among the store's own files, and warns about a directory that is lost together with the store.
fn demand_apart(backups: &Path, data: &Path) -> io::Result<()> {
    let data = data.canonicalize()?;
    let backups = match (backups.canonicalize(), backups.file_name()) {
        // Not made yet.
        (Err(error), Some(name)) if error.kind() == io::ErrorKind::NotFound => {
            durable_file::parent(backups).canonicalize()?.join(name)
        }
        (canonical, _) => canonical?,
    };
    if backups == data || ["store", "keys"].iter().any(|own| backups.starts_with(data.join(own))) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the store keeps its own files there"));
    }
    if backups.starts_with(&data) {
        log::warn!(
            "--backup-dir {} is inside --data-dir: what loses the one loses the other",
            backups.display()
        );
    }
    Ok(())
}
