//! Numbers and texts, one after another.

/// Why reading stops.
#[derive(Debug)]
pub(super) enum Stop {
    /// The file ends; it would have to have so many bytes.
    End(u64),
    Why(String),
}

/// The longest text that is read; names have at most 64 bytes, chat templates some thousands.
const LONGEST: u64 = 1 << 24;

/// A place in a file.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: u64,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// In bytes, from the start of the file.
    pub fn position(&self) -> u64 {
        self.at
    }

    pub fn skip(&mut self, count: u64) -> Result<(), Stop> {
        self.take(count).map(drop)
    }

    pub fn u32(&mut self) -> Result<u32, Stop> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    pub fn u64(&mut self) -> Result<u64, Stop> {
        let (low, high) = (self.u32()?, self.u32()?);
        Ok(u64::from(low) | u64::from(high) << 32)
    }

    /// An unsigned number of `size` bytes, at most eight.
    pub fn unsigned(&mut self, size: u64) -> Result<u64, Stop> {
        let bytes = self.take(size)?;
        Ok(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// How many things follow, each of at least `least` bytes, all of which have to be in the file.
    pub fn count(&mut self, least: u64) -> Result<u64, Stop> {
        let count = self.u64()?;
        let need = count.checked_mul(least).and_then(|bytes| bytes.checked_add(self.at));
        match need {
            Some(need) if need <= self.bytes.len() as u64 => Ok(count),
            Some(need) => Err(Stop::End(need)),
            None => Err(Stop::Why(format!("it counts {count} entries, more than fit in any file"))),
        }
    }

    /// A text after its length.
    pub fn text(&mut self) -> Result<String, Stop> {
        let length = self.u64()?;
        if length > LONGEST {
            return Err(Stop::Why(format!("it has a text of {length} bytes at byte {}", self.at - 8)));
        }
        let at = self.at;
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(bytes);
        text.map(str::to_owned).map_err(|_| Stop::Why(format!("the text at byte {at} is not UTF-8")))
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], Stop> {
        let end = self.at.checked_add(count).ok_or(Stop::End(u64::MAX))?;
        if end > self.bytes.len() as u64 {
            return Err(Stop::End(end));
        }
        let taken = &self.bytes[self.at as usize..end as usize];
        self.at = end;
        Ok(taken)
    }
}
