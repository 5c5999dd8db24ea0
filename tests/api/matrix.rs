//! Every kind of token at every endpoint that takes one.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::mint::flip_bit;
use crate::refusal::{Refusal, expect};
use crate::support::{Client, Reply, TestServer, Tokens, credentials};

const PASSWORD: &str = "correct horse";

/// The endpoints, in the order of the table's columns. `<own>` is the token's user, `<other>` another one.
const ENDPOINTS: [(&str, &str); 9] = [
    ("POST", "/refresh"),
    ("POST", "/logout"),
    ("GET", "/user/me"),
    ("GET", "/user/<own>"),
    ("GET", "/user/<other>"),
    ("DELETE", "/user/me"),
    ("DELETE", "/user/<own>"),
    ("DELETE", "/user/<other>"),
    ("GET", "/user"),
];

/// What a request brings in its `Authorization` header.
#[derive(Clone, Copy, Debug)]
enum Given {
    Nothing,
    OtherScheme,
    Garbage,
    Fresh,
    NotFresh,
    Refresh,
    LoggedOutFresh,
    LoggedOutNotFresh,
    LoggedOutRefresh,
    DeletedFresh,
    DeletedNotFresh,
    DeletedRefresh,
    OtherKeyAccess,
    OtherKeyRefresh,
    OtherIssuerAccess,
    OtherIssuerRefresh,
    FlippedBitAccess,
    FlippedBitRefresh,
    ExpiredFresh,
    ExpiredNotFresh,
    ExpiredRefresh,
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Refreshed,
    LoggedOut,
    Shown,
    Deleted,
    Refused(Refusal),
}

use Answer::{Deleted, LoggedOut, Refreshed, Shown};

const MISSING: Answer = Answer::Refused(Refusal::Missing);
const INVALID: Answer = Answer::Refused(Refusal::Invalid);
const EXPIRED: Answer = Answer::Refused(Refusal::Expired);
const REVOKED: Answer = Answer::Refused(Refusal::Revoked);
const STALE: Answer = Answer::Refused(Refusal::NotFresh);
const FORBIDDEN: Answer = Answer::Refused(Refusal::Forbidden);

/// One answer for every endpoint: the compiler counts them.
#[rustfmt::skip] // a table
const TABLE: [(Given, [Answer; ENDPOINTS.len()]); 21] = [
    //                          refresh    logout     GET me   GET own  GET other  DEL me   DEL own  DEL other  list
    (Given::Nothing,            [MISSING,   MISSING,   MISSING, MISSING, MISSING,   MISSING, MISSING, MISSING,   MISSING]),
    (Given::OtherScheme,        [MISSING,   MISSING,   MISSING, MISSING, MISSING,   MISSING, MISSING, MISSING,   MISSING]),
    (Given::Garbage,            [INVALID,   INVALID,   INVALID, INVALID, INVALID,   INVALID, INVALID, INVALID,   INVALID]),
    (Given::Fresh,              [INVALID,   LoggedOut, Shown,   Shown,   FORBIDDEN, Deleted, Deleted, FORBIDDEN, FORBIDDEN]),
    (Given::NotFresh,           [INVALID,   LoggedOut, Shown,   Shown,   FORBIDDEN, STALE,   STALE,   FORBIDDEN, FORBIDDEN]),
    (Given::Refresh,            [Refreshed, LoggedOut, INVALID, INVALID, INVALID,   INVALID, INVALID, INVALID,   INVALID]),
    (Given::LoggedOutFresh,     [INVALID,   REVOKED,   REVOKED, REVOKED, REVOKED,   REVOKED, REVOKED, REVOKED,   REVOKED]),
    (Given::LoggedOutNotFresh,  [INVALID,   REVOKED,   REVOKED, REVOKED, REVOKED,   REVOKED, REVOKED, REVOKED,   REVOKED]),
    (Given::LoggedOutRefresh,   [REVOKED,   REVOKED,   INVALID, INVALID, INVALID,   INVALID, INVALID, INVALID,   INVALID]),
    (Given::DeletedFresh,       [INVALID,   REVOKED,   REVOKED, REVOKED, REVOKED,   REVOKED, REVOKED, REVOKED,   REVOKED]),
    (Given::DeletedNotFresh,    [INVALID,   REVOKED,   REVOKED, REVOKED, REVOKED,   REVOKED, REVOKED, REVOKED,   REVOKED]),
    (Given::DeletedRefresh,     [REVOKED,   REVOKED,   INVALID, INVALID, INVALID,   INVALID, INVALID, INVALID,   INVALID]),
    (Given::OtherKeyAccess,     [INVALID,   INVALID,   INVALID, INVALID, INVALID,   INVALID, INVALID, INVALID,   INVALID]),
    (Given::OtherKeyRefresh,    [INVALID,   INVALID,   INVALID, INVALID, INVALID,   INVALID, INVALID, INVALID,   INVALID]),
    (Given::OtherIssuerAccess,  [INVALID,   INVALID,   INVALID, INVALID, INVALID,   INVALID, INVALID, INVALID,   INVALID]),
    (Given::OtherIssuerRefresh, [INVALID,   INVALID,   INVALID, INVALID, INVALID,   INVALID, INVALID, INVALID,   INVALID]),
    (Given::FlippedBitAccess,   [INVALID,   INVALID,   INVALID, INVALID, INVALID,   INVALID, INVALID, INVALID,   INVALID]),
    (Given::FlippedBitRefresh,  [INVALID,   INVALID,   INVALID, INVALID, INVALID,   INVALID, INVALID, INVALID,   INVALID]),
    (Given::ExpiredFresh,       [INVALID,   EXPIRED,   EXPIRED, EXPIRED, EXPIRED,   EXPIRED, EXPIRED, EXPIRED,   EXPIRED]),
    (Given::ExpiredNotFresh,    [INVALID,   EXPIRED,   EXPIRED, EXPIRED, EXPIRED,   EXPIRED, EXPIRED, EXPIRED,   EXPIRED]),
    (Given::ExpiredRefresh,     [EXPIRED,   EXPIRED,   INVALID, INVALID, INVALID,   INVALID, INVALID, INVALID,   INVALID]),
];

