//! Every kind of token, of users and of administrators, at every endpoint that takes one.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::admin::{with_admin_and, with_admin_on_disk};
use crate::mint::{flip_bit, read_unverified};
use crate::refusal::{Refusal, expect};
use crate::support::{Client, Reply, TestServer, Tokens, credentials, start};

const PASSWORD: &str = "correct horse";
const NEW_PASSWORD: &str = "battery staple";

/// The endpoints, in the order of the table's columns. `<own>` is the token's user, `<other>` another one.
const ENDPOINTS: [(&str, &str); 17] = [
    ("POST", "/refresh"),
    ("POST", "/logout"),
    ("GET", "/session"),
    ("GET", "/user/me"),
    ("GET", "/user/<own>"),
    ("GET", "/user/<other>"),
    ("DELETE", "/user/me"),
    ("DELETE", "/user/<own>"),
    ("DELETE", "/user/<other>"),
    ("PATCH", "/user/<own>"),
    ("PATCH", "/user/<other>"),
    ("POST", "/user/<own>/password"),
    ("POST", "/user/<other>/password"),
    ("DELETE", "/user/<own>/sessions"),
    ("DELETE", "/user/<other>/sessions"),
    ("GET", "/user?limit=1"),
    ("POST", "/user"),
];

/// A good body where the endpoint takes one, so that only the token is a reason to refuse.
fn body(method: &str, path: &str, case: &str) -> Option<Value> {
    match (method, path) {
        ("PATCH", _) => Some(json!({"disabled": true})),
        ("POST", "/user/<own>/password") => {
            Some(json!({"current_password": PASSWORD, "new_password": NEW_PASSWORD}))
        }
        ("POST", "/user/<other>/password") => Some(json!({"new_password": NEW_PASSWORD})),
        ("POST", "/user") => Some(credentials(&made(case), PASSWORD)),
        _ => None,
    }
}

/// The name of the user that `POST /user` creates.
fn made(case: &str) -> String {
    format!("made: {case}")
}

/// The role of the token's user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    User,
    Admin,
}

const BOTH: &[Role] = &[Role::User, Role::Admin];
const USER: &[Role] = &[Role::User];
const ADMIN: &[Role] = &[Role::Admin];

/// The `Authorization` header of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    Nothing,
    OtherScheme,
    Garbage,
    Fresh,
    NotFresh,
    Refresh,
    LoggedOutFresh,
    LoggedOutNotFresh,
    LoggedOutRefresh,
    AllEndedFresh,
    AllEndedNotFresh,
    AllEndedRefresh,
    DisabledFresh,
    DisabledNotFresh,
    DisabledRefresh,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Refreshed,
    LoggedOut,
    Session,
    Shown,
    Deleted,
    Disabled,
    Changed,
    Ended,
    Listed,
    Created,
    Refused(Refusal),
}

use Answer::{Changed, Created, Deleted, Disabled, Ended, Listed, LoggedOut, Refreshed, Session, Shown};

const MISSING: Answer = Answer::Refused(Refusal::Missing);
const INVALID: Answer = Answer::Refused(Refusal::Invalid);
const EXPIRED: Answer = Answer::Refused(Refusal::Expired);
const REVOKED: Answer = Answer::Refused(Refusal::Revoked);
const STALE: Answer = Answer::Refused(Refusal::NotFresh);
const FORBIDDEN: Answer = Answer::Refused(Refusal::Forbidden);

