//! Users in files, one a line: CSV and JSON lines.
//!
//! What is read here was written by anybody. What is wrong with one line is said with its number and keeps nobody else out,
//! and none can make us hold more than [`LINE_MAX`] of it. In CSV a quoted field may go on in the next line: whoever has
//! such a name must not write a line for somebody else. The library reads one record at a time; where records begin is found
//! here, because it does not count lines that end in CR LF.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufRead, Chain, Cursor, Read};
use std::path::Path;

use clap::ValueEnum;
use serde::Deserialize;
use serde_json::Value;

use crate::password::{HashError, PasswordHash};
use crate::service::Newcomer;
use crate::user::{Role, UsernameError};

/// The most bytes of one line: many times the longest name and the longest hash.
const LINE_MAX: u64 = 64 * 1024;

/// The columns, and what else the password's hash may be called. Those without a header are the first two.
pub(crate) const COLUMNS: [&str; 4] = ["username", "password_hash", "role", "disabled"];
const PASSWORD: &str = "password";

/// The mark that some systems put before UTF-8.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// How users are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Comma-separated values (RFC 4180), with or without a line of column names
    Csv,
    /// One JSON object a line
    Jsonl,
}

impl Format {
    /// As the name of a file says.
    pub(crate) fn of_file(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "csv" => Some(Self::Csv),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            _ => None,
        }
    }
}

/// What is wrong with one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    TooLong,
    NotUtf8,
    Quotes,
    Columns { expected: usize, found: usize },
    NotJson,
    Name(UsernameError),
    Hash(HashError),
    Role,
    Disabled,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "longer than {} KiB", LINE_MAX >> 10),
            Self::NotUtf8 => f.write_str("not UTF-8"),
            Self::Quotes => f.write_str("the quotes are not those of CSV"),
            Self::Columns { expected, found } => write!(f, "{expected} columns are expected, {found} found"),
            Self::NotJson => f.write_str("not a JSON object with the texts username and password_hash"),
            Self::Name(error) => write!(f, "the name {}", error.reason()),
            Self::Hash(error) => error.fmt(f),
            Self::Role => f.write_str("role: neither user nor admin"),
            Self::Disabled => f.write_str("disabled: neither true nor false"),
        }
    }
}

/// Nothing that follows can be made sense of.
#[derive(Debug)]
pub(crate) enum Unreadable {
    Io(io::Error),
    Utf16,
    /// Where the quote is.
    OpenQuote(u64),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Utf16 => f.write_str("the input is UTF-16; it must be UTF-8"),
            Self::OpenQuote(line) => write!(f, "line {line}: a quote is opened that nothing closes"),
        }
    }
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A user, or what is wrong, and the number of the line where that begins.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) line: u64,
    pub(crate) user: Result<Newcomer, Problem>,
}

/// A record that has been read, and the number of its first line.
struct Record {
    line: u64,
    whole: Result<(), Problem>,
}

/// The rows of a file.
pub(crate) struct Rows<R> {
    input: Chain<Cursor<Vec<u8>>, R>,
    format: Format,
    line: u64,
    columns: Option<Columns>,
    bytes: Vec<u8>,
}

