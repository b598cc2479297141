//! The body of a OneGate PUT: only what the server stores as it was sent.

use crate::{Error, template};

/// One `KEY=value` a line.
pub(super) fn body(attributes: &[(&str, &str)]) -> Result<String, Error> {
    let mut lines = Vec::new();
    for (key, value) in attributes {
        check(key, value)?;
        lines.push(format!("{key}={value}"));
    }
    // OneFlow looks for READY=YES in the whole text without its blanks, so what two lines make together counts too.
    let others = lines.iter().filter(|l| *l != "READY=YES").cloned().collect::<String>();
    if without_blanks(&others).contains("READY=YES") {
        return Err(bad("the attributes together", LOOKS_READY));
    }
    Ok(lines.join("\n"))
}

const LOOKS_READY: &str = "OneFlow would read READY=YES in it and count the VM as ready";

fn check(key: &str, value: &str) -> Result<(), Error> {
    template::check_key(key)?;
    let name = format!("attribute {key}");
    if value.is_empty() {
        return Err(bad(&name, "OneGate cannot store an empty value: delete the attribute instead"));
    }
    let safe = |c: char| c.is_ascii_alphanumeric() || "._:/+=- ".contains(c);
    if let Some(c) = value.chars().find(|c| !safe(*c)) {
        return Err(bad(&name, &format!("OneGate mangles or refuses {c:?}: send it in base64")));
    }
    if value.trim() != value {
        return Err(bad(&name, "OneGate drops blanks at the ends of a value"));
    }
    if key == "READY" {
        return if value.starts_with("YES") && value != "YES" {
            Err(bad(&name, LOOKS_READY))
        } else {
            Ok(())
        };
    }
    let ends_in_ready = key.to_ascii_uppercase().ends_with("READY");
    if ends_in_ready && without_blanks(value).starts_with("YES")
        || without_blanks(value).contains("READY=YES")
    {
        return Err(bad(&name, LOOKS_READY));
    }
    Ok(())
}

fn without_blanks(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

fn bad(what: &str, why: &str) -> Error {
    Error::BadInput { what: what.to_owned(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn writes_lines() {
        assert_eq!(body(&[("A", "x y=z"), ("READY", "YES")]).unwrap(), "A=x y=z\nREADY=YES");
        assert_eq!(body(&[("READY", "NO")]).unwrap(), "READY=NO");
        assert_eq!(body(&[("FOO_READY", "NO")]).unwrap(), "FOO_READY=NO");
    }

    #[test]
    fn refuses_by_name() {
        let cases = [
            ("A", ""),
            ("A", "x,y"),
            ("A", "[x]"),
            ("A", "x\ny"),
            ("A", "a\\b"),
            ("A", "\"x\""),
            ("A", " x"),
            ("A", "é"),
            ("A-B", "x"),
            ("", "x"),
            ("FOO_NOT_READY", "YES"),
            ("ready", "YES"),
            ("FOO_READY", "Y ES"),
            ("READY", "YESNO"),
            ("A", "x READY = YES"),
        ];
        for (key, value) in cases {
            let error = body(&[(key, value)]).unwrap_err();
            assert!(
                matches!(&error, Error::BadInput { what, .. } if what.contains(key)),
                "{key}={value}: {error}"
            );
        }
        assert!(body(&[("A", "READY="), ("YESTERDAY", "x")]).is_err());
    }

    proptest! {
        #[test]
        fn what_passes_holds_ready_only_as_ready(key in "[A-Z_]{0,4}(READY)?", value in "[A-Z= ]{0,6}(YES)?[A-Z]?") {
            if let Ok(text) = body(&[(&key, &value)]) {
                prop_assert_eq!(without_blanks(&text).contains("READY=YES"), text == "READY=YES");
            }
        }
    }
}
