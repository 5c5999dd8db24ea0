//! `/user` and `/user/<id>` for administrators

use std::collections::HashSet;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::end_sessions::{begin, expect_live, expect_revoked};
use crate::mint::read_unverified;
use crate::refusal::{Refusal, expect, expect_fields};
use crate::support::{Reply, TestServer, credentials, start};

const UNKNOWN_ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// A server with the administrator `root`, whose password is `correct horse`, and their id.
pub(crate) fn with_admin() -> (TestServer, String) {
    with_admin_and(&[])
}

/// The same with further flags.
pub(crate) fn with_admin_and(args: &[&str]) -> (TestServer, String) {
    on(TestServer::in_memory_with(args))
}

/// The same on the disk, for tests that restart it.
pub(crate) fn with_admin_on_disk(args: &[&str]) -> (TestServer, String) {
    on(TestServer::start_with(args))
}

fn on(server: TestServer) -> (TestServer, String) {
    // Once this is answered, the admin socket listens.
    assert_eq!(server.call("GET", "/healthz", None, None).status, 200);
    let id = server.add_admin("root", "correct horse");
    (server, id)
}

/// A user as administrators see them.
fn seen(id: &str, name: &str, role: &str, disabled: bool, created_at: &str) -> Value {
    json!({"id": id, "username": name, "role": role, "disabled": disabled, "created_at": created_at})
}

fn patch(server: &TestServer, id: &str, token: &str, change: &Value) -> Reply {
    server.call("PATCH", &format!("/user/{id}"), Some(token), Some(change))
}

#[track_caller]
fn expect_last_admin(reply: &Reply, case: &str) {
    let message = "The last administrator cannot be demoted, disabled or deleted.";
    expect(reply, 409, &json!({"code": 409, "message": message, "status": "Conflict"}), case);
}

#[test]
fn access_tokens_carry_the_role_of_their_user() {
    let (server, _) = with_admin();
    server.register("anna", "correct horse");
    for (name, role) in [("root", "admin"), ("anna", "user")] {
        let tokens = server.log_in(name, "correct horse");
        for token in [&tokens.access, &server.refresh(&tokens)] {
            assert_eq!(read_unverified(token)["role"], role, "{name}");
        }
    }
}

#[test]
fn an_administrator_reads_every_user_with_any_access_token() {
    let (server, root) = with_admin();
    let anna = server.register("anna", "correct horse");
    let tokens = server.log_in("root", "correct horse");
    for token in [&tokens.access, &server.refresh(&tokens)] {
        for (path, id, name) in [
            ("/user/me".to_owned(), &root, "root"),
            (format!("/user/{root}"), &root, "root"),
            (format!("/user/{anna}"), &anna, "anna"),
        ] {
            let reply = server.call("GET", &path, Some(token), None);
            expect(&reply, 200, &json!({"id": id, "username": name}), &path);
        }
        let reply = server.call("GET", &format!("/user/{UNKNOWN_ID}"), Some(token), None);
        Refusal::NotFound.expect(&reply, "unknown id");
    }
}

#[test]
fn an_administrator_lists_all_users_in_order_of_registration() {
    let (server, root) = with_admin();
    let mut expected = vec![seen(&root, "root", "admin", false, "2026-01-01T00:00:00Z")];
    for name in ["zoe", "anna", "名前"] {
        let created_at = server.clock.reading().to_string();
        let id = server.register(name, "correct horse");
        expected.push(seen(&id, name, "user", false, &created_at));
        server.advance(Duration::from_secs(1));
    }
    let tokens = server.log_in("root", "correct horse");
    for token in [&tokens.access, &server.refresh(&tokens)] {
        expect(&server.call("GET", "/user", Some(token), None), 200, &json!(expected), "list");
    }
}

#[test]
fn an_administrator_deletes_others_with_a_fresh_token_only() {
    let (server, _) = with_admin();
    let anna = server.register("anna", "correct horse");
    let annas = server.log_in("anna", "correct horse");
    let roots = server.log_in("root", "correct horse");
    let refreshed = server.refresh(&roots);
    for id in [&*anna, UNKNOWN_ID] {
        let reply = server.call("DELETE", &format!("/user/{id}"), Some(&refreshed), None);
        Refusal::NotFresh.expect(&reply, id);
    }
    assert_eq!(server.call("GET", "/user/me", Some(&annas.access), None).status, 200);

    let place = format!("/user/{anna}");
    let reply = server.call("DELETE", &place, Some(&roots.access), None);
    expect(&reply, 200, &json!({"message": "User deleted."}), "fresh");
    for method in ["GET", "DELETE"] {
        Refusal::NotFound.expect(&server.call(method, &place, Some(&roots.access), None), method);
    }
    let reply = server.call("GET", "/user/me", Some(&annas.access), None);
    Refusal::Revoked.expect(&reply, "the deleted user's token");
    let reply = server.client().post("/login", &credentials("anna", "correct horse"));
    Refusal::InvalidCredentials.expect(&reply, "the deleted user");
}

