//! The same through the socket: a change is in flight while its right is revoked.
//!
//! Once the revocation is answered, another administrator checks whether the change has taken effect. If not, it must
//! never do so.

use std::ops::AddAssign;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, Random, Reply, TestServer, Tokens, credentials};

/// Rounds for each pair, 1,026 in all; the variable `ROUNDS` sets another number.
const ROUNDS: usize = 18;

/// The number of pairs that race at the same time, which varies their timing.
const LANES: usize = 3;

const PASSWORD: &str = "correct horse";
const OTHER_PASSWORD: &str = "battery staple";
const TAKEN_PASSWORD: &str = "given by the administrator";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Create,
    Promote,
    Disable,
    Delete,
    ResetPassword,
    EndSessions,
    OwnPassword,
    DeleteSelf,
    EndOwnSessions,
    Rotate,
    LogIn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taking {
    Demote,
    Disable,
    LogOut,
    EndSessions,
    Delete,
    NewPassword,
}

/// All pairs in which the effect of the change differs from that of the revocation.
fn pairs() -> Vec<(Change, Taking)> {
    use Taking::{Delete, Demote, Disable, EndSessions, LogOut, NewPassword};
    let of = |change: Change| {
        let takings: &[Taking] = match change {
            Change::Create
            | Change::Promote
            | Change::Disable
            | Change::Delete
            | Change::ResetPassword
            | Change::EndSessions => &[Demote, Disable, LogOut, EndSessions, Delete, NewPassword],
            Change::OwnPassword | Change::DeleteSelf => &[Demote, Disable, LogOut, EndSessions, NewPassword],
            Change::EndOwnSessions => &[Demote, LogOut],
            Change::Rotate => &[Disable, LogOut, EndSessions, Delete, NewPassword],
            Change::LogIn => &[Disable, EndSessions, Delete, NewPassword],
        };
        takings.iter().map(move |taking| (change, *taking))
    };
    [
        Change::Create,
        Change::Promote,
        Change::Disable,
        Change::Delete,
        Change::ResetPassword,
        Change::EndSessions,
        Change::OwnPassword,
        Change::DeleteSelf,
        Change::EndOwnSessions,
        Change::Rotate,
        Change::LogIn,
    ]
    .into_iter()
    .flat_map(of)
    .collect()
}

/// The outcomes of the rounds.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    rounds: usize,
    /// The change was made before its right was revoked.
    made: usize,
    /// The change was refused.
    refused: usize,
    /// The change was unanswered when the revocation was answered.
    in_flight: usize,
    /// The change came first and left no right to revoke.
    nothing_taken: usize,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.made += other.made;
        self.refused += other.refused;
        self.in_flight += other.in_flight;
        self.nothing_taken += other.nothing_taken;
    }
}

#[test]
fn no_change_takes_effect_after_its_right_was_revoked() {
    let rounds = std::env::var("ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    // Hashes expensive enough that changes overlap with revocations.
    #[rustfmt::skip] // flags and their values
    let server = TestServer::start_with(&[
        "--scrypt", "ln=9,r=8,p=1", "--refresh-rotation", "on",
        "--account-limit", "off", "--network-limit", "off", "--registration-limit", "off",
    ]);
    server.add_admin("root", PASSWORD);
    let root = server.log_in("root", PASSWORD).access;
    let pairs = pairs();
    let total = thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES)
            .map(|lane| {
                let (server, root, pairs) = (&server, &root, &pairs);
                scope.spawn(move || {
                    let mut total = Count::default();
                    for (place, &(change, taking)) in pairs.iter().enumerate().skip(lane).step_by(LANES) {
                        let mut pair = Pair::new(server, root, change, taking, place);
                        (0..rounds).for_each(|round| pair.round(round));
                        println!("{change:?} and {taking:?}: {:?}", pair.count);
                        total += pair.count;
                    }
                    total
                })
            })
            .collect();
        lanes.into_iter().map(|lane| lane.join().unwrap()).fold(Count::default(), |mut all, one| {
            all += one;
            all
        })
    });
    println!("all: {total:?}");
    let met = total.made > 0 && total.refused > 0 && total.in_flight > 0;
    assert!(met, "too few overlaps to prove anything");
}

