//! The metrics and their listener.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::time::Duration;

use serde_json::json;

use crate::support::admin_socket::rotate_keys;
use crate::support::{Client, Reply, TestServer, credentials, start};

const PASSWORD: &str = "correct horse";

/// A server with metrics, and the page read last.
struct Watched {
    server: TestServer,
    last: BTreeMap<String, f64>,
}

impl Watched {
    fn start() -> Self {
        Self::watch(TestServer::start_with(&["--metrics-listen", "127.0.0.1:0"]))
    }

    fn watch(server: TestServer) -> Self {
        // The start stores the clock in a commit, perhaps late. After this answer no such commit is left.
        assert_eq!(server.call("GET", "/readyz", None, None).status, 200);
        let mut watched = Self { server, last: BTreeMap::new() };
        watched.last = watched.page();
        watched
    }

    fn scraper(&self) -> Client {
        Client::connect(self.server.metrics.unwrap()).unwrap().unchecked()
    }

    fn scrape(&self) -> String {
        let reply = self.scraper().call("GET", "/metrics", None, None);
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        String::from_utf8(reply.body).unwrap()
    }

    /// All series by name and labels.
    fn page(&self) -> BTreeMap<String, f64> {
        let text = self.scrape();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let samples = samples.map(|line| line.rsplit_once(' ').unwrap());
        samples.map(|(series, value)| (series.to_owned(), value.parse().unwrap())).collect()
    }

    /// The first page that has this value.
    fn page_where(&self, series: &str, value: f64) -> BTreeMap<String, f64> {
        (0..10_000).map(|_| self.page()).find(|page| page[series] == value).unwrap()
    }

    fn value(&self, series: &str) -> f64 {
        *self.last.get(series).unwrap_or_else(|| panic!("no {series}: {:#?}", self.last))
    }

    /// Asserts that exactly these counters have moved since the last call, by these amounts.
    fn assert_moved(&mut self, expected: &[(&str, f64)]) {
        let now = self.page();
        let counters =
            now.iter().filter(|(series, _)| series.contains("_total") || series.contains("_count"));
        let moved: BTreeMap<_, _> = counters
            .map(|(series, value)| (series.as_str(), value - self.last.get(series).unwrap_or(&0.0)))
            .filter(|(_, by)| *by != 0.0)
            .collect();
        assert_eq!(moved, expected.iter().copied().collect());
        self.last = now;
    }
}

fn requests(method: &str, route: &str, status: &str) -> String {
    format!("gatelet_http_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}}")
}

fn durations(route: &str) -> String {
    format!("gatelet_http_request_duration_seconds_count{{route=\"{route}\"}}")
}

#[test]
fn every_series_exists_from_the_start() {
    let watched = Watched::start();
    let text = watched.scrape();
    for name in [
        "gatelet_build_info",
        "process_start_time_seconds",
        "gatelet_http_requests_total",
        "gatelet_http_request_duration_seconds",
        "gatelet_http_connections",
        "gatelet_http_connections_max",
        "gatelet_logins_total",
        "gatelet_refreshes_total",
        "gatelet_logouts_total",
        "gatelet_registrations_total",
        "gatelet_token_refusals_total",
        "gatelet_verify_undecided_total",
        "gatelet_account_changes_total",
        "gatelet_password_hash_duration_seconds",
        "gatelet_password_hashes_running",
        "gatelet_password_hashes_queued",
        "gatelet_store_batch_changes",
        "gatelet_store_sync_duration_seconds",
        "gatelet_store_size_bytes",
        "gatelet_store_unreadable_total",
        "gatelet_disk_free_bytes",
        "gatelet_disk_free_min_bytes",
        "gatelet_users",
        "gatelet_ended_sessions",
        "gatelet_keys",
        "gatelet_clock_behind",
        "gatelet_backup_last_success_timestamp_seconds",
        "gatelet_backup_failed",
        "gatelet_log_lines_lost_total",
    ] {
        assert!(text.contains(&format!("\n# TYPE {name} ")), "no {name}: {text}");
    }
    for series in [
        "gatelet_logins_total{outcome=\"unknown_user\"}",
        "gatelet_token_refusals_total{reason=\"missing\"}",
        "gatelet_verify_undecided_total{reason=\"unknown_demand\"}",
        "gatelet_http_request_duration_seconds_bucket{le=\"0.0001\",route=\"/user/<id>\"}",
        "gatelet_log_lines_lost_total{kind=\"audit\"}",
        "gatelet_log_lines_lost_total{kind=\"access\"}",
        "gatelet_log_lines_lost_total{kind=\"other\"}",
    ] {
        assert_eq!(watched.value(series), 0.0);
    }
    assert_eq!(
        watched.value(concat!("gatelet_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}")),
        1.0
    );
    assert_eq!(watched.value("process_start_time_seconds"), 1_767_225_600.0);
    assert_eq!(watched.value("gatelet_keys{state=\"active\"}"), 2.0);
    for something in ["gatelet_store_size_bytes", "gatelet_disk_free_bytes", "gatelet_disk_free_min_bytes"] {
        assert!(watched.value(something) > 1000.0, "{something}");
    }
}

