//! `/verify`: the answer on which a proxy lets a request pass

use std::time::Duration;

use serde_json::{Value, json};

use crate::admin::with_admin_and;
use crate::matrix::{Given, Role, World, kinds};
use crate::refusal::{Refusal, expect};
use crate::support::{Reply, TestServer, request, start};

const PASSWORD: &str = "correct horse";

/// Includes an invented method, and those that other paths answer without checking the token.
const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "FROBNICATE"];

const QUERIES: [&str; 6] =
    ["", "?", "?fresh=1", "?role=admin", "?fresh=1&role=admin", "?role=admin&fresh=1&fresh=1"];

#[derive(Clone, Copy, Debug)]
enum Answer {
    Passes,
    Refused(Refusal),
}

/// The expected answer for each kind of token and each query.
fn answer(role: Role, given: Given, query: &str) -> Answer {
    use Answer::{Passes, Refused};
    let (needs_fresh, needs_admin) = (query.contains("fresh"), query.contains("admin"));
    match given {
        Given::Fresh | Given::NotFresh => match (role, given) {
            (Role::User, _) if needs_admin => Refused(Refusal::Forbidden),
            (_, Given::NotFresh) if needs_fresh => Refused(Refusal::NotFresh),
            _ => Passes,
        },
        Given::Nothing | Given::OtherScheme => Refused(Refusal::Missing),
        Given::Garbage
        | Given::Refresh
        | Given::LoggedOutRefresh
        | Given::AllEndedRefresh
        | Given::DisabledRefresh
        | Given::DeletedRefresh
        | Given::ExpiredRefresh
        | Given::OtherKeyAccess
        | Given::OtherKeyRefresh
        | Given::OtherIssuerAccess
        | Given::OtherIssuerRefresh
        | Given::FlippedBitAccess
        | Given::FlippedBitRefresh => Refused(Refusal::Invalid),
        Given::ExpiredFresh | Given::ExpiredNotFresh => Refused(Refusal::Expired),
        Given::LoggedOutFresh
        | Given::LoggedOutNotFresh
        | Given::AllEndedFresh
        | Given::AllEndedNotFresh
        | Given::DisabledFresh
        | Given::DisabledNotFresh
        | Given::DeletedFresh
        | Given::DeletedNotFresh => Refused(Refusal::Revoked),
    }
}

/// The headers that identify the user.
fn identity(reply: &Reply) -> [Option<&str>; 3] {
    ["remote-user", "remote-user-id", "remote-role"].map(|name| reply.header(name))
}

#[track_caller]
fn expect_passes(reply: &Reply, [name, id, role]: [&str; 3], case: &str) {
    assert_eq!(reply.status, 200, "{case}: {reply:?}");
    assert_eq!(identity(reply), [Some(name), Some(id), Some(role)], "{case}");
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{case}");
    assert_eq!(reply.header("www-authenticate"), None, "{case}");
    assert!(reply.body.is_empty(), "{case}: {reply:?}");
}

#[track_caller]
fn expect_refused(reply: &Reply, method: &str, refusal: Refusal, case: &str) {
    if method == "HEAD" {
        assert_eq!(reply.status, if refusal == Refusal::Forbidden { 403 } else { 401 }, "{case}");
        assert_eq!(reply.header("www-authenticate").is_some(), reply.status == 401, "{case}");
    } else {
        refusal.expect(reply, case);
    }
    assert_eq!(identity(reply), [None; 3], "{case}");
}

#[track_caller]
fn expect_closed(reply: &Reply, message: &str, case: &str) {
    assert_eq!(reply.status, 403, "{case}: {reply:?}");
    assert_eq!(reply.json(), json!({"code": 403, "message": message, "status": "Forbidden"}), "{case}");
    assert_eq!(reply.header("www-authenticate"), None, "{case}");
    assert_eq!(identity(reply), [None; 3], "{case}");
}

#[test]
fn every_token_gets_the_contracts_answer_to_every_query_and_method() {
    let world = World::new();
    for (role, given) in kinds() {
        let caller = world.caller_with(role, given, format!("{role:?}-{given:?}"));
        for query in QUERIES {
            for method in METHODS {
                let case = format!("{role:?} {given:?}: {method} /verify{query}");
                let reply = caller.send(&world.server, method, &format!("/verify{query}"), None);
                match answer(role, given, query) {
                    Answer::Passes => expect_passes(&reply, [&caller.name, &caller.id, name_of(role)], &case),
                    Answer::Refused(refusal) => expect_refused(&reply, method, refusal, &case),
                }
            }
        }
    }
}

fn name_of(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Admin => "admin",
    }
}

/// A server with `anna`, an access token of hers, and her id.
fn with_anna(args: &[&str]) -> (TestServer, String, String) {
    let server = TestServer::in_memory_with(args);
    let id = server.register("anna", PASSWORD);
    let access = server.log_in("anna", PASSWORD).access;
    (server, access, id)
}

