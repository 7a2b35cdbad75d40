//! The page: one HTML file that asks nothing of a network.

use super::album::{Album, Embedded};
use super::headline::Headline;
use super::plots::plots;
use super::run::Run;
use super::{graph, table};
use crate::VERSION;
use crate::page::escape::html as escaped;
use crate::page::{fill, ink, policy};
use reflux_ir::pass::counted;
use std::fmt::Write;

const PAGE: &str = include_str!("assets/page.html");
const SECTION: &str = include_str!("assets/section.html");
const PICTURES: &str = include_str!("assets/pictures.html");
const STYLE: &str = include_str!("assets/page.css");
const SCRIPT: &str = include_str!("assets/page.js");

/// A page, and what is missing on it.
#[derive(Debug)]
pub struct Page {
    pub html: String,
    /// Pictures that are left out. What is wrong with runs, these say themselves.
    pub warnings: Vec<String>,
}

impl Page {
    /// Of `runs`, with `most` pictures in all at most.
    pub fn of(runs: &[Run], most: usize) -> Self {
        let each = most / runs.len().max(1);
        let albums: Vec<Album> = runs.iter().map(|run| Album::of(run, each, most)).collect();
        let mut sections = String::new();
        for (at, (run, album)) in runs.iter().zip(&albums).enumerate() {
            sections += &section(at, run, album, runs.len() > 1);
        }
        let mut warnings: Vec<String> = albums.into_iter().flat_map(|album| album.warnings).collect();
        if each == 0 && most > 0 {
            warnings.push(format!("no pictures are shown: {most} cannot be shared by {} runs", runs.len()));
        }
        let said = runs.iter().flat_map(|run| &run.warnings).chain(&warnings);
        let style = format!("{}{STYLE}", ink::style());
        let html = fill(PAGE, |name| match name {
            "title" => title(runs),
            "policy" => policy(&style, SCRIPT),
            "style" => style.clone(),
            "script" => SCRIPT.to_owned(),
            "warnings" => list(said.clone()),
            "contents" => contents(runs),
            "sections" => sections.clone(),
            "version" => VERSION.to_owned(),
            _ => unreachable!("the template has {name}"),
        });
        Self { html, warnings }
    }
}

fn title(runs: &[Run]) -> String {
    let mut models: Vec<&str> = runs.iter().map(|run| run.evaluation.model.as_str()).collect();
    models.dedup();
    escaped(&models.join(", "))
}

/// The name of a run among others.
fn name(run: &Run) -> String {
    let evaluation = &run.evaluation;
    let (width, height, steps) = (evaluation.width, evaluation.height, counted(evaluation.steps, "step"));
    format!("{}, {width}×{height}, {steps}", evaluation.model)
}

/// Links to the runs, if there are several.
fn contents(runs: &[Run]) -> String {
    if runs.len() < 2 {
        return String::new();
    }
    let link = |(at, run): (usize, &Run)| {
        format!("<li><a href=\"#run-{at}\"><bdi>{}</bdi></a></li>\n", escaped(&name(run)))
    };
    let links: String = runs.iter().enumerate().map(link).collect();
    format!("<nav aria-label=\"Runs\"><ol>\n{links}</ol></nav>\n")
}

fn list<'w>(warnings: impl Iterator<Item = &'w String>) -> String {
    let items: String =
        warnings.map(|warning| format!("<li><bdi>{}</bdi></li>\n", escaped(warning))).collect();
    if items.is_empty() {
        return String::new();
    }
    format!(
        "<aside class=\"warnings\" aria-labelledby=\"missing\"><h2 id=\"missing\">What to know of these numbers</h2><ul>\n{items}</ul></aside>\n"
    )
}

fn section(at: usize, run: &Run, album: &Album, is_one_of_several: bool) -> String {
    let id = format!("run-{at}");
    let heading = if is_one_of_several {
        format!("<h2><bdi>{}</bdi></h2>", escaped(&name(run)))
    } else {
        String::new()
    };
    let graph = graph::html(&run.evaluation.rows);
    let graph = if graph.is_empty() {
        String::new()
    } else {
        format!(
            "<section aria-labelledby=\"{id}-graph\"><h3 id=\"{id}-graph\">What passes did</h3>\n{graph}</section>\n"
        )
    };
    fill(SECTION, |name| match name {
        "id" => id.clone(),
        "heading" => heading.clone(),
        "headline" => headline(run),
        "facts" => facts(run),
        "table" => table::html(run),
        "plots" => figures(&id, run),
        "pictures" => pictures(&id, run, album),
        "graph" => graph.clone(),
        _ => unreachable!("the template has {name}"),
    })
}

fn headline(run: &Run) -> String {
    let Headline { before, name, after } = Headline::of(run);
    let name = name.map(|name| format!("<strong><bdi>{}</bdi></strong>", escaped(&name))).unwrap_or_default();
    format!("{}{name}{}", escaped(&before), escaped(&after))
}

