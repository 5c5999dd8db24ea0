//! `GET /swagger-ui` and `GET /`. `interop/api_page.rs` uses the page in a real browser.

use serde_json::json;

use crate::refusal::Refusal;
use crate::support::TestServer;

const FILES: [(&str, &str, Option<&str>); 3] = [
    ("/swagger-ui/swagger-ui.css", "text/css; charset=utf-8", Some("gzip")),
    ("/swagger-ui/swagger-ui-bundle.js", "text/javascript; charset=utf-8", Some("gzip")),
    ("/swagger-ui/start.js", "text/javascript; charset=utf-8", None),
];

#[test]
fn the_root_redirects_browsers_to_the_page_and_gives_programs_links() {
    let server = TestServer::in_memory();
    let mut client = server.client();
    for accept in ["text/html", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"] {
        let reply = client.send("GET", "/", &[("Accept", accept)], None);
        assert_eq!((reply.status, reply.header("location")), (303, Some("swagger-ui")), "{accept}");
        assert_eq!(reply.header("vary"), Some("Accept"));
    }
    for accept in [None, Some("*/*"), Some("application/json"), Some("")] {
        let headers: Vec<_> = accept.map(|accept| ("Accept", accept)).into_iter().collect();
        let reply = client.send("GET", "/", &headers, None);
        assert_eq!((reply.status, reply.header("vary")), (200, Some("Accept")), "{accept:?}");
        let links = json!({"openapi": "openapi.json", "swagger_ui": "swagger-ui", "health": "healthz"});
        let expected = json!({"name": "gatelet", "version": env!("CARGO_PKG_VERSION"), "links": links});
        assert_eq!(reply.json(), expected, "{accept:?}");
        for link in links.as_object().unwrap().values() {
            assert_eq!(client.call("GET", &format!("/{}", link.as_str().unwrap()), None, None).status, 200);
        }
    }
}

#[test]
fn the_page_loads_only_its_own_files_and_cannot_be_framed() {
    let server = TestServer::in_memory();
    let reply = server.call("GET", "/swagger-ui", None, None);
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = reply.header("content-security-policy").unwrap();
    let directives: Vec<_> = policy.split("; ").collect();
    assert_eq!(directives[0], "default-src 'none'");
    assert!(directives.contains(&"frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{policy}");
    assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));

    let page = String::from_utf8(reply.body).unwrap();
    assert!(page.contains("<title>Gatelet API</title>"));
    assert!(!page.contains("<script>") && !page.contains("style="), "{page}");
    assert!(!page.contains("=\"/"), "behind a proxy's path prefix this would leave Gatelet: {page}");
    let links = page.split(['"', '\'']).filter(|text| text.starts_with("swagger-ui/"));
    assert_eq!(
        links.map(|link| server.call("GET", &format!("/{link}"), None, None).status).collect::<Vec<_>>(),
        [200; 3]
    );
}

#[test]
fn the_path_with_a_trailing_slash_redirects_to_the_one_without() {
    let server = TestServer::in_memory();
    for path in ["/swagger-ui/", "/swagger-ui/?x"] {
        let reply = server.call("GET", path, None, None);
        assert_eq!((reply.status, reply.header("location")), (308, Some("../swagger-ui")), "{path}");
    }
}

#[test]
fn an_unchanged_file_of_the_page_is_not_sent_again() {
    let server = TestServer::in_memory();
    let mut client = server.client();
    for (path, content_type, encoding) in FILES {
        let reply = client.call("GET", path, None, None);
        assert_eq!((reply.status, reply.header("content-type")), (200, Some(content_type)), "{path}");
        assert_eq!(reply.header("content-encoding"), encoding, "{path}");
        assert_eq!(reply.header("cache-control"), Some("no-cache"), "{path}");
        assert_eq!(reply.body.starts_with(&[0x1f, 0x8b]), encoding.is_some(), "{path}");
        let tag = reply.header("etag").unwrap();
        let again = client.send("GET", path, &[("If-None-Match", tag)], None);
        assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, Some(tag)), "{path}");
    }
}

#[test]
fn no_other_file_is_served() {
    let server = TestServer::in_memory();
    for file in ["x", "index.html", "swagger-ui-bundle.js.map", "..", "../Cargo.toml", "%2e%2e", "start.js/x"]
    {
        let reply = server.call("GET", &format!("/swagger-ui/{file}"), None, None);
        Refusal::NotFound.expect(&reply, file);
    }
}