#[test]
fn an_unknown_parameter_refuses_every_request() {
    const MESSAGE: &str = "A parameter is unknown or malformed; there are fresh=1 and role=admin.";
    let (server, root_id) = with_admin_and(&[]);
    let root = server.log_in("root", PASSWORD).access;
    expect_passes(&server.call("GET", "/verify", Some(&root), None), ["root", &root_id, "admin"], "root");
    for query in [
        "roles=admin",
        "role=Admin",
        "role=user",
        "role=",
        "role",
        "role=admin,user",
        "role=admin&",
        "&role=admin",
        "role=admin&roles=user",
        "role=admin;fresh=1",
        "Role=admin",
        "role=%61dmin",
        "role=admin%20",
        "role=+admin",
        "fresh",
        "fresh=",
        "fresh=0",
        "fresh=true",
        "fresh=1&fresh=0",
        "Fresh=1",
        "fresh%3D1",
        "a",
        "=",
        "&",
        "access_token=x",
    ] {
        for token in [None, Some(root.as_str())] {
            let reply = server.call("GET", &format!("/verify?{query}"), token, None);
            expect_closed(&reply, MESSAGE, query);
        }
    }
}

#[test]
fn names_are_percent_encoded_in_the_header() {
    let server = TestServer::in_memory_with(&["--usernames", "exact"]); // for names as earlier versions let in
    for (name, header) in [
        ("anna", "anna"),
        ("Anna Müller", "Anna%20M%C3%BCller"),
        ("100%", "100%25"),
        ("100%25", "100%2525"),
        ("a,b;c\"d\\e<f>", "a,b;c\"d\\e<f>"),
        ("馬", "%E9%A6%AC"),
        ("🐎", "%F0%9F%90%8E"),
        ("\u{202e}root", "%E2%80%AEroot"),
        ("a\u{2028}Remote-Role: admin", "a%E2%80%A8Remote-Role:%20admin"),
        (" root", "%20root"),
        ("root ", "root%20"),
        ("\u{a0}", "%C2%A0"),
        ("~!#$&'()*+-./:=?@[]^_`{|}", "~!#$&'()*+-./:=?@[]^_`{|}"),
    ] {
        let id = server.register(name, PASSWORD);
        let access = server.log_in(name, PASSWORD).access;
        let reply = server.call("GET", "/verify", Some(&access), None);
        expect_passes(&reply, [header, &id, "user"], name);
        assert!(header.bytes().all(|byte| byte.is_ascii_graphic()), "{header}");
        assert_eq!(percent_decoded(header), name);
    }
}

