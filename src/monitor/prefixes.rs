//! Which cohort an address belongs to: `prefixes.csv`, and the names by number that the kernel knows.
//!
//! ```text
//! prefix,carrier,region
//! 100.64.0.0/10,a,eu
//! 2001:db8::/32,b,
//! ```
//!
//! The longest prefix that covers an address wins. A cohort is named `carrier=a,region=eu` everywhere; an empty column
//! reads `unknown`, so that every name has the same keys. Two rows of one carrier and region are one cohort. IPv4 lives
//! within IPv6 (as `::ffff:0:0/96`), so `::/0` covers IPv4 too where nothing longer does.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use crate::document::problem::{Problem, Problems};
use crate::document::{Place, SourceFile, read_text};

/// The cohort of addresses that no prefix covers: number 0.
pub const UNKNOWN: &str = "carrier=unknown,region=unknown";
/// Most cohorts: one per-CPU value each in the kernel.
pub const COHORTS_MAX: usize = 1_024;
/// Most prefixes: all of the internet's routes would fit.
pub const PREFIXES_MAX: usize = 2_000_000;
/// Largest file.
const FILE_MAX_BYTES: u64 = 128 << 20;
/// Longest name of a carrier or a region, in bytes.
const NAME_MAX_BYTES: usize = 64;
/// Errors that are told one by one.
const ERRORS_MAX: usize = 50;
/// The first line.
const HEADER: &str = "prefix,carrier,region";

/// Addresses that begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// IPv6, or IPv4 mapped into it; zeros behind `bits`.
    pub address: [u8; 16],
    /// Of `address`: 96 more than an IPv4 prefix has.
    pub bits: u8,
    /// By number.
    pub cohort: u16,
}

/// All prefixes, and the cohorts by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefixes {
    /// Cohort names as everywhere (`carrier=a,region=eu`); the first is [`UNKNOWN`].
    pub names: Vec<Arc<str>>,
    /// In the order of the file.
    pub rows: Vec<Prefix>,
}

impl Default for Prefixes {
    fn default() -> Self {
        Self { names: vec![UNKNOWN.into()], rows: Vec::new() }
    }
}

impl Prefixes {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// The file cannot be read, or every line that is wrong, each with its place.
    pub fn read(path: &Path) -> Result<Self, Problems> {
        let of_whole = |message: String| {
            let file = Arc::new(SourceFile { path: path.to_owned(), text: String::new() });
            Problems(vec![Problem::without_line(Place::start_of(&file), "", message)])
        };
        let text = read_text(path, FILE_MAX_BYTES).map_err(of_whole)?;
        Self::parse(&Arc::new(SourceFile { path: path.to_owned(), text }))
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// Every line that is wrong, each with its place.
    pub fn parse(file: &Arc<SourceFile>) -> Result<Self, Problems> {
        let mut reading = Reading { file, prefixes: Self::default(), numbers: HashMap::new(), rows: HashMap::new() };
        reading.numbers.insert(UNKNOWN.to_owned(), 0);
        let mut problems = Vec::new();
        let lines = file.text.trim_start_matches('\u{feff}').lines().enumerate();
        let mut lines = lines.map(|(i, line)| (i + 1, line.trim())).filter(|(_, line)| is_row(line));
        problems.extend(header(file, lines.next()));
        for (number, line) in lines {
            problems.extend(reading.take(number, line).err());
        }
        if problems.is_empty() { Ok(reading.prefixes) } else { Err(Problems(cut(problems))) }
    }
}

fn is_row(line: &str) -> bool {
    !line.is_empty() && !line.starts_with('#')
}

fn header(file: &Arc<SourceFile>, first: Option<(usize, &str)>) -> Option<Problem> {
    let is_header = |line: &str| line.split(',').map(str::trim).eq(HEADER.split(','));
    match first {
        Some((_, line)) if is_header(line) => None,
        Some((number, line)) => {
            Some(at(file, number, format!("{line:?}: the first line must be `{HEADER}`: put it above the prefixes")))
        }
        None => Some(at(file, 1, format!("nothing in it: write `{HEADER}`, and under it a line a prefix"))),
    }
}

/// One file while it is read.
struct Reading<'a> {
    file: &'a Arc<SourceFile>,
    prefixes: Prefixes,
    /// Cohorts by name.
    numbers: HashMap<String, u16>,
    /// Lines by prefix.
    rows: HashMap<([u8; 16], u8), usize>,
}

