"""Writes the networks of `tests/onnx.rs` and `tests/metrics.rs`: small ones with random weights, exported by torch, and what torch says
that they give.

    pip install torch torchvision transformers lpips torchmetrics onnx onnxscript safetensors
    python tests/tools/onnx_networks.py tests/fixtures models/emoji/tokenizer

`onnx/NAME.onnx` is a network and `onnx/NAME.safetensors` its inputs and results. `metrics/` has networks of metrics, two pictures, what
the originals in Python make of these before a network sees them, and what the metrics say of the second picture.
"""

import json
import math
import sys
import tempfile
from pathlib import Path

import lpips
import numpy as np
import onnx
import torch
import transformers
from PIL import Image
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from torchmetrics.functional.image.arniqa import _ARNIQA
from torchvision import transforms

torch.manual_seed(19)
numpy = lambda tensor: np.ascontiguousarray(tensor.detach().numpy())


def spread(module):
    """Random weights that leave nothing near zero, and statistics of norms that are not those of fresh ones."""
    for name, weight in list(module.named_parameters()) + list(module.named_buffers()):
        if not weight.dtype.is_floating_point:
            continue
        with torch.no_grad():
            if name.endswith("running_var"):
                weight.uniform_(0.5, 2.0)
            elif weight.dim() > 1:
                weight.normal_(0.0, 1.0 / math.sqrt(weight[0].numel()))
            elif "norm" in name.lower() and name.endswith("weight"):
                weight.normal_(1.0, 0.2)
            else:
                weight.normal_(0.0, 0.2)
    return module.eval()


def export(path, module, inputs, outputs, dynamo=True, **options):
    """Exports `module`; returns its results by name."""
    with torch.no_grad():
        results = module(**inputs)
    results = results if isinstance(results, tuple) else (results,)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        if dynamo:
            torch.onnx.export(module, (), file, kwargs=inputs, input_names=list(inputs), output_names=outputs,
                              dynamo=True, external_data=False, verbose=False, **options)
        else:
            torch.onnx.export(module, tuple(inputs.values()), file, input_names=list(inputs), output_names=outputs,
                              dynamo=False, opset_version=17, **options)
        model = onnx.load(file)
    # Traces of Python's stack are most of a small file, and name this machine's paths.
    for node in model.graph.node:
        kept = [entry for entry in node.metadata_props if entry.key == "pkg.torch.onnx.name_scopes"]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
        node.doc_string = ""
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    onnx.save(model, path)
    return dict(zip(outputs, results))


def network(folder, name, module, inputs, outputs, **options):
    results = export(folder / f"{name}.onnx", module, inputs, outputs, **options)
    tensors = {key: numpy(value) for key, value in {**inputs, **results}.items()}
    save_file(tensors, folder / f"{name}.safetensors")


class Results(nn.Module):
    """A model of transformers, with these of its results."""

    def __init__(self, model, names):
        super().__init__()
        self.model, self.names = model, names


class Clip(Results):
    def forward(self, input_ids, pixel_values, attention_mask):
        found = self.model(input_ids=input_ids, pixel_values=pixel_values, attention_mask=attention_mask)
        return tuple(found[name] for name in self.names)


class T5(Results):
    def forward(self, input_ids, attention_mask):
        return self.model(input_ids=input_ids, attention_mask=attention_mask)[0]


class Vit(Results):
    def forward(self, pixel_values):
        found = self.model(pixel_values=pixel_values)
        return found.last_hidden_state, found.pooler_output


def clip(vocabulary, side):
    config = transformers.CLIPConfig(
        text_config=dict(vocab_size=vocabulary, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
                         projection_dim=24, max_position_embeddings=77, eos_token_id=vocabulary - 1),
        vision_config=dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=side,
                           patch_size=8, projection_dim=24),
        projection_dim=24, attn_implementation="eager")
    return spread(transformers.CLIPModel(config))


def networks(folder, vocabulary):
    ids = torch.randint(0, vocabulary - 2, (1, 11))
    mask = torch.ones_like(ids)
    ids[:, 8:], mask[:, 9:] = vocabulary - 1, 0
    pixels = torch.randn(1, 3, 32, 32)
    names = ["logits_per_image", "text_embeds", "image_embeds"]
    network(folder, "clip", Clip(clip(vocabulary, 32), names),
            dict(input_ids=ids, pixel_values=pixels, attention_mask=mask), names)
    config = transformers.T5Config(vocab_size=64, d_model=32, d_kv=16, d_ff=48, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu",
                                   relative_attention_num_buckets=8, relative_attention_max_distance=16,
                                   attn_implementation="eager")
    t5 = T5(spread(transformers.T5EncoderModel(config)), None)
    ids = torch.randint(0, 64, (2, 13))
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    network(folder, "t5_encoder", t5, dict(input_ids=ids, attention_mask=mask), ["hidden"])
    network(folder, "t5_encoder_old", t5, dict(input_ids=ids, attention_mask=mask), ["hidden"], dynamo=False)
    config = transformers.ViTConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=24,
                                    patch_size=8, attn_implementation="eager")
    network(folder, "vit", Vit(spread(transformers.ViTModel(config)), None), dict(pixel_values=torch.randn(2, 3, 24, 24)),
            ["hidden", "pooled"])


