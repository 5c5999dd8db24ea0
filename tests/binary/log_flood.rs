//! The log under floods: what strangers send costs it few bytes, and pushes no line of the audit log out.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};

use crate::metrics::{free_port, value};
use crate::support::{Client, Process, Reply, credentials, memory_kib, request, serve, temporary};
use crate::{PASSWORD, stop_well};

const NO_LIMITS: [&str; 4] = ["--account-limit", "off", "--network-limit", "off"];

/// Sends the same request so many times, without waiting for answers, and returns when all have come.
fn flood(address: SocketAddr, text: &[u8], times: usize) {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut answers = stream.try_clone().unwrap();
    let reading = thread::spawn(move || io::copy(&mut answers, &mut io::sink()));
    for _ in 1..times {
        stream.write_all(text).unwrap();
    }
    stream.write_all(&request("GET", "/healthz", &[("Connection", "close")], None)).unwrap();
    reading.join().unwrap().unwrap();
}

/// A login that fails, as the audit log has it.
fn failed_login(client: &mut Client) -> String {
    let reply: Reply = client.post("/login", &credentials("nobody", PASSWORD));
    assert_eq!(reply.status, 401, "{reply:?}");
    format!(
        "login_refused reason=unknown_user client=127.0.0.1 request={}\n",
        reply.header("x-request-id").unwrap()
    )
}

#[test]
fn floods_of_large_requests_leave_every_audit_line_and_cost_the_log_few_bytes_and_no_memory() {
    const CONNECTIONS: usize = 4;
    const REQUESTS: usize = 400;
    let long = |letter: &str| letter.repeat(15_000);
    let (method, path, user) = (long("A"), format!("/{}", long("p")), format!("/user/{}", long("u")));
    let (value, several) = (long("v"), long("v").split_off(14_800));
    let names: Vec<_> = (0..60).map(|number| format!("X-Header-{number}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), several.as_str())).collect();
    for flooding in [
        request(&method, "/healthz", &[], None),
        request("GET", &path, &[], None),
        request("GET", &user, &[], None),
        request("GET", "/healthz", &[("User-Agent", &value)], None),
        request("GET", "/healthz", &[("X-Request-Id", &value)], None),
        request("GET", "/user/me", &[("Authorization", &format!("Bearer {value}"))], None),
        request("GET", "/healthz", &many, None),
    ] {
        let dir = temporary();
        let server = Process::start(dir.path(), &NO_LIMITS);
        let address = server.address;
        let over = &AtomicBool::new(false);
        let expected = thread::scope(|scope| {
            let mut client = server.client();
            let logins = scope.spawn(move || {
                let mut expected = vec![failed_login(&mut client)];
                while !over.load(Ordering::Relaxed) {
                    expected.push(failed_login(&mut client));
                }
                expected
            });
            let floods: Vec<_> =
                (0..CONNECTIONS).map(|_| scope.spawn(|| flood(address, &flooding, REQUESTS))).collect();
            floods.into_iter().for_each(|flood| flood.join().unwrap());
            over.store(true, Ordering::Relaxed);
            logins.join().unwrap()
        });
        let memory = memory_kib(server.id(), "VmHWM").unwrap();
        let log = stop_well(server);
        let what = String::from_utf8_lossy(&flooding[..40]);
        assert!(!log.contains("were lost"), "{what}: {log}");
        for line in &expected {
            assert!(log.contains(line), "{what}: no {line}");
        }
        let requests = CONNECTIONS * REQUESTS + expected.len();
        assert!(log.lines().count() >= requests, "{what}");
        assert!(log.len() < requests * 512, "{what}: {} bytes for {requests} requests", log.len());
        assert!(memory < 32 << 10, "{what}: {memory} KiB");
    }
}

#[test]
fn a_log_that_nobody_reads_loses_what_costs_nothing_to_make_first_and_counts_it() {
    const LOGINS: usize = 300;
    let (dir, address) = (temporary(), free_port());
    let metrics = address.to_string();
    let args = [&NO_LIMITS[..], &["--metrics-listen", &metrics]].concat();
    let mut child = serve(dir.path(), &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let public = crate::log::address(&mut child);
    let mut stderr = child.stderr.take().unwrap();
    let lost = |kind: &str| value(address, &format!("gatelet_log_lines_lost_total{{kind=\"{kind}\"}}"));
    let (is_open, no_token) = (request("GET", "/healthz", &[], None), request("GET", "/user/me", &[], None));

    while lost("access") == 0.0 {
        flood(public, &is_open, 1000);
    }
    assert_eq!(lost("audit"), 0.0);
    while lost("audit") == 0.0 {
        flood(public, &no_token, 1000);
    }
    // No room is left for lines that cost nothing to make, `/verify`'s warnings among them.
    flood(public, &request("GET", "/verify?fresh=yes&x", &[], None), 5000);
    let mut client = Client::connect(public).unwrap();
    let expected: Vec<_> = (0..LOGINS).map(|_| failed_login(&mut client)).collect();
    let (access, audit) = (lost("access"), lost("audit"));
    assert!(access >= 1.0 && lost("other") == 0.0);

    let reading = thread::spawn(move || io::read_to_string(&mut stderr).unwrap());
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(crate::watched(pid, move || child.wait().unwrap()).code(), Some(0));
    let log = reading.join().unwrap();
    let kept: Vec<_> = log.lines().filter(|line| line.contains("unknown_user")).collect();
    assert_eq!(kept.len(), LOGINS);
    assert!(
        kept.iter().zip(&expected).all(|(line, expected)| line.ends_with(expected.trim_end())),
        "in their order"
    );
    // Each look at the metrics is a request as well.
    let said = |kind: &str| -> f64 {
        let notices =
            log.lines().filter_map(|line| line.split_once(" log lines were lost (")?.1.split_once(')'));
        let counts = notices.flat_map(|(counts, _)| counts.split(", "));
        counts.filter_map(|count| count.strip_suffix(kind)?.trim().parse::<f64>().ok()).sum()
    };
    assert_eq!((said("audit"), said("other")), (audit, 0.0));
    assert!(said("access") >= access, "{}", said("access"));
}

#[test]
fn a_pipe_that_does_not_block_gets_every_line_whole_once_it_is_read() {
    const REQUESTS: usize = 3000; // more bytes than a pipe holds, fewer than may wait
    let dir = temporary();
    let (reader, writer) = io::pipe().unwrap();
    fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap(); // as programs on event loops leave it behind
    let mut command = serve(dir.path(), &[]);
    let mut child = command.stdout(Stdio::piped()).stderr(writer).spawn().unwrap();
    drop(command); // it holds the writing end as well
    flood(crate::log::address(&mut child), &request("GET", "/healthz", &[], None), REQUESTS);

    let reading = thread::spawn(move || io::read_to_string(reader).unwrap());
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(crate::watched(pid, move || child.wait().unwrap()).code(), Some(0));
    let log = reading.join().unwrap();
    assert!(log.lines().all(|line| line.starts_with("[20")), "{log}");
    assert_eq!(log.matches(" gatelet::access] GET /healthz 200 ").count(), REQUESTS);
}
