//! Records as they lie on disk: they are read as an independent reader of bincode reads them, and come back as they were
//! written.

use std::time::Duration;

use gatelet::domain::clock::Timestamp;
use gatelet::domain::key::{KeyId, KeyRecord};
use gatelet::domain::session::{SessionId, Sessions};
use gatelet::domain::user::{Role, User, UserId, Username};
use gatelet::password::PasswordHash;
use gatelet::store::fuzzing::Record;

use crate::input::Input;

const USER: UserId = UserId::from_bytes([7; 16]);

/// Records up to this size are well below the limit of 4 KiB, which counts lengths as well.
const SMALL: usize = 2048;

/// A session remembers fewer replaced refresh tokens than this.
const RETIRED_MAX: usize = 16;

pub fn run(mut input: Input<'_>, broken: bool) {
    let kind = input.byte();
    let key: KeyId = format!("k4.pid.{}", "a".repeat(44)).parse().expect("an id");
    if kind & 4 == 0 {
        let record = written(kind & 3, &mut input, &key);
        if let Ok(bytes) = record.encode() {
            assert_eq!(read(kind & 3, &key, &bytes, broken).as_ref(), Some(&record), "{bytes:?}");
        } else {
            let Record::User(user, hash) = &record else { panic!("not written: {record:?}") };
            assert!(user.name.as_str().len() + hash.as_str().len() > SMALL, "not written: {record:?}");
        }
        return;
    }
    let bytes = input.rest();
    let record = read(kind & 3, &key, bytes, broken);
    if bytes.len() > SMALL {
        return;
    }
    let mut reader = Reader { bytes, is_shortest: true };
    let expected = reader.record(kind & 3, &key).filter(|_| reader.bytes.is_empty());
    assert_eq!(record, expected, "{bytes:?}");
    let Some(record) = record else { return };
    let again = record.encode().expect("a record of this size");
    assert_eq!(read(kind & 3, &key, &again, broken).as_ref(), Some(&record), "{again:?}");
    // bincode reads numbers that are longer than they need be; users of version 1 are written as version 2.
    if reader.is_shortest && (again[0] == bytes[0]) {
        assert_eq!(again, bytes, "{record:?} has two forms");
    }
}

fn read(kind: u8, key: &KeyId, bytes: &[u8], broken: bool) -> Option<Record> {
    let read = |bytes| match kind {
        0 | 3 => Record::user(USER, bytes),
        1 => Record::key(key, bytes),
        _ => Record::rotation(bytes),
    };
    match read(bytes) {
        Ok(record) => Some(record),
        // The bug: what follows the end is not seen.
        Err(_) if broken => read(&bytes[..bytes.len().saturating_sub(1)]).ok(),
        Err(_) => None,
    }
}

/// A record of values as they can be.
fn written(kind: u8, input: &mut Input<'_>, key: &KeyId) -> Record {
    let not_after = |input: &mut Input<'_>| input.flag().then(|| Timestamp::from_unix_millis(input.number()));
    match kind {
        0 | 3 => {
            let role = if input.flag() { Role::Admin } else { Role::User };
            let (disabled, ended, spared) = (input.flag(), input.byte() & 3, input.flag());
            let spared = spared.then(|| session(input.array())).filter(|_| ended > 0);
            let created_at = Timestamp::from_unix_millis(input.number());
            let name = input.text().parse().unwrap_or_else(|_| name("anna"));
            let hash = String::from_utf8_lossy(input.rest()).into_owned();
            let sessions = (1..=ended)
                .fold(Sessions::default(), |sessions, time| sessions.revoked_except(spared.filter(|_| time == ended)));
            let user = User { id: USER, name, role, disabled, created_at, sessions };
            Record::User(user, PasswordHash::from_stored(hash))
        }
        1 => {
            let longest = Duration::from_secs(input.number());
            Record::Key(KeyRecord { id: key.clone(), longest, not_after: not_after(input) })
        }
        _ => {
            let (current, issued_at_millis) = (input.array(), input.number());
            let mut retired = Vec::new();
            while !input.is_empty() && retired.len() < RETIRED_MAX {
                retired.push((input.array(), input.number()));
            }
            Record::Rotation { current, issued_at_millis, retired }
        }
    }
}