/// One kind of change, and one way to revoke its right.
struct Pair<'a> {
    server: &'a TestServer,
    root: &'a str,
    change: Change,
    taking: Taking,
    /// The token of root.
    client: Client,
    /// The rough duration of the change, and of the revocation.
    spans: [Duration; 2],
    random: Random,
    /// A user from before the round: lists begin there.
    marker: String,
    place: usize,
    count: Count,
}

/// The users and sessions of a round.
struct Scene {
    actor: String,
    actor_id: String,
    session: Tokens,
    other_session: Tokens,
    victim: String,
    victim_id: String,
    victim_session: Tokens,
    made: String,
    /// The actor's hash before the round.
    hash: Option<Value>,
}

impl<'a> Pair<'a> {
    fn new(server: &'a TestServer, root: &'a str, change: Change, taking: Taking, place: usize) -> Self {
        let mut pair = Self {
            server,
            root,
            change,
            taking,
            client: server.client(),
            spans: [Duration::from_millis(4); 2],
            random: Random::begin(&format!("{change:?} and {taking:?}")),
            marker: String::new(),
            place,
            count: Count::default(),
        };
        pair.marker = pair.user(&format!("marker {place}"), "user");
        pair
    }

    fn as_root(&mut self, method: &str, path: &str, body: Option<&Value>) -> Reply {
        self.client.call(method, path, Some(self.root), body)
    }

    fn user(&mut self, name: &str, role: &str) -> String {
        let body = json!({ "username": name, "password": PASSWORD, "role": role });
        let reply = self.as_root("POST", "/user", Some(&body));
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.header("location").unwrap().strip_prefix("/user/").unwrap().to_owned()
    }

    fn log_in(&mut self, name: &str) -> Tokens {
        Tokens::from_reply(&self.client.post("/login", &credentials(name, PASSWORD)))
    }

    fn scene(&mut self, round: usize) -> Scene {
        let named = |what: &str| format!("{what} {} {round}", self.place);
        let (actor, victim, made) = (named("actor"), named("victim"), named("made"));
        let actor_id = self.user(&actor, "admin");
        let victim_id = self.user(&victim, "user");
        let mut scene = Scene {
            session: self.log_in(&actor),
            other_session: self.log_in(&actor),
            victim_session: self.log_in(&victim),
            actor,
            actor_id,
            victim,
            victim_id,
            made,
            hash: None,
        };
        scene.hash = self.hash(&scene);
        scene
    }

    fn round(&mut self, round: usize) {
        let scene = self.scene(round);
        self.race(&scene, round);
        self.marker = scene.victim_id;
    }

