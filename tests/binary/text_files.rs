//! Texts in files, on standard input and in variables, as editors of other systems save them.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::{CHEAP, Process, credentials, gatelet, secrets, serve, temporary};
use crate::token_command::public_key;
use crate::{Said, end, refused, stop_well};

const PASSWORD: &str = "seven wild horses";

/// The password as Windows writes it, and how the refusal of each that cannot be read begins.
fn spellings() -> Vec<(Vec<u8>, Option<&'static str>)> {
    let utf_16 = |mark: &str, order: fn(u16) -> [u8; 2]| {
        format!("{mark}{PASSWORD}\r\n").encode_utf16().flat_map(order).collect::<Vec<_>>()
    };
    let nul = Some("no text, because of NUL bytes: if it is UTF-16, save it as UTF-8");
    vec![
        (format!("\u{feff}{PASSWORD}\r\n").into_bytes(), None),
        (format!("\u{feff}{PASSWORD}").into_bytes(), None),
        (format!("{PASSWORD}\r\n").into_bytes(), None),
        (utf_16("\u{feff}", u16::to_le_bytes), Some("UTF-16: save it as UTF-8")),
        (utf_16("\u{feff}", u16::to_be_bytes), Some("UTF-16: save it as UTF-8")),
        (utf_16("", u16::to_le_bytes), nul),
        (utf_16("", u16::to_be_bytes), nul),
        (b"seven\0wild horses\n".to_vec(), nul),
        (b"seven wild h\xf6rses\n".to_vec(), Some("not UTF-8")),
    ]
}

fn spawn(command: &mut Command, input: &[u8]) -> Child {
    command.env("GATELET_SCRYPT", CHEAP);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input); // wrong usage may end it before
    child
}

fn run(args: &[&str], dir: &Path, input: &[u8]) -> Said {
    end(spawn(gatelet().args(args).arg("--data-dir").arg(dir), input))
}

#[test]
fn a_password_on_standard_input_is_what_the_editor_showed_or_is_refused() {
    secrets::password(PASSWORD);
    let dir = temporary();
    for (number, (text, reason)) in spellings().into_iter().enumerate() {
        let name = format!("user-{number}");
        let said = run(&["user", "add", &name], dir.path(), &text);
        match reason {
            None => assert_eq!(said.code, Some(0), "{said:?}"),
            Some(reason) => {
                assert_eq!((said.code, &*said.out), (Some(2), ""), "{said:?}");
                let expected = format!("the password on standard input is {reason}");
                assert!(said.err.contains(&expected), "{said:?}");
            }
        }
    }
    let server = Process::start(dir.path(), &[]);
    for number in 0..3 {
        let login = credentials(&format!("user-{number}"), PASSWORD);
        assert_eq!(server.client().post("/login", &login).status, 200, "{number}");
    }
    assert_eq!(server.client().post("/login", &credentials("user-3", PASSWORD)).status, 401);
    stop_well(server);
}

#[test]
fn a_password_in_a_file_is_what_the_editor_showed_or_stops_the_start() {
    secrets::password(PASSWORD);
    let files = temporary();
    for (number, (text, reason)) in spellings().into_iter().enumerate() {
        let (file, dir) = (files.path().join(number.to_string()), temporary());
        fs::write(&file, text).unwrap();
        let mut command = serve(dir.path(), &["--admin-username", "root"]);
        command.env("GATELET_ADMIN_PASSWORD_FILE", &file);
        if let Some(reason) = reason {
            let said = refused(&mut command, 2);
            assert!(said.contains("--admin-password-file") && said.contains(reason), "{said}");
            assert!(!dir.path().join("store").exists());
            continue;
        }
        let server = Process::spawn(&mut command).unwrap_or_else(|ended| panic!("{ended:?}"));
        assert_eq!(server.client().post("/login", &credentials("root", PASSWORD)).status, 200);
        stop_well(server);
    }
}

#[test]
fn a_password_file_that_is_too_long_is_not_read_to_its_end() {
    let (files, dir) = (temporary(), temporary());
    let file = files.path().join("long");
    fs::write(&file, vec![b'x'; 70_000]).unwrap();
    let args = ["--admin-username", "root", "--admin-password-file", file.to_str().unwrap()];
    let said = refused(&mut serve(dir.path(), &args), 2);
    assert!(said.contains("the file is longer than any password"), "{said}");
}

#[test]
fn keys_and_tokens_may_have_a_mark_before_them_and_are_refused_as_utf_16() {
    let dir = temporary();
    let server = Process::start(dir.path(), &[]);
    crate::register(&server, "anna");
    let token = crate::log_in(&server, "anna").access;
    stop_well(server);
    let (_, public) = public_key(dir.path());
    let keys = dir.path().join("keys.txt");
    let verify = |keys: &Path, token: &[u8]| {
        end(spawn(gatelet().args(["token", "verify", "--keys"]).arg(keys), token))
    };
    for text in [
        format!("\u{feff}{public}\r\n"),
        format!("\u{feff}{{\"keys\":[{{\"public_key\":\"{public}\"}}]}}\r\n"),
    ] {
        fs::write(&keys, text).unwrap();
        for mark in ["\u{feff}", ""] {
            let said = verify(&keys, format!("{mark}{token}\r\n").as_bytes());
            assert_eq!(said.code, Some(0), "{said:?}");
        }
    }
    let utf_16: Vec<u8> = token.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let said = verify(&keys, &utf_16);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("standard input is no text, because of NUL bytes"), "{said:?}");
    let utf_16: Vec<u8> = format!("\u{feff}{public}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(&keys, utf_16).unwrap();
    let said = verify(&keys, token.as_bytes());
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("is UTF-16: save it as UTF-8 (--keys)"), "{said:?}");
}

#[test]
fn a_variable_from_a_file_with_the_line_ends_of_windows_makes_no_directory_of_its_own() {
    for (variable, value) in [
        ("GATELET_DATA_DIR", "data\r"),
        ("GATELET_BACKUP_DIR", "backups\r"),
        ("GATELET_ISSUER", "gatelet\r"),
        ("GATELET_DEV", "true\r"),
        ("RUST_LOG", "info\r"),
        ("GATELET_DATA_DIR", "\u{b}data"),
    ] {
        let dir = temporary();
        for args in [&[][..], &["serve"], &["user", "list"], &["settings"], &["healthcheck"], &["import"]] {
            let said = refused(gatelet().current_dir(dir.path()).args(args).env(variable, value), 2);
            assert!(
                said.contains(&format!(
                    "the value of {variable} begins or ends with the control character U+"
                ))
            );
            assert_eq!(said.contains("line ends of LF"), value.ends_with('\r'), "{said}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{variable}");
    }
    let dir = temporary();
    let said = refused(gatelet().current_dir(dir.path()).args(["--data-dir", "data\r"]), 2);
    assert!(said.contains("the value of --data-dir"), "{said}");
    let said = refused(gatelet().current_dir(dir.path()).env("\u{feff}GATELET_DATA_DIR", "elsewhere"), 2);
    assert!(said.contains("GATELET_DATA_DIR has U+FEFF before its name"), "{said}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
