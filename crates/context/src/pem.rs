//! CA certificates as a context carries them: PEM, wrapped in base64 once, twice or not at all.
//!
//! OpenNebula's command line encodes what is typed for a `text64` input and its web form does not, so a value that
//! was encoded already may arrive encoded twice. All three forms are taken, and one form leaves.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One or more CA certificates in PEM: only certificate blocks, 64 columns, a line break at the end.
///
/// The blocks are known to be base64 of one complete DER sequence. Whether they are CA certificates in force is for
/// the crate that verifies chains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaBundle {
    pem: String,
    count: usize,
}

/// Why a text is no [`CaBundle`]. The texts never repeat the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaBundleError {
    /// No certificate in any of the accepted encodings, or a damaged one.
    #[error("does not contain a valid base64-encoded PEM certificate")]
    NoCertificate,
    /// A private key is among the blocks: it has left the place where it belongs.
    #[error("contains a private key")]
    PrivateKey,
}

impl CaBundle {
    /// The certificates in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// How many certificates there are, at least 1.
    pub fn count(&self) -> usize {
        self.count
    }
}

impl AsRef<str> for CaBundle {
    fn as_ref(&self) -> &str {
        &self.pem
    }
}

impl fmt::Display for CaBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pem)
    }
}

impl FromStr for CaBundle {
    type Err = CaBundleError;

    fn from_str(text: &str) -> Result<Self, CaBundleError> {
        let mut text = text.to_owned();
        for _ in 0..2 {
            if text.contains("-----BEGIN") {
                break;
            }
            text = decode(&text)
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or(CaBundleError::NoCertificate)?;
        }
        from_pem(&text)
    }
}

/// Whether a text is one private key in PEM, in any of the accepted encodings. What kind of key is for the crate that
/// uses it.
pub(crate) fn is_private_key(text: &str) -> bool {
    let mut text = text.to_owned();
    for _ in 0..2 {
        if text.contains("-----BEGIN") {
            break;
        }
        match decode(&text).and_then(|bytes| String::from_utf8(bytes).ok()) {
            Some(inner) => text = inner,
            None => return false,
        }
    }
    let Some((_, after)) = text.split_once("-----BEGIN ") else { return false };
    let Some((label, body)) = after.split_once("-----") else { return false };
    label.ends_with("PRIVATE KEY")
        && body.split_once(&format!("-----END {label}-----")).is_some_and(|(body, rest)| {
            decode(body).is_some_and(|der| !der.is_empty()) && rest.trim().is_empty()
        })
}

/// Reads the blocks of a PEM text. They are found by their markers, not by lines, so that a text whose line breaks
/// became blanks on its way is read as well.
fn from_pem(text: &str) -> Result<CaBundle, CaBundleError> {
    if text.contains("PRIVATE KEY-----") {
        return Err(CaBundleError::PrivateKey);
    }
    let mut bundle = CaBundle { pem: String::new(), count: 0 };
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let body = after.strip_prefix("CERTIFICATE-----").ok_or(CaBundleError::NoCertificate)?;
        let (body, tail) =
            body.split_once("-----END CERTIFICATE-----").ok_or(CaBundleError::NoCertificate)?;
        let der = decode(body).filter(|der| is_der_sequence(der)).ok_or(CaBundleError::NoCertificate)?;
        bundle.append(&der);
        rest = tail;
    }
    if bundle.count == 0 || rest.contains("-----END") {
        Err(CaBundleError::NoCertificate)
    } else {
        Ok(bundle)
    }
}

impl CaBundle {
    fn append(&mut self, der: &[u8]) {
        let body = LENIENT.encode(der);
        self.pem.push_str("-----BEGIN CERTIFICATE-----\n");
        for (index, c) in body.chars().enumerate() {
            if index > 0 && index % 64 == 0 {
                self.pem.push('\n');
            }
            self.pem.push(c);
        }
        self.pem.push_str("\n-----END CERTIFICATE-----\n");
        self.count += 1;
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let compact: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    LENIENT.decode(compact).ok()
}

/// Whether the bytes are exactly one DER SEQUENCE of a plausible length.
fn is_der_sequence(der: &[u8]) -> bool {
    let [0x30, first, rest @ ..] = der else { return false };
    match usize::from(*first) {
        short @ 0..=0x7f => short == rest.len(),
        long @ 0x81..=0x84 => {
            let digits = long - 0x80;
            let Some((length, body)) = rest.split_at_checked(digits) else { return false };
            length.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte)) == body.len()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::BASE64_STANDARD;
    use proptest::prelude::*;

    const CA: &str = include_str!("../tests/data/ca.pem");
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n";

    #[test]
    fn every_encoding_gives_the_same_pem() {
        let once = BASE64_STANDARD.encode(CA);
        let folded =
            once.as_bytes().chunks(76).map(|c| str::from_utf8(c).unwrap()).collect::<Vec<_>>().join("\n");
        let twice = BASE64_STANDARD.encode(&once);
        let blanks = CA.replace('\n', " ");
        let windows = CA.replace('\n', "\r\n");
        for form in [CA, CA.trim_end(), &once, &folded, &twice, &blanks, &windows] {
            assert_eq!(form.parse::<CaBundle>().unwrap().pem(), CA);
        }
    }

    #[test]
    fn takes_a_bundle_and_drops_remarks() {
        let bundle: CaBundle = format!("# old\n{CA}\n# new\n{CA}").parse().unwrap();
        assert_eq!((bundle.count(), bundle.pem()), (2, format!("{CA}{CA}").as_str()));
    }

    #[test]
    fn refuses_damage_and_private_keys() {
        use CaBundleError::*;
        let thrice = BASE64_STANDARD.encode(BASE64_STANDARD.encode(BASE64_STANDARD.encode(CA)));
        let cut = CA.replace("-----END CERTIFICATE-----\n", "");
        let short = CA.replacen("MII", "MI", 1);
        for bad in
            ["", "x", "AAAA", &thrice, &cut, &short, "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"]
        {
            assert_eq!(bad.parse::<CaBundle>(), Err(NoCertificate), "{bad}");
        }
        for bad in [KEY.to_owned(), format!("{CA}{KEY}"), BASE64_STANDARD.encode(format!("{KEY}{CA}"))] {
            assert_eq!(bad.parse::<CaBundle>(), Err(PrivateKey));
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*", body in "[A-Za-z0-9+/=\n]*") {
            let _ = text.parse::<CaBundle>();
            let _ = format!("-----BEGIN CERTIFICATE-----{body}-----END CERTIFICATE-----").parse::<CaBundle>();
        }
    }
}
