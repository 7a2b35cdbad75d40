//! Whether a picture of the bundled model shows what its prompt asks for: measured as it was after the model's training, by
//! comparison with the emoji that it was trained on.

use crate::pipeline::{Filter, Image, Window, windows};
use image::ImageFormat;
use rayon::prelude::*;
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Backgrounds by name, and their colours.
pub const BACKGROUNDS: [(&str, [u8; 3]); 10] = [
    ("white", [255, 255, 255]),
    ("black", [24, 24, 24]),
    ("gray", [132, 132, 132]),
    ("red", [214, 46, 46]),
    ("orange", [246, 142, 38]),
    ("yellow", [250, 218, 62]),
    ("green", [58, 168, 82]),
    ("blue", [48, 108, 222]),
    ("purple", [128, 66, 188]),
    ("pink", [246, 158, 196]),
];

/// Sizes by name, and the side of the emoji in a picture, in pixels.
pub const SIZES: [(&str, usize); 3] = [("normal", 92), ("small", 56), ("large", 120)];

/// The side of the pictures, in pixels.
const SIDE: usize = 128;

/// Pictures are compared as the means of squares with this side.
const POOLED: usize = 4;

/// Values of one channel of a picture that is compared.
const CELLS: usize = (SIDE / POOLED) * (SIDE / POOLED);

/// The side of the squares in the corners that tell the background.
const CORNER: usize = 5;

/// Columns of transparent pixels left of an emoji in the font's bitmaps, which are wider than they are high.
const MARGIN: usize = 4;

/// What a prompt asks for, by numbers.
#[derive(Clone, Debug)]
pub struct Wish {
    pub emoji: usize,
    pub background: usize,
    pub size: usize,
}

/// What of that a picture shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The background is nearer to the colour that is asked for than to the others.
    pub background: bool,
    /// The picture is nearest to that of the emoji that is asked for, of all on the same background at the same size.
    pub subject: bool,
    /// The picture is nearest to that of the size that is asked for.
    pub size: bool,
}

/// An emoji at one size in the middle of a picture: premultiplied red, green, blue, and alpha, 0 to 255.
type Layers = [Vec<u8>; 4];

/// The same as it is compared: the means of squares, 0 to 1.
type Means = [Vec<f64>; 4];

/// The emoji that the bundled model was trained on.
pub struct Emoji {
    names: Vec<String>,
    /// The files of all pictures, PNG.
    pictures: Vec<&'static [u8]>,
    /// All emoji at the sizes that were asked for.
    at_size: HashMap<usize, Vec<Means>>,
}

impl Emoji {
    /// All of them; pictures are decoded when they are first compared with.
    pub fn open() -> Self {
        const FILE: &[u8] = include_bytes!("emoji/noto.safetensors");
        let whole = "the file in the sources is whole";
        let (_, metadata) = SafeTensors::read_metadata(FILE).expect(whole);
        let names = metadata.metadata().as_ref().and_then(|texts| texts.get("names")).expect(whole);
        let file = SafeTensors::deserialize(FILE).expect(whole);
        let [pictures, offsets] = ["png", "offsets"].map(|name| file.tensor(name).expect(whole).data());
        let offset = |bytes: &[u8; 8]| i64::from_le_bytes(*bytes) as usize;
        let offsets: Vec<usize> = offsets.as_chunks().0.iter().map(offset).collect();
        let pictures = offsets.windows(2).map(|ends| &pictures[ends[0]..ends[1]]).collect();
        Self { names: names.lines().map(str::to_owned).collect(), pictures, at_size: HashMap::new() }
    }

    /// Their names, in order.
    #[cfg(test)]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether `picture` shows what `wish` asks for; none for a picture of another size than the model's.
    pub fn judge(&mut self, picture: &Image, wish: &Wish) -> Option<Shown> {
        if [picture.width(), picture.height()] != [SIDE; 2] {
            return None;
        }
        let (_, colour) = BACKGROUNDS[wish.background];
        let found = means_of(picture);
        let distance = |emoji: &Means| apart(&found, emoji, colour);
        let all = self.at_size(wish.size);
        let own = distance(&all[wish.emoji]);
        let subject = all.iter().all(|emoji| distance(emoji) >= own);
        let at_sizes: Vec<f64> =
            (0..SIZES.len()).map(|size| distance(&means(&self.layers(wish.emoji, size)))).collect();
        let size = at_sizes.iter().all(|other| *other >= at_sizes[wish.size]);
        Some(Shown { background: background(picture) == wish.background, subject, size })
    }

