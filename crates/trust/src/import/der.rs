//! The little of DER that telling keys apart needs.

/// The first element: its tag, its content, and what follows it.
pub(super) fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [tag, first, rest @ ..] = bytes else { return None };
    let (length, rest) = match usize::from(*first) {
        short @ 0..=0x7f => (short, rest),
        long @ 0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(long - 0x80)?;
            (digits.iter().fold(0usize, |sum, digit| sum << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
/// `[0]`, as in a SEC1 key.
pub(super) const CONTEXT_0: u8 = 0xa0;

/// The content of the first element, if it has this tag, and what follows.
pub(super) fn expect(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    element(bytes).filter(|(found, ..)| *found == tag).map(|(_, content, rest)| (content, rest))
}

/// The sequences that the bytes consist of, each with its header; white space may follow them.
pub(super) fn sequences(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    let mut left = bytes;
    while !left.iter().all(u8::is_ascii_whitespace) {
        let (_, rest) = expect(SEQUENCE, left)?;
        found.push(&left[..left.len() - rest.len()]);
        left = rest;
    }
    (!found.is_empty()).then_some(found)
}

/// Writes an element.
pub(super) fn write(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        short @ 0..=0x7f => out.push(u8::try_from(short).unwrap_or(0x7f)),
        long => {
            let digits: Vec<u8> = long.to_be_bytes().into_iter().skip_while(|digit| *digit == 0).collect();
            out.push(0x80 | u8::try_from(digits.len()).unwrap_or(8));
            out.extend(digits);
        }
    }
    out.extend_from_slice(content);
    out
}

/// Wraps a PKCS#1 or SEC1 key into PKCS#8. `parameters` is what follows the algorithm's OID, with its header.
pub(super) fn pkcs8(algorithm: &[u8], parameters: &[u8], key: &[u8]) -> Vec<u8> {
    let mut inner = write(INTEGER, &[0]);
    inner.extend(write(SEQUENCE, &[write(OID, algorithm), parameters.to_vec()].concat()));
    inner.extend(write(OCTETS, key));
    write(SEQUENCE, &inner)
}
