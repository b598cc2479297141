//! The key by which a SuperLink knows a SuperNode (`--auth-supernode-private-key`): ECDSA on P-384.
//!
//! Flower loads the private half in OpenSSH's own format (`openssh-key-v1`, PROTOCOL.key of OpenSSH) and nothing
//! else. It knows the public half by the exact bytes of its PEM text, so that text is made here in one way only.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P384_SHA384_ASN1_SIGNING as ALGORITHM, EcdsaKeyPair, KeyPair as _};

use crate::{Error, Result, SecretPem};

/// OpenSSH's name of the key type, and of its curve.
const KIND: &str = "ecdsa-sha2-nistp384";
const CURVE: &[u8] = b"nistp384";
/// Lengths of a private number and of an uncompressed point on P-384.
const SCALAR: usize = 48;
const POINT: usize = 97;
/// What stands before the point in a SubjectPublicKeyInfo of P-384 (RFC 5480).
const SPKI_HEAD: [u8; 23] = [
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81,
    0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
];
/// What stands before the private number in a PKCS #8 document: the version of RFC 5915 and an octet string's head.
const SCALAR_HEAD: [u8; 5] = [0x02, 0x01, 0x01, 0x04, SCALAR as u8];
const MAGIC: &[u8] = b"openssh-key-v1\0";
const PRIVATE_LABEL: &str = "OPENSSH PRIVATE KEY";
const PUBLIC_LABEL: &str = "PUBLIC KEY";
/// OpenSSH pads the private part of an unencrypted key to this many bytes.
const BLOCK: usize = 8;

/// The key pair of one SuperNode. `Debug` hides the private half.
#[derive(Clone, Debug)]
pub struct NodeKey {
    private: SecretPem,
    public: NodePublicKey,
}

impl NodeKey {
    /// Makes a new key pair.
    ///
    /// # Errors
    /// [`Error::Generate`] if the random source fails.
    pub fn generate() -> Result<Self> {
        let fail = |why: &str| Error::generate("a SuperNode's key", why);
        let random = SystemRandom::new();
        let document =
            EcdsaKeyPair::generate_pkcs8(&ALGORITHM, &random).map_err(|_| fail("no random bytes"))?;
        let document = document.as_ref();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ALGORITHM, document, &random).map_err(|why| fail(&why.to_string()))?;
        let point = pair.public_key().as_ref();
        let at = document.windows(SCALAR_HEAD.len()).position(|window| window == SCALAR_HEAD);
        let scalar = at.and_then(|at| document[at + SCALAR_HEAD.len()..].get(..SCALAR));
        let scalar = scalar.ok_or_else(|| fail("an unexpected form of PKCS #8"))?;
        let mut check = [0u8; 4];
        random.fill(&mut check).map_err(|_| fail("no random bytes"))?;
        let private = SecretPem::new(pem(PRIVATE_LABEL, 70, &encode(point, scalar, check)));
        // Read back: what is written must be what Flower will read.
        Self::from_pem(&private)
    }

    /// Reads a private key from the text of its file, and checks that its halves belong together.
    ///
    /// # Errors
    /// [`Error::Malformed`] for anything else than one unencrypted P-384 key in OpenSSH's format.
    pub fn from_pem(private: &SecretPem) -> Result<Self> {
        let wrong = |why: &str| Error::malformed("the SuperNode's private key", why);
        let bytes = unpem(PRIVATE_LABEL, private.expose())
            .ok_or_else(|| wrong("not an `OPENSSH PRIVATE KEY`, the only format that Flower loads"))?;
        let (point, scalar) = decode(&bytes).map_err(wrong)?;
        EcdsaKeyPair::from_private_key_and_public_key(&ALGORITHM, &scalar, &point, &SystemRandom::new())
            .map_err(|_| wrong("its private and its public half do not belong together"))?;
        Ok(Self { private: private.clone(), public: NodePublicKey(point) })
    }

    /// The text for the file that Flower loads: mode 0600, owned by Flower's user. Never log it.
    pub fn private_pem(&self) -> &SecretPem {
        &self.private
    }

    /// The public half.
    pub fn public(&self) -> &NodePublicKey {
        &self.public
    }
}

/// The public half of a SuperNode's key. Shown and parsed as an OpenSSH line, `ecdsa-sha2-nistp384 AAAA…`, which is
/// what OneGate carries, what `flwr supernode register` reads and what [`fingerprint`](Self::fingerprint) is made of.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct NodePublicKey([u8; POINT]);

impl NodePublicKey {
    /// Reads a `PUBLIC KEY` PEM text, as Flower sends it with every Fleet call. Points that are not on the curve are
    /// SuperLink's to refuse.
    ///
    /// # Errors
    /// [`Error::Malformed`] for anything else than a P-384 key.
    pub fn from_pem(text: &str) -> Result<Self> {
        let wrong = || Error::malformed("the SuperNode's public key", "not a `PUBLIC KEY` on P-384");
        let der = unpem(PUBLIC_LABEL, text).ok_or_else(wrong)?;
        point(der.strip_prefix(&SPKI_HEAD[..]).ok_or_else(wrong)?).map(Self).ok_or_else(wrong)
    }

    /// The PEM text, byte for byte as Flower writes it: it compares these bytes.
    pub fn to_pem(&self) -> String {
        pem(PUBLIC_LABEL, 64, &[&SPKI_HEAD[..], &self.0].concat())
    }

