use proptest::prelude::*;

use super::*;

/// Numbers that look like weights, and the same after a step of training.
fn weights(count: usize) -> (Vec<f32>, Vec<f32>) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f32 / (1u64 << 53) as f32
    };
    // The sum of twelve is nearly normal.
    let mut normal = move || (0..12).map(|_| uniform()).sum::<f32>() - 6.0;
    let old: Vec<f32> = (0..count).map(|_| normal() * 0.02).collect();
    let new = old.iter().map(|weight| weight + normal() * 1e-4).collect();
    (old, new)
}

/// An object of Flower's.
fn chunk(body: Vec<u8>) -> Bytes {
    let mut object = format!("ArrayChunk  {}\0", body.len()).into_bytes();
    object.extend(body);
    object.into()
}

fn fp32(weights: &[f32]) -> Bytes {
    chunk(weights.iter().flat_map(|weight| weight.to_le_bytes()).collect())
}

fn bf16(weights: &[f32]) -> Bytes {
    chunk(weights.iter().flat_map(|weight| ((weight.to_bits() >> 16) as u16).to_le_bytes()).collect())
}

fn fp64(weights: &[f32]) -> Bytes {
    chunk(weights.iter().flat_map(|weight| (f64::from(*weight) / 3.0).to_le_bytes()).collect())
}

/// What is left of an object, and how it was coded, after checking that it comes back.
fn left(raw: &Bytes, base: Option<&Bytes>) -> (Coding, f64) {
    let base = base.map(|base| base.as_ref());
    let encoded = encode(raw, base);
    assert_eq!(decode(encoded.coding, &encoded.bytes, raw.len(), base).as_ref(), Ok(raw));
    (encoded.coding, encoded.bytes.len() as f64 / raw.len() as f64)
}

#[test]
fn weights_shrink_and_updates_more_so() {
    let (old, new) = weights(300_000);
    let cases = [
        ("fp32", fp32(&old), fp32(&new), 0.85, 0.63),
        ("bf16", bf16(&old), bf16(&new), 0.70, 0.25),
        ("fp64", fp64(&old), fp64(&new), 0.88, 0.80),
    ];
    for (name, old, new, alone, update) in cases {
        let (coding, ratio) = left(&new, None);
        assert!(coding == Coding::Packed && ratio < alone, "{name}: {coding:?} {ratio}");
        let (coding, ratio) = left(&new, Some(&old));
        assert!(coding == Coding::Delta && ratio < update, "{name}: {coding:?} {ratio}");
    }
}

#[test]
fn a_base_that_does_not_help_is_not_used() {
    let (old, _) = weights(100_000);
    let (mut turned, new) = (old.clone(), fp32(&old));
    turned.reverse();
    let (coding, ratio) = left(&new, Some(&fp32(&turned)));
    assert!(coding == Coding::Packed && ratio < 0.85, "{coding:?} {ratio}");
}

#[test]
fn text_shrinks_and_noise_stays_as_it_is() {
    let names: String =
        (0..200).map(|at| format!("\"layer.{at}.weight\": \"{:064x}\", ", at * 7919)).collect();
    let (coding, ratio) = left(&names.into(), None);
    assert!(coding == Coding::Packed && ratio < 0.2, "{coding:?} {ratio}");
    let noise = zstd::bulk::compress(&fp32(&weights(50_000).0), 19).unwrap();
    let noise = Bytes::from(noise[..100_000].to_vec());
    let encoded = encode(&noise, None);
    assert_eq!(encoded.coding, Coding::Plain);
    assert_eq!(encoded.bytes.as_ptr(), noise.as_ptr());
}

#[test]
fn what_is_too_short_to_gain_stays_as_it_is() {
    for length in [0, 1, LEAST - 1] {
        let raw = Bytes::from(vec![0; length]);
        assert_eq!(encode(&raw, Some(&raw)), Encoded { coding: Coding::Plain, bytes: raw });
    }
}

#[test]
fn a_delta_needs_its_base() {
    let (old, new) = weights(10_000);
    let (old, new) = (fp32(&old), fp32(&new));
    let encoded = encode(&new, Some(&old));
    assert_eq!(encoded.coding, Coding::Delta);
    let decoded = |base| decode(Coding::Delta, &encoded.bytes, new.len(), base);
    assert_eq!(decoded(None), Err(CodecError::NoBase));
    // Another base gives other content: only the hash can tell.
    assert_ne!(decoded(Some(&new)), Ok(new.clone()));
    assert_eq!(decoded(Some(&old)), Ok(new.clone()));
}

