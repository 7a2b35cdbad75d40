//! Group normalisation, a group at a time.

use super::functions::Moments;
use super::tiles::for_each;
use burn_flex::FlexTensor;
use pulp::Arch;
use reflux_ir::op::GroupNorm;

/// Replaces `x` with its [`GroupNorm`], in place if nothing else reads its memory. All operands are f32 and not empty.
pub fn group_norm(op: &GroupNorm, x: &mut FlexTensor, weight: &FlexTensor, bias: &FlexTensor) {
    let shape = x.layout().shape().to_vec();
    let (channels, extent) = (shape[1], shape[2..].iter().product::<usize>());
    let of_group = channels / op.groups;
    let [weight, bias] = [weight, bias].map(FlexTensor::to_contiguous);
    let parameters = weight.storage::<f32>().iter().zip(bias.storage::<f32>());
    let parameters: Vec<(f32, f32)> = parameters.map(|(&weight, &bias)| (weight, bias)).collect();
    *x = x.to_contiguous();
    let groups = x.storage_mut::<f32>().chunks_exact_mut(of_group * extent).enumerate();
    let arch = Arch::new();
    for_each(
        groups.collect(),
        || (),
        |(), (group, values)| {
            let parameters = &parameters[group % op.groups * of_group..];
            arch.dispatch(
                #[inline(always)]
                || {
                    let Moments { mean, scale } = Moments::of(op.eps.0 as f32, values);
                    for (values, (weight, bias)) in values.chunks_exact_mut(extent).zip(parameters) {
                        let factor = scale * weight;
                        for value in values {
                            *value = (*value - mean) * factor + bias;
                        }
                    }
                },
            );
        },
    );
}
