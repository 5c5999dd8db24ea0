//! Files of users as other programs write them: what is taken, and what is said of the rest.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::import_command::{import, names};
use crate::support::temporary;

const HASH: &str = "$pbkdf2-sha256$1$Zeydcy7lnLMWgjCGECLkfA$3KdTRR2NGqbYJnQQ.oEBtFLG5JAT8r1k5AWFCbUhN5o";

/// Imports `users`; answers who is there then, and what was said of the rest.
fn imported(users: &str, code: i32) -> (BTreeSet<String>, Value) {
    let dir = temporary();
    let said = import(dir.path(), &["--apply", "--json"], users);
    assert_eq!(said.code, Some(code), "{said:?}");
    (names(dir.path()), said.json()["problems"].take())
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

const AFTER_QUOTE: &str = "text follows a closing quote; within quotes, a quote is written twice";

#[test]
fn a_quote_in_the_middle_of_a_name_takes_no_line_with_it() {
    let (names, problems) = imported(&format!("o\"neil,{HASH}\ndora,{HASH}\n6\"tall,{HASH}\n"), 0);
    assert_eq!((names, problems), (set(&["o\"neil", "dora", "6\"tall"]), json!([])));
}

#[test]
fn text_behind_a_closing_quote_is_refused_by_its_lines_and_merged_with_nothing() {
    let users = format!("\"anna \"x,{HASH}\nbert,{HASH}\n\"two\nlines\"x,{HASH}\ncarla,{HASH}\n");
    let (names, problems) = imported(&users, 1);
    assert_eq!(names, set(&["bert", "carla"]));
    let expected = json!([
        { "line": 1, "problem": AFTER_QUOTE },
        { "line": 3, "last_line": 4, "problem": AFTER_QUOTE },
    ]);
    assert_eq!(problems, expected);
    let dir = temporary();
    let said = import(dir.path(), &[], &users);
    assert!(said.out.contains(&format!("\nlines 3 to 4: {AFTER_QUOTE}")), "{said:?}");
}

#[test]
fn a_record_that_is_too_long_ends_no_import() {
    let long = "x".repeat(70_000);
    let object = |name: &str| format!("{{\"username\":\"{name}\",\"password\":\"{HASH}\"}}");
    let [anna, carla] = ["anna", "carla"].map(object);
    for users in [
        format!("anna,{HASH}\n\"{long}\",{HASH}\ncarla,{HASH}\n"),
        format!("anna,{HASH}\n{long},{HASH}\ncarla,{HASH}\n"),
        format!("{anna}\n{}\n{carla}\n", object(&long)),
        format!("[{anna},\n{},\n{carla}]\n", object(&long)),
    ] {
        let (names, problems) = imported(&users, 1);
        assert_eq!(names, set(&["anna", "carla"]));
        assert_eq!(problems, json!([{ "line": 2, "problem": "longer than 64 KiB" }]));
    }
}

#[test]
fn what_is_unambiguous_is_taken() {
    let object = |name: &str| format!("{{\"username\":\"{name}\",\"password\":\"{HASH}\"}}");
    let [anna, bert] = ["anna", "bert"].map(object);
    for users in [
        format!("anna;{HASH}\nbert;{HASH}\n"),
        format!("anna\t{HASH}\r\nbert\t{HASH}\r\n"),
        format!("username;password\nanna;{HASH}\nbert;{HASH}\n"),
        format!("\u{feff}sep=;\r\nusername;password;disabled\r\nanna;{HASH};f\r\nbert;{HASH};t\r\n"),
        format!("username,password,disabled\nanna,{HASH} ,f\nbert, {HASH},t\n"),
        format!("[{anna},\n{bert}]\n"),
        format!("[\n  {anna},\n  {bert}\n]\n"),
        format!("\u{feff}{anna}\r\n{bert}\r\n"),
    ] {
        assert_eq!(imported(&users, 0), (set(&["anna", "bert"]), json!([])), "{users}");
    }
}

#[test]
fn what_is_the_matter_with_a_file_is_said() {
    let dir = temporary();
    let utf_16 = format!("anna,{HASH}\n").replace("", "\0");
    for (users, code, text) in [
        (
            format!("login,pw\nanna,{HASH}\n"),
            1,
            "line 1: neither a user with a hash nor a header with the columns",
        ),
        (
            format!("id,username,pw\n1,anna,{HASH}\n"),
            2,
            "the first line names columns, but not both username and password_hash (or password)",
        ),
        (
            format!("anna;{HASH}\nbert,{HASH}\n"),
            1,
            "line 2: 2 columns are expected, 1 found: the separator is a semicolon, as in the first line",
        ),
        (
            "anna,$argon2id$v=19$m=64,t=2,p=1$x$y\n".to_owned(),
            1,
            "line 1: 2 columns are expected, 4 found: a field that holds a comma must stand in quotes",
        ),
        (utf_16, 2, "the input is no text, because of NUL bytes: if it is UTF-16, save it as UTF-8"),
        (format!("anna,{HASH}\nb\0ert,{HASH}\n"), 1, "line 2: no text, because of NUL bytes"),
        (format!("anna,{HASH}\nbert,\n"), 1, "line 2: there is no hash: this user has no password"),
        (
            format!("anna,{HASH}\rbert,{HASH}\r"),
            1,
            "line 1: a carriage return in the line: lines end in LF or CR LF",
        ),
        (
            format!("anna,{HASH}\n\"bert,{HASH}\ncarla,{HASH}\n"),
            2,
            "line 2: a quote is opened that nothing closes",
        ),
        ("[{\"username\":\"anna\",\n".to_owned(), 2, "line 1: an object is opened that nothing closes"),
        ("[]".to_owned(), 2, "there are no users in the input"),
    ] {
        let said = import(dir.path(), &[], &users);
        assert_eq!(said.code, Some(code), "{said:?}");
        assert!(format!("{}{}", said.out, said.err).contains(text), "{text}: {said:?}");
    }
}
