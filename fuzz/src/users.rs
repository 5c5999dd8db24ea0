//! Users in files: what was written as a record is read as that record, and no record changes another.

use gatelet::cli::user_files::Format;
use gatelet::cli::user_files::fuzzing::{Line, rows};
use gatelet::domain::user::{Role, Username};
use gatelet::password::PasswordHash;
use gatelet::service::Newcomer;
use serde_json::{Value, json};

use crate::input::Input;

const HASHES: [&str; 6] = [
    "$pbkdf2-sha256$1$Zeydcy7lnLMWgjCGECLkfA$3KdTRR2NGqbYJnQQ.oEBtFLG5JAT8r1k5AWFCbUhN5o",
    "$2b$04$EnFywPkpMPXnP/37iDRHputCB83bVp/DtG93EeWBEUgitiCqkwAMu",
    " $argon2id$v=19$m=64,t=2,p=1$AOC8lxLivNfa27sXYowxRg$ZRkg6gT4Ap57ndt5lD38qKa00yjnoVUbVba1+UxquZM\t",
    "",
    "correct horse",
    "$2b$31$EnFywPkpMPXnP/37iDRHputCB83bVp/DtG93EeWBEUgitiCqkwAMu",
];
const ROLES: [(&str, Option<Role>); 4] =
    [("", Some(Role::User)), ("user", Some(Role::User)), (" ADMIN", Some(Role::Admin)), ("root", None)];
const DISABLED: [(&str, Option<bool>); 5] =
    [("", Some(false)), ("True", Some(true)), ("0", Some(false)), ("on", Some(true)), ("maybe", None)];

/// What may stand between fields.
const SEPARATORS: [u8; 3] = [b',', b';', b'\t'];

/// The most records that are written.
const RECORDS: usize = 8;

pub fn run(mut input: Input<'_>, broken: bool) {
    let mode = input.byte();
    let piece = usize::from(input.byte()) + 1;
    if mode & 1 == 0 {
        any(
            input.rest(),
            *[None, Some(Format::Csv), Some(Format::Jsonl)].get(usize::from(mode >> 1 & 3)).unwrap_or(&None),
            piece,
        );
        return;
    }
    let (file, expected) = match mode >> 1 & 3 {
        0 => json_lines(&mut input),
        1 => json_array(&mut input),
        _ => csv(&mut input),
    };
    let (lines, unreadable) = if broken { line_by_line(&file) } else { rows(&file, None, piece) };
    let lines: Vec<_> = lines.into_iter().map(|(first, last, user)| (first, last, user.ok())).collect();
    let shown = String::from_utf8_lossy(&file);
    assert_eq!((lines, unreadable), (expected, None), "{shown}");
}

/// The bug: each line is taken for a record.
fn line_by_line(file: &[u8]) -> (Vec<Line>, Option<String>) {
    let mut lines = file.split_inclusive(|byte| *byte == b'\n');
    let head = lines.next().unwrap_or_default();
    if head.starts_with(b"{") || head.starts_with(b"[") {
        return rows(file, None, 4096);
    }
    let records = (2..).zip(lines).flat_map(|(number, line)| {
        let read = rows(&[head, line].concat(), None, 4096).0;
        read.into_iter().map(move |(_, _, user)| (number, number, user))
    });
    (records.collect(), None)
}

/// Any bytes: each user stands in the lines that are named.
fn any(file: &[u8], format: Option<Format>, piece: usize) {
    let (lines, unreadable) = rows(file, format, piece);
    assert_eq!((&lines, &unreadable), (&rows(file, format, 1 << 16).0, &rows(file, format, 1 << 16).1));
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    let physical: Vec<_> = file.split_inclusive(|byte| *byte == b'\n').collect();
    let mut before = 0;
    for (first, last, user) in &lines {
        assert!(
            before <= *first && first <= last && *last <= physical.len() as u64,
            "{first} to {last} after {before}"
        );
        before = *last;
        let Ok(user) = user else { continue };
        let own = physical[*first as usize - 1..*last as usize].concat();
        let is_there = if own.contains(&b'{') { stands_in_json(&own, user) } else { false };
        let is_there = is_there || SEPARATORS.iter().any(|separator| stands_in_csv(&own, *separator, user));
        assert!(is_there, "{user:?} is not in {:?}", String::from_utf8_lossy(&own));
    }
}

fn is(user: &Newcomer, name: &str, hash: &str) -> bool {
    name.parse::<Username>().as_ref() == Ok(&user.name)
        && PasswordHash::import(hash.trim().to_owned()).as_ref() == Ok(&user.hash)
}

