//! Tokens: no text is believed but those that were issued, and those say what they said when they were made.

use std::sync::OnceLock;
use std::time::Duration;

use gatelet::domain::clock::Timestamp;
use gatelet::domain::session::{Era, Sessions};
use gatelet::domain::user::{Role, User, UserId};
use gatelet::token::statement::Subject;
use gatelet::token::{Access, AnyToken, LEEWAY, Refresh, Token, TokenRefusal, Tokens};
use pasetors::version4::{LocalToken, PublicToken};
use serde_json::Value;

use crate::input::Input;
use crate::keys::{self, LIFETIMES, NOW};

const ISSUER: &str = "gatelet";

/// The most edits of one token.
const EDITS: usize = 12;

enum Claims {
    Access(Access),
    Refresh(Refresh),
}

/// A token that must be believed.
struct Issued {
    text: String,
    any: AnyToken,
    claims: Claims,
}

struct State {
    tokens: Tokens,
    issued: Vec<Issued>,
    /// The issued ones, and others that must not be believed: of a stranger's keys, of another issuer with our keys,
    /// and a statement.
    texts: Vec<Vec<u8>>,
    payloads: [String; 2],
}

fn state() -> &'static State {
    static STATE: OnceLock<State> = OnceLock::new();
    STATE.get_or_init(State::new)
}

fn user(random: u8) -> User {
    User {
        id: UserId::next(None, NOW, [random; 8]),
        name: "anna".parse().expect("a name"),
        role: Role::Admin,
        disabled: false,
        created_at: NOW,
        sessions: Sessions::default(),
    }
}

fn text(token: &Token) -> String {
    serde_json::to_value(token).ok().and_then(|value| value.as_str().map(str::to_owned)).expect("text")
}

fn tokens(pairs: &[usize], issuer: &str) -> Tokens {
    let ring = std::sync::Arc::into_inner(keys::ring(pairs)).expect("our own");
    Tokens::new(ring, issuer.to_owned(), LIFETIMES)
}

impl State {
    fn new() -> Self {
        let ours = tokens(&[0, 1], ISSUER);
        let mut issued = Vec::new();
        // Of the active keys and of the retired ones.
        for (random, maker) in [(1, &ours), (2, &tokens(&[1], ISSUER))] {
            let user = user(random);
            let session = maker.begin_session(&user, NOW, Era::default()).expect("a session");
            let refresh = maker.verify_refresh(&text(&session.refresh), NOW).expect("a good token");
            let further = maker.continue_session(&refresh, user.role, NOW).expect("a token");
            let any = AnyToken { user: user.id, session: session.id, is_expired: false };
            assert_eq!((refresh.user, refresh.session), (user.id, session.id));
            assert_eq!((refresh.auth_time, refresh.issued_at), (NOW, NOW));
            assert_eq!(refresh.expires_at, NOW.after(LIFETIMES.refresh));
            for (token, fresh) in [(&session.access, true), (&further, false)] {
                let access = maker.verify_access(&text(token), NOW).expect("a good token");
                assert_eq!((access.user, access.session), (user.id, session.id));
                assert_eq!((access.fresh, access.auth_time), (fresh, NOW));
                issued.push(Issued { text: text(token), any, claims: Claims::Access(access) });
            }
            issued.push(Issued { text: text(&session.refresh), any, claims: Claims::Refresh(*refresh) });
        }
        let mut texts: Vec<_> = issued.iter().map(|issued| issued.text.clone().into_bytes()).collect();
        for maker in [tokens(&[2], ISSUER), tokens(&[0], "other")] {
            let session = maker.begin_session(&user(3), NOW, Era::default()).expect("a session");
            texts.extend([&session.access, &session.refresh].map(|token| text(token).into_bytes()));
        }
        texts.push(ours.ring().state(Subject::Backup, "{}").expect("a statement").into_bytes());
        let payloads = [payload(&issued[0].text, 0), payload(&issued[2].text, 0)];
        Self { tokens: ours, issued, texts, payloads }
    }
}

/// What a good token says, as JSON.
fn payload(text: &str, pair: usize) -> String {
    use pasetors::token::UntrustedToken;
    let opened = match text.starts_with(PublicToken::HEADER) {
        true => UntrustedToken::try_from(text)
            .and_then(|token| PublicToken::verify(&keys::verifying(pair), &token, None, None)),
        false => UntrustedToken::try_from(text)
            .and_then(|token| LocalToken::decrypt(&keys::encrypting(pair), &token, None, None)),
    };
    opened.expect("a good token").payload().to_owned()
}