#[test]
fn a_deleted_administrators_tokens_and_name_carry_no_rights() {
    let (server, _) = with_admin();
    server.add_admin("ada", "correct horse");
    let anna = server.register("anna", "correct horse");
    let tokens = server.log_in("root", "correct horse");
    assert_eq!(server.call("DELETE", "/user/me", Some(&tokens.access), None).status, 200);
    for path in ["/user".to_owned(), format!("/user/{anna}")] {
        Refusal::Revoked.expect(&server.call("GET", &path, Some(&tokens.access), None), &path);
    }
    server.advance(Duration::from_secs(31 * 24 * 3600)); // the name is free again
    server.register("root", "correct horse");
    let tokens = server.log_in("root", "correct horse");
    let reply = server.call("GET", "/user", Some(&tokens.access), None);
    Refusal::Forbidden.expect(&reply, "the next user of the name");
}

/// One page: the ids on it and the path of the next.
fn page(server: &TestServer, token: &str, path: &str) -> (Vec<String>, Option<String>) {
    let reply = server.call("GET", path, Some(token), None);
    assert_eq!(reply.status, 200, "{path}: {reply:?}");
    let ids =
        reply.json().as_array().unwrap().iter().map(|user| user["id"].as_str().unwrap().to_owned()).collect();
    let next = reply.header("link").map(|link| {
        let path = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\""));
        format!("/{}", path.unwrap_or_else(|| panic!("{link}"))) // relative to `/user`
    });
    (ids, next)
}

/// The ids on each page, following the links to the next one.
fn walk(server: &TestServer, token: &str, path: &str) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut next = Some(path.to_owned());
    while let Some(path) = next {
        let (ids, after) = page(server, token, &path);
        pages.push(ids);
        next = after;
    }
    pages
}

#[test]
fn users_created_in_one_millisecond_are_listed_in_order_at_any_page_size() {
    const USERS: usize = 30;
    let (server, root) = with_admin();
    // The clock stands still.
    let mut expected = vec![root];
    expected.extend((1..USERS).map(|n| server.register(&format!("user {}", USERS - n), "correct horse")));
    let tokens = server.log_in("root", "correct horse");
    for token in [&tokens.access, &server.refresh(&tokens)] {
        for limit in [1, 2, 7, USERS - 1, USERS, USERS + 1, 1000] {
            let pages = walk(&server, token, &format!("/user?limit={limit}"));
            let sizes: Vec<_> = expected.chunks(limit).map(<[String]>::len).collect();
            assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), sizes, "{limit}");
            assert_eq!(pages.concat(), expected, "{limit}");
        }
        assert_eq!(walk(&server, token, "/user"), [expected.clone()]);
    }
}

#[test]
fn a_page_links_the_next_one_if_and_only_if_there_is_one() {
    let (server, root) = with_admin();
    let anna = server.register("anna", "correct horse");
    let token = server.log_in("root", "correct horse").access;
    let link = |path: &str| {
        let reply = server.call("GET", path, Some(&token), None);
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.header("link").map(str::to_owned)
    };
    assert_eq!(link("/user?limit=1"), Some(format!("<user?limit=1&after={root}>; rel=\"next\"")));
    assert_eq!(link(&format!("/user?limit=1&after={root}")), None, "the last page is full");
    for path in ["/user", "/user?limit=2", "/user?limit=1000", &format!("/user?after={anna}")] {
        assert_eq!(link(path), None, "{path}");
    }
    let reply = server.call("GET", &format!("/user?after={anna}"), Some(&token), None);
    expect(&reply, 200, &json!([]), "after the last");
    // A cursor is a position; no user needs to have that id.
    assert_eq!(page(&server, &token, &format!("/user?after={UNKNOWN_ID}")).0, [&*root, &anna]);
    assert_eq!(page(&server, &token, "/user?after=00000000-0000-0000-0000-000000000000").0, [&*root, &anna]);
    assert_eq!(page(&server, &token, "/user?after=ffffffff-ffff-ffff-ffff-ffffffffffff"), (vec![], None));
}

