//! nginx and Caddy ask Gatelet whether a request may pass, with the configuration in `deploy/`. The tests replace only
//! addresses and paths of files.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::{Process, Tokens, credentials, gatelet, secrets, serve, temporary};

const GUIDE: &str = include_str!("../../docs/integrate.md");
const NGINX: &str = include_str!("../../deploy/nginx.conf");
const CADDY: &str = include_str!("../../deploy/Caddyfile");

const PASSWORD: &str = "correct horse";

/// Long enough for a proxy to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Gatelet, an application without authentication of its own, and a proxy in front of both.
struct Site {
    name: &'static str,
    gatelet: Option<Process>,
    application: Application,
    proxy: Proxy,
    data: TempDir,
}

/// The same site behind each proxy.
fn sites() -> impl Iterator<Item = Site> {
    [("nginx", Proxy::nginx as fn(_, _) -> _), ("Caddy", Proxy::caddy)].into_iter().map(|(name, proxy)| {
        let data = temporary();
        let args = ["--trusted-proxies", "127.0.0.1", "--cors-origins", "https://example.org"];
        let gatelet = Process::spawn(&mut serve(data.path(), &args)).unwrap();
        let application = Application::start();
        let proxy = proxy(gatelet.address, application.address);
        Site { name, gatelet: Some(gatelet), application, proxy, data }
    })
}

impl Site {
    /// Requests a path of the application. Returns the status, the head, and the request as the application saw it.
    fn ask(&self, path: &str, token: Option<&str>, args: &[&str]) -> (u16, String, Option<Seen>) {
        let bearer = token.map(|token| format!("Authorization: Bearer {token}"));
        let bearer = bearer.iter().flat_map(|bearer| ["--header", bearer]);
        let args: Vec<_> = bearer.chain(args.iter().copied()).collect();
        let (status, head) = self.proxy.curl("example.org", path, &args);
        // The application reports a request before it answers.
        (status, head, self.application.seen.try_recv().ok())
    }

    /// Requests a path that must be refused.
    #[track_caller]
    fn expect_closed(&self, path: &str, token: Option<&str>, args: &[&str], status: u16) -> String {
        let (answered, head, seen) = self.ask(path, token, args);
        assert_eq!((answered, seen), (status, None), "{} {path} {args:?}: {head}", self.name);
        head
    }

    /// Requests a path that must pass.
    #[track_caller]
    fn expect_open(&self, path: &str, token: Option<&str>, args: &[&str]) -> Seen {
        let (answered, head, seen) = self.ask(path, token, args);
        assert_eq!(answered, 200, "{} {path} {args:?}: {head}", self.name);
        seen.unwrap_or_else(|| panic!("{} {path} {args:?}: the application was not asked", self.name))
    }

    fn register(&self, name: &str) -> (String, Tokens) {
        let mut client = self.gatelet.as_ref().unwrap().client();
        let reply = client.post("/register", &credentials(name, PASSWORD));
        let id = reply.header("location").unwrap().strip_prefix("/user/").unwrap().to_owned();
        (id, Tokens::from_reply(&client.post("/login", &credentials(name, PASSWORD))))
    }

    /// An access token of an administrator.
    fn admin(&self) -> String {
        let mut command = gatelet();
        command.args(["user", "add", "--admin", "root", "--data-dir"]).arg(self.data.path());
        let output = run(&mut command, PASSWORD);
        assert!(output.status.success(), "{output:?}");
        let mut client = self.gatelet.as_ref().unwrap().client();
        Tokens::from_reply(&client.post("/login", &credentials("root", PASSWORD))).access
    }

    fn post(&self, path: &str, token: &str) -> u16 {
        self.gatelet.as_ref().unwrap().client().call("POST", path, Some(token), None).status
    }

