//! The colours of plots. Files have those of paper; the page has them follow its own, which may be dark.

use plotters::style::RGBColor;
use std::fmt::Write;

/// What a mark is for, which decides its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    Paper,
    Text,
    Muted,
    Grid,
    /// What a plot is about.
    Accent,
    /// A part of a whole, by its number.
    Part(usize),
    /// What is left of a whole.
    Rest,
}

/// Parts that can be told apart. More than these are [`Ink::Rest`].
pub const PARTS: usize = 6;

/// An ink, the name of the page's variable, and the colours on paper and in the dark.
type Entry = (Ink, &'static str, [u8; 3], [u8; 3]);

/// All inks. Parts differ in lightness too, so that
/// they can be told apart without colours. Texts have a contrast of 4.5 and more to the paper.
const INKS: [Entry; 6 + PARTS] = [
    (Ink::Paper, "paper", [0xff, 0xff, 0xff], [0x14, 0x17, 0x1a]),
    (Ink::Text, "text", [0x1c, 0x21, 0x26], [0xe4, 0xe7, 0xea]),
    (Ink::Muted, "muted", [0x5b, 0x65, 0x70], [0x9a, 0xa4, 0xae]),
    (Ink::Grid, "grid", [0xe3, 0xe6, 0xe9], [0x2c, 0x32, 0x38]),
    (Ink::Accent, "accent", [0x1f, 0x5f, 0xbf], [0x7a, 0xb0, 0xff]),
    (Ink::Rest, "rest", [0xb4, 0xbb, 0xc2], [0x5c, 0x66, 0x70]),
    (Ink::Part(0), "part-0", [0x2b, 0x62, 0xb4], [0x5b, 0x93, 0xe6]),
    (Ink::Part(1), "part-1", [0xe0, 0x9f, 0x3e], [0xe8, 0xb0, 0x5a]),
    (Ink::Part(2), "part-2", [0x3c, 0x8d, 0x73], [0x4f, 0xa8, 0x8b]),
    (Ink::Part(3), "part-3", [0xc7, 0x8b, 0xb4], [0xd3, 0x9d, 0xc2]),
    (Ink::Part(4), "part-4", [0x6a, 0x4c, 0x93], [0x96, 0x7b, 0xc0]),
    (Ink::Part(5), "part-5", [0x8f, 0xc1, 0xd4], [0xa6, 0xd2, 0xe2]),
];

impl Ink {
    fn entry(self) -> &'static Entry {
        INKS.iter().find(|(ink, ..)| *ink == self).expect("all inks are listed")
    }

    /// On paper.
    pub fn color(self) -> RGBColor {
        let [red, green, blue] = self.entry().2;
        RGBColor(red, green, blue)
    }

    /// The ink of the part with this number.
    pub fn part(number: usize) -> Self {
        if number < PARTS { Self::Part(number) } else { Self::Rest }
    }
}

fn hexadecimal([red, green, blue]: [u8; 3]) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}

/// `svg` with the page's variables in place of colours on paper.
pub fn follow_page(svg: &str) -> String {
    // In texts of an SVG quotes are escaped, so that only attributes are found.
    INKS.iter().fold(svg.to_owned(), |svg, (_, name, paper, _)| {
        svg.replace(&format!("\"{}\"", hexadecimal(*paper)), &format!("\"var(--{name})\""))
    })
}

/// The page's variables: on paper, and in the dark.
fn css() -> [String; 2] {
    let list = |of: fn(&Entry) -> [u8; 3]| {
        INKS.iter().fold(String::new(), |mut list, ink| {
            let _ = write!(list, "--{}: {}; ", ink.1, hexadecimal(of(ink)));
            list
        })
    };
    [list(|ink| ink.2), list(|ink| ink.3)]
}

/// The colours of pages, as style: those of paper, and in the dark others.
pub fn style() -> String {
    let [paper, dark] = css();
    format!(
        ":root {{ color-scheme: light dark; {paper}}}\n\
         @media screen and (prefers-color-scheme: dark) {{ :root {{ {dark}}} }}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The contrast of two colours (WCAG 2.1, relative luminance).
    fn contrast(a: [u8; 3], b: [u8; 3]) -> f64 {
        let linear = |level: u8| {
            let level = f64::from(level) / 255.0;
            if level <= 0.03928 { level / 12.92 } else { ((level + 0.055) / 1.055).powf(2.4) }
        };
        let luminance = |[red, green, blue]: [u8; 3]| {
            0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
        };
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn texts_can_be_read() {
        let paper = Ink::Paper.entry();
        for ink in [Ink::Text, Ink::Muted, Ink::Accent] {
            let (_, name, on_paper, dark) = ink.entry();
            assert!(contrast(*on_paper, paper.2) >= 4.5 && contrast(*dark, paper.3) >= 4.5, "{name}");
        }
    }

    #[test]
    fn colours_follow_the_page() {
        let svg = r##"<rect fill="#1C2126"/><text>&quot;#1C2126&quot;</text>"##;
        assert_eq!(follow_page(svg), r#"<rect fill="var(--text)"/><text>&quot;#1C2126&quot;</text>"#);
        let mut colors: Vec<_> = INKS.iter().map(|ink| ink.2).collect();
        colors.sort_unstable();
        colors.dedup();
        assert_eq!(colors.len(), INKS.len(), "a colour is replaced by one variable");
    }
}
