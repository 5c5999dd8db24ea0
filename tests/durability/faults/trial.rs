//! One script under one plan of faults: the commands, the answers that are right, and the state required
//! afterwards.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::injector::{Injector, Plan};
use super::template::{ADMIN, Origin, PASSWORD, Template, command};
use crate::support::{Client, Ended, Process, admin_socket, credentials, secrets, temporary};

/// Time limit, far longer than any script takes, retries and last requests included.
const PATIENCE: Duration = Duration::from_secs(90);

/// Stopped, damaged, cannot be used, try again.
const STOPPED: i32 = 0;
const DAMAGED: i32 = 65;
const UNUSABLE: i32 = 73;
const FAILED: i32 = 75;

/// The exit code of a process hit by KILL, under the injector.
const KILLED: i32 = 128 + 9;

/// Rust's own error texts, and advice that would harm a whole store.
const UNWANTED: [&str; 13] = [
    "panicked",
    "Some(",
    "Err(",
    "Ok(",
    "None",
    "kind: ",
    "backtrace",
    "Inline(",
    "remove the file commits",
    "with the one line",
    "begin anew",
    "start once with",
    "tell us",
];

pub struct Trial<'a> {
    pub template: &'a Template,
    pub injector: &'a Injector<'a>,
    pub plan: &'a Plan,
    /// The directory of all files that the program under test may touch.
    pub root: &'a Path,
    /// The errors found.
    pub wrong: Vec<String>,
    /// Users that must exist afterwards, and users that may.
    pub users: BTreeSet<String>,
    pub perhaps: BTreeSet<String>,
    /// Access tokens that must be valid afterwards, and those that must not.
    pub good: Vec<String>,
    pub ended: Vec<String>,
    /// Passwords: the user, the old one, the one being set, and whether that was acknowledged.
    pub password: Option<(String, String, Option<bool>)>,
    /// Disabled users, and whether that was acknowledged.
    pub disabled: Option<(String, Option<bool>)>,
    /// Keys that must be retired or deleted.
    pub retired: Vec<String>,
}

impl<'a> Trial<'a> {
    pub fn begin(template: &'a Template, injector: &'a Injector<'a>, plan: &'a Plan) -> Self {
        Self {
            template,
            injector,
            plan,
            root: injector.root,
            wrong: Vec::new(),
            users: BTreeSet::new(),
            perhaps: BTreeSet::new(),
            good: Vec::new(),
            ended: Vec::new(),
            password: None,
            disabled: None,
            retired: Vec::new(),
        }
    }

    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A copy of a store of the template as the data directory.
    pub fn copy(&mut self, origin: Origin) {
        self.template.copy(origin, &self.data());
        self.users.extend(Template::names(origin));
        self.good.push(self.template.token.clone());
    }

