//! Users: added, found, changed and deleted.

use super::answers::{Context, Serve};
use super::messages::{
    AddUser, DeleteUser, EndSessions, FindUser, FreeName, Freed, ListUsers, Refused, SetPassword, Typed,
    UpdateUser, UserShown,
};
use crate::domain::user::{User, UserId, Username, UsernameError};
use crate::http::{App, wire};
use crate::password::Password;
use crate::service::{Actor, FreshAdmin, Operator, Refusal, Visitor};
use crate::store::UserChange;

/// How many users a page of the list holds: some 600 KB where names are at their longest.
const LISTED_AT_ONCE: usize = 1000;

impl Serve for AddUser {
    async fn serve(self, context: &Context) -> Result<UserShown, Refused> {
        let Context { origin, app } = context;
        let name = app.service.accounts.usernames().new_name(&self.username);
        let name = name.map_err(Refused::username)?;
        let password = new_password(&self.password, &name, app)?;
        match app.service.accounts.create(origin, admin(context)?, name, password, self.role).await {
            Ok(id) => show(id, app).await,
            Err(Refusal::NameTaken) => match named(&self.username, app).await? {
                Some(_) => Err(Refused::NameTaken),
                None => Err(Refused::NameKept),
            },
            Err(refusal) => Err(refusal.into()),
        }
    }
}

impl Serve for FindUser {
    async fn serve(self, Context { app, .. }: &Context) -> Result<UserShown, Refused> {
        match self {
            Self::Id(id) => show(id, app).await,
            Self::Name(name) => in_full(named(&name, app).await?.ok_or(Refused::NotFound)?, app).await,
        }
    }
}

impl Serve for ListUsers {
    async fn serve(self, Context { app, .. }: &Context) -> Result<Vec<UserShown>, Refused> {
        let overview = Visitor::from(Actor::Operator).overview()?;
        let users = app.service.accounts.list(overview, self.after, LISTED_AT_ONCE).await?;
        Ok(users.iter().map(|user| shown(user, None)).collect())
    }
}

impl Serve for UpdateUser {
    async fn serve(self, context: &Context) -> Result<UserShown, Refused> {
        let Context { origin, app } = context;
        let change = UserChange { role: self.role, disabled: self.disabled };
        in_full(app.service.accounts.update(origin, admin(context)?, Some(self.id), change).await?, app).await
    }
}

impl Serve for SetPassword {
    async fn serve(self, context: &Context) -> Result<UserShown, Refused> {
        let Context { origin, app } = context;
        let user = app.service.accounts.show(&Actor::Operator.into(), Some(self.id)).await?;
        let password = new_password(&self.password, &user.name, app)?;
        app.service.accounts.reset_password(origin, admin(context)?, self.id, password).await?;
        in_full(user, app).await
    }
}

impl Serve for EndSessions {
    async fn serve(self, Context { origin, app }: &Context) -> Result<UserShown, Refused> {
        app.service.sessions.end_all(origin, &Actor::Operator, Some(self.id)).await?;
        show(self.id, app).await
    }
}

impl Serve for DeleteUser {
    async fn serve(self, Context { origin, app }: &Context) -> Result<(), Refused> {
        Ok(app.service.accounts.delete(origin, &Actor::Operator.into(), Some(self.id)).await?)
    }
}

impl Serve for FreeName {
    async fn serve(self, Context { origin, app }: &Context) -> Result<Freed, Refused> {
        let freed = match self.username.parse() {
            Ok(name) => app.service.accounts.free_name(origin, Operator, name).await?,
            Err(_) => Vec::new(), // no user can have had it
        };
        Ok(Freed { freed: freed.iter().map(|name| name.as_str().to_owned().into()).collect() })
    }
}

fn admin(Context { origin, app }: &Context) -> Result<FreshAdmin, Refusal> {
    app.service.accounts.fresh_admin(origin, &Actor::Operator)
}

/// A password to be set for the user of that name.
fn new_password(Typed(text): &Typed, name: &Username, app: &App) -> Result<Password, Refused> {
    let password = Password::typed(text);
    app.policy
        .check(&password, Some(name))
        .map_err(|error| Refused::input(format!("password: {}", wire::password_refused(error))))?;
    Ok(password)
}

async fn named(name: &str, app: &App) -> Result<Option<User>, Refused> {
    match name.parse() {
        Ok(name) => Ok(app.service.accounts.find(Operator, &name).await?),
        Err(_) => Ok(None), // no user can have it
    }
}

async fn show(id: UserId, app: &App) -> Result<UserShown, Refused> {
    in_full(app.service.accounts.show(&Actor::Operator.into(), Some(id)).await?, app).await
}

async fn in_full(user: User, app: &App) -> Result<UserShown, Refused> {
    let scheme = app.service.accounts.password_scheme(Operator, &user).await?;
    Ok(shown(&user, Some(scheme)))
}

fn shown(user: &User, password_scheme: Option<String>) -> UserShown {
    UserShown {
        created_at: user.created_at,
        disabled: user.disabled,
        id: user.id,
        password_scheme: password_scheme.map(Into::into),
        role: user.role,
        username: user.name.as_str().to_owned().into(),
    }
}

impl Refused {
    /// What clients are told of a name, and the reason where that says little.
    pub(crate) fn username(error: UsernameError) -> Self {
        Self::input(match error {
            UsernameError::Empty | UsernameError::TooLong | UsernameError::ControlCharacter => {
                format!("username: {}", wire::name_refused(error))
            }
            UsernameError::OuterSpace
            | UsernameError::Invisible
            | UsernameError::Unassigned
            | UsernameError::MixedScripts
            | UsernameError::Dots => {
                format!("username: {} The name {error}.", wire::name_refused(error))
            }
        })
    }
}
