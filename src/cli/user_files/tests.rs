use std::io::Cursor;

use proptest::prelude::*;

use super::*;

const HASH: &str = "$pbkdf2-sha256$1$Zeydcy7lnLMWgjCGECLkfA$3KdTRR2NGqbYJnQQ.oEBtFLG5JAT8r1k5AWFCbUhN5o";

/// Each line's number, and the name that it adds or its problem.
fn read(text: impl AsRef<[u8]>) -> Vec<(u64, Result<String, Problem>)> {
    let text = text.as_ref().to_vec();
    // In pieces, as from a pipe.
    let input = io::BufReader::with_capacity(7, Cursor::new(text));
    let rows = Rows::read(input, None).unwrap().map(Result::unwrap);
    rows.map(|row| (row.line, row.user.map(|user| user.name.as_str().to_owned()))).collect()
}

fn user(text: &str) -> Newcomer {
    let mut rows = Rows::read(text.as_bytes(), None).unwrap();
    let user = rows.next().unwrap().unwrap().user.unwrap();
    assert!(rows.next().is_none());
    user
}

fn ok(line: u64, name: &str) -> (u64, Result<String, Problem>) {
    (line, Ok(name.to_owned()))
}

#[test]
fn lines_are_counted_as_an_editor_does_whatever_they_end_in() {
    for end in ["\n", "\r\n"] {
        let lines =
            [&format!("anna,{HASH}"), "", "", &format!("\"bert\",\"{HASH}\""), &format!("carla,{HASH}")];
        for last in ["", end] {
            for bom in ["", "\u{feff}"] {
                let read = read(format!("{bom}{}{last}", lines.join(end)));
                assert_eq!(read, [ok(1, "anna"), ok(4, "bert"), ok(5, "carla")], "{end:?} {last:?} {bom:?}");
            }
        }
    }
}

#[test]
fn a_header_says_where_things_stand_and_may_be_missing() {
    let anna = Newcomer {
        name: "anna".parse().unwrap(),
        hash: PasswordHash::import(HASH.into()).unwrap(),
        role: Role::User,
        disabled: false,
    };
    let other = Newcomer { role: Role::Admin, disabled: true, ..anna.clone() };
    for (text, expected) in [
        (format!("anna,{HASH}"), &anna),
        (format!("username,password\nanna,{HASH}"), &anna),
        (format!("\u{feff}id,Password_Hash,UserName,mail\n7,{HASH},anna,a@b"), &anna),
        (format!("username,password_hash,role,disabled\nanna,{HASH},,"), &anna),
        (format!("username,password_hash,role,disabled\nanna,{HASH},user,0"), &anna),
        (format!("disabled,role,username,password_hash\ntrue,admin,anna,{HASH}"), &other),
        (format!("{{\"username\":\"anna\",\"password\":\"{HASH}\"}}"), &anna),
        (
            format!("{{\"username\":\"\\u0061nna\",\"password_hash\":\"{HASH}\",\"id\":7,\"role\":null}}"),
            &anna,
        ),
        (
            format!(
                "{{\"username\":\"anna\",\"password_hash\":\"{HASH}\",\"role\":\"admin\",\"disabled\":true}}"
            ),
            &other,
        ),
        (
            format!(
                "{{\"username\":\"anna\",\"password_hash\":\"{HASH}\",\"role\":\"admin\",\"disabled\":1}}"
            ),
            &other,
        ),
    ] {
        assert_eq!(user(&text), *expected, "{text}");
    }
    let mut rows = Rows::read(&b"id,username,password,mail\n"[..], None).unwrap();
    assert!(rows.next().is_none());
    assert_eq!(rows.ignored(), ["id", "mail"]);
}

