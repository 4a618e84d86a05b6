//! Two hashes: one that other languages can recompute, one that is fast.

/// The mark with which the answer to `prompt` begins: its CRC-32 (the one of zlib and PNG) as eight
/// hexadecimal digits in brackets.
///
/// The prompt is the text of the last message (chat), of the last input item (responses), or of the
/// prompt itself. In Python: `f"[{zlib.crc32(prompt.encode()):08x}]"`.
#[must_use]
pub fn answer_tag(prompt: &str) -> String {
    format!("[{:08x}]", crc32(0, prompt.as_bytes()))
}

/// One table for each byte of a word, so that eight bytes are folded in a step.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0u32; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xEDB8_8320
            } else {
                crc >> 1
            };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let last = tables[table - 1][byte];
            tables[table][byte] = (last >> 8) ^ tables[0][(last & 0xFF) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

/// Continues a CRC-32 from `seed` (0 at the start).
pub(crate) fn crc32(seed: u32, bytes: &[u8]) -> u32 {
    let mut crc = !seed;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let low = u32::from_le_bytes([word[0], word[1], word[2], word[3]]) ^ crc;
        let [a, b, c, d] = low.to_le_bytes();
        crc = TABLES[7][a as usize]
            ^ TABLES[6][b as usize]
            ^ TABLES[5][c as usize]
            ^ TABLES[4][d as usize]
            ^ TABLES[3][word[4] as usize]
            ^ TABLES[2][word[5] as usize]
            ^ TABLES[1][word[6] as usize]
            ^ TABLES[0][word[7] as usize];
    }
    for &byte in rest {
        crc = (crc >> 8) ^ TABLES[0][((crc ^ u32::from(byte)) & 0xFF) as usize];
    }
    !crc
}

/// 64 bits that identify `bytes` (with everything hashed into `seed` before).
///
/// Each round is a bijection of its word, so that texts which differ in one word never collide; the
/// end is the finaliser of MurmurHash3. Not meant to withstand an attacker: who sends colliding
/// prompts to a fake provider only spoils their own count.
pub(crate) fn hash64(seed: u64, bytes: &[u8]) -> u64 {
    let round = |state: u64, word: u64| {
        let mixed = (state ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^ (mixed >> 32)
    };
    let mut state = round(seed, bytes.len() as u64 ^ 0xD1B5_4A32_D192_ED03);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state = round(state, u64::from_le_bytes(*word));
    }
    let mut tail = [0; 8];
    tail[..rest.len()].copy_from_slice(rest);
    state ^= u64::from_le_bytes(tail);
    state = (state ^ (state >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    state = (state ^ (state >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    state ^ (state >> 33)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn crc_gives_the_published_check_value() {
        assert_eq!(crc32(0, b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(0, b""), 0);
        assert_eq!(answer_tag("123456789"), "[cbf43926]");
    }

    #[test]
    fn crc_is_the_same_in_pieces_of_any_length() {
        let text: Vec<u8> = (0..100).collect();
        for cut in 0..text.len() {
            let (head, tail) = text.split_at(cut);
            assert_eq!(crc32(crc32(0, head), tail), crc32(0, &text), "cut at {cut}");
        }
    }

    #[test]
    fn hash_tells_apart_prompts_that_differ_in_one_byte_or_in_length() {
        let mut seen = HashSet::new();
        for length in 0..40 {
            let zeros = vec![0; length];
            assert!(seen.insert(hash64(1, &zeros)), "length {length}");
            for place in 0..length {
                for value in 1..=255 {
                    let mut bytes = zeros.clone();
                    bytes[place] = value;
                    assert!(seen.insert(hash64(1, &bytes)), "{bytes:?}");
                }
            }
        }
    }
}