impl<R: BufRead> Rows<R> {
    /// Begins to read. The first character tells the format where it is not given.
    pub(crate) fn read(mut input: R, format: Option<Format>) -> Result<Self, Unreadable> {
        let mut head = Vec::new();
        (&mut input).take(4).read_to_end(&mut head)?;
        if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
            return Err(Unreadable::Utf16);
        }
        if head.starts_with(BOM) {
            head.drain(..BOM.len());
        }
        let guess = if head.first() == Some(&b'{') { Format::Jsonl } else { Format::Csv };
        Ok(Self {
            input: Cursor::new(head).chain(input),
            format: format.unwrap_or(guess),
            line: 0,
            columns: None,
            bytes: Vec::new(),
        })
    }

    /// The columns of the header that are not ours.
    pub(crate) fn ignored(&self) -> &[String] {
        self.columns.as_ref().map_or(&[], |columns| &columns.ignored)
    }

    /// Reads one record into `self.bytes`, without its end: a line, or several where a quoted field goes on. Nothing at the
    /// end of the input.
    fn record(&mut self) -> Result<Option<Record>, Unreadable> {
        self.bytes.clear();
        let begin = self.line + 1;
        let mut quoted = false;
        loop {
            let done = self.bytes.len();
            let room = LINE_MAX - done as u64;
            (&mut self.input).take(room).read_until(b'\n', &mut self.bytes)?;
            let part = &self.bytes[done..];
            let ended = part.ends_with(b"\n");
            self.line += u64::from(ended || !part.is_empty());
            if self.format == Format::Csv {
                quoted ^= part.iter().filter(|&&byte| byte == b'"').count() % 2 == 1;
            }
            let full = self.bytes.len() as u64 == LINE_MAX;
            match (ended, quoted) {
                (true, true) if !full => {} // the field goes on in the next line
                (_, true) => return Err(Unreadable::OpenQuote(begin)),
                (false, false) if full => {
                    self.skip_line()?;
                    return Ok(Some(Record { line: begin, whole: Err(Problem::TooLong) }));
                }
                (false, false) if self.bytes.is_empty() => return Ok(None),
                (_, false) => break,
            }
        }
        for end in [b'\n', b'\r'] {
            if self.bytes.last() == Some(&end) {
                self.bytes.pop();
            }
        }
        Ok(Some(Record { line: begin, whole: Ok(()) }))
    }

    /// Goes on behind the end of this line.
    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let buffer = self.input.fill_buf()?;
            let (skipped, found) = match buffer.iter().position(|&byte| byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (buffer.len(), buffer.is_empty()),
            };
            self.input.consume(skipped);
            if found {
                return Ok(());
            }
        }
    }

    /// The user of the record in `self.bytes`. `None`: it is a header.
    fn user(&mut self) -> Option<Result<Newcomer, Problem>> {
        let Ok(text) = std::str::from_utf8(&self.bytes) else {
            return Some(Err(Problem::NotUtf8));
        };
        if self.format == Format::Jsonl {
            return Some(json_user(text));
        }
        let fields = match csv_fields(text) {
            Ok(fields) => fields,
            Err(problem) => return Some(Err(problem)),
        };
        if let Some(columns) = &self.columns {
            return Some(columns.user(&fields));
        }
        let header = Columns::of_header(&fields);
        let user = if header.is_some() { None } else { Some(Columns::default().user(&fields)) };
        self.columns = Some(header.unwrap_or_default());
        user
    }
}

impl<R: BufRead> Iterator for Rows<R> {
    type Item = Result<Row, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Record { line, whole } = match self.record() {
                Ok(Some(record)) => record,
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            };
            if self.bytes.trim_ascii().is_empty() {
                continue;
            }
            let user = match whole {
                Ok(()) => self.user(),
                Err(problem) => Some(Err(problem)),
            };
            if let Some(user) = user {
                return Some(Ok(Row { line, user }));
            }
        }
    }
}

/// Where in a line of CSV each thing stands.
#[derive(Debug)]
struct Columns {
    count: usize,
    username: usize,
    password_hash: usize,
    role: Option<usize>,
    disabled: Option<usize>,
    ignored: Vec<String>,
}

/// Without a header.
impl Default for Columns {
    fn default() -> Self {
        Self { count: 2, username: 0, password_hash: 1, role: None, disabled: None, ignored: Vec::new() }
    }
}

impl Columns {
    /// The columns that a header names, if it is one: no hash reads `password_hash`.
    fn of_header(fields: &[String]) -> Option<Self> {
        let find = |name: &str| fields.iter().position(|field| field.trim().eq_ignore_ascii_case(name));
        let [username, password_hash, role, disabled] = COLUMNS.map(find);
        let (username, password_hash) = (username?, password_hash.or_else(|| find(PASSWORD))?);
        let known = [Some(username), Some(password_hash), role, disabled];
        let ignored = fields.iter().enumerate().filter(|(at, _)| !known.contains(&Some(*at)));
        let ignored = ignored.map(|(_, name)| name.clone()).collect();
        Some(Self { count: fields.len(), username, password_hash, role, disabled, ignored })
    }