#[test]
fn what_is_wrong_is_said_by_line_and_keeps_nobody_else_out() {
    let hash = |error| Problem::Hash(error);
    let columns = |found| Problem::Columns { expected: 2, found, separator: b',' };
    for (line, problem) in [
        ("x".to_owned(), columns(1)),
        (format!("x,{HASH},admin"), columns(3)),
        ("x,".to_owned(), Problem::NoHash),
        (format!(",{HASH}"), Problem::Name(UsernameError::Empty)),
        (format!("{},{HASH}", "x".repeat(129)), Problem::Name(UsernameError::TooLong)),
        (format!("a\0b,{HASH}"), Problem::Text(NotText::Nul)),
        (format!("a\u{1}b,{HASH}"), Problem::Name(UsernameError::ControlCharacter)),
        (format!("x,{HASH}\0"), Problem::Text(NotText::Nul)),
        ("x,correct horse".to_owned(), hash(HashError::NotAHash)),
        ("x,$1$salt$hash".to_owned(), hash(HashError::UnknownAlgorithm)),
        (format!("x,{}", &HASH[..60]), hash(HashError::TooShort)),
        (format!("x,{}", &HASH[..61]), hash(HashError::Malformed)),
        (format!("\"x\"y,{HASH}"), Problem::AfterQuote),
        (format!("\"x\ny\" ,{HASH}"), Problem::AfterQuote),
        (format!("x\ry,{HASH}"), Problem::LoneReturn),
        (format!("{},{HASH}", "x".repeat(70_000)), Problem::TooLong),
        (format!("x,{}", "$".repeat(70_000)), Problem::TooLong),
    ] {
        let lines = line.matches('\n').count() as u64 + 1;
        let read = read(format!("anna,{HASH}\n{line}\nbert,{HASH}\n"));
        assert_eq!(read, [ok(1, "anna"), (2, Err(problem)), ok(2 + lines, "bert")], "{line:.99}");
    }
    let read_bytes =
        read([b"anna,".as_slice(), HASH.as_bytes(), b"\nb\xff,", HASH.as_bytes(), b"\n"].concat());
    assert_eq!(read_bytes, [ok(1, "anna"), (2, Err(Problem::Text(NotText::NotUtf8)))]);
}

#[test]
fn what_is_wrong_with_json_is_said_by_line() {
    let good = format!("{{\"username\":\"anna\",\"password_hash\":\"{HASH}\"}}");
    let with = |fields: &str| good.replace('}', &format!(",{fields}}}"));
    for (line, problem) in [
        ("{".to_owned(), Problem::NotJson),
        (format!("[\"x\",\"{HASH}\"]"), Problem::NotJson),
        (format!("{good},"), Problem::NotJson),
        (format!("{good}{good}"), Problem::NotJson),
        (with("\"username\":\"bert\""), Problem::NotJson),
        ("{\"username\":\"x\"}".to_owned(), Problem::NotJson),
        (format!("{{\"username\":7,\"password_hash\":\"{HASH}\"}}"), Problem::NotJson),
        (
            format!("{{\"username\":\"a\\u0000\",\"password_hash\":\"{HASH}\"}}"),
            Problem::Name(UsernameError::ControlCharacter),
        ),
        (with("\"role\":\"root\""), Problem::Role),
        (with("\"disabled\":2"), Problem::Disabled),
        (with("\"disabled\":[]"), Problem::Disabled),
        (with(&format!("\"x\":\"{}\"", "x".repeat(70_000))), Problem::TooLong),
    ] {
        assert_eq!(
            read(format!("{good}\n{line}\n\n{good}")),
            [ok(1, "anna"), (2, Err(problem)), ok(4, "anna")],
            "{line:.99}"
        );
    }
}

#[test]
fn a_name_of_several_lines_writes_no_line_for_somebody_else() {
    let text = format!("\"x\nroot,{HASH}\n\",{HASH}\nanna,{HASH}\n");
    let problem = Problem::Name(UsernameError::ControlCharacter);
    assert_eq!(read(text), [(1, Err(problem)), ok(4, "anna")]);
}

#[test]
fn a_quote_that_nothing_closes_is_named_at_the_end() {
    for rest in ["", &format!("anna,{HASH}\n").repeat(3), &format!("anna,{HASH}\n").repeat(3000)] {
        let text = format!("anna,{HASH}\n\n\"bert,{HASH}\n{rest}");
        let mut rows = Rows::read(text.as_bytes(), None).unwrap();
        assert_eq!(rows.next().unwrap().unwrap().line, 1);
        assert!(matches!(rows.next(), Some(Err(Unreadable::OpenQuote(3)))), "{} bytes", rest.len());
    }
}

#[test]
fn a_quote_inside_a_field_is_a_character() {
    let text = format!("o\"neil,{HASH}\ndora,{HASH}\n6\"tall,{HASH}\n \"x\" ,{HASH}\n");
    assert_eq!(read(text), [ok(1, "o\"neil"), ok(2, "dora"), ok(3, "6\"tall"), ok(4, " \"x\" ")]);
}

