//! A log line as a JSON object: `time`, `level`, `target`, `message`, then the record's fields.
//!
//! Always one line. Invisible characters are escaped, so that none moves a cursor or reverses text.

use log::Record;
use log::kv::{Error, Key, Value, VisitSource, VisitValue};
use serde::Serializer as _;
use serde_json::Value as Json;
use serde_json::ser::Serializer;

use super::{chosen, cut, now};
use crate::visible;

/// The field that replaces the record's text.
pub(super) const MESSAGE: &str = "message";

/// The field that may occur several times: always a list.
const LIST: &str = "key";

/// Appends the line, with its line end.
pub(super) fn write(line: &mut String, record: &Record<'_>) {
    let mut fields = Fields::default();
    let _ = record.key_values().visit(&mut fields); // Vecs take everything
    let message = fields.message.unwrap_or_else(|| record.args().to_string().into());
    let message = match message {
        Json::String(mut text) => {
            cut(&mut text);
            Json::String(text)
        }
        other => other,
    };
    let begin = [
        ("time", now().to_string().into()),
        ("level", record.level().as_str().into()),
        ("target", record.target().into()),
        (MESSAGE, message),
    ];
    let mut json = Vec::with_capacity(256);
    let begin = begin.iter().map(|(name, value)| (*name, value));
    let rest = fields.others.iter().map(|(name, value)| (name.as_str(), value));
    let _ = Serializer::new(&mut json).collect_map(begin.chain(rest)); // Vecs take everything
    let json = String::from_utf8_lossy(&json); // which JSON is
    line.push_str(&visible::json(&json));
    line.push('\n');
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

/// A field's value as JSON.
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

    /// Texts that users have chosen are `str` values.
    fn visit_str(&mut self, value: &str) -> Result<(), Error> {
        self.0 = chosen(value).into();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(record: &Record<'_>) -> String {
        let mut line = String::new();
        write(&mut line, record);
        line
    }

    #[test]
    fn what_is_too_long_is_cut_and_the_line_stays_an_object() {
        let long = "\u{1b}".repeat(1 << 20);
        let fields = [("method", Value::from(long.as_str()))];
        let line = line(&Record::builder().args(format_args!("{long}")).key_values(&fields).build());
        let json: Json = serde_json::from_str(&line).unwrap();
        assert_eq!(json["method"].as_str().unwrap().chars().count(), 129);
        assert!(json["message"].as_str().unwrap().ends_with('\u{2026}'));
        assert!(line.len() < 64 << 10, "{}", line.len());
    }

    #[test]
    fn a_line_is_one_line_of_what_can_be_seen_and_reads_as_it_was() {
        let text = "it's \"quoted\" \\ \r\n\t\u{7f}\u{85}\u{9b}31m \u{202e}\u{2028}\u{feff}\u{e0001} Zo\u{eb} e\u{301} \u{1f600}";
        let line = line(&Record::builder().args(format_args!("{text}")).target("gatelet").build());
        let (line, rest) = line.split_once('\n').unwrap();
        assert_eq!(rest, "");
        let harmful = |c: char| c.is_control() || "\u{202e}\u{2028}\u{feff}\u{e0001}".contains(c);
        assert!(!line.contains(harmful), "{line:?}");
        assert!(line.contains("it's") && line.contains("Zo\u{eb}") && line.contains('\u{1f600}'), "{line}");
        assert_eq!(serde_json::from_str::<Json>(line).unwrap()["message"], text);
    }

    #[test]
    fn fields_keep_their_types_and_order_and_a_message_takes_the_place_of_the_text() {
        let fields = [
            ("message", Value::from("said")),
            ("number", 7_u64.into()),
            ("yes", true.into()),
            ("nothing", Value::null()),
            ("key", Value::from("one")),
        ];
        let line = |fields: &[(&str, Value<'_>)]| {
            let line = line(&Record::builder().args(format_args!("text")).key_values(&fields).build());
            line.split_once("\"message\":").unwrap().1.to_owned()
        };
        assert_eq!(line(&fields), "\"said\",\"number\":7,\"yes\":true,\"nothing\":null,\"key\":[\"one\"]}\n");
        let two = [("key", Value::from("one")), ("key", Value::from("two")), ("by", Value::from("me"))];
        assert_eq!(line(&two), "\"text\",\"key\":[\"one\",\"two\"],\"by\":\"me\"}\n");
    }
}
