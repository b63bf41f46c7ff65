//! Cyclic redundancy checks, by tables that are made at compile time.

/// CRC-16/XMODEM: polynomial 0x1021, nothing reflected, begins and ends with 0. Redis Cluster places keys by it.
#[must_use]
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| (crc << 8) ^ CRC16[usize::from((crc >> 8) as u8 ^ byte)])
}

const CRC16: [u16; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = (i as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_check_values_of_the_catalogue() {
        // The Cluster specification, appendix A, gives the first.
        for (text, expected) in
            [("123456789", 0x31c3), ("", 0), ("\0", 0), ("\u{1}", 0x1021), ("foo", 0xaf96)]
        {
            assert_eq!(crc16(text.as_bytes()), expected, "{text:?}");
        }
    }
}
