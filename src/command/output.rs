//! What commands print: data on standard output, everything else on standard error.

use std::fmt;
use std::io::Write;

use anstyle::Style;
use clap::Args;
use serde::Serialize;
use unicode_width::UnicodeWidthStr;

/// How a command prints its data.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct OutputArgs {
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

impl OutputArgs {
    /// Prints `data` as JSON, or what `text` makes of it for people.
    pub(crate) fn print<T: Serialize, D: fmt::Display>(self, data: &T, text: impl FnOnce(&T) -> D) {
        if !self.json {
            print(text(data));
        } else if let Ok(json) = serde_json::to_string_pretty(data) {
            print(json);
        }
    }
}

/// Writes a line to standard output, without its colours unless that is a terminal. Whoever has closed it does not want
/// to know.
pub(crate) fn print(text: impl fmt::Display) {
    let mut out = anstream::stdout();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Writes a line to standard error.
pub(crate) fn say(text: impl fmt::Display) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// A table with aligned columns.
pub(crate) struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new<const N: usize>(header: [&'static str; N]) -> Self {
        Self { header: header.into(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<_> = (self.header.iter().enumerate())
            .map(|(column, title)| {
                let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width());
                cells.chain([title.width()]).max().unwrap_or_default()
            })
            .collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let padded = cells.zip(&widths).map(|(cell, width)| {
                let padding = width.saturating_sub(cell.width());
                format!("{cell}{:padding$}", "")
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let bold = Style::new().bold();
        write!(f, "{bold}{}{bold:#}", line(&mut self.header.iter().copied()))?;
        for row in &self.rows {
            write!(f, "\n{}", line(&mut row.iter().map(String::as_str)))?;
        }
        Ok(())
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
        let plain = anstream::adapter::strip_str(&table.to_string()).to_string();
        assert_eq!(plain, "NAME      ROLE\nanna      user\n山田太郎  admin");
    }
}