    fn race(&mut self, scene: &Scene, round: usize) {
        // Offsets range from one being answered before the other begins to the reverse.
        let moment =
            (self.spans[0] + self.spans[1]) * u32::try_from(self.random.below(1_000)).unwrap() / 1_000;
        let waits = [self.spans[1].saturating_sub(moment), moment.saturating_sub(self.spans[1])];
        let ready = Barrier::new(2);
        let (mut client, change) = (self.server.client(), self.change);
        let (taken, taking_at, answered_at, early, (reply, began_at, ended_at)) = thread::scope(|scope| {
            let changing = scope.spawn(|| {
                ready.wait();
                thread::sleep(waits[0]);
                let began_at = Instant::now();
                let reply = ask(&mut client, change, scene);
                (reply, began_at, Instant::now())
            });
            ready.wait();
            thread::sleep(waits[1]);
            let taking_at = Instant::now();
            let taken = self.take(scene);
            let answered_at = Instant::now();
            self.spans[1] = (self.spans[1] * 7 + (answered_at - taking_at)) / 8;
            let early = self.has_effect(scene);
            (taken, taking_at, answered_at, early, changing.join().unwrap())
        });
        self.spans[0] = (self.spans[0] * 7 + (ended_at - began_at)) / 8;
        self.count.rounds += 1;
        let case = format!("{change:?} and {:?}, round {round}: {reply:?}", self.taking);
        if taken.status != 200 {
            // The actor or their session was gone already.
            let came_first =
                matches!(change, Change::DeleteSelf | Change::OwnPassword | Change::EndOwnSessions);
            assert!(came_first && reply.status == 200, "{taken:?}; {case}");
            self.count.nothing_taken += 1;
            return;
        }
        let late = self.has_effect(scene);
        assert!(
            early || !late || !self.takes_the_right(),
            "it took effect after the right to it was taken away: {case}"
        );
        self.count.in_flight += usize::from(ended_at > answered_at);
        if (200..300).contains(&reply.status) {
            self.count.made += 1;
            let is_overwritten = (self.change, self.taking) == (Change::OwnPassword, Taking::NewPassword);
            assert!(late || is_overwritten || !self.leaves_a_trace(), "without effect: {case}");
            // A login unanswered while all sessions were revoked may have begun after that.
            let may_live =
                (change, self.taking) == (Change::LogIn, Taking::EndSessions) && ended_at > taking_at;
            if !may_live {
                self.expect_worthless(&reply, &case);
            }
        } else {
            self.count.refused += 1;
            assert!(self.takes_the_right(), "{case}");
            assert!(!late, "refused, and made: {case}");
            self.expect_refusal(&reply, &case);
        }
    }

    /// Whether the revocation takes this right: a demoted user may still change the own account.
    fn takes_the_right(&self) -> bool {
        use Change::{DeleteSelf, EndOwnSessions, OwnPassword};
        self.taking != Taking::Demote || !matches!(self.change, DeleteSelf | EndOwnSessions | OwnPassword)
    }

    /// Whether the change has an effect besides tokens.
    fn leaves_a_trace(&self) -> bool {
        !matches!(self.change, Change::Rotate | Change::LogIn)
    }

    /// Asserts that tokens issued by the change are refused.
    fn expect_worthless(&mut self, reply: &Reply, case: &str) {
        if self.leaves_a_trace() {
            return;
        }
        let body = reply.json();
        for (method, path, token) in
            [("GET", "/user/me", &body["access_token"]), ("POST", "/refresh", &body["refresh_token"])]
        {
            let reply = self.client.call(method, path, token.as_str(), None);
            assert!(is_revoked(&reply), "{method} {path}: {reply:?} after {case}");
        }
    }

    fn expect_refusal(&self, reply: &Reply, case: &str) {
        let is_as_expected = match (self.taking, self.change) {
            (_, Change::LogIn) => reply.status == 401 && reply.json()["message"] == "Invalid credentials",
            (Taking::Demote, _) => reply.status == 403,
            // The current password was replaced first, and the session is revoked a moment later.
            (Taking::NewPassword, Change::OwnPassword) => reply.status == 401,
            _ => is_revoked(reply),
        };
        assert!(is_as_expected, "{case}");
    }

    fn take(&mut self, scene: &Scene) -> Reply {
        let path = format!("/user/{}", scene.actor_id);
        match self.taking {
            Taking::Demote => self.as_root("PATCH", &path, Some(&json!({ "role": "user" }))),
            Taking::Disable => self.as_root("PATCH", &path, Some(&json!({ "disabled": true }))),
            Taking::LogOut => self.client.call("POST", "/logout", Some(&scene.session.access), None),
            Taking::EndSessions => self.as_root("DELETE", &format!("{path}/sessions"), None),
            Taking::Delete => self.as_root("DELETE", &path, None),
            Taking::NewPassword => {
                let body = json!({ "new_password": TAKEN_PASSWORD });
                self.as_root("POST", &format!("{path}/password"), Some(&body))
            }
        }
    }

