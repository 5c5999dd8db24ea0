//! `gatelet healthcheck`

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;

use rustix::process::{Signal, kill_process};

use crate::support::{Process, gatelet, temporary};
use crate::{pid, refused, run, stop_well};

fn healthy(variables: &[(&str, &str)], args: &[&str]) {
    let output = run(gatelet().arg("healthcheck").args(args).envs(variables.iter().copied()));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_live_server_is_healthy_whatever_else_the_environment_says() {
    let dir = temporary();
    let server = Process::start(dir.path(), &[]);
    let (address, port) = (server.address.to_string(), server.address.port());
    let any = format!("0.0.0.0:{port}");
    healthy(&[], &["--listen", &address]);
    healthy(&[("GATELET_LISTEN", &address)], &[]);
    // As in the container: the server listens everywhere, and both have the same environment.
    healthy(
        &[
            ("GATELET_LISTEN", &any),
            ("GATELET_DATA_DIR", "/data"),
            ("GATELET_ACCESS_TTL", "1h"),
            ("GATELET_DEV", "true"),
            ("RUST_LOG", "trace"),
        ],
        &[],
    );
    stop_well(server);
    let text = refused(gatelet().args(["healthcheck", "--listen", &address]), 1);
    assert!(text.contains(&address), "{text}");
}

#[test]
fn a_server_on_all_addresses_is_found() {
    let dir = temporary();
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let server = Process::start(dir.path(), &["--listen", listen]);
        healthy(&[("GATELET_LISTEN", &server.address.to_string())], &[]);
        stop_well(server);
    }
}

#[test]
fn the_server_of_the_data_directory_is_asked_wherever_it_listens() {
    let nobody = ("GATELET_LISTEN", "127.0.0.1:1"); // as in a container whose server has a flag
    let dir = temporary();
    let data = dir.path().to_str().unwrap();
    for listen in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
        let server = Process::start(dir.path(), &["--listen", listen]);
        healthy(&[("GATELET_DATA_DIR", data)], &[]);
        healthy(&[("GATELET_DATA_DIR", data), nobody], &[]);
        healthy(&[nobody], &["--data-dir", data]);
        // A flag says which server is meant.
        let mut given = gatelet();
        given.args(["healthcheck", "--data-dir", data, "--listen", "127.0.0.1:1"]);
        assert!(refused(&mut given, 1).contains("127.0.0.1:1 is not healthy"));
        stop_well(server);
    }
    let text = refused(gatelet().args(["healthcheck", "--data-dir", data]).envs([nobody]), 1);
    assert!(text.contains("127.0.0.1:1 is not healthy"), "{text}");
}

#[test]
fn a_server_of_the_data_directory_that_hangs_is_not_looked_for_elsewhere() {
    let (dir, other) = (temporary(), temporary());
    let (server, alive) = (Process::start(dir.path(), &[]), Process::start(other.path(), &[]));
    kill_process(pid(&server), Signal::STOP).unwrap();
    let mut asked = gatelet();
    asked
        .args(["healthcheck", "--data-dir"])
        .arg(dir.path())
        .env("GATELET_LISTEN", alive.address.to_string());
    let text = refused(&mut asked, 1);
    kill_process(pid(&server), Signal::CONT).unwrap();
    assert!(text.contains(&format!("the server of {} is not healthy: ", dir.path().display())), "{text}");
    stop_well(server);
}

#[test]
fn whatever_answers_otherwise_is_not_healthy() {
    for answer in
        ["HTTP/1.1 503 Service Unavailable\r\n\r\n", "HTTP/1.1 2000 Odd\r\n\r\n", "", "\u{1b}[31mSSH-2.0"]
    {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let other = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            assert!(stream.read(&mut request).unwrap() > 0);
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let text = refused(gatelet().args(["healthcheck", "--listen", &address]), 1);
        other.join().unwrap();
        assert!(text.contains("not healthy") && !text.contains('\u{1b}'), "{text:?}");
    }
}

#[test]
fn a_server_that_hangs_is_not_healthy_and_how_long_it_was_waited_for_is_said() {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let text = refused(gatelet().args(["healthcheck", "--listen", &address]), 1);
    assert!(text.contains("no answer within 3s"), "{text}");
}

#[test]
fn a_wrong_address_is_wrong_usage() {
    let text = refused(gatelet().arg("healthcheck").env("GATELET_LISTEN", "nowhere"), 2);
    assert!(text.contains("GATELET_LISTEN"), "{text}");
}
