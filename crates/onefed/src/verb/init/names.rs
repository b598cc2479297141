//! OpenNebula's names of zones as names of a plan, which are narrower.

/// The longest name of a plan.
const LONGEST: usize = 31;

/// A name as plans have it: lower case, digits and hyphens, beginning with a letter. Never empty.
pub(super) fn plan_name(name: &str, kind: &str) -> String {
    let mut plain = String::new();
    for c in name.chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_lowercase() || c.is_ascii_digit() => plain.push(c),
            _ if plain.ends_with('-') || plain.is_empty() => {}
            _ => plain.push('-'),
        }
    }
    if !plain.starts_with(|c: char| c.is_ascii_lowercase()) {
        plain = format!("{kind}-{plain}");
    }
    plain.truncate(LONGEST);
    plain.trim_end_matches('-').to_owned()
}

/// The names of several zones, no two of them the same.
pub(super) fn plan_names<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut taken: Vec<String> = Vec::new();
    for name in names {
        taken.push(another(&plan_name(name, "zone"), &taken));
    }
    taken
}

/// The name itself, or with the first number from 2 on that makes it new.
pub(super) fn another(name: &str, taken: &[String]) -> String {
    let numbered = |number: usize| {
        let end = format!("-{number}");
        let kept: String = name.chars().take(LONGEST - end.len()).collect();
        kept + &end
    };
    let mut all = std::iter::once(name.to_owned()).chain((2..).map(numbered));
    all.find(|name| !taken.contains(name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use onefed_context::is_plain_name;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zones_keep_what_they_can_of_their_names() {
        let names = ["Paris", "paris", "São Paulo (DC 2)", "0", "", "--", "OpenNebula"];
        let plain = ["paris", "paris-2", "s-o-paulo-dc-2", "zone-0", "zone", "zone-2", "opennebula"];
        assert_eq!(plan_names(names.into_iter()), plain);
    }

    proptest! {
        #[test]
        fn any_names_become_different_usable_ones(names in prop::collection::vec(".{0,50}", 0..6)) {
            let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
            names.extend(["a".repeat(40).leak() as &str; 3]);
            let plain = plan_names(names.iter().copied());
            prop_assert!(plain.iter().all(|name| is_plain_name(name)), "{plain:?}");
            let mut different = plain.clone();
            different.sort();
            different.dedup();
            prop_assert_eq!(different.len(), plain.len());
        }
    }
}
