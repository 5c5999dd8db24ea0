//! Failing calls on files: builds and runs `inject.c`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::sync::OnceLock;

/// The injector, built once with the C compiler that Rust links with.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("inject");
        let new = program.with_added_extension(std::process::id().to_string());
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/durability/faults/inject.c");
        let built = Command::new("cc").args(["-O2", "-o"]).args([&new, &source]).status().unwrap();
        assert!(built.success(), "cc {}: {built}", source.display());
        fs::rename(&new, &program).unwrap(); // other test processes may be running the previous one
        program
    })
}

/// The result of a call that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Eio,
    Enospc,
    Kill,
    /// Half of the bytes are read or written.
    Short,
    None,
}

const CLASSES: [&str; 7] = ["any", "read", "write", "sync", "open", "name", "look"];

const FAULTS: [(Fault, &str); 5] = [
    (Fault::Eio, "EIO"),
    (Fault::Enospc, "ENOSPC"),
    (Fault::Kill, "KILL"),
    (Fault::Short, "SHORT"),
    (Fault::None, "NONE"),
];

/// A call that fails, numbered from the beginning or from the previous fault; optionally all later ones too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The class of calls that count: see `inject.c`.
    pub class: &'static str,
    pub number: usize,
    pub fault: Fault,
    pub on: bool,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, fault) = FAULTS.iter().find(|(fault, _)| *fault == self.fault).unwrap();
        write!(f, "{}:{}:{fault}{}", self.class, self.number, if self.on { ":on" } else { "" })
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<_> = text.split(':').collect();
        let class = CLASSES.into_iter().find(|class| parts.first() == Some(class));
        let fault = parts.get(2).and_then(|name| FAULTS.iter().find(|(_, fault)| fault == name));
        match (class, parts.get(1).and_then(|number| number.parse().ok()), fault) {
            (Some(class), Some(number), Some(&(fault, _))) => {
                Ok(Self { class, number, fault, on: parts.len() > 3 })
            }
            _ => Err(format!("no rule: {text}")),
        }
    }
}

/// One or two faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan(pub Vec<Rule>);

impl Plan {
    pub fn none() -> Self {
        Self::one(Rule { class: "any", number: 1, fault: Fault::None, on: true })
    }

    pub fn one(rule: Rule) -> Self {
        Self(vec![rule])
    }

    pub fn kills(&self) -> bool {
        self.0.iter().any(|rule| rule.fault == Fault::Kill)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
    }
}

impl FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

/// A call on a file.
#[derive(Clone, Debug)]
pub struct Call {
    pub class: String,
    pub text: String,
    pub hit: bool,
}

/// Makes a program's calls on files below `root` fail as planned.
pub struct Injector<'a> {
    /// Prefix of the files' paths.
    pub root: &'a Path,
    pub log: PathBuf,
}

impl Injector<'_> {
    /// `command` under the injector.
    pub fn wrap(&self, command: &Command, plan: &Plan) -> Command {
        let mut wrapped = Command::new(program());
        wrapped.env_clear().arg(&self.log).arg(self.root).arg(plan.to_string()).arg("--");
        wrapped.arg(command.get_program()).args(command.get_args());
        wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        wrapped
    }

    fn hold(&self) -> PathBuf {
        self.log.with_added_extension("hold")
    }

    /// Suspends counting until [`Injector::begin`].
    pub fn wait(&self) {
        fs::write(self.hold(), "").unwrap();
    }

    /// Starts counting.
    pub fn begin(&self) {
        fs::remove_file(self.hold()).unwrap();
    }

    /// The calls that counted, in order.
    pub fn calls(&self) -> Vec<Call> {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let root = self.root.to_str().unwrap();
        log.lines()
            .map(|line| {
                let (line, hit) = line.strip_suffix(" !").map_or((line, false), |line| (line, true));
                let class = line.split(' ').next().unwrap_or_default().to_owned();
                Call { class, text: line.replace(root, "").trim_end().to_owned(), hit }
            })
            .collect()
    }
}