/// One answer for every endpoint: the compiler counts them.
#[rustfmt::skip] // a table
const TABLE: [(&[Role], Given, [Answer; ENDPOINTS.len()]); 29] = [
    //                                  refresh    logout     session  GET me   GET own  GET other  DEL me   DEL own  DEL other  PATCH own  PATCH other own passw. other passw. own sess. other sess. list       create
    (BOTH,  Given::Nothing,            [MISSING,   MISSING,   MISSING, MISSING, MISSING, MISSING,   MISSING, MISSING, MISSING,   MISSING,   MISSING,    MISSING,   MISSING,     MISSING,  MISSING,    MISSING,   MISSING]),
    (BOTH,  Given::OtherScheme,        [MISSING,   MISSING,   MISSING, MISSING, MISSING, MISSING,   MISSING, MISSING, MISSING,   MISSING,   MISSING,    MISSING,   MISSING,     MISSING,  MISSING,    MISSING,   MISSING]),
    (BOTH,  Given::Garbage,            [INVALID,   INVALID,   INVALID, INVALID, INVALID, INVALID,   INVALID, INVALID, INVALID,   INVALID,   INVALID,    INVALID,   INVALID,     INVALID,  INVALID,    INVALID,   INVALID]),
    (USER,  Given::Fresh,              [INVALID,   LoggedOut, Session, Shown,   Shown,   FORBIDDEN, Deleted, Deleted, FORBIDDEN, FORBIDDEN, FORBIDDEN,  Changed,   FORBIDDEN,   Ended,    FORBIDDEN,  FORBIDDEN, FORBIDDEN]),
    (ADMIN, Given::Fresh,              [INVALID,   LoggedOut, Session, Shown,   Shown,   Shown,     Deleted, Deleted, Deleted,   Disabled,  Disabled,   Changed,   Changed,     Ended,    Ended,      Listed,    Created]),
    (USER,  Given::NotFresh,           [INVALID,   LoggedOut, Session, Shown,   Shown,   FORBIDDEN, STALE,   STALE,   FORBIDDEN, FORBIDDEN, FORBIDDEN,  Changed,   FORBIDDEN,   STALE,    FORBIDDEN,  FORBIDDEN, FORBIDDEN]),
    (ADMIN, Given::NotFresh,           [INVALID,   LoggedOut, Session, Shown,   Shown,   Shown,     STALE,   STALE,   STALE,     STALE,     STALE,      Changed,   STALE,       STALE,    STALE,      Listed,    STALE]),
    (BOTH,  Given::Refresh,            [Refreshed, LoggedOut, INVALID, INVALID, INVALID, INVALID,   INVALID, INVALID, INVALID,   INVALID,   INVALID,    INVALID,   INVALID,     INVALID,  INVALID,    INVALID,   INVALID]),
    (BOTH,  Given::LoggedOutFresh,     [INVALID,   REVOKED,   REVOKED, REVOKED, REVOKED, REVOKED,   REVOKED, REVOKED, REVOKED,   REVOKED,   REVOKED,    REVOKED,   REVOKED,     REVOKED,  REVOKED,    REVOKED,   REVOKED]),
    (BOTH,  Given::LoggedOutNotFresh,  [INVALID,   REVOKED,   REVOKED, REVOKED, REVOKED, REVOKED,   REVOKED, REVOKED, REVOKED,   REVOKED,   REVOKED,    REVOKED,   REVOKED,     REVOKED,  REVOKED,    REVOKED,   REVOKED]),
    (BOTH,  Given::LoggedOutRefresh,   [REVOKED,   REVOKED,   INVALID, INVALID, INVALID, INVALID,   INVALID, INVALID, INVALID,   INVALID,   INVALID,    INVALID,   INVALID,     INVALID,  INVALID,    INVALID,   INVALID]),
    (BOTH,  Given::AllEndedFresh,      [INVALID,   REVOKED,   REVOKED, REVOKED, REVOKED, REVOKED,   REVOKED, REVOKED, REVOKED,   REVOKED,   REVOKED,    REVOKED,   REVOKED,     REVOKED,  REVOKED,    REVOKED,   REVOKED]),
    (BOTH,  Given::AllEndedNotFresh,   [INVALID,   REVOKED,   REVOKED, REVOKED, REVOKED, REVOKED,   REVOKED, REVOKED, REVOKED,   REVOKED,   REVOKED,    REVOKED,   REVOKED,     REVOKED,  REVOKED,    REVOKED,   REVOKED]),
    (BOTH,  Given::AllEndedRefresh,    [REVOKED,   REVOKED,   INVALID, INVALID, INVALID, INVALID,   INVALID, INVALID, INVALID,   INVALID,   INVALID,    INVALID,   INVALID,     INVALID,  INVALID,    INVALID,   INVALID]),
    (BOTH,  Given::DisabledFresh,      [INVALID,   REVOKED,   REVOKED, REVOKED, REVOKED, REVOKED,   REVOKED, REVOKED, REVOKED,   REVOKED,   REVOKED,    REVOKED,   REVOKED,     REVOKED,  REVOKED,    REVOKED,   REVOKED]),
    (BOTH,  Given::DisabledNotFresh,   [INVALID,   REVOKED,   REVOKED, REVOKED, REVOKED, REVOKED,   REVOKED, REVOKED, REVOKED,   REVOKED,   REVOKED,    REVOKED,   REVOKED,     REVOKED,  REVOKED,    REVOKED,   REVOKED]),
    (BOTH,  Given::DisabledRefresh,    [REVOKED,   REVOKED,   INVALID, INVALID, INVALID, INVALID,   INVALID, INVALID, INVALID,   INVALID,   INVALID,    INVALID,   INVALID,     INVALID,  INVALID,    INVALID,   INVALID]),
    (BOTH,  Given::DeletedFresh,       [INVALID,   REVOKED,   REVOKED, REVOKED, REVOKED, REVOKED,   REVOKED, REVOKED, REVOKED,   REVOKED,   REVOKED,    REVOKED,   REVOKED,     REVOKED,  REVOKED,    REVOKED,   REVOKED]),
    (BOTH,  Given::DeletedNotFresh,    [INVALID,   REVOKED,   REVOKED, REVOKED, REVOKED, REVOKED,   REVOKED, REVOKED, REVOKED,   REVOKED,   REVOKED,    REVOKED,   REVOKED,     REVOKED,  REVOKED,    REVOKED,   REVOKED]),
    (BOTH,  Given::DeletedRefresh,     [REVOKED,   REVOKED,   INVALID, INVALID, INVALID, INVALID,   INVALID, INVALID, INVALID,   INVALID,   INVALID,    INVALID,   INVALID,     INVALID,  INVALID,    INVALID,   INVALID]),
    (BOTH,  Given::OtherKeyAccess,     [INVALID,   INVALID,   INVALID, INVALID, INVALID, INVALID,   INVALID, INVALID, INVALID,   INVALID,   INVALID,    INVALID,   INVALID,     INVALID,  INVALID,    INVALID,   INVALID]),
    (BOTH,  Given::OtherKeyRefresh,    [INVALID,   INVALID,   INVALID, INVALID, INVALID, INVALID,   INVALID, INVALID, INVALID,   INVALID,   INVALID,    INVALID,   INVALID,     INVALID,  INVALID,    INVALID,   INVALID]),
    (BOTH,  Given::OtherIssuerAccess,  [INVALID,   INVALID,   INVALID, INVALID, INVALID, INVALID,   INVALID, INVALID, INVALID,   INVALID,   INVALID,    INVALID,   INVALID,     INVALID,  INVALID,    INVALID,   INVALID]),
    (BOTH,  Given::OtherIssuerRefresh, [INVALID,   INVALID,   INVALID, INVALID, INVALID, INVALID,   INVALID, INVALID, INVALID,   INVALID,   INVALID,    INVALID,   INVALID,     INVALID,  INVALID,    INVALID,   INVALID]),
    (BOTH,  Given::FlippedBitAccess,   [INVALID,   INVALID,   INVALID, INVALID, INVALID, INVALID,   INVALID, INVALID, INVALID,   INVALID,   INVALID,    INVALID,   INVALID,     INVALID,  INVALID,    INVALID,   INVALID]),
    (BOTH,  Given::FlippedBitRefresh,  [INVALID,   INVALID,   INVALID, INVALID, INVALID, INVALID,   INVALID, INVALID, INVALID,   INVALID,   INVALID,    INVALID,   INVALID,     INVALID,  INVALID,    INVALID,   INVALID]),
    (BOTH,  Given::ExpiredFresh,       [INVALID,   EXPIRED,   EXPIRED, EXPIRED, EXPIRED, EXPIRED,   EXPIRED, EXPIRED, EXPIRED,   EXPIRED,   EXPIRED,    EXPIRED,   EXPIRED,     EXPIRED,  EXPIRED,    EXPIRED,   EXPIRED]),
    (BOTH,  Given::ExpiredNotFresh,    [INVALID,   EXPIRED,   EXPIRED, EXPIRED, EXPIRED, EXPIRED,   EXPIRED, EXPIRED, EXPIRED,   EXPIRED,   EXPIRED,    EXPIRED,   EXPIRED,     EXPIRED,  EXPIRED,    EXPIRED,   EXPIRED]),
    (BOTH,  Given::ExpiredRefresh,     [EXPIRED,   EXPIRED,   INVALID, INVALID, INVALID, INVALID,   INVALID, INVALID, INVALID,   INVALID,   INVALID,    INVALID,   INVALID,     INVALID,  INVALID,    INVALID,   INVALID]),
];

