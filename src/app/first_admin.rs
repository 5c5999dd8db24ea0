//! The first administrator, named by the settings.

use crate::config::Settings;
use crate::domain::user::NewName;
use crate::http::wire;
use crate::password::Password;
use crate::service::{Accounts, Refusal, Unavailable};
use crate::store::StoreError;

use super::StartError;

/// Name and password of the administrator to create if there is none.
///
/// # Errors
/// [`StartError::FirstAdmin`]: the name or the password is not allowed.
pub(crate) fn first_admin(settings: &Settings) -> Result<Option<(NewName, Password)>, StartError> {
    let Some(name) = &settings.admin_username else {
        return Ok(None);
    };
    let refuse = StartError::FirstAdmin;
    let name = settings.usernames.new_name(name);
    let name = name.map_err(|error| {
        refuse(format!("--admin-username: {} (the name {error})", wire::name_refused(error)))
    })?;
    let password = Password::typed(&settings.admin_password().map_err(refuse)?);
    let checked = settings.password_policy().check(&password, Some(&name));
    checked.map_err(|error| {
        refuse(format!("{}: {}", settings.admin_password_source(), wire::password_refused(error)))
    })?;
    Ok(Some((name, password)))
}

/// Creates the administrator that the settings name, if there is none: `admin`, if they were read before.
pub(super) async fn ensure_admin(
    settings: &Settings,
    accounts: &Accounts,
    admin: Option<(NewName, Password)>,
) -> Result<(), StartError> {
    if settings.admin_username.is_none() || accounts.has_admin().await.map_err(failed)? {
        return Ok(());
    }
    match admin.map_or_else(|| first_admin(settings), |admin| Ok(Some(admin)))? {
        Some((name, password)) => accounts.create_first_admin(name, password).await.map_err(failed),
        None => Ok(()),
    }
}

fn failed(refusal: Refusal) -> StartError {
    match refusal {
        Refusal::NameTaken => StartError::FirstAdmin(
            "--admin-username: a user of that name exists and is no administrator, or was deleted in the last 30 days \
             (`gatelet user free` frees the name)"
                .into(),
        ),
        Refusal::Unavailable(Unavailable::DiskFull) => StartError::StoreBroken(StoreError::DiskFull),
        Refusal::Unavailable(Unavailable::StoreFailed) => StartError::StoreBroken(StoreError::Failed),
        Refusal::Unavailable(Unavailable::Clock(behind)) => StartError::Clock(behind),
        Refusal::Unavailable(
            reason @ (Unavailable::Busy | Unavailable::Page | Unavailable::KeyFiles | Unavailable::Stopping),
        ) => StartError::FirstAdminFailed(reason.to_string()),
        Refusal::Internal(fault) => StartError::FirstAdminFailed(fault.to_string()),
        // Creating a user never returns these refusals.
        Refusal::InvalidCredentials
        | Refusal::Token(_)
        | Refusal::Forbidden
        | Refusal::NotFound
        | Refusal::RegistrationClosed
        | Refusal::LastAdmin
        | Refusal::Throttled(_) => StartError::FirstAdminFailed("refused".into()),
    }
}