#[test]
fn paging_shows_each_remaining_user_once_while_others_come_and_go() {
    let (server, root) = with_admin();
    let mut staying: Vec<String> = vec![root];
    let mut leaving = HashSet::new();
    for n in 0..24 {
        let id = server.register(&format!("user {n}"), "correct horse");
        if n % 2 == 0 {
            staying.push(id);
        } else {
            leaving.insert(id);
        }
    }
    let token = server.log_in("root", "correct horse").access;
    let delete = |id: &str| {
        let reply = server.call("DELETE", &format!("/user/{id}"), Some(&token), None);
        assert_eq!(reply.status, 200, "{reply:?}");
    };
    let mut seen = Vec::new();
    let mut next = Some("/user?limit=4".to_owned());
    let mut pages = 0;
    while let Some(path) = next {
        let (ids, after) = page(&server, &token, &path);
        seen.extend(ids.iter().cloned());
        next = after;
        pages += 1;
        // Delete users on the page just read, its last one included, and one further on.
        for id in &ids {
            if leaving.remove(id) {
                delete(id);
            }
        }
        if let Some(id) = leaving.iter().next().cloned() {
            delete(&id);
            leaving.remove(&id);
        }
        if pages <= 3 {
            staying.push(server.register(&format!("newcomer {pages}"), "correct horse"));
        }
    }
    assert!(pages > 3, "{pages}");
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), seen.len(), "no user twice");
    assert!(seen.is_sorted(), "in order");
    let seen: Vec<_> = seen.into_iter().filter(|id| staying.contains(id)).collect();
    assert_eq!(seen, staying);
}

/// Otherwise a cursor at a deleted user could skip users created later.
#[test]
fn a_new_user_is_listed_after_one_that_was_just_deleted() {
    let (server, root) = with_admin();
    let token = server.log_in("root", "correct horse").access;
    let mut last = root;
    // The clock stands still. Random ids would not increase sixteen times in a row.
    for round in 0..16 {
        let id = server.register(&format!("anna {round}"), "correct horse");
        assert!(id > last, "round {round}: {id} after {last}");
        assert_eq!(page(&server, &token, &format!("/user?after={last}")).0, [&*id], "round {round}");
        assert_eq!(server.call("DELETE", &format!("/user/{id}"), Some(&token), None).status, 200);
        last = id;
    }
}

#[test]
fn a_page_holds_a_thousand_users_at_most_and_by_default() {
    const USERS: usize = 1002;
    let (server, _) = with_admin_and(&["--registration-limit", "off"]);
    let server = &server;
    thread::scope(|scope| {
        for part in 0..16 {
            scope.spawn(move || {
                let mut client = server.client();
                for n in (1..USERS).skip(part).step_by(16) {
                    let reply = client.post("/register", &credentials(&format!("user {n}"), "correct horse"));
                    assert_eq!(reply.status, 201, "{reply:?}");
                }
            });
        }
    });
    let token = server.log_in("root", "correct horse").access;
    for (path, sizes) in [
        ("/user", &[1000, 2][..]),
        ("/user?limit=1000", &[1000, 2]),
        ("/user?limit=999", &[999, 3]),
        ("/user?limit=501", &[501, 501]),
    ] {
        let pages = walk(server, &token, path);
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), sizes, "{path}");
        let all = pages.concat();
        assert!(all.is_sorted(), "{path}");
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), USERS, "{path}");
    }
}

const NO_INTEGER: &str = "Not a valid integer.";
const OUT_OF_RANGE: &str = "Must be greater than or equal to 1 and less than or equal to 1000.";
const NO_UUID: &str = "Not a valid UUID.";

#[track_caller]
fn expect_query(reply: &Reply, errors: &Value, case: &str) {
    let body = json!({"code": 422, "errors": {"query": errors}, "status": "Unprocessable Entity"});
    expect(reply, 422, &body, case);
}

#[test]
fn a_wrong_query_is_refused_with_all_errors_at_once() {
    let (server, root) = with_admin();
    let tokens = server.log_in("root", "correct horse");
    let bare = root.replace('-', "");
    for token in [&tokens.access, &server.refresh(&tokens)] {
        for (query, errors) in [
            ("limit=0".to_owned(), json!({"limit": [OUT_OF_RANGE]})),
            ("limit=1001".to_owned(), json!({"limit": [OUT_OF_RANGE]})),
            ("limit=".to_owned(), json!({"limit": [NO_INTEGER]})),
            ("limit".to_owned(), json!({"limit": [NO_INTEGER]})),
            ("limit=ten".to_owned(), json!({"limit": [NO_INTEGER]})),
            ("limit=1.5".to_owned(), json!({"limit": [NO_INTEGER]})),
            ("limit=0x10".to_owned(), json!({"limit": [NO_INTEGER]})),
            ("after=".to_owned(), json!({"after": [NO_UUID]})),
            ("after=me".to_owned(), json!({"after": [NO_UUID]})),
            ("after=1".to_owned(), json!({"after": [NO_UUID]})),
            (format!("after={bare}"), json!({"after": [NO_UUID]})),
            (format!("limit=0&after={root}"), json!({"limit": [OUT_OF_RANGE]})),
            ("limit=2&after=x".to_owned(), json!({"after": [NO_UUID]})),
            ("after=x&limit=x".to_owned(), json!({"limit": [NO_INTEGER], "after": [NO_UUID]})),
            ("limit=0&after=x&page=7".to_owned(), json!({"limit": [OUT_OF_RANGE], "after": [NO_UUID]})),
        ] {
            let reply = server.call("GET", &format!("/user?{query}"), Some(token), None);
            expect_query(&reply, &errors, &query);
            assert_eq!(reply.header("link"), None, "{query}");
        }
    }
}

