//! Stored hashes: what is accepted keeps its meaning when it is written and read again, and costs no more than the
//! limits say.

use gatelet::password::{Cost, HashError, PasswordHash};

use crate::input::Input;

/// Imported hashes have at most so many characters.
const MAX_CHARS: usize = 512;

pub fn run(mut input: Input<'_>, broken: bool) {
    let text = String::from_utf8_lossy(input.rest()).into_owned();
    let imported = if broken { without_limits(text.clone()) } else { PasswordHash::import(text.clone()) };
    let Ok(hash) = imported else { return };
    let stored = hash.as_str();
    let demand = demand(stored).unwrap_or_else(|| panic!("{text:?} was accepted as {stored:?}"));
    if let Some(before) = foreign(&text) {
        assert_eq!(before, (demand.rounds, demand.second), "{text:?} became {stored:?}");
    }
    assert!(demand.memory <= u128::from(Cost::MAX_MEMORY), "{stored:?} takes {} bytes", demand.memory);
    assert!(demand.work <= u128::from(Cost::MAX_WORK), "{stored:?} takes {} steps", demand.work);

    assert!(hash.is_readable(), "accepted, and not to be read: {text:?}");
    assert!(stored.starts_with('$') && stored.len() <= MAX_CHARS, "{text:?} became {stored:?}");
    assert_eq!(
        PasswordHash::import(stored.to_owned()).as_ref(),
        Ok(&hash),
        "{text:?} changes when it comes again"
    );
    if text.starts_with('$') && !text.starts_with("$2") {
        assert_eq!(text, stored, "a PHC string was rewritten");
    }

    let scheme = hash.scheme();
    let secrets = stored.rsplitn(3, '$').take(2);
    for secret in secrets.filter(|secret| secret.len() > 8) {
        assert!(!scheme.contains(secret), "{scheme:?} shows a part of {stored:?}");
    }
}

/// The bug: hashes are taken at any cost.
fn without_limits(text: String) -> Result<PasswordHash, HashError> {
    match PasswordHash::import(text.clone()) {
        Err(HashError::TooCostly(_)) => Ok(PasswordHash::from_stored(text)),
        other => other,
    }
}

/// What a hash asks for.
struct Demand {
    rounds: u64,
    /// scrypt's `r` and `p`.
    second: Option<(u64, u64)>,
    memory: u128,
    /// In block mixes of scrypt, as weighed in `src/password/stored.rs`.
    work: u128,
}

/// Reads a hash once more, with no care for what is no hash at all.
fn demand(stored: &str) -> Option<Demand> {
    let fields: Vec<_> = stored.split('$').skip(1).collect();
    let parameter = |name: &str| -> Option<u64> {
        fields.iter().flat_map(|field| field.split(',')).find_map(|pair| {
            let (found, value) = pair.trim().split_once('=')?;
            (found == name).then(|| value.parse().ok())?
        })
    };
    let demand = |rounds: u64, second, memory, work| Some(Demand { rounds, second, memory, work });
    match *fields.first()? {
        "scrypt" => {
            let (ln, r, p) = (parameter("ln")?, parameter("r")?, parameter("p")?);
            let blocks = 1_u128 << ln;
            let memory = 128 * u128::from(r) * (blocks + u128::from(p));
            demand(ln, Some((r, p)), memory, blocks * u128::from(r) * u128::from(p))
        }
        "argon2id" | "argon2i" | "argon2d" => {
            let (m, t) = (u128::from(parameter("m")?), u128::from(parameter("t")?));
            demand(parameter("t")?, None, m << 10, m * t * 2)
        }
        "2a" | "2b" | "2y" => {
            let cost: u64 = fields.get(1)?.parse().ok()?;
            demand(cost, None, 0, 160_u128 << cost)
        }
        name @ ("pbkdf2-sha256" | "pbkdf2-sha512") => {
            let rounds = match parameter("i") {
                Some(rounds) => rounds,
                None => fields.get(1)?.parse().ok()?,
            };
            // Four letters of base64 are three bytes.
            let bytes = fields.last()?.trim_end_matches('=').len() * 3 / 4;
            let (digest, weight) = if name.ends_with("256") { (32, 1) } else { (64, 2) };
            demand(rounds, None, 0, u128::from(rounds) * weight * bytes.div_ceil(digest) as u128)
        }
        _ => None,
    }
}

/// The numbers of a hash in Werkzeug's or Django's form.
fn foreign(text: &str) -> Option<(u64, Option<(u64, u64)>)> {
    let (method, fields) = text.split_once('$')?;
    let number = |text: &str| text.parse::<u64>().ok();
    let scrypt = |n, r, p| Some((u64::from(number(n)?.ilog2()), Some((number(r)?, number(p)?))));
    match *method.split(':').collect::<Vec<_>>() {
        ["scrypt", n, r, p] => scrypt(n, r, p),
        ["pbkdf2", _, rounds] => Some((number(rounds)?, None)),
        ["pbkdf2_sha256"] => Some((number(fields.split('$').next()?)?, None)),
        ["scrypt"] => match *fields.split('$').collect::<Vec<_>>() {
            [n, _, r, p, _] => scrypt(n, r, p),
            _ => None,
        },
        _ => None,
    }
}