#[test]
fn text_behind_a_closing_quote_is_an_error_of_that_record_alone() {
    for record in [
        format!("\"anna \"x,{HASH}"),
        format!("\"6\" tall\",{HASH}"),
        format!("\"6\" tall,\"{HASH}\""),
        format!("\"say \"hi\", ok\",{HASH}"),
        format!("\"anna\" ,{HASH}"),
        format!("\"two\nlines\"x,{HASH}"),
        format!("\"a\"x,\"two\nlines\",{HASH}"),
    ] {
        let lines = record.matches('\n').count() as u64 + 1;
        let read = read(format!("zoe,{HASH}\n{record}\nbert,{HASH}\n\"carla\",{HASH}\n"));
        let expected =
            [ok(1, "zoe"), (2, Err(Problem::AfterQuote)), ok(2 + lines, "bert"), ok(3 + lines, "carla")];
        assert_eq!(read, expected, "{record}");
    }
}

#[test]
fn a_record_that_is_too_long_is_refused_and_the_next_is_read() {
    let long = "x".repeat(70_000);
    for record in [
        format!("\"{long}\",{HASH}"),
        format!("\"{long}\nroot,{HASH}\n{long}\",{HASH}"),
        format!("\"{}\",{HASH}", "\"\"\nroot,x\n".repeat(10_000)),
        format!("{long},{HASH}"),
        ",".repeat(70_000),
        format!("x,\"{long}"), // closed by the next quote, two lines on
    ] {
        let is_open = record.ends_with('x');
        let record = if is_open { format!("{record}\neve,{HASH}\n\"") } else { record };
        let lines = record.matches('\n').count() as u64 + 1;
        let read = read(format!("anna,{HASH}\n{record}\ncarla,{HASH}\n"));
        assert_eq!(read, [ok(1, "anna"), (2, Err(Problem::TooLong)), ok(2 + lines, "carla")], "{record:.99}");
    }
}

#[test]
fn the_separator_is_the_one_that_makes_the_first_line_a_header_or_a_user() {
    for (text, name) in [
        (format!("anna;{HASH}\n"), "anna"),
        (format!("anna\t{HASH}\n"), "anna"),
        (format!("doe, john;{HASH}\n"), "doe, john"),
        (format!("doe; john,{HASH}\n"), "doe; john"),
        (format!("username;password\nanna;{HASH}\n"), "anna"),
        (format!("\n\r\nid\tpassword_hash\tusername\r\n7\t{HASH}\tanna\r\n"), "anna"),
        (format!("sep=;\nanna;{HASH}\n"), "anna"),
        (format!("\u{feff}SEP=,\r\nusername,password\r\nanna,{HASH}\n"), "anna"),
        (format!("\"an;na\";\"{HASH}\"\n"), "an;na"),
    ] {
        let names: Vec<_> = read(&text).into_iter().map(|(_, user)| user).collect();
        assert_eq!(names, [Ok(name.to_owned())], "{text}");
    }
    let read = read(format!("anna;{HASH}\nbert,{HASH}\n"));
    let columns = Problem::Columns { expected: 2, found: 1, separator: b';' };
    assert_eq!(read, [ok(1, "anna"), (2, Err(columns))]);
    assert!(columns.to_string().contains("the separator is a semicolon, as in the first line"));
}

#[test]
fn a_header_in_other_words_is_named_as_what_it_is() {
    assert_eq!(read(format!("login,pw\nanna,{HASH}\n")), [(1, Err(Problem::NoUser)), ok(2, "anna")]);
    assert_eq!(read("anna,correct horse\n"), [(1, Err(Problem::NoUser))]);
    for header in ["username,mail", "id,password_hash", "email,password,role", "role"] {
        let mut rows = Rows::read(header.as_bytes(), None).unwrap();
        assert!(matches!(rows.next(), Some(Err(Unreadable::Header))), "{header}");
    }
    // Whoever is called like a column is a user nevertheless.
    assert_eq!(read(format!("password,{HASH}\n")), [ok(1, "password")]);
}

#[test]
fn blanks_around_a_hash_mean_nothing_and_databases_write_truth_in_several_ways() {
    assert_eq!(read(format!("anna,{HASH} \nbert, \t{HASH}\n")), [ok(1, "anna"), ok(2, "bert")]);
    for (disabled, is) in [
        ("t", true),
        ("TRUE", true),
        ("Yes", true),
        ("y", true),
        ("on", true),
        (" 1 ", true),
        ("f", false),
        ("False", false),
        ("NO", false),
        ("n", false),
        ("off", false),
        ("0", false),
        (" ", false),
    ] {
        let user = user(&format!("username,password,role,disabled\nanna,{HASH}, Admin ,{disabled}\n"));
        assert_eq!((user.role, user.disabled), (Role::Admin, is), "{disabled}");
    }
    for disabled in ["2", "maybe", "tr"] {
        let read = read(format!("username,password,disabled\nanna,{HASH},{disabled}\n"));
        assert_eq!(read, [(2, Err(Problem::Disabled))]);
    }
}

