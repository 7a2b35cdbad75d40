//! Parsing of numbers in arguments.

use crate::error::nearest_sizes;
use reflux_models::FAMILIES;

/// A whole number of at least 0: `28`, or `28.0`.
pub fn count(text: &str) -> Result<usize, String> {
    match (text.parse::<usize>(), text.parse::<f64>()) {
        (Ok(count), _) => Ok(count),
        (_, Ok(number)) if number < 0.0 => Err("it cannot be negative".into()),
        // Larger numbers cannot have a fraction, so they may have been rounded.
        (_, Ok(number)) if number < f64::from(u32::MAX) => {
            let whole = number as usize;
            if number.fract() == 0.0 {
                Ok(whole)
            } else {
                Err(format!("it must be a whole number, such as {whole} or {}", whole + 1))
            }
        }
        (_, Ok(number)) if !number.is_nan() => Err("it is too large".into()),
        _ => Err("it must be a whole number".into()),
    }
}

/// A whole number of at least 1.
pub fn positive(text: &str) -> Result<usize, String> {
    count(text).and_then(|count| if count > 0 { Ok(count) } else { Err("it must be at least 1".into()) })
}

/// Sizes must be multiples of this for every family; the family is not known yet.
fn unit() -> usize {
    FAMILIES.iter().map(|family| family.geometry.pixels_per_token()).max().unwrap_or(1)
}

/// The width or the height of a picture.
pub fn pixels(text: &str) -> Result<usize, String> {
    let between = text.parse::<f64>().ok().filter(|pixels| pixels.fract() != 0.0 && *pixels > 0.0);
    match (between, text.split_once(['x', 'X', '×', '*'])) {
        (Some(pixels), _) => {
            Err(format!("it must be a whole number; {}", nearest_sizes(pixels as usize, unit())))
        }
        (_, Some((width, height))) if count(width).is_ok() && count(height).is_ok() => {
            Err(format!("it must be a single number; use --width {width} --height {height}"))
        }
        _ => count(text),
    }
}

/// A width and a height, as in `1024x768`.
pub fn size(text: &str) -> Result<[usize; 2], String> {
    let sides = text.split_once(['x', 'X', '×']).ok_or("it must be a width and a height, as in 1024x768")?;
    Ok([pixels(sides.0)?, pixels(sides.1)?])
}

/// A number, with a fraction or without.
pub fn real(text: &str) -> Result<f32, String> {
    parsed(text)
}

/// The same in double precision, for what is counted with.
pub fn exact(text: &str) -> Result<f64, String> {
    parsed(text)
}

/// Numbers with commas in between.
pub fn list(text: &str) -> Result<Vec<f32>, String> {
    text.split(',').map(|number| real(number.trim())).collect()
}

fn parsed<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    match (text.parse(), text.replace(',', ".")) {
        (Ok(number), _) => Ok(number),
        (_, point) if point != text && point.parse::<N>().is_ok() => {
            Err(format!("write it with a decimal point, {point}"))
        }
        _ => Err("it must be a number such as 3.5".into()),
    }
}

/// How far from each other numbers may be, relative to what they are.
pub fn tolerance(text: &str) -> Result<f64, String> {
    let tolerance = text.parse().ok().filter(|tolerance: &f64| *tolerance >= 0.0);
    tolerance.ok_or_else(|| "it must be a number of at least 0, such as 1e-3".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_may_be_written_as_others() {
        assert_eq!(
            [count("28"), count("28.0"), count("1e3"), count("+7")],
            [Ok(28), Ok(28), Ok(1000), Ok(7)]
        );
        assert_eq!(count("18446744073709551615"), Ok(usize::MAX));
        let refused = |text| count(text).unwrap_err();
        assert_eq!(refused("2.5"), "it must be a whole number, such as 2 or 3");
        for negative in ["-1", "-0.5", "-inf"] {
            assert_eq!(refused(negative), "it cannot be negative");
        }
        for large in ["18446744073709551616", "1e30", "inf"] {
            assert_eq!(refused(large), "it is too large");
        }
        for word in ["", "many", "NaN", "0x10", "1 000", "--steps"] {
            assert_eq!(refused(word), "it must be a whole number");
        }
    }

    #[test]
    fn sizes_name_the_nearest() {
        assert_eq!(pixels("1080"), Ok(1080));
        assert_eq!(pixels("64.5").unwrap_err(), "it must be a whole number; 64 and 80 are the nearest");
        assert_eq!(pixels("0.5").unwrap_err(), "it must be a whole number; the smallest is 16");
        assert!(pixels("1024x768").unwrap_err().ends_with("--width 1024 --height 768"));
        assert_eq!(pixels("-64").unwrap_err(), "it cannot be negative");
    }

    #[test]
    fn a_tolerance_is_a_size() {
        assert_eq!((tolerance("1e-3"), tolerance("0")), (Ok(1e-3), Ok(0.0)));
        for wrong in ["-1", "NaN", "", "1%"] {
            assert_eq!(tolerance(wrong).unwrap_err(), "it must be a number of at least 0, such as 1e-3");
        }
    }

    #[test]
    fn fractions_have_a_point() {
        assert_eq!((real("3.5"), real("-1")), (Ok(3.5), Ok(-1.0)));
        assert_eq!(real("3,5").unwrap_err(), "write it with a decimal point, 3.5");
        assert_eq!(real("high").unwrap_err(), "it must be a number such as 3.5");
    }
}