#[test]
fn a_huge_integer_as_limit_is_out_of_range() {
    let (server, _) = with_admin();
    let token = server.log_in("root", "correct horse").access;
    for limit in ["-1", "-9223372036854775808", "99999999999999999999"] {
        let reply = server.call("GET", &format!("/user?limit={limit}"), Some(&token), None);
        expect_query(&reply, &json!({"limit": [OUT_OF_RANGE]}), limit);
    }
}

#[test]
fn unknown_parameters_are_ignored() {
    let (server, root) = with_admin();
    let token = server.log_in("root", "correct horse").access;
    let expected = json!([seen(&root, "root", "admin", false, "2026-01-01T00:00:00Z")]);
    for query in ["page=2", "Limit=0", "before=x", "limit=1&role=user", "=", "&&", "after%5B%5D=x"] {
        expect(&server.call("GET", &format!("/user?{query}"), Some(&token), None), 200, &expected, query);
    }
}

#[test]
fn a_user_gets_403_for_any_query() {
    let (server, _) = with_admin();
    server.register("anna", "correct horse");
    let tokens = server.log_in("anna", "correct horse");
    for token in [&tokens.access, &server.refresh(&tokens)] {
        for query in ["", "?limit=0", "?after=x", "?limit=1", "?page=1"] {
            let path = format!("/user{query}");
            Refusal::Forbidden.expect(&server.call("GET", &path, Some(token), None), &path);
        }
    }
    Refusal::Missing.expect(&server.call("GET", "/user?limit=0", None, None), "no token");
}

#[test]
fn role_and_disabled_are_set_together_or_alone_and_the_new_state_is_answered() {
    let (server, root) = with_admin_on_disk(&[]);
    server.advance(Duration::from_secs(60));
    let anna = server.register("anna", "correct horse");
    server.advance(Duration::from_secs(60));
    let token = server.log_in("root", "correct horse").access;
    let mut server = server;
    for (change, role, disabled) in [
        (json!({"role": "admin"}), "admin", false),
        (json!({"disabled": true}), "admin", true),
        (json!({"disabled": false}), "admin", false),
        (json!({"role": "user", "disabled": true}), "user", true),
        (json!({"role": "admin"}), "admin", true),
        (json!({"role": "user", "disabled": false}), "user", false),
    ] {
        let case = change.to_string();
        let expected = seen(&anna, "anna", role, disabled, "2026-01-01T00:01:00Z");
        expect(&patch(&server, &anna, &token, &change), 200, &expected, &case);
        for round in 0..2 {
            let list = json!([seen(&root, "root", "admin", false, "2026-01-01T00:00:00Z"), expected]);
            expect(&server.call("GET", "/user", Some(&token), None), 200, &list, &case);
            if round == 0 {
                server = server.restart();
            }
        }
    }
}

#[test]
fn setting_what_is_set_already_changes_nothing() {
    let (server, root) = with_admin();
    let anna = server.register("anna", "correct horse");
    let (annas, annas_not_fresh) = begin(&server, "anna");
    let (roots, roots_not_fresh) = begin(&server, "root");
    let as_anna = seen(&anna, "anna", "user", false, "2026-01-01T00:00:00Z");
    let as_root = seen(&root, "root", "admin", false, "2026-01-01T00:00:00Z");
    for (id, change, expected) in [
        (&*anna, json!({}), &as_anna),
        (&anna, json!({"role": "user"}), &as_anna),
        (&anna, json!({"disabled": false}), &as_anna),
        (&anna, json!({"role": "user", "disabled": false}), &as_anna),
        // The last administrator may set what is set already.
        (&root, json!({}), &as_root),
        ("me", json!({}), &as_root),
        ("me", json!({"role": "admin", "disabled": false}), &as_root),
    ] {
        let case = format!("{id}: {change}");
        expect(&patch(&server, id, &roots.access, &change), 200, expected, &case);
        expect_live(&server, &annas, &annas_not_fresh, &case);
        expect_live(&server, &roots, &roots_not_fresh, &case);
    }
    let reply = server.call("PATCH", &format!("/user/{anna}"), Some(&roots.access), None);
    expect(&reply, 200, &as_anna, "no body at all");
}