impl Reading<'_> {
    fn take(&mut self, line: usize, text: &str) -> Result<(), Problem> {
        let wrong = |message| at(self.file, line, message);
        let columns: Vec<&str> = text.split(',').map(str::trim).collect();
        let &[prefix, carrier, region] = columns.as_slice() else {
            return Err(wrong(format!("{text:?}: needs 3 columns, `{HEADER}`, and has {}", columns.len())));
        };
        let (address, bits) = range(prefix).map_err(wrong)?;
        let name = cohort_name(carrier, region).map_err(wrong)?;
        if let Some(first) = self.rows.insert((address, bits), line) {
            return Err(wrong(format!("{prefix:?}: is there already, in line {first}: leave one of them out")));
        }
        if self.prefixes.rows.len() == PREFIXES_MAX {
            return Err(wrong(format!("{prefix:?}: more than {PREFIXES_MAX} prefixes: join neighbours of one cohort")));
        }
        let cohort = self.number(name).map_err(wrong)?;
        self.prefixes.rows.push(Prefix { address, bits, cohort });
        Ok(())
    }

    fn number(&mut self, name: String) -> Result<u16, String> {
        if let Some(number) = self.numbers.get(&name) {
            return Ok(*number);
        }
        let next = self.prefixes.names.len();
        if next == COHORTS_MAX {
            let why = "beside the one for addresses without a prefix: use fewer carriers or wider regions";
            return Err(format!("{name:?}: one cohort too many: at most {} {why}", COHORTS_MAX - 1));
        }
        self.prefixes.names.push(name.as_str().into());
        self.numbers.insert(name, next as u16);
        Ok(next as u16)
    }
}

/// `100.64.0.0/10` as IPv6 and a number of bits; a bare address is a prefix of its own.
fn range(text: &str) -> Result<([u8; 16], u8), String> {
    let how = "expected a prefix such as 100.64.0.0/10 or 2001:db8::/32";
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr = address.parse().map_err(|_| format!("{text:?}: {how}"))?;
    let most: u8 = if address.is_ipv4() { 32 } else { 128 };
    let is_plain = |bits: &&str| bits.bytes().all(|byte| byte.is_ascii_digit());
    let bits = match bits {
        None => most,
        Some(bits) => {
            let bits = Some(bits).filter(is_plain).and_then(|bits| bits.parse().ok()).filter(|bits| *bits <= most);
            bits.ok_or_else(|| format!("{text:?}: the length must be 0 to {most}; {how}"))?
        }
    };
    let whole = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let all = if address.is_ipv4() { 96 + bits } else { bits };
    let mask = u128::MAX.checked_shl(128 - u32::from(all)).unwrap_or(0);
    let first = Ipv6Addr::from_bits(whole.to_bits() & mask);
    if first != whole {
        let first = if address.is_ipv4() { first.to_ipv4_mapped().map_or(address, IpAddr::V4) } else { first.into() };
        return Err(format!("{text:?}: has bits behind its length: write {first}/{bits}, or a longer prefix"));
    }
    Ok((first.octets(), all))
}

fn cohort_name(carrier: &str, region: &str) -> Result<String, String> {
    let name = |column: &str, text: &str| match text {
        "" => Ok("unknown".to_owned()),
        text if text.len() > NAME_MAX_BYTES => Err(format!("{text:?}: a {column} has at most {NAME_MAX_BYTES} bytes")),
        text if text.contains(['=', '"', '\'', '\\']) || text.chars().any(char::is_control) => {
            Err(format!("{text:?}: a {column} has no quotes, no `=`, no backslash and no control characters"))
        }
        text => Ok(text.to_owned()),
    };
    Ok(format!("carrier={},region={}", name("carrier", carrier)?, name("region", region)?))
}

fn at(file: &Arc<SourceFile>, line: usize, message: String) -> Problem {
    Problem::new(Place::File { file: Arc::clone(file), line, column: 1 }, "", message)
}

