use std::fs;

use tempfile::TempDir;

use super::*;

const NOW: Timestamp = Timestamp::from_unix_secs(1_764_000_000);
const MINUTES: Lifetimes = Lifetimes { access: Duration::from_secs(60), refresh: Duration::from_secs(600) };

fn reopen(
    dir: &TempDir,
    remembered: &[KeyRecord],
    lost: LostKeys,
    now: Timestamp,
) -> Result<KeyRing, KeyError> {
    KeyRing::open(dir.path(), remembered, lost, MINUTES, now)
}

/// A folder with new keys.
fn fresh() -> (TempDir, KeyRing) {
    let dir = tempfile::tempdir().unwrap();
    let ring = reopen(&dir, &[], LostKeys::Replace, NOW).unwrap();
    key_files::settle(dir.path(), &ring.records()).unwrap();
    (dir, ring)
}

#[test]
fn a_file_under_another_keys_name_is_damaged() {
    let (dir, ring) = fresh();
    let records = ring.records();
    let path = dir.path().join(records[1].id.as_str());
    let other = EncryptingKey::generate().unwrap();
    fs::write(&path, other.to_paserk().unwrap().as_bytes()).unwrap();
    assert!(matches!(
        reopen(&dir, &records, LostKeys::Refuse, NOW),
        Err(KeyError::Damaged(damaged)) if damaged == path
    ));
    let healed = reopen(&dir, &records, LostKeys::Replace, NOW).unwrap().records();
    assert_eq!(healed[0], records[0]);
    assert_ne!(healed[1].id, records[1].id);
}

#[test]
fn keys_never_show_in_debug_output() {
    let ring = KeyRing::for_tests();
    let secret = ring.encrypting().to_paserk().unwrap();
    assert!(!format!("{ring:?}").contains(secret.trim_start_matches("k4.local.")));
    assert!(format!("{ring:?}").contains("k4.lid."));
}

#[test]
fn a_rotation_makes_new_keys_and_tells_when_the_old_ones_are_over() {
    let (dir, first) = fresh();
    let second = first.rotated(dir.path(), NOW).unwrap();
    let records = second.records();
    assert_eq!(records.len(), 4);
    for (old, [new, retired]) in first.records().iter().zip([[0, 1], [2, 3]]) {
        assert_eq!(records[new].not_after, None);
        assert_eq!(records[new].longest, old.longest);
        assert_ne!(records[new].id, old.id);
        let not_after = NOW.after(old.longest).after(MARGIN);
        assert_eq!(records[retired], KeyRecord { not_after: Some(not_after), ..old.clone() });
    }
    assert!(std::ptr::eq(first.signing(), second.verifying(first.signing().footer().text()).unwrap()));
    let again = reopen(&dir, &records, LostKeys::Refuse, NOW).unwrap();
    assert_eq!(again.records(), records);
    assert_eq!(again.signing().id(), second.signing().id());
}

#[test]
fn a_hundred_rotations_keep_every_moment_that_was_promised() {
    let (dir, mut ring) = fresh();
    let mut promised = Vec::new();
    for second in 0..100 {
        ring = ring.rotated(dir.path(), NOW.after(Duration::from_secs(second))).unwrap();
        promised.push(ring.records()[1].clone());
    }
    let signing = &ring.records()[1..=100];
    assert!(signing.iter().eq(promised.iter().rev()), "the latest first");
    assert_eq!(ring.published().len(), 101);
}

#[test]
fn a_retired_key_goes_when_its_time_is_over_and_not_before() {
    let (dir, first) = fresh();
    let second = first.rotated(dir.path(), NOW).unwrap();
    key_files::settle(dir.path(), &second.records()).unwrap();
    let over = second.records()[1].not_after.unwrap();
    let (same, gone) = second.pruned(over.before(Duration::from_millis(1)));
    assert_eq!((same.records(), gone), (second.records(), Vec::new()));
    assert!(!same.lacks_any_of(&second));
    let (rest, gone) = second.pruned(over);
    assert_eq!(gone, [first.signing().id().clone()], "refresh tokens live longer");
    assert!(rest.lacks_any_of(&second));
    assert!(rest.verifying(first.signing().footer().text()).is_none());
    let path = dir.path().join(gone[0].as_str());
    key_files::set_aside(dir.path(), &gone).unwrap();
    key_files::set_aside(dir.path(), &gone).unwrap();
    // Undone, as if the store still had the record.
    key_files::settle(dir.path(), &second.records()).unwrap();
    assert!(path.try_exists().unwrap());
    key_files::set_aside(dir.path(), &gone).unwrap();
    assert_eq!(reopen(&dir, &second.records(), LostKeys::Refuse, NOW).unwrap().records(), second.records());
    key_files::settle(dir.path(), &rest.records()).unwrap();
    assert!(!path.try_exists().unwrap());
    assert_eq!(reopen(&dir, &rest.records(), LostKeys::Refuse, NOW).unwrap().records(), rest.records());
}