#[test]
fn a_wrong_change_is_refused_with_all_errors_at_once_and_changes_nothing() {
    let (server, root) = with_admin();
    let anna = server.register("anna", "correct horse");
    let (annas, annas_not_fresh) = begin(&server, "anna");
    let token = server.log_in("root", "correct horse").access;
    let one_of = json!(["Must be one of: user, admin."]);
    let is_null = json!(["Field may not be null."]);
    let no_string = json!(["Not a valid string."]);
    let no_flag = json!(["Not a valid boolean."]);
    let unknown = json!(["Unknown field."]);
    for (change, errors) in [
        (json!({"role": "root"}), json!({"role": one_of})),
        (json!({"role": "Admin"}), json!({"role": one_of})),
        (json!({"role": ""}), json!({"role": one_of})),
        (json!({"role": null}), json!({"role": is_null})),
        (json!({"role": 1}), json!({"role": no_string})),
        (json!({"role": ["admin"]}), json!({"role": no_string})),
        (json!({"disabled": null}), json!({"disabled": is_null})),
        (json!({"disabled": "true"}), json!({"disabled": no_flag})),
        (json!({"disabled": 1}), json!({"disabled": no_flag})),
        // One wrong field refuses the right ones too.
        (json!({"role": "admin", "disabled": "yes"}), json!({"disabled": no_flag})),
        (json!({"role": "boss", "disabled": true}), json!({"role": one_of})),
        (json!({"role": "admin", "id": UNKNOWN_ID}), json!({"id": unknown})),
        (
            json!({"role": null, "disabled": [], "username": "bert", "password": "correct horse"}),
            json!({"role": is_null, "disabled": no_flag, "username": unknown, "password": unknown}),
        ),
    ] {
        expect_fields(&patch(&server, &anna, &token, &change), &errors, &change.to_string());
    }
    let reply = patch(&server, &anna, &token, &json!("admin"));
    expect_fields(&reply, &json!({"_schema": ["Invalid input type."]}), "a string");
    let authorization = format!("Bearer {token}");
    let headers = [("Authorization", authorization.as_str())];
    let reply = server.client().send("PATCH", &format!("/user/{anna}"), &headers, Some(b"{"));
    Refusal::NotJson.expect(&reply, "half a body");
    let list = json!([
        seen(&root, "root", "admin", false, "2026-01-01T00:00:00Z"),
        seen(&anna, "anna", "user", false, "2026-01-01T00:00:00Z"),
    ]);
    expect(&server.call("GET", "/user", Some(&token), None), 200, &list, "after refusals");
    expect_live(&server, &annas, &annas_not_fresh, "after refusals");
}

#[test]
fn a_change_needs_a_fresh_token_of_an_administrator() {
    let (server, root) = with_admin();
    let anna = server.register("anna", "correct horse");
    let (annas, annas_not_fresh) = begin(&server, "anna");
    let (roots, roots_not_fresh) = begin(&server, "root");
    for change in [json!({"role": "admin"}), json!({"disabled": true}), json!({}), json!({"role": 1})] {
        for id in [&*anna, &root, "me", UNKNOWN_ID] {
            let case = format!("{id}: {change}");
            for token in [&annas.access, &annas_not_fresh] {
                Refusal::Forbidden.expect(&patch(&server, id, token, &change), &case);
            }
            Refusal::NotFresh.expect(&patch(&server, id, &roots_not_fresh, &change), &case);
            Refusal::Invalid.expect(&patch(&server, id, &roots.refresh, &change), &case);
            let reply = server.call("PATCH", &format!("/user/{id}"), None, Some(&change));
            Refusal::Missing.expect(&reply, &case);
        }
    }
    for change in [json!({"role": "admin"}), json!({})] {
        let reply = patch(&server, UNKNOWN_ID, &roots.access, &change);
        Refusal::NotFound.expect(&reply, "unknown id");
    }
    assert_eq!(server.call("POST", "/logout", Some(&roots.access), None).status, 200);
    Refusal::Revoked.expect(&patch(&server, &anna, &roots.access, &json!({})), "logged out");
    expect_live(&server, &annas, &annas_not_fresh, "after refusals");
}

#[test]
fn a_demotion_holds_from_the_next_request_with_the_same_token() {
    let (server, root) = with_admin_on_disk(&[]);
    let ada = server.add_admin("ada", "correct horse");
    let anna = server.register("anna", "correct horse");
    let (adas, adas_not_fresh) = begin(&server, "ada");
    assert_eq!(read_unverified(&adas.access)["role"], "admin");
    let roots = server.log_in("root", "correct horse");
    assert_eq!(patch(&server, &ada, &roots.access, &json!({"role": "user"})).status, 200);

    let mut server = server;
    for case in ["at once", "after a restart"] {
        let user = json!({"username": "bert", "password": "correct horse"});
        for token in [&adas.access, &adas_not_fresh] {
            for (method, path, body) in [
                ("GET", "/user".to_owned(), None),
                ("POST", "/user".to_owned(), Some(&user)),
                ("GET", format!("/user/{anna}"), None),
                ("GET", format!("/user/{root}"), None),
                ("DELETE", format!("/user/{anna}"), None),
                ("DELETE", format!("/user/{anna}/sessions"), None),
                ("PATCH", format!("/user/{root}"), Some(&json!({"role": "user"}))),
                ("PATCH", "/user/me".to_owned(), Some(&json!({"role": "admin"}))),
                ("POST", format!("/user/{anna}/password"), Some(&json!({"new_password": "battery staple"}))),
            ] {
                let reply = server.call(method, &path, Some(token), body);
                Refusal::Forbidden.expect(&reply, &format!("{case}: {method} {path}"));
            }
        }
        // The account goes on as a user, and new tokens carry that role.
        expect_live(&server, &adas, &adas_not_fresh, case);
        assert_eq!(read_unverified(&server.refresh(&adas))["role"], "user");
        assert_eq!(read_unverified(&server.log_in("ada", "correct horse").access)["role"], "user");
        server.log_in("anna", "correct horse");
        server = server.restart();
    }
}

