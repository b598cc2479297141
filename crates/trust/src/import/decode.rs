//! From whatever form an operator has to DER: PEM, DER, and base64 of either, once or twice.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::der;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// OpenNebula's command line encodes what its web form takes as it is, so a value may arrive encoded twice.
const LAYERS: usize = 2;
/// The label of a block that came without one.
pub(super) const BARE: &str = "DER";

/// One object of an input.
pub(super) struct Block {
    /// What stood between `BEGIN` and the dashes, or [`BARE`].
    pub(super) label: String,
    pub(super) der: Vec<u8>,
    /// The old form of encryption, by PEM headers; `der` is empty then.
    pub(super) encrypted: bool,
}

/// Takes an input apart. The error is the end of a sentence and repeats nothing of the input.
pub(super) fn blocks(bytes: &[u8]) -> Result<Vec<Block>, String> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err("it is empty".to_owned());
    }
    let mut bytes = bytes.to_vec();
    for layer in 0..=LAYERS {
        if bytes.windows(10).any(|window| window == b"-----BEGIN") {
            return from_pem(&String::from_utf8_lossy(&bytes));
        }
        if let Some(objects) = der::sequences(&bytes) {
            let block = |der: &[u8]| Block { label: BARE.to_owned(), der: der.to_vec(), encrypted: false };
            return Ok(objects.into_iter().map(block).collect());
        }
        bytes = match from_base64(&bytes) {
            Some(inner) => inner,
            None if layer == 0 => return Err("it is neither PEM, nor DER, nor base64 of these".to_owned()),
            None => return Err("what is inside the base64 is neither PEM nor DER".to_owned()),
        };
    }
    Err("it is encoded in base64 more than twice".to_owned())
}

/// An object in PEM: 64 columns, a line break at the end.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let body = LENIENT.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for (index, c) in body.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            text.push('\n');
        }
        text.push(c);
    }
    text.push_str(&format!("\n-----END {label}-----\n"));
    text
}

/// Blocks are found by their markers, not by lines: line breaks may have become blanks, or `\n` in letters.
fn from_pem(text: &str) -> Result<Vec<Block>, String> {
    let text = text.replace("\\r", "").replace("\\n", "\n");
    let mut blocks = Vec::new();
    let mut rest = text.as_str();
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let Some((label, body)) = after.split_once("-----").filter(|(label, _)| is_label(label)) else {
            return Err("a BEGIN line is damaged".to_owned());
        };
        let Some((body, tail)) = body.split_once(&format!("-----END {label}-----")) else {
            return Err(format!("its {label} block has no end"));
        };
        let encrypted = body.contains("Proc-Type:") && body.contains("ENCRYPTED");
        let der = if encrypted {
            Vec::new()
        } else {
            let der = from_base64(body.as_bytes()).filter(|der| !der.is_empty());
            der.ok_or_else(|| format!("its {label} block is damaged"))?
        };
        blocks.push(Block { label: label.to_owned(), der, encrypted });
        rest = tail;
    }
    Ok(blocks)
}

fn is_label(label: &str) -> bool {
    label.len() <= 40
        && label.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b" #".contains(&b))
}

fn from_base64(bytes: &[u8]) -> Option<Vec<u8>> {
    let compact: Vec<u8> = bytes.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    LENIENT.decode(compact).ok()
}
