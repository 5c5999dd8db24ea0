//! What commands print: data on standard output, everything else on standard error.

use std::fmt;
use std::io::Write;
use std::path::Path;

use anstyle::Style;
use clap::Args;
use indicatif::HumanCount;
use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use super::CommandError;
use crate::visible;
pub(crate) use crate::visible::cell;

/// How a command prints its data.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct OutputArgs {
    /// Print JSON, for scripts
    #[arg(long)]
    pub(crate) json: bool,
}

impl OutputArgs {
    /// Prints `data` as JSON, or what `text` makes of it for people.
    ///
    /// # Errors
    /// [`CommandError::Output`].
    pub(crate) fn print<T: Serialize, D: fmt::Display>(
        self,
        data: &T,
        text: impl FnOnce(&T) -> D,
    ) -> Result<(), CommandError> {
        if self.json { print(pretty(data)?) } else { print(text(data)) }
    }
}

/// JSON over several lines.
///
/// # Errors
/// [`CommandError::System`], where `data` cannot be JSON.
pub(crate) fn pretty(data: &impl Serialize) -> Result<String, CommandError> {
    Ok(visible::json(&serde_json::to_string_pretty(data)?).into_owned())
}

/// Writes a line to standard output, without its colours unless that is a terminal.
///
/// # Errors
/// [`CommandError::Output`].
pub(crate) fn print(text: impl fmt::Display) -> Result<(), CommandError> {
    let mut out = anstream::stdout();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(CommandError::Output)
}

/// Writes a line to standard error.
pub(crate) fn say(text: impl fmt::Display) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// Refuses a path to a device, a link or a directory: a file would replace it.
///
/// # Errors
/// [`CommandError::Input`].
pub(crate) fn demand_file(path: &Path) -> Result<(), CommandError> {
    if path.symlink_metadata().is_ok_and(|there| !there.is_file()) {
        return Err(CommandError::Input(format!("{} is no file; - is standard output", path_cell(path))));
    }
    Ok(())
}

/// A number of users, in words.
pub(crate) fn users(count: u64) -> String {
    if count == 1 { "1 user".to_owned() } else { format!("{} users", HumanCount(count)) }
}

/// A file's name: [`cell`].
pub(crate) fn path_cell(path: &Path) -> String {
    cell(&path.to_string_lossy())
}

/// A table with aligned columns.
pub(crate) struct Table {
    header: Vec<&'static str>,
    rows: Vec<(Style, Vec<String>)>,
    widths: Vec<usize>,
    is_continued: bool,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new<const N: usize>(header: [&'static str; N]) -> Self {
        let widths = header.iter().map(|title| title.width()).collect();
        Self { header: header.into(), rows: Vec::new(), widths, is_continued: false }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.styled_row(Style::new(), cells);
    }

    /// Adds a row in a style.
    pub(crate) fn styled_row<const N: usize>(&mut self, style: Style, cells: [String; N]) {
        for (width, cell) in self.widths.iter_mut().zip(&cells) {
            *width = cell.width().max(*width);
        }
        self.rows.push((style, cells.into()));
    }

    /// The rows so far, for a table too long for memory. Later parts have no header, and columns at least as wide.
    pub(crate) fn part(&mut self) -> String {
        let part = self.to_string();
        self.rows.clear();
        self.is_continued = true;
        part
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |style: Style, cells: &mut dyn Iterator<Item = &str>| {
            let padded = cells.zip(&self.widths).map(|(cell, width)| {
                let padding = width.saturating_sub(cell.width());
                format!("{cell}{:padding$}", "")
            });
            let text = padded.collect::<Vec<_>>().join("  ");
            format!("{style}{}{style:#}", text.trim_end())
        };
        let mut lines = Vec::new();
        if !self.is_continued {
            lines.push(line(Style::new().bold(), &mut self.header.iter().copied()));
        }
        for (style, row) in &self.rows {
            lines.push(line(*style, &mut row.iter().map(String::as_str)));
        }
        f.write_str(&lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_on_a_terminal() {
        let mut table = Table::new(["NAME", "ROLE"]);
        table.row(["anna".into(), "user".into()]);
        table.row(["山田太郎".into(), "admin".into()]);
        let plain = |text: &str| anstream::adapter::strip_str(text).to_string();
        assert_eq!(plain(&table.part()), "NAME      ROLE\nanna      user\n山田太郎  admin");
        table.styled_row(Style::new().dimmed(), ["bert".into(), "user".into()]);
        assert_eq!(plain(&table.part()), "bert      user");
    }

    #[test]
    fn names_that_could_fool_the_eye_are_quoted_and_escaped_and_others_are_not() {
        for plain in ["anna", "Zo\u{eb} M\u{fc}ller", "o'neill", "山田太郎", "ไก่", "नमस्ते", "e\u{301}", "👩"]
        {
            assert_eq!(cell(plain), plain);
        }
        for (name, shown) in [
            ("ann\u{202e}a", r#""ann\u{202e}a""#),
            ("ann\u{200b}a", r#""ann\u{200b}a""#),
            ("anna\u{fe0f}", r#""anna\u{fe0f}""#),
            ("anna\u{3164}", r#""anna\u{3164}""#),
            ("anna\u{a0}", r#""anna\u{a0}""#),
            ("anna\u{e0061}", r#""anna\u{e0061}""#),
            ("\u{301}anna", r#""\u{301}anna""#),
            ("anna\u{1b}[31m", r#""anna\u{1b}[31m""#),
            ("anna ", r#""anna ""#),
            ("anna  admin", r#""anna  admin""#),
            ("\"anna\"", r#""\"anna\"""#),
            ("a\\b", r#""a\\b""#),
            ("it's \u{200d}me", r#""it's \u{200d}me""#),
            ("\\'", r#""\\'""#),
        ] {
            assert_eq!(cell(name), shown);
        }
    }
}
