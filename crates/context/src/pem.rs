//! Certificates and private keys as a context carries them: PEM, wrapped in base64 once, twice or not at all, or DER in
//! base64.
//!
//! OpenNebula's command line encodes what is typed for a `text64` input and its web form does not, so a value that
//! was encoded already may arrive encoded twice. All these forms are taken, and one form leaves.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One or more certificates in PEM: only certificate blocks, 64 columns, a line break at the end.
///
/// The blocks are known to be base64 of one complete DER sequence, in the order in which they were given. Whether they are
/// certificates of a CA, or in force, is for the crate that verifies chains.
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
        match unwrap(text) {
            Some(Unwrapped::Pem(pem)) => from_pem(&pem),
            Some(Unwrapped::Der(der)) => match shape(&der) {
                Some(Shape::Certificate) => {
                    let mut bundle = Self { pem: String::new(), count: 0 };
                    bundle.append(&der);
                    Ok(bundle)
                }
                Some(Shape::PrivateKey) => Err(CaBundleError::PrivateKey),
                None => Err(CaBundleError::NoCertificate),
            },
            None => Err(CaBundleError::NoCertificate),
        }
    }
}

/// Whether a text is one private key, in any of the accepted encodings. What kind of key is for the crate that uses it.
pub(crate) fn is_private_key(text: &str) -> bool {
    let text = match unwrap(text) {
        Some(Unwrapped::Pem(pem)) => pem,
        Some(Unwrapped::Der(der)) => return shape(&der) == Some(Shape::PrivateKey),
        None => return false,
    };
    let mut rest = text.as_str();
    let mut keys = 0;
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let Some((label, body)) = after.split_once("-----") else { return false };
        let Some((body, tail)) = body.split_once(&format!("-----END {label}-----")) else { return false };
        // The curve's name, which `openssl ecparam -genkey` writes before its key.
        let is_key = match label {
            "EC PARAMETERS" => false,
            _ if label.ends_with("PRIVATE KEY") => true,
            _ => return false,
        };
        if decode(body).is_none_or(|der| der.is_empty()) {
            return false;
        }
        keys += usize::from(is_key);
        rest = tail;
    }
    keys == 1 && rest.trim().is_empty()
}

/// What is left when the wrapping of a value is taken off.
enum Unwrapped {
    Pem(String),
    Der(Vec<u8>),
}

/// Takes off base64, twice at most.
fn unwrap(text: &str) -> Option<Unwrapped> {
    let mut text = text.to_owned();
    for _ in 0..2 {
        if text.contains("-----BEGIN") {
            break;
        }
        let bytes = decode(&text)?;
        if is_der_sequence(&bytes) {
            return Some(Unwrapped::Der(bytes));
        }
        text = String::from_utf8(bytes).ok()?;
    }
    Some(Unwrapped::Pem(text))
}

/// What a DER value is, as far as its first tags tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Certificate,
    PrivateKey,
}

/// A certificate begins with the sequence of its contents, and that with a version or a serial number. A private key
/// begins with its version, or, where it is encrypted, with the sequence that names how; so does a public key, which
/// belongs nowhere here either.
fn shape(der: &[u8]) -> Option<Shape> {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    const VERSION: u8 = 0xa0;
    const OBJECT: u8 = 0x06;
    let inner = content(der)?;
    match *inner.first()? {
        INTEGER => Some(Shape::PrivateKey),
        SEQUENCE => match *content(inner)?.first()? {
            VERSION | INTEGER => Some(Shape::Certificate),
            // After the name of the cipher: encrypted octets for a private key, a bit string for a public one.
            OBJECT => after(inner)?.first().filter(|tag| **tag == 0x04).map(|_| Shape::PrivateKey),
            _ => None,
        },
        _ => None,
    }
}

/// The bytes inside the first DER value.
fn content(der: &[u8]) -> Option<&[u8]> {
    let (start, length) = header(der)?;
    der.get(start..start.checked_add(length)?)
}

/// The bytes after the first DER value.
fn after(der: &[u8]) -> Option<&[u8]> {
    let (start, length) = header(der)?;
    der.get(start.checked_add(length)?..)
}

/// Where the content of the first DER value starts, and how long it is.
fn header(der: &[u8]) -> Option<(usize, usize)> {
    let [_, first, rest @ ..] = der else { return None };
    match usize::from(*first) {
        short @ 0..=0x7f => Some((2, short)),
        long @ 0x81..=0x84 => {
            let digits = long - 0x80;
            let length = rest.get(..digits)?.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
            Some((2 + digits, length))
        }
        _ => None,
    }
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
    der.first() == Some(&0x30) && header(der).is_some_and(|(start, length)| start + length == der.len())
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
    fn der_in_base64_is_told_apart_by_its_first_tags() {
        let body = |pem: &str| pem.lines().filter(|line| !line.starts_with('-')).collect::<String>();
        assert_eq!(body(CA).parse::<CaBundle>().unwrap().pem(), CA);
        assert!(!is_private_key(&body(CA)));
        // PKCS#8: a version; encrypted PKCS#8: a cipher and octets; a public key: a name and a bit string.
        for (der, key) in [
            (&[0x30, 5, 0x02, 1, 0, 0x30, 0][..], true),
            (&[0x30, 8, 0x30, 3, 0x06, 1, 1, 0x04, 1, 0], true),
            (&[0x30, 8, 0x30, 3, 0x06, 1, 1, 0x03, 1, 0], false),
            (&[0x30, 2, 0x05, 0], false),
        ] {
            let text = BASE64_STANDARD.encode(der);
            assert_eq!(is_private_key(&text), key, "{der:02x?}");
            let why = if key { CaBundleError::PrivateKey } else { CaBundleError::NoCertificate };
            assert_eq!(text.parse::<CaBundle>(), Err(why), "{der:02x?}");
        }
    }

    #[test]
    fn a_private_key_is_one_in_any_wrapping() {
        let once = BASE64_STANDARD.encode(KEY);
        let curve =
            format!("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{KEY}");
        for good in [KEY, &once, &BASE64_STANDARD.encode(&once), &curve, &format!("remark\n{KEY}")] {
            assert!(is_private_key(good), "{good}");
        }
        for bad in [
            "",
            "x",
            CA,
            &format!("{KEY}{KEY}"),
            &format!("{CA}{KEY}"),
            &format!("{KEY}rest"),
            "-----BEGIN PRIVATE KEY-----",
        ] {
            assert!(!is_private_key(bad), "{bad}");
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
        fn no_der_panics(bytes: Vec<u8>, tail: Vec<u8>) {
            let _ = BASE64_STANDARD.encode(&bytes).parse::<CaBundle>();
            let _ = shape(&bytes);
            let _ = shape(&[&[0x30, 0x84][..], &tail].concat());
        }

        #[test]
        fn no_text_panics(text in ".*", body in "[A-Za-z0-9+/=\n]*") {
            let _ = text.parse::<CaBundle>();
            let _ = is_private_key(&text);
            let _ = format!("-----BEGIN CERTIFICATE-----{body}-----END CERTIFICATE-----").parse::<CaBundle>();
        }
    }
}