    /// An access token that is not fresh.
    fn refresh(&self, tokens: &Tokens) -> String {
        let mut client = self.gatelet.as_ref().unwrap().client();
        let reply = client.call("POST", "/refresh", Some(&tokens.refresh), None);
        reply.json()["access_token"].as_str().unwrap().to_owned()
    }
}

/// A request as it reached the application.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// Method and path.
    request: String,
    /// Names in lower case, `_` as `-`: as the environment of a program shows them (CGI).
    headers: Vec<(String, String)>,
    body: usize,
}

impl Seen {
    /// Every header that identifies the user.
    fn identity(&self) -> Vec<(&str, &str)> {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut identity: Vec<_> = headers.filter(|(name, _)| name.starts_with("remote")).collect();
        identity.sort_unstable();
        identity
    }

    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(header, _)| header == name)
    }
}

/// A program that answers 200 to every request and reports it to the test.
struct Application {
    address: SocketAddr,
    seen: Receiver<Seen>,
}

impl Application {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, seen) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let tell = tell.clone();
                thread::spawn(move || Self::answer(stream.unwrap(), &tell));
            }
        });
        Self { address, seen }
    }

    fn answer(stream: TcpStream, tell: &Sender<Seen>) {
        let mut stream = BufReader::new(stream);
        let mut lines = (&mut stream).lines().map(Result::unwrap).take_while(|line| !line.is_empty());
        let Some(request) = lines.next() else {
            return;
        };
        let headers: Vec<_> = lines
            .map(|line| {
                let (name, value) = line.split_once(':').unwrap();
                (name.to_lowercase().replace('_', "-"), value.trim().to_owned())
            })
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
        stream.read_exact(&mut body).unwrap();
        let request = request.rsplit_once(' ').unwrap().0.to_owned();
        let _ = tell.send(Seen { request, headers, body: body.len() }); // the test may be over
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
        stream.get_mut().write_all(answer).unwrap();
    }
}

/// A proxy that runs until it is dropped.
struct Proxy {
    child: Child,
    port: u16,
    authority: PathBuf,
    dir: TempDir,
}