    fn user(&self, fields: &[String]) -> Result<Newcomer, Problem> {
        if fields.len() != self.count {
            return Err(Problem::Columns { expected: self.count, found: fields.len() });
        }
        let field = |at: Option<usize>| at.and_then(|at| fields.get(at)).map_or("", String::as_str);
        newcomer(
            field(Some(self.username)),
            field(Some(self.password_hash)),
            field(self.role),
            field(self.disabled),
        )
    }
}

/// The fields of one record of CSV.
fn csv_fields(text: &str) -> Result<Vec<String>, Problem> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut records = reader.records();
    match (records.next(), records.next()) {
        (Some(Ok(record)), None) => Ok(record.iter().map(str::to_owned).collect()),
        // Quotes in places where they are none: where the record ends is anybody's guess.
        _ => Err(Problem::Quotes),
    }
}

/// A user as JSON; what else there is is nobody's business here.
#[derive(Deserialize)]
struct JsonUser<'a> {
    #[serde(borrow)]
    username: Cow<'a, str>,
    #[serde(borrow, alias = "password")]
    password_hash: Cow<'a, str>,
    #[serde(borrow)]
    role: Option<Cow<'a, str>>,
    disabled: Option<Value>,
}

fn json_user(text: &str) -> Result<Newcomer, Problem> {
    if !text.trim_ascii_start().starts_with('{') {
        return Err(Problem::NotJson); // a list would be read by position
    }
    let user: JsonUser<'_> = serde_json::from_str(text).map_err(|_| Problem::NotJson)?;
    let disabled = match user.disabled {
        None | Some(Value::Null) => Cow::Borrowed(""),
        Some(Value::String(text)) => text.into(),
        Some(other) => other.to_string().into(),
    };
    newcomer(&user.username, &user.password_hash, user.role.as_deref().unwrap_or_default(), &disabled)
}

