//! "Did you mean …?"

/// The candidate that a mistyped word was most likely meant to be, if one is near enough: at most a third of its
/// letters differ (a swap of two neighbours is one difference). The first of equally near ones wins.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A name of thousands of letters is no typing mistake, and comparing it would cost its square.
    if word.len() > 100 {
        return None;
    }
    let lower = word.to_lowercase();
    let allowed = (word.chars().count() / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let distance = strsim::damerau_levenshtein(&lower, &candidate.to_lowercase());
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_the_near_and_leaves_the_far() {
        let known = ["FL_LOG_LEVEL", "FL_SITE", "FL_ROLE"];
        assert_eq!(nearest("FL_LOGLEVEL", known), Some("FL_LOG_LEVEL"));
        assert_eq!(nearest("fl_siet", known), Some("FL_SITE"));
        assert_eq!(nearest("FL_COLOUR_OF_MY_HAT", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest(&"x".repeat(1 << 20), known), None);
    }
}
