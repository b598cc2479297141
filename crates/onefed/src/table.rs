//! Columns of text.

/// Lines up rows under a header; columns are as wide as their widest cell and two blanks apart. Cells are [`plain`].
pub(crate) fn render(header: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("  {}", padded.join("  ").trim_end())
    };
    let mut lines = vec![line(header.to_vec())];
    lines.extend(rows.iter().map(|row| line(row.iter().map(String::as_str).collect())));
    lines.join("\n")
}

/// A text as one line that a terminal shows and does not obey: what others have written, such as a VM about itself, may
/// hold anything.
pub(crate) fn plain(text: &str) -> String {
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown = if text.contains(['\n', '\r', '\t']) { one_line.as_str() } else { text };
    shown.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Bytes in the largest unit that leaves a number of at least 1: `812 B`, `1.4 kB`, `27.0 MB`.
pub(crate) fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 999.5 {
            return if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

/// A span in its largest unit: `45 s`, `12 min`, `3 h`, `9 d`.
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_units_fit() {
        let rows = [vec!["paris".to_owned(), "1".to_owned()], vec!["x".to_owned(), "22".to_owned()]];
        assert_eq!(render(&["site", "n"], &rows), "  site   n\n  paris  1\n  x      22");
        let rows = [vec!["\u{1b}[2Jx".to_owned(), "a\nb".to_owned()]];
        assert_eq!(render(&["s", "n"], &rows), "  s      n\n  \u{fffd}[2Jx  a b");
        assert_eq!([0, 999, 1000, 1_400_000].map(bytes), ["0 B", "999 B", "1.0 kB", "1.4 MB"]);
        assert_eq!([5, 119, 120, 7200, 200_000].map(span), ["5 s", "119 s", "2 min", "2 h", "2 d"]);
    }
}