    /// Whether root sees the effect of the change.
    fn has_effect(&mut self, scene: &Scene) -> bool {
        match self.change {
            Change::Create => self.listed(&scene.made).is_some(),
            Change::Promote => self.listed(&scene.victim).unwrap()["role"] == "admin",
            Change::Disable => self.listed(&scene.victim).unwrap()["disabled"] == true,
            Change::Delete => self.listed(&scene.victim).is_none(),
            Change::ResetPassword | Change::EndSessions => self.is_over(&scene.victim_session),
            Change::OwnPassword if self.taking == Taking::Disable => self.hash(scene) != scene.hash,
            Change::OwnPassword => {
                self.client.post("/login", &credentials(&scene.actor, OTHER_PASSWORD)).status == 200
            }
            Change::DeleteSelf => self.listed(&scene.actor).is_none(),
            Change::EndOwnSessions => self.is_over(&scene.other_session),
            Change::Rotate | Change::LogIn => false,
        }
    }

    /// The user's entry in the list.
    fn listed(&mut self, name: &str) -> Option<Value> {
        let reply = self.as_root("GET", &format!("/user?after={}", self.marker), None);
        assert_eq!(reply.status, 200, "{reply:?}");
        let list = reply.json();
        list.as_array().unwrap().iter().find(|user| user["username"] == name).cloned()
    }

    fn is_over(&mut self, session: &Tokens) -> bool {
        is_revoked(&self.client.call("GET", "/user/me", Some(&session.access), None))
    }

    /// The actor's hash, where only that shows a change of password.
    fn hash(&mut self, scene: &Scene) -> Option<Value> {
        if (self.change, self.taking) != (Change::OwnPassword, Taking::Disable) {
            return None;
        }
        let body = self.server.admin_socket(&json!({ "export": { "after": self.marker } })).unwrap();
        let users = body["users"].as_array().unwrap();
        let user = users.iter().find(|user| user["username"] == *scene.actor);
        user.map(|user| user["password_hash"].clone())
    }
}

/// Requests the change.
fn ask(client: &mut Client, change: Change, scene: &Scene) -> Reply {
    let token = Some(&*scene.session.access);
    let victim = format!("/user/{}", scene.victim_id);
    match change {
        Change::Create => {
            let body = json!({ "username": scene.made, "password": PASSWORD, "role": "admin" });
            client.call("POST", "/user", token, Some(&body))
        }
        Change::Promote => client.call("PATCH", &victim, token, Some(&json!({ "role": "admin" }))),
        Change::Disable => client.call("PATCH", &victim, token, Some(&json!({ "disabled": true }))),
        Change::Delete => client.call("DELETE", &victim, token, None),
        Change::ResetPassword => {
            let body = json!({ "new_password": OTHER_PASSWORD });
            client.call("POST", &format!("{victim}/password"), token, Some(&body))
        }
        Change::EndSessions => client.call("DELETE", &format!("{victim}/sessions"), token, None),
        Change::OwnPassword => {
            let body = json!({ "current_password": PASSWORD, "new_password": OTHER_PASSWORD });
            client.call("POST", "/user/me/password", token, Some(&body))
        }
        Change::DeleteSelf => client.call("DELETE", "/user/me", token, None),
        Change::EndOwnSessions => client.call("DELETE", "/user/me/sessions", token, None),
        Change::Rotate => client.call("POST", "/refresh", Some(&scene.session.refresh), None),
        Change::LogIn => client.post("/login", &credentials(&scene.actor, PASSWORD)),
    }
}

fn is_revoked(reply: &Reply) -> bool {
    reply.status == 401 && reply.json()["error"] == "token_revoked"
}