    /// All emoji at a size.
    fn at_size(&mut self, size: usize) -> &[Means] {
        if !self.at_size.contains_key(&size) {
            let all = (0..self.len()).into_par_iter().map(|emoji| means(&self.layers(emoji, size)));
            self.at_size.insert(size, all.collect());
        }
        &self.at_size[&size]
    }

    /// The emoji with this number at a size, as the pictures to train on were made: premultiplied, resized by Pillow's Lanczos filter
    /// on floating-point planes, rounded, and no channel above alpha.
    fn layers(&self, emoji: usize, size: usize) -> Layers {
        let decoded = image::load_from_memory_with_format(self.pictures[emoji], ImageFormat::Png);
        let bitmap = decoded.expect("the file in the sources is whole").into_rgba8();
        let (_, side) = SIZES[size];
        let pixel = |y: usize, x: usize| bitmap.get_pixel((x + MARGIN) as u32, y as u32).0.map(f64::from);
        let plane = |channel: usize| -> Vec<f64> {
            let value = |at: usize| {
                let pixel = pixel(at / SIDE, at % SIDE);
                if channel < 3 { pixel[channel] * (pixel[3] / 255.0) } else { pixel[3] }
            };
            (0..SIDE * SIDE).map(value).collect()
        };
        let mut layers = [0, 1, 2, 3].map(|channel| centred(&resized(&plane(channel), side), side));
        let [colours @ .., alpha] = &mut layers;
        for colour in colours {
            colour.iter_mut().zip(&*alpha).for_each(|(value, alpha)| *value = (*value).min(*alpha));
        }
        layers
    }
}

/// A square plane of side [`SIDE`] at another side.
fn resized(plane: &[f64], side: usize) -> Vec<f64> {
    let windows = windows(SIDE, side, Filter::Lanczos);
    let sum = |first: usize, weights: &[f64], at: &dyn Fn(usize) -> f64| -> f64 {
        weights.iter().enumerate().map(|(index, weight)| weight * at(first + index)).sum()
    };
    let row = |row: &[f64]| -> Vec<f64> {
        windows.iter().map(|window| sum(window.first, &window.weights, &|x| row[x])).collect()
    };
    let rows: Vec<Vec<f64>> = plane.chunks_exact(SIDE).map(row).collect();
    let columns = |window: &Window| -> Vec<f64> {
        (0..side).map(|x| sum(window.first, &window.weights, &|y| rows[y][x])).collect()
    };
    windows.iter().flat_map(columns).collect()
}

/// A plane of this side, rounded, in the middle of one of side [`SIDE`].
fn centred(plane: &[f64], side: usize) -> Vec<u8> {
    let margin = (SIDE - side) / 2;
    let mut canvas = vec![0; SIDE * SIDE];
    for (y, row) in plane.chunks_exact(side).enumerate() {
        let start = (y + margin) * SIDE + margin;
        let rounded = row.iter().map(|value| (value + 0.5).clamp(0.0, 255.0) as u8);
        canvas[start..start + side].iter_mut().zip(rounded).for_each(|(to, value)| *to = value);
    }
    canvas
}

/// The means of squares of a channel, 0 to 1, row by row.
fn pooled(value: impl Fn(usize) -> u8) -> Vec<f64> {
    let mut sums = vec![0_u32; CELLS];
    for at in 0..SIDE * SIDE {
        let (y, x) = (at / SIDE / POOLED, at % SIDE / POOLED);
        sums[y * (SIDE / POOLED) + x] += u32::from(value(at));
    }
    let whole = f64::from(u8::MAX) * (POOLED * POOLED) as f64;
    sums.into_iter().map(|sum| f64::from(sum) / whole).collect()
}