#[test]
fn every_token_of_every_role_gets_the_contracts_answer_at_every_endpoint() {
    let mut world = World::new();
    for (role, given, answers) in rows() {
        for ((method, path), expected) in ENDPOINTS.into_iter().zip(answers) {
            let case = format!("{role:?} {given:?} at {method} {path}");
            let caller = world.caller_with(role, given, case.clone());
            let other = world.new_target();
            let place = path.replace("<own>", &caller.id).replace("<other>", &other.id);
            let reply = caller.send(&world.server, method, &place, body(method, path, &case).as_ref());
            world.check(&caller, &other, path, &reply, expected, &case);
            world.check_caller(&caller, given, path, expected, &case);
            world.check_target(&other, path, expected, &case);
            let login = world.server.client().post("/login", &credentials(&made(&case), PASSWORD));
            assert_eq!(login.status, if expected == Created { 200 } else { 401 }, "{case}");
        }
    }
}

#[test]
fn the_table_lists_every_kind_of_token_once_for_every_role() {
    let mut rows: Vec<_> = rows().map(|(role, given, _)| format!("{role:?} {given:?}")).collect();
    rows.sort();
    rows.dedup();
    assert_eq!(rows.len(), BOTH.len() * (Given::ExpiredRefresh as usize + 1));
}

