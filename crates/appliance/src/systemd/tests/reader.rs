//! A model of how systemd reads a unit file, written from its manual, and the proof that it reads what was meant.

use proptest::prelude::*;

use super::super::unit::render;
use super::*;

/// The values of one key, in order, after lines have been joined and comments left out.
fn values(text: &str, wanted: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut logical = String::new();
    for line in text.split(['\n', '\r']) {
        if line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        logical.push_str(line);
        // An odd number of backslashes at the end joins lines.
        if (line.len() - line.trim_end_matches('\\').len()) % 2 == 1 {
            logical.pop();
            logical.push(' ');
            continue;
        }
        if let Some((_, value)) = logical.split_once('=').filter(|(key, _)| key.trim() == wanted) {
            found.push(value.trim_matches([' ', '\t']).to_owned());
        }
        logical.clear();
    }
    found
}

/// Splits into words, undoes quotes and C escapes, expands `%%`. `None` where systemd would complain.
fn words(value: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut chars = value.chars().peekable();
    loop {
        while chars.next_if(|c| " \t\n\r".contains(*c)).is_some() {}
        chars.peek()?;
        let (mut word, mut quote) = (String::new(), None);
        loop {
            match (chars.next(), quote) {
                (None, Some(_)) => return None,
                (None, None) => break,
                (Some(c), None) if " \t\n\r".contains(c) => break,
                (Some(c @ ('"' | '\'')), None) => quote = Some(c),
                (Some(c), Some(open)) if c == open => quote = None,
                (Some('\\'), _) => word.push(escape(&mut chars)?),
                (Some(c), _) => word.push(c),
            }
        }
        words.push(expanded(&word)?);
        if chars.peek().is_none() {
            return Some(words);
        }
    }
}

fn escape(chars: &mut impl Iterator<Item = char>) -> Option<char> {
    Some(match chars.next()? {
        'n' => '\n',
        't' => '\t',
        's' => ' ',
        c @ ('"' | '\'' | '\\') => c,
        'x' => {
            let digits: String = [chars.next()?, chars.next()?].iter().collect();
            char::from(u8::from_str_radix(&digits, 16).ok().filter(|byte| (1..0x80).contains(byte))?)
        }
        _ => return None,
    })
}

fn expanded(word: &str) -> Option<String> {
    let mut text = String::new();
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        if c == '%' && chars.next()? != '%' {
            return None;
        }
        text.push(c);
    }
    Some(text)
}

/// Texts that hurt: everything that means something to systemd, and anything else.
fn nasty() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        proptest::sample::select(vec![
            "",
            " ",
            "\t",
            "\n",
            "\r",
            "\\",
            "\"",
            "'",
            "%",
            "%%",
            "%n",
            "$",
            "$$",
            "$HOME",
            "${HOME}",
            ";",
            " ; ",
            "#",
            "-",
            "@",
            ":",
            "+",
            "!",
            "|",
            "\\x41",
            "\\n",
            "=",
            "[Service]",
            "ExecStart=",
            "\u{7f}",
            "\u{1}",
            "\u{1b}[0m",
            "\u{85}",
            "\u{2028}",
            "\u{feff}",
            "ü",
            "🌼",
        ])
        .prop_map(str::to_owned),
        "[^\0]{0,8}",
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn what_systemd_reads_is_what_went_in(
        program in nasty(),
        args in proptest::collection::vec(nasty(), 0..6),
        value in nasty(),
    ) {
        let mut given = service("hub", "", &[]);
        // systemd simplifies a path; one that is simple already stays.
        let program = format!("/opt/{}x", program.replace(|c: char| c.is_ascii_control() || "/\"'\\".contains(c), "_"));
        given.command.program = program.clone().into();
        given.command.args = args.clone();
        given.command.env = vec![("KEY".into(), value.clone())];
        let written = format!("/{}", value.replace('/', "_"));
        given.writes = vec![written.clone().into()];
        let text = render(&given, "00").unwrap();
        let start = values(&text, "ExecStart");
        prop_assert_eq!(start.len(), 1);
        let line = start[0].strip_prefix(':').unwrap();
        let mut expected = vec![program.clone()];
        expected.extend(args);
        prop_assert_eq!(words(line), Some(expected));
        let environment = values(&text, "Environment");
        prop_assert_eq!(environment.len(), 1);
        prop_assert_eq!(words(&environment[0]), Some(vec![format!("KEY={value}")]));
        prop_assert_eq!(words(&values(&text, "ReadWritePaths")[0]), Some(vec![written]));
    }
}

#[test]
fn the_model_knows_what_systemd_would_make_of_carelessness() {
    assert_eq!(words("a \"b c\"'d' \\x41"), Some(vec!["a".into(), "b cd".into(), "A".into()]));
    assert_eq!(words("100%"), None);
    assert_eq!(words("\"open"), None);
    assert_eq!(values("A=1\n# A=2\nA=3 \\\n  4\n", "A"), ["1", "3    4"]);
}