#[test]
fn a_promotion_holds_from_the_next_request() {
    let (server, _) = with_admin();
    let anna = server.register("anna", "correct horse");
    let annas = server.log_in("anna", "correct horse");
    let roots = server.log_in("root", "correct horse");
    Refusal::Forbidden.expect(&server.call("GET", "/user", Some(&annas.access), None), "before");
    assert_eq!(patch(&server, &anna, &roots.access, &json!({"role": "admin"})).status, 200);
    assert_eq!(server.call("GET", "/user", Some(&annas.access), None).status, 200);
    assert_eq!(read_unverified(&server.refresh(&annas))["role"], "admin");
}

/// The whole answer to a login except its `Date`.
fn login_without_date(server: &TestServer, name: &str, password: &str) -> Reply {
    let body = credentials(name, password).to_string();
    let headers = [("X-Request-Id", "same"), ("Content-Type", "application/json")];
    let mut reply = server.client().send("POST", "/login", &headers, Some(body.as_bytes()));
    reply.headers.retain(|(name, _)| name != "date");
    reply
}

#[test]
fn a_login_of_a_disabled_user_is_answered_like_a_wrong_password() {
    let (server, _) = with_admin_on_disk(&[]);
    let anna = server.register("anna", "correct horse");
    server.register("bert", "correct horse");
    let roots = server.log_in("root", "correct horse");
    assert_eq!(patch(&server, &anna, &roots.access, &json!({"disabled": true})).status, 200);
    let wrong = login_without_date(&server, "bert", "wrong horse!");
    Refusal::InvalidCredentials.expect(&wrong, "a wrong password");
    let mut server = server;
    for case in ["at once", "after a restart"] {
        for password in ["correct horse", "wrong horse!"] {
            assert_eq!(login_without_date(&server, "anna", password), wrong, "{case}: {password}");
        }
        assert_eq!(login_without_date(&server, "nobody", "correct horse"), wrong, "{case}");
        let reply = server.client().post("/register", &credentials("anna", "correct horse"));
        Refusal::NameTaken.expect(&reply, "the name stays theirs");
        server = server.restart();
    }
}

#[test]
fn disabling_revokes_all_sessions_and_enabling_restores_none() {
    let (server, _) = with_admin_on_disk(&[]);
    let anna = server.register("anna", "correct horse");
    let sessions = [begin(&server, "anna"), begin(&server, "anna")];
    let body = json!({"current_password": "correct horse", "new_password": "correct horse"});
    // This change of password spares one of the sessions.
    let reply = server.call("POST", "/user/me/password", Some(&sessions[0].1), Some(&body));
    assert_eq!(reply.status, 200, "{reply:?}");
    let roots = begin(&server, "root");
    let mut server = server;
    for disabled in [true, false] {
        let reply = patch(&server, &anna, &roots.0.access, &json!({ "disabled": disabled }));
        assert_eq!(reply.status, 200, "{reply:?}");
        for case in ["at once", "after a restart"] {
            let case = format!("{case}, disabled: {disabled}");
            for (tokens, not_fresh) in &sessions {
                expect_revoked(&server, tokens, not_fresh, &case);
            }
            expect_live(&server, &roots.0, &roots.1, &case);
            let reply = server.call("GET", &format!("/user/{anna}"), Some(&roots.0.access), None);
            expect(&reply, 200, &json!({"id": anna, "username": "anna"}), &case);
            server = server.restart();
        }
    }
    let next = begin(&server, "anna");
    expect_live(&server, &next.0, &next.1, "after a login");
}

#[test]
fn the_last_administrator_cannot_be_demoted_disabled_or_deleted() {
    let (server, root) = with_admin_on_disk(&[]);
    server.register("anna", "correct horse");
    let (roots, not_fresh) = begin(&server, "root");
    let mut server = server;
    for case in ["at once", "after a restart"] {
        for id in ["me", &root] {
            for change in [
                json!({"role": "user"}),
                json!({"disabled": true}),
                json!({"role": "user", "disabled": true}),
                json!({"role": "admin", "disabled": true}),
                json!({"role": "user", "disabled": false}),
            ] {
                let case = format!("{case}: {id}: {change}");
                expect_last_admin(&patch(&server, id, &roots.access, &change), &case);
            }
            let reply = server.call("DELETE", &format!("/user/{id}"), Some(&roots.access), None);
            expect_last_admin(&reply, &format!("{case}: delete {id}"));
        }
        expect_live(&server, &roots, &not_fresh, case);
        assert_eq!(server.call("GET", "/user", Some(&roots.access), None).status, 200, "{case}");
        server.log_in("root", "correct horse");
        server = server.restart();
    }
}