    pub fn must(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(what());
        }
    }

    /// Runs a command with the faults of the plan. Returns whether it succeeded.
    pub fn faulty(&mut self, args: &[&str]) -> bool {
        let command = self.injector.wrap(&command(args, &self.data()), self.plan);
        let (code, out, err) = run(&command);
        if !(code == DAMAGED && is_told(&out)) {
            self.judge(code, &err, &[STOPPED, UNUSABLE, FAILED]);
        }
        code == STOPPED
    }

    /// Runs the same command without faults: it must succeed.
    pub fn works(&mut self, args: &[&str]) -> String {
        let (code, out, err) = run(&command(args, &self.data()));
        self.must(code == STOPPED, || format!("{args:?} afterwards: {code} {out} {err}"));
        out
    }

    /// Checks how a command ended.
    pub fn tries(&self, args: &[&str]) -> (i32, String) {
        let (code, out, err) = run(&command(args, &self.data()));
        (code, out + &err)
    }

    fn judge(&mut self, code: i32, text: &str, right: &[i32]) {
        if code == KILLED && self.plan.kills() {
            return;
        }
        self.must(code != DAMAGED, || format!("a whole store is called damaged: {}", last_line(text)));
        self.must(right.contains(&code) || code == DAMAGED, || {
            format!("exit code {code}: {}", last_line(text))
        });
        self.must(code == STOPPED || !complaints(text).is_empty(), || {
            format!("no word for exit code {code}")
        });
        for unwanted in UNWANTED {
            let line = text.lines().find(|line| line.contains(unwanted));
            self.must(line.is_none(), || format!("unwanted text: {}", line.unwrap_or_default()));
        }
    }

    /// Runs a server with the faults of the plan, from its start or once it is ready. `act` plays the
    /// clients.
    pub fn serve(&mut self, from_start: bool, env: &[(&str, &str)], act: impl FnOnce(&mut Self, &Process)) {
        let mut serve = command(&["serve"], &self.data());
        serve.envs(env.iter().copied());
        if !from_start {
            self.injector.wait();
        }
        let ended = match Process::spawn(&mut self.injector.wrap(&serve, self.plan)) {
            Ok(process) => {
                if !from_start {
                    self.injector.begin();
                }
                act(self, &process);
                process.terminate();
                let ended = process.wait_within(PATIENCE);
                self.judge(code(&ended), &ended.log, &[STOPPED, FAILED]);
                ended
            }
            Err(ended) => {
                self.judge(code(&ended), &ended.log, &[UNUSABLE, FAILED]);
                ended
            }
        };
        let failed = ended.log.contains("the store failed");
        self.must(!failed || code(&ended) != STOPPED, || "the store failed, and the exit code is 0".into());
    }

    /// Sends a request to a server with faults. `None` if there is no answer, or a 503.
    pub fn ask(
        &mut self,
        process: &Process,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> Option<Value> {
        let mut client = Client::connect(process.address).ok()?;
        let reply = client.try_call(method, path, token, body).ok()?;
        let refused = reply.status == 503;
        self.must(refused || reply.status < 300, || format!("{method} {path}: {}", reply.status));
        (!refused && reply.status < 300).then(|| reply.json())
    }

    pub fn log_in(&mut self, process: &Process, name: &str) -> Option<String> {
        let reply = self.ask(process, "POST", "/login", None, Some(&credentials(name, PASSWORD)))?;
        reply["access_token"].as_str().map(str::to_owned)
    }

    pub fn register(&mut self, process: &Process, name: &str) {
        let done = self.ask(process, "POST", "/register", None, Some(&credentials(name, PASSWORD)));
        let set = if done.is_some() { &mut self.users } else { &mut self.perhaps };
        set.insert(name.to_owned());
    }

    /// Starts a server without faults and checks that everything is there; stops it and checks for leftovers.
    pub fn audit(&mut self) {
        let data = self.data();
        match Process::spawn(&mut command(&["serve"], &data)) {
            Ok(process) => {
                self.audit_users(&process);
                self.audit_keys(&process);
                let client = &mut process.client();
                let late = client.post("/register", &credentials("afterwards", PASSWORD)).status;
                self.must(late == 201, || format!("a registration afterwards: {late}"));
                let ready = client.call("GET", "/readyz", None, None).status;
                self.must(ready == 200, || format!("/readyz afterwards: {ready}"));
                process.terminate();
                let ended = process.wait_within(PATIENCE);
                self.judge(code(&ended), &ended.log, &[STOPPED]);
            }
            Err(ended) => {
                self.wrong.push(format!("no start afterwards: {} {}", code(&ended), last_line(&ended.log)));
                return;
            }
        }
        self.works(&["verify"]);
        self.audit_files();
    }

    fn audit_users(&mut self, process: &Process) {
        let token = |name: &str, password: &str| {
            let reply = process.client().post("/login", &credentials(name, password));
            reply.json()["access_token"].as_str().map(str::to_owned).ok_or(reply.status)
        };
        let out = self.works(&["user", "list", "--json"]);
        let lines = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_default());
        let there: BTreeSet<_> =
            lines.map(|user| user["username"].as_str().unwrap_or_default().to_owned()).collect();
        let lost: Vec<_> = self.users.difference(&there).cloned().collect();
        self.must(lost.is_empty(), || format!("users are lost: {lost:?}"));
        let known = |name: &String| self.users.contains(name) || self.perhaps.contains(name);
        let strange: Vec<_> = there.into_iter().filter(|name| !known(name)).collect();
        self.must(strange.is_empty(), || format!("users from nowhere: {strange:?}"));
        let changed =
            [&self.password.clone().map(|(name, ..)| name), &self.disabled.clone().map(|(name, _)| name)];
        let plain = |name: &&String| {
            !name.starts_with("user ") && !changed.iter().any(|changed| changed.as_ref() == Some(*name))
        };
        let sample: Vec<_> = self.users.iter().filter(plain).rev().step_by(9).cloned().collect();
        for name in sample {
            let login = token(&name, PASSWORD).err();
            self.must(login.is_none(), || format!("{name} cannot log in: {login:?}"));
        }
        if let Some((name, new, acknowledged)) = self.password.clone() {
            let good = (token(&name, PASSWORD).is_ok(), token(&name, &new).is_ok());
            let right = match acknowledged {
                Some(true) => good == (false, true),
                Some(false) => good.0 != good.1,
                None => good == (true, false),
            };
            self.must(right, || format!("a changed password, acknowledged {acknowledged:?}: {good:?}"));
        }
        if let Some((name, acknowledged)) = self.disabled.clone() {
            let enabled = token(&name, PASSWORD).is_ok();
            let right = acknowledged != Some(enabled);
            self.must(right || acknowledged == Some(false), || {
                format!("disabled, acknowledged {acknowledged:?}")
            });
        }
        for (tokens, status) in [(self.good.clone(), 200), (self.ended.clone(), 401)] {
            for token in tokens {
                let reply = process.client().call("GET", "/user/me", Some(&token), None).status;
                self.must(reply == status, || format!("a token that must answer {status}: {reply}"));
            }
        }
    }

    fn audit_keys(&mut self, _process: &Process) {
        let Some(Ok(body)) = admin_socket::ask(&self.data(), &json!({ "list_keys": {} })) else {
            return self.wrong.push("no keys are listed".into());
        };
        let keys = body["keys"].as_array().cloned().unwrap_or_default();
        let active = |key: &&Value| key["state"] == "active";
        self.must(keys.iter().filter(active).count() == 2, || format!("active keys: {keys:?}"));
        for key in keys.iter().filter(active) {
            let back = self.retired.iter().any(|id| key["kid"] == json!(id));
            self.must(!back, || format!("a retired key is active again: {key}"));
        }
        let needed: BTreeSet<_> =
            keys.iter().filter_map(|key| key["kid"].as_str().map(str::to_owned)).collect();
        let strange: Vec<_> =
            names(&self.data().join("keys")).into_iter().filter(|name| !needed.contains(name)).collect();
        self.must(strange.is_empty(), || format!("left among the keys: {strange:?}"));
    }

    fn audit_files(&mut self) {
        let all = files(self.root, self.root);
        let left = |name: &&String| {
            [".new", ".generating", "/restoring", "store.new"].iter().any(|part| name.contains(part))
        };
        let left: Vec<_> = all.iter().filter(left).collect();
        self.must(left.is_empty(), || format!("left over: {left:?}"));
    }

    /// The ids of the active keys of a store that no server uses.
    pub fn active_keys(&mut self) -> Vec<String> {
        let out = self.works(&["key", "list", "--json"]);
        let body: Value = serde_json::from_str(&out).unwrap_or_default();
        let keys = body["keys"].as_array().cloned().unwrap_or_default();
        let active = keys.iter().filter(|key| key["state"] == "active");
        active.filter_map(|key| key["kid"].as_str().map(str::to_owned)).collect()
    }

    /// The administrator's token.
    pub fn admin(&mut self, process: &Process) -> Option<String> {
        self.log_in(process, ADMIN)
    }
}