impl Proxy {
    fn nginx(gatelet: SocketAddr, application: SocketAddr) -> Self {
        let (dir, port) = (temporary(), free_port());
        let at = |name: &str| dir.path().join(name).display().to_string();
        let certificate = ["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
        let names = "subjectAltName=DNS:example.org,DNS:auth.example.org";
        let mut openssl = Command::new("openssl");
        openssl.args(certificate).args(["-subj", "/CN=example.org", "-addext", names]);
        openssl.args(["-keyout", &at("key.pem"), "-out", &at("certificate.pem")]);
        let output = run(&mut openssl, "");
        assert!(output.status.success(), "{output:?}");
        let shipped = replaced(
            NGINX,
            &[
                ("listen 443 ssl;", &format!("listen 127.0.0.1:{port} ssl;"), 2),
                ("127.0.0.1:5000", &gatelet.to_string(), 1),
                ("127.0.0.1:8080", &application.to_string(), 1),
                ("/etc/ssl/certs/example.org.pem", &at("certificate.pem"), 1),
                ("/etc/ssl/private/example.org.key", &at("key.pem"), 1),
            ],
        );
        // The surrounding nginx.conf of a distribution, with all files in this directory.
        let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temp: String = temp.iter().map(|name| format!("{name}_temp_path {};\n", at(name))).collect();
        let config = format!(
            "daemon off;\nuser root;\npid {};\nerror_log stderr;\nevents {{}}\n\
             http {{\naccess_log off;\n{temp}{shipped}\n}}\n",
            at("pid")
        );
        fs::write(at("nginx.conf"), config).unwrap();
        let mut nginx = Command::new("nginx");
        nginx.args(["-p", &at(""), "-e", "stderr", "-c", &at("nginx.conf")]);
        let authority = dir.path().join("certificate.pem");
        Self::start(&mut nginx, port, authority, dir)
    }

    fn caddy(gatelet: SocketAddr, application: SocketAddr) -> Self {
        let (dir, port) = (temporary(), free_port());
        let shipped = replaced(
            CADDY,
            &[("127.0.0.1:5000", &gatelet.to_string(), 2), ("127.0.0.1:8080", &application.to_string(), 1)],
        );
        // Self-signed certificates, no other ports, no files outside the directory.
        let config = format!(
            "{{\nadmin off\nlocal_certs\nskip_install_trust\nauto_https disable_redirects\n\
             https_port {port}\ndefault_bind 127.0.0.1\n}}\n{shipped}"
        );
        let file = dir.path().join("Caddyfile");
        fs::write(&file, config).unwrap();
        let mut caddy = Command::new("caddy");
        caddy.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
        caddy.env("HOME", dir.path()).env_remove("XDG_DATA_HOME").env_remove("XDG_CONFIG_HOME");
        let authority = dir.path().join(".local/share/caddy/pki/authorities/local/root.crt");
        Self::start(&mut caddy, port, authority, dir)
    }

    /// Starts the proxy and waits until it serves both names.
    fn start(command: &mut Command, port: u16, authority: PathBuf, dir: TempDir) -> Self {
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let command = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut proxy = Self { child: command.spawn().unwrap(), port, authority, dir };
        let begun = Instant::now();
        for host in ["example.org", "auth.example.org"] {
            while !proxy.command(host, "/gatelet-is-not-asked", &[]).status().unwrap().success() {
                let log = fs::read_to_string(proxy.dir.path().join("log")).unwrap();
                assert!(proxy.child.try_wait().unwrap().is_none(), "{log}");
                assert!(begun.elapsed() < PATIENCE, "{log}");
                thread::sleep(Duration::from_millis(20));
            }
        }
        proxy
    }

    fn command(&self, host: &str, path: &str, args: &[&str]) -> Command {
        let mut curl = Command::new("curl");
        // Without the proxy settings and the configuration file of the caller.
        curl.args(["--disable", "--noproxy", "*", "--silent", "--include", "--http1.1", "--path-as-is"]);
        curl.args(["--max-time", "30", "--cacert"]).arg(&self.authority);
        curl.args(["--resolve", &format!("{host}:{}:127.0.0.1", self.port)]);
        curl.args(args).arg(format!("https://{host}:{}{path}", self.port));
        curl.stdout(Stdio::null()).stderr(Stdio::null());
        curl
    }

    /// The status and the whole text of an answer.
    fn curl(&self, host: &str, path: &str, args: &[&str]) -> (u16, String) {
        let output = self.command(host, path, args).stdout(Stdio::piped()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        (status.unwrap_or_else(|| panic!("{path} {args:?}: {output:?}")), text)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // A gentle signal ends its workers too; SIGKILL would leave them running.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

/// Replaces texts, each of which must occur the given number of times.
fn replaced(text: &str, replacements: &[(&str, &str, usize)]) -> String {
    replacements.iter().fold(text.to_owned(), |text, (old, new, times)| {
        assert_eq!(text.matches(old).count(), *times, "{old}");
        text.replace(old, new)
    })
}

/// A port that was free a moment ago: proxies do not report the port that they chose.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn run(command: &mut Command, input: &str) -> Output {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    secrets::logged(&String::from_utf8_lossy(&output.stderr));
    output
}

/// Headers of a client that tries to pass as an administrator.
const FORGED: [&str; 20] = [
    "--header",
    "Remote-User: root",
    "--header",
    "remote-user-id: 01890a5d-ac96-774b-bcce-b302099a8057",
    "--header",
    "REMOTE-ROLE: admin",
    "--header",
    "Remote_User: root",
    "--header",
    "REMOTE_ROLE: admin",
    "--header",
    "Remote-Groups: admins",
    "--header",
    "X-Original-URI: /public/",
    "--header",
    "X-Original-URL: /admin/x",
    "--header",
    "X-Rewrite-URL: /admin/x",
    "--header",
    "SCRIPT_NAME: /public",
];

#[test]
#[ignore = "needs nginx and caddy: .ci/run installs them"]
fn without_a_good_token_every_request_gets_401_with_the_scheme() {
    for site in sites() {
        let (_, tokens) = site.register("anna");
        for path in ["/", "/x/y?role=admin&a=b", "/danger/x", "/admin/x"] {
            let head = site.expect_closed(path, None, &FORGED, 401).to_lowercase();
            assert!(
                head.contains("\r\nstrict-transport-security: max-age=31536000\r\n"),
                "{}: {head}",
                site.name
            );
            assert!(head.contains("\r\nwww-authenticate: bearer\r\n"), "{}: {head}", site.name);
            for token in [Some("garbage"), Some(tokens.refresh.as_str())] {
                let head = site.expect_closed(path, token, &FORGED, 401).to_lowercase();
                let challenge = "\r\nwww-authenticate: bearer error=\"invalid_token\"\r\n";
                assert!(head.contains(challenge), "{}: {head}", site.name);
            }
        }
    }
}

#[test]
#[ignore = "needs nginx and caddy: .ci/run installs them"]
fn the_application_learns_the_user_and_no_client_can_forge_it() {
    for site in sites() {
        for (name, header) in [("anna", "anna"), ("Anna Müller", "Anna%20M%C3%BCller"), ("100%", "100%25")] {
            let (id, tokens) = site.register(name);
            for args in [&[][..], &FORGED] {
                let seen = site.expect_open("/x/y?role=admin&a=b", Some(&tokens.access), args);
                assert_eq!(seen.request, "GET /x/y?role=admin&a=b", "{}", site.name);
                let identity =
                    [("remote-role", "user"), ("remote-user", header), ("remote-user-id", id.as_str())];
                assert_eq!(seen.identity(), identity, "{}", site.name);
                assert!(!seen.has("authorization"), "{}: {seen:?}", site.name);
            }
        }
    }
}

#[test]
#[ignore = "needs nginx and caddy: .ci/run installs them"]
fn no_client_can_make_the_proxy_drop_the_identity_headers() {
    for site in sites() {
        let (_, tokens) = site.register("anna");
        for connection in
            ["close, Remote-User", "remote-role,Remote-User-Id", "Remote-User, close, keep-alive"]
        {
            let header = format!("Connection: {connection}");
            let seen = site.expect_open("/x", Some(&tokens.access), &["--header", &header]);
            assert_eq!(seen.identity().len(), 3, "{} {connection}: {seen:?}", site.name);
        }
    }
}

#[test]
#[ignore = "needs nginx and caddy: .ci/run installs them"]
fn an_open_path_needs_no_token_and_names_no_user() {
    for site in sites() {
        let (_, tokens) = site.register("anna");
        for token in [None, Some(tokens.access.as_str())] {
            for args in [&[][..], &FORGED] {
                let seen = site.expect_open("/public/x", token, args);
                assert_eq!(seen.identity(), [], "{} {args:?}", site.name);
                for header in ["authorization", "x-original-url", "x-rewrite-url", "script-name"] {
                    assert!(!seen.has(header), "{}: {seen:?}", site.name);
                }
            }
        }
        for path in ["/PUBLIC/x", "/publicx", "/x/public/", "/?/public/", "/x?/../public/x"] {
            site.expect_closed(path, None, &FORGED, 401);
        }
    }
}

/// Paths that a proxy and an application, or two applications, read differently: some resolve dot segments, drop `;` and
/// the text behind it, or treat `\` and `%2f` as `/`; some decode never, some once, some twice.
const AMBIGUOUS: [&str; 64] = [
    // Open for the proxy and guarded for the application, or the other way round.
    "/admin/delete/%2e%2e/%2E%2E/public/x",
    "/admin/x/../../public/x",
    "/danger/a/..%2f..%2fpublic/x",
    "/private/%2e%2e/public/x",
    "/private/.%2e/public/x",
    "/private/..;/public/x",
    "/private/..\\public/x",
    "/private/%252e%252e/public/x",
    "/public/../admin/x",
    "/public/%2e%2e/admin/x",
    "/public/..%2fadmin/x",
    "/public/..%5cadmin/x",
    "/public/..%3b/admin/x",
    "/public/%252e%252e/admin/x",
    "/public/..;/admin/x",
    "/public/..\\admin/x",
    "/public/x/..",
    "/public/..?x",
    "/public/.",
    "/public/./x",
    "/public//admin/x",
    "//public/admin/x",
    "/%70ublic/x",
    "/p%75BLIC/x",
    "/public%2fx",
    "/public/x%00",
    "/public/%0d%0aRemote-Role:%20admin",
    "http://example.org/public/../admin/x",
    // For any user by the proxy's reading, and for administrators by the application's.
    "/./admin/x",
    "//admin/x",
    "/x//../admin/x",
    "/x/..;/admin/x",
    "/%61dmin/x",
    "/;x/admin/x",
    "/admin;x/x",
    "/admin%2fx",
    // For programs that decode overlong UTF-8, or that fold (NFKC, "best fit") or trim the decoded text.
    "/public/%c0%ae%c0%ae/admin/x",
    "/public/%C0%2E%C0%2E/admin/x",
    "/public/..%c0%afadmin/x",
    "/public/..%c1%9cadmin/x",
    "/public/%e0%80%ae%e0%80%ae/admin/x",
    "/public/%f0%80%80%ae%f0%80%80%ae/admin/x",
    "/public/%f8%80%80%80%ae/admin/x",
    "/public/%ff/admin/x",
    "/public/%ef%bc%8e%ef%bc%8e/admin/x",
    "/public/..%ef%bc%8fadmin/x",
    "/public/..%EF%BC%BCadmin/x",
    "/public/..%ef%bc%9b/admin/x",
    "/public/%ef%bc%852e%ef%bc%852e/admin/x",
    "/public/%ef%b9%92%ef%b9%92/admin/x",
    "/public/%e2%80%a5/admin/x",
    "/public/%e2%80%a4%e2%80%a4/admin/x",
    "/public/..%20/admin/x",
    "/public/%20../admin/x",
    "/public/.%20./admin/x",
    "/public/..%20?x",
    "/public/..%c2%a0/admin/x",
    "/public/..%e2%80%8b/admin/x",
    "/public/\u{ff0e}\u{ff0e}/admin/x",
    "/public/%u002e%u002e/admin/x",
    // Not a path.
    "admin/x",
    "http:admin/x",
    "http:public/x",
    "*",
];

#[test]
#[ignore = "needs nginx and caddy: .ci/run installs them"]
fn an_ambiguous_path_does_not_reach_the_application() {
    for site in sites() {
        let (_, tokens) = site.register("anna");
        for token in [None, Some(tokens.access.as_str())] {
            for path in AMBIGUOUS {
                site.expect_closed("/", token, &["--request-target", path], 400);
            }
        }
    }
}

#[test]
#[ignore = "needs nginx and caddy: .ci/run installs them"]
fn any_other_path_reaches_the_application_unchanged() {
    for site in sites() {
        let (_, tokens) = site.register("anna");
        for path in [
            "/",
            "/.well-known/x",
            "/..x/x../a..b/...",
            "/@a:b,c!d$e&f'(g)*+h=i~j_k-l",
            "/a%20b/%C3%A4/%3Ca%3E%22%23%3F%40%7C",
            "/a%20/..b%20/x.%C2%A0y/%E5%B1%B1.%E7%94%B0/%E2%82%AC%EF%BC%A1/%F0%9F%90%8E",
            "/x?a=../admin/&b=//;%2e%2f",
        ] {
            let seen = site.expect_open(path, Some(&tokens.access), &[]);
            assert_eq!(seen.request, format!("GET {path}"), "{}", site.name);
        }
    }
}

#[test]
#[ignore = "needs nginx and caddy: .ci/run installs them"]
fn a_path_can_demand_a_fresh_login_or_an_administrator() {
    for site in sites() {
        let (_, tokens) = site.register("anna");
        let stale = site.refresh(&tokens);
        site.expect_open("/", Some(&stale), &[]);
        let head = site.expect_closed("/danger/x", Some(&stale), &[], 401).to_lowercase();
        let challenge = "\r\nwww-authenticate: bearer error=\"insufficient_user_authentication\"\r\n";
        assert!(head.contains(challenge), "{}: {head}", site.name);
        // Spellings that applications may accept.
        for path in ["/danger", "/Danger/x", "/DANGER.html", "/danger%20/x"] {
            site.expect_closed(path, Some(&stale), &FORGED, 401);
        }
        site.expect_open("/danger/x", Some(&tokens.access), &[]);
        for path in
            ["/admin/x", "/admin/x?role=user", "/admin/x?", "/admin", "/Admin/x", "/ADMIN.html", "/admin%3fx"]
        {
            site.expect_closed(path, Some(&tokens.access), &FORGED, 403);
        }
        let seen = site.expect_open("/admin/x", Some(&site.admin()), &[]);
        assert!(seen.identity().contains(&("remote-role", "admin")), "{}: {seen:?}", site.name);
    }
}

#[test]
#[ignore = "needs nginx and caddy: .ci/run installs them"]
fn a_logout_refuses_the_next_request() {
    for site in sites() {
        let (_, tokens) = site.register("anna");
        site.expect_open("/", Some(&tokens.access), &[]);
        assert_eq!(site.post("/logout", &tokens.refresh), 200);
        site.expect_closed("/", Some(&tokens.access), &[], 401);
    }
}

#[test]
#[ignore = "needs nginx and caddy: .ci/run installs them"]
fn every_method_is_verified_and_bodies_go_to_the_application_only() {
    for site in sites() {
        let (_, tokens) = site.register("anna");
        // Far above Gatelet's limit, and below the default limit of nginx.
        let body = site.data.path().join("body");
        fs::write(&body, vec![b'x'; 1_000_000]).unwrap();
        let body = format!("@{}", body.display());
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "FROBNICATE"] {
            for (args, length) in [
                (&["--request", method][..], 0),
                (&["--request", method, "--data", "a=b"], 3),
                (&["--request", method, "--header", "Expect:", "--data-binary", &body], 1_000_000),
            ] {
                let seen = site.expect_open("/x", Some(&tokens.access), args);
                assert_eq!(seen.request, format!("{method} /x"), "{}", site.name);
                assert_eq!(seen.body, length, "{} {args:?}", site.name);
                assert_eq!(seen.identity().len(), 3, "{} {args:?}", site.name);
                if length < 1_000_000 {
                    site.expect_closed("/x", None, args, 401);
                }
            }
        }
        site.expect_open("/x", Some(&tokens.access), &["--head"]);
        site.expect_closed("/x", None, &["--head"], 401);
        let preflight = ["--request", "OPTIONS", "--header", "Origin: https://example.org"];
        let preflight = [&preflight[..], &["--header", "Access-Control-Request-Method: GET"]].concat();
        site.expect_closed("/x", None, &preflight, 401);
    }
}

#[test]
#[ignore = "needs nginx and caddy: .ci/run installs them"]
fn no_client_can_tunnel_to_the_application() {
    for site in sites() {
        let (_, tokens) = site.register("anna");
        for (path, token) in [("/public/x", None), ("/x", Some(tokens.access.as_str()))] {
            for protocol in ["h2c", "websocket"] {
                let upgrade = format!("Upgrade: {protocol}");
                let args = ["--header", "Connection: Upgrade, HTTP2-Settings", "--header", &upgrade];
                let seen = site.expect_open(
                    path,
                    token,
                    &[&args[..], &["--header", "HTTP2-Settings: AAMA"]].concat(),
                );
                assert!(!seen.has("upgrade"), "{}: {seen:?}", site.name);
            }
            let (status, head, seen) = site.ask(path, token, &["--request", "CONNECT"]);
            assert!([400, 405].contains(&status) && seen.is_none(), "{}: {head}", site.name);
        }
    }
}

#[test]
#[ignore = "needs nginx and caddy: .ci/run installs them"]
fn while_gatelet_is_down_no_request_passes() {
    for mut site in sites() {
        let (_, tokens) = site.register("anna");
        site.expect_open("/", Some(&tokens.access), &[]);
        drop(site.gatelet.take());
        for token in [None, Some(tokens.access.as_str())] {
            for path in ["/", "/danger/x", "/admin/x"] {
                let (status, head, seen) = site.ask(path, token, &FORGED);
                assert!((500..600).contains(&status), "{}: {head}", site.name);
                assert_eq!(seen, None, "{} {path}", site.name);
            }
        }
        site.expect_open("/public/x", None, &[]);
    }
}

#[test]
#[ignore = "needs nginx and caddy: .ci/run installs them"]
fn gatelet_sees_the_clients_own_addresses() {
    for mut site in sites() {
        let (_, tokens) = site.register("anna");
        let from = ["--interface", "127.0.0.2", "--header", "X-Forwarded-For: 192.0.2.1"];
        site.expect_open("/", Some(&tokens.access), &from);
        let (status, _) = site.proxy.curl("auth.example.org", "/session", &from);
        assert_eq!(status, 401, "{}", site.name);
        let log = site.gatelet.take().unwrap().stop().log;
        for line in ["GET /verify 200 ", "GET /session 401 "] {
            let line =
                log.lines().rev().find(|logged| logged.contains(line)).unwrap_or_else(|| panic!("{log}"));
            assert!(line.contains(" client=127.0.0.2 "), "{}: {line}", site.name);
        }
    }
}

#[test]
#[ignore = "needs nginx and caddy: .ci/run installs them"]
fn only_pages_of_the_application_can_read_the_answer_to_a_login() {
    for site in sites() {
        site.register("anna");
        for (origin, listed) in [("https://example.org", true), ("https://evil.example", false)] {
            let origin = format!("Origin: {origin}");
            let preflight = ["--request", "OPTIONS", "--header", &origin];
            let preflight = [&preflight[..], &["--header", "Access-Control-Request-Method: POST"]].concat();
            let (status, head) = site.proxy.curl("auth.example.org", "/login", &preflight);
            let permitted =
                head.to_lowercase().contains("\r\naccess-control-allow-methods: options, post\r\n");
            assert_eq!((status, permitted), (204, listed), "{}: {head}", site.name);
            let body = credentials("anna", PASSWORD).to_string();
            let login = ["--header", &origin, "--header", "Content-Type: application/json", "--data", &body];
            let (status, answer) = site.proxy.curl("auth.example.org", "/login", &login);
            secrets::received(answer.rsplit("\r\n\r\n").next().unwrap().as_bytes());
            let permitted =
                answer.to_lowercase().contains("\r\naccess-control-allow-origin: https://example.org\r\n");
            assert_eq!((status, permitted), (200, listed), "{}", site.name);
        }
    }
}

/// The block of nginx configuration with this number in the guide.
pub(crate) fn guide_block(number: usize) -> &'static str {
    let mut blocks = GUIDE.split("\n```nginx\n").skip(1).map(|block| block.split("```").next().unwrap());
    blocks.nth(number).unwrap()
}

#[test]
fn the_guide_shows_the_configuration_that_is_tested() {
    let parts: Vec<_> = guide_block(0).split("\n\n").collect();
    assert_eq!(parts.len(), 5);
    for part in parts {
        assert!(NGINX.contains(part), "deploy/nginx.conf has no\n{part}");
    }
}
