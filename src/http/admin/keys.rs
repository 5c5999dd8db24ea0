//! The keys of tokens.

use super::answers::{Context, Serve};
use super::messages::{
    Key, KeyUse, Keys, ListKeys, PruneKeys, PublicKey, PublicKeys, PublishedKeys, Refused, Removed,
    RotateKeys,
};
use crate::domain::key::{KeyKind, KeyRecord};
use crate::service::Operator;

impl Serve for ListKeys {
    async fn serve(self, Context { app, .. }: &Context) -> Result<Keys, Refused> {
        Ok(listed(app.service.keys.list(Operator)))
    }
}

impl Serve for RotateKeys {
    async fn serve(self, Context { origin, app }: &Context) -> Result<Keys, Refused> {
        Ok(listed(app.service.keys.rotate(origin, Operator, self.revoke).await?))
    }
}

impl Serve for PruneKeys {
    async fn serve(self, Context { origin, app }: &Context) -> Result<Removed, Refused> {
        Ok(Removed { removed: app.service.keys.prune(origin, Operator).await? })
    }
}

impl Serve for PublishedKeys {
    async fn serve(self, Context { app, .. }: &Context) -> Result<PublicKeys, Refused> {
        let keys = app.service.keys.published().into_iter().map(|key| PublicKey {
            kid: key.id,
            not_after: key.not_after,
            public_key: key.paserk.into(),
            state: key.state,
        });
        Ok(PublicKeys { keys: keys.collect() })
    }
}

fn listed(keys: Vec<KeyRecord>) -> Keys {
    let keys = keys.into_iter().map(|key| Key {
        not_after: key.not_after,
        state: key.state(),
        r#use: match key.id.kind() {
            KeyKind::Signing => KeyUse::Access,
            KeyKind::Encrypting => KeyUse::Refresh,
        },
        kid: key.id,
    });
    Keys { keys: keys.collect() }
}
