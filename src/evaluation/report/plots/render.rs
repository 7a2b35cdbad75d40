//! Drawings as SVG and as PNG, by plotters.

use super::drawing::{Anchor, Drawing, Mark};
use crate::page::escape;
use crate::page::ink::{Ink, follow_page};
use crate::{Image, ImageFormat};
use plotters::backend::{BitMapBackend, DrawingBackend, SVGBackend};
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, DashedPathElement, PathElement, Polygon, Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontStyle, IntoFont, ShapeStyle, TextStyle, register_font};
use std::fmt::Write;
use std::sync::Once;

/// The family of texts: browsers replace it by their own, bitmaps are drawn with [`FONT`].
const FAMILY: &str = "sans-serif";

/// Inter, in part; its licence is beside it. What it lacks is a box in a PNG.
const FONT: &[u8] = include_bytes!("../assets/inter.otf");

/// plotters' unit of text is this much of the font's em.
const TEXT_UNIT: f64 = 1.24;

/// Steps of a pixel in an SVG: plotters draws at whole numbers.
const SVG_STEPS: f64 = 10.0;

/// Pixels of a PNG by pixels of the drawing, for screens that have as many.
const PNG_SCALE: usize = 2;

/// A PNG is drawn larger by this and made smaller, for smooth edges.
const SMOOTH: usize = 2;

/// Room around a plot in a file, to its left and right, and below it.
const MARGIN: f64 = 16.0;

/// Room above a plot in a file, with its title.
const HEADER: f64 = 48.0;

/// plotters draws texts of bitmaps too high by this much of their size.
const BITMAP_DROP: f64 = 0.22;

/// How a drawing is drawn.
#[derive(Clone, Copy, Debug)]
struct Medium {
    scale: f64,
    /// Where the drawing begins.
    origin: [f64; 2],
    /// On paper of its own, with its title.
    is_file: bool,
    /// What texts are lowered by, by their size.
    drop: f64,
}

impl Medium {
    fn new(scale: f64, is_file: bool, drop: f64) -> Self {
        Self { scale, origin: if is_file { [MARGIN, HEADER] } else { [0.0, 0.0] }, is_file, drop }
    }

    /// The size of `drawing` with all around it.
    fn size(&self, drawing: &Drawing) -> [f64; 2] {
        let [more_width, more_height] =
            if self.is_file { [2.0 * MARGIN, HEADER + MARGIN] } else { [0.0, 0.0] };
        [drawing.width + more_width, drawing.height + more_height]
    }

    /// The place of a point.
    fn at(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        [(x + self.origin[0]) * self.scale, (y + self.origin[1]) * self.scale]
    }
}

impl Drawing {
    /// As an SVG file.
    pub fn svg(&self) -> String {
        self.svg_of(true, "")
    }

    /// As a part of a page, in the page's colours; `id` is unique on it.
    pub fn svg_on_page(&self, id: &str) -> String {
        follow_page(&self.svg_of(false, id))
    }