/// Percent-decodes as any client does.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first == b'%' {
            let (digits, after) = rest.split_at(2);
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap());
            rest = after;
        } else {
            bytes.push(first);
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn the_longest_name_fits_into_the_header() {
    let server = TestServer::in_memory();
    let name = "🐎".repeat(128);
    let id = server.register(&name, PASSWORD);
    let access = server.log_in(&name, PASSWORD).access;
    let reply = server.call("GET", "/verify", Some(&access), None);
    expect_passes(&reply, [&"%F0%9F%90%8E".repeat(128), &id, "user"], "longest");
}

#[test]
fn a_change_of_role_holds_from_the_next_request_with_the_same_token() {
    let (server, _) = with_admin_and(&[]);
    let id = server.register("anna", PASSWORD);
    let root = server.log_in("root", PASSWORD).access;
    let access = server.log_in("anna", PASSWORD).access;
    let verify = |query: &str| server.call("GET", &format!("/verify{query}"), Some(&access), None);
    Refusal::Forbidden.expect(&verify("?role=admin"), "a user");
    for (role, passes) in [("admin", true), ("user", false)] {
        let change = json!({"role": role});
        assert_eq!(server.call("PATCH", &format!("/user/{id}"), Some(&root), Some(&change)).status, 200);
        expect_passes(&verify(""), ["anna", &id, role], role);
        assert_eq!(verify("?role=admin").status, if passes { 200 } else { 403 });
    }
}

#[test]
fn identity_headers_of_a_client_are_ignored() {
    let (server, access, id) = with_anna(&[]);
    let bearer = format!("Bearer {access}");
    let forged = [
        ("Remote-User", "root"),
        ("Remote-User-Id", "01890a5d-ac96-774b-bcce-b302099a8057"),
        ("Remote-Role", "admin"),
        ("Remote_Role", "admin"),
        ("X-Forwarded-User", "root"),
        ("X-Original-URI", "/verify?role=user"),
        ("X-Original-Method", "OPTIONS"),
        ("X-HTTP-Method-Override", "OPTIONS"),
    ];
    let reply = server.client().send("GET", "/verify", &forged, None);
    expect_refused(&reply, "GET", Refusal::Missing, "forged headers alone");
    let headers: Vec<_> = forged.into_iter().chain([("Authorization", bearer.as_str())]).collect();
    let reply = server.client().send("GET", "/verify", &headers, None);
    expect_passes(&reply, ["anna", &id, "user"], "beside a token");
    let reply = server.client().send("GET", "/verify?role=admin", &headers, None);
    expect_refused(&reply, "GET", Refusal::Forbidden, "beside a token");
}

#[test]
fn a_body_is_ignored_and_keeps_the_connection() {
    let (server, access, id) = with_anna(&[]);
    let bearer = format!("Bearer {access}");
    let mut client = server.client();
    for (content_type, body) in [
        ("application/json", Vec::new()),
        ("application/json", b"{".to_vec()),
        ("text/plain", b"x".to_vec()),
        ("application/x-www-form-urlencoded", b"role=user&fresh=0".to_vec()),
        ("application/json", vec![b'x'; 16 * 1024 + 1]),
        ("application/octet-stream", vec![0xff; 1_000_000]),
    ] {
        for method in METHODS {
            let case = format!("{method} with {} bytes of {content_type}", body.len());
            let headers = [("Content-Type", content_type), ("Authorization", bearer.as_str())];
            let reply = client.send(method, "/verify", &headers, Some(&body));
            expect_passes(&reply, ["anna", &id, "user"], &case);
            let reply = client.send(method, "/verify", &headers[..1], Some(&body));
            expect_refused(&reply, method, Refusal::Missing, &case);
        }
    }
}

#[test]
fn a_chunked_body_is_ignored_too() {
    let (server, access, id) = with_anna(&[]);
    let bearer = format!("Bearer {access}");
    let mut client = server.client();
    for _ in 0..2 {
        let headers = [("Authorization", bearer.as_str()), ("Transfer-Encoding", "chunked")];
        client.send_raw(&request("POST", "/verify", &headers, None)).unwrap();
        client.send_raw(b"5\r\nhello\r\n0\r\n\r\n").unwrap();
        expect_passes(&client.receive(false).unwrap(), ["anna", &id, "user"], "chunked");
    }
}

#[test]
fn an_outage_answers_403_so_that_clients_keep_their_tokens() {
    let (server, access, id) = with_anna(&[]);
    expect_passes(&server.call("GET", "/verify", Some(&access), None), ["anna", &id, "user"], "before");
    server.clock.set(start().before(Duration::from_secs(3600)));
    for token in [Some(access.as_str()), Some("garbage"), None] {
        for query in QUERIES {
            let reply = server.call("GET", &format!("/verify{query}"), token, None);
            expect_closed(&reply, "The system clock is behind.", query);
            assert_eq!(reply.header("retry-after"), Some("60"), "{query}");
        }
    }
    server.clock.set(start());
    expect_passes(&server.call("GET", "/verify", Some(&access), None), ["anna", &id, "user"], "after");
}

#[test]
fn dev_lets_no_request_pass_without_a_token() {
    let (server, access, id) = with_anna(&["--dev"]);
    for method in METHODS {
        let reply = server.client().send(method, "/verify", &[], None);
        expect_refused(&reply, method, Refusal::Missing, method);
    }
    expect_passes(&server.call("GET", "/verify", Some(&access), None), ["anna", &id, "user"], "a token");
    let reply = server.call("GET", "/verify?role=admin", Some(&access), None);
    expect_refused(&reply, "GET", Refusal::Forbidden, "no administrator");
}

#[test]
fn a_logout_refuses_the_next_request() {
    let (server, access, id) = with_anna(&[]);
    expect_passes(&server.call("GET", "/verify", Some(&access), None), ["anna", &id, "user"], "before");
    assert_eq!(server.call("POST", "/logout", Some(&access), None).status, 200);
    let reply = server.call("GET", "/verify", Some(&access), None);
    expect_refused(&reply, "GET", Refusal::Revoked, "after");
}

#[test]
fn no_other_path_lets_a_request_pass() {
    let (server, access, _) = with_anna(&[]);
    let body: Value = json!({"code": 404, "status": "Not Found"});
    for path in ["/verify/x", "/verify/me", "/Verify", "//verify", "/verify%3Frole=admin", "/x/../verify"] {
        expect(&server.call("GET", path, Some(&access), None), 404, &body, path);
    }
}

#[test]
fn connect_is_answered_like_other_methods_and_opens_no_tunnel() {
    let (server, access, id) = with_anna(&[]);
    let bearer = format!("Bearer {access}");
    let headers = [("Authorization", bearer.as_str())];
    let mut client = server.client();
    client.send_raw(&request("CONNECT", "/verify", &[], None)).unwrap();
    expect_refused(&client.receive(false).unwrap(), "CONNECT", Refusal::Missing, "no token");
    client.send_raw(&request("CONNECT", "/verify", &headers, None)).unwrap();
    expect_passes(&client.receive(false).unwrap(), ["anna", &id, "user"], "a token");
    let tunnelled =
        client.send_raw(&request("GET", "/healthz", &[], None)).and_then(|()| client.receive(false));
    assert!(tunnelled.is_err(), "{tunnelled:?}");
}
