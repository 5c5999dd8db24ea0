//! The answering end: each request with the call of the service that answers it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;
use tokio::io::AsyncWrite;

use super::super::App;
use super::messages::{Address, Call, Checked, Checks, Refused, Request, Verify};
use super::{backup, frame};
use crate::audit::Origin;
use crate::service::{Operator, Refusal};

/// The request's origin, and the server.
pub(super) struct Context {
    pub(super) origin: Arc<Origin>,
    pub(super) app: Arc<App>,
}

/// A request as the server grants it.
pub(super) trait Serve: Call {
    async fn serve(self, context: &Context) -> Result<Self::Answer, Refused>;
}

/// Grants or refuses `request`, and writes the answer to `out`.
pub(super) async fn answer(
    request: Request,
    context: &Context,
    out: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    match request {
        Request::AddUser(call) => write(out, call.serve(context).await).await,
        Request::FindUser(call) => write(out, call.serve(context).await).await,
        Request::ListUsers(call) => write(out, call.serve(context).await).await,
        Request::UpdateUser(call) => write(out, call.serve(context).await).await,
        Request::SetPassword(call) => write(out, call.serve(context).await).await,
        Request::EndSessions(call) => write(out, call.serve(context).await).await,
        Request::DeleteUser(call) => write(out, call.serve(context).await).await,
        Request::FreeName(call) => write(out, call.serve(context).await).await,
        Request::ListKeys(call) => write(out, call.serve(context).await).await,
        Request::RotateKeys(call) => write(out, call.serve(context).await).await,
        Request::PruneKeys(call) => write(out, call.serve(context).await).await,
        Request::PublishedKeys(call) => write(out, call.serve(context).await).await,
        Request::ImportRule(call) => write(out, call.serve(context).await).await,
        Request::Import(call) => write(out, call.serve(context).await).await,
        Request::Export(call) => write(out, call.serve(context).await).await,
        Request::Verify(call) => write(out, call.serve(context).await).await,
        Request::Address(call) => write(out, call.serve(context).await).await,
        Request::Backup(_) => match context.app.service.backups.begin(&context.origin, Operator).await {
            Ok(lines) => {
                write(out, Ok(())).await?;
                backup::stream(lines, out).await
            }
            Err(refusal) => refuse(out, refusal.into()).await,
        },
    }
}

/// Refuses a request.
pub(super) async fn refuse(out: &mut (impl AsyncWrite + Unpin), refused: Refused) -> io::Result<()> {
    write(out, Err::<(), _>(refused)).await
}

async fn write<T: Serialize>(
    out: &mut (impl AsyncWrite + Unpin),
    answer: Result<T, Refused>,
) -> io::Result<()> {
    frame::write_json(out, &answer).await
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotFound => Self::NotFound,
            Refusal::NameTaken => Self::NameTaken,
            Refusal::LastAdmin => Self::LastAdmin,
            Refusal::Unavailable(reason) => Self::Unavailable(reason.to_string().into()),
            Refusal::Internal(fault) => {
                log::error!("a request failed: {fault}");
                Self::Failed
            }
            // The owner of the data directory shows no token or password, and may do everything.
            Refusal::InvalidCredentials
            | Refusal::Token(_)
            | Refusal::Forbidden
            | Refusal::RegistrationClosed
            | Refusal::Throttled(_) => Self::Forbidden,
        }
    }
}

impl Serve for Verify {
    async fn serve(self, Context { app, .. }: &Context) -> Result<Checks, Refused> {
        let checks = app.service.upkeep.check(Operator).await?.into_iter().map(|check| Checked {
            check: check.check.to_owned().into(),
            found: check.found.into(),
            verdict: check.verdict,
        });
        Ok(Checks { checks: checks.collect() })
    }
}

impl Serve for Address {
    async fn serve(self, Context { app, .. }: &Context) -> Result<Option<SocketAddr>, Refused> {
        Ok(app.address.get().copied())
    }
}