#[test]
fn an_array_of_json_is_read_however_it_is_laid_out() {
    let user =
        |name: &str| format!("{{\"username\":\"{name}\",\"password\":\"{HASH}\",\"x\":[{{\"y\":\"}}\"}}]}}");
    let [anna, bert] = ["anna", "bert"].map(user);
    let spread = |name: &str| {
        format!("{{\n  \"username\": \"{name}\",\n  \"password\": \"{HASH}\",\n  \"meta\":\n  {{\n  }}\n}}")
    };
    for (text, lines) in [
        (format!("[{anna},\n{bert}]\n"), [1, 2]),
        (format!("[{anna},{bert}]"), [1, 1]),
        (format!("\n[\n  {anna},\r\n  {bert}\n]\n"), [3, 4]),
        (format!("[\n{},\n{}\n]\n", spread("anna"), spread("bert")), [2, 9]),
        (format!("{}\n{}\n", spread("anna"), spread("bert")), [1, 8]),
    ] {
        assert_eq!(read(&text), [ok(lines[0], "anna"), ok(lines[1], "bert")], "{text}");
    }
}

#[test]
fn a_broken_object_in_an_array_keeps_nobody_else_out() {
    let user = |name: &str| format!("{{\"username\":\"{name}\",\"password\":\"{HASH}\"}}");
    let [anna, bert] = ["anna", "bert"].map(user);
    let json = Err(Problem::NotJson);
    for (broken, expected) in [
        ("{\"username\":\"x\",".to_owned(), vec![(2, json.clone())]),
        ("{\"username\":\"x,\"password\":\"y\"},".to_owned(), vec![(2, json.clone())]),
        ("{\"username\":\"x\n\"},".to_owned(), vec![(2, json.clone()), (3, json.clone())]),
        ("7,".to_owned(), vec![(2, json.clone())]),
        ("\"x\",".to_owned(), vec![(2, json.clone())]),
        ("{},".to_owned(), vec![(2, json.clone())]),
        (format!("{{\"username\":\"{}\"}},", "x".repeat(70_000)), vec![(2, Err(Problem::TooLong))]),
    ] {
        let lines = broken.matches('\n').count() as u64 + 1;
        let all = [vec![ok(1, "anna")], expected, vec![ok(2 + lines, "bert")]].concat();
        assert_eq!(read(format!("[{anna},\n{broken}\n{bert}]\n")), all, "{broken:.99}");
    }
    let text = format!("[{anna},\n{{\"username\":\"x\"\n");
    let mut rows = Rows::read(text.as_bytes(), None).unwrap().skip(1);
    assert!(matches!(rows.next(), Some(Err(Unreadable::OpenObject(2)))));
    for cut in [format!("[{anna},\n"), format!("[{anna}"), format!("\n[[{anna}]\n")] {
        let mut rows = Rows::read(cut.as_bytes(), None).unwrap().skip(1);
        assert!(matches!(rows.next(), Some(Err(Unreadable::OpenArray(1 | 2)))), "{cut}");
    }
}

#[test]
fn utf_16_is_recognised() {
    for bom in [b"\xff\xfe", b"\xfe\xff"] {
        assert!(matches!(Rows::read(&bom[..], None), Err(Unreadable::Text(NotText::Utf16))));
    }
}