#[test]
fn stolen_keys_can_be_dropped_at_once() {
    let (dir, first) = fresh();
    let (ring, gone) = first.rotated(dir.path(), NOW).unwrap().only_active();
    assert_eq!(gone, first.records().into_iter().map(|record| record.id).collect::<Vec<_>>());
    assert_eq!(ring.records().len(), 2);
}

#[test]
fn a_longer_lifetime_is_remembered_and_a_shorter_one_does_not_undo_it() {
    let (dir, ring) = fresh();
    let long = Lifetimes { access: Duration::from_secs(3600), ..MINUTES };
    let raised = KeyRing::open(dir.path(), &ring.records(), LostKeys::Refuse, long, NOW).unwrap();
    let lowered = reopen(&dir, &raised.records(), LostKeys::Refuse, NOW).unwrap();
    assert_eq!(lowered.records()[0].longest, long.access);
    assert_eq!(lowered.records()[1].longest, MINUTES.refresh);
    // The next key never makes a token that lives as long.
    assert_eq!(lowered.rotated(dir.path(), NOW).unwrap().records()[0].longest, MINUTES.access);
}

#[test]
fn a_retired_key_may_be_missing_once_its_time_is_over() {
    let (dir, first) = fresh();
    let records = first.rotated(dir.path(), NOW).unwrap().records();
    key_files::settle(dir.path(), &records).unwrap();
    fs::remove_file(dir.path().join(records[1].id.as_str())).unwrap();
    let over = records[1].not_after.unwrap();
    let early = reopen(&dir, &records, LostKeys::Refuse, over.before(Duration::from_secs(1)));
    assert!(matches!(early, Err(KeyError::Missing(_))));
    let ring = reopen(&dir, &records, LostKeys::Refuse, over).unwrap();
    assert_eq!(ring.records(), [&records[..1], &records[2..]].concat());
}

#[test]
fn keys_that_were_never_remembered_go_and_other_files_stay() {
    let (dir, first) = fresh();
    let others = ["README", &format!("k4.pid.{}", "x".repeat(44)), "k4.pid.short.new"];
    for name in others {
        fs::write(dir.path().join(name), "ours").unwrap();
    }
    // Left by an interrupted rotation: on file systems with nameless files, on others, and by older
    // versions.
    drop(first.rotated(dir.path(), NOW).unwrap());
    let id = format!("k4.lid.{}", "y".repeat(44));
    for name in [format!(".{id}.new.{:016x}.new", 7), format!("{id}.new")] {
        fs::write(dir.path().join(name), "half").unwrap();
    }
    let second = reopen(&dir, &first.records(), LostKeys::Refuse, NOW).unwrap();
    assert_eq!(second.records(), first.records());
    key_files::settle(dir.path(), &second.records()).unwrap();
    let left: HashSet<_> = key_files::names(dir.path()).unwrap().into_iter().collect();
    let keys = first.records().into_iter().map(|record| record.id.as_str().into());
    assert_eq!(left, others.map(Into::into).into_iter().chain(keys).collect());
}

#[test]
fn only_the_public_half_is_published() {
    let (dir, first) = fresh();
    let ring = first.rotated(dir.path(), NOW).unwrap();
    let [active, retiring] = &ring.published()[..] else { panic!("two signing keys") };
    assert_eq!((active.state, active.not_after), (KeyState::Active, None));
    let expected = PublishedKey {
        id: first.signing().id().clone(),
        paserk: first.signing().public_paserk().to_owned(),
        state: KeyState::Retiring,
        not_after: Some(NOW.after(MINUTES.access).after(MARGIN)),
    };
    assert_eq!(retiring, &expected);
}