class SmallFeatures(nn.Module):
    """The features of a small network where LPIPS has those of AlexNet."""

    def __init__(self):
        super().__init__()
        self.slices = nn.ModuleList([
            nn.Sequential(nn.Conv2d(3, 8, 5, 2, 2), nn.ReLU()),
            nn.Sequential(nn.MaxPool2d(3, 2), nn.Conv2d(8, 12, 3, 1, 1), nn.ReLU()),
        ] + [nn.Sequential(nn.Conv2d(12, 12, 3, 1, 1), nn.ReLU()) for _ in range(3)])

    def forward(self, x):
        features = []
        for part in self.slices:
            x = part(x)
            features.append(x)
        return features


def small_lpips():
    model = lpips.LPIPS(net="alex", pretrained=False, pnet_rand=True, verbose=False)
    model.net, model.chns = SmallFeatures(), [8, 12, 12, 12, 12]
    for index, channels in enumerate(model.chns):
        layer = lpips.NetLinLayer(channels, use_dropout=True)
        setattr(model, f"lin{index}", layer)
        model.lins[index] = layer
    scaling = model.scaling_layer.state_dict()
    spread(model).scaling_layer.load_state_dict(scaling)
    # Those of the original are not negative.
    for layer in model.lins:
        layer.model[-1].weight.data.abs_()
    return model


class SmallArniqa(_ARNIQA):
    """The original with a small encoder, and without a download."""

    def __init__(self):
        nn.Module.__init__(self)
        self.regressor_dataset = "koniq10k"
        self.imagenet_norm_mean, self.imagenet_norm_std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        self.feat_dim = 16
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
                                     nn.Conv2d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.regressor = nn.Linear(32, 1)