/// The first errors, and how many more there are.
fn cut(mut problems: Vec<Problem>) -> Vec<Problem> {
    let more = problems.len().saturating_sub(ERRORS_MAX);
    problems.truncate(ERRORS_MAX);
    if more > 0 {
        problems.push(Problem::new(Place::Nowhere, "", format!("and {more} more lines are wrong")));
    }
    problems
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Prefixes, Problems> {
        Prefixes::parse(&Arc::new(SourceFile { path: "prefixes.csv".into(), text: text.to_owned() }))
    }

    fn said(rows: &str) -> Vec<String> {
        let problems = parse(&format!("{HEADER}\n{rows}\n")).expect_err("something is wrong");
        problems.0.iter().map(Problem::line).collect()
    }

    #[test]
    fn rows_become_prefixes_and_cohorts_have_numbers() {
        let text = "\u{feff}prefix, carrier, region\r\n# ours\r\n100.64.0.0/10,a,eu\r\n\r\n2001:db8::/32,b,\r\n10.0.0.1,a,eu\r\n::/0,,\r\n";
        let prefixes = parse(text).expect("valid");
        let names: Vec<&str> = prefixes.names.iter().map(AsRef::as_ref).collect();
        assert_eq!(names, [UNKNOWN, "carrier=a,region=eu", "carrier=b,region=unknown"]);
        let rows: Vec<(u8, u16)> = prefixes.rows.iter().map(|row| (row.bits, row.cohort)).collect();
        assert_eq!(rows, [(106, 1), (32, 2), (128, 1), (0, 0)]);
        assert_eq!(prefixes.rows[0].address[10..], [0xff, 0xff, 100, 64, 0, 0]);
    }

    #[test]
    fn every_wrong_line_is_told_at_once() {
        let rows = "10.0.0.0/33,a,eu\n10.0.0.1/8,a,eu\nx,a,eu\n10.0.0.0/8,a\n10.0.0.0/8,a=b,eu\n::1/+5,a,b";
        assert_eq!(
            said(rows),
            [
                r#"prefixes.csv:2:1: "10.0.0.0/33": the length must be 0 to 32; expected a prefix such as 100.64.0.0/10 or 2001:db8::/32"#,
                r#"prefixes.csv:3:1: "10.0.0.1/8": has bits behind its length: write 10.0.0.0/8, or a longer prefix"#,
                r#"prefixes.csv:4:1: "x": expected a prefix such as 100.64.0.0/10 or 2001:db8::/32"#,
                r#"prefixes.csv:5:1: "10.0.0.0/8,a": needs 3 columns, `prefix,carrier,region`, and has 2"#,
                r#"prefixes.csv:6:1: "a=b": a carrier has no quotes, no `=`, no backslash and no control characters"#,
                r#"prefixes.csv:7:1: "::1/+5": the length must be 0 to 128; expected a prefix such as 100.64.0.0/10 or 2001:db8::/32"#,
            ]
        );
    }

    #[test]
    fn a_prefix_that_is_there_twice_is_named_with_both_lines() {
        let said = said("10.0.0.0/8,a,eu\n::ffff:10.0.0.0/104,b,eu");
        assert_eq!(said.len(), 1);
        assert!(said[0].contains("is there already, in line 2"), "{said:?}");
    }

    #[test]
    fn one_cohort_too_many_is_refused() {
        let rows = |n: usize| (0..n).map(|i| format!("10.{}.{}.0/24,c{i},eu\n", i / 256, i % 256)).collect::<String>();
        let most = COHORTS_MAX - 1;
        let fits = parse(&format!("{HEADER}\n{}", rows(most))).expect("as many as fit");
        assert_eq!(fits.names.len(), COHORTS_MAX);
        let said = said(&rows(most + 1));
        assert_eq!(said.len(), 1);
        assert!(said[0].contains("one cohort too many: at most 1023"), "{said:?}");
    }

    #[test]
    fn a_file_without_its_first_line_says_which() {
        for text in ["", "# nothing\n", "10.0.0.0/8,a,eu\n", "prefix,region,carrier\n"] {
            let problems = parse(text).expect_err("no header").to_string();
            assert!(problems.contains(HEADER), "{problems}");
        }
    }

    #[test]
    fn errors_are_bounded() {
        let said = said(&"x,a,eu\n".repeat(1_000));
        assert_eq!(said.len(), ERRORS_MAX + 1);
        assert_eq!(said[ERRORS_MAX], "and 950 more lines are wrong");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[0-9a-f.:/,\n=x]{0,200}") {
            let _ = parse(&format!("{HEADER}\n{text}"));
        }
    }
}
