//! Convolutions and norms of pictures, stored channels-last, as tensor cores need them.

use super::planner::Planner;
use crate::backend::cuda::gemm;
use crate::backend::cuda::source::{Kernel, PRELUDE, PlacedSegment, Scaling, StoredValue, c_type, rowwise};
use crate::backend::cuda::tensor_map::STRIDE_BYTES;
use crate::backend::cuda::unsupported::Unsupported;
use crate::backend::cuda::view::{Pointer, View};
use reflux_ir::op::{Arg, Binary, Body, BodyBuilder, Conv2d, GroupNorm, Upsample};
use reflux_ir::{DType, Fact, ValueId};

/// The order of axes that stores `[batch, channels, height, width]` as `[batch, height, width, channels]`.
const CHANNELS_LAST: [usize; 4] = [0, 2, 3, 1];

impl Planner<'_> {
    /// A place for the picture `id`.
    fn picture(&mut self, fact: &Fact) -> View {
        self.room_in_order(&fact.shape, fact.dtype, &CHANNELS_LAST)
    }

    /// `x` as `[batch, height, width, channels]`, with contiguous channels and all pixels at one distance that TMA knows.
    fn channels_last(&mut self, id: ValueId, x: &View) -> View {
        let seen = x.permuted(&CHANNELS_LAST);
        // Of a picture that is made of every other pixel of another they are not.
        let is_fetched =
            |[.., distance]: [usize; 3]| (distance * x.dtype.bytes()).is_multiple_of(STRIDE_BYTES);
        if seen.strides[3] == 1 && seen.rows().is_some_and(is_fetched) {
            return seen;
        }
        self.copied_channels_last(id, x)
    }

    /// A copy of `x` `[a, channels, b, c]` as `[a, b, c, channels]`. Where pixels would not begin where TMA can fetch them, as
    /// with three channels, there are gaps between them.
    fn copied_channels_last(&mut self, id: ValueId, x: &View) -> View {
        let (channels, mut shape) = (x.shape[1], x.shape.clone());
        shape[1] = channels.next_multiple_of(STRIDE_BYTES / x.dtype.bytes());
        let room = self.room_in_order(&shape, x.dtype, &CHANNELS_LAST).slice(1, 0, channels);
        self.copy(id, x, room.clone());
        room.permuted(&CHANNELS_LAST)
    }

    /// See [`Conv2d`].
    pub(super) fn conv2d(
        &mut self,
        id: ValueId,
        op: &Conv2d,
        operands: &[ValueId],
        fact: &Fact,
    ) -> Result<StoredValue, Unsupported> {
        if !op.is_plain() {
            return Err(Unsupported("there are no kernels for strides, gaps and groups".into()));
        }
        let x = self.data(operands[0])?;
        let x = self.channels_last(id, &x);
        // In every run, since that takes a hundredth of a decode: then weights stay as they are in the checkpoint.
        let weight = self.data(operands[1])?;
        let weight = self.channels_last(id, &weight);
        let bias = operands.get(2).map(|&bias| self.data(bias)).transpose()?;
        let data = self.picture(fact);
        let target = data.permuted(&CHANNELS_LAST);
        let y = PlacedSegment { columns: 0..target.shape[3], body: Body::of(Arg::Acc), target };
        let scaling = Scaling { bias, ..Scaling::default() };
        self.push_one_of(id, gemm::convolution(self.gpu, [&x, &weight], op.padding, &scaling, y)?);
        Ok(data.into())
    }

    /// See [`GroupNorm`].
    pub(super) fn group_norm(
        &mut self,
        id: ValueId,
        op: &GroupNorm,
        operands: &[ValueId],
        fact: &Fact,
    ) -> Result<StoredValue, Unsupported> {
        let [x, weight, bias] = self.views(operands)?.try_into().expect("a norm has three operands");
        if x.shape.len() != 4 {
            return Err(Unsupported("group normalization has a kernel for pictures only".into()));
        }
        let x = self.channels_last(id, &x);
        let (batch, channels, pixels) = (x.shape[0], x.shape[3], x.shape[1] * x.shape[2]);
        let flat = x.reshape(&[batch, pixels, channels]);
        let Some(flat) = flat.filter(|_| channels.is_multiple_of(8) && channels <= 8 * 256) else {
            return Err(Unsupported(format!("groups of {channels} channels have no kernel")));
        };
        // Enough parts to keep every multiprocessor busy.
        let part = pixels.div_ceil(4 * self.gpu.processors as usize).next_multiple_of(64);
        let parts = pixels.div_ceil(part);
        let sums = self.room(&[batch, parts, op.groups, 2], DType::F32);
        let [factors, offsets] = [(); 2].map(|()| self.room(&[batch, channels], DType::F32));
        let constants = format!(
            "{PRELUDE}\n#define ELEMENT {}\n#define CHANNELS {channels}\n#define GROUPS {}\n#define PIXELS {pixels}\n\
             #define PART {part}\n#define PARTS {parts}\n#define PICTURE_STRIDE {}LL\n#define PIXEL_STRIDE {}LL\n\
             #define EPS {:?}f\n",
            c_type(x.dtype),
            op.groups,
            flat.strides[0],
            flat.strides[1],
            op.eps.0 as f32
        );
        let kernel = |name: &str, text: &str, grid: [usize; 2], block: u32, views: &[&View]| Kernel {
            name: name.to_owned(),
            text: format!("{constants}{text}"),
            grid: [grid[0] as u32, grid[1] as u32, 1],
            block,
            shared: 0,
            maps: Vec::new(),
            pointers: views.iter().map(|view| Pointer::to(view)).collect(),
        };
        let text = include_str!("../kernels/group_norm_sums.cuh");
        self.push(id, kernel("group_norm_sums", text, [parts, batch], 256, &[&x, &sums]));
        let text = include_str!("../kernels/group_norm_factors.cuh");
        let views = [&x, &sums, &weight, &bias, &factors, &offsets];
        self.push(id, kernel("group_norm_factors", text, [batch, 1], 1024, &views));
        let data = self.picture(fact);
        let of_channels = |view: &View| View {
            shape: vec![batch, 1, 1, channels],
            strides: vec![channels, 0, 0, 1],
            ..view.clone()
        };
        let views = [x.clone(), of_channels(&factors), of_channels(&offsets)].map(StoredValue::from);
        let target = data.permuted(&CHANNELS_LAST).into();
        self.push(id, rowwise(&scaled_and_moved(), &views, None, &target)?);
        Ok(data.into())
    }

    /// See [`Upsample`].
    pub(super) fn upsample(
        &mut self,
        id: ValueId,
        op: &Upsample,
        x: &View,
        fact: &Fact,
    ) -> Result<StoredValue, Unsupported> {
        let data = self.picture(fact);
        let (shape, strides) = (&x.shape, &x.strides);
        let repeated = View {
            shape: vec![shape[0], shape[1], shape[2], op.factor, shape[3], op.factor],
            strides: vec![strides[0], strides[1], strides[2], 0, strides[3], 0],
            ..x.clone()
        };
        let target = data.reshape(&repeated.shape).expect("axes can be split");
        self.copy(id, &repeated, target);
        Ok(data.into())
    }
}

/// `%0 * %1 + %2`
fn scaled_and_moved() -> Body {
    let mut body = BodyBuilder::default();
    let scaled = body.term(Binary::Mul, vec![Arg::Operand(0), Arg::Operand(1)]);
    let moved = body.term(Binary::Add, vec![scaled, Arg::Operand(2)]);
    body.finish(moved).expect("it is short")
}
