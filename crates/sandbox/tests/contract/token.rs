//! OneGate's tokens, which anybody can make who may read the user's TOKEN_PASSWORD.

use base64::{Engine, engine::general_purpose::STANDARD};
use cbc::cipher::{BlockModeEncrypt, KeyIvInit, block_padding::Pkcs7};
use onefed_opennebula::xml::Element;

/// The OneGate token of a VM, as oned makes it: AES-256-CBC of `VMID:STIME` under the first 32 characters of the user's
/// TOKEN_PASSWORD, with an IV of zeroes. `user` and `vm` are the documents that oned gives.
pub(crate) fn computed(user: &str, vm: &str) -> Result<String, String> {
    let read = |text: &str| Element::parse(text.as_bytes()).map_err(|why| why.to_string());
    let (user, vm) = (read(user)?, read(vm)?);
    let password = user.child("TEMPLATE").and_then(|t| t.text_of("TOKEN_PASSWORD"));
    let password = password.ok_or("the user has no TOKEN_PASSWORD")?;
    let key = password.as_bytes().get(..32).ok_or("a TOKEN_PASSWORD of less than 32 characters")?;
    let id = vm.text_of("ID").ok_or("a VM without ID")?;
    let plain = format!("{id}:{}", vm.text_of("STIME").ok_or("a VM without STIME")?);
    let cipher =
        cbc::Encryptor::<aes::Aes256>::new_from_slices(key, &[0; 16]).map_err(|why| why.to_string())?;
    Ok(STANDARD.encode(cipher.encrypt_padded_vec::<Pkcs7>(plain.as_bytes())))
}