    /// The fingerprint as `ssh-keygen -l` shows it: `SHA256:` and 43 characters of base64.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(digest(&SHA256, &self.blob())))
    }

    /// The public key as the SSH protocol writes it (RFC 5656, 3.1).
    fn blob(&self) -> Vec<u8> {
        let mut blob = Vec::new();
        for part in [KIND.as_bytes(), CURVE, &self.0] {
            string(&mut blob, part);
        }
        blob
    }
}

impl fmt::Display for NodePublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{KIND} {}", STANDARD.encode(self.blob()))
    }
}

impl fmt::Debug for NodePublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fingerprint())
    }
}

impl FromStr for NodePublicKey {
    type Err = Error;

    /// Reads an OpenSSH line; a comment after the key is left out.
    fn from_str(line: &str) -> Result<Self> {
        let wrong = || {
            Error::malformed("the SuperNode's public key", "expected one line, `ecdsa-sha2-nistp384 AAAA…`")
        };
        let mut words = line.split_whitespace();
        let (Some(KIND), Some(text)) = (words.next(), words.next()) else { return Err(wrong()) };
        let blob = STANDARD.decode(text).map_err(|_| wrong())?;
        let mut rest = blob.as_slice();
        let parts = (take(&mut rest), take(&mut rest), take(&mut rest).and_then(point));
        match parts {
            (Some(kind), Some(CURVE), Some(point)) if kind == KIND.as_bytes() && rest.is_empty() => {
                Ok(Self(point))
            }
            _ => Err(wrong()),
        }
    }
}

/// An uncompressed point of P-384, as far as its length and first byte tell.
fn point(bytes: &[u8]) -> Option<[u8; POINT]> {
    bytes.try_into().ok().filter(|point: &[u8; POINT]| point[0] == 0x04)
}

/// An `openssh-key-v1` document without encryption. `check` stands in it twice.
fn encode(point: &[u8], scalar: &[u8], check: [u8; 4]) -> Vec<u8> {
    let mut public = Vec::new();
    for part in [KIND.as_bytes(), CURVE, point] {
        string(&mut public, part);
    }
    let mut private = [check, check].concat();
    private.extend(&public);
    let zeros = scalar.iter().take_while(|byte| **byte == 0).count();
    let mut number = scalar[zeros..].to_vec();
    if number.first().is_some_and(|byte| *byte >= 0x80) {
        number.insert(0, 0);
    }
    string(&mut private, &number);
    string(&mut private, b"");
    for byte in 1..=u8::MAX {
        if private.len() % BLOCK == 0 {
            break;
        }
        private.push(byte);
    }
    let mut out = MAGIC.to_vec();
    // Cipher, key derivation, its options, the number of keys.
    for part in [&b"none"[..], b"none", b""] {
        string(&mut out, part);
    }
    out.extend([0, 0, 0, 1]);
    string(&mut out, &public);
    string(&mut out, &private);
    out
}

/// The point and the private number of an `openssh-key-v1` document.
fn decode(bytes: &[u8]) -> std::result::Result<([u8; POINT], [u8; SCALAR]), &'static str> {
    let cut = "it is cut off or damaged";
    let mut rest = bytes.strip_prefix(MAGIC).ok_or(cut)?;
    if take(&mut rest) != Some(b"none") {
        return Err("it is encrypted with a passphrase, which nobody could type into a SuperNode");
    }
    let (_derivation, _options) = (take(&mut rest).ok_or(cut)?, take(&mut rest).ok_or(cut)?);
    rest = rest.strip_prefix(&[0, 0, 0, 1][..]).ok_or("it holds more than one key")?;
    let _public = take(&mut rest).ok_or(cut)?;
    let mut private = take(&mut rest).filter(|_| rest.is_empty()).ok_or(cut)?;
    let (first, second) = private.split_at_checked(8).ok_or(cut)?.0.split_at(4);
    if first != second {
        return Err(cut);
    }
    private = &private[8..];
    if take(&mut private) != Some(KIND.as_bytes()) || take(&mut private) != Some(CURVE) {
        return Err("it is not a key on P-384 (`ssh-keygen -t ecdsa -b 384`)");
    }
    let point = take(&mut private).and_then(point).ok_or(cut)?;
    let number = take(&mut private).ok_or(cut)?;
    let number = number.strip_prefix(&[0][..]).unwrap_or(number);
    let mut scalar = [0; SCALAR];
    let from = SCALAR.checked_sub(number.len()).ok_or(cut)?;
    scalar[from..].copy_from_slice(number);
    Ok((point, scalar))
}

/// Appends a string of the SSH protocol: its length in four bytes, then its bytes.
fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    // All strings here are shorter than a kilobyte.
    out.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(bytes);
}

/// Takes a string of the SSH protocol from the front.
fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (bytes, after) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *rest = after;
    Some(bytes)
}

/// A PEM text with lines of `width` characters.
fn pem(label: &str, width: usize, bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(width) {
        out.extend(line.iter().map(|byte| char::from(*byte)));
        out.push('\n');
    }
    out + &format!("-----END {label}-----\n")
}

/// The bytes of a text that is one PEM block and nothing else.
fn unpem(label: &str, text: &str) -> Option<Vec<u8>> {
    let text = text.trim().strip_prefix(&format!("-----BEGIN {label}-----"))?;
    let text = text.strip_suffix(&format!("-----END {label}-----"))?;
    let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests;