    fn svg_of(&self, is_file: bool, id: &str) -> String {
        let mut drawn = String::new();
        let medium = Medium::new(SVG_STEPS, is_file, 0.0);
        let shown = medium.size(self);
        let size = shown.map(|length| (length * SVG_STEPS).round() as u32);
        {
            let area = SVGBackend::with_string(&mut drawn, size.into()).into_drawing_area();
            self.draw(&area, medium).expect("a string can be written to");
        }
        // Its own first tag has neither a name nor a description.
        let marks = drawn.split_once('>').map_or("", |(_, rest)| rest).trim_end();
        let marks = marks.strip_suffix("</svg>").unwrap_or(marks);
        let ([width, height], title) = (size, escape::html(&self.title));
        let description = escape::html(&self.description);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" viewBox=\"0 0 {width} {height}\" \
             role=\"img\" aria-labelledby=\"{id}title {id}description\">\n\
             <title id=\"{id}title\">{title}</title>\n<desc id=\"{id}description\">{description}</desc>",
            shown[0], shown[1]
        );
        svg += marks;
        for hint in &self.hints {
            let [x, y] = medium.at(hint.from).map(f64::round);
            let [right, bottom] = medium.at(hint.to).map(f64::round);
            let (width, height, text) = (right - x, bottom - y, escape::html(&hint.text));
            // Writing to a string cannot fail.
            let _ = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill-opacity=\"0\"><title>{text}</title></rect>"
            );
        }
        svg + "</svg>\n"
    }

    /// As a PNG file.
    pub fn png(&self) -> Vec<u8> {
        let scale = PNG_SCALE * SMOOTH;
        let medium = Medium::new(scale as f64, true, BITMAP_DROP);
        let [width, height] = medium.size(self).map(|length| length.ceil() as usize);
        let mut pixels = vec![u8::MAX; 3 * width * height * scale * scale];
        {
            let size = ((width * scale) as u32, (height * scale) as u32);
            let area = BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area();
            self.draw(&area, medium).expect("the buffer has the size of the drawing");
        }
        let large = Image::from_pixels(width * scale, height * scale, pixels);
        let mut png = Vec::new();
        let small = large.resized([height * PNG_SCALE, width * PNG_SCALE]);
        small.encode(ImageFormat::Png, &mut png).expect("memory can be written to");
        png
    }

    /// The marks, and the title of a file.
    fn draw<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        medium: Medium,
    ) -> Result<(), plotters::drawing::DrawingAreaErrorKind<B::ErrorType>> {
        register();
        let at = |place: [f64; 2]| medium.at(place).map(|place| place.round() as i32).into();
        let length = |length: f64| (length * medium.scale).round().max(1.0) as u32;
        let stroke = |ink: Ink, width| ShapeStyle::from(ink.color()).stroke_width(length(width));
        let mut title = None;
        if medium.is_file {
            area.fill(&Ink::Paper.color())?;
            let (at, text) = ([0.0, 20.0 - HEADER], self.title.clone());
            title = Some(Mark::Text { at, text, ink: Ink::Text, anchor: Anchor::Start, size: 17.0 });
        }
        for mark in title.iter().chain(&self.marks) {
            match mark {
                Mark::Line { points, ink, width, dashed } => {
                    let points: Vec<_> = points.iter().copied().map(at).collect();
                    let style = stroke(*ink, *width);
                    if *dashed {
                        let (dash, gap) = (length(5.0), length(4.0));
                        area.draw(&DashedPathElement::new(points, dash, gap, style))?;
                    } else {
                        area.draw(&PathElement::new(points, style))?;
                    }
                }
                Mark::Box { from, to, ink } => {
                    area.draw(&Rectangle::new([at(*from), at(*to)], ink.color().filled()))?;
                }
                Mark::Dot { at: center, radius, ink, fill } => {
                    area.draw(&Circle::new(at(*center), length(*radius), fill.color().filled()))?;
                    area.draw(&Circle::new(at(*center), length(*radius), stroke(*ink, 1.5)))?;
                }
                Mark::Diamond { at: [x, y], radius, ink } => {
                    let corners = [[x - radius, *y], [*x, y - radius], [x + radius, *y], [*x, y + radius]];
                    area.draw(&Polygon::new(corners.map(at).to_vec(), ink.color().filled()))?;
                }
                Mark::Text { at: place, text, ink, anchor, size } => {
                    let anchor = match anchor {
                        Anchor::Start => HPos::Left,
                        Anchor::Middle => HPos::Center,
                        Anchor::End => HPos::Right,
                    };
                    let font = (FAMILY, size * medium.scale * TEXT_UNIT).into_font();
                    let place = [place[0], place[1] + medium.drop * size];
                    let color = ink.color();
                    let style = TextStyle::from(font).color(&color).pos(Pos::new(anchor, VPos::Center));
                    area.draw(&Text::new(escape::shown(text), at(place), style))?;
                }
            }
        }
        area.present()
    }
}

/// The width of `text` as bitmaps draw it, in pixels of a drawing.
pub fn width(text: &str, size: f64) -> f64 {
    register();
    let font = (FAMILY, size * SVG_STEPS * TEXT_UNIT).into_font();
    let known = font.box_size(&escape::shown(text)).map_or(0.0, |(width, _)| f64::from(width) / SVG_STEPS);
    // Browsers' own fonts may be a little wider.
    1.03 * known
}

/// `text` without its end, if it is wider than `most`.
pub fn fitted(text: &str, size: f64, most: f64) -> String {
    if width(text, size) <= most {
        return text.to_owned();
    }
    let mut characters: Vec<char> = text.chars().take(200).collect();
    while !characters.is_empty() && width(&(characters.iter().collect::<String>() + "…"), size) > most {
        characters.pop();
    }
    characters.into_iter().collect::<String>().trim_end().to_owned() + "…"
}

/// plotters finds fonts by names that are registered, once in a process.
fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let is_read = register_font(FAMILY, FontStyle::Normal, FONT).is_ok();
        assert!(is_read, "the font is a part of the program");
    });
}