/// Where the role or whether they are disabled is not said, it is a user who may log in.
fn newcomer(username: &str, password_hash: &str, role: &str, disabled: &str) -> Result<Newcomer, Problem> {
    Ok(Newcomer {
        name: username.parse().map_err(Problem::Name)?,
        hash: PasswordHash::import(password_hash.to_owned()).map_err(Problem::Hash)?,
        role: match role {
            "" => Role::User,
            role => role.parse().map_err(|_| Problem::Role)?,
        },
        disabled: match disabled {
            "" | "0" | "false" => false,
            "1" | "true" => true,
            _ => return Err(Problem::Disabled),
        },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: &str = "$pbkdf2-sha256$1$Zeydcy7lnLMWgjCGECLkfA$3KdTRR2NGqbYJnQQ.oEBtFLG5JAT8r1k5AWFCbUhN5o";

    /// Each line's number, and the name that it adds or its problem.
    fn read(text: impl AsRef<[u8]>) -> Vec<(u64, Result<String, Problem>)> {
        let text = text.as_ref().to_vec();
        // In pieces, as from a pipe.
        let input = io::BufReader::with_capacity(7, Cursor::new(text));
        let rows = Rows::read(input, None).unwrap().map(Result::unwrap);
        rows.map(|row| (row.line, row.user.map(|user| user.name.as_str().to_owned()))).collect()
    }

    fn user(text: &str) -> Newcomer {
        let mut rows = Rows::read(text.as_bytes(), None).unwrap();
        let user = rows.next().unwrap().unwrap().user.unwrap();
        assert!(rows.next().is_none());
        user
    }

    fn ok(line: u64, name: &str) -> (u64, Result<String, Problem>) {
        (line, Ok(name.to_owned()))
    }

    #[test]
    fn lines_are_counted_as_an_editor_does_whatever_they_end_in() {
        for end in ["\n", "\r\n"] {
            let lines =
                [&format!("anna,{HASH}"), "", "", &format!("\"bert\",\"{HASH}\""), &format!("carla,{HASH}")];
            for last in ["", end] {
                for bom in ["", "\u{feff}"] {
                    let read = read(format!("{bom}{}{last}", lines.join(end)));
                    assert_eq!(
                        read,
                        [ok(1, "anna"), ok(4, "bert"), ok(5, "carla")],
                        "{end:?} {last:?} {bom:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_header_says_where_things_stand_and_may_be_missing() {
        let anna = Newcomer {
            name: "anna".parse().unwrap(),
            hash: PasswordHash::import(HASH.into()).unwrap(),
            role: Role::User,
            disabled: false,
        };
        let other = Newcomer { role: Role::Admin, disabled: true, ..anna.clone() };
        for (text, expected) in [
            (format!("anna,{HASH}"), &anna),
            (format!("username,password\nanna,{HASH}"), &anna),
            (format!("\u{feff}id,Password_Hash,UserName,mail\n7,{HASH},anna,a@b"), &anna),
            (format!("username,password_hash,role,disabled\nanna,{HASH},,"), &anna),
            (format!("username,password_hash,role,disabled\nanna,{HASH},user,0"), &anna),
            (format!("disabled,role,username,password_hash\ntrue,admin,anna,{HASH}"), &other),
            (format!("{{\"username\":\"anna\",\"password\":\"{HASH}\"}}"), &anna),
            (
                format!(
                    "{{\"username\":\"\\u0061nna\",\"password_hash\":\"{HASH}\",\"id\":7,\"role\":null}}"
                ),
                &anna,
            ),
            (
                format!(
                    "{{\"username\":\"anna\",\"password_hash\":\"{HASH}\",\"role\":\"admin\",\"disabled\":true}}"
                ),
                &other,
            ),
            (
                format!(
                    "{{\"username\":\"anna\",\"password_hash\":\"{HASH}\",\"role\":\"admin\",\"disabled\":1}}"
                ),
                &other,
            ),
        ] {
            assert_eq!(user(&text), *expected, "{text}");
        }
        let mut rows = Rows::read(&b"id,username,password,mail\n"[..], None).unwrap();
        assert!(rows.next().is_none());
        assert_eq!(rows.ignored(), ["id", "mail"]);
    }

    #[test]
    fn what_is_wrong_is_said_by_line_and_keeps_nobody_else_out() {
        let hash = |error| Problem::Hash(error);
        for (line, problem) in [
            ("x".to_owned(), Problem::Columns { expected: 2, found: 1 }),
            (format!("x,{HASH},admin"), Problem::Columns { expected: 2, found: 3 }),
            (format!(",{HASH}"), Problem::Name(UsernameError::Empty)),
            (format!("{},{HASH}", "x".repeat(129)), Problem::Name(UsernameError::TooLong)),
            (format!("a\0b,{HASH}"), Problem::Name(UsernameError::ControlCharacter)),
            (format!("x,{HASH}\0"), hash(HashError::Malformed)),
            ("x,correct horse".to_owned(), hash(HashError::NotAHash)),
            ("x,$1$salt$hash".to_owned(), hash(HashError::UnknownAlgorithm)),
            (format!("x,{}", &HASH[..60]), hash(HashError::Malformed)),
            (format!("x\"y\nz\",{HASH}"), Problem::Quotes),
            (format!("{},{HASH}", "x".repeat(70_000)), Problem::TooLong),
            (format!("x,{}", "$".repeat(70_000)), Problem::TooLong),
        ] {
            let lines = line.lines().count() as u64;
            let read = read(format!("anna,{HASH}\n{line}\nbert,{HASH}\n"));
            assert_eq!(read, [ok(1, "anna"), (2, Err(problem)), ok(2 + lines, "bert")], "{line:.99}");
        }
        let read_bytes =
            read([b"anna,".as_slice(), HASH.as_bytes(), b"\nb\xff,", HASH.as_bytes(), b"\n"].concat());
        assert_eq!(read_bytes, [ok(1, "anna"), (2, Err(Problem::NotUtf8))]);
    }

    #[test]
    fn what_is_wrong_with_json_is_said_by_line() {
        let good = format!("{{\"username\":\"anna\",\"password_hash\":\"{HASH}\"}}");
        let with = |fields: &str| good.replace('}', &format!(",{fields}}}"));
        for (line, problem) in [
            ("{".to_owned(), Problem::NotJson),
            (format!("[\"x\",\"{HASH}\"]"), Problem::NotJson),
            (format!("{good},"), Problem::NotJson),
            (format!("{good}{good}"), Problem::NotJson),
            (with("\"username\":\"bert\""), Problem::NotJson),
            ("{\"username\":\"x\"}".to_owned(), Problem::NotJson),
            (format!("{{\"username\":7,\"password_hash\":\"{HASH}\"}}"), Problem::NotJson),
            (
                format!("{{\"username\":\"a\\u0000\",\"password_hash\":\"{HASH}\"}}"),
                Problem::Name(UsernameError::ControlCharacter),
            ),
            (with("\"role\":\"root\""), Problem::Role),
            (with("\"disabled\":2"), Problem::Disabled),
            (with("\"disabled\":[]"), Problem::Disabled),
            (with(&format!("\"x\":\"{}\"", "x".repeat(70_000))), Problem::TooLong),
        ] {
            assert_eq!(
                read(format!("{good}\n{line}\n\n{good}")),
                [ok(1, "anna"), (2, Err(problem)), ok(4, "anna")],
                "{line:.99}"
            );
        }
    }

    #[test]
    fn a_name_of_several_lines_writes_no_line_for_somebody_else() {
        let text = format!("\"x\nroot,{HASH}\n\",{HASH}\nanna,{HASH}\n");
        let problem = Problem::Name(UsernameError::ControlCharacter);
        assert_eq!(read(text), [(1, Err(problem)), ok(4, "anna")]);
    }

    #[test]
    fn a_quote_that_nothing_closes_ends_the_import_where_it_is() {
        for rest in ["", &format!("anna,{HASH}\n").repeat(3), &format!("anna,{HASH}\n").repeat(3000)] {
            let text = format!("anna,{HASH}\n\n\"bert,{HASH}\n{rest}");
            let mut rows = Rows::read(text.as_bytes(), None).unwrap();
            assert_eq!(rows.next().unwrap().unwrap().line, 1);
            assert!(matches!(rows.next(), Some(Err(Unreadable::OpenQuote(3)))), "{} bytes", rest.len());
        }
    }

    #[test]
    fn utf_16_is_recognised() {
        for bom in [b"\xff\xfe", b"\xfe\xff"] {
            assert!(matches!(Rows::read(&bom[..], None), Err(Unreadable::Utf16)));
        }
    }

    proptest! {
        #[test]
        fn no_input_is_too_much_for_the_reader(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"\",\n\r{}[]$\0:u"[..])], 0..400),
            format in prop::option::of(prop::sample::select(&[Format::Csv, Format::Jsonl][..])),
        ) {
            let Ok(rows) = Rows::read(&bytes[..], format) else { return Ok(()) };
            let mut last = 0;
            for row in rows {
                let Ok(Row { line, .. }) = row else { break };
                prop_assert!(line > last && line <= bytes.iter().filter(|&&byte| byte == b'\n').count() as u64 + 1);
                last = line;
            }
        }

        /// What any good writer of CSV makes is read as it was meant, or refused: no line becomes another's.
        #[test]
        fn what_is_written_is_read_or_refused_line_by_line(
            names in prop::collection::vec("[\"\n\r, a\u{eb}]{0,6}", 1..20), crlf: bool,
        ) {
            let ends = if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
            let mut writer = csv::WriterBuilder::new().terminator(ends).from_writer(Vec::new());
            for name in &names {
                writer.write_record([name, HASH]).unwrap();
            }
            let read: Vec<_> = read(writer.into_inner().unwrap()).into_iter().map(|(_, user)| user.ok()).collect();
            let is_name = |name: &String| !name.is_empty() && !name.contains(['\n', '\r']);
            let expected: Vec<_> = names.iter().map(|name| Some(name.clone()).filter(is_name)).collect();
            prop_assert_eq!(read, expected);
        }
    }
}
