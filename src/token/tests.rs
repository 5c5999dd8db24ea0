use tempfile::TempDir;

use super::*;
use crate::domain::session::Sessions;
use crate::domain::user::UserId;

const NOW: Timestamp = Timestamp::from_unix_secs(1_764_000_000);
const MINUTES: Lifetimes = Lifetimes { access: Duration::from_secs(60), refresh: Duration::from_secs(600) };

pub(super) fn user(created_at: Timestamp) -> User {
    User {
        id: UserId::next(None, created_at, [7; 8]),
        name: "anna".parse().unwrap(),
        role: Role::User,
        disabled: false,
        created_at,
        sessions: Sessions::default(),
    }
}

fn tokens() -> (TempDir, Tokens) {
    let dir = tempfile::tempdir().unwrap();
    let ring = KeyRing::open(dir.path(), &[], LostKeys::Replace, MINUTES, NOW).unwrap();
    (dir, Tokens::new(ring, "gatelet".into(), MINUTES))
}

fn log_in(tokens: &Tokens, now: Timestamp) -> (String, String) {
    let session = tokens.begin_session(&user(now), now, Era::default()).unwrap();
    (session.access.0, session.refresh.0)
}

#[test]
fn a_retired_key_still_verifies_until_its_last_token_has_expired() {
    let (dir, tokens) = tokens();
    let mut sessions = vec![log_in(&tokens, NOW)];
    for _ in 0..100 {
        let ring = tokens.ring().rotated(dir.path(), NOW).unwrap();
        tokens.use_ring(ring);
        sessions.push(log_in(&tokens, NOW));
    }
    let last = NOW.after(MINUTES.access).after(LEEWAY).before(Duration::from_secs(1));
    tokens.use_ring(tokens.ring().pruned(last).0);
    for (access, refresh) in &sessions {
        assert!(tokens.verify_access(access, last).is_ok());
        assert!(tokens.verify_refresh(refresh, last).is_ok());
    }
    let last = NOW.after(MINUTES.refresh).after(LEEWAY).before(Duration::from_secs(1));
    tokens.use_ring(tokens.ring().pruned(last).0);
    for (_, refresh) in &sessions {
        assert!(tokens.verify_refresh(refresh, last).is_ok());
    }
    let (ring, _) = tokens.ring().pruned(last.after(Duration::from_secs(120)));
    assert_eq!(ring.records().len(), 2);
}

#[test]
fn a_token_under_a_dropped_key_is_refused_even_if_it_was_verified_before() {
    let (dir, tokens) = tokens();
    let (access, refresh) = log_in(&tokens, NOW);
    let from = tokens.verify_refresh(&refresh, NOW).unwrap();
    let id = TokenId::generate().unwrap();
    let old = tokens.next_refresh(&from, id, NOW).unwrap();
    assert!(tokens.verify_access(&access, NOW).is_ok());
    tokens.use_ring(tokens.ring().rotated(dir.path(), NOW).unwrap());
    assert!(tokens.verify_access(&access, NOW).is_ok());
    tokens.use_ring(tokens.ring().only_active().0);
    assert_eq!(tokens.verify_access(&access, NOW), Err(TokenRefusal::Invalid));
    // Its successors made later are refused too, although it was verified in time.
    let late = tokens.next_refresh(&from, TokenId::generate().unwrap(), NOW).unwrap();
    for refresh in [&refresh, &old.0, &late.0] {
        assert_eq!(tokens.verify_refresh(refresh, NOW).err(), Some(TokenRefusal::Invalid));
    }
    let access = tokens.continue_session(&from, Role::Admin, NOW).unwrap();
    assert_eq!(tokens.verify_access(&access.0, NOW), Err(TokenRefusal::Invalid));
}

#[test]
fn the_next_refresh_token_is_the_same_however_often_it_is_asked_for() {
    let (_dir, tokens) = tokens();
    let from = tokens.verify_refresh(&log_in(&tokens, NOW).1, NOW).unwrap();
    assert_eq!((from.issued_at, from.expires_at), (NOW, NOW.after(MINUTES.refresh)));
    let id = TokenId::generate().unwrap();
    let later = NOW.after(Duration::from_millis(60_700));
    let texts: Vec<String> = std::thread::scope(|scope| {
        let ask = || tokens.next_refresh(&from, id, later).unwrap().0;
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(texts.iter().all(|text| *text == texts[0]));
    let next = tokens.verify_refresh(&texts[0], later).unwrap();
    assert_eq!(*next, Refresh { id, issued_at: later.whole_seconds(), ..*from }, "it ends with the session");
    let other = tokens.next_refresh(&from, TokenId::generate().unwrap(), later).unwrap();
    assert_ne!(other.0, texts[0]);
}

#[test]
fn a_refresh_token_lives_no_longer_than_todays_lifetime() {
    let (_dir, tokens) = tokens();
    let from = tokens.verify_refresh(&log_in(&tokens, NOW).1, NOW).unwrap();
    let token = Refresh { expires_at: NOW.after(Duration::from_secs(86_400)), ..*from };
    let from = VerifiedRefresh { token, ..from };
    let next = tokens.next_refresh(&from, TokenId::generate().unwrap(), NOW).unwrap();
    assert_eq!(tokens.verify_refresh(&next.0, NOW).unwrap().expires_at, NOW.after(MINUTES.refresh));
}