#[test]
fn every_kind_of_token_meets_every_endpoint_as_the_contract_says() {
    let world = World::new();
    for (given, answers) in TABLE {
        for ((method, path), expected) in ENDPOINTS.into_iter().zip(answers) {
            let case = format!("{given:?} at {method} {path}");
            let asking = world.someone_with(given, case.clone());
            let path = path.replace("<own>", &asking.id).replace("<other>", &world.other_id);
            let reply = asking.send(&world.server, method, &path);
            asking.check(&reply, expected, &case);
            world.check_effect(&asking, given, expected, &case);
        }
    }
}

/// A server, and what others have made for it.
struct World {
    server: TestServer,
    other_id: String,
    elsewhere: Tokens,
    other_issuer: Asking,
}

/// Whoever asks: a user made for this one request, so that no request disturbs another.
#[derive(Clone)]
struct Asking {
    name: String,
    id: String,
    authorization: Option<String>,
    tokens: Tokens,
}

impl World {
    fn new() -> Self {
        let elsewhere = TestServer::start();
        elsewhere.register("anna", PASSWORD);
        let server =
            TestServer::start_with(&["--issuer", "other", "--access-ttl", "10y", "--refresh-ttl", "10y"]);
        let other_id = server.register("other", PASSWORD);
        let other_issuer = Asking::new(&server, "anna".to_owned());
        let clock = Arc::clone(&server.clock);
        Self {
            server: server.restart_with(&[], clock).unwrap(),
            other_id,
            elsewhere: elsewhere.log_in("anna", PASSWORD),
            other_issuer,
        }
    }

    fn someone_with(&self, given: Given, name: String) -> Asking {
        let Self { server, .. } = self;
        if let Given::OtherIssuerAccess = given {
            let token = self.other_issuer.tokens.access.clone();
            return self.other_issuer.clone().bearing(&token);
        }
        if let Given::OtherIssuerRefresh = given {
            let token = self.other_issuer.tokens.refresh.clone();
            return self.other_issuer.clone().bearing(&token);
        }
        let asking = Asking::new(server, name);
        let Tokens { access, refresh } = asking.tokens.clone();
        let refreshed = server.refresh(&asking.tokens);
        let logged_out = || assert_eq!(server.call("POST", "/logout", Some(&access), None).status, 200);
        let deleted = || assert_eq!(server.call("DELETE", "/user/me", Some(&access), None).status, 200);
        // Longer than both lifetimes, and the tokens of other rows are made after it.
        let expired = || server.advance(Duration::from_secs(31 * 24 * 3600));
        match given {
            Given::Nothing => asking,
            Given::OtherScheme => Asking { authorization: Some(format!("Basic {access}")), ..asking },
            Given::Garbage => asking.bearing("garbage"),
            Given::Fresh => asking.bearing(&access),
            Given::NotFresh => asking.bearing(&refreshed),
            Given::Refresh => asking.bearing(&refresh),
            Given::LoggedOutFresh => {
                logged_out();
                asking.bearing(&access)
            }
            Given::LoggedOutNotFresh => {
                logged_out();
                asking.bearing(&refreshed)
            }
            Given::LoggedOutRefresh => {
                logged_out();
                asking.bearing(&refresh)
            }
            Given::DeletedFresh => {
                deleted();
                asking.bearing(&access)
            }
            Given::DeletedNotFresh => {
                deleted();
                asking.bearing(&refreshed)
            }
            Given::DeletedRefresh => {
                deleted();
                asking.bearing(&refresh)
            }
            Given::OtherKeyAccess => asking.bearing(&self.elsewhere.access),
            Given::OtherKeyRefresh => asking.bearing(&self.elsewhere.refresh),
            Given::OtherIssuerAccess | Given::OtherIssuerRefresh => unreachable!("answered above"),
            Given::FlippedBitAccess => asking.bearing(&flipped(&access)),
            Given::FlippedBitRefresh => asking.bearing(&flipped(&refresh)),
            Given::ExpiredFresh => {
                expired();
                asking.bearing(&access)
            }
            Given::ExpiredNotFresh => {
                expired();
                asking.bearing(&refreshed)
            }
            Given::ExpiredRefresh => {
                expired();
                asking.bearing(&refresh)
            }
        }
    }