#[test]
fn each_event_moves_its_counters_and_no_others() {
    let mut watched = Watched::start();
    let server = &watched.server;
    server.register("anna", PASSWORD);
    let tokens = server.log_in("anna", PASSWORD);
    watched.assert_moved(&[
        (&requests("POST", "/register", "201"), 1.0),
        (&durations("/register"), 1.0),
        (&requests("POST", "/login", "200"), 1.0),
        (&durations("/login"), 1.0),
        ("gatelet_registrations_total{outcome=\"ok\"}", 1.0),
        ("gatelet_logins_total{outcome=\"ok\"}", 1.0),
        ("gatelet_password_hash_duration_seconds_count", 2.0),
        ("gatelet_store_batch_changes_count", 1.0),
        ("gatelet_store_sync_duration_seconds_count", 1.0),
    ]);
    assert_eq!(watched.value("gatelet_users"), 1.0);

    let server = &watched.server;
    for (name, password) in [("anna", "wrong horse"), ("nobody", PASSWORD), ("nobody", PASSWORD)] {
        assert_eq!(server.client().post("/login", &credentials(name, password)).status, 401);
    }
    watched.assert_moved(&[
        (&requests("POST", "/login", "401"), 3.0),
        (&durations("/login"), 3.0),
        ("gatelet_logins_total{outcome=\"wrong_password\"}", 1.0),
        ("gatelet_logins_total{outcome=\"unknown_user\"}", 2.0),
        ("gatelet_password_hash_duration_seconds_count", 3.0),
    ]);

    let server = &watched.server;
    let mut client = server.client();
    for _ in 0..5 {
        assert_eq!(client.call("GET", "/user/me", Some(&tokens.access), None).status, 200);
    }
    assert_eq!(client.call("GET", "/user/me", None, None).status, 401);
    assert_eq!(client.call("GET", "/user/me", Some("v4.public.x"), None).status, 401);
    server.refresh(&tokens);
    assert_eq!(client.call("GET", "/no/such/path", None, None).status, 404);
    assert_eq!(client.call("BREW", "/user/me", None, None).status, 405);
    watched.assert_moved(&[
        (&requests("GET", "/user/<id>", "200"), 5.0),
        (&requests("GET", "/user/<id>", "401"), 2.0),
        (&requests("other", "/user/<id>", "405"), 1.0),
        (&durations("/user/<id>"), 8.0),
        (&requests("POST", "/refresh", "200"), 1.0),
        (&durations("/refresh"), 1.0),
        (&requests("GET", "-", "404"), 1.0),
        (&durations("-"), 1.0),
        ("gatelet_token_refusals_total{reason=\"missing\"}", 1.0),
        ("gatelet_token_refusals_total{reason=\"invalid\"}", 1.0),
        ("gatelet_refreshes_total{outcome=\"ok\"}", 1.0),
    ]);

    assert_eq!(watched.server.call("POST", "/logout", Some(&tokens.refresh), None).status, 200);
    watched.assert_moved(&[
        (&requests("POST", "/logout", "200"), 1.0),
        (&durations("/logout"), 1.0),
        ("gatelet_logouts_total", 1.0),
        ("gatelet_store_batch_changes_count", 1.0),
        ("gatelet_store_sync_duration_seconds_count", 1.0),
    ]);
    assert_eq!(watched.value("gatelet_ended_sessions"), 1.0);
}