/// What the run was made with.
fn facts(run: &Run) -> String {
    let evaluation = &run.evaluation;
    let mut facts = vec![
        ("Model", evaluation.model.clone()),
        ("Device", evaluation.device.clone()),
        ("Computes in", evaluation.dtype.to_string()),
        ("Size", format!("{}×{}", evaluation.width, evaluation.height)),
        ("Steps", evaluation.steps.to_string()),
        ("Prompts", evaluation.prompts.len().to_string()),
        ("Reflux", evaluation.version.clone()),
    ];
    if let Some(guidance) = evaluation.guidance {
        facts.insert(5, ("Guidance", guidance.to_string()));
    }
    let fact = |(what, value): (&str, String)| {
        format!("<div><dt>{what}</dt><dd><bdi>{}</bdi></dd></div>", escaped(&value))
    };
    facts.into_iter().map(fact).collect()
}

fn figures(id: &str, run: &Run) -> String {
    let mut figures = String::new();
    for plot in plots(run) {
        let (name, title) = (plot.name, escaped(&plot.drawing.title));
        let svg = plot.drawing.svg_on_page(&format!("{id}-{name}-"));
        let caption = match name {
            "quality" => {
                "Up and left is better. The stairs are the Pareto front: what is below or to the right of them is beaten in both."
            }
            "stages" => "Median of a picture, without the first.",
            "warm-up" => "The first picture, with loading and compilation, above the median of later ones.",
            _ => "Measured peak on the device; weights as the program reads them.",
        };
        // Writing to a string cannot fail.
        let _ = write!(
            figures,
            "<section class=\"plot\" aria-labelledby=\"{id}-{name}\"><h3 id=\"{id}-{name}\">{title}</h3>\n\
             <figure><div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{title}\">{svg}</div>\
             <figcaption>{caption}</figcaption></figure></section>\n"
        );
    }
    figures
}

fn pictures(id: &str, run: &Run, album: &Album) -> String {
    let evaluation = &run.evaluation;
    if album.pictures.iter().flatten().all(Option::is_none) {
        return String::new();
    }
    let row_name = |row: usize| escaped(&evaluation.rows[row].name);
    let option = |(at, text): (usize, String), chosen: usize| {
        let selected = if at == chosen { " selected" } else { "" };
        format!("<option value=\"{at}\"{selected}>{text}</option>")
    };
    let options = |texts: Vec<String>, chosen: usize| -> String {
        texts.into_iter().enumerate().map(|text| option(text, chosen)).collect()
    };
    let rows: Vec<String> = album.rows.iter().map(|&row| row_name(row)).collect();
    let prompts: Vec<String> =
        album.prompts.iter().map(|&prompt| escaped(&evaluation.prompts[prompt].prompt)).collect();
    let best = super::front::best(&evaluation.rows, &super::front::points(&evaluation.rows));
    let right = best.and_then(|best| album.rows.iter().position(|&row| row == best.row));
    let right = right.unwrap_or(1).min(album.rows.len() - 1);
    let count = album.pictures.iter().flatten().flatten().count();
    fill(PICTURES, |name| match name {
        "id" => id.to_owned(),
        "prompts" => options(prompts.clone(), 0),
        "left" => options(rows.clone(), 0),
        "right" => options(rows.clone(), right),
        "count" => counted(count, "picture"),
        "of" => format!(
            "{} of {} and {} of {}",
            prompts.len(),
            counted(evaluation.prompts.len(), "prompt"),
            rows.len(),
            counted(evaluation.rows.len(), "row")
        ),
        "coding" => album.coding.clone(),
        "sheet" => sheet(run, album),
        _ => unreachable!("the template has {name}"),
    })
}

/// All pictures as a table: prompts by rows.
fn sheet(run: &Run, album: &Album) -> String {
    let evaluation = &run.evaluation;
    let mut html = String::from("<table class=\"sheet\"><thead><tr><td></td>");
    for &row in &album.rows {
        let _ = write!(html, "<th scope=\"col\"><bdi>{}</bdi></th>", escaped(&evaluation.rows[row].name));
    }
    html += "</tr></thead>\n<tbody>\n";
    for (line, (&prompt, pictures)) in album.prompts.iter().zip(&album.pictures).enumerate() {
        let (text, seed) = (escaped(&evaluation.prompts[prompt].prompt), evaluation.prompts[prompt].seed);
        let _ = write!(html, "<tr><th scope=\"row\"><bdi>{text}</bdi> <small>seed {seed}</small></th>");
        for (column, (&row, picture)) in album.rows.iter().zip(pictures).enumerate() {
            let Some(Embedded { address, width, height }) = picture else {
                html += "<td class=\"absent\">missing</td>";
                continue;
            };
            let name = escaped(&evaluation.rows[row].name);
            let result = &evaluation.rows[row].pictures[prompt];
            let psnr = result.psnr.map(|psnr| format!("{psnr:.1}")).unwrap_or_default();
            let _ = write!(
                html,
                "<td><button type=\"button\" data-prompt=\"{line}\" data-row=\"{column}\" data-psnr=\"{psnr}\">\
                 <img src=\"{address}\" width=\"{width}\" height=\"{height}\" alt=\"{name}: {text}\"></button></td>"
            );
        }
        html += "</tr>\n";
    }
    html + "</tbody></table>"
}
