//! Tables for people: columns as wide as their widest cell.

use std::io::{self, Write};

use crate::names::printable;

/// Writes `rows` without a head.
pub(super) fn write_rows(out: &mut dyn Write, rows: &[Vec<String>]) -> io::Result<()> {
    let width = rows
        .iter()
        .filter_map(|row| row.first())
        .map(|cell| cell.chars().count());
    let width = width.max().unwrap_or(0);
    rows.iter().try_for_each(|row| {
        let (name, rest) = row
            .split_first()
            .map_or(("", &[][..]), |(name, rest)| (name.as_str(), rest));
        let rest = rest
            .iter()
            .map(|cell| printable(cell))
            .collect::<Vec<_>>()
            .join("  ");
        writeln!(out, "  {:<width$}  {rest}", printable(name))
    })
}

/// Writes `rows` below `head`; numbers are flushed right.
pub(super) fn write(out: &mut dyn Write, head: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let rows: Vec<Vec<_>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| printable(cell)).collect())
        .collect();
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells
            .chain([head[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let is_number = |column: usize| {
        let mut cells = rows.iter().filter_map(|row| row.get(column)).peekable();
        cells.peek().is_some()
            && cells.all(|cell| !cell.is_empty() && cell.bytes().all(|b| b.is_ascii_digit()))
    };
    let right: Vec<_> = (0..head.len()).map(is_number).collect();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (column, cell) in cells.take(widths.len()).enumerate() {
            let width = widths[column];
            text += &if right[column] {
                format!("  {cell:>width$}")
            } else {
                format!("  {cell:<width$}")
            };
        }
        writeln!(out, "{}", text.trim_end())
    };
    line(&mut head.iter().copied())?;
    rows.iter()
        .try_for_each(|row| line(&mut row.iter().map(AsRef::as_ref)))
}
