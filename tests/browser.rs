//! The page of `reflux report` in a browser. `REFLUX_SCREENSHOTS=FOLDER` keeps what it looks like.

use crate::common::chromium::Chromium;
use crate::common::evaluation::{LARGE, PROMPTS, write};
use reflux::evaluation::Report;
use std::path::Path;

/// What a page may not do, whatever it is given.
const HOSTILE: &str = "</script><script>document.title='obeyed'</script><img src=x onerror=\"document.title='obeyed'\">&amp;\u{202e}'\"";

fn keep(name: &str, bytes: &[u8]) {
    if let Some(folder) = std::env::var_os("REFLUX_SCREENSHOTS") {
        std::fs::write(Path::new(&folder).join(name), bytes).unwrap();
    }
}

/// Writes the page of an evaluation with as many rows as real ones have to `folder`, with one hostile prompt and name.
fn page(folder: &Path) -> std::path::PathBuf {
    let mut sketches = LARGE;
    sketches[8].0 = HOSTILE;
    let mut prompts = PROMPTS;
    prompts[3] = HOSTILE;
    write(
        folder,
        if std::env::var_os("REFLUX_SCREENSHOTS").is_some() { &LARGE } else { &sketches },
        &prompts,
        128,
    );
    let (html, warnings) = Report::read(&[folder]).unwrap().page(24);
    assert_eq!(warnings, Vec::<String>::new());
    let path = folder.join("page.html");
    std::fs::write(&path, &html).unwrap();
    keep("page.html", html.as_bytes());
    path
}

#[test]
fn the_page_works() {
    let folder = tempfile::tempdir().unwrap();
    let path = page(folder.path());
    let Some(mut chromium) = Chromium::start() else { return };
    chromium.show_as(1280, "", "light");
    chromium.open(&path);
    keep("light.png", &chromium.screenshot());

    // It renders: everything is there, and nothing from data is obeyed.
    let count = |chromium: &mut Chromium, selector: &str| {
        chromium.eval(&format!("document.querySelectorAll('{selector}').length")).as_u64().unwrap()
    };
    assert_eq!(count(&mut chromium, "table.rows tbody tr"), 14);
    assert_eq!(count(&mut chromium, ".plot svg"), 4);
    assert_eq!(count(&mut chromium, ".sheet img"), 24);
    assert_eq!(count(&mut chromium, "script"), 1);
    assert_eq!(chromium.eval("document.title"), "emoji – quality and speed");
    let all_decoded = "Promise.all([...document.images].map((image) => image.decode())).then(() => true)";
    assert_eq!(chromium.eval(all_decoded), true);

    slider_moves(&mut chromium);
    table_sorts(&mut chromium);
    difference_is_drawn(&mut chromium);
    everything_has_a_name(&mut chromium);
    page_is_not_wider_than_the_window(&mut chromium);

    // Paper is white where the screen is dark, and shows what is folded.
    let background = "getComputedStyle(document.documentElement).backgroundColor";
    chromium.show_as(1280, "", "dark");
    assert_eq!(chromium.eval(background), "rgb(20, 23, 26)");
    keep("dark.png", &chromium.screenshot());
    chromium.show_as(420, "", "light");
    keep("narrow.png", &chromium.screenshot());
    let pdf = chromium.pdf();
    assert!(pdf.starts_with(b"%PDF"));
    keep("print.pdf", &pdf);
    chromium.show_as(800, "print", "dark");
    assert_eq!(chromium.eval(background), "rgb(255, 255, 255)");
    assert_eq!(chromium.eval("getComputedStyle(document.querySelector('.viewer')).display"), "none");
    assert_eq!(
        chromium.eval("[...document.querySelectorAll('details')].every((details) => details.open)"),
        true
    );
    keep("print.png", &chromium.screenshot());

    assert_eq!(chromium.complaints(), Vec::<String>::new());
    let requests = chromium.requests();
    assert!(requests.len() == 1 && requests[0].starts_with("file://"), "{requests:?}");
}

/// Arrow keys move the wipe, and what is seen of the right picture with it.
fn slider_moves(chromium: &mut Chromium) {
    let clip = "getComputedStyle(document.querySelector('.frame .right')).clipPath";
    assert_eq!(chromium.eval(clip), "inset(0px 0px 0px 50%)");
    chromium.eval("document.querySelector('.wipe').focus()");
    for _ in 0..3 {
        chromium.press("ArrowRight", 39);
    }
    assert_eq!(chromium.eval(clip), "inset(0px 0px 0px 53%)");
    chromium.press("ArrowLeft", 37);
    assert_eq!(chromium.eval("document.querySelector('.wipe').value"), "52");
    let words = chromium.eval("document.querySelector('.wipe').getAttribute('aria-valuetext')");
    assert_eq!(words, "52 % left, 48 % right");
    // Another prompt is chosen by the keyboard too.
    let shown = "document.querySelector('.frame .left').src";
    let before = chromium.eval(shown);
    chromium.eval("document.querySelector('select.prompt').focus()");
    chromium.press("ArrowDown", 40);
    assert_ne!(chromium.eval(shown), before);
}

