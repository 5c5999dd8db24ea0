//! Backups: none is accepted whose checksum or signature is not of its lines, and what is accepted holds what its lines
//! say.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use gatelet::backup::{Backup, BackupFile, Checked, Checker, ReadError, Restored, compressed};
use gatelet::domain::clock::Timestamp;
use gatelet::domain::session::Sessions;
use gatelet::domain::user::{Role, User, Usernames};
use gatelet::password::PasswordHash;
use gatelet::store::{Authority, NewUser, Store, UserChange};
use gatelet::token::KeyRing;
use gatelet::token::offline::PublicKeys;
use gatelet::token::statement::Subject;
use pasetors::keys::AsymmetricPublicKey;
use pasetors::token::UntrustedToken;
use pasetors::version4::{PublicToken, V4};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::input::Input;
use crate::keys::{self, NOW};

/// The most edits of one backup.
const EDITS: usize = 12;

const NAMES: [&str; 4] = ["anna", "bert \"the quick\"", "名前", "{\"users\":"];
const GONE: [&str; 2] = ["carla", "{\"kept_name\":"];

type Lines = Vec<Vec<u8>>;

struct State {
    ring: Arc<KeyRing>,
    stranger: Arc<KeyRing>,
    known: PublicKeys,
    /// Of our keys, and of a stranger's.
    backups: [Lines; 2],
}

fn state() -> &'static State {
    static STATE: OnceLock<State> = OnceLock::new();
    STATE.get_or_init(|| {
        let [ring, stranger] = [keys::ring(&[0, 1]), keys::ring(&[2])];
        let backups = [backup(&ring, &NAMES), backup(&stranger, &NAMES[..2])];
        let known = ring.signer().paserk.parse().expect("our public key");
        State { ring, stranger, known, backups }
    })
}