/// Every kind of token, once for every role.
pub(crate) fn kinds() -> impl Iterator<Item = (Role, Given)> {
    rows().map(|(role, given, _)| (role, given))
}

fn rows() -> impl Iterator<Item = (Role, Given, [Answer; ENDPOINTS.len()])> {
    let rows = TABLE.into_iter();
    rows.flat_map(|(roles, given, answers)| roles.iter().map(move |&role| (role, given, answers)))
}

/// A server, and tokens of another server. Its oldest user is the administrator `root`, which no request changes.
pub(crate) struct World {
    pub(crate) server: TestServer,
    root_id: String,
    elsewhere: [Tokens; 2],
    other_issuer: [Caller; 2],
    /// The number of target users created so far.
    others: usize,
    /// The last target user, if no request has changed it.
    other: Option<Target>,
}

/// The target of requests: a user as if newly created.
struct Target {
    name: String,
    id: String,
    tokens: Tokens,
}

/// The caller: a user created for this one request, so that no request disturbs another.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) name: String,
    pub(crate) id: String,
    role: Role,
    authorization: Option<String>,
    tokens: Tokens,
}

impl World {
    pub(crate) fn new() -> Self {
        let (elsewhere, _) = with_admin_and(&[]);
        elsewhere.register("anna", PASSWORD);
        let (server, root_id) =
            with_admin_on_disk(&["--issuer", "other", "--access-ttl", "10y", "--refresh-ttl", "10y"]);
        let other_issuer = [
            Caller::new(&server, Role::User, "anna".to_owned()),
            Caller::new(&server, Role::Admin, "ada".to_owned()),
        ];
        let clock = Arc::clone(&server.clock);
        // More callers than the limits let one address register.
        let server = server
            .restart_with(
                &["--registration-limit", "off", "--network-limit", "off", "--account-limit", "off"],
                clock,
            )
            .unwrap();
        Self {
            server,
            root_id,
            elsewhere: [elsewhere.log_in("anna", PASSWORD), elsewhere.log_in("root", PASSWORD)],
            other_issuer,
            others: 0,
            other: None,
        }
    }

