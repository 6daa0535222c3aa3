//! Names of snapshots in a mounted folder: by time and short id, so that a listing in name order is one in time order.

use holdfast_format::SnapshotId;

const DAY_MILLIS: i64 = 86_400_000;

/// `2026-11-22T07-26-00Z-1a2b3c4d`: the time in UTC to the second, then the first eight digits of the id.
pub(super) fn folder_name(id: &SnapshotId, time_millis: i64) -> String {
    let (year, month, day) = civil(time_millis.div_euclid(DAY_MILLIS));
    let seconds = time_millis.rem_euclid(DAY_MILLIS) / 1000;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let id = id.to_string();
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}-{minute:02}-{second:02}Z-{}",
        &id[..8]
    )
}

/// Year, month and day of a number of days since 1970-01-01 in the proleptic Gregorian calendar (H. Hinnant,
/// "chrono-compatible low-level date algorithms", `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_utc() {
        let id = SnapshotId::from_slice(&[0x1a; 16]).unwrap();
        let check = |millis, want: &str| {
            assert_eq!(folder_name(&id, millis), format!("{want}-1a1a1a1a"));
        };
        check(0, "1970-01-01T00-00-00Z");
        check(-1, "1969-12-31T23-59-59Z");
        check(951_827_696_789, "2000-02-29T12-34-56Z");
        check(4_107_542_399_000, "2100-02-28T23-59-59Z");
        check(4_107_542_400_000, "2100-03-01T00-00-00Z");
    }
}
