//! The numbers of an uploaded file: a header row, then the number in the first column (§6.2).

use super::answer::Failure;

/// Most rows of a file (§6.2).
const MAX_ROWS: usize = 150_000;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// The numbers in `file`, which is csv or txt; rows whose first column is no number are left out, as
/// §6.4 has it.
pub(super) fn read(file: &[u8]) -> Result<Vec<Box<str>>, Failure> {
    let file = file.strip_prefix(BOM).unwrap_or(file);
    let mut rows = Rows(file).filter(|row| !row.trim_ascii().is_empty());
    let header = rows.next().map(first_cell).ok_or(Failure::NumberFile("文件为空"))?;
    if !header.iter().all(|byte| byte.is_ascii_alphabetic() || *byte == b'_') {
        return Err(Failure::NumberFile("第一行必须是表头, 表头采用半角英文字母"));
    }
    let mut numbers = Vec::new();
    for (index, row) in rows.enumerate() {
        if index >= MAX_ROWS {
            return Err(Failure::NumberFile("一次最多 15 万个号码"));
        }
        numbers.extend(number(first_cell(row)));
    }
    if numbers.is_empty() {
        return Err(Failure::NumberFile("没有有效号码"));
    }
    Ok(numbers)
}

fn number(cell: &[u8]) -> Option<Box<str>> {
    let digits = cell.strip_prefix(b"+").unwrap_or(cell);
    let good = (3..=20).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(cell).ok().filter(|_| good).map(Box::from)
}

fn first_cell(row: &[u8]) -> &[u8] {
    let end = row.iter().position(|byte| matches!(byte, b',' | b'\t')).unwrap_or(row.len());
    let cell = row[..end].trim_ascii();
    cell.strip_prefix(b"\"").and_then(|cell| cell.strip_suffix(b"\"")).unwrap_or(cell)
}

/// Rows; a line break between quotes does not end one.
struct Rows<'a>(&'a [u8]);

impl<'a> Iterator for Rows<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let mut quoted = false;
        let end = self.0.iter().position(|byte| {
            quoted ^= *byte == b'"';
            *byte == b'\n' && !quoted
        });
        let (row, rest) = self.0.split_at(end.map_or(self.0.len(), |end| end + 1));
        self.0 = rest;
        Some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(file: &str) -> Vec<Box<str>> {
        read(file.as_bytes()).unwrap()
    }

    #[test]
    fn csv_and_txt_are_read() {
        assert_eq!(
            numbers("phone,name\r\n13800138000,王\r\n9998,\"a\n1\"\r\n"),
            [Box::<str>::from("13800138000"), Box::<str>::from("9998")]
        );
        assert_eq!(
            numbers("\u{feff}phone\n\"13800138000\"\n\n+8613800138001"),
            [Box::<str>::from("13800138000"), Box::<str>::from("+8613800138001")]
        );
        assert_eq!(
            numbers("phone\tname\n13800138000\tx\nnumber\tx\n12\n"),
            [Box::<str>::from("13800138000")]
        );
    }

    #[test]
    fn what_is_no_number_file_is_refused() {
        let long = "phone\n".to_owned() + &"13800138000\n".repeat(MAX_ROWS + 1);
        for file in ["", "phone\n", "13800138000\n13800138001\n", "号码\n13800138000\n", &long] {
            assert!(matches!(read(file.as_bytes()), Err(Failure::NumberFile(_))));
        }
        assert_eq!(numbers(&long[..long.len() - 12]).len(), MAX_ROWS);
    }
}
