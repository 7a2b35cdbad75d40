//! Pictures that go through the transformer together are those that are made one by one.

use crate::common::fixtures::{emoji, relative_l2};
use reflux::ir::pass::Recipe;
use reflux::{DiffusionPipeline, Event, OpenOptions, Request, registry};

fn open(passes: &str) -> DiffusionPipeline {
    let passes = Recipe::parse(passes, &registry()).unwrap();
    DiffusionPipeline::open_with(emoji(), OpenOptions { passes, ..OpenOptions::default() }).unwrap()
}

/// Two prompts, with several pictures each.
fn request(images: usize, batch: usize) -> Request {
    Request {
        prompts: vec!["an owl".into(), "a red apple on a blue background".into()],
        num_images: Some(images),
        batch: Some(batch),
        ..Request::default().steps(5).size(64, 48).seed(3)
    }
}

/// For every way in which steps differ: all of them computed, some reused, codes, and two latents a picture.
#[test]
fn pictures_of_a_batch_are_those_made_alone() {
    for (passes, scale, tolerance) in [
        ("", 1.0, 1e-5),
        ("", 3.0, 1e-5),
        ("cache(taylorseer,interval=2,initial_steps=2)", 1.0, 1e-5),
        // A rounding that is flipped by the last bits.
        ("quantize(int8dq),cache(fora)", 1.0, 2e-2),
    ] {
        let with = |batch| {
            let request = Request {
                true_cfg_scale: Some(scale),
                negative_prompt: (scale > 1.0).then(|| "a dog".to_owned()),
                ..request(2, batch)
            };
            let (images, report) = open(passes).generate_with(&request, &mut |_| {}).unwrap();
            assert_eq!((images.len(), &report.warnings[..]), (4, &[][..]));
            report.latents
        };
        let alone = with(1);
        // In twos, and in threes, which come out as twos; all at once.
        for batch in [2, 3, 9] {
            let apart = relative_l2(&with(batch), &alone);
            assert!(apart <= tolerance, "{passes:?}, {batch} at once: {apart:.2e}");
        }
    }
}

/// What does not divide is made with copies of the last, which nobody sees; previews and steps are told of each picture.
#[test]
fn batches_need_not_be_full() {
    let mut seen = Vec::new();
    let request = Request { prompts: vec!["an owl".into()], preview: Some(2), ..request(3, 2) };
    let mut pipeline = open("");
    let mut observe = |event: Event| match event {
        Event::Step { image, step, .. } => seen.push((image, step, "step")),
        Event::Preview { image, step, .. } => seen.push((image, step, "preview")),
        _ => {}
    };
    let (images, report) = pipeline.generate_with(&request, &mut observe).unwrap();
    assert_eq!(images.len(), 3);
    for image in 0..3 {
        let of = |what| seen.iter().filter(|(seen, _, is)| (*seen, *is) == (image, what)).count();
        assert_eq!((of("step"), of("preview")), (5, 2), "picture {image}");
    }
    let (_, alone) = open("").generate_with(&Request { batch: None, ..request }, &mut |_| {}).unwrap();
    assert!(relative_l2(&report.latents, &alone.latents) <= 1e-5);
}

#[test]
fn what_decides_for_all_says_so() {
    let warnings = |batch| {
        let mut pipeline = open("cache(fbcache,threshold=0.2)");
        pipeline.generate_with(&request(1, batch), &mut |_| {}).unwrap().1.warnings
    };
    assert_eq!(warnings(1), [""; 0]);
    let together = warnings(2);
    assert!(
        together.iter().any(|said| said.contains("decide for all 2 pictures of a batch together")),
        "{together:?}"
    );
    let error = open("").generate(&request(1, 65)).unwrap_err().to_string();
    assert!(error.contains("the batch must be 1 to 64, not 65"), "{error}");
}
