//! Naive readings, to compare the decoders with: written for the eye, not for speed.

pub(crate) mod policy;
pub(crate) mod xml;

/// CRC-32C, bit by bit (RFC 3720, B.4).
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0x82f6_3b78 } else { sum >> 1 };
        }
    }
    !sum
}