#[test]
fn a_bomb_does_not_go_off() {
    // Planes of zeros are a frame of a few bytes for 65536 each.
    let raw = Bytes::from(vec![0; 8 << 20]);
    let encoded = encode(&raw, None);
    assert!(encoded.bytes.len() < 8 << 10, "{}", encoded.bytes.len());
    assert_eq!(decode(encoded.coding, &encoded.bytes, raw.len(), None), Ok(raw));
    // The content may not be longer than was said, and a length that is not there is not believed.
    for length in [0, 1, 5 << 20, (8 << 20) - 1, (8 << 20) + 1] {
        assert!(decode(encoded.coding, &encoded.bytes, length, None).is_err(), "{length}");
    }
    let huge = decode(encoded.coding, &encoded.bytes, isize::MAX as usize, None);
    assert_eq!(huge, Err(CodecError::Memory(isize::MAX as usize)));
    // A frame that gives more than its plane takes is an error.
    let frame = zstd::bulk::compress(&vec![0; 1 << 20], 1).unwrap();
    let mut object = vec![0];
    object.extend(&(frame.len() as u32).to_le_bytes()[..3]);
    object.extend(frame);
    assert_eq!(decode(Coding::Packed, &object.into(), 1000, None), Err(CodecError::Plane(0)));
}

#[test]
fn heads_of_later_releases_are_refused() {
    for head in 0..=u8::MAX {
        let width = 1 << (head & 3);
        let known = head >> 2 < width;
        let result = decode(Coding::Packed, &vec![head; 100].into(), 50, None);
        assert_eq!(result == Err(CodecError::Head(head)), !known, "{head:#04x}");
    }
}

#[test]
fn codings_have_numbers() {
    for number in 0..=u8::MAX {
        assert_eq!(Coding::of_number(number).map(Coding::number), (number < 3).then_some(number));
    }
}

/// Bytes with and without structure, up to this many.
fn content(most: usize) -> impl Strategy<Value = Vec<u8>> {
    let repeated = (prop::collection::vec(any::<u8>(), 1..40), 0..most)
        .prop_map(|(some, length)| some.into_iter().cycle().take(length).collect());
    let numbers =
        (any::<u32>(), 1u32..100_000, 0..most / 4, 0usize..4).prop_map(|(from, step, count, cut)| {
            let number = |at: usize| from.wrapping_add(step.wrapping_mul(at as u32)).to_le_bytes();
            (0..count).flat_map(number).skip(cut).collect()
        });
    prop_oneof![prop::collection::vec(any::<u8>(), 0..most.min(3000)), repeated, numbers]
}

fn choices() -> impl Strategy<Value = Choice> {
    (0u8..4, 0usize..8, any::<bool>(), any::<u8>()).prop_map(|(width, skip, delta, worth)| {
        let width = Width::of_logarithm(width).unwrap();
        Choice { width, skip: skip % width.bytes(), delta, worth }
    })
}

proptest! {
    // Slow as a debug build is, and large enough for several blocks.
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn all_content_comes_back(raw in content(3 * BLOCK), base in prop::option::of(content(3 * BLOCK))) {
        let raw = Bytes::from(raw);
        let encoded = encode(&raw, base.as_deref());
        prop_assert!(encoded.bytes.len() <= raw.len());
        prop_assert_eq!(decode(encoded.coding, &encoded.bytes, raw.len(), base.as_deref()), Ok(raw));
    }

    #[test]
    fn all_content_comes_back_whatever_was_chosen(raw in content(3 * BLOCK), base in content(3 * BLOCK), choice in choices()) {
        let base = choice.delta.then_some(base.as_slice());
        let coding = if choice.delta { Coding::Delta } else { Coding::Packed };
        if let Some(packed) = pack(&raw, base, &choice) {
            let back = decode(coding, &packed.into(), raw.len(), base);
            prop_assert_eq!(back, Ok(Bytes::from(raw)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_truncated_object_is_an_error(raw in content(10_000), base in content(10_000), cut: prop::sample::Index) {
        let encoded = encode(&raw.clone().into(), Some(&base));
        if !encoded.bytes.is_empty() {
            let short = encoded.bytes.slice(..cut.index(encoded.bytes.len()));
            prop_assert!(decode(encoded.coding, &short, raw.len(), Some(&base)).is_err());
        }
    }

    #[test]
    fn a_damaged_object_has_its_length_or_is_an_error(
        raw in content(10_000), base in content(10_000), at: prop::sample::Index, bits in 1u8..,
    ) {
        let encoded = encode(&raw.clone().into(), Some(&base));
        if !encoded.bytes.is_empty() {
            let mut bytes = encoded.bytes.to_vec();
            bytes[at.index(encoded.bytes.len())] ^= bits;
            let decoded = decode(encoded.coding, &bytes.into(), raw.len(), Some(&base));
            prop_assert!(decoded.is_err() || decoded.is_ok_and(|decoded| decoded.len() == raw.len()));
        }
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, delta: bool, length in 0usize..100_000, base: Vec<u8>) {
        let coding = if delta { Coding::Delta } else { Coding::Packed };
        if let Ok(raw) = decode(coding, &bytes.into(), length, Some(&base)) {
            prop_assert_eq!(raw.len(), length);
        }
    }
}
