//! CRC-32C, by tables that are made when this is compiled.

/// The polynomial 0x1EDC6F41, its bits in reverse.
const CASTAGNOLI: u32 = 0x82F6_3B78;

/// `TABLES[k][byte]` is what `byte` does to the register when `k` more bytes follow it.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut i = 0;
    while i < 8 * 256 {
        let (k, byte) = (i / 256, i % 256);
        let mut register = if k == 0 { byte as u32 } else { tables[k - 1][byte] };
        let mut bit = 0;
        while bit < 8 {
            register = (register >> 1) ^ if register & 1 == 1 { CASTAGNOLI } else { 0 };
            bit += 1;
        }
        tables[k][byte] = register;
        i += 1;
    }
    tables
}

/// The CRC-32C of `bytes` (Castagnoli; RFC 3720, section 12.1).
///
/// Eight bytes at a time ("slicing by eight", Kounavis and Berry, 2005): the processor's own instruction would take
/// unsafe code.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc32c_append(0, bytes)
}

/// The CRC-32C of some bytes whose own is `crc`, and of `bytes` behind them.
#[must_use]
pub fn crc32c_append(crc: u32, bytes: &[u8]) -> u32 {
    let mut register = !crc;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let word = u64::from_le_bytes(*word) ^ u64::from(register);
        register = 0;
        for (k, table) in TABLES.iter().rev().enumerate() {
            register ^= table[(word >> (8 * k)) as usize & 0xFF];
        }
    }
    for &byte in rest {
        register = (register >> 8) ^ TABLES[0][((register ^ u32::from(byte)) & 0xFF) as usize];
    }
    !register
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: u32) {
        assert_eq!(crc32c(bytes), expected);
        for at in 0..=bytes.len() {
            assert_eq!(crc32c_append(crc32c(&bytes[..at]), &bytes[at..]), expected, "cut at {at}");
        }
    }

    /// RFC 3720, appendix B.4, whose bytes stand in the order in which they are sent.
    #[test]
    fn gives_the_checks_of_the_rfc() {
        let ascending: Vec<u8> = (0..32).collect();
        let descending: Vec<u8> = (0..32).rev().collect();
        let mut read10 = [0; 48];
        for (at, byte) in
            [(0, 0x01), (1, 0xC0), (16, 0x14), (22, 0x04), (27, 0x14), (31, 0x18), (32, 0x28), (40, 0x02)]
        {
            read10[at] = byte;
        }
        check(&[0x00; 32], 0x8A91_36AA);
        check(&[0xFF; 32], 0x62A8_AB43);
        check(&ascending, 0x46DD_794E);
        check(&descending, 0x113F_DB5C);
        check(&read10, 0xD996_3A56);
        check(b"123456789", 0xE306_9283);
        check(b"", 0);
    }
}