fn name(text: &str) -> Username {
    text.parse().expect("a name")
}

fn session(bytes: [u8; SessionId::LENGTH]) -> SessionId {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        text.extend([18, 12, 6, 0].map(|shift| char::from(LETTERS[bits >> shift & 63])));
    }
    text.parse().expect("the id of a session")
}

/// Reads bincode's standard configuration.
struct Reader<'a> {
    bytes: &'a [u8],
    /// No number had more bytes than it needs.
    is_shortest: bool,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    /// A number of at most so many bytes: one byte up to 250, or a mark and two, four or eight bytes.
    fn number(&mut self, max: usize) -> Option<u64> {
        let (length, least) = match self.byte()? {
            small @ ..=250 => return Some(small.into()),
            251 => (2, 251),
            252 => (4, 1 << 16),
            253 => (8, 1 << 32),
            _ => return None,
        };
        let bytes = self.take(length).filter(|_| length <= max)?;
        let number = bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
        self.is_shortest &= number >= least;
        Some(number)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.number(8)?;
        self.take(usize::try_from(length).ok()?)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn array(&mut self) -> Option<[u8; 16]> {
        self.take(16)?.try_into().ok()
    }

    fn moment(&mut self) -> Option<Timestamp> {
        self.number(8).map(Timestamp::from_unix_millis)
    }

    fn record(&mut self, kind: u8, key: &KeyId) -> Option<Record> {
        let version = self.byte()?;
        match (kind, version) {
            (0 | 3, 1 | 2) => {
                let name = self.text()?;
                let role = match self.number(4)? {
                    0 => Role::User,
                    1 => Role::Admin,
                    _ => return None,
                };
                let created_at = self.moment()?;
                let hash = PasswordHash::from_stored(self.text()?.to_owned());
                let mut sessions = (0, None);
                let mut disabled = false;
                if version == 2 {
                    disabled = self.flag()?;
                    sessions.0 = self.number(4)?;
                    sessions.1 = match self.bytes()? {
                        [] => None,
                        bytes => Some(session(bytes.try_into().ok()?)),
                    };
                }
                // What has no constructor is read by the program; the rest is compared.
                let Ok(Record::User(read, _)) = Record::user(USER, &shortest(name, sessions)) else {
                    return None;
                };
                Some(Record::User(User { id: USER, role, disabled, created_at, ..read }, hash))
            }
            (1, 1) => {
                let longest = Duration::from_secs(self.number(8)?);
                let not_after = if self.flag()? { Some(self.moment()?) } else { None };
                Some(Record::Key(KeyRecord { id: key.clone(), longest, not_after }))
            }
            (2, 1) => {
                let (current, issued_at_millis) = (self.array()?, self.number(8)?);
                let count = self.number(8)?;
                let mut retired = Vec::new();
                for _ in 0..count {
                    retired.push((self.array()?, self.number(8)?));
                }
                Some(Record::Rotation { current, issued_at_millis, retired })
            }
            _ => None,
        }
    }
}

/// A user of that name, with these sessions and nothing else.
fn shortest(name: &str, (generation, spared): (u64, Option<SessionId>)) -> Vec<u8> {
    let mut bytes = vec![2, 253];
    bytes.extend((name.len() as u64).to_le_bytes());
    bytes.extend(name.as_bytes());
    bytes.extend([0, 0, 0, 0, 252]);
    bytes.extend(&generation.to_le_bytes()[..4]);
    bytes.push(spared.as_ref().map_or(0, |_| 30));
    bytes.extend(spared.iter().flat_map(|session| session.as_bytes()));
    bytes
}