    /// What was done is done, and what was refused has done nothing.
    fn check_effect(&self, asking: &Asking, given: Given, answer: Answer, case: &str) {
        self.server.log_in("other", PASSWORD);
        let body = credentials(&asking.name, PASSWORD);
        let login = self.server.client().post("/login", &body);
        let was_deleted =
            matches!(given, Given::DeletedFresh | Given::DeletedNotFresh | Given::DeletedRefresh);
        if was_deleted || matches!(answer, Deleted) {
            Refusal::InvalidCredentials.expect(&login, case);
        } else {
            assert_eq!(login.status, 200, "{case}");
        }
        let session = self.server.call("POST", "/refresh", Some(&asking.tokens.refresh), None);
        match (given, answer) {
            _ if was_deleted => Refusal::Revoked.expect(&session, case),
            (_, LoggedOut | Deleted) => Refusal::Revoked.expect(&session, case),
            (Given::LoggedOutFresh | Given::LoggedOutNotFresh | Given::LoggedOutRefresh, _) => {
                Refusal::Revoked.expect(&session, case);
            }
            (Given::ExpiredFresh | Given::ExpiredNotFresh | Given::ExpiredRefresh, _) => {
                Refusal::Expired.expect(&session, case);
            }
            (Given::OtherIssuerAccess | Given::OtherIssuerRefresh, _) => {
                Refusal::Invalid.expect(&session, case);
            }
            _ => assert_eq!(session.status, 200, "{case}: {session:?}"),
        }
    }
}

impl Asking {
    fn new(server: &TestServer, name: String) -> Self {
        let id = server.register(&name, PASSWORD);
        let tokens = server.log_in(&name, PASSWORD);
        Self { name, id, authorization: None, tokens }
    }

    fn bearing(self, token: &str) -> Self {
        Self { authorization: Some(format!("Bearer {token}")), ..self }
    }

    fn send(&self, server: &TestServer, method: &str, path: &str) -> Reply {
        let headers: Vec<_> =
            self.authorization.iter().map(|value| ("Authorization", value.as_str())).collect();
        Client::connect(server.address).unwrap().send(method, path, &headers, None)
    }

    fn check(&self, reply: &Reply, expected: Answer, case: &str) {
        match expected {
            Answer::Refused(refusal) => refusal.expect(reply, case),
            LoggedOut => expect(reply, 200, &json!({"message": "Sucessfully logout"}), case),
            Shown => expect(reply, 200, &json!({"id": self.id, "username": self.name}), case),
            Deleted => expect(reply, 200, &json!({"message": "User deleted."}), case),
            Refreshed => {
                assert_eq!(reply.status, 200, "{case}: {reply:?}");
                let body = reply.json();
                assert!(body["access_token"].is_string(), "{case}");
                assert_eq!(body.as_object().map(serde_json::Map::len), Some(1), "{case}: {body}");
                assert_eq!(reply.header("cache-control"), Some("no-store"), "{case}");
                assert_eq!(reply.header("www-authenticate"), None, "{case}");
                assert_ne!(body["access_token"], Value::from(self.tokens.access.as_str()), "{case}");
            }
        }
    }
}

/// The token with one bit of its payload flipped.
fn flipped(token: &str) -> String {
    flip_bit(token, "v4.public.".len() + 30, 0).unwrap()
}