/// Whether all problems that `verify` reports are read errors. Such a store may be whole.
pub fn is_told(out: &str) -> bool {
    let wrong: Vec<_> = out.lines().filter(|line| line.contains("  wrong  ")).collect();
    let is_read_error = |line: &&str| line.contains("(os error ") || line.contains("the disk is full");
    !wrong.is_empty() && wrong.iter().all(is_read_error)
}

fn code(ended: &Ended) -> i32 {
    ended.status.code().unwrap_or(KILLED)
}

fn run(command: &Command) -> (i32, String, String) {
    let mut patient = Command::new("timeout");
    patient.env_clear().args(["--signal=KILL", &PATIENCE.as_secs().to_string()]);
    patient.arg(command.get_program()).args(command.get_args());
    patient.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = patient.stdin(std::process::Stdio::null()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    secrets::logged(&err);
    (output.status.code().unwrap_or(124), out.into_owned(), err.into_owned())
}

/// The lines that report a problem.
fn complaints(text: &str) -> Vec<&str> {
    let complains = |line: &&str| ["gatelet: ", " ERROR ", " WARN "].iter().any(|mark| line.contains(mark));
    text.lines().filter(complains).filter(|line| !line.contains("is weaker than")).collect()
}

fn last_line(text: &str) -> String {
    complaints(text).last().copied().or(text.lines().last()).unwrap_or_default().to_owned()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The paths of all files below `dir`.
fn files(root: &Path, dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        found.push(format!("/{}", path.strip_prefix(root).unwrap().display()));
        if path.is_dir() {
            found.extend(files(root, &path));
        }
    }
    found
}

/// A directory for one trial.
pub fn root() -> tempfile::TempDir {
    temporary()
}