    /// A target user with a live session.
    fn new_target(&mut self) -> Target {
        let (name, id) = match self.other.take() {
            Some(Target { name, id, .. }) => (name, id),
            None => {
                self.others += 1;
                let name = format!("other {}", self.others);
                let id = self.server.register(&name, PASSWORD);
                (name, id)
            }
        };
        let tokens = self.server.log_in(&name, PASSWORD);
        Target { name, id, tokens }
    }

    pub(crate) fn caller_with(&self, role: Role, given: Given, name: String) -> Caller {
        let Self { server, .. } = self;
        let elsewhere = &self.elsewhere[role as usize];
        let other_issuer = &self.other_issuer[role as usize];
        if let Given::OtherIssuerAccess = given {
            let token = other_issuer.tokens.access.clone();
            return other_issuer.clone().bearing(&token);
        }
        if let Given::OtherIssuerRefresh = given {
            let token = other_issuer.tokens.refresh.clone();
            return other_issuer.clone().bearing(&token);
        }
        let caller = Caller::new(server, role, name);
        let id = caller.id.clone();
        let Tokens { access, refresh } = caller.tokens.clone();
        let refreshed = server.refresh(&caller.tokens);
        let logged_out = || assert_eq!(server.call("POST", "/logout", Some(&access), None).status, 200);
        let all_ended = || {
            assert_eq!(server.call("DELETE", "/user/me/sessions", Some(&access), None).status, 200);
        };
        let disabled = || {
            let root = server.log_in("root", PASSWORD).access;
            let change = json!({"disabled": true});
            assert_eq!(server.call("PATCH", &format!("/user/{id}"), Some(&root), Some(&change)).status, 200);
        };
        let deleted = || assert_eq!(server.call("DELETE", "/user/me", Some(&access), None).status, 200);
        // Longer than both lifetimes. Tokens of later rows are issued after it.
        let expired = || server.advance(Duration::from_secs(31 * 24 * 3600));
        match given {
            Given::Nothing => caller,
            Given::OtherScheme => Caller { authorization: Some(format!("Basic {access}")), ..caller },
            Given::Garbage => caller.bearing("garbage"),
            Given::Fresh => caller.bearing(&access),
            Given::NotFresh => caller.bearing(&refreshed),
            Given::Refresh => caller.bearing(&refresh),
            Given::LoggedOutFresh => {
                logged_out();
                caller.bearing(&access)
            }
            Given::LoggedOutNotFresh => {
                logged_out();
                caller.bearing(&refreshed)
            }
            Given::LoggedOutRefresh => {
                logged_out();
                caller.bearing(&refresh)
            }
            Given::AllEndedFresh => {
                all_ended();
                caller.bearing(&access)
            }
            Given::AllEndedNotFresh => {
                all_ended();
                caller.bearing(&refreshed)
            }
            Given::AllEndedRefresh => {
                all_ended();
                caller.bearing(&refresh)
            }
            Given::DisabledFresh => {
                disabled();
                caller.bearing(&access)
            }
            Given::DisabledNotFresh => {
                disabled();
                caller.bearing(&refreshed)
            }
            Given::DisabledRefresh => {
                disabled();
                caller.bearing(&refresh)
            }
            Given::DeletedFresh => {
                deleted();
                caller.bearing(&access)
            }
            Given::DeletedNotFresh => {
                deleted();
                caller.bearing(&refreshed)
            }
            Given::DeletedRefresh => {
                deleted();
                caller.bearing(&refresh)
            }
            Given::OtherKeyAccess => caller.bearing(&elsewhere.access),
            Given::OtherKeyRefresh => caller.bearing(&elsewhere.refresh),
            Given::OtherIssuerAccess | Given::OtherIssuerRefresh => unreachable!("answered above"),
            Given::FlippedBitAccess => caller.bearing(&flipped(&access)),
            Given::FlippedBitRefresh => caller.bearing(&flipped(&refresh)),
            Given::ExpiredFresh => {
                expired();
                caller.bearing(&access)
            }
            Given::ExpiredNotFresh => {
                expired();
                caller.bearing(&refreshed)
            }
            Given::ExpiredRefresh => {
                expired();
                caller.bearing(&refresh)
            }
        }
    }