#[test]
fn a_disabled_administrator_does_not_count_as_a_remaining_one() {
    let (server, root) = with_admin_on_disk(&[]);
    let ada = server.add_admin("ada", "correct horse");
    let token = server.log_in("root", "correct horse").access;
    assert_eq!(patch(&server, &ada, &token, &json!({"disabled": true})).status, 200);
    let mut server = server;
    for case in ["at once", "after a restart"] {
        for id in ["me", &root] {
            for change in [json!({"role": "user"}), json!({"disabled": true})] {
                expect_last_admin(&patch(&server, id, &token, &change), &format!("{case}: {change}"));
            }
            let reply = server.call("DELETE", &format!("/user/{id}"), Some(&token), None);
            expect_last_admin(&reply, case);
        }
        server = server.restart();
    }
    // The disabled administrator may be demoted, promoted and enabled.
    assert_eq!(patch(&server, &ada, &token, &json!({"role": "user"})).status, 200);
    assert_eq!(patch(&server, &ada, &token, &json!({"role": "admin"})).status, 200);
    expect_last_admin(&patch(&server, "me", &token, &json!({"role": "user"})), "still disabled");
    assert_eq!(patch(&server, &ada, &token, &json!({"disabled": false})).status, 200);
    assert_eq!(patch(&server, "me", &token, &json!({"role": "user"})).status, 200);
    let token = server.log_in("ada", "correct horse").access;
    expect_last_admin(&patch(&server, "me", &token, &json!({"role": "user"})), "now the other one");
}

#[test]
fn of_two_administrators_either_can_be_demoted_disabled_or_deleted_but_not_both() {
    for way in ["demote", "disable", "delete"] {
        for themselves in [false, true] {
            let case = format!("{way}, themselves: {themselves}");
            let (server, root) = with_admin();
            let ada = server.add_admin("ada", "correct horse");
            let (roots, adas) =
                (server.log_in("root", "correct horse"), server.log_in("ada", "correct horse"));
            let end = |id: &str, token: &str| match way {
                "demote" => patch(&server, id, token, &json!({"role": "user"})),
                "disable" => patch(&server, id, token, &json!({"disabled": true})),
                _ => server.call("DELETE", &format!("/user/{id}"), Some(token), None),
            };
            let token = if themselves { &adas.access } else { &roots.access };
            assert_eq!(end(&ada, token).status, 200, "{case}");
            expect_last_admin(&end(&root, &roots.access), &case);
            assert_eq!(server.call("GET", "/user", Some(&roots.access), None).status, 200, "{case}");
        }
    }
}

#[test]
fn a_disabled_administrator_can_be_deleted_by_the_last() {
    let (server, _) = with_admin();
    let ada = server.add_admin("ada", "correct horse");
    let token = server.log_in("root", "correct horse").access;
    assert_eq!(patch(&server, &ada, &token, &json!({"disabled": true})).status, 200);
    let reply = server.call("DELETE", &format!("/user/{ada}"), Some(&token), None);
    expect(&reply, 200, &json!({"message": "User deleted."}), "the disabled one");
}

fn create(server: &TestServer, token: &str, body: &Value) -> Reply {
    server.call("POST", "/user", Some(token), Some(body))
}

#[test]
fn an_administrator_creates_users_and_administrators() {
    let (server, _) = with_admin_on_disk(&[]);
    let token = server.log_in("root", "correct horse").access;
    server.advance(Duration::from_secs(1));
    for (name, role, body) in [
        ("anna", "user", json!({"username": "anna", "password": "correct horse"})),
        ("bert", "user", json!({"username": "bert", "password": "correct horse", "role": "user"})),
        ("ada", "admin", json!({"username": "ada", "password": "correct horse", "role": "admin"})),
    ] {
        let reply = create(&server, &token, &body);
        expect(&reply, 201, &json!({"message": "User created successfully."}), name);
        let place = reply.header("location").unwrap().to_owned();
        let id = place.strip_prefix("/user/").unwrap();
        let shown = server.call("GET", &place, Some(&token), None);
        expect(&shown, 200, &json!({"id": id, "username": name}), name);
        let tokens = server.log_in(name, "correct horse");
        let user = server.call("GET", "/session", Some(&tokens.access), None).json()["user"].clone();
        let created_at = start().after(Duration::from_secs(1)).to_string();
        assert_eq!(user, json!({"id": id, "username": name, "role": role, "created_at": created_at}));
        let listed = server.call("GET", "/user", Some(&tokens.access), None).status;
        assert_eq!(listed, if role == "admin" { 200 } else { 403 }, "{name}");
    }
    let server = server.restart();
    server.log_in("ada", "correct horse");
}

