//! `--from-png`: what a picture says of how it was made, for what is not given otherwise.

use super::console::say;
use super::given_pictures::PictureArgs;
use crate::Error;
use crate::pipeline::{DiffusionPipeline, LoraFiles, Recorded, Request, bundled_model, registry};
use reflux_ir::DType;
use reflux_ir::pass::{Exactness, Pass, Pipeline, Recipe};
use std::path::{Path, PathBuf};

/// A picture to repeat.
pub struct Repeated {
    path: PathBuf,
    recorded: Recorded,
}

impl Repeated {
    /// Reads the picture, and says what it says that cannot be followed.
    ///
    /// # Errors
    /// As [`Recorded::open`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let recorded = Recorded::open(path)?;
        for warning in &recorded.warnings {
            say(format_args!("warning: {}: {warning}", path.display()));
        }
        Ok(Self { path: path.to_owned(), recorded })
    }

    /// The model that it was drawn with: the bundled one, or one of the Hub's local cache.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is neither.
    pub fn model(&self) -> Result<PathBuf, Error> {
        let is_named = |folder: &PathBuf, name: &str| folder.file_name().is_some_and(|own| own == name);
        let bundled = |name: &str| bundled_model().ok().filter(|folder| is_named(folder, name));
        if let Some(folder) = self.recorded.model.as_deref().and_then(bundled) {
            return Ok(folder);
        }
        match &self.recorded.model {
            Some(name) if name.matches('/').count() == 1 => Ok(name.into()),
            Some(name) => {
                Err(self.usage(&format!("was drawn with the model `{name}`: give it with --model")))
            }
            None => Err(self.usage("does not say which model it was drawn with: give it with --model")),
        }
    }

    /// Warns if `pipeline` has another model.
    pub fn compare(&self, pipeline: &DiffusionPipeline) {
        let (own, path) = (pipeline.name(), self.path.display());
        if let Some(name) = self.recorded.model.as_deref().filter(|name| *name != own) {
            say(format_args!(
                "warning: {path} was drawn with the model `{name}`, this is `{own}`: the picture will differ"
            ));
        }
    }

    /// The dtype that it was drawn in.
    pub fn dtype(&self) -> Option<DType> {
        let name = self.recorded.dtype.as_deref()?;
        DType::ALL.iter().copied().find(|dtype| dtype.is_float() && dtype.to_string() == name)
    }

    /// The passes that made it another picture than without, but those for LoRAs if there are others in their place. The rest
    /// follows from the device.
    ///
    /// # Errors
    /// If one is unknown.
    pub fn passes(&self, without_loras: bool) -> Result<Option<Recipe>, Error> {
        let Some(text) = &self.recorded.passes else { return Ok(None) };
        let pipeline = Pipeline::parse(text, &registry())?;
        let is_wanted = |pass: &dyn Pass| {
            pass.exactness() == Exactness::Lossy && !(without_loras && pass.name() == LoraFiles::NAME)
        };
        let lossy = pipeline.passes().enumerate().filter(|(_, pass)| is_wanted(*pass));
        let lossy: Vec<String> = lossy.map(|(index, _)| pipeline.text_of(index)).collect();
        match lossy.is_empty() {
            true => Ok(None),
            false => Ok(Some(Recipe::parse(&lossy.join(","), &registry())?)),
        }
    }

    /// `request` with what it does not say, and with the pictures of `given`; `is_seeded` says that it has a seed of its own.
    ///
    /// # Errors
    /// If a picture is not there, or cannot be read.
    pub fn complete(
        &self,
        mut request: Request,
        is_seeded: bool,
        given: &PictureArgs,
    ) -> Result<Request, Error> {
        let own = self.recorded.request.clone();
        // Its place in a batch is that of its own prompt.
        if request.prompts.is_empty() && request.num_images.is_none() && request.image_index.is_none() {
            (request.num_images, request.image_index) = (own.num_images, own.image_index);
        }
        let has_noise = is_seeded || request.init_latents.is_some();
        let request = Request {
            prompts: if request.prompts.is_empty() { own.prompts } else { request.prompts },
            negative_prompt: request.negative_prompt.or(own.negative_prompt),
            true_cfg_scale: request.true_cfg_scale.or(own.true_cfg_scale),
            // Noise levels are as many as steps.
            steps: request.steps.or(own.steps.filter(|_| request.sigmas.is_none())),
            guidance: request.guidance.or(own.guidance),
            width: request.width.or(own.width),
            height: request.height.or(own.height),
            seed: if has_noise { request.seed } else { own.seed },
            max_sequence_length: request.max_sequence_length.or(own.max_sequence_length),
            strength: own.strength,
            reference_size: own.reference_size,
            sigmas: request.sigmas.or(own.sigmas.filter(|_| request.steps.is_none())),
            flow_shift: request.flow_shift.or(own.flow_shift),
            vae_tiling: request.vae_tiling.or(own.vae_tiling),
            ..request
        };
        let request = self.pictures(given)?.add_to(request)?;
        self.compare_pictures(&request);
        Ok(request)
    }

    /// Warns of pictures that are others than those that it was drawn from.
    fn compare_pictures(&self, request: &Request) {
        let Request { init_image, mask_image, control_image, reference_image, .. } = request;
        for image in [init_image, mask_image, control_image, reference_image].into_iter().flatten() {
            let Some(source) = image.source() else { continue };
            let recorded = self.recorded.sources.values().find(|recorded| recorded.name == source.name);
            if recorded.is_some_and(|recorded| recorded.digest != source.digest) {
                let path = self.path.display();
                say(format_args!(
                    "warning: {} is another picture than when {path} was drawn from it",
                    source.name
                ));
            }
        }
    }

    /// The pictures that it was drawn from, where `given` does not have others: beside it, or here.
    ///
    /// # Errors
    /// [`Error::Usage`] if one is not there.
    fn pictures(&self, given: &PictureArgs) -> Result<PictureArgs, Error> {
        let mut pictures = given.clone();
        for (key, source) in &self.recorded.sources {
            let place = pictures.place(key);
            if place.is_some() {
                continue;
            }
            let folder = self.path.parent().unwrap_or(Path::new(""));
            let places = [folder.join(&source.name), PathBuf::from(&source.name)];
            let Some(found) = places.into_iter().find(|path| path.is_file()) else {
                let option = key.replace('_', "-");
                let name = &source.name;
                return Err(
                    self.usage(&format!("was drawn from {name}, which is not here: give it with --{option}"))
                );
            };
            *place = Some(found);
        }
        Ok(pictures)
    }

    fn usage(&self, what: &str) -> Error {
        Error::Usage(format!("{} {what}", self.path.display()))
    }
}