/// The lines of a backup.
fn backup(ring: &Arc<KeyRing>, names: &[&str]) -> Lines {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let store = Store::in_memory().expect("a store");
    let mut bytes = Vec::new();
    runtime.block_on(async {
        for (number, name) in (0..).zip(names.iter().chain(&GONE)) {
            let role = if number == 1 { Role::Admin } else { Role::User };
            let hash = format!("$scrypt$ln=1,r=8,p=1$aaaaaaaaaaaaaaaaaaaaaA${number:042}A");
            let created_at = NOW.after(Duration::from_millis(number * 1234));
            let name = Usernames::Exact.new_name(name).expect("a name");
            let new = NewUser::new(name, role, PasswordHash::from_stored(hash), created_at).expect("a user");
            let user =
                store.create_user(Authority::standing(), new).await.expect("a change").expect("a user");
            if GONE.contains(&user.name.as_str()) {
                store.delete_user(Authority::standing(), user.id, NOW).await.expect("a change");
            } else if number == 0 {
                let change = UserChange { role: None, disabled: Some(true) };
                store.update_user(Authority::standing(), user.id, change).await.expect("a change");
            }
        }
        let snapshot = store.snapshot().await.expect("a snapshot");
        Backup::new(snapshot, Arc::clone(ring), "gatelet", NOW).write(&mut bytes).expect("a backup");
    });
    bytes.strip_suffix(b"\n").expect("lines").split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

pub fn run(mut input: Input<'_>, broken: bool) {
    let state = state();
    let mode = input.byte();
    let [is_sealed, is_counted, is_file, is_ours] = [1, 2, 4, 8].map(|bit| mode & bit > 0);
    let [ours, theirs] = &state.backups;
    let others: Lines = [&ours[..], theirs].concat();

    let mut lines = ours.clone();
    let count = usize::from(mode >> 4).min(EDITS);
    for _ in 0..count {
        edit(&mut lines, &others, &mut input);
    }
    if is_counted {
        count_users(&mut lines);
    }
    if is_sealed {
        seal(&mut lines, if input.byte() == 1 { &state.stranger } else { &state.ring });
    }
    let shown = lines.iter().map(|line| String::from_utf8_lossy(line)).collect::<Vec<_>>().join("\n");

    let known = is_ours.then_some(&state.known);
    let mut seen = lines.clone();
    if broken {
        // The bug: checksum and signature are not looked at.
        seal(&mut seen, &state.ring);
    }
    let mut is_damaged = false;
    let read =
        if is_file { from_file(&seen, known, &mut input, &mut is_damaged) } else { from_lines(&seen, known) };

    let Some((checked, restored)) = read else {
        assert!(lines != *ours || is_damaged, "a good backup is refused");
        return;
    };
    // An end of a line within an edited one makes two.
    let lines: Lines = lines.join(&b'\n').split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    assert_eq!(checked.vouched, is_ours);
    let expected = model(&lines, is_ours).unwrap_or_else(|what| panic!("accepted, and {what}:\n{shown}"));
    assert_eq!(restored, expected, "{shown}");
    assert_eq!(checked.header.users, users(&lines), "{shown}");
    // Without our seal, nothing that the checksum covers can be another.
    let length = lines.len() - 1;
    assert!(is_sealed || lines[..length] == ours[..ours.len() - 1], "edited, and accepted:\n{shown}");
}

/// One edit, of a line, of the order of lines, or of a field.
fn edit(lines: &mut Lines, others: &Lines, input: &mut Input<'_>) {
    let operation = input.byte();
    let (at, length) = (input.below(lines.len()), lines.len());
    match operation & 7 {
        0 if length > 1 => drop(lines.remove(at)),
        1 if length < 64 => lines.insert(at, lines.get(at).cloned().unwrap_or_default()),
        2 if length > 0 => lines.swap(at, input.below(length)),
        3 if length < 64 => lines.insert(at, input.of(others).clone()),
        4 => lines.truncate(at.max(1)),
        5 if length > 0 => set_field(&mut lines[at], input),
        _ if length > 0 => input.edit(&mut lines[at], others),
        _ => {}
    }
}

/// Gives a field of a line another value.
fn set_field(line: &mut Vec<u8>, input: &mut Input<'_>) {
    let Ok(Value::Object(mut object)) = serde_json::from_slice(line) else { return };
    let names: Vec<_> = object.keys().cloned().collect();
    let name = if names.is_empty() { String::new() } else { input.of(&names).clone() };
    let value = match input.byte() & 7 {
        0 => json!(input.number()),
        1 => json!(input.text()),
        2 => json!(input.flag()),
        3 => json!(input.byte()),
        4 => json!(253_402_300_800_000_u64 - u64::from(input.byte())),
        5 => json!(*input.of(&[
            "user",
            "admin",
            "2025-11-24T16:00:00Z",
            "$2b$04$EnFywPkpMPXnP/37iDRHputCB83bVp/DtG93EeWBEUgitiCqkwAMu"
        ])),
        6 => Value::Null,
        _ => json!({"kid": input.text()}),
    };
    object.insert(name, value);
    // In the order of the names as they were, so that lines begin as before.
    let text = String::from_utf8_lossy(line).into_owned();
    let mut fields: Vec<_> = object.iter().collect();
    fields.sort_by_key(|(name, _)| text.find(&format!("\"{name}\":")));
    let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
    *line = format!("{{{}}}", fields.join(",")).into_bytes();
}

fn users(lines: &Lines) -> u64 {
    let is_user =
        |line: &&Vec<u8>| !line.starts_with(br#"{"kept_name":"#) && !line.starts_with(br#"{"users":"#);
    lines.iter().skip(1).filter(is_user).count() as u64
}

/// Makes the header count right.
fn count_users(lines: &mut Lines) {
    let count = users(lines);
    let header = lines.first_mut().filter(|_| count < 64);
    let Some(header) = header else { return };
    let text = String::from_utf8_lossy(header).into_owned();
    let Some((before, rest)) = text.split_once("\"users\":") else { return };
    let rest = rest.trim_start_matches(|letter: char| letter.is_ascii_digit());
    *header = format!("{before}\"users\":{count}{rest}").into_bytes();
}

fn sum(lines: &[Vec<u8>]) -> String {
    let mut sum = Sha256::new();
    for line in lines {
        sum.update(line);
        sum.update(b"\n");
    }
    sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Puts a trailer at the end that fits the lines before it.
fn seal(lines: &mut Lines, ring: &KeyRing) {
    if lines.last().is_some_and(|last| last.starts_with(br#"{"users":"#)) {
        lines.pop();
    }
    let header: Value = lines.first().and_then(|line| serde_json::from_slice(line).ok()).unwrap_or_default();
    let (users, sha256) = (users(lines), sum(lines));
    let summary = json!({"created_at": header["created_at"], "users": users, "sha256": sha256});
    let signature = ring.state(Subject::Backup, &summary.to_string()).expect("a signature");
    lines.push(format!(r#"{{"users":{users},"sha256":"{sha256}","signature":"{signature}"}}"#).into_bytes());
}

type Read = Option<(Checked, Vec<Restored>)>;

fn from_lines(lines: &Lines, known: Option<&PublicKeys>) -> Read {
    let mut checker = Checker::new(known);
    let mut restored = Vec::new();
    for line in lines.join(&b'\n').split(|byte| *byte == b'\n') {
        restored.extend(checker.line(line).ok()?);
    }
    Some((checker.finish().ok()?, restored))
}

/// The same by a file, whose bytes may be damaged.
fn from_file(
    lines: &Lines,
    known: Option<&PublicKeys>,
    input: &mut Input<'_>,
    is_damaged: &mut bool,
) -> Read {
    let mut file = compressed(Vec::new());
    file.write_all(&lines.join(&b'\n')).and_then(|()| file.write_all(b"\n")).expect("memory");
    let mut bytes = file.finish().expect("memory");
    let whole = bytes.clone();
    while !input.is_empty() {
        input.edit(&mut bytes, std::slice::from_ref(&whole));
    }
    *is_damaged = bytes != whole;
    let dir = Path::new("/dev/shm");
    let mut file = BackupFile::keep(&mut &bytes[..], dir, 0).expect("a file in memory");
    let mut restored = Vec::new();
    let checked = file.read::<ReadError>(known, |_, read| {
        restored.push(read);
        Ok(())
    });
    Some((checked.ok()?, restored))
}

/// What a backup holds, read with no regard to how the program does it; or what is wrong with it.
fn model(lines: &Lines, is_ours: bool) -> Result<Vec<Restored>, &'static str> {
    let [header, middle @ .., trailer] = &lines[..] else { return Err("it has not two lines") };
    let json = |line: &[u8]| serde_json::from_slice::<Value>(line).map_err(|_| "a line is no JSON");
    let (header, trailer) = (json(header)?, json(trailer)?);
    let format = header["gatelet_backup"].as_u64().filter(|format| (1..=2).contains(format));
    let format = format.ok_or("its format is unknown")?;

    let sha256 = sum(&lines[..lines.len() - 1]);
    if trailer["sha256"] != sha256 {
        return Err("its checksum is wrong");
    }
    // The header's own key counts where none is given.
    let key = match header["key"]["public_key"].as_str().map(AsymmetricPublicKey::<V4>::try_from) {
        Some(Ok(_)) if is_ours => keys::verifying(0),
        Some(Ok(key)) => key,
        _ => return Err("its key is none"),
    };
    if header["key"]["kid"] != keys::id_of(&key).as_str() {
        return Err("its key has another id");
    }
    let signature = trailer["signature"].as_str().ok_or("there is no signature")?;
    let stated = UntrustedToken::try_from(signature)
        .and_then(|token| PublicToken::verify(&key, &token, None, Some(b"gatelet-backup-v1")));
    let stated = json(stated.map_err(|_| "its signature is wrong")?.payload().as_bytes())?;
    let moment = |value: &Value| serde_json::from_value::<Timestamp>(value.clone()).ok();
    let created_at = moment(&header["created_at"]).ok_or("its time is none")?;
    if stated["sha256"] != sha256 || moment(&stated["created_at"]) != Some(created_at) {
        return Err("its signature is of something else");
    }

    let (mut all, mut ids, mut names) = (Vec::new(), Vec::new(), HashSet::new());
    for line in middle {
        let line = json(line)?;
        let text = |field: &str| line[field].as_str().ok_or("a text is missing");
        let moment = |field: &str| {
            let millis = line[field].as_u64().filter(|millis| *millis < 253_402_300_800_000);
            millis.map(Timestamp::from_unix_millis).ok_or("a moment is missing")
        };
        let name = |field: &str| match text(field)?.parse() {
            Ok(name) => Ok(name),
            Err(_) => Err("a name is none"),
        };
        if format == 2 && !line["kept_name"].is_null() {
            names.insert(text("kept_name")?.to_owned());
            all.push(Restored::KeptName(name("kept_name")?, moment("until_millis")?));
            continue;
        }
        if all.len() > ids.len() {
            return Err("a user follows kept names");
        }
        names.insert(text("username")?.to_owned());
        ids.push(text("id")?.to_ascii_lowercase());
        let user = User {
            id: text("id")?.parse().map_err(|_| "an id is none")?,
            name: name("username")?,
            role: text("role")?.parse().map_err(|_| "a role is none")?,
            disabled: line["disabled"].as_bool().ok_or("a flag is none")?,
            created_at: moment("created_at_millis")?,
            sessions: Sessions::default(),
        };
        let hash = PasswordHash::import(text("password_hash")?.to_owned()).map_err(|_| "a hash is none")?;
        all.push(Restored::User(user, hash));
    }
    if names.len() != all.len() {
        return Err("a name comes again");
    }
    if !ids.is_sorted_by(|one, next| one < next) {
        return Err("ids are not in order");
    }
    let count = ids.len() as u64;
    if [&header["users"], &trailer["users"], &stated["users"]].iter().any(|users| **users != count) {
        return Err("its count is wrong");
    }
    Ok(all)
}