#[test]
fn a_taken_name_is_refused_to_administrators_too() {
    let (server, _) = with_admin();
    server.register("anna", "correct horse");
    let token = server.log_in("root", "correct horse").access;
    for name in ["anna", "root"] {
        for role in ["user", "admin"] {
            let body = json!({"username": name, "password": "another horse", "role": role});
            Refusal::NameTaken.expect(&create(&server, &token, &body), name);
        }
        server.log_in(name, "correct horse");
    }
    let annas = server.log_in("anna", "correct horse");
    Refusal::Forbidden.expect(&server.call("GET", "/user", Some(&annas.access), None), "no promotion");
}

#[test]
fn creating_a_user_reports_all_wrong_fields_at_once() {
    let (server, _) = with_admin();
    let token = server.log_in("root", "correct horse").access;
    let missing = json!(["Missing data for required field."]);
    let one_of = json!(["Must be one of: user, admin."]);
    let no_string = json!(["Not a valid string."]);
    let is_null = json!(["Field may not be null."]);
    let anna = |role: Value| json!({"username": "annabella", "password": "correct horse", "role": role});
    for (body, errors) in [
        (json!({}), json!({"username": missing, "password": missing})),
        (anna(json!("root")), json!({"role": one_of})),
        (anna(json!("ADMIN")), json!({"role": one_of})),
        (anna(json!("")), json!({"role": one_of})),
        (anna(json!(null)), json!({"role": is_null})),
        (anna(json!(true)), json!({"role": no_string})),
        (anna(json!(["admin"])), json!({"role": no_string})),
        (
            credentials("annabella", "Annabella"),
            json!({"password": ["This password is too close to the username."]}),
        ),
        (credentials("annabella", "password1"), json!({"password": ["This password is too common."]})),
        (
            json!({"username": "", "password": "short", "role": 1, "disabled": true, "id": UNKNOWN_ID}),
            json!({
                "username": ["Shorter than minimum length 1."],
                "password": ["Shorter than minimum length 8."],
                "role": no_string,
                "disabled": ["Unknown field."],
                "id": ["Unknown field."],
            }),
        ),
    ] {
        expect_fields(&create(&server, &token, &body), &errors, &body.to_string());
    }
    let reply = server.client().post("/login", &credentials("annabella", "correct horse"));
    Refusal::InvalidCredentials.expect(&reply, "no user was created");
}

#[test]
fn creating_users_needs_a_fresh_token_of_an_administrator() {
    let (server, _) = with_admin();
    server.register("anna", "correct horse");
    let (annas, annas_not_fresh) = begin(&server, "anna");
    let (roots, roots_not_fresh) = begin(&server, "root");
    for body in [credentials("bert", "correct horse"), credentials("anna", "short"), json!({}), json!([])] {
        let case = body.to_string();
        for token in [&annas.access, &annas_not_fresh] {
            Refusal::Forbidden.expect(&create(&server, token, &body), &case);
        }
        Refusal::NotFresh.expect(&create(&server, &roots_not_fresh, &body), &case);
        Refusal::Invalid.expect(&create(&server, &roots.refresh, &body), &case);
        Refusal::Missing.expect(&server.call("POST", "/user", None, Some(&body)), &case);
    }
    assert_eq!(server.call("POST", "/logout", Some(&roots.access), None).status, 200);
    let body = credentials("bert", "correct horse");
    Refusal::Revoked.expect(&create(&server, &roots.access, &body), "logged out");
    let reply = server.client().post("/login", &body);
    Refusal::InvalidCredentials.expect(&reply, "no user was created");
}

#[test]
fn dev_opens_no_administrators_endpoint_and_spares_the_last_administrator() {
    let (server, root) = with_admin_on_disk(&[]);
    let anna = server.register("anna", "correct horse");
    let clock = Arc::clone(&server.clock);
    let server = server.restart_with(&["--dev"], clock).unwrap();
    let body = credentials("bert", "x");
    let change = json!({"role": "admin"});
    let reset = json!({"new_password": "battery staple"});
    for (method, path, body) in [
        ("POST", "/user".to_owned(), Some(&body)),
        ("PATCH", format!("/user/{anna}"), Some(&change)),
        ("POST", format!("/user/{anna}/password"), Some(&reset)),
        ("DELETE", format!("/user/{anna}/sessions"), None),
        ("GET", "/session".to_owned(), None),
    ] {
        Refusal::Missing.expect(&server.call(method, &path, None, body), &format!("{method} {path}"));
    }
    // `--dev` lets any client delete users, but not the last administrator.
    let reply = server.call("DELETE", &format!("/user/{root}"), None, None);
    expect_last_admin(&reply, "deleted without a token");
    let list = server.call("GET", "/user?limit=1", None, None);
    expect(&list, 200, &json!([{"id": root, "username": "root"}]), "listed without a token");
    assert_eq!(list.header("link"), Some(&*format!("<user?limit=1&after={root}>; rel=\"next\"")));
}