pub fn run(mut input: Input<'_>, broken: bool) {
    let state = state();
    let choice = input.byte();
    let seconds = [0, 899, 904, 905, 3604, 3605, 4_000_000_000];
    let now = match *input.of(&[1, 0, 2, 3, 4, 5, 6, 7, 8]) {
        0 => NOW.before(LEEWAY),
        8 => NOW.before(LEEWAY + Duration::from_secs(1)),
        at => NOW.after(Duration::from_secs(seconds[at - 1])),
    };
    if choice & 0xc0 == 0xc0 {
        return minted(state, &mut input, now);
    }
    let mut bytes = state.texts[usize::from(choice) % state.texts.len()].clone();
    for _ in 0..EDITS {
        if input.is_empty() {
            break;
        }
        input.edit(&mut bytes, &state.texts);
    }
    let text = String::from_utf8_lossy(&bytes);
    let shown = if broken { all_but_the_last_byte(state, &text) } else { &text };

    let issued = state.issued.iter().find(|issued| issued.text == text);
    let access = issued.and_then(|issued| match issued.claims {
        Claims::Access(access) => Some((access, LIFETIMES.access)),
        Claims::Refresh(_) => None,
    });
    let refresh = issued.and_then(|issued| match issued.claims {
        Claims::Refresh(refresh) => Some((refresh, LIFETIMES.refresh)),
        Claims::Access(_) => None,
    });
    // Twice: the second answer may be remembered.
    for _ in 0..2 {
        assert_eq!(state.tokens.verify_access(shown, now), expected(access, now), "{text}");
    }
    let verified = state.tokens.verify_refresh(shown, now).map(|refresh| *refresh);
    assert_eq!(verified, expected(refresh, now), "{text}");

    let lifetime = access.map(|(_, lifetime)| lifetime).or(refresh.map(|(_, lifetime)| lifetime));
    let any = issued.zip(lifetime).map(|(issued, lifetime)| (issued.any, lifetime));
    let any = match expected(any, now) {
        Err(TokenRefusal::Expired) => {
            any.map(|(any, _)| AnyToken { is_expired: true, ..any }).ok_or(TokenRefusal::Invalid)
        }
        other => other,
    };
    assert_eq!(state.tokens.verify_any(shown, now), any, "{text}");
}

fn expected<T>(token: Option<(T, Duration)>, now: Timestamp) -> Result<T, TokenRefusal> {
    match token {
        None => Err(TokenRefusal::Invalid),
        Some(_) if now.after(LEEWAY) < NOW => Err(TokenRefusal::Invalid),
        Some((_, lifetime)) if now >= NOW.after(lifetime).after(LEEWAY) => Err(TokenRefusal::Expired),
        Some((token, _)) => Ok(token),
    }
}

/// The bug: the last byte is not compared.
fn all_but_the_last_byte<'a>(state: &'a State, text: &'a str) -> &'a str {
    let head = |text: &'a str| text.as_bytes().split_last().map(|(_, head)| head);
    let same = state.issued.iter().find(|issued| head(&issued.text) == head(text));
    same.map_or(text, |issued| &issued.text)
}

/// A good signature over claims that were edited: what is believed stands in them.
fn minted(state: &State, input: &mut Input<'_>, now: Timestamp) {
    let is_access = input.flag();
    let payloads: Vec<_> = state.payloads.iter().map(|payload| payload.clone().into_bytes()).collect();
    let mut bytes = payloads[usize::from(!is_access)].clone();
    for _ in 0..EDITS {
        if input.is_empty() {
            break;
        }
        input.edit(&mut bytes, &payloads);
    }
    let payload = String::from_utf8_lossy(&bytes).into_owned();
    let footer = if is_access {
        format!("{{\"kid\":\"{}\"}}", keys::id_of(&keys::verifying(0)))
    } else {
        format!("{{\"kid\":\"{}\"}}", keys::id_of(&keys::encrypting(0)))
    };
    let footer = Some(footer.as_bytes());
    let text = match is_access {
        true => PublicToken::sign(&keys::signing(0), payload.as_bytes(), footer, None),
        false => LocalToken::encrypt(&keys::encrypting(0), payload.as_bytes(), footer, None),
    };
    let Ok(text) = text else { return }; // an empty payload
    let believed = match is_access {
        true => {
            state.tokens.verify_access(&text, now).map(|it| (it.user, it.session, it.auth_time, "access"))
        }
        false => {
            state.tokens.verify_refresh(&text, now).map(|it| (it.user, it.session, it.auth_time, "refresh"))
        }
    };
    let Ok((user, session, auth_time, kind)) = believed else {
        let is_edited = state.payloads.iter().all(|original| *original != payload);
        assert!(
            is_edited || payload != state.payloads[usize::from(!is_access)] || !is_live(&payload, now),
            "{payload}"
        );
        return;
    };
    let claims: Value = serde_json::from_str(&payload).expect("JSON");
    assert_eq!((&claims["iss"], &claims["typ"]), (&ISSUER.into(), &kind.into()), "{payload}");
    let sub = claims["sub"].as_str().unwrap_or_default();
    assert!(hexadecimal(sub).ends_with(&hexadecimal(&user.to_string())), "{payload}");
    assert_eq!(claims["sid"], session.to_string(), "{payload}");
    let moment = |claim: &str| serde_json::from_value::<Timestamp>(claims[claim].clone()).expect("a moment");
    assert_eq!(moment("auth_time"), auth_time, "{payload}");
    assert!(is_live(&payload, now), "{payload}");
}

/// A user's id has several forms, which differ in what is no digit.
fn hexadecimal(text: &str) -> String {
    text.to_ascii_lowercase().chars().filter(char::is_ascii_hexdigit).collect()
}

/// Whether claims hold at `now`.
fn is_live(payload: &str, now: Timestamp) -> bool {
    let claims: Value = serde_json::from_str(payload).expect("JSON");
    let moment = |claim: &str| serde_json::from_value::<Timestamp>(claims[claim].clone()).expect("a moment");
    let begun = ["iat", "nbf"].iter().all(|claim| moment(claim) <= now.after(LEEWAY));
    begun && now < moment("exp").after(LEEWAY)
}