proptest! {
    #[test]
    fn no_input_is_too_much_for_the_reader(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"\",\n\r{}[]$\0:u"[..])], 0..400),
        format in prop::option::of(prop::sample::select(&[Format::Csv, Format::Jsonl][..])),
    ) {
        let Ok(rows) = Rows::read(&bytes[..], format) else { return Ok(()) };
        let mut last = 0;
        for row in rows {
            let Ok(Row { line, last_line, .. }) = row else { break };
            prop_assert!(line >= last && last_line >= line && last_line <= bytes.iter().filter(|&&byte| byte == b'\n').count() as u64 + 1);
            last = last_line;
        }
    }

    /// What any good writer of CSV makes is read as it was meant, or refused: no line becomes another's.
    #[test]
    fn what_is_written_is_read_or_refused_line_by_line(
        names in prop::collection::vec("[\"\n\r, a\u{eb}]{0,6}", 1..20), crlf: bool,
    ) {
        let ends = if crlf { ::csv::Terminator::CRLF } else { ::csv::Terminator::Any(b'\n') };
        let mut writer = ::csv::WriterBuilder::new().terminator(ends).from_writer(Vec::new());
        for name in &names {
            writer.write_record([name, HASH]).unwrap();
        }
        let read: Vec<_> = read(writer.into_inner().unwrap()).into_iter().map(|(_, user)| user.ok()).collect();
        let is_name = |name: &String| !name.is_empty() && !name.contains(['\n', '\r']);
        let expected: Vec<_> = names.iter().map(|name| Some(name.clone()).filter(is_name)).collect();
        prop_assert_eq!(read, expected);
    }

    /// A file of records whose fate is known: each is taken or named by its lines, and none changes another's.
    #[test]
    fn every_line_is_taken_or_named(pieces in prop::collection::vec(piece(), 0..12), crlf: bool, quoted: bool) {
        let end = if crlf { "\r\n" } else { "\n" };
        let (mut text, mut expected) = (format!("first,{HASH}{end}"), vec![(1, 1, Ok("first".to_owned()))]);
        let mut line = 2;
        for (record, fate) in pieces {
            let record = if quoted { record.replace(HASH, &format!("\"{HASH}\"")) } else { record };
            let lines = record.matches('\n').count() as u64;
            text += &record;
            text += end;
            expected.extend(fate.map(|fate| (line, line + lines, fate)));
            line += lines + 1;
        }
        let rows = Rows::read(text.as_bytes(), Some(Format::Csv)).unwrap().map(Result::unwrap);
        let read: Vec<_> = rows
            .map(|row| (row.line, row.last_line, row.user.map(|user| user.name.as_str().to_owned())))
            .collect();
        prop_assert_eq!(read, expected);
    }

    /// Of any text: what no row covers is blank, or follows a quote that nothing closes.
    #[test]
    fn no_line_is_passed_over(
        text in "[\"\",;\n\n\r\t a$]{0,120}", format in prop::sample::select(&[Format::Csv, Format::Jsonl][..]),
    ) {
        let mut covered = 0; // all lines up to this one are known to be covered or blank
        let lines: Vec<_> = text.split('\n').collect();
        let blank = |from: u64, to: u64| {
            (from..to).all(|number| lines[usize::try_from(number).unwrap()].trim_ascii().is_empty())
        };
        for row in Rows::read(text.as_bytes(), Some(format)).unwrap() {
            let Ok(Row { line, last_line, user }) = row else { return Ok(()) };
            prop_assert!(user.is_err() && line > covered && last_line >= line);
            prop_assert!(blank(covered, line - 1));
            covered = last_line;
        }
        prop_assert!(blank(covered, lines.len() as u64));
    }
}

/// A record, and the name that it adds, what is wrong with it, or nothing if it is blank.
fn piece() -> impl Strategy<Value = (String, Option<Result<String, Problem>>)> {
    let name = "[a-z;\"\u{eb}]{1,5}[a-z]";
    let filler = "[a-z,\n]{0,9}";
    prop_oneof![
        name.prop_map(|name| (format!("x{name},{HASH}"), Some(Ok(format!("x{name}"))))),
        name.prop_map(|name| { (format!("\"{}\",{HASH}", name.replace('"', "\"\"")), Some(Ok(name))) }),
        filler.prop_map(|filler| {
            (format!("\"a{filler}\n\",{HASH}"), Some(Err(Problem::Name(UsernameError::ControlCharacter))))
        }),
        filler.prop_map(|filler| (format!("\"{filler}\"x,{HASH}"), Some(Err(Problem::AfterQuote)))),
        filler.prop_map(|filler| (format!("\"\"x,\"{filler}\",{HASH}"), Some(Err(Problem::AfterQuote)))),
        filler.prop_map(|filler| {
            (format!("\"{filler}{}\",{HASH}", "\"\"\n".repeat(30_000)), Some(Err(Problem::TooLong)))
        }),
        Just((format!("a\0b,{HASH}"), Some(Err(Problem::Text(NotText::Nul))))),
        Just((format!("a,b,{HASH}"), Some(Err(Problem::Columns { expected: 2, found: 3, separator: b',' })))),
        Just(("x,y".to_owned(), Some(Err(Problem::Hash(HashError::NotAHash))))),
        "[ \t]{0,3}".prop_map(|blank| (blank, None)),
    ]
}