    fn check(
        &self,
        caller: &Caller,
        other: &Target,
        path: &str,
        reply: &Reply,
        expected: Answer,
        case: &str,
    ) {
        let is_other = path.contains("<other>");
        let (id, name) = if is_other { (&other.id, &other.name) } else { (&caller.id, &caller.name) };
        let role = if caller.role == Role::Admin && !is_other { "admin" } else { "user" };
        let message = |text: &str| expect(reply, 200, &json!({ "message": text }), case);
        match expected {
            Answer::Refused(refusal) => refusal.expect(reply, case),
            LoggedOut => message("Sucessfully logout"),
            Deleted => message("User deleted."),
            Changed => message("Password changed."),
            Ended => message("All sessions ended."),
            Shown => expect(reply, 200, &json!({"id": id, "username": name}), case),
            Disabled => {
                let created_at = &reply.json()["created_at"];
                let body = json!({"id": id, "username": name, "role": role, "disabled": true, "created_at": created_at});
                expect(reply, 200, &body, case);
            }
            Listed => {
                let root = json!({
                    "id": self.root_id,
                    "username": "root",
                    "role": "admin",
                    "disabled": false,
                    "created_at": start().to_string(),
                });
                expect(reply, 200, &json!([root]), case);
            }
            Session => {
                let body = reply.json();
                expect(reply, 200, &body, case);
                assert_eq!(body["user"]["id"], Value::from(id.as_str()), "{case}");
                assert_eq!(body["user"]["role"], role, "{case}");
                assert_eq!(body["session"]["id"], read_unverified(&caller.tokens.access)["sid"], "{case}");
            }
            Created => {
                expect(reply, 201, &json!({"message": "User created successfully."}), case);
                assert!(reply.header("location").is_some_and(|place| place.starts_with("/user/")), "{case}");
            }
            Refreshed => {
                assert_eq!(reply.status, 200, "{case}: {reply:?}");
                let body = reply.json();
                assert!(body["access_token"].is_string(), "{case}");
                assert_eq!(body.as_object().map(serde_json::Map::len), Some(1), "{case}: {body}");
                assert_eq!(reply.header("cache-control"), Some("no-store"), "{case}");
                assert_eq!(reply.header("www-authenticate"), None, "{case}");
                assert_ne!(body["access_token"], Value::from(caller.tokens.access.as_str()), "{case}");
            }
        }
    }

    /// Asserts that a change to the caller took effect, and that a refused one did not.
    fn check_caller(&self, caller: &Caller, given: Given, path: &str, answer: Answer, case: &str) {
        // A change to the target leaves the caller as it was.
        let answer = if path.contains("<other>") { Shown } else { answer };
        let login =
            |password: &str| self.server.client().post("/login", &credentials(&caller.name, password)).status;
        let logins = match answer {
            _ if given.is_gone() => (401, 401),
            Deleted | Disabled => (401, 401),
            Changed => (401, 200),
            _ => (200, 401),
        };
        assert_eq!((login(PASSWORD), login(NEW_PASSWORD)), logins, "{case}");
        let session = self.server.call("POST", "/refresh", Some(&caller.tokens.refresh), None);
        match (given, answer) {
            _ if given.is_over() => Refusal::Revoked.expect(&session, case),
            (_, LoggedOut | Deleted | Disabled | Ended) => Refusal::Revoked.expect(&session, case),
            (Given::ExpiredFresh | Given::ExpiredNotFresh | Given::ExpiredRefresh, _) => {
                Refusal::Expired.expect(&session, case);
            }
            (Given::OtherIssuerAccess | Given::OtherIssuerRefresh, _) => {
                Refusal::Invalid.expect(&session, case);
            }
            // A change of password spares the session that made it.
            _ => assert_eq!(session.status, 200, "{case}: {session:?}"),
        }
    }

