//! Which files are made of pages, and how long these are: as the user says, or by the first bytes of PostgreSQL's and InnoDB's.

/// So many bytes of a file's start are looked at.
pub(crate) const LOOK_BYTES: usize = 64;

/// PostgreSQL: the layout version of pages since release 8.3 (`PG_PAGE_LAYOUT_VERSION`), in the low byte of their length.
const POSTGRESQL_LAYOUT: u16 = 4;

/// InnoDB: a tablespace's first page is of this type (`FIL_PAGE_TYPE_FSP_HDR`).
const INNODB_FIRST_PAGE: u16 = 8;

/// InnoDB's usual page.
const INNODB_PAGE_BYTES: usize = 16 << 10;

/// The length of the pages of a file of `size` bytes that starts so; none if it is not known to have any.
pub(crate) fn page_bytes(start: &[u8; LOOK_BYTES], size: u64) -> Option<usize> {
    let found = postgresql(start).or_else(|| innodb(start))?;
    size.is_multiple_of(found as u64).then_some(found)
}

/// `PageHeaderData` of `bufpage.h`, in the byte order of this machine, which is the server's.
fn postgresql(start: &[u8]) -> Option<usize> {
    let number = |at: usize| u16::from_ne_bytes([start[at], start[at + 1]]);
    let (lower, upper, special, size_and_layout) = (number(12), number(14), number(16), number(18));
    let (size, layout) = (size_and_layout & 0xff00, size_and_layout & 0xff);
    let is_page = layout == POSTGRESQL_LAYOUT
        && (4 << 10..=32 << 10).contains(&size)
        && size.is_power_of_two()
        && (24..=upper).contains(&lower)
        && upper <= special
        && special <= size;
    is_page.then_some(usize::from(size))
}

/// `FIL_PAGE_*` of `fil0types.h` and `FSP_*` of `fsp0types.h`: page number 0 of the space that its header says it is.
fn innodb(start: &[u8]) -> Option<usize> {
    let is_first = start[4..8] == [0; 4]
        && u16::from_be_bytes([start[24], start[25]]) == INNODB_FIRST_PAGE
        && start[34..38] == start[38..42];
    if !is_first {
        return None;
    }
    let flags = u32::from_be_bytes([start[54], start[55], start[56], start[57]]);
    // `FSP_FLAGS_POS_PAGE_SSIZE`: 0 is the usual length, n is 512 << n.
    match flags >> 6 & 0xf {
        0 => Some(INNODB_PAGE_BYTES),
        shift @ 3..=7 => Some(512 << shift),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn postgresql_page(size: u16, lower: u16) -> [u8; LOOK_BYTES] {
        let mut start = [7; LOOK_BYTES];
        for (at, number) in [(12, lower), (14, 4000), (16, size), (18, size | 4)] {
            start[at..at + 2].copy_from_slice(&u16::to_ne_bytes(number));
        }
        start
    }

    #[test]
    fn a_table_of_postgresql_is_recognised() {
        let size = 1 << 30;
        assert_eq!(page_bytes(&postgresql_page(8192, 24), size), Some(8192));
        assert_eq!(page_bytes(&postgresql_page(16384, 300), size), Some(16384));
        assert_eq!(page_bytes(&postgresql_page(8192, 24), size + 1), None);
        assert_eq!(page_bytes(&postgresql_page(8192, 23), size), None);
        assert_eq!(page_bytes(&postgresql_page(8192, 5000), size), None);
        assert_eq!(page_bytes(&postgresql_page(9 << 10, 24), size), None);
        assert_eq!(page_bytes(&[0; LOOK_BYTES], size), None);
    }

    #[test]
    fn a_tablespace_of_innodb_is_recognised() {
        let mut start = [0; LOOK_BYTES];
        start[25] = 8;
        start[37] = 9;
        start[41] = 9;
        assert_eq!(page_bytes(&start, 16 << 20), Some(16 << 10));
        start[54..58].copy_from_slice(&(4u32 << 6).to_be_bytes());
        assert_eq!(page_bytes(&start, 16 << 20), Some(8 << 10));
        start[41] = 8;
        assert_eq!(page_bytes(&start, 16 << 20), None);
    }
}
