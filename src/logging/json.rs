//! A log line as a JSON object: `time`, `level`, `target`, `message`, then the record's fields.
//!
//! Always one line, and nothing in it moves a cursor or turns text around: what cannot be seen is escaped.

use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use log::Record;
use log::kv::{Error, Key, Value, VisitSource, VisitValue};
use serde::Serializer as _;
use serde_json::Value as Json;
use serde_json::ser::{Formatter, Serializer};

use crate::clock::Clock;

/// The field that takes the place of the record's text.
pub(super) const MESSAGE: &str = "message";

/// The field of which there may be several: always a list.
const LIST: &str = "key";

/// The line, with its end.
pub(super) fn line(record: &Record<'_>) -> Vec<u8> {
    let now = UNIX_EPOCH + Duration::from_millis(Clock::system().reading().unix_millis());
    let mut fields = Fields::default();
    let _ = record.key_values().visit(&mut fields); // Vecs take everything
    let message = fields.message.unwrap_or_else(|| record.args().to_string().into());
    let begin = [
        ("time", humantime::format_rfc3339_millis(now).to_string().into()),
        ("level", record.level().as_str().into()),
        ("target", record.target().into()),
        (MESSAGE, message),
    ];
    let mut line = Vec::with_capacity(256);
    let begin = begin.iter().map(|(name, value)| (*name, value));
    let rest = fields.others.iter().map(|(name, value)| (name.as_str(), value));
    let _ = Serializer::with_formatter(&mut line, Visible).collect_map(begin.chain(rest));
    line.push(b'\n');
    line
}

/// The fields of a record.
#[derive(Default)]
struct Fields {
    message: Option<Json>,
    others: Vec<(String, Json)>,
}

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, name: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let mut json = Plain(Json::Null);
        value.visit(&mut json)?;
        let (name, value) = (name.as_str(), json.0);
        match self.others.last_mut() {
            _ if name == MESSAGE => self.message = Some(value),
            Some((last, Json::Array(list))) if last == LIST && name == LIST => list.push(value),
            _ if name == LIST => self.others.push((name.into(), vec![value].into())),
            _ => self.others.push((name.into(), value)),
        }
        Ok(())
    }
}

/// A field's value: a number, true or false, nothing, or a text.
struct Plain(Json);

impl VisitValue<'_> for &mut Plain {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), Error> {
        self.0 = value.to_string().into();
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), Error> {
        self.0 = Json::Null;
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_str(&mut self, value: &str) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }
}

/// Escapes, besides what JSON demands, whatever the text format escapes: control characters beyond ASCII, line and
/// paragraph separators, marks that turn the direction of writing, combining marks.
struct Visible;

impl Formatter for Visible {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        for letter in fragment.chars() {
            let visible = letter.escape_debug().len() == 1;
            let mut units = [0; 2];
            for unit in letter.encode_utf16(&mut units).iter().filter(|_| !visible) {
                write!(out, "\\u{unit:04x}")?;
            }
            if visible {
                write!(out, "{letter}")?;
            }
        }
        Ok(())
    }
}