#[test]
fn a_copied_refresh_token_a_throttled_login_and_changes_are_counted() {
    let args = ["--metrics-listen", "127.0.0.1:0", "--refresh-rotation", "on", "--account-limit", "1,1h"];
    let mut watched = Watched::watch(TestServer::start_with(&args));
    let server = &watched.server;
    server.add_admin("root", PASSWORD);
    let stolen = server.log_in("root", PASSWORD).refresh;
    let refresh = || server.call("POST", "/refresh", Some(&stolen), None).status;
    assert_eq!(refresh(), 200);
    server.advance(Duration::from_secs(31));
    assert_eq!(refresh(), 401);
    let admin = server.log_in("root", PASSWORD).access;
    let id = server.register("anna", PASSWORD);
    let path = format!("/user/{id}");
    let change = json!({ "disabled": true });
    assert_eq!(server.call("PATCH", &path, Some(&admin), Some(&change)).status, 200);
    assert_eq!(server.client().post("/login", &credentials("anna", PASSWORD)).status, 401);
    assert_eq!(server.client().post("/login", &credentials("anna", PASSWORD)).status, 429);
    assert_eq!(server.call("DELETE", &path, Some(&admin), None).status, 200);
    server.admin_socket(&rotate_keys()).unwrap();
    watched.last = watched.page();
    for (series, value) in [
        ("gatelet_refreshes_total{outcome=\"reused\"}", 1.0),
        ("gatelet_token_refusals_total{reason=\"revoked\"}", 1.0),
        ("gatelet_logins_total{outcome=\"disabled\"}", 1.0),
        ("gatelet_logins_total{outcome=\"throttled\"}", 1.0),
        ("gatelet_account_changes_total{change=\"updated\"}", 1.0),
        ("gatelet_account_changes_total{change=\"deleted\"}", 1.0),
        ("gatelet_account_changes_total{change=\"keys_rotated\"}", 1.0),
        ("gatelet_keys{state=\"active\"}", 2.0),
        ("gatelet_keys{state=\"retiring\"}", 2.0),
        ("gatelet_users", 1.0),
        ("gatelet_ended_sessions", 1.0),
    ] {
        assert_eq!(watched.value(series), value, "{series}");
    }
}

#[test]
fn undecided_answers_of_verify_are_counted_apart_from_refusals() {
    let mut watched = Watched::start();
    let server = &watched.server;
    server.register("anna", PASSWORD);
    let access = server.log_in("anna", PASSWORD).access;
    watched.last = watched.page();
    let server = &watched.server;
    let verify = |query: &str| server.call("GET", &format!("/verify{query}"), Some(&access), None).status;
    assert_eq!([verify(""), verify("?role=admin"), verify("?role=root")], [200, 403, 403]);
    server.clock.set(start().before(Duration::from_secs(3600)));
    assert_eq!([verify(""), verify("?role=admin"), verify("?role=root")], [403, 403, 403]);
    server.clock.set(start());
    watched.assert_moved(&[
        (&requests("GET", "/verify", "200"), 1.0),
        (&requests("GET", "/verify", "403"), 5.0),
        (&durations("/verify"), 6.0),
        ("gatelet_verify_undecided_total{reason=\"unknown_demand\"}", 2.0),
        ("gatelet_verify_undecided_total{reason=\"outage\"}", 2.0),
    ]);
}

#[test]
fn users_and_revoked_sessions_are_counted_across_restarts_and_pruning() {
    let watched = Watched::start();
    let server = &watched.server;
    for name in ["anna", "bert", "carl"] {
        server.register(name, PASSWORD);
    }
    for _ in 0..2 {
        let tokens = server.log_in("anna", PASSWORD);
        assert_eq!(server.call("POST", "/logout", Some(&tokens.access), None).status, 200);
    }
    let bert = server.log_in("bert", PASSWORD);
    assert_eq!(server.call("DELETE", "/user/me", Some(&bert.access), None).status, 200);
    let watched = Watched::watch(watched.server.restart());
    assert_eq!((watched.value("gatelet_users"), watched.value("gatelet_ended_sessions")), (2.0, 2.0));
    assert_eq!(watched.value("gatelet_registrations_total{outcome=\"ok\"}"), 0.0);
    // At a start, a background task prunes them once all have expired.
    watched.server.advance(Duration::from_secs(31 * 24 * 3600));
    Watched::watch(watched.server.restart()).page_where("gatelet_ended_sessions", 0.0);
}