    /// The same for the target user.
    fn check_target(&mut self, other: &Target, path: &str, answer: Answer, case: &str) {
        let answer = if path.contains("<other>") { answer } else { Shown };
        let login =
            |password: &str| self.server.client().post("/login", &credentials(&other.name, password)).status;
        let logins = match answer {
            Deleted | Disabled => (401, 401),
            Changed => (401, 200),
            _ => (200, 401),
        };
        assert_eq!((login(PASSWORD), login(NEW_PASSWORD)), logins, "{case}");
        let session = self.server.call("POST", "/refresh", Some(&other.tokens.refresh), None);
        match answer {
            Deleted | Disabled | Changed | Ended => Refusal::Revoked.expect(&session, case),
            _ => {
                assert_eq!(session.status, 200, "{case}: {session:?}");
                self.other = Some(Target {
                    name: other.name.clone(),
                    id: other.id.clone(),
                    tokens: other.tokens.clone(),
                });
            }
        }
    }
}

impl Given {
    /// Whether the token's user can no longer log in.
    fn is_gone(self) -> bool {
        use Given::{
            DeletedFresh, DeletedNotFresh, DeletedRefresh, DisabledFresh, DisabledNotFresh, DisabledRefresh,
        };
        matches!(
            self,
            DeletedFresh
                | DeletedNotFresh
                | DeletedRefresh
                | DisabledFresh
                | DisabledNotFresh
                | DisabledRefresh
        )
    }

    /// Whether the token's session is revoked, or its user is gone.
    fn is_over(self) -> bool {
        use Given::{
            AllEndedFresh, AllEndedNotFresh, AllEndedRefresh, LoggedOutFresh, LoggedOutNotFresh,
            LoggedOutRefresh,
        };
        self.is_gone()
            || matches!(self, AllEndedFresh | AllEndedNotFresh | AllEndedRefresh)
            || matches!(self, LoggedOutFresh | LoggedOutNotFresh | LoggedOutRefresh)
    }
}

impl Caller {
    fn new(server: &TestServer, role: Role, name: String) -> Self {
        let id = match role {
            Role::User => server.register(&name, PASSWORD),
            Role::Admin => {
                let root = server.log_in("root", PASSWORD).access;
                let body = json!({"username": name, "password": PASSWORD, "role": "admin"});
                let reply = server.call("POST", "/user", Some(&root), Some(&body));
                assert_eq!(reply.status, 201, "{reply:?}");
                reply.header("location").unwrap().strip_prefix("/user/").unwrap().to_owned()
            }
        };
        let tokens = server.log_in(&name, PASSWORD);
        Self { name, id, role, authorization: None, tokens }
    }

    fn bearing(self, token: &str) -> Self {
        Self { authorization: Some(format!("Bearer {token}")), ..self }
    }

    pub(crate) fn send(&self, server: &TestServer, method: &str, path: &str, body: Option<&Value>) -> Reply {
        let headers: Vec<_> =
            self.authorization.iter().map(|value| ("Authorization", value.as_str())).collect();
        let body = body.map(|body| body.to_string().into_bytes());
        Client::connect(server.address).unwrap().send(method, path, &headers, body.as_deref())
    }
}

/// The token with one bit of its payload flipped.
fn flipped(token: &str) -> String {
    flip_bit(token, "v4.public.".len() + 30, 0).unwrap()
}