fn means(layers: &Layers) -> Means {
    [0, 1, 2, 3].map(|channel| pooled(|at| layers[channel][at]))
}

/// The channels of a picture.
fn means_of(picture: &Image) -> [Vec<f64>; 3] {
    [0, 1, 2].map(|channel| pooled(|at| picture.pixels()[3 * at + channel]))
}

/// The squared distance between a picture and an emoji on this background.
fn apart(found: &[Vec<f64>; 3], emoji: &Means, colour: [u8; 3]) -> f64 {
    let of_channel = |channel: usize| -> f64 {
        let background = f64::from(colour[channel]) / 255.0;
        let expected = emoji[channel].iter().zip(&emoji[3]);
        let expected = expected.map(|(value, alpha)| value + (1.0 - alpha) * background);
        expected.zip(&found[channel]).map(|(expected, found)| (expected - found).powi(2)).sum()
    };
    (0..3).map(of_channel).sum()
}

/// The number of the background that is nearest to the median colour of the corners.
fn background(picture: &Image) -> usize {
    let is_corner = |at: usize| [at / SIDE, at % SIDE].iter().all(|x| *x < CORNER || *x >= SIDE - CORNER);
    let median = [0, 1, 2].map(|channel| {
        let corners = (0..SIDE * SIDE).filter(|at| is_corner(*at));
        let mut values: Vec<u8> = corners.map(|at| picture.pixels()[3 * at + channel]).collect();
        values.sort_unstable();
        // torch's median is the lower of the two in the middle.
        values[(values.len() - 1) / 2]
    });
    let distance = |colour: &[u8; 3]| -> u32 {
        colour.iter().zip(&median).map(|(a, b)| u32::from(a.abs_diff(*b)).pow(2)).sum()
    };
    let nearest = (0..BACKGROUNDS.len()).min_by_key(|index| distance(&BACKGROUNDS[*index].1));
    nearest.expect("there are backgrounds")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The picture that `wish` asks for.
    fn picture(emoji: &Emoji, wish: &Wish) -> Image {
        let layers = emoji.layers(wish.emoji, wish.size);
        let (_, colour) = BACKGROUNDS[wish.background];
        let pixel = |at: usize| {
            let behind = 1.0 - f64::from(layers[3][at]) / 255.0;
            [0, 1, 2].map(|channel| {
                (f64::from(layers[channel][at]) + behind * f64::from(colour[channel])).round() as u8
            })
        };
        Image::from_pixels(SIDE, SIDE, (0..SIDE * SIDE).flat_map(pixel).collect())
    }

    #[test]
    fn what_is_asked_for_is_found_and_nothing_else() {
        let mut emoji = Emoji::open();
        assert_eq!((emoji.len(), emoji.pictures.len()), (1474, 1474));
        let number = |name: &str| emoji.names().iter().position(|known| known == name).unwrap();
        let [apple, owl] = ["red apple", "owl"].map(number);
        let asked = Wish { emoji: apple, background: 7, size: 1 };
        let shown = |background, subject, size| Some(Shown { background, subject, size });
        let right = picture(&emoji, &asked);
        assert_eq!(emoji.judge(&right, &asked), shown(true, true, true));
        let on_red = picture(&emoji, &Wish { background: 3, ..asked.clone() });
        assert!(!emoji.judge(&on_red, &asked).unwrap().background);
        let an_owl = picture(&emoji, &Wish { emoji: owl, ..asked.clone() });
        assert_eq!(emoji.judge(&an_owl, &asked), shown(true, false, true));
        let large = picture(&emoji, &Wish { size: 2, ..asked.clone() });
        assert!(!emoji.judge(&large, &asked).unwrap().size);
        // Of another size than the model's, nothing is known.
        assert_eq!(emoji.judge(&Image::white(SIDE, 64), &asked), None);
    }

    #[test]
    fn corners_tell_the_background() {
        for (index, (name, colour)) in BACKGROUNDS.iter().enumerate() {
            let plain = Image::from_pixels(SIDE, SIDE, colour.repeat(SIDE * SIDE));
            assert_eq!(background(&plain), index, "{name}");
        }
    }
}