#[test]
fn the_gauge_shows_a_clock_that_is_behind() {
    let watched = Watched::start();
    watched.server.register("anna", PASSWORD);
    watched.server.clock.set(start().before(Duration::from_secs(3600)));
    assert_eq!(watched.page()["gatelet_clock_behind"], 1.0);
    watched.server.clock.set(start());
    assert_eq!(watched.page()["gatelet_clock_behind"], 0.0);
}

#[test]
fn connections_of_clients_are_counted_and_those_of_scrapers_are_not() {
    let watched = Watched::start();
    let mut clients: Vec<_> = (0..3).map(|_| watched.server.client()).collect();
    for client in &mut clients {
        assert_eq!(client.call("GET", "/healthz", None, None).status, 200);
    }
    let page = watched.page_where("gatelet_http_connections", 3.0); // a closed one may still be counted
    assert_eq!(page["gatelet_http_connections_max"], 1024.0);
    assert_eq!(page[&requests("GET", "/healthz", "200")], 3.0);
    assert!(!page.keys().any(|series| series.contains("/metrics")), "{page:?}");
}

#[test]
fn metrics_are_on_their_own_listener_only_and_nothing_else_is() {
    let watched = Watched::start();
    let server = &watched.server;
    for path in ["/metrics", "/metrics/", "//metrics"] {
        let reply = server.call("GET", path, None, None);
        assert_eq!((reply.status, reply.json()["status"].as_str()), (404, Some("Not Found")), "{path}");
    }
    let ask = |method: &str, path: &str| -> Reply { watched.scraper().call(method, path, None, None) };
    assert_eq!(ask("HEAD", "/metrics").status, 200);
    let refused = ask("POST", "/metrics");
    assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
    for path in ["/", "/user/me", "/healthz", "/keys", "/.well-known/paseto-keys"] {
        assert_eq!(ask("GET", path).status, 404, "{path}");
    }
    assert_eq!(TestServer::start().metrics, None);
}

#[test]
fn labels_hold_no_names_ids_tokens_or_text_of_clients() {
    let watched = Watched::start();
    let server = &watched.server;
    let (anna, longer) = ("annabella", "a secret and long enough password");
    let id = server.register(anna, longer);
    let tokens = server.log_in(anna, longer);
    let path = format!("/user/{id}");
    server.call("GET", &path, Some(&tokens.access), None);
    server.call("GET", &format!("/{anna}?{longer}=1").replace(' ', "+"), Some(&tokens.access), None);
    server.call("ANNABELLA", &path, Some(&tokens.refresh), None);
    server.client().post("/login", &credentials("somebodyelse", "not the password"));
    server.client().send("GET", "/user/me", &[("X-Request-Id", "annabella-1")], None);
    server.call("POST", "/logout", Some(&tokens.access), None);
    let page = watched.scrape();
    for harm in [anna, &anna.to_uppercase(), &id, "secret", "somebodyelse", "127.0.0.1", "v4.", "k4."] {
        assert!(!page.contains(harm), "{harm}: {page}");
    }
    let series = page.lines().filter(|line| !line.starts_with('#')).count();
    for n in 0..50 {
        server.call(&format!("M{n}"), &format!("/path/{n}"), Some(&n.to_string()), None);
    }
    let more = watched.scrape().lines().filter(|line| !line.starts_with('#')).count();
    assert!(more <= series + 2, "{series} became {more}");
}

/// Waits until the server closes or resets the connection.
fn assert_closed(client: &Client) {
    match client.socket().read_to_end(&mut Vec::new()) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
}

#[test]
fn a_scraper_that_hangs_is_closed() {
    let watched = Watched::start();
    let (silent, mut slow) = (watched.scraper(), watched.scraper());
    slow.send_raw(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ").unwrap();
    assert_closed(&silent);
    assert_closed(&slow);
}

#[test]
fn the_ninth_scraper_replaces_the_one_idle_longest() {
    let watched = Watched::start();
    let mut scrapers: Vec<_> = (0..8).map(|_| watched.scraper()).collect();
    for client in &mut scrapers {
        assert_eq!(client.call("GET", "/metrics", None, None).status, 200);
    }
    assert_eq!(watched.scraper().call("GET", "/metrics", None, None).status, 200);
    assert_closed(&scrapers.remove(0)); // long before its deadline
    assert_eq!(watched.server.call("GET", "/healthz", None, None).status, 200);
}