fn stands_in_csv(lines: &[u8], separator: u8, user: &Newcomer) -> bool {
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).delimiter(separator).from_reader(lines);
    let records: Vec<_> = reader.records().collect();
    let [Ok(record)] = &records[..] else { return false };
    record.iter().any(|name| record.iter().any(|hash| is(user, name, hash)))
}

fn stands_in_json(lines: &[u8], user: &Newcomer) -> bool {
    let begins = lines.iter().enumerate().filter(|(_, byte)| **byte == b'{').map(|(at, _)| at);
    begins.into_iter().any(|at| {
        let object = serde_json::Deserializer::from_slice(&lines[at..]).into_iter::<Value>().next();
        let Some(Ok(object)) = object else { return false };
        let hash = object["password_hash"].as_str().or(object["password"].as_str());
        object["username"].as_str().zip(hash).is_some_and(|(name, hash)| is(user, name, hash))
    })
}

/// Lines and what must come of them.
type Expected = Vec<(u64, u64, Option<Newcomer>)>;

/// A record's fields, and the user that they make.
fn record(input: &mut Input<'_>) -> ([String; 4], Option<Newcomer>) {
    let name = input.text();
    let hash = *input.of(&HASHES);
    let ((role_text, role), (disabled_text, disabled)) = (*input.of(&ROLES), *input.of(&DISABLED));
    let user = || {
        Some(Newcomer {
            name: name.parse().ok()?,
            hash: HASHES[..3].contains(&hash).then(|| PasswordHash::from_stored(hash.trim().to_owned()))?,
            role: role?,
            disabled: disabled?,
        })
    };
    let user = user();
    ([name, hash.to_owned(), role_text.to_owned(), disabled_text.to_owned()], user)
}

fn json_lines(input: &mut Input<'_>) -> (Vec<u8>, Expected) {
    let (mut file, mut expected) = (String::new(), Vec::new());
    for line in (1..).step_by(1 + usize::from(input.byte() & 3)).take(RECORDS) {
        if input.is_empty() {
            break;
        }
        while file.matches('\n').count() as u64 + 1 < line {
            file.push('\n');
        }
        let (fields, user) = record(input);
        file += &object(input, fields).to_string();
        expected.push((line, line, user));
    }
    (file.into_bytes(), expected)
}

fn object(input: &mut Input<'_>, [name, hash, role, disabled]: [String; 4]) -> Value {
    let mut object = json!({"username": name, "role": role, "disabled": disabled, "x": [{"username": name}]});
    object[*input.of(&["password", "password_hash"])] = hash.into();
    object
}

fn json_array(input: &mut Input<'_>) -> (Vec<u8>, Expected) {
    let is_pretty = input.flag();
    let (mut file, mut expected) = ("[\n".to_owned(), Vec::new());
    while !input.is_empty() && expected.len() < RECORDS {
        if !expected.is_empty() {
            file.push(',');
        }
        let first = file.matches('\n').count() as u64 + 1;
        let (fields, user) = record(input);
        let object = object(input, fields);
        let text =
            if is_pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) };
        file += &text.expect("text");
        let last = file.matches('\n').count() as u64 + 1;
        expected.push((first, last, user));
        if input.flag() {
            file.push('\n');
        }
    }
    file += "]\n";
    (file.into_bytes(), expected)
}

fn csv(input: &mut Input<'_>) -> (Vec<u8>, Expected) {
    let style = input.byte();
    let separator = SEPARATORS[usize::from(style & 3) % 3];
    let (all_quoted, end) = (style & 4 > 0, if style & 8 > 0 { "\r\n" } else { "\n" });
    let turn = usize::from(style >> 4 & 3);
    let field = |text: &str| {
        let is_special = text.contains(['"', '\n', '\r', char::from(separator)]);
        if all_quoted || is_special { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
    };
    let write = |mut fields: [String; 4]| {
        fields.rotate_left(turn);
        fields.map(|text| field(&text)).join(char::from(separator).encode_utf8(&mut [0; 4]))
    };
    let mut file = write(["username", "password_hash", "role", "disabled"].map(str::to_owned)) + end;
    if style & 64 > 0 {
        file.insert(0, '\u{feff}');
    }
    let mut expected = Vec::new();
    while !input.is_empty() && expected.len() < RECORDS {
        let first = file.matches('\n').count() as u64 + 1;
        let (fields, user) = record(input);
        let text = write(fields);
        let last = first + text.matches('\n').count() as u64;
        file += &text;
        if !text.trim_ascii().is_empty() {
            expected.push((first, last, user));
        }
        if !input.is_empty() || style & 128 > 0 {
            file += end;
        }
    }
    (file.into_bytes(), expected)
}