class ExportedArniqa(nn.Module):
    """The same of a picture in 0 to 1, in functions that torch exports."""

    def __init__(self, model):
        super().__init__()
        self.model = ArniqaOfTwo(model)
        self.mean, self.std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (model.imagenet_norm_mean, model.imagenet_norm_std))

    def forward(self, img):
        size = [extent // 2 for extent in img.shape[-2:]]
        half = nn.functional.interpolate(img, size=size, mode="bilinear", antialias=True)
        return self.model(*((x - self.mean) / self.std for x in (img, half)))


class ArniqaOfTwo(nn.Module):
    """`ARNIQA.forward` of the original repository, which is given the picture and its half, both normalized."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, img, img_ds):
        features = [nn.functional.normalize(self.model.encoder(x).flatten(1), dim=1) for x in (img, img_ds)]
        return self.model._scale_score(self.model.regressor(torch.cat(features, dim=1)))


class SmallImageReward(nn.Module):
    """`ImageReward.score_gard` of the original: BLIP's text encoder looks at a picture, and what it makes of [CLS] is judged."""

    def __init__(self, vocabulary):
        super().__init__()
        small = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
        self.picture = transformers.BlipVisionModel(
            transformers.BlipVisionConfig(**small, image_size=24, patch_size=8, attn_implementation="eager"))
        self.text = transformers.models.blip.modeling_blip_text.BlipTextModel(
            transformers.BlipTextConfig(**small, vocab_size=vocabulary, encoder_hidden_size=32, max_position_embeddings=40,
                                        attn_implementation="eager"), add_pooling_layer=False)
        self.mlp = nn.Sequential(nn.Linear(32, 24), nn.Linear(24, 8), nn.Linear(8, 1))

    def forward(self, image, input_ids, attention_mask):
        picture = self.picture(pixel_values=image).last_hidden_state
        seen = torch.ones(picture.shape[:-1], dtype=torch.long)
        text = self.text(input_ids=input_ids, attention_mask=attention_mask, encoder_hidden_states=picture,
                         encoder_attention_mask=seen, is_decoder=False)
        return (self.mlp(text.last_hidden_state[:, 0]) - 0.16717362830052426) / 1.0333394966054072


def words():
    """A tokenizer like BERT's, for a few words."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = special + "a the red blue owl apple on of background".split() + [f"##{c}" for c in "abcdefgs"] + list("abcdefgh.,")
    tokenizer = Tokenizer(models.WordPiece({word: index for index, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return tokenizer, len(vocabulary)


def pictures():
    """Two pictures that are alike, 48 x 32."""
    y, x = np.mgrid[0:32, 0:48].astype(np.float64)
    first = np.stack([128 + 100 * np.sin(x / 5 + y / 9), 5.5 * x, 200 - 4 * y + 30 * np.cos(x * y / 60)], -1)
    noise = np.random.default_rng(7).normal(0, 12, first.shape)
    return [Image.fromarray(np.clip(array, 0, 255).astype(np.uint8)) for array in (first, first + noise)]


def metrics(folder, clip_tokenizer):
    base, picture = pictures()
    base.save(folder / "base.png")
    picture.save(folder / "picture.png")
    prompt, tensors, expected = "a red owl on the blue background", {}, {}

    def judge(name, module, inputs, outputs, value, **options):
        (folder / name).mkdir(exist_ok=True)
        found = export(folder / name / "model.onnx", module, inputs, outputs, **options)
        expected[name] = float(value(found))
        tensors.update({f"{name}/{key}": numpy(tensor) for key, tensor in inputs.items()})

    array = lambda image: np.asarray(image)
    scored = lambda found: found["score"].squeeze()
    # The newer exporter leaves out what keeps the norms of zeros from being divided by, 1e-10.
    axes = {2: "height", 3: "width"}
    judge("lpips", small_lpips(), dict(in0=lpips.im2tensor(array(base)), in1=lpips.im2tensor(array(picture))), ["score"], scored,
          dynamo=False, dynamic_axes=dict(in0=axes, in1=axes))

    arniqa = spread(SmallArniqa())
    unit = transforms.ToTensor()(picture)[None]
    judge("arniqa", ExportedArniqa(arniqa), dict(img=unit), ["score"], scored)
    expected["arniqa"] = float(arniqa(unit, normalize=True))
    normal = transforms.Normalize(arniqa.imagenet_norm_mean, arniqa.imagenet_norm_std)
    half = transforms.Resize((picture.height // 2, picture.width // 2))(picture)
    both = dict(img=normal(unit), img_ds=normal(transforms.ToTensor()(half)[None]))
    judge("arniqa_of_two", ArniqaOfTwo(arniqa), both, ["score"], scored)

    tokenizer = transformers.CLIPTokenizer.from_pretrained(clip_tokenizer)
    vocabulary = len(tokenizer)
    text = tokenizer([prompt], padding="max_length", max_length=77, truncation=True, return_tensors="pt")
    processor = transformers.models.clip.image_processing_pil_clip.CLIPImageProcessorPil(
        size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24})
    pixels = torch.tensor(np.stack(processor(picture)["pixel_values"]))
    names = ["text_embeds", "image_embeds"]
    cosine = lambda found: 100 * (found["text_embeds"] * found["image_embeds"]).sum() / (
        found["text_embeds"].norm() * found["image_embeds"].norm())
    model = clip(vocabulary, 24)
    # Random networks give any cosine: one that is well above zero is looked for.
    for _ in range(50):
        found = model(pixel_values=pixels, **text)
        if cosine(found) > 20:
            break
        spread(model)
    judge("clip_score", Clip(model, names), dict(input_ids=text.input_ids, pixel_values=pixels, attention_mask=text.attention_mask),
          names, cosine)

    tokenizer, vocabulary = words()
    (folder / "image_reward").mkdir(exist_ok=True)
    tokenizer.save(str(folder / "image_reward/tokenizer.json"))
    (folder / "image_reward/tokenizer_config.json").write_text(json.dumps({"pad_token": "[PAD]"}) + "\n")
    ids = tokenizer.encode(prompt).ids
    padded = torch.tensor([ids + [0] * (35 - len(ids))])
    transform = transforms.Compose([
        transforms.Resize(24, interpolation=transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(24),
        transforms.ToTensor(),
        transforms.Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))])
    inputs = dict(image=transform(picture)[None], input_ids=padded, attention_mask=(padded != 0).long())
    inputs["attention_mask"][0, :len(ids)] = 1
    judge("image_reward", spread(SmallImageReward(vocabulary)), inputs, ["score"], scored)

    save_file(tensors, folder / "inputs.safetensors")
    (folder / "expected.json").write_text(json.dumps({"prompt": prompt, "scores": expected}, indent=1) + "\n")


if __name__ == "__main__":
    fixtures, clip_tokenizer = Path(sys.argv[1]), sys.argv[2]
    (fixtures / "metrics").mkdir(exist_ok=True)
    networks(fixtures / "onnx", 2048)
    metrics(fixtures / "metrics", clip_tokenizer)