/// Enter on a title sorts by its column, once more the other way round; what is not known stays last.
fn table_sorts(chromium: &mut Chromium) {
    let column = |chromium: &mut Chromium, title: &str| -> Vec<String> {
        let cells = format!(
            "(() => {{ const table = document.querySelector('table.rows');
            const at = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent.startsWith('{title}'));
            return [...table.tBodies[0].rows].map((row) => (row.cells[at].querySelector('bdi') ?? row.cells[at]).textContent); }})()"
        );
        serde_json::from_value(chromium.eval(&cells)).unwrap()
    };
    let press = |chromium: &mut Chromium, title: &str| {
        chromium.eval(&format!(
            "[...document.querySelectorAll('.rows thead button')].find((button) => button.textContent.startsWith('{title}')).focus()"
        ));
        chromium.press("Enter", 13);
    };
    press(chromium, "PSNR");
    let psnr = column(chromium, "PSNR");
    assert_eq!((&*psnr[0], &*psnr[12], &*psnr[13]), ("21.4", "100.0", "–"));
    press(chromium, "PSNR");
    let psnr = column(chromium, "PSNR");
    assert_eq!((&*psnr[0], &*psnr[12], &*psnr[13]), ("100.0", "21.4", "–"));
    assert_eq!(
        chromium.eval("document.querySelector('[aria-sort]').getAttribute('aria-sort')"),
        "descending"
    );
    press(chromium, "Name");
    let names = column(chromium, "Name");
    assert!(
        names[0].starts_with("14 steps") || names[0].starts_with("8 steps") || names[0].starts_with('<'),
        "{names:?}"
    );
    assert_eq!(chromium.eval("document.querySelectorAll('[aria-sort]').length"), 1);
}

/// The difference of a picture from itself is black, that from another is not.
fn difference_is_drawn(chromium: &mut Chromium) {
    let brightest = |chromium: &mut Chromium, right: u32| {
        chromium.eval(&format!(
            "(async () => {{
            const section = document.querySelector('section.pictures');
            section.querySelector('[value=difference]').click();
            const [left, right] = [section.querySelector('select.left'), section.querySelector('select.right')];
            [left.value, right.value] = ['0', '{right}'];
            const canvas = section.querySelector('canvas');
            right.dispatchEvent(new Event('change'));
            const drawn = `${{section.querySelector('select.prompt').value}} 0 {right} 4`;
            while (canvas.dataset.drawn !== drawn) await new Promise((done) => setTimeout(done, 10));
            const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', {{ willReadFrequently: true }});
            copy.drawImage(canvas, 0, 0);
            const pixels = copy.getImageData(0, 0, canvas.width, canvas.height).data;
            return pixels.reduce((most, value, at) => (at % 4 === 3 ? most : Math.max(most, value)), 0); }})()"
        ))
    };
    assert_eq!(brightest(chromium, 0), 0);
    assert!(brightest(chromium, 1).as_u64().unwrap() > 0);
    keep("difference.png", &chromium.screenshot());
    chromium.eval("document.querySelector('[value=wipe]').click()");
}

/// Pictures, plots, and everything that can be operated can be told apart without being seen.
fn everything_has_a_name(chromium: &mut Chromium) {
    let nameless = chromium.eval(
        "[...document.querySelectorAll('img[src], svg[role=img], select, input, button, section, article, [role=region]')]
        .filter((element) => {
            const by = element.getAttribute('aria-labelledby');
            const labels = [...(element.labels ?? [])].map((label) => label.textContent).join('');
            const named = by?.split(' ').map((id) => document.getElementById(id)?.textContent).join('');
            const inside = element.tagName === 'BUTTON' ? element.textContent + (element.querySelector('img')?.alt ?? '') : '';
            return !(element.alt || named || element.getAttribute('aria-label') || labels || inside).trim();
        }).map((element) => element.outerHTML.slice(0, 200))",
    );
    assert_eq!(nameless, serde_json::json!([]));
    let doubled = chromium.eval(
        "[...document.querySelectorAll('[id]')].map((element) => element.id).filter((id, at, all) => all.indexOf(id) !== at)",
    );
    assert_eq!(doubled, serde_json::json!([]));
}

fn page_is_not_wider_than_the_window(chromium: &mut Chromium) {
    for width in [320, 800, 1280] {
        chromium.show_as(width, "", "light");
        let sizes = chromium.eval("[document.documentElement.scrollWidth, innerWidth]");
        let wide = chromium.eval(
            "[...document.querySelectorAll('body *')].filter((element) => element.getBoundingClientRect().right > innerWidth && !element.closest('[role=region]'))
            .map((element) => element.outerHTML.slice(0, 80)).slice(0, 5)",
        );
        assert!(sizes[0].as_u64() <= sizes[1].as_u64(), "{width}: {sizes}, wider are {wide}");
    }
}
