//! Payloads: compressed, checksummed, and free of what looks like the beginning of a block.
//!
//! Programs choose much of what a journal holds, and may choose a whole block as an argument. Who looks
//! for the next block after damage must not find that one. So a payload with the sync bytes in it is
//! stored under a mask: its own checksum, which depends on times that no program can foresee.

use std::io;

use memchr::memmem;
use xxhash_rust::xxh3::xxh3_64;

use super::header::SYNC;

/// How well to compress: docs/benchmarks.md has what other levels would give and cost.
const LEVEL: i32 = 3;

/// The bits of `codec`.
const ZSTD: u8 = 1;
const MASKED: u8 = 2;

/// A payload as it stands in a file, and what its header says of it.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) codec: u8,
    pub(crate) sum: u64,
    pub(crate) stored: Vec<u8>,
}

/// Makes a payload ready for a file.
///
/// # Errors
///
/// The compressor has no memory.
pub(crate) fn pack(raw: &[u8]) -> io::Result<Packed> {
    let (mut codec, mut stored) = (ZSTD, zstd::bulk::compress(raw, LEVEL)?);
    if stored.len() >= raw.len() {
        (codec, stored) = (0, raw.to_vec());
    }
    let sum = xxh3_64(&stored);
    if memmem::find(&stored, &SYNC).is_some() {
        codec |= MASKED;
        mask(&mut stored, sum);
    }
    Ok(Packed { codec, sum, stored })
}

/// What [`pack`] was given, which was `raw` bytes long.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn unpack(mut packed: Packed, raw: usize) -> Result<Vec<u8>, &'static str> {
    if packed.codec & !(ZSTD | MASKED) != 0 {
        return Err("it is compressed in a way that is not known here");
    }
    if packed.codec & MASKED != 0 {
        mask(&mut packed.stored, packed.sum);
    }
    if xxh3_64(&packed.stored) != packed.sum {
        return Err("its checksum does not fit");
    }
    let unpacked = if packed.codec & ZSTD == 0 {
        packed.stored
    } else {
        zstd::bulk::decompress(&packed.stored, raw).map_err(|_| "it cannot be decompressed")?
    };
    if unpacked.len() == raw { Ok(unpacked) } else { Err("it is not as long as its header says") }
}

/// Puts the mask on, or takes it off.
fn mask(stored: &mut [u8], sum: u64) {
    let mask = sum.to_le_bytes().into_iter().cycle();
    stored.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_packed_is_unpacked() {
        let noise: Vec<u8> =
            (0..200_u32).flat_map(|number| xxh3_64(&number.to_le_bytes()).to_le_bytes()).collect();
        for (raw, codec) in [
            (b"".to_vec(), 0),
            (b"short".to_vec(), 0),
            (b"long ".repeat(100), ZSTD),
            (SYNC.to_vec(), MASKED),
            ([&noise[..], &SYNC, &noise[..]].concat(), ZSTD | MASKED),
        ] {
            let packed = pack(&raw).unwrap();
            assert_eq!(packed.codec, codec);
            assert!(memmem::find(&packed.stored, &SYNC).is_none());
            assert_eq!(unpack(packed, raw.len()), Ok(raw));
        }
    }

    #[test]
    fn what_is_longer_or_shorter_than_it_says_is_refused() {
        let raw = vec![0; 1 << 20];
        assert_eq!(unpack(pack(&raw).unwrap(), 1_000), Err("it cannot be decompressed"));
        assert_eq!(unpack(pack(&raw).unwrap(), raw.len() + 1), Err("it is not as long as its header says"));
    }
}
